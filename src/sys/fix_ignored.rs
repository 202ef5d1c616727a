//! Files that git ignored before an agent was asked: nobody's edits, whatever becomes of the rules meanwhile.
//!
//! Deliberately not here: what is an edit (`fix_branch`).

use super::files::read_bounded;
use super::fix_git::Git;
use crate::base::text::digest;
use std::collections::BTreeSet;
use std::path::Path;

/// Longest file of rules that is compared.
const RULES_MAX: u64 = 4 << 20;

/// What git ignores: files, and folders with a `/` at their end where a rule names the folder itself.
pub(super) fn list(git: &Git) -> Result<BTreeSet<String>, String> {
    let bytes = git.call(&[
        "status",
        "--porcelain=v1",
        "-z",
        "--untracked-files=all",
        "--ignored=matching",
        "--ignore-submodules=all",
        "--no-renames",
    ])?;
    let names = bytes.split(|b| *b == 0).filter_map(|record| record.strip_prefix(b"!! "));
    Ok(names.filter_map(|name| std::str::from_utf8(name).ok()).map(str::to_owned).collect())
}

/// Is this path one of them, or below one?
pub(super) fn covers(ignored: &BTreeSet<String>, path: &str) -> bool {
    let above = Path::new(path).ancestors().skip(1);
    ignored.contains(path) || above.into_iter().any(|dir| ignored.contains(&format!("{}/", dir.display())))
}

/// A digest of the repository's own rules, which are no file of the tree.
pub(super) fn rules(git: &Git) -> Result<String, String> {
    let path = git.root.join(git.line(&["rev-parse", "--git-path", "info/exclude"])?);
    let bytes = read_bounded(&path, RULES_MAX).map_err(|e| e.message())?;
    Ok(bytes.map(|bytes| digest(&bytes)).unwrap_or_default())
}

/// Is this a file of rules?
pub(super) fn is_rules(path: &str) -> bool {
    Path::new(path).file_name().is_some_and(|name| name == ".gitignore")
}

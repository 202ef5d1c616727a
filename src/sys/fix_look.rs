//! A tree before a healing: may one begin, and what in it is whose: a person's work, edits of fixes that were kept before, what
//! programs are writing. The same look for `doctor` and for the healer.
//!
//! Deliberately not here: putting anything aside (`fix_stash`), writing anything down (`fix_branch`).

use super::fix_branch::{Dirty, PATHS_MAX, Place, Work};
use super::fix_git::Git;
use super::fix_tree::{self as tree, Entry, How};
use super::{fix_head as head, fix_kept as kept, fix_stash as stash};
use crate::base::text::counted;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a repository has while an operation of the operator's is under way.
const UNDER_WAY: [(&str, &str); 6] = [
    ("MERGE_HEAD", "a merge"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("BISECT_LOG", "a bisect"),
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase"),
];

/// What was found.
pub(super) struct Found {
    /// The commit, and the branch; None = detached.
    pub(super) head: String,
    pub(super) branch: Option<String>,
    /// What differs from the commit, and how.
    pub(super) status: BTreeMap<String, How>,
    /// Fixes that were kept before.
    pub(super) before: kept::Before,
    /// What differs, without what programs are writing; and what of it is edits of kept fixes.
    pub(super) work: BTreeMap<String, Entry>,
    pub(super) ours: BTreeSet<String>,
    /// What git does not know and programs are writing: by whom.
    pub(super) open: BTreeMap<String, String>,
    /// A person's work would be put aside.
    pub(super) stashed: bool,
}

impl Found {
    fn is_work(&self, path: &str) -> bool {
        self.work.contains_key(path) && !self.ours.contains(path)
    }

    /// A person's work that git knows: it forbids a healing that puts nothing aside.
    fn tracked(&self) -> Vec<&String> {
        let tracked = self.status.iter().filter(|(path, how)| **how == How::Tracked && self.is_work(path));
        tracked.map(|(path, _)| path).collect()
    }
}

/// Looks; says why a healing may not begin now.
pub(super) fn look(git: &Git, place: &Place, dirty: Dirty) -> Result<Found, String> {
    let found = find(git, place, dirty)?;
    let tracked = found.tracked();
    if dirty == Dirty::Refuse && !tracked.is_empty() {
        let names = tracked.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "the tree has uncommitted work ({}: {names}): commit it, or set healing `dirty`",
            counted(tracked.len(), "file")
        ));
    }
    may_hide(git, found.stashed)?;
    can_go(git, place, &found)?;
    Ok(found)
}

/// The same for people: what would be made of their work.
pub(super) fn work(git: &Git, place: &Place, dirty: Dirty) -> Result<Work, String> {
    let found = find(git, place, dirty)?;
    let forbids = found.tracked().len();
    if dirty == Dirty::Refuse && forbids > 0 {
        return Ok(Work::Forbids(forbids));
    }
    may_hide(git, found.stashed)?;
    can_go(git, place, &found)?;
    let aside = found.work.keys().filter(|path| found.stashed && found.is_work(path)).count();
    Ok(Work::Aside(aside))
}

fn find(git: &Git, place: &Place, dirty: Dirty) -> Result<Found, String> {
    may_begin(git)?;
    let head = git
        .line(&["rev-parse", "--verify", "HEAD^{commit}"])
        .map_err(|_| "the repository has no commit yet".to_owned())?;
    let branch = head::branch(git)?;
    let status = tree::status(git, &git.root.clone(), &place.state_dir)?;
    if status.len() > PATHS_MAX {
        return Err(format!(
            "{} paths differ from the last commit: that is too much to answer for",
            status.len()
        ));
    }
    let before = kept::before(git, place, &head);
    let open = stash::open_files(git, dirty, &status)?;
    let mut work = BTreeMap::new();
    let mut ours = BTreeSet::new();
    for path in status.keys().filter(|path| !open.contains_key(*path)) {
        let entry = tree::entry(git, path)?;
        if before.has(path, &entry) {
            ours.insert(path.clone());
        }
        work.insert(path.clone(), entry);
    }
    let stashed = dirty == Dirty::Stash && work.keys().any(|path| !ours.contains(path));
    Ok(Found { head, branch, status, before, work, ours, open, stashed })
}

/// Work that git knows and that can't be put aside would be the agent's to overwrite. And what the watchdog reads
/// meanwhile would be another version, or missing.
fn can_go(git: &Git, place: &Place, found: &Found) -> Result<(), String> {
    if !found.stashed {
        return Ok(());
    }
    let read: BTreeSet<PathBuf> = place.files.iter().flat_map(|file| names_of(file)).collect();
    for path in found.work.keys().filter(|path| found.is_work(path)) {
        if names_of(&git.root.join(path)).iter().any(|name| read.contains(name)) {
            return Err(format!(
                "`{path}` would be put aside, but it is read while the agent is at work: commit it"
            ));
        }
    }
    for path in found.tracked() {
        if let Some(Entry::Left { why }) = found.work.get(path) {
            return Err(format!("`{path}` has uncommitted work that can't be put aside ({why}): commit it"));
        }
    }
    Ok(())
}

/// A file as it is named, and without the links on the way to it and at it.
fn names_of(file: &Path) -> Vec<PathBuf> {
    let in_folder = || Some(file.parent()?.canonicalize().ok()?.join(file.file_name()?));
    [Some(file.to_owned()), in_folder(), file.canonicalize().ok()].into_iter().flatten().collect()
}

fn may_begin(git: &Git) -> Result<(), String> {
    let dir = PathBuf::from(git.line(&["rev-parse", "--absolute-git-dir"])?);
    for (file, what) in UNDER_WAY {
        if std::fs::symlink_metadata(dir.join(file)).is_ok() {
            return Err(format!("{what} is under way in the tree: end it first"));
        }
    }
    Ok(())
}

/// Files that git was told not to look at: their changes are seen by nobody, and a plain index forgets that they were hidden.
/// Where nothing is put aside, those that are not there (of a sparse checkout) do no harm.
fn may_hide(git: &Git, stashed: bool) -> Result<(), String> {
    let listed = git.call(&["ls-files", "-v", "-z"])?;
    let hidden = listed.split(|b| *b == 0).filter_map(|line| {
        let (tag, path) = (line.first()?, line.get(2..)?);
        (*tag == b'S' || tag.is_ascii_lowercase()).then(|| String::from_utf8_lossy(path))
    });
    let mut wrong = hidden.filter(|path| stashed || git.root.join(&**path).symlink_metadata().is_ok());
    let Some(first) = wrong.next() else { return Ok(()) };
    let others = wrong.count();
    let what = "git is told not to look at (skip-worktree, assume-unchanged or a sparse checkout)";
    Err(format!("the tree has files that {what}: `{first}` and {others} more, so edits can't be told apart"))
}

//! Paths of a working tree, byte by byte: what stands there, putting it back, and lines for an index.
//!
//! Deliberately not here: branches and commits (`fix_branch`). A path never leads through a link: parents are looked at.

use super::fix_git::Git;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A larger file is no edit: a checkpoint, an output, a data set. It is left alone, bytes.
pub(super) const FILE_MAX: u64 = 4 << 20;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// What stands at a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// Nothing.
    #[default]
    Absent,
    /// A file: its bytes as an object, and its permission bits.
    File { blob: String, mode: u32 },
    /// A symbolic link: its target as an object.
    Link { blob: String },
    /// Something that is left alone.
    Left { why: String },
}

impl Entry {
    /// The object.
    pub(super) fn blob(&self) -> Option<&str> {
        match self {
            Entry::File { blob, .. } | Entry::Link { blob } => Some(blob),
            Entry::Absent | Entry::Left { .. } => None,
        }
    }
}

/// How a path differs from the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Modified, staged, deleted, added.
    Tracked,
    /// Unknown to git, and not ignored.
    Untracked,
}

/// The paths that differ from the commit, without submodules and what is ours. Names that are not UTF-8 are left alone.
pub(super) fn status(git: &Git, root: &Path, state_dir: &Path) -> Result<BTreeMap<String, How>, String> {
    let bytes = git.call(&[
        "status",
        "--porcelain=v1",
        "-z",
        "--untracked-files=all",
        "--ignore-submodules=all",
        "--no-renames",
    ])?;
    let ours = |path: &str| root.join(path).starts_with(state_dir);
    let mut paths = BTreeMap::new();
    for record in bytes.split(|b| *b == 0).filter(|record| record.len() > 3) {
        let Ok(text) = std::str::from_utf8(record) else { continue };
        let (how, path) = (text.get(..2).unwrap_or_default(), text.get(3..).unwrap_or_default());
        // A folder with a repository of its own inside: `dir/`.
        if path.ends_with('/') || ours(path) || !is_plain(path) {
            continue;
        }
        if matches!(how, "DD" | "AU" | "UD" | "UA" | "DU" | "AA" | "UU") {
            return Err(format!("`{path}` is in conflict: end the merge first"));
        }
        paths.insert(path.to_owned(), if how == "??" { How::Untracked } else { How::Tracked });
    }
    Ok(paths)
}

fn is_plain(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// What stands at a path now. Its bytes are kept as an object.
pub(super) fn entry(git: &Git, path: &str) -> Result<Entry, String> {
    match parents_are_folders(&git.root, path) {
        true => entry_at(git, &git.root.join(path)),
        false => Ok(Entry::Absent),
    }
}

/// The same, wherever it lies.
pub(super) fn entry_at(git: &Git, full: &Path) -> Result<Entry, String> {
    let Ok(meta) = std::fs::symlink_metadata(full) else { return Ok(Entry::Absent) };
    if meta.is_symlink() {
        let target = std::fs::read_link(full).map_err(|error| error.to_string())?;
        return Ok(Entry::Link { blob: store(git, target.as_os_str().as_bytes().to_vec())? });
    }
    if !meta.is_file() {
        let why = if meta.is_dir() { "a folder" } else { "a special file" };
        return Ok(if meta.is_dir() { Entry::Absent } else { Entry::Left { why: why.to_owned() } });
    }
    if meta.len() > FILE_MAX {
        return Ok(Entry::Left { why: format!("{} bytes: too large to be an edit", meta.len()) });
    }
    let bytes = super::files::read_bounded(full, FILE_MAX).map_err(|e| e.message())?.unwrap_or_default();
    Ok(Entry::File { blob: store(git, bytes)?, mode: meta.permissions().mode() & 0o7777 })
}

pub(super) fn store(git: &Git, bytes: Vec<u8>) -> Result<String, String> {
    let args = ["hash-object", "--no-filters", "--stdin", "-w"];
    let id = git.fed(if git.looks_only { &args[..3] } else { &args }, bytes)?;
    Ok(String::from_utf8_lossy(&id).trim().to_owned())
}

/// What a commit has at a path, as a checkout would write it; the permission bits that a plain one gives.
pub(super) fn committed(git: &Git, commit: &str, path: &str) -> Result<Entry, String> {
    let line = git.call(&["ls-tree", "-z", "--full-tree", commit, "--", path])?;
    let text = String::from_utf8_lossy(&line);
    let fields: Vec<&str> = text.split('\t').next().unwrap_or_default().split(' ').collect();
    let [mode, kind, id] = fields.as_slice() else { return Ok(Entry::Absent) };
    match (*mode, *kind) {
        ("120000", _) => Ok(Entry::Link { blob: (*id).to_owned() }),
        (mode, "blob") => {
            // Filters (line ends, LFS) make other bytes of it: those stand in the tree.
            let bytes = git.call(&["cat-file", "--filters", &format!("{commit}:{path}")])?;
            let mode = if mode == "100755" { 0o755 } else { 0o644 };
            Ok(Entry::File { blob: store(git, bytes)?, mode })
        }
        (_, kind) => Ok(Entry::Left { why: format!("a {kind}") }),
    }
}

/// A name of ours beside a path.
pub(super) fn beside(full: &Path) -> PathBuf {
    let name = format!(".wk-fix-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    full.with_file_name(name)
}

/// Whose a file at this path is to be: of who has the one that stands there, else of who has its folder. A watchdog that runs
/// as root must not make its own what it puts back.
pub(super) fn owner(full: &Path) -> Option<(u32, u32)> {
    let meta =
        std::fs::symlink_metadata(full).ok().or_else(|| std::fs::symlink_metadata(full.parent()?).ok())?;
    Some((meta.uid(), meta.gid()))
}

/// Makes a file or link that must not be there yet, with these bytes, of this owner and group as far as we may.
pub(super) fn write_entry(
    new: &Path,
    entry: &Entry,
    bytes: &[u8],
    owner: Option<(u32, u32)>,
) -> std::io::Result<()> {
    let give = || {
        if let Some((user, group)) = owner {
            let all = std::os::unix::fs::lchown(new, Some(user), Some(group));
            // Nobody but root gives a file away; a group that we are in may be given.
            let _ = all.or_else(|_| std::os::unix::fs::lchown(new, None, Some(group)));
        }
    };
    match entry {
        Entry::File { mode, .. } => {
            write_new(new, bytes)?;
            // (Before its mode: to give a file away takes bits of it.)
            give();
            std::fs::set_permissions(new, std::fs::Permissions::from_mode(*mode))
        }
        Entry::Link { .. } => {
            std::os::unix::fs::symlink(std::ffi::OsString::from_vec(bytes.to_vec()), new)?;
            give();
            Ok(())
        }
        Entry::Absent | Entry::Left { .. } => Ok(()),
    }
}

/// A commit knows of a file's mode only whether it may be run: the other bits are those that it has now.
pub(super) fn with_mode_of(before: Entry, now: &Entry) -> Entry {
    match (before, now) {
        (Entry::File { blob, mode }, Entry::File { mode: now, .. }) => {
            let runs = if mode & 0o100 == 0 { 0 } else { 0o111 & (now >> 2 | 0o100) };
            Entry::File { blob, mode: now & !0o111 | runs }
        }
        (before, _) => before,
    }
}

/// Removes the folders that a path alone was in, but not those that were there before.
pub(super) fn prune(root: &Path, path: &str, stay: &BTreeSet<String>) {
    for parent in Path::new(path).ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        if stay.contains(parent.to_string_lossy().as_ref()) || std::fs::remove_dir(root.join(parent)).is_err()
        {
            break;
        }
    }
}

/// A link to a target, in the place of whatever stands there.
pub(super) fn link(target: &[u8], to: &Path) -> Result<(), String> {
    let _ = std::fs::remove_file(to);
    std::os::unix::fs::symlink(std::ffi::OsString::from_vec(target.to_vec()), to)
        .map_err(|error| format!("`{}`: {error}", to.display()))
}

/// Sets the permission bits of a file.
pub(super) fn chmod(path: &Path, mode: u32) -> Result<(), String> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|error| format!("`{}`: {error}", path.display()))
}

/// The tree of a commit, or an empty one, with these entries; made with an index of our own.
pub(super) fn of<'a>(
    git: &Git,
    index: &Path,
    commit: Option<&str>,
    entries: impl Iterator<Item = (&'a String, &'a Entry)>,
) -> Result<String, String> {
    let _ = std::fs::remove_file(index);
    let own = git.with_index(index);
    own.call(&["read-tree", commit.unwrap_or("--empty")])?;
    let id_len = git.line(&["rev-parse", "--verify", "HEAD"])?.len();
    let mut lines = Vec::new();
    for (path, entry) in entries {
        lines.extend(index_line(git, path, entry, id_len)?);
    }
    own.fed(&["update-index", "-z", "--index-info"], lines)?;
    let id = own.line(&["write-tree"])?;
    let _ = std::fs::remove_file(index);
    Ok(id)
}

/// Is each folder above a path a folder, and no link to elsewhere?
pub(super) fn parents_are_folders(root: &Path, path: &str) -> bool {
    let mut at: PathBuf = root.to_owned();
    let parts: Vec<Component<'_>> = Path::new(path).components().collect();
    parts.iter().take(parts.len().saturating_sub(1)).all(|part| {
        at.push(part);
        std::fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_dir())
    })
}

/// Makes a file that must not be there yet, synced.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A line for `update-index --index-info`: the path as the commit shall have it, filters applied.
pub(super) fn index_line(git: &Git, path: &str, entry: &Entry, id_len: usize) -> Result<Vec<u8>, String> {
    let zero = "0".repeat(id_len);
    let line = match entry {
        Entry::Absent => format!("0 {zero}\t{path}\0"),
        Entry::Left { .. } => return Ok(Vec::new()),
        Entry::Link { blob } => format!("120000 {blob}\t{path}\0"),
        Entry::File { blob, mode } => {
            let bytes = git.call(&["cat-file", "blob", blob])?;
            let id = git.fed(&["hash-object", "-w", &format!("--path={path}"), "--stdin"], bytes)?;
            let id = String::from_utf8_lossy(&id).trim().to_owned();
            let kind = if mode & 0o100 == 0 { "100644" } else { "100755" };
            format!("{kind} {id}\t{path}\0")
        }
    };
    Ok(line.into_bytes())
}

/// Takes the index along from one commit to the next, path by path; what the operator staged meanwhile stays.
pub(super) fn advance_index(git: &Git, from: &str, to: &str) -> Result<(), String> {
    let changed = git.call(&["diff-tree", "-r", "-z", "--no-renames", from, to])?;
    let staged = git.call(&["ls-files", "--stage", "-z"])?;
    let mut index: BTreeMap<String, String> = BTreeMap::new();
    for record in staged.split(|b| *b == 0).filter_map(|record| std::str::from_utf8(record).ok()) {
        if let Some((facts, path)) = record.split_once('\t') {
            let fields: Vec<&str> = facts.split(' ').collect();
            index.insert(path.to_owned(), fields.get(..2).unwrap_or_default().join(" "));
        }
    }
    let mut lines = Vec::new();
    let records: Vec<&str> =
        changed.split(|b| *b == 0).filter_map(|part| std::str::from_utf8(part).ok()).collect();
    for pair in records.chunks(2) {
        let [facts, path] = pair else { continue };
        let fields: Vec<&str> = facts.trim_start_matches(':').split(' ').collect();
        let [old_mode, new_mode, old, new, ..] = fields.as_slice() else { continue };
        let before = index.get(*path).cloned();
        let as_committed = if *old_mode == "000000" { None } else { Some(format!("{old_mode} {old}")) };
        if before == as_committed {
            let mode = if *new_mode == "000000" { "0" } else { new_mode };
            lines.extend(format!("{mode} {new}\t{path}\0").into_bytes());
        }
    }
    git.fed(&["update-index", "-z", "--index-info"], lines)?;
    let _ = git.ask(&["update-index", "-q", "--refresh"], Vec::new());
    Ok(())
}

//! What a clone knows of its remote's branch: the reference as a file, the contents and the commits through git.
//!
//! The reference is read at every tick, git is asked only when it changed. Nothing here writes to the repository, takes
//! a lock in it, or talks to a remote. Deliberately not here: fetching (a job).

use super::files::read_bounded;
use super::run::{Program, Ran};
use crate::base::done;
use crate::model::seen::{BranchFacts, Commit, SinceSeen};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Most commits that are handed on at once: the newest ones.
pub const COMMITS_MAX: usize = 500;
/// Largest status file or inbox that is read, bytes.
const FILE_MAX: u64 = 1 << 20;
/// Git ended before it had said all.
const SHORT: &str = "git said less than was asked for";
/// A reference file is one line.
pub(super) const REF_MAX: u64 = 4096;
/// Largest packed-refs that is read.
const PACKED_MAX: u64 = 32 << 20;

/// Variables that would make git look at another repository, or wait for somebody.
pub(super) const REMOVED: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_EXTERNAL_DIFF",
    "GIT_TRACE",
];

/// What is looked up in the branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BranchQuery {
    /// The clone.
    pub repo: PathBuf,
    /// The commit to look into.
    pub head: String,
    /// The commit that was handed on last.
    pub since: Option<String>,
    /// Status files by phase id, as paths in the repository.
    pub status: BTreeMap<String, String>,
    /// Inbox files: name in the config, path in the repository.
    pub inboxes: BTreeMap<String, String>,
    /// The line that says that a phase is done.
    pub done_marker: String,
}

/// Takes out of a command's environment what would lead git astray.
pub fn clean_env(command: &mut Command) {
    for name in REMOVED {
        command.env_remove(name);
    }
}

/// The commit that the clone's remote-tracking branch points to; None when there is no such branch.
pub fn tip(repo: &Path, remote: &str, branch: &str) -> Result<Option<String>, String> {
    let dir = common_dir(repo)?;
    let name = format!("refs/remotes/{remote}/{branch}");
    reference(repo, &dir, name)
}

/// The commit that a reference points to, read as files; git is asked only where it keeps them otherwise.
pub(super) fn reference(repo: &Path, dir: &Path, name: String) -> Result<Option<String>, String> {
    if dir.join("reftable").is_dir() {
        return rev_parse(repo, &name);
    }
    let mut name_now = name;
    // A symbolic reference names another one.
    for _ in 0..5 {
        let path = dir.join(&name_now);
        let loose = if path.is_dir() { None } else { text(&path, REF_MAX)? };
        let Some(line) = loose.as_deref().map(str::trim) else { return packed(dir, &name_now) };
        match line.strip_prefix("ref:") {
            Some(next) if is_plain(next.trim()) => name_now = next.trim().to_owned(),
            Some(next) => return Err(format!("`{name_now}` points to `{}`", next.trim())),
            None if is_object_id(line) => return Ok(Some(line.to_owned())),
            None => return Err(format!("`{name_now}` holds no commit")),
        }
    }
    Err("its references point in a circle".to_owned())
}

pub(super) fn is_plain(name: &str) -> bool {
    name.starts_with("refs/") && !name.contains("..") && !name.chars().any(char::is_control)
}

fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where the references are: of a worktree they are in its main repository.
fn common_dir(repo: &Path) -> Result<PathBuf, String> {
    shared_by(own_dir(repo)?)
}

/// The folder that worktrees share, from the own one of one of them.
pub(super) fn shared_by(dir: PathBuf) -> Result<PathBuf, String> {
    match text(&dir.join("commondir"), REF_MAX)? {
        Some(common) => Ok(dir.join(common.trim())),
        None => Ok(dir),
    }
}

/// The worktree's own folder of git: what it has checked out, and what it is in the midst of.
pub(super) fn own_dir(repo: &Path) -> Result<PathBuf, String> {
    let dot = repo.join(".git");
    let dir = if dot.is_dir() {
        dot
    } else if let Some(line) = text(&dot, REF_MAX)? {
        let named = line.trim().strip_prefix("gitdir:").ok_or("its `.git` names no folder")?;
        repo.join(named.trim())
    } else if repo.join("HEAD").is_file() && repo.join("objects").is_dir() {
        repo.to_path_buf()
    } else if repo.is_dir() {
        return Err("it is no git repository".to_owned());
    } else {
        return Err("there is no such folder".to_owned());
    };
    Ok(dir)
}

pub(super) fn text(path: &Path, limit: u64) -> Result<Option<String>, String> {
    let bytes = read_bounded(path, limit).map_err(|error| error.message())?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// What was found in a packed-refs, and of which state of that file it is.
type Found = BTreeMap<(PathBuf, String), (Stamp, Option<String>)>;

/// Inode, size, time of change: git never changes the file, it puts another one in its place.
type Stamp = (u64, u64, i64, i64);

/// A packed-refs may have tens of thousands of lines, and many units ask for theirs at every tick.
static PACKED: Mutex<Found> = Mutex::new(BTreeMap::new());
/// Most references that are remembered.
const FOUND_MAX: usize = 4000;
/// A file that changed so lately may change again without its stamp telling, seconds.
const YOUNG_S: i64 = 2;

fn packed(dir: &Path, name: &str) -> Result<Option<String>, String> {
    let path = dir.join("packed-refs");
    let stamp = stamp(&path);
    let key = (path, name.to_owned());
    let mut found = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, id)) = found.get(&key).filter(|(of, _)| stamp == Some(*of)) {
        return Ok(id.clone());
    }
    let Some(text) = text(&key.0, PACKED_MAX)? else { return Ok(None) };
    let id = text.lines().find_map(|line| {
        let (id, named) = line.split_once(' ')?;
        (named == name && is_object_id(id)).then(|| id.to_owned())
    });
    if found.len() >= FOUND_MAX {
        found.clear();
    }
    if let Some(stamp) = stamp.filter(|stamp| super::clock::wall().0 / 1000 - stamp.2 > YOUNG_S) {
        found.insert(key, (stamp, id.clone()));
    }
    Ok(id)
}

#[cfg(test)]
pub(super) fn is_remembered(packed: &Path) -> bool {
    let found = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    found.keys().any(|(path, _)| path == packed)
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
}

fn rev_parse(repo: &Path, name: &str) -> Result<Option<String>, String> {
    let ran = git(repo, &["rev-parse", "--verify", "--quiet", "--end-of-options", name], None)?;
    let line = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    match (ran.status, is_object_id(&line)) {
        (Some(0), true) => Ok(Some(line)),
        (Some(1), _) if line.is_empty() => Ok(None),
        _ => Err(ran.why()),
    }
}

/// What stands in a commit, and what came since another one.
pub fn look(query: &BranchQuery) -> Result<BranchFacts, String> {
    let mut left_out = Vec::new();
    let files = contents(query, &mut left_out)?;
    let done = query
        .status
        .iter()
        .filter(|(_, path)| {
            let text = files.get(*path).and_then(|file| file.text.as_deref());
            text.is_some_and(|text| done::is_marked(text, &query.done_marker))
        })
        .map(|(id, _)| id.clone())
        .collect();
    let inboxes = query
        .inboxes
        .iter()
        .filter_map(|(name, path)| {
            let blank = |file: &&Blob| file.text.as_ref().is_some_and(|text| text.trim().is_empty());
            let file = files.get(path).filter(|file| !blank(file))?;
            Some((name.clone(), file.id.clone()))
        })
        .collect();
    Ok(BranchFacts { head: query.head.clone(), done, inboxes, since: since(query)?, left_out })
}

struct Blob {
    id: String,
    /// None: too large to be read.
    text: Option<String>,
}

/// The files of the query, by path. Those that the commit does not have are left out; those that are too large have no
/// text, and are named.
fn contents(query: &BranchQuery, left_out: &mut Vec<String>) -> Result<BTreeMap<String, Blob>, String> {
    let ids = blobs(query)?;
    let mut sizes = BTreeMap::new();
    let asked: String = ids.values().map(|id| format!("{id}\n")).collect();
    let checked = run(git(&query.repo, &["cat-file", "--batch-check"], Some(asked))?)?;
    for line in String::from_utf8_lossy(&checked.stdout).lines() {
        if let [id, "blob", size] = line.split(' ').collect::<Vec<_>>().as_slice() {
            sizes.insert((*id).to_owned(), size.parse::<u64>().unwrap_or(u64::MAX));
        }
    }
    let mut small = Vec::new();
    for (path, id) in &ids {
        match sizes.get(id) {
            // The commit names it, but it was never fetched.
            None => {
                return Err(format!(
                    "`{path}` is not in the clone: a partial clone can't be read (clone without --filter)"
                ));
            }
            Some(size) if *size > FILE_MAX => {
                left_out.push(format!("`{path}` is {size} bytes long, at most {FILE_MAX} are read"));
            }
            Some(_) => small.push(id),
        }
    }
    let asked: String = small.iter().map(|id| format!("{id}\n")).collect();
    let ran = run(git(&query.repo, &["cat-file", "--batch"], Some(asked))?)?;
    let mut texts = BTreeMap::new();
    let mut rest = ran.stdout.as_slice();
    for id in small {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(SHORT)?;
        let header = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size: usize = header.rsplit(' ').next().and_then(|size| size.parse().ok()).ok_or(SHORT)?;
        let body = rest.get(end + 1..end + 1 + size).ok_or(SHORT)?;
        texts.insert(id.clone(), String::from_utf8_lossy(body).into_owned());
        rest = rest.get(end + 2 + size..).unwrap_or_default();
    }
    Ok(ids.into_iter().map(|(path, id)| (path, Blob { text: texts.get(&id).cloned(), id })).collect())
}

/// The object ids of the query's files in its commit, by path. Links, folders and submodules are no files.
fn blobs(query: &BranchQuery) -> Result<BTreeMap<String, String>, String> {
    let mut paths: Vec<&str> =
        query.status.values().chain(query.inboxes.values()).map(String::as_str).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut args = vec!["--literal-pathspecs", "ls-tree", "-z", "--full-tree", &query.head, "--"];
    args.extend(&paths);
    let ran = git(&query.repo, &args, None)?;
    if !ran.ok() {
        return Err(format!("its commit {} can't be read: {}", query.head, ran.why()));
    }
    let text = String::from_utf8_lossy(&ran.stdout);
    let entry = |entry: &str| {
        let (facts, path) = entry.split_once('\t')?;
        match facts.split(' ').collect::<Vec<_>>().as_slice() {
            ["100644" | "100755", "blob", id] if is_object_id(id) => {
                Some((path.to_owned(), (*id).to_owned()))
            }
            _ => None,
        }
    };
    Ok(text.split('\0').filter_map(entry).collect())
}

/// What came since the commit that was handed on last.
fn since(query: &BranchQuery) -> Result<SinceSeen, String> {
    let Some(old) = query.since.as_ref().filter(|old| **old != query.head) else {
        return Ok(SinceSeen::Nothing);
    };
    if !is_object_id(old) {
        return Ok(SinceSeen::Rewritten);
    }
    let ancestor = git(&query.repo, &["merge-base", "--is-ancestor", old, &query.head], None)?;
    match ancestor.status {
        Some(0) => {}
        // 1: it is none; 128: it is not there at all; too slow: it walks a long history for one that is not there.
        Some(_) | None => return Ok(SinceSeen::Rewritten),
    }
    let range = format!("{old}..{}", query.head);
    let count = COMMITS_MAX.to_string();
    let ran = git(
        &query.repo,
        &[
            "log",
            "-z",
            "--no-color",
            "--no-show-signature",
            "--encoding=UTF-8",
            "--format=%H %s",
            "-n",
            &count,
            &range,
            "--",
        ],
        None,
    )?;
    let ran = run(ran)?;
    let text = String::from_utf8_lossy(&ran.stdout);
    let mut commits: Vec<Commit> = text
        .split('\0')
        .filter_map(|record| {
            let (id, subject) = record.split_once(' ')?;
            Some(Commit { id: id.to_owned(), subject: subject.to_owned() })
                .filter(|commit| is_object_id(&commit.id))
        })
        .collect();
    commits.reverse();
    Ok(SinceSeen::Commits(commits))
}

fn run(ran: Ran) -> Result<Ran, String> {
    if ran.ok() { Ok(ran) } else { Err(ran.why()) }
}

fn git(repo: &Path, args: &[&str], stdin: Option<String>) -> Result<Ran, String> {
    let mut program = Program::new("git").args(["-C".as_ref(), repo.as_os_str()]).args(args);
    for name in REMOVED {
        program = program.without_env(name);
    }
    // A folder that is no repository must not lead to one that it lies in.
    program = program.env("GIT_CEILING_DIRECTORIES", repo.parent().unwrap_or(Path::new("/")));
    for (name, value) in [
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("LC_ALL", "C.UTF-8"),
    ] {
        program = program.env(name, value);
    }
    if let Some(text) = stdin {
        program = program.stdin(text.into_bytes());
    }
    program.run().map_err(|error| error.message())
}

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

/// Most commits that are handed on at once: the newest ones.
pub const COMMITS_MAX: usize = 500;
/// A reference file is one line.
const REF_MAX: u64 = 4096;
/// Largest packed-refs that is read.
const PACKED_MAX: u64 = 32 << 20;

/// Variables that would make git look at another repository, or wait for somebody.
const REMOVED: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_CEILING_DIRECTORIES",
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
    if dir.join("reftable").is_dir() {
        return rev_parse(repo, &name);
    }
    let mut name_now = name;
    // A symbolic reference names another one.
    for _ in 0..5 {
        let path = dir.join(&name_now);
        let loose = if path.is_dir() { None } else { text(&path, REF_MAX)? };
        let Some(line) = loose.as_deref().map(str::trim) else { return packed(&dir, &name_now) };
        match line.strip_prefix("ref:") {
            Some(next) if is_plain(next.trim()) => name_now = next.trim().to_owned(),
            Some(next) => return Err(format!("`{name_now}` points to `{}`", next.trim())),
            None if is_object_id(line) => return Ok(Some(line.to_owned())),
            None => return Err(format!("`{name_now}` holds no commit")),
        }
    }
    Err("its references point in a circle".to_owned())
}

fn is_plain(name: &str) -> bool {
    name.starts_with("refs/") && !name.contains("..") && !name.chars().any(char::is_control)
}

fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where the references are: of a worktree they are in its main repository.
fn common_dir(repo: &Path) -> Result<PathBuf, String> {
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
    match text(&dir.join("commondir"), REF_MAX)? {
        Some(common) => Ok(dir.join(common.trim())),
        None => Ok(dir),
    }
}

fn text(path: &Path, limit: u64) -> Result<Option<String>, String> {
    let bytes = read_bounded(path, limit).map_err(|error| error.message())?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn packed(dir: &Path, name: &str) -> Result<Option<String>, String> {
    let Some(text) = text(&dir.join("packed-refs"), PACKED_MAX)? else { return Ok(None) };
    let found = text.lines().find_map(|line| {
        let (id, named) = line.split_once(' ')?;
        (named == name && is_object_id(id)).then(|| id.to_owned())
    });
    Ok(found)
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
    let files = contents(query)?;
    let done = query
        .status
        .iter()
        .filter(|(_, path)| {
            files.get(*path).is_some_and(|file| done::is_marked(&file.text, &query.done_marker))
        })
        .map(|(id, _)| id.clone())
        .collect();
    let inboxes = query
        .inboxes
        .iter()
        .filter_map(|(name, path)| {
            let file = files.get(path).filter(|file| !file.text.trim().is_empty())?;
            Some((name.clone(), file.id.clone()))
        })
        .collect();
    Ok(BranchFacts { head: query.head.clone(), done, inboxes, since: since(query)? })
}

struct Blob {
    id: String,
    text: String,
}

/// The files of the query, by path, in one call of git. Missing ones are left out.
fn contents(query: &BranchQuery) -> Result<BTreeMap<String, Blob>, String> {
    let mut paths: Vec<&String> = query.status.values().chain(query.inboxes.values()).collect();
    paths.sort();
    paths.dedup();
    let asked: String = paths.iter().map(|path| format!("{}:{path}\n", query.head)).collect();
    let ran = git(&query.repo, &["cat-file", "--batch"], Some(asked))?;
    if !ran.ok() {
        return Err(ran.why());
    }
    let mut rest = ran.stdout.as_slice();
    let mut files = BTreeMap::new();
    for path in paths {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("git said less than was asked for")?;
        let header = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 1..];
        let words: Vec<&str> = header.split(' ').collect();
        let &[id, kind, size] = words.as_slice() else { continue };
        let Some(size) = size.parse::<usize>().ok().filter(|_| is_object_id(id)) else { continue };
        let body = rest.get(..size).ok_or("git said less than was asked for")?;
        if kind == "blob" {
            let text = String::from_utf8_lossy(body).into_owned();
            files.insert(path.clone(), Blob { id: id.to_owned(), text });
        }
        rest = rest.get(size + 1..).unwrap_or_default();
    }
    // A commit that is not there has no files either: it must not look like one without them.
    if files.is_empty()
        && !git(&query.repo, &["cat-file", "-e", &format!("{}^{{commit}}", query.head)], None)?.ok()
    {
        return Err(format!("its commit {} is not there", query.head));
    }
    Ok(files)
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
        // 1: it is none; 128: it is not there at all.
        Some(_) => return Ok(SinceSeen::Rewritten),
        None => return Err(ancestor.why()),
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
    if !ran.ok() {
        return Err(ran.why());
    }
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

fn git(repo: &Path, args: &[&str], stdin: Option<String>) -> Result<Ran, String> {
    let mut program = Program::new("git").args(["-C".as_ref(), repo.as_os_str()]).args(args);
    for name in REMOVED {
        program = program.without_env(name);
    }
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

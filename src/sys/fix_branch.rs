//! A healing agent's edits, apart from the operator's work: what the tree was is written down before the agent is asked;
//! afterwards its edits are a commit on a branch of their own, and can be taken out of the tree again exactly.
//!
//! Nothing is ever checked out, stashed, cleaned or reset: the operator's branch, index and files stay what and where they
//! are, while the agent's edits also stand in the tree, so that a restart runs with them. All commits are made with an index of
//! our own. Each step may be repeated after a crash. Left alone, always: ignored files, submodules, files too large to be an
//! edit, the state directory. Deliberately not here: asking the agent, and judging whether it helped (`policy`).

use super::files::{make_dir, read_bounded, write_plain};
use super::fix_git::Git;
use super::fix_tree::{self as tree, Entry};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest record that is read.
const RECORD_MAX: u64 = 64 << 20;
/// Longest index that is kept.
const INDEX_MAX: u64 = 1 << 30;
/// Most paths that may differ from the commit: more is a tree that nobody can answer for.
const PATHS_MAX: usize = 20_000;
/// Longest diff that is handed on, bytes.
const DIFF_MAX: usize = 64 << 10;
/// What a repository has while an operation of the operator's is under way.
const UNDER_WAY: [(&str, &str); 6] = [
    ("MERGE_HEAD", "a merge"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("BISECT_LOG", "a bisect"),
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase"),
];

/// Where a fix is made, and what belongs to it.
#[derive(Clone, Debug)]
pub struct Place {
    /// A folder of the tree: the process's.
    pub dir: PathBuf,
    /// The incident's id.
    pub incident: String,
    /// A folder of ours for the records of this fix.
    pub store: PathBuf,
    /// Our own files, which may lie in the tree.
    pub state_dir: PathBuf,
}

/// What is done about uncommitted work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// The agent is not asked.
    Refuse,
    /// It stays in the tree; it is kept beside it too, and never goes to the fix's branch.
    Keep,
}

/// What the tree was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Version of the format.
    pub v: u32,
    /// Top of the tree.
    pub root: PathBuf,
    /// The commit.
    pub head: String,
    /// The branch, as a reference; None = detached.
    pub branch: Option<String>,
    /// What differed from the commit: the operator's own work.
    pub work: BTreeMap<String, Entry>,
}

/// What an agent did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Edits {
    /// Version of the format.
    pub v: u32,
    /// The branch with them; "" = it edited nothing that could go there.
    pub branch: String,
    /// Its commit.
    pub commit: String,
    /// Each path: before and after.
    pub paths: BTreeMap<String, Change>,
    /// What is in the tree and not on the branch, and why.
    pub left_out: Vec<String>,
    /// Against the commit before, bounded.
    pub diff: String,
}

/// One path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// As it was; None = as the commit has it.
    pub before: Option<Entry>,
    /// As the agent left it.
    pub after: Entry,
}

/// What became of a restore or a merge: what could not be done, in words. Empty = all of it was.
pub type Left = Vec<String>;

/// Is this folder in a git tree?
pub fn is_tree(dir: &Path) -> bool {
    open(dir).is_ok()
}

/// Is it known what the tree was?
pub fn is_begun(place: &Place) -> bool {
    place.store.join("snapshot.json").exists()
}

/// Writes down what the tree is. Done again, it keeps what it wrote first: the agent may have been at work since.
pub fn begin(place: &Place, dirty: Dirty) -> Result<Snapshot, String> {
    if let Some(known) = load::<Snapshot>(&place.store.join("snapshot.json"))? {
        return Ok(known);
    }
    let git = open(&place.dir)?;
    may_begin(&git)?;
    let head = git
        .line(&["rev-parse", "--verify", "HEAD^{commit}"])
        .map_err(|_| "the repository has no commit yet".to_owned())?;
    let branch = branch(&git)?;
    let status = tree::status(&git, &git.root.clone(), &place.state_dir)?;
    if status.len() > PATHS_MAX {
        return Err(format!(
            "{} paths differ from the last commit: that is too much to answer for",
            status.len()
        ));
    }
    let tracked: Vec<&String> =
        status.iter().filter(|(_, how)| **how == tree::How::Tracked).map(|(path, _)| path).collect();
    if dirty == Dirty::Refuse && !tracked.is_empty() {
        let names = tracked.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "the tree has uncommitted work ({} files: {names}): commit it, or set healing `dirty`",
            tracked.len()
        ));
    }
    let mut work = BTreeMap::new();
    for path in status.keys() {
        work.insert(path.clone(), tree::entry(&git, path)?);
    }
    protect(&git, place, &work)?;
    let snapshot = Snapshot { v: 1, root: git.root.clone(), head, branch, work };
    make_dir(&place.store).map_err(|e| e.message())?;
    keep_index(&git, &place.store.join("index"))?;
    save(&place.store.join("snapshot.json"), &snapshot)?;
    Ok(snapshot)
}

/// After the agent: its edits become a commit on a branch of their own. Branch and index of the operator are put back if it
/// moved them. May be repeated.
pub fn collect(place: &Place) -> Result<Edits, String> {
    if let Some(known) = load::<Edits>(&place.store.join("edits.json"))? {
        return Ok(known);
    }
    let (git, snapshot) = begun(place)?;
    let mut left_out = put_back_head(&git, &snapshot)?;
    put_back_index(&git, place)?;
    let now = tree::status(&git, &git.root.clone(), &place.state_dir)?;
    if now.len() > PATHS_MAX {
        return Err(format!("{} paths differ from the commit before the agent", now.len()));
    }
    let all: BTreeSet<&String> = now.keys().chain(snapshot.work.keys()).collect();
    let mut paths = BTreeMap::new();
    for path in all {
        let after = tree::entry(&git, path)?;
        let before = snapshot.work.get(path).cloned();
        let is_new = before.is_none() && now.get(path) == Some(&tree::How::Untracked);
        match (&before, &after) {
            (Some(before), after) if before == after => {}
            (_, Entry::Left { why }) => {
                // What is too large to be an edit, a nested repository: nobody knows whose it is.
                left_out.push(format!("`{path}`: {why}"));
            }
            _ => {
                let before = if is_new { Some(Entry::Absent) } else { before };
                paths.insert(path.clone(), Change { before, after });
            }
        }
    }
    let (commit, more) = commit(&git, place, &snapshot, &paths)?;
    left_out.extend(more);
    let name = free_branch(&git, &place.incident, commit.as_deref())?;
    let mut edits = Edits { v: 1, paths, left_out, ..Edits::default() };
    if let Some(commit) = commit {
        git.call(&["update-ref", &format!("refs/heads/{name}"), &commit])?;
        edits.diff = diff(&git, &snapshot.head, &commit)?;
        (edits.branch, edits.commit) = (name, commit);
    }
    save(&place.store.join("edits.json"), &edits)?;
    Ok(edits)
}

/// The edits did not help: every path of them is again what it was. What somebody changed since is left alone, and said; so
/// is the branch, where the edits can still be read.
pub fn restore(place: &Place) -> Result<Left, String> {
    let edits = collect(place)?;
    let (git, snapshot) = begun(place)?;
    let mut left = Left::new();
    // Removals first: a file may stand where a folder has to be.
    let mut later = Vec::new();
    for (path, change) in &edits.paths {
        let now = tree::entry(&git, path)?;
        let before = match &change.before {
            Some(before) => before.clone(),
            None => tree::with_mode_of(tree::committed(&git, &snapshot.head, path)?, &now),
        };
        if now == before {
            continue;
        }
        if now != change.after {
            left.push(format!("`{path}` was changed since the agent: it is left as it is"));
        } else if before == Entry::Absent {
            left.extend(tree::remove(&git.root, path).err());
        } else {
            later.push((path, before));
        }
    }
    for (path, before) in later {
        left.extend(tree::put(&git, path, &before).err());
    }
    // The index knows the files' times: without this every restored file looks changed to a plain look.
    let _ = git.ask(&["update-index", "-q", "--refresh"], Vec::new());
    Ok(left)
}

/// The edits hold. The branch is left for a person, who also finds them in the tree.
pub fn keep(place: &Place) -> Result<Edits, String> {
    collect(place)
}

/// The edits hold, and go into the branch that they came from, if that is still where it was. Then their own branch goes.
pub fn merge(place: &Place) -> Result<Left, String> {
    let edits = collect(place)?;
    let (git, snapshot) = begun(place)?;
    if edits.commit.is_empty() {
        return Ok(Left::new());
    }
    let stays = |why: &str| Ok(vec![format!("{why}: `{}` is left for you to merge", edits.branch)]);
    let Some(into) = &snapshot.branch else { return stays("the tree is on no branch") };
    if branch(&git)?.as_ref() != Some(into) {
        return stays("another branch is checked out by now");
    }
    let tip = git.line(&["rev-parse", "--verify", into])?;
    if tip != edits.commit {
        if tip != snapshot.head {
            return stays("the branch moved on");
        }
        git.call(&["update-ref", "-m", "watchkeeper: a fix that held", into, &edits.commit, &snapshot.head])?;
    }
    tree::advance_index(&git, &snapshot.head, &edits.commit)?;
    git.call(&["update-ref", "-d", &format!("refs/heads/{}", edits.branch), &edits.commit]).or_else(
        |why| {
            if git
                .ask(
                    &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{}", edits.branch)],
                    Vec::new(),
                )
                .is_ok_and(|ran| ran.ok())
            {
                Err(why)
            } else {
                Ok(Vec::new())
            }
        },
    )?;
    Ok(Left::new())
}

/// Lets go of what protected the operator's work; the records may be removed by then.
pub fn forget(place: &Place) -> Result<(), String> {
    let git = open(&place.dir)?;
    git.ask(&["update-ref", "-d", &guard(&place.incident)], Vec::new()).map(|_| ())
}

/// `watchkeeper/fix-<incident>`
pub fn branch_name(incident: &str) -> String {
    format!("watchkeeper/fix-{incident}")
}

/// The branch's name; with `-2`, `-3` … when an earlier attempt's edits have it.
fn free_branch(git: &Git, incident: &str, commit: Option<&str>) -> Result<String, String> {
    let first = branch_name(incident);
    for n in 1..100 {
        let name = if n == 1 { first.clone() } else { format!("{first}-{n}") };
        let ran =
            git.ask(&["rev-parse", "--verify", "--quiet", &format!("refs/heads/{name}")], Vec::new())?;
        if !ran.ok() || Some(String::from_utf8_lossy(&ran.stdout).trim()) == commit {
            return Ok(name);
        }
    }
    Err(format!("there are a hundred branches `{first}-…`: remove some"))
}

/// Keeps the objects of the operator's uncommitted work from being collected.
fn guard(incident: &str) -> String {
    format!("refs/watchkeeper/{incident}")
}

fn protect(git: &Git, place: &Place, work: &BTreeMap<String, Entry>) -> Result<(), String> {
    let mut listing = Vec::new();
    for (n, blob) in work.values().filter_map(Entry::blob).enumerate() {
        listing.extend(format!("100644 blob {blob}\t{n}\0").into_bytes());
    }
    let id = git.fed(&["mktree", "-z"], listing)?;
    let id = String::from_utf8_lossy(&id).trim().to_owned();
    git.call(&["update-ref", &guard(&place.incident), &id]).map(|_| ())
}

fn open(dir: &Path) -> Result<Git, String> {
    let here = Git { root: dir.to_owned(), index: None };
    let top = here.call(&["rev-parse", "--show-toplevel"]).map_err(|why| {
        format!("`{}` is in no git tree, so edits could not be taken back: {why}", dir.display())
    })?;
    let top = String::from_utf8(top).map_err(|_| "the tree's path is not UTF-8".to_owned())?;
    Ok(Git { root: PathBuf::from(top.strip_suffix('\n').unwrap_or(&top)), index: None })
}

fn begun(place: &Place) -> Result<(Git, Snapshot), String> {
    let snapshot = load::<Snapshot>(&place.store.join("snapshot.json"))?
        .ok_or_else(|| "nothing is known of the tree before the agent".to_owned())?;
    Ok((Git { root: snapshot.root.clone(), index: None }, snapshot))
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

/// The branch as a reference; None = detached.
fn branch(git: &Git) -> Result<Option<String>, String> {
    let ran = git.ask(&["symbolic-ref", "--quiet", "HEAD"], Vec::new())?;
    let name = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    match ran.status {
        Some(0) => Ok(Some(name)),
        Some(1) => Ok(None),
        Some(_) | None => Err(format!("git symbolic-ref: {}", ran.why())),
    }
}

fn index_path(git: &Git) -> Result<PathBuf, String> {
    let path = git.line(&["rev-parse", "--git-path", "index"])?;
    Ok(git.root.join(path))
}

/// The agent committed, or switched branches: the operator's branch and HEAD go back to where they were. The tree is not
/// touched, so what it committed is seen as its edits.
fn put_back_head(git: &Git, snapshot: &Snapshot) -> Result<Left, String> {
    let mut said = Left::new();
    if let Some(wanted) = &snapshot.branch {
        if branch(git)?.as_ref() != Some(wanted) {
            git.call(&["symbolic-ref", "-m", "watchkeeper: back to where it was", "HEAD", wanted])?;
        }
        let tip = git.line(&["rev-parse", "--verify", wanted])?;
        if tip != snapshot.head {
            git.call(&[
                "update-ref",
                "-m",
                "watchkeeper: commits go to the fix's branch",
                wanted,
                &snapshot.head,
                &tip,
            ])?;
            said.push(format!("the agent committed to `{wanted}` itself ({tip}): that is on the fix's branch as one commit now"));
        }
    } else {
        let now = git.line(&["rev-parse", "--verify", "HEAD^{commit}"])?;
        if branch(git)?.is_some() || now != snapshot.head {
            git.call(&[
                "update-ref",
                "--no-deref",
                "-m",
                "watchkeeper: back to where it was",
                "HEAD",
                &snapshot.head,
            ])?;
        }
    }
    Ok(said)
}

/// Keeps a copy of the index, with its time: git looks into a file only when the index is no younger than it (the "racy"
/// problem), so an index that came back with a later time would hide edits of the same second and size.
fn keep_index(git: &Git, copy: &Path) -> Result<(), String> {
    let path = index_path(git)?;
    let Some(index) = read_bounded(&path, INDEX_MAX).map_err(|e| e.message())? else { return Ok(()) };
    write_plain(copy, &index).map_err(|e| e.message())?;
    same_time(&path, copy)
}

fn same_time(from: &Path, to: &Path) -> Result<(), String> {
    let set = || {
        let time = std::fs::metadata(from)?.modified()?;
        std::fs::File::options().write(true).open(to)?.set_modified(time)
    };
    set().map_err(|error: std::io::Error| format!("`{}`: {error}", to.display()))
}

/// What the agent staged is unstaged: the index is again, entry by entry, what the operator had.
fn put_back_index(git: &Git, place: &Place) -> Result<(), String> {
    let Some(before) = read_bounded(&place.store.join("index"), INDEX_MAX).map_err(|e| e.message())? else {
        return Ok(());
    };
    let kept = git.with_index(&place.store.join("index"));
    let list = ["ls-files", "--stage", "-z"];
    if kept.call(&list)? == git.call(&list)? {
        return Ok(());
    }
    let path = index_path(git)?;
    let lock = path.with_extension("lock");
    tree::write_new(&lock, &before).map_err(|why| format!("the index is in use ({why})"))?;
    let placed = same_time(&place.store.join("index"), &lock)
        .and_then(|()| std::fs::rename(&lock, &path).map_err(|error| error.to_string()));
    if placed.is_err() {
        let _ = std::fs::remove_file(&lock);
    }
    placed?;
    let _ = git.ask(&["update-index", "-q", "--refresh"], Vec::new());
    Ok(())
}

/// The commit: the operator's last one and the agent's edits to what the operator had not touched. None = no such edits.
fn commit(
    git: &Git,
    place: &Place,
    snapshot: &Snapshot,
    paths: &BTreeMap<String, Change>,
) -> Result<(Option<String>, Left), String> {
    let index = place.store.join("fix-index");
    let _ = std::fs::remove_file(&index);
    let own = git.with_index(&index);
    own.call(&["read-tree", &snapshot.head])?;
    let mut left = Left::new();
    let mut lines = Vec::new();
    for (path, change) in paths {
        // In the snapshot = it held work of the operator's before.
        if snapshot.work.contains_key(path) {
            left.push(format!(
                "`{path}`: it held uncommitted work of yours, so the agent's edits to it are in the tree only"
            ));
            continue;
        }
        lines.extend(tree::index_line(git, path, &change.after, snapshot.head.len())?);
    }
    own.fed(&["update-index", "-z", "--index-info"], lines)?;
    let id = own.line(&["write-tree"])?;
    let _ = std::fs::remove_file(&index);
    if id == git.line(&["rev-parse", "--verify", &format!("{}^{{tree}}", snapshot.head)])? {
        return Ok((None, left));
    }
    let message = format!("Fix for {}\n\nEdits of the healing agent, as they were tried.\n", place.incident);
    let made = git.fed(&["commit-tree", &id, "-p", &snapshot.head], message.into_bytes())?;
    Ok((Some(String::from_utf8_lossy(&made).trim().to_owned()), left))
}

fn diff(git: &Git, from: &str, to: &str) -> Result<String, String> {
    let bytes =
        git.call(&["diff-tree", "-p", "-r", "--no-color", "--no-ext-diff", "--no-textconv", from, to])?;
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(DIFF_MAX)]).into_owned();
    if bytes.len() > DIFF_MAX {
        text.push_str("\n… (cut)\n");
    }
    Ok(text)
}

fn load<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let Some(bytes) = read_bounded(path, RECORD_MAX).map_err(|e| e.message())? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), String> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| error.to_string())?;
    if let Some(dir) = path.parent() {
        make_dir(dir).map_err(|e| e.message())?;
    }
    write_plain(path, &text).map_err(|e| e.message())
}

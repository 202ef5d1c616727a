//! Where the operator's repository stands: branch, HEAD and index, put back when an agent moved them. The tree is not touched.
//!
//! Deliberately not here: files of the tree (`fix_tree`, `fix_stash`), commits of ours (`fix_branch`).

use super::files::read_bounded;
use super::fix_branch::{Left, Place, Snapshot, durable, load, save};
use super::fix_git::Git;
use super::fix_tree as tree;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What was moved back, in words for people: a file of a fix's folder.
pub(super) const MOVED: &str = "moved.json";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Moved {
    v: u32,
    told: Vec<String>,
}

/// Longest index that is kept.
const INDEX_MAX: u64 = 1 << 30;

/// The branch as a reference; None = detached.
pub(super) fn branch(git: &Git) -> Result<Option<String>, String> {
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

/// Somebody committed, or switched branches: the operator's branch and HEAD go back to where they were. The tree is not
/// touched, so what was committed is seen as the agent's edits. Nobody can tell whether the agent did it, so the commits get
/// a name first, and people hear of it (`moved`).
pub(super) fn put_back(git: &Git, place: &Place, snapshot: &Snapshot) -> Result<Left, String> {
    let mut said = Left::new();
    let now = git.line(&["rev-parse", "--verify", "HEAD^{commit}"]);
    let Some(wanted) = &snapshot.branch else {
        let now = now?;
        if branch(git)?.is_some() || now != snapshot.head {
            keep_moved(git, place, snapshot, "HEAD", &now)?;
            let why = "watchkeeper: back to where it was";
            git.call(&["update-ref", "--no-deref", "-m", why, "HEAD", &snapshot.head])?;
        }
        return Ok(said);
    };
    let on = branch(git)?;
    if on.as_ref() != Some(wanted) {
        // A branch without a commit has nothing to keep.
        if let Ok(now) = &now {
            keep_moved(git, place, snapshot, on.as_deref().unwrap_or("HEAD"), now)?;
        }
        git.call(&["symbolic-ref", "-m", "watchkeeper: back to where it was", "HEAD", wanted])?;
    }
    let tip = git.line(&["rev-parse", "--verify", wanted])?;
    if tip != snapshot.head {
        keep_moved(git, place, snapshot, wanted, &tip)?;
        let why = "watchkeeper: commits go to the fix's branch";
        git.call(&["update-ref", "-m", why, wanted, &snapshot.head, &tip])?;
        said.push(format!(
            "the agent committed to `{wanted}` itself ({tip}): that is on the fix's branch as one commit now"
        ));
    }
    Ok(said)
}

/// A name for a commit that is about to have none, and words about it.
fn keep_moved(git: &Git, place: &Place, snapshot: &Snapshot, from: &str, commit: &str) -> Result<(), String> {
    if commit == snapshot.head {
        return Ok(());
    }
    let attempt = place.store.file_name().unwrap_or_default().to_string_lossy();
    for n in 1..100 {
        let more = if n == 1 { String::new() } else { format!("-{n}") };
        let name = format!("refs/watchkeeper/moved/{attempt}{more}");
        let ran = git.ask(&["rev-parse", "--verify", "--quiet", &name], Vec::new())?;
        if ran.ok() && String::from_utf8_lossy(&ran.stdout).trim() != commit {
            continue;
        }
        git.call(&["update-ref", &name, commit])?;
        let mut moved = load::<Moved>(&place.store.join(MOVED))?.unwrap_or_default();
        let words = format!(
            "`{from}` moved while the agent was at work, and the tree's branch is back where it was: if that was \
             you, your commits are in `{name}` (`git merge` takes it)"
        );
        if !moved.told.contains(&words) {
            moved.v = 1;
            moved.told.push(words);
            save(&place.store.join(MOVED), &moved)?;
        }
        return Ok(());
    }
    Err(format!("there are a hundred `refs/watchkeeper/moved/{attempt}-…`: remove some"))
}

/// What people must hear of commits that were taken off their branch.
pub(super) fn moved(place: &Place) -> Result<Left, String> {
    Ok(load::<Moved>(&place.store.join(MOVED))?.unwrap_or_default().told)
}

/// Keeps a copy of the index, with its time: git looks into a file only when the index is no younger than it (the "racy"
/// problem), so an index that came back with a later time would hide edits of the same second and size.
pub(super) fn keep_index(git: &Git, copy: &Path) -> Result<(), String> {
    let path = index_path(git)?;
    let Some(index) = read_bounded(&path, INDEX_MAX).map_err(|e| e.message())? else { return Ok(()) };
    durable(copy, &index)?;
    same_time(&path, copy)
}

fn same_time(from: &Path, to: &Path) -> Result<(), String> {
    let set = || {
        let time = std::fs::metadata(from)?.modified()?;
        std::fs::File::options().write(true).open(to)?.set_modified(time)
    };
    set().map_err(|error: std::io::Error| format!("`{}`: {error}", to.display()))
}

/// What the agent staged is unstaged: the index is again, entry by entry, what the operator had. Whoever stages something in
/// that moment is held off by the lock.
pub(super) fn put_back_index(git: &Git, place: &Place) -> Result<(), String> {
    let copy = place.store.join("index");
    let Some(before) = read_bounded(&copy, INDEX_MAX).map_err(|e| e.message())? else {
        return Ok(());
    };
    if staged(&git.with_index(&copy))? == staged(git)? {
        return Ok(());
    }
    let path = index_path(git)?;
    let lock = path.with_extension("lock");
    tree::write_new(&lock, &before).map_err(|why| format!("the index is in use ({why})"))?;
    let placed = same_time(&copy, &lock)
        .and_then(|()| std::fs::rename(&lock, &path).map_err(|error| error.to_string()));
    if placed.is_err() {
        let _ = std::fs::remove_file(&lock);
    }
    placed?;
    let _ = git.ask(&["update-index", "-q", "--refresh"], Vec::new());
    Ok(())
}

/// The entries of an index.
fn staged(git: &Git) -> Result<Vec<u8>, String> {
    git.call(&["ls-files", "--stage", "-z"])
}

/// Before the index is made plain: what is staged must be what was kept, or be plain already.
pub(super) fn is_kept(git: &Git, place: &Place, commit: &str) -> Result<(), String> {
    let now = staged(git)?;
    let copy = place.store.join("index");
    if copy.exists() && now == staged(&git.with_index(&copy))? {
        return Ok(());
    }
    let plain = git.with_index(&place.store.join("plain-index"));
    let read = plain.call(&["read-tree", commit]).and_then(|_| staged(&plain));
    let _ = std::fs::remove_file(place.store.join("plain-index"));
    if now == read? { Ok(()) } else { Err("what is staged changes while we look".to_owned()) }
}

/// The index as a commit has it: nothing is staged.
pub(super) fn plain_index(git: &Git, commit: &str) -> Result<(), String> {
    git.call(&["read-tree", commit])?;
    let _ = git.ask(&["update-index", "-q", "--refresh"], Vec::new());
    Ok(())
}

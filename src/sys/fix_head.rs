//! Where the operator's repository stands: branch, HEAD and index, put back when an agent moved them. The tree is not touched.
//!
//! Deliberately not here: files of the tree (`fix_tree`, `fix_stash`), commits of ours (`fix_branch`).

use super::files::{read_bounded, write_plain};
use super::fix_branch::{Left, Place, Snapshot};
use super::fix_git::Git;
use super::fix_tree as tree;
use std::path::{Path, PathBuf};

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

/// The agent committed, or switched branches: the operator's branch and HEAD go back to where they were. The tree is not
/// touched, so what it committed is seen as its edits.
pub(super) fn put_back(git: &Git, snapshot: &Snapshot) -> Result<Left, String> {
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
pub(super) fn keep_index(git: &Git, copy: &Path) -> Result<(), String> {
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
pub(super) fn put_back_index(git: &Git, place: &Place) -> Result<(), String> {
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

/// The index as a commit has it: nothing is staged.
pub(super) fn plain_index(git: &Git, commit: &str) -> Result<(), String> {
    git.call(&["read-tree", commit])?;
    let _ = git.ask(&["update-index", "-q", "--refresh"], Vec::new());
    Ok(())
}

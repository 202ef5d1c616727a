//! One healing at a time in a tree: a marker in git's own folder of that tree names the fix that has it, from its beginning
//! until its edits are kept, merged or taken back.
//!
//! It is a link that leads to the fix's folder: made at once with what it says, or not at all. Deliberately not here: what
//! is done meanwhile (`fix_branch`).

use super::fix_branch::Place;
use super::fix_git::Git;
use super::git::own_dir;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Its name.
const MARKER: &str = "watchkeeper-healing";

fn path(git: &Git) -> Result<PathBuf, String> {
    let dir = own_dir(&git.root).map_err(|why| format!("`{}`: {why}", git.root.display()))?;
    std::path::absolute(dir.join(MARKER)).map_err(|error| error.to_string())
}

fn own(place: &Place) -> Result<PathBuf, String> {
    std::path::absolute(&place.store).map_err(|error| error.to_string())
}

/// Takes the tree, or says who has it. The fix's folder has to be there: without it the marker holds nobody off.
pub(super) fn take(git: &Git, place: &Place) -> Result<(), String> {
    let (marker, own) = (path(git)?, own(place)?);
    let said = |error: std::io::Error| format!("`{}`: {error}", marker.display());
    // Once more when the one that stood there is over.
    for _ in 0..2 {
        match std::os::unix::fs::symlink(&own, &marker) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(said(error)),
        }
        let other = std::fs::read_link(&marker).map_err(said)?;
        let recorded = ["refs.json", "snapshot.json"].iter().any(|file| own.join(file).exists());
        if other == own && recorded {
            return Ok(());
        }
        if other != own && other.is_dir() {
            return Err(format!(
                "another healing is at work in this tree (`{}` leads to `{}`)",
                marker.display(),
                other.display()
            ));
        }
        if let Some(name) = super::fix_stash::last_of(git, &other) {
            let then = if other == own { String::new() } else { format!(", then `rm {}`", marker.display()) };
            return Err(format!(
                "the records of an earlier healing in this tree (`{}`) are gone: work that it put aside is in `{name}`; \
                 bring it back with `git stash apply {name}`{then}",
                other.display()
            ));
        }
        if other == own {
            return Ok(());
        }
        remove(&marker, &other);
    }
    Err(format!("`{}` comes again and again", marker.display()))
}

/// The marker of a tree, and the fix's folder that it leads to; None = there is none. (Asked by the tick: no call of git.)
pub(super) fn holder(root: &Path) -> Option<(PathBuf, PathBuf)> {
    let marker = own_dir(root).ok()?.join(MARKER);
    let leads_to = std::fs::read_link(&marker).ok()?;
    Some((marker, leads_to))
}

/// Does it lead to this fix's folder, which may be gone?
pub(super) fn is_held(git: &Git, place: &Place) -> bool {
    let leads_to = holder(&git.root).map(|(_, leads_to)| leads_to);
    leads_to.is_some() && leads_to == own(place).ok()
}

/// Gives the tree free again, if this fix has it.
pub(super) fn release(git: &Git, place: &Place) {
    if let (Ok(marker), Ok(own)) = (path(git), own(place)) {
        remove(&marker, &own);
    }
}

/// Removes the marker that leads there. It is renamed first: only one of two who do this at once gets it.
fn remove(marker: &Path, target: &Path) {
    let leads_there = |path: &Path| std::fs::read_link(path).is_ok_and(|link| link == target);
    let aside = marker.with_extension(std::process::id().to_string());
    if !leads_there(marker) || std::fs::rename(marker, &aside).is_err() {
        return;
    }
    // Another one came in between: it stands again.
    if !leads_there(&aside)
        && let Ok(link) = std::fs::read_link(&aside)
    {
        let _ = std::os::unix::fs::symlink(link, marker);
    }
    let _ = std::fs::remove_file(&aside);
}

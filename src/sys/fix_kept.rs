//! Fixes that were kept and not merged: their edits stand in the tree, uncommitted, and on a branch that waits for a person.
//! They are ours, not the operator's work: they do not forbid the next fix, which builds on them.
//!
//! What is believed must hold three times: we wrote it down, the branch is still there, and the tree has exactly its bytes.
//! Deliberately not here: the fix that is under way (`fix_branch`).

use super::fix_branch::{Edits, Place, Snapshot, load, save};
use super::fix_git::Git;
use super::fix_stash::Back;
use super::fix_tree::{self as tree, Entry};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The record, in the fix's folder.
const KEPT: &str = "kept.json";
/// Folders that are looked into.
const FOLDERS_MAX: usize = 1000;
/// Fixes that wait at once: each costs a few calls of git.
const WAITING_MAX: usize = 50;

/// One that was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    v: u32,
    root: PathBuf,
    branch: String,
    commit: String,
    /// What its edits left in the tree.
    paths: BTreeMap<String, Entry>,
}

/// Those whose branches still wait, of one tree.
#[derive(Debug, Default)]
pub(super) struct Before {
    waiting: Vec<Kept>,
}

/// Writes down what a fix that is kept leaves in the tree.
pub(super) fn remember(
    git: &Git,
    place: &Place,
    snapshot: &Snapshot,
    edits: &Edits,
    back: &Back,
) -> Result<(), String> {
    if edits.commit.is_empty() {
        return Ok(());
    }
    let own = |path: &&String| !back.tree.contains_key(*path);
    let changed = edits.paths.iter().filter(|(path, _)| own(path));
    let mut paths: BTreeMap<String, Entry> =
        changed.map(|(path, change)| (path.clone(), change.after.clone())).collect();
    // What was kept before is on this branch too, for it builds on it.
    for path in snapshot.ours.iter().filter(|path| !edits.paths.contains_key(*path)) {
        paths.insert(path.clone(), snapshot.work.get(path).cloned().unwrap_or_default());
    }
    let kept = Kept {
        v: 1,
        root: git.root.clone(),
        branch: edits.branch.clone(),
        commit: edits.commit.clone(),
        paths,
    };
    save(&place.store.join(KEPT), &kept)
}

/// The kept fixes whose branches still wait. The records of the others go.
pub(super) fn before(git: &Git, place: &Place, head: &str) -> Before {
    let mut waiting = Vec::new();
    let folders = place.store.parent().and_then(|fixes| std::fs::read_dir(fixes).ok());
    for folder in folders.into_iter().flatten().take(FOLDERS_MAX).flatten() {
        let path = folder.path().join(KEPT);
        let Ok(Some(kept)) = load::<Kept>(&path) else { continue };
        if kept.root != git.root || waiting.len() >= WAITING_MAX {
            continue;
        }
        match stands(git, &kept, head) {
            Some(true) => waiting.push(kept),
            Some(false) if !git.looks_only => forget(&path),
            Some(false) | None => {}
        }
    }
    Before { waiting }
}

fn forget(path: &Path) {
    let _ = std::fs::remove_file(path);
    let _ = path.parent().map(std::fs::remove_dir);
}

/// Its branch is there, with its commit, and the commit is not merged yet. None = git fails to say.
fn stands(git: &Git, kept: &Kept, head: &str) -> Option<bool> {
    let yes = |args: &[&str]| match git.ask(args, Vec::new()).ok()?.status {
        Some(0) => Some(true),
        Some(1) => Some(false),
        Some(_) | None => None,
    };
    let branch = format!("refs/heads/{}", kept.branch);
    let within = |tip: &str| yes(&["merge-base", "--is-ancestor", &kept.commit, tip]);
    if !yes(&["show-ref", "--verify", "--quiet", &branch])? || !within(&branch)? {
        return Some(false);
    }
    Some(!within(head)?)
}

impl Before {
    /// Is what stands at this path an edit of a kept fix?
    pub(super) fn has(&self, path: &str, entry: &Entry) -> bool {
        self.waiting.iter().any(|kept| kept.paths.get(path) == Some(entry))
    }

    /// The commit with these edits on top of the operator's: a kept fix's own, or a new one. "" = there are none.
    pub(super) fn base(
        &self,
        git: &Git,
        place: &Place,
        head: &str,
        ours: &BTreeSet<String>,
        work: &BTreeMap<String, Entry>,
    ) -> Result<String, String> {
        if ours.is_empty() {
            return Ok(String::new());
        }
        super::files::make_dir(&place.store).map_err(|e| e.message())?;
        let entries = ours.iter().filter_map(|path| Some((path, work.get(path)?)));
        let id = tree::of(git, &place.store.join("base-index"), Some(head), entries)?;
        for kept in &self.waiting {
            let same = git.line(&["rev-parse", "--verify", &format!("{}^{{tree}}", kept.commit)])? == id;
            let after = git.ask(&["merge-base", "--is-ancestor", head, &kept.commit], Vec::new())?.ok();
            if same && after {
                return Ok(kept.commit.clone());
            }
        }
        let message = "Fixes that were kept before\n".as_bytes().to_vec();
        let made = git.fed(&["commit-tree", &id, "-p", head], message)?;
        Ok(String::from_utf8_lossy(&made).trim().to_owned())
    }
}

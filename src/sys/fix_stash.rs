//! Uncommitted work while an agent edits its tree: protected first, then put aside, then put back exactly; and merged with the
//! agent's edits where both changed a file.
//!
//! It stands in three places before the tree is touched: as objects under `refs/watchkeeper/`, as a stash commit that
//! `git stash apply` takes, and as plain files in our own folder. So a kill at any step, and even the loss of the repository,
//! leaves a way back. Deliberately not here: the agent's edits (`fix_branch`).

use super::files::{make_dir, sync_dir, write_plain, write_synced};
use super::fix_branch::{Dirty, Edits, INDEX, Place, Snapshot, durable, guard, load, save};
use super::fix_git::Git;
use super::fix_head as head;
use super::fix_swap::{self as swap, Placed, Swaps};
use super::fix_tree::{self as tree, Entry, How};
use super::hosts::records::owner;
use super::writers;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// All of the work is out of the tree.
const ASIDE: &str = "aside";
/// What became of it.
const BACK: &str = "back.json";
/// What protects it in the repository.
const REFS: &str = "refs.json";
/// Copies of it.
const WORK: &str = "work";
/// Copies that are made, and their bytes together.
const COPIES_MAX: usize = 5000;
const COPIED_MAX: usize = 256 << 20;

/// What became of the work that was put aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Back {
    v: u32,
    /// What stands at paths that the agent had changed too.
    pub(super) tree: BTreeMap<String, Entry>,
    /// What could not be put back, by path, in words.
    pub(super) left: BTreeMap<String, String>,
}

/// The references that protect the work: their names, and what they were made to lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Refs {
    v: u32,
    /// Name and tree.
    guard: (String, String),
    /// Name and commit; empty = nothing is put aside.
    stash: (String, String),
}

fn refs(place: &Place) -> Result<Option<Refs>, String> {
    load(&place.store.join(REFS))
}

fn attempt(place: &Place) -> String {
    place.store.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// How the names of an attempt's stash commits begin. Other trees of the repository may have an attempt of that name.
fn stem(place: &Place) -> String {
    stem_of(&place.state_dir, &place.store)
}

fn stem_of(state_dir: &Path, store: &Path) -> String {
    let attempt = store.file_name().unwrap_or_default().to_string_lossy();
    format!("refs/watchkeeper/stash/{}/{attempt}", owner(state_dir))
}

/// The last name under which a fix's work stands, by the folder that it had: it may be gone.
pub(super) fn last_of(git: &Git, store: &Path) -> Option<String> {
    let stem = stem_of(store.parent()?.parent()?, store);
    newest(git, &stem)
}

/// The stash commit's name. (Of an older version: the attempt's.)
pub(super) fn name(place: &Place) -> String {
    let written = refs(place).ok().flatten().map(|refs| refs.stash.0).filter(|name| !name.is_empty());
    written.unwrap_or_else(|| format!("refs/watchkeeper/stash/{}", attempt(place)))
}

/// A name that nothing has: what stands under another one may be all that is left of somebody's work.
fn free(git: &Git, stem: &str) -> Result<String, String> {
    let numbered = (2..100).map(|n| format!("{stem}.{n}"));
    for name in std::iter::once(stem.to_owned()).chain(numbered) {
        let ran = git.ask(&["rev-parse", "--verify", "--quiet", &name], Vec::new())?;
        match (ran.ok(), ran.status) {
            (true, _) => {}
            (false, Some(1)) => return Ok(name),
            (false, _) => return Err(format!("git rev-parse: {}", ran.why())),
        }
    }
    Err(format!("there are a hundred references `{stem}…`: remove some"))
}

/// The newest stash commit of an attempt of this name, whose records are gone.
pub(super) fn last(git: &Git, place: &Place) -> Option<String> {
    newest(git, &stem(place))
}

fn newest(git: &Git, stem: &str) -> Option<String> {
    let numbered = format!("{stem}.*");
    let newest = ["for-each-ref", "--sort=-creatordate", "--count=1", "--format=%(refname)"];
    git.line(&[&newest[..], &[stem, &numbered]].concat()).ok().filter(|name| !name.is_empty())
}

/// Lets go of what protected the work, if it is still what was made for it.
pub(super) fn forget(git: &Git, place: &Place) -> Result<(), String> {
    let old = || {
        let guard = (format!("refs/watchkeeper/{}", place.incident), String::new());
        Refs { guard, stash: (name(place), String::new()), ..Refs::default() }
    };
    let refs = refs(place)?.unwrap_or_else(old);
    for (name, id) in [refs.guard, refs.stash] {
        match (name.is_empty(), id.is_empty()) {
            (true, _) => continue,
            (false, true) => git.ask(&["update-ref", "-d", &name], Vec::new())?,
            (false, false) => git.ask(&["update-ref", "-d", &name, &id], Vec::new())?,
        };
    }
    Ok(())
}

/// The folder with copies of the operator's work, if there are any.
pub(super) fn copies(place: &Place) -> Option<PathBuf> {
    Some(place.store.join(WORK)).filter(|dir| dir.exists())
}

/// Folders that are there although a file of theirs is not.
pub(super) fn folders(root: &Path, work: &BTreeMap<String, Entry>) -> BTreeSet<String> {
    let absent = work.iter().filter(|(_, entry)| **entry == Entry::Absent);
    let above = absent.flat_map(|(path, _)| Path::new(path).ancestors().skip(1));
    above
        .filter(|dir| !dir.as_os_str().is_empty() && root.join(dir).is_dir())
        .map(|dir| dir.to_string_lossy().into_owned())
        .collect()
}

/// Files that git does not know, with those who have them open for writing: a file that is put aside takes what they write
/// along. One that git knows can't be left where it is, so nothing is put aside then.
pub(super) fn open_files(
    git: &Git,
    dirty: Dirty,
    status: &BTreeMap<String, How>,
) -> Result<BTreeMap<String, String>, String> {
    let mut open = BTreeMap::new();
    for (path, writer) in writers_of(git, status.keys()) {
        match (status.get(&path), dirty) {
            (Some(How::Tracked), Dirty::Stash) => {
                return Err(format!(
                    "`{path}` has uncommitted work and {writer} has it open for writing: it can't be put aside"
                ));
            }
            (Some(How::Untracked), _) => drop(open.insert(path, writer)),
            (Some(How::Tracked), Dirty::Refuse) | (None, _) => {}
        }
    }
    Ok(open)
}

/// Those of these paths that somebody has open for writing: who.
pub(super) fn writers_of<'a>(git: &Git, paths: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let full: Vec<(&String, PathBuf)> = paths.map(|path| (path, git.root.join(path))).collect();
    let found = writers::of(full.iter().map(|(_, full)| full.as_path()));
    full.iter().filter_map(|(path, full)| Some(((*path).clone(), found.get(full)?.to_string()))).collect()
}

/// Keeps the work from being lost, before anything else.
pub(super) fn protect(
    git: &Git,
    place: &Place,
    snapshot: &Snapshot,
    status: &BTreeMap<String, How>,
) -> Result<(), String> {
    let mut listing = Vec::new();
    for (n, blob) in snapshot.work.values().filter_map(Entry::blob).enumerate() {
        listing.extend(format!("100644 blob {blob}\t{n}\0").into_bytes());
    }
    let id = git.fed(&["mktree", "-z"], listing)?;
    let id = String::from_utf8_lossy(&id).trim().to_owned();
    // Of a beginning that was killed: nothing is out of the tree yet.
    if refs(place)?.is_some() {
        forget(git, place)?;
    }
    let mut refs = Refs { v: 1, guard: (free(git, &guard(place))?, id), ..Refs::default() };
    if snapshot.stashed {
        refs.stash = (free(git, &stem(place))?, commit(git, place, snapshot, status)?);
    }
    // Written down first: what is not can't be removed.
    save(&place.store.join(REFS), &refs)?;
    // (An old value of "" = there is none.)
    git.call(&["update-ref", &refs.guard.0, &refs.guard.1, ""])?;
    copy(git, place, snapshot)?;
    if snapshot.stashed {
        git.call(&["update-ref", &refs.stash.0, &refs.stash.1, ""])?;
    }
    Ok(())
}

/// Plain files: whoever removes the repository does not remove these.
fn copy(git: &Git, place: &Place, snapshot: &Snapshot) -> Result<(), String> {
    let mut room = COPIED_MAX;
    // The folders that hold them, up to the one that holds the fix's: they are synced once, at the end.
    let above = place.store.parent().unwrap_or(&place.store);
    let mut folders: BTreeSet<PathBuf> = [above.to_owned(), place.store.clone()].into();
    for (path, entry) in own(snapshot).take(COPIES_MAX) {
        let Some(blob) = entry.blob() else { continue };
        let bytes = git.call(&["cat-file", "blob", blob])?;
        let Some(left) = room.checked_sub(bytes.len()) else { break };
        room = left;
        let to = place.store.join(WORK).join(path);
        let parent = to.parent().unwrap_or(&place.store);
        make_dir(parent).map_err(|e| e.message())?;
        folders.extend(parent.ancestors().take_while(|dir| *dir != above).map(Path::to_owned));
        match entry {
            Entry::Link { .. } => tree::link(&bytes, &to),
            Entry::File { mode, .. } => {
                write_synced(&to, &bytes).map_err(|e| e.message()).and_then(|()| tree::chmod(&to, *mode))
            }
            Entry::Absent | Entry::Left { .. } => Ok(()),
        }?;
    }
    folders.iter().try_for_each(|dir| sync_dir(dir)).map_err(|e| e.message())
}

/// The operator's own work.
fn own(snapshot: &Snapshot) -> impl Iterator<Item = (&String, &Entry)> {
    let is_own =
        |path: &String, entry: &Entry| !snapshot.ours.contains(path) && !matches!(entry, Entry::Left { .. });
    snapshot.work.iter().filter(move |(path, entry)| is_own(path, entry))
}

/// A commit as `git stash` makes it: the tree, then its parents: the commit, the index, the files that git does not know.
fn commit(
    git: &Git,
    place: &Place,
    snapshot: &Snapshot,
    status: &BTreeMap<String, How>,
) -> Result<String, String> {
    let index = place.store.join("stash-index");
    let tracked = own(snapshot).filter(|(path, _)| status.get(*path) == Some(&How::Tracked));
    let worktree = tree::of(git, &index, Some(&snapshot.head), tracked)?;
    let untracked = own(snapshot).filter(|(path, _)| status.get(*path) != Some(&How::Tracked));
    let others = tree::of(git, &index, None, untracked)?;
    let staged = match place.store.join(INDEX) {
        kept if kept.exists() => git.with_index(&kept).line(&["write-tree"])?,
        _ => git.line(&["rev-parse", "--verify", &format!("{}^{{tree}}", snapshot.head)])?,
    };
    let made = |tree: &str, parents: &[&str], what: &str| {
        let mut args = vec!["commit-tree", tree];
        for parent in parents {
            args.extend(["-p", parent]);
        }
        let message = format!("{what} before the healing of {}\n", place.incident);
        let id = git.fed(&args, message.into_bytes())?;
        Ok::<_, String>(String::from_utf8_lossy(&id).trim().to_owned())
    };
    let index = made(&staged, &[&snapshot.head], "The index")?;
    let others = made(&others, &[], "Untracked files")?;
    made(&worktree, &[&snapshot.head, &index, &others], "Uncommitted work")
}

/// Is all of it out of the tree?
pub(super) fn is_aside(place: &Place) -> bool {
    place.store.join(ASIDE).exists()
}

/// What the agent finds at a path of the work that is put aside.
fn clean(git: &Git, snapshot: &Snapshot, path: &str, work: &Entry) -> Result<Entry, String> {
    Ok(tree::with_mode_of(tree::committed(git, &snapshot.head, path)?, work))
}

/// Puts the operator's work aside. What can't be put aside is no reason to lose any: then all of it is put back.
pub(super) fn put_aside(git: &Git, place: &Place, snapshot: &Snapshot) -> Result<(), String> {
    if !snapshot.stashed || is_aside(place) {
        return Ok(());
    }
    let kept = format!("it is in `git stash apply {}`", name(place));
    if place.store.join(BACK).exists() {
        return Err(format!("your work could not all be put back before: {kept}"));
    }
    let done = clear_tree(git, place, snapshot).and_then(|()| {
        head::is_kept(git, place, &snapshot.head)?;
        head::plain_index(git, &snapshot.head)?;
        durable(&place.store.join(ASIDE), b"")
    });
    let Err(why) = done else { return Ok(()) };
    let back = put_back(git, place, snapshot, &Edits::default());
    match back.and_then(|()| self::back(place)) {
        Ok(back) if back.left.is_empty() => {
            let _ = super::fix_branch::forget(place);
            super::fix_branch::clear(place);
            Err(format!("your work could not be put aside: {why}"))
        }
        Ok(_) | Err(_) => Err(format!("your work could not be put aside, nor all of it back: {why}; {kept}")),
    }
}

fn clear_tree(git: &Git, place: &Place, snapshot: &Snapshot) -> Result<(), String> {
    let mut order = Vec::new();
    for (path, work) in own(snapshot) {
        let (now, clean) = (tree::entry(git, path)?, clean(git, snapshot, path, work)?);
        match clean {
            Entry::Left { .. } => {}
            clean if now == clean => {}
            _ if now != *work => return Err(format!("`{path}` changes while we look")),
            clean => order.push((path, now, clean)),
        }
    }
    // Folders stay, as they are.
    match Swaps::new(git, &place.store).all(&order, |_| {}).into_values().next() {
        Some(saved) => Err(saved),
        None => Ok(()),
    }
}

/// Puts it back: exactly, where the agent changed nothing; merged, where both changed a file and that can be done; else the
/// agent's version stands, and it is said where the operator's is. May be repeated.
pub(super) fn put_back(git: &Git, place: &Place, snapshot: &Snapshot, edits: &Edits) -> Result<(), String> {
    if !snapshot.stashed || place.store.join(BACK).exists() {
        return Ok(());
    }
    let mut back = Back { v: 1, ..Back::default() };
    let mut order = Vec::new();
    for (path, work) in own(snapshot) {
        let (now, clean) = (tree::entry(git, path)?, clean(git, snapshot, path, work)?);
        let agents = edits.paths.get(path).map(|change| &change.after);
        let wanted = match agents {
            None => Some(work.clone()),
            Some(agents) if agents == work => Some(work.clone()),
            Some(agents) => merged(git, place, &clean, agents, work)?,
        };
        if agents.is_some() {
            back.tree.insert(path.clone(), wanted.clone().unwrap_or_else(|| now.clone()));
        }
        let yours = format!("yours is in `{}` (`git stash apply` takes it)", name(place));
        let words = match &wanted {
            Some(wanted) if now == *wanted => continue,
            // A mode that only we changed is no change of somebody's.
            Some(_) if now == *agents.unwrap_or(&clean) || now == clean => None,
            Some(_) => Some(format!("`{path}` was changed meanwhile, and is left as it is; {yours}")),
            None => Some(format!(
                "`{path}`: you and the agent changed the same lines: the agent's stand in the tree, {yours}"
            )),
        };
        match (words, wanted) {
            (Some(words), _) => drop(back.left.insert(path.clone(), words)),
            (None, Some(wanted)) => order.push((path, now, wanted)),
            (None, None) => {}
        }
    }
    let prune = |path: &str| tree::prune(&git.root, path, &snapshot.folders);
    back.left.extend(Swaps::new(git, &place.store).all(&order, prune));
    let yours = format!("; yours is in `{}`", name(place));
    let unsaid = back.left.values_mut().filter(|why| !why.contains(&name(place)));
    unsaid.for_each(|why| why.push_str(&yours));
    head::put_back_index(git, place)?;
    save(&place.store.join(BACK), &back)
}

/// Both versions in one file; None when their lines conflict, or it is no text.
fn merged(
    git: &Git,
    place: &Place,
    base: &Entry,
    agents: &Entry,
    work: &Entry,
) -> Result<Option<Entry>, String> {
    let (Entry::File { .. }, Entry::File { .. }, Entry::File { mode, .. }) = (base, agents, work) else {
        return Ok(None);
    };
    let mut files = Vec::new();
    for (entry, file) in [(agents, "merge-agent"), (base, "merge-base"), (work, "merge-work")] {
        let bytes = git.call(&["cat-file", "blob", entry.blob().unwrap_or_default()])?;
        let path = place.store.join(file);
        write_plain(&path, &bytes).map_err(|e| e.message())?;
        files.push(path.to_string_lossy().into_owned());
    }
    let mut args = vec!["merge-file", "-p"];
    args.extend(files.iter().map(String::as_str));
    let ran = git.ask(&args, Vec::new());
    for file in &files {
        let _ = std::fs::remove_file(file);
    }
    let ran = ran?;
    match ran.ok() {
        true => Ok(Some(Entry::File { blob: tree::store(git, ran.stdout)?, mode: *mode })),
        false => Ok(None),
    }
}

/// What became of the work that was put aside.
pub(super) fn back(place: &Place) -> Result<Back, String> {
    load(&place.store.join(BACK)).map(Option::unwrap_or_default)
}

/// The repository is gone, and with it all that could be compared: what is missing in the tree comes from the copies. Names of
/// what could not be put back.
pub(super) fn rescue(place: &Place, snapshot: &Snapshot) -> Vec<String> {
    let mut left = Vec::new();
    for (path, entry) in own(snapshot).filter(|_| snapshot.stashed && !place.store.join(BACK).exists()) {
        let (from, to) = (place.store.join(WORK).join(path), snapshot.root.join(path));
        if *entry == Entry::Absent {
            continue;
        }
        let missing =
            std::fs::symlink_metadata(&to).is_err() && tree::parents_are_folders(&snapshot.root, path);
        // It never takes the place of what somebody makes there meanwhile.
        let new = tree::beside(&to);
        let made = match entry {
            Entry::Link { .. } if missing => {
                std::fs::read_link(&from).and_then(|target| std::os::unix::fs::symlink(target, &new))
            }
            Entry::File { .. } if missing => std::fs::copy(&from, &new).map(|_| ()),
            Entry::File { .. } | Entry::Link { .. } | Entry::Absent | Entry::Left { .. } => {
                Err(std::io::ErrorKind::Unsupported.into())
            }
        };
        let copied =
            made.is_ok() && swap::put_new(&new, &to).is_ok_and(|placed| matches!(placed, Placed::Done));
        if made.is_ok() && !copied {
            let _ = std::fs::remove_file(&new);
        }
        if !copied {
            left.push(path.clone());
        }
    }
    // What can be put back is back: nobody is told to ask a repository for it that is gone.
    let back = left.iter().map(|path| (path.clone(), "the repository is gone".to_owned())).collect();
    let _ = save(&place.store.join(BACK), &Back { left: back, ..Back::default() });
    left
}

/// The records go.
pub(super) fn clear(place: &Place) {
    for file in [ASIDE, BACK, REFS] {
        let _ = std::fs::remove_file(place.store.join(file));
    }
    let _ = std::fs::remove_dir_all(place.store.join(WORK));
}

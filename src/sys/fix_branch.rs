//! A healing agent's edits, apart from the operator's work: what the tree was is written down before the agent is asked;
//! afterwards its edits are a commit on a branch of their own, and can be taken out of the tree again exactly.
//!
//! The operator's branch and index stay what they are, and so do the files, while the agent's edits also stand in the tree, so
//! that a restart runs with them. All commits are made with an index of our own. Uncommitted work is out of the tree only while
//! the agent is at work (`fix_stash`), and only where the config says so. Each step may be repeated after a crash. Left alone,
//! always: ignored files, submodules, files too large to be an edit, the state directory. Deliberately not here: asking the
//! agent, and judging whether it helped (`policy`).

use super::files::{make_dir, read_bounded, sync_dir, write_synced};
use super::fix_git::Git;
use super::fix_look::{self as look, Found};
use super::fix_swap::Swaps;
use super::fix_tree::{self as tree, Entry};
use super::git::{own_dir, shared_by};
use super::hosts::records::owner;
use super::{
    fix_head as head, fix_ignored as ignored, fix_kept as kept, fix_marker as marker, fix_stash as stash,
};
use crate::base::text::quoted_word;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What the tree was, what the agent did, and the index: files of a fix's folder.
const SNAPSHOT: &str = "snapshot.json";
const EDITS: &str = "edits.json";
pub(super) const INDEX: &str = "index";
/// Longest record that is read.
const RECORD_MAX: u64 = 64 << 20;
/// Most paths that may differ from the commit: more is a tree that nobody can answer for.
pub(super) const PATHS_MAX: usize = 20_000;
/// Longest diff that is handed on, bytes.
const DIFF_MAX: usize = 64 << 10;
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
    /// Files that the watchdog reads while the agent is at work: they are never put aside.
    pub files: Vec<PathBuf>,
}

/// What is done about uncommitted work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// The agent is not asked.
    Refuse,
    /// It is put aside while the agent is at work, and put back after.
    Stash,
}

/// What a healing would make of a person's uncommitted work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// So many files forbid it.
    Forbids(usize),
    /// So many would be put aside.
    Aside(usize),
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
    /// What differed from the commit: the operator's own work, and edits of fixes that were kept before.
    pub work: BTreeMap<String, Entry>,
    /// Those of them that are edits of fixes that were kept before.
    pub ours: BTreeSet<String>,
    /// What the agent's commit builds on: the commit, with those edits; "" = the commit itself.
    pub base: String,
    /// The operator's work is put aside while the agent is at work.
    pub stashed: bool,
    /// Folders of work that consists in the absence of a file: they stay.
    pub folders: BTreeSet<String>,
    /// Files that git does not know and that somebody had open for writing: by whom. They are left where they are.
    pub open: BTreeMap<String, String>,
    /// What git ignored; a folder ends with `/`. Nothing at or below these is ever an edit.
    pub ignored: BTreeSet<String>,
    /// A digest of the rules for that which are no file of the tree; None = of an older version.
    pub rules: Option<String>,
}

impl Snapshot {
    /// What the agent's commit builds on.
    pub(super) fn base(&self) -> &str {
        if self.base.is_empty() { &self.head } else { &self.base }
    }

    /// Is this work in the tree while the agent is at work?
    fn stays(&self, path: &str) -> bool {
        !self.stashed || self.ours.contains(path)
    }
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

/// Is this folder in a git tree? Whatever git says of it: a tree that git can't answer for is one too.
pub fn is_tree(dir: &Path) -> bool {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    dir.ancestors().any(|above| !is_missing(&above.join(".git")))
}

/// What a healing would make of a person's work now. Nothing is written.
pub fn would(dir: &Path, state_dir: &Path, dirty: Dirty) -> Result<Work, String> {
    let git = Git { looks_only: true, ..open(dir)? };
    let store = state_dir.join("fixes").join("look");
    let place = Place {
        dir: dir.to_owned(),
        incident: String::new(),
        store,
        state_dir: state_dir.to_owned(),
        files: Vec::new(),
    };
    look::work(&git, &place, dirty)
}

/// Is it known what the tree was?
pub fn is_begun(place: &Place) -> bool {
    place.store.join(SNAPSHOT).exists()
}

/// Writes down what the tree is, and puts uncommitted work aside if that is wanted. Done again, it keeps what it wrote first:
/// the agent may have been at work since. Refused while another fix has the tree.
pub fn begin(place: &Place, dirty: Dirty) -> Result<Snapshot, String> {
    let git = match load::<Snapshot>(&place.store.join(SNAPSHOT))? {
        Some(_) => begun(place)?.0,
        None => open(&place.dir)?,
    };
    make_dir(&place.store).map_err(|e| e.message())?;
    let done = marker::take(&git, place).and_then(|()| try_begin(&git, place, dirty));
    if done.is_err() && !is_begun(place) {
        marker::release(&git, place);
        let _ = std::fs::remove_dir(&place.store);
    }
    done
}

fn try_begin(git: &Git, place: &Place, dirty: Dirty) -> Result<Snapshot, String> {
    if let Some(known) = load::<Snapshot>(&place.store.join(SNAPSHOT))? {
        stash::put_aside(git, place, &known)?;
        return Ok(known);
    }
    let Found { head, branch, status, before, work, ours, open, stashed } = look::look(git, place, dirty)?;
    let base = before.base(git, place, &head, &ours, &work)?;
    let folders = stash::folders(&git.root, &work);
    let (ignored, rules) = (ignored::list(git)?, Some(ignored::rules(git)?));
    let root = git.root.clone();
    let snapshot =
        Snapshot { v: 1, root, head, branch, work, ours, base, stashed, folders, open, ignored, rules };
    head::keep_index(git, &place.store.join(INDEX))?;
    stash::protect(git, place, &snapshot, &status)?;
    save(&place.store.join(SNAPSHOT), &snapshot)?;
    stash::put_aside(git, place, &snapshot)?;
    Ok(snapshot)
}

/// After the agent: its edits become a commit on a branch of their own. Branch and index of the operator are put back if it
/// moved them, and so is the work that was put aside. May be repeated.
pub fn collect(place: &Place) -> Result<Edits, String> {
    let (git, snapshot) = begun(place)?;
    let edits = match load::<Edits>(&place.store.join(EDITS))? {
        Some(known) => known,
        // The agent never ran.
        None if snapshot.stashed && !stash::is_aside(place) => {
            let none = Edits { v: 1, ..Edits::default() };
            save(&place.store.join(EDITS), &none)?;
            none
        }
        None => collected(&git, place, &snapshot)?,
    };
    stash::put_back(&git, place, &snapshot, &edits)?;
    if edits.paths.is_empty() {
        // Nothing is to be kept or taken back.
        marker::release(&git, place);
    }
    Ok(edits)
}

fn collected(git: &Git, place: &Place, snapshot: &Snapshot) -> Result<Edits, String> {
    let mut left_out = head::put_back(git, place, snapshot)?;
    match snapshot.stashed {
        true => head::plain_index(git, &snapshot.head)?,
        false => head::put_back_index(git, place)?,
    }
    let mut now = tree::status(git, &git.root.clone(), &place.state_dir)?;
    // Rules that changed meanwhile make no edits of what they ignored before.
    let is_ignored =
        |path: &String| !snapshot.work.contains_key(path) && ignored::covers(&snapshot.ignored, path);
    now.retain(|path, how| *how == tree::How::Tracked || !is_ignored(path));
    if now.len() > PATHS_MAX {
        return Err(format!("{} paths differ from the commit before the agent", now.len()));
    }
    let all: BTreeSet<&String> = now.keys().chain(snapshot.work.keys()).collect();
    let open = stash::writers_of(git, all.iter().copied());
    let mut paths = BTreeMap::new();
    for path in all {
        if let Some(writer) = snapshot.open.get(path).or(open.get(path)) {
            left_out.push(format!("`{path}`: {writer} writes it, so it is left alone"));
            continue;
        }
        let after = tree::entry(git, path)?;
        let before = snapshot.work.get(path).cloned();
        let is_new = before.is_none() && now.get(path) == Some(&tree::How::Untracked);
        let same = match &before {
            Some(Entry::Left { .. }) => before.as_ref() == Some(&after),
            Some(_) if !snapshot.stays(path) => {
                after == tree::with_mode_of(tree::committed(git, &snapshot.head, path)?, &after)
            }
            Some(before) => *before == after,
            None => false,
        };
        match (same, &after) {
            (true, _) => {}
            (false, Entry::Left { why }) => {
                // What is too large to be an edit, a nested repository: nobody knows whose it is.
                left_out.push(format!("`{path}`: {why}"));
            }
            (false, _) => {
                let before = if is_new { Some(Entry::Absent) } else { before };
                paths.insert(path.clone(), Change { before, after });
            }
        }
    }
    left_out.extend(hidden(git, place, snapshot, &paths)?);
    let (commit, more) = commit(git, place, snapshot, &paths)?;
    left_out.extend(more);
    let name = free_branch(git, &place.incident, commit.as_deref())?;
    let mut edits = Edits { v: 1, paths, left_out, ..Edits::default() };
    if let Some(commit) = commit {
        git.call(&["update-ref", &format!("refs/heads/{name}"), &commit])?;
        edits.diff = diff(git, snapshot.base(), &commit)?;
        (edits.branch, edits.commit) = (name, commit);
    }
    save(&place.store.join(EDITS), &edits)?;
    Ok(edits)
}

/// What git ignores only since somebody changed the rules, in words: nobody can tell whether it is an edit.
fn hidden(
    git: &Git,
    place: &Place,
    snapshot: &Snapshot,
    paths: &BTreeMap<String, Change>,
) -> Result<Left, String> {
    let Some(rules) = &snapshot.rules else { return Ok(Left::new()) };
    if !paths.keys().any(|path| ignored::is_rules(path)) && ignored::rules(git)? == *rules {
        return Ok(Left::new());
    }
    let is_new = |path: &String| {
        !ignored::covers(&snapshot.ignored, path)
            && !snapshot.work.contains_key(path)
            && !git.root.join(path).starts_with(&place.state_dir)
    };
    let new = ignored::list(git)?.into_iter().filter(is_new);
    Ok(new
        .map(|path| format!("`{path}`: git ignores it by rules that changed meanwhile, so it is left alone"))
        .collect())
}

/// The edits did not help: every path of them is again what it was. What somebody changed since is left alone, and said; so
/// is the branch, where the edits can still be read.
pub fn restore(place: &Place) -> Result<Left, String> {
    let edits = collect(place)?;
    let (git, snapshot) = begun(place)?;
    let back = stash::back(place)?;
    // Whoever made those commits: they are not where they were made.
    let mut left = head::moved(place)?;
    let mut order = Vec::new();
    for (path, change) in &edits.paths {
        let now = tree::entry(&git, path)?;
        let before = match &change.before {
            Some(before) => before.clone(),
            None => tree::with_mode_of(tree::committed(&git, &snapshot.head, path)?, &now),
        };
        if now == before {
            continue;
        }
        if now != *back.tree.get(path).unwrap_or(&change.after) {
            left.push(format!("`{path}` was changed since the agent: it is left as it is"));
        } else if let Entry::Left { why } = &before {
            left.push(format!("`{path}` was {why}: it can't be put back as it was"));
        } else {
            order.push((path, now, before));
        }
    }
    let prune = |path: &str| tree::prune(&git.root, path, &snapshot.folders);
    left.extend(Swaps::new(&git, &place.store).all(&order, prune).into_values());
    // What both had changed is the operator's again by now; what could not be put back still is not.
    left.extend(
        back.left.iter().filter(|(path, _)| !edits.paths.contains_key(*path)).map(|(_, why)| why.clone()),
    );
    // The index knows the files' times: without this every restored file looks changed to a plain look.
    let _ = git.ask(&["update-index", "-q", "--refresh"], Vec::new());
    marker::release(&git, place);
    Ok(left)
}

/// The edits hold. The branch is left for a person, who also finds them in the tree.
pub fn keep(place: &Place) -> Result<Left, String> {
    let edits = collect(place)?;
    let (git, snapshot) = begun(place)?;
    let back = stash::back(place)?;
    kept::remember(&git, place, &snapshot, &edits, &back)?;
    marker::release(&git, place);
    Ok(back.left.into_values().collect())
}

/// The edits hold, and go into the branch that they came from, if that is still where it was. Then their own branch goes.
pub fn merge(place: &Place) -> Result<Left, String> {
    let edits = collect(place)?;
    let (git, snapshot) = begun(place)?;
    let left = try_merge(&git, place, &snapshot, &edits)?;
    marker::release(&git, place);
    Ok(left)
}

fn try_merge(git: &Git, place: &Place, snapshot: &Snapshot, edits: &Edits) -> Result<Left, String> {
    let unfit = Left::from_iter(stash::back(place)?.left.into_values());
    if edits.commit.is_empty() {
        return Ok(unfit);
    }
    let stays = |why: &str| Ok(vec![format!("{why}: `{}` is left for you to merge", edits.branch)]);
    let Some(into) = &snapshot.branch else { return stays("the tree is on no branch") };
    if head::branch(git)?.as_ref() != Some(into) {
        return stays("another branch is checked out by now");
    }
    let tip = git.line(&["rev-parse", "--verify", into])?;
    if tip != edits.commit {
        if tip != snapshot.head {
            return stays("the branch moved on");
        }
        git.call(&["update-ref", "-m", "watchkeeper: a fix that held", into, &edits.commit, &snapshot.head])?;
    }
    tree::advance_index(git, &snapshot.head, &edits.commit)?;
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
    Ok(unfit)
}

/// What of the operator's work could not be put back beside the agent's edits, or was taken off a branch, in words.
pub fn unfit(place: &Place) -> Result<Left, String> {
    let mut told = head::moved(place)?;
    told.extend(stash::back(place)?.left.into_values());
    Ok(told)
}

/// The repository that the fix began in is there no more, or is another one. A git that fails proves neither.
pub fn is_gone(place: &Place) -> Result<bool, String> {
    let (git, snapshot) = begun(place)?;
    // It says `missing`, with status 0, of what it does not have.
    let ran = git.ask(&["cat-file", "--batch-check"], format!("{}\n", snapshot.head).into_bytes())?;
    if ran.ok() {
        return Ok(String::from_utf8_lossy(&ran.stdout).trim_end().ends_with(" missing"));
    }
    let is_broken = || {
        let own = own_dir(&git.root).ok()?;
        let shared = shared_by(own.clone()).ok()?;
        // Without them a folder is no repository (gitrepository-layout(5)).
        Some(is_missing(&own.join("HEAD")) || is_missing(&shared.join("objects")))
    };
    if is_missing(&git.root.join(".git")) || (ran.status == Some(128) && is_broken() == Some(true)) {
        return Ok(true);
    }
    Err(format!("git can't say whether its repository is still there: {}", ran.why()))
}

/// Nothing is there; not: it can't be looked at.
fn is_missing(path: &Path) -> bool {
    let no = |error: std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    path.symlink_metadata().is_err_and(no)
}

/// What is left without the repository, in words: work that was put aside comes from the copies.
pub fn rescued(place: &Place) -> String {
    let Ok((git, snapshot)) = begun(place) else { return "nothing is known of the tree".to_owned() };
    let mut said = format!(
        "the git repository of `{}` is gone: what the agent edited can't be told apart, put on a branch or taken back",
        git.root.display()
    );
    marker::release(&git, place);
    let missing = stash::rescue(place, &snapshot);
    if let Some(copies) = stash::copies(place) {
        said.push_str(&format!("; your uncommitted work as it was before is in `{}`", copies.display()));
    }
    if !missing.is_empty() {
        let names = missing.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        said.push_str(&format!("; not put back from there: {names}"));
    }
    said
}

/// What the agent edited is written down: what is edited from here on is nobody's.
pub fn is_collected(place: &Place) -> bool {
    place.store.join(EDITS).exists()
}

/// It was begun, and its records are gone: what is left to say. None = it was not.
pub fn lost(place: &Place) -> Option<String> {
    let git = open(&place.dir).ok()?;
    if is_begun(place) || !marker::is_held(&git, place) {
        return None;
    }
    let mut said = format!(
        "the records of the healing (`{}`) are gone: what the agent edited can't be told apart, put on a branch or taken back",
        place.store.display()
    );
    if let Some(name) = stash::last(&git, place) {
        said.push_str(&format!(
            "; your uncommitted work is out of the tree: `git -C {} stash apply {name}` puts it back",
            quoted_word(&git.root.to_string_lossy())
        ));
    }
    Some(said)
}

/// Lets go of what protected the operator's work; the records may be removed by then.
pub fn forget(place: &Place) -> Result<(), String> {
    let git = open(&place.dir)?;
    stash::forget(&git, place)
}

/// The records of a fix that is over; what is remembered of one that was kept stays.
pub fn clear(place: &Place) {
    for file in [SNAPSHOT, EDITS, INDEX, head::MOVED] {
        let _ = std::fs::remove_file(place.store.join(file));
    }
    stash::clear(place);
    let _ = std::fs::remove_dir(&place.store);
}

/// What a beginning that was killed before its end left behind: the copy of the index. With anything beside it, it stays.
pub fn clear_unbegun(place: &Place) {
    let names = super::outside::names(&place.store, 2).unwrap_or_default();
    if names == [INDEX] {
        let _ = std::fs::remove_file(place.store.join(INDEX));
    }
    if let Ok(git) = open(&place.dir) {
        marker::release(&git, place);
    }
    let _ = std::fs::remove_dir(&place.store);
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
pub(super) fn guard(place: &Place) -> String {
    format!("refs/watchkeeper/guard/{}/{}", owner(&place.state_dir), place.incident)
}

fn open(dir: &Path) -> Result<Git, String> {
    let here = Git::of(dir);
    let top = here.call(&["rev-parse", "--show-toplevel"]).map_err(|why| {
        let what = if is_tree(dir) { "in a tree that git can't answer for" } else { "in no git tree" };
        format!("`{}` is {what}, so edits could not be taken back: {why}", dir.display())
    })?;
    let top = String::from_utf8(top).map_err(|_| "the tree's path is not UTF-8".to_owned())?;
    Ok(Git::of(Path::new(top.strip_suffix('\n').unwrap_or(&top))))
}

pub(super) fn begun(place: &Place) -> Result<(Git, Snapshot), String> {
    let snapshot = load::<Snapshot>(&place.store.join(SNAPSHOT))?
        .ok_or_else(|| "nothing is known of the tree before the agent".to_owned())?;
    Ok((Git::of(&snapshot.root), snapshot))
}

/// The commit: the operator's last one and the agent's edits to what the operator had not touched. None = no such edits.
fn commit(
    git: &Git,
    place: &Place,
    snapshot: &Snapshot,
    paths: &BTreeMap<String, Change>,
) -> Result<(Option<String>, Left), String> {
    let mut left = Left::new();
    let mut entries = Vec::new();
    for (path, change) in paths {
        // (Of an older version: work stayed in the tree.)
        if snapshot.work.contains_key(path) && !snapshot.stashed && !snapshot.ours.contains(path) {
            left.push(format!(
                "`{path}`: it held uncommitted work of yours, so the agent's edits to it are in the tree only"
            ));
            continue;
        }
        entries.push((path, &change.after));
    }
    let id = tree::of(git, &place.store.join("fix-index"), Some(snapshot.base()), entries.into_iter())?;
    if id == git.line(&["rev-parse", "--verify", &format!("{}^{{tree}}", snapshot.base())])? {
        return Ok((None, left));
    }
    let message = format!("Fix for {}\n\nEdits of the healing agent, as they were tried.\n", place.incident);
    let made = git.fed(&["commit-tree", &id, "-p", snapshot.base()], message.into_bytes())?;
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

pub(super) fn load<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let Some(bytes) = read_bounded(path, RECORD_MAX).map_err(|e| e.message())? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| format!("`{}`: {error}", path.display()))
}

pub(super) fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), String> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| error.to_string())?;
    durable(path, &text)
}

/// A record that has to outlast a power cut.
pub(super) fn durable(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let dir = path.parent().unwrap_or(Path::new("."));
    write_synced(path, bytes).and_then(|()| sync_dir(dir)).map_err(|e| e.message())
}

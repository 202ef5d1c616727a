//! Fixes that no unit ends any more: their unit left the config in the midst of its healing, or forgot it, or nothing may be
//! done any more but to watch. A person's work may be out of its tree, and other healings are held off it: people hear of it,
//! with the command that puts it right.
//!
//! Deliberately not here: putting anything right. Whose agent it was, and whether it is still at work in the tree, people know.

use crate::base::names::UnitName;
use crate::base::text::quoted_word;
use crate::config::Config;
use crate::model::seen::{JobSeen, Trouble};
use crate::state::State;
use crate::sys::{Files, Host};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How the keys of these troubles begin.
pub(super) const KEY: &str = "fix ";
/// Largest record that is read, bytes.
const RECORD_MAX: u64 = 64 << 20;
/// Most that are told of at once.
const TOLD_MAX: usize = 20;

/// Of a fix's record: the tree. (The rest is `sys::fix_branch`'s.)
#[derive(Deserialize)]
struct Record {
    root: PathBuf,
}

/// What protects the work that is put aside: the name of its commit is the first of the two. (The rest is `sys::fix_stash`'s.)
#[derive(Deserialize)]
struct Refs {
    stash: (String, String),
}

/// What people must hear.
pub(super) fn look<H: Host, F: Files>(
    host: &mut H,
    files: &mut F,
    config: &Config,
    state: &State,
) -> Vec<Trouble> {
    let mut told = Vec::new();
    let folders = files.list("fixes").unwrap_or_default();
    let known = if config.watchdog.observe_only { BTreeSet::new() } else { known(state) };
    for attempt in folders.iter().filter(|name| !known.contains(*name)) {
        if told.len() < TOLD_MAX
            && let Some(text) = one(host, files, config, attempt)
        {
            told.push(Trouble { key: format!("{KEY}{attempt}"), text });
        }
    }
    let lost = config.units.values().filter(|unit| unit.process().is_some());
    for (attempt, text) in lost.filter_map(|unit| lost_records(host, config, &unit.dir)) {
        let key = format!("{KEY}{attempt}");
        let is_new = !known.contains(&attempt) && !folders.contains(&attempt);
        if is_new && told.len() < TOLD_MAX && !told.iter().any(|trouble| trouble.key == key) {
            told.push(Trouble { key, text });
        }
    }
    told
}

/// The marker in this tree leads to a folder of ours that is gone: who cleans a tree with its ignored files takes the state
/// directory along.
fn lost_records<H: Host>(host: &mut H, config: &Config, dir: &Path) -> Option<(String, String)> {
    let (marker, leads_to) = dir.ancestors().find_map(|dir| host.healing_marker(dir))?;
    let attempt = leads_to.strip_prefix(config.state_dir.join("fixes")).ok()?.to_str()?.to_owned();
    let text = format!(
        "the records of the healing `{attempt}` in {} are gone: what its agent edited can't be taken back; if your uncommitted \
         work was put aside, `git for-each-ref refs/watchkeeper/stash` names it, and `git stash apply` with that name puts it \
         back; then `rm {}`",
        quoted_word(&dir.to_string_lossy()),
        quoted_word(&marker.to_string_lossy())
    );
    Some((attempt, text))
}

/// The folders of fixes that units still have in mind.
fn known(state: &State) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for unit in state.units.values() {
        let process = &unit.process;
        known.extend(process.remedy.iter().map(|remedy| remedy.attempt.clone()));
        known.extend(process.heal.fixes.iter().map(|due| due.attempt.clone()));
        known.extend(process.heal.verify.iter().map(|verify| verify.attempt.clone()));
    }
    known
}

fn one<H: Host, F: Files>(host: &mut H, files: &mut F, config: &Config, attempt: &str) -> Option<String> {
    let mut has = |file: &str| files.stamp(&format!("fixes/{attempt}/{file}")).is_some();
    if !has("snapshot.json") {
        return None;
    }
    let aside = has("aside") && !has("back.json");
    let bytes = files.read(&format!("fixes/{attempt}/snapshot.json"), RECORD_MAX).ok().flatten()?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    let own = config.state_dir.join("fixes").join(attempt);
    let marker = host.healing_marker(&record.root).filter(|(_, leads_to)| *leads_to == own);
    if !aside && marker.is_none() {
        return None;
    }
    // Its agent is at work: its job puts things right when it ends.
    let unit = attempt.rsplit_once('-').map_or(attempt, |(unit, _)| unit);
    let jobs = files.list("jobs").unwrap_or_default();
    let of_unit = |id: &&String| id.strip_prefix(unit).is_some_and(|rest| rest.starts_with('.'));
    if jobs.iter().filter(of_unit).any(|id| host.job(id) == JobSeen::Running) {
        return None;
    }
    let is_there = UnitName::new(unit)
        .is_ok_and(|name| config.units.get(&name).is_some_and(|unit| unit.process().is_some()));
    let why = match (config.watchdog.observe_only, is_there) {
        (true, _) => "`observe_only` forbids that it is ended".to_owned(),
        (false, true) => format!("`{unit}` has no memory of it any more"),
        (false, false) => format!("`{unit}` is no longer in the config"),
    };
    let refs = files.read(&format!("fixes/{attempt}/refs.json"), RECORD_MAX).ok().flatten();
    let refs = refs.and_then(|bytes| serde_json::from_slice::<Refs>(&bytes).ok());
    // (An older version names it after the attempt.)
    let stash = refs.map_or_else(|| format!("refs/watchkeeper/stash/{attempt}"), |refs| refs.stash.0);
    let root = quoted_word(&record.root.to_string_lossy());
    let mut text = format!("the healing `{attempt}` was begun in {root} and is not ended: {why}");
    if aside {
        text.push_str(&format!(
            "; your uncommitted work is out of the tree: `git -C {root} stash apply {stash}` puts it \
             back (as files it is in {})",
            quoted_word(&own.join("work").to_string_lossy())
        ));
    }
    if let Some((marker, _)) = marker {
        text.push_str(&format!(
            "; no other healing begins in that tree before `rm {}`",
            quoted_word(&marker.to_string_lossy())
        ));
    }
    Some(text)
}

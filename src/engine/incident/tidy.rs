//! Old incidents go: by count and age for each unit, never the newest of a failure. The index forgets folders that are gone.

use super::{FOLDER, Memory, read_index};
use crate::base::names::UnitName;
use crate::base::time::Wall;
use crate::config::{Config, Role};
use crate::detect::incident::{IndexLine, keep};
use crate::state::{State, table};
use crate::sys::{Files, Sync};
use std::collections::{BTreeMap, BTreeSet};

/// Longest index that is read, bytes.
const INDEX_MAX: u64 = 16 << 20;
/// An index that is longer forgets what is gone, bytes.
const INDEX_LONG: usize = 4 << 20;
/// Folders removed at a time.
const REMOVED_MAX: usize = 50;
/// Folders that the index does not know, looked into at a time.
const UNKNOWN_MAX: usize = 200;
/// Longest `match.json`, bytes.
const MATCH_MAX: u64 = 4 << 20;

/// Folders that are there, as the index or their own `match.json` describe them; None when the index can't be read.
fn entries<F: Files>(files: &mut F, names: &BTreeSet<String>) -> Option<Vec<IndexLine>> {
    let bytes = files.tail(table::INCIDENTS_INDEX, INDEX_MAX).ok()?;
    let mut known: BTreeMap<String, IndexLine> = BTreeMap::new();
    for line in read_index(&bytes).into_iter().filter(|line| names.contains(&line.id)) {
        known.insert(line.id.clone(), line);
    }
    let unknown =
        names.iter().filter(|name| crate::model::incident::is_id(name) && !known.contains_key(*name));
    let unknown: Vec<String> = unknown.take(UNKNOWN_MAX).cloned().collect();
    for id in unknown {
        let bytes =
            files.read(&table::in_incident(&id, "match.json"), MATCH_MAX).ok().flatten().unwrap_or_default();
        if let Ok(line) = serde_json::from_slice::<IndexLine>(&bytes)
            && line.id == id
        {
            known.insert(id, line);
        }
    }
    Some(known.into_values().collect())
}

/// Removes a unit's old incidents.
pub(super) fn unit<F: Files>(
    files: &mut F,
    config: &Config,
    state: &State,
    name: &UnitName,
    memory: &mut Memory,
    now: Wall,
) {
    let Some(Role::Process(process)) = config.units.get(name).map(|unit| &unit.role) else { return };
    let Some(names) = memory.names(files).map(|names| names.clone()) else { return };
    let Some(entries) = entries(files, &names) else { return };
    let old = keep::too_old(&entries, name.as_str(), now, process.incidents_max, process.incidents_age_s);
    let in_use: BTreeSet<&str> = state
        .units
        .get(name)
        .map(|unit| &unit.incident)
        .into_iter()
        .flat_map(|state| {
            let owed = state.owed.iter().map(|order| order.id.as_str());
            owed.chain(state.fixes.iter().map(|note| note.incident.as_str()))
        })
        .collect();
    for id in old.iter().filter(|id| !in_use.contains(id.as_str())).take(REMOVED_MAX) {
        if files.remove_folder(&format!("{FOLDER}/{id}")).is_ok() {
            memory.counts.remove(id);
            memory.names = None;
        }
    }
}

/// A long index begins anew with the folders that are there.
pub(super) fn index<F: Files>(files: &mut F, memory: &mut Memory) {
    let Ok(Some(bytes)) = files.read(table::INCIDENTS_INDEX, INDEX_MAX) else { return };
    if bytes.len() <= INDEX_LONG {
        return;
    }
    let Some(names) = memory.names(files) else { return };
    let mut text = String::new();
    for line in read_index(&bytes).iter().filter(|line| names.contains(&line.id)) {
        text.push_str(&serde_json::to_string(line).unwrap_or_default());
        text.push('\n');
    }
    let _ = files.replace(table::INCIDENTS_INDEX, Some(&bytes), text.as_bytes(), Sync::Durable);
}

//! Writes incidents: the folders, ledger rows and notes that units owe, and keeps count of repeats.
//!
//! What is owed stands in `unit.json` and was committed before anything is written here; it stays until [`look`] saw that the
//! world has it. So a kill at any instant, or a full disk, delays a folder and neither loses nor doubles it. Deliberately not
//! here: what is in the files (`detect::incident`), and what is owed (`policy`, `state::incident`).

mod gather;
mod notes;
mod request;
mod tidy;

use crate::base::names::UnitName;
use crate::base::time::Now;
use crate::config::{Config, ProcessHost};
use crate::detect::incident::{self as pages, IndexLine, Repeats, report};
use crate::detect::secrets::Secrets;
use crate::model::incident::{IncidentOrder, Outlook};
use crate::model::process::ProcessSeen;
use crate::state::attempts::Attempt;
use crate::state::incident::{IncidentState, Known};
use crate::state::unit::UnitState;
use crate::state::{State, table};
use crate::sys::{Files, Host, Replaced, Sync};
use std::collections::{BTreeMap, BTreeSet};

/// Folder of all incidents.
const FOLDER: &str = "incidents";
/// Folders written in one tick: the others wait for the next one.
const FOLDERS_MAX: usize = 4;
/// So much of the index's end tells whether an owed incident is in it, bytes.
const INDEX_TAIL: u64 = 1 << 20;
/// Longest page that is kept up to date, bytes.
const PAGE_MAX: u64 = 4 << 20;

/// What need not be asked of the disk at each tick. May be lost at any instant.
#[derive(Debug, Default)]
pub struct Memory {
    /// The folders, as long as this stamp stands.
    names: Option<(String, BTreeSet<String>)>,
    /// Count of each incident as it was last written down.
    counts: BTreeMap<String, u32>,
    /// What each page says of what is to be done now.
    outlook: BTreeMap<String, String>,
    /// The day on which old folders were last looked for.
    day: String,
}

impl Memory {
    /// The folders that are there; None when that can't be told.
    fn names<F: Files>(&mut self, files: &mut F) -> Option<&mut BTreeSet<String>> {
        // Without a folder there is none. Its stamp is taken first: what comes meanwhile is seen at the next look.
        let stamp = files.stamp(FOLDER).unwrap_or_default();
        if self.names.as_ref().is_none_or(|(known, _)| *known != stamp || stamp.is_empty()) {
            let names = files.list(FOLDER).ok()?;
            self.names = Some((stamp, names.into_iter().collect()));
        }
        self.names.as_mut().map(|(_, names)| names)
    }
}

/// Looks which of the things that a unit owes the world has.
pub fn look<F: Files>(files: &mut F, state: &IncidentState, memory: &mut Memory, seen: &mut ProcessSeen) {
    if state.is_empty() {
        return;
    }
    let Some(names) = memory.names(files) else { return };
    let told = if state.owed.is_empty() { BTreeSet::new() } else { indexed(files).unwrap_or_default() };
    let owed = |id: &String| state.owed.iter().any(|order| order.id == *id);
    seen.incidents = state
        .owed
        .iter()
        .map(|order| order.id.clone())
        .filter(|id| names.contains(id) && told.contains(id))
        .collect();
    seen.incidents_gone = state
        .known
        .iter()
        .map(|known| known.incident.clone())
        .filter(|id| !names.contains(id) && !owed(id))
        .collect();
    if !state.rows.is_empty() {
        let keys = notes::keys(files).unwrap_or_default();
        seen.attempts = state.rows.iter().map(Attempt::key).filter(|key| keys.contains(key)).collect();
    }
    for note in &state.fixes {
        // A note for a folder that somebody removed has no place any more.
        let gone = !names.contains(&note.incident) && !owed(&note.incident);
        if gone || notes::is_written(files, note).unwrap_or(false) {
            seen.fixes.push(note.attempt.clone());
        }
    }
}

/// Ids that the end of the index has. An index that can't be read may have any.
fn indexed<F: Files>(files: &mut F) -> Result<BTreeSet<String>, String> {
    Ok(index(files)?.into_iter().map(|line| line.id).collect())
}

/// The lines at the index's end.
fn index<F: Files>(files: &mut F) -> Result<Vec<IndexLine>, String> {
    let bytes = files.tail(table::INCIDENTS_INDEX, INDEX_TAIL);
    let bytes = bytes.map_err(|error| format!("{}: {}", table::INCIDENTS_INDEX, error.message()))?;
    Ok(read_index(&bytes))
}

/// The lines of an index; what is none is left out.
pub fn read_index(bytes: &[u8]) -> Vec<IndexLine> {
    bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| serde_json::from_slice::<IndexLine>(line).ok())
        .filter(|line| !line.id.is_empty())
        .collect()
}

/// Writes what is owed, of units whose files are on record. What did not work is said, and is owed still.
pub fn write<H: Host, F: Files>(
    host: &mut H,
    files: &mut F,
    config: &Config,
    state: &State,
    memory: &mut Memory,
    now: &Now,
    recorded: impl Fn(&UnitName) -> bool,
) -> Vec<String> {
    let mut errors = Vec::new();
    let mut room = FOLDERS_MAX;
    let mut fresh: BTreeSet<&UnitName> = BTreeSet::new();
    let owing = || state.units.iter().filter(|(name, unit)| !unit.incident.is_empty() && recorded(name));
    for (name, unit) in owing() {
        let secrets = secrets_of(config, name, unit);
        for order in unit.incident.owed.iter().take(room) {
            match folder(host, files, order, &secrets, unit, memory, now) {
                Ok(Folder::New) => {
                    room -= 1;
                    fresh.insert(name);
                }
                Ok(Folder::Known) => {}
                Err(why) => {
                    errors.push(format!("incident {}: {why}", order.id));
                    // Most likely the disk: the others would not fare better, and each try costs reads.
                    return errors;
                }
            }
        }
        for known in &unit.incident.known {
            errors.extend(count(files, known, memory, now).err());
        }
        for page in &unit.incident.outlook {
            errors.extend(outlook(files, page, &secrets, memory).err());
        }
        errors.extend(notes::write(files, &unit.incident, &secrets, now));
        errors.extend(request::put_away(files, config, name, unit, &secrets).err());
    }
    let day = now.wall.day();
    let is_new_day = memory.day != day;
    for (name, _) in owing().filter(|(name, _)| is_new_day || fresh.contains(name)) {
        tidy::unit(files, config, state, name, memory, now.wall);
    }
    if is_new_day {
        tidy::index(files, memory);
        memory.day = day;
    }
    errors
}

/// The values that nothing of a unit's may show.
pub(super) fn secrets_of(config: &Config, name: &UnitName, unit: &UnitState) -> Secrets {
    let Some(known) = config.units.get(name) else { return Secrets::default() };
    let env = known.env.iter().chain(&unit.process.run.env);
    let none: &[String] = &[];
    let (command, args, healer) = match known.process() {
        None => (none, none, none),
        Some(process) => {
            let args = match &process.host {
                ProcessHost::Slurm { args } | ProcessHost::Docker { args, .. } => args.as_slice(),
                ProcessHost::Local | ProcessHost::Attach { .. } => none,
            };
            (process.command.as_slice(), args, process.healing.command.as_slice())
        }
    };
    Secrets::of(env, command.iter().chain(args).chain(healer))
}

/// What became of an owed folder.
enum Folder {
    New,
    Known,
}

fn folder<H: Host, F: Files>(
    host: &mut H,
    files: &mut F,
    told: &IncidentOrder,
    secrets: &Secrets,
    unit: &UnitState,
    memory: &mut Memory,
    now: &Now,
) -> Result<Folder, String> {
    let order = &pages::masked(told, secrets);
    let there = memory.names(files).is_some_and(|names| names.contains(&order.id));
    if !there {
        let material = gather::material(host, told, order, secrets, unit, now);
        let made = pages::files(&material);
        files.put_folder(&format!("{FOLDER}/{}", order.id), &made).map_err(|error| error.message())?;
        memory.names = None;
    }
    if !indexed(files)?.contains(&order.id) {
        let line = serde_json::to_string(&IndexLine::new(order)).unwrap_or_default();
        files.append(table::INCIDENTS_INDEX, &line).map_err(|error| error.message())?;
        return Ok(Folder::New);
    }
    Ok(if there { Folder::Known } else { Folder::New })
}

/// How often an owed or a written incident came.
fn repeats(unit: &IncidentState, order: &IncidentOrder) -> Repeats {
    unit.known
        .iter()
        .find(|known| known.incident == order.id)
        .map_or(Repeats { count: 1, first: order.at, last: order.at }, of)
}

fn of(known: &Known) -> Repeats {
    Repeats { count: known.count, first: known.first, last: known.last }
}

/// Keeps the count of a failure up to date in its folder.
fn count<F: Files>(files: &mut F, known: &Known, memory: &mut Memory, now: &Now) -> Result<(), String> {
    if known.count < 2 || memory.counts.get(&known.incident) == Some(&known.count) {
        return Ok(());
    }
    if !memory.names(files).is_some_and(|names| names.contains(&known.incident)) {
        return Ok(());
    }
    let repeats = of(known);
    let text = format!("{}\n", serde_json::to_string_pretty(&repeats).unwrap_or_default());
    edit(files, &table::in_incident(&known.incident, "repeats.json"), |_| Some(text.clone()))?;
    edit(files, &table::in_incident(&known.incident, "report.md"), |page| {
        report::with_repeats(page, &repeats, &now.zone)
    })?;
    // Counts of incidents that are long gone are of no use.
    if memory.counts.len() > 10_000 {
        memory.counts.clear();
    }
    memory.counts.insert(known.incident.clone(), known.count);
    Ok(())
}

/// Keeps the line of a page that says what is to be done now.
fn outlook<F: Files>(
    files: &mut F,
    page: &Outlook,
    secrets: &Secrets,
    memory: &mut Memory,
) -> Result<(), String> {
    if memory.outlook.get(&page.incident) == Some(&page.text)
        || !memory.names(files).is_some_and(|names| names.contains(&page.incident))
    {
        return Ok(());
    }
    let text = secrets.hide(&page.text);
    edit(files, &table::in_incident(&page.incident, "report.md"), |old| report::with_now(old, &text))?;
    if memory.outlook.len() > 10_000 {
        memory.outlook.clear();
    }
    memory.outlook.insert(page.incident.clone(), page.text.clone());
    Ok(())
}

/// Changes a text file; None = it stays as it is. Somebody's edit meanwhile wins, and a later tick tries again.
fn edit<F: Files>(files: &mut F, path: &str, change: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let old = files.read(path, PAGE_MAX).map_err(|error| error.message())?;
    let text = old.as_deref().map_or(std::borrow::Cow::Borrowed(""), String::from_utf8_lossy);
    let Some(new) = change(&text).filter(|new| old.as_deref() != Some(new.as_bytes())) else { return Ok(()) };
    match files.replace(path, old.as_deref(), new.as_bytes(), Sync::Durable) {
        Ok(Replaced::Written | Replaced::Yielded) => Ok(()),
        Err(error) => Err(error.message()),
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

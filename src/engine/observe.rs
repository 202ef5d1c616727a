//! Gathers one tick's facts: one list call, one capture call for the panes that changed, and what the policies need.

use super::follow::Follower;
use super::usage;
use crate::base::names::UnitName;
use crate::base::text::{digest, one_line};
use crate::base::time::Now;
use crate::config::{Config, Unit};
use crate::detect::{pause, screen, wait};
use crate::model::process::RunSeen;
use crate::model::seen::{
    AlivePane, BranchSeen, JobSeen, Markers, Observation, PaneSeen, Paused, Process, Reading, Scope,
    ScreenState, Seen, ServerSeen, Trouble, Vote,
};
use crate::policy::wants::{Wants, jobs, wants};
use crate::policy::{deliver, fetch};
use crate::state::State;
use crate::state::table;
use crate::sys::{Files, Host, PaneList, PaneRow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

mod branch;
mod checkpoint;
mod cooperation;
mod mail;
mod process;

/// Largest marker file read, bytes.
const MARKER_BYTES: u64 = 4096;
/// tmux's activity time has whole seconds: a screen may change again in the second in which it was captured, and
/// nothing tells. A capture this long after the last output has seen it all.
const SETTLED_S: f64 = 1.0;

/// What is kept from look to look, so that an unchanged pane is neither captured nor read again. Losing it costs time.
#[derive(Debug, Default)]
pub struct Memory {
    /// The logs of processes, and where reading of them stands.
    pub follower: Follower,
    looks: BTreeMap<UnitName, KeptLook>,
    /// Stamp of a unit's folder when it held no marker: while it stands, there is none.
    no_markers: BTreeMap<UnitName, String>,
    /// Actions of the last tick that did not work, by unit.
    pub failed: BTreeMap<UnitName, String>,
    /// Units whose processes this process sent TERM to.
    pub termed: BTreeSet<UnitName>,
    /// Troubles with files that stand.
    pub troubles: Vec<Trouble>,
    /// What could not be recorded in the last tick, and was told.
    pub(super) unrecorded: BTreeSet<(Option<String>, String)>,
    /// Troubles with panes, as the last look at a tmux that answered found them.
    pane_troubles: Vec<Trouble>,
    /// The last look into the branch.
    branch: branch::BranchMemory,
    /// Of the transcripts.
    usage: usage::UsageMemory,
    /// Of the incidents' folders.
    pub(super) incidents: super::incident::Memory,
}

#[derive(Debug)]
struct KeptLook {
    signature: String,
    /// The capture came so long after the last output that an equal signature means an equal screen.
    settled: bool,
    pid_start: u64,
    text: Arc<str>,
    vote: Option<Vote>,
    reading: Reading,
}

impl Memory {
    /// Forgets all looks.
    pub fn forget(&mut self) {
        self.looks.clear();
    }

    /// The screen that the last look at a unit saw.
    pub fn screen(&self, unit: &UnitName) -> Option<&str> {
        self.looks.get(unit).map(|look| &*look.text)
    }
}

/// Gathers the observation. `stamp` is what our sessions carry.
pub fn gather<H: Host, F: Files>(
    host: &mut H,
    files: &mut F,
    config: &Config,
    state: &State,
    memory: &mut Memory,
    stamp: &str,
    scope: Scope,
) -> Observation {
    let now = host.now();
    let list = panes(host, config);
    let needs = wants(config, state, &now);
    let panes = match_panes(config, state, &list, stamp);
    let screens = capture(host, &panes, memory);
    let mut units = BTreeMap::new();
    if !matches!(list.server, ServerSeen::Unknown { .. }) {
        memory.pane_troubles.clear();
    }
    let mut processes = process::look(host, files, config, state, &mut memory.follower, &now);
    for (name, unit) in &config.units {
        let row = panes.get(name).copied();
        let mut seen = Seen {
            process: processes.remove(name).map(Box::new),
            markers: unit_markers(files, name, memory),
            failed: memory.failed.remove(name),
            termed: memory.termed.contains(name),
            ..Seen::default()
        };
        seen.pane = pane(host, unit, &list.server, row, screens.get(name), &now, memory);
        seen.unseen = unreadable(host, row, &seen.pane);
        if row.is_none()
            && let Some(session) = moved(host, name, state, &list)
        {
            // It lives: a second one beside it would be worse than none.
            seen.pane = PaneSeen::Unknown;
            let text = format!(
                "the pane of `{name}` was moved to session `{session}`, which is not ours: it is left alone, and no \
                 second one is started; end its process, and it is started anew"
            );
            memory.pane_troubles.push(Trouble { key: format!("moved {name}"), text });
        }
        if row.is_none()
            && seen.pane == PaneSeen::Absent
            && let Some(pid) = survivor(host, name, state)
        {
            seen.pane = PaneSeen::Unknown;
            let text = format!(
                "the session of `{name}` is gone, but its process (pid {pid}) lives on: it is left alone, and no second \
                 one is started; end it, and it is started anew"
            );
            memory.pane_troubles.push(Trouble { key: format!("survives {name}"), text });
        }
        seen.foreign = foreign(unit, &list, stamp, row);
        seen.adoptable = seen.foreign.as_ref().and_then(|_| adoptable(unit, &list));
        details(host, files, config, unit, state, &needs, &list, &mut seen);
        if let (Some(process), Some(state)) = (&mut seen.process, state.units.get(name)) {
            super::incident::look(files, &state.incident, &mut memory.incidents, process);
        }
        seen.checkpoint = checkpoint::look(files, name, unit, state, &seen.pane);
        units.insert(name.clone(), seen);
    }
    let usage = usage::look(host, files, config, state, &now, &units, &mut memory.usage);
    let mut troubles = memory.troubles.clone();
    troubles.extend(memory.pane_troubles.iter().cloned());
    troubles.extend(cooperation::troubles(files, &units));
    let (requests, inbox_end) = mail::requests(files, state, &now, &mut troubles);
    let branch = branch::branch(host, config, state, now.awake_s, &mut memory.branch);
    if let (Some(BranchSeen::Unknown { why }), Some(plan)) = (&branch, &config.sequence) {
        let text = format!("[loop] repo `{}`, branch {}: {why}", plan.repo.display(), plan.tracking());
        troubles.push(Trouble { key: "branch".into(), text });
    }
    if let Some(BranchSeen::At(facts)) = &branch {
        troubles.extend(
            facts.left_out.iter().map(|text| Trouble { key: format!("left out {text}"), text: text.clone() }),
        );
    }
    Observation {
        host: host.pressure(),
        scope,
        units,
        markers: markers(files, None),
        requests,
        inbox_end,
        outbox_has: mail::outbox_has(files, state),
        strays: strays(config, &list, stamp),
        strangers: strangers(config, &list),
        fetch: if branch.is_some() { host.job(fetch::JOB) } else { JobSeen::None },
        jobs: jobs(state).into_iter().map(|id| (id.clone(), host.job(&id))).collect(),
        complete: branch.is_some() && files.stamp(table::SEQUENCE_COMPLETE).is_some(),
        branch,
        troubles,
        usage,
        server: list.server,
        now,
    }
}

/// What tmux says. Where nothing lives in tmux it is not asked, and need not be there.
fn panes<H: Host>(host: &mut H, config: &Config) -> PaneList {
    if !config.needs_tmux {
        return PaneList { server: ServerSeen::Absent, rows: Vec::new(), buffers: Vec::new() };
    }
    host.panes()
}

/// The pane of each unit: the session that carries our stamp and the unit's name. A person may have split the window:
/// then it is the pane that we know, else the oldest.
fn match_panes<'a>(
    config: &Config,
    state: &State,
    list: &'a PaneList,
    stamp: &str,
) -> BTreeMap<UnitName, &'a PaneRow> {
    let mut found: BTreeMap<UnitName, &PaneRow> = BTreeMap::new();
    for row in list.rows.iter().filter(|row| row.stamp == stamp) {
        let Some((name, _)) = config.units.get_key_value(row.unit.as_str()) else { continue };
        let known = state.units.get(name).and_then(|state| state.seen.pane.as_deref());
        let better = match found.get(name) {
            None => true,
            Some(old) if known == Some(old.pane.as_str()) => false,
            Some(old) => known == Some(row.pane.as_str()) || number(&row.pane) < number(&old.pane),
        };
        if better {
            found.insert(name.clone(), row);
        }
    }
    found
}

/// The session in which the unit's process goes on, when somebody moved its pane (`join-pane`) to one without our stamp.
fn moved<'a, H: Host>(host: &mut H, name: &UnitName, state: &State, list: &'a PaneList) -> Option<&'a str> {
    let known = &state.units.get(name)?.seen;
    let process = known.process?;
    let is_it = |row: &&PaneRow| {
        row.unit == name.as_str()
            && known.pane.as_ref() == Some(&row.pane)
            && row.pid == process.pid
            && !row.dead
    };
    let row = list.rows.iter().find(is_it)?;
    let start = host.process_start(row.pid);
    start.is_none_or(|start| start == process.start).then_some(row.session.as_str())
}

/// The process on record, if it goes on without its session (it ignores HUP). An end under way looks after what is left.
fn survivor<H: Host>(host: &mut H, name: &UnitName, state: &State) -> Option<i32> {
    let state = state.units.get(name).filter(|state| state.ending.is_none())?;
    let process = state.seen.process?;
    (host.process_start(process.pid) == Some(process.start)).then_some(process.pid)
}

/// Why a living pane is unknown: its process is not in our `/proc`.
fn unreadable<H: Host>(host: &mut H, row: Option<&PaneRow>, pane: &PaneSeen) -> Option<String> {
    let row = row.filter(|row| *pane == PaneSeen::Unknown && !row.dead)?;
    host.process_start(row.pid).is_none().then(|| {
        format!(
            "pid {} can't be read in /proc (mounted with hidepid, or of another pid namespace): nothing is known of it",
            row.pid
        )
    })
}

fn number(pane: &str) -> u64 {
    pane.trim_start_matches('%').parse().unwrap_or(u64::MAX)
}

/// A session that has the unit's name but not our stamp.
fn foreign(unit: &Unit, list: &PaneList, stamp: &str, row: Option<&PaneRow>) -> Option<String> {
    if row.is_some() || unit.process().is_some() {
        return None;
    }
    let other = list.rows.iter().find(|row| row.session == unit.session)?;
    Some(match (other.stamp.as_str(), other.unit.as_str()) {
        ("", _) => "it has no stamp of ours".to_owned(),
        (theirs, name) if theirs == stamp => format!("it belongs to our unit `{name}`"),
        (theirs, _) => format!("it belongs to the fleet in `{theirs}`"),
    })
}

/// Sessions with our stamp in which no pane is a unit's. A pane that a person added to a unit's session is no stray.
fn strays(config: &Config, list: &PaneList, stamp: &str) -> Vec<String> {
    let watchdog = format!("{}watchkeeper", config.session_prefix);
    let mut strays: BTreeSet<&str> =
        list.rows.iter().filter(|row| row.stamp == stamp).map(|row| row.session.as_str()).collect();
    strays.remove(watchdog.as_str());
    for row in list.rows.iter().filter(|row| config.units.contains_key(row.unit.as_str())) {
        strays.remove(row.session.as_str());
    }
    strays.into_iter().map(str::to_owned).collect()
}

/// The one living pane of the session that has the unit's name, if nobody stamped it.
fn adoptable(unit: &Unit, list: &PaneList) -> Option<String> {
    let mut rows = list.rows.iter().filter(|row| row.session == unit.session);
    let row = rows.next().filter(|row| row.stamp.is_empty() && !row.dead)?;
    rows.next().is_none().then(|| row.pane.clone())
}

/// Most strangers that are told of at once.
const STRANGERS_MAX: usize = 20;

/// Sessions with our prefix that nobody stamped and that no unit is named after: another fleet's are its own business.
fn strangers(config: &Config, list: &PaneList) -> Vec<String> {
    let watchdog = format!("{}watchkeeper", config.session_prefix);
    let mut stamped: BTreeSet<&str> = BTreeSet::new();
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for row in &list.rows {
        if !row.stamp.is_empty() {
            stamped.insert(&row.session);
        } else if row.session.starts_with(&config.session_prefix) && row.session != watchdog {
            found.insert(&row.session);
        }
    }
    let known = |session: &str| config.units.values().any(|unit| unit.session == session);
    let strange = found.into_iter().filter(|session| !stamped.contains(session) && !known(session));
    strange.take(STRANGERS_MAX).map(str::to_owned).collect()
}

fn signature(row: &PaneRow) -> String {
    format!("{}|{}|{}|{}|{}|{}", row.pane, row.pid, row.shape, row.output_at.0, row.command, row.title)
}

/// Captures the screens that may have changed since the last look, all in one call.
fn capture<H: Host>(
    host: &mut H,
    panes: &BTreeMap<UnitName, &PaneRow>,
    memory: &mut Memory,
) -> BTreeMap<UnitName, String> {
    memory.looks.retain(|name, _| panes.get(name).is_some_and(|row| !row.dead));
    let changed: Vec<(&UnitName, &&PaneRow)> = panes
        .iter()
        .filter(|(name, row)| {
            let known = |look: &KeptLook| look.settled && look.signature == signature(row);
            !row.dead && !memory.looks.get(*name).is_some_and(known)
        })
        .collect();
    if changed.is_empty() {
        return BTreeMap::new();
    }
    let ids: Vec<String> = changed.iter().map(|(_, row)| row.pane.clone()).collect();
    let mut texts = host.capture(&ids);
    for (name, _) in &changed {
        if let Some(look) = memory.looks.get_mut(*name) {
            look.signature.clear(); // Only a capture that worked makes it known again.
        }
    }
    changed.iter().filter_map(|(name, row)| Some(((*name).clone(), texts.remove(&row.pane)?))).collect()
}

fn pane<H: Host>(
    host: &mut H,
    unit: &Unit,
    server: &ServerSeen,
    row: Option<&PaneRow>,
    screen: Option<&String>,
    now: &Now,
    memory: &mut Memory,
) -> PaneSeen {
    if unit.process().is_some() {
        return PaneSeen::Unknown; // It has none, and what is seen of it stands elsewhere.
    }
    let Some(row) = row else {
        return match server {
            ServerSeen::Unknown { .. } => PaneSeen::Unknown,
            ServerSeen::Absent | ServerSeen::Alive(_) => PaneSeen::Absent,
        };
    };
    if row.dead && row.exit.is_none() && host.process_start(row.pid).is_some() {
        // Its terminal was closed, but the process lives on: a second one beside it would be worse than none.
        let text = format!(
            "the pane of `{}` is closed, but its process (pid {}) lives on: end it, and it is started anew",
            unit.name, row.pid
        );
        memory.pane_troubles.push(Trouble { key: format!("closed {}", unit.name), text });
        return PaneSeen::Unknown;
    }
    if row.dead {
        let pid = Some(row.pid).filter(|pid| *pid > 0);
        return PaneSeen::Dead { pane: row.pane.clone(), exit: row.exit, at: row.dead_at, pid };
    }
    let vote = unit
        .agent()
        .and_then(|agent| agent.backend.status_file.as_deref())
        .and_then(|file| host.vote(file, row.pid));
    let kept = memory.looks.get(&unit.name);
    let look = match (screen, kept) {
        (None, Some(kept)) if !kept.signature.is_empty() => {
            let reading = if kept.vote == vote {
                kept.reading.clone()
            } else {
                read(host, unit, row, &kept.text, vote)
            };
            KeptLook {
                signature: signature(row),
                settled: kept.settled,
                pid_start: kept.pid_start,
                text: kept.text.clone(),
                vote,
                reading,
            }
        }
        (None, _) => return PaneSeen::Unknown,
        (Some(text), _) => {
            let Some(pid_start) = host.process_start(row.pid) else { return PaneSeen::Unknown };
            let reading = read(host, unit, row, text, vote);
            let settled = now.wall.since_s(row.output_at) >= SETTLED_S;
            let text = Arc::from(text.as_str());
            KeptLook { signature: signature(row), settled, pid_start, text, vote, reading }
        }
    };
    let alive = AlivePane {
        pane: row.pane.clone(),
        pid: row.pid,
        pid_start: look.pid_start,
        command: row.command.clone(),
        title: row.title.clone(),
        phase: row.phase.clone(),
        in_mode: row.in_mode,
        attached: row.attached,
        typed_at: row.typed_at,
        output_at: row.output_at,
        text: look.text.clone(),
        reading: look.reading.clone(),
    };
    memory.looks.insert(unit.name.clone(), look);
    PaneSeen::Alive(Box::new(alive))
}

fn read<H: Host>(host: &mut H, unit: &Unit, row: &PaneRow, text: &str, vote: Option<Vote>) -> Reading {
    match unit.agent() {
        Some(agent) => {
            let alone = screen::is_shell(&row.command).then(|| host.is_alone(row.pid)).flatten();
            let (title, command) = (&row.title, &row.command);
            let look = screen::Look { screen: text, title, dead: false, command, alone, vote };
            screen::read(&agent.backend, &look)
        }
        // A service's screen has no states: it lives, and its text is its activity.
        None => Reading { state: ScreenState::Busy, content: digest(text.as_bytes()), ..Reading::default() },
    }
}

/// The costly facts, only where the state needs them.
#[expect(clippy::too_many_arguments, reason = "the two seams, and what is known so far")]
fn details<H: Host, F: Files>(
    host: &mut H,
    files: &mut F,
    config: &Config,
    unit: &Unit,
    state: &State,
    needs: &Wants,
    list: &PaneList,
    seen: &mut Seen,
) {
    let name = &unit.name;
    if let Some(signalled) = needs.trees.get(name) {
        seen.tree = Some(tree(host, seen, signalled));
    }
    if let Some(buffer) = needs.buffers.get(name)
        && matches!(list.server, ServerSeen::Alive(_))
    {
        seen.buffer = Some(list.buffers.contains(buffer));
    }
    seen.buffers = deliver::buffered(config, name, &list.buffers);
    let PaneSeen::Alive(pane) = &seen.pane else { return };
    seen.cooperation = cooperation::look(host, files, unit);
    let Some(agent) = unit.agent() else { return };
    if needs.cpu.contains(name) {
        seen.tools_cpu_ms = host.tools_cpu_ms(pane.pid, &agent.backend.process_names);
    }
    let changed = state
        .clocks
        .units
        .get(name)
        .and_then(|c| c.screen.as_ref())
        .is_none_or(|c| c.value != pane.reading.content);
    if let Some(dir) = agent.backend.transcript_dir.as_deref()
        && (changed || needs.cpu.contains(name))
    {
        let cwd = unit.dir.to_string_lossy();
        seen.transcript = host.transcript(dir, &agent.backend.transcript_suffix, pane.pid, &cwd);
    }
}

/// The unit's processes, deepest first: those of the pane now, and those signalled before that still live.
fn tree<H: Host>(host: &mut H, seen: &Seen, signalled: &[Process]) -> Vec<Process> {
    let mut tree = match (&seen.pane, seen.process.as_ref()) {
        (PaneSeen::Alive(pane), _) => host.process_tree(pane.pid),
        (_, Some(process)) => match &process.run {
            RunSeen::Alive { process: Some(root), .. } => host.process_tree(root.pid),
            RunSeen::Alive { .. } | RunSeen::Unknown { .. } | RunSeen::Absent | RunSeen::Pending { .. } => {
                Vec::new()
            }
            RunSeen::Ended { .. } => process.leftovers.clone(),
        },
        (PaneSeen::Unknown | PaneSeen::Absent | PaneSeen::Dead { .. }, None) => Vec::new(),
    };
    for process in signalled {
        let lives = host.process_start(process.pid) == Some(process.start);
        if lives && !tree.contains(process) {
            tree.push(*process);
        }
    }
    tree
}

/// The markers of a unit. A folder that held none and did not change since holds none now: one look instead of three.
fn unit_markers<F: Files>(files: &mut F, name: &UnitName, memory: &mut Memory) -> Markers {
    let folder = files.stamp(&format!("units/{name}"));
    if folder.is_some() && memory.no_markers.get(name) == folder.as_ref() {
        return Markers::default();
    }
    memory.no_markers.remove(name);
    let found = markers(files, Some(name));
    if let Some(folder) = folder.filter(|_| found == Markers::default()) {
        memory.no_markers.insert(name.clone(), folder);
    }
    found
}

/// The markers of a unit, or of the fleet. A marker that can't be read is there all the same; where nobody can even say
/// whether it is there, nothing is done.
pub fn markers<F: Files>(files: &mut F, unit: Option<&UnitName>) -> Markers {
    let path = |file: &str| unit.map_or_else(|| file.to_owned(), |name| table::in_unit(name, file));
    let mut unknown = None;
    let mut text = |file: &str| -> Option<String> {
        let path = path(file);
        match files.read(&path, MARKER_BYTES) {
            Ok(bytes) => bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if files.stamp(&path).is_some() => Some(format!("(unreadable: {})", error.message())),
            Err(error) => {
                unknown.get_or_insert(error.message());
                None
            }
        }
    };
    let down = text(table::DOWN).map(|text| text.lines().next().unwrap_or("").trim().to_owned());
    let paused = text(table::PAUSED).map(|text| pause::parse(&text));
    let waiting_until =
        unit.and_then(|_| text(table::WAITING_UNTIL)).and_then(|text| wait::parse_file(&text));
    let restart = unit.and_then(|_| text(table::RESTART));
    let restart = restart.map(|text| {
        let modified = files.modified(&path(table::RESTART));
        cooperation::restart_marker(&text, modified)
    });
    let unseen =
        |why| Paused { reason: format!("markers can't be read: {}", one_line(why, 200)), until: None };
    let paused = paused.or_else(|| unknown.as_deref().map(unseen));
    Markers { down, paused, waiting_until, restart }
}

#[cfg(test)]
mod tests;

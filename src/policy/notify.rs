//! The last pass over a tick: state changes, holds, alerts and fleet news become events; alerts that outbox.jsonl has are
//! no longer owed; parents are told of their children.

use super::arbiter::{OBSERVED, Ruling};
use super::context::Fleet;
use super::deliver::QUEUE_MAX;
use super::proposal::{EventKind, Notes};
use crate::base::names::UnitName;
use crate::base::text::counted;
use crate::base::time::human_s;
use crate::config::{Config, ProcessHost};
use crate::model::seen::{Observation, ScreenState, ServerSeen};
use crate::state::State;
use crate::state::mail::{Level, Owed, Told};
use crate::state::unit::{HoldState, Message, News, Purpose, SeenState, UnitState};
use std::collections::BTreeMap;

/// News that one unit owes its parent, at most.
const NEWS_MAX: usize = 20;
/// Ids of news that are remembered; past that only of those that are still owed.
const TAKEN_MAX: usize = 200;
/// Longest message of news for a parent, bytes.
const REPORT_BYTES_MAX: usize = 4096;
/// What the children of a dead parent are remembered by.
const ORPHANS: &str = "orphans ";
/// … of runs that wait on their host for somebody.
const HELD: &str = "held ";
/// A parent that is dead for so long is told, seconds: most are back sooner.
const ORPHANS_S: f64 = 60.0;
/// A session that no unit uses is told after so long, seconds (SPEC 8, issue 4).
const STRAY_S: f64 = 180.0;
/// A tmux that does not answer for this long is told, seconds.
const BLIND_S: f64 = 120.0;

/// Units of a host that are named; of more only the count.
const NAMED_MAX: usize = 10;

/// What was before.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// The state that the tick began with.
    pub previous: &'a State,
    /// What was believed of units in this tick until their start was granted.
    pub ended: &'a BTreeMap<UnitName, SeenState>,
}

/// Runs the pass.
pub fn pass(
    config: &Config,
    past: &Past<'_>,
    seen: &Observation,
    fleet: &Fleet,
    ruling: &Ruling,
    next: &mut State,
    notes: &mut Notes,
) {
    let previous = past.previous;
    server(config, previous, seen, next, notes);
    let fresh = UnitState::default();
    for name in config.units.keys() {
        let before = previous.units.get(name).unwrap_or(&fresh);
        let Some(after) = next.units.get_mut(name) else { continue };
        holds(seen, ruling, name, after, notes);
        let believed = past.ended.get(name).unwrap_or(&after.seen);
        if let Some(change) = transition(&before.seen, believed) {
            notes.event(seen.now.wall, Some(name), EventKind::State, change.clone());
            let (was, is) = (before.seen.process.is_some(), believed.process.is_some());
            let parent =
                config.units.get(name).and_then(|unit| unit.agent()).and_then(|agent| agent.parent.clone());
            // A first start is no recovery.
            let news = was != is && (was || before.seen.exit.is_some());
            if parent.is_some() && news {
                let id = format!("{name}-{}-{}", after.acts, seen.now.wall.0);
                after.news.push(News { id, text: format!("[watchkeeper] `{name}`: {change}") });
                let extra = after.news.len().saturating_sub(NEWS_MAX);
                after.news.drain(..extra);
            }
        }
        // A start that was granted makes the belief a new one.
        if let Some(change) = transition(believed, &after.seen) {
            notes.event(seen.now.wall, Some(name), EventKind::State, change);
        }
        if after.seen.foreign && !before.seen.foreign {
            let text = format!("the session that `{name}` needs belongs to somebody else; it is not touched");
            after.owe(name.as_str(), seen.now.wall, Level::Human, text);
        }
        alerts(seen, name, &before.owed, after, notes);
        if super::belief::is_waiting(&after.seen) {
            notes.due_in(0.5);
        }
    }
    report(config, previous, next);
    mass_death(seen, fleet, next, notes);
    standing(config, seen, next);
    fleet_alerts(previous, seen, next, notes);
}

fn transition(old: &SeenState, new: &SeenState) -> Option<String> {
    let substate =
        |seen: &SeenState| seen.substate.map(|sub| format!(" ({sub:?})").to_lowercase()).unwrap_or_default();
    let word = |state: ScreenState| format!("{state:?}").to_lowercase();
    if old.state == new.state && old.substate == new.substate && old.process == new.process {
        return None;
    }
    // A start that was ordered is no life yet: its process comes from the dead.
    let unborn = old.state == ScreenState::Starting && old.process.is_none() && new.process.is_some();
    let was = if unborn { ScreenState::Dead } else { old.state };
    let exit = new.exit.as_ref().filter(|_| new.state == ScreenState::Dead && old.state != ScreenState::Dead);
    let fate = || super::verdict::words(new).map(|words| format!(" ({words})")).unwrap_or_default();
    let tail = exit.map(|exit| format!(": {exit}{}", fate())).unwrap_or_default();
    let process =
        new.process.filter(|process| old.process != Some(*process)).map(|p| format!(", pid {}", p.pid));
    Some(format!(
        "{}{} → {}{}{tail}{}",
        word(was),
        substate(old),
        word(new.state),
        substate(new),
        process.unwrap_or_default()
    ))
}

/// A hold is an event only when it begins, changes its remedy, or ends.
fn holds(seen: &Observation, ruling: &Ruling, name: &UnitName, state: &mut UnitState, notes: &mut Notes) {
    let hold = ruling.holds.iter().find(|hold| hold.unit == *name);
    let same = match (&state.hold, hold) {
        (None, None) => true,
        (Some(old), Some(new)) => old.remedy == new.remedy && skeleton(&old.why) == skeleton(&new.why),
        (Some(_), None) | (None, Some(_)) => false,
    };
    if same {
        return;
    }
    state.hold = hold.map(|hold| {
        let (kind, text) = match hold.why.strip_prefix(OBSERVED) {
            Some(why) => (EventKind::Would, format!("would {}: {why}", hold.remedy)),
            None => (EventKind::Hold, format!("{} withheld: {}", hold.remedy, hold.why)),
        };
        notes.event(seen.now.wall, Some(name), kind, text);
        HoldState { remedy: hold.remedy.clone(), why: hold.why.clone(), since: seen.now.wall }
    });
}

/// The words without their numbers and durations: a counting hold is one hold.
fn skeleton(why: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in why.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let number = bare.starts_with(|c: char| c.is_ascii_digit())
            && bare.chars().all(|c| c.is_ascii_digit() || c == '.');
        let unit = words.last() == Some(&"#") && matches!(bare, "s" | "min" | "h" | "d");
        match (number, unit) {
            (true, _) if words.last() == Some(&"#") => {}
            (true, _) => words.push("#"),
            (false, true) => {}
            (false, false) => words.push(word),
        }
    }
    words.join(" ")
}

fn alerts(seen: &Observation, name: &UnitName, before: &[Owed], state: &mut UnitState, notes: &mut Notes) {
    for owed in state.owed.iter().filter(|owed| !before.contains(owed)) {
        notes.event(seen.now.wall, Some(name), EventKind::Alert, owed.text.clone());
    }
    state.owed.retain(|owed| !seen.is_told(&owed.id));
}

fn fleet_alerts(previous: &State, seen: &Observation, next: &mut State, notes: &mut Notes) {
    let of_plan = next.phase.owed.iter().filter(|owed| !previous.phase.owed.contains(owed));
    let of_fleet = next.mail.owed.iter().filter(|owed| !previous.mail.owed.contains(owed));
    for owed in of_fleet.chain(of_plan) {
        notes.event(seen.now.wall, None, EventKind::Alert, owed.text.clone());
    }
    next.mail.owed.retain(|owed| !seen.is_told(&owed.id));
    next.phase.owed.retain(|owed| !seen.is_told(&owed.id));
}

/// The tmux server went or came back: one fact about the host.
fn server(config: &Config, previous: &State, seen: &Observation, next: &mut State, notes: &mut Notes) {
    if !config.needs_tmux {
        return; // It was not asked.
    }
    match (&previous.mail.server, &seen.server) {
        (_, ServerSeen::Unknown { .. }) | (None, ServerSeen::Absent) => {}
        (Some(old), ServerSeen::Absent) => {
            let ran = previous.units.values().filter(|state| state.seen.process.is_some()).count();
            let text =
                format!("the tmux server (pid {}) is gone, and with it {}", old.pid, counted(ran, "unit"));
            // It ends by itself with its last session: no news after an ordered `down`.
            if ran > 0 {
                notes.event(seen.now.wall, None, EventKind::Fleet, text.clone());
                next.mail.owe(seen.now.wall, Level::Warning, text);
            }
            next.mail.server = None;
        }
        (Some(old), ServerSeen::Alive(new)) if old != new => {
            let text = format!(
                "another tmux server (pid {} instead of {}): all pane ids are void",
                new.pid, old.pid
            );
            notes.event(seen.now.wall, None, EventKind::Fleet, text);
            next.mail.server = Some(new.clone());
        }
        (_, ServerSeen::Alive(new)) => next.mail.server = Some(new.clone()),
    }
}

fn mass_death(seen: &Observation, fleet: &Fleet, next: &mut State, notes: &mut Notes) {
    let died = &fleet.mass_death;
    if died.is_empty() || seen.server == ServerSeen::Absent {
        return;
    }
    let names = died.keys().take(10).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let text = format!("{} units died at once ({names}): one event; they come back staggered", died.len());
    notes.event(seen.now.wall, None, EventKind::Fleet, text.clone());
    next.mail.owe(seen.now.wall, Level::Warning, text);
}

/// News of children, by parent: each is owed in the child's file until the parent's has taken it.
fn owed_news(config: &Config, previous: &State, next: &mut State) -> BTreeMap<UnitName, Vec<News>> {
    let mut by_parent: BTreeMap<UnitName, Vec<News>> = BTreeMap::new();
    for (name, unit) in &config.units {
        let Some(state) = next.units.get_mut(name).filter(|state| !state.news.is_empty()) else { continue };
        let Some(parent) = unit.agent().and_then(|agent| agent.parent.clone()) else {
            state.news.clear();
            continue;
        };
        // (A parent whose file can't be judged now is not in the config.)
        if config.units.get(&parent).and_then(|unit| unit.agent()).is_none() {
            continue;
        }
        if let Some(before) = previous.units.get(&parent) {
            state.news.retain(|news| !before.delivery.taken.contains(&news.id));
        }
        by_parent.entry(parent).or_default().extend(state.news.iter().cloned());
    }
    by_parent
}

fn report(config: &Config, previous: &State, next: &mut State) {
    for (parent, owed) in owed_news(config, previous, next) {
        let Some(state) = next.units.get_mut(&parent) else { continue };
        let taken = &mut state.delivery.taken;
        let fresh: Vec<&News> = owed.iter().filter(|news| !taken.contains(&news.id)).collect();
        if fresh.is_empty() {
            continue;
        }
        let text = fresh.iter().map(|news| news.text.as_str()).collect::<Vec<_>>().join("\n");
        taken.extend(fresh.iter().map(|news| news.id.clone()));
        if taken.len() > TAKEN_MAX {
            taken.retain(|id| owed.iter().any(|news| news.id == *id));
        }
        let room = state.delivery.queue.len() < QUEUE_MAX;
        match state.delivery.queue.last_mut() {
            // What still waits is told in one message; what does not fit into it is in the events.
            Some(last) if last.purpose == Purpose::Report => {
                if last.text.len() + text.len() < REPORT_BYTES_MAX {
                    last.text = format!("{}\n{text}", last.text);
                }
            }
            Some(_) | None if room => {
                let text = text.chars().take(REPORT_BYTES_MAX / 4).collect();
                state.delivery.queue.push(Message { purpose: Purpose::Report, text, request: None });
            }
            Some(_) | None => {}
        }
    }
}

/// Is tmux silent? One that stays so is a standing condition of the host.
fn blind(seen: &Observation, next: &mut State, stands: &mut Vec<(String, Level, String)>) -> bool {
    const SINCE: &str = "blind since";
    const TOLD: &str = "blind";
    let ServerSeen::Unknown { why } = &seen.server else {
        next.mail.told.retain(|told| told.key != SINCE && told.key != TOLD);
        return false;
    };
    let now = seen.now.awake_s;
    match next.mail.told.iter().find(|told| told.key == SINCE) {
        None => next.mail.told.push(Told { key: SINCE.into(), at_awake_s: now }),
        Some(since) if now.since_s(since.at_awake_s) >= BLIND_S => {
            let for_how_long = human_s(now.since_s(since.at_awake_s));
            let text = format!(
                "tmux does not answer for {for_how_long} ({why}): nothing is known of any unit, nothing is done"
            );
            stands.push((TOLD.into(), Level::Human, text));
        }
        Some(_) => {}
    }
    true
}

/// Sessions that no unit uses, ours and nobody's: told when they have stood for a while, with what can be done.
fn strays(config: &Config, seen: &Observation, next: &mut State, stands: &mut Vec<(String, Level, String)>) {
    const SINCE: &str = "since ";
    let prefix = config.session_prefix.as_str();
    let socket = match config.tmux_socket.as_str() {
        "" => String::new(),
        socket => format!("-L {socket} "),
    };
    // As a shell wants it: anybody may have named it, and zsh expands a bare `=name`.
    let quoted = |session: &str| format!("'={}'", session.replace('\'', "'\\''"));
    let end = |session: &str| format!("`tmux {socket}kill-session -t {}` ends it", quoted(session));
    let add = |session: &str| {
        let name = session.strip_prefix(prefix).filter(|name| UnitName::new(name).is_ok()).unwrap_or("NAME");
        format!(
            "to watch it, add a unit with `session = \"{session}\"` to the config and `watchkeeper adopt {name}`"
        )
    };
    let ours = seen.strays.iter().map(|session| {
        let told = format!(
            "session `{session}` is ours, but no unit of the config uses it; it is left alone. Put its unit back into the \
             config, or {}",
            end(session)
        );
        (format!("stray {session}"), told)
    });
    let nobodys = seen.strangers.iter().map(|session| {
        let told = format!(
            "session `{session}` has our prefix, but no unit of the config uses it, and it was not started by us; it is \
             left alone: {}; {}",
            add(session),
            end(session)
        );
        (format!("stranger {session}"), told)
    });
    let now = seen.now.awake_s;
    for (key, text) in ours.chain(nobodys) {
        let first = format!("{SINCE}{key}");
        match next.mail.told.iter().find(|told| told.key == first) {
            None => next.mail.told.push(Told { key: first, at_awake_s: now }),
            Some(since) if now.since_s(since.at_awake_s) >= STRAY_S => stands.push((key, Level::Info, text)),
            Some(_) => {}
        }
    }
    // A tmux that does not answer says nothing of them.
    if !matches!(seen.server, ServerSeen::Unknown { .. }) {
        let stands = |session: &str| {
            let of = |kind: &str, all: &[String]| all.iter().any(|one| session == format!("{kind} {one}"));
            of("stray", &seen.strays) || of("stranger", &seen.strangers)
        };
        next.mail.told.retain(|told| told.key.strip_prefix(SINCE).is_none_or(stands));
    }
}

/// The children of a parent that is dead and does not come back at once: nobody reads what they report. One that people
/// keep down is no news to them.
fn orphans(config: &Config, seen: &Observation, next: &State, stands: &mut Vec<(String, Level, String)>) {
    let mut children: BTreeMap<&UnitName, Vec<&str>> = BTreeMap::new();
    for (name, unit) in &config.units {
        let lives = next.units.get(name).is_some_and(|state| state.seen.process.is_some());
        if let Some(parent) = unit.agent().and_then(|agent| agent.parent.as_ref()).filter(|_| lives) {
            children.entry(parent).or_default().push(name.as_str());
        }
    }
    for (parent, children) in children {
        let Some(state) = next.units.get(parent).filter(|state| state.seen.process.is_none()) else {
            continue;
        };
        let is_down = seen.markers.down.is_some()
            || seen.units.get(parent).is_some_and(|seen| seen.markers.down.is_some())
            || config.units.get(parent).is_none_or(|unit| !unit.enabled);
        let dead_s = seen.now.awake_s.since_s(state.seen.since_awake_s);
        let ran = state.launch.count > 0 || state.seen.exit.is_some();
        if is_down || !ran || state.seen.state != ScreenState::Dead || dead_s < ORPHANS_S {
            continue;
        }
        let shown = children.iter().take(10).copied().collect::<Vec<_>>().join(", ");
        let text = format!("`{parent}` is dead, and its children work on without it: {shown}");
        stands.push((format!("{ORPHANS}{parent}"), Level::Warning, text));
    }
}

/// Units that nothing is known of for long. A host that does not answer is one affair, however many units it has.
fn unwatched(config: &Config, seen: &Observation, next: &State, stands: &mut Vec<(String, Level, String)>) {
    let mut hosts: BTreeMap<String, (Vec<String>, &str)> = BTreeMap::new();
    for (name, state) in &next.units {
        let Some(why) = super::belief::unseen(&seen.now, &state.seen) else { continue };
        let Some(unit) = config.units.get(name) else { continue };
        let down = seen.markers.down.is_some()
            || seen.units.get(name).is_some_and(|seen| seen.markers.down.is_some())
            || !unit.enabled;
        if unit.process().is_some() && down && !state.is_up() {
            continue;
        }
        let host = match unit.process().map(|process| &process.host) {
            Some(ProcessHost::Slurm { .. }) => "Slurm".to_owned(),
            Some(ProcessHost::Docker { engine, .. }) => format!("`{engine}`"),
            Some(ProcessHost::Local | ProcessHost::Attach { .. }) | None => name.to_string(),
        };
        hosts.entry(host).or_insert_with(|| (Vec::new(), why)).0.push(format!("`{name}`"));
    }
    for (host, (names, why)) in hosts {
        let more = names.len().saturating_sub(NAMED_MAX);
        let mut shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 {
            shown.push_str(&format!(" and {more} more"));
        }
        stands.push((format!("unseen {host}"), Level::Human, format!("{shown} can't be watched: {why}")));
    }
}

/// Runs that wait on their host, and begin only when somebody does something.
fn held(config: &Config, seen: &Observation, next: &State, stands: &mut Vec<(String, Level, String)>) {
    for (name, state) in &next.units {
        let is_ours = config.units.get(name).is_some_and(|unit| unit.process().is_some());
        let Some(held) = super::process::held(&seen.now, state).filter(|_| is_ours) else { continue };
        let text = format!("`{name}` waits, and does not begin by itself ({}): {}", held.why, held.advice);
        stands.push((format!("{HELD}{name} {}", held.why), Level::Human, text));
    }
}

/// Standing conditions (sessions that no unit uses, troubles with files): each is told once while it stands.
fn standing(config: &Config, seen: &Observation, next: &mut State) {
    let mut stands: Vec<(String, Level, String)> = Vec::new();
    strays(config, seen, next, &mut stands);
    for trouble in &seen.troubles {
        stands.push((format!("trouble {}", trouble.key), Level::Warning, trouble.text.clone()));
    }
    unwatched(config, seen, next, &mut stands);
    orphans(config, seen, next, &mut stands);
    held(config, seen, next, &mut stands);
    let blind = blind(seen, next, &mut stands);
    // A tmux that does not answer says nothing of strays.
    let judged = |key: &str| {
        let stray = key.starts_with("stray ") || key.starts_with("stranger ");
        let by_us = ["trouble ", "unseen ", HELD, ORPHANS].iter().any(|kind| key.starts_with(kind));
        by_us || (stray && !blind)
    };
    next.mail.told.retain(|told| !judged(&told.key) || stands.iter().any(|(key, ..)| *key == told.key));
    for (key, level, text) in stands {
        if !next.mail.told.iter().any(|told| told.key == key) {
            next.mail.told.push(Told { key, at_awake_s: seen.now.awake_s });
            next.mail.owe(seen.now.wall, level, text);
        }
    }
}

#[cfg(test)]
mod tests;

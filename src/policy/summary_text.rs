//! The words of a summary: a table that fits the terminal, and the same with times that do not change while nothing
//! happens, for the `status` file.
//!
//! Deliberately not here: which facts are shown (`summary`), colours.

use super::summary::{FleetLine, Sight, UnitLine, Urgency, fleet_line, unit_lines};
use crate::base::names::UnitName;
use crate::base::text::one_line;
use crate::base::time::{Now, Wall, human_s};
use crate::config::Config;
use crate::detect::zone;
use crate::model::seen::{Markers, Observation, ScreenState};
use crate::state::State;
use std::collections::BTreeMap;

/// Widest name column; longer names are cut where the table must fit.
const NAME_WIDTH_MAX: usize = 24;
/// Longest line where no terminal bounds it, characters.
const LINE_MAX: usize = 400;

/// How times are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// `12 min`, `in 40 min`: for a person who looks now.
    FromNow,
    /// `2026-11-21 10:02`: for a file that is rewritten only when something changes.
    Absolute,
}

/// The `status` file: a line per unit, then the fleet's.
pub fn lines(config: &Config, state: &State, seen: &Observation) -> String {
    let markers: BTreeMap<UnitName, Markers> =
        seen.units.iter().map(|(name, seen)| (name.clone(), seen.markers.clone())).collect();
    let broken = BTreeMap::new();
    let sight = Sight {
        config,
        now: &seen.now,
        units: &state.units,
        fleet: &seen.markers,
        markers: &markers,
        live: None,
        broken: &broken,
    };
    let units = unit_lines(&sight);
    let fleet = fleet_line(&sight, &units);
    let mut text = table(&units, &seen.now, Times::Absolute, None).join("\n");
    text.push_str(&format!("\n{}\n", fleet_text(&fleet)));
    text
}

/// The table: a head line and a line per unit, each at most `columns` wide.
pub fn table(units: &[UnitLine], now: &Now, times: Times, columns: Option<usize>) -> Vec<String> {
    let since_head = match times {
        Times::FromNow => "FOR",
        Times::Absolute => "SINCE",
    };
    let mut rows = vec![["UNIT".to_owned(), "KIND".to_owned(), "STATE".to_owned(), since_head.to_owned()]];
    let mut tails = vec!["".to_owned()];
    for unit in units {
        let since = unit.since.map_or("-".to_owned(), |since| match times {
            Times::FromNow => human_s(now.wall.since_s(since)),
            Times::Absolute => clock(since, &now.zone),
        });
        let name = one_line(unit.name.as_str(), if columns.is_some() { NAME_WIDTH_MAX } else { usize::MAX });
        rows.push([name, unit.kind.to_owned(), state_word(unit), since]);
        tails.push(one_line(&notes(unit, now, times).join("; "), LINE_MAX));
    }
    let widths: Vec<usize> =
        (0..4).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let max = columns.unwrap_or(LINE_MAX);
    rows.iter()
        .zip(tails)
        .map(|(row, tail)| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            line.push_str(&tail);
            cut(line.trim_end(), max)
        })
        .collect()
}

/// The fleet's line, as far as units and markers tell.
pub fn fleet_text(fleet: &FleetLine) -> String {
    let mut parts = vec![format!("{} of {} up", fleet.up, fleet.wanted)];
    if fleet.units > fleet.wanted {
        parts.push(format!("{} not wanted", fleet.units - fleet.wanted));
    }
    if fleet.person > 0 {
        parts.push(format!("{} waiting for a person", fleet.person));
    }
    if let Some(reason) = &fleet.down {
        parts.push(with_reason("DOWN", reason));
    }
    if let Some(reason) = &fleet.paused {
        parts.push(with_reason("PAUSED", reason));
    }
    format!("fleet: {}", parts.join(", "))
}

/// The state in one or two words, as a person would say it.
pub fn state_word(unit: &UnitLine) -> String {
    let word = format!("{:?}", unit.state).to_lowercase();
    match (unit.state, unit.substate) {
        (ScreenState::Dead | ScreenState::Unknown, _) if !unit.up && !unit.wanted => "down".to_owned(),
        (ScreenState::Dead, _) if unit.kind == "task" => "ended".to_owned(),
        (ScreenState::Unknown, _) if unit.since.is_none() => "not seen".to_owned(),
        (ScreenState::Busy, _) if unit.kind == "service" => "running".to_owned(),
        (_, Some(substate)) => format!("{word} ({substate:?})").to_lowercase(),
        (_, None) => word,
    }
}

/// What else is to be said, the most urgent first.
pub fn notes(unit: &UnitLine, now: &Now, times: Times) -> Vec<String> {
    let when = |at: Wall| moment(at, now, times);
    let mut notes = Vec::new();
    if unit.urgency == Urgency::Person {
        notes.extend(unit.needs.clone());
    }
    if let Some(reason) = &unit.down {
        notes.push(with_reason("marked down", reason));
    }
    if let Some(reason) = &unit.paused {
        notes.push(with_reason("paused", reason));
    }
    notes.extend(unit.doing.clone());
    if let (Some(kind), Some(until)) = (&unit.limit, unit.limit_until) {
        notes.push(format!("{kind} limit until {}", when(until)));
    }
    if let Some(until) = unit.breaker_until {
        notes.push(format!("next try {}", when(until)));
    }
    if let Some(hold) = unit.hold.as_ref().filter(|hold| !already_said(unit, &hold.why)) {
        notes.push(format!("{} withheld: {}", hold.remedy, hold.why));
    }
    if let Some(exit) = unit.exit.as_ref().filter(|_| !unit.up && unit.urgency != Urgency::Person) {
        notes.push(exit.clone());
    }
    if unit.tier > 0 {
        notes.push(format!("tier {} of {}", unit.tier, unit.tiers));
    }
    if let Some(until) = unit.waiting_until {
        notes.push(format!("waits until {}", when(until)));
    }
    if unit.restarts > 0 {
        notes.push(crate::base::text::counted(
            usize::try_from(unit.restarts).unwrap_or(usize::MAX),
            "restart",
        ));
    }
    if let Some(at) = unit.next_wake {
        notes.push(format!("wakes {}", when(at)));
    }
    notes
}

/// The hold only repeats what stands before it.
fn already_said(unit: &UnitLine, why: &str) -> bool {
    unit.urgency == Urgency::Person
        && (why.starts_with("waits for a person")
            || why.starts_with("circuit breaker open")
            || why.contains("ladder is at its end")
            || why.contains("is not ours"))
}

/// A moment for people: today's as a clock time, others with their day; how far away it is where that may change.
pub fn moment(at: Wall, now: &Now, times: Times) -> String {
    match times {
        Times::Absolute => clock(at, &now.zone),
        Times::FromNow => {
            let full = clock(at, &now.zone);
            let today = clock(now.wall, &now.zone);
            let same_day = full.get(..10) == today.get(..10);
            let short = if same_day { full.get(11..).unwrap_or(&full).to_owned() } else { full };
            let left = at.since_s(now.wall);
            if left > 0.0 { format!("{short} (in {})", human_s(left)) } else { short }
        }
    }
}

/// Local time to the minute, `2026-11-21 10:02`.
pub fn clock(at: Wall, zone_name: &str) -> String {
    match zone::civil(at, &zone::find_or_utc(zone_name)) {
        Some(civil) => civil.strftime("%Y-%m-%d %H:%M").to_string(),
        None => at.to_string(),
    }
}

fn with_reason(word: &str, reason: &str) -> String {
    if reason.is_empty() { word.to_owned() } else { format!("{word}: {reason}") }
}

/// At most `max` characters, runs of spaces kept; an ellipsis marks the cut.
fn cut(line: &str, max: usize) -> String {
    if line.chars().count() <= max {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

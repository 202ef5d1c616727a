//! The words of a summary: a table that fits the terminal, and the same with times that do not change while nothing
//! happens, for the `status` file.
//!
//! Deliberately not here: which facts are shown (`summary`), colours.

use super::summary::{FleetLine, PhaseLine, Sight, UnitLine, Urgency, fleet_line, unit_lines};
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
        phase: &state.phase,
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

fn phase_text(phase: &PhaseLine) -> String {
    match (&phase.id, phase.completed) {
        (_, Some(_)) => format!("all {} phases done", phase.phases),
        (None, None) => "phase not known yet".to_owned(),
        (Some(id), None) if phase.number == 0 => format!("phase {id} is NOT IN THE PLAN"),
        (Some(id), None) => format!("phase {id} ({} of {})", phase.number, phase.phases),
    }
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
    if let Some(phase) = &fleet.phase {
        parts.push(phase_text(phase));
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
        (ScreenState::Busy, _) if matches!(unit.kind, "service" | "process") => "running".to_owned(),
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
    if let Some(exit) =
        unit.exit.as_ref().filter(|_| !unit.up && unit.wanted && unit.urgency != Urgency::Person)
    {
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
    if let Some(tokens) = unit.tokens {
        notes.push(format!("{} tokens", short_count(tokens)));
    }
    notes
}

/// A large number in three digits: `950`, `12.3k`, `4.56M`. Rounded down.
pub fn short_count(n: u64) -> String {
    let steps = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    let Some((unit, letter)) = steps.into_iter().find(|(unit, _)| n >= *unit) else { return n.to_string() };
    let (whole, thousandths) = (n / unit, n % unit * 1000 / unit);
    match whole {
        0..=9 => format!("{whole}.{:02}{letter}", thousandths / 10),
        10..=99 => format!("{whole}.{}{letter}", thousandths / 100),
        _ => format!("{whole}{letter}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Awake;
    use crate::config::{Source, parse};
    use crate::model::seen::{Paused, Process, Substate};
    use crate::policy::summary::Live;
    use crate::state::phase::PhaseState;
    use crate::state::unit::{Breaker, HoldState, Limit, UnitState};
    use std::path::Path;

    const CONFIG: &str = r#"
        [[agent]]
        name = "a"
        kind = "loop"
        [[agent]]
        name = "b"
        kind = "persistent"
        [[agent]]
        name = "t"
        kind = "task"
        wake = { interval = 600, prompt = "x" }
        [[service]]
        name = "s"
        command = ["x"]
    "#;

    fn config() -> Config {
        let parsed = parse(&Source {
            path: Path::new("/fleet/agents.toml"),
            text: CONFIG,
            home: Path::new("/home/op"),
            env: &|_| None,
            read: &|_| Ok(String::new()),
            state_override: None,
        });
        parsed.config.unwrap()
    }

    fn now() -> Now {
        let wall = Wall::parse("2026-11-21T10:00:00Z").unwrap();
        Now { wall, awake_s: Awake(10_000_000), boot: "b".into(), zone: "Europe/Berlin".into() }
    }

    fn name(name: &str) -> UnitName {
        UnitName::new(name).unwrap()
    }

    /// A unit that is in `state` for a minute.
    fn alive(state: ScreenState) -> UnitState {
        let mut unit = UnitState::default();
        unit.seen.state = state;
        unit.seen.since = now().wall.plus_s(-60.0);
        unit.seen.since_awake_s = now().awake_s.plus_s(-60.0);
        unit.seen.process = Some(Process { pid: 7, start: 1 });
        unit
    }

    fn dead(exit: &str) -> UnitState {
        let mut unit = alive(ScreenState::Dead);
        unit.seen.process = None;
        unit.seen.exit = Some(exit.to_owned());
        unit
    }

    fn with(mut unit: UnitState, change: impl FnOnce(&mut UnitState)) -> UnitState {
        change(&mut unit);
        unit
    }

    fn lines_of(units: &[(&str, UnitState)], live: Option<&[(&str, Live)]>) -> Vec<UnitLine> {
        let units = units.iter().map(|(n, unit)| (name(n), unit.clone())).collect();
        let live = live.map(|live| live.iter().map(|(n, live)| (name(n), live.clone())).collect());
        let (config, now) = (config(), now());
        unit_lines(&Sight {
            config: &config,
            now: &now,
            units: &units,
            phase: &PhaseState::default(),
            fleet: &Markers::default(),
            markers: &BTreeMap::new(),
            live: live.as_ref(),
            broken: &BTreeMap::new(),
        })
    }

    /// The one line of unit `b`, with an urgency and its notes.
    #[track_caller]
    fn check(unit: &UnitState, urgency: Urgency, want: &str) {
        let line =
            lines_of(&[("b", unit.clone())], None).into_iter().find(|line| line.name == name("b")).unwrap();
        let text = format!("{}: {}", state_word(&line), notes(&line, &now(), Times::FromNow).join("; "));
        assert_eq!((line.urgency, text.as_str()), (urgency, want));
    }

    #[test]
    fn large_numbers_are_short() {
        let check = |n: u64, want: &str| assert_eq!(short_count(n), want);
        check(0, "0");
        check(999, "999");
        check(1000, "1.00k");
        check(12_345, "12.3k");
        check(999_999, "999k");
        check(4_567_890, "4.56M");
        check(12_000_000_000, "12.0G");
    }

    #[test]
    fn each_line_says_what_matters_first() {
        check(&alive(ScreenState::Busy), Urgency::Well, "busy: ");
        check(&alive(ScreenState::Blocked), Urgency::Person, "blocked: asks for a person");
        let hold = |why: &str| Some(HoldState { remedy: "nudge".into(), why: why.into(), since: now().wall });
        check(
            &with(alive(ScreenState::Blocked), |unit| unit.hold = hold("waits for a person: Proceed?")),
            Urgency::Person,
            "blocked: asks: Proceed?",
        );
        check(
            &with(alive(ScreenState::Error), |unit| unit.seen.substate = Some(Substate::Auth)),
            Urgency::Person,
            "error (auth): its credentials are refused: log in again",
        );
        check(
            &with(alive(ScreenState::Limited), |unit| {
                let until = now().wall.plus_s(2400.0);
                unit.limit.active = Some(Limit { kind: "session".into(), until, ..Limit::default() });
            }),
            Urgency::Trouble,
            "limited: session limit until 11:40 (in 40 min)",
        );
        check(&dead("exit status 3"), Urgency::Trouble, "dead: exit status 3");
        check(
            &with(dead("exit status 3"), |unit| {
                unit.restart.breaker = Breaker::Open { until_awake_s: now().awake_s.plus_s(60.0) };
                unit.hold = hold("circuit breaker open for another 1 min");
            }),
            Urgency::Person,
            "dead: breaker open after exit status 3: `watchkeeper approve b` lifts it; next try 11:01 (in 1 min)",
        );
        check(
            &with(alive(ScreenState::Idle), |unit| {
                unit.hold = hold("paused: deploy");
                unit.restart.total = 2;
                unit.wake.due = Some(now().wall.plus_s(86_400.0));
            }),
            Urgency::Well,
            "idle: nudge withheld: paused: deploy; 2 restarts; wakes 2026-11-22 11:00 (in 1 d)",
        );
        check(
            &with(alive(ScreenState::Idle), |unit| unit.ladder.tier = 1),
            Urgency::Trouble,
            "idle: tier 1 of 3",
        );
        check(
            &with(alive(ScreenState::Idle), |unit| {
                unit.ladder.tier = 1;
                unit.ladder.triage.trouble = Some("triage failed (no such program)".into());
            }),
            Urgency::Person,
            "idle: silent, and triage failed (no such program); tier 1 of 3",
        );
        check(
            &with(alive(ScreenState::Idle), |unit| unit.seen.foreign = true),
            Urgency::Person,
            "idle: session `crew-b` is not ours: rename or end it",
        );
    }

    #[test]
    fn who_waits_for_a_person_comes_first_then_trouble_then_the_config_s_order() {
        let units = [
            ("a", alive(ScreenState::Busy)),
            ("b", alive(ScreenState::Busy)),
            ("s", dead("exit status 1")),
            ("t", alive(ScreenState::Blocked)),
        ];
        let order: Vec<String> = lines_of(&units, None).iter().map(|line| line.name.to_string()).collect();
        assert_eq!(order, ["t", "s", "a", "b"]);
    }

    #[test]
    fn what_tmux_says_now_beats_what_was_recorded() {
        let units =
            [("a", alive(ScreenState::Busy)), ("b", dead("exit status 1")), ("s", alive(ScreenState::Busy))];
        let live = [("a", Live::Absent), ("b", Live::Alive), ("s", Live::Alive), ("t", Live::Absent)];
        let lines = lines_of(&units, Some(&live));
        let of = |n: &str| {
            lines.iter().find(|line| line.name == name(n)).map(|line| (line.up, line.state)).unwrap()
        };
        assert_eq!(of("a"), (false, ScreenState::Dead));
        assert_eq!(of("b"), (true, ScreenState::Starting));
        assert_eq!(of("s"), (true, ScreenState::Busy));
    }

    #[test]
    fn what_cannot_be_watched_is_not_up() {
        let unseen = |for_s: f64| {
            with(UnitState::default(), |unit| {
                let since_awake_s = now().awake_s.plus_s(-for_s);
                unit.seen.unseen = Some(crate::state::unit::Unseen { why: "no /proc".into(), since_awake_s });
            })
        };
        let line = |for_s| {
            let lines = lines_of(&[("a", unseen(for_s))], Some(&[("a", Live::Alive)]));
            lines.into_iter().find(|line| line.name == name("a")).unwrap()
        };
        assert!(line(60.0).up, "it may just have ended");
        assert!(!line(130.0).up);
        assert_eq!(line(130.0).needs.as_deref(), Some("can't be watched: no /proc"));
    }

    #[test]
    fn a_task_between_its_runs_is_well() {
        let lines = lines_of(&[("t", dead("exit status 0"))], None);
        let task = lines.iter().find(|line| line.name == name("t")).unwrap();
        assert_eq!((task.urgency, state_word(task).as_str()), (Urgency::Well, "ended"));
    }

    #[test]
    fn the_table_fits_and_controls_never_come_through() {
        let noisy = with(alive(ScreenState::Idle), |unit| {
            let why = format!("\x1b[2J{}", "long ".repeat(100));
            unit.hold = Some(HoldState { remedy: "nudge".into(), why, since: now().wall });
        });
        for columns in [40, 80, 200] {
            for line in table(&lines_of(&[("a", noisy.clone())], None), &now(), Times::FromNow, Some(columns))
            {
                assert!(line.chars().count() <= columns && !line.contains('\x1b'), "{columns}: {line}");
            }
        }
    }

    #[test]
    fn absolute_times_stay_the_same_while_time_goes_on() {
        let units =
            [("a", with(alive(ScreenState::Idle), |unit| unit.wake.due = Some(now().wall.plus_s(600.0))))];
        let later = Now { wall: now().wall.plus_s(45.0), awake_s: now().awake_s.plus_s(45.0), ..now() };
        let units = lines_of(&units, None);
        let text = |now: &Now| table(&units, now, Times::Absolute, None);
        assert_eq!(text(&now()), text(&later));
        let lines = text(&now());
        let line = lines.iter().find(|line| line.starts_with("a ")).unwrap();
        assert_eq!(line, "a     loop        idle      2026-11-21 10:59  wakes 2026-11-21 11:10");
    }

    #[test]
    fn the_fleet_s_line_counts() {
        let lines = lines_of(&[("a", alive(ScreenState::Blocked))], None);
        let (config, now) = (config(), now());
        let paused = Some(Paused { reason: "deploy".into(), until: None });
        let fleet = Markers { paused, ..Markers::default() };
        let sight = Sight {
            config: &config,
            now: &now,
            units: &BTreeMap::new(),
            phase: &PhaseState::default(),
            fleet: &fleet,
            markers: &BTreeMap::new(),
            live: None,
            broken: &BTreeMap::new(),
        };
        let text = fleet_text(&fleet_line(&sight, &lines));
        assert_eq!(text, "fleet: 1 of 4 up, 1 waiting for a person, PAUSED: deploy");
    }
}

//! `why`: the reasons behind the last decisions and holds, in plain words with the numbers compared.

use super::{Command, Effect, Flag, Words};
use crate::base::error::Result;
use crate::base::names::UnitName;
use crate::cli::event_log::{self, Wanted};
use crate::cli::explain::{self, Explanation, Subject};
use crate::cli::snapshot::Snapshot;
use crate::cli::watchdog::Watchdog;
use crate::cli::{Invocation, Out, load};
use crate::config::Config;
use crate::model::seen::Markers;
use crate::policy::proposal::Event;
use crate::policy::summary::{self, UnitLine, Urgency};
use crate::state::clocks::UnitClocks;
use crate::state::unit::UnitState;
use serde::Serialize;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "why",
    usage: "[NAME] [--last N]",
    about: "the reasons behind what was done and withheld, with the numbers",
    long: "For a NAME: how it is and since when, what was seen, what is held back and why,
the last thing done and why, what comes next and when, and its last events with
what was compared. Without a NAME: every unit that is not simply well, and the
last events of the fleet.

JSON: {watchdog {…as in status}, units [{name, is, facts [], held, done, next
[]}], events [{at, unit, kind, text, why {rule, seen, compared []}}]}",
    flags: &[Flag { long: "last", short: None, value: Some("N"), about: "at most so many, the newest" }],
    words: Words::MaybeUnit,
    effect: Effect::Reads,
    run,
};

/// Events shown when nothing is said.
const LAST: usize = 10;

#[derive(Debug, Serialize)]
struct Why {
    watchdog: Watchdog,
    units: Vec<Explanation>,
    events: Vec<Event>,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let config = load::config(invocation)?;
    let name = invocation.name()?;
    if let Some(name) = &name {
        load::unit(&config, name)?;
    }
    let mut snapshot = Snapshot::read(&config)?;
    snapshot.look(&config);
    let lines = summary::unit_lines(&snapshot.sight(&config));
    let units = lines
        .iter()
        .filter(|line| match &name {
            Some(name) => line.name == *name,
            None => is_worth_telling(line),
        })
        .filter_map(|line| explain(&config, &snapshot, line))
        .collect();
    let wanted = Wanted {
        unit: name.as_ref().map(UnitName::to_string),
        since: None,
        last: Some(invocation.count("last")?.unwrap_or(LAST)),
    };
    let (events, _) = event_log::read(&config.state_dir, &wanted)?;
    let watchdog = snapshot.watchdog();
    let why = Why { watchdog, units, events };
    if invocation.json {
        out.json(&why);
    } else {
        print(&why, &snapshot, lines.len(), out);
    }
    Ok(ExitCode::SUCCESS)
}

/// Not simply at work.
fn is_worth_telling(line: &UnitLine) -> bool {
    line.urgency != Urgency::Well || line.hold.is_some() || line.paused.is_some() || line.doing.is_some()
}

fn explain(config: &Config, snapshot: &Snapshot, line: &UnitLine) -> Option<Explanation> {
    let unit = config.units.get(&line.name)?;
    let (state, clocks, markers) = (UnitState::default(), UnitClocks::default(), Markers::default());
    Some(explain::explain(&Subject {
        config,
        unit,
        state: snapshot.state.units.get(&line.name).unwrap_or(&state),
        clocks: snapshot.state.clocks.units.get(&line.name).unwrap_or(&clocks),
        markers: snapshot.markers.get(&line.name).unwrap_or(&markers),
        fleet: &snapshot.fleet,
        line,
        now: &snapshot.now,
    }))
}

fn print(why: &Why, snapshot: &Snapshot, all: usize, out: &mut Out) {
    if !why.watchdog.is_well() {
        out.line(&why.watchdog.text(&snapshot.now));
        out.line("  what follows was true at its last tick");
    }
    for unit in &why.units {
        out.line(&unit.is);
        for fact in &unit.facts {
            out.line(&format!("  seen: {fact}"));
        }
        if let Some(held) = &unit.held {
            out.line(&format!("  withheld: {held}"));
        }
        if let Some(done) = &unit.done {
            out.line(&format!("  last done: {done}"));
        }
        for next in &unit.next {
            out.line(&format!("  next: {next}"));
        }
    }
    if why.units.is_empty() {
        out.line(&format!("all is well with {}", crate::base::text::counted(all, "unit")));
    }
    if why.events.is_empty() {
        return out.line("no events yet");
    }
    out.line("lately:");
    for event in &why.events {
        out.line(&format!("  {}", event_log::line(event, &snapshot.now.zone)));
        if let Some(reason) = &event.why {
            out.line(&format!("    because ({}): {}", reason.rule, reason.seen));
            for compared in &reason.compared {
                out.line(&format!("      {compared}"));
            }
        }
    }
}

//! `status`: a line per unit, who waits for a person first, and a line for the fleet.

use super::{Command, Effect, Words};
use crate::base::error::Result;
use crate::base::time::{Now, Wall};
use crate::cli::out::Paint;
use crate::cli::snapshot::Snapshot;
use crate::cli::watchdog::Watchdog;
use crate::cli::{Invocation, Out, load};
use crate::policy::summary::{self, FleetLine, UnitLine, Urgency};
use crate::policy::summary_text::{self, Times};
use serde::Serialize;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "status",
    usage: "",
    about: "a line per unit: state, since when, what is wrong, what comes next",
    long: "Units that wait for a person come first, then those in trouble, then the rest in
the order of the config. What tmux says now beats what was recorded; without
tmux the recorded state is shown. `watchkeeper why NAME` tells the reasons.

Exit code 0: all is well. 1: something needs a person, or a wanted unit is down,
or nobody watches.

JSON: {healthy, at, state_dir, tmux (did it answer), watchdog {health, pid,
last_tick, age_s, ticks, last_error}, fleet {up, wanted, units, paused, down,
person, phase (null without [loop]) {id, number, phases, since, completed}},
units [{name, kind, wanted, up, state, substate, since, urgency, needs,
hold {remedy, why, since}, paused, down, tier, tiers, restarts, breaker,
breaker_until, limit, limit_until, next_wake, waiting_until, pane, exit,
doing, tokens (counted so far) or null}]}",
    flags: &[],
    words: Words::None,
    effect: Effect::Reads,
    run,
};

#[derive(Debug, Serialize)]
struct Status {
    healthy: bool,
    at: Wall,
    state_dir: String,
    tmux: bool,
    watchdog: Watchdog,
    fleet: FleetLine,
    units: Vec<UnitLine>,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let config = load::config(invocation)?;
    let mut snapshot = Snapshot::read(&config)?;
    snapshot.look(&config);
    let sight = snapshot.sight(&config);
    let mut units = summary::unit_lines(&sight);
    for line in &mut units {
        let agent = snapshot.state.tokens.agents.get(&line.name);
        line.tokens = agent.map(|agent| agent.used.total).filter(|total| *total > 0);
    }
    let fleet = summary::fleet_line(&sight, &units);
    let watchdog = Watchdog::judge(snapshot.heartbeat.as_ref(), snapshot.holder.as_ref(), &snapshot.now);
    let down =
        |line: &UnitLine| config.units.get(&line.name).is_some_and(|unit| summary::is_down(unit, line));
    let watched = watchdog.is_well() || fleet.down.is_some();
    let status = Status {
        healthy: watched && fleet.person == 0 && !units.iter().any(down),
        at: snapshot.now.wall,
        state_dir: config.state_dir.to_string_lossy().into_owned(),
        tmux: snapshot.live.is_some(),
        watchdog,
        fleet,
        units,
    };
    if invocation.json {
        out.json(&status);
    } else {
        print(&status, &snapshot.now, out);
    }
    Ok(if status.healthy { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(status: &Status, now: &Now, out: &mut Out) {
    let table = summary_text::table(&status.units, now, Times::FromNow, Some(out.columns()));
    let mut lines = table.into_iter();
    if let Some(head) = lines.next() {
        out.line(&head);
    }
    for (unit, line) in status.units.iter().zip(lines) {
        let paint = match unit.urgency {
            Urgency::Person => Paint::Urgent,
            Urgency::Trouble => Paint::Trouble,
            Urgency::Well => Paint::Plain,
        };
        out.painted(paint, &line);
    }
    let mut fleet = summary_text::fleet_text(&status.fleet);
    if !status.tmux {
        fleet.push_str(", tmux did not answer (as recorded)");
    }
    let calm = status.watchdog.is_well() || status.fleet.down.is_some();
    let text = format!("{fleet}; {}", status.watchdog.text(now));
    out.painted(if calm { Paint::Plain } else { Paint::Urgent }, &text);
}

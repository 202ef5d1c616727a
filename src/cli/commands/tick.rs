//! `tick`: one round, for cron; or a look at what it would do.

use super::{Command, Effect, Flag, Words};
use crate::base::error::{Error, Result};
use crate::cli::{Invocation, Out, event_log};
use crate::engine::home::{Home, LoadedConfig};
use crate::engine::run::Patience;
use crate::engine::tick::{Identity, Watchdog};
use crate::engine::{self, record};
use crate::model::seen::{Observation, Scope};
use crate::policy::proposal::{Decision, Event, Hold, Reason};
use crate::state::State;
use crate::sys::files::RealFiles;
use crate::sys::outside;
use crate::sys::real_host::RealHost;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "tick",
    usage: "[--dry-run] [--wait] [--record DIR]",
    about: "one round (for cron), or a look at what it would do",
    long: "Observes, decides, acts, and prints the events; nothing when nothing happened.
Steps that are due within 3 s follow at once, so that a tick from cron finishes
what it begins. `--dry-run` prints what would be done and withheld, with the
reasons, and does nothing. `--record` keeps what was seen as a fixture:
agents.toml, state.json, seen.json. `--wait` stays until no delivery, end or
second look is under way, two minutes at most.

JSON: one event a line as in `events`; with `--dry-run` one object {would
[{unit, what, why {rule, seen, compared []}}], withheld [{unit, remedy, why}],
events []}",
    flags: &[
        Flag { long: "dry-run", short: None, value: None, about: "print decisions and reasons, do nothing" },
        Flag { long: "wait", short: None, value: None, about: "stay until what is under way is done" },
        Flag {
            long: "record",
            short: None,
            value: Some("DIR"),
            about: "keep what was seen as a fixture in DIR",
        },
    ],
    words: Words::None,
    effect: Effect::Changes,
    run,
};

#[derive(Debug, Serialize)]
struct DryRun<'a> {
    would: Vec<Would<'a>>,
    withheld: &'a [Hold],
    events: &'a [Event],
}

#[derive(Debug, Serialize)]
struct Would<'a> {
    unit: String,
    what: &'a str,
    why: &'a Reason,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let home = invocation.home()?;
    let dir = invocation.path("record");
    if invocation.has("dry-run") {
        return dry_run(invocation, &home, dir, out);
    }
    let zone = crate::sys::clock::Clock::new().now().zone;
    let mut recorded = false;
    let patience = if invocation.has("wait") { Patience::UntilQuiet } else { Patience::FollowUps };
    engine::run::tick(&home, patience, &mut |loaded, report| {
        if let Some(dir) = dir.filter(|_| !recorded) {
            // The first of the follow-up ticks is the one that was asked for.
            keep(dir, loaded, &report.before, &report.seen)?;
            recorded = true;
        }
        for event in &report.decision.events {
            if invocation.json { out.json_line(event) } else { out.line(&event_log::line(event, &zone)) }
        }
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn keep(dir: &Path, loaded: &LoadedConfig, before: &State, seen: &Observation) -> Result<()> {
    for (name, text) in record::files(&loaded.text, before, seen)? {
        outside::write_text(&dir.join(name), &text)
            .map_err(|error: Error| error.doing("recording the tick"))?;
    }
    Ok(())
}

fn dry_run(invocation: &Invocation, home: &Home, dir: Option<&Path>, out: &mut Out) -> Result<ExitCode> {
    let loaded = home.load()?;
    let config = &loaded.config;
    let host = RealHost::new(&config.tmux_socket, &config.state_dir);
    if config.needs_tmux {
        host.tmux().version()?;
    }
    let stamp = config.state_dir.to_string_lossy().into_owned();
    let mut watchdog = Watchdog::new(host, RealFiles::new(&config.state_dir), stamp, Identity::default());
    let (before, seen, decision) = watchdog.dry_run(config, Scope::All);
    if let Some(dir) = dir {
        keep(dir, &loaded, &before, &seen)?;
    }
    let would = decision
        .granted
        .iter()
        .map(|granted| Would { unit: granted.unit.to_string(), what: &granted.label, why: &granted.why })
        .collect();
    if invocation.json {
        out.json(&DryRun { would, withheld: &decision.holds, events: &decision.events });
    } else {
        print(&decision, &would, &seen.now.zone, out);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(decision: &Decision, would: &[Would<'_>], zone: &str, out: &mut Out) {
    for one in would {
        out.line(&format!("would {}: {} ({})", one.what, one.unit, one.why.rule));
        out.line(&format!("  because: {}", one.why.seen));
        for compared in &one.why.compared {
            out.line(&format!("    {compared}"));
        }
    }
    for hold in &decision.holds {
        out.line(&format!("withheld: {} of {}: {}", hold.remedy, hold.unit, hold.why));
    }
    for event in &decision.events {
        out.line(&format!("event: {}", event_log::line(event, zone)));
    }
    if would.is_empty() && decision.holds.is_empty() {
        out.line("nothing to do");
    }
}

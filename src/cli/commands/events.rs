//! `events`: what happened, one line each.

use super::{Command, Effect, Flag, Words};
use crate::base::error::{Error, Result};
use crate::base::time::Wall;
use crate::cli::args::shown;
use crate::cli::event_log::{self, Wanted};
use crate::cli::{Invocation, Out, load};
use crate::policy::proposal::Event;
use crate::sys::clock::Clock;
use crate::sys::outside;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "events",
    usage: "[-f] [NAME] [--since TIME] [--last N]",
    about: "what happened: every transition, decision, hold and action",
    long: "One line each: local time, unit, kind, text. Kinds: state, act, would, failed,
hold, alert, limit, delivery, wake, request, fleet, file. Without flags the last
20. `why` tells the numbers behind them; the files are events/<day>.jsonl in the
state directory.

JSON: one object a line: {at, unit or null, kind, text, why {rule, seen,
compared []}}; `why` only where there is one.",
    flags: &[
        Flag { long: "follow", short: Some('f'), value: None, about: "go on printing what is added" },
        Flag {
            long: "since",
            short: None,
            value: Some("TIME"),
            about: "not older than this: 2026-11-21T10:00:00Z, or an age such as 90s, 10m, 2h, 3d",
        },
        Flag { long: "last", short: None, value: Some("N"), about: "at most so many, the newest" },
    ],
    words: Words::MaybeUnit,
    effect: Effect::Reads,
    run,
};

/// Events printed when nothing is said.
const LAST: usize = 20;
/// How often the files are looked at while following, seconds.
pub(super) const LOOK_S: f64 = 0.25;

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let config = load::config(invocation)?;
    let now = Clock::new().now();
    let since = invocation.value("since")?.map(|text| since(text, now.wall)).transpose()?;
    let unit = match invocation.name()? {
        Some(name) if name.as_str() == "fleet" && !config.units.contains_key(&name) => None,
        // A unit that the config no longer has may still have events.
        Some(name) => Some(name.to_string()),
        None => None,
    };
    let last = match (invocation.count("last")?, since) {
        (Some(n), _) => Some(n),
        (None, Some(_)) => None,
        (None, None) => Some(LAST),
    };
    let (events, mut follow) =
        event_log::read(&config.state_dir, &Wanted { unit: unit.clone(), since, last })?;
    if events.is_empty()
        && let Some(name) = invocation.name()?
        && name.as_str() != "fleet"
    {
        load::unit(&config, &name)?;
    }
    let print = |events: Vec<Event>, out: &mut Out| {
        for event in events {
            if invocation.json {
                out.json_line(&event);
            } else {
                out.line(&event_log::line(&event, &now.zone));
            }
        }
    };
    print(events, out);
    while invocation.has("follow") && out.broken().is_none() {
        outside::nap(LOOK_S);
        print(follow.more()?, out);
    }
    Ok(ExitCode::SUCCESS)
}

/// An instant, or an age.
pub(super) fn since(text: &str, now: Wall) -> Result<Wall> {
    let wrong = || {
        Error::usage(format!("`--since {}`: neither a time nor an age", shown(text.as_ref())))
            .hint("write 2026-11-21T10:00:00Z, or an age such as 90s, 10m, 2h, 3d")
    };
    if let Some(at) = Wall::parse(text) {
        return Ok(at);
    }
    let unit_at = text.char_indices().next_back().map_or(0, |(at, _)| at);
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let n: u32 = number.parse().map_err(|_| wrong())?;
    Ok(now.plus_s(-f64::from(n) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_times_are_read() {
        let now = Wall::parse("2026-11-21T10:00:00Z").unwrap();
        let check = |text: &str, want: &str| assert_eq!(since(text, now).unwrap().to_string(), want);
        check("90s", "2026-11-21T09:58:30Z");
        check("2h", "2026-11-21T08:00:00Z");
        check("3d", "2026-11-18T10:00:00Z");
        check("2026-11-21T09:00:00+01:00", "2026-11-21T08:00:00Z");
        for bad in ["", "h", "2", "2w", "-2h", "2ä", "99999999999h", "yesterday"] {
            assert!(since(bad, now).is_err(), "{bad}");
        }
    }
}

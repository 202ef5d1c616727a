//! `ensure`: starts the watchdog if none lives; for cron and for boot.

use super::{Command, Effect, Flag, Words};
use crate::base::error::Result;
use crate::base::time::human_s;
use crate::cli::{Invocation, Out};
use crate::engine::ensure::{self, Ensured, OldOne};
use crate::sys::env;
use serde::Serialize;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "ensure",
    usage: "[--replace]",
    about: "start the watchdog if none lives (for cron)",
    long: "Honours the fleet's `down` mark. A watchdog that holds the lock but does not
tick is alerted once, and ended and started anew with `--replace`. Says nothing
when one lives, unless to a terminal: put it into cron as `*/5 * * * *
watchkeeper --config FILE ensure`.

Exit code 0: one lives, or the fleet is marked down. 1: one lives and does not
tick.

JSON: {watchdog (alive, down, started, old, replaced), pid or null, text}",
    flags: &[Flag {
        long: "replace",
        short: None,
        value: None,
        about: "end one that does not tick, and start another",
    }],
    words: Words::None,
    effect: Effect::Changes,
    run,
};

#[derive(Debug, Serialize)]
struct Answer {
    watchdog: &'static str,
    pid: Option<i32>,
    text: String,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let home = invocation.home()?;
    let old = if invocation.has("replace") { OldOne::Replace } else { OldOne::Tell };
    let answer = match ensure::ensure(&home, old)? {
        Ensured::Alive(held) => Answer {
            watchdog: "alive",
            pid: Some(held.pid),
            text: format!("the watchdog lives, pid {}", held.pid),
        },
        Ensured::Down(reason) => {
            let text = format!("the fleet is marked down ({reason}): no watchdog is started");
            Answer { watchdog: "down", pid: None, text }
        }
        Ensured::Started(seat) => {
            let text = format!("started the watchdog {seat}");
            Answer { watchdog: "started", pid: None, text }
        }
        Ensured::Old(held, age_s) => {
            let text = format!(
                "the watchdog, pid {}, has not ticked for {}: `watchkeeper ensure --replace`",
                held.pid,
                human_s(age_s)
            );
            Answer { watchdog: "old", pid: Some(held.pid), text }
        }
        Ensured::Replaced(held, seat) => {
            let text = format!("ended pid {}, started a watchdog {seat}", held.pid);
            Answer { watchdog: "replaced", pid: None, text }
        }
    };
    let is_news = !matches!(answer.watchdog, "alive" | "down");
    if invocation.json {
        out.json(&answer);
    } else if is_news || env::stdout_is_terminal() {
        out.line(&answer.text);
    }
    Ok(if answer.watchdog == "old" { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

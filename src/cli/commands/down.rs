//! `down`: stops units and keeps them down; without names also the watchdog.

use super::{Command, Effect, Flag, Words};
use crate::base::error::Result;
use crate::cli::orders::{self, Outcome, TIMEOUT, WAIT_S};
use crate::cli::{Invocation, Out};
use crate::engine::ask;
use crate::engine::ensure::{self, Pulse};
use crate::model::seen::Ask;
use crate::state::mail::Taken;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "down",
    usage: "[NAME…] [--reason TEXT] [--timeout SECONDS]",
    about: "stop, and keep down; without names also the watchdog",
    long: "With names: marks them down and ends their processes, the whole tree, deepest
first (TERM, `grace_s`, KILL). Without: marks the fleet down, ends every unit,
then the watchdog. What is marked down is started by nobody, `ensure` and
reboots included, until `watchkeeper up`. Waits 30 s for the result unless
`--timeout` says otherwise.

Exit code 0: all of it is stopped. 75: not done, or not confirmed, in time.

JSON: [{unit or null, taken (accepted, refused, null), done, text}]",
    flags: &[
        Flag { long: "reason", short: None, value: Some("TEXT"), about: "why, for `status` and the marker" },
        TIMEOUT,
    ],
    words: Words::MaybeUnits,
    effect: Effect::Changes,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let (home, config, names) = orders::named(invocation)?;
    let wait_s = orders::wait_s(invocation, WAIT_S)?;
    let reason = invocation.value("reason")?.unwrap_or("`watchkeeper down`").to_owned();
    if !names.is_empty() {
        let asks =
            names.into_iter().map(|name| Ask::Down { unit: Some(name), reason: reason.clone() }).collect();
        return orders::give(
            invocation,
            &home,
            asks,
            wait_s,
            &|_, state, request| orders::stopped(state.units.get(request.ask.unit()?)),
            out,
        );
    }
    let answers =
        ask::ask(&home, vec![Ask::Down { unit: None, reason }], "cli", wait_s, &|config, state, _| {
            let stands = config.units.keys().any(|name| orders::stopped(state.units.get(name)).is_none());
            (!stands).then(|| Ok("all units are stopped".to_owned()))
        })?;
    let mut results: Vec<Outcome> = answers.iter().map(|answer| orders::result(answer, wait_s)).collect();
    let all_done = results.iter().all(|result| result.done);
    results.extend(watchdog(&config, all_done)?);
    Ok(orders::tell(invocation, &results, out))
}

/// Ends the watchdog, unless it still has something to stop.
fn watchdog(config: &crate::config::Config, all_done: bool) -> Result<Option<Outcome>> {
    let lives = !matches!(ensure::pulse(config), Pulse::Absent);
    let unit = Some("watchdog".to_owned());
    if !all_done {
        let text = "goes on until the units are stopped; `watchkeeper down` ends it then".to_owned();
        return Ok(lives.then_some(Outcome { unit, taken: Some(Taken::Accepted), done: false, text }));
    }
    let ended = ensure::stop(config)?;
    ensure::close_session(config);
    let text = "stopped".to_owned();
    Ok(ended.then_some(Outcome { unit, taken: Some(Taken::Accepted), done: true, text }))
}

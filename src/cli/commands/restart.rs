//! `restart`: an ordered restart; it waits for the end of the turn.

use super::{Command, Effect, Words};
use crate::base::error::Result;
use crate::cli::orders::{self, TIMEOUT, WAIT_S};
use crate::cli::{Invocation, Out};
use crate::model::seen::Ask;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "restart",
    usage: "NAME… [--timeout SECONDS]",
    about: "restart units, each at the end of its turn",
    long: "The restart waits for the end of the turn, at most `advance_grace_s` (300 s),
then happens. One that does not run is started. Closes an open circuit breaker.
Waits 30 s for the result unless `--timeout` says otherwise; the restart goes on
without you.

Exit code 0: all of them run anew. 1: refused, or one ended at once. 75: not
done, or not confirmed, in time.

JSON: [{unit, taken (accepted, refused, null), done, text}]",
    flags: &[TIMEOUT],
    words: Words::Units,
    effect: Effect::Changes,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let (home, config, names) = orders::named(invocation)?;
    let wait_s = orders::wait_s(invocation, WAIT_S)?;
    let before = orders::starts(&config);
    let asks = names.into_iter().map(|unit| Ask::Restart { unit }).collect();
    orders::give(
        invocation,
        &home,
        asks,
        wait_s,
        &|config, state, request| {
            let name = request.ask.unit()?;
            let state = state.units.get(name)?;
            let starts = before.get(name).copied().unwrap_or(0);
            // The old process does not count.
            if state.launch.count <= starts {
                return None;
            }
            orders::running(config, name, state, starts)
        },
        out,
    )
}

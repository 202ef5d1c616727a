//! `adopt`: takes over a session that somebody else started under a unit's name.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Result};
use crate::cli::orders::{self, TIMEOUT, WAIT_S};
use crate::cli::{Invocation, Out};
use crate::model::seen::Ask;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "adopt",
    usage: "NAME [--timeout SECONDS]",
    about: "take over the session that somebody started under a unit's name",
    long: "A session that watchkeeper did not start is never touched, whatever its name.
This marks the one that has the unit's session name (`session` in the config)
as the unit's: from then on it is watched, and may be nudged, ended and
started anew like any other. What runs in it goes on. Refused when the session
carries another fleet's mark, has more than one pane, or when the unit is
marked down: it would be ended at once.

Exit code 0: it is watched. 1: refused. 75: not done, or not confirmed, in time.

JSON: [{unit, taken (accepted, refused, null), done, text}]",
    flags: &[TIMEOUT],
    words: Words::Unit,
    effect: Effect::Changes,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let (home, _, names) = orders::named(invocation)?;
    let wait_s = orders::wait_s(invocation, WAIT_S)?;
    let Some(unit) = names.into_iter().next() else { return Err(Error::usage("which unit?")) };
    orders::give(
        invocation,
        &home,
        vec![Ask::Adopt { unit }],
        wait_s,
        &|_, state, request| {
            let state = state.units.get(request.ask.unit()?)?;
            let process = state.seen.process.filter(|_| !state.seen.foreign)?;
            Some(Ok(format!("adopted, pid {}", process.pid)))
        },
        out,
    )
}

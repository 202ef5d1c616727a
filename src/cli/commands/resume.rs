//! `resume`: ends a pause.

use super::{Command, Effect, Words};
use crate::base::error::Result;
use crate::cli::orders::{self, WAIT_S};
use crate::cli::{Invocation, Out};
use crate::model::seen::Ask;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "resume",
    usage: "[NAME]",
    about: "end the pause of a unit, or of the whole fleet",
    long: "Removes the `PAUSED` marker. A unit stays paused while the fleet is, and the
fleet's end of pause does not end that of a unit which was paused by itself.

JSON: [{unit or null, taken (accepted, refused, null), done, text}]",
    flags: &[],
    words: Words::MaybeUnit,
    effect: Effect::Changes,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let (home, _, names) = orders::named(invocation)?;
    let ask = Ask::Resume { unit: names.into_iter().next() };
    orders::give(invocation, &home, vec![ask], WAIT_S, &orders::at_once, out)
}

//! `approve`: a person takes responsibility: closes a breaker, renews budgets, overrides vetoes once.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Result};
use crate::cli::orders::{self, WAIT_S};
use crate::cli::{Invocation, Out};
use crate::model::seen::Ask;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "approve",
    usage: "NAME",
    about: "close an open circuit breaker, or let a vetoed kill happen once",
    long: "Closes the unit's circuit breaker, gives it a fresh restart budget and fresh
tries, and lets a kill that the ladder wants pass its vetoes once. It does not
answer a dialog: `watchkeeper attach NAME` and answer it.

JSON: [{unit, taken (accepted, refused, null), done, text}]",
    flags: &[],
    words: Words::Unit,
    effect: Effect::Changes,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let (home, _, names) = orders::named(invocation)?;
    let Some(unit) = names.into_iter().next() else { return Err(Error::usage("which unit?")) };
    orders::give(invocation, &home, vec![Ask::Approve { unit }], WAIT_S, &orders::at_once, out)
}

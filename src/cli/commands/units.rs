//! `list-units` (hidden): the names of the units, for completions. Never complains.

use super::{Command, Effect, Words};
use crate::base::error::Result;
use crate::cli::{Invocation, Out, load};
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "list-units",
    usage: "",
    about: "the names of the units, one a line, for completions",
    long: "Prints nothing when there is no config that can be read.",
    flags: &[],
    words: Words::None,
    effect: Effect::Hidden,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    if let Ok(config) = load::config(invocation) {
        for name in config.units.keys() {
            out.line(name.as_str());
        }
    }
    Ok(ExitCode::SUCCESS)
}

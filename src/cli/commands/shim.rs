//! `shim` (hidden): stands between the watchdog and a local process, so that its exit status is known.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Result};
use crate::cli::{Invocation, Out};
use crate::sys::hosts::{batch, logs, shim};
use std::path::Path;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "shim",
    usage: "DIR",
    about: "runs a local process to its end, started by the watchdog",
    long: "DIR is a unit's folder, locked and handed over as standard input; its
launch.json says what to run.",
    flags: &[],
    words: Words::All,
    effect: Effect::Hidden,
    run,
};

fn run(invocation: &Invocation, _: &mut Out) -> Result<ExitCode> {
    let (first, rest) =
        invocation.words.split_first().ok_or_else(|| Error::usage("`shim` needs a unit's folder"))?;
    if first == shim::CHILD_WORD {
        return shim::become_child(rest);
    }
    if first == batch::BATCH_WORD {
        return batch::run(rest);
    }
    if let (true, Some(dir)) = (first == logs::LOGS_WORD, rest.first()) {
        logs::run(Path::new(dir))?;
        return Ok(ExitCode::SUCCESS);
    }
    shim::run(Path::new(first))?;
    Ok(ExitCode::SUCCESS)
}

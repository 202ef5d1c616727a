//! `job` (hidden): runs a job of the watchdog's to its end and writes down how it ended.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Result};
use crate::cli::{Invocation, Out};
use crate::sys::jobs;
use std::path::Path;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "job",
    usage: "DIR [rest]",
    about: "slow work beside the tick, started by the watchdog",
    long: "DIR is a folder below `jobs/`; its job.json says what to run.\n\
           `rest` ends what is left of a job whose runner was killed.",
    flags: &[],
    words: Words::All,
    effect: Effect::Hidden,
    run,
};

fn run(invocation: &Invocation, _: &mut Out) -> Result<ExitCode> {
    let dir = invocation.words.first().ok_or_else(|| Error::usage("`job` needs a folder"))?;
    match invocation.words.get(1) {
        Some(word) if word == jobs::REST_WORD => jobs::run_rest(Path::new(dir))?,
        Some(_) | None => jobs::run(Path::new(dir))?,
    }
    Ok(ExitCode::SUCCESS)
}

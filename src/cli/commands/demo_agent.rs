//! `demo-agent` (hidden): the scripted agent of the `demo` backend. It plays a foreign program and prints for itself.

use super::{Command, Effect, Words};
use crate::base::error::Result;
use crate::cli::{Invocation, Out};
use crate::demo::agent;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "demo-agent",
    usage: "[WORDS]",
    about: "the scripted agent of the `demo` backend",
    long: "Started by watchkeeper. A prompt that holds a directive (`HANG 0`, `LIMIT 40 s`)
is obeyed; any other one is repeated, or, with `--worker PROGRAM` (else
$DEMO_WORKER), handed to that program on its standard input: what it prints is
the answer.",
    flags: &[],
    words: Words::All,
    effect: Effect::Hidden,
    run,
};

fn run(invocation: &Invocation, _: &mut Out) -> Result<ExitCode> {
    Ok(agent::run(invocation.words.clone()))
}

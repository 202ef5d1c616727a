//! `demo`: the fleet of scripted agents, its trouble and its remedies. The story itself is in `demo::story`.

use super::{Command, Effect, Flag, Words};
use crate::base::error::Result;
use crate::cli::{Invocation, Out};
use crate::demo::story::{self, After, Options};
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "demo",
    usage: "[--keep]",
    about: "try it in a minute: scripted agents, real trouble, and what is done",
    long: "Starts four scripted agents on a tmux server of its own, and a watchdog that
keeps them. One agent is killed, one falls silent, one hits its usage limit, one
asks for permission, and the watchdog itself is killed in the midst of a remedy.
What it does is told as it happens, and checked at the end by the agents' own
transcripts. Needs tmux and no account; touches nothing of yours, and tears
everything down at the end and on ^C.

Exit code 0: everything happened as it should. 1: something is missing, which is
said.",
    flags: &[Flag {
        long: "keep",
        short: None,
        value: None,
        about: "keep the folder, the agents and their tmux server, and say how to look around",
    }],
    words: Words::None,
    effect: Effect::Changes,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let after = if invocation.has("keep") { After::Keep } else { After::TearDown };
    let told = story::run(out, &Options { binary: None, after });
    match told {
        // Nobody reads on: the story ended there.
        Err(_) if out.broken().is_some() => Ok(ExitCode::SUCCESS),
        told => told,
    }
}

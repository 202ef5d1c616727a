//! `completions`: a completion script for a shell.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Result};
use crate::base::text::nearest;
use crate::cli::args::shown;
use crate::cli::complete::Shell;
use crate::cli::{Invocation, Out};
use serde::Serialize;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "completions",
    usage: "SHELL",
    about: "print a completion script for bash, zsh or fish",
    long: "For bash: `source <(watchkeeper completions bash)` in ~/.bashrc. For zsh: save
it as _watchkeeper in a folder of $fpath. For fish: save it as
~/.config/fish/completions/watchkeeper.fish.

JSON: {shell, script}",
    flags: &[],
    words: Words::Shell,
    effect: Effect::Reads,
    run,
};

#[derive(Debug, Serialize)]
struct Completions<'a> {
    shell: &'a str,
    script: String,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let name = invocation.texts()?.first().copied().unwrap_or_default();
    let Some(shell) = Shell::named(name) else {
        let error = Error::usage(format!("no completions for the shell `{}`", shown(name.as_ref())));
        return Err(match nearest(name, ["bash", "zsh", "fish"]) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("there are some for bash, zsh and fish"),
        });
    };
    let script = shell.script();
    if invocation.json {
        out.json(&Completions { shell: name, script });
    } else {
        out.text(&script);
    }
    Ok(ExitCode::SUCCESS)
}

//! `respond`: answers a process's recovery request, as an interactive healing agent or as a person.

use super::{Command, Effect, Flag, Words};
use crate::base::error::{Error, Result};
use crate::cli::orders::{self, TIMEOUT, WAIT_S};
use crate::cli::{Invocation, Out, load};
use crate::model::seen::Ask;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "respond",
    usage: "NAME --action A [--set K=V]… [--diagnosis T] [--timeout S]",
    about: "answer a process's recovery request",
    long: "ACTION: restart, restart-with-env, pause, abort or none. `--set` may be given
more than once; the variables are remembered for later starts too. The request
stands in units/NAME/recovery-request.md; the same answer may be written to
recovery-response.md beside it, ending in `ACTION:` and `SET:` lines.

Exit code 0: taken. 1: refused: nothing was asked, or the answer can't be used.
75: not confirmed in time.

JSON: [{unit, taken (accepted, refused, null), done, text}]",
    flags: &[
        Flag { long: "action", short: None, value: Some("ACTION"), about: "what is to be done" },
        Flag { long: "set", short: None, value: Some("KEY=VALUE"), about: "a variable for the next start" },
        Flag {
            long: "diagnosis",
            short: None,
            value: Some("TEXT"),
            about: "what was wrong, for the incident",
        },
        TIMEOUT,
    ],
    words: Words::Unit,
    effect: Effect::Changes,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let home = invocation.home()?;
    let config = home.load()?.config;
    let Some(unit) = invocation.name()? else { return Err(Error::usage("which process?")) };
    load::unit(&config, &unit)?;
    let Some(action) = invocation.value("action")? else {
        return Err(
            Error::usage("which action?").hint("--action restart | restart-with-env | pause | abort | none")
        );
    };
    let plain = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let mut text =
        invocation.value("diagnosis")?.map_or_else(String::new, |said| format!("{}\n\n", plain(said)));
    text.push_str(&format!("ACTION: {}\n", plain(action)));
    for pair in invocation.values("set")? {
        text.push_str(&format!("SET: {}\n", plain(pair)));
    }
    let wait_s = orders::wait_s(invocation, WAIT_S)?;
    orders::give(invocation, &home, vec![Ask::Respond { unit, text }], wait_s, &orders::at_once, out)
}

//! `attach`: shows a unit's session to a person.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Kind, Result};
use crate::cli::snapshot::{Ownership, row};
use crate::cli::{Invocation, Out, load};
use crate::model::seen::ServerSeen;
use crate::sys::env;
use crate::sys::tmux::{Tmux, attach_argv};
use serde::Serialize;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "attach",
    usage: "NAME",
    about: "look at a unit's session in tmux",
    long: "Attaches to the unit's session, or switches to it inside tmux. While you are
attached and type, nothing is typed into that pane and nothing in it is ended.
Leave with the tmux prefix and `d`.

JSON: {session, pane, argv []}: what would be run; it is not run.",
    flags: &[],
    words: Words::Unit,
    effect: Effect::Reads,
    run,
};

#[derive(Debug, Serialize)]
struct Attach {
    session: String,
    pane: String,
    argv: Vec<String>,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let config = load::config(invocation)?;
    let Some(name) = invocation.name()? else { return Err(Error::usage("which unit?")) };
    let unit = load::unit(&config, &name)?;
    if unit.process().is_some() {
        return Err(Error::new(Kind::No, format!("`{name}` is a process: it has no pane to attach to"))
            .hint(format!("`watchkeeper log {name} -f` follows its output")));
    }
    let tmux = Tmux::new(&config.tmux_socket);
    tmux.version()?;
    let list = tmux.list();
    let absent = || {
        Error::new(Kind::No, format!("`{name}` has no session"))
            .hint(format!("`watchkeeper up {name}` starts it"))
    };
    let server = match list.server {
        ServerSeen::Alive(server) => server,
        ServerSeen::Absent => return Err(absent()),
        ServerSeen::Unknown { why } => return Err(Error::again(format!("tmux could not be asked: {why}"))),
    };
    // A session of that name that is not ours is still the one that the operator means.
    let Some((row, Ownership::Ours | Ownership::Foreign)) = row(&config, &unit.session, &list.rows) else {
        return Err(absent());
    };
    let inside = env::var("TMUX");
    let argv = attach_argv(&config.tmux_socket, &unit.session, inside.as_deref(), server.pid);
    if invocation.json {
        out.json(&Attach { session: unit.session.clone(), pane: row.pane.clone(), argv });
        return Ok(ExitCode::SUCCESS);
    }
    Err(env::become_program(&argv))
}

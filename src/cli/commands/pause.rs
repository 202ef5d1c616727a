//! `pause`: no remedies for a unit, or for the whole fleet.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Result};
use crate::base::names::UnitName;
use crate::base::text::nearest;
use crate::cli::orders::{self, WAIT_S};
use crate::cli::{Invocation, Out};
use crate::config::Config;
use crate::model::seen::Ask;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "pause",
    usage: "[NAME] [REASON]",
    about: "no remedies for a unit, or for the whole fleet, until `resume`",
    long: "What is paused is watched and shown, but neither started, typed into nor ended.
The first word is a unit when the config has one of that name, else it belongs
to the reason. A reason that ends with `until 2026-11-21T10:00:00Z` ends the
pause then. Orders of a person (`restart`, `nudge`, …) are carried out all the
same.

JSON: [{unit or null, taken (accepted, refused, null), done, text}]",
    flags: &[],
    words: Words::MaybeUnitAndText,
    effect: Effect::Changes,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let home = invocation.home()?;
    let config = home.load()?.config;
    let words = invocation.texts()?;
    let (unit, reason) = target(&config, &words)?;
    orders::give(invocation, &home, vec![Ask::Pause { unit, reason }], WAIT_S, &orders::at_once, out)
}

fn target(config: &Config, words: &[&str]) -> Result<(Option<UnitName>, String)> {
    let Some((first, rest)) = words.split_first() else { return Ok((None, String::new())) };
    if let Some(name) = UnitName::new(first).ok().filter(|name| config.units.contains_key(name)) {
        return Ok((Some(name), rest.join(" ")));
    }
    // One word that is nearly a name is a slip, not a reason to pause everything.
    let near = nearest(first, config.units.keys().map(UnitName::as_str));
    match near.filter(|_| rest.is_empty()) {
        Some(near) => Err(Error::usage(format!("there is no unit `{first}` in the config"))
            .hint(format!("did you mean `{near}`? a reason for the whole fleet takes more than one word"))),
        None => Ok((None, words.join(" "))),
    }
}

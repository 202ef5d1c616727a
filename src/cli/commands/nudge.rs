//! `nudge`: a person's text, typed into an agent's composer, and verified.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Result};
use crate::cli::orders::{self, TIMEOUT};
use crate::cli::{Invocation, Out, load};
use crate::model::seen::Ask;
use crate::state::unit::DeliveryOutcome;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "nudge",
    usage: "NAME TEXT… [--timeout SECONDS]",
    about: "type a text into an agent's composer, and see that it arrived",
    long: "The text is pasted, looked for, submitted and looked for again; it is never
pasted twice. It waits while a dialog is open, a draft of yours stands in the
composer, or you are attached and type. Put `--` before a text that begins with
`-`. Waits 120 s for the result unless `--timeout` says otherwise; the text is
kept until it can be typed.

Exit code 0: the agent took it. 1: refused, or it did not arrive. 75: not done,
or not confirmed, in time.

JSON: [{unit, taken (accepted, refused, null), done, text}]",
    flags: &[TIMEOUT],
    words: Words::UnitAndText,
    effect: Effect::Changes,
    run,
};

/// How long the delivery is waited for, seconds.
const NUDGE_WAIT_S: f64 = 120.0;

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let home = invocation.home()?;
    let config = home.load()?.config;
    let words = invocation.texts()?;
    let (Some(unit), Some((_, text))) = (invocation.name()?, words.split_first()) else {
        return Err(Error::usage("whom, and with which text?"));
    };
    load::unit(&config, &unit)?;
    let wait_s = orders::wait_s(invocation, NUDGE_WAIT_S)?;
    let ask = Ask::Nudge { unit, text: text.join(" ") };
    orders::give(
        invocation,
        &home,
        vec![ask],
        wait_s,
        &|_, state, request| {
            let past = &state.units.get(request.ask.unit()?)?.delivery.past;
            let ended =
                past.iter().rev().find(|past| past.request.as_deref() == Some(request.id.as_str()))?;
            Some(match &ended.outcome {
                DeliveryOutcome::Seen => Ok("delivered".to_owned()),
                DeliveryOutcome::Failed { why } => Err(format!("not delivered: {why}")),
                DeliveryOutcome::Unknown { why } => Err(format!("perhaps not delivered: {why}")),
            })
        },
        out,
    )
}

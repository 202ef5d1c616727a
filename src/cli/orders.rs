//! What all changing commands share: asking, waiting for what comes of it, saying it, and the exit code.
//!
//! Deliberately not here: who acts on a request (`engine::ask`).

use super::{Invocation, Out, load};
use crate::base::error::{Error, Kind, Result};
use crate::base::names::UnitName;
use crate::base::time::human_s;
use crate::config::Config;
use crate::engine::ask::{self, Answer, Settled};
use crate::engine::home::Home;
use crate::model::seen::{Ask, Request, ScreenState};
use crate::state::State;
use crate::state::mail::Taken;
use crate::state::unit::UnitState;
use crate::sys::clock;
use crate::sys::files::RealFiles;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// How long a command waits for what it asked for, seconds.
pub const WAIT_S: f64 = 30.0;
/// Longest wait that can be asked for, seconds.
const WAIT_MAX_S: f64 = 86_400.0;
/// A unit that is still dead so long after its start has ended at once, seconds.
const AT_ONCE_S: f64 = 2.0;
/// The flag that changes it.
pub const TIMEOUT: super::commands::Flag = super::commands::Flag {
    long: "timeout",
    short: None,
    value: Some("SECONDS"),
    about: "how long to wait for what comes of it",
};

/// What came of one request. The keys are a promise to scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Whom it was about; null = the fleet.
    pub unit: Option<String>,
    /// accepted, refused or null (nobody confirmed it).
    pub taken: Option<Taken>,
    /// Has it come about?
    pub done: bool,
    /// In words.
    pub text: String,
}

/// The home and the units that are named, each in the config.
pub fn named(invocation: &Invocation) -> Result<(Home, Config, Vec<UnitName>)> {
    let home = invocation.home()?;
    let config = home.load()?.config;
    let names = invocation.names()?;
    for name in &names {
        load::unit(&config, name)?;
    }
    Ok((home, config, names))
}

/// How long to wait, seconds.
pub fn wait_s(invocation: &Invocation, default_s: f64) -> Result<f64> {
    let Some(text) = invocation.value("timeout")? else { return Ok(default_s) };
    let seconds: f64 = text.parse().unwrap_or(-1.0);
    if !(0.0..=WAIT_MAX_S).contains(&seconds) {
        let shown = super::args::shown(text.as_ref());
        return Err(Error::usage(format!(
            "`--timeout {shown}`: not a number of seconds up to {WAIT_MAX_S:.0}"
        )));
    }
    Ok(seconds)
}

/// Asks, waits, says what came of it.
pub fn give(
    invocation: &Invocation,
    home: &Home,
    asks: Vec<Ask>,
    wait_s: f64,
    settled: Settled<'_>,
    out: &mut Out,
) -> Result<ExitCode> {
    let answers = ask::ask(home, asks, "cli", wait_s, settled)?;
    let results: Vec<Outcome> = answers.iter().map(|answer| result(answer, wait_s)).collect();
    Ok(tell(invocation, &with_holds(home, results)?, out))
}

/// What is not done yet is told with what holds it.
fn with_holds(home: &Home, mut results: Vec<Outcome>) -> Result<Vec<Outcome>> {
    if results.iter().all(|result| result.done || result.taken != Some(Taken::Accepted)) {
        return Ok(results);
    }
    let config = home.load()?.config;
    let state = ask::look(&mut RealFiles::new(&config.state_dir), &config);
    for result in results.iter_mut().filter(|result| !result.done && result.taken == Some(Taken::Accepted)) {
        let hold = result.unit.as_deref().and_then(|unit| state.units.get(unit)?.hold.as_ref());
        if let Some(hold) = hold {
            result.text.push_str(&format!(" ({} withheld: {})", hold.remedy, hold.why));
        }
    }
    Ok(results)
}

/// Says what came of it; the exit code is of the worst.
pub fn tell(invocation: &Invocation, results: &[Outcome], out: &mut Out) -> ExitCode {
    if invocation.json {
        out.json(&results);
    } else {
        for result in results {
            out.line(&format!("{}: {}", result.unit.as_deref().unwrap_or("fleet"), result.text));
        }
    }
    let failed = |result: &Outcome| !result.done && (result.taken == Some(Taken::Refused));
    if results.iter().all(|result| result.done) {
        ExitCode::SUCCESS
    } else if results.iter().any(failed) {
        ExitCode::from(Kind::No.exit_code())
    } else {
        ExitCode::from(Kind::Again.exit_code())
    }
}

/// An answer in words.
pub fn result(answer: &Answer, wait_s: f64) -> Outcome {
    let unit = answer.request.ask.unit().map(UnitName::to_string);
    let said = said(answer, unit.as_deref());
    let (taken, done, text) = match (answer.taken, &answer.settled) {
        (None, _) => {
            let waited = human_s(wait_s);
            (
                None,
                false,
                format!(
                    "nobody confirmed it within {waited}; the request waits in inbox.jsonl; `watchkeeper doctor` looks why"
                ),
            )
        }
        (Some(Taken::Refused), _) => (answer.taken, false, format!("refused: {said}")),
        (Some(Taken::Accepted), None) => (
            answer.taken,
            false,
            format!("{said}; not done yet after {}, `watchkeeper status` shows it", human_s(wait_s)),
        ),
        (Some(Taken::Accepted), Some(Ok(text))) => (answer.taken, true, text.clone()),
        // Taken, tried, and it did not work: as good as refused.
        (Some(Taken::Accepted), Some(Err(text))) => (Some(Taken::Refused), false, text.clone()),
    };
    Outcome { unit, taken, done, text }
}

/// What the engine said, without the unit's name that stands before it anyway.
fn said(answer: &Answer, unit: Option<&str>) -> String {
    let name = unit.map_or_else(|| "the fleet".to_owned(), |unit| format!("`{unit}`"));
    let text = answer.said.strip_prefix(&name).unwrap_or(&answer.said);
    text.strip_prefix(": ").unwrap_or(&answer.said).to_owned()
}

/// Done as soon as it is confirmed: the words of the confirmation are the result.
pub fn at_once(_: &Config, state: &State, request: &Request) -> Option<Result<String, String>> {
    let said = state.mail.handled.iter().find(|handled| handled.id == request.id)?.said.clone();
    let name = request.ask.unit().map_or_else(|| "the fleet".to_owned(), |name| format!("`{name}`"));
    let text = said.strip_prefix(&name).and_then(|text| text.strip_prefix(": ")).unwrap_or(&said);
    Some(Ok(text.to_owned()))
}

/// How often each unit was started so far: a later count tells that a start is a new one.
pub fn starts(config: &Config) -> BTreeMap<UnitName, u64> {
    let state = ask::look(&mut RealFiles::new(&config.state_dir), config);
    state.units.into_iter().map(|(name, state)| (name, state.launch.count)).collect()
}

/// Does it run? None while that is not settled.
pub fn running(
    config: &Config,
    name: &UnitName,
    state: &UnitState,
    starts: u64,
) -> Option<Result<String, String>> {
    if state.seen.foreign {
        let session = config.units.get(name).map(|unit| unit.session.clone()).unwrap_or_default();
        return Some(Err(format!("not started: the session `{session}` is not ours")));
    }
    let began = state.launch.count > starts;
    if let Some(process) = state.seen.process.filter(|_| state.ending.is_none()) {
        return Some(Ok(match began {
            true => format!("started, pid {}", process.pid),
            false => format!("runs already, pid {}", process.pid),
        }));
    }
    if state.process.is_up() && state.ending.is_none() {
        let handle = &state.process.run.handle;
        return Some(Ok(if began {
            format!("started, {handle}")
        } else {
            format!("runs already, {handle}")
        }));
    }
    // The start is written down in the tick that still saw the old end: an end counts when it stands a while after.
    let stands = state.launch.at.is_some_and(|at| clock::wall().since_s(at) > AT_ONCE_S);
    let ended = stands && state.seen.exit_known.is_some();
    if began && ended {
        let exit = state.seen.exit.clone().unwrap_or_default();
        return Some(Err(format!("started, and ended at once: {exit}")));
    }
    None
}

/// Has it stopped? None while it has not.
pub fn stopped(state: Option<&UnitState>) -> Option<Result<String, String>> {
    // What nobody saw is not known to have stopped.
    let state = state.filter(|state| state.seen.state != ScreenState::Unknown)?;
    let stopped = !state.is_up() && state.ending.is_none() && state.seen.unseen.is_none();
    stopped.then(|| Ok("stopped".to_owned()))
}

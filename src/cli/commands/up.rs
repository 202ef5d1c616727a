//! `up`: starts what is not running, never twice; without names also the watchdog.

use super::{Command, Effect, Words};
use crate::base::error::Result;
use crate::base::time::Awake;
use crate::cli::orders::{self, Outcome, TIMEOUT, WAIT_S};
use crate::cli::{Invocation, Out};
use crate::config::{AgentKind, Config, Unit};
use crate::engine::ask;
use crate::engine::ensure::{self, Ensured, OldOne};
use crate::engine::home::Home;
use crate::engine::observe::markers;
use crate::model::seen::Ask;
use crate::state::State;
use crate::state::mail::Taken;
use crate::state::unit::UnitState;
use crate::sys::files::RealFiles;
use crate::sys::{clock, outside};
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "up",
    usage: "[NAME…] [--timeout SECONDS]",
    about: "start what is not running; without names also the watchdog",
    long: "With names: removes their `down` marks and starts them. Without: removes the
fleet's `down` mark, starts every enabled unit that is not marked down itself,
and starts the watchdog in its own tmux session, `<session_prefix>watchkeeper`
(by itself where there is no tmux and the config has processes only).
What runs already is left alone. Waits 30 s for the result unless `--timeout`
says otherwise.

Exit code 0: all of it runs. 1: something was refused, or ended at once. 75: not
done, or not confirmed, in time.

JSON: [{unit or null, taken (accepted, refused, null), done, text}]",
    flags: &[TIMEOUT],
    words: Words::MaybeUnits,
    effect: Effect::Changes,
    run,
};

/// How often the state is looked at, seconds.
const LOOK_S: f64 = 0.1;

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let (home, config, names) = orders::named(invocation)?;
    let wait_s = orders::wait_s(invocation, WAIT_S)?;
    if names.is_empty() {
        return fleet(invocation, &home, &config, wait_s, out);
    }
    let before = orders::starts(&config);
    let asks = names.into_iter().map(|name| Ask::Up { unit: Some(name) }).collect();
    orders::give(
        invocation,
        &home,
        asks,
        wait_s,
        &|config, state, request| {
            let name = request.ask.unit()?;
            let fleet_down = markers(&mut RealFiles::new(&config.state_dir), None).down.is_some();
            if fleet_down {
                return Some(Err("the whole fleet is marked down: `watchkeeper up` comes first".to_owned()));
            }
            let state = state.units.get(name)?;
            orders::running(config, name, state, before.get(name).copied().unwrap_or(0))
        },
        out,
    )
}

/// The whole fleet: the mark is removed, then the watchdog started, which starts the units.
fn fleet(
    invocation: &Invocation,
    home: &Home,
    config: &Config,
    wait_s: f64,
    out: &mut Out,
) -> Result<ExitCode> {
    let deadline = clock::awake().plus_s(wait_s);
    let before = orders::starts(config);
    let answers = ask::ask(home, vec![Ask::Up { unit: None }], "cli", wait_s, &orders::at_once)?;
    let mut results: Vec<Outcome> = Vec::new();
    for result in answers.iter().map(|answer| orders::result(answer, wait_s)).filter(|result| !result.done) {
        results.push(result);
    }
    if results.is_empty() {
        results.push(watchdog(home)?);
        let mut files = RealFiles::new(&config.state_dir);
        let mut units: Vec<&Unit> = config
            .units
            .values()
            .filter(|unit| unit.enabled && markers(&mut files, Some(&unit.name)).down.is_none())
            .collect();
        units.sort_by_key(|unit| unit.position);
        results.extend(await_units(config, &units, &before, deadline, wait_s));
    }
    Ok(orders::tell(invocation, &results, out))
}

fn watchdog(home: &Home) -> Result<Outcome> {
    let (done, text) = match ensure::ensure(home, OldOne::Tell)? {
        Ensured::Alive(held) => (true, format!("watches already, pid {}", held.pid)),
        Ensured::Started(seat) => (true, format!("watches, {seat}")),
        Ensured::Replaced(_, seat) => (true, format!("watches anew, {seat}")),
        Ensured::Down(_) => (false, "not started: the fleet was marked down again".to_owned()),
        Ensured::Old(held, _) => {
            (false, format!("pid {} does not tick: `watchkeeper ensure --replace`", held.pid))
        }
    };
    let taken = Some(if done { Taken::Accepted } else { Taken::Refused });
    Ok(Outcome { unit: Some("watchdog".to_owned()), taken, done, text })
}

fn await_units(
    config: &Config,
    units: &[&Unit],
    before: &std::collections::BTreeMap<crate::base::names::UnitName, u64>,
    deadline: Awake,
    wait_s: f64,
) -> Vec<Outcome> {
    let mut files = RealFiles::new(&config.state_dir);
    loop {
        let state: State = ask::look(&mut files, config);
        let settled: Vec<Option<Result<String, String>>> = units
            .iter()
            .map(|unit| {
                let fresh = UnitState::default();
                let unit_state = state.units.get(&unit.name).unwrap_or(&fresh);
                let rests = unit.agent().is_some_and(|agent| agent.kind == AgentKind::Task);
                let starts = before.get(&unit.name).copied().unwrap_or(0);
                match orders::running(config, &unit.name, unit_state, starts) {
                    // A task that is not on its run is where it belongs.
                    None | Some(Err(_)) if rests => Some(Ok("a task: runs on its schedule".to_owned())),
                    settled => settled,
                }
            })
            .collect();
        if settled.iter().all(Option::is_some) || clock::awake() >= deadline {
            return units
                .iter()
                .zip(settled)
                .map(|(unit, settled)| outcome(unit, settled, &state, wait_s))
                .collect();
        }
        outside::nap(LOOK_S);
    }
}

fn outcome(unit: &Unit, settled: Option<Result<String, String>>, state: &State, wait_s: f64) -> Outcome {
    let held = state.units.get(&unit.name).and_then(|state| state.hold.as_ref());
    let late = || match held {
        Some(hold) => format!("not running yet: {} withheld: {}", hold.remedy, hold.why),
        None => format!("not running yet after {wait_s:.0} s; `watchkeeper status` shows it"),
    };
    let (taken, done, text) = match settled {
        Some(Ok(text)) => (Taken::Accepted, true, text),
        Some(Err(text)) => (Taken::Refused, false, text),
        None => (Taken::Accepted, false, late()),
    };
    Outcome { unit: Some(unit.name.to_string()), taken: Some(taken), done, text }
}

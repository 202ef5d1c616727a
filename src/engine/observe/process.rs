//! What is seen of processes outside tmux: their runs, all in one question to the hosts; and the costly facts, only where the
//! state needs them. Deliberately not here: their logs (`engine::follow`) and incidents (`engine::incident`).

use crate::base::names::UnitName;
use crate::base::time::Now;
use crate::config::{Config, HealingAgent, ProcessHost, ProcessUnit, Unit};
use crate::engine::follow::{Follower, Question};
use crate::model::process::{Brief, LogSeen, ProcessSeen, RunSeen};
use crate::model::seen::JobSeen;
use crate::policy::process as policy;
use crate::state::State;
use crate::state::table;
use crate::state::unit::UnitState;
use crate::sys::follow::Start;
use crate::sys::{Files, Host};
use std::collections::BTreeMap;

/// Largest file of which an agent is told, bytes.
const BRIEF_MAX: u64 = 64 << 10;
/// Files of which an agent is told.
const CONFIGS_MAX: usize = 20;
/// Largest answer, bytes.
const ANSWER_MAX: u64 = 256 << 10;
/// Largest note of an attempt, bytes.
const ASKED_MAX: u64 = 4096;

/// Looks at all processes.
pub(super) fn look<H: Host, F: Files>(
    host: &mut H,
    files: &mut F,
    config: &Config,
    state: &State,
    follower: &mut Follower,
    now: &Now,
) -> BTreeMap<UnitName, ProcessSeen> {
    follower.begin(&|name| config.units.get(name).is_some_and(|unit| unit.process().is_some()));
    let units: Vec<(&UnitName, &Unit, &ProcessUnit)> =
        config.units.iter().filter_map(|(name, unit)| Some((name, unit, unit.process()?))).collect();
    if units.is_empty() {
        return BTreeMap::new();
    }
    let queries: Vec<_> =
        units.iter().map(|(name, _, process)| policy::query(name, process, state.units.get(*name))).collect();
    let runs = host.runs(&queries);
    let mut seen = BTreeMap::new();
    let none = UnitState::default();
    for ((name, unit, process), run) in units.into_iter().zip(runs) {
        let remembered = state.units.get(name).unwrap_or(&none);
        let mut facts = ProcessSeen { run, ..ProcessSeen::default() };
        details(host, files, unit, process, remembered, &mut facts);
        if let RunSeen::Alive { process: Some(root), .. } = &facts.run
            && policy::wants_cpu(process, state, name, now)
        {
            facts.cpu_ms = host.tree_cpu_ms(root.pid);
        }
        facts.log = log(host, follower, unit, process, state, &facts.run, now);
        seen.insert(name.clone(), facts);
    }
    seen
}

/// What its log says, read after the look at its run: what is over has written all it ever will.
fn log<H: Host>(
    host: &mut H,
    follower: &mut Follower,
    unit: &Unit,
    process: &ProcessUnit,
    state: &State,
    run: &RunSeen,
    now: &Now,
) -> LogSeen {
    let name = &unit.name;
    let place = policy::query(name, process, None).place;
    let attached = match &process.host {
        ProcessHost::Attach { log, .. } => log.as_deref(),
        ProcessHost::Local | ProcessHost::Slurm { .. } | ProcessHost::Docker { .. } => None,
    };
    let committed = policy::cursor(state, name);
    let Some(log) = host.log_of(name, &place, attached) else {
        return LogSeen { cursor: committed, ..LogSeen::default() };
    };
    // Of a run that the state does not know the old lines are nobody's: they must not be judged as if they came now.
    let started = state.units.get(name).is_some_and(|state| state.process.run.number > 0);
    let attach = matches!(process.host, ProcessHost::Attach { .. });
    let question = Question {
        unit: name,
        log: &log,
        detectors: &process.detectors,
        rules: &process.rules,
        committed: &committed,
        start: if started && !attach { Start::Beginning } else { Start::End },
        over: matches!(run, RunSeen::Ended { .. }),
        unexplained: match (run, state.units.get(name)) {
            (RunSeen::Ended { id, .. }, Some(state)) => state.process.run.judged < id.number,
            (_, Some(_) | None) => false,
        },
    };
    follower.look(&question, now.awake_s)
}

fn details<H: Host, F: Files>(
    host: &mut H,
    files: &mut F,
    unit: &Unit,
    process: &ProcessUnit,
    state: &UnitState,
    facts: &mut ProcessSeen,
) {
    let runs = match &facts.run {
        RunSeen::Alive { .. } | RunSeen::Pending { .. } | RunSeen::Unknown { .. } => true,
        RunSeen::Absent | RunSeen::Ended { .. } => false,
    };
    if !runs {
        facts.missing = missing(host, unit, process);
    }
    if policy::wants_leftovers(process, state)
        && let RunSeen::Ended { id, .. } = &facts.run
    {
        facts.leftovers = host.leftovers(&unit.name, id);
    }
    let program = process.healing.command.first();
    facts.healer = match process.healing.agent {
        HealingAgent::Off => Some(false),
        HealingAgent::Headless | HealingAgent::Interactive => Some(true),
        // It matters when a failure is judged: then it does not run, or something was found.
        HealingAgent::Auto => program.map(|program| host.finds(program)),
    };
    let unbegun = policy::asked_job(state).is_some_and(|job| host.job(job) == JobSeen::None);
    facts.unasked = policy::wants_answer(state) && !was_asked(files, &unit.name, state);
    if policy::wants_brief(state) || unbegun || facts.unasked {
        facts.brief = Some(brief(host, files, process, state));
    }
    if policy::wants_answer(state) {
        let path = table::in_unit(&unit.name, table::RESPONSE);
        let bytes = files.read(&path, ANSWER_MAX).ok().flatten();
        facts.answer = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    }
}

/// Does the request lie there, or did it once?
fn was_asked<F: Files>(files: &mut F, name: &UnitName, state: &UnitState) -> bool {
    let [request, asked] = [table::REQUEST, table::ASKED].map(|file| table::in_unit(name, file));
    if files.stamp(&request).is_some() {
        return true;
    }
    // A note that can't be read is unknown: nobody is asked twice for that.
    let Ok(asked) = files.read(&asked, ASKED_MAX) else { return true };
    let asked = asked.unwrap_or_default();
    let attempt = state.process.remedy.as_ref().map(|remedy| remedy.attempt.as_str());
    Some(String::from_utf8_lossy(&asked).trim()) == attempt
}

/// What `require` names and is not there.
fn missing<H: Host>(host: &mut H, unit: &Unit, process: &ProcessUnit) -> Vec<String> {
    let programs = process.require.programs.iter().filter(|program| !host.finds(program));
    let mut missing: Vec<String> = programs.map(|program| format!("the program `{program}`")).collect();
    for name in &process.require.env {
        let own = unit.env.get(name).map(|value| !value.is_empty());
        if !own.unwrap_or_else(|| host.has_variable(name)) {
            missing.push(format!("the variable `{name}`"));
        }
    }
    missing
}

fn brief<H: Host, F: Files>(host: &mut H, files: &mut F, process: &ProcessUnit, state: &UnitState) -> Brief {
    let healing = &process.healing;
    let report = policy::briefed_incident(state)
        .filter(|id| crate::model::incident::is_id(id))
        .and_then(|id| files.read(&format!("incidents/{id}/report.md"), BRIEF_MAX).ok().flatten());
    let mut text = |path: &std::path::PathBuf| host.text(path, BRIEF_MAX);
    Brief {
        template: healing.prompt.as_ref().and_then(&mut text),
        program: healing.program.as_ref().and_then(&mut text).unwrap_or_default(),
        report: report.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default(),
        configs: process
            .config_snapshots
            .iter()
            .take(CONFIGS_MAX)
            .filter_map(|path| Some((path.to_string_lossy().into_owned(), text(path)?)))
            .collect(),
    }
}

//! The proof of this simulator: bugs planted around `decide`, each of which the named invariant must catch. A mutant lies to
//! the real `decide` (about config, memory or sight) or spoils its answer, as a wrong line in it would.

use super::machine::Temper;
use super::run::{Plan, run};
use super::troubles::Troubles;
use crate::mutants::{with_config, with_state};
use crate::threads::on_two_threads;
use watchkeeper::config::{Config, ProcessUnit, Role};
use watchkeeper::engine::tick::Decide;
use watchkeeper::model::process::{ProcessSeen, RunId, RunSeen};
use watchkeeper::model::seen::{Exit, Observation};
use watchkeeper::policy::decide;
use watchkeeper::policy::proposal::Decision;
use watchkeeper::state::State;
use watchkeeper::state::process::ProcessState;

/// Seeds that a mutant may survive before it counts as missed, and the ticks of each.
const SEEDS: u64 = 4;
const TICKS: u64 = 150;

/// A planted bug, the troubles that it shows in, and the invariant that must catch it.
struct Mutant {
    name: &'static str,
    decide: Decide,
    troubles: fn() -> Troubles,
    caught_by: &'static str,
}

const fn mutant(
    name: &'static str,
    decide: Decide,
    troubles: fn() -> Troubles,
    caught_by: &'static str,
) -> Mutant {
    Mutant { name, decide, troubles, caught_by }
}

/// All of them.
const MUTANTS: &[Mutant] = &[
    mutant("the budget of restarts is forgotten", budget_forgotten, Troubles::calm, "restart-budget"),
    mutant("max_identical is forgotten", identical_forgotten, Troubles::calm, "max-identical"),
    mutant("a stall needs no second clock", one_clock, stalls, "healthy-ended"),
    mutant("a deadline is ignored", deadline_ignored, overruns, "deadline"),
    mutant("`after` is ignored", after_ignored, Troubles::calm, "after"),
    mutant("an end is judged twice", judged_twice, Troubles::calm, "counted-twice"),
    mutant("a finding is taken again", found_again, Troubles::calm, "counted-twice"),
    mutant("a remedy is repeated", remedy_repeated, Troubles::calm, "remedy-once"),
    mutant("numbers of attempts are given again", attempts_again, Troubles::calm, "remedy-once"),
    mutant("a restart forgets what remedies set", overlay_forgotten, deaths, "overlay"),
    mutant("unknown is taken for absent", unknown_is_absent, silence, "double-start"),
    mutant("a remedy is kept at once", kept_at_once, Troubles::calm, "kept-early"),
    mutant("a scheduler that does not answer means an end", deaf_is_ended, jobs, "end-invented"),
    mutant("a job that waits is taken for absent", waiting_is_absent, jobs, "end-invented"),
    mutant("a requeue is taken for an end", requeue_is_end, jobs, "double-start"),
    mutant("a log that was put aside is read anew", read_anew, rotations, "counted-twice"),
    mutant("nobody's answer is awaited for ever", awaited_for_ever, mute, "turn-ends"),
    mutant("a pause is ignored", pause_ignored, markers, "untouchable"),
];

/// Outputs and metrics stand still while the process computes, or does not.
fn stalls() -> Troubles {
    Troubles { temper: Temper { stalls: 300, ..Temper::calm() }, ..Troubles::calm() }
}

/// Runs take longer than they may.
fn overruns() -> Troubles {
    Troubles { temper: Temper { overruns: 1000, ..Temper::calm() }, ..Troubles::calm() }
}

/// Somebody kills processes.
fn deaths() -> Troubles {
    Troubles { deaths: 500, ..Troubles::calm() }
}

/// A scheduler that requeues, and does not always answer.
fn jobs() -> Troubles {
    Troubles { deaf: 100, temper: Temper { requeues: 150, ..Temper::calm() }, ..Troubles::calm() }
}

/// Logs are put aside and emptied.
fn rotations() -> Troubles {
    Troubles { rotates: 800, temper: Temper { fails: 100, ..Temper::calm() }, ..Troubles::calm() }
}

/// Whoever is asked says nothing of use.
fn mute() -> Troubles {
    Troubles { temper: Temper { babbles: 1000, ..Temper::calm() }, ..Troubles::calm() }
}

/// Hosts can't be asked for minutes.
fn silence() -> Troubles {
    Troubles { silence: 100, unknowns: 50, ..Troubles::calm() }
}

/// `PAUSED` and `down` come and go.
fn markers() -> Troubles {
    Troubles { markers: 200, ..deaths() }
}

fn processes(config: &mut Config, change: impl Fn(&mut ProcessUnit)) {
    for unit in config.units.values_mut() {
        if let Role::Process(process) = &mut unit.role {
            change(process);
        }
    }
}

fn states(state: &mut State, change: impl Fn(&mut ProcessState)) {
    state.units.values_mut().for_each(|unit| change(&mut unit.process));
}

fn with_sight(
    config: &Config,
    state: &State,
    seen: &Observation,
    change: impl Fn(&mut ProcessSeen),
) -> Decision {
    let mut seen = seen.clone();
    seen.units.values_mut().filter_map(|unit| unit.process.as_mut()).for_each(|process| change(process));
    decide(config, state, &seen)
}

fn budget_forgotten(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| states(state, |process| process.run.restarts = 0))
}

fn identical_forgotten(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| processes(config, |process| process.max_identical = 100_000))
}

fn one_clock(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_sight(config, state, seen, |process| process.cpu_ms = process.cpu_ms.map(|_| 0))
}

fn deadline_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| processes(config, |process| process.deadline_s = None))
}

fn after_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| processes(config, |process| process.after.clear()))
}

fn judged_twice(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for (name, unit) in &mut decision.next.units {
        if let Some(old) = state.units.get(name) {
            unit.process.run.judged = old.process.run.judged;
        }
    }
    decision
}

fn found_again(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for (name, unit) in &mut decision.next.units {
        if let Some(old) = state.units.get(name) {
            let old = &old.process.watch;
            (unit.process.watch.cursor, unit.process.watch.cursors) = (old.cursor.clone(), old.cursors);
        }
    }
    decision
}

fn remedy_repeated(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for granted in decision.granted.iter().filter(|granted| granted.why.rule == "process.remedy") {
        let old = state.units.get(&granted.unit).and_then(|unit| unit.process.remedy.clone());
        if let (Some(mut old), Some(unit)) = (old, decision.next.units.get_mut(&granted.unit)) {
            old.run = unit.process.run.number;
            unit.process.remedy = Some(old);
        }
    }
    decision
}

fn attempts_again(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        state.units.values_mut().for_each(|unit| unit.incident.attempts = 0);
    })
}

fn overlay_forgotten(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| states(state, |process| process.run.env.clear()))
}

fn unknown_is_absent(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_sight(config, state, seen, |process| {
        if let RunSeen::Unknown { .. } = process.run {
            process.run = RunSeen::Absent;
        }
    })
}

fn is_handle_of_job(id: &RunId) -> bool {
    id.handle.matches('.').count() == 1
}

fn deaf_is_ended(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    for (name, unit) in &mut seen.units {
        let Some(process) = &mut unit.process else { continue };
        let known = state.units.get(name).map(|unit| &unit.process.run);
        let id = known.map(|run| RunId { number: run.number, handle: run.handle.clone() });
        if let (RunSeen::Unknown { .. }, Some(id)) = (&process.run, id.filter(is_handle_of_job)) {
            process.run = ended(id);
        }
    }
    decide(config, state, &seen)
}

fn ended(id: RunId) -> RunSeen {
    RunSeen::Ended { id, exit: Some(Exit::Status(1)), out_of_memory: false, at: None, note: None }
}

fn waiting_is_absent(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    for (name, unit) in &mut seen.units {
        let Some(process) = &mut unit.process else { continue };
        let was_seen = state.units.get(name).is_some_and(|unit| !unit.process.run.handle.is_empty());
        if let (RunSeen::Pending { .. }, true) = (&process.run, was_seen) {
            process.run = RunSeen::Absent;
        }
    }
    decide(config, state, &seen)
}

fn requeue_is_end(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_sight(config, state, seen, |process| {
        if let RunSeen::Pending { id, .. } = &process.run
            && is_handle_of_job(id)
            && !id.handle.ends_with(".0")
        {
            process.run = ended(id.clone());
        }
    })
}

/// Where reading of a new log stands is not remembered.
fn read_anew(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for (name, unit) in &mut decision.next.units {
        let Some(old) = state.units.get(name).map(|unit| &unit.process.watch) else { continue };
        let new = &mut unit.process.watch;
        let known = old.cursor.file.is_some();
        if known && (new.cursor.file != old.cursor.file || new.cursor.offset < old.cursor.offset) {
            (new.cursor, new.cursors) = (old.cursor.clone(), old.cursors);
        }
    }
    decision.next.clocks.units.values_mut().for_each(|clocks| clocks.log = None);
    decision
}

fn awaited_for_ever(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| {
        processes(config, |process| process.healing.timeout_s = 1e9);
    })
}

fn kept_at_once(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| {
        processes(config, |process| process.healing.verify_window_s = 1.0);
    })
}

fn pause_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    seen.markers.paused = None;
    seen.units.values_mut().for_each(|unit| unit.markers.paused = None);
    decide(config, state, &seen)
}

fn plan(seed: u64, decide: Decide, troubles: Troubles, hunted: Option<&'static str>) -> Plan {
    Plan { seed, decide, safety_ticks: TICKS, liveness: false, troubles: Some(troubles), hunted }
}

#[test]
fn every_bug_planted_among_processes_is_caught() {
    let only = std::env::var("MUTANT").unwrap_or_default();
    let mutants: Vec<&Mutant> = MUTANTS.iter().filter(|mutant| mutant.name.contains(&only)).collect();
    let said = on_two_threads(&mutants, |mutant| {
        (1..=SEEDS).find_map(|seed| {
            let plan = plan(seed, mutant.decide, (mutant.troubles)(), Some(mutant.caught_by));
            run(&plan).err().map(|failure| failure.line())
        })
    });
    assert_eq!(said.len(), mutants.len());
    let mut missed = Vec::new();
    for (mutant, by) in mutants.iter().zip(said) {
        match by {
            Some(by) => println!("caught: {}: {by}", mutant.name),
            None => missed.push(format!("{} (by {})", mutant.name, mutant.caught_by)),
        }
    }
    assert!(missed.is_empty(), "not caught in {SEEDS} seeds of {TICKS} ticks: {missed:#?}");
}

/// The scenes accuse nobody who is innocent: the real decision passes them all.
#[test]
fn no_scene_of_processes_blames_the_real_decision() {
    let scenes: [fn() -> Troubles; 9] =
        [Troubles::calm, stalls, overruns, deaths, silence, markers, jobs, rotations, mute];
    let failures = on_two_threads(&scenes, |troubles| {
        run(&plan(1, decide, troubles(), None)).err().map(|failure| failure.line())
    });
    assert_eq!(failures.len(), scenes.len());
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

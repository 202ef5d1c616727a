//! The second phase: the troubles are over. What can run runs, what can't was given up and told; then people mend it, and it
//! runs too. Nothing is owed to anybody, and the books are closed.

use super::fleet::BATCH_HOLDS;
use super::host::batch;
use super::ledger;
use super::machine::{End, Mood, Script, Unit};
use super::run::Sim;
use super::troubles;
use crate::invariants::outbox;
use crate::run::Failure;
use serde_json::Value;
use watchkeeper::base::names::UnitName;
use watchkeeper::model::seen::Ask;
use watchkeeper::state::attempts::Status;
use watchkeeper::state::incident::IncidentState;

/// Time for everybody to come to their end or to work, ms.
const RECOVER_MS: i64 = 12_000_000;
/// A person acts again on what stands, ms.
const AGAIN_MS: i64 = 600_000;
/// Quiet time that shows that it holds, ms.
const HOLDS_MS: i64 = 400_000;

/// Runs the phase.
pub fn recover(sim: &mut Sim) -> Result<(), Box<Failure>> {
    troubles::remove(sim);
    clear_markers(sim);
    until(sim, Goal::GivenUp)?;
    told(sim)?;
    mend(sim);
    until(sim, Goal::Runs)?;
    closed(sim)
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// What can't work was given up.
    GivenUp,
    /// Everything works, or has ended well.
    Runs,
}

fn until(sim: &mut Sim, goal: Goal) -> Result<(), Box<Failure>> {
    let began = sim.machine.borrow().t;
    let mut calm_since = None;
    loop {
        sim.turn_checked()?;
        let t = sim.machine.borrow().t;
        orders(sim, goal);
        let sick = sick(sim, goal);
        match (&sick, calm_since) {
            (Some(_), _) => calm_since = None,
            (None, None) => calm_since = Some(t),
            (None, Some(since)) if t - since > HOLDS_MS => return Ok(()),
            (None, Some(_)) => {}
        }
        if let Some(why) = sick.filter(|_| t - began > RECOVER_MS) {
            return Err(sim.fail("liveness", format!("{goal:?}: {why}")));
        }
    }
}

fn clear_markers(sim: &mut Sim) {
    let mut disk = sim.disk.borrow_mut();
    let is_marker = |path: &&String| path.ends_with("PAUSED") || path.ends_with("down");
    let markers: Vec<String> = disk.files.keys().filter(is_marker).cloned().collect();
    markers.iter().for_each(|path| disk.delete(path));
    drop(disk);
    sim.fleet_marker_until = None;
    sim.reread();
}

fn state(sim: &Sim, name: &str) -> Value {
    sim.disk.borrow().json(&format!("units/{name}/unit.json")).unwrap_or_default()
}

/// The word of a standing: `open`, `finished`, `paused`, `aborted`, `spent`.
fn standing(state: &Value) -> String {
    let standing = &state["process"]["run"]["standing"];
    match (standing.as_str(), standing.as_object().and_then(|map| map.keys().next())) {
        (Some(word), _) => word.to_owned(),
        (None, Some(word)) => word.clone(),
        (None, None) => "open".to_owned(),
    }
}

/// It fails, and only a person can mend it.
fn is_hopeless(unit: &Unit) -> bool {
    unit.bug && matches!(unit.script, Script::Poisoned | Script::Storm)
}

/// People act on what waits for them.
fn orders(sim: &mut Sim, goal: Goal) {
    let names: Vec<UnitName> = sim.config.units.keys().cloned().collect();
    for name in names {
        let state = state(sim, name.as_str());
        let word = standing(&state);
        let machine = sim.machine.borrow();
        let t = machine.t;
        let recent = sim.asked.iter().any(|(unit, at)| unit == name.as_str() && t - at < AGAIN_MS);
        let Some(unit) = machine.units.get(name.as_str()) else { continue };
        let hopeless = is_hopeless(unit);
        // A stage that comes too late, or was ended, is run again by who wants its result.
        let ended_badly = unit.body.is_none() && matches!(word.as_str(), "paused" | "aborted")
            || word == "finished" && unit.last_end().is_none_or(|end| !end.is_well());
        let spent = word == "spent" && !(hopeless && goal == Goal::GivenUp);
        let left_alone = !state["failopen"]["since_awake_s"].is_null();
        // It runs on, and people were told that it is not ended; or something is withheld until they approve.
        let waits =
            state["process"]["watch"]["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty());
        let stalled = unit.body.is_some() && word != "finished" && (waits || !state["hold"].is_null());
        drop(machine);
        if recent {
            continue;
        }
        if left_alone || spent || stalled {
            sim.ask(Ask::Approve { unit: name });
        } else if ended_badly {
            sim.ask(Ask::Restart { unit: name });
        }
    }
}

/// The first unit that is not well, and why.
fn sick(sim: &Sim, goal: Goal) -> Option<String> {
    let machine = sim.machine.borrow();
    for name in sim.config.units.keys() {
        let name = name.as_str();
        let unit = machine.units.get(name)?;
        let state = state(sim, name);
        let word = standing(&state);
        let well = unit.last_end().is_some_and(End::is_well);
        let ok = match unit.script {
            Script::Poisoned | Script::Storm if unit.bug => goal == Goal::GivenUp && word == "spent",
            Script::Steady | Script::Flaky | Script::Poisoned | Script::Storm | Script::Ill => {
                unit.body.is_some() && !unit.bug
            }
            Script::Leaky | Script::Swollen => {
                unit.body.as_ref().and_then(|body| batch(&body.env)).is_some_and(|batch| batch <= BATCH_HOLDS)
            }
            Script::Trainer | Script::Quiet => {
                unit.body.as_ref().is_some_and(|body| body.mood == Mood::Works || body.mood == Mood::Churns)
            }
            Script::Stage | Script::Long => unit.body.is_none() && well && word == "finished",
            Script::Endless => unit.body.is_some() || well,
        };
        if !ok {
            let body = unit.body.as_ref().map(|body| (body.number, body.mood));
            let hold = &state["hold"];
            return Some(format!("{name} is {word}, {body:?}, {:?}; hold: {hold}", unit.env.get("BATCH")));
        }
    }
    None
}

/// Who was given up was told of, each time once.
fn told(sim: &mut Sim) -> Result<(), Box<Failure>> {
    let text =
        String::from_utf8_lossy(sim.disk.borrow().get("outbox.jsonl").unwrap_or_default()).into_owned();
    for (name, account) in &sim.books.accounts {
        let epoch = sim.machine.borrow().units.get(name).map_or(0, |unit| unit.epoch);
        let mine = |line: &&str| line.contains(&format!("`{name}` is not started again: "));
        let told = text.lines().filter(mine).count();
        if epoch == 0 && told != account.spent {
            let text =
                format!("{name} was given up {} times, and people heard it {told} times", account.spent);
            return Err(sim.fail("spent-told", text));
        }
    }
    Ok(())
}

/// People mend what they were told.
fn mend(sim: &mut Sim) {
    let mut machine = sim.machine.borrow_mut();
    machine.tell("---- people mend what they were told ----");
    machine.units.values_mut().for_each(|unit| unit.bug = false);
    drop(machine);
    sim.asked.clear();
}

/// Turns in which what was decided last reaches its files.
const CLOSING_TURNS: u32 = 30;

/// The books are closed: nothing is owed, nothing was lost, nothing is open for ever.
fn closed(sim: &mut Sim) -> Result<(), Box<Failure>> {
    for _ in 0..CLOSING_TURNS {
        if open(sim).is_none() {
            return Ok(());
        }
        sim.turn_checked()?;
    }
    if let Some((invariant, text)) = open(sim) {
        return Err(sim.fail(invariant, text));
    }
    Ok(())
}

fn open(sim: &Sim) -> Option<(&'static str, String)> {
    let (machine, disk) = (sim.machine.borrow(), sim.disk.borrow());
    if let Some((id, times)) = outbox(&disk).iter().find(|(_, times)| **times > 1) {
        return Some(("alert-once", format!("alert {id} stands {times} times in the outbox")));
    }
    let index = ledger::indexed(&disk);
    if let Some((id, times)) = index.iter().find(|(_, times)| **times > 1) {
        return Some(("index-once", format!("{id} stands {times} times in the index")));
    }
    for (name, unit) in &machine.units {
        let state = state(sim, name);
        let incidents: IncidentState = serde_json::from_value(state["incident"].clone()).unwrap_or_default();
        if !incidents.owed.is_empty() || !incidents.rows.is_empty() || !incidents.fixes.is_empty() {
            return Some(("incident-owed", format!("{name} still owes {incidents:?}")));
        }
        for known in &incidents.known {
            let there = disk.get(&format!("incidents/{}/report.md", known.incident)).is_some();
            if !there || !index.contains_key(&known.incident) {
                return Some((
                    "incident-lost",
                    format!("{}: folder or index line is missing", known.incident),
                ));
            }
        }
        if unit.epoch == 0 {
            let counts = ledger::counts(name, &incidents);
            for detector in ["net", "oom", "memory", "traceback"] {
                let counted = counts.get(detector).copied().unwrap_or(0) as usize;
                let there = ledger::happened(unit, detector).unwrap_or(0);
                if counted != there {
                    let text =
                        format!("{name}: {detector} came {there} times, and is counted {counted} times");
                    return Some(("finding-lost", text));
                }
            }
        }
        let verify = state["process"]["heal"]["verify"].as_array().cloned().unwrap_or_default();
        let watched: Vec<&str> = verify.iter().filter_map(|verify| verify["attempt"].as_str()).collect();
        let under_way = state["process"]["remedy"]["attempt"].as_str().unwrap_or_default();
        for told in ledger::read(&disk).attempts() {
            let row = &told.row;
            let open = row.unit == *name && row.status == Status::Pending && unit.epoch == 0;
            if open && !watched.contains(&row.attempt.as_str()) && row.attempt != under_way {
                return Some(("attempt-open", format!("{} is pending, and nobody watches it", row.attempt)));
            }
        }
    }
    None
}

//! Cooperative units: is the heartbeat old, is the code old, is all well again, which `RESTART` is over. Pure queries.
//!
//! A unit promises three things: it touches `heartbeat`, it stamps `version`, it honours `RESTART`. What it does not say,
//! or what could not be seen, is no verdict. Deliberately not here: what is done about it (ladder), its exits (restart).

use super::context::UnitContext;
use super::proposal::Notes;
use super::symptom::{Proof, Symptom};
use crate::base::time::{Awake, human_s};
use crate::model::seen::{Process, RestartMarker};
use crate::state::mail::Level;
use crate::state::unit::{SymptomKind, UnitState};

/// Exit status of a unit that asks to be started anew (SPEC 8).
pub const ASKS_RESTART: i32 = 42;
/// Other code is believed when it was seen for so long, seconds: a pull moves the head when it is nearly done.
pub const STALE_LOOK_S: f64 = 5.0;
/// A version stamp this much older than the start is still the start's own: two clocks are compared.
const STAMP_SLACK_S: f64 = 2.0;
/// Fewest digits of a short commit name that are believed.
const COMMIT_DIGITS: usize = 7;

/// Its last heartbeat, on the awake clock; a start counts as one.
pub fn beat(context: &UnitContext<'_>) -> Option<Awake> {
    context.unit.cooperative.as_ref()?;
    context.clocks.heartbeat.as_ref().map(|clock| clock.changed_awake_s)
}

/// Who has promised to beat: the process that we started as a cooperative one, and any that has beaten. A session that was
/// adopted, a pane that a person filled anew, or a service that became cooperative while it ran never heard of it.
pub fn promise(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let (Some(cooperative), Some(process)) = (&context.unit.cooperative, context.process()) else { return };
    let before = context.before.units.get(context.name).and_then(|before| before.seen.process);
    let started = std::mem::take(&mut state.promise.launched) && before.is_none();
    if started || (before == Some(process) && has_beaten(context)) {
        state.promise.process = Some(process);
    }
    if state.promise.process == Some(process) || state.promise.told == Some(process) {
        return;
    }
    let limit = cooperative.heartbeat_stale_s.max(context.unit.ladder.quiet_s);
    let Some(quiet) = beat(context).map(|beat| context.now.awake_s.since_s(beat)) else { return };
    if quiet < limit {
        return notes.due_in(limit - quiet);
    }
    state.promise.told = Some(process);
    let text = format!(
        "`{name}` (pid {}) never touched its heartbeat, and was not started by this watchdog as a cooperative unit: it is \
         not judged by it until it does; `watchkeeper restart {name}` starts it as one",
        process.pid,
        name = context.name
    );
    state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
}

/// Was its heartbeat touched since the look before?
fn has_beaten(context: &UnitContext<'_>) -> bool {
    let before = context.before.clocks.units.get(context.name).and_then(|clocks| clocks.heartbeat.as_ref());
    before.zip(context.clocks.heartbeat.as_ref()).is_some_and(|(before, now)| before.value != now.value)
}

/// Is its heartbeat older than it promised?
pub fn silent(context: &UnitContext<'_>, state: &UnitState) -> Option<Symptom> {
    let promised = context.unit.cooperative.as_ref()?;
    context.alive()?;
    if is_young(context, state) || state.promise.process.is_none_or(|known| context.process() != Some(known))
    {
        return None;
    }
    let alive_since = state.seen.alive_since_awake_s?;
    let beat = beat(context)?.max(alive_since);
    let age = context.now.awake_s.since_s(beat);
    let limit = promised.heartbeat_stale_s;
    (age >= limit).then(|| Symptom {
        kind: SymptomKind::Silent,
        rule: "cooperation.silent",
        seen: "its process lives and its heartbeat is old".into(),
        compared: format!("heartbeat {age:.0} s old ≥ heartbeat_stale_s {limit:.0} s"),
        proof: Proof::Promise,
    })
}

/// Does it run other code than its repository holds, and did that stand for a while?
pub fn stale(context: &UnitContext<'_>, state: &UnitState) -> Option<Symptom> {
    let (version, head) = mismatch(context)?;
    if is_young(context, state) {
        return None;
    }
    let known =
        state.ladder.stale.as_ref().filter(|known| (&known.version, &known.head) == (&version, &head))?;
    let stood = context.now.awake_s.since_s(known.since_awake_s);
    (stood >= STALE_LOOK_S).then(|| Symptom {
        kind: SymptomKind::Stale,
        rule: "cooperation.stale",
        seen: "it runs other code than its repository holds".into(),
        compared: format!("version {} ≠ HEAD {}, for {}", short(&version), short(&head), human_s(stood)),
        proof: Proof::Promise,
    })
}

/// The version that it runs and the head of its repository, when both are known and differ.
pub fn mismatch(context: &UnitContext<'_>) -> Option<(String, String)> {
    context.unit.cooperative.as_ref().filter(|promised| promised.version)?;
    context.alive()?;
    let seen = context.seen.cooperation.as_ref()?;
    let (version, head) = (seen.version.as_ref()?, seen.head.as_ref()?);
    // What its last process wrote says nothing of this one: it has not come so far yet.
    let of_this_start = match (version.at, context.unfolded.launch.at) {
        (Some(written), Some(started)) => written.since_s(started) >= -STAMP_SLACK_S,
        (Some(_), None) => true,
        (None, _) => false,
    };
    let commit = version.text.to_ascii_lowercase();
    let is_commit =
        (COMMIT_DIGITS..=64).contains(&commit.len()) && commit.bytes().all(|b| b.is_ascii_hexdigit());
    let differs = of_this_start && is_commit && !head.starts_with(&commit);
    differs.then(|| (commit, head.clone()))
}

fn short(commit: &str) -> &str {
    commit.get(..COMMIT_DIGITS + 1).unwrap_or(commit)
}

/// Started so lately that it is not judged.
fn is_young(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let started = state.launch.at_awake_s.max(state.seen.alive_since_awake_s);
    started.is_some_and(|at| context.now.awake_s.since_s(at) < context.unit.ladder.quiet_s)
}

/// A healthy observation: it beats still, so long after its start and the last remedy that a new silence would have
/// shown, and its code is its repository's.
pub fn is_well(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let (Some(promised), Some(beat), Some(alive)) =
        (context.unit.cooperative.as_ref(), beat(context), state.seen.alive_since_awake_s)
    else {
        return false;
    };
    let since = alive.max(state.ladder.remedy_awake_s.unwrap_or(alive));
    let needed = promised.heartbeat_stale_s.max(context.unit.ladder.quiet_s);
    let fresh = context.now.awake_s.since_s(beat) < promised.heartbeat_stale_s;
    // A clock that was set to now, for nobody knows how long nobody looked, is no beat.
    let beats = fresh && has_beaten(context);
    beats && beat.since_s(since) >= needed && mismatch(context).is_none()
}

/// A `RESTART` that its target has honoured, or that was never meant for the process that runs now: it can go. One that is
/// newer than the process is the process's own to take.
pub fn is_over(state: &UnitState, marker: &RestartMarker, now: Process) -> bool {
    let asked = state.ladder.asked.as_ref();
    let ours = asked.filter(|asked| marker.at == Some(asked.at));
    if let Some(target) = ours.and_then(|asked| asked.process) {
        return target != now;
    }
    match (marker.at, state.launch.at) {
        (Some(written), Some(started)) => written < started,
        (None, _) | (_, None) => false,
    }
}

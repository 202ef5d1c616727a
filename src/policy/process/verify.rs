//! What became of an attempt: its failure stays away for the window (kept), or comes again (regressed). The window counts
//! while the process works, on the awake clock, and survives the watchdog.
//!
//! Deliberately not here: which remedy is next (`failure`).

use super::super::context::UnitContext;
use super::super::proposal::{EventKind, Notes};
use super::fixes;
use super::record::with_set;
use crate::base::time::{Awake, human_s};
use crate::config::ProcessUnit;
use crate::detect::incident::advice;
use crate::model::finding::FindingKind;
use crate::model::incident::Source;
use crate::model::process::RunSeen;
use crate::model::seen::JobSeen;
use crate::state::attempts::{Attempt, Status};
use crate::state::process::{RemedyState, RemedyStep, Standing, VERIFY_MAX, Verify};
use crate::state::unit::UnitState;

/// A remedy leads to a start: from now on it is watched.
pub(super) fn begin(context: &UnitContext<'_>, state: &mut UnitState) {
    let leads = |remedy: &RemedyState| super::choice::restarts(&remedy.remedy);
    if !state.process.remedy.as_ref().is_some_and(leads) {
        return dropped(context, state, Status::Crashed, "it was started before this was through");
    }
    let Some(remedy) = state.process.remedy.take() else { return };
    state.process.run.env.extend(remedy.remedy.set.clone());
    state.process.heal.unverified = state.process.heal.unverified.saturating_add(1);
    state.process.heal.verify.push(Verify {
        attempt: remedy.attempt,
        incident: remedy.incident,
        detector: remedy.detector,
        fingerprint: remedy.fingerprint,
        source: remedy.remedy.source.word().to_owned(),
        action: remedy.remedy.action,
        since_awake_s: remedy.since_awake_s,
        silent_s: 0.0,
        counted_awake_s: None,
        fixed: remedy.fixed,
        set: remedy.remedy.set,
    });
    if state.process.heal.verify.len() > VERIFY_MAX {
        let oldest = state.process.heal.verify.remove(0);
        conclude(context, state, &oldest, Status::Crashed, "others came before it could be judged");
    }
}

/// Counts the silence of each attempt; the window's end keeps it.
pub(super) fn fold(context: &UnitContext<'_>, unit: &ProcessUnit, state: &mut UnitState, notes: &mut Notes) {
    let now = context.now.awake_s;
    let works = match context.run() {
        Some(RunSeen::Alive { suspended, .. }) => !suspended,
        None => return,
        // Nobody knows: what is counted stands, and this time does not count.
        Some(RunSeen::Unknown { .. } | RunSeen::Absent | RunSeen::Pending { .. } | RunSeen::Ended { .. }) => {
            false
        }
    };
    let until = if works { Some(now) } else { worked_until(context) };
    let window = unit.healing.verify_window_s;
    let mut kept = Vec::new();
    for attempt in &mut state.process.heal.verify {
        let counted = attempt.counted_awake_s.zip(until).map_or(0.0, |(since, until)| until.since_s(since));
        let silent = attempt.silent_s + counted.max(0.0);
        match works {
            true if silent >= window => kept.push(attempt.attempt.clone()),
            true => {
                attempt.counted_awake_s = attempt.counted_awake_s.or(Some(now));
                notes.due_in(window - silent);
            }
            false => {
                attempt.silent_s = silent;
                attempt.counted_awake_s = None;
            }
        }
    }
    for id in kept {
        keep(context, state, &id, &format!("silent for {}", human_s(window)), notes);
    }
}

/// Until when it worked, as far as is known: time in which it was over, and nobody looked, is no silence. None = nobody knows.
fn worked_until(context: &UnitContext<'_>) -> Option<Awake> {
    let now = context.now.awake_s;
    match context.run() {
        Some(RunSeen::Ended { at: Some(at), .. }) => {
            Some(now.plus_s(-context.now.wall.since_s(*at).max(0.0)))
        }
        // The last look saw it at work, or nothing would be counted.
        Some(
            RunSeen::Ended { at: None, .. }
            | RunSeen::Unknown { .. }
            | RunSeen::Absent
            | RunSeen::Pending { .. }
            | RunSeen::Alive { .. },
        )
        | None => context.before.clocks.looked_awake_s.filter(|at| *at <= now),
    }
}

fn keep(context: &UnitContext<'_>, state: &mut UnitState, id: &str, why: &str, notes: &mut Notes) {
    let Some(at) = state.process.heal.verify.iter().position(|attempt| attempt.attempt == id) else { return };
    let attempt = state.process.heal.verify.remove(at);
    conclude(context, state, &attempt, Status::Kept, why);
    if let Standing::Spent { .. } = state.process.run.standing {
        state.process.run.standing = Standing::Open;
    }
    state.process.run.restarts = 0;
    state.process.run.failure = None;
    // A stall that waits for a restart still stands; of what a line said long ago a person judges.
    if state.process.watch.waiting.first().is_some_and(|found| found.finding.kind == FindingKind::Stall) {
        state.process.run.stuck = None;
    }
    (state.process.heal.unverified, state.process.heal.escalate) = (0, false);
    let text =
        format!("attempt {} kept: {} against `{}`, {why}", attempt.attempt, attempt.action, attempt.detector);
    notes.event(context.now.wall, Some(context.name), EventKind::State, text);
}

/// It ended well: whatever was tried has worked.
pub(super) fn finished(context: &UnitContext<'_>, state: &mut UnitState) {
    let attempts = std::mem::take(&mut state.process.heal.verify);
    for attempt in &attempts {
        conclude(context, state, attempt, Status::Kept, "it ended well");
    }
    state.process.run.restarts = 0;
    state.process.run.failure = None;
    (state.process.heal.unverified, state.process.heal.escalate) = (0, false);
}

/// A failure came: attempts against it have regressed, and a rule's is not tried blindly again.
pub(super) fn came(context: &UnitContext<'_>, state: &mut UnitState, fingerprint: &str, notes: &mut Notes) {
    let all = std::mem::take(&mut state.process.heal.verify);
    let (regressed, rest): (Vec<Verify>, Vec<Verify>) =
        all.into_iter().partition(|attempt| attempt.fingerprint == fingerprint);
    state.process.heal.verify = rest;
    for attempt in &regressed {
        conclude(context, state, attempt, Status::Regressed, "the same failure came again");
        if !matches!(attempt.source.as_str(), "default" | "agent" | "person") {
            state.process.heal.escalate = true;
        }
        let text = format!(
            "attempt {} regressed: {} against `{}`",
            attempt.attempt, attempt.action, attempt.detector
        );
        notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    }
}

fn conclude(context: &UnitContext<'_>, state: &mut UnitState, attempt: &Verify, status: Status, why: &str) {
    state.incident.conclude(Attempt {
        time: context.now.wall,
        attempt: attempt.attempt.clone(),
        incident: attempt.incident.clone(),
        unit: context.name.to_string(),
        detector: attempt.detector.clone(),
        fingerprint: attempt.fingerprint.clone(),
        source: attempt.source.clone(),
        action: attempt.action.clone(),
        status,
        branch: attempt.fixed.clone().unwrap_or_default(),
        duration_s: context.now.awake_s.since_s(attempt.since_awake_s),
        description: with_set(&attempt.set, why),
    });
    if status == Status::Kept {
        let merges = context.unit.process().is_some_and(|unit| unit.healing.auto_merge);
        let branch = attempt.fixed.as_deref().filter(|_| !merges).unwrap_or_default();
        state.incident.advise(&attempt.incident, advice::kept(branch, why));
    } else if status == Status::Regressed {
        // Until another remedy is chosen.
        let over = context.is_gone();
        state.incident.advise(&attempt.incident, advice::helpless(context.name.as_str(), why, over));
    }
    let (incident, id, from) = (&attempt.incident, &attempt.attempt, RemedyStep::Due);
    fixes::close(context, state, incident, id, attempt.fixed.as_ref(), status, &from);
}

/// A remedy is given up before it is through. Whoever is at work on it is not waited for: its own deadline ends it.
pub(super) fn dropped(context: &UnitContext<'_>, state: &mut UnitState, status: Status, why: &str) {
    let Some(mut remedy) = state.process.remedy.take() else { return };
    state.process.heal.answer = None;
    match &remedy.step.clone() {
        RemedyStep::Command { job, .. } => state.take_job(job),
        // What it edits until then is taken back after it.
        RemedyStep::Thinking { job } => fixes::abandon(state, &remedy.incident, &remedy.attempt, job),
        RemedyStep::Opening { job } | RemedyStep::Closing { job, .. }
            if *context.job(job) != JobSeen::None =>
        {
            fixes::abandon(state, &remedy.incident, &remedy.attempt, job);
            remedy.fixed = None; // What is left in the tree the job says.
        }
        RemedyStep::Due
        | RemedyStep::Ask { .. }
        | RemedyStep::Opening { .. }
        | RemedyStep::Opened { .. }
        | RemedyStep::Requested { .. }
        | RemedyStep::Closing { .. } => {}
    }
    concluded(context, state, &remedy, status, why);
}

/// A remedy came to its end without a start.
pub(super) fn concluded(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    remedy: &RemedyState,
    status: Status,
    why: &str,
) {
    state.incident.conclude(Attempt {
        time: context.now.wall,
        attempt: remedy.attempt.clone(),
        incident: remedy.incident.clone(),
        unit: context.name.to_string(),
        detector: remedy.detector.clone(),
        fingerprint: remedy.fingerprint.clone(),
        source: match remedy.remedy.action.as_str() {
            // As the row that began it says: whoever chose to ask, the attempt is the agent's.
            "agent" => Source::Agent.word().to_owned(),
            _ => remedy.remedy.source.word().to_owned(),
        },
        action: remedy.remedy.action.clone(),
        status,
        branch: remedy.fixed.clone().unwrap_or_default(),
        duration_s: context.now.awake_s.since_s(remedy.since_awake_s),
        description: with_set(&remedy.remedy.set, why),
    });
    if status == Status::Kept {
        state.incident.advise(&remedy.incident, advice::kept("", why));
    }
    fixes::close(
        context,
        state,
        &remedy.incident,
        &remedy.attempt,
        remedy.fixed.as_ref(),
        status,
        &remedy.step,
    );
}

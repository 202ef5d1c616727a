//! An agent that is not ours to run: what the tree is is written down first, then a request lies beside the unit's files until
//! somebody answers it, then what was edited meanwhile goes to a branch as a headless agent's edits do.
//!
//! Deliberately not here: what an answer means (`answer`, `reply`), and the end of its edits (`fixes`).

use super::super::context::UnitContext;
use super::super::proposal::{Claim, Notes, Proposals, Reason, What};
use super::{fixes, prompt, reply, unasked};
use crate::base::time::human_s;
use crate::config::{DirtyTree, ProcessUnit, Watch};
use crate::model::action::{Action, FixJob, FixStep, Job, UnitFile};
use crate::model::process::Brief;
use crate::model::seen::JobSeen;
use crate::state::attempts::Status;
use crate::state::process::{RemedyState, RemedyStep};
use crate::state::unit::UnitState;
use std::collections::BTreeMap;

/// Longest look at a tree, and longest making of a branch, seconds: some dozens of calls to git.
const DEADLINE_S: u32 = 300;

/// What the tree was is known now, or why not.
pub(super) fn opened(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    remedy: &RemedyState,
    job: &str,
    notes: &mut Notes,
) {
    let JobSeen::Ended { failed, fix, status, .. } = context.job(job) else { return };
    state.take_job(job);
    let fixed = fixes::left(failed.is_some(), fix.as_deref());
    let next = RemedyState { fixed, ..remedy.clone() };
    reply::edited(context, state, &next, fix.as_deref());
    match failed {
        Some(why) if unasked::is_unasked(*status, why) && unasked::has_default(context, unit, &next) => {
            unasked::default(context, state, &next, why, why, notes);
        }
        Some(why) => reply::failed(context, state, &next, "", why, notes),
        None => {
            let step = RemedyStep::Opened { since_awake_s: context.now.awake_s };
            state.process.remedy = Some(RemedyState { step, ..next });
            notes.due_in(0.05);
        }
    }
}

/// The request is to be written. Who may not be asked any more (a pause, a `down`, an edit of the config) does not keep a
/// person's work aside until it may: the tree is as it was, and is looked at anew then.
pub(super) fn waits(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    remedy: RemedyState,
    notes: &mut Notes,
) {
    if remedy.fixed.is_some() && may_not_be_asked(context, state) {
        ask_later(context, state, remedy, notes);
    }
}

fn may_not_be_asked(context: &UnitContext<'_>, state: &UnitState) -> bool {
    context.blind().is_none() && (!context.is_wanted() || context.gate(state, Watch::Heal).is_some())
}

/// The tree is as it was again, and looked at anew before somebody is asked.
fn ask_later(context: &UnitContext<'_>, state: &mut UnitState, remedy: RemedyState, notes: &mut Notes) {
    fixes::close_early(context, state, &remedy, Status::Crashed);
    let step = RemedyStep::Ask { since_awake_s: context.now.awake_s };
    state.process.remedy = Some(RemedyState { step, fixed: None, ..remedy });
    notes.due_in(0.05);
}

/// Waits for the answer. One that came is kept at once; what was edited for it goes to its branch before it is read.
pub(super) fn requested(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    remedy: RemedyState,
    waited: f64,
    notes: &mut Notes,
) {
    let seen = context.seen.process.as_ref().and_then(|seen| seen.answer.clone());
    match state.process.heal.answer.take().or(seen) {
        Some(answer) if remedy.fixed.is_some() => {
            state.process.heal.jobs = state.process.heal.jobs.saturating_add(1);
            let job = Job::id_of(context.name, "edits", state.process.heal.jobs);
            state.process.remedy = Some(RemedyState { step: RemedyStep::Closing { job, answer }, ..remedy });
            notes.due_in(0.05);
        }
        Some(answer) => reply::answered(context, unit, state, &remedy, &answer, notes),
        None if waited >= unit.healing.timeout_s => {
            let why = format!("nobody answered within {}", human_s(unit.healing.timeout_s));
            reply::failed(context, state, &remedy, "", &why, notes);
        }
        // A person's work is out of the tree for this: not for longer than somebody may answer.
        None if remedy.fixed.is_some()
            && fixes::has_work_aside(unit, &remedy.step)
            && may_not_be_asked(context, state) =>
        {
            ask_later(context, state, remedy, notes);
        }
        None => notes.due_in((unit.healing.timeout_s - waited).min(2.0)),
    }
}

/// What was edited is on its branch: now the answer counts.
pub(super) fn closed(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    remedy: &RemedyState,
    (job, answer): (&str, &str),
    notes: &mut Notes,
) {
    let JobSeen::Ended { failed, fix, .. } = context.job(job) else { return };
    state.take_job(job);
    let fixed = fixes::left(failed.is_some(), fix.as_deref());
    let next = RemedyState { fixed, ..remedy.clone() };
    reply::edited(context, state, &next, fix.as_deref());
    match failed {
        Some(why) => reply::failed(context, state, &next, answer, why, notes),
        None => reply::answered(context, unit, state, &next, answer, notes),
    }
}

/// The look at the tree, before the request.
pub(super) fn open(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    remedy: &RemedyState,
    id: String,
    out: &mut Proposals,
) {
    let step = match unit.healing.dirty {
        DirtyTree::Refuse => FixStep::OpenClean,
        DirtyTree::Stash => FixStep::OpenDirty,
    };
    let why = Reason::new("process.request", remedy.remedy.why.clone(), vec![]);
    out.want(Claim::Order, "ask the agent", What::Act(job(context, unit, remedy, id, step)), why);
}

/// The branch, after the answer.
pub(super) fn close(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    remedy: &RemedyState,
    id: &str,
    out: &mut Proposals,
) {
    let why = Reason::new("process.edits", "an answer came".to_owned(), vec![]);
    let action = job(context, unit, remedy, id.to_owned(), FixStep::Collect);
    out.want(Claim::Order, "edits to their branch", What::Act(action), why);
}

fn job(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    remedy: &RemedyState,
    id: String,
    step: FixStep,
) -> Action {
    let fix = FixJob { step, ..fixes::around(context, unit, &remedy.incident, &remedy.attempt) };
    let job = Job {
        id,
        argv: Vec::new(),
        env: BTreeMap::new(),
        dir: context.unit.dir.to_string_lossy().into_owned(),
        deadline_s: DEADLINE_S,
        env_remove: Vec::new(),
        stdin: None,
        awaited: true,
        fix: Some(fix),
    };
    Action::RunJob { job }
}

/// The request file: front matter, then the prompt that a headless agent gets.
pub(super) fn request(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    remedy: &RemedyState,
    out: &mut Proposals,
) {
    let none = Brief::default();
    let brief = context.seen.process.as_ref().and_then(|seen| seen.brief.as_ref()).unwrap_or(&none);
    let text = format!(
        "---\nunit: {}\nincident: {}\nattempt: {}\ndetector: {}\nsubagent: {}\ntimeout_s: {:.0}\nasked: {}\n---\n\n{}\n",
        context.name,
        remedy.incident,
        remedy.attempt,
        remedy.detector,
        prompt::subagent(unit, remedy),
        unit.healing.timeout_s,
        context.now.wall,
        prompt::text(context, unit, state, remedy, brief)
    );
    let action = Action::WriteFile { unit: context.name.clone(), file: UnitFile::RecoveryRequest, text };
    let why = Reason::new("process.request", remedy.remedy.why.clone(), vec![]);
    out.want(Claim::Order, "ask the agent", What::Act(action), why);
}

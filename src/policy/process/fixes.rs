//! The end of an agent's edits: kept as a branch, merged, or taken out of the tree again, each as a job. Nothing is started, and
//! no agent asked, while one is due: it would run on a tree between two states.
//!
//! Deliberately not here: git (`sys::fix_branch`), and whether an attempt holds (`verify`).

use super::super::context::UnitContext;
use super::super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use crate::base::text::one_line;
use crate::config::{DirtyTree, ProcessUnit, Watch};
use crate::model::action::{Action, FixJob, FixStep, Job};
use crate::model::seen::{FixSeen, JobSeen};
use crate::state::attempts::Status;
use crate::state::mail::Level;
use crate::state::process::{FIXES_MAX, FixDue, RemedyState, RemedyStep};
use crate::state::unit::UnitState;
use std::collections::BTreeMap;

/// Longest end of a fix, seconds: some dozens of calls to git.
const DEADLINE_S: u32 = 300;
/// So often it is tried again when it came to no end, at first after so long, then each time twice as long, seconds.
const TRIES_MAX: usize = 4;
const AGAIN_S: f64 = 5.0;

/// What an agent's job edits, and how it is kept apart.
pub(super) fn around(context: &UnitContext<'_>, unit: &ProcessUnit, incident: &str, attempt: &str) -> FixJob {
    let step = match unit.healing.dirty {
        DirtyTree::Refuse => FixStep::Clean,
        DirtyTree::Stash => FixStep::Dirty,
    };
    let incident = if incident.is_empty() { attempt } else { incident };
    let healing = [&unit.healing.program, &unit.healing.prompt].into_iter().flatten();
    let files = context.config.files.iter().chain(healing);
    let files = files.map(|file| file.to_string_lossy().into_owned()).collect();
    FixJob { incident: incident.to_owned(), attempt: attempt.to_owned(), step, files }
}

/// What an agent's job left in the tree: the branch with it; None = nothing. Of one that was killed nobody knows.
pub(super) fn left(failed: bool, fix: Option<&FixSeen>) -> Option<String> {
    match fix {
        Some(fix) => fix.open.then(|| fix.branch.clone()),
        None => failed.then(String::new),
    }
}

/// May a person's work be out of the tree in this step of a remedy?
fn may_be_aside(step: &RemedyStep) -> bool {
    match step {
        RemedyStep::Thinking { .. }
        | RemedyStep::Opening { .. }
        | RemedyStep::Opened { .. }
        | RemedyStep::Requested { .. }
        | RemedyStep::Closing { .. } => true,
        RemedyStep::Due | RemedyStep::Ask { .. } | RemedyStep::Command { .. } => false,
    }
}

/// The same, where the config has it that an agent is asked over uncommitted work.
pub(super) fn has_work_aside(unit: &ProcessUnit, step: &RemedyStep) -> bool {
    unit.healing.dirty == DirtyTree::Stash && may_be_aside(step)
}

/// A remedy came to its end without a start: so do its agent's edits.
pub(super) fn close_early(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    remedy: &RemedyState,
    status: Status,
) {
    let (incident, attempt) = (&remedy.incident, &remedy.attempt);
    close(context, state, incident, attempt, remedy.fixed.as_ref(), status, &remedy.step);
}

/// An attempt came to its end: so do its edits. `from`: the step in which it ended.
pub(super) fn close(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    incident: &str,
    attempt: &str,
    fixed: Option<&String>,
    status: Status,
    from: &RemedyStep,
) {
    let Some(branch) = fixed else { return };
    let merges = context.unit.process().is_some_and(|unit| unit.healing.auto_merge);
    let step = match status {
        Status::Pending => return,
        Status::Kept if merges => FixStep::Merge,
        Status::Kept => FixStep::Keep,
        Status::Regressed | Status::Crashed => FixStep::Restore,
    };
    let fixes = &mut state.process.heal.fixes;
    let incident = if incident.is_empty() { attempt } else { incident };
    fixes.push(FixDue {
        incident: incident.to_owned(),
        attempt: attempt.to_owned(),
        branch: branch.clone(),
        step,
        job: String::new(),
        after: String::new(),
        aside: may_be_aside(from),
        tried_awake_s: Vec::new(),
    });
    let extra = fixes.len().saturating_sub(FIXES_MAX);
    fixes.drain(..extra);
}

/// Nobody waits for this agent any more: when it is through, what it edited is taken back.
pub(super) fn abandon(state: &mut UnitState, incident: &str, attempt: &str, agent: &str) {
    let incident = if incident.is_empty() { attempt } else { incident };
    state.process.heal.fixes.push(FixDue {
        incident: incident.to_owned(),
        attempt: attempt.to_owned(),
        branch: String::new(),
        step: FixStep::Restore,
        job: String::new(),
        after: agent.to_owned(),
        aside: true,
        tried_awake_s: Vec::new(),
    });
    let extra = state.process.heal.fixes.len().saturating_sub(FIXES_MAX);
    state.process.heal.fixes.drain(..extra);
}

/// The agent that the first step waits for has ended: what it left says whether there is anything to take back.
fn awaited(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let Some(agent) = state.process.heal.fixes.first().map(|due| due.after.clone()) else { return };
    if agent.is_empty() {
        return;
    }
    let left = match context.job(&agent) {
        JobSeen::Running => return,
        JobSeen::None => None,
        JobSeen::Ended { failed, fix, .. } => left(failed.is_some(), fix.as_deref()),
    };
    state.take_job(&agent);
    notes.due_in(0.05);
    match (left, state.process.heal.fixes.first_mut()) {
        (Some(branch), Some(due)) => (due.branch, due.after) = (branch, String::new()),
        (None, Some(_)) => drop(state.process.heal.fixes.remove(0)),
        (_, None) => {}
    }
}

/// Takes what became of the step under way.
pub(super) fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    awaited(context, state, notes);
    let Some(due) = state.process.heal.fixes.first().filter(|due| !due.job.is_empty()).cloned() else {
        return;
    };
    let JobSeen::Ended { failed, fix, .. } = context.job(&due.job) else { return };
    state.take_job(&due.job);
    notes.due_in(0.05);
    // It came to no end (git was busy, the job was killed): that may pass.
    let is_open = failed.is_some() && fix.as_ref().is_none_or(|fix| fix.open);
    if is_open
        && due.tried_awake_s.len() < TRIES_MAX
        && let Some(due) = state.process.heal.fixes.first_mut()
    {
        due.tried_awake_s.push(context.now.awake_s);
        due.job.clear();
        return;
    }
    state.process.heal.fixes.remove(0);
    let what = words(due.step);
    let Some(why) = failed else {
        let on = if due.branch.is_empty() { String::new() } else { format!(" (branch `{}`)", due.branch) };
        let text = format!("the agent's edits: {what}{on}");
        return notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    };
    let branch = match due.branch.as_str() {
        "" => String::new(),
        branch => format!(" They are on branch `{branch}`."),
    };
    let text = format!(
        "`{}`: the agent's edits could not all be {what}: {why}.{branch} What the tree was before is in fixes/{}",
        context.name, due.attempt
    );
    state.owe(context.name.as_str(), context.now.wall, Level::Human, one_line(&text, 600));
}

fn words(step: FixStep) -> &'static str {
    match step {
        FixStep::Restore => "taken back",
        FixStep::Merge => "merged",
        FixStep::Keep
        | FixStep::Clean
        | FixStep::Dirty
        | FixStep::OpenClean
        | FixStep::OpenDirty
        | FixStep::Collect => "left on their branch",
    }
}

/// Seconds until the step may be tried again.
fn pause_s(context: &UnitContext<'_>, due: &FixDue) -> f64 {
    let Some(last) = due.tried_awake_s.last() else { return 0.0 };
    let pause = AGAIN_S * 2f64.powi(due.tried_awake_s.len().min(TRIES_MAX) as i32 - 1);
    pause - context.now.awake_s.since_s(*last)
}

/// Is a step due? Then nothing else is.
pub(super) fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) -> bool {
    let Some(due) = state.process.heal.fixes.first() else { return false };
    let what = format!("edits {}", words(due.step));
    if !due.after.is_empty() {
        out.hold("start", "an agent that nobody waits for any more is still at work in its tree");
        return true;
    }
    let pause_s = pause_s(context, due);
    if due.job.is_empty() && pause_s > 0.0 {
        out.due_in(pause_s);
        out.hold("start", format!("the {what}: that could not be done, it is tried again"));
        return true;
    }
    let id = match (due.job.as_str(), context.job(&due.job)) {
        ("", _) => Job::id_of(context.name, "fix", state.process.heal.jobs.saturating_add(1)),
        // Recorded, and we were killed before it began.
        (job, JobSeen::None) => job.to_owned(),
        (_, JobSeen::Running | JobSeen::Ended { .. }) => {
            out.hold("start", format!("the {what}: under way"));
            return true;
        }
    };
    if let Some(why) = context.gate(state, Watch::Heal).filter(|_| !due.aside) {
        out.hold(&what, why);
        return true;
    }
    let job = Job {
        id,
        argv: Vec::new(),
        env: BTreeMap::new(),
        dir: context.unit.dir.to_string_lossy().into_owned(),
        deadline_s: DEADLINE_S,
        env_remove: Vec::new(),
        stdin: None,
        awaited: true,
        fix: Some(FixJob {
            incident: due.incident.clone(),
            attempt: due.attempt.clone(),
            step: due.step,
            files: Vec::new(),
        }),
    };
    let why = Reason::new("process.fix", format!("attempt {} is over", due.attempt), vec![]);
    out.want(Claim::Order, &what, What::Act(Action::RunJob { job }), why);
    true
}

/// Was this the order of a step? Then it is remembered.
pub(super) fn charge(granted: &Proposal, state: &mut UnitState) -> bool {
    let What::Act(Action::RunJob { job }) = &granted.what else { return false };
    let ends = |fix: &FixJob| matches!(fix.step, FixStep::Restore | FixStep::Keep | FixStep::Merge);
    if !job.fix.as_ref().is_some_and(ends) {
        return false;
    }
    if let Some(due) = state.process.heal.fixes.first_mut() {
        if due.job.is_empty() {
            state.process.heal.jobs = state.process.heal.jobs.saturating_add(1);
        }
        due.job.clone_from(&job.id);
    }
    true
}

//! Going on after a crash. An agent that begins a new conversation is told by its first prompt what it had written down, and
//! how its work place looks; one whose conversation is continued has its memory, and is told to go on if it was busy.
//! Attempts are counted before they are made, and one that nothing was seen of is made again. A task has neither: its next
//! run begins afresh.
//!
//! Deliberately not here: whether and when it is started (restart), the typing (deliver), what a checkpoint must hold: any
//! JSON will do, and none of it is obeyed by us.

use super::context::UnitContext;
use super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use super::{Policy, belief, launch, restart, verdict};
use crate::base::text::{one_line, strip_controls};
use crate::base::time::human_s;
use crate::config::{Agent, AgentKind};
use crate::detect::mask;
use crate::model::action::{Action, Job};
use crate::model::seen::{CheckpointSeen, JobSeen, PaneSeen, Process, ScreenState};
use crate::state::mail::Level;
use crate::state::unit::{EndCause, Handoff, HandoffKind, Kickoff, News, RecoveryPlan, UnitState};
use std::collections::BTreeMap;

/// The policy's row.
pub const POLICY: Policy = Policy { name: "recovery", fold, propose, charge };

/// The resume prompt, slots not filled.
const TEMPLATE: &str = include_str!("../../prompts/resume.md");
/// What a conversation is told that is continued, slots not filled.
const GO_ON: &str = include_str!("../../prompts/go-on.md");
/// What git says of the work place is waited for so long, seconds; then the prompt goes without it.
const GATHER_S: f64 = 20.0;
/// The job's own deadline, seconds.
const DEADLINE_S: u32 = 10;
/// Progress is a stretch without a silence longer than this share of `stall_idle`.
const PROGRESS_GAP_SHARE: f64 = 0.4;
/// Longest checkpoint in a prompt, characters.
const CHECKPOINT_MAX: usize = 8000;
/// Longest list of changes in a prompt, characters.
const DIFF_MAX: usize = 3000;
/// Handoffs that are remembered.
const HANDOFFS_MAX: usize = 20;
/// The branch, then what is changed. Fixed words: nothing of ours or of the unit's is put into them.
const LOOK: &str = "git symbolic-ref -q --short HEAD || git rev-parse --short HEAD\n\
git --no-pager -c core.fsmonitor=false -c core.hooksPath=/dev/null diff --no-ext-diff --no-textconv --stat=100 HEAD --\n";

/// Why the next start would go on from the checkpoint; None when it would not.
fn due(context: &UnitContext<'_>, state: &UnitState) -> Option<(HandoffKind, String)> {
    context.agent().filter(|agent| agent.recovery.max > 0 && agent.kind != AgentKind::Task)?;
    let Some(CheckpointSeen::Json { .. }) = &context.seen.checkpoint else { return None };
    // What was written down for another phase is not what is to be done now.
    if launch::resumes(context, state)
        || belief::is_unstarted(&state.seen)
        || super::phase::is_behind(context, state)
    {
        return None;
    }
    let exit = exit(state);
    match &state.ending {
        Some(_) if state.launch.afresh => {
            Some((HandoffKind::Crash, "the conversation could not go on".to_owned()))
        }
        Some(ending) if ending.cause == EndCause::Ladder => {
            Some((HandoffKind::Timeout, format!("it made no progress: {}", one_line(&ending.why, 200))))
        }
        Some(_) => None,
        None if verdict::is_crash(&state.seen) => Some((HandoffKind::Crash, format!("it crashed: {exit}"))),
        None => None,
    }
}

fn exit(state: &UnitState) -> String {
    state.seen.exit.clone().unwrap_or_else(|| "unknown end".into())
}

/// Why a conversation that is continued would be told to go on; None when it would not.
fn cut_off(context: &UnitContext<'_>, state: &UnitState) -> Option<String> {
    context.agent().filter(|agent| agent.recovery.max > 0)?;
    // A person who orders a start sees to it.
    if !launch::resumes(context, state) || state.operator.start || state.launch.stopped {
        return None;
    }
    match &state.ending {
        Some(ending) if ending.cause == EndCause::Ladder => {
            Some(format!("it was ended for want of progress: {}", one_line(&ending.why, 200)))
        }
        Some(_) => None,
        None => verdict::was_cut_off(&state.seen).then(|| exit(state)),
    }
}

/// The attempt is paid for, and nothing was seen of its start: we were killed before it, or it was lost with its session.
fn is_owed(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let recovery = &state.recovery;
    recovery.given.is_some()
        && !recovery.begun
        && !has_begun(context, state)
        && recovery.resumed == launch::resumes(context, state)
        && !super::phase::is_behind(context, state)
}

/// Is something seen of the last start?
fn has_begun(context: &UnitContext<'_>, state: &UnitState) -> bool {
    match &context.seen.pane {
        PaneSeen::Alive(_) => state.seen.process.is_some(),
        PaneSeen::Dead { pid, .. } => {
            // The process whose end made the start necessary may lie there still.
            let old = pid.zip(state.recovery.last).is_some_and(|(pid, last)| pid == last.pid);
            state.seen.state == ScreenState::Dead && !old && !belief::is_unstarted(&state.seen)
        }
        PaneSeen::Absent | PaneSeen::Unknown => false,
    }
}

/// Why the start waits: its resume prompt is not complete yet. Judged from what was on record before this tick's folds, so
/// that the start's prompt is the one that is waited for.
pub fn waits(context: &UnitContext<'_>) -> Option<String> {
    let state = context.unfolded;
    let agent = context.agent()?;
    let is_due = state.recovery.attempts < agent.recovery.max && due(context, state).is_some();
    (is_due && !is_owed(context, state) && state.recovery.ready.is_none())
        .then(|| "what its resume prompt needs is being gathered".to_owned())
}

/// The resume prompt of the start that is under way or comes next.
pub fn prompt<'a>(context: &UnitContext<'a>) -> Option<&'a str> {
    let recovery = &context.unfolded.recovery;
    match context.alive() {
        Some(_) => recovery.given.as_deref(),
        // A start that was recorded and did not happen is made again as it was meant.
        None => {
            let owed = recovery.given.as_deref().filter(|_| is_owed(context, context.unfolded));
            recovery.ready.as_deref().or(owed)
        }
    }
}

fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    handoff(context, state, notes);
    let Some(agent) = context.agent() else { return };
    state.recovery.begun |= has_begun(context, context.unfolded);
    if context.alive().is_some() && context.unfolded.seen.process.is_some() {
        return alive(context, state, notes);
    }
    if !restart::is_healing(context, context.unfolded) {
        if !context.is_wanted() {
            forget(state);
        }
        return;
    }
    if is_owed(context, state) {
        return;
    }
    let is_last = state.recovery.attempts >= agent.recovery.max;
    if is_last && cut_off(context, context.unfolded).is_some() {
        return exhausted(context, agent, state);
    }
    let Some((kind, why)) = due(context, context.unfolded) else {
        forget(state);
        return broken(context, state);
    };
    if is_last {
        return exhausted(context, agent, state);
    }
    if state.recovery.ready.is_some() {
        return;
    }
    match &state.recovery.plan {
        None => {
            state.recovery.count = state.recovery.count.saturating_add(1);
            let job = Job::id_of(context.name, "recover", state.recovery.count);
            let since_awake_s = context.now.awake_s;
            state.recovery.plan = Some(RecoveryPlan { job, kind, why, since_awake_s });
            notes.due_in(0.1);
        }
        Some(plan) => {
            let plan = plan.clone();
            let late = context.now.awake_s.since_s(plan.since_awake_s) >= GATHER_S;
            let said = match context.job(&plan.job) {
                JobSeen::Ended { failed: None, output, .. } => Some(Ok(output.as_str())),
                JobSeen::Ended { failed: Some(why), .. } => Some(Err(why.as_str())),
                JobSeen::None | JobSeen::Running if late => Some(Err("git did not answer in time")),
                JobSeen::None | JobSeen::Running => None,
            };
            let Some(said) = said else { return notes.due_in(1.0) };
            state.take_job(&plan.job);
            state.recovery.ready = Some(compose(context, agent, state, &plan.why, said));
            notes.due_in(0.1);
        }
    }
}

/// What was prepared for a start is of no use any more: it began, or the unit is to stay down and its checkpoint will be old.
fn forget(state: &mut UnitState) {
    if let Some(plan) = state.recovery.plan.take() {
        state.take_job(&plan.job);
    }
    state.recovery.ready = None;
    if !state.recovery.begun {
        state.recovery.given = None;
    }
}

/// It lives: what was prepared is used up, and after real progress the attempts are forgotten.
fn alive(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    forget(state);
    if state.recovery.attempts == 0 && !state.recovery.told {
        return;
    }
    let idle_s = context.config.watchdog.stall_idle_s;
    let works = context.idle_s().is_some_and(|quiet| quiet <= idle_s * PROGRESS_GAP_SHARE);
    if !works && !came_to_rest(context, state) {
        state.recovery.progress_since_awake_s = None;
        return;
    }
    let since = *state.recovery.progress_since_awake_s.get_or_insert(context.now.awake_s);
    let lasted = context.now.awake_s.since_s(since);
    if lasted < idle_s {
        return;
    }
    state.recovery.progress_since_awake_s = None;
    let tried = state.recovery.attempts > 0;
    (state.recovery.attempts, state.recovery.told) = (0, false);
    state.recovery.given = None;
    if !tried {
        return;
    }
    let text = format!("recovered: it works again for {}", human_s(lasted));
    notes.event(context.now.wall, Some(context.name), EventKind::State, text.clone());
    news(context, state, &text);
}

/// A conversation that was told to go on came to the end of its turn. Who idles by its nature makes no other progress.
fn came_to_rest(context: &UnitContext<'_>, state: &UnitState) -> bool {
    state.recovery.resumed
        && context.unfolded.seen.state == ScreenState::Idle
        && context.unfolded.launch.kickoff == Kickoff::Done
        && context.unfolded.delivery.current.is_none()
}

/// A checkpoint that is no JSON is told once; the start is an ordinary one.
fn broken(context: &UnitContext<'_>, state: &mut UnitState) {
    let Some(CheckpointSeen::Broken { why }) = &context.seen.checkpoint else { return };
    if state.recovery.told || state.launch.count == 0 || !verdict::is_crash(&context.unfolded.seen) {
        return;
    }
    state.recovery.told = true;
    let text = format!("the checkpoint of `{}` can't be used: {why}; it is started without it", context.name);
    state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
}

/// No attempt is left: an ordinary start, and people and the parent are told once.
fn exhausted(context: &UnitContext<'_>, agent: &Agent, state: &mut UnitState) {
    (state.recovery.plan, state.recovery.ready) = (None, None);
    if state.recovery.told {
        return;
    }
    state.recovery.told = true;
    let then = match launch::resumes(context, context.unfolded) {
        true => "its conversation is continued, and it is not told to go on",
        false => "it is started with its ordinary kickoff",
    };
    let text = format!(
        "`{}` crashed again after {} of {} recoveries: {then}",
        context.name, state.recovery.attempts, agent.recovery.max
    );
    state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
    news(context, state, &format!("recovery is exhausted: {then}"));
}

/// What a parent hears.
fn news(context: &UnitContext<'_>, state: &mut UnitState, text: &str) {
    if context.agent().is_none_or(|agent| agent.parent.is_none()) {
        return;
    }
    let id = format!("{}-recovery-{}", context.name, context.now.wall.0);
    state.news.push(News { id, text: format!("[watchkeeper] `{}`: {text}", context.name) });
}

/// A process takes over from another, or a conversation is compacted: written down with the checkpoint of then.
fn handoff(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let (before, now) = (context.before.units.get(context.name), &context.unfolded.seen);
    let ended = before.is_some_and(|before| before.seen.process.is_some()) && now.process.is_none();
    if ended {
        state.recovery.last = before.and_then(|before| before.seen.process);
        state.recovery.kind = Some(kind(context, before.and_then(|before| before.ending.as_ref())));
    }
    let Some(process) = now.process else { return };
    let same = before.is_some_and(|before| before.seen.process == Some(process));
    let compacted = same
        && before.is_some_and(|before| before.seen.compacting_since_awake_s.is_some())
        && now.compacting_since_awake_s.is_none();
    if compacted {
        return record(context, state, HandoffKind::Compaction, process, process, notes);
    }
    if same {
        return;
    }
    let from = match before.and_then(|before| before.seen.process) {
        Some(old) => Some((old, HandoffKind::Manual)), // Replaced behind our back: by a person.
        None => state.recovery.last.zip(state.recovery.kind),
    };
    (state.recovery.last, state.recovery.kind) = (None, None);
    if let Some((from, kind)) = from {
        record(context, state, kind, from, process, notes);
    }
}

fn kind(context: &UnitContext<'_>, ending: Option<&crate::state::unit::Ending>) -> HandoffKind {
    match ending.map(|ending| ending.cause) {
        Some(EndCause::Ladder) if context.unfolded.launch.afresh => HandoffKind::Crash,
        Some(EndCause::Ladder) => HandoffKind::Timeout,
        Some(
            EndCause::Down
            | EndCause::Ordered
            | EndCause::Changed
            | EndCause::Phase
            | EndCause::Rerun
            | EndCause::Remedy,
        ) => HandoffKind::Manual,
        None if verdict::is_crash(&context.unfolded.seen) => HandoffKind::Crash,
        None => HandoffKind::Finished,
    }
}

fn record(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    kind: HandoffKind,
    from: Process,
    to: Process,
    notes: &mut Notes,
) {
    let checkpoint = match &context.seen.checkpoint {
        Some(CheckpointSeen::Json { digest, .. }) => Some(digest.clone()),
        Some(CheckpointSeen::Broken { .. }) | None => None,
    };
    // Who writes none down hands nothing over: its ends and starts have their own events.
    if let Some(digest) = &checkpoint {
        let word = format!("{kind:?}").to_lowercase();
        let text = format!("handed over ({word}): pid {} → pid {}, checkpoint {digest}", from.pid, to.pid);
        notes.event(context.now.wall, Some(context.name), EventKind::State, text);
        state.recovery.handoffs.push(Handoff { at: context.now.wall, kind, from, to, checkpoint });
        let extra = state.recovery.handoffs.len().saturating_sub(HANDOFFS_MAX);
        state.recovery.handoffs.drain(..extra);
    }
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let Some(plan) = state.recovery.plan.as_ref().filter(|_| state.recovery.ready.is_none()) else { return };
    let ordered = state.jobs.iter().any(|job| job.id == plan.job);
    if context.alive().is_some() || (ordered && !matches!(context.job(&plan.job), JobSeen::None)) {
        return;
    }
    if context.gate(state, crate::config::Watch::Heal).is_some() {
        return;
    }
    let why = Reason::new("recovery.look", format!("{}; its checkpoint is there", plan.why), vec![]);
    out.want(
        Claim::Tidy,
        "look at its work place",
        What::Act(Action::RunJob { job: look(context, plan) }),
        why,
    );
}

fn look(context: &UnitContext<'_>, plan: &RecoveryPlan) -> Job {
    let env = [("GIT_OPTIONAL_LOCKS", "0"), ("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C")];
    Job {
        id: plan.job.clone(),
        argv: ["sh", "-c", LOOK].map(str::to_owned).to_vec(),
        env: env
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        dir: context.unit.dir.to_string_lossy().into_owned(),
        deadline_s: DEADLINE_S,
        env_remove: Vec::new(),
        stdin: None,
        awaited: true,
        fix: None,
    }
}

/// The start is paid for by who grants it: see [`charged`].
fn charge(_: &UnitContext<'_>, _: &Proposal, _: &mut UnitState) {}

/// A start was granted: an attempt that goes with it is counted before it happens.
pub fn charged(context: &UnitContext<'_>, state: &mut UnitState) {
    if state.recovery.ready.is_none() && is_owed(context, state) {
        return; // The same attempt once more: it is paid for.
    }
    let max = context.agent().map_or(0, |agent| agent.recovery.max);
    let attempt = state.recovery.attempts.saturating_add(1);
    let go_on = cut_off(context, state).filter(|_| attempt <= max);
    state.recovery.resumed = go_on.is_some();
    let plan = state.recovery.plan.take();
    let (given, text) = match go_on {
        Some(why) => {
            let slots = [
                ("{reason}", one_line(&why, 300)),
                ("{attempt}", attempt.to_string()),
                ("{max}", max.to_string()),
            ];
            let text = format!("its conversation is continued, and it is told to go on ({why})");
            (Some(super::kickoff::fill(GO_ON, &slots)), text)
        }
        None => {
            let why = plan.map_or_else(String::new, |plan| format!(" ({})", plan.why));
            (state.recovery.ready.take(), format!("from its checkpoint{why}"))
        }
    };
    (state.recovery.ready, state.recovery.given, state.recovery.begun) = (None, given, false);
    state.recovery.progress_since_awake_s = None;
    if state.recovery.given.is_none() {
        return;
    }
    state.recovery.attempts = attempt;
    news(context, state, &format!("recovery {attempt} of {max}: {text}"));
}

fn compose(
    context: &UnitContext<'_>,
    agent: &Agent,
    state: &UnitState,
    why: &str,
    said: Result<&str, &str>,
) -> String {
    let checkpoint = match &context.seen.checkpoint {
        Some(CheckpointSeen::Json { text, .. }) => text.as_str(),
        Some(CheckpointSeen::Broken { .. }) | None => "(gone)",
    };
    let (branch, diff) = match said {
        Ok(output) => {
            let (branch, diff) = output.split_once('\n').unwrap_or((output, ""));
            let diff = if diff.trim().is_empty() { "(nothing)" } else { diff };
            (one_line(branch, 200), quoted(diff, DIFF_MAX))
        }
        Err(why) => {
            ("(not known)".to_owned(), quoted(&format!("(not known: {})", one_line(why, 200)), DIFF_MAX))
        }
    };
    let phase = context.unfolded.launch.phase.clone().unwrap_or_else(|| "(none)".to_owned());
    let slots = [
        ("{reason}", one_line(why, 300)),
        ("{attempt}", state.recovery.attempts.saturating_add(1).to_string()),
        ("{max}", agent.recovery.max.to_string()),
        ("{phase}", one_line(&phase, 200)),
        ("{branch}", branch),
        ("{diff}", diff),
        ("{checkpoint}", quoted(checkpoint, CHECKPOINT_MAX)),
    ];
    super::kickoff::fill(TEMPLATE, &slots)
}

/// A text of somebody else's: masked, bounded, without control characters, and set in so that no line of it begins a command.
fn quoted(text: &str, max: usize) -> String {
    let masked = mask::mask(text);
    let mut short: String = masked.chars().take(max).collect();
    if masked.chars().nth(max).is_some() {
        short.push_str("\n… (cut)");
    }
    let lines: Vec<String> =
        short.lines().map(|line| format!("    {}", strip_controls(line).replace('\n', " "))).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;

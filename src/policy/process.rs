//! Processes outside tmux: what is believed of a run, and the policy that starts, watches and heals it. One row of the table,
//! for its parts read each other in a fixed order: run, watch, heal, verify.
//!
//! Deliberately not here: how a host runs something (`sys::hosts`), how findings are made (`detect::log`), and the ends of
//! what runs (`ending`).

mod answer;
mod choice;
mod env;
mod failure;
mod fixes;
mod heal;
mod interactive;
mod limits;
mod orphans;
mod prompt;
mod record;
mod reply;
mod rules;
mod run;
mod stall;
mod unasked;
mod verify;
mod watch;

use super::Policy;
use super::context::UnitContext;
use super::proposal::{Notes, Proposal, Proposals};
use crate::base::names::UnitName;
use crate::base::time::Now;
use crate::config::{ProcessHost, ProcessUnit, Rule};
use crate::model::action::Action;
use crate::model::finding::Finding;
use crate::model::process::{Held, HostPlace, LogCursor, RunId, RunQuery, RunSeen};
use crate::model::seen::{Exit, ScreenState, Seen};
use crate::state::State;
use crate::state::process::{RemedyStep, Standing};
use crate::state::unit::{UnitState, Unseen};

/// A run that waits for somebody is told after this time: a controller that just came back may name a reason that passes.
const HELD_S: f64 = 10.0;

/// The policy's row.
pub const POLICY: Policy = Policy { name: "process", fold, propose, charge };

fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let (Some(unit), Some(seen)) = (context.unit.process(), &context.seen.process) else { return };
    state.incident.settle(seen);
    let left_out = state.incident.left_out;
    run::fold(context, state, notes);
    watch::fold(context, unit, state, notes);
    run::ended(context, unit, state, notes);
    fixes::fold(context, state, notes);
    heal::fold(context, unit, state, notes);
    failure::resume(context, unit, state, notes);
    stall::approval(state);
    stall::withheld(context, unit, state);
    record::left_out(context, state, left_out, notes);
    verify::fold(context, unit, state, notes);
    run::holds(context, unit, state);
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let Some(unit) = context.unit.process() else { return };
    if context.seen.process.is_none() {
        return;
    }
    if fixes::propose(context, state, out) {
        // A start waits for whoever still edits its tree; an end that is due does not.
        let waits = state.process.heal.fixes.first().is_some_and(|due| !due.after.is_empty());
        let due = state.process.remedy.as_ref().is_some_and(heal::is_end);
        if waits && due && context.is_running() {
            heal::propose(context, unit, state, out);
        }
        return;
    }
    heal::propose(context, unit, state, out);
    run::propose(context, unit, state, out);
}

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    if fixes::charge(granted, state) {
        return;
    }
    if let Some(unit) = context.unit.process() {
        heal::charge(context, unit, granted, state);
        run::charge(context, granted, state);
    }
}

/// Where a process is to be looked for.
pub fn place(unit: &ProcessUnit) -> HostPlace {
    match &unit.host {
        ProcessHost::Local => HostPlace::Local,
        ProcessHost::Attach { pid, pid_file, .. } => HostPlace::Attach {
            pid: *pid,
            pid_file: pid_file.as_ref().map(|path| path.to_string_lossy().into_owned()),
        },
        ProcessHost::Slurm { .. } => HostPlace::Slurm,
        ProcessHost::Docker { engine, .. } => HostPlace::Docker { engine: engine.clone() },
    }
}

/// What its host is asked in each look.
pub fn query(name: &UnitName, unit: &ProcessUnit, state: Option<&UnitState>) -> RunQuery {
    let run = state.map(|state| &state.process.run);
    let known = RunId {
        number: run.map_or(0, |run| run.number),
        handle: run.map_or_else(String::new, |run| run.handle.clone()),
    };
    RunQuery { unit: name.clone(), place: place(unit), known }
}

/// How far a unit's log was read and judged: in its own file, or further on in clocks.json.
pub fn cursor(state: &State, name: &UnitName) -> LogCursor {
    let own = state.units.get(name).map(|unit| &unit.process.watch);
    let further = state.clocks.units.get(name).and_then(|clocks| clocks.log.as_ref());
    match (own, further) {
        (Some(own), Some(further)) if further.after == own.cursors => further.cursor.clone(),
        (None, Some(further)) if further.after == 0 => further.cursor.clone(),
        (Some(own), _) => own.cursor.clone(),
        (None, _) => LogCursor::default(),
    }
}

/// May it be ended at all? What somebody else started only when they said so.
pub fn may_end(context: &UnitContext<'_>) -> bool {
    match context.unit.process().map(|unit| &unit.host) {
        Some(ProcessHost::Attach { allow_kill, .. }) => *allow_kill,
        Some(ProcessHost::Local | ProcessHost::Slurm { .. } | ProcessHost::Docker { .. }) | None => true,
    }
}

/// A stall for which it was to be ended moves again: no proof any more.
pub fn moves_again(context: &UnitContext<'_>) -> bool {
    let remedy = context.unfolded.process.remedy.as_ref();
    context.unit.process().zip(remedy).is_some_and(|(unit, remedy)| stall::has_moved(context, unit, remedy))
}

/// How a run of another host is ended; None when its processes are this machine's, or it does not run.
pub fn cancel(context: &UnitContext<'_>) -> Option<Action> {
    let unit = context.unit.process()?;
    match unit.host {
        ProcessHost::Local | ProcessHost::Attach { .. } => return None,
        ProcessHost::Slurm { .. } | ProcessHost::Docker { .. } => {}
    }
    match context.run()? {
        RunSeen::Alive { id, .. } | RunSeen::Pending { id, .. } => {
            Some(Action::CancelRun { unit: context.name.clone(), id: id.clone(), place: place(unit) })
        }
        RunSeen::Unknown { .. } | RunSeen::Absent | RunSeen::Ended { .. } => None,
    }
}

/// Is an agent to be told what the files say?
pub fn wants_brief(state: &UnitState) -> bool {
    let asks = |step: &RemedyStep| matches!(step, RemedyStep::Ask { .. } | RemedyStep::Opened { .. });
    state.process.remedy.as_ref().is_some_and(|remedy| asks(&remedy.step))
}

/// The job by which an agent was asked. When it is not there we were killed before it began: the prompt is made anew.
pub fn asked_job(state: &UnitState) -> Option<&str> {
    match &state.process.remedy.as_ref()?.step {
        RemedyStep::Thinking { job } => Some(job),
        RemedyStep::Due
        | RemedyStep::Ask { .. }
        | RemedyStep::Opening { .. }
        | RemedyStep::Opened { .. }
        | RemedyStep::Requested { .. }
        | RemedyStep::Closing { .. }
        | RemedyStep::Command { .. } => None,
    }
}

/// Is an answer awaited in the response file?
pub fn wants_answer(state: &UnitState) -> bool {
    state.process.remedy.as_ref().is_some_and(|remedy| matches!(remedy.step, RemedyStep::Requested { .. }))
}

/// Can this answer be used? Why not, as a fragment.
pub fn check_answer(text: &str) -> Result<(), String> {
    answer::parse(text).map(|_| ())
}

/// The places of the rules that could be meant for what a log said.
pub fn rules_meant(rules: &[Rule], finding: &Finding) -> Vec<usize> {
    rules::meant(rules, finding)
}

/// The incident that an agent is told of.
pub fn briefed_incident(state: &UnitState) -> Option<&str> {
    state.process.remedy.as_ref().map(|remedy| remedy.incident.as_str()).filter(|id| !id.is_empty())
}

/// It waits on its host for somebody to do something, for so long that this is no passing state.
pub fn held<'s>(now: &Now, state: &'s UnitState) -> Option<&'s Held> {
    let since = state.process.run.held.as_ref()?;
    (now.awake_s.since_s(since.since_awake_s) >= HELD_S).then_some(&since.held)
}

/// Is it to be looked for what its last run left behind?
pub fn wants_leftovers(unit: &ProcessUnit, state: &UnitState) -> bool {
    orphans::wanted(unit, state)
}

/// Does its CPU tell something now: has it been silent for a while?
pub fn wants_cpu(unit: &ProcessUnit, state: &State, name: &UnitName, now: &Now) -> bool {
    stall::is_near(unit, state, name, now)
}

/// Takes this tick's look into what is believed of it, in the words of all units: it runs, it waits, it is over.
pub fn belief(now: &Now, seen: Option<&Seen>, state: &mut UnitState) {
    let Some(seen) = seen.and_then(|seen| seen.process.as_ref()) else { return };
    unseen(now, &seen.run, state);
    match &seen.run {
        RunSeen::Unknown { .. } => {}
        RunSeen::Pending { .. } => set(now, state, ScreenState::Starting),
        RunSeen::Alive { process, .. } => {
            set(now, state, ScreenState::Busy);
            if state.seen.process != *process || state.seen.alive_since_awake_s.is_none() {
                state.seen.alive_since_awake_s = Some(now.awake_s);
            }
            state.seen.process = *process;
            (state.seen.exit, state.seen.exit_known) = (None, None);
        }
        RunSeen::Absent => {
            // A start that was just ordered is on its way.
            if state.seen.state != ScreenState::Starting {
                set(now, state, ScreenState::Dead);
            }
            gone(state);
        }
        RunSeen::Ended { id, exit, .. } => {
            if id.number >= state.process.run.number {
                set(now, state, ScreenState::Dead);
                state.seen.exit = Some(run::end_words(&seen.run));
                state.seen.exit_known = *exit;
            }
            gone(state);
        }
    }
}

/// Since when nothing is known of it, while that matters.
fn unseen(now: &Now, run: &RunSeen, state: &mut UnitState) {
    let matters = state.process.run.standing == Standing::Open || state.is_up();
    let why = match run {
        RunSeen::Unknown { why } if matters => why,
        RunSeen::Unknown { .. }
        | RunSeen::Absent
        | RunSeen::Pending { .. }
        | RunSeen::Alive { .. }
        | RunSeen::Ended { .. } => return state.seen.unseen = None,
    };
    let bare = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    match &mut state.seen.unseen {
        // Seconds that pass are no news.
        Some(unseen) if bare(&unseen.why) == bare(why) => {}
        Some(unseen) => unseen.why.clone_from(why),
        unseen @ None => *unseen = Some(Unseen { why: why.clone(), since_awake_s: now.awake_s }),
    }
}

fn set(now: &Now, state: &mut UnitState, observed: ScreenState) {
    if state.seen.state != observed || state.seen.since_awake_s == Default::default() {
        state.seen.state = observed;
        state.seen.since = now.wall;
        state.seen.since_awake_s = now.awake_s;
    }
}

fn gone(state: &mut UnitState) {
    state.seen.process = None;
    state.seen.alive_since_awake_s = None;
}

/// An exit as one number: its status, or 128 plus the signal.
fn code(exit: Exit) -> i32 {
    match exit {
        Exit::Status(code) => code,
        Exit::Signal(number) => 128 + number,
    }
}

#[cfg(test)]
mod interactive_tests;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod tests;

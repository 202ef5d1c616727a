//! What agents do about the plan: a loop agent whose kickoff was for another phase is started anew, and the task that
//! comes at the end is started once. Level-triggered: it does not matter what died in between.
//!
//! Deliberately not here: which phase is in force (plan).

use super::Policy;
use super::context::UnitContext;
use super::ending::ending;
use super::launch;
use super::plan::Stage;
use super::proposal::{Claim, Notes, Proposal, Proposals, Reason, What};
use crate::config::{AgentKind, Watch};
use crate::model::seen::{PaneSeen, ScreenState};
use crate::state::unit::{EndCause, PhaseMemory, Then, UnitState};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "phase", fold, propose, charge };

/// The last task's start that came to nothing is made again after this long, seconds.
const AGAIN_S: f64 = 15.0;

/// The agent works through the plan.
pub fn is_loop(context: &UnitContext<'_>) -> bool {
    context.agent().is_some_and(|agent| agent.kind == AgentKind::Loop)
}

/// The plan is complete, and this unit's work was the plan.
pub fn rests(context: &UnitContext<'_>) -> Option<String> {
    let over = context.fleet.stage == Stage::Complete && is_loop(context);
    over.then(|| "the plan is complete: loop agents rest".to_owned())
}

/// A loop agent must not be started now: nobody knows for which phase.
pub fn unknown(context: &UnitContext<'_>) -> Option<String> {
    match &context.fleet.stage {
        Stage::Unknown(why) if is_loop(context) => Some(why.clone()),
        Stage::Unknown(_) | Stage::NoPlan | Stage::Phase(_) | Stage::Complete => None,
    }
}

/// The phase in force is another one than that of the unit's kickoff.
pub fn is_behind(context: &UnitContext<'_>, state: &UnitState) -> bool {
    match &context.fleet.stage {
        Stage::Phase(id) => is_loop(context) && state.launch.phase.as_deref() != Some(id),
        Stage::NoPlan | Stage::Unknown(_) | Stage::Complete => false,
    }
}

/// The task that is started once when the plan is complete.
pub fn is_final(context: &UnitContext<'_>) -> bool {
    let plan = context.config.sequence.as_ref();
    plan.and_then(|plan| plan.on_complete.as_ref()) == Some(context.name)
}

fn fold(context: &UnitContext<'_>, state: &mut UnitState, _notes: &mut Notes) {
    // Its file was lost: the mark that its start left on the pane tells for which phase it was.
    if state.launch.phase.is_none() && is_loop(context) {
        state.launch.phase = context.alive().and_then(|pane| pane.phase.clone());
    }
    // The same for the last task, of which phase.json keeps a second record.
    let finale = &context.fleet.finale;
    if is_final(context) && state.phase.completed.is_none() && context.fleet.stage == Stage::Complete {
        state.phase.completed = finale.clone().filter(|_| *finale == context.fleet.last_phase);
        state.phase.ran = state.phase.completed.is_some();
    }
    if state.phase.completed.is_some() && !state.phase.ran {
        state.phase.ran = has_run(context, state);
    }
    // A plan that goes on, or is done again from the start, has an end of its own.
    if !matches!(context.fleet.stage, Stage::Complete | Stage::Unknown(_)) && state.phase.completed.is_some()
    {
        state.phase = PhaseMemory { nudged: state.phase.nudged.take(), ..PhaseMemory::default() };
    }
}

/// A process of the last start was seen, alive or by its end. A start that was lost (the watchdog was killed before it, or
/// tmux did not take it) leaves nothing.
fn has_run(context: &UnitContext<'_>, state: &UnitState) -> bool {
    match &context.seen.pane {
        PaneSeen::Alive(_) => state.ending.is_none(),
        PaneSeen::Dead { at, .. } => {
            let started = state.launch.at.unwrap_or_default();
            // tmux counts in whole seconds.
            at.is_none_or(|at| at.since_s(started) >= -1.0)
        }
        PaneSeen::Absent | PaneSeen::Unknown => false,
    }
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    if !context.is_wanted() || state.ending.is_some() {
        return;
    }
    match &context.fleet.stage {
        Stage::Phase(id) if is_behind(context, state) && context.alive().is_some() => {
            move_on(context, state, id, out);
        }
        Stage::Complete if is_final(context) => last_task(context, state, out),
        Stage::Phase(_) | Stage::Complete | Stage::NoPlan | Stage::Unknown(_) => {}
    }
}

/// An ordered restart with the kickoff of the phase in force.
fn move_on(context: &UnitContext<'_>, state: &UnitState, id: &str, out: &mut Proposals) {
    let was = state.launch.phase.as_deref().map_or("no phase".to_owned(), |was| format!("phase {was}"));
    let held = context
        .gate(state, Watch::Heal)
        .or_else(|| state.limit.active.as_ref().map(|limit| format!("it is limited until {}", limit.until)))
        // It could not be started again.
        .or_else(|| context.account_held());
    if let Some(why) = held {
        return out.hold("restart", format!("phase {id} is in force, its kickoff was for {was}; {why}"));
    }
    let why =
        Reason::new("phase.kickoff", format!("phase {id} is in force, its kickoff was for {was}"), vec![]);
    let end = ending(context, Then::Start, EndCause::Phase, &why);
    out.want(Claim::Order, "restart", What::End(end), why);
}

/// Once per completion: a run that is under way is waited for.
fn last_task(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let started = state.phase.completed.is_some() && state.phase.completed == context.fleet.last_phase;
    if started && state.phase.ran {
        return;
    }
    // A start that came to nothing is made again, not at once for ever.
    let age = state.launch.at_awake_s.map(|at| context.now.awake_s.since_s(at));
    if let Some(left) = age.map(|age| AGAIN_S - age).filter(|left| started && *left > 0.0) {
        return out.due_in(left);
    }
    let held = context
        .gate(state, Watch::None)
        .or_else(|| state.limit.active.as_ref().map(|limit| format!("it is limited until {}", limit.until)))
        .or_else(|| context.account_held());
    if let Some(why) = held {
        return out.hold("run", why);
    }
    let why = Reason::new("phase.complete", "the plan is complete: it is the task that comes then", vec![]);
    match &context.seen.pane {
        PaneSeen::Dead { .. } | PaneSeen::Absent => {
            let Some(action) = launch::action(context, state) else { return };
            out.want(Claim::Start, "run", What::Act(action), why);
        }
        PaneSeen::Alive(_) if matches!(state.seen.state, ScreenState::Idle | ScreenState::Shell) => {
            let end = ending(context, Then::Start, EndCause::Rerun, &why);
            out.want(Claim::Order, "rerun", What::End(end), why);
        }
        PaneSeen::Alive(_) => out.hold("run", "its previous run is still active"),
        PaneSeen::Unknown => {}
    }
}

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    if granted.claim == Claim::Start {
        launch::charge(context, granted.origin, state);
    }
}

#[cfg(test)]
mod tests;

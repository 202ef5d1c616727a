//! Scheduled prompts (persistent, loop) and runs (task): intervals and cron times. A missed time fires once, however late.

use super::Policy;
use super::context::UnitContext;
use super::ending::ending;
use super::guard_text;
use super::launch;
use super::plan::Stage;
use super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use crate::base::time::Wall;
use crate::config::{AgentKind, Wake, WakeWhen, Watch};
use crate::model::seen::{PaneSeen, ScreenState};
use crate::state::unit::{DeliveryOutcome, EndCause, Kickoff, Message, Purpose, Then, UnitState};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "wake", fold, propose, charge };

/// A clock that is set back by less is none of our business, seconds.
const CLOCK_TRIFLE_S: f64 = 60.0;
/// An undelivered wake is tried again after this long, seconds.
const RETRY_S: f64 = 60.0;

fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let Some((wake, kind)) = wake(context) else {
        if state.wake != Default::default() {
            state.wake = Default::default();
        }
        return;
    };
    let schedule = schedule(wake);
    if state.wake.schedule != schedule {
        state.wake.schedule = schedule;
        state.wake.due = next(context, wake, context.now.wall);
    }
    mend(context, wake, state);
    let Some(due) = state.wake.due else { return };
    let delivery = &context.unfolded.delivery;
    let failed = delivery.past.last().is_some_and(|past| {
        past.purpose == Purpose::Wake
            && matches!(past.outcome, DeliveryOutcome::Failed { .. })
            && state.wake.last.is_some_and(|last| past.at >= last)
            && due.since_s(past.at) > RETRY_S
    });
    if failed && delivery.current.is_none() {
        state.wake.due = delivery.past.last().map(|past| past.at.plus_s(RETRY_S));
    }
    if kind == AgentKind::Task && due <= context.now.wall && active(context, state) {
        notes.event(
            context.now.wall,
            Some(context.name),
            EventKind::Wake,
            "run skipped: the previous one is still active",
        );
        state.wake.due = next(context, wake, context.now.wall);
    }
}

/// A wall clock that was set back must not put a wake off by as much.
fn mend(context: &UnitContext<'_>, wake: &Wake, state: &mut UnitState) {
    let now = context.now.wall;
    let Some(due) = state.wake.due.filter(|due| *due > now) else { return };
    // Fired, or looked at, in what is the future now. Seconds are a clock's trifle: the same time must not fire twice.
    let fired_ahead = state.wake.last.is_none_or(|last| last.since_s(now) > CLOCK_TRIFLE_S);
    let (suspicious, at_most) = match &wake.when {
        WakeWhen::Interval { every_s } => (true, Some(now.plus_s(*every_s))),
        WakeWhen::Cron { .. } => (fired_ahead, if fired_ahead { next(context, wake, now) } else { None }),
    };
    if let Some(sooner) = at_most.filter(|at| suspicious && *at < due) {
        state.wake.due = Some(sooner);
    }
}

fn wake<'a>(context: &UnitContext<'a>) -> Option<(&'a Wake, AgentKind)> {
    let agent = context.agent()?;
    Some((agent.wake.as_ref()?, agent.kind))
}

fn schedule(wake: &Wake) -> String {
    format!("{:?}", wake.when)
}

fn next(context: &UnitContext<'_>, wake: &Wake, after: Wall) -> Option<Wall> {
    match &wake.when {
        WakeWhen::Interval { every_s } => Some(after.plus_s(*every_s)),
        WakeWhen::Cron { cron, tz } => cron.next_after(after, tz.as_deref().unwrap_or(&context.now.zone)),
    }
}

/// A task's run is going on: the process lives, and its turn is not over or has not begun, its prompt being on the way.
fn active(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let before = context.unfolded;
    let prompted = before.launch.kickoff == Kickoff::Done && before.delivery.current.is_none();
    let turn_over = matches!(
        state.seen.state,
        ScreenState::Idle | ScreenState::Error | ScreenState::Dead | ScreenState::Shell
    );
    state.seen.process.is_some() && !(turn_over && prompted)
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let Some((wake, kind)) = wake(context) else { return };
    let Some(due) = state.wake.due.filter(|_| context.is_wanted() && state.ending.is_none()) else { return };
    let late = context.now.wall.since_s(due);
    if late < 0.0 {
        return out.due_in(-late);
    }
    if let Some(why) = context.gate(state, Watch::Heal).or_else(|| context.account_held()) {
        return out.hold("wake", why);
    }
    if context.fleet.stage == Stage::Complete && kind != AgentKind::Persistent {
        return out.hold("wake", "the plan is complete: only persistent agents are woken");
    }
    if is_limited(context, state, kind) {
        return out.hold("wake", "deferred: it is limited");
    }
    let compared = vec![format!("due {due}, now {} ({late:.0} s late)", context.now.wall)];
    let why = Reason::new("wake.due", "its scheduled time has come", compared);
    match kind {
        AgentKind::Task => run(context, state, why, out),
        AgentKind::Loop | AgentKind::Persistent => prompt(context, state, wake, why, out),
    }
}

/// What runs finds out by its probe; a task that does not run asks nobody, its limit is over at its time.
fn is_limited(context: &UnitContext<'_>, state: &UnitState, kind: AgentKind) -> bool {
    let runs = kind != AgentKind::Task || context.alive().is_some();
    state.limit.active.as_ref().is_some_and(|limit| runs || context.now.wall < limit.until)
}

fn prompt(context: &UnitContext<'_>, state: &UnitState, wake: &Wake, why: Reason, out: &mut Proposals) {
    if context.alive().is_none() {
        return out.hold("wake", "it does not run");
    }
    if state.seen.state != ScreenState::Idle || state.delivery.current.is_some() {
        return out
            .hold("wake", format!("retried when it is idle (it is {:?})", state.seen.state).to_lowercase());
    }
    let message = Message { purpose: Purpose::Wake, text: guard_text::guarded(&wake.prompt), request: None };
    out.want(Claim::Wake, "wake", What::Deliver(message), why);
}

/// A task is run afresh: an ended one is started, one that sits idle after its turn is ended first.
fn run(context: &UnitContext<'_>, state: &UnitState, why: Reason, out: &mut Proposals) {
    match &context.seen.pane {
        PaneSeen::Alive(_) => {
            let end = ending(context, Then::Start, EndCause::Rerun, &why);
            out.want(Claim::Kill, "rerun", What::End(end), why);
        }
        PaneSeen::Dead { .. } | PaneSeen::Absent => {
            let Some(action) = launch::action(context, state) else { return };
            out.want(Claim::Start, "run", What::Act(action), why);
        }
        PaneSeen::Unknown => {}
    }
}

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    let Some((wake, _)) = wake(context) else { return };
    state.wake.last = Some(context.now.wall);
    state.wake.due = next(context, wake, context.now.wall);
    if granted.claim == Claim::Start {
        launch::charge(context, granted.origin, state);
    }
}

#[cfg(test)]
mod tests;

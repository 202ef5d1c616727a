//! Ends what runs: TERM to the whole tree, grace, KILL, and what comes after. Each step is a tick's own, committed by
//! itself. Deliberately not here: whether an end is deserved (stall, attend, operator).

use super::Policy;
use super::context::UnitContext;
use super::cooperation;
use super::launch;
use super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use crate::base::time::{Awake, human_s};
use crate::config::Watch;
use crate::model::action::{Action, Signal};
use crate::model::seen::{PaneSeen, Process, ScreenState};
use crate::state::unit::{EndCause, EndStep, Ending, Force, SymptomKind, Then, UnitState};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "ending", fold, propose, charge };

/// TERM is sent once more, with its whole grace, when it is not known whether it was sent at all.
const TERMS_MAX: u32 = 2;
/// A process that survives KILL this long is stuck in the kernel: KILL is sent again, and said.
const KILL_AGAIN_S: f64 = 10.0;

fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    launch::adopt(context, state);
    let Some(ending) = &mut state.ending else { return };
    let moved_on = ending.cause == EndCause::Phase
        && ending.step == EndStep::Wanted
        && !super::phase::is_behind(context, context.unfolded);
    if !context.unit.enabled || moved_on || (up_again(context, ending) && ending.step == EndStep::Wanted) {
        let text = format!("end called off: it is no longer wanted ({})", ending.why);
        notes.event(context.now.wall, Some(context.name), EventKind::State, text);
        state.ending = None;
        return;
    }
    if up_again(context, ending) {
        ending.then = Then::Start;
        ending.cause = EndCause::Ordered;
        let text = "wanted again: it is started after its end";
        notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    } else if ending.then == Then::Start && !context.is_wanted() {
        // Marked down while it was being restarted: the end goes on, the start does not follow.
        ending.then = Then::StayDown;
        ending.cause = EndCause::Down;
        let text = "marked down: it is not started after its end";
        notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    }
    if let Some(other) = replaced(context, ending) {
        if ending.cause == EndCause::Down {
            // The mark still stands: this one is ended too, from the beginning.
            ending.step = EndStep::Wanted;
            ending.since_awake_s = context.now.awake_s;
            ending.process = Some(other);
            return;
        }
        let text = format!("end called off: a person started another process in its pane ({})", ending.why);
        return call_off(context, state, notes, text);
    }
    let ended = context.is_gone() && context.seen.tree.as_ref().is_none_or(Vec::is_empty);
    // What follows the end of a process is its own policy's affair.
    let over = ending.then == Then::StayDown || context.unit.process().is_some();
    if over && ended {
        state.ending = None;
        notes.event(context.now.wall, Some(context.name), EventKind::State, "stopped");
        return;
    }
    if revived(context, ending) {
        let text =
            format!("end called off: it made progress while it was about to be ended ({})", ending.why);
        // It was not carried out: the ladder is not at its end because of it.
        if let Some(tier) = ending.tier {
            let was_last = state.ladder.tier >= context.unit.ladder.tiers.len();
            state.ladder.tier = tier;
            state.ladder.failed = state.ladder.failed.saturating_sub(u32::from(was_last));
        }
        call_off(context, state, notes, text);
    }
}

fn call_off(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes, text: String) {
    notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    state.ending = None;
    state.launch.afresh = false;
}

/// The process that lives in the pane, when it is not the one that is to end: we start none before the end is over.
fn replaced(context: &UnitContext<'_>, ending: &Ending) -> Option<Process> {
    let now = context.process()?;
    let signalled: &[Process] = match &ending.step {
        EndStep::Wanted => &[],
        EndStep::Termed { processes, .. } | EndStep::Killed { processes, .. } => processes,
    };
    let another = match ending.process {
        Some(meant) => meant != now,
        None => !signalled.is_empty(),
    };
    (another && !signalled.contains(&now)).then_some(now)
}

/// The stop is under way, and the unit is wanted again.
fn up_again(context: &UnitContext<'_>, ending: &Ending) -> bool {
    ending.then == Then::StayDown && context.is_wanted()
}

/// A kill that a policy concluded, not begun yet, of a unit that moved on any clock since: no proof any more.
fn revived(context: &UnitContext<'_>, ending: &Ending) -> bool {
    if ending.cause == EndCause::Remedy && ending.step == EndStep::Wanted {
        return super::process::moves_again(context);
    }
    let concluded = matches!(ending.cause, EndCause::Ladder | EndCause::Rerun) || ending.symptom.is_some();
    let not_begun = concluded && ending.step == EndStep::Wanted;
    let since = |at: Option<Awake>| at.is_some_and(|at| at >= ending.since_awake_s);
    let well = match ending.symptom {
        Some(SymptomKind::Silent) => since(cooperation::beat(context)),
        Some(SymptomKind::Stale) => cooperation::mismatch(context).is_none(),
        Some(SymptomKind::Stalled | SymptomKind::Hung) | None => {
            since(super::activity::last_change(context.clocks))
        }
    };
    not_begun && well && context.is_running()
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    match &state.ending {
        Some(ending) => step(context, state, ending, out),
        None => ordered(context, state, out),
    }
}

/// What the state remembers when an end begins.
pub fn begin(state: &mut UnitState, ending: Ending) {
    state.ending = Some(ending);
    state.stall.approved = false;
}

/// Ends that are ordered by a marker or a changed config.
fn ordered(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let in_pane = matches!(context.seen.pane, PaneSeen::Alive(_) | PaneSeen::Dead { .. });
    let here = in_pane || context.is_running();
    if !here || !context.unit.enabled {
        return;
    }
    if !context.is_wanted() {
        if let Some(why) =
            context.gate(state, Watch::None).filter(|_| context.blind().is_some() || state.seen.foreign)
        {
            return out.hold("stop", why);
        }
        if !super::process::may_end(context) {
            return out
                .hold("stop", "somebody else started it, and `allow_kill` is not set: it is left alone");
        }
        let marker = if context.fleet.down { "the fleet's `down` marker" } else { "its `down` marker" };
        let why = Reason::new("ending.down", format!("{marker} is set"), vec![]);
        let end = ending(context, Then::StayDown, EndCause::Down, &why);
        return out.asked(Claim::Order, "stop", What::End(end), why);
    }
    if launch::is_outdated(context, state) && context.alive().is_some() {
        if let Some(why) = context.gate(state, Watch::Heal) {
            return out.hold("restart", why);
        }
        if state.limit.active.is_some() {
            return out.hold("restart", "its config changed; it is limited and is restarted after that");
        }
        let why = Reason::new(
            "ending.config",
            "its command, directory or environment changed in the config",
            vec![],
        );
        let end = ending(context, Then::Start, EndCause::Changed, &why);
        out.want(Claim::Order, "restart", What::End(end), why);
    }
}

/// A new end.
pub fn ending(context: &UnitContext<'_>, then: Then, cause: EndCause, why: &Reason) -> Ending {
    Ending {
        then,
        cause,
        why: why.sentence(),
        step: EndStep::Wanted,
        since_awake_s: context.now.awake_s,
        process: context.process(),
        tier: None,
        symptom: None,
        force: Force::Term,
    }
}

fn step(context: &UnitContext<'_>, state: &UnitState, ending: &Ending, out: &mut Proposals) {
    let label = match ending.then {
        Then::StayDown => "stop",
        Then::Start => "restart",
    };
    let blocked = match ending.cause {
        EndCause::Down | EndCause::Ordered => context.blind(),
        EndCause::Changed | EndCause::Phase | EndCause::Ladder | EndCause::Rerun | EndCause::Remedy => {
            context.gate(state, Watch::Heal)
        }
    };
    if let Some(why) = blocked {
        return out.hold(label, why);
    }
    if let Some(action) = super::process::cancel(context) {
        return cancel(context, ending, action, out);
    }
    let left = context.seen.tree.clone();
    let alive = context.is_running();
    if !alive && left.as_ref().is_none_or(Vec::is_empty) {
        return close(context, ending, out);
    }
    match &ending.step {
        EndStep::Wanted => first(context, state, ending, label, left, out),
        EndStep::Termed { times, .. } if !context.seen.termed && *times < TERMS_MAX => {
            term(ending, left, "the watchdog was started anew, it may not have been sent", out);
        }
        EndStep::Termed { at_awake_s, .. } => {
            let passed = context.now.awake_s.since_s(*at_awake_s);
            let grace = context.unit.ladder.grace_s;
            if passed < grace {
                return out.due_in((grace - passed).clamp(0.2, 0.5));
            }
            kill(ending, left, format!("TERM was {passed:.0} s ago ≥ grace {grace:.0} s"), out);
        }
        EndStep::Killed { at_awake_s, .. } => {
            let passed = context.now.awake_s.since_s(*at_awake_s);
            if passed < KILL_AGAIN_S {
                return out.due_in(0.5);
            }
            kill(ending, left, format!("it survives KILL for {passed:.0} s"), out);
        }
    }
}

/// TERM; an ordered end first waits for the end of the turn.
fn first(
    context: &UnitContext<'_>,
    state: &UnitState,
    ending: &Ending,
    label: &str,
    tree: Option<Vec<Process>>,
    out: &mut Proposals,
) {
    let waited = context.now.awake_s.since_s(ending.since_awake_s);
    let grace = context.config.watchdog.advance_grace_s;
    let in_turn = context.agent().is_some() && state.seen.state == ScreenState::Busy;
    let patient = matches!(ending.cause, EndCause::Ordered | EndCause::Changed | EndCause::Phase);
    if patient && in_turn && waited < grace {
        out.due_in(1.0);
        let why =
            format!("waits for the end of its turn ({} of at most {})", human_s(waited), human_s(grace));
        return out.hold(label, why);
    }
    match ending.force {
        Force::Term => term(ending, tree, &ending.why, out),
        Force::Kill => kill_at_once(ending, tree, out),
    }
}

/// KILL without TERM: it was asked gently before. A disruption of its own, unlike the KILL that follows a TERM.
fn kill_at_once(ending: &Ending, tree: Option<Vec<Process>>, out: &mut Proposals) {
    let Some(processes) = tree.filter(|tree| !tree.is_empty()) else { return out.due_in(0.2) };
    let text = format!("{}: KILL to {} processes, deepest first", ending.why, processes.len());
    let why = Reason::new("ending.kill", text, vec!["TERM was a tier before".to_owned()]);
    out.want(Claim::Kill, "kill", What::Act(Action::Signal { processes, signal: Signal::Kill }), why);
}

fn term(ending: &Ending, tree: Option<Vec<Process>>, because: &str, out: &mut Proposals) {
    let Some(processes) = tree.filter(|tree| !tree.is_empty()) else { return out.due_in(0.2) };
    let text = format!("{because}: TERM to {} processes, deepest first", processes.len());
    let why = Reason::new("ending.term", text, vec![]);
    propose_signal(ending, processes, Signal::Term, "terminate", why, out);
}

fn kill(ending: &Ending, tree: Option<Vec<Process>>, compared: String, out: &mut Proposals) {
    let Some(processes) = tree.filter(|tree| !tree.is_empty()) else { return out.due_in(0.2) };
    let seen = format!("{} of its processes are left after TERM", processes.len());
    let why = Reason::new("ending.kill", seen, vec![compared]);
    propose_signal(ending, processes, Signal::Kill, "kill", why, out);
}

fn propose_signal(
    ending: &Ending,
    processes: Vec<Process>,
    signal: Signal,
    label: &str,
    why: Reason,
    out: &mut Proposals,
) {
    let what = What::Act(Action::Signal { processes, signal });
    match ending.cause {
        EndCause::Down | EndCause::Ordered => out.asked(Claim::End, label, what, why),
        EndCause::Changed | EndCause::Phase | EndCause::Ladder | EndCause::Rerun | EndCause::Remedy => {
            out.want(Claim::End, label, what, why);
        }
    }
}

/// A run of another host is ended by that host, which has its own TERM, grace and KILL.
fn cancel(context: &UnitContext<'_>, ending: &Ending, action: Action, out: &mut Proposals) {
    let asked = match &ending.step {
        EndStep::Wanted => None,
        EndStep::Termed { at_awake_s, .. } | EndStep::Killed { at_awake_s, .. } => Some(*at_awake_s),
    };
    let wait = context.unit.ladder.grace_s + KILL_AGAIN_S;
    if let Some(left) = asked.map(|at| wait - context.now.awake_s.since_s(at)).filter(|left| *left > 0.0) {
        return out.due_in(left.min(1.0));
    }
    let why = Reason::new("ending.cancel", format!("{}: its host is told to end it", ending.why), vec![]);
    match ending.cause {
        EndCause::Down | EndCause::Ordered => out.asked(Claim::End, "cancel", What::Act(action), why),
        EndCause::Changed | EndCause::Phase | EndCause::Ladder | EndCause::Rerun | EndCause::Remedy => {
            out.want(Claim::End, "cancel", What::Act(action), why);
        }
    }
}

/// All its processes are gone: close the kept pane of a unit that stays down. A start is the restart policy's.
fn close(context: &UnitContext<'_>, ending: &Ending, out: &mut Proposals) {
    let PaneSeen::Dead { pane, .. } = &context.seen.pane else { return };
    if ending.then == Then::Start {
        return;
    }
    let action = Action::KillSession { session: context.unit.session.clone(), pane: pane.clone() };
    let why = Reason::new("ending.close", format!("{}; all its processes are gone", ending.why), vec![]);
    out.asked(Claim::End, "close session", What::Act(action), why);
}

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    let at_awake_s = context.now.awake_s;
    match &granted.what {
        What::Act(Action::Signal { processes, signal }) => {
            let Some(ending) = &mut state.ending else { return };
            let processes = processes.clone();
            let before = match &ending.step {
                EndStep::Termed { times, .. } => *times,
                EndStep::Wanted | EndStep::Killed { .. } => 0,
            };
            ending.step = match signal {
                Signal::Term => EndStep::Termed { at_awake_s, processes, times: before.saturating_add(1) },
                Signal::Kill => EndStep::Killed { at_awake_s, processes },
            };
        }
        What::Act(Action::CancelRun { .. }) => {
            let Some(ending) = &mut state.ending else { return };
            ending.step = EndStep::Termed { at_awake_s, processes: Vec::new(), times: 1 };
        }
        What::Act(_) | What::Deliver(_) | What::End(_) => {}
    }
}

#[cfg(test)]
mod tests;

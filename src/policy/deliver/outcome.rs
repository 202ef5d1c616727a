//! What became of a text: taken, lost with its process, stepped aside for a limit, obsolete, or failed.
//!
//! Deliberately not here: what is typed next (typing).

use super::super::context::UnitContext;
use super::super::guard_text;
use super::super::proposal::{EventKind, Notes, Origin};
use super::{
    EFFECT_LINE_S, EFFECT_S, ENDED_BEFORE, LIMITED, PAST_MAX, PRESS_AGAIN_S, PRESSES_MAX, PROBE_STALE_S,
    RESTS, SHOWN_S, STALE_S, TRIES_MAX, WORKS_AGAIN, origin, rests,
};
use crate::base::text::one_line;
use crate::base::time::human_s;
use crate::config::backend::Frame;
use crate::model::seen::{AlivePane, ScreenState};
use crate::state::mail::Level;
use crate::state::unit::{
    Delivery, DeliveryOutcome, DeliveryStep, Kickoff, PastDelivery, Purpose, UnitState,
};

pub(super) fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let Some(delivery) = state.delivery.current.clone() else { return };
    if state.seen.process.is_none() && state.seen.state == ScreenState::Dead {
        return lost_process(context, state, delivery, notes);
    }
    let Some(pane) = context.alive() else { return };
    if delivery.process.is_some() && delivery.process != context.process() {
        return lost_process(context, state, delivery, notes);
    }
    if delivery.tries >= TRIES_MAX && not_taken(context, &delivery) {
        let said = context.seen.failed.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let why = format!("tmux did not take it in {TRIES_MAX} tries{said}");
        return finish(context, state, delivery, DeliveryOutcome::Failed { why }, notes);
    }
    // The first prompt for a phase that is over meanwhile: what is started anew gets the one of the phase in force.
    let over = delivery.message.purpose == Purpose::Kickoff
        && super::super::phase::is_behind(context, context.unfolded);
    if over || (context.unfolded.limit.active.is_some() && delivery.message.purpose != Purpose::Probe) {
        match delivery.step {
            DeliveryStep::Wanted | DeliveryStep::Loaded { .. } | DeliveryStep::Pasted { .. } => {
                return step_aside(context, state, delivery, notes);
            }
            DeliveryStep::Submitted { .. } => {}
        }
    }
    let begun = matches!(delivery.step, DeliveryStep::Submitted { .. });
    if !begun && rests(context) && origin(context.unfolded, &delivery.message) == Origin::Policy {
        if delivery.message.purpose == Purpose::Kickoff {
            state.delivery.current = None;
            return;
        }
        return finish(context, state, delivery, DeliveryOutcome::Failed { why: RESTS.to_owned() }, notes);
    }
    match &delivery.step {
        DeliveryStep::Wanted | DeliveryStep::Loaded { .. } => obsolete(context, state, delivery, notes),
        DeliveryStep::Pasted { at_awake_s, .. } => {
            let passed = context.now.awake_s.since_s(*at_awake_s);
            let shown = shows(pane, &delivery.message.text);
            if context.seen.buffer == Some(false) && passed > SHOWN_S && shown == Shown::No {
                let why = format!("the pasted text did not show in the composer within {SHOWN_S:.0} s");
                finish(context, state, delivery, DeliveryOutcome::Failed { why }, notes);
            }
        }
        DeliveryStep::Submitted { at_awake_s, presses, content } => {
            let passed = context.now.awake_s.since_s(*at_awake_s);
            match verdict(context, pane, &delivery, content, passed, *presses) {
                Verdict::Seen => finish(context, state, delivery, DeliveryOutcome::Seen, notes),
                Verdict::Failed(why) => {
                    finish(context, state, delivery, DeliveryOutcome::Failed { why }, notes);
                }
                Verdict::Wait | Verdict::Press => {}
            }
        }
    }
}

/// What tmux was last told to do with the text did not happen.
pub(super) fn not_taken(context: &UnitContext<'_>, delivery: &Delivery) -> bool {
    match (&delivery.step, context.seen.buffer) {
        (DeliveryStep::Loaded { .. }, Some(false)) | (DeliveryStep::Pasted { .. }, Some(true)) => true,
        (DeliveryStep::Loaded { .. } | DeliveryStep::Pasted { .. }, _)
        | (DeliveryStep::Wanted | DeliveryStep::Submitted { .. }, _) => false,
    }
}

/// The process that was to read it is gone. What it had not been given waits for the next one; what it had is over.
fn lost_process(context: &UnitContext<'_>, state: &mut UnitState, mut delivery: Delivery, notes: &mut Notes) {
    match (&delivery.step, delivery.message.purpose) {
        (DeliveryStep::Submitted { .. }, Purpose::Ping) => {
            let why =
                "its process ended right after the submit key: not known whether it was read".to_owned();
            finish(context, state, delivery, DeliveryOutcome::Unknown { why }, notes);
        }
        // The handoff keeps what it owes, for the next process, after its first prompt.
        (_, Purpose::Kickoff | Purpose::Nudge | Purpose::Continue | Purpose::Probe | Purpose::Ping) => {
            let why = ENDED_BEFORE.to_owned();
            finish(context, state, delivery, DeliveryOutcome::Failed { why }, notes);
        }
        (DeliveryStep::Submitted { .. }, Purpose::Wake | Purpose::Operator | Purpose::Report) => {
            let why =
                "its process ended right after the submit key: not known whether it was read".to_owned();
            finish(context, state, delivery, DeliveryOutcome::Unknown { why }, notes);
        }
        (DeliveryStep::Wanted, _) => {}
        (DeliveryStep::Loaded { .. } | DeliveryStep::Pasted { .. }, _) => {
            delivery.step = DeliveryStep::Wanted;
            delivery.process = None;
            (delivery.tries, delivery.clears) = (0, 0);
            state.delivery.current = Some(delivery);
        }
    }
}

/// A limit came in between: the text waits until it is over, or it would stand in the way of the probe that ends the
/// limit. What was pasted already was not submitted; it is cleared as our own stale text before the next paste.
fn step_aside(context: &UnitContext<'_>, state: &mut UnitState, delivery: Delivery, notes: &mut Notes) {
    match delivery.message.purpose {
        Purpose::Operator | Purpose::Report => {
            state.delivery.current = None;
            state.delivery.queue.insert(0, delivery.message);
        }
        // It is still due.
        Purpose::Kickoff => state.delivery.current = None,
        Purpose::Nudge | Purpose::Continue | Purpose::Probe | Purpose::Wake | Purpose::Ping => {
            let why = LIMITED.to_owned();
            finish(context, state, delivery, DeliveryOutcome::Failed { why }, notes);
        }
    }
}

/// A reminder to somebody who works again, or one that could not be typed for an hour.
fn obsolete(context: &UnitContext<'_>, state: &mut UnitState, delivery: Delivery, notes: &mut Notes) {
    let purpose = delivery.message.purpose;
    let waited = context.now.awake_s.since_s(delivery.since_awake_s);
    let moved =
        super::super::activity::last_change(context.clocks).is_some_and(|at| at > delivery.since_awake_s);
    let works = matches!(purpose, Purpose::Nudge | Purpose::Continue)
        && state.seen.state == ScreenState::Busy
        && moved;
    let patience = match purpose {
        Purpose::Operator | Purpose::Report | Purpose::Kickoff => f64::INFINITY,
        // Others of the account wait for its answer.
        Purpose::Probe => PROBE_STALE_S,
        Purpose::Nudge | Purpose::Continue | Purpose::Wake | Purpose::Ping => STALE_S,
    };
    if works || waited > patience {
        let why = if works {
            WORKS_AGAIN.to_owned()
        } else {
            format!("it could not be typed for {}", human_s(patience))
        };
        finish(context, state, delivery, DeliveryOutcome::Failed { why }, notes);
    }
}

/// Where a pasted text shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Yes,
    No,
    /// The CLI draws no composer now (it streams): nothing can be said.
    NoComposer,
}

pub(super) fn shows(pane: &AlivePane, text: &str) -> Shown {
    match &pane.reading.composer {
        Some(composer) if guard_text::is_ours(composer, text) => Shown::Yes,
        Some(_) => Shown::No,
        None => Shown::NoComposer,
    }
}

pub(super) enum Verdict {
    Seen,
    Press,
    Wait,
    Failed(String),
}

pub(super) fn verdict(
    context: &UnitContext<'_>,
    pane: &AlivePane,
    delivery: &Delivery,
    content: &str,
    passed: f64,
    presses: u32,
) -> Verdict {
    let delay = context.agent().map_or(0.5, |agent| agent.backend.submit_delay_s);
    // A line editor takes a line at the first press, and keeps a second one for the question that it asks next. A line
    // that shows after all that time was never submitted: the watchdog died before it pressed.
    let line = context.agent().is_some_and(|agent| agent.backend.signals.frame == Frame::Line);
    let (presses_max, again_s, effect_s) = if line {
        (2, EFFECT_LINE_S, EFFECT_LINE_S)
    } else {
        (PRESSES_MAX, PRESS_AGAIN_S * f64::from(presses), EFFECT_S)
    };
    if passed < delay {
        return Verdict::Wait;
    }
    let shown = shows(pane, &delivery.message.text);
    if super::dialog(pane).is_some() && shown != Shown::Yes {
        return Verdict::Seen; // Its turn began and asks already.
    }
    // A tool in the foreground looks like a shell for a moment: what does not show then is not gone.
    if pane.reading.state == ScreenState::Shell && passed < effect_s {
        return Verdict::Wait;
    }
    match shown {
        Shown::Yes if passed < again_s => Verdict::Wait,
        Shown::Yes if presses < presses_max => Verdict::Press,
        Shown::Yes if passed < effect_s => Verdict::Wait,
        Shown::Yes => Verdict::Failed(format!(
            "the text stays in the composer after {presses} presses of the submit key"
        )),
        Shown::No | Shown::NoComposer
            if pane.reading.state == ScreenState::Busy || pane.reading.content != content =>
        {
            Verdict::Seen
        }
        Shown::No | Shown::NoComposer if passed < effect_s => Verdict::Wait,
        Shown::No | Shown::NoComposer => {
            Verdict::Failed(format!("nothing changed within {effect_s:.0} s of the submit key"))
        }
    }
}

fn finish(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    delivery: Delivery,
    outcome: DeliveryOutcome,
    notes: &mut Notes,
) {
    state.delivery.current = None;
    let purpose = delivery.message.purpose;
    if purpose == Purpose::Kickoff {
        state.launch.kickoff = Kickoff::Done;
    }
    let text = one_line(&delivery.message.text, 60);
    let word = format!("{purpose:?}").to_lowercase();
    let words = match &outcome {
        DeliveryOutcome::Seen => format!("delivered ({word}): {text}"),
        DeliveryOutcome::Failed { why } => {
            format!("not delivered ({word}): {why}; text: {text}")
        }
        DeliveryOutcome::Unknown { why } => {
            format!("perhaps not delivered ({word}): {why}; text: {text}")
        }
    };
    if is_news(purpose, &outcome) {
        let alert = format!("text for `{}` was {words}", context.name);
        state.owe(context.name.as_str(), context.now.wall, Level::Warning, alert);
    }
    notes.event(context.now.wall, Some(context.name), EventKind::Delivery, words);
    notes.due_in(0.5); // Others wait for how it ended, and learn it at the next tick.
    record(context, state, delivery, outcome);
}

/// Should people hear how it ended? A probe is tried again anyway; the limit policy speaks for it.
fn is_news(purpose: Purpose, outcome: &DeliveryOutcome) -> bool {
    match outcome {
        DeliveryOutcome::Seen => false,
        DeliveryOutcome::Unknown { .. } => true,
        DeliveryOutcome::Failed { why } => {
            let quiet = [WORKS_AGAIN, ENDED_BEFORE, LIMITED, RESTS].contains(&why.as_str());
            // The handoff speaks for its pings.
            !matches!(purpose, Purpose::Probe | Purpose::Ping) && !quiet
        }
    }
}

fn record(context: &UnitContext<'_>, state: &mut UnitState, delivery: Delivery, outcome: DeliveryOutcome) {
    state.delivery.past.push(PastDelivery {
        id: delivery.id,
        purpose: delivery.message.purpose,
        request: delivery.message.request,
        at: context.now.wall,
        outcome,
    });
    if state.delivery.past.len() > PAST_MAX {
        state.delivery.past.remove(0);
    }
}

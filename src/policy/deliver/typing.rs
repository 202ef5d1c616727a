//! What is typed next, and whether it may be now: SPEC 6.3's list of holds, and the steps of a delivery under way.
//!
//! Deliberately not here: what became of a text (outcome).

use super::super::context::UnitContext;
use super::super::guard_text;
use super::super::proposal::{Claim, Origin, Proposals, Reason, What};
use super::outcome::{Shown, Verdict, not_taken, shows, verdict};
use super::{CLEARS_MAX, READY_S, buffer, origin, rests};
use crate::config::{Agent, Watch};
use crate::model::action::Action;
use crate::model::seen::{AlivePane, ScreenState, Substate};
use crate::state::unit::{Delivery, DeliveryStep, Kickoff, Message, Purpose, UnitState};

/// The dialog that is open, in words.
pub fn dialog(pane: &AlivePane) -> Option<&'static str> {
    match (pane.reading.state, pane.reading.substate) {
        (ScreenState::Blocked, _) => Some("a permission dialog or question is open: Enter would answer it"),
        (ScreenState::Onboarding, _) => Some("a start-up dialog is open: Enter would answer it"),
        (ScreenState::Limited, Some(Substate::Menu)) => Some("the limit menu is open: Enter would choose"),
        (
            ScreenState::Starting
            | ScreenState::Idle
            | ScreenState::Draft
            | ScreenState::Busy
            | ScreenState::Limited
            | ScreenState::Error
            | ScreenState::Dead
            | ScreenState::Shell
            | ScreenState::Unknown,
            _,
        ) => None,
    }
}

/// The buffer of a delivery that ended before it was pasted.
fn drop_leftover(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let current = state.delivery.current.as_ref().map(|delivery| delivery.id);
    let Some(id) = context.seen.buffers.iter().find(|id| Some(**id) != current) else { return };
    // Nothing hangs on it: after a failure it waits for the next look, and who only observes does not hear of it.
    let held = context.gate(state, Watch::None).is_some() || context.config.watchdog.observe_only;
    if held || !context.is_wanted() || context.seen.failed.is_some() {
        return;
    }
    let buffer = buffer(context.config, context.name, *id);
    let why = Reason::new("deliver.leftover", format!("delivery {id} is over, its buffer is left"), vec![]);
    out.want(Claim::Tidy, "drop buffer", What::Act(Action::DropBuffer { buffer }), why);
}

pub(super) fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    drop_leftover(context, state, out);
    // Nothing more is typed into what is to be stopped.
    let Some(agent) = context.agent().filter(|_| context.is_wanted()) else { return };
    let Some(delivery) = &state.delivery.current else { return next(context, state, agent, out) };
    let origin = origin(state, &delivery.message);
    let label = format!("type ({:?})", delivery.message.purpose).to_lowercase();
    if state.ending.is_some() {
        return;
    }
    // The first prompt belongs to the start, and a unit that is only looked at is started all the same.
    let least = if delivery.message.purpose == Purpose::Kickoff { Watch::None } else { Watch::Heal };
    let gate = match origin {
        Origin::Policy => context.gate(state, least),
        Origin::Person => context.fleet.blind.clone().map(|why| format!("blind: {why}")),
    };
    if let Some(why) = gate {
        return out.hold(&label, why);
    }
    let Some(pane) = context.alive() else {
        return out.hold(&label, "its pane is dead or gone");
    };
    match typable(context, state, pane, delivery) {
        Typable::Yes => step(context, agent, pane, delivery, origin, out),
        Typable::Clear => {
            let why = Reason::new("deliver.clear", "an older text of ours stands in the composer", vec![]);
            let keys = agent.backend.clear_keys.clone();
            push(out, origin, "clear composer", Action::Keys { pane: pane.pane.clone(), keys }, why);
        }
        Typable::LeaveMode => {
            if let Some(why) = context.stays_in_mode(state, out) {
                return out.hold(&label, why);
            }
            let why =
                Reason::new("deliver.leave_mode", "copy mode swallows keys, and nobody is attached", vec![]);
            push(out, origin, "leave copy mode", Action::LeaveMode { pane: pane.pane.clone() }, why);
        }
        Typable::Hold(why) => {
            // What was begun is finished soon; what waits for a person can wait for the next look.
            let soon = delivery.step != DeliveryStep::Wanted || pane.reading.state == ScreenState::Starting;
            if soon || context.person_types().is_some() {
                out.due_in(2.0);
            }
            out.hold(&label, why);
        }
    }
}

enum Typable {
    Yes,
    Clear,
    LeaveMode,
    Hold(String),
}

/// May keys be sent to this pane for this delivery now? (SPEC 6.3's list of holds.)
fn typable(context: &UnitContext<'_>, state: &UnitState, pane: &AlivePane, delivery: &Delivery) -> Typable {
    let hold = |why: &str| Typable::Hold(why.to_owned());
    if let Some(why) = dialog(pane) {
        return hold(why);
    }
    if pane.reading.overlay {
        return hold("a viewer or picker covers the screen");
    }
    match pane.reading.state {
        ScreenState::Starting => return hold("its screen is not ready yet"),
        ScreenState::Unknown => return hold("its screen can't be read"),
        ScreenState::Shell => return hold("its CLI left, a shell would run the text"),
        ScreenState::Dead => return hold("it is dead"),
        ScreenState::Limited if delivery.message.purpose != Purpose::Probe => return hold("it is limited"),
        ScreenState::Limited
        | ScreenState::Idle
        | ScreenState::Draft
        | ScreenState::Busy
        | ScreenState::Error
        | ScreenState::Onboarding
        | ScreenState::Blocked => {}
    }
    if let Some(why) = context.person_types() {
        return Typable::Hold(why);
    }
    if pane.in_mode {
        return if pane.attached == 0 {
            Typable::LeaveMode
        } else {
            hold("copy mode, and a person is attached")
        };
    }
    let before_paste = matches!(delivery.step, DeliveryStep::Wanted | DeliveryStep::Loaded { .. })
        || (matches!(delivery.step, DeliveryStep::Pasted { .. }) && context.seen.buffer == Some(true));
    if !before_paste {
        return Typable::Yes;
    }
    // Without one nobody reads: what aider or a shell gets while it works is run line by line afterwards.
    let Some(composer) = pane.reading.composer.as_deref() else {
        return hold("it shows no composer to type into");
    };
    if composer.is_empty() {
        return Typable::Yes;
    }
    let stale =
        !state.delivery.last_text.is_empty() && guard_text::is_ours(composer, &state.delivery.last_text);
    match (stale, delivery.clears < CLEARS_MAX) {
        (true, true) => Typable::Clear,
        (true, false) => hold("an older text of ours stands in the composer and can't be cleared"),
        (false, _) => hold("a person's draft stands in the composer"),
    }
}

fn step(
    context: &UnitContext<'_>,
    agent: &Agent,
    pane: &AlivePane,
    delivery: &Delivery,
    origin: Origin,
    out: &mut Proposals,
) {
    let buffer = buffer(context.config, context.name, delivery.id);
    let id = delivery.id;
    let load = |out: &mut Proposals, seen: &str| {
        let action = Action::LoadBuffer { buffer: buffer.clone(), text: delivery.message.text.clone() };
        push(
            out,
            origin,
            "load text",
            action,
            Reason::new("deliver.load", format!("delivery {id}: {seen}"), vec![]),
        );
    };
    let paste = |out: &mut Proposals, seen: &str| {
        let action = Action::Paste { pane: pane.pane.clone(), buffer: buffer.clone() };
        push(
            out,
            origin,
            "paste text",
            action,
            Reason::new("deliver.paste", format!("delivery {id}: {seen}"), vec![]),
        );
    };
    if let DeliveryStep::Loaded { at_awake_s } | DeliveryStep::Pasted { at_awake_s, .. } = &delivery.step
        && not_taken(context, delivery)
    {
        // Each try waits longer for tmux than the one before.
        let left = f64::from(delivery.tries) * 0.5 - context.now.awake_s.since_s(*at_awake_s);
        if left > 0.0 {
            return out.due_in(left);
        }
    }
    match (&delivery.step, context.seen.buffer) {
        (DeliveryStep::Wanted, _) => load(out, "composer is free"),
        (DeliveryStep::Loaded { .. }, Some(true)) => paste(out, "buffer is there"),
        (DeliveryStep::Loaded { .. }, Some(false)) => load(out, "its buffer is gone and it was not pasted"),
        (DeliveryStep::Pasted { .. }, Some(true)) => {
            paste(out, "the buffer is still there: the paste did not happen");
        }
        (DeliveryStep::Pasted { at_awake_s, .. }, Some(false)) => {
            let passed = context.now.awake_s.since_s(*at_awake_s);
            let delay = agent.backend.submit_delay_s;
            if passed < delay {
                return out.due_in(delay - passed);
            }
            match shows(pane, &delivery.message.text) {
                Shown::Yes | Shown::NoComposer => {
                    submit(agent, pane, delivery, origin, "the text shows, no dialog is open", out);
                }
                Shown::No => out.due_in(0.5),
            }
        }
        (DeliveryStep::Submitted { at_awake_s, presses, content }, _) => {
            let passed = context.now.awake_s.since_s(*at_awake_s);
            match verdict(context, pane, delivery, content, passed, *presses) {
                Verdict::Press => {
                    submit(agent, pane, delivery, origin, "the text still stands in the composer", out);
                }
                Verdict::Wait => out.due_in(0.5),
                Verdict::Seen | Verdict::Failed(_) => {}
            }
        }
        (DeliveryStep::Loaded { .. } | DeliveryStep::Pasted { .. }, None) => out.due_in(0.5),
    }
}

fn submit(
    agent: &Agent,
    pane: &AlivePane,
    delivery: &Delivery,
    origin: Origin,
    seen: &str,
    out: &mut Proposals,
) {
    let busy = pane.reading.state == ScreenState::Busy;
    let key = match &agent.backend.queue_key {
        Some(queue) if busy => queue.clone(),
        Some(_) | None => agent.backend.submit_key.clone(),
    };
    let why = Reason::new("deliver.submit", format!("delivery {}: {seen}; key {key}", delivery.id), vec![]);
    let action = Action::Keys { pane: pane.pane.clone(), keys: vec![key] };
    push(out, origin, "submit text", action, why);
}

fn push(out: &mut Proposals, origin: Origin, label: &str, action: Action, why: Reason) {
    match origin {
        Origin::Person => out.asked(Claim::Deliver, label, What::Act(action), why),
        Origin::Policy => out.want(Claim::Deliver, label, What::Act(action), why),
    }
}

/// Nothing is under way: the kickoff first, then what waits.
fn next(context: &UnitContext<'_>, state: &UnitState, agent: &Agent, out: &mut Proposals) {
    if context.alive().is_none() || state.ending.is_some() || state.seen.process.is_none() {
        return;
    }
    let waits = state.launch.kickoff != Kickoff::Done || !state.delivery.queue.is_empty();
    if waits && let Some(limit) = &state.limit.active {
        return out.hold("type", format!("it is limited until {}", limit.until));
    }
    // A policy's text that rests with its agent is in nobody's way.
    let rests = rests(context);
    if state.launch.kickoff == Kickoff::Ordered || (state.launch.kickoff == Kickoff::Due && !rests) {
        return kickoff(context, state, agent, out);
    }
    let mut waiting = state.delivery.queue.iter();
    let Some(message) = waiting.find(|text| !rests || text.request.is_some()).cloned() else { return };
    // Not every limit can be seen for as long as it holds: gemini shows only a menu, and that was closed.
    if state.seen.state == ScreenState::Limited || state.limit.active.is_some() {
        return out.hold("type what waits", "it is limited");
    }
    match message.purpose {
        Purpose::Operator => {
            let why = Reason::new("deliver.operator", "a person asked for it", vec![]);
            out.asked(Claim::Operator, "nudge", What::Deliver(message), why);
        }
        Purpose::Report
        | Purpose::Kickoff
        | Purpose::Nudge
        | Purpose::Continue
        | Purpose::Probe
        | Purpose::Wake
        | Purpose::Ping => {
            if let Some(why) = context.gate(state, Watch::Heal) {
                return out.hold("report", why);
            }
            let why = Reason::new("deliver.report", "news of a unit that it is the parent of", vec![]);
            out.want(Claim::Report, "report", What::Deliver(message), why);
        }
    }
}

/// The first prompt of a start; a pause does not hold the one of a start that a person ordered.
fn kickoff(context: &UnitContext<'_>, state: &UnitState, agent: &Agent, out: &mut Proposals) {
    if state.seen.state != ScreenState::Idle {
        // Its screen comes up in seconds; who takes longer is looked at once an interval.
        let age = state.launch.at_awake_s.map_or(f64::INFINITY, |at| context.now.awake_s.since_s(at));
        if age < READY_S {
            out.due_in(1.0);
        }
        return;
    }
    if super::super::phase::is_behind(context, state) {
        return; // It is started anew, for the phase in force.
    }
    let text = guard_text::guarded(&super::super::kickoff::text(context, agent));
    let why = Reason::new("deliver.kickoff", "it was started and its composer is ready", vec![]);
    let what = What::Deliver(Message { purpose: Purpose::Kickoff, text, request: None });
    if state.launch.kickoff == Kickoff::Ordered {
        return out.asked(Claim::Kickoff, "kickoff", what, why);
    }
    match context.gate(state, Watch::None).or_else(|| context.account_held()) {
        Some(held) => out.hold("type (kickoff)", held),
        None => out.want(Claim::Kickoff, "kickoff", what, why),
    }
}

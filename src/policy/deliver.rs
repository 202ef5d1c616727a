//! Types text into a pane, exactly once: wanted → loaded → pasted → submitted → seen, each step a tick's own.
//!
//! Across a crash the named tmux buffer tells where a delivery stands: still there = not pasted, gone = pasted. After
//! that only keys are pressed, never a second paste. Deliberately not here: what is said and when (the other policies).

use super::Policy;
use super::context::UnitContext;
use super::guard_text;
use super::proposal::{Claim, EventKind, Notes, Origin, Proposal, Proposals, Reason, What};
use crate::base::names::UnitName;
use crate::base::text::{digest, one_line};
use crate::base::time::human_s;
use crate::config::backend::Frame;
use crate::config::{Agent, Config, Watch};
use crate::model::action::Action;
use crate::model::seen::{AlivePane, ScreenState, Substate};
use crate::state::mail::Level;
use crate::state::unit::{
    Delivery, DeliveryOutcome, DeliveryStep, Kickoff, Message, PastDelivery, Purpose, UnitState,
};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "deliver", fold, propose, charge };

/// Most presses of the submit key for one text.
pub const PRESSES_MAX: u32 = 3;
/// A text that still shows after a press is submitted again after this long, seconds, then after twice that. Not sooner: a slow CLI (aider)
/// leaves the submitted line where it stood for a moment, and a press too many answers the question that comes next.
const PRESS_AGAIN_S: f64 = 3.0;
/// A pasted text must show within this time, seconds.
const SHOWN_S: f64 = 10.0;
/// A submitted text must have an effect within this time, seconds.
const EFFECT_S: f64 = 30.0;
/// The same in a line editor, which may show its line until the turn begins: aider's first turn on a busy machine took 45.
const EFFECT_LINE_S: f64 = 120.0;
/// A policy's text that could not be typed for this long is stale, seconds; a person's waits for ever.
const STALE_S: f64 = 3600.0;
/// A probe that could not be typed for this long is given up, seconds: another unit asks for the account.
const PROBE_STALE_S: f64 = 60.0;
/// A CLI that was started is looked at often for so long, seconds.
const READY_S: f64 = 60.0;
/// Times that tmux is told to load or to paste one text.
const TRIES_MAX: u32 = 6;
/// Times that a stale text of ours is cleared away: C-u takes one line.
const CLEARS_MAX: u32 = 5;
/// Why a text is not needed any more, or has nobody to read it: no news for people.
const WORKS_AGAIN: &str = "it works again";
const ENDED_BEFORE: &str = "its process ended before";
const LIMITED: &str = "it became limited";
const RESTS: &str = "the plan is complete";
/// Buffers of one unit that are looked at in one tick.
const BUFFERS_MAX: usize = 20;
/// Ended deliveries remembered.
const PAST_MAX: usize = 20;
/// Texts waiting, at most.
pub const QUEUE_MAX: usize = 50;
/// And this many bytes of them: unit.json holds them, and a state file is read up to 4 MiB.
pub const QUEUE_BYTES_MAX: usize = 256 << 10;

/// Name of the tmux buffer of a delivery: unique on the whole server.
pub fn buffer(config: &Config, unit: &UnitName, id: u64) -> String {
    let fleet = digest(config.state_dir.to_string_lossy().as_bytes());
    format!("wk-{}-{unit}-{id}", &fleet[..8])
}

/// The numbers of a unit's deliveries whose buffers are among these.
pub fn buffered(config: &Config, unit: &UnitName, names: &[String]) -> Vec<u64> {
    let mut found = Vec::new();
    for name in names.iter().filter(|name| name.starts_with("wk-")) {
        let id = name.rsplit_once('-').and_then(|(_, id)| id.parse().ok());
        found.extend(id.filter(|id| *name == buffer(config, unit, *id)));
        if found.len() >= BUFFERS_MAX {
            break;
        }
    }
    found
}

/// Begins a delivery.
pub fn begin(context: &UnitContext<'_>, state: &mut UnitState, message: Message) {
    if let Some(place) = state.delivery.queue.iter().position(|queued| *queued == message) {
        state.delivery.queue.remove(place);
    }
    state.delivery.count = state.delivery.count.saturating_add(1);
    state.delivery.current = Some(Delivery {
        id: state.delivery.count,
        message,
        step: DeliveryStep::Wanted,
        since_awake_s: context.now.awake_s,
        process: None,
        tries: 0,
        clears: 0,
    });
}

fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
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
    let over =
        delivery.message.purpose == Purpose::Kickoff && super::phase::is_behind(context, context.unfolded);
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

/// Its work is done: nothing but what people say is typed.
fn rests(context: &UnitContext<'_>) -> bool {
    super::phase::rests(context).is_some()
}

/// What tmux was last told to do with the text did not happen.
fn not_taken(context: &UnitContext<'_>, delivery: &Delivery) -> bool {
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
    let moved = super::activity::last_change(context.clocks).is_some_and(|at| at > delivery.since_awake_s);
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
enum Shown {
    Yes,
    No,
    /// The CLI draws no composer now (it streams): nothing can be said.
    NoComposer,
}

fn shows(pane: &AlivePane, text: &str) -> Shown {
    match &pane.reading.composer {
        Some(composer) if guard_text::is_ours(composer, text) => Shown::Yes,
        Some(_) => Shown::No,
        None => Shown::NoComposer,
    }
}

enum Verdict {
    Seen,
    Press,
    Wait,
    Failed(String),
}

fn verdict(
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
    if dialog(pane).is_some() && shown != Shown::Yes {
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

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
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

fn origin(state: &UnitState, message: &Message) -> Origin {
    let ordered = message.purpose == Purpose::Kickoff && state.launch.kickoff == Kickoff::Ordered;
    if ordered || message.request.is_some() { Origin::Person } else { Origin::Policy }
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
    if super::phase::is_behind(context, state) {
        return; // It is started anew, for the phase in force.
    }
    let text = guard_text::guarded(&super::kickoff::text(context, agent));
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

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    let at_awake_s = context.now.awake_s;
    let content = context.alive().map(|pane| pane.reading.content.clone()).unwrap_or_default();
    let process = context.process();
    let Some(delivery) = &mut state.delivery.current else { return };
    match (&granted.what, granted.label.as_str()) {
        (What::Act(Action::LoadBuffer { .. }), _) => {
            delivery.step = DeliveryStep::Loaded { at_awake_s };
            delivery.tries = delivery.tries.saturating_add(1);
        }
        (What::Act(Action::Paste { .. }), _) => {
            delivery.tries = delivery.tries.saturating_add(1);
            delivery.step = DeliveryStep::Pasted { at_awake_s, content };
            delivery.process = process;
            state.delivery.last_text = delivery.message.text.clone();
        }
        (What::Act(Action::Keys { .. }), "submit text") => {
            let presses = match delivery.step {
                DeliveryStep::Submitted { presses, .. } => presses.saturating_add(1),
                DeliveryStep::Wanted | DeliveryStep::Loaded { .. } | DeliveryStep::Pasted { .. } => 1,
            };
            delivery.step = DeliveryStep::Submitted { at_awake_s, presses, content };
        }
        (What::Act(Action::Keys { .. }), _) => delivery.clears = delivery.clears.saturating_add(1),
        (What::Act(_) | What::Deliver(_) | What::End(_), _) => {}
    }
}

#[cfg(test)]
mod tests;

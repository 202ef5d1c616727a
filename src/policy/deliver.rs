//! Types text into a pane, exactly once: wanted → loaded → pasted → submitted → seen, each step a tick's own.
//!
//! Across a crash the named tmux buffer tells where a delivery stands: still there = not pasted, gone = pasted. After
//! that only keys are pressed, never a second paste. Deliberately not here: what is said and when (the other policies).

mod outcome;
mod typing;

pub use typing::dialog;

use super::Policy;
use super::context::UnitContext;
use super::proposal::{Origin, Proposal, What};
use crate::base::names::UnitName;
use crate::base::text::digest;
use crate::config::Config;
use crate::model::action::Action;
use crate::state::unit::{Delivery, DeliveryStep, Kickoff, Message, Purpose, UnitState};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "deliver", fold: outcome::fold, propose: typing::propose, charge };

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

/// Its work is done: nothing but what people say is typed.
fn rests(context: &UnitContext<'_>) -> bool {
    super::phase::rests(context).is_some()
}

fn origin(state: &UnitState, message: &Message) -> Origin {
    let ordered = message.purpose == Purpose::Kickoff && state.launch.kickoff == Kickoff::Ordered;
    if ordered || message.request.is_some() { Origin::Person } else { Origin::Policy }
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

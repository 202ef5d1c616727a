//! Writes down what happened: events, alerts to people, the status file, the last screens. Nothing here may stop a tick.

use super::observe::Memory;
use crate::base::time::Now;
use crate::config::Config;
use crate::detect::secrets::Secrets;
use crate::model::seen::Observation;
use crate::model::usage::UsageSeen;
use crate::policy::proposal::{Decision, Event};
use crate::policy::summary_text;
use crate::state::State;
use crate::state::mail::Owed;
use crate::state::table;
use crate::sys::{Files, Sync};
use std::collections::{BTreeMap, BTreeSet};

/// Events written per tick, at most: a fleet gone mad must not fill the disk.
const EVENTS_MAX: usize = 2000;

/// The secrets of each unit, made when something is written about it.
#[derive(Debug)]
pub struct Masks<'a> {
    config: &'a Config,
    state: &'a State,
    known: BTreeMap<String, Secrets>,
}

impl<'a> Masks<'a> {
    /// Of the units of a config.
    pub fn new(config: &'a Config, state: &'a State) -> Masks<'a> {
        Masks { config, state, known: BTreeMap::new() }
    }

    /// A record without the values that its unit is given as secrets. What only looks like one stays: a record is no page.
    fn hide(&mut self, unit: Option<&str>, record: String) -> String {
        let Some(name) = unit else { return record };
        let secrets = self.known.entry(name.to_owned()).or_insert_with(|| {
            let state = self.state.units.get_key_value(name);
            state
                .map(|(name, state)| super::incident::secrets_of(self.config, name, state))
                .unwrap_or_default()
        });
        secrets.hide(&record)
    }
}

/// Appends this tick's events to the day's file. The first error is returned; the tick goes on.
pub fn events<F: Files>(files: &mut F, now: &Now, events: &[Event], masks: &mut Masks<'_>) -> Option<String> {
    let path = table::events(now.wall);
    let mut first = None;
    for event in events.iter().take(EVENTS_MAX) {
        let record = masks.hide(event.unit.as_deref(), serde_json::to_string(event).unwrap_or_default());
        if let Err(error) = files.append(&path, &record) {
            first.get_or_insert(format!("writing {path}: {}", error.message()));
        }
    }
    first
}

fn owed(state: &State) -> impl Iterator<Item = &Owed> {
    state.units.values().flat_map(|unit| &unit.owed).chain(&state.mail.owed).chain(&state.phase.owed)
}

/// Appends the alerts that the outbox does not have yet. They stay owed until a later tick sees them there. While it can't
/// be read, only those are known to be missing that were not owed `before`.
pub fn outbox<F: Files>(
    files: &mut F,
    before: &State,
    state: &State,
    seen: &Observation,
    recorded: impl Fn(&Owed) -> bool,
    masks: &mut Masks<'_>,
) -> Option<String> {
    let mut first = None;
    let old: BTreeSet<&str> = match seen.outbox_has {
        Some(_) => BTreeSet::new(),
        None => owed(before).map(|alert| alert.id.as_str()).collect(),
    };
    let missing = |alert: &&Owed| !seen.is_told(&alert.id) && !old.contains(alert.id.as_str());
    for alert in owed(state).filter(|alert| missing(alert) && recorded(alert)) {
        let record = masks.hide(alert.unit.as_deref(), serde_json::to_string(alert).unwrap_or_default());
        if let Err(error) = files.append(table::OUTBOX, &record) {
            first.get_or_insert(format!("writing {}: {}", table::OUTBOX, error.message()));
        }
    }
    first
}

/// Appends the records that the token ledger does not have yet. They stay owed until a later tick sees them there; while it
/// can't be read, they wait.
pub fn ledger<F: Files>(files: &mut F, state: &State, seen: &UsageSeen) -> Option<String> {
    if seen.ledger_unread {
        return Some(format!("reading {} did not work: its records wait", table::TOKEN_LOG));
    }
    let mut first = None;
    for owed in state.tokens.owed.iter().filter(|owed| !seen.logged.contains(&owed.id())) {
        let record = serde_json::to_string(owed).unwrap_or_default();
        if let Err(error) = files.append(table::TOKEN_LOG, &record) {
            first.get_or_insert(format!("writing {}: {}", table::TOKEN_LOG, error.message()));
        }
    }
    first
}

/// The screens that this tick's actions were based on.
pub fn screens<F: Files>(files: &mut F, decision: &Decision, memory: &Memory) {
    for granted in &decision.granted {
        let Some(screen) = memory.screen(&granted.unit) else { continue };
        let path = table::in_unit(&granted.unit, "screen.txt");
        let old = files.read(&path, 1 << 20).ok().flatten();
        let _ = files.replace(&path, old.as_deref(), screen.as_bytes(), Sync::Cheap);
    }
}

/// `status`, for `cat`: rewritten only when it changed.
pub fn status<F: Files>(
    files: &mut F,
    config: &Config,
    state: &State,
    seen: &Observation,
    last: &mut String,
) {
    let text = summary_text::lines(config, state, seen);
    if text == *last {
        return;
    }
    let old = files.read(table::STATUS, 1 << 20).ok().flatten();
    if old.as_deref() != Some(text.as_bytes()) {
        let _ = files.replace(table::STATUS, old.as_deref(), text.as_bytes(), Sync::Cheap);
    }
    *last = text;
}

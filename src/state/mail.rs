//! `mail.json`: what the fleet owes people and what it already did for them.

use crate::base::time::{Awake, Wall};
use crate::model::seen::ServerId;
use serde::{Deserialize, Serialize};

/// Handled requests remembered: enough for every command that may still wait for its confirmation.
pub const HANDLED_MAX: usize = 200;
/// Owed alerts kept per owner: past that the oldest is dropped (it is in the events).
pub const OWED_MAX: usize = 50;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mail {
    /// The last requests handled, oldest first.
    pub handled: Vec<Handled>,
    /// Bytes of inbox.jsonl whose requests are all handled.
    pub inbox_done: u64,
    /// Alerts about the fleet that outbox.jsonl does not have yet.
    pub owed: Vec<Owed>,
    /// Alerts made so far: the next one's number.
    pub alerts: u64,
    /// The tmux server last seen alive.
    pub server: Option<ServerId>,
    /// Standing fleet conditions that were told, by key, so that each is told once.
    pub told: Vec<Told>,
}

/// A request that was handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handled {
    /// The request's id.
    pub id: String,
    /// When.
    pub at: Wall,
    /// Was it taken?
    pub taken: Taken,
    /// What was done with it, in words.
    pub said: String,
}

/// Whether a request was taken or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    Accepted,
    Refused,
}

/// An alert that is owed until outbox.jsonl has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// Unique.
    pub id: String,
    /// When it arose.
    pub at: Wall,
    /// How urgent.
    pub level: Level,
    /// Whom it is about; None = the fleet.
    pub unit: Option<String>,
    /// One line for people.
    pub text: String,
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Somebody should look today.
    Warning,
    /// Work stands still until a person does something.
    Human,
}

/// A standing condition that was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which condition.
    pub key: String,
    /// When it was last told.
    pub at_awake_s: Awake,
}

impl Mail {
    /// Adds an alert about the fleet.
    pub fn owe(&mut self, at: Wall, level: Level, text: String) {
        self.alerts = self.alerts.saturating_add(1);
        let id = format!("fleet-{}-{}", self.alerts, at.0);
        self.owed.push(Owed { id, at, level, unit: None, text });
        if self.owed.len() > OWED_MAX {
            self.owed.remove(0);
        }
    }
}

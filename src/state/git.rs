//! `git.json`: what was last seen of the branch that carries the work, and who is still owed news of it.

use crate::base::names::UnitName;
use crate::base::time::{Awake, Wall};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Pings owed at most; past that the oldest is dropped, and said.
pub const PINGS_MAX: usize = 500;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GitState {
    /// Whose branch this is about: the clone's path and the branch. Another one is looked at afresh.
    pub source: String,
    /// The commit up to which everything was handed on; None = never seen.
    pub head: Option<String>,
    /// When that head was first seen.
    pub head_at: Option<Wall>,
    /// Digest of each inbox file at that head; a missing or empty one is not listed.
    pub inboxes: BTreeMap<String, String>,
    /// News that a unit's own file does not have yet.
    pub pings: Vec<OwedPing>,
    /// The newest claimed label, `claim(<label>)`; "" before the first one.
    pub label: String,
    /// The phase in which it was claimed. Said here, because phase.json may be of a later tick.
    pub label_phase: String,
    /// When the last fetch was ordered.
    pub fetch_awake_s: Option<Awake>,
    /// The fetch that was ordered last: its number.
    pub fetches: u64,
    /// Inbox files that were looked for at that head: another one is first only remembered.
    pub watched: Vec<String>,
    /// The last fetch whose end was noted.
    pub judged: u64,
    /// Fetches that failed in a row.
    pub failures: u32,
    /// How long the next fetch may take, seconds; 0 = the usual.
    pub patience_s: u32,
    /// The trouble with the remote that was told and stands.
    pub told: Option<String>,
}

impl GitState {
    /// The newest label that was claimed in a phase; "" before the first one.
    pub fn label_of(&self, phase: &str) -> &str {
        if self.label_phase == phase { &self.label } else { "" }
    }
}

/// News for one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedPing {
    /// Unique: the same news has the same id, however often it is found.
    pub id: String,
    /// For whom.
    pub unit: UnitName,
    /// What it says.
    pub text: String,
}

//! `phase.json`: which phase of the plan is in force. A person may edit it: index or id, and the edit wins.

use super::mail::{Level, OWED_MAX, Owed};
use crate::base::time::Wall;
use serde::{Deserialize, Serialize};

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhaseState {
    /// Place of the phase in the plan, from 0.
    pub index: usize,
    /// The phase; "" = not known yet. What everything goes by.
    pub id: String,
    /// Since when it is in force.
    pub since: Option<Wall>,
    /// The branch's head when it came in force; "" = not known. What was pushed up to there belongs to other phases.
    pub head: String,
    /// When the last phase was done; None while there is work.
    pub completed: Option<Wall>,
    /// A done marker that stands already does not count: a person put this phase in force although it is done. Over when the
    /// marker is seen to be gone.
    pub ignore_done: bool,
    /// `SEQUENCE-COMPLETE` is ours to write and to remove; one that stands without this was set by a person.
    pub marked: bool,
    /// The last phase of the completion for which `on_complete` was started.
    pub finale: Option<String>,
    /// Alerts about the plan that outbox.jsonl does not have yet.
    pub owed: Vec<Owed>,
    /// Alerts made so far.
    pub alerts: u64,
    /// Index and id as the watchdog last wrote them: tells a person's edit from a reordered plan.
    pub written: Written,
    /// Ids of the last requests taken; bounded. Each is taken once.
    pub taken: Vec<String>,
}

/// Index and id as last written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    /// The index.
    pub index: usize,
    /// The id.
    pub id: String,
}

impl PhaseState {
    /// Adds an alert about the plan.
    pub fn owe(&mut self, at: Wall, level: Level, text: String) {
        self.alerts = self.alerts.saturating_add(1);
        let id = format!("plan-{}-{}", self.alerts, at.0);
        self.owed.push(Owed { id, at, level, unit: None, text });
        if self.owed.len() > OWED_MAX {
            self.owed.remove(0);
        }
    }
}

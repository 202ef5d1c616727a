//! An end that is under way: TERM, grace, KILL, and what follows it.

use crate::base::time::Awake;
use crate::model::seen::Process;
use serde::{Deserialize, Serialize};

/// An end under way: TERM, grace, KILL, and what comes after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// What follows the end.
    pub then: Then,
    /// Who wants it.
    pub cause: EndCause,
    /// Why, in words.
    pub why: String,
    /// Where it stands.
    pub step: EndStep,
    /// Since when it is wanted.
    pub since_awake_s: Awake,
    /// The process that is to end; None = none was seen when the end began.
    #[serde(default)]
    pub process: Option<Process>,
    /// The ladder's tier that it is: comes again when the end is called off.
    #[serde(default)]
    pub tier: Option<usize>,
    /// What the ladder saw wrong: when it is over before the first signal, so is the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symptom: Option<SymptomKind>,
    /// The first signal.
    #[serde(default, skip_serializing_if = "Force::is_gentle")]
    pub force: Force,
}

/// With which signal an end begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Force {
    /// TERM; KILL after the grace.
    #[default]
    Term,
    /// KILL at once: it was asked gently before.
    Kill,
}

impl Force {
    fn is_gentle(&self) -> bool {
        *self == Force::Term
    }
}

/// What a ladder is climbed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SymptomKind {
    /// Idle, and its work has no end.
    Stalled,
    /// Busy without progress on any clock.
    Hung,
    /// Its heartbeat is old.
    Silent,
    /// It runs other code than its repository holds.
    Stale,
}

/// What follows an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The session is closed and stays closed.
    StayDown,
    /// The command is started again.
    Start,
}

/// Who wants an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// The `down` marker.
    Down,
    /// A person (`restart`): waits for the end of the turn.
    Ordered,
    /// A changed config: waits for the end of the turn, and a pause holds it.
    Changed,
    /// Its phase is over: waits for the end of the turn, and a pause holds it.
    Phase,
    /// The ladder, with proof.
    Ladder,
    /// A task's next run, its previous one being over.
    Rerun,
    /// A remedy for a process: a rule's, an agent's, or the standard one.
    Remedy,
}

/// Where an end stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndStep {
    /// Wanted; an ordered one waits for the end of the turn.
    Wanted,
    /// TERM was sent to these, that many times.
    Termed {
        at_awake_s: Awake,
        processes: Vec<Process>,
        #[serde(default)]
        times: u32,
    },
    /// KILL was sent.
    Killed { at_awake_s: Awake, processes: Vec<Process> },
}

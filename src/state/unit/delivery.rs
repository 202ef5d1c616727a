//! Text on its way into a pane, and the news of the work that a unit is owed.

use crate::base::time::{Awake, Wall};
use crate::model::seen::Process;
use serde::{Deserialize, Serialize};

/// Text on its way into the pane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliveryState {
    /// The one under way.
    pub current: Option<Delivery>,
    /// Waiting behind it; bounded.
    pub queue: Vec<Message>,
    /// How the last ones ended; bounded.
    pub past: Vec<PastDelivery>,
    /// Ids of the last news taken over from children; bounded.
    pub taken: Vec<String>,
    /// The text last pasted: a draft that holds it is ours.
    pub last_text: String,
    /// Deliveries so far: the next one's number.
    pub count: u64,
}

/// A text for a pane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// What it is for.
    pub purpose: Purpose,
    /// The text, guarded.
    pub text: String,
    /// The request that asked for it.
    pub request: Option<String>,
}

/// News of the work that the unit is owed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandoffState {
    /// Ids of the last pings taken over from git.json; bounded. Each is taken once.
    pub taken: Vec<String>,
    /// Not delivered yet, oldest first; bounded.
    pub owed: Vec<Ping>,
    /// A delivery of them failed at: the next try waits.
    pub failed_awake_s: Option<Awake>,
}

/// News for the unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Its id.
    pub id: String,
    /// What it says.
    pub text: String,
    /// The delivery that carries it, while one is under way.
    pub delivery: Option<u64>,
}

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The first prompt after a start.
    Kickoff,
    /// A reminder to a stalled agent.
    Nudge,
    /// Go on after an error.
    Continue,
    /// Is the limit over?
    Probe,
    /// A scheduled prompt.
    Wake,
    /// A person's text.
    Operator,
    /// News of a child unit, for its parent.
    Report,
    /// News of the work: a commit or an inbox that concerns it.
    Ping,
}

/// A delivery under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its number: names the buffer.
    pub id: u64,
    /// The text.
    pub message: Message,
    /// Where it stands.
    pub step: DeliveryStep,
    /// When it was wanted.
    pub since_awake_s: Awake,
    /// The process that it is for once it was pasted: another one never saw it.
    pub process: Option<Process>,
    /// Times that tmux was told to load or to paste it.
    #[serde(default)]
    pub tries: u32,
    /// Times that an older text of ours was to be cleared away for it.
    #[serde(default)]
    pub clears: u32,
}

/// Where a delivery stands. The buffer tells across a crash: still there = not pasted, gone = pasted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStep {
    /// Nothing happened yet.
    Wanted,
    /// The buffer was ordered.
    Loaded { at_awake_s: Awake },
    /// The paste was ordered.
    Pasted { at_awake_s: Awake, content: String },
    /// The submit key was pressed that many times.
    Submitted { at_awake_s: Awake, presses: u32, content: String },
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastDelivery {
    /// Its number.
    pub id: u64,
    /// What it was for.
    pub purpose: Purpose,
    /// The request that asked for it.
    pub request: Option<String>,
    /// When it ended.
    pub at: Wall,
    /// How.
    pub outcome: DeliveryOutcome,
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOutcome {
    /// The CLI took it.
    Seen,
    /// It did not arrive; why.
    Failed { why: String },
    /// It may have been read: it is told, and never typed again; why nobody knows.
    Unknown { why: String },
}

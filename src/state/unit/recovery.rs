//! Going on from a checkpoint, and who handed over to whom.

use crate::base::time::{Awake, Wall};
use crate::model::seen::Process;
use serde::{Deserialize, Serialize};

/// Going on from a checkpoint: attempts, the prompt, who handed over to whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecoveryState {
    /// Attempts since the last real progress, each counted before it was made.
    pub attempts: u32,
    /// That no attempt is left, or that the checkpoint can't be used, was told.
    pub told: bool,
    /// Since when the present process makes progress after an attempt; None while it does not.
    pub progress_since_awake_s: Option<Awake>,
    /// Attempts ever: numbers the jobs.
    pub count: u64,
    /// The next attempt, while what it needs is gathered.
    pub plan: Option<RecoveryPlan>,
    /// The resume prompt of the next start.
    pub ready: Option<String>,
    /// The resume prompt of the present start.
    pub given: Option<String>,
    /// Something was seen of that start: its process, or the end of it. Until then it is made again as it was meant.
    pub begun: bool,
    /// That start continues the last conversation: its prompt is all that it is told.
    pub resumed: bool,
    /// The process that ended last, until another one takes over, …
    pub last: Option<Process>,
    /// … and how it ended.
    pub kind: Option<HandoffKind>,
    /// The last handoffs, oldest first; bounded.
    pub handoffs: Vec<Handoff>,
}

impl RecoveryState {
    pub(super) fn is_empty(&self) -> bool {
        *self == RecoveryState::default()
    }
}

/// An attempt that is being prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoveryPlan {
    /// The job that looks at the work place.
    pub job: String,
    /// What made it necessary.
    pub kind: HandoffKind,
    /// The same in words.
    pub why: String,
    /// Since when.
    pub since_awake_s: Awake,
}

/// One process, or one conversation, took over from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handoff {
    /// When.
    pub at: Wall,
    /// Why.
    pub kind: HandoffKind,
    /// From whom.
    pub from: Process,
    /// To whom; the same one after a compaction.
    pub to: Process,
    /// Digest of the checkpoint that stood then.
    pub checkpoint: Option<String>,
}

/// Why somebody else went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoffKind {
    /// The conversation was compacted.
    Compaction,
    /// It crashed, or its conversation could not go on.
    Crash,
    /// Its end was ordered.
    Manual,
    /// It was ended because it made no progress.
    Timeout,
    /// It was done.
    Finished,
}

//! What is believed of a unit: its process, its screen, how its last process ended, its last start.

use crate::base::time::{Awake, Wall};
use crate::model::seen::{Exit, Process, ScreenState, ServerId, Substate};
use serde::{Deserialize, Serialize};

/// What is believed of the unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeenState {
    /// The believed state; `dead` with no pane means that there is no session.
    pub state: ScreenState,
    /// Its substate.
    pub substate: Option<Substate>,
    /// Since when, for people.
    pub since: Wall,
    /// Since when, for durations.
    pub since_awake_s: Awake,
    /// A state that was seen but is not believed yet.
    pub candidate: Option<Candidate>,
    /// Pane of the present process.
    pub pane: Option<String>,
    /// The present process.
    pub process: Option<Process>,
    /// The tmux server that the pane id belongs to.
    pub server: Option<ServerId>,
    /// When the present process was first seen alive.
    pub alive_since_awake_s: Option<Awake>,
    /// How the last process ended, in words, for people.
    pub exit: Option<String>,
    /// How it ended, when that is known.
    pub exit_known: Option<Exit>,
    /// The last process did not end by itself: its tmux server went, and it with it.
    pub lost_with_server: bool,
    /// A session of that name belongs to somebody else.
    pub foreign: bool,
    /// Compaction under way since.
    pub compacting_since_awake_s: Option<Awake>,
    /// Its pane is listed but could not be judged since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
    /// What stood in the pane when the last start was ordered: as long as it stands there, that start did not happen.
    pub corpse: Option<Corpse>,
    /// Times in a row that an ordered start was seen not to have happened.
    pub unstarted: u32,
    /// What the end of the last process meant; None while one lives, or when that was never judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// What an end meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// In a word.
    pub fate: Fate,
    /// Seconds since its last activity on any clock, then; None = nobody knew.
    #[serde(default)]
    pub quiet_s: Option<f64>,
    /// It was busy when it was last looked at.
    #[serde(default)]
    pub was_busy: bool,
}

/// What became of a process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was done, or had rested for long.
    Finished,
    /// It ended at work.
    Crashed,
    /// Its end was ordered.
    Stopped,
    /// It went with its tmux server.
    Lost,
}

/// A pane that tmux lists and that can't be judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unseen {
    /// Why, for people.
    pub why: String,
    /// Since when.
    pub since_awake_s: Awake,
}

/// A dead pane, by the process that ended in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corpse {
    /// The pane.
    pub pane: String,
    /// The process.
    pub pid: i32,
}

/// A state on its first look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The state.
    pub state: ScreenState,
    /// First seen.
    pub since_awake_s: Awake,
}

/// The last start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaunchState {
    /// When it was ordered; None = never.
    pub at: Option<Wall>,
    /// The same on the awake clock.
    pub at_awake_s: Option<Awake>,
    /// Digest of the config that it was started with.
    pub digest: String,
    /// The prompt is still to be delivered.
    pub kickoff: Kickoff,
    /// Starts so far.
    pub count: u64,
    /// The next start does not continue the last conversation: that one can't go on.
    pub afresh: bool,
    /// It was down while it was marked down: no death that a restart has to be paid for.
    pub stopped: bool,
    /// The phase that its kickoff was for; None = it works without a plan, or that is not known.
    pub phase: Option<String>,
}

/// Where the first prompt of a start stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kickoff {
    /// Nothing to deliver, or delivered.
    #[default]
    Done,
    /// To be typed once the composer is there.
    Due,
    /// The same, and a person ordered the start: a pause does not hold it.
    Ordered,
}

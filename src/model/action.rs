//! What may be done: a few effects on the world, many reasons. Values only; `sys` carries them out.

use super::process::{HostPlace, ProcessLaunch, RunId};
use super::seen::Process;
use crate::base::names::UnitName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One effect on the world. Each is harmless when repeated or when its target is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Make the unit's session and start its command in it.
    NewSession { launch: Launch },
    /// Start the command anew in the unit's kept pane (`respawn-pane -k`); attached people stay attached.
    Respawn { pane: String, launch: Launch },
    /// Mark a pane that nobody marked, and its session, as the unit's. What runs in it goes on.
    Adopt { unit: UnitName, pane: String },
    /// Put a text into a named tmux buffer.
    LoadBuffer { buffer: String, text: String },
    /// Paste the buffer into the pane (bracketed) and delete it.
    Paste { pane: String, buffer: String },
    /// Delete a buffer that is no longer wanted.
    DropBuffer { buffer: String },
    /// Press keys, each a tmux key name, in one call of their own.
    Keys { pane: String, keys: Vec<String> },
    /// Leave copy mode, or another mode that swallows keys (`copy-mode -q`).
    LeaveMode { pane: String },
    /// Signal processes in this order (deepest first), each only if pid and start time still agree.
    Signal { processes: Vec<Process>, signal: Signal },
    /// End the unit's session after its processes are gone.
    KillSession { session: String, pane: String },
    /// Write a marker file.
    Mark { marker: Marker, text: String },
    /// Remove a marker file. With `seen`, a `RESTART` only while its first line still is that one: what was written since
    /// is another request.
    Unmark { marker: Marker, seen: Option<String> },
    /// Start slow work beside the tick.
    RunJob { job: Job },
    /// Write a file of a unit for somebody who waits for it.
    WriteFile { unit: UnitName, file: UnitFile, text: String },
    /// Start a process on its host. Repeated with the same run number it starts nothing more.
    Run { launch: ProcessLaunch },
    /// End a run on a host that is not this machine's kernel (`scancel`, `docker stop`).
    CancelRun { unit: UnitName, id: RunId, place: HostPlace },
}

/// Files of a unit that are written for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitFile {
    /// `recovery-request.md`: what an interactive healing agent is asked.
    RecoveryRequest,
}

/// In the words of a job that was ended because its time was over.
pub const JOB_LATE: &str = "its deadline";
/// What a job whose program could not be run says first.
pub const JOB_UNSTARTED: &str = "it could not be started: ";
/// What an agent's job says first whose tree may not be touched.
pub const JOB_REFUSED: &str = "the agent was not asked: ";

/// Slow work beside the tick: a program whose end a later tick sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its folder below `jobs/`. A new job of the same name takes the place of one that ended.
    pub id: String,
    /// The argv.
    pub argv: Vec<String>,
    /// Environment to add.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub dir: String,
    /// It is ended after this long, seconds.
    pub deadline_s: u32,
    /// Environment to remove: what would make a program believe that it runs inside another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_remove: Vec<String>,
    /// What it reads on its standard input; None = nothing. Kept in a file of its folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// A tick follows its end at once; else only when it said something or failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaited: bool,
    /// It edits the tree that it runs in, or takes such edits back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<FixJob>,
}

/// A healing agent's edits of a tree, kept apart from the operator's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixJob {
    /// The incident: names the branch.
    pub incident: String,
    /// The attempt: what its steps remember belongs to it.
    pub attempt: String,
    /// What is done.
    pub step: FixStep,
    /// Files that the watchdog reads while the agent is at work: they are never put aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// A step of a fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FixStep {
    /// The job's program runs; what the tree was is written down before, its edits go to a branch after. Nothing runs while
    /// the tree holds uncommitted work.
    Clean,
    /// The same; uncommitted work is put aside, and back after.
    Dirty,
    /// No program, for the agent is not ours to run: what the tree was is written down. Refused over uncommitted work.
    OpenClean,
    /// The same; uncommitted work is put aside.
    OpenDirty,
    /// No program: what was edited since then goes to a branch, and what was put aside comes back.
    Collect,
    /// No program: the tree becomes again what it was.
    Restore,
    /// No program: the branch is left for a person.
    Keep,
    /// No program: the branch is fast-forwarded into the one that it came from.
    Merge,
}

impl Job {
    /// The name of a unit's job: `<unit>.<what>.<number>`. No unit's name has a dot, so no two units share one.
    pub fn id_of(unit: &UnitName, what: &str, number: u64) -> String {
        format!("{unit}.{what}.{number}")
    }

    /// Is this the name of some unit's job?
    pub fn is_of_unit(id: &str) -> bool {
        id.contains('.')
    }
}

/// The two signals that end things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    Term,
    Kill,
}

/// A marker's place: the fleet's or a unit's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// None = the fleet's.
    pub unit: Option<UnitName>,
    /// Which.
    pub kind: MarkerKind,
}

/// The markers that watchkeeper itself sets and removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkerKind {
    Down,
    Paused,
    SequenceComplete,
    /// `RESTART` of a unit: end yourself, you are started anew.
    Restart,
}

impl MarkerKind {
    /// The name of its file.
    pub const fn file_name(self) -> &'static str {
        match self {
            MarkerKind::Down => "down",
            MarkerKind::Paused => "PAUSED",
            MarkerKind::SequenceComplete => "SEQUENCE-COMPLETE",
            MarkerKind::Restart => "RESTART",
        }
    }
}

impl Marker {
    /// Its file below the state directory.
    pub fn path(&self) -> String {
        let file = self.kind.file_name();
        match &self.unit {
            None => file.to_owned(),
            Some(unit) => format!("units/{unit}/{file}"),
        }
    }
}

/// All that is needed to start a unit's command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The unit.
    pub unit: UnitName,
    /// Session name.
    pub session: String,
    /// Working directory.
    pub dir: String,
    /// The argv, without the prompt.
    pub argv: Vec<String>,
    /// Environment to add.
    pub env: BTreeMap<String, String>,
    /// Environment to remove.
    pub env_remove: Vec<String>,
    /// A prompt that goes with the start.
    pub prompt: Option<LaunchPrompt>,
    /// The phase that it is started for: marked on its pane, in case that the state is lost.
    #[serde(default)]
    pub phase: Option<String>,
}

/// A prompt that goes with the start: kept in a file of the unit's folder, so its size has no limit but the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchPrompt {
    /// As the last argument.
    Arg { text: String },
    /// On standard input.
    Stdin { text: String },
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Carried out.
    Done,
    /// It did not happen, or it is not known whether it did; what the world said.
    Failed { why: String },
}

//! What is seen of a process outside tmux, and what is needed to run one: the vocabulary between the hosts (local, attach,
//! slurm, docker) and the policies.
//!
//! Deliberately not here: how a host does it (`sys::hosts`), what is concluded (`policy`).

use super::finding::Finding;
use super::seen::{Exit, Process};
use crate::base::names::UnitName;
use crate::base::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One start of a process: our own number for it, and the host's name for what it became.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct RunId {
    /// Starts of this unit so far, this one included: recorded before the start.
    pub number: u64,
    /// local: `pid.start.boot`; slurm: `jobid.restarts`; docker: container id and its start; "" = not known yet.
    pub handle: String,
}

/// How a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunSeen {
    /// It could not be asked (controller down, daemon hung, file unreadable): never "ended".
    Unknown { why: String },
    /// The host knows of no run of this unit.
    #[default]
    Absent,
    /// Ordered, and not at work yet: in the queue, being requeued, its start under way.
    Pending {
        id: RunId,
        why: String,
        /// It begins only when somebody does something.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<Held>,
    },
    /// At work.
    Alive {
        id: RunId,
        /// The process on this machine, when it is one.
        process: Option<Process>,
        since: Option<Wall>,
        /// Stopped by somebody, and not ended: `docker pause`, `scontrol suspend`, SIGSTOP.
        suspended: bool,
    },
    /// Over.
    Ended {
        id: RunId,
        /// None = the host can't say.
        exit: Option<Exit>,
        /// The kernel ended it for its use of memory, as far as the host says.
        out_of_memory: bool,
        at: Option<Wall>,
        /// What the host says beside that: `TIMEOUT`, `NODE_FAIL`, an error of the engine.
        note: Option<String>,
    },
}

/// A run that waits, and never begins by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// The host's reason.
    pub why: String,
    /// What a person may do, with the command.
    pub advice: String,
}

/// What is said of a run that its host forgot, and whose exit nobody wrote down.
const VANISHED: &str = "its host knows it no more, nor how it ended";

impl RunSeen {
    /// A run that its host forgot, and whose exit nobody wrote down: it may have ended well.
    pub fn vanished(id: RunId) -> RunSeen {
        RunSeen::Ended { id, exit: None, out_of_memory: false, at: None, note: Some(VANISHED.to_owned()) }
    }

    /// Is it such a run?
    pub fn is_vanished(&self) -> bool {
        matches!(self, RunSeen::Ended { exit: None, note: Some(note), .. } if note == VANISHED)
    }
}

/// Where reading of a log stands. Everything before it was judged, and is not read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogCursor {
    /// Device and inode of the file, so that a rotation is seen.
    pub file: Option<(u64, u64)>,
    /// Bytes of it that are done with, counted from its first byte ever: `sys::hosts::front` says how many were
    /// taken from its front meanwhile. An unfinished traceback is not: it is read again from its first line.
    pub offset: u64,
    /// Digest of the bytes just before it (at most 64), so that a truncation and a rewrite are seen.
    pub tail: String,
    /// Number of the line there; 0 = not known.
    pub line: u64,
    /// Lines that begin before this byte were judged by patterns and metrics …
    pub judged: u64,
    /// … and traces that were given away by a line before this one.
    pub traced: u64,
    /// These behind it were judged as well, while an older one is open: where the lines stand that gave them away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<u64>,
    /// It stands within a line that is too long to be looked at at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long: Option<LongLine>,
    /// Bytes up to here were read: what is read again, for it stands behind `offset`, is no news.
    pub read: u64,
    /// Where reading stood, and the digest of the bytes just before it (at most 64): they tell a log that was written anew
    /// also when little of the old one was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<(u64, String)>,
}

/// A line that is too long to be looked at at once, and is not at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LongLine {
    /// Pattern detectors that found something in it, a bit each in the order of the config; the last bit is for all others.
    pub found: u64,
}

/// What a log said since it was last looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSeen {
    /// Where reading stands now.
    pub cursor: LogCursor,
    /// New findings, in the order of the log; bounded (the count of the others is in `more`).
    pub findings: Vec<Finding>,
    /// Findings that were left out …
    pub more: u64,
    /// … and the detectors that made too many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub noisy: Vec<String>,
    /// New bytes came.
    pub grew: bool,
    /// What was written behind this place belongs to findings and to an end; only when an end is to be explained. None =
    /// that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spoke: Option<u64>,
    /// The last value of each metric, by detector.
    pub metrics: BTreeMap<String, f64>,
    /// When the file last changed.
    pub changed_at: Option<Wall>,
    /// Something was skipped or could not be read, in words.
    pub trouble: Option<String>,
    /// More waits to be read, or something waits to be judged: seconds until somebody should look again.
    pub again_s: Option<f64>,
}

/// What was seen of one process unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessSeen {
    /// Its run.
    pub run: RunSeen,
    /// Its log.
    pub log: LogSeen,
    /// Ids of the unit's incidents whose folders are complete, among those that its state still owes.
    pub incidents: Vec<String>,
    /// Ids of incidents that the state remembers and whose folders are gone: somebody removed them.
    pub incidents_gone: Vec<String>,
    /// Keys of the rows that attempts.tsv has, among those that the state still owes.
    pub attempts: Vec<String>,
    /// Attempts whose fix notes are in their incident's folder, among those that the state still owes.
    pub fixes: Vec<String>,
    /// CPU used so far by its whole tree, milliseconds; only when asked for.
    pub cpu_ms: Option<u64>,
    /// Members of its session that outlived it; only when asked for.
    pub leftovers: Vec<Process>,
    /// What `require` names and is not there, in words; only when it does not run.
    pub missing: Vec<String>,
    /// The headless agent's program is found; None = nobody looked.
    pub healer: Option<bool>,
    /// What an agent is told, read from files; only when one is to be asked.
    pub brief: Option<Brief>,
    /// What stands in the response file, when an answer is awaited.
    pub answer: Option<String>,
    /// An answer is awaited to a request that was never written.
    pub unasked: bool,
}

/// What an agent is told beside what the state knows: texts of files, bounded and masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Brief {
    /// The operator's template; None = the built-in one.
    pub template: Option<String>,
    /// The operator's program.
    pub program: String,
    /// The incident's report.
    pub report: String,
    /// Snapshots: name, text.
    pub configs: Vec<(String, String)>,
}

/// All that is needed to start a process on its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLaunch {
    /// The unit.
    pub unit: UnitName,
    /// The number of this run.
    pub number: u64,
    /// The argv.
    pub argv: Vec<String>,
    /// Working directory.
    pub dir: String,
    /// Environment to add: the unit's own, then what rules set.
    pub env: BTreeMap<String, String>,
    /// Which host, and what only that host needs.
    pub host: HostLaunch,
    /// The log is rotated when it is larger, bytes.
    pub log_max: u64,
}

/// What one host needs for a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostLaunch {
    /// Through our own shim, in a process group of its own.
    Local,
    /// `sbatch` with these arguments more.
    Slurm { args: Vec<String> },
    /// `ENGINE run -d` with these arguments more.
    Docker { engine: String, image: String, args: Vec<String> },
}

/// Where a run is to be looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPlace {
    /// This machine, through our own shim.
    Local,
    /// Somebody else's process: by pid, or by the pid that a file names.
    Attach { pid: Option<i32>, pid_file: Option<String> },
    /// Slurm.
    Slurm,
    /// docker or podman (`engine`).
    Docker { engine: String },
}

/// A question to a host: how does this unit's run stand?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunQuery {
    /// The unit.
    pub unit: UnitName,
    /// Where.
    pub place: HostPlace,
    /// The run that is known of; number 0 = none. A host that knows of a later one answers with that one's number.
    pub known: RunId,
}

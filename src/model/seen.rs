//! The observation: the facts of one tick. Serializable, so that a tick can be recorded and replayed.
//!
//! Deliberately not here: conclusions. What could not be seen is a fact of its own (`Unknown`), never an absence.

use crate::base::names::UnitName;
use crate::base::text::one_line;
use crate::base::time::{Now, Wall};
use crate::model::usage::UsageSeen;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest text of a marker that is kept, characters.
const MARKER_TEXT_MAX: usize = 300;

/// Everything that was seen in one tick.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The clocks.
    pub now: Now,
    /// Is everything to be done, or only what a person asked for (a command that acts without a watchdog)?
    pub scope: Scope,
    /// The tmux server.
    pub server: ServerSeen,
    /// Units of the config, each with what was seen of it.
    pub units: BTreeMap<UnitName, Seen>,
    /// Markers for the whole fleet.
    pub markers: Markers,
    /// Requests read from inbox.jsonl that are not yet handled, oldest first.
    pub requests: Vec<Request>,
    /// Bytes of inbox.jsonl that were read so far, these requests included; None when it was not read.
    #[serde(default)]
    pub inbox_end: Option<u64>,
    /// Ids found in outbox.jsonl among those that some unit still owes; None when it could not be read.
    pub outbox_has: Option<Vec<String>>,
    /// The host's pressure.
    pub host: HostSeen,
    /// Sessions that carry our stamp and belong to no unit of the config.
    pub strays: Vec<String>,
    /// Sessions with our prefix that carry nobody's stamp and that no unit of the config is named after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strangers: Vec<String>,
    /// The branch that carries the work; None without `[loop]`.
    #[serde(default)]
    pub branch: Option<BranchSeen>,
    /// The fetch that was ordered last.
    #[serde(default)]
    pub fetch: JobSeen,
    /// The jobs whose results units wait for, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<String, JobSeen>,
    /// The marker `SEQUENCE-COMPLETE` stands.
    #[serde(default)]
    pub complete: bool,
    /// What was wrong with files: each is told once.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// What the agents' transcripts say of tokens.
    #[serde(default, skip_serializing_if = "UsageSeen::is_empty")]
    pub usage: UsageSeen,
}

impl Observation {
    /// A look that found nothing: no unit, no tmux server, empty files.
    pub fn empty(now: Now) -> Observation {
        Observation {
            now,
            scope: Scope::All,
            server: ServerSeen::Absent,
            units: BTreeMap::new(),
            markers: Markers::default(),
            requests: Vec::new(),
            inbox_end: None,
            outbox_has: Some(Vec::new()),
            host: HostSeen::default(),
            strays: Vec::new(),
            strangers: Vec::new(),
            branch: None,
            fetch: JobSeen::None,
            jobs: BTreeMap::new(),
            complete: false,
            troubles: Vec::new(),
            usage: UsageSeen::default(),
        }
    }

    /// Does outbox.jsonl have the alert of this id, for all that could be read?
    pub fn is_told(&self, id: &str) -> bool {
        self.outbox_has.as_ref().is_some_and(|has| has.iter().any(|known| known == id))
    }
}

/// What the clone says of the remote's branch, as last pushed or fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BranchSeen {
    /// It could not be read: nothing is known.
    Unknown {
        /// What git or the file system said.
        why: String,
    },
    /// The clone is there, the branch is not: nothing was pushed yet.
    Missing,
    /// Its newest commit, and what stands in it.
    At(BranchFacts),
}

/// What stands in the branch's newest commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchFacts {
    /// The commit.
    pub head: String,
    /// Phases whose status file has the done marker, by id.
    pub done: Vec<String>,
    /// Digest of each inbox file; a missing or empty one is not listed.
    pub inboxes: BTreeMap<String, String>,
    /// What came since the head that was remembered.
    pub since: SinceSeen,
    /// Files that were left out, and why.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// The commits since a remembered head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinceSeen {
    /// Nothing was remembered, or it is the same head.
    #[default]
    Nothing,
    /// These, oldest first; bounded to the newest ones.
    Commits(Vec<Commit>),
    /// The remembered head is not in this history: a force-push, a rewrite, or a shallow clone's edge.
    Rewritten,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its full name.
    pub id: String,
    /// Its subject as git gives it; control characters included.
    pub subject: String,
}

/// A job, as its folder and the kernel show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSeen {
    /// There is no such job.
    #[default]
    None,
    /// It runs.
    Running,
    /// It ended.
    Ended {
        /// None = well; else what it said, one line.
        failed: Option<String>,
        /// Its exit status; None when a signal ended it, or nobody knows.
        #[serde(default)]
        status: Option<i32>,
        /// The end of its standard output, at most [`JOB_OUTPUT_MAX`] bytes of it.
        #[serde(default)]
        output: String,
        /// What it edited, when that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fix: Option<Box<FixSeen>>,
    },
}

/// What a job edited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FixSeen {
    /// The branch with its edits; "" = there are none, or no longer.
    pub branch: String,
    /// As a unified diff, bounded.
    pub patch: String,
    /// What could not be done, or is not on the branch, in words; bounded.
    pub left: Vec<String>,
    /// The tree holds edits that a later step has to keep or take back.
    pub open: bool,
    /// What people must hear: work of theirs that does not stand in the tree; bounded.
    pub told: Vec<String>,
}

/// Of a job's standard output that much is read, from its end, bytes.
pub const JOB_OUTPUT_MAX: u64 = 256 << 10;

impl JobSeen {
    /// It ended well, with this on its standard output.
    pub fn well(output: &str) -> JobSeen {
        JobSeen::Ended { failed: None, status: Some(0), output: output.to_owned(), fix: None }
    }

    /// It ended badly, or was never started.
    pub fn failed(why: impl Into<String>) -> JobSeen {
        JobSeen::Ended { failed: Some(why.into()), status: None, output: String::new(), fix: None }
    }
}

/// Something wrong with a file, told to people once per key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The same trouble has the same key.
    pub key: String,
    /// File, place, what is wrong, what was done.
    pub text: String,
}

/// What may be done in this tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything.
    All,
    /// Only what requests ask for.
    Asked,
}

/// The tmux server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerSeen {
    /// It did not answer, or not in time: nothing is known of any pane.
    Unknown {
        /// What tmux said.
        why: String,
    },
    /// No server runs: a fact about the host, not about N agents.
    Absent,
    /// It runs.
    Alive(ServerId),
}

/// Which incarnation of the tmux server: another one voids all pane ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerId {
    /// Its pid.
    pub pid: i32,
    /// Its start, seconds since 1970.
    pub started: i64,
}

/// What was seen of one unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its pane.
    pub pane: PaneSeen,
    /// The watchdog before this one ended in the midst of a tick that did something to the unit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crashed_on: bool,
    /// Why its pane, which tmux lists, could not be judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// A session with the unit's name exists, but without our stamp: whose it seems to be.
    pub foreign: Option<String>,
    /// The living pane of that session, if it can be taken over: nobody's stamp, and no second pane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoptable: Option<String>,
    /// What it wrote to go on from; looked for only when it is not at work, or compacts its conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointSeen>,
    /// Markers of the unit.
    pub markers: Markers,
    /// The unit's transcript, when the backend has one.
    pub transcript: Option<TranscriptSeen>,
    /// CPU used so far by the CLI's descendants (its tools), milliseconds; sampled only when asked for.
    pub tools_cpu_ms: Option<u64>,
    /// The unit's process tree, deepest first; only when asked for (a stop is under way).
    pub tree: Option<Vec<Process>>,
    /// The tmux buffer of the delivery under way exists; only when asked for.
    pub buffer: Option<bool>,
    /// The last tick's action on this unit did not work: why.
    #[serde(default)]
    pub failed: Option<String>,
    /// Whoever looks carried out the last TERM itself. One that was recorded by a watchdog which was killed may never
    /// have been sent.
    #[serde(default)]
    pub termed: bool,
    /// Numbers of the unit's deliveries whose buffers tmux holds; bounded.
    #[serde(default)]
    pub buffers: Vec<u64>,
    /// What a cooperative unit says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooperation: Option<Box<Cooperation>>,
    /// What was seen of its run, for a process outside tmux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Box<crate::model::process::ProcessSeen>>,
}

/// A unit's `checkpoint.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointSeen {
    /// It is JSON.
    Json {
        /// Pretty-printed, bounded. Data of the unit's: never a command.
        text: String,
        /// Of the file's bytes.
        digest: String,
    },
    /// It can't be used.
    Broken {
        /// Why, one line.
        why: String,
    },
}

/// A pane, as seen now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaneSeen {
    /// Not seen this time. Never "dead".
    #[default]
    Unknown,
    /// The server answered and there is no such session.
    Absent,
    /// The process ended, the pane is kept.
    Dead {
        /// tmux pane id, `%5`.
        pane: String,
        /// How it ended; None when tmux does not say.
        exit: Option<Exit>,
        /// When.
        at: Option<Wall>,
        /// The process that ended in it.
        #[serde(default)]
        pid: Option<i32>,
    },
    /// The process lives.
    Alive(Box<AlivePane>),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Exit status.
    Status(i32),
    /// Signal number.
    Signal(i32),
}

/// A living pane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlivePane {
    /// tmux pane id, `%5`.
    pub pane: String,
    /// The pane's process.
    pub pid: i32,
    /// Start time of that process in clock ticks since boot: pid and start together are an identity.
    pub pid_start: u64,
    /// `pane_current_command`.
    pub command: String,
    /// Title as tmux gives it.
    pub title: String,
    /// The phase that its start was marked with.
    #[serde(default)]
    pub phase: Option<String>,
    /// In copy mode or another mode that swallows keys.
    pub in_mode: bool,
    /// How many clients are attached to the session.
    pub attached: u32,
    /// Last key press of an attached client.
    pub typed_at: Option<Wall>,
    /// Last output of the window (whole seconds; a spinner counts).
    pub output_at: Wall,
    /// The visible screen, as captured; bounded.
    pub text: std::sync::Arc<str>,
    /// What the screen says.
    pub reading: Reading,
}

/// A process: pid and start time together are its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The pid.
    pub pid: i32,
    /// Start in clock ticks since boot.
    pub start: u64,
}

/// The CLI's own word on whether it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// It works.
    Busy,
    /// Its turn is over.
    Idle,
    /// It waits for a person.
    Waiting,
}

/// What a screen says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The state.
    pub state: ScreenState,
    /// More on busy, error and limited.
    pub substate: Option<Substate>,
    /// Busy, and the conversation is being compacted (a known long silence).
    pub compacting: bool,
    /// A viewer or picker hides the screen: the previous state stands.
    pub overlay: bool,
    /// The limit's line as shown, for the reset-time parser.
    pub until: Option<String>,
    /// Text in the composer, trimmed; Some("") = empty; None = no composer found.
    pub composer: Option<String>,
    /// The text of the open dialog (blocked, onboarding, limit menu), normalised: two looks at one dialog agree.
    pub dialog: Option<String>,
    /// Keys that the backend knows as the answer to this onboarding dialog.
    pub answer_keys: Option<Vec<String>>,
    /// The last line that is not empty and not part of composer or footer.
    pub last_line: String,
    /// Digest of the content with spinners, timers and counters taken out.
    pub content: String,
    /// Which signal on which line says so; the first is the one that decided.
    pub evidence: Vec<Evidence>,
}

/// One signal that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Name of the signal in the backend's data, e.g. `busy.footer`.
    pub signal: String,
    /// Line of the capture, from 1; 0 = the title or another source.
    pub line: usize,
    /// The line's text, bounded.
    pub text: String,
}

/// The states of SPEC section 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScreenState {
    Starting,
    Onboarding,
    Idle,
    Draft,
    Busy,
    Blocked,
    Limited,
    Error,
    Dead,
    Shell,
    #[default]
    Unknown,
}

/// The substates of SPEC section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Substate {
    Retrying,
    Auth,
    Billing,
    Context,
    Server,
    Network,
    Menu,
}

/// A transcript's growth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriptSeen {
    /// The newest file.
    pub path: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// Its last change.
    pub changed_at: Wall,
    /// Its last records hold a tool call without a result.
    pub open_tool_call: bool,
}

/// What a cooperative unit says of itself, and what its repository holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cooperation {
    /// The stamp of its heartbeat file, "" when there is none; None = its folder could not be looked at.
    pub heartbeat: Option<String>,
    /// The last touch on the wall clock, for people.
    pub heartbeat_at: Option<Wall>,
    /// The version that it runs, as it wrote it; None = none, or unreadable.
    pub version: Option<VersionSeen>,
    /// The head of the repository that it lies in; None = unknown, or not asked for.
    pub head: Option<String>,
}

/// A version stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionSeen {
    /// Its first line, trimmed.
    pub text: String,
    /// When it was written.
    pub at: Option<Wall>,
}

/// A `RESTART` marker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartMarker {
    /// Its first line: time, writer, reason.
    pub text: String,
    /// The time in it, else that of the file.
    pub at: Option<Wall>,
}

impl RestartMarker {
    /// What is kept of a marker's text.
    pub fn first_line(text: &str) -> String {
        one_line(text.lines().next().unwrap_or("").trim(), MARKER_TEXT_MAX)
    }
}

/// Markers found in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Markers {
    /// `down`: keep it down. The first line, "" when empty.
    pub down: Option<String>,
    /// `PAUSED`: no remedies.
    pub paused: Option<Paused>,
    /// `WAITING-UNTIL`: the unit's declared wait. An unreadable time is None in `until`.
    pub waiting_until: Option<Wall>,
    /// `RESTART`: the unit is asked to end itself and be started anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartMarker>,
}

/// The `PAUSED` marker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// First line without the `until` part.
    pub reason: String,
    /// `until TIME`: the pause is over then.
    pub until: Option<Wall>,
}

/// What a person asked for through the inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Unique: makes handling once-only.
    pub id: String,
    /// When it was asked.
    pub at: Wall,
    /// Who asked: `cli` or a person's name.
    pub from: String,
    /// What.
    pub ask: Ask,
}

/// The things that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Clear the `down` marker and start. None = the fleet.
    Up { unit: Option<UnitName> },
    /// Set the `down` marker and stop. None = the fleet.
    Down { unit: Option<UnitName>, reason: String },
    /// An ordered restart.
    Restart { unit: UnitName },
    /// Set `PAUSED`.
    Pause { unit: Option<UnitName>, reason: String },
    /// Remove `PAUSED`.
    Resume { unit: Option<UnitName> },
    /// Close an open breaker, lift a capped veto.
    Approve { unit: UnitName },
    /// Take over the session that has the unit's name and nobody's stamp.
    Adopt { unit: UnitName },
    /// Answer a recovery request.
    Respond { unit: UnitName, text: String },
    /// Deliver a text.
    Nudge { unit: UnitName, text: String },
    /// Put another phase in force.
    Phase { to: PhaseStep },
}

/// Which phase is to be in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseStep {
    /// The one of this id.
    Set { id: String },
    /// The one after the present one, which the asker saw; another one by now is no longer meant.
    Advance {
        #[serde(default)]
        from: Option<String>,
    },
    /// The first one.
    Reset,
}

impl Ask {
    /// The unit that it is about; None = the fleet.
    pub fn unit(&self) -> Option<&UnitName> {
        match self {
            Ask::Up { unit } | Ask::Down { unit, .. } | Ask::Pause { unit, .. } | Ask::Resume { unit } => {
                unit.as_ref()
            }
            Ask::Restart { unit }
            | Ask::Approve { unit }
            | Ask::Adopt { unit }
            | Ask::Respond { unit, .. }
            | Ask::Nudge { unit, .. } => Some(unit),
            Ask::Phase { .. } => None,
        }
    }
}

/// The host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostSeen {
    /// Share of the last 10 s in which some task waited for CPU, percent (`/proc/pressure/cpu`, some avg10).
    pub cpu_pressure: Option<f64>,
    /// The same for memory (full avg10).
    pub memory_pressure: Option<f64>,
}

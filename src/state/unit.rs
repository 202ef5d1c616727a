//! `units/<name>/unit.json`, the commit unit: everything about one unit that must change together.
//!
//! One field (a *slice*) per policy; a policy writes only its own. Enum variants carry exactly their data.

use super::incident::IncidentState;
use super::mail::Owed;
use super::process::ProcessState;
use crate::base::time::{Awake, Wall};
use crate::model::seen::{Exit, Process, ScreenState, ServerId, Substate};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitState {
    /// What is believed of it.
    pub seen: SeenState,
    /// Its last start and what is still due of it.
    pub launch: LaunchState,
    /// The end that is under way, if one is.
    pub ending: Option<Ending>,
    /// The restart budget and its circuit breaker.
    pub restart: RestartState,
    /// Stall memory.
    pub stall: StallState,
    /// Where its ladder stands.
    pub ladder: LadderState,
    /// Who promised a heartbeat.
    pub promise: Promise,
    /// Ends of the watchdog itself in the midst of an act on this unit.
    pub failopen: FailOpen,
    /// Usage limit memory.
    pub limit: LimitState,
    /// Dialogs, drafts and errors told or answered.
    pub attend: AttendState,
    /// Wake times.
    pub wake: WakeState,
    /// Text on its way into the pane.
    pub delivery: DeliveryState,
    /// Its part in the plan.
    pub phase: PhaseMemory,
    /// News of the work that it is owed.
    pub handoff: HandoffState,
    /// What people asked of it.
    pub operator: OperatorState,
    /// What was due and withheld, with the reason.
    pub hold: Option<HoldState>,
    /// The last thing done to it.
    pub last_act: Option<LastAct>,
    /// Actions granted so far: each action changes this file before it happens.
    pub acts: u64,
    /// Alerts that outbox.jsonl does not have yet.
    pub owed: Vec<Owed>,
    /// Alerts made so far.
    pub alerts: u64,
    /// News for its parent that the parent's file does not have yet; bounded.
    pub news: Vec<News>,
    /// Its incidents: folders and ledger rows owed, repeats counted.
    #[serde(skip_serializing_if = "IncidentState::is_empty")]
    pub incident: IncidentState,
    /// Going on from a checkpoint.
    #[serde(skip_serializing_if = "RecoveryState::is_empty")]
    pub recovery: RecoveryState,
    /// Its run, for a process outside tmux.
    #[serde(skip_serializing_if = "ProcessState::is_empty")]
    pub process: ProcessState,
    /// Jobs that were ordered and whose results are still to be taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobWait>,
}

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
    fn is_empty(&self) -> bool {
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

/// Jobs of one unit whose results are waited for, at most: the oldest are given up.
pub const JOBS_MAX: usize = 8;

/// A job of the unit's, from its order until its result was taken. Its folder stays as long as this is on record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobWait {
    /// Its folder below `jobs/`.
    pub id: String,
    /// The policy that ordered it.
    pub by: String,
    /// When.
    pub since_awake_s: Awake,
}

/// News of a unit for its parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Unique: the parent takes each once.
    pub id: String,
    /// What it says.
    pub text: String,
}

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

/// The restart budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartState {
    /// The last restarts, oldest first; bounded.
    pub past_awake_s: Vec<Awake>,
    /// The last restarts of what was lost with its tmux server, oldest first; bounded. They have a backoff of their own,
    /// and open no breaker: that the host lost N units says nothing about any of them.
    pub lost_awake_s: Vec<Awake>,
    /// The last restarts that the unit itself asked for (exit status 42), oldest first; bounded. No backoff, but the breaker.
    pub asked_awake_s: Vec<Awake>,
    /// The breaker.
    pub breaker: Breaker,
    /// Stagger after a mass death: not before this instant.
    pub not_before_awake_s: Option<Awake>,
    /// All restarts ever, for people.
    pub total: u64,
    /// A breaker alert was last made at.
    pub told_awake_s: Option<Awake>,
}

/// A circuit breaker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// Remedies allowed.
    #[default]
    Closed,
    /// No remedy until a person approves or the time is over.
    Open { until_awake_s: Awake },
    /// One try was made; if it fails the breaker opens again.
    HalfOpen { since_awake_s: Awake },
}

/// Stall memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StallState {
    /// Start of the present stretch of progress; None while there is none.
    pub progress_since_awake_s: Option<Awake>,
    /// Vetoes that hold, by name, with since when.
    pub vetoes_since: BTreeMap<String, VetoSince>,
    /// A person approved a kill past the vetoes.
    pub approved: bool,
    /// A wait that is longer than is believed was told (its time).
    pub long_wait_told: Option<Wall>,
}

/// Where a unit stands on its ladder. Files from before it was a slice of its own hold it in `stall`: see
/// [`super::upgrade`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LadderState {
    /// Next tier, from 0.
    pub tier: usize,
    /// What the last tier was for.
    pub symptom: Option<SymptomKind>,
    /// The last tier of any sort: the cooldown counts from here.
    pub tier_awake_s: Option<Awake>,
    /// The last one that reached the unit, or its start: the fresh window counts from here.
    pub remedy_awake_s: Option<Awake>,
    /// The last alert of its last tier.
    pub alert_awake_s: Option<Awake>,
    /// Last tiers in a row after which the symptom stood.
    pub failed: u32,
    /// Its circuit breaker.
    pub breaker: Breaker,
    /// Alerts made since the breaker opened: each makes the next one rarer.
    pub tells: u32,
    /// The last of them.
    pub told_awake_s: Option<Awake>,
    /// It runs other code than its repository holds: seen so since.
    pub stale: Option<StaleSince>,
    /// Which old code the last tier was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent_for: Option<StaleSince>,
    /// The restart that it was asked for last.
    pub asked: Option<Asked>,
    /// What the triage command was asked, and said.
    pub triage: TriageState,
}

/// The tier `triage` of one unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TriageState {
    /// Questions ever: numbers the jobs.
    pub count: u64,
    /// The question that is open.
    pub asked: Option<TriageAsked>,
    /// It said "retry": one more nudge is due, and none was typed yet.
    pub retry: bool,
    /// It said "terminate" about this process, and nothing moved since.
    pub passed: Option<TriagePass>,
    /// Why there was no answer the last time, in words; told once while it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A question to the triage command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TriageAsked {
    /// The job.
    pub job: String,
    /// The process that it is about.
    pub process: Option<Process>,
    /// The tier's place in the ladder.
    pub at: usize,
    /// An answer is waited for until then.
    pub until_awake_s: Awake,
}

/// The answer "terminate".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TriagePass {
    /// The process that it is about.
    pub process: Option<Process>,
    /// When the question was answered.
    pub at_awake_s: Awake,
}

/// Who promised to touch its heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Promise {
    /// It was started as a cooperative unit, and its process was not seen yet.
    pub launched: bool,
    /// The process that was started as a cooperative one, or has beaten: only such a one is judged by its heartbeat.
    pub process: Option<Process>,
    /// A process that never beat, and that was told of.
    pub told: Option<Process>,
}

/// Ends of the watchdog itself in the midst of an act on this unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailOpen {
    /// The tick of the last act, by its look at the clock: newer than the heartbeat's, that tick never ended.
    pub acted_awake_s: Option<Awake>,
    /// Such ends, oldest first; bounded. Forgotten when the act of the last one went well.
    pub crashes_awake_s: Vec<Awake>,
    /// The act of the last one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub crashed_in: String,
    /// Nothing is done to the unit since: a person has to approve.
    pub since_awake_s: Option<Awake>,
}

/// Which two commits differ, and since when that is seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StaleSince {
    /// What it runs.
    pub version: String,
    /// What its repository holds.
    pub head: String,
    /// Since.
    pub since_awake_s: Awake,
}

/// A `RESTART` marker that was written for a unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The process that it was for.
    pub process: Option<Process>,
    /// The time that the marker carries.
    pub at: Wall,
}

/// Since when a veto holds, and when its age was last told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VetoSince {
    /// Since.
    pub since_awake_s: Awake,
    /// Told at.
    pub told_awake_s: Option<Awake>,
}

/// Usage limit memory of one unit; an account's limit is the sum of its units'.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitState {
    /// The limit that holds now.
    pub active: Option<Limit>,
    /// When a probe of this unit last succeeded: the account's others may follow.
    pub freed: Option<Wall>,
    /// Kind of limit that was freed then.
    pub freed_kind: String,
}

/// A limit that holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// session, weekly, model or usage.
    pub kind: String,
    /// The banner as shown.
    pub text: String,
    /// First seen.
    pub since: Wall,
    /// Reset time plus slack, or the next probe when no time is readable.
    pub until: Wall,
    /// Whether a reset time was readable.
    pub readable: bool,
    /// When the limit last spoke: first seen, or a probe refused.
    pub armed: Wall,
    /// Probes sent so far.
    pub probes: u32,
    /// A probe is under way since.
    pub probing_awake_s: Option<Awake>,
    /// The probe was typed; its answer is awaited since.
    pub asked_awake_s: Option<Awake>,
    /// The loud alert was made.
    pub loud: bool,
    /// The probe is due and a person's draft is in its way: since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_since: Option<Wall>,
    /// That was told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub draft_told: bool,
    /// Times that the limit's menu was closed.
    pub menu_presses: u32,
    /// The last time.
    pub menu_awake_s: Option<Awake>,
}

/// Dialogs, drafts and errors told or answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttendState {
    /// Digest of the dialog at the last look: an answer needs two looks at the same one.
    pub dialog_look: Option<String>,
    /// Digest of the dialog that was told or answered last.
    pub dialog: Option<String>,
    /// Times that this dialog was answered.
    pub answers: u32,
    /// Dialogs that were answered before this one, since none was open.
    pub dialogs: u32,
    /// When.
    pub answered_awake_s: Option<Awake>,
    /// The composer's text at the last look, while idle with text in it.
    pub draft: Option<Draft>,
    /// Error nudges since the last progress.
    pub error_nudges: u32,
    /// The last one, or the first sight of the error.
    pub error_awake_s: Option<Awake>,
    /// The condition (auth, billing, …) that was told and stands.
    pub told: Option<String>,
    /// Times that the mode was to be left in which the pane is.
    pub mode_tries: u32,
    /// The last one.
    pub mode_awake_s: Option<Awake>,
    /// That it does not leave it was told.
    pub mode_told: bool,
}

/// A draft in the composer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Draft {
    /// Digest of the text.
    pub digest: String,
    /// Looks at which it stood unchanged.
    pub looks: u32,
    /// Since when.
    pub since_awake_s: Awake,
    /// Told to a person or submitted.
    pub handled: bool,
    /// The submit key was pressed at.
    pub submitted_awake_s: Option<Awake>,
    /// Told to a person.
    pub told: bool,
}

/// Wake times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WakeState {
    /// The last wake delivered or run started.
    pub last: Option<Wall>,
    /// The next one.
    pub due: Option<Wall>,
    /// Which schedule `due` belongs to: another one is counted afresh.
    pub schedule: String,
}

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

/// A loop agent's, or the last task's, part in the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhaseMemory {
    /// The phase for which the DONE-nudge was given: once per phase.
    pub nudged: Option<String>,
    /// It was started as `on_complete`: the phase that was the last one then.
    pub completed: Option<String>,
    /// A process of that start was seen: until then it is started again.
    pub ran: bool,
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

/// What people asked of the unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OperatorState {
    /// Ids of the last requests taken; bounded. A request is taken once.
    pub taken: Vec<String>,
    /// A start was asked for and is not seen yet.
    pub start: bool,
    /// The session of its name is to be taken over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub adopt: bool,
}

/// A remedy that was due but withheld.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldState {
    /// What was due.
    pub remedy: String,
    /// Why it was withheld.
    pub why: String,
    /// Since when.
    pub since: Wall,
}

/// The last thing done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAct {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: Wall,
}

impl UnitState {
    /// It runs: its process lives, here or on another host.
    pub fn is_up(&self) -> bool {
        self.seen.process.is_some() || self.process.is_up()
    }

    /// A job was ordered: it is waited for.
    pub fn await_job(&mut self, id: &str, by: &str, now: Awake) {
        self.jobs.retain(|job| job.id != id);
        self.jobs.push(JobWait { id: id.to_owned(), by: by.to_owned(), since_awake_s: now });
        let extra = self.jobs.len().saturating_sub(JOBS_MAX);
        self.jobs.drain(..extra);
    }

    /// A job's result was taken: its folder may go.
    pub fn take_job(&mut self, id: &str) {
        self.jobs.retain(|job| job.id != id);
    }

    /// Adds an alert about this unit.
    pub fn owe(&mut self, name: &str, at: Wall, level: super::mail::Level, text: String) {
        self.alerts = self.alerts.saturating_add(1);
        let id = format!("{name}-{}-{}", self.alerts, at.0);
        self.owed.push(Owed { id, at, level, unit: Some(name.to_owned()), text });
        if self.owed.len() > super::mail::OWED_MAX {
            self.owed.remove(0);
        }
    }

    /// Puts the alerts that were added since there were `count` into an order that does not hang on who spoke first.
    pub fn order_owed(&mut self, count: u64) {
        let added = usize::try_from(self.alerts.saturating_sub(count)).unwrap_or(usize::MAX);
        let start = self.owed.len().saturating_sub(added);
        let Some(added) = self.owed.get_mut(start..) else { return };
        let ids: Vec<String> = added.iter().map(|owed| owed.id.clone()).collect();
        added.sort_by(|a, b| a.text.cmp(&b.text));
        for (owed, id) in added.iter_mut().zip(ids) {
            owed.id = id;
        }
    }
}

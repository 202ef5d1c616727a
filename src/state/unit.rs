//! `units/<name>/unit.json`, the commit unit: everything about one unit that must change together.
//!
//! One field (a *slice*) per policy; a policy writes only its own. Enum variants carry exactly their data.

mod delivery;
mod ending;
mod ladder;
mod recovery;
mod screen;
mod seen;

use super::incident::IncidentState;
use super::mail::Owed;
use super::process::ProcessState;
use crate::base::time::{Awake, Wall};
pub use delivery::{
    Delivery, DeliveryOutcome, DeliveryState, DeliveryStep, HandoffState, Message, PastDelivery, Ping,
    Purpose,
};
pub use ending::{EndCause, EndStep, Ending, Force, SymptomKind, Then};
pub use ladder::{
    Asked, Breaker, FailOpen, LadderState, Promise, RestartState, StaleSince, StallState, TriageAsked,
    TriagePass, TriageState, VetoSince,
};
pub use recovery::{Handoff, HandoffKind, RecoveryPlan, RecoveryState};
pub use screen::{AttendState, Draft, Limit, LimitState};
pub use seen::{Candidate, Corpse, End, Fate, Kickoff, LaunchState, SeenState, Unseen};
use serde::{Deserialize, Serialize};

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

//! What the remedies of a unit remember: restarts, stalls, tiers, triage, breakers, promises of a heartbeat.

use super::ending::SymptomKind;
use crate::base::time::{Awake, Wall};
use crate::model::seen::Process;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
/// [`crate::state::upgrade`].
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

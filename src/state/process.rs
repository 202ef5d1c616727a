//! A process's memory in its `unit.json`: its run, what was found in it, the remedy under way, the attempts that are watched.
//!
//! Deliberately not here: activity clocks (`clocks`), incidents owed (`incident`).

use crate::base::time::{Awake, Wall};
use crate::model::action::FixStep;
use crate::model::incident::Remedy;
use crate::model::process::{Held, LogCursor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Findings of one run whose cooldown is remembered.
const QUIET_MAX: usize = 64;
/// Findings of one run that its end may be explained by.
pub const OPEN_MAX: usize = 16;
/// Attempts that are watched at once.
pub const VERIFY_MAX: usize = 8;
/// Fixes that are to be ended, at once.
pub const FIXES_MAX: usize = 8;
/// Times at which agents were asked that are remembered.
const ASKED_MAX: usize = 200;

/// The slice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessState {
    /// Its run.
    pub run: RunState,
    /// What was found in it.
    pub watch: WatchState,
    /// The remedy that is under way.
    pub remedy: Option<RemedyState>,
    /// Attempts, and whom they lead to.
    pub heal: HealState,
}

/// The run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunState {
    /// Starts so far: recorded before each.
    pub number: u64,
    /// What the host calls it; "" = not known yet.
    pub handle: String,
    /// When it was ordered.
    pub ordered_awake_s: Option<Awake>,
    /// It is at work since.
    pub since: Option<Wall>,
    /// The same on the awake clock; None = it is not at work.
    pub since_awake_s: Option<Awake>,
    /// When its end was judged.
    pub ended_awake_s: Option<Awake>,
    /// The run whose end was judged last.
    pub judged: u64,
    /// Looks at which its log still grew after its end.
    pub draining: u32,
    /// Starts in a row that the host refused.
    pub refused: u32,
    /// Variables that remedies set.
    pub env: BTreeMap<String, String>,
    /// Restarts that count: since the last remedy that was kept.
    pub restarts: u32,
    /// Restarts ever, for people.
    pub total: u64,
    /// What is to become of it.
    pub standing: Standing,
    /// How it ended the last times in a row.
    pub failure: Option<Failure>,
    /// The hold of a start that people were told.
    pub told: Option<String>,
    /// It waits on its host, and begins only when somebody does something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldSince>,
    /// It runs, and what was found in it is left as it is, for its restarts are used up: why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
}

/// A run that waits and never begins by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldSince {
    /// Why, and what helps.
    pub held: Held,
    /// Since when.
    pub since_awake_s: Awake,
}

/// What is to become of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is to run.
    #[default]
    Open,
    /// It is over.
    Finished { well: bool },
    /// It waits for a person.
    Paused { why: String },
    /// It is over: a remedy said so.
    Aborted { why: String },
    /// It was started again as often as was allowed.
    Spent { why: String },
}

/// The same failure in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// Which.
    pub fingerprint: String,
    /// Ends with it.
    pub count: u32,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchState {
    /// Everything before it was judged, and what came of it is in this file.
    pub cursor: LogCursor,
    /// Commits of the cursor: clocks.json may be further, if it knows of this one.
    pub cursors: u64,
    /// When each finding of this run came last.
    pub quiet: Vec<Quiet>,
    /// Findings of this run that its end may be explained by, oldest first.
    pub open: Vec<OpenFinding>,
    /// What is to be judged when the remedy that is under way ends: one event's findings, the telling one first.
    pub waiting: Vec<OpenFinding>,
    /// The run that `quiet`, `open` and `stalled` are about.
    pub run: u64,
    /// Stall detectors that spoke and whose clock has not moved since.
    pub stalled: Vec<String>,
    /// It ran into its deadline.
    pub late: bool,
    /// What was wrong with its log when people were told.
    pub trouble: Option<String>,
    /// Detectors that found too much, of which people were told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub noisy: Vec<String>,
}

/// A finding that came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quiet {
    /// Its detector.
    pub detector: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Digest of the rules that may be meant for it; "" = written by a version that did not tell them apart.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rules: String,
    /// When it last counted.
    pub at_awake_s: Awake,
}

/// A finding that an end may be explained by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenFinding {
    /// It, without its long texts.
    pub finding: crate::model::finding::Finding,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its folder.
    pub incident: String,
    /// When it came last.
    pub at_awake_s: Awake,
    /// The attempt that was made because of it; "" = none.
    pub attempt: String,
}

/// A remedy that was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemedyState {
    /// What, and who chose it.
    pub remedy: Remedy,
    /// The detector.
    pub detector: String,
    /// The failure.
    pub fingerprint: String,
    /// Its folder; "" = none.
    pub incident: String,
    /// The attempt's id.
    pub attempt: String,
    /// When the failure was found.
    pub since_awake_s: Awake,
    /// The run in which it was found.
    pub run: u64,
    /// It needs the proof of a stall before it ends anything.
    #[serde(default)]
    pub stall: bool,
    /// Where it stands.
    pub step: RemedyStep,
    /// The tree holds an agent's edits: the branch that has them too; "" = none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
}

/// Where a remedy stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemedyStep {
    /// To be done.
    #[default]
    Due,
    /// The agent is to be asked.
    Ask { since_awake_s: Awake },
    /// A headless agent thinks.
    Thinking { job: String },
    /// Before a request: what the tree is is written down, for an interactive agent may edit it.
    Opening { job: String },
    /// That is done: the request is to be written.
    Opened { since_awake_s: Awake },
    /// The request lies there for an interactive one.
    Requested { since_awake_s: Awake },
    /// It answered: what it edited goes to a branch, then the answer counts.
    Closing { job: String, answer: String },
    /// A rule's command runs; then it is started again, or not.
    Command { job: String, restart: bool },
}

/// Attempts, and whom they lead to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealState {
    /// Attempts that are watched.
    pub verify: Vec<Verify>,
    /// Restarts in a row that were not kept.
    pub unverified: u32,
    /// A rule's remedy regressed: the next one is the agent's.
    pub escalate: bool,
    /// Why no agent could be asked, when people were told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unasked: Option<String>,
    /// When agents were asked, by detector.
    pub asked: Vec<Asked>,
    /// Jobs so far.
    pub jobs: u64,
    /// An answer that a person or a helper gave.
    pub answer: Option<String>,
    /// Agents' edits whose attempts are over: to be kept, merged or taken back, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<FixDue>,
}

/// An agent's edits whose attempt is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixDue {
    /// The incident.
    pub incident: String,
    /// The attempt.
    pub attempt: String,
    /// The branch; "" = none.
    pub branch: String,
    /// What becomes of them.
    pub step: FixStep,
    /// The job that does it; "" = not ordered yet.
    pub job: String,
    /// The job of an agent that nobody waits for any more, which must have ended before; "" = none.
    #[serde(default)]
    pub after: String,
    /// A person's work may be out of the tree until then: it is put back whatever is said of the unit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aside: bool,
    /// When it was tried in vain, for something that passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried_awake_s: Vec<Awake>,
}

/// An attempt that is watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verify {
    /// The attempt's id.
    pub attempt: String,
    /// Its incident.
    pub incident: String,
    /// The detector.
    pub detector: String,
    /// What must stay away.
    pub fingerprint: String,
    /// Who chose it, as in attempts.tsv.
    pub source: String,
    /// What was done.
    pub action: String,
    /// When the failure was found.
    pub since_awake_s: Awake,
    /// Seconds of work without it.
    pub silent_s: f64,
    /// Up to where they are counted; None = it does not work now.
    pub counted_awake_s: Option<Awake>,
    /// The tree holds an agent's edits: the branch that has them too; "" = none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// The variables that it set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
}

/// An agent was asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// About what.
    pub detector: String,
    /// When.
    pub at_awake_s: Awake,
}

impl ProcessState {
    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        *self == ProcessState::default()
    }

    /// It is at work.
    pub fn is_up(&self) -> bool {
        self.run.since_awake_s.is_some()
    }

    /// A person says go on: every budget is fresh, and what waits for a person waits no more.
    pub fn approve(&mut self) {
        match self.run.standing {
            Standing::Paused { .. } | Standing::Spent { .. } => self.reopen(),
            Standing::Open | Standing::Finished { .. } | Standing::Aborted { .. } => {}
        }
        self.run.restarts = 0;
        self.run.failure = None;
        (self.run.told, self.run.stuck) = (None, None);
        self.heal.unasked = None;
        (self.heal.unverified, self.heal.escalate) = (0, false);
        self.heal.asked.clear();
    }

    /// It is to run again.
    pub fn reopen(&mut self) {
        self.run.standing = Standing::Open;
        self.run.failure = None;
        self.run.restarts = 0;
    }
}

impl Quiet {
    fn is(&self, detector: &str, fingerprint: &str, rules: &str) -> bool {
        let same_rules = self.rules.is_empty() || self.rules == rules;
        self.detector == detector && self.fingerprint == fingerprint && same_rules
    }
}

impl WatchState {
    /// When this failure, as far as these rules go, last counted in this run.
    pub fn last(&self, detector: &str, fingerprint: &str, rules: &str) -> Option<Awake> {
        let same = |quiet: &&Quiet| quiet.is(detector, fingerprint, rules);
        self.quiet.iter().filter(same).map(|quiet| quiet.at_awake_s).max()
    }

    /// It counted now.
    pub fn came(&mut self, detector: &str, fingerprint: &str, rules: &str, now: Awake) {
        self.quiet.retain(|quiet| !quiet.is(detector, fingerprint, rules));
        self.quiet.push(Quiet {
            detector: detector.to_owned(),
            fingerprint: fingerprint.to_owned(),
            rules: rules.to_owned(),
            at_awake_s: now,
        });
        let extra = self.quiet.len().saturating_sub(QUIET_MAX);
        self.quiet.drain(..extra);
    }
}

impl HealState {
    /// Agents asked about a detector since then.
    pub fn asked_since(&self, detector: &str, since: Awake) -> usize {
        self.asked.iter().filter(|asked| asked.detector == detector && asked.at_awake_s >= since).count()
    }

    /// An agent that was to be asked was not: it does not count.
    pub fn unask(&mut self, detector: &str) {
        if let Some(at) = self.asked.iter().rposition(|asked| asked.detector == detector) {
            self.asked.remove(at);
        }
    }

    /// An agent is asked.
    pub fn ask(&mut self, detector: &str, now: Awake) {
        self.asked.push(Asked { detector: detector.to_owned(), at_awake_s: now });
        let extra = self.asked.len().saturating_sub(ASKED_MAX);
        self.asked.drain(..extra);
    }
}

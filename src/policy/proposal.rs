//! What policies say: proposals with their reasons, holds, events; and the decision that comes of them.

use crate::base::names::UnitName;
use crate::base::time::Wall;
use crate::model::action::{Action, Job, Signal};
use crate::state::State;
use crate::state::unit::{Ending, LastAct, Message};
use serde::{Deserialize, Serialize};

/// What a proposal is for. The order is the priority: an earlier claim wins over a later one of the same unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// A step of an end under way.
    End,
    /// Starting what is wanted and does not run.
    Start,
    /// Keys that answer a dialog or close a menu.
    Answer,
    /// A step of a delivery under way.
    Deliver,
    /// Beginning an end that a person or a config change ordered.
    Order,
    /// Beginning an end that the ladder wants.
    Kill,
    /// Submitting our own stranded text.
    Submit,
    /// The first prompt.
    Kickoff,
    /// A person's text.
    Operator,
    /// Asking whether a limit is over.
    Probe,
    /// Going on after an error.
    Continue,
    /// A reminder.
    Nudge,
    /// A scheduled prompt.
    Wake,
    /// News of the work.
    Ping,
    /// News for a parent.
    Report,
    /// Clearing away what is left of something that is over.
    Tidy,
}

/// What would happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An effect on the world, now.
    Act(Action),
    /// A delivery begins; its steps follow.
    Deliver(Message),
    /// An end begins; its steps follow.
    End(Ending),
}

/// Who wants it: a person's wish is honoured in a pause and by a command without a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A person asked for it.
    Person,
    /// A policy concluded it.
    Policy,
}

/// Why: what was seen, the comparisons made, the rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which rule, as `policy.rule`: greppable in events.
    pub rule: String,
    /// What was seen, in words.
    pub seen: String,
    /// The comparisons, each as `idle 372 s ≥ stall_idle 300 s`.
    pub compared: Vec<String>,
}

/// A wish of one policy for one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Whose.
    pub unit: UnitName,
    /// The policy that pays when it is granted.
    pub by: String,
    /// Its priority.
    pub claim: Claim,
    /// Who wants it.
    pub origin: Origin,
    /// The deed.
    pub what: What,
    /// The deed in words: `restart`, `nudge`.
    pub label: String,
    /// Why.
    pub why: Reason,
}

/// A remedy that was due but withheld.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whose.
    pub unit: UnitName,
    /// What was due.
    pub remedy: String,
    /// Why it was withheld.
    pub why: String,
}

/// One line of `events/<day>.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Wall,
    /// Whom it is about; None = the fleet.
    pub unit: Option<String>,
    /// What sort of event.
    pub kind: EventKind,
    /// One line for people.
    pub text: String,
    /// The reasons, for decisions and holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Reason>,
}

/// The sorts of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The believed state changed.
    State,
    /// An action was granted.
    Act,
    /// It would have been granted (`observe_only`).
    Would,
    /// What became of an action that failed.
    Failed,
    /// A remedy is withheld, or no longer.
    Hold,
    /// People were told.
    Alert,
    /// A limit began, was re-armed, or ended.
    Limit,
    /// A delivery ended.
    Delivery,
    /// A wake was skipped or deferred.
    Wake,
    /// The plan moved on, or is complete.
    Phase,
    /// News of the work for an agent; the branch was rewritten.
    Handoff,
    /// A request was handled.
    Request,
    /// The fleet: server gone, mass death, config, watchdog.
    Fleet,
    /// A state file was broken, or edited while we wrote.
    File,
}

/// What folds leave beside the state.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Events of this tick.
    pub events: Vec<Event>,
    /// Seconds until somebody should look again; None = the usual interval.
    pub due_s: Option<f64>,
}

impl Notes {
    /// Somebody should look again in `seconds`.
    pub fn due_in(&mut self, seconds: f64) {
        let seconds = seconds.max(0.05);
        self.due_s = Some(self.due_s.map_or(seconds, |due| due.min(seconds)));
    }

    /// Adds an event.
    pub fn event(&mut self, at: Wall, unit: Option<&UnitName>, kind: EventKind, text: impl Into<String>) {
        self.events.push(Event {
            at,
            unit: unit.map(ToString::to_string),
            kind,
            text: text.into(),
            why: None,
        });
    }
}

/// The wishes of all policies for one unit.
#[derive(Clone, Debug)]
pub struct Proposals {
    unit: UnitName,
    by: &'static str,
    /// The wishes.
    pub wanted: Vec<Proposal>,
    /// What policies themselves withhold.
    pub held: Vec<Hold>,
    /// Seconds until somebody should look again.
    pub due_s: Option<f64>,
    /// Why it is acted on in no tick together with another unit of which that is said.
    pub alone: Option<String>,
}

impl Proposals {
    /// Nothing yet.
    pub fn new(unit: &UnitName) -> Proposals {
        Proposals {
            unit: unit.clone(),
            by: "",
            wanted: Vec::new(),
            held: Vec::new(),
            due_s: None,
            alone: None,
        }
    }

    /// From here on the policy `name` speaks.
    pub fn by(&mut self, name: &'static str) {
        self.by = name;
    }

    /// A wish of a policy.
    pub fn want(&mut self, claim: Claim, label: &str, what: What, why: Reason) {
        self.push(claim, Origin::Policy, label, what, why);
    }

    /// A person's wish.
    pub fn asked(&mut self, claim: Claim, label: &str, what: What, why: Reason) {
        self.push(claim, Origin::Person, label, what, why);
    }

    fn push(&mut self, claim: Claim, origin: Origin, label: &str, what: What, why: Reason) {
        let by = self.by.to_owned();
        self.wanted.push(Proposal {
            unit: self.unit.clone(),
            by,
            claim,
            origin,
            what,
            label: label.to_owned(),
            why,
        });
    }

    /// A remedy is due, but withheld.
    pub fn hold(&mut self, remedy: &str, why: impl Into<String>) {
        self.held.push(Hold { unit: self.unit.clone(), remedy: remedy.to_owned(), why: why.into() });
    }

    /// Somebody should look again in `seconds`.
    pub fn due_in(&mut self, seconds: f64) {
        let seconds = seconds.max(0.05);
        self.due_s = Some(self.due_s.map_or(seconds, |due| due.min(seconds)));
    }
}

impl Reason {
    /// A reason: the rule's name, what was seen, the comparisons.
    pub fn new(rule: &str, seen: impl Into<String>, compared: Vec<String>) -> Reason {
        Reason { rule: rule.to_owned(), seen: seen.into(), compared }
    }

    /// The reason on one line.
    pub fn sentence(&self) -> String {
        if self.compared.is_empty() {
            self.seen.clone()
        } else {
            format!("{}; {}", self.seen, self.compared.join("; "))
        }
    }
}

impl Proposal {
    /// What unit.json remembers of it.
    pub fn as_last_act(&self, at: Wall) -> LastAct {
        LastAct { what: self.label.clone(), why: self.why.sentence(), at }
    }

    /// Does it end a running process, or begin to? The beginning counts, and so does the first signal: many that wait
    /// for the end of their turns may come to it in one instant.
    pub fn is_disruption(&self) -> bool {
        let term = matches!(&self.what, What::Act(Action::Signal { signal: Signal::Term, .. }));
        term || self.claim == Claim::Order || self.claim == Claim::Kill
    }
}

/// What is to be done and remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The state to commit before anything is done.
    pub next: State,
    /// Markers to set or remove (requests of people).
    pub markers: Vec<Action>,
    /// Slow work to start, already recorded in `next`.
    pub jobs: Vec<Job>,
    /// What was granted, each already paid for in `next`.
    pub granted: Vec<Proposal>,
    /// What was withheld.
    pub holds: Vec<Hold>,
    /// What to write down.
    pub events: Vec<Event>,
    /// Seconds until somebody should look again; None = the usual interval.
    pub due_s: Option<f64>,
}

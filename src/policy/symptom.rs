//! What is wrong with a living unit, as the ladder takes it: the kind, the rule, the numbers, what proves it.
//!
//! Deliberately not here: what is done about it (ladder), and death, which needs no ladder: what does not run is started
//! (restart), so a unit without a process skips every tier that would speak to it.

use super::context::UnitContext;
use super::{cooperation, stall};
use crate::config::{Tier, Watch};
use crate::state::unit::{SymptomKind, UnitState};

/// A symptom, with the comparison that makes it one.
#[derive(Clone, Debug, PartialEq)]
pub struct Symptom {
    /// Which.
    pub kind: SymptomKind,
    /// `stall.idle`, `stall.hung`, `stall.overdue`, `cooperation.silent`, `cooperation.stale`.
    pub rule: &'static str,
    /// What was seen.
    pub seen: String,
    /// The numbers compared.
    pub compared: String,
    /// What proves it.
    pub proof: Proof,
}

/// What a kill for it stands on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Proof {
    /// Two clocks that are stale for so long, seconds.
    Clocks { threshold_s: f64 },
    /// The unit's own promise, which it did not keep: its heartbeat, its version.
    Promise,
}

/// What is wrong with the unit now, the worst first. A pure query, also for `status`.
pub fn symptom(context: &UnitContext<'_>, state: &UnitState) -> Option<Symptom> {
    cooperation::silent(context, state)
        .or_else(|| stall::stalled(context, state))
        .or_else(|| cooperation::stale(context, state))
}

/// Is it of those that a unit's idleness or silence on the screen shows?
pub fn is_stall(kind: SymptomKind) -> bool {
    match kind {
        SymptomKind::Stalled | SymptomKind::Hung => true,
        SymptomKind::Silent | SymptomKind::Stale => false,
    }
}

/// What is wrong, in words that follow a unit's name.
pub fn what(kind: SymptomKind) -> &'static str {
    match kind {
        SymptomKind::Stalled | SymptomKind::Hung => "is stalled",
        SymptomKind::Silent => "is silent",
        SymptomKind::Stale => "runs old code",
    }
}

impl Symptom {
    /// How much of a unit must be watched for anything to be done about it.
    pub fn least(&self) -> Watch {
        if is_stall(self.kind) { Watch::HealStall } else { Watch::Heal }
    }

    /// Does this tier do anything about it? A reminder wakes who idles, and brings no new code.
    pub fn fits(&self, tier: Tier) -> bool {
        match tier {
            Tier::Nudge => is_stall(self.kind),
            // Nobody is asked yet: nothing to wait for.
            Tier::Triage => false,
            Tier::Warn | Tier::RequestRestart | Tier::Terminate | Tier::KillStart | Tier::Alert => true,
        }
    }

    /// Is it tried again after a person was told? A unit that broke its own promise is; an idle agent is left to people,
    /// for it may have nothing to do, and new code that does not come by two restarts comes by no third.
    pub fn is_tried_again(&self) -> bool {
        match self.kind {
            SymptomKind::Silent => true,
            SymptomKind::Stalled | SymptomKind::Hung | SymptomKind::Stale => false,
        }
    }
}

//! The arbiter: at most one action per unit, a capped number of disruptions per fleet and tick. What it withholds is
//! a hold with its reason. Deliberately not here: any knowledge of what the proposals are about.

use super::proposal::{Claim, EventKind, Hold, Notes, Origin, Proposal, Proposals};
use crate::config::Config;
use crate::model::seen::{Observation, Scope};
use std::collections::BTreeMap;

/// What the arbiter decided.
#[derive(Clone, Debug, Default)]
pub struct Ruling {
    /// To be paid for and done.
    pub granted: Vec<Proposal>,
    /// Withheld, at most one per unit: the one that matters most.
    pub holds: Vec<Hold>,
}

/// Most starts in one tick: a fleet of hundreds comes up over several follow-up ticks, so that a tick stays short.
pub const STARTS_MAX: usize = 20;

/// How the hold of an act that `observe_only` withholds begins.
pub const OBSERVED: &str = "observe_only; would, because ";

/// Rules on all proposals of one tick.
pub fn rule(config: &Config, seen: &Observation, units: Vec<Proposals>, notes: &mut Notes) -> Ruling {
    let mut ruling = Ruling::default();
    let mut best: Vec<Proposal> = Vec::new();
    let mut alone = BTreeMap::new();
    for mut unit in units {
        if let Some(due) = unit.due_s {
            notes.due_in(due);
        }
        if let Some((why, proposal)) = unit.alone.take().zip(unit.wanted.first()) {
            alone.insert(proposal.unit.clone(), why);
        }
        // Ties are broken by label, so that the order of the policy table does not matter.
        unit.wanted.sort_by(|a, b| (a.claim, &a.label, &a.by).cmp(&(b.claim, &b.label, &b.by)));
        unit.held.sort_by(|a, b| (&a.remedy, &a.why).cmp(&(&b.remedy, &b.why)));
        best.extend(unit.wanted.into_iter().find(|p| in_scope(seen.scope, p.origin)));
        ruling.holds.extend(unit.held.into_iter().next());
    }
    best.sort_by_key(|p| (p.claim, config.units.get(&p.unit).map_or(0, |unit| unit.position)));
    let (mut disruptions, mut starts) = (0, 0);
    for proposal in best {
        let beside = || ruling.granted.iter().any(|granted| alone.contains_key(&granted.unit));
        let refused = match alone.get(&proposal.unit).filter(|_| beside()) {
            Some(why) => Some(Refusal::Later(why.clone())),
            None => refusal(config, &proposal, &mut disruptions, &mut starts),
        };
        match refused {
            None => ruling.granted.push(proposal),
            Some(Refusal::Observe) => {
                ruling.holds.retain(|hold| hold.unit != proposal.unit);
                let why = format!("{OBSERVED}{}", proposal.why.sentence());
                ruling.holds.push(hold(&proposal, why));
            }
            Some(Refusal::Later(why)) => {
                notes.due_in(1.0);
                ruling.holds.retain(|hold| hold.unit != proposal.unit);
                ruling.holds.push(hold(&proposal, why));
            }
        }
    }
    // A remedy that was granted says more than one that was withheld.
    ruling.holds.retain(|hold| !ruling.granted.iter().any(|p| p.unit == hold.unit));
    for granted in &ruling.granted {
        notes.event(seen.now.wall, Some(&granted.unit), EventKind::Act, granted.label.clone());
        if let Some(event) = notes.events.last_mut() {
            event.why = Some(granted.why.clone());
        }
        notes.due_in(0.5);
    }
    ruling
}

enum Refusal {
    Observe,
    Later(String),
}

fn refusal(
    config: &Config,
    proposal: &Proposal,
    disruptions: &mut usize,
    starts: &mut usize,
) -> Option<Refusal> {
    if config.watchdog.observe_only && proposal.origin == Origin::Policy {
        return Some(Refusal::Observe);
    }
    if proposal.claim == Claim::Start {
        *starts += 1;
        if *starts > STARTS_MAX {
            return Some(Refusal::Later(format!("{STARTS_MAX} units were started in this tick already")));
        }
    }
    if proposal.is_disruption() && proposal.origin == Origin::Policy {
        *disruptions += 1;
        let max = config.watchdog.max_disruptions;
        if *disruptions > max {
            return Some(Refusal::Later(format!("max_disruptions {max} reached in this tick")));
        }
    }
    None
}

fn hold(proposal: &Proposal, why: String) -> Hold {
    Hold { unit: proposal.unit.clone(), remedy: proposal.label.clone(), why }
}

fn in_scope(scope: Scope, origin: Origin) -> bool {
    match (scope, origin) {
        (Scope::All, _) | (Scope::Asked, Origin::Person) => true,
        (Scope::Asked, Origin::Policy) => false,
    }
}

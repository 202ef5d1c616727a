//! Pure: config, state and observation in, a decision out. No I/O, no clock, no environment.
//!
//! `decide` runs four steps: *fold* (each policy takes the facts into its own slice), *propose* (read-only), the
//! *arbiter* (at most one action per unit, a capped number per fleet; what it withholds is a hold with its reason),
//! *charge* (each policy pays for what was granted, before it happens). One file per policy, one row per policy in
//! [`POLICIES`]; any order of the rows gives the same decision.

pub mod account;
pub mod activity;
pub mod arbiter;
pub mod attend;
pub mod belief;
pub mod context;
pub mod cooperation;
pub mod deliver;
pub mod ending;
pub mod failopen;
pub mod fetch;
pub mod guard_text;
pub mod handoff;
pub mod kickoff;
pub mod ladder;
pub mod launch;
pub mod limit;
pub mod notify;
pub mod operator;
pub mod phase;
pub mod plan;
pub mod process;
pub mod proposal;
pub mod recovery;
pub mod restart;
pub mod stall;
pub mod summary;
pub mod summary_text;
pub mod symptom;
#[cfg(test)]
mod testing;
pub mod tokens;
pub mod triage;
pub mod verdict;
pub mod veto;
pub mod wake;
pub mod wants;

#[cfg(test)]
mod stories;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::model::action::Action;
use crate::model::seen::Observation;
use crate::state::State;
use crate::state::unit::UnitState;
use context::{Fleet, UnitContext};
use proposal::{Claim, Decision, Notes, Proposal, Proposals, What};
use std::collections::BTreeMap;

/// One policy: three pure functions over its own slice of a unit's state.
#[derive(Clone, Copy)]
pub struct Policy {
    /// Its name in events.
    pub name: &'static str,
    /// Takes this tick's facts into its slice.
    pub fold: fn(&UnitContext<'_>, &mut UnitState, &mut Notes),
    /// Says what it wants done, and what it withholds.
    pub propose: fn(&UnitContext<'_>, &UnitState, &mut Proposals),
    /// Pays for what was granted.
    pub charge: fn(&UnitContext<'_>, &Proposal, &mut UnitState),
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The policies of single units.
pub const POLICIES: &[Policy] = &[
    ending::POLICY,
    restart::POLICY,
    recovery::POLICY,
    phase::POLICY,
    handoff::POLICY,
    deliver::POLICY,
    limit::POLICY,
    attend::POLICY,
    stall::POLICY,
    ladder::POLICY,
    wake::POLICY,
    process::POLICY,
];

/// What is to be done and remembered, from what is wanted, remembered and seen.
pub fn decide(config: &Config, previous: &State, seen: &Observation) -> Decision {
    decide_with(POLICIES, config, previous, seen)
}

/// [`decide`] with another table of policies: for tests of the order and for the simulator's mutants.
pub fn decide_with(policies: &[Policy], config: &Config, previous: &State, seen: &Observation) -> Decision {
    let mut next = previous.clone();
    let mut notes = Notes::default();
    let mut markers = Vec::new();

    // Beliefs and clocks first: every policy reads them, none writes them.
    activity::fold(config, previous, seen, &mut next);
    for (name, unit) in &config.units {
        let state = next.units.entry(name.clone()).or_default();
        if unit.process().is_some() {
            process::belief(&seen.now, seen.units.get(name), state);
            continue;
        }
        let before = state.seen.clone();
        belief::fold(&seen.now, &seen.server, unit, seen.units.get(name), &mut state.seen);
        if let Some(unit_seen) = seen.units.get(name) {
            let (idle_s, clocks) = (config.watchdog.stall_idle_s, next.clocks.units.get(name));
            verdict::fold(&seen.now, idle_s, name, unit_seen, clocks, &before, state);
        }
    }
    operator::handle(config, seen, &mut next, &mut markers, &mut notes);
    // A pause or a stop that is asked for in this tick counts in this tick.
    let marked = operator::with_marks(seen, &markers);
    let seen = marked.as_ref();
    // The fleet's own folds: where the plan stands first, the others go by it.
    plan::fold(config, seen, &mut next, &mut markers, &mut notes);
    let stage = plan::stage(config, &next.phase, seen.branch.as_ref());
    handoff::fold(config, previous, seen, &stage, &mut next, &mut notes);
    let jobs = fetch::fold(config, seen, &stage, &mut next, &mut notes).into_iter().collect();
    let fleet = Fleet::new(config, previous, &next, seen);

    let mut proposals = Vec::new();
    for (name, unit) in &config.units {
        let mut state = next.units.get(name).cloned().unwrap_or_default();
        let context = UnitContext::new(config, seen, &fleet, previous, &next, name, unit);
        let alerts = state.alerts;
        failopen::fold(&seen.now, name, context.seen.crashed_on, &mut state, &mut notes);
        for policy in policies {
            (policy.fold)(&context, &mut state, &mut notes);
        }
        state.order_owed(alerts);
        let mut wanted = Proposals::new(name);
        for policy in policies {
            wanted.by(policy.name);
            (policy.propose)(&context, &state, &mut wanted);
        }
        failopen::withhold(name, &state, &mut wanted);
        proposals.push(wanted);
        next.units.insert(name.clone(), state);
    }

    let position = tokens::Position::new(&stage, next.git.label_of(&next.phase.id));
    tokens::fold(config, seen, &position, &mut next.tokens);
    let ruling = arbiter::rule(config, seen, proposals, &mut notes);
    let mut ended = BTreeMap::new();
    for granted in &ruling.granted {
        let Some(unit) = config.units.get(&granted.unit) else { continue };
        let Some(mut state) = next.units.get(&granted.unit).cloned() else { continue };
        let context = UnitContext::new(config, seen, &fleet, previous, &next, &granted.unit, unit);
        match &granted.what {
            What::Act(Action::LeaveMode { .. }) => {
                attend::left_mode(&context, &mut state);
                state.failopen.acted_awake_s = Some(seen.now.awake_s);
            }
            What::Act(Action::RunJob { job }) => {
                state.await_job(&job.id, &granted.by, seen.now.awake_s);
            }
            What::Act(_) => state.failopen.acted_awake_s = Some(seen.now.awake_s),
            What::Deliver(message) => deliver::begin(&context, &mut state, message.clone()),
            // A text under way waits for what comes of it: the next process, or the end being called off.
            What::End(ending) => ending::begin(&mut state, ending.clone()),
        }
        if granted.claim == Claim::Start {
            // A start makes the belief a new one: what was believed until then is news all the same.
            ended.insert(granted.unit.clone(), state.seen.clone());
        }
        for policy in policies.iter().filter(|policy| policy.name == granted.by) {
            (policy.charge)(&context, granted, &mut state);
        }
        state.acts = state.acts.saturating_add(1);
        state.last_act = Some(granted.as_last_act(seen.now.wall));
        next.units.insert(granted.unit.clone(), state);
    }
    let past = notify::Past { previous, ended: &ended };
    notify::pass(config, &past, seen, &fleet, &ruling, &mut next, &mut notes);
    Decision {
        next,
        markers,
        jobs,
        granted: ruling.granted,
        holds: ruling.holds,
        events: notes.events,
        due_s: notes.due_s,
    }
}

//! What the next look should include: facts that cost something are gathered only where a policy needs them.

use crate::base::names::UnitName;
use crate::base::time::Now;
use crate::config::{AgentKind, Config};
use crate::model::seen::{Process, ScreenState};
use crate::state::State;
use crate::state::unit::{DeliveryStep, EndStep, UnitState};
use std::collections::{BTreeMap, BTreeSet};

/// Costly facts, by unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wants {
    /// Units whose process tree is needed, with the processes that were signalled already.
    pub trees: BTreeMap<UnitName, Vec<Process>>,
    /// Units whose tools' CPU is to be sampled: those that near a stall.
    pub cpu: BTreeSet<UnitName>,
    /// Units whose delivery buffer is to be looked for, with its name.
    pub buffers: BTreeMap<UnitName, String>,
}

/// What is needed for these units in their present state.
pub fn wants(config: &Config, state: &State, now: &Now) -> Wants {
    let mut wants = Wants::default();
    for (name, unit) in &config.units {
        let Some(unit_state) = state.units.get(name) else { continue };
        if let Some(ending) = &unit_state.ending {
            let signalled = match &ending.step {
                EndStep::Wanted => Vec::new(),
                EndStep::Termed { processes, .. } | EndStep::Killed { processes, .. } => processes.clone(),
            };
            wants.trees.insert(name.clone(), signalled);
        }
        if let Some(delivery) = &unit_state.delivery.current
            && delivery.step != DeliveryStep::Wanted
        {
            wants.buffers.insert(name.clone(), super::deliver::buffer(config, name, delivery.id));
        }
        let near = config.watchdog.stall_idle_s / 2.0;
        // A persistent agent that is idle waits for work, however long: that is no stall.
        let rests = unit_state.seen.state == ScreenState::Idle
            && unit.agent().is_some_and(|agent| agent.kind == AgentKind::Persistent);
        if unit.agent().is_some() && !rests && nears_stall(state, name, unit_state, now, near) {
            wants.cpu.insert(name.clone());
        }
    }
    wants
}

/// The jobs whose results units wait for: the next look says how they stand, and their folders are kept.
pub fn jobs(state: &State) -> BTreeSet<String> {
    state.units.values().flat_map(|unit| unit.jobs.iter().map(|job| job.id.clone())).collect()
}

fn nears_stall(state: &State, name: &UnitName, unit: &UnitState, now: &Now, near_s: f64) -> bool {
    let can_stall = match unit.seen.state {
        // A draft: perhaps a text of ours that nobody could submit.
        ScreenState::Idle
        | ScreenState::Draft
        | ScreenState::Busy
        | ScreenState::Starting
        | ScreenState::Unknown => true,
        ScreenState::Onboarding
        | ScreenState::Blocked
        | ScreenState::Limited
        | ScreenState::Error
        | ScreenState::Dead
        | ScreenState::Shell => false,
    };
    let clocks = state.clocks.units.get(name);
    let quiet = clocks
        .and_then(|c| c.screen.as_ref())
        .is_some_and(|c| now.awake_s.since_s(c.changed_awake_s) >= near_s);
    can_stall && quiet && unit.seen.process.is_some()
}

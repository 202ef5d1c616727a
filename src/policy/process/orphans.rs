//! What a run left behind is ended before the next one starts: two of them would share files, ports and memory. Only members
//! of its own session that still carry its mark; they get what every end gets (`ending`): TERM, grace, KILL.
//!
//! Deliberately not here: how they are told from other processes (`sys::hosts::local`). What a run leaves behind that is
//! not started again stays.

use super::super::context::UnitContext;
use super::super::ending;
use super::super::proposal::{Claim, Origin, Proposals, Reason, What};
use crate::config::{ProcessHost, ProcessUnit, Watch};
use crate::model::process::RunSeen;
use crate::model::seen::Process;
use crate::state::process::Standing;
use crate::state::unit::{EndCause, Ending, Then, UnitState};

/// Is it to be looked for what its last run left behind? While it is ended, and before it is started.
pub(super) fn wanted(unit: &ProcessUnit, state: &UnitState) -> bool {
    let starts = state.process.run.standing == Standing::Open || state.operator.start;
    unit.host == ProcessHost::Local && (state.ending.is_some() || starts)
}

/// Proposes their end in the place of a start, or a look for them. False = there are none, or they may not be ended.
pub(super) fn propose(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    origin: Origin,
    out: &mut Proposals,
) -> bool {
    let ended = matches!(context.run(), Some(RunSeen::Ended { .. })) && unit.host == ProcessHost::Local;
    if ended && !context.before.units.get(context.name).is_some_and(|before| wanted(unit, before)) {
        // A person's order came with this very look: nobody looked for them yet.
        out.due_in(0.0);
        return true;
    }
    let left: &[Process] =
        context.seen.process.as_ref().map(|seen| seen.leftovers.as_slice()).unwrap_or_default();
    let held = origin == Origin::Policy && context.gate(state, Watch::Heal).is_some();
    if left.is_empty() || held {
        return false;
    }
    let processes = if left.len() == 1 { "process" } else { "processes" };
    let text = format!("run {} left {} {processes} behind", state.process.run.number, left.len());
    let pids = left.iter().map(|process| format!("pid {}", process.pid)).collect();
    let why = Reason::new("process.leftovers", text, pids);
    let (label, claim) = ("end leftovers", Claim::Order);
    let end = |cause| Ending { process: None, ..ending::ending(context, Then::Start, cause, &why) };
    match origin {
        Origin::Person => out.asked(claim, label, What::End(end(EndCause::Ordered)), why.clone()),
        Origin::Policy => out.want(claim, label, What::End(end(EndCause::Remedy)), why.clone()),
    }
    true
}

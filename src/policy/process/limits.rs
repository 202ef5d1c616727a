//! What bounds healing: the budget of restarts, the agents asked in an hour, and what can't be done to somebody else's process.
//!
//! Deliberately not here: what a remedy does when nothing bounds it (`heal`).

use super::super::context::UnitContext;
use super::{choice, failure, verify};
use crate::base::text::counted;
use crate::config::{ProcessHost, ProcessUnit};
use crate::model::finding::{Finding, FindingKind};
use crate::state::attempts::Status;
use crate::state::process::{OpenFinding, RemedyState, RemedyStep};
use crate::state::unit::UnitState;

/// The hour of `max_attempts_per_hour`.
const HOUR_S: f64 = 3600.0;

/// Whoever wants one more start, the budget says whether: a rule, an agent, a command. Before anything is ended for it.
pub(super) fn budget(context: &UnitContext<'_>, unit: &ProcessUnit, state: &mut UnitState) {
    let used = state.process.run.restarts;
    let wants = |remedy: &RemedyState| remedy.step == RemedyStep::Due && choice::restarts(&remedy.remedy);
    if used < unit.restart.max || state.ending.is_some() {
        return;
    }
    let Some(remedy) = state.process.remedy.clone().filter(wants) else { return };
    let why = format!("{} not kept: `{}`", counted(used as usize, "restart"), remedy.detector);
    verify::concluded(context, state, &remedy, Status::Crashed, "the budget of restarts is used up");
    let is_it = |open: &&OpenFinding| open.fingerprint == remedy.fingerprint;
    let open = state.process.watch.open.iter().rfind(is_it).cloned();
    let kind = if remedy.stall { FindingKind::Stall } else { FindingKind::default() };
    let finding = Finding { detector: remedy.detector.clone(), kind, ..Finding::default() };
    let found = open.unwrap_or(OpenFinding {
        finding,
        fingerprint: remedy.fingerprint,
        incident: remedy.incident,
        at_awake_s: remedy.since_awake_s,
        ..OpenFinding::default()
    });
    failure::spent(context, state, &found, why);
}

/// Why the agent must not be asked now: it was, too often in the last hour.
pub(super) fn capped(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    remedy: &RemedyState,
) -> Option<String> {
    let max = unit.healing.max_attempts_per_hour;
    let asked = state.process.heal.asked_since(&remedy.detector, context.now.awake_s.plus_s(-HOUR_S));
    (asked >= max as usize).then(|| {
        format!(
            "asked {asked} times about `{}` in the last hour (limit {max}); `watchkeeper approve {}` lifts it",
            remedy.detector, context.name
        )
    })
}

/// Why this can't be done to what somebody else started: nobody here could start it again.
pub(super) fn impossible(unit: &ProcessUnit, action: &str) -> Option<&'static str> {
    let ProcessHost::Attach { allow_kill, .. } = &unit.host else { return None };
    match action {
        "restart" | "restart-with-env" => {
            Some("what was started by somebody else is never ended to be started again")
        }
        "pause" | "abort" if !allow_kill => Some("somebody else started it, and `allow_kill` is not set"),
        _ => None,
    }
}

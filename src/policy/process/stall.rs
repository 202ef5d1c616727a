//! Stalls: no output for so long, or a metric that does not move; and the proof that ending a silent process needs.
//!
//! The clocks are kept by `activity`, on the awake clock, and pushed on by the time in which nobody looked.

use super::super::context::UnitContext;
use super::super::proposal::Notes;
use super::super::veto::{self, Veto};
use crate::base::names::UnitName;
use crate::base::time::{Awake, Now, human_s};
use crate::config::{DetectorConfig, DetectorKind, ProcessHost, ProcessUnit};
use crate::model::finding::{Finding, FindingKind};
use crate::model::process::RunSeen;
use crate::state::State;
use crate::state::clocks::UnitClocks;
use crate::state::process::RemedyState;
use crate::state::unit::UnitState;

/// CPU samples that prove idleness cover this share of the silence, or this many seconds.
const CPU_QUIET_S: f64 = 60.0;
const CPU_QUIET_SHARE: f64 = 0.25;

/// Since when a detector's clock stands; a run's own beginning is its first movement.
fn since(detector: &DetectorConfig, clocks: &UnitClocks, run: Awake) -> Option<(Awake, f64)> {
    let DetectorKind::Stall { metric, no_progress_s } = &detector.kind else { return None };
    let clock = match metric {
        Some(_) => clocks.metrics.get(&detector.name).map(|clock| clock.changed_awake_s),
        None => clocks.screen.as_ref().map(|clock| clock.changed_awake_s),
    };
    Some((clock.map_or(run, |at| at.max(run)), *no_progress_s))
}

/// The stalls that begin now.
pub(super) fn found(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    notes: &mut Notes,
) -> Vec<Finding> {
    let runs = matches!(context.run(), Some(RunSeen::Alive { suspended: false, .. }));
    let Some(began) = state.process.run.since_awake_s.filter(|_| runs) else { return Vec::new() };
    let mut found = Vec::new();
    for detector in &unit.detectors {
        let Some((since, limit)) = since(detector, context.clocks, began) else { continue };
        let silent = context.now.awake_s.since_s(since);
        let stalled = &mut state.process.watch.stalled;
        if silent < limit {
            stalled.retain(|name| *name != detector.name);
            notes.due_in(limit - silent);
        } else if !stalled.contains(&detector.name) {
            stalled.push(detector.name.clone());
            found.push(finding(context, detector, silent, limit));
        }
    }
    found
}

fn finding(context: &UnitContext<'_>, detector: &DetectorConfig, silent: f64, limit: f64) -> Finding {
    let metric = context.clocks.metrics.get(&detector.name).map(|clock| clock.value.clone());
    let is_metric = matches!(&detector.kind, DetectorKind::Stall { metric: Some(_), .. });
    let (silent, limit) = (human_s(silent), human_s(limit));
    let message = match (is_metric, &metric) {
        (false, _) => format!("no output for {silent} (limit {limit})"),
        (true, Some(value)) => {
            format!("no progress for {silent} (limit {limit}): the value stays at {value}")
        }
        (true, None) => format!("no progress for {silent} (limit {limit}): no value was ever seen"),
    };
    Finding {
        detector: detector.name.clone(),
        kind: FindingKind::Stall,
        message,
        value: metric.and_then(|value| value.parse().ok()),
        ..Finding::default()
    }
}

/// An approval is for the stall that stands, not for one of next week.
pub(super) fn approval(state: &mut UnitState) {
    let stalled = &state.process.watch.stalled;
    let stands = |remedy: &RemedyState| remedy.stall && stalled.contains(&remedy.detector);
    if !state.process.remedy.as_ref().is_some_and(stands) {
        state.stall.approved = false;
    }
}

/// Has the clock of the stall that a remedy is about moved since?
pub(super) fn has_moved(context: &UnitContext<'_>, unit: &ProcessUnit, remedy: &RemedyState) -> bool {
    let Some(RunSeen::Alive { .. }) = context.run() else { return false };
    let detector = unit.detectors.iter().find(|detector| detector.name == remedy.detector);
    let began = context.unfolded.process.run.since_awake_s;
    let clock = detector.zip(began).and_then(|(detector, began)| since(detector, context.clocks, began));
    remedy.stall && clock.is_some_and(|(stands, limit)| context.now.awake_s.since_s(stands) < limit)
}

/// A stall whose end is withheld: for how long it has been, and people hear of it when that is too long, as of an agent.
pub(super) fn withheld(context: &UnitContext<'_>, unit: &ProcessUnit, state: &mut UnitState) {
    let due = state.process.remedy.clone().filter(|remedy| remedy.stall && super::heal::is_end(remedy));
    let due = due.filter(|_| context.is_running() && state.ending.is_none());
    let why = due.and_then(|remedy| match super::may_end(context) {
        true => proof(context, unit, state, &remedy).err(),
        false => Some(NOT_OURS.to_owned()),
    });
    // (One name for all reasons: it is the waiting that counts, whatever it is for.)
    let veto = why.map(|why| Veto { name: "process", why, cap_s: veto::CAP_S });
    super::super::stall::vetoes_since(context, state, None, veto.into_iter().collect());
}

/// Why what somebody else started is not ended.
pub(super) const NOT_OURS: &str = "somebody else started it, and `allow_kill` is not set";

/// The comparisons that prove it, or why it must not be ended now.
pub(super) fn proof(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    remedy: &RemedyState,
) -> Result<Vec<String>, String> {
    if state.stall.approved {
        return Ok(vec!["a person approved it".to_owned()]);
    }
    if let Some(why) = &context.fleet.starved {
        return Err(why.clone());
    }
    if context.fleet.woken {
        return Err("nobody looked for longer than usual until just now".to_owned());
    }
    if let Some(RunSeen::Alive { suspended: true, .. }) = context.run() {
        return Err("somebody suspended it".to_owned());
    }
    let now = context.now.awake_s;
    let began = state.process.run.since_awake_s.unwrap_or(now);
    let detector = unit.detectors.iter().find(|detector| detector.name == remedy.detector);
    let Some((detector, (stands, limit))) =
        detector.and_then(|d| Some((d, since(d, context.clocks, began)?)))
    else {
        return Err("its detector is no longer in the config".to_owned());
    };
    let own = now.since_s(stands);
    if own < limit {
        return Err(format!("it moved {} ago", human_s(own)));
    }
    let mut compared = vec![format!("{} {own:.0} s ≥ {limit:.0} s", detector.name)];
    let is_metric = matches!(&detector.kind, DetectorKind::Stall { metric: Some(_), .. });
    let output = context.clocks.screen.as_ref().map_or(began, |clock| clock.changed_awake_s.max(began));
    let silent = now.since_s(output);
    if is_metric && silent >= limit {
        compared.push(format!("output {silent:.0} s ≥ {limit:.0} s"));
        return Ok(compared);
    }
    match &unit.host {
        ProcessHost::Slurm { .. } | ProcessHost::Docker { .. } => {
            compared.push("its host says that it runs, and knows no more".to_owned());
            Ok(compared)
        }
        ProcessHost::Local | ProcessHost::Attach { .. } => cpu(context, limit).map(|quiet| {
            compared.push(format!("CPU of its tree idle for {quiet:.0} s"));
            compared
        }),
    }
}

/// The second clock: how long the CPU of its tree is known to be idle.
fn cpu(context: &UnitContext<'_>, limit: f64) -> Result<f64, String> {
    let needed = (limit * CPU_QUIET_SHARE).min(CPU_QUIET_S);
    let Some(clock) = &context.clocks.tools else {
        return Err("its CPU was not looked at yet".to_owned());
    };
    let quiet = clock.sampled_awake_s.since_s(clock.quiet_since());
    if quiet < needed {
        return Err(format!(
            "its processes use CPU, or were watched for {quiet:.0} s of {needed:.0} s only: a silence alone is no \
             proof; a stall detector with a metric, or `watchkeeper approve {}`, is",
            context.name
        ));
    }
    Ok(quiet)
}

/// Half of the way to a stall: from here on its CPU is sampled.
pub(super) fn is_near(unit: &ProcessUnit, state: &State, name: &UnitName, now: &Now) -> bool {
    let Some(began) = state.units.get(name).and_then(|state| state.process.run.since_awake_s) else {
        return false;
    };
    let none = UnitClocks::default();
    let clocks = state.clocks.units.get(name).unwrap_or(&none);
    let near = |detector: &DetectorConfig| {
        since(detector, clocks, began).is_some_and(|(since, limit)| now.awake_s.since_s(since) >= limit / 2.0)
    };
    unit.detectors.iter().any(near)
}

//! What a finding owes: its incident's order, with its place in the log, and what people hear of those that were left out.
//!
//! Deliberately not here: the remedy that it gets (`failure`).

use super::super::context::UnitContext;
use super::super::proposal::{EventKind, Notes};
use crate::config::{ProcessHost, ProcessUnit};
use crate::detect::fingerprint::fingerprint;
use crate::model::finding::Finding;
use crate::model::incident::{FixNote, IncidentOrder, Place, Remedy};
use crate::model::process::RunId;
use crate::state::mail::Level;
use crate::state::process::OpenFinding;
use crate::state::unit::UnitState;
use std::collections::BTreeMap;

/// People hear of failures without a folder this seldom, seconds.
const LEFT_OUT_S: f64 = 3600.0;
/// Longest text of a finding that waits in the state, bytes.
const TEXT_MAX: usize = 2000;

/// A finding gets its folder, or is counted in the one that it has.
pub(super) fn record(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    finding: Finding,
    notes: &mut Notes,
) -> OpenFinding {
    let print = fingerprint(&finding);
    let order = IncidentOrder {
        id: String::new(),
        unit: context.name.clone(),
        at: context.now.wall,
        finding: finding.clone(),
        fingerprint: print.clone(),
        run: RunId { number: state.process.run.number, handle: state.process.run.handle.clone() },
        run_since: state.process.run.since,
        over: context.is_gone(),
        restarts: state.process.run.restarts,
        remedy: Remedy::default(),
        place: place(context, unit, state),
        notes: Vec::new(),
    };
    if let Some(gone) = state.incident.make_way(&order) {
        let watch = &mut state.process.watch;
        let about = watch.open.iter_mut().chain(&mut watch.waiting).filter(|open| open.incident == gone);
        about.for_each(|open| open.incident.clear());
    }
    let taken = state.incident.take(order);
    let count = state.incident.count(&print);
    let text = match count {
        0 | 1 => format!("{}: {}", finding.detector, headline(&finding)),
        count => format!("{}: {} (time {count})", finding.detector, headline(&finding)),
    };
    notes.event(context.now.wall, Some(context.name), EventKind::Failed, text);
    OpenFinding {
        finding: shortened(finding),
        fingerprint: print,
        incident: taken.incident().to_owned(),
        at_awake_s: context.now.awake_s,
        attempt: String::new(),
    }
}

pub(super) fn headline(finding: &Finding) -> String {
    let text = match &finding.exception {
        Some(exception) if finding.message.is_empty() => exception.clone(),
        Some(exception) => format!("{exception}: {}", finding.message),
        None => finding.message.clone(),
    };
    crate::base::text::one_line(&text, 300)
}

/// What is said of an attempt, behind the variables that it sets. (Secrets among them are masked where it is written.)
pub(super) fn with_set(set: &BTreeMap<String, String>, words: &str) -> String {
    let set: Vec<String> = set.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if set.is_empty() { words.to_owned() } else { format!("{}; {words}", set.join(" ")) }
}

/// Without what only the folder needs.
pub(super) fn shortened(mut finding: Finding) -> Finding {
    finding.frames.clear();
    finding.chain.clear();
    finding.recent.clear();
    finding.captures.clear();
    let cut = |text: &mut String| {
        let end = (0..=TEXT_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    };
    cut(&mut finding.text);
    cut(&mut finding.message);
    finding
}

fn place(context: &UnitContext<'_>, unit: &ProcessUnit, state: &UnitState) -> Place {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let own = context.config.state_dir.join("units").join(context.name.as_str()).join("out.log");
    let (host, log) = match &unit.host {
        ProcessHost::Local => ("local", text(&own)),
        ProcessHost::Attach { log, .. } => ("attach", log.as_deref().map(text).unwrap_or_default()),
        ProcessHost::Slurm { .. } => ("slurm", text(&own)),
        ProcessHost::Docker { .. } => ("docker", text(&own)),
    };
    Place {
        host: host.to_owned(),
        command: unit.command.clone(),
        dir: text(&context.unit.dir),
        log,
        configs: unit.config_snapshots.iter().map(|path| text(path)).collect(),
        env: context.unit.env.keys().cloned().collect(),
        overlay: state.process.run.env.clone(),
        keep_max: unit.incidents_max,
        keep_age_s: unit.incidents_age_s,
    }
}

/// The incident's folder is told what was chosen: with its order when that is still owed, else by a note.
pub(super) fn tell(state: &mut UnitState, incident: &str, attempt: &str, remedy: &Remedy) {
    if incident.is_empty() {
        return;
    }
    if let Some(order) = state.incident.owed.iter_mut().find(|order| order.id == incident) {
        order.remedy = remedy.clone();
        return;
    }
    state.incident.note(FixNote {
        incident: incident.to_owned(),
        attempt: attempt.to_owned(),
        remedy: remedy.clone(),
        ..FixNote::default()
    });
}

/// Failures that found no room are told: one event for those of a tick, and people once in an hour.
pub(super) fn left_out(context: &UnitContext<'_>, state: &mut UnitState, before: u64, notes: &mut Notes) {
    let more = state.incident.left_out.saturating_sub(before);
    if more == 0 {
        return;
    }
    let text = format!("{more} failures have no folder: too many wait to be written");
    notes.event(context.now.wall, Some(context.name), EventKind::Failed, text.clone());
    let now = context.now.awake_s;
    if state.incident.left_out_told.is_none_or(|told| now.since_s(told) >= LEFT_OUT_S) {
        state.incident.left_out_told = Some(now);
        let text = format!("`{}`: {text}", context.name);
        state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
    }
}

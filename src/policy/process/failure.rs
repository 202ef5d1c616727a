//! From a finding to its incident and to the remedy that it gets: a rule's, the standard one, or the agent's.
//!
//! Deliberately not here: carrying the remedy out (`heal`, `run`), and what became of it (`verify`).

use super::super::context::UnitContext;
use super::super::proposal::{EventKind, Notes};
use super::choice::{chosen, restarts};
use super::record::{headline, record, shortened, tell, with_set};
use super::rules::{self, Case};
use super::{heal, verify};
use crate::base::text::{counted, digest};
use crate::config::{After, DetectorKind, Lifecycle, ProcessHost, ProcessUnit, Rule, RuleAction};
use crate::detect::fingerprint::fingerprint;
use crate::detect::incident::{advice, excerpt, inline};
use crate::model::finding::{Finding, FindingKind};
use crate::model::incident::{Remedy, Source};
use crate::model::process::{LogSeen, RunSeen};
use crate::state::attempts::{Attempt, Status};
use crate::state::mail::Level;
use crate::state::process::{Failure, OPEN_MAX, OpenFinding, RemedyState, RemedyStep, Standing};
use crate::state::unit::UnitState;
use std::collections::BTreeSet;

/// The name of what no detector finds: a run past its deadline.
pub(super) const DEADLINE: &str = "deadline";
/// A program that goes on writing after what was found, and that ends later than this many lines, or bytes where lines are
/// not counted, did not end of it, however soon that was read: as many as the incident of its end would show.
const LINES_AFTER: u64 = excerpt::AROUND as u64;
const BYTES_AFTER: u64 = LINES_AFTER * 100;

/// Last words explain an end that comes so late after them, seconds: torch's collectives give up after 600 s by default.
const LAST_WORDS_S: f64 = 900.0;

/// The name of the detector that reports ends.
pub(super) fn exit_detector(unit: &ProcessUnit) -> String {
    let exit = unit.detectors.iter().find(|detector| matches!(detector.kind, DetectorKind::Exit { .. }));
    exit.map_or_else(|| "exit".to_owned(), |detector| detector.name.clone())
}

/// Is a good end an incident too?
pub(super) fn reports_any_end(unit: &ProcessUnit) -> bool {
    unit.detectors.iter().any(|detector| matches!(detector.kind, DetectorKind::Exit { any: true }))
}

/// Something was found in what still runs, or in the output of what has just ended. The first one of the group says most
/// and gets the folder; rules may go by any of them.
pub(super) fn found(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    group: Vec<Finding>,
    notes: &mut Notes,
) {
    let now = context.now.awake_s;
    let mut group = group.into_iter();
    let Some(finding) = group.next() else { return };
    let print = fingerprint(&finding);
    let detector = unit.detectors.iter().find(|detector| detector.name == finding.detector);
    let cooldown = detector.map_or(0.0, |detector| detector.cooldown_s);
    let asked = asked(unit, std::iter::once(&finding).chain(group.as_slice()));
    let last = state.process.watch.last(&finding.detector, &print, &asked);
    let name = finding.detector.clone();
    let found = record(context, unit, state, finding, notes);
    let others = group.map(|finding| OpenFinding { finding: shortened(finding), ..found.clone() });
    let mut found: Vec<OpenFinding> = std::iter::once(found.clone()).chain(others).collect();
    // The same again within its cooldown is counted, and no news; an end may be explained by it all the same.
    if last.is_none_or(|last| now.since_s(last) >= cooldown) {
        state.process.watch.came(&name, &print, &asked, now);
        news(context, unit, state, &mut found, notes);
    }
    let open = &mut state.process.watch.open;
    for found in found {
        match found.finding.kind {
            FindingKind::Pattern | FindingKind::Traceback => {}
            FindingKind::Stall | FindingKind::Metric | FindingKind::Exit => continue,
        }
        let meant = rules::meant(&unit.rules, &found.finding);
        let is_same = |old: &OpenFinding| {
            old.fingerprint == found.fingerprint
                && old.finding.detector == found.finding.detector
                && rules::meant(&unit.rules, &old.finding) == meant
        };
        open.retain(|old| !is_same(old));
        open.push(found);
    }
    thin(unit, open);
}

/// Digest of the rules that may be meant for what was found: the same failure with others is no repetition.
fn asked<'f>(unit: &ProcessUnit, group: impl Iterator<Item = &'f Finding>) -> String {
    let rules: BTreeSet<usize> = group.flat_map(|finding| rules::meant(&unit.rules, finding)).collect();
    let names = rules.iter().filter_map(|place| unit.rules.get(*place)).map(|rule| rule.name.as_str());
    digest(names.collect::<Vec<_>>().join("\u{1f}").as_bytes())
}

/// The oldest go; of the detector that has most of them, for the noise of one must not hide what another found. What a
/// rule waits for goes last.
fn thin(unit: &ProcessUnit, open: &mut Vec<OpenFinding>) {
    while open.len() > OPEN_MAX {
        let has = |found: &OpenFinding| {
            open.iter().filter(|other| other.finding.detector == found.finding.detector).count()
        };
        let most = open.iter().map(has).max().unwrap_or(0);
        let of_most = |found: &OpenFinding| has(found) == most;
        let others_have = |place: usize, rule: &usize| {
            let mut others = open.iter().enumerate().filter(|(other, _)| *other != place);
            others.any(|(_, other)| rules::meant(&unit.rules, &other.finding).contains(rule))
        };
        let idle = open.iter().enumerate().position(|(place, found)| {
            of_most(found)
                && rules::meant(&unit.rules, &found.finding).iter().all(|rule| others_have(place, rule))
        });
        let Some(at) = idle.or_else(|| open.iter().position(of_most)) else { return };
        open.remove(at);
    }
}

fn news(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    found: &mut [OpenFinding],
    notes: &mut Notes,
) {
    let Some(print) = found.first().map(|first| first.fingerprint.clone()) else { return };
    verify::came(context, state, &print, notes);
    if let Some(RunSeen::Unknown { .. }) = context.run() {
        // Its log speaks, and nobody can say whether it runs: judged when its host can be asked again.
        return wait(unit, state, found);
    }
    if !context.is_running() {
        return;
    }
    match state.process.remedy.is_some() {
        true => meanwhile(context, unit, state, found, notes),
        false => running(context, unit, state, found, notes),
    }
    if let Some(remedy) = state.process.remedy.as_ref().filter(|remedy| remedy.fingerprint == print) {
        found.iter_mut().for_each(|found| found.attempt.clone_from(&remedy.attempt));
    }
}

/// Something is found while a remedy is under way. What is to be ended for good is ended at once; the rest is judged when
/// the remedy ends: of several the one whose rule stands first.
fn meanwhile(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    group: &[OpenFinding],
    notes: &mut Notes,
) {
    let rule = matching(unit, state, group).map(|(rule, _)| rule);
    let stall = group.first().is_some_and(|found| found.finding.kind == FindingKind::Stall);
    if rule.is_none() && !stall {
        return running(context, unit, state, group, notes); // Told, if at all.
    }
    let stops = |remedy: &RemedyState| matches!(remedy.remedy.action.as_str(), "pause" | "abort");
    if ends(rule) && !stall && !state.process.remedy.as_ref().is_some_and(stops) {
        replaced(context, state, "something was found that ends it for good", notes);
        return running(context, unit, state, group, notes);
    }
    wait(unit, state, group);
}

/// What waits for its turn: of several the one whose rule stands first.
fn wait(unit: &ProcessUnit, state: &mut UnitState, group: &[OpenFinding]) {
    let rank = |group: &[OpenFinding]| {
        let rule = matching(unit, state, group).map(|(rule, _)| rule);
        let place = unit.rules.iter().position(|other| rule.is_some_and(|rule| rule.name == other.name));
        place.unwrap_or(usize::MAX)
    };
    let waits = &state.process.watch.waiting;
    if waits.is_empty() || rank(group) < rank(waits) {
        state.process.watch.waiting = group.to_vec();
    }
}

/// The remedy that was under way has ended: what was found meanwhile has its turn.
pub(super) fn resume(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    notes: &mut Notes,
) {
    let watch = &state.process.watch;
    let Some(first) = watch.waiting.first() else { return };
    let unknown = matches!(context.run(), Some(RunSeen::Unknown { .. }));
    if state.process.remedy.is_some() || state.ending.is_some() || unknown {
        return;
    }
    let moved = first.finding.kind == FindingKind::Stall
        && first.finding.detector != DEADLINE
        && !watch.stalled.contains(&first.finding.detector);
    let rule = matching(unit, state, &watch.waiting).map(|(rule, _)| rule);
    let wants_start = rule
        .is_none_or(|rule| matches!(rule.action, RuleAction::Restart | RuleAction::RestartWithEnv { .. }));
    if context.is_running() && !moved && wants_start && state.process.run.stuck.is_some() {
        return; // People were told: it waits for them, or for better times.
    }
    state.process.run.stuck = None;
    let group = std::mem::take(&mut state.process.watch.waiting);
    if context.is_running() && !moved {
        running(context, unit, state, &group, notes);
    }
}

/// A run is past its deadline: no other remedy holds that up, except one that ends it anyway.
pub(super) fn late(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    finding: Finding,
    notes: &mut Notes,
) {
    let ends_it = |remedy: &RemedyState| heal::is_end(remedy) && !remedy.stall;
    if !state.process.remedy.as_ref().is_some_and(ends_it) {
        replaced(context, state, "the deadline came first", notes);
    }
    found(context, unit, state, vec![finding], notes);
}

/// Another remedy takes the place of the one that is under way.
fn replaced(context: &UnitContext<'_>, state: &mut UnitState, why: &str, notes: &mut Notes) {
    let Some(action) = state.process.remedy.as_ref().map(|remedy| remedy.remedy.action.clone()) else {
        return;
    };
    verify::dropped(context, state, Status::Crashed, why);
    let text = format!("remedy {action} given up: {why}");
    notes.event(context.now.wall, Some(context.name), EventKind::State, text);
}

/// The rule for what was found in what runs, with the finding's place.
fn matching<'u>(
    unit: &'u ProcessUnit,
    state: &UnitState,
    group: &[OpenFinding],
) -> Option<(&'u Rule, usize)> {
    // (What has no folder is not counted, and came all the same.)
    let counts: Vec<u32> =
        group.iter().map(|found| state.incident.count(&found.fingerprint).max(1)).collect();
    let cases: Vec<Case<'_>> = group
        .iter()
        .zip(&counts)
        .map(|(found, count)| Case { finding: &found.finding, count: *count, when: After::Running })
        .collect();
    rules::first(&unit.rules, &cases)
}

/// What is done while it runs on: what a rule says; a stall and a run past its deadline are ended without one too.
fn running(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    group: &[OpenFinding],
    notes: &mut Notes,
) {
    let matched = matching(unit, state, group);
    let rule = matched.map(|(rule, _)| rule);
    let Some(found) = group.get(matched.map_or(0, |(_, place)| place)) else { return };
    let is_late = found.finding.detector == DEADLINE;
    let stands = match (rule, found.finding.kind) {
        (Some(_), _) => true,
        (None, FindingKind::Stall) => !matches!(unit.host, ProcessHost::Attach { .. }),
        (None, FindingKind::Pattern | FindingKind::Traceback | FindingKind::Metric | FindingKind::Exit) => {
            false
        }
    };
    if !stands {
        if found.finding.kind == FindingKind::Metric || found.finding.kind == FindingKind::Stall {
            let text = format!("`{}`: {}; no rule says what to do", context.name, headline(&found.finding));
            state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
        }
        return;
    }
    let remedy = match (rule, is_late && unit.lifecycle == Lifecycle::OneShot) {
        (None, true) => abort("its deadline is over, and it runs once"),
        (rule, _) => chosen(context, unit, state, rule, &found.finding),
    };
    let stall = found.finding.kind == FindingKind::Stall && !is_late;
    // What is ended for it has failed by it, as much as by an end of its own.
    let identical = if restarts(&remedy) { again(state, &found.fingerprint) } else { 0 };
    let none_left = state.process.run.restarts >= unit.restart.max || identical >= unit.max_identical;
    // Its time is over whether it may be started again or not.
    let remedy = match is_late && restarts(&remedy) && none_left {
        true => Remedy {
            action: "pause".to_owned(),
            why: "its deadline is over, and no restart is left".to_owned(),
            ..Remedy::default()
        },
        false => remedy,
    };
    if restarts(&remedy) && identical >= unit.max_identical {
        let why = format!("the same failure {identical} times in a row: {}", headline(&found.finding));
        return spent(context, state, found, why);
    }
    order(context, state, remedy, found, stall, notes);
}

fn abort(why: &str) -> Remedy {
    Remedy { action: "abort".to_owned(), why: why.to_owned(), ..Remedy::default() }
}

/// It ended, and nobody ordered that: what explains it, and what is done.
pub(super) fn ended(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    exit: Finding,
    notes: &mut Notes,
) {
    let mut open = std::mem::take(&mut state.process.watch.open);
    let near: Vec<bool> = open.iter().map(|found| explains(context, state, found, &open)).collect();
    let mut near = near.into_iter();
    open.retain(|_| near.next() == Some(true));
    let words = exit.message.clone();
    let mut counts: Vec<u32> =
        open.iter().map(|found| state.incident.count(&found.fingerprint).max(1)).collect();
    let print = fingerprint(&exit);
    open.push(OpenFinding {
        finding: exit,
        fingerprint: print.clone(),
        at_awake_s: context.now.awake_s,
        ..OpenFinding::default()
    });
    counts.push(state.incident.count(&print).saturating_add(1));
    let cases: Vec<Case<'_>> = open
        .iter()
        .zip(&counts)
        .map(|(found, count)| Case { finding: &found.finding, count: *count, when: After::Crash })
        .collect();
    let matched = rules::first(&unit.rules, &cases);
    let place = matched.map_or_else(|| most_telling(&open), |(_, place)| place);
    let last = open.len().saturating_sub(1);
    let Some(mut primary) = open.get(place).cloned() else { return };
    if place == last {
        primary = record(context, unit, state, primary.finding, notes);
        verify::came(context, state, &print, notes);
    } else if let Some(order) = state.incident.owed.iter_mut().find(|order| order.id == primary.incident) {
        order.notes.push(format!("it ended: {words}"));
    }
    if state.process.remedy.is_some() || state.process.run.standing != Standing::Open && matched.is_none() {
        if let Standing::Spent { why } = &state.process.run.standing {
            let text = format!("`{}` is over ({words}), and is not started again: {why}", context.name);
            state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
        }
        return; // What was found before it ended says what comes next; or it is over for good.
    }
    let identical = again(state, &primary.fingerprint);
    if identical >= unit.max_identical && !ends(matched.map(|(rule, _)| rule)) {
        let why = format!("the same failure {identical} times in a row: {}", headline(&primary.finding));
        return spent(context, state, &primary, why);
    }
    let mut remedy = chosen(context, unit, state, matched.map(|(rule, _)| rule), &primary.finding);
    if place != last {
        remedy.why.push_str(&format!("; it ended: {words}"));
    }
    if matched.is_some() {
        state.process.run.standing = Standing::Open;
    }
    order(context, state, remedy, &primary, false, notes);
}

/// Does this finding explain an end that comes now? Not when something was done about it before. It does when it is among
/// the log's last words, however long the end took: workers are waited for, a collective runs into its timeout. When the
/// program went on writing, it was dying only as long as it would have been given to end itself: its grace.
fn explains(context: &UnitContext<'_>, state: &UnitState, found: &OpenFinding, all: &[OpenFinding]) -> bool {
    let pending = state.process.remedy.as_ref().is_some_and(|remedy| remedy.attempt == found.attempt);
    if !found.attempt.is_empty() && !pending {
        return false;
    }
    let log = context.seen.process.as_ref().map(|seen| &seen.log);
    if let Some(LogSeen { spoke: Some(spoke), cursor, .. }) = log
        && found.finding.end > *spoke
        && found.finding.log.as_ref().is_some_and(|mark| Some(mark.file) == cursor.file)
        && stood_s(context, found) <= LAST_WORDS_S
    {
        return true;
    }
    if let Some(LogSeen { cursor, .. }) = log {
        let finding = &found.finding;
        let is_far = match (finding.line, cursor.line) {
            (0, _) | (_, 0) => finding.end > 0 && cursor.offset.saturating_sub(finding.end) > BYTES_AFTER,
            (line, now) => now.saturating_sub(line) > LINES_AFTER,
        };
        if is_far {
            return false;
        }
    }
    let grace = context.unit.ladder.grace_s;
    if stood_s(context, found) <= grace {
        return true;
    }
    // Its last words are not known: a trace, or what a pattern found inside of one, is taken for them when the log has not
    // grown since.
    let of_trace = all
        .iter()
        .any(|other| other.finding.kind == FindingKind::Traceback && other.fingerprint == found.fingerprint);
    let output = context.clocks.screen.as_ref().map(|clock| clock.changed_awake_s.since_s(found.at_awake_s));
    let unknown = log.is_none_or(|log| log.spoke.is_none());
    unknown && of_trace && !output.is_some_and(|wrote| wrote > grace)
}

/// How long it stood in the log when the end came, seconds.
fn stood_s(context: &UnitContext<'_>, found: &OpenFinding) -> f64 {
    let ago = match context.run() {
        Some(RunSeen::Ended { at: Some(at), .. }) => context.now.wall.since_s(*at).max(0.0),
        Some(
            RunSeen::Ended { at: None, .. }
            | RunSeen::Unknown { .. }
            | RunSeen::Absent
            | RunSeen::Pending { .. }
            | RunSeen::Alive { .. },
        )
        | None => 0.0,
    };
    context.now.awake_s.since_s(found.at_awake_s) - ago
}

/// Counts the same failure in a row.
fn again(state: &mut UnitState, fingerprint: &str) -> u32 {
    match &mut state.process.run.failure {
        Some(failure) if failure.fingerprint == fingerprint => {
            failure.count = failure.count.saturating_add(1);
            failure.count
        }
        other => {
            *other = Some(Failure { fingerprint: fingerprint.to_owned(), count: 1 });
            1
        }
    }
}

fn ends(rule: Option<&Rule>) -> bool {
    rule.is_some_and(|rule| matches!(rule.action, RuleAction::Pause | RuleAction::Abort))
}

/// The finding that explains an end best: a stack trace, then a pattern, then the end itself; the latest of its kind.
fn most_telling(open: &[OpenFinding]) -> usize {
    let of = |kind: FindingKind| open.iter().rposition(|found| found.finding.kind == kind);
    of(FindingKind::Traceback).or_else(|| of(FindingKind::Pattern)).unwrap_or(open.len().saturating_sub(1))
}

/// Notes a remedy as chosen: in the incident, in the ledger, and as what is under way.
fn order(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    remedy: Remedy,
    found: &OpenFinding,
    stall: bool,
    notes: &mut Notes,
) {
    let unit = context.unit.process();
    let max = unit.map_or(0, |unit| unit.restart.max);
    if restarts(&remedy) && state.process.run.restarts >= max {
        let tried = match max {
            0 => "no restart is allowed (`restart.max` is 0)".to_owned(),
            _ => format!("{} not kept", counted(state.process.run.restarts as usize, "restart")),
        };
        let why = format!("{tried}: {}", headline(&found.finding));
        return spent(context, state, found, why);
    }
    if remedy.why.contains("not changed: ") {
        let text = format!("`{}`: {}", context.name, remedy.why);
        state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
    }
    let attempt = state.incident.begin(Attempt {
        time: context.now.wall,
        incident: found.incident.clone(),
        unit: context.name.to_string(),
        detector: found.finding.detector.clone(),
        fingerprint: found.fingerprint.clone(),
        source: match remedy.action.as_str() {
            "agent" => Source::Agent.word().to_owned(),
            _ => remedy.source.word().to_owned(),
        },
        action: remedy.action.clone(),
        description: with_set(&remedy.set, &headline(&found.finding)),
        ..Attempt::default()
    });
    tell(state, &found.incident, &attempt, &remedy);
    let text = advice::by_remedy(context.name.as_str(), &found.incident, &remedy, context.is_gone());
    state.incident.advise(&found.incident, text);
    let about = state.process.watch.open.iter_mut().filter(|open| open.fingerprint == found.fingerprint);
    about.for_each(|open| open.attempt.clone_from(&attempt));
    let text = format!("remedy: {} ({}); {}", remedy.action, remedy.source.human(), remedy.why);
    notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    notes.due_in(0.05);
    state.process.run.stuck = None;
    state.process.remedy = Some(RemedyState {
        remedy,
        detector: found.finding.detector.clone(),
        fingerprint: found.fingerprint.clone(),
        incident: found.incident.clone(),
        attempt,
        since_awake_s: context.now.awake_s,
        run: state.process.run.number,
        stall,
        step: RemedyStep::Due,
        fixed: None,
    });
}

/// Nothing more is tried until a person says so.
pub(super) fn spent(context: &UnitContext<'_>, state: &mut UnitState, found: &OpenFinding, why: String) {
    if context.is_running() {
        // Not ended for what could not be started again; its real end is judged when it comes.
        state.process.remedy = None;
        if let Some(unit) = context.unit.process() {
            wait(unit, state, std::slice::from_ref(found));
        }
        if state.process.run.stuck.as_ref() == Some(&why) {
            return;
        }
        let text = format!(
            "`{0}` runs on, and is not ended for a restart: {why}; `watchkeeper approve {0}` gives it new ones",
            context.name
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
        let text = advice::spent(context.name.as_str(), &inline(&why, 300), false);
        state.incident.advise(&found.incident, text);
        state.process.run.stuck = Some(why);
        return;
    }
    let text = format!(
        "`{}` is not started again: {why}; `watchkeeper incidents show {}`, then `watchkeeper approve {}`",
        context.name, found.incident, context.name
    );
    state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    if let Some(order) = state.incident.owed.iter_mut().find(|order| order.id == found.incident) {
        order.notes.push(format!("not started again: {why}"));
    }
    let text = advice::spent(context.name.as_str(), &inline(&why, 300), true);
    state.incident.advise(&found.incident, text);
    state.process.run.standing = Standing::Spent { why };
    state.process.remedy = None;
}

#[cfg(test)]
mod tests;

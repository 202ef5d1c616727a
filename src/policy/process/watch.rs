//! What a run says and does not say: findings of its log, stalls, a deadline. Each is taken once: the log's cursor stands in
//! the same file as what came of it.
//!
//! Deliberately not here: what is done about a finding (`failure`).

use super::super::context::UnitContext;
use super::super::proposal::{EventKind, Notes};
use super::failure::{self, DEADLINE};
use super::{run, stall};
use crate::base::text::counted;
use crate::config::{ProcessUnit, Watch};
use crate::model::finding::{Finding, FindingKind};
use crate::model::process::{LogCursor, LogSeen};
use crate::state::mail::Level;
use crate::state::process::WatchState;
use crate::state::unit::UnitState;

/// Detectors whose noise people were told of, remembered.
const NOISY_MAX: usize = 64;

pub(super) fn fold(context: &UnitContext<'_>, unit: &ProcessUnit, state: &mut UnitState, notes: &mut Notes) {
    let Some(seen) = &context.seen.process else { return };
    let number = state.process.run.number;
    if state.process.watch.run != number {
        let old = std::mem::take(&mut state.process.watch);
        let (cursor, cursors, trouble, noisy) = (old.cursor, old.cursors, old.trouble, old.noisy);
        state.process.watch =
            WatchState { cursor, cursors, trouble, noisy, run: number, ..WatchState::default() };
    }
    trouble(context, state, seen.log.trouble.as_ref(), notes);
    let found = !seen.log.findings.is_empty() || seen.log.more > 0;
    // Where reading began, too: clocks.json may be lost, and old lines must not be read as new ones then.
    let begins =
        state.process.watch.cursor == LogCursor::default() && seen.log.cursor != LogCursor::default();
    if found || begins || is_anew(&state.process.watch.cursor, &seen.log.cursor) {
        // Together with what comes of them: neither twice nor never.
        state.process.watch.cursor = seen.log.cursor.clone();
        state.process.watch.cursors = state.process.watch.cursors.saturating_add(1);
    }
    if let Some(again) = seen.log.again_s {
        notes.due_in(again);
    }
    for group in groups(&seen.log.findings) {
        failure::found(context, unit, state, group, notes);
    }
    noise(context, state, &seen.log, notes);
    if context.unit.watch >= Watch::HealStall {
        for finding in stall::found(context, unit, state, notes) {
            failure::found(context, unit, state, vec![finding], notes);
        }
    }
    if !state.process.watch.late
        && let Some(words) = run::past_deadline(context, unit, state)
    {
        state.process.watch.late = true;
        let finding = Finding {
            detector: DEADLINE.to_owned(),
            kind: FindingKind::Stall,
            message: words,
            ..Finding::default()
        };
        failure::late(context, unit, state, finding, notes);
    }
    if let (Some(deadline), Some(since)) = (unit.deadline_s, state.process.run.since_awake_s) {
        let left = deadline - context.now.awake_s.since_s(since);
        if left > 0.0 {
            notes.due_in(left);
        }
    }
}

/// Is it another file, or one that was cut? Then new lines come where others were judged, and who forgets that would take
/// them for judged.
fn is_anew(old: &LogCursor, new: &LogCursor) -> bool {
    new.file.is_some() && (old.file != new.file || new.read < old.read || new.judged < old.judged)
}

/// Detectors that find too much are told: an event each time, people once for each detector.
fn noise(context: &UnitContext<'_>, state: &mut UnitState, log: &LogSeen, notes: &mut Notes) {
    if log.more == 0 {
        return;
    }
    let names =
        |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = counted(usize::try_from(log.more).unwrap_or(usize::MAX), "more finding");
    let text = format!("{more} of {} were left out", names(&log.noisy));
    notes.event(context.now.wall, Some(context.name), EventKind::Failed, text.clone());
    let told = &mut state.process.watch.noisy;
    let news: Vec<String> = log.noisy.iter().filter(|name| !told.contains(name)).cloned().collect();
    if news.is_empty() {
        return;
    }
    told.extend(news);
    let extra = told.len().saturating_sub(NOISY_MAX);
    told.drain(..extra);
    let text =
        format!("`{}`: {text}: a detector finds more failures at once than anybody can read", context.name);
    state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
}

/// Findings that are one event: what a pattern found inside a stack trace goes with the trace, which says more.
fn groups(findings: &[Finding]) -> Vec<Vec<Finding>> {
    let is_trace = |finding: &Finding| finding.kind == FindingKind::Traceback;
    let file = |finding: &Finding| finding.log.as_ref().map(|mark| mark.file);
    let inside = |trace: &Finding, other: &Finding| {
        // (Places in two files, the old log and the new one, have nothing to do with each other.)
        file(trace) == file(other) && (trace.at..trace.end).contains(&other.at) && !is_trace(other)
    };
    let mut groups: Vec<Vec<Finding>> = Vec::new();
    for finding in findings {
        if is_trace(finding) {
            let inner = findings.iter().filter(|other| inside(finding, other));
            groups.push(std::iter::once(finding).chain(inner).cloned().collect());
        } else if !findings.iter().any(|trace| is_trace(trace) && inside(trace, finding)) {
            groups.push(vec![finding.clone()]);
        }
    }
    groups
}

/// What is wrong with its log is told once while it stands.
fn trouble(context: &UnitContext<'_>, state: &mut UnitState, trouble: Option<&String>, notes: &mut Notes) {
    if state.process.watch.trouble.as_ref() == trouble {
        return;
    }
    state.process.watch.trouble = trouble.cloned();
    if let Some(trouble) = trouble {
        let text = format!("the log of `{}`: {trouble}", context.name);
        notes.event(context.now.wall, Some(context.name), EventKind::File, text.clone());
        state.owe(context.name.as_str(), context.now.wall, Level::Info, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::LogMark;

    #[test]
    fn only_what_stands_in_the_same_file_goes_with_a_trace() {
        let found = |kind, at, end, inode| {
            let log = Some(LogMark { file: (1, inode), ..LogMark::default() });
            Finding { kind, at, end, log, ..Finding::default() }
        };
        let trace = found(FindingKind::Traceback, 10, 90, 1);
        let (inner, new) = (found(FindingKind::Pattern, 20, 30, 1), found(FindingKind::Pattern, 20, 30, 2));
        let want = vec![vec![trace.clone(), inner.clone()], vec![new.clone()]];
        assert_eq!(groups(&[trace, inner, new]), want);
    }
}

//! What people asked through the inbox, and which alerts the outbox has. A file that can't be read is unknown, never empty.
//!
//! Deliberately not here: handling a request, writing an alert.

use crate::base::text::digest;
use crate::base::time::Now;
use crate::model::seen::{Request, Trouble};
use crate::state::State;
use crate::state::table;
use crate::sys::Files;
use std::collections::BTreeSet;

/// Largest inbox read, bytes.
pub(super) const INBOX_BYTES: u64 = 8 << 20;
/// Of an inbox that is too long to be read, requests that are at most this old are heard, seconds.
const YOUNG_S: f64 = 600.0;
/// How much of the outbox's end is searched for owed alerts, bytes.
const OUTBOX_TAIL_BYTES: u64 = 1 << 20;

/// Requests of the inbox that are not handled yet, and how far it was read. A line that can't be read is skipped, told
/// once, and kept.
pub(super) fn requests<F: Files>(
    files: &mut F,
    state: &State,
    now: &Now,
    troubles: &mut Vec<Trouble>,
) -> (Vec<Request>, Option<u64>) {
    let fresh = |request: &Request| !state.mail.handled.iter().any(|handled| handled.id == request.id);
    let bytes = match files.read(table::INBOX, INBOX_BYTES) {
        Ok(None) => return (Vec::new(), Some(0)),
        Ok(Some(bytes)) => bytes,
        Err(error) => {
            let text = format!(
                "reading {}: {}; what came of late is heard all the same; move the file away, and a new one begins",
                table::INBOX,
                error.message()
            );
            troubles.push(Trouble { key: "inbox".into(), text });
            // Too long, most likely: the young ones at its end are still heard.
            let tail = files.tail(table::INBOX, INBOX_BYTES / 8).unwrap_or_default();
            let cut = tail.iter().position(|byte| *byte == b'\n').map_or(tail.len(), |first| first + 1);
            let mut found = lines(tail.get(cut..).unwrap_or_default(), 0, &mut Vec::new());
            found.retain(|request| fresh(request) && now.wall.since_s(request.at).abs() < YOUNG_S);
            return (found, None);
        }
    };
    // What follows the last newline is still being written.
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let done = usize::try_from(state.mail.inbox_done).unwrap_or(usize::MAX);
    // Another file, when that is not the end of a line: the ids tell what was handled.
    let known = done <= end && done.checked_sub(1).is_some_and(|last| bytes.get(last) == Some(&b'\n'));
    let start = if known { done } else { 0 };
    let before = bytes.iter().take(start).filter(|byte| **byte == b'\n').count();
    let mut found = lines(bytes.get(start..end).unwrap_or_default(), before, troubles);
    found.retain(fresh);
    (found, Some(end as u64))
}

/// The requests on these lines, which begin after line `before` of the inbox.
fn lines(bytes: &[u8], before: usize, troubles: &mut Vec<Trouble>) -> Vec<Request> {
    let mut found = Vec::new();
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
        match serde_json::from_slice::<Request>(line) {
            Ok(request) => found.push(request),
            Err(error) => troubles.push(Trouble {
                key: format!("inbox {}", digest(line)),
                text: format!("{}:{}: not a request, skipped: {error}", table::INBOX, before + index + 1),
            }),
        }
    }
    found
}

/// Which owed alerts the outbox has already; None when that can't be read.
pub(super) fn outbox_has<F: Files>(files: &mut F, state: &State) -> Option<Vec<String>> {
    let owed: Vec<&String> = state
        .units
        .values()
        .flat_map(|unit| &unit.owed)
        .chain(&state.mail.owed)
        .chain(&state.phase.owed)
        .map(|owed| &owed.id)
        .collect();
    if owed.is_empty() {
        return Some(Vec::new());
    }
    let mut tail = files.tail(table::OUTBOX, OUTBOX_TAIL_BYTES).ok()?;
    if (tail.len() as u64) < OUTBOX_TAIL_BYTES {
        // It may just have been put aside.
        let mut older = files.tail(table::OUTBOX_OLD, OUTBOX_TAIL_BYTES).ok()?;
        older.push(b'\n');
        older.append(&mut tail);
        tail = older;
    }
    let text = String::from_utf8_lossy(&tail);
    let there: BTreeSet<String> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|value| value.get("id")?.as_str().map(str::to_owned))
        .collect();
    Some(owed.into_iter().filter(|id| there.contains(*id)).cloned().collect())
}

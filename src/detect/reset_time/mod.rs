//! The reset instant that a usage-limit banner states, in the many ways in which CLIs say it.
//!
//! A time counts only when words lead to it (`resets`, `try again at`, `until`, `retry after`, …): a bare number, a
//! clock in a log line or a limit's own name (`5-hour limit`) is no reset. Of several phrases the last one wins, even
//! when it turns out to be over: what stands above it is older.
//!
//! Deliberately not here: whether a screen shows a limit at all, and the slack that is added to a reset.
//!
//! * [`tokens`]: text to words, numbers and signs.
//! * [`phrase`]: what leads to a time, durations, epochs.
//! * [`civil`]: dates, weekdays, clocks, zones.
//! * [`resolve`]: the reading and the present to an instant.

mod civil;
mod phrase;
mod resolve;
mod tokens;

use crate::base::time::Wall;

/// Most bytes read, from the end of the text: a banner is a few lines, and the last phrase wins anyway.
const TEXT_MAX: usize = 4096;

/// The reset that `text` states, seen at `now` by a machine whose zone is `zone` (IANA; unknown = UTC), which applies
/// when the phrase names none. None when there is no phrase, or what it says cannot be a coming reset: it lies in the
/// past, or more than 32 days ahead.
pub fn parse(text: &str, now: Wall, zone: &str) -> Option<Wall> {
    let source = tokens::Source::new(tail(text));
    resolve::resolve(&phrase::last(&source)?, now, zone)
}

/// The last [`TEXT_MAX`] bytes, cut between characters.
fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(TEXT_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or("")
}

#[cfg(test)]
mod tests;

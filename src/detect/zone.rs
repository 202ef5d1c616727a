//! Time zones by name, and civil times to instants. Only the time zone database inside the binary is used, so every
//! machine, with or without `/usr/share/zoneinfo`, reads the same text as the same instant.
//!
//! Deliberately not here: the local zone (an observation, `Now::zone`) and the system's own database (files).

use crate::base::time::Wall;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use std::sync::LazyLock;

static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Longest name looked up; the longest IANA name has 30 characters (America/Argentina/ComodRivadavia has 32).
const NAME_LENGTH_MAX: usize = 48;

/// The zone of this IANA name (any case), None when there is none.
pub fn find(name: &str) -> Option<TimeZone> {
    if name.len() > NAME_LENGTH_MAX {
        return None;
    }
    if name.eq_ignore_ascii_case("UTC") {
        return Some(TimeZone::UTC);
    }
    BUNDLED.get(name).ok()
}

/// The zone of this name; UTC when there is none, as [`crate::base::time::Now::zone`] has it.
pub fn find_or_utc(name: &str) -> TimeZone {
    find(name).unwrap_or(TimeZone::UTC)
}

/// What the clocks on the wall show at an instant; None outside the years that jiff knows.
pub fn civil(at: Wall, zone: &TimeZone) -> Option<DateTime> {
    Some(zone.to_datetime(Timestamp::from_millisecond(at.0).ok()?))
}

/// When the clocks on the wall first show a civil time. One that is skipped (a DST gap) counts as the end of the gap.
pub fn first_instant(civil: DateTime, zone: &TimeZone) -> Option<Wall> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    if matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. }) {
        let before = ambiguous.earlier().ok()?;
        let end = zone.following(before).next()?;
        return Some(Wall(end.timestamp().as_millisecond()));
    }
    ambiguous.earlier().ok().map(|at| Wall(at.as_millisecond()))
}

/// When the clocks show a civil time for the second time (a DST fold); the only time if there is only one.
pub fn last_instant(civil: DateTime, zone: &TimeZone) -> Option<Wall> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    if matches!(ambiguous.offset(), AmbiguousOffset::Fold { .. }) {
        return ambiguous.later().ok().map(|at| Wall(at.as_millisecond()));
    }
    first_instant(civil, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(civil: &str, zone: &str, want_first: &str, want_last: &str) {
        let (civil, zone) = (civil.parse().unwrap(), find(zone).unwrap());
        assert_eq!(first_instant(civil, &zone).unwrap().to_string(), want_first);
        assert_eq!(last_instant(civil, &zone).unwrap().to_string(), want_last);
    }

    #[test]
    fn gaps_end_at_once_and_folds_have_two_instants() {
        check("2026-11-21T10:00", "Europe/Berlin", "2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z");
        // The clocks go from 2:00 to 3:00.
        check("2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z");
        // The clocks go from 3:00 back to 2:00.
        check("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
        // Samoa had no 30th of December in 2011.
        check("2011-12-30T12:00", "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z");
    }

    #[test]
    fn names_are_looked_up_in_any_case_and_unknown_ones_are_utc() {
        assert!(find("europe/berlin").is_some());
        assert!(find("Mars/Olympus").is_none());
        assert!(find(&"x".repeat(10_000)).is_none());
        assert!(find("../../etc/passwd").is_none());
        assert_eq!(find_or_utc(""), TimeZone::UTC);
        assert_eq!(find_or_utc("Mars/Olympus"), TimeZone::UTC);
    }
}

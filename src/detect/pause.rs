//! The `PAUSED` marker's text: a reason, and perhaps `until TIME`.
//!
//! Deliberately not here: whether the pause is over, and what an unreadable time means (it is part of the reason, and
//! the pause has no end: a person wrote it and a person ends it).

use crate::base::text::one_line;
use crate::base::time::Wall;
use crate::model::seen::Paused;

/// Longest reason kept, characters.
const REASON_MAX: usize = 300;

/// Reads the marker: the first line is the reason, with an optional `until <RFC 3339>` at its end.
pub fn parse(text: &str) -> Paused {
    let line = text.trim_start_matches('\u{feff}').lines().next().unwrap_or("").trim();
    match split_until(line) {
        Some((reason, until)) => Paused { reason: one_line(reason, REASON_MAX), until: Some(until) },
        None => Paused { reason: one_line(line, REASON_MAX), until: None },
    }
}

/// Splits `deploy, until 2026-11-21T10:00:00Z` into reason and time.
fn split_until(line: &str) -> Option<(&str, Wall)> {
    let at = line.to_ascii_lowercase().rfind("until")?;
    let (before, rest) = (line.get(..at)?, line.get(at + "until".len()..)?);
    let separated = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | ':' | '(' | '-');
    if !(before.is_empty() || before.ends_with(separated)) {
        return None;
    }
    let time = rest
        .trim_start_matches([':', '='])
        .trim_matches(|c: char| c.is_whitespace() || matches!(c, '.' | ')'));
    Some((before.trim_end_matches(separated), Wall::parse(time)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, reason: &str, until: Option<&str>) {
        let got = parse(text);
        assert_eq!(
            (got.reason.as_str(), got.until.map(|t| t.to_string()).as_deref()),
            (reason, until),
            "{text:?}"
        );
    }

    #[test]
    fn the_first_line_is_the_reason_and_may_end_with_a_time() {
        let ten = Some("2026-11-21T10:00:00Z");
        check("", "", None);
        check("\n\n", "", None);
        check("deploy in progress\nsecond line\n", "deploy in progress", None);
        check("deploy until 2026-11-21T10:00:00Z\n", "deploy", ten);
        check("deploy, until 2026-11-21T12:00:00+02:00", "deploy", ten);
        check("deploy (until 2026-11-21T10:00:00Z)", "deploy", ten);
        check("until 2026-11-21T10:00:00Z", "", ten);
        check("UNTIL: 2026-11-21T10:00:00Z.", "", ten);
        check("wait until it is done, until 2026-11-21T10:00:00Z", "wait until it is done", ten);
        check("ä until 2026-11-21T10:00:00Z\r\n", "ä", ten);
    }

    #[test]
    fn a_time_that_cannot_be_read_stays_in_the_reason() {
        check("until Monday", "until Monday", None);
        check("deploy until 10:00", "deploy until 10:00", None);
        check("deploy until 2026-11-21T10:00:00Z or so", "deploy until 2026-11-21T10:00:00Z or so", None);
        check("nountil 2026-11-21T10:00:00Z", "nountil 2026-11-21T10:00:00Z", None);
        check("until", "until", None);
        check("deploy\nuntil 2026-11-21T10:00:00Z", "deploy", None);
    }

    #[test]
    fn a_hostile_marker_is_bounded_and_holds_no_controls() {
        assert_eq!(parse(&"x".repeat(100_000)).reason.chars().count(), REASON_MAX);
        check("a\x1b[31mb\tc", "a[31mb c", None);
        check("İİİ until 2026-11-21T10:00:00Z", "İİİ", Some("2026-11-21T10:00:00Z"));
    }
}

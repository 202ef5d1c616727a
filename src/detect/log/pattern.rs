//! A line that matches a pattern.
//!
//! Deliberately not here: which lines are looked at (`filter`).

use super::clean::cut;
use super::long::OVERLAP;
use crate::base::text::strip_controls;
use crate::model::finding::{Finding, FindingKind};
use regex::bytes::Regex;
use std::ops::Range;

/// Groups of a match that are kept, and bytes of each.
const CAPTURES_MAX: usize = 16;
const CAPTURE_MAX: usize = 256;
/// Bytes of a line in a finding.
const LINE_MAX: usize = 4 * 1024;
/// Bytes of its message.
const MESSAGE_MAX: usize = 1024;

/// Bytes before a match far into a line that its text has.
const BEFORE: usize = 80;
/// Bytes behind such a match that its message has.
const BEHIND: usize = 200;

/// A pattern and its name.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub name: String,
    regex: Regex,
    /// A match may depend on what comes behind it: a line's end, a word's edge.
    looks_on: bool,
}

/// Bytes in which a pattern is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    pub bytes: &'a [u8],
    /// A match begins here at the earliest; what stands before is only looked back at.
    pub from: usize,
    /// What is behind the last byte.
    pub then: Then,
}

/// What is behind a piece of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The line's end.
    End,
    /// More of the line.
    More,
}

/// What was found in a piece.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Without its place.
    pub finding: Finding,
    /// Where the match ends.
    pub end: usize,
    /// The bytes that the finding shows, when it is far into the line; None = the line's beginning.
    pub shown: Option<Range<usize>>,
}

impl Pattern {
    pub fn new(name: &str, regex: &Regex) -> Pattern {
        let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(regex.as_str());
        let looks_on = parsed.map_or(true, |parsed| {
            let looks = parsed.properties().look_set();
            looks.contains_word() || looks.contains_anchor()
        });
        Pattern { name: name.to_owned(), regex: regex.clone(), looks_on }
    }

    /// Its regular expression.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// What it finds in a line, or in a piece of one.
    pub fn judge(&self, piece: Piece<'_>) -> Option<Found> {
        let bytes = piece.bytes;
        let hit = self.regex.find_at(bytes, piece.from)?;
        // Where the piece was cut nothing ends; the next piece has these bytes again, and what follows, if the match is not
        // too long.
        let is_again = hit.start().saturating_add(OVERLAP) >= bytes.len();
        if piece.then == Then::More && hit.end() == bytes.len() && (self.looks_on || is_again) {
            return None;
        }
        let found = self.regex.captures_at(bytes, hit.start())?;
        let mut finding =
            Finding { detector: self.name.clone(), kind: FindingKind::Pattern, ..Finding::default() };
        for (n, name) in self.regex.capture_names().enumerate().skip(1).take(CAPTURES_MAX) {
            let Some(group) = found.get(n) else { continue };
            let name = name.map_or_else(|| n.to_string(), ToOwned::to_owned);
            finding.captures.insert(name, text(group.as_bytes(), CAPTURE_MAX));
        }
        let is_far = piece.from > 0 || hit.start() >= MESSAGE_MAX;
        let shown = is_far.then(|| {
            let start = hit.start().saturating_sub(BEFORE);
            start..bytes.len().min(start + LINE_MAX)
        });
        finding.message = match &shown {
            Some(_) => {
                let end = bytes.len().min(hit.end().saturating_add(BEHIND));
                format!("… {}", text(&bytes[hit.start()..end], MESSAGE_MAX))
            }
            None => text(bytes, MESSAGE_MAX),
        };
        let part = shown.clone().unwrap_or(0..bytes.len().min(LINE_MAX));
        finding.text = cut(&String::from_utf8_lossy(&bytes[part]), LINE_MAX).to_owned();
        Some(Found { finding, end: hit.end(), shown })
    }
}

/// Bytes as text for people: no control characters, bounded.
pub fn text(bytes: &[u8], max: usize) -> String {
    let line = super::clean::line(&bytes[..bytes.len().min(max)]);
    strip_controls(line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_kept() {
        let pattern = pattern(r"(?P<mb>\d+) MB on (\w+)");
        let found = judge(&pattern, b"\x1b[31m  tried 512 MB on gpu0\xff").unwrap().finding;
        assert_eq!(found.captures.get("mb").map(String::as_str), Some("512"));
        assert_eq!(found.captures.get("2").map(String::as_str), Some("gpu0"));
        assert_eq!(found.message, "tried 512 MB on gpu0\u{fffd}");
        assert!(judge(&pattern, b"nothing").is_none());
    }

    fn pattern(regex: &str) -> Pattern {
        Pattern::new("p", &Regex::new(regex).unwrap())
    }

    fn judge(pattern: &Pattern, bytes: &[u8]) -> Option<Found> {
        pattern.judge(Piece { bytes, from: 0, then: Then::End })
    }

    #[test]
    fn what_is_far_into_a_line_is_shown_and_not_the_line_s_beginning() {
        let line = format!("{} OOM 12 MB on gpu0 {}", "x".repeat(9000), "y".repeat(9000));
        let found = judge(&pattern(r"OOM (\d+)"), line.as_bytes()).unwrap();
        assert!(found.finding.message.starts_with("… OOM 12 MB on gpu0 yyy"), "{}", found.finding.message);
        assert!(found.finding.text.contains("OOM 12") && found.finding.text.len() <= LINE_MAX);
        assert_eq!(found.shown.map(|shown| shown.start), Some(9001 - BEFORE));
    }

    #[test]
    fn where_a_piece_is_cut_nothing_begins_or_ends() {
        #[track_caller]
        fn check(regex: &str, bytes: &str, then: Then, want: bool) {
            let piece = Piece { bytes: bytes.as_bytes(), from: 2, then };
            assert_eq!(pattern(regex).judge(piece).is_some(), want, "{regex} in {bytes}");
        }
        check("^OOM", "..OOM", Then::End, false);
        check(r"\bOOM", "xxOOM", Then::End, false);
        check(r"\bOOM", "..OOM", Then::End, true);
        check("OOM$", "..OOM", Then::End, true);
        check("OOM$", "..OOM", Then::More, false);
        check(r"OOM\b", "..OOM", Then::More, false);
        check(r"OOM\b", "..OOM ", Then::More, true);
        check("OOM.*", "..OOM xyz", Then::More, false);
        check("OOM.*", "..OOM xyz", Then::End, true);
        check("OOM.*", &format!("..OOM {}", "x".repeat(OVERLAP)), Then::More, true);
        check(r"code (\d+)", "..code 1", Then::More, false);
        check(r"code (\d+)", "..code 12 ", Then::More, true);
    }
}

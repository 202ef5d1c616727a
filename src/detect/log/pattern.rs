//! A line that matches a pattern.
//!
//! Deliberately not here: which lines are looked at (`filter`).

use super::clean::cut;
use crate::base::text::strip_controls;
use crate::model::finding::{Finding, FindingKind};
use regex::bytes::Regex;

/// Groups of a match that are kept, and bytes of each.
const CAPTURES_MAX: usize = 16;
const CAPTURE_MAX: usize = 256;
/// Bytes of a line in a finding.
const LINE_MAX: usize = 4 * 1024;
/// Bytes of its message.
const MESSAGE_MAX: usize = 1024;

/// A pattern and its name.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub name: String,
    pub regex: Regex,
}

impl Pattern {
    /// A finding, without its place, when the line matches.
    pub fn judge(&self, line: &[u8]) -> Option<Finding> {
        let found = self.regex.captures(line)?;
        let mut finding =
            Finding { detector: self.name.clone(), kind: FindingKind::Pattern, ..Finding::default() };
        for (n, name) in self.regex.capture_names().enumerate().skip(1).take(CAPTURES_MAX) {
            let Some(group) = found.get(n) else { continue };
            let name = name.map_or_else(|| n.to_string(), ToOwned::to_owned);
            finding.captures.insert(name, text(group.as_bytes(), CAPTURE_MAX));
        }
        finding.message = text(line, MESSAGE_MAX);
        finding.text = cut(&String::from_utf8_lossy(&line[..line.len().min(LINE_MAX)]), LINE_MAX).to_owned();
        Some(finding)
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
        let pattern = Pattern { name: "oom".into(), regex: Regex::new(r"(?P<mb>\d+) MB on (\w+)").unwrap() };
        let found = pattern.judge(b"\x1b[31m  tried 512 MB on gpu0\xff").unwrap();
        assert_eq!(found.captures.get("mb").map(String::as_str), Some("512"));
        assert_eq!(found.captures.get("2").map(String::as_str), Some("gpu0"));
        assert_eq!(found.message, "tried 512 MB on gpu0\u{fffd}");
        assert!(pattern.judge(b"nothing").is_none());
    }
}

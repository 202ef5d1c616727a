//! Numbers in lines: out of their range, or far from their recent median. The last value of each is kept for stalls.
//!
//! Deliberately not here: time.

use crate::model::finding::{Finding, FindingKind};
use regex::bytes::Regex;
use std::collections::VecDeque;

/// Values that the median is taken of.
const RECENT_MAX: usize = 20;
/// Values that must be known before a jump is one.
const RECENT_MIN: usize = 5;

/// A metric and its range.
#[derive(Clone, Debug)]
pub struct Metric {
    pub name: String,
    pub regex: Regex,
    pub range: Option<Range>,
    pub last: Option<f64>,
    recent: VecDeque<f64>,
    /// It is out of its range since the last finding: said once, until it is back.
    out: bool,
}

/// What is not right any more; None in all = only the last value is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub above: Option<f64>,
    pub below: Option<f64>,
    /// So many times the recent median, or so small a part of it.
    pub jump: Option<f64>,
}

impl Metric {
    pub fn new(name: &str, regex: &Regex, range: Option<Range>) -> Metric {
        let recent = VecDeque::new();
        Metric { name: name.to_owned(), regex: regex.clone(), range, last: None, recent, out: false }
    }

    /// Takes the line's value, if it has one; a finding, without its place, when the value leaves its range.
    pub fn judge(&mut self, line: &[u8]) -> Option<Finding> {
        let found = self.regex.captures(line)?;
        let group = found.name("value").or_else(|| found.get(1)).or_else(|| found.get(0))?;
        let value = parse(group.as_bytes())?;
        if value.is_finite() {
            self.last = Some(value);
        }
        let range = self.range?;
        let why = self.why(range, value);
        let was_out = std::mem::replace(&mut self.out, why.is_some());
        let recent: Vec<f64> = self.recent.iter().copied().collect();
        // A value that jumped would soon make the median its own.
        if value.is_finite() && (why.is_none() || was_out) {
            self.recent.push_back(value);
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
        }
        if was_out {
            return None;
        }
        Some(Finding {
            detector: self.name.clone(),
            kind: FindingKind::Metric,
            message: why?,
            text: super::pattern::text(line, 1024),
            value: value.is_finite().then_some(value),
            recent,
            ..Finding::default()
        })
    }

    /// Why the value is not right, if it is not.
    fn why(&self, range: Range, value: f64) -> Option<String> {
        let name = &self.name;
        if !value.is_finite() {
            return Some(format!("{name} is {value}"));
        }
        if let Some(above) = range.above.filter(|above| value > *above) {
            return Some(format!("{name} is {value}, above {above}"));
        }
        if let Some(below) = range.below.filter(|below| value < *below) {
            return Some(format!("{name} is {value}, below {below}"));
        }
        let jump = range.jump?;
        let median = self.median()?;
        let (small, large) = (median.abs().min(value.abs()), median.abs().max(value.abs()));
        let turned = median * value < 0.0 && large > f64::EPSILON;
        let jumped = large > small * jump && large > f64::EPSILON;
        (jumped || turned && (value - median).abs() > jump * median.abs())
            .then(|| format!("{name} is {value}, jumped from a median of {median}"))
    }

    fn median(&self) -> Option<f64> {
        if self.recent.len() < RECENT_MIN {
            return None;
        }
        let mut sorted: Vec<f64> = self.recent.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

/// A number as people print it: `12`, `1,234.5`, `1e-3`, `nan`.
fn parse(bytes: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(64))?).ok()?;
    let plain: String = text.trim().chars().filter(|c| *c != ',' && *c != '_').collect();
    if let Ok(value) = plain.parse() {
        return Some(value);
    }
    // The whole match is more than its number: the first number in it counts.
    let start = plain.find(|c: char| c.is_ascii_digit())?;
    let rest = &plain[start..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].trim_end_matches('.').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: Range, values: &[&str], want: &[&str]) {
        let mut metric = Metric::new("loss", &Regex::new(r"loss=(\S+)").unwrap(), Some(range));
        let found = values.iter().filter_map(|value| metric.judge(format!("loss={value}").as_bytes()));
        let found: Vec<String> = found.map(|finding| finding.message).collect();
        assert_eq!(found, want);
    }

    const NONE: Range = Range { above: None, below: None, jump: None };

    #[test]
    fn ranges() {
        let above = Range { above: Some(10.0), ..NONE };
        check(above, &["1", "11", "12", "2", "13"], &["loss is 11, above 10", "loss is 13, above 10"]);
        check(Range { below: Some(0.0), ..NONE }, &["1", "-2", "x"], &["loss is -2, below 0"]);
        check(above, &["nan", "nan", "1", "inf"], &["loss is NaN", "loss is inf"]);
        check(above, &["1,000"], &["loss is 1000, above 10"]);
    }

    #[test]
    fn jumps() {
        let jump = Range { jump: Some(3.0), ..NONE };
        check(jump, &["1", "1", "1", "9"], &[]);
        check(jump, &["1", "1.1", "1", "0.9", "1", "9"], &["loss is 9, jumped from a median of 1"]);
        check(jump, &["100", "99", "101", "100", "98", "10"], &["loss is 10, jumped from a median of 100"]);
        check(jump, &["5", "4", "3", "2.5", "2", "1.8", "1.5", "1.4", "1.3", "1.2"], &[]);
        check(jump, &["0", "0", "0", "0", "0", "0"], &[]);
    }

    #[test]
    fn the_last_value_is_kept() {
        let mut step = Metric::new("step", &Regex::new(r"step (\d+)/").unwrap(), None);
        assert!(step.judge(b"step 7/100").is_none());
        assert_eq!(step.last, Some(7.0));
        let mut whole = Metric::new("step", &Regex::new(r"step \d+").unwrap(), None);
        whole.judge(b"at step 12 now");
        assert_eq!(whole.last, Some(12.0));
    }
}

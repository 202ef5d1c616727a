//! Numbers in lines: out of their range, or far from their recent median. The last value of each is kept for stalls.
//!
//! Deliberately not here: time.

use super::traceback::shape::{Pattern, find};
use crate::model::finding::{Finding, FindingKind};
use regex::{Regex, bytes};
use std::collections::VecDeque;
use std::sync::LazyLock;

/// Values that the median is taken of.
const RECENT_MAX: usize = 20;
/// Values that must be known before a jump is one.
const RECENT_MIN: usize = 5;

/// Bytes of a match that may be a number.
const TEXT_MAX: usize = 64;

/// A number, and a unit that multiplies it when nothing else is written behind it.
static NUMBER: Pattern = LazyLock::new(|| {
    Regex::new(r"([-+]?(?:\d[\d,_]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)(?:\s?([kKMG])(?:[^\w]|$))?").ok()
});

/// A metric and its range.
#[derive(Clone, Debug)]
pub struct Metric {
    pub name: String,
    pub regex: bytes::Regex,
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
    pub fn new(name: &str, regex: &bytes::Regex, range: Option<Range>) -> Metric {
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

/// A number as people print it: `12`, `-1,234.5`, `1_000`, `1e-3`, `nan`, `-inf`, `1.2k`, `45%`, `0.12,`; of a text with
/// more in it the first number.
fn parse(bytes: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(TEXT_MAX))?).ok()?;
    // Brackets, quotes and punctuation around it: `{'loss': nan}`, `tensor(0.5,`, `"0.5"`.
    let bare = text.trim_matches(|c: char| !c.is_alphanumeric() && !"+-.".contains(c)).trim_end_matches('.');
    if let Some(value) = word(bare) {
        return Some(value);
    }
    let plain = find(&NUMBER, text)?;
    let number = without_separators(plain.get(1)?.as_str())?.parse::<f64>().ok()?;
    let unit = plain.get(2).map_or("", |unit| unit.as_str());
    Some(number * scale(unit))
}

/// `nan` and `inf` in all their spellings.
fn word(text: &str) -> Option<f64> {
    let (sign, name) = match text.strip_prefix('-') {
        Some(name) => (-1.0, name),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match name.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "infinity" => Some(sign * f64::INFINITY),
        _ => None,
    }
}

/// Commas and underscores between groups of three digits go; any other comma ends the number.
fn without_separators(text: &str) -> Option<String> {
    let groups: Vec<&str> = text.split([',', '_']).collect();
    let (first, rest) = groups.split_first()?;
    let digits = |group: &str| group.bytes().take_while(u8::is_ascii_digit).count();
    let grouped = rest.iter().enumerate().all(|(n, group)| {
        let last = n + 1 == rest.len();
        digits(group) == 3 && (last || group.len() == 3)
    });
    Some(if grouped { groups.concat() } else { (*first).to_owned() })
}

/// What a letter behind a number multiplies it by: `1.2k tok/s`, `3.4M`. Bytes and seconds keep their unit: two of them in one
/// log would be two metrics.
fn scale(unit: &str) -> f64 {
    match unit {
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: Range, values: &[&str], want: &[&str]) {
        let mut metric = Metric::new("loss", &bytes::Regex::new(r"loss=(\S+)").unwrap(), Some(range));
        let found = values.iter().filter_map(|value| metric.judge(format!("loss={value}").as_bytes()));
        let found: Vec<String> = found.map(|finding| finding.message).collect();
        assert_eq!(found, want);
    }

    const NONE: Range = Range { above: None, below: None, jump: None };

    /// What a regex takes from a line, as a number; None = nothing.
    #[track_caller]
    fn reads(regex: &str, line: &str, want: Option<f64>) {
        let mut metric = Metric::new("m", &bytes::Regex::new(regex).unwrap(), None);
        metric.judge(line.as_bytes());
        assert_eq!(metric.last, want, "{line}");
    }

    #[test]
    fn numbers_as_trainers_print_them() {
        const LOSS: &str = r#"loss['"]?\s*[:=]\s*(\S+)"#;
        // Plain loops, tqdm, Keras, the Hugging Face trainer, Lightning.
        reads(LOSS, "epoch 1 loss: 0.123", Some(0.123));
        reads(LOSS, "loss=1.2e-3, lr=1e-4", Some(1.2e-3));
        reads(LOSS, "{'loss': 2.5, 'grad_norm': 1.0}", Some(2.5));
        reads(LOSS, "{\"loss\":\"0.75\"}", Some(0.75));
        reads(LOSS, " 10%|#         | 10/100 [00:01<00:09,  9.9it/s, loss=0.5]", Some(0.5));
        reads(LOSS, "32/938 [>....] - ETA: 2s - loss: 2.3125 - accuracy: 0.11", Some(2.3125));
        reads(LOSS, "loss: 0.5.", Some(0.5));
        reads(LOSS, "loss: tensor(0.25, device='cuda:0')", Some(0.25));
        reads(LOSS, "loss=-.5", Some(-0.5));
        reads(LOSS, "loss=+3E+2", Some(300.0));
        reads(LOSS, "loss=None", None);
        reads(LOSS, "loss=-", None);
        // Not a finite number: nothing to go on with.
        reads(LOSS, "loss=nan", None);
        const RATE: &str = r"([\d.,_]+\s?[kKMG]?) ?tok/s";
        reads(RATE, "at 1.2k tok/s", Some(1200.0));
        reads(RATE, "at 52,345.5 tok/s", Some(52_345.5));
        reads(RATE, "at 3.4 M tok/s", Some(3.4e6));
        reads(r"step (\S+)", "step 1_000/20_000", Some(1000.0));
        reads(r"step (\S+)", "step 1,234,567 of", Some(1_234_567.0));
        reads(r"step (\S+)", "step 7,lr 3", Some(7.0));
        reads(r"acc (\S+)", "acc 45%", Some(45.0));
        reads(r"mem (\S+)", "mem 12GB", Some(12.0));
        reads(r"delta \S+", "delta -4.5e-2", Some(-4.5e-2));
        reads(r"v(\d+)", "v99999999999999999999999999999999999999", Some(1e38));
    }

    #[test]
    fn not_a_number_in_all_spellings() {
        let above = Range { above: Some(10.0), ..NONE };
        for (value, said) in [
            ("nan", "NaN"),
            ("NaN,", "NaN"),
            ("nan}", "NaN"),
            ("-inf", "-inf"),
            ("Infinity", "inf"),
            ("-nan", "NaN"),
        ] {
            check(above, &[value], &[&format!("loss is {said}")]);
        }
        check(above, &["nano", "info", "x", ""], &[]);
    }

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
        // Values that are missing now and then, warm-up, a restart from a checkpoint that lies a little back.
        check(jump, &["1", "n/a", "1", "-", "1", "1", "n/a", "1", "1.1"], &[]);
        check(jump, &["9", "7", "5", "4", "3", "2.6", "2.4", "2.2", "2.1", "2", "2.9", "2.6"], &[]);
        // What went on at another level is the new normal: said once.
        let up: Vec<&str> = [["1"; 10], ["9"; 10], ["9"; 10]].concat();
        check(jump, &up, &["loss is 9, jumped from a median of 1"]);
    }

    #[test]
    fn the_last_value_is_kept() {
        let mut step = Metric::new("step", &bytes::Regex::new(r"step (\d+)/").unwrap(), None);
        assert!(step.judge(b"step 7/100").is_none());
        assert_eq!(step.last, Some(7.0));
        let mut whole = Metric::new("step", &bytes::Regex::new(r"step \d+").unwrap(), None);
        whole.judge(b"at step 12 now");
        assert_eq!(whole.last, Some(12.0));
    }
}

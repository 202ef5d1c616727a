//! Stack traces in a stream of lines: where one begins, which lines belong to it, when it is over. Several may be open at
//! once, interleaved by their prefixes; a whole one may stand in quotes within one line.
//!
//! Deliberately not here: what a language's trace looks like (one file per language), bytes and windows (`scanner`).

mod go;
mod head;
mod java;
mod javascript;
mod python;
mod rust;
pub mod shape;
#[cfg(test)]
mod tests;
mod tracker;
#[cfg(test)]
mod variations_tests;

use super::clean;
use super::report::Reports;
use crate::model::finding::Finding;
use shape::Fit;
use tracker::{Machine, Tracker};

/// Traces that may be open at once.
const OPEN_MAX: usize = 8;
/// Lines that a look back may take.
const ABOVE_MAX: usize = head::LINES_MAX + 8;

/// What lines may begin a trace, for the search over many of them at once.
pub const SIGNS: &[&str] = &[
    r"Traceback \(most recent call last\):",
    "Fatal Python error: ",
    r#"File ""#,
    "panic: ",
    "fatal error: ",
    r"goroutine \d",
    "SIG(?:QUIT|SEGV|ABRT|BUS|ILL): ",
    "panicked at ",
    "has overflowed its stack",
    "Stack backtrace:",
    r#"Exception in thread ""#,
    r"\[UnhandledPromiseRejection: ",
    r"\[AggregateError: ",
    "--trace-uncaught ",
    "  at ",
    r"\tat ",
    // The same tab in quotes.
    r"\\tat ",
];

/// One line as the readers see it.
#[derive(Clone, Debug)]
pub struct Line {
    /// Without ending, escapes and what was overwritten.
    pub text: String,
    /// Where it begins and ends in the log.
    pub at: u64,
    pub end: u64,
    /// Its number.
    pub number: u64,
}

/// The lines before one: asked only when a trace may begin.
pub trait Above {
    /// Nearest first, at most so many.
    fn above(&self, max: usize) -> Vec<Line>;
}

/// A finding, and where the line stands that gave it away.
#[derive(Clone, Debug)]
pub struct Traced {
    pub finding: Finding,
    pub trigger: u64,
}

/// The open traces.
#[derive(Debug, Default)]
pub struct Traces {
    open: Vec<Tracker>,
    reports: Reports,
    /// End of the last line that belonged to a trace: a look back goes no further.
    floor: u64,
}

impl Traces {
    /// Every line must be shown now, not only those with a sign.
    pub fn is_busy(&self) -> bool {
        !self.open.is_empty() || self.reports.since().is_some()
    }

    /// Where the open traces begin: text, and the line that gave the first away.
    pub fn since(&self) -> Option<(u64, u64)> {
        let at = self.open.iter().map(|open| open.at).min()?;
        let trigger = self.open.iter().map(|open| open.trigger).min()?;
        Some((at, trigger))
    }

    /// Where the report of tests under way begins.
    pub fn report_since(&self) -> Option<u64> {
        self.reports.since()
    }

    /// Takes one line.
    pub fn line(&mut self, line: &Line, above: &dyn Above, out: &mut Vec<Traced>) {
        let muted = self.reports.line(&line.text, line.at);
        if self.offer(line, out) {
            return;
        }
        if self.embedded(line, muted, out) {
            return;
        }
        let Some(mut tracker) = self.begin(line, above) else { return };
        tracker.muted = muted;
        if self.open.len() >= OPEN_MAX {
            self.open.remove(0).finish(out);
        }
        self.floor = line.end;
        self.open.push(tracker);
    }

    /// The open traces are judged as they stand.
    pub fn finish(&mut self, out: &mut Vec<Traced>) {
        for tracker in self.open.drain(..) {
            tracker.finish(out);
        }
    }

    /// Does the line belong to an open trace? Those whose lines are marked by a prefix are asked first.
    fn offer(&mut self, line: &Line, out: &mut Vec<Traced>) -> bool {
        self.open.sort_by_key(|tracker| !tracker.is_marked());
        let mut claimed = false;
        for tracker in std::mem::take(&mut self.open) {
            let mut tracker = tracker;
            let fit = if claimed { Fit::Foreign } else { tracker.offer(line) };
            match fit {
                Fit::Ours => {
                    claimed = true;
                    self.floor = line.end;
                    self.open.push(tracker);
                }
                Fit::Perhaps | Fit::Foreign => self.open.push(tracker),
                Fit::Over => tracker.finish(out),
            }
        }
        claimed
    }

    /// A trace in quotes within the line.
    fn embedded(&self, line: &Line, muted: bool, out: &mut Vec<Traced>) -> bool {
        if muted || !line.text.contains("\\n") {
            return false;
        }
        const WITHIN: [&str; 5] = [
            "Traceback (most recent call last):\\n",
            "\\n    at ",
            "\\n\\tat ",
            "\\ngoroutine ",
            "panicked at ",
        ];
        let Some(at) = WITHIN.iter().filter_map(|sign| line.text.find(sign)).min() else { return false };
        let Some(text) = clean::embedded(&line.text, at) else { return false };
        let mut inner = Traces::default();
        let mut found = Vec::new();
        let lines: Vec<&str> = text.lines().take(2000).collect();
        for n in 0..lines.len() {
            let one = Line { text: lines[n].to_owned(), ..line.clone() };
            let above = Quoted { lines: &lines[..n], line };
            inner.line(&one, &above, &mut found);
        }
        inner.finish(&mut found);
        for traced in &mut found {
            traced.finding.text = clean::cut(&line.text, tracker::TEXT_MAX).to_owned();
        }
        let any = !found.is_empty();
        out.append(&mut found);
        any
    }

    /// Does a trace begin with this line?
    fn begin(&self, line: &Line, above: &dyn Above) -> Option<Tracker> {
        let text = line.text.as_str();
        let own = |at: usize| (&text[..at], &text[at..]);
        if let Some((prefix, text)) = python::begins(text).map(own) {
            return Some(Tracker::new(line, prefix, Machine::Python(python::Python::new(text))));
        }
        if let Some((prefix, text)) = go::begins(text).map(own) {
            return Some(Tracker::new(line, prefix, Machine::Go(go::Go::new(text))));
        }
        if let Some((prefix, text)) = rust::begins(text).map(own) {
            return Some(Tracker::new(line, prefix, Machine::Rust(rust::Rust::new(text))));
        }
        if let Some((prefix, text)) = java::begins(text).map(own) {
            return Some(Tracker::new(line, prefix, Machine::Java(java::Java::new(text)?)));
        }
        if let Some((prefix, text)) = javascript::begins(text).map(own) {
            return Some(Tracker::new(
                line,
                prefix,
                Machine::JavaScript(javascript::JavaScript::bracket(text)?),
            ));
        }
        self.begin_above(line, above)
    }

    /// Does this line tell that a trace began above it?
    fn begin_above(&self, line: &Line, above: &dyn Above) -> Option<Tracker> {
        let text = line.text.as_str();
        let dump = go::dump_begins(text);
        let report = rust::backtrace_begins(text);
        let thrown = javascript::is_thrown_note(text);
        let frame = frame_begins(text);
        if dump.is_none() && report.is_none() && !thrown && frame.is_none() {
            return None;
        }
        let before: Vec<Line> =
            above.above(ABOVE_MAX).into_iter().take_while(|before| before.at >= self.floor).collect();
        if let Some((at, language)) = frame {
            return begin_at_frame(line, at, language, &before);
        }
        let prefix = &text[..dump.or(report).unwrap_or_default()];
        let (kept, texts) = unprefixed(prefix, &before);
        let (machine, lines) = if dump.is_some() {
            let head = texts.iter().position(|text| !text.trim().is_empty())?;
            (Machine::Go(go::Go::caught(texts[head])?), head + 1)
        } else if report.is_some() {
            let oldest_first: Vec<String> = texts.iter().rev().map(|text| (*text).to_owned()).collect();
            let lines = texts.iter().position(|text| text.contains("Error: "))? + 1;
            (Machine::Rust(rust::Rust::report(&oldest_first)?), lines)
        } else {
            (Machine::JavaScript(javascript::JavaScript::thrown(&texts)?), 2)
        };
        let first = kept.get(lines - 1).copied()?;
        Some(Tracker::from_above(first, &before, line, prefix, machine))
    }
}

/// Whose frame a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameOf {
    Java,
    JavaScript,
}

/// Where a frame's indentation begins in a line, if it is a frame.
fn frame_begins(text: &str) -> Option<(usize, FrameOf)> {
    for (at, _) in text.match_indices("at ").take(8) {
        let start = text[..at].trim_end_matches([' ', '\t']).len();
        if start == at {
            continue;
        }
        if java::is_frame(&text[start..]) {
            return Some((start, FrameOf::Java));
        }
        if javascript::is_frame(&text[start..]) {
            return Some((start, FrameOf::JavaScript));
        }
    }
    None
}

fn begin_at_frame(line: &Line, at: usize, language: FrameOf, before: &[Line]) -> Option<Tracker> {
    let prefix = &line.text[..at];
    let (kept, texts) = unprefixed(prefix, before);
    let head = head::search(&texts)?;
    let above = head.above;
    let first = kept.get(above - 1).copied()?;
    // What stands between the prefix and the head belongs to the prefix, so that an indented trace is read as one.
    let indent = texts[above - 1].len() - texts[above - 1].trim_start_matches(' ').len();
    let indent = if at == 0 { 0 } else { indent.min(line.text[at..].len()) };
    let prefix = line.text.get(..at + indent).unwrap_or(prefix);
    // Now that the whole prefix is known, the message is read without it.
    let (_, whole) = unprefixed(prefix, before);
    let head = head::search(&whole).filter(|again| again.exception == head.exception).unwrap_or(head);
    let machine = match language {
        FrameOf::Java => Machine::Java(java::Java::with(head)),
        FrameOf::JavaScript => {
            Machine::JavaScript(javascript::JavaScript::with(head, &texts[above.min(texts.len())..]))
        }
    };
    let mut tracker = Tracker::from_above(first, before, line, prefix, machine);
    tracker.offer(line);
    Some(tracker)
}

/// The lines that carry a prefix, without it.
fn unprefixed<'a>(prefix: &str, lines: &'a [Line]) -> (Vec<&'a Line>, Vec<&'a str>) {
    lines.iter().filter_map(|line| Some((line, clean::same_shape(prefix, &line.text)?))).unzip()
}

/// The lines of a trace in quotes.
struct Quoted<'a> {
    lines: &'a [&'a str],
    line: &'a Line,
}

impl Above for Quoted<'_> {
    fn above(&self, max: usize) -> Vec<Line> {
        let lines = self.lines.iter().rev().take(max);
        lines.map(|text| Line { text: (*text).to_owned(), ..self.line.clone() }).collect()
    }
}

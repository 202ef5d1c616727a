//! Stack traces in a stream of lines: where one begins, which lines belong to it, when it is over. Several may be open at
//! once, interleaved by their prefixes; a whole one may stand in quotes within one line.
//!
//! Deliberately not here: what a language's trace looks like (one file per language), bytes and windows (`scanner`).

mod above;
mod go;
mod head;
mod java;
mod javascript;
mod pretty;
mod python;
mod rust;
pub mod shape;
#[cfg(test)]
mod tests;
mod tracker;
#[cfg(test)]
mod variations_tests;

use super::clean::{self, Kin};
use super::report::Reports;
use crate::model::finding::Finding;
use shape::Fit;
use std::collections::VecDeque;
use tracker::{Machine, Tracker};

/// Traces that may be open at once.
const OPEN_MAX: usize = 8;
/// Lines that belonged to traces and are remembered.
const TAKEN_MAX: usize = 400;
/// Lines that a look back may take.
const ABOVE_MAX: usize = head::LINES_MAX + 8;

/// What lines may begin a trace, for the search over many of them at once.
pub const SIGNS: &[&str] = &[
    r"Traceback \(most recent call last",
    "Fatal Python error: ",
    r#"File ""#,
    // The same in colours, since 3.13.
    r"File \x1b\[",
    // Within the JSON of a container engine.
    r#"File \\(?:"|u001b)"#,
    "panic: ",
    "fatal error: ",
    r"goroutine \d",
    "SIG(?:QUIT|SEGV|ABRT|BUS|ILL): ",
    "panicked at ",
    "application panicked ",
    "has overflowed its stack",
    "Stack backtrace:",
    r#"Exception in thread \\?""#,
    r"\[UnhandledPromiseRejection: ",
    r"\[AggregateError: ",
    "--trace-uncaught ",
    r"Node\.js v\d",
    "FATAL ERROR: ",
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
    /// End of the last line that belonged to a trace: a look back goes no further in the same source.
    floor: u64,
    /// Where the last lines begin that belonged to a trace.
    taken: VecDeque<u64>,
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
        let rival = if self.is_other(line) { self.begin(line, above) } else { None };
        if rival.is_none() && (self.offer(line, out) || self.embedded(line, muted, out)) {
            return;
        }
        let Some(mut tracker) = rival.or_else(|| self.begin(line, above)) else { return };
        tracker.muted = muted;
        if self.open.len() >= OPEN_MAX {
            self.open.remove(0).finish(out);
        }
        self.take(line);
        tracker.above.drain(..).for_each(|at| self.taken.push_back(at));
        for rival in self.open.iter_mut().filter(|open| open.kin(line) == Kin::Other) {
            rival.be_strict();
            tracker.be_strict();
        }
        self.open.push(tracker);
    }

    /// May the line come from a source like that of an open trace, and from none that has one?
    fn is_other(&self, line: &Line) -> bool {
        let other = self.open.iter().any(|open| !open.is_strict() && open.kin(line) == Kin::Other);
        other && !self.open.iter().any(|open| open.kin(line) == Kin::Same)
    }

    /// The open traces are judged as they stand.
    pub fn finish(&mut self, out: &mut Vec<Traced>) {
        self.open.sort_by_key(|tracker| tracker.at);
        for tracker in self.open.drain(..) {
            tracker.finish(out);
        }
    }

    /// Where the last line ends of the open trace that got none for the longest time.
    pub fn stale(&self) -> Option<u64> {
        self.open.iter().map(|open| open.last).min()
    }

    /// The open traces that got no line behind this place are judged as they stand.
    pub fn settle(&mut self, last: u64, out: &mut Vec<Traced>) {
        for tracker in self.open.extract_if(.., |open| open.last <= last) {
            tracker.finish(out);
        }
    }

    /// Does the line belong to an open trace? Those whose prefix it carries are asked first, those with another number in
    /// the prefix last.
    fn offer(&mut self, line: &Line, out: &mut Vec<Traced>) -> bool {
        self.open.sort_by_cached_key(|tracker| (tracker.kin(line), !tracker.is_marked()));
        let mut claimed = false;
        for tracker in std::mem::take(&mut self.open) {
            let mut tracker = tracker;
            let fit = if claimed { Fit::Foreign } else { tracker.offer(line) };
            match fit {
                Fit::Ours => {
                    claimed = true;
                    self.take(line);
                    self.open.push(tracker);
                }
                Fit::Perhaps | Fit::Foreign => self.open.push(tracker),
                Fit::Over => tracker.finish(out),
            }
        }
        claimed
    }

    /// The line belongs to a trace.
    fn take(&mut self, line: &Line) {
        self.floor = line.end;
        self.taken.push_back(line.at);
        while self.taken.len() > TAKEN_MAX {
            self.taken.pop_front();
        }
    }

    /// A trace in quotes within the line.
    fn embedded(&self, line: &Line, muted: bool, out: &mut Vec<Traced>) -> bool {
        if muted || !line.text.contains("\\n") {
            return false;
        }
        const WITHIN: [&str; 6] = [
            // Go's stacks of recovered panics begin with it.
            "\"goroutine ",
            "Traceback (most recent call last):\\n",
            "\\n    at ",
            "\\n\\tat ",
            "\\ngoroutine ",
            "panicked at ",
        ];
        let Some(at) = WITHIN.iter().filter_map(|sign| Some(line.text.find(sign)? + 1)).min() else {
            return false;
        };
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
            if traced.finding.message.is_empty() {
                traced.finding.message = clean::said(&line.text).unwrap_or_default();
            }
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
        if let Some((prefix, text)) = pretty::begins(text).map(own) {
            return Some(Tracker::new(line, prefix, Machine::Pretty(pretty::Pretty::new(text))));
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
        above::begin(line, || {
            let mut before = above.above(ABOVE_MAX);
            before.retain(|one| self.is_free(one, line));
            before
        })
    }

    /// May a line above be the head of a trace that another line gave away? Not what belongs to a trace already, nor what
    /// stands above such a line, unless it comes from another source.
    fn is_free(&self, one: &Line, line: &Line) -> bool {
        if one.at >= self.floor {
            return true;
        }
        !self.taken.contains(&one.at) && self.open.iter().any(|open| open.kin(line) == Kin::Other)
    }
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

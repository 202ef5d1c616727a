//! Bytes in, findings out. Bytes come in pieces of any size; what is kept is a window, some lines behind it, and the open
//! traces.
//!
//! A line ends at `\n`, at `\r\n`, and at a `\r` alone: a progress bar's states are lines of their own. A line longer than
//! [`LINE_MAX`] is looked at in pieces (`long`).
//!
//! Deliberately not here: files, rotation, time.

use super::clean::{self, LINE_MAX};
use super::filter::{self, Ahead, Filter};
use super::long::{CONTEXT, Long, OVERLAP, STEP, Window};
use super::metric::{Metric, Range};
use super::pattern::{Pattern, Piece, Then};
use super::traceback::{Above, Line, Traced, Traces};
use crate::config::{DetectorConfig, DetectorKind};
use crate::model::finding::Finding;
use crate::model::process::LongLine;
use std::collections::BTreeMap;

/// Bytes that are searched at once.
const WINDOW: usize = 64 * 1024;
/// Bytes before the line at hand that a look back may read.
const BEHIND_MAX: usize = 16 * 1024;
/// A report of tests that began so far back is not read again after a restart.
const REPORT_BEHIND_MAX: u64 = 256 * 1024;

/// Where a scan stands, so that another one can go on from there and repeat nothing. Bytes from the log's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Reading goes on here: some lines back, for the sake of traces whose head comes first.
    pub offset: u64,
    /// Number of the line there, from 1; 0 = 1.
    pub line: u64,
    /// Lines that begin before it were judged by patterns and metrics.
    pub judged: u64,
    /// Traces that were given away by a line before it were judged.
    pub traced: u64,
    /// It is within a line that is too long.
    pub long: Option<LongLine>,
}

/// The detectors of one log.
#[derive(Debug)]
pub struct Scanner {
    patterns: Vec<Pattern>,
    metrics: Vec<Metric>,
    traces: Option<Traces>,
    /// Names of the traceback detectors.
    tracers: Vec<String>,
    filter: Filter,
    buffer: Buffer,
    /// In a line that is too long: the buffer stands at its next piece.
    long: Option<Long>,
    /// The unfinished last line was judged and something was found in it.
    partial_found: bool,
    /// Bytes that had been taken in when silence was judged last.
    hushed: u64,
    /// What an earlier scan has judged.
    before: Position,
}

impl Scanner {
    /// Detectors at a place of a log.
    pub fn new(detectors: &[DetectorConfig], from: Position) -> Scanner {
        let mut patterns = Vec::new();
        let mut metrics = Vec::new();
        let mut tracers = Vec::new();
        for detector in detectors {
            let name = &detector.name;
            match &detector.kind {
                DetectorKind::Pattern { regex } => {
                    patterns.push(Pattern::new(name, regex));
                }
                DetectorKind::Traceback => tracers.push(name.clone()),
                DetectorKind::Metric { regex, above, below, jump } => {
                    let range = Range { above: *above, below: *below, jump: *jump };
                    metrics.push(Metric::new(name, regex, Some(range)));
                }
                DetectorKind::Stall { metric: Some(regex), .. } => {
                    metrics.push(Metric::new(name, regex, None));
                }
                DetectorKind::Stall { metric: None, .. } | DetectorKind::Exit { .. } => {}
            }
        }
        let regexes = patterns.iter().map(Pattern::regex);
        let regexes = regexes.chain(metrics.iter().map(|metric| &metric.regex));
        let wanted = if tracers.is_empty() { filter::Traces::Unwanted } else { filter::Traces::Wanted };
        let filter = Filter::new(regexes, wanted);
        let traces = (!tracers.is_empty()).then(Traces::default);
        let buffer = Buffer { base: from.offset, line: from.line.max(1), ..Buffer::default() };
        let long = from.long.map(|known| Long::known(patterns.len(), known));
        Scanner {
            patterns,
            metrics,
            traces,
            tracers,
            filter,
            buffer,
            long,
            partial_found: false,
            hushed: 0,
            before: from,
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Finding>) {
        for window in bytes.chunks(WINDOW) {
            self.buffer.bytes.extend_from_slice(window);
            self.run(out);
            self.buffer.forget();
        }
    }

    /// Nothing came for a while: an open traceback and an unfinished last line are judged now, and not again.
    pub fn quiet(&mut self, out: &mut Vec<Finding>) {
        if self.has_partial() && self.long.is_some() {
            let end = self.buffer.bytes.len();
            self.piece(end, None, out);
        } else if self.has_partial() {
            let found = out.len();
            let end = self.buffer.bytes.len().min(self.buffer.pos + LINE_MAX);
            let end = if self.buffer.bytes[end - 1] == b'\r' { end - 1 } else { end };
            // The number at its end may not be all there: metrics wait.
            self.judge(self.buffer.pos..end, Completeness::Partial, out);
            self.finish_traces(out);
            self.partial_found = out.len() > found;
        }
        self.hushed = self.fed();
        self.finish_traces(out);
    }

    /// There is an unfinished last line that was not judged as it stands.
    fn has_partial(&self) -> bool {
        let unfinished = self.buffer.pos < self.buffer.bytes.len();
        unfinished && !self.partial_found && self.fed() > self.hushed
    }

    /// The log is at its end.
    pub fn finish(&mut self, out: &mut Vec<Finding>) {
        if self.long.is_some() {
            let end = self.buffer.bytes.len();
            self.piece(end, Some(end), out);
            self.buffer.pos = end;
            self.long = None;
        } else if !self.partial_found && self.buffer.pos < self.buffer.bytes.len() {
            let end = self.buffer.bytes.len().min(self.buffer.pos + LINE_MAX);
            self.judge(self.buffer.pos..end, Completeness::Whole, out);
            self.buffer.pos = self.buffer.bytes.len();
        }
        self.finish_traces(out);
    }

    /// Where another scan can go on. Everything before its offset is done with.
    pub fn position(&self) -> Position {
        let here = self.buffer.offset(self.buffer.pos) + u64::from(self.partial_found);
        let open = self.traces.as_ref().and_then(Traces::since);
        let report = self.traces.as_ref().and_then(Traces::report_since);
        let report = report.filter(|at| *at + REPORT_BEHIND_MAX > here);
        let mut long = self.long.as_ref().map(Long::kept);
        let (mut offset, mut line) = match long {
            Some(_) => (here.saturating_sub(CONTEXT as u64).max(self.buffer.base), self.buffer.line),
            None => self.buffer.behind_start(),
        };
        for at in [open.map(|(at, _)| at), report].into_iter().flatten() {
            if at < offset {
                // The number of a line that is no longer at hand is not known: it is counted from the last known one.
                // A long line that has begun since is read again, too.
                (offset, long) = (at, None);
                line = line.saturating_sub(self.buffer.lines_before(at)).max(1);
            }
        }
        // A piece before the next one was looked at: matches that end there were told.
        let ahead = self.long.as_ref().map_or(0, |_| OVERLAP as u64);
        let judged = (here + ahead).max(self.before.judged);
        let traced = open.map_or(here, |(_, trigger)| trigger).max(self.before.traced);
        Position { offset, line, judged, traced, long }
    }

    /// Bytes that were taken in, from the log's beginning.
    pub fn fed(&self) -> u64 {
        self.buffer.offset(self.buffer.bytes.len())
    }

    /// Something waits for more lines, or for silence.
    pub fn is_open(&self) -> bool {
        let traces = self.traces.as_ref().is_some_and(|traces| traces.since().is_some());
        traces || self.has_partial()
    }

    /// The last value of each metric, by detector.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        self.metrics.iter().filter_map(|metric| Some((metric.name.clone(), metric.last?))).collect()
    }

    fn run(&mut self, out: &mut Vec<Finding>) {
        loop {
            if self.long.is_some() && !self.pieces(out) {
                return;
            }
            let end = self.buffer.complete_end();
            self.scan(end, out);
            let left = self.buffer.bytes.len() - self.buffer.pos;
            if left <= LINE_MAX {
                return;
            }
            self.begin_long(out);
        }
    }

    /// The line at hand is too long to be looked at at once.
    fn begin_long(&mut self, out: &mut Vec<Finding>) {
        let line = self.buffer.pos..self.buffer.pos + LINE_MAX;
        // What was found in it when it was shorter was told.
        let hushed = if std::mem::take(&mut self.partial_found) { self.hushed } else { 0 };
        let mut long = Long::new(self.patterns.len());
        let at = self.buffer.offset(line.start);
        let told = if at < self.before.judged { u64::MAX } else { hushed };
        let piece = Piece { bytes: &self.buffer.bytes[line.clone()], from: 0, then: Then::More };
        let window = Window { piece, base: at, line: self.buffer.line, told };
        long.judge(&self.patterns, &self.filter, &window, out);
        if hushed == 0 {
            self.judge(line, Completeness::Beginning, out);
        }
        self.long = Some(long);
        self.buffer.pos += STEP;
    }

    /// Goes through a line that is too long; false when its end is not at hand.
    fn pieces(&mut self, out: &mut Vec<Finding>) -> bool {
        loop {
            let (pos, len) = (self.buffer.pos, self.buffer.bytes.len());
            let ends = self.buffer.next_end(pos, len);
            // A `\r` at the very end may be the first half of `\r\n`.
            let last = usize::from(self.buffer.bytes.last() == Some(&b'\r'));
            let stop = ends.map_or((len - last).max(pos), |(stop, _)| stop);
            if stop - pos > LINE_MAX {
                self.piece(pos + LINE_MAX, ends.map(|(stop, _)| stop), out);
                self.buffer.pos += STEP;
                continue;
            }
            let Some((stop, next)) = ends else { return false };
            self.piece(stop, Some(stop), out);
            self.buffer.advance(next);
            self.long = None;
            return true;
        }
    }

    /// Looks at a piece of a line that is too long, up to `to`; the line ends at `stop`, if that is known.
    fn piece(&mut self, to: usize, stop: Option<usize>, out: &mut Vec<Finding>) {
        let Some(long) = &mut self.long else { return };
        let Buffer { bytes, base, pos, line } = &self.buffer;
        let piece = Window::cut(bytes, *pos, to, stop);
        let base = base + pos.saturating_sub(CONTEXT) as u64;
        let window = Window { piece, base, line: *line, told: self.before.judged };
        long.judge(&self.patterns, &self.filter, &window, out);
    }

    /// Looks at the whole lines up to `end`.
    fn scan(&mut self, end: usize, out: &mut Vec<Finding>) {
        let mut ahead = Ahead::default();
        while self.buffer.pos < end {
            if !self.traces.as_ref().is_some_and(Traces::is_busy) && !self.partial_found {
                let found = match &self.filter {
                    Filter::Every => Some(self.buffer.pos),
                    Filter::Nothing => None,
                    Filter::Signs(searches) => {
                        ahead.next(searches, &self.buffer.bytes[..end], self.buffer.pos)
                    }
                };
                let Some(found) = found.filter(|at| *at < end) else {
                    self.buffer.advance(end);
                    return;
                };
                let start = self.buffer.line_start(found);
                self.buffer.advance(start);
            }
            let (stop, next) = self.buffer.next_end(self.buffer.pos, end).unwrap_or((end, end));
            if !std::mem::take(&mut self.partial_found) {
                let stop = stop.min(self.buffer.pos + LINE_MAX);
                self.judge(self.buffer.pos..stop, Completeness::Whole, out);
            }
            self.buffer.advance(next);
        }
    }

    fn judge(&mut self, line: std::ops::Range<usize>, whole: Completeness, out: &mut Vec<Finding>) {
        let bytes = &self.buffer.bytes[line.clone()];
        let at = self.buffer.offset(line.start);
        let end = self.buffer.offset(line.end);
        let number = self.buffer.line;
        let mut place = |finding: Option<Finding>| {
            if let Some(finding) = finding.filter(|_| at >= self.before.judged) {
                out.push(Finding { at, end, line: number, ..finding });
            }
        };
        if whole != Completeness::Beginning {
            let piece = Piece { bytes, from: 0, then: Then::End };
            self.patterns.iter().for_each(|pattern| place(pattern.judge(piece).map(|found| found.finding)));
        }
        if whole != Completeness::Partial {
            self.metrics.iter_mut().for_each(|metric| place(metric.judge(bytes)));
        }
        if let Some(traces) = &mut self.traces {
            let text = clean::line(bytes);
            let mut found = Vec::new();
            let above = Behind { buffer: &self.buffer, pos: line.start };
            traces.line(&Line { text, at, end, number }, &above, &mut found);
            self.tell(found, out);
        }
    }

    fn finish_traces(&mut self, out: &mut Vec<Finding>) {
        let mut found = Vec::new();
        if let Some(traces) = &mut self.traces {
            traces.finish(&mut found);
        }
        self.tell(found, out);
    }

    fn tell(&self, found: Vec<Traced>, out: &mut Vec<Finding>) {
        for traced in found.into_iter().filter(|traced| traced.trigger >= self.before.traced) {
            for name in &self.tracers {
                out.push(Finding { detector: name.clone(), ..traced.finding.clone() });
            }
        }
    }
}

/// Whether a line has its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completeness {
    Whole,
    /// Its end may not be there yet.
    Partial,
    /// Its end is far away, and patterns look at it piece by piece.
    Beginning,
}

/// The window: some lines behind, the line at hand, what follows.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Where in the log the first byte stands.
    base: u64,
    /// Where the line at hand begins.
    pos: usize,
    /// Its number.
    line: u64,
}

impl Buffer {
    fn offset(&self, at: usize) -> u64 {
        self.base + at as u64
    }

    /// Where a line ends, and where the next one begins. A `\r` that is the last byte at hand may be half an ending.
    fn next_end(&self, from: usize, to: usize) -> Option<(usize, usize)> {
        let stop = from + memchr::memchr2(b'\n', b'\r', self.bytes.get(from..to)?)?;
        if self.bytes[stop] == b'\n' {
            return Some((stop, stop + 1));
        }
        match self.bytes.get(stop + 1) {
            Some(b'\n') => Some((stop, stop + 2)),
            Some(_) => Some((stop, stop + 1)),
            None => None,
        }
    }

    /// Behind the last ending at hand.
    fn complete_end(&self) -> usize {
        let mut to = self.bytes.len();
        if self.bytes.last() == Some(&b'\r') {
            to -= 1;
        }
        let rest = self.bytes.get(self.pos..to).unwrap_or_default();
        memchr::memrchr2(b'\n', b'\r', rest).map_or(self.pos, |at| self.pos + at + 1)
    }

    /// Where the line of a byte begins.
    fn line_start(&self, at: usize) -> usize {
        memchr::memrchr2(b'\n', b'\r', &self.bytes[self.pos..at]).map_or(self.pos, |end| self.pos + end + 1)
    }

    fn advance(&mut self, to: usize) {
        self.line += memchr::memchr_iter(b'\n', &self.bytes[self.pos..to]).count() as u64;
        self.pos = to;
    }

    /// Drops what no look back needs.
    fn forget(&mut self) {
        let keep = self.pos.saturating_sub(BEHIND_MAX);
        if keep >= WINDOW / 2 {
            self.bytes.drain(..keep);
            self.base += keep as u64;
            self.pos -= keep;
        }
    }

    /// Where a look back from here could begin at most, and the number of that line.
    fn behind_start(&self) -> (u64, u64) {
        let behind = &self.bytes[self.pos.saturating_sub(BEHIND_MAX)..self.pos];
        // The first line at hand may be torn.
        let skip = if self.base == 0 && behind.len() == self.pos {
            0
        } else {
            memchr::memchr(b'\n', behind).map_or(behind.len(), |end| end + 1)
        };
        let lines = memchr::memchr_iter(b'\n', &behind[skip..]).count() as u64;
        (self.offset(self.pos - behind.len() + skip), self.line.saturating_sub(lines))
    }

    /// Lines between a place and where a look back could begin, as far as they are at hand.
    fn lines_before(&self, at: u64) -> u64 {
        let from = usize::try_from(at.saturating_sub(self.base)).unwrap_or_default();
        let to = self.pos.saturating_sub(BEHIND_MAX);
        memchr::memchr_iter(b'\n', self.bytes.get(from..to).unwrap_or_default()).count() as u64
    }
}

/// The lines before a place of the window.
struct Behind<'a> {
    buffer: &'a Buffer,
    pos: usize,
}

impl Above for Behind<'_> {
    fn above(&self, max: usize) -> Vec<Line> {
        let bytes = &self.buffer.bytes;
        let floor = self.pos.saturating_sub(BEHIND_MAX);
        let mut lines = Vec::new();
        let mut end = self.pos;
        let mut number = self.buffer.line;
        while end > floor && lines.len() < max {
            // Step over the ending before `end`.
            let mut stop = end - 1;
            number -= u64::from(bytes[stop] == b'\n').min(number);
            if bytes[stop] == b'\n' && stop > floor && bytes[stop - 1] == b'\r' {
                stop -= 1;
            }
            let start =
                memchr::memrchr2(b'\n', b'\r', &bytes[floor..stop]).map_or(floor, |at| floor + at + 1);
            let at = self.buffer.offset(start);
            let text = clean::line(&bytes[start..stop]);
            lines.push(Line { text, at, end: self.buffer.offset(stop), number });
            end = start;
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_detectors;

    fn scanner(from: Position) -> Scanner {
        let text = "detectors = [{ kind = \"traceback\" }, { kind = \"pattern\", name = \"oom\", regex = \"OOM\" }, \
                    { kind = \"stall\", name = \"step\", metric_regex = \"step (\\\\d+)\", no_progress_s = 9 }]";
        Scanner::new(&parse_detectors("d", text).unwrap(), from)
    }

    fn said(found: &[Finding]) -> Vec<String> {
        found.iter().map(|one| format!("{}:{} {}", one.line, one.at, one.detector)).collect()
    }

    /// The log in every way of being cut in two, with a new scan after the cut: each finding once, and the same ones.
    #[track_caller]
    fn check(log: &str, want: &[&str]) {
        for cut in 0..=log.len() {
            let (first, _) = log.as_bytes().split_at(cut);
            let mut found = Vec::new();
            let mut scan = scanner(Position::default());
            scan.feed(first, &mut found);
            let position = scan.position();
            let mut next = scanner(position);
            next.feed(&log.as_bytes()[position.offset as usize..], &mut found);
            next.finish(&mut found);
            found.sort_by_key(|one| one.at);
            assert_eq!(said(&found), want, "cut at {cut}");
        }
    }

    const TRACE: &str =
        "Traceback (most recent call last):\n  File \"/a.py\", line 1, in f\n    x\nValueError: x\n";

    #[test]
    fn a_new_scan_goes_on_where_another_stood() {
        check("one\nOOM\ntwo\r\nOOM\r\n", &["2:4 oom", "4:13 oom"]);
        check(&format!("one\n{TRACE}OOM\n"), &["2:4 traceback", "6:88 oom"]);
        check("a\nError: x\n    at f (/a.js:1:2)\nOOM\n", &["2:2 traceback", "4:32 oom"]);
    }

    #[test]
    fn silence_judges_an_unfinished_line_once() {
        let mut found = Vec::new();
        let mut scan = scanner(Position::default());
        scan.feed(b"step 7\nstep 12 OOM", &mut found);
        assert!(found.is_empty() && scan.is_open());
        scan.quiet(&mut found);
        assert_eq!(said(&found), ["2:7 oom"]);
        assert_eq!(scan.metrics().get("step"), Some(&7.0), "a number may be half written");
        assert!(!scan.is_open());
        scan.feed(b"3\nOOM\n", &mut found);
        assert_eq!(said(&found), ["2:7 oom", "3:20 oom"]);
        scan.feed(b"progress", &mut found);
        assert!(scan.is_open());
        scan.quiet(&mut found);
        assert!(!scan.is_open(), "nothing more to judge until something comes");
    }

    #[test]
    fn a_line_of_any_length_takes_bounded_memory() {
        let mut found = Vec::new();
        let mut scan = scanner(Position::default());
        scan.feed(b"OOM ", &mut found);
        for _ in 0..160 {
            scan.feed(&[b'x'; 64 * 1024], &mut found);
            assert!(scan.buffer.bytes.capacity() < 1 << 20);
        }
        scan.feed(b" OOM\nOOM\n", &mut found);
        assert_eq!(said(&found), ["1:0 oom", "2:10485769 oom"]);
    }

    #[test]
    fn a_pattern_finds_what_stands_anywhere_in_a_long_line_and_tells_it_once() {
        let x = |count: usize| "x".repeat(count);
        let size = 300_000;
        for at in [0, 1000, 50_000, LINE_MAX - 2, LINE_MAX, STEP - 1, 2 * STEP + OVERLAP - 1, size - 3, size]
        {
            let log = format!("a\n{} OOM {}OOM{}\nOOM\n", x(at), x(size - at), x(200_000));
            let mut found = Vec::new();
            let mut scan = scanner(Position::default());
            log.as_bytes().chunks(10_000).for_each(|piece| scan.feed(piece, &mut found));
            assert_eq!(found.len(), 2, "at {at}: {:?}", said(&found));
            let shown = &log[found[0].at as usize..found[0].end as usize];
            assert!(shown.contains("OOM") && found[0].message.contains("OOM"), "at {at}");
            assert_eq!((found[0].line, found[1].line), (2, 3));
            assert_eq!(log.as_bytes()[found[1].at as usize - 1], b'\n');
        }
    }

    #[test]
    fn a_new_scan_goes_on_within_a_long_line() {
        let log = format!("a\n{}OOM{}OOM\nOOM\n", "x".repeat(150_000), "x".repeat(150_000));
        for cut in (0..log.len()).step_by(7_001).chain([150_002, 150_003, 150_004, 150_005]) {
            let mut found = Vec::new();
            let mut scan = scanner(Position::default());
            scan.feed(&log.as_bytes()[..cut], &mut found);
            if cut % 2 == 0 {
                scan.quiet(&mut found);
            }
            let position = scan.position();
            assert!(cut as u64 - position.offset <= (LINE_MAX + OVERLAP) as u64 + 16 * 1024, "{position:?}");
            let mut next = scanner(position);
            next.feed(&log.as_bytes()[position.offset as usize..], &mut found);
            next.finish(&mut found);
            let lines: Vec<u64> = found.iter().map(|one| one.line).collect();
            assert_eq!(lines, [2, 3], "cut at {cut}");
        }
    }

    #[test]
    fn a_progress_bar_is_many_lines() {
        let mut found = Vec::new();
        let mut scan = scanner(Position::default());
        scan.feed(b"\rstep 1/9\rstep 2/9 OOM\rstep 3/9\rste", &mut found);
        assert_eq!(said(&found), ["1:10 oom"]);
        assert_eq!(scan.metrics().get("step"), Some(&3.0));
    }
}

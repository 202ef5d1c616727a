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
/// Findings of patterns that wait for the end of a trace.
const HELD_MAX: usize = 64;
/// Traces that were told while an older one is open, and are remembered.
pub const TOLD_MAX: usize = 16;
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
    /// So were these behind it, while an older one is open.
    pub told: Told,
    /// It is within a line that is too long.
    pub long: Option<LongLine>,
}

/// The lines that gave traces away, in order; the last ones when there are too many.
pub type Told = [Option<u64>; TOLD_MAX];

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
    /// What patterns found in lines of a trace that is still open: told together with it.
    held: Vec<Finding>,
    /// What gave away the last traces that were told.
    told: Vec<u64>,
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
            held: Vec::new(),
            told: from.told.into_iter().flatten().collect(),
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
            // As in a short line: what stands at its end may be all that comes.
            self.piece(end, Some(end), out);
        } else if self.has_partial() {
            let found = out.len();
            let end = self.buffer.bytes.len().min(self.buffer.pos + LINE_MAX);
            let end = if self.buffer.bytes[end - 1] == b'\r' { end - 1 } else { end };
            // The number at its end may not be all there: metrics wait.
            self.judge(self.buffer.pos..end, Completeness::Partial, out);
            self.finish_traces(out);
            // What ends before it is over, and says nothing of what is still to come of this line.
            let at = self.buffer.offset(self.buffer.pos);
            self.partial_found = out[found..].iter().any(|found| found.end > at);
        }
        self.hushed = self.fed();
        self.finish_traces(out);
    }

    /// Where the first finding stands that waits for the end of the trace around it.
    pub fn holding(&self) -> Option<u64> {
        self.held.iter().map(|found| found.at).min()
    }

    /// Where the last line ends of the open trace that got none for the longest time.
    pub fn stale(&self) -> Option<u64> {
        self.traces.as_ref().and_then(Traces::stale)
    }

    /// Open traces that got no line behind this place get no more, whatever else comes.
    pub fn settle(&mut self, last: u64, out: &mut Vec<Finding>) {
        let mut found = Vec::new();
        if let Some(traces) = &mut self.traces {
            traces.settle(last, &mut found);
        }
        self.tell(found, out);
        self.release(out);
    }

    /// What waits for the end of a trace is told without it.
    pub fn let_go(&mut self, out: &mut Vec<Finding>) {
        out.append(&mut self.held);
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
                line = self.buffer.line.saturating_sub(self.buffer.lines_since(at)).max(1);
            }
        }
        // A piece before the next one was looked at: matches that end there were told.
        let ahead = self.long.as_ref().map_or(0, |_| OVERLAP as u64);
        let held = self.held.iter().map(|found| found.at);
        let judged = held.fold(here + ahead, u64::min).max(self.before.judged);
        let traced = open.map_or(here, |(_, trigger)| trigger).max(self.before.traced);
        Position { offset, line, judged, traced, told: told(self.told.iter().copied(), traced), long }
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
        let mut found = Vec::new();
        let piece = Piece { bytes: &self.buffer.bytes[line.clone()], from: 0, then: Then::More };
        let window = Window { piece, base: at, line: self.buffer.line, told };
        long.judge(&self.patterns, &self.filter, &window, &mut found);
        queue(&mut self.held, found, out);
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
        let mut found = Vec::new();
        long.judge(&self.patterns, &self.filter, &window, &mut found);
        queue(&mut self.held, found, out);
    }

    /// Looks at the whole lines up to `end`, or to one that is too long.
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
            if stop - self.buffer.pos > LINE_MAX {
                return;
            }
            if !std::mem::take(&mut self.partial_found) {
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
        let is_new = at >= self.before.judged;
        let place = |finding: Finding| Finding { at, end, line: number, ..finding };
        if whole != Completeness::Beginning {
            let piece = Piece { bytes, from: 0, then: Then::End };
            let matched = self.patterns.iter().filter_map(|pattern| pattern.judge(piece)).filter(|_| is_new);
            self.held.extend(matched.map(|found| place(found.finding)));
        }
        if whole != Completeness::Partial {
            let ranges = self.metrics.iter_mut().filter_map(|metric| metric.judge(bytes));
            let found = ranges.filter(|_| is_new).map(place).collect();
            queue(&mut self.held, found, out);
        }
        if let Some(traces) = &mut self.traces {
            let text = clean::line(bytes);
            let mut found = Vec::new();
            let above = Behind { buffer: &self.buffer, pos: line.start };
            traces.line(&Line { text, at, end, number }, &above, &mut found);
            self.tell(found, out);
        }
        self.release(out);
    }

    fn finish_traces(&mut self, out: &mut Vec<Finding>) {
        let mut found = Vec::new();
        if let Some(traces) = &mut self.traces {
            traces.finish(&mut found);
        }
        self.tell(found, out);
        self.release(out);
    }

    /// What patterns found is told when no trace around it is open, or when it is too much to wait for one.
    fn release(&mut self, out: &mut Vec<Finding>) {
        let open = self.traces.as_ref().and_then(Traces::since).map(|(at, _)| at);
        let over = self.held.len() > HELD_MAX;
        out.extend(self.held.extract_if(.., |found| over || open.is_none_or(|open| found.at < open)));
    }

    fn tell(&mut self, found: Vec<Traced>, out: &mut Vec<Finding>) {
        let Position { traced, told, .. } = self.before;
        for traced in
            found.into_iter().filter(|one| one.trigger >= traced && !told.contains(&Some(one.trigger)))
        {
            self.told.push(traced.trigger);
            for name in &self.tracers {
                out.push(Finding { detector: name.clone(), ..traced.finding.clone() });
            }
        }
        self.told.sort_unstable();
        self.told.dedup();
        self.told.drain(..self.told.len().saturating_sub(TOLD_MAX));
    }
}

/// Told at once, but never before what waits: a new scan begins there, and would tell it again.
fn queue(held: &mut Vec<Finding>, found: Vec<Finding>, out: &mut Vec<Finding>) {
    let to = if held.is_empty() { out } else { held };
    to.extend(found);
}

/// What is to be remembered of told traces when all that were given away before `from` are known anyway.
pub fn told(triggers: impl Iterator<Item = u64>, from: u64) -> Told {
    let mut told = Told::default();
    told.iter_mut().zip(triggers.filter(|at| *at >= from)).for_each(|(place, at)| *place = Some(at));
    told
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

    /// Lines between a place and the line at hand, as far as they are at hand.
    fn lines_since(&self, at: u64) -> u64 {
        let from = usize::try_from(at.saturating_sub(self.base)).unwrap_or_default();
        memchr::memchr_iter(b'\n', self.bytes.get(from..self.pos).unwrap_or_default()).count() as u64
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
mod tests;

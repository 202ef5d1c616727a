//! Traces that are given away by a line below their head: JavaScript's and Java's by their first frame, Go's dumps of a
//! recovered panic, errors of Rust with a backtrace, values that Node says were thrown.
//!
//! Deliberately not here: what a head looks like (`head`), the windows that the lines above come from (`scanner`).

use super::super::clean;
use super::tracker::{Machine, Tracker};
use super::{Line, go, head, java, javascript, rust};

/// Lines above a frame that show how a prefix ends.
const NEAR: usize = 16;

/// Does this line tell that a trace began above it? `before` are the lines above, nearest first.
pub fn begin(line: &Line, before: impl FnOnce() -> Vec<Line>) -> Option<Tracker> {
    let text = line.text.as_str();
    let sign = sign(text)?;
    let before = &*before();
    match sign {
        Sign::Frame(at, language) => at_frame(line, at, language, before),
        Sign::Dump(at) => at_dump(line, at, before),
        Sign::Report(at) => {
            let prefix = &text[..at];
            let (kept, texts) = unprefixed(prefix, before);
            let lines = texts.iter().position(|text| text.contains("Error: "))? + 1;
            let oldest_first: Vec<String> = texts.iter().rev().map(|text| (*text).to_owned()).collect();
            let machine = Machine::Rust(rust::Rust::report(&oldest_first)?);
            Some(Tracker::from_above(&kept[..lines], line, prefix, machine))
        }
        Sign::Thrown(at) => {
            let prefix = &text[..at];
            let (kept, texts) = unprefixed(prefix, before);
            let (thrown, lines) = javascript::JavaScript::thrown(&texts)?;
            Some(Tracker::from_above(&kept[..lines], line, prefix, Machine::JavaScript(thrown)))
        }
    }
}

/// What gave a trace away, and where in the line its own text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Frame(usize, FrameOf),
    Dump(usize),
    Report(usize),
    Thrown(usize),
}

/// Whose frame a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameOf {
    Java,
    JavaScript,
}

fn sign(text: &str) -> Option<Sign> {
    let dump = go::dump_begins(text).map(Sign::Dump);
    let report = || rust::backtrace_begins(text).map(Sign::Report);
    let thrown = || javascript::thrown_note(text).map(Sign::Thrown);
    let frame = || frame_begins(text).map(|(at, language)| Sign::Frame(at, language));
    dump.or_else(report).or_else(thrown).or_else(frame)
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

fn at_frame(line: &Line, at: usize, language: FrameOf, before: &[Line]) -> Option<Tracker> {
    let prefix = padded(line, at, before);
    let at = prefix.len();
    let (kept, texts) = unprefixed(prefix, before);
    let head = head::search(&texts)?;
    let above = head.above;
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
    let mut tracker = Tracker::from_above(&kept[..above], line, prefix, machine);
    tracker.offer(line);
    Some(tracker)
}

/// A frame's prefix with the spaces that all lines near it have behind the prefix.
fn padded<'t>(line: &'t Line, at: usize, before: &[Line]) -> &'t str {
    let prefix = &line.text[..at];
    if prefix.trim().is_empty() {
        return prefix;
    }
    let (_, texts) = unprefixed(prefix, before);
    let pads = texts.iter().take(NEAR).filter(|text| !text.trim().is_empty());
    let pad = pads.map(|text| text.len() - text.trim_start_matches(' ').len()).min().unwrap_or_default();
    let own = line.text[at..].bytes().take(pad).take_while(|byte| *byte == b' ').count();
    &line.text[..at + own]
}

/// A goroutine's head: below a line about a panic that was caught, or behind one.
fn at_dump(line: &Line, at: usize, before: &[Line]) -> Option<Tracker> {
    let prefix = &line.text[..at];
    if go::Go::tells_of_panic(prefix) {
        return Some(Tracker::new(line, prefix, Machine::Go(go::Go::caught(prefix.trim_end()))));
    }
    let (kept, texts) = unprefixed(prefix, before);
    let head = texts.iter().take(head::LINES_MAX).position(|text| !text.trim().is_empty());
    match head.filter(|head| go::Go::tells_of_panic(texts[*head])) {
        Some(head) => {
            let machine = Machine::Go(go::Go::caught(texts[head]));
            Some(Tracker::from_above(&kept[..=head], line, prefix, machine))
        }
        None => Some(Tracker::new(line, prefix, Machine::Go(go::Go::caught("")))),
    }
}

/// The lines that carry a prefix, without it: those of the same source, if there are any.
fn unprefixed<'a>(prefix: &str, lines: &'a [Line]) -> (Vec<&'a Line>, Vec<&'a str>) {
    let alike = lines.iter().filter_map(|line| Some((line, clean::same_shape(prefix, &line.text)?)));
    let alike: Vec<(&Line, &str)> = alike.collect();
    let own = alike.iter().copied().filter(|(line, _)| clean::same_source(prefix, &line.text));
    let own: Vec<(&Line, &str)> = own.collect();
    if own.is_empty() { alike.into_iter().unzip() } else { own.into_iter().unzip() }
}

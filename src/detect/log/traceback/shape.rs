//! What the readers of traces share: what they find, how a line fits, patterns, and the bounds.
//!
//! Deliberately not here: any language.

use crate::model::finding::{Cause, Frame, Language};
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// Bytes of a message.
const MESSAGE_MAX: usize = 4 * 1024;
/// Frames kept at the beginning of a trace, and as many at its end.
const FRAMES_HALF: usize = 100;
/// Other exceptions of the same event.
const CHAIN_MAX: usize = 16;

/// What a trace said.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub language: Language,
    pub exception: Option<String>,
    pub message: String,
    pub frames: Vec<Frame>,
    pub chain: Vec<Cause>,
}

/// How a line fits to an open trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It belongs to it.
    Ours,
    /// It may belong to it: that shows later, and others may look at it too.
    Perhaps,
    /// It is somebody else's, and the trace may go on behind it.
    Foreign,
    /// The trace ended before it.
    Over,
}

/// A pattern that is compiled once. The tests use each of them, so that none is absent.
pub type Pattern = LazyLock<Option<Regex>>;

/// What a pattern finds.
pub fn find<'t>(pattern: &Pattern, text: &'t str) -> Option<Captures<'t>> {
    pattern.as_ref()?.captures(text)
}

/// Does it match?
pub fn is(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|regex| regex.is_match(text))
}

/// A group's text.
pub fn group(captures: &Captures<'_>, n: usize) -> String {
    captures.get(n).map(|found| found.as_str().to_owned()).unwrap_or_default()
}

/// A group's number; 0 when it is none.
pub fn number(captures: &Captures<'_>, n: usize) -> u64 {
    captures.get(n).and_then(|found| found.as_str().parse().ok()).unwrap_or_default()
}

/// An exception under way: its head, and the frames that go with it.
#[derive(Clone, Debug, Default)]
pub struct Event {
    pub exception: String,
    pub message: String,
    pub frames: Frames,
}

/// Frames, bounded: of very many the middle is left out.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    pub list: Vec<Frame>,
}

impl Frames {
    pub fn push(&mut self, file: String, line: u64, function: String, origin: Origin) {
        if self.list.len() >= 2 * FRAMES_HALF {
            self.list.remove(FRAMES_HALF);
        }
        let library = origin == Origin::Library;
        self.list.push(Frame { file, line, function, library });
    }

    /// Is one of the program's own among them?
    pub fn has_own(&self) -> bool {
        self.list.iter().any(|frame| !frame.library)
    }
}

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Own,
    Library,
}

impl Origin {
    /// Library when the test holds.
    pub fn library_if(is_library: impl FnOnce() -> bool) -> Origin {
        if is_library() { Origin::Library } else { Origin::Own }
    }
}

/// Appends a line to a message, bounded.
pub fn add_line(message: &mut String, line: &str) {
    if message.len() + line.len() < MESSAGE_MAX {
        message.push('\n');
        message.push_str(line);
    }
}

/// Adds another exception of the event, bounded.
pub fn add_cause(chain: &mut Vec<Cause>, exception: &str, message: &str) {
    if chain.len() < CHAIN_MAX {
        chain.push(Cause { exception: exception.to_owned(), message: message.to_owned() });
    }
}

/// Words of loggers that stand where an exception's name could.
pub fn is_level(word: &str) -> bool {
    const LEVELS: [&str; 16] = [
        "info", "debug", "warn", "warning", "error", "err", "critical", "fatal", "trace", "notice", "severe",
        "fine", "note", "hint", "caution", "verbose",
    ];
    // `Error` is JavaScript's own exception; `ERROR` and `error` are levels.
    word != "Error" && LEVELS.contains(&word.to_ascii_lowercase().as_str())
}

/// Does a name end like an exception's?
pub fn is_strong(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let package = name.contains('.') && name.starts_with(|c: char| c.is_ascii_lowercase());
    let capital = last.starts_with(|c: char| c.is_ascii_uppercase());
    let ends = ["Error", "Exception", "Throwable", "Failure", "Fault", "Interrupt"];
    capital && (package || ends.iter().any(|end| last.ends_with(end)))
}

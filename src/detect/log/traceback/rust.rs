//! Rust's panics: headers before and since 1.73, thread ids, backtraces short and full, custom hooks, aborts; errors
//! with a backtrace as anyhow prints them.
//!
//! Deliberately not here: errors without a backtrace (`Error: … Caused by: …`), which are a program's own words.

use super::shape::{Event, Fit, Found, Origin, Pattern, add_cause, add_line, find, group, is, number};
use crate::model::finding::{Cause, Language};
use regex::Regex;
use std::sync::LazyLock;

/// Lines of a message that are waited for; without a note or a backtrace behind them only the first is believed.
const MESSAGE_LINES_MAX: usize = 24;

/// What the hooks of color-eyre, color-backtrace and better-panic print first.
const CRASHED: &str = "The application panicked (crashed).";

/// Their lines of the message and the place.
static LOCATION: Pattern =
    LazyLock::new(|| Regex::new(r"^(?:Location: +|in )([^:,]+)(?::|, line )(\d+)(?::\d+)?$").ok());
static NEW: Pattern = LazyLock::new(|| Regex::new(r"panicked at ([^':][^:]*):(\d+):\d+:\s*$").ok());
static OLD: Pattern = LazyLock::new(|| Regex::new(r"panicked at '(.*)'[,:] ([^:']+):(\d+)(?::\d+)?$").ok());
static OLD_OPEN: Pattern = LazyLock::new(|| Regex::new(r"panicked at '(.*)$").ok());
static OLD_CLOSE: Pattern = LazyLock::new(|| Regex::new(r"^(.*)'[,:] ([^:']+):(\d+)(?::\d+)?$").ok());
static THREAD: Pattern =
    LazyLock::new(|| Regex::new(r"thread '(.*?)' (?:\(\d+\) )?(?:panicked at|has overflowed)").ok());
static FRAME: Pattern = LazyLock::new(|| Regex::new(r"^\s*\d+:\s+(?:0x[0-9a-f]+ - )?(\S.*)$").ok());
static PLACE: Pattern = LazyLock::new(|| Regex::new(r"^\s+at (.+?):(\d+)(?::\d+)?$").ok());
static ABORT: Pattern = LazyLock::new(|| {
    Regex::new(r"^(?:thread caused non-unwinding panic|thread panicked while |panic in a (?:destructor|function)|thread '.*' panicked while |fatal runtime error: )").ok()
});
static FATAL: Pattern = LazyLock::new(|| Regex::new(r"^(fatal runtime error): (.*)$").ok());
static CAUSE: Pattern = LazyLock::new(|| Regex::new(r"^\s+(?:\d+: )?(\S.*)$").ok());
/// The hash behind a symbol (`::h887b199e90d76d17`) and the disambiguator of a crate (`std[e28293b1aa0f68bd]`).
static HASH: Pattern = LazyLock::new(|| Regex::new(r"::h[0-9a-f]{16}$|\[[0-9a-f]{16}\]").ok());

/// Where the text of a panic begins in a line, if one begins there.
pub fn begins(line: &str) -> Option<usize> {
    if let Some(at) = line.find(CRASHED) {
        return Some(at);
    }
    let head = is(&NEW, line) || is(&OLD, line) || is(&OLD_OPEN, line) && is(&THREAD, line);
    let overflow = is(&THREAD, line) && line.contains("has overflowed its stack");
    if !head && !overflow {
        return None;
    }
    let thread = find(&THREAD, line).and_then(|found| Some(found.get(0)?.start()));
    // A hook of the program's own wrote the line: what it says before belongs to it as a logger's words would.
    thread.or_else(|| line.find("panicked at "))
}

/// Does a backtrace of an error (not of a panic) begin here?
pub fn backtrace_begins(line: &str) -> Option<usize> {
    line.trim_end().strip_suffix("Stack backtrace:").map(str::len)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Behind the header: the message comes.
    Message,
    /// In what a hook of a library prints: message, place, perhaps a backtrace.
    Crash,
    /// Within a message that began in quotes.
    Quoted,
    /// In the backtrace.
    Stack,
    /// Behind its end: another panic of the same thread may follow.
    Done,
}

/// One panic of the event.
#[derive(Clone, Debug, Default)]
struct Panic {
    event: Event,
    thread: String,
    file: String,
    line: u64,
    /// Lines that came after the header; the first is the message for certain.
    lines: Vec<String>,
    /// Something showed where the message ends.
    closed: bool,
}

/// A panic under way, and those that followed it at once in the same thread.
#[derive(Clone, Debug)]
pub struct Rust {
    stage: Stage,
    now: Panic,
    before: Vec<Panic>,
    chain: Vec<Cause>,
    function: Option<String>,
    /// The process ended in the midst of a panic: all of them are one event.
    aborted: bool,
    blank: bool,
}

impl Rust {
    /// Begins with the header.
    pub fn new(text: &str) -> Rust {
        let (now, stage) = header(text);
        Rust {
            stage,
            now,
            before: Vec::new(),
            chain: Vec::new(),
            function: None,
            aborted: false,
            blank: false,
        }
    }

    /// Begins with the line before an error's backtrace: the lines above it, oldest first, tell the error.
    pub fn report(above: &[String]) -> Option<Rust> {
        let start = above.iter().rposition(|line| line.contains("Error: "))?;
        let message = above[start].split_once("Error: ")?.1.to_owned();
        let mut new = Rust::new("");
        new.now.event = Event { exception: "Error".to_owned(), message, ..Event::default() };
        new.now.closed = true;
        new.stage = Stage::Stack;
        for line in &above[start + 1..] {
            if line.trim() == "Caused by:" {
                continue;
            }
            // eyre tells where the report was made.
            if line.trim() == "Location:" {
                break;
            }
            if let Some(cause) = find(&CAUSE, line) {
                add_cause(&mut new.chain, "Error", &group(&cause, 1));
            }
        }
        Some(new)
    }

    /// How a line would fit.
    pub fn look(&self, text: &str) -> Fit {
        if is(&ABORT, text) {
            return Fit::Ours;
        }
        match self.stage {
            Stage::Message | Stage::Quoted if is_end(text) => Fit::Ours,
            Stage::Quoted if find(&OLD_CLOSE, text).is_some() => Fit::Ours,
            Stage::Message | Stage::Quoted if begins(text).is_some() => self.look_next(text),
            Stage::Crash if begins(text).is_some() => Fit::Over,
            Stage::Crash => look_crash(text),
            Stage::Message if self.now.lines.is_empty() || is_first_frame(text) => Fit::Ours,
            Stage::Message | Stage::Quoted if self.now.lines.len() >= MESSAGE_LINES_MAX => Fit::Over,
            Stage::Message | Stage::Quoted => Fit::Perhaps,
            Stage::Stack if is(&PLACE, text) || is(&FRAME, text) || is_end(text) => Fit::Ours,
            Stage::Stack if text.trim().is_empty() => Fit::Ours,
            Stage::Stack | Stage::Done if begins(text).is_some() => self.look_next(text),
            Stage::Stack => Fit::Foreign,
            Stage::Done if text.trim().is_empty() && !self.blank => Fit::Perhaps,
            Stage::Done => Fit::Over,
        }
    }

    /// Another header: the same thread goes on, or another event begins.
    fn look_next(&self, text: &str) -> Fit {
        let thread = thread(text);
        if !thread.is_empty() && thread == self.now.thread && self.before.len() < 8 {
            Fit::Ours
        } else {
            Fit::Over
        }
    }

    /// Takes a line that fits.
    pub fn take(&mut self, text: &str) {
        self.blank = text.trim().is_empty();
        if is(&ABORT, text) {
            self.aborted = true;
            if let Some(fatal) = find(&FATAL, text)
                && self.now.event.exception == "overflow"
            {
                self.now.event.exception = group(&fatal, 1);
                self.now.event.message = group(&fatal, 2);
                self.now.closed = true;
            }
        }
        if begins(text).is_some() {
            let (next, stage) = header(text);
            self.before.push(std::mem::replace(&mut self.now, next));
            self.stage = stage;
            return;
        }
        match self.stage {
            Stage::Message | Stage::Quoted => self.take_message(text),
            Stage::Crash => self.take_crash(text),
            Stage::Stack => self.take_stack(text),
            Stage::Done => {}
        }
    }

    fn take_message(&mut self, text: &str) {
        if text.trim_end() == "stack backtrace:" {
            self.now.closed = true;
            self.stage = Stage::Stack;
        } else if text.starts_with("note: ") {
            self.now.closed = true;
            self.stage = Stage::Done;
        } else if is_first_frame(text) {
            self.now.closed = true;
            self.stage = Stage::Stack;
            self.take_stack(text);
        } else if let Some(close) = find(&OLD_CLOSE, text).filter(|_| self.stage == Stage::Quoted) {
            self.now.lines.push(group(&close, 1));
            self.now.file = group(&close, 2);
            self.now.line = number(&close, 3);
            self.now.closed = true;
            let lines = std::mem::take(&mut self.now.lines);
            lines.iter().for_each(|line| add_line(&mut self.now.event.message, line));
            self.stage = Stage::Message;
            // What follows a closed message is a note or a backtrace.
            self.now.lines = vec![String::new()];
        } else {
            self.now.lines.push(text.to_owned());
        }
    }

    fn take_crash(&mut self, text: &str) {
        if let Some(message) = text.strip_prefix("Message:") {
            message.trim().clone_into(&mut self.now.event.message);
        } else if let Some(place) = find(&LOCATION, text) {
            self.now.closed = true;
            self.now.file = group(&place, 1);
            self.now.line = number(&place, 2);
        } else if self.now.closed || is(&FRAME, text) || is(&PLACE, text) {
            self.take_stack(text);
        } else if !text.trim().is_empty() {
            let message = &mut self.now.event.message;
            if message.is_empty() { text.trim().clone_into(message) } else { add_line(message, text) }
        }
    }

    fn take_stack(&mut self, text: &str) {
        if text.starts_with("note: ") {
            self.stage = Stage::Done;
        } else if let Some(place) = find(&PLACE, text) {
            let function = self.function.take().unwrap_or_default();
            let file = group(&place, 1);
            let origin = Origin::library_if(|| is_library(&file));
            self.now.event.frames.push(file, number(&place, 2), function, origin);
        } else if let Some(frame) = find(&FRAME, text) {
            let name = group(&frame, 1);
            let name = HASH.as_ref().map_or(name.clone(), |hash| hash.replace_all(&name, "").into_owned());
            self.function = Some(name);
        }
    }

    /// The message comes: any line may be it.
    pub fn guesses(&self) -> bool {
        self.stage == Stage::Message && self.now.lines.is_empty()
    }

    /// Lines of others that may stand between its own.
    pub fn patience(&self) -> u32 {
        5
    }

    /// What it was: one event, or several when the thread survived each.
    pub fn finish(self) -> Vec<Found> {
        let aborted = self.aborted;
        let chain = self.chain;
        let mut all: Vec<Event> = self.before.into_iter().map(Panic::close).collect();
        all.push(self.now.close());
        // The panic about a panic says nothing of the cause.
        if aborted && all.len() > 1 && all.last().is_some_and(|event| is(&ABORT, &event.message)) {
            all.pop();
        }
        if !aborted {
            return all.into_iter().map(|event| found(event, chain.clone())).collect();
        }
        let Some(last) = all.pop() else { return Vec::new() };
        let mut chain = chain;
        all.iter().for_each(|event| add_cause(&mut chain, &event.exception, &event.message));
        vec![found(last, chain)]
    }
}

fn found(event: Event, chain: Vec<Cause>) -> Found {
    let Event { exception, message, frames } = event;
    Found { language: Language::Rust, exception: Some(exception), message, frames: frames.list, chain }
}

impl Panic {
    /// Its message from the lines that belong to it, its place when the backtrace does not have it.
    fn close(mut self) -> Event {
        let lines = std::mem::take(&mut self.lines);
        let mut taken = lines.iter();
        if self.event.message.is_empty()
            && let Some(first) = taken.next()
        {
            first.clone_into(&mut self.event.message);
            // The first line may be empty, and then the message begins below it.
            for line in taken {
                if !self.closed && !line.starts_with([' ', '\t']) {
                    break;
                }
                add_line(&mut self.event.message, line);
            }
        }
        let message = self.event.message.trim_end().to_owned();
        self.event.message = message;
        if !self.file.is_empty() && !self.event.frames.has_own() {
            let origin = Origin::library_if(|| is_library(&self.file));
            self.event.frames.push(self.file, self.line, String::new(), origin);
        }
        if self.event.exception == "overflow" {
            self.event.exception = "fatal runtime error".to_owned();
            self.event.message = "stack overflow".to_owned();
        }
        self.event
    }
}

fn header(text: &str) -> (Panic, Stage) {
    let mut panic = Panic { thread: thread(text), ..Panic::default() };
    panic.event.exception = "panic".to_owned();
    if text.contains(CRASHED) {
        return (panic, Stage::Crash);
    }
    if let Some(new) = find(&NEW, text) {
        panic.file = group(&new, 1);
        panic.line = number(&new, 2);
        return (panic, Stage::Message);
    }
    if let Some(old) = find(&OLD, text) {
        panic.event.message = group(&old, 1);
        panic.file = group(&old, 2);
        panic.line = number(&old, 3);
        panic.closed = true;
        return (panic, Stage::Message);
    }
    if let Some(open) = find(&OLD_OPEN, text) {
        panic.event.message = group(&open, 1);
        return (panic, Stage::Quoted);
    }
    panic.event.exception = "overflow".to_owned();
    (panic, Stage::Message)
}

fn thread(text: &str) -> String {
    find(&THREAD, text).map(|found| group(&found, 1)).unwrap_or_default()
}

/// A hook of the program's own may print a backtrace without a heading.
fn is_first_frame(text: &str) -> bool {
    let bare = text.trim_start();
    (bare.starts_with("0: ") || bare.starts_with("1: ")) && text.starts_with("  ") && is(&FRAME, text)
}

fn look_crash(text: &str) -> Fit {
    const STARTS: [&str; 6] = ["Message:", "Location:", "in ", "thread: ", "Backtrace omitted", "Run with "];
    let known = STARTS.iter().any(|start| text.starts_with(start)) || text.starts_with("  ");
    let other = text.trim().is_empty() || is(&FRAME, text) || is(&PLACE, text) || text.contains("━━");
    if known || other { Fit::Ours } else { Fit::Over }
}

fn is_end(text: &str) -> bool {
    text.trim_end() == "stack backtrace:" || text.starts_with("note: ")
}

/// Source: where rustup, distributions and cargo keep the sources of what they built.
fn is_library(file: &str) -> bool {
    const PLACES: [&str; 10] = [
        "/rustc/",
        "/rustlib/src/",
        "/.cargo/registry/",
        "/cargo/registry/",
        "/usr/src/rustc",
        "/csu/",
        "/sysdeps/",
        "./nptl/",
        "./misc/",
        "/.cargo/git/",
    ];
    PLACES.iter().any(|place| file.contains(place)) || file.starts_with("library/")
}

//! JavaScript's and TypeScript's stack traces as Node, Deno and Bun print them: causes, aggregates, properties behind the
//! frames, values that are no errors.
//!
//! Deliberately not here: traces of warnings and test reports; the search for a head (`head`).

use super::head::Head;
use super::shape::{Event, Fit, Found, Origin, Pattern, add_cause, add_line, find, group, is, number};
use crate::model::finding::{Cause, Frame, Language};
use regex::Regex;
use std::sync::LazyLock;

/// What V8 prints when it gives up.
const FATAL: &str = "FATAL ERROR: ";
/// What Node prints last.
const VERSION: &str = "Node.js v";
/// Lines of properties behind the frames.
const PROPERTIES_MAX: u32 = 400;

static CALL: Pattern =
    LazyLock::new(|| Regex::new(r"^\s+at (?:async )?(.+?) \((.+?)(?::(\d+))?(?::(\d+))?\)( \{|,)?$").ok());
static BARE: Pattern = LazyLock::new(|| Regex::new(r"^\s+at (?:async )?(\S.*?):(\d+):(\d+)( \{|,)?$").ok());
static PLAIN: Pattern = LazyLock::new(|| Regex::new(r"^\s+at (?:async )?\S.*( \{|,)?$").ok());
static MORE: Pattern =
    LazyLock::new(|| Regex::new(r"^\s+\.\.\. \d+ lines matching cause stack trace \.\.\.( \{)?$").ok());
/// A property that is an error: `[cause]: Error: x`, `inner: TypeError: y`.
static CAUSE: Pattern = LazyLock::new(|| {
    Regex::new(r"^\s*(?:\[[\w$]+\]|[\w$]+|'[^']*'): \[?((?:[\w$]+\.)*[A-Za-z_$][\w$]*(?: \[[A-Z]\w*\])?)(?:: (.*?))?\]?( \{)?,?$").ok()
});
static ITEM: Pattern =
    LazyLock::new(|| Regex::new(r"^\s+\[?([A-Z][\w$]*(?: \[[A-Z]\w*\])?): (.*?)\]?( \{)?,?$").ok());
/// `[AggregateError: message] {`: an error without frames and with properties.
static BRACKET: Pattern =
    LazyLock::new(|| Regex::new(r"^(?:Uncaught )?\[(\w+(?: \[[A-Z]\w*\])?): (.*?)(?:\] \{|\])?$").ok());
/// Code that was made at run time: where it was made.
static EVAL: Pattern =
    LazyLock::new(|| Regex::new(r"^\s+at (.+?) \(eval at .*?\(([^()]+?):(\d+):\d+\).*\)$").ok());
static NAMED: Pattern = LazyLock::new(|| Regex::new(r"^((?:[\w$]+\.)*[A-Z][\w$]*)(?:: (.*))?$").ok());
static LOCATION: Pattern =
    LazyLock::new(|| Regex::new(r"^(?:file://)?((?:/|[A-Za-z]:[\\/]|\./)\S*):(\d+)$").ok());

/// Is the line a frame, for certain?
pub fn is_frame(line: &str) -> bool {
    match find(&CALL, line) {
        Some(found) => found.get(4).is_some() || matches!(&*group(&found, 2), "<anonymous>" | "native"),
        None => is(&BARE, line),
    }
}

/// A rejection, an error without frames, or the end of V8's memory begins here: where its text begins.
pub fn begins(line: &str) -> Option<usize> {
    const SIGNS: [&str; 3] = ["[UnhandledPromiseRejection: ", "[AggregateError: ", FATAL];
    let at = SIGNS.iter().find_map(|sign| line.find(sign))?;
    let fatal = line[at..].starts_with(FATAL);
    (!fatal || line.contains("Allocation failed") || line.contains("out of memory")).then_some(at)
}

/// What Node says below an uncaught value that has no frames: where its text begins.
pub fn thrown_note(line: &str) -> Option<usize> {
    let at = line.find("(Use `node --trace-uncaught ").or_else(|| line.find(VERSION))?;
    let number =
        line[at..].strip_prefix(VERSION).is_none_or(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    number.then_some(at)
}

/// A trace under way.
#[derive(Clone, Debug)]
pub struct JavaScript {
    event: Event,
    chain: Vec<Cause>,
    /// Frames of the first cause, for an error that has none.
    others: Event,
    /// Lines of properties so far; None = in the frames.
    properties: Option<u32>,
    in_cause: bool,
    /// The frames tell where an event was emitted.
    emitted: bool,
    done: bool,
    /// Where the file is that could not be parsed.
    location: Option<(String, u64)>,
}

impl JavaScript {
    fn from(event: Event) -> JavaScript {
        let others = Event::default();
        JavaScript {
            event,
            chain: Vec::new(),
            others,
            properties: None,
            in_cause: false,
            emitted: false,
            done: false,
            location: None,
        }
    }

    /// Begins at the first frame, its head known. `above` are the lines above the head, nearest first.
    pub fn with(head: Head, above: &[&str]) -> JavaScript {
        let mut new =
            JavaScript::from(Event { exception: head.exception, message: head.message, ..Event::default() });
        new.location = location(above);
        new
    }

    /// Begins with `[Name: message] {`, or with V8's last words.
    pub fn bracket(text: &str) -> Option<JavaScript> {
        if let Some(message) = text.strip_prefix(FATAL) {
            let (exception, message) = (FATAL.trim_end_matches([':', ' ']).to_owned(), message.to_owned());
            let mut new = JavaScript::from(Event { exception, message, ..Event::default() });
            new.done = true;
            return Some(new);
        }
        let found = find(&BRACKET, text)?;
        let event = Event { exception: group(&found, 1), message: group(&found, 2), ..Event::default() };
        let mut new = JavaScript::from(event);
        new.properties = text.ends_with('{').then_some(0);
        new.done = !text.ends_with('{');
        Some(new)
    }

    /// A value without frames that nobody caught: the lines above the note, nearest first, are its text, a mark, the source
    /// and the place. How many of them there are is told too.
    pub fn thrown(above: &[&str]) -> Option<(JavaScript, usize)> {
        let mark = above.iter().take(super::head::LINES_MAX).position(|line| is_mark(line))?;
        let lines: Vec<&str> =
            above[..mark].iter().rev().copied().filter(|line| !line.trim().is_empty()).collect();
        let end = lines.iter().position(|line| *line == "Thrown at:").unwrap_or(lines.len());
        let text = lines.first()?.trim_start_matches("Uncaught ");
        let mut event = Event { message: text.to_owned(), ..Event::default() };
        if let Some(found) = find(&BRACKET, text).or_else(|| find(&NAMED, text).filter(is_error)) {
            event = Event { exception: group(&found, 1), message: group(&found, 2), ..Event::default() };
        }
        let below = &lines[1..end.max(1)];
        let mut chain = Vec::new();
        if text.ends_with(" {") && !event.exception.is_empty() {
            // `[Error: no such file] {`: properties of the error, and no part of what it says.
            for cause in below.iter().filter_map(|line| find(&CAUSE, line).filter(is_error)) {
                add_cause(&mut chain, &group(&cause, 1), &group(&cause, 2));
            }
        } else {
            below.iter().for_each(|line| add_line(&mut event.message, line));
        }
        let mut new = JavaScript { chain, ..JavaScript::from(event) };
        lines[end..].iter().for_each(|line| new.frame(line));
        new.location = location(&above[mark..]);
        new.done = true;
        let first = above[..mark].iter().rposition(|line| !line.trim().is_empty())?;
        Some((new, first + 1))
    }

    /// How a line would fit.
    pub fn look(&self, text: &str) -> Fit {
        if text.starts_with(VERSION) {
            return Fit::Ours;
        }
        match self.properties {
            Some(lines) if lines >= PROPERTIES_MAX => Fit::Over,
            // Properties are indented; their end is a bracket.
            Some(_) if text.starts_with([' ', '}', ']']) || text.is_empty() => Fit::Ours,
            Some(_) => Fit::Foreign,
            None if self.done && text.trim().is_empty() => Fit::Perhaps,
            None if self.done => Fit::Over,
            None if is(&PLAIN, text) || is(&MORE, text) => Fit::Ours,
            None if text.trim().is_empty() => Fit::Perhaps,
            None if is_emitted(text) => Fit::Ours,
            None if super::head::search(&[text]).is_some() || super::head::is_warning(text) => Fit::Over,
            None => Fit::Foreign,
        }
    }

    /// Takes a line that fits.
    pub fn take(&mut self, text: &str) {
        if text.starts_with(VERSION) {
            self.done = true;
            return;
        }
        let Some(lines) = self.properties else {
            self.emitted |= is_emitted(text);
            if !self.emitted {
                self.frame(text);
            }
            self.properties = text.ends_with(" {").then_some(0);
            return;
        };
        self.properties = Some(lines + 1);
        if text == "}" {
            self.properties = None;
            self.done = true;
        } else if is_frame(text) {
            if self.in_cause {
                self.frame(text);
            }
        } else if let Some(cause) =
            find(&CAUSE, text).filter(is_error).or_else(|| find(&ITEM, text).filter(is_error))
        {
            self.in_cause = true;
            add_cause(&mut self.chain, &group(&cause, 1), &group(&cause, 2));
        }
    }

    fn frame(&mut self, text: &str) {
        let (file, line, function) = if let Some(found) = find(&EVAL, text).or_else(|| find(&CALL, text)) {
            let function = if is(&EVAL, text) { "eval".to_owned() } else { group(&found, 1) };
            // Of `file:1:2` and `file` both numbers or none are there.
            (group(&found, 2), number(&found, 3), function)
        } else if let Some(found) = find(&BARE, text) {
            (group(&found, 1), number(&found, 2), String::new())
        } else {
            return;
        };
        let function = function.split(" [as ").next().unwrap_or_default().to_owned();
        let file = file.strip_prefix("file://").unwrap_or(&file).to_owned();
        let origin = Origin::library_if(|| is_library(&file));
        let event = if self.in_cause { &mut self.others } else { &mut self.event };
        if !self.in_cause || self.chain.len() == 1 {
            event.frames.push(file, line, function, origin);
        }
    }

    /// Lines of others that may stand between its own.
    pub fn patience(&self) -> u32 {
        5
    }

    /// What it was.
    pub fn finish(self) -> Vec<Found> {
        let Event { exception, message, mut frames } = self.event;
        if frames.list.is_empty() {
            frames = self.others.frames;
        }
        if let Some((file, line)) = self.location
            && !frames.has_own()
        {
            let origin = Origin::library_if(|| is_library(&file));
            frames.push(file, line, String::new(), origin);
        }
        // ts-node's own words about types come without a frame of the program.
        let language = if exception == "TSError" { Language::Typescript } else { language(&frames.list) };
        let exception = (!exception.is_empty()).then_some(exception);
        vec![Found { language, exception, message, frames: frames.list, chain: self.chain }]
    }
}

fn is_error(found: &regex::Captures<'_>) -> bool {
    let name = group(found, 1);
    let name = name.split(" [").next().unwrap_or_default();
    name == "Error" || super::shape::is_strong(name)
}

/// What Node prints above the frames of where an error event was emitted.
fn is_emitted(text: &str) -> bool {
    text.starts_with("Emitted 'error' event ")
}

fn is_mark(line: &str) -> bool {
    !line.trim().is_empty() && line.trim().chars().all(|c| c == '^')
}

/// `/srv/app.js:3` above the source line, which Node prints before an uncaught error.
fn location(above: &[&str]) -> Option<(String, u64)> {
    let found = above.iter().take(8).find_map(|line| find(&LOCATION, line))?;
    Some((group(&found, 1), number(&found, 2)))
}

fn language(frames: &[Frame]) -> Language {
    let first = frames.iter().find(|frame| !frame.library);
    let typed = |frame: &&Frame| [".ts", ".tsx", ".mts", ".cts"].iter().any(|end| frame.file.ends_with(end));
    if first.filter(typed).is_some() { Language::Typescript } else { Language::Javascript }
}

fn is_library(file: &str) -> bool {
    file.starts_with("node:")
        || file.starts_with("internal/")
        || file.starts_with("ext:")
        || file.starts_with("deno:")
        || file.contains("/node_modules/")
        || file.contains("\\node_modules\\")
        || !file.contains(['/', '\\', '.'])
        || file.starts_with("index ")
}

//! JavaScript's and TypeScript's stack traces as Node, Deno and Bun print them: causes, aggregates, properties behind the
//! frames, values that are no errors.
//!
//! Deliberately not here: traces of warnings and test reports; the search for a head (`head`).

use super::head::Head;
use super::shape::{Event, Fit, Found, Origin, Pattern, add_cause, add_line, find, group, is, number};
use crate::model::finding::{Cause, Frame, Language};
use regex::Regex;
use std::sync::LazyLock;

/// Lines of properties behind the frames.
const PROPERTIES_MAX: u32 = 400;

static CALL: Pattern =
    LazyLock::new(|| Regex::new(r"^\s+at (?:async )?(.+?) \((.+?)(?::(\d+))?(?::(\d+))?\)( \{|,)?$").ok());
static BARE: Pattern = LazyLock::new(|| Regex::new(r"^\s+at (?:async )?(\S.*?):(\d+):(\d+)( \{|,)?$").ok());
static PLAIN: Pattern = LazyLock::new(|| Regex::new(r"^\s+at (?:async )?\S.*( \{|,)?$").ok());
static MORE: Pattern =
    LazyLock::new(|| Regex::new(r"^\s+\.\.\. \d+ lines matching cause stack trace \.\.\.( \{)?$").ok());
static CAUSE: Pattern = LazyLock::new(|| {
    Regex::new(r"\[(?:cause|error)\]: \[?((?:[\w$]+\.)*[A-Za-z_$][\w$]*(?: \[[A-Z0-9_]+\])?)(?:: (.*?))?\]?( \{)?,?$").ok()
});
static ITEM: Pattern =
    LazyLock::new(|| Regex::new(r"^\s+\[?([A-Z][\w$]*(?: \[[A-Z0-9_]+\])?): (.*?)\]?( \{)?,?$").ok());
/// `[AggregateError: message] {`: an error without frames and with properties.
static BRACKET: Pattern =
    LazyLock::new(|| Regex::new(r"^(?:Uncaught )?\[(\w+(?: \[[A-Z0-9_]+\])?): (.*?)(?:\] \{|\])?$").ok());
static LOCATION: Pattern =
    LazyLock::new(|| Regex::new(r"^(?:file://)?((?:/|[A-Za-z]:[\\/]|\./)\S*):(\d+)$").ok());

/// Is the line a frame, for certain?
pub fn is_frame(line: &str) -> bool {
    match find(&CALL, line) {
        Some(found) => found.get(4).is_some() || matches!(&*group(&found, 2), "<anonymous>" | "native"),
        None => is(&BARE, line),
    }
}

/// A rejection or a thrown value that is no error begins here: where its text begins.
pub fn begins(line: &str) -> Option<usize> {
    line.find("[UnhandledPromiseRejection: ").or_else(|| line.find("[AggregateError: "))
}

/// What Node says below a thrown value that has no frames.
pub fn is_thrown_note(line: &str) -> bool {
    line.starts_with("(Use `node --trace-uncaught ")
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

    /// Begins with `[Name: message] {`.
    pub fn bracket(text: &str) -> Option<JavaScript> {
        let found = find(&BRACKET, text)?;
        let event = Event { exception: group(&found, 1), message: group(&found, 2), ..Event::default() };
        let mut new = JavaScript::from(event);
        new.properties = text.ends_with('{').then_some(0);
        new.done = !text.ends_with('{');
        Some(new)
    }

    /// A thrown value: the lines above the note, nearest first, are its text, a mark, the source and the place.
    pub fn thrown(above: &[&str]) -> Option<JavaScript> {
        let end = above.iter().position(|line| is_mark(line))?;
        let mut lines: Vec<&str> = above[..end].iter().rev().copied().collect();
        lines.retain(|line| !line.trim().is_empty());
        let mut message = lines.first().map(|line| line.trim_start_matches("Uncaught ").to_owned())?;
        lines[1..].iter().for_each(|line| add_line(&mut message, line));
        let mut new = JavaScript::from(Event { message, ..Event::default() });
        new.location = location(above);
        new.done = true;
        Some(new)
    }

    /// How a line would fit.
    pub fn look(&self, text: &str) -> Fit {
        if text.starts_with("Node.js v") {
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
            None if super::head::search(&[text]).is_some() => Fit::Over,
            None => Fit::Foreign,
        }
    }

    /// Takes a line that fits.
    pub fn take(&mut self, text: &str) {
        if text.starts_with("Node.js v") {
            self.done = true;
            return;
        }
        if self.properties.is_none() && (text.ends_with(" {")) {
            self.properties = Some(0);
            self.frame(text);
            return;
        }
        let Some(lines) = self.properties else {
            self.frame(text);
            return;
        };
        self.properties = Some(lines + 1);
        if text == "}" {
            self.properties = None;
            self.done = true;
        } else if is_frame(text) {
            self.frame(text);
        } else if let Some(cause) = find(&CAUSE, text).or_else(|| find(&ITEM, text).filter(is_error)) {
            self.in_cause = true;
            add_cause(&mut self.chain, &group(&cause, 1), &group(&cause, 2));
        }
    }

    fn frame(&mut self, text: &str) {
        let (file, line, function) = if let Some(found) = find(&CALL, text) {
            // Of `file:1:2` and `file` both numbers or none are there.
            (group(&found, 2), number(&found, 3), group(&found, 1))
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
            frames.push(file, line, String::new(), Origin::Own);
        }
        let language = language(&frames.list);
        let exception = (!exception.is_empty()).then_some(exception);
        vec![Found { language, exception, message, frames: frames.list, chain: self.chain }]
    }
}

fn is_error(found: &regex::Captures<'_>) -> bool {
    let name = group(found, 1);
    let name = name.split(" [").next().unwrap_or_default();
    name == "Error" || super::shape::is_strong(name)
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

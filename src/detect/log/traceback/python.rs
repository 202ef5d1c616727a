//! Python's tracebacks: 2.7 to 3.14, chained and grouped ones, syntax errors of scripts, the fault handler.
//!
//! Deliberately not here: tracebacks of test reports, which `report` mutes.

use super::shape::{
    Event, Fit, Found, Origin, Pattern, add_cause, add_line, find, group, is, is_level, number,
};
use crate::model::finding::{Cause, Language};
use regex::Regex;
use std::sync::LazyLock;

/// The line before the frames.
pub const HEAD: &str = "Traceback (most recent call last):";
const FATAL: &str = "Fatal Python error: ";
/// Lines after the exception's that may be its notes, before a chain goes on.
const NOTES_MAX: u32 = 10;

static FRAME: Pattern =
    LazyLock::new(|| Regex::new(r#"^\s*(?:> )?File "(.+)", line (\d+)(?:,? in (.+))?$"#).ok());
static NAME: Pattern =
    LazyLock::new(|| Regex::new(r"^((?:[\w<>]+\.)*[\p{L}_]\w*(?:\([\w.]+\))?)(?:: ?(.*))?$").ok());
static THREAD: Pattern =
    LazyLock::new(|| Regex::new(r"^(Current )?[Tt]hread 0x.*\(most recent call first\):$").ok());
static SHUT: Pattern = LazyLock::new(|| {
    Regex::new(r"^(?:Current thread|Python runtime state:|Extension modules:|<no Python frame>)").ok()
});

const JOINS: [&str; 3] = [
    // What comes out of `sys.excepthook` is printed first.
    "Original exception was:",
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
];

/// Where the text of a trace begins in a line, if one begins there.
pub fn begins(line: &str) -> Option<usize> {
    let end = line.trim_end();
    if let Some(before) = end.strip_suffix(HEAD) {
        // Quoted in a comment, or in what a test protocol tells about a test.
        if before.trim_start().starts_with('#') {
            return None;
        }
        let group = before.strip_suffix("+ Exception Group ");
        return Some(group.map_or(before.len(), |before| before.len() - indent(before)));
    }
    if let Some(at) = line.find(FATAL) {
        return Some(at);
    }
    let at = line.find("File \"")?;
    let place = find(&FRAME, &line[at..])?;
    // A frame names its function; only the place of a syntax error does not.
    let indent = indent(&line[..at]);
    (place.get(3).is_none() && indent == 2).then_some(at - indent)
}

/// Spaces at the end of what stands before a first line, as many as Python writes.
fn indent(before: &str) -> usize {
    (before.len() - before.trim_end_matches(' ').len()).min(2)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between the head and the exception's line.
    Frames,
    /// The exception's line was read; a chain may go on.
    Done,
    /// A chain goes on: its next head comes.
    Joined,
    /// The place of a script's syntax error; its source and its name follow.
    Syntax,
    /// Frames as the fault handler prints them.
    Fault,
}

/// A traceback under way.
#[derive(Clone, Debug)]
pub struct Python {
    stage: Stage,
    event: Event,
    chain: Vec<Cause>,
    /// The last line of source below a frame: a message of several lines is often written there.
    source: String,
    /// Column of the outermost group's bar.
    group: Option<usize>,
    /// The last line of the group at hand was its end.
    closed: bool,
    /// Lines after the exception's that were not understood, and whether the last was blank.
    after: u32,
    blank: bool,
    /// A frame of the thread that failed was read.
    current: bool,
}

impl Python {
    /// Begins with the first line's own text.
    pub fn new(text: &str) -> Python {
        let mut new = Python {
            stage: Stage::Frames,
            event: Event::default(),
            chain: Vec::new(),
            source: String::new(),
            group: None,
            closed: false,
            after: 0,
            blank: false,
            current: false,
        };
        if let Some(message) = text.strip_prefix(FATAL) {
            new.stage = Stage::Fault;
            new.event.exception = FATAL.trim_end_matches([':', ' ']).to_owned();
            new.event.message = message.to_owned();
        } else if text.trim_end().ends_with(HEAD) {
            new.group = group_line(text).map(|(column, _)| column);
        } else {
            new.stage = Stage::Syntax;
            new.frame(text);
        }
        new
    }

    /// How a line would fit.
    pub fn look(&self, text: &str) -> Fit {
        if self.group.is_some() {
            return match group_line(text) {
                Some(_) => Fit::Ours,
                None if text.trim().is_empty() => Fit::Perhaps,
                None if is_join(text) => Fit::Ours,
                None if self.stage == Stage::Joined && text.trim_end().ends_with(HEAD) => Fit::Ours,
                // Further lines of a message inside of it stand at the margin.
                None if !self.closed && self.stage == Stage::Done => Fit::Foreign,
                None => Fit::Over,
            };
        }
        match self.stage {
            Stage::Frames if self.unusual(text).is_some() => Fit::Ours,
            Stage::Frames => look_frames(text),
            Stage::Done => self.look_done(text),
            Stage::Joined => match text.trim_end() {
                "" => Fit::Ours,
                text if text.ends_with(HEAD) => Fit::Ours,
                _ => Fit::Foreign,
            },
            Stage::Syntax if text.starts_with(' ') => Fit::Ours,
            Stage::Syntax => match exception(text) {
                Some((name, _)) if name.ends_with("Error") => Fit::Ours,
                Some(_) | None => Fit::Over,
            },
            Stage::Fault => {
                let known = text.trim().is_empty()
                    || text.starts_with("  ")
                    || is(&THREAD, text)
                    || is(&SHUT, text)
                    || is(&FRAME, text);
                if known { Fit::Ours } else { Fit::Over }
            }
        }
    }

    fn look_done(&self, text: &str) -> Fit {
        let bare = text.trim_end();
        if is_join(bare) || bare == "\"\"\"" {
            Fit::Ours
        } else if bare.is_empty() {
            Fit::Perhaps
        } else if self.blank || self.after >= NOTES_MAX || bare.ends_with(HEAD) {
            Fit::Over
        } else if self.continues(text) {
            Fit::Ours
        } else {
            Fit::Perhaps
        }
    }

    /// Is it a further line of the message: indented, or written so in the source of the last frame?
    fn continues(&self, text: &str) -> bool {
        if self.after > 0 || find(&FRAME, text).is_some() {
            return false;
        }
        let written = || self.source.contains(&format!("\\n{}", text.trim_end()));
        text.starts_with([' ', '\t']) || written()
    }

    /// Takes a line that fits.
    pub fn take(&mut self, text: &str) {
        if let Some(top) = self.group {
            return self.take_group(text, top);
        }
        match self.stage {
            Stage::Frames => self.take_frames(text),
            Stage::Done => self.take_done(text),
            Stage::Joined => {
                if text.trim_end().ends_with(HEAD) {
                    self.next_block(text);
                }
            }
            Stage::Syntax => {
                if let Some((name, message)) = exception(text) {
                    self.conclude(name, message);
                }
            }
            Stage::Fault => self.take_fault(text),
        }
    }

    fn take_frames(&mut self, text: &str) {
        if self.frame(text) {
            return;
        }
        match exception(text).or_else(|| self.unusual(text)) {
            Some((name, message)) if !text.starts_with([' ', '\t']) => self.conclude(name, message),
            Some(_) | None => self.remember_source(text),
        }
    }

    /// An exception whose name looks like any word: the last line of source names it.
    fn unusual<'t>(&self, text: &'t str) -> Option<(&'t str, &'t str)> {
        let found = find(&NAME, text.trim_end())?;
        let name = found.get(1)?.as_str();
        let raised = self.source.split_once("raise ").is_some_and(|(_, rest)| rest.starts_with(name));
        raised.then(|| (name, found.get(2).map_or("", |message| message.as_str())))
    }

    fn remember_source(&mut self, text: &str) {
        // Marks below the source are no source.
        if !text.trim().chars().all(|c| "~^ ".contains(c)) {
            text.trim().clone_into(&mut self.source);
        }
    }

    fn take_done(&mut self, text: &str) {
        if is_join(text.trim_end()) {
            self.stage = Stage::Joined;
        } else if text.trim().is_empty() {
            self.blank = true;
        } else if text.trim_end() == "\"\"\"" {
            self.blank = false;
        } else if self.continues(text) {
            add_line(&mut self.event.message, text);
        } else {
            self.after += 1;
        }
    }

    fn take_fault(&mut self, text: &str) {
        if let Some(thread) = find(&THREAD, text) {
            // The thread that failed is the one that counts; it is printed last or first.
            if thread.get(1).is_some() {
                self.event.frames.list.clear();
                self.current = true;
            } else if self.current {
                self.stage = Stage::Done;
                self.after = NOTES_MAX;
            }
        } else {
            self.frame(text);
        }
    }

    fn take_group(&mut self, text: &str, top: usize) {
        let Some((column, body)) = group_line(text) else {
            if is_join(text) {
                self.stage = Stage::Joined;
            } else if text.trim_end().ends_with(HEAD) {
                self.group = None;
                self.next_block(text);
            }
            return;
        };
        self.closed = body.len() > 4 && body.chars().all(|c| c == '-');
        if body.trim_end().ends_with(HEAD) {
            if column == top && !self.event.exception.is_empty() {
                self.next_block(text);
            }
            return;
        }
        let own = column <= top;
        if own && self.event.exception.is_empty() && self.frame(body) {
            return;
        }
        let Some((name, message)) = exception(body) else { return };
        if body.starts_with(' ') {
            return;
        }
        if !own {
            add_cause(&mut self.chain, name, message);
        } else if self.event.exception.is_empty() {
            self.conclude(name, message);
        }
    }

    /// The exception so far was a cause of one that follows.
    fn next_block(&mut self, text: &str) {
        let before = std::mem::take(&mut self.event);
        add_cause(&mut self.chain, &before.exception, &before.message);
        self.stage = Stage::Frames;
        self.group = if text.contains("+ Exception Group") {
            group_line(text).map(|(column, _)| column)
        } else {
            self.group
        };
        self.after = 0;
        self.blank = false;
    }

    fn conclude(&mut self, name: &str, message: &str) {
        name.clone_into(&mut self.event.exception);
        message.clone_into(&mut self.event.message);
        self.stage = Stage::Done;
        self.after = 0;
        self.blank = false;
    }

    fn frame(&mut self, text: &str) -> bool {
        let Some(found) = find(&FRAME, text) else { return false };
        let file = group(&found, 1);
        let origin = Origin::library_if(|| is_library(&file));
        self.event.frames.push(file, number(&found, 2), group(&found, 3), origin);
        true
    }

    /// Lines of others that may stand between its own.
    pub fn patience(&self) -> u32 {
        20
    }

    /// What it was, if it was one.
    pub fn finish(self) -> Vec<Found> {
        let Event { exception, message, frames } = self.event;
        let cut_short = exception.is_empty();
        let nothing = frames.list.is_empty() && (cut_short || !exception.ends_with("Error"));
        // A group's frames may be none at all, and a fault need not have any.
        if nothing && self.group.is_none() && self.stage != Stage::Fault
            || cut_short && self.stage == Stage::Syntax
            || cut_short && self.stage == Stage::Joined
        {
            return Vec::new();
        }
        if cut_short && frames.list.is_empty() {
            return Vec::new();
        }
        let exception = Some(exception);
        vec![Found { language: Language::Python, exception, message, frames: frames.list, chain: self.chain }]
    }
}

fn look_frames(text: &str) -> Fit {
    if text.trim_end().ends_with(HEAD) {
        return Fit::Over;
    }
    if text.starts_with([' ', '\t']) && !text.trim().is_empty() || is(&FRAME, text) {
        return Fit::Ours;
    }
    if exception(text).is_some() { Fit::Ours } else { Fit::Foreign }
}

pub fn is_join(text: &str) -> bool {
    JOINS.contains(&text.trim())
}

/// Name and message of an exception's line. Names may be any; words that loggers write before a colon are none.
pub fn exception(text: &str) -> Option<(&str, &str)> {
    let found = find(&NAME, text.trim_end())?;
    let name = found.get(1)?.as_str();
    let last = name.rsplit('.').next().unwrap_or_default();
    let usual = last.starts_with(char::is_uppercase) || name.contains('.') || last.contains("rror");
    if is_level(name) || !usual {
        return None;
    }
    Some((name, found.get(2).map_or("", |message| message.as_str())))
}

/// Column and text of a line of an exception group: `  | text`, `  +-+---- 1 ----`.
fn group_line(text: &str) -> Option<(usize, &str)> {
    let bare = text.trim_start_matches(' ');
    let body = bare.strip_prefix(['|', '+'])?;
    Some((text.len() - bare.len(), body.strip_prefix(' ').unwrap_or(body)))
}

pub fn is_library(file: &str) -> bool {
    const PLACES: [&str; 7] = [
        "/site-packages/",
        "/dist-packages/",
        "/lib/python",
        "/lib64/python",
        "\\Lib\\",
        "/pypy",
        "/pyenv/versions/",
    ];
    file.starts_with("<frozen ") || PLACES.iter().any(|place| file.contains(place))
}

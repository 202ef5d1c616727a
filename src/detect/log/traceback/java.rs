//! Java's (and Kotlin's, Scala's) stack traces: uncaught and logged ones, causes, suppressed ones, module frames.
//!
//! Deliberately not here: thread dumps, whose frames stand below no exception; the search for a head (`head`).

use super::head::Head;
use super::shape::{
    Event, Fit, Found, Origin, Pattern, add_cause, add_line, find, group, is, is_strong, number,
};
use crate::model::finding::{Cause, Language};
use regex::Regex;
use std::sync::LazyLock;

/// Lines of a message before its frames.
const MESSAGE_LINES_MAX: u32 = 30;

static FRAME: Pattern =
    LazyLock::new(|| Regex::new(r"^\s+at ([^\s()]+)\(([^()]*)\)(?:\s*~?\[[^\]]*\])?$").ok());
static PLACE: Pattern = LazyLock::new(|| Regex::new(r"^(?:[\w.@+-]+/)?([^:/]+\.\w+):(\d+)$").ok());
static CAUSE: Pattern = LazyLock::new(|| {
    Regex::new(r"^\s*(Caused by|Suppressed|Wrapped by): ((?:[\w$]+[./])*[\w$]+)(?:: (.*))?$").ok()
});
static MORE: Pattern = LazyLock::new(|| {
    Regex::new(r"^\s*(?:\.\.\. \d+ (?:more|common frames omitted)|\[CIRCULAR REFERENCE:?.*|\.\.\. suppressed \d+ lines)$").ok()
});
static UNCAUGHT: Pattern =
    LazyLock::new(|| Regex::new(r#"Exception in thread ".*" ((?:[\w$]+[./])*[\w$]+)(?:: (.*))?$"#).ok());

/// Is the line a frame of Java's?
pub fn is_frame(line: &str) -> bool {
    let Some(found) = find(&FRAME, line) else { return false };
    let place = group(&found, 2);
    is(&PLACE, &place)
        || ["Native Method", "Unknown Source", "<generated>"].iter().any(|word| place.ends_with(word))
}

/// Where `Exception in thread "…"` begins in a line.
pub fn begins(line: &str) -> Option<usize> {
    find(&UNCAUGHT, line).and_then(|found| Some(found.get(0)?.start()))
}

/// A trace under way.
#[derive(Clone, Debug)]
pub struct Java {
    event: Event,
    chain: Vec<Cause>,
    /// Lines of a message whose frames have not come yet.
    open: Option<u32>,
    /// Frames of a cause are no frames of the headline.
    in_cause: bool,
    pending: Vec<String>,
}

impl Java {
    /// Begins with `Exception in thread "…" …`.
    pub fn new(text: &str) -> Option<Java> {
        let found = find(&UNCAUGHT, text)?;
        let event = Event { exception: group(&found, 1), message: group(&found, 2), ..Event::default() };
        Some(Java { event, chain: Vec::new(), open: Some(0), in_cause: false, pending: Vec::new() })
    }

    /// Begins at the first frame, its head known.
    pub fn with(head: Head) -> Java {
        let event = Event { exception: head.exception, message: head.message, ..Event::default() };
        Java { event, chain: Vec::new(), open: None, in_cause: false, pending: Vec::new() }
    }

    /// How a line would fit.
    pub fn look(&self, text: &str) -> Fit {
        if is(&FRAME, text) || is(&CAUSE, text) || is(&MORE, text) {
            return Fit::Ours;
        }
        match self.open {
            Some(lines) if lines >= MESSAGE_LINES_MAX || begins(text).is_some() => Fit::Over,
            Some(_) => Fit::Perhaps,
            None if looks_like_head(text) => Fit::Over,
            None => Fit::Foreign,
        }
    }

    /// Takes a line that fits.
    pub fn take(&mut self, text: &str) {
        if let Some(cause) = find(&CAUSE, text) {
            self.pending.clear();
            self.open = Some(0);
            let (name, message) = (group(&cause, 2), group(&cause, 3));
            if &cause[1] == "Wrapped by" {
                // The innermost came first: what wraps it is the headline.
                let event = Event { exception: name, message, ..Event::default() };
                let inner = std::mem::replace(&mut self.event, event);
                self.in_cause = false;
                return add_cause(&mut self.chain, &inner.exception, &inner.message);
            }
            self.in_cause = true;
            return add_cause(&mut self.chain, &name, &message);
        }
        if let Some(frame) = find(&FRAME, text) {
            self.close_message();
            if !self.in_cause {
                self.frame(&group(&frame, 1), &group(&frame, 2));
            }
        } else if is(&MORE, text) {
            self.close_message();
        } else if let Some(lines) = self.open {
            self.open = Some(lines + 1);
            self.pending.push(text.to_owned());
        }
    }

    /// The frames come: what stood before them was the message.
    fn close_message(&mut self) {
        if self.open.take().is_none() {
            return;
        }
        let lines = std::mem::take(&mut self.pending);
        let message = match self.chain.last_mut().filter(|_| self.in_cause) {
            Some(cause) => &mut cause.message,
            None => &mut self.event.message,
        };
        lines.iter().for_each(|line| add_line(message, line));
    }

    fn frame(&mut self, function: &str, place: &str) {
        // `java.base/java.lang.Thread.run`, `app//com.example.Main.main`: the module is no part of the name.
        let name = function.rsplit('/').next().unwrap_or_default();
        // `Foo$$Lambda/0x7f.run` is cut by that; such frames are the runtime's.
        let origin = Origin::library_if(|| is_library(function, name));
        match find(&PLACE, place) {
            Some(found) => {
                self.event.frames.push(group(&found, 1), number(&found, 2), name.to_owned(), origin);
            }
            None => self.event.frames.push(place.to_owned(), 0, name.to_owned(), Origin::Library),
        }
    }

    /// Lines of others that may stand between its own.
    pub fn patience(&self) -> u32 {
        5
    }

    /// What it was.
    pub fn finish(self) -> Vec<Found> {
        let Event { exception, message, frames } = self.event;
        let exception = Some(exception);
        vec![Found { language: Language::Java, exception, message, frames: frames.list, chain: self.chain }]
    }
}

/// Might the line be the head of the next trace?
fn looks_like_head(text: &str) -> bool {
    let word = text.split([':', ' ']).find(|word| is_strong(word));
    word.is_some() || !text.contains(' ') && !text.trim().is_empty() && text.ends_with(char::is_alphabetic)
}

/// Source: the packages of the JDK, of the languages' runtimes and of the usual frameworks.
fn is_library(function: &str, name: &str) -> bool {
    const MODULES: [&str; 3] = ["java.", "jdk.", "platform/"];
    const PACKAGES: [&str; 19] = [
        "java.",
        "javax.",
        "jakarta.",
        "jdk.",
        "sun.",
        "com.sun.",
        "kotlin.",
        "kotlinx.",
        "scala.",
        "groovy.",
        "org.springframework.",
        "org.apache.",
        "org.junit.",
        "junit.",
        "org.gradle.",
        "io.netty.",
        "org.eclipse.jetty.",
        "org.hibernate.",
        "reactor.core.",
    ];
    let module = function.contains('/') && MODULES.iter().any(|module| function.starts_with(module));
    module || PACKAGES.iter().any(|package| name.starts_with(package))
}

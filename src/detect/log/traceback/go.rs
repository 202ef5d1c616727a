//! Go's panics, fatal errors and signals with their goroutines, also those that a program recovered from and logged.
//!
//! Deliberately not here: dumps of a program that is well (`debug.PrintStack`), which have no panic in them.

use super::shape::{Event, Fit, Found, Origin, Pattern, add_cause, add_line, find, group, is, number};
use crate::model::finding::{Cause, Language};
use regex::Regex;
use std::sync::LazyLock;

/// Lines between the head and the first goroutine.
const MESSAGE_LINES_MAX: u32 = 40;

static GOROUTINE: Pattern = LazyLock::new(|| Regex::new(r"^goroutine \d+ .*\[.*\]:$").ok());
static CALL: Pattern = LazyLock::new(|| Regex::new(r"^(\S.*?)\((?:[^()]|\([^()]*\))*\)$").ok());
static CREATED: Pattern = LazyLock::new(|| Regex::new(r"^created by (\S+)(?: in goroutine \d+)?$").ok());
static PLACE: Pattern = LazyLock::new(|| Regex::new(r"^\s+(.+\.(?:go|s|c|cgo)):(\d+)(?: \+0x.*)?$").ok());
static REGISTER: Pattern = LazyLock::new(|| {
    Regex::new(r"^(?:[a-z]+\d*\s+0x[0-9a-f]+|PC=0x.*|exit status \d+|signal arrived .*)$").ok()
});
static SIGNAL: Pattern = LazyLock::new(|| Regex::new(r"^(SIG[A-Z]+): (.*)$").ok());
/// What stands before the message in a line about a panic that was caught.
static CAUGHT: Pattern = LazyLock::new(|| {
    Regex::new(r"(?i)(?:panic serving \S+|panic\w*(?: recovered)?|recovered(?: from)?(?: panic)?|recover)[:=] ?(.*)$").ok()
});

/// Such a line without a colon: `Recovered in f boom`.
static WORDS: Pattern = LazyLock::new(|| Regex::new(r"(?i)\b(?:recover(?:ed)?|panic(?:k?ed)?)\b").ok());

const HEADS: [&str; 7] =
    ["panic: ", "fatal error: ", "SIGQUIT: ", "SIGSEGV: ", "SIGABRT: ", "SIGBUS: ", "SIGILL: "];

/// Where the text of a panic begins in a line, if one may begin there.
pub fn begins(line: &str) -> Option<usize> {
    let (at, head) = HEADS.iter().filter_map(|head| Some((line.find(head)?, head))).min()?;
    // A dump on the same line is no message.
    if dump_begins(line) == Some(at + head.len()) {
        return None;
    }
    let before = line[..at].chars().next_back();
    before.is_none_or(|c| c.is_whitespace() || ":|]>".contains(c)).then_some(at)
}

/// Where the head of a goroutine begins in a line.
pub fn dump_begins(line: &str) -> Option<usize> {
    let at = line.find("goroutine ")?;
    is(&GOROUTINE, &line[at..]).then_some(at)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between the head and the first goroutine.
    Message,
    /// In the goroutine that counts.
    Stack,
    /// In the others.
    Rest,
    /// Behind a blank line.
    Between,
}

/// A panic under way.
#[derive(Clone, Debug)]
pub struct Go {
    stage: Stage,
    event: Event,
    chain: Vec<Cause>,
    /// Lines that belong to the message if a goroutine follows.
    lines: Vec<String>,
    /// The function whose place comes next.
    function: Option<String>,
    /// A frame of the runtime's panic was seen; one that printed the stack.
    panics: bool,
    prints: bool,
    /// A signal's line was read.
    signal: bool,
    needs: Needs,
}

/// What a dump must hold to be a panic's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing: its head says it.
    Nothing,
    /// A frame that printed the stack, or of the runtime's panic: the line above tells of one that was caught.
    Stack,
    /// A frame of the runtime's panic.
    Panic,
}

impl Go {
    /// Begins with the first line's own text.
    pub fn new(text: &str) -> Go {
        let (exception, message) = match find(&SIGNAL, text) {
            Some(found) => (group(&found, 1), group(&found, 2)),
            None => {
                let (name, message) = text.split_once(": ").unwrap_or((text, ""));
                (name.to_owned(), message.to_owned())
            }
        };
        Go {
            stage: Stage::Message,
            event: Event { exception, message, ..Event::default() },
            chain: Vec::new(),
            lines: Vec::new(),
            function: None,
            panics: false,
            prints: false,
            signal: false,
            needs: Needs::Nothing,
        }
    }

    /// Does a line tell of a panic that was caught?
    pub fn tells_of_panic(head: &str) -> bool {
        is(&CAUGHT, head) || is(&WORDS, head)
    }

    /// Begins with a goroutine's head, below a line that tells of a panic that was caught; "" = there is none.
    pub fn caught(head: &str) -> Go {
        let mut new = Go::new("panic: ");
        new.event.message = match find(&CAUGHT, head) {
            Some(found) => group(&found, 1),
            None => head.trim().to_owned(),
        };
        new.stage = Stage::Stack;
        new.needs = if is(&CAUGHT, head) { Needs::Stack } else { Needs::Panic };
        new
    }

    /// How a line would fit.
    pub fn look(&self, text: &str) -> Fit {
        if is(&GOROUTINE, text) {
            return Fit::Ours;
        }
        match self.stage {
            Stage::Message if text.trim_start().starts_with("panic: ") && text.starts_with(['\t', ' ']) => {
                Fit::Ours
            }
            Stage::Message if begins(text) == Some(0) => Fit::Over,
            Stage::Message if text.starts_with("[signal ") || text == "runtime stack:" => Fit::Ours,
            Stage::Message if self.lines.len() as u32 >= MESSAGE_LINES_MAX => Fit::Over,
            Stage::Message => Fit::Perhaps,
            Stage::Between if text.trim().is_empty() || is(&REGISTER, text) || text == "runtime stack:" => {
                Fit::Ours
            }
            Stage::Between => Fit::Over,
            Stage::Stack | Stage::Rest => look_stack(text, self.function.is_some()),
        }
    }

    /// Takes a line that fits.
    pub fn take(&mut self, text: &str) {
        if is(&GOROUTINE, text) || text == "runtime stack:" {
            self.close_message();
            let done = self.event.frames.has_own();
            if !done {
                self.event.frames.list.clear();
            }
            self.stage = if done { Stage::Rest } else { Stage::Stack };
            return;
        }
        match self.stage {
            Stage::Message => self.take_message(text),
            Stage::Between => {}
            Stage::Stack | Stage::Rest if text.trim().is_empty() => self.stage = Stage::Between,
            Stage::Stack => self.take_stack(text),
            Stage::Rest => {}
        }
    }

    fn take_message(&mut self, text: &str) {
        if let Some(again) = text.trim_start().strip_prefix("panic: ")
            && text.starts_with(['\t', ' '])
        {
            self.close_message();
            let before = std::mem::replace(&mut self.event.message, without_recovered(again).to_owned());
            let before = without_recovered(&before);
            if before != self.event.message {
                add_cause(&mut self.chain, "panic", before);
            }
        } else if text.starts_with("[signal ") {
            self.signal = true;
        } else {
            self.lines.push(text.to_owned());
        }
    }

    /// The lines so far were the message: what follows the head, up to the blank line before the goroutine.
    fn close_message(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // Since 1.18 a tab is printed before each further line of a panic's value. Source: runtime/error.go.
        let tabs = lines.first().is_some_and(|line| line.starts_with('\t'));
        let blank = |line: &&String| line.trim().is_empty();
        let last = if self.event.exception == "panic" {
            lines.iter().rposition(|line| !blank(&line)).map_or(0, |last| last + 1)
        } else {
            lines.iter().position(|line| blank(&line)).unwrap_or(lines.len())
        };
        for line in &lines[..last] {
            if tabs && !line.starts_with('\t') {
                break;
            }
            let line = if tabs { line.strip_prefix('\t').unwrap_or(line) } else { line };
            // What a signal's program counter says is no message.
            if !is(&REGISTER, line) {
                add_line(&mut self.event.message, line);
            }
        }
        let message = without_recovered(&self.event.message).to_owned();
        self.event.message = message;
    }

    fn take_stack(&mut self, text: &str) {
        if let Some(place) = find(&PLACE, text) {
            let function = self.function.take().unwrap_or_default();
            let file = group(&place, 1);
            let origin = Origin::library_if(|| is_library(&file, &function));
            self.event.frames.push(file, number(&place, 2), function, origin);
        } else if let Some(created) = find(&CREATED, text) {
            self.function = Some(group(&created, 1));
        } else if let Some(call) = find(&CALL, text) {
            let name = group(&call, 1);
            self.panics |= name == "panic" || name == "runtime.gopanic";
            self.prints |= name.ends_with("/debug.Stack");
            self.function = Some(name);
        }
    }

    /// Lines of others that may stand between its own.
    pub fn patience(&self) -> u32 {
        5
    }

    /// What it was, if it was one.
    pub fn finish(self) -> Vec<Found> {
        let Event { exception, message, frames } = self.event;
        let stacks = self.stage != Stage::Message || self.lines.iter().any(|line| line == "runtime stack:");
        // GOTRACEBACK=none leaves out the stacks; a deadlock of the last goroutine has none.
        let alone = self.signal || exception == "fatal error" && message.ends_with("deadlock!");
        let enough = match self.needs {
            Needs::Nothing => true,
            Needs::Stack => self.panics || self.prints,
            Needs::Panic => self.panics,
        };
        if !enough || !stacks && !alone {
            return Vec::new();
        }
        let exception = Some(exception);
        vec![Found { language: Language::Go, exception, message, frames: frames.list, chain: self.chain }]
    }
}

fn look_stack(text: &str, expects_place: bool) -> Fit {
    let elided = text.starts_with("...") && text.ends_with("elided...");
    let call = !expects_place && is(&CALL, text) && !text.contains(": ");
    let known = is(&PLACE, text) || is(&CREATED, text) || is(&REGISTER, text);
    if known || call || elided || text.trim().is_empty() {
        Fit::Ours
    } else if begins(text) == Some(0) {
        Fit::Over
    } else {
        Fit::Foreign
    }
}

fn without_recovered(message: &str) -> &str {
    let message = message.trim_end();
    message
        .strip_suffix(" [recovered]")
        .or_else(|| message.strip_suffix(" [recovered, repanicked]"))
        .unwrap_or(message)
}

/// Packages of the standard library, by their first part. Source: `go list std`, 1.19 to 1.27.
const STANDARD: &str = " archive bufio bytes cmp compress container context crypto database debug embed encoding errors \
expvar flag fmt go hash html image index internal io iter log maps math mime net os path plugin reflect regexp runtime slices \
sort strconv strings structs sync syscall testing text time unicode unique weak vendor ";

/// Source: the layout of GOROOT and of the module cache.
fn is_library(file: &str, function: &str) -> bool {
    const PLACES: [&str; 6] =
        ["/usr/lib/go", "/usr/local/go/", "/usr/lib64/go", "/opt/go/", "/pkg/mod/", "/libexec/src/"];
    const FUNCTIONS: [&str; 4] = ["runtime.", "runtime/", "testing.", "net/http."];
    PLACES.iter().any(|place| file.contains(place))
        || file.contains("/vendor/")
        || file == "_testmain.go"
        || function == "panic"
        || FUNCTIONS.iter().any(|start| function.starts_with(start))
        || is_standard(file, function)
}

/// A function of a standard package in a file of its own folder, wherever GOROOT is.
fn is_standard(file: &str, function: &str) -> bool {
    let folder = function.rfind('/').map_or(0, |slash| slash + 1);
    let package = &function[..folder + function[folder..].find('.').unwrap_or(0)];
    let first = package.split('/').next().unwrap_or_default();
    let Some((folder, _)) = file.rsplit_once('/') else { return false };
    // The runtime implements functions of other packages too.
    let in_folder = || folder.ends_with("/src/runtime") || folder.ends_with(&format!("/src/{package}"));
    !first.is_empty() && STANDARD.contains(&format!(" {first} ")) && in_folder()
}

//! Python's tracebacks as rich draws them in a box and as IPython prints them with numbered source.
//!
//! Deliberately not here: plain ones (`python`), boxes of local variables.

use super::python::{exception, is_join, is_library};
use super::shape::{Event, Fit, Found, Origin, Pattern, add_cause, find, group, is, number};
use crate::model::finding::{Cause, Language};
use regex::Regex;
use std::sync::LazyLock;

/// Both have it without a colon; a narrow box cuts off what follows.
const HEAD: &str = "Traceback (most recent call last";

/// The upper edge of a box. Source: rich/traceback.py, rich/box.py.
static BOX: Pattern = LazyLock::new(|| Regex::new(r"(?:╭─+|\+-+) Traceback \(most recent call last").ok());
/// IPython's first line. Source: IPython/core/ultratb.py, `prepare_header`.
static CELL: Pattern = LazyLock::new(|| {
    Regex::new(r"(?:^|[\s:>|\]])([\p{L}_][\w.]*) {2,}Traceback \(most recent call last\)$").ok()
});

/// `/srv/app.py:6 in main`, and its beginning when the name did not fit.
static BOXED: Pattern = LazyLock::new(|| Regex::new(r"^(\S.*?):(\d+) in(?: (.+))?$").ok());
/// `File /srv/app.py:2, in f(x)`, `Cell In[1], line 2, in f(x)`.
static FILE: Pattern = LazyLock::new(|| Regex::new(r"^File (.+?):(\d+)(?:, in (.+))?$").ok());
static INPUT: Pattern =
    LazyLock::new(|| Regex::new(r"^(?:Cell |Input )(In ?\[\d+\])(?:, line (\d+))?(?:, in (.+))?$").ok());
/// Before 8.0: `/srv/app.py in f(x)`; the line is where the arrow is.
static OLD: Pattern =
    LazyLock::new(|| Regex::new(r"^(<ipython-input-\S+>|[~./]\S*|\S+\.py) in ([\w<].*)$").ok());
static ARROW: Pattern = LazyLock::new(|| Regex::new(r"^-+> (\d+)").ok());

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Within the box.
    Boxed,
    /// Behind a box: the exception comes.
    Below,
    /// IPython's frames; the exception comes.
    Cells,
    Done,
    /// A chain goes on: its next head comes.
    Joined,
}

/// A traceback under way.
#[derive(Clone, Debug)]
pub struct Pretty {
    stage: Stage,
    event: Event,
    /// The name in IPython's first line.
    name: String,
    chain: Vec<Cause>,
    /// A frame whose name or line comes in the next line.
    open: Option<(String, u64, String)>,
}

/// Where the text of such a trace begins in a line, if one begins there.
pub fn begins(line: &str) -> Option<usize> {
    if !line.contains(HEAD) {
        return None;
    }
    if let Some(found) = find(&BOX, line) {
        return Some(found.get(0)?.start());
    }
    let found = find(&CELL, line.trim_end())?;
    // A level before the words is a logger's.
    exception(found.get(1)?.as_str())?;
    Some(found.get(1)?.start())
}

impl Pretty {
    /// Begins with the first line's own text.
    pub fn new(text: &str) -> Pretty {
        let mut new = Pretty {
            stage: Stage::Boxed,
            event: Event::default(),
            name: String::new(),
            chain: Vec::new(),
            open: None,
        };
        new.head(text);
        new
    }

    fn head(&mut self, text: &str) {
        let cell = find(&CELL, text.trim_end()).map(|found| group(&found, 1));
        self.stage = if cell.is_some() { Stage::Cells } else { Stage::Boxed };
        self.name = cell.unwrap_or_default();
    }

    /// How a line would fit.
    pub fn look(&self, text: &str) -> Fit {
        let text = text.trim();
        let blank = text.is_empty();
        match self.stage {
            Stage::Boxed if side(text).is_some() || is_edge(text) => Fit::Ours,
            Stage::Boxed => Fit::Foreign,
            Stage::Below if side(text).is_some() || is_edge(text) => Fit::Ours,
            Stage::Below if begins(text).is_some() => Fit::Over,
            Stage::Below if exception(text).is_some() => Fit::Ours,
            Stage::Below if blank => Fit::Ours,
            Stage::Below => Fit::Foreign,
            Stage::Cells if begins(text).is_some() => Fit::Over,
            Stage::Cells => self.look_cells(text),
            Stage::Done if is_join(text) => Fit::Ours,
            Stage::Done if blank => Fit::Perhaps,
            Stage::Done => Fit::Over,
            Stage::Joined if begins(text).is_some() || blank => Fit::Ours,
            Stage::Joined => Fit::Foreign,
        }
    }

    fn look_cells(&self, text: &str) -> Fit {
        let frame = is(&FILE, text) || is(&INPUT, text) || is(&OLD, text) || is(&ARROW, text);
        let source = text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit());
        let last = exception(text).is_some_and(|(name, _)| name == self.name);
        // Source without numbers goes on below an arrow; it is nobody's.
        if frame || source || last { Fit::Ours } else { Fit::Foreign }
    }

    /// Takes a line that fits.
    pub fn take(&mut self, text: &str) {
        let text = text.trim();
        match self.stage {
            Stage::Boxed if is_bottom(text) => {
                self.close_frame();
                self.stage = Stage::Below;
            }
            Stage::Boxed => {
                if let Some(inner) = side(text) {
                    self.boxed(inner);
                }
            }
            Stage::Below => {
                if let Some((name, message)) = exception(text) {
                    self.conclude(name, message);
                }
            }
            Stage::Cells => self.cell(text),
            Stage::Done => {
                if is_join(text) {
                    let before = std::mem::take(&mut self.event);
                    add_cause(&mut self.chain, &before.exception, &before.message);
                    self.stage = Stage::Joined;
                }
            }
            Stage::Joined => {
                if begins(text).is_some() {
                    self.head(text);
                }
            }
        }
    }

    /// A line within the box, without its sides: frames stand at the margin, source and variables are indented.
    fn boxed(&mut self, inner: &str) {
        if let Some((file, line, _)) = self.open.take_if(|(_, _, function)| function.is_empty()) {
            self.frame(file, line, inner.trim());
        } else if let Some(found) = find(&BOXED, inner.trim_end()) {
            let (file, line, function) = (group(&found, 1), number(&found, 2), group(&found, 3));
            if function.is_empty() {
                self.open = Some((file, line, function));
            } else {
                self.frame(file, line, &function);
            }
        }
    }

    fn cell(&mut self, text: &str) {
        if let Some(arrow) = find(&ARROW, text) {
            if let Some((file, line, function)) = self.open.take() {
                let line = if line == 0 { number(&arrow, 1) } else { line };
                self.frame(file, line, &function);
            }
        } else if let Some(found) = find(&FILE, text).or_else(|| find(&INPUT, text)) {
            self.close_frame();
            self.open = Some((group(&found, 1), number(&found, 2), group(&found, 3)));
        } else if let Some(found) = find(&OLD, text) {
            self.close_frame();
            self.open = Some((group(&found, 1), 0, group(&found, 2)));
        } else if let Some((name, message)) = exception(text).filter(|(name, _)| *name == self.name) {
            self.close_frame();
            self.conclude(name, message);
        }
    }

    fn close_frame(&mut self) {
        if let Some((file, line, function)) = self.open.take() {
            self.frame(file, line, &function);
        }
    }

    fn frame(&mut self, file: String, line: u64, function: &str) {
        // IPython prints the arguments too.
        let function = function.split('(').next().unwrap_or_default().trim();
        let origin = Origin::library_if(|| is_library(&file));
        self.event.frames.push(file, line, function.to_owned(), origin);
    }

    fn conclude(&mut self, name: &str, message: &str) {
        name.clone_into(&mut self.event.exception);
        message.clone_into(&mut self.event.message);
        self.stage = Stage::Done;
    }

    /// Lines of others that may stand between its own.
    pub fn patience(&self) -> u32 {
        20
    }

    /// What it was, if it was one.
    pub fn finish(mut self) -> Vec<Found> {
        self.close_frame();
        let Event { exception, message, frames } = self.event;
        if frames.list.is_empty() {
            return Vec::new();
        }
        // Cut short, IPython's first line still tells the name.
        let exception = Some(if exception.is_empty() { self.name } else { exception });
        vec![Found { language: Language::Python, exception, message, frames: frames.list, chain: self.chain }]
    }
}

/// What stands between the sides of a box.
fn side(text: &str) -> Option<&str> {
    let inner = text.strip_prefix(['│', '|'])?;
    let inner = inner.strip_suffix(['│', '|']).unwrap_or(inner);
    Some(inner.strip_prefix(' ').unwrap_or(inner))
}

fn is_edge(text: &str) -> bool {
    text.starts_with(['╭', '╰', '+'])
}

fn is_bottom(text: &str) -> bool {
    text.starts_with('╰') || text.starts_with("+-") && !text.contains(HEAD)
}

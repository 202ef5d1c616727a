//! What is wrong with a config, and where: collected while reading, shown all at once.
//!
//! Deliberately not here: what counts as wrong. The readers know; this file only remembers, sorts, cuts and renders.

use crate::base::text::{nearest, one_line};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Most problems that are shown; the rest is counted. A person mends a few and checks again.
pub const PROBLEMS_MAX: usize = 100;

/// Most problems that are remembered before sorting, so that a hostile file stays cheap.
const REMEMBERED_MAX: usize = 1000;

/// Most characters of the file's own text that are quoted in a message.
const QUOTE_LENGTH_MAX: usize = 80;

/// Longest message, characters.
const MESSAGE_LENGTH_MAX: usize = 500;

/// Most candidates that are compared for a "did you mean".
const CANDIDATES_MAX: usize = 200;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The config can't be used.
    Error,
    /// It can be used; the operator should know all the same.
    Note,
}

/// One thing that is wrong, or worth a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Error or note.
    pub severity: Severity,
    /// A lower-case fragment on one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The problems as lines for people, `agents.toml:41:9: …`; hints are indented below. Empty when there are none.
pub fn render(path_as_given: &str, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let mark = match problem.severity {
            Severity::Error => "",
            Severity::Note => "note: ",
        };
        // Writing to a String can't fail.
        let _ =
            writeln!(text, "{path_as_given}:{}:{}: {mark}{}", problem.line, problem.column, problem.message);
        if let Some(hint) = &problem.hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
    }
    text
}

/// Text from the file, made fit to be quoted in a message: one line, bounded, no control characters, in backticks.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", one_line(text, QUOTE_LENGTH_MAX))
}

/// What sort of error it is; it decides what is left out after a syntax error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The file is no TOML there.
    Syntax,
    /// What stands there is wrong, whatever stands elsewhere.
    Wrong,
    /// It seems wrong, but a syntax error elsewhere may be the cause: what could not be read looks missing, and keys
    /// below a broken header land in the table above.
    Doubtful,
}

#[derive(Debug)]
struct Found<K> {
    at: usize,
    kind: K,
    message: String,
    hint: Option<String>,
}

/// Collects problems at byte offsets of one text.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    text: &'a str,
    /// Offset of each line's first byte.
    line_starts: Vec<usize>,
    errors: RefCell<Vec<Found<Kind>>>,
    notes: RefCell<Vec<Found<()>>>,
    /// Errors found after [`REMEMBERED_MAX`] was reached.
    forgotten: Cell<usize>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(text: &'a str) -> Sink<'a> {
        let after_newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        let (errors, notes, forgotten) = Default::default();
        Sink { text, line_starts, errors, notes, forgotten }
    }

    /// The file is not TOML here.
    pub(super) fn syntax(&self, at: usize, message: impl Into<String>) {
        self.error(Found { at, kind: Kind::Syntax, message: message.into(), hint: None });
    }

    /// What stands here is wrong.
    pub(super) fn wrong(&self, at: usize, message: impl Into<String>) {
        self.error(Found { at, kind: Kind::Wrong, message: message.into(), hint: None });
    }

    /// What stands here is wrong, and there is something to do about it.
    pub(super) fn wrong_hint(&self, at: usize, message: impl Into<String>, hint: Option<String>) {
        self.error(Found { at, kind: Kind::Wrong, message: message.into(), hint });
    }

    /// Something is missing or stands in the wrong place, so it seems. Not shown when the file has syntax errors.
    pub(super) fn doubtful(&self, at: usize, message: impl Into<String>, hint: Option<String>) {
        self.error(Found { at, kind: Kind::Doubtful, message: message.into(), hint });
    }

    /// Not wrong, but worth knowing.
    pub(super) fn note(&self, at: usize, message: impl Into<String>) {
        // A remembered note too many is no loss: the first hundred say it all.
        if self.notes.borrow().len() < REMEMBERED_MAX {
            self.notes.borrow_mut().push(Found { at, kind: (), message: message.into(), hint: None });
        }
    }

    /// `did you mean …?`, when something near enough is known.
    pub(super) fn did_you_mean<'c>(
        &self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<String> {
        if self.is_full() || word.len() > QUOTE_LENGTH_MAX {
            return None;
        }
        nearest(word, candidates.into_iter().take(CANDIDATES_MAX))
            .map(|name| format!("did you mean `{name}`?"))
    }

    /// The line of an offset, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// All problems in the order of the file: at most one syntax error a line (what follows on that line comes of
    /// it), nothing that a syntax error may have caused, at most [`PROBLEMS_MAX`], errors before notes.
    pub(super) fn finish(self) -> Vec<Problem> {
        let errors = self.errors_that_count();
        let more = errors.len().saturating_sub(PROBLEMS_MAX) + self.forgotten.get();
        let notes = self.notes.take();
        let places = PROBLEMS_MAX.saturating_sub(errors.len());
        let shown_errors =
            errors.into_iter().take(PROBLEMS_MAX).map(|f| (f.at, self.problem(f, Severity::Error)));
        let shown_notes = notes.into_iter().take(places).map(|f| (f.at, self.problem(f, Severity::Note)));
        let mut shown: Vec<(usize, Problem)> = shown_errors.chain(shown_notes).collect();
        shown.sort_by_key(|(at, _)| *at);
        let mut problems: Vec<Problem> = shown.into_iter().map(|(_, problem)| problem).collect();
        if let Some(last) = problems.last().filter(|_| more > 0) {
            let message = format!("… and {more} more like these");
            problems.push(Problem { message, hint: None, severity: Severity::Error, ..last.clone() });
        }
        problems
    }

    /// The errors without those that only follow from others, in the order of the file.
    fn errors_that_count(&self) -> Vec<Found<Kind>> {
        let mut errors = self.errors.take();
        errors.sort_by_key(|f| f.at);
        // Several units may use the same wrong default.
        errors.dedup_by(|a, b| a.at == b.at && a.message == b.message);
        let broken: BTreeSet<usize> =
            errors.iter().filter(|f| f.kind == Kind::Syntax).map(|f| self.line(f.at)).collect();
        let mut told = BTreeSet::new();
        errors.retain(|f| match f.kind {
            Kind::Syntax => told.insert(self.line(f.at)),
            Kind::Wrong => !broken.contains(&self.line(f.at)),
            Kind::Doubtful => broken.is_empty(),
        });
        errors
    }

    fn problem<K>(&self, found: Found<K>, severity: Severity) -> Problem {
        let line = self.line(found.at);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..found.at).unwrap_or_default();
        // A byte order mark is no column.
        let column = before.chars().filter(|c| *c != '\u{feff}').count() + 1;
        // Words of others (a backend's reader, the system) are in it.
        let message = one_line(&found.message, MESSAGE_LENGTH_MAX);
        Problem { line, column, severity, message, hint: found.hint }
    }

    fn is_full(&self) -> bool {
        self.errors.borrow().len() >= REMEMBERED_MAX
    }

    fn error(&self, found: Found<Kind>) {
        if self.is_full() {
            self.forgotten.set(self.forgotten.get() + 1);
        } else {
            self.errors.borrow_mut().push(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PROBLEMS_MAX, Severity, Sink};

    /// However many notes there are: they fill the places that errors leave.
    #[test]
    fn any_number_of_notes_hides_no_error() {
        let text = "x\n".repeat(2000);
        let sink = Sink::new(&text);
        (0..1500).for_each(|n| sink.note(2 * n, "a note"));
        assert!(Sink::finish(sink).iter().all(|problem| problem.severity == Severity::Note));
        let sink = Sink::new(&text);
        (0..1500).for_each(|n| sink.note(2 * n, "a note"));
        sink.wrong(3000, "an error");
        let problems = sink.finish();
        assert_eq!(problems.len(), PROBLEMS_MAX);
        assert_eq!(problems.iter().filter(|problem| problem.severity == Severity::Error).count(), 1);
    }
}

//! Reports of test runners: the traces in them are results of tests, and no failure of what is watched.
//!
//! Deliberately not here: panics that end a test run itself (Go's), which stand in no such section.

use super::traceback::shape::{Pattern, is};
use regex::Regex;
use std::sync::LazyLock;

/// A section is forgotten after so many lines: a stray heading must not blind us for ever.
const LINES_MAX: u32 = 20_000;

/// What runs the tests: how its section of failures begins and ends. `sign` is what the search for lines looks for.
struct Runner {
    begin: Pattern,
    end: Pattern,
}

macro_rules! runner {
    ($begin:expr, $end:expr) => {
        Runner {
            begin: LazyLock::new(|| Regex::new($begin).ok()),
            end: LazyLock::new(|| Regex::new($end).ok()),
        }
    };
}

static RUNNERS: [Runner; 12] = [
    // pytest
    runner!(r"=+ (?:FAILURES|ERRORS) =+$", r"=+ (?:short test summary info|.* in [\d.]+s(?: \(.*\))?) =+$"),
    // unittest
    runner!(r"^(?:FAIL|ERROR): \S+ \(.*\)", r"^Ran \d+ tests? in"),
    // doctest
    runner!(r"^Failed example:$", r"^(?:\*{10,}|\*\*\*Test Failed\*\*\*.*)$"),
    // cargo test
    runner!(r"^running \d+ tests?$", r"^test result: "),
    runner!(r"^---- .* std(?:out|err) ----$", r"^test result: "),
    // cargo nextest
    runner!(r"Nextest run ID ", r"^\s+Summary \["),
    // node --test, TAP and its own format
    runner!(r"^\s*not ok \d+", r"^\s*(?:\.\.\.|ok \d+.*|1\.\.\d+)$"),
    runner!(r"^✖ failing tests:", r"^(?:✔|ℹ tests) "),
    // jest
    runner!(r"^\s+● .* › ", r"^(?:Tests|Test Suites): "),
    // mocha
    runner!(r"^\s+\d+ failing$", r"^\S"),
    // Maven and Gradle
    runner!(r"(?:<<< (?:FAILURE|ERROR)!|^\S.* > .* FAILED)$", r"^(?:\s*$|.*Tests run: )"),
    // JUnit's own
    runner!(r"^There (?:was|were) \d+ failures?:$", r"^(?:FAILURES!!!|Tests run: )"),
];

/// What lines to look at, for the search over many of them at once. Plain text only: that is several times as fast.
pub const SIGNS: &[&str] = &[
    "= FAILURES =",
    "= ERRORS =",
    "FAIL: ",
    "ERROR: ",
    "Failed example:",
    "running ",
    " stdout ----",
    " stderr ----",
    "Nextest run ID ",
    "not ok ",
    "✖ failing tests:",
    "● ",
    " failing",
    "<<< FAILURE!",
    "<<< ERROR!",
    " FAILED",
    "There was ",
    "There were ",
];

/// Whether a report is being read.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    open: Option<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    runner: usize,
    at: u64,
    lines: u32,
}

impl Reports {
    /// Takes a line; is it part of a report?
    pub fn line(&mut self, text: &str, at: u64) -> bool {
        if let Some(open) = &mut self.open {
            open.lines += 1;
            if open.lines > LINES_MAX || is(&RUNNERS[open.runner].end, text) {
                self.open = None;
            }
        }
        if self.open.is_none() {
            let runner = RUNNERS.iter().position(|runner| is(&runner.begin, text));
            self.open = runner.map(|runner| Open { runner, at, lines: 0 });
        }
        self.open.is_some()
    }

    /// Where the report under way begins.
    pub fn since(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[bool]) {
        let mut reports = Reports::default();
        let got: Vec<bool> = text.lines().map(|line| reports.line(line, 0)).collect();
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn sections() {
        check("=== FAILURES ===\nx\n=== 1 failed in 0.10s ===\ny", &[true, true, false, false]);
        check("running 3 tests\nx\ntest result: FAILED.\ny", &[true, true, false, false]);
        check("ERROR: test_a (t.T.test_a)\nTraceback\nRan 3 tests in 0.1s", &[true, true, false]);
        check("not ok 2 - x\n  stack\n  ...\ny", &[true, true, false, false]);
        check("  2 failing\n\n  1) a\nnpm ERR!", &[true, true, true, false]);
        check("ERROR: it went wrong\nrunning 3 workers", &[false, false]);
    }

    #[test]
    fn a_section_does_not_last_for_ever() {
        let mut reports = Reports::default();
        reports.line("running 1 test", 0);
        assert!((0..LINES_MAX).all(|_| reports.line("x", 1)));
        assert!(!reports.line("x", 1));
    }

    #[test]
    fn every_pattern_compiles() {
        assert!(RUNNERS.iter().all(|runner| runner.begin.is_some() && runner.end.is_some()));
    }
}

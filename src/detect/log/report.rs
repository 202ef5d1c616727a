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
    /// Behind an end the section may go on: what a failed test said may look like one.
    again: Option<Pattern>,
}

macro_rules! pattern {
    ($pattern:expr) => {
        LazyLock::new(|| Regex::new($pattern).ok())
    };
}

macro_rules! runner {
    ($begin:expr, $end:expr) => {
        Runner { begin: pattern!($begin), end: pattern!($end), again: None }
    };
    ($begin:expr, $end:expr, $again:expr) => {
        Runner { begin: pattern!($begin), end: pattern!($end), again: Some(pattern!($again)) }
    };
}

static RUNNERS: [Runner; 16] = [
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
    runner!(r"^\s*✖ .* \([\d.]+ms\)$", r"^(?:✔|▶|ℹ) "),
    // jest, vitest
    runner!(r"^\s*(?:PASS|FAIL)\s+\S+\.[cm]?[jt]sx?\b", r"^(?:Tests|Test Suites): "),
    runner!(r"^\s+console\.(?:error|warn|log|info|debug)$", r"^\S"),
    runner!(r"^\s+● .* › ", r"^(?:Tests|Test Suites): "),
    runner!(r"^\s*RUN +v\d+\.\d+\.\d+ ", r"^\s+Duration "),
    // mocha: a value that was compared may stand at the margin.
    runner!(r"^\s+\d+ failing$", r"^\S", r"^\s+(?:\d+\) \S.*|\+ expected - actual)$"),
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
    "✖ ",
    "PASS ",
    "FAIL ",
    // Colours stand between it and the version.
    " RUN ",
    "console.",
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
    /// It seems to be over, and may go on.
    pauses: bool,
}

impl Reports {
    /// Takes a line; is it part of a report?
    pub fn line(&mut self, text: &str, at: u64) -> bool {
        if let Some(open) = &mut self.open {
            open.lines += 1;
            let runner = &RUNNERS[open.runner];
            match &runner.again {
                _ if open.lines > LINES_MAX => self.open = None,
                Some(again) if open.pauses => open.pauses = !is(again, text),
                Some(_) => open.pauses = is(&runner.end, text),
                None if is(&runner.end, text) => self.open = None,
                None => {}
            }
        }
        if self.open.as_ref().is_none_or(|open| open.pauses) {
            let begun = RUNNERS.iter().position(|runner| is(&runner.begin, text));
            let begun = begun.map(|runner| Open { runner, at, lines: 0, pauses: false });
            self.open = begun.or(self.open.take());
        }
        self.open.as_ref().is_some_and(|open| !open.pauses)
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
        check(
            "  1 failing\n\n  1) a\n1 !== 2\n  + expected - actual\nx",
            &[true, true, true, false, true, false],
        );
        check("FAIL ./a.test.js\n  console.error\nTests: 1 failed\nFAIL all", &[true, true, false, false]);
        check(" RUN  v4.1.12 /srv\nx\n   Duration  3ms\nRUN", &[true, true, false, false]);
        check("✖ adds (2.05ms)\n  x\n▶ b", &[true, true, false]);
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
        assert!(RUNNERS.iter().all(|runner| runner.again.as_ref().is_none_or(|again| again.is_some())));
    }
}

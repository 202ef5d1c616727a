//! The head of a trace whose frames were seen first: JavaScript and Java print `Name: message`, any number of lines of the
//! message, and then the frames, so that only a look back from the first frame finds it.
//!
//! Deliberately not here: the frames.

use super::shape::{Pattern, find, group, is, is_level, is_strong};
use regex::Regex;
use std::sync::LazyLock;

/// Lines that a message may have.
pub const LINES_MAX: usize = 40;

/// `Name`, `Name: message`, `Name [CODE]: message` at the beginning of a line.
static HEAD: Pattern = LazyLock::new(|| {
    Regex::new(r"^\s*(?:Uncaught )?\[?((?:[\w$]+\.)*[A-Za-z_$][\w$]*(?: \[[A-Z]\w*\])?)(?:: (.*)|:?)$").ok()
});
/// The same within a line, behind what a logger wrote; only names that can be nothing else.
static WITHIN: Pattern = LazyLock::new(|| {
    Regex::new(r#"(?:^|[\s\[("'=:])((?:(?:[a-z_][\w$]*\.)+[A-Z][\w$]*|[A-Z][\w$]*(?:Error|Exception)|Error)(?: \[[A-Z]\w*\])?)(?:: (.*)|\s*)$"#).ok()
});
/// What is above a message, and no part of it.
static STOP: Pattern = LazyLock::new(|| {
    Regex::new(r"^(?:\s*\^+|Node\.js v\d.*|\s+at .*\)|\s+at \S+:\d+|\s*\d+: .*|\}|Caused by: .*)$").ok()
});
/// Node's warnings; one of them tells of a rejection that nobody handled.
static PROCESS: Pattern = LazyLock::new(|| Regex::new(r"\(node:\d+\) ").ok());
static WARNING: Pattern = LazyLock::new(|| Regex::new(r"(?:Warning|Trace|Thread\.State)(?:: |$)").ok());

/// What stands above the first frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub exception: String,
    pub message: String,
    /// How many lines above the first frame it begins, from 1.
    pub above: usize,
}

/// Looks back from the first frame. `lines` are above it, nearest first, without prefix.
pub fn search(lines: &[&str]) -> Option<Head> {
    for (n, line) in lines.iter().take(LINES_MAX).enumerate() {
        // A warning, a trace that a program asked for, a thread of a dump: their frames are no failure.
        if is_warning(line) {
            return None;
        }
        let head = head(line, n, &lines[n + 1..]);
        if head.is_none() && is(&WARNING, line) || is(&STOP, line) {
            return None;
        }
        let Some((exception, mut message)) = head else { continue };
        for more in lines[..n].iter().rev() {
            super::shape::add_line(&mut message, more);
        }
        return Some(Head { exception, message, above: n + 1 });
    }
    None
}

/// What is printed with frames because a program asked for it.
pub fn is_warning(line: &str) -> bool {
    let process = is(&PROCESS, line) && !line.contains("UnhandledPromiseRejection");
    process || line.trim_end().ends_with("java.lang.Exception: Stack trace")
}

/// Name and message, if the line is a head. Only directly above the frames may the name be any: a capitalised one, or what
/// stands below the mark under the source of an uncaught error.
fn head(line: &str, n: usize, above: &[&str]) -> Option<(String, String)> {
    if let Some(found) = find(&HEAD, line) {
        let name = group(&found, 1);
        let bare = name.split(" [").next().unwrap_or_default();
        let capital =
            bare.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_uppercase()));
        let any = n == 0 && !line.starts_with(' ') && (capital && !is_level(bare) || is_thrown(above));
        if !is_harmless(bare) && (is_strong(bare) || bare == "Error" || any) {
            // `UnhandledPromiseRejection: Error: x` and `Error: Error: x` keep their first name.
            return Some((name, group(&found, 2)));
        }
    }
    let found = find(&WITHIN, line).filter(|found| !is_harmless(&group(found, 1)))?;
    Some((group(&found, 1), group(&found, 2)))
}

/// Is the mark under a source line directly above, blank lines aside?
fn is_thrown(above: &[&str]) -> bool {
    let line = above.iter().take(3).find(|line| !line.trim().is_empty());
    line.is_some_and(|line| line.trim().chars().all(|c| c == '^'))
}

/// Names of what is printed with frames and is no failure.
fn is_harmless(name: &str) -> bool {
    ["Warning", "Trace", "Thread.State"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(above: &str, want: Option<(&str, &str, usize)>) {
        let lines: Vec<&str> = above.lines().rev().collect();
        let found = search(&lines);
        let found = found.as_ref().map(|head| (head.exception.as_str(), head.message.as_str(), head.above));
        assert_eq!(found, want, "{above}");
    }

    #[test]
    fn heads() {
        check("x\nError: boom", Some(("Error", "boom", 1)));
        check("Error: SQL\n  a\nnear b", Some(("Error", "SQL\n  a\nnear b", 3)));
        check(
            "AssertionError [ERR_ASSERTION]: a:\n\n  b",
            Some(("AssertionError [ERR_ASSERTION]", "a:\n\n  b", 3)),
        );
        check("Boom: kaput", Some(("Boom", "kaput", 1)));
        check("Error", Some(("Error", "", 1)));
        check("12:00 ERROR api TypeError: no", Some(("TypeError", "no", 1)));
        check("(node:1) UnhandledPromiseRejectionWarning: Error: b", Some(("Error", "b", 1)));
        check("java.lang.IllegalStateException", Some(("java.lang.IllegalStateException", "", 1)));
        check("com.example.Boom: x: y", Some(("com.example.Boom", "x: y", 1)));
        check("(node:1) Warning: MaxListenersExceededWarning: leak", None);
        check("(node:1) DeprecationWarning: old", None);
        check("Trace: here", None);
        check("   java.lang.Thread.State: RUNNABLE", None);
        check("INFO: started", None);
        check("Boom [Error]: kaput", Some(("Boom [Error]", "kaput", 1)));
        check("DOMException [AbortError]: stop", Some(("DOMException [AbortError]", "stop", 1)));
        check("throw new low('x')\n      ^\n\nlow: x", Some(("low", "x", 1)));
        check("1 | throw x\n    ^\nerror: boom", Some(("error", "boom", 1)));
        check("low: x", None);
        check("(node:7) Error: a warning", None);
        check("java.lang.Exception: Stack trace", None);
        check("Error: far\n    at x (/a.js:1:2)", None);
        check("  12: core::panic", None);
    }
}

//! The house rules that a compiler does not know: who may import whom, who may touch the world, what must not be left
//! lying about. Sizes are a signal, not a law: they are printed.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

use std::path::{Path, PathBuf};

/// What each room may import (itself always). `config` and `detect` know each other: a config holds parsed cron times,
/// a screen is read with a backend's signals.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("model", &["base"]),
    ("state", &["base", "model"]),
    ("config", &["base", "detect"]),
    ("detect", &["base", "model", "config"]),
    ("policy", &["base", "model", "state", "config", "detect"]),
    ("sys", &["base", "model", "state"]),
    ("engine", &["base", "model", "state", "config", "detect", "policy", "sys"]),
    ("demo", &["base", "model", "state", "config", "policy", "sys", "engine"]),
    ("cli", &["base", "model", "state", "config", "detect", "policy", "sys", "engine", "demo"]),
];

/// What only `sys` may use, and the demo agent, which plays a foreign program.
const WORLD: &[&str] = &[
    "std::fs",
    "std::env",
    "std::net",
    "std::thread",
    "std::process",
    "SystemTime",
    "Instant",
    "rustix::",
    "signal_hook::",
    "walkdir::",
    "tempfile::",
];

/// What is never left lying about.
const FORBIDDEN: &[&str] = &["todo!", "dbg!", "unimplemented!", "FIXME", "XXX"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// One source file: its room, its path, its lines without tests.
struct Source {
    room: String,
    path: PathBuf,
    text: String,
}

impl Source {
    /// Lines of code with their numbers: comments and what follows `#[cfg(test)]` left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_test = self.path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
        self.text
            .lines()
            .enumerate()
            .take_while(move |(_, line)| !is_test && !line.starts_with("#[cfg(test)]") && !is_test_mod(line))
            .map(|(n, line)| (n + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

fn is_test_mod(line: &str) -> bool {
    line.starts_with("#[cfg(all(test")
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
        let entry = entry.unwrap();
        if entry.path().extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let inner = entry.path().strip_prefix(&root).unwrap();
        let room = if inner.components().count() > 1 {
            inner.components().next().unwrap().as_os_str().to_string_lossy().into_owned()
        } else {
            String::new()
        };
        let text = std::fs::read_to_string(entry.path()).unwrap();
        found.push(Source { room, path: Path::new("src").join(inner), text });
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.room.is_empty()) {
        let Some((_, may)) = MAY_IMPORT.iter().find(|(room, _)| *room == source.room) else {
            wrong.push(format!("{}: `{}` is no known room", source.path.display(), source.room));
            continue;
        };
        for (n, line) in source.code() {
            for room in imports(line) {
                let known = MAY_IMPORT.iter().any(|(known, _)| *known == room);
                if known && room != source.room && !may.contains(&room) {
                    wrong.push(format!("{}: `{}` imports `{room}`", source.at(n), source.room));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rooms named in a line as `crate::room`.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn only_sys_touches_the_world() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.room != "sys" && source.room != "demo") {
        for (n, line) in source.code() {
            // An exit code is a number, not a process.
            let line = line.replace("std::process::ExitCode", "");
            for word in WORLD.iter().filter(|word| has_word(&line, word)) {
                wrong.push(format!("{}: `{word}` outside sys", source.at(n)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_prints() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.room != "demo") {
        let prints = source.path == Path::new("src/cli/out.rs");
        for (n, line) in source.code() {
            let macros =
                ["println!", "eprintln!", "print!", "eprint!"].iter().any(|word| has_word(line, word));
            let streams = line.contains("io::stdout()") || line.contains("io::stderr()");
            let asks = line.contains("is_terminal()") || line.contains("tcgetwinsize");
            if macros || (streams && !prints && !asks) {
                wrong.push(format!("{}: prints by itself: {}", source.at(n), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_lying_about() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (n, line) in source.text.lines().enumerate() {
            for word in FORBIDDEN.iter().filter(|word| line.contains(*word)) {
                wrong.push(format!("{}: `{word}`", source.at(n + 1)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut wrong = Vec::new();
    for source in sources() {
        let is_test = source.path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
        if !is_test && !source.text.starts_with("//! ") {
            wrong.push(source.path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "no `//!` on the first line:\n{}", wrong.join("\n"));
}

#[test]
fn the_readme_lists_every_command() {
    let Ok(readme) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")) else {
        // Not written yet.
        return;
    };
    let missing: Vec<&str> = watchkeeper::cli::commands::public()
        .map(|command| command.name)
        .filter(|name| !readme.contains(&format!("`{name}")))
        .collect();
    assert!(missing.is_empty(), "README.md does not list: {missing:?}");
}

/// Always passes; `cargo test --test tidy -- --nocapture` shows what to look at.
#[test]
fn sizes_are_a_signal() {
    for source in sources() {
        let lines = source.code().last().map_or(0, |(n, _)| n);
        if lines > FILE_LINES_MAX {
            println!("{}: {lines} lines: have two rooms grown into one?", source.path.display());
        }
        for (name, at, lines) in functions(&source).into_iter().filter(|(_, _, n)| *n > FUNCTION_LINES_MAX) {
            println!("{}: `{name}` has {lines} lines", source.at(at));
        }
    }
}

/// Functions by name, first line and length: from `fn` to the brace at the same depth, as rustfmt sets it.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, usize)> = None;
    for (n, line) in source.text.lines().enumerate() {
        let depth = line.len() - line.trim_start().len();
        let code = line.trim_start();
        let head =
            ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn "].iter().find_map(|h| code.strip_prefix(h));
        if let (Some(head), None) = (head, &open) {
            let name = head.split(['(', '<']).next().unwrap_or("").to_owned();
            open = Some((name, n + 1, depth));
        }
        if let Some((name, at, own)) = open.clone()
            && depth == own
            && (code.ends_with('}') || code.ends_with(';'))
        {
            found.push((name, at, n + 2 - at));
            open = None;
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        !part(before) && (word.ends_with("::") || !part(after))
    })
}

#[test]
fn the_rules_themselves_can_fail() {
    assert_eq!(imports("use crate::sys::{a, b}; // crate::x").collect::<Vec<_>>(), ["sys", "x"]);
    assert!(has_word("let x = std::fs::read(y);", "std::fs"));
    assert!(has_word("Instant::now()", "Instant") && !has_word("first_instant(x) Instants", "Instant"));
    assert!(has_word("println!(1)", "println!") && !has_word("eprintln!(1)", "println!"));
    let text = "fn a() {\n    b();\n}\n\nfn b() {}\n".to_owned();
    let source = Source { room: String::new(), path: "x.rs".into(), text };
    assert_eq!(functions(&source), [("a".to_owned(), 1, 3), ("b".to_owned(), 5, 1)]);
}

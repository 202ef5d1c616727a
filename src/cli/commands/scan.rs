//! `scan`: detectors over any log.
//!
//! Deliberately not here: what is done about a finding (`policy`).

use super::{Command, Effect, Flag, Words};
use crate::base::error::{Error, Kind, Result};
use crate::base::names::UnitName;
use crate::base::text::one_line;
use crate::cli::args::shown;
use crate::cli::out::Paint;
use crate::cli::{Invocation, Out, load};
use crate::config::{DetectorConfig, DetectorKind, parse_detectors};
use crate::detect::log::{Position, Scanner};
use crate::model::finding::{Finding, Frame, Language};
use crate::sys::env;
use serde::Serialize;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "scan",
    usage: "FILE… [--process NAME | --detectors F]",
    about: "run detectors over any log, and print what they find",
    long: "Tries detectors on yesterday's log. `-` is standard input. Without `--process`
and `--detectors` tracebacks are looked for: Python, JavaScript, TypeScript, Go,
Rust and Java, with any logger's prefix. Files of any size and any bytes; of a
line longer than 64 KiB only the beginning is looked at. Stalls and exits need
a process that runs, and are not found in a file.

Text: file:line: what, then the program's own frames. The exit code is 0, found
or not: what is printed is the answer.

JSON: one object per line and finding: {file, line (its first one), detector,
kind, language or null, exception or null, message, frames [{file, line,
function}] (of the program itself, not of libraries)}.",
    flags: &[
        Flag {
            long: "process",
            short: None,
            value: Some("NAME"),
            about: "the detectors of this process in agents.toml",
        },
        Flag {
            long: "detectors",
            short: None,
            value: Some("F"),
            about: "a TOML file with `detectors = [...]`",
        },
    ],
    words: Words::Files,
    effect: Effect::Reads,
    run,
};

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
/// Longest file of detectors, bytes.
const DETECTORS_MAX: u64 = 1 << 20;
/// Findings that wait for the end of a trace, at most.
const WAITING_MAX: usize = 10_000;
/// Characters of a headline.
const HEADLINE_MAX: usize = 300;

/// One finding as JSON.
#[derive(Debug, Serialize)]
struct Row<'a> {
    file: &'a str,
    line: u64,
    detector: &'a str,
    kind: &'a str,
    language: Option<&'a str>,
    exception: Option<&'a str>,
    message: &'a str,
    frames: Vec<Place<'a>>,
}

#[derive(Debug, Serialize)]
struct Place<'a> {
    file: &'a str,
    line: u64,
    function: &'a str,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let detectors = detectors(invocation)?;
    for word in &invocation.words {
        scan(Path::new(word), &detectors, invocation.json, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn detectors(invocation: &Invocation) -> Result<Vec<DetectorConfig>> {
    match (invocation.value("process")?, invocation.path("detectors")) {
        (Some(_), Some(_)) => Err(Error::usage("`--process` and `--detectors` exclude each other")),
        (None, None) => {
            let name = "traceback".to_owned();
            Ok(vec![DetectorConfig { name, kind: DetectorKind::Traceback, cooldown_s: 0.0 }])
        }
        (Some(name), None) => {
            let config = load::config(invocation)?;
            let name = UnitName::new(name).map_err(Error::usage)?;
            let unit = load::unit(&config, &name)?;
            let process = unit.process().ok_or_else(|| Error::usage(format!("`{name}` is not a process")))?;
            Ok(process.detectors.clone())
        }
        (None, Some(path)) => {
            let text = env::read_capture(path, DETECTORS_MAX).map_err(as_usage)?;
            let text = text.ok_or_else(|| missing(path))?;
            let shown = shown(path.as_os_str());
            parse_detectors(&shown, &text).map_err(|problems| Error::new(Kind::Usage, problems.trim_end()))
        }
    }
}

fn missing(path: &Path) -> Error {
    Error::usage(format!("there is no file `{}`", shown(path.as_os_str())))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn as_usage(error: Error) -> Error {
    Error::new(Kind::Usage, error.message())
}

fn scan(path: &Path, detectors: &[DetectorConfig], json: bool, out: &mut Out) -> Result<()> {
    let mut stream = env::open_stream(path).map_err(as_usage)?.ok_or_else(|| missing(path))?;
    let name = path.to_string_lossy();
    let mut scanner = Scanner::new(detectors, Position::default());
    let mut piece = vec![0; PIECE];
    let mut found = Vec::new();
    loop {
        let read = match stream.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::from(error).at(path).doing("reading")),
        };
        match piece.get(..read) {
            None | Some([]) => scanner.finish(&mut found),
            Some(bytes) => scanner.feed(bytes, &mut found),
        }
        // A trace is known only at its end: what was found meanwhile waits, so that all stands in the order of its lines.
        if !scanner.is_open() || found.len() >= WAITING_MAX || read == 0 {
            found.sort_by_key(|finding| finding.line);
            for finding in found.drain(..) {
                if json { print_json(&name, &finding, out) } else { print(&name, &finding, out) }
            }
        }
        if read == 0 {
            return Ok(());
        }
    }
}

fn print_json(file: &str, finding: &Finding, out: &mut Out) {
    let own = finding.frames.iter().filter(|frame| !frame.library);
    let row = Row {
        file,
        line: finding.line,
        detector: &finding.detector,
        kind: finding.kind.word(),
        language: finding.language.map(Language::word),
        exception: finding.exception.as_deref(),
        message: &finding.message,
        frames: own.map(place).collect(),
    };
    if let Ok(line) = serde_json::to_string(&row) {
        out.line(&line);
    }
}

fn place(frame: &Frame) -> Place<'_> {
    Place { file: &frame.file, line: frame.line, function: &frame.function }
}

fn print(file: &str, finding: &Finding, out: &mut Out) {
    let what = headline(finding);
    out.painted(Paint::Trouble, &format!("{file}:{}: {}: {what}", finding.line, finding.detector));
    for frame in finding.frames.iter().filter(|frame| !frame.library) {
        let function =
            if frame.function.is_empty() { String::new() } else { format!(" in {}", frame.function) };
        let frame = one_line(&format!("{}:{}{function}", frame.file, frame.line), HEADLINE_MAX);
        out.line(&format!("    {frame}"));
    }
    for cause in &finding.chain {
        let cause = one_line(&format!("{}: {}", cause.exception, cause.message), HEADLINE_MAX);
        out.line(&format!("    with {cause}"));
    }
}

fn headline(finding: &Finding) -> String {
    let text = match finding.exception.as_deref() {
        None => finding.message.clone(),
        Some("") => "a traceback that was cut short".to_owned(),
        Some(exception) if finding.message.is_empty() => exception.to_owned(),
        Some(exception) => format!("{exception}: {}", finding.message),
    };
    one_line(&text, HEADLINE_MAX)
}

//! Transcripts of agent CLIs: bytes of complete lines in, usage by response and rendered entries out. Pure.
//!
//! What is counted is normalised: input without cached parts, output with reasoning. Each response counts once; the last
//! record of its id wins. Deliberately not here: finding and reading files (`sys`), sums over files (`state::tokens`),
//! opencode (its usage is in SQLite) and aider (its chat history has rounded figures only): they are not counted.
//!
//! Hostile input: a line that is no JSON, or nested deeper than 128 levels (the limit of `serde_json`), is skipped; one
//! that is longer than [`LINE_MAX`] is skipped unread; bytes that are not UTF-8 become `�` first.

mod claude;
mod codex;
mod demo;
mod entry;
mod gemini;
pub mod owner;
mod qwen;
mod sha256;

pub use entry::{Entry, Role, clean, verbatim};

use crate::base::time::Wall;
use crate::model::usage::{Counted, ReaderState, Totals};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// Longest line that is read, bytes. Records that state usage are far shorter in every CLI: a response of 128k tokens
/// is about half a megabyte.
pub const LINE_MAX: usize = 1 << 20;
/// Longest whole-file JSON that is read (sessions of older gemini versions), bytes.
pub const DOCUMENT_MAX: u64 = 4 << 20;

/// Whose transcripts can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// Qwen Code.
    Qwen,
    /// The scripted agent of this program.
    Demo,
}

/// Where a CLI keeps its transcripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Variable of the CLI that moves `home`.
    pub home_env: &'static str,
    /// The CLI's folder, `{home}` as slot.
    pub home: &'static str,
    /// The transcripts' folder in it, `{cwd_dashed}` as slot.
    pub below: &'static str,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 5] = [Format::Claude, Format::Codex, Format::Gemini, Format::Qwen, Format::Demo];

    /// The format of a backend's transcripts: by its name, else by the folder that it names or the program that it runs.
    pub fn of(backend: &str, transcript_dir: Option<&str>, command: &[String]) -> Option<Format> {
        let program = command.first().map(|path| path.rsplit('/').next().unwrap_or(path)).unwrap_or_default();
        let named = |name: &str| Format::ALL.into_iter().find(|format| format.name() == name);
        let in_dir =
            |dir: &str| Format::ALL.into_iter().find(|format| dir.contains(&format!("/.{}/", format.name())));
        // This very program, under whatever name, with its scripted agent.
        let scripted = || command.get(1).is_some_and(|word| word == "demo-agent").then_some(Format::Demo);
        named(backend)
            .or_else(|| transcript_dir.and_then(in_dir))
            .or_else(|| named(program))
            .or_else(scripted)
    }

    /// Its name, as of the backend.
    pub fn name(self) -> &'static str {
        match self {
            Format::Claude => "claude",
            Format::Codex => "codex",
            Format::Gemini => "gemini",
            Format::Qwen => "qwen",
            Format::Demo => "demo",
        }
    }

    /// Where it keeps its transcripts. Sources: fixtures of Claude Code 2.1.197, Codex 0.169, Gemini CLI 0.61 and Qwen
    /// Code 0.15, and the programs' texts.
    pub fn place(self) -> Place {
        match self {
            Format::Claude => Place {
                home_env: "CLAUDE_CONFIG_DIR",
                home: "{home}/.claude",
                below: "projects/{cwd_dashed}",
            },
            Format::Codex => Place { home_env: "CODEX_HOME", home: "{home}/.codex", below: "sessions" },
            Format::Gemini => Place { home_env: "", home: "{home}/.gemini", below: "tmp" },
            Format::Qwen => {
                Place { home_env: "", home: "{home}/.qwen", below: "projects/{cwd_dashed}/chats" }
            }
            Format::Demo => {
                Place { home_env: "DEMO_HOME", home: "{home}/.demo-agent", below: "{cwd_dashed}" }
            }
        }
    }

    /// Where they lie as the backend says. What only repeats the CLI's standard gives way to the variable that moves it.
    pub fn below(self, transcript_dir: Option<&str>) -> &str {
        let place = self.place();
        let repeats = |dir: &&str| {
            dir.strip_prefix(place.home).and_then(|rest| rest.strip_prefix('/')) == Some(place.below)
        };
        transcript_dir.filter(|dir| !repeats(dir)).unwrap_or(place.below)
    }

    /// Is a file of this name in that folder a transcript?
    pub fn is_transcript(self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        match self {
            Format::Claude | Format::Qwen | Format::Demo => name.ends_with(".jsonl"),
            Format::Codex => name.starts_with("rollout-") && name.ends_with(".jsonl"),
            Format::Gemini => {
                path.contains("/chats/")
                    && (name.ends_with(".jsonl") || (name.starts_with("session-") && is_document(name)))
            }
        }
    }
}

/// Is this file one JSON document that is written anew with every change, instead of lines?
pub fn is_document(path: &str) -> bool {
    path.ends_with(".json")
}

/// Why a backend's tokens are not counted; None when they are, or when nobody expects it (a shell).
pub fn uncounted(backend: &str) -> Option<&'static str> {
    match backend {
        "opencode" => Some("opencode keeps its usage in a SQLite database, which is not read"),
        "aider" => Some("aider writes rounded figures only (`Tokens: 2.6k sent`)"),
        _ => None,
    }
}

/// Reads one complete line: adds what it states to `out`.
pub fn count_line(format: Format, state: &mut ReaderState, line: &[u8], out: &mut Vec<Counted>) {
    if line.len() > LINE_MAX {
        return;
    }
    let text = String::from_utf8_lossy(line);
    // Most lines are long and state nothing: a search is cheaper than a parse.
    let marks: &[&str] = match format {
        Format::Claude => &["\"usage\""],
        Format::Codex => &["token_", "session_meta", "\"turn_", "task_started"],
        Format::Gemini => &["\"tokens\""],
        Format::Qwen => &["\"usageMetadata\""],
        Format::Demo => &["\"usage\"", "\"start\""],
    };
    // Codex tells copied history by the times of all lines.
    let all = format == Format::Codex && state.forked && !state.own;
    if !all && !marks.iter().any(|mark| text.contains(mark)) {
        return;
    }
    let Ok(record) = serde_json::from_str::<Value>(&text) else { return };
    count(format, state, &record, out);
}

/// The same for a whole document.
pub fn count_document(format: Format, bytes: &[u8], out: &mut Vec<Counted>) {
    let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
    let Ok(record) = serde_json::from_str::<Value>(&text) else { return };
    count(format, &mut ReaderState::default(), &record, out);
}

fn count(format: Format, state: &mut ReaderState, record: &Value, out: &mut Vec<Counted>) {
    match format {
        Format::Claude => out.extend(claude::count(record)),
        Format::Codex => out.extend(codex::count(state, record)),
        Format::Gemini => gemini::count(record, out),
        Format::Qwen => out.extend(qwen::count(record)),
        Format::Demo => out.extend(demo::count(state, record)),
    }
}

/// Renders one complete line: what was said and done in it.
pub fn entries(format: Format, line: &[u8]) -> Vec<Entry> {
    if line.len() > LINE_MAX {
        let text = format!("(a record of {} bytes)", line.len());
        return vec![Entry { at: None, role: Role::System, tool: None, text }];
    }
    document_entries(format, line)
}

/// The same for a whole document.
pub fn document_entries(format: Format, bytes: &[u8]) -> Vec<Entry> {
    let text = String::from_utf8_lossy(bytes);
    let Ok(record) = serde_json::from_str::<Value>(&text) else { return Vec::new() };
    match format {
        Format::Claude => claude::entries(&record),
        Format::Codex => codex::entries(&record),
        Format::Gemini => gemini::entries(&record),
        Format::Qwen => qwen::entries(&record),
        Format::Demo => demo::entries(&record),
    }
}

/// What the first lines of a file say about its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The session; a sub-agent's file names that of its parent where the CLI does.
    pub session: Option<String>,
    /// The session that started this one.
    pub parent: Option<String>,
    /// Its working directory.
    pub cwd: Option<String>,
    /// When it began.
    pub started: Option<Wall>,
    /// Gemini: digest of the working directory.
    pub project: Option<String>,
}

/// Reads the beginning of a file: complete lines, or a document.
pub fn head(format: Format, bytes: &[u8]) -> Head {
    let mut head = Head::default();
    for line in bytes.split(|b| *b == b'\n').take(40).filter(|line| line.len() <= LINE_MAX) {
        let Ok(record) = serde_json::from_str::<Value>(&String::from_utf8_lossy(line)) else { continue };
        let at = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let body = if format == Format::Codex { record.get("payload").unwrap_or(&record) } else { &record };
        // A copied history names other sessions further down.
        let first = match format {
            Format::Codex => body.get("id").filter(|_| record["type"] == "session_meta").is_some(),
            Format::Claude | Format::Gemini | Format::Qwen | Format::Demo => true,
        };
        if first {
            let id = match format {
                Format::Codex => "id",
                Format::Demo => "session",
                Format::Claude | Format::Gemini | Format::Qwen => "sessionId",
            };
            head.session = head.session.take().or_else(|| at(body, id));
            let root = at(body, "parent_thread_id").or_else(|| at(body, "session_id"));
            let parent = root.filter(|root| head.session.as_ref() != Some(root));
            head.parent = head.parent.take().or(parent);
            head.cwd = head.cwd.take().or_else(|| at(body, "cwd"));
            head.project = head.project.take().or_else(|| at(body, "projectHash"));
        }
        let time =
            || at(body, "startTime").or_else(|| at(body, "timestamp")).or_else(|| at(&record, "timestamp"));
        let own = if format == Format::Demo { demo::at(&record) } else { None };
        head.started = head.started.or(own).or_else(|| Wall::parse(&time()?));
        if head.session.is_some() && head.started.is_some() && (head.cwd.is_some() || head.project.is_some())
        {
            break;
        }
    }
    if head == Head::default() && format == Format::Gemini {
        return document_head(bytes);
    }
    head
}

/// The head of a document, which may be longer than what was read of it.
fn document_head(bytes: &[u8]) -> Head {
    let text = String::from_utf8_lossy(bytes);
    let field = |key: &str| {
        let (_, rest) = text.split_once(&format!("\"{key}\""))?;
        let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        value.split_once('"').map(|(value, _)| value.to_owned())
    };
    let started = field("startTime").and_then(|time| Wall::parse(&time));
    Head { session: field("sessionId"), project: field("projectHash"), started, ..Head::default() }
}

/// The sum over all lines of a file: each response once, the last record of its id wins.
pub fn totals<'l>(format: Format, lines: impl Iterator<Item = &'l [u8]>) -> Totals {
    let mut sum = Sum::new(format);
    lines.for_each(|line| sum.line(line));
    sum.totals()
}

/// The exact sum of one file, line by line. Memory grows with the number of responses: for a command that reads one file.
#[derive(Debug)]
pub struct Sum {
    format: Format,
    state: ReaderState,
    found: Vec<Counted>,
    by_key: HashMap<u64, Totals>,
}

impl Sum {
    /// Nothing yet.
    pub fn new(format: Format) -> Sum {
        Sum { format, state: ReaderState::default(), found: Vec::new(), by_key: HashMap::new() }
    }

    /// Adds a complete line.
    pub fn line(&mut self, line: &[u8]) {
        count_line(self.format, &mut self.state, line, &mut self.found);
        self.take();
    }

    /// Adds a whole document.
    pub fn document(&mut self, bytes: &[u8]) {
        count_document(self.format, bytes, &mut self.found);
        self.take();
    }

    fn take(&mut self) {
        for counted in self.found.drain(..) {
            self.by_key.insert(counted.key, counted.usage);
        }
    }

    /// The sum.
    pub fn totals(&self) -> Totals {
        self.by_key.values().fold(Totals::default(), |sum, one| sum.plus(one))
    }
}

/// A count in a record; whatever is no number from 0 up is 0.
fn number(object: &Value, key: &str) -> u64 {
    let Some(value) = object.get(key) else { return 0 };
    value.as_u64().or_else(|| value.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64)).unwrap_or(0)
}

fn text<'v>(object: &'v Value, key: &str) -> &'v str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn time(record: &Value) -> Option<Wall> {
    Wall::parse(record.get("timestamp")?.as_str()?)
}

/// The key of a response: the first of these that is there, else the record itself.
fn key(ids: &[&str], record: &Value) -> u64 {
    match ids.iter().find(|id| !id.is_empty()) {
        Some(id) => crate::base::text::digest_u64(id.as_bytes()),
        None => crate::base::text::digest_u64(record.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests;

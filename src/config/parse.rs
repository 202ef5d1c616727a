//! The entry: the text of an `agents.toml` and what it refers to in, a [`Config`] or all its problems out.
//!
//! Deliberately not here: files and the environment. Both are handed in as functions, so that the same text always
//! gives the same answer.

use super::backends::Backends;
use super::interpolate::Places;
use super::problem::{Problem, Severity, Sink};
use super::raw::{DEPTH_MAX, Table, is_shallow};
use super::sequence::sequence;
use super::types::{Config, Tier, Unit};
use super::units::{Context, units};
use super::watchdog::{defaults, watchdog};
use crate::base::names::UnitName;
use crate::base::text::digest;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Longest text that is read, bytes. A fleet of 1000 agents with everything said about each takes half of it.
pub const TEXT_LENGTH_MAX: usize = 1 << 20;

/// Where the state is kept beside the config, unless it or the command line says otherwise.
const STATE_DIR: &str = ".watchkeeper";

/// The text of a config and the world that it refers to.
pub struct Source<'a> {
    /// Of the file, absolute.
    pub path: &'a Path,
    /// What it holds.
    pub text: &'a str,
    /// The operator's home, absolute.
    pub home: &'a Path,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a prompt file (bounded); the error is a fragment that says why not.
    pub read: &'a dyn Fn(&Path) -> Result<String, String>,
    /// The state directory of the command line, absolute; it wins.
    pub state_override: Option<&'a Path>,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .field("length", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// What became of a text.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// There if, and only if, no problem is an error.
    pub config: Option<Config>,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

/// Reads a config. Never fails early: every problem is collected.
pub fn parse(source: &Source<'_>) -> Parsed {
    let sink = Sink::new(source.text);
    let config = if source.text.len() > TEXT_LENGTH_MAX {
        let length = source.text.len();
        sink.wrong(0, format!("the file is {length} bytes long, at most {TEXT_LENGTH_MAX} are read"));
        None
    } else {
        read_text(source, &sink)
    };
    let problems = sink.finish();
    let good = problems.iter().all(|problem| match problem.severity {
        Severity::Error => false,
        Severity::Note => true,
    });
    Parsed { config: config.filter(|_| good), problems }
}

fn read_text(source: &Source<'_>, sink: &Sink<'_>) -> Option<Config> {
    let (document, errors) = DeTable::parse_recoverable(source.text);
    let mut document = document.into_inner();
    for error in errors {
        let at = error.span().map_or(0, |span| span.start).min(source.text.len());
        sink.syntax(at, syntax_message(error.message(), source.text.get(at..).unwrap_or_default()));
    }
    if !is_shallow(&mut document) {
        sink.wrong(0, format!("tables and lists are nested deeper than {DEPTH_MAX}"));
        return None;
    }
    Some(read_document(&document, source, sink))
}

fn read_document<'a>(document: &'a DeTable<'a>, source: &Source<'a>, sink: &'a Sink<'a>) -> Config {
    let folder: PathBuf = source.path.parent().unwrap_or(Path::new("/")).components().collect();
    let places = Places { folder: &folder, home: source.home, env: source.env };
    let root = Table::new(document, 0, "agents.toml", sink);
    let (watchdog, state_dir) = watchdog(&root, &places);
    let defaults = defaults(&root);
    let mut backends = Backends::read(&root, &places);
    if defaults.backend.at > 0 {
        // Wrong even when no agent uses it.
        drop(backends.get(defaults.backend));
    }
    let mut context = Context::new(sink, &places, &defaults, backends, source.read);
    let units = units(&root, &mut context);
    let sequence = sequence(&root, &context, &units);
    if watchdog.triage.is_none() {
        note_unasked(&units, &context, sink);
    }
    later_sections(&root);
    root.finish();
    let state_dir = match source.state_override {
        Some(dir) => dir.to_path_buf(),
        None => state_dir.unwrap_or_else(|| folder.join(STATE_DIR)),
    };
    // Without any unit it is asked: what an edit took out of the config may still live there.
    let needs_tmux = units.is_empty() || units.values().any(|unit| unit.process().is_none());
    Config {
        watchdog,
        needs_tmux,
        session_prefix: defaults.session_prefix.clone(),
        tmux_socket: defaults.tmux_socket.clone(),
        units,
        sequence,
        backends: context.backends.into_made(),
        state_dir,
        digest: digest(source.text.as_bytes()),
        files: vec![source.path.to_path_buf()],
    }
}

/// Legal, for it means extend; but nothing behind that tier ever comes.
fn note_unasked(units: &BTreeMap<UnitName, Unit>, context: &Context<'_>, sink: &Sink<'_>) {
    for unit in units.values().filter(|unit| unit.ladder.tiers.contains(&Tier::Triage)) {
        let at = context.named.get(&unit.name).copied().unwrap_or(0);
        let text = "its ladder has the tier `triage`, but [watchdog] has no `triage` command: what is behind that tier never comes";
        sink.note(at, text);
    }
}

/// Sections of later work: accepted with a note, not looked into.
fn later_sections(root: &Table<'_>) {
    root.later_as("health", "[health]");
    root.later_as("forge", "[forge]");
    root.later_as("notify", "[[notify]]");
}

/// The crate's message as one fragment; `rest` is the text from the error on.
fn syntax_message<'m>(message: &'m str, rest: &str) -> &'m str {
    // It sees an empty string without quotes there; a person sees nothing.
    if message.starts_with("string values must be quoted")
        && rest.trim_start_matches(' ').starts_with(['\n', '\r', '#'])
    {
        return "no value after `=`";
    }
    message.strip_suffix(", expected nothing").unwrap_or(message)
}

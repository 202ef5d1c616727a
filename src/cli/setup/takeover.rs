//! `init --from autosentry.yaml`: another watchdog's configuration, said in ours. What has no counterpart is listed with
//! what to do instead; no key is left out without a word.
//!
//! Source of the keys, their defaults and what they really do: autosentry 0.7.3 to 0.15.1, by its behaviour.
//! Deliberately not here: reading YAML (`yaml`), writing the file.

mod healing;
mod hosts;
mod process;
mod watch;

use super::toml_text::{comment, number, string};
use super::yaml::Node;
use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use serde::Serialize;
use std::cell::RefCell;
use std::fmt::Write as _;

/// Width of comments, characters.
const WIDTH: usize = 110;
/// Most processes that are made of stages.
const STAGES_MAX: usize = 50;
/// Longest time that our keys take, seconds: 366 days.
const SECONDS_MAX: f64 = 31_622_400.0;

/// What became of a configuration.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The agents.toml.
    pub text: String,
    /// Names of its processes.
    pub processes: Vec<String>,
    /// What a person should know.
    pub notes: Vec<Note>,
}

/// One key that did not come through as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Its path in the old file.
    pub key: String,
    /// What became of it.
    pub what: Fate,
    /// What to know or do.
    pub text: String,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is there, with another meaning or in another form.
    Changed,
    /// It has no counterpart.
    LeftOut,
    /// The old program did not know it either.
    Unknown,
}

impl Fate {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Changed => "changed",
            Fate::LeftOut => "left out",
            Fate::Unknown => "unknown",
        }
    }
}

/// The notes so far.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<Vec<Note>>);

impl Notes {
    fn say(&self, what: Fate, key: &str, text: impl Into<String>) {
        let note = Note { key: one_line(key, 120), what, text: one_line(&text.into(), 400) };
        let mut notes = self.0.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    fn changed(&self, key: &str, text: impl Into<String>) {
        self.say(Fate::Changed, key, text);
    }

    fn left_out(&self, key: &str, text: impl Into<String>) {
        self.say(Fate::LeftOut, key, text);
    }
}

/// One map of the old file; what nobody asks for is reported at the end.
#[derive(Debug)]
struct Keys<'a> {
    path: String,
    entries: &'a [(String, Node)],
    used: RefCell<Vec<String>>,
    notes: &'a Notes,
}

impl<'a> Keys<'a> {
    fn new(path: &str, node: &'a Node, notes: &'a Notes) -> Keys<'a> {
        let entries: &[(String, Node)] = match node {
            Node::Map(entries) => entries,
            Node::Scalar { .. } | Node::List(_) => {
                if !node.is_null() {
                    notes.left_out(
                        path,
                        "is no mapping there; the old program would not have started with it",
                    );
                }
                &[]
            }
        };
        Keys { path: path.to_owned(), entries, used: RefCell::default(), notes }
    }

    /// The path of a key, for notes.
    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn get(&self, key: &str) -> Option<&'a Node> {
        self.used.borrow_mut().push(key.to_owned());
        self.entries.iter().find(|(name, _)| name == key).map(|(_, node)| node).filter(|node| !node.is_null())
    }

    fn map(&self, key: &str) -> Option<Keys<'a>> {
        self.get(key).map(|node| Keys::new(&self.at(key), node, self.notes))
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        let node = self.get(key)?;
        let text = node.text();
        if text.is_none() {
            self.notes.left_out(&self.at(key), "is no word");
        }
        text
    }

    fn truth(&self, key: &str) -> Option<bool> {
        let node = self.get(key)?;
        let truth = node.truth();
        if truth.is_none() {
            self.notes.left_out(&self.at(key), "is neither true nor false");
        }
        truth
    }

    /// A number of seconds that our keys take.
    fn seconds(&self, key: &str, least: f64) -> Option<f64> {
        let node = self.get(key)?;
        let seconds = node.number().filter(|seconds| (least..=SECONDS_MAX).contains(seconds));
        if seconds.is_none() {
            let text = format!(
                "must be from {} to {} seconds here; the default is in force",
                number(least),
                number(SECONDS_MAX)
            );
            self.notes.left_out(&self.at(key), text);
        }
        seconds
    }

    fn count(&self, key: &str, most: f64) -> Option<u32> {
        let node = self.get(key)?;
        let count = node.number().filter(|count| count.fract() == 0.0 && (0.0..=most).contains(count));
        if count.is_none() {
            self.notes.left_out(&self.at(key), format!("must be a whole number up to {} here", number(most)));
        }
        count.map(|count| count as u32)
    }

    /// A list of words. A single text is split at spaces, as the old `init` wrote it.
    fn words(&self, key: &str) -> Option<Vec<String>> {
        match self.get(key)? {
            Node::List(list) => {
                let words: Vec<String> =
                    list.iter().filter_map(|node| node.text().map(str::to_owned)).collect();
                if words.len() < list.len() {
                    self.notes.left_out(&self.at(key), "some of its entries are no words");
                }
                Some(words)
            }
            Node::Scalar { text, .. } => {
                self.notes
                    .changed(&self.at(key), "was one text; it is split at its spaces, no shell reads it");
                Some(text.split_whitespace().map(str::to_owned).collect())
            }
            Node::Map(_) => {
                self.notes.left_out(&self.at(key), "is no list of words");
                None
            }
        }
    }

    /// The entries of a list, each with its path.
    fn list(&self, key: &str) -> Vec<(String, &'a Node)> {
        match self.get(key) {
            None => Vec::new(),
            Some(Node::List(list)) => {
                list.iter().enumerate().map(|(n, node)| (format!("{}[{n}]", self.at(key)), node)).collect()
            }
            Some(Node::Scalar { .. } | Node::Map(_)) => {
                self.notes.left_out(&self.at(key), "is no list");
                Vec::new()
            }
        }
    }

    /// Keys without a counterpart, each with what to do instead.
    fn without(&self, table: &[(&str, &str)]) {
        for (key, instead) in table {
            if self.get(key).is_some() {
                self.notes.left_out(&self.at(key), *instead);
            }
        }
    }

    /// Reports what nobody asked for.
    fn finish(self) {
        let used = self.used.borrow();
        for (key, _) in self.entries.iter().filter(|(key, _)| !used.contains(key)) {
            self.notes.say(
                Fate::Unknown,
                &self.at(key),
                "no key of autosentry: it read over it, and so does this",
            );
        }
    }
}

/// What the conversion may ask of the world.
pub struct World<'a> {
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Name for the process when the file has none.
    pub name: &'a str,
    /// The old file as the person calls it.
    pub from: &'a str,
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("name", &self.name).field("from", &self.from).finish_non_exhaustive()
    }
}

/// Takes a configuration over.
pub fn take_over(document: &Node, world: &World<'_>) -> Result<Taken> {
    let Node::Map(_) = document else {
        return Err(Error::usage("is no mapping: is it an autosentry.yaml?"));
    };
    let notes = Notes::default();
    let root = Keys::new("", document, &notes);
    let watch = watch::watch(&root, world);
    let healing = healing::healing(&root, world, &watch);
    let snapshots = snapshots(&root, world);
    let shared = process::Shared { world, watch: &watch, healing: &healing, snapshots: &snapshots };
    let mut body = String::new();
    let processes = process::processes(&root, &shared, &mut body)?;
    let watchdog = monitor(&root);
    others(&root);
    root.finish();
    let notes = notes.0.into_inner();
    Ok(Taken { text: file(world, &watchdog, &body, &notes), processes, notes })
}

fn file(world: &World<'_>, watchdog: &str, body: &str, notes: &[Note]) -> String {
    let from = one_line(world.from, 200);
    let mut text = comment(
        &format!(
            "Taken over from {from} by `watchkeeper init --from`. `watchkeeper check` validates it, `watchkeeper run` \
             starts it. What did not come through as it was stands at the end."
        ),
        WIDTH,
    );
    text.push('\n');
    text.push_str(watchdog);
    text.push_str(body);
    if !notes.is_empty() {
        let _ = writeln!(text, "\n# From {from}, what did not come through as it was:");
        for note in notes {
            text.push_str(&comment(&format!("- {} ({}): {}", note.key, note.what.word(), note.text), WIDTH));
        }
    }
    text
}

fn snapshots(root: &Keys<'_>, world: &World<'_>) -> Vec<String> {
    let mut kept = Vec::new();
    for path in root.words("config_snapshots").unwrap_or_default() {
        let name = path.rsplit('/').next().unwrap_or_default();
        if name == ".env" || name.starts_with(".env.") {
            let text = format!("{path} holds secrets: it went into every incident, and no longer does");
            root.notes.left_out("config_snapshots", text);
        } else if !path.is_empty() {
            kept.push(places(&path, "config_snapshots", world, root.notes));
        }
    }
    kept
}

fn monitor(root: &Keys<'_>) -> String {
    let mut text = String::new();
    let Some(monitor) = root.map("monitor") else { return text };
    if let Some(seconds) = monitor.seconds("poll_interval_seconds", 0.01) {
        let _ = writeln!(
            text,
            "[watchdog]\n# Between two rounds. A failure in the log begins one at once.\nsignal_interval = {}\n",
            number(seconds)
        );
    }
    monitor.without(&[
        ("stall_timeout_seconds", "autosentry did not use it; a stall is a detector: { kind = \"stall\", no_progress_s = … }"),
        ("log_dir", "the output of a process is .watchkeeper/units/NAME/out.log; `state_dir` of [watchdog] moves all of it"),
        ("log_tail_lines", "not needed: output is read as it comes, by bytes"),
        ("log_excerpt_lines", "an incident has 200 lines before and after the failure"),
        ("dead_child_grace_seconds", "not needed: the end of a process is seen at once, and never forgotten"),
    ]);
    monitor.finish();
    text
}

/// Sections that have no counterpart.
fn others(root: &Keys<'_>) {
    if let Some(explode) = root.map("source_explode") {
        explode.without(&[
            ("enabled", "source frames are always there"),
            ("context_lines", "the enclosing function is shown, or the lines around"),
            ("languages", "Python, JavaScript, TypeScript, Go, Rust and Java, always"),
            ("skip_paths", "frames of libraries are recognised and only named"),
            ("max_frames", "bounded without a setting"),
        ]);
        explode.finish();
    }
    for (path, notifier) in root.list("notifiers") {
        let keys = Keys::new(&path, notifier, root.notes);
        let instead = match keys.text("kind") {
            Some("log") | None => "not needed: everything is in .watchkeeper/events and `watchkeeper events`",
            Some(_) => "alerts are lines of .watchkeeper/outbox.jsonl; nothing carries them to a chat yet",
        };
        for key in ["outbox_path", "channel", "thread_key", "url"] {
            let _ = keys.get(key);
        }
        keys.finish();
        root.notes.left_out(&path, instead);
    }
    for (key, instead) in [
        ("dispatch", "an agent answers with `watchkeeper respond`; healing.agent = \"interactive\" asks it"),
        ("vault", "incidents are joined by fingerprint: `watchkeeper incidents list`, `watchkeeper analyze`"),
        ("state_path", "all that is remembered is in `state_dir` of [watchdog], .watchkeeper"),
        ("incidents_dir", "incidents are in .watchkeeper/incidents"),
    ] {
        root.without(&[(key, instead)]);
    }
}

/// A text with autosentry's variables (`$NAME`, `${NAME}`, upper case, unknown ones left alone) in our form. Ours replaces
/// `${NAME}` only, and misses what is not set: such a one is left a plain `$NAME`.
fn places(text: &str, key: &str, world: &World<'_>, notes: &Notes) -> String {
    let mut out = String::new();
    for (before, variable) in variables(text) {
        out.push_str(before);
        let Some((name, braces)) = variable else { continue };
        let known = is_upper(name) && (world.env)(name).is_some();
        if known {
            let _ = write!(out, "${{{name}}}");
        } else {
            let _ = write!(out, "${name}");
            if braces {
                notes.changed(key, format!("the variable {name} is not set: it is left as the word ${name}"));
            }
        }
    }
    out
}

/// A text in which autosentry's variables have their present values: for patterns.
fn filled_in(text: &str, key: &str, world: &World<'_>, notes: &Notes) -> String {
    let mut out = String::new();
    for (before, variable) in variables(text) {
        out.push_str(before);
        let Some((name, braces)) = variable else { continue };
        match (world.env)(name).filter(|_| is_upper(name)) {
            Some(value) => {
                notes.changed(key, format!("{name} is replaced by its present value"));
                out.push_str(&value);
            }
            None if braces => {
                let _ = write!(out, "${{{name}}}");
            }
            None => {
                let _ = write!(out, "${name}");
            }
        }
    }
    out
}

fn is_upper(name: &str) -> bool {
    !name.contains(|c: char| c.is_ascii_lowercase())
}

/// The text in pieces: what stands before a variable, and the variable with whether it has braces.
fn variables(text: &str) -> Vec<(&str, Option<(&str, bool)>)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut from = 0;
    while let Some(at) = rest[from..].find('$').map(|at| at + from) {
        let after = &rest[at + 1..];
        let (body, braces) = after.strip_prefix('{').map_or((after, false), |body| (body, true));
        let end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
        let name = &body[..end];
        let closed = !braces || body[end..].starts_with('}');
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !closed {
            from = at + 1;
            continue;
        }
        pieces.push((&rest[..at], Some((name, braces))));
        rest = &body[end + usize::from(braces)..];
        from = 0;
    }
    pieces.push((rest, None));
    pieces
}

/// A line that is commented out because its part did not come through.
fn line(out: &mut String, works: Works, text: &str) {
    let mark = match works {
        Works::Yes => "",
        Works::No => "# ",
    };
    let _ = writeln!(out, "  {mark}{text},");
}

/// Whether a part can be used as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Works {
    Yes,
    No,
}

fn pair(key: &str, value: &str) -> String {
    format!("{key} = {}", string(value))
}

#[cfg(test)]
#[path = "takeover_tests.rs"]
mod tests;

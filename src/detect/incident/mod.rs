//! An incident's folder as bytes: what was read from the world goes in, the files come out. Every text is masked and free of
//! control characters, and everything is bounded.
//!
//! Deliberately not here: reading and writing (`engine::incident`), and what is done about it (`policy`).

pub mod advice;
pub mod configs;
pub mod excerpt;
pub mod frames;
pub mod keep;
pub mod report;

use super::mask::{self, mask};
use super::secrets::{self, Secrets};
use crate::base::text::one_line;
use crate::base::time::Wall;
use crate::model::finding::FindingKind;
use crate::model::incident::IncidentOrder;
use configs::ConfigSeen;
use excerpt::Excerpt;
use frames::FrameSeen;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Longest trace that is kept, bytes.
const TRACE_MAX: usize = 256 << 10;
/// Longest message in the index, characters.
const MESSAGE_MAX: usize = 200;

/// What was read from the world for one folder.
#[derive(Clone, Debug)]
pub struct Material<'a> {
    /// What was found, and what was chosen.
    pub order: &'a IncidentOrder,
    /// How often it came so far.
    pub repeats: Repeats,
    /// The local time zone, for people.
    pub zone: &'a str,
    /// The unit's state, as JSON.
    pub state: String,
    /// The log around the finding.
    pub excerpt: Excerpt,
    /// The finding's frames that are shown, in printed order.
    pub frames: Vec<FrameSeen>,
    /// The files that were asked for.
    pub configs: Vec<ConfigSeen>,
    /// What is to be done now, where that is not what the remedy says.
    pub outlook: Option<&'a str>,
    /// What must not be read anywhere.
    pub secrets: &'a Secrets,
}

/// How often a failure came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repeats {
    /// Times, the first included.
    pub count: u32,
    /// First.
    pub first: Wall,
    /// Last.
    pub last: Wall,
}

/// One line of `incidents/index.jsonl`, and the beginning of each `match.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexLine {
    /// The folder's name.
    pub id: String,
    /// When it was found.
    pub at: Wall,
    /// Whose.
    pub unit: String,
    /// The detector.
    pub detector: String,
    /// What sort of finding.
    pub kind: FindingKind,
    /// The exception's type.
    pub exception: Option<String>,
    /// What it says, masked.
    pub message: String,
    /// Joins repeats.
    pub fingerprint: String,
    /// Who chose the remedy: a rule's name, `default`, `agent`.
    pub source: String,
    /// The remedy.
    pub action: String,
}

impl IndexLine {
    /// Of an order.
    pub fn new(order: &IncidentOrder) -> IndexLine {
        IndexLine {
            id: order.id.clone(),
            at: order.at,
            unit: order.unit.to_string(),
            detector: order.finding.detector.clone(),
            kind: order.finding.kind,
            exception: order.finding.exception.as_deref().map(|name| one_line(name, MESSAGE_MAX)),
            message: one_line(&mask(&order.finding.message), MESSAGE_MAX),
            fingerprint: order.fingerprint.clone(),
            source: order.remedy.source.word().to_owned(),
            action: order.remedy.action.clone(),
        }
    }

    /// `ValueError: shapes differ`: what broke, on one line.
    pub fn headline(&self) -> String {
        match &self.exception {
            Some(name) if self.message.is_empty() => name.clone(),
            Some(name) => format!("{name}: {}", self.message),
            None if self.message.is_empty() => format!("{} found something", self.detector),
            None => self.message.clone(),
        }
    }
}

/// All files of the folder: name and bytes.
pub fn files(material: &Material<'_>) -> Vec<(String, Vec<u8>)> {
    let order = material.order;
    let mut files: Vec<(String, String)> = vec![("report.md".to_owned(), report::page(material))];
    let trace = readable(&order.finding.text, TRACE_MAX);
    if order.finding.kind == FindingKind::Traceback && !trace.is_empty() {
        files.push(("trace.txt".to_owned(), format!("{}\n", trace.trim_end())));
    }
    files.push(("log_excerpt.txt".to_owned(), material.excerpt.page()));
    files.extend(material.frames.iter().enumerate().map(|(n, frame)| frame.page(n + 1)));
    files.extend(configs::pages(&material.configs));
    files.push(("state.json".to_owned(), format!("{}\n", material.state.trim_end())));
    files.push(("match.json".to_owned(), pretty(&matched(order))));
    files.push(("repeats.json".to_owned(), pretty(&json!(material.repeats))));
    files.push(("fix/action.json".to_owned(), pretty(&action(order))));
    // The page and the frames are masked piece by piece, and once more as a whole: what slipped through in a corner is caught.
    files.into_iter().map(|(name, text)| (name, material.secrets.mask(&text).into_bytes())).collect()
}

/// The order without secrets. Before anything is cut or wrapped: half of a secret would not be known as one.
pub fn masked(order: &IncidentOrder, secrets: &Secrets) -> IncidentOrder {
    let mut order = order.clone();
    let hide = |text: &mut String| *text = secrets.mask(text);
    let finding = &mut order.finding;
    [&mut finding.message, &mut finding.text].into_iter().for_each(hide);
    finding.exception.iter_mut().for_each(hide);
    finding.captures.values_mut().for_each(hide);
    for cause in &mut finding.chain {
        [&mut cause.exception, &mut cause.message].into_iter().for_each(hide);
    }
    order.notes.iter_mut().for_each(hide);
    hide(&mut order.remedy.why);
    order.remedy.instead = None;
    for set in [&mut order.remedy.set, &mut order.place.overlay] {
        for (name, value) in set.iter_mut() {
            let pair = secrets.mask(&format!("{name}={value}"));
            *value = pair.strip_prefix(&format!("{name}=")).unwrap_or(mask::MASK).to_owned();
        }
    }
    for argv in [&mut order.place.command, &mut order.remedy.argv] {
        *argv = secrets::argv(argv).iter().map(|arg| secrets.hide(arg)).collect();
    }
    order
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default())
}

/// What was found, and by what.
fn matched(order: &IncidentOrder) -> serde_json::Value {
    let finding = &order.finding;
    let mut value = serde_json::to_value(IndexLine::new(order)).unwrap_or_default();
    let more = json!({
        "v": 1,
        "run": order.run,
        "run_since": order.run_since,
        "over": order.over,
        "restarts": order.restarts,
        "why": order.remedy.why,
        "log": order.place.log,
        "line": finding.line,
        "from_byte": finding.at,
        "to_byte": finding.end,
        "language": finding.language,
        "chain": finding.chain,
        "frames": finding.frames,
        "captures": finding.captures,
        "value": finding.value,
        "recent": finding.recent,
        "exit": finding.exit,
        "command": order.place.command,
        "host": order.place.host,
        "env": order.place.env,
        "env_changed": order.place.overlay,
    });
    if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}

fn action(order: &IncidentOrder) -> serde_json::Value {
    let remedy = &order.remedy;
    json!({
        "v": 1,
        "action": remedy.action,
        "source": remedy.source,
        "set": remedy.set,
        "argv": remedy.argv,
        "why": remedy.why,
        "at": order.at,
    })
}

/// Text for people: control characters and escape sequences taken out, tabs as blanks, at most so many bytes.
pub fn readable(text: &str, max: usize) -> String {
    let text = without_escapes(text);
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if out.len() >= max {
            out.push_str("\n… (cut)");
            break;
        }
        match c {
            '\t' => out.push_str("    "),
            '\n' => out.push('\n'),
            // A progress bar draws over itself: each state is a line.
            '\r' if !out.ends_with('\n') => out.push('\n'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Without CSI and OSC sequences, which would leave their parameters behind as text.
fn without_escapes(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    if !text.contains('\x1b') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c) && c != '\n') {},
            // An OSC ends with BEL or ESC \; one that never ends takes at most its line with it.
            Some(']') => {
                while let Some(c) = chars.peek().copied().filter(|c| *c != '\n') {
                    chars.next();
                    if c == '\x07' {
                        break;
                    }
                    if c == '\x1b' {
                        chars.next();
                        break;
                    }
                }
            }
            Some(_) | None => {}
        }
    }
    out
}

/// A fence that the text can't close.
pub fn fenced(info: &str, text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{info}\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

/// Text within a line of Markdown: on one line, and no comment of ours.
pub fn inline(text: &str, max: usize) -> String {
    one_line(&mask(&readable(text, max.saturating_mul(8))), max).replace("<!--", "<! --").replace('`', "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_made_readable() {
        assert_eq!(
            readable("a\x1b[31mred\x1b[0m\x1b]0;title\x07b\r\nc\td\u{202e}\x00", 100),
            "aredb\nc    d"
        );
        assert_eq!(readable("10%\r20%\r\n30%", 100), "10%\n20%\n30%");
        assert_eq!(readable("x\x1b]never ends\ny", 100), "x\ny");
        assert!(readable(&"ä".repeat(1000), 100).len() < 120);
    }

    #[test]
    fn a_text_never_closes_its_fence() {
        assert_eq!(fenced("", "a\n"), "```\na\n```\n");
        assert_eq!(fenced("text", "x ```` y"), "`````text\nx ```` y\n`````\n");
    }
}

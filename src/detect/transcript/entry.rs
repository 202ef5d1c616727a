//! One thing that was said or done, on one line for people and `grep`: control bytes gone, secrets masked, bounded.

use crate::base::text::{one_line, strip_controls};
use crate::base::time::Wall;
use crate::detect::mask::mask;
use serde::Serialize;
use serde_json::Value;

/// Longest text that is masked and cleaned, bytes: more is cut before.
const RAW_MAX: usize = 64 << 10;
/// Longest text of an entry, characters.
const TEXT_MAX: usize = 4000;

/// Who said or did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person, or what was typed for one.
    User,
    /// The model.
    Assistant,
    /// The model, to itself.
    Thinking,
    /// A tool is called.
    Tool,
    /// What a tool answered.
    Result,
    /// The CLI.
    System,
    /// Something failed.
    Error,
}

impl Role {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Thinking => "thinking",
            Role::Tool => "tool",
            Role::Result => "result",
            Role::System => "system",
            Role::Error => "error",
        }
    }
}

/// One thing that was said or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, as the record says.
    pub at: Option<Wall>,
    /// Who.
    pub role: Role,
    /// Which tool.
    pub tool: Option<String>,
    /// What, on one line.
    pub text: String,
}

impl Entry {
    /// Cleans what a record says.
    pub(super) fn new(at: Option<Wall>, role: Role, tool: Option<&str>, said: impl AsRef<str>) -> Entry {
        let tool = tool.map(|tool| one_line(tool, 60)).filter(|tool| !tool.is_empty());
        Entry { at, role, tool, text: clean(said.as_ref()) }
    }
}

/// A text on one line: escape sequences and control bytes gone, secrets masked, bounded.
pub fn clean(text: &str) -> String {
    let text = text.get(..floor(text, RAW_MAX)).unwrap_or(text);
    one_line(&mask(&without_escapes(text)), TEXT_MAX)
}

/// A program's line as it stands there, its blanks too: escape sequences and control bytes gone, secrets masked, bounded.
pub fn verbatim(text: &str) -> String {
    let text = text.get(..floor(text, RAW_MAX)).unwrap_or(text);
    let text = without_escapes(text.trim_end()).replace('\t', "    ");
    let plain: String =
        strip_controls(&mask(&text)).chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
    match plain.char_indices().nth(TEXT_MAX) {
        Some((cut, _)) => format!("{}…", plain.get(..cut).unwrap_or_default()),
        None => plain.trim_end().to_owned(),
    }
}

/// The last boundary of a character at or below `max`.
fn floor(text: &str, max: usize) -> usize {
    (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Takes out CSI, OSC and the other escape sequences of ECMA-48 whole, not only their ESC.
fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\u{9b}', _) | ('\x1b', Some('[')) => {
                if c == '\x1b' {
                    chars.next();
                }
                // Parameters and intermediates, then one final byte.
                while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
                chars.next_if(|c| ('@'..='~').contains(c));
            }
            ('\x1b', Some(']' | 'P' | '^' | '_')) => {
                // A string, until BEL or ST; one that never ends hides no more than its line.
                while let Some(c) = chars.next_if(|c| *c != '\n') {
                    if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            ('\x1b', Some(_)) => {
                chars.next();
            }
            ('\x1b', None) => {}
            (c, _) => out.push(c),
        }
    }
    out
}

/// A JSON value as short text: strings as they are, texts of content blocks joined, the rest as JSON.
pub(super) fn compact(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let parts: Vec<String> = items.iter().map(|item| compact(Some(item))).collect();
            parts.join(" ")
        }
        Some(Value::Object(map)) => {
            let known = ["text", "output", "error", "content"].iter().find_map(|key| map.get(*key)?.as_str());
            let inner = map.get("functionResponse").and_then(|answer| answer.get("response"));
            match (known, inner) {
                (Some(text), _) => text.to_owned(),
                (None, Some(inner)) => compact(Some(inner)),
                (None, None) => Value::Object(map.clone()).to_string(),
            }
        }
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_line_keeps_its_shape() {
        assert_eq!(verbatim("  File \"a.py\", line 3"), "  File \"a.py\", line 3");
        assert_eq!(verbatim("    \x1b[31m~~^~~\x1b[0m\t x\r\n"), "    ~~^~~     x");
        assert_eq!(verbatim("10%\r20%\r\n"), "10% 20%");
        assert_eq!(verbatim(" \t\n"), "");
        assert_eq!(verbatim(&"ä".repeat(1 << 20)).chars().count(), TEXT_MAX + 1);
    }

    #[test]
    fn texts_are_one_clean_line() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(clean(text), want);
        }
        check("a\n\n  b\tc", "a b c");
        check("\x1b[1;31mred\x1b[0m \x1b]0;title\x07x \x1b]8;;http://e\x1b\\link", "red x link");
        check("\u{9b}2Jx\x1bcy\x1b", "xy");
        check("\x1b]never ends\nnext", "next");
        check("a\u{202e}b\0c\x07", "abc");
        check("key sk-ant-api03-AAAAAAAAAAAAAAAAAAAAAAAA ok", "key [masked] ok");
        assert_eq!(clean(&"ä".repeat(1 << 20)).chars().count(), TEXT_MAX);
    }
}

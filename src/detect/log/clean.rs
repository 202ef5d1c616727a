//! A line of a log as a trace reader wants it: terminal sequences gone, overwritten parts gone, the logger's prefix known.
//!
//! Deliberately not here: what the line means.

use std::borrow::Cow;

/// Bytes of a line that are looked at; what follows in a longer line is skipped.
pub const LINE_MAX: usize = 64 * 1024;
/// Bytes of a line that a trace reader gets, unless it may hold a whole trace in quotes.
const TRACE_LINE_MAX: usize = 4 * 1024;
/// Longest prefix of a logger that is remembered.
const PREFIX_MAX: usize = 200;

/// The line without its ending, escape sequences, and what a carriage return overwrote.
pub fn line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LINE_MAX)]);
    let text = text.trim_end_matches(['\r', '\n']);
    let text = strip_escapes(text);
    let text = text.rsplit('\r').next().unwrap_or_default();
    match unwrap_json_log(text) {
        Some(inner) => inner,
        None if text.len() > TRACE_LINE_MAX && !text.contains("\\n") => cut(text, TRACE_LINE_MAX).to_owned(),
        None => text.to_owned(),
    }
}

/// At most `max` bytes, at a character's edge.
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Without CSI, OSC and two-byte escape sequences. Source: ECMA-48, 5.3 and 5.4.
fn strip_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
            Some(']') => {
                while let Some(c) = chars.next() {
                    if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            Some(_) | None => {}
        }
    }
    Cow::Owned(out)
}

/// The text of a line of docker's `json-file` driver: `{"log":"text\n","stream":"stderr","time":"…"}`.
fn unwrap_json_log(text: &str) -> Option<String> {
    if !text.starts_with("{\"log\":\"") {
        return None;
    }
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let inner = value.get("log")?.as_str()?;
    let inner = strip_escapes(inner.trim_end_matches(['\r', '\n'])).into_owned();
    Some(inner.rsplit('\r').next().unwrap_or_default().to_owned())
}

/// What a line of JSON tells beside a stack that has no message of its own.
pub fn said(text: &str) -> Option<String> {
    const KEYS: [&str; 6] = ["panic", "recover", "error", "err", "message", "msg"];
    let value: serde_json::Value = serde_json::from_str(text.get(text.find('{')?..)?).ok()?;
    let said = KEYS.iter().find_map(|key| value.get(key)?.as_str())?;
    Some(crate::base::text::strip_controls(cut(said, 1024)))
}

/// A whole trace in one line, as a JSON string (`"stack":"Error: x\n    at f (…)"`) or in another quoted form: its text.
/// `at` is where in the line the sign of a trace stands.
pub fn embedded(text: &str, at: usize) -> Option<String> {
    let bytes = text.as_bytes();
    let open = |quote: u8| {
        // A quote behind a backslash belongs to the text.
        (0..at.min(bytes.len())).rev().find(|i| bytes[*i] == quote && (*i == 0 || bytes[*i - 1] != b'\\'))
    };
    let start = open(b'"').or_else(|| open(b'\''))?;
    let quote = bytes[start];
    let mut end = start + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    let end = end.min(bytes.len());
    let inner = text.get(start + 1..end)?;
    if !inner.contains("\\n") {
        return None;
    }
    if quote == b'"'
        && let Ok(decoded) = serde_json::from_str::<String>(&format!("\"{inner}\""))
    {
        return Some(decoded);
    }
    Some(inner.replace("\\n", "\n").replace("\\t", "\t").replace("\\'", "'").replace("\\\"", "\""))
}

/// What a logger, a container engine or a job scheduler wrote before the first line of a trace, and what of it the lines
/// after it carry too.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    text: String,
    /// How much of it the following lines have; None = not seen yet.
    locked: Option<usize>,
    /// Another source with a prefix of the same shape writes a trace too: only lines of this one's own are read.
    strict: bool,
}

/// How near a line is to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kin {
    /// It carries the prefix; only times differ.
    Same,
    /// It carries nothing of it, or there is none.
    None,
    /// Its prefix has the same shape, and another number where a number names the source: another rank, pid, replica.
    Other,
}

impl Prefix {
    /// What stood before the first line's own text.
    pub fn new(text: &str) -> Prefix {
        if text.len() > PREFIX_MAX {
            return Prefix { text: String::new(), locked: Some(0), strict: false };
        }
        let locked = if text.is_empty() { Some(0) } else { None };
        Prefix { text: text.to_owned(), locked, strict: false }
    }

    /// Whether the line comes from the same source, as far as its prefix tells.
    pub fn kin(&self, line: &str) -> Kin {
        let own = &self.text[..self.locked.unwrap_or(self.text.len())];
        if own.trim().is_empty() {
            return Kin::None;
        }
        match same_shape(own, line) {
            Some(_) if same_source(own, line) => Kin::Same,
            Some(_) => Kin::Other,
            None => Kin::None,
        }
    }

    /// Are only lines of the very same source read?
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// From now on only lines of the very same source are read.
    pub fn be_strict(&mut self) {
        self.strict = true;
    }

    /// The lines carry a prefix, for certain.
    pub fn is_marked(&self) -> bool {
        self.locked.is_some_and(|cut| cut > 0)
    }

    /// It is not known yet what of it the lines carry.
    pub fn is_open(&self) -> bool {
        self.locked.is_none()
    }

    /// How a line reads: how much of the prefix it has, the most that it can have, and what follows. None = it lacks what
    /// is known to be carried.
    pub fn reading<'t>(&self, line: &'t str) -> Option<(usize, &'t str)> {
        if self.strict && self.kin(line) == Kin::Other {
            return None;
        }
        if let Some(cut) = self.locked {
            return Some((cut, self.after(cut, line)?));
        }
        let edges = self.text.char_indices().filter(|(_, c)| " |:>]\t".contains(*c));
        let mut cuts: Vec<usize> = edges.map(|(i, c)| i + c.len_utf8()).collect();
        cuts.push(self.text.len());
        // White space alone is indentation, and no prefix.
        cuts.retain(|cut| *cut == self.text.len() || !self.text[..*cut].trim().is_empty());
        let longest = cuts.into_iter().rev().find_map(|cut| Some((cut, self.after(cut, line)?)));
        Some(longest.unwrap_or((0, line)))
    }

    /// Has the line what is known to be carried?
    pub fn reads(&self, line: &str) -> bool {
        self.reading(line).is_some()
    }

    /// From now on the lines carry so much of it.
    pub fn lock(&mut self, cut: usize) {
        self.locked.get_or_insert(cut);
    }

    /// What follows the first `cut` bytes of the prefix, if the line has their shape. Numbers may differ: they are times
    /// and counters.
    fn after<'t>(&self, cut: usize, line: &'t str) -> Option<&'t str> {
        same_shape(&self.text[..cut], line)
    }
}

/// What follows a prefix of the same shape: digits stand for any digits.
pub fn same_shape<'t>(prefix: &str, line: &'t str) -> Option<&'t str> {
    if let Some(rest) = line.strip_prefix(prefix) {
        return Some(rest);
    }
    let mut rest = line;
    let mut wanted = prefix;
    while let Some(c) = wanted.chars().next() {
        if c.is_ascii_digit() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 {
                return None;
            }
            rest = &rest[digits..];
            wanted = wanted.trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            rest = rest.strip_prefix(c)?;
            wanted = &wanted[c.len_utf8()..];
        }
    }
    Some(rest)
}

/// Of a line that begins with a prefix's shape: are the numbers that name a source the same ones? `[rank0]: ` is not
/// `[rank1]: `; times and counters may differ.
pub fn same_source(prefix: &str, line: &str) -> bool {
    let (own, other) = (prefix.as_bytes(), line.as_bytes());
    let (mut i, mut j) = (0, 0);
    while i < own.len() && j < other.len() {
        if !own[i].is_ascii_digit() {
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let (to, until) = (end_of_digits(own, i), end_of_digits(other, j));
        if own[i..to] != other[j..until] && !is_time(own, i, to) {
            return false;
        }
        (i, j) = (to, until);
    }
    true
}

fn end_of_digits(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Is a run of digits part of a time: beside another one with a time's sign between them, or with its unit, or very long?
fn is_time(bytes: &[u8], from: usize, to: usize) -> bool {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let joins = |byte: u8| b":.-/TZ+".contains(&byte);
    let before =
        from >= 2 && digit(from - 2) && (joins(bytes[from - 1]) || bytes[from - 1] == b',' && to - from >= 3);
    let after = digit(to + 1) && joins(bytes[to]);
    before || after || to - from >= 9 || matches!(bytes.get(to), Some(b's' | b'Z' | b'%' | b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let check = |prefix: &str, line: &str, want: bool| {
            assert!(same_shape(prefix, line).is_some(), "{prefix} {line}");
            assert_eq!(same_source(prefix, line), want, "{prefix} {line}");
        };
        check("[rank0]: ", "[rank1]: x", false);
        check("[rank1]: ", "[rank1]: x", true);
        check("web-1  | ", "web-2  | x", false);
        check("[1,0]<stderr>: ", "[1,1]<stderr>: x", false);
        check("(RayTask pid=12) ", "(RayTask pid=123) x", false);
        check("2026-11-21 08:45:59,123 ERROR ", "2026-11-21 08:46:00,001 ERROR x", true);
        check("2026-11-21T08:45:59.1Z stderr F ", "2026-11-21T08:45:59.123456Z stderr F x", true);
        check("[12.5s] ", "[13.25s] x", true);
        check("1767268800 ", "1767268801 x", true);
        check("Nov 21 08:45:01 host app[12]: ", "Nov 21 08:45:02 host app[12]: x", true);
        check("Nov 21 08:45:01 host app[12]: ", "Nov 21 08:45:02 host app[13]: x", false);
        check("0: ", "1: x", false);
    }

    #[track_caller]
    fn check(input: &[u8], want: &str) {
        assert_eq!(line(input), want);
    }

    #[test]
    fn lines() {
        check(b"plain\r\n", "plain");
        check(b"10%\r20%\rTraceback", "Traceback");
        check(b"\x1b[1;31mpanic:\x1b[0m x", "panic: x");
        check(b"\x1b]0;title\x07panic", "panic");
        check(b"\xff\xfe ok", "\u{fffd}\u{fffd} ok");
        check(br#"{"log":"\u001b[31mTraceback\u001b[0m\r\n","stream":"stderr","time":"2026"}"#, "Traceback");
        check(br#"{"log":"no end"#, r#"{"log":"no end"#);
        check(b"\x1b[", "");
    }

    #[test]
    fn shapes() {
        assert_eq!(same_shape("[12:30] a: ", "[9:45] a: rest"), Some("rest"));
        assert_eq!(same_shape("[12:30] a: ", "[9:45] b: rest"), None);
        assert_eq!(same_shape("", "rest"), Some("rest"));
        assert_eq!(same_shape("ü1 ", "ü22 x"), Some("x"));
    }

    #[test]
    fn quoted_traces() {
        let text = r#"{"m":"a","stack":"Error: \"x\"\n    at f (/a.js:1:2)","n":1}"#;
        let at = text.find("    at ").unwrap_or_default();
        assert_eq!(embedded(text, at).as_deref(), Some("Error: \"x\"\n    at f (/a.js:1:2)"));
        assert_eq!(embedded("no quotes    at ", 9), None);
    }
}

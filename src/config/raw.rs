//! What the file says: tables whose values know where they stand. A [`Table`] hands out each key once, checks its
//! type and range, and at the end reports the keys that nobody asked for.
//!
//! Deliberately not here: what any key means.

use super::problem::{Sink, quoted};
use std::cell::RefCell;
use std::ops::RangeInclusive;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// Deepest nesting of tables and lists that is read. What we know of is five deep.
pub(super) const DEPTH_MAX: usize = 64;

/// A value and the offset where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    pub at: usize,
    pub value: T,
}

/// Seconds that make sense for a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds {
    pub min: f64,
    pub max: f64,
}

/// 366 days: longer than any of our durations can mean.
const YEAR_S: f64 = 31_622_400.0;

impl Seconds {
    /// A length of time that may be nothing.
    pub(super) const DURATION: Seconds = Seconds { min: 0.0, max: YEAR_S };
    /// A time between two of something: nothing would be a busy loop.
    pub(super) const INTERVAL: Seconds = Seconds { min: 0.01, max: YEAR_S };
}

/// One table of the file while it is read.
#[derive(Debug)]
pub(super) struct Table<'a> {
    table: &'a DeTable<'a>,
    /// Where it begins.
    pub at: usize,
    /// What messages call it: `[watchdog]`.
    pub label: String,
    pub sink: &'a Sink<'a>,
    /// Keys that were asked for; they are the known ones.
    known: RefCell<Vec<&'static str>>,
    /// Known keys that are accepted but not acted on.
    later: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    pub(super) fn new(table: &'a DeTable<'a>, at: usize, label: &str, sink: &'a Sink<'a>) -> Table<'a> {
        let (known, later) = (RefCell::default(), RefCell::default());
        Table { table, at, label: label.to_owned(), sink, known, later }
    }

    /// The value of a key, whatever it is.
    pub(super) fn any(&self, key: &'static str) -> Option<At<&'a DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        let value = self.table.get(key)?;
        Some(At { at: value.span().start, value: value.get_ref() })
    }

    /// Whether the key stands there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The string under a key, if it is one; nothing is reported.
    pub(super) fn peek(&self, key: &str) -> Option<&'a str> {
        self.table.get(key)?.get_ref().as_str()
    }

    /// The value under a key of a table inside this one, if it is there; nothing is reported.
    pub(super) fn peek_in(&self, table: &str, key: &str) -> Option<&'a DeValue<'a>> {
        let DeValue::Table(table) = self.table.get(table)?.get_ref() else { return None };
        table.get(key).map(Spanned::get_ref)
    }

    /// What stands under a key, in one form for all spellings; "" when it is missing or empty. Nothing is reported.
    pub(super) fn as_written(&self, key: &str) -> String {
        let value = self.table.get(key).and_then(|value| owned(value.get_ref()));
        let empty = value.as_ref().is_none_or(|value| value.as_table().is_some_and(toml::Table::is_empty));
        if empty { String::new() } else { serde_json::to_string(&value).unwrap_or_default() }
    }

    /// Every key and value, for tables whose keys are the operator's own; none is unknown then.
    pub(super) fn entries(&self) -> impl Iterator<Item = (At<&'a str>, At<&'a DeValue<'a>>)> + use<'a> {
        self.table.iter().map(|(k, v)| (spanned_str(k), At { at: v.span().start, value: v.get_ref() }))
    }

    pub(super) fn string(&self, key: &'static str) -> Option<At<&'a str>> {
        self.string_as(key, "a string")
    }

    /// A string; `what` says what it stands for when it isn't one.
    pub(super) fn string_as(&self, key: &'static str, what: &str) -> Option<At<&'a str>> {
        let At { at, value } = self.any(key)?;
        let DeValue::String(text) = value else {
            return self.mismatch(key, what, at, value);
        };
        Some(At { at, value: &**text })
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let At { at, value } = self.any(key)?;
        let DeValue::Boolean(flag) = value else {
            return self.mismatch(key, "true or false", at, value);
        };
        Some(*flag)
    }

    pub(super) fn seconds(&self, key: &'static str, range: Seconds) -> Option<f64> {
        let At { at, value } = self.any(key)?;
        let number = match value {
            DeValue::Integer(n) => integer(n).map(|n| n as f64),
            DeValue::Float(n) => n.as_str().parse::<f64>().ok(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.mismatch(key, "a number of seconds", at, value),
        };
        // Not contained: NaN too.
        if let Some(n) = number.filter(|n| (range.min..=range.max).contains(n)) {
            return Some(n);
        }
        let (min, max, found) = (range.min, range.max, number_text(value));
        self.sink.wrong(at, format!("`{key}` must be from {min} to {max} seconds, found {found}"));
        None
    }

    /// A plain number.
    pub(super) fn number(&self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let At { at, value } = self.any(key)?;
        let number = match value {
            DeValue::Integer(n) => integer(n).map(|n| n as f64),
            DeValue::Float(n) => n.as_str().parse::<f64>().ok(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.mismatch(key, "a number", at, value),
        };
        // Not contained: NaN too.
        if let Some(n) = number.filter(|n| n.is_finite() && range.contains(n)) {
            return Some(n);
        }
        let (min, max, found) = (range.start(), range.end(), number_text(value));
        let message = if *max == f64::MAX && *min == f64::MIN {
            format!("`{key}` must be a finite number, found {found}")
        } else {
            format!("`{key}` must be from {min} to {max}, found {found}")
        };
        self.sink.wrong(at, message);
        None
    }

    pub(super) fn count(&self, key: &'static str, range: &RangeInclusive<usize>) -> Option<usize> {
        let At { at, value } = self.any(key)?;
        let DeValue::Integer(n) = value else {
            return self.mismatch(key, "a whole number", at, value);
        };
        let number = integer(n).and_then(|n| usize::try_from(n).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            let (min, max, found) = (range.start(), range.end(), number_text(value));
            self.sink.wrong(at, format!("`{key}` must be from {min} to {max}, found {found}"));
        }
        number
    }

    /// One word of a list.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let At { at, value } = self.string_as(key, &format!("one of {list}"))?;
        let chosen = words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
        if chosen.is_none() {
            let hint = self.sink.did_you_mean(value, words.iter().map(|(word, _)| *word));
            self.sink.wrong_hint(at, format!("`{key}` must be one of {list}, found {}", quoted(value)), hint);
        }
        chosen
    }

    /// A list of strings.
    pub(super) fn words(&self, key: &'static str) -> Option<At<Vec<At<&'a str>>>> {
        let At { at, value } = self.any(key)?;
        let DeValue::Array(list) = value else {
            return self.mismatch(key, "a list of strings", at, value);
        };
        let mut words = Vec::with_capacity(list.len());
        let mut bad = None;
        for item in list.iter() {
            match item.get_ref() {
                DeValue::String(text) => words.push(At { at: item.span().start, value: &**text }),
                other => bad = bad.or(Some((item.span().start, other))),
            }
        }
        if let Some((at, other)) = bad {
            return self.mismatch(key, "a list of strings", at, other);
        }
        Some(At { at, value: words })
    }

    /// A table of strings under the operator's own keys. What is no string is reported and left out.
    pub(super) fn strings_by_name(&self, key: &'static str) -> Vec<(At<&'a str>, At<&'a str>)> {
        let Some(table) = self.table(key, &format!("`{key}` of {}", self.label)) else {
            return Vec::new();
        };
        let mut strings = Vec::new();
        for (name, At { at, value }) in table.entries() {
            if let DeValue::String(text) = value {
                strings.push((name, At { at, value: &**text }));
                continue;
            }
            let message =
                format!("{} in `{key}` must be a string, found {}", quoted(name.value), type_name(value));
            let hint = match value {
                DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                    Some("put the value in quotes".to_owned())
                }
                DeValue::String(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
            };
            self.sink.wrong_hint(at, message, hint);
        }
        strings
    }

    /// A table inside this one.
    pub(super) fn table(&self, key: &'static str, label: &str) -> Option<Table<'a>> {
        let At { at, value } = self.any(key)?;
        let DeValue::Table(table) = value else {
            return self.mismatch(key, "a table", at, value);
        };
        Some(Table::new(table, at, label, self.sink))
    }

    /// The tables of a `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let label = format!("[[{key}]]");
        let hint = format!("write {label}, in double brackets, above each one");
        self.tables_as(key, &label, hint)
    }

    /// The tables of a list inside this one; they go by `entry of key` until they have a name.
    pub(super) fn tables_in(&self, key: &'static str) -> Vec<Table<'a>> {
        let hint = format!("{key} = [ {{ … }}, {{ … }} ]");
        self.tables_as(key, &format!("an entry of `{key}`"), hint)
    }

    fn tables_as(&self, key: &'static str, label: &str, hint: String) -> Vec<Table<'a>> {
        let Some(At { at, value }) = self.any(key) else {
            return Vec::new();
        };
        let DeValue::Array(list) = value else {
            let message = format!("`{key}` must be a list of tables, found {}", type_name(value));
            self.sink.wrong_hint(at, message, Some(hint));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(list.len());
        for item in list.iter() {
            let at = item.span().start;
            match item.get_ref() {
                DeValue::Table(table) => tables.push(Table::new(table, at, label, self.sink)),
                other => {
                    let message =
                        format!("`{key}` must be a list of tables, found {} in it", type_name(other));
                    self.sink.wrong(at, message);
                }
            }
        }
        tables
    }

    /// Keys that belong to later work: accepted, with a note.
    pub(super) fn later(&self, keys: &[&'static str]) {
        for key in keys {
            self.later_as(key, &format!("`{key}`"));
        }
    }

    /// One key that belongs to later work; `what` is what the note calls it.
    pub(super) fn later_as(&self, key: &'static str, what: &str) {
        self.later.borrow_mut().push(key);
        if let Some((found, _)) = self.table.get_key_value(key) {
            self.sink.note(found.span().start, later_message(what));
        }
    }

    /// Reports what nobody asked for.
    pub(super) fn finish(self) {
        let (known, later) = (self.known.take(), self.later.take());
        for (key, _) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) || later.contains(&name) {
                continue;
            }
            let all = known.iter().chain(&later).copied();
            let hint = self
                .sink
                .did_you_mean(name, all)
                .unwrap_or_else(|| format!("known here: {}", sorted(&known).join(", ")));
            let message = format!("unknown key {} in {}", quoted(name), self.label);
            self.sink.doubtful(key.span().start, message, Some(hint));
        }
    }

    fn mismatch<T>(&self, key: &str, what: &str, at: usize, found: &DeValue<'_>) -> Option<T> {
        self.sink.wrong(at, format!("`{key}` must be {what}, found {}", type_name(found)));
        None
    }
}

/// The note on something that this version reads over.
pub(super) fn later_message(what: &str) -> String {
    format!("{what} is read but not acted on by this version")
}

/// What a value is, with its article.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The value as the `toml` crate's own type, None when a number does not fit. The nesting is bounded ([`DEPTH_MAX`]).
pub(super) fn owned(value: &DeValue<'_>) -> Option<toml::Value> {
    Some(match value {
        DeValue::String(text) => toml::Value::String(text.clone().into_owned()),
        DeValue::Integer(n) => toml::Value::Integer(i64::try_from(integer(n)?).ok()?),
        DeValue::Float(n) => toml::Value::Float(n.as_str().parse().ok()?),
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Datetime(time) => toml::Value::Datetime(*time),
        DeValue::Array(list) => {
            toml::Value::Array(list.iter().map(|v| owned(v.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(table) => toml::Value::Table(
            table
                .iter()
                .map(|(k, v)| Some((k.get_ref().clone().into_owned(), owned(v.get_ref())?)))
                .collect::<Option<_>>()?,
        ),
    })
}

/// Whether a table is nested at most [`DEPTH_MAX`] deep. A deeper one is emptied here, without recursion: dropping
/// thousands of nested tables would overflow the stack.
pub(super) fn is_shallow(table: &mut DeTable<'_>) -> bool {
    let mut rest: Vec<(&DeValue<'_>, usize)> = table.values().map(|v| (v.get_ref(), 1)).collect();
    let mut shallow = true;
    while let Some((value, depth)) = rest.pop() {
        if depth > DEPTH_MAX {
            shallow = false;
            break;
        }
        match value {
            DeValue::Table(t) => rest.extend(t.values().map(|v| (v.get_ref(), depth + 1))),
            DeValue::Array(l) => rest.extend(l.iter().map(|v| (v.get_ref(), depth + 1))),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
    if !shallow {
        let mut parts: Vec<DeValue<'_>> =
            std::mem::take(table).into_iter().map(|(_, v)| v.into_inner()).collect();
        while let Some(part) = parts.pop() {
            match part {
                DeValue::Table(t) => parts.extend(t.into_iter().map(|(_, v)| v.into_inner())),
                DeValue::Array(l) => parts.extend(l.into_iter().map(Spanned::into_inner)),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => {}
            }
        }
    }
    shallow
}

fn spanned_str<'a>(key: &'a Spanned<std::borrow::Cow<'a, str>>) -> At<&'a str> {
    At { at: key.span().start, value: key.get_ref().as_ref() }
}

fn integer(n: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(n.as_str(), n.radix()).ok()
}

fn number_text(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(n) => one_line(&n.to_string()),
        DeValue::Float(n) => one_line(n.as_str()),
        DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => type_name(value).to_owned(),
    }
}

fn one_line(text: &str) -> String {
    crate::base::text::one_line(text, 40)
}

fn sorted<'k>(keys: &[&'k str]) -> Vec<&'k str> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys.dedup();
    keys
}

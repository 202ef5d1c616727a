//! `init --upgrade`: an agents.toml compared with today's defaults, and single keys of it set to them. Everything else in
//! the file stays as it is, byte for byte: comments, order, spaces.
//!
//! Places come from the parser's spans; a change that does not give exactly the wanted meaning is refused.
//! Deliberately not here: the defaults (`defaults`), reading and writing the file.

use super::defaults::{self, Default};
use super::toml_text::key as toml_key;
use crate::base::error::{Error, Result};
use crate::base::text::{nearest, one_line};
use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most processes that are compared.
const PROCESSES_MAX: usize = 1000;

/// One key that is not as it would be today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `watchdog.stall_idle`, `process.train.restart.max`
    pub key: String,
    /// What it is.
    pub state: State,
    /// The value in the file, as written on one line; None when it is not there.
    pub yours: Option<String>,
    /// Today's default, as TOML.
    pub default: String,
    /// What it is for.
    pub about: String,
    #[serde(skip)]
    place: Place,
}

/// How a key stands to its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is not written: the default is in force.
    New,
    /// Another value is written.
    Differs,
}

/// Which table, and the way inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// `watchdog`, or `process` with the number of its table.
    table: &'static str,
    index: Option<usize>,
    path: Vec<&'static str>,
}

/// Every key that is new or differs, in the order of the defaults.
pub fn compare(text: &str) -> Result<Vec<Row>> {
    let root = parse(text)?;
    let mut rows = Vec::new();
    for table in defaults::TABLES {
        let found = root.get(table).and_then(|value| as_table(value.get_ref()));
        for default in defaults::of_table(table) {
            let place = Place { table, index: None, path: default.path.clone() };
            rows.extend(row(text, table, found, default, place));
        }
    }
    for (index, process) in processes(&root).enumerate().take(PROCESSES_MAX) {
        let said = |key: &str| process.get(key).and_then(|value| value.get_ref().as_str());
        let Some(name) = said("name") else { continue };
        for default in defaults::of_process(said("host") == Some("attach")) {
            let place = Place { table: "process", index: Some(index), path: default.path.clone() };
            rows.extend(row(text, &format!("process.{}", one_line(name, 64)), Some(process), default, place));
        }
    }
    Ok(rows)
}

/// The text with these keys set to their defaults. All or none.
pub fn set(text: &str, keys: &[&str]) -> Result<(String, Vec<Row>)> {
    let mut now = text.to_owned();
    let mut done = Vec::new();
    for key in keys {
        let rows = compare(&now)?;
        let Some(row) = rows.iter().find(|row| row.key == *key) else {
            if done.iter().any(|row: &Row| row.key == *key) {
                continue;
            }
            return Err(unknown(key, &rows));
        };
        now = set_one(&now, row)?;
        done.push(row.clone());
    }
    Ok((now, done))
}

fn unknown(key: &str, rows: &[Row]) -> Error {
    let error = Error::usage(format!("`{}` is no key that is new or differs", one_line(key, 80)));
    match nearest(key, rows.iter().map(|row| row.key.as_str())) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`watchkeeper init --upgrade` lists them"),
    }
}

fn parse(text: &str) -> Result<DeTable<'_>> {
    match DeTable::parse(text) {
        Ok(root) => Ok(root.into_inner()),
        Err(error) => {
            let hint = "`watchkeeper check` shows every problem with its place";
            Err(Error::usage(one_line(error.message(), 200)).doing("reading the config").hint(hint))
        }
    }
}

fn as_table<'t, 'i>(value: &'t DeValue<'i>) -> Option<&'t DeTable<'i>> {
    match value {
        DeValue::Table(table) => Some(table),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => None,
    }
}

fn processes<'t, 'i>(root: &'t DeTable<'i>) -> impl Iterator<Item = &'t DeTable<'i>> {
    let list = root.get("process").and_then(|value| value.get_ref().as_array());
    list.into_iter().flat_map(|list| list.iter()).filter_map(|value| as_table(value.get_ref()))
}

fn row(text: &str, prefix: &str, table: Option<&DeTable<'_>>, default: Default, place: Place) -> Option<Row> {
    let key = format!("{prefix}.{}", default.path.join("."));
    let value = table.and_then(|table| find(table, &default.path));
    let written = value.and_then(|value| text.get(value.span()));
    let (state, yours) = match written {
        None => (State::New, None),
        Some(written) if same(written, &default.value) => return None,
        Some(written) => (State::Differs, Some(one_line(written, 200))),
    };
    Some(Row { key, state, yours, default: default.value, about: default.about, place })
}

fn find<'t, 'i>(table: &'t DeTable<'i>, path: &[&str]) -> Option<&'t Spanned<DeValue<'i>>> {
    let (first, rest) = path.split_first()?;
    let value = table.get(*first)?;
    if rest.is_empty() { Some(value) } else { find(as_table(value.get_ref())?, rest) }
}

/// Do two values mean the same? `600` and `600.0` do.
fn same(a: &str, b: &str) -> bool {
    let read = |text: &str| format!("x = {text}").parse::<toml::Table>().ok()?.remove("x");
    let number = |value: &toml::Value| value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
    match (read(a), read(b)) {
        (Some(a), Some(b)) => a == b || number(&a).is_some_and(|n| number(&b) == Some(n)),
        (None, _) | (_, None) => false,
    }
}

fn set_one(text: &str, row: &Row) -> Result<String> {
    let root = parse(text)?;
    let edited = edit(text, &root, row);
    let wanted = wanted(text, row);
    match edited {
        Some(edited) if wanted.is_some() && edited.parse::<toml::Table>().ok() == wanted => Ok(edited),
        Some(_) | None => {
            let last = row.place.path.last().copied().unwrap_or_default();
            let hint = format!("write `{last} = {}` yourself", row.default);
            Err(Error::usage(format!(
                "`{}` can't be changed in place, the file is written in an unusual way",
                row.key
            ))
            .hint(hint))
        }
    }
}

/// What the file means once the key is set.
fn wanted(text: &str, row: &Row) -> Option<toml::Table> {
    let mut root: toml::Table = text.parse().ok()?;
    let value = format!("x = {}", row.default).parse::<toml::Table>().ok()?.remove("x")?;
    let mut table = match row.place.index {
        None => root.entry(row.place.table).or_insert_with(|| toml::Table::new().into()).as_table_mut()?,
        Some(index) => root.get_mut("process")?.as_array_mut()?.get_mut(index)?.as_table_mut()?,
    };
    let (last, way) = row.place.path.split_last()?;
    for step in way {
        table = table.entry(*step).or_insert_with(|| toml::Table::new().into()).as_table_mut()?;
    }
    table.insert((*last).to_owned(), value);
    Some(root)
}

fn edit(text: &str, root: &DeTable<'_>, row: &Row) -> Option<String> {
    let place = &row.place;
    let found = match place.index {
        None => root.get(place.table),
        Some(index) => root.get("process")?.get_ref().as_array()?.get(index),
    };
    let Some(found) = found else {
        let (first, rest) = place.path.split_first()?;
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Some(format!("{text}{gap}\n[{}]\n{}\n", place.table, line(first, rest, &row.default)));
    };
    let table = as_table(found.get_ref())?;
    if let Some(value) = find(table, &place.path) {
        return replaced(text, value.span(), &row.default);
    }
    // The innermost table of the way that is there gets the rest of it.
    let (mut holder, mut way) = (found, place.path.as_slice());
    while let [step, rest @ ..] = way
        && !rest.is_empty()
        && let Some(inner) = as_table(holder.get_ref()).and_then(|table| table.get(*step))
    {
        (holder, way) = (inner, rest);
    }
    let (first, rest) = way.split_first()?;
    insert(text, holder, &line(first, rest, &row.default))
}

/// `max = 10`, or `restart = { max = 10 }`.
fn line(first: &str, rest: &[&str], value: &str) -> String {
    let inner = match rest.split_first() {
        None => value.to_owned(),
        Some((next, rest)) => format!("{{ {} }}", line(next, rest, value)),
    };
    format!("{} = {inner}", toml_key(first))
}

fn replaced(text: &str, span: std::ops::Range<usize>, value: &str) -> Option<String> {
    Some(format!("{}{value}{}", text.get(..span.start)?, text.get(span.end..)?))
}

fn insert(text: &str, holder: &Spanned<DeValue<'_>>, line: &str) -> Option<String> {
    let table = as_table(holder.get_ref())?;
    let span = holder.span();
    if text.get(span.clone())?.starts_with('{') {
        let (before, after) = text.split_at_checked(span.end.checked_sub(1)?)?;
        let comma = if table.is_empty() { " " } else { ", " };
        return Some(format!("{}{comma}{line} {after}", before.trim_end().trim_end_matches(',')));
    }
    // Behind the last key that stands on a line of its own in this table; what has a header is further down.
    let own = |value: &&Spanned<DeValue<'_>>| {
        let text = text.get(value.span()).unwrap_or_default();
        !text.starts_with('[') || value.get_ref().as_array().is_some_and(|_| !text.starts_with("[["))
    };
    let inline = |value: &&Spanned<DeValue<'_>>| {
        as_table(value.get_ref()).is_none()
            || text.get(value.span()).is_some_and(|text| text.starts_with('{'))
    };
    let last = table.values().filter(own).filter(inline).map(|value| value.span().end).max();
    let at = last.unwrap_or(span.start);
    let end = text.get(at..)?.find('\n').map_or(text.len(), |n| at + n + 1);
    let (before, after) = text.split_at_checked(end)?;
    let gap = if before.ends_with('\n') { "" } else { "\n" };
    let ending = if before.ends_with("\r\n") { "\r\n" } else { "\n" };
    Some(format!("{before}{gap}{line}{ending}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, key: &str, want: &str) {
        match set(text, &[key]) {
            Ok((got, _)) => assert_eq!(got, want),
            Err(error) => assert_eq!(error.message(), want),
        }
    }

    #[test]
    fn rows_say_what_is_new_and_what_differs() {
        let text = "[watchdog]\nstall_idle = 300.0 # same\nsignal_interval = 5\n[[process]]\nname = \"t\"\nrestart.max = 3\n";
        let rows = compare(text).unwrap();
        let row = |key: &str| rows.iter().find(|row| row.key == key);
        assert_eq!(row("watchdog.stall_idle"), None);
        let differs = row("watchdog.signal_interval").unwrap();
        assert_eq!(
            (differs.state, differs.yours.as_deref(), differs.default.as_str()),
            (State::Differs, Some("5"), "30")
        );
        assert_eq!(row("process.t.restart.max").unwrap().state, State::Differs);
        let new = row("process.t.healing.verify_window_s").unwrap();
        assert_eq!((new.state, new.yours.as_deref(), new.default.as_str()), (State::New, None, "600"));
        assert!(compare("a = [").unwrap_err().message().starts_with("reading the config: "));
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        check(
            "# mine\n[watchdog]\nsignal_interval =  5   # fast\n",
            "watchdog.signal_interval",
            "# mine\n[watchdog]\nsignal_interval =  30   # fast\n",
        );
        check(
            "[[process]]\nname = \"a\"\n[[process]]\nname = \"t\" # it\nrestart = { max = 3, cooldown_s = 1 } # few\n",
            "process.t.restart.max",
            "[[process]]\nname = \"a\"\n[[process]]\nname = \"t\" # it\nrestart = { max = 10, cooldown_s = 1 } # few\n",
        );
    }

    #[test]
    fn a_new_key_is_written_into_its_table() {
        check("[watchdog]\n\n# later\n", "watchdog.stall_idle", "[watchdog]\nstall_idle = 300\n\n# later\n");
        check("x = 1", "watchdog.stall_idle", "x = 1\n\n[watchdog]\nstall_idle = 300\n");
        check(
            "[watchdog]\r\nstall_grace = 1 # c\r\n[defaults]\r\n",
            "watchdog.stall_idle",
            "[watchdog]\r\nstall_grace = 1 # c\r\nstall_idle = 300\r\n[defaults]\r\n",
        );
        let head = "[[process]]\nname = \"t\"\ncommand = [\n  \"a\", # why\n]\n";
        check(
            &format!(
                "{head}restart = {{ max = 1 }}\n[process.healing]\nagent = \"off\"\n[[process]]\nname = \"u\"\n"
            ),
            "process.t.restart.cooldown_s",
            &format!(
                "{head}restart = {{ max = 1, cooldown_s = 60 }}\n[process.healing]\nagent = \"off\"\n[[process]]\nname = \"u\"\n"
            ),
        );
        check(
            &format!("{head}[process.healing]\nagent = \"off\" # no\n\n[[process]]\nname = \"u\"\n"),
            "process.t.healing.timeout_s",
            &format!(
                "{head}[process.healing]\nagent = \"off\" # no\ntimeout_s = 600\n\n[[process]]\nname = \"u\"\n"
            ),
        );
        check(head, "process.t.healing.dirty", &format!("{head}healing = {{ dirty = \"refuse\" }}\n"));
        check(
            &format!("{head}[process.healing]\n# nothing yet\n"),
            "process.t.grace_s",
            &format!("{head}grace_s = 5\n[process.healing]\n# nothing yet\n"),
        );
        check(
            "[[process]]\nname = \"t\"\nhealing = {}\n",
            "process.t.healing.dirty",
            "[[process]]\nname = \"t\"\nhealing = { dirty = \"refuse\" }\n",
        );
    }

    #[test]
    fn what_is_not_known_or_not_possible_is_refused() {
        check("", "watchdog.stal_idle", "`watchdog.stal_idle` is no key that is new or differs");
        let unusual = "watchdog.signal_interval = 5\n";
        check(unusual, "watchdog.signal_interval", "watchdog.signal_interval = 30\n");
        let (got, _) = set(unusual, &["watchdog.signal_interval"]).unwrap();
        assert_eq!(got, "watchdog.signal_interval = 30\n");
        check(
            unusual,
            "watchdog.stall_idle",
            "`watchdog.stall_idle` can't be changed in place, the file is written in an unusual way",
        );
        check(
            "watchdog = 3\n",
            "watchdog.stall_idle",
            "`watchdog.stall_idle` can't be changed in place, the file is written in an unusual way",
        );
    }

    #[test]
    fn all_rows_of_a_file_can_be_set_one_after_the_other() {
        let text = "# top\n[[process]]\nname = \"t\"\ncommand = [\"x\"]\n[[process]]\nname = \"u\"\nhost = \"attach\"\npid = 1\n";
        let keys: Vec<String> = compare(text).unwrap().into_iter().map(|row| row.key).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let (got, done) = set(text, &keys).unwrap();
        assert_eq!(done.len(), keys.len());
        assert_eq!(compare(&got).unwrap(), [], "{got}");
        assert!(got.starts_with("# top\n[[process]]\nname = \"t\"\ncommand = [\"x\"]\n"), "{got}");
    }
}

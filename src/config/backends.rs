//! `[backend.NAME]`: what the operator says is laid over a built-in key by key; the result is read by
//! [`Backend::from_table`], and its complaints are led back to the line they come from.
//!
//! Deliberately not here: what the keys of a backend mean.

use super::backend::Backend;
use super::interpolate::Places;
use super::problem::{Sink, quoted};
use super::raw::{At, Table, owned, type_name};
use crate::base::names::UnitName;
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// The backends that the units use, made when first asked for.
pub(super) struct Backends<'a> {
    /// None: its own table is wrong, which is reported.
    made: BTreeMap<String, Option<Backend>>,
    sink: &'a Sink<'a>,
}

impl<'a> Backends<'a> {
    /// Reads every `[backend.NAME]`, used or not.
    pub(super) fn read(root: &Table<'a>, places: &Places<'_>) -> Backends<'a> {
        let mut backends = Backends { made: BTreeMap::new(), sink: root.sink };
        let Some(table) = root.table("backend", "[backend]") else {
            return backends;
        };
        for (name, value) in table.entries() {
            let made = own(name, value, places, root.sink);
            backends.made.insert(name.value.to_owned(), made);
        }
        backends
    }

    /// All that could be made.
    pub(super) fn into_made(self) -> BTreeMap<String, Backend> {
        self.made.into_iter().filter_map(|(name, made)| Some((name, made?))).collect()
    }

    /// The backend of that name. None when there is none, or it is wrong: that is reported.
    pub(super) fn get(&mut self, name: At<&str>) -> Option<Backend> {
        if let Some(made) = self.made.get(name.value) {
            return made.clone();
        }
        let Some(table) = Backend::builtin(name.value) else {
            let names = self.made.keys().map(String::as_str).chain(Backend::builtin_names().iter().copied());
            self.sink.wrong_hint(
                name.at,
                format!("unknown backend {}", quoted(name.value)),
                Some(self.sink.did_you_mean(name.value, names).unwrap_or_else(|| {
                    let names = Backend::builtin_names().join(", ");
                    format!("built in are {names}; others need a [backend.NAME] with a `command`")
                })),
            );
            return None;
        };
        let made = match Backend::from_builtin(name.value, &table, &table) {
            Ok(backend) => Some(backend),
            Err(errors) => {
                for error in errors {
                    self.sink.wrong(name.at, format!("built-in backend: {}", error.message));
                }
                None
            }
        };
        self.made.insert(name.value.to_owned(), made.clone());
        made
    }
}

/// Makes one of the operator's own backends.
fn own(name: At<&str>, value: At<&DeValue<'_>>, places: &Places<'_>, sink: &Sink<'_>) -> Option<Backend> {
    if let Err(message) = UnitName::new(name.value) {
        sink.wrong(name.at, format!("backend {message}"));
        return None;
    }
    let DeValue::Table(said) = value.value else {
        let message =
            format!("backend {} must be a table, found {}", quoted(name.value), type_name(value.value));
        sink.wrong_hint(value.at, message, Some(format!("write [backend.{}] above its keys", name.value)));
        return None;
    };
    let base = base(name, said, sink)?;
    if base.is_empty() && !said.contains_key("command") {
        let message = format!("backend `{}` is not built in, so it needs a `command`", name.value);
        sink.doubtful(name.at, message, Some("or take over a built-in with `like = \"claude\"`".to_owned()));
    }
    let mut over = toml::Table::new();
    for (key, value) in said.iter().filter(|(key, _)| key.get_ref() != "like") {
        match owned(value.get_ref()) {
            Some(value) => drop(over.insert(key.get_ref().to_string(), value)),
            None => sink.wrong(
                value.span().start,
                format!("{} holds a number that is too large", quoted(key.get_ref())),
            ),
        }
    }
    let launch_said = launch_said(said, &over);
    interpolate(said, &mut over, places, sink);
    let merged = merge(base.clone(), over);
    match Backend::from_builtin(name.value, &merged, &base) {
        Ok(backend) => Some(Backend { launch_said, ..backend }),
        Err(errors) => {
            for error in errors {
                // That `command` is missing was said above, in better words.
                if error.path.first().is_some_and(|key| key == "command") && !said.contains_key("command") {
                    continue;
                }
                let path = error.path.join(".");
                let message = format!("`backend.{}.{path}`: {}", name.value, error.message);
                sink.wrong(locate(name.at, said, &error.path), message);
            }
            None
        }
    }
}

/// What the operator says of how the CLI is launched, as written; "" when nothing.
fn launch_said(said: &DeTable<'_>, over: &toml::Table) -> String {
    let keys = ["command", "model_flag", "prompt_delivery", "env", "env_remove"];
    let mut launch: toml::Table =
        keys.iter().filter_map(|key| Some(((*key).to_owned(), over.get(*key)?.clone()))).collect();
    if let Some(DeValue::String(like)) = said.get("like").map(toml::Spanned::get_ref) {
        launch.insert("like".to_owned(), toml::Value::String(like.to_string()));
    }
    if launch.is_empty() { String::new() } else { serde_json::to_string(&launch).unwrap_or_default() }
}

/// The built-in table that the operator's own is laid over, empty for a new one; None when `like` is wrong.
fn base(name: At<&str>, said: &DeTable<'_>, sink: &Sink<'_>) -> Option<toml::Table> {
    let Some(like) = said.get("like") else {
        return Some(Backend::builtin(name.value).unwrap_or_default());
    };
    let at = like.span().start;
    let DeValue::String(like) = like.get_ref() else {
        sink.wrong(
            at,
            format!("`like` must be the name of a built-in backend, found {}", type_name(like.get_ref())),
        );
        return None;
    };
    let table = Backend::builtin(like);
    if table.is_none() {
        let names = Backend::builtin_names();
        let hint = sink
            .did_you_mean(like, names.iter().copied())
            .unwrap_or_else(|| format!("built in are {}", names.join(", ")));
        sink.wrong_hint(at, format!("`like` names no built-in backend: {}", quoted(like)), Some(hint));
    }
    table
}

/// Replaces variables where the words go to a program or name a file. Wrong types are left for the backend's reader.
fn interpolate(said: &DeTable<'_>, over: &mut toml::Table, places: &Places<'_>, sink: &Sink<'_>) {
    let word = |value: &DeValue<'_>, at: usize, into: &mut toml::Value| {
        if let DeValue::String(text) = value
            && let Some(text) = places.word(At { at, value: text }, sink)
        {
            *into = toml::Value::String(text);
        }
    };
    for key in ["command", "version_command", "env", "status_file", "transcript_dir"] {
        let (Some(from), Some(into)) = (said.get(key), over.get_mut(key)) else {
            continue;
        };
        match (from.get_ref(), into) {
            (DeValue::Array(from), toml::Value::Array(into)) => {
                for (from, into) in from.iter().zip(into) {
                    word(from.get_ref(), from.span().start, into);
                }
            }
            (DeValue::Table(from), toml::Value::Table(into)) => {
                for (name, from) in from.iter() {
                    if let Some(into) = into.get_mut(name.get_ref().as_ref()) {
                        word(from.get_ref(), from.span().start, into);
                    }
                }
            }
            (value, into) => word(value, from.span().start, into),
        }
    }
}

/// Lays `over` on `base`: tables are merged, anything else is replaced.
fn merge(mut base: toml::Table, over: toml::Table) -> toml::Table {
    for (key, value) in over {
        let merged = match (base.remove(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => {
                toml::Value::Table(merge(base, over))
            }
            (_, value) => value,
        };
        base.insert(key, merged);
    }
    base
}

/// The offset of the deepest part of `path` that stands in the file.
fn locate(at: usize, table: &DeTable<'_>, path: &[String]) -> usize {
    let mut at = at;
    let mut parts = path.iter();
    let Some(mut value) = parts.next().and_then(|key| table.get(key.as_str())) else {
        return at;
    };
    loop {
        at = value.span().start;
        let next = parts.next().and_then(|part| match value.get_ref() {
            DeValue::Table(table) => table.get(part.as_str()),
            DeValue::Array(list) => part.parse().ok().and_then(|index: usize| list.get(index)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => None,
        });
        let Some(next) = next else {
            return at;
        };
        value = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn tables_are_merged_and_lists_replaced() {
        let base = table("command = [\"a\", \"b\"]\nx = 1\n[signals]\nbusy = [\"one\"]\nidle = [\"two\"]");
        let over = table("command = [\"c\"]\n[signals]\nbusy = []\nnew = 3\n[x]\ny = 1");
        let want = table("command = [\"c\"]\n[signals]\nbusy = []\nidle = [\"two\"]\nnew = 3\n[x]\ny = 1");
        assert_eq!(merge(base, over), want);
    }

    #[test]
    fn a_complaint_is_led_back_to_the_deepest_part_that_stands_in_the_file() {
        let text = "a = 1\n[signals]\nbusy = [\"x\", \"(\"]\n[signals.idle]\nline = 2\n";
        let table = DeTable::parse(text).unwrap().into_inner();
        let check = |path: &[&str], want: &str| {
            let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
            let at = locate(text.len(), &table, &path);
            assert!(text[at..].starts_with(want), "{path:?}: {at}");
        };
        check(&[], "");
        check(&["missing"], "");
        check(&["a"], "1");
        check(&["a", "deeper"], "1");
        check(&["signals", "busy"], "[\"x\"");
        check(&["signals", "busy", "1"], "\"(\"");
        check(&["signals", "busy", "7"], "[\"x\"");
        check(&["signals", "idle", "line"], "2");
    }
}

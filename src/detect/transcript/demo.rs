//! The scripted `demo` agent: a `usage` line for each turn that ended. Its figures are made up from the length of what was
//! read and said (about four bytes are a token); there is no cache and no model.
//!
//! A turn is known by the session of its file's last `start` line and its place in the file, so that a copy counts once.
//!
//! Source: `demo::agent::transcript`, which writes it.

use super::entry::{Entry, Role};
use super::{key, number, text};
use crate::base::time::Wall;
use crate::model::usage::{Counted, ReaderState, Totals};
use serde_json::Value;

/// What a line states.
pub(super) fn count(state: &mut ReaderState, record: &Value) -> Option<Counted> {
    match text(record, "type") {
        "start" => {
            state.thread = Some(text(record, "session").to_owned()).filter(|session| !session.is_empty());
            None
        }
        "usage" => {
            let usage = Totals::one(number(record, "input"), number(record, "output"), 0, 0);
            let place = record.get("id").and_then(Value::as_u64);
            let id = state.thread.as_ref().zip(place).map(|(session, place)| format!("{session}/{place}"));
            Some(Counted { key: key(&[&id.unwrap_or_default()], record), at: at(record), usage })
        }
        _ => None,
    }
}

/// What was said and done in a line.
pub(super) fn entries(record: &Value) -> Vec<Entry> {
    let (said, name) = (text(record, "text"), text(record, "name"));
    let (role, tool, said) = match text(record, "type") {
        "user" => (Role::User, None, said),
        "assistant" => (Role::Assistant, None, said),
        "error" => (Role::Error, None, said),
        "tool_call" => (Role::Tool, Some(name), ""),
        "tool_result" => (Role::Result, Some(name), ""),
        "start" => (Role::System, None, "started"),
        _ => return Vec::new(),
    };
    vec![Entry::new(at(record), role, tool, said)]
}

/// When, as the record says.
pub(super) fn at(record: &Value) -> Option<Wall> {
    Wall::parse(text(record, "at"))
}

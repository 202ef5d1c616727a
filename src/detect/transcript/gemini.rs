//! Gemini CLI: records with `tokens`; one is written again under its id when its tools are done, and `$set` lines and
//! documents of older versions (`session-*.json`) carry whole conversations. `input` includes cached tokens, `output` is
//! without thoughts. Side requests (router, summary) are not in the log.
//!
//! Source: Gemini CLI 0.61 (fixtures and program text).

use super::entry::{Entry, Role, compact};
use super::{key, number, sha256, text, time};
use crate::model::usage::{Counted, Totals};
use serde_json::Value;

/// What a line states.
pub(super) fn count(record: &Value, out: &mut Vec<Counted>) {
    out.extend(count_message(record));
    for messages in [record.pointer("/$set/messages"), record.get("messages")] {
        out.extend(messages.and_then(Value::as_array).into_iter().flatten().filter_map(count_message));
    }
}

fn count_message(message: &Value) -> Option<Counted> {
    if text(message, "type") != "gemini" {
        return None;
    }
    let tokens = message.get("tokens").filter(|tokens| tokens.is_object())?;
    let (input, cached) = (number(tokens, "input"), number(tokens, "cached"));
    let usage = Totals::one(
        input.saturating_sub(cached).saturating_add(number(tokens, "tool")),
        number(tokens, "output").saturating_add(number(tokens, "thoughts")),
        cached.min(input),
        0,
    );
    Some(Counted { key: key(&[text(message, "id")], message), at: time(message), usage })
}

/// The name under which a directory's sessions are kept by older versions, and `projectHash` of all.
pub(super) fn project(cwd: &str) -> String {
    sha256::hex(cwd.as_bytes())
}

/// What was said and done in a line. `$set` lines repeat what was said before, and so does a record that is written again
/// when its tools are done.
pub(super) fn entries(record: &Value) -> Vec<Entry> {
    match record.get("messages").and_then(Value::as_array) {
        Some(messages) => messages.iter().flat_map(|one| said(one).into_iter().chain(calls(one))).collect(),
        None if record.get("toolCalls").is_some() => calls(record),
        None => said(record).into_iter().collect(),
    }
}

fn said(record: &Value) -> Option<Entry> {
    let role = match text(record, "type") {
        "user" => Role::User,
        "gemini" => Role::Assistant,
        "error" => Role::Error,
        "info" | "warning" => Role::System,
        _ => return None,
    };
    Some(Entry::new(time(record), role, None, compact(record.get("content"))))
}

fn calls(record: &Value) -> Vec<Entry> {
    let mut found = Vec::new();
    for call in record.get("toolCalls").and_then(Value::as_array).into_iter().flatten() {
        let (at, name) = (time(call).or_else(|| time(record)), text(call, "name"));
        found.push(Entry::new(at, Role::Tool, Some(name), compact(call.get("args"))));
        let role = if text(call, "status") == "error" { Role::Error } else { Role::Result };
        found.push(Entry::new(at, role, Some(name), compact(call.get("result"))));
    }
    found
}

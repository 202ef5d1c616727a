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

/// What was said and done in a line. `$set` lines repeat what was said before.
pub(super) fn entries(record: &Value) -> Vec<Entry> {
    if let Some(messages) = record.get("messages").and_then(Value::as_array) {
        return messages.iter().flat_map(entries_of).collect();
    }
    entries_of(record)
}

fn entries_of(record: &Value) -> Vec<Entry> {
    let at = time(record);
    let role = match text(record, "type") {
        "user" => Role::User,
        "gemini" => Role::Assistant,
        "error" => Role::Error,
        "info" | "warning" => Role::System,
        _ => return Vec::new(),
    };
    let mut found: Vec<Entry> = Vec::new();
    let calls = record.get("toolCalls").and_then(Value::as_array);
    // Written a second time, with its calls: what was said stands above already.
    if calls.is_none() {
        found.push(Entry::new(at, role, None, compact(record.get("content"))));
    }
    for call in calls.into_iter().flatten() {
        let at = time(call).or(at);
        found.push(Entry::new(at, Role::Tool, Some(text(call, "name")), compact(call.get("args"))));
        let role = if text(call, "status") == "error" { Role::Error } else { Role::Result };
        found.push(Entry::new(at, role, Some(text(call, "name")), compact(call.get("result"))));
    }
    found
}

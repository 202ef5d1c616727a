//! Claude Code: one line per content block, the same `message.id` and usage on each (early lines of a response may carry
//! a placeholder for `output_tokens`: the last one counts). Lines of sub-agents (`isSidechain`, or in files of their own)
//! are spent tokens like any other; `progress` lines repeat them and don't count. `<synthetic>` is Claude's own voice.
//!
//! Source: Claude Code 2.1.197 (fixtures); older versions differ in other fields only.

use super::entry::{Entry, Role, compact};
use super::{key, number, text, time};
use crate::model::usage::{Counted, Totals};
use serde_json::Value;

/// The model name of Claude's own error and notice lines.
const SYNTHETIC: &str = "<synthetic>";

/// What a line states.
pub(super) fn count(record: &Value) -> Option<Counted> {
    if text(record, "type") != "assistant" {
        return None;
    }
    let message = record.get("message")?;
    let usage = message.get("usage").filter(|usage| usage.is_object())?;
    if text(message, "model") == SYNTHETIC {
        return None;
    }
    let usage = Totals::one(
        number(usage, "input_tokens"),
        number(usage, "output_tokens"),
        number(usage, "cache_read_input_tokens"),
        number(usage, "cache_creation_input_tokens"),
    );
    let key = key(&[text(message, "id"), text(record, "requestId"), text(record, "uuid")], record);
    Some(Counted { key, at: time(record), usage })
}

/// What was said and done in a line.
pub(super) fn entries(record: &Value) -> Vec<Entry> {
    let at = time(record);
    let entry = |role, tool: Option<&str>, text: String| Entry::new(at, role, tool, text);
    match text(record, "type") {
        "assistant" | "user" => {}
        "system" => {
            let said = text(record, "content");
            let said = match (said, text(record, "subtype")) {
                ("", "turn_duration") => format!("turn ended after {} ms", number(record, "durationMs")),
                ("", subtype) => subtype.replace('_', " "),
                (said, _) => said.to_owned(),
            };
            return vec![entry(Role::System, None, said)];
        }
        "summary" => return vec![entry(Role::System, None, text(record, "summary").to_owned())],
        _ => return Vec::new(),
    }
    let Some(message) = record.get("message") else { return Vec::new() };
    let is_user = text(record, "type") == "user";
    let speaker = match (is_user, text(message, "model") == SYNTHETIC) {
        (true, _) => Role::User,
        (false, true) => Role::Error,
        (false, false) => Role::Assistant,
    };
    let Some(content) = message.get("content") else { return Vec::new() };
    if let Some(said) = content.as_str() {
        return vec![entry(speaker, None, said.to_owned())];
    }
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let render = |block: &Value| match text(block, "type") {
        "text" => Some(entry(speaker, None, text(block, "text").to_owned())),
        "thinking" => Some(entry(Role::Thinking, None, text(block, "thinking").to_owned())),
        "tool_use" | "server_tool_use" => {
            Some(entry(Role::Tool, Some(text(block, "name")), compact(block.get("input"))))
        }
        "tool_result" => {
            let role = if block["is_error"] == true { Role::Error } else { Role::Result };
            Some(entry(role, None, compact(block.get("content"))))
        }
        "image" => Some(entry(speaker, None, "(an image)".to_owned())),
        _ => None,
    };
    blocks.iter().filter_map(render).collect()
}

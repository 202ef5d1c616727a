//! Qwen Code: `assistant` lines with `usageMetadata`. `system/ui_telemetry` lines repeat them, and add side requests
//! (memory, compression): they are never counted. `promptTokenCount` includes cached tokens; `candidatesTokenCount`
//! includes thoughts unless the total says otherwise.
//!
//! Source: Qwen Code 0.15.10 (fixtures).

use super::entry::{Entry, Role, compact};
use super::{key, number, text, time};
use crate::model::usage::{Counted, Totals};
use serde_json::Value;

/// What a line states.
pub(super) fn count(record: &Value) -> Option<Counted> {
    if text(record, "type") != "assistant" {
        return None;
    }
    let usage = record.get("usageMetadata").filter(|usage| usage.is_object())?;
    let (input, cached) = (number(usage, "promptTokenCount"), number(usage, "cachedContentTokenCount"));
    let (output, thoughts) = (number(usage, "candidatesTokenCount"), number(usage, "thoughtsTokenCount"));
    let with_thoughts = input.saturating_add(output).saturating_add(thoughts);
    let beside = thoughts > 0 && number(usage, "totalTokenCount") == with_thoughts;
    let output = if beside { output.saturating_add(thoughts) } else { output };
    let usage = Totals::one(input.saturating_sub(cached), output, cached.min(input), 0);
    Some(Counted { key: key(&[text(record, "uuid")], record), at: time(record), usage })
}

/// What was said and done in a line.
pub(super) fn entries(record: &Value) -> Vec<Entry> {
    let at = time(record);
    let kind = text(record, "type");
    let speaker = match kind {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool_result" => Role::Result,
        "system" => {
            let subtype = text(record, "subtype");
            let told = !matches!(subtype, "ui_telemetry" | "attribution_snapshot");
            return told.then(|| Entry::new(at, Role::System, None, subtype)).into_iter().collect();
        }
        _ => return Vec::new(),
    };
    let parts = record.pointer("/message/parts").and_then(Value::as_array);
    let render = |part: &Value| {
        if let Some(call) = part.get("functionCall") {
            return Some(Entry::new(at, Role::Tool, Some(text(call, "name")), compact(call.get("args"))));
        }
        if let Some(answer) = part.get("functionResponse") {
            let said = answer.get("response");
            let role =
                if said.is_some_and(|said| said.get("error").is_some()) { Role::Error } else { Role::Result };
            return Some(Entry::new(at, role, Some(text(answer, "name")), compact(said)));
        }
        let said = part.get("text")?.as_str()?;
        let role = if part["thought"] == true { Role::Thinking } else { speaker };
        Some(Entry::new(at, role, None, said))
    };
    parts.into_iter().flatten().filter_map(render).collect()
}

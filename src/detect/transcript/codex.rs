//! Codex: one `token_usage_record` per response (`payload.usage`; the running totals beside it can be reset to 0 by a
//! full context and are never used). Versions before them have `token_count` events only: the last response and a running
//! total, repeated when nothing was used (a new rate limit), so that only a changed total counts.
//!
//! The file of a forked thread or sub-agent can begin with a copy of its parent's history, its times rewritten to the
//! moment of the fork. Records name their thread; those of another one are skipped. `token_count` events name none: the
//! copy ends with the first turn whose id was made after the thread's (both are UUIDs of version 7, which begin with
//! their time), or with the first pause of [`COPY_GAP_MS`] between two lines. That is a guess, and the only one here.
//!
//! Source: Codex 0.169 (fixtures); older and forked files as described by users of other counters.

use super::entry::{Entry, Role, compact};
use super::{key, number, text, time};
use crate::base::time::Wall;
use crate::model::usage::{Counted, ReaderState, Totals};
use serde_json::Value;

/// A copy is written in one go; a model takes longer than this for anything.
const COPY_GAP_MS: i64 = 500;

/// What a line states.
pub(super) fn count(state: &mut ReaderState, record: &Value) -> Option<Counted> {
    let payload = record.get("payload")?;
    let at = time(record);
    watch_copy(state, record, payload, at);
    match (text(record, "type"), text(payload, "type")) {
        ("session_meta", _) => {
            // The first one is the file's own; a copied history brings its own along.
            if state.thread.is_none() {
                state.thread = Some(text(payload, "id").to_owned());
                state.forked = ["forked_from_id", "parent_thread_id"].iter().any(|k| payload[*k].is_string());
            }
            None
        }
        ("token_usage_record", _) => {
            state.records = true;
            let thread = text(payload, "thread_id");
            let own = state
                .thread
                .as_deref()
                .is_none_or(|own| thread.is_empty() || own.is_empty() || own == thread);
            let usage = normalised(payload.get("usage")?);
            let key = key(&[text(payload, "response_id")], record);
            own.then_some(Counted { key, at, usage })
        }
        ("event_msg", "token_count") => {
            let found = from_event(state, payload, at);
            found.filter(|_| !state.records && (!state.forked || state.own))
        }
        _ => None,
    }
}

/// Looks for the end of a copied history.
fn watch_copy(state: &mut ReaderState, record: &Value, payload: &Value, at: Option<Wall>) {
    if !state.forked || state.own {
        return;
    }
    let starts_turn = text(record, "type") == "turn_context" || text(payload, "type") == "task_started";
    let born = state.thread.as_deref().and_then(v7_ms);
    if let (true, Some(born), Some(turn)) = (starts_turn, born, v7_ms(text(payload, "turn_id"))) {
        state.own = turn >= born;
    }
    let gap = state.line_at.zip(at).map(|(before, at)| at.0.saturating_sub(before.0));
    state.own |= gap.is_some_and(|gap| gap >= COPY_GAP_MS);
    state.line_at = at.or(state.line_at);
}

/// When a UUID of version 7 was made, milliseconds since 1970 (RFC 9562).
fn v7_ms(id: &str) -> Option<i64> {
    let hex: String = id.chars().filter(|c| *c != '-').collect();
    let is_v7 = hex.len() == 32 && hex.as_bytes().get(12) == Some(&b'7');
    i64::from_str_radix(hex.get(..12).filter(|_| is_v7)?, 16).ok()
}

/// A `token_count` event: what was used since the last one.
fn from_event(state: &mut ReaderState, payload: &Value, at: Option<Wall>) -> Option<Counted> {
    let info = payload.get("info")?;
    let total = info.get("total_token_usage")?;
    let running = ["input_tokens", "cached_input_tokens", "output_tokens"].map(|key| number(total, key));
    let before = state.running.replace(running);
    if before == Some(running) {
        return None;
    }
    let usage = match info.get("last_token_usage").filter(|last| last.is_object()) {
        Some(last) => normalised(last),
        None => {
            let [i, c, o] = before.unwrap_or_default();
            let [input, cached, output] = running;
            Totals::one(
                input.saturating_sub(i).saturating_sub(cached.saturating_sub(c)),
                output.saturating_sub(o),
                cached.saturating_sub(c),
                0,
            )
        }
    };
    // The event has no id: the thread and its running total are one. A reset total may come again, so its time too.
    let place =
        format!("{} {running:?} {}", state.thread.as_deref().unwrap_or_default(), at.map_or(0, |at| at.0));
    (usage.total > 0).then(|| Counted { key: key(&[&place], payload), at, usage })
}

/// `input_tokens` includes what was cached; whether it includes what was written to the cache, the total tells.
fn normalised(usage: &Value) -> Totals {
    let (input, output) = (number(usage, "input_tokens"), number(usage, "output_tokens"));
    let (cached, written) = (number(usage, "cached_input_tokens"), number(usage, "cache_write_input_tokens"));
    let beside = number(usage, "total_tokens") == input.saturating_add(output).saturating_add(written);
    let inside = if beside { cached } else { cached.saturating_add(written) };
    Totals::one(input.saturating_sub(inside), output, cached.min(input), written)
}

/// What was said and done in a line.
pub(super) fn entries(record: &Value) -> Vec<Entry> {
    let at = time(record);
    let Some(payload) = record.get("payload") else { return Vec::new() };
    let entry = |role, tool: Option<&str>, text: String| vec![Entry::new(at, role, tool, text)];
    match (text(record, "type"), text(payload, "type")) {
        ("response_item", "message") => {
            let role = match text(payload, "role") {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                _ => Role::System,
            };
            entry(role, None, compact(payload.get("content")))
        }
        ("response_item", "reasoning") => entry(Role::Thinking, None, compact(payload.get("summary"))),
        ("response_item", "function_call") => {
            entry(Role::Tool, Some(text(payload, "name")), text(payload, "arguments").to_owned())
        }
        ("response_item", "custom_tool_call") => {
            entry(Role::Tool, Some(text(payload, "name")), text(payload, "input").to_owned())
        }
        ("response_item", "local_shell_call") => {
            entry(Role::Tool, Some("shell"), compact(payload.get("action")))
        }
        ("response_item", "web_search_call") => {
            entry(Role::Tool, Some("web_search"), compact(payload.get("action")))
        }
        ("response_item", "function_call_output" | "custom_tool_call_output") => {
            entry(Role::Result, None, compact(payload.get("output")))
        }
        ("event_msg", kind @ ("error" | "stream_error" | "turn_aborted" | "warning")) => {
            let said = [text(payload, "message"), text(payload, "reason"), kind];
            let said = said.into_iter().find(|said| !said.is_empty()).unwrap_or(kind);
            entry(Role::Error, None, said.to_owned())
        }
        ("event_msg", "context_compacted") | ("compacted", _) => {
            entry(Role::System, None, "the conversation was compacted".to_owned())
        }
        _ => Vec::new(),
    }
}

//! `healing` taken over.

use super::watch::Watch;
use super::{Keys, World, pair, places};
use crate::cli::setup::toml_text::{key as toml_key, number, string, strings};
use crate::cli::setup::yaml::Node;
use std::fmt::Write as _;

/// Attempts an hour when the old file has no limit.
const UNLIMITED: u32 = 1_000_000;

/// The text of `[process.healing]`, the same for every stage; "" when the old file says nothing.
pub(super) fn healing(root: &Keys<'_>, world: &World<'_>, watch: &Watch) -> String {
    let Some(healing) = root.map("healing") else { return String::new() };
    let mut out = String::from("[process.healing]\n");
    if let Some(claude) = healing.map("claude") {
        agent(&claude, world, &mut out);
        subagents(&claude, watch, &mut out);
        claude.finish();
    }
    if let Some(seconds) = healing.seconds("verify_window_seconds", 0.01) {
        let _ = writeln!(out, "verify_window_s = {}", number(seconds));
    }
    if let Some(count) = healing.count("escalate_to_claude_after", 1e6) {
        let _ = writeln!(out, "escalate_after = {count}");
    }
    if let Some(budget) = healing.map("budget") {
        if let Some(count) = budget.count("max_attempts_per_detector_per_hour", 1e6) {
            // 0 switched the limit off.
            let count = if count == 0 { UNLIMITED } else { count };
            let _ = writeln!(out, "max_attempts_per_hour = {count}");
        }
        budget.without(&[(
            "max_wall_seconds_per_incident",
            "autosentry never enforced it; `timeout_s` bounds the agent",
        )]);
        budget.finish();
    }
    git(&healing, &mut out);
    match healing.text("regression_action") {
        None | Some("revert") => {}
        Some(other) => root.notes.left_out(
            &healing.at("regression_action"),
            format!("`{other}`: what a regressed agent changed is always taken back, and the next failure goes to the agent"),
        ),
    }
    if healing.truth("escalate_on_rule_regression") == Some(false) {
        let text =
            "a regressed rule always sends the next one to the agent; healing.agent = \"off\" prevents it";
        root.notes.left_out(&healing.at("escalate_on_rule_regression"), text);
    }
    if let Some(graph) = healing.map("langgraph") {
        graph.without(&[
            ("enabled", "there is no model inside: an agent's CLI is asked (`command`), or a person's session (`interactive`)"),
            ("provider", "the CLI that `command` names has its own"),
            ("model", "give it to the CLI: command = [\"claude\", \"--print\", \"--model\", \"…\"]"),
            ("temperature", "the CLI's own affair"),
            ("max_steps", "the CLI's own affair; `timeout_s` bounds it"),
            ("request_timeout_seconds", "`timeout_s` bounds the whole answer"),
            ("cross_check", "not there: an answer is verified by what happens after it"),
        ]);
        graph.finish();
    }
    healing.finish();
    out
}

fn agent(claude: &Keys<'_>, world: &World<'_>, out: &mut String) {
    let notes = claude.notes;
    let enabled = claude.get("enabled").and_then(Node::truth);
    let mode = claude.text("mode").unwrap_or("auto");
    let agent = match (enabled, mode) {
        (Some(false), _) => "off",
        (_, "subprocess") => "headless",
        (_, "interactive") => "interactive",
        (_, "auto") => {
            notes.changed(
                &claude.at("mode"),
                "auto is headless when the program of `command` is found, else off; AGENTS.md no longer makes it interactive",
            );
            "auto"
        }
        (_, other) => {
            notes.changed(
                &claude.at("mode"),
                format!("`{other}` is not there: auto is headless when its program is found"),
            );
            "auto"
        }
    };
    let _ = writeln!(out, "{}", pair("agent", agent));
    if let Some(words) =
        claude.words("command").filter(|words| words.first().is_some_and(|word| !word.is_empty()))
    {
        let words: Vec<String> =
            words.iter().map(|word| places(word, &claude.at("command"), world, notes)).collect();
        let _ = writeln!(out, "command = {}", strings(&words));
    }
    if let Some(seconds) = claude.seconds("timeout_seconds", 1.0) {
        let _ = writeln!(out, "timeout_s = {}", number(seconds.min(86_400.0)));
    }
    claude.without(&[
        ("prompt_template", "our template has other slots: begin with the built-in prompt, and put your own words into a file that `program` names"),
        ("include_in_context", "state, last report and snapshots are always given"),
        ("request_path", "the request is in the unit's folder, .watchkeeper/units/NAME"),
        ("response_path", "answered by `watchkeeper respond`, or by the file that the request names"),
    ]);
}

fn subagents(claude: &Keys<'_>, watch: &Watch, out: &mut String) {
    let Some(node) = claude.get("subagents") else { return };
    let path = claude.at("subagents");
    let Node::Map(entries) = node else {
        return claude.notes.left_out(&path, "is no mapping");
    };
    let mut ours = Vec::new();
    for (old, helper) in entries {
        let keys = Keys::new(&format!("{path}.{old}"), helper, claude.notes);
        let kind = keys.text("type").unwrap_or("general-purpose");
        if keys.get("description").is_some() {
            claude.notes.left_out(&keys.at("description"), "put it into the file that `program` names");
        }
        let short = !kind.is_empty() && kind.len() <= 200 && !kind.contains(char::is_control);
        match watch.detector(old).filter(|_| short) {
            Some(name) => ours.push(format!("{} = {}", toml_key(name), string(kind))),
            None => claude.notes.left_out(
                &format!("{path}.{old}"),
                "a helper belongs to a detector; there is none of this name in force",
            ),
        }
        keys.finish();
    }
    if !ours.is_empty() {
        let _ = writeln!(out, "subagents = {{ {} }}", ours.join(", "));
    }
}

fn git(healing: &Keys<'_>, out: &mut String) {
    let Some(git) = healing.map("git") else { return };
    if let Some(merge) = git.truth("auto_merge") {
        let _ = writeln!(out, "auto_merge = {merge}");
    }
    for key in ["enabled", "write_enabled"] {
        if git.truth(key) == Some(false) {
            let text = "an agent's edits always go to a branch of their own; healing.agent = \"off\" keeps it from editing";
            healing.notes.left_out(&git.at(key), text);
        }
    }
    if git.text("branch_prefix").is_some_and(|prefix| prefix != "autosentry/fix-") {
        healing.notes.left_out(&git.at("branch_prefix"), "branches are called watchkeeper/fix-INCIDENT");
    }
    git.finish();
}

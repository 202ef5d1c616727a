//! `[process.healing]`: who is asked when no rule helps, how long a remedy is watched, and how often one may try.

use super::super::problem::quoted;
use super::super::process_types::{DetectorConfig, DirtyTree, Healing, HealingAgent};
use super::super::raw::{Seconds, Table};
use super::super::units::Context;
use std::collections::BTreeMap;
use std::path::PathBuf;

const AGENTS: [(&str, HealingAgent); 4] = [
    ("auto", HealingAgent::Auto),
    ("headless", HealingAgent::Headless),
    ("interactive", HealingAgent::Interactive),
    ("off", HealingAgent::Off),
];
const DIRTY: [(&str, DirtyTree); 2] = [("refuse", DirtyTree::Refuse), ("stash", DirtyTree::Stash)];
/// Longest that an agent may think: a day.
const TIMEOUT_MAX_S: f64 = 86_400.0;

/// What the operator tells a healing agent lies beside the config, unless that names another place. It need not be there.
const PROGRAM: &str = "program.md";

/// Reads `healing`, or gives the standard one.
pub(super) fn healing(
    process: &Table<'_>,
    context: &Context<'_>,
    detectors: &[(usize, DetectorConfig)],
) -> Healing {
    let mut healing = super::standard_healing();
    healing.program = Some(context.places.folder.join(PROGRAM));
    let Some(table) = process.table("healing", &format!("`healing` of {}", process.label)) else {
        return healing;
    };
    healing.agent = table.choice("agent", &AGENTS).unwrap_or(healing.agent);
    if let Some(words) = table.words("command") {
        if words.value.first().is_none_or(|program| program.value.is_empty()) {
            table.sink.wrong(words.at, "`command` must name a program");
        }
        healing.command = context.places.words(&words.value, table.sink);
    }
    let timeout = Seconds { min: 1.0, max: TIMEOUT_MAX_S };
    healing.timeout_s = table.seconds("timeout_s", timeout).unwrap_or(healing.timeout_s);
    healing.verify_window_s =
        table.seconds("verify_window_s", Seconds::INTERVAL).unwrap_or(healing.verify_window_s);
    let count = |key, standard: u32| {
        let range = 0..=1_000_000;
        table.count(key, &range).and_then(|count| u32::try_from(count).ok()).unwrap_or(standard)
    };
    healing.escalate_after = count("escalate_after", healing.escalate_after);
    healing.max_attempts_per_hour = count("max_attempts_per_hour", healing.max_attempts_per_hour);
    healing.auto_merge = table.flag("auto_merge").unwrap_or(healing.auto_merge);
    healing.dirty = table.choice("dirty", &DIRTY).unwrap_or(healing.dirty);
    if let Some(said) = table.string_as("program", "the path of a file") {
        let named = !said.value.is_empty();
        healing.program = named.then(|| context.places.path("program", said, table.sink)).flatten();
    }
    healing.prompt = path(&table, "prompt", context);
    healing.subagents = subagents(&table, detectors);
    table.finish();
    healing
}

fn path(table: &Table<'_>, key: &'static str, context: &Context<'_>) -> Option<PathBuf> {
    let said = table.string_as(key, "the path of a file").filter(|said| !said.value.is_empty())?;
    context.places.path(key, said, table.sink)
}

/// `{ oom = "performance-engineer" }`: which helper answers for which detector.
fn subagents(table: &Table<'_>, detectors: &[(usize, DetectorConfig)]) -> BTreeMap<String, String> {
    let mut subagents = BTreeMap::new();
    for (name, whom) in table.strings_by_name("subagents") {
        let known = detectors.iter().map(|(_, detector)| detector.name.as_str()).chain(["deadline"]);
        if !known.clone().any(|known| known == name.value) {
            let hint = table.sink.did_you_mean(name.value, known);
            let message = format!("`subagents`: {} is no detector of this process", quoted(name.value));
            table.sink.doubtful(name.at, message, hint);
        } else if whom.value.is_empty() || whom.value.len() > 200 || whom.value.contains(char::is_control) {
            table.sink.wrong(whom.at, "a helper's name must be from 1 to 200 bytes on one line");
        } else {
            subagents.insert(name.value.to_owned(), whom.value.to_owned());
        }
    }
    subagents
}

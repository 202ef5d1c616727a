//! `rules`: what is done about a finding. The first that matches wins.

use super::super::problem::quoted;
use super::super::process_types::{
    After, CommandThen, DetectorConfig, EnvChange, Rule, RuleAction, RuleMatch,
};
use super::super::raw::{At, Seconds, Table, type_name};
use super::super::units::Context;
use super::detectors::{PATTERN_SIZE_MAX, wrong_pattern};
use super::env_text;
use std::collections::BTreeMap;
use toml::de::DeValue;

/// Most rules of one process.
const RULES_MAX: usize = 200;
/// Longest command of a rule, seconds, when it says nothing.
const COMMAND_S: f64 = 60.0;
/// Longest that a command of a rule may take: a day.
const COMMAND_MAX_S: f64 = 86_400.0;
/// Most variables that one rule sets.
const SET_MAX: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Restart,
    RestartWithEnv,
    Pause,
    Abort,
    Command,
    Agent,
}

const KINDS: [(&str, Kind); 6] = [
    ("restart", Kind::Restart),
    ("restart-with-env", Kind::RestartWithEnv),
    ("pause", Kind::Pause),
    ("abort", Kind::Abort),
    ("command", Kind::Command),
    ("agent", Kind::Agent),
];

/// Reads `rules`, each with its place.
pub(super) fn rules(
    process: &Table<'_>,
    context: &Context<'_>,
    detectors: &[(usize, DetectorConfig)],
) -> Vec<(usize, Rule)> {
    let tables = process.tables_in("rules");
    if let Some(over) = tables.get(RULES_MAX) {
        process.sink.wrong(over.at, format!("{} rules, at most {RULES_MAX} are tried", tables.len()));
    }
    let mut rules: Vec<(usize, Rule)> = Vec::new();
    for (index, table) in tables.into_iter().take(RULES_MAX).enumerate() {
        let (at, sink) = (table.at, table.sink);
        let Some(rule) = rule(table, index, context, detectors, process) else { continue };
        if rules.iter().any(|(_, earlier)| earlier.name == rule.name) {
            sink.wrong(at, format!("the rule {} is already there", quoted(&rule.name)));
            continue;
        }
        rules.push((at, rule));
    }
    rules
}

fn rule(
    mut table: Table<'_>,
    index: usize,
    context: &Context<'_>,
    detectors: &[(usize, DetectorConfig)],
    process: &Table<'_>,
) -> Option<Rule> {
    let said = super::detectors::name(&table, "name");
    let name = said.unwrap_or_else(|| format!("rule {}", index + 1));
    table.label = if table.has("name") { format!("rule {}", quoted(&name)) } else { name.clone() };
    let matching = matching(&table, detectors);
    let action = action(&table, context, process);
    table.finish();
    Some(Rule { name, matching, action: action? })
}

fn matching(rule: &Table<'_>, detectors: &[(usize, DetectorConfig)]) -> RuleMatch {
    let Some(table) = rule.table("match", &format!("`match` of {}", rule.label)) else {
        if !rule.has("match") {
            let hint = "match = { detector = \"exit\" }; `match = {}` matches everything".to_owned();
            rule.sink.doubtful(rule.at, format!("{} without a `match`", rule.label), Some(hint));
        }
        return RuleMatch::default();
    };
    let count = |key| table.count(key, &(1..=1_000_000)).and_then(|count| u32::try_from(count).ok());
    let matching = RuleMatch {
        detector: detector(&table, detectors),
        message: message(&table),
        exception: super::super::watchdog::label(&table, "exception").filter(|name| !name.is_empty()),
        exit: exits(&table),
        at_least: count("at_least"),
        at_most: count("at_most"),
        after: table.choice("after", &[("crash", After::Crash), ("running", After::Running)]),
    };
    if let (Some(least), Some(most)) = (matching.at_least, matching.at_most)
        && least > most
    {
        table.sink.wrong(table.at, format!("`at_least` {least} and `at_most` {most} can't both hold"));
    }
    table.finish();
    matching
}

fn detector(table: &Table<'_>, detectors: &[(usize, DetectorConfig)]) -> Option<String> {
    let At { at, value } = table.string("detector")?;
    // What no detector finds: the end of a run past its deadline.
    let known = detectors.iter().map(|(_, detector)| detector.name.as_str()).chain(["deadline"]);
    if !known.clone().any(|name| name == value) {
        let names: Vec<String> = known.clone().map(|name| format!("`{name}`")).collect();
        let hint = table.sink.did_you_mean(value, known);
        let hint = hint.unwrap_or_else(|| format!("known here: {}", names.join(", ")));
        let message = format!("`detector` {} is no detector of this process", quoted(value));
        table.sink.doubtful(at, message, Some(hint));
    }
    Some(value.to_owned())
}

fn message(table: &Table<'_>) -> Option<regex::Regex> {
    let At { at, value } = table.string_as("message", "a regular expression in quotes")?;
    let built = regex::RegexBuilder::new(value).size_limit(PATTERN_SIZE_MAX).build();
    built.map_err(|error| table.sink.wrong(at, wrong_pattern("message", value, &error))).ok()
}

/// `exit = 137` or `exit = [1, 137]`.
fn exits(table: &Table<'_>) -> Vec<i32> {
    let Some(At { at, value }) = table.any("exit") else { return Vec::new() };
    let number = |value: &DeValue<'_>| {
        let number = super::super::raw::owned(value).and_then(|value| value.as_integer());
        number.and_then(|number| i32::try_from(number).ok()).filter(|number| (-1..=255).contains(number))
    };
    let found: Option<Vec<i32>> = match value {
        DeValue::Integer(_) => number(value).map(|one| vec![one]),
        DeValue::Array(list) => list.iter().map(|item| number(item.get_ref())).collect(),
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => None,
    };
    if found.is_none() {
        let message = "`exit` must be an exit status from 0 to 255 (128 plus the number of a signal), or a list of them";
        table.sink.wrong(at, message);
    }
    found.unwrap_or_default()
}

fn action(rule: &Table<'_>, context: &Context<'_>, process: &Table<'_>) -> Option<RuleAction> {
    let table = rule.table("action", &format!("`action` of {}", rule.label));
    if table.is_none() && !rule.has("action") {
        let hint = "action = { kind = \"restart\" }".to_owned();
        rule.sink.doubtful(rule.at, format!("{} without an `action`", rule.label), Some(hint));
    }
    let table = table?;
    let Some(kind) = table.choice("kind", &KINDS) else {
        if !table.has("kind") {
            table.sink.doubtful(table.at, format!("{} without a `kind`", table.label), None);
        }
        return None;
    };
    let action = match kind {
        Kind::Restart => Some(RuleAction::Restart),
        Kind::RestartWithEnv => set(&table, process).map(|set| RuleAction::RestartWithEnv { set }),
        Kind::Pause => Some(RuleAction::Pause),
        Kind::Abort => Some(RuleAction::Abort),
        Kind::Command => command(&table, context),
        Kind::Agent => Some(RuleAction::Agent),
    };
    table.finish();
    action
}

fn command(table: &Table<'_>, context: &Context<'_>) -> Option<RuleAction> {
    let words = table.words("command");
    if words.is_none() && !table.has("command") {
        let hint = "command = [\"./clean-cache.sh\"]; it is never run by a shell".to_owned();
        table.sink.doubtful(table.at, format!("{} without a `command`", table.label), Some(hint));
    }
    let timeout_s = table.seconds("timeout_s", Seconds { min: 1.0, max: COMMAND_MAX_S }).unwrap_or(COMMAND_S);
    let then = table.choice("then", &[("nothing", CommandThen::Nothing), ("restart", CommandThen::Restart)]);
    let words = words?;
    if words.value.first().is_none_or(|program| program.value.is_empty()) {
        table.sink.wrong(words.at, "`command` must name a program");
        return None;
    }
    let argv = context.places.words(&words.value, table.sink);
    Some(RuleAction::Command { argv, timeout_s, then: then.unwrap_or(CommandThen::Nothing) })
}

/// `set = { BATCH_SIZE = "half", MODE = "safe", LR = { change = "half", floor = 0.001 } }`
fn set(action: &Table<'_>, process: &Table<'_>) -> Option<BTreeMap<String, EnvChange>> {
    let table = action.table("set", &format!("`set` of {}", action.label));
    if table.is_none() && !action.has("set") {
        let hint = "set = { BATCH_SIZE = \"half\" }".to_owned();
        action.sink.doubtful(action.at, format!("{} without a `set`", action.label), Some(hint));
    }
    let table = table?;
    let mut set = BTreeMap::new();
    for (name, At { at, value }) in table.entries().take(SET_MAX) {
        if name.value.is_empty() || name.value.contains(['=', '\0']) {
            let message = format!("{} in `set` is no name of a variable", quoted(name.value));
            table.sink.wrong(name.at, message);
        } else if let Some(change) = change(&table, name.value, at, value) {
            if is_reckoned(&change) {
                known_number(process, name.value, at);
            }
            set.insert(name.value.to_owned(), change);
        }
    }
    if set.is_empty() {
        table.sink.doubtful(table.at, "`set` is empty: it would be a plain restart", None);
    }
    Some(set)
}

fn is_reckoned(change: &EnvChange) -> bool {
    match change {
        EnvChange::Half { .. } | EnvChange::Double { .. } => true,
        EnvChange::Literal(_) => false,
    }
}

fn change(table: &Table<'_>, name: &str, at: usize, value: &DeValue<'_>) -> Option<EnvChange> {
    match value {
        DeValue::String(text) if text == "half" => Some(EnvChange::Half { floor: None }),
        DeValue::String(text) if text == "double" => Some(EnvChange::Double { ceiling: None }),
        DeValue::String(text) if text.contains('\0') => {
            table.sink.wrong(at, format!("{} holds a NUL byte", quoted(name)));
            None
        }
        DeValue::Table(inner) => {
            let inner = Table::new(inner, at, &format!("{} of `set`", quoted(name)), table.sink);
            let change = bounded(&inner);
            inner.finish();
            change
        }
        other => {
            let text = env_text(other);
            if text.is_none() {
                let found = type_name(other);
                let message =
                    format!("{} in `set` must be a string or a number, found {found}", quoted(name));
                table.sink.wrong(at, message);
            }
            text.map(EnvChange::Literal)
        }
    }
}

/// `{ change = "half", floor = 1 }`, `{ change = "double", ceiling = 64 }`, `{ value = "half" }`
fn bounded(table: &Table<'_>) -> Option<EnvChange> {
    if table.has("value") {
        return table.string("value").map(|said| EnvChange::Literal(said.value.to_owned()));
    }
    let half = EnvChange::Half { floor: None };
    let double = EnvChange::Double { ceiling: None };
    if !table.has("change") {
        let message = format!("{} needs `change` (\"half\" or \"double\") or `value`", table.label);
        table.sink.doubtful(table.at, message, None);
    }
    let change = table.choice("change", &[("half", &half), ("double", &double)])?;
    let number = |key| table.number(key, f64::MIN..=f64::MAX);
    Some(match change {
        EnvChange::Half { .. } => EnvChange::Half { floor: number("floor") },
        EnvChange::Double { .. } | EnvChange::Literal(_) => EnvChange::Double { ceiling: number("ceiling") },
    })
}

/// Half of a word is nothing: said at once, and not in the night when it is needed.
fn known_number(process: &Table<'_>, name: &str, at: usize) {
    let written = process.peek_in("env", name);
    let text = match written {
        // From the environment of whoever starts it: nobody knows it yet.
        None => {
            let hint = format!("name it: env = {{ {name} = \"8\" }}");
            let message =
                format!("`set` reckons with {}, which is not in `env` of this process", quoted(name));
            return process.sink.doubtful(at, message, Some(hint));
        }
        Some(value) => env_text(value),
    };
    // What is no plain value is wrong where it stands.
    let Some(text) = text else { return };
    // A variable's value may be a number where it is started.
    if !text.contains("${") && text.trim().parse::<f64>().is_err() {
        let shown = quoted(&text);
        process
            .sink
            .wrong(at, format!("`set` reckons with {}, but {shown} in `env` is no number", quoted(name)));
    }
}

//! `[[process]]`: a supervised command outside tmux. Its host, its command, what its end means, what it waits for.
//!
//! Deliberately not here: what is looked for (`detectors.rs`), what is done about it (`rules.rs`, `healing.rs`), and whether
//! folders, programs and images exist: that is looked at when it is started.

mod detectors;
mod healing;
mod rules;

pub use detectors::parse_detectors;

use super::problem::quoted;
use super::process_types::{
    DetectorConfig, DetectorKind, Healing, HealingAgent, Lifecycle, ProcessHost, ProcessUnit, Requirements,
    RestartBudget, Rule, RuleAction,
};
use super::raw::{At, Seconds, Table, type_name};
use super::types::{Ladder, Role, Unit};
use super::units::{Context, UnitKind};
use crate::base::names::UnitName;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use toml::de::DeValue;

/// Most restarts that a budget allows; nobody counts further.
const RESTARTS_MAX: usize = 100_000;
/// Most files, programs, variables or arguments in a list.
const LIST_MAX: usize = 100;
/// Smallest and largest log before it is rotated, MB.
const LOG_MB: std::ops::RangeInclusive<usize> = 1..=1_000_000;
/// Largest log when none is named, MB.
const LOG_MB_STANDARD: usize = 100;
/// Incidents kept when nothing else is said.
const INCIDENTS_STANDARD: usize = 200;
/// Their age, seconds: 90 days.
const INCIDENTS_AGE_S: f64 = 7_776_000.0;
/// Ends with the same failure in a row that stop trying (SPEC 9).
const IDENTICAL_STANDARD: usize = 5;

/// The hosts by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostKind {
    Local,
    Attach,
    Slurm,
    Docker,
}

const HOSTS: [(&str, HostKind); 5] = [
    ("local", HostKind::Local),
    ("attach", HostKind::Attach),
    ("slurm", HostKind::Slurm),
    ("docker", HostKind::Docker),
    ("podman", HostKind::Docker),
];

const LIFECYCLES: [(&str, Lifecycle); 3] = [
    ("restart-on-failure", Lifecycle::RestartOnFailure),
    ("one-shot", Lifecycle::OneShot),
    ("restart-always", Lifecycle::RestartAlways),
];

/// Reads a process's own keys. None when one that it can't do without is wrong, which is reported.
pub(super) fn process<'a>(table: &Table<'a>, context: &Context<'a>) -> Option<Role> {
    let kind = match table.has("host") {
        true => table.choice("host", &HOSTS),
        false => Some(HostKind::Local),
    };
    let host = host(table, kind, context);
    let command = command(table, kind, context);
    let restart = restart(table);
    let lifecycle = table.choice("lifecycle", &LIFECYCLES).unwrap_or(Lifecycle::RestartOnFailure);
    let after = after(table, context);
    let require = require(table);
    let deadline_s = table.seconds("deadline_s", Seconds::INTERVAL);
    let max_identical = table.count("max_identical", &(1..=RESTARTS_MAX)).unwrap_or(IDENTICAL_STANDARD);
    let config_snapshots = snapshots(table, context);
    let mut detectors = detectors::detectors(table);
    let healing = healing::healing(table, context, &detectors);
    let rules = rules::rules(table, context, &detectors);
    let log_mb = table.count("log_max_mb", &LOG_MB).unwrap_or(LOG_MB_STANDARD);
    let incidents_max = table.count("incidents_max", &(1..=100_000)).unwrap_or(INCIDENTS_STANDARD);
    let incidents_age_s = table.seconds("incidents_age_s", Seconds::INTERVAL).unwrap_or(INCIDENTS_AGE_S);
    if kind == Some(HostKind::Attach) {
        never_started(table, host.as_ref(), &rules);
        unread(table, host.as_ref(), &mut detectors);
    }
    if healing.agent == HealingAgent::Off {
        for (at, rule) in rules.iter().filter(|(_, rule)| rule.action == RuleAction::Agent) {
            let message = format!("rule {} asks an agent, and healing `agent` is off", quoted(&rule.name));
            table.sink.wrong(*at, message);
        }
    }
    let max_identical = u32::try_from(max_identical).unwrap_or(u32::MAX);
    Some(Role::Process(Box::new(ProcessUnit {
        host: host?,
        command: command?,
        restart,
        lifecycle,
        after,
        require,
        deadline_s,
        max_identical,
        config_snapshots,
        detectors: detectors.into_iter().map(|(_, detector)| detector).collect(),
        rules: rules.into_iter().map(|(_, rule)| rule).collect(),
        healing,
        log_max: (log_mb as u64) << 20,
        incidents_max,
        incidents_age_s,
    })))
}

/// What only one host has. Keys of another one are wrong here.
fn host(table: &Table<'_>, kind: Option<HostKind>, context: &Context<'_>) -> Option<ProcessHost> {
    const OF: [(&str, HostKind); 8] = [
        ("pid", HostKind::Attach),
        ("pid_file", HostKind::Attach),
        ("log", HostKind::Attach),
        ("allow_kill", HostKind::Attach),
        ("sbatch_args", HostKind::Slurm),
        ("image", HostKind::Docker),
        ("engine", HostKind::Docker),
        ("run_args", HostKind::Docker),
    ];
    let kind = kind?;
    for (key, of) in OF.into_iter().filter(|(_, of)| *of != kind) {
        if let Some(said) = table.any(key) {
            let word = HOSTS.iter().find(|(_, host)| *host == of).map_or("", |(word, _)| word);
            table.sink.wrong(said.at, format!("`{key}` means something only with host = \"{word}\""));
        }
    }
    match kind {
        HostKind::Local => Some(ProcessHost::Local),
        HostKind::Attach => attach(table, context),
        HostKind::Slurm => Some(ProcessHost::Slurm { args: words(table, "sbatch_args", context) }),
        HostKind::Docker => docker(table, context),
    }
}

fn attach(table: &Table<'_>, context: &Context<'_>) -> Option<ProcessHost> {
    let path = |key: &'static str| {
        table.string_as(key, "the path of a file").and_then(|said| context.places.path(key, said, table.sink))
    };
    let pid = table.count("pid", &(1..=(1 << 22))).and_then(|pid| i32::try_from(pid).ok());
    let (pid_file, log) = (path("pid_file"), path("log"));
    let allow_kill = table.flag("allow_kill").unwrap_or(false);
    match (table.any("pid"), table.has("pid_file")) {
        (Some(said), true) => {
            table.sink.wrong(said.at, "both `pid` and `pid_file` are given; keep one of them");
        }
        (None, false) => {
            let hint = "`pid_file = \"run/train.pid\"`, or `pid = 4242`".to_owned();
            let message = format!("{} needs `pid` or `pid_file`: whom to watch", table.label);
            table.sink.doubtful(table.at, message, Some(hint));
            return None;
        }
        (Some(_), false) | (None, true) => {}
    }
    Some(ProcessHost::Attach { pid, pid_file, log, allow_kill })
}

fn docker(table: &Table<'_>, context: &Context<'_>) -> Option<ProcessHost> {
    let said_host = table.peek("host").unwrap_or("docker");
    let engine = word(table, "engine", context).unwrap_or_else(|| said_host.to_owned());
    let args = words(table, "run_args", context);
    let image = word(table, "image", context);
    if image.is_none() && !table.has("image") {
        let hint = "`image = \"docker.io/library/python:3.13\"`".to_owned();
        table.sink.doubtful(table.at, format!("{} needs an `image`", table.label), Some(hint));
    }
    Some(ProcessHost::Docker { engine, image: image?, args })
}

/// A word that is handed to a program: not empty, and no option.
fn word(table: &Table<'_>, key: &'static str, context: &Context<'_>) -> Option<String> {
    let said = table.string(key)?;
    let text = context.places.word(said, table.sink)?;
    if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
        table.sink.wrong(said.at, format!("`{key}` {} must not be empty, nor begin with `-`", quoted(&text)));
        return None;
    }
    Some(text)
}

/// A list of words, variables replaced.
fn words(table: &Table<'_>, key: &'static str, context: &Context<'_>) -> Vec<String> {
    let Some(words) = table.words(key) else { return Vec::new() };
    if words.value.len() > LIST_MAX {
        table.sink.wrong(words.at, format!("`{key}` has {} words, at most {LIST_MAX}", words.value.len()));
    }
    context.places.words(&words.value, table.sink)
}

fn command(table: &Table<'_>, kind: Option<HostKind>, context: &Context<'_>) -> Option<Vec<String>> {
    let said = table.words("command");
    if kind == Some(HostKind::Attach) {
        if let Some(said) = table.any("command") {
            table
                .sink
                .wrong(said.at, "`command` with host = \"attach\": what is attached to is never started");
        }
        return Some(Vec::new());
    }
    if said.is_none() && !table.has("command") {
        // An image has a command of its own.
        if kind == Some(HostKind::Docker) {
            return Some(Vec::new());
        }
        let hint = "write it as a list of words: `command = [\"python\", \"train.py\"]`".to_owned();
        table.sink.doubtful(table.at, format!("{} without a `command`", table.label), Some(hint));
    }
    let said = said?;
    let command = context.places.words(&said.value, table.sink);
    if said.value.first().is_none_or(|program| program.value.is_empty()) {
        table.sink.wrong(said.at, "`command` must name a program");
        return None;
    }
    Some(command)
}

fn restart(process: &Table<'_>) -> RestartBudget {
    let mut budget = RestartBudget::default();
    let Some(table) = process.table("restart", &format!("`restart` of {}", process.label)) else {
        return budget;
    };
    if let Some(max) = table.count("max", &(0..=RESTARTS_MAX)) {
        budget.max = u32::try_from(max).unwrap_or(u32::MAX);
    }
    budget.cooldown_s = table.seconds("cooldown_s", Seconds::DURATION).unwrap_or(budget.cooldown_s);
    table.finish();
    budget
}

/// The processes that must have ended well before.
fn after(table: &Table<'_>, context: &Context<'_>) -> Vec<UnitName> {
    let said = match table.any("after") {
        None => return Vec::new(),
        Some(At { at, value: DeValue::String(name) }) => vec![At { at, value: &**name }],
        Some(_) => table.words("after").map(|words| words.value).unwrap_or_default(),
    };
    let mut names = Vec::new();
    for name in said.into_iter().take(LIST_MAX) {
        let shown = quoted(name.value);
        match context.names.get(name.value) {
            None => {
                let of_processes = context.names.iter().filter(|(_, kind)| **kind == UnitKind::Process);
                let hint = table.sink.did_you_mean(name.value, of_processes.map(|(name, _)| *name));
                table.sink.doubtful(name.at, format!("`after` names no process: {shown}"), hint);
            }
            Some(UnitKind::Agent | UnitKind::Service) => {
                let message = format!("`after` {shown} is no process: only a process can end well");
                table.sink.wrong(name.at, message);
            }
            Some(UnitKind::Process) => names.extend(UnitName::new(name.value).ok()),
        }
    }
    names
}

fn require(process: &Table<'_>) -> Requirements {
    let Some(table) = process.table("require", &format!("`require` of {}", process.label)) else {
        return Requirements::default();
    };
    let list = |key: &'static str, bad: fn(char) -> bool| {
        let words = table.words(key).map(|words| words.value).unwrap_or_default();
        let good = |word: &At<&str>| {
            let good = !word.value.is_empty() && !word.value.contains(bad);
            if !good {
                table.sink.wrong(word.at, format!("{} in `{key}` is no name", quoted(word.value)));
            }
            good
        };
        words.into_iter().take(LIST_MAX).filter(good).map(|word| word.value.to_owned()).collect()
    };
    let programs = list("programs", char::is_control);
    let env = list("env", |c| c == '=' || c.is_control() || c.is_whitespace());
    table.finish();
    Requirements { programs, env }
}

fn snapshots(table: &Table<'_>, context: &Context<'_>) -> Vec<PathBuf> {
    let Some(words) = table.words("config_snapshots") else { return Vec::new() };
    if words.value.len() > LIST_MAX {
        let message = format!("`config_snapshots` names {} files, at most {LIST_MAX}", words.value.len());
        table.sink.wrong(words.at, message);
    }
    let path = |word: &At<&str>| context.places.path("config_snapshots", *word, table.sink);
    words.value.iter().take(LIST_MAX).filter_map(path).collect()
}

/// What is attached to is somebody else's: nothing that starts it makes sense.
fn never_started(table: &Table<'_>, host: Option<&ProcessHost>, rules: &[(usize, Rule)]) {
    for key in ["restart", "lifecycle", "require", "deadline_s", "max_identical", "after"] {
        if let Some(said) = table.any(key) {
            let message = format!("`{key}` with host = \"attach\": what is attached to is never started");
            table.sink.wrong(said.at, message);
        }
    }
    let may_kill = matches!(host, Some(ProcessHost::Attach { allow_kill: true, .. }));
    for (at, rule) in rules {
        let why = match &rule.action {
            RuleAction::Restart | RuleAction::RestartWithEnv { .. } => "what is attached to is never started",
            RuleAction::Command { then: super::process_types::CommandThen::Restart, .. } => {
                "what is attached to is never started"
            }
            RuleAction::Pause | RuleAction::Abort if !may_kill => {
                "what is attached to is only ended with `allow_kill = true`"
            }
            RuleAction::Pause | RuleAction::Abort | RuleAction::Command { .. } | RuleAction::Agent => {
                continue;
            }
        };
        table.sink.wrong(*at, format!("rule {} with host = \"attach\": {why}", quoted(&rule.name)));
    }
}

/// Without a log of it nothing but its end can be seen.
fn unread(table: &Table<'_>, host: Option<&ProcessHost>, detectors: &mut Vec<(usize, DetectorConfig)>) {
    let Some(ProcessHost::Attach { log: None, .. }) = host else { return };
    if table.has("log") {
        return; // What is wrong with it is told already.
    }
    if !table.has("detectors") {
        return detectors.retain(|(_, detector)| matches!(detector.kind, DetectorKind::Exit { .. }));
    }
    for (at, detector) in detectors.iter().filter(|(_, d)| !matches!(d.kind, DetectorKind::Exit { .. })) {
        let message = format!("detector {} reads a log, and no `log` is given", quoted(&detector.name));
        table.sink.wrong(*at, message);
    }
}

/// Numbers in an environment: `BATCH_SIZE = 8` means the text. None for what is no plain value.
fn env_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
            super::raw::owned(value).map(|value| value.to_string())
        }
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Reads a process's `env`: strings with their variables replaced, and plain numbers.
pub(super) fn env(process: &Table<'_>, context: &Context<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let Some(table) = process.table("env", &format!("`env` of {}", process.label)) else { return env };
    for (name, At { at, value }) in table.entries() {
        if name.value.is_empty() || name.value.contains(['=', '\0']) {
            let message = format!("{} in `env` is no name of a variable", quoted(name.value));
            table.sink.wrong(name.at, message);
            continue;
        }
        let Some(text) = env_text(value) else {
            let message = format!(
                "{} in `env` must be a string or a number, found {}",
                quoted(name.value),
                type_name(value)
            );
            table.sink.wrong(at, message);
            continue;
        };
        if let Some(text) = context.places.word(At { at, value: &text }, table.sink) {
            env.insert(name.value.to_owned(), text);
        }
    }
    env
}

/// How it is ended: TERM, `grace_s`, KILL. A process has no tiers: its rules say what is done.
pub(super) fn ending(table: &Table<'_>) -> Ladder {
    let standard = Ladder::default();
    let grace_s = table.seconds("grace_s", Seconds::DURATION).unwrap_or(standard.grace_s);
    Ladder { tiers: Vec::new(), grace_s, ..standard }
}

/// What can only be said when all units are known: circles of `after`, numbers that are none.
pub(super) fn check(
    places: &BTreeMap<UnitName, usize>,
    units: &BTreeMap<UnitName, Unit>,
    context: &Context<'_>,
) {
    let sink = context.sink;
    let mut told: BTreeSet<&UnitName> = BTreeSet::new();
    for (name, unit) in units {
        let Some(process) = unit.process() else { continue };
        let at = places.get(name).copied().unwrap_or(0);
        if !told.contains(name)
            && let Some(circle) = circle(name, units)
        {
            told.extend(circle.iter().copied());
            let names: Vec<String> = circle.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("`after` goes in a circle: {} → `{name}`", names.join(" → "));
            sink.wrong(at, message);
        }
        for earlier in process.after.iter().filter_map(|name| units.get(name)) {
            let never = earlier.process().is_some_and(|p| p.lifecycle == Lifecycle::RestartAlways);
            if never {
                let message =
                    format!("`{name}` would wait for ever: `{}` is always started again", earlier.name);
                sink.wrong(at, message);
            }
            if earlier.process().is_some_and(|p| matches!(p.host, ProcessHost::Attach { .. })) {
                let message = format!(
                    "`{name}` would wait for ever: how `{}` ends is not seen, for somebody else started it",
                    earlier.name
                );
                sink.wrong(at, message);
            }
        }
    }
}

/// The way from a process back to itself by `after`, if there is one.
fn circle<'u>(start: &'u UnitName, units: &'u BTreeMap<UnitName, Unit>) -> Option<Vec<&'u UnitName>> {
    let mut seen: BTreeSet<&UnitName> = BTreeSet::new();
    let mut ways: Vec<Vec<&UnitName>> = vec![vec![start]];
    while let Some(way) = ways.pop() {
        let last = way.last().and_then(|name| units.get(*name)).and_then(Unit::process);
        for next in last.into_iter().flat_map(|process| &process.after) {
            if next == start {
                return Some(way);
            }
            if seen.insert(next) {
                let mut longer = way.clone();
                longer.push(next);
                ways.push(longer);
            }
        }
    }
    None
}

/// The healing that a process has without a `[process.healing]`.
fn standard_healing() -> Healing {
    Healing { agent: HealingAgent::Auto, ..Healing::default() }
}

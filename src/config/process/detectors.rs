//! `detectors`: what is looked for in a process's output and life. Also read alone, for `scan`.

use super::super::problem::{Sink, quoted, render};
use super::super::process_types::{DetectorConfig, DetectorKind};
use super::super::raw::{At, DEPTH_MAX, Seconds, Table, is_shallow};
use std::collections::BTreeMap;
use toml::de::DeTable;

/// Most detectors of one process.
const DETECTORS_MAX: usize = 100;
/// Largest compiled pattern, bytes: more is a mistake.
pub(super) const PATTERN_SIZE_MAX: usize = 1 << 20;
/// Silence after a finding that is the same: a pattern that matches each line is no news each time.
const COOLDOWN_S: f64 = 60.0;
/// Silence that is a stall when nothing is said (SPEC 4).
const NO_PROGRESS_S: f64 = 1800.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pattern,
    Traceback,
    Stall,
    Metric,
    Exit,
}

const KINDS: [(&str, Kind); 5] = [
    ("pattern", Kind::Pattern),
    ("traceback", Kind::Traceback),
    ("stall", Kind::Stall),
    ("metric", Kind::Metric),
    ("exit", Kind::Exit),
];

/// Reads `detectors`, each with its place; tracebacks and bad ends when there are none.
pub(super) fn detectors(process: &Table<'_>) -> Vec<(usize, DetectorConfig)> {
    if !process.has("detectors") {
        return [("traceback", DetectorKind::Traceback), ("exit", DetectorKind::Exit { any: false })]
            .into_iter()
            .map(|(name, kind)| {
                (process.at, DetectorConfig { name: name.to_owned(), kind, cooldown_s: COOLDOWN_S })
            })
            .collect();
    }
    listed(process)
}

fn listed(process: &Table<'_>) -> Vec<(usize, DetectorConfig)> {
    let tables = process.tables_in("detectors");
    if let Some(over) = tables.get(DETECTORS_MAX) {
        let message = format!("{} detectors, at most {DETECTORS_MAX} are looked for", tables.len());
        process.sink.wrong(over.at, message);
    }
    let mut detectors: Vec<(usize, DetectorConfig)> = Vec::new();
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for table in tables.into_iter().take(DETECTORS_MAX) {
        let (at, sink) = (table.at, table.sink);
        let Some(detector) = detector(table) else { continue };
        if let Some(first) = named.get(&detector.name) {
            let line = sink.line(*first);
            let hint = "give each a `name` of its own: rules go by it".to_owned();
            let message = format!("the detector {} is already there on line {line}", quoted(&detector.name));
            sink.wrong_hint(at, message, Some(hint));
            continue;
        }
        named.insert(detector.name.clone(), at);
        detectors.push((at, detector));
    }
    detectors
}

fn detector(mut table: Table<'_>) -> Option<DetectorConfig> {
    let said = name(&table, "name");
    if let Some(name) = &said {
        table.label = format!("detector {}", quoted(name));
    }
    let kind = table.choice("kind", &KINDS);
    if kind.is_none() && !table.has("kind") {
        let hint = "kind = \"pattern\" | \"traceback\" | \"stall\" | \"metric\" | \"exit\"".to_owned();
        table.sink.doubtful(table.at, format!("{} without a `kind`", table.label), Some(hint));
    }
    let cooldown_s = table.seconds("cooldown_s", Seconds::DURATION).unwrap_or(COOLDOWN_S);
    let meant = kind.and_then(|kind| meant(&table, kind));
    // A detector of no kind: its keys can't be judged.
    if kind.is_some() {
        table.finish();
    }
    let word = KINDS.iter().find(|(_, of)| Some(*of) == kind).map_or("", |(word, _)| word);
    let name = said.unwrap_or_else(|| word.to_owned());
    Some(DetectorConfig { name, kind: meant?, cooldown_s })
}

fn meant(table: &Table<'_>, kind: Kind) -> Option<DetectorKind> {
    match kind {
        Kind::Pattern => Some(DetectorKind::Pattern { regex: needed(table, "regex")? }),
        Kind::Traceback => Some(DetectorKind::Traceback),
        Kind::Stall => {
            let metric = pattern(table, "metric_regex");
            let no_progress_s = table.seconds("no_progress_s", Seconds::INTERVAL).unwrap_or(NO_PROGRESS_S);
            if table.has("metric_regex") && metric.is_none() {
                return None;
            }
            Some(DetectorKind::Stall { metric, no_progress_s })
        }
        Kind::Metric => {
            let regex = needed(table, "regex");
            let number = |key| table.number(key, f64::MIN..=f64::MAX);
            let (above, below) = (number("above"), number("below"));
            let jump = table.number("jump", 1.0..=1e12);
            let none = !["above", "below", "jump"].iter().any(|key| table.has(key));
            if none {
                let message = format!("{} needs `above`, `below` or `jump`", table.label);
                let hint = "jump = 3 fires when a value is 3 times its recent median, or a third of it";
                table.sink.doubtful(table.at, message, Some(hint.to_owned()));
            }
            Some(DetectorKind::Metric { regex: regex?, above, below, jump })
        }
        Kind::Exit => Some(DetectorKind::Exit { any: table.flag("any").unwrap_or(false) }),
    }
}

fn needed(table: &Table<'_>, key: &'static str) -> Option<regex::bytes::Regex> {
    let found = pattern(table, key);
    if found.is_none() && !table.has(key) {
        table.sink.doubtful(table.at, format!("{} without a `{key}`", table.label), None);
    }
    found
}

/// A pattern over bytes.
fn pattern(table: &Table<'_>, key: &'static str) -> Option<regex::bytes::Regex> {
    let At { at, value } = table.string_as(key, "a regular expression in quotes")?;
    if value.is_empty() {
        table.sink.wrong(at, format!("`{key}` is empty: it would match every line"));
        return None;
    }
    let built = regex::bytes::RegexBuilder::new(value).size_limit(PATTERN_SIZE_MAX).build();
    built.map_err(|error| table.sink.wrong(at, wrong_pattern(key, value, &error))).ok()
}

/// What is wrong with a pattern, in one fragment.
pub(super) fn wrong_pattern(key: &str, value: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    format!("`{key}` {} is no regular expression: {why}", quoted(value))
}

/// A name that stands in file names and tables.
pub(super) fn name(table: &Table<'_>, key: &'static str) -> Option<String> {
    let At { at, value } = table.string(key)?;
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if value.is_empty() || value.len() > 64 || !value.chars().all(good) {
        let message =
            format!("`{key}` {} must be from 1 to 64 letters, digits, `.`, `_` and `-`", quoted(value));
        table.sink.wrong(at, message);
        return None;
    }
    Some(value.to_owned())
}

/// The detectors of a file that holds `detectors = [...]` or `[[detectors]]` and nothing else; the problems as text when
/// there are any. `shown` is what messages call the file.
pub fn parse_detectors(shown: &str, text: &str) -> Result<Vec<DetectorConfig>, String> {
    let sink = Sink::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut document = document.into_inner();
    for error in errors {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        sink.syntax(at, error.message());
    }
    let mut found = Vec::new();
    if is_shallow(&mut document) {
        let root = Table::new(&document, 0, shown, &sink);
        if !root.has("detectors") {
            sink.doubtful(0, "no `detectors` in it", None);
        }
        found = listed(&root).into_iter().map(|(_, detector)| detector).collect();
        root.finish();
    } else {
        sink.wrong(0, format!("tables and lists are nested deeper than {DEPTH_MAX}"));
    }
    let problems = sink.finish();
    if problems.is_empty() { Ok(found) } else { Err(render(shown, &problems)) }
}

//! Recorded ticks: `fixtures/ticks/<case>/{agents.toml,state.json,seen.json}` through `decide`, against `want.json`.
//!
//! `UPDATE=1 cargo test --test ticks` rewrites what is wanted; `git diff` shows what that means. `tick --record DIR` makes a
//! new case of a live tick.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use watchkeeper::config::{self, Config, Source};
use watchkeeper::engine::record::RecordedState;
use watchkeeper::model::seen::Observation;
use watchkeeper::policy::proposal::{Decision, What};
use watchkeeper::policy::{POLICIES, decide, decide_with};
use watchkeeper::state::State;

struct Case {
    config: Config,
    state: State,
    seen: Observation,
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ticks");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 10, "only {} cases in {}", cases.len(), folder.display());
    cases
}

fn text(case: &Path, file: &str) -> String {
    let path = case.join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn load(case: &Path) -> Case {
    let toml = text(case, "agents.toml");
    let parsed = config::parse(&Source {
        path: Path::new("/fleet/agents.toml"),
        text: &toml,
        home: Path::new("/home/op"),
        env: &|_| None,
        read: &|_| Ok("Do the work.".to_owned()),
        state_override: None,
    });
    let problems = config::render("agents.toml", &parsed.problems);
    let recorded: RecordedState = serde_json::from_str(&text(case, "state.json")).unwrap();
    Case {
        config: parsed.config.unwrap_or_else(|| panic!("{}\n{problems}", case.display())),
        state: recorded.state(),
        seen: serde_json::from_str(&text(case, "seen.json")).unwrap(),
    }
}

/// What a person would want to know of a decision.
fn describe(case: &Case, decision: &Decision) -> Value {
    let acts: Vec<Value> = decision
        .granted
        .iter()
        .map(|granted| {
            let what = match &granted.what {
                What::Act(action) => serde_json::to_value(action).unwrap(),
                What::Deliver(message) => json!({ "deliver": message.text }),
                What::End(ending) => json!({ "end": ending.then }),
            };
            let why = format!("{}: {}", granted.why.rule, granted.why.sentence());
            json!({ "unit": granted.unit, "label": granted.label, "why": why, "what": what })
        })
        .collect();
    let holds: Vec<String> = decision
        .holds
        .iter()
        .map(|hold| format!("{}: {} withheld: {}", hold.unit, hold.remedy, hold.why))
        .collect();
    let events: Vec<String> = decision
        .events
        .iter()
        .map(|event| {
            let of = event.unit.as_deref().unwrap_or("fleet");
            format!("{:?} {of}: {}", event.kind, event.text)
        })
        .collect();
    let mut changed = Map::new();
    let old = serde_json::to_value(RecordedState::new(&case.state)).unwrap();
    let new = serde_json::to_value(RecordedState::new(&decision.next)).unwrap();
    differences("", &old, &new, &mut changed);
    json!({
        "acts": acts, "markers": decision.markers, "holds": holds, "events": events, "due_s": decision.due_s,
        "changed": changed,
    })
}

/// The leaves that differ, by their path. What is new and empty is no difference: a later field must not change this.
fn differences(path: &str, old: &Value, new: &Value, out: &mut Map<String, Value>) {
    let nothing = Map::new();
    match (old, new) {
        (Value::Object(_) | Value::Null, Value::Object(new)) => {
            let old = old.as_object().unwrap_or(&nothing);
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let (old, new) = (old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null));
                differences(&format!("{path}/{key}"), old, new, out);
            }
        }
        (Value::Null, Value::Null | Value::Bool(false)) => {}
        (Value::Null, Value::Number(n)) if n.as_f64() == Some(0.0) => {}
        (Value::Null, Value::String(text)) if text.is_empty() => {}
        (Value::Null, Value::Array(items)) if items.is_empty() => {}
        _ if old != new => {
            out.insert(path.to_owned(), new.clone());
        }
        _ => {}
    }
}

#[test]
fn every_recorded_tick_is_decided_as_wanted() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in cases() {
        let case = load(&path);
        let got = describe(&case, &decide(&case.config, &case.state, &case.seen));
        let got = format!("{}\n", serde_json::to_string_pretty(&got).unwrap());
        let want = path.join("want.json");
        if update {
            std::fs::write(&want, &got).unwrap();
        } else if std::fs::read_to_string(&want).unwrap_or_default() != got {
            wrong.push(format!("{}: got\n{got}", want.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 rewrites them", wrong.join("\n"));
}

#[test]
fn the_order_of_the_policies_does_not_matter_and_neither_does_asking_twice() {
    for path in cases() {
        let case = load(&path);
        let want = decide(&case.config, &case.state, &case.seen);
        assert_eq!(want, decide(&case.config, &case.state, &case.seen), "{}", path.display());
        let mut table = POLICIES.to_vec();
        for _ in 0..table.len() {
            table.rotate_left(1);
            let got = decide_with(&table, &case.config, &case.state, &case.seen);
            assert_eq!(got.granted, want.granted, "{}: {table:?}", path.display());
            assert_eq!(got.holds, want.holds, "{}: {table:?}", path.display());
            assert_eq!(got.next, want.next, "{}: {table:?}", path.display());
        }
    }
}

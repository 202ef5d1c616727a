//! The screen reader against real captures (`fixtures/panes`): each screen has a state given by people.
//!
//! `cargo test --test screens -- --nocapture` prints the confusion table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use watchkeeper::config::Backend;
use watchkeeper::detect::screen::{Look, read};
use watchkeeper::model::seen::{Reading, ScreenState, Substate};

/// The CLIs of the captures.
const CLIS: [&str; 6] = ["claude", "codex", "opencode", "gemini", "qwen", "aider"];

static BACKENDS: LazyLock<BTreeMap<&str, Backend>> = LazyLock::new(|| {
    let make = |name: &&'static str| {
        let table = Backend::builtin(name).unwrap();
        (*name, Backend::from_table(name, &table).unwrap())
    };
    Backend::builtin_names().iter().map(make).collect()
});

/// A labelled capture.
struct Sample {
    path: String,
    cli: String,
    title: String,
    dead: bool,
    state: String,
    substate: String,
    note: String,
    /// As text and with attributes.
    forms: [String; 2],
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/panes")
}

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let labels = std::fs::read_to_string(folder().join("labels.tsv")).unwrap();
    let sample = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let file = |path: &str| std::fs::read_to_string(folder().join(path)).unwrap();
        Sample {
            path: fields[0].into(),
            cli: fields[1].into(),
            title: fields[4].into(),
            dead: fields[5] == "1",
            state: fields[7].into(),
            substate: fields[8].into(),
            note: fields[9].into(),
            forms: [file(fields[0]), file(&fields[0].replace(".txt", ".ansi"))],
        }
    };
    labels.lines().skip(1).map(sample).collect()
});

fn look(sample: &Sample, screen: &str) -> Reading {
    look_as(sample, screen, &sample.title)
}

fn look_as(sample: &Sample, screen: &str, title: &str) -> Reading {
    let look = Look { screen, title, dead: sample.dead, command: "", vote: None };
    read(&BACKENDS[sample.cli.as_str()], &look)
}

/// The label's word for a reading.
fn label(reading: &Reading) -> String {
    if reading.substate == Some(Substate::Retrying) {
        return "retrying".into();
    }
    format!("{:?}", reading.state).to_lowercase()
}

fn substate(reading: &Reading) -> String {
    match reading.substate {
        None | Some(Substate::Retrying) => String::new(),
        Some(substate) => format!("{substate:?}").to_lowercase(),
    }
}

fn is_right(sample: &Sample, reading: &Reading) -> bool {
    let got = label(reading);
    let silent = sample.note.starts_with("silent-retry") && got == "retrying";
    (got == sample.state || silent) && substate(reading) == sample.substate
}

/// A confusion that would do harm.
fn is_harmful(sample: &Sample, got: &str) -> bool {
    let rested = ["idle", "draft", "dead", "shell"].contains(&got);
    rested && ["busy", "retrying", "blocked"].contains(&sample.state.as_str())
}

#[test]
fn captures_are_read_as_people_read_them() {
    let mut table: BTreeMap<(String, String), usize> = BTreeMap::new();
    let (mut right, mut all, mut harmful) = (0, 0, 0);
    for sample in SAMPLES.iter() {
        for (form, screen) in ["txt", "ansi"].iter().zip(&sample.forms) {
            let reading = look(sample, screen);
            let got = label(&reading);
            *table.entry((sample.state.clone(), got.clone())).or_default() += 1;
            all += 1;
            right += usize::from(is_right(sample, &reading));
            harmful += usize::from(is_harmful(sample, &got));
            if !is_right(sample, &reading) {
                let (want, kind) = (&sample.state, &sample.substate);
                println!("{} ({form}): want {want} {kind}, got {got} {}", sample.path, substate(&reading));
                println!("    {:?}", reading.evidence);
            }
        }
    }
    println!("{:<12} {:<12} count", "label", "read");
    for ((want, got), count) in &table {
        println!("{want:<12} {got:<12} {count}{}", if want == got { "" } else { "  <<" });
    }
    println!("{right} of {all} right");
    assert!(right * 100 >= all * 98, "{right} of {all} right");
    assert_eq!(harmful, 0);
}

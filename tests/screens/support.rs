//! The labelled captures, and what their labels mean.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use watchkeeper::config::Backend;
use watchkeeper::detect::screen::{Look, read};
use watchkeeper::model::seen::{Reading, Substate};

pub static BACKENDS: LazyLock<BTreeMap<&str, Backend>> = LazyLock::new(|| {
    let make = |name: &&'static str| {
        let table = Backend::builtin(name).unwrap();
        (*name, Backend::from_table(name, &table).unwrap())
    };
    Backend::builtin_names().iter().map(make).collect()
});

/// A labelled capture.
pub struct Sample {
    pub path: String,
    pub cli: String,
    pub title: String,
    pub dead: bool,
    pub state: String,
    pub substate: String,
    pub note: String,
    /// As text and with attributes.
    pub forms: [String; 2],
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/panes")
}

pub static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
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

pub fn look(sample: &Sample, screen: &str) -> Reading {
    look_as(sample, screen, &sample.title)
}

pub fn look_as(sample: &Sample, screen: &str, title: &str) -> Reading {
    let look = Look { screen, title, dead: sample.dead, command: "", alone: None, vote: None };
    read(&BACKENDS[sample.cli.as_str()], &look)
}

/// The label's word for a reading.
pub fn label(reading: &Reading) -> String {
    if reading.substate == Some(Substate::Retrying) {
        return "retrying".into();
    }
    format!("{:?}", reading.state).to_lowercase()
}

pub fn substate(reading: &Reading) -> String {
    match reading.substate {
        None | Some(Substate::Retrying) => String::new(),
        Some(substate) => format!("{substate:?}").to_lowercase(),
    }
}

pub fn is_right(sample: &Sample, reading: &Reading) -> bool {
    let got = label(reading);
    let silent = sample.note.starts_with("silent-retry") && got == "retrying";
    (got == sample.state || silent) && substate(reading) == sample.substate
}

/// A confusion that would do harm.
pub fn is_harmful(sample: &Sample, got: &str) -> bool {
    let rested = ["idle", "draft", "dead", "shell"].contains(&got);
    rested && ["busy", "retrying", "blocked"].contains(&sample.state.as_str())
}

/// Reads a screen of that CLI, given as text.
pub fn read_as(cli: &str, screen: &str, title: &str) -> Reading {
    read(&BACKENDS[cli], &Look { screen, title, dead: false, command: "", alone: None, vote: None })
}

/// A small generator (xorshift64*, Vigna 2016): the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// The capture without blank lines at its end.
pub fn trimmed(screen: &str) -> String {
    let mut lines: Vec<&str> = screen.lines().collect();
    while lines.last().is_some_and(|line| is_blank(line)) {
        lines.pop();
    }
    lines.join("\n")
}

fn is_blank(line: &str) -> bool {
    let mut in_sequence = false;
    line.chars().all(|c| {
        let blank = in_sequence || c == ' ' || c == '\x1b';
        in_sequence = if in_sequence { !c.is_ascii_alphabetic() } else { c == '\x1b' };
        blank
    })
}

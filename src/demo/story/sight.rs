//! What can be read while the story is played: the watchdog's events and alerts, and the agents' own transcripts.

use super::cast::{Player, transcript_file};
use super::stage::text_of;
use super::tell;
use crate::base::time::Wall;
use crate::policy::proposal::Event;
use crate::state::table;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Follows the event files.
#[derive(Debug)]
pub struct Events {
    dir: PathBuf,
    /// Whole lines read so far, by file.
    read: BTreeMap<PathBuf, usize>,
}

impl Events {
    /// Nothing read yet.
    pub fn new(state_dir: &Path) -> Events {
        Events { dir: state_dir.join("events"), read: BTreeMap::new() }
    }

    /// Those written since the last look, oldest first.
    pub fn more(&mut self) -> Vec<Event> {
        let mut days: Vec<PathBuf> =
            std::fs::read_dir(&self.dir).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
        days.sort();
        let mut found = Vec::new();
        for day in days {
            let text = text_of(&day);
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let read = self.read.entry(day).or_default();
            for line in whole.lines().skip(*read) {
                *read += 1;
                found.extend(serde_json::from_str::<Event>(line));
            }
        }
        found.sort_by(|a, b| (a.at, &a.unit, tell::rank(a)).cmp(&(b.at, &b.unit, tell::rank(b))));
        found
    }
}

/// One entry of a transcript.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// `start`, `user`, `assistant`, `error`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    pub at: Wall,
    /// What was said.
    #[serde(default)]
    pub text: String,
    /// Of a start.
    #[serde(default)]
    pub pid: u32,
}

/// A player's transcript: what it was told and what it did, by its own account.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// Oldest first.
    pub entries: Vec<Entry>,
}

impl Transcript {
    /// Reads it.
    pub fn of(dir: &Path, player: Player) -> Transcript {
        let text = text_of(&dir.join(transcript_file(player.name)));
        Transcript { entries: text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect() }
    }

    /// The prompts that reached it.
    pub fn prompts(&self) -> Vec<&Entry> {
        self.of_kind("user")
    }

    /// Its starts.
    pub fn starts(&self) -> Vec<&Entry> {
        self.of_kind("start")
    }

    /// The first thing that it said after `at`, its acknowledgement of a prompt not counted.
    pub fn worked_after(&self, at: Wall) -> Option<Wall> {
        let works = |entry: &&Entry| entry.kind == "assistant" && entry.text.starts_with("step ");
        self.entries.iter().filter(works).map(|entry| entry.at).find(|said| *said >= at)
    }

    fn of_kind(&self, kind: &str) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| entry.kind == kind).collect()
    }
}

/// Alerts to people about a player.
pub fn alerts(state_dir: &Path, player: Player) -> Vec<Alert> {
    let all = text_of(&state_dir.join(table::OUTBOX));
    let parsed = all.lines().filter_map(|line| serde_json::from_str::<Alert>(line).ok());
    parsed.filter(|alert| alert.unit.as_deref() == Some(player.name)).collect()
}

/// One line of the outbox.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// Whom it is about.
    pub unit: Option<String>,
    /// When it arose.
    pub at: Wall,
    /// The words.
    pub text: String,
}

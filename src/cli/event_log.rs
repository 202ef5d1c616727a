//! The event log as reading commands see it: the last events, and those that are added.
//!
//! A line that is no event (torn by a crash) is skipped: the file keeps it.

use crate::base::error::Result;
use crate::base::time::Wall;
use crate::policy::proposal::{Event, EventKind};
use crate::policy::summary_text;
use crate::sys::Files;
use crate::sys::files::RealFiles;
use crate::sys::tail::Tail;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Days looked back, at most.
const DAYS_MAX: usize = 400;
/// Bytes read of one day, from its end.
const DAY_BYTES_MAX: u64 = 4 << 20;

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only those about this unit.
    pub unit: Option<String>,
    /// Not older than this.
    pub since: Option<Wall>,
    /// At most so many, the newest.
    pub last: Option<usize>,
}

impl Wanted {
    fn takes(&self, event: &Event) -> bool {
        let unit = self.unit.as_ref().is_none_or(|unit| event.unit.as_ref() == Some(unit));
        unit && self.since.is_none_or(|since| event.at >= since)
    }
}

/// The events that are wanted, oldest first, and the place after them.
pub fn read(state_dir: &Path, wanted: &Wanted) -> Result<(Vec<Event>, Follow)> {
    let days = days(state_dir)?;
    let mut found: VecDeque<Event> = VecDeque::new();
    let mut newest: Option<(String, Tail)> = None;
    let since_day = wanted.since.map(Wall::day);
    for day in days.iter().rev().take(DAYS_MAX) {
        if since_day.as_ref().is_some_and(|since| day < since) {
            break;
        }
        let (lines, tail) = Tail::last(&day_path(state_dir, day), DAY_BYTES_MAX)?;
        newest.get_or_insert((day.clone(), tail));
        let of_day: Vec<Event> =
            lines.iter().filter_map(|line| parse(line)).filter(|e| wanted.takes(e)).collect();
        for event in of_day.into_iter().rev() {
            if wanted.last.is_some_and(|last| found.len() >= last) {
                break;
            }
            found.push_front(event);
        }
        if wanted.last.is_some_and(|last| found.len() >= last) {
            break;
        }
    }
    let follow = Follow { state_dir: state_dir.to_owned(), wanted: wanted.clone(), at: newest };
    Ok((found.into(), follow))
}

/// A place in the log.
#[derive(Debug)]
pub struct Follow {
    state_dir: PathBuf,
    wanted: Wanted,
    at: Option<(String, Tail)>,
}

impl Follow {
    /// Events that were added since the last look, across midnight.
    pub fn more(&mut self) -> Result<Vec<Event>> {
        let mut lines = Vec::new();
        if let Some((_, tail)) = &mut self.at {
            lines.extend(tail.more()?);
        }
        let after = self.at.as_ref().map(|(day, _)| day.clone()).unwrap_or_default();
        for day in days(&self.state_dir)?.into_iter().filter(|day| *day > after) {
            let (of_day, tail) = Tail::last(&day_path(&self.state_dir, &day), DAY_BYTES_MAX)?;
            lines.extend(of_day);
            self.at = Some((day, tail));
        }
        Ok(lines.iter().filter_map(|line| parse(line)).filter(|e| self.wanted.takes(e)).collect())
    }
}

/// One event on one line: local time, unit, kind, text.
pub fn line(event: &Event, zone: &str) -> String {
    let unit = event.unit.as_deref().unwrap_or("fleet");
    let seconds = event.at.0.div_euclid(1000).rem_euclid(60);
    let kind = kind_word(event.kind);
    let text = crate::base::text::one_line(&event.text, 2000);
    format!("{}:{seconds:02}  {unit:<12}  {kind:<8}  {text}", summary_text::clock(event.at, zone))
}

/// An event's kind in one word, as in the file.
pub fn kind_word(kind: EventKind) -> String {
    format!("{kind:?}").to_lowercase()
}

fn parse(line: &str) -> Option<Event> {
    serde_json::from_str(line).ok()
}

fn day_path(state_dir: &Path, day: &str) -> PathBuf {
    state_dir.join("events").join(format!("{day}.jsonl"))
}

/// The days that have a file, oldest first.
fn days(state_dir: &Path) -> Result<Vec<String>> {
    let names = RealFiles::new(state_dir).list("events")?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".jsonl")).map(str::to_owned).collect())
}

//! `attempts.tsv`, the ledger of remedies: a line for each attempt, and another one of the same id for its outcome. Appended
//! to, never rewritten; the last line of an id is what holds.
//!
//! Reading is tolerant: a torn, damaged or foreign line is counted and skipped. Deliberately not here: sums over it
//! (`cli::attempts`).

use crate::base::text::one_line;
use crate::base::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The columns, in order.
pub const COLUMNS: [&str; 12] = [
    "time",
    "attempt",
    "incident",
    "unit",
    "detector",
    "fingerprint",
    "source",
    "action",
    "status",
    "branch",
    "duration_s",
    "description",
];
/// Longest description, characters.
const DESCRIPTION_MAX: usize = 200;
/// Longest other field, characters.
const FIELD_MAX: usize = 160;

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// When this line was true.
    pub time: Wall,
    /// The attempt's id: lines that share it are about one attempt.
    pub attempt: String,
    /// The incident's id; "" = none.
    pub incident: String,
    /// The unit.
    pub unit: String,
    /// The detector that found the failure.
    pub detector: String,
    /// The failure's fingerprint.
    pub fingerprint: String,
    /// Who chose it: a rule's name, `default`, `agent`, `person`.
    pub source: String,
    /// What was done: `restart`, `restart-with-env`, …
    pub action: String,
    /// What became of it.
    pub status: Status,
    /// The branch with an agent's edits; "" = none.
    pub branch: String,
    /// Seconds from the finding to this line.
    pub duration_s: f64,
    /// For people.
    pub description: String,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is not known yet.
    #[default]
    Pending,
    /// The failure stayed away.
    Kept,
    /// It came back.
    Regressed,
    /// The attempt itself failed.
    Crashed,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 4] = [Status::Pending, Status::Kept, Status::Regressed, Status::Crashed];

    /// Its word in files and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Kept => "kept",
            Status::Regressed => "regressed",
            Status::Crashed => "crashed",
        }
    }

    fn parse(word: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.word() == word)
    }
}

impl Attempt {
    /// What tells one line from another: the attempt and its status.
    pub fn key(&self) -> String {
        format!("{} {}", self.attempt, self.status.word())
    }

    /// The line, without its newline.
    pub fn line(&self) -> String {
        let field = |text: &str| one_line(text, FIELD_MAX);
        let duration = if self.duration_s.is_finite() { self.duration_s.max(0.0) } else { 0.0 };
        [
            self.time.to_string(),
            field(&self.attempt),
            field(&self.incident),
            field(&self.unit),
            field(&self.detector),
            field(&self.fingerprint),
            field(&self.source),
            field(&self.action),
            self.status.word().to_owned(),
            field(&self.branch),
            format!("{}", (duration * 10.0).round() / 10.0),
            one_line(&self.description, DESCRIPTION_MAX),
        ]
        .join("\t")
    }

    /// Reads a line; None when it is none.
    pub fn parse(line: &str) -> Option<Attempt> {
        let fields: Vec<&str> = line.trim_end_matches('\r').split('\t').collect();
        let [
            time,
            attempt,
            incident,
            unit,
            detector,
            fingerprint,
            source,
            action,
            status,
            branch,
            duration,
            rest @ ..,
        ] = fields.as_slice()
        else {
            return None;
        };
        let duration_s = duration.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0)?;
        Some(Attempt {
            time: Wall::parse(time)?,
            attempt: Some(*attempt).filter(|id| !id.is_empty())?.to_owned(),
            incident: (*incident).to_owned(),
            unit: (*unit).to_owned(),
            detector: (*detector).to_owned(),
            fingerprint: (*fingerprint).to_owned(),
            source: (*source).to_owned(),
            action: (*action).to_owned(),
            status: Status::parse(status)?,
            branch: (*branch).to_owned(),
            duration_s,
            description: rest.join(" "),
        })
    }
}

/// The first line of the file.
pub fn header() -> String {
    COLUMNS.join("\t")
}

/// What a ledger, or the end of one, says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Lines in the order of the file.
    pub lines: Vec<Attempt>,
    /// Lines that are none.
    pub bad: usize,
}

impl Ledger {
    /// Reads the bytes of a ledger, or of its end: then the first line, which may be cut, is left out.
    pub fn read(bytes: &[u8], part: Part) -> Ledger {
        let text = String::from_utf8_lossy(bytes);
        let skip = usize::from(part == Part::End);
        let mut ledger = Ledger::default();
        for line in text.split('\n').skip(skip).filter(|line| !line.trim().is_empty()) {
            match Attempt::parse(line) {
                Some(row) => ledger.lines.push(row),
                None if line.trim_end() == header() => {}
                None => ledger.bad += 1,
            }
        }
        ledger
    }

    /// Each attempt as its last line has it, in the order in which they began; and when that was.
    pub fn attempts(&self) -> Vec<Told> {
        let mut order: Vec<Told> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &self.lines {
            match places.get(row.attempt.as_str()).and_then(|at| order.get_mut(*at)) {
                Some(told) => told.row = row.clone(),
                None => {
                    places.insert(&row.attempt, order.len());
                    order.push(Told { began: row.time, row: row.clone() });
                }
            }
        }
        order
    }
}

/// How much of a ledger is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its end: the first line may be cut.
    End,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When it began.
    pub began: Wall,
    /// Its last line.
    pub row: Attempt,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(attempt: &str, status: Status, at_s: i64) -> Attempt {
        Attempt {
            time: Wall(at_s * 1000),
            attempt: attempt.into(),
            unit: "train".into(),
            detector: "oom".into(),
            source: "halve".into(),
            action: "restart-with-env".into(),
            status,
            duration_s: 1.26,
            description: "BATCH_SIZE\t8 → 4\nand more".into(),
            ..Attempt::default()
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = row("train-1", Status::Pending, 5).line();
        assert_eq!(
            line,
            "1970-01-01T00:00:05Z\ttrain-1\t\ttrain\toom\t\thalve\trestart-with-env\tpending\t\t1.3\tBATCH_SIZE 8 → 4 and more"
        );
        let read = Attempt::parse(&line).unwrap();
        assert_eq!(read.line(), line);
        assert_eq!(header().split('\t').count(), line.split('\t').count());
    }

    #[test]
    fn bad_lines_are_counted_and_the_last_line_of_an_attempt_holds() {
        let lines = [
            header(),
            row("train-1", Status::Pending, 1).line(),
            "torn".into(),
            row("train-2", Status::Pending, 2).line(),
            row("train-1", Status::Kept, 3).line(),
            row("train-3", Status::Kept, 3).line().replace("1.3", "NaN"),
            "\u{0}\tx\ty".into(),
            String::new(),
        ];
        let ledger = Ledger::read(lines.join("\n").as_bytes(), Part::Whole);
        assert_eq!((ledger.lines.len(), ledger.bad), (3, 3));
        let told = ledger.attempts();
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].row.status, told[0].began), (Status::Kept, Wall(1000)));
        assert_eq!(told[1].row.status, Status::Pending);
        assert_eq!(Ledger::read(b"\xff\xfe\x00junk\n", Part::Whole).bad, 1);
        assert_eq!(Ledger::read(lines.join("\n").as_bytes(), Part::End).bad, 3);
    }
}

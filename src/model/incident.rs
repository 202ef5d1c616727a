//! What an incident is made of: the order for its folder, and the notes that come to it later.
//!
//! An order stands in `unit.json` (`state::incident`) until the folder is complete: the engine writes what is owed after each
//! commit, as it does with alerts, so no action asks for it. Deliberately not here: how a folder is filled (`engine::incident`)
//! and rendered (`detect::incident`), and which remedy is right (`policy`).

use super::finding::Finding;
use super::process::RunId;
use crate::base::names::UnitName;
use crate::base::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest part of an id that is taken from a detector's name.
const SYMPTOM_MAX: usize = 40;

/// All that a folder needs that is not read from the world when it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentOrder {
    /// Name of the folder: `<time>-<unit>-<symptom>`, see [`id`].
    pub id: String,
    /// Whose.
    pub unit: UnitName,
    /// When it was found.
    #[serde(default)]
    pub at: Wall,
    /// What was found.
    #[serde(default)]
    pub finding: Finding,
    /// Joins repeats: `detect::fingerprint`.
    #[serde(default)]
    pub fingerprint: String,
    /// The run in which it was found.
    #[serde(default)]
    pub run: RunId,
    /// When that run began.
    #[serde(default)]
    pub run_since: Option<Wall>,
    /// The process was over when it was found.
    #[serde(default)]
    pub over: bool,
    /// Restarts that count against the budget so far.
    #[serde(default)]
    pub restarts: u32,
    /// What was chosen to be done.
    #[serde(default)]
    pub remedy: Remedy,
    /// Where the process is from.
    #[serde(default)]
    pub place: Place,
    /// What more a person should know, a line each: thresholds, the budget, a hold.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Where a process runs, and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// `local`, `attach`, `slurm`, `docker`.
    pub host: String,
    /// The argv.
    pub command: Vec<String>,
    /// Working directory: relative source files are looked for in it.
    pub dir: String,
    /// The log, absolute; "" = none. The finding's bytes are offsets in it, or were before it was rotated.
    pub log: String,
    /// Files to keep beside it, absolute; secrets in them are masked.
    pub configs: Vec<String>,
    /// Names of the variables that the process was given.
    pub env: Vec<String>,
    /// Variables that remedies changed, with their values; secrets are masked when it is written.
    pub overlay: BTreeMap<String, String>,
    /// Incidents kept of this unit.
    pub keep_max: usize,
    /// Incidents of this unit go when they are older, seconds.
    pub keep_age_s: f64,
}

/// A remedy and who chose it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Remedy {
    /// Who chose it.
    pub source: Source,
    /// In one word: `restart`, `restart-with-env`, `pause`, `abort`, `command`, `agent`, `none`.
    pub action: String,
    /// Variables it sets, as they will be.
    pub set: BTreeMap<String, String>,
    /// The argv of a `command`.
    pub argv: Vec<String>,
    /// Why this one, in words.
    pub why: String,
    /// Of `agent`: what a rule would have done, and what is done when nobody can be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<Box<Remedy>>,
}

/// Who chose a remedy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// What is done when nobody says anything else.
    #[default]
    Default,
    /// A rule of the config.
    Rule { name: String },
    /// The healing agent.
    Agent,
    /// A person.
    Person,
}

/// What comes to an incident's `fix/` after its folder was written: the agent's answer and its edits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FixNote {
    /// The incident's id.
    pub incident: String,
    /// The attempt's id: a note is written once.
    pub attempt: String,
    /// What was done.
    pub remedy: Remedy,
    /// What the agent answered, bounded; masked when it is written.
    pub response: String,
    /// Its edits as a unified diff, bounded; masked when it is written.
    pub patch: String,
    /// The branch that holds them.
    pub branch: Option<String>,
    /// What went wrong with it, in words.
    pub trouble: Option<String>,
}

/// What a person should do now about an incident: the line of its page that changes with what was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outlook {
    /// The incident's id.
    pub incident: String,
    /// The line.
    pub text: String,
}

impl Source {
    /// As in attempts.tsv: a rule's name, `default`, `agent`, `person`.
    pub fn word(&self) -> &str {
        match self {
            Source::Default => "default",
            Source::Rule { name } => name,
            Source::Agent => "agent",
            Source::Person => "person",
        }
    }

    /// For people: `rule "halve"`, `the default`.
    pub fn human(&self) -> String {
        match self {
            Source::Default => "the default".to_owned(),
            Source::Rule { name } => format!("rule `{name}`"),
            Source::Agent => "the healing agent".to_owned(),
            Source::Person => "a person".to_owned(),
        }
    }
}

/// The name of a new incident's folder: `2026-11-21T10-00-00Z-train-oom`, with `-2`, `-3` … when that is taken.
pub fn id(at: Wall, unit: &UnitName, symptom: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let time = Wall(at.0.div_euclid(1000).saturating_mul(1000)).to_string().replace(':', "-");
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let symptom: String = symptom.chars().take(SYMPTOM_MAX).map(plain).collect();
    let symptom = symptom.trim_matches('-');
    let symptom = if symptom.is_empty() { "finding" } else { symptom };
    let first = format!("{time}-{unit}-{symptom}");
    let mut id = first.clone();
    // Whoever knows ten thousand names of one second gets the last one twice.
    for n in 2..10_000 {
        if !is_taken(&id) {
            break;
        }
        id = format!("{first}-{n}");
    }
    id
}

/// Could this be a folder's name that [`id`] made? Ids come from people and files too, and become paths.
pub fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.len() > 20
        && text.len() <= 160
        && text.bytes().all(plain)
        && text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> UnitName {
        UnitName::new("train").unwrap()
    }

    #[track_caller]
    fn check(symptom: &str, taken: &[&str], want: &str) {
        let at = Wall::parse("2026-11-21T10:00:00.5Z").unwrap();
        let id = id(at, &name(), symptom, |id| taken.contains(&id));
        assert_eq!(id, want);
        assert!(is_id(&id), "{id}");
    }

    #[test]
    fn ids_are_folder_names_and_never_the_same() {
        check("oom", &[], "2026-11-21T10-00-00Z-train-oom");
        let one = "2026-11-21T10-00-00Z-train-oom";
        check("oom", &[one], "2026-11-21T10-00-00Z-train-oom-2");
        check("oom", &[one, &format!("{one}-2")], "2026-11-21T10-00-00Z-train-oom-3");
        check("../../etc", &[], "2026-11-21T10-00-00Z-train-etc");
        check("läuft nicht", &[], "2026-11-21T10-00-00Z-train-l-uft-nicht");
        check("", &[], "2026-11-21T10-00-00Z-train-finding");
    }

    #[test]
    fn what_would_lead_elsewhere_is_no_id() {
        for bad in [
            "",
            "..",
            "2026",
            "2026-11-21T10-00-00Z-train/../../x",
            "a26-11-21T10-00-00Z-train-oom",
            "2026-11-21T10-00-00Z\n-x-y-z",
        ] {
            assert!(!is_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_order_of_an_older_version_loads() {
        let order: IncidentOrder = serde_json::from_str(r#"{"id": "x", "unit": "train", "new": 1}"#).unwrap();
        assert_eq!(order.remedy.source, Source::Default);
    }
}

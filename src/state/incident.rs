//! A unit's incidents in its `unit.json`: which folders, ledger rows and notes are owed, and how often each failure came.
//!
//! What is owed stays until the world was seen to have it. Everything is bounded: of too many owed folders the newest ones
//! are only counted. Deliberately not here: what is done about a failure (`policy`), the writing (`engine::incident`).

use super::attempts::{Attempt, Status};
use crate::base::time::{Awake, Wall};
use crate::model::incident::{FixNote, IncidentOrder, Outlook, Remedy, id};
use crate::model::process::ProcessSeen;
use serde::{Deserialize, Serialize};

/// Folders owed at once.
const OWED_MAX: usize = 16;
/// Failures remembered.
const KNOWN_MAX: usize = 64;
/// Ledger rows owed at once.
const ROWS_MAX: usize = 64;
/// Fix notes owed at once.
const FIXES_MAX: usize = 4;
/// Pages that are kept up to date.
const OUTLOOK_MAX: usize = 16;
/// Longest text of an agent's answer or diff that waits here, bytes.
const NOTE_MAX: usize = 64 << 10;

/// The slice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IncidentState {
    /// Folders that are to be written, oldest first.
    pub owed: Vec<IncidentOrder>,
    /// Failures that came, the latest last.
    pub known: Vec<Known>,
    /// Rows that attempts.tsv may not have yet, oldest first.
    pub rows: Vec<Attempt>,
    /// Notes that incidents' folders may not have yet.
    pub fixes: Vec<FixNote>,
    /// Attempts so far: the next one's number.
    pub attempts: u64,
    /// Failures that found no room in `owed`.
    pub left_out: u64,
    /// When people were told of those last.
    pub left_out_told: Option<Awake>,
    /// What pages say of what is to be done now, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outlook: Vec<Outlook>,
}

/// A failure that came before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// What is the same each time.
    pub fingerprint: String,
    /// Its folder.
    pub incident: String,
    /// Times that it came, the first included.
    pub count: u32,
    /// First.
    pub first: Wall,
    /// Last.
    pub last: Wall,
}

/// What became of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It gets a folder of this name.
    New { incident: String },
    /// It came before, and is counted there.
    Repeat { incident: String, count: u32 },
    /// Too many folders are owed (the disk is full?): it is counted, and has none.
    LeftOut,
}

impl Taken {
    /// The incident's id; "" when there is none.
    pub fn incident(&self) -> &str {
        match self {
            Taken::New { incident } | Taken::Repeat { incident, .. } => incident,
            Taken::LeftOut => "",
        }
    }
}

impl IncidentState {
    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        *self == IncidentState::default()
    }

    /// How often this failure came so far.
    pub fn count(&self, fingerprint: &str) -> u32 {
        self.known.iter().find(|known| known.fingerprint == fingerprint).map_or(0, |known| known.count)
    }

    /// A failure came. The order's id is made here; its fingerprint, unit, finding and time must be set.
    pub fn take(&mut self, mut order: IncidentOrder) -> Taken {
        let times = u32::try_from(order.finding.again.saturating_add(1)).unwrap_or(u32::MAX);
        if let Some(at) = self.known.iter().position(|known| known.fingerprint == order.fingerprint) {
            let mut known = self.known.remove(at);
            known.count = known.count.saturating_add(times);
            known.last = known.last.max(order.at);
            let taken = Taken::Repeat { incident: known.incident.clone(), count: known.count };
            self.known.push(known);
            return taken;
        }
        if self.owed.len() >= OWED_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return Taken::LeftOut;
        }
        let is_taken = |id: &str| {
            self.owed.iter().any(|owed| owed.id == id) || self.known.iter().any(|known| known.incident == id)
        };
        order.id = id(order.at, &order.unit, &order.finding.detector, is_taken);
        let incident = order.id.clone();
        self.known.push(Known {
            fingerprint: order.fingerprint.clone(),
            incident: incident.clone(),
            count: times,
            first: order.at,
            last: order.at,
        });
        let extra = self.known.len().saturating_sub(KNOWN_MAX);
        self.known.drain(..extra);
        self.owed.push(order);
        Taken::New { incident }
    }

    /// No folder more can be owed, but one detector's noise must not take another's: of the detector that owes most, and more
    /// than this one, the latest order of the same moment gives way. Its id; nobody knows of it but this tick.
    pub fn make_way(&mut self, order: &IncidentOrder) -> Option<String> {
        let is_known = self.known.iter().any(|known| known.fingerprint == order.fingerprint);
        if is_known || self.owed.len() < OWED_MAX {
            return None;
        }
        let owes = |detector: &str| self.owed.iter().filter(|owed| owed.finding.detector == detector).count();
        let gives_way = |owed: &&IncidentOrder| {
            owed.at == order.at && owed.remedy == Remedy::default() && owed.notes.is_empty()
        };
        let most = self.owed.iter().filter(gives_way).map(|owed| owes(&owed.finding.detector)).max()?;
        if most <= owes(&order.finding.detector).saturating_add(1) {
            return None;
        }
        let at =
            self.owed.iter().rposition(|owed| gives_way(&owed) && owes(&owed.finding.detector) == most)?;
        let gone = self.owed.remove(at);
        self.known.retain(|known| known.incident != gone.id);
        self.left_out = self.left_out.saturating_add(1);
        Some(gone.id)
    }

    /// A new attempt: its row is owed as pending. Returns its id.
    pub fn begin(&mut self, mut row: Attempt) -> String {
        self.attempts = self.attempts.saturating_add(1);
        row.attempt = format!("{}-{}", row.unit, self.attempts);
        row.status = Status::Pending;
        let attempt = row.attempt.clone();
        self.owe_row(row);
        attempt
    }

    /// What became of an attempt: one more row of the same id is owed.
    pub fn conclude(&mut self, row: Attempt) {
        self.owe_row(row);
    }

    fn owe_row(&mut self, row: Attempt) {
        let key = row.key();
        self.rows.retain(|owed| owed.key() != key);
        self.rows.push(row);
        let extra = self.rows.len().saturating_sub(ROWS_MAX);
        self.rows.drain(..extra);
    }

    /// A note for an incident's folder is owed.
    pub fn note(&mut self, mut note: FixNote) {
        cut(&mut note.response);
        cut(&mut note.patch);
        self.fixes.retain(|owed| owed.attempt != note.attempt);
        self.fixes.push(note);
        let extra = self.fixes.len().saturating_sub(FIXES_MAX);
        self.fixes.drain(..extra);
    }

    /// From now on an incident's page says this of what is to be done now.
    pub fn advise(&mut self, incident: &str, text: String) {
        if incident.is_empty() {
            return;
        }
        self.outlook.retain(|old| old.incident != incident);
        self.outlook.push(Outlook { incident: incident.to_owned(), text });
        let extra = self.outlook.len().saturating_sub(OUTLOOK_MAX);
        self.outlook.drain(..extra);
    }

    /// Forgets what the world was seen to have; and failures whose folders somebody removed: the next one gets a new folder.
    pub fn settle(&mut self, seen: &ProcessSeen) {
        self.owed.retain(|order| !seen.incidents.contains(&order.id));
        self.rows.retain(|row| !seen.attempts.contains(&row.key()));
        self.fixes.retain(|note| !seen.fixes.contains(&note.attempt));
        let owed = |id: &String| self.owed.iter().any(|order| order.id == *id);
        let gone: Vec<&String> = seen.incidents_gone.iter().filter(|id| !owed(id)).collect();
        self.known.retain(|known| !gone.contains(&&known.incident));
        self.outlook.retain(|page| !gone.contains(&&page.incident));
    }
}

/// Shortens a text to what may wait in a state file, at a character's boundary.
fn cut(text: &mut String) {
    if text.len() <= NOTE_MAX {
        return;
    }
    let end = (0..=NOTE_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    text.push_str("\n… (cut)\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names::UnitName;
    use crate::model::finding::Finding;

    fn order(fingerprint: &str, at_s: i64) -> IncidentOrder {
        let finding = Finding { detector: "oom".into(), ..Finding::default() };
        IncidentOrder {
            id: String::new(),
            unit: UnitName::new("train").unwrap(),
            at: Wall(at_s * 1000),
            finding,
            fingerprint: fingerprint.into(),
            run: crate::model::process::RunId::default(),
            run_since: None,
            over: true,
            restarts: 0,
            remedy: crate::model::incident::Remedy::default(),
            place: crate::model::incident::Place::default(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn repeats_are_counted_and_others_get_folders_of_their_own() {
        let mut state = IncidentState::default();
        assert_eq!(state.take(order("a", 0)).incident(), "1970-01-01T00-00-00Z-train-oom");
        assert_eq!(state.take(order("b", 0)).incident(), "1970-01-01T00-00-00Z-train-oom-2");
        let again = state.take(order("a", 60));
        let incident = "1970-01-01T00-00-00Z-train-oom".to_owned();
        assert_eq!(again, Taken::Repeat { incident, count: 2 });
        assert_eq!((state.count("a"), state.count("b"), state.count("c")), (2, 1, 0));
        assert_eq!(state.owed.len(), 2);
    }

    #[test]
    fn what_the_world_has_is_owed_no_more_and_a_removed_folder_is_made_anew() {
        let mut state = IncidentState::default();
        let id = state.take(order("a", 0)).incident().to_owned();
        let gone = ProcessSeen { incidents_gone: vec![id.clone()], ..ProcessSeen::default() };
        state.settle(&gone);
        assert_eq!(state.count("a"), 1, "it is owed, and not gone");
        state.settle(&ProcessSeen { incidents: vec![id], ..ProcessSeen::default() });
        assert_eq!((state.owed.len(), state.count("a")), (0, 1));
        state.settle(&gone);
        assert_eq!(state.count("a"), 0);
    }

    #[test]
    fn everything_is_bounded() {
        let mut state = IncidentState::default();
        for n in 0..500 {
            state.take(order(&n.to_string(), n));
            let attempt = state.begin(Attempt { unit: "train".into(), ..Attempt::default() });
            state.note(FixNote { attempt, response: "ä".repeat(100_000), ..FixNote::default() });
        }
        assert_eq!((state.owed.len(), state.left_out), (OWED_MAX, 484));
        assert_eq!((state.rows.len(), state.fixes.len()), (ROWS_MAX, FIXES_MAX));
        assert!(state.known.len() <= KNOWN_MAX && state.fixes[0].response.len() < 70_000);
    }

    #[test]
    fn the_noise_of_one_detector_takes_no_folder_from_another() {
        let mut state = IncidentState::default();
        for n in 0..100 {
            state.take(order(&format!("noise {n}"), 5));
        }
        let mut fatal = order("fatal", 5);
        fatal.finding.detector = "fatal".into();
        let gone = state.make_way(&fatal).unwrap();
        assert!(gone.contains("oom"), "{gone}");
        assert!(matches!(state.take(fatal.clone()), Taken::New { .. }));
        assert_eq!((state.owed.len(), state.left_out), (OWED_MAX, 85));
        assert!(!state.known.iter().any(|known| known.incident == gone));
        // Neither for its own kind, nor for what is counted, nor what is older than this moment.
        assert_eq!(state.make_way(&order("one more", 5)), None);
        assert_eq!(state.make_way(&fatal), None);
        let mut later = order("later", 6);
        later.finding.detector = "fatal".into();
        assert_eq!(state.make_way(&later), None);
    }

    #[test]
    fn a_finding_that_stands_for_many_counts_as_many() {
        let mut state = IncidentState::default();
        for again in [0, 998] {
            let mut order = order("a", 0);
            order.finding.again = again;
            state.take(order);
        }
        assert_eq!(state.count("a"), 1000);
    }

    #[test]
    fn an_outcome_is_owed_beside_the_beginning() {
        let mut state = IncidentState::default();
        let attempt = state.begin(Attempt { unit: "train".into(), ..Attempt::default() });
        assert_eq!(attempt, "train-1");
        state.conclude(Attempt { attempt, status: Status::Kept, ..Attempt::default() });
        let keys: Vec<String> = state.rows.iter().map(Attempt::key).collect();
        assert_eq!(keys, ["train-1 pending", "train-1 kept"]);
        state.settle(&ProcessSeen { attempts: vec![keys[0].clone()], ..ProcessSeen::default() });
        assert_eq!(state.rows.len(), 1);
    }
}

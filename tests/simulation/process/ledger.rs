//! attempts.tsv, the incidents' folders and counts, as somebody else reads them.

use super::machine::{Machine, Unit};
use crate::files::Disk;
use std::collections::{BTreeMap, BTreeSet};
use watchkeeper::config::DetectorKind;
use watchkeeper::model::finding::FindingKind;
use watchkeeper::state::attempts::{Ledger, Part, Status};
use watchkeeper::state::incident::IncidentState;

/// What each incident's folder holds, whatever it is about.
const PAGES: [&str; 5] = ["report.md", "log_excerpt.txt", "state.json", "match.json", "fix/action.json"];

/// The whole ledger.
pub fn read(disk: &Disk) -> Ledger {
    Ledger::read(disk.get("attempts.tsv").unwrap_or_default(), Part::Whole)
}

/// Each attempt begins once and ends at most once; none without a finding.
pub fn check(machine: &mut Machine, disk: &Disk) {
    let ledger = read(disk);
    let mut bad = Vec::new();
    let mut begun: BTreeMap<&str, u32> = BTreeMap::new();
    let mut ended: BTreeMap<&str, u32> = BTreeMap::new();
    let mut about: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in &ledger.lines {
        let times = if row.status == Status::Pending { &mut begun } else { &mut ended };
        let times = times.entry(&row.attempt).or_default();
        *times += 1;
        if *times > 1 {
            bad.push((
                "attempt-once",
                format!("{} is {} for the second time", row.attempt, row.status.word()),
            ));
        }
        if row.status == Status::Pending {
            *about.entry((&row.unit, &row.detector)).or_default() += 1;
        }
    }
    for ((unit, detector), attempts) in about {
        let there = machine.units.get(unit).and_then(|unit| happened(unit, detector));
        if there.is_some_and(|there| attempts > there) {
            bad.push((
                "attempt-per-finding",
                format!("{unit}: {attempts} attempts against {detector}: {there:?}"),
            ));
        }
    }
    bad.into_iter().for_each(|(invariant, detail)| machine.violate(invariant, detail));
}

/// A folder is there whole.
pub fn folders(machine: &mut Machine, disk: &Disk) {
    let names: BTreeSet<&str> = disk
        .files
        .range("incidents/".to_owned().."incidents0".to_owned())
        .filter_map(|(path, _)| path.strip_prefix("incidents/")?.split_once('/').map(|(name, _)| name))
        .collect();
    let missing = |name: &&str| {
        PAGES.iter().find(|page| disk.get(&format!("incidents/{name}/{page}")).is_none()).copied()
    };
    let bad: Vec<String> =
        names.iter().filter_map(|name| Some(format!("{name} has no {}", missing(name)?))).collect();
    bad.into_iter().for_each(|detail| machine.violate("incident-whole", detail));
}

/// Ids in the index, with how often.
pub fn indexed(disk: &Disk) -> BTreeMap<String, u32> {
    let bytes = disk.get("incidents/index.jsonl").unwrap_or_default();
    let mut times = BTreeMap::new();
    for line in watchkeeper::engine::incident::read_index(bytes) {
        *times.entry(line.id).or_default() += 1;
    }
    times
}

/// The kind of a detector; the deadline has none in the config.
pub fn kind(kind: Option<&DetectorKind>, name: &str) -> FindingKind {
    match kind {
        Some(DetectorKind::Pattern { .. }) => FindingKind::Pattern,
        Some(DetectorKind::Traceback) => FindingKind::Traceback,
        Some(DetectorKind::Stall { .. }) => FindingKind::Stall,
        Some(DetectorKind::Metric { .. }) => FindingKind::Metric,
        Some(DetectorKind::Exit { .. }) => FindingKind::Exit,
        None if name == "exit" => FindingKind::Exit,
        None => FindingKind::Stall,
    }
}

/// How often a detector's failure was counted, by detector.
pub fn counts(unit: &str, incidents: &IncidentState) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for known in &incidents.known {
        let Some((_, rest)) = known.incident.split_once(&format!("-{unit}-")) else { continue };
        let detector = rest.split('-').next().unwrap_or_default();
        *counts.entry(detector.to_owned()).or_default() += known.count;
    }
    counts
}

/// How often a detector's failure truly came; None = the world does not keep count of it.
pub fn happened(unit: &Unit, detector: &str) -> Option<usize> {
    match detector {
        "exit" => Some(unit.ends.iter().filter(|end| !end.ordered && !end.is_well()).count()),
        "net" | "oom" | "memory" | "traceback" => {
            Some(unit.said.iter().filter(|said| said.detector == detector).count())
        }
        _ => None,
    }
}

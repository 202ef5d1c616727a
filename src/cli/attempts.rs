//! Sums over attempts.tsv: by failure's detector, by who chose the remedy. Pure; `analyze` prints them.

use crate::base::time::Wall;
use crate::state::attempts::{Ledger, Status, Told};
use serde::Serialize;
use std::collections::BTreeMap;

/// What `analyze` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Analysis {
    /// Attempts that began earlier are left out.
    pub since: Option<Wall>,
    /// All of them.
    pub total: Sum,
    /// By unit and detector, the busiest first.
    pub detectors: Vec<Row>,
    /// By who chose: a rule's name, `default`, `agent`.
    pub sources: Vec<Row>,
    /// Lines of the ledger that are none.
    pub bad_lines: usize,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// `train/oom`, or the source.
    pub name: String,
    /// Its attempts.
    #[serde(flatten)]
    pub sum: Sum,
    /// The last outcomes that are the same.
    pub streak: Option<Streak>,
}

/// So many outcomes of one sort in a row, up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Streak {
    /// Which.
    pub status: Status,
    /// How many.
    pub length: usize,
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sum {
    /// Attempts.
    pub attempts: usize,
    /// The failure stayed away.
    pub kept: usize,
    /// It came back.
    pub regressed: usize,
    /// The attempt itself failed.
    pub crashed: usize,
    /// Not known yet.
    pub pending: usize,
    /// Kept among those with an outcome, 0 to 1.
    pub success: Option<f64>,
    /// From the finding to its kept remedy, seconds, in the middle …
    pub heal_median_s: Option<f64>,
    /// … and at the longest.
    pub heal_longest_s: Option<f64>,
}

/// Sums up a ledger.
pub fn analyze(ledger: &Ledger, since: Option<Wall>) -> Analysis {
    let told: Vec<Told> =
        ledger.attempts().into_iter().filter(|told| since.is_none_or(|since| told.began >= since)).collect();
    let all: Vec<&Told> = told.iter().collect();
    let detector = |told: &Told| format!("{}/{}", told.row.unit, told.row.detector);
    Analysis {
        since,
        total: sum(&all),
        detectors: rows(&told, detector),
        sources: rows(&told, |told| told.row.source.clone()),
        bad_lines: ledger.bad,
    }
}

fn rows(told: &[Told], name: impl Fn(&Told) -> String) -> Vec<Row> {
    let mut groups: BTreeMap<String, Vec<&Told>> = BTreeMap::new();
    for one in told {
        groups.entry(name(one)).or_default().push(one);
    }
    let mut rows: Vec<Row> = groups
        .into_iter()
        .map(|(name, group)| Row { name, sum: sum(&group), streak: streak(&group) })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.sum.attempts));
    rows
}

fn sum(group: &[&Told]) -> Sum {
    let count = |status: Status| group.iter().filter(|told| told.row.status == status).count();
    let (kept, regressed, crashed) = (count(Status::Kept), count(Status::Regressed), count(Status::Crashed));
    let ended = kept + regressed + crashed;
    let mut times: Vec<f64> =
        group.iter().filter(|told| told.row.status == Status::Kept).map(|told| told.row.duration_s).collect();
    times.sort_by(f64::total_cmp);
    Sum {
        attempts: group.len(),
        kept,
        regressed,
        crashed,
        pending: count(Status::Pending),
        success: (ended > 0).then(|| kept as f64 / ended as f64),
        heal_median_s: times.get(times.len() / 2).copied(),
        heal_longest_s: times.last().copied(),
    }
}

/// By the time of the outcomes, not of the beginnings.
fn streak(group: &[&Told]) -> Option<Streak> {
    let mut ended: Vec<&&Told> = group.iter().filter(|told| told.row.status != Status::Pending).collect();
    ended.sort_by_key(|told| told.row.time);
    let status = ended.last()?.row.status;
    let length = ended.iter().rev().take_while(|told| told.row.status == status).count();
    Some(Streak { status, length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::attempts::Attempt;

    fn row(attempt: usize, source: &str, status: Status, at_s: i64, duration_s: f64) -> Attempt {
        Attempt {
            time: Wall(at_s * 1000),
            attempt: attempt.to_string(),
            unit: "train".into(),
            detector: "oom".into(),
            source: source.into(),
            status,
            duration_s,
            ..Attempt::default()
        }
    }

    #[test]
    fn success_is_kept_among_those_with_an_outcome() {
        use Status::{Crashed, Kept, Pending, Regressed};
        let lines = vec![
            row(1, "halve", Pending, 0, 0.0),
            row(2, "halve", Pending, 10, 0.0),
            row(1, "halve", Kept, 20, 20.0),
            row(3, "agent", Crashed, 30, 5.0),
            row(2, "halve", Regressed, 40, 30.0),
            row(4, "halve", Regressed, 50, 30.0),
            row(5, "agent", Pending, 60, 0.0),
        ];
        let ledger = Ledger { lines, bad: 2 };
        let all = analyze(&ledger, None);
        assert_eq!((all.total.attempts, all.total.kept, all.total.pending, all.bad_lines), (5, 1, 1, 2));
        assert_eq!((all.total.success, all.total.heal_median_s), (Some(0.25), Some(20.0)));
        assert_eq!(all.detectors[0].name, "train/oom");
        assert_eq!(all.detectors[0].streak, Some(Streak { status: Regressed, length: 2 }));
        let names: Vec<&str> = all.sources.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["halve", "agent"]);
        assert_eq!(all.sources[1].sum.success, Some(0.0));
        // An attempt that began before is left out, though its outcome came after.
        let late = analyze(&ledger, Some(Wall(5000)));
        assert_eq!((late.total.attempts, late.total.success), (4, Some(0.0)));
        assert_eq!(analyze(&Ledger::default(), None).total.success, None);
    }
}

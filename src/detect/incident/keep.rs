//! Which incidents are kept: by count and by age for each unit, and always the newest of a failure.

use super::IndexLine;
use crate::base::time::Wall;
use std::collections::BTreeSet;

/// The ids that may go, oldest first. `entries` are the folders that exist; of other units none goes.
pub fn too_old(
    entries: &[IndexLine],
    unit: &str,
    now: Wall,
    keep_max: usize,
    keep_age_s: f64,
) -> Vec<String> {
    let mut own: Vec<&IndexLine> = entries.iter().filter(|entry| entry.unit == unit).collect();
    own.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| b.id.cmp(&a.id)));
    let mut newest: BTreeSet<&str> = BTreeSet::new();
    let mut go: Vec<String> = own
        .iter()
        .enumerate()
        .filter(|(_, entry)| !newest.insert(&entry.fingerprint))
        .filter(|(n, entry)| *n >= keep_max.max(1) || now.since_s(entry.at) > keep_age_s)
        .map(|(_, entry)| entry.id.clone())
        .collect();
    go.reverse();
    go
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: i64, unit: &str, fingerprint: &str) -> IndexLine {
        IndexLine {
            id: format!("{unit}-{n}"),
            at: Wall(n * 1000),
            unit: unit.into(),
            fingerprint: fingerprint.into(),
            ..IndexLine::default()
        }
    }

    #[test]
    fn by_count_and_age_but_never_the_newest_of_a_failure() {
        let entries = [
            entry(1, "a", "x"),
            entry(2, "a", "y"),
            entry(3, "a", "x"),
            entry(4, "b", "x"),
            entry(5, "a", "x"),
            entry(6, "a", "x"),
        ];
        let check =
            |max, age, want: &[&str]| assert_eq!(too_old(&entries, "a", Wall(10_000), max, age), want);
        check(100, 1000.0, &[]);
        check(2, 1000.0, &["a-1", "a-3"]);
        check(0, 1000.0, &["a-1", "a-3", "a-5"]);
        check(100, 6.0, &["a-1", "a-3"]);
        check(1, 0.0, &["a-1", "a-3", "a-5"]);
    }
}

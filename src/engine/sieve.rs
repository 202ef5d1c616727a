//! Findings of one look at a log, bounded: of one failure the first ones and the latest are told, the others are counted; of
//! one detector so many failures. What a rule waits for is never among those left out, and no detector's noise displaces
//! another's findings.
//!
//! Deliberately not here: reading (`follow`), and what is done about a finding (`policy`).

use crate::config::Rule;
use crate::detect::fingerprint::fingerprint;
use crate::model::finding::Finding;
use crate::policy::process::rules_meant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Findings of one failure that are told one by one; of the others the latest stands for all.
const SAME_MAX: usize = 5;
/// Failures of one detector: the first ones …
const FIRST_MAX: usize = 30;
/// … and the latest.
const LATEST_MAX: usize = 20;

/// A failure: its fingerprint, and the rules that may be meant for it, for lines that differ in numbers only have one
/// fingerprint, and rules may ask for a number.
type Failure = (String, Vec<usize>);

/// The findings.
#[derive(Debug, Default)]
pub struct Sieve {
    /// By the order in which they came.
    kept: BTreeMap<u64, Finding>,
    came: u64,
    /// The places of each failure's findings in `kept`.
    failures: BTreeMap<Failure, Vec<u64>>,
    detectors: BTreeMap<String, Detector>,
    /// Rules for which a finding is kept though its failure had to go.
    claimed: BTreeSet<usize>,
    left_out: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Detector {
    first: usize,
    latest: VecDeque<Failure>,
}

/// What is told.
#[derive(Debug, Default, PartialEq)]
pub struct Sifted {
    /// In the order of the log.
    pub findings: Vec<Finding>,
    /// Findings that were left out, by detector.
    pub left_out: BTreeMap<String, u64>,
}

impl Sieve {
    /// One more; the rules say what must not be left out.
    pub fn add(&mut self, finding: Finding, rules: &[Rule]) {
        let failure = (fingerprint(&finding), rules_meant(rules, &finding));
        self.came += 1;
        let at = self.came;
        if let Some(places) = self.failures.get_mut(&failure) {
            let mut finding = finding;
            if places.len() > SAME_MAX {
                let latest = places.pop().and_then(|latest| self.kept.remove(&latest));
                finding.again = latest.map_or(0, |latest| latest.again.saturating_add(1));
            }
            places.push(at);
            self.kept.insert(at, finding);
            return;
        }
        let detector = self.detectors.entry(finding.detector.clone()).or_default();
        let mut gone = None;
        if detector.first < FIRST_MAX {
            detector.first += 1;
        } else {
            detector.latest.push_back(failure.clone());
            gone = (detector.latest.len() > LATEST_MAX).then(|| detector.latest.pop_front()).flatten();
        }
        self.kept.insert(at, finding);
        self.failures.insert(failure, vec![at]);
        if let Some(failure) = gone {
            self.leave_out(&failure);
        }
    }

    /// A failure has to go, unless a rule waits for it and has nothing else.
    fn leave_out(&mut self, failure: &Failure) {
        let Some(places) = self.failures.remove(failure) else { return };
        let (_, waiting) = failure;
        if !waiting.iter().all(|rule| self.claimed.contains(rule)) {
            self.claimed.extend(waiting);
            return;
        }
        for finding in places.iter().filter_map(|at| self.kept.remove(at)) {
            *self.left_out.entry(finding.detector).or_default() += finding.again.saturating_add(1);
        }
    }

    /// Findings that were kept and whose places were not marked yet: they are in the file that is read now.
    pub fn unmarked(&mut self) -> impl Iterator<Item = &mut Finding> {
        self.kept.values_mut().filter(|finding| finding.log.is_none())
    }

    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.left_out.is_empty()
    }

    /// What is told; then it begins anew.
    pub fn take(&mut self) -> Sifted {
        let sieve = std::mem::take(self);
        Sifted { findings: sieve.kept.into_values().collect(), left_out: sieve.left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, parse};
    use std::path::Path;

    fn rules() -> Vec<Rule> {
        let text = "[[process]]\nname = \"p\"\ncommand = [\"x\"]\n\
             detectors = [ { kind = \"pattern\", name = \"warn\", regex = \"W\" }, { kind = \"pattern\", name = \"fatal\", regex = \"F\" } ]\n\
             rules = [ { match = { detector = \"fatal\" }, action = { kind = \"abort\" } }, { match = { message = \"disk\" }, action = { kind = \"pause\" } }, \
             { match = { message = \"^code 1313$\" }, action = { kind = \"pause\" } } ]\n";
        let parsed = parse(&Source {
            path: Path::new("/p/agents.toml"),
            text,
            home: Path::new("/home/op"),
            env: &|_| None,
            read: &|_| Ok(String::new()),
            state_override: None,
        });
        let config = parsed.config.unwrap();
        config.units["p"].process().unwrap().rules.clone()
    }

    /// Names that no digit tells apart.
    fn word(n: usize) -> String {
        n.to_string().chars().map(|c| char::from(b'a' + c as u8 - b'0')).collect()
    }

    fn found(detector: &str, message: &str) -> Finding {
        Finding { detector: detector.into(), message: message.into(), ..Finding::default() }
    }

    #[track_caller]
    fn sift(said: impl Iterator<Item = (&'static str, String)>) -> Sifted {
        let rules = rules();
        let mut sieve = Sieve::default();
        for (n, (detector, message)) in said.enumerate() {
            sieve.add(Finding { line: n as u64 + 1, ..found(detector, &message) }, &rules);
        }
        sieve.take()
    }

    fn told(sifted: &Sifted, detector: &str) -> Vec<u64> {
        sifted.findings.iter().filter(|one| one.detector == detector).map(|one| one.line).collect()
    }

    #[test]
    fn the_same_again_is_counted_and_others_come_through() {
        let flood = (0..5000).map(|n| ("warn", format!("W {n}")));
        let sifted = sift(flood.chain([("fatal", "F".to_owned())]));
        assert_eq!(told(&sifted, "warn"), [1, 2, 3, 4, 5, 5000], "the first ones and the latest");
        assert_eq!(told(&sifted, "fatal"), [5001]);
        let counted: u64 = sifted.findings.iter().map(|one| one.again + 1).sum();
        assert_eq!((counted, sifted.left_out.len()), (5001, 0), "nothing is lost");
    }

    #[test]
    fn a_number_that_a_rule_asks_for_is_not_lost_among_others() {
        let said = |n: usize| format!("W {} {n}", if n == 2500 { "disk 7" } else { "disc 7" });
        let sifted = sift((0..5000).map(|n| ("warn", said(n))));
        assert!(told(&sifted, "warn").contains(&2501), "another word");
        // `exit code 13` and all the others have one fingerprint.
        let sifted = sift((0..5000).map(|n| ("code", format!("code {n}"))));
        assert_eq!(told(&sifted, "code"), [1, 2, 3, 4, 5, 1314, 5000], "the rule's and some others");
        assert_eq!(sifted.findings.iter().map(|one| one.again + 1).sum::<u64>(), 5000);
    }

    #[test]
    fn of_too_many_failures_the_first_and_the_latest_stay_and_what_a_rule_waits_for() {
        let said = |n: usize| match n {
            2500 => "W disk".to_owned(),
            n => format!("W {}", word(n)),
        };
        let sifted = sift((0..5000).map(|n| ("warn", said(n))).chain([("fatal", "F".to_owned())]));
        let lines = told(&sifted, "warn");
        assert_eq!(lines.len(), FIRST_MAX + LATEST_MAX + 1);
        assert!(lines.starts_with(&[1, 2, 3]) && lines.ends_with(&[4999, 5000]), "{lines:?}");
        assert!(lines.contains(&2501), "the rule's line: {lines:?}");
        assert_eq!(told(&sifted, "fatal"), [5001]);
        let counted = sifted.findings.iter().map(|one| one.again + 1).sum::<u64>();
        assert_eq!(counted + sifted.left_out["warn"], 5001);
    }
}

//! The work that agents push: an origin, a clone whose tracking reference is behind until a fetch ends, and the fetch,
//! which is slow, hangs, fails or is killed. Histories are rewritten; git can't be read for a while.
//!
//! Deliberately not here: which phases there are (`outline.rs`), and what must hold (`invariants/`).

use super::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use watchkeeper::model::seen::{BranchFacts, Commit, JobSeen, SinceSeen};
use watchkeeper::sys::git::{BranchQuery, COMMITS_MAX};

/// What an agent finds to claim, to review and to say.
pub const CLAIM: &str = "feat: claim";
pub const REVIEW: &str = "review";

/// One commit, with what stands in it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub id: String,
    pub parent: Option<usize>,
    pub subject: String,
    /// Status files that have the done marker.
    pub done: BTreeSet<String>,
    /// Inbox files and which text they hold; an empty one is not listed.
    pub inboxes: BTreeMap<String, u64>,
}

/// The fetch that was ordered last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    None,
    Running { ends: i64, fails: Option<String> },
    Ended { failed: Option<String> },
}

/// What goes wrong with fetches, per mille of them.
#[derive(Clone, Debug, Default)]
pub struct RemoteFaults {
    pub slow: u64,
    pub hangs: u64,
    pub fails: u64,
    /// Its runner is stopped: it lasts longer than its deadline.
    pub stuck: u64,
}

/// How far agents go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeal {
    /// They push nothing.
    Rest,
    /// They work, and finish their phase.
    Finish,
}

#[derive(Debug)]
pub struct Remote {
    /// All commits that ever were, also those that no branch has any more.
    commits: Vec<Snapshot>,
    pub origin: Option<usize>,
    pub tracking: Option<usize>,
    pub fetch: Fetch,
    pub fetches: u64,
    pub faults: RemoteFaults,
    /// The clone can't be read until then; git can't be asked until then.
    pub tip_silent_until: i64,
    pub git_silent_until: i64,
    pub zeal: Zeal,
    /// Pushes per mille of an agent's steps.
    pub pushes: u64,
    /// Pushes that a phase needs.
    pub steps: u32,
    /// Status files by phase id, also of phases that were renamed or removed.
    pub status: BTreeMap<String, String>,
    pub inboxes: Vec<String>,
    worked: BTreeMap<String, u32>,
    rng: Rng,
}

impl Remote {
    pub fn new(mut rng: Rng) -> Remote {
        let mut remote = Remote {
            commits: Vec::new(),
            origin: None,
            tracking: None,
            fetch: Fetch::None,
            fetches: 0,
            faults: RemoteFaults::default(),
            tip_silent_until: 0,
            git_silent_until: 0,
            zeal: Zeal::Finish,
            pushes: 120,
            steps: rng.between(3, 12) as u32,
            status: BTreeMap::new(),
            inboxes: Vec::new(),
            worked: BTreeMap::new(),
            rng,
        };
        if remote.rng.chance(700) {
            // A history that was there before anybody watched.
            for n in 0..remote.rng.between(1, 5) {
                remote.commit(&format!("{CLAIM}(old-{n})"), |_| {});
            }
            remote.tracking = remote.origin;
        }
        remote
    }

    fn at(&self, index: Option<usize>) -> Snapshot {
        index.and_then(|index| self.commits.get(index)).cloned().unwrap_or_default()
    }

    fn add(&mut self, snapshot: Snapshot) {
        let number = self.commits.len() as u64 + 1;
        let head = number.wrapping_mul(0x9e_3779_b97f) & 0xff_ffff_ffff;
        self.commits.push(Snapshot { id: format!("{head:010x}{number:030x}"), ..snapshot });
        self.origin = Some(self.commits.len() - 1);
    }

    /// A commit on top of the branch, pushed.
    pub fn commit(&mut self, subject: &str, change: impl FnOnce(&mut Snapshot)) {
        let mut next = Snapshot { parent: self.origin, subject: subject.to_owned(), ..self.at(self.origin) };
        change(&mut next);
        self.add(next);
    }

    /// The newest commits are taken away, or all is written anew.
    pub fn rewrite(&mut self) -> String {
        let tree = self.at(self.origin);
        if self.rng.chance(400) {
            let subject = format!("{CLAIM}(rewritten) everything anew");
            self.add(Snapshot { parent: None, subject, ..tree });
            return "its whole history is written anew".into();
        }
        let back = self.rng.between(1, 4);
        let mut base = self.origin;
        for _ in 0..back {
            base = self.at(base).parent;
        }
        let kept = self.at(base);
        let subject = format!("{REVIEW}: amended");
        let tree = if self.rng.chance(500) { kept } else { tree };
        self.add(Snapshot { parent: base, subject, ..tree });
        format!("{back} commits are replaced")
    }

    /// An agent that works on a phase pushes something. What it was.
    pub fn push(&mut self, unit: &str, phase: &str) -> Option<String> {
        let status = self.status.get(phase)?.clone();
        let worked = self.worked.entry(phase.to_owned()).or_default();
        *worked += 1;
        let enough = *worked > self.steps;
        let number = self.commits.len();
        let finished = self.at(self.origin).done.contains(&status);
        if enough && !finished {
            let subject = format!("docs: phase {phase} is done");
            self.commit(&subject, |next| {
                next.done.insert(status);
            });
            return Some(subject);
        }
        let subject = match self.rng.below(6) {
            0 | 1 => format!("{CLAIM}({unit}-{number}) the next part"),
            2 | 3 => format!("{REVIEW}: of part {number}, two findings"),
            4 => format!("fix: a typo ({number})"),
            _ => format!("docs: a letter ({number})"),
        };
        let file = self.rng.pick(&self.inboxes.clone()).clone();
        let empties = self.rng.chance(300);
        let letter = subject.starts_with("docs: a letter");
        self.commit(&subject, |next| match (letter, empties) {
            (false, _) => {}
            (true, true) => {
                next.inboxes.remove(&file);
            }
            (true, false) => {
                next.inboxes.insert(file, number as u64 + 1);
            }
        });
        Some(subject)
    }

    /// Time passes: a fetch may end.
    pub fn pass(&mut self, t: i64) {
        let Fetch::Running { ends, fails } = &self.fetch else { return };
        if t < *ends {
            return;
        }
        let failed = fails.clone();
        if failed.is_none() {
            self.tracking = self.origin;
        }
        self.fetch = Fetch::Ended { failed };
    }

    /// A fetch is ordered. One that runs is left alone.
    pub fn start(&mut self, t: i64, deadline_s: u32) {
        if matches!(self.fetch, Fetch::Running { .. }) {
            return;
        }
        self.fetches += 1;
        let deadline = i64::from(deadline_s) * 1000;
        let late = Some(format!("it was ended after {deadline_s} s, its deadline"));
        let faults = self.faults.clone();
        let (lasts, fails) = if self.rng.chance(faults.stuck) {
            (deadline + self.rng.between(70, 900) * 1000, late)
        } else if self.rng.chance(faults.hangs) {
            (deadline, late)
        } else if self.rng.chance(faults.fails) {
            (self.rng.between(100, 20_000), Some("fatal: unable to access the remote".into()))
        } else if self.rng.chance(faults.slow) {
            (self.rng.between(5000, deadline), None)
        } else {
            (self.rng.between(100, 3000), None)
        };
        self.fetch = Fetch::Running { ends: t + lasts, fails };
    }

    /// The runner of the fetch is killed.
    pub fn kill_runner(&mut self) {
        if matches!(self.fetch, Fetch::Running { .. }) {
            self.fetch = Fetch::Ended { failed: Some("it was killed before it ended".into()) };
        }
    }

    pub fn job(&self) -> JobSeen {
        match &self.fetch {
            Fetch::None => JobSeen::None,
            Fetch::Running { .. } => JobSeen::Running,
            Fetch::Ended { failed: None } => JobSeen::well(""),
            Fetch::Ended { failed: Some(why) } => JobSeen::failed(why.clone()),
        }
    }

    /// Does the clone's branch say that this phase is done?
    pub fn is_done(&self, status: &str) -> bool {
        self.at(self.tracking).done.contains(status)
    }

    /// The inboxes as the commit of that id has them.
    pub fn inboxes_at(&self, id: &str) -> Option<&BTreeMap<String, u64>> {
        self.commits.iter().find(|commit| commit.id == id).map(|commit| &commit.inboxes)
    }

    pub fn tip(&self) -> Option<String> {
        self.tracking.map(|index| self.at(Some(index)).id)
    }

    /// The commits after `old` up to `new`, oldest first; None when the one is not in the other's history.
    pub fn between(&self, old: &str, new: &str) -> Option<Vec<&Snapshot>> {
        let mut at = self.commits.iter().position(|commit| commit.id == new);
        let mut found = Vec::new();
        while let Some(commit) = at.and_then(|at| self.commits.get(at)) {
            if commit.id == old {
                found.reverse();
                return Some(found);
            }
            found.push(commit);
            at = commit.parent;
        }
        None
    }

    pub fn look(&self, query: &BranchQuery) -> Result<BranchFacts, String> {
        let found = self.commits.iter().find(|commit| commit.id == query.head);
        let Some(commit) = found else { return Err(format!("its commit {} is not there", query.head)) };
        let done = query.status.iter().filter(|(_, path)| commit.done.contains(*path));
        let inboxes = query
            .inboxes
            .iter()
            .filter_map(|(name, path)| Some((name.clone(), format!("{:040x}", commit.inboxes.get(path)?))));
        let since = match query.since.as_ref().filter(|old| **old != query.head) {
            None => SinceSeen::Nothing,
            Some(old) => match self.between(old, &query.head) {
                None => SinceSeen::Rewritten,
                Some(commits) => {
                    let skipped = commits.len().saturating_sub(COMMITS_MAX);
                    let commit = |commit: &&Snapshot| Commit {
                        id: commit.id.clone(),
                        subject: commit.subject.clone(),
                    };
                    SinceSeen::Commits(commits[skipped..].iter().map(commit).collect())
                }
            },
        };
        Ok(BranchFacts {
            head: query.head.clone(),
            done: done.map(|(id, _)| id.clone()).collect(),
            inboxes: inboxes.collect(),
            since,
            left_out: Vec::new(),
        })
    }
}

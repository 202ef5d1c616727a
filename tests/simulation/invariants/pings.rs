//! News of the work: what came between two looks at the branch reaches each of its agents once, nothing else does, and
//! until then it stands in some file. Judged by what the simulated CLI received.

use super::phases::view;
use crate::files::Disk;
use crate::remote::Remote;
use crate::world::{Arrival, World};
use std::collections::{BTreeMap, BTreeSet};
use watchkeeper::config::{Config, Sequence};
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::seen::BranchSeen;
use watchkeeper::state::git::GitState;
use watchkeeper::state::unit::{DeliveryOutcome, UnitState};

/// What a line of a ping is about: the beginning of a commit's id with its kind, or the path of an inbox.
type News = String;

#[derive(Debug, Default)]
pub struct Pings {
    head: Option<String>,
    inboxes: BTreeMap<String, String>,
    /// What may be told to whom, and how often: each look at which it was news counts once.
    may: BTreeMap<(String, News), BTreeSet<String>>,
    /// What must be told: how often it was news, and has not arrived yet.
    pub must: BTreeMap<(String, News), u32>,
    received: BTreeMap<(String, News), u32>,
}

/// The lines of a text that are pings.
fn lines(text: &str) -> Vec<News> {
    let mut news = Vec::new();
    for line in text.lines() {
        let line = line.strip_prefix("[watchkeeper] ").unwrap_or(line);
        for kind in ["claim", "review"] {
            let rest = line.strip_prefix(&format!("New {kind} on origin/main, "));
            if let Some(commit) =
                rest.and_then(|rest| rest.split_once(": ")).and_then(|(_, rest)| rest.split(' ').next())
            {
                news.push(format!("{commit} {kind}"));
            }
        }
        if let Some((path, _)) = line.split_once(" changed on origin/main: read it") {
            news.push(path.to_owned());
        }
    }
    news
}

/// Whom the commits and inboxes between two heads concern. None: they are not of one history, and commits are no news.
fn news(
    plan: &Sequence,
    remote: &Remote,
    old: &str,
    new: &str,
    inboxes: &BTreeMap<String, String>,
) -> Vec<(String, News, String)> {
    let mut found = Vec::new();
    let handoff = &plan.handoff;
    for commit in remote.between(old, new).unwrap_or_default() {
        let kinds = [
            (&handoff.claim, &handoff.claim_pings, "claim"),
            (&handoff.review, &handoff.review_pings, "review"),
        ];
        for (pattern, whom, kind) in kinds {
            if pattern.as_ref().is_some_and(|pattern| pattern.is_match(&commit.subject)) {
                let short: String = commit.id.chars().take(10).collect();
                found.extend(
                    whom.iter().map(|unit| (unit.to_string(), format!("{short} {kind}"), String::new())),
                );
            }
        }
    }
    for (file, whom) in &handoff.inboxes {
        let path = plan.in_repo(file);
        let is =
            remote.inboxes_at(new).and_then(|inboxes| inboxes.get(&path)).map(|text| format!("{text:040x}"));
        let Some(is) = is.filter(|is| inboxes.get(file) != Some(is)) else { continue };
        found.extend(whom.iter().map(|unit| (unit.to_string(), path.clone(), format!("{old} {is}"))));
    }
    found
}

fn git(disk: &Disk) -> GitState {
    disk.get("git.json").and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
}

fn unit(disk: &Disk, name: &str) -> Option<UnitState> {
    serde_json::from_slice(disk.get(&format!("units/{name}/unit.json"))?).ok()
}

impl Pings {
    pub(super) fn before(&mut self, world: &World, disk: &Disk) {
        if world.remote.is_some() {
            let git = git(disk);
            (self.head, self.inboxes) = (git.head, git.inboxes);
        }
    }

    /// A text reached its agent.
    pub(super) fn arrived(&mut self, world: &mut World, arrival: &Arrival) {
        for news in lines(&arrival.sent.text) {
            let key = (arrival.unit.clone(), news);
            let times = self.received.entry(key.clone()).or_default();
            *times += 1;
            let may = self.may.get(&key).map_or(0, BTreeSet::len) as u32;
            if may == 0 {
                world.violate("ping-history", format!("{}: told of {}, which was no news", key.0, key.1));
            } else if *times > may {
                world.violate(
                    "once-only-ping",
                    format!("{}: told of {} {times} times, {may} are due", key.0, key.1),
                );
            }
            if let Some(must) = self.must.get_mut(&key) {
                *must -= 1;
                if *must == 0 {
                    self.must.remove(&key);
                }
            }
        }
    }

    pub(super) fn after(&mut self, world: &mut World, disk: &Disk, config: &Config, report: &TickReport) {
        let (Some(plan), Some(remote)) = (&config.sequence, &world.remote) else { return };
        let after = git(disk);
        let completed = view(disk).unwrap_or_default().completed;
        let read = matches!(report.seen.branch, Some(BranchSeen::At(_)));
        if let (Some(old), Some(tip), true) = (&self.head, remote.tip(), read) {
            for (unit, news, look) in news(plan, remote, old, &tip, &self.inboxes) {
                self.may.entry((unit, news)).or_default().insert(look);
            }
        }
        if let (Some(old), Some(new)) = (&self.head, &after.head)
            && old != new
            && !completed
        {
            for (unit, news, _) in news(plan, remote, old, new, &self.inboxes) {
                let key = (unit, news);
                *self.must.entry(key).or_default() += 1;
            }
        }
        if completed {
            self.must.clear();
        }
        self.on_record(world, disk, report, &after);
    }

    /// What has not arrived stands in some file; what may have been read was told to people and is not typed again.
    fn on_record(&mut self, world: &mut World, disk: &Disk, report: &TickReport, git: &GitState) {
        let mut lost = Vec::new();
        let mut given_up = Vec::new();
        for (key, must) in &self.must {
            let Some(state) = unit(disk, &key.0) else { continue };
            let in_git = git
                .pings
                .iter()
                .filter(|ping| ping.unit.as_str() == key.0 && !state.handoff.taken.contains(&ping.id));
            let in_git = in_git.filter(|ping| lines(&ping.text).contains(&key.1)).count() as u32;
            let owed = |ping: &&watchkeeper::state::unit::Ping| lines(&ping.text).contains(&key.1);
            let in_unit = state.handoff.owed.iter().filter(owed).count() as u32;
            if in_git + in_unit >= *must {
                continue;
            }
            // What was owed before this tick, and its delivery came to no clear end.
            let before = report
                .before
                .units
                .get(key.0.as_str())
                .map(|unit| unit.handoff.owed.clone())
                .unwrap_or_default();
            let unknown = before.iter().filter(owed).any(|ping| {
                state.delivery.past.iter().any(|past| {
                    Some(past.id) == ping.delivery && matches!(past.outcome, DeliveryOutcome::Unknown { .. })
                })
            });
            if unknown {
                given_up.push(key.clone());
            } else {
                lost.push((key.clone(), *must, in_git, in_unit));
            }
        }
        for key in given_up {
            self.must.remove(&key);
        }
        for ((unit, news), must, in_git, in_unit) in lost {
            self.must.remove(&(unit.clone(), news.clone()));
            world.violate(
                "ping-lost",
                format!("{unit}: {must} times owed {news}; git.json has {in_git}, its own file {in_unit}"),
            );
        }
    }

    /// How often it was told.
    pub fn times(&self, unit: &str, news: &str) -> u32 {
        self.received.get(&(unit.to_owned(), news.to_owned())).copied().unwrap_or(0)
    }

    /// Somebody destroyed a file that remembers what is owed.
    pub(super) fn forgotten(&mut self, unit: Option<&str>) {
        self.must.retain(|(of, _), _| unit.is_some_and(|unit| unit != of));
        if let Some(unit) = unit {
            self.received.retain(|(of, _), _| unit != of);
        }
    }
}

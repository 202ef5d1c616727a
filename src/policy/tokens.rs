//! Tokens of the fleet: what was read goes into each agent's sum; when the phase, or the newest claimed label, becomes
//! another one, a record of what was used in between is owed to the ledger.
//!
//! Deliberately not here: which phase it is ([`Position`] says so), reading transcripts, appending to the ledger. Nobody
//! is ever restarted, nudged or held because of tokens.

use super::plan::Stage;
use crate::base::names::UnitName;
use crate::base::text::one_line;
use crate::config::{Config, Granularity};
use crate::model::seen::Observation;
use crate::model::usage::{AgentUsage, Counted, Totals};
use crate::state::tokens::{COPY_SLACK_S, OWED_MAX, Open, Record, Tokens};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longest label in a record's id, characters.
const LABEL_MAX: usize = 100;

/// Where the fleet's work stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The phase's id; None when there are no phases, or all are done: nothing is recorded then.
    pub phase: Option<String>,
    /// The newest claimed label of this phase.
    pub label: Option<String>,
}

impl Position {
    /// Where the plan stands; `label` is the newest one that was claimed in this phase.
    pub fn new(stage: &Stage, label: &str) -> Position {
        match stage {
            Stage::Phase(id) => {
                Position { phase: Some(id.clone()), label: Some(label.to_owned()).filter(|l| !l.is_empty()) }
            }
            Stage::NoPlan | Stage::Unknown(_) | Stage::Complete => Position::default(),
        }
    }

    /// The id of its record: `<phase>`, or `<phase>:<label>` where each gate has its own.
    pub fn record_id(&self, granularity: Granularity) -> Option<String> {
        let phase = self.phase.clone()?;
        Some(match (granularity, &self.label) {
            (Granularity::Gate, Some(label)) => format!("{phase}:{label}"),
            (Granularity::Gate, None) | (Granularity::Phase, _) => phase,
        })
    }
}

/// The label that a commit's subject claims: `claim(feat:login): …` and `feat: claim(login)` claim `login`.
pub fn claimed_label(subject: &str) -> Option<String> {
    let subject = subject.trim_start();
    let subject = subject.strip_prefix("feat:").unwrap_or(subject).trim_start();
    let rest = subject.strip_prefix("claim(")?;
    let (label, _) = rest.split_once(')')?;
    let label = label.trim();
    let label = one_line(label.strip_prefix("feat:").unwrap_or(label).trim(), LABEL_MAX);
    (!label.is_empty()).then_some(label)
}

/// Takes this tick's news into `next`, and opens and closes records.
pub fn fold(config: &Config, seen: &Observation, position: &Position, next: &mut Tokens) {
    if !config.watchdog.log_tokens {
        return;
    }
    if seen.usage.ledger_unread && next.agents.is_empty() {
        return; // Memory was lost, and where counting goes on could not be read.
    }
    let before = totals(next);
    for (name, usage) in &seen.usage.agents {
        fold_agent(seen, name, usage, next);
    }
    next.owed.retain(|record| !seen.usage.logged.contains(&record.id()));
    let id = position.record_id(config.watchdog.token_granularity);
    if next.open.as_ref().map(|open| &open.phase_id) == id.as_ref() {
        return;
    }
    // What was read in this tick was used before the change was seen.
    let first = next.open.is_none();
    if let Some(open) = next.open.take() {
        next.owed.extend(record(&open, next, seen));
        let extra = next.owed.len().saturating_sub(OWED_MAX);
        next.owed.drain(..extra);
    }
    next.open = id.map(|phase_id| Open {
        phase_id,
        // After a loss of memory the ledger's end is where counting went on.
        started: seen.usage.ledger_end.filter(|_| first).unwrap_or(seen.now.wall),
        baseline: if first { before } else { totals(next) },
    });
}

fn fold_agent(seen: &Observation, name: &UnitName, usage: &AgentUsage, next: &mut Tokens) {
    let copies = copies(name, usage, next);
    let agent = Arc::make_mut(next.agents.entry(name.clone()).or_default());
    if agent.since.0 == 0 {
        agent.since = usage.since;
    }
    agent.pending = usage.pending;
    agent.uncounted.clone_from(&usage.uncounted);
    for news in &usage.files {
        for counted in news.counted.iter().filter(|counted| !copies.contains(&counted.key)) {
            agent.count(counted, news.cursor.floor, seen.now.wall);
        }
    }
    for news in &usage.files {
        agent.keep(news.cursor.clone());
    }
}

/// Responses that are another agent's: copied along with its history. Only what is older than its file can be.
fn copies(name: &UnitName, usage: &AgentUsage, tokens: &Tokens) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for news in &usage.files {
        let until = news.cursor.born.map(|born| born.plus_s(-COPY_SLACK_S));
        let old = |counted: &&Counted| until.zip(counted.at).is_none_or(|(until, at)| at < until);
        for counted in news.counted.iter().filter(old) {
            let known = tokens.agents.iter().any(|(other, agent)| other != name && agent.knows(counted.key));
            if known {
                found.insert(counted.key);
            }
        }
    }
    found
}

/// What each agent used so far.
pub fn totals(tokens: &Tokens) -> BTreeMap<UnitName, Totals> {
    tokens.agents.iter().map(|(name, agent)| (name.clone(), agent.used)).collect()
}

/// What the open record would be, were it closed now; None when nothing was used.
pub fn record(open: &Open, tokens: &Tokens, seen: &Observation) -> Option<Record> {
    record_until(open, tokens, seen.now.wall)
}

/// The same for a given time.
pub fn record_until(open: &Open, tokens: &Tokens, ended: crate::base::time::Wall) -> Option<Record> {
    let since = |name: &UnitName| open.baseline.get(name).copied().unwrap_or_default();
    let used: BTreeMap<String, Totals> = totals(tokens)
        .into_iter()
        .map(|(name, used)| (name.to_string(), used.minus(&since(&name))))
        .filter(|(_, used)| !used.is_zero())
        .collect();
    let total = used.values().fold(Totals::default(), |sum, one| sum.plus(one));
    // A clock that was set back makes no negative duration.
    let duration_s = ended.since_s(open.started).max(0.0).round() as i64;
    (!used.is_empty()).then(|| Record {
        phase_id: open.phase_id.clone(),
        started: open.started,
        ended,
        duration_s,
        agents: used,
        total,
    })
}

#[cfg(test)]
mod tests;

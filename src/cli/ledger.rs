//! The token ledger as reading commands see it: finished records, the open one, and sums over them.

use crate::base::error::Result;
use crate::base::time::{Now, Wall};
use crate::model::usage::Totals;
use crate::policy::tokens::record_until;
use crate::state::table;
use crate::state::tokens::{Record, Tokens};
use crate::sys::tail::Tail;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// How much of the ledger's end is read, bytes.
const LEDGER_MAX: u64 = 4 << 20;

/// A record and its end; None = it goes on.
type Part<'r> = (&'r Record, Option<Wall>);

/// What sums are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Each record.
    Gate,
    /// Records of one phase together.
    Phase,
    /// Each agent.
    Agent,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The phase, gate or agent.
    pub name: String,
    /// Since when.
    pub started: Option<Wall>,
    /// Until when; None = it goes on.
    pub ended: Option<Wall>,
    /// How long, seconds.
    pub duration_s: i64,
    /// What was used.
    pub used: Totals,
    /// Tokens of all kinds in an hour.
    pub total_per_hour: u64,
}

/// The table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// What the rows are.
    pub by: By,
    /// Only what ended after this.
    pub since: Option<Wall>,
    /// The rows: by time, or by name.
    pub rows: Vec<Row>,
    /// Their sum.
    pub total: Totals,
    /// Agents whose tokens are not, or not all, counted.
    pub uncounted: BTreeMap<String, String>,
    /// Lines of the ledger that are no records.
    pub torn: usize,
}

/// The records of the ledger, those still owed to it, and lines that are none.
pub fn records(state_dir: &Path, tokens: &Tokens) -> Result<(Vec<Record>, usize)> {
    let (lines, _) = Tail::last(&state_dir.join(table::TOKEN_LOG), LEDGER_MAX)?;
    let mut records: Vec<Record> = Vec::new();
    let mut torn = 0;
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str::<Record>(line) {
            // After a crash between writing and remembering, a record may stand there twice.
            Ok(record) if records.iter().rev().take(100).any(|old| old.id() == record.id()) => {}
            Ok(record) => records.push(record),
            Err(_) => torn += 1,
        }
    }
    let owed = tokens.owed.iter().filter(|owed| !records.iter().any(|record| record.id() == owed.id()));
    let owed: Vec<Record> = owed.cloned().collect();
    records.extend(owed);
    Ok((records, torn))
}

/// Sums up.
pub fn table(
    by: By,
    since: Option<Wall>,
    records: Vec<Record>,
    torn: usize,
    tokens: &Tokens,
    now: &Now,
) -> Table {
    let open = tokens.open.as_ref().and_then(|open| record_until(open, tokens, now.wall));
    let finished = records.into_iter().filter(|record| since.is_none_or(|since| record.ended >= since));
    let all: Vec<(Record, Option<Wall>)> = finished
        .map(|record| {
            let ended = record.ended;
            (record, Some(ended))
        })
        .chain(open.map(|record| (record, None)))
        .collect();
    let rows = match by {
        By::Gate => all
            .iter()
            .map(|(record, ended)| row(&record.phase_id, &[(record, *ended)], record.total))
            .collect(),
        By::Phase => by_phase(&all),
        By::Agent => by_agent(&all, tokens, since, now),
    };
    let total = rows.iter().fold(Totals::default(), |sum, row: &Row| sum.plus(&row.used));
    let uncounted =
        tokens.agents.iter().filter_map(|(name, agent)| Some((name.to_string(), agent.uncounted.clone()?)));
    Table { by, since, rows, total, uncounted: uncounted.collect(), torn }
}

fn by_phase(all: &[(Record, Option<Wall>)]) -> Vec<Row> {
    let phase = |record: &Record| record.phase_id.split(':').next().unwrap_or_default().to_owned();
    let mut groups: Vec<(String, Vec<Part<'_>>)> = Vec::new();
    for (record, ended) in all {
        let phase = phase(record);
        match groups.iter_mut().find(|(name, _)| *name == phase) {
            Some((_, group)) => group.push((record, *ended)),
            None => groups.push((phase, vec![(record, *ended)])),
        }
    }
    let sum =
        |group: &[Part<'_>]| group.iter().fold(Totals::default(), |sum, (record, _)| sum.plus(&record.total));
    groups.iter().map(|(name, group)| row(name, group, sum(group))).collect()
}

/// By agent: over the records where there are any, else all that was counted.
fn by_agent(all: &[(Record, Option<Wall>)], tokens: &Tokens, since: Option<Wall>, now: &Now) -> Vec<Row> {
    if all.is_empty() && tokens.open.is_none() && since.is_none() {
        let row = |name: String, since: Wall, used: Totals| {
            let duration_s = now.wall.since_s(since).max(0.0) as i64;
            let total_per_hour = per_hour(used.total, duration_s);
            Row { name, started: Some(since), ended: None, duration_s, used, total_per_hour }
        };
        let counted =
            tokens.agents.iter().filter(|(_, agent)| agent.uncounted.is_none() || !agent.used.is_zero());
        return counted.map(|(name, agent)| row(name.to_string(), agent.since, agent.used)).collect();
    }
    let mut agents: BTreeMap<&String, (Totals, Vec<Part<'_>>)> = BTreeMap::new();
    for (record, ended) in all {
        for (name, used) in &record.agents {
            let (sum, group) = agents.entry(name).or_default();
            *sum = sum.plus(used);
            group.push((record, *ended));
        }
    }
    agents.into_iter().map(|(name, (sum, group))| row(name, &group, sum)).collect()
}

fn row(name: &str, group: &[Part<'_>], used: Totals) -> Row {
    let started = group.iter().map(|(record, _)| record.started).min();
    let going_on = group.iter().any(|(_, ended)| ended.is_none());
    let ended = group.iter().filter_map(|(_, ended)| *ended).max().filter(|_| !going_on);
    let duration_s = group.iter().map(|(record, _)| record.duration_s.max(0)).fold(0, i64::saturating_add);
    let total_per_hour = per_hour(used.total, duration_s);
    Row { name: name.to_owned(), started, ended, duration_s, used, total_per_hour }
}

fn per_hour(total: u64, duration_s: i64) -> u64 {
    if duration_s <= 0 { 0 } else { (total as f64 * 3600.0 / duration_s as f64) as u64 }
}

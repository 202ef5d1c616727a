//! `tokens.json`: how far transcripts were read, what was used so far, the open record, records owed to the ledger.
//!
//! Each response counts once, with bounded memory. Remembered are the keys of an agent's last [`RECENT_MAX`] responses,
//! the usage of the last [`LATEST_MAX`] (a later record of one replaces it), and the time of the newest response that is
//! forgotten: the *horizon*. A file that turns up anew (a resumed session's copy, a moved or rewritten file) is read under
//! the horizon of that moment: what in it is older and not remembered was counted before. So a copy of any length counts
//! once, also one of another agent's session (that agent's memory and horizon hold for what is older than the file), and
//! what is lost are responses in a file that first turns up more than [`RECENT_MAX`] responses late. Repeats
//! within one file that are further apart than that, and responses without a time, are beyond it.
//!
//! Losing the file loses nothing that the transcripts still have: what came after the ledger's last record is read again.

use crate::base::names::UnitName;
use crate::base::time::Wall;
use crate::model::usage::{Counted, Cursor, Totals};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Responses of an agent that are remembered by key.
pub const RECENT_MAX: usize = 512;
/// Responses of an agent whose usage is remembered.
pub const LATEST_MAX: usize = 48;
/// Files of an agent whose cursors are kept; past that the one that is silent for longest is done.
pub const FILES_MAX: usize = 200;
/// Records owed at most: past that the oldest is dropped.
pub const OWED_MAX: usize = 100;
/// What is older than its file by more than this was written elsewhere first, seconds.
pub const COPY_SLACK_S: f64 = 10.0;
/// A response may be stamped this much later than now: clocks of servers differ.
const FUTURE_S: f64 = 300.0;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// By agent. Shared, because the state is copied every tick and this seldom changes.
    pub agents: BTreeMap<UnitName, Arc<AgentTokens>>,
    /// The record that is being counted.
    pub open: Option<Open>,
    /// Records that token-log.jsonl may not have yet.
    pub owed: Vec<Record>,
}

/// One agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentTokens {
    /// Responses before this are none of this fleet's.
    pub since: Wall,
    /// What it used since.
    pub used: Totals,
    /// Not everything in its transcripts is read yet.
    pub pending: bool,
    /// Its transcripts.
    pub files: Vec<Cursor>,
    /// Files that are not known and did not change after this are done.
    pub done_until: Option<Wall>,
    /// The last responses: keys and times.
    pub recent: Recent,
    /// The last responses: usage.
    pub latest: Latest,
    /// Time of the newest response that is no longer remembered.
    pub horizon: Option<Wall>,
    /// Why its tokens are not, or not all, counted.
    pub uncounted: Option<String>,
}

/// Keys of responses, each with its time; oldest first. One word of JSON: `key@milliseconds …`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent(pub VecDeque<(u64, Option<Wall>)>);

/// Usage of responses, oldest first. One word of JSON: `key input output cache_read cache_creation; …`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest(pub VecDeque<(u64, Totals)>);

/// The record that is being counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Open {
    /// `<phase>` or `<phase>:<label>`.
    pub phase_id: String,
    /// When it was opened.
    pub started: Wall,
    /// What each agent had used then.
    pub baseline: BTreeMap<UnitName, Totals>,
}

/// One line of token-log.jsonl.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// `<phase>` or `<phase>:<label>`.
    pub phase_id: String,
    /// When it began.
    pub started: Wall,
    /// When it ended.
    pub ended: Wall,
    /// How long it took, seconds.
    pub duration_s: i64,
    /// What each agent used.
    pub agents: BTreeMap<String, Totals>,
    /// The sum.
    pub total: Totals,
}

impl Record {
    /// What tells it from others.
    pub fn id(&self) -> String {
        format!("{} {}", self.phase_id, self.started)
    }
}

impl AgentTokens {
    /// Does it remember this response?
    pub fn knows(&self, key: u64) -> bool {
        self.recent.0.iter().rev().any(|(known, _)| *known == key)
    }

    /// Takes one statement about a response, found in a file that is read under `floor`. Copies change nothing.
    pub fn count(&mut self, counted: &Counted, floor: Option<Wall>, now: Wall) {
        if let Some((_, usage)) = self.latest.0.iter_mut().rev().find(|(key, _)| *key == counted.key) {
            self.used = self.used.minus(usage).plus(&counted.usage);
            *usage = counted.usage;
            return;
        }
        if self.knows(counted.key) {
            return;
        }
        // A time far in the future is no time: it would hide all that follows.
        let at = counted.at.filter(|at| at.since_s(now) < FUTURE_S);
        if at.is_some_and(|at| at < self.since || floor.is_some_and(|floor| at <= floor)) {
            return;
        }
        self.used = self.used.plus(&counted.usage);
        self.recent.0.push_back((counted.key, at));
        self.latest.0.push_back((counted.key, counted.usage));
        while self.recent.0.len() > RECENT_MAX {
            let forgotten = self.recent.0.pop_front().and_then(|(_, at)| at);
            self.horizon = self.horizon.max(forgotten);
        }
        while self.latest.0.len() > LATEST_MAX {
            self.latest.0.pop_front();
        }
    }

    /// Keeps how far a file was read.
    pub fn keep(&mut self, cursor: Cursor) {
        let same = |old: &&mut Cursor| (old.dev, old.ino) == (cursor.dev, cursor.ino);
        match self.files.iter_mut().find(same) {
            Some(old) => *old = cursor,
            None => self.files.push(cursor),
        }
        while self.files.len() > FILES_MAX {
            let oldest = self.files.iter().enumerate().min_by_key(|(_, file)| file.changed_at);
            let Some((index, _)) = oldest else { break };
            let done = self.files.remove(index);
            self.done_until = self.done_until.max(Some(done.changed_at));
        }
    }
}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let word = |(key, at): &(u64, Option<Wall>)| match at {
            Some(at) => format!("{key:016x}@{}", at.0),
            None => format!("{key:016x}"),
        };
        s.collect_str(&self.0.iter().map(word).collect::<Vec<_>>().join(" "))
    }
}

impl<'de> Deserialize<'de> for Recent {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Recent, D::Error> {
        let text = String::deserialize(d)?;
        let read = |word: &str| {
            let (key, at) = word.split_once('@').map_or((word, None), |(key, at)| (key, Some(at)));
            let at = at.map(|at| at.parse().map(Wall)).transpose().ok()?;
            Some((u64::from_str_radix(key, 16).ok()?, at))
        };
        let words = text.split_whitespace().map(|word| {
            read(word).ok_or_else(|| serde::de::Error::custom(format!("`{word}` is not KEY@MILLISECONDS")))
        });
        words.collect::<Result<VecDeque<_>, _>>().map(Recent)
    }
}

impl Serialize for Latest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let word = |(key, u): &(u64, Totals)| {
            format!("{key:016x} {} {} {} {}", u.input, u.output, u.cache_read, u.cache_creation)
        };
        s.collect_str(&self.0.iter().map(word).collect::<Vec<_>>().join("; "))
    }
}

impl<'de> Deserialize<'de> for Latest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Latest, D::Error> {
        let text = String::deserialize(d)?;
        let read = |word: &str| {
            let (key, rest) = word.trim().split_once(' ')?;
            let numbers: Vec<u64> = rest.split(' ').map(|n| n.parse().ok()).collect::<Option<_>>()?;
            let [input, output, read, creation] = numbers.try_into().ok()?;
            Some((u64::from_str_radix(key, 16).ok()?, Totals::one(input, output, read, creation)))
        };
        let words = text.split(';').filter(|word| !word.trim().is_empty());
        let words = words.map(|word| {
            read(word)
                .ok_or_else(|| serde::de::Error::custom(format!("`{word}` is not KEY and four numbers")))
        });
        words.collect::<Result<VecDeque<_>, _>>().map(Latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_000_000_000);

    fn response(key: u64, output: u64, at: i64) -> Counted {
        Counted { key, at: Some(Wall(at)), usage: Totals::one(0, output, 0, 0) }
    }

    #[test]
    fn a_response_counts_once_and_its_last_record_wins() {
        let mut agent = AgentTokens::default();
        for counted in [response(1, 5, 10), response(2, 7, 11), response(1, 9, 10), response(1, 9, 10)] {
            agent.count(&counted, None, NOW);
        }
        assert_eq!((agent.used.output, agent.used.total, agent.used.messages), (16, 16, 2));
    }

    #[test]
    fn what_was_before_is_not_counted() {
        let mut agent = AgentTokens { since: Wall(100), ..AgentTokens::default() };
        agent.count(&response(1, 5, 99), None, NOW);
        agent.count(&response(2, 5, 100), None, NOW);
        agent.count(&response(3, 5, 200), Some(Wall(200)), NOW);
        assert_eq!(agent.used.messages, 1);
    }

    #[test]
    fn a_copy_of_any_length_counts_once() {
        let mut agent = AgentTokens::default();
        let n = 3 * RECENT_MAX as u64;
        let all = || (0..n).map(|i| response(i, 1, 1000 + i as i64));
        all().for_each(|counted| agent.count(&counted, None, NOW));
        assert_eq!(agent.used.messages, n);
        let floor = agent.horizon;
        assert_eq!(floor, Some(Wall(1000 + (n as i64 - RECENT_MAX as i64 - 1))));
        all().for_each(|counted| agent.count(&counted, floor, NOW));
        agent.count(&response(n, 1, 9999), floor, NOW);
        assert_eq!(agent.used.messages, n + 1);
        assert!(agent.recent.0.len() <= RECENT_MAX && agent.latest.0.len() <= LATEST_MAX);
    }

    #[test]
    fn a_time_in_the_future_hides_nothing() {
        let mut agent = AgentTokens::default();
        agent.count(&response(0, 1, NOW.0 * 9), None, NOW);
        for i in 1..=RECENT_MAX as u64 {
            agent.count(&response(i, 1, 5), None, NOW);
        }
        assert_eq!((agent.used.messages, agent.horizon), (RECENT_MAX as u64 + 1, None));
    }

    #[test]
    fn cursors_are_bounded() {
        let mut agent = AgentTokens::default();
        for i in 0..FILES_MAX as u64 + 2 {
            let changed_at = Wall(i64::try_from(i).unwrap());
            agent.keep(Cursor { ino: i, changed_at, ..Cursor::default() });
            agent.keep(Cursor { ino: i, changed_at, offset: 1, ..Cursor::default() });
        }
        assert_eq!((agent.files.len(), agent.done_until), (FILES_MAX, Some(Wall(1))));
        assert!(agent.files.iter().all(|file| file.offset == 1 && file.ino >= 2));
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let mut agent = AgentTokens { since: Wall(-1), ..AgentTokens::default() };
        agent.count(&response(u64::MAX, 5, 10), None, NOW);
        agent.count(&Counted { at: None, ..response(0, 6, 0) }, None, NOW);
        let name = UnitName::new("a").unwrap();
        let tokens = Tokens { agents: [(name, agent.into())].into(), ..Tokens::default() };
        let text = serde_json::to_string(&tokens).unwrap();
        assert_eq!(serde_json::from_str::<Tokens>(&text).unwrap(), tokens, "{text}");
        for bad in [r#"{"agents":{"a":{"recent":"xyz"}}}"#, r#"{"agents":{"a":{"latest":"00 1 2"}}}"#] {
            assert!(serde_json::from_str::<Tokens>(bad).is_err(), "{bad}");
        }
    }
}

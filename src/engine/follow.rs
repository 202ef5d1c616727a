//! Logs of processes between ticks: the detectors of each stay with their log, so that only new bytes are read; whenever the
//! committed cursor is not the one that was told last, they begin anew there.
//!
//! Deliberately not here: bytes and rotation (`sys::follow`), what a finding means (`policy`).

use super::sieve::Sieve;
use crate::base::names::UnitName;
use crate::base::text::digest;
use crate::base::time::Awake;
use crate::config::{DetectorConfig, Rule};
use crate::detect::log::{Position, Scanner, spoke, told};
use crate::model::finding::Finding;
use crate::model::process::{LogCursor, LogSeen};
use crate::sys::follow::{Got, Log, Reader, Start};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Bytes read of all logs in one tick; the rest at once in the next one.
const TICK_MAX: usize = 64 << 20;
/// Bytes read of all logs when one of them woke the loop.
const WAKE_MAX: usize = 8 << 20;
/// Bytes of a log's end that hold a program's last words: a stack of a thousand frames, and more.
const LAST_MAX: u64 = 256 << 10;
/// Bytes read at once.
const PIECE: usize = 256 << 10;
/// Silence after which an open trace and an unfinished line are judged, seconds.
const QUIET_S: f64 = 0.5;
/// Rotations followed in one tick.
const FILES_MAX: usize = 16;

/// What is asked of one log.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub unit: &'a UnitName,
    pub log: &'a Log,
    pub detectors: &'a [DetectorConfig],
    /// What must not be lost in a flood of findings.
    pub rules: &'a [Rule],
    /// Where the state says that reading stands.
    pub committed: &'a LogCursor,
    /// Where reading begins when the state says nothing.
    pub start: Start,
    /// The process is over: nothing more comes, what is open is judged now.
    pub over: bool,
    /// Its end is still to be explained: by its last words, if they say why.
    pub unexplained: bool,
}

/// All logs that are followed.
#[derive(Debug, Default)]
pub struct Follower {
    logs: BTreeMap<UnitName, Following>,
    /// Where logs are, also those that are not there yet.
    folders: BTreeSet<PathBuf>,
    left: usize,
}

#[derive(Debug)]
struct Following {
    log: Log,
    /// Digest of detectors and rules: others make a new scan.
    detectors: String,
    configs: Vec<DetectorConfig>,
    rules: Vec<Rule>,
    reader: Reader,
    scanner: Scanner,
    /// The cursor that was told last.
    told: LogCursor,
    sieve: Sieve,
    grew: bool,
    grown_at: Awake,
    /// What waits for the end of the trace around it: the first place, and since when.
    holding: Option<(u64, Awake)>,
    /// The last line of the open trace that got none for the longest time, and when that was seen.
    stale: Option<(u64, Awake)>,
    /// Bytes up to here were read before.
    known: u64,
    trouble: Option<String>,
}

impl Follower {
    /// A tick begins: its budget is fresh, and only these units are followed.
    pub fn begin(&mut self, wanted: &dyn Fn(&UnitName) -> bool) {
        self.left = TICK_MAX;
        self.folders.clear();
        self.logs.retain(|unit, _| wanted(unit));
    }

    /// What a log says since it was last looked at.
    pub fn look(&mut self, question: &Question<'_>, now: Awake) -> LogSeen {
        let unseen = |why: Option<String>| LogSeen {
            cursor: question.committed.clone(),
            trouble: why,
            ..LogSeen::default()
        };
        self.folders.extend(question.log.path.parent().map(ToOwned::to_owned));
        if let Err(why) = self.stand(question, now) {
            return unseen(Some(why));
        }
        let Some(following) = self.logs.get_mut(question.unit) else { return unseen(None) };
        match following.take(&mut self.left, now).and_then(|()| following.tell(question, now, self.left)) {
            Ok(seen) => seen,
            Err(why) => {
                self.logs.remove(question.unit);
                unseen(Some(why))
            }
        }
    }

    /// The folders in which logs are or will be.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(PathBuf::as_path)
    }

    /// Some logs changed between ticks: their new bytes are read. Is there a finding?
    pub fn wake(&mut self, now: Awake) -> bool {
        let mut left = WAKE_MAX;
        let mut found = false;
        for following in self.logs.values_mut() {
            // What can't be read now is told by the next tick.
            let read = following.take(&mut left, now);
            found |= read.is_err() || following.has_found() || following.hush(now);
        }
        found
    }

    /// Seconds until something that is open should be judged, if nothing more comes.
    pub fn due_s(&self, now: Awake) -> Option<f64> {
        self.logs.values().filter_map(|following| following.due_s(now)).min_by(f64::total_cmp)
    }

    /// Makes the reader stand at the committed cursor.
    fn stand(&mut self, question: &Question<'_>, now: Awake) -> Result<(), String> {
        let detectors = digest(format!("{:?}", (question.detectors, question.rules)).as_bytes());
        let stands = self.logs.get(question.unit).is_some_and(|following| {
            following.told == *question.committed
                && following.log == *question.log
                && following.detectors == detectors
        });
        if stands {
            return Ok(());
        }
        self.logs.remove(question.unit);
        let opened =
            question.log.open(question.committed, question.start).map_err(|error| error.message())?;
        let Some((reader, trouble)) = opened else { return Ok(()) };
        let goes_on = question.committed.file.is_some() && trouble.is_none();
        let known = position(question.committed);
        let begins = Position { line: reader.line(), ..fresh(reader.at) };
        let position = match goes_on {
            true if reader.at == known.offset => known,
            // What was read further on, and taken, is done with.
            true => Position {
                judged: known.judged.max(reader.at),
                traced: known.traced.max(reader.at),
                told: known.told,
                ..begins
            },
            false => begins,
        };
        let following = Following {
            log: question.log.clone(),
            detectors,
            configs: question.detectors.to_vec(),
            rules: question.rules.to_vec(),
            scanner: Scanner::new(question.detectors, position),
            known: if goes_on { question.committed.read } else { reader.at },
            reader,
            told: question.committed.clone(),
            sieve: Sieve::default(),
            grew: false,
            grown_at: now,
            holding: None,
            stale: None,
            trouble,
        };
        self.logs.insert(question.unit.clone(), following);
        Ok(())
    }
}

/// A scan that knows of nothing before this place.
fn fresh(at: u64) -> Position {
    Position { offset: at, line: 1, judged: at, traced: at, ..Position::default() }
}

fn position(cursor: &LogCursor) -> Position {
    let LogCursor { offset, line, judged, traced, long, .. } = *cursor;
    Position { offset, line, judged, traced, told: told(cursor.told.iter().copied(), traced), long }
}

impl Following {
    /// Reads what is new, within the budget.
    fn take(&mut self, left: &mut usize, now: Awake) -> Result<(), String> {
        let mut files = 0;
        while *left > 0 {
            match self.reader.read(&self.log, PIECE.min(*left)).map_err(|error| error.message())? {
                Got::Bytes(bytes) => {
                    *left -= bytes.len();
                    self.grown_at = now;
                    let mut found = Vec::new();
                    self.scanner.feed(&bytes, &mut found);
                    self.clock(now);
                    self.grew |= self.scanner.fed() > self.known;
                    self.keep(found);
                }
                Got::Nothing => return Ok(()),
                Got::Over | Got::Changed if files >= FILES_MAX => return Ok(()),
                Got::Over => {
                    let Some(next) = self.log.next(&self.reader).map_err(|error| error.message())? else {
                        return Ok(());
                    };
                    self.switch(next);
                    files += 1;
                }
                Got::Changed => {
                    self.reopen()?;
                    files += 1;
                }
            }
        }
        Ok(())
    }

    /// The log was cut or written anew: its rest may stand in a copy beside it.
    fn reopen(&mut self) -> Result<(), String> {
        let failed = |error: crate::base::error::Error| error.message();
        let here = self.reader.read_cursor();
        let Some((next, trouble)) = self.log.open(&here, Start::Beginning).map_err(failed)? else {
            return Ok(());
        };
        if trouble.is_none() {
            // The same bytes up to here: the scan goes on.
            self.reader = next;
            return Ok(());
        }
        self.trouble = trouble;
        self.switch(next);
        Ok(())
    }

    /// Goes on in another file: what was open in the old one is judged.
    fn switch(&mut self, next: Reader) {
        let mut found = Vec::new();
        self.scanner.finish(&mut found);
        self.keep(found);
        self.mark();
        self.scanner = Scanner::new(&self.configs, fresh(next.at));
        (self.holding, self.stale) = (None, None);
        self.known = next.at;
        self.reader = next;
    }

    fn keep(&mut self, found: Vec<Finding>) {
        for finding in found {
            self.sieve.add(finding, &self.rules);
        }
    }

    /// What will tell the places of the findings so far, also when the log was cut or got another name meanwhile.
    fn mark(&mut self) {
        for finding in self.sieve.unmarked() {
            finding.log = self.reader.mark(finding);
        }
    }

    /// Where its last words begin, as far as the log's end tells.
    fn spoke(&self) -> Option<u64> {
        let (bytes, first) = self.reader.last(LAST_MAX).ok()?;
        Some(first.saturating_add(spoke(&bytes, &self.configs) as u64))
    }

    fn has_found(&self) -> bool {
        !self.sieve.is_empty()
    }

    /// Seconds until [`Following::hush`] has something to do.
    fn due_s(&self, now: Awake) -> Option<f64> {
        let open = self.scanner.is_open().then_some(self.grown_at);
        let waiting = [self.holding, self.stale].map(|known| known.map(|(_, since)| since));
        let since = waiting.into_iter().chain([open]).flatten().min()?;
        Some((QUIET_S - now.since_s(since)).max(0.0))
    }

    /// Judges what is open when it has been silent for a while; was something found?
    fn hush(&mut self, now: Awake) -> bool {
        if self.scanner.is_open() && now.since_s(self.grown_at) >= QUIET_S {
            self.judge();
        }
        let is_due = |known: &(u64, Awake)| now.since_s(known.1) >= QUIET_S;
        let mut found = Vec::new();
        if let Some((last, _)) = self.stale.filter(is_due) {
            self.scanner.settle(last, &mut found);
        }
        if self.holding.is_some_and(|known| is_due(&known)) {
            self.scanner.let_go(&mut found);
        }
        self.clock(now);
        self.keep(found);
        self.has_found()
    }

    fn judge(&mut self) {
        let mut found = Vec::new();
        self.scanner.quiet(&mut found);
        (self.holding, self.stale) = (None, None);
        self.keep(found);
    }

    /// Remembers since when something waits.
    fn clock(&mut self, now: Awake) {
        let since = |place: Option<u64>, known: Option<(u64, Awake)>| {
            Some(known.filter(|known| Some(known.0) == place).unwrap_or((place?, now)))
        };
        self.holding = since(self.scanner.holding(), self.holding);
        self.stale = since(self.scanner.stale(), self.stale);
    }

    /// What is told to the tick, and where reading stands.
    fn tell(&mut self, question: &Question<'_>, now: Awake, left: usize) -> Result<LogSeen, String> {
        if question.over && left > 0 {
            self.judge();
        }
        self.hush(now);
        let place = self.scanner.position();
        let cursor = self.reader.cursor(place.offset).map_err(|error| error.message())?;
        let read = self.scanner.fed().max(self.known);
        let cursor = LogCursor {
            line: place.line,
            judged: place.judged,
            traced: place.traced,
            told: place.told.into_iter().flatten().collect(),
            long: place.long,
            read,
            ..cursor
        };
        self.known = read;
        self.told = cursor.clone();
        self.mark();
        let open = self.due_s(now).map(|due| due.max(0.05));
        let sifted = self.sieve.take();
        Ok(LogSeen {
            cursor,
            findings: sifted.findings,
            more: sifted.left_out.values().sum(),
            noisy: sifted.left_out.into_keys().collect(),
            grew: std::mem::take(&mut self.grew),
            spoke: question.unexplained.then(|| self.spoke()).flatten(),
            metrics: self.scanner.metrics(),
            changed_at: self.log.changed_at(),
            trouble: self.trouble.take(),
            again_s: if left == 0 { Some(0.0) } else { open },
        })
    }
}

#[cfg(test)]
mod tests;

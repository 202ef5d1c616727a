//! Reads what is new in the agents' transcripts: a bounded number of bytes a tick, of agents that did something lately.
//!
//! Whose a file is, its first lines say ([`owner`]); what it states, the readers. Deliberately not here: sums and records
//! (`policy::tokens`). A quiet agent costs nothing: what its CLI writes shows on its screen too, so that a screen that has
//! not changed for [`LOOK_S`] means a transcript that has not grown.

use crate::base::names::UnitName;
use crate::base::text::digest;
use crate::base::time::{Now, Wall};
use crate::config::{Agent, Config, Unit};
use crate::detect::transcript::owner::{Claimant, Owner, owner};
use crate::detect::transcript::{self, DOCUMENT_MAX, Format, LINE_MAX};
use crate::model::seen::{PaneSeen, Seen};
use crate::model::usage::{AgentUsage, Cursor, FileNews, FileSeen, UsageSeen};
use crate::state::State;
use crate::state::table;
use crate::state::tokens::{AgentTokens, COPY_SLACK_S, Record};
use crate::sys::transcript_files::{Folders, Place};
use crate::sys::{Files, Host};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes read in one tick, of all transcripts together.
const TICK_BYTES: usize = 4 << 20;
/// An agent whose screen has been the same for so long is not looked at, seconds.
const LOOK_S: f64 = 90.0;
/// How much of a file's beginning is read to learn whose it is. Codex begins with its instructions, some 22 kB.
const HEAD_BYTES: usize = 256 << 10;
/// Bytes at the beginning of a file that tell it from another.
const CHECK_HEAD: u64 = 256;
/// Bytes before the cursor that do the same.
const CHECK_BEFORE: u64 = 64;
/// Most files remembered as nobody's.
const STRANGERS_MAX: usize = 50_000;
/// How much of the ledger's end is read to see which records it has.
const LEDGER_TAIL: u64 = 256 << 10;

/// What is kept from look to look. Losing it costs one look at every agent.
#[derive(Debug, Default)]
pub struct UsageMemory {
    /// Files that are nobody's (device, inode, and the path in case the inode is used again).
    strangers: BTreeSet<(u64, u64, String)>,
    /// Who is read first: a turn passes to the next agent each tick.
    turn: usize,
}

/// One agent whose tokens can be counted.
struct Candidate<'a> {
    unit: &'a Unit,
    agent: &'a Agent,
    format: Format,
    pid: Option<i32>,
    known: Option<&'a AgentTokens>,
}

/// Looks at the transcripts.
pub fn look<H: Host, F: Files>(
    host: &mut H,
    files: &mut F,
    config: &Config,
    state: &State,
    now: &Now,
    units: &BTreeMap<UnitName, Seen>,
    memory: &mut UsageMemory,
) -> UsageSeen {
    let mut seen = UsageSeen::default();
    if !config.watchdog.log_tokens {
        return seen;
    }
    let candidates = candidates(config, state, units, &mut seen);
    let due: Vec<usize> =
        (0..candidates.len()).filter(|i| is_due(&candidates[*i], state, now, units)).collect();
    ledger(files, state, !candidates.is_empty(), &mut seen);
    // Where counting goes on after a loss of memory stands in the ledger: without it nothing is counted now.
    if due.is_empty() || (seen.ledger_unread && state.tokens.agents.is_empty()) {
        return seen;
    }
    let mut looker = Looker::new(host, &candidates, state, memory);
    let first = looker.memory.turn % due.len();
    looker.memory.turn = looker.memory.turn.wrapping_add(1);
    for index in due.iter().cycle().skip(first).take(due.len()) {
        let lower = seen.ledger_end.max(state.tokens.open.as_ref().map(|open| open.started));
        let usage = looker.agent(*index, now, lower);
        let candidate = &candidates[*index];
        let same = |known: &AgentTokens| known.uncounted == usage.uncounted && known.pending == usage.pending;
        let told = candidate.known.is_some_and(same);
        if !told || !usage.files.is_empty() {
            seen.agents.insert(candidate.unit.name.clone(), usage);
        }
    }
    seen
}

/// Agents whose tokens can be counted, in the order of the config. Of the others it is said once why they are not.
fn candidates<'a>(
    config: &'a Config,
    state: &'a State,
    units: &BTreeMap<UnitName, Seen>,
    seen: &mut UsageSeen,
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for (name, unit) in &config.units {
        let Some(agent) = unit.agent() else { continue };
        let known = state.tokens.agents.get(name).map(AsRef::as_ref);
        let backend = &agent.backend;
        let Some(format) = Format::of(&backend.name, backend.transcript_dir.as_deref(), &backend.command)
        else {
            let why = transcript::uncounted(&backend.name).map(str::to_owned);
            if why.is_some() && known.is_none_or(|known| known.uncounted != why) {
                seen.agents.insert(name.clone(), AgentUsage { uncounted: why, ..AgentUsage::default() });
            }
            continue;
        };
        let pid = match units.get(name).map(|seen| &seen.pane) {
            Some(PaneSeen::Alive(pane)) => Some(pane.pid),
            Some(PaneSeen::Unknown | PaneSeen::Absent | PaneSeen::Dead { .. }) | None => None,
        };
        found.push(Candidate { unit, agent, format, pid, known });
    }
    found.sort_by_key(|candidate| candidate.unit.position);
    found
}

/// Is there reason to think that the agent used tokens since the last look?
fn is_due(candidate: &Candidate<'_>, state: &State, now: &Now, units: &BTreeMap<UnitName, Seen>) -> bool {
    let name = &candidate.unit.name;
    if candidate.known.is_none_or(|known| known.pending) {
        return true;
    }
    let pane = match units.get(name).map(|seen| &seen.pane) {
        Some(PaneSeen::Alive(pane)) => pane,
        // It has just ended: its last words.
        Some(PaneSeen::Dead { .. } | PaneSeen::Absent) | None => {
            return state.units.get(name).is_some_and(|state| state.seen.process.is_some());
        }
        Some(PaneSeen::Unknown) => return false,
    };
    let clock = state.clocks.units.get(name).and_then(|clocks| clocks.screen.as_ref());
    clock.is_none_or(|clock| {
        clock.value != pane.reading.content || now.awake_s.since_s(clock.changed_awake_s) < LOOK_S
    })
}

/// Which owed records the ledger has; where it ends, when nothing is remembered.
fn ledger<F: Files>(files: &mut F, state: &State, counts: bool, seen: &mut UsageSeen) {
    let lost = state.tokens.agents.is_empty() && counts;
    if state.tokens.owed.is_empty() && !lost {
        return;
    }
    let Ok(tail) = files.tail(table::TOKEN_LOG, LEDGER_TAIL) else {
        seen.ledger_unread = true;
        return;
    };
    let text = String::from_utf8_lossy(&tail);
    let records: Vec<Record> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let owed = state.tokens.owed.iter().map(Record::id);
    seen.logged = owed.filter(|id| records.iter().any(|record| record.id() == *id)).collect();
    seen.ledger_end = records.iter().map(|record| record.ended).max().filter(|_| lost);
}

/// One tick's look.
struct Looker<'l, H> {
    host: &'l mut H,
    candidates: &'l [Candidate<'l>],
    state: &'l State,
    memory: &'l mut UsageMemory,
    /// Bytes that may still be read.
    budget: usize,
    /// Folders read in this tick.
    listed: BTreeMap<String, (Vec<FileSeen>, bool)>,
    /// Each candidate's folders, and what it claims; made when first needed.
    claims: BTreeMap<usize, (Folders, Claimant)>,
    /// Files that got an owner in this tick.
    taken: BTreeSet<(u64, u64)>,
}

impl<'l, H: Host> Looker<'l, H> {
    fn new(
        host: &'l mut H,
        candidates: &'l [Candidate<'l>],
        state: &'l State,
        memory: &'l mut UsageMemory,
    ) -> Looker<'l, H> {
        if memory.strangers.len() > STRANGERS_MAX {
            memory.strangers.clear();
        }
        let (listed, claims, taken) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Looker { host, candidates, state, memory, budget: TICK_BYTES, listed, claims, taken }
    }

    /// Reads what is new in one agent's transcripts. `lower`: nothing before that counts.
    fn agent(&mut self, index: usize, now: &Now, lower: Option<Wall>) -> AgentUsage {
        let candidates = self.candidates;
        let candidate = &candidates[index];
        let mut usage = AgentUsage { since: self.since(candidate, now, lower), ..AgentUsage::default() };
        for dir in self.dirs(index) {
            let (mut found, cut) = self.list(candidate.format, &dir);
            if cut {
                usage.uncounted = Some(format!("`{dir}` holds more files than are looked at"));
            }
            // A session before its sub-agents, whose files lie deeper.
            found.sort_by(|a, b| (a.path.len(), &a.path).cmp(&(b.path.len(), &b.path)));
            for file in found {
                self.file(index, &file, &mut usage);
            }
        }
        usage
    }

    /// Where to look. Whose process is gone, its home can't be asked for: where its last session lies.
    fn dirs(&mut self, index: usize) -> Vec<String> {
        let Candidate { pid, known, .. } = &self.candidates[index];
        let newest =
            known.filter(|_| pid.is_none()).and_then(|known| known.files.iter().max_by_key(|f| f.changed_at));
        match newest.and_then(|file| file.path.rsplit_once('/')) {
            Some((dir, _)) => vec![dir.to_owned()],
            None => self.claim(index).0.dirs.clone(),
        }
    }

    /// Since when an agent's responses count: its process's start, else now; what the ledger has is over.
    fn since(&mut self, candidate: &Candidate<'_>, now: &Now, lower: Option<Wall>) -> Wall {
        if let Some(known) = candidate.known {
            return known.since;
        }
        let began = candidate.pid.and_then(|pid| self.host.process_began(pid));
        let since = began.map_or(now.wall, |began| began.min(now.wall));
        lower.map_or(since, |lower| since.max(lower))
    }

    fn list(&mut self, format: Format, dir: &str) -> (Vec<FileSeen>, bool) {
        if let Some(found) = self.listed.get(dir) {
            return found.clone();
        }
        let found = self.host.transcript_files(dir, &|path| format.is_transcript(path));
        self.listed.insert(dir.to_owned(), found.clone());
        found
    }

    /// Where an agent's files are, and by what it is known as their owner.
    fn claim(&mut self, index: usize) -> &(Folders, Claimant) {
        if !self.claims.contains_key(&index) {
            let candidates = self.candidates;
            let Candidate { unit, agent, format, pid, known } = &candidates[index];
            let place = format.place();
            let env = unit.process_env();
            let place = Place {
                home_env: place.home_env,
                home: place.home,
                below: format.below(agent.backend.transcript_dir.as_deref()),
                env: &env,
                pid: *pid,
                cwd: &unit.dir,
            };
            let folders = self.host.transcript_folders(&place);
            let session = agent.backend.status_file.as_deref().zip(*pid);
            let claimant = Claimant {
                dirs: folders.cwds.clone(),
                started: pid.and_then(|pid| self.host.process_began(pid)),
                session: session.and_then(|(file, pid)| self.host.session(file, pid)),
                owned: known
                    .iter()
                    .flat_map(|known| &known.files)
                    .filter_map(|file| file.session.clone())
                    .collect(),
            };
            self.claims.insert(index, (folders, claimant));
        }
        &self.claims[&index]
    }

    /// Reads what is new in one file, if it is this agent's.
    fn file(&mut self, index: usize, file: &FileSeen, usage: &mut AgentUsage) {
        let candidates = self.candidates;
        let candidate = &candidates[index];
        let known = candidate.known.and_then(|known| known.files.iter().find(|cursor| cursor.is(file)));
        let cursor = match known {
            Some(cursor) if cursor.is_at_end(file) && cursor.path == file.path => return,
            Some(cursor) => cursor.clone(),
            None => {
                let Some(session) = self.claimed(index, file, usage.since) else { return };
                let floor = self.floor(index, file);
                Cursor { dev: file.dev, ino: file.ino, born: file.born, floor, session, ..Cursor::default() }
            }
        };
        let read = if transcript::is_document(&file.path) {
            self.document(candidate.format, file, cursor, usage)
        } else {
            self.lines(index, file, cursor, usage)
        };
        usage.files.extend(read.filter(|news| known != Some(&news.cursor)));
    }

    /// An unknown file's session, if the file is this agent's and of its time.
    fn claimed(&mut self, index: usize, file: &FileSeen, since: Wall) -> Option<Option<String>> {
        let candidates = self.candidates;
        let candidate = &candidates[index];
        let id = (file.dev, file.ino);
        let stranger = (file.dev, file.ino, file.path.clone());
        let done =
            candidate.known.and_then(|known| known.done_until).is_some_and(|done| file.changed_at <= done);
        let others = self.state.tokens.agents.values().flat_map(|agent| &agent.files);
        if done || file.bytes == 0 || file.changed_at < since || self.memory.strangers.contains(&stranger) {
            return None;
        }
        if self.taken.contains(&id) || others.into_iter().any(|cursor| cursor.is(file)) {
            return None;
        }
        let bytes = self.host.transcript_bytes(file, 0, HEAD_BYTES)?;
        let head = transcript::head(candidate.format, &bytes);
        let mut same: Vec<usize> =
            (0..candidates.len()).filter(|i| candidates[*i].format == candidate.format).collect();
        // A folder that is named by a directory needs no further proof.
        let by_dir = candidate.format.place().below.contains("{cwd_dashed}")
            || candidate.agent.backend.transcript_dir.as_deref().is_some_and(|dir| dir.contains("{cwd"));
        let lies_in =
            |folders: &Folders| folders.dirs.iter().any(|dir| file.path.starts_with(&format!("{dir}/")));
        // Who has another home never looks here: the file would be nobody's for ever. A dead one's home is not known.
        same.retain(|i| *i == index || candidates[*i].pid.is_none() || lies_in(&self.claim(*i).0));
        let claims: Vec<(Folders, Claimant)> = same.iter().map(|i| self.claim(*i).clone()).collect();
        let own_dir: Vec<usize> = (0..same.len()).filter(|i| by_dir && lies_in(&claims[*i].0)).collect();
        let claimants: Vec<Claimant> = claims.into_iter().map(|(_, claimant)| claimant).collect();
        match owner(candidate.format, &head, &claimants, &own_dir) {
            Owner::Agent(found) if same[found] == index => {
                self.taken.insert(id);
                if let (Some(session), Some((_, claimant))) = (&head.session, self.claims.get_mut(&index)) {
                    claimant.owned.push(session.clone());
                }
                Some(head.session)
            }
            Owner::Agent(_) => None,
            Owner::Nobody => {
                self.memory.strangers.insert(stranger);
                None
            }
            Owner::Unknown => None,
        }
    }

    /// A document is read whole whenever it changed.
    fn document(
        &mut self,
        format: Format,
        file: &FileSeen,
        mut cursor: Cursor,
        usage: &mut AgentUsage,
    ) -> Option<FileNews> {
        if file.bytes > DOCUMENT_MAX {
            usage.uncounted = Some(format!("`{}` is longer than {DOCUMENT_MAX} bytes", file.path));
            return None;
        }
        if self.budget < usize::try_from(file.bytes).ok()? {
            usage.pending = true;
            return None;
        }
        let bytes = self.host.transcript_bytes(file, 0, self.budget)?;
        self.budget -= bytes.len().min(self.budget);
        let mut counted = Vec::new();
        transcript::count_document(format, &bytes, &mut counted);
        file.path.clone_into(&mut cursor.path);
        (cursor.offset, cursor.bytes, cursor.changed_at) = (file.bytes, file.bytes, file.changed_at);
        Some(FileNews { cursor, counted })
    }

    /// Responses up to this time in a file that is read from its start are copies, unless they are remembered: the agent's
    /// own that are forgotten, and, in what is older than the file itself, those that others have forgotten.
    fn floor(&self, index: usize, file: &FileSeen) -> Option<Wall> {
        let own = self.candidates[index].known;
        let name = &self.candidates[index].unit.name;
        let others = self.state.tokens.agents.iter().filter(|(other, _)| *other != name);
        let others = others.filter_map(|(_, agent)| agent.horizon).max();
        let copied = others.zip(file.born).map(|(horizon, born)| horizon.min(born.plus_s(-COPY_SLACK_S)));
        own.and_then(|own| own.horizon).max(copied)
    }

    /// Complete lines after the cursor. A file that is shorter, or another one before the cursor, is read from its start.
    fn lines(
        &mut self,
        index: usize,
        file: &FileSeen,
        mut cursor: Cursor,
        usage: &mut AgentUsage,
    ) -> Option<FileNews> {
        let format = self.candidates[index].format;
        let rewritten = file.bytes < cursor.offset || self.check(file, cursor.offset)? != cursor.check;
        if cursor.offset > 0 && rewritten {
            let Cursor { dev, ino, session, .. } = cursor;
            let floor = self.floor(index, file);
            cursor = Cursor { dev, ino, session, born: file.born, floor, ..Cursor::default() };
        }
        let mut counted = Vec::new();
        let mut pending = false;
        while cursor.offset < file.bytes {
            let left = usize::try_from(file.bytes - cursor.offset).unwrap_or(usize::MAX).min(LINE_MAX);
            if self.budget < left {
                pending = true;
                break;
            }
            let bytes = self.host.transcript_bytes(file, cursor.offset, left)?;
            self.budget -= bytes.len().min(self.budget);
            let whole = take(format, &bytes, &mut cursor, &mut counted);
            if whole == 0 {
                break;
            }
        }
        file.path.clone_into(&mut cursor.path);
        cursor.bytes = if pending { cursor.offset } else { file.bytes };
        cursor.changed_at = file.changed_at;
        cursor.check = self.check(file, cursor.offset)?;
        usage.pending |= pending;
        Some(FileNews { cursor, counted })
    }

    /// What tells a file that was read up to `offset` from another one.
    fn check(&mut self, file: &FileSeen, offset: u64) -> Option<String> {
        let head = usize::try_from(CHECK_HEAD.min(offset)).ok()?;
        let before = CHECK_BEFORE.min(offset);
        let mut bytes = self.host.transcript_bytes(file, 0, head)?;
        bytes.extend(self.host.transcript_bytes(file, offset - before, usize::try_from(before).ok()?)?);
        Some(if offset == 0 { String::new() } else { digest(&bytes) })
    }
}

/// Takes the complete lines at the start of `bytes`, which begin at the cursor, and moves it. Returns how far.
fn take(
    format: Format,
    bytes: &[u8],
    cursor: &mut Cursor,
    counted: &mut Vec<crate::model::usage::Counted>,
) -> usize {
    let end = match bytes.iter().rposition(|b| *b == b'\n') {
        Some(last) => last + 1,
        // A line that is too long to be read: its rest is passed over.
        None if cursor.skipping || bytes.len() >= LINE_MAX => {
            cursor.skipping = true;
            cursor.offset += bytes.len() as u64;
            return bytes.len();
        }
        None => return 0,
    };
    let mut lines = bytes[..end].split_inclusive(|b| *b == b'\n');
    if std::mem::take(&mut cursor.skipping) {
        lines.next();
    }
    for line in lines {
        transcript::count_line(format, &mut cursor.reader, line, counted);
    }
    cursor.offset += end as u64;
    end
}

#[cfg(test)]
mod tests;

//! The image of the state files: reads them (a file that did not change is not read again), writes what changed.
//!
//! *No record, no act*: what could not be written is named, and the caller drops the acts that hang on it.

use crate::base::error::Error;
use crate::base::names::UnitName;
use crate::base::text::digest;
use crate::base::time::Now;
use crate::config::Config;
use crate::model::seen::{Observation, Trouble};
use crate::state::clocks::Clocks;
use crate::state::git::GitState;
use crate::state::heartbeat::Heartbeat;
use crate::state::json::{self, Broken, Loaded};
use crate::state::mail::Mail;
use crate::state::phase::PhaseState;
use crate::state::tokens::Tokens;
use crate::state::unit::UnitState;
use crate::state::{State, table};
use crate::sys::{Files, Replaced, Sync};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Largest state file read, bytes.
const STATE_BYTES: u64 = 4 << 20;
/// Largest clocks.json read, bytes: it holds all units.
const CLOCKS_BYTES: u64 = 64 << 20;

/// One state file as last read or written.
#[derive(Debug)]
struct Kept<T> {
    stamp: Option<String>,
    bytes: Option<Vec<u8>>,
    loaded: Loaded<T>,
}

impl<T: Default> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept { stamp: None, bytes: None, loaded: Loaded::default() }
    }
}

/// All state files in memory. Dropping it loses nothing.
#[derive(Debug, Default)]
pub struct Image {
    units: BTreeMap<UnitName, Kept<UnitState>>,
    clocks: Kept<Clocks>,
    mail: Kept<Mail>,
    phase: Kept<PhaseState>,
    git: Kept<GitState>,
    tokens: Kept<Tokens>,
    heartbeat: Kept<Heartbeat>,
    /// Files that did not parse at the last look, with the digest of their bytes: an editor may be saving.
    suspects: BTreeMap<String, String>,
}

/// What a load found.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Units whose file can't be judged now: they are left out of this tick.
    pub held: BTreeSet<UnitName>,
    /// Troubles to tell.
    pub troubles: Vec<Trouble>,
    /// A second look is due soon (seconds).
    pub due_s: Option<f64>,
    /// mail.json can't be judged now: no request can be handled, nothing told.
    pub mail_held: bool,
    /// phase.json or git.json can't be judged now: the plan stands still.
    pub plan_held: bool,
    /// tokens.json can't be judged now: nothing is counted.
    pub tokens_held: bool,
}

/// What a write came to.
#[derive(Debug, Default)]
pub struct CommitReport {
    /// Units whose file could not be written, or yielded to an editor: their acts are dropped.
    pub failed: BTreeMap<UnitName, String>,
    /// The same for mail.json.
    pub mail_failed: Option<String>,
    /// The same for phase.json.
    pub phase_failed: Option<String>,
    /// clocks.json could not be written, or yielded: what it says of time in which nobody looked is lost.
    pub clocks_failed: bool,
    /// The same as for units for git.json.
    pub git_failed: Option<String>,
    /// The same for tokens.json: what was read is read again.
    pub tokens_failed: Option<String>,
    /// Files written.
    pub written: usize,
}

/// How a suspect file is treated: while dry-running nothing is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspects {
    /// A second bad look moves the file to quarantine/.
    Quarantine,
    /// It stays where it is.
    Leave,
}

impl Image {
    /// Brings the image up to date with the disk.
    pub fn load<F: Files>(
        &mut self,
        files: &mut F,
        config: &Config,
        now: &Now,
        suspects: Suspects,
    ) -> LoadReport {
        let mut report = LoadReport::default();
        self.units.retain(|name, _| config.units.contains_key(name));
        for name in config.units.keys() {
            let kept = self.units.entry(name.clone()).or_default();
            let path = table::unit(name);
            if !refresh(files, &path, STATE_BYTES, now, kept, &mut self.suspects, suspects, &mut report) {
                report.held.insert(name.clone());
            }
        }
        let _ = refresh(
            files,
            table::CLOCKS,
            CLOCKS_BYTES,
            now,
            &mut self.clocks,
            &mut self.suspects,
            suspects,
            &mut report,
        );
        let _ = refresh(
            files,
            table::HEARTBEAT,
            STATE_BYTES,
            now,
            &mut self.heartbeat,
            &mut self.suspects,
            suspects,
            &mut report,
        );
        report.mail_held = !refresh(
            files,
            table::MAIL,
            STATE_BYTES,
            now,
            &mut self.mail,
            &mut self.suspects,
            suspects,
            &mut report,
        );
        let phase = refresh(
            files,
            table::PHASE,
            STATE_BYTES,
            now,
            &mut self.phase,
            &mut self.suspects,
            suspects,
            &mut report,
        );
        let git = refresh(
            files,
            table::GIT,
            STATE_BYTES,
            now,
            &mut self.git,
            &mut self.suspects,
            suspects,
            &mut report,
        );
        report.plan_held = !(phase && git);
        let tokens = refresh(
            files,
            table::TOKENS,
            CLOCKS_BYTES,
            now,
            &mut self.tokens,
            &mut self.suspects,
            suspects,
            &mut report,
        );
        report.tokens_held = !tokens;
        report
    }

    /// The state that `decide` is given.
    pub fn state(&self) -> State {
        let heartbeat = &self.heartbeat.loaded.value;
        let mut clocks = self.clocks.loaded.value.clone();
        clocks.looked_awake_s = heartbeat.looked_awake_s;
        clocks.gap_s = heartbeat.gap_s;
        State {
            units: self.units.iter().map(|(name, kept)| (name.clone(), kept.loaded.value.clone())).collect(),
            clocks,
            mail: self.mail.loaded.value.clone(),
            phase: self.phase.loaded.value.clone(),
            git: self.git.loaded.value.clone(),
            tokens: self.tokens.loaded.value.clone(),
        }
    }

    /// The first look of a process: a unit whose last act came after the end of the last tick was acted on in a tick that
    /// never ended. Where the heartbeat names the unit that was being acted on, it is that one: of the others the act went
    /// well or was never begun. Both clocks must say so, and a heartbeat that was lost says nothing: a unit that is left
    /// alone for a damaged file would be the greater harm than one death more. What another boot left behind tells nothing
    /// either: the machine ended, and not the watchdog.
    pub fn mark_crashes(&self, seen: &mut Observation) {
        if self.heartbeat.loaded.is_rebased() {
            return;
        }
        let heartbeat = self.heartbeat();
        // (A heartbeat of an older version knows only when its tick looked.)
        let ended = heartbeat.ended_awake_s.or(heartbeat.looked_awake_s);
        for (name, kept) in self.units.iter().filter(|(_, kept)| !kept.loaded.is_rebased()) {
            let state = &kept.loaded.value;
            let (Some(acted), Some(act)) = (state.failopen.acted_awake_s, &state.last_act) else { continue };
            let died = match (&heartbeat.acting, ended) {
                // (No tick ever ended: the heartbeat is of the tick of the act.)
                (Some(acting), None) => acting == name.as_str() && act.at >= heartbeat.at,
                (Some(acting), Some(ended)) => {
                    acting == name.as_str() && acted > ended && act.at > heartbeat.at
                }
                (None, Some(ended)) => acted > ended && act.at > heartbeat.at,
                (None, None) => false,
            };
            if let Some(seen) = seen.units.get_mut(name).filter(|_| died) {
                seen.crashed_on = true;
            }
        }
    }

    /// The last heartbeat.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat.loaded.value
    }

    /// Writes the units and clocks that changed.
    pub fn commit_units<F: Files>(
        &mut self,
        files: &mut F,
        next: &State,
        now: &Now,
        report: &mut CommitReport,
    ) {
        for (name, state) in &next.units {
            let kept = self.units.entry(name.clone()).or_default();
            match write(files, &table::unit(name), kept, state, now, Sync::Durable) {
                Ok(wrote) => report.written += usize::from(wrote),
                Err(error) => {
                    report.failed.insert(name.clone(), error.message());
                }
            }
        }
        // Losing the clocks only delays a stall: a failure here is not worth a word of its own.
        match write(files, table::CLOCKS, &mut self.clocks, &next.clocks, now, Sync::Cheap) {
            Ok(wrote) => report.written += usize::from(wrote),
            Err(_) => report.clocks_failed = true,
        }
    }

    /// Writes phase.json if it changed.
    pub fn commit_phase<F: Files>(
        &mut self,
        files: &mut F,
        next: &State,
        now: &Now,
        report: &mut CommitReport,
    ) {
        match write(files, table::PHASE, &mut self.phase, &next.phase, now, Sync::Durable) {
            Ok(wrote) => report.written += usize::from(wrote),
            Err(error) => report.phase_failed = Some(error.message()),
        }
    }

    /// Writes git.json if it changed.
    pub fn commit_git<F: Files>(
        &mut self,
        files: &mut F,
        next: &State,
        now: &Now,
        report: &mut CommitReport,
    ) {
        match write(files, table::GIT, &mut self.git, &next.git, now, Sync::Durable) {
            Ok(wrote) => report.written += usize::from(wrote),
            Err(error) => report.git_failed = Some(error.message()),
        }
    }

    /// Writes mail.json if it changed.
    pub fn commit_mail<F: Files>(
        &mut self,
        files: &mut F,
        next: &State,
        now: &Now,
        report: &mut CommitReport,
    ) {
        match write(files, table::MAIL, &mut self.mail, &next.mail, now, Sync::Durable) {
            Ok(wrote) => report.written += usize::from(wrote),
            Err(error) => report.mail_failed = Some(error.message()),
        }
    }

    /// Writes tokens.json if it changed.
    pub fn commit_tokens<F: Files>(
        &mut self,
        files: &mut F,
        next: &State,
        now: &Now,
        report: &mut CommitReport,
    ) {
        match write(files, table::TOKENS, &mut self.tokens, &next.tokens, now, Sync::Durable) {
            Ok(wrote) => report.written += usize::from(wrote),
            Err(error) => report.tokens_failed = Some(error.message()),
        }
    }

    /// Writes down whom the next act is on: should it be the end of the watchdog, the next one knows. `first` is what the
    /// heartbeat says when there was none.
    pub fn acting<F: Files>(&mut self, files: &mut F, unit: &UnitName, first: &Heartbeat, now: &Now) {
        let last = self.heartbeat();
        let last = if last.pid == 0 { first } else { last };
        let heartbeat = Heartbeat { acting: Some(unit.to_string()), ..last.clone() };
        // Where it can't be written, all that the tick did is suspect.
        let _ = self.beat(files, &heartbeat, now);
    }

    /// Writes the heartbeat.
    pub fn beat<F: Files>(&mut self, files: &mut F, heartbeat: &Heartbeat, now: &Now) -> Result<(), Error> {
        write(files, table::HEARTBEAT, &mut self.heartbeat, heartbeat, now, Sync::Cheap).map(|_| ())
    }
}

/// Reads one file if it changed. False: it can't be judged now.
#[expect(
    clippy::too_many_arguments,
    reason = "one plain reader for five files; every argument is a different thing"
)]
fn refresh<T: Serialize + DeserializeOwned + Default, F: Files>(
    files: &mut F,
    path: &str,
    limit: u64,
    now: &Now,
    kept: &mut Kept<T>,
    suspects: &mut BTreeMap<String, String>,
    mode: Suspects,
    report: &mut LoadReport,
) -> bool {
    let stamp = files.stamp(path);
    if stamp.is_some() && stamp == kept.stamp {
        return true;
    }
    let broken = match files.read(path, limit) {
        // (A file without a stamp may be there all the same: only reading tells.)
        Ok(None) => {
            *kept = Kept::default();
            suspects.remove(path);
            return true;
        }
        Ok(Some(bytes)) => match json::load(&bytes, now) {
            Ok(loaded) => {
                *kept = Kept { stamp, bytes: Some(bytes), loaded };
                suspects.remove(path);
                return true;
            }
            Err(broken) => (broken, digest(&bytes)),
        },
        Err(error) => (Broken { line: 0, column: 0, message: error.message() }, error.message()),
    };
    judge(files, path, kept, suspects, mode, report, broken)
}

/// A file that can't be read: a second look first, then it is put aside; one of a newer version stays where it is.
fn judge<T: Default, F: Files>(
    files: &mut F,
    path: &str,
    kept: &mut Kept<T>,
    suspects: &mut BTreeMap<String, String>,
    mode: Suspects,
    report: &mut LoadReport,
    (broken, seen): (Broken, String),
) -> bool {
    let place =
        if broken.line > 0 { format!("{path}:{}:{}", broken.line, broken.column) } else { path.to_owned() };
    let newer = broken.message.contains("newer version");
    if newer || mode == Suspects::Leave {
        let text =
            format!("{place}: {}; left as it is, and nothing is done that hangs on it", broken.message);
        report.troubles.push(Trouble { key: format!("{path} {seen}"), text });
        return false;
    }
    if suspects.get(path) != Some(&seen) {
        suspects.insert(path.to_owned(), seen);
        report.due_s = Some(0.25);
        return false;
    }
    match files.quarantine(path) {
        Ok(place_now) => {
            suspects.remove(path);
            *kept = Kept::default();
            let text = format!(
                "{place}: {}; moved to {place_now}, its memory starts afresh from what is seen",
                broken.message
            );
            report.troubles.push(Trouble { key: format!("{path} {seen}"), text });
            true
        }
        Err(error) => {
            let text = format!("{place}: {}; it could not be put aside: {}", broken.message, error.message());
            report.troubles.push(Trouble { key: format!("{path} {seen}"), text });
            false
        }
    }
}

/// Files that are only written or appended to are never read as a whole, so nobody would notice that something else (a
/// directory, a link, a FIFO) stands in their way: it is put aside, and they are made anew.
pub fn make_room<F: Files>(files: &mut F, now: &Now) -> Vec<Trouble> {
    let events = table::events(now.wall);
    let mut troubles = Vec::new();
    for path in [table::INBOX, table::OUTBOX, table::STATUS, table::ATTEMPTS, table::INCIDENTS_INDEX, &events]
    {
        let Some(what) = files.irregular(path) else { continue };
        let text = match files.quarantine(path) {
            Ok(place) => format!("{path}: {what}; moved to {place}, it is made anew"),
            Err(error) => format!("{path}: {what}; it could not be put aside: {}", error.message()),
        };
        troubles.push(Trouble { key: text.clone(), text });
    }
    troubles
}

/// Writes one file if its contents changed. An editor that was faster wins: that is an error for the acts.
fn write<T: Serialize + DeserializeOwned + PartialEq + Clone + Default, F: Files>(
    files: &mut F,
    path: &str,
    kept: &mut Kept<T>,
    next: &T,
    now: &Now,
    sync: Sync,
) -> Result<bool, Error> {
    let same = kept.loaded.value == *next && (kept.bytes.is_some() || *next == T::default());
    if same && !kept.loaded.is_rebased() {
        return Ok(false);
    }
    let Some(bytes) = json::render(&kept.loaded, next, now) else { return Ok(false) };
    match files.replace(path, kept.bytes.as_deref(), &bytes, sync)? {
        Replaced::Yielded => {
            kept.stamp = None; // Read it again at the next look.
            Err(Error::again(format!("`{path}` was edited while this tick decided: the edit stands")))
        }
        Replaced::Written => {
            let loaded = json::load(&bytes, now)
                .map_err(|broken| Error::again(format!("`{path}` can't be read back: {}", broken.message)))?;
            // The stamp is taken after the write: an edit in between would be missed, so the file is read once more.
            *kept = Kept { stamp: None, bytes: Some(bytes), loaded };
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::{Awake, Wall};
    use crate::config::Source;
    use crate::engine::unreadable::Unreadable;
    use crate::model::seen::Seen;
    use crate::sys::files::RealFiles;
    use std::path::Path;

    /// A fleet of one, of which nothing is seen.
    fn fleet() -> (Config, Observation) {
        let parsed = crate::config::parse(&Source {
            path: Path::new("/fleet/agents.toml"),
            text: "[[service]]\nname = \"a\"\ncommand = [\"x\"]\n",
            home: Path::new("/home/op"),
            env: &|_| None,
            read: &|_| Ok(String::new()),
            state_override: None,
        });
        let name = UnitName::new("a").unwrap();
        let now = Now { wall: Wall(0), awake_s: Awake(900_000), boot: "b".into(), zone: "UTC".into() };
        let units = [(name, Seen::default())].into();
        let seen = Observation { units, ..Observation::empty(now) };
        (parsed.config.unwrap(), seen)
    }

    /// Nobody forgets what a unit did because its file can't be looked at.
    #[test]
    fn a_file_that_cannot_be_read_holds_its_unit_and_its_memory_stands() {
        let dir = tempfile::tempdir().unwrap();
        let (config, seen) = fleet();
        std::fs::create_dir_all(dir.path().join("units/a")).unwrap();
        let path = dir.path().join("units/a/unit.json");
        std::fs::write(&path, "{\"v\":1,\"acts\":7}").unwrap();
        let mut files = RealFiles::new(dir.path());
        let mut image = Image::default();
        let load = |image: &mut Image, path: &str, files: &mut RealFiles| {
            let mut files = Unreadable { files, path };
            let held = image.load(&mut files, &config, &seen.now, Suspects::Leave).held;
            (held.len(), image.state().units["a"].acts)
        };
        assert_eq!(load(&mut image, "", &mut files), (0, 7));
        assert_eq!(load(&mut image, "units/a/unit.json", &mut files), (1, 7));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(load(&mut image, "", &mut files), (0, 0), "a missing one is no trouble");
    }

    #[test]
    fn a_watchdog_crashed_on_a_unit_when_the_tick_of_its_last_act_never_ended() {
        #[track_caller]
        fn check(beat: Option<&str>, (acted, acts): (&str, u32), boot: &str, want: bool) {
            let dir = tempfile::tempdir().unwrap();
            let (config, mut seen) = fleet();
            let write = |path: &str, body: &str| {
                let text = format!("{{\"v\":1,\"boot\":\"{boot}\",\"written_awake_s\":890.0,{body}}}");
                std::fs::create_dir_all(dir.path().join("units/a")).unwrap();
                std::fs::write(dir.path().join(path), text).unwrap();
            };
            write(
                "units/a/unit.json",
                &format!(
                    "\"acts\":{acts},\"failopen\":{{\"acted_awake_s\":{acted}}},\"last_act\":{{\"what\":\"x\",\"why\":\"y\",\"at\":\"2026-11-21T10:00:00Z\"}}"
                ),
            );
            let at = |body: &str| match body.contains("\"at\"") {
                true => body.to_owned(),
                false => format!("{body},\"at\":\"2026-11-21T09:00:00Z\""),
            };
            beat.into_iter().for_each(|body| write(table::HEARTBEAT, &at(body)));
            let mut image = Image::default();
            image.load(&mut RealFiles::new(dir.path()), &config, &seen.now, Suspects::Leave);
            image.mark_crashes(&mut seen);
            assert_eq!(seen.units["a"].crashed_on, want, "{beat:?} {acted} {boot}");
        }
        check(Some("\"looked_awake_s\":100.0,\"ended_awake_s\":101.0"), ("200.0", 1), "b", true);
        check(Some("\"looked_awake_s\":200.0,\"ended_awake_s\":201.0"), ("200.0", 1), "b", false);
        // tmux was silent since: nobody looked, and the ticks ended all the same.
        check(Some("\"looked_awake_s\":100.0,\"ended_awake_s\":201.0"), ("200.0", 1), "b", false);
        // Of an older version.
        check(Some("\"looked_awake_s\":200.0"), ("200.0", 1), "b", false);
        check(Some("\"looked_awake_s\":100.0"), ("200.0", 1), "b", true);
        // Its clocks do not agree: it was damaged, or edited.
        let torn = "\"ended_awake_s\":101.0,\"at\":\"2026-11-21T10:00:01Z\"";
        check(Some(torn), ("200.0", 1), "b", false);
        // It was acting on this one, or on another one.
        let acting =
            |unit: &str| format!("\"looked_awake_s\":100.0,\"ended_awake_s\":101.0,\"acting\":\"{unit}\"");
        check(Some(&acting("a")), ("200.0", 1), "b", true);
        check(Some(&acting("b")), ("200.0", 1), "b", false);
        check(Some(&acting("a")), ("100.5", 1), "b", false);
        // In the very first tick.
        let first = |unit: &str| format!("\"acting\":\"{unit}\",\"at\":\"2026-11-21T10:00:00Z\"");
        check(Some(&first("a")), ("200.0", 1), "b", true);
        check(Some(&first("b")), ("200.0", 1), "b", false);
        check(Some(&first("a")), ("200.0", 1), "of before", false);
        // The very first tick, and it died before it acted; or the file was lost.
        check(None, ("200.0", 1), "b", false);
        check(None, ("null", 1), "b", false);
        check(None, ("200.0", 1), "of before", false);
        check(Some("\"ended_awake_s\":101.0"), ("200.0", 1), "of before", false);
    }
}

//! The real world behind the [`Host`] seam: delegates to tmux, `/proc` and the files of the state directory.

use super::clock::Clock;
use super::files::RealFiles;
use super::follow::Log;
use super::tmux::{Screens, Tmux};
use super::tmux_list::{Commands, fold};
use super::{
    Files, Host, PaneList, PaneRow, Replaced, Sync, files, git, git_head, hosts, jobs, kill, pressure, proc,
    tmux_act, transcript, transcript_files,
};
use crate::base::names::UnitName;
use crate::base::time::{Now, Wall};
use crate::model::action::{Action, JOB_UNSTARTED, Job, Launch, Marker, Outcome, UnitFile};
use crate::model::finding::Finding;
use crate::model::process::{HostLaunch, HostPlace, LogCursor, ProcessLaunch, RunId, RunQuery, RunSeen};
use crate::model::seen::{
    BranchFacts, HostSeen, JobSeen, Process, RestartMarker, ServerSeen, TranscriptSeen, Trouble, Vote,
};
use crate::model::usage::FileSeen;
use crate::state::table;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// A marker's text is one or two lines.
const MARKER_MAX: u64 = 64 << 10;
/// A request to a healing agent is at most so long, and somewhat.
const REQUEST_MAX: u64 = 1 << 20;
/// Most transcripts whose last look is remembered.
const LOOKS_MAX: usize = 4096;

/// The real host.
#[derive(Debug)]
pub struct RealHost {
    tmux: Tmux,
    /// The state directory: what our sessions are stamped with.
    stamp: String,
    files: RealFiles,
    clock: Clock,
    /// What is known of the living panes' processes, by pid: read again only when the pane's row looks different.
    processes: HashMap<i32, Known>,
    /// The tmux program was asked for its version: without a server nobody else tells.
    is_new_enough: bool,
    /// Panes whose screens were asked for since the last list. Most likely they are asked for again, so their screens
    /// come with the next list: a tick over a busy fleet starts one program too.
    busy: Vec<String>,
    /// Screens that came with the last list, until they are asked for.
    ahead: Screens,
    /// All processes, read when first asked for since the last list: one look serves all units of a tick.
    snapshot: Option<proc::Processes>,
    /// The newest transcripts found since the last list, by folder and ending: units that share one walk it once.
    newest: HashMap<(String, String), Option<TranscriptSeen>>,
    /// Runners of jobs, to be reaped when they end.
    runners: Vec<std::process::Child>,
    /// What Slurm and container engines said.
    remotes: hosts::remote::Remotes,
    /// Records of runs that can't be read, and those that could not be at the look before.
    tending: hosts::tending::Tending,
    /// Jobs that could not be started, and why.
    unstarted: BTreeMap<String, String>,
    /// Length of each transcript when its end was last read, and what was found.
    looks: HashMap<String, (u64, bool)>,
}

/// What is known of a pane's process.
#[derive(Clone, Debug)]
struct Known {
    /// The row that it was read with.
    look: String,
    /// The row was some seconds old: what changes later changes the row (tmux counts output in whole seconds).
    settled: bool,
    command: String,
    start: Option<u64>,
}

/// A row older than this can't change any more without looking different, milliseconds.
const SETTLED_MS: i64 = 2000;

impl RealHost {
    /// The host with the tmux server behind `socket` ("" = the user's default one). `state_dir` must be absolute and
    /// always written the same way: sessions carry it as their owner.
    pub fn new(socket: &str, state_dir: &Path) -> RealHost {
        RealHost {
            tmux: Tmux::new(socket),
            stamp: state_dir.to_string_lossy().into_owned(),
            files: RealFiles::new(state_dir),
            clock: Clock::new(),
            processes: HashMap::new(),
            is_new_enough: false,
            busy: Vec::new(),
            ahead: Screens::new(),
            snapshot: None,
            newest: HashMap::new(),
            looks: HashMap::new(),
            runners: Vec::new(),
            unstarted: BTreeMap::new(),
            remotes: hosts::remote::Remotes::default(),
            tending: hosts::tending::Tending::default(),
        }
    }

    /// The same with another binary than the running one for runners and shims.
    #[must_use]
    pub fn by(self, binary: &Path) -> RealHost {
        RealHost { remotes: self.remotes.by(binary), ..self }
    }

    fn snapshot(&mut self) -> &proc::Processes {
        self.snapshot.get_or_insert_with(proc::all)
    }

    /// The tmux client.
    pub fn tmux(&self) -> &Tmux {
        &self.tmux
    }

    /// tmux 3.3a sometimes misses a SIGCHLD: the pane is dead, its exit status stays unknown and the process a zombie
    /// until the next one comes. (Measured: 8 of 80 immediate exits.) The signal does nothing else.
    fn remind_of_children(&self, list: &PaneList) {
        let unknown = list.rows.iter().any(|row| row.dead && row.exit.is_none() && row.stamp == self.stamp);
        let ServerSeen::Alive(server) = &list.server else { return };
        if let Some(pid) = rustix::process::Pid::from_raw(server.pid).filter(|_| unknown) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::CHILD);
        }
    }

    /// Remembers the living panes' processes; fills in the foreground commands that tmux was not asked for, of our
    /// own panes only.
    fn learn(&mut self, rows: &mut [PaneRow]) {
        let now = super::clock::wall();
        let mut known = HashMap::with_capacity(rows.len());
        for row in rows.iter_mut().filter(|r| !r.dead && r.stamp == self.stamp) {
            let look = format!("{} {} {} {}", row.pane, row.output_at.0, row.shape, row.title);
            let old = self.processes.remove(&row.pid).filter(|k| k.settled && k.look == look);
            let start = old.as_ref().and_then(|k| k.start);
            if row.command.is_empty() {
                row.command = match old {
                    Some(old) => old.command,
                    None => proc::foreground_command(row.pid),
                };
            }
            let settled = now.0.saturating_sub(row.output_at.0) > SETTLED_MS;
            known.insert(row.pid, Known { look, settled, command: row.command.clone(), start });
        }
        self.processes = known;
    }

    /// The words to start; a prompt is written to its file first.
    fn prepare(&self, launch: &Launch) -> Result<Vec<String>, String> {
        let unit_dir = self.files.root().join("units").join(launch.unit.as_str());
        let prompt_file = unit_dir.join("prompt.txt");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let words = tmux_act::launch_words(launch, &text(&unit_dir), &text(&prompt_file))?;
        if let Some(prompt) = tmux_act::prompt_text(launch) {
            let write = || files::write_plain(&prompt_file, prompt.as_bytes());
            write()
                .or_else(|error| self.make_room(&prompt_file).map_or(Err(error), |()| write()))
                .map_err(|e| e.message())?;
        }
        Ok(words)
    }

    /// Puts aside what stands in the way of a file that is only written; None when that is not what is wrong.
    fn make_room(&self, path: &Path) -> Option<()> {
        let root = self.files.root();
        let relative = path.strip_prefix(root).ok()?.to_str()?;
        files::not_regular(path)
            .and_then(|_| super::quarantine::quarantine(root, relative, path).ok())
            .map(|_| ())
    }

    /// What stands in a job's way (a file for its folder, a folder for its files) is put aside first.
    fn start_job(&mut self, job: &Job) -> Outcome {
        let dir = format!("jobs/{}", job.id);
        let folder = |path: &Path| std::fs::symlink_metadata(path).map(|meta| meta.is_dir());
        if matches!(folder(&self.files.root().join(&dir)), Ok(false)) {
            let _ = self.files.quarantine(&dir);
        }
        for file in jobs::FILES {
            let path = format!("{dir}/{file}");
            if self.files.irregular(&path).is_some() {
                let _ = self.files.quarantine(&path);
            }
        }
        let started = self.remotes.binary().and_then(|own| jobs::start_by(&own, self.files.root(), job));
        match started {
            Ok(runner) => {
                self.runners.extend(runner);
                self.unstarted.remove(&job.id);
                Outcome::Done
            }
            Err(error) => {
                let why = format!("{JOB_UNSTARTED}{}", error.message());
                self.unstarted.insert(job.id.clone(), why.clone());
                Outcome::Failed { why }
            }
        }
    }

    fn start_run(&mut self, launch: &ProcessLaunch) -> Outcome {
        let root = self.files.root();
        let started = match launch.host {
            HostLaunch::Local => {
                let own = self.remotes.binary();
                let shim = own.and_then(|own| hosts::local::start_with(&own, root, launch));
                shim.map(|shim| self.runners.extend(shim))
            }
            HostLaunch::Slurm { .. } | HostLaunch::Docker { .. } => self.remotes.run(root, launch),
        };
        match started {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed { why: format!("it could not be started: {}", error.message()) },
        }
    }

    /// Shims and jobs that ended are waited for.
    fn reap(&mut self) {
        self.runners.retain_mut(|runner| matches!(runner.try_wait(), Ok(None)));
    }

    /// An answer that lies there is of an earlier request: it is put aside first, for nobody has read it. That this attempt's
    /// request was written is noted after: somebody may take it away.
    fn write_file(&mut self, unit: &UnitName, file: UnitFile, text: &str) -> Outcome {
        let UnitFile::RecoveryRequest = file;
        let path = table::in_unit(unit, table::REQUEST);
        let response = table::in_unit(unit, table::RESPONSE);
        let unread = match self.files.stamp(&response) {
            Some(_) => self.files.quarantine(&response).map(|_| ()),
            None => Ok(()),
        };
        let written = unread.and_then(|()| {
            let old = self.files.read(&path, REQUEST_MAX)?;
            let written = self.files.replace(&path, old.as_deref(), text.as_bytes(), Sync::Durable)?;
            let asked = table::in_unit(unit, table::ASKED);
            let old = self.files.read(&asked, REQUEST_MAX)?;
            let attempt = table::attempt_of(text).unwrap_or_default();
            self.files.replace(&asked, old.as_deref(), format!("{attempt}\n").as_bytes(), Sync::Durable)?;
            Ok(written)
        });
        match written {
            Ok(Replaced::Written) => Outcome::Done,
            Ok(Replaced::Yielded) => Outcome::Failed { why: format!("somebody else wrote `{path}`") },
            Err(error) => Outcome::Failed { why: error.message() },
        }
    }

    /// Removes a marker, unless another one than the one that was seen lies there now. A directory is put aside.
    fn unmark(&mut self, path: &str, seen: Option<&str>) -> crate::base::error::Result<()> {
        if self.files.irregular(path).is_some() {
            return self.files.remove(path).or_else(|_| self.files.quarantine(path).map(|_| ()));
        }
        if let (Some(seen), Some(now)) = (seen, self.files.read(path, MARKER_MAX)?)
            && RestartMarker::first_line(&String::from_utf8_lossy(&now)) != seen
        {
            return Ok(());
        }
        self.files.remove(path)
    }

    fn mark(&mut self, marker: &Marker, text: &str) -> Outcome {
        let path = marker.path();
        let line =
            if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
        let old = match self.files.read(&path, MARKER_MAX) {
            Ok(old) => old,
            Err(error) => return Outcome::Failed { why: error.message() },
        };
        match self.files.replace(&path, old.as_deref(), line.as_bytes(), Sync::Durable) {
            Ok(Replaced::Written) => Outcome::Done,
            Ok(Replaced::Yielded) => Outcome::Failed { why: format!("somebody else wrote `{path}`") },
            Err(error) => Outcome::Failed { why: error.message() },
        }
    }
}

impl Host for RealHost {
    fn now(&mut self) -> Now {
        self.clock.now()
    }

    fn panes(&mut self) -> PaneList {
        self.snapshot = None;
        self.newest.clear();
        // The first time every pane is new, and tmux reads them all faster than we do.
        let commands = match cfg!(target_os = "linux") && !self.processes.is_empty() {
            true => Commands::LeftOut,
            false => Commands::Told,
        };
        let (mut list, ahead) = self.tmux.look(commands, &std::mem::take(&mut self.busy));
        self.ahead = ahead;
        list.rows = fold(std::mem::take(&mut list.rows), &self.stamp);
        if list.server == ServerSeen::Absent && !self.is_new_enough {
            match self.tmux.version() {
                Ok(_) => self.is_new_enough = true,
                Err(error) => list.server = ServerSeen::Unknown { why: error.message() },
            }
        }
        self.learn(&mut list.rows);
        // tmux (seen with 3.3a built with utempter, as distributions do) can miss the end of a process: the record
        // keeper that it starts when the terminal closes swallows the signal. Then it does not know the exit status
        // until another child ends, but the zombie still does.
        for row in list.rows.iter_mut().filter(|r| r.dead && r.exit.is_none()) {
            row.exit = proc::zombie_exit(row.pid);
        }
        self.remind_of_children(&list);
        list
    }

    fn capture(&mut self, panes: &[String]) -> Screens {
        let mut ahead = std::mem::take(&mut self.ahead);
        let mut screens: Screens = panes.iter().filter_map(|pane| ahead.remove_entry(pane)).collect();
        let missing: Vec<String> =
            panes.iter().filter(|pane| !screens.contains_key(*pane)).cloned().collect();
        screens.extend(self.tmux.capture(&missing));
        self.busy = panes.to_vec();
        screens
    }

    fn process_start(&mut self, pid: i32) -> Option<u64> {
        let known = self.processes.get_mut(&pid);
        if let Some(start) = known.as_ref().and_then(|k| k.start) {
            return Some(start);
        }
        let start = proc::start(pid);
        if let Some(known) = known {
            known.start = start;
        }
        start
    }

    fn process_tree(&mut self, pid: i32) -> Vec<Process> {
        proc::tree(self.snapshot(), pid)
    }

    fn tools_cpu_ms(&mut self, pid: i32, programs: &[String]) -> Option<u64> {
        proc::tools_cpu_ms(self.snapshot(), pid, programs)
    }

    fn is_alone(&mut self, pid: i32) -> Option<bool> {
        proc::is_alone(pid)
    }

    fn vote(&mut self, status_file: &str, pid: i32) -> Option<Vote> {
        transcript::vote(status_file, pid)
    }

    fn transcript(&mut self, dir: &str, suffix: &str, pid: i32, cwd: &str) -> Option<TranscriptSeen> {
        let place = (transcript::fill(dir, pid, cwd), suffix.to_owned());
        let walk = |(dir, suffix): &(String, String)| transcript::newest(dir, suffix);
        let found = self.newest.entry(place);
        let mut seen = found.or_insert_with_key(walk).clone()?;
        seen.open_tool_call = match self.looks.get(&seen.path) {
            Some((bytes, open)) if *bytes == seen.bytes => *open,
            Some(_) | None => transcript::has_open_tool_call(&seen.path),
        };
        if self.looks.len() >= LOOKS_MAX {
            self.looks.clear();
        }
        self.looks.insert(seen.path.clone(), (seen.bytes, seen.open_tool_call));
        Some(seen)
    }

    fn tip(&mut self, repo: &Path, remote: &str, branch: &str) -> Result<Option<String>, String> {
        git::tip(repo, remote, branch)
    }

    fn head(&mut self, folder: &Path) -> Result<String, String> {
        git_head::head(folder)
    }

    fn branch(&mut self, query: &git::BranchQuery) -> Result<BranchFacts, String> {
        git::look(query)
    }

    fn job(&mut self, id: &str) -> JobSeen {
        self.reap();
        match self.unstarted.get(id) {
            Some(why) => JobSeen::failed(why.clone()),
            None => {
                let (seen, ender) = jobs::attend(self.files.root(), id, || self.remotes.binary());
                self.runners.extend(ender);
                seen
            }
        }
    }

    fn healing_marker(&mut self, root: &Path) -> Option<(PathBuf, PathBuf)> {
        super::fix_marker::holder(root)
    }

    fn prune_jobs(&mut self, keep: &BTreeSet<String>) {
        self.unstarted.retain(|id, _| !Job::is_of_unit(id) || keep.contains(id));
        // Nobody waits for them, and nobody else ends what is late.
        for id in jobs::prune(self.files.root(), keep) {
            let (_, ender) = jobs::attend(self.files.root(), &id, || self.remotes.binary());
            self.runners.extend(ender);
        }
    }

    fn transcript_folders(&mut self, place: &transcript_files::Place<'_>) -> transcript_files::Folders {
        transcript_files::folders(place)
    }

    fn transcript_files(&mut self, dir: &str, wanted: &dyn Fn(&str) -> bool) -> (Vec<FileSeen>, bool) {
        transcript_files::list(dir, wanted)
    }

    fn transcript_bytes(&mut self, file: &FileSeen, offset: u64, max: usize) -> Option<Vec<u8>> {
        transcript_files::read(file, offset, max)
    }

    fn session(&mut self, status_file: &str, pid: i32) -> Option<String> {
        transcript_files::session(status_file, pid)
    }

    fn process_began(&mut self, pid: i32) -> Option<Wall> {
        transcript::start_wall(proc::start(pid)?)
    }

    fn runs(&mut self, queries: &[RunQuery]) -> Vec<RunSeen> {
        self.reap();
        self.snapshot = None; // A new look.
        let boot = self.clock.now().boot;
        let root = self.files.root();
        let is_remote =
            |query: &&RunQuery| matches!(query.place, HostPlace::Slurm | HostPlace::Docker { .. });
        let remote: Vec<&RunQuery> = queries.iter().filter(is_remote).collect();
        let mut answers = match remote.is_empty() {
            true => Vec::new(),
            false => self.remotes.look(root, &remote),
        }
        .into_iter();
        let tending = &mut self.tending;
        tending.begin();
        let mut look = |query: &RunQuery| match &query.place {
            HostPlace::Local => {
                let (unit, mut odd) = (query.unit.as_str(), hosts::local::Odd::default());
                let seen = hosts::local::look(root, unit, &query.known, &boot, &mut odd);
                tending.note(unit, odd);
                seen
            }
            HostPlace::Attach { pid, pid_file } => {
                hosts::attach::observe(*pid, pid_file.as_deref().map(Path::new), &query.known, &boot)
            }
            HostPlace::Slurm | HostPlace::Docker { .. } => {
                answers.next().unwrap_or(RunSeen::Unknown { why: "nobody answered".to_owned() })
            }
        };
        queries.iter().map(&mut look).collect()
    }

    fn tend_records(&mut self) -> (Vec<Trouble>, Option<f64>) {
        self.tending.tend(self.files.root())
    }

    fn tree_cpu_ms(&mut self, pid: i32) -> Option<u64> {
        proc::tree_cpu_ms(self.snapshot(), pid)
    }

    fn finds(&mut self, program: &str) -> bool {
        super::env::find_program(program).is_some()
    }

    fn has_variable(&mut self, name: &str) -> bool {
        super::env::var(name).is_some_and(|value| !value.is_empty())
    }

    fn text(&mut self, path: &Path, max: u64) -> Option<String> {
        super::env::read_start(path, max)
    }

    fn log_of(&mut self, unit: &UnitName, place: &HostPlace, attached: Option<&Path>) -> Option<Log> {
        let dir = hosts::records::unit_dir(self.files.root(), unit.as_str());
        let path = dir.join(hosts::records::LOG);
        match place {
            HostPlace::Local | HostPlace::Slurm | HostPlace::Docker { .. } => {
                Some(Log { path, own: Some(dir) })
            }
            HostPlace::Attach { .. } => attached.map(|path| Log { path: path.to_owned(), own: None }),
        }
    }

    fn trim_log(&mut self, unit: &UnitName, place: &HostPlace, read: &LogCursor, max: u64) -> Option<String> {
        let dir = hosts::records::unit_dir(self.files.root(), unit.as_str());
        let way = match place {
            HostPlace::Local | HostPlace::Docker { .. } => hosts::rotate::Way::Shorten,
            HostPlace::Slurm => hosts::rotate::Way::Free,
            HostPlace::Attach { .. } => return None,
        };
        hosts::rotate::trim(&dir, read, max, way)
    }

    fn leftovers(&mut self, unit: &UnitName, run: &RunId) -> Vec<Process> {
        let boot = self.clock.now().boot;
        let root = self.files.root().to_owned();
        hosts::local::leftovers(&root, unit.as_str(), run, self.snapshot(), &boot)
    }

    fn part_of(&mut self, path: &Path, offset: u64, max: usize) -> Result<Option<(Vec<u8>, u64)>, String> {
        super::outside::read_part(path, offset, max).map_err(|error| error.message())
    }

    fn log_place(&mut self, log: &Path, finding: &Finding) -> Option<(PathBuf, u64)> {
        let own = log.parent().filter(|dir| dir.starts_with(self.files.root()));
        super::log_place::find(log, own, finding)
    }

    fn pressure(&mut self) -> HostSeen {
        pressure::read()
    }

    fn perform(&mut self, action: &Action) -> Outcome {
        // What is done may end or replace processes: nothing is known of them any more.
        self.processes.values_mut().for_each(|known| known.settled = false);
        self.processes.values_mut().for_each(|known| known.start = None);
        self.ahead.clear();
        self.snapshot = None;
        let failed = |why: String| Outcome::Failed { why };
        match action {
            Action::NewSession { launch } => match self.prepare(launch) {
                Ok(words) => self.tmux.new_session(launch, &self.stamp, &words),
                Err(why) => failed(why),
            },
            Action::Respawn { pane, launch } => match self.prepare(launch) {
                Ok(words) => self.tmux.respawn(pane, launch, &self.stamp, &words),
                Err(why) => failed(why),
            },
            Action::Adopt { unit, pane } => self.tmux.adopt(unit.as_str(), pane, &self.stamp),
            Action::LoadBuffer { buffer, text } => self.tmux.load_buffer(buffer, text),
            Action::Paste { pane, buffer } => self.tmux.paste(pane, &self.stamp, buffer),
            Action::DropBuffer { buffer } => self.tmux.drop_buffer(buffer),
            Action::Keys { pane, keys } => self.tmux.keys(pane, &self.stamp, keys),
            Action::LeaveMode { pane } => self.tmux.leave_mode(pane, &self.stamp),
            Action::Signal { processes, signal } => kill::send_all(processes, *signal),
            Action::KillSession { session, pane } => self.tmux.kill_session(session, pane, &self.stamp),
            Action::Mark { marker, text } => self.mark(marker, text),
            Action::RunJob { job } => self.start_job(job),
            Action::Run { launch } => self.start_run(launch),
            Action::CancelRun { unit, id, place } => {
                match self.remotes.cancel(self.files.root(), unit.as_str(), id, place) {
                    Ok(()) => Outcome::Done,
                    Err(error) => failed(error.message()),
                }
            }
            Action::WriteFile { unit, file, text } => self.write_file(unit, *file, text),
            Action::Unmark { marker, seen } => match self.unmark(&marker.path(), seen.as_deref()) {
                Ok(()) => Outcome::Done,
                Err(error) => failed(error.message()),
            },
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::model::action::MarkerKind;

    #[test]
    fn a_restart_is_cleared_only_while_it_is_the_one_that_was_seen() {
        #[track_caller]
        fn check(make: fn(&Path), seen: &str, cleared: bool) {
            let dir = tempfile::tempdir().unwrap();
            let mut host = RealHost::new("", dir.path());
            let unit = Some(UnitName::new("a").unwrap());
            let path = dir.path().join("units/a/RESTART");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            make(&path);
            let marker = Marker { unit, kind: MarkerKind::Restart };
            let action = Action::Unmark { marker, seen: Some(seen.to_owned()) };
            assert_eq!(host.perform(&action), Outcome::Done);
            assert_eq!(!path.exists(), cleared, "{seen}");
        }
        let text = |path: &Path| std::fs::write(path, " 2026-11-21T10:00:00Z op: old\nmore\n").unwrap();
        check(text, "2026-11-21T10:00:00Z op: old", true);
        check(text, "2026-11-21T09:00:00Z op: older", false);
        check(|path| std::fs::write(path, "").unwrap(), "", true);
        check(|_| {}, "", true);
        check(|path| std::fs::create_dir_all(path.join("x")).unwrap(), "(unreadable: is a directory)", true);
    }

    #[test]
    fn markers_are_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut host = RealHost::new("", &dir.path().join("state"));
        let unit = Marker { unit: Some(UnitName::new("a").unwrap()), kind: MarkerKind::Down };
        let fleet = Marker { unit: None, kind: MarkerKind::Paused };
        for (marker, path) in [(unit, "units/a/down"), (fleet, "PAUSED")] {
            let path = dir.path().join("state").join(path);
            for text in ["why", "another reason", ""] {
                let action = Action::Mark { marker: marker.clone(), text: text.into() };
                assert_eq!(host.perform(&action), Outcome::Done);
                assert_eq!(std::fs::read_to_string(&path).unwrap().trim_end(), text);
            }
            for _ in 0..2 {
                assert_eq!(
                    host.perform(&Action::Unmark { marker: marker.clone(), seen: None }),
                    Outcome::Done
                );
                assert!(!path.exists());
            }
        }
    }
}

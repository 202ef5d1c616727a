//! The only code that touches the world: clock, processes, tmux, files, lock, signals.
//!
//! Two seams, each with a real and a simulated implementation: [`Host`] and [`Files`]. Everything here is bounded:
//! every program has a deadline, every read a size.

pub mod clock;
pub mod detached;
pub mod env;
pub mod exe;
pub mod files;
pub mod fix_branch;
mod fix_git;
mod fix_head;
mod fix_ignored;
mod fix_job;
mod fix_kept;
mod fix_look;
mod fix_marker;
mod fix_stash;
mod fix_swap;
mod fix_tree;
mod folders;
pub mod follow;
pub mod git;
mod git_head;
pub mod hosts;
mod job_rest;
pub mod jobs;
pub mod kill;
pub mod lock;
pub mod log_place;
pub mod notify;
pub mod outside;
pub mod pressure;
pub mod proc;
mod quarantine;
pub mod real_host;
pub mod run;
pub mod signals;
pub mod tail;
pub mod tmux;
mod tmux_act;
mod tmux_capture;
mod tmux_list;
mod tmux_version;
mod transcript;
pub mod transcript_files;
mod writers;

use crate::base::error::Result;
use crate::base::names::UnitName;
use crate::base::time::{Now, Wall};
use crate::model::action::{Action, Outcome};
use crate::model::finding::Finding;
use crate::model::process::{HostPlace, LogCursor, RunId, RunQuery, RunSeen};
use crate::model::seen::{
    BranchFacts, Exit, HostSeen, JobSeen, Process, ServerSeen, TranscriptSeen, Trouble, Vote,
};
use crate::model::usage::FileSeen;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The world as the tick sees and changes it.
pub trait Host {
    /// The clocks.
    fn now(&mut self) -> Now;
    /// All panes of the server, and the names of its paste buffers, in one tmux call.
    fn panes(&mut self) -> PaneList;
    /// The visible screens of these panes with SGR sequences (`capture-pane -p -e -J`), in one tmux call. A pane that
    /// vanished in between is missing from the answer.
    fn capture(&mut self, panes: &[String]) -> BTreeMap<String, String>;
    /// Start time of a process in clock ticks since boot; None when it is gone or a zombie.
    fn process_start(&mut self, pid: i32) -> Option<u64>;
    /// The process and all its descendants, deepest first; zombies left out.
    fn process_tree(&mut self, pid: i32) -> Vec<Process>;
    /// CPU time used so far by the descendants of a process (not itself), milliseconds.
    /// The launcher's child that is the CLI itself, known by `programs`, does not count.
    fn tools_cpu_ms(&mut self, pid: i32, programs: &[String]) -> Option<u64>;
    /// Whether the program in the foreground of the process's terminal has no living child there: a shell that waits for
    /// input, not one that runs a script. None when that can't be told.
    fn is_alone(&mut self, _pid: i32) -> Option<bool> {
        None
    }
    /// The CLI's own status file (`{home}` and `{pid}` as slots), read for this process.
    fn vote(&mut self, status_file: &str, pid: i32) -> Option<Vote>;
    /// The newest transcript in a folder (`{home}`, `{cwd}`, `{cwd_dashed}` as slots) for this process and directory.
    fn transcript(&mut self, dir: &str, suffix: &str, pid: i32, cwd: &str) -> Option<TranscriptSeen>;
    /// The commit that a clone's remote-tracking branch points to; None when there is no such branch.
    fn tip(&mut self, repo: &Path, remote: &str, branch: &str)
    -> std::result::Result<Option<String>, String>;
    /// The commit that is checked out in the repository that a folder lies in; an error when that can't be said now.
    fn head(&mut self, _folder: &Path) -> std::result::Result<String, String> {
        Err("not looked at".to_owned())
    }
    /// What stands in a commit, and what came since another one.
    fn branch(&mut self, query: &git::BranchQuery) -> std::result::Result<BranchFacts, String>;
    /// How a job stands.
    fn job(&mut self, id: &str) -> JobSeen;
    /// Removes the folders of units' jobs that ended and that nobody waits for: all but these.
    fn prune_jobs(&mut self, _keep: &BTreeSet<String>) {}
    /// The marker of the healing that has this tree, and the folder of that fix.
    fn healing_marker(&mut self, _root: &Path) -> Option<(PathBuf, PathBuf)> {
        None
    }
    /// The folders that may hold an agent's transcripts.
    fn transcript_folders(&mut self, _: &transcript_files::Place<'_>) -> transcript_files::Folders {
        transcript_files::Folders::default()
    }
    /// The transcripts in a folder, and whether there were more than are looked at.
    fn transcript_files(&mut self, _dir: &str, _wanted: &dyn Fn(&str) -> bool) -> (Vec<FileSeen>, bool) {
        (Vec::new(), false)
    }
    /// Bytes of a transcript from an offset on; None when it is another file by now.
    fn transcript_bytes(&mut self, _file: &FileSeen, _offset: u64, _max: usize) -> Option<Vec<u8>> {
        None
    }
    /// The session that a CLI says it is in, by its own status file.
    fn session(&mut self, _status_file: &str, _pid: i32) -> Option<String> {
        None
    }
    /// When a process was started, on the wall clock, at most some seconds early.
    fn process_began(&mut self, _pid: i32) -> Option<Wall> {
        None
    }
    /// How the runs of processes outside tmux stand, one answer for each question, in their order. What this host can't
    /// tell is unknown.
    fn runs(&mut self, queries: &[RunQuery]) -> Vec<RunSeen> {
        let why = || "nobody looks at processes here".to_owned();
        queries.iter().map(|_| RunSeen::Unknown { why: why() }).collect()
    }
    /// Puts aside the records of runs that could not be read at two looks. What is to be told, and the seconds until
    /// somebody should look again.
    fn tend_records(&mut self) -> (Vec<Trouble>, Option<f64>) {
        (Vec::new(), None)
    }
    /// CPU time used so far by a process and all its descendants, milliseconds.
    fn tree_cpu_ms(&mut self, _pid: i32) -> Option<u64> {
        None
    }
    /// Is this program on the PATH, or a path to one?
    fn finds(&mut self, _program: &str) -> bool {
        true
    }
    /// Is this variable set here, and not empty?
    fn has_variable(&mut self, _name: &str) -> bool {
        true
    }
    /// A text file, at most so long.
    fn text(&mut self, _path: &Path, _max: u64) -> Option<String> {
        None
    }
    /// What is left of a local run whose own process is gone: members of its session that still carry its mark in their
    /// environment, deepest first.
    fn leftovers(&mut self, _unit: &UnitName, _run: &RunId) -> Vec<Process> {
        Vec::new()
    }
    /// The file that a unit's output goes to; `attached` is the one that the config names. None = logs can't be read here.
    fn log_of(
        &mut self,
        _unit: &UnitName,
        _place: &HostPlace,
        _attached: Option<&Path>,
    ) -> Option<follow::Log> {
        None
    }
    /// Takes what was read for good from the front of a running process's log when that holds more than `max` bytes.
    /// `read` = the cursor as it stands on disk. None = nothing had to be done, or it worked; else why it can't be done
    /// before the next start.
    fn trim_log(
        &mut self,
        _unit: &UnitName,
        _place: &HostPlace,
        _read: &LogCursor,
        _max: u64,
    ) -> Option<String> {
        None
    }
    /// Bytes of somebody else's file from an offset on, at most so many, and its length: a source, a config, a log. None
    /// when it is missing; an error when it is no regular file, or can't be read.
    fn part_of(
        &mut self,
        _path: &Path,
        _offset: u64,
        _max: usize,
    ) -> std::result::Result<Option<(Vec<u8>, u64)>, String> {
        Ok(None)
    }
    /// The file that holds a finding of a log now, whatever was done to the log since, and its first byte's place in it; None
    /// when that can't be said.
    fn log_place(&mut self, _log: &Path, _finding: &Finding) -> Option<(PathBuf, u64)> {
        None
    }
    /// The host's pressure.
    fn pressure(&mut self) -> HostSeen;
    /// Carries out one action.
    fn perform(&mut self, action: &Action) -> Outcome;
}

/// What `list-panes -a` and `list-buffers` say.
#[derive(Clone, Debug, PartialEq)]
pub struct PaneList {
    /// The server.
    pub server: ServerSeen,
    /// One row per pane.
    pub rows: Vec<PaneRow>,
    /// Names of the paste buffers.
    pub buffers: Vec<String>,
}

/// One pane of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct PaneRow {
    pub session: String,
    /// `%5`
    pub pane: String,
    pub pid: i32,
    pub dead: bool,
    /// Only when dead; None when nobody can tell: tmux calls a pane dead whose terminal was closed, though its
    /// process may live on.
    pub exit: Option<Exit>,
    pub dead_at: Option<Wall>,
    /// Foreground program; "" when unknown (of panes that are not ours it may be).
    pub command: String,
    pub in_mode: bool,
    pub attached: u32,
    /// Last key press of a client attached to the session.
    pub typed_at: Option<Wall>,
    /// `window_activity`
    pub output_at: Wall,
    /// Width and height, cursor x and y, history size: part of the cheap signature.
    pub shape: String,
    /// `@watchkeeper`: the state directory that owns this session, "" when none.
    pub stamp: String,
    /// `@watchkeeper_unit`: the unit …
    pub unit: String,
    /// … and the phase that it was started for, after a `/`.
    pub phase: Option<String>,
    pub title: String,
}

/// The files of the state directory, by path relative to it.
pub trait Files {
    /// The whole file, None when it is missing. Refuses more than `limit` bytes, symlinks, directories.
    fn read(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>>;
    /// The last `bytes` of a file that is only appended to; empty when it is missing.
    fn tail(&mut self, path: &str, bytes: u64) -> Result<Vec<u8>>;
    /// Cheap identity of a file's contents (inode, size, times); None when it is missing. Equal stamps mean that it
    /// need not be read again.
    fn stamp(&mut self, path: &str) -> Option<String>;
    /// When a file was last changed, on the wall clock; None when it is missing or nobody can tell.
    fn modified(&mut self, _path: &str) -> Option<Wall> {
        None
    }
    /// Replaces a file whole. `expected` is what the tick had read (None = missing). A file that meanwhile holds
    /// something else is left as the other writer wrote it: [`Replaced::Yielded`].
    fn replace(&mut self, path: &str, expected: Option<&[u8]>, bytes: &[u8], sync: Sync) -> Result<Replaced>;
    /// Appends one record (a line without its newline) in one write, after a newline if the last record was torn.
    fn append(&mut self, path: &str, record: &str) -> Result<()>;
    /// Names in a folder, sorted; empty when it is missing.
    fn list(&mut self, path: &str) -> Result<Vec<String>>;
    /// Removes a file; a missing one is fine.
    fn remove(&mut self, path: &str) -> Result<()>;
    /// Makes a folder with these files (name below it, bytes): it is there whole or not at all. One that is there stays as
    /// it is. (A store that knows no folders writes one file after the other.)
    fn put_folder(&mut self, path: &str, files: &[(String, Vec<u8>)]) -> Result<()> {
        for (name, bytes) in files {
            self.replace(&format!("{path}/{name}"), None, bytes, Sync::Durable)?;
        }
        Ok(())
    }
    /// Removes a folder and what is in it; a missing one is fine.
    fn remove_folder(&mut self, path: &str) -> Result<()> {
        for name in self.list(path)? {
            self.remove(&format!("{path}/{name}"))?;
        }
        Ok(())
    }
    /// What stands there instead of a regular file ("is a directory"); None when it is one, or is missing.
    fn irregular(&mut self, _path: &str) -> Option<String> {
        None
    }
    /// Gives a file that is longer than `bytes` another name; what had that name goes.
    fn rotate(&mut self, _path: &str, _to: &str, _bytes: u64) -> Result<()> {
        Ok(())
    }
    /// Moves a file that could not be read to `quarantine/`; identical bytes are kept once, the count is bounded.
    /// Returns its new path.
    fn quarantine(&mut self, path: &str) -> Result<String>;
}

/// Whether a replaced file must survive a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// fsync before the rename.
    Durable,
    /// Losing it only delays something.
    Cheap,
}

/// How a replace went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The new bytes are in place.
    Written,
    /// Somebody else wrote in between; theirs stands.
    Yielded,
}

/// The same for either of two descriptors.
fn poll_either(one: &impl std::os::fd::AsFd, other: &impl std::os::fd::AsFd, at_most: std::time::Duration) {
    let timeout = rustix::event::Timespec {
        tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(at_most.subsec_nanos()),
    };
    let flags = rustix::event::PollFlags::IN;
    let mut fds = [rustix::event::PollFd::new(one, flags), rustix::event::PollFd::new(other, flags)];
    let _ = rustix::event::poll(&mut fds, Some(&timeout));
}

/// Waits until the descriptor is readable, at most so long. Ends early on a signal; the caller looks again anyway.
fn poll_readable(fd: &impl std::os::fd::AsFd, at_most: std::time::Duration) {
    let timeout = rustix::event::Timespec {
        tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(at_most.subsec_nanos()),
    };
    let mut fds = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
    let _ = rustix::event::poll(&mut fds, Some(&timeout));
}

//! What is left of a job whose runner was killed: its program and all that came from it, known by the mark that each job's
//! processes carry in their environment. A job has ended only when none of them lives.
//!
//! Ending them takes its time, so it is a runner's work again: a new one takes the job's lock, ends them, and writes down
//! that the job is over. Killed itself, it leaves things as they were.
//!
//! Deliberately not here: jobs that come to their own end, whose runner saw it (`jobs`).

use super::hosts::records;
use super::run::Program;
use super::{jobs, outside, proc};
use crate::base::error::{Error, Result};
use crate::base::time::Wall;
use crate::model::action::Signal;
use crate::model::seen::Process;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Marks every process of a unit's job in its environment: `<state>/<job>/<start>`. (The jobs of the watchdog's own, that ask
/// and order hosts, carry none: what they start may live on.)
pub const JOB_ENV: &str = "WATCHKEEPER_JOB";
/// The word after a job's folder on our own command line.
pub const REST_WORD: &str = "rest";

/// Between TERM and KILL: git removes its lock files on TERM.
const GRACE: Duration = Duration::from_secs(5);
/// KILL is repeated so often: what is being killed may fork.
const KILLS_MAX: usize = 10;
/// How often is looked whether they are gone.
const LOOK: Duration = Duration::from_millis(20);

/// How the marks of a job's starts begin.
pub fn mark(state_dir: &Path, id: &str) -> String {
    format!("{}/{id}", records::owner(state_dir))
}

/// The mark of the start of a job at that time.
pub(super) fn mark_at(state_dir: &Path, id: &str, at: Wall) -> String {
    format!("{}/{}", mark(state_dir, id), at.0)
}

/// A program that is started from here belongs to no run and to no job that we are in ourselves: it may outlive them. (Without
/// any mark it would be taken for a program of our job that cleaned its environment.)
pub(super) fn unmark(command: &mut Command) -> &mut Command {
    command.env_remove(records::RUN_ENV);
    if outside::env(JOB_ENV).is_some() {
        command.env(JOB_ENV, "");
    }
    command
}

/// The same for a program that is waited for, but may leave a server behind.
pub(super) fn unmarked(program: Program) -> Program {
    let program = program.without_env(records::RUN_ENV);
    if outside::env(JOB_ENV).is_some() { program.env(JOB_ENV, "") } else { program }
}

/// It was started to outlive the job that we are, or belongs to another one.
pub(super) fn is_of_another(pid: i32) -> bool {
    let found = proc::environ(pid, JOB_ENV);
    found.is_some() && found != outside::env(JOB_ENV)
}

/// The living processes of a job that began with this mark; "" = that of any of its starts. Not ourselves.
pub(super) fn living(state_dir: &Path, id: &str, began: &str) -> Vec<Process> {
    let (any, own) = (format!("{}/", mark(state_dir, id)), outside::pid().cast_signed());
    let is_its = |pid: i32| {
        let found = proc::environ(pid, JOB_ENV);
        found.is_some_and(|found| if began.is_empty() { found.starts_with(&any) } else { found == began })
    };
    let all = proc::all().into_values().filter(|stat| !stat.is_dead() && stat.pid != own);
    all.filter(|stat| is_its(stat.pid)).map(|stat| Process { pid: stat.pid, start: stat.start }).collect()
}

/// The runner of a job lives, though its folder is gone.
pub(super) fn has_runner(state_dir: &Path, id: &str) -> bool {
    let dir = jobs::folder(state_dir, id);
    let is_runner = |process: &Process| {
        let argv = proc::argv(process.pid);
        argv.get(1).is_some_and(|word| word == "job")
            && argv.get(2).is_some_and(|word| Path::new(word) == dir)
    };
    living(state_dir, id, "").iter().any(is_runner)
}

/// Starts who ends the rest of this job.
pub(super) fn start(program: &Path, dir: &Path) -> Result<Option<Child>> {
    let lock = jobs::open_folder(dir).map_err(|error| Error::from(error).at(dir))?;
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    let mut command = Command::new(program);
    command.args(["job".as_ref(), dir.as_os_str(), REST_WORD.as_ref()]);
    unmark(&mut command).stdin(Stdio::from(lock)).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(Some).map_err(|error| Error::from(error).doing("ending the rest of a job"))
}

/// What is left of one job.
struct Rest<'a> {
    state_dir: &'a Path,
    id: &'a str,
    began: String,
    known: Vec<Process>,
}

impl Rest<'_> {
    fn look(&mut self) {
        self.known = living(self.state_dir, self.id, &self.began);
    }
}

/// Ends what is left of a job whose runner was killed, and writes down that it is over: what [`start`] started does. Its
/// standard input is the lock.
pub fn run(dir: &Path) -> Result<()> {
    let _ = rustix::process::setsid();
    let id = dir.file_name().and_then(|name| name.to_str());
    let (Some(state_dir), Some(id)) = (dir.parent().and_then(Path::parent), id) else {
        return Err(Error::usage("that is no job's folder"));
    };
    if !jobs::is_left(state_dir, id) {
        return Ok(());
    }
    let mut rest = Rest { state_dir, id, began: jobs::began(state_dir, id), known: Vec::new() };
    let signal = |rest: &mut Rest<'_>, signal| {
        rest.look();
        let _ = super::kill::send_all(&rest.known, signal);
    };
    let gone = |rest: &mut Rest<'_>| {
        rest.known.retain(|process| proc::start(process.pid) == Some(process.start));
        if rest.known.is_empty() {
            rest.look();
        }
        rest.known.is_empty()
    };
    if !end(&mut rest, signal, gone) {
        return Err(Error::again("some of it can't be ended").at(dir));
    }
    jobs::write_killed(dir)?;
    let _ = super::files::write_plain(&state_dir.join(crate::state::table::POKE), b"");
    Ok(())
}

/// TERM, and KILL after the grace to what is left. Are they gone?
pub(super) fn end<T>(of: &mut T, signal: impl Fn(&mut T, Signal), gone: impl Fn(&mut T) -> bool) -> bool {
    let began = Instant::now();
    signal(of, Signal::Term);
    while began.elapsed() < GRACE {
        if gone(of) {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    for _ in 0..KILLS_MAX {
        signal(of, Signal::Kill);
        std::thread::sleep(LOOK);
        if gone(of) {
            return true;
        }
    }
    false
}

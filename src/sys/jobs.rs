//! Slow work beside the tick: a detached child whose result a later tick reads. `jobs/<id>/` holds what was started
//! (`job.json`), what it reads (`input`), what it said (`output`, `errors`), that it began (`begun`) and how it ended
//! (`exit.json`).
//!
//! The job's folder is locked for as long as it runs: the starter takes the lock and hands it down as the standard input of
//! the job's runner (never of its program), so there is no instant at which a started job looks ended, and no second one
//! beside it. A result that is missing once the lock is free means that its runner was killed: the job has ended when nothing
//! of it lives any more (`job_rest`). If it had not even begun, its starter was killed, and it is no job yet.
//!
//! Deliberately not here: what a result means, and for how long it is kept (whoever ordered the job knows).

use super::files::{read_bounded, write_plain};
pub use super::job_rest::{JOB_ENV, REST_WORD, mark, run as run_rest};
use super::{clock, fix_job, job_rest};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use crate::base::time::Wall;
use crate::model::action::{JOB_LATE, JOB_UNSTARTED, Job, Signal};
use crate::model::seen::{JOB_OUTPUT_MAX, JobSeen, Process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Largest job.json or exit.json.
const FILE_MAX: u64 = 256 << 10;
/// A job that writes more is ended, bytes.
const OUTPUT_MAX: u64 = 8 << 20;
/// How much of a job's output is read for its last words.
const OUTPUT_TAIL: u64 = 4 << 10;
/// Longest standard input, bytes.
const INPUT_MAX: usize = 4 << 20;
/// Most folders looked at in one go when old ones are removed.
const PRUNED_MAX: usize = 1000;
/// How often a job is looked at by its own runner.
const LOOK: Duration = Duration::from_millis(20);

/// The order.
const JOB: &str = "job.json";
/// What the program reads.
const INPUT: &str = "input";
/// What it says.
const OUTPUT: &str = "output";
/// What it complains of.
const ERRORS: &str = "errors";
/// How it ended.
const EXIT: &str = "exit.json";
/// What it edited.
const FIX: &str = "fix.json";
/// Its runner runs: from here on it may have done something. Holds the mark of its processes.
const BEGUN: &str = "begun";
/// All that a job's folder holds.
pub const FILES: [&str; 7] = [JOB, EXIT, INPUT, OUTPUT, ERRORS, FIX, BEGUN];

/// What is said of a job whose runner was killed.
const KILLED: &str = "it was killed before it ended";

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Exit {
    v: u64,
    at: Wall,
    /// Exit status; None when a signal ended it.
    status: Option<i32>,
    /// Why it did not go well; None = well.
    failed: Option<String>,
}

pub(super) fn folder(state_dir: &Path, id: &str) -> PathBuf {
    state_dir.join("jobs").join(id)
}

/// Starts a job; its runner, to be waited for in the end. One of the same name that still runs is left alone: None. `program`
/// is the one whose `job` command is the runner.
pub fn start_by(program: &Path, state_dir: &Path, job: &Job) -> Result<Option<Child>> {
    let dir = folder(state_dir, &job.id);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|error| Error::from(error).at(&dir).doing("making the job's folder"))?;
    let lock =
        open_folder(&dir).map_err(|error| Error::from(error).at(&dir).doing("opening the job's folder"))?;
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    if is_left(state_dir, &job.id) || is_gone_and_runs(state_dir, &job.id) {
        return Ok(None);
    }
    let length = job.stdin.as_ref().map_or(0, String::len);
    if length > INPUT_MAX {
        return Err(Error::again(format!(
            "its input is {length} bytes long, at most {INPUT_MAX} are allowed"
        )));
    }
    let order = Job { stdin: None, ..job.clone() };
    let text = serde_json::to_string_pretty(&order).map_err(|error| Error::again(error.to_string()))?;
    // Before the new order, so that an old result is never taken for the new job's, nor an old input read by it.
    remove(&dir.join(EXIT))?;
    remove(&dir.join(FIX))?;
    remove(&dir.join(INPUT))?;
    remove(&dir.join(BEGUN))?;
    write_plain(&dir.join(JOB), format!("{text}\n").as_bytes())?;
    if let Some(input) = &job.stdin {
        write_plain(&dir.join(INPUT), input.as_bytes())?;
    }
    let output = make(&dir.join(OUTPUT))?;
    let errors = make(&dir.join(ERRORS))?;
    let mut command = Command::new(program);
    command.args(["job".as_ref(), dir.as_os_str()]);
    job_rest::unmark(&mut command).stdin(Stdio::from(lock)).stdout(output).stderr(errors);
    if Job::is_of_unit(&job.id) {
        command.env(JOB_ENV, job_rest::mark_at(state_dir, &job.id, clock::wall()));
    }
    command.spawn().map(Some).map_err(|error| Error::from(error).doing("starting a job"))
}

/// Its runner was killed, and what it had started lives. (The lock is free.)
pub(super) fn is_left(state_dir: &Path, id: &str) -> bool {
    let dir = folder(state_dir, id);
    let is_there = |name: &str| std::fs::symlink_metadata(dir.join(name)).is_ok();
    let is_cut_off = Job::is_of_unit(id) && is_there(BEGUN) && !is_there(EXIT);
    is_cut_off && !job_rest::living(state_dir, id, &began(state_dir, id)).is_empty()
}

/// Nothing is written down of it, and its runner lives: somebody removed its folder.
fn is_gone_and_runs(state_dir: &Path, id: &str) -> bool {
    let has_order = std::fs::symlink_metadata(folder(state_dir, id).join(JOB)).is_ok();
    Job::is_of_unit(id) && !has_order && job_rest::has_runner(state_dir, id)
}

/// The mark of its processes; "" = not known. Another job's is not believed: somebody copied its folder, and what it marks is
/// not ours to end.
pub(super) fn began(state_dir: &Path, id: &str) -> String {
    let path = folder(state_dir, id).join(BEGUN);
    let bytes = read_bounded(&path, FILE_MAX).ok().flatten().unwrap_or_default();
    let mark = String::from_utf8_lossy(&bytes).trim().to_owned();
    let is_its = mark.strip_prefix(&job_rest::mark(state_dir, id)).is_some_and(|at| at.starts_with('/'));
    if is_its { mark } else { String::new() }
}

/// The folder itself: no link, and nothing that blocks when it is opened.
pub(super) fn open_folder(dir: &Path) -> std::io::Result<File> {
    use rustix::fs::OFlags;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(dir)
}

/// A file of the job's, new and empty.
fn make(path: &Path) -> Result<File> {
    remove(path)?;
    let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| Error::from(error).at(path).doing("making the job's files"))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::from(error).at(path)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How a job stands. One whose runner was killed is brought to its end: by whom, to be waited for in the end. `program` is the
/// one whose `job` command that is.
pub fn attend(
    state_dir: &Path,
    id: &str,
    program: impl FnOnce() -> Result<PathBuf>,
) -> (JobSeen, Option<Child>) {
    let seen = seen(state_dir, id);
    let is_locked = || open_folder(&folder(state_dir, id)).is_ok_and(|dir| dir.try_lock_shared().is_err());
    if seen != JobSeen::Running || is_locked() || !is_left(state_dir, id) {
        return (seen, None);
    }
    // What can't be started now is started at the next look.
    let ender = program().and_then(|program| job_rest::start(&program, &folder(state_dir, id)));
    (seen, ender.ok().flatten())
}

/// How a job stands.
pub fn seen(state_dir: &Path, id: &str) -> JobSeen {
    let dir = folder(state_dir, id);
    let locked = open_folder(&dir).map(|folder| folder.try_lock_shared().is_err());
    if matches!(locked, Ok(true)) || is_gone_and_runs(state_dir, id) || is_left(state_dir, id) {
        return JobSeen::Running;
    }
    if locked.is_err() {
        return JobSeen::None;
    }
    let file = |name: &str| read_bounded(&dir.join(name), FILE_MAX).ok().flatten();
    let output = || {
        let end = super::files::tail(&dir.join(OUTPUT), JOB_OUTPUT_MAX).unwrap_or_default();
        String::from_utf8_lossy(&end).into_owned()
    };
    let fix = file(FIX).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(exit) = file(EXIT).and_then(|bytes| serde_json::from_slice::<Exit>(&bytes).ok()) {
        return JobSeen::Ended { failed: exit.failed, status: exit.status, output: output(), fix };
    }
    let begun = std::fs::symlink_metadata(dir.join(BEGUN)).is_ok();
    match file(JOB) {
        Some(_) if begun => {
            let failed = Some(KILLED.to_owned());
            JobSeen::Ended { failed, status: None, output: output(), fix }
        }
        Some(_) | None => JobSeen::None,
    }
}

/// Removes the folders of units' jobs that ended, all but these. What holds more than a job's files stays. Those whose runner was
/// killed, and of which something lives, have not ended: their names, for [`attend`].
pub fn prune(state_dir: &Path, keep: &BTreeSet<String>) -> Vec<String> {
    let mut left = Vec::new();
    let Ok(entries) = std::fs::read_dir(state_dir.join("jobs")) else { return left };
    for entry in entries.take(PRUNED_MAX).flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().filter(|id| Job::is_of_unit(id) && !keep.contains(*id)) else {
            continue;
        };
        let dir = folder(state_dir, id);
        let Ok(lock) = open_folder(&dir) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        if is_left(state_dir, id) {
            left.push(id.to_owned());
            continue;
        }
        for file in FILES {
            let _ = std::fs::remove_file(dir.join(file));
        }
        let _ = std::fs::remove_dir(&dir);
    }
    left
}

/// Runs the job of a folder to its end: what the detached child does. Its standard input is the lock.
pub fn run(dir: &Path) -> Result<()> {
    // Without a terminal nothing that it starts can ask anybody anything.
    let _ = rustix::process::setsid();
    // And nothing gets away from it: a child whose parent ends becomes its own.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let read =
        read_bounded(&dir.join(JOB), FILE_MAX)?.ok_or_else(|| Error::again("there is no job").at(dir))?;
    let job: Job = serde_json::from_slice(&read).map_err(|error| Error::again(error.to_string()).at(dir))?;
    let mark = super::outside::env(JOB_ENV).unwrap_or_default();
    write_plain(&dir.join(BEGUN), mark.as_bytes())?;
    let program = || match spawn(dir, &job) {
        Err(error) => (None, Some(error)),
        Ok(mut child) => {
            let flooded = || length(&dir.join(OUTPUT)).max(length(&dir.join(ERRORS))) > OUTPUT_MAX;
            let ended = supervise(&mut child, Duration::from_secs(u64::from(job.deadline_s)), flooded);
            if job.fix.is_some() {
                // It could edit on while its edits are put aside, kept or taken back.
                end_all(&mut child);
            }
            verdict(dir, &job, &ended)
        }
    };
    let failed = match (&job.fix, dir.parent().and_then(Path::parent)) {
        (Some(fix), Some(state_dir)) => {
            let (ended, seen) = fix_job::run(state_dir, &job, fix, program);
            let text =
                serde_json::to_string_pretty(&seen).map_err(|error| Error::again(error.to_string()))?;
            write_plain(&dir.join(FIX), text.as_bytes())?;
            ended
        }
        (Some(_), None) | (None, _) => program(),
    };
    let exit = Exit { v: 1, at: clock::wall(), status: failed.0, failed: failed.1 };
    write_exit(dir, &exit)?;
    if let Some(state_dir) = dir.parent().and_then(Path::parent)
        && (job.awaited || exit.failed.is_some() || said(dir).is_some())
    {
        // It is waited for, did something, or failed: the watchdog need not wait for its next tick.
        let _ = write_plain(&state_dir.join(crate::state::table::POKE), b"");
    }
    Ok(())
}

fn write_exit(dir: &Path, exit: &Exit) -> Result<()> {
    let text = serde_json::to_string_pretty(exit).map_err(|error| Error::again(error.to_string()))?;
    write_plain(&dir.join(EXIT), format!("{text}\n").as_bytes())
}

/// Writes down that a job whose runner was killed is over, for nothing of it lives any more.
pub(super) fn write_killed(dir: &Path) -> Result<()> {
    let failed = Some(format!("{KILLED}; what it had started was ended"));
    write_exit(dir, &Exit { v: 1, at: clock::wall(), status: None, failed })
}

fn spawn(dir: &Path, job: &Job) -> std::result::Result<Child, String> {
    let (program, args) = job.argv.split_first().ok_or("the job has no command")?;
    let mut command = Command::new(program);
    command.args(args).current_dir(&job.dir).stdin(input(dir)?).process_group(0);
    super::git::clean_env(&mut command);
    // Meant for the binary that the watchdog becomes, not for what it starts.
    command.env_remove(super::lock::LOCK_ENV);
    // (A name with `=` or NUL would be no variable.)
    let plain = |name: &&String| !name.is_empty() && !name.contains(['=', '\0']);
    for name in job.env_remove.iter().filter(plain) {
        command.env_remove(name);
    }
    command.envs(job.env.iter().filter(|(name, _)| plain(name)));
    command.spawn().map_err(|error| {
        let why = error.to_string().to_lowercase();
        format!("{JOB_UNSTARTED}`{program}` in `{}`: {why}", job.dir)
    })
}

/// What the program reads: its input, or nothing.
fn input(dir: &Path) -> std::result::Result<Stdio, String> {
    match super::files::open_regular(&dir.join(INPUT), OpenOptions::new().read(true)) {
        Ok(Some(file)) => Ok(Stdio::from(file)),
        Ok(None) => Ok(Stdio::null()),
        Err(error) => Err(format!("its input can't be read: {}", error.message())),
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// How a job came to its end.
enum Ended {
    Itself(ExitStatus),
    Late,
    Flooded,
}

/// Waits for the end, or makes it at the deadline and when it writes too much.
fn supervise(child: &mut Child, deadline: Duration, flooded: impl Fn() -> bool) -> Ended {
    let began = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Ended::Itself(status);
        }
        let over = match flooded() {
            true => Some(Ended::Flooded),
            false => (began.elapsed() >= deadline).then_some(Ended::Late),
        };
        if let Some(ended) = over {
            end_all(child);
            return ended;
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends the program and all that came from it.
fn end_all(child: &mut Child) {
    let gone = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_))) && below_us().is_empty();
    job_rest::end(child, signal_all, gone);
    let _ = child.wait();
}

fn signal_all(child: &mut Child, signal: Signal) {
    let number = match signal {
        Signal::Term => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
    };
    // Its group first: what it forks meanwhile has the signal, too. Once it was waited for, the number is anybody's.
    let waited_for = matches!(child.try_wait(), Ok(Some(_)));
    let group = rustix::process::Pid::from_raw(child.id().cast_signed());
    if let Some(group) = group.filter(|_| !waited_for) {
        let _ = rustix::process::kill_process_group(group, number);
    }
    let _ = super::kill::send_all(&below_us(), signal);
}

/// All living processes that came from this one: whoever loses its parent becomes ours, in whatever session it is. Not what
/// was started to outlive us (a run or a tmux server that the program had a watchdog start), nor another job.
fn below_us() -> Vec<Process> {
    let own = super::outside::pid().cast_signed();
    let mut all = super::proc::all();
    let others: Vec<i32> = all.keys().copied().filter(|pid| job_rest::is_of_another(*pid)).collect();
    for pid in others {
        all.remove(&pid);
    }
    let mut tree = super::proc::tree(&all, own);
    tree.retain(|process| process.pid != own);
    tree
}

fn verdict(dir: &Path, job: &Job, ended: &Ended) -> (Option<i32>, Option<String>) {
    let status = match ended {
        Ended::Itself(status) => status,
        Ended::Late => return (None, Some(format!("it was ended after {} s, {JOB_LATE}", job.deadline_s))),
        Ended::Flooded => {
            return (None, Some(format!("it wrote more than {OUTPUT_MAX} bytes and was ended")));
        }
    };
    if status.success() {
        return (Some(0), None);
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    };
    (status.code(), Some(said(dir).unwrap_or(how)))
}

/// The end of its complaints, else of its output, as one line; None when it said nothing.
fn said(dir: &Path) -> Option<String> {
    let end = |file: &str| {
        let (lines, _) = super::tail::Tail::last(&dir.join(file), OUTPUT_TAIL).ok()?;
        Some(one_line(&lines.join(" "), 400)).filter(|text| !text.is_empty())
    };
    end(ERRORS).or_else(|| end(OUTPUT))
}

//! Slow work beside the tick: a detached child whose result a later tick reads. `jobs/<id>/` holds what was started
//! (`job.json`), what it said (`output`) and how it ended (`exit.json`).
//!
//! The job's folder is locked for as long as it runs: the starter takes the lock and hands it down as the child's standard
//! input, so there is no instant at which a started job looks ended, and no second one beside it. A result that is missing
//! once the lock is free means that the job was killed.

use super::files::{read_bounded, write_plain};
use super::{clock, exe};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use crate::base::time::Wall;
use crate::model::action::{JOB_LATE, Job};
use crate::model::seen::JobSeen;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Largest job.json or exit.json.
const FILE_MAX: u64 = 256 << 10;
/// A job that writes more is ended, bytes.
const OUTPUT_MAX: u64 = 1 << 20;
/// How much of a job's output is read.
const OUTPUT_TAIL: u64 = 4 << 10;
/// Between TERM and KILL: git removes its lock files on TERM.
const GRACE: Duration = Duration::from_secs(5);
/// How often a job is looked at by its own runner.
const LOOK: Duration = Duration::from_millis(20);

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

fn folder(state_dir: &Path, id: &str) -> PathBuf {
    state_dir.join("jobs").join(id)
}

/// Starts a job; its runner, to be waited for in the end. One of the same name that still runs is left alone: None.
pub fn start(state_dir: &Path, job: &Job) -> Result<Option<Child>> {
    let dir = folder(state_dir, &job.id);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|error| Error::from(error).at(&dir).doing("making the job's folder"))?;
    let lock =
        open_folder(&dir).map_err(|error| Error::from(error).at(&dir).doing("opening the job's folder"))?;
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    let text = serde_json::to_string_pretty(job).map_err(|error| Error::again(error.to_string()))?;
    // Before the new order, so that an old result is never taken for the new job's.
    remove(&dir.join("exit.json"))?;
    write_plain(&dir.join("job.json"), format!("{text}\n").as_bytes())?;
    remove(&dir.join("output"))?;
    let output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(dir.join("output"))
        .map_err(|error| Error::from(error).at(&dir).doing("making the job's output"))?;
    let errors = output.try_clone()?;
    Command::new(exe::Binary::running()?.path)
        .args(["job".as_ref(), dir.as_os_str()])
        .stdin(Stdio::from(lock))
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map(Some)
        .map_err(|error| Error::from(error).doing("starting a job"))
}

/// The folder itself: no link, and nothing that blocks when it is opened.
fn open_folder(dir: &Path) -> std::io::Result<File> {
    use rustix::fs::OFlags;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(dir)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::from(error).at(path)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How a job stands.
pub fn seen(state_dir: &Path, id: &str) -> JobSeen {
    let dir = folder(state_dir, id);
    let Ok(folder) = open_folder(&dir) else { return JobSeen::None };
    if folder.try_lock_shared().is_err() {
        return JobSeen::Running;
    }
    let file = |name: &str| read_bounded(&dir.join(name), FILE_MAX).ok().flatten();
    if let Some(exit) = file("exit.json").and_then(|bytes| serde_json::from_slice::<Exit>(&bytes).ok()) {
        return JobSeen::Ended { failed: exit.failed };
    }
    match file("job.json") {
        Some(_) => JobSeen::Ended { failed: Some("it was killed before it ended".to_owned()) },
        None => JobSeen::None,
    }
}

/// Runs the job of a folder to its end: what the detached child does. Its standard input is the lock.
pub fn run(dir: &Path) -> Result<()> {
    // Without a terminal nothing that it starts can ask anybody anything.
    let _ = rustix::process::setsid();
    let read = read_bounded(&dir.join("job.json"), FILE_MAX)?
        .ok_or_else(|| Error::again("there is no job").at(dir))?;
    let job: Job = serde_json::from_slice(&read).map_err(|error| Error::again(error.to_string()).at(dir))?;
    let failed = match spawn(&job) {
        Err(error) => (None, Some(error)),
        Ok(mut child) => {
            let flooded = || length(&dir.join("output")) > OUTPUT_MAX;
            let ended = supervise(&mut child, Duration::from_secs(u64::from(job.deadline_s)), flooded);
            verdict(dir, &job, &ended)
        }
    };
    let exit = Exit { v: 1, at: clock::wall(), status: failed.0, failed: failed.1 };
    let text = serde_json::to_string_pretty(&exit).map_err(|error| Error::again(error.to_string()))?;
    write_plain(&dir.join("exit.json"), format!("{text}\n").as_bytes())?;
    if let Some(state_dir) = dir.parent().and_then(Path::parent)
        && said(dir).is_some()
    {
        // It did something, or it failed: the watchdog need not wait for its next tick.
        let _ = write_plain(&state_dir.join(crate::state::table::POKE), b"");
    }
    Ok(())
}

fn spawn(job: &Job) -> std::result::Result<Child, String> {
    let (program, args) = job.argv.split_first().ok_or("the job has no command")?;
    let mut command = Command::new(program);
    command.args(args).envs(&job.env).current_dir(&job.dir).stdin(Stdio::null()).process_group(0);
    super::git::clean_env(&mut command);
    command
        .spawn()
        .map_err(|error| format!("`{program}` in `{}`: {}", job.dir, error.to_string().to_lowercase()))
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

/// Waits for the end; TERM at the deadline or when it writes too much, KILL after the grace.
fn supervise(child: &mut Child, deadline: Duration, flooded: impl Fn() -> bool) -> Ended {
    let began = Instant::now();
    let group = rustix::process::Pid::from_raw(child.id().cast_signed());
    let send = |signal| {
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    };
    let over = |flood: bool| if flood { Ended::Flooded } else { Ended::Late };
    // When TERM was sent, and whether for too much output.
    let mut termed: Option<(Instant, bool)> = None;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return termed.map_or(Ended::Itself(status), |(_, flood)| over(flood));
        }
        match termed {
            None => {
                let flood = flooded();
                if flood || began.elapsed() >= deadline {
                    termed = Some((Instant::now(), flood));
                    send(rustix::process::Signal::TERM);
                }
            }
            Some((at, flood)) if at.elapsed() >= GRACE => {
                send(rustix::process::Signal::KILL);
                let _ = child.wait();
                return over(flood);
            }
            Some(_) => {}
        }
        std::thread::sleep(LOOK);
    }
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

/// The end of its output as one line; None when it said nothing.
fn said(dir: &Path) -> Option<String> {
    let (lines, _) = super::tail::Tail::last(&dir.join("output"), OUTPUT_TAIL).ok()?;
    Some(one_line(&lines.join(" "), 400)).filter(|text| !text.is_empty())
}

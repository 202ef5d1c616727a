//! Runs another program with a deadline and bounded output.
//!
//! Deliberately not here: pipes. Outputs go to anonymous files, so a grandchild that keeps them open can't hang us,
//! and a program that writes much never blocks on a reader. No shell either: an argv is an argv.

use crate::base::error::{Error, Kind, Result};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// SPEC section 3: every tmux or git call has this deadline.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Most bytes kept of standard output; a program that writes more is ended.
pub const OUTPUT_MAX: u64 = 16 << 20;
/// Most bytes kept of standard error: it is read by people.
const STDERR_MAX: u64 = 64 << 10;
/// How long a killed program may take to vanish before it is left to the kernel (uninterruptible sleep).
const REAP: Duration = Duration::from_millis(500);
/// How often output sizes are looked at while waiting.
const SLICE: Duration = Duration::from_millis(50);

static STARTED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Programs started by this process so far: a tick's cost is counted in them.
pub fn programs_started() -> u64 {
    STARTED.load(std::sync::atomic::Ordering::Relaxed)
}

/// A program about to be run.
#[derive(Debug)]
pub struct Program {
    name: OsString,
    args: Vec<OsString>,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
    output_max: u64,
    dir: Option<PathBuf>,
    env: Vec<(OsString, Option<OsString>)>,
    hint: Option<String>,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Exit status; None when it was ended by a signal (a time-out among them).
    pub status: Option<i32>,
    /// Standard output, at most the bound.
    pub stdout: Vec<u8>,
    /// Standard error as text, bounded.
    pub stderr: String,
    /// The deadline passed and its process group was killed.
    pub timed_out: bool,
    /// It wrote more than the bound and was killed.
    pub flooded: bool,
}

impl Ran {
    /// It ended by itself with status 0.
    pub fn ok(&self) -> bool {
        self.status == Some(0) && !self.flooded
    }

    /// What went wrong, in one line.
    pub fn why(&self) -> String {
        let said = crate::base::text::one_line(&self.stderr, 300);
        match (self.timed_out, self.flooded, self.status) {
            (true, _, _) => "did not answer in time".to_owned(),
            (_, true, _) => "wrote too much".to_owned(),
            (_, _, _) if !said.is_empty() => said,
            (_, _, Some(status)) => format!("exit status {status}"),
            (_, _, None) => "ended by a signal".to_owned(),
        }
    }
}

impl Program {
    /// A program by name (found in `PATH`) or path.
    pub fn new(name: impl AsRef<OsStr>) -> Program {
        Program {
            name: name.as_ref().to_owned(),
            args: Vec::new(),
            stdin: None,
            deadline: DEADLINE,
            output_max: OUTPUT_MAX,
            dir: None,
            env: Vec::new(),
            hint: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Program {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// What it reads on standard input; `/dev/null` otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Program {
        self.stdin = Some(bytes.into());
        self
    }

    /// Another deadline than [`DEADLINE`].
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Program {
        self.deadline = deadline;
        self
    }

    /// Another bound than [`OUTPUT_MAX`], bytes.
    #[must_use]
    pub fn output_max(mut self, bytes: u64) -> Program {
        self.output_max = bytes;
        self
    }

    /// Its working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Program {
        self.dir = Some(dir.into());
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Program {
        self.env.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Takes a variable out of its environment.
    #[must_use]
    pub fn without_env(mut self, key: impl AsRef<OsStr>) -> Program {
        self.env.push((key.as_ref().to_owned(), None));
        self
    }

    /// How to get the program when it is missing.
    #[must_use]
    pub fn install_hint(mut self, hint: impl Into<String>) -> Program {
        self.hint = Some(hint.into());
        self
    }

    /// Runs it to its end or to the deadline. An error means that it could not be started at all.
    pub fn run(self) -> Result<Ran> {
        STARTED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        reap_leftovers();
        let until = Instant::now() + self.deadline;
        let stdout = anonymous_file()?;
        let stderr = anonymous_file()?;
        let mut child = self.spawn(&stdout, &stderr)?;
        let (ending, status) = supervise(&mut child, until, || {
            length(&stdout) > self.output_max || length(&stderr) > self.output_max
        });
        if status.is_none() {
            leave(child);
        }
        let flooded = ending == Ending::Flooded || length(&stdout) > self.output_max;
        Ok(Ran {
            status: status.filter(|_| ending == Ending::Itself).and_then(|s| s.code()),
            stdout: head(&stdout, self.output_max)?,
            stderr: String::from_utf8_lossy(&head(&stderr, STDERR_MAX)?).into_owned(),
            timed_out: ending == Ending::TimedOut,
            flooded,
        })
    }

    fn spawn(&self, stdout: &File, stderr: &File) -> Result<Child> {
        let mut command = Command::new(&self.name);
        command.args(&self.args).stdin(self.stdin_file()?);
        command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        // A group of its own: a time-out ends its children too, and ^C in our terminal is not theirs.
        command.process_group(0);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        // Meant for the binary that we become, not for what we start.
        command.env_remove(super::lock::LOCK_ENV);
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.spawn().map_err(|error| self.spawn_error(&error))
    }

    fn stdin_file(&self) -> Result<Stdio> {
        let Some(bytes) = &self.stdin else { return Ok(Stdio::null()) };
        let mut file = anonymous_file()?;
        file.write_all(bytes)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Stdio::from(file))
    }

    fn spawn_error(&self, error: &std::io::Error) -> Error {
        let name = self.name.to_string_lossy();
        let dir_missing = self.dir.as_ref().is_some_and(|d| !d.is_dir());
        if error.kind() == std::io::ErrorKind::NotFound && !dir_missing {
            let hint = match &self.hint {
                Some(hint) => hint.clone(),
                None => format!("install `{name}`, or put its folder into PATH"),
            };
            return Error::new(Kind::Missing, format!("program `{name}` is missing")).hint(hint);
        }
        Error::again(error.to_string().to_lowercase()).doing(format!("starting `{name}`"))
    }
}

/// Killed programs that did not vanish in time: they are waited for when the next one is run, so that they do not stay
/// zombies for ever.
static LEFTOVERS: Mutex<Vec<Child>> = Mutex::new(Vec::new());
/// Most of them that are remembered; a machine with more of them has another problem.
const LEFTOVERS_MAX: usize = 256;

fn leave(child: Child) {
    let mut leftovers = LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner);
    if leftovers.len() < LEFTOVERS_MAX {
        leftovers.push(child);
    }
}

fn reap_leftovers() {
    let mut leftovers = LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner);
    // An error (somebody else waited for it) is an end too.
    leftovers.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Itself,
    TimedOut,
    Flooded,
}

/// Waits for the child; kills its group at the deadline or when it floods.
fn supervise(child: &mut Child, until: Instant, flooded: impl Fn() -> bool) -> (Ending, Option<ExitStatus>) {
    if let Some(status) = wait(child, until, &flooded) {
        return (Ending::Itself, Some(status));
    }
    let ending = if flooded() { Ending::Flooded } else { Ending::TimedOut };
    kill_group(child);
    // After SIGKILL only a process in uninterruptible sleep stays; it must not hold us up.
    let status = wait(child, Instant::now() + REAP, &|| false);
    match status {
        // It ended by itself in the instant before the kill.
        Some(status) if status.signal().is_none() => (Ending::Itself, Some(status)),
        _ => (ending, status),
    }
}

fn kill_group(child: &mut Child) {
    if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
}

/// The child's status, or None when `until` passed or `stop` said so.
fn wait(child: &mut Child, until: Instant, stop: &dyn Fn() -> bool) -> Option<ExitStatus> {
    let sleeper = Sleeper::new(child);
    let mut nap = Duration::from_micros(200);
    loop {
        // An error here (ECHILD: somebody else reaped it) is as good as an unknown end: the deadline decides.
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let left = until.checked_duration_since(Instant::now())?;
        if left.is_zero() || stop() {
            return None;
        }
        sleeper.sleep(left.min(SLICE), &mut nap);
    }
}

/// Sleeps until the child ends: by its pidfd where there is one, else by short naps.
enum Sleeper {
    #[cfg(target_os = "linux")]
    PidFd(std::os::fd::OwnedFd),
    Naps,
}

impl Sleeper {
    #[cfg(target_os = "linux")]
    fn new(child: &Child) -> Sleeper {
        let pid = rustix::process::Pid::from_child(child);
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(fd) => Sleeper::PidFd(fd),
            Err(_) => Sleeper::Naps,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn new(_: &Child) -> Sleeper {
        Sleeper::Naps
    }

    fn sleep(&self, at_most: Duration, nap: &mut Duration) {
        match self {
            #[cfg(target_os = "linux")]
            Sleeper::PidFd(fd) => super::poll_readable(fd, at_most),
            Sleeper::Naps => {
                std::thread::sleep((*nap).min(at_most));
                *nap = (*nap * 3 / 2).min(Duration::from_millis(10));
            }
        }
    }
}

/// A file without a name: in memory where the kernel can, else a deleted temporary file.
fn anonymous_file() -> Result<File> {
    #[cfg(target_os = "linux")]
    if let Ok(fd) = rustix::fs::memfd_create("watchkeeper", rustix::fs::MemfdFlags::CLOEXEC) {
        return Ok(File::from(fd));
    }
    tempfile::tempfile().map_err(|e| Error::from(e).doing("making a temporary file"))
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |m| m.len())
}

/// The first `max` bytes, read by position: the offset is shared with the child.
fn head(file: &File, max: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length(file).min(max)).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::from(error).doing("reading a program's output")),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    #[test]
    fn output_status_and_stdin_come_through() {
        let ran = sh("cat; echo oops >&2; exit 3").stdin("two\nlines\n").run().unwrap();
        assert_eq!(
            ran,
            Ran {
                status: Some(3),
                stdout: b"two\nlines\n".to_vec(),
                stderr: "oops\n".into(),
                timed_out: false,
                flooded: false
            }
        );
        assert_eq!(ran.why(), "oops");
        assert_eq!(sh("exit 4").run().unwrap().why(), "exit status 4");
        assert_eq!(sh("kill -9 $$").run().unwrap().status, None);
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_its_children() {
        let began = Instant::now();
        let ran = sh("sleep 600 & echo $!; wait").deadline(Duration::from_millis(300)).run().unwrap();
        assert!(ran.timed_out && began.elapsed() < Duration::from_secs(10));
        assert_eq!(ran.why(), "did not answer in time");
        let grandchild: i32 = String::from_utf8(ran.stdout).unwrap().trim().parse().unwrap();
        let gone =
            || !std::fs::read_to_string(format!("/proc/{grandchild}/stat")).is_ok_and(|s| !s.contains(") Z"));
        let until = Instant::now() + Duration::from_secs(10);
        while !gone() {
            assert!(Instant::now() < until, "{grandchild} lives");
            std::thread::yield_now();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_could_not_be_waited_for_is_waited_for_later() {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id().cast_signed();
        leave(child);
        sh("true").run().unwrap();
        assert!(super::super::proc::start(pid).is_some(), "it goes on");
        let raw = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while super::super::proc::stat(pid).is_some() {
            assert!(Instant::now() < until, "{pid} stays a zombie");
            sh("true").run().unwrap();
        }
    }

    #[test]
    fn a_grandchild_that_keeps_the_output_open_does_not_hang_us() {
        let began = Instant::now();
        let ran = sh("setsid sleep 5 & echo done").run().unwrap();
        assert_eq!(ran.stdout, b"done\n");
        assert!(began.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn a_flood_is_cut_off() {
        let ran = sh("yes").output_max(1 << 16).run().unwrap();
        assert!(ran.flooded && !ran.timed_out && !ran.ok());
        assert_eq!(ran.stdout.len(), 1 << 16);
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let error = Program::new("no-such-program-x").install_hint("apt install x").run().unwrap_err();
        assert_eq!(error.kind(), Kind::Missing);
        assert_eq!(error.to_string(), "program `no-such-program-x` is missing\nhint: apt install x");
        let error = Program::new("true").dir("/no/such/dir").run().unwrap_err();
        assert_eq!(error.kind(), Kind::Again);
    }
}

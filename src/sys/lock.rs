//! One actor at a time: a flock on the state directory itself. It dies with its holder and can't be unlinked.
//!
//! The file `lock` in it is text for people and for the message "held by"; nothing is decided by it.

use super::clock;
use super::files::{not_regular, read_bounded, write_plain};
use crate::base::error::{Error, Kind, Result};
use crate::base::time::Wall;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Tells the binary that we become that its standard input is the locked directory: `0:<pid>`. The pid (which exec
/// keeps) makes sure that no child takes it for its own.
pub const LOCK_ENV: &str = "WATCHKEEPER_LOCK_FD";
/// What the text says while the holder becomes another binary: its handlers are gone, the next ones are not there yet.
pub const BECOMING: &str = "re-exec";
const TEXT: &str = "lock";
const LOCK_TEXT_MAX: u64 = 4096;

/// The held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    dir: File,
    text: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked, so it is still our own text; unless the directory is another one now.
        if self.stands() {
            let _ = std::fs::remove_file(&self.text);
        }
    }
}

/// Who holds it, as far as its text says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// 0 when unknown.
    pub pid: i32,
    /// `run`, `tick`, …
    pub command: String,
    /// Since when; None when unknown.
    pub since: Option<Wall>,
}

/// The answer to [`try_lock`].
#[derive(Debug)]
pub enum TryLock {
    /// It is ours.
    Got(Lock),
    /// Somebody else has it.
    Held(Held),
}

impl Held {
    /// Is it a loop that can be woken?
    pub fn is_awake(&self) -> bool {
        self.command == "run"
    }

    /// The refusal as an error: exit code 75.
    pub fn error(&self) -> Error {
        let since = self.since.map(|s| format!(" since {s}")).unwrap_or_default();
        let who = match self.pid {
            0 => "another process".to_owned(),
            pid => format!("`watchkeeper {}`, pid {pid}", self.command),
        };
        Error::new(Kind::Again, format!("{who}, acts on this state directory{since}"))
    }
}

/// Takes the lock of the state directory for `command` if it is free. The directory must exist.
pub fn try_lock(dir: &Path, command: &str) -> Result<TryLock> {
    let file = File::open(dir).map_err(|e| Error::from(e).at(dir).doing("opening the state directory"))?;
    match patient_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(TryLock::Held(holder(dir))),
        Err(TryLockError::Error(error)) => {
            return Err(Error::from(error)
                .at(dir)
                .doing("locking")
                .hint("the state directory must be on a file system with flock"));
        }
    }
    sign(dir, command)?;
    Ok(TryLock::Got(Lock { dir: file, text: dir.join(TEXT) }))
}

/// [`held`] takes the lock for an instant to look; who meets it there must not be turned away.
fn patient_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..5 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            settled => return settled,
        }
    }
    file.try_lock()
}

/// Who holds the lock of this state directory now; None when it is free.
pub fn held(dir: &Path) -> Option<Held> {
    let file = File::open(dir).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder(dir)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// Wakes the watchdog that holds the lock (USR1). Only a `run` has a handler, anything else would die of the signal: the
/// text may be old, so the name of the process must agree too.
pub fn wake(held: &Held) {
    let ours = super::proc::stat(held.pid).is_some_and(|stat| stat.comm.starts_with("watchkeeper"));
    if held.is_awake()
        && ours
        && let Some(pid) = rustix::process::Pid::from_raw(held.pid)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::USR1);
    }
}

/// The lock handed down by the binary that we were before; None when there was none.
pub fn adopt(dir: &Path, command: &str) -> Option<Lock> {
    if std::env::var(LOCK_ENV).ok()? != handle() {
        return None;
    }
    let file = File::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
    let (ours, there) = (file.metadata().ok()?, std::fs::metadata(dir).ok()?);
    if !ours.is_dir() || (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        return None;
    }
    // The same open file: this succeeds at once if, and only if, the lock came along.
    file.try_lock().ok()?;
    // No program that we start may inherit it.
    let null = File::open("/dev/null").ok()?;
    rustix::stdio::dup2_stdin(&null).ok()?;
    sign(dir, command).ok()?;
    Some(Lock { dir: file, text: dir.join(TEXT) })
}

impl Lock {
    /// Is the locked directory still the one that bears its name? One that was deleted or moved away locks nothing.
    pub fn stands(&self) -> bool {
        let there = self.text.parent().and_then(|dir| std::fs::metadata(dir).ok());
        let ours = self.dir.metadata().ok();
        ours.zip(there).is_some_and(|(ours, there)| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    }

    /// Signs anew, for what this process is about to do. While it becomes another binary it has no handler for what
    /// [`wake`] sends to a `run`.
    pub fn resign(&self, command: &str) -> Result<()> {
        self.text.parent().map_or(Ok(()), |dir| sign(dir, command))
    }

    /// Prepares a command that this process is about to become (exec): it finds the lock with [`adopt`].
    pub fn hand_down(&self, command: &mut Command) -> Result<()> {
        let dir = self.dir.try_clone().map_err(|e| Error::from(e).doing("handing down the lock"))?;
        command.stdin(Stdio::from(dir)).env(LOCK_ENV, handle());
        Ok(())
    }
}

fn handle() -> String {
    format!("0:{}", std::process::id())
}

fn sign(dir: &Path, command: &str) -> Result<()> {
    #[derive(Serialize)]
    struct Text<'a> {
        v: u32,
        pid: u32,
        command: &'a str,
        since: Wall,
    }
    let text = Text { v: 1, pid: std::process::id(), command, since: clock::wall() };
    let mut line = serde_json::to_string(&text).map_err(|e| Error::again(e.to_string()))?;
    line.push('\n');
    let path = dir.join(TEXT);
    write_plain(&path, line.as_bytes()).or_else(|error| match not_regular(&path) {
        None => Err(error),
        // Nothing hangs on this text: what is in its way must not stop who acts.
        Some(_) => {
            super::quarantine::quarantine(dir, TEXT, &path).and_then(|_| write_plain(&path, line.as_bytes()))
        }
    })
}

fn holder(dir: &Path) -> Held {
    let bytes = read_bounded(&dir.join(TEXT), LOCK_TEXT_MAX).ok().flatten().unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or(Held { pid: 0, command: String::new(), since: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_second_one_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(held(dir.path()), None);
        let TryLock::Got(lock) = try_lock(dir.path(), "run").unwrap() else { panic!("held") };
        let TryLock::Held(who) = try_lock(dir.path(), "tick").unwrap() else { panic!("got it twice") };
        assert_eq!((who.pid, who.command.as_str()), (std::process::id().cast_signed(), "run"));
        let error = who.error();
        assert_eq!(error.kind(), Kind::Again);
        assert!(error.message().starts_with("`watchkeeper run`, pid "), "{error}");
        assert_eq!(held(dir.path()), Some(who));
        drop(lock);
        // (A child that another test forks has the lock's file until it becomes its program.)
        let end = Instant::now() + std::time::Duration::from_secs(10);
        while !matches!(try_lock(dir.path(), "tick").unwrap(), TryLock::Got(_)) {
            assert!(Instant::now() < end, "it was let go");
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_becomes_another_binary_is_not_woken() {
        let dir = tempfile::tempdir().unwrap();
        let TryLock::Got(lock) = try_lock(dir.path(), "run").unwrap() else { panic!("held") };
        assert!(held(dir.path()).unwrap().is_awake());
        lock.resign(BECOMING).unwrap();
        let held = held(dir.path()).unwrap();
        assert_eq!((held.is_awake(), held.command.as_str()), (false, "re-exec"));
    }

    #[test]
    fn a_damaged_or_deleted_text_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = try_lock(dir.path(), "run").unwrap();
        std::fs::write(dir.path().join("lock"), b"\xff{").unwrap();
        let TryLock::Held(who) = try_lock(dir.path(), "tick").unwrap() else { panic!("got it twice") };
        assert_eq!(who.pid, 0);
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        assert!(matches!(try_lock(dir.path(), "tick").unwrap(), TryLock::Held(_)));
    }

    #[test]
    fn it_dies_with_a_killed_holder() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready");
        // flock(1) locks the directory that it is given, as we do.
        let mut holder = Command::new("flock")
            .args([dir.path().as_os_str(), "-c".as_ref(), "touch ready; exec sleep 600".as_ref()])
            .current_dir(&dir)
            .spawn()
            .unwrap();
        await_that(|| ready.exists());
        assert!(matches!(try_lock(dir.path(), "tick").unwrap(), TryLock::Held(_)));
        let tree = super::super::proc::tree(&super::super::proc::all(), holder.id().cast_signed());
        for process in tree {
            let _ = Command::new("kill").args(["-9", &process.pid.to_string()]).status();
        }
        holder.wait().unwrap();
        await_that(|| matches!(try_lock(dir.path(), "tick").unwrap(), TryLock::Got(_)));
    }

    #[track_caller]
    fn await_that(condition: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < until, "never came true");
            std::thread::yield_now();
        }
    }
}

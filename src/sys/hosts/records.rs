//! The files of a run in its unit's folder: `launch.json` (what was ordered), `child.json` (what became of it), `exit.json`
//! (how it ended). Each carries the run's number: one of another number is an older run's and says nothing.
//!
//! Deliberately not here: who writes them when (`local` writes the order, `shim` the other two).

use crate::base::error::{Error, Result};
use crate::base::text::digest;
use crate::base::time::Wall;
use crate::model::process::ProcessLaunch;
use crate::model::seen::{Exit, Process};
use crate::sys::files::{read_bounded, write_plain};
use crate::sys::proc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was ordered.
pub const LAUNCH: &str = "launch.json";
/// Who runs.
pub const CHILD: &str = "child.json";
/// How it ended.
pub const EXIT: &str = "exit.json";
/// Its output.
pub const LOG: &str = "out.log";
/// Marks every process of a run in its environment: `<state>/<unit>/<number>`.
pub const RUN_ENV: &str = "WATCHKEEPER_RUN";
/// The pid and start of a run's own process, in its own environment: what it starts inherits that, and is another process.
pub const MAIN_ENV: &str = "WATCHKEEPER_RUN_PID";
/// Largest of the files: an argv and an environment may be long.
const FILE_MAX: u64 = 4 << 20;
/// Somebody who only looks holds the lock for an instant: the tries of who wants it.
const LOCK_TRIES: u32 = 20;

/// `launch.json`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub v: u64,
    pub at: Wall,
    pub launch: ProcessLaunch,
}

/// `child.json`: the process that a run became, and enough to tell it from any other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    pub v: u64,
    /// Number of the run.
    pub number: u64,
    pub pid: i32,
    /// Clock ticks since boot.
    pub start: u64,
    /// The kernel's boot id.
    pub boot: String,
    #[serde(default)]
    pub argv: Vec<String>,
    pub since: Wall,
}

/// `exit.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExitFact {
    pub v: u64,
    /// Number of the run.
    pub number: u64,
    /// Exit status; None when a signal ended it, or when it was never started.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// A core was dumped.
    pub core: bool,
    /// The kernel says that it ended it for its use of memory.
    pub out_of_memory: bool,
    pub at: Wall,
    /// What went wrong before it could run.
    pub note: Option<String>,
    /// The host's name for the run, where one number may have several lives (Slurm requeues jobs); "" = not told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub handle: String,
}

impl ExitFact {
    /// The exit, as far as there was one.
    pub fn exit(&self) -> Option<Exit> {
        match (self.status, self.signal) {
            (Some(status), _) => Some(Exit::Status(status)),
            (None, Some(signal)) => Some(Exit::Signal(signal)),
            (None, None) => None,
        }
    }
}

impl Child {
    /// Its identity.
    pub fn process(&self) -> Process {
        Process { pid: self.pid, start: self.start }
    }

    /// Its stat if it is still there, zombies included, on this boot.
    pub fn stat(&self, boot: &str) -> Option<proc::Stat> {
        let here = self.boot == boot;
        proc::stat(self.pid).filter(|stat| here && stat.start == self.start)
    }

    /// It lives.
    pub fn is_alive(&self, boot: &str) -> bool {
        self.stat(boot).is_some_and(|stat| !stat.is_dead())
    }

    /// The host's name for the run.
    pub fn handle(&self) -> String {
        handle(self.process(), &self.boot)
    }
}

/// `pid.start.boot`
pub fn handle(process: Process, boot: &str) -> String {
    format!("{}.{}.{boot}", process.pid, process.start)
}

/// The parts of a handle: the process and the boot that it lived in.
pub fn parse_handle(handle: &str) -> Option<(Process, String)> {
    let mut parts = handle.splitn(3, '.');
    let process = Process { pid: parts.next()?.parse().ok()?, start: parts.next()?.parse().ok()? };
    Some((process, parts.next()?.to_owned()))
}

/// `units/<name>`
pub fn unit_dir(state_dir: &Path, unit: &str) -> PathBuf {
    state_dir.join("units").join(unit)
}

/// Whose runs these are: two fleets on one machine have units of the same name.
pub fn owner(state_dir: &Path) -> String {
    digest(state_dir.as_os_str().as_encoded_bytes())
}

/// The mark of a run: value of [`RUN_ENV`], and the name that other hosts know it by.
pub fn mark(state_dir: &Path, unit: &str, number: u64) -> String {
    format!("{}/{unit}/{number}", owner(state_dir))
}

/// A record that is there and can't be read as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file of the unit's folder.
    pub name: &'static str,
    /// Line and column; 0 = not known.
    pub place: (usize, usize),
    /// What is wrong, a fragment.
    pub why: String,
}

/// One of the files; None when it is missing, or damaged: that is noted.
pub fn take<T: DeserializeOwned>(dir: &Path, name: &'static str, damage: &mut Vec<Damage>) -> Option<T> {
    match read_bounded(&dir.join(name), FILE_MAX) {
        Ok(None) => None,
        Ok(Some(bytes)) => match serde_json::from_slice(&bytes) {
            Ok(value) => Some(value),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let text = error.to_string();
                let why = text.split(" at line ").next().unwrap_or_default().to_owned();
                damage.push(Damage { name, place: (line, column), why });
                None
            }
        },
        Err(error) => {
            damage.push(Damage { name, place: (0, 0), why: error.message() });
            None
        }
    }
}

/// One of the files; None when it is missing or can't be read as what it should be.
pub fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Option<T> {
    let bytes = read_bounded(&dir.join(name), FILE_MAX).ok().flatten()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes one of the files whole.
pub fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::again(error.to_string()))?;
    write_plain(&dir.join(name), format!("{text}\n").as_bytes())
}

/// The order in force, if one can be read.
pub fn order(dir: &Path) -> Option<ProcessLaunch> {
    read::<Order>(dir, LAUNCH).map(|order| order.launch)
}

/// The child of that run.
pub fn child(dir: &Path, number: u64) -> Option<Child> {
    read::<Child>(dir, CHILD).filter(|child| child.number == number)
}

/// The end of that run.
pub fn exit(dir: &Path, number: u64) -> Option<ExitFact> {
    read::<ExitFact>(dir, EXIT).filter(|exit| exit.number == number)
}

/// The unit's folder, opened to be locked: no link, and nothing that blocks when it is opened.
pub fn open_folder(dir: &Path) -> std::io::Result<File> {
    use rustix::fs::OFlags;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(dir)
}

/// Locks it; false when a shim has it.
pub fn try_lock(folder: &File) -> std::io::Result<bool> {
    for _ in 0..LOCK_TRIES {
        match folder.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// Processes whose environment carries this mark, or one that begins with it.
pub fn marked(all: &proc::Processes, mark: &str) -> Vec<proc::Stat> {
    let is_ours = |stat: &&proc::Stat| {
        !stat.is_dead() && proc::environ(stat.pid, RUN_ENV).is_some_and(|found| found.starts_with(mark))
    };
    all.values().filter(is_ours).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_pid_start_and_boot() {
        let process = Process { pid: 7, start: 99 };
        let text = handle(process, "a-b.c");
        assert_eq!(text, "7.99.a-b.c");
        assert_eq!(parse_handle(&text), Some((process, "a-b.c".to_owned())));
        for bad in ["", "7", "7.99", "x.99.b", "7.y.b", "-.1.b"] {
            assert_eq!(parse_handle(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_of_another_run_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), EXIT, &ExitFact { v: 1, number: 3, status: Some(0), ..ExitFact::default() })
            .unwrap();
        assert_eq!(exit(dir.path(), 3).and_then(|fact| fact.exit()), Some(Exit::Status(0)));
        assert_eq!(exit(dir.path(), 4), None);
        for bytes in ["", "{", "[]", "null", "\u{0}\u{0}"] {
            std::fs::write(dir.path().join(EXIT), bytes).unwrap();
            assert_eq!(exit(dir.path(), 3), None, "{bytes:?}");
        }
    }
}

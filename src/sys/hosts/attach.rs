//! Somebody else's process: watched by its pid, or by the pid that a file names; never started, never started again.
//!
//! A pid alone is no identity: the start time says whether it still is the one that was watched, and a pid file that is
//! older than the process it names is a stale one. The exit status of a process that is not our child is known only while
//! it is a zombie.
//!
//! Deliberately not here: its log (it is followed as any other, from its end), and whether it may be ended.

use super::records;
use crate::base::time::Wall;
use crate::model::process::{RunId, RunSeen};
use crate::model::seen::Process;
use crate::sys::files::read_bounded;
use crate::sys::{clock, proc};
use std::path::Path;

/// Largest pid file.
const PID_FILE_MAX: u64 = 4096;
/// A process may be so much older by the clock than it says: its start is counted in ticks since a boot whose time is
/// whole seconds, milliseconds.
const CLOCK_SLACK_MS: i64 = 3000;

/// What a pid file says.
enum Named {
    Missing,
    Unreadable(String),
    Pid { pid: i32, written: Option<Wall> },
}

/// How the watched process stands.
pub fn observe(pid: Option<i32>, pid_file: Option<&Path>, known: &RunId, boot: &str) -> RunSeen {
    let before = records::parse_handle(&known.handle);
    if let Some((_, then)) = &before
        && then != boot
        && pid_file.is_none()
    {
        return ended(known, "the machine was restarted");
    }
    let before = before.filter(|(_, then)| then == boot).map(|(process, _)| process);
    let named = match (pid_file, pid) {
        (Some(path), _) => read(path),
        (None, Some(pid)) => Named::Pid { pid, written: None },
        (None, None) => Named::Missing,
    };
    match named {
        Named::Pid { pid, written } => match proc::stat(pid) {
            Some(stat) if is_meant(&stat, before, written, pid_file.is_some()) => {
                at_pid(&stat, before, known, boot)
            }
            // Its pid is free, or another's.
            Some(_) | None => by_memory(before, known, boot, "its process is gone"),
        },
        // A program that ends removes its pid file, and one that lives may have lost it.
        Named::Missing => by_memory(before, known, boot, "its pid file is gone, and so is its process"),
        Named::Unreadable(why) => match by_memory(before, known, boot, "") {
            alive @ RunSeen::Alive { .. } => alive,
            RunSeen::Unknown { .. } | RunSeen::Absent | RunSeen::Pending { .. } | RunSeen::Ended { .. } => {
                RunSeen::Unknown { why }
            }
        },
    }
}

fn read(path: &Path) -> Named {
    let bytes = match read_bounded(path, PID_FILE_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Named::Missing,
        Err(error) => return Named::Unreadable(format!("its pid file: {}", error.message())),
    };
    let written = std::fs::metadata(path).and_then(|meta| meta.modified()).ok().map(clock::from_system);
    let text = String::from_utf8_lossy(&bytes);
    match text.split_whitespace().next().map(str::parse::<i32>) {
        Some(Ok(pid)) if pid > 1 => Named::Pid { pid, written },
        // Just being written.
        Some(_) | None => Named::Unreadable("its pid file holds no pid".to_owned()),
    }
}

/// Is this the process that is meant, and not one that got its pid later?
fn is_meant(stat: &proc::Stat, before: Option<Process>, written: Option<Wall>, by_file: bool) -> bool {
    if before == Some(Process { pid: stat.pid, start: stat.start }) {
        return true;
    }
    match (by_file, before) {
        // A file that was written after the process began names it; what began later only bears its number.
        (true, _) => match (written, began(stat)) {
            (Some(written), Some(began)) => began.0 <= written.0.saturating_add(CLOCK_SLACK_MS),
            (_, _) => before.is_none(),
        },
        (false, Some(_)) => false,
        (false, None) => !stat.is_dead(),
    }
}

/// When it was started, by the wall clock.
pub(super) fn began(stat: &proc::Stat) -> Option<Wall> {
    let boot = proc::boot_time_s()?.saturating_mul(1000);
    let ticks = stat.start.saturating_mul(1000) / proc::ticks_per_s();
    Some(Wall(boot.saturating_add(i64::try_from(ticks).ok()?)))
}

/// The process that stands at the pid, zombies included.
fn at_pid(stat: &proc::Stat, before: Option<Process>, known: &RunId, boot: &str) -> RunSeen {
    let process = Process { pid: stat.pid, start: stat.start };
    let same = before == Some(process);
    // Another process than before is another run, which somebody else started.
    let number = if same { known.number } else { known.number.saturating_add(1) };
    let id = RunId { number, handle: records::handle(process, boot) };
    if stat.is_dead() {
        let exit = proc::zombie_exit(stat.pid);
        return RunSeen::Ended { id, exit, out_of_memory: false, at: None, note: None };
    }
    RunSeen::Alive { id, process: Some(process), since: began(stat), suspended: stat.state == 'T' }
}

/// What is known of the process that was watched before.
fn by_memory(before: Option<Process>, known: &RunId, boot: &str, gone: &str) -> RunSeen {
    let Some(process) = before else {
        return match known.handle.is_empty() {
            true => RunSeen::Absent,
            false => ended(known, "the machine was restarted"),
        };
    };
    match proc::stat(process.pid).filter(|stat| stat.start == process.start) {
        Some(stat) => at_pid(&stat, before, known, boot),
        None => ended(known, &format!("{gone}; the exit status of somebody else's process is not known")),
    }
}

fn ended(known: &RunId, note: &str) -> RunSeen {
    RunSeen::Ended {
        id: known.clone(),
        exit: None,
        out_of_memory: false,
        at: None,
        note: Some(note.to_owned()),
    }
}

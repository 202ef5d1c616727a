//! Local processes, seen and ordered from the watchdog's side: the order is written, the lock handed to a shim; a look reads
//! the run's files, asks the lock and `/proc`.
//!
//! Deliberately not here: what runs in the shim (`shim`), signals (they are the same for every process).

use super::records::{self, Child, LAUNCH, LOG, Order};
use super::rotate;
use crate::base::error::{Error, Result};
use crate::model::process::{ProcessLaunch, RunId, RunSeen};
use crate::model::seen::{Exit, Process};
use crate::sys::files::make_dir;
use crate::sys::{clock, exe, proc};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts a process through a shim; the shim, to be waited for in the end. None = this very run was started before, or its
/// start is under way. An order that never became a process is carried out now.
pub fn start(state_dir: &Path, launch: &ProcessLaunch) -> Result<Option<std::process::Child>> {
    start_with(&exe::Binary::running()?.program(), state_dir, launch)
}

/// The same with that binary as the shim.
pub fn start_with(
    binary: &Path,
    state_dir: &Path,
    launch: &ProcessLaunch,
) -> Result<Option<std::process::Child>> {
    let dir = records::unit_dir(state_dir, launch.unit.as_str());
    make_dir(&dir)?;
    let opened = records::open_folder(&dir);
    let folder = opened.map_err(|error| Error::from(error).at(&dir).doing("opening the unit's folder"))?;
    let ordered = records::order(&dir).map(|order| order.number);
    if ordered == Some(launch.number) && began(&dir, launch.number) {
        return Ok(None);
    }
    let locked = records::try_lock(&folder).map_err(|error| Error::from(error).at(&dir).doing("locking"))?;
    match (locked, ordered) {
        (true, _) => {}
        (false, Some(ordered)) if ordered == launch.number => return Ok(None),
        (false, ordered) => return Err(Error::again(format!("run {} is not over", ordered.unwrap_or(0)))),
    }
    // Looked at once more under the lock: what stands there now stays.
    let ordered = records::order(&dir).map_or(0, |order| order.number);
    if ordered == launch.number && began(&dir, launch.number) {
        return Ok(None);
    }
    if ordered > launch.number {
        return Err(Error::again(format!("run {ordered} was ordered already, {} is older", launch.number)));
    }
    if let Some(other) = survivor(state_dir, &dir, launch.unit.as_str()) {
        return Err(Error::again(format!("a process of it still lives, pid {}", other.pid)));
    }
    rotate::at_start(&dir, launch.log_max)?;
    make_room(&dir)?;
    if records::exit(&dir, launch.number).is_some() {
        // Of the try before, which became no process.
        std::fs::remove_file(dir.join(records::EXIT))?;
    }
    records::write(&dir, LAUNCH, &Order { v: 1, at: clock::wall(), launch: launch.clone() })?;
    let spawned = Command::new(binary)
        .args(["shim".as_ref(), dir.as_os_str()])
        .stdin(Stdio::from(folder))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    spawned.map(Some).map_err(|error| {
        // Nothing was ordered.
        let _ = std::fs::remove_file(dir.join(LAUNCH));
        Error::from(error).doing("starting the shim")
    })
}

/// The run became a process, or its program could not be run.
fn began(dir: &Path, number: u64) -> bool {
    records::child(dir, number).is_some() || records::exit(dir, number).is_some_and(|e| e.exit().is_some())
}

/// What stands in the way of the run's files is put aside.
fn make_room(dir: &Path) -> Result<()> {
    let Some(root) = dir.parent().and_then(Path::parent) else { return Ok(()) };
    for name in [LAUNCH, records::CHILD, records::EXIT, LOG] {
        let path = dir.join(name);
        if let (Some(_), Ok(relative)) = (crate::sys::files::not_regular(&path), path.strip_prefix(root)) {
            crate::sys::quarantine::quarantine(root, &relative.to_string_lossy(), &path)?;
        }
    }
    Ok(())
}

/// A main process of an earlier run that lives on: by its record, or, when that is lost, by its environment.
fn survivor(state_dir: &Path, dir: &Path, unit: &str) -> Option<Process> {
    match records::read::<Child>(dir, records::CHILD) {
        Some(child) => Some(child.process()).filter(|_| child.is_alive(&boot())),
        None => unrecorded(state_dir, unit, "").map(|(process, _)| process),
    }
}

/// The oldest leader of a session that carries the unit's mark, and its run's number. The unit's run when its record is lost.
fn unrecorded(state_dir: &Path, unit: &str, number: &str) -> Option<(Process, u64)> {
    let mark = format!("{}/{unit}/{number}", records::owner(state_dir));
    // A child that waits to be written down leads no session yet, and ends by itself when it never is.
    let leaders = records::marked(&proc::all(), &mark).into_iter().filter(|stat| stat.session == stat.pid);
    let oldest = leaders.min_by_key(|stat| (stat.start, stat.pid))?;
    let value = proc::environ(oldest.pid, records::RUN_ENV)?;
    let number = value.rsplit('/').next()?.parse().ok()?;
    Some((Process { pid: oldest.pid, start: oldest.start }, number))
}

fn boot() -> String {
    clock::Clock::new().now().boot
}

/// How the unit's run stands.
pub fn observe(state_dir: &Path, unit: &str, known: &RunId, boot: &str) -> RunSeen {
    let dir = records::unit_dir(state_dir, unit);
    // The lock first: once it is free the files are final.
    let held = match records::open_folder(&dir).map(|folder| is_held(&folder)) {
        Ok(Ok(held)) => held,
        Ok(Err(error)) => return unknown(&format!("its lock can't be asked: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return unknown(&format!("its folder can't be opened: {error}")),
    };
    let Some(order) = records::order(&dir) else {
        return match held {
            true => unknown("its order can't be read"),
            false => without_order(state_dir, unit, known, boot),
        };
    };
    let id = RunId { number: order.number, handle: String::new() };
    let exit = records::exit(&dir, order.number);
    match records::child(&dir, order.number) {
        Some(child) => {
            let id = RunId { handle: child.handle(), ..id };
            match exit {
                Some(exit) => ended(id, &exit),
                None => judge(id, &child, held, boot),
            }
        }
        None => match (exit, held) {
            (Some(exit), _) => ended(id, &exit),
            (None, true) => RunSeen::Pending { id, why: "its start is under way".to_owned() },
            (None, false) => without_child(state_dir, unit, id, boot),
        },
    }
}

/// Somebody else has the lock.
fn is_held(folder: &File) -> std::io::Result<bool> {
    match folder.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

fn unknown(why: &str) -> RunSeen {
    RunSeen::Unknown { why: why.to_lowercase() }
}

fn ended(id: RunId, exit: &records::ExitFact) -> RunSeen {
    RunSeen::Ended {
        id,
        exit: exit.exit(),
        out_of_memory: exit.out_of_memory,
        at: Some(exit.at),
        note: exit.note.clone(),
    }
}

fn ended_unseen(id: RunId, exit: Option<Exit>, note: &str) -> RunSeen {
    RunSeen::Ended { id, exit, out_of_memory: false, at: None, note: Some(note.to_owned()) }
}

fn judge(id: RunId, child: &Child, held: bool, boot: &str) -> RunSeen {
    if child.boot != boot {
        return ended_unseen(id, None, "the machine was restarted");
    }
    match child.stat(boot) {
        Some(stat) if !stat.is_dead() => alive(id, &stat, Some(child.since)),
        // Its shim waits for it, and writes down the end.
        Some(_) | None if held => unknown("its end is being written down"),
        Some(_) => {
            ended_unseen(id, proc::zombie_exit(child.pid), "its shim was killed before it could see the end")
        }
        None => {
            ended_unseen(id, None, "nobody saw how it ended: its shim was killed, or could not write it down")
        }
    }
}

fn alive(id: RunId, stat: &proc::Stat, since: Option<crate::base::time::Wall>) -> RunSeen {
    let process = Some(Process { pid: stat.pid, start: stat.start });
    RunSeen::Alive { id, process, since, suspended: stat.state == 'T' }
}

/// An order without a child: the start did not happen, or its record is lost.
fn without_child(state_dir: &Path, unit: &str, id: RunId, boot: &str) -> RunSeen {
    let number = id.number.to_string();
    match unrecorded(state_dir, unit, &number).filter(|(_, found)| *found == id.number) {
        Some((process, _)) => revived(id.number, process, boot),
        None => ended_unseen(id, None, "the start did not happen: the shim was killed before it"),
    }
}

/// No order can be read. When runs are known of, one may still live.
fn without_order(state_dir: &Path, unit: &str, known: &RunId, boot: &str) -> RunSeen {
    if known.number == 0 {
        return RunSeen::Absent;
    }
    match unrecorded(state_dir, unit, "") {
        Some((process, number)) => revived(number, process, boot),
        None => RunSeen::Absent,
    }
}

fn revived(number: u64, process: Process, boot: &str) -> RunSeen {
    let id = RunId { number, handle: records::handle(process, boot) };
    match proc::stat(process.pid).filter(|stat| stat.start == process.start && !stat.is_dead()) {
        Some(stat) => alive(id, &stat, None),
        None => ended_unseen(id, None, "its record was lost"),
    }
}

/// What is left of a run whose own process is gone: members of its session that carry its mark, deepest first.
pub fn leftovers(
    state_dir: &Path,
    unit: &str,
    run: &RunId,
    all: &proc::Processes,
    boot: &str,
) -> Vec<Process> {
    let Some((main, _)) = records::parse_handle(&run.handle).filter(|(_, then)| then == boot) else {
        return Vec::new();
    };
    if all.get(&main.pid).is_some_and(|stat| !stat.is_dead()) {
        // It lives, or its pid is another's by now.
        return Vec::new();
    }
    let mark = records::mark(state_dir, unit, run.number);
    let ours: proc::Processes = all
        .iter()
        .filter(|(_, stat)| stat.session == main.pid && stat.start >= main.start && !stat.is_dead())
        .filter(|(pid, _)| proc::environ(**pid, records::RUN_ENV).as_deref() == Some(mark.as_str()))
        .map(|(pid, stat)| (*pid, stat.clone()))
        .collect();
    let depth = |stat: &proc::Stat| {
        let parents = std::iter::successors(Some(stat), |stat| ours.get(&stat.parent));
        parents.take(ours.len() + 1).count()
    };
    let mut order: Vec<&proc::Stat> = ours.values().collect();
    order.sort_by_key(|stat| std::cmp::Reverse((depth(stat), stat.pid)));
    order.into_iter().map(|stat| Process { pid: stat.pid, start: stat.start }).collect()
}

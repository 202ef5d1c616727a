//! Local processes, seen and ordered from the watchdog's side: the order is written, the lock handed to a shim; a look reads
//! the run's files, asks the lock and `/proc`.
//!
//! Deliberately not here: what runs in the shim (`shim`), signals (they are the same for every process).

use super::proof::{self, Found};
use super::records::{self, Child, LAUNCH, LOG, Order};
use super::rotate;
use crate::base::error::{Error, Result};
use crate::model::process::{ProcessLaunch, RunId, RunSeen};
use crate::model::seen::{Exit, Process};
use crate::sys::files::make_dir;
use crate::sys::job_rest::unmark;
use crate::sys::{clock, proc};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

/// Times that a lock is tried for while a shim whose run is over still has it: each takes some 20 ms.
const LEAVING_TRIES: u32 = 50;

/// Starts a process through a shim; the shim, to be waited for in the end. None = this very run was started before, or its
/// start is under way. An order that never became a process is carried out now. `binary` is the shim.
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
    let over = ordered.is_some_and(|number| records::exit(&dir, number).is_some());
    let mut locked = false;
    // A shim that wrote down the end is about to go.
    for _ in 0..if over { LEAVING_TRIES } else { 1 } {
        locked = records::try_lock(&folder).map_err(|error| Error::from(error).at(&dir).doing("locking"))?;
        if locked {
            break;
        }
    }
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
    if let Some(why) = survivor(state_dir, &dir, launch.unit.as_str()) {
        return Err(Error::again(why));
    }
    rotate::at_start(&dir, launch.log_max)?;
    make_room(&dir)?;
    if records::exit(&dir, launch.number).is_some() {
        // Of the try before, which became no process.
        std::fs::remove_file(dir.join(records::EXIT))?;
    }
    records::write(&dir, LAUNCH, &Order { v: 1, at: clock::wall(), launch: launch.clone() })?;
    let mut shim = Command::new(binary);
    shim.args(["shim".as_ref(), dir.as_os_str()]);
    unmark(&mut shim).stdin(Stdio::from(folder)).stdout(Stdio::null()).stderr(Stdio::null());
    let spawned = shim.spawn();
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

/// A main process of an earlier run that lives on, in words: by its record, or, when that is lost, by its environment.
fn survivor(state_dir: &Path, dir: &Path, unit: &str) -> Option<String> {
    let lives = |pid: i32| format!("a process of it still lives, pid {pid}");
    match records::read::<Child>(dir, records::CHILD) {
        Some(child) => Some(lives(child.pid)).filter(|_| child.is_alive(&boot())),
        None => match proof::find(state_dir, unit, None) {
            Found::Nothing => None,
            Found::Main { process, .. } => Some(lives(process.pid)),
            Found::Doubtful { pid } => Some(doubtful(pid)),
        },
    }
}

fn doubtful(pid: i32) -> String {
    format!(
        "its records are lost, and pid {pid}, which carries its mark, may be its run or what a run left behind; `kill {pid}` \
         when it is not wanted"
    )
}

fn boot() -> String {
    clock::Clock::new().now().boot
}

/// How the unit's run stands.
pub fn observe(state_dir: &Path, unit: &str, known: &RunId, boot: &str) -> RunSeen {
    look(state_dir, unit, known, boot, &mut Odd::default())
}

/// What is odd about the records of a run.
#[derive(Debug, Default)]
pub struct Odd {
    /// These can't be read.
    pub damage: Vec<records::Damage>,
    /// They are lost; which process was taken for the run, and why.
    pub taken: Option<String>,
}

/// The same; records that can't be read are noted. Without them a run is known by what the watchdog remembers of it and by
/// its environment.
pub fn look(state_dir: &Path, unit: &str, known: &RunId, boot: &str, odd: &mut Odd) -> RunSeen {
    let dir = records::unit_dir(state_dir, unit);
    // The lock first: once it is free the files are final.
    let held = match records::open_folder(&dir).map(|folder| is_held(&folder)) {
        Ok(Ok(held)) => held,
        Ok(Err(error)) => return unknown(&format!("its lock can't be asked: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return unknown(&format!("its folder can't be opened: {error}")),
    };
    let damage = &mut odd.damage;
    let order = records::take::<Order>(&dir, LAUNCH, damage).map(|order| order.launch.number);
    let child = records::take::<Child>(&dir, records::CHILD, damage);
    let exit = records::take::<records::ExitFact>(&dir, records::EXIT, damage);
    let named = child.as_ref().map(|child| child.number).max(exit.as_ref().map(|exit| exit.number));
    let Some(number) = order.or_else(|| named.max(Some(known.number)).filter(|number| *number > 0)) else {
        return nameless(state_dir, unit, held, boot, &mut odd.taken);
    };
    let child = child.filter(|child| child.number == number);
    let handle = if known.number == number { known.handle.clone() } else { String::new() };
    let id = RunId { number, handle: child.as_ref().map_or(handle, Child::handle) };
    match (exit.filter(|exit| exit.number == number), child) {
        (Some(exit), _) => ended(id, &exit),
        (None, Some(child)) => judge(id, &child, held, boot),
        (None, None) => match remembered(&id, held, boot) {
            Some(seen) => seen,
            None => {
                let left = Left { held, ordered: order.is_some() };
                without_child(state_dir, unit, id, &left, boot, &mut odd.taken)
            }
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
    let since = since.or_else(|| super::attach::began(stat));
    RunSeen::Alive { id, process, since, suspended: stat.state == 'T' }
}

/// What is there of a run without a child's record.
struct Left {
    /// Somebody has the lock.
    held: bool,
    /// Its order can be read.
    ordered: bool,
}

/// A run without a child's record: its start is under way or did not happen, or the record is lost.
fn without_child(
    state_dir: &Path,
    unit: &str,
    id: RunId,
    left: &Left,
    boot: &str,
    taken: &mut Option<String>,
) -> RunSeen {
    let Left { held, ordered } = *left;
    match (proof::find(state_dir, unit, Some(id.number).filter(|_| ordered)), held, ordered) {
        (Found::Main { process, number, why }, _, _) => revived(number, process, why, boot, taken),
        (Found::Doubtful { pid }, _, _) => RunSeen::Unknown { why: doubtful(pid) },
        (Found::Nothing, true, true) => {
            let why = "its start is under way".to_owned();
            RunSeen::Pending { id, why, held: None }
        }
        (Found::Nothing, true, false) => unknown("its order can't be read"),
        (Found::Nothing, false, true) => {
            ended_unseen(id, None, "the start did not happen: the shim was killed before it")
        }
        (Found::Nothing, false, false) => RunSeen::Absent,
    }
}

/// The process that the watchdog saw this run to be; None when it saw none.
fn remembered(id: &RunId, held: bool, boot: &str) -> Option<RunSeen> {
    let (process, then) = records::parse_handle(&id.handle)?;
    if then != boot {
        return Some(ended_unseen(id.clone(), None, "the machine was restarted"));
    }
    let stat = proc::stat(process.pid).filter(|stat| stat.start == process.start);
    Some(match stat {
        Some(stat) if !stat.is_dead() => alive(id.clone(), &stat, None),
        Some(_) | None if held => unknown("its end is being written down"),
        Some(_) => ended_unseen(id.clone(), proc::zombie_exit(process.pid), "its record was lost"),
        None => ended_unseen(id.clone(), None, "its record was lost"),
    })
}

/// Nothing names a run. While somebody holds the unit there is one.
fn nameless(state_dir: &Path, unit: &str, held: bool, boot: &str, taken: &mut Option<String>) -> RunSeen {
    if !held {
        return RunSeen::Absent;
    }
    match proof::find(state_dir, unit, None) {
        Found::Main { process, number, why } => revived(number, process, why, boot, taken),
        Found::Doubtful { pid } => RunSeen::Unknown { why: doubtful(pid) },
        Found::Nothing => unknown("its order can't be read"),
    }
}

fn revived(number: u64, process: Process, why: &str, boot: &str, taken: &mut Option<String>) -> RunSeen {
    let id = RunId { number, handle: records::handle(process, boot) };
    match proc::stat(process.pid).filter(|stat| stat.start == process.start && !stat.is_dead()) {
        Some(stat) => {
            let pid = process.pid;
            *taken = Some(format!("its records are lost; pid {pid} is taken for its run {number}: {why}"));
            alive(id, &stat, None)
        }
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

//! Which of the processes that carry a run's mark is the run itself, when its records are lost. All that it starts carries the
//! mark, too, and a daemon that it left behind leads a session as it does.
//!
//! The proof: the child writes its own pid and start into the environment that its program gets, and nobody else has that pid;
//! or its parent is the unit's shim, which has but one child. What has neither was started by an earlier version, or cleaned its
//! environment: that is no proof of anything, and nobody guesses.
//!
//! Deliberately not here: what is done about it (`local`).

use super::records::{self, MAIN_ENV, RUN_ENV};
use crate::model::seen::Process;
use crate::sys::proc::{self, Processes, Stat};
use std::path::Path;

/// What was found of a run without records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// This is it, and how that is known.
    Main {
        process: Process,
        number: u64,
        why: &'static str,
    },
    /// It may be the run, or what a run left behind.
    Doubtful {
        pid: i32,
    },
}

/// What a child writes into the environment of its program.
pub(super) fn own_mark() -> Option<String> {
    let pid = crate::sys::outside::pid().cast_signed();
    Some(mark(Process { pid, start: proc::start(pid)? }))
}

fn mark(process: Process) -> String {
    format!("{}.{}", process.pid, process.start)
}

/// Looks for the unit's run; of that number, if one is named.
pub(super) fn find(state_dir: &Path, unit: &str, number: Option<u64>) -> Found {
    let all = proc::all();
    let any = format!("{}/{unit}/", records::owner(state_dir));
    let dir = records::unit_dir(state_dir, unit);
    // A child that waits to be written down leads no session yet, and ends by itself when it never is.
    let mut leaders: Vec<(Stat, u64)> = records::marked(&all, &any)
        .into_iter()
        .filter(|stat| stat.session == stat.pid)
        .filter_map(|stat| Some((run_of(stat.pid)?, stat)))
        .filter(|(found, _)| number.is_none_or(|number| number == *found))
        .map(|(found, stat)| (stat, found))
        .collect();
    leaders.sort_by_key(|(stat, _)| (stat.start, stat.pid));
    let mut doubtful = None;
    for (stat, number) in &leaders {
        let process = Process { pid: stat.pid, start: stat.start };
        let written = proc::environ(stat.pid, MAIN_ENV);
        let why = match &written {
            Some(written) if *written == mark(process) => Some("its environment names it as the one"),
            Some(_) => continue,
            None => is_by_shim(&all, stat, &dir).then_some("it is the child of the unit's shim"),
        };
        match why {
            Some(why) => return Found::Main { process, number: *number, why },
            None => doubtful = doubtful.or(Some(stat.pid)),
        }
    }
    doubtful.map_or(Found::Nothing, |pid| Found::Doubtful { pid })
}

/// The number of the run whose mark a process carries.
fn run_of(pid: i32) -> Option<u64> {
    proc::environ(pid, RUN_ENV)?.rsplit('/').next()?.parse().ok()
}

/// Its parent is a shim of this unit: `watchkeeper shim DIR`.
fn is_by_shim(all: &Processes, stat: &Stat, dir: &Path) -> bool {
    let argv = all.get(&stat.parent).map(|parent| proc::argv(parent.pid)).unwrap_or_default();
    matches!(argv.as_slice(), [_, word, folder] if word == "shim" && Path::new(folder) == dir)
}

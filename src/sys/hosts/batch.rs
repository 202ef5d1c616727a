//! Stands between Slurm and the program of a job, on the job's node: the exit is written into the unit's folder, for Slurm
//! forgets it after MinJobAge where nothing is accounted. It ends as its program ended, so that Slurm sees the same.
//!
//! TERM is not handed on: Slurm sends it to all processes of a job. Other signals may be meant for the batch script alone
//! (`--signal=B:USR1@60`), which is us, and are.
//!
//! Deliberately not here: the job's order (`slurm`). A node that does not know our binary runs the program without this.

use super::records::{self, EXIT, ExitFact};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use crate::sys::{clock, env};
use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

/// The word before all that on our own command line.
pub const BATCH_WORD: &str = "batch";
/// The status of a program that could not be started, as shells have it.
const NOT_STARTED: u8 = 127;

/// `job.restarts` of the job that we are part of.
fn handle() -> String {
    let of = |name: &str| env::var(name).unwrap_or_default();
    let restarts = of("SLURM_RESTART_COUNT");
    format!("{}.{}", of("SLURM_JOB_ID"), if restarts.is_empty() { "0" } else { restarts.as_str() })
}

/// Runs a program to its end. `words` = our binary, the unit's folder, the number of the run, the argv.
pub fn run(words: &[OsString]) -> Result<ExitCode> {
    let [_, dir, number, program, args @ ..] = words else {
        return Err(Error::usage("`shim batch` is not for people"));
    };
    let number = number.to_str().and_then(|text| text.parse().ok());
    let number: u64 = number.ok_or_else(|| Error::usage("`shim batch` needs the number of the run"))?;
    let heard = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    let mut signals = Signals::new(heard)?;
    let fact = ExitFact { v: 1, number, handle: handle(), ..ExitFact::default() };
    let dir = Path::new(dir);
    // What can't be written Slurm alone knows, as it did before. A node that was lost may have given way to a later life.
    let write = |fact: ExitFact| {
        if !is_followed(dir, &fact) {
            let _ = records::write(dir, EXIT, &ExitFact { at: clock::wall(), ..fact });
        }
    };
    // Of an earlier life: this one has not ended.
    if records::exit(dir, number).is_some_and(|old| !is_later(&old.handle, &fact.handle)) {
        let _ = std::fs::remove_file(dir.join(EXIT));
    }
    let mut child = match Command::new(program).args(args).spawn() {
        Ok(child) => child,
        Err(error) => {
            let why = Error::from(error).doing(format!("starting `{}`", program.to_string_lossy()));
            let note = Some(one_line(&why.message(), 600));
            write(ExitFact { status: Some(i32::from(NOT_STARTED)), note, ..fact });
            return Err(why);
        }
    };
    let pid = child.id().cast_signed();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        for signal in signals.wait() {
            if signal != SIGCHLD && signal != SIGTERM && child.try_wait()?.is_none() {
                let _ =
                    Pid::from_raw(pid).zip(Signal::from_named_raw(signal)).map(|(p, s)| kill_process(p, s));
            }
        }
    };
    let (core, signal) = (status.core_dumped(), status.signal());
    write(ExitFact { status: status.code(), signal, core, ..fact });
    Ok(as_it(status))
}

/// The exit of a later run, or of a later life of this one, stands there.
fn is_followed(dir: &Path, fact: &ExitFact) -> bool {
    let old = records::read::<ExitFact>(dir, EXIT);
    old.is_some_and(|old| {
        old.number > fact.number || old.number == fact.number && is_later(&old.handle, &fact.handle)
    })
}

/// Of two lives of one job (`job.restarts`): is the one later than the other?
pub fn is_later(one: &str, other: &str) -> bool {
    let life = |handle: &str| {
        let (job, restarts) = handle.split_once('.')?;
        Some((job.parse::<u64>().ok()?, restarts.parse::<u64>().ok()?))
    };
    matches!((life(one), life(other)), (Some(one), Some(other)) if one.0 == other.0 && one.1 > other.1)
}

/// Ends as it did.
fn as_it(status: ExitStatus) -> ExitCode {
    let Some(number) = status.signal() else {
        return ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1));
    };
    // One core is enough.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // The standard library's own handler of some signals goes at the first one.
    for _ in 0..3 {
        let _ = signal_hook::low_level::emulate_default_handler(number);
        let _ = Signal::from_named_raw(number).map(|signal| kill_process(getpid(), signal));
        std::thread::sleep(Duration::from_millis(10));
    }
    ExitCode::from(u8::try_from(128 + number).unwrap_or(255))
}

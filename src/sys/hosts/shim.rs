//! The shim: a process between the watchdog and a local child. It outlives the watchdog, knows the child's exit status, and
//! holds the unit's lock as long as the child runs, so that there is no second one.
//!
//! No child runs that nobody knows. The child is first our own binary and waits on a socket; only when `child.json` names it
//! does the shim let it become the program. If the shim dies before that, the socket ends and so does the child.
//! The child writes straight into `out.log`: no pipe hangs between it and anybody, and the shim may die.
//!
//! Deliberately not here: who may be started when (`local`), what an exit means (`policy`).

use super::records::{self, CHILD, Child, EXIT, ExitFact, LOG, MAIN_ENV, RUN_ENV};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use crate::model::process::ProcessLaunch;
use crate::sys::files::{make_dir, write_plain};
use crate::sys::{clock, proc};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The word before a child's directory and argv on our own command line.
pub const CHILD_WORD: &str = "child";
/// Exit status of a child that could not become its program, as shells have it.
const NOT_STARTED: u8 = 127;
/// Longest word of a child on why it could not become its program, bytes.
const WHY_MAX: u64 = 4096;
/// An exit that can't be written (a full disk) is tried again so often …
const WRITES_MAX: u32 = 600;
/// … after this time each.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// Runs the ordered process of a unit's folder to its end. Standard input is the folder, locked.
pub fn run(dir: &Path) -> Result<()> {
    // A session of our own: what ends the watchdog's terminal does not end us.
    let _ = rustix::process::setsid();
    outlive_signals();
    let _lock = lock_of_stdin(dir)?;
    let launch = records::order(dir).ok_or_else(|| Error::again("there is no order").at(dir))?;
    let number = launch.number;
    if records::child(dir, number).is_some() || records::exit(dir, number).is_some() {
        return Ok(());
    }
    let fact = match start(dir, &launch) {
        Ok((child, note)) => wait(child, note),
        Err(error) => ExitFact { note: Some(one_line(&error.message(), 600)), ..ExitFact::default() },
    };
    let fact = ExitFact { v: 1, number, at: clock::wall(), ..fact };
    write_patiently(dir, &fact)?;
    if let Some(state_dir) = dir.parent().and_then(Path::parent) {
        let _ = write_plain(&state_dir.join(crate::state::table::POKE), b"");
    }
    Ok(())
}

/// A session that is ended, or a machine that shuts down, tells every process. The child's end is still ours to write down;
/// KILL ends us all the same.
fn outlive_signals() {
    let heard = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        let _ = signal_hook::flag::register(signal, Arc::clone(&heard));
    }
}

/// The locked folder that came as standard input. Nothing that we start inherits it.
pub(super) fn lock_of_stdin(dir: &Path) -> Result<File> {
    let refused = || Error::usage("`shim` is started by the watchdog, which hands it the unit's lock");
    let folder = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let (ours, there) = (folder.metadata()?, std::fs::metadata(dir)?);
    if !ours.is_dir() || (ours.dev(), ours.ino()) != (there.dev(), there.ino()) || folder.try_lock().is_err()
    {
        return Err(refused().at(dir));
    }
    rustix::stdio::dup2_stdin(&File::open("/dev/null")?).map_err(std::io::Error::from)?;
    Ok(folder)
}

/// Starts the child; what it said when it could not become its program.
fn start(dir: &Path, launch: &ProcessLaunch) -> Result<(std::process::Child, Option<String>)> {
    if launch.argv.is_empty() {
        return Err(Error::usage("the process has no command"));
    }
    let log = open_log(dir)?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut child = command(dir, launch)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|error| Error::from(error).doing("starting the process"))?;
    match record(dir, launch, child.id().cast_signed()) {
        Ok(()) => {}
        Err(error) => {
            // Unknown to others it must not run: it ends when the socket does.
            drop(ours);
            let _ = child.wait();
            return Err(error.doing("writing down the new process"));
        }
    }
    // A child that was killed meanwhile answers nothing, and its exit says the rest.
    let _ = ours.write_all(b"!");
    let mut why = Vec::new();
    let _ = ours.take(WHY_MAX).read_to_end(&mut why);
    let why = one_line(&String::from_utf8_lossy(&why), 600);
    Ok((child, Some(why).filter(|why| !why.is_empty())))
}

/// Our own binary, to become the program.
fn command(dir: &Path, launch: &ProcessLaunch) -> Command {
    let own = Path::new("/proc/self/exe");
    // The link works when the file was replaced or removed meanwhile.
    let own = if own.exists() {
        own.to_owned()
    } else {
        std::env::current_exe().unwrap_or_else(|_| own.to_owned())
    };
    let mut command = Command::new(own);
    command.arg0("watchkeeper").args(["shim", CHILD_WORD]).arg(&launch.dir).args(&launch.argv);
    command.env_remove(crate::sys::lock::LOCK_ENV).envs(&launch.env);
    let unit = launch.unit.as_str();
    command.env("WATCHKEEPER_UNIT", unit).env("WATCHKEEPER_UNIT_DIR", dir);
    if let Some(state_dir) = dir.parent().and_then(Path::parent) {
        command.env(RUN_ENV, records::mark(state_dir, unit, launch.number));
    }
    command
}

/// The log, only appended to: whoever else shortens it from the front or puts it aside takes nothing from the child.
pub(super) fn open_log(dir: &Path) -> Result<File> {
    let path = dir.join(LOG);
    make_dir(dir)?;
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(&path);
    let file = opened.map_err(|error| Error::from(error).at(&path).doing("opening the log"))?;
    match file.metadata()?.is_file() {
        true => {
            // Opened without blocking, written to as usual.
            let plain = rustix::fs::OFlags::APPEND;
            rustix::fs::fcntl_setfl(&file, plain).map_err(std::io::Error::from)?;
            Ok(file)
        }
        false => Err(Error::again("is no regular file").at(&path).doing("opening the log")),
    }
}

fn record(dir: &Path, launch: &ProcessLaunch, pid: i32) -> Result<()> {
    let start = proc::start(pid).ok_or_else(|| Error::again("it is gone already"))?;
    let boot = clock::Clock::new().now().boot;
    let argv = launch.argv.clone();
    let child = Child { v: 1, number: launch.number, pid, start, boot, argv, since: clock::wall() };
    records::write(dir, CHILD, &child)
}

fn wait(mut child: std::process::Child, note: Option<String>) -> ExitFact {
    let pid = child.id();
    match child.wait() {
        Ok(status) => fact(pid, status, note),
        Err(error) => {
            ExitFact { note: Some(format!("waiting for it: {error}").to_lowercase()), ..ExitFact::default() }
        }
    }
}

fn fact(pid: u32, status: ExitStatus, note: Option<String>) -> ExitFact {
    let killed = status.signal() == Some(9);
    ExitFact {
        status: status.code(),
        signal: status.signal(),
        core: status.core_dumped(),
        out_of_memory: killed && kernel_ended(pid),
        note,
        ..ExitFact::default()
    }
}

/// The kernel's own log says that it killed this process for want of memory. Where it may not be read: false.
fn kernel_ended(pid: u32) -> bool {
    use rustix::fs::{Mode, OFlags};
    let Ok(log) = rustix::fs::open("/dev/kmsg", OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) else {
        return false;
    };
    // "Killed process 123 (name) …" of mm/oom_kill.c. A read is one record; the ring has some thousands.
    let words = format!("Killed process {pid} (");
    let mut record = vec![0; 8192];
    for _ in 0..100_000 {
        match rustix::io::read(&log, &mut record) {
            Ok(0) => return false,
            Ok(length) if String::from_utf8_lossy(&record[..length]).contains(&words) => return true,
            // EPIPE: records were overwritten while we read; the next read goes on behind them.
            Ok(_) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    false
}

/// A full disk must not cost the exit status: it is written as soon as there is room.
fn write_patiently(dir: &Path, fact: &ExitFact) -> Result<()> {
    let mut tries = 0;
    loop {
        match records::write(dir, EXIT, fact) {
            Err(_) if tries < WRITES_MAX && dir.is_dir() => std::thread::sleep(WRITE_AGAIN),
            done => return done,
        }
        tries += 1;
    }
}

/// What the child does: waits until it is known, then becomes its program. `words` = directory, then the argv.
pub fn become_child(words: &[OsString]) -> Result<ExitCode> {
    let [dir, program, args @ ..] = words else { return Err(Error::usage("`shim child` is not for people")) };
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut go = [0];
    if !matches!((&socket).read(&mut go), Ok(1)) {
        // The shim is gone and never wrote us down.
        return Ok(ExitCode::from(NOT_STARTED));
    }
    // Only now: who leads a session and carries the mark is written down.
    let _ = rustix::process::setsid();
    let why = exec(&PathBuf::from(dir), program, args);
    let _ = (&socket).write_all(why.message().as_bytes());
    Ok(ExitCode::from(NOT_STARTED))
}

fn exec(dir: &Path, program: &OsString, args: &[OsString]) -> Error {
    if let Err(error) = std::env::set_current_dir(dir) {
        return Error::from(error).at(dir).doing("entering its directory");
    }
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    // What a watchdog further out wrote there is not ours.
    match super::proof::own_mark() {
        Some(mark) => command.env(MAIN_ENV, mark),
        None => command.env_remove(MAIN_ENV),
    };
    let error = command.exec();
    let name = program.to_string_lossy();
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::again(format!("program `{name}` is missing")),
        _ => Error::from(error).doing(format!("starting `{name}`")),
    }
}

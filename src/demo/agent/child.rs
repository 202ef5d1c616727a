//! Child processes and the ways to end: a tool that burns CPU, an orphan, a crash, a shell.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

/// Burns CPU as long as the process in `$1` lives, so that a killed agent leaves no burner behind.
const BURN: &str = "while kill -0 $1 2>/dev/null; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; done";

/// Ignores SIGHUP and ends by itself after ten minutes, so that a forgotten one does no harm.
const ORPHAN: &str = "trap '' HUP; exec sleep 600";

/// A child that burns CPU until it is dropped.
#[derive(Debug)]
pub struct Burner(Child);

impl Burner {
    /// Starts it.
    pub fn start() -> io::Result<Burner> {
        shell(BURN).arg(std::process::id().to_string()).spawn().map(Burner)
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Leaves a child behind in a process group of its own; its pid.
pub fn orphan() -> io::Result<u32> {
    let child = shell(ORPHAN).process_group(0).spawn()?;
    Ok(child.id())
}

/// Becomes an interactive shell; comes back only when there is none.
pub fn become_shell() -> io::Error {
    Command::new("sh").arg("-i").exec()
}

/// Ends as a crash would: 1 = exit status 1, other numbers are signals.
pub fn crash(how: i32) -> ExitCode {
    if how == 1 {
        return ExitCode::from(1);
    }
    // No core file: nobody will look into this crash.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    die_of(how)
}

/// Ends by a signal, handlers or not.
pub fn die_of(signal: i32) -> ExitCode {
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    // Signals whose default is to do nothing come here; 128 + n is how shells say it.
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}

/// `sh -c script sh …` without standard streams.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

//! TERM and KILL for processes that are known by pid and start time: nobody else's process is ever signalled.
//!
//! Deliberately not here: who is to be signalled, and why (policy); signals that reach us (signals).

use super::proc;
use crate::model::action::{Outcome, Signal};
use crate::model::seen::Process;

/// Signals each process that still is the one that was meant; who is gone already is fine.
pub fn send_all(processes: &[Process], signal: Signal) -> Outcome {
    let wrong: Vec<String> = processes
        .iter()
        .filter_map(|p| send(*p, signal).err().map(|why| format!("pid {}: {why}", p.pid)))
        .collect();
    match wrong.is_empty() {
        true => Outcome::Done,
        false => Outcome::Failed { why: wrong.join("; ") },
    }
}

#[cfg(target_os = "linux")]
fn send(process: Process, signal: Signal) -> Result<(), String> {
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, kill_process, pidfd_open, pidfd_send_signal};
    let own = std::process::id().cast_signed();
    // (`from_raw` asserts that it is not negative.)
    let other = Some(process.pid).filter(|pid| *pid > 1 && *pid != own);
    let Some(pid) = other.and_then(Pid::from_raw) else {
        return Err("is never signalled".to_owned());
    };
    let sent = match pidfd_open(pid, PidfdFlags::empty()) {
        // The descriptor first, then the look: whatever the pid means later, the descriptor means this process.
        Ok(_) if proc::start(process.pid) != Some(process.start) => Ok(()),
        Ok(fd) => pidfd_send_signal(fd, number(signal)),
        Err(Errno::NOSYS) if proc::start(process.pid) == Some(process.start) => {
            kill_process(pid, number(signal))
        }
        Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno),
    };
    match sent {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(std::io::Error::from(errno).to_string().to_lowercase()),
    }
}

#[cfg(not(target_os = "linux"))]
fn send(_: Process, _: Signal) -> Result<(), String> {
    // Without /proc a pid is no identity, and what can't be told apart is not killed.
    Err("can't be told from another process with its pid".to_owned())
}

#[cfg(target_os = "linux")]
fn number(signal: Signal) -> rustix::process::Signal {
    match signal {
        Signal::Term => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    fn sleeper() -> (Child, Process) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id().cast_signed();
        (child, Process { pid, start: proc::start(pid).unwrap() })
    }

    #[test]
    fn a_signal_reaches_only_the_process_that_was_meant() {
        let (mut child, process) = sleeper();
        let other = Process { start: process.start + 1, ..process };
        assert_eq!(send_all(&[other], Signal::Kill), Outcome::Done, "its pid belongs to another process now");
        assert_eq!(child.try_wait().unwrap(), None);
        assert_eq!(send_all(&[process], Signal::Term), Outcome::Done);
        let until = Instant::now() + Duration::from_secs(10);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        assert_eq!(send_all(&[process], Signal::Kill), Outcome::Done, "gone is fine");
    }

    #[test]
    fn init_and_ourselves_are_never_signalled() {
        let own = std::process::id().cast_signed();
        for pid in [i32::MIN, -1, 0, 1, own] {
            let start = proc::start(pid).unwrap_or(0);
            assert!(
                matches!(send_all(&[Process { pid, start }], Signal::Kill), Outcome::Failed { .. }),
                "{pid}"
            );
        }
    }
}

//! Signals that wake the loop: TERM, INT, HUP, USR1. A second TERM or INT leaves at once.
//!
//! Deliberately not here: what they mean. Handlers only set a flag and write a byte into a socket pair.

use super::notify::Watches;
use crate::base::error::{Error, Result};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A signal that the loop knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sig {
    /// Finish the tick and leave.
    Term,
    /// The same, from the keyboard.
    Int,
    /// Read the config again.
    Hup,
    /// Tick now.
    Usr1,
}

const KNOWN: [(Sig, i32); 4] =
    [(Sig::Term, SIGTERM), (Sig::Int, SIGINT), (Sig::Hup, SIGHUP), (Sig::Usr1, SIGUSR1)];

/// The registered signals.
#[derive(Debug)]
pub struct Signals {
    woken: UnixStream,
    flags: Vec<(Sig, Arc<AtomicBool>)>,
}

impl Signals {
    /// Registers the handlers. Once per process.
    pub fn register() -> Result<Signals> {
        register().map_err(|e| Error::from(e).doing("registering signal handlers"))
    }

    /// Waits until a signal comes or the time is over; all that came since the last call, each once.
    pub fn wait(&mut self, at_most: Duration) -> Vec<Sig> {
        super::poll_readable(&self.woken, at_most);
        self.came()
    }

    /// The same, ending early when one of the watched folders changed.
    pub fn wait_beside(&mut self, watches: &Watches, at_most: Duration) -> Vec<Sig> {
        super::poll_either(&self.woken, watches, at_most);
        self.came()
    }

    fn came(&mut self) -> Vec<Sig> {
        let mut bytes = [0; 64];
        while matches!(self.woken.read(&mut bytes), Ok(n) if n > 0) {}
        let came = |flag: &AtomicBool| flag.swap(false, Ordering::SeqCst);
        self.flags.iter().filter(|(_, flag)| came(flag)).map(|(sig, _)| *sig).collect()
    }
}

fn register() -> std::io::Result<Signals> {
    let (woken, waker) = UnixStream::pair()?;
    woken.set_nonblocking(true)?;
    let leaving = Arc::new(AtomicBool::new(false));
    let mut flags = Vec::new();
    for (sig, number) in KNOWN {
        if matches!(sig, Sig::Term | Sig::Int) {
            // In this order: the first one arms, the second one finds it armed. 128 + n as shells report it.
            signal_hook::flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&leaving))?;
            signal_hook::flag::register(number, Arc::clone(&leaving))?;
        }
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(number, Arc::clone(&flag))?;
        // After the flag: who is woken finds it set.
        signal_hook::low_level::pipe::register(number, waker.try_clone()?)?;
        flags.push((sig, flag));
    }
    Ok(Signals { woken, flags })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_signal_wakes_the_wait_and_is_told_once() {
        let mut signals = Signals::register().unwrap();
        assert_eq!(signals.wait(Duration::ZERO), []);
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        let began = Instant::now();
        let mut came = signals.wait(Duration::from_secs(30));
        came.extend(signals.wait(Duration::ZERO));
        assert!(began.elapsed() < Duration::from_secs(20));
        assert_eq!(came, [Sig::Hup, Sig::Usr1]);
        let began = Instant::now();
        assert_eq!(signals.wait(Duration::from_millis(30)), []);
        assert!(began.elapsed() >= Duration::from_millis(29));
    }
}

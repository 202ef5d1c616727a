//! The terminal and the signals: raw mode and its undoing, size, waiting, reading, writing.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Size where there is no terminal.
const SIZE_FALLBACK: (usize, usize) = (80, 24);

/// Standard input and output of the agent, raw where they are a terminal. Dropping it restores them.
#[derive(Debug)]
pub struct Terminal {
    /// The modes to go back to; None where standard input is no terminal.
    before: Option<Termios>,
    /// Whether standard output is a terminal.
    screen: Screen,
    wake: UnixStream,
    flags: Vec<(i32, Arc<AtomicBool>)>,
}

/// What standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// A terminal.
    Drawn,
    /// A file or pipe: gets the output's lines, nothing is drawn.
    Plain,
}

/// What ended a wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// Bytes read; `Some` and empty is the end of the input.
    pub bytes: Option<Vec<u8>>,
    /// Signals that came, but SIGWINCH.
    pub signals: Vec<i32>,
}

/// Whether the wait also looks at standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Input and signals.
    Input,
    /// Signals only.
    Signals,
}

impl Terminal {
    /// Takes the terminal over.
    pub fn open() -> io::Result<Terminal> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut flags = Vec::new();
        for signal in [SIGTERM, SIGHUP, SIGINT, SIGWINCH] {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
            flags.push((signal, flag));
        }
        let before = if isatty(io::stdin()) { Some(tcgetattr(io::stdin())?) } else { None };
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        }
        let screen = if isatty(io::stdout()) { Screen::Drawn } else { Screen::Plain };
        Ok(Terminal { before, screen, wake, flags })
    }

    /// Whether a person, or tmux, can type.
    pub fn is_interactive(&self) -> bool {
        self.before.is_some()
    }

    /// What standard output is.
    pub fn screen(&self) -> Screen {
        self.screen
    }

    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            Ok(_) | Err(_) => SIZE_FALLBACK,
        }
    }

    /// Writes all of it. An error means that the terminal is gone.
    pub fn write(&self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Asks for pastes to be marked (DECSET 2004).
    pub fn mark_pastes(&self) -> io::Result<()> {
        if self.screen == Screen::Drawn { self.write("\x1b[?2004h") } else { Ok(()) }
    }

    /// Waits for input or a signal, for ever without a timeout.
    pub fn wait(&mut self, listen: Listen, timeout: Option<Duration>) -> io::Result<Woken> {
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if listen == Listen::Input {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        let bytes = if readable { Some(read_some()?) } else { None };
        let mut scratch = [0; 64];
        while matches!(self.wake.read(&mut scratch), Ok(n) if n > 0) {}
        let came =
            |(signal, flag): &(i32, Arc<AtomicBool>)| flag.swap(false, Ordering::Relaxed).then_some(*signal);
        let signals = self.flags.iter().filter_map(came).filter(|signal| *signal != SIGWINCH).collect();
        Ok(Woken { bytes, signals })
    }

    /// Gives the terminal back as it was; harmless when done twice.
    pub fn restore(&mut self) {
        if self.screen == Screen::Drawn {
            let _ = self.write("\x1b[?2004l\x1b[0m");
        }
        if let Some(before) = self.before.take() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// One read of what is there. A terminal that is gone counts as the end of the input.
fn read_some() -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 64 << 10];
    // Not through `Stdin`: its buffer would hide bytes from the poll.
    match rustix::io::read(io::stdin(), &mut bytes[..]) {
        Ok(n) => {
            bytes.truncate(n);
            Ok(bytes)
        }
        Err(rustix::io::Errno::IO) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

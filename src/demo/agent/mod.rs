//! A scripted agent that looks and behaves like an AI agent's command line: composer, spinner, dialogs, limits,
//! errors, crashes, hangs, all on command (`script.rs` has the words). It plays a foreign program, so it may touch the
//! world itself: the watchdog knows it only through its pane.
//!
//! Deliberately not here: any sense. And nothing of the rest of this program but small helpers for text and time.

mod child;
mod composer;
mod input;
mod keys;
mod options;
mod painter;
mod play;
mod region;
mod script;
mod state;
mod terminal;
mod transcript;
mod turn;
mod worker;

use composer::Message;
use input::Decoder;
use options::{Asked, Options};
use painter::Painter;
use signal_hook::consts::{SIGINT, SIGTERM};
use state::{Agent, Leave};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use terminal::{Listen, Screen, Terminal};
use transcript::Transcript;

/// An ESC that nothing follows within this time was the Escape key.
const ESCAPE_WAIT: Duration = Duration::from_millis(30);
/// Most bytes taken as a prompt from standard input that is no terminal.
const PIPED_MAX: usize = 4 << 20;

/// Runs the demo agent until it ends. `args` are those after `demo-agent`.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let said: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let options = match options::read(args, |name| std::env::var_os(name)) {
        Ok(Asked::Run(options)) => options,
        Ok(Asked::Version) => {
            let _ = writeln!(io::stdout(), "demo agent {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(why) => return failed(&why, 2),
    };
    let (transcript, script) = match prepare(&options, &said) {
        Ok(prepared) => prepared,
        Err(why) => return failed(&why, 2),
    };
    match Terminal::open() {
        Ok(terminal) => {
            let agent = Agent::new(&options, transcript, script, Instant::now());
            Session::new(agent, terminal).run()
        }
        Err(error) => failed(&format!("no terminal: {error}"), 1),
    }
}

/// The transcript with this run's start in it, and this run's script.
fn prepare(options: &Options, args: &[String]) -> Result<(Transcript, Vec<script::Directive>), String> {
    let said = |error: io::Error| format!("opening the transcript: {error}");
    let cwd = std::env::current_dir().unwrap_or_default();
    let session = format!("{}-{}", transcript::wall_now().0, std::process::id());
    let path = options.transcript_of(&cwd, &session);
    let mut transcript = Transcript::open(path.as_deref()).map_err(said)?;
    let script = options.directives(transcript.earlier_runs())?;
    transcript.start(args, &session, &cwd).map_err(said)?;
    Ok((transcript, script))
}

/// The agent at its terminal.
struct Session {
    agent: Agent,
    terminal: Terminal,
    painter: Painter,
    decoder: Decoder,
    /// When the ESC that waits for more was read.
    escape_at: Option<Instant>,
    /// What came through standard input that is no terminal; None once it has ended.
    piped: Option<Vec<u8>>,
    /// Whether pastes are marked already.
    pastes: Pastes,
}

/// Whether the terminal marks pastes for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pastes {
    Raw,
    Marked,
}

impl Session {
    fn new(agent: Agent, terminal: Terminal) -> Session {
        let piped = (!terminal.is_interactive()).then(Vec::new);
        Session {
            agent,
            terminal,
            painter: Painter::default(),
            decoder: Decoder::default(),
            escape_at: None,
            piped,
            pastes: Pastes::Raw,
        }
    }

    fn run(mut self) -> ExitCode {
        let leave = match self.live() {
            Ok(leave) => leave,
            // The terminal is gone, as after a hang-up.
            Err(_) => Leave::Exit(1),
        };
        self.end(leave)
    }

    /// One round after the other: do what is due, draw, wait.
    fn live(&mut self) -> io::Result<Leave> {
        loop {
            let now = Instant::now();
            self.agent.advance(now);
            if let Some(leave) = self.agent.take_leave() {
                return Ok(leave);
            }
            self.draw(now)?;
            let listen = self.listen();
            let woken = self.terminal.wait(listen, self.timeout(now))?;
            for signal in woken.signals {
                if let Some(leave) = self.signalled(signal) {
                    return Ok(leave);
                }
            }
            let now = Instant::now();
            match woken.bytes {
                Some(bytes) if self.terminal.is_interactive() => {
                    if bytes.is_empty() {
                        return Ok(Leave::Exit(0));
                    }
                    self.typed(&bytes, now);
                }
                Some(bytes) => self.gather(&bytes),
                None => self.resolve_escape(now),
            }
        }
    }

    /// Input waits while the agent starts or is frozen, and ends with the pipe.
    fn listen(&mut self) -> Listen {
        let is_ended = !self.terminal.is_interactive() && self.piped.is_none();
        if self.agent.is_starting() || self.agent.is_frozen() || is_ended {
            Listen::Signals
        } else {
            Listen::Input
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let escape = self.escape_at.map(|at| at + ESCAPE_WAIT);
        let due = match (self.agent.next_due(now), escape) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        due.map(|due| due.saturating_duration_since(now))
    }

    fn typed(&mut self, bytes: &[u8], now: Instant) {
        self.resolve_escape(now);
        for key in self.decoder.feed(bytes) {
            self.agent.press(key, now);
            self.agent.advance(now);
        }
        self.escape_at = self.decoder.is_waiting().then_some(now);
    }

    fn resolve_escape(&mut self, now: Instant) {
        if self.escape_at.is_some_and(|at| now.saturating_duration_since(at) >= ESCAPE_WAIT) {
            self.escape_at = None;
            if let Some(key) = self.decoder.timed_out() {
                self.agent.press(key, now);
            }
        }
    }

    /// Standard input is no terminal: all of it is one prompt, after which there is nothing to stay for.
    fn gather(&mut self, bytes: &[u8]) {
        let Some(piped) = &mut self.piped else { return };
        if bytes.is_empty() {
            let text = String::from_utf8_lossy(piped).into_owned();
            self.piped = None;
            self.agent.submit(Message::plain(text));
            self.agent.exit_when_idle();
        } else {
            piped.extend_from_slice(&bytes[..bytes.len().min(PIPED_MAX.saturating_sub(piped.len()))]);
        }
    }

    fn signalled(&mut self, signal: i32) -> Option<Leave> {
        match signal {
            SIGTERM if self.agent.ignores_term() => None,
            SIGINT if !self.agent.is_frozen() => {
                self.agent.press(input::Key::Interrupt, Instant::now());
                None
            }
            other => Some(Leave::Signal(other)),
        }
    }

    fn draw(&mut self, now: Instant) -> io::Result<()> {
        let output = self.agent.take_output();
        if self.terminal.screen() == Screen::Plain {
            return self.terminal.write(&lines(&output));
        }
        let (width, height) = self.terminal.size();
        let region = self.agent.with_view(now, |view| region::lay_out(view, width, height));
        let bytes = self.painter.paint(&output, region, width, self.agent.title());
        self.terminal.write(&bytes)?;
        if self.pastes == Pastes::Raw && !self.agent.is_starting() {
            self.pastes = Pastes::Marked;
            self.terminal.mark_pastes()?;
        }
        Ok(())
    }

    /// Prints what is left to be said, gives the terminal back, and ends.
    fn end(mut self, leave: Leave) -> ExitCode {
        let output = self.agent.take_output();
        let last = match (self.terminal.screen(), &leave) {
            (Screen::Plain, _) => lines(&output),
            // A crash leaves the screen as it was.
            (Screen::Drawn, Leave::Crash(_)) => self.painter.abandon(),
            (Screen::Drawn, _) => self.painter.leave(&output, self.terminal.size().0),
        };
        let _ = self.terminal.write(&last);
        self.terminal.restore();
        // The tool's process, if one runs, ends with the agent's state.
        drop(self.agent);
        match leave {
            Leave::Exit(status) => ExitCode::from(status),
            Leave::Crash(how) => child::crash(how),
            Leave::Signal(signal) => child::die_of(signal),
            Leave::Failed(why) => failed(&why, 1),
            Leave::Shell => failed(&format!("no shell: {}", child::become_shell()), 1),
        }
    }
}

fn lines(output: &[String]) -> String {
    output.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn failed(why: &str, status: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "demo agent: {why}");
    ExitCode::from(status)
}

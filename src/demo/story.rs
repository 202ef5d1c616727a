//! `watchkeeper demo`: a fleet of scripted agents on a tmux server of its own, the real watchdog beside it, and trouble.
//! What happens is told as it happens, in the watchdog's own words; at the end it is checked.
//!
//! Deliberately not here: any knowledge of how the watchdog decides. This reads what an operator can read.

mod cast;
mod judge;
mod plot;
mod sight;
mod stage;
mod tell;

use crate::base::error::Result;
use crate::base::time::Wall;
use crate::sys::exe::Binary;
use crate::sys::{clock, outside};
use plot::Plot;
use sight::Events;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use stage::Stage;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tell::Teller;

/// How often is looked at what happened, seconds.
const LOOK_S: f64 = 0.05;
/// The story ends after so long, whatever is missing, seconds. It usually takes 35.
const STORY_MAX_S: f64 = 55.0;

/// How the story is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The program that is shown; None = this very binary.
    pub binary: Option<PathBuf>,
    /// What becomes of the stage.
    pub after: After,
}

/// What becomes of the folder and the tmux server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// They are torn down.
    #[default]
    TearDown,
    /// They are kept, to look around.
    Keep,
}

/// Tells the story. Exit code 0: everything happened as it should; 1: something is missing, which is said.
pub fn run(out: &mut dyn Write, options: &Options) -> Result<ExitCode> {
    let interrupt = Interrupt::register()?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => Binary::running()?.path,
    };
    let mut stage = Stage::set(binary)?;
    let began = clock::wall();
    let mut teller = Teller::new(out, began);
    teller.opening(&stage)?;
    let interrupted = play(&mut stage, &mut teller, &interrupt, began)?;
    let code = match interrupted {
        Ended::ByItself(plot) => {
            let verdict = judge::judge(&stage, &plot);
            teller.closing(&verdict, clock::wall().since_s(began))?;
            if verdict.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Ended::BySignal(code) => {
            teller.plain("\ninterrupted")?;
            ExitCode::from(code)
        }
    };
    match options.after {
        After::TearDown => {
            drop(stage);
            teller.plain("The tmux server, the agents and the folder are gone.")?;
        }
        After::Keep => {
            stage.keep();
            teller.kept(&stage)?;
        }
    }
    Ok(code)
}

/// How the story ended.
enum Ended {
    ByItself(Plot),
    /// With this exit code.
    BySignal(u8),
}

/// Looks, tells, and brings the next trouble, until the story is over.
fn play(stage: &mut Stage, teller: &mut Teller<'_>, interrupt: &Interrupt, began: Wall) -> Result<Ended> {
    let mut events = Events::new(&stage.state_dir());
    let mut plot = Plot::default();
    stage.start_watchdog()?;
    loop {
        for event in events.more() {
            teller.event(&event)?;
            plot.notice(&event);
        }
        stage.check_watchdog()?;
        plot.go_on(stage, teller, clock::wall())?;
        if plot.is_over(clock::wall()) || clock::wall().since_s(began) > STORY_MAX_S {
            return Ok(Ended::ByItself(plot));
        }
        if let Some(code) = interrupt.exit_code() {
            return Ok(Ended::BySignal(code));
        }
        outside::nap(LOOK_S);
    }
}

/// A wish to end early. Unlike the watchdog's own handlers, a second signal does not leave at once: everything is torn
/// down first, which takes a moment and is bounded.
#[derive(Debug, Default)]
struct Interrupt {
    /// The signal that came; 0 = none.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    fn register() -> Result<Interrupt> {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.signal), number)?;
        }
        Ok(interrupt)
    }

    /// 128 + n, as shells report it.
    fn exit_code(&self) -> Option<u8> {
        let signal = self.signal.load(Ordering::SeqCst);
        (signal != 0).then(|| u8::try_from(128 + signal).unwrap_or(1))
    }
}

//! The command line: arguments, one table of commands, one file per command.
//!
//! Everything printed goes through [`out::Out`], which survives a closed pipe. Reading commands change nothing and need
//! no lock; changing ones hand a request to the engine. Deliberately not here: deciding, and touching tmux or state
//! files other than through `sys` and `engine`.

pub mod args;
mod attempts;
pub mod commands;
mod complete;
mod event_log;
mod explain;
mod help;
mod invocation;
mod ledger;
mod load;
mod orders;
mod out;
mod output;
pub mod setup;
mod snapshot;
pub mod templates;
mod transcripts;
mod watchdog;

pub use invocation::Invocation;
pub use out::Out;

use crate::base::error::{Error, Result};
use crate::sys::env;
use args::{Low, Special};
use std::process::ExitCode;

/// The program: reads its arguments, runs one command, returns its exit code.
pub fn main() -> ExitCode {
    let mut out = Out::stdout();
    let result = run(&mut out);
    match (result, out.broken()) {
        // Nobody reads on: what was asked for is done as far as anybody cares.
        (Ok(_), Some(why)) if why.is_empty() => ExitCode::SUCCESS,
        (Ok(_), Some(why)) => {
            out::complain(&Error::again(why).doing("writing to standard output"));
            ExitCode::from(75)
        }
        (Ok(code), None) => code,
        (Err(error), _) => {
            out::complain(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(out: &mut Out) -> Result<ExitCode> {
    let low = args::parse(env::args())?;
    match &low.special {
        Some(Special::Version) => {
            out.line(concat!("watchkeeper ", env!("CARGO_PKG_VERSION")));
            Ok(ExitCode::SUCCESS)
        }
        Some(Special::ShortHelp) => {
            out.text(&help::short(low.command));
            Ok(ExitCode::SUCCESS)
        }
        Some(Special::LongHelp) => {
            out.text(&help::long(low.command));
            Ok(ExitCode::SUCCESS)
        }
        None => run_command(low, out),
    }
}

fn run_command(low: Low, out: &mut Out) -> Result<ExitCode> {
    let Some(command) = low.command else {
        out::complain_with(&help::short(None));
        return Ok(ExitCode::from(2));
    };
    let invocation = Invocation::new(command, low);
    out.set_color(invocation.color);
    (command.run)(&invocation, out)
}

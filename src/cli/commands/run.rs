//! `run`: the loop in the foreground.

use super::{Command, Effect, Words};
use crate::base::error::Result;
use crate::base::text::counted;
use crate::cli::{Invocation, Out, event_log};
use crate::engine;
use crate::sys::env;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "run",
    usage: "",
    about: "watch in the foreground until TERM or ^C, printing what happens",
    long: "One watchdog acts on a state directory at a time; a second one says who does and
exits 75. USR1 ticks now, HUP reads the config again (it is read again anyway
when it changes). The watchdog leaves its units running when it ends:
`watchkeeper down` stops them.

With `--json` each event is one line of JSON, as in `watchkeeper events --json`.",
    flags: &[],
    words: Words::None,
    effect: Effect::Changes,
    run,
};

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let home = invocation.home()?;
    let zone = crate::sys::clock::Clock::new().now().zone;
    let mut greeted = invocation.json;
    engine::run::run(&home, &env::args(), &mut |config, report| {
        // Only now is it certain that this one watches.
        if !greeted {
            let units = counted(config.units.len(), "unit");
            let dir = config.state_dir.display();
            out.line(&format!("watching {units}; state in {dir}; `watchkeeper status` and `why` tell more"));
            greeted = true;
        }
        // Nobody reading on is no reason to stop watching.
        for event in &report.decision.events {
            if invocation.json {
                out.json_line(event);
            } else {
                out.line(&event_log::line(event, &zone));
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

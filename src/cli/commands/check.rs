//! `check`: everything that is wrong with the config, each with its place.

use super::{Command, Effect, Words};
use crate::base::error::Result;
use crate::base::text::counted;
use crate::cli::{Invocation, Out};
use crate::config::{self, Severity};
use serde::Serialize;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "check",
    usage: "",
    about: "validate the config: every problem at once, each with its place",
    long: "Reads agents.toml (`--config`, else $WATCHKEEPER_CONFIG, else ./agents.toml) and
the prompt files it names. A running watchdog reads a changed config by itself,
and keeps the last good one while this one is wrong.

Exit code 0: it can be used (notes may be printed). 2: it can't.

JSON: {ok, config, units, problems [{line, column, severity, message, hint}]}",
    flags: &[],
    words: Words::None,
    effect: Effect::Reads,
    run,
};

#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
    config: String,
    units: usize,
    problems: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    line: usize,
    column: usize,
    severity: &'static str,
    message: String,
    hint: Option<String>,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let (parsed, _, _) = invocation.home()?.parse()?;
    let given = invocation.config_given();
    let units = parsed.config.as_ref().map_or(0, |config| config.units.len());
    let ok = parsed.config.is_some();
    if invocation.json {
        let rows = parsed.problems.iter().map(|problem| Row {
            line: problem.line,
            column: problem.column,
            severity: match problem.severity {
                Severity::Error => "error",
                Severity::Note => "note",
            },
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        });
        let config = given;
        out.json(&Checked { ok, config, units, problems: rows.collect() });
    } else {
        out.text(&config::render(&given, &parsed.problems));
        if ok {
            out.line(&format!("{given}: good, {}", counted(units, "unit")));
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

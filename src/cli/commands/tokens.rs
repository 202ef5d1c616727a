//! `tokens`: the ledger, or the totals of one transcript.

use super::{Command, Effect, Flag, Words, events, inspect};
use crate::base::error::{Error, Result};
use crate::base::text::counted;
use crate::base::time::human_s;
use crate::cli::args::shown;
use crate::cli::ledger::{self, By, Row, Table};
use crate::cli::snapshot::Snapshot;
use crate::cli::{Invocation, Out, load, transcripts};
use crate::detect::transcript::{self, DOCUMENT_MAX, Format, LINE_MAX, Sum};
use crate::model::usage::Totals;
use crate::policy::summary_text::clock;
use crate::sys::env;
use crate::sys::transcript_files::Lines;
use std::path::Path;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "tokens",
    usage: "[--by WHAT] [--since TIME] | --backend B --file TRANSCRIPT",
    about: "tokens used by phase, gate or agent; or the totals of one transcript",
    long: "Counted from the CLIs' own transcripts, each response once: input without what
came from the cache, output with reasoning. Counting begins with the fleet;
records are made when the phase, or its newest claimed label, changes (gate).
By agent is the sum of the records, or of all that was counted where there are
none. What goes on now has no end. Agents that can't be counted are named.

A scripted `demo` agent keeps a transcript where DEMO_HOME is set; its figures
are made up: a token for every four bytes that were read or said.

With `--file`: any transcript of claude, codex, gemini, qwen or demo; `-` is
standard input.

JSON of a file: {input, output, cache_read, cache_creation, total, messages}.
JSON: {by, since or null, rows [{name, started, ended or null, duration_s, used
{input, output, cache_read, cache_creation, total, messages},
total_per_hour}], total {…}, uncounted {agent: why}, torn (lines of the ledger
that are no records)}.",
    flags: &[
        Flag { long: "by", short: None, value: Some("WHAT"), about: "phase, gate or agent (the standard)" },
        Flag {
            long: "since",
            short: None,
            value: Some("TIME"),
            about: "not older than this: 2026-11-21T10:00:00Z, or an age such as 90s, 10m, 2h, 3d",
        },
        Flag {
            long: "backend",
            short: None,
            value: Some("B"),
            about: "whose transcript it is: claude, codex, …",
        },
        Flag { long: "file", short: None, value: Some("TRANSCRIPT"), about: "one transcript" },
    ],
    words: Words::None,
    effect: Effect::Reads,
    run,
};

/// Longest transcript on standard input, bytes.
const STDIN_MAX: u64 = 1 << 30;

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    if let Some((format, path)) = transcripts::named(invocation, inspect::backend)? {
        if invocation.has("by") || invocation.has("since") {
            return Err(Error::usage("`--file` is one transcript: it goes without `--by` and `--since`"));
        }
        let totals = of_file(format, path)?;
        if invocation.json {
            out.json(&totals);
        } else {
            print_totals(&totals, out);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let by = match invocation.value("by")? {
        None | Some("agent") => By::Agent,
        Some("phase") => By::Phase,
        Some("gate") => By::Gate,
        Some(other) => {
            return Err(Error::usage(format!(
                "`--by {}`: not one of phase, gate, agent",
                shown(other.as_ref())
            )));
        }
    };
    let config = load::config(invocation)?;
    let snapshot = Snapshot::read(&config)?;
    let now = &snapshot.now;
    let since = invocation.value("since")?.map(|text| events::since(text, now.wall)).transpose()?;
    let tokens = &snapshot.state.tokens;
    let (records, torn) = ledger::records(&config.state_dir, tokens)?;
    let table = ledger::table(by, since, records, torn, tokens, now);
    if invocation.json {
        out.json(&table);
    } else {
        if !config.watchdog.log_tokens {
            out.line("tokens are not counted: `log_tokens` is false");
        }
        print(&table, &now.zone, out);
    }
    Ok(ExitCode::SUCCESS)
}

/// The exact sum of one file, in bounded steps.
fn of_file(format: Format, path: &Path) -> Result<Totals> {
    let mut sum = Sum::new(format);
    if path.as_os_str() == "-" {
        let text =
            env::read_capture("/dev/stdin".as_ref(), STDIN_MAX).map_err(|e| Error::usage(e.message()))?;
        let text = text.unwrap_or_default();
        text.as_bytes().split_inclusive(|b| *b == b'\n').for_each(|line| sum.line(line));
        if sum.totals().is_zero() {
            sum.document(text.as_bytes());
        }
        return Ok(sum.totals());
    }
    if transcript::is_document(&path.to_string_lossy()) {
        let text = env::read_capture(path, DOCUMENT_MAX).map_err(|e| Error::usage(e.message()))?;
        sum.document(text.ok_or_else(|| transcripts::missing(path))?.as_bytes());
        return Ok(sum.totals());
    }
    let mut lines = Lines::new(path);
    loop {
        let more = lines.more(LINE_MAX).ok_or_else(|| transcripts::missing(path))?;
        if more.is_empty() {
            break;
        }
        more.iter().for_each(|line| sum.line(line));
    }
    sum.line(&lines.rest(LINE_MAX));
    Ok(sum.totals())
}

fn print_totals(totals: &Totals, out: &mut Out) {
    let rows = [
        ("input", totals.input),
        ("output", totals.output),
        ("cache read", totals.cache_read),
        ("cache creation", totals.cache_creation),
        ("total", totals.total),
        ("messages", totals.messages),
    ];
    for (name, n) in rows {
        out.line(&format!("{name:<14}  {n:>14}"));
    }
}

/// What stands above the numbers.
const HEADS: [&str; 7] = ["input", "output", "cache read", "cache write", "total", "messages", "total/h"];

fn print(table: &Table, zone: &str, out: &mut Out) {
    let name = match table.by {
        By::Gate => "gate",
        By::Phase => "phase",
        By::Agent => "agent",
    };
    let width =
        table.rows.iter().map(|row| row.name.chars().count()).chain([name.len(), 5]).max().unwrap_or(5);
    if table.rows.is_empty() {
        out.line("nothing counted yet");
    } else {
        let heads: String = HEADS.iter().map(|head| format!("  {head:>11}")).collect();
        out.line(&format!("{name:<width$}  {:<16}  {:>11}{heads}", "since", "for"));
        table.rows.iter().for_each(|row| out.line(&line(row, width, zone)));
        if table.rows.len() > 1 {
            out.line(&format!("{:<width$}  {:<16}  {:>11}{}", "all", "", "", numbers(&table.total)));
        }
    }
    for (agent, why) in &table.uncounted {
        out.line(&format!("not counted: {agent}: {why}"));
    }
    if table.torn > 0 {
        out.line(&format!("{} of the ledger: no record, skipped", counted(table.torn, "line")));
    }
}

fn line(row: &Row, width: usize, zone: &str) -> String {
    let started = row.started.map(|at| clock(at, zone)).unwrap_or_default();
    let open = if row.ended.is_none() { "…" } else { "" };
    let lasted = format!("{}{open}", human_s(row.duration_s as f64));
    let numbers = numbers(&row.used);
    format!("{:<width$}  {started:<16}  {lasted:>11}{numbers}  {:>11}", row.name, row.total_per_hour)
}

fn numbers(used: &Totals) -> String {
    let numbers = [used.input, used.output, used.cache_read, used.cache_creation, used.total, used.messages];
    numbers.iter().map(|n| format!("  {n:>11}")).collect()
}

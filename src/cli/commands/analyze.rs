//! `analyze`: which remedies hold.

use super::{Command, Effect, Flag, Words, events};
use crate::base::error::Result;
use crate::base::text::counted;
use crate::base::time::human_s;
use crate::cli::attempts::{Analysis, Row, Sum, analyze};
use crate::cli::{Invocation, Out, load};
use crate::state::attempts::{Ledger, Part, Status};
use crate::state::table;
use crate::sys::Files;
use crate::sys::clock::Clock;
use crate::sys::files::RealFiles;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "analyze",
    usage: "[--since TIME]",
    about: "which remedies hold: success by detector and by who chose it",
    long: "Sums up attempts.tsv. An attempt is `kept` when its failure stayed away for the
verification window, `regressed` when it came back, `crashed` when the attempt
itself failed, `pending` while nobody knows. Success is kept among those with an
outcome; a streak is how many last outcomes were the same. Lines of the ledger
that can't be read are skipped and counted.

JSON: {since or null, total {attempts, kept, regressed, crashed, pending,
success (0 to 1) or null, heal_median_s, heal_longest_s (finding to kept)},
detectors [{name (unit/detector), the same counts, streak {status, length} or
null}], sources [the same, by rule's name, default, agent, person], bad_lines}",
    flags: &[Flag {
        long: "since",
        short: None,
        value: Some("TIME"),
        about: "not older than this: 2026-11-21T10:00:00Z, or an age such as 90s, 10m, 2h, 3d",
    }],
    words: Words::None,
    effect: Effect::Reads,
    run,
};

/// How much of the ledger's end is read, bytes.
const LEDGER_MAX: u64 = 16 << 20;

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let now = Clock::new().now();
    let since = invocation.value("since")?.map(|text| events::since(text, now.wall)).transpose()?;
    let config = load::config(invocation)?;
    let bytes = RealFiles::new(&config.state_dir).tail(table::ATTEMPTS, LEDGER_MAX)?;
    let part = if (bytes.len() as u64) < LEDGER_MAX { Part::Whole } else { Part::End };
    let analysis = analyze(&Ledger::read(&bytes, part), since);
    if invocation.json {
        out.json(&analysis);
    } else {
        print(&analysis, out);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(analysis: &Analysis, out: &mut Out) {
    if analysis.total.attempts == 0 {
        out.line("no attempts yet");
    } else {
        let width = analysis.detectors.iter().chain(&analysis.sources).map(|row| row.name.chars().count());
        let width = width.chain([14]).max().unwrap_or(14).min(40);
        table("by detector", &analysis.detectors, width, out);
        table("by source", &analysis.sources, width, out);
        out.line(&line("all", &analysis.total, "", width));
    }
    if analysis.bad_lines > 0 {
        out.line(&format!("{} of attempts.tsv: no attempt, skipped", counted(analysis.bad_lines, "line")));
    }
}

fn table(title: &str, rows: &[Row], width: usize, out: &mut Out) {
    out.line(&format!(
        "{title:<width$}  {:>5}  {:>5}  {:>5}  {:>5}  {:>5}  {:>7}  {:>10}",
        "tried", "kept", "regr.", "crash", "pend.", "success", "healed in"
    ));
    for row in rows {
        let streak = row.streak.filter(|streak| streak.length > 1 && streak.status != Status::Kept);
        let streak = streak
            .map(|streak| format!("  {} {} in a row", streak.length, streak.status.word()))
            .unwrap_or_default();
        out.line(&line(&row.name, &row.sum, &streak, width));
    }
    out.line("");
}

fn line(name: &str, sum: &Sum, streak: &str, width: usize) -> String {
    let success = sum.success.map_or_else(|| "-".to_owned(), |part| format!("{:.0} %", part * 100.0));
    let heal = sum.heal_median_s.map_or_else(|| "-".to_owned(), human_s);
    format!(
        "{name:<width$}  {:>5}  {:>5}  {:>5}  {:>5}  {:>5}  {success:>7}  {heal:>10}{streak}",
        sum.attempts, sum.kept, sum.regressed, sum.crashed, sum.pending
    )
}

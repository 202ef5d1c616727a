//! `man`: the manual page, from the table of commands.

use super::{Command, Effect, Words, public};
use crate::base::error::Result;
use crate::cli::args::GLOBAL_FLAGS;
use crate::cli::help::{EXIT_CODES, SUMMARY, flag_names};
use crate::cli::{Invocation, Out};
use crate::state::table;
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "man",
    usage: "",
    about: "print the manual page (roff)",
    long: "Read it with `watchkeeper man | man -l -`, or install it as
share/man/man1/watchkeeper.1.

JSON: {man}: the page as one text.",
    flags: &[],
    words: Words::None,
    effect: Effect::Reads,
    run,
};

#[derive(Debug, Serialize)]
struct Man {
    man: String,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    if invocation.json {
        out.json(&Man { man: page() });
    } else {
        out.text(&page());
    }
    Ok(ExitCode::SUCCESS)
}

fn page() -> String {
    let mut page = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(page, ".TH WATCHKEEPER 1 \"\" \"watchkeeper {}\"", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(page, ".SH NAME\nwatchkeeper \\- {}", text(SUMMARY));
    let _ = writeln!(page, ".SH SYNOPSIS\n.B watchkeeper\n[\\fIFLAGS\\fR] \\fICOMMAND\\fR [\\fIWORDS\\fR]");
    let _ = writeln!(page, ".SH FLAGS\nThey may stand anywhere.");
    for flag in GLOBAL_FLAGS {
        let _ = writeln!(page, ".TP\n.B {}\n{}", text(&flag_names(flag)), text(flag.about));
    }
    let _ = writeln!(page, ".SH COMMANDS");
    for command in public() {
        let _ = writeln!(page, ".SS {} {}", text(command.name), text(command.usage));
        let _ = writeln!(page, "{}.", text(command.about));
        let _ = writeln!(page, ".PP\n.nf\n{}\n.fi", text(command.long));
        for flag in command.flags {
            let _ = writeln!(page, ".TP\n.B {}\n{}", text(&flag_names(flag)), text(flag.about));
        }
    }
    let _ = writeln!(page, ".SH FILES\nBelow the state directory:");
    for row in table::FILES {
        let _ = writeln!(
            page,
            ".TP\n.I {}\n{} (written by: {})",
            text(row.path),
            text(row.about),
            text(row.writer)
        );
    }
    let _ = writeln!(page, ".SH EXIT STATUS");
    for (code, meaning) in EXIT_CODES {
        let _ = writeln!(page, ".TP\n.B {code}\n{}", text(meaning));
    }
    page
}

/// Text that roff prints as it stands.
fn text(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let guarded = |line: &str| match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line.to_owned(),
    };
    escaped.lines().map(guarded).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roff_never_takes_our_text_for_a_request() {
        assert_eq!(text("a\n.nothing\n'x\\y -z"), "a\n\\&.nothing\n\\&'x\\ey \\-z");
        for command in public() {
            assert!(page().contains(&format!(".SS {}", text(command.name))));
        }
    }
}

//! Help texts, from the table of commands.

use super::args::GLOBAL_FLAGS;
use super::commands::{Command, Flag, public};
use std::fmt::Write as _;

/// What the program is, in one line.
pub const SUMMARY: &str = "keeps watch over fleets of AI coding agents in tmux, and says why it did what";

/// Exit codes and their meaning.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done, or all is well"),
    (1, "the answer is \"no\" or \"unhealthy\""),
    (2, "wrong usage or config"),
    (69, "a needed program is missing; the message says how to get it"),
    (75, "try again: somebody else acts, or a file could not be read or written"),
];

/// `-h`: fits a screen.
pub fn short(command: Option<&'static Command>) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let Some(command) = command else {
        let _ = writeln!(text, "watchkeeper {SUMMARY}\n\nusage: watchkeeper [FLAGS] COMMAND [WORDS]\n");
        let width = public().map(|command| command.name.len()).max().unwrap_or(0);
        for command in public() {
            let _ = writeln!(text, "  {:<width$}  {}", command.name, command.about);
        }
        text.push('\n');
        flags(&mut text, GLOBAL_FLAGS);
        text.push_str(
            "\n`watchkeeper COMMAND --help` tells more; `watchkeeper check` is a good beginning.\n",
        );
        return text;
    };
    let _ = writeln!(text, "{}\n\n{}", command.about, usage(command));
    if !command.flags.is_empty() {
        text.push('\n');
        flags(&mut text, command.flags);
    }
    text
}

/// `--help`: everything.
pub fn long(command: Option<&'static Command>) -> String {
    let mut text = short(command);
    let Some(command) = command else {
        text.push_str("\nExit codes:\n");
        for (code, meaning) in EXIT_CODES {
            let _ = writeln!(text, "  {code:>2}  {meaning}");
        }
        text.push_str("\nUsage of the commands:\n");
        for command in public() {
            let _ = writeln!(text, "  {}", format!("{} {}", command.name, command.usage).trim_end());
        }
        return text;
    };
    let _ = writeln!(text, "\n{}\n\nFlags of every command:", command.long);
    flags(&mut text, GLOBAL_FLAGS);
    text
}

/// `usage: watchkeeper why [NAME]`
fn usage(command: &Command) -> String {
    format!("usage: watchkeeper {} {}", command.name, command.usage).trim_end().to_owned()
}

fn flags(text: &mut String, flags: &[Flag]) {
    let width = flags.iter().map(|flag| flag_names(flag).len()).max().unwrap_or(0);
    for flag in flags {
        let _ = writeln!(text, "  {:<width$}  {}", flag_names(flag), flag.about);
    }
}

/// `-f, --follow`, `--last N`
pub fn flag_names(flag: &Flag) -> String {
    let short = flag.short.map(|short| format!("-{short}, ")).unwrap_or_default();
    let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
    format!("{short}--{}{value}", flag.long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_help_fits_a_terminal() {
        let text = short(None);
        assert!(text.lines().count() <= 45, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for command in public() {
            let text = long(Some(command));
            assert!(text.contains(command.about) && text.contains("--json"), "{text}");
        }
    }
}

//! Declared waits: `WAITING-UNTIL: <RFC 3339>` as a unit's last line, or a file that holds one time.
//!
//! Deliberately not here: how long a wait is believed, and which line of a pane is the last one.

use crate::base::time::Wall;

/// What introduces a declared wait on a screen. Agents are told to print it as it stands.
const MARK: &str = "WAITING-UNTIL:";

/// Longest line looked at, bytes: mark, time and decoration; a longer line says something else.
const LINE_LENGTH_MAX: usize = 256;

/// What CLIs put before a line of an answer (Claude `●` and `⏺`, Codex `•`, Gemini `✦`), list bullets, markdown and
/// side borders. Not here: `>`, `❯` and `›`, which introduce what was typed, that is, text that quotes an instruction.
const BEFORE: &[char] = &['•', '●', '⏺', '✦', '∙', '·', '-', '*', '_', '`', '"', '│', '┃', '⎿'];

/// What may follow the time.
const AFTER: &[char] = &['*', '_', '`', '"', '.', '│', '┃'];

/// Reads a declared wait from the last non-empty line of a pane. Only a line that holds nothing else counts.
pub fn parse_line(line: &str) -> Option<Wall> {
    if line.len() > LINE_LENGTH_MAX {
        // Panes pad lines with spaces; what counts is what is on them.
        let short = line.trim();
        return if short.len() > LINE_LENGTH_MAX { None } else { parse_line(short) };
    }
    let start = |c: char| c.is_whitespace() || BEFORE.contains(&c);
    let end = |c: char| c.is_whitespace() || AFTER.contains(&c);
    let rest = line.trim_start_matches(start).strip_prefix(MARK)?;
    let time = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '*' | '_' | '`' | '"'));
    Wall::parse(time.trim_end_matches(end))
}

/// Reads the `WAITING-UNTIL` file: one RFC 3339 time on the first line; the mark before it is forgiven.
pub fn parse_file(text: &str) -> Option<Wall> {
    let line = text.trim_start_matches('\u{feff}').lines().next()?.trim();
    if line.len() > LINE_LENGTH_MAX {
        return None;
    }
    Wall::parse(line).or_else(|| parse_line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, want: Option<&str>) {
        assert_eq!(parse_line(line).map(|t| t.to_string()).as_deref(), want, "{line:?}");
    }

    #[test]
    fn a_declared_wait_is_read_through_the_decoration_of_agents() {
        let ten = Some("2026-11-21T10:00:00Z");
        check("WAITING-UNTIL: 2026-11-21T10:00:00Z", ten);
        check("  WAITING-UNTIL:2026-11-21T10:00:00Z   ", ten);
        check("WAITING-UNTIL: 2026-11-21T12:00:00+02:00", ten);
        check("WAITING-UNTIL: 2026-11-21T10:00Z", ten);
        check("WAITING-UNTIL: 2026-11-21 10:00:00Z", ten);
        check("● WAITING-UNTIL: 2026-11-21T10:00:00Z", ten);
        check("⏺ WAITING-UNTIL: 2026-11-21T10:00:00Z.", ten);
        check("• WAITING-UNTIL: 2026-11-21T10:00:00Z", ten);
        check("✦ WAITING-UNTIL: 2026-11-21T10:00:00Z", ten);
        check("- WAITING-UNTIL: 2026-11-21T10:00:00Z", ten);
        check("**WAITING-UNTIL: 2026-11-21T10:00:00Z**", ten);
        check("**WAITING-UNTIL:** 2026-11-21T10:00:00Z", ten);
        check("`WAITING-UNTIL: 2026-11-21T10:00:00Z`.", ten);
        check("WAITING-UNTIL: `2026-11-21T10:00:00Z`", ten);
        check("●\u{a0}WAITING-UNTIL:\u{a0}2026-11-21T10:00:00Z", ten);
        check("  ┃  WAITING-UNTIL: 2026-11-21T10:00:00Z", ten);
        check(&format!("WAITING-UNTIL: 2026-11-21T10:00:00Z{}", " ".repeat(400)), ten);
        check("WAITING-UNTIL: 2026-11-21T10:00:00.250Z", Some("2026-11-21T10:00:00.250Z"));
    }

    #[test]
    fn what_only_mentions_a_wait_is_none() {
        for line in [
            "",
            "WAITING-UNTIL:",
            "WAITING-UNTIL: tomorrow",
            "WAITING-UNTIL: <RFC 3339>",
            "WAITING-UNTIL: 2026-11-21",
            "WAITING-UNTIL: 2026-11-21T10:00:00",
            "WAITING-UNTIL: 2026-13-21T10:00:00Z",
            "waiting-until: 2026-11-21T10:00:00Z",
            "WAITING-UNTIL 2026-11-21T10:00:00Z",
            "> WAITING-UNTIL: 2026-11-21T10:00:00Z",
            "❯ WAITING-UNTIL: 2026-11-21T10:00:00Z",
            "› WAITING-UNTIL: 2026-11-21T10:00:00Z",
            "print WAITING-UNTIL: 2026-11-21T10:00:00Z last",
            "WAITING-UNTIL: 2026-11-21T10:00:00Z as the last line",
            "I will print `WAITING-UNTIL: 2026-11-21T10:00:00Z`",
        ] {
            check(line, None);
        }
        check(&"WAITING-UNTIL: ".repeat(10_000), None);
    }

    #[test]
    fn the_file_holds_one_time_on_its_first_line() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(parse_file(text).map(|t| t.to_string()).as_deref(), want, "{text:?}");
        };
        check("2026-11-21T10:00:00Z\n", Some("2026-11-21T10:00:00Z"));
        check("  2026-11-21T12:00:00+02:00 \r\nCI runs\n", Some("2026-11-21T10:00:00Z"));
        check("\u{feff}2026-11-21T10:00:00Z", Some("2026-11-21T10:00:00Z"));
        check("WAITING-UNTIL: 2026-11-21T10:00:00Z\n", Some("2026-11-21T10:00:00Z"));
        check("", None);
        check("\n2026-11-21T10:00:00Z\n", None);
        check("soon\n2026-11-21T10:00:00Z\n", None);
    }
}

//! The digest of a screen's content: it stays as long as nothing but spinners, timers and clocks moves.
//!
//! What counts as progress: text of the conversation, and the tokens received (`↓ 749 tokens`) in the status row, which
//! stand still when the model hangs and are all that moves while it thinks. What does not: the status row otherwise, frames,
//! everything below the conversation, the composer.

use super::ansi::Screen;
use super::any;
use crate::base::text::digest;
use crate::config::backend::Signals;

/// Marks and spinners that blink or turn at the beginning of a row or in it.
const SPINNERS: &str = "●⏺•◦○◉◎✻✶✢✽✳✺✦*+·∙⊶⊷░█■⬝.…";

/// The digest of the rows above `end`; `status` is the status row among them; `dialog` belongs to it.
pub(super) fn content(
    signals: &Signals,
    screen: &Screen,
    end: usize,
    status: Option<usize>,
    dialog: &str,
) -> String {
    let mut text = String::new();
    for row in 0..end.min(screen.rows.len()) {
        let shown = screen.text(row);
        if Some(row) == status {
            received(shown, &mut text);
        } else if !(shown.is_empty()
            || is_frame(shown)
            || any(&signals.skip, shown)
            || any(&signals.busy_status, shown))
        {
            words(shown, &mut text);
        }
    }
    text.push_str(dialog);
    digest(text.as_bytes())
}

/// A row of a frame only: one more or less of them is a screen that is half drawn.
fn is_frame(row: &str) -> bool {
    row.chars().all(|c| "▄▀─ ".contains(c))
}

/// Appends the words that are neither spinner nor timer.
fn words(row: &str, into: &mut String) {
    let before = into.len();
    for word in row.split(' ').filter(|word| !word.is_empty() && !is_moving(word)) {
        into.push_str(word);
        into.push(' ');
    }
    if into.len() > before {
        into.push('\n');
    }
}

/// A spinner, a timer or a clock.
fn is_moving(word: &str) -> bool {
    if word.chars().all(|c| SPINNERS.contains(c) || ('\u{2800}'..='\u{28ff}').contains(&c)) {
        return true;
    }
    let word = word.trim_matches(['(', ')', '[', ']', ',', ';', '·', '│']);
    word.starts_with(|c: char| c.is_ascii_digit()) && (is_duration(word) || is_clock(word))
}

/// `3s`, `1m`, `1m3s`, `0.5s`, `300ms`.
fn is_duration(word: &str) -> bool {
    let mut rest = word;
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let Some(after) = ["ms", "h", "m", "s"].iter().find_map(|name| unit.strip_prefix(name)) else {
            return false;
        };
        if unit.len() == rest.len() {
            return false;
        }
        rest = after;
    }
    !word.is_empty()
}

/// `10:27`, `10:27:03`, `10:27am`.
fn is_clock(word: &str) -> bool {
    let digits = word.trim_end_matches("am").trim_end_matches("pm");
    let parts: Vec<&str> = digits.split(':').collect();
    let short = |part: &&str| part.len() <= 2 && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (2..=3).contains(&parts.len()) && parts.iter().all(short)
}

/// Appends the tokens received that a status row names.
fn received(row: &str, into: &mut String) {
    if let Some((_, count)) = row.split_once('↓') {
        let count = count.trim_start().split(' ').next().unwrap_or_default();
        into.push('↓');
        into.push_str(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(row: &str, want: &str) {
        let mut got = String::new();
        words(row, &mut got);
        assert_eq!(got.trim_end(), want);
    }

    #[test]
    fn spinners_timers_and_clocks_are_taken_out_and_nothing_else() {
        check("  ⎿  Running… (3s · timeout 10m)", "⎿ Running… timeout");
        check("● Bash(sleep 3)", "Bash(sleep 3)");
        check("│ .. Shell make 12s │", "│ Shell make │");
        check("┃  ⠸ python3 -c 1", "┃ python3 -c 1");
        check("step 12/100 loss 0.25 at 10:27:03", "step 12/100 loss 0.25 at");
        check("line 115", "line 115");
        check("took 1m3s, 1h2m and 300ms", "took and");
        check("3.14 5x 12 10:272 s m", "3.14 5x 12 10:272 s m");
    }
}

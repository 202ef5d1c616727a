//! What is typed in the composer, told from what it shows when it is empty.

use super::ansi::{Row, Screen};
use super::regions::Composer;
use crate::config::backend::{Frame, Placeholder, Signals};

/// Longest text returned, bytes.
const TEXT_BYTES_MAX: usize = 16_384;

/// The typed text, trimmed; rows joined by newlines (what the CLI wrapped stays wrapped); "" when it is empty.
pub(super) fn text(signals: &Signals, screen: &Screen, composer: &Composer) -> String {
    let mut text = String::new();
    let mut all = String::new();
    let by_dimness = signals.placeholder == Placeholder::Dim && screen.styled;
    for (i, row) in screen.rows[composer.text.clone()].iter().enumerate() {
        let from = indent(signals, row, i);
        let shown = &row.text[from..];
        if text.len() + shown.len() > TEXT_BYTES_MAX {
            break;
        }
        let typed = if by_dimness { typed(row, from) } else { shown.to_owned() };
        for (into, from) in [(&mut text, typed.as_str()), (&mut all, shown)] {
            into.push_str(from.trim_end());
            into.push('\n');
        }
    }
    let is_placeholder = !by_dimness && signals.placeholders.iter().any(|p| p.is_match(all.trim()));
    if is_placeholder { String::new() } else { text.trim().to_owned() }
}

/// Where the text of a row begins: behind the prompt, or behind as many spaces.
fn indent(signals: &Signals, row: &Row, index: usize) -> usize {
    let text = row.text.as_str();
    if signals.frame == Frame::Bar {
        let bar = text.find('┃').map_or(0, |at| at + '┃'.len_utf8());
        return bar + spaces(&text[bar..], 2);
    }
    // A plain prompt stands before each row of a text with several.
    let has_prompt = index == 0 || signals.frame == Frame::Line;
    let prompt = signals.prompt.as_ref().filter(|_| has_prompt).and_then(|prompt| prompt.find(text));
    match prompt {
        Some(found) => found.end(),
        None => spaces(text, if signals.frame == Frame::Bands { 3 } else { 2 }),
    }
}

fn spaces(text: &str, max: usize) -> usize {
    text.bytes().take(max).take_while(|&b| b == b' ').count()
}

/// The text that is not dim. A placeholder's first character is under the cursor and inverse in place of dim.
fn typed(row: &Row, from: usize) -> String {
    let mut typed = String::new();
    let (mut under_cursor, mut bright, mut dim) = (0, 0, 0);
    for (at, c) in row.text[from..].char_indices() {
        let style = row.style(from + at);
        if style.dim {
            dim += 1;
            continue;
        }
        typed.push(c);
        if c != ' ' {
            if style.inverse { under_cursor += 1 } else { bright += 1 }
        }
    }
    if bright == 0 && under_cursor == 1 && dim > 0 { String::new() } else { typed }
}

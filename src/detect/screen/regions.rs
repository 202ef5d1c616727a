//! Where the composer stands. It is at the bottom and nothing of the conversation can be below it: that is what tells
//! the CLI's own words from words that an agent wrote.
//!
//! Deliberately not here: what is typed in it (`composer`), what stands around it (`live`, `turn`).

use super::ansi::Screen;
use crate::config::backend::{Frame, Signals};
use std::ops::Range;

/// How many rows from the bottom a composer may begin: a long draft fills a screen.
const COMPOSER_ROWS_MAX: usize = 150;
/// Shortest run of a character that is a frame.
const RUN_MIN: usize = 8;
/// Rows between the rule above an aider prompt and the prompt: the files of the chat.
const FILE_ROWS_MAX: usize = 12;

/// The composer's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Composer {
    /// Its first row, frame and all: the conversation ends above it.
    pub(super) top: usize,
    /// The rows of its text.
    pub(super) text: Range<usize>,
    /// The rows below it.
    pub(super) footer: Range<usize>,
}

/// Finds the composer; None when a dialog, a viewer or nothing stands in its place.
pub(super) fn composer(signals: &Signals, screen: &Screen) -> Option<Composer> {
    match signals.frame {
        Frame::Rules => rules(signals, screen),
        Frame::Bands => bands(signals, screen),
        Frame::Glyph => glyph(signals, screen),
        Frame::Bar => bar(signals, screen),
        Frame::Line => line(signals, screen),
        Frame::Shell => None,
    }
}

/// A row of `─`, a title within allowed.
pub(super) fn is_rule(text: &str) -> bool {
    let text = text.trim();
    if !text.starts_with('─') {
        return false;
    }
    let dashes = text.chars().filter(|&c| c == '─').count();
    dashes >= RUN_MIN && dashes * 2 >= text.chars().count()
}

fn is_run(text: &str, c: char) -> bool {
    let text = text.trim();
    text.chars().take(RUN_MIN).filter(|&d| d == c).count() == RUN_MIN && text.chars().all(|d| d == c)
}

fn is_prompt(signals: &Signals, text: &str) -> bool {
    signals.prompt.as_ref().is_some_and(|prompt| prompt.is_match(text))
}

/// Whether these rows can stand below a composer: few, and none in column 0. What begins in column 0 there was printed
/// after the CLI had left.
fn is_footer(signals: &Signals, screen: &Screen, rows: &Range<usize>) -> bool {
    let mut count = 0;
    for row in rows.clone() {
        let text = screen.text(row);
        if text.is_empty() {
            continue;
        }
        count += 1;
        if count > signals.footer_rows_max || !text.starts_with(' ') || is_rule(text) {
            return false;
        }
        if is_boxed(text) || is_option(signals, text) {
            return false;
        }
    }
    true
}

/// Whether these rows can be the further rows of a draft: they are indented, rules within it as well.
fn is_typed(screen: &Screen, rows: &Range<usize>) -> bool {
    let text = |row: usize| screen.text(row);
    rows.clone().all(|row| text(row).is_empty() || text(row).starts_with(' ') && !is_boxed(text(row)))
}

fn is_boxed(text: &str) -> bool {
    text.trim_start().starts_with(['╭', '╰', '│', '┃'])
}

fn rules(signals: &Signals, screen: &Screen) -> Option<Composer> {
    let end = screen.rows.len();
    let mut below = None;
    for top in (end.saturating_sub(COMPOSER_ROWS_MAX)..end).rev().filter(|&row| is_rule(screen.text(row))) {
        let first = screen.text(top + 1);
        // A menu may follow a rule as well, but no rule follows the menu.
        if is_prompt(signals, first) && (below.is_some() || !is_option(signals, first)) {
            let bottom = below.unwrap_or(end);
            let footer = (bottom + 1).min(end)..end;
            let whole = is_typed(screen, &(top + 2..bottom)) && is_footer(signals, screen, &footer);
            return whole.then(|| Composer { top, text: top + 1..bottom, footer });
        }
        // The lowest rule is the composer's own lower one.
        below = below.or(Some(top));
    }
    None
}

fn bands(signals: &Signals, screen: &Screen) -> Option<Composer> {
    let end = screen.rows.len();
    let top =
        (end.saturating_sub(COMPOSER_ROWS_MAX)..end).rev().find(|&row| is_run(screen.text(row), '▄'))?;
    if !is_prompt(signals, screen.text(top + 1)) {
        return None;
    }
    let bottom = (top + 1..end).find(|&row| is_run(screen.text(row), '▀')).unwrap_or(end);
    let footer = (bottom + 1).min(end)..end;
    let whole = is_typed(screen, &(top + 2..bottom)) && is_footer(signals, screen, &footer);
    whole.then(|| Composer { top, text: top + 1..bottom, footer })
}

fn glyph(signals: &Signals, screen: &Screen) -> Option<Composer> {
    let end = screen.rows.len();
    let top = (end.saturating_sub(COMPOSER_ROWS_MAX)..end)
        .rev()
        .find(|&row| !screen.text(row).starts_with(' ') && !screen.text(row).is_empty())?;
    if !is_prompt(signals, screen.text(top)) {
        return None;
    }
    let ready = (top + 1..end).rev().find(|&row| super::any(&signals.ready, screen.text(row)));
    if ready.is_none() && is_option(signals, screen.text(top)) {
        return None;
    }
    // Without that row the footer is the last paragraph.
    let last_blank = (top + 1..end).rev().find(|&row| screen.text(row).is_empty());
    let footer = ready.or(last_blank.map(|blank| blank + 1)).unwrap_or(end)..end;
    is_footer(signals, screen, &footer).then_some(Composer {
        top,
        text: top..footer.start,
        footer: footer.clone(),
    })
}

/// Looks like the chosen option of a menu.
fn is_option(signals: &Signals, text: &str) -> bool {
    signals.cursor.as_ref().is_some_and(|cursor| cursor.is_match(text.trim()))
}

fn bar(signals: &Signals, screen: &Screen) -> Option<Composer> {
    let end = screen.rows.len();
    let closing =
        |text: &str| text.trim_start().strip_prefix('╹').is_some_and(|run| run.starts_with("▀▀▀▀▀▀▀▀"));
    let bottom = (end.saturating_sub(COMPOSER_ROWS_MAX)..end).rev().find(|&row| closing(screen.text(row)))?;
    let column = column_of(screen.text(bottom), '╹')?;
    let has_bar = |row: usize| column_of(screen.text(row), '┃') == Some(column);
    let top = (0..bottom).rev().take_while(|&row| has_bar(row)).last()?;
    let footer = bottom + 1..end;
    let below = footer.clone().filter(|&row| !screen.text(row).is_empty()).count();
    if below > signals.footer_rows_max
        || footer.clone().any(|row| screen.text(row).trim_start().starts_with('┃'))
    {
        return None;
    }
    // The last row of the box names agent and model.
    Some(Composer { top, text: top..bottom - 1, footer })
}

/// The column of the first character, if it is `c`.
fn column_of(text: &str, c: char) -> Option<usize> {
    let spaces = text.len() - text.trim_start().len();
    text[spaces..].starts_with(c).then_some(spaces)
}

fn line(signals: &Signals, screen: &Screen) -> Option<Composer> {
    let end = screen.rows.len();
    // The last paragraph: what is typed has no blank rows in it, and an answer begins after one.
    let start = (0..end).rev().take_while(|&row| !screen.text(row).is_empty()).last()?;
    let top = (start..end).rev().find(|&row| is_rule(screen.text(row)))?;
    let mut rows = top + 1..(top + 1 + FILE_ROWS_MAX).min(end);
    let prompt = rows.find(|&row| is_prompt(signals, screen.text(row)))?;
    Some(Composer { top, text: prompt..end, footer: end..end })
}

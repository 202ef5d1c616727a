//! A dialog in the composer's place: which rows it has, what it asks, and whether its answer is known.
//!
//! Deliberately not here: whether to answer. Only called when no composer was found, so that no text of the
//! conversation can stand below it.

use super::ansi::Screen;
use super::regions::is_rule;
use super::{any, evidence};
use crate::config::backend::{Frame, Menu, MenuKind, Pattern, Signals};
use crate::model::seen::Evidence;
use std::ops::Range;

/// Rows at the bottom in which the keys are named: boxes end below them, status rows may follow.
const HINT_ROWS: usize = 6;
/// Rows from the bottom in which the chosen option stands.
const CURSOR_ROWS_MAX: usize = 40;
/// Rows of a dialog; a long one (an edit with its diff) has its question and its options at the end.
const DIALOG_ROWS_MAX: usize = 60;
/// Longest text returned, bytes.
const TEXT_BYTES_MAX: usize = 4000;

/// An open dialog.
#[derive(Debug)]
pub(super) struct Dialog<'s> {
    /// Its first row.
    pub(super) top: usize,
    /// Its text without borders, cursor and spinner.
    pub(super) text: String,
    /// What it is, when it is known by name and not a question to a person.
    pub(super) menu: Option<&'s Menu>,
    /// What told it.
    pub(super) evidence: Vec<Evidence>,
}

/// Finds the dialog at the bottom of the screen.
pub(super) fn find<'s>(signals: &'s Signals, screen: &Screen) -> Option<Dialog<'s>> {
    if signals.frame == Frame::Line {
        return question(signals, screen);
    }
    let end = screen.rows.len();
    let cursor = cursor(signals, screen);
    // The row of a running turn names a key too: seen without a composer, it is half a screen.
    let names_keys = |row: &usize| {
        any(&signals.hints, strip(screen.text(*row))) && !any(&signals.busy_status, screen.text(*row))
    };
    let hint = last_rows(screen, HINT_ROWS).find(names_keys);
    let anchor = cursor.map(|row| first_option(screen, row)).or(hint).unwrap_or(end);
    let rows = region(signals.frame, screen, anchor);
    let line = rows.clone().find(|&row| any(&signals.dialog_lines, strip(screen.text(row))));
    let marks = [("dialog.cursor", cursor), ("dialog.hints", hint), ("dialog.lines", line)];
    let marks: Vec<Evidence> =
        marks.iter().filter_map(|(name, row)| row.map(|row| evidence(name, screen, row))).collect();
    if marks.is_empty() {
        return None;
    }
    Some(judge(signals, screen, rows, marks))
}

/// Names the dialog. A row that makes it a question to a person outweighs everything else: its text may quote any
/// other dialog, and must not be answered as that one.
fn judge<'s>(signals: &'s Signals, screen: &Screen, rows: Range<usize>, marks: Vec<Evidence>) -> Dialog<'s> {
    let shown: Vec<&str> =
        rows.clone().map(|row| strip(screen.text(row))).filter(|row| !row.is_empty()).collect();
    let asks = rows.clone().find(|&row| any(&signals.questions, strip(screen.text(row))));
    let whole = shown.join("\n");
    let menu = signals.menus.iter().find(|menu| menu.all.iter().all(|pattern| pattern.is_match(&whole)));
    let mut evidence_of = Vec::new();
    let menu = if let Some(row) = asks {
        evidence_of.push(evidence("dialog.questions", screen, row));
        None
    } else {
        menu
    };
    if let Some(menu) = menu {
        let row =
            rows.clone().find(|&row| menu.all[0].is_match(strip(screen.text(row)))).unwrap_or(rows.start);
        let mut found = evidence("dialog.menus", screen, row);
        found.signal = match menu.kind {
            MenuKind::Onboarding => format!("onboarding: {}", menu.name),
            MenuKind::Limit => format!("limit menu: {}", menu.name),
            MenuKind::Overlay => format!("overlay: {}", menu.name),
            MenuKind::Starting => format!("starting: {}", menu.name),
        };
        evidence_of.push(found);
    }
    evidence_of.extend(marks);
    Dialog { top: rows.start, text: normalise(signals, &shown), menu, evidence: evidence_of }
}

/// The rows that are not blank, from the bottom.
fn last_rows(screen: &Screen, count: usize) -> impl Iterator<Item = usize> + '_ {
    (0..screen.rows.len()).rev().filter(|&row| !screen.rows[row].is_blank()).take(count)
}

/// The chosen option of a menu of at least two.
fn cursor(signals: &Signals, screen: &Screen) -> Option<usize> {
    let cursor = signals.cursor.as_ref()?;
    let row = last_rows(screen, CURSOR_ROWS_MAX).find(|&row| cursor.is_match(strip(screen.text(row))))?;
    let end = screen.rows.len();
    let near = row.saturating_sub(CURSOR_ROWS_MAX)..(row + CURSOR_ROWS_MAX).min(end);
    let others =
        near.filter(|&other| other != row && option_number(strip(screen.text(other))).is_some()).count();
    (others > 0).then_some(row)
}

/// The number of an option without cursor: `2. No`.
fn option_number(text: &str) -> Option<u32> {
    let (number, rest) = text.split_once('.')?;
    (number.len() <= 2 && rest.starts_with(' ')).then(|| number.parse().ok()).flatten()
}

/// The row of the menu's first option.
fn first_option(screen: &Screen, cursor: usize) -> usize {
    let chosen = strip(screen.text(cursor)).trim_start_matches(|c: char| !c.is_ascii_digit());
    if option_number(chosen) == Some(1) {
        return cursor;
    }
    let from = cursor.saturating_sub(CURSOR_ROWS_MAX);
    (from..cursor).rev().find(|&row| option_number(strip(screen.text(row))) == Some(1)).unwrap_or(cursor)
}

/// The dialog's rows: its box, its bar, what stands below the rule above it, or the indented rows around it.
fn region(frame: Frame, screen: &Screen, anchor: usize) -> Range<usize> {
    let end = screen.rows.len();
    let lowest = end.saturating_sub(DIALOG_ROWS_MAX);
    let text = |row: usize| screen.text(row);
    let last = |mark: char| (lowest..end).rev().find(|&row| text(row).trim_start().starts_with(mark));
    if let Some(bottom) = last('╰').filter(|&bottom| last_rows(screen, HINT_ROWS).any(|row| row == bottom))
    {
        let indent = |row: usize| text(row).len() - text(row).trim_start().len();
        let corner = |row: &usize| text(*row).trim_start().starts_with('╭') && indent(*row) == indent(bottom);
        if let Some(top) = (lowest..bottom).rev().find(corner) {
            return top..end;
        }
    }
    let has_bar = |row: &usize| text(*row).trim_start().starts_with('┃');
    if end > 0 && has_bar(&(end - 1)) {
        let top = (lowest..end).rev().take_while(has_bar).last().unwrap_or(lowest);
        return top..end;
    }
    let anchor = anchor.min(end);
    let rule = (lowest..anchor).rev().find(|&row| is_rule(text(row)));
    if let Some(rule) = rule.filter(|_| frame != Frame::Glyph) {
        return rule..end;
    }
    let inside = |row: &usize| text(*row).is_empty() || text(*row).starts_with(' ');
    let top = (lowest..anchor).rev().take_while(inside).last().unwrap_or(anchor);
    top..end
}

/// A row without borders.
fn strip(text: &str) -> &str {
    text.trim().trim_start_matches(['│', '┃', '|']).trim_end_matches(['│', '┃']).trim()
}

/// The text of a dialog so that two looks at it agree: no cursor, no spinner, no frames, single spaces.
fn normalise(signals: &Signals, rows: &[&str]) -> String {
    let mut text = String::new();
    for row in rows {
        let cursor = signals.cursor.as_ref().filter(|cursor| cursor.is_match(row));
        let row = if cursor.is_some() { row.trim_start_matches(|c: char| !c.is_ascii_digit()) } else { row };
        if is_rule(row) || row.starts_with(['╭', '╰', '╌']) {
            continue;
        }
        let row = row.trim_start_matches(|c: char| ('\u{2800}'..='\u{28ff}').contains(&c));
        if text.len() + row.len() > TEXT_BYTES_MAX {
            break;
        }
        for word in row.split_whitespace() {
            text.push_str(word);
            text.push(' ');
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// A question of the plain CLI: it is in the last row, or wraps into it; what is typed after it leaves it open.
fn question<'s>(signals: &'s Signals, screen: &Screen) -> Option<Dialog<'s>> {
    let last = screen.rows.len().checked_sub(1)?;
    let before = last.saturating_sub(2);
    let row = (before..=last).rev().find(|&row| {
        let joined: String = (row..=last).map(|row| screen.text(row)).collect();
        let tail =
            if row < last && is_full(screen, row) { 0 } else { joined.len() - screen.text(last).len() };
        let blank = (row..=last).any(|row| screen.rows[row].is_blank());
        let ends_here =
            |pattern: &Pattern| pattern.find(&joined).is_some_and(|m| asked(&joined, m.range()) > tail);
        !blank && signals.dialog_lines.iter().any(ends_here)
    })?;
    let top =
        (0..row).rev().take_while(|&row| !screen.rows[row].is_blank() && !is_rule(screen.text(row))).last();
    let mut dialog = judge(signals, screen, row..last + 1, vec![evidence("dialog.lines", screen, row)]);
    let top = top.unwrap_or(row);
    let shown: Vec<&str> = (top.max(row.saturating_sub(10))..row).map(|row| screen.text(row)).collect();
    // What is typed after the question is no part of it.
    let asked_text =
        dialog.text.rfind("]:").map_or(dialog.text.as_str(), |at| &dialog.text[..at + 2]).to_owned();
    dialog.text = format!("{}\n{asked_text}", normalise(signals, &shown)).trim().to_owned();
    dialog.top = top;
    Some(dialog)
}

/// Whether a row is as wide as the terminal, which the rules tell: what is typed in it goes on in the next one.
fn is_full(screen: &Screen, row: usize) -> bool {
    let columns = |row: usize| screen.text(row).chars().count();
    let width = (0..screen.rows.len()).filter(|&row| is_rule(screen.text(row))).map(columns).max();
    width.is_some_and(|width| columns(row) + 1 >= width)
}

/// Where the question itself ends: behind its `]:`.
fn asked(joined: &str, found: Range<usize>) -> usize {
    joined[found.clone()].rfind("]:").map_or(found.end, |at| found.start + at + 2)
}

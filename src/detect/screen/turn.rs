//! The end of the conversation: its last block, which alone can say that the turn ended in a limit or an error, and its
//! last line.
//!
//! Deliberately not here: anything above that block. Agents quote banners, and old turns had errors.

use super::ansi::Screen;
use super::{any, evidence};
use crate::config::backend::{Blocks, Error, Signals};
use crate::model::seen::Evidence;

/// Rows that are searched for the head of the last block.
const BLOCK_ROWS_MAX: usize = 200;
/// Longest text of a block, bytes: a limit or an error is said in a few rows.
const BLOCK_BYTES_MAX: usize = 2000;
/// Most rows of what a limit or an error is said in; the longest seen has 4 at 80 columns.
const FINAL_ROWS_MAX: usize = 10;
/// Most rows that a note wraps into.
const NOTE_ROWS_MAX: usize = 4;
/// Blocks above a limit menu that are searched for the limit's own line.
const LIMIT_BLOCKS_MAX: usize = 4;

/// A block of the conversation.
#[derive(Debug)]
struct Block {
    /// Its first row.
    top: usize,
    /// Its first paragraph, rows joined, wraps undone.
    text: String,
    /// It is this one paragraph, and short: what a limit or an error is said in.
    is_short: bool,
    /// In a bar, and not what a person said.
    answer_bar: bool,
}

/// How the last turn ended, when it did not end well.
#[derive(Debug)]
pub(super) enum Final {
    /// At the plan's limit; the text as shown.
    Limit(String, Evidence),
    /// In an error.
    Error(Error, Evidence),
}

/// Reads the last block above `end`.
pub(super) fn last(signals: &Signals, screen: &Screen, end: usize) -> Option<Final> {
    let block = block(signals, screen, end)?;
    if !block.is_short || !is_styled_so(signals, screen, &block) {
        return None;
    }
    if block.top > 0 && any(&signals.tool, screen.text(block.top - 1)) {
        return None;
    }
    if any(&signals.limit, &block.text) {
        return Some(Final::Limit(without_mark(&block.text), evidence("limit", screen, block.top)));
    }
    let error = signals.error.iter().any(|pattern| pattern.is_match(&block.text));
    if !error {
        return None;
    }
    let known = signals.kinds.iter().find(|(_, patterns)| any(patterns, &block.text)).map(|(kind, _)| *kind);
    // A bar is drawn around other things too: there the words must say that it is an error.
    if signals.blocks == Blocks::Paragraphs
        && block.text.starts_with('┃')
        && known.is_none()
        && !block.answer_bar
    {
        return None;
    }
    let kind = known.unwrap_or(Error::Server);
    let name = match kind {
        Error::Auth => "error.auth",
        Error::Billing => "error.billing",
        Error::Context => "error.context",
        Error::Server => "error.server",
        Error::Network => "error.network",
    };
    Some(Final::Error(kind, evidence(name, screen, block.top)))
}

/// The limit's line above its own menu.
pub(super) fn limit_above(signals: &Signals, screen: &Screen, end: usize) -> Option<(String, Evidence)> {
    let mut end = end;
    for _ in 0..LIMIT_BLOCKS_MAX {
        let block = block(signals, screen, end)?;
        if any(&signals.limit, &block.text) {
            return Some((without_mark(&block.text), evidence("limit", screen, block.top)));
        }
        end = block.top;
    }
    None
}

/// The last line of the conversation above `end`, without its mark; "" when there is none.
pub(super) fn last_line<'s>(signals: &Signals, screen: &'s Screen, end: usize) -> &'s str {
    let is_content = |text: &str| {
        !text.is_empty()
            && !any(&signals.skip, text)
            && !any(&signals.end, text)
            && !any(&signals.busy_status, text)
            && !any(&signals.busy_pass, text)
    };
    let rows = (0..end.min(screen.rows.len())).rev().take(BLOCK_ROWS_MAX);
    let line = rows.map(|row| screen.text(row)).find(|text| is_content(text)).unwrap_or("");
    let mark =
        signals.head.as_ref().filter(|_| signals.blocks == Blocks::Heads).and_then(|head| head.find(line));
    let line = mark.map_or(line, |mark| &line[mark.end()..]);
    line.trim_start_matches(['│', '┃', ' ']).trim_end_matches(['│', ' '])
}

/// The row of the last block's head, when its turn has not closed: the only sign of streaming text that some CLIs have
/// beside their title.
pub(super) fn open(signals: &Signals, screen: &Screen, end: usize) -> Option<usize> {
    let head = signals.head.as_ref().filter(|_| !signals.closed.is_empty())?;
    for row in (0..end).rev().take(BLOCK_ROWS_MAX) {
        if any(&signals.closed, screen.text(row)) {
            return None;
        }
        if head.is_match(screen.text(row)) {
            return Some(row);
        }
    }
    None
}

fn block(signals: &Signals, screen: &Screen, end: usize) -> Option<Block> {
    match signals.blocks {
        Blocks::Heads => headed(signals, screen, end),
        Blocks::Paragraphs => paragraph(signals, screen, end),
    }
}

/// The last block that begins with a head, notes skipped.
fn headed(signals: &Signals, screen: &Screen, end: usize) -> Option<Block> {
    let head = signals.head.as_ref()?;
    let mut rows: Vec<&str> = Vec::new();
    for row in (0..end).rev().take(BLOCK_ROWS_MAX) {
        let text = screen.text(row);
        let is_head = head.is_match(text);
        if is_head && any(&signals.end, text) {
            return None;
        }
        if any(&signals.skip, text) || any(&signals.busy_status, text) {
            // A note takes the rows that it wraps into with it, and nothing else.
            if is_head {
                let wrapped = rows.iter().rev().take_while(|row| !row.is_empty()).count();
                rows.truncate(rows.len() - wrapped);
                if wrapped > NOTE_ROWS_MAX || rows.iter().any(|row| !row.is_empty()) {
                    return None;
                }
            }
            continue;
        }
        rows.push(text);
        if is_head {
            rows.reverse();
            let shown = rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
            let first = rows.iter().position(|row| row.is_empty()).unwrap_or(shown).min(shown);
            let is_short = first == shown && shown <= FINAL_ROWS_MAX;
            return Some(Block { top: row, text: join(&rows[..first]), is_short, answer_bar: false });
        }
    }
    None
}

/// The last paragraph, notes skipped.
fn paragraph(signals: &Signals, screen: &Screen, end: usize) -> Option<Block> {
    let text = |row: usize| screen.text(row);
    let skipped =
        |row: usize| text(row).is_empty() || any(&signals.skip, text(row)) && !any(&signals.end, text(row));
    let last = (0..end).rev().take(BLOCK_ROWS_MAX).find(|&row| !skipped(row))?;
    let top = (0..=last).rev().take_while(|&row| !text(row).is_empty()).last()?;
    let rows: Vec<&str> = (top..=last).map(text).collect();
    if rows.iter().any(|row| any(&signals.end, row)) {
        return None;
    }
    let is_short = rows.len() <= FINAL_ROWS_MAX;
    let bars = rows.iter().all(|row| row.trim_start().starts_with('┃'));
    let inner: Vec<&str> = rows.iter().map(|row| row.trim_start().trim_start_matches('┃').trim()).collect();
    if !bars {
        return Some(Block { top, text: join(&rows), is_short, answer_bar: false });
    }
    // What a person said begins a turn: above it stands the end of the turn before, or nothing.
    let above = (0..top).rev().find(|&row| !text(row).is_empty()).map(text);
    let is_tool =
        inner.iter().find(|row| !row.is_empty()).is_some_and(|row| row.starts_with(['$', '#', '→']));
    let answer_bar =
        above.is_some_and(|above| !any(&signals.end, above) && !any(&signals.skip, above)) && !is_tool;
    Some(Block { top, text: format!("┃ {}", join(&inner)), is_short, answer_bar })
}

/// Rows as one line, wraps undone, bounded.
fn join(rows: &[&str]) -> String {
    let mut text = String::new();
    for row in rows {
        // The mark at the beginning of the first row keeps its indentation: patterns are anchored on it.
        let row = if text.is_empty() { row.trim_end() } else { row.trim() };
        if text.len() + row.len() > BLOCK_BYTES_MAX {
            break;
        }
        if !text.is_empty() && !row.is_empty() {
            text.push(' ');
        }
        text.push_str(row);
    }
    text
}

fn without_mark(text: &str) -> String {
    text.trim_start_matches(|c: char| c == ' ' || !(c.is_alphanumeric() || c == '[')).to_owned()
}

/// In a capture with colours an error has a colour of its own; what an agent says or a tool prints has none behind the
/// mark. Where not even the mark has one, the CLI draws without colours and nothing is known.
fn is_styled_so(signals: &Signals, screen: &Screen, block: &Block) -> bool {
    let row = &screen.rows[block.top];
    let mark = row.text.find(|c: char| c != ' ').unwrap_or(0);
    if !screen.styled || signals.blocks == Blocks::Paragraphs || !row.style(mark).coloured {
        return true;
    }
    let text = row.text[mark..].find(|c: char| c.is_alphanumeric() || c == '[').map_or(mark, |at| mark + at);
    row.style(text).coloured
}

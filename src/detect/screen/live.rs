//! Signs that the CLI works right now: below the composer, where nothing else can stand, and just above it.

use super::ansi::Screen;
use super::regions::{Composer, is_rule};
use super::{any, evidence};
use crate::config::backend::{Blocks, Frame, Signals};
use crate::model::seen::Evidence;

/// How far above the composer a status row may stand: a list of todos and queued messages can be between.
const STATUS_ROWS_MAX: usize = 30;
/// Blank rows in a row between them; two is the most seen.
const BLANK_ROWS_MAX: usize = 3;

/// What was seen of work.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Below the composer: certain.
    pub(super) footer: Option<Evidence>,
    /// Above it: an agent might have written the like.
    pub(super) status: Option<Evidence>,
    /// The row of `status`.
    pub(super) status_row: Option<usize>,
    /// An API call is tried again: the row that says so.
    pub(super) retrying: Option<Evidence>,
    /// The conversation is being compacted.
    pub(super) compacting: Option<Evidence>,
}

impl Signs {
    /// Whether anything says that it works.
    pub(super) fn any(&self) -> bool {
        self.footer.is_some() || self.status.is_some()
    }
}

/// Looks for signs of work around the composer, or at the bottom where there is none.
pub(super) fn signs(signals: &Signals, screen: &Screen, composer: Option<&Composer>) -> Signs {
    let mut signs = Signs::default();
    let end = screen.rows.len();
    let footer = composer.map_or(end..end, |composer| composer.footer.clone());
    for row in footer {
        if signs.footer.is_none() && any(&signals.busy_footer, screen.text(row)) {
            signs.footer = Some(evidence("busy.footer", screen, row));
        }
        note(signals, screen, row, &mut signs);
    }
    if let Some(row) = status_row(signals, screen, composer.map_or(end, |composer| composer.top)) {
        signs.status = Some(evidence("busy.status", screen, row));
        signs.status_row = Some(row);
        note(signals, screen, row, &mut signs);
        // The plain CLI prints the notice above its spinner.
        if signals.frame == Frame::Line && row > 0 && any(&signals.busy_status, screen.text(row - 1)) {
            note(signals, screen, row - 1, &mut signs);
        }
    }
    if signs.any() && signals.blocks == Blocks::Paragraphs && signs.compacting.is_none() {
        let top = composer.map_or(end, |composer| composer.top);
        let last = (0..top).rev().find(|&row| !screen.rows[row].is_blank());
        let last = last.filter(|&row| any(&signals.compacting, screen.text(row)));
        signs.compacting = last.map(|row| evidence("busy.compacting", screen, row));
    }
    signs
}

fn note(signals: &Signals, screen: &Screen, row: usize, signs: &mut Signs) {
    if signs.retrying.is_none() && any(&signals.retrying, screen.text(row)) {
        signs.retrying = Some(evidence("busy.retrying", screen, row));
    }
    if signs.compacting.is_none() && any(&signals.compacting, screen.text(row)) {
        signs.compacting = Some(evidence("busy.compacting", screen, row));
    }
}

/// The status row above `top`. Between it and the composer only blank and indented rows and those of `busy.pass` can
/// stand: a status above a newer block is a leftover or a quotation.
fn status_row(signals: &Signals, screen: &Screen, top: usize) -> Option<usize> {
    let gap = (0..top).rev().take_while(|&row| screen.rows[row].is_blank()).count();
    if gap > signals.busy_gap_max {
        return None;
    }
    let mut blank = 0;
    for row in (top.saturating_sub(STATUS_ROWS_MAX)..top).rev() {
        let text = screen.text(row);
        blank = if text.is_empty() { blank + 1 } else { 0 };
        if blank > BLANK_ROWS_MAX {
            return None;
        }
        if any(&signals.busy_status, text) {
            return Some(row);
        }
        if text.is_empty() || any(&signals.busy_pass, text) {
            continue;
        }
        let is_head = signals.head.as_ref().is_some_and(|head| head.is_match(text));
        if is_head && !text.starts_with("  ")
            || is_rule(text)
            || !text.starts_with(' ')
            || signals.frame == Frame::Line
        {
            return None;
        }
    }
    None
}

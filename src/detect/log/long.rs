//! A line that is longer than what is looked at at once. Patterns look at it piece by piece, each with the end of the one
//! before; what one of them has found is told once, whatever it finds further on. Metrics and traces look at its beginning.
//!
//! Deliberately not here: where such a line begins and ends (`scanner`).

use super::clean::LINE_MAX;
use super::filter::Filter;
use super::pattern::{Pattern, Piece, Then};
use crate::model::finding::Finding;
use crate::model::process::LongLine;

/// Bytes of a piece that the next one has again: a match that is longer may be missed where the line was cut.
pub const OVERLAP: usize = 4 * 1024;
/// Bytes before and behind a piece that are looked at for a word's edge: the longest character, and more.
pub const CONTEXT: usize = 8;
/// What moves from piece to piece.
pub const STEP: usize = LINE_MAX - OVERLAP;

/// The line at hand.
#[derive(Debug)]
pub struct Long {
    /// Patterns that found something in it, by their place.
    found: Vec<bool>,
}

/// A piece of it, with its context, and where that stands in the log.
#[derive(Debug)]
pub struct Window<'a> {
    pub piece: Piece<'a>,
    /// Place of the first byte.
    pub base: u64,
    /// The line's number.
    pub line: u64,
    /// A match that ends before it was told before.
    pub told: u64,
}

impl Long {
    /// Nothing was found in it yet.
    pub fn new(patterns: usize) -> Long {
        Long { found: vec![false; patterns] }
    }

    /// As another scan left it.
    pub fn known(patterns: usize, known: LongLine) -> Long {
        Long { found: (0..patterns).map(|place| known.found & bit(place) != 0).collect() }
    }

    /// For another scan.
    pub fn kept(&self) -> LongLine {
        let found = self.found.iter().enumerate().filter(|(_, found)| **found);
        LongLine { found: found.fold(0, |bits, (place, _)| bits | bit(place)) }
    }

    /// Looks at the next piece.
    pub fn judge(
        &mut self,
        patterns: &[Pattern],
        filter: &Filter,
        window: &Window<'_>,
        out: &mut Vec<Finding>,
    ) {
        let Window { piece, base, line, told } = window;
        if self.found.iter().all(|found| *found) || !filter.may_hold(piece.bytes, piece.from) {
            return;
        }
        for (pattern, known) in patterns.iter().zip(&mut self.found).filter(|(_, known)| !**known) {
            let Some(found) = pattern.judge(*piece) else { continue };
            *known = true;
            if base + found.end as u64 >= *told {
                let shown = found.shown.unwrap_or(0..piece.bytes.len());
                let (at, end) = (base + shown.start as u64, base + shown.end as u64);
                out.push(Finding { at, end, line: *line, ..found.finding });
            }
        }
    }
}

/// The last bit stands for all further ones.
fn bit(place: usize) -> u64 {
    1 << place.min(63)
}

impl<'a> Window<'a> {
    /// The bytes from `from` to `to`, of a line that ends at `stop`; None = its end is not known.
    pub fn cut(bytes: &'a [u8], from: usize, to: usize, stop: Option<usize>) -> Piece<'a> {
        let begin = from.saturating_sub(CONTEXT);
        let end = stop.unwrap_or(bytes.len()).min(to + CONTEXT);
        let then = if Some(end) == stop { Then::End } else { Then::More };
        // Without bytes to look back at, the first ones are for that: the piece before had them.
        Piece { bytes: &bytes[begin..end], from: CONTEXT.min(end - begin), then }
    }
}

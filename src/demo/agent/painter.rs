//! Draws on the main screen: output scrolls up, the region is drawn anew below it, and nothing at all is written when
//! nothing changed. Pure: makes bytes, `terminal.rs` writes them.

use super::region::{Line, Region};
use std::fmt::Write;

/// Erases the line and everything below. Not `ESC[J` in the first column: in the first row tmux (3.3a,
/// `screen_write_clearendofscreen`) takes that for clearing the screen and moves it all into the history.
const ERASE: &str = "\x1b[2K\x1b[C\x1b[J\r";

/// What stands on the screen, as far as we know.
#[derive(Debug, Default)]
pub struct Painter {
    drawn: Region,
    title: String,
}

impl Painter {
    /// The bytes that print `output` above and bring the region to `region` on a terminal of `width` columns; empty
    /// when all of it is there already.
    pub fn paint(&mut self, output: &[String], region: Region, width: usize, title: &str) -> String {
        let mut bytes = String::new();
        if self.title != title {
            let _ = write!(bytes, "\x1b]0;{title}\x07");
            title.clone_into(&mut self.title);
        }
        if output.is_empty() && region == self.drawn {
            return bytes;
        }
        self.to_top(&mut bytes, width);
        // A changed size makes other rules, and a region of other lines is drawn from its top.
        if output.is_empty() && region.lines.len() == self.drawn.lines.len() && self.is_as_wide_as(&region) {
            self.replace_lines(&mut bytes, &region);
        } else {
            bytes.push_str(ERASE);
            for line in output {
                bytes.push_str(line);
                bytes.push_str("\r\n");
            }
            for (i, line) in region.lines.iter().enumerate() {
                bytes.push_str(if i == 0 { "" } else { "\r\n" });
                put(&mut bytes, line);
            }
        }
        place_cursor(&mut bytes, &region);
        self.drawn = region;
        bytes
    }

    /// The bytes that print `output` and take the region away, so that what comes next stands in its place.
    pub fn leave(&mut self, output: &[String], width: usize) -> String {
        let mut bytes = String::new();
        self.to_top(&mut bytes, width);
        bytes.push_str(ERASE);
        for line in output {
            bytes.push_str(line);
            bytes.push_str("\r\n");
        }
        self.drawn = Region::default();
        bytes
    }

    /// The bytes that leave the region where it is and go below it.
    pub fn abandon(&self) -> String {
        "\r\n".repeat(self.drawn.lines.len().saturating_sub(self.drawn.row))
    }

    /// Moves to the region's first column and row. The terminal may have become narrower since it was drawn: lines
    /// that no longer fit take several rows then.
    fn to_top(&self, bytes: &mut String, width: usize) {
        let width = width.max(1);
        let above: usize = self
            .drawn
            .lines
            .iter()
            .take(self.drawn.row)
            .map(|line| line.columns().div_ceil(width).max(1))
            .sum();
        up(bytes, above + self.drawn.column / width);
        bytes.push('\r');
    }

    /// Whether the widest line, a rule where there is one, kept its width.
    fn is_as_wide_as(&self, region: &Region) -> bool {
        let widest = |r: &Region| r.lines.iter().filter(|l| l.text.starts_with('─')).map(Line::columns).max();
        widest(region) == widest(&self.drawn)
    }

    /// Writes only the lines that differ; the cursor stands at the top.
    fn replace_lines(&self, bytes: &mut String, region: &Region) {
        for (i, (old, new)) in self.drawn.lines.iter().zip(&region.lines).enumerate() {
            bytes.push_str(if i == 0 { "" } else { "\r\n" });
            if old != new {
                bytes.push_str("\x1b[2K");
                put(bytes, new);
            }
        }
    }
}

fn put(bytes: &mut String, line: &Line) {
    bytes.push_str(&line.text);
    if !line.dim.is_empty() {
        let _ = write!(bytes, "\x1b[2m{}\x1b[0m", line.dim);
    }
}

/// From the region's last line to where the cursor belongs.
fn place_cursor(bytes: &mut String, region: &Region) {
    up(bytes, region.lines.len().saturating_sub(region.row + 1));
    let _ = write!(bytes, "\x1b[{}G", region.column + 1);
}

fn up(bytes: &mut String, rows: usize) {
    if rows > 0 {
        let _ = write!(bytes, "\x1b[{rows}A");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::agent::region::{View, lay_out};

    fn composer(text: &str, width: usize) -> Region {
        lay_out(&View::Composer { text, busy: None, queued: vec![] }, width, 24)
    }

    #[test]
    fn an_unchanged_screen_costs_nothing() {
        let mut painter = Painter::default();
        assert!(!painter.paint(&[], composer("", 20), 20, "t").is_empty());
        assert_eq!(painter.paint(&[], composer("", 20), 20, "t"), "");
        assert_eq!(painter.paint(&[], composer("", 20), 20, "u"), "\x1b]0;u\x07");
    }

    #[test]
    fn one_changed_line_is_written_alone() {
        let mut painter = Painter::default();
        painter.paint(&[], composer("a", 20), 20, "");
        let bytes = painter.paint(&[], composer("ab", 20), 20, "");
        assert_eq!(bytes, "\x1b[1A\r\r\n\x1b[2K> ab\r\n\r\n\x1b[2A\x1b[5G");
    }

    #[test]
    fn output_goes_above_the_region() {
        let mut painter = Painter::default();
        painter.paint(&[], composer("", 5), 5, "");
        let bytes = painter.paint(&["one".into()], composer("", 5), 5, "");
        assert!(bytes.starts_with(&format!("\x1b[1A\r{ERASE}one\r\n─────\r\n> ")), "{bytes:?}");
    }

    #[test]
    fn a_narrower_terminal_has_wrapped_what_was_drawn() {
        let mut painter = Painter::default();
        painter.paint(&[], composer("", 20), 20, "");
        // The rule above the cursor takes two rows of ten.
        assert!(painter.paint(&[], composer("", 10), 10, "").starts_with(&format!("\x1b[2A\r{ERASE}")));
    }
}

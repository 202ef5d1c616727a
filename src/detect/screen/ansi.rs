//! A capture as rows: text without escape sequences, and where it was dim, inverse or coloured.
//!
//! The text is hostile: lines of any length, lines without end, broken sequences, control bytes. Everything is bounded
//! and nothing is believed. Deliberately not here: what a row means.

/// Rows kept, counted from the last that is not blank: more than the tallest terminal shows.
const ROWS_MAX: usize = 300;
/// Characters kept of a row: `-J` joins what the terminal wrapped.
const ROW_CHARS_MAX: usize = 4000;

/// The rows of a capture, blank ones at the end left out.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub(super) rows: Vec<Row>,
    /// Line of the capture that `rows[0]` is, from 1.
    pub(super) first_line: usize,
    /// The capture has attributes (`capture-pane -e`).
    pub(super) styled: bool,
}

/// One row.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// NBSP is a space, control and zero-width characters are gone, the right end is trimmed.
    pub(super) text: String,
    /// Where the style changes: byte offset and the style from there on. Before the first: plain.
    styles: Vec<(usize, Style)>,
}

/// What SGR says of a character, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) dim: bool,
    pub(super) inverse: bool,
    /// It has a foreground of its own.
    pub(super) coloured: bool,
}

impl Screen {
    /// Reads a capture.
    pub(super) fn parse(capture: &str) -> Screen {
        let capture = trim_blank_lines(capture);
        let mut lines: Vec<&str> = capture.rsplit('\n').take(ROWS_MAX).collect();
        lines.reverse();
        let styled = lines.iter().any(|line| line.contains("\x1b["));
        let newlines = capture.bytes().filter(|&b| b == b'\n').count();
        let first_line = newlines + 2 - lines.len();
        let mut style = Style::default();
        let rows = lines.into_iter().map(|line| Row::parse(line, &mut style)).collect();
        let mut screen = Screen { rows, first_line, styled };
        while screen.rows.last().is_some_and(Row::is_blank) {
            screen.rows.pop();
        }
        screen
    }

    /// The text of a row; "" outside of the screen.
    pub(super) fn text(&self, row: usize) -> &str {
        self.rows.get(row).map_or("", |row| row.text.as_str())
    }

    /// The line of the capture, from 1.
    pub(super) fn line(&self, row: usize) -> usize {
        self.first_line + row
    }

    /// Cuts everything from a column on (in characters) off all rows.
    pub(super) fn cut(&mut self, column: usize) {
        for row in &mut self.rows {
            if let Some((at, _)) = row.text.char_indices().nth(column) {
                row.text.truncate(at);
                row.trim_end();
            }
        }
    }
}

impl Row {
    fn parse(line: &str, style: &mut Style) -> Row {
        let mut row =
            Row { text: String::with_capacity(line.len().min(4 * ROW_CHARS_MAX)), styles: Vec::new() };
        if *style != Style::default() {
            row.styles.push((0, *style));
        }
        let mut rest = line;
        let mut room = ROW_CHARS_MAX;
        while room > 0 {
            // The plain stretch up to the next character that is not copied as it is.
            let plain = rest.bytes().take(room).take_while(|b| (0x20..0x7f).contains(b)).count();
            row.text.push_str(&rest[..plain]);
            room -= plain;
            rest = &rest[plain..];
            let mut chars = rest.chars();
            let Some(c) = chars.next().filter(|_| room > 0) else { break };
            if c == '\x1b' {
                let before = *style;
                rest = escape(chars.as_str(), style);
                if *style != before {
                    row.styles.push((row.text.len(), *style));
                }
                continue;
            }
            rest = chars.as_str();
            if let Some(c) = visible(c) {
                row.text.push(c);
                room -= 1;
            }
        }
        row.trim_end();
        row
    }

    fn trim_end(&mut self) {
        self.text.truncate(self.text.trim_end().len());
    }

    /// Nothing but spaces.
    pub(super) fn is_blank(&self) -> bool {
        self.text.is_empty()
    }

    /// The style of the character at a byte offset.
    pub(super) fn style(&self, at: usize) -> Style {
        let next = self.styles.partition_point(|(from, _)| *from <= at);
        next.checked_sub(1).map_or(Style::default(), |i| self.styles[i].1)
    }
}

/// The capture without blank lines at its end, so that a cleared screen below them can't push the rest out of reach.
fn trim_blank_lines(capture: &str) -> &str {
    let mut rest = capture;
    loop {
        let start = rest.rfind('\n').map_or(0, |at| at + 1);
        let line = &rest[start..];
        let blank = line.len() <= ROW_CHARS_MAX && Row::parse(line, &mut Style::default()).is_blank();
        if !blank || start == 0 {
            return rest;
        }
        rest = &rest[..start - 1];
    }
}

/// What is kept of a character.
fn visible(c: char) -> Option<char> {
    match c {
        '\t' | '\u{a0}' | '\u{202f}' | '\u{2007}' => Some(' '),
        '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
        c if c.is_control() => None,
        c => Some(c),
    }
}

/// Skips the sequence after an ESC and returns what follows it; SGR changes the style. A sequence without an end takes
/// the rest of the line.
fn escape<'a>(rest: &'a str, style: &mut Style) -> &'a str {
    let mut chars = rest.chars();
    match chars.next() {
        Some('[') => {
            let body = chars.as_str();
            let Some(end) = body.find(|c: char| ('\x40'..='\x7e').contains(&c)) else { return "" };
            if body[end..].starts_with('m') {
                sgr(&body[..end], style);
            }
            &body[end + 1..]
        }
        // OSC and its kin: up to BEL or ST.
        Some(']' | 'P' | '^' | '_' | 'X') => {
            let body = chars.as_str();
            let bell = body.find('\x07').map(|at| (at, 1));
            let st = body.find("\x1b\\").map(|at| (at, 2));
            match bell.into_iter().chain(st).min() {
                Some((at, length)) => &body[at + length..],
                None => "",
            }
        }
        // Character sets take one more character.
        Some('(' | ')' | '*' | '+' | '#' | '%') => {
            chars.next();
            chars.as_str()
        }
        Some(_) | None => chars.as_str(),
    }
}

/// Select Graphic Rendition, ECMA-48 8.3.117; 38, 48 and 58 carry a colour of 2 or 4 more parameters (ITU-T T.416).
fn sgr(parameters: &str, style: &mut Style) {
    let mut numbers =
        parameters.split([';', ':']).map(|n| if n.is_empty() { Some(0) } else { n.parse().ok() });
    while let Some(number) = numbers.next() {
        let number: u32 = number.unwrap_or(u32::MAX);
        match number {
            0 => *style = Style::default(),
            2 => style.dim = true,
            22 => style.dim = false,
            7 => style.inverse = true,
            27 => style.inverse = false,
            30..=37 | 90..=97 => style.coloured = true,
            39 => style.coloured = false,
            38 | 48 | 58 => {
                style.coloured |= number == 38;
                let more = if numbers.next() == Some(Some(2)) { 3 } else { 1 };
                for _ in 0..more {
                    numbers.next();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(capture: &str, want: &[&str]) {
        let screen = Screen::parse(capture);
        let rows: Vec<&str> = screen.rows.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(rows, want);
    }

    #[test]
    fn rows_are_text_without_sequences_or_controls() {
        check("a\x1b[1;38;2;2;2;2mb\u{a0}c\x1b[0m  \n\n\n", &["ab c"]);
        check("\x1b]0;title\x07x\x1b]8;;u\x1b\\y", &["xy"]);
        check("\n a\x07\u{9b}\u{200b}\tb\n", &["", " a b"]);
        check("a\x1b[38;5", &["a"]);
        check("a\x1b", &["a"]);
        check("", &[]);
        check(" \x1b[7m \x1b[0m\n", &[]);
    }

    #[test]
    fn style_goes_on_over_rows_until_it_is_reset() {
        let screen = Screen::parse("a\x1b[2mb\nc\x1b[22md\x1b[7;38;5;2me\x1b[0mf");
        let dim = |row: usize, at| screen.rows[row].style(at).dim;
        assert!(screen.styled);
        assert_eq!((dim(0, 0), dim(0, 1), dim(1, 0), dim(1, 1)), (false, true, true, false));
        assert_eq!(screen.rows[1].style(2), Style { dim: false, inverse: true, coloured: true });
        assert_eq!(screen.rows[1].style(3), Style::default());
    }

    #[test]
    fn the_bottom_is_kept_and_lines_are_those_of_the_capture() {
        let capture = "x\n".repeat(100_000) + "last" + &"\n".repeat(5000);
        let screen = Screen::parse(&capture);
        assert_eq!(screen.rows.len(), ROWS_MAX);
        assert_eq!(screen.text(ROWS_MAX - 1), "last");
        assert_eq!(screen.line(ROWS_MAX - 1), 100_001);
        assert_eq!(Screen::parse(&"ä".repeat(1_000_000)).text(0).chars().count(), ROW_CHARS_MAX);
    }
}

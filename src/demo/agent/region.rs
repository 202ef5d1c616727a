//! What stands at the bottom of the screen: queue, spinner, composer or dialog, footer. Pure: a [`View`] and a size
//! become lines, each at most one row, in exactly the words that the screen reader of the `demo` backend knows.

use crate::base::text::strip_controls;

/// Queued messages shown; of more only their number is.
const QUEUED_SHOWN_MAX: usize = 5;

/// What is to be shown.
#[derive(Clone, Debug, PartialEq)]
pub enum View<'a> {
    /// The program starts: nothing but one line.
    Starting,
    /// A dialog has the composer's place.
    Dialog { question: &'a str, detail: Option<&'a str>, answers: [&'a str; 2], chosen: usize },
    /// The composer is there.
    Composer { text: &'a str, busy: Option<Busy>, queued: Vec<&'a str> },
}

/// A turn under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Busy {
    /// `Working…`
    pub doing: String,
    /// Between the doing and the bracket: `attempt 2/5`.
    pub detail: Option<String>,
    /// Seconds since the turn began.
    pub seconds: u64,
    /// Which of the spinner's glyphs, counted on for ever.
    pub frame: u64,
}

/// The spinner.
const GLYPHS: [char; 4] = ['*', '+', 'x', '·'];

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Shown as it is.
    pub text: String,
    /// Follows, dim.
    pub dim: String,
}

/// Rows, and where the cursor stands in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// At least one.
    pub lines: Vec<Line>,
    /// Row of the cursor, from 0.
    pub row: usize,
    /// Column of the cursor, from 0.
    pub column: usize,
}

/// Lays the view out for a terminal of `width` × `height`.
pub fn lay_out(view: &View<'_>, width: usize, height: usize) -> Region {
    let mut region = match view {
        View::Starting => end_at_last(vec![Line::plain("demo agent starting…")]),
        View::Dialog { question, detail, answers, chosen } => {
            dialog(question, *detail, *answers, *chosen, width)
        }
        View::Composer { text, busy, queued } => composer(text, busy.as_ref(), queued, width, height),
    };
    // More rows than the screen has can't be gone back over.
    let surplus = region.lines.len().saturating_sub(height.max(1));
    region.lines.drain(..surplus);
    region.row = region.row.saturating_sub(surplus);
    for line in &mut region.lines {
        line.text = fit(&line.text, width);
        line.dim = fit(&line.dim, width.saturating_sub(columns(&line.text)));
    }
    region.column = region.column.min(width.saturating_sub(1));
    region
}

fn dialog(question: &str, detail: Option<&str>, answers: [&str; 2], chosen: usize, width: usize) -> Region {
    let mut lines = vec![rule(width), Line::plain(format!("  {question}"))];
    lines.extend(detail.map(|detail| Line::plain(format!("    {detail}"))));
    for (i, answer) in answers.iter().enumerate() {
        let mark = if i == chosen { "  > " } else { "    " };
        lines.push(Line::plain(format!("{mark}{}. {answer}", i + 1)));
    }
    lines.push(Line::plain("  Enter to confirm · Esc to cancel"));
    end_at_last(lines)
}

fn composer(text: &str, busy: Option<&Busy>, queued: &[&str], width: usize, height: usize) -> Region {
    let mut lines: Vec<Line> = queued
        .iter()
        .take(QUEUED_SHOWN_MAX)
        .map(|text| Line::plain(format!("  queued: {}", flat(text))))
        .collect();
    if queued.len() > QUEUED_SHOWN_MAX {
        lines.push(Line::plain(format!("  queued: … and {} more", queued.len() - QUEUED_SHOWN_MAX)));
    }
    lines.extend(busy.map(Busy::line));
    lines.push(rule(width));
    let (row, column) = if text.is_empty() {
        lines.push(Line { text: "> ".into(), dim: "Type a message".into() });
        (lines.len() - 1, 2)
    } else {
        let mut rows = wrap(&strip_controls(text), width.saturating_sub(2).max(1));
        // The end of a long text, where the cursor is.
        let shown = (height / 2).max(1);
        rows.drain(..rows.len().saturating_sub(shown));
        let column = 2 + rows.last().map_or(0, |row| columns(row));
        for (i, row) in rows.iter().enumerate() {
            lines.push(Line::plain(format!("{}{row}", if i == 0 { "> " } else { "  " })));
        }
        (lines.len() - 1, column)
    };
    lines.push(rule(width));
    let help = if busy.is_some() { "esc to interrupt" } else { "? for help" };
    lines.push(Line::plain(format!("  demo agent · {help}")));
    Region { lines, row, column }
}

impl Busy {
    fn line(&self) -> Line {
        let glyph = GLYPHS[(self.frame % 4) as usize];
        let detail = self.detail.as_ref().map_or(String::new(), |d| format!(" · {d}"));
        Line::plain(format!("{glyph} {}{detail} ({}s · esc to interrupt)", self.doing, self.seconds))
    }
}

impl Line {
    fn plain(text: impl Into<String>) -> Line {
        Line { text: text.into(), dim: String::new() }
    }

    /// Columns that it takes.
    pub fn columns(&self) -> usize {
        columns(&self.text) + columns(&self.dim)
    }
}

fn rule(width: usize) -> Line {
    Line::plain("─".repeat(width))
}

/// The cursor stands at the end of the last line.
fn end_at_last(lines: Vec<Line>) -> Region {
    let (row, column) = (lines.len().saturating_sub(1), lines.last().map_or(0, Line::columns));
    Region { lines, row, column }
}

/// Newlines as spaces.
fn flat(text: &str) -> String {
    strip_controls(text).replace('\n', " ")
}

/// Rows of at most `width` columns.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        let (mut row, mut used) = (String::new(), 0);
        for c in line.chars() {
            if used + char_columns(c) > width {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            row.push(c);
            used += char_columns(c);
        }
        rows.push(row);
    }
    rows
}

/// As much of `text` as fits into `width` columns.
fn fit(text: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += char_columns(*c);
        used <= width
    };
    text.chars().take_while(fits).collect()
}

fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

/// Columns of a character, nearly as tmux counts them: the large blocks of Unicode's East Asian Width (UAX 11) and
/// of combining marks; a rare character may be one off, which costs a displaced cursor.
fn char_columns(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x1f900..=0x1f9ff => 2,
        0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(view: &View<'_>, want: &str, cursor: (usize, usize)) {
        let region = lay_out(view, 60, 24);
        let rule = "─".repeat(60);
        let rows: Vec<String> = region
            .lines
            .iter()
            .map(|l| format!("{}{}", l.text, l.dim))
            .map(|l| l.replace(&rule, "──"))
            .collect();
        assert_eq!(rows.join("\n"), want);
        assert_eq!((region.row, region.column), cursor);
    }

    #[test]
    fn the_composer_in_its_states() {
        let idle = |text| View::Composer { text, busy: None, queued: vec![] };
        check(&idle(""), "──\n> Type a message\n──\n  demo agent · ? for help", (1, 2));
        check(&idle("a\nbc"), "──\n> a\n  bc\n──\n  demo agent · ? for help", (2, 4));
        let doing = Busy { doing: "Working…".into(), detail: None, seconds: 12, frame: 5 };
        let retry =
            Busy { doing: "Retrying in 3s".into(), detail: Some("attempt 2/5".into()), ..doing.clone() };
        check(
            &View::Composer { text: "", busy: Some(doing), queued: vec!["x\ny"] },
            "  queued: x y\n+ Working… (12s · esc to interrupt)\n──\n> Type a message\n──\n  demo agent · esc to interrupt",
            (3, 2),
        );
        check(
            &View::Composer { text: "", busy: Some(retry), queued: vec![] },
            "+ Retrying in 3s · attempt 2/5 (12s · esc to interrupt)\n──\n> Type a message\n──\n  demo agent · esc to interrupt",
            (2, 2),
        );
    }

    #[test]
    fn dialogs_mark_the_chosen_answer() {
        let view = View::Dialog {
            question: "Do you want to run this command?",
            detail: Some("make"),
            answers: ["Yes", "No"],
            chosen: 1,
        };
        check(
            &view,
            "──\n  Do you want to run this command?\n    make\n    1. Yes\n  > 2. No\n  Enter to confirm · Esc to cancel",
            (5, 34),
        );
    }

    #[test]
    fn every_line_is_one_row_however_small_the_terminal() {
        let text = "漢字 and more text than fits".repeat(40);
        for (width, height) in [(1, 1), (2, 3), (7, 4), (20, 10), (0, 0)] {
            let view = View::Composer { text: &text, busy: None, queued: vec!["one", "two"] };
            let region = lay_out(&view, width, height);
            assert!(region.lines.len() <= height.max(1));
            assert!(region.row < region.lines.len());
            assert!(region.lines.iter().all(|line| line.columns() <= width), "{width}");
        }
    }

    #[test]
    fn long_queues_are_counted() {
        let queued: Vec<&str> = vec!["q"; 8];
        let region = lay_out(&View::Composer { text: "", busy: None, queued }, 40, 24);
        assert_eq!(region.lines[5].text, "  queued: … and 3 more");
    }
}

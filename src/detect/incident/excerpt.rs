//! The log around a finding: at most 200 lines on each side, each of bounded length, the finding's own lines marked.

use super::readable;
use std::ops::Range;

/// Lines kept on each side of the finding.
pub const AROUND: usize = 200;
/// Bytes on each side of the finding that are looked at for them.
pub const BYTES_AROUND: usize = 256 << 10;
/// Longest line that is kept, bytes.
const LINE_MAX: usize = 2000;
/// Marked lines that are kept of a very long finding.
const HOT_MAX: usize = 600;

/// What is shown of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The file; "" = there is none.
    pub path: String,
    /// Text, and whether it is the finding's own.
    pub lines: Vec<(String, Hot)>,
    /// What a reader has to know about it: where it begins, why there is nothing.
    pub note: String,
}

/// Is a line the finding's own?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hot {
    Yes,
    No,
}

/// Where in these bytes the finding's text stands: the whole of its first lines, else its first one; the last place wins.
/// None when it is not there.
pub fn find(bytes: &[u8], text: &str) -> Option<Range<usize>> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.first()?;
    let whole = text.trim_matches('\n');
    for needle in [whole, first] {
        if let Some(at) = memchr::memmem::rfind(bytes, needle.as_bytes()) {
            return Some(at..at + needle.len());
        }
    }
    None
}

/// Cuts the lines around `hot` out of `bytes`, which may begin and end within a line. Without `hot` the end of it is shown.
pub fn cut(path: &str, bytes: &[u8], hot: Option<Range<usize>>, begins: Begins) -> Excerpt {
    let len = bytes.len();
    let hot = hot.filter(|hot| hot.start <= hot.end && hot.end <= len);
    let (from, to) = hot.as_ref().map_or((len, len), |hot| (hot.start, hot.end));
    let start = memchr::memrchr(b'\n', &bytes[..from]).map_or(0, |at| at + 1);
    let end = if hot.is_none() || bytes[..to].ends_with(b"\n") {
        to
    } else {
        memchr::memchr(b'\n', &bytes[to..]).map_or(len, |at| to + at + 1)
    };
    let mut before: Vec<&[u8]> = lines(&bytes[..start]).collect();
    if begins == Begins::Within && !before.is_empty() && bytes.len() > 1 {
        before.remove(0);
    }
    let skipped = before.len().saturating_sub(AROUND);
    let mut out: Vec<(String, Hot)> = before[skipped..].iter().map(|line| (shown(line), Hot::No)).collect();
    out.extend(lines(&bytes[start..end]).take(HOT_MAX).enumerate().map(|(n, line)| {
        let mark = if hot.is_some() { Hot::Yes } else { Hot::No };
        // Of a long line the part that was found.
        let far = if n == 0 && from - start > LINE_MAX / 2 { from - start } else { 0 };
        let text = shown(line.get(far..).unwrap_or(line));
        (if far > 0 && line.len() > LINE_MAX { format!("… {text}") } else { shown(line) }, mark)
    }));
    out.extend(lines(&bytes[end..]).take(AROUND).map(|line| (shown(line), Hot::No)));
    Excerpt { path: path.to_owned(), lines: out, note: String::new() }
}

/// Do the bytes begin with a line's beginning?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// They do.
    AtLine,
    /// Their first line may be the rest of one.
    Within,
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let empty = bytes.is_empty();
    bytes.split(|b| *b == b'\n').filter(move |_| !empty)
}

fn shown(line: &[u8]) -> String {
    let cut = &line[..line.len().min(LINE_MAX)];
    let text = readable(&String::from_utf8_lossy(cut), LINE_MAX + 100).trim_end().to_owned();
    let text = text.replace('\n', " ⏎ ");
    if line.len() > LINE_MAX { format!("{text} … ({} bytes)", line.len()) } else { text }
}

impl Excerpt {
    /// Nothing, and why.
    pub fn nothing(path: &str, why: impl Into<String>) -> Excerpt {
        Excerpt { path: path.to_owned(), lines: Vec::new(), note: why.into() }
    }

    /// `log_excerpt.txt`.
    pub fn page(&self) -> String {
        let mut out = String::new();
        let what = if self.path.is_empty() { "no log" } else { self.path.as_str() };
        out.push_str(&format!("# {what}"));
        if self.lines.iter().any(|(_, hot)| *hot == Hot::Yes) {
            out.push_str(" (lines of the finding are marked with >)");
        }
        out.push('\n');
        if !self.note.is_empty() {
            out.push_str(&format!("# {}\n", self.note));
        }
        for (line, hot) in &self.lines {
            let gutter = if *hot == Hot::Yes { ">" } else { " " };
            out.push_str(format!("{gutter} {line}").trim_end());
            out.push('\n');
        }
        out
    }

    /// The lines of the finding and at most so many before and after; without a finding the last ones.
    pub fn near(&self, before: usize, after: usize) -> Vec<String> {
        let hot = |line: &(String, Hot)| line.1 == Hot::Yes;
        let first = self.lines.iter().position(hot);
        let last = self.lines.iter().rposition(hot);
        let (from, to) = match (first, last) {
            (Some(first), Some(last)) => (first.saturating_sub(before), last + after + 1),
            (None, _) | (_, None) => (self.lines.len().saturating_sub(before + after), self.lines.len()),
        };
        let shown = self.lines.iter().take(to).skip(from);
        shown
            .map(|(line, hot)| if *hot == Hot::Yes { format!("> {line}") } else { format!("  {line}") })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_lines_on_each_side_and_the_finding_marked() {
        let text: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        let hot = find(text.as_bytes(), "line 500\nline 501").unwrap();
        let excerpt = cut("out.log", text.as_bytes(), Some(hot), Begins::AtLine);
        assert_eq!(excerpt.lines.len(), 402);
        assert_eq!(excerpt.lines[0].0, "line 300");
        let marked: Vec<&str> =
            excerpt.lines.iter().filter(|l| l.1 == Hot::Yes).map(|l| l.0.as_str()).collect();
        assert_eq!(marked, ["line 500", "line 501"]);
        assert_eq!(excerpt.near(1, 1), ["  line 499", "> line 500", "> line 501", "  line 502"]);
    }

    #[test]
    fn without_a_place_the_end_is_shown() {
        let excerpt = cut("out.log", b"half a line\na\nb\n", None, Begins::Within);
        assert_eq!(excerpt.page(), "# out.log\n  a\n  b\n");
        assert_eq!(cut("x", b"", None, Begins::Within).lines, []);
        assert_eq!(cut("x", b"abc", Some(9..12), Begins::AtLine).lines, [("abc".to_owned(), Hot::No)]);
    }

    #[test]
    fn of_a_long_line_the_part_that_was_found_is_shown() {
        let line = format!("{} boom {}", "x".repeat(90_000), "y".repeat(90_000));
        let log = format!("before\n{line}\nafter\n");
        let hot = find(log.as_bytes(), "boom yyy").unwrap();
        let excerpt = cut("out.log", log.as_bytes(), Some(hot), Begins::AtLine);
        assert_eq!(excerpt.lines.len(), 3);
        assert!(excerpt.lines[1].0.starts_with("… boom yyy") && excerpt.lines[1].0.len() < 3000);
    }

    #[test]
    fn long_and_hostile_lines_are_bounded() {
        let mut bytes = vec![b'x'; 1 << 20];
        bytes.extend(b"\n\xff\xfe\x1b[2Joom\r\n");
        let hot = find(&bytes, "oom").unwrap();
        let excerpt = cut("x", &bytes, Some(hot), Begins::AtLine);
        assert!(excerpt.page().len() < 3000);
        assert_eq!(excerpt.lines[1], ("\u{fffd}\u{fffd}oom".to_owned(), Hot::Yes));
    }
}

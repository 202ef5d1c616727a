//! Source code around a frame: which frames are the user's, and the function that encloses a line.
//!
//! By syntax tree where the feature `frames` is on and the language is known; else the lines around. Deliberately not here:
//! reading files (the engine hands their text in), and how it is shown (`detect::incident`).

#[cfg(feature = "frames")]
mod grammar;
pub mod library;

/// Longest source that is looked at, bytes.
pub const SOURCE_MAX: usize = 1 << 20;
/// Longest function that is shown whole, lines; of a longer one its head and the lines around the hot one.
const WHOLE_MAX: usize = 120;
/// Lines shown on each side of the hot one when there is no enclosing function, or it is too long.
const AROUND: usize = 20;
/// Lines of a long function's head.
const HEAD: usize = 4;
/// Longest line that is shown, characters.
const LINE_MAX: usize = 240;

/// The languages that sources are shown in, by the ending of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Python,
    JavaScript,
    TypeScript,
    Tsx,
    Go,
    Rust,
    Java,
}

impl Syntax {
    /// By the file's ending; None = nothing that is read: a trace can name any file, and only sources are shown.
    pub fn of(path: &str) -> Option<Syntax> {
        Some(match path.rsplit_once('.')?.1 {
            "py" | "pyw" | "pyi" => Syntax::Python,
            "js" | "mjs" | "cjs" | "jsx" => Syntax::JavaScript,
            "ts" | "mts" | "cts" => Syntax::TypeScript,
            "tsx" => Syntax::Tsx,
            "go" => Syntax::Go,
            "rs" => Syntax::Rust,
            "java" => Syntax::Java,
            _ => return None,
        })
    }

    /// Its word behind a code fence.
    pub fn fence(self) -> &'static str {
        match self {
            Syntax::Python => "python",
            Syntax::JavaScript => "javascript",
            Syntax::TypeScript => "typescript",
            Syntax::Tsx => "tsx",
            Syntax::Go => "go",
            Syntax::Rust => "rust",
            Syntax::Java => "java",
        }
    }
}

/// Source lines around a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// What encloses the place, as far as a syntax tree says: `function step`.
    pub enclosing: Option<String>,
    /// Line number and text; None between two of them = lines were left out.
    pub lines: Vec<Option<(usize, String)>>,
    /// The hot line.
    pub hot: usize,
}

/// What encloses a line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Enclosing {
    /// `function step`.
    title: String,
    /// First line, from 1.
    first: usize,
    /// Last line.
    last: usize,
}

/// The function around a line (from 1) of a source, or the lines around it; None when the file has no such line.
pub fn snippet(syntax: Syntax, text: &str, line: usize) -> Option<Snippet> {
    let lines: Vec<&str> = text.lines().collect();
    if line == 0 || line > lines.len() {
        return None;
    }
    let enclosing = enclosing(syntax, text, line);
    let (first, last) =
        enclosing.as_ref().map_or((1, lines.len()), |found| (found.first, found.last.min(lines.len())));
    let whole = enclosing.is_some() && last.saturating_sub(first) < WHOLE_MAX;
    let near = (line.saturating_sub(AROUND).max(first), (line + AROUND).min(last));
    let (from, to) = if whole { (first, last) } else { near };
    let show = |n: usize| lines.get(n - 1).map(|text| (n, shown(text)));
    let mut out: Vec<Option<(usize, String)>> = Vec::new();
    if enclosing.is_some() && first < from {
        let head = (first..from).take(HEAD);
        out.extend(head.map(show));
        if first + HEAD < from {
            out.push(None);
        }
    }
    out.extend((from..=to).map(show));
    if enclosing.is_some() && to < last {
        out.push(None);
    }
    Some(Snippet { enclosing: enclosing.map(|found| found.title), lines: out, hot: line })
}

/// A line without control characters, tabs as four blanks, cut when it is long (minified sources).
fn shown(line: &str) -> String {
    let plain = line.replace('\t', "    ");
    let mut out: String = plain.chars().filter(|c| !c.is_control()).take(LINE_MAX).collect();
    if plain.chars().count() > LINE_MAX {
        out.push('…');
    }
    out
}

#[cfg(feature = "frames")]
fn enclosing(syntax: Syntax, text: &str, line: usize) -> Option<Enclosing> {
    grammar::enclosing(syntax, text, line)
}

#[cfg(not(feature = "frames"))]
fn enclosing(_: Syntax, _: &str, _: usize) -> Option<Enclosing> {
    None
}

impl Snippet {
    /// Each line with its number; the hot one is marked.
    pub fn render(&self) -> Vec<String> {
        let last = self.lines.iter().flatten().map(|(n, _)| *n).max().unwrap_or(0);
        let width = last.to_string().len().max(3);
        self.lines
            .iter()
            .map(|line| match line {
                Some((n, text)) if *n == self.hot => format!("> {n:>width$} | {text}"),
                Some((n, text)) => format!("  {n:>width$} | {text}").trim_end().to_owned(),
                None => format!("  {:>width$} |", "…"),
            })
            .collect()
    }

    /// The same, only the lines at most so far from the hot one.
    pub fn near(&self, lines: usize) -> Snippet {
        let close = |line: &&Option<(usize, String)>| {
            line.as_ref().is_some_and(|(n, _)| n.abs_diff(self.hot) <= lines)
        };
        Snippet { lines: self.lines.iter().filter(close).cloned().collect(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_function_the_lines_around_are_shown() {
        let text: String = (1..=100).map(|n| format!("x = {n}\n")).collect();
        let snippet = snippet(Syntax::Python, &text, 50).unwrap();
        assert_eq!(snippet.enclosing, None);
        assert_eq!(snippet.lines.len(), 41);
        let shown = snippet.near(1).render();
        assert_eq!(shown, ["   49 | x = 49", ">  50 | x = 50", "   51 | x = 51"]);
    }

    #[test]
    fn a_line_that_is_not_there_shows_nothing() {
        assert_eq!(snippet(Syntax::Python, "x = 1\n", 2), None);
        assert_eq!(snippet(Syntax::Python, "", 1), None);
        assert_eq!(snippet(Syntax::Go, "x\n", 0), None);
    }

    #[test]
    fn only_sources_are_read() {
        assert_eq!(Syntax::of("/home/me/.ssh/id_rsa"), None);
        assert_eq!(Syntax::of("/etc/passwd"), None);
        assert_eq!(Syntax::of("a/b.tsx"), Some(Syntax::Tsx));
    }

    #[test]
    fn escape_sequences_and_long_lines_are_cut() {
        let text = format!("a\x1b[2Jb\t{}", "y".repeat(1000));
        let line = snippet(Syntax::Python, &text, 1).unwrap().render().remove(0);
        assert!(line.starts_with(">   1 | a[2Jb    yyy") && line.ends_with('…'), "{line}");
        assert!(line.chars().count() < 260);
    }
}

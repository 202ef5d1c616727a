//! A search for all that any detector looks for, over windows of many lines: only lines in which it finds something are
//! looked at one by one. It may find too much, and never too little. The patterns of the config and the signs of traces are
//! two searches: plain texts alone are found several times as fast as beside patterns, so that both together cost less.
//!
//! Deliberately not here: what is found there.

use super::{report, traceback};
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{self, Class, Hir, HirKind, Look};

/// Bytes of the compiled search; beyond it every line is looked at.
const SIZE_MAX: usize = 32 * 1024 * 1024;
/// Nesting of a pattern that is still rewritten; beyond it every line is looked at.
const NEST_MAX: u32 = 100;

/// Whether tracebacks are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traces {
    Wanted,
    Unwanted,
}

/// The search.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Only lines that one of these finds.
    Signs(Vec<Regex>),
    /// Every line.
    Every,
    /// None: nothing is looked for.
    Nothing,
}

impl Filter {
    /// A search for these patterns, and for the signs of tracebacks.
    pub fn new<'a>(patterns: impl Iterator<Item = &'a Regex>, traces: Traces) -> Filter {
        let mut parts = Vec::new();
        for pattern in patterns {
            match within_lines(pattern.as_str()) {
                Some(part) => parts.push(part),
                None => return Filter::Every,
            }
        }
        let signs = traceback::SIGNS.iter().chain(report::SIGNS).map(|sign| (*sign).to_owned());
        let signs: Vec<String> = if traces == Traces::Wanted { signs.collect() } else { Vec::new() };
        let mut searches = Vec::new();
        for parts in [parts, signs].into_iter().filter(|parts| !parts.is_empty()) {
            let joined = parts.iter().map(|part| format!("(?:{part})")).collect::<Vec<_>>().join("|");
            match RegexBuilder::new(&joined).size_limit(SIZE_MAX).dfa_size_limit(SIZE_MAX).build() {
                Ok(regex) => searches.push(regex),
                Err(_) => return Filter::Every,
            }
        }
        if searches.is_empty() { Filter::Nothing } else { Filter::Signs(searches) }
    }
}

impl Filter {
    /// May there be something in these bytes, from `from` on?
    pub fn may_hold(&self, bytes: &[u8], from: usize) -> bool {
        match self {
            Filter::Signs(searches) => searches.iter().any(|search| search.is_match_at(bytes, from)),
            Filter::Every => true,
            Filter::Nothing => false,
        }
    }
}

/// What a search has found ahead in one window, so that one that found nothing near is not asked again and again.
#[derive(Debug, Default)]
pub struct Ahead {
    /// For each search where its next hit is; `usize::MAX` = none in the window.
    hits: Vec<usize>,
}

impl Ahead {
    /// Where the next hit of any search begins in the bytes, from `from` on.
    pub fn next(&mut self, searches: &[Regex], bytes: &[u8], from: usize) -> Option<usize> {
        self.hits.resize(searches.len(), 0);
        for (search, hit) in searches.iter().zip(&mut self.hits) {
            // 0 is also the beginning, when nothing was asked yet.
            if *hit < from || *hit == 0 {
                *hit = search.find_at(bytes, from).map_or(usize::MAX, |found| found.start());
            }
        }
        self.hits.iter().min().copied().filter(|hit| *hit < bytes.len())
    }
}

/// The pattern, changed so that it finds in many lines at once whatever it finds in one: its ends are those of a line, no
/// class crosses a line's end, and word edges are left out (they make the fast search impossible beside other than ASCII).
fn within_lines(pattern: &str) -> Option<String> {
    let parsed = ParserBuilder::new().utf8(false).nest_limit(NEST_MAX).build().parse(pattern).ok()?;
    Some(rewrite(&parsed).to_string())
}

fn rewrite(node: &Hir) -> Hir {
    match node.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) if literal.0.iter().any(|byte| is_end(*byte)) => Hir::fail(),
        HirKind::Literal(literal) => Hir::literal(literal.0.clone()),
        HirKind::Class(class) => Hir::class(without_ends(class)),
        HirKind::Look(look) => match look {
            Look::Start | Look::StartLF | Look::StartCRLF => Hir::look(Look::StartCRLF),
            Look::End | Look::EndLF | Look::EndCRLF => Hir::look(Look::EndCRLF),
            Look::WordAscii
            | Look::WordAsciiNegate
            | Look::WordUnicode
            | Look::WordUnicodeNegate
            | Look::WordStartAscii
            | Look::WordEndAscii
            | Look::WordStartUnicode
            | Look::WordEndUnicode
            | Look::WordStartHalfAscii
            | Look::WordEndHalfAscii
            | Look::WordStartHalfUnicode
            | Look::WordEndHalfUnicode => Hir::empty(),
        },
        HirKind::Repetition(repetition) => Hir::repetition(hir::Repetition {
            min: repetition.min,
            max: repetition.max,
            greedy: repetition.greedy,
            sub: Box::new(rewrite(&repetition.sub)),
        }),
        // Only where it begins matters: no need to remember groups.
        HirKind::Capture(capture) => rewrite(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(rewrite).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(rewrite).collect()),
    }
}

fn is_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

fn without_ends(class: &Class) -> Class {
    let mut class = class.clone();
    match &mut class {
        Class::Unicode(ranges) => {
            let ends = [hir::ClassUnicodeRange::new('\n', '\n'), hir::ClassUnicodeRange::new('\r', '\r')];
            ranges.difference(&hir::ClassUnicode::new(ends));
        }
        Class::Bytes(ranges) => {
            let ends = [hir::ClassBytesRange::new(b'\n', b'\n'), hir::ClassBytesRange::new(b'\r', b'\r')];
            ranges.difference(&hir::ClassBytes::new(ends));
        }
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The search finds the line `line` of three, as the pattern itself does.
    #[track_caller]
    fn check(pattern: &str, line: &str) {
        let own = Regex::new(pattern).unwrap();
        assert!(own.is_match(line.as_bytes()), "the test's own line");
        let Filter::Signs(filter) = Filter::new(std::iter::once(&own), Traces::Unwanted) else {
            panic!("{pattern}: no search");
        };
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("other{end}{line}{end}other");
            let found = Ahead::default().next(&filter, text.as_bytes(), 0);
            let found = found.unwrap_or_else(|| panic!("{pattern} in {text:?}"));
            assert!(found <= 5 + end.len() + line.len(), "{pattern} in {text:?}: {found:?}");
        }
    }

    #[test]
    fn whatever_a_line_holds_is_found() {
        check("CUDA out of memory", "x CUDA out of memory y");
        check("^a.*b$", "a 1 b");
        check(r"\bOOM\b", "an OOM.");
        check(r"\Aerror[^;]*\z", "error: x");
        check(r"(?i)loss=\s*(nan|inf)", "LOSS= NaN");
        check(r"^$", "");
        check(r"(?-u:\xff)x|y", "y");
        check(r"[^x]{3}$", "abc");
        check(r"(?P<a>é+)\W", "éé ");
    }

    #[test]
    fn nothing_crosses_a_line() {
        let own = Regex::new("a[^x]*b").unwrap();
        let Filter::Signs(filter) = Filter::new(std::iter::once(&own), Traces::Unwanted) else { panic!() };
        assert!(Ahead::default().next(&filter, b"a\nb", 0).is_none());
    }

    #[test]
    fn signs_compile() {
        assert!(matches!(Filter::new(std::iter::empty(), Traces::Wanted), Filter::Signs(_)));
        assert!(matches!(Filter::new(std::iter::empty(), Traces::Unwanted), Filter::Nothing));
    }
}

//! Banner text to tokens: words in lower case, numbers, signs. Borders and line wraps vanish; an empty line and a
//! horizontal rule stay as signs that no phrase crosses.

use std::ops::Range;

/// A text and its tokens.
#[derive(Debug)]
pub(super) struct Source {
    text: String,
    tokens: Vec<Token>,
}

/// One token and where it stands.
#[derive(Debug)]
struct Token {
    kind: Kind,
    at: Range<usize>,
}

/// What a token is.
#[derive(Debug)]
enum Kind {
    /// Letters, in lower case. `resetsAt` is two words, `reset_at` too.
    Word(String),
    /// ASCII digits.
    Number,
    /// Anything else but white space.
    Sign(char),
}

impl Source {
    /// Takes a text apart.
    pub(super) fn new(text: &str) -> Source {
        let text = normal(text);
        let mut tokens: Vec<Token> = Vec::new();
        let mut previous = ' ';
        for (start, c) in text.char_indices() {
            let end = start + c.len_utf8();
            let joins = tokens.last_mut().filter(|t| t.at.end == start);
            match joins {
                Some(Token { kind: Kind::Number, at }) if c.is_ascii_digit() => at.end = end,
                Some(Token { kind: Kind::Word(word), at })
                    if c.is_alphabetic() && !(previous.is_lowercase() && c.is_uppercase()) =>
                {
                    word.extend(c.to_lowercase());
                    at.end = end;
                }
                Some(_) | None => tokens.extend(kind(c).map(|kind| Token { kind, at: start..end })),
            }
            previous = c;
        }
        Source { text, tokens }
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The word at `i`, "" when there is none.
    pub(super) fn word(&self, i: usize) -> &str {
        match self.tokens.get(i) {
            Some(Token { kind: Kind::Word(word), .. }) => word,
            Some(_) | None => "",
        }
    }

    /// The digits at `i`, "" when there are none.
    pub(super) fn digits(&self, i: usize) -> &str {
        match self.tokens.get(i) {
            Some(Token { kind: Kind::Number, at }) => self.text.get(at.clone()).unwrap_or(""),
            Some(_) | None => "",
        }
    }

    /// The number at `i` if it has at least `min` and at most `max` digits.
    pub(super) fn number(&self, i: usize, min: usize, max: usize) -> Option<i64> {
        let digits = self.digits(i);
        if (min..=max).contains(&digits.len()) { digits.parse().ok() } else { None }
    }

    /// Is the token at `i` this sign?
    pub(super) fn is(&self, i: usize, sign: char) -> bool {
        self.sign(i) == Some(sign)
    }

    /// The sign at `i`.
    pub(super) fn sign(&self, i: usize) -> Option<char> {
        match self.tokens.get(i) {
            Some(Token { kind: Kind::Sign(c), .. }) => Some(*c),
            Some(_) | None => None,
        }
    }

    /// Does the token at `i` follow the one before it without a space?
    pub(super) fn glued(&self, i: usize) -> bool {
        match (i.checked_sub(1).and_then(|p| self.tokens.get(p)), self.tokens.get(i)) {
            (Some(before), Some(token)) => before.at.end == token.at.start,
            (None, _) | (_, None) => false,
        }
    }

    /// The text from token `i` as it was written, for as long as `wanted` holds (at most `max` bytes), and the first
    /// token after it.
    pub(super) fn raw(&self, i: usize, max: usize, wanted: impl Fn(char) -> bool) -> (&str, usize) {
        let Some(start) = self.tokens.get(i).map(|t| t.at.start) else { return ("", i) };
        let rest = self.text.get(start..).unwrap_or("");
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        if length > max {
            return ("", i);
        }
        let next =
            (i..self.len()).find(|n| self.tokens.get(*n).is_some_and(|t| t.at.start >= start + length));
        (rest.get(..length).unwrap_or(""), next.unwrap_or(self.len()))
    }
}

/// The token that begins with this character; none for white space.
fn kind(c: char) -> Option<Kind> {
    if c == '_' || (c.is_whitespace() && c != '\n') {
        None
    } else if c.is_ascii_digit() {
        Some(Kind::Number)
    } else if c.is_alphabetic() {
        Some(Kind::Word(c.to_lowercase().collect()))
    } else {
        Some(Kind::Sign(c))
    }
}

/// Joins wrapped lines with a space and drops side borders. A newline that stays marks the end of a paragraph.
fn normal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let plain: String = line.chars().filter_map(plain).collect();
        let line = plain.trim_matches(|c: char| c.is_whitespace() || c == '|');
        out.push_str(if line.is_empty() { "\n" } else { line });
        out.push(' ');
    }
    out
}

/// One character as the grammar wants it; None drops it.
fn plain(c: char) -> Option<char> {
    match c {
        // Zero-width characters, which Ink and others put after a cursor.
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => None,
        // Side borders and blocks: │ ┃ ║ and U+2580 to U+259F.
        '\u{2502}' | '\u{2503}' | '\u{2551}' | '\u{2580}'..='\u{259f}' => Some(' '),
        '\u{2212}' => Some('-'),
        '\u{2018}' | '\u{2019}' => Some('\''),
        '\u{201c}' | '\u{201d}' => Some('"'),
        c if c.is_control() => Some(' '),
        c => Some(c),
    }
}

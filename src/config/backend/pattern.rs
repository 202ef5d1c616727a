//! A signal's regular expression, compiled when it is first asked: a command that reads no screen compiles none.
//!
//! Deliberately not here: what is matched against what (`detect::screen`).

use regex::{Match, Regex, RegexBuilder};
use std::sync::OnceLock;

/// Largest compiled pattern, bytes: a pattern such as `(\pL{900}){900}` must not eat the memory.
const BYTES_MAX: usize = 1 << 20;

/// One pattern. `^` and `$` match at every row.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    /// None: it is no regular expression, and matches nothing. No pattern that was checked is.
    made: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// An operator's pattern, compiled now: what is wrong with it is said where it stands.
    pub fn checked(text: &str) -> Result<Pattern, regex::Error> {
        let made = OnceLock::from(Some(compile(text)?));
        Ok(Pattern { text: text.to_owned(), made })
    }

    /// A built-in pattern: that it compiles was tested with the program.
    pub fn built_in(text: &str) -> Pattern {
        Pattern { text: text.to_owned(), made: OnceLock::new() }
    }

    /// Does it match somewhere in `text`?
    pub fn is_match(&self, text: &str) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text))
    }

    /// Its first match.
    pub fn find<'t>(&self, text: &'t str) -> Option<Match<'t>> {
        self.regex().and_then(|regex| regex.find(text))
    }

    fn regex(&self) -> Option<&Regex> {
        self.made.get_or_init(|| compile(&self.text).ok()).as_ref()
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).multi_line(true).size_limit(BYTES_MAX).build()
}

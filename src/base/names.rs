//! Names that reach tmux, file names and people: checked once, then trusted.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest unit name: it becomes a folder name, part of a tmux session name and of buffer names.
pub const NAME_LENGTH_MAX: usize = 64;

/// A unit's name: letters, digits, `-` and `_`, not starting with `-`. Never empty: an empty tmux target means
/// "whatever is current", and once killed a whole fleet of a predecessor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(String);

impl UnitName {
    /// Checks a name. The error is a fragment that says what is wrong with it.
    pub fn new(name: &str) -> Result<UnitName, String> {
        if name.is_empty() {
            return Err("a name must not be empty".into());
        }
        if name.len() > NAME_LENGTH_MAX {
            return Err(format!("name is {} bytes long, at most {NAME_LENGTH_MAX} are allowed", name.len()));
        }
        if let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_')) {
            return Err(format!(
                "name `{}` holds {bad:?}; use letters, digits, `-` and `_`",
                name.escape_debug()
            ));
        }
        if name.starts_with('-') {
            return Err(format!("name `{name}` starts with `-`"));
        }
        Ok(UnitName(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for UnitName {
    type Error = String;
    fn try_from(name: String) -> Result<UnitName, String> {
        UnitName::new(&name)
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> String {
        name.0
    }
}

impl std::borrow::Borrow<str> for UnitName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tmux_or_a_file_system_would_misread_are_refused() {
        for good in ["builder", "a", "w-1_x", "_x", &"n".repeat(64)] {
            assert!(UnitName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a:b", "a/b", "..", "-x", "a b", "ä", "a\n", &"n".repeat(65)] {
            assert!(UnitName::new(bad).is_err(), "{bad:?}");
        }
    }
}

//! The one error type: what was being done, on what, what is wrong, and one hint that says what to do.
//!
//! Deliberately not here: a variant per failure. The kind decides the exit code; the words are made where the
//! failure is understood.

use std::fmt;
use std::path::Path;

/// What sort of failure this is; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer is "no" or "unhealthy": exit code 1.
    No,
    /// Wrong usage or wrong config: exit code 2.
    Usage,
    /// A needed program is missing: exit code 69 (`EX_UNAVAILABLE` of sysexits.h).
    Missing,
    /// Try again: the lock is held, I/O failed: exit code 75 (`EX_TEMPFAIL` of sysexits.h).
    Again,
}

impl Kind {
    /// The process exit code for this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::No => 1,
            Kind::Usage => 2,
            Kind::Missing => 69,
            Kind::Again => 75,
        }
    }
}

/// An error: lower-case fragments from the outermost doing to the innermost cause, and perhaps a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    /// Outermost first.
    chain: Vec<String>,
    hint: Option<String>,
}

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error of `kind`; `message` is a lower-case fragment without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, chain: vec![message.into()], hint: None }
    }

    /// Wrong usage or config.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage, message)
    }

    /// Something that may work later.
    pub fn again(message: impl Into<String>) -> Error {
        Error::new(Kind::Again, message)
    }

    /// Puts what was being done in front of the cause: `reading config: no such file`.
    #[must_use]
    pub fn doing(mut self, what: impl Into<String>) -> Error {
        self.chain.insert(0, what.into());
        self
    }

    /// Names the file that was worked on, in backticks, in front of the cause.
    #[must_use]
    pub fn at(self, path: &Path) -> Error {
        self.doing(format!("`{}`", path.display()))
    }

    /// Sets the hint line: what to do about it. An inner hint wins, it knows more.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint.get_or_insert(hint.into());
        self
    }

    /// The kind, for the exit code and for callers that treat kinds differently.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The hint alone, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message alone, on one line, without the hint.
    pub fn message(&self) -> String {
        self.chain.join(": ")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::new(Kind::Again, error.to_string().to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_reads_from_the_outside_in_and_the_inner_hint_wins() {
        let error = Error::usage("not a number")
            .hint("write seconds")
            .at(Path::new("a.toml"))
            .doing("reading config")
            .hint("never shown");
        assert_eq!(error.to_string(), "reading config: `a.toml`: not a number\nhint: write seconds");
        assert_eq!(error.kind().exit_code(), 2);
    }
}

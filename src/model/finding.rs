//! What a detector found: a failure line, a traceback, a stall, a metric that left its range, an exit.
//!
//! Values only: `detect::log` makes them from bytes, policies from the clock and from exits; rules, incidents and `scan` read
//! them. Deliberately not here: what is done about them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One finding. Everything in it is bounded by the detector that made it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// The detector's name in the config.
    pub detector: String,
    /// What sort of detector it is.
    pub kind: FindingKind,
    /// Byte of the log at which it begins, counted from its first byte ever; 0 when it is no place in a log.
    pub at: u64,
    /// Byte behind its last one.
    pub end: u64,
    /// Line of the log from where the scan began, from 1; 0 when it is no place in a log.
    pub line: u64,
    /// What tells the bytes there from those of another file, or of the same one after it was cut; None = not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogMark>,
    /// The traceback's language.
    pub language: Option<Language>,
    /// The exception's type: of the final one when there is a chain.
    pub exception: Option<String>,
    /// What it says; of the final exception when there is a chain. Control characters taken out.
    pub message: String,
    /// The final exception's frames in printed order.
    pub frames: Vec<Frame>,
    /// The other exceptions of the same event, in printed order.
    pub chain: Vec<Cause>,
    /// The lines themselves, as read (bytes that are no UTF-8 replaced).
    pub text: String,
    /// Named groups of the pattern that matched; a group without a name goes by its number.
    pub captures: BTreeMap<String, String>,
    /// A metric's value, when it is about one.
    pub value: Option<f64>,
    /// Recent values of the metric, oldest first.
    pub recent: Vec<f64>,
    /// Exit status, or 128 plus the signal, when it is about an exit.
    pub exit: Option<i32>,
    /// Times that the same came beside this one, and is not told by itself: it stands for all of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub again: u64,
}

/// What tells a finding's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogMark {
    /// Device and inode of the file.
    pub file: (u64, u64),
    /// Digest of the finding's first bytes (at most 64).
    pub bytes: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The sorts of detectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A regular expression matched a line.
    #[default]
    Pattern,
    /// A stack trace that ended something.
    Traceback,
    /// No output, or a metric that does not advance.
    Stall,
    /// A metric out of its range, or far from its recent median.
    Metric,
    /// The process ended.
    Exit,
}

/// The languages whose traces are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    Python,
    Javascript,
    /// Node's traces, from `.ts` files.
    Typescript,
    Go,
    Rust,
    Java,
}

/// One frame of a traceback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// The file as printed.
    pub file: String,
    /// The line, from 1; 0 = not said.
    pub line: u64,
    /// The function as printed; "" = not said.
    pub function: String,
    /// Not the program's own code: its language's, or a dependency's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub library: bool,
}

/// Another exception of the same event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Its type.
    pub exception: String,
    /// What it says.
    pub message: String,
}

impl FindingKind {
    /// Its word in config, files and JSON.
    pub fn word(self) -> &'static str {
        match self {
            FindingKind::Pattern => "pattern",
            FindingKind::Traceback => "traceback",
            FindingKind::Stall => "stall",
            FindingKind::Metric => "metric",
            FindingKind::Exit => "exit",
        }
    }
}

impl Language {
    /// Its word in config, files and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::Javascript => "javascript",
            Language::Typescript => "typescript",
            Language::Go => "go",
            Language::Rust => "rust",
            Language::Java => "java",
        }
    }
}

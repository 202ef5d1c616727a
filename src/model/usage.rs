//! Tokens: what responses used, how far a transcript was read, what one tick's look at the transcripts found.
//!
//! Deliberately not here: how a CLI writes it down (`detect::transcript`), the sums that are kept (`state::tokens`).

use crate::base::names::UnitName;
use crate::base::time::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tokens used. `input` is without what came from or went into the cache; `total` is the sum of the four parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// New input.
    pub input: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// Input read from the cache.
    pub cache_read: u64,
    /// Input written to the cache.
    pub cache_creation: u64,
    /// All of it.
    pub total: u64,
    /// Responses.
    pub messages: u64,
}

impl Totals {
    /// One response.
    pub fn one(input: u64, output: u64, cache_read: u64, cache_creation: u64) -> Totals {
        let total = input.saturating_add(output).saturating_add(cache_read).saturating_add(cache_creation);
        Totals { input, output, cache_read, cache_creation, total, messages: 1 }
    }

    /// Nothing was used.
    pub fn is_zero(&self) -> bool {
        *self == Totals::default()
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Totals) -> Totals {
        self.zip(other, u64::saturating_add)
    }

    /// What is left without `other`; never below nothing.
    #[must_use]
    pub fn minus(&self, other: &Totals) -> Totals {
        self.zip(other, u64::saturating_sub)
    }

    fn zip(&self, other: &Totals, f: fn(u64, u64) -> u64) -> Totals {
        Totals {
            input: f(self.input, other.input),
            output: f(self.output, other.output),
            cache_read: f(self.cache_read, other.cache_read),
            cache_creation: f(self.cache_creation, other.cache_creation),
            total: f(self.total, other.total),
            messages: f(self.messages, other.messages),
        }
    }
}

/// A response's usage as one record states it. A later record of the same key replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Which response: a digest of its id.
    pub key: u64,
    /// When, as the record says.
    pub at: Option<Wall>,
    /// What it used.
    pub usage: Totals,
}

/// What a reader must remember of a file between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReaderState {
    /// Codex: the thread that the file belongs to. Demo: the session of the last start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// Codex: the file begins with a copy of another thread's history.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forked: bool,
    /// Codex: the copy is over, what follows is the thread's own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
    /// Codex: the file has `token_usage_record` lines, so that its `token_count` lines say nothing new.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub records: bool,
    /// Codex: the running total of the last `token_count` line: input, cached, output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<[u64; 3]>,
    /// Codex: time of the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_at: Option<Wall>,
}

/// A transcript file as the file system shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSeen {
    /// Its path.
    pub path: String,
    /// Its device and inode: a moved file is the same file.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
    /// Its length.
    pub bytes: u64,
    /// Its last change.
    pub changed_at: Wall,
    /// When it was made, where the file system knows.
    #[serde(default)]
    pub born: Option<Wall>,
}

/// How far a file was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cursor {
    /// Where it was last found.
    pub path: String,
    /// Its device.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
    /// Bytes read; always the start of a line, but while `skipping`.
    pub offset: u64,
    /// Its length at the last look; less while not all of it was read.
    pub bytes: u64,
    /// Digest of the file's first bytes and of those before `offset`: another one means that it was rewritten.
    pub check: String,
    /// Its last change at the last look.
    pub changed_at: Wall,
    /// When the file was made: what in it is older was written elsewhere first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub born: Option<Wall>,
    /// In the middle of a line that is too long to be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipping: bool,
    /// Responses up to this time that are not remembered by id were counted before: they are copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Wall>,
    /// The session that it belongs to: files of one session have one owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// What the reader remembers.
    pub reader: ReaderState,
}

impl Cursor {
    /// Is this the file?
    pub fn is(&self, file: &FileSeen) -> bool {
        (self.dev, self.ino) == (file.dev, file.ino)
    }

    /// There is nothing new in the file, but perhaps a line that is not complete.
    pub fn is_at_end(&self, file: &FileSeen) -> bool {
        self.bytes == file.bytes && self.changed_at == file.changed_at
    }
}

/// What was read from one file in one tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNews {
    /// How far it is read now.
    pub cursor: Cursor,
    /// What its new lines state.
    pub counted: Vec<Counted>,
}

/// What was read from one agent's transcripts in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentUsage {
    /// At the first look: since when responses count.
    pub since: Wall,
    /// Files with news.
    pub files: Vec<FileNews>,
    /// Not everything could be read in this tick.
    pub pending: bool,
    /// Why this agent's tokens can't be counted, or not all of them.
    pub uncounted: Option<String>,
}

/// What was read from all transcripts in one tick, and what the ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageSeen {
    /// By agent; only those that were looked at.
    pub agents: BTreeMap<UnitName, AgentUsage>,
    /// Records owed to the ledger that it has.
    pub logged: Vec<String>,
    /// The end of the ledger's last record; read only when nothing is remembered.
    pub ledger_end: Option<Wall>,
    /// The ledger could not be read: what it has is not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ledger_unread: bool,
}

impl UsageSeen {
    /// Nothing was looked at.
    pub fn is_empty(&self) -> bool {
        *self == UsageSeen::default()
    }
}

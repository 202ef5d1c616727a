//! Where what is left of a log begins: `log.json`, the record of what was taken from its front.
//!
//! Places in a log are counted from its first byte ever, the ones taken away included. Bytes go in one of two ways: the file
//! becomes shorter (`base`), or they are freed where they stand and read as zeros (`hole`).
//!
//! Deliberately not here: taking them (`rotate`).

use super::records::{self, LOG};
use crate::base::error::{Error, Result};
use crate::sys::clock;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Its file.
pub(super) const RECORD: &str = "log.json";

/// Device, inode, and when it was made: an inode's number comes again.
pub(super) type Identity = (u64, u64, i64);

/// Where what is left of a log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Front {
    /// Bytes by which the file became shorter: a place in the log minus this is a place in the file.
    pub base: u64,
    /// Bytes at the file's beginning that were freed where they stand.
    #[serde(skip_serializing_if = "is_zero")]
    pub hole: u64,
    /// Everything before this place was read for good when bytes were taken last.
    #[serde(skip_serializing_if = "is_zero")]
    pub done: u64,
    /// Number of the line there; 0 = not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: u64,
}

impl Front {
    /// The first place that somebody may not have read yet, as far as is known here.
    pub fn first(&self) -> u64 {
        self.done.max(self.base.saturating_add(self.hole))
    }
}

/// `log.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub v: u64,
    /// The file that it is about.
    pub file: Identity,
    /// Bytes taken from its front so far.
    pub base: u64,
    /// Bytes freed where they stand so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub hole: u64,
    /// Everything before this place was read for good.
    #[serde(skip_serializing_if = "is_zero")]
    pub done: u64,
    /// Number of the line there.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: u64,
    /// A cut under way.
    pub cut: Option<Cut>,
    /// The file that was the log before, whose end may still be unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Old>,
}

/// A log that was put aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Old {
    pub file: Identity,
    pub front: Front,
}

/// A cut: its bytes are copied, and are taken away next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Cut {
    pub bytes: u64,
    /// What is written over its first bytes, so that it can be told from what comes behind it; "" = they are freed where
    /// they stand, which can be done again.
    pub mark: String,
    /// The mark stands in the file, or went with the cut.
    pub marked: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Where what is left of this file begins: the log, or one that was the log before.
pub fn of(dir: &Path, file: &File) -> Front {
    let Ok(meta) = file.metadata() else { return Front::default() };
    let Some(record) = records::read::<Record>(dir, RECORD) else { return Front::default() };
    let identity = identity(&meta);
    match &record.old {
        _ if record.file == identity => front(&record, file).unwrap_or_default(),
        Some(old) if old.file == identity => old.front,
        Some(_) | None => Front::default(),
    }
}

/// Bytes that were taken from the front of the unit's log so far: a place in the log minus this is a place in the file.
pub fn base(dir: &Path) -> u64 {
    Open::log(dir)
        .ok()
        .flatten()
        .and_then(|open| front(&open.record, &open.file).ok())
        .unwrap_or_default()
        .base
}

/// The end of the log: the place of what is written next.
pub fn end(dir: &Path) -> u64 {
    // A cut in between moves both.
    for _ in 0..100 {
        let before = base(dir);
        let length = std::fs::metadata(dir.join(LOG)).map_or(0, |meta| meta.len());
        if base(dir) == before {
            return before.saturating_add(length);
        }
    }
    base(dir)
}

fn identity(meta: &Metadata) -> Identity {
    let made = meta.created().map_or(0, |time| clock::from_system(time).0);
    (meta.dev(), meta.ino(), made)
}

/// Also while a cut is under way.
fn front(record: &Record, file: &File) -> Result<Front> {
    let gone = match &record.cut {
        Some(cut) if cut.marked && !has_mark(file, &cut.mark)? => cut.bytes,
        Some(_) | None => 0,
    };
    let Record { hole, done, line, .. } = *record;
    Ok(Front { base: record.base.saturating_add(gone), hole, done, line })
}

/// The mark stands at the beginning of the file.
pub(super) fn has_mark(file: &File, mark: &str) -> Result<bool> {
    let mut head = vec![0; mark.len()];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => Ok(head == mark.as_bytes()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The log, opened, and what is recorded of it.
pub(super) struct Open {
    pub dir: PathBuf,
    pub file: File,
    pub record: Record,
}

impl Open {
    /// None when there is no log, or something else stands in its place.
    pub fn log(dir: &Path) -> Result<Option<Open>> {
        let path = dir.join(LOG);
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::from(error).at(&path)),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(None);
        }
        let identity = identity(&meta);
        let record = match records::read::<Record>(dir, RECORD) {
            Some(record) if record.file == identity => record,
            Some(other) => {
                let Record { file, base, hole, done, line, .. } = other;
                let old = Some(Old { file, front: Front { base, hole, done, line } });
                Record { v: 1, file: identity, old, ..Record::default() }
            }
            None => Record { v: 1, file: identity, ..Record::default() },
        };
        Ok(Some(Open { dir: dir.to_owned(), file, record }))
    }

    /// Is this the file that was read?
    pub fn is(&self, file: (u64, u64)) -> bool {
        (self.record.file.0, self.record.file.1) == file
    }

    /// Durable: what follows can't be taken back.
    pub fn save(&self) -> Result<()> {
        records::write(&self.dir, RECORD, &self.record)?;
        File::open(self.dir.join(RECORD))?.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        Ok(())
    }
}

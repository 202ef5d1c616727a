//! Keeps a local process's log from growing for ever, without losing a line: before a start it gets another name; while the
//! process runs, what was read is taken from its front (`FALLOC_FL_COLLAPSE_RANGE`, where the file system can). The process
//! only appends, so it notices neither.
//!
//! Places in a log are counted from its first byte ever, the ones taken away included: [`base`] says how many those are.
//! `log.json` records a cut under way. A mark in the part that goes tells after a crash whether it went.
//!
//! Deliberately not here: reading the log, and how far it was read.

use super::records::{self, LOG};
use crate::base::error::{Error, Result};
use crate::sys::clock;
use rustix::fs::FallocateFlags;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Old logs kept: `out.log.1` is the newest of them.
const OLD_MAX: u32 = 3;
/// Where a log stands.
const RECORD: &str = "log.json";
/// The part that is about to go, until it is complete.
const COPY: &str = "out.log.new";
/// Most bytes taken in one go: a tick waits for their copy.
const CUT_MAX: u64 = 64 << 20;

/// `log.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    v: u64,
    /// The file that it is about: device, inode, and when it was made (an inode's number comes again).
    file: (u64, u64, i64),
    /// Bytes taken from its front so far.
    base: u64,
    /// A cut under way.
    cut: Option<Cut>,
}

/// A cut: its bytes are copied, and are taken away next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Cut {
    bytes: u64,
    /// What is written over its first bytes, so that it can be told from what comes behind it.
    mark: String,
    /// The mark stands in the file, or went with the cut.
    marked: bool,
}

/// Before a start: a log that is longer than `max` bytes gets another name. What still writes into it goes on doing so.
pub fn at_start(dir: &Path, max: u64) -> Result<()> {
    let log = dir.join(LOG);
    match std::fs::symlink_metadata(&log) {
        Ok(meta) if meta.is_file() && meta.len() > max => {}
        Ok(_) | Err(_) => return Ok(()),
    }
    if let Some(mut open) = Open::log(dir)? {
        open.settle()?;
    }
    make_way(dir);
    let put = std::fs::rename(&log, old(dir, 1));
    put.map_err(|error| Error::from(error).at(&log).doing("putting the log aside"))
}

/// Bytes that were taken from the front of the unit's log so far: a place in the log minus this is a place in the file.
pub fn base(dir: &Path) -> u64 {
    Open::log(dir).ok().flatten().and_then(|open| open.base().ok()).unwrap_or(0)
}

/// Takes bytes from the front of a log that is longer than `max`, if they lie before `done`, a place in the log. Half of
/// `max` stays for people. None = done, or nothing to do; else why it can't be done while the process runs.
pub fn trim(dir: &Path, done: u64, max: u64) -> Option<String> {
    match try_trim(dir, done, max) {
        Ok(()) => None,
        Err(error) => Some(error.message()),
    }
}

fn try_trim(dir: &Path, done: u64, max: u64) -> Result<()> {
    let Some(mut open) = Open::log(dir)? else { return Ok(()) };
    open.settle()?;
    let length = open.file.metadata()?.len();
    if length <= max {
        return Ok(());
    }
    let block = block(&open.file)?;
    let read = done.saturating_sub(open.record.base);
    let bytes = read.min(length.saturating_sub(max / 2)).min(CUT_MAX) / block * block;
    // The kernel refuses to take all of a file this way.
    if bytes == 0 || bytes >= length {
        return Ok(());
    }
    can_collapse(dir, block)?;
    copy(&open.file, &dir.join(COPY), bytes)?;
    let mark = format!("{:032x}", (clock::wall().0.unsigned_abs() << 20) | u64::from(std::process::id()));
    open.record.cut = Some(Cut { bytes, mark, marked: false });
    open.save()?;
    open.settle()
}

/// The log, opened, and what is recorded of it.
struct Open {
    dir: PathBuf,
    file: File,
    record: Record,
}

impl Open {
    /// None when there is no log, or something else stands in its place.
    fn log(dir: &Path) -> Result<Option<Open>> {
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
        let made = meta.created().map_or(0, |time| clock::from_system(time).0);
        let identity = (meta.dev(), meta.ino(), made);
        let record = records::read::<Record>(dir, RECORD).filter(|record| record.file == identity);
        let record = record.unwrap_or(Record { v: 1, file: identity, ..Record::default() });
        Ok(Some(Open { dir: dir.to_owned(), file, record }))
    }

    /// Bytes taken away so far, also while a cut is under way.
    fn base(&self) -> Result<u64> {
        match &self.record.cut {
            Some(cut) if cut.marked && !self.has_mark(&cut.mark)? => {
                Ok(self.record.base.saturating_add(cut.bytes))
            }
            Some(_) | None => Ok(self.record.base),
        }
    }

    fn has_mark(&self, mark: &str) -> Result<bool> {
        let mut head = vec![0; mark.len()];
        match self.file.read_exact_at(&mut head, 0) {
            Ok(()) => Ok(head == mark.as_bytes()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Finishes a cut that was begun.
    fn settle(&mut self) -> Result<()> {
        let Some(cut) = self.record.cut.clone() else { return Ok(()) };
        let copy = self.dir.join(COPY);
        let copied = std::fs::metadata(&copy).map_or(0, |meta| meta.len());
        if !cut.marked {
            // Nothing is gone yet. Without its copy nothing may go.
            if copied != cut.bytes || self.file.metadata()?.len() <= cut.bytes {
                return self.give_up();
            }
            self.file.write_all_at(cut.mark.as_bytes(), 0)?;
            self.record.cut = Some(Cut { marked: true, ..cut.clone() });
            self.save()?;
        }
        if self.has_mark(&cut.mark)? {
            let taken = rustix::fs::fallocate(&self.file, FallocateFlags::COLLAPSE_RANGE, 0, cut.bytes);
            if let Err(errno) = taken {
                self.unmark(&cut)?;
                self.give_up()?;
                return Err(Error::from(std::io::Error::from(errno)).doing("shortening the log"));
            }
        }
        // Gone from the log: the copy is the only one now, and gets its name once.
        if copied == cut.bytes {
            make_way(&self.dir);
            std::fs::rename(&copy, old(&self.dir, 1))?;
        }
        self.record.base = self.record.base.saturating_add(cut.bytes);
        self.record.cut = None;
        self.save()
    }

    /// Puts back what the mark was written over.
    fn unmark(&self, cut: &Cut) -> Result<()> {
        let mut head = vec![0; cut.mark.len()];
        File::open(self.dir.join(COPY))?.read_exact(&mut head)?;
        self.file.write_all_at(&head, 0)?;
        Ok(())
    }

    fn give_up(&mut self) -> Result<()> {
        self.record.cut = None;
        self.save()?;
        let _ = std::fs::remove_file(self.dir.join(COPY));
        Ok(())
    }

    /// Durable: what follows can't be taken back.
    fn save(&self) -> Result<()> {
        records::write(&self.dir, RECORD, &self.record)?;
        File::open(self.dir.join(RECORD))?.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        Ok(())
    }
}

/// Cuts are made of whole blocks.
fn block(file: &File) -> Result<u64> {
    let stat = rustix::fs::fstatfs(file).map_err(std::io::Error::from)?;
    Ok(u64::try_from(stat.f_bsize).unwrap_or(0).max(4096))
}

/// Asks the file system with a file of its own: half a cut can't be undone as easily.
fn can_collapse(dir: &Path, block: u64) -> Result<()> {
    let refused = |error: std::io::Error| {
        Error::from(error).doing("the file system can't shorten a log that is written to")
    };
    let probe = tempfile::tempfile_in(dir).map_err(refused)?;
    probe.set_len(block.saturating_mul(2)).map_err(refused)?;
    rustix::fs::fallocate(&probe, FallocateFlags::COLLAPSE_RANGE, 0, block)
        .map_err(|errno| refused(errno.into()))
}

/// Copies the first `bytes` of a file.
fn copy(from: &File, to: &Path, bytes: u64) -> Result<()> {
    let _ = std::fs::remove_file(to);
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let mut piece = vec![0; 1 << 20];
    let mut at = 0;
    while at < bytes {
        let wanted = usize::try_from(bytes - at).unwrap_or(piece.len()).min(piece.len());
        let read = from.read_at(&mut piece[..wanted], at)?;
        if read == 0 {
            return Err(Error::again("the log became shorter while it was copied"));
        }
        copy.write_all(&piece[..read])?;
        at += read as u64;
    }
    copy.sync_all()?;
    Ok(())
}

/// `out.log.<n>`
fn old(dir: &Path, n: u32) -> PathBuf {
    dir.join(format!("{LOG}.{n}"))
}

/// Frees the name of the newest old log; the oldest one goes.
fn make_way(dir: &Path) {
    if std::fs::symlink_metadata(old(dir, 1)).is_err() {
        return;
    }
    for n in (1..OLD_MAX).rev() {
        // A missing one is fine, and what can't be moved is written over at worst.
        let _ = std::fs::rename(old(dir, n), old(dir, n + 1));
    }
}

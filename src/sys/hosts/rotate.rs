//! Keeps a process's log from growing for ever, without losing a line: before a start it gets another name; while the process
//! runs, what was read is taken from its front and kept beside it for a while. The process notices neither.
//!
//! Where the file system can, the file becomes shorter (`FALLOC_FL_COLLAPSE_RANGE`). That is for files which everybody only
//! appends to: a writer with a place of its own would leave a gap. For those, for writers on other machines, and on file
//! systems that can't do it, the bytes are freed where they stand (`FALLOC_FL_PUNCH_HOLE`), which no writer notices.
//!
//! `log.json` (`front`) records a cut under way. A mark in the part that goes tells after a crash whether it went.
//!
//! Deliberately not here: reading the log, and how far it was read.

use super::front::{Cut, Open, RECORD, has_mark};
use super::records::LOG;
use super::writers;
use crate::base::error::{Error, Result};
use crate::model::process::LogCursor;
use crate::sys::clock;
use rustix::fs::FallocateFlags;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Old logs kept: `out.log.1` is the newest of them.
const OLD_MAX: u32 = 3;
/// The part that is about to go, until it is complete.
const COPY: &str = "out.log.new";
/// Most bytes taken in one go: a tick waits for their copy.
const CUT_MAX: u64 = 64 << 20;

/// How bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The file becomes shorter where that is safe, else they are freed where they stand.
    Shorten,
    /// They are freed where they stand: writers on other machines must not find the file shorter than it was.
    Free,
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

/// Takes bytes from the front of a log that holds more than `max`, if they lie before the cursor. Half of `max` stays for
/// people. None = done, or nothing to do; else why it can't be done while the process runs.
pub fn trim(dir: &Path, read: &LogCursor, max: u64, way: Way) -> Option<String> {
    let length = std::fs::symlink_metadata(dir.join(LOG)).map_or(0, |meta| meta.len());
    if length <= max && std::fs::symlink_metadata(dir.join(RECORD)).is_err() {
        return None;
    }
    match try_trim(dir, read, max, way) {
        Ok(()) => None,
        Err(error) => Some(error.message()),
    }
}

fn try_trim(dir: &Path, read: &LogCursor, max: u64, way: Way) -> Result<()> {
    let Some(mut open) = Open::log(dir)? else { return Ok(()) };
    open.settle()?;
    let hole = open.record.hole;
    let meta = open.file.metadata()?;
    let length = meta.len();
    let holds = length.saturating_sub(hole);
    // What was read of another file says nothing about this one.
    if holds <= max || !read.file.is_some_and(|file| open.is(file)) {
        return Ok(());
    }
    // Somebody keeps it under another name: they would find it cut.
    if meta.nlink() > 1 {
        return Err(Error::again(format!("it has {} names (hard links), and is left whole", meta.nlink())));
    }
    let block = block(&open.file)?;
    let done = read.offset.saturating_sub(open.record.base).saturating_sub(hole);
    let bytes = done.min(holds.saturating_sub(max / 2)).min(CUT_MAX) / block * block;
    // The kernel refuses to take all of a file.
    if bytes == 0 || bytes >= holds {
        return Ok(());
    }
    let way = chosen(&open, way, block)?;
    copied(&open.file, dir, hole, bytes)?;
    let mark = match way {
        Way::Shorten => {
            format!("{:032x}", (clock::wall().0.unsigned_abs() << 20) | u64::from(std::process::id()))
        }
        Way::Free => String::new(),
    };
    (open.record.done, open.record.line) = (read.offset, read.line);
    open.record.cut = Some(Cut { bytes, mark, marked: false });
    open.save()?;
    open.settle()
}

/// The way that is safe here; an error when there is none.
fn chosen(open: &Open, way: Way, block: u64) -> Result<Way> {
    let shorten = way == Way::Shorten && open.record.hole == 0;
    if shorten && can(&open.dir, FallocateFlags::COLLAPSE_RANGE, block).is_ok() && writers::append(&open.file)
    {
        return Ok(Way::Shorten);
    }
    can(&open.dir, FREE, block)
        .map(|()| Way::Free)
        .map_err(|error| Error::from(error).doing("the file system can't shorten a log that is written to"))
}

const FREE: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

impl Open {
    /// Finishes a cut that was begun.
    fn settle(&mut self) -> Result<()> {
        let Some(cut) = self.record.cut.clone() else { return Ok(()) };
        let copied = std::fs::metadata(self.dir.join(COPY)).ok().map(|meta| meta.len());
        match cut.mark.is_empty() {
            true => self.settle_free(&cut, copied),
            false => self.settle_shorten(&cut, copied.unwrap_or(0)),
        }
    }

    fn settle_free(&mut self, cut: &Cut, copied: Option<u64>) -> Result<()> {
        match copied {
            Some(copied) if copied == cut.bytes => {
                let freed = rustix::fs::fallocate(&self.file, FREE, self.record.hole, cut.bytes);
                if let Err(errno) = freed {
                    self.give_up()?;
                    return Err(Error::from(std::io::Error::from(errno)).doing("shortening the log"));
                }
                self.keep_copy()?;
            }
            // It got its name: the bytes are gone.
            None => {}
            Some(_) => return self.give_up(),
        }
        self.record.hole = self.record.hole.saturating_add(cut.bytes);
        self.record.cut = None;
        self.save()
    }

    fn settle_shorten(&mut self, cut: &Cut, copied: u64) -> Result<()> {
        if !cut.marked {
            // Nothing is gone yet. Without its copy nothing may go.
            if copied != cut.bytes || self.file.metadata()?.len() <= cut.bytes {
                return self.give_up();
            }
            self.file.write_all_at(cut.mark.as_bytes(), 0)?;
            self.record.cut = Some(Cut { marked: true, ..cut.clone() });
            self.save()?;
        }
        if has_mark(&self.file, &cut.mark)? {
            let taken = rustix::fs::fallocate(&self.file, FallocateFlags::COLLAPSE_RANGE, 0, cut.bytes);
            if let Err(errno) = taken {
                self.unmark(cut)?;
                self.give_up()?;
                return Err(Error::from(std::io::Error::from(errno)).doing("shortening the log"));
            }
        }
        // Gone from the log: the copy is the only one now, and gets its name once.
        if copied == cut.bytes {
            self.keep_copy()?;
        }
        self.record.base = self.record.base.saturating_add(cut.bytes);
        self.record.cut = None;
        self.save()
    }

    fn keep_copy(&self) -> Result<()> {
        make_way(&self.dir);
        Ok(std::fs::rename(self.dir.join(COPY), old(&self.dir, 1))?)
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
}

/// Cuts are made of whole blocks.
fn block(file: &File) -> Result<u64> {
    let stat = rustix::fs::fstatfs(file).map_err(std::io::Error::from)?;
    Ok(u64::try_from(stat.f_bsize).unwrap_or(0).max(4096))
}

/// Asks the file system with a file of its own: half a cut can't be undone as easily.
fn can(dir: &Path, how: FallocateFlags, block: u64) -> std::io::Result<()> {
    let probe = tempfile::tempfile_in(dir)?;
    probe.set_len(block.saturating_mul(2))?;
    Ok(rustix::fs::fallocate(&probe, how, 0, block)?)
}

/// Copies the part that goes. On a full disk the oldest part, which would go now anyway, makes room.
fn copied(from: &File, dir: &Path, at: u64, bytes: u64) -> Result<()> {
    let to = dir.join(COPY);
    let Err(error) = copy(from, &to, at, bytes) else { return Ok(()) };
    let oldest = (1..=OLD_MAX).rev().map(|n| old(dir, n)).find(|path| path.exists());
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let again = match oldest.filter(|_| is_full).map(std::fs::remove_file) {
        Some(Ok(())) => copy(from, &to, at, bytes),
        Some(Err(_)) | None => Err(error),
    };
    again.map_err(|error| {
        let _ = std::fs::remove_file(&to);
        Error::from(error).doing("keeping the part of the log that goes")
    })
}

fn copy(from: &File, to: &Path, at: u64, bytes: u64) -> std::io::Result<()> {
    let _ = std::fs::remove_file(to);
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let mut piece = vec![0; 1 << 20];
    let mut done = 0;
    while done < bytes {
        let wanted = usize::try_from(bytes - done).unwrap_or(piece.len()).min(piece.len());
        let read = from.read_at(&mut piece[..wanted], at + done)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        copy.write_all(&piece[..read])?;
        done += read as u64;
    }
    copy.sync_all()
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

//! New bytes of a log since they were last read: in bounded pieces, across rotation by rename, by copy and truncate, by
//! deletion. Nothing is read twice, and nothing is lost where it can still be had; what was lost is said.
//!
//! Places in a log are counted as `hosts::front` does: the bytes that were taken from it count too.
//!
//! Deliberately not here: what the bytes mean (`detect::log`), when they are read (`engine::follow`).

use super::clock;
use super::hosts::front::{self, Front};
use super::log_place;
use crate::base::error::{Error, Result};
use crate::base::text::digest;
use crate::base::time::Wall;
use crate::model::finding::{Finding, LogMark};
use crate::model::process::LogCursor;
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes before a place that tell whether it is still the same log.
const TAIL: u64 = 64;
/// Files beside the log that are looked at for the rest of a rotated one.
const BESIDE_MAX: usize = 64;
/// The front of a log may be taken while it is read: so often it is read again.
const TRIES: usize = 4;

/// Which log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its file.
    pub path: PathBuf,
    /// The unit's folder, when it is the log of a process of ours: only of that the front may be taken.
    pub own: Option<PathBuf>,
}

/// Where reading begins when nothing is known of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Beginning,
    End,
}

/// Reads one file of a log.
#[derive(Debug)]
pub struct Reader {
    file: File,
    id: (u64, u64),
    front: Front,
    /// The next byte's place.
    pub at: u64,
    /// Bytes before it, at most [`TAIL`].
    tail: Vec<u8>,
    /// It is not the file that the log is written to now.
    aside: bool,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    Bytes(Vec<u8>),
    /// All was read.
    Nothing,
    /// All was read, and the log goes on in another file.
    Over,
    /// The file was cut or written anew under us.
    Changed,
}

impl Log {
    /// A reader at the cursor, and what was lost, in words. None when there is no such file yet.
    pub fn open(&self, cursor: &LogCursor, start: Start) -> Result<Option<(Reader, Option<String>)>> {
        let now = self.reader(&self.path, 0)?;
        let Some(id) = cursor.file else {
            let Some(mut now) = now else { return Ok(None) };
            let end = now.end()?;
            now.seek(if start == Start::End { end } else { now.first()? })?;
            return Ok(Some((now, None)));
        };
        if let Some(mut now) = now.filter(|now| now.id == id)
            && now.stands_at(cursor)
        {
            // What was read for good and taken since the cursor was written is not lost: it was read.
            now.seek(cursor.offset.max(now.front.first()))?;
            return Ok(Some((now, None)));
        }
        for (path, _) in self.beside() {
            let Some(mut old) = self.reader(&path, cursor.offset)? else { continue };
            let known = old.id == id || !cursor.tail.is_empty();
            if known && old.stands_at(cursor) {
                old.aside = true;
                old.seek(cursor.offset.max(old.front.first()))?;
                return Ok(Some((old, None)));
            }
        }
        let lost = format!(
            "the log `{}` was cut or replaced: what was written behind byte {} and before that was not read",
            self.path.display(),
            cursor.offset
        );
        let Some(mut new) = self.reader(&self.path, 0)? else { return Ok(None) };
        new.seek(new.first()?)?;
        Ok(Some((new, Some(lost))))
    }

    /// The file that was written after this one: the next one put aside, else the log itself. None when it is not there.
    pub fn next(&self, done: &Reader) -> Result<Option<Reader>> {
        let ended = modified(&done.file.metadata()?);
        let own = |path: &Path| {
            std::fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == done.id)
        };
        let later = self.beside().into_iter().rev().find(|(path, at)| *at > ended && !own(path));
        let path = later.as_ref().map_or(self.path.as_path(), |(path, _)| path.as_path());
        let Some(mut next) = self.reader(path, 0)? else { return Ok(None) };
        next.aside = later.is_some();
        next.seek(next.first()?)?;
        Ok(Some(next))
    }

    /// When the log last changed.
    pub fn changed_at(&self) -> Option<Wall> {
        std::fs::metadata(&self.path).ok().map(|meta| modified(&meta))
    }

    fn reader(&self, path: &Path, at: u64) -> Result<Option<Reader>> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = match File::options().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::from(error).at(path).doing("reading")),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(Error::again("is no regular file").at(path).doing("reading"));
        }
        let id = (meta.dev(), meta.ino());
        let front = self.front(&file);
        Ok(Some(Reader { file, id, front, at, tail: Vec::new(), aside: false }))
    }

    fn id(&self) -> Option<(u64, u64)> {
        std::fs::metadata(&self.path).ok().map(|meta| (meta.dev(), meta.ino()))
    }

    fn front(&self, file: &File) -> Front {
        self.own.as_deref().map_or(Front::default(), |own| front::of(own, file))
    }

    /// Files beside the log whose names begin with its own, the newest first.
    fn beside(&self) -> Vec<(PathBuf, Wall)> {
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Vec::new() };
        let name = name.to_string_lossy().into_owned();
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let mut found: Vec<(PathBuf, Wall)> = entries
            .flatten()
            .filter(|entry| {
                let other = entry.file_name().to_string_lossy().into_owned();
                other.strip_prefix(&name).is_some_and(is_rotated)
            })
            .filter_map(|entry| {
                Some((entry.path(), modified(&entry.metadata().ok().filter(Metadata::is_file)?)))
            })
            .take(BESIDE_MAX)
            .collect();
        found.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        found
    }
}

impl Reader {
    /// The next bytes, at most `max`.
    pub fn read(&mut self, log: &Log, max: usize) -> Result<Got> {
        for _ in 0..TRIES {
            self.front = self.front_now(log);
            let place = self.at.saturating_sub(self.front.base);
            let length = self.file.metadata()?.len();
            let mut bytes = vec![0; usize::try_from(length.saturating_sub(place)).unwrap_or(max).min(max)];
            let same = length >= place && self.tail_stands()?;
            let read = read_at(&self.file, &mut bytes, place)?;
            bytes.truncate(read);
            if self.front_now(log) != self.front {
                continue;
            }
            if !same {
                return Ok(Got::Changed);
            }
            if bytes.is_empty() {
                return Ok(if self.is_over(log) { Got::Over } else { Got::Nothing });
            }
            self.at += bytes.len() as u64;
            self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL as usize)..]);
            let more = self.tail.len().saturating_sub(TAIL as usize);
            self.tail.drain(..more);
            return Ok(Got::Bytes(bytes));
        }
        Ok(Got::Nothing)
    }

    /// A cursor at a place that was read already.
    pub fn cursor(&self, offset: u64) -> Result<LogCursor> {
        let tail = self.before(offset)?;
        Ok(LogCursor { offset, tail: digest(&tail), ..self.read_cursor() })
    }

    /// A cursor where reading stands, by what was read: what the file holds now may be something else.
    pub fn read_cursor(&self) -> LogCursor {
        let tail = digest(&self.tail);
        let last = Some((self.at, tail.clone())).filter(|(at, _)| *at > 0);
        LogCursor { file: Some(self.id), offset: self.at, tail, last, ..LogCursor::default() }
    }

    /// The last bytes that were read, at most `max`, and the place of the first one.
    pub fn last(&self, max: u64) -> Result<(Vec<u8>, u64)> {
        let Front { base, hole, .. } = self.front;
        let first = base.saturating_add(hole).max(self.at.saturating_sub(max));
        let mut bytes = vec![0; usize::try_from(self.at.saturating_sub(first)).unwrap_or_default()];
        let read = read_at(&self.file, &mut bytes, first.saturating_sub(base))?;
        bytes.truncate(read);
        Ok((bytes, first))
    }

    /// What tells a finding's place later.
    pub fn mark(&self, finding: &Finding) -> Option<LogMark> {
        log_place::mark(&self.file, self.front.base, finding.at, finding.end)
    }

    /// Number of the line where reading stands, as far as the log's record tells; 0 = not known.
    pub fn line(&self) -> u64 {
        if self.at == self.front.done { self.front.line } else { 0 }
    }

    fn seek(&mut self, at: u64) -> Result<()> {
        self.at = at;
        self.tail = self.before(at)?;
        Ok(())
    }

    /// Bytes before a place, at most [`TAIL`].
    fn before(&self, at: u64) -> Result<Vec<u8>> {
        let place = at.saturating_sub(self.front.base);
        let from = place.saturating_sub(TAIL).max(self.front.hole.min(place));
        let mut bytes = vec![0; usize::try_from(place - from).unwrap_or_default()];
        let read = read_at(&self.file, &mut bytes, from)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The end of what is there.
    fn end(&self) -> Result<u64> {
        Ok(self.front.base.saturating_add(self.file.metadata()?.len()))
    }

    /// Where reading begins when nothing is known: at what was not read for good, if it is there.
    fn first(&self) -> Result<u64> {
        let first = self.front.first();
        Ok(if first <= self.end()? { first } else { self.front.base })
    }

    /// Is the log behind the cursor still the one that it was made of?
    fn stands_at(&self, cursor: &LogCursor) -> bool {
        let Front { base, hole, .. } = self.front;
        let here = cursor.file == Some(self.id);
        let (Ok(end), first) = (self.end(), self.front.first()) else { return false };
        if here && cursor.offset < first {
            return first <= end;
        }
        if cursor.offset < base {
            return false;
        }
        let taken = base > 0 || hole > 0;
        let stands = |at: u64, tail: &String| {
            // Of a log whose front was taken up to here nothing is left to compare.
            let Some(place) = at.checked_sub(base) else { return true };
            let unknown = tail.is_empty() || taken && place < hole.saturating_add(TAIL);
            at <= end && (unknown || self.before(at).is_ok_and(|here| digest(&here) == *tail))
        };
        stands(cursor.offset, &cursor.tail) && cursor.last.as_ref().is_none_or(|(at, tail)| stands(*at, tail))
    }

    fn tail_stands(&self) -> Result<bool> {
        let now = self.before(self.at)?;
        // The front may have been taken up to within the tail.
        let taken = self.front.base > 0 || self.front.hole > 0;
        Ok(self.tail.ends_with(&now) && (now.len() == self.tail.len() || taken))
    }

    fn is_over(&self, log: &Log) -> bool {
        self.aside || log.id().is_some_and(|now| now != self.id)
    }

    /// What was taken from the front so far; of a file that was put aside no more is taken.
    fn front_now(&self, log: &Log) -> Front {
        if self.aside || log.id() != Some(self.id) { self.front } else { log.front(&self.file) }
    }
}

/// What follows the log's name in that of a part of it which was put aside: a number, a date, or a word for old. Of `run.1`,
/// `run.10` is no part.
fn is_rotated(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix(['.', '-', '_']) else { return false };
    let number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | ':' | 'T' | 'Z');
    let dated = rest.contains(|c: char| c.is_ascii_digit()) && rest.chars().all(number);
    dated || matches!(rest, "old" | "bak" | "prev" | "previous")
}

fn read_at(file: &File, bytes: &mut [u8], from: u64) -> Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], from + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::from(error).doing("reading a log")),
        }
    }
    Ok(done)
}

fn modified(meta: &Metadata) -> Wall {
    meta.modified().map_or(Wall(0), clock::from_system)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    struct World {
        dir: tempfile::TempDir,
        log: Log,
    }

    impl World {
        fn new() -> World {
            let dir = tempfile::tempdir().unwrap();
            let log = Log { path: dir.path().join("out.log"), own: None };
            World { dir, log }
        }

        fn append(&self, text: &str) {
            let mut file = File::options().append(true).create(true).open(&self.log.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn open(&self, cursor: &LogCursor) -> (Reader, Option<String>) {
            self.log.open(cursor, Start::Beginning).unwrap().unwrap()
        }
    }

    /// Everything that is there, across files.
    fn all(log: &Log, reader: &mut Reader) -> String {
        let mut text = Vec::new();
        loop {
            match reader.read(log, 5).unwrap() {
                Got::Bytes(bytes) => text.extend(bytes),
                Got::Nothing | Got::Changed => return String::from_utf8(text).unwrap(),
                Got::Over => *reader = log.next(reader).unwrap().unwrap(),
            }
        }
    }

    #[test]
    fn only_new_bytes_are_read_also_after_a_restart() {
        let world = World::new();
        assert!(world.log.open(&LogCursor::default(), Start::Beginning).unwrap().is_none());
        world.append("one\ntw");
        let (mut reader, lost) = world.open(&LogCursor::default());
        assert_eq!((all(&world.log, &mut reader).as_str(), lost), ("one\ntw", None));
        world.append("o\n");
        assert_eq!(all(&world.log, &mut reader), "o\n");
        let cursor = reader.cursor(4).unwrap();
        let (mut again, lost) = world.open(&cursor);
        assert_eq!((all(&world.log, &mut again).as_str(), lost), ("two\n", None));
        let (mut end, _) = world.log.open(&LogCursor::default(), Start::End).unwrap().unwrap();
        assert_eq!(all(&world.log, &mut end), "");
    }

    #[test]
    fn a_renamed_log_is_read_to_its_end_first() {
        let world = World::new();
        world.append("one\n");
        let (mut reader, _) = world.open(&LogCursor::default());
        assert_eq!(all(&world.log, &mut reader), "one\n");
        let cursor = reader.cursor(reader.at).unwrap();
        world.append("two\n");
        fs::rename(&world.log.path, world.path("out.log.1")).unwrap();
        world.append("three\n");
        assert_eq!(all(&world.log, &mut reader), "two\nthree\n");
        let (mut again, lost) = world.open(&cursor);
        assert_eq!((all(&world.log, &mut again).as_str(), lost), ("two\nthree\n", None));
    }

    #[test]
    fn a_copied_and_truncated_log_is_read_from_its_copy() {
        let world = World::new();
        world.append("one\n");
        let (mut reader, _) = world.open(&LogCursor::default());
        assert_eq!(all(&world.log, &mut reader), "one\n");
        let cursor = reader.cursor(reader.at).unwrap();
        world.append("two\n");
        fs::copy(&world.log.path, world.path("out.log.1")).unwrap();
        File::options().write(true).open(&world.log.path).unwrap().set_len(0).unwrap();
        world.append("three, which is longer than all that was there\n");
        assert_eq!(reader.read(&world.log, 5).unwrap(), Got::Changed);
        let (mut again, lost) = world.open(&cursor);
        assert_eq!(lost, None);
        assert_eq!(all(&world.log, &mut again), "two\nthree, which is longer than all that was there\n");
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        let world = World::new();
        world.append("one\n");
        let (reader, _) = world.open(&LogCursor::default());
        let cursor = reader.cursor(4).unwrap();
        File::options().write(true).open(&world.log.path).unwrap().set_len(0).unwrap();
        world.append("new and longer\n");
        let (mut again, lost) = world.open(&cursor);
        assert_eq!(all(&world.log, &mut again), "new and longer\n");
        assert!(lost.unwrap().contains("was cut or replaced"));
    }

    #[test]
    fn a_deleted_log_is_read_to_its_end_and_then_the_new_one() {
        let world = World::new();
        world.append("one\n");
        let (mut reader, _) = world.open(&LogCursor::default());
        assert_eq!(all(&world.log, &mut reader), "one\n");
        world.append("two\n");
        fs::remove_file(&world.log.path).unwrap();
        assert_eq!(all(&world.log, &mut reader), "two\n");
        world.append("three\n");
        assert_eq!(all(&world.log, &mut reader), "three\n");
    }

    #[test]
    fn the_front_may_be_taken() {
        let mut world = World::new();
        world.log.own = Some(world.dir.path().to_owned());
        world.append(&"x".repeat(200));
        let (mut reader, _) = world.open(&LogCursor::default());
        assert_eq!(all(&world.log, &mut reader).len(), 200);
        assert_eq!(reader.cursor(100).unwrap().offset, 100);
        world.append("more");
        assert_eq!(all(&world.log, &mut reader), "more");
    }

    #[test]
    fn a_folder_or_a_pipe_is_no_log() {
        let world = World::new();
        fs::create_dir(&world.log.path).unwrap();
        assert!(world.log.open(&LogCursor::default(), Start::Beginning).is_err());
    }

    #[test]
    fn a_part_of_a_log_is_known_by_its_name() {
        for rest in [".1", ".12", "-20261121", ".2026-11-21", ".2026-11-21_10-00-00", ".old", "_3"] {
            assert!(is_rotated(rest), "{rest}");
        }
        for rest in ["", "0", ".gz", ".1.gz", ".new", ".tmp", "-errors", "2", ".d", "."] {
            assert!(!is_rotated(rest), "{rest}");
        }
    }
}

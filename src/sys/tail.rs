//! Reads the end of a growing file of lines, and what is added to it afterwards. Bounded; never locks.
//!
//! Deliberately not here: what the lines mean, and waiting.

use crate::base::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Most bytes taken in one look; a longer addition is read by several looks.
const CHUNK_MAX: u64 = 4 << 20;

/// A place in a file of lines.
#[derive(Clone, Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
}

impl Tail {
    /// The lines of the last `max` bytes, and the place after them. A missing file has none.
    pub fn last(path: &Path, max: u64) -> Result<(Vec<String>, Tail)> {
        let length = length(path)?;
        let start = length.saturating_sub(max.min(CHUNK_MAX));
        let mut tail = Tail { path: path.to_owned(), offset: start };
        let mut lines = tail.more()?;
        // The first line is whole only when the byte before it ended another one.
        if start > 0 && !lines.is_empty() && !begins_a_line(path, start)? {
            lines.remove(0);
        }
        Ok((lines, tail))
    }

    /// Whole lines that were added since the last look. A file that shrank is read from its beginning.
    pub fn more(&mut self) -> Result<Vec<String>> {
        let Some(file) = open_to_read(&self.path)? else {
            self.offset = 0;
            return Ok(Vec::new());
        };
        let at = |e: std::io::Error| Error::from(e).at(&self.path);
        let length = file.metadata().map_err(at)?.len();
        if length < self.offset {
            self.offset = 0;
        }
        let room = usize::try_from((length - self.offset).min(CHUNK_MAX)).unwrap_or(0);
        let mut bytes = vec![0; room];
        let n = file.read_at(&mut bytes, self.offset).map_err(at)?;
        bytes.truncate(n);
        let whole = match bytes.iter().rposition(|b| *b == b'\n') {
            Some(last) => last + 1,
            // A line longer than a chunk is given up, not waited for.
            None if n as u64 == CHUNK_MAX => n,
            None => 0,
        };
        bytes.truncate(whole);
        self.offset += whole as u64;
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }
}

/// Opens a regular file; None when it is missing. Never follows a link, never blocks on a FIFO.
fn open_to_read(path: &Path) -> Result<Option<File>> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata().is_ok_and(|m| m.is_file()) => Ok(Some(file)),
        Ok(_) => Err(Error::again("is not a regular file").at(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from(error).at(path)),
    }
}

fn length(path: &Path) -> Result<u64> {
    match open_to_read(path)? {
        Some(file) => Ok(file.metadata().map_err(|e| Error::from(e).at(path))?.len()),
        None => Ok(0),
    }
}

fn begins_a_line(path: &Path, start: u64) -> Result<bool> {
    let Some(file) = open_to_read(path)? else { return Ok(true) };
    let mut byte = [0];
    let n = file.read_at(&mut byte, start - 1).map_err(|e| Error::from(e).at(path))?;
    Ok(n == 1 && byte[0] == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_whole_lines_are_given_and_a_shrunken_file_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (lines, mut tail) = Tail::last(&path, 100).unwrap();
        assert!(lines.is_empty());
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(tail.more().unwrap(), ["one"]);
        assert!(tail.more().unwrap().is_empty());
        file.write_all(b"o\nthree\n").unwrap();
        assert_eq!(tail.more().unwrap(), ["two", "three"]);
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(tail.more().unwrap(), ["new"]);
    }

    #[test]
    fn the_last_bytes_begin_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "first\nsecond\nthird\n").unwrap();
        let last = |max| Tail::last(&path, max).unwrap().0;
        assert_eq!(last(100), ["first", "second", "third"]);
        assert_eq!(last(13), ["second", "third"]);
        assert_eq!(last(12), ["third"]);
        assert!(last(0).is_empty());
    }
}

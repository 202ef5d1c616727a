//! A state directory of which one file can't be read, for tests: neither looking at it nor opening it works, and what is
//! appended to it arrives all the same.

use crate::base::error::{Error, Result};
use crate::sys::files::RealFiles;
use crate::sys::{Files, Replaced, Sync};

#[derive(Debug)]
pub(super) struct Unreadable<'f> {
    pub(super) files: &'f mut RealFiles,
    pub(super) path: &'f str,
}

impl Unreadable<'_> {
    fn fail(&self, path: &str) -> Result<()> {
        if path == self.path { Err(Error::again("input/output error")) } else { Ok(()) }
    }
}

impl Files for Unreadable<'_> {
    fn read(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.fail(path)?;
        self.files.read(path, limit)
    }
    fn tail(&mut self, path: &str, bytes: u64) -> Result<Vec<u8>> {
        self.fail(path)?;
        self.files.tail(path, bytes)
    }
    fn stamp(&mut self, path: &str) -> Option<String> {
        self.fail(path).ok()?;
        self.files.stamp(path)
    }
    fn replace(&mut self, path: &str, expected: Option<&[u8]>, bytes: &[u8], sync: Sync) -> Result<Replaced> {
        self.files.replace(path, expected, bytes, sync)
    }
    fn append(&mut self, path: &str, record: &str) -> Result<()> {
        self.files.append(path, record)
    }
    fn list(&mut self, path: &str) -> Result<Vec<String>> {
        self.fail(path)?;
        self.files.list(path)
    }
    fn remove(&mut self, path: &str) -> Result<()> {
        self.files.remove(path)
    }
    fn quarantine(&mut self, path: &str) -> Result<String> {
        self.files.quarantine(path)
    }
}

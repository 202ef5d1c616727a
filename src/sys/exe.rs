//! Which binary runs, whether another one lies in its place, and how to become it without letting go of the lock.

use super::lock::{BECOMING, Lock};
use crate::base::error::{Error, Result};
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Identity of a binary file. Two that agree in all of it are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Where it was started from.
    pub path: PathBuf,
    pub dev: u64,
    pub inode: u64,
    /// Nanoseconds since 1970.
    pub changed_ns: i128,
    /// Bytes.
    pub size: u64,
}

impl Binary {
    /// The running binary. Its path is what the kernel knew when it was started.
    pub fn running() -> Result<Binary> {
        let path = std::env::current_exe().map_err(|e| Error::from(e).doing("finding the own binary"))?;
        // A replaced binary reads as `/path (deleted)`; the link itself still leads to the old file.
        let name = path.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        let own = Path::new("/proc/self/exe");
        let file = if own.exists() { own } else { &path };
        Binary::at(file).map(|b| Binary { path: PathBuf::from(name), ..b })
    }

    /// The binary that lies at `path` now.
    pub fn at(path: &Path) -> Result<Binary> {
        let meta = std::fs::metadata(path).map_err(|e| Error::from(e).at(path))?;
        Ok(Binary {
            path: path.to_owned(),
            dev: meta.dev(),
            inode: meta.ino(),
            changed_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
            size: meta.size(),
        })
    }

    /// Another binary lies in this one's place; None when it is the same, or nothing readable is there.
    pub fn replacement(&self) -> Option<Binary> {
        Binary::at(&self.path).ok().filter(|now| now != self)
    }

    /// What runs this very binary once more: its path, or what the kernel has open while another file, or a part of one,
    /// or none lies there.
    pub fn program(&self) -> PathBuf {
        let own = Path::new("/proc/self/exe");
        let lies_there = Binary::at(&self.path).is_ok_and(|now| now == *self);
        if lies_there || !own.exists() { self.path.clone() } else { own.to_owned() }
    }

    /// One short line for heartbeat and comparisons: `dev:inode:mtime_ns:size`.
    pub fn identity(&self) -> String {
        format!("{}:{}:{}:{}", self.dev, self.inode, self.changed_ns, self.size)
    }
}

/// Becomes the binary at `path` with these arguments; the lock goes with us. Returns only when that failed; standard
/// input may then be the lock's folder.
pub fn exec<S: AsRef<OsStr>>(path: &Path, args: impl IntoIterator<Item = S>, lock: &Lock) -> Error {
    let mut command = Command::new(path);
    command.args(args);
    // The handlers end with the exec, and the text would go on to say that we can be woken.
    if let Err(error) = lock.resign(BECOMING).and_then(|()| lock.hand_down(&mut command)) {
        return error;
    }
    let error = command.exec();
    let _ = lock.resign("run");
    Error::from(error).at(path).doing("starting the new binary")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_noticed_and_a_missing_one_is_not_a_replacement() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bin");
        std::fs::write(&path, "one").unwrap();
        let first = Binary::at(&path).unwrap();
        assert_eq!(first.replacement(), None);
        std::fs::write(dir.path().join("new"), "one").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        let second = first.replacement().unwrap();
        assert_ne!(first.identity(), second.identity());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(first.replacement(), None);
    }

    #[test]
    fn the_running_binary_has_a_path_that_leads_to_itself() {
        let running = Binary::running().unwrap();
        assert_eq!(running.replacement(), None);
    }
}

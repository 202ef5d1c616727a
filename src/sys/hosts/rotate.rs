//! Keeps a local process's log from growing for ever, without losing a line.
//!
//! Deliberately not here: reading the log.

use super::records::LOG;
use crate::base::error::{Error, Result};
use std::path::Path;

/// Old logs kept: `out.log.1` is the newest of them.
const OLD_MAX: u32 = 3;

/// Before a start: a log that is longer than `max` bytes gets another name. What still writes into it goes on doing so.
pub fn at_start(dir: &Path, max: u64) -> Result<()> {
    let log = dir.join(LOG);
    match std::fs::symlink_metadata(&log) {
        Ok(meta) if meta.is_file() && meta.len() > max => {}
        Ok(_) | Err(_) => return Ok(()),
    }
    make_way(dir);
    let put = std::fs::rename(&log, old(dir, 1));
    put.map_err(|error| Error::from(error).at(&log).doing("putting the log aside"))
}

/// `out.log.<n>`
fn old(dir: &Path, n: u32) -> std::path::PathBuf {
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

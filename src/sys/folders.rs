//! Folders of the state directory that appear whole or not at all: written beside under a temporary name, synced, renamed.
//!
//! Deliberately not here: what is in them. What a dead run left half written goes when the next folder is written.

use super::files::make_dir;
use crate::base::error::{Error, Result};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Start of temporary folders' names: `.wk-dir-<pid>-<n>`. Listings leave out what begins with `.wk-`.
const TEMP_PREFIX: &str = ".wk-dir-";
/// Most leftovers that are removed at a time.
const LEFTOVERS_MAX: usize = 100;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Makes the folder `path` with these files (names may hold one folder). One that is there already is left as it is.
pub(super) fn put(path: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    make_dir(parent)?;
    clean(parent);
    if std::fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let temp = temp(parent);
    let written = fill(&temp, files).and_then(|()| put_in_place(&temp, path));
    if written.is_err() {
        // Disk full: half a folder would keep it full.
        let _ = std::fs::remove_dir_all(&temp);
    }
    written?;
    File::open(parent)?.sync_all()?;
    Ok(())
}

fn temp(parent: &Path) -> PathBuf {
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    parent.join(format!("{TEMP_PREFIX}{}-{n}", std::process::id()))
}

fn fill(temp: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    let dir = |path: &Path| DirBuilder::new().mode(0o700).recursive(true).create(path);
    dir(temp)?;
    let mut folders = vec![temp.to_owned()];
    for (name, bytes) in files {
        let inner = Path::new(name);
        if name.is_empty() || !inner.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::usage(format!("`{}` is no file of a folder", name.escape_debug())));
        }
        let full = temp.join(inner);
        if let Some(folder) = full.parent().filter(|folder| !folders.iter().any(|known| known == folder)) {
            dir(folder)?;
            folders.push(folder.to_owned());
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&full)?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    for folder in &folders {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn put_in_place(temp: &Path, path: &Path) -> Result<()> {
    match rustix::fs::renameat_with(CWD, temp, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // The file system can't refuse a taken name (NFS): a rename refuses a folder that is not empty by itself.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(std::fs::rename(temp, path)?),
        Err(errno) => Err(std::io::Error::from(errno).into()),
    }
}

/// Removes a folder and what is in it; a missing one is fine. Out of sight first, so that no half of it is seen.
pub(super) fn remove(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let temp = temp(parent);
    match std::fs::rename(path, &temp) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::from(error).at(path).doing("removing")),
    }
    // A link is removed, not followed.
    let gone = match std::fs::symlink_metadata(&temp)?.is_dir() {
        true => std::fs::remove_dir_all(&temp),
        false => std::fs::remove_file(&temp),
    };
    gone.map_err(|error| Error::from(error).at(path).doing("removing"))
}

/// Removes what dead runs left. Our own pid means a dead run that had the same one, or our own failure: nothing of ours
/// is half written when this asks.
fn clean(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ours = names.filter(|name| name.starts_with(TEMP_PREFIX)).filter(|name| !is_in_use(name));
    for name in ours.take(LEFTOVERS_MAX) {
        let _ = std::fs::remove_dir_all(parent.join(name));
    }
}

fn is_in_use(name: &str) -> bool {
    let pid = name.strip_prefix(TEMP_PREFIX).and_then(|rest| rest.split('-').next()?.parse::<i32>().ok());
    let own = std::process::id().cast_signed();
    pid.filter(|pid| *pid != own)
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> (String, Vec<u8>) {
        (name.to_owned(), text.as_bytes().to_vec())
    }

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("incidents/one");
        put(&path, &[file("report.md", "a"), file("fix/action.json", "{}")]).unwrap();
        assert_eq!(std::fs::read_to_string(path.join("fix/action.json")).unwrap(), "{}");
        // Again: what is there stays.
        put(&path, &[file("report.md", "b")]).unwrap();
        assert_eq!(std::fs::read_to_string(path.join("report.md")).unwrap(), "a");
        // A file that can't be written: nothing is left.
        let two = dir.path().join("incidents/two");
        assert!(put(&two, &[file("a", "x"), file("a", "y")]).is_err());
        assert!(put(&two, &[file("../a", "x")]).is_err());
        let names: Vec<_> = std::fs::read_dir(dir.path().join("incidents")).unwrap().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn leftovers_of_dead_runs_go_and_those_of_living_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join(format!("{TEMP_PREFIX}{}-0", i32::MAX));
        let living = dir.path().join(format!("{TEMP_PREFIX}1-0"));
        std::fs::create_dir_all(dead.join("x")).unwrap();
        std::fs::create_dir_all(&living).unwrap();
        put(&dir.path().join("one"), &[]).unwrap();
        assert!(!dead.exists() && living.exists());
    }

    #[test]
    fn a_removed_folder_takes_nothing_else_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("a"), "a").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("link")).unwrap();
        remove(&dir.path().join("link")).unwrap();
        remove(&dir.path().join("missing")).unwrap();
        assert!(other.join("a").exists() && !dir.path().join("link").exists());
        put(&dir.path().join("one"), &[file("a/b", "x")]).unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("one/a/link")).unwrap();
        remove(&dir.path().join("one")).unwrap();
        assert!(other.join("a").exists() && !dir.path().join("one").exists());
    }
}

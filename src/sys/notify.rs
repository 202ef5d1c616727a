//! Files whose change wakes the loop: inotify on folders, so that a file that is put in place of another is seen too.
//!
//! Deliberately not here: what a change means. Where inotify is not to be had the loop's own interval remains.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Folders watched at once.
const FOLDERS_MAX: usize = 1000;
/// Events taken in one go; more of them are only more of the same.
const EVENTS_MAX: usize = 4096;

/// The watched folders.
#[derive(Debug)]
pub struct Watches {
    fd: OwnedFd,
    folders: BTreeMap<PathBuf, i32>,
}

impl Watches {
    /// None when the kernel gives no more of them.
    pub fn new() -> Option<Watches> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
        Some(Watches { fd, folders: BTreeMap::new() })
    }

    /// Watches exactly these folders from now on.
    pub fn set<'p>(&mut self, folders: impl Iterator<Item = &'p Path>) {
        let wanted: Vec<&Path> = folders.take(FOLDERS_MAX).collect();
        let gone: Vec<PathBuf> =
            self.folders.keys().filter(|folder| !wanted.contains(&folder.as_path())).cloned().collect();
        for folder in gone {
            if let Some(watch) = self.folders.remove(&folder) {
                // It may be gone with its folder.
                let _ = inotify::remove_watch(&self.fd, watch);
            }
        }
        let flags = WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        for folder in wanted {
            // Adding what is watched already changes nothing; a folder made anew is watched anew.
            if let Ok(watch) = inotify::add_watch(&self.fd, folder, flags) {
                self.folders.insert(folder.to_owned(), watch);
            }
        }
    }

    /// What changed since the last call: folders and names in them. Does not wait.
    pub fn changed(&mut self) -> Vec<(PathBuf, String)> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        let mut changed: Vec<(PathBuf, String)> = Vec::new();
        for _ in 0..EVENTS_MAX {
            let Ok(event) = reader.next() else { break };
            let folder = self.folders.iter().find(|(_, watch)| **watch == event.wd());
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            if let (Some((folder, _)), Some(name)) = (folder, name) {
                let one = (folder.clone(), name);
                if !changed.contains(&one) {
                    changed.push(one);
                }
            }
        }
        changed
    }
}

impl AsFd for Watches {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_only_of_watched_folders() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&two).unwrap();
        let mut watches = Watches::new().unwrap();
        watches.set([one.as_path(), dir.path().join("none").as_path()].into_iter());
        std::fs::write(one.join("out.log"), "x").unwrap();
        std::fs::write(two.join("out.log"), "x").unwrap();
        assert_eq!(watches.changed(), [(one.clone(), "out.log".to_owned())]);
        assert_eq!(watches.changed(), []);
        watches.set([two.as_path()].into_iter());
        std::fs::write(one.join("out.log"), "y").unwrap();
        std::fs::write(two.join("out.log"), "y").unwrap();
        assert_eq!(watches.changed(), [(two, "out.log".to_owned())]);
    }
}

//! Where a place of a log stands now: what was found in it is shown later, when its front may have been taken, or when it may
//! have got another name.
//!
//! Deliberately not here: following a log (`follow`), taking its front (`hosts::rotate`).

use super::hosts::front;
use crate::base::text::digest;
use crate::model::finding::{Finding, LogMark};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes at a place that tell it from others.
const MARK_MAX: u64 = 64;
/// Files beside the log that are looked at.
const BESIDE_MAX: usize = 64;
/// Parts that were taken from the front of one log of ours, at most (`hosts::rotate` keeps three).
const PARTS_MAX: u32 = 8;

/// The mark of a place in a file: `file` is the place in it, and `base` what was taken from its front before.
pub(super) fn mark(file: &File, base: u64, at: u64, end: u64) -> Option<LogMark> {
    let meta = file.metadata().ok()?;
    let bytes = bytes(file, at.checked_sub(base)?, end.saturating_sub(at))?;
    Some(LogMark { file: (meta.dev(), meta.ino()), bytes: digest(&bytes) })
}

/// The file that holds the finding now, and its first byte's place in it; None when it is nowhere.
pub fn find(log: &Path, own: Option<&Path>, finding: &Finding) -> Option<(PathBuf, u64)> {
    let mark = finding.log.as_ref()?;
    let stands = |path: &Path, place: u64| {
        let file = open(path)?;
        let bytes = bytes(&file, place, finding.end.saturating_sub(finding.at))?;
        (digest(&bytes) == mark.bytes).then(|| (path.to_owned(), place))
    };
    let files: Vec<PathBuf> = std::iter::once(log.to_owned()).chain(beside(log)).collect();
    // The file itself, whatever its name is now.
    for path in &files {
        let Some(file) = open(path) else { continue };
        let same = file.metadata().is_ok_and(|meta| (meta.dev(), meta.ino()) == mark.file);
        let front = own.map_or_else(Default::default, |own| front::of(own, &file));
        let found = finding.at.checked_sub(front.base).filter(|_| same).and_then(|at| stands(path, at));
        if found.is_some() {
            return found;
        }
    }
    // What was taken from its front, in parts: the newest of them ends where the rest begins.
    if let (Some(own), Some(file)) = (own, open(log)) {
        let front = front::of(own, &file);
        let mut end = front.base.saturating_add(front.hole);
        for n in 1..=PARTS_MAX {
            let path = PathBuf::from(format!("{}.{n}", log.display()));
            let Ok(length) = std::fs::metadata(&path).map(|meta| meta.len()) else { break };
            let Some(start) = end.checked_sub(length) else { break };
            if (start..end).contains(&finding.at) {
                return stands(&path, finding.at - start);
            }
            end = start;
        }
    }
    // Copied whole, and then emptied.
    files.iter().find_map(|path| stands(path, finding.at))
}

fn bytes(file: &File, place: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length.clamp(1, MARK_MAX)).ok()?];
    file.read_exact_at(&mut bytes, place).ok()?;
    Some(bytes)
}

fn open(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|_| file)
}

/// Files whose names begin with the log's.
fn beside(log: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else { return Vec::new() };
    let name = name.to_string_lossy().into_owned();
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let is_beside = |path: &PathBuf| {
        let other = path.file_name().unwrap_or_default().to_string_lossy();
        other.starts_with(&name) && *other != *name
    };
    entries.flatten().map(|entry| entry.path()).filter(is_beside).take(BESIDE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::process::LogCursor;
    use crate::sys::hosts::rotate::{self, Way};
    use std::fs;
    use std::io::Write;

    struct World {
        dir: tempfile::TempDir,
        finding: Finding,
        lines: u32,
    }

    impl World {
        /// A log of many lines with the same failure again and again, and one of them as the finding.
        fn new() -> World {
            let dir = tempfile::tempdir().unwrap();
            let mut world = World { dir, finding: Finding::default(), lines: 0 };
            world.append(1000);
            world.finding.at = 20 * 700;
            world.finding.end = 20 * 701;
            world.finding.log = mark(&open(&world.path()).unwrap(), 0, 20 * 700, 20 * 701);
            assert!(world.finding.log.is_some());
            world
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("out.log")
        }

        /// Lines of 20 bytes.
        fn append(&mut self, count: u32) {
            let mut file = File::options().append(true).create(true).open(self.path()).unwrap();
            for _ in 0..count {
                writeln!(file, "boom at step {:>6}", self.lines).unwrap();
                self.lines += 1;
            }
        }

        fn trim(&self, way: Way) {
            let meta = fs::metadata(self.path()).unwrap();
            let offset = front::end(self.dir.path());
            let read = LogCursor { file: Some((meta.dev(), meta.ino())), offset, ..LogCursor::default() };
            assert_eq!(rotate::trim(self.dir.path(), &read, 10, way), None);
        }

        #[track_caller]
        fn check(&self, name: &str) {
            let (path, place) = find(&self.path(), Some(self.dir.path()), &self.finding).unwrap();
            assert_eq!(path.file_name().unwrap(), name);
            let bytes = fs::read(path).unwrap();
            assert!(bytes[place as usize..].starts_with(b"boom at step    700\n"));
        }
    }

    #[test]
    fn a_place_is_found_wherever_its_bytes_went() {
        for way in [Way::Shorten, Way::Free] {
            let mut world = World::new();
            world.check("out.log");
            world.trim(way);
            world.check("out.log.1");
            for part in ["out.log.2", "out.log.3"] {
                world.append(1000);
                world.trim(way);
                world.check(part);
            }
        }
        // Only the front of it went.
        let mut world = World::new();
        world.finding.at = 20 * 990;
        world.finding.end = 20 * 991;
        world.finding.log = mark(&open(&world.path()).unwrap(), 0, 20 * 990, 20 * 991);
        world.trim(Way::Shorten);
        let (path, place) = find(&world.path(), Some(world.dir.path()), &world.finding).unwrap();
        assert_eq!(path, world.path());
        assert!(fs::read(path).unwrap()[place as usize..].starts_with(b"boom at step    990\n"));
    }

    #[test]
    fn another_name_and_a_copy_are_found_and_another_text_is_not() {
        let mut world = World::new();
        fs::rename(world.path(), world.dir.path().join("out.log-20261121")).unwrap();
        world.append(5);
        world.check("out.log-20261121");
        let mut world = World::new();
        fs::copy(world.path(), world.dir.path().join("out.log.1")).unwrap();
        File::options().write(true).open(world.path()).unwrap().set_len(0).unwrap();
        world.append(2000);
        world.check("out.log.1");
        fs::remove_file(world.dir.path().join("out.log.1")).unwrap();
        assert_eq!(find(&world.path(), None, &world.finding), None);
    }
}

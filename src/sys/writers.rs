//! Who has a file open for writing: a look at what all processes have open. Source of the formats: proc(5).
//!
//! Not seen: processes of other users (unless we are root), and a mapping whose file was closed. Deliberately not here: what
//! is done about it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most open files that are looked at.
const OPEN_MAX: usize = 1_000_000;
/// The bits of `flags` that say how it was opened; 0 = for reading only. Source: open(2).
const ACCESS: u32 = 0o3;

/// A process that has a file open for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) pid: i32,
    /// The program's name.
    pub(super) name: String,
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` (pid {})", self.name, self.pid)
    }
}

/// Those of these files that somebody has open for writing. Links and what is no file are left out.
pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> BTreeMap<PathBuf, Writer> {
    let mut asked: BTreeMap<(u64, u64), Vec<&Path>> = BTreeMap::new();
    // A name is compared before the file is looked at: a look at a file of a hung network share does not come back.
    let mut names = BTreeSet::new();
    for path in files {
        let (Ok(meta), Some(name)) = (std::fs::symlink_metadata(path), path.file_name()) else { continue };
        if meta.is_file() {
            asked.entry((meta.dev(), meta.ino())).or_default().push(path);
            names.insert(name.to_owned());
        }
    }
    let mut found = BTreeMap::new();
    if asked.is_empty() {
        return found;
    }
    let mut left = OPEN_MAX;
    for pid in pids() {
        let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for fd in open.flatten() {
            left = left.saturating_sub(1);
            if left == 0 {
                return found;
            }
            let named = std::fs::read_link(fd.path()).ok().and_then(|target| name_of(&target));
            if !named.is_some_and(|name| names.contains(&name)) {
                continue;
            }
            let Ok(meta) = std::fs::metadata(fd.path()) else { continue };
            let Some(paths) = asked.get(&(meta.dev(), meta.ino())) else { continue };
            let info = format!("/proc/{pid}/fdinfo/{}", fd.file_name().to_string_lossy());
            if std::fs::read_to_string(info).is_ok_and(|text| writes(&text)) {
                let writer = Writer { pid, name: program(pid) };
                found.extend(paths.iter().map(|path| (path.to_path_buf(), writer.clone())));
            }
        }
    }
    found
}

fn pids() -> impl Iterator<Item = i32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn program(pid: i32) -> String {
    super::proc::stat(pid).map_or_else(|| "?".to_owned(), |stat| stat.comm)
}

/// The name of what is open; of a removed file too.
fn name_of(target: &Path) -> Option<OsString> {
    let name = target.file_name()?.as_bytes();
    Some(OsString::from_vec(name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec()))
}

/// Was it opened for writing?
fn writes(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & ACCESS != 0)
}

#[cfg(test)]
mod tests {
    use super::{of, writes};
    use std::fs::{File, OpenOptions};

    #[test]
    fn flags_tell_how_it_was_opened() {
        for (text, want) in [
            ("pos:\t0\nflags:\t0100000\nmnt_id:\t1\n", false),
            ("pos:\t0\nflags:\t0100001\n", true),
            ("pos:\t0\nflags:\t02102002\n", true),
            ("pos:\t0\n", false),
            ("flags:\tx\n", false),
            ("", false),
        ] {
            assert_eq!(writes(text), want, "{text:?}");
        }
    }

    #[test]
    fn only_files_that_are_open_for_writing_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["closed", "read", "written", "appended"] {
            std::fs::write(path(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(path("written"), path("link")).unwrap();
        let _read = File::open(path("read")).unwrap();
        let _written = OpenOptions::new().write(true).open(path("written")).unwrap();
        let _appended = OpenOptions::new().append(true).open(path("appended")).unwrap();
        let all = ["closed", "read", "written", "appended", "link", "missing"].map(path);
        let found = of(all.iter().map(std::path::PathBuf::as_path));
        let names: Vec<_> = found.keys().map(|path| path.file_name().unwrap().to_string_lossy()).collect();
        assert_eq!(names, ["appended", "written"]);
        assert!(found.values().all(|writer| writer.pid == std::process::id().cast_signed()), "{found:?}");
    }
}

//! The state directory: whole-file replacement that yields to an operator's edit, appends of one record, quarantine.
//!
//! Deliberately not here: what the files mean. Paths are relative to the state directory; nothing leads out of it.

use super::{Files, Replaced, Sync};
use crate::base::error::{Error, Result};
use crate::base::text::digest;
use crate::base::time::Wall;
use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Start of our temporary names: `.wk-<pid>-<n>-<digest of the old>-<digest of the new>.tmp`. The digests tell a
/// later run whether a leftover is worthless or somebody's edit that a crash caught in the middle of an exchange.
const TEMP_PREFIX: &str = ".wk-";
const TEMP_SUFFIX: &str = ".tmp";
/// Most names listed in one folder.
const LIST_MAX: usize = 100_000;
/// Tries to settle who wrote last when somebody keeps writing the same file under us.
const SWAPS_MAX: usize = 4;

static TEMP_COUNT: AtomicU64 = AtomicU64::new(0);

/// The files of a real state directory.
#[derive(Clone, Debug)]
pub struct RealFiles {
    root: PathBuf,
}

impl RealFiles {
    /// Files under `root`; nothing is touched.
    pub fn new(root: impl Into<PathBuf>) -> RealFiles {
        RealFiles { root: root.into() }
    }

    /// Files under `root`, which is made (0700) when it is missing.
    pub fn create(root: impl Into<PathBuf>) -> Result<RealFiles> {
        let files = RealFiles::new(root);
        make_dir(&files.root)?;
        Ok(files)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes temporary files of dead runs in the state directory and its units' folders. One that holds what no
    /// run wrote (an edit displaced in the instant of a crash, or half a write) goes to quarantine. Returns how many
    /// were found. For the holder of the lock only.
    pub fn clean_leftovers(&mut self) -> Result<usize> {
        let mut folders = vec![String::new()];
        folders.extend(self.list("units")?.into_iter().map(|unit| format!("units/{unit}/")));
        let mut count = 0;
        for folder in folders {
            let Ok(entries) = std::fs::read_dir(self.root.join(&folder)) else { continue };
            for name in entries.filter_map(|e| e.ok()?.file_name().into_string().ok()) {
                let Some(leftover) = Leftover::parse(&name).filter(|l| !l.is_in_use()) else { continue };
                count += 1;
                self.clean_leftover(&format!("{folder}{name}"), &leftover)?;
            }
        }
        Ok(count)
    }

    fn clean_leftover(&mut self, path: &str, leftover: &Leftover) -> Result<()> {
        let full = self.full(path)?;
        let worthless = match read_bounded(&full, u64::MAX) {
            Ok(Some(bytes)) => bytes.is_empty() || leftover.digests.contains(&digest(&bytes)),
            Ok(None) => return Ok(()),
            Err(_) => false,
        };
        if worthless || self.quarantine(path).is_err() {
            return self.remove(path);
        }
        Ok(())
    }

    /// The path in the file system; refuses what would lead out of the state directory.
    pub(super) fn full(&self, path: &str) -> Result<PathBuf> {
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_));
        if path.is_empty() || path.contains('\0') || !Path::new(path).components().all(plain) {
            return Err(Error::usage(format!(
                "`{}` is not a path inside the state directory",
                path.escape_debug()
            )));
        }
        Ok(self.root.join(path))
    }
}

impl Files for RealFiles {
    fn read(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let full = self.full(path)?;
        read_bounded(&full, limit).map_err(|e| e.at(&full))
    }

    fn tail(&mut self, path: &str, bytes: u64) -> Result<Vec<u8>> {
        let full = self.full(path)?;
        tail(&full, bytes).map_err(|e| e.at(&full))
    }

    fn stamp(&mut self, path: &str) -> Option<String> {
        let full = self.full(path).ok()?;
        let own = std::fs::symlink_metadata(&full).ok()?;
        // What is put into a folder behind a link changes the folder, not the link.
        let behind = || std::fs::metadata(&full).ok().filter(std::fs::Metadata::is_dir);
        let meta = if own.is_symlink() { behind().unwrap_or(own) } else { own };
        let (mtime, ctime) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        Some(format!("{}:{}:{mtime:?}:{ctime:?}", meta.ino(), meta.size()))
    }

    fn modified(&mut self, path: &str) -> Option<Wall> {
        let meta = std::fs::symlink_metadata(self.full(path).ok()?).ok()?;
        Some(Wall(meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000)))
    }

    fn replace(&mut self, path: &str, expected: Option<&[u8]>, bytes: &[u8], sync: Sync) -> Result<Replaced> {
        let full = self.full(path)?;
        replace(&full, expected, bytes, sync).map_err(|e| e.at(&full).doing("writing"))
    }

    fn append(&mut self, path: &str, record: &str) -> Result<()> {
        let full = self.full(path)?;
        append(&full, record).map_err(|e| e.at(&full).doing("appending to"))
    }

    fn list(&mut self, path: &str) -> Result<Vec<String>> {
        let full = if path.is_empty() { self.root.clone() } else { self.full(path)? };
        let entries = match std::fs::read_dir(&full) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::from(error).at(&full)),
        };
        let mut names: Vec<String> = entries
            .take(LIST_MAX)
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .filter(|name| !name.starts_with(TEMP_PREFIX))
            .collect();
        names.sort();
        Ok(names)
    }

    fn remove(&mut self, path: &str) -> Result<()> {
        let full = self.full(path)?;
        match std::fs::remove_file(&full) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::from(error).at(&full).doing("removing")),
        }
    }

    fn put_folder(&mut self, path: &str, files: &[(String, Vec<u8>)]) -> Result<()> {
        let full = self.full(path)?;
        super::folders::put(&full, files).map_err(|e| e.at(&full).doing("writing"))
    }

    fn remove_folder(&mut self, path: &str) -> Result<()> {
        super::folders::remove(&self.full(path)?)
    }

    fn irregular(&mut self, path: &str) -> Option<String> {
        Some(not_regular(&self.full(path).ok()?)?.message())
    }

    fn rotate(&mut self, path: &str, to: &str, bytes: u64) -> Result<()> {
        let (full, to) = (self.full(path)?, self.full(to)?);
        match std::fs::symlink_metadata(&full) {
            Ok(meta) if meta.is_file() && meta.len() > bytes => {
                std::fs::rename(&full, &to).map_err(|e| Error::from(e).at(&full).doing("putting aside"))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn quarantine(&mut self, path: &str) -> Result<String> {
        let full = self.full(path)?;
        super::quarantine::quarantine(&self.root, path, &full).map_err(|e| e.at(&full).doing("putting aside"))
    }
}

/// The whole file, None when it is missing. Never follows a symbolic link and never blocks on a FIFO.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = open_regular(path, OpenOptions::new().read(true))? else { return Ok(None) };
    let length = file.metadata()?.len();
    if length > limit {
        return Err(Error::again(format!("is {length} bytes long, at most {limit} are read")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(1));
    // One byte more than allowed: a file that grows meanwhile must not pass for a whole one.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::again(format!("grew past the {limit} bytes that are read")));
    }
    Ok(Some(bytes))
}

/// The end of a file that is only appended to.
pub(super) fn tail(path: &Path, bytes: u64) -> Result<Vec<u8>> {
    let Some(mut file) = open_regular(path, OpenOptions::new().read(true))? else { return Ok(Vec::new()) };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    Ok(end)
}

/// Opens a regular file; None when it is missing, an error when it is something else.
pub(super) fn open_regular(path: &Path, options: &mut OpenOptions) -> Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match options.custom_flags(flags).open(path) {
        Ok(file) => file,
        // A file where a folder should be: there is nothing below it.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        // Opening a link with NOFOLLOW says ELOOP, a FIFO or a folder for writing ENXIO or EISDIR: say what it is.
        Err(error) => return Err(not_regular(path).unwrap_or_else(|| error.into())),
    };
    match file.metadata()?.is_file() {
        true => Ok(Some(file)),
        false => Err(not_regular(path).unwrap_or_else(|| Error::again("is not a regular file"))),
    }
}

/// What a path is when it is no regular file.
pub(super) fn not_regular(path: &Path) -> Option<Error> {
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    let what = match (kind.is_symlink(), kind.is_dir(), kind.is_file()) {
        (true, _, _) => "is a symbolic link",
        (_, true, _) => "is a directory",
        (_, _, true) => return None,
        (_, _, false) => "is a special file",
    };
    Some(Error::again(what).hint("remove it; watchkeeper makes the file anew"))
}

fn replace(path: &Path, expected: Option<&[u8]>, bytes: &[u8], sync: Sync) -> Result<Replaced> {
    let holds = |what: Option<&[u8]>| match read_bounded(path, longest(expected, bytes)) {
        Ok(now) => now.as_deref() == what,
        // A link, a folder or a longer file is an edit too.
        Err(_) => false,
    };
    // Looked at before and after the exchange: before, so that an edit is normally not moved at all; after, because
    // only the exchange tells for certain.
    if !holds(expected) {
        return Ok(if holds(Some(bytes)) { Replaced::Written } else { Replaced::Yielded });
    }
    if expected == Some(bytes) {
        return Ok(Replaced::Written);
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    make_dir(parent)?;
    let temp = write_temp(parent, expected.unwrap_or_default(), bytes, sync)?;
    let put = match expected {
        None => put_new(&temp, path),
        Some(expected) => exchange(&temp, path, expected, bytes),
    };
    // After an exchange the temporary name holds the old file; after a failure our own bytes.
    let _ = std::fs::remove_file(&temp);
    if put? == Replaced::Yielded {
        return Ok(Replaced::Yielded);
    }
    if sync == Sync::Durable {
        File::open(parent)?.sync_all()?;
    }
    Ok(Replaced::Written)
}

fn longest(a: Option<&[u8]>, b: &[u8]) -> u64 {
    a.map_or(0, <[u8]>::len).max(b.len()) as u64
}

fn write_temp(parent: &Path, old: &[u8], new: &[u8], sync: Sync) -> Result<PathBuf> {
    let count = TEMP_COUNT.fetch_add(1, Ordering::Relaxed);
    let pid = std::process::id();
    let name = format!("{TEMP_PREFIX}{pid}-{count}-{}-{}{TEMP_SUFFIX}", digest(old), digest(new));
    let temp = parent.join(name);
    let write = || -> std::io::Result<()> {
        // create_new fails on the leftover of a run with the same pid: it is ours to take away.
        let _ = std::fs::remove_file(&temp);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp)?;
        file.write_all(new)?;
        if sync == Sync::Durable { file.sync_all() } else { Ok(()) }
    };
    match write() {
        Ok(()) => Ok(temp),
        Err(error) => {
            let _ = std::fs::remove_file(&temp);
            Err(error.into())
        }
    }
}

/// Puts a file where none may be.
fn put_new(temp: &Path, path: &Path) -> Result<Replaced> {
    match rustix::fs::renameat_with(CWD, temp, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Replaced::Written),
        Err(Errno::EXIST) => Ok(Replaced::Yielded),
        // The file system can't (NFS, some FUSE): a hard link refuses an existing name everywhere.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match std::fs::hard_link(temp, path) {
            Ok(()) => Ok(Replaced::Written),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Replaced::Yielded),
            Err(error) => Err(error.into()),
        },
        Err(errno) => Err(std::io::Error::from(errno).into()),
    }
}

/// Swaps the new file in and looks at what came out. What is not `expected` is somebody's edit and goes back.
fn exchange(temp: &Path, path: &Path, expected: &[u8], ours: &[u8]) -> Result<Replaced> {
    match swap(temp, path) {
        Ok(()) => {}
        // Deleted meanwhile: that was an edit too.
        Err(Errno::NOENT) => return Ok(Replaced::Yielded),
        // The file system can't exchange: a plain rename. It was compared a moment ago; what is written in the
        // microseconds between is lost, which no such file system lets us prevent.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            std::fs::rename(temp, path)?;
            return Ok(Replaced::Written);
        }
        Err(errno) => return Err(std::io::Error::from(errno).into()),
    }
    if displaced_is(temp, expected) {
        return Ok(Replaced::Written);
    }
    for _ in 0..SWAPS_MAX {
        match swap(temp, path) {
            // Deleted after the exchange: the newest word is that there is no file.
            Err(Errno::NOENT) => return Ok(Replaced::Yielded),
            Err(errno) => return Err(std::io::Error::from(errno).into()),
            Ok(()) if displaced_is(temp, ours) => return Ok(Replaced::Yielded),
            // Something newer than the edit stood there: it goes in again.
            Ok(()) => {}
        }
    }
    Err(Error::again("somebody else keeps writing it"))
}

fn swap(temp: &Path, path: &Path) -> Result<(), Errno> {
    rustix::fs::renameat_with(CWD, temp, CWD, path, RenameFlags::EXCHANGE)
}

fn displaced_is(temp: &Path, bytes: &[u8]) -> bool {
    matches!(read_bounded(temp, bytes.len() as u64), Ok(Some(found)) if found == bytes)
}

/// Appends a record. A file that was put aside or begun anew between the opening and the write took the record with it:
/// then it is written again. (Readers know records by their ids.)
fn append(path: &Path, record: &str) -> Result<()> {
    for _ in 0..SWAPS_MAX {
        let file = append_once(path, record)?;
        let there = std::fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let ours = file.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
        if there == ours {
            return Ok(());
        }
    }
    Err(Error::again("somebody else keeps replacing it"))
}

fn append_once(path: &Path, record: &str) -> Result<File> {
    if record.contains('\n') {
        return Err(Error::usage("a record is one line"));
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let opened = match open_regular(path, &mut options)? {
        Some(file) => Some(file),
        None => {
            make_dir(path.parent().unwrap_or(Path::new(".")))?;
            open_regular(path, &mut options)?
        }
    };
    let mut file = opened.ok_or_else(|| Error::again("vanished while it was opened"))?;
    let mut line = String::with_capacity(record.len() + 2);
    if last_byte(&file)?.is_some_and(|b| b != b'\n') {
        line.push('\n');
    }
    line.push_str(record);
    line.push('\n');
    loop {
        match file.write(line.as_bytes()) {
            Ok(n) if n == line.len() => return Ok(file),
            // The torn record stays; the next append starts on a new line.
            Ok(n) => return Err(Error::again(format!("only {n} of {} bytes were written", line.len()))),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn last_byte(file: &File) -> Result<Option<u8>> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(None) };
    let mut byte = [0];
    Ok((file.read_at(&mut byte, last)? == 1).then_some(byte[0]))
}

/// Makes a directory and its parents, 0700.
pub(super) fn make_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::from(e).at(path).doing("making"))
}

/// Writes a file whose content nobody else may change (the lock's text, a prompt): temporary file and plain rename.
pub(super) fn write_plain(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, bytes, Sync::Cheap)
}

/// The same, and its bytes are on the disk before it has its name. The name is there for sure after [`sync_dir`].
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, bytes, Sync::Durable)
}

/// The names in a folder are on the disk.
pub(super) fn sync_dir(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|dir| dir.sync_all());
    synced.map_err(|error| Error::from(error).at(path))
}

fn write_whole(path: &Path, bytes: &[u8], sync: Sync) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    make_dir(parent)?;
    let temp = write_temp(parent, b"", bytes, sync).map_err(|e| e.at(path))?;
    std::fs::rename(&temp, path).map_err(|error| {
        let _ = std::fs::remove_file(&temp);
        Error::from(error).at(path)
    })
}

/// A temporary file's name, taken apart.
struct Leftover {
    pid: i32,
    digests: [String; 2],
}

impl Leftover {
    fn parse(name: &str) -> Option<Leftover> {
        let inner = name.strip_prefix(TEMP_PREFIX)?.strip_suffix(TEMP_SUFFIX)?;
        let mut parts = inner.split('-');
        let pid = parts.next()?.parse().ok()?;
        let (_, old, new) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Leftover { pid, digests: [old.to_owned(), new.to_owned()] })
    }

    /// Its writer lives. Our own pid means a dead run that had the same one: nothing is half written when this asks.
    fn is_in_use(&self) -> bool {
        let own = std::process::id().cast_signed();
        let pid = rustix::process::Pid::from_raw(self.pid);
        self.pid != own && pid.is_some_and(|p| rustix::process::test_kill_process(p) != Err(Errno::SRCH))
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;

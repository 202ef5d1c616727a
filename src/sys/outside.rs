//! What lies outside the state directory: the operator's files, home and environment.

use crate::base::error::{Error, Kind, Result};
use std::path::{Path, PathBuf};

/// Reads a text file of the operator's (links are followed: people link their configs). `limit` in bytes.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    use std::io::Read;
    let failed = |error: std::io::Error| Error::from(error).at(path);
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::usage("is not a regular file").at(path));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Error::usage(format!("is longer than the {limit} bytes that are read")).at(path));
    }
    String::from_utf8(bytes).map_err(|_| Error::usage("is not UTF-8 text").at(path))
}

/// Bytes of a file from an offset on, at most so many, and its length; None when it is missing. Links are followed; a
/// FIFO or device is refused and never waited for.
pub fn read_part(path: &Path, offset: u64, max: usize) -> Result<Option<(Vec<u8>, u64)>> {
    use std::io::{Read, Seek, SeekFrom};
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(Error::usage("is not a regular file"));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(max as u64).read_to_end(&mut bytes)?;
    Ok(Some((bytes, meta.len())))
}

/// Cheap identity of a file's contents; `-` when it is missing. Links are followed.
pub fn stamp(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or_else(
        |_| "-".to_owned(),
        |meta| {
            format!(
                "{}:{}:{}:{}:{}",
                meta.ino(),
                meta.size(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime_nsec()
            )
        },
    )
}

/// Writes a text file of the operator's (a recorded tick).
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|error| Error::from(error).at(dir))?;
    }
    std::fs::write(path, text).map_err(|error| Error::from(error).at(path))
}

/// What became of a file that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// It was not there.
    New,
    /// It was there, the same.
    Same,
    /// Another one is there, and stays.
    Kept,
}

/// Writes a file of this mode unless something of that name is there, whatever it is.
pub fn write_new(path: &Path, text: &str, mode: u32) -> Result<Wrote> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |error: std::io::Error| Error::from(error).at(path);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    match file {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| Wrote::New).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let is = read_text(path, text.len() as u64);
            Ok(if is.is_ok_and(|is| is == text) { Wrote::Same } else { Wrote::Kept })
        }
        Err(error) => Err(failed(error)),
    }
}

/// Names in a folder, sorted, at most `max` of them; hidden ones too.
pub fn names(dir: &Path, max: usize) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).map_err(|error| Error::from(error).at(dir))?;
    let mut names: Vec<String> =
        entries.take(max).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Whether there is a regular file; links are followed.
pub fn is_file(path: &Path) -> bool {
    path.is_file()
}

/// Replaces a text file of the operator's that holds `old`, whole or not at all; its mode stays, and a link to it.
pub fn replace_text(path: &Path, old: &str, new: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    let path = std::fs::canonicalize(path).map_err(|error| Error::from(error).at(path))?;
    let failed = |error: std::io::Error| Error::from(error).at(&path);
    let dir = path.parent().unwrap_or(Path::new("."));
    let mode = std::fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o7777;
    let mut temp = tempfile::Builder::new().prefix(".wk-").tempfile_in(dir).map_err(failed)?;
    temp.write_all(new.as_bytes()).map_err(failed)?;
    temp.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    temp.as_file().sync_all().map_err(failed)?;
    if read_text(&path, old.len() as u64)? != old {
        return Err(Error::again("was changed by somebody else meanwhile").at(&path));
    }
    temp.persist(&path).map(drop).map_err(|error| failed(error.error))
}

/// `path` below `root`, when no link on the way leads out of it; the error names the one that does.
pub fn below(root: &Path, path: &Path) -> Result<PathBuf> {
    let root = std::fs::canonicalize(root).map_err(|error| Error::from(error).at(root))?;
    let mut now = root.clone();
    for part in path.components() {
        let std::path::Component::Normal(part) = part else {
            return Err(Error::usage("is no plain path").at(path));
        };
        now.push(part);
        let link = std::fs::symlink_metadata(&now).is_ok_and(|meta| meta.is_symlink());
        if link {
            let target = std::fs::canonicalize(&now).ok().filter(|target| target.starts_with(&root));
            let out = || Error::usage(format!("is a link that leads out of `{}`", root.display())).at(&now);
            now = target.ok_or_else(out)?;
        }
    }
    Ok(now)
}

/// The user's home directory; `/` when there is none.
pub fn home() -> PathBuf {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("/"))
}

/// An environment variable, if it is set and readable.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// An absolute path without links, for something that exists; else made absolute as it stands.
pub fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// The file of the config: as given, else `$WATCHKEEPER_CONFIG`, else `./agents.toml`. Absolute.
pub fn config_path(given: Option<&Path>) -> Result<PathBuf> {
    let named = given
        .map(Path::to_owned)
        .or_else(|| env("WATCHKEEPER_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from));
    let path = named.clone().unwrap_or_else(|| PathBuf::from("agents.toml"));
    if !path.exists() {
        let hint = match named {
            Some(_) => "name an existing file with --config or $WATCHKEEPER_CONFIG",
            None => {
                "run it where agents.toml is, or name it with --config; `watchkeeper init` writes one, agents.example.toml explains it"
            }
        };
        return Err(Error::new(Kind::Usage, "no such config file").at(&path).hint(hint));
    }
    std::path::absolute(&path).map_err(|error| Error::from(error).at(&path))
}

/// Sleeps.
pub fn nap(seconds: f64) {
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds.clamp(0.0, 3600.0)));
}

/// This process.
pub fn pid() -> u32 {
    std::process::id()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_text_is_replaced_whole_and_keeps_mode_and_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink("real", &link).unwrap();
        replace_text(&link, "old", "new").unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(replace_text(&link, "old", "newer").is_err());
        assert_eq!(names(dir.path(), 9).unwrap(), ["link", "real"]);
    }

    #[test]
    fn links_lead_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        symlink("a", root.join("in")).unwrap();
        symlink("..", root.join("out")).unwrap();
        symlink("/no/such", root.join("dangling")).unwrap();
        assert_eq!(below(&root, Path::new("in/x")).unwrap(), root.join("a/x"));
        assert_eq!(below(&root, Path::new("new/x")).unwrap(), root.join("new/x"));
        for path in ["out/x", "dangling", "../x", "/etc"] {
            assert!(below(&root, Path::new(path)).is_err(), "{path}");
        }
    }
}

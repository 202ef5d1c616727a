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

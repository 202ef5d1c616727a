//! A command's own surroundings: arguments, variables, its terminal, the rights of folders, a captured screen; and how
//! it becomes another program.
//!
//! Deliberately not here: the state directory (`files`), the operator's config (`outside`), other programs (`run`).

use crate::base::error::{Error, Kind, Result};
use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;

/// The arguments after the program's name.
pub fn args() -> Vec<OsString> {
    std::env::args_os().skip(1).collect()
}

/// A variable that is set and not empty.
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Is standard output a terminal?
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns of the terminal on standard output; None when it is none.
pub fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// A captured screen, None when it is missing. Follows links, and waits for a pipe's end: a person named it. Refuses
/// folders and more than `max` bytes; bytes that are not UTF-8 become `�`.
pub fn read_capture(path: &Path, max: u64) -> Result<Option<String>> {
    let failed = |e: std::io::Error| Error::from(e).at(path).doing("reading");
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(Error::new(Kind::Usage, "is a directory").at(path).doing("reading"));
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(Error::new(Kind::Usage, format!("is longer than {max} bytes")).at(path).doing("reading"));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The beginning of a regular file, at most so long; None when it can't be read.
pub fn read_start(path: &Path, max: u64) -> Option<String> {
    // What is no file may block when it is opened.
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(max).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where a program is: on the `PATH`, or where its path says.
pub fn find_program(program: &str) -> Option<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(Path::new(program).to_path_buf()).filter(|path| runs(path));
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| runs(path))
}

/// A file to read from its beginning, None when it is missing; `-` is standard input. Refuses folders. Follows links, and
/// waits for a pipe's end: a person named it.
pub fn open_stream(path: &Path) -> Result<Option<Box<dyn Read>>> {
    if path.as_os_str() == "-" {
        return Ok(Some(Box::new(std::io::stdin())));
    }
    let failed = |e: std::io::Error| Error::from(e).at(path).doing("reading");
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(Error::new(Kind::Usage, "is a directory").at(path).doing("reading"));
    }
    Ok(Some(Box::new(file)))
}

/// Is there anything at `path`?
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Becomes another program. Returns only when that failed.
pub fn become_program(argv: &[String]) -> Error {
    let Some((program, args)) = argv.split_first() else { return Error::again("nothing to run") };
    let error = std::process::Command::new(program).args(args).exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Error::new(Kind::Missing, format!("program `{program}` is missing"))
            .hint(format!("install `{program}`, or put its folder into PATH"));
    }
    Error::from(error).doing(format!("starting `{program}`"))
}

/// The program that a name means, as execvp(3) finds it: on the PATH, or relative to `dir` when it has a slash.
pub fn program_from(name: &str, dir: &Path) -> Option<std::path::PathBuf> {
    let runs = |path: &std::path::PathBuf| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if name.contains('/') {
        return Some(dir.join(name)).filter(runs);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| dir.join(folder).join(name)).find(runs)
}

/// The same for a bare name.
pub fn program(name: &str) -> Option<std::path::PathBuf> {
    program_from(name, Path::new("."))
}

/// Whether a file can be read; the error is a fragment that says why not.
pub fn readable(path: &Path) -> std::result::Result<(), String> {
    std::fs::metadata(path).map_err(|error| error.to_string().to_lowercase())?;
    rustix::fs::access(path, rustix::fs::Access::READ_OK).map_err(|errno| errno.to_string().to_lowercase())
}

/// Bytes that are free for this user on the disk of a path, or of the nearest folder above it that is there.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What is known of a folder, for `doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderFacts {
    /// Permission bits.
    pub mode: u32,
    /// This process may make files in it.
    pub writable: bool,
    /// The file system is shared with other machines or lives in a user process, by its magic number's name.
    pub remote: Option<&'static str>,
}

/// What is known of a folder; None when there is none.
pub fn folder(path: &Path) -> Option<FolderFacts> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    Some(FolderFacts {
        mode: meta.permissions().mode() & 0o7777,
        writable: rustix::fs::access(path, access).is_ok(),
        remote: file_system(path),
    })
}

/// Names of file systems on which locks or an exchange by rename may not do what they should. Source of the numbers:
/// statfs(2).
#[cfg(target_os = "linux")]
fn file_system(path: &Path) -> Option<&'static str> {
    let magic = rustix::fs::statfs(path).ok()?.f_type as u64 & 0xffff_ffff;
    match magic {
        0x6969 => Some("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("SMB"),
        0x6573_5546 => Some("FUSE"),
        0x0102_1997 => Some("9p"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn file_system(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_folders_are_no_texts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert_eq!(read_capture(&path, 9).unwrap(), None);
        std::fs::write(&path, b"ab\xff").unwrap();
        assert_eq!(read_capture(&path, 3).unwrap().as_deref(), Some("ab\u{fffd}"));
        assert!(read_capture(&path, 2).unwrap_err().message().contains("longer than 2 bytes"));
        assert!(read_capture(dir.path(), 9).unwrap_err().message().contains("is a directory"));
    }

    #[test]
    fn programs_are_found_as_they_would_be_run() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tool");
        std::fs::write(&path, "").unwrap();
        assert_eq!(program_from("./tool", dir.path()), None);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(program_from("./tool", dir.path()), Some(dir.path().join("./tool")));
        assert!(program("sh").is_some() && program("no-such-program").is_none());
    }

    #[test]
    fn folders_tell_their_rights() {
        let dir = tempfile::tempdir().unwrap();
        let facts = folder(dir.path()).unwrap();
        assert!(facts.writable && facts.mode & 0o700 == 0o700);
        assert_eq!(folder(&dir.path().join("no")), None);
    }
}

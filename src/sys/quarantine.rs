//! Puts a file that could not be read aside, untouched: nothing is ever deleted, identical bytes are kept once.

use super::files::{make_dir, read_bounded};
use crate::base::error::{Error, Result};
use crate::base::text::digest;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::path::Path;

/// Folder of the files put aside.
const FOLDER: &str = "quarantine";
/// Most files kept: more than this many broken ones is a sickness that a person must look at.
const COUNT_MAX: usize = 100;
/// A larger file is named by its length: reading it only to name it would be no use.
const DIGEST_MAX: u64 = 64 << 20;

/// Moves `full` (`path` inside the state directory `root`) to quarantine; its new path relative to `root`.
pub(super) fn quarantine(root: &Path, path: &str, full: &Path) -> Result<String> {
    let folder = root.join(FOLDER);
    make_dir(&folder)?;
    let flat = path.replace('/', "+");
    let name = format!("{flat}.{}", content_name(full)?);
    let kept = std::fs::read_dir(&folder)?.count();
    let is_new = std::fs::symlink_metadata(folder.join(&name)).is_err();
    if is_new && kept >= COUNT_MAX {
        return Err(Error::again(format!("`{FOLDER}` already holds {kept} files"))
            .hint("look at them, then move them away"));
    }
    move_aside(full, &folder, &name).map(|name| format!("{FOLDER}/{name}"))
}

/// What a name says of the content: the digest of a file's bytes, else what it is.
fn content_name(full: &Path) -> Result<String> {
    let meta = std::fs::symlink_metadata(full)?;
    let kind = meta.file_type();
    if kind.is_file() && meta.len() <= DIGEST_MAX {
        return Ok(digest(&read_bounded(full, DIGEST_MAX)?.unwrap_or_default()));
    }
    if kind.is_symlink() {
        return Ok(format!("link-{}", digest(std::fs::read_link(full)?.as_os_str().as_encoded_bytes())));
    }
    Ok(match (kind.is_dir(), kind.is_file()) {
        (true, _) => "dir".to_owned(),
        (_, true) => format!("{}-bytes", meta.len()),
        (_, false) => "special".to_owned(),
    })
}

/// Renames without replacing. A taken name with the same bytes means that they are kept already.
fn move_aside(full: &Path, folder: &Path, name: &str) -> Result<String> {
    for n in 0..COUNT_MAX {
        let candidate = if n == 0 { name.to_owned() } else { format!("{name}.{n}") };
        let target = folder.join(&candidate);
        match rustix::fs::renameat_with(CWD, full, CWD, &target, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EXIST) if same_bytes(full, &target) => {
                std::fs::remove_file(full)?;
                return Ok(candidate);
            }
            Err(Errno::EXIST) => {}
            // The file system can't refuse an existing name by itself.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if !target.exists() => {
                std::fs::rename(full, &target)?;
                return Ok(candidate);
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
    }
    Err(Error::again(format!("`{FOLDER}` holds too many files named `{name}`")))
}

fn same_bytes(a: &Path, b: &Path) -> bool {
    let read = |p: &Path| read_bounded(p, DIGEST_MAX).ok().flatten();
    matches!((read(a), read(b)), (Some(a), Some(b)) if a == b)
}

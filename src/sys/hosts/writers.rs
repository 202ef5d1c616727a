//! Who writes a log, and how: only what everybody appends to may become shorter under them.
//!
//! Deliberately not here: shortening it (`rotate`).

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Descriptors looked at, of all processes.
const LOOKS_MAX: usize = 1 << 20;

/// Does everybody who has this file open to write only append to it? Processes that may not be looked at count as none: they
/// are not the unit's.
pub fn append(file: &File) -> bool {
    let Ok(meta) = file.metadata() else { return false };
    let own = std::process::id().to_string();
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let mut looks = 0;
    for process in processes.flatten() {
        let name = process.file_name();
        let is_process = name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_process || name.to_str() == Some(own.as_str()) {
            continue;
        }
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in open.flatten() {
            looks += 1;
            if looks > LOOKS_MAX {
                return false;
            }
            if is_log(&descriptor.path(), meta.dev(), meta.ino())
                && !appends(&process.path().join("fdinfo").join(descriptor.file_name()))
            {
                return false;
            }
        }
    }
    true
}

/// The link is read first: to ask for the file behind it may take long, when that is on another machine.
fn is_log(link: &Path, device: u64, inode: u64) -> bool {
    let named = std::fs::read_link(link).is_ok_and(|to| {
        to.file_name().is_some_and(|name| name.to_string_lossy().starts_with(super::records::LOG))
    });
    named && std::fs::metadata(link).is_ok_and(|meta| (meta.dev(), meta.ino()) == (device, inode))
}

/// `flags:` of fdinfo are those of open(2), in octal. One that was closed meanwhile does not write.
fn appends(info: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(info) else { return true };
    let flags =
        text.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    let Some(flags) = flags else { return false };
    let flags = rustix::fs::OFlags::from_bits_retain(flags);
    let reads = flags & rustix::fs::OFlags::RWMODE == rustix::fs::OFlags::RDONLY;
    reads || flags.contains(rustix::fs::OFlags::APPEND)
}

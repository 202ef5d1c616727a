//! Finds and reads the transcripts of agent CLIs: folders, files, bytes from a place on. Everything is bounded; what is
//! in doubt is None, and is looked at again.
//!
//! Deliberately not here: what is in them, and whose they are (`detect::transcript`).

use super::clock::from_system;
use super::{files, proc, transcript};
use crate::base::text::dashed;
use crate::model::usage::FileSeen;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Most entries of a folder of transcripts looked at, subfolders included.
const ENTRIES_MAX: usize = 20_000;
/// Claude keeps workflow agents four folders below a project; codex dates its folders by year, month, day.
const DEPTH_MAX: usize = 6;
const STATUS_MAX: u64 = 64 << 10;

/// Where an agent's CLI keeps its transcripts.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Variable that moves `home`; "" when there is none.
    pub home_env: &'a str,
    /// The CLI's folder, `{home}` as slot.
    pub home: &'a str,
    /// The transcripts' folder in it (or anywhere, if it begins with `/` or `{`): `{home}`, `{cwd}`, `{cwd_dashed}`.
    pub below: &'a str,
    /// What the unit's process gets as environment beside its own.
    pub env: &'a BTreeMap<String, String>,
    /// Its process, if it lives.
    pub pid: Option<i32>,
    /// Its working directory.
    pub cwd: &'a Path,
}

/// The folders that a place means, and the names that its working directory has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// Folders, each once.
    pub dirs: Vec<String>,
    /// The working directory as configured, and as the kernel writes it.
    pub cwds: Vec<String>,
}

/// Resolves a place.
pub fn folders(place: &Place<'_>) -> Folders {
    let mut found = Folders::default();
    let mut add_cwd = |path: &Path| {
        let text = path.to_string_lossy().into_owned();
        if !found.cwds.contains(&text) {
            found.cwds.push(text);
        }
    };
    add_cwd(place.cwd);
    if let Ok(real) = std::fs::canonicalize(place.cwd) {
        add_cwd(&real);
    }
    let var = |key: &str| {
        let of_process = || place.pid.and_then(|pid| proc::environ(pid, key));
        let own = || std::env::var(key).ok();
        place.env.get(key).cloned().or_else(of_process).or_else(own).filter(|value| !value.is_empty())
    };
    let home = var("HOME").unwrap_or_default();
    let own_home = if place.home_env.is_empty() { None } else { var(place.home_env) };
    let own_home = own_home.unwrap_or_else(|| place.home.replace("{home}", &home));
    for cwd in &found.cwds {
        let path = place.below.replace("{home}", &home);
        let path = path.replace("{cwd_dashed}", &dashed(cwd)).replace("{cwd}", cwd);
        // A relative home is relative to where the CLI runs.
        let path = if path.starts_with('/') { path } else { format!("{own_home}/{path}") };
        let path = place.cwd.join(path).to_string_lossy().into_owned();
        if !found.dirs.contains(&path) {
            found.dirs.push(path);
        }
    }
    found
}

/// What lies in a folder: the files that are wanted, and whether there was more than is looked at.
pub fn list(dir: &str, wanted: &dyn Fn(&str) -> bool) -> (Vec<FileSeen>, bool) {
    let mut found = Vec::new();
    // Names in falling order: where folders are dates, the newest come first and the bound does no harm.
    let walk = walkdir::WalkDir::new(dir).max_depth(DEPTH_MAX).follow_links(false).follow_root_links(true);
    for (n, entry) in walk.sort_by(|a, b| b.file_name().cmp(a.file_name())).into_iter().enumerate() {
        if n >= ENTRIES_MAX {
            return (found, true);
        }
        let Ok(entry) = entry else { continue };
        let Some(path) = entry.path().to_str().filter(|path| entry.file_type().is_file() && wanted(path))
        else {
            continue;
        };
        let Some(seen) = entry.metadata().ok().and_then(|meta| seen(path, &meta)) else { continue };
        found.push(seen);
    }
    (found, false)
}

/// A file as it is now; None when it is missing or no regular file.
pub fn look(path: &Path) -> Option<FileSeen> {
    seen(path.to_str()?, &std::fs::metadata(path).ok()?)
}

fn seen(path: &str, meta: &std::fs::Metadata) -> Option<FileSeen> {
    let changed_at = from_system(meta.modified().ok()?);
    let born = meta.created().ok().map(from_system);
    let whole = meta.is_file();
    let seen = FileSeen {
        path: path.to_owned(),
        dev: meta.dev(),
        ino: meta.ino(),
        bytes: meta.len(),
        changed_at,
        born,
    };
    whole.then_some(seen)
}

/// Up to `max` bytes from `offset` on; None when it is another file by now. Never blocks on a FIFO.
pub fn read(file: &FileSeen, offset: u64, max: usize) -> Option<Vec<u8>> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let open: File = OpenOptions::new().read(true).custom_flags(flags).open(&file.path).ok()?;
    let meta = open.metadata().ok()?;
    if !meta.is_file() || (meta.dev(), meta.ino()) != (file.dev, file.ino) {
        return None;
    }
    // What grew since the look is read at the next one: the cursor and the look must agree.
    let end = meta.len().min(file.bytes);
    let room = usize::try_from(end.saturating_sub(offset)).ok()?.min(max);
    let mut bytes = vec![0; room];
    let mut filled = 0;
    while filled < room {
        match open.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) | Err(_) => break,
            Ok(n) => filled += n,
        }
    }
    bytes.truncate(filled);
    Some(bytes)
}

/// A place in a file of lines that a person reads or follows; a file that shrank or was replaced begins anew.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: Option<FileSeen>,
    offset: u64,
    skipping: bool,
}

impl Lines {
    /// The beginning of a file.
    pub fn new(path: &Path) -> Lines {
        Lines { path: path.to_owned(), file: None, offset: 0, skipping: false }
    }

    /// The next complete lines, some at a time; empty when there are none yet. Lines of more than `max` bytes are left
    /// out. None when the file can't be read.
    pub fn more(&mut self, max: usize) -> Option<Vec<Vec<u8>>> {
        let file = look(&self.path)?;
        let same = self.file.as_ref().is_some_and(|old| (old.dev, old.ino) == (file.dev, file.ino));
        if !same || file.bytes < self.offset {
            (self.offset, self.skipping) = (0, false);
        }
        while self.offset < file.bytes {
            let bytes = read(&file, self.offset, max)?;
            let Some(last) = bytes.iter().rposition(|b| *b == b'\n') else {
                if bytes.len() < max && !self.skipping {
                    break;
                }
                self.skipping = true;
                self.offset += bytes.len() as u64;
                if bytes.is_empty() {
                    break;
                }
                continue;
            };
            self.offset += last as u64 + 1;
            let mut lines: Vec<Vec<u8>> = bytes[..last].split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            if std::mem::take(&mut self.skipping) {
                lines.remove(0);
            }
            if !lines.is_empty() {
                self.file = Some(file);
                return Some(lines);
            }
        }
        self.file = Some(file);
        Some(Vec::new())
    }

    /// What follows the last complete line; empty when it is too long.
    pub fn rest(&self, max: usize) -> Vec<u8> {
        let file = self.file.as_ref().filter(|_| !self.skipping);
        file.and_then(|file| read(file, self.offset, max)).unwrap_or_default()
    }
}

/// The session that a CLI says it is in, by its own status file (`{home}` and `{pid}` as slots).
/// Source: Claude Code 2.1 `~/.claude/sessions/<pid>.json`.
pub fn session(status_file: &str, pid: i32) -> Option<String> {
    transcript::vote(status_file, pid)?; // It is this very process's.
    let path = PathBuf::from(transcript::fill(status_file, pid, ""));
    let bytes = files::read_bounded(&path, STATUS_MAX).ok().flatten()?;
    let json: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    json.get("sessionId")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_as_the_clis_do() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        let (cwd, link) = (real.join("my_proj.1"), real.join("link"));
        std::fs::create_dir(&cwd).unwrap();
        std::os::unix::fs::symlink(&cwd, &link).unwrap();
        let mut env = BTreeMap::from([("HOME".to_owned(), "/h".to_owned())]);
        let look = |env: &BTreeMap<String, String>, below: &str| {
            folders(&Place { home_env: "X_HOME", home: "{home}/.x", below, env, pid: None, cwd: &link })
        };
        let found = look(&env, "projects/{cwd_dashed}");
        let dashed = format!("{}-my-proj-1", dashed(real.to_str().unwrap()));
        assert_eq!(found.dirs[1], format!("/h/.x/projects/{dashed}"));
        assert_eq!(found.cwds, [link.to_str().unwrap(), cwd.to_str().unwrap()]);
        assert_eq!(look(&env, "sessions").dirs, ["/h/.x/sessions"]);
        assert_eq!(look(&env, "{home}/y").dirs, ["/h/y"]);
        env.insert("X_HOME".into(), "/moved".into());
        assert_eq!(look(&env, "sessions").dirs, ["/moved/sessions"]);
        env.insert("X_HOME".into(), "../up".into());
        assert_eq!(look(&env, "sessions").dirs, [format!("{}/../up/sessions", link.display())]);
    }

    #[test]
    fn lines_are_given_whole_and_long_ones_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let mut lines = Lines::new(&path);
        assert_eq!(lines.more(10), None);
        let all = |lines: &mut Lines| {
            let mut found = Vec::new();
            while let Some(more) = lines.more(10).filter(|more| !more.is_empty()) {
                found.extend(more.into_iter().map(|line| String::from_utf8(line).unwrap()));
            }
            found
        };
        std::fs::write(&path, format!("a\nbb\n{}\nccc\nto", "x".repeat(35))).unwrap();
        assert_eq!(all(&mut lines), ["a", "bb", "ccc"]);
        assert_eq!(lines.rest(10), b"to");
        std::fs::write(&path, format!("a\nbb\n{}\nccc\ntorn\n", "x".repeat(35))).unwrap();
        assert_eq!(all(&mut lines), ["torn"]);
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(all(&mut lines), ["new"]);
    }

    #[test]
    fn files_are_found_below_and_read_as_they_were_seen() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("s/subagents");
        std::fs::create_dir_all(&deep).unwrap();
        for (path, text) in
            [(dir.path().join("s.jsonl"), "12345"), (deep.join("a.jsonl"), "x"), (deep.join("a.txt"), "y")]
        {
            std::fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("z.jsonl")).unwrap();
        let (mut found, cut) = list(dir.path().to_str().unwrap(), &|path| path.ends_with(".jsonl"));
        found.sort_by_key(|file| file.path.len());
        assert_eq!((found.len(), cut), (2, false), "{found:?}");
        let file = &found[0];
        std::fs::write(&file.path, "123456").unwrap();
        assert_eq!(read(file, 1, 3).unwrap(), b"234");
        assert_eq!(read(file, 1, 99).unwrap(), b"2345", "what grew since is left for the next look");
        assert_eq!(read(file, 99, 9).unwrap(), b"");
        // Another file under the same name: the old one is kept, so that its inode is not used again.
        std::fs::rename(&file.path, dir.path().join("old")).unwrap();
        std::fs::write(&file.path, "123456").unwrap();
        assert_eq!(read(file, 0, 9), None);
        assert_eq!(list("/no/such", &|_| true), (Vec::new(), false));
    }
}

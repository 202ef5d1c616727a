//! Starts a program that goes on without us and without a terminal: a group of its own, no input, and its errors in a file
//! that holds those of the last start only.
//!
//! Deliberately not here: jobs and runs, whose ends are written down (`jobs`, `hosts`).

use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use crate::sys::job_rest::unmark;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Of its errors that much is told, characters.
const WORDS_MAX: usize = 600;

/// A program on its own.
#[derive(Debug)]
pub struct Detached {
    child: Child,
    words: PathBuf,
}

/// Starts `argv` in `dir`; its errors go to the file `words`.
pub fn start(argv: &[String], dir: &Path, words: &Path) -> Result<Detached> {
    let (program, args) = argv.split_first().ok_or_else(|| Error::usage("no command"))?;
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    unmark(&mut command);
    // Without a place for its errors it still does its work.
    command.stderr(open(words).map_or_else(|_| Stdio::null(), Stdio::from));
    let child = command.spawn().map_err(|error| Error::from(error).at(Path::new(program)))?;
    Ok(Detached { child, words: words.to_owned() })
}

fn open(words: &Path) -> std::io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    options.open(words)
}

impl Detached {
    /// Its last words, when it ended already.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        let words = super::env::read_start(&self.words, 1 << 16).unwrap_or_default();
        Some(one_line(&format!("{status}: {}", words.trim()), WORDS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn sh(script: &str, words: &Path) -> Detached {
        let argv = ["sh", "-c", script].map(str::to_owned);
        start(&argv, Path::new("/"), words).unwrap()
    }

    fn end(mut detached: Detached) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(words) = detached.ended() {
                return words;
            }
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_errors_of_the_last_start_are_kept_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let words = dir.path().join("words");
        assert_eq!(
            end(sh("echo a long first word >&2; echo out; exit 3", &words)),
            "exit status: 3: a long first word"
        );
        assert_eq!(end(sh("echo two >&2; exit 4", &words)), "exit status: 4: two");
        assert_eq!(std::fs::read_to_string(&words).unwrap(), "two\n");
    }

    #[test]
    fn what_stands_in_the_way_of_its_words_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (words, other) = (dir.path().join("words"), dir.path().join("other"));
        std::fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, &words).unwrap();
        assert!(end(sh("echo one >&2; exit 3", &words)).starts_with("exit status: 3"));
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
    }
}

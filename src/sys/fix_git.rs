//! Git for fix branches: every call bounded, without hooks, prompts, signing, pagers or external programs of a diff.
//!
//! Deliberately not here: what is done with it (`fix_branch`), and reading what a remote says (`git`).

use super::git::REMOVED;
use super::run::{Program, Ran};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest call: a status of a large tree on a slow disk.
const DEADLINE: Duration = Duration::from_secs(30);

/// Settings that keep git from running anybody's programs, or from waiting; and what it writes outlasts a power cut (since
/// git 2.36: git-config(1), `core.fsync`).
const SETTINGS: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "commit.gpgSign=false",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.quotePath=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "core.editor=false",
    "core.fsync=all",
];

/// One repository, and the index that calls use.
#[derive(Clone, Debug)]
pub(super) struct Git {
    /// The top of its tree.
    pub(super) root: PathBuf,
    /// Another index than its own.
    pub(super) index: Option<PathBuf>,
    /// Nothing is written, no object either.
    pub(super) looks_only: bool,
}

impl Git {
    /// The repository of a folder, with its own index.
    pub(super) fn of(dir: &Path) -> Git {
        Git { root: dir.to_owned(), index: None, looks_only: false }
    }

    /// The same repository with another index.
    pub(super) fn with_index(&self, index: &Path) -> Git {
        Git { index: Some(index.to_owned()), ..self.clone() }
    }

    /// A call; an error when git says no.
    pub(super) fn call(&self, args: &[&str]) -> Result<Vec<u8>, String> {
        self.fed(args, Vec::new())
    }

    /// The same, as text on one line.
    pub(super) fn line(&self, args: &[&str]) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.call(args)?).trim().to_owned())
    }

    /// A call with something on its standard input.
    pub(super) fn fed(&self, args: &[&str], stdin: Vec<u8>) -> Result<Vec<u8>, String> {
        let ran = self.ask(args, stdin)?;
        if ran.ok() {
            return Ok(ran.stdout);
        }
        let what = args.iter().find(|arg| !arg.starts_with('-')).copied().unwrap_or("git");
        Err(format!("git {what}: {}", ran.why()))
    }

    /// A call that may say no.
    pub(super) fn ask(&self, args: &[&str], stdin: Vec<u8>) -> Result<Ran, String> {
        let mut program = Program::new("git").args(["-C".as_ref(), self.root.as_os_str()]);
        for setting in SETTINGS {
            program = program.args(["-c", setting]);
        }
        program = program.args(args).deadline(DEADLINE).stdin(stdin);
        for name in REMOVED {
            program = program.without_env(name);
        }
        for (name, value) in [
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_LITERAL_PATHSPECS", "1"),
            ("GIT_AUTHOR_NAME", "watchkeeper"),
            ("GIT_AUTHOR_EMAIL", "watchkeeper@localhost"),
            ("GIT_COMMITTER_NAME", "watchkeeper"),
            ("GIT_COMMITTER_EMAIL", "watchkeeper@localhost"),
            ("LC_ALL", "C.UTF-8"),
        ] {
            program = program.env(name, value);
        }
        if let Some(index) = &self.index {
            program = program.env("GIT_INDEX_FILE", index);
        }
        program.run().map_err(|error| error.message())
    }
}

//! A backend: how one agent CLI is started, prompted and read. Data, one embedded TOML file per CLI in `src/backends/`.
//!
//! Deliberately not here: what a screen means (`detect::screen`), where in the operator's file a wrong key stands (the
//! caller maps [`KeyError::path`]).

mod pattern;
mod read;
mod signals;

pub use pattern::Pattern;
pub use read::KeyError;
pub use signals::{Blocks, Error, Frame, Menu, MenuKind, Placeholder, Signals};

use std::collections::BTreeMap;
use std::sync::Arc;

/// The built-in backends: name and table, in the order in which they are listed to people.
const BUILTIN: [(&str, &str); 8] = [
    ("claude", include_str!("../backends/claude.toml")),
    ("codex", include_str!("../backends/codex.toml")),
    ("opencode", include_str!("../backends/opencode.toml")),
    ("gemini", include_str!("../backends/gemini.toml")),
    ("qwen", include_str!("../backends/qwen.toml")),
    ("aider", include_str!("../backends/aider.toml")),
    ("shell", include_str!("../backends/shell.toml")),
    ("demo", include_str!("../backends/demo.toml")),
];

/// Names of [`BUILTIN`].
const BUILTIN_NAMES: [&str; 8] = ["claude", "codex", "opencode", "gemini", "qwen", "aider", "shell", "demo"];

/// How one agent CLI is started, prompted and read.
#[derive(Clone, Debug)]
pub struct Backend {
    /// `claude`, `codex`, … or the operator's own.
    pub name: String,
    /// The argv.
    pub command: Vec<String>,
    /// Put before the model name; None = the CLI takes no model.
    pub model_flag: Option<String>,
    /// How the first prompt reaches the CLI.
    pub prompt_delivery: PromptDelivery,
    /// tmux key name that submits the composer.
    pub submit_key: String,
    /// tmux key name that queues instead of steering while busy (codex: `Tab`).
    pub queue_key: Option<String>,
    /// Seconds between paste and submit.
    pub submit_delay_s: f64,
    /// Arguments that continue the last conversation; empty = can't.
    pub resume: Vec<String>,
    /// tmux keys that empty a composer that holds our own stale text.
    pub clear_keys: Vec<String>,
    /// tmux keys that approve an open permission dialog.
    pub approve_keys: Vec<String>,
    /// tmux keys that deny it.
    pub deny_keys: Vec<String>,
    /// tmux keys that close the limit menu.
    pub limit_menu_keys: Vec<String>,
    /// Added to the environment of the CLI.
    pub env: BTreeMap<String, String>,
    /// Removed from it (a nested agent's marks).
    pub env_remove: Vec<String>,
    /// Process names that prove the CLI runs (pane_current_command).
    pub process_names: Vec<String>,
    /// The CLI's own status file, `{home}` and `{pid}` as slots: `{home}/.claude/sessions/{pid}.json`.
    pub status_file: Option<String>,
    /// Folder of transcripts, `{home}`, `{cwd}` (as is), `{cwd_dashed}` (`/` and `.` as `-`) as slots.
    pub transcript_dir: Option<String>,
    /// Suffix of transcript files in it (`.jsonl`); for a single file (aider) the file's name.
    pub transcript_suffix: String,
    /// argv that prints the CLI's version.
    pub version_command: Vec<String>,
    /// Versions that the signals were read from, as `min..max` prefixes: `["2.1"]`.
    pub versions_tested: Vec<String>,
    /// What the operator says of how it is launched, as written, in one form; "" when nothing.
    pub launch_said: String,
    /// What is on the screen in which state; shared by all that use the backend, so that each pattern is compiled once.
    pub signals: Arc<Signals>,
}

/// How the first prompt reaches the CLI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptDelivery {
    /// Typed once the composer is there (SPEC 6.3).
    Paste,
    /// The last argument.
    Arg,
    /// Standard input.
    Stdin,
}

impl Backend {
    /// The table of a built-in backend, as the embedded file says it; an operator's table is laid over it key by key.
    pub fn builtin(name: &str) -> Option<toml::Table> {
        let (_, text) = BUILTIN.iter().find(|(known, _)| *known == name)?;
        text.parse().ok()
    }

    /// The names of the built-in backends.
    pub fn builtin_names() -> &'static [&'static str] {
        &BUILTIN_NAMES
    }

    /// Reads a whole table. All errors are reported at once.
    pub fn from_table(name: &str, table: &toml::Table) -> Result<Backend, Vec<KeyError>> {
        read::backend(name, table, &toml::Table::new())
    }

    /// Reads a table in which what stands alike in `builtin` need not be checked again.
    pub fn from_builtin(
        name: &str,
        table: &toml::Table,
        builtin: &toml::Table,
    ) -> Result<Backend, Vec<KeyError>> {
        read::backend(name, table, builtin)
    }
}

#[cfg(test)]
mod tests;

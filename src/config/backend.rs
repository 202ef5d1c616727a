//! A backend: how one agent CLI is started, prompted and read. Data, one embedded TOML file per CLI in `src/backends/`.

use std::collections::BTreeMap;

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
    /// What is on the screen in which state.
    pub signals: Signals,
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

/// What is on the screen in which state (compiled).
#[derive(Clone, Debug)]
pub struct Signals {}

/// (stand-in) One complaint about a backend's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// Keys from the backend's table inwards.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
}

/// (stand-in) The real one replaces this with the merge.
impl Backend {
    /// The built-in table of that name.
    pub fn builtin(name: &str) -> Option<toml::Table> {
        let known = Backend::builtin_names().contains(&name);
        known.then(|| toml::Table::from_iter([("command".to_owned(), toml::Value::from(vec![name]))]))
    }

    /// The built-in names.
    pub fn builtin_names() -> &'static [&'static str] {
        &["claude", "codex", "opencode", "gemini", "qwen", "aider", "shell", "demo"]
    }

    /// Reads a whole table.
    pub fn from_table(name: &str, table: &toml::Table) -> Result<Backend, Vec<KeyError>> {
        let command = table.get("command").and_then(|c| c.clone().try_into::<Vec<String>>().ok());
        let Some(command) = command.filter(|c| !c.is_empty()) else {
            let message = "must be a list of words".to_owned();
            return Err(vec![KeyError { path: vec!["command".to_owned()], message }]);
        };
        Ok(Backend {
            name: name.to_owned(),
            command,
            model_flag: None,
            prompt_delivery: PromptDelivery::Paste,
            submit_key: "Enter".to_owned(),
            queue_key: None,
            submit_delay_s: 0.5,
            resume: Vec::new(),
            clear_keys: Vec::new(),
            approve_keys: Vec::new(),
            deny_keys: Vec::new(),
            limit_menu_keys: Vec::new(),
            env: table.get("env").and_then(|e| e.clone().try_into().ok()).unwrap_or_default(),
            env_remove: Vec::new(),
            process_names: Vec::new(),
            status_file: None,
            transcript_dir: None,
            transcript_suffix: String::new(),
            version_command: Vec::new(),
            versions_tested: Vec::new(),
            signals: Signals {},
        })
    }
}

//! Where everything is: the config file and its state directory; loading the config from disk.

use crate::base::error::{Error, Result};
use crate::config::{self, Config, Parsed, Role, Severity, Source};
use crate::sys::outside;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Largest prompt file read, bytes.
const PROMPT_BYTES: u64 = 1 << 20;

/// The config file and the options that go with it.
#[derive(Clone, Debug)]
pub struct Home {
    /// agents.toml, absolute.
    pub config_path: PathBuf,
    /// The path as the person wrote it, for messages.
    pub shown_path: String,
    /// `--state`.
    pub state_override: Option<PathBuf>,
}

/// A config with what it was read from.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The config.
    pub config: Config,
    /// agents.toml as text.
    pub text: String,
    /// agents.toml and every prompt file that it names.
    pub files: Vec<PathBuf>,
    /// Their stamps when they were read: others mean that something changed.
    pub stamp: String,
    /// Notes on keys that this version reads but does not act on, rendered.
    pub notes: String,
}

impl Home {
    /// From the options; finds the config file.
    pub fn new(config: Option<&Path>, state: Option<&Path>) -> Result<Home> {
        let config_path = outside::config_path(config)?;
        let shown_path = config.map_or_else(|| "agents.toml".to_owned(), |path| path.display().to_string());
        let state_override = state.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        Ok(Home { config_path, shown_path, state_override })
    }

    /// Reads and parses the config; the problems are left as they are. Also its text and the files that were read.
    pub fn parse(&self) -> Result<(Parsed, String, Vec<PathBuf>)> {
        let text = outside::read_text(&self.config_path, config::TEXT_LENGTH_MAX as u64 + 1)
            .map_err(|error| Error::usage(error.message()).doing("reading the config"))?;
        let files = RefCell::new(vec![self.config_path.clone()]);
        let read = |path: &Path| {
            files.borrow_mut().push(path.to_owned());
            outside::read_text(path, PROMPT_BYTES).map_err(|error| error.message())
        };
        let home = outside::home();
        let source = Source {
            path: &self.config_path,
            text: &text,
            home: &home,
            env: &outside::env,
            read: &read,
            state_override: self.state_override.as_deref(),
        };
        let parsed = config::parse(&source);
        Ok((parsed, text, files.into_inner()))
    }

    /// The config, or every problem with it as one usage error.
    pub fn load(&self) -> Result<LoadedConfig> {
        // Stamped before it is read: a write in between is seen as a change at the next look.
        let config_stamp = outside::stamp(&self.config_path);
        let (parsed, text, files) = self.parse()?;
        let stamp = std::iter::once(config_stamp)
            .chain(files.iter().skip(1).map(|file| outside::stamp(file)))
            .collect::<Vec<_>>()
            .join(" ");
        let rendered = config::render(&self.shown_path, &parsed.problems);
        match parsed.config {
            Some(mut config) => {
                config.state_dir = canonical_state(&config.state_dir);
                own_binary(&mut config);
                config.files.clone_from(&files);
                Ok(LoadedConfig { config, text, files, stamp, notes: rendered })
            }
            None => {
                let errors =
                    parsed.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
                let count = crate::base::text::counted(errors, "error");
                Err(Error::usage(format!("{count} in the config\n{}", rendered.trim_end())))
            }
        }
    }
}

/// The stamps of these files now.
pub fn stamp(files: &[PathBuf]) -> String {
    files.iter().map(|file| outside::stamp(file)).collect::<Vec<_>>().join(" ")
}

/// The demo backend's `watchkeeper` is this very binary, wherever it lies.
fn own_binary(config: &mut Config) {
    let Ok(binary) = crate::sys::exe::Binary::running() else { return };
    for unit in config.units.values_mut() {
        let Role::Agent(agent) = &mut unit.role else { continue };
        for command in [&mut agent.backend.command, &mut agent.backend.version_command] {
            if command.first().is_some_and(|name| name == "watchkeeper") {
                command[0] = binary.path.to_string_lossy().into_owned();
            }
        }
    }
}

/// The state directory is what our sessions are stamped with: always written the same way, links resolved as far as it
/// exists.
fn canonical_state(dir: &Path) -> PathBuf {
    match (dir.exists(), dir.parent(), dir.file_name()) {
        (false, Some(parent), Some(name)) => outside::canonical(parent).join(name),
        (true | false, _, _) => outside::canonical(dir),
    }
}

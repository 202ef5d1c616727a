//! The second stage of the arguments: values read, paths resolved when a command asks for them.
//!
//! Deliberately not here: reading the config (`load`); commands do that when they need it.

use super::args::{ColorChoice, Low, shown};
use super::commands::Command;
use crate::base::error::{Error, Result};
use crate::base::names::UnitName;
use crate::engine::home::Home;
use crate::sys::outside;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// One call of one command.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Which.
    pub command: &'static Command,
    /// The words after it.
    pub words: Vec<OsString>,
    /// Its flags.
    flags: Vec<(&'static str, Option<OsString>)>,
    /// `--json`
    pub json: bool,
    /// `--color`
    pub color: ColorChoice,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--state`
    pub state: Option<PathBuf>,
}

impl Invocation {
    /// Takes over what the first stage read.
    pub fn new(command: &'static Command, low: Low) -> Invocation {
        Invocation {
            command,
            words: low.words,
            flags: low.flags,
            json: low.json,
            color: low.color,
            config: low.config,
            state: low.state,
        }
    }

    /// Where the config and the state directory are; an error when there is no config.
    pub fn home(&self) -> Result<Home> {
        let home = Home::new(self.config.as_deref(), self.state.as_deref())?;
        Ok(Home { shown_path: self.config_given(), ..home })
    }

    /// The config as the operator calls it: for messages.
    pub fn config_given(&self) -> String {
        let given = self.config.as_ref().map(|path| path.to_string_lossy().into_owned());
        given
            .or_else(|| outside::env("WATCHKEEPER_CONFIG").filter(|path| !path.is_empty()))
            .unwrap_or_else(|| "agents.toml".to_owned())
    }

    /// Was this flag given?
    pub fn has(&self, long: &str) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == long)
    }

    /// The value of a flag; the last one wins.
    pub fn value(&self, long: &str) -> Result<Option<&str>> {
        match self.os_value(long) {
            None => Ok(None),
            Some(value) => match value.to_str() {
                Some(text) => Ok(Some(text)),
                None => Err(Error::usage(format!("the value of `--{long}` is not UTF-8"))),
            },
        }
    }

    /// All values of a flag that may be given more than once.
    pub fn values(&self, long: &str) -> Result<Vec<&str>> {
        let given =
            self.flags.iter().filter(|(flag, _)| *flag == long).filter_map(|(_, value)| value.as_ref());
        given
            .map(|value| {
                value.to_str().ok_or_else(|| Error::usage(format!("the value of `--{long}` is not UTF-8")))
            })
            .collect()
    }

    /// The value of a flag as a path.
    pub fn path(&self, long: &str) -> Option<&Path> {
        self.os_value(long).map(Path::new)
    }

    /// The value of a flag as a count.
    pub fn count(&self, long: &str) -> Result<Option<usize>> {
        let Some(text) = self.value(long)? else { return Ok(None) };
        let wrong = || Error::usage(format!("`--{long} {}`: not a whole number", shown(text.as_ref())));
        text.parse().map(Some).map_err(|_| wrong())
    }

    /// The words as text.
    pub fn texts(&self) -> Result<Vec<&str>> {
        self.words
            .iter()
            .map(|word| word.to_str().ok_or_else(|| Error::usage(format!("`{}` is not UTF-8", shown(word)))))
            .collect()
    }

    /// All words as names.
    pub fn names(&self) -> Result<Vec<UnitName>> {
        self.texts()?.into_iter().map(|text| UnitName::new(text).map_err(Error::usage)).collect()
    }

    /// The first word as a name, if there is one.
    pub fn name(&self) -> Result<Option<UnitName>> {
        match self.texts()?.first() {
            Some(text) => UnitName::new(text).map(Some).map_err(Error::usage),
            None => Ok(None),
        }
    }

    fn os_value(&self, long: &str) -> Option<&OsString> {
        self.flags.iter().rev().find(|(flag, _)| *flag == long).and_then(|(_, value)| value.as_ref())
    }
}

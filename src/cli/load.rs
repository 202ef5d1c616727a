//! Reads the config for a command, and finds units in it.

use super::Invocation;
use crate::base::error::{Error, Result};
use crate::base::names::UnitName;
use crate::base::text::nearest;
use crate::config::{Config, Unit};

/// The config, or all that is wrong with it as one error.
pub fn config(invocation: &Invocation) -> Result<Config> {
    Ok(invocation.home()?.load()?.config)
}

/// A unit of the config; the error names the nearest one.
pub fn unit<'c>(config: &'c Config, name: &UnitName) -> Result<&'c Unit> {
    if let Some(unit) = config.units.get(name) {
        return Ok(unit);
    }
    let error = Error::usage(format!("there is no unit `{name}` in the config"));
    let names = config.units.keys().map(UnitName::as_str);
    Err(match nearest(name.as_str(), names) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => {
            let mut names: Vec<&Unit> = config.units.values().collect();
            names.sort_by_key(|unit| unit.position);
            let names: Vec<&str> = names.into_iter().take(10).map(|unit| unit.name.as_str()).collect();
            error.hint(format!("units are: {}", names.join(", ")))
        }
    })
}

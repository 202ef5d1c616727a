//! Keeps a tick as a fixture: config, state and observation in a folder, so that an incident becomes a test.

use crate::base::error::Result;
use crate::model::seen::Observation;
use crate::state::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// State in one file, for fixtures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordedState {
    /// By unit.
    pub units: BTreeMap<crate::base::names::UnitName, crate::state::unit::UnitState>,
    /// Activity clocks.
    pub clocks: crate::state::clocks::Clocks,
    /// When the tick before looked.
    pub looked_awake_s: Option<crate::base::time::Awake>,
    /// The usual gap between looks, seconds.
    #[serde(default)]
    pub gap_s: f64,
    /// Mail.
    pub mail: crate::state::mail::Mail,
    /// The phase in force.
    #[serde(default)]
    pub phase: crate::state::phase::PhaseState,
    /// The branch.
    #[serde(default)]
    pub git: crate::state::git::GitState,
    /// Tokens.
    #[serde(default)]
    pub tokens: crate::state::tokens::Tokens,
}

impl RecordedState {
    /// From the live state.
    pub fn new(state: &State) -> RecordedState {
        RecordedState {
            units: state.units.clone(),
            clocks: state.clocks.clone(),
            looked_awake_s: state.clocks.looked_awake_s,
            gap_s: state.clocks.gap_s,
            mail: state.mail.clone(),
            phase: state.phase.clone(),
            git: state.git.clone(),
            tokens: state.tokens.clone(),
        }
    }

    /// Back to the live state.
    pub fn state(self) -> State {
        let mut clocks = self.clocks;
        clocks.looked_awake_s = self.looked_awake_s;
        clocks.gap_s = self.gap_s;
        State {
            units: self.units,
            clocks,
            mail: self.mail,
            phase: self.phase,
            git: self.git,
            tokens: self.tokens,
        }
    }
}

/// The files of a recorded tick: name and contents.
pub fn files(config_text: &str, state: &State, seen: &Observation) -> Result<Vec<(&'static str, String)>> {
    let json = |value: Result<String, serde_json::Error>| {
        value.map_err(|error| crate::base::error::Error::again(error.to_string()))
    };
    Ok(vec![
        ("agents.toml", config_text.to_owned()),
        ("state.json", json(serde_json::to_string_pretty(&RecordedState::new(state)))?),
        ("seen.json", json(serde_json::to_string_pretty(seen))?),
    ])
}

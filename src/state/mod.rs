//! What is remembered between ticks: one struct per state file, and the table of files. serde, no I/O.
//!
//! State is memory, never truth: what tmux and the kernel say wins. Every field has a default, so that an older file,
//! or one with lines deleted by hand, loads. Deliberately not here: reading and writing (engine), deciding (policy).

pub mod attempts;
pub mod clocks;
pub mod git;
pub mod heartbeat;
pub mod incident;
pub mod json;
pub mod mail;
pub mod phase;
pub mod process;
pub mod table;
pub mod tokens;
pub mod unit;
mod upgrade;

use crate::base::names::UnitName;
use clocks::Clocks;
use git::GitState;
use mail::Mail;
use phase::PhaseState;
use std::collections::BTreeMap;
use tokens::Tokens;
use unit::UnitState;

/// The image of all state files that `decide` reads and rewrites.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// `units/<name>/unit.json`
    pub units: BTreeMap<UnitName, UnitState>,
    /// `clocks.json`
    pub clocks: Clocks,
    /// `mail.json`
    pub mail: Mail,
    /// `phase.json`
    pub phase: PhaseState,
    /// `git.json`
    pub git: GitState,
    /// `tokens.json`
    pub tokens: Tokens,
}

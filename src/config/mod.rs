//! What the operator wants: `agents.toml` parsed, checked and resolved. No I/O: files are read by `sys`, handed in as text.
//!
//! [`parse`] is the entry. `raw.rs` is what the file says (with places), `watchdog.rs`, `units.rs`, `sequence.rs`, `agent.rs`, `process.rs`, `wake.rs`, `ladder.rs` and
//! `backends.rs` what we mean by it; `problem.rs` collects every error, none is first.

mod agent;
pub mod backend;
mod backends;
mod interpolate;
mod ladder;
mod parse;
mod problem;
mod process;
mod process_types;
mod raw;
mod sequence;
pub mod types;
mod units;
mod wake;
mod watchdog;

pub use backend::Backend;
pub use parse::{Parsed, Source, TEXT_LENGTH_MAX, parse};
pub use problem::{PROBLEMS_MAX, Problem, Severity, render};
pub use process::parse_detectors;
pub use process_types::*;
pub use types::*;
pub use units::UNITS_MAX;

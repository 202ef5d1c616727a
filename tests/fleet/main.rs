//! Whole fleets under the built binary, with `demo` agents that fall ill in every way that has a remedy: one test each.

mod heal;
mod host;
mod orders;
mod stall;
mod waiting;
mod wakes;

#[path = "../lab/mod.rs"]
mod lab;

/// A loop that looks three times a second.
const FAST: &str = "signal_interval = 0.3";

//! Detectors over the bytes of a log: patterns, tracebacks, metrics. Bounded memory, any bytes, any length of line.
//!
//! Deliberately not here: reading files (`sys::follow`), time (a stall is judged by the policy from the last values), exits.

mod clean;
mod filter;
#[cfg(test)]
mod fuzz_tests;
mod last;
mod long;
mod metric;
mod pattern;
mod report;
mod scanner;
mod traceback;

pub use last::spoke;
pub use scanner::{Position, Scanner, told};

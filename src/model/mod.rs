//! One tick's vocabulary: what was seen, what may be done, what was decided. Plain data, no I/O.

pub mod action;
pub mod finding;
pub mod incident;
pub mod process;
pub mod seen;
pub mod usage;

//! The tick: observe, decide, commit, act, report; and the loop around it. It moves data from one layer to the next.
//!
//! Deliberately not here: conclusions (policy), system calls (sys).

pub mod ask;
pub mod commit;
pub mod ensure;
mod fixes;
pub mod follow;
pub mod home;
pub mod incident;
pub mod observe;
pub mod prune;
pub mod record;
pub mod report;
pub mod run;
pub mod sieve;
pub mod tick;
#[cfg(test)]
mod unreadable;
pub mod usage;

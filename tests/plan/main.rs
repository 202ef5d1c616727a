//! A plan on real git, real tmux and real processes: phases, handoffs, fetching, and a watchdog that is killed at random.
//!
//! The builder's part (commits, done markers) is played by the test itself; who was told what is judged by the agents'
//! own transcripts.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../support/mod.rs"]
mod support;

mod fleet;
mod killed;
mod remote;
mod story;

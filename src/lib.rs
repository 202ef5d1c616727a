//! Watchkeeper keeps watch over long-running work: it observes, decides, commits, acts and reports, once a tick.
//!
//! Bird's-eye view (each layer imports only layers above it in this list):
//!
//! * [`base`]: names, time, text, errors. No I/O.
//! * [`state`], [`config`], [`model`]: what is on disk, what the operator wants, one tick's vocabulary. No I/O.
//! * [`detect`], [`policy`]: pure. Text to facts; facts and state to proposals; the arbiter; [`policy::decide`].
//! * [`sys`]: the only code that touches the world (clock, processes, tmux, files, lock, signals).
//! * [`engine`]: the tick: observe, decide, commit, act, report. The loop around it.
//! * [`cli`]: one file per command, one table.
//!
//! Invariants, most of them about what is deliberately absent: no clock, process, thread or file call outside `sys`
//! (the demo agent, which plays a foreign program, is the exception); no act without an earlier commit; what could
//! not be seen is unknown, and unknown is never dead; nothing read from a pane is ever run by a shell.

pub mod base;
pub mod cli;
pub mod config;
pub mod demo;
pub mod detect;
pub mod engine;
pub mod model;
pub mod policy;
pub mod state;
pub mod sys;

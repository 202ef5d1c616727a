//! `kill -9` and errors at the system calls of a tick that change something: the next ticks must go on as if nothing
//! had happened, only later. Judged by real facts: transcripts, tmux, state files.
//!
//! Two ways to break a tick: system-call injection by strace on the built binary ([`strace`]), and, where there is no
//! strace, this test program as another process that ticks in itself and kills itself at its Nth operation ([`cut`]).
//! A third one loses the answers of tmux ([`tmux_lies`]).

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what was tried, and what was skipped and why"
)]

mod cut;
mod cut_world;
mod disk;
mod errors;
mod process;
mod scenes;
mod strace;
mod tmux_lies;

#[path = "../lab/mod.rs"]
mod lab;

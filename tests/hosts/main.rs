//! Processes on their hosts: the real shim over real programs, and Slurm and containers where the lab is up.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail loudly, their helpers too"
)]

mod attach;
mod docker;
mod docker_traps;
mod kills;
mod lab;
mod local;
mod logs;
mod place;
mod queries;
mod slurm;
mod traps;

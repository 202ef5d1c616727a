//! Where processes outside tmux run: here through our own shim, as somebody else's process, in Slurm, in a container. Each
//! host is one file behind the same few questions and actions.
//!
//! Deliberately not here: when something is started or ended, and what an end means (`policy`).

pub mod attach;
pub mod batch;
pub mod docker;
pub mod front;
mod held;
pub mod local;
pub mod logs;
mod proof;
pub mod records;
pub mod remote;
pub mod rotate;
pub mod shim;
pub mod slurm;
pub mod tending;
mod writers;

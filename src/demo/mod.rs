//! Things to try the watchdog on without an AI: [`agent`] plays a command-line agent, [`story`] tells what becomes of four.

pub mod agent;
pub mod story;

//! Things to try the watchdog on without an AI: [`agent`] plays a command-line agent.

pub mod agent;

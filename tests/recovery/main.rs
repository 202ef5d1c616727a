//! What the world says beside what was recorded, with the built binary, real tmux and real git: sessions of others taken
//! over, processes that outlive their session, recovery from a checkpoint, slow work, the keeper of the watchdog.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod checkpoint;
mod keeper;
mod observed;

#[path = "../lab/mod.rs"]
mod lab;

/// A loop that looks three times a second.
const FAST: &str = "signal_interval = 0.3";

//! `heartbeat.json`: proof that the watchdog lives and ticks. Rewritten every tick; losing it loses nothing.

use crate::base::time::{Awake, Wall};
use serde::{Deserialize, Serialize};

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// The watchdog's pid.
    pub pid: u32,
    /// `run` or `tick`.
    pub command: String,
    /// When this process started.
    pub started: Wall,
    /// Ticks since then.
    pub tick: u64,
    /// When the last tick ended.
    pub at: Wall,
    /// How long it took, seconds.
    pub tick_s: f64,
    /// When that tick looked.
    pub looked_awake_s: Option<Awake>,
    /// When that tick ended, on the awake clock: written also when nothing could be looked at.
    pub ended_awake_s: Option<Awake>,
    /// The usual gap between looks, seconds.
    pub gap_s: f64,
    /// Longest sleep until the next one, seconds: a heartbeat older than three of these is old.
    pub interval_s: f64,
    /// Identity of the binary.
    pub binary: String,
    /// The last error, kept until the next one, and for an hour of ticks without one at most.
    pub last_error: Option<String>,
    /// When it was.
    pub last_error_at: Option<Wall>,
    /// The unit that the tick under way acts on, written before the act; gone when the tick ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acting: Option<String>,
}

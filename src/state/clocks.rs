//! `clocks.json`: when each unit last showed activity, on three clocks. One file for all units, written without fsync.

use crate::base::names::UnitName;
use crate::base::time::Awake;
use crate::model::process::LogCursor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clocks {
    /// By unit.
    pub units: BTreeMap<UnitName, UnitClocks>,
    /// When the last tick looked: a gap in looking is not idleness of the watched. Kept in heartbeat.json, which is
    /// written every tick anyway.
    #[serde(skip)]
    pub looked_awake_s: Option<Awake>,
    /// The gap before that one, seconds: a steady slow cron is not a pause. Kept in heartbeat.json too.
    #[serde(skip)]
    pub gap_s: f64,
}

/// The clocks of one unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitClocks {
    /// The screen's content, spinners taken out.
    pub screen: Option<Clock<String>>,
    /// The transcript's path and length.
    pub transcript: Option<Clock<String>>,
    /// CPU of the CLI's tools; only sampled near a stall.
    pub tools: Option<ToolsClock>,
    /// The heartbeat of a cooperative unit: the stamp of its file, "" when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Clock<String>>,
    /// Metrics of a process, by detector.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, Clock<String>>,
    /// How far a process's log was read since its unit.json was written last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogClock>,
}

/// How far a log was read without a finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogClock {
    /// Counts on from this commit of the unit's own cursor; with any other one it means nothing.
    pub after: u64,
    /// Where reading stands.
    pub cursor: LogCursor,
}

/// One clock: the value last seen and when it last changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clock<T> {
    /// The value.
    pub value: T,
    /// Its last change.
    pub changed_awake_s: Awake,
}

/// The CPU clock: the first sample is a beginning, not a change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToolsClock {
    /// CPU time used so far, milliseconds.
    pub used_ms: u64,
    /// When sampling began.
    pub first_awake_s: Awake,
    /// The last sample.
    pub sampled_awake_s: Awake,
    /// When CPU was last seen to be used.
    pub changed_awake_s: Option<Awake>,
}

impl ToolsClock {
    /// Since when the tools are known to be quiet.
    pub fn quiet_since(&self) -> Awake {
        self.changed_awake_s.unwrap_or(self.first_awake_s)
    }
}

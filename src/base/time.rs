//! Two clocks and how they are written: [`Wall`] for appointments, [`Awake`] for durations.
//!
//! Deliberately not here: reading a clock. Only `sys::clock` does that; everything else is handed a [`Now`].

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A wall-clock instant: milliseconds since 1970-01-01 UTC. Written as RFC 3339 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

/// An instant on the awake clock (`CLOCK_MONOTONIC`, which stands still in suspend): milliseconds since boot, may be
/// negative after a rebase to a new boot. Written as seconds; keys that hold one end in `_awake_s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Awake(pub i64);

/// The clock facts of one tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// Wall time.
    pub wall: Wall,
    /// Awake time.
    pub awake_s: Awake,
    /// The kernel's boot id: awake instants of another boot mean nothing until rebased.
    pub boot: String,
    /// IANA name of the local time zone; "UTC" when unknown.
    pub zone: String,
}

impl Wall {
    /// This instant moved by `seconds`.
    #[must_use]
    pub fn plus_s(self, seconds: f64) -> Wall {
        Wall(self.0.saturating_add((seconds * 1000.0) as i64))
    }

    /// Seconds from `earlier` to here; negative when `earlier` is later.
    pub fn since_s(self, earlier: Wall) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }

    /// Reads RFC 3339 with any offset.
    pub fn parse(text: &str) -> Option<Wall> {
        text.trim().parse::<jiff::Timestamp>().ok().map(|t| Wall(t.as_millisecond()))
    }

    /// Whole days since 1970 as `2026-11-21`, for file names.
    pub fn day(self) -> String {
        self.to_string().chars().take(10).collect()
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) if self.0 % 1000 == 0 => write!(f, "{t:.0}"),
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "1970-01-01T00:00:00Z"),
        }
    }
}

impl Serialize for Wall {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Wall, D::Error> {
        let text = String::deserialize(d)?;
        Wall::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is not an RFC 3339 time such as 2026-11-21T10:00:00Z"))
        })
    }
}

impl Awake {
    /// This instant moved by `seconds`.
    #[must_use]
    pub fn plus_s(self, seconds: f64) -> Awake {
        Awake(self.0.saturating_add((seconds * 1000.0) as i64))
    }

    /// Seconds from `earlier` to here, never negative: an instant in the future (an edited file) counts as now.
    pub fn since_s(self, earlier: Awake) -> f64 {
        (self.0.saturating_sub(earlier.0)).max(0) as f64 / 1000.0
    }
}

impl Serialize for Awake {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Awake {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Awake, D::Error> {
        let seconds = f64::deserialize(d)?;
        Ok(Awake((seconds * 1000.0).round() as i64))
    }
}

/// A duration for people: `45 s`, `3 min`, `1 h 20 min`, `2 d 3 h`. At most two parts, rounded down.
pub fn human_s(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    let (d, h, m) = (s / 86_400, s / 3600 % 24, s / 60 % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, 1..=9) if s % 60 != 0 => format!("{m} min {} s", s % 60),
        (0, 0, _) => format!("{m} min"),
        (0, _, 0) => format!("{h} h"),
        (0, _, _) => format!("{h} h {m} min"),
        (_, 0, _) => format!("{d} d"),
        (_, _, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_is_written_as_rfc_3339_utc_and_read_with_any_offset() {
        let t = Wall::parse("2026-11-21T12:00:00+02:00").unwrap();
        assert_eq!(t.to_string(), "2026-11-21T10:00:00Z");
        assert_eq!(Wall(t.0 + 7).to_string(), "2026-11-21T10:00:00.007Z");
        assert_eq!(Wall::parse("tomorrow"), None);
        assert_eq!(t.day(), "2026-11-21");
    }

    #[test]
    fn durations_read_well() {
        let check = |s: f64, want: &str| assert_eq!(human_s(s), want);
        check(0.4, "0 s");
        check(59.9, "59 s");
        check(61.0, "1 min 1 s");
        check(605.0, "10 min");
        check(4800.0, "1 h 20 min");
        check(7200.0, "2 h");
        check(183_600.0, "2 d 3 h");
    }

    #[test]
    fn an_awake_instant_in_the_future_counts_as_now() {
        assert_eq!(Awake(1000).since_s(Awake(5000)), 0.0);
        assert_eq!(Awake(5000).since_s(Awake(1000)), 4.0);
    }
}

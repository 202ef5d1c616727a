//! Reads the clocks. The only place that does.

use crate::base::time::{Awake, Now, Wall};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads the clocks; boot id and zone are read once.
#[derive(Clone, Debug)]
pub struct Clock {
    boot: String,
    zone: String,
}

impl Clock {
    /// A clock with this host's boot id and time zone.
    pub fn new() -> Clock {
        Clock { boot: boot_id(), zone: local_zone() }
    }

    /// The clocks now.
    pub fn now(&self) -> Now {
        Now { wall: wall(), awake_s: awake(), boot: self.boot.clone(), zone: self.zone.clone() }
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// Wall time now.
pub fn wall() -> Wall {
    from_system(SystemTime::now())
}

/// A file's time stamp as wall time; times before 1970 are negative.
pub fn from_system(time: SystemTime) -> Wall {
    let millis = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Wall(millis(since)),
        Err(before) => Wall(-millis(before.duration())),
    }
}

/// `CLOCK_MONOTONIC`, which stands still in suspend.
pub fn awake() -> Awake {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Awake(t.tv_sec.saturating_mul(1000).saturating_add(t.tv_nsec / 1_000_000))
}

/// The kernel's boot id; `unknown` where there is none.
fn boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

fn local_zone() -> String {
    let tz = std::env::var("TZ").ok();
    let link = std::fs::read_link("/etc/localtime").ok();
    let named = |name: &str| Path::new("/usr/share/zoneinfo").join(name).is_file();
    match zone_name(tz.as_deref(), link.as_deref().and_then(Path::to_str), named) {
        Some(zone) => zone,
        // The slow way (it may walk the zone folder) knows copies of a zone file too.
        None => jiff::tz::TimeZone::system().iana_name().unwrap_or("UTC").to_owned(),
    }
}

/// The zone's name from `$TZ` and where `/etc/localtime` points to. `named` tells whether a zone has that name.
fn zone_name(tz: Option<&str>, localtime: Option<&str>, named: impl Fn(&str) -> bool) -> Option<String> {
    let after_zoneinfo = |path: &str| path.rsplit_once("zoneinfo/").map(|(_, name)| name.to_owned());
    let from_tz = tz.map(|tz| tz.strip_prefix(':').unwrap_or(tz));
    match from_tz {
        Some("") => Some("UTC".to_owned()),
        Some(name) if name.starts_with('/') => after_zoneinfo(name),
        Some(name) => Some(name.to_owned()).filter(|n| named(n)),
        None => localtime.and_then(after_zoneinfo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_comes_from_tz_or_from_the_link() {
        #[track_caller]
        fn check(tz: Option<&str>, link: Option<&str>, want: Option<&str>) {
            assert_eq!(zone_name(tz, link, |n| n == "Asia/Tokyo").as_deref(), want, "{tz:?} {link:?}");
        }
        check(Some("Asia/Tokyo"), Some("/usr/share/zoneinfo/Europe/Rome"), Some("Asia/Tokyo"));
        check(Some(":Asia/Tokyo"), None, Some("Asia/Tokyo"));
        check(Some(":/usr/share/zoneinfo/Europe/Rome"), None, Some("Europe/Rome"));
        check(Some(""), Some("/usr/share/zoneinfo/Europe/Rome"), Some("UTC"));
        check(Some("<+03>-3"), None, None);
        check(None, Some("/usr/share/zoneinfo/Europe/Rome"), Some("Europe/Rome"));
        check(None, Some("../usr/share/zoneinfo/Etc/UTC"), Some("Etc/UTC"));
        check(None, Some("/etc/other"), None);
    }

    #[test]
    fn the_awake_clock_goes_on_and_the_boot_has_a_name() {
        let clock = Clock::new();
        let (a, b) = (clock.now(), clock.now());
        assert!(b.awake_s >= a.awake_s && a.awake_s.0 > 0);
        assert!(!a.boot.is_empty() && !a.zone.is_empty());
        assert!(a.wall > Wall::parse("2020-01-01T00:00:00Z").unwrap());
    }
}

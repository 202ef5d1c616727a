//! Does the watchdog live? Judged from the lock and the heartbeat, as a reading command sees them.

use crate::base::text::one_line;
use crate::base::time::{Now, Wall, human_s};
use crate::policy::summary_text::{Times, moment};
use crate::state::heartbeat::Heartbeat;
use crate::sys::lock::Held;
use serde::Serialize;

/// A heartbeat older than this many of its own intervals is old (state::heartbeat).
const INTERVALS: f64 = 3.0;
/// But never before this long, seconds: a tick may do much.
const OLD_MIN_S: f64 = 60.0;
/// Cron may call `tick` as seldom as that, seconds.
const CRON_OLD_S: f64 = 900.0;

/// How the watchdog is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// The loop runs and ticks.
    Running,
    /// `tick` is called from cron, and was of late.
    Cron,
    /// A process holds the lock, but its last tick is long ago.
    Hanging,
    /// It ran once.
    Stopped,
    /// It does not run, and nobody knows when it last did.
    Never,
}

/// The watchdog, for `status` and `doctor`. The keys are a promise to scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Watchdog {
    /// How it is.
    pub health: Health,
    /// Its pid, while it lives.
    pub pid: Option<i64>,
    /// The end of its last tick.
    pub last_tick: Option<Wall>,
    /// Seconds since then.
    pub age_s: Option<f64>,
    /// Ticks of the present process.
    pub ticks: u64,
    /// The last error it wrote down.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Wall>,
    /// It was started into a tmux session that is no more: it goes on unseen.
    pub session_lost: bool,
}

impl Watchdog {
    /// Judges.
    pub fn judge(heartbeat: Option<&Heartbeat>, holder: Option<&Held>, now: &Now) -> Watchdog {
        let holder = holder.filter(|held| held.pid == 0 || matches!(held.command.as_str(), "run" | "tick"));
        let age = heartbeat.map(|beat| now.wall.since_s(beat.at).max(0.0));
        // One that has only just begun has no tick of its own yet.
        let held_for = holder.and_then(|held| held.since).map(|since| now.wall.since_s(since).max(0.0));
        let silent = match (age, held_for) {
            (Some(age), Some(held)) => age.min(held),
            (Some(age), None) => age,
            (None, held) => held.unwrap_or(0.0),
        };
        let old = heartbeat.map_or(OLD_MIN_S, |beat| (beat.interval_s * INTERVALS).max(OLD_MIN_S));
        let cron = heartbeat.is_some_and(|beat| beat.command == "tick");
        let health = match (holder, heartbeat) {
            (Some(_), _) if silent > old => Health::Hanging,
            (Some(held), _) if held.command == "tick" => Health::Cron,
            (Some(_), _) => Health::Running,
            (None, Some(_)) if cron && silent <= old.max(CRON_OLD_S) => Health::Cron,
            (None, Some(beat)) if cron || beat.command == "run" => Health::Stopped,
            // A command that acted for a moment leaves a heartbeat too.
            (None, Some(_) | None) => Health::Never,
        };
        Watchdog {
            health,
            pid: holder.map(|held| i64::from(held.pid)).filter(|pid| *pid > 0),
            last_tick: heartbeat.map(|beat| beat.at),
            age_s: age,
            ticks: heartbeat.filter(|_| holder.is_some()).map_or(0, |beat| beat.tick),
            last_error: heartbeat.and_then(|beat| beat.last_error.clone()),
            last_error_at: heartbeat.and_then(|beat| beat.last_error_at),
            session_lost: false,
        }
    }

    /// Does somebody watch?
    pub fn is_well(&self) -> bool {
        match self.health {
            Health::Running | Health::Cron => true,
            Health::Hanging | Health::Stopped | Health::Never => false,
        }
    }

    /// In words.
    pub fn text(&self, now: &Now) -> String {
        let pid = self.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let ago = self.age_s.map(|age| format!("{} ago", human_s(age)));
        let ticked = ago.clone().map_or("has not ticked yet".to_owned(), |ago| format!("ticked {ago}"));
        let text = match self.health {
            Health::Running => format!("watchdog{pid} {ticked}"),
            Health::Cron => format!("watchdog by cron {ticked}"),
            Health::Hanging => format!("watchdog{pid} HANGS: last tick {}", ago.unwrap_or("never".into())),
            Health::Stopped => {
                let at = self.last_tick.map(|at| moment(at, now, Times::FromNow)).unwrap_or_default();
                format!("watchdog NOT RUNNING since {at}")
            }
            Health::Never => "watchdog NOT RUNNING".to_owned(),
        };
        let unseen = match (self.session_lost, self.pid) {
            (true, Some(pid)) => {
                format!("; it runs without its session: `kill {pid}` and `watchkeeper ensure` give it one")
            }
            (true, None) | (false, _) => String::new(),
        };
        let at = self.last_error_at.map(|at| format!(" ({} ago)", human_s(now.wall.since_s(at).max(0.0))));
        let error = self
            .last_error
            .as_ref()
            .map(|error| format!("; last error{}: {}", at.unwrap_or_default(), one_line(error, 200)));
        format!("{text}{unseen}{}", error.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Awake;

    #[track_caller]
    fn check(beat: Option<(&str, f64)>, holder: Option<(&str, f64)>, want: Health) {
        let now = Now { wall: Wall(10_000_000), awake_s: Awake(0), boot: "b".into(), zone: "UTC".into() };
        let at = |ago: f64| now.wall.plus_s(-ago);
        let beat = beat.map(|(command, ago)| Heartbeat {
            command: command.into(),
            at: at(ago),
            interval_s: 30.0,
            ..Heartbeat::default()
        });
        let holder =
            holder.map(|(command, ago)| Held { pid: 7, command: command.into(), since: Some(at(ago)) });
        assert_eq!(Watchdog::judge(beat.as_ref(), holder.as_ref(), &now).health, want);
    }

    #[test]
    fn an_old_error_and_a_lost_session_are_told_as_such() {
        let now = Now { wall: Wall(10_000_000), awake_s: Awake(0), boot: "b".into(), zone: "UTC".into() };
        let beat = Heartbeat {
            command: "run".into(),
            at: now.wall.plus_s(-5.0),
            last_error: Some("disk full".into()),
            last_error_at: Some(now.wall.plus_s(-120.0)),
            ..Heartbeat::default()
        };
        let holder = Held { pid: 7, command: "run".into(), since: None };
        let judged = Watchdog::judge(Some(&beat), Some(&holder), &now);
        assert_eq!(judged.text(&now), "watchdog (pid 7) ticked 5 s ago; last error (2 min ago): disk full");
        let text = Watchdog { session_lost: true, last_error: None, ..judged }.text(&now);
        assert!(text.contains("; it runs without its session: `kill 7` and `watchkeeper ensure`"), "{text}");
    }

    #[test]
    fn lock_and_heartbeat_together_tell() {
        check(None, None, Health::Never);
        check(Some(("run", 12.0)), Some(("run", 5000.0)), Health::Running);
        check(Some(("run", 600.0)), Some(("run", 5000.0)), Health::Hanging);
        // Just started: the heartbeat is the one before.
        check(Some(("run", 600.0)), Some(("run", 2.0)), Health::Running);
        check(None, Some(("run", 2.0)), Health::Running);
        check(Some(("run", 12.0)), None, Health::Stopped);
        check(Some(("tick", 250.0)), None, Health::Cron);
        check(Some(("tick", 3000.0)), None, Health::Stopped);
        // A command that acts for a moment is no watchdog.
        check(Some(("run", 12.0)), Some(("down", 1.0)), Health::Stopped);
    }
}

//! Who watches the watchdog: is one alive, start one, end one. For `ensure`, `up` and `down`.
//!
//! A watchdog is alive when it holds the lock; it is old when it holds the lock and its heartbeat stands still.

use super::commit::{Image, Suspects};
use super::home::{Home, LoadedConfig};
use super::{observe, run};
use crate::base::error::{Error, Kind, Result};
use crate::base::names::UnitName;
use crate::base::time::human_s;
use crate::config::Config;
use crate::model::action::{Action, Launch, Outcome};
use crate::state::mail::{Level, Owed};
use crate::state::table;
use crate::sys::exe::Binary;
use crate::sys::files::RealFiles;
use crate::sys::lock::{self, Held};
use crate::sys::{Files, Host, clock, detached, outside, proc};
use std::collections::BTreeMap;
use std::path::Path;

/// A heartbeat older than this many intervals is old …
const OLD_INTERVALS: f64 = 3.0;
/// … but never one younger than this, seconds: a tick may wait for tmux several times.
const OLD_MIN_S: f64 = 60.0;
/// A watchdog is given this long to leave after TERM, seconds, and to appear after its start.
const PATIENCE_S: f64 = 10.0;

/// How the watchdog is.
#[derive(Clone, Debug, PartialEq)]
pub enum Pulse {
    /// Nobody holds the lock.
    Absent,
    /// It ticks.
    Alive {
        /// Who holds the lock.
        held: Held,
        /// Seconds since its last look; None before its first tick.
        age_s: Option<f64>,
    },
    /// It holds the lock and does not tick.
    Old {
        /// Who holds the lock.
        held: Held,
        /// Seconds since its last look.
        age_s: f64,
    },
}

/// What `ensure` found and did.
#[derive(Clone, Debug, PartialEq)]
pub enum Ensured {
    /// One lives.
    Alive(Held),
    /// The fleet is marked down: none is started.
    Down(String),
    /// One was started there.
    Started(Seat),
    /// One lives but does not tick; people were told.
    Old(Held, f64),
    /// That one was ended, and one was started there.
    Replaced(Held, Seat),
}

/// Where a watchdog was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seat {
    /// In this tmux session, where people can look at it.
    Session(String),
    /// By itself: there is no tmux, and nothing that it keeps needs one.
    Alone,
}

impl std::fmt::Display for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Seat::Session(session) => write!(f, "in tmux session `{session}`"),
            Seat::Alone => f.write_str("by itself, for there is no tmux"),
        }
    }
}

/// What to do with a watchdog that does not tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldOne {
    /// Tell people.
    Tell,
    /// End it and start another.
    Replace,
}

/// How the watchdog is now.
pub fn pulse(config: &Config) -> Pulse {
    let Some(held) = lock::held(&config.state_dir) else { return Pulse::Absent };
    let now = clock::Clock::new().now();
    let mut image = Image::default();
    let _ = image.load(&mut RealFiles::new(&config.state_dir), config, &now, Suspects::Leave);
    let beat = image.heartbeat();
    // The heartbeat of the one before says nothing about this one.
    let own = i64::from(beat.pid) == i64::from(held.pid);
    // (A heartbeat of an older version knows only when its tick looked.)
    let age_s =
        beat.ended_awake_s.or(beat.looked_awake_s).filter(|_| own).map(|looked| now.awake_s.since_s(looked));
    let started = held.since.map_or(0.0, |since| now.wall.since_s(since));
    let limit = (OLD_INTERVALS * config.watchdog.signal_interval_s).max(OLD_MIN_S);
    match age_s {
        Some(age) if age > limit => Pulse::Old { held, age_s: age },
        None if started > limit && held.command == "run" => Pulse::Old { held, age_s: started },
        Some(_) | None => Pulse::Alive { held, age_s },
    }
}

/// Starts a watchdog if none lives; tells of one that does not tick, or replaces it.
pub fn ensure(home: &Home, old: OldOne) -> Result<Ensured> {
    let loaded = home.load()?;
    let mut files = RealFiles::create(&loaded.config.state_dir)?;
    if let Some(reason) = observe::markers(&mut files, None).down {
        return Ok(Ensured::Down(reason));
    }
    match pulse(&loaded.config) {
        Pulse::Absent => start(home, &loaded).map(Ensured::Started),
        Pulse::Alive { held, .. } => Ok(Ensured::Alive(held)),
        Pulse::Old { held, age_s } => {
            tell(&mut files, &held, age_s)?;
            match old {
                OldOne::Tell => Ok(Ensured::Old(held, age_s)),
                OldOne::Replace => {
                    stop(&loaded.config)?;
                    start(home, &loaded).map(|seat| Ensured::Replaced(held, seat))
                }
            }
        }
    }
}

/// Tells people of a watchdog that does not tick: once per standstill.
fn tell(files: &mut RealFiles, held: &Held, age_s: f64) -> Result<()> {
    let now = clock::wall();
    let since = now.plus_s(-age_s);
    // To the minute: the next `ensure` of the same standstill makes the same id.
    let id = format!("watchdog-{}-{}", held.pid, since.0 / 60_000);
    let near = format!("watchdog-{}-{}", held.pid, since.0 / 60_000 - 1);
    let tail = String::from_utf8_lossy(&files.tail(table::OUTBOX, 1 << 20)?).into_owned();
    if tail.contains(&id) || tail.contains(&near) {
        return Ok(());
    }
    let text = format!(
        "the watchdog (pid {}) has not ticked for {}; `watchkeeper ensure --replace` restarts it",
        held.pid,
        human_s(age_s)
    );
    let alert = Owed { id, at: now, level: Level::Human, unit: None, text };
    files.append(
        table::OUTBOX,
        &serde_json::to_string(&alert).map_err(|error| Error::again(error.to_string()))?,
    )
}

/// What the watchdog is called where units have their names.
pub const UNIT: &str = "watchkeeper";

/// The watchdog's own session.
pub fn session(config: &Config) -> String {
    format!("{}watchkeeper", config.session_prefix)
}

/// Starts a watchdog and waits until it holds the lock: in its tmux session, or alone where tmux is neither there nor
/// needed.
fn start(home: &Home, loaded: &LoadedConfig) -> Result<Seat> {
    let config = &loaded.config;
    let watchdog = run::open(config, "start")?;
    let argv = argv(home)?;
    let dir = home.config_path.parent().unwrap_or(Path::new("/"));
    let missing = || watchdog.host.tmux().version().is_err_and(|error| error.kind() == Kind::Missing);
    if config.needs_tmux || !missing() {
        return start_in_session(config, watchdog, argv, dir);
    }
    let mut alone = detached::start(&argv, dir, &config.state_dir.join(table::WATCHDOG_LOG))
        .map_err(|error| error.doing("starting the watchdog"))?;
    match wait_for_lock(config, &mut || alone.ended()) {
        Ok(()) => Ok(Seat::Alone),
        Err(error) => Err(error.hint(format!("its words are in `{}`", table::WATCHDOG_LOG))),
    }
}

/// The command line of a watchdog.
fn argv(home: &Home) -> Result<Vec<String>> {
    let binary = Binary::running()?;
    let mut argv = vec![binary.path.to_string_lossy().into_owned(), "--config".into()];
    argv.push(home.config_path.to_string_lossy().into_owned());
    if let Some(state) = &home.state_override {
        argv.extend(["--state".to_owned(), state.to_string_lossy().into_owned()]);
    }
    argv.push("run".into());
    Ok(argv)
}

fn start_in_session(
    config: &Config,
    mut watchdog: run::RealWatchdog,
    argv: Vec<String>,
    dir: &Path,
) -> Result<Seat> {
    let session = session(config);
    let unit = UnitName::new(UNIT).map_err(Error::usage)?;
    let launch = Launch {
        unit,
        session: session.clone(),
        dir: dir.to_string_lossy().into_owned(),
        argv,
        env: BTreeMap::new(),
        env_remove: Vec::new(),
        prompt: None,
        phase: None,
    };
    let ours = |row: &&crate::sys::PaneRow| row.stamp == watchdog.stamp && row.session == session;
    let list = watchdog.host.panes();
    let action = match list.rows.iter().find(ours) {
        Some(row) if row.dead => Some(Action::Respawn { pane: row.pane.clone(), launch }),
        Some(_) => None, // It is starting up.
        None => Some(Action::NewSession { launch }),
    };
    if let Some(Outcome::Failed { why }) = action.map(|action| watchdog.host.perform(&action)) {
        return Err(Error::again(why).doing("starting the watchdog in tmux"));
    }
    match wait_for_lock(config, &mut || None) {
        Ok(()) => Ok(Seat::Session(session)),
        Err(error) => Err(error.hint(format!("its words are in the tmux session `{session}`"))),
    }
}

/// Waits until a watchdog holds the lock, at most so long as the one that was started does not end.
fn wait_for_lock(config: &Config, ended: &mut dyn FnMut() -> Option<String>) -> Result<()> {
    let deadline = clock::awake().plus_s(PATIENCE_S);
    while clock::awake() < deadline {
        if lock::held(&config.state_dir).is_some_and(|held| held.command == "run") {
            return Ok(());
        }
        if let Some(words) = ended() {
            return Err(Error::again(format!("the watchdog ended at once: {words}")));
        }
        outside::nap(0.05);
    }
    Err(Error::again(format!("the watchdog did not take the lock within {PATIENCE_S:.0} s")))
}

/// Ends the watchdog that holds the lock: TERM, patience, KILL. False when none lived.
pub fn stop(config: &Config) -> Result<bool> {
    let Some(held) = lock::held(&config.state_dir) else { return Ok(false) };
    let stat = proc::stat(held.pid);
    let Some(start) = stat.filter(|stat| stat.comm.starts_with("watchkeeper")).map(|stat| stat.start) else {
        return Err(Error::again(format!(
            "pid {} holds the lock but is no watchkeeper: not touched",
            held.pid
        )));
    };
    let process = crate::model::seen::Process { pid: held.pid, start };
    for signal in [crate::model::action::Signal::Term, crate::model::action::Signal::Kill] {
        let mut host = crate::sys::real_host::RealHost::new(&config.tmux_socket, &config.state_dir);
        let _ = host.perform(&Action::Signal { processes: vec![process], signal });
        let deadline = clock::awake().plus_s(PATIENCE_S);
        while clock::awake() < deadline {
            if lock::held(&config.state_dir).is_none_or(|now| now.pid != held.pid) {
                return Ok(true);
            }
            outside::nap(0.05);
        }
    }
    Err(Error::again(format!("the watchdog (pid {}) survives KILL", held.pid)))
}

/// Closes the watchdog's session after it has left.
pub fn close_session(config: &Config) {
    let mut host = crate::sys::real_host::RealHost::new(&config.tmux_socket, &config.state_dir);
    let session = session(config);
    let row = host.panes().rows.into_iter().find(|row| row.session == session);
    if let Some(row) = row {
        let _ = host.perform(&Action::KillSession { session, pane: row.pane });
    }
}

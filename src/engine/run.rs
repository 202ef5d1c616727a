//! The loop: tick, sleep to the next due time, wake on a signal or a poke, read the config again, become the new binary.

use super::home::{self, Home, LoadedConfig};
use super::tick::{Identity, TickReport, Watchdog, remove_any};
use crate::base::error::{Error, Result};
use crate::config::Config;
use crate::model::seen::{Scope, ServerSeen};
use crate::state::{State, table};
use crate::sys::exe::{self, Binary};
use crate::sys::files::RealFiles;
use crate::sys::hosts::records::EXIT;
use crate::sys::lock::{self, Lock, TryLock};
use crate::sys::notify::Watches;
use crate::sys::real_host::RealHost;
use crate::sys::run::Program;
use crate::sys::signals::{Sig, Signals};
use crate::sys::{Files, clock, outside};
use std::time::Duration;

/// The loop looks for a hand-made `poke` this often, seconds.
const POKE_LOOK_S: f64 = 1.0;
/// Follow-up ticks of one `tick`: those due within this time, seconds (SPEC 3) …
const FOLLOW_UP_S: f64 = 3.0;
/// … and at most that many.
const FOLLOW_UPS_MAX: usize = 20;
/// Longest stay of `tick --wait`, seconds.
const QUIET_S: f64 = 120.0;

/// A watchdog that starts waits this long for a command that acts, seconds: more than its longest tick …
const PASSING_S: f64 = 20.0;
/// … and looks this often. Commands let the lock go for 20 ms and more between their ticks.
const PASSING_LOOK_S: f64 = 0.005;

/// Pause between two reads of logs that are written to all the time, seconds.
const LOG_PAUSE_S: f64 = 0.02;

/// A watchdog on the real world.
pub type RealWatchdog = Watchdog<RealHost, RealFiles>;

/// Opens the state directory and the tmux server; takes no lock. An error when tmux is needed, and missing or too old.
pub fn open(config: &Config, command: &str) -> Result<RealWatchdog> {
    let watchdog = open_unasked(config, command)?;
    if config.needs_tmux {
        watchdog.host.tmux().version()?;
    }
    Ok(watchdog)
}

/// The same, but tmux is not asked: its first list tells as much.
fn open_unasked(config: &Config, command: &str) -> Result<RealWatchdog> {
    let files = RealFiles::create(&config.state_dir)?;
    let host = RealHost::new(&config.tmux_socket, &config.state_dir);
    let identity = Identity {
        pid: outside::pid(),
        command: command.to_owned(),
        started: clock::wall(),
        binary: Binary::running().map(|binary| binary.identity()).unwrap_or_default(),
    };
    Ok(Watchdog::new(host, files, config.state_dir.to_string_lossy().into_owned(), identity))
}

/// The lock, or who holds it as an error (exit code 75). A watchdog waits for a command that acts just now because no
/// watchdog did: what was to keep the fleet must not give up for a person's `nudge`.
pub fn lock(config: &Config, command: &str) -> Result<Lock> {
    if let Some(lock) = lock::adopt(&config.state_dir, command) {
        return Ok(lock);
    }
    let deadline = clock::awake().plus_s(PASSING_S);
    loop {
        let held = match lock::try_lock(&config.state_dir, command)? {
            TryLock::Got(lock) => return Ok(lock),
            TryLock::Held(held) => held,
        };
        // An unsigned one took the lock a moment ago, or lets it go.
        let passing = command == "run" && held.command != "run";
        if !passing || clock::awake() >= deadline {
            return Err(held.error().hint(
                "`watchkeeper status` shows what it does; commands reach it through the inbox, no second one is needed",
            ));
        }
        outside::nap(PASSING_LOOK_S);
    }
}

/// Ticks until TERM or INT. `told` is called after each tick.
pub fn run(
    home: &Home,
    args: &[std::ffi::OsString],
    told: &mut dyn FnMut(&Config, &TickReport),
) -> Result<()> {
    let mut loaded = home.load()?;
    let mut watchdog = open(&loaded.config, "run")?;
    // Before the lock: its text tells others that they may wake us.
    let mut signals = Signals::register()?;
    let mut lock = self::lock(&loaded.config, "run")?;
    let _ = watchdog.files.clean_leftovers();
    let binary = Binary::running().ok();
    let mut refused: Option<Binary> = None;
    let mut judged = loaded.stamp.clone();
    // Without them logs are read at each tick only.
    let mut watches = Watches::new();
    loop {
        if !lock.stands() {
            // Somebody deleted the state directory: the new one is another's if another locked it first.
            RealFiles::create(&loaded.config.state_dir)?;
            lock = self::lock(&loaded.config, "run")?;
        }
        let _ = remove_any(&mut watchdog.files, table::POKE);
        let report = watchdog.tick(&loaded.config, Scope::All);
        told(&loaded.config, &report);
        if let Some(watches) = &mut watches {
            watches.set(watchdog.follower().folders());
        }
        match sleep(&mut watchdog, &mut signals, watches.as_mut(), report.due_s) {
            Woken::Leave => return Ok(()),
            Woken::Reload => judged.clear(),
            Woken::Due => {}
        }
        let stamp = home::stamp(&loaded.files);
        if stamp != judged {
            judged = stamp;
            reload(home, &mut loaded, &mut watchdog);
            if watchdog.has_trouble("config") {
                // What mends it may lie in a file that the last good config did not name: look again at every tick.
                judged.clear();
            }
        }
        if let Some(new) = binary.as_ref().and_then(Binary::replacement)
            && refused.as_ref() != Some(&new)
        {
            // Only comes back when the exec itself did not work, or the new binary refused the config.
            let why = become_new(home, &new, args, &lock);
            watchdog.trouble(
                "binary",
                Some(format!("a new binary lies at `{}`, the old one goes on: {why}", new.path.display())),
            );
            refused = Some(new);
        }
    }
}

enum Woken {
    Due,
    Reload,
    Leave,
}

/// Sleeps to the due time. TERM and INT leave; HUP, USR1, a poke, the end of a process and a finding in a log wake.
fn sleep(
    watchdog: &mut RealWatchdog,
    signals: &mut Signals,
    mut watches: Option<&mut Watches>,
    due_s: f64,
) -> Woken {
    let until = clock::awake().plus_s(due_s);
    let mut poke_at = clock::awake().plus_s(POKE_LOOK_S);
    loop {
        let now = clock::awake();
        let left = until.since_s(now);
        let judge = watchdog.follower().due_s(now).unwrap_or(left);
        let nap = Duration::from_secs_f64(left.min(poke_at.since_s(now)).min(judge).max(0.0));
        let came = match &watches {
            Some(watches) => signals.wait_beside(watches, nap),
            None => signals.wait(nap),
        };
        if let Some(signal) = came.into_iter().next() {
            match signal {
                Sig::Term | Sig::Int => return Woken::Leave,
                Sig::Hup => return Woken::Reload,
                Sig::Usr1 => return Woken::Due,
            }
        }
        if logs_wake(watchdog, watches.as_deref_mut()) {
            return Woken::Due;
        }
        let now = clock::awake();
        if now >= until || now >= poke_at && watchdog.files.stamp(table::POKE).is_some() {
            return Woken::Due;
        }
        if now >= poke_at {
            poke_at = now.plus_s(POKE_LOOK_S);
        }
    }
}

/// Did a log say something that a tick must hear, or did a process end? A chatty log is read often, and wakes nobody.
fn logs_wake(watchdog: &mut RealWatchdog, watches: Option<&mut Watches>) -> bool {
    let changed = watches.map(Watches::changed).unwrap_or_default();
    if changed.iter().any(|(_, name)| name == EXIT) {
        return true;
    }
    let now = clock::awake();
    let silent = watchdog.follower().due_s(now).is_some_and(|due| due <= 0.0);
    if changed.is_empty() && !silent {
        return false;
    }
    if watchdog.follower().wake(now) {
        return true;
    }
    // However fast it is written to.
    outside::nap(LOG_PAUSE_S);
    false
}

/// Reads the config again when it changed. An invalid one is told once; the last good one stays in force.
fn reload(home: &Home, loaded: &mut LoadedConfig, watchdog: &mut RealWatchdog) {
    match home.load() {
        Ok(new)
            if new.config.state_dir != loaded.config.state_dir
                || new.config.tmux_socket != loaded.config.tmux_socket =>
        {
            let text = "the config names another state_dir or tmux_socket: that takes a restart of the watchdog, the old ones stay in force";
            watchdog.trouble("config", Some(text.to_owned()));
        }
        Ok(new) => {
            watchdog.trouble("config", None);
            *loaded = new;
        }
        Err(error) => {
            let text =
                format!("the config became invalid, the last good one stays in force: {}", error.message());
            watchdog.trouble("config", Some(text));
        }
    }
}

/// Becomes the new binary if it accepts the config. Returns why not.
fn become_new(home: &Home, new: &Binary, args: &[std::ffi::OsString], lock: &Lock) -> String {
    let mut check = Program::new(&new.path).args(["--config".as_ref(), home.config_path.as_os_str()]);
    if let Some(state) = &home.state_override {
        check = check.args(["--state".as_ref(), state.as_os_str()]);
    }
    match check.args(["check"]).deadline(Duration::from_secs(10)).run() {
        Ok(ran) if ran.ok() => exe::exec(&new.path, args, lock).message(),
        Ok(ran) => format!("its `check` of the config says: {}", ran.why()),
        Err(error) => error.message(),
    }
}

/// How long a `tick` stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// For cron: what is due within 3 s.
    FollowUps,
    /// Until no delivery, end or second look is under way, at most two minutes.
    UntilQuiet,
}

/// One tick, and the follow-up ticks that are due soon, so that a tick from cron finishes what it begins.
pub fn tick(
    home: &Home,
    patience: Patience,
    told: &mut dyn FnMut(&LoadedConfig, &TickReport) -> Result<()>,
) -> Result<()> {
    let loaded = home.load()?;
    let mut watchdog = open_unasked(&loaded.config, "tick")?;
    let _lock = lock(&loaded.config, "tick")?;
    let _ = watchdog.files.clean_leftovers();
    let _ = remove_any(&mut watchdog.files, table::POKE);
    let (seconds, ticks) = match patience {
        Patience::FollowUps => (FOLLOW_UP_S, FOLLOW_UPS_MAX),
        Patience::UntilQuiet => (QUIET_S, usize::MAX),
    };
    let deadline = clock::awake().plus_s(seconds);
    for done in 0.. {
        let report = watchdog.tick(&loaded.config, Scope::All);
        if matches!(report.seen.server, ServerSeen::Unknown { .. }) {
            // Perhaps because tmux is missing or too old: then say that.
            watchdog.host.tmux().version()?;
        }
        told(&loaded, &report)?;
        let nap_s = match patience {
            Patience::UntilQuiet if under_way(&report.decision.next) => report.due_s.min(1.0),
            Patience::UntilQuiet | Patience::FollowUps => report.due_s,
        };
        if done >= ticks || nap_s > deadline.since_s(clock::awake()) || is_quiet(patience, &report) {
            return written_down(&report);
        }
        outside::nap(nap_s);
    }
    Ok(())
}

/// The last tick's record was kept; else who called it must hear that nothing was done without one.
fn written_down(report: &TickReport) -> Result<()> {
    match report.unwritten.first() {
        None => Ok(()),
        Some(why) => Err(Error::again(why.clone()).hint(
            "mend or empty the disk; what could not be recorded was not done, the next tick tries again",
        )),
    }
}

fn is_quiet(patience: Patience, report: &TickReport) -> bool {
    patience == Patience::UntilQuiet
        && !under_way(&report.decision.next)
        && report.decision.granted.is_empty()
}

/// Is any step of steps still to be taken?
fn under_way(state: &State) -> bool {
    state
        .units
        .values()
        .any(|unit| unit.delivery.current.is_some() || unit.ending.is_some() || unit.seen.candidate.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Source};
    use std::path::Path;

    fn config(dir: &Path) -> Config {
        let text = "[[service]]\nname = \"a\"\ncommand = [\"true\"]\n";
        let parsed = config::parse(&Source {
            path: &dir.join("agents.toml"),
            text,
            home: dir,
            env: &|_| None,
            read: &|_| Ok(String::new()),
            state_override: Some(dir),
        });
        parsed.config.unwrap()
    }

    #[test]
    fn a_watchdog_waits_for_a_command_but_not_for_another_watchdog() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let held = |command| match lock::try_lock(dir.path(), command).unwrap() {
            TryLock::Got(lock) => lock,
            TryLock::Held(held) => panic!("{held:?}"),
        };
        let asking = held("ask");
        assert!(super::lock(&config, "tick").is_err());
        let waiting = std::thread::spawn(move || super::lock(&config, "run").map(drop));
        // Whether it waits already does not matter: it must get the lock either way.
        drop(asking);
        waiting.join().unwrap().unwrap();
        let _running = held("run");
        assert!(super::lock(&self::config(dir.path()), "run").is_err());
    }
}

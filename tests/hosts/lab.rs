//! The lab of real daemons (`tests/lab/up.sh`), and runs on it. Where it is not up, the tests that need it say so.

use crate::place::{Place, UNIT};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use watchkeeper::model::process::{HostPlace, ProcessLaunch, RunId, RunQuery, RunSeen};
use watchkeeper::model::seen::Exit;
use watchkeeper::sys::hosts::remote::Remotes;

/// Daemons of a busy machine take their time.
const PATIENCE: Duration = Duration::from_secs(90);
/// Set in the process that has the lab's environment.
const INSIDE: &str = "HOSTS_TEST_LAB";

fn folder() -> PathBuf {
    std::env::var_os("WATCHKEEPER_LAB")
        .map_or_else(|| std::env::temp_dir().join("watchkeeper-lab"), PathBuf::from)
}

/// What the lab says of itself.
pub fn value(key: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder().join("env")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
}

/// True in a process that has `key` from the lab in its environment; else runs the test of that name in such a one.
pub fn inside(test: &str, key: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let Some(value) = value(key) else {
        println!("{test}: not tested, the lab has no {key} (tests/lab/up.sh brings it up)");
        return false;
    };
    assert_runs(test, &[(key, &value)]);
    false
}

/// Runs the test of that name with these variables more.
pub fn assert_runs(test: &str, env: &[(&str, &str)]) {
    let own = std::env::current_exe().unwrap();
    let ran = Command::new(own)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// A unit on a remote host.
pub struct Remote {
    pub place: Place,
    pub remotes: Remotes,
    pub host: HostPlace,
    /// The newest handle.
    pub known: RunId,
}

impl Remote {
    pub fn new(host: HostPlace) -> Remote {
        Remote { place: Place::new(), remotes: fresh(), host, known: RunId::default() }
    }

    /// As after a restart of the watchdog.
    pub fn forget(&mut self) {
        self.remotes = fresh();
    }

    /// Everything that was written down of it, too.
    pub fn lose_everything(&mut self) {
        // A question that is under way would write its answer into what is gone.
        self.forget();
        for folder in ["jobs", "units"] {
            std::fs::remove_dir_all(self.place.state().join(folder)).unwrap();
        }
        self.known = RunId::default();
    }

    pub fn run(&mut self, launch: &ProcessLaunch) {
        self.known = RunId { number: launch.number, handle: String::new() };
        // The order before may not have come back yet.
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.remotes.run(&self.place.state(), launch) {
            assert!(error.message().contains("still under way") && Instant::now() < deadline, "{error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn cancel(&mut self) {
        self.remotes.cancel(&self.place.state(), UNIT, &self.known, &self.host).unwrap();
    }

    /// One look; handles are remembered as a policy does.
    pub fn look(&mut self) -> RunSeen {
        let query = RunQuery {
            unit: watchkeeper::base::names::UnitName::new(UNIT).unwrap(),
            place: self.host.clone(),
            known: self.known.clone(),
        };
        let seen = self.remotes.look(&self.place.state(), &[&query]).remove(0);
        match &seen {
            RunSeen::Alive { id, .. } | RunSeen::Ended { id, .. } | RunSeen::Pending { id, .. } => {
                assert!(id.number == self.known.number || self.known.number == 0);
                self.known = id.clone();
            }
            RunSeen::Unknown { .. } | RunSeen::Absent => {}
        }
        seen
    }

    #[track_caller]
    pub fn until(&mut self, what: &str, wanted: impl Fn(&RunSeen) -> bool) -> RunSeen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.look();
            if wanted(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "never came: {what}; last seen: {seen:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    #[track_caller]
    pub fn alive(&mut self) {
        self.until("it runs", |seen| matches!(seen, RunSeen::Alive { suspended: false, .. }));
    }

    #[track_caller]
    pub fn suspended(&mut self) {
        self.until("it is suspended", |seen| matches!(seen, RunSeen::Alive { suspended: true, .. }));
    }

    /// Its exit and note.
    #[track_caller]
    pub fn ended(&mut self) -> (Option<Exit>, String) {
        match self.until("it ended", |seen| matches!(seen, RunSeen::Ended { .. })) {
            RunSeen::Ended { exit, note, .. } => (exit, note.unwrap_or_default()),
            seen => panic!("{seen:?}"),
        }
    }
}

fn fresh() -> Remotes {
    Remotes::with(Path::new(env!("CARGO_BIN_EXE_watchkeeper")), 0.3)
}

/// Runs a program to its end; what it printed.
#[track_caller]
pub fn call(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

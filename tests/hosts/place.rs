//! A state directory with processes in it. Dropping it ends what was started from it.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use watchkeeper::base::names::UnitName;
use watchkeeper::model::process::{HostLaunch, ProcessLaunch, RunId, RunSeen};
use watchkeeper::model::seen::{Exit, Process};
use watchkeeper::sys::hosts::{local, records};
use watchkeeper::sys::{clock, proc};

/// No condition needs nearly so long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The unit.
pub const UNIT: &str = "train";

pub struct Place {
    dir: tempfile::TempDir,
    shims: Vec<Child>,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("wk-hosts-").tempdir().unwrap();
        Place { dir, shims: Vec::new() }
    }

    /// The folder that programs run in.
    pub fn work(&self) -> &Path {
        self.dir.path()
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A file in the unit's folder.
    pub fn unit(&self, file: &str) -> PathBuf {
        records::unit_dir(&self.state(), UNIT).join(file)
    }

    pub fn text(&self, file: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.unit(file)).unwrap_or_default()).into_owned()
    }

    pub fn launch(&self, number: u64, argv: &[&str]) -> ProcessLaunch {
        ProcessLaunch {
            unit: UnitName::new(UNIT).unwrap(),
            number,
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            dir: self.work().to_str().unwrap().to_owned(),
            env: BTreeMap::new(),
            host: HostLaunch::Local,
            log_max: 1 << 20,
        }
    }

    pub fn sh(&self, number: u64, script: &str) -> ProcessLaunch {
        self.launch(number, &["sh", "-c", script])
    }

    /// Starts it with this process as the watchdog.
    pub fn start(&mut self, launch: &ProcessLaunch) -> Result<(), String> {
        let started = local::start_with(Path::new(env!("CARGO_BIN_EXE_watchkeeper")), &self.state(), launch);
        self.shims.extend(started.map_err(|error| error.message())?);
        Ok(())
    }

    /// How its run stands; `number` runs are known of.
    pub fn look(&mut self, number: u64) -> RunSeen {
        self.shims.retain_mut(|shim| matches!(shim.try_wait(), Ok(None)));
        let known = RunId { number, handle: String::new() };
        local::observe(&self.state(), UNIT, &known, &boot())
    }

    /// Looks until `wanted` says so.
    #[track_caller]
    pub fn until(&mut self, number: u64, what: &str, wanted: impl Fn(&RunSeen) -> bool) -> RunSeen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.look(number);
            if wanted(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "never came: {what}; last seen: {seen:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The living child of a run.
    #[track_caller]
    pub fn alive(&mut self, number: u64) -> Process {
        let seen = self.until(number, "it runs", |seen| matches!(seen, RunSeen::Alive { .. }));
        let RunSeen::Alive { id, process: Some(process), .. } = seen else { panic!("{seen:?}") };
        assert_eq!(id.number, number);
        // It is written down before it leads its session, which is before it is the program.
        until("it leads its session", || proc::stat(process.pid).is_none_or(|stat| stat.session == stat.pid));
        process
    }

    /// Its end: exit and note.
    #[track_caller]
    pub fn ended(&mut self, number: u64) -> (Option<Exit>, Option<String>) {
        let seen = self.until(number, "it ended", |seen| matches!(seen, RunSeen::Ended { .. }));
        let RunSeen::Ended { id, exit, note, .. } = seen else { panic!("{seen:?}") };
        assert_eq!(id.number, number);
        (exit, note)
    }

    /// Every living process that carries the unit's mark and leads a session: the main processes of runs.
    pub fn mains(&self) -> Vec<i32> {
        let mark = format!("{}/{UNIT}/", records::owner(&self.state()));
        let all = records::marked(&proc::all(), &mark);
        all.iter().filter(|stat| stat.session == stat.pid).map(|stat| stat.pid).collect()
    }

    /// This is the only main process. (One that becomes another program shows no environment for an instant.)
    #[track_caller]
    pub fn only(&self, pid: i32) {
        let mut mains = Vec::new();
        until("it is there, and alone", || {
            mains = self.mains();
            !mains.is_empty()
        });
        assert_eq!(mains, [pid]);
    }

    /// The pid of the shim that holds the unit: the parent of the child.
    pub fn shim(&self, child: Process) -> i32 {
        let parent = proc::stat(child.pid).unwrap().parent;
        assert_ne!(parent, 1);
        parent
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mark = format!("{}/", records::owner(&self.state()));
        for stat in records::marked(&proc::all(), &mark) {
            kill(stat.pid);
        }
        for shim in &mut self.shims {
            let _ = shim.kill();
            let _ = shim.wait();
        }
    }
}

pub fn boot() -> String {
    clock::Clock::new().now().boot
}

pub fn kill(pid: i32) {
    let _ = Pid::from_raw(pid).filter(|_| pid > 1).map(|pid| kill_process(pid, Signal::KILL));
}

/// Waits until a condition holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills it and waits until it is dead.
#[track_caller]
pub fn kill_and_wait(pid: i32) {
    kill(pid);
    until("it is dead", || proc::stat(pid).is_none_or(|stat| stat.is_dead()));
}

//! The machine that the simulated processes run on: time, the processes themselves, their logs (real files), the jobs beside
//! the tick. What truly happened stands here, for the books.
//!
//! All instants are milliseconds of `Machine::t`, the time that the machine was awake, counted through all reboots.

use super::jobs::SimJob;
use super::remote::{Queued, Scheduler};
use super::script;
use crate::rng::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use watchkeeper::base::time::Wall;
use watchkeeper::model::seen::{Exit, Process};

/// Lines of the story that are kept.
const STORY_MAX: usize = 4000;
/// 2026-01-01T00:00:00Z
const BEGAN: i64 = 1_767_225_600_000;
/// Between the order of a start and the process.
pub const FORK_MS: i64 = 40;

/// What sort of process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Works on, for ever.
    Steady,
    /// Fails now and then, and mostly says so.
    Flaky,
    /// Fails in the same way each time, until a person mends it.
    Poisoned,
    /// Needs the more memory the larger its batch is, and dies of it.
    Leaky,
    /// The same, and says how much it uses.
    Swollen,
    /// Reports steps; stops doing so now and then.
    Trainer,
    /// Is silent for long while it computes; is sometimes silent for nothing.
    Quiet,
    /// Dies at once, until a person mends it.
    Storm,
    /// A stage of a pipeline: ends well, mostly.
    Stage,
    /// Takes longer than it may, now and then.
    Long,
    /// Has a bug that an agent may mend.
    Ill,
    /// Ends well, and is to run again.
    Endless,
}

/// How a process behaves that does not just work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Works,
    /// No output, no CPU.
    Silent,
    /// No output, and busy.
    Computes,
    /// Output, no progress, no CPU.
    Chatters,
    /// Output, no progress, and busy.
    Churns,
}

/// A living process.
#[derive(Clone, Debug)]
pub struct Body {
    pub number: u64,
    pub process: Process,
    pub handle: String,
    /// It exists since; before that its start is under way.
    pub born: i64,
    pub since: Wall,
    pub env: BTreeMap<String, String>,
    pub next: i64,
    pub mood: Mood,
    pub mood_until: i64,
    pub step: u64,
    pub memory: i64,
    pub ends_at: i64,
    pub wrote_at: i64,
    pub advanced_at: i64,
    pub cpu_ms: u64,
    pub cpu_to: i64,
    /// CPU was last used.
    pub cpu_at: i64,
    pub stubborn: bool,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct End {
    pub number: u64,
    pub handle: String,
    pub exit: Option<Exit>,
    pub born: i64,
    pub at: i64,
    /// What the host can say of the time.
    pub wall: Option<Wall>,
    pub note: Option<String>,
    /// The watchdog signalled it, or ordered its end.
    pub ordered: bool,
    /// Nobody knows how it ended: a reboot, or a shim that was killed.
    pub unseen: bool,
    /// The look before it.
    pub look: u64,
}

impl End {
    pub fn is_well(&self) -> bool {
        self.exit == Some(Exit::Status(0))
    }
}

/// A line that a detector must find.
#[derive(Clone, Debug)]
pub struct Said {
    pub t: i64,
    pub number: u64,
    pub detector: &'static str,
    /// The look before it.
    pub look: u64,
}

/// One process unit as it truly is.
#[derive(Debug)]
pub struct Unit {
    pub script: Script,
    /// The last order that its host knows of.
    pub ordered: u64,
    /// … did not become a process: the shim was killed before it.
    pub unborn: bool,
    pub body: Option<Body>,
    /// It runs where a scheduler puts it …
    pub remote: bool,
    /// … and waits for its turn.
    pub queued: Option<Queued>,
    /// Lives of jobs that were requeued: run, first and last instant.
    pub lives: Vec<(u64, i64, i64)>,
    pub ends: Vec<End>,
    pub said: Vec<Said>,
    /// The bug is there.
    pub bug: bool,
    /// What a healer edited, and what is to be taken back if it does not hold.
    pub edited: bool,
    /// Its unit.json was destroyed so often.
    pub epoch: u32,
    /// Actions that were paid for.
    pub acts: u64,
    /// The environment of the last start.
    pub env: BTreeMap<String, String>,
    log: Option<File>,
}

impl Unit {
    pub fn new(script: Script, remote: bool) -> Unit {
        Unit {
            script,
            remote,
            queued: None,
            lives: Vec::new(),
            ordered: 0,
            unborn: false,
            body: None,
            ends: Vec::new(),
            said: Vec::new(),
            bug: matches!(script, Script::Poisoned | Script::Storm | Script::Ill),
            edited: false,
            epoch: 0,
            acts: 0,
            env: BTreeMap::new(),
            log: None,
        }
    }

    pub fn last_end(&self) -> Option<&End> {
        self.ends.last()
    }
}

/// An effect in this tick.
#[derive(Clone, Debug)]
pub struct Effect {
    pub unit: String,
    pub what: &'static str,
    /// Of a start.
    pub number: u64,
    pub happened: bool,
}

/// Where calls fail, per mille.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub act_fails: u64,
    pub act_lies: u64,
    /// One unit's host can't say.
    pub unknowns: u64,
}

/// How the processes behave, per mille of their steps.
#[derive(Clone, Debug)]
pub struct Temper {
    pub fails: u64,
    pub stalls: u64,
    pub stage_fails: u64,
    pub overruns: u64,
    pub stubborn: u64,
    pub unseen_ends: u64,
    pub stillborn: u64,
    /// Of jobs of a scheduler.
    pub requeues: u64,
    /// Of a healer's answers: the bug is mended, …
    pub mends: u64,
    /// … what it says can't be read, it does not end in time, it gives up.
    pub babbles: u64,
}

impl Temper {
    /// Nothing fails that does not fail always.
    pub fn calm() -> Temper {
        Temper {
            fails: 0,
            stalls: 0,
            stage_fails: 0,
            overruns: 0,
            stubborn: 0,
            unseen_ends: 0,
            stillborn: 0,
            requeues: 0,
            mends: 1000,
            babbles: 0,
        }
    }
}

#[derive(Debug)]
pub struct Machine {
    pub t: i64,
    pub wall: i64,
    /// The wall clock is wrong by.
    pub offset: i64,
    pub boot: u32,
    boot_t: i64,
    pub rng: Rng,
    pub dir: tempfile::TempDir,
    pub units: BTreeMap<String, Unit>,
    pub jobs: BTreeMap<String, SimJob>,
    /// Hosts can't be asked until.
    pub silent_until: i64,
    pub scheduler: Scheduler,
    pub temper: Temper,
    pub faults: Faults,
    pub termed: BTreeMap<(i32, u64), i64>,
    pub effects: Vec<Effect>,
    pub violations: Vec<(&'static str, String)>,
    pub story: VecDeque<String>,
    pub tick: u64,
    /// Looks that were carried through and written down.
    pub looks: u64,
    next_pid: i32,
}

impl Machine {
    pub fn new(rng: Rng, units: BTreeMap<String, Unit>) -> Machine {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let machine = Machine {
            t: 100_000,
            wall: BEGAN,
            offset: 0,
            boot: 1,
            boot_t: 0,
            rng,
            dir,
            units,
            jobs: BTreeMap::new(),
            silent_until: 0,
            scheduler: Scheduler::default(),
            temper: Temper::calm(),
            faults: Faults::default(),
            termed: BTreeMap::new(),
            effects: Vec::new(),
            violations: Vec::new(),
            story: VecDeque::new(),
            tick: 0,
            looks: 0,
            next_pid: 1000,
        };
        for name in machine.units.keys() {
            let made = std::fs::create_dir_all(machine.folder(name));
            made.unwrap_or_else(|error| panic!("{error}"));
        }
        machine
    }

    pub fn folder(&self, unit: &str) -> PathBuf {
        self.dir.path().join("units").join(unit)
    }

    pub fn log(&self, unit: &str) -> PathBuf {
        self.folder(unit).join("out.log")
    }

    /// What the wall clock says.
    pub fn local(&self) -> Wall {
        Wall(self.wall + self.offset)
    }

    /// Awake since this boot.
    pub fn awake(&self) -> i64 {
        self.t - self.boot_t
    }

    pub fn tell(&mut self, text: impl Into<String>) {
        let line = format!("tick {:4} {:9.1} s  {}", self.tick, self.t as f64 / 1000.0, text.into());
        self.story.push_back(line);
        if self.story.len() > STORY_MAX {
            self.story.pop_front();
        }
    }

    pub fn violate(&mut self, invariant: &'static str, detail: String) {
        self.tell(format!("VIOLATED {invariant}: {detail}"));
        self.violations.push((invariant, detail));
    }

    pub fn living(&self, unit: &str) -> Option<&Body> {
        self.units.get(unit)?.body.as_ref()
    }

    pub fn by_pid(&self, pid: i32) -> Option<(&String, &Body)> {
        let bodies = self.units.iter().filter_map(|(name, unit)| Some((name, unit.body.as_ref()?)));
        bodies.into_iter().find(|(_, body)| body.process.pid == pid)
    }

    /// Lets `ms` of awake time pass.
    pub fn run(&mut self, ms: i64) {
        let end = self.t + ms;
        loop {
            let next = |unit: &Unit| {
                let queued = unit.queued.as_ref().map(|queued| queued.starts);
                unit.body.as_ref().map(|body| body.next).or(queued)
            };
            let due = self.units.iter().filter_map(|(name, unit)| Some((next(unit)?, name)));
            let Some((at, name)) = due.min().map(|(at, name)| (at, name.clone())).filter(|due| due.0 <= end)
            else {
                break;
            };
            self.pass_to(at.max(self.t));
            match self.living(&name) {
                Some(_) => script::step(self, &name),
                None => self.start_queued(&name),
            }
        }
        self.pass_to(end);
        self.end_jobs();
    }

    fn pass_to(&mut self, t: i64) {
        self.wall += t - self.t;
        self.t = t;
    }

    /// A process is started on the order of the watchdog, or the start does not happen.
    pub fn launch(&mut self, name: &str, number: u64, env: &BTreeMap<String, String>) {
        if self.units.get(name).is_some_and(|unit| unit.remote) {
            return self.submit(name, number, env);
        }
        self.next_pid += 7;
        let process = Process { pid: self.next_pid, start: (self.awake() / 10) as u64 + 5 };
        let (t, since) = (self.t, self.local());
        let handle = format!("{}.{}.boot-{}", process.pid, process.start, self.boot);
        let stubborn = self.rng.chance(self.temper.stubborn);
        let stillborn = self.rng.chance(self.temper.stillborn);
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.ordered = number;
        unit.env.clone_from(env);
        let body = Body {
            number,
            process,
            handle,
            born: t + FORK_MS,
            since,
            env: env.clone(),
            next: t + FORK_MS,
            mood: Mood::Works,
            mood_until: 0,
            step: 0,
            memory: 0,
            ends_at: i64::MAX,
            wrote_at: t,
            advanced_at: t,
            cpu_ms: 0,
            cpu_to: t,
            cpu_at: t,
            stubborn,
        };
        unit.unborn = stillborn;
        if stillborn {
            return self.tell(format!("{name}: run {number} is not born"));
        }
        unit.body = Some(body);
        script::begin(self, name);
    }

    /// It ends.
    pub fn end(&mut self, name: &str, exit: Exit, ordered: bool) {
        let (t, wall) = (self.t, self.local());
        // Nobody writes down how what the watchdog itself ended did so, when its shim dies with it.
        let unseen = self.rng.chance(self.temper.unseen_ends);
        let Some(unit) = self.units.get_mut(name) else { return };
        let Some(body) = unit.body.take() else { return };
        let (exit, wall, note) = match unseen {
            false => (Some(exit), Some(wall), None),
            true => (None, None, Some("nobody saw how it ended".to_owned())),
        };
        let (number, handle, born, look) = (body.number, body.handle, body.born, self.looks);
        unit.ends.push(End { number, handle, exit, born, at: t, wall, note, ordered, unseen, look });
        self.tell(format!("{name}: run {number} ends ({exit:?}, ordered: {ordered})"));
    }

    /// A line of its output.
    pub fn write(&mut self, name: &str, line: &str) {
        let (t, path) = (self.t, self.log(name));
        let Some(unit) = self.units.get_mut(name) else { return };
        if let Some(body) = &mut unit.body {
            body.wrote_at = t;
        }
        if unit.log.is_none() {
            unit.log = File::options().append(true).create(true).open(path).ok();
        }
        let wrote = unit.log.as_mut().map(|log| log.write_all(format!("{line}\n").as_bytes()));
        assert!(matches!(wrote, Some(Ok(()))), "a log could not be written");
    }

    /// Output that a detector must find.
    pub fn say(&mut self, name: &str, detector: &'static str, text: &str) {
        self.write(name, text);
        let (t, look) = (self.t, self.looks);
        if let Some(unit) = self.units.get_mut(name) {
            let number = unit.body.as_ref().map_or(0, |body| body.number);
            unit.said.push(Said { t, number, detector, look });
        }
        self.tell(format!("{name}: says {detector}"));
    }

    /// A signal reaches a process. KILL ends it; TERM most.
    pub fn signal(&mut self, process: Process, kill: bool) {
        let Some((name, body)) = self.by_pid(process.pid) else { return };
        if body.process != process || (body.stubborn && !kill) {
            return;
        }
        let name = name.clone();
        self.end(&name, Exit::Signal(if kill { 9 } else { 15 }), true);
    }

    /// Somebody else puts its log aside, or empties it: when nothing in it waits to be read.
    pub fn rotate(&mut self, name: &str) {
        let (looks, path, renames) = (self.looks, self.log(name), self.rng.chance(500));
        let Some(unit) = self.units.get_mut(name) else { return };
        if unit.said.iter().any(|said| said.look >= looks) || !path.exists() {
            return;
        }
        let done = if renames {
            unit.log = None;
            std::fs::rename(&path, path.with_extension("log.1"))
        } else {
            File::options().write(true).open(&path).and_then(|log| log.set_len(0))
        };
        done.unwrap_or_else(|error| panic!("{error}"));
        self.tell(format!("{name}: its log is {}", if renames { "put aside" } else { "emptied" }));
    }

    pub fn suspend(&mut self, ms: i64) {
        self.wall += ms;
    }

    pub fn reboot(&mut self) {
        let (t, look) = (self.t, self.looks);
        for unit in self.units.values_mut().filter(|unit| !unit.remote) {
            let Some(body) = unit.body.take() else { continue };
            let note = Some("the machine was restarted".to_owned());
            let (number, handle) = (body.number, body.handle);
            let end = End {
                number,
                handle,
                exit: None,
                born: body.born,
                at: t,
                wall: None,
                note,
                ordered: false,
                unseen: true,
                look,
            };
            unit.ends.push(end);
        }
        self.kill_jobs();
        self.boot += 1;
        self.wall += 90_000;
        self.boot_t = self.t - 20_000;
    }
}

//! Cooperative services as they truly are: they beat, stamp the code that they run, honour their own marker; or they don't.
//! And the repository that they run from, strangers that take the pid of who ended, zombies, an agent's checkpoint.
//!
//! They are part of the world: what they write stands on the simulated disk at the instant at which they write it.

use super::cli::Ended;
use super::files::Disk;
use super::rng::Rng;
use super::service::{ASKS, BEAT_MS, Mode, Service, live, path};
use super::world::{Proc, World};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use watchkeeper::model::action::Job;
use watchkeeper::model::seen::{JobSeen, RestartMarker};

/// The repository that all of them run from.
#[derive(Clone, Debug)]
pub struct Repo {
    pub head: String,
    pub moved_at: i64,
    /// Nobody can say what its head is, until then: a rebase.
    pub busy_until: i64,
}

impl Repo {
    /// Somebody pulls.
    pub fn pull(&mut self, t: i64, rng: &mut Rng) {
        self.head = format!("{:016x}{:016x}{:08x}", rng.next(), rng.next(), rng.next() as u32);
        self.moved_at = t;
    }
}

/// What the world does on its own, per mille of its chances.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// A version is stamped long after the start.
    pub slow_stamps: u64,
    /// Who ended stays a zombie for a while.
    pub zombies: u64,
    /// A stranger takes the pid of who ended.
    pub strangers: u64,
    /// A checkpoint is torn.
    pub torn: u64,
    /// A job hangs or fails.
    pub bad_jobs: u64,
}

#[derive(Debug)]
pub struct Coop {
    disk: Rc<RefCell<Disk>>,
    pub services: BTreeMap<String, Service>,
    /// Agents that write checkpoints.
    pub writers: BTreeSet<String>,
    pub repo: Repo,
    pub habits: Habits,
    pub strangers: Vec<Proc>,
    /// Processes that ignore TERM.
    pub deaf: BTreeSet<(i32, u64)>,
    /// When each job that was started ends, and how.
    jobs: BTreeMap<String, (i64, JobSeen)>,
}

impl Coop {
    pub fn new(
        disk: Rc<RefCell<Disk>>,
        rng: &mut Rng,
        services: BTreeMap<String, bool>,
        writers: BTreeSet<String>,
    ) -> Coop {
        let mut repo = Repo { head: String::new(), moved_at: 0, busy_until: 0 };
        repo.pull(0, rng);
        let services =
            services.into_iter().map(|(name, versioned)| (name, Service::new(versioned))).collect();
        Coop {
            disk,
            services,
            writers,
            repo,
            habits: Habits::default(),
            strangers: Vec::new(),
            deaf: BTreeSet::new(),
            jobs: BTreeMap::new(),
        }
    }

    pub fn is_stranger(&self, pid: i32) -> bool {
        self.strangers.iter().any(|stranger| stranger.pid == pid)
    }

    pub fn job(&self, id: &str, t: i64) -> JobSeen {
        match self.jobs.get(id) {
            None => JobSeen::None,
            Some((ends, _)) if t < *ends => JobSeen::Running,
            Some((_, seen)) => seen.clone(),
        }
    }

    /// Starts a job; one that was started is not started again.
    pub fn start(&mut self, job: &Job, t: i64, rng: &mut Rng) {
        let well = JobSeen::well("main\n file.rs | 2 +-\n");
        let (lasts, seen) = match rng.chance(self.habits.bad_jobs).then(|| rng.below(3)) {
            None => (rng.between(100, 3000), well),
            Some(0) => (rng.between(5000, 60_000), well),
            Some(1) => (i64::from(u32::MAX), well),
            Some(_) => (100, JobSeen::failed("git is not there (simulated)")),
        };
        self.jobs.entry(job.id.clone()).or_insert((t + lasts, seen));
    }

    /// The boot takes with it what runs.
    pub fn reboot(&mut self) {
        self.strangers.clear();
        self.deaf.clear();
        self.jobs.clear();
    }
}

/// Is it one of these services?
pub fn is_one(world: &World, unit: &str) -> bool {
    world.coop.as_ref().is_some_and(|coop| coop.services.contains_key(unit))
}

/// Is that process a zombie?
pub fn is_zombie(world: &World, pid: i32) -> bool {
    let Some(coop) = &world.coop else { return false };
    let pane = world.panes.values().find(|pane| pane.root.as_ref().is_some_and(|root| root.pid == pid));
    pane.and_then(|pane| coop.services.get(&pane.unit)).is_some_and(|service| service.zombie.is_some())
}

/// It was started in that pane.
pub fn started(world: &mut World, unit: &str, id: u64) {
    let (t, local) = (world.t, world.local());
    let crashy = world.units.get(unit).is_some_and(|truth| truth.crashy_until > t);
    let (Some(coop), rng) = (&mut world.coop, &mut world.rng) else { return };
    let Some(service) = coop.services.get_mut(unit) else { return };
    let mode = if t < service.fate.1 { service.fate.0 } else { Mode::Well };
    let mode = if crashy { Mode::Crashes } else { mode };
    let slow = if rng.chance(coop.habits.slow_stamps) { 200_000 } else { 2000 };
    let soon = t + rng.between(1000, 20_000);
    let sticks = mode == Mode::Sticky && !service.code.is_empty();
    *service = Service {
        mode,
        born: t,
        born_wall: local,
        last_beat: None,
        code: if sticks { service.code.clone() } else { coop.repo.head.clone() },
        stamps_at: service.versioned.then(|| t + rng.between(200, slow)),
        stamped_at: None,
        by_person: false,
        dies: match mode {
            Mode::Crashes => Some((soon, Ended::Status(1))),
            Mode::Early => Some((t + 100, Ended::Status(3))),
            Mode::Restless => Some((soon, Ended::Status(ASKS))),
            _ => None,
        },
        zombie: None,
        ..service.clone()
    };
    begin(service, rng, t);
    let orphans = mode == Mode::Orphans;
    let deaf = mode == Mode::Deaf;
    become_so(world, id, orphans, deaf);
}

/// A mode begins.
fn begin(service: &mut Service, rng: &mut Rng, t: i64) {
    service.wakes_at = t + rng.between(60, 400) * 1000;
}

/// What its process is from now on; and it looks up soon.
fn become_so(world: &mut World, id: u64, orphans: bool, deaf: bool) {
    let child = orphans.then(|| world.new_proc());
    let (t, next) = (world.t, world.t + world.rng.between(50, 1000));
    let Some(pane) = world.panes.get_mut(&id) else { return };
    pane.cli.stubborn |= deaf;
    pane.cli.next = next.max(t);
    let Some(child) = child else { return };
    if let Some(coop) = &mut world.coop {
        coop.deaf.insert((child.pid, child.start));
    }
    pane.tools.push(child);
}

/// Its present process becomes like this.
pub fn turn(world: &mut World, unit: &str, mode: Mode) {
    let Some(id) = world.living(unit).map(|pane| pane.id) else { return };
    let (t, rng) = (world.t, &mut world.rng);
    let Some(service) = world.coop.as_mut().and_then(|coop| coop.services.get_mut(unit)) else { return };
    if service.mode != Mode::Well || service.zombie.is_some() {
        return;
    }
    service.mode = mode;
    begin(service, rng, t);
    let soon = Some((t + rng.between(1000, 20_000), Ended::Status(1)));
    service.dies = match mode {
        Mode::Crashes | Mode::Early => soon,
        Mode::Restless => soon.map(|(at, _)| (at, Ended::Status(ASKS))),
        _ => None,
    };
    world.tell(format!("{unit}: is {mode:?} from now on"));
    become_so(world, id, mode == Mode::Orphans, mode == Mode::Deaf);
}

/// A person starts it anew in its pane, and the new process may have the pid of the old one.
pub fn replace(world: &mut World, unit: &str) {
    let Some((id, old)) = world.living(unit).and_then(|pane| Some((pane.id, pane.root.clone()?))) else {
        return;
    };
    if is_zombie(world, old.pid) {
        return;
    }
    world.end_root(id, Some(Ended::Signal(1)));
    world.launch(unit, Some(id), false, None);
    let (same, free) = (world.rng.chance(500), world.start_of(old.pid).is_none());
    if let Some(root) = world.panes.get_mut(&id).and_then(|pane| pane.root.as_mut())
        && same
        && free
        && root.start != old.start
    {
        root.pid = old.pid;
    }
    if let Some(service) = world.coop.as_mut().and_then(|coop| coop.services.get_mut(unit)) {
        service.by_person = true;
    }
    world.tell(format!("{unit}: a person starts it anew in its pane"));
}

/// It does what is due now.
pub fn step(world: &mut World, id: u64) {
    let (t, local) = (world.t, world.local());
    let Some(unit) = world.panes.get(&id).map(|pane| pane.unit.clone()) else { return };
    let (Some(coop), rng) = (&mut world.coop, &mut world.rng) else { return };
    let Some(service) = coop.services.get_mut(&unit) else { return };
    let mut due = t + BEAT_MS;
    let mut ended = None;
    let zombies = coop.habits.zombies;
    if let Some((until, how)) = service.zombie {
        due = until;
        ended = (t >= until).then_some(how);
    } else {
        let mut exits = service.dies.filter(|(at, _)| t >= *at).map(|(_, how)| how);
        if exits.is_none() {
            exits = live(service, &unit, &mut coop.disk.borrow_mut(), t, local);
        }
        due = [service.dies.map(|(at, _)| at), service.stamps_at].into_iter().flatten().fold(due, i64::min);
        match exits {
            Some(how) if rng.chance(zombies) => {
                let until = t + rng.between(500, 20_000);
                service.zombie = Some((until, how));
                due = until;
                world.tell(format!("{unit}: ends, and is a zombie ({how:?})"));
            }
            Some(how) => ended = Some(how),
            None => {}
        }
    }
    if let Some(how) = ended {
        world.tell(format!("{unit}: ends by itself ({how:?})"));
        return world.end_root(id, Some(how));
    }
    if let Some(pane) = world.panes.get_mut(&id) {
        pane.cli.next = due.max(t + 1);
    }
}

/// Its process ended: somebody else may have its pid at once.
pub fn ended(world: &mut World, root: &Proc) {
    let start = (world.awake() / 10).max(1) as u64 + world.boot as u64;
    let (Some(coop), rng) = (&mut world.coop, &mut world.rng) else { return };
    if start != root.start && !coop.is_stranger(root.pid) && rng.chance(coop.habits.strangers) {
        coop.strangers.push(Proc { pid: root.pid, start });
        if coop.strangers.len() > 15 {
            coop.strangers.remove(0);
        }
    }
}

/// An agent at work writes down now and then from what to go on.
pub fn checkpoint(world: &mut World, id: u64) {
    let (Some(coop), Some(pane)) = (&world.coop, world.panes.get(&id)) else { return };
    if !coop.writers.contains(&pane.unit) || !pane.cli.is_working() || !world.rng.chance(300) {
        return;
    }
    let text = format!("{{ \"turn\": {}, \"next\": \"the tests\" }}", pane.cli.turns);
    let torn = world.rng.chance(coop.habits.torn);
    let bytes = if torn { &text.as_bytes()[..text.len() / 2] } else { text.as_bytes() };
    coop.disk.borrow_mut().put(&path(&pane.unit, "checkpoint.json"), bytes.to_vec());
}

/// The watchdog's `RESTART` for a unit.
pub fn mark(world: &mut World, unit: &str, text: &str) {
    let local = world.local();
    if let Some(coop) = &world.coop {
        coop.disk.borrow_mut().put_at(&path(unit, "RESTART"), format!("{text}\n").as_bytes(), local);
    }
}

/// It is taken away, if it is the one that was seen.
pub fn unmark(world: &mut World, unit: &str, seen: Option<&str>) {
    let Some(coop) = &world.coop else { return };
    let mut disk = coop.disk.borrow_mut();
    let marker = path(unit, "RESTART");
    let now = disk.get(&marker).map(|bytes| RestartMarker::first_line(&String::from_utf8_lossy(bytes)));
    if seen.is_none() || seen == now.as_deref() {
        disk.delete(&marker);
    }
}

/// Whose job it is; "" for one of the fleet's.
pub fn unit_of_job(world: &World, id: &str) -> String {
    let unit = id.split_once('.').map_or("", |(unit, _)| unit);
    world.units.get_key_value(unit).map(|(unit, _)| unit.clone()).unwrap_or_default()
}

//! One run with processes: a seed, a machine, a watchdog that is killed and started again, a safety phase and a liveness
//! phase. The disk, the boundaries at which the watchdog dies, and randomness are those of the simulator for agents.

use super::books::Books;
use super::fleet;
use super::host::ProcessHost;
use super::interactive::{self, Helpers};
use super::machine::Machine;
use super::troubles::{self, Troubles};
use crate::faults::Mode;
use crate::files::{Disk, SimFiles};
use crate::ops::Ops;
use crate::rng::Rng;
use crate::run::{Failure, Stats};
use crate::wear::{self, Turns};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use watchkeeper::config::Config;
use watchkeeper::engine::tick::{Decide, Identity, Watchdog};
use watchkeeper::model::seen::{Ask, Request, Scope};

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub decide: Decide,
    pub safety_ticks: u64,
    pub liveness: bool,
    pub troubles: Option<Troubles>,
    /// Only this invariant counts; None = all.
    pub hunted: Option<&'static str>,
}

pub struct Sim {
    pub machine: Rc<RefCell<Machine>>,
    pub disk: Rc<RefCell<Disk>>,
    pub ops: Rc<Ops>,
    pub rng: Rng,
    pub edition: u32,
    pub config: Rc<Config>,
    pub troubles: Troubles,
    pub dog: Option<Watchdog<ProcessHost, SimFiles>>,
    pub books: Books,
    pub helpers: Helpers,
    pub fleet_marker_until: Option<(String, i64)>,
    /// When a person asked something of a unit last.
    pub asked: Vec<(String, i64)>,
    pub approved: Rc<RefCell<BTreeMap<String, i64>>>,
    pub seed: u64,
    pub ticks: u64,
    decide: Decide,
    hunted: Option<&'static str>,
    last_ops: u64,
    requests: u64,
    shown: Option<String>,
}

impl Sim {
    pub fn new(plan: &Plan) -> Sim {
        let mut rng = Rng::new(plan.seed ^ 0x7a0c);
        let config = Rc::new(fleet::config(0));
        let troubles = plan.troubles.clone().unwrap_or_else(|| Troubles::draw(&mut rng));
        let machine = Machine::new(Rng::new(rng.next()), fleet::units(&config));
        let disk = Disk::new(Rng::new(rng.next()));
        let sim = Sim {
            machine: Rc::new(RefCell::new(machine)),
            disk: Rc::new(RefCell::new(disk)),
            ops: Rc::default(),
            rng,
            edition: 0,
            books: Books::default(),
            helpers: Helpers::default(),
            config,
            troubles,
            dog: None,
            fleet_marker_until: None,
            asked: Vec::new(),
            approved: Rc::default(),
            seed: plan.seed,
            ticks: 0,
            decide: plan.decide,
            hunted: plan.hunted,
            last_ops: 100,
            requests: 0,
            shown: std::env::var("SHOW").ok(),
        };
        troubles::install(&sim);
        sim
    }

    /// The config as people wrote it last.
    pub fn reread(&mut self) {
        self.config = Rc::new(fleet::config(self.edition));
        if let Some(dog) = &mut self.dog {
            dog.host.config = self.config.clone();
        }
    }

    fn watchdog(&self) -> Watchdog<ProcessHost, SimFiles> {
        let host = ProcessHost {
            machine: self.machine.clone(),
            disk: self.disk.clone(),
            ops: self.ops.clone(),
            config: self.config.clone(),
            approved: self.approved.clone(),
        };
        let files = SimFiles { disk: self.disk.clone(), ops: self.ops.clone() };
        let mut dog = Watchdog::new(host, files, crate::world::STAMP.into(), Identity::default());
        dog.decide = self.decide;
        dog
    }

    /// A person asks for something through the inbox.
    pub fn ask(&mut self, ask: Ask) {
        self.requests += 1;
        let id = format!("r{}", self.requests);
        let mut machine = self.machine.borrow_mut();
        machine.tell(format!("a person asks: {ask:?} ({id})"));
        if let Some(unit) = ask.unit() {
            self.asked.push((unit.to_string(), machine.t));
            if let Ask::Approve { .. } = &ask {
                self.approved.borrow_mut().insert(unit.to_string(), machine.t);
            }
        }
        let request = Request { id, at: machine.local(), from: "cli".into(), ask };
        let line = serde_json::to_string(&request).unwrap_or_default();
        self.disk.borrow_mut().append_line("inbox.jsonl", &line);
    }

    /// One tick; returns the seconds until the next is due. None: the watchdog was killed in it.
    fn tick(&mut self) -> Option<f64> {
        self.ticks += 1;
        let mut dog = self.dog.take().unwrap_or_else(|| self.watchdog());
        {
            let mut machine = self.machine.borrow_mut();
            machine.tick = self.ticks;
            machine.effects.clear();
        }
        let before_ops = self.ops.count.get();
        wear::arm(&self.ops, &mut self.rng, self.troubles.kills, self.last_ops);
        self.books.before(&mut self.disk.borrow_mut(), &self.config);
        let report = dog.tick(&self.config, Scope::All);
        self.last_ops = self.ops.count.get() - before_ops;
        let killed = self.ops.killed();
        self.ops.disarm();
        if killed {
            self.machine.borrow_mut().tell("the watchdog is killed");
        }
        self.show();
        self.books.after(
            &mut self.machine.borrow_mut(),
            &mut self.disk.borrow_mut(),
            &self.config,
            &report,
            killed,
        );
        if killed {
            return None;
        }
        self.dog = Some(dog);
        Some(report.due_s)
    }

    /// `SHOW=unit/slice` prints a part of a unit's file after each tick, for looking into one seed.
    fn show(&self) {
        let Some(show) = &self.shown else { return };
        let (unit, slice) = show.split_once('/').unwrap_or((show, "process"));
        let file = self.disk.borrow().json(&format!("units/{unit}/unit.json")).unwrap_or_default();
        println!("tick {:4} {unit}/{slice} {}", self.ticks, file[slice]);
        let clocks = self.disk.borrow().json("clocks.json").unwrap_or_default();
        println!("tick {:4} {unit}/clocks {}", self.ticks, clocks["units"][unit]);
    }

    fn turn(&mut self) {
        wear::turn(self);
        interactive::answer(self);
        let now = self.machine.borrow().t;
        wear::lift(&mut self.disk.borrow_mut(), &mut self.fleet_marker_until, now);
    }

    fn failed(&self) -> Option<Failure> {
        let machine = self.machine.borrow();
        let counts = |invariant: &str| self.hunted.is_none_or(|hunted| hunted == invariant);
        let found = machine.violations.iter().find(|(invariant, _)| counts(invariant))?;
        Some(self.failure(found.0, found.1.clone(), &machine))
    }

    fn failure(&self, invariant: &'static str, detail: String, machine: &Machine) -> Failure {
        let story = machine.story.iter().cloned().collect();
        Failure { seed: self.seed, tick: self.ticks, invariant, detail, story }
    }

    pub fn fail(&self, invariant: &'static str, detail: String) -> Box<Failure> {
        self.machine.borrow_mut().violate(invariant, detail.clone());
        Box::new(self.failure(invariant, detail, &self.machine.borrow()))
    }

    /// One turn, and whether everything still holds.
    pub fn turn_checked(&mut self) -> Result<(), Box<Failure>> {
        self.turn();
        self.failed().map_or(Ok(()), |failure| Err(Box::new(failure)))
    }
}

impl Turns for Sim {
    fn mode(&self) -> Mode {
        self.troubles.mode
    }
    fn tick(&mut self) -> Option<f64> {
        Sim::tick(self)
    }
    fn now(&self) -> i64 {
        self.machine.borrow().t
    }
    fn pass(&mut self, ms: i64) {
        self.machine.borrow_mut().run(ms);
    }
    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
    fn leave(&mut self) {
        self.dog = None;
    }
}

/// Runs a plan to its end or to the first invariant that does not hold.
pub fn run(plan: &Plan) -> Result<Stats, Box<Failure>> {
    let mut sim = Sim::new(plan);
    while sim.ticks < plan.safety_ticks {
        sim.turn_checked()?;
        troubles::between(&mut sim);
    }
    if plan.liveness {
        super::recover::recover(&mut sim)?;
    }
    Ok(Stats { ticks: sim.ticks, effects: sim.books.effects, arrivals: 0 })
}

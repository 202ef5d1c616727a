//! One run: a seed, a world, a watchdog that is killed and started again, a safety phase and a liveness phase.

use super::faults::{self, Mode, Swarm};
use super::files::{Disk, SimFiles};
use super::fleet::{self, Crew};
use super::friction::{self, Friction};
use super::host::SimHost;
use super::invariants::Checker;
use super::ops::Ops;
use super::ordeal;
use super::outline::Outline;
use super::remote::Remote;
use super::rng::Rng;
use super::wear::{self, Turns};
use super::world::{STAMP, World};
use std::cell::RefCell;
use std::rc::Rc;
use watchkeeper::config::Config;
use watchkeeper::engine::tick::{Decide, Identity, Watchdog};
use watchkeeper::model::seen::{Ask, Request, Scope};

/// An invariant that did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub tick: u64,
    pub invariant: &'static str,
    pub detail: String,
    pub story: Vec<String>,
}

impl Failure {
    /// On one line.
    pub fn line(&self) -> String {
        format!("seed {} tick {}: {}: {}", self.seed, self.tick, self.invariant, self.detail)
    }
}

/// What a person asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub id: String,
    pub ask: Ask,
    pub t: i64,
    pub epoch: u32,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub decide: Decide,
    /// Also checked: the order of the policies, the same answer twice. Only for the real one.
    pub thorough: bool,
    pub safety_ticks: u64,
    pub liveness: bool,
    pub swarm: Option<Swarm>,
    /// The fleet has a plan, and these troubles with it. None: every third seed has one, with troubles of its own.
    pub work: Option<Option<Friction>>,
    /// Who is watched.
    pub crew: Crew,
    /// Only this invariant counts; None = all.
    pub hunted: Option<&'static str>,
}

pub struct Sim {
    pub world: Rc<RefCell<World>>,
    pub disk: Rc<RefCell<Disk>>,
    pub ops: Rc<Ops>,
    pub rng: Rng,
    pub edition: u32,
    pub outline: Option<Outline>,
    pub friction: Friction,
    pub crew: Crew,
    pub config: Config,
    pub swarm: Swarm,
    pub dog: Option<Watchdog<SimHost, SimFiles>>,
    pub check: Checker,
    pub asked: Vec<Asked>,
    pub fleet_marker_until: Option<(String, i64)>,
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
        let mut rng = Rng::new(plan.seed);
        let mut own = Rng::new(plan.seed ^ 0x90a1);
        let friction = match &plan.work {
            Some(friction) => friction.clone(),
            None => plan.seed.is_multiple_of(3).then(|| Friction::draw(&mut own)),
        };
        let outline = friction.is_some().then(|| Outline::new(&mut own));
        let config = fleet::config(&fleet::text_of(&plan.crew, 0, outline.as_ref()));
        let swarm = plan.swarm.clone().unwrap_or_else(|| Swarm::draw(&mut rng));
        let mut world = World::new(Rng::new(rng.next()), fleet::truths(&config));
        world.remote = outline.is_some().then(|| Remote::new(Rng::new(own.next())));
        let disk = Disk::new(Rng::new(rng.next()));
        let check = Checker::new(&config, plan.thorough);
        let sim = Sim {
            world: Rc::new(RefCell::new(world)),
            disk: Rc::new(RefCell::new(disk)),
            ops: Rc::default(),
            rng,
            edition: 0,
            outline,
            friction: friction.unwrap_or_default(),
            crew: plan.crew.clone(),
            config,
            swarm,
            dog: None,
            check,
            asked: Vec::new(),
            fleet_marker_until: None,
            seed: plan.seed,
            ticks: 0,
            decide: plan.decide,
            hunted: plan.hunted,
            last_ops: 100,
            requests: 0,
            shown: std::env::var("SHOW").ok(),
        };
        faults::install(&sim);
        friction::install(&sim);
        let coop = ordeal::coop(&sim, &sim.config, &mut own);
        sim.world.borrow_mut().coop = coop;
        ordeal::install(&sim);
        sim
    }

    /// The config as people wrote it last.
    pub fn reread(&mut self) {
        self.config = fleet::config(&fleet::text_of(&self.crew, self.edition, self.outline.as_ref()));
        friction::install(self);
    }

    fn watchdog(&self) -> Watchdog<SimHost, SimFiles> {
        let grace_s =
            self.config.units.iter().map(|(name, unit)| (name.to_string(), unit.ladder.grace_s)).collect();
        let host = SimHost {
            world: self.world.clone(),
            disk: self.disk.clone(),
            ops: self.ops.clone(),
            grace_s: Rc::new(grace_s),
        };
        let files = SimFiles { disk: self.disk.clone(), ops: self.ops.clone() };
        let mut dog = Watchdog::new(host, files, STAMP.into(), Identity::default());
        dog.decide = self.decide;
        dog
    }

    /// A person asks for something through the inbox.
    pub fn ask(&mut self, ask: Ask) {
        self.requests += 1;
        let id = format!("r{}", self.requests);
        let ask = match ask {
            Ask::Nudge { unit, .. } => Ask::Nudge { unit, text: format!("Please have a look at item {id}.") },
            other => other,
        };
        let mut world = self.world.borrow_mut();
        world.tell(format!("a person asks: {ask:?} ({id})"));
        let request = Request { id: id.clone(), at: world.local(), from: "cli".into(), ask: ask.clone() };
        let line = serde_json::to_string(&request).unwrap_or_default();
        self.disk.borrow_mut().append_line("inbox.jsonl", &line);
        self.check.ladders.asked(ask.unit().map_or("", |unit| unit.as_str()), world.t);
        let epoch = match &ask {
            Ask::Nudge { unit, .. } => world.units.get(unit.as_str()).map_or(0, |unit| unit.epoch),
            _ => 0,
        };
        self.asked.push(Asked { id, ask, t: world.t, epoch });
    }

    /// One tick; returns the seconds until the next is due. None: the watchdog was killed in it.
    pub fn tick(&mut self) -> Option<f64> {
        self.ticks += 1;
        let mut dog = self.dog.take().unwrap_or_else(|| self.watchdog());
        {
            let mut world = self.world.borrow_mut();
            world.tick = self.ticks;
            world.effects.clear();
            world.arrivals.clear();
        }
        let before_ops = self.ops.count.get();
        wear::arm(&self.ops, &mut self.rng, self.swarm.kills, self.last_ops);
        self.check.before(&self.world.borrow(), &mut self.disk.borrow_mut(), &self.config);
        let report = dog.tick(&self.config, Scope::All);
        self.last_ops = self.ops.count.get() - before_ops;
        let killed = self.ops.killed();
        self.ops.disarm();
        if killed {
            self.world.borrow_mut().tell("the watchdog is killed");
        }
        self.show();
        self.check.after(
            &mut self.world.borrow_mut(),
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
        let (unit, slice) = show.split_once('/').unwrap_or((show, "seen"));
        let file = self.disk.borrow().json(&format!("units/{unit}/unit.json")).unwrap_or_default();
        println!("tick {:4} {unit}/{slice} {}", self.ticks, file[slice]);
    }

    fn turn(&mut self) {
        wear::turn(self);
        let now = self.world.borrow().t;
        wear::lift(&mut self.disk.borrow_mut(), &mut self.fleet_marker_until, now);
    }

    fn failed(&self) -> Option<Failure> {
        let world = self.world.borrow();
        let counts = |invariant: &str| self.hunted.is_none_or(|hunted| hunted == invariant);
        let (invariant, detail) = world.violations.iter().find(|(invariant, _)| counts(invariant))?.clone();
        let tick = self.ticks;
        Some(Failure {
            seed: self.seed,
            tick,
            invariant,
            detail,
            story: world.story.iter().cloned().collect(),
        })
    }

    pub fn fail(&self, invariant: &'static str, detail: String) -> Failure {
        self.world.borrow_mut().violate(invariant, detail.clone());
        let story = self.world.borrow().story.iter().cloned().collect();
        Failure { seed: self.seed, tick: self.ticks, invariant, detail, story }
    }
}

impl Turns for Sim {
    fn mode(&self) -> Mode {
        self.swarm.mode
    }
    fn tick(&mut self) -> Option<f64> {
        Sim::tick(self)
    }
    fn now(&self) -> i64 {
        self.world.borrow().t
    }
    fn pass(&mut self, ms: i64) {
        self.world.borrow_mut().run(ms);
    }
    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
    fn leave(&mut self) {
        self.dog = None;
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub ticks: u64,
    pub effects: u64,
    pub arrivals: u64,
}

/// Runs a plan to its end or to the first invariant that does not hold.
pub fn run(plan: &Plan) -> Result<Stats, Box<Failure>> {
    let mut sim = Sim::new(plan);
    while sim.ticks < plan.safety_ticks {
        sim.turn();
        if let Some(failure) = sim.failed() {
            return Err(Box::new(failure));
        }
        faults::between(&mut sim);
        friction::between(&mut sim);
        ordeal::between(&mut sim);
    }
    if plan.liveness {
        super::liveness::recover(&mut sim)?;
    }
    Ok(Stats { ticks: sim.ticks, effects: sim.check.effects, arrivals: sim.check.arrivals })
}

impl Sim {
    /// So many turns in which nothing goes wrong; the first invariant that does not hold.
    #[track_caller]
    pub fn calm_turns(&mut self, count: usize) {
        for _ in 0..count {
            if let Err(failure) = self.turn_checked() {
                panic!("{}\n{}", failure.story.join("\n"), failure.line());
            }
        }
    }

    /// For the liveness phase: one turn, and whether everything still holds.
    pub fn turn_checked(&mut self) -> Result<(), Box<Failure>> {
        self.turn();
        self.failed().map_or(Ok(()), |failure| Err(Box::new(failure)))
    }
}

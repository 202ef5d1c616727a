//! What cooperative services go through: hangs of every kind, crash loops, code that moves on under them, markers of
//! others, zombies, strangers with their pids.

use super::cooperative::{self, Coop, Habits};
use super::fleet::Crew;
use super::rng::Rng;
use super::run::Sim;
use super::service::Mode;
use super::world::World;
use std::collections::{BTreeMap, BTreeSet};
use watchkeeper::config::{Config, Unit};

/// Per mille of turns, or of what the world does on its own.
#[derive(Clone, Debug, Default)]
pub struct Ordeal {
    /// A living service becomes bad.
    pub turns: u64,
    /// Whatever is started of a service is bad for a while.
    pub fates: u64,
    /// Which ways of being bad there are; empty = all.
    pub modes: &'static [Mode],
    pub pulls: u64,
    pub rebases: u64,
    /// A person writes `RESTART` for a service, or an old one is left behind, or a torn one.
    pub markers: u64,
    /// Somebody pauses a unit that is about to be ended, and it comes to itself.
    pub pauses: u64,
    /// A person starts a unit anew in its pane, most likely one that is being ended.
    pub replaces: u64,
    pub habits: Habits,
}

impl Ordeal {
    /// Each is in with an even chance or less, at a rate of its own.
    pub fn draw(rng: &mut Rng) -> Ordeal {
        let mut rate = |odds: u64, max: i64| if rng.chance(odds) { rng.between(1, max) as u64 } else { 0 };
        Ordeal {
            turns: rate(800, 60),
            fates: rate(500, 20),
            modes: &[],
            pulls: rate(500, 25),
            rebases: rate(300, 15),
            markers: rate(400, 25),
            pauses: rate(300, 500),
            replaces: rate(250, 20),
            habits: Habits {
                slow_stamps: rate(400, 500),
                zombies: rate(300, 300),
                strangers: rate(400, 600),
                torn: rate(300, 400),
                bad_jobs: rate(300, 600),
            },
        }
    }
}

/// The world's part of it, when there is one.
pub fn coop(sim: &Sim, config: &Config, rng: &mut Rng) -> Option<Coop> {
    let Crew::Ladders(_) = &sim.crew else { return None };
    let cooperative = config.units.iter().filter_map(|(name, unit)| {
        unit.cooperative.as_ref().map(|promised| (name.to_string(), promised.version))
    });
    let recovers = |unit: &&watchkeeper::config::Unit| unit.agent().is_some_and(|a| a.recovery.max > 0);
    let writers: BTreeSet<String> =
        config.units.values().filter(recovers).map(|unit| unit.name.to_string()).collect();
    Some(Coop::new(sim.disk.clone(), rng, cooperative.collect::<BTreeMap<_, _>>(), writers))
}

/// Puts the habits into the world.
pub fn install(sim: &Sim) {
    if let (Crew::Ladders(ordeal), Some(coop)) = (&sim.crew, &mut sim.world.borrow_mut().coop) {
        coop.habits = ordeal.habits.clone();
    }
}

/// Takes it all away; who hangs goes on hanging.
pub fn remove(sim: &mut Sim) {
    if let Crew::Ladders(ordeal) = &mut sim.crew {
        *ordeal = Ordeal::default();
    }
    install(sim);
    let world = &mut *sim.world.borrow_mut();
    let Some(coop) = &mut world.coop else { return };
    coop.repo.busy_until = 0;
    for service in coop.services.values_mut() {
        service.fate = (Mode::Well, 0);
    }
}

/// What happens between two ticks.
pub fn between(sim: &mut Sim) {
    let Crew::Ladders(ordeal) = sim.crew.clone() else { return };
    let mut rng = sim.rng.clone();
    services(sim, &ordeal, &mut rng);
    if rng.chance(ordeal.markers) {
        marker(sim, &mut rng);
    }
    if ordeal.pauses > 0 && rng.chance(ordeal.pauses) {
        pause(sim);
    }
    if rng.chance(ordeal.replaces) {
        replace(sim, &mut rng);
    }
    sim.rng = rng;
}

fn services(sim: &mut Sim, ordeal: &Ordeal, rng: &mut Rng) {
    let world = &mut *sim.world.borrow_mut();
    let t = world.t;
    let Some(coop) = &mut world.coop else { return };
    let names: Vec<String> = coop.services.keys().cloned().collect();
    let modes = if ordeal.modes.is_empty() { &Mode::BAD } else { ordeal.modes };
    if rng.chance(ordeal.pulls) {
        coop.repo.pull(t, rng);
        let head: String = coop.repo.head.chars().take(8).collect();
        world.tell(format!("the repository moves on to {head}"));
    }
    let Some(coop) = &mut world.coop else { return };
    if rng.chance(ordeal.rebases) {
        coop.repo.busy_until = t + rng.between(2, 300) * 1000;
        if rng.chance(500) {
            coop.repo.pull(t, rng);
        }
        world.tell("a rebase is under way");
    }
    let Some(coop) = &mut world.coop else { return };
    if rng.chance(ordeal.fates) {
        let (name, mode) = (rng.pick(&names).clone(), *rng.pick(modes));
        let until = t + rng.between(60, 4000) * 1000;
        if let Some(service) = coop.services.get_mut(&name) {
            service.fate = (mode, until);
        }
        world.tell(format!("{name}: is {mode:?} from its next start on"));
        if rng.chance(500) {
            cooperative::turn(world, &name, mode);
        }
    }
    if rng.chance(ordeal.turns) {
        let (name, mode) = (rng.pick(&names).clone(), *rng.pick(modes));
        cooperative::turn(world, &name, mode);
    }
}

/// Between the wish to end a unit and the first signal it is paused for some minutes; and then it beats again.
fn pause(sim: &mut Sim) {
    let world = &mut *sim.world.borrow_mut();
    let until = world.local().plus_s(100.0);
    let t = world.t;
    let Some(coop) = &mut world.coop else { return };
    let mut paused = None;
    for (name, service) in &mut coop.services {
        let file = sim.disk.borrow().json(&format!("units/{name}/unit.json")).unwrap_or_default();
        if file["ending"]["step"] == "wanted" && service.comes_to_itself(t + 20_000) {
            paused = Some(name.clone());
        }
    }
    let Some(name) = paused else { return };
    world.tell(format!("{name}: is paused until {until}"));
    sim.disk.borrow_mut().put(&format!("units/{name}/PAUSED"), format!("wait until {until}\n").into_bytes());
}

fn replace(sim: &mut Sim, rng: &mut Rng) {
    let world = &mut *sim.world.borrow_mut();
    let Some(coop) = &world.coop else { return };
    let names: Vec<String> = coop.services.keys().cloned().collect();
    let ends = |name: &&String| {
        let file = sim.disk.borrow().json(&format!("units/{name}/unit.json")).unwrap_or_default();
        !file["ending"].is_null()
    };
    let unit = names.iter().find(ends).unwrap_or_else(|| rng.pick(&names));
    cooperative::replace(world, unit);
}

/// A `RESTART` that the watchdog did not write.
fn marker(sim: &mut Sim, rng: &mut Rng) {
    let world = &mut *sim.world.borrow_mut();
    let now = world.local();
    let Some(coop) = &world.coop else { return };
    let names: Vec<String> = coop.services.keys().cloned().collect();
    let unit = rng.pick(&names).clone();
    let (at, text) = match rng.below(4) {
        0 => (now, String::new()),
        1 => (now.plus_s(-100_000.0), format!("{} ann: long ago", now.plus_s(-100_000.0))),
        _ => (now, format!("{now} ann: please")),
    };
    world.tell(format!("{unit}: somebody writes RESTART `{text}`"));
    sim.disk.borrow_mut().put_at(&format!("units/{unit}/RESTART"), text.as_bytes(), at);
}

/// What is wrong with a cooperative service that lives, if it stood for longer than it takes to see it.
pub fn sick(world: &World, unit: &Unit, rare_s: i64) -> Option<&'static str> {
    let (promised, coop) = (unit.cooperative.as_ref()?, world.coop.as_ref()?);
    let service = coop.services.get(unit.name.as_str())?;
    let slack_ms = (60 + 2 * rare_s) * 1000;
    let silent_ms = world.t - service.silent_since();
    let since = service.stamped_at.map(|at| at.max(coop.repo.moved_at));
    let stale = service.code != coop.repo.head && since.is_some_and(|since| world.t - since > slack_ms);
    if silent_ms > (promised.heartbeat_stale_s * 1000.0) as i64 + slack_ms {
        Some("its heart stands still")
    } else {
        (stale && promised.version).then_some("it runs old code")
    }
}

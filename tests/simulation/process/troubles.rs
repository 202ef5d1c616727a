//! Troubles with processes: each seed draws which it has and how often.

use super::machine::Temper;
use super::run::Sim;
use crate::faults::Mode;
use crate::rng::Rng;
use crate::wear;
use watchkeeper::base::names::UnitName;
use watchkeeper::model::seen::{Ask, Exit};

/// Per mille of the ticks, 0 = never.
#[derive(Clone, Debug)]
pub struct Troubles {
    pub mode: Mode,
    pub kills: u64,
    pub disk: u64,
    pub full: u64,
    pub tears: u64,
    pub yields: u64,
    pub damage: u64,
    pub silence: u64,
    /// The scheduler does not answer.
    pub deaf: u64,
    /// Logs are put aside, or emptied.
    pub rotates: u64,
    pub unknowns: u64,
    pub deaths: u64,
    pub act_fails: u64,
    pub act_lies: u64,
    pub jumps: u64,
    pub suspends: u64,
    pub reboots: u64,
    pub pauses: u64,
    pub requests: u64,
    pub markers: u64,
    pub edits: u64,
    pub temper: Temper,
}

impl Troubles {
    /// Nothing goes wrong but what always does.
    pub fn calm() -> Troubles {
        Troubles {
            mode: Mode::Loop,
            kills: 0,
            disk: 0,
            full: 0,
            tears: 0,
            yields: 0,
            damage: 0,
            silence: 0,
            deaf: 0,
            rotates: 0,
            unknowns: 0,
            deaths: 0,
            act_fails: 0,
            act_lies: 0,
            jumps: 0,
            suspends: 0,
            reboots: 0,
            pauses: 0,
            requests: 0,
            markers: 0,
            edits: 0,
            temper: Temper::calm(),
        }
    }

    /// Each trouble is in with an even chance or less, at a rate of its own.
    pub fn draw(rng: &mut Rng) -> Troubles {
        let mut rate = |odds: u64, max: i64| if rng.chance(odds) { rng.between(1, max) as u64 } else { 0 };
        let temper = Temper {
            fails: rate(800, 120),
            stalls: rate(800, 120),
            stage_fails: rate(400, 300),
            overruns: rate(600, 700),
            stubborn: rate(400, 300),
            unseen_ends: rate(250, 200),
            stillborn: rate(200, 100),
            requeues: rate(400, 60),
            mends: rate(700, 1000),
            babbles: rate(400, 600),
        };
        let cron = rate(250, 2);
        Troubles {
            mode: match cron {
                0 => Mode::Loop,
                1 => Mode::Cron { every_s: 60 },
                _ => Mode::Cron { every_s: 300 },
            },
            kills: rate(600, 150),
            disk: rate(300, 40),
            full: rate(250, 10),
            tears: rate(250, 60),
            yields: rate(250, 60),
            damage: rate(200, 12),
            silence: rate(300, 20),
            deaf: rate(300, 20),
            rotates: rate(300, 60),
            unknowns: rate(300, 40),
            deaths: rate(400, 25),
            act_fails: rate(300, 120),
            act_lies: rate(300, 120),
            jumps: rate(200, 10),
            suspends: rate(300, 15),
            reboots: rate(250, 8),
            pauses: rate(300, 15),
            requests: rate(500, 40),
            markers: rate(400, 25),
            edits: rate(300, 12),
            temper,
        }
    }
}

/// Puts the rates where calls fail.
pub fn install(sim: &Sim) {
    let troubles = &sim.troubles;
    let mut machine = sim.machine.borrow_mut();
    machine.temper = troubles.temper.clone();
    machine.faults.act_fails = troubles.act_fails;
    machine.faults.act_lies = troubles.act_lies;
    machine.faults.unknowns = troubles.unknowns;
    let mut disk = sim.disk.borrow_mut();
    disk.faults.write_fails = troubles.disk;
    disk.faults.read_fails = troubles.disk / 20;
    disk.faults.tears = troubles.tears;
    disk.faults.yields = troubles.yields;
}

/// Takes all troubles out; what they broke stays broken.
pub fn remove(sim: &mut Sim) {
    sim.troubles = Troubles { mode: sim.troubles.mode, ..Troubles::calm() };
    install(sim);
    sim.disk.borrow_mut().faults.full = false;
    let mut machine = sim.machine.borrow_mut();
    machine.silent_until = 0;
    machine.scheduler.silent_until = 0;
    machine.offset = 0;
    machine.tell("---- the troubles end ----");
}

/// What happens between two ticks.
pub fn between(sim: &mut Sim) {
    let troubles = sim.troubles.clone();
    let mut rng = sim.rng.clone();
    let names: Vec<String> = sim.config.units.keys().map(ToString::to_string).collect();
    let any = |rng: &mut Rng| rng.pick(&names).clone();
    host(sim, &troubles, &mut rng, &any);
    clocks(sim, &troubles, &mut rng);
    if rng.chance(troubles.requests) {
        request(sim, &mut rng, &any);
    }
    files(sim, &troubles, &mut rng, &any);
    sim.rng = rng;
}

fn host(sim: &mut Sim, troubles: &Troubles, rng: &mut Rng, any: &dyn Fn(&mut Rng) -> String) {
    let machine = &mut *sim.machine.borrow_mut();
    if rng.chance(troubles.silence) {
        machine.silent_until = machine.t + rng.between(1, 200) * 1000;
        machine.tell("nobody can say how runs stand");
    }
    if rng.chance(troubles.deaf) {
        machine.scheduler.silent_until = machine.t + rng.between(10, 1500) * 1000;
        machine.tell("the scheduler does not answer");
    }
    if rng.chance(troubles.rotates) {
        machine.rotate(&any(rng));
    }
    if rng.chance(troubles.deaths) {
        let unit = any(rng);
        if machine.living(&unit).is_some() {
            machine.tell(format!("{unit}: somebody kills it"));
            machine.end(&unit, Exit::Signal(9), false);
        }
    }
}

fn clocks(sim: &mut Sim, troubles: &Troubles, rng: &mut Rng) {
    let day = 86_400_000;
    let mut machine = sim.machine.borrow_mut();
    if rng.chance(troubles.jumps) {
        machine.offset = *rng.pick(&[-day, day, 0, 0, 3_600_000, -3_600_000]);
        let offset = machine.offset / 1000;
        machine.tell(format!("the wall clock jumps: {offset} s off"));
    }
    if rng.chance(troubles.suspends) {
        let ms = rng.between(60, 40_000) * 1000;
        machine.suspend(ms);
        machine.tell(format!("the machine sleeps for {} s", ms / 1000));
    }
    if rng.chance(troubles.pauses) {
        let ms = rng.between(300, 1500) * 1000;
        machine.tell(format!("nobody looks for {} s", ms / 1000));
        machine.run(ms);
    }
    if rng.chance(troubles.reboots) {
        machine.reboot();
        machine.tell("the machine reboots");
        sim.disk.borrow_mut().lose_power();
        sim.dog = None;
    }
}

/// A person asks for something through the inbox.
fn request(sim: &mut Sim, rng: &mut Rng, any: &dyn Fn(&mut Rng) -> String) {
    let Ok(name) = UnitName::new(&any(rng)) else { return };
    let ask = match rng.below(11) {
        0 => Ask::Up { unit: None },
        1 => Ask::Up { unit: Some(name) },
        2 => Ask::Down { unit: Some(name), reason: "not now".into() },
        3 => Ask::Pause { unit: Some(name), reason: "let me look".into() },
        4 => Ask::Resume { unit: Some(name) },
        5 => Ask::Resume { unit: None },
        6 | 7 => Ask::Restart { unit: name },
        _ => Ask::Approve { unit: name },
    };
    sim.ask(ask);
}

fn files(sim: &mut Sim, troubles: &Troubles, rng: &mut Rng, any: &dyn Fn(&mut Rng) -> String) {
    let told = wear::fill(&mut sim.disk.borrow_mut(), rng, troubles.full);
    told.into_iter().for_each(|told| sim.machine.borrow_mut().tell(told));
    if rng.chance(troubles.markers) {
        markers(sim, rng, any);
    }
    if rng.chance(troubles.edits) {
        sim.edition += 1;
        sim.reread();
        sim.machine.borrow_mut().tell("agents.toml is edited");
    }
    if rng.chance(troubles.damage) {
        let unit = any(rng);
        let told = wear::damage(&mut sim.disk.borrow_mut(), rng, &unit);
        told.into_iter().for_each(|told| sim.machine.borrow_mut().tell(told));
    }
}

fn markers(sim: &mut Sim, rng: &mut Rng, any: &dyn Fn(&mut Rng) -> String) {
    let text = |_: &mut Rng, _: &str| "by hand\n".to_owned();
    let fleet = (&mut sim.fleet_marker_until, sim.machine.borrow().t);
    let told = wear::marker(&mut sim.disk.borrow_mut(), rng, any, text, fleet);
    sim.machine.borrow_mut().tell(told);
}

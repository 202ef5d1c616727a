//! The swarm: each seed draws which sorts of trouble it has and how often. Trouble comes between ticks, or waits in the
//! disk and the host for a call to fail.

use super::cli::{Play, Temper};
use super::outline::FINAL;
use super::rng::Rng;
use super::run::Sim;
use super::wear;
use super::world::PersonDoes;
use watchkeeper::base::names::UnitName;
use watchkeeper::model::seen::Ask;

/// How the watchdog is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `run`: sleeps to the next due time.
    Loop,
    /// `tick` from cron: a process of its own every so many seconds.
    Cron { every_s: i64 },
}

/// Which troubles a run has: per mille of its ticks, 0 = never.
#[derive(Clone, Debug)]
pub struct Swarm {
    pub mode: Mode,
    pub kills: u64,
    pub disk: u64,
    pub full: u64,
    pub tears: u64,
    pub yields: u64,
    pub damage: u64,
    pub silence: u64,
    pub server_deaths: u64,
    pub vanishings: u64,
    pub deaths: u64,
    pub mass_deaths: u64,
    pub crashy: u64,
    pub capture_misses: u64,
    pub list_misses: u64,
    pub flickers: u64,
    pub act_fails: u64,
    pub act_lies: u64,
    pub jumps: u64,
    pub suspends: u64,
    pub reboots: u64,
    pub pauses: u64,
    pub people: u64,
    pub requests: u64,
    pub markers: u64,
    pub edits: u64,
    pub limits: u64,
    pub auth: u64,
    pub foreign: u64,
    pub copy_mode: u64,
    pub waits: u64,
    pub temper: Temper,
}

impl Swarm {
    /// Nothing goes wrong.
    pub fn calm() -> Swarm {
        Swarm {
            mode: Mode::Loop,
            kills: 0,
            disk: 0,
            full: 0,
            tears: 0,
            yields: 0,
            damage: 0,
            silence: 0,
            server_deaths: 0,
            vanishings: 0,
            deaths: 0,
            mass_deaths: 0,
            crashy: 0,
            capture_misses: 0,
            list_misses: 0,
            flickers: 0,
            act_fails: 0,
            act_lies: 0,
            jumps: 0,
            suspends: 0,
            reboots: 0,
            pauses: 0,
            people: 0,
            requests: 0,
            markers: 0,
            edits: 0,
            limits: 0,
            auth: 0,
            foreign: 0,
            copy_mode: 0,
            waits: 0,
            temper: Temper::calm(),
        }
    }

    /// Each trouble is in with an even chance or less, at a rate of its own.
    pub fn draw(rng: &mut Rng) -> Swarm {
        let mut rate = |odds: u64, max: i64| if rng.chance(odds) { rng.between(1, max) as u64 } else { 0 };
        let temper = Temper {
            asks: rate(500, 120),
            errors: rate(400, 120),
            full: rate(300, 40),
            crashes: rate(500, 100),
            shells: rate(300, 60),
            hangs: rate(400, 60),
            waits: rate(400, 150),
            thinks: rate(800, 300),
            tools: rate(800, 300),
            compacts: rate(500, 150),
            trusts: rate(300, 300),
            stubborn: rate(400, 300),
            swallows: rate(400, 300),
            resumes: rate(500, 900),
            slow_start: rate(300, 200),
            silence_max_s: *[60, 200, 400, 1500].get(rate(700, 3) as usize).unwrap_or(&60),
        };
        let cron = rate(250, 2);
        Swarm {
            mode: match cron {
                0 => Mode::Loop,
                1 => Mode::Cron { every_s: 60 },
                _ => Mode::Cron { every_s: 300 },
            },
            kills: rate(500, 150),
            disk: rate(300, 40),
            full: rate(250, 10),
            tears: rate(250, 60),
            yields: rate(250, 60),
            damage: rate(200, 15),
            silence: rate(350, 30),
            server_deaths: rate(250, 8),
            vanishings: rate(300, 15),
            deaths: rate(500, 60),
            mass_deaths: rate(300, 10),
            crashy: rate(400, 15),
            capture_misses: rate(300, 60),
            list_misses: rate(200, 10),
            flickers: rate(200, 20),
            act_fails: rate(300, 120),
            act_lies: rate(300, 120),
            jumps: rate(200, 10),
            suspends: rate(300, 15),
            reboots: rate(200, 8),
            pauses: rate(300, 15),
            people: rate(500, 60),
            requests: rate(500, 80),
            markers: rate(400, 30),
            edits: rate(300, 12),
            limits: rate(500, 20),
            auth: rate(200, 8),
            foreign: rate(200, 8),
            copy_mode: rate(200, 10),
            waits: rate(200, 20),
            temper,
        }
    }
}

/// Puts the rates where calls fail.
pub fn install(sim: &Sim) {
    let swarm = &sim.swarm;
    let mut world = sim.world.borrow_mut();
    world.temper = swarm.temper.clone();
    world.faults.act_fails = swarm.act_fails;
    world.faults.act_lies = swarm.act_lies;
    world.faults.capture_misses = swarm.capture_misses;
    world.faults.list_misses = swarm.list_misses;
    world.faults.flickers = swarm.flickers;
    let mut disk = sim.disk.borrow_mut();
    disk.faults.write_fails = swarm.disk;
    disk.faults.read_fails = swarm.disk / 20;
    disk.faults.tears = swarm.tears;
    disk.faults.yields = swarm.yields;
}

/// Takes all troubles out; what they broke stays broken.
pub fn remove(sim: &mut Sim) {
    sim.swarm = Swarm { mode: sim.swarm.mode, ..Swarm::calm() };
    install(sim);
    sim.disk.borrow_mut().faults.full = false;
    let mut world = sim.world.borrow_mut();
    world.silent_until = 0;
    world.offset = 0;
    let foreign: Vec<u64> =
        world.panes.values().filter(|pane| pane.stamp.is_empty()).map(|pane| pane.id).collect();
    for id in foreign {
        world.panes.remove(&id);
    }
    for truth in world.units.values_mut() {
        truth.crashy_until = 0;
    }
    for pane in world.panes.values_mut() {
        pane.cli.swallow = 0;
    }
    let wall = world.wall;
    for account in world.accounts.values_mut() {
        account.limited_until = account.limited_until.min(wall + 600_000);
    }
    world.tell("---- the troubles end ----");
}

/// What happens between two ticks.
pub fn between(sim: &mut Sim) {
    let swarm = sim.swarm.clone();
    let mut rng = sim.rng.clone();
    let names: Vec<String> = sim.config.units.keys().map(ToString::to_string).collect();
    let any = |rng: &mut Rng| rng.pick(&names).clone();
    host(sim, &swarm, &mut rng, &any);
    clocks(sim, &swarm, &mut rng);
    people(sim, &swarm, &mut rng, &any);
    files(sim, &swarm, &mut rng, &any);
    sim.rng = rng;
}

fn host(sim: &mut Sim, swarm: &Swarm, rng: &mut Rng, any: &dyn Fn(&mut Rng) -> String) {
    let world = &mut *sim.world.borrow_mut();
    if rng.chance(swarm.silence) {
        world.silent_until = world.t + rng.between(1, 300) * 1000;
        world.tell("tmux goes silent");
    }
    if rng.chance(swarm.server_deaths) {
        world.tell("the tmux server dies");
        world.server_dies();
        if rng.chance(400) {
            world.start_server();
        }
    }
    if rng.chance(swarm.vanishings)
        && let Some(id) = world.pane_of(&any(rng)).map(|pane| pane.id)
    {
        let unit = world.panes.remove(&id).map(|pane| pane.unit).unwrap_or_default();
        world.tell(format!("{unit}: its session is closed"));
    }
    let kill = |world: &mut super::world::World, rng: &mut Rng, unit: &str| {
        if let Some(id) = world.living(unit).map(|pane| pane.id) {
            let how = match rng.below(3) {
                0 => None,
                1 => Some(super::cli::Ended::Signal(9)),
                _ => Some(super::cli::Ended::Status(1)),
            };
            world.end_root(id, how);
            world.tell(format!("{unit}: is killed ({how:?})"));
        }
    };
    if rng.chance(swarm.deaths) {
        let unit = any(rng);
        kill(world, rng, &unit);
    }
    if rng.chance(swarm.mass_deaths) {
        for _ in 0..8 {
            let unit = any(rng);
            kill(world, rng, &unit);
        }
    }
    if rng.chance(swarm.crashy) {
        let unit = any(rng);
        let until = world.t + rng.between(60, 3000) * 1000;
        world.tell(format!("{unit}: dies young from now on"));
        if let Some(truth) = world.units.get_mut(&unit) {
            truth.crashy_until = until;
        }
        kill(world, rng, &unit);
    }
    if rng.chance(swarm.limits) {
        let account = (*rng.pick(&["team-a", "team-b"])).to_owned();
        let until = world.wall + rng.between(60, 4000) * 1000;
        let (kind, style) = (*rng.pick(&["", "weekly ", "session "]), rng.below(4).min(2));
        world.tell(format!("{account}: is limited until {}", watchkeeper::base::time::Wall(until)));
        if let Some(account) = world.accounts.get_mut(&account).filter(|a| a.limited_until < until) {
            (account.limited_until, account.kind, account.style) = (until, kind, style);
        }
    }
    if rng.chance(swarm.auth) {
        let account = (*rng.pick(&["team-a", "team-b"])).to_owned();
        world.tell(format!("{account}: its credentials change"));
        if let Some(account) = world.accounts.get_mut(&account) {
            account.auth_broken = !account.auth_broken;
        }
    }
    if rng.chance(swarm.foreign) {
        let unit = any(rng);
        if world.pane_of(&unit).is_none()
            && !world.panes.values().any(|p| world.units.get(&unit).is_some_and(|u| u.session == p.session))
        {
            world.tell(format!("{unit}: somebody else takes its session's name"));
            world.foreign_session(&unit);
        }
    }
    if rng.chance(swarm.copy_mode) {
        let unit = any(rng);
        if let Some(pane) = world.pane_of_mut(&unit) {
            pane.in_mode = true;
        }
    }
}

fn clocks(sim: &mut Sim, swarm: &Swarm, rng: &mut Rng) {
    let day = 86_400_000;
    if rng.chance(swarm.jumps) {
        let mut world = sim.world.borrow_mut();
        world.offset = *rng.pick(&[-day, day, 0, 0, 3_600_000, -3_600_000]);
        let offset = world.offset / 1000;
        world.tell(format!("the wall clock jumps: {offset} s off"));
        sim.check.jumped();
    }
    if rng.chance(swarm.suspends) {
        let mut world = sim.world.borrow_mut();
        let ms = rng.between(60, 40_000) * 1000;
        world.suspend(ms);
        world.tell(format!("the machine sleeps for {} s", ms / 1000));
    }
    if rng.chance(swarm.pauses) {
        let mut world = sim.world.borrow_mut();
        let ms = rng.between(300, 1500) * 1000;
        world.tell(format!("nobody looks for {} s", ms / 1000));
        world.run(ms);
    }
    if rng.chance(swarm.reboots) {
        sim.world.borrow_mut().reboot();
        sim.world.borrow_mut().tell("the machine reboots");
        sim.disk.borrow_mut().lose_power();
        sim.dog = None;
    }
}

fn people(sim: &mut Sim, swarm: &Swarm, rng: &mut Rng, any: &dyn Fn(&mut Rng) -> String) {
    if rng.chance(swarm.people) {
        let does = *rng.pick(&[
            PersonDoes::Submit,
            PersonDoes::Clear,
            PersonDoes::LeaveDraft,
            PersonDoes::AnswerDialog,
            PersonDoes::AnswerDialog,
        ]);
        let world = &mut *sim.world.borrow_mut();
        let unit = match does {
            PersonDoes::AnswerDialog => {
                let open =
                    world.panes.values().find(|pane| pane.cli.dialog_open()).map(|pane| pane.unit.clone());
                open.unwrap_or_else(|| any(rng))
            }
            PersonDoes::Submit | PersonDoes::Clear | PersonDoes::LeaveDraft => any(rng),
        };
        let free = world
            .living(&unit)
            .is_some_and(|pane| pane.cli.composer.text.is_empty() || does == PersonDoes::AnswerDialog);
        let agent = world.units.get(&unit).is_some_and(|unit| unit.agent);
        let shell = world.living(&unit).is_some_and(|pane| pane.cli.play == Play::Shell);
        if free && agent && !shell {
            world.person_arrives(&unit, does);
        }
    }
    if rng.chance(swarm.requests) {
        let unit = any(rng);
        request(sim, rng, &unit);
    }
}

/// A person asks for something through the inbox.
fn request(sim: &mut Sim, rng: &mut Rng, unit: &str) {
    let Ok(name) = UnitName::new(unit) else { return };
    // The task that comes at the end is nobody's to start.
    let draw = if unit == FINAL { 9 } else { rng.below(12) };
    let ask = match draw {
        0 => Ask::Up { unit: None },
        1 => Ask::Up { unit: Some(name) },
        2 => Ask::Down { unit: Some(name), reason: "not now".into() },
        3 => Ask::Pause { unit: Some(name), reason: "let me look".into() },
        4 => Ask::Resume { unit: Some(name) },
        5 => Ask::Resume { unit: None },
        6 | 7 => Ask::Restart { unit: name },
        8 => Ask::Approve { unit: name },
        _ => Ask::Nudge { unit: name, text: String::new() },
    };
    sim.ask(ask);
}

fn files(sim: &mut Sim, swarm: &Swarm, rng: &mut Rng, any: &dyn Fn(&mut Rng) -> String) {
    let told = wear::fill(&mut sim.disk.borrow_mut(), rng, swarm.full);
    told.into_iter().for_each(|told| sim.world.borrow_mut().tell(told));
    if rng.chance(swarm.markers) {
        markers(sim, rng, any);
    }
    if rng.chance(swarm.waits) {
        let unit = any(rng);
        let until = sim.world.borrow().local().plus_s(rng.between(30, 900) as f64);
        sim.world.borrow_mut().tell(format!("{unit}: writes WAITING-UNTIL {until}"));
        sim.disk.borrow_mut().put(&format!("units/{unit}/WAITING-UNTIL"), format!("{until}\n").into_bytes());
    }
    if rng.chance(swarm.edits) {
        sim.edition += 1;
        sim.reread();
        sim.world.borrow_mut().tell("agents.toml is edited");
    }
    if rng.chance(swarm.damage) {
        let unit = any(rng);
        let told = wear::damage(&mut sim.disk.borrow_mut(), rng, &unit);
        told.into_iter().for_each(|told| sim.world.borrow_mut().tell(told));
    }
}

fn markers(sim: &mut Sim, rng: &mut Rng, any: &dyn Fn(&mut Rng) -> String) {
    let local = sim.world.borrow().local();
    let text = |rng: &mut Rng, file: &str| {
        if file == "PAUSED" && rng.chance(300) {
            return format!("by hand until {}\n", local.plus_s(rng.between(60, 900) as f64));
        }
        "by hand\n".to_owned()
    };
    let fleet = (&mut sim.fleet_marker_until, sim.world.borrow().t);
    let told = wear::marker(&mut sim.disk.borrow_mut(), rng, any, text, fleet);
    sim.world.borrow_mut().tell(told);
}

//! Cooperative services and recoveries, one trouble at a time: what the swarm meets rarely, or not in a way that can be
//! judged.

use super::cli::{Ended, Temper};
use super::cooperative;
use super::faults::Swarm;
use super::fleet::Crew;
use super::ordeal::Ordeal;
use super::run::{Plan, Sim};
use super::scenes;
use super::service::Mode;
use watchkeeper::base::names::UnitName;
use watchkeeper::model::seen::Ask;
use watchkeeper::policy::decide;

fn sim(seed: u64) -> Sim {
    let plan = Plan {
        seed,
        decide,
        thorough: true,
        safety_ticks: 0,
        liveness: false,
        swarm: Some(scenes::work()),
        work: Some(None),
        crew: Crew::Ladders(Ordeal::default()),
        hunted: None,
    };
    let mut sim = Sim::new(&plan);
    sim.calm_turns(30);
    sim
}

fn unit(sim: &Sim, name: &str) -> serde_json::Value {
    sim.disk.borrow().json(&format!("units/{name}/unit.json")).unwrap_or_default()
}

/// Turns until this holds, at most so many.
#[track_caller]
fn until(sim: &mut Sim, turns: usize, what: &str, holds: impl Fn(&Sim) -> bool) {
    for _ in 0..turns {
        if holds(sim) {
            return;
        }
        sim.calm_turns(1);
    }
    let story = sim.world.borrow().story.iter().cloned().collect::<Vec<_>>().join("\n");
    panic!("{story}\nno {what} within {turns} turns");
}

/// It is killed, a parent hears of each recovery, and of the end of it.
#[test]
fn a_parent_hears_of_each_recovery_and_of_their_end() {
    let mut sim = sim(3);
    let heard = std::cell::RefCell::new(Vec::new());
    let hears = |sim: &Sim, what: &str| {
        let world = sim.world.borrow();
        let boss = world.arrivals.iter().filter(|arrival| arrival.unit == "boss");
        heard.borrow_mut().extend(boss.map(|arrival| arrival.sent.text.clone()));
        heard.borrow().iter().any(|text| text.contains(what))
    };
    until(&mut sim, 200, "checkpoint", |sim| {
        let disk = sim.disk.borrow();
        disk.get("units/writer/checkpoint.json").is_some()
    });
    for what in ["recovery 1 of 2", "recovery 2 of 2", "recovery is exhausted"] {
        until(&mut sim, 100, "life", |sim| sim.world.borrow().living("writer").is_some());
        let id = sim.world.borrow().living("writer").map(|pane| pane.id).unwrap_or_default();
        sim.world.borrow_mut().end_root(id, Some(Ended::Signal(9)));
        until(&mut sim, 300, what, |sim| hears(sim, what));
    }
}

/// An order of a person's does not wait for an open breaker, nor does the healthy observation after it.
#[test]
fn an_open_breaker_lets_one_try_through_each_time_and_closes_when_it_beats_again() {
    let mut sim = sim(1);
    {
        let world = &mut *sim.world.borrow_mut();
        if let Some(service) = world.coop.as_mut().and_then(|coop| coop.services.get_mut("cache")) {
            service.fate = (Mode::Deaf, i64::MAX);
        }
        cooperative::turn(world, "cache", Mode::Deaf);
    }
    let open = |sim: &Sim| unit(sim, "cache")["ladder"]["breaker"]["open"].is_object();
    until(&mut sim, 300, "open breaker", open);
    let acts = unit(&sim, "cache")["acts"].as_u64();
    until(&mut sim, 100, "try", |sim| unit(sim, "cache")["ladder"]["breaker"]["half_open"].is_object());
    assert!(unit(&sim, "cache")["acts"].as_u64() > acts);
    until(&mut sim, 100, "open breaker again", open);
    {
        let world = &mut *sim.world.borrow_mut();
        if let Some(service) = world.coop.as_mut().and_then(|coop| coop.services.get_mut("cache")) {
            service.fate = (Mode::Well, 0);
        }
    }
    sim.ask(Ask::Restart { unit: UnitName::new("cache").unwrap_or_else(|error| panic!("{error:?}")) });
    until(&mut sim, 100, "closed breaker", |sim| unit(sim, "cache")["ladder"]["breaker"] == "closed");
    sim.calm_turns(40);
    assert_eq!(unit(&sim, "cache")["ladder"]["failed"], 0);
}

/// It takes new code when it is asked to, pays nothing for it, and its marker is gone.
#[test]
fn new_code_is_taken_and_paid_for_by_nobody() {
    let mut sim = sim(2);
    {
        let world = &mut *sim.world.borrow_mut();
        let (t, rng) = (world.t, &mut world.rng);
        if let Some(coop) = &mut world.coop {
            coop.repo.pull(t, rng);
        }
    }
    until(&mut sim, 100, "new code", |sim| {
        let world = sim.world.borrow();
        let coop = world.coop.as_ref();
        coop.is_some_and(|coop| {
            coop.services.values().filter(|s| s.versioned).all(|service| service.code == coop.repo.head)
        })
    });
    sim.calm_turns(40);
    for name in ["api", "cache"] {
        let file = unit(&sim, name);
        assert_eq!(file["restart"]["past_awake_s"], serde_json::json!([]), "{name}: {file:#}");
        assert_eq!(file["ladder"]["tier"], 0, "{name}: {file:#}");
        assert!(sim.disk.borrow().get(&format!("units/{name}/RESTART")).is_none(), "{name}");
    }
}

/// Who keeps its promises is left alone: nothing is done, nothing is written.
#[test]
fn a_healthy_fleet_is_left_alone() {
    let mut sim = sim(4);
    sim.calm_turns(60);
    let acts = |sim: &Sim| ["api", "cache", "relay", "queue"].map(|name| unit(sim, name)["acts"].clone());
    let before = acts(&sim);
    sim.calm_turns(200);
    assert_eq!(acts(&sim), before);
    let tiers = ["api", "cache", "relay"].map(|name| unit(&sim, name)["ladder"]["tier"].clone());
    assert_eq!(tiers, [0, 0, 0].map(serde_json::Value::from));
}

/// Time in which nobody looked is no silence, also when the clocks could not be written down after it.
#[test]
fn a_pause_that_could_not_be_written_down_is_no_silence() {
    let temper = Temper { thinks: 1000, silence_max_s: 3000, ..scenes::work().temper };
    let swarm = Swarm { temper, ..scenes::work() };
    let plan = Plan { swarm: Some(swarm), work: Some(None), ..crate::plan(1) };
    let mut sim = Sim::new(&plan);
    for round in 0..20 {
        sim.calm_turns(3 + round % 5);
        sim.world.borrow_mut().run(1_000_000);
        sim.disk.borrow_mut().faults.fixed = Some("clocks.json");
        sim.calm_turns(1);
        sim.disk.borrow_mut().faults.fixed = None;
        sim.calm_turns(1);
    }
}

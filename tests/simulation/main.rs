//! The whole watchdog against a simulated world: seeded, with faults, killed at any boundary. First safety (invariants
//! in every tick), then liveness (everybody recovers). `SEED=n cargo test --test simulation` reruns one seed with its
//! whole story; `SEEDS=n` is the last one of a run, `FROM=n` the first; `MUTANT=words` runs the planted bugs of that name.

#![expect(clippy::panic, clippy::print_stdout, reason = "a test fails loudly and tells its story")]

mod cli;
mod cooperative;
mod faults;
mod files;
mod fleet;
mod friction;
mod goal;
mod host;
mod invariants;
mod liveness;
mod mutants;
mod mutants_of_ladders;
mod mutants_of_plans;
mod ops;
mod ordeal;
mod outline;
mod process;
mod remote;
mod rng;
mod run;
mod scenes;
mod service;
mod threads;
mod trials;
mod wear;
mod work;
mod world;

use run::{Plan, Sim, run};
use threads::on_two_threads;
use watchkeeper::base::names::UnitName;
use watchkeeper::model::seen::Ask;

/// Seeds of a usual run: what fits into some ten seconds of a debug build on two cores.
const SEEDS: u64 = 8;
/// The same for the ladders.
const SEEDS_OF_LADDERS: u64 = 4;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        decide: watchkeeper::policy::decide,
        thorough: true,
        safety_ticks: 250,
        liveness: true,
        swarm: None,
        work: None,
        crew: fleet::Crew::Agents,
        hunted: None,
    }
}

/// A unit whose file can't be judged just now is not unknown: what is asked of it waits, and is done.
#[test]
fn what_is_asked_of_a_unit_with_a_broken_file_waits() {
    let mut sim = Sim::new(&Plan { swarm: Some(scenes::work()), work: Some(None), ..plan(1) });
    sim.calm_turns(20);
    sim.disk.borrow_mut().put("units/builder-1/unit.json", b"{ \"seen\": ".to_vec());
    sim.ask(Ask::Nudge {
        unit: UnitName::new("builder-1").unwrap_or_else(|error| panic!("{error:?}")),
        text: String::new(),
    });
    sim.calm_turns(1);
    let clocks = sim.disk.borrow().json("clocks.json").unwrap_or_default();
    assert!(clocks["units"]["builder-1"].is_object(), "its clocks stopped with it: {clocks:#}");
    sim.calm_turns(60);
    let mail = sim.disk.borrow().json("mail.json").unwrap_or_default();
    assert_eq!(mail["handled"][0]["taken"], "accepted", "{mail:#}");
    assert!(sim.check.text_arrived("r1"), "{mail:#}");
}

#[test]
fn every_seed_is_safe_and_recovers() {
    every_seed(SEEDS, plan);
}

/// The same for a fleet of cooperative services, with what they go through.
#[test]
fn every_seed_of_ladders_is_safe_and_recovers() {
    every_seed(SEEDS_OF_LADDERS, |seed| {
        let mut rng = rng::Rng::new(seed ^ 0x1add);
        let crew = fleet::Crew::Ladders(ordeal::Ordeal::draw(&mut rng));
        Plan { crew, work: Some(None), ..plan(seed) }
    });
}

#[track_caller]
fn every_seed(last: u64, plan: impl Fn(u64) -> Plan + Sync) {
    let seeds: Vec<u64> = match number("SEED") {
        Some(seed) => vec![seed],
        None => (number("FROM").unwrap_or(1)..=number("SEEDS").unwrap_or(last)).collect(),
    };
    let runs = on_two_threads(&seeds, |seed| run(&plan(*seed)));
    assert_eq!(runs.len(), seeds.len());
    let mut total = run::Stats::default();
    let mut failures = Vec::new();
    for run in runs {
        match run {
            Ok(stats) => {
                total.ticks += stats.ticks;
                total.effects += stats.effects;
                total.arrivals += stats.arrivals;
            }
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(first) = failures.first() {
        let all: Vec<String> = failures.iter().map(|failure| failure.line()).collect();
        let story = first
            .story
            .iter()
            .rev()
            .take(number("STORY").map_or(30, |n| n as usize))
            .rev()
            .cloned()
            .collect::<Vec<_>>()
            .join("\n");
        panic!("{story}\n\n{}\nSEED={} cargo test --test simulation", all.join("\n"), first.seed);
    }
    println!("{} ticks, {} effects, {} texts arrived", total.ticks, total.effects, total.arrivals);
    assert!(total.effects > 0 && total.arrivals > 0, "nothing happened in the simulation");
}

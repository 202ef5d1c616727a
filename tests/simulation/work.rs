//! A fleet with a plan, one trouble at a time: what the swarm meets rarely, or not in a way that can be judged.

use super::friction::{self, Friction};
use super::invariants::view;
use super::remote::Zeal;
use super::run::{Plan, Sim, run};
use super::{goal, scenes};
use watchkeeper::policy::decide;

fn plan(seed: u64, friction: Friction) -> Plan {
    Plan {
        seed,
        decide,
        thorough: true,
        safety_ticks: 200,
        liveness: true,
        swarm: Some(scenes::work()),
        work: Some(Some(friction)),
        crew: super::fleet::Crew::Agents,
        hunted: None,
    }
}

/// At work in the first phase, with a history; nobody pushes.
fn at_work(seed: u64) -> Sim {
    let mut sim = Sim::new(&plan(seed, Friction::default()));
    goal::set_zeal(&sim, Zeal::Rest);
    push(&sim, "chore: begin");
    sim.calm_turns(60);
    sim
}

/// Somebody pushes, and the clone has it.
fn push(sim: &Sim, subject: &str) -> String {
    let world = &mut *sim.world.borrow_mut();
    let remote = world.remote.as_mut().unwrap_or_else(|| panic!("no remote"));
    remote.commit(subject, |_| {});
    remote.tracking = remote.origin;
    remote.tip().unwrap_or_default().chars().take(10).collect()
}

fn in_force(sim: &Sim) -> String {
    view(&sim.disk.borrow()).unwrap_or_default().id
}

#[test]
fn a_unit_with_a_broken_file_is_told_of_the_work_afterwards() {
    let mut sim = at_work(1);
    let path = "units/boss/unit.json";
    let whole = sim.disk.borrow().get(path).map(<[u8]>::to_vec).unwrap_or_default();
    sim.disk.borrow_mut().put(path, b"{ \"v\": 99 }".to_vec());
    sim.calm_turns(2);
    let claim = push(&sim, "feat: claim(a) the parser");
    sim.calm_turns(10);
    sim.disk.borrow_mut().put(path, whole);
    sim.calm_turns(60);
    for unit in ["boss", "tester"] {
        assert_eq!(sim.check.pings.times(unit, &format!("{claim} claim")), 1, "{unit}");
    }
}

#[test]
fn a_broken_phase_file_holds_only_the_agents_of_the_plan() {
    let mut sim = at_work(2);
    let whole = sim.disk.borrow().get("phase.json").map(<[u8]>::to_vec).unwrap_or_default();
    sim.disk.borrow_mut().put("phase.json", b"{ \"v\": 99 }".to_vec());
    sim.calm_turns(2);
    for unit in ["builder-1", "boss", "queue"] {
        let world = &mut *sim.world.borrow_mut();
        let id = world.living(unit).map(|pane| pane.id).unwrap_or_default();
        world.end_root(id, None);
    }
    sim.calm_turns(60);
    let lives = |sim: &Sim, unit: &str| sim.world.borrow().living(unit).is_some();
    assert!(lives(&sim, "boss") && lives(&sim, "queue"), "they have no part in the plan");
    assert!(!lives(&sim, "builder-1"), "nobody knows for which phase");
    sim.disk.borrow_mut().put("phase.json", whole);
    sim.calm_turns(60);
    assert!(lives(&sim, "builder-1"));
    assert_eq!(in_force(&sim), "p1");
}

/// A remote that hangs, fails and is stuck, and nothing else: work goes on with what is there, and is told once.
#[test]
fn a_remote_that_never_answers_is_told_once() {
    for (seed, friction) in [
        (1, Friction { hangs: 1000, ..Friction::default() }),
        (2, Friction { fails: 1000, ..Friction::default() }),
        (3, Friction { stuck: 1000, ..Friction::default() }),
    ] {
        let mut sim = Sim::new(&plan(seed, friction));
        sim.calm_turns(120);
        let outbox = sim.disk.borrow().get("outbox.jsonl").map(<[u8]>::to_vec).unwrap_or_default();
        let told = String::from_utf8_lossy(&outbox).matches("does not work").count();
        assert_eq!(told, 1, "seed {seed}");
        assert_eq!(in_force(&sim), "p1", "what is not fetched is not known");
        friction::remove(&mut sim);
        sim.calm_turns(120);
        assert_ne!(in_force(&sim), "p1", "it works again");
    }
}

/// Nothing goes wrong: phase after phase, everybody with its kickoff, each commit told once, the last task once.
#[test]
fn a_plan_is_worked_through() {
    let plan = Plan { safety_ticks: 100, ..plan(1, Friction { pushes: 600, ..Friction::default() }) };
    if let Err(failure) = run(&plan) {
        panic!("{}\n{}", failure.story.join("\n"), failure.line());
    }
}

//! Processes that are looked at late, blindly or by a clock that was set: nothing is taken for what it is not.

use super::tests::{FAIL, config, running};
use crate::model::finding::FindingKind;
use crate::model::process::RunSeen;
use crate::model::seen::{Ask, Exit};
use crate::policy::testing::{World, name};

const SILENCE: &str = "detectors = [ { kind = \"stall\", name = \"silence\", no_progress_s = 100 } ]\n[process.healing]\nagent = \"off\"";
const SWOLLEN: &str = "detectors = [ { kind = \"metric\", name = \"mem\", regex = \"mem (.*)\", above = 9 } ]\n\
    rules = [ { name = \"halve\", match = { detector = \"mem\" }, action = { kind = \"restart-with-env\", set = { BATCH = \"half\" } } } ]";

#[test]
fn time_in_which_it_was_over_and_nobody_looked_is_no_silence() {
    let mut world = running("[process.healing]\nagent = \"off\"\nverify_window_s = 100");
    world.unit("p").ended(FAIL);
    world.run(30.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    // Another failure, so that the attempt stands.
    world.unit("p").ended(Some(Exit::Signal(9)));
    world.pass(500.0);
    world.tick_now();
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    let kept = |world: &World| world.ledger.iter().filter(|row| row.ends_with("kept")).count();
    assert_eq!(kept(&world), 0, "{:?}", world.ledger);
    world.run(100.0);
    assert_eq!(kept(&world), 2, "{:?}", world.ledger);
}

#[test]
fn a_wall_clock_that_was_set_makes_no_run_older_than_its_order() {
    let mut world = World::new(&config("deadline_s = 200"));
    world.ticks(1);
    world.set_wall(86_400.0);
    world.run(150.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    assert!(world.state_of("p").process.remedy.is_none(), "{}", world.story());
    world.run(100.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
}

#[test]
fn what_is_found_while_its_host_cannot_be_asked_is_judged_later() {
    let mut world = running(SWOLLEN);
    let run = world.unit("p").process().run.clone();
    world.unit("p").process().run = RunSeen::Unknown { why: "controller down".into() };
    world.unit("p").says("mem", FindingKind::Metric, "mem is 12");
    world.run(120.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.unit("p").process().run = run;
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert_eq!(world.runs[1].env["BATCH"], "4");
}

#[test]
fn what_runs_on_though_it_stalls_again_and_again_is_told_once() {
    let mut world = running(&format!("max_identical = 1\n{SILENCE}"));
    world.run(2000.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.expect_alerts("runs on, and is not ended for a restart", 1);
    assert_eq!(world.state_of("p").process.run.failure.as_ref().map(|failure| failure.count), Some(1));
    world.ask(Ask::Approve { unit: name("p") });
    world.run(60.0);
    world.expect_alerts("runs on, and is not ended for a restart", 2);
}

#[test]
fn a_stall_that_moves_before_its_end_began_is_not_ended() {
    let mut world = running(SILENCE);
    for _ in 0..400 {
        world.tick();
        if world.state_of("p").ending.is_some() {
            break;
        }
    }
    assert!(world.state_of("p").ending.is_some(), "{}", world.story());
    world.unit("p").writes();
    world.run(60.0);
    assert!(world.state_of("p").ending.is_none() && world.state_of("p").process.remedy.is_none());
    assert!(!world.done.iter().any(|(_, _, label, _)| label == "terminate"), "{}", world.story());
    assert_eq!(world.ledger, ["p-1 default restart pending", "p-1 default restart kept"]);
}

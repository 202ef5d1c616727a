//! What is found while it runs, and the rules, stalls and deadlines that act on it.

use super::*;
use crate::model::process::LogCursor;

const OOM: &str = "detectors = [ { kind = \"pattern\", name = \"oom\", regex = \"x\" }, { kind = \"exit\" } ]\n\
    rules = [ { name = \"halve\", match = { detector = \"oom\" }, action = { kind = \"restart-with-env\", set = { BATCH = \"half\" } } } ]\n\
    [process.healing]\nagent = \"off\"\nverify_window_s = 100";

#[test]
fn a_rule_halves_and_what_it_set_is_remembered() {
    let mut world = running(OOM);
    let fails = |world: &mut World| {
        world.unit("p").says("oom", FindingKind::Pattern, "CUDA out of memory");
        world.ticks(1);
        if let RunSeen::Alive { .. } = world.unit("p").process().run {
            world.unit("p").ended(FAIL);
        }
        world.run(40.0);
    };
    fails(&mut world);
    assert_eq!(world.runs[1].env["BATCH"], "4", "{}", world.story());
    fails(&mut world);
    assert_eq!(world.runs[2].env["BATCH"], "2");
    world.run(300.0);
    assert_eq!(
        world.ledger,
        [
            "p-1 halve restart-with-env pending",
            "p-1 halve restart-with-env regressed",
            "p-2 halve restart-with-env pending",
            "p-2 halve restart-with-env kept"
        ]
    );
    assert_eq!(world.state_of("p").process.run.restarts, 0);
    // Another failure, another start: it still has what was set.
    world.unit("p").ended(FAIL);
    world.run(60.0);
    assert_eq!(world.runs[3].env["BATCH"], "2", "{}", world.story());
    // At its floor: told, and started all the same.
    fails(&mut world);
    fails(&mut world);
    assert_eq!(world.runs[5].env["BATCH"], "1");
    world.expect_alerts("at its floor 1 already", 1);
}

#[test]
fn a_traceback_of_what_runs_on_is_written_down_and_nothing_is_ended() {
    let mut world = running("");
    world.unit("p").says("traceback", FindingKind::Traceback, "handled");
    world.run(600.0);
    assert_eq!((world.runs.len(), world.incidents.len()), (1, 1), "{}", world.story());
    assert!(world.done.is_empty(), "{}", world.story());
}

#[test]
fn a_rule_may_pause_abort_and_people_let_it_go_on() {
    let pause = "rules = [ { match = { exit = 7 }, action = { kind = \"pause\" } }, { match = { exit = 8 }, action = { kind = \"abort\" } } ]";
    let mut world = running(pause);
    world.unit("p").ended(Some(Exit::Status(7)));
    world.run(60.0);
    assert_eq!(world.runs.len(), 1);
    world.expect_alerts("`p` is paused", 1);
    world.ask(Ask::Resume { unit: Some(name("p")) });
    world.run(20.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    world.unit("p").ended(Some(Exit::Status(8)));
    world.run(60.0);
    world.expect_alerts("`p` is given up", 1);
    world.ask(Ask::Approve { unit: name("p") });
    world.run(20.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    world.ask(Ask::Restart { unit: name("p") });
    world.run(20.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
}

#[test]
fn a_stall_is_ended_with_proof_only() {
    let stall = "detectors = [ { kind = \"stall\", name = \"silence\", no_progress_s = 100 } ]\n[process.healing]\nagent = \"off\"";
    let mut world = running(stall);
    // It computes: a silence alone is no proof.
    for _ in 0..30 {
        world.unit("p").uses_cpu(9_000);
        world.run(10.0);
    }
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    assert_eq!(world.incidents.len(), 1);
    let hold = world.state_of("p").hold.clone().unwrap();
    assert!(hold.why.contains("use CPU"), "{hold:?}");
    // Now it does nothing at all.
    world.run(120.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert!(world.done.iter().any(|(_, _, label, _)| label == "terminate"), "{}", world.story());
    // The new one writes: no second stall.
    for _ in 0..40 {
        world.unit("p").writes();
        world.run(10.0);
    }
    assert_eq!(world.runs.len(), 2, "{}", world.story());
}

/// A silence that nobody may end is not waited out for ever without a word.
#[test]
fn a_stall_whose_end_is_withheld_is_told_after_two_hours_and_daily() {
    let stall = "detectors = [ { kind = \"stall\", name = \"silence\", no_progress_s = 400 } ]\n[process.healing]\nagent = \"off\"";
    let mut world = running(stall);
    let told = "nothing was done because its processes use CPU";
    let computes = |world: &mut World, hours: f64| {
        for _ in 0..(hours * 120.0) as usize {
            world.unit("p").uses_cpu(27_000);
            world.run(30.0);
        }
    };
    computes(&mut world, 1.9);
    world.expect_alerts(told, 0);
    computes(&mut world, 0.3);
    world.expect_alerts(told, 1);
    computes(&mut world, 20.0);
    world.expect_alerts(told, 1);
    computes(&mut world, 5.0);
    world.expect_alerts(told, 2);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.ask(Ask::Approve { unit: name("p") });
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert!(world.state_of("p").stall.vetoes_since.is_empty());
}

#[test]
fn a_metric_that_stands_still_while_output_goes_on_is_a_stall_of_its_own() {
    let stall = "detectors = [ { kind = \"stall\", name = \"steps\", metric_regex = \"step (\\\\d+)\", no_progress_s = 100 } ]\n[process.healing]\nagent = \"off\"";
    let mut world = running(stall);
    for step in 0..60 {
        world.unit("p").writes();
        world.unit("p").process().log.metrics.insert("steps".into(), f64::from(step.min(20)));
        world.run(5.0);
    }
    assert_eq!(world.incidents.len(), 1, "{}", world.story());
    let incident = world.incidents.values().next().unwrap();
    assert!(incident.finding.message.contains("the value stays at 20"), "{}", incident.finding.message);
}

#[test]
fn a_run_past_its_deadline_is_ended() {
    let mut world = running("deadline_s = 500\n[process.healing]\nagent = \"off\"");
    for _ in 0..48 {
        world.unit("p").writes();
        world.run(10.0);
    }
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert!(world.incidents.keys().any(|id| id.ends_with("-p-deadline")), "{:?}", world.incidents.keys());
}

#[test]
fn what_runs_on_without_restarts_is_a_persons_affair_until_they_approve() {
    let more = "restart = { max = 2, cooldown_s = 1 }\n\
        detectors = [ { kind = \"pattern\", name = \"slow\", regex = \"z\" }, { kind = \"exit\" } ]\n\
        rules = [ { match = { detector = \"slow\" }, action = { kind = \"restart\" } } ]\n\
        [process.healing]\nagent = \"off\"\nescalate_after = 1\nverify_window_s = 100000";
    let mut world = World::new(&config(more).replace("restart = { max = 10, cooldown_s = 10 }\n", ""));
    world.ticks(3);
    // Nobody is there to ask: its rule is kept to beyond `escalate_after`, and then no more.
    for _ in 0..5 {
        world.unit("p").says("slow", FindingKind::Pattern, "z");
        world.run(700.0);
    }
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    assert!(world.started.is_empty(), "{}", world.story());
    world.expect_alerts("`p` runs on, and is not ended for a restart: 2 restarts not kept", 1);
    let said = line(&world, "p");
    assert_eq!((said.up, said.urgency), (true, crate::policy::summary::Urgency::Person));
    assert!(said.needs.as_ref().is_some_and(|needs| needs.contains("`watchkeeper approve p`")), "{said:?}");
    world.ask(Ask::Approve { unit: name("p") });
    world.run(30.0);
    assert_eq!(world.runs.len(), 4, "{}", world.story());
    assert_eq!(line(&world, "p").needs, None);
    // What ends by itself asks for nobody any more.
    for _ in 0..3 {
        world.unit("p").says("slow", FindingKind::Pattern, "z");
        world.run(700.0);
    }
    assert!(line(&world, "p").needs.is_some(), "{}", world.story());
    world.unit("p").ended(WELL);
    world.run(30.0);
    assert_eq!(line(&world, "p").needs, None);
}

#[test]
fn the_crash_that_uses_up_the_budget_has_its_incident() {
    let mut world = running("[process.healing]\nagent = \"off\"\nverify_window_s = 100000");
    for status in 1..=11 {
        world.unit("p").ended(Some(Exit::Status(status)));
        world.run(30.0);
    }
    assert_eq!(world.runs.len(), 11, "{}", world.story());
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Spent { .. }));
    let last = world.incidents.values().find(|order| order.finding.exit == Some(11));
    let notes = last.map(|order| order.notes.join("; ")).unwrap_or_default();
    assert!(notes.contains("not started again: 10 restarts not kept"), "{notes:?}");
}

#[test]
fn of_an_end_that_nobody_saw_nobody_says_that_it_failed() {
    let mut world = World::new(ATTACHED);
    world.unit("p").runs(1);
    world.ticks(2);
    world.unit("p").ended(None);
    world.run(60.0);
    let said = line(&world, "p");
    let words = (said.doing.as_deref(), said.exit.as_deref());
    assert_eq!(words, (Some("over"), Some("it ended; nobody knows how")), "{}", world.story());
    world.expect_alerts("`p` is over: it ended; nobody knows how", 1);
    world.unit("p").runs(2);
    world.ticks(2);
    world.unit("p").ended(FAIL);
    world.run(60.0);
    assert_eq!(line(&world, "p").doing.as_deref(), Some("over; it failed"));
}

#[test]
fn the_noise_of_one_detector_explains_no_end_that_another_explains() {
    let mut world = running(
        "detectors = [ { kind = \"pattern\", name = \"warn\", regex = \"W\" }, { kind = \"traceback\" }, { kind = \"exit\" } ]\n[process.healing]\nagent = \"off\"",
    );
    for n in 0..40u8 {
        if n == 5 {
            world.unit("p").says("traceback", FindingKind::Traceback, "boom");
        }
        let word = char::from(b'a' + n % 26).to_string().repeat(1 + usize::from(n));
        world.unit("p").says("warn", FindingKind::Pattern, &word);
    }
    world.unit("p").ended(FAIL);
    world.run(30.0);
    let trace = world.incidents.values().find(|order| order.finding.message == "boom");
    assert_eq!(trace.map(|order| order.remedy.action.as_str()), Some("restart"), "{}", world.story());
    assert_eq!(world.state_of("p").process.run.restarts, 1);
}

#[test]
fn where_reading_began_after_a_lost_memory_survives_lost_clocks_too() {
    let mut world = running("");
    world.unit("p").says("traceback", FindingKind::Traceback, "boom");
    world.tick();
    // unit.json was damaged: its run is adopted, and reading begins at the log's end.
    world.state.units.remove(&name("p"));
    world.unit("p").writes();
    world.ticks(2);
    assert!(world.state_of("p").process.run.number > 0, "{}", world.story());
    let here = world.unit("p").process().log.cursor.clone();
    world.state.clocks = crate::state::clocks::Clocks::default();
    assert_eq!(
        crate::policy::process::cursor(&world.state, &name("p")),
        here,
        "old lines are not read as new ones"
    );
}

/// The memory of a log that was cut stands where it is not lost: what comes at places that were judged before is new.
#[test]
fn a_log_that_was_cut_is_read_from_its_beginning_after_lost_clocks_too() {
    let mut world = running("");
    world.unit("p").says("traceback", FindingKind::Traceback, "boom");
    world.tick();
    let file = Some((1, 2));
    let place = |judged| LogCursor { file, judged, traced: judged, read: judged, ..LogCursor::default() };
    for judged in [268, 0] {
        world.unit("p").process().log.cursor = place(judged);
        world.tick();
    }
    world.state.clocks = crate::state::clocks::Clocks::default();
    assert_eq!(crate::policy::process::cursor(&world.state, &name("p")), place(0));
}

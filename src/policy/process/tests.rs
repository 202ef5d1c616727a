//! Processes tick by tick: starts, ends, rules, budgets, stalls, healing. The host, its logs and the agent are pretended.

use crate::model::action::FixStep;
use crate::model::finding::FindingKind;
use crate::model::process::LogCursor;
use crate::model::process::{Held, RunId, RunSeen};
use crate::model::seen::{Ask, Exit, FixSeen, JobSeen, Paused};
use crate::policy::testing::{World, name};
use crate::state::process::Standing;

pub(super) const FAIL: Option<Exit> = Some(Exit::Status(1));
const WELL: Option<Exit> = Some(Exit::Status(0));

pub(super) fn config(more: &str) -> String {
    format!(
        "[[process]]\nname = \"p\"\ncommand = [\"train\"]\nenv = {{ BATCH = 8 }}\nrestart = {{ max = 10, cooldown_s = 10 }}\n{more}\n"
    )
}

/// It runs, and has just begun to.
pub(super) fn running(more: &str) -> World {
    let mut world = World::new(&config(more));
    world.ticks(3);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.forget();
    world
}

#[track_caller]
fn standing(world: &World, want: &Standing) {
    assert_eq!(&world.state_of("p").process.run.standing, want, "{}", world.story());
}

#[test]
fn a_wanted_process_is_started_once_with_its_number_on_record() {
    let mut world = World::new(&config(""));
    world.deaf.insert("p: start".into());
    world.tick();
    // It is on record, and we were killed before it was carried out: the same number again.
    assert_eq!(world.state_of("p").process.run.number, 1);
    assert!(world.runs.is_empty());
    world.deaf.clear();
    world.run(20.0);
    assert_eq!(world.runs.iter().map(|run| run.number).collect::<Vec<_>>(), [1]);
    world.run(600.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
}

#[test]
fn a_start_that_became_no_process_is_no_run_that_failed() {
    let mut world = World::new(&config("lifecycle = \"one-shot\""));
    world.deaf.insert("p: start".into());
    world.deaf.insert("p: start again".into());
    world.tick();
    let never = |exit| RunSeen::Ended {
        id: RunId { number: 1, handle: String::new() },
        exit,
        out_of_memory: false,
        at: None,
        note: Some("starting the process: out of memory".into()),
    };
    world.unit("p").process().run = never(None);
    world.run(1000.0);
    standing(&world, &Standing::Open);
    let run = &world.state_of("p").process.run;
    assert_eq!((run.number, run.judged, run.restarts), (1, 0, 0), "{}", world.story());
    // It is tried again less and less often, and people hear of it.
    assert!((5..12).contains(&run.refused), "{}", run.refused);
    world.expect_alerts("`p` can't be started: starting the process: out of memory; it is tried again", 1);
    assert!(world.incidents.is_empty());
    world.deaf.clear();
    world.run(400.0);
    assert_eq!(world.runs.iter().map(|run| run.number).collect::<Vec<_>>(), [1]);
    // A status was there: that is an end.
    let mut world = World::new(&config("lifecycle = \"one-shot\""));
    world.deaf.insert("p: start".into());
    world.tick();
    world.unit("p").process().run = never(Some(Exit::Status(127)));
    world.run(60.0);
    standing(&world, &Standing::Finished { well: false });
}

#[test]
fn an_end_that_nobody_knows_is_a_persons() {
    let mut world = running("");
    let RunSeen::Alive { id, .. } = world.unit("p").process().run.clone() else { panic!() };
    world.unit("p").process().run = RunSeen::vanished(id);
    world.run(600.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }));
    world.expect_alerts("run 1 is over, and nobody knows how it ended; `watchkeeper approve p`", 1);
    assert_eq!(world.incidents.len(), 1);
    world.ask(Ask::Approve { unit: name("p") });
    world.run(30.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
}

#[test]
fn what_a_run_leaves_behind_is_ended_before_the_next_start() {
    let mut world = running("");
    world.unit("p").ended(FAIL);
    world.unit("p").orphan(4711);
    world.run(30.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    let story = world.story();
    let at = |what: &str| story.find(what).unwrap_or_else(|| panic!("no {what}: {story}"));
    assert!(at("run 1 left 1 process behind") < at("TERM to 1 processes"), "{story}");
    assert!(world.state_of("p").ending.is_none());
    // Of one that is over, or that waits for a person, nobody looks for anything; a person's start ends it too.
    let mut world = running("lifecycle = \"one-shot\"");
    world.unit("p").ended(WELL);
    world.unit("p").orphan(4711);
    world.run(60.0);
    assert!(!world.story().contains("left 1 process"), "{}", world.story());
    world.ask(Ask::Restart { unit: name("p") });
    world.run(30.0);
    assert!(world.story().contains("left 1 process"), "{}", world.story());
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    // Paused means that nothing is ended.
    let mut world = running("");
    world.unit("p").seen().markers.paused = Some(Paused { reason: "wait".into(), until: None });
    world.unit("p").ended(FAIL);
    world.unit("p").orphan(4711);
    world.run(60.0);
    assert!(!world.story().contains("TERM"), "{}", world.story());
}

#[test]
fn what_its_host_does_not_know_now_is_not_over() {
    let mut world = running("");
    let run = world.unit("p").process().run.clone();
    for unknown in [RunSeen::Unknown { why: "controller down".into() }, pending(&run)] {
        world.unit("p").process().run = unknown;
        world.run(3600.0);
        assert_eq!(world.runs.len(), 1, "{}", world.story());
    }
    world.unit("p").process().run = run;
    world.run(60.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
}

fn pending(run: &RunSeen) -> RunSeen {
    let RunSeen::Alive { id, .. } = run else { panic!("{run:?}") };
    RunSeen::Pending { id: id.clone(), why: "requeued".into(), held: None }
}

#[test]
fn an_end_means_what_the_lifecycle_says() {
    #[track_caller]
    fn check(lifecycle: &str, exit: Option<Exit>, runs: usize, want: &Standing) {
        let mut world = running(&format!("lifecycle = \"{lifecycle}\""));
        world.unit("p").ended(exit);
        world.run(60.0);
        assert_eq!(world.runs.len(), runs, "{}", world.story());
        standing(&world, want);
    }
    let (well, badly) = (Standing::Finished { well: true }, Standing::Finished { well: false });
    check("restart-on-failure", WELL, 1, &well);
    check("restart-on-failure", FAIL, 2, &Standing::Open);
    check("restart-on-failure", Some(Exit::Signal(9)), 2, &Standing::Open);
    check("restart-on-failure", None, 2, &Standing::Open);
    check("one-shot", WELL, 1, &well);
    check("one-shot", FAIL, 1, &badly);
    check("restart-always", WELL, 2, &Standing::Open);
    check("restart-always", FAIL, 2, &Standing::Open);
}

#[test]
fn a_restart_waits_for_the_cooldown_and_the_budget_ends() {
    let mut world = running("max_identical = 100\n[process.healing]\nagent = \"off\"");
    world.unit("p").ended(FAIL);
    world.run(8.0);
    assert_eq!(world.runs.len(), 1);
    world.run(8.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    for _ in 0..20 {
        if let RunSeen::Alive { .. } = world.unit("p").process().run {
            world.unit("p").ended(FAIL);
        }
        world.run(30.0);
    }
    assert_eq!(world.runs.len(), 11, "{}", world.story());
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Spent { .. }));
    world.expect_alerts("is not started again: 10 restarts not kept", 1);
    world.ask(Ask::Approve { unit: name("p") });
    world.run(30.0);
    assert_eq!(world.runs.len(), 12, "{}", world.story());
}

#[test]
fn the_same_failure_in_a_row_stops_trying() {
    let mut world = running("max_identical = 3\n[process.healing]\nagent = \"off\"");
    for _ in 0..5 {
        if let RunSeen::Alive { .. } = world.unit("p").process().run {
            world.unit("p").says("traceback", FindingKind::Traceback, "division by zero");
            world.ticks(1);
            world.unit("p").ended(FAIL);
        }
        world.run(30.0);
    }
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    world.expect_alerts("the same failure 3 times in a row: division by zero", 1);
    // One folder for all of them, and none for the ends that it explains.
    assert_eq!(world.incidents.len(), 1, "{:?}", world.incidents.keys());
}

#[test]
fn others_are_waited_for_and_what_is_needed_is_named() {
    let mut world = World::new(
        "[[process]]\nname = \"a\"\ncommand = [\"x\"]\n[[process]]\nname = \"b\"\ncommand = [\"y\"]\nafter = [\"a\"]\n",
    );
    world.run(60.0);
    assert_eq!(world.runs.len(), 1);
    let hold = world.state_of("b").hold.clone().unwrap();
    assert!(hold.why.contains("after `a`, which has not ended"), "{hold:?}");
    world.unit("b").process().missing = vec!["the program `nvcc`".into()];
    world.unit("a").ended(WELL);
    world.run(60.0);
    let hold = world.state_of("b").hold.clone().unwrap();
    assert!(hold.why.contains("the program `nvcc`"), "{hold:?}");
    world.unit("b").process().missing.clear();
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
}

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
fn nothing_is_done_to_what_is_paused_down_or_suspended() {
    let stall = "detectors = [ { kind = \"stall\", name = \"silence\", no_progress_s = 100 } ]\n[process.healing]\nagent = \"off\"";
    let mut world = running(stall);
    let RunSeen::Alive { id, process, since, .. } = world.unit("p").process().run.clone() else { panic!() };
    world.unit("p").process().run = RunSeen::Alive { id, process, since, suspended: true };
    world.run(1000.0);
    assert!(world.incidents.is_empty(), "{}", world.story());
    world.ask(Ask::Pause { unit: Some(name("p")), reason: String::new() });
    world.ticks(2);
    world.unit("p").ended(FAIL);
    world.run(300.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.ask(Ask::Down { unit: Some(name("p")), reason: String::new() });
    world.ask(Ask::Resume { unit: Some(name("p")) });
    world.run(300.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.ask(Ask::Up { unit: Some(name("p")) });
    world.run(30.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
}

#[test]
fn down_ends_it_and_its_end_is_no_failure() {
    let mut world = running("");
    world.ask(Ask::Down { unit: Some(name("p")), reason: "later".into() });
    world.run(60.0);
    assert!(world.done.iter().any(|(_, _, label, _)| label == "terminate"), "{}", world.story());
    assert!(world.incidents.is_empty(), "{}", world.story());
    assert_eq!(world.runs.len(), 1);
    world.ask(Ask::Up { unit: Some(name("p")) });
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    world.ask(Ask::Restart { unit: name("p") });
    world.run(60.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    assert!(world.incidents.is_empty(), "{}", world.story());
    assert_eq!(world.state_of("p").process.run.restarts, 0);
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

const HEADLESS: &str =
    "[process.healing]\nagent = \"headless\"\nescalate_after = 1\nverify_window_s = 1000\ntimeout_s = 60";

/// It failed twice: the agent is asked.
fn asked(more: &str) -> World {
    asked_with(more, "")
}

/// The same, with keys more for the healing.
fn asked_with(more: &str, healing: &str) -> World {
    let mut world = running(&format!("{more}\n{HEADLESS}\n{healing}"));
    for _ in 0..2 {
        world.unit("p").ended(FAIL);
        world.run(30.0);
    }
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert_eq!(world.started.len(), 1, "{}", world.story());
    world
}

#[test]
fn restarts_that_are_not_kept_lead_to_the_agent() {
    let mut world = asked("");
    let prompt = world.started[0].stdin.clone().unwrap();
    assert!(prompt.contains("Process: p") && prompt.contains("exit status 1"), "{prompt}");
    world.results.insert("heal".into(), JobSeen::well("fixed.\n**ACTION: restart**\nSET: LR=0.1\n"));
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    assert_eq!(world.runs[2].env["LR"], "0.1");
    world.run(2000.0);
    assert_eq!(world.ledger.last().unwrap(), "p-2 agent restart-with-env kept");
    assert_eq!(world.notes["p-2"].response, "fixed.\n**ACTION: restart**\nSET: LR=0.1\n");
}

/// The agent answered, and edited something.
fn edited(healing: &str) -> World {
    let mut world = asked_with("", healing);
    assert_eq!(world.started[0].fix.as_ref().map(|fix| fix.step), Some(FixStep::Clean));
    let fix =
        FixSeen { branch: "watchkeeper/fix-1".into(), patch: "+x".into(), open: true, ..FixSeen::default() };
    world.results.insert(
        "heal".into(),
        JobSeen::Ended {
            failed: None,
            status: Some(0),
            output: "ACTION: restart".into(),
            fix: Some(Box::new(fix)),
        },
    );
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    world
}

/// The steps that ended fixes, in order.
fn steps(world: &World) -> Vec<FixStep> {
    world.started.iter().skip(1).filter_map(|job| job.fix.as_ref().map(|fix| fix.step)).collect()
}

#[test]
fn edits_that_hold_stay_on_their_branch_or_are_merged() {
    for (more, want) in [("", FixStep::Keep), ("auto_merge = true", FixStep::Merge)] {
        let mut world = edited(more);
        world.results.insert("fix".into(), JobSeen::well(""));
        world.run(2000.0);
        assert_eq!(steps(&world), [want], "{}", world.story());
        assert_eq!(world.notes["p-2"].patch, "+x");
        assert!(world.state_of("p").process.heal.fixes.is_empty());
    }
}

#[test]
fn edits_that_do_not_hold_are_taken_back_before_the_next_start() {
    let mut world = edited("");
    world.unit("p").ended(FAIL);
    world.run(300.0);
    assert_eq!(steps(&world), [FixStep::Restore], "{}", world.story());
    assert_eq!(world.runs.len(), 3, "nothing starts on a tree between two states: {}", world.story());
    // (As the job says it when it came to its end.)
    let left = FixSeen { left: vec!["`a.py`".into()], ..FixSeen::default() };
    let failed = Some("`a.py` was changed since the agent".to_owned());
    let ended = JobSeen::Ended { failed, status: Some(1), output: String::new(), fix: Some(Box::new(left)) };
    world.results.insert("fix".into(), ended);
    world.run(60.0);
    world.expect_alerts("could not all be taken back: `a.py` was changed", 1);
    assert!(world.state_of("p").process.heal.fixes.is_empty());
    assert!(world.ledger.iter().any(|row| row.ends_with("agent restart regressed")), "{:?}", world.ledger);
}

#[test]
fn an_agent_that_was_killed_may_have_edited() {
    let mut world = asked("");
    world.results.insert("heal".into(), JobSeen::failed("it was killed before it ended"));
    world.results.insert("fix".into(), JobSeen::well(""));
    world.run(60.0);
    assert_eq!(steps(&world), [FixStep::Restore], "{}", world.story());
}

#[test]
fn an_answer_that_cannot_be_used_is_no_action() {
    for answer in [
        JobSeen::well("ACTION: reboot"),
        JobSeen::well(""),
        JobSeen::failed("it was ended after 60 s, its deadline"),
    ] {
        let mut world = asked("");
        world.results.insert("heal".into(), answer);
        world.run(600.0);
        assert_eq!(world.runs.len(), 2, "{}", world.story());
        assert!(matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }));
        // (What one that was ended has edited nobody knows.)
        let taken =
            world.alerts.iter().any(|text| text.contains("what was edited is taken out of the tree again"));
        world.expect_alerts("no action was taken", usize::from(!taken));
        assert!(world.ledger.last().unwrap().ends_with("agent crashed"), "{:?}", world.ledger);
    }
}

#[test]
fn agents_are_asked_so_often_in_an_hour_and_approve_lifts_it() {
    let mut world = asked("max_identical = 100\n");
    world.results.insert("heal".into(), JobSeen::well("ACTION: restart"));
    for _ in 0..40 {
        world.run(20.0);
        if let RunSeen::Alive { .. } = world.unit("p").process().run {
            world.unit("p").ended(FAIL);
        }
    }
    let asked = world.started.len();
    assert_eq!(asked, 5, "{}", world.story());
    // Nobody waits for the next hour: it is started again while restarts are left.
    world.expect_alerts("asked 5 times about `exit` in the last hour", 1);
    assert_eq!(world.runs.len(), 11, "{}", world.story());
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Spent { .. }));
    world.ask(Ask::Approve { unit: name("p") });
    world.run(60.0);
    for _ in 0..2 {
        world.unit("p").ended(FAIL);
        world.run(60.0);
    }
    assert_eq!(world.started.len(), 6, "{}", world.story());
}

/// Without a restart of its own to follow it, a command that fails is no order to start again, and again.
#[test]
fn what_is_over_waits_for_a_person_when_the_rule_s_command_fails() {
    let mut world = running(
        "rules = [ { match = { detector = \"exit\" }, action = { kind = \"command\", command = [\"./mend\"] } } ]",
    );
    world.results.insert("rule".into(), JobSeen::failed("exit status 1"));
    world.unit("p").ended(FAIL);
    let runs = world.runs.len();
    world.run(300.0);
    assert_eq!(world.runs.len(), runs, "{}", world.story());
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }));
    world.expect_alerts("failed", 1);
}

/// A job whose program never ran.
fn unasked(why: &str) -> JobSeen {
    let fix = Some(Box::new(FixSeen::default()));
    JobSeen::Ended { failed: Some(why.into()), status: None, output: String::new(), fix }
}

#[test]
fn an_agent_that_can_not_be_asked_stops_nothing() {
    #[track_caller]
    fn check(why: &str) {
        let mut world = asked("max_identical = 100\n");
        world.results.insert("heal".into(), unasked(why));
        world.run(30.0);
        assert_eq!(world.runs.len(), 3, "{}", world.story());
        let note = &world.notes["p-2"];
        assert_eq!((note.remedy.action.as_str(), note.trouble.as_deref()), ("restart", Some(why)));
        for _ in 0..20 {
            if let RunSeen::Alive { .. } = world.unit("p").process().run {
                world.unit("p").ended(FAIL);
            }
            world.run(30.0);
        }
        world.expect_alerts(why, 1);
        // As without an agent: all restarts, and then no more. That nobody was asked counts against no hour.
        assert_eq!(world.runs.len(), 11, "{}", world.story());
        assert!(matches!(&world.state_of("p").process.run.standing, Standing::Spent { .. }));
        assert!(world.state_of("p").process.heal.asked.is_empty(), "{}", world.story());
    }
    check("the agent was not asked: the tree has uncommitted work (1 files: `a.py`)");
    check("it could not be started: `healer` in `/w`: no such file or directory");
}

#[test]
fn a_rule_goes_on_when_the_agent_that_its_remedy_leads_to_can_not_be_asked() {
    let mut world = asked(
        "rules = [ { name = \"halve\", match = { exit = 9 }, \
         action = { kind = \"restart-with-env\", set = { BATCH = \"half\" } } } ]",
    );
    let why = "the agent was not asked: a rebase is under way";
    world.results.insert("heal".into(), unasked(why));
    world.run(30.0);
    for want in ["4", "2", "1"] {
        world.unit("p").ended(Some(Exit::Status(9)));
        world.run(60.0);
        let batch = world.runs.last().and_then(|run| run.env.get("BATCH").cloned());
        assert_eq!(batch.as_deref(), Some(want), "{}", world.story());
    }
    world.expect_alerts(why, 1);
    assert!(world.ledger.iter().any(|row| row.contains("halve")), "{:?}", world.ledger);
}

#[test]
fn a_pause_that_a_rule_orders_is_one_whether_an_agent_can_be_asked_or_not() {
    let mut world = asked("rules = [ { match = { exit = 9 }, action = { kind = \"pause\" } } ]");
    world.results.insert("heal".into(), unasked("the agent was not asked: a rebase is under way"));
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    world.unit("p").ended(Some(Exit::Status(9)));
    world.run(60.0);
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }));
}

#[test]
fn a_host_that_does_not_answer_is_told_once_for_all_of_its_units() {
    let unit = |name: &str| {
        format!("[[process]]\nname = \"{name}\"\nhost = \"docker\"\nimage = \"x\"\ncommand = [\"train\"]\n")
    };
    let mut world = World::new(&["a", "b", "c"].map(unit).concat());
    world.ticks(3);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    world.unit("c").ended(WELL);
    world.ticks(3);
    let known = ["a", "b"].map(|name| world.unit(name).process().run.clone());
    for n in 0..30 {
        for name in ["a", "b", "c"] {
            let why = format!("`docker` has not answered for {} s", 15 + 10 * n);
            world.unit(name).process().run = RunSeen::Unknown { why };
        }
        world.run(10.0);
        if n == 10 {
            world.expect_alerts("can't be watched", 0);
        }
    }
    world.expect_alerts("can't be watched", 1);
    world.expect_alerts("`a`, `b` can't be watched: `docker` has not answered", 1);
    let needs = line(&world, "a").needs;
    assert!(needs.as_ref().is_some_and(|needs| needs.contains("can't be watched")), "{needs:?}");
    assert_eq!(line(&world, "c").needs, None, "it is over, and nobody asks for it");
    for (name, run) in ["a", "b"].into_iter().zip(known) {
        world.unit(name).process().run = run;
    }
    world.run(60.0);
    assert_eq!(line(&world, "a").needs, None);
    world.unit("a").process().run = RunSeen::Unknown { why: "`docker`: no daemon".into() };
    world.run(300.0);
    world.expect_alerts("can't be watched", 2);
}

#[test]
fn a_run_that_its_host_holds_is_told_once_and_what_lets_it_go() {
    let text = "[[process]]\nname = \"a\"\nhost = \"slurm\"\ncommand = [\"train\"]\n";
    let mut world = World::new(text);
    world.ticks(3);
    let RunSeen::Alive { id, .. } = world.unit("a").process().run.clone() else {
        panic!("{}", world.story())
    };
    let held = |why: &str| {
        let held = Held { why: why.into(), advice: "`scontrol release 7` lets it go".into() };
        RunSeen::Pending { id: id.clone(), why: "Slurm: PENDING".into(), held: Some(held) }
    };
    // For an instant, as after a restart of the controller: nobody is told.
    world.unit("a").process().run = held("BadConstraints");
    world.ticks(1);
    world.unit("a").process().run = RunSeen::Pending { id: id.clone(), why: "requeued".into(), held: None };
    world.run(60.0);
    world.expect_alerts("does not begin by itself", 0);
    world.unit("a").process().run = held("JobHeldUser");
    world.run(60.0);
    // What can't be asked for a while is not let go.
    world.unit("a").process().run = RunSeen::Unknown { why: "`squeue` is being asked".into() };
    world.ticks(2);
    world.unit("a").process().run = held("JobHeldUser");
    world.run(4000.0);
    let told = "`a` waits, and does not begin by itself (JobHeldUser): `scontrol release 7` lets it go";
    world.expect_alerts(told, 1);
    let needs = line(&world, "a").needs.unwrap_or_default();
    assert!(needs.contains("JobHeldUser: `scontrol release 7`"), "{needs}");
    assert_eq!(world.runs.len(), 1, "and no other one is started: {}", world.story());
    world.unit("a").process().run =
        RunSeen::Alive { id: id.clone(), process: None, since: None, suspended: false };
    world.run(30.0);
    assert_eq!(line(&world, "a").needs, None);
    // Held again: told again.
    world.unit("a").process().run = held("JobHeldUser");
    world.run(60.0);
    world.expect_alerts(told, 2);
}

/// What `status` says of a unit.
fn line(world: &World, unit: &str) -> crate::policy::summary::UnitLine {
    let sight = crate::policy::summary::Sight {
        config: &world.config,
        now: &world.seen.now,
        units: &world.state.units,
        phase: &world.state.phase,
        fleet: &world.seen.markers,
        markers: &std::collections::BTreeMap::new(),
        live: None,
        broken: &std::collections::BTreeMap::new(),
    };
    crate::policy::summary::unit_lines(&sight).into_iter().find(|line| line.name == name(unit)).unwrap()
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
fn a_rules_command_is_run_and_what_it_said_is_kept() {
    let rule = "rules = [ { name = \"room\", match = { exit = 1 }, action = { kind = \"command\", command = [\"./room\"], then = \"restart\" } } ]\n[process.healing]\nagent = \"off\"";
    let mut world = running(rule);
    world.unit("p").ended(FAIL);
    world.run(10.0);
    assert_eq!(world.started[0].argv, ["./room"]);
    assert_eq!(world.runs.len(), 1);
    world.results.insert("rule".into(), JobSeen::well("2 GB freed"));
    world.run(30.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert!(world.notes["p-1"].response.contains("2 GB freed"), "{:?}", world.notes);
}

#[test]
fn a_lost_state_takes_over_what_runs() {
    let mut world = running("");
    world.state.units.clear();
    world.run(120.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    assert_eq!(world.state_of("p").process.run.number, 1);
    world.unit("p").ended(FAIL);
    world.run(60.0);
    assert_eq!(world.runs.last().unwrap().number, 2, "{}", world.story());
}

#[test]
fn a_lost_state_does_not_start_what_ended_before_it() {
    let mut world = running("max_identical = 1");
    world.unit("p").ended(FAIL);
    world.run(30.0);
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Spent { .. }), "{}", world.story());
    world.state.units.clear();
    world.run(600.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }));
    world.expect_alerts("nothing is remembered of it", 1);
    world.ask(Ask::Approve { unit: name("p") });
    world.run(30.0);
    assert_eq!(world.runs.last().unwrap().number, 2, "{}", world.story());
    // The ledger has rows of the time before: none of their numbers comes again.
    assert!(world.state_of("p").incident.attempts > 1_000_000);
}

const ATTACHED: &str = "[[process]]\nname = \"p\"\nhost = \"attach\"\npid = 4242\nlog = \"/x.log\"\n\
    detectors = [ { kind = \"pattern\", name = \"weird\", regex = \"x\" } ]\n\
    rules = [ { match = { detector = \"weird\" }, action = { kind = \"agent\" } } ]\n";

#[test]
fn an_agent_never_restarts_what_somebody_else_started() {
    #[track_caller]
    fn check(allow: &str, answer: &str, ended: bool) {
        let healing = "[process.healing]\nagent = \"headless\"\n";
        let mut world = World::new(&format!("{ATTACHED}{allow}\n{healing}"));
        world.unit("p").runs(1);
        world.ticks(2);
        world.unit("p").says("weird", FindingKind::Pattern, "weird");
        world.run(30.0);
        assert_eq!(world.started.len(), 1, "{}", world.story());
        assert!(world.started[0].stdin.as_ref().unwrap().contains("started by somebody else"));
        world.results.insert("heal".into(), JobSeen::well(answer));
        world.run(60.0);
        assert_eq!(
            world.done.iter().any(|(_, _, label, _)| label == "terminate"),
            ended,
            "{}",
            world.story()
        );
        if !ended {
            assert!(world.state_of("p").process.remedy.is_none(), "{}", world.story());
            world.expect_alerts("its answer can't be used", 1);
        }
    }
    check("allow_kill = true", "ACTION: restart", false);
    check("allow_kill = true", "ACTION: restart\nSET: A=1", false);
    check("", "ACTION: restart", false);
    check("", "ACTION: abort", false);
    check("allow_kill = true", "ACTION: abort", true);
}

#[test]
fn restarts_of_commands_and_agents_are_counted_like_all_others() {
    let rule = "restart = { max = 2, cooldown_s = 1 }\nmax_identical = 100\nrules = [ { name = \"room\", match = { exit = 1 }, action = { kind = \"command\", command = [\"./room\"], then = \"restart\" } } ]\n[process.healing]\nagent = \"off\"";
    let agent = "restart = { max = 2, cooldown_s = 1 }\nmax_identical = 100\nrules = [ { match = { exit = 1 }, action = { kind = \"agent\" } } ]\n[process.healing]\nagent = \"headless\"\nmax_attempts_per_hour = 100";
    for more in [rule, agent] {
        let mut world = World::new(&config(more).replace("restart = { max = 10, cooldown_s = 10 }\n", ""));
        world.ticks(3);
        world.results.insert("rule".into(), JobSeen::well("done"));
        world.results.insert("heal".into(), JobSeen::well("ACTION: restart"));
        for _ in 0..9 {
            if let RunSeen::Alive { .. } = world.unit("p").process().run {
                world.unit("p").ended(FAIL);
            }
            world.run(20.0);
        }
        assert_eq!(world.runs.len(), 3, "{}", world.story());
        world.expect_alerts("is not started again: 2 restarts not kept", 1);
    }
}

#[test]
fn what_waits_for_a_person_is_told() {
    let agent = "rules = [ { match = { exit = 1 }, action = { kind = \"agent\" } } ]\n[process.healing]\nagent = \"auto\"";
    let mut world = running(agent);
    world.unit("p").process().healer = Some(false);
    world.unit("p").ended(FAIL);
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    world.expect_alerts("no agent is there to ask", 1);

    let mut world = running(&format!("lifecycle = \"one-shot\"\n{agent}"));
    world.unit("p").process().healer = Some(false);
    world.unit("p").ended(FAIL);
    world.run(60.0);
    assert!(
        matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }),
        "{}",
        world.story()
    );
    world.expect_alerts("no agent is there to ask", 1);

    let cap = agent.replace("auto", "headless") + "\nmax_attempts_per_hour = 0";
    let mut world = running(&cap);
    world.unit("p").ended(FAIL);
    world.run(600.0);
    world.expect_alerts("asked 0 times about", 1);

    let mut world = World::new(&config(""));
    world.unit("p").process().missing = vec!["the program `nvcc`".into()];
    world.run(600.0);
    world.expect_alerts("`p` is not started: it needs what is not there: the program `nvcc`", 1);

    let rule = "rules = [ { match = { exit = 1 }, action = { kind = \"command\", command = [\"./say\"] } } ]\n[process.healing]\nagent = \"off\"";
    let mut world = running(rule);
    world.results.insert("rule".into(), JobSeen::well("said"));
    world.unit("p").ended(FAIL);
    world.run(600.0);
    world.expect_alerts("`p` stays down: a rule ran a command", 1);
}

#[test]
fn a_remedy_that_is_given_up_is_closed_in_the_ledger() {
    let mut world = asked("");
    world.ask(Ask::Restart { unit: name("p") });
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    assert!(world.ledger.iter().any(|row| row == "p-2 agent agent crashed"), "{:?}", world.ledger);
    // It is still at work in the tree: what it says is not done, and nothing starts before it has ended.
    world.unit("p").ended(FAIL);
    world.run(120.0);
    assert_eq!((world.runs.len(), world.started.len()), (3, 1), "{}", world.story());
    world.results.insert("heal".into(), JobSeen::well("ACTION: abort"));
    world.run(30.0);
    assert_eq!(world.started.len(), 2, "{}", world.story());
    assert!(world.state_of("p").process.heal.fixes.is_empty());
    assert_eq!(
        world.state_of("p").process.run.standing,
        Standing::Aborted { why: "the healing agent: it gave no reason".into() }
    );
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
    assert_eq!(super::cursor(&world.state, &name("p")), here, "old lines are not read as new ones");
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
    assert_eq!(super::cursor(&world.state, &name("p")), place(0));
}

/// The agent thought for a while: what stalled may work again by then.
#[test]
fn a_restart_that_an_agent_wants_for_a_stall_needs_its_proof_too() {
    let stall = "detectors = [ { kind = \"stall\", name = \"silence\", no_progress_s = 100 } ]\nrules = [ { match = { detector = \"silence\" }, action = { kind = \"agent\" } } ]\n[process.healing]\nagent = \"headless\"";
    let mut world = running(stall);
    world.results.insert("heal".into(), JobSeen::Running);
    world.run(160.0);
    assert!(world.incidents.len() == 1, "{}", world.story());
    // It writes again, and the answer comes.
    world.unit("p").writes();
    world.run(10.0);
    world.unit("p").writes();
    world.results.insert("heal".into(), JobSeen::well("ACTION: restart"));
    for _ in 0..10 {
        world.run(10.0);
        world.unit("p").writes();
    }
    assert_eq!(world.runs.len(), 1, "{}", world.story());
}

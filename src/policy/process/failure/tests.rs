//! What explains an end, which findings wait, and what is done at a deadline and when no restart is left.

use crate::model::finding::{FindingKind, LogMark};
use crate::model::process::RunSeen;
use crate::model::seen::{Ask, Exit, JobSeen};
use crate::policy::testing::{World, name};
use crate::state::process::Standing;

const WELL: Option<Exit> = Some(Exit::Status(0));
const THREE: Option<Exit> = Some(Exit::Status(3));

/// It runs, and has just begun to.
fn running(more: &str) -> World {
    let text = format!(
        "[[process]]\nname = \"p\"\ncommand = [\"train\"]\nenv = {{ BATCH = 8 }}\nrestart = {{ max = 2, cooldown_s = 10 }}\n{more}\n"
    );
    let mut world = World::new(&text);
    world.ticks(3);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.forget();
    world
}

const CRASH: &str = "detectors = [ { kind = \"pattern\", name = \"oom\", regex = \"x\", cooldown_s = 300 }, { kind = \"traceback\", name = \"trace\" }, { kind = \"exit\" } ]\n\
    rules = [ { name = \"halve\", match = { detector = \"oom\", after = \"crash\" }, action = { kind = \"restart-with-env\", set = { BATCH = \"half\" } } } ]\n\
    [process.healing]\nagent = \"off\"\nverify_window_s = 1000";

/// Findings with the seconds until the next thing, then its end: the next run's BATCH, and the incidents in order.
#[track_caller]
fn explained(said: &[(&str, FindingKind, f64)], writes_on: usize, batch: &str, want: &[&str]) -> World {
    let mut world = running(CRASH);
    for (detector, kind, pause_s) in said {
        world.unit("p").says(detector, *kind, "CUDA out of memory");
        world.tick_now();
        world.run(*pause_s);
    }
    for _ in 0..writes_on {
        world.unit("p").writes();
        world.tick_now();
        world.pass(1.0);
    }
    world.unit("p").ended(THREE);
    world.run(40.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert_eq!(world.runs[1].env["BATCH"], batch, "{}", world.story());
    let found: Vec<&str> = world.incidents.keys().filter_map(|id| id.rsplit('-').next()).collect();
    assert_eq!(found, want, "{}", world.story());
    world
}

#[test]
fn an_end_is_explained_by_what_was_said_just_before_it() {
    use FindingKind::{Pattern, Traceback};
    let world = explained(&[("oom", Pattern, 2.0)], 0, "4", &["oom"]);
    assert!(world.notes["p-1"].remedy.why.contains("ended: exit status 3"), "{:?}", world.notes);
    // It was said, and it ran on: its end is another matter.
    let world = explained(&[("oom", Pattern, 8.0)], 0, "8", &["oom", "exit"]);
    assert_eq!(world.ledger, ["p-1 default restart pending"]);
    // The same once more, within its cooldown: that is what counts.
    explained(&[("oom", Pattern, 30.0), ("oom", Pattern, 2.0)], 0, "4", &["oom"]);
    // After a stack trace an end may take its time, if nothing more is written.
    explained(&[("trace", Traceback, 30.0)], 0, "8", &["trace"]);
    explained(&[("trace", Traceback, 1.0)], 30, "8", &["trace", "exit"]);
    explained(&[("trace", Traceback, 100.0)], 0, "8", &["trace"]);
}

#[test]
fn the_last_words_explain_an_end_however_long_it_took() {
    /// What a pattern found `pause_s` before the end, and where the log's last words begin: the next run's BATCH.
    #[track_caller]
    fn check(pause_s: f64, spoke: u64, file: (u64, u64), batch: &str) {
        let mut world = running(CRASH);
        world.unit("p").says("oom", FindingKind::Pattern, "CUDA out of memory");
        let mut hand = world.unit("p");
        let finding = &mut hand.process().log.findings[0];
        (finding.at, finding.end, finding.line) = (1000, 1020, 10);
        finding.log = Some(LogMark { file, bytes: String::new() });
        world.tick_now();
        world.run(pause_s);
        let mut hand = world.unit("p");
        let log = &mut hand.process().log;
        (log.spoke, log.cursor.line) = (Some(spoke), 12);
        world.unit("p").ended(THREE);
        world.run(40.0);
        assert_eq!(world.runs[1].env["BATCH"], batch, "{}", world.story());
    }
    check(300.0, 1000, (1, 1), "4");
    check(300.0, 1200, (1, 1), "8");
    check(2.0, 1200, (1, 1), "4");
    // Places in another file of the log say nothing.
    check(300.0, 0, (1, 2), "8");
}

#[test]
fn what_stands_far_above_in_the_log_explains_no_end_however_late_it_was_read() {
    let mut world = running(CRASH);
    world.unit("p").says("oom", FindingKind::Pattern, "CUDA out of memory");
    let mut hand = world.unit("p");
    let log = &mut hand.process().log;
    (log.findings[0].line, log.cursor.line) = (100, 500);
    world.unit("p").ended(THREE);
    world.run(40.0);
    assert_eq!(world.runs[1].env["BATCH"], "8", "{}", world.story());
    assert_eq!(world.incidents.len(), 2, "{}", world.story());
}

const ASKS: &str = "detectors = [ { kind = \"pattern\", name = \"weird\", regex = \"x\" }, { kind = \"pattern\", name = \"nan\", regex = \"y\" }, { kind = \"pattern\", name = \"slow\", regex = \"z\" } ]\n\
    rules = [ { match = { detector = \"weird\" }, action = { kind = \"agent\" } }, { match = { detector = \"nan\" }, action = { kind = \"abort\" } }, { match = { detector = \"slow\" }, action = { kind = \"restart\" } } ]\n\
    [process.healing]\nagent = \"headless\"\ntimeout_s = 5000\nverify_window_s = 1000";

/// An agent thinks about `weird`, and more is found.
fn thinking(more: &str, then: &str) -> World {
    let mut world = running(&format!("{more}\n{ASKS}"));
    world.unit("p").says("weird", FindingKind::Pattern, "hm");
    world.run(30.0);
    assert_eq!(world.started.len(), 1, "{}", world.story());
    if !then.is_empty() {
        world.unit("p").says(then, FindingKind::Pattern, "loss");
        world.run(60.0);
    }
    world
}

#[test]
fn a_deadline_waits_for_no_other_remedy() {
    let mut world = thinking("deadline_s = 500", "");
    world.run(600.0);
    // It is ended at once; who edits its tree meanwhile is waited for before it is started.
    assert!(!matches!(world.unit("p").process().run, RunSeen::Alive { .. }), "{}", world.story());
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.results.insert("heal".into(), JobSeen::failed("it was ended after 5000 s, its deadline"));
    world.results.insert("fix".into(), JobSeen::well(""));
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    let given_up = |row: &String| row.starts_with("p-1 ") && row.ends_with(" agent crashed");
    assert!(world.ledger.iter().any(given_up), "{:?}", world.ledger);
    assert!(world.incidents.keys().any(|id| id.ends_with("-p-deadline")), "{:?}", world.incidents.keys());
}

#[test]
fn what_was_found_meanwhile_is_judged_afterwards_and_an_abort_at_once() {
    let world = thinking("", "nan");
    assert_eq!(world.runs.len(), 1);
    world.expect_alerts("`p` is given up", 1);
    let mut world = thinking("", "slow");
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    assert!(world.done.iter().all(|(_, _, label, _)| label != "terminate"), "{}", world.story());
    world.results.insert("heal".into(), JobSeen::well("ACTION: none"));
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert_eq!(world.ledger.last().unwrap(), "p-2 rule 3 restart pending");
}

#[test]
fn what_was_ended_at_its_deadline_has_not_ended_well() {
    #[track_caller]
    fn check(lifecycle: &str, runs: usize, want: &Standing) {
        let more =
            format!("lifecycle = \"{lifecycle}\"\ndeadline_s = 500\n[process.healing]\nagent = \"off\"");
        let mut world = running(&more);
        // Its own end at a TERM is in the test's hand.
        world.deaf.insert("p: terminate".into());
        for _ in 0..2000 {
            if world.state_of("p").ending.is_none() {
                world.tick();
            }
        }
        assert!(world.state_of("p").ending.is_some(), "{}", world.story());
        world.unit("p").ended(WELL);
        world.run(60.0);
        assert_eq!(world.runs.len(), runs, "{}", world.story());
        assert_eq!(&world.state_of("p").process.run.standing, want, "{}", world.story());
    }
    let why = "the default: its deadline is over, and it runs once".to_owned();
    check("one-shot", 1, &Standing::Aborted { why });
    check("restart-on-failure", 2, &Standing::Open);
}

/// All of its restarts are used up, and it runs.
fn used_up(more: &str) -> World {
    let mut world = running(more);
    for _ in 0..2 {
        world.unit("p").ended(THREE);
        world.run(40.0);
    }
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    assert_eq!(world.state_of("p").process.run.restarts, 2);
    world.forget();
    world
}

const RESTARTS: &str = "detectors = [ { kind = \"pattern\", name = \"slow\", regex = \"z\" }, { kind = \"exit\" } ]\n\
    rules = [ { match = { detector = \"slow\" }, action = { kind = \"restart\" } } ]\n\
    [process.healing]\nagent = \"off\"\nverify_window_s = 300";

#[test]
fn what_runs_on_is_not_given_up_when_no_restart_is_left() {
    let mut world = used_up(RESTARTS);
    world.unit("p").says("slow", FindingKind::Pattern, "z");
    world.run(60.0);
    assert_eq!(world.state_of("p").process.run.standing, Standing::Open, "{}", world.story());
    world.expect_alerts("`p` runs on", 1);
    // Its real end is written down, and told.
    world.unit("p").ended(Some(Exit::Status(9)));
    world.run(60.0);
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Spent { .. }), "{}", world.story());
    world.expect_alerts("is not started again", 1);
    assert!(world.incidents.values().any(|order| order.finding.exit == Some(9)), "{}", world.story());
}

#[test]
fn an_attempt_that_was_kept_opens_what_an_older_version_gave_up() {
    let mut world = used_up(RESTARTS);
    let spent = || Standing::Spent { why: "as before".into() };
    world.state.units.get_mut("p").unwrap().process.run.standing = spent();
    world.run(400.0);
    assert_eq!(world.state_of("p").process.run.standing, Standing::Open, "{}", world.story());
    world.state.units.get_mut("p").unwrap().process.run.standing = spent();
    world.unit("p").ended(Some(Exit::Status(9)));
    world.run(60.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    world.expect_alerts("`p` is over (exit status 9), and is not started again", 1);
    assert!(world.incidents.values().any(|order| order.finding.exit == Some(9)), "{}", world.story());
}

#[test]
fn a_deadline_ends_it_even_when_no_restart_is_left() {
    let mut world = used_up("deadline_s = 500\n[process.healing]\nagent = \"off\"\nverify_window_s = 5000");
    world.run(700.0);
    assert!(!matches!(world.unit("p").process().run, RunSeen::Alive { .. }), "{}", world.story());
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    world.expect_alerts("`p` is paused", 1);
}

const SILENCE: &str = "detectors = [ { kind = \"stall\", name = \"silence\", no_progress_s = 100 } ]\n[process.healing]\nagent = \"off\"";

#[test]
fn an_approval_is_for_the_stall_that_stands() {
    let mut world = running(SILENCE);
    let computes = |world: &mut World, writes: &dyn Fn(&mut World)| {
        for _ in 0..20 {
            world.unit("p").uses_cpu(9_000);
            writes(world);
            world.run(10.0);
        }
    };
    let writes = |world: &mut World| world.unit("p").writes();
    computes(&mut world, &writes);
    world.ask(Ask::Approve { unit: name("p") });
    world.ticks(2);
    assert!(!world.state_of("p").stall.approved, "{}", world.story());
    computes(&mut world, &|_| {});
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    // A stall stands: now it is meant.
    world.ask(Ask::Approve { unit: name("p") });
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
}

#[test]
fn a_burst_of_failures_is_told_when_folders_run_out() {
    let mut world = running("");
    for n in 0..40u8 {
        let word = format!("failure {}", char::from(b'a' + n % 26).to_string().repeat(1 + usize::from(n)));
        world.unit("p").says("traceback", FindingKind::Traceback, &word);
    }
    world.ticks(1);
    let left_out = world.state_of("p").incident.left_out;
    assert!(left_out > 0);
    world.expect_alerts(&format!("{left_out} failures have no folder"), 1);
}

const CODES: &str = "detectors = [ { kind = \"pattern\", name = \"code\", regex = \"code\", cooldown_s = 300 } ]\n\
    rules = [ { name = \"eleven\", match = { message = \"code=11\" }, action = { kind = \"command\", command = [\"true\"] } }, \
    { name = \"twelve\", match = { message = \"code=12\" }, action = { kind = \"pause\" } } ]\n\
    [process.healing]\nagent = \"off\"\nverify_window_s = 1000";

#[test]
fn a_line_that_differs_in_a_number_reaches_the_rule_that_asks_for_it() {
    #[track_caller]
    fn check(codes: &[u32], pause_s: f64, paused: bool) {
        let mut world = running(CODES);
        for code in codes {
            world.unit("p").says("code", FindingKind::Pattern, &format!("failed with code={code}"));
            world.tick_now();
            world.run(pause_s);
        }
        world.run(60.0);
        let standing = &world.state_of("p").process.run.standing;
        assert_eq!(matches!(standing, Standing::Paused { .. }), paused, "{}", world.story());
        assert_eq!(world.incidents.len(), 1, "repeats have one folder: {}", world.story());
    }
    check(&[11, 12], 2.0, true);
    check(&[13, 12], 2.0, true);
    check(&[11, 13], 2.0, false);
    // Within the cooldown the same rule is asked once.
    let mut world = running(CODES);
    for _ in 0..3 {
        world.unit("p").says("code", FindingKind::Pattern, "failed with code=11");
        world.run(40.0);
    }
    assert_eq!(world.ledger.iter().filter(|row| row.ends_with("pending")).count(), 1, "{:?}", world.ledger);
}

#[test]
fn an_end_is_explained_by_any_of_the_lines_that_differ_in_numbers() {
    let text = CODES
        .replace("kind = \"pause\"", "kind = \"abort\"")
        .replace("message = \"code=12\"", "message = \"code=12\", after = \"crash\"");
    let mut world = running(&text);
    world.unit("p").says("code", FindingKind::Pattern, "failed with code=12");
    for code in 20..60 {
        world.unit("p").says("code", FindingKind::Pattern, &format!("failed with code={code}"));
    }
    world.tick_now();
    world.unit("p").ended(THREE);
    world.run(40.0);
    let standing = &world.state_of("p").process.run.standing;
    assert!(matches!(standing, Standing::Aborted { .. }), "{}", world.story());
}

#[test]
fn where_no_restart_is_allowed_that_is_said() {
    let mut world = World::new("[[process]]\nname = \"p\"\ncommand = [\"train\"]\nrestart = { max = 0 }\n");
    world.ticks(3);
    world.unit("p").ended(THREE);
    world.run(40.0);
    assert_eq!(world.runs.len(), 1, "{}", world.story());
    world.expect_alerts("is not started again: no restart is allowed (`restart.max` is 0): exit status 3", 1);
}

//! What explains an end, which findings wait, and what is done at a deadline and when no restart is left.

use crate::model::finding::FindingKind;
use crate::model::seen::Exit;
use crate::policy::testing::World;
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
    explained(&[("trace", Traceback, 100.0)], 0, "8", &["trace", "exit"]);
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

#[test]
fn what_was_ended_at_its_deadline_has_not_ended_well() {
    #[track_caller]
    fn check(lifecycle: &str, runs: usize, want: &Standing) {
        let more =
            format!("lifecycle = \"{lifecycle}\"\ndeadline_s = 500\n[process.healing]\nagent = \"off\"");
        let mut world = running(&more);
        // Its own end at a TERM is in the test's hand.
        world.deaf.insert("p: terminate".into());
        world.run(502.0);
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

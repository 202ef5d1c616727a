//! Processes tick by tick: starts, ends, budgets, hosts. The host, its logs and the agent are pretended.

mod findings;
mod healing;

use crate::model::action::FixStep;
use crate::model::finding::FindingKind;
use crate::model::process::{Held, RunId, RunSeen};
use crate::model::seen::{Ask, Exit, FixSeen, JobSeen, Paused};
use crate::policy::testing::{World, name};
use crate::state::process::Standing;

pub(super) const FAIL: Option<Exit> = Some(Exit::Status(1));

const WELL: Option<Exit> = Some(Exit::Status(0));
const ATTACHED: &str = "[[process]]\nname = \"p\"\nhost = \"attach\"\npid = 4242\nlog = \"/x.log\"\n\
    detectors = [ { kind = \"pattern\", name = \"weird\", regex = \"x\" } ]\n\
    rules = [ { match = { detector = \"weird\" }, action = { kind = \"agent\" } } ]\n";

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

//! Agents that are not ours to run: their request, their answer, their edits; and which helper is named to whom.

use crate::model::action::FixStep;
use crate::model::seen::{Ask, Exit, FixSeen, JobSeen, Paused};
use crate::policy::testing::{World, name};

const FAIL: Option<Exit> = Some(Exit::Status(1));

/// It failed twice, and an agent is to be asked.
fn asked(agent: &str, healing: &str) -> World {
    let mut world = World::new(&format!(
        "[[process]]\nname = \"p\"\ncommand = [\"train\"]\nrestart = {{ max = 10, cooldown_s = 10 }}\n\
         [process.healing]\nagent = \"{agent}\"\nescalate_after = 1\nverify_window_s = 1000\ntimeout_s = 60\n{healing}\n"
    ));
    world.ticks(3);
    for _ in 0..2 {
        world.unit("p").ended(FAIL);
        world.run(30.0);
    }
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    world
}

/// An interactive agent is asked: what the tree is was written down, and the request lies there.
fn requested() -> World {
    requested_in("", FixStep::OpenClean)
}

fn requested_in(healing: &str, first: FixStep) -> World {
    let mut world = asked("interactive", &format!("subagents = {{ exit = \"ops-engineer\" }}\n{healing}"));
    assert_eq!(steps(&world), [first], "{}", world.story());
    assert!(world.loaded.is_empty(), "not before the tree is known: {}", world.story());
    let fix = FixSeen { open: true, ..FixSeen::default() };
    world.results.insert("heal".into(), ended(fix));
    world.run(5.0);
    let (_, request) = world.loaded.last().unwrap_or_else(|| panic!("{}", world.story()));
    assert!(
        request.starts_with("---\nunit: p\n") && request.contains("\nsubagent: ops-engineer\n"),
        "{request}"
    );
    world
}

fn ended(fix: FixSeen) -> JobSeen {
    JobSeen::Ended { failed: None, status: Some(0), output: String::new(), fix: Some(Box::new(fix)) }
}

/// The steps of fixes, in order.
fn steps(world: &World) -> Vec<FixStep> {
    world.started.iter().filter_map(|job| job.fix.as_ref().map(|fix| fix.step)).collect()
}

fn answer(world: &mut World) {
    world.ask(Ask::Respond { unit: name("p"), text: "mended\nACTION: restart\n".into() });
    world.run(5.0);
}

#[test]
fn an_interactive_agent_answers_by_its_file_or_not_at_all() {
    let mut world = requested();
    world.unit("p").process().answer = Some("ACTION: restart".into());
    world.results.insert("edits".into(), ended(FixSeen::default()));
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    assert_eq!(steps(&world), [FixStep::OpenClean, FixStep::Collect]);
    world.unit("p").process().answer = None;
    world.unit("p").ended(FAIL);
    world.run(30.0);
    world.unit("p").ended(FAIL);
    world.results.insert("fix".into(), JobSeen::well(""));
    world.run(300.0);
    world.expect_alerts("nobody answered within 1 min; what was edited is taken out of the tree again", 1);
    assert_eq!(steps(&world)[2..], [FixStep::OpenClean, FixStep::Restore], "{}", world.story());
}

#[test]
fn the_edits_of_an_interactive_agent_go_the_way_of_a_headless_ones() {
    let mut world = requested();
    answer(&mut world);
    assert_eq!(steps(&world), [FixStep::OpenClean, FixStep::Collect], "{}", world.story());
    assert_eq!(world.runs.len(), 2, "its edits are put on a branch first: {}", world.story());
    let fix = FixSeen { branch: "watchkeeper/fix-1".into(), open: true, ..FixSeen::default() };
    world.results.insert("edits".into(), ended(fix));
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    world.results.insert("fix".into(), JobSeen::well(""));
    world.unit("p").ended(FAIL);
    world.run(60.0);
    assert_eq!(steps(&world)[2], FixStep::Restore, "{}", world.story());
}

/// Somebody starts it anew while the edits go to their branch: they are taken back when that is through, and not before.
#[test]
fn a_request_that_nobody_waits_for_any_more_leaves_no_edits() {
    let mut world = requested();
    answer(&mut world);
    world.ask(Ask::Restart { unit: name("p") });
    world.run(5.0);
    assert_eq!(steps(&world), [FixStep::OpenClean, FixStep::Collect], "{}", world.story());
    let fix = FixSeen { branch: "watchkeeper/fix-1".into(), open: true, ..FixSeen::default() };
    world.results.insert("edits".into(), ended(fix));
    world.results.insert("fix".into(), JobSeen::well(""));
    world.run(30.0);
    assert_eq!(steps(&world)[2..], [FixStep::Restore], "{}", world.story());
}

/// A person's work may be aside: what a person starts runs on it, not on the tree without it.
#[test]
fn a_persons_start_waits_until_the_tree_is_theirs_again() {
    let open = || ended(FixSeen { open: true, ..FixSeen::default() });
    for agent in ["interactive", "headless"] {
        let headless = agent == "headless";
        let (mut world, first) = match headless {
            true => (asked(agent, "dirty = \"stash\""), FixStep::Dirty),
            false => (requested_in("dirty = \"stash\"", FixStep::OpenDirty), FixStep::OpenDirty),
        };
        world.ask(Ask::Restart { unit: name("p") });
        world.run(5.0);
        assert_eq!(world.runs.len(), 2, "{agent}: {}", world.story());
        if headless {
            assert_eq!(steps(&world), [first], "it is still at work: {}", world.story());
            world.results.insert("heal".into(), open());
            world.run(30.0);
        }
        assert_eq!(steps(&world), [first, FixStep::Restore], "{agent}: {}", world.story());
        assert_eq!(world.runs.len(), 2, "{agent}: {}", world.story());
        world.results.insert("fix".into(), JobSeen::well(""));
        world.run(30.0);
        assert_eq!(world.runs.len(), 3, "{agent}: {}", world.story());
        assert!(world.state_of("p").process.heal.verify.is_empty(), "{agent}: nothing was tried");
    }
}

/// Nothing may be done to it any more, each time for another reason.
fn stopped(world: &mut World, why: &str) {
    let paused = Some(Paused { reason: "a person works here".into(), until: None });
    match why {
        "fleet" => world.seen.markers.paused = paused,
        "unit" => world.unit("p").seen().markers.paused = paused,
        "disabled" => world.config.units.get_mut(&name("p")).unwrap().enabled = false,
        other => panic!("{other}"),
    }
}

const STOPS: [&str; 3] = ["fleet", "unit", "disabled"];

/// A person's work may be aside: it is put back, whatever is said of the unit meanwhile.
#[test]
fn what_was_begun_in_a_tree_is_ended_although_the_unit_is_paused_or_disabled() {
    for why in STOPS {
        let mut world = requested();
        stopped(&mut world, why);
        world.results.insert("fix".into(), JobSeen::well(""));
        world.run(120.0);
        assert_eq!(steps(&world), [FixStep::OpenClean, FixStep::Restore], "{why}: {}", world.story());
        assert_eq!((world.runs.len(), world.loaded.len()), (2, 1), "{why}: nothing else: {}", world.story());
    }
}

/// Whoever pauses it or takes it down has their work back at once, and not when the time for an answer is over.
#[test]
fn a_pause_or_a_down_gives_a_persons_work_back_before_an_answer() {
    let who = || Some(name("p"));
    for (stop, go) in [
        (Ask::Pause { unit: who(), reason: String::new() }, Ask::Resume { unit: who() }),
        (Ask::Down { unit: who(), reason: String::new() }, Ask::Up { unit: who() }),
    ] {
        let mut world = requested_in("dirty = \"stash\"", FixStep::OpenDirty);
        world.ask(stop.clone());
        world.run(5.0);
        let want = [FixStep::OpenDirty, FixStep::Restore];
        assert_eq!(steps(&world), want, "{stop:?}: {}", world.story());
        world.results.insert("fix".into(), JobSeen::well(""));
        world.run(120.0);
        assert_eq!((steps(&world), world.runs.len()), (want.to_vec(), 2), "{stop:?}: {}", world.story());
        world.ask(go);
        world.run(30.0);
        let again = world.loaded.len() == 2 || world.runs.len() == 3;
        assert!(again, "it is asked or started anew: {stop:?}: {}", world.story());
    }
}

#[test]
fn an_answer_ends_what_was_begun_although_the_unit_is_paused_or_disabled() {
    for why in STOPS {
        let mut world = requested();
        stopped(&mut world, why);
        world.unit("p").process().answer = Some("ACTION: restart".into());
        world.results.insert("edits".into(), ended(FixSeen { open: true, ..FixSeen::default() }));
        world.run(30.0);
        assert_eq!(steps(&world), [FixStep::OpenClean, FixStep::Collect], "{why}: {}", world.story());
        assert_eq!(world.runs.len(), 2, "{why}: {}", world.story());
    }
}

#[test]
fn who_is_paused_before_its_agent_is_asked_has_its_work_back_and_is_asked_later() {
    let mut world = asked("interactive", "");
    stopped(&mut world, "unit");
    world.results.insert("heal".into(), ended(FixSeen { open: true, ..FixSeen::default() }));
    world.results.insert("fix".into(), JobSeen::well(""));
    world.run(60.0);
    assert_eq!(steps(&world), [FixStep::OpenClean, FixStep::Restore], "{}", world.story());
    assert!(world.loaded.is_empty(), "{}", world.story());
    world.unit("p").seen().markers.paused = None;
    world.run(30.0);
    assert_eq!(steps(&world)[2..], [FixStep::OpenClean], "{}", world.story());
    assert_eq!(world.loaded.len(), 1, "{}", world.story());
}

/// Git was busy for a moment: that is no reason to leave a person's work aside.
#[test]
fn what_could_not_be_taken_back_is_tried_again_before_people_are_asked() {
    let busy = || JobSeen::Ended {
        failed: Some("the index is in use".into()),
        status: None,
        output: String::new(),
        fix: Some(Box::new(FixSeen { open: true, ..FixSeen::default() })),
    };
    let restores = |world: &World| steps(world).iter().filter(|step| **step == FixStep::Restore).count();
    let mut world = requested();
    world.results.insert("fix".into(), busy());
    world.run(58.0);
    assert_eq!(restores(&world), 1, "{}", world.story());
    world.results.insert("fix".into(), JobSeen::well(""));
    world.run(30.0);
    assert_eq!(restores(&world), 2, "{}", world.story());
    world.expect_alerts("could not all be taken back", 0);
    // It stays so: a person hears of it, once.
    let mut world = requested();
    world.results.insert("fix".into(), busy());
    world.run(600.0);
    assert_eq!(restores(&world), 5, "{}", world.story());
    world.expect_alerts("could not all be taken back: the index is in use", 1);
}

/// What is on its branch already waits as before: nothing of a person's is aside then.
#[test]
fn edits_of_an_attempt_that_regressed_wait_for_the_end_of_a_pause() {
    let mut world = requested();
    answer(&mut world);
    world.results.insert("edits".into(), ended(FixSeen { open: true, ..FixSeen::default() }));
    world.results.insert("fix".into(), JobSeen::well(""));
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    stopped(&mut world, "unit");
    world.unit("p").ended(FAIL);
    world.run(60.0);
    assert_eq!(steps(&world), [FixStep::OpenClean, FixStep::Collect], "{}", world.story());
}

#[test]
fn a_tree_that_can_not_be_answered_for_is_no_reason_to_ask() {
    let mut world = asked("interactive", "");
    world
        .results
        .insert("heal".into(), JobSeen::failed("the agent was not asked: the tree has uncommitted work"));
    world.run(30.0);
    assert!(world.loaded.is_empty(), "{}", world.story());
    world.expect_alerts(
        "the agent was not asked: the tree has uncommitted work; it is started again instead",
        1,
    );
}

#[test]
fn work_that_does_not_fit_any_more_is_told_to_people() {
    let mut world = requested();
    answer(&mut world);
    let told = vec!["`a.py`: you and the agent changed the same lines".to_owned()];
    world.results.insert("edits".into(), ended(FixSeen { open: true, told, ..FixSeen::default() }));
    world.run(30.0);
    world.expect_alerts("after the healing agent, `a.py`: you and the agent changed the same lines", 1);
}

#[test]
fn each_detector_has_its_helper_headless_too() {
    let world = asked("headless", "subagents = { exit = \"ops-engineer\" }");
    let job = &world.started[0];
    let prompt = job.stdin.clone().unwrap();
    assert!(prompt.starts_with("Failures of `exit` are for your subagent `ops-engineer`"), "{prompt}");
    assert_eq!(job.env["WATCHKEEPER_SUBAGENT"], "ops-engineer");
    assert!(!asked("headless", "").started[0].env.contains_key("WATCHKEEPER_SUBAGENT"));
}

use crate::model::seen::{Ask, Exit, JobSeen, PaneSeen, PhaseStep, ScreenState};
use crate::policy::plan::Stage;
use crate::policy::testing::{World, name};

const PLAN: &str = r#"
[loop]
repo = "work"
phases = [
  { id = "1", plan = "p1.md", status = "S1.md" },
  { id = "2", plan = "p2.md", status = "S2.md", model = "big" },
  { id = "3", plan = "p3.md", status = "S3.md" },
]
on_complete = "reporter"
[[agent]]
name = "a"
prompt = "role.md"
[[agent]]
name = "b"
prompt = "role.md"
[[agent]]
name = "stays"
kind = "persistent"
[[agent]]
name = "reporter"
kind = "task"
prompt = "report.md"
"#;

/// Started by the watchdog, kicked off, at work in the first phase.
fn at_work() -> World {
    let mut world = World::new(PLAN);
    world.branch.push("begin");
    world.ticks(1);
    settle(&mut world);
    for unit in ["a", "b", "stays"] {
        world.unit(unit).busy();
    }
    world.ticks(2);
    world.forget();
    world
}

/// Whoever was started becomes ready, and gets its prompts; the turn is over at once.
fn settle(world: &mut World) {
    for round in 0..60 {
        for unit in ["a", "b", "stays", "reporter"] {
            if let Some(ScreenState::Starting | ScreenState::Busy) =
                world.seen.units[&name(unit)].pane_state()
            {
                world.unit(unit).idle();
            }
        }
        world.tick();
        if world.due_s() > 5.0 && round > 5 {
            return;
        }
    }
}

fn phase(world: &World) -> (usize, &str) {
    (world.state.phase.index, world.state.phase.id.as_str())
}

fn kickoffs<'a>(world: &'a World, unit: &str) -> Vec<&'a str> {
    world.typed(unit).into_iter().filter(|text| text.starts_with("Phase ")).collect()
}

#[test]
fn a_loop_agent_begins_with_the_kickoff_of_the_first_phase_and_its_role() {
    let world = at_work();
    assert_eq!(phase(&world), (0, "1"));
    let texts = kickoffs(&world, "a");
    assert_eq!(texts.len(), 1, "{}", world.story());
    for part in ["Phase 1 begins", "`a`", "p1.md", "S1.md", "`## DONE`", "Do the work."] {
        assert!(texts[0].contains(part), "{part}: {}", texts[0]);
    }
    assert_eq!(world.state_of("a").launch.phase.as_deref(), Some("1"));
    assert!(world.typed("stays").is_empty(), "it has no prompt, and the plan is not its work");
    world.expect_act_count("reporter", "run", 0);
    assert!(matches!(world.seen.units[&name("reporter")].pane, PaneSeen::Absent), "its time is the end");
}

#[test]
fn the_next_phase_begins_on_the_tick_that_sees_the_marker() {
    let mut world = at_work();
    world.branch.done("1");
    world.tick_now();
    assert_eq!(phase(&world), (1, "2"));
    assert!(
        world.events.iter().any(|e| e.contains("phase 1 is done") && e.contains("phase 2 begins (2 of 3)"))
    );
    // Each at the end of its turn, then with the new kickoff and model.
    world.run(20.0);
    world.expect_act_count("a", "terminate", 0);
    world.unit("a").idle();
    settle(&mut world);
    world.expect_act_count("a", "terminate", 1);
    assert!(kickoffs(&world, "a").last().unwrap().contains("Phase 2 begins"), "{}", world.story());
    assert_eq!(world.state_of("a").launch.phase.as_deref(), Some("2"));
    assert_eq!(world.state_of("a").restart.total, 0, "an ordered restart is paid from no budget");
    assert_eq!(world.alerts.iter().filter(|text| text.contains("phase 2 is in force")).count(), 1);
    // Only the loop agents are moved on.
    assert!(!world.acts("stays").contains(&"terminate"));
}

#[test]
fn phases_that_are_done_already_are_passed_in_one_tick_each_with_its_event() {
    let mut world = at_work();
    world.branch.done("2");
    world.tick_now();
    assert_eq!(phase(&world), (0, "1"), "the second one's marker is not the first one's");
    world.branch.done("1");
    world.tick_now();
    assert_eq!(phase(&world), (2, "3"));
    let entered: Vec<&String> = world.events.iter().filter(|e| e.starts_with("Phase")).collect();
    assert_eq!(entered.len(), 2, "{entered:?}");
}

#[test]
fn a_restart_in_between_starts_with_the_phase_in_force() {
    let mut world = at_work();
    world.unit("a").dies(Exit::Status(1));
    world.branch.done("1");
    settle(&mut world);
    let texts = kickoffs(&world, "a");
    assert_eq!(texts.len(), 2, "{}", world.story());
    assert!(texts[1].contains("Phase 2 begins"));
    world.expect_act_count("a", "terminate", 0);
}

#[test]
fn the_last_marker_completes_the_plan_and_starts_its_task_once() {
    let mut world = at_work();
    for id in ["1", "2", "3"] {
        world.branch.done(id);
    }
    world.tick_now();
    assert!(world.state.phase.completed.is_some());
    assert!(world.seen.complete, "the marker is set");
    world.run(5.0);
    assert_eq!(world.acts("reporter"), ["run"], "{}", world.story());
    settle(&mut world);
    world.unit("reporter").dies(Exit::Status(0));
    world.unit("a").dies(Exit::Status(0));
    world.forget();
    world.run(7200.0);
    assert!(world.acts("reporter").is_empty(), "once: {}", world.story());
    assert!(world.acts("a").is_empty(), "loop agents rest: {}", world.story());
    // Losing either file starts nothing anew.
    world.state.units.get_mut(&name("reporter")).unwrap().phase = Default::default();
    world.run(100.0);
    world.state.phase = Default::default();
    world.run(100.0);
    assert!(world.acts("reporter").is_empty(), "{}", world.story());
    assert!(world.state.phase.completed.is_some());
}

#[test]
fn after_the_end_only_persistent_agents_are_woken_and_nobody_stalls() {
    let plan =
        PLAN.replace("name = \"a\"", "name = \"a\"\nwake = { interval = 600, prompt = \"go\" }").replace(
            "kind = \"persistent\"",
            "kind = \"persistent\"\nwake = { interval = 600, prompt = \"look\" }",
        );
    let mut world = World::new(&plan);
    world.branch.push("begin");
    ["1", "2", "3"].iter().for_each(|id| world.branch.done(id));
    settle(&mut world);
    world.forget();
    for _ in 0..40 {
        world.run(60.0);
        if world.seen.units[&name("stays")].pane_state() == Some(ScreenState::Busy) {
            world.unit("stays").idle();
        }
    }
    assert!(world.acts("a").is_empty(), "{}", world.story());
    assert!(world.times("stays", "wake").len() >= 3, "{}", world.story());
}

#[test]
fn a_phase_that_is_appended_resumes_the_plan_and_clears_the_marker() {
    let mut world = at_work();
    ["1", "2", "3"].iter().for_each(|id| world.branch.done(id));
    world.run(30.0);
    assert!(world.seen.complete);
    world.forget();
    world.reload(
        &PLAN
            .replace("status = \"S3.md\" },", "status = \"S3.md\" },\n  { id = \"4\", status = \"S4.md\" },"),
    );
    world.tick_now();
    assert_eq!(phase(&world), (3, "4"));
    world.tick_now();
    assert!(!world.seen.complete, "the marker is gone");
    ["a", "b", "reporter"].iter().for_each(|unit| world.unit(unit).idle());
    settle(&mut world);
    assert!(kickoffs(&world, "a").last().unwrap().contains("Phase 4 begins"), "{}", world.story());
    // Its end is an end of its own.
    world.unit("reporter").dies(Exit::Status(0));
    world.forget();
    world.branch.done("4");
    settle(&mut world);
    world.expect_act_count("reporter", "run", 1);
}

#[test]
fn a_phase_goes_by_its_id_when_the_plan_is_reordered() {
    let mut world = at_work();
    world.branch.done("1");
    world.tick_now();
    let swapped = PLAN
        .replace(
            "{ id = \"2\", plan = \"p2.md\", status = \"S2.md\", model = \"big\" }",
            "{ id = \"X\", status = \"SX.md\" }",
        )
        .replace(
            "{ id = \"3\", plan = \"p3.md\", status = \"S3.md\" }",
            "{ id = \"2\", plan = \"p2.md\", status = \"S2.md\" }",
        );
    world.reload(&swapped);
    world.tick_now();
    assert_eq!(phase(&world), (2, "2"), "the same phase, in its new place");
    assert_eq!(world.last.events.iter().filter(|e| e.text.contains("edited")).count(), 0);
}

#[test]
fn a_phase_that_left_the_plan_is_told_and_not_guessed() {
    let mut world = at_work();
    let renamed = PLAN.replace("id = \"1\"", "id = \"one\"");
    world.reload(&renamed);
    world.unit("a").dies(Exit::Status(1));
    world.run(900.0);
    assert_eq!(
        world.alerts.iter().filter(|text| text.contains("phase set ID")).count(),
        1,
        "{:?}",
        world.alerts
    );
    assert!(!world.acts("a").contains(&"restart"), "{}", world.story());
    assert!(world.acts("b").is_empty(), "who runs is left alone: {}", world.story());
    // Nor is one that hangs ended: it could not be started again.
    world.run(7200.0);
    world.expect_act_count("b", "terminate", 0);
    world.ask(Ask::Phase { to: PhaseStep::Set { id: "one".into() } });
    settle(&mut world);
    assert_eq!(phase(&world), (0, "one"));
    assert!(world.acts("a").contains(&"restart"), "{}", world.story());
}

#[test]
fn a_person_s_edit_of_phase_json_wins() {
    #[track_caller]
    fn check(edit: impl Fn(&mut crate::state::phase::PhaseState), want: (usize, &str)) {
        let mut world = at_work();
        world.branch.done("1");
        world.tick_now();
        edit(&mut world.state.phase);
        world.tick_now();
        world.run(100.0);
        assert_eq!(phase(&world), want, "{}", world.story());
    }
    check(|_| {}, (1, "2"));
    check(|phase| phase.id = "3".into(), (2, "3"));
    check(|phase| phase.index = 2, (2, "3"));
    // Its marker stands: the edit wins all the same.
    check(|phase| phase.id = "1".into(), (0, "1"));
    check(|phase| phase.index = 0, (0, "1"));
    // There is none: what was in force stays.
    check(|phase| phase.index = 9, (1, "2"));
    // Deleted: the first one that is not done.
    check(|phase| *phase = Default::default(), (1, "2"));
    check(|phase| phase.id = String::new(), (1, "2"));
}

#[test]
fn a_marker_that_stood_when_a_person_set_the_phase_counts_after_it_was_gone() {
    let mut world = at_work();
    world.branch.done("1");
    world.tick_now();
    world.ask(Ask::Phase { to: PhaseStep::Reset });
    world.run(600.0);
    assert_eq!(phase(&world), (0, "1"));
    world.branch.done.remove("1");
    world.branch.push("not done after all");
    world.run(60.0);
    world.branch.done("1");
    world.run(60.0);
    assert_eq!(phase(&world), (1, "2"));
}

#[test]
fn orders_about_phases() {
    #[track_caller]
    fn check(to: PhaseStep, want: (usize, &str), said: &str) {
        let mut world = at_work();
        world.ask(Ask::Phase { to });
        world.tick_now();
        assert_eq!(phase(&world), want);
        let answer = &world.state.mail.handled.last().unwrap().said;
        assert!(answer.contains(said), "{answer}");
    }
    check(PhaseStep::Advance { from: None }, (1, "2"), "phase 2 is in force (2 of 3)");
    check(PhaseStep::Set { id: "3".into() }, (2, "3"), "phase 3 is in force");
    check(PhaseStep::Set { id: "9".into() }, (0, "1"), "it has 1, 2, 3");
    check(PhaseStep::Reset, (0, "1"), "phase 1 is in force");
    // The one after the last one is the end.
    let mut world = at_work();
    for _ in 0..3 {
        world.ask(Ask::Phase { to: PhaseStep::Advance { from: None } });
        world.tick_now();
    }
    assert!(world.state.phase.completed.is_some());
    world.ask(Ask::Phase { to: PhaseStep::Advance { from: None } });
    world.tick_now();
    assert!(world.state.mail.handled.last().unwrap().said.contains("complete already"));
}

#[test]
fn an_order_is_taken_once_though_its_confirmation_was_lost() {
    let mut world = at_work();
    world.ask(Ask::Phase { to: PhaseStep::Advance { from: None } });
    let request = world.seen.requests.clone();
    let mail = world.state.mail.clone();
    world.tick_now();
    world.state.mail = mail;
    world.seen.requests = request;
    world.tick_now();
    assert_eq!(phase(&world), (1, "2"));
}

#[test]
fn what_can_t_be_read_moves_nothing_and_starts_no_loop_agent() {
    let mut world = World::new(PLAN);
    world.branch.unknown = true;
    world.run(300.0);
    assert!(matches!(
        crate::policy::plan::stage(&world.config, &world.state.phase, world.seen.branch.as_ref()),
        Stage::Unknown(_)
    ));
    assert!(world.acts("a").is_empty(), "{}", world.story());
    assert!(!world.acts("stays").is_empty(), "who is not part of the plan is started");
    assert!(world.state_of("a").hold.as_ref().unwrap().why.contains("no git repository"));
    world.branch.unknown = false;
    world.branch.push("begin");
    settle(&mut world);
    assert!(kickoffs(&world, "a")[0].contains("Phase 1"), "{}", world.story());
    // Later it only means that nothing is known now.
    world.branch.unknown = true;
    world.forget();
    world.run(60.0);
    assert_eq!(phase(&world), (0, "1"));
}

#[test]
fn lost_files_restart_nobody() {
    let mut world = at_work();
    world.branch.done("1");
    world.unit("a").idle();
    world.unit("b").idle();
    settle(&mut world);
    for unit in ["a", "b", "stays"] {
        world.unit(unit).busy();
    }
    world.ticks(3);
    world.forget();
    world.state = Default::default();
    world.run(60.0);
    assert_eq!(phase(&world), (1, "2"));
    for unit in ["a", "b", "stays"] {
        assert!(world.acts(unit).is_empty(), "{}", world.story());
    }
    assert_eq!(world.state_of("a").launch.phase.as_deref(), Some("2"), "from the mark on its pane");
}

#[test]
fn one_who_was_never_kicked_off_for_a_phase_is_started_with_its_kickoff() {
    let mut world = World::running(
        &PLAN.split("[[agent]]").skip(1).map(|agent| format!("[[agent]]{agent}")).collect::<String>(),
    );
    world.branch.push("begin");
    world.reload(PLAN);
    world.unit("a").idle();
    settle(&mut world);
    assert!(kickoffs(&world, "a").last().unwrap().contains("Phase 1"), "{}", world.story());
}

#[test]
fn a_pause_and_a_limit_hold_the_move_to_the_next_phase() {
    let mut world = at_work();
    world.unit("a").idle();
    world.ask(Ask::Pause { unit: Some(name("a")), reason: "looking".into() });
    world.ticks(2);
    world.branch.done("1");
    world.run(600.0);
    assert_eq!(phase(&world), (1, "2"), "the plan moves on all the same");
    world.expect_act_count("a", "terminate", 0);
    assert!(world.state_of("a").hold.as_ref().unwrap().why.contains("paused"));
    world.ask(Ask::Resume { unit: Some(name("a")) });
    settle(&mut world);
    world.expect_act_count("a", "terminate", 1);
}

#[test]
fn the_done_nudge_comes_once_per_phase_before_the_ladder() {
    let mut world = at_work();
    world.unit("a").idle();
    world.run(400.0);
    let nudges: Vec<&str> =
        world.typed("a").into_iter().filter(|t| t.contains("not marked as done")).collect();
    assert_eq!(nudges.len(), 1, "{}", world.story());
    assert!(nudges[0].contains("`## DONE`") || nudges[0].contains("## DONE"));
    assert_eq!(world.state_of("a").ladder.tier, 0, "it is none of the ladder's tiers");
    world.unit("a").busy();
    world.ticks(2);
    world.unit("a").idle();
    world.run(400.0);
    let quiet = world.typed("a").into_iter().filter(|t| t.contains("quiet for a while")).count();
    assert_eq!(quiet, 1, "the ladder's own: {}", world.story());
}

#[test]
fn a_marker_set_by_hand_ends_the_plan_until_it_is_removed_with_another_phase_in_force() {
    let mut world = at_work();
    world.seen.complete = true;
    world.tick_now();
    assert!(world.state.phase.completed.is_some());
    world.run(100.0);
    assert!(world.seen.complete);
    world.ask(Ask::Phase { to: PhaseStep::Set { id: "2".into() } });
    world.run(10.0);
    assert!(!world.seen.complete, "the order takes it away");
    assert_eq!(phase(&world), (1, "2"));
}

#[test]
fn a_fetch_is_ordered_every_interval_while_there_is_work_and_never_beside_another() {
    let mut world = at_work();
    world.jobs.clear();
    world.run(300.0);
    assert!((9..=11).contains(&world.jobs.len()), "{} fetches in 300 s", world.jobs.len());
    world.seen.fetch = JobSeen::Running;
    world.jobs.clear();
    world.run(300.0);
    assert!(world.jobs.is_empty());
    assert_eq!(
        world.alerts.iter().filter(|text| text.contains("fetching")).count(),
        1,
        "one that hangs is told once"
    );
    world.seen.fetch = JobSeen::failed("could not resolve host");
    world.run(600.0);
    assert!(world.jobs.len() > 10, "it is tried again");
    assert_eq!(world.alerts.iter().filter(|text| text.contains("fetching")).count(), 1, "{:?}", world.alerts);
    world.seen.fetch = JobSeen::well("");
    world.run(60.0);
    assert!(world.events.iter().any(|e| e.contains("works again")));
    ["1", "2", "3"].iter().for_each(|id| world.branch.done(id));
    world.run(60.0);
    world.jobs.clear();
    world.run(600.0);
    assert!(world.jobs.is_empty(), "there is no work left");
}

#[test]
fn the_last_task_is_started_again_when_its_start_came_to_nothing() {
    let mut world = at_work();
    // Recorded, and never carried out: the watchdog was killed in between, or tmux did not take it.
    world.deaf.insert("reporter".into());
    ["1", "2", "3"].iter().for_each(|id| world.branch.done(id));
    world.tick_now();
    world.run(10.0);
    assert_eq!(world.acts("reporter"), ["run"], "{}", world.story());
    world.deaf.clear();
    world.run(60.0);
    assert_eq!(world.acts("reporter"), ["run", "run"], "{}", world.story());
    settle(&mut world);
    world.unit("reporter").dies(Exit::Status(0));
    world.run(7200.0);
    let runs = world.acts("reporter").into_iter().filter(|act| *act == "run").count();
    assert_eq!(runs, 2, "{}", world.story());
}

#[test]
fn the_remote_is_asked_before_the_first_phase_is_chosen_but_not_for_ever() {
    let mut world = World::new(PLAN);
    world.branch.push("begin");
    world.seen.fetch = JobSeen::Running;
    world.run(15.0);
    assert!(world.state.phase.id.is_empty(), "an old clone must not choose");
    assert!(world.acts("a").is_empty());
    // What it brings: the first phase was done long ago.
    world.branch.done("1");
    world.seen.fetch = JobSeen::well("");
    world.state.git.fetches = 1;
    world.poke();
    world.tick();
    assert_eq!(phase(&world), (1, "2"));
    let mut world = World::new(PLAN);
    world.branch.push("begin");
    world.seen.fetch = JobSeen::Running;
    world.run(60.0);
    assert_eq!(phase(&world), (0, "1"), "a remote that hangs is not waited for");
}

#[test]
fn a_lost_phase_json_after_a_person_s_choice_finds_the_phase_that_the_agents_carry() {
    let mut world = at_work();
    world.ask(Ask::Phase { to: PhaseStep::Set { id: "3".into() } });
    world.unit("a").idle();
    world.unit("b").idle();
    settle(&mut world);
    for unit in ["a", "b"] {
        world.unit(unit).busy();
    }
    world.ticks(3);
    world.forget();
    world.state.phase = Default::default();
    world.run(60.0);
    assert_eq!(phase(&world), (2, "3"));
    assert!(world.acts("a").is_empty() && world.acts("b").is_empty(), "{}", world.story());
}

#[test]
fn a_branch_that_is_gone_for_a_while_undoes_no_order() {
    let mut world = at_work();
    world.branch.done("1");
    world.tick_now();
    world.ask(Ask::Phase { to: PhaseStep::Reset });
    world.run(60.0);
    let subjects = std::mem::take(&mut world.branch.subjects);
    world.run(60.0);
    world.branch.subjects = subjects;
    world.run(60.0);
    assert_eq!(phase(&world), (0, "1"));
}

#[test]
fn a_fetch_that_takes_longer_gets_longer_and_a_short_trouble_is_not_told() {
    let mut world = at_work();
    let late = || JobSeen::failed("it was ended after 120 s, its deadline");
    let deadline = |world: &World| world.last.jobs.first().map(|job| job.deadline_s);
    let mut deadlines = Vec::new();
    world.seen.fetch = late();
    for _ in 0..400 {
        world.tick();
        deadlines.extend(deadline(&world));
    }
    assert_eq!(deadlines.first(), Some(&240), "{deadlines:?}");
    assert_eq!(deadlines.last(), Some(&3600), "{deadlines:?}");
    // One failure, then well again.
    let mut world = at_work();
    world.seen.fetch = JobSeen::failed("no route to host");
    world.run(31.0);
    world.seen.fetch = JobSeen::well("");
    world.run(600.0);
    assert!(world.alerts.iter().all(|text| !text.contains("fetching")), "{:?}", world.alerts);
    // An edited or foreign time of the last fetch stops nothing.
    world.state.git.fetch_awake_s = Some(world.seen.now.awake_s.plus_s(1e7));
    world.jobs.clear();
    world.run(61.0);
    assert!(!world.jobs.is_empty());
}

#[test]
fn an_advance_that_somebody_else_made_meanwhile_is_not_made_twice() {
    let mut world = at_work();
    world.branch.done("1");
    world.ask(Ask::Phase { to: PhaseStep::Advance { from: Some("1".into()) } });
    world.tick_now();
    // The order comes first: the marker then belongs to a phase that is over.
    assert_eq!(phase(&world), (1, "2"));
    world.ask(Ask::Phase { to: PhaseStep::Advance { from: Some("1".into()) } });
    world.tick_now();
    assert_eq!(phase(&world), (1, "2"));
    assert!(world.state.mail.handled.last().unwrap().said.contains("no longer 1"));
}

//! The one ladder: its order, its pauses, its breaker, and what a cooperative unit makes of it.

use crate::model::action::Action;
use crate::model::seen::{Ask, Cooperation, Exit, RestartMarker};
use crate::policy::proposal::What;
use crate::policy::testing::{World, name};
use crate::state::unit::{Breaker, EndStep};

const OLD: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEW: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A cooperative service that runs and beats; `more` are further keys.
fn service(more: &str) -> World {
    let text = format!("[[service]]\nname = \"s\"\ncommand = [\"x\"]\ncooperative = {{}}\n{more}\n");
    let mut world = lives(&text, &["s"]);
    beats_for(&mut world, 150.0);
    world.forget();
    world
}

/// These run, and no tick has passed over them without a heartbeat.
fn lives(text: &str, units: &[&str]) -> World {
    let mut world = World::new(text);
    for unit in units {
        world.unit(unit).start();
    }
    world.tick();
    for unit in units {
        // As if this watchdog had started it.
        let state = world.state.units.get_mut(&name(unit)).unwrap();
        state.launch.count = 1;
        state.promise.process = state.seen.process;
        world.unit(unit).busy();
    }
    world
}

/// It ends, and somebody looks.
fn ends(world: &mut World, exit: Exit) {
    world.unit("s").dies(exit);
    world.poke();
}

/// So long it does what it promised.
fn beats_for(world: &mut World, seconds: f64) {
    for _ in 0..(seconds / 10.0).ceil() as u32 {
        if world.seen.units[&name("s")].pane_state().is_some() {
            world.unit("s").beats();
        }
        world.run(10.0);
    }
}

/// Nothing that is said to it has an effect: TERM is ignored, and so is its marker.
fn hangs(world: &mut World) {
    world.deaf.insert("s: terminate".into());
}

/// Until this was done, at most so long.
#[track_caller]
fn until(world: &mut World, label: &str, seconds: f64) {
    let end = world.seen.now.awake_s.plus_s(seconds);
    while !world.acts("s").contains(&label) {
        assert!(world.seen.now.awake_s < end, "no {label} within {seconds} s; {}", world.story());
        world.tick();
    }
}

#[test]
fn a_healthy_service_is_left_alone() {
    let mut world = service("");
    world.unit("s").stamps(OLD);
    world.unit("s").cooperation().head = Some(OLD.into());
    beats_for(&mut world, 3600.0);
    world.expect_no_act("s");
    assert_eq!(world.state_of("s").acts, 0, "{}", world.story());
}

#[test]
fn one_that_hangs_is_asked_then_ended_then_killed_then_told_of_one_tier_at_a_time() {
    let mut world = service("");
    hangs(&mut world);
    until(&mut world, "request-restart", 130.0);
    assert!(world.seen.units[&name("s")].markers.restart.is_some(), "{}", world.story());
    until(&mut world, "terminate", 50.0);
    until(&mut world, "kill", 10.0);
    until(&mut world, "restart", 5.0);
    // The new process hangs too: it has its time, and then the next tier is due.
    world.forget();
    world.run(85.0);
    world.expect_acts("s", &["clear RESTART"]);
    world.forget();
    until(&mut world, "kill-start", 60.0);
    until(&mut world, "restart", 80.0);
    world.expect_acts("s", &["kill-start", "kill", "restart"]);
    let why = &world.done.iter().find(|(_, _, label, _)| label == "kill").unwrap().3;
    assert!(why.contains("TERM was a tier before"), "{why}");
    world.forget();
    world.run(150.0);
    world.expect_acts("s", &[]);
    world.expect_alerts("is silent and its ladder is at its end", 1);
}

#[test]
fn term_is_followed_by_kill_only_after_the_grace() {
    let mut world = service("ladder = { tiers = [\"terminate\"], grace_s = 7 }");
    hangs(&mut world);
    until(&mut world, "kill", 300.0);
    let times = |label| world.times("s", label).clone();
    let (begun, killed) = (times("terminate"), times("kill"));
    // The tier and its TERM are one word.
    assert!(killed[0] - begun[begun.len() - 1] >= 7.0, "{begun:?} {killed:?}; {}", world.story());
}

#[test]
fn the_cooldown_is_kept_between_all_tiers() {
    let mut world =
        service("ladder = { tiers = [\"warn\", \"request-restart\", \"terminate\"], cooldown_s = 100 }");
    world.run(400.0);
    let warned = world.events.iter().filter(|event| event.contains("warning:")).count();
    assert_eq!(warned, 1, "{}", world.story());
    let (asked, ended) = (world.times("s", "request-restart")[0], world.times("s", "terminate")[0]);
    assert!(ended - asked >= 100.0, "{}", world.story());
}

#[test]
fn a_remedy_is_due_only_while_the_symptom_stands() {
    let mut world = service("");
    until(&mut world, "request-restart", 130.0);
    world.forget();
    beats_for(&mut world, 400.0);
    world.expect_acts("s", &[]);
    assert_eq!(world.state_of("s").ladder.tier, 0, "it starts over: {}", world.story());
    world.expect_events("the ladder starts over", 1);
}

#[test]
fn an_end_is_called_off_when_it_beats_before_the_first_signal() {
    let mut world = service("ladder = { tiers = [\"terminate\"] }");
    while world.state_of("s").ending.is_none() {
        world.tick();
    }
    world.unit("s").beats();
    world.tick();
    assert!(world.state_of("s").ending.is_none(), "{}", world.story());
    assert_eq!((world.state_of("s").ladder.tier, world.state_of("s").ladder.failed), (0, 0));
    world.expect_events("called off", 1);
}

#[test]
fn three_last_tiers_in_a_row_open_the_breaker_which_lets_one_try_through() {
    let mut world = service("ladder = { tiers = [\"request-restart\"], cooldown_s = 45, breaker_s = 600 }");
    world.run(350.0);
    world.expect_act_count("s", "request-restart", 3);
    world.expect_alerts("circuit breaker of the ladder of `s` open", 1);
    assert!(matches!(world.state_of("s").ladder.breaker, Breaker::Open { .. }), "{}", world.story());
    world.expect_hold("s", "circuit breaker of its ladder open");
    world.run(400.0);
    world.expect_act_count("s", "request-restart", 3);
    world.run(150.0);
    world.expect_act_count("s", "request-restart", 4);
    assert!(matches!(world.state_of("s").ladder.breaker, Breaker::Open { .. }), "the try failed");
    // For ever: one try each time, and alerts that become rarer.
    world.run(6.0 * 3600.0);
    let tries = world.times("s", "request-restart").len() - 4;
    assert!((25..=36).contains(&tries), "{tries} tries in 6 h; {}", world.story());
    let alerts = world.alerts.iter().filter(|alert| alert.contains("circuit breaker")).count();
    assert!((4..=12).contains(&alerts), "{alerts} alerts");
}

#[test]
fn an_open_breaker_closes_by_approval_and_by_a_healthy_observation() {
    const TEXT: &str = "ladder = { tiers = [\"request-restart\"] }";
    let mut world = service(TEXT);
    world.run(400.0);
    world.ask(Ask::Approve { unit: name("s") });
    world.tick();
    assert_eq!(world.state_of("s").ladder.breaker, Breaker::Closed);
    world.forget();
    world.run(60.0);
    world.expect_act_count("s", "request-restart", 1);
    let mut world = service(TEXT);
    world.run(400.0);
    beats_for(&mut world, 200.0);
    assert_eq!(world.state_of("s").ladder.breaker, Breaker::Closed, "{}", world.story());
    assert_eq!(world.state_of("s").ladder.failed, 0);
}

/// The whole default ladder, and a unit that never beats again whatever is done: people hear of it, and one try is made
/// each time that the breaker's time is over.
#[test]
fn one_that_never_comes_back_is_told_of_and_tried_rarely() {
    let mut world = service("");
    hangs(&mut world);
    world.run(3.0 * 3600.0);
    let kills = world.times("s", "kill-start").len();
    assert!((8..=18).contains(&kills), "{kills}; {}", world.story());
    world.expect_act_count("s", "request-restart", 1);
    world.expect_alerts("is silent and its ladder is at its end", 1);
    let alerts = world.alerts.len();
    assert!(alerts <= 12, "{alerts} alerts: {:?}", world.alerts);
}

#[test]
fn the_memory_of_the_ladder_survives_the_watchdog() {
    let mut world = service("");
    hangs(&mut world);
    until(&mut world, "request-restart", 130.0);
    world.killed();
    world.state.clocks.units.clear(); // The clocks may be lost: then it only takes longer.
    world.forget();
    until(&mut world, "terminate", 200.0);
    world.expect_act_count("s", "request-restart", 0);
}

#[test]
fn no_process_at_all_skips_the_tiers_that_would_speak_to_it() {
    let mut world = service("");
    ends(&mut world, Exit::Signal(9));
    world.run(5.0);
    world.expect_acts("s", &["restart"]);
}

#[test]
fn vetoes_hold_every_tier_that_ends_it() {
    let mut world = service("");
    world.seen.host.cpu_pressure = Some(95.0);
    world.run(400.0);
    world.expect_no_act("s");
    world.expect_hold("s", "veto: the machine is starved");
    world.seen.host.cpu_pressure = None;
    let until = world.seen.now.wall.plus_s(600.0);
    world.unit("s").seen().markers.waiting_until = Some(until);
    world.run(400.0);
    world.expect_no_act("s");
    world.expect_hold("s", "declared a wait");
    world.run(300.0);
    world.expect_act("s", "request-restart");
}

#[test]
fn neither_a_jump_of_the_wall_clock_nor_a_gap_in_looking_is_silence() {
    let mut world = service("");
    for jump in [86_400.0, -2.0 * 86_400.0] {
        world.set_wall(jump);
        world.tick_now();
        beats_for(&mut world, 60.0);
    }
    world.pass(3000.0);
    world.tick_now();
    beats_for(&mut world, 60.0);
    world.expect_no_act("s");
}

#[test]
fn what_could_not_be_seen_is_no_silence() {
    let mut world = service("");
    for _ in 0..40 {
        world.unit("s").cooperation().heartbeat = None;
        world.run(10.0);
    }
    world.expect_no_act("s");
}

#[test]
fn one_that_never_beat_is_silent_after_its_time() {
    let text = "[[service]]\nname = \"s\"\ncommand = [\"x\"]\ncooperative = {}\n";
    let mut world = lives(text, &["s"]);
    world.run(80.0);
    world.expect_no_act("s");
    world.run(40.0);
    world.expect_acts("s", &["request-restart"]);
}

#[test]
fn old_code_is_asked_to_restart_and_the_new_version_ends_it() {
    let mut world = service("");
    world.unit("s").stamps(&OLD[..12]);
    world.unit("s").cooperation().head = Some(OLD.into());
    beats_for(&mut world, 120.0);
    world.expect_no_act("s");
    world.unit("s").cooperation().head = Some(NEW.into());
    world.tick_now();
    world.expect_no_act("s"); // Two looks: a pull is under way, perhaps.
    until(&mut world, "request-restart", 60.0);
    ends(&mut world, Exit::Status(42));
    until(&mut world, "restart", 5.0);
    // The version race: what its last process wrote stands there still, for longer than the quiet time.
    beats_for(&mut world, 200.0);
    world.expect_acts("s", &["request-restart", "restart", "clear RESTART"]);
    world.unit("s").stamps(NEW);
    beats_for(&mut world, 300.0);
    world.expect_acts("s", &["request-restart", "restart", "clear RESTART"]);
    assert_eq!(world.state_of("s").ladder.tier, 0, "{}", world.story());
    assert_eq!(world.state_of("s").restart.past_awake_s, [], "it pays for nothing");
}

#[test]
fn a_version_that_is_old_within_the_quiet_time_is_no_failure() {
    let mut world = service("");
    world.unit("s").stamps(OLD);
    world.unit("s").cooperation().head = Some(NEW.into());
    until(&mut world, "request-restart", 60.0);
    ends(&mut world, Exit::Status(42));
    until(&mut world, "restart", 5.0);
    world.forget();
    // It stamps what it read before the pull was complete, and corrects itself.
    world.unit("s").stamps(OLD);
    beats_for(&mut world, 40.0);
    world.unit("s").stamps(NEW);
    beats_for(&mut world, 300.0);
    world.expect_acts("s", &["clear RESTART"]);
}

#[test]
fn unknown_on_either_side_is_no_verdict() {
    #[track_caller]
    fn check(version: Option<&str>, head: Option<&str>) {
        let mut world = service("");
        if let Some(version) = version {
            world.unit("s").stamps(version);
        }
        world.unit("s").cooperation().head = head.map(str::to_owned);
        beats_for(&mut world, 300.0);
        world.expect_no_act("s");
    }
    check(None, Some(NEW));
    check(Some(OLD), None);
    check(Some("v1.2.3"), Some(NEW));
    check(Some("aaaa"), Some(NEW));
    check(Some(""), Some(NEW));
    check(Some(&"a".repeat(65)), Some(NEW));
    check(Some(&NEW[..8].to_uppercase()), Some(NEW));
}

#[test]
fn without_version_true_nobody_asks() {
    let mut world = service("").config.clone();
    world.units.values_mut().for_each(|unit| unit.cooperative.as_mut().unwrap().version = false);
    let mut with = service("");
    with.config = world;
    with.unit("s").stamps(OLD);
    with.unit("s").cooperation().head = Some(NEW.into());
    beats_for(&mut with, 300.0);
    with.expect_no_act("s");
}

/// One that does not take its marker is ended in an orderly way, and that pays for no restart.
#[test]
fn old_code_that_takes_no_marker_is_terminated_and_then_told_of() {
    let mut world = service("");
    world.unit("s").stamps(OLD);
    world.unit("s").cooperation().head = Some(NEW.into());
    for _ in 0..60 {
        beats_for(&mut world, 10.0);
        if world.seen.units[&name("s")].pane_state().is_some() {
            world.unit("s").stamps(OLD); // It never learns.
        }
    }
    assert!(world.acts("s").contains(&"terminate"), "{}", world.story());
    assert!(!world.acts("s").contains(&"kill"), "{}", world.story());
    assert_eq!(world.state_of("s").restart.past_awake_s, [], "{}", world.story());
    world.forget();
    for _ in 0..360 {
        beats_for(&mut world, 10.0);
        world.unit("s").stamps(OLD);
    }
    world.expect_acts("s", &[]);
}

#[test]
fn who_exits_42_is_started_at_once_and_without_end_meets_the_breaker() {
    let mut world = service("");
    for _ in 0..5 {
        ends(&mut world, Exit::Status(42));
        world.run(3.0);
    }
    world.expect_act_count("s", "restart", 5);
    ends(&mut world, Exit::Status(42));
    world.run(300.0);
    world.expect_act_count("s", "restart", 5);
    world.expect_alerts("circuit breaker open for `s`", 1);
    // Only a cooperative unit speaks that language.
    let mut world = World::running("[[service]]\nname = \"s\"\ncommand = [\"x\"]\n");
    ends(&mut world, Exit::Status(42));
    world.run(3.0);
    ends(&mut world, Exit::Status(42));
    world.run(20.0);
    world.expect_act_count("s", "restart", 1);
    world.expect_hold("s", "backoff");
}

#[test]
fn who_exits_42_and_is_down_stays_down() {
    let mut world = service("");
    world.ask(Ask::Down { unit: Some(name("s")), reason: "enough".into() });
    ends(&mut world, Exit::Status(42));
    world.run(60.0);
    assert!(!world.acts("s").contains(&"restart"), "{}", world.story());
}

/// A marker is its target's: what somebody else wrote for the process that runs now is not taken away.
#[test]
fn a_marker_is_cleared_only_when_it_is_over() {
    #[track_caller]
    fn check(age_s: Option<f64>, cleared: bool) {
        let mut world = service("");
        ends(&mut world, Exit::Status(1));
        until(&mut world, "restart", 5.0);
        beats_for(&mut world, 100.0);
        world.forget();
        let started = world.state_of("s").launch.at.unwrap();
        let at = age_s.map(|age| started.plus_s(-age));
        world.unit("s").seen().markers.restart = Some(RestartMarker { text: "by hand".into(), at });
        beats_for(&mut world, 30.0);
        assert_eq!(world.acts("s").contains(&"clear RESTART"), cleared, "{age_s:?} {}", world.story());
    }
    check(Some(10.0), true);
    check(Some(-10.0), false);
    check(None, false);
}

/// A pid that means another process now: what was asked of the old one is over, and nothing of it is held against the new.
#[test]
fn a_pid_that_came_again_is_another_process() {
    let mut world = service("");
    until(&mut world, "request-restart", 130.0);
    world.unit("s").pane().pid_start += 100;
    world.forget();
    world.ticks(2);
    world.expect_acts("s", &["clear RESTART"]);
    world.run(80.0);
    world.expect_acts("s", &["clear RESTART"]);
}

#[test]
fn the_marker_says_when_who_and_why() {
    let mut world = service("");
    until(&mut world, "request-restart", 130.0);
    let granted = &world.last.granted[0];
    let What::Act(Action::Mark { marker, text }) = &granted.what else { panic!("{granted:?}") };
    assert_eq!(marker.unit, Some(name("s")));
    let (time, rest) = text.split_once(' ').unwrap();
    assert_eq!(crate::base::time::Wall::parse(time), Some(world.seen.now.wall), "{text}");
    assert_eq!(rest, "watchkeeper: its process lives and its heartbeat is old");
}

#[test]
fn a_cooperative_agent_is_judged_by_its_promise_too() {
    let text = "[[agent]]\nname = \"s\"\nkind = \"persistent\"\ncooperative = {}\n\
                ladder = { tiers = [\"request-restart\", \"nudge\", \"kill-start\"] }\n";
    let mut world = lives(text, &["s"]);
    world.unit("s").idle();
    beats_for(&mut world, 3600.0);
    world.expect_no_act("s");
    world.run(130.0);
    world.expect_acts("s", &["request-restart"]);
    world.run(60.0);
    // A reminder mends no promise: that tier is passed over.
    world.expect_act("s", "kill-start");
    world.expect_act_count("s", "nudge", 0);
}

/// A new commit in a repository that many share: they come back a few at a time.
#[test]
fn at_most_max_disruptions_are_asked_in_one_tick() {
    let unit = |n: usize| format!("[[service]]\nname = \"s{n}\"\ncommand = [\"x\"]\ncooperative = {{}}\n");
    let text: String = (0..8).map(unit).collect();
    let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    let mut world = lives(&text, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut most = 0;
    for _ in 0..20 {
        world.tick();
        let asked = world.last.granted.iter().filter(|granted| granted.label == "request-restart").count();
        most = most.max(asked);
    }
    assert_eq!(most, 3);
    let all = (0..8).filter(|n| world.acts(&format!("s{n}")).contains(&"request-restart")).count();
    assert_eq!(all, 8, "{}", world.story());
}

#[test]
fn a_kill_without_a_terminate_before_it_is_gentle() {
    let mut world = service("ladder = { tiers = [\"kill-start\"] }");
    hangs(&mut world);
    let end = |world: &World| world.state_of("s").ending.clone();
    until(&mut world, "kill-start", 150.0);
    world.ticks(2);
    let step = end(&world).map(|ending| ending.step);
    assert!(matches!(step, Some(EndStep::Termed { .. })), "{step:?} {}", world.story());
}

/// It obeys each time, and somebody commits more often than it could be seen to be well.
#[test]
fn a_service_that_takes_every_commit_is_asked_and_never_ended_for_the_next_one() {
    let mut world = service("");
    let commit = |n: u32| format!("{n:040x}");
    world.unit("s").stamps(&commit(1));
    for n in 2..14 {
        world.unit("s").cooperation().head = Some(commit(n));
        world.forget();
        for _ in 0..30 {
            world.unit("s").beats();
            world.run(5.0);
            if world.acts("s").contains(&"request-restart") {
                break;
            }
        }
        world.expect_act("s", "request-restart");
        ends(&mut world, Exit::Status(42));
        until(&mut world, "restart", 3.0);
        world.tick();
        world.unit("s").busy();
        world.unit("s").beats();
        world.unit("s").stamps(&commit(n));
        world.run(70.0);
        world.unit("s").beats();
        world.expect_act_count("s", "terminate", 0);
    }
    world.expect_alerts("", 0);
    assert_eq!(world.state_of("s").restart.breaker, Breaker::Closed);
}

#[test]
fn silence_after_old_code_has_a_ladder_of_its_own() {
    let mut world = service("");
    world.unit("s").stamps(OLD);
    world.unit("s").cooperation().head = Some(NEW.into());
    // It beats, and takes nothing; whatever starts it anew brings the old code again.
    for _ in 0..60 {
        if world.seen.units[&name("s")].pane_state().is_some() {
            world.unit("s").busy();
            world.unit("s").beats();
            world.unit("s").stamps(OLD);
        }
        world.run(10.0);
    }
    world.expect_alerts("runs old code", 1);
    world.forget();
    until(&mut world, "request-restart", 200.0);
    until(&mut world, "terminate", 100.0);
}

#[test]
fn an_approval_at_the_end_of_the_ladder_lets_it_act_again() {
    let mut world = service("");
    hangs(&mut world);
    for _ in 0..400 {
        world.tick();
        if matches!(world.state_of("s").ladder.breaker, Breaker::Open { .. }) {
            break;
        }
    }
    assert!(matches!(world.state_of("s").ladder.breaker, Breaker::Open { .. }), "{}", world.story());
    world.forget();
    world.ask(Ask::Approve { unit: name("s") });
    until(&mut world, "request-restart", 130.0);
}

/// A session that a person started knows of no heartbeat: it is told of, and judged once it has beaten.
#[test]
fn who_was_not_started_as_cooperative_is_judged_once_it_has_beaten() {
    let promise = "[[service]]\nname = \"s\"\ncommand = [\"x\"]\ncooperative = {}\n";
    let adopted = || {
        let mut world = World::new(promise);
        world.unit("s").seen().foreign = Some("it has no stamp of ours".into());
        world.unit("s").seen().adoptable = Some("%1".into());
        world.ask(Ask::Adopt { unit: name("s") });
        until(&mut world, "adopt", 10.0);
        world.unit("s").seen().foreign = None;
        world.unit("s").seen().adoptable = None;
        world.unit("s").start();
        world.unit("s").busy();
        world
    };
    let became = || {
        let mut world = World::running("[[service]]\nname = \"s\"\ncommand = [\"x\"]\n");
        world.reload(promise);
        world.unit("s").seen().cooperation =
            Some(Box::new(Cooperation { heartbeat: Some(String::new()), ..Default::default() }));
        world
    };
    let by_hand = || {
        let mut world = service("");
        world.unit("s").pane().pid += 100;
        world
    };
    for (what, mut world) in [("adopted", adopted()), ("became", became()), ("by hand", by_hand())] {
        world.forget();
        world.run(3600.0);
        assert_eq!(world.acts("s"), [""; 0], "{what}: {}", world.story());
        let told = world.alerts.iter().filter(|text| text.contains("never touched its heartbeat")).count();
        assert_eq!(told, 1, "{what}: {:?}", world.alerts);
        world.unit("s").beats();
        until(&mut world, "request-restart", 300.0);
    }
}

#[test]
fn who_asks_for_its_restart_did_not_crash() {
    #[track_caller]
    fn check(status: i32, crashed: bool) {
        let mut world = service("");
        ends(&mut world, Exit::Status(status));
        world.run(5.0);
        world.expect_act("s", "restart");
        let told = world.events.iter().any(|event| event.contains("crashed"));
        assert_eq!(told, crashed, "{status}: {:?}", world.events);
    }
    check(42, false);
    check(1, true);
}

#[path = "asking_tests.rs"]
mod asking_tests;

/// While it is ended for good, and waits for its grace, nothing else is done to it.
#[test]
fn a_marker_that_is_over_is_left_while_its_unit_is_marked_down() {
    let mut world = service("ladder = { tiers = [\"terminate\"], grace_s = 60 }");
    hangs(&mut world);
    let long_ago = world.seen.now.wall.plus_s(-1e6);
    world.state.units.get_mut(&name("s")).unwrap().launch.at = Some(world.seen.now.wall);
    world.unit("s").seen().markers.down = Some("not now".into());
    until(&mut world, "terminate", 90.0);
    let text = format!("{long_ago} ann: long ago");
    world.unit("s").seen().markers.restart = Some(RestartMarker { text, at: Some(long_ago) });
    world.run(20.0);
    assert!(!world.acts("s").contains(&"clear RESTART"), "{}", world.story());
}

/// A clock that is set to now, because nobody knows how long nobody looked, is no heartbeat: one that hangs has not come
/// back, its ladder stands where it stood, and its breaker stays open.
#[test]
fn a_gap_in_looking_is_no_healthy_observation() {
    let lost: fn(&mut World) = |world| world.state.clocks.looked_awake_s = None;
    let paused: fn(&mut World) = |world| world.pass(1000.0);
    for gap in [lost, paused] {
        let mut world = service("ladder = { tiers = [\"request-restart\"], breaker_s = 100000 }");
        world.run(400.0);
        assert!(matches!(world.state_of("s").ladder.breaker, Breaker::Open { .. }), "{}", world.story());
        gap(&mut world);
        world.tick_now();
        world.run(60.0);
        assert!(matches!(world.state_of("s").ladder.breaker, Breaker::Open { .. }), "{}", world.story());
        world.expect_events("its heart beats again", 0);
    }
}

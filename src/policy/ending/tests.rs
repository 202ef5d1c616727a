use crate::model::seen::{Ask, Exit, ScreenState, Substate};
use crate::policy::testing::{World, name};
use crate::state::unit::{EndCause, EndStep, Then};

const LOOP: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\n";
const CHANGED: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\nenv = { X = \"1\" }\n";

#[test]
fn a_stop_is_term_then_close() {
    let mut world = World::running(LOOP);
    world.unit("a").seen().markers.down = Some("by hand".into());
    world.ticks(4);
    world.expect_acts("a", &["stop", "terminate", "close session"]);
    world.run(3600.0);
    assert_eq!(world.acts("a").len(), 3, "{}", world.story());
    assert!(world.state_of("a").ending.is_none());
}

#[test]
fn who_survives_term_is_killed_after_the_grace() {
    let mut world = World::running(LOOP);
    world.deaf.insert("a".into());
    world.unit("a").seen().markers.down = Some(String::new());
    world.poke();
    world.run(4.0);
    world.expect_acts("a", &["stop", "terminate"]);
    world.run(4.0);
    world.expect_acts("a", &["stop", "terminate", "kill"]);
    let (term, kill) = (world.times("a", "terminate")[0], world.times("a", "kill")[0]);
    assert!((5.0..6.0).contains(&(kill - term)), "{}", world.story());
}

#[test]
fn a_restart_waits_until_the_old_tree_is_gone() {
    let mut world = World::running(LOOP);
    world.unit("a").orphan(900);
    world.deaf.insert("a".into());
    world.unit("a").idle();
    world.ticks(2);
    world.ask(Ask::Restart { unit: name("a") });
    world.run(1.5);
    world.expect_acts("a", &["terminate"]);
    // The pane's process ends, its child does not.
    world.unit("a").dies(Exit::Signal(15));
    world.run(3.0);
    world.expect_acts("a", &["terminate"]);
    world.deaf.clear();
    world.run(4.0);
    world.expect_acts("a", &["terminate", "kill", "start"]);
}

#[test]
fn an_ordered_restart_waits_for_the_end_of_the_turn_at_most_advance_grace() {
    let mut world = World::running(LOOP);
    world.ask(Ask::Restart { unit: name("a") });
    for _ in 0..29 {
        world.unit("a").moves();
        world.run(10.0);
    }
    world.expect_no_act("a");
    world.expect_hold("a", "end of its turn");
    world.run(20.0);
    world.expect_acts("a", &["terminate", "start"]);
}

#[test]
fn an_ordered_restart_of_who_has_no_turn_happens_at_once() {
    #[track_caller]
    fn check(change: impl Fn(&mut World)) {
        let mut world = World::running(LOOP);
        change(&mut world);
        world.ticks(2);
        world.forget();
        world.ask(Ask::Restart { unit: name("a") });
        world.run(5.0);
        let acts = world.acts("a");
        assert!(acts.starts_with(&["terminate", "start"]), "{}", world.story());
    }
    check(|world| world.unit("a").idle());
    check(|world| world.unit("a").limited("limit reached ∙ resets 3pm"));
    check(|world| world.unit("a").asks("Do you want to proceed?"));
    check(|world| world.unit("a").fails(Substate::Server));
}

#[test]
fn up_before_the_stop_began_calls_it_off() {
    let mut world = World::running(LOOP);
    world.deaf.insert("a".into());
    world.unit("a").seen().markers.down = Some(String::new());
    world.tick();
    world.expect_acts("a", &["stop"]);
    world.unit("a").seen().markers.down = None;
    world.run(900.0);
    world.expect_acts("a", &["stop"]);
}

#[test]
fn up_during_a_stop_starts_it_again() {
    let mut world = World::running(LOOP);
    world.unit("a").seen().markers.down = Some(String::new());
    world.ticks(2);
    world.expect_acts("a", &["stop", "terminate"]);
    world.ask(Ask::Up { unit: Some(name("a")) });
    world.run(5.0);
    world.expect_acts("a", &["stop", "terminate", "close session", "start"]);
}

#[test]
fn down_during_a_restart_keeps_it_down() {
    let mut world = World::running(LOOP);
    world.ask(Ask::Restart { unit: name("a") });
    world.ticks(2);
    world.unit("a").seen().markers.down = Some(String::new());
    world.run(30.0);
    world.expect_acts("a", &["terminate", "close session"]);
    assert!(world.state_of("a").ending.is_none());
}

#[test]
fn a_changed_config_waits_for_a_pause_and_for_a_limit() {
    let mut world = World::running(LOOP);
    world.ask(Ask::Pause { unit: None, reason: "demo".into() });
    world.ticks(2);
    world.reload(CHANGED);
    world.unit("a").idle();
    world.run(900.0);
    world.expect_no_act("a");
    world.ask(Ask::Resume { unit: None });
    world.unit("a").limited("limit reached ∙ resets 3pm");
    world.run(900.0);
    world.expect_no_act("a");
    world.unit("a").busy();
    world.ticks(2);
    world.unit("a").idle();
    world.run(5.0);
    let acts = world.acts("a");
    assert!(acts.starts_with(&["restart", "terminate", "start"]), "{}", world.story());
}

#[test]
fn a_pause_stops_a_config_restart_that_was_not_begun() {
    let mut world = World::running(LOOP);
    world.reload(CHANGED);
    world.ticks(2);
    world.expect_acts("a", &["restart"]);
    world.ask(Ask::Pause { unit: Some(name("a")), reason: String::new() });
    world.run(900.0);
    world.expect_acts("a", &["restart"]);
}

#[test]
fn no_more_than_max_disruptions_are_terminated_in_one_tick() {
    let mut text = String::new();
    for unit in ["a", "b", "c", "d", "e"] {
        text.push_str(&format!("[[agent]]\nname = \"{unit}\"\nkind = \"loop\"\nprompt = \"p.md\"\n"));
    }
    let mut world = World::running(&text);
    world.reload(&text.replace("kind", "env = { X = \"1\" }\nkind"));
    world.run(20.0);
    // All wait for the end of their turns, which comes in one instant.
    for unit in ["a", "b", "c", "d", "e"] {
        world.unit(unit).idle();
    }
    world.ticks(2);
    world.forget();
    for _ in 0..20 {
        let before = world.done.len();
        world.tick();
        let now = world.done[before..].iter().filter(|(_, _, label, _)| label == "terminate").count();
        assert!(now <= 3, "{}", world.story());
    }
    for unit in ["a", "b", "c", "d", "e"] {
        assert_eq!(world.times(unit, "start").len(), 1, "{}", world.story());
    }
}

#[test]
fn a_second_order_does_not_forget_who_was_terminated() {
    let mut world = World::running(LOOP);
    world.deaf.insert("a".into());
    world.unit("a").idle();
    world.ticks(2);
    world.ask(Ask::Restart { unit: name("a") });
    world.ticks(2);
    world.ask(Ask::Restart { unit: name("a") });
    world.tick();
    let ending = world.state_of("a").ending.clone().unwrap();
    assert!(matches!(ending.step, EndStep::Termed { .. }), "{ending:?}");
    assert_eq!((ending.then, ending.cause), (Then::Start, EndCause::Ordered));
}

#[test]
fn progress_calls_off_a_kill_that_was_not_begun() {
    let mut world = World::running(LOOP);
    world.run(1300.0);
    world.expect_act("a", "nudge");
    world.forget();
    for _ in 0..1000 {
        world.tick();
        if world.acts("a").contains(&"kill-start") {
            break;
        }
    }
    world.expect_act("a", "kill-start");
    world.unit("a").busy();
    world.run(120.0);
    assert!(!world.acts("a").contains(&"terminate"), "{}", world.story());
}

#[test]
fn a_unit_that_is_disabled_while_it_waits_for_its_end_is_left_alone() {
    let mut world = World::running(LOOP);
    world.ask(Ask::Restart { unit: name("a") });
    world.ticks(2);
    world.reload(&LOOP.replace("kind", "enabled = false\nkind"));
    world.run(900.0);
    world.expect_no_act("a");
    assert_eq!(world.state_of("a").ending, None);
    assert_eq!(world.state_of("a").seen.state, ScreenState::Busy);
}

#[test]
fn a_down_marker_that_is_removed_lets_it_come_back_at_once_whatever_it_went_through() {
    let mut world = World::running(LOOP);
    for _ in 0..6 {
        world.unit("a").seen().markers.down = Some(String::new());
        world.run(60.0);
        world.unit("a").seen().markers.down = None;
        world.forget();
        world.run(31.0);
        assert_eq!(world.acts("a"), ["start"], "{}", world.story());
        world.unit("a").idle();
        world.run(5.0);
        world.unit("a").busy();
        world.run(30.0);
    }
    assert_eq!(world.state_of("a").restart.past_awake_s, [], "none of it is paid from the budget of deaths");
    // Only once: the next death is one.
    world.forget();
    world.unit("a").dies(Exit::Status(1));
    world.run(31.0);
    assert_eq!(world.acts("a"), ["restart"], "{}", world.story());
}

#[test]
fn a_launch_that_an_older_watchkeeper_digested_is_taken_as_it_is() {
    for old in ["31f34858f942b629", "1:31f34858f942b629"] {
        let mut world = World::running(LOOP);
        world.state.units.get_mut(&name("a")).unwrap().launch.digest = old.into();
        world.ticks(3);
        world.unit("a").idle();
        world.run(60.0);
        world.expect_no_act("a");
        // From then on changes count.
        world.reload(CHANGED);
        world.run(5.0);
        assert!(world.acts("a").starts_with(&["restart", "terminate"]), "{}", world.story());
    }
}

#[test]
fn a_process_that_a_person_starts_during_an_end_is_not_its_target() {
    let mut world = World::running(LOOP);
    world.unit("a").show(ScreenState::Shell);
    // The start that follows waits for its backoff.
    world.tick();
    let now = world.seen.now.awake_s;
    world.state.units.get_mut(&name("a")).unwrap().restart.past_awake_s = vec![now];
    world.ticks(3);
    world.expect_acts("a", &["restart", "terminate"]);
    world.unit("a").start();
    world.ticks(2);
    world.unit("a").busy();
    world.run(120.0);
    world.expect_acts("a", &["restart", "terminate"]);
    assert_eq!(world.state_of("a").ending, None);
    world.expect_events("end called off", 1);
}

#[test]
fn a_process_that_is_started_against_the_down_mark_is_terminated_before_it_is_killed() {
    let mut world = World::running(LOOP);
    world.deaf.insert("a: close session".into());
    world.unit("a").seen().markers.down = Some(String::new());
    world.ticks(3);
    let termed = world.state_of("a").ending.clone().unwrap();
    assert!(matches!(termed.step, EndStep::Termed { .. }), "{termed:?}");
    world.unit("a").start();
    world.deaf.insert("a".into());
    world.run(10.0);
    world.expect_act_count("a", "terminate", 2);
    let (terms, kills) = (world.times("a", "terminate"), world.times("a", "kill"));
    assert!(kills.iter().all(|kill| kill - terms[1] >= 5.0) && !kills.is_empty(), "{}", world.story());
}

#[test]
fn term_is_sent_once_more_when_the_watchdog_was_killed_behind_its_record() {
    let mut world = World::running(LOOP);
    world.deaf.insert("a".into());
    world.unit("a").seen().markers.down = Some(String::new());
    world.ticks(2);
    world.expect_acts("a", &["stop", "terminate"]);
    world.killed();
    world.run(30.0);
    let (terms, kills) = (world.times("a", "terminate"), world.times("a", "kill"));
    assert_eq!(terms.len(), 2, "{}", world.story());
    assert!((5.0..6.0).contains(&(kills[0] - terms[1])), "{}", world.story());
    // A watchdog that is killed again and again does not keep it alive.
    let mut world = World::running(LOOP);
    world.deaf.insert("a".into());
    world.unit("a").seen().markers.down = Some(String::new());
    for _ in 0..100 {
        world.tick();
        world.killed();
    }
    world.expect_act_count("a", "terminate", 2);
    world.expect_act("a", "kill");
}

use crate::model::seen::{Ask, Exit, ScreenState, ServerId, ServerSeen, Substate};
use crate::policy::testing::{World, name};
use crate::state::unit::{DeliveryOutcome, DeliveryStep};

const STAYS: &str = "[[agent]]\nname = \"p\"\nkind = \"persistent\"\nprompt = \"p.md\"\n";
const TYPED: [&str; 4] = ["nudge", "load text", "paste text", "submit text"];

/// An idle persistent agent.
fn idle() -> World {
    let mut world = World::running(STAYS);
    world.unit("p").idle();
    world.ticks(3);
    world.forget();
    world
}

fn nudge(world: &mut World, text: &str) {
    world.ask(Ask::Nudge { unit: name("p"), text: text.into() });
}

/// Ticks until the delivery under way has come to this step.
#[track_caller]
fn until(world: &mut World, reached: impl Fn(&DeliveryStep) -> bool) {
    for _ in 0..50 {
        world.tick();
        if world.state_of("p").delivery.current.as_ref().is_some_and(|d| reached(&d.step)) {
            return;
        }
    }
    panic!("never; {}", world.story());
}

fn pasted(step: &DeliveryStep) -> bool {
    matches!(step, DeliveryStep::Pasted { .. })
}

#[test]
fn a_text_is_loaded_pasted_submitted_and_seen() {
    let mut world = idle();
    nudge(&mut world, "look at the tests");
    world.run(20.0);
    world.expect_acts("p", &TYPED);
    assert_eq!(world.state_of("p").delivery.past.last().unwrap().outcome, DeliveryOutcome::Seen);
    world.expect_alerts("", 0);
}

#[test]
fn nothing_is_typed_while_it_would_go_wrong() {
    #[track_caller]
    fn check(why: &str, change: impl Fn(&mut World)) {
        let mut world = idle();
        change(&mut world);
        for _ in 0..3 {
            world.pass(0.5);
            world.tick_now();
        }
        world.forget();
        nudge(&mut world, "go on");
        world.run(50.0);
        assert!(!world.acts("p").iter().any(|act| TYPED[1..].contains(act)), "{}", world.story());
        world.expect_hold("p", why);
    }
    check("waits for a person", |world| world.unit("p").asks("Proceed?"));
    check("waits for a person", |world| world.unit("p").show(ScreenState::Onboarding));
    check("not ready", |world| world.unit("p").show(ScreenState::Starting));
    check("can't be read", |world| world.unit("p").show(ScreenState::Unknown));
    check("it is limited", |world| world.unit("p").limited("limit reached ∙ resets 3pm"));
    check("viewer or picker", |world| world.unit("p").reading().overlay = true);
    check("a person's draft", |world| world.unit("p").composer("dear agent"));
    check("a person is attached and typed", |world| world.unit("p").person_types());
    check("copy mode, and a person", |world| {
        let mut unit = world.unit("p");
        unit.pane().in_mode = true;
        unit.pane().attached = 1;
    });
    check("blind", |world| world.seen.server = ServerSeen::Unknown { why: "timeout".into() });
}

#[test]
fn copy_mode_that_nobody_looks_at_is_left() {
    let mut world = idle();
    world.unit("p").pane().in_mode = true;
    nudge(&mut world, "go on");
    world.run(20.0);
    world.expect_acts("p", &["nudge", "leave copy mode", "load text", "paste text", "submit text"]);
}

#[test]
fn an_older_text_of_ours_is_cleared_first_and_not_given_up_after_one_press() {
    let mut world = idle();
    world.deaf.extend(["p: submit text".into(), "p: submit draft".into()]);
    nudge(&mut world, "the first");
    world.run(60.0);
    world.expect_alerts("stays in the composer after 3 presses", 1);
    world.forget();
    world.deaf.clear();
    world.deaf.insert("p: clear composer".into());
    nudge(&mut world, "the second");
    world.run(1.2);
    world.deaf.clear();
    world.run(20.0);
    let acts = world.acts("p");
    assert_eq!(acts.last(), Some(&"submit text"), "{}", world.story());
    assert!(acts.iter().filter(|act| **act == "clear composer").count() <= 5, "{}", world.story());
    assert_eq!(world.state_of("p").delivery.past.last().unwrap().outcome, DeliveryOutcome::Seen);
}

#[test]
fn a_paste_that_did_not_happen_is_done_again_and_one_that_did_is_not() {
    let mut world = idle();
    world.deaf.insert("p: paste text".into());
    nudge(&mut world, "go on");
    until(&mut world, pasted);
    // Killed between the record and the deed: the buffer is still there.
    world.deaf.clear();
    world.run(20.0);
    world.expect_acts("p", &["nudge", "load text", "paste text", "paste text", "submit text"]);
}

#[test]
fn a_paste_that_never_works_is_given_up_and_told() {
    for broken in ["p: paste text", "p: load text"] {
        let mut world = idle();
        world.deaf.insert(broken.into());
        nudge(&mut world, "go on");
        world.run(600.0);
        assert!(world.acts("p").len() < 12, "{}", world.story());
        world.expect_alerts("not delivered", 1);
    }
}

#[test]
fn a_buffer_that_vanished_is_loaded_again() {
    let mut world = idle();
    nudge(&mut world, "go on");
    until(&mut world, |step| matches!(step, DeliveryStep::Loaded { .. }));
    // Another server has no buffers.
    world.drop_buffers();
    world.seen.server = ServerSeen::Alive(ServerId { pid: 51, started: 2 });
    world.run(20.0);
    world.expect_acts("p", &["nudge", "load text", "load text", "paste text", "submit text"]);
}

#[test]
fn a_dialog_that_opens_after_the_paste_is_not_answered_by_enter() {
    let mut world = idle();
    nudge(&mut world, "go on");
    until(&mut world, pasted);
    world.unit("p").asks("Delete everything?");
    world.run(300.0);
    assert!(!world.acts("p").contains(&"submit text"), "{}", world.story());
    world.unit("p").idle();
    world.unit("p").composer("go on");
    world.run(30.0);
    assert_eq!(world.times("p", "submit text").len(), 1, "{}", world.story());
    assert_eq!(world.times("p", "paste text").len(), 1, "{}", world.story());
}

#[test]
fn a_person_who_types_after_the_paste_is_waited_for() {
    let mut world = idle();
    nudge(&mut world, "go on");
    until(&mut world, pasted);
    world.unit("p").person_types();
    world.run(55.0);
    assert!(!world.acts("p").contains(&"submit text"), "{}", world.story());
    world.run(20.0);
    assert_eq!(world.times("p", "submit text").len(), 1, "{}", world.story());
}

#[test]
fn a_text_that_a_person_added_to_is_left_to_them() {
    let mut world = idle();
    nudge(&mut world, "go on");
    until(&mut world, pasted);
    world.unit("p").composer("go on, but not there");
    world.run(300.0);
    assert!(!world.acts("p").contains(&"submit text"), "{}", world.story());
    world.expect_alerts("did not show in the composer", 1);
    assert_eq!(world.times("p", "paste text").len(), 1, "{}", world.story());
}

#[test]
fn enter_that_is_swallowed_is_pressed_three_times_at_most() {
    let mut world = idle();
    world.deaf.insert("p: submit text".into());
    nudge(&mut world, "go on");
    world.run(20.0);
    assert_eq!(world.times("p", "submit text").len(), 3, "{}", world.story());
    assert_eq!(world.times("p", "paste text").len(), 1, "{}", world.story());
}

#[test]
fn what_the_old_process_was_not_given_goes_to_the_next() {
    let mut world = idle();
    nudge(&mut world, "go on");
    until(&mut world, pasted);
    world.unit("p").dies(Exit::Status(1));
    world.ticks(3);
    world.unit("p").idle();
    world.run(40.0);
    assert_eq!(world.times("p", "paste text").len(), 2, "{}", world.story());
    assert_eq!(world.state_of("p").delivery.past.last().unwrap().outcome, DeliveryOutcome::Seen);
    world.expect_alerts("", 0);
}

#[test]
fn what_the_old_process_may_have_read_is_told_and_not_typed_again() {
    let mut world = idle();
    world.deaf.insert("p: submit text".into());
    nudge(&mut world, "go on");
    until(&mut world, |step| matches!(step, DeliveryStep::Submitted { .. }));
    world.unit("p").dies(Exit::Status(1));
    world.ticks(3);
    world.unit("p").idle();
    world.run(300.0);
    assert_eq!(world.times("p", "paste text").len(), 1, "{}", world.story());
    world.expect_alerts("not known whether it was read", 1);
}

#[test]
fn a_text_for_a_unit_that_is_down_waits_for_it() {
    let mut world = idle();
    world.ask(Ask::Down { unit: Some(name("p")), reason: String::new() });
    world.run(10.0);
    nudge(&mut world, "good morning");
    world.run(7200.0);
    world.ask(Ask::Up { unit: Some(name("p")) });
    world.run(5.0);
    world.forget();
    world.unit("p").idle();
    world.run(60.0);
    world.expect_acts("p", &TYPED[1..]);
}

#[test]
fn a_text_survives_a_kill_that_is_decided_while_it_waits() {
    let mut world = idle();
    world.unit("p").composer("a person's words");
    world.ticks(2);
    nudge(&mut world, "go on");
    world.run(10.0);
    world.ask(Ask::Restart { unit: name("p") });
    world.run(10.0);
    world.unit("p").idle();
    world.run(60.0);
    assert_eq!(world.state_of("p").delivery.past.last().unwrap().outcome, DeliveryOutcome::Seen);
}

#[test]
fn codex_is_queued_not_steered_while_it_works() {
    let mut world = World::running(&STAYS.replace("kind", "backend = \"codex\"\nkind"));
    nudge(&mut world, "and then the docs");
    world.run(20.0);
    let (.., why) = world.done.iter().find(|(_, _, label, _)| label == "submit text").unwrap();
    assert!(why.contains("key Tab"), "{why}");
}

#[test]
fn more_text_than_a_file_can_hold_is_refused() {
    let mut world = idle();
    world.unit("p").composer("a person's words");
    world.ticks(2);
    for _ in 0..60 {
        nudge(&mut world, &"\"\n".repeat(30_000));
        world.tick();
    }
    let bytes = serde_json::to_vec_pretty(world.state_of("p")).unwrap().len();
    assert!(bytes < 2 << 20, "{bytes}");
    assert!(world.state.mail.handled.iter().any(|handled| handled.said.contains("wait for")), "{}", bytes);
}

#[test]
fn a_reminder_for_who_works_again_is_not_typed() {
    let mut world = World::running(&STAYS.replace("persistent", "loop"));
    world.unit("p").idle();
    for _ in 0..30 {
        world.tick();
        if world.acts("p").contains(&"nudge") {
            break;
        }
    }
    world.expect_acts("p", &["nudge"]);
    world.unit("p").busy();
    world.run(60.0);
    world.expect_acts("p", &["nudge"]);
    world.expect_alerts("", 0);
}

#[test]
fn an_error_does_not_stop_a_text() {
    let mut world = idle();
    world.unit("p").fails(Substate::Server);
    world.tick();
    nudge(&mut world, "go on");
    world.run(10.0);
    world.expect_acts("p", &TYPED);
}

/// Others (a limit, a wake) learn at the next tick how a text fared: that one comes soon.
#[test]
fn how_a_text_fared_is_learned_soon() {
    let mut world = idle();
    nudge(&mut world, "look");
    let before = world.state_of("p").delivery.past.len();
    for _ in 0..20 {
        world.tick();
        if world.state_of("p").delivery.past.len() > before {
            break;
        }
    }
    assert!(world.last.due_s.is_some_and(|due| due <= 0.5), "{}", world.story());
}

#[test]
fn the_buffer_of_a_delivery_that_stepped_aside_is_dropped_and_no_other() {
    let mut world = idle();
    let foreign = ["wk-00000000-p-1", "wk-p-1", "buffer0"];
    foreign.iter().for_each(|buffer| world.hold_buffer(buffer));
    nudge(&mut world, "look at the tests");
    until(&mut world, |step| matches!(step, DeliveryStep::Loaded { .. }));
    assert_eq!(world.buffers().len(), 4);
    world.unit("p").limited("limit reached ∙ resets 3pm");
    world.forget();
    world.run(60.0);
    world.expect_acts("p", &["drop buffer"]);
    let mut left = world.buffers();
    left.sort();
    assert_eq!(left, ["buffer0", "wk-00000000-p-1", "wk-p-1"]);
}

#[test]
fn a_leftover_that_can_not_be_dropped_keeps_nobody_busy() {
    let mut world = idle();
    let leftover = super::buffer(&world.config, &name("p"), 77);
    world.hold_buffer(&leftover);
    world.deaf.insert("p: drop buffer".into());
    for _ in 0..100 {
        let before = world.acts("p").len();
        world.tick();
        world.unit("p").seen().failed = (world.acts("p").len() > before).then(|| "no such buffer".into());
    }
    assert!(
        world.times("p", "drop buffer").windows(2).any(|pair| pair[1] - pair[0] > 5.0),
        "{}",
        world.story()
    );
}

#[test]
fn a_mode_that_is_not_left_is_tried_some_times_and_told() {
    let mut world = idle();
    world.unit("p").pane().in_mode = true;
    world.deaf.insert("p: leave copy mode".into());
    nudge(&mut world, "look");
    world.run(3600.0);
    let times = world.times("p", "leave copy mode");
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).round()).collect();
    assert_eq!(gaps, [2.0, 4.0, 8.0, 16.0], "{}", world.story());
    world.expect_alerts("can't be made to leave it", 1);
    world.expect_hold("p", "waits for a person");
    // A person leaves it: the text is typed, and the next mode has tries of its own.
    world.unit("p").pane().in_mode = false;
    world.run(120.0);
    world.expect_act("p", "submit text");
    assert_eq!(world.state_of("p").attend.mode_tries, 0);
}

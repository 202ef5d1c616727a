//! What real CLIs did to the policies, each case with its test.

use super::testing::World;
use crate::model::seen::{Ask, ScreenState, Substate};

const PERSISTENT: &str =
    "[[agent]]\nname = \"a\"\nkind = \"persistent\"\nprompt = \"p.md\"\nbackend = \"gemini\"\n";

fn onboarding(world: &mut World, dialog: &str) {
    world.unit("a").show(ScreenState::Onboarding);
    let mut unit = world.unit("a");
    let reading = unit.reading();
    reading.dialog = Some(dialog.to_owned());
    reading.answer_keys = Some(vec!["Enter".into()]);
    reading.composer = None;
}

/// Trust, method, key: three dialogs, and the first was answered twice, for the CLI restarts slowly.
#[test]
fn each_dialog_has_its_own_tries() {
    let mut world = World::running(PERSISTENT);
    world.deaf.insert("a".into());
    for dialog in ["trust", "trust ", "method", "key"] {
        onboarding(&mut world, dialog);
        world.tick_now();
        world.run(12.0);
    }
    assert!(world.times("a", "answer dialog").len() >= 4, "{}", world.story());
    world.expect_alerts("start-up dialog", 0);
    // The same one for ever is told.
    world.forget();
    world.run(60.0);
    assert!(world.times("a", "answer dialog").len() <= 2, "{}", world.story());
    world.expect_alerts("answered 3 times in vain", 1);
}

#[test]
fn dialogs_without_end_are_told() {
    let mut world = World::running(PERSISTENT);
    world.deaf.insert("a".into());
    for n in 0..40 {
        onboarding(&mut world, &format!("dialog {n}"));
        world.tick_now();
        world.run(12.0);
    }
    assert!(world.times("a", "answer dialog").len() <= 16, "{}", world.story());
    assert!(!world.alerts.is_empty(), "{}", world.story());
}

/// Resuming it would end in the same error.
#[test]
fn a_conversation_that_is_too_long_is_not_resumed() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").fails(Substate::Context);
    world.run(100.0);
    world.expect_act("a", "restart");
    world.run(10.0);
    world.unit("a").idle();
    world.tick_now();
    world.run(10.0);
    world.expect_act("a", "kickoff");
}

const BANNER: &str = "You've hit your usage limit, try again at 10:10 AM.";

fn ask(world: &mut World, text: &str) {
    let unit = crate::base::names::UnitName::new("a").unwrap();
    world.ask(Ask::Nudge { unit, text: text.into() });
}

/// The text that waited took the place of the probe, and the limit never ended.
#[test]
fn a_text_that_waits_does_not_keep_the_probe_away() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").limited(BANNER);
    world.ticks(3);
    ask(&mut world, "for later");
    world.run(300.0);
    world.expect_no_act("a");
    world.run(900.0);
    world.expect_act("a", "probe limit");
}

/// The same when the limit comes between two steps of the delivery.
#[test]
fn a_text_under_way_makes_room_for_the_probe() {
    for steps in 1..3 {
        let mut world = World::running(PERSISTENT);
        world.unit("a").idle();
        world.ticks(3);
        world.forget();
        ask(&mut world, "for later");
        world.ticks(steps);
        world.unit("a").limited(BANNER);
        world.run(1000.0);
        let acts = world.acts("a");
        assert!(!acts.contains(&"paste text") || acts.contains(&"probe limit"), "{steps}: {}", world.story());
        let first = acts.iter().position(|act| *act == "paste text").unwrap();
        let probe = acts.iter().position(|act| *act == "probe limit");
        assert!(probe.is_some_and(|probe| probe < first), "{steps}: {}", world.story());
        // The probe is answered: now the text comes.
        world.unit("a").idle();
        world.tick_now();
        world.run(60.0);
        assert_eq!(world.times("a", "paste text").len(), 2, "{steps}: {}", world.story());
        assert!(world.state_of("a").delivery.queue.is_empty());
    }
}

/// aider reads nothing while it works: lines pasted then are prompts of their own afterwards.
#[test]
fn nothing_is_typed_where_no_composer_is() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").reading().composer = None;
    ask(&mut world, "two\nlines");
    world.run(300.0);
    assert!(!world.acts("a").contains(&"paste text"), "{}", world.story());
    world.unit("a").idle();
    world.tick_now();
    world.run(60.0);
    world.expect_act("a", "paste text");
}

/// The submitted line stands for a moment where it was typed.
#[test]
fn a_line_that_lingers_is_not_submitted_at_once_again() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").idle();
    world.ticks(3);
    ask(&mut world, "go on");
    while !world.acts("a").contains(&"paste text") {
        world.tick();
    }
    world.deaf.insert("a".into());
    world.run(60.0);
    let pressed = world.times("a", "submit text");
    assert_eq!(pressed.len(), 3, "{}", world.story());
    assert!(pressed.windows(2).all(|pair| pair[1] - pair[0] >= 3.0), "{}", world.story());
    world.expect_alerts("stays in the composer after 3 presses", 1);
}

/// gemini's menu ignored Escape: nothing could be typed, and nobody knew.
#[test]
fn a_limit_menu_that_does_not_close_is_told() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").limited(BANNER);
    world.unit("a").reading().substate = Some(Substate::Menu);
    world.deaf.insert("a".into());
    world.tick_now();
    world.run(120.0);
    assert_eq!(world.times("a", "close limit menu").len(), 3, "{}", world.story());
    world.expect_alerts("its menu does not close", 1);
}

/// A second Enter would wait in the terminal and say yes to aider's next question.
#[test]
fn a_line_editor_gets_the_submit_key_once() {
    let mut world = World::running(&PERSISTENT.replace("gemini", "aider"));
    world.unit("a").idle();
    world.ticks(3);
    ask(&mut world, "go on");
    while !world.acts("a").contains(&"paste text") {
        world.tick();
    }
    world.deaf.insert("a".into());
    world.run(100.0);
    world.expect_alerts("not delivered", 0);
    assert_eq!(world.times("a", "submit text").len(), 1, "{}", world.story());
    world.unit("a").busy();
    world.tick_now();
    world.run(60.0);
    world.expect_alerts("not delivered", 0);
}

/// The watchdog was killed between its note of the press and the press: the line stood there for ever.
#[test]
fn a_line_that_was_never_submitted_is_submitted_late() {
    let mut world = World::running(&PERSISTENT.replace("gemini", "aider"));
    world.unit("a").idle();
    world.ticks(3);
    ask(&mut world, "go on");
    while !world.acts("a").contains(&"paste text") {
        world.tick();
    }
    world.deaf.insert("a".into());
    while !world.acts("a").contains(&"submit text") {
        world.tick();
    }
    world.deaf.remove("a");
    world.run(150.0);
    assert_eq!(world.times("a", "submit text").len(), 2, "{}", world.story());
    world.expect_alerts("not delivered", 0);
    assert!(world.state_of("a").delivery.current.is_none(), "{}", world.story());
}

/// A text that waits behind a person's draft kept the person from being told of it.
#[test]
fn a_draft_is_told_though_a_text_waits_behind_it() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").idle();
    world.ticks(3);
    world.unit("a").composer("dear agent");
    ask(&mut world, "for later");
    world.run(200.0);
    world.expect_hold("a", "a person's draft");
    world.expect_alerts("unsent text in its composer: dear agent", 1);
    assert!(!world.acts("a").contains(&"paste text") && !world.acts("a").contains(&"submit draft"));
}

/// gemini draws its spinner once more when its menu is closed: the limit was over after 0 s.
#[test]
fn a_spinner_right_after_the_menu_is_no_progress() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").limited(BANNER);
    world.unit("a").reading().substate = Some(Substate::Menu);
    while !world.acts("a").contains(&"close limit menu") {
        world.tick();
    }
    world.unit("a").busy();
    world.tick_now();
    world.pass(1.0);
    world.unit("a").idle();
    world.tick_now();
    world.run(60.0);
    assert!(world.state_of("a").limit.active.is_some(), "{}", world.story());
    world.run(900.0);
    world.expect_act("a", "probe limit");
}

/// Its menu closed, gemini shows an empty composer: what waited was typed and spent on the limit.
#[test]
fn a_text_waits_for_a_limit_that_is_not_seen_any_more() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").limited(BANNER);
    world.ticks(2);
    world.unit("a").idle();
    ask(&mut world, "for later");
    world.run(300.0);
    world.expect_no_act("a");
    world.run(900.0);
    assert_eq!(world.acts("a").first(), Some(&"probe limit"), "{}", world.story());
}

/// A hung aider reads nothing: the reminder waited for its composer, and the ladder for the reminder.
#[test]
fn a_reminder_that_can_not_be_typed_stops_no_ladder() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").reading().composer = None;
    world.run(4000.0);
    world.expect_act("a", "nudge");
    world.expect_act("a", "kill-start");
}

/// The same with a person's text.
#[test]
fn a_text_that_can_not_be_typed_stops_no_ladder() {
    let mut world = World::running(PERSISTENT);
    world.unit("a").reading().composer = None;
    ask(&mut world, "are you there");
    world.run(2000.0);
    world.expect_act("a", "kill-start");
    world.unit("a").idle();
    world.tick_now();
    world.run(60.0);
    world.expect_act("a", "paste text");
}

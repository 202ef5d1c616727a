//! What real CLIs did to the policies, each case with its test.

use super::testing::World;
use crate::model::seen::{ScreenState, Substate};

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
        world.run(5.0);
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
        world.run(5.0);
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

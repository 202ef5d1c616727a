use crate::model::seen::{Ask, Exit, ScreenState, Substate};
use crate::policy::testing::{World, name};

const LOOP: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\n";

fn with(key: &str) -> World {
    World::running(&LOOP.replace("kind", &format!("{key}\nkind")))
}

#[test]
fn a_dialog_is_told_once_and_again_when_it_is_another_one() {
    let mut world = World::running(LOOP);
    world.unit("a").asks("Run rm?");
    world.run(7200.0);
    world.expect_no_act("a");
    world.expect_alerts("Run rm?", 1);
    world.unit("a").asks("Run mv?");
    world.run(600.0);
    world.expect_alerts("Run mv?", 1);
    assert_eq!(world.alerts.len(), 2);
}

#[test]
fn a_dialog_is_answered_after_two_looks_as_the_config_says() {
    #[track_caller]
    fn check(permission: &str, want: &str) {
        let mut world = with(&format!("permission = \"{permission}\""));
        world.unit("a").asks("Run make?");
        world.tick();
        world.expect_no_act("a");
        world.tick();
        world.expect_acts("a", &[want]);
        world.expect_alerts("", 0);
    }
    check("approve", "approve dialog");
    check("deny", "deny dialog");
}

#[test]
fn one_dialog_is_answered_three_times_at_most_and_each_dialog_anew() {
    let mut world = with("permission = \"approve\"");
    world.deaf.insert("a".into());
    for dialog in ["one?", "two?", "three?", "four?"] {
        world.unit("a").asks(dialog);
        world.run(35.0);
    }
    assert!(world.acts("a").len() >= 4, "{}", world.story());
    world.forget();
    world.unit("a").asks("five?");
    world.run(600.0);
    world.expect_acts("a", &["approve dialog"; 3]);
    world.expect_alerts("answered 3 times in vain", 1);
}

#[test]
fn a_dialog_that_closed_is_no_other_dialog() {
    let mut world = with("permission = \"approve\"");
    world.unit("a").asks("Run make?");
    world.ticks(2);
    world.expect_acts("a", &["approve dialog"]);
    // Two looks at an idle screen, too close together to be believed.
    world.unit("a").idle();
    for _ in 0..3 {
        world.pass(0.1);
        world.tick_now();
    }
    world.expect_alerts("", 0);
    world.expect_events("Hold", 0);
}

#[test]
fn nobody_answers_over_a_persons_hands_or_in_a_pause() {
    #[track_caller]
    fn check(change: impl Fn(&mut World)) {
        let mut world = with("permission = \"approve\"");
        world.unit("a").asks("Run make?");
        change(&mut world);
        world.run(50.0);
        world.expect_no_act("a");
    }
    check(|world| world.unit("a").person_types());
    check(|world| {
        world.unit("a").pane().in_mode = true;
        world.unit("a").pane().attached = 1;
    });
    check(|world| {
        world.ask(Ask::Pause { unit: None, reason: String::new() });
    });
    check(|world| world.config.watchdog.observe_only = true);
}

#[test]
fn a_start_up_dialog_gets_its_known_answer_or_a_person() {
    let mut world = World::running(LOOP);
    world.unit("a").show(ScreenState::Onboarding);
    world.unit("a").reading().dialog = Some("Trust this folder?".into());
    world.unit("a").reading().answer_keys = Some(vec!["Enter".into()]);
    world.run(60.0);
    world.expect_acts("a", &["answer dialog"]);
    let mut world = World::running(LOOP);
    world.unit("a").show(ScreenState::Onboarding);
    world.unit("a").reading().dialog = Some("Your age?".into());
    world.run(600.0);
    world.expect_no_act("a");
    world.expect_alerts("Your age?", 1);
}

#[test]
fn our_own_stranded_text_is_submitted_once_and_told_when_that_does_not_help() {
    let mut world = World::running(LOOP);
    world.unit("a").idle();
    world.state.units.get_mut(&name("a")).unwrap().delivery.last_text = "go on with it".into();
    world.unit("a").composer("go on with it");
    world.deaf.insert("a".into());
    world.run(200.0);
    world.expect_acts("a", &["submit draft"]);
    world.expect_alerts("unsent text", 1);
    // As a stall it gets its remedy, which clears the composer first.
    world.deaf.clear();
    world.run(300.0);
    world.expect_acts(
        "a",
        &["submit draft", "nudge", "clear composer", "load text", "paste text", "submit text"],
    );
}

#[test]
fn a_persons_draft_is_told_once_and_never_touched() {
    let mut world = World::running(LOOP);
    world.unit("a").idle();
    world.unit("a").composer("wait, I have to");
    world.run(7200.0);
    world.expect_no_act("a");
    world.expect_alerts("unsent text in its composer: wait, I have to", 1);
}

#[test]
fn errors_are_retried_with_doubling_waits_then_told() {
    let mut world = World::running(LOOP);
    world.unit("a").fails(Substate::Server);
    for _ in 0..400 {
        world.tick();
        if world.seen.units[&name("a")].pane_state() == Some(ScreenState::Busy) {
            world.tick();
            world.unit("a").fails(Substate::Server);
        }
    }
    let times = world.times("a", "continue");
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(times.len(), 5, "{}", world.story());
    for (gap, want) in gaps.iter().zip([120.0, 240.0, 480.0, 960.0]) {
        assert!((want..want + 35.0).contains(gap), "{gaps:?}");
    }
    world.expect_alerts("its calls keep failing", 1);
}

#[test]
fn long_work_forgets_old_errors() {
    let mut world = World::running(LOOP);
    world.unit("a").fails(Substate::Network);
    world.run(100.0);
    world.expect_act("a", "continue");
    for _ in 0..40 {
        world.unit("a").busy();
        world.run(30.0);
    }
    world.forget();
    world.unit("a").fails(Substate::Network);
    world.tick();
    world.run(90.0);
    assert_eq!(world.times("a", "continue").len(), 1, "{}", world.story());
}

#[test]
fn refused_credentials_hold_the_whole_account_also_after_the_cli_left() {
    let two = format!("{LOOP}{}", LOOP.replace("\"a\"", "\"b\""));
    let mut world = World::running(&two);
    world.unit("a").fails(Substate::Auth);
    world.ticks(3);
    world.expect_alerts("its credentials are refused", 1);
    world.unit("a").dies(Exit::Status(1));
    world.unit("b").dies(Exit::Status(1));
    world.run(7200.0);
    world.expect_no_act("a");
    world.expect_no_act("b");
    world.expect_alerts("", 1);
    // A person mended it.
    world.ask(Ask::Restart { unit: name("a") });
    world.run(3.0);
    world.expect_acts("a", &["start"]);
    world.unit("a").busy();
    world.run(60.0);
    world.expect_acts("b", &["restart"]);
}

#[test]
fn a_conversation_that_can_not_go_on_is_restarted_and_not_resumed() {
    let mut world = World::running(&LOOP.replace("loop", "persistent"));
    world.unit("a").fails(Substate::Context);
    world.run(40.0);
    world.expect_no_act("a");
    world.run(60.0);
    world.expect_acts("a", &["restart", "terminate", "restart"]);
    let last = world.done.last().unwrap();
    assert!(!last.3.contains("resumed"), "{}", last.3);
}

#[test]
fn a_shell_left_behind_is_started_anew_but_not_for_a_task() {
    let mut world = World::running(LOOP);
    world.unit("a").show(ScreenState::Shell);
    world.tick();
    world.expect_no_act("a");
    world.ticks(4);
    world.expect_acts("a", &["restart", "terminate", "restart"]);

    let task = "[[agent]]\nname = \"a\"\nkind = \"task\"\nprompt = \"p.md\"\nwake = { interval = 600 }\n";
    let mut world = World::running(task);
    world.unit("a").show(ScreenState::Shell);
    world.run(300.0);
    world.expect_no_act("a");
    world.run(400.0);
    world.expect_act("a", "rerun");
}

#[test]
fn a_shell_that_a_person_uses_is_left_alone() {
    let mut world = World::running(LOOP);
    world.unit("a").show(ScreenState::Shell);
    world.unit("a").person_types();
    world.run(50.0);
    world.expect_no_act("a");
}

#[test]
fn a_shell_that_is_left_behind_while_limited_is_replaced_when_the_limit_is_over() {
    let mut world = World::running(LOOP);
    world.unit("a").limited("limit reached ∙ resets 3pm");
    world.ticks(2);
    world.unit("a").show(ScreenState::Shell);
    // It is 10 o'clock.
    world.run(4.9 * 3600.0);
    world.expect_no_act("a");
    world.run(0.5 * 3600.0);
    assert!(world.acts("a").starts_with(&["restart", "terminate", "restart"]), "{}", world.story());
}

#[test]
fn a_dialog_whose_text_nobody_recognised_is_a_persons() {
    #[track_caller]
    fn check(permission: &str, dialog: Option<&str>) {
        let mut world = with(&format!("permission = \"{permission}\""));
        world.unit("a").show(ScreenState::Blocked);
        world.unit("a").reading().dialog = dialog.map(str::to_owned);
        world.run(600.0);
        world.expect_no_act("a");
        world.expect_alerts("`a` asks", 1);
    }
    check("approve", None);
    check("approve", Some(" "));
    check("deny", None);
}

use crate::model::seen::{Ask, Exit, ScreenState, Substate};
use crate::policy::testing::{World, name};

const BANNER: &str = "You've hit your session limit ∙ resets 11:00am (UTC)";
const AGAIN: &str = "You've hit your session limit ∙ resets 12:00pm (UTC)";
/// 11:00:45, in seconds after the world's start: the reset plus the slack.
const RESET: f64 = 3645.0;

/// Agents of one account, all working.
fn fleet(names: &[&str]) -> World {
    let unit = |name: &&str| {
        format!("[[agent]]\nname = \"{name}\"\nkind = \"loop\"\nprompt = \"p.md\"\naccount = \"team\"\n")
    };
    World::running(&names.iter().map(unit).collect::<String>())
}

/// The same, all limited until 11:00.
fn limited(names: &[&str]) -> World {
    let mut world = fleet(names);
    for unit in names {
        world.unit(unit).limited(BANNER);
    }
    world.ticks(2);
    world.forget();
    world
}

fn now(world: &World) -> f64 {
    world.seen.now.wall.since_s(crate::policy::testing::START)
}

/// Ticks until this instant, seconds after the start.
fn run_to(world: &mut World, at: f64) {
    let left = at - now(world);
    world.run(left);
}

fn probes(world: &World, unit: &str) -> Vec<f64> {
    world.times(unit, "probe limit")
}

#[test]
fn nothing_is_done_until_the_reset_and_then_one_asks_for_all() {
    let mut world = limited(&["a", "b", "c"]);
    run_to(&mut world, RESET - 1.0);
    for unit in ["a", "b", "c"] {
        world.expect_no_act(unit);
    }
    run_to(&mut world, RESET + 8.0);
    world.expect_act("a", "submit text");
    world.expect_no_act("b");
    world.expect_no_act("c");
    // It works on for a while: the others follow, staggered.
    run_to(&mut world, RESET + 30.0);
    let (b, c) = (probes(&world, "b"), probes(&world, "c"));
    assert_eq!((b.len(), c.len()), (1, 1), "{}", world.story());
    assert!((1.0..4.0).contains(&(c[0] - b[0])), "{}", world.story());
    assert!(world.state_of("a").limit.active.is_none());
    world.expect_alerts("", 0);
}

#[test]
fn a_refused_probe_re_arms_the_whole_account_and_another_asks_next() {
    let mut world = limited(&["a", "b"]);
    run_to(&mut world, RESET + 4.0);
    world.expect_act("a", "submit text");
    world.unit("a").limited(AGAIN);
    run_to(&mut world, RESET + 3590.0);
    assert_eq!((probes(&world, "a").len(), probes(&world, "b").len()), (1, 0), "{}", world.story());
    run_to(&mut world, RESET + 3604.0);
    assert_eq!((probes(&world, "a").len(), probes(&world, "b").len()), (1, 1), "{}", world.story());
}

#[test]
fn three_refused_probes_of_an_account_are_one_loud_alert_and_probing_goes_on() {
    const UNREADABLE: &str = "You've hit your limit";
    let mut world = fleet(&["a", "b"]);
    for unit in ["a", "b"] {
        world.unit(unit).limited(UNREADABLE);
    }
    for _ in 0..400 {
        world.tick();
        for unit in ["a", "b"] {
            if world.seen.units[&name(unit)].pane_state() == Some(ScreenState::Busy) {
                world.ticks(2);
                world.unit(unit).limited(UNREADABLE);
            }
        }
        if now(&world) > 3000.0 {
            break;
        }
    }
    let mut all = probes(&world, "a");
    all.extend(probes(&world, "b"));
    all.sort_by(f64::total_cmp);
    assert!((8..=10).contains(&all.len()), "{all:?}");
    assert!(all.windows(2).all(|pair| pair[1] - pair[0] >= 295.0), "one per account: {all:?}");
    assert!(probes(&world, "b").len() >= 4, "chosen anew each time: {}", world.story());
    world.expect_alerts("still limited after 3 probes", 1);
}

#[test]
fn who_can_not_be_typed_into_does_not_ask_and_nobody_waits_for_it() {
    #[track_caller]
    fn check(change: impl Fn(&mut World)) {
        let mut world = limited(&["a", "b"]);
        run_to(&mut world, RESET - 10.0);
        change(&mut world);
        run_to(&mut world, RESET + 5.0);
        assert_eq!((probes(&world, "a").len(), probes(&world, "b").len()), (0, 1), "{}", world.story());
    }
    check(|world| world.unit("a").composer("a person's words"));
    check(|world| world.unit("a").person_types());
    check(|world| world.unit("a").asks("Proceed?"));
    check(|world| world.unit("a").reading().overlay = true);
    check(|world| {
        let mut unit = world.unit("a");
        unit.pane().in_mode = true;
        unit.pane().attached = 1;
    });
    check(|world| {
        world.ask(Ask::Pause { unit: Some(name("a")), reason: String::new() });
    });
    check(|world| world.unit("a").dies(Exit::Status(1)));
    check(|world| world.unit("a").seen().markers.down = Some(String::new()));
}

#[test]
fn a_canary_that_becomes_untypable_is_given_up_soon() {
    let mut world = limited(&["a", "b"]);
    run_to(&mut world, RESET + 0.3);
    assert_eq!(probes(&world, "a").len(), 1, "{}", world.story());
    world.unit("a").composer("a person's words");
    run_to(&mut world, RESET + 90.0);
    assert_eq!(probes(&world, "b").len(), 1, "{}", world.story());
    // The other's success reaches it, whatever its own next time.
    world.unit("a").composer("");
    run_to(&mut world, RESET + 130.0);
    assert_eq!(probes(&world, "a").len(), 2, "{}", world.story());
    world.expect_alerts("", 0);
}

#[test]
fn a_canary_that_dies_while_it_asks_blocks_nobody() {
    let mut world = limited(&["a", "b"]);
    world.deaf.insert("a".into());
    run_to(&mut world, RESET + 1.0);
    assert_eq!(probes(&world, "a").len(), 1);
    world.unit("a").dies(Exit::Status(1));
    run_to(&mut world, RESET + 30.0);
    assert_eq!(probes(&world, "b").len(), 1, "{}", world.story());
}

#[test]
fn progress_clears_a_limit_at_once_and_frees_the_others() {
    let mut world = limited(&["a", "b"]);
    run_to(&mut world, 1000.0);
    world.unit("a").busy();
    world.poke();
    world.run(10.0);
    assert!(world.state_of("a").limit.active.is_none());
    assert_eq!(probes(&world, "b").len(), 1, "{}", world.story());
}

#[test]
fn limits_are_kept_by_kind() {
    let mut world = fleet(&["a", "b"]);
    world.unit("a").limited(BANNER);
    world.unit("b").limited("You've hit your weekly limit ∙ resets Nov 23, 11:00am (UTC)");
    world.ticks(2);
    run_to(&mut world, RESET + 60.0);
    assert_eq!((probes(&world, "a").len(), probes(&world, "b").len()), (1, 0), "{}", world.story());
    assert!(world.state_of("b").limit.active.is_some());
}

#[test]
fn the_menu_is_closed_after_two_looks_and_its_limit_keeps_time_and_kind() {
    let mut world = fleet(&["a"]);
    world.unit("a").limited(BANNER);
    world.ticks(2);
    let until = world.state_of("a").limit.active.clone().unwrap().until;
    {
        let mut unit = world.unit("a");
        let reading = unit.reading();
        reading.substate = Some(Substate::Menu);
        reading.until = None;
        reading.dialog = Some("limit menu: stop and wait".into());
    }
    world.deaf.insert("a".into());
    world.run(120.0);
    world.expect_acts("a", &["close limit menu"; 3]);
    let limit = world.state_of("a").limit.active.clone().unwrap();
    assert_eq!((limit.kind.as_str(), limit.until), ("session", until));

    // At first sight nothing is pressed.
    let mut world = fleet(&["a"]);
    world.unit("a").limited(BANNER);
    world.unit("a").reading().substate = Some(Substate::Menu);
    world.tick();
    world.expect_no_act("a");
    world.ticks(2);
    world.expect_acts("a", &["close limit menu"]);
}

#[test]
fn no_key_goes_into_copy_mode() {
    let mut world = fleet(&["a"]);
    world.unit("a").limited(BANNER);
    world.unit("a").reading().substate = Some(Substate::Menu);
    world.unit("a").pane().in_mode = true;
    world.unit("a").pane().attached = 1;
    world.run(100.0);
    world.expect_no_act("a");
    world.unit("a").pane().attached = 0;
    world.run(100.0);
    assert_eq!(world.acts("a").first(), Some(&"leave copy mode"), "{}", world.story());
    world.expect_act("a", "close limit menu");
}

#[test]
fn neither_stalls_nor_errors_are_judged_while_limited() {
    #[track_caller]
    fn check(change: impl Fn(&mut World)) {
        let mut world = limited(&["a"]);
        change(&mut world);
        run_to(&mut world, RESET - 5.0);
        world.expect_no_act("a");
        world.expect_alerts("", 0);
    }
    check(|_| {});
    // The banner scrolled away, or a person looked at something.
    check(|world| world.unit("a").idle());
    check(|world| world.unit("a").fails(Substate::Server));
    check(|world| world.unit("a").fails(Substate::Context));
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_a_limit_for_a_day() {
    let mut world = fleet(&["a"]);
    world.set_wall(86_400.0);
    world.unit("a").limited(BANNER);
    world.ticks(2);
    world.set_wall(-86_400.0);
    run_to(&mut world, RESET + 60.0);
    assert_eq!(probes(&world, "a").len(), 1, "{}", world.story());

    let mut world = limited(&["a", "b"]);
    world.set_wall(86_400.0);
    world.ticks(4);
    world.set_wall(-86_400.0);
    run_to(&mut world, RESET + 900.0);
    for unit in ["a", "b"] {
        assert!(world.state_of(unit).limit.active.is_none(), "{unit}: {}", world.story());
    }
}

#[test]
fn a_banner_that_counts_down_is_no_news() {
    let mut world = fleet(&["a"]);
    for minute in 0..50 {
        world.unit("a").limited(&format!("Usage limit reached, try again in {} minutes", 60 - minute));
        world.run(60.0);
    }
    world.expect_events("Limit a:", 1);
    world.expect_no_act("a");
}

#[test]
fn a_dead_account_is_not_probed() {
    let mut world = limited(&["a", "b"]);
    world.unit("b").fails(Substate::Auth);
    run_to(&mut world, RESET + 60.0);
    world.expect_no_act("a");
    world.expect_hold("a", "account `team` is held");
}

#[test]
fn wakes_are_deferred_and_come_once_when_it_is_over() {
    let mut world = World::running(
        "[[agent]]\nname = \"a\"\nkind = \"persistent\"\nprompt = \"p.md\"\nwake = { interval = 600, prompt = \"look\" }\n",
    );
    world.unit("a").limited(BANNER);
    world.ticks(2);
    run_to(&mut world, RESET - 5.0);
    world.expect_no_act("a");
    world.unit("a").idle();
    run_to(&mut world, RESET + 20.0);
    world.unit("a").idle();
    run_to(&mut world, RESET + 120.0);
    assert_eq!(world.times("a", "wake").len(), 1, "{}", world.story());
}

/// Who is marked down is being stopped: no key is pressed in its menu, no probe typed.
#[test]
fn nothing_is_asked_of_who_is_marked_down() {
    let mut world = fleet(&["a"]);
    world.unit("a").limited(BANNER);
    world.unit("a").reading().substate = Some(Substate::Menu);
    world.tick();
    world.forget();
    world.unit("a").seen().markers.down = Some("not now".into());
    world.deaf.insert("a: terminate".into());
    world.run(60.0);
    assert!(!world.acts("a").contains(&"close limit menu"), "{}", world.story());
    world.expect_act("a", "stop");
}

/// A probe was refused on a clock that was a day ahead: set back, the account does not wait for tomorrow.
#[test]
fn what_was_refused_on_the_wrong_day_is_asked_again_today() {
    let mut world = limited(&["a"]);
    world.set_wall(86_400.0);
    for _ in 0..20 {
        world.tick();
        if world.acts("a").contains(&"submit text") {
            break;
        }
    }
    world.unit("a").limited(AGAIN);
    world.run(60.0);
    assert_eq!(world.state_of("a").limit.active.as_ref().unwrap().probes, 1, "{}", world.story());
    world.set_wall(-86_400.0);
    world.run(60.0);
    let until = world.state_of("a").limit.active.as_ref().unwrap().until;
    assert!(until.since_s(world.seen.now.wall) < 7200.0, "until {until}; {}", world.story());
}

/// A unit that was freed on a clock that was a day ahead frees nobody today, nor does anybody wait for it.
#[test]
fn a_limit_that_ended_tomorrow_frees_nobody() {
    let mut world = fleet(&["a", "b"]);
    world.set_wall(86_400.0);
    world.unit("a").limited(BANNER);
    world.run(40.0);
    world.unit("a").busy();
    world.run(40.0);
    assert!(world.state_of("a").limit.freed.is_some(), "{}", world.story());
    world.set_wall(-86_400.0);
    world.unit("b").limited(BANNER);
    world.run(300.0);
    world.expect_no_act("b");
    run_to(&mut world, RESET + 60.0);
    world.expect_act("b", "probe limit");
}

#[test]
fn a_draft_in_the_way_of_the_probe_is_told_once() {
    let mut world = limited(&["a"]);
    world.unit("a").composer("dear agent, ");
    world.unit("a").limited(BANNER);
    world.unit("a").reading().composer = Some("dear agent,".into());
    run_to(&mut world, RESET + 200.0);
    world.expect_alerts("draft stands in its composer", 0);
    run_to(&mut world, RESET + 4000.0);
    world.expect_alerts("draft stands in its composer", 1);
    assert!(world.typed("a").is_empty(), "{}", world.story());
}

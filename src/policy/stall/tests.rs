use crate::model::seen::{Ask, HostSeen, Substate, TranscriptSeen};
use crate::policy::testing::{World, name};

const LOOP: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\n";

/// An agent that went idle at this instant.
fn idle() -> World {
    let mut world = World::running(LOOP);
    world.unit("a").idle();
    world.ticks(2);
    world.forget();
    world
}

/// The agent does what it is told in a moment, and is idle again.
fn answers(world: &mut World) {
    world.unit("a").busy();
    world.run(5.0);
    world.unit("a").idle();
    world.ticks(2);
}

/// Idle and nudged; its answer was short.
fn nudged() -> World {
    let mut world = idle();
    world.run(400.0);
    world.expect_act("a", "nudge");
    answers(&mut world);
    world.forget();
    world
}

#[test]
fn idle_for_stall_idle_is_a_nudge_then_a_kill_then_an_alert() {
    let mut world = idle();
    world.run(260.0);
    world.expect_no_act("a");
    world.run(80.0);
    world.expect_acts("a", &["nudge", "load text", "paste text", "submit text"]);
    answers(&mut world);
    world.forget();
    world.run(270.0);
    world.expect_no_act("a");
    world.run(120.0);
    world.expect_act("a", "kill-start");
    world.expect_act("a", "restart");
    let why = &world.done.iter().find(|(_, _, label, _)| label == "kill-start").unwrap().3;
    assert!(why.contains("2 stale clocks needed") && why.contains("no veto"), "{why}");
    world.unit("a").idle();
    world.run(60.0);
    answers(&mut world);
    world.forget();
    world.run(2.0 * 86_400.0);
    world.expect_no_act("a");
    world.expect_alerts("its ladder is at its end", 2);
}

#[test]
fn the_ladder_starts_over_only_after_stall_idle_of_real_progress() {
    #[track_caller]
    fn check(works_s: f64, want: usize) {
        let mut world = nudged();
        world.run(120.0);
        world.unit("a").busy();
        for _ in 0..(works_s / 10.0) as usize {
            world.unit("a").moves();
            world.run(10.0);
        }
        world.unit("a").idle();
        world.tick();
        assert_eq!(world.state_of("a").ladder.tier, want, "{}", world.story());
    }
    check(100.0, 1);
    check(150.0, 1);
    check(400.0, 0);
}

#[test]
fn busy_without_progress_is_a_stall_after_four_times_as_long() {
    let mut world = World::running(LOOP);
    world.run(1150.0);
    world.expect_no_act("a");
    world.run(120.0);
    world.expect_act("a", "nudge");
}

#[test]
fn only_loop_agents_stall_by_idleness() {
    for kind in ["persistent", "task"] {
        let mut world = World::running(&LOOP.replace("loop", kind));
        world.unit("a").idle();
        world.run(7200.0);
        world.expect_no_act("a");
    }
    let mut world = World::running(&LOOP.replace("kind", "watch = \"heal\"\nkind"));
    world.unit("a").idle();
    world.run(7200.0);
    world.expect_no_act("a");
}

#[test]
fn a_declared_wait_is_healthy_until_then_plus_the_grace() {
    #[track_caller]
    fn check(declare: impl Fn(&mut World, crate::base::time::Wall), state: &str) {
        let mut world = idle();
        if state == "busy" {
            world.unit("a").busy();
        }
        let until = world.seen.now.wall.plus_s(3000.0);
        declare(&mut world, until);
        world.run(3000.0 + 140.0);
        world.expect_no_act("a");
        world.run(90.0);
        world.expect_act("a", "nudge");
    }
    check(|world, until| world.unit("a").reading().last_line = format!("WAITING-UNTIL: {until}"), "idle");
    check(|world, until| world.unit("a").seen().markers.waiting_until = Some(until), "idle");
    check(|world, until| world.unit("a").seen().markers.waiting_until = Some(until), "busy");
}

#[test]
fn a_wait_of_yesterday_does_not_shorten_the_idle_window() {
    let mut world = World::running(LOOP);
    let yesterday = world.seen.now.wall.plus_s(-86_400.0);
    world.unit("a").seen().markers.waiting_until = Some(yesterday);
    world.unit("a").idle();
    world.tick();
    world.run(265.0);
    world.expect_no_act("a");
    world.run(60.0);
    world.expect_act("a", "nudge");
}

#[test]
fn a_wait_longer_than_is_believed_is_told_once_and_not_waited_for() {
    let mut world = idle();
    let until = world.seen.now.wall.plus_s(86_400.0);
    world.unit("a").seen().markers.waiting_until = Some(until);
    world.run(400.0);
    world.expect_act("a", "nudge");
    world.expect_alerts("longer than wait_max_s", 1);
}

#[test]
fn a_kill_needs_two_stale_clocks() {
    let mut world = nudged();
    // The screen is silent, the transcript grows.
    for i in 0..60 {
        let changed_at = world.seen.now.wall;
        world.unit("a").seen().transcript =
            Some(TranscriptSeen { path: "t".into(), bytes: i, changed_at, open_tool_call: false });
        world.run(30.0);
    }
    world.expect_no_act("a");
}

#[test]
fn each_veto_holds_a_kill_is_told_past_its_cap_and_yields_to_approval() {
    #[track_caller]
    fn check(veto: &str, mut hold: impl FnMut(&mut World)) {
        let mut world = nudged();
        for _ in 0..30 {
            hold(&mut world);
            world.run(30.0);
        }
        assert!(!world.acts("a").contains(&"kill-start"), "{}", world.story());
        world.expect_hold("a", veto);
        world.expect_alerts("overrides it", 0);
        for _ in 0..240 {
            hold(&mut world);
            world.run(30.0);
        }
        world.expect_alerts("`watchkeeper approve a` overrides it", 1);
        assert!(!world.acts("a").contains(&"kill-start"), "{}", world.story());
        world.ask(Ask::Approve { unit: name("a") });
        hold(&mut world);
        world.run(5.0);
        world.expect_act("a", "kill-start");
    }
    check("starved of CPU", |world| {
        world.seen.host = HostSeen { cpu_pressure: Some(95.0), memory_pressure: None };
    });
    check("short of memory", |world| {
        world.seen.host = HostSeen { cpu_pressure: None, memory_pressure: Some(50.0) };
    });
    check("a person is attached", |world| {
        let ago = world.seen.now.wall.plus_s(-300.0);
        let mut unit = world.unit("a");
        unit.pane().attached = 1;
        unit.pane().typed_at = Some(ago);
    });
    check("a viewer or picker", |world| world.unit("a").reading().overlay = true);
}

#[test]
fn an_approval_of_something_else_is_not_kept_for_a_later_kill() {
    let mut world = World::running(LOOP);
    world.ask(Ask::Approve { unit: name("a") });
    world.ticks(2);
    assert!(!world.state_of("a").stall.approved);
}

#[test]
fn tools_at_work_veto_a_kill() {
    let mut world = nudged();
    for i in 0..40 {
        let changed_at = crate::policy::testing::START;
        let mut unit = world.unit("a");
        unit.seen().tools_cpu_ms = Some(i * 10_000);
        unit.seen().transcript =
            Some(TranscriptSeen { path: "t".into(), bytes: 1, changed_at, open_tool_call: true });
        world.run(30.0);
    }
    world.expect_no_act("a");
}

#[test]
fn compaction_vetoes_for_ten_minutes_only() {
    let mut world = World::running(LOOP);
    world.run(1300.0);
    world.unit("a").busy();
    world.unit("a").reading().compacting = true;
    world.forget();
    world.run(500.0);
    assert!(!world.acts("a").contains(&"kill-start"), "{}", world.story());
    world.run(1500.0);
    world.expect_act("a", "kill-start");
}

#[test]
fn neither_a_suspend_nor_a_slow_cron_is_silence() {
    // A suspend: the wall clock goes on, the awake clock does not.
    let mut world = idle();
    world.run(100.0);
    world.set_wall(8.0 * 3600.0);
    world.run(120.0);
    world.expect_no_act("a");
    // Nobody looked for twenty minutes.
    let mut world = idle();
    world.pass(1200.0);
    world.tick_now();
    world.run(200.0);
    world.expect_no_act("a");
    // The heartbeat was deleted meanwhile: nobody knows how long nobody looked.
    let mut world = idle();
    world.pass(1200.0);
    world.state.clocks.looked_awake_s = None;
    world.tick_now();
    world.run(200.0);
    world.expect_no_act("a");
}

#[test]
fn lost_clocks_are_seeded_from_the_window() {
    let mut world = idle();
    world.run(200.0);
    world.state.clocks.units.clear();
    world.run(150.0);
    world.expect_act("a", "nudge");
}

#[test]
fn nothing_is_typed_at_a_dead_account() {
    let two = format!("{LOOP}{}", LOOP.replace("\"a\"", "\"b\""));
    let mut world = World::running(&two);
    world.unit("b").fails(Substate::Auth);
    world.unit("a").idle();
    world.run(1000.0);
    world.expect_no_act("a");
    world.expect_hold("a", "is held");
}

#[test]
fn who_does_not_run_long_enough_is_not_judged() {
    let mut world = World::running(&format!("[watchdog]\nstall_idle = 20\n{LOOP}"));
    world.unit("a").dies(crate::model::seen::Exit::Status(1));
    world.ticks(3);
    world.unit("a").idle();
    world.forget();
    world.state.units.get_mut(&name("a")).unwrap().launch.kickoff = crate::state::unit::Kickoff::Done;
    world.run(45.0);
    world.expect_no_act("a");
    world.run(60.0);
    world.expect_act("a", "nudge");
}

/// A text of ours that the submit key could not send: it stands there as a draft, and the ladder goes on to its kill.
#[test]
fn a_draft_of_ours_that_nobody_takes_is_killed_in_the_end() {
    let mut world = nudged();
    world.deaf.insert("a: submit text".into());
    world.deaf.insert("a: submit draft".into());
    let text = world.state_of("a").delivery.last_text.clone();
    world.unit("a").composer(&text);
    // Its tools are watched from now on: as a watchdog that lost clocks.json does.
    world.state.clocks.units.clear();
    for _ in 0..40 {
        world.run(30.0);
    }
    world.expect_act("a", "kill-start");
}

/// What is busy now, and was before anybody remembered it, is not hung at first sight.
#[test]
fn a_lost_memory_makes_nobody_hung() {
    let mut world = World::running(&LOOP.replace("loop", "persistent"));
    world.unit("a").idle();
    world.run(7200.0);
    world.forget();
    world.state = crate::state::State::default();
    world.run(120.0);
    world.expect_no_act("a");
}

/// Nobody looked between the start and the first sight of it: that is no silence of the unit's.
#[test]
fn a_gap_before_the_first_sight_is_no_silence() {
    let mut world = World::new(LOOP);
    world.ticks(1);
    world.expect_acts("a", &["start"]);
    world.unit("a").idle();
    world.pass(3000.0);
    world.tick_now();
    let changed = crate::policy::activity::last_change(&world.state.clocks.units[&name("a")]).unwrap();
    assert!(world.seen.now.awake_s.since_s(changed) < 100.0, "{}", world.story());
}

/// The last that was seen of a tool is that it computed: not looking for a while does not make it idle for longer.
#[test]
fn a_gap_forgets_no_work_of_the_tools() {
    let mut world = World::running(LOOP);
    for used in 0..40_u64 {
        world.unit("a").seen().tools_cpu_ms = Some(used * 10_000);
        world.run(30.0);
    }
    world.expect_no_act("a");
    world.pass(2000.0);
    world.tick_now();
    world.run(600.0);
    world.expect_no_act("a");
}

/// One compaction after another: each has its own ten minutes, if the screen moved in between.
#[test]
fn the_cap_of_a_compaction_counts_from_the_last_progress() {
    let mut world = nudged();
    world.unit("a").busy();
    world.unit("a").reading().compacting = true;
    world.run(500.0);
    world.unit("a").moves();
    world.run(560.0);
    let now = world.seen.now.awake_s;
    let since = world.state_of("a").seen.compacting_since_awake_s.unwrap();
    assert!(now.since_s(since) > 1000.0);
    assert!(vetoes(&world).iter().any(|veto| veto == "compacting"), "{}", world.story());
}

/// The vetoes that would hold a kill of the unit now.
fn vetoes(world: &World) -> Vec<String> {
    use crate::policy::context::{Fleet, UnitContext};
    let (config, state, seen) = (&world.config, &world.state, &world.seen);
    let fleet = Fleet::new(config, state, state, seen);
    let unit = name("a");
    let context = UnitContext::new(config, seen, &fleet, state, state, &unit, &config.units[&unit]);
    let found = super::super::veto::vetoes(&context, world.state_of("a"));
    found.into_iter().map(|veto| veto.name.to_owned()).collect()
}

#[test]
fn a_kill_that_was_called_off_comes_again_when_it_hangs_on() {
    let mut world = World::running(LOOP);
    world.unit("a").busy();
    for _ in 0..400 {
        world.tick();
        if world.acts("a").contains(&"kill-start") {
            break;
        }
    }
    // It moves in the instant before it is ended.
    world.unit("a").moves();
    world.tick();
    assert!(world.events.iter().any(|event| event.contains("called off")), "{}", world.story());
    world.forget();
    world.run(4000.0);
    assert!(world.acts("a").contains(&"terminate"), "{}", world.story());
}

use crate::model::action::{Action, LaunchPrompt};
use crate::model::seen::{Ask, Exit, ScreenState, ServerId, ServerSeen};
use crate::policy::proposal::What;
use crate::policy::testing::{World, name};
use crate::state::unit::Breaker;

const LOOP: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\n";
const TASK: &str =
    "[[agent]]\nname = \"t\"\nkind = \"task\"\nprompt = \"p.md\"\nwake = { interval = 3600 }\n";
const STAYS: &str = "[[agent]]\nname = \"p\"\nkind = \"persistent\"\nprompt = \"p.md\"\n";

/// `count` units named a0, a1, …
fn many(count: usize) -> String {
    (0..count).map(|i| format!("[[agent]]\nname = \"a{i}\"\nkind = \"loop\"\nprompt = \"p.md\"\n")).collect()
}

#[test]
fn the_first_restart_is_immediate_then_the_backoff_doubles_and_the_breaker_opens() {
    let mut world = World::running(LOOP);
    for _ in 0..2000 {
        if matches!(world.seen.units[&name("a")].pane, crate::model::seen::PaneSeen::Alive(_)) {
            world.unit("a").dies(Exit::Status(1));
        }
        world.tick();
        if world.state_of("a").restart.breaker != Breaker::Closed {
            break;
        }
    }
    let times = world.times("a", "restart");
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).round()).collect();
    assert_eq!(gaps, [30.0, 60.0, 120.0, 240.0], "{}", world.story());
    world.expect_alerts("circuit breaker open for `a`", 1);
    world.forget();
    world.run(590.0);
    world.expect_no_act("a");
    world.run(30.0);
    world.expect_acts("a", &["restart"]);
    world.unit("a").dies(Exit::Status(1));
    world.ticks(2);
    // The same trouble is news once a day.
    world.expect_alerts("circuit breaker open for `a`", 0);
    // A person approves: at once.
    world.forget();
    world.ask(Ask::Approve { unit: name("a") });
    world.run(3.0);
    world.expect_acts("a", &["restart"]);
}

#[test]
fn a_death_without_exit_status_needs_two_looks() {
    let mut world = World::running(LOOP);
    world.unit("a").absent();
    world.tick();
    world.expect_no_act("a");
    world.tick();
    world.expect_acts("a", &["restart"]);
    // One look that shows nothing changes nothing.
    let mut world = World::running(LOOP);
    let pane = world.seen.units[&name("a")].pane.clone();
    world.unit("a").absent();
    world.tick();
    world.unit("a").seen().pane = pane;
    world.run(100.0);
    world.expect_no_act("a");
}

#[test]
fn half_an_hour_of_life_forgets_the_past() {
    let mut world = World::running(LOOP);
    world.unit("a").dies(Exit::Status(1));
    world.ticks(2);
    world.expect_acts("a", &["restart"]);
    for _ in 0..70 {
        world.unit("a").busy();
        world.run(30.0);
    }
    assert!(world.state_of("a").restart.past_awake_s.is_empty());
    world.forget();
    world.unit("a").dies(Exit::Status(1));
    world.tick();
    world.expect_act("a", "restart");
}

#[test]
fn a_task_that_ended_well_is_left_alone_and_a_failed_one_is_told_once() {
    #[track_caller]
    fn check(exit: Exit, alerts: usize) {
        let mut world = World::running(TASK);
        world.unit("t").dies(exit);
        world.run(600.0);
        world.expect_no_act("t");
        world.expect_alerts("run of `t` failed", alerts);
    }
    check(Exit::Status(0), 0);
    check(Exit::Status(3), 1);
    check(Exit::Signal(9), 1);
}

#[test]
fn a_run_that_fails_between_two_looks_is_told_too() {
    let mut world = World::running(TASK);
    world.unit("t").dies(Exit::Status(0));
    world.tick();
    for _ in 0..10_000 {
        world.tick();
        if world.acts("t").contains(&"run") {
            break;
        }
    }
    world.expect_acts("t", &["run"]);
    world.unit("t").dies(Exit::Status(127));
    world.run(60.0);
    world.expect_alerts("exit status 127", 1);
    assert_eq!(world.state_of("t").seen.exit.as_deref(), Some("exit status 127"));
}

#[test]
fn a_persistent_agent_resumes_even_when_its_file_was_lost() {
    let mut world = World::running(STAYS);
    world.state.units.clear();
    world.ticks(2);
    world.expect_no_act("p");
    world.unit("p").dies(Exit::Status(1));
    world.ticks(2);
    world.expect_acts("p", &["restart"]);
    let why = &world.done[0].3;
    assert!(why.contains("resumed"), "{why}");
}

#[test]
fn a_lost_file_of_a_dead_task_runs_nothing() {
    let mut world = World::running(TASK);
    world.unit("t").dies(Exit::Status(0));
    world.ticks(2);
    world.state.units.clear();
    world.run(600.0);
    world.expect_no_act("t");
    world.expect_alerts("failed", 0);
}

#[test]
fn many_deaths_at_once_are_one_event_and_come_back_staggered() {
    let mut world = World::running(&many(5));
    for i in 0..5 {
        world.unit(&format!("a{i}")).dies(Exit::Status(1));
    }
    world.poke();
    world.run(30.0);
    world.expect_alerts("5 units died at once", 1);
    assert_eq!(world.alerts.len(), 1, "{}", world.story());
    let mut times: Vec<f64> = (0..5).flat_map(|i| world.times(&format!("a{i}"), "restart")).collect();
    times.sort_by(f64::total_cmp);
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).round()).collect();
    assert_eq!(gaps, [2.0; 4], "{}", world.story());
}

#[test]
fn a_stop_of_many_is_no_mass_death() {
    let mut world = World::running(&many(5));
    world.ask(Ask::Down { unit: None, reason: "night".into() });
    world.run(60.0);
    world.expect_alerts("", 0);
    world.expect_act("a4", "close session");
}

#[test]
fn a_server_that_is_gone_is_one_alert() {
    let mut world = World::running(&many(5));
    world.seen.server = crate::model::seen::ServerSeen::Absent;
    for i in 0..5 {
        world.unit(&format!("a{i}")).absent();
    }
    world.run(60.0);
    assert_eq!(world.alerts.len(), 1, "{}", world.story());
    world.expect_alerts("tmux server (pid 50) is gone, and with it 5 units", 1);
    for i in 0..5 {
        assert_eq!(world.times(&format!("a{i}"), "restart").len(), 1, "{}", world.story());
    }
}

#[test]
fn up_of_the_fleet_does_not_run_tasks_that_are_done() {
    let mut world = World::running(&format!("{LOOP}{TASK}"));
    world.unit("t").dies(Exit::Status(0));
    world.ticks(2);
    world.ask(Ask::Up { unit: None });
    world.run(60.0);
    world.expect_no_act("t");
    world.ask(Ask::Up { unit: Some(name("t")) });
    world.run(5.0);
    world.expect_acts("t", &["start"]);
}

#[test]
fn who_is_not_watched_is_started_once_and_not_healed() {
    let mut world = World::new(&LOOP.replace("kind", "watch = \"none\"\nkind"));
    world.ticks(2);
    world.unit("a").idle();
    world.run(60.0);
    world.expect_acts("a", &["start", "kickoff", "load text", "paste text", "submit text"]);
    world.forget();
    world.unit("a").dies(Exit::Status(1));
    world.run(900.0);
    world.expect_no_act("a");
}

#[test]
fn a_start_that_does_not_happen_is_a_death_with_a_reason() {
    let mut world = World::new(LOOP);
    world.deaf.insert("a".into());
    world.tick();
    world.unit("a").seen().failed = Some("no such directory".into());
    world.tick();
    world.unit("a").seen().failed = None;
    world.ticks(2);
    assert_eq!(world.state_of("a").seen.exit.as_deref(), Some("start failed: no such directory"));
    world.run(3600.0);
    world.expect_alerts("last end: start failed: no such directory", 1);
    let times = world.times("a", "restart");
    assert!(times.len() >= 5 && times.windows(2).all(|pair| pair[1] - pair[0] >= 29.0), "{times:?}");
}

#[test]
fn dead_and_limited_waits_for_the_reset() {
    let mut world = World::running(LOOP);
    world.unit("a").limited("You've hit your session limit ∙ resets 11:00am (UTC)");
    world.ticks(2);
    world.unit("a").dies(Exit::Status(1));
    world.run(3300.0);
    world.expect_no_act("a");
    world.expect_hold("a", "limited until");
    world.run(240.0);
    world.expect_acts("a", &["restart"]);
}

#[test]
fn a_foreign_session_is_told_once_and_never_touched() {
    let mut world = World::new(LOOP);
    world.unit("a").seen().foreign = Some("it has no stamp of ours".into());
    world.run(120.0);
    // A hung tmux shows nothing: that is no news of the session.
    let server = std::mem::replace(
        &mut world.seen.server,
        crate::model::seen::ServerSeen::Unknown { why: "timeout".into() },
    );
    world.unit("a").seen().foreign = None;
    world.unit("a").seen().pane = crate::model::seen::PaneSeen::Unknown;
    world.tick();
    world.seen.server = server;
    world.unit("a").absent();
    world.unit("a").seen().foreign = Some("it has no stamp of ours".into());
    world.run(600.0);
    world.ask(Ask::Up { unit: Some(name("a")) });
    world.run(60.0);
    world.expect_no_act("a");
    world.expect_alerts("belongs to somebody else", 1);
}

#[test]
fn an_order_starts_in_a_pause_and_its_prompt_is_typed() {
    let mut world = World::running(LOOP);
    world.ask(Ask::Pause { unit: None, reason: "quiet".into() });
    world.tick();
    world.unit("a").dies(Exit::Status(1));
    world.run(300.0);
    world.expect_no_act("a");
    world.ask(Ask::Restart { unit: name("a") });
    world.run(3.0);
    world.expect_acts("a", &["start"]);
    world.unit("a").idle();
    world.poke();
    world.run(20.0);
    world.expect_acts("a", &["start", "kickoff", "load text", "paste text", "submit text"]);
    assert_eq!(world.state_of("a").seen.state, ScreenState::Busy);
}

/// The server goes, and everything with it; what is started is on the next one.
fn lose_server(world: &mut World, pid: i32) {
    for unit in ["a0", "a1", "a2"] {
        world.unit(unit).absent();
    }
    world.seen.server = ServerSeen::Absent;
    world.ticks(2);
    world.seen.server = ServerSeen::Alive(ServerId { pid, started: i64::from(pid) });
}

/// SPEC 3: no server is one symptom of the host, not N dead agents.
#[test]
fn what_is_lost_with_its_server_is_not_charged_and_opens_no_breaker() {
    let mut world = World::running(&many(3));
    for death in 0..7 {
        lose_server(&mut world, 60 + death);
        for _ in 0..400 {
            world.tick();
            if world.times("a0", "restart").len() > death as usize {
                break;
            }
        }
        world.run(5.0);
    }
    for unit in ["a0", "a1", "a2"] {
        let restart = &world.state_of(unit).restart;
        assert_eq!(restart.breaker, Breaker::Closed, "{}", world.story());
        assert_eq!((restart.past_awake_s.len(), restart.lost_awake_s.len(), restart.total), (0, 7, 7));
    }
    // The host has a backoff of its own, up to ten minutes.
    let times = world.times("a0", "restart");
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).round()).collect();
    assert_eq!(gaps, [30.0, 60.0, 120.0, 240.0, 480.0, 600.0], "{}", world.story());
    // What it does by itself is charged to it all the same: at once, for it is the first time.
    world.forget();
    world.unit("a0").dies(Exit::Status(1));
    world.ticks(2);
    world.expect_acts("a0", &["restart"]);
    assert_eq!(world.state_of("a0").restart.past_awake_s.len(), 1);
}

#[test]
fn another_server_in_its_place_is_the_same_loss_and_a_closed_session_is_none() {
    let mut world = World::running(&many(3));
    for unit in ["a0", "a1", "a2"] {
        world.unit(unit).absent();
    }
    world.seen.server = ServerSeen::Alive(ServerId { pid: 61, started: 61 });
    world.run(60.0);
    assert_eq!(world.state_of("a1").restart.lost_awake_s.len(), 1, "{}", world.story());
    world.unit("a1").absent();
    world.run(60.0);
    let restart = &world.state_of("a1").restart;
    assert_eq!((restart.lost_awake_s.len(), restart.past_awake_s.len()), (1, 1), "{}", world.story());
}

/// Who never came up was not lost with anything.
#[test]
fn a_start_that_comes_to_nothing_is_charged_also_without_a_server() {
    let mut world = World::running(LOOP);
    world.unit("a").dies(Exit::Status(1));
    world.deaf.insert("a".into());
    world.ticks(2);
    world.unit("a").absent();
    world.seen.server = ServerSeen::Absent;
    world.run(60.0);
    let restart = &world.state_of("a").restart;
    assert_eq!((restart.lost_awake_s.len(), restart.past_awake_s.len()), (0, 2), "{}", world.story());
}

/// Dies as soon as it lives, until its breaker is open.
fn spend(world: &mut World) {
    for _ in 0..2000 {
        if matches!(world.seen.units[&name("a")].pane, crate::model::seen::PaneSeen::Alive(_)) {
            world.unit("a").dies(Exit::Status(1));
        }
        world.tick();
        if world.state_of("a").restart.breaker != Breaker::Closed {
            return;
        }
    }
    panic!("{}", world.story());
}

/// The start that a person orders closes the breaker: it is opened by what comes of that start, not by the order.
#[test]
fn a_start_that_is_ordered_opens_no_breaker() {
    let mut world = World::running(LOOP);
    spend(&mut world);
    world.forget();
    world.ask(Ask::Up { unit: Some(name("a")) });
    world.run(5.0);
    world.expect_acts("a", &["start"]);
    assert_eq!(world.state_of("a").restart.breaker, Breaker::Closed, "{}", world.story());
    // So does a restart of what runs.
    world.ask(Ask::Restart { unit: name("a") });
    world.unit("a").idle();
    world.run(60.0);
    assert_eq!(world.state_of("a").restart.breaker, Breaker::Closed, "{}", world.story());
    world.expect_events("circuit breaker open", 0);
    world.unit("a").dies(Exit::Status(1));
    world.ticks(2);
    assert_ne!(world.state_of("a").restart.breaker, Breaker::Closed, "{}", world.story());
}

#[test]
fn a_prompt_that_goes_with_the_start_is_guarded() {
    const ARG: &str = "[[agent]]\nname = \"a\"\nkind = \"task\"\nbackend = \"mine\"\nwake = { interval = 3600, prompt = \"-v is what counts\" }\n[backend.mine]\ncommand = [\"mine\"]\nprompt_delivery = \"arg\"\n";
    let mut world = World::new(ARG);
    world.tick();
    let launched = world.last.granted.iter().find_map(|granted| match &granted.what {
        What::Act(Action::NewSession { launch }) => launch.prompt.clone(),
        _ => None,
    });
    assert_eq!(launched, Some(LaunchPrompt::Arg { text: "Message: -v is what counts".into() }));
}

#[test]
fn a_start_that_was_recorded_and_did_not_happen_is_made_up_for_unpaid() {
    // The watchdog is killed between its record and tmux: the next one sees the old end once more.
    let mut world = World::running(TASK);
    world.unit("t").dies(Exit::Status(0));
    world.deaf.insert("t: run".into());
    world.run(3600.0 + 30.0);
    world.expect_acts("t", &["run", "start again"]);
    world.expect_alerts("", 0);
    world.expect_events("killed", 0);

    let mut world = World::running(LOOP);
    world.deaf.insert("a: restart".into());
    world.unit("a").dies(Exit::Status(1));
    world.poke();
    world.run(20.0);
    world.expect_acts("a", &["restart", "start again"]);
    let times = (world.times("a", "restart")[0], world.times("a", "start again")[0]);
    assert!(times.1 - times.0 >= 5.0, "{}", world.story());
    assert_eq!(world.state_of("a").restart.past_awake_s.len(), 1);
    // Its own end is paid for.
    world.deaf.clear();
    world.forget();
    world.unit("a").dies(Exit::Status(1));
    world.run(60.0);
    world.expect_acts("a", &["restart"]);
    assert_eq!(world.state_of("a").restart.past_awake_s.len(), 2);
}

/// The first start of all was recorded, and tmux was never told: there is no conversation to go on with.
#[test]
fn what_never_ran_is_not_resumed_and_gets_its_prompt() {
    let mut world = World::new(STAYS);
    world.deaf.insert("p: start".into());
    world.run(30.0);
    world.deaf.clear();
    world.run(30.0);
    let resumed = world.done.iter().any(|done| done.3.contains("resumed"));
    assert!(!resumed, "{}", world.story());
    world.unit("p").idle();
    world.run(10.0);
    world.expect_act("p", "kickoff");
}

#[test]
fn a_start_that_never_happens_costs_and_is_told() {
    let mut world = World::running(LOOP);
    world.deaf.insert("a".into());
    world.unit("a").dies(Exit::Status(1));
    world.poke();
    world.run(3600.0);
    world.expect_alerts("its start did not happen", 1);
    assert!(world.times("a", "start again").len() <= 3 * world.times("a", "restart").len());
    assert_eq!(world.state_of("a").restart.past_awake_s.len(), world.times("a", "restart").len());

    let mut world = World::running(TASK);
    world.deaf.insert("t".into());
    world.unit("t").dies(Exit::Status(0));
    world.run(3700.0);
    world.expect_acts("t", &["run", "start again", "start again", "start again"]);
    world.expect_alerts("the run of `t` failed: its start did not happen", 1);
}

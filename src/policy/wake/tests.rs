use crate::model::seen::{Ask, Exit, ScreenState};
use crate::policy::testing::{START, World, name};
use crate::state::unit::DeliveryStep;

const HOURLY: &str = "[[agent]]\nname = \"p\"\nkind = \"persistent\"\nprompt = \"p.md\"\nwake = { interval = 3600, prompt = \"look\" }\n";
const DAILY: &str = "[[agent]]\nname = \"p\"\nkind = \"persistent\"\nprompt = \"p.md\"\nwake = { at = \"0 12 * * *\", tz = \"UTC\", prompt = \"look\" }\n";
const TASK: &str =
    "[[agent]]\nname = \"t\"\nkind = \"task\"\nprompt = \"p.md\"\nwake = { interval = 3600 }\n";

fn idle(text: &str) -> World {
    let mut world = World::running(text);
    world.unit("p").idle();
    world.ticks(2);
    world.forget();
    world
}

/// It answers whatever was typed, for so long.
fn live(world: &mut World, seconds: f64) {
    let end = world.seen.now.awake_s.plus_s(seconds);
    while world.seen.now.awake_s < end {
        world.run(30.0);
        if world.seen.units[&name("p")].pane_state() == Some(ScreenState::Busy) {
            world.unit("p").idle();
        }
    }
}

fn hours(times: &[f64]) -> Vec<f64> {
    times.iter().map(|at| (at / 360.0).round() / 10.0).collect()
}

#[test]
fn an_interval_wakes_again_and_again() {
    let mut world = idle(HOURLY);
    live(&mut world, 3.8 * 3600.0);
    assert_eq!(hours(&world.times("p", "wake")), [1.0, 2.0, 3.0], "{}", world.story());
}

#[test]
fn a_cron_time_wakes_at_its_time_and_a_missed_one_once_however_late() {
    let mut world = idle(DAILY);
    live(&mut world, 3.0 * 3600.0);
    assert_eq!(hours(&world.times("p", "wake")), [2.0], "{}", world.story());
    // The watchdog slept for three days.
    world.forget();
    world.pass(3.0 * 86_400.0);
    live(&mut world, 3600.0);
    assert_eq!(world.times("p", "wake").len(), 1, "{}", world.story());
}

#[test]
fn who_is_busy_paused_or_down_is_woken_when_that_is_over_once() {
    #[track_caller]
    fn check(hold: impl Fn(&mut World), over: impl Fn(&mut World)) {
        let mut world = idle(HOURLY);
        hold(&mut world);
        world.run(4.0 * 3600.0);
        world.expect_act_count("p", "wake", 0);
        over(&mut world);
        world.run(5.0);
        if world.seen.units[&name("p")].pane_state() == Some(ScreenState::Starting) {
            world.unit("p").idle();
        }
        live(&mut world, 1800.0);
        world.expect_act_count("p", "wake", 1);
    }
    check(|world| world.unit("p").asks("Proceed?"), |world| world.unit("p").idle());
    check(
        |world| {
            world.ask(Ask::Pause { unit: Some(name("p")), reason: String::new() });
        },
        |world| {
            world.ask(Ask::Resume { unit: Some(name("p")) });
        },
    );
    check(
        |world| {
            world.ask(Ask::Down { unit: Some(name("p")), reason: String::new() });
        },
        |world| {
            world.ask(Ask::Up { unit: Some(name("p")) });
        },
    );
}

#[test]
fn a_wake_that_could_not_be_typed_is_tried_again_and_one_that_may_have_been_read_is_not() {
    let mut world = idle(HOURLY);
    world.deaf.insert("p: submit text".into());
    world.run(3600.0 + 30.0);
    world.expect_alerts("not delivered", 1);
    world.deaf.clear();
    world.unit("p").idle();
    live(&mut world, 300.0);
    world.expect_act_count("p", "wake", 2);

    let mut world = idle(HOURLY);
    world.deaf.insert("p: submit text".into());
    for _ in 0..10_000 {
        world.tick();
        let delivery = world.state_of("p").delivery.current.clone();
        if delivery.is_some_and(|d| matches!(d.step, DeliveryStep::Submitted { .. })) {
            break;
        }
    }
    world.unit("p").dies(Exit::Status(1));
    world.deaf.clear();
    world.ticks(3);
    world.unit("p").idle();
    live(&mut world, 1800.0);
    world.expect_act_count("p", "wake", 1);
}

#[test]
fn another_schedule_is_counted_afresh() {
    let mut world = idle(HOURLY);
    world.run(3000.0);
    world.reload(&HOURLY.replace("3600", "600"));
    live(&mut world, 500.0);
    world.expect_act_count("p", "wake", 0);
    live(&mut world, 200.0);
    world.expect_act_count("p", "wake", 1);
}

#[test]
fn a_clock_that_is_set_does_not_wake_twice_nor_never() {
    #[track_caller]
    fn check(text: &str, wakes: usize) {
        let mut world = idle(text);
        // A day ahead: what is due fires once.
        world.set_wall(86_400.0);
        live(&mut world, 600.0);
        world.expect_act_count("p", "wake", 1);
        // And back: the next one comes at its time, not a day later.
        world.forget();
        world.set_wall(-86_400.0);
        live(&mut world, 3.0 * 3600.0);
        world.expect_act_count("p", "wake", wakes);
    }
    check(HOURLY, 2);
    check(DAILY, 1);
}

#[test]
fn a_clock_that_is_set_back_by_a_trifle_does_not_wake_twice() {
    let mut world = idle(DAILY);
    let due = START.plus_s(7200.0);
    let left = due.since_s(world.seen.now.wall);
    live(&mut world, left + 3.0);
    world.expect_act_count("p", "wake", 1);
    let early = due.plus_s(-2.0).since_s(world.seen.now.wall);
    world.set_wall(early);
    live(&mut world, 1800.0);
    world.expect_act_count("p", "wake", 1);
}

#[test]
fn a_task_runs_on_its_schedule_and_an_overlap_is_skipped() {
    let mut world = World::running(TASK);
    world.unit("t").dies(Exit::Status(0));
    world.run(3700.0);
    world.expect_acts("t", &["run"]);
    world.unit("t").idle();
    world.run(60.0);
    world.expect_act("t", "submit text");
    for _ in 0..150 {
        world.unit("t").moves();
        world.run(30.0);
    }
    assert_eq!(world.times("t", "run").len(), 1, "{}", world.story());
    world.expect_events("run skipped", 1);
    // The next one finds it done, but still there: it is ended first.
    world.unit("t").idle();
    world.run(3600.0);
    world.expect_act("t", "rerun");
    world.expect_act("t", "start");
    world.expect_alerts("", 0);
}

#[test]
fn a_cron_task_is_not_run_before_its_time() {
    let mut world = World::new(&TASK.replace("interval = 3600", "at = \"0 12 * * *\", tz = \"UTC\""));
    world.run(7100.0);
    world.expect_no_act("t");
    world.run(200.0);
    world.expect_acts("t", &["run"]);
}

#[test]
fn a_task_that_begins_to_work_is_not_ended_for_its_next_run() {
    let mut world = World::running(TASK);
    world.unit("t").idle();
    for _ in 0..10_000 {
        world.tick();
        if world.acts("t").contains(&"rerun") {
            break;
        }
    }
    world.unit("t").busy();
    world.run(60.0);
    world.expect_acts("t", &["rerun"]);
    assert!(world.state_of("t").ending.is_none());
}

#[test]
fn a_task_that_ended_while_it_was_limited_runs_again_once_the_limit_is_over() {
    let mut world = World::running(TASK);
    world.unit("t").limited("limit reached ∙ resets 3pm");
    world.ticks(2);
    world.unit("t").dies(Exit::Status(0));
    // It is 10 o'clock.
    world.run(4.9 * 3600.0);
    world.expect_no_act("t");
    world.expect_hold("t", "it is limited");
    world.run(0.2 * 3600.0);
    world.expect_acts("t", &["run"]);
}

/// The time to start and to type the prompt may be longer than the interval: the run comes to its work all the same.
#[test]
fn a_task_that_waits_for_its_prompt_is_not_ended_for_its_next_run() {
    for tenths in 10..40 {
        let interval = format!("interval = {}.{}", tenths / 10, tenths % 10);
        let mut world = World::new(&TASK.replace("interval = 3600", &interval));
        world.tick();
        world.unit("t").idle();
        for _ in 0..40 {
            world.tick();
            if world.acts("t").contains(&"submit text") {
                break;
            }
        }
        world.expect_act("t", "submit text");
        world.expect_act_count("t", "rerun", 0);
    }
}

//! Stories that cross policies; each policy has its own tables beside it.

use super::testing::World;

const LOOP: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\n";

#[test]
fn an_absent_unit_is_started_and_kicked_off() {
    let mut world = World::new(LOOP);
    world.ticks(2);
    world.expect_acts("a", &["start"]);
    world.unit("a").idle();
    world.ticks(12);
    world.expect_acts("a", &["start", "kickoff", "load text", "paste text", "submit text"]);
}

#[test]
fn a_healthy_fleet_is_left_alone() {
    let mut world = World::running(LOOP);
    for _ in 0..100 {
        world.unit("a").moves();
        world.tick();
    }
    world.expect_no_act("a");
    assert!(world.alerts.is_empty() && world.events.is_empty(), "{}", world.story());
}

#[test]
fn a_unit_that_leaves_the_config_is_left_alone_and_a_new_one_is_started() {
    let two = format!("{LOOP}{}", LOOP.replace("\"a\"", "\"b\""));
    let mut world = World::running(&two);
    world.reload(LOOP);
    world.ticks(3);
    world.expect_no_act("a");
    world.reload(&two);
    world.ticks(3);
    world.expect_no_act("a");
    world.expect_acts("b", &["start"]);
}

#[test]
fn a_wall_clock_that_jumps_disturbs_nobody() {
    for day in [86_400.0, -86_400.0] {
        let mut world = World::running(LOOP);
        for i in 0..100 {
            if i == 50 {
                world.set_wall(day);
            }
            world.unit("a").moves();
            world.tick();
        }
        world.expect_no_act("a");
        world.expect_alerts("", 0);
        // A key press of before the jump is nobody at the keyboard now.
        world.unit("a").person_types();
        world.set_wall(-86_400.0);
        world.unit("a").dies(crate::model::seen::Exit::Status(1));
        world.run(60.0);
        world.expect_act("a", "restart");
    }
}

#[test]
fn a_fleet_whose_memory_is_lost_is_left_alone() {
    let mut world = World::running(LOOP);
    let lost = [
        |state: &mut crate::state::State| state.units.clear(),
        |state: &mut crate::state::State| state.clocks = Default::default(),
        |state: &mut crate::state::State| state.mail = Default::default(),
        |state: &mut crate::state::State| *state = Default::default(),
    ];
    for lose in lost {
        lose(&mut world.state);
        for _ in 0..10 {
            world.unit("a").moves();
            world.tick();
        }
    }
    world.expect_no_act("a");
    world.expect_alerts("", 0);
}

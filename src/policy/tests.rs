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

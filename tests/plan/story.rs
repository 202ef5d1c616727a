//! A plan from its first phase to its end, and what people do to it on the way.

use crate::fleet::Fleet;

const HANDOFF: &str = "[loop.handoff]\nclaim_pattern = \"^claim\"\nreview_pattern = \"^review\"\n\
                       claim_pings = \"critic\"\nreview_pings = [\"builder\"]\n\
                       inboxes = { \"INBOX.md\" = \"critic\" }\n";

#[test]
fn a_plan_of_two_phases_from_kickoff_to_its_end() {
    let fleet = Fleet::new(2, HANDOFF);
    let _watchdog = fleet.watchdog();
    fleet.await_kickoffs("p1");
    let text = fleet.told("builder")[0].clone();
    assert!(text.contains("plans/1.md") && text.contains("S1.md") && text.ends_with("You work."), "{text}");
    fleet.commit("claim(parser): first part", &[]);
    fleet.world.await_that("the critic hears of the claim", || fleet.told("critic").len() == 1);
    assert!(fleet.told("critic")[0].contains("claim(parser): first part"));
    fleet.commit("review: fine", &[("INBOX.md", "look here\n")]);
    fleet.world.await_that("the builder hears of the review", || {
        fleet.told("builder").iter().any(|text| text.contains("review: fine"))
    });
    fleet.world.await_that("the critic hears of its inbox", || fleet.told("critic").len() == 2);
    fleet.done(1);
    fleet.await_kickoffs("p2");
    assert_eq!(fleet.phase()["id"], "p2");
    fleet.done(2);
    fleet.world.await_that("the plan is complete", || fleet.world.state("SEQUENCE-COMPLETE").exists());
    fleet.world.await_that("the last task runs", || fleet.told("reporter").len() == 1);
    fleet.commit("claim(late): nobody hears of it", &[]);
    fleet.world.await_that("the late commit was looked at", || {
        let head = fleet.git("writer", &["rev-parse", "HEAD"]);
        fleet.git("clone", &["fetch", "-q"]);
        fleet.world.read_state("git.json").contains(&head)
    });
    for agent in ["builder", "mate"] {
        assert_eq!(fleet.kickoffs(agent), ["p1", "p2"]);
    }
    assert_eq!(fleet.told("critic").len(), 2);
    assert!(
        fleet.world.read_state("status").contains("all 2 phases done"),
        "{}",
        fleet.world.read_state("status")
    );
}

#[test]
fn a_person_appends_a_phase_and_puts_others_in_force() {
    let fleet = Fleet::new(1, "");
    let _watchdog = fleet.watchdog();
    fleet.await_kickoffs("p1");
    fleet.done(1);
    fleet.world.await_that("the plan is complete", || fleet.world.state("SEQUENCE-COMPLETE").exists());
    fleet.plan(3, "");
    fleet.await_kickoffs("p2");
    fleet.world.await_that("the marker is gone", || !fleet.world.state("SEQUENCE-COMPLETE").exists());
    fleet.world.wk(["phase", "advance"]).stdout("fleet: phase p3 is in force (3 of 3)\n").check();
    fleet.await_kickoffs("p3");
    // By hand.
    let text = fleet.world.read_state("phase.json").replace("\"id\": \"p3\"", "\"id\": \"p2\"");
    std::fs::write(fleet.world.state("phase.json"), text).unwrap();
    fleet.world.await_that("the edit is in force", || fleet.kickoffs("mate") == ["p1", "p2", "p3", "p2"]);
    fleet
        .world
        .wk(["phase", "set", "nope"])
        .code(1)
        .stdout("fleet: refused: there is no phase `nope` in the plan; it has p1, p2, p3\n")
        .check();
    fleet.world.wk(["phase"]).stdout("  p1  S1.md: done\n> p2  S2.md: open, in force, for [..]\n  p3  S3.md: open\nRead from origin/main at [..].\n").check();
}

#[test]
fn lost_state_restarts_nobody_and_finds_the_phase_again() {
    let fleet = Fleet::new(3, "");
    let mut watchdog = fleet.watchdog();
    fleet.await_kickoffs("p1");
    fleet.done(1);
    fleet.await_kickoffs("p2");
    fleet.world.await_state("mate", "idle");
    let panes = || fleet.world.tmux(&["list-panes", "-a", "-F", "#{session_name} #{pane_pid}"]);
    let before = panes();
    watchdog.kill();
    for file in ["phase.json", "git.json", "units/mate/unit.json", "units/builder/unit.json", "clocks.json"] {
        std::fs::remove_file(fleet.world.state(file)).unwrap();
    }
    let _watchdog = fleet.watchdog();
    fleet.world.await_that("the phase is found again", || fleet.phase()["id"] == "p2");
    fleet.world.await_that("the agent's part, too", || {
        fleet.world.read_state("units/mate/unit.json").contains("\"phase\": \"p2\"")
    });
    fleet.done(2);
    fleet.await_kickoffs("p3");
    assert_eq!(fleet.kickoffs("mate"), ["p1", "p2", "p3"], "{}", fleet.events());
    assert_eq!(before.lines().count(), panes().lines().count());
}

//! What people order: by command with and without a watchdog, through the inbox, by touching a marker.

use crate::FAST;
use crate::lab::{Agent, Lab, lives};
use serde_json::json;
use std::time::Duration;

/// The same orders, and what must come of them, whoever acts.
fn orders(lab: &Lab) {
    lab.ok(&["nudge", "a", "hello", "there"]);
    assert_eq!(lab.given("a"), ["hello there"]);

    let first = lab.pid("a");
    lab.ok(&["restart", "a"]);
    assert_eq!(lab.starts("a"), 2);
    assert!(lab.pid("a").is_some() && lab.pid("a") != first);

    lab.ok(&["pause", "a", "lunch"]);
    assert!(lab.state("units/a/PAUSED").exists());
    lab.ok(&["resume", "a"]);
    assert!(!lab.state("units/a/PAUSED").exists());

    lab.ok(&["down", "a"]);
    assert_eq!((lab.pid("a"), lab.sessions()), (None, vec!["t-b".to_owned()]));
    assert!(lab.state("units/a/down").exists());

    lab.ok(&["up", "a"]);
    assert!(lab.pid("a").is_some() && !lab.state("units/a/down").exists());
    lab.ok(&["up", "a"]);
    assert_eq!(lab.starts("a"), 3, "`up` of what runs starts nothing");
    assert_eq!(lab.starts("b"), 1, "the other one was never touched");
}

fn pair() -> [Agent; 2] {
    [Agent::persistent("a", "").with("ladder = { grace_s = 1 }"), Agent::persistent("b", "")]
}

#[test]
fn orders_reach_a_running_watchdog() {
    let lab = Lab::new("signal_interval = 20", &pair());
    let mut watch = lab.watch();
    lab.until("both idle", || lab.believed("a") == "idle" && lab.believed("b") == "idle");
    orders(&lab);
    assert!(watch.lives());
}

#[test]
fn orders_work_without_a_watchdog() {
    let lab = Lab::new("signal_interval = 20", &pair());
    lab.tick_until("both idle", || lab.believed("a") == "idle" && lab.believed("b") == "idle");
    orders(&lab);
}

#[test]
fn an_order_without_a_watchdog_does_nothing_else() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", ""), Agent::persistent("b", "IDLE 1; EXIT 1")]);
    lab.tick_until("a idle, b dead", || lab.believed("a") == "idle" && !lab.hold("b").is_empty());
    let starts = lab.starts("b");
    lab.age("b", 100.0);
    lab.ok(&["nudge", "a", "hello"]);
    assert_eq!(lab.starts("b"), starts, "healing is the watchdog's\n{}", lab.dump());
}

#[test]
fn a_request_in_the_inbox_is_handled_once_and_confirmed() {
    let lab = Lab::new(FAST, &pair());
    lab.tick_until("idle", || lab.believed("a") == "idle");
    let ask = json!({"nudge": {"unit": "a", "text": "only once"}});
    for _ in 0..3 {
        lab.ask_as("the-same", &ask);
    }
    lab.tick_until("it arrives", || lab.times_given("a", "only once") == 1);
    let unknown = lab.ask(&json!({"restart": {"unit": "nobody"}}));
    lab.tick();
    lab.tick();
    assert_eq!(lab.times_given("a", "only once"), 1, "{}", lab.dump());
    assert!(
        lab.answer(&unknown).unwrap().starts_with("refused: there is no unit `nobody`"),
        "{:?}",
        lab.answer(&unknown)
    );
}

#[test]
fn touching_a_marker_is_enough() {
    let lab = Lab::new(FAST, &pair());
    let _watch = lab.watch();
    lab.until("both idle", || lab.believed("a") == "idle" && lab.believed("b") == "idle");
    let first = lab.pid("a").unwrap();
    lab.touch("units/a/down", "");
    lab.until("it is stopped and its session gone", || lab.sessions() == ["t-b"]);
    assert!(!lives(first));
    lab.throughout(Duration::from_secs(1), "stop means stopped", || lab.starts("a") == 1);
    std::fs::remove_file(lab.state("units/a/down")).unwrap();
    lab.until("it is started again", || lab.starts("a") == 2 && lab.believed("a") == "idle");
    assert_eq!(lab.starts("b"), 1);
}

#[test]
fn a_paused_unit_is_not_healed_until_it_is_resumed() {
    let lab = Lab::new(FAST, &pair());
    let _watch = lab.watch();
    lab.until("both idle", || lab.believed("a") == "idle" && lab.believed("b") == "idle");
    lab.touch("units/a/PAUSED", "lunch\n");
    lab.tmux(&["kill-session", "-t", "=t-a"]).unwrap();
    lab.until("held", || lab.hold("a") == "restart: paused: lunch");
    assert_eq!(lab.starts("a"), 1);
    std::fs::remove_file(lab.state("units/a/PAUSED")).unwrap();
    lab.until("healed", || lab.starts("a") == 2);
}

#[test]
fn the_fleets_marker_stops_everything_and_up_brings_it_back() {
    let lab = Lab::new(FAST, &pair());
    let _watch = lab.watch();
    lab.until("both idle", || lab.believed("a") == "idle" && lab.believed("b") == "idle");
    lab.touch("down", "night\n");
    lab.until("all is stopped", || lab.sessions().is_empty());
    lab.until("believed", || lab.unit("a")["ending"].is_null() && lab.unit("b")["ending"].is_null());
    std::fs::remove_file(lab.state("down")).unwrap();
    lab.until("all is back", || lab.starts("a") == 2 && lab.starts("b") == 2);
}

#[test]
fn who_ignores_term_is_killed_after_the_grace() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "IGNORE-TERM").with("ladder = { grace_s = 1 }")]);
    let _watch = lab.watch();
    lab.until("it ignores", || lab.said("a") == ["ignoring SIGTERM"]);
    let pid = lab.pid("a").unwrap();
    lab.ok(&["down", "a"]);
    assert!(!lives(pid));
    assert_eq!((lab.acts("a", "terminate"), lab.acts("a", "kill")), (1, 1), "{}", lab.dump());
    assert_eq!(lab.sessions(), Vec::<String>::new());
}

#[test]
fn an_orphan_that_survives_the_hang_up_is_ended_too() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "ORPHAN").with("ladder = { grace_s = 1 }")]);
    let _watch = lab.watch();
    lab.until("it has a child", || lab.said("a").iter().any(|line| line.starts_with("orphan ")));
    let orphan: i32 = lab.said("a")[0].strip_prefix("orphan ").unwrap().parse().unwrap();
    assert!(lives(orphan));
    lab.ok(&["down", "a"]);
    assert!(!lives(orphan), "{}", lab.dump());
}

#[test]
fn an_ordered_restart_waits_for_the_end_of_the_turn() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "WORK 5 || ")]);
    let _watch = lab.watch();
    lab.until("it works", || lab.believed("a") == "busy");
    lab.ask(&json!({"restart": {"unit": "a"}}));
    lab.until("it waits", || lab.hold("a").contains("waits for the end of its turn"));
    lab.until("it is restarted", || lab.starts("a") == 2);
    let steps = lab.said("a").iter().filter(|line| line.starts_with("step ")).count();
    assert_eq!(steps, 5, "{}", lab.dump());
}

#[test]
fn a_changed_command_or_environment_restarts_what_it_changes() {
    let lab = Lab::new(FAST, &pair());
    let _watch = lab.watch();
    lab.until("both idle", || lab.believed("a") == "idle" && lab.believed("b") == "idle");
    let [a, b] = pair();
    lab.configure(FAST, &[a.env("MORE", "1"), b]);
    lab.until("a runs anew", || lab.starts("a") == 2 && lab.believed("a") == "idle");
    assert_eq!(lab.starts("b"), 1);
}

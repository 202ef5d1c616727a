//! What dies is started again, within its budget.

use crate::FAST;
use crate::lab::{Agent, Lab, lives};
use serde_json::json;
use std::time::Duration;

/// Runs one agent with `script` until its second run is idle; it must have been healed for `reason`.
#[track_caller]
fn heals(script: &str, reason: &str) {
    let lab = Lab::new(FAST, &[Agent::looping("a", script)]);
    let _watch = lab.watch();
    lab.until("a second run that is idle", || lab.starts("a") == 2 && lab.believed("a") == "idle");
    assert_eq!((lab.acts("a", "start"), lab.acts("a", "restart")), (1, 1), "{}", lab.dump());
    assert!(lab.events_with(reason) > 0, "no reason speaks of `{reason}`\n{}", lab.dump());
    assert!(lab.events_with("first restart: immediate") > 0, "{}", lab.dump());
    assert_eq!(lab.unit("a")["restart"]["total"], 1);
}

#[test]
fn an_agent_that_exits_is_started_again_at_once() {
    heals("EXIT 3 || ", "exit status 3");
}

#[test]
fn so_is_one_that_a_signal_killed() {
    heals("THINK 1; CRASH 11 || ", "killed by signal 11");
}

#[test]
fn so_is_one_whose_session_somebody_killed() {
    let lab = Lab::new(FAST, &[Agent::looping("a", ""), Agent::looping("b", "")]);
    let _watch = lab.watch();
    lab.until("both idle", || lab.believed("a") == "idle" && lab.believed("b") == "idle");
    let healthy = lab.pid("b");
    lab.tmux(&["kill-session", "-t", "=t-a"]).unwrap();
    lab.until("a second run", || lab.starts("a") == 2 && lab.believed("a") == "idle");
    assert!(lab.events_with("its session is gone") > 0, "{}", lab.dump());
    assert_eq!((lab.starts("b"), lab.pid("b")), (1, healthy), "the healthy one was touched");
}

#[test]
fn a_shell_that_the_cli_left_behind_is_replaced() {
    let lab = Lab::new(FAST, &[Agent::looping("a", "SHELL || ").with("ladder = { grace_s = 1 }")]);
    let _watch = lab.watch();
    lab.until("the shell is seen", || lab.events_with("attend.shell") > 0);
    let shell = lab.pid("a");
    lab.until("a second run", || lab.starts("a") == 2 && lab.believed("a") == "idle");
    assert_ne!(lab.pid("a"), shell);
    assert!(!shell.is_some_and(lives), "the shell lives on");
    assert_eq!(lab.sessions(), ["t-a"]);
}

#[test]
fn the_second_restart_waits_and_the_sixth_does_not_come() {
    let lab = Lab::new(FAST, &[Agent::looping("a", "EXIT 1")]);
    let watch = lab.watch();
    lab.until("the second restart waits", || lab.hold("a").contains("backoff: "));
    assert_eq!(lab.starts("a"), 2, "{}", lab.dump());
    assert!(lab.hold("a").contains("of 30 s since restart 1"), "{}", lab.hold("a"));
    assert_eq!(watch.leave(), Some(0));

    // Time passes by an edit of the file: 30, 60, 120, 240 s between restarts, and five within 15 min are enough.
    for (restarts, backoff) in [(2, 30.0), (3, 60.0), (4, 120.0), (5, 240.0)] {
        lab.age("a", backoff - 8.0);
        lab.tick();
        assert_eq!(lab.starts("a"), restarts, "too early\n{}", lab.dump());
        lab.age("a", 9.0);
        lab.tick_until("the next restart", || lab.starts("a") == restarts + 1);
        lab.tick_until("its end is seen", || lab.believed("a") == "dead");
    }
    lab.tick_until("the breaker opens", || lab.hold("a").contains("circuit breaker open"));
    assert_eq!(lab.alerts_with("circuit breaker open for `a`"), 1, "{}", lab.dump());
    lab.age("a", 500.0);
    lab.tick();
    assert_eq!(lab.starts("a"), 6, "an open breaker lets nothing through\n{}", lab.dump());

    lab.ok(&["approve", "a"]);
    lab.tick_until("a restart after the approval", || lab.starts("a") == 7);
    assert_eq!(lab.alerts_with("circuit breaker open for `a`"), 1);
}

#[test]
fn an_open_breaker_lets_one_try_through_when_its_time_is_over() {
    let lab = Lab::new(FAST, &[Agent::looping("a", "EXIT 1")]);
    lab.tick_until("it died", || lab.hold("a").contains("backoff"));
    let mut file = lab.unit("a");
    let at = crate::lab::awake_s();
    file["restart"]["breaker"] = json!({"open": {"until_awake_s": at + 100.0}});
    lab.replace("units/a/unit.json", &file.to_string());
    lab.tick();
    assert!(lab.hold("a").contains("circuit breaker open for another"), "{}", lab.dump());
    let before = lab.starts("a");
    lab.age("a", 101.0);
    lab.tick_until("the one try", || lab.starts("a") == before + 1);
    lab.tick_until("it is open again", || lab.unit("a")["restart"]["breaker"]["open"].is_object());
    assert_eq!(lab.alerts_with("the one try of the half-open breaker failed"), 1, "{}", lab.dump());
}

#[test]
fn a_task_that_ended_well_or_badly_is_not_started_again() {
    let lab = Lab::new(FAST, &[Agent::task("good", "SAY hello; DONE"), Agent::task("bad", "EXIT 4")]);
    let _watch = lab.watch();
    let exit = |unit: &str| lab.unit(unit)["seen"]["exit"].as_str().unwrap_or("").to_owned();
    lab.until("both ended", || exit("good") == "exit status 0" && exit("bad") == "exit status 4");
    lab.throughout(Duration::from_secs(2), "one start each", || {
        lab.starts("good") == 1 && lab.starts("bad") == 1
    });
}

#[test]
fn a_persistent_agent_continues_its_conversation_and_a_loop_agent_gets_its_prompt_again() {
    let agents = [
        Agent::persistent("p", "IDLE 1; EXIT 1 || ").prompt("You are P."),
        Agent::looping("l", "IDLE 1; EXIT 1 || ").prompt("You are L."),
    ];
    let lab = Lab::new(FAST, &agents);
    let _watch = lab.watch();
    lab.until("both healed", || {
        lab.starts("p") == 2 && lab.times_given("l", "You are L.") >= 1 && lab.starts("l") == 2
    });
    lab.until("both idle", || lab.believed("p") == "idle" && lab.believed("l") == "idle");
    lab.until("a prompt for the new life of the loop agent", || {
        let events = lab.transcript("l");
        let second = events.iter().rposition(|event| event["type"] == "start").unwrap();
        events[second..].iter().any(|event| event["text"] == "You are L.")
    });
    let args =
        |unit: &str| lab.transcript(unit).iter().rfind(|e| e["type"] == "start").unwrap()["args"].to_string();
    assert!(args("p").contains("--continue"), "{}", lab.dump());
    assert!(!args("l").contains("--continue"), "{}", lab.dump());
}

#[test]
fn a_parent_hears_of_its_childs_death_and_return() {
    let agents =
        [Agent::persistent("boss", ""), Agent::looping("a", "THINK 2; EXIT 7 || ").with("parent = \"boss\"")];
    let lab = Lab::new(FAST, &agents);
    let _watch = lab.watch();
    lab.until("news of the death", || lab.times_given("boss", "exit status 7") == 1);
    let returned = |text: &String| text.contains("`a`: dead → ") && text.contains(", pid ");
    lab.until("news of the return", || lab.given("boss").iter().filter(|text| returned(text)).count() == 1);
    assert_eq!(lab.starts("boss"), 1);
}

//! Silence: nudge, kill with proof, tell; and what forbids the kill.

use crate::lab::{Agent, Lab, PATIENCE};
use serde_json::json;
use std::time::{Duration, Instant};

const LADDER: &str = "ladder = { cooldown_s = 1, grace_s = 1, quiet_s = 1 }";
const KILL_ONLY: &str = "ladder = { tiers = [\"kill-start\"], cooldown_s = 1, grace_s = 1, quiet_s = 1 }";

/// Waits for a kill. On a machine that is short of CPU it is rightly vetoed; then a person approves it, as they may.
#[track_caller]
fn await_kill(lab: &Lab, what: &str, unit: &str, mut holds: impl FnMut() -> bool) {
    let mut approved = false;
    lab.within(2 * PATIENCE, what, || {
        if !approved && lab.hold(unit).contains("veto: the machine is ") {
            lab.ask(&json!({"approve": {"unit": unit}}));
            approved = true;
        }
        holds()
    });
}

#[test]
fn an_idle_loop_agent_is_nudged_then_killed_with_proof_then_reported() {
    let lab = Lab::new("signal_interval = 0.3\nstall_idle = 3", &[Agent::looping("a", "").with(LADDER)]);
    let _watch = lab.watch();
    lab.until("a nudge that arrived", || lab.times_given("a", "You have been quiet") == 1);
    let first = lab.pid("a");
    await_kill(&lab, "a kill and a new start", "a", || lab.starts("a") == 2);
    assert_ne!(lab.pid("a"), first);
    assert_eq!(lab.acts("a", "kill-start"), 1);
    let killed = lab.events().into_iter().find(|event| event["text"] == "kill-start").unwrap();
    let why = killed["why"].to_string();
    assert!(why.contains("2 stale clocks needed: screen") && why.contains("tools' CPU"), "{why}");
    assert!(why.contains("no veto") || why.contains("approved"), "{why}");
    lab.until("people are told", || lab.alerts_with("its ladder is at its end") == 1);
    lab.throughout(Duration::from_secs(2), "told once, and nothing more is done", || {
        lab.alerts_with("its ladder is at its end") == 1
            && lab.starts("a") == 2
            && lab.times_given("a", "You have been quiet") == 1
    });
    assert_eq!(lab.acts("a", "nudge"), 1, "{}", lab.dump());
}

#[test]
fn a_model_that_hangs_is_killed_and_a_tool_that_works_vetoes_it() {
    let watchdog = "signal_interval = 0.3\nstall_idle = 1";
    let agents = [
        Agent::looping("hung", "HANG 0 || ").with(KILL_ONLY),
        Agent::looping("tool", "TOOL 600 || ").with(KILL_ONLY),
    ];
    let lab = Lab::new(watchdog, &agents);
    let _watch = lab.watch();
    lab.until("the tool runs", || lab.said("tool").iter().any(|line| line == "running a tool"));
    let busy = lab.pid("tool");
    await_kill(&lab, "the hung one is killed", "hung", || lab.starts("hung") >= 2);
    let why = lab.events().into_iter().find(|e| e["text"] == "kill-start").unwrap()["why"].to_string();
    assert!(why.contains("stall.hung") && why.contains("4 × stall_idle"), "{why}");
    assert_eq!((lab.starts("tool"), lab.pid("tool")), (1, busy), "{}", lab.dump());
    assert_eq!(lab.acts("tool", "kill-start"), 0);
}

#[test]
fn a_declared_wait_is_waited_for_and_not_longer() {
    let watchdog = "signal_interval = 0.3\nstall_idle = 1\nstall_grace = 1";
    let agents =
        [Agent::looping("waits", "WAIT 6 || ").with(LADDER), Agent::looping("idles", "").with(LADDER)];
    let lab = Lab::new(watchdog, &agents);
    let _watch = lab.watch();
    lab.until("the wait is declared", || {
        lab.said("waits").iter().any(|line| line.starts_with("WAITING-UNTIL"))
    });
    let declared = Instant::now();
    lab.until("the one that just idles is nudged", || lab.times_given("idles", "You have been quiet") == 1);
    lab.until("the one that waited too", || lab.times_given("waits", "You have been quiet") == 1);
    let passed = declared.elapsed();
    assert!(
        passed >= Duration::from_millis(6500),
        "nudged {passed:?} after it declared a wait of 6 s (grace 1 s)"
    );
    assert!(lab.events_with("stall.overdue") > 0, "{}", lab.dump());
}

#[test]
fn a_wait_in_the_units_file_counts_too() {
    let watchdog = "signal_interval = 0.3\nstall_idle = 1\nstall_grace = 1";
    let lab =
        Lab::new(watchdog, &[Agent::looping("a", "").with(LADDER), Agent::looping("b", "").with(LADDER)]);
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(600);
    lab.touch("units/a/WAITING-UNTIL", &format!("{later}\n"));
    let _watch = lab.watch();
    lab.until("the other one is nudged", || lab.times_given("b", "You have been quiet") == 1);
    lab.throughout(Duration::from_secs(2), "it is let alone", || lab.given("a").is_empty());
}

#[test]
fn a_persistent_agent_may_idle() {
    let watchdog = "signal_interval = 0.3\nstall_idle = 1";
    let lab = Lab::new(watchdog, &[Agent::persistent("p", ""), Agent::looping("l", "").with(LADDER)]);
    let _watch = lab.watch();
    lab.until("the loop agent is nudged", || lab.times_given("l", "You have been quiet") == 1);
    lab.throughout(Duration::from_secs(2), "it is let alone", || {
        lab.given("p").is_empty() && lab.starts("p") == 1
    });
}

#[test]
fn a_kill_is_withheld_while_a_persons_draft_stands() {
    let watchdog = "signal_interval = 0.3\nstall_idle = 1";
    let script = "DRAFT half a thought || ";
    let agents = [Agent::looping("a", script).with(KILL_ONLY), Agent::looping("b", "").with(KILL_ONLY)];
    let lab = Lab::new(watchdog, &agents);
    let _watch = lab.watch();
    lab.until("people are told of the draft", || {
        lab.alerts_with("unsent text in its composer: half a thought") == 1
    });
    await_kill(&lab, "the idle one is killed", "b", || lab.starts("b") >= 2);
    assert_eq!(lab.starts("a"), 1, "{}", lab.dump());
    assert!(lab.screen("a").contains("> half a thought"), "{}", lab.dump());
    assert!(lab.given("a").is_empty());
}

#[test]
fn watch_heal_only_heals() {
    let watchdog = "signal_interval = 0.3\nstall_idle = 1";
    let agents = [
        Agent::looping("heal", "").with("watch = \"heal\"").with(LADDER),
        Agent::looping("all", "").with(LADDER),
        Agent::looping("none", "IDLE 1; EXIT 3").with("watch = \"none\""),
    ];
    let lab = Lab::new(watchdog, &agents);
    let _watch = lab.watch();
    lab.until("the fully watched one is nudged", || lab.times_given("all", "You have been quiet") == 1);
    lab.until("the unwatched one is dead", || lab.believed("none") == "dead");
    lab.throughout(Duration::from_secs(2), "nothing else is done", || {
        lab.given("heal").is_empty() && lab.starts("none") == 1
    });
}

#[test]
fn an_agent_that_works_is_never_disturbed() {
    let watchdog = "signal_interval = 0.3\nstall_idle = 2";
    let lab = Lab::new(watchdog, &[Agent::looping("a", "LOOP").with(LADDER)]);
    let _watch = lab.watch();
    lab.until("it works", || lab.said("a").len() > 3);
    let acts = lab.unit("a")["acts"].clone();
    lab.throughout(Duration::from_secs(6), "no act", || {
        lab.given("a").is_empty() && lab.starts("a") == 1 && lab.unit("a")["acts"] == acts
    });
    assert!(lab.alerts().is_empty(), "{}", lab.dump());
}

//! What waits for a person, a key or a time: dialogs, drafts, errors, limits, dead credentials.

use crate::FAST;
use crate::lab::{Agent, Lab};
use serde_json::json;
use std::time::Duration;

const LIMITS: &str = "signal_interval = 0.3\nlimit_reset_slack = 0\nlimit_probe_fallback = 2\nstagger_s = 1";

#[test]
fn a_permission_dialog_waits_for_a_person_who_is_told_once() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "ASK")]);
    let _watch = lab.watch();
    lab.until("people are told", || lab.alerts_with("`a` asks: ") == 1);
    let id = lab.ask(&json!({"nudge": {"unit": "a", "text": "never an answer"}}));
    lab.until("the text waits", || lab.answer(&id).is_some());
    lab.throughout(Duration::from_secs(3), "nobody answers it", || {
        lab.said("a").is_empty() && lab.given("a").is_empty() && lab.alerts_with("`a` asks: ") == 1
    });
    lab.press("a", &["2"]);
    lab.until("the text arrives after the dialog", || lab.given("a") == ["never an answer"]);
    assert_eq!(lab.said("a").first().map(String::as_str), Some("denied"));
}

#[test]
fn a_permission_dialog_is_answered_as_the_config_says() {
    let agents = [
        Agent::persistent("yes", "ASK").with("permission = \"approve\""),
        Agent::persistent("no", "ASK").with("permission = \"deny\""),
    ];
    let lab = Lab::new(FAST, &agents);
    let _watch = lab.watch();
    lab.until("both are answered", || lab.said("yes") == ["ran"] && lab.said("no") == ["denied"]);
    lab.until("both idle", || lab.believed("yes") == "idle" && lab.believed("no") == "idle");
    assert_eq!((lab.acts("yes", "approve dialog"), lab.acts("no", "deny dialog")), (1, 1), "{}", lab.dump());
    assert!(lab.alerts().is_empty(), "{}", lab.dump());
}

#[test]
fn the_start_up_dialog_is_answered_and_the_kickoff_comes_after_it() {
    let lab = Lab::new(FAST, &[Agent::looping("a", "").env("DEMO_TRUST", "1").prompt("Begin.")]);
    let _watch = lab.watch();
    lab.until("the kickoff", || lab.given("a") == ["Begin."]);
    assert_eq!(lab.acts("a", "answer dialog"), 1, "{}", lab.dump());
    assert_eq!(lab.starts("a"), 1);
}

#[test]
fn a_text_whose_submit_key_is_lost_is_submitted_again_and_never_pasted_twice() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "FLAKY-ENTER 2")]);
    let _watch = lab.watch();
    lab.until("idle", || lab.believed("a") == "idle");
    lab.ok(&["nudge", "a", "are", "you", "there?"]);
    assert_eq!(lab.given("a"), ["are you there?"]);
    assert_eq!((lab.acts("a", "paste text"), lab.acts("a", "submit text")), (1, 3), "{}", lab.dump());
}

#[test]
fn a_text_that_three_keys_could_not_submit_is_told_and_submitted_once_more_later() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "FLAKY-ENTER 3")]);
    let _watch = lab.watch();
    lab.until("idle", || lab.believed("a") == "idle");
    let id = lab.ask(&json!({"nudge": {"unit": "a", "text": "stranded words"}}));
    lab.until("it is told", || lab.alerts_with("stays in the composer after 3 presses") == 1);
    assert!(lab.answer(&id).is_some());
    lab.until("the stranded text is submitted", || lab.given("a") == ["stranded words"]);
    assert_eq!((lab.acts("a", "paste text"), lab.acts("a", "submit draft")), (1, 1), "{}", lab.dump());
}

#[test]
fn a_persons_draft_is_kept_and_told() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "")]);
    let _watch = lab.watch();
    lab.until("idle", || lab.believed("a") == "idle");
    lab.press("a", &["-l", "my own words"]);
    lab.until("people are told", || lab.alerts_with("unsent text in its composer: my own words") == 1);
    let id = lab.ask(&json!({"nudge": {"unit": "a", "text": "from a colleague"}}));
    lab.until("the text waits", || lab.hold("a").contains("a person's draft stands in the composer"));
    lab.throughout(Duration::from_secs(1), "the draft stands", || lab.screen("a").contains("> my own words"));
    lab.press("a", &["Enter"]);
    lab.until("both arrive, in order", || lab.given("a") == ["my own words", "from a colleague"]);
    assert!(lab.answer(&id).is_some());
    assert_eq!(lab.alerts_with("unsent text"), 1);
}

#[test]
fn after_a_server_error_it_is_told_to_go_on() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "ERROR server 2")]);
    lab.tick_until("the error is seen", || lab.hold("a").contains("of 60 s since the error"));
    assert!(lab.given("a").is_empty());
    // The first "go on" fails too (the error lasts for two prompts), the second comes after twice the time.
    for (n, seconds) in [(1, 60.0), (2, 120.0)] {
        lab.age("a", seconds - 15.0);
        lab.tick();
        assert_eq!(lab.given("a").len(), n - 1, "too early\n{}", lab.dump());
        lab.age("a", 16.0);
        lab.tick_until("it is told to go on", || lab.given("a").len() == n);
    }
    lab.tick_until("it goes on", || lab.believed("a") == "idle");
    assert!(lab.given("a").iter().all(|text| text.contains("Please go on")), "{}", lab.dump());
    assert!(lab.alerts().is_empty(), "{}", lab.dump());
}

#[test]
fn dead_credentials_hold_the_whole_account_and_nobody_else() {
    let agents = [
        Agent::persistent("bad", "ERROR auth 9").with("account = \"team\""),
        Agent::persistent("mate", "THINK 2; EXIT 1").with("account = \"team\""),
        Agent::persistent("other", "THINK 2; EXIT 1 || ").with("account = \"mine\""),
    ];
    let lab = Lab::new(FAST, &agents);
    let _watch = lab.watch();
    lab.until("people are told", || lab.alerts_with("its credentials are refused") == 1);
    lab.until("the mate is held", || {
        lab.hold("mate").contains("account `team` is held: `bad` shows an auth error")
    });
    lab.until("the other one is healed", || lab.starts("other") == 2);
    lab.throughout(Duration::from_secs(1), "the account is left alone", || {
        lab.starts("mate") == 1 && lab.given("bad").is_empty() && lab.starts("bad") == 1
    });
    assert_eq!(lab.alerts_with("its credentials are refused"), 1);
}

#[test]
fn a_limit_is_waited_out_and_one_of_the_account_asks_first() {
    let agents = [
        Agent::looping("a", "LIMIT 7 s || ").with("account = \"team\""),
        Agent::looping("b", "LIMIT 7 s || ").with("account = \"team\""),
    ];
    let lab = Lab::new(&format!("{LIMITS}\nstall_idle = 2"), &agents);
    let _watch = lab.watch();
    lab.until("both limited", || lab.believed("a") == "limited" && lab.believed("b") == "limited");
    lab.until("the first probe", || lab.given("a").len() + lab.given("b").len() == 1);
    let seen = lab.events_with("limited until");
    assert_eq!(seen, 2, "{}", lab.dump());
    let first = if lab.given("a").is_empty() { "b" } else { "a" };
    let second = if first == "a" { "b" } else { "a" };
    lab.until("the second one follows", || lab.given(second).len() == 1);
    assert!(
        lab.said(first).iter().any(|line| line.starts_with("ACK: [watchkeeper]")),
        "the second asked before the first had its answer\n{}",
        lab.dump()
    );
    lab.until("both limits are over", || lab.events_with("limit over after") == 2);
    assert_eq!((lab.starts("a"), lab.starts("b")), (1, 1));
}

#[test]
fn the_limits_menu_is_closed_and_its_limit_waited_out() {
    let lab = Lab::new(LIMITS, &[Agent::persistent("a", "LIMIT-MENU 6 s")]);
    let _watch = lab.watch();
    lab.until("the menu is closed", || {
        lab.acts("a", "close limit menu") == 1 && !lab.screen("a").contains("2. Quit")
    });
    assert!(lab.given("a").is_empty());
    lab.until("the limit is over", || lab.events_with("limit over after") == 1);
    assert_eq!((lab.given("a").len(), lab.starts("a")), (1, 1), "{}", lab.dump());
}

#[test]
fn a_limited_agent_that_dies_is_not_started_before_its_reset() {
    let lab = Lab::new(LIMITS, &[Agent::persistent("a", "LIMIT 7 s || "), Agent::persistent("b", "")]);
    let _watch = lab.watch();
    lab.until("limited", || lab.believed("a") == "limited");
    lab.tmux(&["kill-session", "-t", "=t-a"]).unwrap();
    lab.until("withheld", || lab.hold("a").contains("restart: its account is limited until"));
    assert_eq!(lab.starts("a"), 1);
    lab.until("started after the reset", || lab.starts("a") == 2);
}

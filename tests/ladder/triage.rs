//! The tier `triage` with a real command: what it is given, each answer, what is no answer, and what becomes of a command
//! that hangs, outlives its watchdog or can't be started.

use crate::lab::{Agent, Lab, PATIENCE, lives};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

/// Silent after a second.
const FAST: &str = "signal_interval = 0.3\nstall_idle = 1";
const ASK: &str =
    "ladder = { tiers = [\"triage\", \"terminate\"], cooldown_s = 1, grace_s = 1, quiet_s = 1 }";

fn silent(name: &str) -> Agent {
    Agent::looping(name, &format!("SAY here is {name} || ")).with(ASK)
}

/// A fleet of these, judged by a shell script with this text.
fn fleet(names: &[&str], script: &str, timeout_s: u32) -> Lab {
    let triage = format!("{FAST}\ntriage = {{ command = [\"./judge.sh\"], timeout_s = {timeout_s} }}");
    let agents: Vec<Agent> = names.iter().map(|name| silent(name)).collect();
    let lab = Lab::weighing(names.len(), &triage, &agents);
    let path = lab.path().join("judge.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    lab
}

fn read(lab: &Lab, path: &str) -> String {
    std::fs::read_to_string(lab.path().join(path)).unwrap_or_default()
}

/// Waits; where the machine is short of CPU an end is rightly vetoed, and a person approves it, as they may.
#[track_caller]
fn until_ended(lab: &Lab, unit: &str, what: &str, mut holds: impl FnMut() -> bool) {
    let mut approved = 0;
    lab.within(2 * PATIENCE, what, || {
        if approved < 20 && lab.hold(unit).contains("veto: the machine is ") {
            lab.ask(&json!({"approve": {"unit": unit}}));
            approved += 1;
        }
        holds()
    });
}

#[test]
fn each_answer_is_followed_and_what_is_none_is_another_window() {
    let script = "cat > input-$WATCHKEEPER_UNIT; env | grep ^WATCHKEEPER_ > env-$WATCHKEEPER_UNIT\n\
        case $WATCHKEEPER_UNIT in end) echo it hangs; echo terminate ;; again) echo retry ;; wait) echo extend ;;\n\
        junk) echo terminate it ;; mute) ;; fail) echo terminate; exit 3 ;; esac";
    let names = ["end", "again", "wait", "junk", "mute", "fail"];
    let lab = fleet(&names, script, 20);
    let _watch = lab.watch();
    until_ended(&lab, "end", "the one is ended and started again", || lab.starts("end") >= 2);
    lab.until("the other is nudged", || lab.times_given("again", "You have been quiet") >= 1);
    let said = |unit: &str, text: &str| {
        lab.events()
            .iter()
            .any(|e| e["unit"] == unit && e["text"].as_str().is_some_and(|t| t.starts_with(text)))
    };
    for (unit, text) in [
        ("end", "triage says terminate: terminate is next"),
        ("again", "triage says retry: one more nudge"),
        ("wait", "triage says extend: it gets another window"),
        ("junk", "triage ended with a line that is none of retry, terminate, extend: it gets another window"),
        ("mute", "triage said nothing: it gets another window"),
        ("fail", "triage failed (terminate): it gets another window"),
    ] {
        lab.until(text, || said(unit, text));
    }
    for unit in ["again", "wait", "junk", "mute", "fail"] {
        assert_eq!((lab.starts(unit), lab.acts(unit, "terminate")), (1, 0), "{unit}: {}", lab.dump());
    }
    for unit in ["junk", "mute", "fail"] {
        assert_eq!(lab.alerts_with(&format!("`{unit}` is stalled, and triage")), 1, "{}", lab.dump());
    }
    assert_eq!(lab.alerts_with("gets another window"), 3, "an answer is no trouble: {}", lab.dump());
    assert_eq!(lab.acts("end", "nudge"), 0);
    // What it was told.
    let input = read(&lab, "input-end");
    assert!(input.contains("here is end") && input.lines().count() <= 50, "{input}");
    let env = read(&lab, "env-end");
    for variable in
        ["WATCHKEEPER_UNIT=end\n", "WATCHKEEPER_SYMPTOM=idle", "WATCHKEEPER_IDLE_S=", "WATCHKEEPER_DIR="]
    {
        assert!(env.contains(variable), "{variable}: {env}");
    }
    // Never more than three in one tick.
    let mut ticks: BTreeMap<String, usize> = BTreeMap::new();
    for event in lab.events().iter().filter(|e| e["kind"] == "act" && e["text"] == "triage") {
        *ticks.entry(event["at"].to_string()).or_default() += 1;
    }
    assert!(ticks.values().all(|count| *count <= 3), "{ticks:?}");
}

#[test]
fn a_command_that_hangs_is_ended_with_all_its_children_at_its_deadline() {
    let script = "echo $$ >> pids; (trap '' TERM; sh -c 'echo $PPID' >> pids; while :; do sleep 0.2; done) &\n\
        echo terminate; sleep 600";
    let lab = fleet(&["a"], script, 1);
    let _watch = lab.watch();
    let text = "triage failed (it was ended after 1 s, its deadline): it gets another window";
    lab.until(text, || lab.events_with(text) >= 1);
    let pids = read(&lab, "pids");
    // (It may have been asked again meanwhile.)
    let of_the_first: Vec<i32> = pids.lines().take(2).map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(of_the_first.len(), 2, "{pids}");
    assert!(of_the_first.iter().all(|pid| !lives(*pid)), "{of_the_first:?}");
    assert_eq!((lab.starts("a"), lab.acts("a", "terminate")), (1, 0), "{}", lab.dump());
}

#[test]
fn a_watchdog_that_is_killed_while_it_asks_leaves_the_answer_to_the_next_one() {
    let script = "echo asked >> asked; while [ ! -e go ]; do sleep 0.1; done; echo terminate";
    let lab = fleet(&["a"], script, 60);
    let watch = lab.watch();
    lab.until("it is asked", || read(&lab, "asked") == "asked\n");
    watch.kill();
    std::fs::write(lab.path().join("go"), "").unwrap();
    let _watch = lab.watch();
    until_ended(&lab, "a", "the answer is followed", || lab.starts("a") >= 2);
    assert_eq!(lab.events_with("triage says terminate"), 1, "{}", lab.dump());
    let asked = lab.acts("a", "triage");
    assert_eq!(read(&lab, "asked").lines().count(), asked, "each question once: {}", lab.dump());
}

/// Nobody can be asked: nothing behind the tier comes, and a person hears and sees it.
#[track_caller]
fn nobody_answers(triage: &str, why: &str) {
    let lab = Lab::new(&format!("{FAST}\n{triage}"), &[silent("a")]);
    let _watch = lab.watch();
    lab.until("two windows", || lab.events_with(": it gets another window") >= 2);
    lab.until("people are told", || lab.alerts_with(&format!("`a` is stalled, and {why}")) == 1);
    // (Its exit code says that somebody waits for a person.)
    let shown = lab.run(&["status"]).out;
    assert!(shown.contains(&format!("silent, and {why}")), "{shown}");
    assert_eq!((lab.starts("a"), lab.acts("a", "terminate")), (1, 0), "{}", lab.dump());
    assert_eq!(lab.alerts_with("another window"), 1, "{}", lab.dump());
}

#[test]
fn without_a_command_a_person_sees_it() {
    nobody_answers("", "[watchdog] has no `triage` command");
}

#[test]
fn a_command_that_can_not_be_started_is_seen_too() {
    nobody_answers("triage = { command = [\"./missing.sh\"] }", "triage failed (it could not be started");
}

//! Cooperative services under the built binary: the example's own script plays each failure, with real processes and real
//! signals on a tmux server of its own. One test per failure.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod failopen;
mod triage;

#[path = "../lab/mod.rs"]
mod lab;

use lab::{Lab, PATIENCE, lives};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cooperative-service/service.sh");
const FAST: &str = "signal_interval = 0.3";

/// The example's service, in a repository of its own, and faster.
fn service(watchdog: &str, ladder: &str) -> Lab {
    let lab = Lab::new(watchdog, &[]);
    let dir = lab.path().join("svc");
    std::fs::create_dir(&dir).unwrap();
    std::fs::copy(SCRIPT, dir.join("service.sh")).unwrap();
    git(&lab, &["init", "-q", "-b", "main"]);
    commit(&lab, "first");
    let unit = format!(
        "[[service]]\nname = \"s\"\ndir = \"svc\"\ncommand = [\"./service.sh\"]\nenv = {{ BEAT_S = \"0.1\" }}\n\
         cooperative = {{ heartbeat_stale_s = 4 }}\n\
         ladder = {{ {ladder}cooldown_s = 1, grace_s = 1, quiet_s = 1, breaker_s = 600 }}\n"
    );
    let text = std::fs::read_to_string(lab.config()).unwrap();
    std::fs::write(lab.config(), text + &unit).unwrap();
    lab
}

fn git(lab: &Lab, args: &[&str]) -> String {
    let mut command: Command = lab.command("git");
    command
        .arg("-C")
        .arg(lab.path().join("svc"))
        .args(["-c", "user.name=t", "-c", "user.email=t@t"])
        .args(args);
    let ended = lab.finish(command);
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.err);
    ended.out.trim().to_owned()
}

fn commit(lab: &Lab, subject: &str) -> String {
    git(lab, &["commit", "-q", "--allow-empty", "-m", subject]);
    git(lab, &["rev-parse", "HEAD"])
}

fn mode(lab: &Lab, mode: &str) {
    let path = lab.path().join("svc/mode");
    if mode.is_empty() { std::fs::remove_file(path).unwrap() } else { std::fs::write(path, mode).unwrap() }
}

fn version(lab: &Lab) -> String {
    std::fs::read_to_string(lab.state("units/s/version")).unwrap_or_default().trim().to_owned()
}

/// Waits; where the machine is short of CPU every remedy is rightly vetoed, and a person approves it, as they may.
#[track_caller]
fn until(lab: &Lab, what: &str, mut holds: impl FnMut() -> bool) {
    let mut approved = 0;
    lab.within(2 * PATIENCE, what, || {
        if approved < 20 && lab.hold("s").contains("veto: the machine is ") {
            lab.ask(&json!({"approve": {"unit": "s"}}));
            approved += 1;
        }
        holds()
    });
}

/// It runs and beats; its process.
#[track_caller]
fn well(lab: &Lab) -> i32 {
    until(lab, "a heartbeat", || lab.state("units/s/heartbeat").exists() && lab.believed("s") == "busy");
    lab.pid("s").unwrap()
}

#[track_caller]
fn another(lab: &Lab, than: i32) {
    until(lab, "another process", || lab.pid("s").is_some_and(|pid| pid != than && lives(pid)));
}

#[test]
fn hung_but_alive_it_is_asked_in_vain_then_ended_and_beats_again() {
    let lab = service(FAST, "");
    let _watch = lab.watch();
    let first = well(&lab);
    mode(&lab, "hang");
    until(&lab, "its marker", || lab.state("units/s/RESTART").exists());
    let text = std::fs::read_to_string(lab.state("units/s/RESTART")).unwrap();
    assert!(text.contains(" watchkeeper: ") && text.ends_with('\n'), "{text}");
    until(&lab, "the terminate tier", || lab.acts("s", "terminate") >= 1);
    mode(&lab, "");
    another(&lab, first);
    until(&lab, "its old marker is gone", || !lab.state("units/s/RESTART").exists());
    until(&lab, "the ladder starts over", || lab.unit("s")["ladder"]["tier"] == 0);
    assert_eq!(lab.acts("s", "request-restart"), 1, "{}", lab.dump());
    assert!(!lives(first));
}

#[test]
fn a_request_is_honoured_by_exit_42_and_costs_nothing() {
    let lab = service(FAST, "");
    let _watch = lab.watch();
    let first = well(&lab);
    let later = jiff::Timestamp::now();
    lab.touch("units/s/RESTART", &format!("{later} ann: by hand\n"));
    another(&lab, first);
    assert!(lab.events_with("restart.requested") >= 1, "{}", lab.dump());
    assert!(lab.unit("s")["restart"]["past_awake_s"].as_array().unwrap().is_empty(), "{}", lab.dump());
    assert!(!lab.state("units/s/RESTART").exists(), "its target took it");
}

#[test]
fn stale_after_a_commit_in_its_repository_it_comes_back_with_the_new_one() {
    let lab = service(FAST, "");
    let _watch = lab.watch();
    let first = well(&lab);
    let old = version(&lab);
    // No verdict while a merge is under way, however long.
    let merging = lab.path().join("svc/.git/MERGE_HEAD");
    std::fs::write(&merging, "x").unwrap();
    let new = commit_past_merge(&lab, &merging);
    assert_ne!(old, new);
    lab.throughout(Duration::from_secs(7), "nothing is done during a merge", || lab.pid("s") == Some(first));
    std::fs::remove_file(&merging).unwrap();
    another(&lab, first);
    until(&lab, "the new commit runs", || version(&lab) == new);
    assert_eq!(lab.acts("s", "request-restart"), 1, "{}", lab.dump());
    let again = lab.pid("s");
    lab.throughout(Duration::from_secs(3), "and once is enough", || lab.pid("s") == again);
}

/// The branch moves while git says that it is in the midst of something.
fn commit_past_merge(lab: &Lab, merging: &std::path::Path) -> String {
    let tree = git(lab, &["write-tree"]);
    let new = git(lab, &["commit-tree", "-p", "HEAD", "-m", "second", &tree]);
    git(lab, &["update-ref", "refs/heads/main", &new]);
    assert!(merging.exists());
    new
}

#[test]
fn ignoring_term_it_is_killed_after_the_grace() {
    let lab = service(FAST, "tiers = [\"terminate\", \"alert\"], ");
    let _watch = lab.watch();
    let first = well(&lab);
    mode(&lab, "deaf");
    until(&lab, "TERM", || lab.events_with("ending.term") >= 1);
    mode(&lab, "");
    until(&lab, "KILL after the grace", || lab.events_with("ending.kill") >= 1);
    another(&lab, first);
    assert!(!lives(first));
    let kill = lab.events().into_iter().find(|e| e["why"]["rule"] == "ending.kill").unwrap();
    assert!(kill["why"]["compared"].to_string().contains("grace 1 s"), "{kill}");
}

#[test]
fn its_orphans_are_ended_with_it() {
    let lab = service(FAST, "tiers = [\"terminate\", \"alert\"], ");
    let _watch = lab.watch();
    let first = well(&lab);
    mode(&lab, "orphan");
    let path = lab.path().join("svc/orphan");
    let pid = || std::fs::read_to_string(&path).ok()?.trim().parse::<i32>().ok();
    until(&lab, "a child that ignores TERM", || pid().is_some_and(lives));
    let child = pid().unwrap();
    until(&lab, "TERM", || lab.events_with("ending.term") >= 1);
    mode(&lab, "");
    another(&lab, first);
    assert!(!lives(child), "it was started anew while a child of the old one lives: {}", lab.dump());
}

#[test]
fn crash_looping_it_meets_the_breaker() {
    let lab = service(FAST, "");
    mode(&lab, "crash");
    let _watch = lab.watch();
    until(&lab, "a restart", || lab.acts("s", "restart") >= 1);
    until(&lab, "backoff", || lab.hold("s").contains("backoff"));
    // The ladder has no part in it: what does not run is started, not asked.
    assert_eq!(lab.acts("s", "request-restart"), 0);
}

#[test]
fn dying_before_it_wrote_anything_it_is_simply_dead() {
    let lab = service(FAST, "");
    mode(&lab, "early");
    let _watch = lab.watch();
    until(&lab, "a restart", || lab.acts("s", "restart") >= 1);
    assert!(!lab.state("units/s/heartbeat").exists());
    until(&lab, "backoff", || lab.hold("s").contains("backoff"));
    assert_eq!(lab.acts("s", "request-restart") + lab.acts("s", "kill-start"), 0, "{}", lab.dump());
}

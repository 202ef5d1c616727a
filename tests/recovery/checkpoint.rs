//! Recovery from a checkpoint: a real agent in a real repository.

use crate::FAST;
use crate::lab::{Agent, Lab, signal};
use std::process::Command;

fn git(lab: &Lab, words: &[&str]) {
    let mut command = lab.command("git");
    command
        .arg("-C")
        .arg(lab.path().join("work"))
        .args(["-c", "user.name=w", "-c", "user.email=w@x"])
        .args(words);
    let ended = lab.finish(command);
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
}

fn repository(lab: &Lab) {
    std::fs::create_dir(lab.path().join("work")).unwrap();
    git(lab, &["init", "-q", "-b", "feature"]);
    std::fs::write(lab.path().join("work/engine.rs"), "one\n").unwrap();
    git(lab, &["add", "."]);
    git(lab, &["commit", "-qm", "first"]);
    std::fs::write(lab.path().join("work/engine.rs"), "one\ntwo\n").unwrap();
}

#[test]
fn a_crashed_agent_is_told_its_checkpoint_its_branch_and_what_is_changed() {
    let agents = [
        Agent::persistent("boss", ""),
        Agent::looping("a", "THINK 1; CRASH 11 || ")
            .prompt("Build.")
            .with("parent = \"boss\"")
            .with("dir = \"work\""),
    ];
    let lab = Lab::new(FAST, &agents);
    repository(&lab);
    std::fs::create_dir_all(lab.state("units/a")).unwrap();
    let secret = format!("sk-ant-api03-{}", "Ab1".repeat(12));
    let checkpoint = format!("{{\"next\": \"wire the engine\", \"key\": \"{secret}\"}}");
    std::fs::write(lab.state("units/a/checkpoint.json"), checkpoint).unwrap();
    let _watch = lab.watch();
    lab.until("the second run is told", || {
        lab.given("a").iter().any(|text| text.contains("wire the engine"))
    });
    let given = lab.given("a").join("\n");
    for part in ["Branch: feature", "engine.rs | 1 +", "attempt 1 of 1", "killed by signal 11", "Build."] {
        assert!(given.contains(part), "{part} is missing:\n{given}");
    }
    assert!(!given.contains(&secret), "{given}");
    lab.until("its parent hears of it", || lab.times_given("boss", "recovery 1 of 1") == 1);
    assert_eq!(lab.unit("a")["recovery"]["attempts"], 1);
    assert_eq!(lab.unit("a")["recovery"]["handoffs"][0]["kind"], "crash");
    lab.until("the job's folder goes", || {
        std::fs::read_dir(lab.state("jobs")).is_ok_and(|mut entries| entries.next().is_none())
    });
}

#[test]
fn a_hostile_checkpoint_stops_no_restart() {
    let agents = ["a", "b", "c"].map(|name| Agent::looping(name, "THINK 1; CRASH 11 || ").prompt("Build."));
    let lab = Lab::weighing(2, FAST, &agents);
    for name in ["a", "b", "c"] {
        std::fs::create_dir_all(lab.state(&format!("units/{name}"))).unwrap();
    }
    std::fs::write(lab.state("units/a/checkpoint.json"), "[".repeat(60_000)).unwrap();
    let fifo = lab.state("units/b/checkpoint.json");
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    std::os::unix::fs::symlink("/etc/passwd", lab.state("units/c/checkpoint.json")).unwrap();
    let _watch = lab.watch();
    for name in ["a", "b", "c"] {
        lab.until("a second run", || lab.starts(name) == 2 && lab.believed(name) == "idle");
        assert!(lab.given(name).iter().all(|text| !text.contains("last conversation")), "{name}");
    }
    lab.until("people are told", || lab.alerts_with("can't be used") == 3);
}

#[test]
fn a_conversation_that_was_cut_off_is_continued_and_told_to_go_on_and_one_at_rest_is_not() {
    let agents = [Agent::persistent("busy", "THINK 600 || "), Agent::persistent("rests", "")];
    let lab = Lab::new(FAST, &agents);
    let _watch = lab.watch();
    lab.until("one works, one rests", || lab.believed("busy") == "busy" && lab.believed("rests") == "idle");
    for unit in ["busy", "rests"] {
        signal(lab.pid(unit).unwrap(), rustix::process::Signal::KILL);
    }
    lab.until("it is told", || lab.times_given("busy", "This is the same conversation") == 1);
    assert!(lab.times_given("busy", "killed by signal 9") == 1, "{}", lab.dump());
    lab.until("the other one is back", || lab.starts("rests") == 2 && lab.believed("rests") == "idle");
    assert!(lab.given("rests").is_empty(), "{}", lab.dump());
    assert_eq!(lab.unit("busy")["recovery"]["attempts"], 1);
}

//! The host plays up: tmux killed, hung or shared; a second watchdog; a broken config; the watchdog killed or replaced.

use crate::FAST;
use crate::lab::{Agent, Lab, lives, signal};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

fn idlers(names: &[&str]) -> Vec<Agent> {
    names.iter().map(|name| Agent::persistent(name, "")).collect()
}

fn all_idle(lab: &Lab, names: &[&str]) -> bool {
    names.iter().all(|name| lab.believed(name) == "idle")
}

#[test]
fn a_second_one_is_told_who_acts() {
    let lab = Lab::new(FAST, &idlers(&["a"]));
    let watch = lab.watch();
    lab.until("it acts", || all_idle(&lab, &["a"]));
    for words in ["run", "tick"] {
        let second = lab.run(&[words]);
        assert_eq!(second.code, Some(75), "{second:?}");
        assert!(second.err.contains(&format!("`watchkeeper run`, pid {}", watch.pid())), "{second:?}");
        assert!(second.err.contains("hint: "), "{second:?}");
    }
    assert_eq!(watch.leave(), Some(0));
    lab.tick();
}

#[test]
fn a_foreign_session_with_the_wanted_name_is_not_touched() {
    let lab = Lab::new(FAST, &idlers(&["a", "b"]));
    lab.tmux(&["new-session", "-d", "-s", "t-a", "exec sleep 600"]).unwrap();
    let foreign = lab.pid("a").unwrap();
    let _watch = lab.watch();
    lab.until("people are told", || {
        lab.alerts_with("the session that `a` needs belongs to somebody else") == 1
    });
    lab.until("the other one runs", || all_idle(&lab, &["b"]));
    lab.throughout(Duration::from_secs(1), "left alone", || lab.pid("a") == Some(foreign));
    assert_eq!(lab.starts("a"), 0);
    let down = lab.run(&["down", "a", "--timeout", "3"]);
    assert_eq!(lab.pid("a"), Some(foreign), "{down:?}");
    assert_eq!(lab.run(&["up", "a"]).code, Some(1));
    assert_eq!((lab.pid("a"), lab.starts("a")), (Some(foreign), 0));
}

#[test]
fn a_pane_that_a_person_moved_into_a_session_of_theirs_gets_no_second_copy() {
    let lab = Lab::new(FAST, &idlers(&["a", "b"]));
    let _watch = lab.watch();
    lab.until("both run", || all_idle(&lab, &["a", "b"]));
    lab.tmux(&["new-session", "-d", "-s", "mine", "exec sleep 600"]).unwrap();
    lab.tmux(&["join-pane", "-d", "-s", "=t-a:", "-t", "=mine:"]).unwrap();
    lab.until("people are told", || lab.alerts_with("the pane of `a` was moved to session `mine`") == 1);
    lab.throughout(Duration::from_secs(3), "no second one", || lab.starts("a") == 1);
    assert!(!lab.sessions().contains(&"t-a".to_owned()));
    // When it ends there, it comes back.
    lab.tmux(&["kill-session", "-t", "=mine"]).unwrap();
    lab.until("it is started anew", || lab.starts("a") == 2 && all_idle(&lab, &["a"]));
    assert_eq!(lab.alerts_with("was moved"), 1);
}

#[test]
fn two_fleets_on_one_server_leave_each_other_alone() {
    let lab = Lab::new(FAST, &idlers(&["a", "b"]));
    // The other fleet: its own config and state, the same server, another prefix and one unit of the same name.
    let text = std::fs::read_to_string(lab.config()).unwrap();
    let other = lab.path().join("other.toml");
    let text = text.replace("t-", "u-").replace("signal_interval", "state_dir = \".other\"\nsignal_interval");
    let text = text.replace("/a.jsonl", "/a-other.jsonl").replace("/b.jsonl", "/b-other.jsonl");
    std::fs::write(&other, text).unwrap();
    let second = |words: &[&str]| {
        let mut command = lab.command(env!("CARGO_BIN_EXE_watchkeeper"));
        command.arg("--config").arg(&other).args(words);
        lab.finish(command)
    };
    let _watch = lab.watch();
    lab.until("the first fleet runs", || all_idle(&lab, &["a", "b"]));
    assert_eq!(second(&["tick"]).code, Some(0));
    assert_eq!(second(&["tick"]).code, Some(0));
    let sessions: BTreeSet<String> = lab.sessions().into_iter().collect();
    assert_eq!(sessions, ["t-a", "t-b", "u-a", "u-b"].map(str::to_owned).into());
    let pids = (lab.pid("a"), lab.pid("b"));
    let down = second(&["down", "--timeout", "20"]);
    assert_eq!(down.code, Some(0), "{down:?}");
    lab.until("only the second fleet is gone", || lab.sessions() == ["t-a", "t-b"]);
    assert_eq!((lab.pid("a"), lab.pid("b")), pids);
    assert!(lab.alerts().is_empty(), "{}", lab.dump());
}

#[test]
fn when_the_tmux_server_dies_all_come_back_staggered_and_it_is_one_event() {
    let names = ["a", "b", "c", "d"];
    let lab = Lab::new("signal_interval = 0.3\nstagger_s = 1", &idlers(&names));
    let _watch = lab.watch();
    lab.until("all idle", || all_idle(&lab, &names));
    signal(lab.server().unwrap(), Signal::KILL);
    lab.until("all back", || names.iter().all(|name| lab.starts(name) == 2) && all_idle(&lab, &names));
    assert_eq!(lab.alerts().len(), 1, "{}", lab.dump());
    assert_eq!(lab.alerts_with("is gone, and with it 4 units"), 1, "{}", lab.dump());
    let mut starts: Vec<jiff::Timestamp> =
        names.iter().map(|name| lab.unit(name)["launch"]["at"].as_str().unwrap().parse().unwrap()).collect();
    starts.sort();
    let spread = starts[3].duration_since(starts[0]).as_secs_f64();
    assert!(spread >= 2.5, "all back within {spread} s\n{}", lab.dump());
    assert_eq!(lab.sessions().len(), 4);
}

#[test]
fn a_hung_tmux_server_blinds_and_nothing_is_done_until_it_answers() {
    let lab = Lab::new(FAST, &idlers(&["a", "b"]));
    lab.tick_until("both idle", || all_idle(&lab, &["a", "b"]));
    let pids = (lab.pid("a"), lab.pid("b"));
    let server = lab.server().unwrap();
    signal(server, Signal::STOP);
    lab.touch("units/a/down", "");
    let tick = lab.tick();
    assert!(tick.took < Duration::from_secs(30), "{tick:?}");
    assert_eq!(lab.believed("b"), "idle", "what is not seen is not dead");
    assert!(lab.alerts().is_empty(), "{}", lab.dump());
    lab.age_file("mail.json", 120.0);
    lab.tick();
    lab.tick();
    assert_eq!(lab.alerts_with("tmux does not answer for 2 min"), 1, "{}", lab.dump());
    signal(server, Signal::CONT);
    assert_eq!((lab.pid("a"), lab.pid("b")), pids, "nothing was done");
    lab.tick_until("it goes on", || lab.pid("a").is_none() && lab.unit("a")["ending"].is_null());
    assert_eq!((lab.starts("a"), lab.starts("b"), lab.pid("b")), (1, 1, pids.1));
    assert_eq!(lab.alerts().len(), 1, "{}", lab.dump());
}

#[test]
fn a_config_that_breaks_leaves_the_last_good_one_in_force() {
    let lab = Lab::new(FAST, &idlers(&["a", "b"]));
    let _watch = lab.watch();
    lab.until("both idle", || all_idle(&lab, &["a", "b"]));
    std::fs::write(lab.config(), "[watchdog]\nsignal_intervall = 3\n[[agent]\n").unwrap();
    lab.until("people are told", || {
        lab.alerts_with("the config became invalid, the last good one stays in force") == 1
    });
    lab.tmux(&["kill-session", "-t", "=t-a"]).unwrap();
    lab.until("it is healed all the same", || lab.starts("a") == 2 && all_idle(&lab, &["a"]));
    assert_eq!(lab.alerts_with("the config became invalid"), 1, "{}", lab.dump());
    lab.configure(FAST, &idlers(&["a", "b", "c"]));
    lab.until("the new config is in force", || lab.starts("c") == 1);
    assert_eq!(lab.starts("b"), 1);
}

#[test]
fn a_watchdog_killed_again_and_again_doubles_nothing() {
    let lab =
        Lab::new(FAST, &[Agent::looping("a", "EXIT 1 || "), Agent::persistent("b", "").prompt("Begin.")]);
    for _ in 0..6 {
        let watch = lab.watch();
        // As soon as it did something; and once more, in the middle of whatever it does then.
        let ticks = lab.json("heartbeat.json")["tick"].clone();
        lab.until("it lives", || lab.json("heartbeat.json")["tick"] != ticks || lab.events().len() > 10);
        watch.kill();
    }
    let _watch = lab.watch();
    lab.until("all is well", || {
        lab.starts("a") == 2 && lab.times_given("b", "Begin.") == 1 && all_idle(&lab, &["a", "b"])
    });
    lab.throughout(Duration::from_secs(1), "nothing is doubled", || {
        lab.starts("a") == 2 && lab.starts("b") == 1 && lab.given("b") == ["Begin."]
    });
    assert_eq!(lab.unit("a")["restart"]["total"], 1);
    assert!(lab.quarantined().is_empty(), "{}", lab.dump());
}

#[test]
fn a_new_binary_takes_over_with_the_same_lock_and_pid() {
    let mut lab = Lab::new(FAST, &idlers(&["a"]));
    let (binary, new) = (lab.path().join("watchkeeper"), lab.path().join("new"));
    for copy in [&binary, &new] {
        std::fs::copy(env!("CARGO_BIN_EXE_watchkeeper"), copy).unwrap();
    }
    lab.use_binary(&binary);
    let mut watch = lab.watch();
    lab.until("idle", || all_idle(&lab, &["a"]));
    let (before, agent) = (lab.json("heartbeat.json"), lab.pid("a"));
    std::fs::rename(&new, &binary).unwrap();
    lab.until("another binary ticks", || {
        let now = lab.json("heartbeat.json");
        now["binary"].is_string() && now["binary"] != before["binary"]
    });
    let after = lab.json("heartbeat.json");
    assert_eq!((&after["pid"], after["pid"].as_i64()), (&before["pid"], Some(i64::from(watch.pid()))));
    assert!(watch.lives());
    let second = lab.run(&["tick"]);
    assert_eq!(second.code, Some(75), "{second:?}");
    assert!(second.err.contains(&format!("pid {}", watch.pid())), "{second:?}");
    assert_eq!((lab.starts("a"), lab.pid("a")), (1, agent));
    assert_eq!(watch.leave(), Some(0));
}

#[test]
fn a_new_binary_that_refuses_the_config_is_not_taken() {
    let mut lab = Lab::new(FAST, &idlers(&["a"]));
    let (binary, new) = (lab.path().join("watchkeeper"), lab.path().join("new"));
    std::fs::copy(env!("CARGO_BIN_EXE_watchkeeper"), &binary).unwrap();
    std::fs::write(&new, "#!/bin/sh\necho no >&2\nexit 2\n").unwrap();
    std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    lab.use_binary(&binary);
    let mut watch = lab.watch();
    lab.until("idle", || all_idle(&lab, &["a"]));
    std::fs::rename(&new, &binary).unwrap();
    lab.until("people are told", || lab.alerts_with("the old one goes on") == 1);
    let tick = lab.json("heartbeat.json")["tick"].as_u64();
    lab.until("it goes on", || lab.json("heartbeat.json")["tick"].as_u64() > tick);
    assert!(watch.lives());
    assert_eq!(lab.alerts_with("the old one goes on"), 1);
}

/// As a careless copy does it: the file is there before it is whole. Units of all kinds go on through both.
#[test]
fn a_new_binary_that_is_only_half_there_is_told_and_taken_when_it_is_whole() {
    let mut lab = Lab::new(FAST, &idlers(&["a"]));
    let script = "echo $$ >> runs; exec sleep 600";
    let text = std::fs::read_to_string(lab.config()).unwrap();
    let units = format!(
        "[[service]]\nname = \"s\"\ncommand = [\"sleep\", \"600\"]\n\
         [[process]]\nname = \"p\"\ncommand = [\"sh\", \"-c\", {}]\n",
        serde_json::json!(script)
    );
    std::fs::write(lab.config(), text + &units).unwrap();
    let binary = lab.path().join("watchkeeper");
    std::fs::copy(env!("CARGO_BIN_EXE_watchkeeper"), &binary).unwrap();
    lab.use_binary(&binary);
    let mut watch = lab.watch();
    let runs = || std::fs::read_to_string(lab.path().join("runs")).unwrap_or_default();
    lab.until("all run", || all_idle(&lab, &["a"]) && lab.believed("s") == "busy" && runs().ends_with('\n'));
    let units = ["a", "s"].map(|unit| lab.pid(unit));
    let before = lab.json("heartbeat.json");
    let bytes = std::fs::read(&binary).unwrap();
    // (The running file itself can't be written to.)
    std::fs::remove_file(&binary).unwrap();
    let mut new = std::fs::File::create(&binary).unwrap();
    std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    new.write_all(half).unwrap();
    lab.until("people are told", || lab.alerts_with("the old one goes on") >= 1);
    let tick = lab.json("heartbeat.json")["tick"].as_u64();
    lab.until("it goes on", || lab.json("heartbeat.json")["tick"].as_u64() > tick);
    assert_eq!(lab.json("heartbeat.json")["binary"], before["binary"]);
    // What it starts meanwhile it starts by itself, and not by the half.
    lab.ask(&serde_json::json!({"restart": {"unit": "p"}}));
    lab.until("another run", || runs().lines().count() == 2 && runs().ends_with('\n'));
    let run = runs();
    new.write_all(rest).unwrap();
    drop(new);
    lab.until("the whole one ticks", || {
        let now = lab.json("heartbeat.json");
        now["binary"].is_string() && now["binary"] != before["binary"]
    });
    lab.throughout(Duration::from_secs(1), "nobody was touched", || {
        ["a", "s"].map(|unit| lab.pid(unit)) == units && runs() == run
    });
    assert!(
        run.lines().last().is_some_and(|pid| lives(pid.parse().unwrap())) && watch.lives(),
        "{}",
        lab.dump()
    );
    assert_eq!(lab.json("heartbeat.json")["pid"], before["pid"]);
    assert_eq!(lab.starts("a"), 1, "{}", lab.dump());
}

//! Observed beats recorded.

use crate::FAST;
use crate::lab::{Agent, Lab, lives, signal};

fn idlers(names: &[&str]) -> Vec<Agent> {
    names.iter().map(|name| Agent::persistent(name, "")).collect()
}

#[test]
fn a_session_of_a_persons_is_taken_over_when_asked_for_and_goes_on() {
    let lab = Lab::new(FAST, &idlers(&["a", "b"]));
    lab.tmux(&["new-session", "-d", "-s", "t-a", "exec sleep 600"]).unwrap();
    let process = lab.pid("a").unwrap();
    let _watch = lab.watch();
    lab.until("people are told", || lab.alerts_with("belongs to somebody else") == 1);
    let refused = lab.run(&["adopt", "b"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    lab.tmux(&["split-window", "-d", "-t", "=t-a:", "exec sleep 600"]).unwrap();
    let refused = lab.run(&["adopt", "a"]);
    assert!(refused.code == Some(1) && format!("{refused:?}").contains("one living pane"), "{refused:?}");
    lab.tmux(&["kill-pane", "-a", "-t", "=t-a:"]).unwrap();
    let process = lab.pid("a").unwrap_or(process);
    let adopted = lab.run(&["adopt", "a"]);
    assert_eq!(adopted.code, Some(0), "{adopted:?}\n{}", lab.dump());
    assert!(format!("{adopted:?}").contains(&format!("adopted, pid {process}")), "{adopted:?}");
    assert_eq!((lab.pid("a"), lab.starts("a")), (Some(process), 0), "it goes on");
    // From now on it is ours: its end is healed, in the same pane.
    lab.tmux(&["send-keys", "-t", "=t-a:", "C-c"]).unwrap();
    lab.until("it is started anew", || lab.starts("a") == 1 && lab.believed("a") == "idle");
    assert_eq!(lab.sessions(), ["t-a", "t-b"]);
}

#[test]
fn a_process_that_outlives_its_session_gets_no_second_one_beside_it() {
    let lab = Lab::new(FAST, &[]);
    let mut text = std::fs::read_to_string(lab.config()).unwrap();
    let script = "trap '' HUP; while :; do sleep 0.2; done";
    text.push_str(&format!(
        "[[service]]\nname = \"s\"\ncommand = [\"sh\", \"-c\", {}]\n",
        serde_json::json!(script)
    ));
    std::fs::write(lab.config(), text).unwrap();
    let _watch = lab.watch();
    lab.until("it runs", || lab.believed("s") == "busy");
    let process = lab.pid("s").unwrap();
    lab.tmux(&["kill-session", "-t", "=t-s"]).unwrap();
    lab.until("people are told", || lab.alerts_with("lives on") == 1);
    assert!(lives(process) && lab.sessions().is_empty(), "{}", lab.dump());
    signal(process, rustix::process::Signal::KILL);
    lab.until("it is started anew", || lab.pid("s").is_some_and(|pid| pid != process));
    assert_eq!(lab.alerts_with("lives on"), 1);
}

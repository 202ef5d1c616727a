//! A watchdog that is really killed in the midst of its acts on one unit, again and again.

use crate::lab::{Lab, PATIENCE, lives};
use crate::{FAST, mode, service};
use std::os::unix::fs::PermissionsExt;

/// A tmux that kills whoever tells it to do this; the PATH with it.
fn deadly_tmux(lab: &Lab, order: &str) -> String {
    let path = std::env::var("PATH").unwrap();
    let real = path
        .split(':')
        .map(|dir| format!("{dir}/tmux"))
        .find(|tmux| std::path::Path::new(tmux).exists())
        .unwrap();
    let dir = lab.path().join("deadly");
    std::fs::create_dir_all(&dir).unwrap();
    let script = format!(
        "#!/bin/sh\nscript=$(cat)\ncase $script in {order}) kill -9 $PPID; exit 1 ;; esac\n\
         printf '%s\\n' \"$script\" | exec {real} \"$@\"\n"
    );
    std::fs::write(dir.join("tmux"), script).unwrap();
    std::fs::set_permissions(dir.join("tmux"), std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{path}", dir.display())
}

#[test]
fn a_watchdog_that_dies_of_a_unit_leaves_it_alone_after_three_times() {
    let lab = service(FAST, "");
    lab.tick_until("it runs", || lab.state("units/s/heartbeat").exists());
    let path = deadly_tmux(&lab, "*respawn-pane*");
    mode(&lab, "crash");
    assert_eq!(dies_until_it_gives_up(&lab, &path), 3, "{}", lab.dump());
    assert_eq!(lab.alerts_with("ended abnormally 3 times"), 1, "{}", lab.dump());
    // The very same fault: nothing is done to it, so nobody dies of it.
    let acts = lab.unit("s")["acts"].clone();
    for _ in 0..3 {
        assert_eq!(deadly_tick(&lab, &path), Some(0), "{}", lab.dump());
    }
    assert!(lab.hold("s").contains("while acting on it"), "{}", lab.dump());
    // The fault is mended, and a person says so.
    lab.tick();
    assert_eq!(lab.unit("s")["acts"], acts, "{}", lab.dump());
    mode(&lab, "");
    lab.ok(&["approve", "s"]);
    lab.tick_until("it is started again", || lab.pid("s").is_some_and(lives));
}

/// Ticks with that tmux until `s` is left alone; how many of them were killed.
#[track_caller]
fn dies_until_it_gives_up(lab: &Lab, path: &str) -> u32 {
    let mut killed = 0;
    lab.within(PATIENCE, "the watchdog gives up on it", || {
        killed += u32::from(deadly_tick(lab, path).is_none());
        !lab.unit("s")["failopen"]["since_awake_s"].is_null()
    });
    killed
}

/// No tick of a fresh state directory ever ended.
#[test]
fn the_very_first_death_counts_too() {
    let lab = service(FAST, "");
    let path = deadly_tmux(&lab, "*new-session*");
    assert_eq!(deadly_tick(&lab, &path), None, "{}", lab.dump());
    lab.tick();
    assert_eq!(lab.events_with("in the midst of an act on it (start): number 1"), 1, "{}", lab.dump());
}

/// What it did to another one in the same tick went well, or was never begun.
#[track_caller]
fn only_s_is_left_alone(before: &str, after: &str) {
    let lab = service(FAST, "");
    let text = std::fs::read_to_string(lab.config()).unwrap();
    let (start, unit) = text.split_once("[[service]]").unwrap();
    std::fs::write(lab.config(), format!("{start}{before}[[service]]{unit}{after}")).unwrap();
    lab.tick_until("both run", || lab.state("units/s/heartbeat").exists() && lab.believed("other") == "busy");
    let path = deadly_tmux(&lab, "*respawn-pane*/svc*");
    mode(&lab, "crash");
    std::fs::write(lab.path().join("end"), "").unwrap();
    lab.until("both are dead", || lab.pid("other").is_none() && lab.pid("s").is_none());
    std::fs::remove_file(lab.path().join("end")).unwrap();
    assert_eq!(dies_until_it_gives_up(&lab, &path), 3, "{}", lab.dump());
    let told = |e: &serde_json::Value| e["unit"] == "other" && e["kind"] == "fleet";
    assert!(!lab.events().iter().any(told), "{}", lab.dump());
    lab.within(PATIENCE, "it was started again", || {
        deadly_tick(&lab, &path);
        lab.pid("other").is_some_and(lives)
    });
}

const OTHER: &str = "[[service]]\nname = \"other\"\n\
command = [\"sh\", \"-c\", \"while [ ! -e end ]; do sleep 0.1; done; exit 1\"]\n";

#[test]
fn a_unit_that_was_acted_on_before_it_is_not_left_alone() {
    only_s_is_left_alone(OTHER, "");
}

#[test]
fn nor_one_whose_turn_never_came() {
    only_s_is_left_alone("", OTHER);
}

/// A tick with that tmux; its exit code.
fn deadly_tick(lab: &Lab, path: &str) -> Option<i32> {
    let mut tick = lab.watchkeeper();
    tick.arg("tick").env("PATH", path);
    lab.finish(tick).code
}

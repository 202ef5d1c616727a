//! A watchdog that is really killed in the midst of its acts on one unit, again and again.

use crate::lab::{Lab, PATIENCE, lives};
use crate::{FAST, mode, service};
use std::os::unix::fs::PermissionsExt;

/// A tmux that kills whoever tells it to start something anew.
fn deadly_tmux(lab: &Lab) -> String {
    let path = std::env::var("PATH").unwrap();
    let real = path
        .split(':')
        .map(|dir| format!("{dir}/tmux"))
        .find(|tmux| std::path::Path::new(tmux).exists())
        .unwrap();
    let dir = lab.path().join("deadly");
    std::fs::create_dir_all(&dir).unwrap();
    let script = format!(
        "#!/bin/sh\nscript=$(cat)\ncase $script in *respawn-pane*) kill -9 $PPID; exit 1 ;; esac\n\
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
    let path = deadly_tmux(&lab);
    mode(&lab, "crash");
    let mut killed = 0;
    lab.within(PATIENCE, "the watchdog gives up on it", || {
        killed += u32::from(deadly_tick(&lab, &path).is_none());
        !lab.unit("s")["failopen"]["since_awake_s"].is_null()
    });
    assert_eq!(killed, 3, "{}", lab.dump());
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

/// A tick with that tmux; its exit code.
fn deadly_tick(lab: &Lab, path: &str) -> Option<i32> {
    let mut tick = lab.watchkeeper();
    tick.arg("tick").env("PATH", path);
    lab.finish(tick).code
}

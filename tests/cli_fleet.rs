//! The command line with a fleet: the real binary, scripted agents, a private tmux server.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod support;

use std::process::{Command, Stdio};
use support::{Lines, World};

const FLEET: &str = r#"
[[agent]]
name = "builder"
kind = "loop"
[[service]]
name = "dash"
command = ["sleep", "1000"]
"#;

#[test]
fn up_and_down_are_the_whole_day() {
    let world = World::with_config(FLEET);
    world
        .wk(["up"])
        .stdout(
            "watchdog: watches, in tmux session `crew-watchkeeper`\n\
             builder: started, pid [..]\n\
             dash: started, pid [..]\n",
        )
        .check();
    world
        .wk(["up"])
        .stdout("watchdog: watches already, pid [..]\nbuilder: runs already, pid [..]\ndash: runs already, pid [..]\n")
        .check();
    world.await_state("builder", "idle");
    world
        .wk(["status"])
        .stdout(
            "UNIT     KIND     STATE    FOR\n\
             builder  loop     idle     [..] s\n\
             dash     service  running  [..] s\n\
             fleet: 2 of 2 up; watchdog (pid [..]) ticked [..] s ago\n",
        )
        .check();
    world.await_that("the status file says so", || {
        support::agrees(
            "UNIT     KIND     STATE    SINCE\n\
             builder  loop     idle     [..]-[..]-[..] [..]:[..]\n\
             dash     service  running  [..]-[..]-[..] [..]:[..]\n\
             fleet: 2 of 2 up\n",
            &world.read_state("status"),
        )
    });
    world
        .wk(["run"])
        .code(75)
        .stderr(
            "watchkeeper: `watchkeeper run`, pid [..], acts on this state directory since [..]\nhint: [..]\n",
        )
        .check();
    world.wk(["tick"]).code(75).stderr("watchkeeper: `watchkeeper run`, pid [..]\nhint: [..]\n").check();
    world
        .wk(["down", "--reason", "end of day"])
        .stdout("fleet: all units are stopped\nwatchdog: stopped\n")
        .file(".watchkeeper/down", "end of day\n")
        .check();
    assert_eq!(world.tmux(&["list-sessions"]), "");
    world.wk(["ensure", "--json"]).stdout("{\n  \"watchdog\": \"down\",\n...\n").check();
    world
        .wk(["status"])
        .stdout("...\nfleet: 0 of 0 up, 2 not wanted, DOWN: end of day; watchdog NOT RUNNING[..]\n")
        .check();
}

#[test]
fn a_unit_is_stopped_restarted_and_started_by_name() {
    let world = World::with_config(FLEET);
    world.wk(["up"]).stdout("...\n").check();
    let pid = |name: &str| world.tmux(&["list-panes", "-t", &format!("=crew-{name}:"), "-F", "#{pane_pid}"]);
    let (builder, dash) = (pid("builder"), pid("dash"));
    world
        .wk(["down", "dash"])
        .stdout("dash: stopped\n")
        .file(".watchkeeper/units/dash/down", "[..]\n")
        .check();
    assert_eq!(pid("dash"), "");
    world.wk(["restart", "dash"]).code(1).stdout("dash: refused: [..]`watchkeeper up dash`[..]\n").check();
    world
        .wk(["up", "dash"])
        .stdout("dash: started, pid [..]\n")
        .no_file(".watchkeeper/units/dash/down")
        .check();
    assert!(!pid("dash").is_empty() && pid("dash") != dash);
    world.await_state("builder", "idle");
    world.wk(["restart", "builder"]).stdout("builder: started, pid [..]\n").check();
    assert_ne!(pid("builder"), builder);
}

#[test]
fn commands_act_themselves_when_nobody_watches() {
    let world = World::with_config(FLEET);
    world.wk(["up", "builder"]).stdout("builder: started, pid [..]\n").check();
    // Only what was asked for.
    assert_eq!(world.unit("dash")["up"], false);
    world.await_that("the agent is ready", || world.inspect("builder") == "idle");
    world.wk(["nudge", "builder", "hello", "there"]).stdout("builder: delivered\n").check();
    world.wk(["pause", "builder", "looking around"]).stdout("builder: paused\n").check();
    world
        .wk(["resume", "builder"])
        .stdout("builder: resumed\n")
        .no_file(".watchkeeper/units/builder/PAUSED")
        .check();
    world
        .wk(["pause", "deploy", "in", "progress"])
        .stdout("fleet: [..]paused\n")
        .file(".watchkeeper/PAUSED", "deploy in progress\n")
        .check();
    world.wk(["approve", "builder"]).stdout("builder: approved[..]\n").check();
    world.wk(["down", "builder"]).stdout("builder: stopped\n").check();
    world
        .wk(["status"])
        .code(1)
        .stdout("...\nfleet: 0 of 1 up, 1 not wanted, PAUSED: deploy in progress; watchdog NOT RUNNING[..]\n")
        .check();
}

#[test]
fn a_text_is_delivered_or_refused() {
    let world = World::with_config(FLEET);
    world.wk(["up"]).stdout("...\n").check();
    world.await_state("builder", "idle");
    world.wk(["nudge", "builder", "--", "--json", "is", "a", "flag"]).stdout("builder: delivered\n").check();
    world.await_that("it is on the screen", || {
        world.tmux(&["capture-pane", "-p", "-t", "=crew-builder:"]).contains("--json is a flag")
    });
    world.wk(["nudge", "dash", "hello"]).code(1).stdout("dash: refused: [..]service[..]\n").check();
    world
        .wk(["nudge", "builder", "  ", "--json"])
        .code(1)
        .stdout("[\n  {\n    \"unit\": \"builder\",\n    \"taken\": \"refused\",\n    \"done\": false,\n    \"text\": \"refused: the text is empty\"\n  }\n]\n")
        .check();
}

#[test]
fn ticks_from_cron_keep_the_fleet() {
    let world = World::with_config(FLEET);
    world
        .wk(["tick", "--dry-run"])
        .stdout("would start: builder (restart.first)\n  because: [..]\nwould start: dash (restart.first)\n  because: [..]\n...\n")
        .no_file(".watchkeeper")
        .check();
    let said = world.wk(["tick", "--record", "kept"]).stdout("...\n").check();
    assert!(said.stdout.contains("start") && said.stdout.contains("dash"), "{}", said.stdout);
    for file in ["agents.toml", "state.json", "seen.json"] {
        assert!(world.path().join("kept").join(file).exists(), "{file}");
    }
    world.wk(["status"]).stdout("...\nfleet: 2 of 2 up; watchdog by cron ticked [..] s ago\n").check();
    world.await_that("a tick finds nothing to do", || {
        let output = world.binary().arg("tick").output().unwrap();
        output.status.code() == Some(0) && output.stdout.is_empty()
    });
    world
        .wk(["tick", "--dry-run", "--json"])
        .stdout("{\n  \"would\": [],\n  \"withheld\": [],\n  \"events\": []\n}\n")
        .check();
}

#[test]
fn the_loop_says_what_happens_and_leaves_its_units() {
    let world = World::with_config(FLEET);
    let mut child = world.binary().arg("run").stdout(Stdio::piped()).spawn().unwrap();
    let lines = Lines::of(child.stdout.take().unwrap());
    assert!(lines.next().starts_with("watching 2 units; state in "));
    loop {
        if lines.next().contains("dash          act       start") {
            break;
        }
    }
    world.await_state("dash", "busy");
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(world.tmux(&["list-sessions", "-F", "#{session_name}"]).contains("crew-dash"));
    world.wk(["status"]).code(1).stdout("...\nfleet: 2 of 2 up; watchdog NOT RUNNING since [..]\n").check();
    // What tmux says now beats what was recorded.
    world.tmux(&["kill-session", "-t", "=crew-dash"]);
    world.await_that("it is gone", || world.unit("dash")["up"] == false);
    assert_eq!(world.unit("dash")["state"], "dead");
}

#[test]
fn ensure_starts_one_watchdog() {
    let world = World::with_config(FLEET);
    world.wk(["ensure"]).stdout("started the watchdog in tmux session `crew-watchkeeper`\n").check();
    world.wk(["ensure"]).check();
    world.wk(["ensure", "--json"]).stdout("{\n  \"watchdog\": \"alive\",\n  \"pid\": [..],\n...\n").check();
    assert_eq!(world.tmux(&["list-sessions", "-F", "#{session_name}"]).matches("watchkeeper").count(), 1);
}

#[test]
fn a_foreign_session_is_told_and_never_touched() {
    let world = World::with_config(FLEET);
    world.tmux(&["new-session", "-d", "-s", "crew-dash", "cat"]);
    let pid = || world.tmux(&["list-panes", "-t", "=crew-dash:", "-F", "#{pane_pid}"]);
    let before = pid();
    world
        .wk(["up", "dash"])
        .code(1)
        .stdout("dash: not started: the session `crew-dash` is not ours\n")
        .check();
    world.wk(["down", "dash"]).stdout("dash: stopped\n").check();
    assert_eq!(pid(), before);
    let said = world.wk(["doctor"]).code(1).stdout("...\n").check();
    assert!(
        said.stdout.contains("PROBLEM  sessions: session `crew-dash` of `dash` was not made by watchkeeper")
    );
    std::fs::remove_file(world.state("units/dash/down")).unwrap();
    world
        .wk(["status"])
        .env("COLUMNS", "120")
        .code(1)
        .stdout("UNIT[..]\ndash [..] session `crew-dash` is not ours: rename or end it\n...\n")
        .check();
}

#[test]
fn live_screens_and_reasons_are_shown() {
    let world = World::with_config(FLEET);
    world.wk(["up"]).stdout("...\n").check();
    world.await_state("builder", "idle");
    world.wk(["inspect", "builder"]).stdout("idle\n  [..]: [..]\n...\n").check();
    world.wk(["inspect", "dash"]).code(1).stderr("watchkeeper: `dash` is a service[..]\n").check();
    world
        .wk(["why", "builder"])
        .stdout(
            "builder (loop, demo) is idle since [..]\n\
             ...\n\
             \x20 last done: start at [..]: a person ordered it\n\
             \x20 next: in [..] unless it moves: nudge (quiet [..] s of stall_idle 300 s)\n\
             lately:\n\
             ...\n",
        )
        .check();
    world
        .wk(["attach", "builder", "--json"])
        .stdout("{\n  \"session\": \"crew-builder\",\n  \"pane\": \"%[..]\",\n  \"argv\": [\n...\n    \"=crew-builder\"\n  ]\n}\n")
        .check();
    world.wk(["down", "dash"]).stdout("dash: stopped\n").check();
    world
        .wk(["attach", "dash"])
        .code(1)
        .stderr("watchkeeper: `dash` has no session\nhint: `watchkeeper up dash` starts it\n")
        .check();
}

#[test]
fn a_command_that_ends_at_once_is_told() {
    let world = World::with_config("[[service]]\nname = \"broken\"\ncommand = [\"false\"]\n");
    world.wk(["up", "broken"]).code(1).stdout("broken: started, and ended at once: exit status 1\n").check();
}

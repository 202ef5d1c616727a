//! Records of a run that are lost or damaged while the run lives, and after: it is known all the same, there is never a second
//! one, people are told which file it was, and what is stopped has stopped.

use super::{World, kill, lives};
use std::fs;
use std::path::Path;

const LIVES: &str = "command = [\"sleep\", \"1000\"]\ngrace_s = 1\n[process.healing]\nagent = \"off\"";

/// A name, and what happens to a file that was removed.
type Damage = (&'static str, fn(&Path));

/// What can happen to a file.
const HOW: [Damage; 6] = [
    ("deleted", |_| {}),
    ("emptied", |path| fs::write(path, "").unwrap()),
    ("garbage", |path| fs::write(path, "{\"v\": 1, \u{1b}[2J").unwrap()),
    ("another shape", |path| fs::write(path, "{\"v\": 1, \"number\": \"one\"}\n").unwrap()),
    ("a directory", |path| fs::create_dir(path).unwrap()),
    ("a link", |path| std::os::unix::fs::symlink("/nonexistent/elsewhere", path).unwrap()),
];

fn quarantined(world: &World) -> usize {
    fs::read_dir(world.path("quarantine")).map_or(0, Iterator::count)
}

#[test]
fn a_record_that_is_lost_while_its_run_lives_hides_nothing() {
    let files = ["child.json", "launch.json"];
    std::thread::scope(|scope| {
        for file in files {
            scope.spawn(move || lost(file));
        }
    });
}

fn lost(file: &str) {
    let world = World::watched(LIVES, &[]);
    let child = world.await_child();
    world.await_that("it is known", |world| {
        world.unit()["run"]["handle"].as_str().is_some_and(|h| !h.is_empty())
    });
    let path = world.path(&format!("units/p/{file}"));
    for (what, damage) in HOW {
        let before = quarantined(&world);
        let _ = fs::remove_file(&path);
        damage(&path);
        if what != "deleted" {
            world.await_that(what, |world| quarantined(world) > before);
        }
        let status = world.says(&["status"]);
        assert!(status.contains("running") && lives(child), "{file}, {what}: {status}");
        assert_eq!(world.number(), 1, "{file}, {what}");
    }
    let told = |world: &World| world.text("outbox.jsonl").matches(&format!("units/p/{file}")).count() >= 4;
    world.await_that("alerts", told);
    // Nobody remembers anything of it: it is found all the same.
    let said = world.says(&["down", "p"]);
    assert!(said.contains("stopped") && !lives(child), "{file}: {said}");
}

#[test]
fn without_any_record_down_says_stopped_only_when_it_is() {
    // (`down` looks for the watchdog's own session, too.)
    let world = World::watched(&format!("{LIVES}\n[defaults]\ntmux_socket = \"wk-test-none\""), &[]);
    let child = world.await_child();
    for name in ["unit", "launch", "child", "exit", "log", "logs"] {
        let _ = fs::remove_file(world.path(&format!("units/p/{name}.json")));
    }
    let said = world.says(&["down"]);
    assert!(said.contains("all units are stopped") && !lives(child), "{said}");
    assert_eq!(world.number(), 1);
}

/// Nothing is remembered of it either: it is found among those that carry its mark, and people are told which one, and why.
#[test]
fn the_run_of_a_watchdog_that_lost_everything_is_found_beside_its_daemons() {
    let script = "(setsid sh -c 'echo $$ > daemon; exec sleep 1000' &)\nexec sleep 1000\n";
    let mut world = World::watched(
        "command = [\"sh\", \"run.sh\"]\ngrace_s = 1\n[process.healing]\nagent = \"off\"",
        &[("run.sh", script)],
    );
    let child = world.await_child();
    world.await_that("its daemon", |world| world.dir.path().join("daemon").exists());
    world.kill_watchdog();
    // Not its folder: its shim holds that.
    for entry in fs::read_dir(world.path("units/p")).unwrap().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    world.watch();
    let told = format!("pid {child} is taken for its run 1: its environment names it");
    world.await_that("alert", |world| world.text("outbox.jsonl").contains(&told));
    world.await_that("its run", |world| world.says(&["status"]).contains("running"));
    assert!(lives(child) && world.number() == 1, "{:#}", world.unit());
    let ticks = |world: &World| world.json("heartbeat.json")["tick"].as_u64().unwrap_or(0);
    let then = ticks(&world);
    world.await_that("more ticks", |world| ticks(world) >= then + 2);
    assert_eq!(world.text("outbox.jsonl").matches(&told).count(), 1, "told once");
}

#[test]
fn a_run_without_records_ends_with_its_exit_status_known() {
    let world = World::watched(
        "command = [\"sh\", \"-c\", \"until test -e go; do sleep 0.05; done; exit 7\"]\nlifecycle = \"one-shot\"\n[process.healing]\nagent = \"off\"",
        &[],
    );
    world.await_child();
    world.await_that("it is known", |world| {
        world.unit()["run"]["handle"].as_str().is_some_and(|h| !h.is_empty())
    });
    for name in ["launch", "child"] {
        fs::remove_file(world.path(&format!("units/p/{name}.json"))).unwrap();
    }
    fs::write(world.dir.path().join("go"), "").unwrap();
    world.await_that("its end", |world| world.says(&["status"]).contains("exit status 7"));
    assert_eq!(world.number(), 1);
}

#[test]
fn what_is_over_is_not_started_again_for_a_damaged_record() {
    let world = World::watched("command = [\"true\"]\n[process.healing]\nagent = \"off\"", &[]);
    world.await_that("good end", |world| !world.unit()["run"]["standing"]["finished"].is_null());
    for file in ["exit.json", "child.json", "launch.json"] {
        let path = world.path(&format!("units/p/{file}"));
        for (what, damage) in HOW {
            let before = quarantined(&world);
            let _ = fs::remove_file(&path);
            damage(&path);
            if what != "deleted" {
                world.await_that(what, |world| quarantined(world) > before);
            }
            let status = world.says(&["status"]);
            assert!(status.contains("finished") && world.number() == 1, "{file}, {what}: {status}");
        }
    }
    assert!(world.incidents().is_empty(), "{:?}", world.incidents());
}

/// Each time another failure, so that each has its incident.
const FAILS: &str = "test -e fixed && exit 0\necho x >> count\nexit $(($(wc -l < count) % 200 + 1))\n";

#[test]
fn ledger_and_index_that_are_damaged_stop_nothing() {
    let world = World::watched(
        "command = [\"sh\", \"job.sh\"]\n[process.healing]\nagent = \"off\"",
        &[("job.sh", FAILS)],
    );
    for file in ["attempts.tsv", "incidents/index.jsonl"] {
        for (what, damage) in HOW {
            let path = world.path(file);
            let (before, rows) = (world.number(), quarantined(&world));
            world.await_that(file, |_| path.exists());
            let _ = fs::remove_file(&path);
            damage(&path);
            world.await_that(what, |world| {
                if !world.unit()["run"]["standing"]["spent"].is_null() {
                    world.says(&["approve", "p"]);
                }
                world.number() > before
            });
            if matches!(what, "a directory" | "a link") {
                world.await_that(what, |world| quarantined(world) > rows);
            }
            world.says(&["approve", "p"]);
        }
        for command in ["analyze", "incidents", "report"] {
            world.says(&[command]);
        }
    }
    assert!(world.text("outbox.jsonl").contains("attempts.tsv: is a directory"));
    fs::write(world.dir.path().join("fixed"), "").unwrap();
    world.await_that("good end", |world| {
        world.says(&["approve", "p"]);
        !world.unit()["run"]["standing"]["finished"].is_null()
    });
    if let Some(child) = world.child() {
        kill(child);
    }
}

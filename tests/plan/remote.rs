//! A remote that hangs, fails, or was rewritten never delays a tick, and is told once.

use crate::fleet::{Fleet, script};
use std::time::{Duration, Instant};

/// Alerts that name fetching.
fn told(fleet: &Fleet) -> usize {
    fleet.world.read_state("outbox.jsonl").lines().filter(|line| line.contains("fetching")).count()
}

fn ticks(fleet: &Fleet) -> u64 {
    let beat: serde_json::Value =
        serde_json::from_str(&fleet.world.read_state("heartbeat.json")).unwrap_or_default();
    beat["tick"].as_u64().unwrap_or(0)
}

#[test]
fn a_remote_that_hangs_delays_no_tick_and_gets_no_second_fetch() {
    let fleet = Fleet::new(2, "");
    let mark = fleet.path("started");
    let hang =
        script(&fleet, "hang.sh", &format!("#!/bin/sh\necho $$ >> {}\nexec sleep 1000\n", mark.display()));
    fleet.git("clone", &["config", "remote.origin.uploadpack", hang.to_str().unwrap()]);
    let _watchdog = fleet.watchdog();
    fleet.await_kickoffs("p1");
    fleet.world.await_that("a fetch hangs", || mark.exists());
    let (at, before) = (Instant::now(), ticks(&fleet));
    fleet.world.await_that("ticks go on", || ticks(&fleet) >= before + 5);
    assert!(at.elapsed() < Duration::from_secs(30));
    let started = std::fs::read_to_string(&mark).unwrap();
    assert_eq!(started.lines().count(), 1, "one at a time");
    // What is pushed from this very clone is seen without any fetch.
    fleet.done(1);
    fleet.git("clone", &["pull", "-q", "--upload-pack", "git-upload-pack", "origin", "main"]);
    fleet.git("clone", &["update-ref", "refs/remotes/origin/main", "FETCH_HEAD"]);
    fleet.await_kickoffs("p2");
    for pid in started.lines() {
        let _ = std::process::Command::new("kill").args(["-9", pid]).status();
    }
}

#[test]
fn a_remote_that_fails_is_told_once_and_tried_again() {
    let fleet = Fleet::new(2, "");
    std::fs::rename(fleet.path("origin.git"), fleet.path("away.git")).unwrap();
    let _watchdog = fleet.watchdog();
    fleet.await_kickoffs("p1");
    fleet.world.await_that("it is told", || told(&fleet) == 1);
    let before = ticks(&fleet);
    fleet.world.await_that("some more fetches fail", || ticks(&fleet) >= before + 5);
    assert_eq!(told(&fleet), 1);
    std::fs::rename(fleet.path("away.git"), fleet.path("origin.git")).unwrap();
    fleet.done(1);
    fleet.await_kickoffs("p2");
    fleet.world.await_that("that it works again is an event", || fleet.events().contains("works again"));
}

#[test]
fn a_job_whose_runner_is_killed_is_started_again() {
    let fleet = Fleet::new(2, "");
    let mark = fleet.path("started");
    let hang =
        script(&fleet, "hang.sh", &format!("#!/bin/sh\necho $$ >> {}\nexec sleep 1000\n", mark.display()));
    fleet.git("clone", &["config", "remote.origin.uploadpack", hang.to_str().unwrap()]);
    let _watchdog = fleet.watchdog();
    fleet.world.await_that("a fetch hangs", || mark.exists());
    fleet.git("clone", &["config", "--unset", "remote.origin.uploadpack"]);
    let dir = fleet.world.state("jobs/fetch");
    crate::fleet::pkill(&format!("job {}", dir.display()));
    fleet.done(1);
    fleet.await_kickoffs("p2");
    for pid in std::fs::read_to_string(&mark).unwrap().lines() {
        let _ = std::process::Command::new("kill").args(["-9", pid]).status();
    }
}

#[test]
fn a_force_push_pings_no_history() {
    let fleet = Fleet::new(2, "[loop.handoff]\nclaim_pattern = \"^claim\"\nclaim_pings = \"critic\"\n");
    let _watchdog = fleet.watchdog();
    fleet.await_kickoffs("p1");
    fleet.commit("claim(a): one", &[]);
    fleet.world.await_that("the critic hears of it", || fleet.told("critic").len() == 1);
    fleet.git("writer", &["checkout", "-q", "--orphan", "other"]);
    fleet.commit("claim(b): of another history", &[]);
    fleet.world.await_that("the rewrite is seen", || fleet.events().contains("was rewritten"));
    fleet.commit("claim(c): after it", &[]);
    fleet.world.await_that("what follows is told", || fleet.told("critic").len() == 2);
    assert!(fleet.told("critic")[1].contains("claim(c)"));
}

#[test]
fn what_stands_in_the_way_of_a_job_is_put_aside() {
    let fleet = Fleet::new(3, "");
    std::fs::create_dir_all(fleet.world.state("jobs")).unwrap();
    let fifo = |path: &std::path::Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    fifo(&fleet.world.state("jobs/fetch"));
    let mut watchdog = fleet.watchdog();
    fleet.await_kickoffs("p1");
    fleet.done(1);
    fleet.await_kickoffs("p2");
    watchdog.kill();
    fleet.world.await_that("the fetch has ended", || fleet.world.state("jobs/fetch/exit.json").exists());
    for file in ["output", "exit.json"] {
        std::fs::remove_file(fleet.world.state(&format!("jobs/fetch/{file}"))).unwrap();
    }
    fifo(&fleet.world.state("jobs/fetch/output"));
    std::fs::create_dir(fleet.world.state("jobs/fetch/exit.json")).unwrap();
    let _watchdog = fleet.watchdog();
    fleet.done(2);
    fleet.await_kickoffs("p3");
}

#[test]
fn runners_of_jobs_are_reaped() {
    let fleet = Fleet::new(1, "");
    let watchdog = fleet.watchdog();
    fleet.await_kickoffs("p1");
    let before = ticks(&fleet);
    fleet.world.await_that("some fetches", || ticks(&fleet) >= before + 6);
    let children = std::process::Command::new("ps")
        .args(["--ppid", &watchdog.pid().to_string(), "-o", "stat="])
        .output()
        .unwrap();
    let zombies =
        String::from_utf8_lossy(&children.stdout).lines().filter(|stat| stat.starts_with('Z')).count();
    assert!(zombies <= 1, "{zombies} zombies");
}

//! Docker against podman, and a dockerd that is killed: what "Docker-compatible" engines do differently, and what neither
//! says. (Starts that fail, pauses and missing containers are in `docker`.)

use crate::lab::{Remote, assert_runs, call, inside, value};
use crate::place::kill_and_wait;
use crate::traps::{is_over, watch};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use watchkeeper::model::process::{HostLaunch, HostPlace, ProcessLaunch, RunSeen};
use watchkeeper::model::seen::Exit;
use watchkeeper::sys::hosts::docker;

fn started(engine: &str, script: &str, args: &[&str]) -> Remote {
    let mut remote = Remote::new(HostPlace::Docker { engine: engine.to_owned() });
    let args = ["--network=none"].iter().chain(args).map(|&arg| arg.to_owned()).collect();
    let host = HostLaunch::Docker { engine: engine.to_owned(), image: "lab:1".into(), args };
    let launch = ProcessLaunch { host, ..remote.place.sh(1, script) };
    remote.run(&launch);
    remote
}

fn remove(engine: &str, remote: &Remote) {
    call(&[engine, "rm", "-f", &docker::name(&remote.place.state(), "train", 1)]);
}

/// Exit, whether it was for memory, note.
fn end(remote: &mut Remote) -> (Option<Exit>, bool, String) {
    match remote.until("it ended", |seen| matches!(seen, RunSeen::Ended { .. })) {
        RunSeen::Ended { exit, out_of_memory, note, .. } => (exit, out_of_memory, note.unwrap_or_default()),
        seen => panic!("{seen:?}"),
    }
}

/// A kill for memory: docker says so, podman may not. Both say 137, which a program may exit with, too.
fn memory_and_statuses(engine: &str) -> bool {
    let mut greedy =
        started(engine, "exec awk 'BEGIN { s = \"xxxxxxxx\"; while (1) s = s s }'", &["--memory=20m"]);
    let (exit, out_of_memory, note) = end(&mut greedy);
    assert_eq!((exit, note.as_str()), (Some(Exit::Status(137)), "SIGKILL?"));
    remove(engine, &greedy);
    let mut polite = started(engine, "exit 130", &[]);
    assert_eq!(end(&mut polite), (Some(Exit::Status(130)), false, "SIGINT?".to_owned()));
    remove(engine, &polite);
    out_of_memory
}

#[test]
fn docker_says_that_memory_ran_out() {
    if inside("docker_traps::docker_says_that_memory_ran_out", "DOCKER_HOST") {
        assert!(memory_and_statuses("docker"));
    }
}

#[test]
fn podman_may_not_say_that_memory_ran_out() {
    match value("PODMAN") {
        Some(podman) => println!("podman says so: {}", memory_and_statuses(&podman)),
        None => println!("podman_may_not_say_that_memory_ran_out: not tested, the lab has no PODMAN"),
    }
}

/// A dockerd of its own. Dropping it ends it.
struct Daemon {
    lab: tempfile::TempDir,
}

fn daemon(lab: &Path, word: &str) -> bool {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/containers.sh"));
    command.arg(word).env("WATCHKEEPER_LAB", lab);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        daemon(self.lab.path(), "docker-down");
    }
}

/// A killed dockerd with --live-restore: containers go on, and what ended meanwhile is known when it is back.
#[test]
fn a_killed_dockerd_ended_nothing() {
    const TEST: &str = "docker_traps::a_killed_dockerd_ended_nothing";
    if let (Ok(host), true) = (std::env::var("DOCKER_HOST"), std::env::var_os("HOSTS_TEST_LAB").is_some()) {
        let socket = PathBuf::from(host.trim_start_matches("unix://"));
        return killed(socket.parent().and_then(Path::parent).unwrap());
    }
    if value("DOCKER_HOST").is_none() {
        return println!("{TEST}: not tested, the lab has no DOCKER_HOST");
    }
    let daemon_of_ours = Daemon { lab: tempfile::Builder::new().prefix("wk-docker-").tempdir().unwrap() };
    let lab = daemon_of_ours.lab.path();
    assert!(daemon(lab, "docker-up"), "a second dockerd did not come up");
    let socket = format!("unix://{}/docker/docker.sock", lab.display());
    assert_runs(TEST, &[("DOCKER_HOST", &socket)]);
}

fn killed(lab: &Path) {
    let mut ends = started("docker", "sleep 4; exit 5", &[]);
    ends.alive();
    let mut stays = started("docker", "exec sleep 600", &[]);
    stays.alive();
    let pid = std::fs::read_to_string(lab.join("docker/dockerd.pid")).unwrap();
    kill_and_wait(pid.trim().parse().unwrap());
    for remote in [&mut ends, &mut stays] {
        let seen = watch(remote, Duration::from_secs(3), is_over);
        assert!(matches!(seen.last(), Some(RunSeen::Unknown { .. })), "{seen:?}");
    }
    assert!(daemon(lab, "docker-up"), "it did not come back");
    assert_eq!(end(&mut ends).0, Some(Exit::Status(5)));
    stays.alive();
    remove("docker", &stays);
}

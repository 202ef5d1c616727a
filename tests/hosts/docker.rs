//! Real engines: exits, starts that fail, pauses, output without loss, a daemon that is down. The same for docker and podman.

use crate::lab::{Remote, call, inside, value};
use crate::place::kill;
use std::os::unix::fs::PermissionsExt;
use watchkeeper::model::process::{HostLaunch, HostPlace, ProcessLaunch, RunId, RunSeen};
use watchkeeper::model::seen::Exit;
use watchkeeper::sys::hosts::docker;

fn engine(remote: &Remote) -> String {
    match &remote.host {
        HostPlace::Docker { engine } => engine.clone(),
        host => panic!("{host:?}"),
    }
}

fn launch(remote: &Remote, number: u64, argv: &[&str]) -> ProcessLaunch {
    let host = HostLaunch::Docker {
        engine: engine(remote),
        image: "lab:1".into(),
        args: vec!["--network=none".into()],
    };
    ProcessLaunch { host, ..remote.place.launch(number, argv) }
}

fn sh(remote: &Remote, number: u64, script: &str) -> ProcessLaunch {
    launch(remote, number, &["sh", "-c", script])
}

fn name(remote: &Remote, number: u64) -> String {
    docker::name(&remote.place.state(), "train", number)
}

fn at(engine: &str) -> Remote {
    Remote::new(HostPlace::Docker { engine: engine.to_owned() })
}

#[test]
fn with_docker() {
    if inside("docker::with_docker", "DOCKER_HOST") {
        story("docker");
    }
}

#[test]
fn with_podman() {
    match value("PODMAN") {
        Some(podman) => story(&podman),
        None => println!("docker::with_podman: not tested, the lab has no PODMAN"),
    }
}

fn story(engine: &str) {
    let mut remote = at(engine);
    assert_eq!(remote.until("it is asked", |seen| !matches!(seen, RunSeen::Unknown { .. })), RunSeen::Absent);
    let first = sh(&remote, 1, "echo to out; echo to err >&2; echo $EXTRA $WATCHKEEPER_UNIT; exit 3");
    let first = ProcessLaunch { env: [("EXTRA".to_owned(), "a b".to_owned())].into(), ..first };
    remote.run(&first);
    assert_eq!(remote.ended(), (Some(Exit::Status(3)), String::new()));
    let log = remote.place.text("out.log");
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a b train", "to err", "to out"]);
    // The same order again, and the same when nobody remembers it: the name is taken.
    remote.run(&first);
    remote.forget();
    std::fs::remove_dir_all(remote.place.state().join("jobs")).unwrap();
    remote.run(&first);
    assert_eq!(remote.ended().0, Some(Exit::Status(3)));
    assert_eq!(remote.place.text("out.log"), log, "its output is there once");

    remote.run(&launch(&remote, 2, &["/no/such/program"]));
    let (exit, note) = remote.ended();
    assert!(exit != Some(Exit::Status(0)) && note.contains("could not be started"), "{exit:?} {note}");
    assert!(note.contains("no such file"), "{note}");

    remote.run(&sh(&remote, 3, "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done"));
    remote.alive();
    let container = name(&remote, 3);
    call(&[engine, "pause", &container]);
    remote.suspended();
    call(&[engine, "unpause", &container]);
    remote.alive();
    remote.cancel();
    assert_eq!(remote.ended().0, Some(Exit::Status(5)));
    call(&[engine, "rm", &container]);
    remote.forget();
    // (An answer of before the removal is believed until the engine was asked again.)
    let gone = |seen: &RunSeen| matches!(seen, RunSeen::Ended { exit: None, note: Some(note), .. } if note == "its container was removed");
    remote.until("its container is gone", gone);

    let before = remote.place.text("out.log").len();
    remote.run(&sh(
        &remote,
        4,
        "i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); [ $((i % 400)) != 0 ] || sleep 1; done",
    ));
    // Who fetches the output is killed again and again.
    let seen = |remote: &mut Remote| {
        let seen = remote.look();
        remote.remotes.children.iter().for_each(|child| {
            let words = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap_or_default();
            if String::from_utf8_lossy(&words).contains("shim\0logs") {
                kill(child.id().cast_signed());
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(120));
        seen
    };
    remote.alive();
    for _ in 0..8 {
        seen(&mut remote);
    }
    assert_eq!(remote.ended().0, Some(Exit::Status(0)));
    let want: String = (0..4000).map(|n| format!("line {n}\n")).collect();
    assert!(remote.place.text("out.log")[before..] == want, "lines are lost or doubled");
    for number in [1, 2, 4] {
        call(&[engine, "rm", "-f", &name(&remote, number)]);
    }
}

#[test]
fn a_later_run_than_is_remembered_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let engine = dir.path().join("engine");
    let script = r#"#!/bin/sh
[ "$1" = inspect ] || exit 0
echo "[{\"Id\":\"0123456789abcdef\",\"Name\":\"/$4\",\"State\":{\"Status\":\"paused\"}}]"
"#;
    std::fs::write(&engine, script).unwrap();
    std::fs::set_permissions(&engine, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut remote = at(engine.to_str().unwrap());
    let ordered = sh(&remote, 3, "true");
    remote.run(&ordered);
    remote.suspended();
    remote.forget();
    remote.known = RunId::default();
    let is_third = |seen: &RunSeen| matches!(seen, RunSeen::Alive { id, .. } if id.number == 3);
    remote.until("the third", is_third);
    let older = sh(&remote, 1, "true");
    let refused = remote.remotes.run(&remote.place.state(), &older).unwrap_err();
    assert!(refused.message().contains("run 3 was ordered already"), "{refused}");
}

#[test]
fn a_daemon_that_is_down_ended_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (n, words) in [
        "echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; echo '[]'; exit 1",
        "echo '[]'; exit 1",
        "exit 0",
        "echo '<html>'",
    ]
    .into_iter()
    .enumerate()
    {
        let engine = dir.path().join(format!("engine-{n}"));
        std::fs::write(&engine, format!("#!/bin/sh\n{words}\n")).unwrap();
        std::fs::set_permissions(&engine, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut remote = at(engine.to_str().unwrap());
        remote.known.number = 1;
        remote.known.handle = "0123.x".into();
        let failed = |seen: &RunSeen| match seen {
            RunSeen::Unknown { why } => !why.contains("being asked"),
            seen => panic!("{words}: {seen:?}"),
        };
        remote.until("it has failed", failed);
    }
}

/// Not even what was ordered is remembered: the container that lives is found, and no second one is made beside it.
fn forgotten(engine: &str) {
    let mut remote = at(engine);
    for paused in [false, true] {
        remote.run(&sh(&remote, if paused { 5 } else { 4 }, "exec sleep 600"));
        remote.alive();
        let before = remote.known.clone();
        if paused {
            call(&[engine, "pause", &name(&remote, 5)]);
        }
        remote.lose_everything();
        match paused {
            true => remote.suspended(),
            false => remote.alive(),
        }
        assert_eq!(remote.known, before);
        call(&[engine, "kill", &name(&remote, before.number)]);
        remote.ended();
    }
    // What is over is not begun anew because its records are lost, and the latest is the one that counts.
    remote.lose_everything();
    remote.ended();
    assert_eq!(remote.known.number, 5);
    call(&[engine, "rm", "-f", &name(&remote, 4), &name(&remote, 5)]);
    remote.lose_everything();
    assert_eq!(remote.until("it is asked", |seen| !matches!(seen, RunSeen::Unknown { .. })), RunSeen::Absent);
}

#[test]
fn a_container_of_docker_that_nobody_remembers_is_found() {
    if inside("docker::a_container_of_docker_that_nobody_remembers_is_found", "DOCKER_HOST") {
        forgotten("docker");
    }
}

#[test]
fn a_container_of_podman_that_nobody_remembers_is_found() {
    match value("PODMAN") {
        Some(podman) => forgotten(&podman),
        None => println!("a container of podman that nobody remembers: not tested, the lab has no PODMAN"),
    }
}

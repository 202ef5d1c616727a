//! `doctor` on processes: who really heals them and why, their programs, hosts and logs, each with its remedy.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod support;

use std::os::unix::fs::PermissionsExt;
use support::World;

const HEAD: &str = "[[process]]\nname = \"train\"\n";

/// A config with this process, and a program `healer` on the PATH.
fn world(process: &str) -> World {
    let world = World::new();
    program(&world, "healer", "exit 0");
    world.file("agents.toml", format!("{HEAD}{process}"));
    world
}

fn program(world: &World, name: &str, script: &str) {
    world.file(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
    let path = world.path().join("bin").join(name);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Findings as `check level: text | remedy`, one a line, only those of `checks`.
fn findings(world: &World, checks: &[&str]) -> (Option<i32>, String) {
    let path = format!("{}/bin:{}", world.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = world.binary().args(["doctor", "--json"]).env("PATH", path).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines: Vec<String> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| checks.contains(&finding["check"].as_str().unwrap()))
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or("-").to_owned();
            format!("{} {}: {} | {}", text("check"), text("level"), text("text"), text("remedy"))
        })
        .collect();
    (output.status.code(), lines.join("\n").replace(&*world.path().to_string_lossy(), "$DIR"))
}

#[track_caller]
fn check(world: &World, checks: &[&str], want: &str) {
    let (_, got) = findings(world, checks);
    assert!(support::agrees(want, &got), "want\n{want}\n  got\n{got}");
}

#[test]
fn the_healer_that_will_really_run_is_named_with_its_reason() {
    let healing = |lines: &str| format!("command = [\"true\"]\n[process.healing]\n{lines}\n");
    for (lines, want) in [
        ("agent = \"off\"", "healing ok: `train`: off: nobody is asked[..]"),
        (
            "agent = \"interactive\"",
            "healing warning: `train`: interactive: a request waits for `watchkeeper respond train`, 600 s each; but $DIR is in no git repository[..] | git init $DIR, [..]",
        ),
        (
            "command = [\"healer\"]",
            "healing warning: `train`: headless: $DIR/bin/healer, for auto found it; but $DIR is in no git repository[..] | [..]",
        ),
        (
            "command = [\"no-such-healer\"]",
            "healing warning: `train`: off: auto did not find `no-such-healer`, so nobody will be asked | install `no-such-healer`, [..]",
        ),
        (
            "agent = \"headless\"\ncommand = [\"./no-such-healer\"]",
            "healing missing: `train`: headless, but `./no-such-healer` is not found: nobody will be asked | install [..]",
        ),
    ] {
        check(&world(&healing(lines)), &["healing"], want);
    }
    let missing = world(&healing("agent = \"headless\"\ncommand = [\"no-such-healer\"]"));
    assert_eq!(findings(&missing, &[]).0, Some(69));
}

#[test]
fn a_dirty_tree_keeps_the_healer_away() {
    let world =
        world("command = [\"true\"]\n[process.healing]\nagent = \"headless\"\ncommand = [\"healer\"]\n");
    let git = |args: &[&str]| {
        let ran = world.command("git").args(args).output().unwrap();
        assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "all"]);
    // What is remembered is no uncommitted work.
    world.file(".watchkeeper/status", "");
    check(&world, &["healing"], "healing ok: `train`: headless: $DIR/bin/healer; the tree is clean | -");
    // A file that git does not know keeps nobody away.
    world.file("new.py", "");
    check(&world, &["healing"], "healing ok: `train`: headless: $DIR/bin/healer; the tree is clean | -");
    world.file(
        "agents.toml",
        format!("{HEAD}command = [\"true\"]\n[process.healing]\ncommand = [\"healer\"]\n"),
    );
    check(
        &world,
        &["healing"],
        "healing warning: `train`: headless: [..]; but $DIR has 1 file with uncommitted work, and dirty = \"refuse\": not now | commit or stash it, or dirty = \"stash\"",
    );
    let stash =
        format!("{HEAD}command = [\"true\"]\n[process.healing]\ncommand = [\"healer\"]\ndirty = \"stash\"\n");
    world.file("agents.toml", stash);
    check(
        &world,
        &["healing"],
        "healing ok: `train`: headless: [..]; 2 files of uncommitted work will be stashed | -",
    );
}

/// The healer and the doctor look with the same eyes.
#[test]
fn edits_of_a_fix_that_was_kept_are_no_dirty_tree() {
    let world =
        world("command = [\"true\"]\n[process.healing]\nagent = \"headless\"\ncommand = [\"healer\"]\n");
    let git = |args: &[&str]| {
        let ran = world.command("git").args(args).output().unwrap();
        assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    };
    world.file("train.py", "lr = 1\n");
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "all"]);
    git(&["checkout", "-qb", "watchkeeper/fix-one"]);
    world.file("train.py", "lr = 0.1\n");
    git(&["commit", "-qam", "a fix"]);
    let kept = format!(
        "{{\"v\":1,\"root\":\"{}\",\"branch\":\"watchkeeper/fix-one\",\"commit\":\"{}\",\
         \"paths\":{{\"train.py\":{{\"file\":{{\"blob\":\"{}\",\"mode\":420}}}}}}}}",
        git(&["rev-parse", "--show-toplevel"]),
        git(&["rev-parse", "HEAD"]),
        git(&["rev-parse", "HEAD:train.py"])
    );
    git(&["checkout", "-q", "main"]);
    world.file(".watchkeeper/fixes/train-1/kept.json", kept);
    world.file("train.py", "lr = 0.1\n");
    check(&world, &["healing"], "healing ok: `train`: headless: [..]; the tree is clean | -");
    // Somebody goes on with it: that is work, and to look at it leaves nothing behind.
    world.file("train.py", "lr = 0.2\n");
    let before = git(&["count-objects"]);
    check(
        &world,
        &["healing"],
        "healing warning: [..] has 1 file with uncommitted work[..] | commit or stash it[..]",
    );
    assert_eq!(git(&["count-objects"]), before);
}

#[test]
fn what_keeps_a_process_from_its_start_is_named() {
    let off = "[process.healing]\nagent = \"off\"\n";
    let process = "command = [\"./no-such-program\"]\nrequire = { programs = [\"sh\", \"nope-x\"], env = [\"HOME\", \"NOPE_X\"] }\nconfig_snapshots = [\".env\", \"gone.yaml\", \"agents.toml\"]\n";
    check(
        &world(&format!("{process}{off}")),
        &["process", "snapshots"],
        "process problem: `train`: its program `./no-such-program` is not found | [..]\n\
         process problem: `train` requires `nope-x`, which is not found: [..] | install it\n\
         process problem: `train` requires the variable NOPE_X, which is not set here | [..]\n\
         snapshots warning: `train`: `$DIR/.env` goes into every incident | [..]\n\
         snapshots warning: `train`: `$DIR/gone.yaml` is not there | [..]",
    );
    let good = world(&format!("command = [\"sh\", \"-c\", \"true\"]\n{off}"));
    check(&good, &["process"], "process ok: `train`: sh -c true | -");
    // Nothing runs in tmux: it need not be there.
    let (code, said) = {
        let output = good.binary().args(["doctor", "--json"]).env("PATH", "/nonexistent").output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert!(said.contains("only agents and services need it") && code != Some(69), "{code:?} {said}");
}

#[test]
fn hosts_are_asked_once_and_their_silence_is_named() {
    let two = "host = \"docker\"\nengine = \"fake-engine\"\nimage = \"x\"\n[[process]]\nname = \"b\"\nhost = \"docker\"\nengine = \"fake-engine\"\nimage = \"y\"\n";
    let world = world(two);
    check(
        &world,
        &["containers"],
        "containers missing: [..]`fake-engine`[..] | install `fake-engine`, or put it into PATH",
    );
    program(&world, "fake-engine", "echo x >> asked; exit 0");
    check(&world, &["containers"], "containers ok: `fake-engine version` answers | -");
    assert_eq!(std::fs::read_to_string(world.path().join("asked")).unwrap(), "x\n");
    program(&world, "fake-engine", "echo no daemon >&2; exit 1");
    check(
        &world,
        &["containers"],
        "containers problem: `fake-engine version`: [..]no daemon[..] | start it [..]",
    );
    world.file("agents.toml", format!("{HEAD}host = \"slurm\"\ncommand = [\"x\"]\n"));
    for name in ["sbatch", "squeue", "scancel", "sacct"] {
        program(&world, name, "exit 0");
    }
    program(&world, "scontrol", "echo 'Slurmctld(primary) is UP'");
    check(&world, &["slurm"], "slurm ok: `scontrol ping` answers | -");
    let attached = format!("{HEAD}host = \"attach\"\npid_file = \"run.pid\"\nlog = \"gone.log\"\n");
    world.file("agents.toml", attached);
    check(
        &world,
        &["process", "log"],
        "process warning: `train`: its pid file `$DIR/run.pid` is not there | [..]\n\
         log warning: `train`: its log `$DIR/gone.log`: no such file[..] | [..]",
    );
}

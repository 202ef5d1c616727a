//! `scan`, by the binary: any log, the default detectors and others.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

#[path = "support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::World;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/traces").join(name)
}

#[test]
fn a_traceback_has_the_documented_keys() {
    let world = World::new();
    let log = std::fs::read_to_string(fixture("py08_thread.log")).unwrap();
    world.file("run.log", format!("step 1\n{log}"));
    let want = json!({
        "file": "run.log", "line": 3, "detector": "traceback", "kind": "traceback", "language": "python",
        "exception": "ZeroDivisionError", "message": "division by zero",
        "frames": [
            {"file": "/srv/app/src/py_run/thread.py", "line": 5, "function": "worker"},
            {"file": "/srv/app/src/py_run/thread.py", "line": 9, "function": "compute"},
        ],
    });
    world.wk(["scan", "run.log", "--json"]).stdout(&format!("{want}\n")).check();
    let text = "run.log:3: traceback: ZeroDivisionError: division by zero\n    \
                /srv/app/src/py_run/thread.py:5 in worker\n    /srv/app/src/py_run/thread.py:9 in compute\n";
    world.wk(["scan", "run.log"]).stdout(text).check();
    world.wk(["scan", "-"]).stdin(log.as_str()).stdout("-:2: [..]\n...\n").check();
}

#[test]
fn several_files_and_a_clean_one() {
    let world = World::new();
    world.file("clean.log", "all is well\n");
    let go = fixture("go04_index_out_of_range.log");
    let want = format!(
        "{}:1: traceback: panic: runtime error: index out of range [6] with length 3\n...\n",
        go.display()
    );
    world.wk(["scan", "clean.log", go.to_str().unwrap()]).stdout(&want).check();
    world.wk(["scan", "clean.log"]).stdout("").check();
}

#[test]
fn detectors_of_a_file_and_of_a_process() {
    let world = World::new();
    world.file("run.log", "step 1/9 loss=0.5\nCUDA out of memory: 8192 MiB\nstep 2/9 loss=12\n");
    world.file(
        "detectors.toml",
        "detectors = [\n  { kind = \"pattern\", name = \"oom\", regex = 'out of memory: (\\d+) MiB' },\n  \
         { kind = \"metric\", name = \"loss\", regex = 'loss=(\\S+)', above = 10 },\n]\n",
    );
    let run =
        world.wk(["scan", "run.log", "--detectors", "detectors.toml", "--json"]).stdout("...\n").check();
    let rows: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let what: Vec<_> =
        rows.iter().map(|row| (row["detector"].as_str().unwrap(), row["line"].as_u64().unwrap())).collect();
    assert_eq!(what, [("oom", 2), ("loss", 3)]);
    assert_eq!(rows[0]["exception"], Value::Null);
    world.file(
        "agents.toml",
        "[[process]]\nname = \"train\"\ncommand = [\"true\"]\ndetectors = [{ kind = \"pattern\", name = \"oom\", regex = \"memory\" }]\n",
    );
    world
        .wk(["scan", "run.log", "--process", "train"])
        .stdout("run.log:2: oom: CUDA out of memory: 8192 MiB\n")
        .check();
}

#[test]
fn findings_come_in_the_order_of_their_lines() {
    let world = World::new();
    world.file(
        "detectors.toml",
        "detectors = [{ kind = \"traceback\" }, { kind = \"pattern\", name = \"low\", regex = \"line 3\" }]\n",
    );
    world.file(
        "run.log",
        "begin\nTraceback (most recent call last):\n  File \"a.py\", line 3, in f\n    x()\nKeyError: 'a'\nline 3\n",
    );
    let run = world.wk(["scan", "run.log", "--detectors", "detectors.toml"]).stdout("...\n").check();
    let heads: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with("run.log:")).collect();
    let lines: Vec<u64> = heads.iter().map(|head| head.split(':').nth(1).unwrap().parse().unwrap()).collect();
    assert!(lines.len() >= 3 && lines.is_sorted(), "{heads:?}");
}

#[test]
fn what_is_wrong_is_told() {
    let world = World::new();
    world.file("d.toml", "detectors = [{ kind = \"pattern\", name = \"a\" }]\n");
    let check = |args: &[&str], want: &str| {
        world.wk(args.iter().copied()).code(2).stderr(&format!("watchkeeper: {want}\n")).check();
    };
    check(&["scan"], "[..]a file, or `-` for standard input[..]\n...");
    check(&["scan", "gone.log"], "there is no file `gone.log`");
    check(&["scan", "."], "[..]is a directory");
    check(&["scan", "x", "--detectors", "d.toml"], "[..]d.toml:1:[..]\n...");
    check(
        &["scan", "x", "--process", "p", "--detectors", "d.toml"],
        "`--process` and `--detectors` exclude each other",
    );
}

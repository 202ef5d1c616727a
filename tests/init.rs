//! `init` beyond the examples: a config for the process in a folder, another watchdog's taken over, today's defaults.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod support;

use std::os::unix::fs::PermissionsExt;
use support::World;

const PYTHON: &[(&str, &str)] = &[
    ("pyproject.toml", "[project]\nname = \"x\"\ndependencies = [\"torch\"]\n"),
    ("uv.lock", ""),
    ("train.py", "import os\nb = int(os.environ.get('BATCH_SIZE', '16'))\n"),
    ("configs/run.yaml", "lr: 1\n"),
    (".env", "TOKEN=secret\n"),
];

fn folder(world: &World, files: &[(&str, &str)]) {
    files.iter().for_each(|(path, text)| world.file(path, text));
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn read(world: &World, path: &str) -> String {
    std::fs::read_to_string(world.path().join(path)).unwrap()
}

#[test]
fn a_folder_gets_a_config_that_passes_check() {
    let world = World::new();
    folder(&world, PYTHON);
    world
        .wk(["init"])
        .stdout("...\nprocess [..]\n\n[..]\nHere is a Python project (pyproject.toml): `watchkeeper init process` [..]\n")
        .check();
    world
        .wk(["init", "process"])
        .stdout(
            "Python (pyproject.toml): `train` runs uv run python train.py\n./agents.toml: written\n\nNext:\n  \
             watchkeeper check\n  watchkeeper doctor\n  watchkeeper run\n",
        )
        .no_file("AGENT_NOTES.md")
        .check();
    world.wk(["check"]).stdout("agents.toml: good, 1 unit\n").check();
    let text = read(&world, "agents.toml");
    for part in [
        "BATCH_SIZE = \"16\"",
        "BATCH_SIZE = { change = \"half\", floor = 1 }",
        "\"configs/run.yaml\", \"pyproject.toml\"",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("\".env\""), "{text}");
}

#[test]
fn what_is_there_is_kept_and_said() {
    let world = World::new();
    folder(&world, PYTHON);
    let said = world.wk(["init", "process", "--for-agent", "--json"]).stdout("{\n...\n}\n").check();
    let made = json(&said.stdout);
    assert_eq!(made["found"][0]["stack"], "Python");
    assert_eq!(made["files"][1], serde_json::json!({"path": "AGENT_NOTES.md", "found": "written"}));
    // Again: the same files are fine.
    world.wk(["init", "--for-agent"]).stdout("...\n./agents.toml: is there already, the same\n...\n").check();
    world.file("agents.toml", "# mine\n");
    world.file("AGENT_NOTES.md", "mine\n");
    world.file(".git/HEAD", "");
    world
        .wk(["init", "process", "--for-agent"])
        .code(1)
        .stdout(
            "Python [..]\n./agents.toml: kept as it is, it is another one\n./AGENT_NOTES.md: kept as it is, it is \
             another one\n`watchkeeper init --upgrade` [..]\nput `.watchkeeper/` into .gitignore: [..]\n...\n",
        )
        .file("agents.toml", "# mine\n")
        .file("AGENT_NOTES.md", "mine\n")
        .check();
}

#[test]
fn every_stack_and_none_pass_check() {
    for (files, command) in [
        (&[("package.json", r#"{"scripts": {"start": "node ."}}"#)][..], "npm run start"),
        (&[("go.mod", "module a/b\n")], "go run ."),
        (&[("Cargo.toml", "[package]\nname = \"a\"\n")], "cargo run --release"),
        (&[("pom.xml", "<project/>")], "mvn -q exec:java"),
        (&[("build.gradle", ""), ("gradlew", "")], "./gradlew --console=plain run"),
        (&[("Makefile", "run:\n\ttrue\n")], "make run"),
        (&[("README", "")], "nothing that I know [..]"),
        // Names that a shell or TOML would trip over.
        (&[("it's \"a\" \\ train.py", "")], "[..]"),
    ] {
        let world = World::new();
        for (path, text) in files {
            world.file(&format!("my project/{path}"), text);
        }
        let said = format!("{command}\n...\n");
        let said =
            if command.starts_with('n') && command.contains("[..]") { said } else { format!("[..]{said}") };
        world.wk(["init", "process", "my project"]).stdout(&said).check();
        let text = read(&world, "my project/agents.toml");
        world
            .wk(["check", "--config", "my project/agents.toml"])
            .stdout(if text.is_empty() { "" } else { "my project/agents.toml: good, 1 unit\n" })
            .check();
    }
}

#[test]
fn wrong_usage_is_refused() {
    let world = World::new();
    for (args, said) in [
        (&["init", "process", "a", "b"][..], "`init` takes at most 2 words: `b` is too much"),
        (&["init", "process", "nowhere"], "`nowhere`: there is no such folder"),
        (&["init", "proces"], "there is no template `proces`"),
        (
            &["init", "--upgrade", "--from", "x"],
            "--upgrade, --from and --for-agent are three different things: take one",
        ),
        (&["init", "snakepit", "--for-agent"], "an example has its own files"),
        (&["init", "--from", "nowhere.yaml"], "reading the configuration to take over: `nowhere.yaml`: [..]"),
    ] {
        let stderr = format!("watchkeeper: {said}\n...\n");
        world.wk(args.iter().copied()).code(2).stderr(&stderr).check();
    }
}

const AUTOSENTRY: &str = "
process:
  command: [python3, train.py]
  env: {BATCH_SIZE: 32}
  restart_policy: {max_restarts: 50, cooldown_seconds: 60, backoff: exponential}
detectors:
  - {kind: pattern, name: oom, regex: 'CUDA out of memory'}
  - {kind: exit_code, name: exit}
rules:
  - {name: halve, match: {detector: oom}, action: {kind: restart_with_env, set: {BATCH_SIZE: half}}}
notifiers: [{kind: webhook, url: 'https://example.org'}]
";

#[test]
fn another_watchdogs_configuration_is_taken_over() {
    let world = World::new();
    world.file("run/.autosentry/autosentry.yaml", AUTOSENTRY);
    world
        .wk(["init", "--from", "run/.autosentry/autosentry.yaml"])
        .stdout(
            "run/.autosentry/autosentry.yaml: 1 process: run\nrun/agents.toml: written\n\nWhat did not come through as \
             it was:\n  process.restart_policy.backoff (left out): [..]\n  notifiers[0] (left out): [..]outbox[..]\n\nNext:\n  cd run\n...\n",
        )
        .check();
    world.wk(["check", "--config", "run/agents.toml"]).stdout("run/agents.toml: good, 1 unit\n").check();
    let text = read(&world, "run/agents.toml");
    assert!(
        text.contains("restart = { max = 50, cooldown_s = 60 }")
            && text.contains("# - notifiers[0] (left out)"),
        "{text}"
    );
    // Kept when it is there, also with the folder named.
    world.file("other/agents.toml", "# mine\n");
    let said = world
        .wk(["init", "--from", "run/.autosentry/autosentry.yaml", "other", "--json"])
        .code(1)
        .stdout("{\n...\n}\n")
        .file("other/agents.toml", "# mine\n")
        .check();
    let report = json(&said.stdout);
    assert_eq!(report["files"][0]["found"], "kept");
    assert_eq!(report["notes"][0]["what"], "left_out");
}

#[test]
fn hostile_yaml_is_refused_in_words() {
    let world = World::new();
    for (text, said) in [
        ("[".repeat(100_000), "line 1[..]"),
        ("a: &a [x,x]\nb: [*a".to_owned(), "line [..]"),
        ("x".repeat(300_000), "is longer than the 262144 bytes that are read"),
        ("- 1\n".to_owned(), "is no mapping: is it an autosentry.yaml?"),
        ("a: 1\n".to_owned(), "has no `process`: there is nothing to take over"),
    ] {
        world.file("a.yaml", text);
        let stderr = format!("watchkeeper: reading the configuration to take over: `a.yaml`: {said}\n");
        world.wk(["init", "--from", "a.yaml"]).code(2).stderr(&stderr).no_file("agents.toml").check();
    }
}

#[test]
fn an_older_config_is_compared_and_changed_only_where_asked() {
    let world = World::new();
    let text = "# my fleet\n[watchdog]\nsignal_interval = 5   # fast\n\n[[process]]\nname = \"t\"   # it\ncommand = [\"true\"]\n";
    world.file("real.toml", text);
    std::os::unix::fs::symlink("real.toml", world.path().join("agents.toml")).unwrap();
    std::fs::set_permissions(world.path().join("real.toml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    world
        .wk(["init", "--upgrade"])
        .stdout(
            "agents.toml: 1 key as today's defaults are not, [..] not written\n\nYours, and today's default:\n  \
             watchdog.signal_interval[..]5 → 30[..]\n\nNot written, so the default is in force:\n...\n  \
             process.t.restart.max [..]10[..]\n...\n\n`watchkeeper init --upgrade KEY…` [..]\n",
        )
        .file("real.toml", text)
        .check();
    world
        .wk(["init", "--upgrade", "watchdog.signal_interval", "process.t.restart.max"])
        .stdout("watchdog.signal_interval = 30, was 5\nprocess.t.restart.max = 10\n")
        .check();
    let changed =
        text.replace("= 5 ", "= 30 ").replace("[\"true\"]\n", "[\"true\"]\nrestart = { max = 10 }\n");
    assert_eq!(read(&world, "real.toml"), changed);
    assert!(std::fs::symlink_metadata(world.path().join("agents.toml")).unwrap().is_symlink());
    let mode = std::fs::metadata(world.path().join("real.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    world.wk(["check"]).stdout("agents.toml: good, 1 unit\n").check();
    let said = world.wk(["init", "--upgrade", "--json"]).stdout("{\n...\n}\n").check();
    let report = json(&said.stdout);
    assert!(report["keys"].as_array().unwrap().iter().all(|row| row["state"] == "new"), "{report}");
    world
        .wk(["init", "--upgrade", "watchdog.stal_idle"])
        .code(2)
        .stderr("watchkeeper: `watchdog.stal_idle` is no key that is new or differs\nhint: did you mean `watchdog.stall_idle`?\n")
        .file("real.toml", &changed)
        .check();
}

use super::*;
use crate::cli::setup::yaml;

fn taken(text: &str) -> Taken {
    let env = |name: &str| (name == "HOME" || name == "SET").then(|| "7".to_owned());
    let world = World { env: &env, name: "main", from: "autosentry.yaml" };
    take_over(&yaml::read(text).unwrap(), &world).unwrap_or_else(|error| panic!("{error}"))
}

/// The agents.toml without comments, which the parser must accept.
#[track_caller]
fn body(text: &str) -> String {
    let taken = taken(text);
    assert_eq!(super::super::problems_of(&taken.text), "", "{}", taken.text);
    let lines: Vec<&str> =
        taken.text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty()).collect();
    lines.join("\n")
}

#[track_caller]
fn check(text: &str, want: &str) {
    assert_eq!(body(text), want.trim());
}

/// The notes as `key (fate)`.
fn notes(text: &str) -> Vec<String> {
    taken(text).notes.iter().map(|note| format!("{} ({})", note.key, note.what.word())).collect()
}

#[test]
fn a_training_run_comes_through() {
    check(
        r"
process:
  kind: local
  command: [python, train.py]
  cwd: $HOME/run
  env: {BATCH_SIZE: 8, LR: '0.1'}
  restart_policy: {max_restarts: 0, cooldown_seconds: 5, max_identical_failures: 3}
  lifecycle: restart_on_failure
monitor: {poll_interval_seconds: 10}
config_snapshots: [.env, configs/run.yaml]
detectors:
  - {kind: pattern, name: oom, regex: 'CUDA out of memory', cooldown_seconds: 30}
  - {kind: traceback, name: python trace}
  - {kind: stall, name: slow, metric_regex: 'step (\d+)', no_progress_seconds: 900}
  - {kind: exit_code, name: exit, nonzero_only: false}
rules:
  - {name: halve, match: {detector: oom}, action: {kind: restart_with_env, set: {BATCH_SIZE: half, MODE: safe}}}
  - {match: {detector: slow, message_regex: no progress}, action: {kind: custom_command, command: [./dump.sh, $SET]}}
healing:
  verify_window_seconds: 300
  escalate_to_claude_after: 4
  claude: {enabled: auto, mode: subprocess, command: [claude, --print], timeout_seconds: 60, subagents: {oom: {type: gpu}}}
  git: {auto_merge: true}
  budget: {max_attempts_per_detector_per_hour: 0}
",
        r#"
[watchdog]
signal_interval = 10
[[process]]
name = "main"
command = ["python", "train.py"]
cwd = "${HOME}/run"
env = { BATCH_SIZE = "8", LR = "0.1" }
restart = { max = 100000, cooldown_s = 5 }
max_identical = 3
lifecycle = "restart-on-failure"
config_snapshots = ["configs/run.yaml"]
detectors = [
  { kind = "pattern", name = "oom", regex = "CUDA out of memory", cooldown_s = 30 },
  { kind = "traceback", name = "python-trace" },
  { kind = "stall", name = "slow", metric_regex = 'step (\d+)', no_progress_s = 900 },
  { kind = "exit", name = "exit", any = true },
]
rules = [
  { name = "halve", match = { detector = "oom" }, action = { kind = "restart-with-env", set = { BATCH_SIZE = { change = "half", floor = 1 }, MODE = "safe" } } },
  { match = { detector = "slow", message = "no progress" }, action = { kind = "command", command = ["./dump.sh", "${SET}"] } },
]
[process.healing]
agent = "headless"
command = ["claude", "--print"]
timeout_s = 60
subagents = { oom = "gpu" }
verify_window_s = 300
escalate_after = 4
max_attempts_per_hour = 1000000
auto_merge = true
"#,
    );
}

#[test]
fn stages_become_processes_that_wait_for_each_other() {
    check(
        r"
process:
  env: {A: 1}
  restart_policy: {max_restarts: 2}
  stages:
    - {name: prepare, command: [./prep], lifecycle: restart_always, env: {B: 2}}
    - {name: train, command: [./train], max_stage_seconds: 60, required_executables: [git], required_env: [HOME],
       restart_policy: {max_restarts: 5}}
",
        r#"
[[process]]
name = "prepare"
command = ["./prep"]
env = { A = "1", B = "2" }
restart = { max = 2 }
[[process]]
name = "train"
command = ["./train"]
env = { A = "1" }
restart = { max = 5 }
deadline_s = 60
require = { programs = ["git"], env = ["HOME"] }
after = ["prepare"]
"#,
    );
}

#[test]
fn hosts() {
    check(
        "process: {kind: attach, extra: {pid_file: run.pid, log_path: out.log, allow_kill: yes}}\nrules: [{match: {}, action: {kind: restart}}, {match: {}, action: {kind: abort}}]",
        r#"
[[process]]
name = "main"
host = "attach"
pid_file = "run.pid"
log = "out.log"
allow_kill = true
rules = [
  { match = {}, action = { kind = "abort" } },
]
"#,
    );
    check(
        "process: {kind: slurm, command: [sbatch, --time=1:00, -p, gpu, --parsable, -o, x.log, job.sh, arg], extra: {sacct_command: [sacct]}}",
        r#"
[[process]]
name = "main"
host = "slurm"
sbatch_args = ["--time=1:00", "-p", "gpu"]
command = ["job.sh", "arg"]
"#,
    );
    check(
        "process: {kind: docker, command: [podman, run, --rm, --name, '{name}', -v, '/a:/b', --gpus=all, -it, img:1, python, x.py]}",
        r#"
[[process]]
name = "main"
host = "docker"
engine = "podman"
image = "img:1"
run_args = ["-v", "/a:/b", "--gpus=all"]
command = ["python", "x.py"]
"#,
    );
    check(
        "process: {kind: docker, command: [./up.sh]}",
        "[[process]]\nname = \"main\"\ncommand = [\"./up.sh\"]",
    );
}

#[test]
fn what_does_not_come_through_is_said() {
    let text = r"
process: {command: python x.py, restart_policy: {backoff: fixed}, colour: red}
notifiers: [{kind: webhook, url: 'https://x'}, {kind: log}]
vault: {enabled: true}
detectors:
  - {kind: pattern, name: look, regex: '(?<=a)b'}
  - {kind: pattern, name: none}
  - {kind: humidity, name: wet}
  - {kind: traceback, name: t}
  - {kind: traceback, name: t}
rules:
  - {match: {detector: look}, action: {kind: restart}}
  - {match: {detector: nowhere}, action: {kind: pause}}
  - {match: {detector: t}, action: {kind: restart_with_env, set: {N: half}}}
  - {match: {detector: t}, action: {kind: dance}}
healing: {claude: {mode: langgraph, prompt_template: x.md}, regression_action: ignore}
nonsense: 1
";
    assert_eq!(
        notes(text),
        [
            "detectors[0] (left out)",
            "detectors[1] (left out)",
            "detectors[2] (left out)",
            "detectors[4].name (changed)",
            "rules[0] (left out)",
            "rules[1] (left out)",
            "rules[3] (left out)",
            "healing.claude.mode (changed)",
            "healing.claude.prompt_template (left out)",
            "healing.regression_action (left out)",
            "process.command (changed)",
            "process.restart_policy.backoff (left out)",
            "process.colour (unknown)",
            "rules[2] (left out)",
            "notifiers[0] (left out)",
            "notifiers[1] (left out)",
            "vault (left out)",
            "nonsense (unknown)",
        ]
    );
    let taken = taken(text);
    for note in &taken.notes {
        assert!(taken.text.contains(&note.key), "{}: {}", note.key, taken.text);
    }
    body(text);
}

#[test]
fn variables_are_those_of_the_old_program() {
    let text = "process: {command: [a, $SET, '${SET}x', '${NOT_SET}', '$lower', '${lower}', 'a$', '$1', '$$'], env: {X: '${SET}'}}";
    check(
        text,
        r#"
[[process]]
name = "main"
command = ["a", "${SET}", "${SET}x", "$NOT_SET", "$lower", "$lower", "a$", "$1", "$$"]
env = { X = "${SET}" }
"#,
    );
    assert_eq!(notes(text).len(), 2);
    // A number that the old one took from its own environment.
    let half =
        "process: {command: [a]}\nrules: [{match: {}, action: {kind: restart_with_env, set: {SET: half}}}]";
    assert!(body(half).contains("env = { SET = \"${SET}\" }"), "{}", body(half));
}

#[test]
fn hostile_configurations_give_a_config_or_an_error() {
    let env = |_: &str| None;
    let world = World { env: &env, name: "main", from: "x\n[[process]]\ny" };
    for text in [
        "[]",
        "a",
        "",
        "process:",
        "process: []",
        "process: {command: []}",
        "process: {command: {a: b}}",
        "process: {stages: [a, b, {name: x}]}",
        "process: {kind: docker, command: [docker, run]}",
        "process: {kind: attach}",
        "process: {command: [a], cwd: [1], env: [1], extra: 3, restart_policy: {max_restarts: -1, cooldown_seconds: nan}}",
        "process: {command: [\"a\\nb\", 'it''s \"x\"\\']}",
        "process: {command: [a], env: {'A=B': 1, '': 2, C: [1]}}",
        "process: {command: [a]}\ndetectors: {a: b}\nrules: 3\nhealing: []\nmonitor: x\nnotifiers: x\nconfig_snapshots: 9",
        "process: {command: [a]}\ndetectors: [{name: '\\n', kind: pattern, regex: ''}, 3, null]",
        "process: {command: [a]}\nrules: [{match: {detector: 1, message_regex: '('}, action: {kind: custom_command, command: []}}, {action: x}, {}]",
        "process: {command: [a]}\nhealing: {claude: {command: [], enabled: no, subagents: {x: 1}}, budget: {max_attempts_per_detector_per_hour: 1.5}}",
    ] {
        let Ok(node) = yaml::read(text) else { continue };
        match take_over(&node, &world) {
            Ok(taken) => assert_eq!(super::super::problems_of(&taken.text), "", "{text}\n{}", taken.text),
            Err(error) => assert!(!error.message().is_empty()),
        }
    }
}

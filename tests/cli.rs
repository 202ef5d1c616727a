//! The command line without a fleet: arguments, errors and exit codes, and the commands that read files.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod support;

use std::process::Stdio;
use support::World;

const TWO: &str = r#"
[[agent]]
name = "builder"
kind = "loop"
[[service]]
name = "dash"
command = ["sleep", "1000"]
"#;

#[test]
fn without_a_command_it_says_what_there_is() {
    World::new().wk([""; 0]).code(2).stderr("watchkeeper keeps watch [..]\n...\n").check();
    let said = World::new().wk(["-h"]).stdout("watchkeeper keeps watch [..]\n...\n").check();
    assert!(said.stdout.lines().count() < 50);
    World::new().wk(["--version"]).stdout("watchkeeper [..].[..].[..]\n").check();
    World::new()
        .wk(["why", "--help"])
        .stdout("the reasons [..]\n\nusage: watchkeeper why [..]\n...\n")
        .check();
}

#[test]
fn help_and_version_never_read_the_config() {
    let world = World::new();
    world.file("agents.toml", "this is no config [");
    world.wk(["status", "-h"]).stdout("a line per unit[..]\n...\n").check();
    world.wk(["--version", "--config", "/no/such"]).stdout("watchkeeper [..]\n").check();
    world.wk(["completions", "bash"]).stdout("# bash completion[..]\n...\n").check();
    world.wk(["man"]).stdout(".TH WATCHKEEPER 1[..]\n...\n").check();
}

#[test]
fn wrong_usage_is_exit_code_2_with_a_way_out() {
    let world = World::with_config(TWO);
    world
        .wk(["statsu"])
        .code(2)
        .stderr("watchkeeper: there is no command `statsu`\nhint: did you mean `status`?\n")
        .check();
    world
        .wk(["why", "bilder"])
        .code(2)
        .stderr("watchkeeper: there is no unit `bilder` in the config\nhint: did you mean `builder`?\n")
        .check();
    world
        .wk(["down", "banana"])
        .code(2)
        .stderr("watchkeeper: there is no unit `banana` in the config\nhint: units are: builder, dash\n")
        .check();
    world.wk(["inspect", "../x"]).code(2).stderr("watchkeeper: name `../x` holds '.'; use [..]\n").check();
    world
        .wk(["events", "--last", "many"])
        .code(2)
        .stderr("watchkeeper: `--last many`: not a whole number\n")
        .check();
    world
        .wk(["pause", "bulider"])
        .code(2)
        .stderr("watchkeeper: there is no unit `bulider` in the config\nhint: did you mean `builder`? [..]\n")
        .no_file(".watchkeeper/PAUSED")
        .check();
}

#[test]
fn no_config_is_exit_code_2_with_a_hint() {
    let world = World::new();
    for command in ["status", "up", "run", "tick", "check"] {
        world
            .wk([command])
            .code(2)
            .stderr("watchkeeper: [..]no such config file\nhint: [..]agents.example.toml[..]\n")
            .check();
    }
    world
        .wk(["status", "--config", "other.toml"])
        .code(2)
        .stderr("watchkeeper: [..]other.toml`: no such config file\nhint: [..]--config[..]\n")
        .check();
}

#[test]
fn check_prints_every_problem_with_its_place() {
    let world = World::new();
    world.file("agents.toml", "[watchdog]\nstal_idle = 1\n[[agent]]\nname = \"a b\"\nkind = \"lop\"\n");
    world
        .wk(["check"])
        .code(2)
        .stdout("agents.toml:2:1: [..]`stal_idle`[..]\n  hint: did you mean `stall_idle`?\n...\nagents.toml:5:8: [..]`lop`[..]\n...\n")
        .check();
    world
        .wk(["status"])
        .code(2)
        .stderr("watchkeeper: [..] in the config\nagents.toml:2:1: [..]\n...\n")
        .check();
    world.config(TWO);
    world.wk(["check"]).stdout("agents.toml: good, 2 units\n").no_file(".watchkeeper").check();
    world
        .wk(["check", "--json"])
        .stdout(
            "{\n  \"ok\": true,\n  \"config\": \"agents.toml\",\n  \"units\": 2,\n  \"problems\": []\n}\n",
        )
        .check();
}

#[test]
fn reading_commands_change_nothing() {
    let world = World::with_config(TWO);
    for args in [
        &["status"][..],
        &["why"],
        &["why", "builder"],
        &["events"],
        &["check"],
        &["doctor"],
        &["inspect", "builder"],
        &["attach", "builder"],
        &["tick", "--dry-run"],
    ] {
        let output = world.binary().args(args).output().unwrap();
        assert!(!world.state("").exists(), "{args:?} made the state directory");
        assert!(output.status.code().is_some_and(|code| code < 70), "{args:?}: {output:?}");
    }
}

#[test]
fn an_unwatched_fleet_is_unhealthy() {
    let world = World::with_config(TWO);
    world
        .wk(["status"])
        .code(1)
        .stdout(
            "UNIT     KIND     STATE     FOR\n\
             builder  loop     not seen  -\n\
             dash     service  not seen  -\n\
             fleet: 0 of 2 up; watchdog NOT RUNNING\n",
        )
        .check();
    world.file(".watchkeeper/down", "holidays\n");
    world
        .wk(["status"])
        .stdout("UNIT [..]\nbuilder  loop     down   -\ndash     service  down   -\nfleet: 0 of 0 up, 2 not wanted, DOWN: holidays; watchdog NOT RUNNING\n")
        .check();
}

#[test]
fn the_json_of_status_has_the_documented_keys() {
    let world = World::with_config(TWO);
    let status = world.status();
    let keys =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let long = String::from_utf8(world.binary().args(["status", "--help"]).output().unwrap().stdout).unwrap();
    for part in [&status, &status["watchdog"], &status["fleet"], &status["units"][0]] {
        for key in keys(part) {
            assert!(long.contains(&key), "`{key}` is not documented in `status --help`");
        }
    }
}

#[test]
fn a_person_who_blocks_a_machine_comes_first() {
    let world = World::with_config(
        "[[agent]]\nname = \"calm\"\nkind = \"loop\"\n[[agent]]\nname = \"stuck\"\nkind = \"persistent\"\n",
    );
    unit_json(
        &world,
        "calm",
        r#""seen": {"state": "busy", "since": "2026-11-21T10:00:00Z", "process": {"pid": 1, "start": 1}}"#,
    );
    unit_json(
        &world,
        "stuck",
        r#""seen": {"state": "blocked", "since": "2026-11-21T10:00:00Z", "process": {"pid": 1, "start": 1}},
           "hold": {"remedy": "answer dialog", "why": "waits for a person: Run rm -rf build?", "since": "2026-11-21T10:00:00Z"}"#,
    );
    // Without tmux the recorded state stands.
    world
        .wk(["status"])
        .env("PATH", "/nonexistent")
        .code(1)
        .stdout(
            "UNIT   KIND        STATE    FOR[..]\n\
             stuck  persistent  blocked  [..]asks: Run rm -rf build?\n\
             calm   loop        busy     [..]\n\
             fleet: 2 of 2 up, 1 waiting for a person, tmux did not answer (as recorded); watchdog NOT RUNNING\n",
        )
        .check();
    let colored =
        world.binary().args(["status", "--color=always"]).env("PATH", "/nonexistent").output().unwrap();
    assert!(String::from_utf8(colored.stdout).unwrap().contains("\x1b[1;31mstuck"));
    world
        .wk(["why", "stuck"])
        .env("PATH", "/nonexistent")
        .stdout(
            "watchdog NOT RUNNING\n\
             \x20 what follows was true at its last tick\n\
             stuck (persistent, demo) is blocked since [..]10:00 ([..])\n\
             \x20 seen: asks: Run rm -rf build?\n\
             \x20 withheld: answer dialog, since [..]10:00: waits for a person: Run rm -rf build?\n\
             no events yet\n",
        )
        .check();
}

fn unit_json(world: &World, name: &str, fields: &str) {
    world.file(&format!(".watchkeeper/units/{name}/unit.json"), format!("{{\"v\": 1, {fields}}}\n"));
}

#[test]
fn why_says_what_becomes_of_a_process() {
    let config = "[[process]]\nname = \"p\"\ncommand = [\"true\"]\nrestart = { max = 4, cooldown_s = 60 }\n";
    let attached = "[[process]]\nname = \"p\"\nhost = \"attach\"\npid_file = \"p.pid\"\n";
    #[track_caller]
    fn check(config: &str, run: &str, want: &str) {
        let world = World::with_config(config);
        let seen = r#""seen": {"state": "dead", "since": "2026-11-21T10:00:00Z"}"#;
        unit_json(&world, "p", &format!("{seen}, \"process\": {{\"run\": {run}}}"));
        let run = world.wk(["why", "p"]).stdout("...\n").check();
        assert!(run.stdout.contains(want), "no `{want}` in\n{}", run.stdout);
    }
    check(config, r#"{"number": 0}"#, "next: with the next tick: it is started");
    check(
        config,
        r#"{"number": 3, "restarts": 2, "total": 2, "standing": {"spent": {"why": "too often"}}}"#,
        "seen: run 3; 2 restarts of at most 4 used, 2 ever\n  \
         next: nothing, until `watchkeeper approve p` lets it go on",
    );
    check(
        config,
        r#"{"number": 3, "standing": {"spent": {"why": "too often"}}}"#,
        "seen: not started again: too often; `watchkeeper approve p` lifts it\n",
    );
    check(
        config,
        r#"{"number": 1, "standing": {"paused": {"why": "disk"}}}"#,
        "next: nothing, until `watchkeeper approve p` lets it go on",
    );
    check(
        config,
        r#"{"number": 1, "standing": {"finished": {"well": true}}}"#,
        "next: nothing; `watchkeeper restart p` runs it once more",
    );
    check(attached, r#"{"number": 1}"#, "next: nothing: it was started by somebody else");
}

#[test]
fn a_broken_state_file_is_told_and_left_alone() {
    let world = World::with_config(TWO);
    world.file(".watchkeeper/units/builder/unit.json", "{\n  \"v\": 1,\n  oops\n");
    world
        .wk(["status"])
        .code(1)
        .stdout("UNIT[..]\nbuilder  loop [..] its state file can't be read: `units/builder/unit.json:3:3`: [..]\n...\n")
        .env("COLUMNS", "200")
        .file(".watchkeeper/units/builder/unit.json", "{\n  \"v\": 1,\n  oops\n")
        .check();
    // Not UTF-8, a folder, hostile text in a marker: still a line per unit.
    world.file(".watchkeeper/units/dash/unit.json/x", "");
    world.file(".watchkeeper/units/builder/unit.json", b"\xff\xfe\x00");
    world.file(".watchkeeper/units/dash/PAUSED", "\x1b[2Jgone\x07 until");
    let said = world.wk(["status"]).code(1).stdout("...\n").check();
    assert!(!said.stdout.contains('\x1b') && said.stdout.contains("dash"), "{}", said.stdout);
}

#[test]
fn events_are_printed_and_torn_lines_skipped() {
    let world = World::with_config(TWO);
    world.file(
        ".watchkeeper/events/2026-11-20.jsonl",
        "{\"at\":\"2026-11-20T23:59:59Z\",\"unit\":\"builder\",\"kind\":\"state\",\"text\":\"idle → busy\"}\n{\"at\":\"2026-11",
    );
    world.file(
        ".watchkeeper/events/2026-11-21.jsonl",
        "{\"at\":\"2026-11-21T00:00:01Z\",\"unit\":null,\"kind\":\"fleet\",\"text\":\"hello\"}\n\
         {\"at\":\"2026-11-21T00:00:02Z\",\"unit\":\"builder\",\"kind\":\"act\",\"text\":\"nudge\",\
         \"why\":{\"rule\":\"stall.idle\",\"seen\":\"idle\",\"compared\":[\"idle 372 s ≥ stall_idle 300 s\"]}}\n",
    );
    world
        .wk(["events"])
        .stdout(
            "2026-11-20 23:59:59  builder       state     idle → busy\n\
             2026-11-21 00:00:01  fleet         fleet     hello\n\
             2026-11-21 00:00:02  builder       act       nudge\n",
        )
        .check();
    world.wk(["events", "builder", "--last", "1"]).stdout("2026-11-21 00:00:02 [..] nudge\n").check();
    world
        .wk(["events", "--since", "2026-11-21T00:00:00Z", "--json", "builder"])
        .stdout("{\"at\":\"2026-11-21T00:00:02Z\",\"unit\":\"builder\",\"kind\":\"act\",\"text\":\"nudge\",\"why\":{[..]}}\n")
        .check();
    world
        .wk(["why", "builder", "--last", "1"])
        .env("PATH", "/nonexistent")
        .stdout(
            "...\nlately:\n\
             \x20 2026-11-21 00:00:02  builder       act       nudge\n\
             \x20   because (stall.idle): idle\n\
             \x20     idle 372 s ≥ stall_idle 300 s\n",
        )
        .check();
}

#[test]
fn following_events_goes_on_over_midnight() {
    let world = World::with_config(TWO);
    let event = |second: u32, text: &str| {
        format!(
            "{{\"at\":\"2026-11-21T00:00:0{second}Z\",\"unit\":null,\"kind\":\"fleet\",\"text\":\"{text}\"}}\n"
        )
    };
    world.file(".watchkeeper/events/2026-11-20.jsonl", event(1, "one"));
    let mut child = world.binary().args(["events", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = support::Lines::of(child.stdout.take().unwrap());
    assert!(lines.next().ends_with("one"));
    world.file(".watchkeeper/events/2026-11-20.jsonl", event(1, "one") + &event(2, "two"));
    assert!(lines.next().ends_with("two"));
    world.file(".watchkeeper/events/2026-11-21.jsonl", event(3, "three"));
    assert!(lines.next().ends_with("three"));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let world = World::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = world.binary().arg("man").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let world = World::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = world.binary().arg("man").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("watchkeeper: writing to standard output: "));
}

#[test]
fn inspect_reads_a_capture_without_a_config() {
    let world = World::new();
    let screen = "some words\n\n\n────────\n> \n────────\n";
    world.file("screen.txt", screen);
    let said = world
        .wk(["inspect", "--backend", "claude", "--file", "screen.txt", "--json"])
        .stdout("...\n")
        .check();
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["state", "substate", "until", "evidence"]);
    world.wk(["inspect", "--backend", "claude", "--file", "-"]).stdin(screen).stdout("...\n").check();
    world
        .wk(["inspect", "--backend", "claude", "--file", "screen.txt", "--dead", "1"])
        .stdout("dead\n...\n")
        .check();
    world
        .wk(["inspect", "--backend", "cluade", "--file", "screen.txt"])
        .code(2)
        .stderr("watchkeeper: there is no backend `cluade`\nhint: did you mean `claude`?\n")
        .check();
    world
        .wk(["inspect", "--backend", "claude", "--file", "gone.txt"])
        .code(2)
        .stderr("watchkeeper: there is no file `gone.txt`\n")
        .check();
    world
        .wk(["inspect", "--file", "screen.txt"])
        .code(2)
        .stderr("watchkeeper: `--file` needs `--backend B`[..]\nhint: [..]\n")
        .check();
    world.wk(["inspect"]).code(2).stderr("watchkeeper: whose screen? [..]\n").check();
}

#[test]
fn inspect_uses_the_backends_of_the_config() {
    let world = World::new();
    world.file(
        "agents.toml",
        "[backend.mine]\nlike = \"claude\"\n[[agent]]\nname = \"a\"\nbackend = \"mine\"\nkind = \"loop\"\n",
    );
    world.file("screen.txt", "hello\n");
    world.wk(["inspect", "--backend", "mine", "--file", "screen.txt"]).stdout("...\n").check();
    // One that no agent uses.
    world
        .file("agents.toml", "[backend.mine]\nlike = \"claude\"\n[[agent]]\nname = \"a\"\nkind = \"loop\"\n");
    world.wk(["inspect", "--backend", "mine", "--file", "screen.txt"]).stdout("...\n").check();
}

#[test]
fn a_missing_program_is_exit_code_69() {
    let world = World::with_config(TWO);
    for args in
        [&["up"][..], &["run"], &["tick"], &["restart", "dash"], &["attach", "dash"], &["inspect", "builder"]]
    {
        world
            .wk(args.iter().copied())
            .env("PATH", "/nonexistent")
            .code(69)
            .stderr("watchkeeper: [..]tmux[..]\nhint: install tmux 3.2 or newer[..]\n")
            .check();
    }
    world
        .wk(["doctor"])
        .env("PATH", "/nonexistent")
        .code(69)
        .stdout("MISSING  tmux: [..]\n         remedy: install tmux 3.2 or newer[..]\n...\n")
        .check();
}

#[test]
fn an_old_tmux_is_exit_code_69() {
    let world = World::with_config(TWO);
    world.file("bin/tmux", "#!/bin/sh\necho tmux 3.1c\n");
    world.command("chmod").args(["+x", "bin/tmux"]).status().unwrap();
    let path = format!("{}:/usr/bin:/bin", world.path().join("bin").display());
    world
        .wk(["tick"])
        .env("PATH", &path)
        .code(69)
        .stderr("watchkeeper: [..]3.1[..]\nhint: [..]3.2[..]\n")
        .check();
}

#[test]
fn doctor_names_a_remedy_for_each_finding() {
    let world = World::with_config("[[agent]]\nname = \"a\"\nkind = \"loop\"\ndir = \"gone\"\n");
    world.file(".watchkeeper/quarantine/unit.json-1", "x");
    world.file(".watchkeeper/PAUSED", "deploy until 2020-01-01T00:00:00Z\n");
    world.command("chmod").args(["755", ".watchkeeper"]).status().unwrap();
    let said = world.wk(["doctor", "--json"]).code(1).stdout("...\n").env("LANG", "C").check();
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(json["ok"], false);
    let mut bad = Vec::new();
    for finding in json["findings"].as_array().unwrap() {
        let is_bad = finding["level"] != "ok";
        assert_eq!(is_bad, finding["remedy"].is_string(), "{finding}");
        if is_bad {
            bad.push(finding["check"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(bad, ["locale", "state", "watchdog", "markers", "files", "folders"]);
}

#[test]
fn completions_are_accepted_by_their_shells() {
    let world = World::with_config(TWO);
    world.wk(["list-units"]).stdout("builder\ndash\n").check();
    for (shell, args) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        let script = world.binary().args(["completions", shell]).output().unwrap().stdout;
        world.file(&format!("completion.{shell}"), script);
        // Shells that are not installed are left out.
        let Ok(status) =
            world.command(shell).args(args).arg(format!("completion.{shell}")).stdin(Stdio::null()).status()
        else {
            continue;
        };
        assert!(status.success(), "{shell} refuses its completions");
    }
    world
        .wk(["completions", "bsah"])
        .code(2)
        .stderr("watchkeeper: no completions for the shell `bsah`\nhint: did you mean `bash`?\n")
        .check();
}

#[test]
fn bash_completes_commands_flags_and_names() {
    let world = World::with_config(TWO);
    let script = world.binary().args(["completions", "bash"]).output().unwrap().stdout;
    world.file("c.bash", script);
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_watchkeeper"));
    let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
    let complete = |words: &str| {
        let probe = format!(
            "source c.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _watchkeeper; echo \"${{COMPREPLY[*]}}\""
        );
        let output = world.command("bash").args(["-c", &probe]).env("PATH", &path).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("watchkeeper sta"), "status");
    assert_eq!(complete("watchkeeper why bu"), "builder");
    assert_eq!(complete("watchkeeper --json why --la"), "--last");
    assert_eq!(complete("watchkeeper --color ne"), "never");
}

#[test]
fn the_man_page_is_accepted_by_man() {
    let world = World::new();
    let page = world.binary().arg("man").output().unwrap().stdout;
    world.file("wk.1", page);
    // Where there is no mandoc the page was at least printed.
    let Ok(output) = world.command("mandoc").args(["-T", "lint", "-W", "error", "wk.1"]).output() else {
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

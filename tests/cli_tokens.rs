//! `tokens` and `log`, by the binary: one transcript, the ledger, a fleet that is watched.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

#[path = "support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use support::World;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/transcripts").join(path)
}

#[test]
fn the_totals_of_a_transcript_have_the_documented_keys() {
    let world = World::new();
    let file = fixture("claude/5bbd019c-5250-4f50-9135-aadff3ff7205.jsonl");
    let path = file.to_str().unwrap();
    let json = "{\n  \"input\": 192,\n  \"output\": 498,\n  \"cache_read\": 108624,\n  \"cache_creation\": 5520,\n  \"total\": 114834,\n  \"messages\": 16\n}\n";
    world.wk(["tokens", "--backend", "claude", "--file", path, "--json"]).stdout(json).check();
    let text = std::fs::read_to_string(&file).unwrap();
    world
        .wk(["tokens", "--backend", "claude", "--file", "-", "--json"])
        .stdin(text.as_str())
        .stdout(json)
        .check();
    let plain = "input                      192\noutput                     498\ncache read              108624\n\
                 cache creation            5520\ntotal                   114834\nmessages                    16\n";
    world.wk(["tokens", "--file", path, "--backend", "claude"]).stdout(plain).check();
}

#[test]
fn what_cannot_be_read_is_told() {
    let world = World::new();
    world.file("t.jsonl", "");
    let check = |args: &[&str], want: &str| {
        world.wk(args.iter().copied()).code(2).stderr(&format!("watchkeeper: {want}\n")).check();
    };
    check(&["tokens", "--backend", "claude", "--file", "no.jsonl"], "there is no file `no.jsonl`");
    check(&["tokens", "--file", "t.jsonl"], "`--file` needs `--backend B`: [..]\nhint: [..]");
    check(&["tokens", "--backend", "claude"], "`--backend` needs `--file TRANSCRIPT`");
    check(
        &["tokens", "--backend", "opencode", "--file", "t.jsonl"],
        "transcripts of `opencode` are not read: opencode keeps its usage in a SQLite database, which is not read\nhint: [..]",
    );
    check(
        &["log", "--backend", "aider", "--file", "t.jsonl"],
        "transcripts of `aider` are not read: [..]\nhint: [..]",
    );
    check(&["log"], "whose transcript? [..]");
    check(&["tokens", "--by", "week"], "`--by week`: not one of phase, gate, agent");
    world
        .wk(["tokens", "--backend", "codex", "--file", "t.jsonl", "--json"])
        .stdout("{\n  \"input\": 0,\n...\n}\n")
        .check();
}

#[test]
fn a_transcript_is_rendered_as_lines() {
    let world = World::new();
    let record = |at: &str, message: Value| {
        let kind = message["role"].as_str().unwrap().to_owned();
        format!("{}\n", json!({"type": kind, "timestamp": at, "message": message}))
    };
    let text = [
        record("2026-11-21T07:28:04.977Z", json!({"role": "user", "content": "fix\nit"})),
        record(
            "2026-11-21T07:28:05Z",
            json!({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "I \u{1b}[31mwill\u{1b}[0m"},
            {"type": "tool_use", "name": "Bash", "input": {"command": "export API_KEY=abc123 && ls"}}]}),
        ),
        "{torn\n".to_owned(),
        record(
            "2026-11-21T07:28:06Z",
            json!({"role": "user", "content": [
            {"type": "tool_result", "content": "ghp_abcdefghijklmnopqrstuvwxyz012345", "is_error": true}]}),
        ),
    ]
    .concat();
    world.file("t.jsonl", text.trim_end());
    let lines = "2026-11-21 07:28:04  user       -             fix it\n\
                 2026-11-21 07:28:05  thinking   -             hm\n\
                 2026-11-21 07:28:05  assistant  -             I will\n\
                 2026-11-21 07:28:05  tool       Bash          {\"command\":\"export API_KEY=[masked] && ls\"}\n\
                 2026-11-21 07:28:06  error      -             [masked]\n";
    let log = |extra: &[&'static str]| {
        let args = ["log", "--backend", "claude", "--file", "t.jsonl"];
        world.wk(args.iter().chain(extra).copied().collect::<Vec<_>>()).env("TZ", "UTC")
    };
    log(&[]).stdout(lines).check();
    log(&["--last", "1"]).stdout(&(lines.lines().last().unwrap().to_owned() + "\n")).check();
    let said = log(&["--json"]).stdout("...\n").check().stdout;
    let first: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(
        first,
        json!({"at": "2026-11-21T07:28:04.977Z", "role": "user", "tool": null, "text": "fix it"})
    );
}

const LEDGER: &str = r#"{"phase_id":"1","started":"2026-11-21T08:00:00Z","ended":"2026-11-21T09:00:00Z","duration_s":3600,"agents":{"a":{"input":10,"output":20,"cache_read":30,"cache_creation":40,"total":100,"messages":2}},"total":{"input":10,"output":20,"cache_read":30,"cache_creation":40,"total":100,"messages":2}}
{"phase_id":"1:login","sta
{"phase_id":"1:login","started":"2026-11-21T09:00:00Z","ended":"2026-11-21T09:30:00Z","duration_s":1800,"agents":{"a":{"input":1,"output":0,"cache_read":0,"cache_creation":0,"total":1,"messages":1},"b":{"input":0,"output":5,"cache_read":0,"cache_creation":0,"total":5,"messages":1}},"total":{"input":1,"output":5,"cache_read":0,"cache_creation":0,"total":6,"messages":2}}
"#;

#[test]
fn the_ledger_is_summed_by_gate_phase_and_agent() {
    let world = World::with_config("[[agent]]\nname = \"a\"\n");
    world.file(".watchkeeper/token-log.jsonl", LEDGER);
    let tokens = |by: &str| world.wk(["tokens", "--by", by]).env("TZ", "UTC");
    tokens("gate")
        .stdout(
            "gate     since                     for        input       output   cache read  cache write        total     messages      total/h\n\
             1        2026-11-21 08:00          1 h           10           20           30           40          100            2          100\n\
             1:login  2026-11-21 09:00       30 min            1            5            0            0            6            2           12\n\
             all                                              11           25           30           40          106            4\n\
             1 line of the ledger: no record, skipped\n",
        )
        .check();
    let json = |by: &str| -> Value {
        let said = world.wk(["tokens", "--by", by, "--json"]).stdout("...\n").check().stdout;
        serde_json::from_str(&said).unwrap()
    };
    let phase = json("phase");
    assert_eq!(phase["rows"].as_array().unwrap().len(), 1);
    assert_eq!((&phase["rows"][0]["name"], &phase["rows"][0]["used"]["total"]), (&json!("1"), &json!(106)));
    assert_eq!(phase["rows"][0]["ended"], "2026-11-21T09:30:00Z");
    let agent = json("agent");
    let keys: Vec<&String> = agent.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["by", "since", "rows", "total", "uncounted", "torn"]);
    let names: Vec<&Value> = agent["rows"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((&agent["rows"][1]["total_per_hour"], &agent["torn"]), (&json!(10), &json!(1)));
    let late = world
        .wk(["tokens", "--by", "gate", "--since", "2026-11-21T09:10:00Z", "--json"])
        .stdout("...\n")
        .check();
    let late: Value = serde_json::from_str(&late.stdout).unwrap();
    assert_eq!(late["total"]["total"], 6);
}

#[test]
fn a_record_is_owed_until_the_ledger_has_it() {
    let world = World::with_config("[[agent]]\nname = \"a\"\nenabled = false\n");
    let owed = json!({"phase_id": "1", "started": "2026-11-21T08:00:00Z", "ended": "2026-11-21T09:00:00Z", "duration_s": 3600,
        "agents": {"a": {"input": 5, "total": 5, "messages": 1}}, "total": {"input": 5, "total": 5, "messages": 1}});
    world.file(".watchkeeper/tokens.json", json!({"v": 1, "owed": [owed]}).to_string());
    // A torn record before it stays, and spoils nothing.
    world.file(".watchkeeper/token-log.jsonl", "{\"phase_id\":");
    let total = || {
        let said = world.wk(["tokens", "--by", "gate", "--json"]).stdout("...\n").check().stdout;
        let json: Value = serde_json::from_str(&said).unwrap();
        json["total"]["total"].as_u64()
    };
    assert_eq!(total(), Some(5));
    for _ in 0..3 {
        world.wk(["tick"]).stdout("...\n").check();
        let ledger = world.read_state("token-log.jsonl");
        assert_eq!(ledger.matches("\"1\"").count(), 1, "{ledger}");
        assert!(ledger.starts_with("{\"phase_id\":\n{"), "{ledger}");
        assert_eq!(total(), Some(5));
    }
    let tokens: Value = serde_json::from_str(&world.read_state("tokens.json")).unwrap();
    assert_eq!(tokens["owed"], json!([]));
}

/// A folder of claude's for the folder in which the tests' units work.
fn project(world: &World) -> PathBuf {
    let cwd = world.path().canonicalize().unwrap();
    let dashed: String =
        cwd.to_str().unwrap().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let dir = world.path().parent().unwrap().join("home/.claude/projects").join(dashed);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn said(world: &World, session: &str, id: &str, output: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = watchkeeper::base::time::Wall(i64::try_from(now.as_millis()).unwrap()).to_string();
    let cwd = world.path().canonicalize().unwrap();
    let record = json!({"type": "assistant", "sessionId": session, "cwd": cwd, "timestamp": at, "message": {
        "id": id, "model": "m", "content": [{"type": "text", "text": format!("I am {id}")}], "usage": {"output_tokens": output}}});
    format!("{record}\n")
}

#[test]
fn a_watched_fleet_is_counted_tick_by_tick() {
    let world = World::with_config(
        "[backend.claude]\ncommand = [\"sleep\", \"1000\"]\n[[agent]]\nname = \"a\"\nbackend = \"claude\"\n\
         [[agent]]\nname = \"o\"\nbackend = \"opencode\"\nenabled = false\n",
    );
    let used = || -> Value {
        let said = world.wk(["tokens", "--json"]).stdout("...\n").check().stdout;
        serde_json::from_str(&said).unwrap()
    };
    world.wk(["log", "a"]).code(1).stderr("watchkeeper: `a` has no transcript yet\nhint: [..]\n").check();
    let file = project(&world).join("s1.jsonl");
    // A session of somebody who was here before.
    std::fs::write(project(&world).join("old.jsonl"), said(&world, "old", "m0", 1000).replace("202", "201"))
        .unwrap();
    world.wk(["tick"]).stdout("...\n").check();
    std::fs::write(&file, said(&world, "s1", "m1", 7) + &said(&world, "s1", "m1", 9)).unwrap();
    world.wk(["tick"]).stdout("...\n").check();
    assert_eq!(used()["total"]["output"], 9);
    assert!(used()["uncounted"]["o"].as_str().unwrap().contains("SQLite"));
    let more = std::fs::read_to_string(&file).unwrap() + &said(&world, "s1", "m2", 1);
    std::fs::write(&file, more).unwrap();
    world.wk(["tick"]).stdout("...\n").check();
    assert_eq!((&used()["total"]["output"], &used()["total"]["messages"]), (&json!(10), &json!(2)));
    world.wk(["log", "a", "--last", "1"]).stdout("[..]  assistant  -             I am m2\n").check();
    assert_eq!(world.unit("a")["tokens"], 10);
    // What is forgotten is read again, and is not more than it was.
    std::fs::remove_file(world.state("tokens.json")).unwrap();
    world.wk(["tick"]).stdout("...\n").check();
    assert_eq!(used()["total"]["output"], 10);
    // What is damaged is put aside, and read again too.
    std::fs::write(world.state("tokens.json"), "{\"agents\": 7").unwrap();
    world.wk(["tick"]).stdout("...\n").check();
    world.wk(["tick"]).stdout("...\n").check();
    assert_eq!(used()["total"]["output"], 10);
    assert_eq!(std::fs::read_dir(world.state("quarantine")).unwrap().count(), 1);
}

//! `incidents` and `analyze`, by the binary: over whole, damaged and missing files.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

#[path = "support/mod.rs"]
mod support;

use serde_json::Value;
use support::World;

const ONE: &str = "2026-11-20T10-00-00Z-train-oom";
const TWO: &str = "2026-11-21T10-00-00Z-train-traceback";

/// A fleet with two incidents, one of which is not in the index, and a ledger with damaged lines.
fn world() -> World {
    let world = World::new();
    world.file("agents.toml", "[[process]]\nname = \"train\"\ncommand = [\"true\"]\n");
    let line = |id: &str, at: &str, message: &str| {
        format!(
            "{{\"id\":\"{id}\",\"at\":\"{at}\",\"unit\":\"train\",\"detector\":\"oom\",\"kind\":\"pattern\",\
             \"message\":\"{message}\",\"fingerprint\":\"f\",\"source\":\"halve\",\"action\":\"restart\"}}"
        )
    };
    let one = line(ONE, "2026-11-20T10:00:00Z", "CUDA out of memory");
    let gone = line("2026-11-19T10-00-00Z-train-oom", "2026-11-19T10:00:00Z", "gone");
    world.file(
        ".watchkeeper/incidents/index.jsonl",
        format!("{gone}\n{{\"id\": \"torn\n\u{0}\n[]\n{one}\n{{\"id\":"),
    );
    world.file(
        &format!(".watchkeeper/incidents/{ONE}/report.md"),
        "# train: CUDA out of memory\n\u{1b}[2Jx\n",
    );
    world.file(&format!(".watchkeeper/incidents/{ONE}/repeats.json"), "{\"count\": 3}");
    world.file(&format!(".watchkeeper/incidents/{ONE}/fix/action.json"), "{}");
    let two = line(TWO, "2026-11-21T10:00:00Z", "boom").replace("\"restart\"", "\"abort\"");
    world.file(&format!(".watchkeeper/incidents/{TWO}/match.json"), &two);
    world.file(&format!(".watchkeeper/incidents/{TWO}/repeats.json"), "not json");
    let row = |id: &str, status: &str, time: &str| {
        format!("{time}\ttrain-{id}\t{ONE}\ttrain\toom\tf\thalve\trestart\t{status}\t\t90\tBATCH_SIZE 8 → 4")
    };
    let rows = [
        "time\tattempt".to_owned(),
        row("1", "pending", "2026-11-20T10:00:00Z"),
        row("1", "kept", "2026-11-20T10:10:00Z"),
        row("2", "pending", "2026-11-21T10:00:00Z"),
        "1e999\tNaN".to_owned(),
        row("3", "better", "2026-11-21T10:00:00Z"),
        "torn".to_owned(),
    ];
    world.file(".watchkeeper/attempts.tsv", rows.join("\n"));
    world
}

#[test]
fn the_list_has_what_is_there_whatever_the_index_says() {
    let world = world();
    world
        .wk(["incidents"])
        .stdout(&format!(
            "2026-11-20 [..]  train ×3  CUDA out of memory → restart (halve), pending\n    {ONE}\n\
             2026-11-21 [..]  train  boom → abort (halve)\n    {TWO}\n"
        ))
        .check();
    let out = world.wk(["incidents", "list", "train", "--json", "--last", "1"]).stdout("[..]\n").check();
    let value: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!((value["id"].as_str(), &value["outcome"]), (Some(TWO), &Value::Null));
    world.wk(["incidents", "list", "nobody"]).stdout("no incidents\n").check();
    world
        .wk(["incidents", "list", "--since", "2026-11-21T00:00:00Z"])
        .stdout(&format!("[..]boom[..]\n    {TWO}\n"))
        .check();
    world
        .wk(["incidents", "list", "--since", "yesterday"])
        .code(2)
        .stderr("[..]neither a time nor an age\nhint: [..]\n")
        .check();
}

#[test]
fn a_report_is_shown_by_id_by_its_beginning_by_unit_and_last() {
    let world = world();
    world.wk(["incidents", "show", ONE]).stdout("# train: CUDA out of memory\nx\n").check();
    world.wk(["incidents", "show", "2026-11-20"]).stdout("# train: CUDA out of memory\nx\n").check();
    world.wk(["incidents", "path", "last"]).stdout(&format!("[..]/.watchkeeper/incidents/{TWO}\n")).check();
    world.wk(["incidents", "path", "train"]).stdout(&format!("[..]{TWO}\n")).check();
    let out = world.wk(["incidents", "show", ONE, "--json"]).stdout("...\n").check();
    let value: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!(value["repeats"]["count"], 3);
    assert_eq!(value["files"], serde_json::json!(["fix/action.json", "repeats.json", "report.md"]));
    let no = |word: &str, want: &str| {
        world
            .wk(["incidents", "show", word])
            .code(1)
            .stderr(&format!("watchkeeper: {want}\nhint: [..]\n"))
            .check();
    };
    no("2026-11-2", "`2026-11-2` begins the ids of 2 incidents");
    no("../../x", "no incident is called `../../x`");
    no(TWO, "[..]report.md` is missing");
    world
        .wk(["incidents", "burn", "x"])
        .code(2)
        .stderr("[..]takes `list [NAME]`, `show ID` or `path ID`\n")
        .check();
}

#[test]
fn the_ledger_is_summed_up_and_bad_lines_are_counted() {
    let world = world();
    world
        .wk(["analyze"])
        .stdout(
            "by detector     tried   kept  regr.  crash  pend.  success   healed in\n\
             train/oom           2      1      0      0      1    100 %  1 min 30 s\n\
             \n\
             by source       tried   kept  regr.  crash  pend.  success   healed in\n\
             halve               2      1      0      0      1    100 %  1 min 30 s\n\
             \n\
             all                 2      1      0      0      1    100 %  1 min 30 s\n\
             4 lines of attempts.tsv: no attempt, skipped\n",
        )
        .check();
    let out = world.wk(["analyze", "--since", "2026-11-21T00:00:00Z", "--json"]).stdout("...\n").check();
    let value: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!((&value["total"]["attempts"], &value["total"]["success"]), (&1.into(), &Value::Null));
    world
        .wk(["analyze", "--since", "soon"])
        .code(2)
        .stderr("[..]neither a time nor an age\nhint: [..]\n")
        .check();
}

#[test]
fn nothing_there_is_no_error() {
    let world = World::new();
    world.file("agents.toml", "[[process]]\nname = \"train\"\ncommand = [\"true\"]\n");
    world.wk(["incidents"]).stdout("no incidents\n").check();
    world.wk(["incidents", "--json"]).stdout("").check();
    world.wk(["incidents", "path", "last"]).code(1).stderr("[..]\nhint: [..]\n").check();
    world.wk(["analyze"]).stdout("no attempts yet\n").check();
    assert!(!world.path().join(".watchkeeper").exists(), "a reading command made the state directory");
}

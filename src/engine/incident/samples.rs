//! Six incidents as they are written, over real files: read them after a change to the page
//! (`KEEP=<dir> cargo test engine::incident::samples`).

use super::tests::{World, name};
use crate::base::time::Wall;
use crate::model::finding::{Cause, Finding, FindingKind, Frame, Language};
use crate::model::incident::{IncidentOrder, Remedy, Source};

const TRAIN: &str = r#"import argparse
import torch

API_TOKEN = "sk-ant-api03-abcdefghijklmnop"


@torch.no_grad()
def evaluate(model, loader):
    return sum(model(x) for x in loader)


def train_step(model, batch, scale):
    """One step of the optimiser."""
    x, y = batch
    logits = model(x)
    loss = (logits - y.view(-1, 10)).mean() * scale
    loss.backward()
    return loss.item()


def main():
    for step, batch in enumerate(loader()):
        loss = train_step(model, batch, 1.0)
        print(f"step {step}/4000 loss {loss:.4f}")


main()
"#;

const MAIN_GO: &str = "package main\n\nimport \"fmt\"\n\ntype Job struct{ parts []string }\n\nfunc (j *Job) third() string {\n\treturn j.parts[2]\n}\n\nfunc main() {\n\tj := &Job{parts: []string{\"a\", \"b\"}}\n\tfmt.Println(j.third())\n}\n";

const RUN_YAML: &str = "model: small\nlr: 0.3\nloss_scale: 1024\nbatch_size: 64\ngrad_clip: 0\nwandb_api_key: 0123456789abcdef0123\nseed: 1\n";

fn remedy(source: Source, action: &str, set: &[(&str, &str)], why: &str) -> Remedy {
    let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Remedy { source, action: action.into(), set, why: why.into(), ..Remedy::default() }
}

fn frame(file: &str, line: u64, function: &str) -> Frame {
    Frame { file: file.into(), line, function: function.into(), library: false }
}

/// A log of a training run, with the finding's text in the middle.
fn log(text: &str, after: &str) -> String {
    let before: String =
        (0..300).map(|n| format!("step {n}/4000 loss {:.4} lr 0.3\n", 2.0 / f64::from(n + 1))).collect();
    format!("{before}{text}\n{after}")
}

fn python(world: &World) -> (IncidentOrder, String) {
    let file = world.write("train.py", TRAIN);
    let text = format!(
        "Traceback (most recent call last):\n  File \"{file}\", line 27, in <module>\n    main()\n    ~~~~^^\n  File \"{file}\", line 23, in main\n    loss = train_step(model, batch, 1.0)\n  File \"{file}\", line 16, in train_step\n    loss = (logits - y.view(-1, 10)).mean() * scale\n  File \"/usr/lib/python3.12/site-packages/torch/_tensor.py\", line 99, in view\n    return handle(self)\nRuntimeError: shape '[-1, 10]' is invalid for input of size 64"
    );
    world.log(&log(&text, ""));
    let finding = Finding {
        detector: "traceback".into(),
        kind: FindingKind::Traceback,
        line: 301,
        language: Some(Language::Python),
        exception: Some("RuntimeError".into()),
        message: "shape '[-1, 10]' is invalid for input of size 64".into(),
        frames: vec![
            frame(&file, 27, "<module>"),
            frame(&file, 23, "main"),
            frame(&file, 16, "train_step"),
            frame("/usr/lib/python3.12/site-packages/torch/_tensor.py", 99, "view"),
        ],
        chain: vec![Cause { exception: "KeyError".into(), message: "'y'".into() }],
        text,
        ..Finding::default()
    };
    let why = "no rule matched; restart 2 of 10";
    (world.order(finding, remedy(Source::Default, "restart", &[], why)), "python".to_owned())
}

fn oom(world: &World) -> (IncidentOrder, String) {
    let text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has 79.15 GiB";
    world.log(&log(text, "wandb: uploading https://anna:hunter2@wandb.example.org/run\n"));
    let finding = Finding {
        detector: "oom".into(),
        line: 301,
        message: text.into(),
        text: text.into(),
        ..Finding::default()
    };
    let rule = Source::Rule { name: "halve".into() };
    let mut order = world
        .order(finding, remedy(rule, "restart-with-env", &[("BATCH_SIZE", "4")], "its detector is `oom`"));
    order.place.overlay.insert("BATCH_SIZE".into(), "8".into());
    (order, "oom".to_owned())
}

fn stall(world: &World) -> (IncidentOrder, String) {
    world.log(&log("step 300/4000 loss 0.0066 lr 0.3", ""));
    let finding = Finding {
        detector: "no_progress".into(),
        kind: FindingKind::Stall,
        message: "`step` stands at 300 for 31 min (limit 30 min)".into(),
        value: Some(300.0),
        recent: vec![296.0, 297.0, 298.0, 299.0, 300.0],
        ..Finding::default()
    };
    let mut order =
        world.order(finding, remedy(Source::Default, "restart", &[], "no rule matched; restart 1 of 10"));
    order.over = false;
    order.notes.push("proof: no output for 31 min, no CPU used by its tree for 30 min".into());
    (order, "stall".to_owned())
}

fn metric(world: &World) -> (IncidentOrder, String) {
    world.log(&log("step 300/4000 loss 812.5000 lr 0.3", "step 301/4000 loss nan lr 0.3\n"));
    let finding = Finding {
        detector: "loss_spike".into(),
        kind: FindingKind::Metric,
        line: 301,
        message: "812.5 is 40 times its recent median 20.1".into(),
        text: "step 300/4000 loss 812.5000 lr 0.3".into(),
        value: Some(812.5),
        recent: vec![22.0, 21.5, 20.9, 20.1, 19.8, 19.9],
        ..Finding::default()
    };
    let rule = Source::Rule { name: "stop on spikes".into() };
    let mut order = world.order(finding, remedy(rule, "pause", &[], "its detector is `loss_spike`"));
    order.over = false;
    (order, "metric".to_owned())
}

fn exit(world: &World) -> (IncidentOrder, String) {
    world.log(&log("loading shard 7", "Killed\n"));
    let finding = Finding {
        detector: "exit".into(),
        kind: FindingKind::Exit,
        message: "killed by signal 9".into(),
        exit: Some(137),
        ..Finding::default()
    };
    let why = "the same failure came 5 times in a row (max_identical 5)";
    (world.order(finding, remedy(Source::Default, "abort", &[], why)), "exit".to_owned())
}

fn go(world: &World) -> (IncidentOrder, String) {
    let file = world.write("main.go", MAIN_GO);
    let text = format!(
        "panic: runtime error: index out of range [2] with length 2\n\ngoroutine 1 [running]:\nmain.(*Job).third(...)\n\t{file}:8\nmain.main()\n\t{file}:13 +0x1d\nexit status 2"
    );
    world.log(&log(&text, ""));
    let finding = Finding {
        detector: "traceback".into(),
        kind: FindingKind::Traceback,
        line: 301,
        language: Some(Language::Go),
        exception: Some("panic".into()),
        message: "runtime error: index out of range [2] with length 2".into(),
        frames: vec![frame(&file, 8, "main.(*Job).third"), frame(&file, 13, "main.main")],
        text,
        ..Finding::default()
    };
    let why = "2 restarts without a verified one (escalate_after 2)";
    (world.order(finding, remedy(Source::Agent, "agent", &[], why)), "go".to_owned())
}

#[test]
fn six_pages_say_what_where_since_done_now_in_that_order_and_no_secret() {
    for sample in [python, oom, stall, metric, exit, go] {
        let mut world = World::new();
        world.write("configs/run.yaml", RUN_YAML);
        world.write(".env", "WANDB_NAME=anna\nPORT=80\n");
        let (order, label) = sample(&world);
        let kind = order.finding.kind;
        let mut unit = world.state.units.remove(&name()).unwrap_or_default();
        let id = unit.incident.take(order).incident().to_owned();
        world.state.units.insert(name(), unit);
        assert_eq!(world.write_owed(), Vec::<String>::new());
        let page = world.read(&format!("incidents/{id}/report.md"));
        let mut heads = vec![
            "# train: ",
            "## Since when",
            "## What was done",
            "## What to do now",
            "\n---\n",
            "## Log",
            "## Where it runs",
        ];
        if matches!(kind, FindingKind::Traceback | FindingKind::Pattern | FindingKind::Exit) {
            heads.insert(1, "## Where\n");
        }
        let places: Vec<Option<usize>> = heads.iter().map(|head| page.find(head)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{label}: {places:?}\n{page}");
        assert!(page.lines().all(|line| line.chars().count() < 600), "{label}");
        for (path, text) in world.all_files(&id) {
            for secret in ["hunter2", "sk-ant-api03-abcdefghijklmnop", "0123456789abcdef0123", "anna\n"] {
                assert!(!text.contains(secret), "{label}: {path} holds {secret}");
            }
            if path.ends_with(".json") {
                serde_json::from_str::<serde_json::Value>(&text)
                    .unwrap_or_else(|e| panic!("{label}: {path}: {e}"));
            }
        }
        world.keep(&label, &id);
    }
}

#[test]
fn the_hot_line_is_marked_and_libraries_are_stubs() {
    let mut world = World::new();
    let (order, _) = python(&world);
    let id = world.take(order);
    world.write_owed();
    let page = world.read(&format!("incidents/{id}/report.md"));
    assert!(page.contains(">  16 |     loss = (logits - y.view(-1, 10)).mean() * scale\n"), "{page}");
    let frame = world.read(&format!("incidents/{id}/frames/03-train.py.md"));
    assert!(frame.contains("Function train_step of") && frame.contains("This is where it broke."), "{frame}");
    assert!(
        frame.contains("   12 | def train_step") && frame.contains("   18 |     return loss.item()"),
        "{frame}"
    );
    let library = world.read(&format!("incidents/{id}/frames/04-_tensor.py.md"));
    assert!(library.contains("Library code: not shown."), "{library}");
    let excerpt = world.read(&format!("incidents/{id}/log_excerpt.txt"));
    assert!(excerpt.contains("\n> RuntimeError: shape") && excerpt.lines().count() > 200, "{excerpt}");
    assert_eq!(Wall(0).day(), "1970-01-01");
}

//! What a process is given as a secret is in no page about it, whoever repeats it.

use super::World;
use std::fs;

/// It says what it was given in every way, then fails with a trace whose source holds it too.
const SCRIPT: &str = "import os, sys\n\n\ndef connect():\n    address = 'postgres://me:hunter-two-2@db/x'\n    raise ValueError('login as me with ' + os.environ['DB_PASSWORD'] + ' refused')\n\n\n\
    print('batch', os.environ['BATCH'], 'true', 1)\nprint('env', dict(os.environ)['DB_PASSWORD'], sys.argv)\n\
    print('CUDA out of memory with ' + os.environ['DB_PASSWORD'], flush=True)\nconnect()\n";

const HEALER: &str = "cat > prompt.txt\necho 'I used hunter-two-2 and short-pw7 to look; lr = 0.1' > found.txt\n\
    echo 'The password hunter-two-2 is refused.'\necho 'ACTION: restart-with-env'\necho 'SET: NEW_TOKEN=tok-from-agent'\n";

#[test]
fn no_page_shows_what_the_process_was_given_as_a_secret() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let world = World::watched(
        "command = [\"python3\", \"train.py\", \"--pass\", \"short-pw7\", \"-u\", \"me:curl-pw-3\", \"https://u:url-pw-4@h/\"]\n\
         env = { DB_PASSWORD = \"hunter-two-2\", BATCH = \"1\", PIN_TOKEN = \"true\" }\nmax_identical = 3\n\
         config_snapshots = [\"notes.txt\"]\n\
         detectors = [ { kind = \"pattern\", name = \"oom\", regex = \"CUDA out of memory\" }, { kind = \"traceback\" }, { kind = \"exit\" } ]\n\
         [process.healing]\nagent = \"headless\"\ncommand = [\"sh\", \"healer.sh\"]\nescalate_after = 1\ntimeout_s = 30",
        &[("train.py", SCRIPT), ("healer.sh", HEALER), ("notes.txt", "the db takes hunter-two-2\n")],
    );
    world.await_that("end of all tries", |world| !world.unit()["run"]["standing"]["spent"].is_null());
    world.await_that("the alert", |world| world.text("outbox.jsonl").contains("is not started again"));
    world.kill_dogs_softly();
    let secrets = ["hunter-two-2", "short-pw7", "curl-pw-3", "url-pw-4", "tok-from-agent"];
    let mut read = 0;
    let mut look = |path: &std::path::Path| {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        for secret in secrets {
            assert!(!text.contains(secret), "`{secret}` in {}:\n{text}", path.display());
        }
        read += 1;
        text
    };
    for folder in ["incidents", "events"] {
        for entry in walkdir::WalkDir::new(world.path(folder)).into_iter().map(Result::unwrap) {
            if entry.file_type().is_file() {
                look(entry.path());
            }
        }
    }
    look(&world.path("attempts.tsv"));
    look(&world.path("outbox.jsonl"));
    let prompt = look(&world.dir.path().join("prompt.txt"));
    assert!(prompt.contains("--pass [masked] -u me:[masked] https://u:[masked]@h/"), "{prompt}");
    assert!(read > 15, "{read} files");
    // And it can still be read.
    let id = world.incidents().into_iter().find(|id| id.contains("traceback")).unwrap();
    let report = world.text(&format!("incidents/{id}/report.md"));
    assert!(
        report.contains("login as me with [masked] refused") && report.contains("batch 1 true 1"),
        "{report}"
    );
    let found: serde_json::Value = world.json(&format!("incidents/{id}/match.json"));
    assert_eq!(found["command"][3], "[masked]", "{found:#}");
    assert_eq!(found["command"][5], "me:[masked]", "{found:#}");
}

//! The loop hears the logs of processes between ticks: a failure line becomes an event in a moment, a chatty log costs none.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::World;

/// Ends with the test.
struct Dog(Child);

impl Drop for Dog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes steps at once, then waits for a file, says what it holds, and goes on.
const SCRIPT: &str = "#!/bin/sh\nwhile :; do\n  echo step\n  if test -f say; then cat say; mv say said; fi\n  \
                      test -f stop && exit 3\n  sleep 0.01\ndone\n";

fn ticks(world: &World) -> u64 {
    let text = world.read_state("heartbeat.json");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    value["tick"]
        .as_u64()
        .or_else(|| value["ticks"].as_u64())
        .or_else(|| value["number"].as_u64())
        .unwrap_or_default()
}

#[test]
fn a_failure_line_begins_a_tick_and_steps_do_not() {
    let world = World::new();
    world.file("train.sh", SCRIPT);
    world.file(
        "agents.toml",
        "[watchdog]\nsignal_interval = 600\n[[process]]\nname = \"train\"\ncommand = [\"sh\", \"train.sh\"]\n\
         lifecycle = \"one-shot\"\ndetectors = [{ kind = \"pattern\", name = \"oom\", regex = \"out of memory\" }, { kind = \"exit\" }]\n\
         [process.healing]\nagent = \"off\"\n",
    );
    let dog = world.binary().arg("run").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _dog = Dog(dog);
    let log = world.state("units/train/out.log");
    world.await_that("its output", || std::fs::metadata(&log).is_ok_and(|meta| meta.len() > 200));
    // The ticks of the start are over when none came for a while.
    let mut seen = (ticks(&world), Instant::now());
    let quiet = std::cell::RefCell::new(&mut seen);
    world.await_that("quiet ticks", || {
        let mut seen = quiet.borrow_mut();
        let now = ticks(&world);
        if now != seen.0 {
            **seen = (now, Instant::now());
        }
        seen.1.elapsed() > Duration::from_millis(1500)
    });
    assert!(ticks(&world) > 0);
    let before = std::fs::metadata(&log).unwrap().len();
    world.await_that("more steps", || std::fs::metadata(&log).is_ok_and(|meta| meta.len() > before + 500));
    assert_eq!(ticks(&world), seen.0, "steps begin no tick");
    std::fs::write(world.path().join("say.new"), "CUDA out of memory\n").unwrap();
    std::fs::rename(world.path().join("say.new"), world.path().join("say")).unwrap();
    world.await_that("the line", || world.path().join("said").exists());
    let said = Instant::now();
    world.await_that("its tick", || ticks(&world) > seen.0);
    println!("line to the end of its tick: {} ms", said.elapsed().as_millis());
    assert!(world.everything().contains("out of memory"));
    world.file("stop", "");
    world.await_that("its end", || world.everything().contains("exit"));
}

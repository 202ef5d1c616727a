//! A healing agent that can't be asked: the job goes on without it, and people hear once why.

use super::World;
use std::fs;
use std::process::Command;

#[track_caller]
fn goes_on(mut world: World, why: &str) {
    world.watch();
    world.await_that("restarts without the agent", |world| world.number() >= 5);
    world.await_that("the reason", |world| world.text("outbox.jsonl").contains(why));
    let told = world.text("outbox.jsonl").matches("it is started again instead").count();
    assert_eq!(told, 1, "{}", world.text("outbox.jsonl"));
    assert!(world.unit()["run"]["standing"]["paused"].is_null());
}

fn failing(healer: &str) -> World {
    let more = format!(
        "command = [\"sh\", \"job.sh\"]\nmax_identical = 100\n\
         [process.healing]\nagent = \"headless\"\ncommand = [\"{healer}\"]\nescalate_after = 1"
    );
    World::new(&more, &[("job.sh", "exit 1\n")])
}

#[test]
fn its_program_is_missing() {
    goes_on(failing("no-such-healer"), "`no-such-healer`");
}

#[test]
fn the_tree_has_uncommitted_work() {
    let world = failing("true");
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(words).current_dir(world.dir.path());
        let done = git.env("HOME", world.dir.path()).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "-q"]);
    git(&["add", "job.sh"]);
    git(&["commit", "-q", "-m", "job"]);
    fs::write(world.dir.path().join("job.sh"), "exit 1 # being worked on\n").unwrap();
    goes_on(world, "uncommitted work");
}

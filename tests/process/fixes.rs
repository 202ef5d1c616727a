//! What healing agents edit, in a real repository: kept, taken back, beside the operator's own work.

use super::World;
use std::fs;
use std::process::Command;

/// A repository around the process, with a commit of all that is there.
fn repository(process: &str, files: &[(&str, &str)]) -> World {
    let world = World::new(process, files);
    fs::write(world.dir.path().join(".gitignore"), ".watchkeeper/\nslept\n").unwrap();
    git(&world, &["init", "-q", "-b", "main"]);
    git(&world, &["add", "-A"]);
    git(&world, &["commit", "-q", "-m", "one"]);
    world
}

fn git(world: &World, args: &[&str]) -> String {
    let out = Command::new("git")
        .arg("-C")
        .arg(world.dir.path())
        .args(["-c", "user.name=op", "-c", "user.email=op@example.org"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
}

fn read(world: &World, name: &str) -> String {
    fs::read_to_string(world.dir.path().join(name)).unwrap_or_default()
}

/// Its first bug ends it at once; when that is mended it runs a while, and then its second one ends it each time.
const TRAIN: &str = "if [ \"$(cat one)\" != fixed ]; then echo 'first bug'; exit 3; fi\n\
                     if ! test -e slept; then touch slept; sleep 3; fi\nif [ \"$(cat two)\" != fixed ]; then echo 'second bug'; exit 4; fi\nsleep 60\n";
/// Mends the one that is broken.
const HEALER: &str = "cat > /dev/null\nif [ \"$(cat one)\" != fixed ]; then echo fixed > one; else echo fixed > two; fi\n\
                      echo mended >> log.txt\necho 'ACTION: restart'\n";

const HEALING: &str = "[process.healing]\nagent = \"headless\"\ncommand = [\"sh\", \"healer.sh\"]\nescalate_after = 1\n\
                       timeout_s = 30\nverify_window_s = 1";

#[test]
fn a_fix_that_was_kept_is_no_dirty_tree_for_the_next_one() {
    let mut world = repository(
        &format!("command = [\"sh\", \"train.sh\"]\n{HEALING}"),
        &[
            ("train.sh", TRAIN),
            ("healer.sh", HEALER),
            ("one", "broken\n"),
            ("two", "broken\n"),
            ("log.txt", "log\n"),
        ],
    );
    world.watch();
    world.await_that("two kept fixes", |world| {
        world.text("attempts.tsv").matches("\tagent\trestart\tkept\t").count() == 2
    });
    let branches = git(&world, &["branch", "--list", "watchkeeper/*", "--format=%(refname:short)"]);
    let branches: Vec<&str> = branches.lines().collect();
    assert_eq!(branches.len(), 2, "{branches:?}");
    assert_eq!(git(&world, &["diff", "--name-only", branches[0], branches[1]]), "log.txt\ntwo");
    // The second one is all that a person has to merge.
    assert_eq!(git(&world, &["diff", branches[1]]), "");
    assert_eq!(git(&world, &["log", "--format=%s", branches[1]]).lines().count(), 3);
    assert_eq!((read(&world, "one"), read(&world, "two")), ("fixed\n".into(), "fixed\n".into()));
}

#[test]
fn uncommitted_work_is_put_aside_for_the_agent_and_back_for_the_run() {
    let healer = "cat > /dev/null\ncat work.txt > seen.txt; ls mine.txt >> seen.txt 2>/dev/null\n\
                  echo fixed > one\necho 'ACTION: restart'\n";
    let train = "grep -q mine work.txt && test -e mine.txt || exit 9\ntest \"$(cat one)\" = fixed || exit 3\nsleep 60\n";
    let mut world = repository(
        &format!("command = [\"sh\", \"train.sh\"]\n{HEALING}\ndirty = \"stash\""),
        &[("train.sh", train), ("healer.sh", healer), ("one", "broken\n"), ("work.txt", "committed\n")],
    );
    fs::write(world.dir.path().join("work.txt"), "mine\n").unwrap();
    fs::write(world.dir.path().join("mine.txt"), "untracked\n").unwrap();
    world.watch();
    world.await_that("a kept fix", |world| world.text("attempts.tsv").contains("\tagent\trestart\tkept\t"));
    assert_eq!(read(&world, "seen.txt"), "committed\n", "what the agent saw");
    assert_eq!((read(&world, "work.txt"), read(&world, "mine.txt")), ("mine\n".into(), "untracked\n".into()));
    let branch = git(&world, &["branch", "--list", "watchkeeper/*", "--format=%(refname:short)"]);
    assert_eq!(git(&world, &["diff", "--name-only", "main", &branch]), "one\nseen.txt");
    world.await_that("end of its records", |world| !world.text("fixes/p-2/kept.json").is_empty());
    world.await_that("end of its refs", |world| git(world, &["for-each-ref", "refs/watchkeeper"]).is_empty());
}

#[test]
fn what_an_interactive_agent_edited_is_on_a_branch_and_taken_back_when_it_does_not_help() {
    let mut world = repository(
        "command = [\"sh\", \"train.sh\"]\nmax_identical = 3\n\
         [process.healing]\nagent = \"interactive\"\nescalate_after = 1\ntimeout_s = 60",
        &[("train.sh", "cat one; exit 3\n"), ("one", "broken\n")],
    );
    world.watch();
    world.await_that("request", |world| world.path("units/p/recovery-request.md").exists());
    fs::write(world.dir.path().join("one"), "not mended\n").unwrap();
    let said = world.says(&["respond", "p", "--action", "restart"]);
    assert!(said.contains("the answer is taken"), "{said}");
    world.await_that("a regressed attempt", |world| {
        world.text("attempts.tsv").contains("\tagent\trestart\tregressed\twatchkeeper/fix-")
    });
    world.await_that("the file as it was", |world| read(world, "one") == "broken\n");
    assert!(world.text("units/p/out.log").contains("not mended"), "it was tried");
    assert!(!world.path("units/p/recovery-request.md").exists(), "the request is answered");
    let branch = git(&world, &["branch", "--list", "watchkeeper/*", "--format=%(refname:short)"]);
    assert_eq!(git(&world, &["show", &format!("{branch}:one")]), "not mended");
    let id = world.incidents().remove(0);
    assert!(world.text(&format!("incidents/{id}/fix/diff.patch")).contains("+not mended"));
}

#[test]
fn an_agent_that_removes_the_repository_is_told_of_truly() {
    let healer = "cat > /dev/null\nrm -rf .git\necho 'ACTION: restart'\n";
    let mut world = repository(
        &format!("command = [\"sh\", \"train.sh\"]\n{HEALING}\ndirty = \"stash\""),
        &[("train.sh", "exit 3\n"), ("healer.sh", healer), ("work.txt", "committed\n")],
    );
    fs::write(world.dir.path().join("work.txt"), "mine\n").unwrap();
    world.watch();
    world.await_that("alert", |world| world.text("outbox.jsonl").contains("the git repository of"));
    world.kill_dogs_softly();
    let alerts = world.text("outbox.jsonl");
    assert!(!alerts.contains("on branch ``") && !alerts.contains("nothing was done"), "{alerts}");
    assert_eq!(fs::read_to_string(world.path("fixes/p-2/work/work.txt")).unwrap(), "mine\n");
}

/// Its agent is asked, and a person's uncommitted work is aside.
fn interactive_with_work() -> World {
    let mut world = repository(
        "command = [\"sh\", \"train.sh\"]\n\
         [process.healing]\nagent = \"interactive\"\nescalate_after = 1\ntimeout_s = 60\ndirty = \"stash\"",
        &[("train.sh", "exit 3\n"), ("work.txt", "committed\n")],
    );
    fs::write(world.dir.path().join("work.txt"), "mine\n").unwrap();
    world.watch();
    world.await_that("request", |world| world.path("units/p/recovery-request.md").exists());
    assert_eq!(read(&world, "work.txt"), "committed\n");
    world
}

fn ticks(world: &World) -> u64 {
    world.json("heartbeat.json")["tick"].as_u64().unwrap_or(0)
}

#[test]
fn who_takes_the_request_away_is_not_asked_again_and_no_answer_is_lost() {
    let world = interactive_with_work();
    let [request, response] =
        ["request", "response"].map(|name| world.path(&format!("units/p/recovery-{name}.md")));
    fs::rename(&request, world.dir.path().join(".watchkeeper/mine.md")).unwrap();
    let tick = ticks(&world);
    world.await_that("some ticks", |world| ticks(world) > tick + 2);
    assert!(!request.exists(), "it was asked again");
    fs::write(&response, "mended\nACTION: pause\n").unwrap();
    world.await_that("end of it", |world| !world.unit()["run"]["standing"]["paused"].is_null());
    world.await_that("the work", |world| read(world, "work.txt") == "mine\n");
    world.await_that("end of the answer", |_| !response.exists());
    // An answer that nobody waited for is put aside, and not deleted.
    fs::write(&response, "too late\nACTION: abort\n").unwrap();
    world.says(&["approve", "p"]);
    world.await_that("another request", |_| request.exists());
    let kept =
        fs::read_dir(world.path("quarantine")).unwrap().flatten().map(|file| fs::read_to_string(file.path()));
    assert!(kept.map(Result::unwrap).any(|text| text.starts_with("too late")));
}

#[test]
fn who_may_only_watch_says_that_work_is_aside() {
    let mut world = interactive_with_work();
    world.kill_dogs_softly();
    let path = world.dir.path().join("agents.toml");
    let config = fs::read_to_string(&path).unwrap().replace("[watchdog]", "[watchdog]\nobserve_only = true");
    fs::write(path, config).unwrap();
    world.watch();
    world.await_that("alert", |world| {
        let alerts = world.text("outbox.jsonl");
        alerts.contains("`observe_only` forbids that it is ended")
            && alerts.contains("stash apply refs/watchkeeper/")
    });
}

#[test]
fn the_work_of_a_process_that_left_the_config_is_told_with_the_command_that_brings_it_back() {
    let mut world = interactive_with_work();
    world.kill_dogs_softly();
    fs::write(
        world.dir.path().join("agents.toml"),
        "[watchdog]\nsignal_interval = 0.5\n[[process]]\nname = \"q\"\ncommand = [\"true\"]\nlifecycle = \"one-shot\"\n",
    )
    .unwrap();
    world.watch();
    world.await_that("alert", |world| world.text("outbox.jsonl").contains("`p` is no longer in the config"));
    let alerts = world.text("outbox.jsonl");
    assert_eq!(alerts.matches("no longer in the config").count(), 1, "{alerts}");
    for part in ["rm '", "git -C '"] {
        let command = alerts.split('`').find(|words| words.starts_with(part)).unwrap();
        let done = Command::new("sh").arg("-c").arg(command).output().unwrap();
        assert!(done.status.success(), "{command}: {done:?}");
    }
    assert_eq!(read(&world, "work.txt"), "mine\n");
    assert!(!world.dir.path().join(".git/watchkeeper-healing").is_symlink());
}

/// As `git clean -fdx` does, which an agent may run.
#[test]
fn who_removes_the_state_directory_does_not_take_the_operators_work_with_it() {
    let world = interactive_with_work();
    fs::remove_dir_all(world.dir.path().join(".watchkeeper")).unwrap();
    world.await_that("alert", |world| {
        let alerts = world.text("outbox.jsonl");
        alerts.contains("are gone: ") && alerts.contains("refs/watchkeeper/stash")
    });
    let name = git(&world, &["for-each-ref", "--format=%(refname)", "refs/watchkeeper/stash"]);
    git(&world, &["stash", "apply", &name]);
    assert_eq!(read(&world, "work.txt"), "mine\n");
}

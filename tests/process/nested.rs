//! A watchdog that is started from within a run, or a job, of another one: what it keeps is its own, and no leftover of theirs. (No tmux: it would be the
//! user's server that they share.)

use super::{World, bare, fs, kill, lives};
use std::path::Path;

/// A variable that a process was started with.
fn variable(pid: i32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let entry = environ
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")));
    entry.map(|value| String::from_utf8_lossy(value).into_owned())
}

/// The pid that a watchdog wrote into its lock.
fn watchdog(world: &World) -> Option<i32> {
    let pid = i32::try_from(world.json("lock")["pid"].as_i64()?).ok()?;
    lives(pid).then_some(pid)
}

/// The watchdog of a world that nobody here started.
struct Loose<'w>(&'w World);

impl Drop for Loose<'_> {
    fn drop(&mut self) {
        watchdog(self.0).into_iter().for_each(kill);
    }
}

const SLEEPER: &str = "command = [\"sleep\", \"1000\"]\n[process.healing]\nagent = \"off\"";
/// Its agent says who it is, and works until its end is due.
const BROKEN: &str = "command = [\"sh\", \"-c\", \"exit 1\"]\n\
                      [process.healing]\nagent = \"headless\"\ncommand = [\"sh\", \"healer.sh\"]\nescalate_after = 0";

#[test]
fn nothing_of_it_carries_the_mark_of_the_outer_one() {
    const FOREIGN: [(&str, &str); 2] =
        [("WATCHKEEPER_RUN", "other/p/1"), ("WATCHKEEPER_JOB", "other/p.heal.1/5")];
    let inner = World::new(SLEEPER, &[]);
    let _dog = Loose(&inner);
    let mut up = inner.wk("up");
    assert!(
        up.stdout(std::process::Stdio::null())
            .envs(FOREIGN)
            .env("PATH", bare::programs(&inner))
            .status()
            .unwrap()
            .success()
    );
    let child = inner.await_child();
    let (dog, shim) = (watchdog(&inner).unwrap(), super::parent(child));
    for (who, pid) in [("the watchdog", dog), ("the shim", shim)] {
        assert_eq!(variable(pid, "WATCHKEEPER_RUN"), None, "{who}");
        assert_eq!(variable(pid, "WATCHKEEPER_JOB").as_deref(), Some(""), "{who}");
    }
    let run = variable(child, "WATCHKEEPER_RUN").unwrap();
    assert!(run.ends_with("/p/1") && run != "other/p/1", "{run}");
    assert_eq!(variable(child, "WATCHKEEPER_JOB").as_deref(), Some(""));
}

#[test]
fn no_job_of_it_carries_the_mark_of_the_outer_one() {
    let healer = "echo $$ > healer.pid; exec sleep 1000\n";
    let mut inner = World::new(BROKEN, &[("healer.sh", healer)]);
    let mut run = inner.wk("run");
    run.env("WATCHKEEPER_RUN", "other/p/1").env("WATCHKEEPER_JOB", "other/p.heal.1/5");
    inner.dogs.push(run.stdout(std::process::Stdio::null()).spawn().unwrap());
    let pid = |world: &World| -> Option<i32> {
        fs::read_to_string(world.dir.path().join("healer.pid")).ok()?.trim().parse().ok()
    };
    inner.await_that("agent at work", |world| pid(world).is_some());
    let agent = pid(&inner).unwrap();
    for (who, pid) in [("the agent", agent), ("its runner", super::parent(agent))] {
        assert_eq!(variable(pid, "WATCHKEEPER_RUN"), None, "{who}");
        let job = variable(pid, "WATCHKEEPER_JOB").unwrap();
        assert!(job.contains("/p.heal.") && !job.starts_with("other/"), "{who}: {job}");
    }
    kill(super::parent(agent));
    inner.await_that("end of the agent", |_| !lives(agent));
}

#[test]
fn a_watchdog_that_a_run_started_is_not_ended_as_what_the_run_left_behind() {
    let inner = World::new(SLEEPER, &[]);
    let _dog = Loose(&inner);
    let script = format!(
        "cd {}; PATH={} {} up > up.txt 2>&1; cd -; sleep 1000 & echo $! > left.pid; wait\n",
        inner.dir.path().display(),
        bare::programs(&inner).display(),
        env!("CARGO_BIN_EXE_watchkeeper")
    );
    let outer = World::watched(
        "command = [\"sh\", \"outer.sh\"]\ngrace_s = 1\n[process.healing]\nagent = \"off\"",
        &[("outer.sh", &script)],
    );
    let left = |world: &World| -> Option<i32> {
        fs::read_to_string(world.dir.path().join("left.pid")).ok()?.trim().parse().ok()
    };
    outer.await_that("outer run at work", |world| left(world).is_some());
    let (child, dog, first) = (inner.await_child(), watchdog(&inner).unwrap(), left(&outer).unwrap());
    kill(outer.await_child());
    outer.await_that("end of what it left behind, and its next run", |world| {
        !lives(first) && world.number() == 2 && left(world).is_some_and(|pid| pid != first)
    });
    assert_eq!((inner.child(), watchdog(&inner)), (Some(child), Some(dog)));
    assert!(Path::new(&format!("/proc/{child}")).exists());
}

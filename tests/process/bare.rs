//! A machine without tmux: what has no agents and no services needs none, whatever command is used on it.

use super::{World, fs, lives};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A folder with a few programs in it, and no tmux: the only one on the PATH.
pub(super) fn programs(world: &World) -> PathBuf {
    let bin = world.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for program in ["sh", "sleep", "git"] {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.exists());
        std::os::unix::fs::symlink(found.unwrap(), bin.join(program)).unwrap();
    }
    bin
}

/// Exit code and output of a command there.
fn call(world: &World, bin: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut wk = world.wk(words[0]);
    wk.args(&words[1..]).env("PATH", bin).stderr(Stdio::piped());
    let out = wk.output().unwrap();
    (
        out.status.code(),
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
    )
}

#[track_caller]
fn check(world: &World, bin: &Path, words: &[&str], code: i32, said: &str) {
    let (got, text) = call(world, bin, words);
    assert!(got == Some(code) && text.contains(said), "{words:?}: {got:?}, not {code} with `{said}`\n{text}");
}

const SLEEPER: &str = "command = [\"sleep\", \"1000\"]\n[process.healing]\nagent = \"off\"";

/// Ends the watchdog that `up` or `ensure` started: nobody's child.
struct Loose<'w>(&'w World);

impl Loose<'_> {
    fn pid(&self) -> Option<i32> {
        let pid = i32::try_from(self.0.json("lock")["pid"].as_i64()?).ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_ours = String::from_utf8_lossy(&command).contains(&*self.0.dir.path().to_string_lossy());
        (is_ours && lives(pid)).then_some(pid)
    }
}

impl Drop for Loose<'_> {
    fn drop(&mut self) {
        self.pid().into_iter().for_each(super::kill);
    }
}

#[test]
fn processes_need_no_tmux_for_any_command() {
    let world = World::new(SLEEPER, &[]);
    let bin = programs(&world);
    let dog = Loose(&world);
    check(&world, &bin, &["check"], 0, "");
    check(&world, &bin, &["up"], 0, "p: started");
    let child = world.await_child();
    assert!(dog.pid().is_some(), "`up` starts the watchdog");
    check(&world, &bin, &["status"], 0, "running");
    check(&world, &bin, &["doctor"], 0, "");
    check(&world, &bin, &["why", "p"], 0, "");
    check(&world, &bin, &["tick", "--dry-run"], 0, "nothing to do");
    check(&world, &bin, &["ensure"], 0, "");
    check(&world, &bin, &["pause", "p"], 0, "");
    check(&world, &bin, &["resume", "p"], 0, "");
    check(&world, &bin, &["restart", "p"], 0, "p: started");
    assert!(!lives(child));
    check(&world, &bin, &["down", "p"], 0, "stopped");
    check(&world, &bin, &["up", "p"], 0, "started");
    check(&world, &bin, &["down"], 0, "all units are stopped");
    assert_eq!(dog.pid(), None, "`down` ends the watchdog");
    check(&world, &bin, &["ensure"], 0, "");
    assert_eq!(dog.pid(), None, "marked down");
    // The same without one that watches: the commands act themselves.
    check(&world, &bin, &["up", "p"], 1, "the whole fleet is marked down");
    fs::remove_file(world.path("down")).unwrap();
    check(&world, &bin, &["up", "p"], 0, "p: started");
    check(&world, &bin, &["tick"], 0, "");
    check(&world, &bin, &["down", "p"], 0, "p: stopped");
    let events = world.text("outbox.jsonl");
    assert!(!events.contains("tmux"), "{events}");
}

#[test]
fn run_and_ensure_need_no_tmux_and_ensure_starts_one_watchdog() {
    let world = World::new(SLEEPER, &[]);
    let bin = programs(&world);
    let mut run = world.wk("run");
    let run = run.env("PATH", &bin).stdout(Stdio::null()).spawn().unwrap();
    let mut run = super::World { dir: tempfile::tempdir().unwrap(), dogs: vec![run] };
    let child = world.await_child();
    check(&world, &bin, &["ensure"], 0, "");
    check(&world, &bin, &["restart", "p"], 0, "p: started");
    assert!(!lives(child));
    run.kill_watchdog();
    let dog = Loose(&world);
    check(&world, &bin, &["ensure"], 0, "started the watchdog");
    let first = dog.pid().unwrap();
    check(&world, &bin, &["ensure"], 0, "");
    assert_eq!(dog.pid(), Some(first));
    check(&world, &bin, &["down"], 0, "all units are stopped");
}

#[test]
fn with_an_agent_its_absence_is_told() {
    let agent = "command = [\"sleep\", \"1000\"]\n[[service]]\nname = \"s\"\ncommand = [\"sleep\", \"1000\"]";
    let world = World::new(agent, &[]);
    let bin = programs(&world);
    for words in [&["run"][..], &["up"], &["ensure"], &["up", "p"]] {
        check(&world, &bin, words, 69, "program `tmux` is missing");
    }
}

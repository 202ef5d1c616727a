//! What only whole processes can show: a lock that survives exec and dies with `kill -9`, a second signal that leaves
//! at once, writers in different processes. Each test starts this test binary again as another process.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use watchkeeper::sys::files::RealFiles;
use watchkeeper::sys::lock::{self, TryLock};
use watchkeeper::sys::signals::{Sig, Signals};
use watchkeeper::sys::{Files, Replaced, Sync, exe};

const STAGE: &str = "WK_TEST_STAGE";
const DIR: &str = "WK_TEST_DIR";

/// Starts the test `name` of this binary as a process of its own, which sees `stage`.
fn start(name: &str, stage: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(STAGE, stage)
        .env(DIR, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The stage that this process was started for, and its directory.
fn stage() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(STAGE).ok()?, std::env::var_os(DIR)?.into()))
}

#[track_caller]
fn await_that(mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "never came true");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn touch(path: impl AsRef<Path>) {
    std::fs::write(path, "").unwrap();
}

fn stay() -> ! {
    std::thread::sleep(Duration::from_secs(60));
    std::process::exit(9)
}

#[test]
fn the_lock_goes_along_with_exec_and_dies_with_its_holder() {
    const NAME: &str = "the_lock_goes_along_with_exec_and_dies_with_its_holder";
    if let Some((_, dir)) = stage() {
        if let Some(lock) = lock::adopt(&dir, "run, again") {
            // Nothing that we start holds it, whatever it inherits.
            let mut orphan = Command::new("sleep").arg("60").spawn().unwrap();
            touch(dir.join("adopted"));
            await_that(|| dir.join("let go").exists());
            drop(lock);
            touch(dir.join("free"));
            await_that(|| dir.join("take again").exists());
            let _lock = lock::try_lock(&dir, "run").unwrap();
            touch(dir.join("taken again"));
            std::thread::sleep(Duration::from_secs(60));
            let _ = orphan.kill();
            let _ = orphan.wait();
            return;
        }
        let TryLock::Got(lock) = lock::try_lock(&dir, "run").unwrap() else { panic!("held") };
        let args = [NAME, "--exact", "--nocapture"].map(OsStr::new);
        panic!("{}", exe::exec(&std::env::current_exe().unwrap(), args, &lock));
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut child = start(NAME, "hold", dir.path());
    await_that(|| at("adopted").exists());
    let TryLock::Held(held) = lock::try_lock(dir.path(), "tick").unwrap() else {
        panic!("the lock was lost")
    };
    assert_eq!((held.pid, held.command.as_str()), (child.id().cast_signed(), "run, again"));
    touch(at("let go"));
    await_that(|| at("free").exists());
    // Were it in the hands of the child's child, it would still be held.
    let TryLock::Got(lock) = lock::try_lock(dir.path(), "tick").unwrap() else {
        panic!("somebody inherited it")
    };
    drop(lock);
    assert!(!at("lock").exists());
    touch(at("take again"));
    await_that(|| at("taken again").exists());
    assert!(lock::held(dir.path()).is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lock::held(dir.path()), None);
    assert!(at("lock").exists(), "the text stays and means nothing");
    assert!(lock::adopt(dir.path(), "x").is_none());
}

#[test]
fn the_first_term_is_told_and_the_second_leaves_at_once() {
    if let Some((_, dir)) = stage() {
        let mut signals = Signals::register().unwrap();
        touch(dir.join("ready"));
        let came = signals.wait(Duration::from_secs(60));
        assert_eq!(came, [Sig::Term]);
        touch(dir.join("told"));
        stay();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = start("the_first_term_is_told_and_the_second_leaves_at_once", "wait", dir.path());
    let pid = rustix::process::Pid::from_child(&child);
    await_that(|| dir.path().join("ready").exists());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    await_that(|| dir.path().join("told").exists());
    assert_eq!(child.try_wait().unwrap(), None);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn an_edit_by_another_process_is_never_overwritten_unread() {
    const EDITS: u32 = 200;
    if let Some((_, dir)) = stage() {
        // The operator: saves as an editor does, and goes on when the watchdog's log shows that the edit was read.
        for n in 0..EDITS {
            let edit = format!("edit {n}.");
            std::fs::write(dir.join("swp"), &edit).unwrap();
            std::fs::rename(dir.join("swp"), dir.join("unit.json")).unwrap();
            await_that(|| std::fs::read_to_string(dir.join("log")).is_ok_and(|log| log.contains(&edit)));
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut files = RealFiles::new(dir.path());
    files.replace("unit.json", None, b"0", Sync::Cheap).unwrap();
    let mut child = start("an_edit_by_another_process_is_never_overwritten_unread", "edit", dir.path());
    let mut written = 0;
    let status = loop {
        let old = files.read("unit.json", 99).unwrap();
        let text = String::from_utf8(old.clone().unwrap_or_default()).unwrap();
        if text.starts_with("edit") {
            files.append("log", &text).unwrap();
        }
        let new = format!("ours {written}");
        if files.replace("unit.json", old.as_deref(), new.as_bytes(), Sync::Cheap).unwrap()
            == Replaced::Written
        {
            written += 1;
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };
    assert!(status.success(), "an edit was lost");
    assert!(written > EDITS);
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!((0..EDITS).all(|n| log.contains(&format!("edit {n}."))));
}

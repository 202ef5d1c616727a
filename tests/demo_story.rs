//! `watchkeeper demo`, end to end: the real program, its own tmux server, its own judgement of what happened.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program, with a folder of its own for temporary files.
struct Demo {
    child: Child,
    /// Short: tmux's socket lies in it.
    temp: tempfile::TempDir,
}

impl Demo {
    fn start(args: &[&str]) -> Demo {
        let temp = tempfile::Builder::new().prefix("wk-").tempdir_in("/tmp").unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_watchkeeper"))
            .arg("demo")
            .args(args)
            .env("TMPDIR", temp.path())
            .env_remove("WATCHKEEPER_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Demo { child, temp }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Its exit code and everything that it printed from here on.
    fn end(&mut self, rest: &mut dyn Read) -> (Option<i32>, String) {
        let mut said = String::new();
        rest.read_to_string(&mut said).unwrap();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), said + &errors)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // A failed test: let it tear itself down, which is bounded.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(rustix::process::Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// Processes that name the folder in their command line.
fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.to_string_lossy().into_owned();
    let own = std::process::id().to_string();
    let entries: Vec<PathBuf> =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path())).collect();
    let lines = entries.iter().filter(|path| !path.ends_with(&own)).filter_map(|path| {
        let line = std::fs::read(path.join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(&name)).collect()
}

#[track_caller]
fn assert_nothing_is_left(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let files = std::fs::read_dir(folder).unwrap().count();
        let processes = processes_of(folder);
        if files == 0 && processes.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{files} files and these processes are left: {processes:#?}");
        std::thread::yield_now();
    }
}

#[test]
fn everything_happens_as_it_should() {
    let mut demo = Demo::start(&[]);
    let mut stdout = demo.child.stdout.take().unwrap();
    let (code, said) = demo.end(&mut stdout);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\nAll ") && said.contains(" expectations held"), "{said}");
    assert!(!said.contains("missing:"), "{said}");
    assert_nothing_is_left(demo.temp.path());
}

#[test]
fn an_interrupted_story_tears_everything_down() {
    let mut demo = Demo::start(&[]);
    let mut stdout = BufReader::new(demo.child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("kill -9") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended before anything happened");
    }
    demo.signal(rustix::process::Signal::INT);
    // An impatient person's second one does not leave anything behind either.
    demo.signal(rustix::process::Signal::INT);
    let (code, said) = demo.end(&mut stdout);
    assert_eq!(code, Some(130), "{said}");
    assert_nothing_is_left(demo.temp.path());
}

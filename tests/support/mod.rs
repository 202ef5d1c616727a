//! A hermetic world for tests of the binary: a folder, a cleared environment, a tmux server of its own, git nailed down.
//!
//! `world.wk(["status"]).code(1).stdout("…").check()` states the whole result; what is not stated is empty. `[..]` in an
//! expectation stands for anything on that line, `$DIR` for the folder. A failing check prints everything there is.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time one call of the binary may take.
const CALL_MAX: Duration = Duration::from_secs(120);
/// Longest time a condition is waited for.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The private tmux server's socket name.
pub const SOCKET: &str = "wk";

/// A folder with everything in it. Dropping it ends the watchdog and the tmux server.
pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// An empty one.
    pub fn new() -> World {
        let dir = tempfile::Builder::new().prefix("wk-").tempdir().unwrap();
        for folder in ["home", "tmp", "tmux", "work"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        World { dir }
    }

    /// One with this agents.toml; `[defaults]` gets the private socket.
    pub fn with_config(units: &str) -> World {
        let world = World::new();
        world.config(units);
        world
    }

    /// Writes agents.toml: fast ticks, the private socket, then `units`.
    pub fn config(&self, units: &str) {
        let head = format!(
            "[watchdog]\nsignal_interval = 1\n[defaults]\ntmux_socket = \"{SOCKET}\"\nbackend = \"demo\"\n"
        );
        self.file("agents.toml", format!("{head}{units}"));
    }

    /// Where the binary is called from: the folder with agents.toml.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A file in the state directory.
    pub fn state(&self, file: &str) -> PathBuf {
        self.path().join(".watchkeeper").join(file)
    }

    /// Writes a file, making its folders.
    pub fn file(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A call of the binary, to be checked.
    pub fn wk<'w, S: AsRef<str>>(&'w self, args: impl IntoIterator<Item = S>) -> Call<'w> {
        Call {
            world: self,
            args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
            env: Vec::new(),
            stdin: Vec::new(),
            code: 0,
            stdout: String::new(),
            stderr: String::new(),
            files: Vec::new(),
        }
    }

    /// The cleared environment with a program in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let dir = self.dir.path();
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin")));
        command.env("HOME", dir.join("home")).env("TMPDIR", dir.join("tmp"));
        command.env("TMUX_TMPDIR", dir.join("tmux")).env("SHELL", "/bin/sh");
        command.env("LANG", "C.UTF-8").env("TZ", "UTC").env("TERM", "xterm-256color");
        for key in ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"] {
            command.env(key, "/dev/null");
        }
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "test")
                .env(format!("GIT_{who}_EMAIL"), "test@example.org");
        }
        command
    }

    /// The binary in that environment.
    pub fn binary(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_watchkeeper"))
    }

    /// Runs tmux on the private server; its standard output.
    pub fn tmux(&self, args: &[&str]) -> String {
        let output = self.command("tmux").args(["-u", "-L", SOCKET]).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The text of a file in the state directory; "" when there is none.
    pub fn read_state(&self, file: &str) -> String {
        fs::read_to_string(self.state(file)).unwrap_or_default()
    }

    /// `status --json`.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        let output = self.binary().args(["status", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}\n{}", self.everything()))
    }

    /// One unit of `status --json`.
    #[track_caller]
    pub fn unit(&self, name: &str) -> serde_json::Value {
        let status = self.status();
        let units = status["units"].as_array().cloned().unwrap_or_default();
        units.into_iter().find(|unit| unit["name"] == name).unwrap_or(serde_json::Value::Null)
    }

    /// The state that `inspect` sees on a unit's screen now.
    pub fn inspect(&self, name: &str) -> String {
        let output = self.binary().args(["inspect", name, "--json"]).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        json["state"].as_str().unwrap_or("").to_owned()
    }

    /// Waits until a unit is in this state.
    #[track_caller]
    pub fn await_state(&self, name: &str, state: &str) {
        self.await_that(&format!("{name} is {state}"), || self.unit(name)["state"] == state);
    }

    /// Waits for a condition, bounded.
    #[track_caller]
    pub fn await_that(&self, what: &str, condition: impl Fn() -> bool) {
        let until = Instant::now() + WAIT_MAX;
        while !condition() {
            assert!(Instant::now() < until, "never came true: {what}\n{}", self.everything());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Files, events and screens, for a failing test.
    pub fn everything(&self) -> String {
        let mut text = String::from("---- files\n");
        list(&self.path(), &self.path(), &mut text);
        let events = self.state("events");
        for entry in fs::read_dir(events).into_iter().flatten().flatten() {
            let _ = writeln!(text, "---- events\n{}", fs::read_to_string(entry.path()).unwrap_or_default());
        }
        for pane in self.tmux(&["list-panes", "-a", "-F", "#{pane_id} #{session_name}"]).lines() {
            let id = pane.split(' ').next().unwrap_or("");
            let screen = self.tmux(&["capture-pane", "-p", "-t", id]);
            let _ = writeln!(text, "---- pane {pane}\n{}", screen.trim_end());
        }
        text
    }
}

fn list(root: &Path, dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let shown = path.strip_prefix(root).unwrap_or(&path).display();
        if path.is_dir() {
            list(root, &path, text);
        } else {
            let length = entry.metadata().map_or(0, |meta| meta.len());
            let _ = writeln!(text, "{shown} ({length} bytes)");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The watchdog first: it would start its fleet again.
        let lock: serde_json::Value = serde_json::from_str(&self.read_state("lock")).unwrap_or_default();
        if let Some(pid) = lock["pid"].as_i64().filter(|pid| *pid > 1) {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&*self.dir.path().to_string_lossy()) {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            }
        }
        let _ = self.command("tmux").args(["-L", SOCKET, "kill-server"]).stderr(Stdio::null()).status();
    }
}

/// A call of the binary with the whole expected result.
#[must_use = "nothing is run before `check`"]
pub struct Call<'w> {
    world: &'w World,
    args: Vec<String>,
    env: Vec<(String, Option<String>)>,
    stdin: Vec<u8>,
    code: i32,
    stdout: String,
    stderr: String,
    files: Vec<(String, Option<String>)>,
}

/// What a call said.
pub struct Said {
    pub stdout: String,
    pub stderr: String,
}

impl Call<'_> {
    /// A variable of its environment.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), Some(value.to_owned())));
        self
    }

    /// Takes a variable away.
    pub fn without(mut self, key: &str) -> Self {
        self.env.push((key.to_owned(), None));
        self
    }

    /// Its standard input.
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// The exit code; 0 when not stated.
    pub fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// Standard output; empty when not stated.
    pub fn stdout(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdout);
        self
    }

    /// Standard error; empty when not stated.
    pub fn stderr(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stderr);
        self
    }

    /// A file that must hold this afterwards.
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), Some(text.to_owned())));
        self
    }

    /// A file that must not be there afterwards.
    pub fn no_file(mut self, path: &str) -> Self {
        self.files.push((path.to_owned(), None));
        self
    }

    /// Runs it and compares everything.
    #[track_caller]
    pub fn check(self) -> Said {
        let (code, stdout, stderr) = self.run();
        let mut wrong = Vec::new();
        if code != Some(self.code) {
            wrong.push(format!("exit code: want {}, got {code:?}", self.code));
        }
        for (name, want, got) in [("stdout", &self.stdout, &stdout), ("stderr", &self.stderr, &stderr)] {
            if !agrees(want, got) {
                wrong.push(format!("{name}: want\n{want}\n  got\n{got}"));
            }
        }
        for (path, want) in &self.files {
            let got = fs::read_to_string(self.world.path().join(path)).ok();
            let same = match (want, &got) {
                (Some(want), Some(got)) => agrees(want, got),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same {
                wrong.push(format!("file {path}: want {want:?}, got {got:?}"));
            }
        }
        assert!(
            wrong.is_empty(),
            "watchkeeper {}\n{}\n---- stdout\n{stdout}\n---- stderr\n{stderr}\n{}",
            self.args.join(" "),
            wrong.join("\n"),
            self.world.everything()
        );
        Said { stdout, stderr }
    }

    fn run(&self) -> (Option<i32>, String, String) {
        let mut command = self.world.binary();
        command.args(&self.args);
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let text = self.stdin.clone();
        // A child that reads nothing makes this fail, which is its own affair.
        let feed = std::thread::spawn(move || drop(stdin.write_all(&text)));
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let out = std::thread::spawn(move || read(&mut out));
        let err = std::thread::spawn(move || read(&mut err));
        let until = Instant::now() + CALL_MAX;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                let _ = child.kill();
                break child.wait().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        feed.join().unwrap();
        let dir = self.world.path();
        let tidy = |text: String| text.replace(&*dir.to_string_lossy(), "$DIR");
        (status.code(), tidy(out.join().unwrap()), tidy(err.join().unwrap()))
    }
}

fn read(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Does `got` agree with `want`? Line by line; `[..]` stands for anything on its line, a line `...` for any lines.
pub fn agrees(want: &str, got: &str) -> bool {
    let want: Vec<&str> = want.lines().collect();
    let got: Vec<&str> = got.lines().collect();
    lines_agree(&want, &got)
}

fn lines_agree(want: &[&str], got: &[&str]) -> bool {
    match (want.split_first(), got.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((&"...", rest)), _) => (0..=got.len()).any(|skip| lines_agree(rest, &got[skip..])),
        (Some(_), None) => false,
        (Some((want, wants)), Some((got, gots))) => line_agrees(want, got) && lines_agree(wants, gots),
    }
}

fn line_agrees(want: &str, got: &str) -> bool {
    let mut parts = want.split("[..]");
    let Some(mut rest) = parts.next().and_then(|first| got.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        last = Some(part);
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    match last {
        None => rest.is_empty(),
        Some(part) => rest.is_empty() || part.is_empty() || got.ends_with(part),
    }
}

#[test]
fn patterns_agree_as_they_should() {
    for (want, got, same) in [
        ("a\nb\n", "a\nb\n", true),
        ("a\n", "a\nb\n", false),
        ("a [..] c\n", "a b c\n", true),
        ("a [..] c\n", "a b d\n", false),
        ("[..]c\n", "cc\n", true),
        ("a[..]\n", "abc\n", true),
        ("a\n...\nd\n", "a\nb\nc\nd\n", true),
        ("a\n...\n", "a\n", true),
        ("...\nx\n", "a\n", false),
    ] {
        assert_eq!(agrees(want, got), same, "{want:?} {got:?}");
    }
}

/// Lines of a program that goes on, each waited for with a bound.
pub struct Lines(std::sync::mpsc::Receiver<String>);

impl Lines {
    /// Reads from `source` until it ends.
    pub fn of(source: impl Read + Send + 'static) -> Lines {
        use std::io::BufRead;
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::BufReader::new(source).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Lines(receiver)
    }

    /// The next line.
    #[track_caller]
    pub fn next(&self) -> String {
        self.0.recv_timeout(WAIT_MAX).unwrap()
    }
}

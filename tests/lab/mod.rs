//! A laboratory for whole fleets: the built binary, `demo` agents and a tmux server of its own in one temporary folder.
//! Everything is judged by real facts: the agents' transcripts, tmux, the process table and the state files.
//!
//! Deliberately not here: what is expected. Dropping a lab ends every process that was started in it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![allow(dead_code, reason = "each test program uses its part")]

pub mod limit;

use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No condition needs nearly so long, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A tick ends by itself after its follow-ups (3 s) or tmux' deadlines (5 s each).
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(40);

static COUNT: AtomicU64 = AtomicU64::new(0);

/// One fleet.
pub struct Lab {
    dir: tempfile::TempDir,
    binary: PathBuf,
    _turn: limit::Turn,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; None when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

/// A watchdog in the foreground; dropping it kills it.
pub struct Watching {
    child: Child,
}

/// One `[[agent]]` for the config, or a `[[process]]`.
#[derive(Clone, Debug)]
pub struct Agent {
    name: String,
    is_process: bool,
    lines: String,
    env: Vec<(String, String)>,
    prompt: Option<String>,
}

impl Agent {
    /// An agent that waits for people: idleness is fine.
    pub fn persistent(name: &str, script: &str) -> Agent {
        Agent::new(name, "persistent", script)
    }

    /// An agent that works without end.
    pub fn looping(name: &str, script: &str) -> Agent {
        Agent::new(name, "loop", script)
    }

    /// An agent that runs and exits.
    pub fn task(name: &str, script: &str) -> Agent {
        Agent::new(name, "task", script)
    }

    /// A process of these lines of TOML.
    pub fn process(name: &str, lines: &str) -> Agent {
        let (name, lines) = (name.to_owned(), format!("{lines}\n"));
        Agent { name, is_process: true, lines, env: Vec::new(), prompt: None }
    }

    fn new(name: &str, kind: &str, script: &str) -> Agent {
        let env = vec![("DEMO_SCRIPT".to_owned(), script.to_owned())];
        let lines = format!("kind = \"{kind}\"\n");
        Agent { name: name.to_owned(), is_process: false, lines, env, prompt: None }
    }

    /// Further lines of TOML.
    pub fn with(mut self, line: &str) -> Agent {
        self.lines.push_str(line);
        self.lines.push('\n');
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, key: &str, value: &str) -> Agent {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Its role prompt.
    pub fn prompt(mut self, text: &str) -> Agent {
        self.prompt = Some(text.to_owned());
        self
    }

    fn toml(&self, dir: &Path) -> String {
        let Agent { name, lines, .. } = self;
        if self.is_process {
            return format!("[[process]]\nname = \"{name}\"\n{lines}\n");
        }
        let mut env: Vec<String> =
            self.env.iter().map(|(key, value)| format!("{key} = {}", json!(value))).collect();
        env.push(format!("DEMO_TRANSCRIPT = {}", json!(dir.join(format!("{name}.jsonl")))));
        env.push("DEMO_START = \"0\"".to_owned());
        let prompt = self.prompt.as_ref().map_or(String::new(), |text| {
            let path = dir.join(format!("{name}.md"));
            std::fs::write(&path, text).unwrap();
            format!("prompt = {}\n", json!(path))
        });
        format!("[[agent]]\nname = \"{name}\"\n{prompt}{lines}env = {{ {} }}\n\n", env.join(", "))
    }
}

impl Lab {
    /// A fleet of these agents. `watchdog` has further lines for `[watchdog]`. Nothing runs yet.
    pub fn new(watchdog: &str, agents: &[Agent]) -> Lab {
        Lab::weighing(1, watchdog, agents)
    }

    /// The same for a test that keeps several things busy at once.
    pub fn weighing(weight: usize, watchdog: &str, agents: &[Agent]) -> Lab {
        let turn = limit::take(weight);
        let dir = tempfile::Builder::new().prefix("wk-lab-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_watchkeeper"));
        let lab = Lab { dir, binary, _turn: turn };
        lab.configure(watchdog, agents);
        lab
    }

    /// Writes agents.toml anew.
    pub fn configure(&self, watchdog: &str, agents: &[Agent]) {
        let units: String = agents.iter().map(|agent| agent.toml(self.path())).collect();
        let text = format!(
            "[watchdog]\n{watchdog}\n\n[defaults]\nsession_prefix = \"t-\"\ntmux_socket = \"t\"\n\
             backend = \"demo\"\n\n[backend.demo]\ncommand = [{}, \"demo-agent\"]\nsubmit_delay_s = 0.1\n\n{units}",
            json!(env!("CARGO_BIN_EXE_watchkeeper"))
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// agents.toml
    pub fn config(&self) -> PathBuf {
        self.path().join("agents.toml")
    }

    /// A path in the state directory.
    pub fn state(&self, path: &str) -> PathBuf {
        self.path().join(".watchkeeper").join(path)
    }

    /// Runs the binary from another place (a copy that a test replaces).
    pub fn use_binary(&mut self, path: &Path) {
        path.clone_into(&mut self.binary);
    }

    /// A command in the lab's environment, which has nothing of ours in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path().join("home")).env("TMUX_TMPDIR", self.path());
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("TERM", "xterm").env("SHELL", "/bin/sh");
        command
    }

    /// The binary with its config, to be given words.
    pub fn watchkeeper(&self) -> Command {
        let mut command = self.command(&self.binary);
        command.arg("--config").arg(self.config());
        command
    }

    /// Runs a command of the binary to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Ended {
        let mut command = self.watchkeeper();
        command.args(words);
        self.finish(command)
    }

    /// Runs one that must succeed.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        let ended = self.run(words);
        assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}\n{}", self.dump());
        ended.out
    }

    /// Runs `command` to its end, bounded.
    #[track_caller]
    pub fn finish(&self, command: Command) -> Ended {
        let words = format!("{command:?}");
        match self.end(command, COMMAND_PATIENCE) {
            Some(ended) => ended,
            None => panic!("{words} did not end\n{}", self.dump()),
        }
    }

    /// Runs `command` to its end, or kills it. Its output goes to files: a tmux client hands its output to the server,
    /// and one that is stopped keeps a pipe open for ever.
    fn end(&self, mut command: Command, patience: Duration) -> Option<Ended> {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let paths = ["out", "err"].map(|kind| self.path().join(format!("{kind}-{n}")));
        let [out, err] = paths.clone().map(|path| std::fs::File::create(path).unwrap());
        let began = Instant::now();
        let mut child = command.stdout(out).stderr(err).spawn().unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if began.elapsed() > patience {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = began.elapsed();
        let [out, err] = paths.map(|path| {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            let _ = std::fs::remove_file(path);
            text
        });
        status.map(|status| Ended { code: status.code(), out, err, took })
    }

    /// One `tick` that must succeed.
    #[track_caller]
    pub fn tick(&self) -> Ended {
        let ended = self.run(&["tick"]);
        assert_eq!(ended.code, Some(0), "tick: {ended:?}\n{}", self.dump());
        ended
    }

    /// Ticks until the condition holds.
    #[track_caller]
    pub fn tick_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < end, "ticked in vain for: {what}\n{}", self.dump());
            self.tick();
        }
    }

    /// Starts the loop.
    #[track_caller]
    pub fn watch(&self) -> Watching {
        let mut command = self.watchkeeper();
        command.arg("run");
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Watching {
        let log = |name: &str| {
            let path = self.path().join(name);
            std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap()
        };
        Watching { child: command.stdout(log("run.out")).stderr(log("run.err")).spawn().unwrap() }
    }

    /// Waits until the condition holds.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        self.within(PATIENCE, what, holds);
    }

    #[track_caller]
    pub fn within(&self, patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + patience;
        while !holds() {
            assert!(Instant::now() < end, "waited in vain for: {what}\n{}", self.dump());
            std::thread::sleep(LOOK);
        }
    }

    /// The condition holds now and at every look for so long: for what must not happen.
    #[track_caller]
    pub fn throughout(&self, time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            assert!(holds(), "it did not stay so: {what}\n{}", self.dump());
            std::thread::sleep(LOOK);
        }
    }

    // What tmux says.

    /// Runs tmux on the lab's server; None when it failed.
    pub fn tmux(&self, args: &[&str]) -> Option<String> {
        let mut command = self.command("tmux");
        command.args(["-u", "-L", "t"]).args(args);
        let ended = self.end(command, Duration::from_secs(10))?;
        (ended.code == Some(0)).then_some(ended.out)
    }

    /// Sessions, each as often as it has panes.
    pub fn sessions(&self) -> Vec<String> {
        let rows = self.tmux(&["list-panes", "-a", "-F", "#{session_name}"]).unwrap_or_default();
        rows.lines().map(str::to_owned).collect()
    }

    /// The living process in a unit's pane.
    pub fn pid(&self, unit: &str) -> Option<i32> {
        let rows = self.tmux(&["list-panes", "-a", "-F", "#{session_name} #{pane_dead} #{pane_pid}"])?;
        let start = format!("t-{unit} 0 ");
        rows.lines().find_map(|row| row.strip_prefix(&start)?.parse().ok())
    }

    /// The tmux server's pid.
    pub fn server(&self) -> Option<i32> {
        self.tmux(&["display-message", "-p", "#{pid}"])?.trim().parse().ok()
    }

    /// What a unit's screen shows.
    pub fn screen(&self, unit: &str) -> String {
        self.tmux(&["capture-pane", "-p", "-t", &format!("=t-{unit}:")]).unwrap_or_default()
    }

    /// Presses keys in a unit's pane, as a person would through a client of their own.
    #[track_caller]
    pub fn press(&self, unit: &str, keys: &[&str]) {
        let target = format!("=t-{unit}:");
        let done = self.tmux(&[&["send-keys", "-t", &target], keys].concat());
        assert!(done.is_some(), "no pane of {unit}\n{}", self.dump());
    }

    // What the agents say.

    /// An agent's transcript.
    pub fn transcript(&self, unit: &str) -> Vec<Value> {
        records(&self.path().join(format!("{unit}.jsonl")))
    }

    /// How often it was started.
    pub fn starts(&self, unit: &str) -> usize {
        self.transcript(unit).iter().filter(|event| event["type"] == "start").count()
    }

    /// The texts that it was given.
    pub fn given(&self, unit: &str) -> Vec<String> {
        texts(&self.transcript(unit), "user")
    }

    /// How often it was given a text with `part` in it.
    pub fn times_given(&self, unit: &str, part: &str) -> usize {
        self.given(unit).iter().filter(|text| text.contains(part)).count()
    }

    /// What it said.
    pub fn said(&self, unit: &str) -> Vec<String> {
        texts(&self.transcript(unit), "assistant")
    }

    // What the state says.

    /// A state file as JSON; null when it is missing or broken.
    pub fn json(&self, path: &str) -> Value {
        let bytes = std::fs::read(self.state(path)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    }

    /// A unit's file.
    pub fn unit(&self, unit: &str) -> Value {
        self.json(&format!("units/{unit}/unit.json"))
    }

    /// The believed state.
    pub fn believed(&self, unit: &str) -> String {
        self.unit(unit)["seen"]["state"].as_str().unwrap_or("").to_owned()
    }

    /// What is withheld and why; "" when nothing is.
    pub fn hold(&self, unit: &str) -> String {
        let hold = &self.unit(unit)["hold"];
        match (hold["remedy"].as_str(), hold["why"].as_str()) {
            (Some(remedy), Some(why)) => format!("{remedy}: {why}"),
            _ => String::new(),
        }
    }

    /// Alerts in the outbox.
    pub fn alerts(&self) -> Vec<Value> {
        records(&self.state("outbox.jsonl"))
    }

    /// How many different alerts have `part` in their text.
    pub fn alerts_with(&self, part: &str) -> usize {
        let ids = self.alerts().into_iter().filter(|alert| text(alert).contains(part));
        ids.map(|alert| alert["id"].to_string()).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// All events.
    pub fn events(&self) -> Vec<Value> {
        let mut days: Vec<PathBuf> = std::fs::read_dir(self.state("events"))
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        days.sort();
        days.iter().flat_map(|day| records(day)).collect()
    }

    /// How many events have `part` in their text or reasons.
    pub fn events_with(&self, part: &str) -> usize {
        self.events().iter().filter(|event| event.to_string().contains(part)).count()
    }

    /// How often an action was granted to a unit.
    pub fn acts(&self, unit: &str, label: &str) -> usize {
        let is_it = |event: &&Value| event["kind"] == "act" && event["unit"] == unit && text(event) == label;
        self.events().iter().filter(is_it).count()
    }

    /// Names of the files that were put aside.
    pub fn quarantined(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.state("quarantine"));
        let mut names: Vec<String> = entries
            .map(|all| all.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }

    // What a person does.

    /// Asks through the inbox, as a command does; the request's id.
    pub fn ask(&self, ask: &Value) -> String {
        let id = format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.ask_as(&id, ask);
        id
    }

    /// Asks with an id of one's own.
    pub fn ask_as(&self, id: &str, ask: &Value) {
        let record = json!({"id": id, "at": now(), "from": "test", "ask": ask});
        self.append("inbox.jsonl", &format!("{record}\n"));
    }

    /// Adds lines to a state file, as the commands do: on lines of their own.
    pub fn append(&self, path: &str, text: &str) {
        let dir = self.state("");
        if !dir.exists() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let path = self.state(path);
        let torn = std::fs::read(&path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{}{text}", if torn { "\n" } else { "" }).as_bytes()).unwrap();
    }

    /// How a request was answered.
    pub fn answer(&self, id: &str) -> Option<String> {
        let mail = self.json("mail.json");
        let handled = mail["handled"].as_array()?.iter().find(|handled| handled["id"] == id)?;
        Some(format!("{}: {}", handled["taken"].as_str()?, handled["said"].as_str()?))
    }

    /// Makes a file with its folder.
    pub fn touch(&self, path: &str, text: &str) {
        let path = self.state(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Lets time pass for what is remembered of a unit, by an edit of its file: a file of another boot is rebased so that
    /// its durations go on, and this one was written `seconds` earlier than it says.
    pub fn age(&self, unit: &str, seconds: f64) {
        self.age_file(&format!("units/{unit}/unit.json"), seconds);
        self.age_file("clocks.json", seconds);
    }

    /// The same for one file.
    pub fn age_file(&self, path: &str, seconds: f64) {
        let mut file = self.json(path);
        if !file.is_object() {
            return;
        }
        file["boot"] = json!("an earlier boot");
        file["written_awake_s"] = json!(awake_s() + seconds);
        self.replace(path, &(serde_json::to_string_pretty(&file).unwrap() + "\n"));
    }

    /// Changes a state file as an editor that saves whole files does.
    pub fn replace(&self, path: &str, text: &str) {
        let new = self.path().join(format!("edit-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.state(path)).unwrap();
    }

    /// Everything that helps to understand a failure.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        let mut add = |title: &str, what: &str| {
            text.push_str(&format!("--- {title}\n{}\n", what.trim_end()));
        };
        add("config", &std::fs::read_to_string(self.config()).unwrap_or_default());
        add("status", &std::fs::read_to_string(self.state("status")).unwrap_or_default());
        add("run.out", &std::fs::read_to_string(self.path().join("run.out")).unwrap_or_default());
        add("run.err", &std::fs::read_to_string(self.path().join("run.err")).unwrap_or_default());
        add("panes", &self.tmux(&["list-panes", "-a"]).unwrap_or_default());
        for unit in std::fs::read_dir(self.state("units")).into_iter().flatten().flatten() {
            let name = unit.file_name().to_string_lossy().into_owned();
            add(&format!("unit {name}"), &serde_json::to_string(&self.unit(&name)).unwrap_or_default());
            add(&format!("screen {name}"), &self.screen(&name));
            let said: Vec<String> = self.transcript(&name).iter().map(Value::to_string).collect();
            add(&format!("transcript {name}"), &tail(&said, 30));
        }
        add("heartbeat", &self.json("heartbeat.json").to_string());
        add("mail", &self.json("mail.json").to_string());
        add("quarantine", &self.quarantined().join("\n"));
        let alerts: Vec<String> = self.alerts().iter().map(Value::to_string).collect();
        add("outbox", &tail(&alerts, 30));
        let events: Vec<String> = self.events().iter().map(brief).collect();
        add("events", &tail(&events, 80));
        text
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A stopped server does not answer: whatever has our folder in its environment ends by KILL.
        for _ in 0..50 {
            let left = processes_of(self.path());
            if left.is_empty() {
                return;
            }
            for pid in left {
                signal(pid, rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Watching {
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it at once, as the kernel's memory killer would.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to leave; its exit code.
    #[track_caller]
    pub fn leave(mut self) -> Option<i32> {
        signal(self.pid(), rustix::process::Signal::TERM);
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not leave");
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of an alert or event.
pub fn text(value: &Value) -> &str {
    value["text"].as_str().unwrap_or("")
}

fn brief(event: &Value) -> String {
    let why = if event["why"].is_null() { String::new() } else { format!("  {}", event["why"]) };
    let unit = event["unit"].as_str().unwrap_or("-");
    format!("{} {unit} {}: {}{why}", event["at"].as_str().unwrap_or(""), event["kind"], text(event))
}

fn tail(lines: &[String], most: usize) -> String {
    lines[lines.len().saturating_sub(most)..].join("\n")
}

fn texts(events: &[Value], kind: &str) -> Vec<String> {
    events.iter().filter(|event| event["type"] == kind).map(|event| text(event).to_owned()).collect()
}

/// The records of a file of JSON lines; what is no record is left out.
pub fn records(path: &Path) -> Vec<Value> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Now, RFC 3339.
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Seconds on the awake clock.
pub fn awake_s() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

pub fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether a process lives; a zombie does not.
pub fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Processes that were started in a lab: its folder is in their environment.
fn processes_of(dir: &Path) -> Vec<i32> {
    let mark = format!("TMUX_TMPDIR={}\0", dir.display()).into_bytes();
    let own = std::process::id().cast_signed();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if pid != own && environ.windows(mark.len()).any(|part| part == mark) && lives(pid) {
            found.push(pid);
        }
    }
    found
}

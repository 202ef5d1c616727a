//! A fleet with one unit per CLI on a tmux server of its own, kept by a watchdog process.

use super::judge::{Asked, Log, Wanted};
use super::lab::Lab;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use watchkeeper::base::names::UnitName;
use watchkeeper::model::seen::{Ask, Request};

/// What a scene changes in the config.
#[derive(Clone, Copy)]
pub struct Knobs {
    pub kind: &'static str,
    pub permission: &'static str,
    pub stall_idle: u32,
    pub probe_fallback: u32,
}

/// Nothing stalls, nobody approves.
pub const CALM: Knobs =
    Knobs { kind: "persistent", permission: "alert", stall_idle: 3600, probe_fallback: 20 };

pub struct Fleet {
    pub lab: Lab,
    /// Texts per delivery scene.
    pub count: usize,
    clis: Vec<String>,
    watchdog: Mutex<Option<Child>>,
    asked: AtomicU64,
    wanted: Mutex<Vec<(String, Wanted)>>,
    log: Mutex<Log>,
}

impl Fleet {
    /// Nothing runs yet.
    pub fn new(lab: Lab, clis: &[String], count: usize) -> Fleet {
        for cli in clis {
            let dir = lab.dir.join("work").join(cli);
            std::fs::create_dir_all(&dir).unwrap();
            // Agents work in repositories; aider asks for one otherwise.
            Command::new("git").args(["init", "-q"]).current_dir(dir).status().unwrap();
        }
        Fleet {
            lab,
            count,
            clis: clis.to_vec(),
            watchdog: Mutex::default(),
            asked: AtomicU64::new(0),
            wanted: Mutex::default(),
            log: Mutex::default(),
        }
    }

    /// Writes the config; the watchdog reads it again, or is started.
    pub fn configure(&mut self, knobs: &Knobs) {
        let Knobs { kind, permission, stall_idle, probe_fallback } = knobs;
        let mut text = format!(
            "[watchdog]\nsignal_interval = 2\nstall_idle = {stall_idle}\nlimit_probe_fallback = {probe_fallback}\n\
             limit_reset_slack = 2\n[defaults]\nsession_prefix = \"real-\"\ntmux_socket = \"fleet\"\n\
             permission = \"{permission}\"\n"
        );
        for cli in &self.clis {
            let start = self.lab.start(cli);
            // What the mock proposes as a command is one only in this format.
            let more = match cli.as_str() {
                "aider" => ", \"--edit-format\", \"diff\"",
                // As built in: a killed turn must not go on in a server of its own.
                "codex" => ", \"--no-daemon\"",
                _ => "",
            };
            text += &format!("[backend.{cli}]\ncommand = [{start:?}{more}]\n");
            std::fs::write(self.lab.dir.join(format!("{cli}.md")), kickoff(cli)).unwrap();
            text += &format!(
                "[[agent]]\nname = \"{cli}\"\nbackend = \"{cli}\"\nkind = \"{kind}\"\ndir = \"work/{cli}\"\n\
                 prompt = \"{cli}.md\"\nladder = {{ cooldown_s = 10, quiet_s = 10 }}\n"
            );
        }
        let path = self.lab.dir.join("agents.toml");
        std::fs::write(self.lab.dir.join("agents.toml.new"), text).unwrap();
        std::fs::rename(self.lab.dir.join("agents.toml.new"), &path).unwrap();
        if self.watchdog.lock().unwrap().is_none() {
            self.start_watchdog();
        }
        // It must have read it: two ticks.
        std::thread::sleep(Duration::from_secs(3));
    }

    fn start_watchdog(&self) {
        let log = self.lab.dir.join("watchdog.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        // A copy: a build during the run must not become the watchdog.
        let binary = self.lab.dir.join("run/watchkeeper");
        if !binary.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_watchkeeper"), &binary).unwrap();
        }
        let child = Command::new(binary)
            .arg("--config")
            .arg(self.lab.dir.join("agents.toml"))
            .arg("run")
            .env("HOME", self.lab.home())
            .env("TMUX_TMPDIR", &self.lab.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.watchdog.lock().unwrap() = Some(child);
    }

    fn kill_watchdog(&self) {
        if let Some(mut child) = self.watchdog.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills the watchdog with -9 and starts it again, until the scene is over.
    pub fn crash_until(&self, over: impl Fn() -> bool) -> usize {
        for n in 0_u32.. {
            // Steps of a delivery are fractions of a second apart: every phase is hit.
            std::thread::sleep(Duration::from_millis(u64::from(900 + n * 370 % 2600)));
            if over() {
                return n as usize;
            }
            self.kill_watchdog();
            self.start_watchdog();
        }
        0
    }

    fn state(&self) -> PathBuf {
        self.lab.dir.join(".watchkeeper")
    }

    /// unit.json, null when it can't be read now.
    pub fn unit(&self, cli: &str) -> Value {
        let path = self.state().join("units").join(cli).join("unit.json");
        std::fs::read_to_string(path)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or(Value::Null)
    }

    /// Changes unit.json as an operator does.
    pub fn edit(&self, cli: &str, edit: impl FnOnce(&mut Value)) {
        let path = self.state().join("units").join(cli).join("unit.json");
        let mut unit = self.unit(cli);
        edit(&mut unit);
        let new = path.with_extension("edited");
        std::fs::write(&new, serde_json::to_string_pretty(&unit).unwrap() + "\n").unwrap();
        std::fs::rename(&new, &path).unwrap();
        self.poke();
    }

    pub fn believed(&self, cli: &str) -> String {
        self.unit(cli)["seen"]["state"].as_str().unwrap_or("").to_owned()
    }

    fn lines(&self, path: PathBuf, cli: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let values = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        values.filter(|value| value["unit"] == cli).collect()
    }

    /// The unit's events, oldest first.
    pub fn events(&self, cli: &str) -> Vec<Value> {
        let mut days: Vec<PathBuf> = std::fs::read_dir(self.state().join("events"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        days.sort();
        days.into_iter().flat_map(|day| self.lines(day, cli)).collect()
    }

    /// Texts of the unit's alerts, oldest first.
    pub fn alerts(&self, cli: &str) -> Vec<String> {
        let lines = self.lines(self.state().join("outbox.jsonl"), cli);
        lines.iter().map(|line| line["text"].as_str().unwrap_or("").to_owned()).collect()
    }

    /// Asks for a text to be typed; the request's id.
    pub fn nudge(&self, cli: &str, text: &str) -> String {
        self.ask(cli, Ask::Nudge { unit: UnitName::new(cli).unwrap(), text: text.to_owned() })
    }

    /// Lifts the vetoes of a kill.
    pub fn approve(&self, cli: &str) {
        self.ask(cli, Ask::Approve { unit: UnitName::new(cli).unwrap() });
    }

    fn ask(&self, cli: &str, ask: Ask) -> String {
        let id = format!("real-{cli}-{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let at = watchkeeper::sys::clock::wall();
        let request = Request { id: id.clone(), at, from: "test".into(), ask };
        let line = serde_json::to_string(&request).unwrap() + "\n";
        let path = self.state().join("inbox.jsonl");
        let mut inbox = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        inbox.write_all(line.as_bytes()).unwrap();
        self.poke();
        id
    }

    pub fn poke(&self) {
        let watchdog = self.watchdog.lock().unwrap();
        let Some(pid) = watchdog.as_ref().map(|child| child.id().to_string()) else { return };
        let _ = Command::new("kill").args(["-USR1", &pid]).status();
    }

    /// How the delivery of a request ended: None while it waits or is under way.
    pub fn delivered(&self, cli: &str, id: &str) -> Option<Result<(), String>> {
        let unit = self.unit(cli);
        let past = unit["delivery"]["past"].as_array()?.iter().find(|past| past["request"] == id)?.clone();
        match &past["outcome"] {
            Value::String(_) => Some(Ok(())),
            outcome => Some(Err(outcome.to_string())),
        }
    }

    /// Types a text and waits until it was taken.
    pub fn deliver(&self, cli: &str, text: &str, patience_s: u64) -> Result<f64, String> {
        let began = Instant::now();
        let id = self.nudge(cli, text);
        let short: String = text.chars().take(60).collect();
        self.wait(cli, &format!("delivery of {short:?}"), patience_s, || self.delivered(cli, &id))??;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Waits until there is something.
    pub fn wait<T>(
        &self,
        cli: &str,
        what: &str,
        patience_s: u64,
        look: impl Fn() -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + Duration::from_secs(patience_s);
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let unit = self.unit(cli);
                return Err(format!(
                    "waited {patience_s} s for {what}; state {} {}, hold {}",
                    unit["seen"]["state"], unit["seen"]["substate"], unit["hold"]["why"]
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn wait_state(&self, cli: &str, state: &str, patience_s: u64) -> Result<(), String> {
        self.wait(cli, &format!("state {state}"), patience_s, || (self.believed(cli) == state).then_some(()))
    }

    /// Watches for so long that nothing of the sort happens.
    pub fn never(&self, what: &str, seconds: u64, happened: impl Fn() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < deadline {
            if happened() {
                return Err(what.to_owned());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// What the mock was asked by this CLI.
    pub fn asked(&self, cli: &str) -> Vec<Arc<Asked>> {
        self.log.lock().unwrap().of(&self.lab.requests(), cli)
    }

    /// Keeps texts for a judgement at the end.
    pub fn remember(&self, cli: &str, texts: &[Wanted]) {
        self.wanted.lock().unwrap().extend(texts.iter().map(|text| (cli.to_owned(), text.clone())));
    }

    pub fn remembered(&self, cli: &str) -> Vec<Wanted> {
        let all = self.wanted.lock().unwrap();
        all.iter().filter(|(of, _)| of == cli).map(|(_, text)| text.clone()).collect()
    }

    pub fn tmux(&self, args: &[&str]) -> String {
        let out = Command::new("tmux")
            .args(["-u", "-L", "fleet"])
            .args(args)
            .env("TMUX_TMPDIR", &self.lab.dir)
            .env_remove("TMUX")
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// The unit's pane id.
    pub fn pane(&self, cli: &str) -> String {
        self.unit(cli)["seen"]["pane"].as_str().unwrap_or("none").to_owned()
    }

    pub fn pid(&self, cli: &str) -> Option<i64> {
        self.unit(cli)["seen"]["process"]["pid"].as_i64()
    }

    pub fn screen(&self, cli: &str) -> String {
        self.tmux(&["capture-pane", "-p", "-t", &self.pane(cli)])
    }

    /// The folder in which a CLI works.
    pub fn work(&self, cli: &str) -> PathBuf {
        self.lab.dir.join("work").join(cli)
    }

    /// Keeps what is needed to understand a failure.
    pub fn keep(&self, cli: &str, scene: &str) {
        let Some(out) = std::env::var_os("WATCHKEEPER_REAL_OUT").map(PathBuf::from) else { return };
        let _ = std::fs::create_dir_all(&out);
        let name = format!("{scene}-{cli}");
        let pane = self.pane(cli);
        let title =
            self.tmux(&["display-message", "-p", "-t", &pane, "#{pane_title}\t#{pane_current_command}"]);
        let _ = std::fs::write(out.join(format!("{name}.txt")), self.screen(cli));
        let _ = std::fs::write(out.join(format!("{name}.title")), title);
        let ansi = self.tmux(&["capture-pane", "-p", "-e", "-t", &pane]);
        let _ = std::fs::write(out.join(format!("{name}.ansi")), ansi);
        let _ = std::fs::write(out.join(format!("{name}.json")), format!("{:#}", self.unit(cli)));
        let events: Vec<String> = self.events(cli).iter().map(Value::to_string).collect();
        let _ = std::fs::write(out.join(format!("{name}.events")), events.join("\n"));
    }

    /// Keeps the log of the mock and of the watchdog.
    pub fn keep_all(&self) {
        let Some(out) = std::env::var_os("WATCHKEEPER_REAL_OUT").map(PathBuf::from) else { return };
        let _ = std::fs::create_dir_all(&out);
        let _ = std::fs::copy(self.lab.requests(), out.join("requests.jsonl"));
        let _ = std::fs::copy(self.lab.dir.join("watchdog.log"), out.join("watchdog.log"));
        let _ = std::fs::copy(self.state().join("outbox.jsonl"), out.join("outbox.jsonl"));
        for cli in &self.clis {
            self.keep(cli, "end");
        }
    }
}

/// The first prompt of a unit.
pub fn kickoff(cli: &str) -> String {
    format!("You are {cli}. This is the kickoff of {cli}: say hello.")
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.kill_watchdog();
        self.tmux(&["kill-server"]);
    }
}

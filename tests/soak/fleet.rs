//! The fleet: its config, its tmux server, and what the harness sees of it by itself (panes, transcripts), without
//! asking the watchdog.

use super::work;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use watchkeeper::base::time::Wall;

const BUILT: &str = env!("CARGO_BIN_EXE_watchkeeper");

/// The binary under test, in the soak's own folder: a build while it runs is no part of the soak.
pub fn binary(dir: &Path) -> PathBuf {
    dir.join("watchkeeper")
}

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Loop,
    Persistent,
    Task,
    Service,
    /// A service that keeps the protocol of cooperative units.
    Coop,
    /// A local process, outside tmux.
    Process,
}

/// One line of a transcript.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: i64,
    pub kind: String,
    pub text: String,
}

/// One unit as the harness sees it.
#[derive(Debug)]
pub struct Unit {
    pub name: String,
    pub role: Role,
    pub account: &'static str,
    pub lines: Vec<Line>,
    offset: u64,
    /// The pane's process; None = no pane, or a dead one.
    pub pid: Option<u32>,
    /// Since when the harness sees that process, milliseconds.
    pub pid_since: i64,
    /// Processes seen so far, besides the first.
    pub changes: usize,
    last_pid: Option<u32>,
    /// When other processes than the first were seen.
    pub swaps: Vec<i64>,
    /// A cooperative service's last heartbeat.
    pub beat: Option<i64>,
    /// Main processes at the last sweep, and when there were too many.
    pub many: usize,
    pub doubled: Vec<i64>,
}

/// The fleet.
#[derive(Debug)]
pub struct Fleet {
    pub dir: PathBuf,
    pub socket: String,
    pub units: Vec<Unit>,
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(0)
}

/// (name, role, account, parent)
const UNITS: [(&str, Role, &str, &str); 25] = [
    ("a1", Role::Loop, "alpha", "p1"),
    ("a2", Role::Loop, "alpha", "p1"),
    ("a3", Role::Loop, "alpha", ""),
    ("a4", Role::Loop, "alpha", ""),
    ("a5", Role::Loop, "alpha", ""),
    ("b1", Role::Loop, "beta", ""),
    ("b2", Role::Loop, "beta", ""),
    ("b3", Role::Loop, "beta", ""),
    ("b4", Role::Loop, "beta", ""),
    ("b5", Role::Loop, "beta", ""),
    ("p1", Role::Persistent, "alpha", ""),
    ("p2", Role::Persistent, "alpha", ""),
    ("p3", Role::Persistent, "beta", ""),
    ("p4", Role::Persistent, "beta", ""),
    ("t1", Role::Task, "beta", ""),
    ("t2", Role::Task, "beta", ""),
    ("s1", Role::Service, "", ""),
    ("s2", Role::Service, "", ""),
    ("w1", Role::Coop, "", ""),
    ("w2", Role::Coop, "", ""),
    ("w3", Role::Coop, "", ""),
    ("w4", Role::Coop, "", ""),
    ("j1", Role::Process, "", ""),
    ("j2", Role::Process, "", ""),
    ("j3", Role::Process, "", ""),
];

/// Seconds between wakes of persistent agents and between runs of tasks.
pub const WAKE_S: i64 = 45;

impl Fleet {
    /// Writes the config.
    pub fn new(dir: &Path) -> Fleet {
        let socket = format!("wk-soak-{}", std::process::id());
        std::fs::copy(BUILT, binary(dir)).unwrap();
        let program = binary(dir).display().to_string();
        let mut text = format!(
            "# All times are about a fifteenth to a twentieth of the defaults.\n\
             [watchdog]\nsignal_interval = 2\nstall_idle = 12\nstall_grace = 8\nlimit_probe_fallback = 15\n\
             limit_reset_slack = 2\nadvance_grace_s = 15\nstagger_s = 0.5\n\
             [defaults]\ntmux_socket = \"{socket}\"\nbackend = \"demo\"\nsession_prefix = \"crew-\"\n\
             [backend.demo]\ncommand = [\"{program}\", \"demo-agent\"]\n"
        );
        let units = UNITS.iter().map(|(name, role, account, parent)| {
            unit_config(dir, &mut text, name, *role, account, parent);
            Unit {
                name: (*name).to_owned(),
                role: *role,
                account,
                lines: Vec::new(),
                offset: 0,
                pid: None,
                pid_since: 0,
                changes: 0,
                last_pid: None,
                swaps: Vec::new(),
                beat: None,
                many: 0,
                doubled: Vec::new(),
            }
        });
        let units = units.collect();
        std::fs::write(dir.join("agents.toml"), text).unwrap();
        Fleet { dir: dir.to_owned(), socket, units }
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("agents.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join(".watchkeeper")
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.units.iter().position(|unit| unit.name == name)
    }

    /// Runs tmux; its output when it succeeded.
    pub fn tmux(&self, args: &[&str]) -> Option<String> {
        let output = Command::new("tmux")
            .args(["-u", "-L", &self.socket])
            .args(args)
            .env_remove("TMUX")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Types a line, as a person would.
    pub fn type_line(&self, unit: usize, text: &str) {
        let target = self.target(unit);
        self.tmux(&["send-keys", "-t", &target, "-l", text, ";", "send-keys", "-t", &target, "Enter"]);
    }

    pub fn type_text(&self, unit: usize, text: &str) {
        self.tmux(&["send-keys", "-t", &self.target(unit), "-l", text]);
    }

    pub fn key(&self, unit: usize, key: &str) {
        self.tmux(&["send-keys", "-t", &self.target(unit), key]);
    }

    pub fn session(&self, unit: usize) -> String {
        format!("crew-{}", self.units[unit].name)
    }

    fn target(&self, unit: usize) -> String {
        format!("={}:", self.session(unit))
    }

    /// Is nothing of the watchdog's on its way to this pane, and nothing in its composer?
    pub fn is_undisturbed(&self, unit: usize) -> bool {
        let path = self.state().join("units").join(&self.units[unit].name).join("unit.json");
        let Ok(text) = std::fs::read_to_string(path) else { return false };
        let Ok(state) = serde_json::from_str::<Value>(&text) else { return false };
        let busy = state["delivery"]["current"].is_object() || state["ending"].is_object();
        if busy {
            return false;
        }
        let screen = self.tmux(&["capture-pane", "-p", "-t", &self.target(unit)]).unwrap_or_default();
        screen.lines().any(|line| line.trim_end() == "> Type a message" || line.trim_end() == ">")
    }

    /// Looks at all panes and reads what is new in all transcripts.
    pub fn look(&mut self) {
        let format = "#{session_name} #{pane_pid} #{pane_dead}";
        let text = self.tmux(&["list-panes", "-a", "-F", format]).unwrap_or_default();
        let mut panes: BTreeMap<&str, u32> = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            if let (Some(name), Some(Ok(pid)), Some("0")) =
                (words.next(), words.next().map(str::parse), words.next())
            {
                panes.insert(name, pid);
            }
        }
        let at = now();
        let (dir, state) = (self.dir.clone(), self.state());
        for unit in &mut self.units {
            unit.read(&dir);
            let pid = match unit.role {
                Role::Process => work::started(&dir, unit).first().copied(),
                _ => panes.get(format!("crew-{}", unit.name).as_str()).copied(),
            };
            if unit.role == Role::Coop {
                unit.beat = work::beat(&state, &unit.name);
            }
            if pid != unit.pid {
                unit.pid = pid;
                unit.pid_since = at;
            }
            if pid.is_some() && pid != unit.last_pid {
                if unit.last_pid.is_some() {
                    unit.changes += 1;
                    unit.swaps.push(at);
                }
                unit.last_pid = pid;
            }
        }
    }
}

fn unit_config(dir: &Path, text: &mut String, name: &str, role: Role, account: &str, parent: &str) {
    let transcript = dir.join(format!("{name}.jsonl"));
    let prompt = |words: &str| std::fs::write(dir.join(format!("{name}.md")), words).unwrap();
    let demo = format!("DEMO_TRANSCRIPT = \"{}\"", transcript.display());
    let agent = |kind: &str, env: &str, rest: &str| {
        format!(
            "\n[[agent]]\nname = \"{name}\"\nkind = \"{kind}\"\nprompt = \"{name}.md\"\naccount = \"{account}\"\n\
             ladder = {{ tiers = [\"nudge\", \"kill-start\", \"alert\"], cooldown_s = 3, grace_s = 2, quiet_s = 4 }}\n\
             env = {{ {env} }}\n{rest}"
        )
    };
    let parent = if parent.is_empty() { String::new() } else { format!("parent = \"{parent}\"\n") };
    let block = match role {
        Role::Loop => {
            prompt(&format!("KICKOFF {name}: work without end\nLOOP\n"));
            agent("loop", &demo, &parent)
        }
        Role::Persistent => {
            prompt(&format!("KICKOFF {name}: wait for people\n"));
            let wake =
                format!("wake = {{ interval = {WAKE_S}, prompt = \"WAKE {name}: the regular check\" }}\n");
            agent("persistent", &demo, &wake)
        }
        Role::Task => {
            prompt(&format!("KICKOFF {name}: one run\nWORK 4\n"));
            // One task leaves when it is done, the other sits idle until its next run ends it.
            let script = if name == "t1" { ", DEMO_SCRIPT = \"IDLE 12; DONE\"" } else { "" };
            agent("task", &format!("{demo}{script}"), &format!("wake = {{ interval = {WAKE_S} }}\n"))
        }
        Role::Service if name == "s1" => {
            format!("\n[[service]]\nname = \"{name}\"\ncommand = [\"sleep\", \"86400\"]\n")
        }
        Role::Coop | Role::Process => work::config(dir, name, role),
        Role::Service => format!(
            "\n[[service]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", \"while :; do echo tick; sleep 1; done\"]\n"
        ),
    };
    let _ = write!(text, "{block}");
}

impl Unit {
    fn read(&mut self, dir: &Path) {
        let Ok(mut file) = std::fs::File::open(dir.join(format!("{}.jsonl", self.name))) else { return };
        let mut new = Vec::new();
        if file.seek(SeekFrom::Start(self.offset)).is_err() || file.read_to_end(&mut new).is_err() {
            return;
        }
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.offset += whole as u64;
        for line in String::from_utf8_lossy(&new[..whole]).lines() {
            let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
            let word = |key: &str| value[key].as_str().unwrap_or("").to_owned();
            let at = Wall::parse(&word("at")).map_or(0, |wall| wall.0);
            self.lines.push(Line { at, kind: word("type"), text: word("text") });
        }
    }

    /// Time of the first line of a kind that begins with `start`, from `since` on.
    pub fn said(&self, kind: &str, start: &str, since: i64) -> Option<i64> {
        let recent = self.lines.iter().rev().take_while(|line| line.at >= since);
        recent.filter(|line| line.kind == kind && line.text.starts_with(start)).last().map(|line| line.at)
    }

    /// Time of the last line of a kind that begins with `start`.
    pub fn last(&self, kind: &str, start: &str) -> Option<i64> {
        self.lines.iter().rev().find(|line| line.kind == kind && line.text.starts_with(start)).map(|l| l.at)
    }

    /// Does it what it is there for, by its own words? A loop works, a heart beats, others are there.
    pub fn is_well(&self) -> bool {
        let at = now();
        match self.role {
            Role::Loop | Role::Process => {
                self.pid.is_some() && self.last("assistant", "step").is_some_and(|t| at - t < 6000)
            }
            Role::Persistent | Role::Service => self.pid.is_some() && at - self.pid_since > 1500,
            Role::Coop => self.pid.is_some() && self.beat.is_some_and(|t| at - t < 6000),
            Role::Task => self.last("start", "").is_some_and(|t| at - t < (WAKE_S + 15) * 1000),
        }
    }
}

//! A fleet with a plan: origin, the clone that the watchdog reads, the clone that the test pushes from.

use crate::support::World;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use watchkeeper::model::usage::Totals;
use watchkeeper::state::tokens::Record;

/// The agents of every fleet here.
pub const AGENTS: &str = r##"
[[agent]]
name = "builder"
prompt = "role.md"
env = { DEMO_HOME = "${DIR}/said/builder", DEMO_START = "0" }
[[agent]]
name = "mate"
prompt = "role.md"
env = { DEMO_HOME = "${DIR}/said/mate", DEMO_START = "0" }
[[agent]]
name = "critic"
kind = "persistent"
env = { DEMO_HOME = "${DIR}/said/critic", DEMO_START = "0" }
[[agent]]
name = "reporter"
kind = "task"
prompt = "report.md"
env = { DEMO_HOME = "${DIR}/said/reporter", DEMO_START = "0" }
"##;

/// A world with repositories.
pub struct Fleet {
    pub world: World,
}

impl Fleet {
    /// A plan of so many phases, `p1` to `pN`. `more` has further lines for `[loop]`.
    pub fn new(phases: usize, more: &str) -> Fleet {
        let fleet = Fleet { world: World::new() };
        fleet.world.file("role.md", "You work.");
        fleet.world.file("report.md", "Write the report.");
        fleet.git(".", &["init", "-q", "--bare", "-b", "main", "origin.git"]);
        fleet.git(".", &["clone", "-q", "origin.git", "writer"]);
        fleet.commit("begin", &[("README", "hello\n")]);
        fleet.git(".", &["clone", "-q", "origin.git", "clone"]);
        fleet.plan(phases, more);
        fleet
    }

    /// Writes agents.toml.
    pub fn plan(&self, phases: usize, more: &str) {
        let rows: Vec<String> = (1..=phases)
            .map(|n| format!("  {{ id = \"p{n}\", plan = \"plans/{n}.md\", status = \"S{n}.md\" }},\n"))
            .collect();
        let dir = self.world.path().to_string_lossy().into_owned();
        let text = format!(
            "[loop]\nrepo = \"clone\"\non_complete = \"reporter\"\nphases = [\n{}]\n{more}\n{}",
            rows.concat(),
            AGENTS.replace("${DIR}", &dir)
        );
        self.world.config(&text);
    }

    pub fn git(&self, dir: &str, args: &[&str]) -> String {
        let ran =
            self.world.command("git").args(args).current_dir(self.world.path().join(dir)).output().unwrap();
        assert!(ran.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    /// A commit, pushed.
    pub fn commit(&self, subject: &str, files: &[(&str, &str)]) {
        for (file, text) in files {
            std::fs::write(self.world.path().join("writer").join(file), text).unwrap();
        }
        self.git("writer", &["add", "-A"]);
        self.git("writer", &["commit", "-q", "--allow-empty", "-m", subject]);
        self.git("writer", &["push", "-q", "--force", "origin", "HEAD:main"]);
    }

    /// The done marker of phase `n`, pushed.
    pub fn done(&self, n: usize) {
        self.commit(&format!("status: p{n} is done"), &[(&format!("S{n}.md"), "# Status\n\n## DONE\n")]);
    }

    /// A watchdog in the foreground.
    pub fn watchdog(&self) -> Watchdog {
        let child =
            self.world.binary().args(["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Watchdog(child)
    }

    /// What an agent's transcripts say, in order: the events of one type.
    fn said(&self, agent: &str, kind: &str) -> Vec<serde_json::Value> {
        let found = walkdir::WalkDir::new(self.path(&format!("said/{agent}"))).sort_by_file_name();
        let files = found.into_iter().flatten().filter(|entry| entry.file_type().is_file());
        let texts = files.map(|entry| std::fs::read_to_string(entry.path()).unwrap_or_default());
        let text: String = texts.collect();
        text.lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|event| event["type"] == kind)
            .collect()
    }

    /// What an agent was told, in order.
    pub fn told(&self, agent: &str) -> Vec<String> {
        let told = self.said(agent, "user");
        told.into_iter().filter_map(|event| event["text"].as_str().map(str::to_owned)).collect()
    }

    /// What an agent's turns used, by its own account.
    pub fn used(&self, agent: &str) -> Totals {
        let number = |event: &serde_json::Value, key: &str| event[key].as_u64().unwrap();
        let turns = self.said(agent, "usage");
        let turns = turns.iter().map(|turn| Totals::one(number(turn, "input"), number(turn, "output"), 0, 0));
        turns.fold(Totals::default(), |sum, turn| sum.plus(&turn))
    }

    /// Has the agent been told something, and answered all of it?
    pub fn has_answered(&self, agent: &str) -> bool {
        let told = self.told(agent).len() as u64;
        told > 0 && self.used(agent).messages == told
    }

    /// What the watchdog counted of an agent so far.
    pub fn counted(&self, agent: &str) -> Totals {
        let tokens: serde_json::Value =
            serde_json::from_str(&self.world.read_state("tokens.json")).unwrap_or_default();
        serde_json::from_value(tokens["agents"][agent]["used"].clone()).unwrap_or_default()
    }

    /// The records of the ledger.
    pub fn ledger(&self) -> Vec<Record> {
        let text = self.world.read_state("token-log.jsonl");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Which phases an agent was kicked off for, in order.
    pub fn kickoffs(&self, agent: &str) -> Vec<String> {
        let phase = |text: String| Some(text.strip_prefix("Phase ")?.split(' ').next()?.to_owned());
        self.told(agent).into_iter().filter_map(phase).collect()
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.world.path().join(file)
    }

    /// phase.json.
    pub fn phase(&self) -> serde_json::Value {
        serde_json::from_str(&self.world.read_state("phase.json")).unwrap_or_default()
    }

    /// All events.
    pub fn events(&self) -> String {
        let folder = std::fs::read_dir(self.world.state("events")).into_iter().flatten().flatten();
        folder.map(|entry| std::fs::read_to_string(entry.path()).unwrap_or_default()).collect()
    }

    /// Waits until every loop agent was kicked off for a phase.
    #[track_caller]
    pub fn await_kickoffs(&self, phase: &str) {
        for agent in ["builder", "mate"] {
            self.world.await_that(&format!("{agent} is kicked off for {phase}"), || {
                self.kickoffs(agent).iter().any(|kicked| kicked == phase)
            });
        }
    }
}

/// A running watchdog; dropping it kills it.
pub struct Watchdog(Child);

impl Watchdog {
    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// kill -9
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A shell script beside the fleet, executable.
pub fn script(fleet: &Fleet, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    fleet.world.file(name, text);
    let path = fleet.path(name);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Ends a process group by name of its command line; what a test left behind.
pub fn pkill(pattern: &str) {
    let _ = Command::new("pkill").args(["-9", "-f", pattern]).status();
}

//! `[[process]]` as resolved: plain data that hosts, detectors and policies read. Every default of SPEC 9 is visible here once.

use crate::base::names::UnitName;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What only processes have. Name, directory (`cwd`), environment, `enabled` and `watch` are the unit's.
#[derive(Clone, Debug)]
pub struct ProcessUnit {
    /// Where it runs.
    pub host: ProcessHost,
    /// The argv; empty only for `attach`.
    pub command: Vec<String>,
    /// How often it is started again.
    pub restart: RestartBudget,
    /// What its end means.
    pub lifecycle: Lifecycle,
    /// Starts when these have ended well.
    pub after: Vec<UnitName>,
    /// What must be there before each start.
    pub require: Requirements,
    /// Longest run, seconds; None = no limit.
    pub deadline_s: Option<f64>,
    /// So many ends with the same failure in a row stop trying.
    pub max_identical: u32,
    /// Files that go into each incident, secrets masked.
    pub config_snapshots: Vec<PathBuf>,
    /// In order.
    pub detectors: Vec<DetectorConfig>,
    /// In order: the first match wins.
    pub rules: Vec<Rule>,
    /// Who is asked when no rule helps.
    pub healing: Healing,
    /// The log is rotated when it is larger, bytes.
    pub log_max: u64,
    /// Incidents kept of this unit; the newest of each fingerprint is always kept.
    pub incidents_max: usize,
    /// Incidents older than this are removed, seconds; the newest of each fingerprint is always kept.
    pub incidents_age_s: f64,
}

/// Where a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessHost {
    /// Here, through our own shim.
    Local,
    /// Somebody else's process: watched, never started.
    Attach { pid: Option<i32>, pid_file: Option<PathBuf>, log: Option<PathBuf>, allow_kill: bool },
    /// A Slurm job.
    Slurm { args: Vec<String> },
    /// A container of docker or podman (`engine`).
    Docker { engine: String, image: String, args: Vec<String> },
}

/// `restart = { max, cooldown_s }`.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartBudget {
    /// Restarts until people are asked; a kept remedy resets the count.
    pub max: u32,
    /// Seconds between the end and the next start.
    pub cooldown_s: f64,
}

/// `lifecycle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Exit 0 = finished; anything else = started again.
    RestartOnFailure,
    /// Any exit = finished.
    OneShot,
    /// Any exit = started again.
    RestartAlways,
}

/// `require`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Programs that must be found on the PATH.
    pub programs: Vec<String>,
    /// Variables that must be set and not empty.
    pub env: Vec<String>,
}

/// One of `detectors`.
#[derive(Clone, Debug)]
pub struct DetectorConfig {
    /// Its name; the kind's when none is given. Unique in its process.
    pub name: String,
    /// What it looks for.
    pub kind: DetectorKind,
    /// Seconds for which it is silent after a finding that is the same.
    pub cooldown_s: f64,
}

/// What a detector looks for.
#[derive(Clone, Debug)]
pub enum DetectorKind {
    /// A line that matches.
    Pattern { regex: regex::bytes::Regex },
    /// A stack trace.
    Traceback,
    /// No output for so long, or no new value of the metric.
    Stall { metric: Option<regex::bytes::Regex>, no_progress_s: f64 },
    /// A number out of its range.
    Metric { regex: regex::bytes::Regex, above: Option<f64>, below: Option<f64>, jump: Option<f64> },
    /// An end; only bad ones unless `any`.
    Exit { any: bool },
}

/// One of `rules`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name; `rule N` when none is given.
    pub name: String,
    /// All that is given must hold.
    pub matching: RuleMatch,
    /// What is done.
    pub action: RuleAction,
}

/// `match`.
#[derive(Clone, Debug, Default)]
pub struct RuleMatch {
    /// The detector's name.
    pub detector: Option<String>,
    /// Found in the finding's message.
    pub message: Option<regex::Regex>,
    /// The exception's type, or its last part.
    pub exception: Option<String>,
    /// One of these.
    pub exit: Vec<i32>,
    /// The same fingerprint came at least so often.
    pub at_least: Option<u32>,
    /// … and at most so often.
    pub at_most: Option<u32>,
    /// Only when the process is over (`crash`), or only while it runs (`running`).
    pub after: Option<After>,
}

/// `after` of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Crash,
    Running,
}

/// `action`.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleAction {
    /// End what runs, start it again.
    Restart,
    /// The same with another environment, which is remembered.
    RestartWithEnv { set: BTreeMap<String, EnvChange> },
    /// End what runs and wait for a person.
    Pause,
    /// End what runs; it is over.
    Abort,
    /// Run this, in the process's directory, never by a shell; then `then` is done.
    Command { argv: Vec<String>, timeout_s: f64, then: CommandThen },
    /// Ask the healing agent.
    Agent,
}

/// What follows a command that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandThen {
    Nothing,
    Restart,
}

/// A new value for a variable.
#[derive(Clone, Debug, PartialEq)]
pub enum EnvChange {
    /// Half of the present number, rounded down, at least `floor`.
    Half { floor: Option<f64> },
    /// Twice the present number, at most `ceiling`.
    Double { ceiling: Option<f64> },
    /// This text.
    Literal(String),
}

/// `[process.healing]`.
#[derive(Clone, Debug)]
pub struct Healing {
    /// Who is asked.
    pub agent: HealingAgent,
    /// The headless agent's argv; the prompt goes to its standard input.
    pub command: Vec<String>,
    /// Seconds for an answer.
    pub timeout_s: f64,
    /// Silence of the fingerprint for so long keeps a remedy, seconds.
    pub verify_window_s: f64,
    /// Unverified restarts before the agent is asked.
    pub escalate_after: u32,
    /// Attempts per detector and hour.
    pub max_attempts_per_hour: u32,
    /// A kept fix is fast-forwarded into the branch that it came from, and its own deleted.
    pub auto_merge: bool,
    /// A dirty tree before a fix.
    pub dirty: DirtyTree,
    /// What an agent is told beside the incident: by default `program.md` beside the config, if it is there; None = nothing.
    pub program: Option<PathBuf>,
    /// The prompt's template; None = the built-in one.
    pub prompt: Option<PathBuf>,
    /// Which kind of helper answers for which detector.
    pub subagents: BTreeMap<String, String>,
}

/// `healing.agent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealingAgent {
    /// Headless when its program is found, else off.
    Auto,
    Headless,
    Interactive,
    Off,
}

/// `healing.dirty`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyTree {
    /// No agent is asked while the tree has uncommitted work.
    Refuse,
    /// It is put aside first, and put back after.
    Stash,
}

impl Default for Healing {
    fn default() -> Healing {
        Healing {
            agent: HealingAgent::Auto,
            command: vec!["claude".into(), "--print".into()],
            timeout_s: 600.0,
            verify_window_s: 600.0,
            escalate_after: 2,
            max_attempts_per_hour: 5,
            auto_merge: false,
            dirty: DirtyTree::Refuse,
            program: None,
            prompt: None,
            subagents: BTreeMap::new(),
        }
    }
}

impl Default for RestartBudget {
    fn default() -> RestartBudget {
        RestartBudget { max: 10, cooldown_s: 60.0 }
    }
}

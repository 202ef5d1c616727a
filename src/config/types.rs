//! The resolved config: plain data that policies read. Every default of SPEC section 4 is visible here once.

use super::backend::Backend;
use super::process_types::ProcessUnit;
use crate::base::names::UnitName;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything `agents.toml` means. Paths are absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// The `[watchdog]` table.
    pub watchdog: Watchdog,
    /// Sessions are `<prefix><name>` unless a unit names its own.
    pub session_prefix: String,
    /// `""` is the user's default server, NAME is `tmux -L NAME`.
    pub tmux_socket: String,
    /// Units by name; [`Unit::position`] has the order of the file.
    pub units: BTreeMap<UnitName, Unit>,
    /// Agents or services are among the units that the file names: without any tmux need not be there, and is not asked.
    pub needs_tmux: bool,
    /// Backends that the file names: its own tables and those that units use.
    pub backends: BTreeMap<String, Backend>,
    /// `[loop]`: the phases that the loop agents work through; None = they work without a plan.
    pub sequence: Option<Sequence>,
    /// The state directory.
    pub state_dir: PathBuf,
    /// Digest of the bytes that this was read from.
    pub digest: String,
    /// The file itself and those that it had read.
    pub files: Vec<PathBuf>,
}

/// `[watchdog]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Watchdog {
    /// Seconds between ticks.
    pub signal_interval_s: f64,
    /// Seconds without activity that make a stall.
    pub stall_idle_s: f64,
    /// Seconds allowed past a declared wait.
    pub stall_grace_s: f64,
    /// Seconds between probes when no reset time is readable.
    pub limit_probe_fallback_s: f64,
    /// Seconds added to a reset time.
    pub limit_reset_slack_s: f64,
    /// Decide and record, but do nothing.
    pub observe_only: bool,
    /// Start paused; a later `resume` wins.
    pub start_paused: bool,
    /// Longest declared wait believed, seconds.
    pub wait_max_s: f64,
    /// Disruptive actions per tick.
    pub max_disruptions: usize,
    /// Seconds between restarts after a mass death.
    pub stagger_s: f64,
    /// Longest that an ordered restart waits for the end of a turn, seconds.
    pub advance_grace_s: f64,
    /// Count tokens, and keep the ledger.
    pub log_tokens: bool,
    /// When the ledger gets a record.
    pub token_granularity: Granularity,
    /// The command that is asked about silent agents, for ladders with the tier `triage`; None = it always means extend.
    pub triage: Option<Triage>,
}

/// `triage`: a command that looks at the last lines of a silent agent's screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triage {
    /// The argv.
    pub command: Vec<String>,
    /// It is ended after this long, seconds.
    pub timeout_s: u32,
}

/// When the token ledger gets a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// With each claimed label of a phase.
    Gate,
    /// With each phase.
    Phase,
}

impl Default for Watchdog {
    fn default() -> Watchdog {
        Watchdog {
            signal_interval_s: 30.0,
            stall_idle_s: 300.0,
            stall_grace_s: 180.0,
            limit_probe_fallback_s: 300.0,
            limit_reset_slack_s: 45.0,
            observe_only: false,
            start_paused: false,
            wait_max_s: 14_400.0,
            max_disruptions: 3,
            stagger_s: 2.0,
            advance_grace_s: 300.0,
            log_tokens: true,
            token_granularity: Granularity::Gate,
            triage: None,
        }
    }
}

/// `[loop]`: a plan in phases, whose state is pushed to a git branch.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The clone whose remote is read, absolute.
    pub repo: PathBuf,
    /// The remote's name: `origin`.
    pub remote: String,
    /// The branch on it: `main`.
    pub branch: String,
    /// Where status files and inboxes live in the repository, `""` = its root; no leading or trailing `/`.
    pub state_subdir: String,
    /// The line of a status file that says that its phase is done.
    pub done_marker: String,
    /// Remind a stalled agent of the done marker, once per phase.
    pub done_nudge: bool,
    /// The kickoff template's text, slots not filled.
    pub kickoff: String,
    /// The task agent that is started once at the end.
    pub on_complete: Option<UnitName>,
    /// In order; never empty, ids are unique.
    pub phases: Vec<Phase>,
    /// Who is told about which commits and files.
    pub handoff: Handoff,
}

/// One phase of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// Its name: what everything remembers it by.
    pub id: String,
    /// Path of its plan, for the kickoff.
    pub plan: String,
    /// Its status file below `state_subdir`.
    pub status: String,
    /// Model of the loop agents in this phase, `""` = the agent's own.
    pub model: String,
}

/// `[loop.handoff]`.
#[derive(Clone, Debug, Default)]
pub struct Handoff {
    /// Subjects that claim something.
    pub claim: Option<regex::Regex>,
    /// Subjects that review something.
    pub review: Option<regex::Regex>,
    /// Who hears of claims.
    pub claim_pings: Vec<UnitName>,
    /// Who hears of reviews.
    pub review_pings: Vec<UnitName>,
    /// Who hears of which file below `state_subdir`.
    pub inboxes: BTreeMap<String, Vec<UnitName>>,
}

impl Sequence {
    /// The branch as git's remote-tracking reference names it: `origin/main`.
    pub fn tracking(&self) -> String {
        format!("{}/{}", self.remote, self.branch)
    }

    /// A file of `state_subdir` as a path in the repository.
    pub fn in_repo(&self, file: &str) -> String {
        if self.state_subdir.is_empty() { file.to_owned() } else { format!("{}/{file}", self.state_subdir) }
    }

    /// The phase of that id, with its place.
    pub fn phase(&self, id: &str) -> Option<(usize, &Phase)> {
        self.phases.iter().enumerate().find(|(_, phase)| phase.id == id)
    }
}

/// One watched thing.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its name.
    pub name: UnitName,
    /// Its tmux session; "" for a process, which has none.
    pub session: String,
    /// Agent, service or process, with what only that kind has.
    pub role: Role,
    /// Working directory, absolute.
    pub dir: PathBuf,
    /// Extra environment, interpolated.
    pub env: BTreeMap<String, String>,
    /// What is watched.
    pub watch: Watch,
    /// `false`: known, but neither started nor touched.
    pub enabled: bool,
    /// Order in the file, from 0.
    pub position: usize,
    /// The ladder.
    pub ladder: Ladder,
    /// It keeps to the protocol of cooperative units; None = it does not.
    pub cooperative: Option<Cooperative>,
    /// Digest of everything that needs a restart when it changes (command, dir, env, prompt text).
    pub launch_digest: String,
}

/// What kind of unit it is.
#[derive(Clone, Debug)]
pub enum Role {
    /// An AI CLI in a tmux pane.
    Agent(Box<Agent>),
    /// Any command in a tmux pane: kept running, never nudged.
    Service {
        /// The argv.
        command: Vec<String>,
    },
    /// A supervised command outside tmux.
    Process(Box<ProcessUnit>),
}

/// What only agents have.
#[derive(Clone, Debug)]
pub struct Agent {
    /// loop, persistent or task.
    pub kind: AgentKind,
    /// The backend, overrides merged.
    pub backend: Backend,
    /// Model name, `""` for the CLI's own default.
    pub model: String,
    /// The role prompt's text (the file is read at load), `""` when none is set.
    pub prompt: String,
    /// What to do when it asks.
    pub permission: Permission,
    /// Agents of one account share limits.
    pub account: String,
    /// Who is told about deaths and recoveries.
    pub parent: Option<UnitName>,
    /// Scheduled prompts or runs.
    pub wake: Option<Wake>,
    /// What is allowed for going on from its checkpoint.
    pub recovery: Recovery,
}

/// loop | persistent | task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentKind {
    /// Works without end: idle for long is a stall; restarted with its kickoff.
    Loop,
    /// Waits for people or wakes: idleness is fine; restarted with resume.
    Persistent,
    /// Runs, exits, is run again on its schedule.
    Task,
}

/// What is watched: each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Shown, never touched.
    None,
    /// Restarted when dead.
    Heal,
    /// And nudged when stalled.
    HealStall,
}

/// What to do when an agent asks for permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Tell a person, once per dialog.
    Alert,
    /// Press the backend's approve keys.
    Approve,
    /// Press the backend's deny keys.
    Deny,
}

/// When and with what an agent is woken.
#[derive(Clone, Debug, PartialEq)]
pub struct Wake {
    /// The times.
    pub when: WakeWhen,
    /// What is typed (persistent, loop) or is the run's prompt (task; `""` = its role prompt).
    pub prompt: String,
}

/// Interval or cron times.
#[derive(Clone, Debug, PartialEq)]
pub enum WakeWhen {
    /// Every so many seconds.
    Interval {
        /// Seconds between wakes.
        every_s: f64,
    },
    /// At cron times.
    Cron {
        /// The parsed expression.
        cron: crate::detect::cron::Cron,
        /// IANA zone; None = local.
        tz: Option<String>,
    },
}

/// `cooperative`: the unit touches its `heartbeat`, stamps its `version`, and honours `RESTART`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cooperative {
    /// A heartbeat older than this is a symptom, seconds.
    pub heartbeat_stale_s: f64,
    /// Its version stamp is compared with the head of its repository.
    pub version: bool,
}

impl Default for Cooperative {
    fn default() -> Cooperative {
        Cooperative { heartbeat_stale_s: 90.0, version: true }
    }
}

/// `recovery`: going on from the checkpoint that an agent wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Attempts for one checkpoint; 0 = none is made.
    pub max: u32,
}

impl Default for Recovery {
    fn default() -> Recovery {
        Recovery { max: 1 }
    }
}

/// The tiers of a unit's remedies.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// In order.
    pub tiers: Vec<Tier>,
    /// Seconds between tiers.
    pub cooldown_s: f64,
    /// Seconds between TERM and KILL.
    pub grace_s: f64,
    /// Seconds after a heal before judging again.
    pub quiet_s: f64,
    /// Seconds until an open breaker allows one try.
    pub breaker_s: f64,
}

/// One tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Write an event, no more.
    Warn,
    /// Type a reminder.
    Nudge,
    /// Ask a configured command what to do.
    Triage,
    /// Ask the unit to end itself: its `RESTART` marker.
    RequestRestart,
    /// TERM to the process tree, KILL after the grace, and start afresh.
    Terminate,
    /// KILL to the process tree at once, and start afresh.
    KillStart,
    /// Tell a person.
    Alert,
}

impl Tier {
    /// Every tier, mildest first.
    pub const ALL: [Tier; 7] = [
        Tier::Warn,
        Tier::Nudge,
        Tier::Triage,
        Tier::RequestRestart,
        Tier::Terminate,
        Tier::KillStart,
        Tier::Alert,
    ];

    /// As config, events and `status` call it.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Warn => "warn",
            Tier::Nudge => "nudge",
            Tier::Triage => "triage",
            Tier::RequestRestart => "request-restart",
            Tier::Terminate => "terminate",
            Tier::KillStart => "kill-start",
            Tier::Alert => "alert",
        }
    }
}

impl Default for Ladder {
    fn default() -> Ladder {
        Ladder {
            tiers: vec![Tier::Nudge, Tier::KillStart, Tier::Alert],
            cooldown_s: 45.0,
            grace_s: 5.0,
            quiet_s: 60.0,
            breaker_s: 600.0,
        }
    }
}

impl Unit {
    /// The agent part, None for a service or a process.
    pub fn agent(&self) -> Option<&Agent> {
        match &self.role {
            Role::Agent(agent) => Some(agent),
            Role::Service { .. } | Role::Process(_) => None,
        }
    }

    /// The process part, None for what lives in a tmux pane.
    pub fn process(&self) -> Option<&ProcessUnit> {
        match &self.role {
            Role::Process(process) => Some(process),
            Role::Agent(_) | Role::Service { .. } => None,
        }
    }

    /// What its process gets as environment: the unit's own, and its backend's where that says more.
    pub fn process_env(&self) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        for (key, value) in self.agent().into_iter().flat_map(|agent| &agent.backend.env) {
            env.entry(key.clone()).or_insert_with(|| value.clone());
        }
        env
    }
}

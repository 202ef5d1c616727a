//! The fleet that is simulated: a dozen units of every kind, read from an `agents.toml` by the real reader.

use super::ordeal::Ordeal;
use super::outline::Outline;
use super::world::UnitTruth;
use std::collections::BTreeMap;
use std::path::Path;
use watchkeeper::config::{AgentKind, Config, Role, Source, parse, render};
use watchkeeper::policy::{guard_text, launch};

/// What the wakes say: each its own words, so that arrivals can be told apart.
pub const BOSS_WAKE: &str = "Hourly look: is everybody at work?";
pub const TESTER_WAKE: &str = "Run the whole suite again.";

/// Who is watched.
#[derive(Clone, Debug, Default)]
pub enum Crew {
    /// A dozen agents and services of every kind, perhaps with a plan.
    #[default]
    Agents,
    /// A few cooperative services and an agent with checkpoints, and what they go through.
    Ladders(Ordeal),
}

/// The config of these; `edition` changes the environment of some units, as an operator's edit would.
pub fn text_of(crew: &Crew, edition: u32, outline: Option<&Outline>) -> String {
    match crew {
        Crew::Agents => text(edition, outline),
        Crew::Ladders(_) => ladders(edition),
    }
}

/// The config; `edition` changes the environment of some units, as an operator's edit would.
pub fn text(edition: u32, outline: Option<&Outline>) -> String {
    let mut text = format!(
        r#"
[watchdog]
signal_interval = 30
stall_idle = 120
stall_grace = 60
limit_probe_fallback = 120
limit_reset_slack = 15
wait_max_s = 1200
advance_grace_s = 100
max_disruptions = 2
stagger_s = 2

[defaults]
backend = "demo"

[backend.sim]
like = "demo"
transcript_dir = "{{home}}/transcripts"
transcript_suffix = ".jsonl"

[[agent]]
name = "builder-1"
kind = "loop"
backend = "sim"
prompt = "builder.md"
account = "team-a"
parent = "boss"
env = {{ EDITION = "{edition}" }}

[[agent]]
name = "builder-2"
kind = "loop"
backend = "sim"
prompt = "builder.md"
account = "team-a"
parent = "boss"

[[agent]]
name = "builder-3"
kind = "loop"
prompt = "builder.md"
account = "team-a"
ladder = {{ tiers = ["nudge", "nudge", "kill-start", "alert"], cooldown_s = 45, grace_s = 3, quiet_s = 30 }}

[[agent]]
name = "tester"
kind = "loop"
prompt = "tester.md"
account = "team-b"
parent = "boss"
wake = {{ interval = 1500, prompt = "{TESTER_WAKE}" }}

[[agent]]
name = "boss"
kind = "persistent"
backend = "sim"
prompt = "boss.md"
account = "team-a"
wake = {{ interval = 900, prompt = "{BOSS_WAKE}" }}

[[agent]]
name = "helper"
kind = "persistent"
prompt = "boss.md"
account = "team-b"
permission = "approve"
env = {{ EDITION = "{edition}" }}

[[agent]]
name = "shy"
kind = "persistent"
account = "team-b"
permission = "deny"

[[agent]]
name = "looker"
kind = "loop"
prompt = "tester.md"
account = "team-b"
watch = "heal"

[[agent]]
name = "nightly"
kind = "task"
account = "team-b"
wake = {{ interval = 1000, prompt = "Write the report, then stop." }}

[[agent]]
name = "sweeper"
kind = "task"
account = "team-a"
wake = {{ at = "*/20 * * * *", prompt = "Sweep the old branches, then stop." }}

[[agent]]
name = "retired"
kind = "loop"
prompt = "builder.md"
enabled = false

[[service]]
name = "web"
command = ["./serve.sh"]
env = {{ EDITION = "{edition}" }}

[[service]]
name = "queue"
command = ["./queue.sh"]
"#
    );
    text.push_str(&outline.map(Outline::text).unwrap_or_default());
    text
}

/// A small fleet, for the ladders.
fn ladders(edition: u32) -> String {
    format!(
        r#"
[watchdog]
signal_interval = 30
stall_idle = 120
stall_grace = 60
wait_max_s = 1200
advance_grace_s = 100
max_disruptions = 2
stagger_s = 2

[defaults]
backend = "demo"

[[service]]
name = "api"
command = ["./api"]
env = {{ EDITION = "{edition}" }}
cooperative = {{ heartbeat_stale_s = 60 }}

[[service]]
name = "cache"
command = ["./cache"]
cooperative = {{}}
[service.ladder]
tiers = ["warn", "request-restart", "terminate"]
cooldown_s = 30
grace_s = 3
quiet_s = 40
breaker_s = 300

[[service]]
name = "relay"
command = ["./relay"]
cooperative = {{ heartbeat_stale_s = 45, version = false }}
ladder = {{ tiers = ["terminate", "kill-start", "alert"], cooldown_s = 60, grace_s = 8, quiet_s = 30 }}

[[service]]
name = "queue"
command = ["./queue.sh"]

[[agent]]
name = "boss"
kind = "persistent"
account = "team-a"
prompt = "boss.md"

[[agent]]
name = "writer"
kind = "loop"
account = "team-b"
prompt = "builder.md"
parent = "boss"
recovery = {{ max = 2 }}
"#
    )
}

/// Reads it.
pub fn config(text: &str) -> Config {
    let read = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
        Some("builder.md") => {
            Ok("You are a builder. Work through the plan, step by step.\nNever stop.".to_owned())
        }
        Some("tester.md") => Ok("You are a tester: break what the builders build.".to_owned()),
        Some("reporter.md") => Ok("All is done: write the report.".to_owned()),
        Some("boss.md") => Ok("You look after the others.".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let parsed = parse(&Source {
        path: Path::new("/fleet/agents.toml"),
        text,
        home: Path::new("/home/ann"),
        env: &|_| None,
        read: &read,
        state_override: None,
    });
    let problems = render("agents.toml", &parsed.problems);
    parsed.config.unwrap_or_else(|| panic!("{problems}"))
}

/// The units as they truly are.
pub fn truths(config: &Config) -> BTreeMap<String, UnitTruth> {
    let truth = |unit: &watchkeeper::config::Unit| {
        let agent = match &unit.role {
            Role::Agent(agent) => Some(agent),
            Role::Service { .. } | Role::Process(_) => None,
        };
        let kind = agent.map(|agent| agent.kind);
        UnitTruth {
            session: unit.session.clone(),
            agent: agent.is_some(),
            task: kind == Some(AgentKind::Task),
            loops: kind == Some(AgentKind::Loop),
            account: agent.map_or_else(|| "none".to_owned(), |agent| agent.account.clone()),
            transcript: agent.is_some_and(|agent| agent.backend.transcript_dir.is_some()),
            crashy_until: 0,
            kickoff: agent.map(|agent| guard_text::guarded(launch::first_prompt(agent))).unwrap_or_default(),
            lost: None,
            back_from: None,
            epoch: 0,
            acts: 0,
        }
    };
    config.units.iter().map(|(name, unit)| (name.to_string(), truth(unit))).collect()
}

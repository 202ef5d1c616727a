//! `doctor`: what may keep the watchdog from its work, each with its remedy in one line.
//!
//! Deliberately not here: what concerns processes only (`processes.rs`).

mod processes;

use super::{Command, Effect, Words};
use crate::base::error::{Kind, Result};
use crate::base::text::{counted, one_line};
use crate::base::time::human_s;
use crate::cli::snapshot::{Ownership, Snapshot, row};
use crate::cli::watchdog::Health;
use crate::cli::{Invocation, Out};
use crate::config::{Backend, Config, Role, Severity};
use crate::model::seen::ServerSeen;
use crate::sys::files::RealFiles;
use crate::sys::run::Program;
use crate::sys::tmux::Tmux;
use crate::sys::{Files, env};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// The command.
pub const COMMAND: Command = Command {
    name: "doctor",
    usage: "",
    about: "diagnose: programs, rights, the watchdog, CLI versions, who heals",
    long: "Looks at everything that may keep the watchdog from its work and names the
remedy of each finding. Changes nothing. For each process it says which healing
mode will really run, and why: headless, interactive or off.

Exit code 0: nothing is wrong (there may be warnings). 1: something is. 69: a
program is missing or too old.

JSON: {ok, findings [{check, level (ok, warning, problem, missing), text, remedy
or null}]}",
    flags: &[],
    words: Words::None,
    effect: Effect::Reads,
    run,
};

/// How long a CLI may take to tell its version.
const VERSION_PATIENCE: Duration = Duration::from_secs(5);

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warning,
    Problem,
    Missing,
}

#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    text: String,
    remedy: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    findings: Vec<Finding>,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    /// tmux is no loss where nothing runs in it.
    fn forgive_tmux(&mut self) {
        for finding in
            self.0.iter_mut().filter(|finding| finding.check == "tmux" && finding.level > Level::Warning)
        {
            finding.level = Level::Warning;
            finding.text.push_str("; only agents and services need it, and there are none");
        }
    }

    fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.0.push(Finding { check, level: Level::Ok, text: text.into(), remedy: None });
    }

    fn bad(&mut self, check: &'static str, level: Level, text: impl Into<String>, remedy: impl Into<String>) {
        let (text, remedy) = (text.into(), Some(remedy.into()));
        self.0.push(Finding { check, level, text, remedy });
    }
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let mut found = Findings::default();
    let tmux = tmux_version(&mut found);
    git(&mut found);
    locale(&mut found);
    if let Some(config) = config(invocation, &mut found) {
        if !config.needs_tmux {
            found.forgive_tmux();
        }
        state_dir(&config, &mut found);
        match Snapshot::read(&config) {
            Ok(mut snapshot) => {
                if tmux == Tool::There {
                    snapshot.look(&config);
                }
                watchdog(&snapshot, &mut found);
                markers(&snapshot, &mut found);
                files(&config, &snapshot, &mut found);
            }
            Err(error) => {
                found.bad("files", Level::Problem, error.message(), "make it readable for yourself");
            }
        }
        folders(&config, &mut found);
        if tmux == Tool::There && config.needs_tmux {
            sessions(&config, &mut found);
        }
        backends(&config, &mut found);
        processes::processes(&config, &mut found);
    }
    let worst = found.worst();
    let report = Report { ok: worst < Level::Problem, findings: found.0 };
    if invocation.json {
        out.json(&report);
    } else {
        print(&report, out);
    }
    Ok(match worst {
        Level::Ok | Level::Warning => ExitCode::SUCCESS,
        Level::Problem => ExitCode::from(1),
        Level::Missing => ExitCode::from(69),
    })
}

fn print(report: &Report, out: &mut Out) {
    for finding in &report.findings {
        let mark = match finding.level {
            Level::Ok => "ok     ",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
            Level::Missing => "MISSING",
        };
        out.line(&format!("{mark}  {}: {}", finding.check, finding.text));
        if let Some(remedy) = &finding.remedy {
            out.line(&format!("         remedy: {remedy}"));
        }
    }
}

/// Whether a program can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    There,
    Unusable,
}

fn tmux_version(found: &mut Findings) -> Tool {
    match Tmux::new("").version() {
        Ok(version) => {
            found.ok("tmux", version);
            Tool::There
        }
        Err(error) => {
            let level = if error.kind() == Kind::Missing { Level::Missing } else { Level::Problem };
            found.bad("tmux", level, error.message(), error.hint_text().unwrap_or("look at `tmux -V`"));
            Tool::Unusable
        }
    }
}

fn git(found: &mut Findings) {
    match Program::new("git").args(["--version"]).run() {
        Ok(ran) if ran.ok() => found.ok("git", one_line(&String::from_utf8_lossy(&ran.stdout), 60)),
        Ok(ran) => found.bad("git", Level::Warning, format!("`git --version`: {}", ran.why()), "repair git"),
        Err(error) => {
            found.bad("git", Level::Warning, error.message(), "install git; phases and handoffs need it");
        }
    }
}

fn locale(found: &mut Findings) {
    let named = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(env::var);
    let locale = named.unwrap_or_else(|| "C".to_owned());
    let lower = locale.to_ascii_lowercase();
    if lower.contains("utf-8") || lower.contains("utf8") {
        found.ok("locale", one_line(&locale, 60));
    } else {
        found.bad(
            "locale",
            Level::Warning,
            format!(
                "`{}` is no UTF-8 locale: tmux is called with -u, but agents may draw badly",
                one_line(&locale, 60)
            ),
            "set LANG=C.UTF-8",
        );
    }
}

/// The config, when there is one to go on with.
fn config(invocation: &Invocation, found: &mut Findings) -> Option<Config> {
    let loaded = invocation.home().and_then(|home| home.parse().map(|(parsed, _, _)| (home, parsed)));
    let (home, parsed) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            let remedy = error.hint_text().unwrap_or("make it readable").to_owned();
            found.bad("config", Level::Problem, error.message(), remedy);
            return None;
        }
    };
    let name = &home.shown_path;
    let errors = parsed.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    match home.load() {
        Ok(loaded) => {
            found.ok("config", format!("`{name}`: {}", counted(loaded.config.units.len(), "unit")));
            Some(loaded.config)
        }
        Err(_) => {
            let text = format!("`{name}` has {}", counted(errors, "problem"));
            found.bad("config", Level::Problem, text, "`watchkeeper check` shows them");
            None
        }
    }
}

fn state_dir(config: &Config, found: &mut Findings) {
    let dir = config.state_dir.display();
    let Some(facts) = env::folder(&config.state_dir) else {
        if env::exists(&config.state_dir) {
            found.bad(
                "state",
                Level::Problem,
                format!("`{dir}` is not a folder"),
                "move it away, or set `state_dir`",
            );
        } else {
            found.ok("state", format!("`{dir}` is not there yet; the first tick makes it"));
        }
        return;
    };
    if !facts.writable {
        let remedy = format!("chown it to yourself, chmod 700 it, or set `state_dir`: {dir}");
        return found.bad("state", Level::Problem, format!("`{dir}` can't be written"), remedy);
    }
    if let Some(kind) = facts.remote {
        let text = format!("`{dir}` is on {kind}: locks and exchanges by rename may not hold there");
        return found.bad("state", Level::Warning, text, "set `state_dir` to a local disk");
    }
    if facts.mode & 0o077 != 0 {
        let text = format!("`{dir}` has mode {:04o}: others can read prompts and screens", facts.mode);
        return found.bad("state", Level::Warning, text, format!("chmod 700 {dir}"));
    }
    found.ok("state", format!("`{dir}`"));
}

fn watchdog(snapshot: &Snapshot, found: &mut Findings) {
    let judged = snapshot.watchdog();
    let text = judged.text(&snapshot.now);
    let down = snapshot.fleet.down.is_some();
    match judged.health {
        Health::Running if judged.session_lost => {
            let pid = judged.pid.unwrap_or_default();
            let remedy = format!("`kill {pid}`, then `watchkeeper ensure`");
            found.bad("watchdog", Level::Warning, text, remedy);
        }
        Health::Running | Health::Cron => found.ok("watchdog", text),
        Health::Hanging => found.bad("watchdog", Level::Problem, text, "`watchkeeper ensure --replace`"),
        Health::Stopped | Health::Never if down => {
            found.ok("watchdog", format!("{text}; the fleet is marked down"));
        }
        Health::Stopped | Health::Never => found.bad("watchdog", Level::Problem, text, "`watchkeeper up`"),
    }
}

fn markers(snapshot: &Snapshot, found: &mut Findings) {
    let fleet = std::iter::once(("PAUSED".to_owned(), "resume".to_owned(), &snapshot.fleet));
    let units = snapshot
        .markers
        .iter()
        .map(|(name, markers)| (format!("units/{name}/PAUSED"), format!("resume {name}"), markers));
    for (path, command, markers) in fleet.chain(units) {
        let over = markers.paused.as_ref().and_then(|paused| paused.until);
        if let Some(until) = over.filter(|until| *until <= snapshot.now.wall) {
            let ago = human_s(snapshot.now.wall.since_s(until));
            found.bad(
                "markers",
                Level::Warning,
                format!("the pause in `{path}` was over {ago} ago and no longer counts"),
                format!("`watchkeeper {command}` removes it"),
            );
        }
    }
}

fn files(config: &Config, snapshot: &Snapshot, found: &mut Findings) {
    for (name, why) in &snapshot.broken {
        let remedy = "mend or delete it; it is rebuilt from what is seen";
        found.bad("files", Level::Problem, format!("`{name}`: {why}"), remedy);
    }
    let aside = RealFiles::new(&config.state_dir).list("quarantine").unwrap_or_default();
    if !aside.is_empty() {
        let shown = aside.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        let text =
            format!("{} put aside as unreadable: {}", counted(aside.len(), "file"), one_line(&shown, 200));
        let dir = config.state_dir.join("quarantine");
        found.bad(
            "files",
            Level::Warning,
            text,
            format!("look at them, then delete them from {}", dir.display()),
        );
    }
}

fn folders(config: &Config, found: &mut Findings) {
    for unit in config.units.values().filter(|unit| unit.enabled && env::folder(&unit.dir).is_none()) {
        let dir = unit.dir.display();
        let text = format!("`{}` works in `{dir}`, which is not there", unit.name);
        found.bad("folders", Level::Problem, text, format!("mkdir -p {dir}, or change its `dir`"));
    }
}

fn sessions(config: &Config, found: &mut Findings) {
    let list = Tmux::new(&config.tmux_socket).list();
    if let ServerSeen::Unknown { why } = &list.server {
        let socket = if config.tmux_socket.is_empty() { "default" } else { &config.tmux_socket };
        let text = format!("the tmux server `{socket}` could not be asked: {why}");
        return found.bad("sessions", Level::Problem, text, "see whether tmux answers: `tmux list-sessions`");
    }
    for unit in config.units.values().filter(|unit| unit.process().is_none()) {
        if let Some((row, Ownership::Foreign)) = row(config, &unit.session, &list.rows) {
            let whose = match row.stamp.as_str() {
                "" => "was not made by watchkeeper".to_owned(),
                stamp => format!("belongs to the fleet of `{}`", one_line(stamp, 120)),
            };
            let text = format!("session `{}` of `{}` {whose}; it is never touched", unit.session, unit.name);
            let remedy = "rename or end that session, or set another `session` or `session_prefix`";
            found.bad("sessions", Level::Problem, text, remedy);
        }
    }
}

/// Versions of the CLIs in use, against those that their signals were read from.
fn backends(config: &Config, found: &mut Findings) {
    let mut used: BTreeMap<&str, &Backend> = BTreeMap::new();
    for unit in config.units.values().filter(|unit| unit.enabled) {
        match &unit.role {
            Role::Agent(agent) => drop(used.insert(&agent.backend.name, &agent.backend)),
            Role::Service { .. } | Role::Process(_) => {}
        }
    }
    for (name, backend) in used {
        let Some((program, args)) = backend.version_command.split_first() else { continue };
        let ran = Program::new(program).args(args).deadline(VERSION_PATIENCE).output_max(64 << 10).run();
        match ran {
            Err(error) if error.kind() == Kind::Missing => {
                let remedy = format!("install `{program}`, or change `command` of [backend.{name}]");
                found.bad("backends", Level::Missing, format!("`{name}`: {}", error.message()), remedy);
            }
            Err(error) => found.bad(
                "backends",
                Level::Warning,
                format!("`{name}`: {}", error.message()),
                "try it by hand",
            ),
            Ok(ran) if !ran.ok() => {
                let text = format!("`{name}`: `{}`: {}", backend.version_command.join(" "), ran.why());
                found.bad("backends", Level::Warning, text, "try it by hand");
            }
            Ok(ran) => version(name, backend, &String::from_utf8_lossy(&ran.stdout), found),
        }
    }
}

fn version(name: &str, backend: &Backend, said: &str, found: &mut Findings) {
    let said = one_line(said, 80);
    let tested = &backend.versions_tested;
    match version_in(&said) {
        Some(version) if !tested.is_empty() && !tested.iter().any(|range| in_range(version, range)) => {
            let text = format!("`{name}` is {version}; its signals were read from {}", tested.join(", "));
            let remedy =
                "compare `watchkeeper inspect` with what you see; change [backend.*.signals] if it is wrong";
            found.bad("backends", Level::Warning, text, remedy);
        }
        Some(_) | None => found.ok("backends", format!("`{name}`: {said}")),
    }
}

/// The first word with digits and dots in what a CLI says of itself.
fn version_in(said: &str) -> Option<&str> {
    said.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))
}

/// Is `version` in `range`: a prefix (`2.1`), or `min..max` of prefixes?
fn in_range(version: &str, range: &str) -> bool {
    let numbers =
        |text: &str| -> Vec<u64> { text.split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    let version = numbers(version);
    let prefix = |of: &str, take: usize| -> Vec<u64> { numbers(of).into_iter().take(take).collect() };
    match range.split_once("..") {
        Some((min, max)) => {
            let max = prefix(max, usize::MAX);
            version >= numbers(min) && version.iter().take(max.len()).copied().collect::<Vec<_>>() <= max
        }
        None => {
            let wanted = numbers(range);
            version.iter().take(wanted.len()).copied().collect::<Vec<_>>() == wanted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_and_compared() {
        assert_eq!(version_in("2.1.197 (Claude Code)"), Some("2.1.197"));
        assert_eq!(version_in("codex-cli 0.169.0"), Some("0.169.0"));
        assert_eq!(version_in("aider v0.86.2"), Some("0.86.2"));
        assert_eq!(version_in("no version"), None);
        for (version, range, want) in [
            ("2.1.197", "2.1", true),
            ("2.10.0", "2.1", false),
            ("2.1.197", "2.0..2.1", true),
            ("2.2.0", "2.0..2.1", false),
            ("1.9", "2.0..2.1", false),
            ("3", "3", true),
        ] {
            assert_eq!(in_range(version, range), want, "{version} in {range}");
        }
    }
}

//! docker and podman: `run -d` under a name of the run's own orders, one `inspect` of all names tells, `stop` ends. Output
//! is fetched from the engine by a process of its own (`logs`).
//!
//! The name makes an order harmless when it is repeated, and finds it again when its answer was lost. What the engines say
//! differently (seen with docker 20.10 and podman 4.3) is read here: a container that could not be started is `created`, with
//! a status only in docker; docker calls a paused one running; a missing one is exit status 1 or 125, beside the others'
//! answers.
//!
//! Deliberately not here: when something is ordered.

use super::remote::{self, Over, Remotes, Standing};
use super::{logs, records};
use crate::base::text::one_line;
use crate::base::time::Wall;
use crate::model::process::{ProcessLaunch, RunId, RunQuery, RunSeen};
use crate::model::seen::Exit;
use serde::Deserialize;
use std::path::Path;

/// An order that was not answered may still be carried out within this time, seconds.
const LATE_S: f64 = 30.0;
/// `docker stop` gives it so long between TERM and KILL, seconds.
const STOP_S: u32 = 30;

/// What `inspect` says of one container; what an engine leaves out is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Container {
    #[serde(rename = "Id")]
    pub id: String,
    #[serde(rename = "Name")]
    pub name: String,
    #[serde(rename = "State")]
    pub state: State,
}

/// Its `State`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct State {
    #[serde(rename = "Status")]
    pub status: String,
    #[serde(rename = "OOMKilled")]
    pub out_of_memory: bool,
    #[serde(rename = "ExitCode")]
    pub exit_code: i32,
    #[serde(rename = "Error")]
    pub error: String,
    #[serde(rename = "StartedAt")]
    pub started: String,
    #[serde(rename = "FinishedAt")]
    pub finished: String,
}

/// The run's container.
pub fn name(state_dir: &Path, unit: &str, number: u64) -> String {
    let owner: String = records::owner(state_dir).chars().take(8).collect();
    format!("wk-{owner}-{unit}-{number}")
}

/// The job that asks this engine: its path may stand in the config.
pub fn question_id(engine: &str) -> String {
    format!("host-{}", crate::base::text::digest(engine.as_bytes()))
}

/// One question for all containers.
pub fn question(engine: &str, names: &[String]) -> Vec<String> {
    let mut argv = vec![engine.to_owned(), "inspect".to_owned(), "--type".to_owned(), "container".to_owned()];
    argv.extend(names.iter().cloned());
    argv
}

/// The job that asks this engine for all that we ever started there.
pub fn names_id(engine: &str) -> String {
    format!("host-names-{}", crate::base::text::digest(engine.as_bytes()))
}

/// One question for all units of which no run is known.
pub fn names_question(engine: &str) -> Vec<String> {
    [engine, "ps", "-a", "--filter", "label=watchkeeper", "--format", "{{.State}} {{.Names}}"]
        .map(str::to_owned)
        .to_vec()
}

/// The latest run of a unit by that answer, though nothing of it is remembered: of those that live, if one does. (What ended
/// is not begun anew because its records are lost; and its name is taken.) docker calls one that lives `running`, podman (4.3)
/// `Up 3 minutes ago`.
pub fn latest(text: &str, state_dir: &Path, unit: &str) -> Option<u64> {
    let all = name(state_dir, unit, 0);
    let prefix = all.strip_suffix('0')?;
    let run = |line: &str| {
        let state = line.split_whitespace().next()?.to_ascii_lowercase();
        let lives = ["running", "up", "paused", "restarting", "stopping"].contains(&state.as_str());
        let name = line.split_whitespace().next_back()?;
        Some((lives, name.strip_prefix(prefix)?.parse::<u64>().ok()?))
    };
    text.lines().filter_map(run).max().map(|(_, number)| number)
}

/// To a terminal `WARN[0000] …`, to a pipe `time="…" level=warning msg="…"` (podman's logrus).
fn is_warning(line: &str) -> bool {
    line.contains("WARN") || line.contains("level=warning")
}

/// A failed `inspect` is an answer when all that it complains of is missing containers.
pub fn is_answer(over: &Over) -> bool {
    let complaints = over.errors.lines().filter(|line| !line.trim().is_empty());
    let mut complaints = complaints.filter(|line| !is_warning(line)).peekable();
    over.job.argv.get(1).is_some_and(|word| word == "inspect")
        && complaints.peek().is_some()
        && complaints.all(|line| line.to_lowercase().contains("no such container"))
}

/// The order of a run. Values of the environment come by the client's environment, not on its command line.
pub fn order(
    state_dir: &Path,
    launch: &ProcessLaunch,
    engine: &str,
    image: &str,
    args: &[String],
) -> Vec<String> {
    let unit = launch.unit.as_str();
    let mark = records::mark(state_dir, unit, launch.number);
    let mut argv = vec![engine.to_owned(), "run".to_owned(), "-d".to_owned()];
    for key in launch.env.keys().map(String::as_str).chain(["WATCHKEEPER_UNIT", records::RUN_ENV]) {
        argv.extend(["-e".to_owned(), key.to_owned()]);
    }
    argv.extend(args.iter().cloned());
    argv.extend(["--name".to_owned(), name(state_dir, unit, launch.number)]);
    argv.extend(["--label".to_owned(), format!("watchkeeper={mark}"), image.to_owned()]);
    argv.extend(launch.argv.iter().cloned());
    argv
}

/// Ends a run.
pub fn cancel(state_dir: &Path, unit: &str, id: &RunId, engine: &str) -> Vec<String> {
    let name = name(state_dir, unit, id.number);
    [engine, "stop", "-t", &STOP_S.to_string(), &name].map(str::to_owned).to_vec()
}

/// Reads the answer; None when it is none.
pub fn parse(text: &str) -> Option<Vec<Container>> {
    serde_json::from_str(text.trim()).ok()
}

/// How a container stands. `order` = what its order said when it failed; None while the order is under way.
pub fn stands(container: &Container, number: u64, order: &Ordered) -> RunSeen {
    let state = &container.state;
    let handle = format!("{}.{}", container.id.chars().take(12).collect::<String>(), state.started);
    let id = RunId { number, handle };
    let at = |text: &str| Wall::parse(text).filter(|at| at.0 > 0);
    let alive =
        |suspended| RunSeen::Alive { id: id.clone(), process: None, since: at(&state.started), suspended };
    match state.status.as_str() {
        "running" | "stopping" | "restarting" => alive(false),
        "paused" => alive(true),
        "exited" | "stopped" | "dead" => RunSeen::Ended {
            exit: Some(Exit::Status(state.exit_code)),
            out_of_memory: state.out_of_memory,
            at: at(&state.finished),
            note: note(state),
            id,
        },
        "created" | "configured" | "initialized" => match order {
            Ordered::Running => {
                let why = "its container is being started".to_owned();
                RunSeen::Pending { id, why, held: None }
            }
            Ordered::Over { said } => {
                let words = [state.error.as_str(), said.as_str(), "nobody started it"];
                let why = words.iter().find(|text| !text.is_empty()).unwrap_or(&"");
                RunSeen::Ended {
                    id,
                    exit: Some(state.exit_code).filter(|code| *code != 0).map(Exit::Status),
                    out_of_memory: false,
                    at: None,
                    note: Some(format!("its container could not be started: {}", one_line(why, 400))),
                }
            }
        },
        other => {
            RunSeen::Unknown { why: format!("the engine calls its container `{}`", one_line(other, 40)) }
        }
    }
}

/// How the order of a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ordered {
    Running,
    /// It is over, or nobody knows of it; what it complained of.
    Over {
        said: String,
    },
}

/// What the engine says beside the status. Of a program that a signal ended both engines say 128 and its number, which is
/// also what a program may exit with: so it is asked, not said.
fn note(state: &State) -> Option<String> {
    let signal = match state.exit_code.saturating_sub(128) {
        1 => "SIGHUP?",
        2 => "SIGINT?",
        3 => "SIGQUIT?",
        4 => "SIGILL?",
        6 => "SIGABRT?",
        7 => "SIGBUS?",
        8 => "SIGFPE?",
        9 => "SIGKILL?",
        11 => "SIGSEGV?",
        13 => "SIGPIPE?",
        14 => "SIGALRM?",
        15 => "SIGTERM?",
        _ => "",
    };
    let error = one_line(&state.error, 400);
    let words: Vec<&str> = [signal, error.as_str()].into_iter().filter(|text| !text.is_empty()).collect();
    Some(words.join("; ")).filter(|note| !note.is_empty())
}

/// How the run stands, by the last answer.
pub fn judge(
    remotes: &mut Remotes,
    state_dir: &Path,
    query: &RunQuery,
    engine: &str,
    answer: &Over,
) -> RunSeen {
    let (unit, number) = (query.unit.as_str(), query.known.number);
    let Some(containers) = parse(&answer.output) else {
        return RunSeen::Unknown { why: format!("`{engine}` said nothing that could be read") };
    };
    let name = name(state_dir, unit, number);
    let standing = remote::order_of(state_dir, unit, number);
    let ordered = match &standing {
        Standing::Running { .. } => Ordered::Running,
        Standing::Over(order) if order.failed.is_some() => Ordered::Over { said: remote::words(order) },
        Standing::Over(_) | Standing::Never => Ordered::Over { said: String::new() },
    };
    match containers.iter().find(|container| container.name.trim_start_matches('/') == name) {
        Some(container) => {
            let seen = stands(container, number, &ordered);
            logs::fetched(remotes, state_dir, unit, number, engine, &name, seen)
        }
        None => missing(query, &standing, answer),
    }
}

/// The engine knows no such container: not yet, never, or no more.
fn missing(query: &RunQuery, standing: &Standing, answer: &Over) -> RunSeen {
    let id = query.known.clone();
    let ended =
        |id, note| RunSeen::Ended { id, exit: None, out_of_memory: false, at: None, note: Some(note) };
    match standing {
        Standing::Running { .. } => {
            let why = "its container is being made".to_owned();
            RunSeen::Pending { id, why, held: None }
        }
        Standing::Over(order) => {
            let asked = answer.asked.since_s(order.ended);
            match &order.failed {
                None if asked > 0.0 => ended(id, "its container was removed".to_owned()),
                // An engine that refused says so; one that did not answer may still be at it.
                Some(_) if asked > LATE_S || (asked > 0.0 && !order.errors.is_empty()) => {
                    ended(id, format!("its container could not be started: {}", remote::words(order)))
                }
                Some(_) | None => {
                    RunSeen::Unknown { why: "the engine was not asked since the order".to_owned() }
                }
            }
        }
        Standing::Never if id.handle.is_empty() => RunSeen::Absent,
        Standing::Never => ended(id, "its container was removed".to_owned()),
    }
}

#[cfg(test)]
#[path = "docker_tests.rs"]
mod tests;

//! `process.kind` and `process.extra` taken over: where it runs.

use super::{Keys, World, pair, places};
use crate::cli::setup::toml_text::{string, strings};
use std::fmt::Write as _;

/// Where a process runs, in our words.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Host {
    Local,
    Attach { pid: Option<u32>, pid_file: Option<String>, log: Option<String>, allow_kill: bool },
    Slurm { args: Vec<String> },
    Docker { engine: String, image: String, args: Vec<String> },
}

impl Host {
    pub(super) fn needs_command(&self) -> bool {
        match self {
            Host::Local | Host::Slurm { .. } => true,
            Host::Attach { .. } | Host::Docker { .. } => false,
        }
    }

    /// Whether rules may end it, when it is somebody else's.
    pub(super) fn attached(&self) -> Option<bool> {
        match self {
            Host::Attach { allow_kill, .. } => Some(*allow_kill),
            Host::Local | Host::Slurm { .. } | Host::Docker { .. } => None,
        }
    }

    pub(super) fn write(&self, out: &mut String) {
        let mut say = |line: String| {
            let _ = writeln!(out, "{line}");
        };
        match self {
            Host::Local => {}
            Host::Attach { pid, pid_file, log, allow_kill } => {
                say(pair("host", "attach"));
                pid.iter().for_each(|pid| say(format!("pid = {pid}")));
                pid_file.iter().for_each(|path| say(pair("pid_file", path)));
                log.iter().for_each(|path| say(pair("log", path)));
                if *allow_kill {
                    say("allow_kill = true".to_owned());
                }
            }
            Host::Slurm { args } => {
                say(pair("host", "slurm"));
                if !args.is_empty() {
                    say(format!("sbatch_args = {}", strings(args)));
                }
            }
            Host::Docker { engine, image, args } => {
                say(pair("host", "docker"));
                if engine != "docker" {
                    say(pair("engine", engine));
                }
                say(format!("image = {}", string(image)));
                if !args.is_empty() {
                    say(format!("run_args = {}", strings(args)));
                }
            }
        }
    }
}

/// The host, and the command that remains of the old one.
pub(super) fn host(
    kind: &str,
    process: &Keys<'_>,
    command: &[String],
    world: &World<'_>,
) -> (Host, Vec<String>) {
    let at = process.at("command");
    let command: Vec<String> = command.iter().map(|word| places(word, &at, world, process.notes)).collect();
    let extra = process.map("extra");
    let made = match kind {
        "attach" => (attach(extra.as_ref(), process, world), Vec::new()),
        "slurm" => slurm(command, process),
        "docker" => docker(command, process),
        "local" => (Host::Local, command),
        other => {
            process.notes.changed(&process.at("kind"), format!("`{other}` is not known: it is local"));
            (Host::Local, command)
        }
    };
    if let Some(extra) = extra {
        let queries = "not needed: all jobs are asked for in one query a tick";
        extra.without(&[
            ("log_pattern", "the output of a job is read where Slurm was told to put it"),
            ("status_command", queries),
            ("cancel_command", "scancel"),
            ("sacct_command", queries),
            ("poll_interval_seconds", "asked with every tick: [watchdog] signal_interval"),
            (
                "container_name",
                "containers are named after the fleet and the unit, so that none is started twice",
            ),
            ("log_stream_command", "the engine's own logs are followed"),
            ("stop_command", "ENGINE stop, then kill"),
            ("remove_command", "a container that ended is removed when the next one starts"),
        ]);
        extra.finish();
    }
    made
}

fn attach(extra: Option<&Keys<'_>>, process: &Keys<'_>, world: &World<'_>) -> Host {
    let path = |key: &str| {
        let text = extra?.text(key).filter(|text| !text.is_empty())?;
        Some(places(text, &format!("process.extra.{key}"), world, process.notes))
    };
    let pid = extra.and_then(|extra| extra.count("pid", 4_194_304.0)).filter(|pid| *pid > 0);
    let (pid_file, log) = (path("pid_file"), path("log_path"));
    let allow_kill = extra.and_then(|extra| extra.truth("allow_kill")).unwrap_or(false);
    let (pid, pid_file) = match (pid, pid_file) {
        (Some(_), Some(file)) => {
            process.notes.changed("process.extra.pid", "a pid and a pid file were given: the file counts");
            (None, Some(file))
        }
        (None, None) => {
            process
                .notes
                .changed("process.extra", "neither pid nor pid_file: put the right one in place of run.pid");
            (None, Some("run.pid".to_owned()))
        }
        other => other,
    };
    if log.is_none() {
        process.notes.changed(
            "process.extra.log_path",
            "without it only the process itself is watched, not what it says",
        );
    }
    Host::Attach { pid, pid_file, log, allow_kill }
}

/// Options of sbatch whose value is the next word, when there is no `=`. Source: sbatch(1).
const SBATCH_SHORT: &[&str] = &[
    "-A", "-a", "-b", "-C", "-c", "-D", "-d", "-e", "-F", "-G", "-i", "-J", "-L", "-M", "-m", "-N", "-n",
    "-o", "-p", "-q", "-t", "-w", "-x",
];

fn slurm(command: Vec<String>, process: &Keys<'_>) -> (Host, Vec<String>) {
    let is_sbatch = command.first().is_some_and(|program| program.rsplit('/').next() == Some("sbatch"));
    if !is_sbatch {
        return (Host::Slurm { args: Vec::new() }, command);
    }
    let mut args = Vec::new();
    let mut rest = command.into_iter().skip(1).peekable();
    while let Some(word) = rest.next_if(|word| word.starts_with('-')) {
        let takes_next = SBATCH_SHORT.contains(&word.as_str())
            || (word.starts_with("--") && !word.contains('=') && !is_switch(&word));
        let own = ["-o", "-e", "-J"].contains(&word.as_str())
            || ["--output", "--error", "--job-name", "--parsable", "--wait", "--comment"]
                .iter()
                .any(|own| word.split('=').next() == Some(own));
        let value = if takes_next { rest.next() } else { None };
        if own {
            let text = format!("`{word}` of sbatch is set by watchkeeper itself");
            process.notes.left_out(&process.at("command"), text);
            continue;
        }
        args.push(word);
        args.extend(value);
    }
    let command: Vec<String> = rest.collect();
    let text = "sbatch is called by watchkeeper; what the script says in #SBATCH lines must be in `sbatch_args`, for the script is run inside the job";
    process.notes.changed(&process.at("command"), text);
    (Host::Slurm { args }, command)
}

/// Long options of sbatch without a value. Source: sbatch(1).
fn is_switch(word: &str) -> bool {
    [
        "--requeue",
        "--no-requeue",
        "--exclusive",
        "--hold",
        "--overcommit",
        "--oversubscribe",
        "--contiguous",
        "--parsable",
        "--wait",
        "--quiet",
        "--reboot",
        "--spread-job",
        "--use-min-nodes",
        "--ignore-pbs",
        "--test-only",
        "--verbose",
    ]
    .contains(&word)
}

/// Options of `docker run` without a value. Source: docker-run(1), podman-run(1).
const DOCKER_SWITCHES: &[&str] = &[
    "-i",
    "-t",
    "-it",
    "-ti",
    "-d",
    "-P",
    "-q",
    "--rm",
    "--interactive",
    "--tty",
    "--detach",
    "--init",
    "--privileged",
    "--read-only",
    "--publish-all",
    "--no-healthcheck",
    "--oom-kill-disable",
    "--quiet",
    "--replace",
    "--disable-content-trust",
    "--sig-proxy",
];

/// What we set ourselves.
const DOCKER_OWN: &[&str] = &[
    "-i",
    "-t",
    "-it",
    "-ti",
    "-d",
    "--rm",
    "--interactive",
    "--tty",
    "--detach",
    "--name",
    "--replace",
    "--sig-proxy",
    "--restart",
    "--cidfile",
];

fn docker(command: Vec<String>, process: &Keys<'_>) -> (Host, Vec<String>) {
    let at = process.at("command");
    let engine =
        command.first().and_then(|program| program.rsplit('/').next()).unwrap_or_default().to_owned();
    let mut words = command.clone().into_iter().skip(1).peekable();
    let runs = ["docker", "podman"].contains(&engine.as_str())
        && words.next_if(|word| word == "container").is_none_or(|_| true)
        && words.next_if(|word| word == "run").is_some();
    if !runs {
        process
            .notes
            .changed(&at, "it is no `docker run …`: it is run as a local process, container and all");
        return (Host::Local, command);
    }
    let mut args = Vec::new();
    while let Some(word) = words.next_if(|word| word.starts_with('-')) {
        let name = word.split('=').next().unwrap_or_default();
        let takes_next = !word.contains('=') && !DOCKER_SWITCHES.contains(&name);
        let value = if takes_next { words.next() } else { None };
        if DOCKER_OWN.contains(&name) {
            process.notes.left_out(&at, format!("`{name}` of {engine} run is watchkeeper's own affair"));
            continue;
        }
        args.push(word);
        args.extend(value);
    }
    let image = words.next().unwrap_or_else(|| {
        process.notes.changed(&at, "no image was found in it: put the right one in place of IMAGE");
        "IMAGE".to_owned()
    });
    (Host::Docker { engine, image, args }, words.collect())
}

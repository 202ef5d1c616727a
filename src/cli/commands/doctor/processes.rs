//! What `doctor` asks of processes: their programs, their hosts, their logs, and who really heals them.
//!
//! Deliberately not here: whether a run goes well (`status`, `why`).

use super::{Findings, Level, VERSION_PATIENCE};
use crate::base::error::Kind;
use crate::base::text::{counted, one_line};
use crate::config::{Config, DirtyTree, Healing, HealingAgent, ProcessHost, ProcessUnit, Unit};
use crate::sys::fix_branch::{self, Dirty, Work};
use crate::sys::run::Program;
use crate::sys::{env, outside};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Free space of the state directory's disk below which a warning is due, bytes: a day of a talkative log.
const FREE_MIN: u64 = 1 << 30;
/// Fewest inotify instances that are left for others; the kernel's own default is 128.
const INSTANCES_MIN: u64 = 16;
/// Watches beside those that the units need; the kernel's own default is 8192 or more.
const WATCHES_SPARE: u64 = 256;

/// Everything about the processes of a config.
pub(super) fn processes(config: &Config, found: &mut Findings) {
    let mut units: Vec<(&Unit, &ProcessUnit)> = config
        .units
        .values()
        .filter(|unit| unit.enabled)
        .filter_map(|unit| Some((unit, unit.process()?)))
        .collect();
    units.sort_by_key(|(unit, _)| unit.position);
    if units.is_empty() {
        return;
    }
    hosts(&units, found);
    for (unit, process) in &units {
        starts(unit, process, found);
        logs(config, unit, process, found);
        snapshots(unit, process, found);
    }
    let mut trees = Trees::default();
    for (unit, process) in &units {
        healing(config, unit, &process.healing, &mut trees, found);
    }
    machine(config, units.len() as u64, found);
}

/// Engines and Slurm, each asked once.
fn hosts(units: &[(&Unit, &ProcessUnit)], found: &mut Findings) {
    let mut engines = BTreeSet::new();
    let mut slurm = false;
    for (_, process) in units {
        match &process.host {
            ProcessHost::Local | ProcessHost::Attach { .. } => {}
            ProcessHost::Slurm { .. } => slurm = true,
            ProcessHost::Docker { engine, .. } => drop(engines.insert(engine.as_str())),
        }
    }
    if slurm {
        let missing: Vec<&str> = ["sbatch", "squeue", "scontrol", "scancel"]
            .into_iter()
            .filter(|name| env::program(name).is_none())
            .collect();
        if missing.is_empty() {
            answers("slurm", "scontrol", &["ping"], "see whether slurmctld runs: `scontrol ping`", found);
        } else {
            let text = format!("not found: {}", missing.join(", "));
            let remedy = "install the Slurm client programs (Debian: slurm-client), or run watchkeeper on a login node";
            found.bad("slurm", Level::Missing, text, remedy);
        }
        if env::program("sacct").is_none() {
            let text = "`sacct` is not found: what became of a job is forgotten some minutes after its end";
            found.bad("slurm", Level::Warning, text, "install it, if your cluster keeps accounts");
        }
    }
    for engine in engines {
        let remedy =
            format!("start it (`systemctl start {engine}`), or join its group: try `{engine} version`");
        answers("containers", engine, &["version"], &remedy, found);
    }
}

/// Does a host's program answer?
fn answers(check: &'static str, program: &str, args: &[&str], remedy: &str, found: &mut Findings) {
    let shown = format!("{program} {}", args.join(" "));
    match Program::new(program).args(args).deadline(VERSION_PATIENCE).output_max(64 << 10).run() {
        Ok(ran) if ran.ok() => found.ok(check, format!("`{shown}` answers")),
        Ok(ran) => found.bad(check, Level::Problem, format!("`{shown}`: {}", ran.why()), remedy),
        Err(error) if error.kind() == Kind::Missing => {
            found.bad(
                check,
                Level::Missing,
                error.message(),
                format!("install `{program}`, or put it into PATH"),
            );
        }
        Err(error) => found.bad(check, Level::Problem, error.message(), remedy),
    }
}

/// Can it be started here?
fn starts(unit: &Unit, process: &ProcessUnit, found: &mut Findings) {
    let name = &unit.name;
    let is_local = match &process.host {
        ProcessHost::Local => true,
        ProcessHost::Attach { pid_file: Some(file), .. } => {
            if !env::exists(file) {
                let text = format!("`{name}`: its pid file `{}` is not there", file.display());
                found.bad("process", Level::Warning, text, "start what is to be watched, or mend `pid_file`");
            }
            false
        }
        ProcessHost::Attach { pid_file: None, .. }
        | ProcessHost::Slurm { .. }
        | ProcessHost::Docker { .. } => false,
    };
    let before = found.0.len();
    if let Some(program) = process.command.first().filter(|_| is_local)
        && env::program_from(program, &unit.dir).is_none()
    {
        let text = format!("`{name}`: its program `{}` is not found", one_line(program, 100));
        let remedy =
            "install it, mend `command`, or put its folder into the PATH of whoever starts watchkeeper";
        found.bad("process", Level::Problem, text, remedy);
    }
    for program in
        process.require.programs.iter().filter(|program| env::program_from(program, &unit.dir).is_none())
    {
        let text = format!(
            "`{name}` requires `{}`, which is not found: it will not be started",
            one_line(program, 100)
        );
        found.bad("process", Level::Problem, text, "install it");
    }
    for variable in &process.require.env {
        let own = unit.env.get(variable).cloned().or_else(|| outside::env(variable));
        if own.is_none_or(|value| value.is_empty()) {
            let text = format!("`{name}` requires the variable {variable}, which is not set here");
            let remedy = format!("set it for whoever starts watchkeeper, or in `env`: {variable} = \"…\"");
            found.bad("process", Level::Problem, text, remedy);
        }
    }
    if is_local && found.0.len() == before {
        found.ok("process", format!("`{name}`: {}", one_line(&process.command.join(" "), 100)));
    }
}

/// Can its output be written, or read?
fn logs(config: &Config, unit: &Unit, process: &ProcessUnit, found: &mut Findings) {
    let folder = config.state_dir.join("units").join(unit.name.as_str());
    if env::folder(&folder).is_some_and(|facts| !facts.writable) {
        let text = format!(
            "`{}`: its folder `{}` can't be written, its output neither",
            unit.name,
            folder.display()
        );
        found.bad("log", Level::Problem, text, format!("chown it to yourself: {}", folder.display()));
    }
    if let ProcessHost::Attach { log: Some(log), .. } = &process.host
        && let Err(why) = env::readable(log)
    {
        let text = format!("`{}`: its log `{}`: {why}", unit.name, log.display());
        found.bad("log", Level::Warning, text, "mend `log`, or its rights");
    }
}

fn snapshots(unit: &Unit, process: &ProcessUnit, found: &mut Findings) {
    for path in &process.config_snapshots {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name == ".env" || name.starts_with(".env.") {
            let text = format!("`{}`: `{}` goes into every incident", unit.name, path.display());
            found.bad(
                "snapshots",
                Level::Warning,
                text,
                "take it out of `config_snapshots`: masks are no safe",
            );
        } else if !env::exists(path) {
            let text = format!("`{}`: `{}` is not there", unit.name, path.display());
            found.bad("snapshots", Level::Warning, text, "mend `config_snapshots`");
        }
    }
}

/// What git says of the folders, each asked once.
#[derive(Debug, Default)]
struct Trees(BTreeMap<String, Tree>);

/// A folder as a healing agent finds it.
#[derive(Clone, Debug)]
enum Tree {
    Work(Work),
    NoRepository,
    Unknown { why: String },
}

impl Trees {
    fn look(&mut self, dir: &Path, state_dir: &Path, dirty: DirtyTree) -> Tree {
        let key = format!("{dirty:?} {}", dir.display());
        self.0.entry(key).or_insert_with(|| tree(dir, state_dir, dirty)).clone()
    }
}

fn tree(dir: &Path, state_dir: &Path, dirty: DirtyTree) -> Tree {
    if !fix_branch::is_tree(dir) {
        return Tree::NoRepository;
    }
    let dirty = match dirty {
        DirtyTree::Refuse => Dirty::Refuse,
        DirtyTree::Stash => Dirty::Stash,
    };
    fix_branch::would(dir, state_dir, dirty).map_or_else(|why| Tree::Unknown { why }, Tree::Work)
}

/// Who will really be asked when no rule helps, and why.
fn healing(config: &Config, unit: &Unit, healing: &Healing, trees: &mut Trees, found: &mut Findings) {
    let name = &unit.name;
    let program = healing.command.first().map(String::as_str).unwrap_or_default();
    let there = env::program_from(program, &unit.dir);
    let shown = one_line(program, 80);
    let remedy = || {
        format!("install `{shown}`, name another CLI in `command` of [process.healing], or agent = \"off\"")
    };
    let mode = match (healing.agent, &there) {
        (HealingAgent::Off, _) => {
            return found
                .ok("healing", format!("`{name}`: off: nobody is asked, rules and restarts are all"));
        }
        (HealingAgent::Interactive, _) => {
            format!(
                "interactive: a request waits for `watchkeeper respond {name}`, {} s each",
                healing.timeout_s
            )
        }
        (HealingAgent::Auto | HealingAgent::Headless, Some(path)) => {
            let why = if healing.agent == HealingAgent::Auto { ", for auto found it" } else { "" };
            format!("headless: {}{why}", one_line(&path.to_string_lossy(), 120))
        }
        (HealingAgent::Auto, None) => {
            let text = format!("`{name}`: off: auto did not find `{shown}`, so nobody will be asked");
            return found.bad("healing", Level::Warning, text, remedy());
        }
        (HealingAgent::Headless, None) => {
            let text = format!("`{name}`: headless, but `{shown}` is not found: nobody will be asked");
            return found.bad("healing", Level::Missing, text, remedy());
        }
    };
    tree_for(config, unit, healing, &mode, trees, found);
}

/// Whether the tree lets the agent work.
fn tree_for(
    config: &Config,
    unit: &Unit,
    healing: &Healing,
    mode: &str,
    trees: &mut Trees,
    found: &mut Findings,
) {
    let (name, dir) = (&unit.name, unit.dir.display());
    match trees.look(&unit.dir, &config.state_dir, healing.dirty) {
        Tree::Work(Work::Aside(0)) => found.ok("healing", format!("`{name}`: {mode}; the tree is clean")),
        Tree::Work(Work::Forbids(files)) => {
            let text = format!(
                "`{name}`: {mode}; but {dir} has {} with uncommitted work, and dirty = \"refuse\": not now",
                counted(files, "file")
            );
            let remedy = "commit or stash it, or dirty = \"stash\"";
            found.bad("healing", Level::Warning, text, remedy);
        }
        Tree::Work(Work::Aside(files)) => {
            found.ok(
                "healing",
                format!("`{name}`: {mode}; {} of uncommitted work will be stashed", counted(files, "file")),
            );
        }
        Tree::NoRepository => {
            let text = format!(
                "`{name}`: {mode}; but {dir} is in no git repository: edits can't be kept apart or taken back"
            );
            found.bad("healing", Level::Warning, text, format!("git init {dir}, and commit what is there"));
        }
        Tree::Unknown { why } => {
            let text = format!("`{name}`: {mode}; but not now, in {dir}: {}", one_line(&why, 200));
            found.bad("healing", Level::Warning, text, format!("try `git -C {dir} status`"));
        }
    }
}

/// Disk and inotify.
fn machine(config: &Config, units: u64, found: &mut Findings) {
    if let Some(free) = env::free_bytes(&config.state_dir)
        && free < FREE_MIN
    {
        let text = format!("{} MB are free where logs and incidents go", free >> 20);
        found.bad(
            "disk",
            Level::Warning,
            text,
            "make room, lower `log_max_mb`, or set `state_dir` to another disk",
        );
    }
    for (what, least) in
        [("max_user_instances", INSTANCES_MIN), ("max_user_watches", WATCHES_SPARE + 2 * units)]
    {
        let path = format!("/proc/sys/fs/inotify/{what}");
        // Elsewhere than on Linux there is no such file, and logs are looked at with every tick.
        let Some(limit) =
            outside::read_text(Path::new(&path), 64).ok().and_then(|text| text.trim().parse::<u64>().ok())
        else {
            continue;
        };
        if limit < least {
            let text = format!("{what} is {limit}: failures may be seen only with the next tick");
            found.bad(
                "inotify",
                Level::Warning,
                text,
                format!("sysctl -w fs.inotify.{what}={}", least.max(8192)),
            );
        }
    }
}

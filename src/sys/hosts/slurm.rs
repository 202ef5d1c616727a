//! Slurm: `sbatch` orders, one `squeue` tells of all jobs, `sacct` of those that vanished, `scancel` ends.
//!
//! A job carries its run's mark as its comment, so that an order whose answer was lost is found again; its name and
//! `singleton` make Slurm itself run at most one of a unit. The job's name is the only text of a person in an answer, so it
//! is not asked for: it may hold newlines and separators. Source of states and formats: squeue(1), sacct(1) of 22.05.
//!
//! Deliberately not here: when something is ordered.

use super::batch::is_later;
use super::records;
use super::remote::{self, Over, Remotes, Standing};
use crate::base::error::{Error, Result};
use crate::base::time::Wall;
use crate::model::process::{ProcessLaunch, RunId, RunQuery, RunSeen};
use crate::model::seen::Exit;
use crate::sys::clock;
use crate::sys::files::{read_bounded, write_plain};
use std::path::Path;

/// The batch script: our binary (its first argument) where the node has it and the job is one run, so that the exit is
/// written down; else the command itself. No word of it is read by a shell.
const SCRIPT: &str = "#!/bin/sh
[ -n \"$SLURM_ARRAY_JOB_ID\" ] || ! \"$1\" --version >/dev/null 2>&1 || exec \"$1\" shim batch \"$@\"
shift 3
exec \"$@\"
";
/// Its name in the unit's folder.
const SCRIPT_FILE: &str = "run.sh";
/// Largest file that is looked into for `#SBATCH` lines.
const SCRIPT_MAX: u64 = 1 << 20;
/// Fields of one `squeue` row. The comment is ours, and the last.
const FIELDS: &str = "JobArrayID:|,RestartCnt:|,State:|,exit_code:|,StartTime:|,EndTime:|,Reason:|,Comment:|";
/// An order that was not answered may still reach the controller within this time, seconds.
const LATE_S: f64 = 30.0;
/// Processes of a node that Slurm lost are taken for alive while the log changed within this time, seconds.
const SPLIT_S: f64 = 60.0;

/// The state of a job whose node was lost.
const NODE_FAIL: &str = "NODE_FAIL";

/// One row of `squeue`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The job, or the array that it belongs to.
    pub job: u64,
    pub restarts: u64,
    pub state: String,
    pub exit: Option<Exit>,
    pub start: Option<Wall>,
    pub end: Option<Wall>,
    pub reason: String,
    pub comment: String,
}

/// The unit's job name.
pub fn name(state_dir: &Path, unit: &str) -> String {
    let owner: String = records::owner(state_dir).chars().take(8).collect();
    format!("wk-{owner}-{unit}")
}

/// One question for all units.
pub fn question(names: &[String]) -> Vec<String> {
    let names = names.join(",");
    ["squeue", "-h", "-t", "all", "--me", "-n", &names, "-O", FIELDS].map(str::to_owned).to_vec()
}

/// The order of a run. A command that is a batch script itself keeps its `#SBATCH` lines.
pub fn order(
    binary: &Path,
    state_dir: &Path,
    launch: &ProcessLaunch,
    args: &[String],
) -> Result<Vec<String>> {
    let unit = launch.unit.as_str();
    let dir = records::unit_dir(state_dir, unit);
    let script = dir.join(SCRIPT_FILE);
    let mut argv = order_words(&name(state_dir, unit), &records::mark(state_dir, unit, launch.number), args);
    // A `%` begins a pattern in the name of an output.
    let log = dir.join(records::LOG).to_string_lossy().replace('%', "%%");
    argv.extend([format!("--output={log}"), format!("--chdir={}", launch.dir)]);
    let first = launch.argv.first().ok_or_else(|| Error::usage("the process has no command"))?;
    if !is_batch_script(&Path::new(&launch.dir).join(first)) {
        write_plain(&script, SCRIPT.as_bytes())?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        argv.extend([text(&script), text(binary), text(&dir), launch.number.to_string()]);
    }
    argv.extend(launch.argv.iter().cloned());
    Ok(argv)
}

/// Ours come last: the last word counts.
fn order_words(name: &str, mark: &str, args: &[String]) -> Vec<String> {
    let mut argv = vec!["sbatch".to_owned(), "--parsable".to_owned()];
    argv.extend(args.iter().cloned());
    argv.extend([format!("--job-name={name}"), format!("--comment={mark}"), "--open-mode=append".to_owned()]);
    if !args.iter().any(|arg| arg.starts_with("--dep") || (arg.starts_with("-d") && !arg.starts_with("--"))) {
        argv.push("--dependency=singleton".to_owned());
    }
    argv
}

fn is_batch_script(path: &Path) -> bool {
    let Ok(Some(bytes)) = read_bounded(path, SCRIPT_MAX) else { return false };
    bytes.starts_with(b"#!") && bytes.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"#SBATCH"))
}

/// Ends a job, all elements of an array.
pub fn cancel(id: &RunId) -> Result<Vec<String>> {
    let job = id.handle.split('.').next().filter(|job| job.parse::<u64>().is_ok());
    let job = job.ok_or_else(|| Error::again("its job is not known yet"))?;
    Ok(vec!["scancel".to_owned(), job.to_owned()])
}

/// Reads the answer. A row that does not look like one is left out.
pub fn parse(text: &str) -> Vec<Row> {
    text.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [job, restarts, state, code, start, end, reason, comment, ..] = fields.as_slice() else {
        return None;
    };
    // `6`, `6_3`, `6_[1-9]`: elements of an array belong to the array.
    let job = job.split('_').next()?.parse().ok()?;
    Some(Row {
        job,
        restarts: restarts.parse().ok()?,
        state: state.split([' ', '+']).next().unwrap_or_default().to_owned(),
        exit: exit(code),
        start: time(start),
        end: time(end),
        reason: (*reason).to_owned(),
        comment: (*comment).to_owned(),
    })
}

/// `768` as `wait` has it, or `3:0` as status and signal.
fn exit(code: &str) -> Option<Exit> {
    let (status, signal) = match code.split_once(':') {
        Some((status, signal)) => (status.parse().ok()?, signal.parse().ok()?),
        None => {
            let raw: i32 = code.parse().ok()?;
            (raw >> 8 & 0xff, raw & 0x7f)
        }
    };
    Some(if signal != 0 { Exit::Signal(signal) } else { Exit::Status(status) })
}

/// Seconds since 1970 (`SLURM_TIME_FORMAT=%s`).
fn time(text: &str) -> Option<Wall> {
    text.parse::<i64>().ok().filter(|s| *s > 0).map(|s| Wall(s.saturating_mul(1000)))
}

/// What a state means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Waits,
    Runs,
    Suspended,
    Over,
    Strange,
}

fn class(state: &str) -> Class {
    match state {
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_FED" | "REQUEUE_HOLD" | "SPECIAL_EXIT"
        | "RESV_DEL_HOLD" | "POWER_UP_NODE" => Class::Waits,
        "RUNNING" | "COMPLETING" | "RESIZING" | "SIGNALING" | "STAGE_OUT" | "UPDATE_DB" => Class::Runs,
        "SUSPENDED" | "STOPPED" => Class::Suspended,
        "COMPLETED" | "FAILED" | "CANCELLED" | "TIMEOUT" | "NODE_FAIL" | "OUT_OF_MEMORY" | "BOOT_FAIL"
        | "DEADLINE" | "PREEMPTED" | "REVOKED" | "LAUNCH_FAILED" | "RECONFIG_FAIL" => Class::Over,
        _ => Class::Strange,
    }
}

/// How the run of these rows stands (more than one when it is an array); None when there are none.
pub fn stands(rows: &[Row], number: u64) -> Option<RunSeen> {
    let first = rows.first()?;
    let restarts = rows.iter().map(|row| row.restarts).max().unwrap_or(0);
    let id = RunId { number, handle: format!("{}.{restarts}", first.job) };
    let of = |wanted: Class| rows.iter().find(|row| class(&row.state) == wanted);
    if let Some(strange) = of(Class::Strange) {
        return Some(RunSeen::Unknown { why: format!("Slurm calls it `{}`", strange.state) });
    }
    if let Some(row) = of(Class::Runs).or_else(|| of(Class::Suspended)) {
        let suspended = class(&row.state) == Class::Suspended;
        return Some(RunSeen::Alive { id, process: None, since: row.start, suspended });
    }
    if let Some(row) = of(Class::Waits) {
        let why = format!("Slurm: {} ({})", row.state, row.reason);
        let waiting = rows.iter().filter(|row| class(&row.state) == Class::Waits);
        // Of an array some may still begin: then there is no hurry.
        let all: Option<Vec<_>> =
            waiting.map(|row| super::held::held(row.job, &row.state, &row.reason)).collect();
        return Some(RunSeen::Pending { id, why, held: all.and_then(|all| all.into_iter().next()) });
    }
    let bad = rows.iter().find(|row| row.state != "COMPLETED").unwrap_or(first);
    Some(over(id, &bad.state, bad.exit, bad.end, &bad.reason))
}

fn over(id: RunId, state: &str, exit: Option<Exit>, at: Option<Wall>, reason: &str) -> RunSeen {
    let well = state == "COMPLETED";
    RunSeen::Ended {
        id,
        // `0:0` of a job that was ended by Slurm is no success.
        exit: exit.filter(|exit| well || *exit != Exit::Status(0)),
        out_of_memory: state == "OUT_OF_MEMORY",
        at,
        note: match (state, reason) {
            ("COMPLETED" | "FAILED", _) => None,
            (_, "None" | "" | "(null)") => Some(state.to_owned()),
            (_, reason) => Some(format!("{state} ({reason})")),
        },
    }
}

/// How the run stands, by the last answer.
pub fn judge(remotes: &mut Remotes, state_dir: &Path, query: &RunQuery, answer: &Over) -> RunSeen {
    let (unit, rows) = (query.unit.as_str(), parse(&answer.output));
    let number = match query.known.number {
        0 => latest(&rows, &records::mark(state_dir, unit, 0)),
        number => number,
    };
    let mark = records::mark(state_dir, unit, number);
    let rows: Vec<Row> = rows.into_iter().filter(|row| row.comment == mark).collect();
    match stands(&rows, number).map(|seen| told_by_itself(seen, state_dir, unit)) {
        Some(seen) if is_split(&seen, state_dir, unit) => RunSeen::Unknown {
            why: "Slurm lost its node, but its log still grows: its processes live".to_owned(),
        },
        Some(seen) => seen,
        None => unlisted(remotes, state_dir, query, answer),
    }
}

/// The latest run of a unit, though nothing of it is remembered: of those that are not over, if there is one; 0 = there is
/// none. `none` = the mark of that.
fn latest(rows: &[Row], none: &str) -> u64 {
    let prefix = none.strip_suffix('0').unwrap_or(none);
    let run = |row: &Row| {
        Some((class(&row.state) != Class::Over, row.comment.strip_prefix(prefix)?.parse::<u64>().ok()?))
    };
    rows.iter().filter_map(run).max().map_or(0, |(_, number)| number)
}

/// Slurm lost its node, but the program itself came to its end there and said how.
fn told_by_itself(seen: RunSeen, state_dir: &Path, unit: &str) -> RunSeen {
    let RunSeen::Ended { id, note: Some(note), .. } = &seen else { return seen };
    if !note.starts_with(NODE_FAIL) {
        return seen;
    }
    let fact = records::exit(&records::unit_dir(state_dir, unit), id.number);
    match fact.filter(|fact| fact.handle == id.handle) {
        Some(fact) => RunSeen::Ended {
            id: id.clone(),
            exit: fact.exit(),
            out_of_memory: false,
            at: Some(fact.at),
            note: Some(format!("Slurm had lost its node: {note}")),
        },
        None => seen,
    }
}

/// Slurm gave it up, and it writes on.
fn is_split(seen: &RunSeen, state_dir: &Path, unit: &str) -> bool {
    let RunSeen::Ended { note: Some(note), .. } = seen else { return false };
    let log = records::unit_dir(state_dir, unit).join(records::LOG);
    let changed = std::fs::metadata(log).and_then(|meta| meta.modified()).map(clock::from_system);
    note.starts_with(NODE_FAIL) && changed.is_ok_and(|at| clock::wall().since_s(at).abs() < SPLIT_S)
}

/// `squeue` does not list it: not yet, never, or no more.
fn unlisted(remotes: &mut Remotes, state_dir: &Path, query: &RunQuery, answer: &Over) -> RunSeen {
    let (unit, number) = (query.unit.as_str(), query.known.number);
    let id = RunId { number, ..query.known.clone() };
    let job_of = |handle: &str| handle.split('.').next().and_then(|job| job.parse::<u64>().ok());
    let asked_since = |at: Wall, seconds: f64| answer.asked.since_s(at) > seconds;
    match remote::order_of(state_dir, unit, number) {
        Standing::Running { .. } => pending(id, "`sbatch` is under way"),
        Standing::Over(order) => match (&order.failed, order.output.split([';', '\n']).next()) {
            (None, Some(job)) if asked_since(order.ended, 0.0) => match job.trim().parse() {
                Ok(job) => vanished(remotes, state_dir, unit, id, job),
                Err(_) => RunSeen::Unknown { why: "`sbatch` said nothing that could be read".to_owned() },
            },
            (Some(_), _) if asked_since(order.ended, late_s(&order)) => RunSeen::Ended {
                id,
                exit: None,
                out_of_memory: false,
                at: Some(order.ended),
                note: Some(format!("it could not be submitted: {}", remote::words(&order))),
            },
            (Some(_) | None, _) => {
                RunSeen::Unknown { why: "`squeue` was not asked since the order".to_owned() }
            }
        },
        Standing::Never => match job_of(&query.known.handle) {
            Some(job) => vanished(remotes, state_dir, unit, id, job),
            None => RunSeen::Absent,
        },
    }
}

fn pending(id: RunId, why: &str) -> RunSeen {
    RunSeen::Pending { id, why: why.to_owned(), held: None }
}

/// How long a failed order may still be carried out. A refusal is final at once.
fn late_s(order: &Over) -> f64 {
    let refused = order.errors.contains("Batch job submission failed") && !order.errors.contains("timed out");
    if refused { 0.0 } else { LATE_S }
}

/// It was there and is not listed any more: perhaps accounting knows.
fn vanished(remotes: &mut Remotes, state_dir: &Path, unit: &str, id: RunId, job: u64) -> RunSeen {
    let ask = remote::question(
        &format!("host-sacct-{job}"),
        ["sacct", "-X", "-n", "-P", "-j", &job.to_string(), "--format=JobIDRaw,State,ExitCode,End"]
            .map(str::to_owned)
            .to_vec(),
        &[("SLURM_TIME_FORMAT", "%s")],
    );
    let id = if id.handle.is_empty() { RunId { handle: format!("{job}.0"), ..id } } else { id };
    match remotes.ask(state_dir, &ask, &|_| true) {
        Err(why) => RunSeen::Unknown { why },
        Ok(answer) => accounted(&answer.output, id, &records::unit_dir(state_dir, unit)),
    }
}

/// Reads `sacct`; an empty answer is no wonder where nothing is accounted. Then the exit that was written down on the job's
/// node tells.
fn accounted(text: &str, id: RunId, dir: &Path) -> RunSeen {
    let Some(line) = text.lines().rfind(|line| line.matches('|').count() >= 3) else {
        // A later life, too: it was requeued while nobody looked.
        let is_its =
            |fact: &records::ExitFact| fact.handle == id.handle || is_later(&fact.handle, &id.handle);
        return match records::exit(dir, id.number).filter(is_its) {
            Some(fact) => RunSeen::Ended {
                id: RunId { handle: fact.handle.clone(), ..id },
                exit: fact.exit(),
                out_of_memory: false,
                at: Some(fact.at),
                note: fact.note,
            },
            None => RunSeen::vanished(id),
        };
    };
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let field = |n: usize| fields.get(n).copied().unwrap_or_default();
    // `CANCELLED by 0`
    let state = field(1).split([' ', '+']).next().unwrap_or_default();
    match class(state) {
        Class::Over => over(id, state, exit(field(2)), time(field(3)), ""),
        Class::Waits | Class::Runs | Class::Suspended | Class::Strange => {
            RunSeen::Unknown { why: format!("`sacct` says {state}, `squeue` does not list it") }
        }
    }
}

#[cfg(test)]
#[path = "slurm_tests.rs"]
mod tests;

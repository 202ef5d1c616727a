//! What the watchdog sees of the machine and does to it. What it must never do is noticed here, where it happens.

use super::machine::{Body, Effect, End, Machine, Mood};
use crate::files::Disk;
use crate::ops::{Ops, Step};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use watchkeeper::base::names::UnitName;
use watchkeeper::base::time::{Awake, Now};
use watchkeeper::config::{Config, DetectorKind, ProcessUnit, RuleAction};
use watchkeeper::model::action::{Action, Outcome, Signal};
use watchkeeper::model::process::{HostPlace, ProcessLaunch, RunId, RunQuery, RunSeen};
use watchkeeper::model::seen::{BranchFacts, HostSeen, JobSeen, Process, ServerSeen, TranscriptSeen, Vote};
use watchkeeper::sys::follow::Log;
use watchkeeper::sys::git::BranchQuery;
use watchkeeper::sys::{Host, PaneList};

/// The clocks of a tick and of its effects are a little apart.
const TRIFLE_MS: i64 = 100;
/// An end is being written down for this long.
const WRITING_MS: i64 = 60;
/// CPU must be known to be idle for that share of a stall's limit, or so long.
const CPU_SHARE: f64 = 0.25;
const CPU_MS: f64 = 60_000.0;
/// An approval is for what stands, and that may be for long.
const APPROVED_MS: i64 = 3_600_000;

#[derive(Clone, Debug)]
pub struct ProcessHost {
    pub machine: Rc<RefCell<Machine>>,
    pub disk: Rc<RefCell<Disk>>,
    pub ops: Rc<Ops>,
    pub config: Rc<Config>,
    /// When a person approved something of a unit last.
    pub approved: Rc<RefCell<BTreeMap<String, i64>>>,
}

impl Host for ProcessHost {
    fn now(&mut self) -> Now {
        let machine = self.machine.borrow();
        Now {
            wall: machine.local(),
            awake_s: Awake(machine.awake()),
            boot: format!("boot-{}", machine.boot),
            zone: "UTC".into(),
        }
    }

    fn panes(&mut self) -> PaneList {
        PaneList { server: ServerSeen::Absent, rows: Vec::new(), buffers: Vec::new() }
    }

    fn capture(&mut self, _: &[String]) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn process_start(&mut self, pid: i32) -> Option<u64> {
        self.machine.borrow().by_pid(pid).map(|(_, body)| body.process.start)
    }

    fn process_tree(&mut self, pid: i32) -> Vec<Process> {
        self.machine.borrow().by_pid(pid).map(|(_, body)| body.process).into_iter().collect()
    }

    fn tools_cpu_ms(&mut self, _: i32, _: &[String]) -> Option<u64> {
        None
    }

    fn tree_cpu_ms(&mut self, pid: i32) -> Option<u64> {
        let machine = &mut *self.machine.borrow_mut();
        let name = machine.by_pid(pid).map(|(name, _)| name.clone())?;
        super::script::accrue(machine, &name);
        machine.living(&name).map(|body| body.cpu_ms)
    }

    fn vote(&mut self, _: &str, _: i32) -> Option<Vote> {
        None
    }

    fn transcript(&mut self, _: &str, _: &str, _: i32, _: &str) -> Option<TranscriptSeen> {
        None
    }

    fn tip(&mut self, _: &Path, _: &str, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }

    fn branch(&mut self, _: &BranchQuery) -> Result<BranchFacts, String> {
        Err("there is no plan here".into())
    }

    fn job(&mut self, id: &str) -> JobSeen {
        if self.ops.step() != Step::Works {
            return JobSeen::None;
        }
        let mut machine = self.machine.borrow_mut();
        machine.end_jobs();
        let job = machine.jobs.get(id);
        job.map_or(JobSeen::None, |job| job.ended.clone().unwrap_or(JobSeen::Running))
    }

    fn prune_jobs(&mut self, keep: &BTreeSet<String>) {
        if self.ops.step() == Step::Works {
            let mut machine = self.machine.borrow_mut();
            machine.jobs.retain(|id, job| keep.contains(id) || job.ended.is_none());
        }
    }

    fn runs(&mut self, queries: &[RunQuery]) -> Vec<RunSeen> {
        let works = self.ops.step() == Step::Works;
        let machine = &mut *self.machine.borrow_mut();
        let silent = !works || machine.t < machine.silent_until;
        let mut look = |query: &RunQuery| {
            if silent || machine.rng.chance(machine.faults.unknowns) {
                return RunSeen::Unknown { why: "its lock can't be asked (simulated)".into() };
            }
            seen(machine, query)
        };
        queries.iter().map(&mut look).collect()
    }

    fn log_of(&mut self, unit: &UnitName, _: &HostPlace, _: Option<&Path>) -> Option<Log> {
        Some(Log { path: self.machine.borrow().log(unit.as_str()), own: None })
    }

    fn part_of(&mut self, path: &Path, offset: u64, max: usize) -> Result<Option<(Vec<u8>, u64)>, String> {
        let Ok(relative) = path.strip_prefix(super::fleet::STATE_DIR) else { return Ok(None) };
        let bytes = std::fs::read(self.machine.borrow().dir.path().join(relative));
        let Ok(bytes) = bytes else { return Ok(None) };
        let from = bytes.len().min(offset as usize);
        let part = bytes[from..bytes.len().min(from + max)].to_vec();
        Ok(Some((part, bytes.len() as u64)))
    }

    fn pressure(&mut self) -> HostSeen {
        HostSeen::default()
    }

    fn perform(&mut self, action: &Action) -> Outcome {
        let failed = |why: &str| Outcome::Failed { why: why.to_owned() };
        let step = self.ops.step();
        if matches!(step, Step::Dead | Step::DiesBefore) {
            // Paid for and lost. A lost TERM is followed by its KILL.
            if let Action::Signal { processes, .. } = action {
                let machine = &mut *self.machine.borrow_mut();
                let t = machine.t;
                machine.termed.extend(processes.iter().map(|p| ((p.pid, p.start), t)));
            }
            return failed("killed (simulated)");
        }
        let machine = &mut *self.machine.borrow_mut();
        let unit = unit_of(machine, action);
        check(machine, &self.disk.borrow(), &self.config, &self.approved.borrow(), action, &unit);
        let may_fail = !matches!(action, Action::Signal { .. });
        let lost = may_fail && machine.rng.chance(machine.faults.act_fails);
        let lies = may_fail && machine.rng.chance(machine.faults.act_lies);
        let outcome = match action {
            _ if lost => Err("timed out (simulated)".to_owned()),
            Action::WriteFile { unit, text, .. } => {
                super::interactive::ask(&mut self.disk.borrow_mut(), unit, text)
            }
            _ => effect(machine, action),
        };
        let happened = outcome.is_ok();
        let what = word(action);
        let words = if happened { String::new() } else { format!(" FAILS {outcome:?}") };
        machine.tell(format!("{unit}: ACT {what}{words}"));
        let number = match action {
            Action::Run { launch } => launch.number,
            _ => 0,
        };
        machine.effects.push(Effect { unit, what, number, happened });
        match outcome {
            Ok(()) if step == Step::DiesAfter => failed("killed (simulated)"),
            Ok(()) if lies => failed("no answer (simulated), but it happened"),
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Failed { why },
        }
    }
}

/// How a run stands, as its host says.
fn seen(machine: &Machine, query: &RunQuery) -> RunSeen {
    let Some(unit) = machine.units.get(query.unit.as_str()) else { return RunSeen::Absent };
    if unit.remote {
        return super::remote::seen(machine, unit);
    }
    let id = |number: u64, handle: &str| RunId { number, handle: handle.to_owned() };
    match (&unit.body, unit.last_end()) {
        (Some(body), _) if machine.t < body.born => {
            RunSeen::Pending { id: id(body.number, ""), why: "its start is under way".into(), held: None }
        }
        (Some(body), _) => RunSeen::Alive {
            id: id(body.number, &body.handle),
            process: Some(body.process),
            since: Some(body.since),
            suspended: false,
        },
        (None, _) if unit.unborn => RunSeen::Ended {
            id: id(unit.ordered, ""),
            exit: None,
            out_of_memory: false,
            at: None,
            note: Some("the start did not happen: the shim was killed before it".into()),
        },
        (None, Some(end)) if machine.t - end.at < WRITING_MS && !end.unseen => {
            RunSeen::Unknown { why: "its end is being written down".into() }
        }
        (None, Some(end)) => RunSeen::Ended {
            id: id(end.number, &end.handle),
            exit: end.exit,
            out_of_memory: false,
            at: end.wall,
            note: end.note.clone(),
        },
        (None, None) => RunSeen::Absent,
    }
}

fn word(action: &Action) -> &'static str {
    match action {
        Action::Run { .. } => "run",
        Action::Signal { signal: Signal::Term, .. } => "TERM",
        Action::Signal { signal: Signal::Kill, .. } => "KILL",
        Action::RunJob { .. } => "job",
        Action::CancelRun { .. } => "cancel",
        Action::WriteFile { .. } => "write",
        Action::NewSession { .. }
        | Action::Respawn { .. }
        | Action::Adopt { .. }
        | Action::LoadBuffer { .. }
        | Action::Paste { .. }
        | Action::DropBuffer { .. }
        | Action::Keys { .. }
        | Action::LeaveMode { .. }
        | Action::KillSession { .. }
        | Action::Mark { .. }
        | Action::Unmark { .. } => "tmux",
    }
}

/// Whom an action is about.
fn unit_of(machine: &Machine, action: &Action) -> String {
    match action {
        Action::Run { launch } => launch.unit.to_string(),
        Action::RunJob { job } => job.id.split('.').next().unwrap_or_default().to_owned(),
        Action::WriteFile { unit, .. } | Action::CancelRun { unit, .. } => unit.to_string(),
        Action::Signal { processes, .. } => {
            let found = processes.iter().find_map(|p| {
                machine.by_pid(p.pid).filter(|(_, body)| body.process == *p).map(|(name, _)| name.clone())
            });
            found.unwrap_or_else(|| "gone processes".into())
        }
        Action::NewSession { .. }
        | Action::Respawn { .. }
        | Action::Adopt { .. }
        | Action::LoadBuffer { .. }
        | Action::Paste { .. }
        | Action::DropBuffer { .. }
        | Action::Keys { .. }
        | Action::LeaveMode { .. }
        | Action::KillSession { .. }
        | Action::Mark { .. }
        | Action::Unmark { .. } => "tmux".to_owned(),
    }
}

/// What must hold whenever the machine is touched.
fn check(
    machine: &mut Machine,
    disk: &Disk,
    config: &Config,
    approved: &BTreeMap<String, i64>,
    action: &Action,
    unit: &str,
) {
    let what = word(action);
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let mut bad = |invariant, detail: String| found.push((invariant, format!("{what} on {unit}: {detail}")));
    let record = disk.json(&format!("units/{unit}/unit.json")).unwrap_or_default();
    let acts = record["acts"].as_u64().unwrap_or(0);
    if let Some(truth) = machine.units.get_mut(unit) {
        if disk.destroyed.contains(&format!("units/{unit}/unit.json")) {
            truth.acts = 0;
        }
        if acts <= truth.acts {
            bad("commit-before-act", format!("unit.json says acts = {acts}, paid before: {}", truth.acts));
        }
        truth.acts = acts;
    }
    if machine.effects.iter().any(|effect| effect.unit == unit) {
        bad("one-act-per-unit", "a second effect in one tick".into());
    }
    match action {
        Action::Run { launch } => {
            let judged = record["process"]["run"]["judged"].as_u64().unwrap_or(0);
            for (invariant, detail) in bad_start(machine, config, launch, judged) {
                bad(invariant, detail);
            }
        }
        Action::Signal { processes, signal } => {
            let process = config.units.get(unit).and_then(|unit| unit.process());
            let approved = approved.get(unit).is_some_and(|at| machine.t - at < APPROVED_MS);
            let by_person = matches!(record["ending"]["cause"].as_str(), Some("down" | "ordered"));
            if let (Some(process), Some(body)) = (process, machine.living(unit))
                && !approved
                && !by_person
                && *signal == Signal::Term
                && let Some(why) = is_healthy(machine, unit, process, body)
            {
                bad("healthy-ended", why);
            }
            let grace = config.units.get(unit).map_or(0.0, |unit| unit.ladder.grace_s);
            let alive = processes.iter().filter(|p| machine.by_pid(p.pid).is_some());
            for process in alive.filter(|_| *signal == Signal::Kill) {
                let termed = machine.termed.get(&(process.pid, process.start));
                if termed.is_none_or(|at| ((machine.t - at) as f64) < grace * 1000.0) {
                    bad("grace", format!("KILL to {} without TERM and {grace} s of grace", process.pid));
                }
            }
        }
        Action::RunJob { .. } | Action::WriteFile { .. } => {}
        Action::CancelRun { id, .. } => {
            let process = config.units.get(unit).and_then(|unit| unit.process());
            let approved = approved.get(unit).is_some_and(|at| machine.t - at < APPROVED_MS);
            let by_person = matches!(record["ending"]["cause"].as_str(), Some("down" | "ordered"));
            if let (Some(process), Some(body)) = (process, machine.living(unit))
                && !approved
                && !by_person
                && let Some(why) = is_healthy(machine, unit, process, body)
            {
                bad("healthy-ended", why);
            }
            let truth = machine.units.get(unit);
            if !truth.is_some_and(|truth| truth.remote && truth.ordered == id.number) {
                bad("foreign", format!("{id:?} is not its job"));
            }
        }
        Action::NewSession { .. }
        | Action::Respawn { .. }
        | Action::Adopt { .. }
        | Action::LoadBuffer { .. }
        | Action::Paste { .. }
        | Action::DropBuffer { .. }
        | Action::Keys { .. }
        | Action::LeaveMode { .. }
        | Action::KillSession { .. }
        | Action::Mark { .. }
        | Action::Unmark { .. } => {
            bad("foreign", "it has nothing to do with processes of this machine".into());
        }
    }
    for (invariant, detail) in found {
        machine.violate(invariant, detail);
    }
}

/// Two children, a run that nobody judged, a start before its time, an environment that was forgotten.
fn bad_start(
    machine: &Machine,
    config: &Config,
    launch: &ProcessLaunch,
    judged: u64,
) -> Vec<(&'static str, String)> {
    let name = launch.unit.as_str();
    let Some(unit) = machine.units.get(name) else { return Vec::new() };
    let mut bad = Vec::new();
    let again = launch.number == unit.ordered;
    if let Some(queued) = unit.queued.as_ref().filter(|queued| queued.number != launch.number) {
        let text =
            format!("job {} of run {} waits, and {} is started", queued.job, queued.number, launch.number);
        bad.push(("double-start", text));
    }
    if let Some(body) = unit.body.as_ref().filter(|body| body.number != launch.number) {
        bad.push(("double-start", format!("run {} is alive, and {} is started", body.number, launch.number)));
    }
    if let Some(end) = unit.ends.iter().find(|end| end.number > judged && end.number < launch.number) {
        let text = format!("run {} is started, and the end of {} was not judged", launch.number, end.number);
        bad.push(("run-lost", text));
    }
    let process = config.units.get(&launch.unit).and_then(|unit| unit.process());
    for before in process.iter().flat_map(|process| &process.after).filter(|_| !again) {
        let Some(first) = machine.units.get(before.as_str()) else { continue };
        let well = first.body.is_none() && first.last_end().is_some_and(End::is_well);
        if !well {
            bad.push(("after", format!("`{before}` has not ended well")));
        }
    }
    if let (Some(old), Some(new)) = (batch(&unit.env), batch(&launch.env))
        && new > old
    {
        bad.push(("overlay", format!("BATCH was {old} in the last run, and is {new} now")));
    }
    bad
}

/// The batch that a run has.
pub fn batch(env: &BTreeMap<String, String>) -> Option<i64> {
    env.get("BATCH")?.parse().ok()
}

/// Why this process must not be ended, if so: it works, for all that can be seen.
fn is_healthy(machine: &Machine, name: &str, process: &ProcessUnit, body: &Body) -> Option<String> {
    let t = machine.t;
    let ms = |seconds: f64| (seconds * 1000.0) as i64;
    if process.deadline_s.is_some_and(|deadline| t - body.born + TRIFLE_MS >= ms(deadline)) {
        return None;
    }
    let ends = |detector: &str| {
        process.rules.iter().any(|rule| {
            rule.matching.detector.as_deref() == Some(detector)
                && !matches!(rule.action, RuleAction::Command { .. } | RuleAction::Agent)
        })
    };
    let unit = machine.units.get(name)?;
    if unit.said.iter().any(|said| said.number == body.number && ends(said.detector)) {
        return None;
    }
    let mut best = format!("run {} works ({:?})", body.number, body.mood);
    for detector in &process.detectors {
        let DetectorKind::Stall { metric, no_progress_s } = &detector.kind else { continue };
        let limit = ms(*no_progress_s) - TRIFLE_MS;
        let own = t - if metric.is_some() { body.advanced_at } else { body.wrote_at };
        let silent = t - body.wrote_at;
        let idle = t - if body.mood == Mood::Works { t } else { body.cpu_at };
        let quiet = idle as f64 + TRIFLE_MS as f64 >= (no_progress_s * CPU_SHARE * 1000.0).min(CPU_MS);
        let second = (metric.is_some() && silent >= limit) || quiet;
        if own >= limit && second {
            return None;
        }
        best = format!(
            "run {} ({:?}): {} stands for {} s of {no_progress_s} s, output for {} s, CPU for {} s",
            body.number,
            body.mood,
            detector.name,
            own / 1000,
            silent / 1000,
            idle / 1000
        );
    }
    Some(best)
}

/// What the machine makes of it.
fn effect(machine: &mut Machine, action: &Action) -> Result<(), String> {
    match action {
        Action::Run { launch } => {
            let name = launch.unit.as_str();
            let Some(unit) = machine.units.get(name) else { return Err("no such unit".into()) };
            if unit.ordered == launch.number && !unit.unborn {
                return Ok(());
            }
            if unit.ordered > launch.number || unit.body.is_some() || unit.queued.is_some() {
                return Err(format!("run {} is not over", unit.ordered));
            }
            machine.launch(name, launch.number, &launch.env);
        }
        Action::Signal { processes, signal } => {
            let t = machine.t;
            for process in processes {
                if *signal == Signal::Term {
                    machine.termed.insert((process.pid, process.start), t);
                }
                machine.signal(*process, *signal == Signal::Kill);
            }
        }
        Action::RunJob { job } => machine.start_job(job),
        Action::CancelRun { unit, .. } => return machine.cancel(unit.as_str()),
        Action::WriteFile { .. }
        | Action::NewSession { .. }
        | Action::Respawn { .. }
        | Action::Adopt { .. }
        | Action::LoadBuffer { .. }
        | Action::Paste { .. }
        | Action::DropBuffer { .. }
        | Action::Keys { .. }
        | Action::LeaveMode { .. }
        | Action::KillSession { .. }
        | Action::Mark { .. }
        | Action::Unmark { .. } => {}
    }
    Ok(())
}

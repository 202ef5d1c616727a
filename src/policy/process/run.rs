//! The run itself: which one is meant, whether it is to be started, what its end means for that. A start is recorded with its
//! number before it happens, and the host starts each number once.
//!
//! Deliberately not here: which remedy follows a failure (`failure`).

use super::super::belief;
use super::super::context::UnitContext;
use super::super::launch::phase_in_force;
use super::super::proposal::{Claim, EventKind, Notes, Origin, Proposal, Proposals, Reason, What};
use super::{choice, code, failure, orphans, record};
use crate::base::time::human_s;
use crate::config::{Lifecycle, ProcessHost, ProcessUnit, Watch};
use crate::model::action::Action;
use crate::model::finding::{Finding, FindingKind};
use crate::model::process::{HostLaunch, ProcessLaunch, RunSeen};
use crate::model::seen::{Exit, ScreenState};
use crate::state::attempts::Status;
use crate::state::mail::Level;
use crate::state::process::{HeldSince, RemedyStep, Standing};
use crate::state::unit::UnitState;

/// An ordered start that is not seen is ordered again after this long, seconds: the host starts each number once.
const AGAIN_S: f64 = 5.0;
/// Longest between two tries of a start that the host refuses, seconds.
const REFUSED_MAX_S: f64 = 300.0;
/// Refusals in a row that people hear of.
const REFUSED_TOLD: u32 = 3;
/// Looks at which an ended run's log may still grow before its end is judged all the same.
const DRAIN_LOOKS: u32 = 20;

/// Which run is this, and is it at work?
pub(super) fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let Some(seen) = context.run() else { return };
    if let Some(why) = &context.seen.failed
        && state.process.run.since_awake_s.is_none()
    {
        refused(context, state, why);
    }
    held(context, state, seen);
    match seen {
        RunSeen::Unknown { .. } => {}
        RunSeen::Absent => state.process.run.since_awake_s = None,
        RunSeen::Pending { id, .. } => {
            adopt(context, state, id.number, &id.handle, notes);
            state.process.run.since_awake_s = None;
        }
        RunSeen::Alive { id, since, .. } => {
            adopt(context, state, id.number, &id.handle, notes);
            let run = &mut state.process.run;
            (run.refused, run.draining) = (0, 0);
            state.operator.start = false;
            if run.since_awake_s.is_none() {
                run.told = None;
                run.since_awake_s =
                    Some(since_awake(context, *since).max(run.ordered_awake_s.unwrap_or_default()));
                run.since = Some(since.unwrap_or(context.now.wall));
                run.ended_awake_s = None;
            }
        }
        RunSeen::Ended { id, .. } => adopt(context, state, id.number, &id.handle, notes),
    }
}

/// Since when it waits for somebody to do something on its host. What could not be asked changes nothing.
fn held(context: &UnitContext<'_>, state: &mut UnitState, seen: &RunSeen) {
    let (remembered, now) = (&mut state.process.run.held, context.now.awake_s);
    match seen {
        RunSeen::Unknown { .. } => {}
        RunSeen::Pending { held: Some(held), .. } => match remembered {
            Some(remembered) if remembered.held == *held => {}
            Some(_) | None => *remembered = Some(HeldSince { held: held.clone(), since_awake_s: now }),
        },
        RunSeen::Absent
        | RunSeen::Pending { held: None, .. }
        | RunSeen::Alive { .. }
        | RunSeen::Ended { .. } => {
            *remembered = None;
        }
    }
}

/// When it began, on the awake clock: as far back as the host's word goes, for a deadline must not begin anew with us. That is
/// wall time, which somebody may have set: what was ordered by us did not begin before that.
fn since_awake(
    context: &UnitContext<'_>,
    since: Option<crate::base::time::Wall>,
) -> crate::base::time::Awake {
    let ago = since.map_or(0.0, |since| context.now.wall.since_s(since)).max(0.0);
    let now = context.now.awake_s;
    let began = now.plus_s(-ago);
    if began.0 < 0 { Default::default() } else { began }
}

/// A run with a later number than is remembered: the state was lost, or put back. It is ours all the same.
fn adopt(context: &UnitContext<'_>, state: &mut UnitState, number: u64, handle: &str, notes: &mut Notes) {
    let is_attached =
        context.unit.process().is_some_and(|unit| matches!(unit.host, ProcessHost::Attach { .. }));
    let run = &mut state.process.run;
    if number > run.number {
        if run.number > 0 || number > 0 && run.ordered_awake_s.is_none() && number > 1 {
            let text = format!("run {number} is there, and run {} was the last one remembered", run.number);
            notes.event(context.now.wall, Some(context.name), EventKind::State, text);
        }
        run.number = number;
        run.since_awake_s = None;
        // Nothing of what is remembered is about this run.
        (run.since, run.ordered_awake_s) = (None, None);
        if !is_attached {
            // Attempts of the time that is forgotten stand in the ledger: no number of theirs comes again.
            let past = u64::try_from(context.now.wall.0).unwrap_or_default();
            state.incident.attempts = state.incident.attempts.max(past);
        }
        state.launch.count = state.launch.count.max(number);
    }
    if number == run.number && !handle.is_empty() && run.handle != handle {
        // A requeued job is the same start with another life.
        if !run.handle.is_empty() {
            run.since_awake_s = None;
        }
        run.handle = handle.to_owned();
    }
}

fn refused(context: &UnitContext<'_>, state: &mut UnitState, why: &str) {
    let run = &mut state.process.run;
    run.refused = run.refused.saturating_add(1);
    if run.refused == REFUSED_TOLD {
        let text = format!("`{}` can't be started: {why}; it is tried again", context.name);
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    }
}

/// What a start waits for and a person must bring is told once.
pub(super) fn holds(context: &UnitContext<'_>, unit: &ProcessUnit, state: &mut UnitState) {
    let missing = context.seen.process.as_ref().map(|seen| seen.missing.join(", ")).unwrap_or_default();
    let due = context.is_wanted()
        && context.is_gone()
        && state.ending.is_none()
        && kind(unit, context, state).is_some_and(|kind| kind != Kind::Again)
        && context.gate(state, Watch::None).is_none()
        && waits(context, unit).is_ok();
    if missing.is_empty() || !due || matches!(unit.host, ProcessHost::Attach { .. }) {
        return;
    }
    let why = format!("it needs what is not there: {missing}");
    if state.process.run.told.as_ref() != Some(&why) {
        let text = format!("`{}` is not started: {why}", context.name);
        state.process.run.told = Some(why);
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    }
}

/// Why the start that we ordered here never became a process, if that is so: the shim was killed before it, or could not
/// do it. (A program that can't be run is an end like others.)
fn never_began<'a>(context: &UnitContext<'a>, state: &UnitState) -> Option<&'a str> {
    let run = &state.process.run;
    let is_local = context.unit.process().is_some_and(|unit| unit.host == ProcessHost::Local);
    let ours = is_local && run.ordered_awake_s.is_some() && run.handle.is_empty() && run.judged < run.number;
    match context.run() {
        Some(RunSeen::Ended { id, exit: None, note, .. })
            if ours && id.number == run.number && id.handle.is_empty() =>
        {
            Some(note.as_deref().unwrap_or_default())
        }
        Some(
            RunSeen::Ended { .. }
            | RunSeen::Absent
            | RunSeen::Unknown { .. }
            | RunSeen::Pending { .. }
            | RunSeen::Alive { .. },
        )
        | None => None,
    }
}

/// A run that was ordered and that its host does not know yet.
fn is_unstarted(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let run = &state.process.run;
    match context.run() {
        Some(RunSeen::Ended { id, .. }) => id.number < run.number || never_began(context, state).is_some(),
        // Never seen at all: its start did not happen.
        Some(RunSeen::Absent) => run.number > 0 && run.judged < run.number && run.handle.is_empty(),
        Some(RunSeen::Unknown { .. } | RunSeen::Pending { .. } | RunSeen::Alive { .. }) | None => false,
    }
}

/// Its end in words.
pub(super) fn end_words(seen: &RunSeen) -> String {
    let RunSeen::Ended { exit, out_of_memory, note, .. } = seen else {
        return "it is gone; nobody knows how it ended".to_owned();
    };
    let mut words = exit.map_or_else(|| "it ended; nobody knows how".to_owned(), belief::describe);
    if *out_of_memory {
        words.push_str(", for it used too much memory");
    }
    if let Some(note) = note.as_ref().filter(|note| !note.is_empty()) {
        words.push_str(&format!(" ({note})"));
    }
    words
}

/// Judges an end, once for each run, when everything that it wrote was read.
pub(super) fn ended(context: &UnitContext<'_>, unit: &ProcessUnit, state: &mut UnitState, notes: &mut Notes) {
    if never_began(context, state).is_some() {
        return;
    }
    let run = &mut state.process.run;
    if run.judged >= run.number {
        return;
    }
    let exit = match context.run() {
        Some(RunSeen::Ended { id, exit, .. }) if id.number == run.number => *exit,
        // It was seen, and its host knows it no more.
        Some(RunSeen::Absent) if !run.handle.is_empty() => None,
        Some(
            RunSeen::Unknown { .. }
            | RunSeen::Absent
            | RunSeen::Pending { .. }
            | RunSeen::Alive { .. }
            | RunSeen::Ended { .. },
        )
        | None => return,
    };
    let unread = context.seen.process.as_ref().is_some_and(|seen| match unit.host {
        // Its run was looked at before its log: all that it wrote was there.
        ProcessHost::Local | ProcessHost::Attach { .. } => seen.log.again_s.is_some_and(|again| again <= 0.0),
        ProcessHost::Slurm { .. } | ProcessHost::Docker { .. } => seen.log.grew,
    });
    if unread && run.draining < DRAIN_LOOKS {
        run.draining += 1;
        return notes.due_in(0.05);
    }
    run.judged = run.number;
    (run.draining, run.stuck) = (0, None);
    run.since_awake_s = None;
    run.ended_awake_s = Some(context.now.awake_s);
    let words = context.run().map(end_words).unwrap_or_default();
    let text = format!("run {} is over: {words}", run.number);
    notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    let ordered =
        state.ending.is_some() || context.before.units.get(context.name).is_some_and(|b| b.ending.is_some());
    if ordered {
        return; // We ended it, for its deadline or otherwise: its status says nothing about itself.
    }
    let attached = matches!(unit.host, ProcessHost::Attach { .. });
    let run = &state.process.run;
    let known = attached || run.ordered_awake_s.is_some() || run.since.is_some();
    let number = run.number;
    if !known && exit != Some(Exit::Status(0)) {
        let why = format!("run {number} ended while nothing is remembered of it");
        return unknown(context, unit, state, end_finding(unit, exit, words), why, notes);
    }
    if context.run().is_some_and(RunSeen::is_vanished) {
        let why = format!("run {number} is over, and nobody knows how it ended");
        return unknown(context, unit, state, end_finding(unit, exit, words), why, notes);
    }
    judge(context, unit, state, exit, words, notes);
}

/// An end of which too little is known to say what comes next: a person says.
fn unknown(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    finding: Finding,
    why: String,
    notes: &mut Notes,
) {
    record::record(context, unit, state, finding, notes);
    let text = format!("`{0}` stays down: {why}; `watchkeeper approve {0}` lets it go on", context.name);
    state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    state.process.run.standing = Standing::Paused { why };
}

fn judge(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    exit: Option<Exit>,
    words: String,
    notes: &mut Notes,
) {
    let well = exit == Some(Exit::Status(0));
    let attached = matches!(unit.host, ProcessHost::Attach { .. });
    if well {
        super::verify::finished(context, state);
        if !(unit.lifecycle == Lifecycle::RestartAlways || attached) {
            state.process.run.standing = Standing::Finished { well: true };
            super::verify::dropped(context, state, Status::Kept, "it ended well by itself");
        }
        if failure::reports_any_end(unit) {
            let finding = end_finding(unit, exit, words);
            record::record(context, unit, state, finding, notes);
        }
        if attached {
            state.process.run.standing = Standing::Finished { well: true };
        }
        return;
    }
    if attached || unit.lifecycle == Lifecycle::OneShot {
        state.process.run.standing = Standing::Finished { well: false };
        let text = format!("`{}` is over: {words}", context.name);
        state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
    }
    failure::ended(context, unit, state, end_finding(unit, exit, words), notes);
}

fn end_finding(unit: &ProcessUnit, exit: Option<Exit>, words: String) -> Finding {
    Finding {
        detector: failure::exit_detector(unit),
        kind: FindingKind::Exit,
        message: words,
        exit: exit.map(code),
        ..Finding::default()
    }
}

/// Why a run is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A person wants it.
    Asked,
    /// It never ran.
    First,
    /// Its last start did not happen.
    Again,
    /// A remedy: counted.
    Remedy,
    /// It ended well, and is to run always.
    Always,
    /// We ended it, or a person let it go on.
    Resume,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Asked => "asked",
            Kind::First => "first",
            Kind::Again => "again",
            Kind::Remedy => "remedy",
            Kind::Always => "always",
            Kind::Resume => "resume",
        }
    }
}

fn kind(unit: &ProcessUnit, context: &UnitContext<'_>, state: &UnitState) -> Option<Kind> {
    let run = &state.process.run;
    if is_unstarted(context, state) {
        return Some(Kind::Again);
    }
    if state.operator.start {
        return Some(Kind::Asked);
    }
    if run.standing != Standing::Open {
        return None;
    }
    if run.number == 0 {
        return Some(Kind::First);
    }
    match &state.process.remedy {
        Some(remedy) if remedy.step == RemedyStep::Due && choice::restarts(&remedy.remedy) => {
            Some(Kind::Remedy)
        }
        Some(_) => None, // Something is under way that says what comes next.
        None if unit.lifecycle == Lifecycle::RestartAlways
            && state.seen.exit_known == Some(Exit::Status(0)) =>
        {
            Some(Kind::Always)
        }
        None => Some(Kind::Resume),
    }
}

pub(super) fn propose(context: &UnitContext<'_>, unit: &ProcessUnit, state: &UnitState, out: &mut Proposals) {
    if !context.is_wanted() || state.ending.is_some() || matches!(unit.host, ProcessHost::Attach { .. }) {
        return;
    }
    if let Some(RunSeen::Unknown { why }) = context.run() {
        if state.process.run.since_awake_s.is_none() && state.process.run.standing == Standing::Open {
            out.hold("start", format!("its host could not be asked: {why}"));
        }
        return;
    }
    let over = state.process.run.judged >= state.process.run.number || is_unstarted(context, state);
    if !context.is_gone() || !over {
        return;
    }
    let Some(kind) = kind(unit, context, state) else { return };
    if let Err((why, wait)) = withheld(context, unit, state, kind) {
        if let Some(wait) = wait {
            out.due_in(wait);
        }
        return out.hold(label(kind), why);
    }
    let Some(host) = host(unit) else { return };
    let origin = if kind == Kind::Asked { Origin::Person } else { Origin::Policy };
    if orphans::propose(context, unit, state, origin, out) {
        return;
    }
    let again = kind == Kind::Again;
    let number = if again { state.process.run.number } else { state.process.run.number.saturating_add(1) };
    let action = Action::Run { launch: launch(context, unit, state, number, host) };
    let why =
        Reason::new(&format!("process.{}", kind.name()), words(state, kind), compared(unit, state, kind));
    match kind {
        Kind::Asked => out.asked(Claim::Start, label(kind), What::Act(action), why),
        Kind::First | Kind::Again | Kind::Remedy | Kind::Always | Kind::Resume => {
            out.want(Claim::Start, label(kind), What::Act(action), why);
        }
    }
}

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Asked | Kind::First | Kind::Resume => "start",
        Kind::Again => "start again",
        Kind::Remedy | Kind::Always => "restart",
    }
}

fn words(state: &UnitState, kind: Kind) -> String {
    let exit = state.seen.exit.clone().unwrap_or_else(|| "no end seen".into());
    match kind {
        Kind::Asked => "a person ordered it".to_owned(),
        Kind::First => "it is wanted and never ran".to_owned(),
        Kind::Again => "its last start did not happen".to_owned(),
        Kind::Always => format!("it ended ({exit}), and is always started again"),
        Kind::Resume => format!("it is wanted and does not run ({exit})"),
        Kind::Remedy => {
            let why = state.process.remedy.as_ref().map(|remedy| remedy.remedy.why.clone());
            why.filter(|why| !why.is_empty()).unwrap_or(exit)
        }
    }
}

fn compared(unit: &ProcessUnit, state: &UnitState, kind: Kind) -> Vec<String> {
    match kind {
        Kind::Remedy => {
            vec![format!("restart {} of at most {}", state.process.run.restarts + 1, unit.restart.max)]
        }
        Kind::Asked | Kind::First | Kind::Again | Kind::Always | Kind::Resume => Vec::new(),
    }
}

/// Why this start must wait, and for how long, if that is known.
fn withheld(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    kind: Kind,
) -> Result<(), (String, Option<f64>)> {
    let least = match kind {
        Kind::Asked => None,
        Kind::First | Kind::Again | Kind::Resume => Some(Watch::None),
        Kind::Remedy | Kind::Always => Some(Watch::Heal),
    };
    if let Some(why) = least.and_then(|least| context.gate(state, least)) {
        return Err((why, None));
    }
    if kind != Kind::Again {
        waits(context, unit)?;
        let missing = context.seen.process.as_ref().map(|seen| seen.missing.as_slice()).unwrap_or_default();
        if !missing.is_empty() {
            return Err((format!("it needs what is not there: {}", missing.join(", ")), None));
        }
    }
    let run = &state.process.run;
    let since =
        |at: Option<crate::base::time::Awake>| at.map_or(f64::INFINITY, |at| context.now.awake_s.since_s(at));
    let wait = |passed: f64, needed: f64, what: &str| {
        if passed < needed {
            return Err((format!("{what}: {passed:.0} s of {needed:.0} s"), Some(needed - passed)));
        }
        Ok(())
    };
    match kind {
        Kind::Remedy | Kind::Always => {
            wait(since(run.ended_awake_s), unit.restart.cooldown_s, "cooldown after its end")
        }
        Kind::Again => {
            let needed = (AGAIN_S * 2f64.powi(run.refused.min(10) as i32)).min(REFUSED_MAX_S);
            let what = match (&context.seen.failed, never_began(context, state)) {
                (Some(why), _) => format!("its start was refused ({why})"),
                (None, Some(why)) => why.to_owned(),
                (None, None) => "its start was ordered and is not seen yet".to_owned(),
            };
            wait(since(run.ordered_awake_s), needed, &what)
        }
        Kind::Asked | Kind::First | Kind::Resume => Ok(()),
    }
}

/// It comes after others: have they ended well?
fn waits(context: &UnitContext<'_>, unit: &ProcessUnit) -> Result<(), (String, Option<f64>)> {
    for name in &unit.after {
        let standing = context.before.units.get(name).map(|state| &state.process.run.standing);
        let why = match standing {
            Some(Standing::Finished { well: true }) => continue,
            Some(Standing::Open) | None => format!("it comes after `{name}`, which has not ended yet"),
            Some(Standing::Finished { well: false }) => format!("it comes after `{name}`, which failed"),
            Some(Standing::Paused { .. } | Standing::Aborted { .. } | Standing::Spent { .. }) => {
                format!("it comes after `{name}`, which waits for a person or was given up")
            }
        };
        return Err((why, None));
    }
    Ok(())
}

fn host(unit: &ProcessUnit) -> Option<HostLaunch> {
    match &unit.host {
        ProcessHost::Local => Some(HostLaunch::Local),
        ProcessHost::Attach { .. } => None,
        ProcessHost::Slurm { args } => Some(HostLaunch::Slurm { args: args.clone() }),
        ProcessHost::Docker { engine, image, args } => {
            Some(HostLaunch::Docker { engine: engine.clone(), image: image.clone(), args: args.clone() })
        }
    }
}

fn launch(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    number: u64,
    host: HostLaunch,
) -> ProcessLaunch {
    let mut env = context.unit.env.clone();
    env.extend(state.process.run.env.clone());
    if let Some(remedy) = &state.process.remedy {
        env.extend(remedy.remedy.set.clone());
    }
    env.extend([phase_in_force(context)]);
    ProcessLaunch {
        unit: context.name.clone(),
        number,
        argv: unit.command.clone(),
        dir: context.unit.dir.to_string_lossy().into_owned(),
        env,
        host,
        log_max: unit.log_max,
    }
}

/// What the state remembers of a start, before it happens.
pub(super) fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    let What::Act(Action::Run { launch: ordered }) = &granted.what else { return };
    let now = context.now.awake_s;
    let rule = granted.why.rule.as_str();
    if rule == "process.again" {
        if let Some(why) = never_began(context, state) {
            refused(context, state, why);
        }
        state.process.run.ordered_awake_s = Some(now);
        return;
    }
    if granted.origin == Origin::Person {
        state.process.reopen();
        state.process.run.told = None;
    }
    let run = &mut state.process.run;
    run.number = ordered.number;
    run.handle.clear();
    run.ordered_awake_s = Some(now);
    run.since_awake_s = None;
    run.ended_awake_s = None;
    (run.refused, run.stuck) = (0, None);
    if rule == "process.remedy" {
        run.restarts = run.restarts.saturating_add(1);
        run.total = run.total.saturating_add(1);
        state.restart.total = state.restart.total.saturating_add(1);
    }
    super::verify::begin(context, state);
    state.process.remedy = None;
    state.launch.at = Some(context.now.wall);
    state.launch.at_awake_s = Some(now);
    state.launch.digest = context.unit.launch_digest.clone();
    state.launch.count = state.launch.count.max(ordered.number.saturating_sub(1)).saturating_add(1);
    state.launch.stopped = false;
    state.operator.start = false;
    state.stall.approved = false;
    state.seen.state = ScreenState::Starting;
    state.seen.since = context.now.wall;
    state.seen.since_awake_s = now;
    (state.seen.exit, state.seen.exit_known) = (None, None);
}

/// Its time is over: the words, when a run has taken longer than its deadline.
pub(super) fn past_deadline(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
) -> Option<String> {
    let deadline = unit.deadline_s?;
    let age = context.now.awake_s.since_s(state.process.run.since_awake_s?);
    (context.is_running() && age >= deadline)
        .then(|| format!("it runs for {}, its deadline is {}", human_s(age), human_s(deadline)))
}

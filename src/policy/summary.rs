//! One line per unit for people: what `status` prints and the `status` file holds. Facts here, words in `summary_text`.
//!
//! Pure, and read-only. Deliberately not here: deciding anything, and reading files.

use super::belief;
use crate::base::names::UnitName;
use crate::base::time::{Now, Wall};
use crate::config::{AgentKind, Config, Permission, Role, Sequence, Unit};
use crate::model::seen::{Markers, ScreenState, Substate};
use crate::state::phase::PhaseState;
use crate::state::process::{RemedyStep, Standing};
use crate::state::unit::{Breaker, EndCause, HoldState, SymptomKind, Then, UnitState};
use serde::Serialize;
use std::collections::BTreeMap;

/// An open dialog that the config answers by itself is a person's affair after this long, seconds.
const ANSWER_S: f64 = 60.0;

/// What a summary is made from.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The config.
    pub config: &'a Config,
    /// The clocks.
    pub now: &'a Now,
    /// What is remembered of each unit.
    pub units: &'a BTreeMap<UnitName, UnitState>,
    /// Where the plan stands.
    pub phase: &'a PhaseState,
    /// Markers for the whole fleet.
    pub fleet: &'a Markers,
    /// Markers of units.
    pub markers: &'a BTreeMap<UnitName, Markers>,
    /// What tmux says right now; None when it was not asked or did not answer.
    pub live: Option<&'a BTreeMap<UnitName, Live>>,
    /// Units whose file can't be read, with what is wrong.
    pub broken: &'a BTreeMap<UnitName, String>,
}

/// What tmux says of a unit right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// No session.
    Absent,
    /// The pane is kept, its process ended.
    Dead,
    /// The process lives.
    Alive,
    /// The session is somebody else's.
    Foreign,
}

/// How much a line wants to be read. The order is the order of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// A person blocks a machine.
    Person,
    /// Something is wrong; it is being dealt with.
    Trouble,
    /// All is well.
    Well,
}

/// Everything that `status` says of one unit. The keys are a promise to scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnitLine {
    /// Its name.
    pub name: UnitName,
    /// loop, persistent, task, service or process.
    pub kind: &'static str,
    /// Enabled, and neither it nor the fleet is marked down.
    pub wanted: bool,
    /// Its process lives.
    pub up: bool,
    /// The believed state (SPEC 5).
    pub state: ScreenState,
    /// More on it.
    pub substate: Option<Substate>,
    /// Since when; None when it was never seen.
    pub since: Option<Wall>,
    /// person, trouble or well.
    pub urgency: Urgency,
    /// What a person should see to.
    pub needs: Option<String>,
    /// What was due and is withheld, and why.
    pub hold: Option<HoldState>,
    /// Why it is paused, and until when.
    pub paused: Option<String>,
    /// Why it is marked down.
    pub down: Option<String>,
    /// The next tier of its ladder, from 0.
    pub tier: usize,
    /// Tiers of its ladder.
    pub tiers: usize,
    /// Restarts ever.
    pub restarts: u64,
    /// closed, open or half_open.
    pub breaker: &'static str,
    /// When an open breaker allows a try.
    pub breaker_until: Option<Wall>,
    /// session, weekly, model or usage.
    pub limit: Option<String>,
    /// When the limit is over, or asked about next.
    pub limit_until: Option<Wall>,
    /// The next scheduled prompt or run.
    pub next_wake: Option<Wall>,
    /// The wait that it declared in its file.
    pub waiting_until: Option<Wall>,
    /// The pane.
    pub pane: Option<String>,
    /// How its last process ended.
    pub exit: Option<String>,
    /// What is going on with it, in words.
    pub doing: Option<String>,
    /// It is over, or waits for its turn: not running is right.
    #[serde(skip)]
    pub rests: bool,
    /// Tokens counted so far; None when nothing was, or the summary is for a file that tells only what changed.
    pub tokens: Option<u64>,
}

/// What `status` says of the fleet, as far as units and markers tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FleetLine {
    /// Units whose process lives.
    pub up: usize,
    /// Units that are wanted.
    pub wanted: usize,
    /// All units.
    pub units: usize,
    /// Why all remedies are paused.
    pub paused: Option<String>,
    /// Why the fleet is marked down.
    pub down: Option<String>,
    /// Units that wait for a person.
    pub person: usize,
    /// The plan; null without `[loop]`.
    pub phase: Option<PhaseLine>,
}

/// Where the plan stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseLine {
    /// The phase in force; null = not known yet.
    pub id: Option<String>,
    /// Its place, from 1; 0 = it is not in the plan.
    pub number: usize,
    /// Phases of the plan.
    pub phases: usize,
    /// Since when it is in force.
    pub since: Option<Wall>,
    /// When the last phase was done.
    pub completed: Option<Wall>,
}

/// The lines: who waits for a person first, then what is in trouble, then the rest; each in the order of the config.
pub fn unit_lines(sight: &Sight<'_>) -> Vec<UnitLine> {
    let mut units: Vec<&Unit> = sight.config.units.values().collect();
    units.sort_by_key(|unit| unit.position);
    let mut lines: Vec<UnitLine> = units.into_iter().map(|unit| unit_line(sight, unit)).collect();
    lines.sort_by_key(|line| line.urgency);
    lines
}

/// The fleet's line.
pub fn fleet_line(sight: &Sight<'_>, lines: &[UnitLine]) -> FleetLine {
    let count = |test: fn(&UnitLine) -> bool| lines.iter().filter(|line| test(line)).count();
    FleetLine {
        up: count(|line| line.up),
        wanted: count(|line| line.wanted),
        units: lines.len(),
        paused: paused(sight.fleet, sight.now.wall),
        down: sight.fleet.down.clone(),
        person: count(|line| line.urgency == Urgency::Person),
        phase: sight.config.sequence.as_ref().map(|plan| phase_line(plan, sight.phase)),
    }
}

fn phase_line(plan: &Sequence, phase: &PhaseState) -> PhaseLine {
    PhaseLine {
        id: Some(phase.id.clone()).filter(|id| !id.is_empty()),
        number: plan.phase(&phase.id).map_or(0, |(index, _)| index + 1),
        phases: plan.phases.len(),
        since: phase.since,
        completed: phase.completed,
    }
}

/// Kind of a unit in one word.
pub fn kind(unit: &Unit) -> &'static str {
    match &unit.role {
        Role::Agent(agent) => match agent.kind {
            AgentKind::Loop => "loop",
            AgentKind::Persistent => "persistent",
            AgentKind::Task => "task",
        },
        Role::Service { .. } => "service",
        Role::Process(_) => "process",
    }
}

/// When a running pause ends and why it is; None when it is over or was never set.
pub fn paused(markers: &Markers, now: Wall) -> Option<String> {
    let paused = markers.paused.as_ref()?;
    match paused.until {
        Some(until) if now >= until => None,
        Some(until) => Some(format!("{} (until {until})", paused.reason).trim().to_owned()),
        None => Some(paused.reason.clone()),
    }
}

fn unit_line(sight: &Sight<'_>, unit: &Unit) -> UnitLine {
    let fresh = UnitState::default();
    let no_markers = Markers::default();
    let state = sight.units.get(&unit.name).unwrap_or(&fresh);
    let markers = sight.markers.get(&unit.name).unwrap_or(&no_markers);
    let live = sight.live.and_then(|live| live.get(&unit.name));
    let wanted = unit.enabled && sight.fleet.down.is_none() && markers.down.is_none();
    let (up, observed) = match belief::unseen(sight.now, &state.seen) {
        Some(_) => (false, ScreenState::Unknown),
        None => overlay(state, live),
    };
    let doing = doing(state);
    let mut line = UnitLine {
        name: unit.name.clone(),
        kind: kind(unit),
        wanted,
        up,
        state: observed,
        substate: state.seen.substate.filter(|_| observed == state.seen.state),
        since: Some(state.seen.since).filter(|since| *since != Wall::default()),
        urgency: Urgency::Well,
        needs: needs(sight, unit, state, observed, live),
        hold: state.hold.clone(),
        paused: paused(markers, sight.now.wall),
        down: markers.down.clone(),
        tier: state.ladder.tier.min(unit.ladder.tiers.len()),
        tiers: unit.ladder.tiers.len(),
        restarts: state.restart.total,
        breaker: breaker(state),
        breaker_until: breaker_until(sight.now, state),
        limit: state.limit.active.as_ref().map(|limit| limit.kind.clone()),
        limit_until: state.limit.active.as_ref().map(|limit| limit.until),
        next_wake: state.wake.due.filter(|_| wanted),
        waiting_until: markers.waiting_until.filter(|until| *until > sight.now.wall),
        pane: state.seen.pane.clone(),
        exit: exit(state),
        doing,
        rests: rests(state),
        tokens: None,
    };
    line.urgency = urgency(unit, &line, observed != state.seen.state);
    line
}

/// How its last process ended, and what that meant.
fn exit(state: &UnitState) -> Option<String> {
    let exit = state.seen.exit.clone()?;
    let fate = super::verdict::words(&state.seen).map(|words| format!(" ({words})"));
    Some(format!("{exit}{}", fate.unwrap_or_default()))
}

/// What tmux says now beats what was recorded: is it up, and in which state?
fn overlay(state: &UnitState, live: Option<&Live>) -> (bool, ScreenState) {
    let recorded_up = state.is_up();
    match live {
        None | Some(Live::Foreign) => (recorded_up, state.seen.state),
        Some(Live::Alive) if recorded_up => (true, state.seen.state),
        // It runs, and nobody has read its screen yet.
        Some(Live::Alive) => (true, ScreenState::Starting),
        Some(Live::Dead | Live::Absent) if recorded_up => (false, ScreenState::Dead),
        Some(Live::Dead | Live::Absent) => (false, state.seen.state),
    }
}

/// Of its two breakers (restarts, ladder) the one that is not closed.
fn worst_breaker(state: &UnitState) -> &Breaker {
    match state.restart.breaker {
        Breaker::Closed => &state.ladder.breaker,
        Breaker::Open { .. } | Breaker::HalfOpen { .. } => &state.restart.breaker,
    }
}

fn breaker(state: &UnitState) -> &'static str {
    match worst_breaker(state) {
        Breaker::Closed => "closed",
        Breaker::Open { .. } => "open",
        Breaker::HalfOpen { .. } => "half_open",
    }
}

fn breaker_until(now: &Now, state: &UnitState) -> Option<Wall> {
    match worst_breaker(state) {
        Breaker::Open { until_awake_s } => Some(now.wall.plus_s(until_awake_s.since_s(now.awake_s))),
        Breaker::Closed | Breaker::HalfOpen { .. } => None,
    }
}

fn doing(state: &UnitState) -> Option<String> {
    if let Some(ending) = &state.ending {
        let what = match (ending.then, ending.cause) {
            (Then::StayDown, _) => "stopping",
            (Then::Start, EndCause::Ordered | EndCause::Changed | EndCause::Phase) => "restart ordered",
            (Then::Start, EndCause::Down | EndCause::Ladder | EndCause::Rerun | EndCause::Remedy) => {
                "restarting"
            }
        };
        return Some(what.to_owned());
    }
    if let Some(words) = process_does(state) {
        return Some(words);
    }
    if let Some(delivery) = &state.delivery.current {
        return Some(format!("typing ({:?})", delivery.message.purpose).to_lowercase());
    }
    match state.delivery.queue.len() {
        0 => None,
        1 => Some("1 text waits to be typed".to_owned()),
        n => Some(format!("{n} texts wait to be typed")),
    }
}

/// A process is over, and that is right.
fn rests(state: &UnitState) -> bool {
    match state.process.run.standing {
        Standing::Finished { well } => well,
        Standing::Open | Standing::Paused { .. } | Standing::Aborted { .. } | Standing::Spent { .. } => false,
    }
}

/// What is going on with a process beside its run.
fn process_does(state: &UnitState) -> Option<String> {
    let process = &state.process;
    if let Some(remedy) = &process.remedy {
        let action = &remedy.remedy.action;
        return Some(match &remedy.step {
            RemedyStep::Due => format!("{action} ({})", remedy.remedy.source.human()),
            RemedyStep::Ask { .. }
            | RemedyStep::Thinking { .. }
            | RemedyStep::Opening { .. }
            | RemedyStep::Opened { .. } => "the healing agent is asked".to_owned(),
            RemedyStep::Closing { .. } => "the healing agent has answered".to_owned(),
            RemedyStep::Requested { .. } => "waits for an answer to its recovery request".to_owned(),
            RemedyStep::Command { .. } => "a rule's command runs".to_owned(),
        });
    }
    match &process.run.standing {
        Standing::Finished { well: true } => return Some("finished".to_owned()),
        // How it ended follows; nobody may know.
        Standing::Finished { well: false } if state.seen.exit_known.is_none() => {
            return Some("over".to_owned());
        }
        Standing::Finished { well: false } => return Some("over; it failed".to_owned()),
        Standing::Paused { .. } => return Some("paused".to_owned()),
        Standing::Aborted { .. } => return Some("given up".to_owned()),
        Standing::Spent { .. } => return Some("not started again".to_owned()),
        Standing::Open => {}
    }
    let watched = process.heal.verify.last()?;
    Some(format!("{} against `{}` is being verified", watched.action, watched.detector))
}

/// What a process's standing asks of a person.
fn process_needs(now: &Now, unit: &Unit, state: &UnitState) -> Option<String> {
    let name = &unit.name;
    if let Some(held) = super::process::held(now, state) {
        return Some(format!("{}: {}", held.why, held.advice));
    }
    match &state.process.run.standing {
        Standing::Open => {
            if let Some(why) = &state.process.run.stuck {
                let lift = format!("`watchkeeper approve {name}` gives it new restarts");
                return Some(format!("left as it is: {why}; {lift}"));
            }
        }
        Standing::Finished { .. } | Standing::Aborted { .. } => {}
        Standing::Paused { why } => {
            return Some(format!("paused: {why}; `watchkeeper resume {name}` lets it go on"));
        }
        Standing::Spent { why } => {
            return Some(format!("not started again: {why}; `watchkeeper approve {name}` lifts it"));
        }
    }
    let requested = state
        .process
        .remedy
        .as_ref()
        .is_some_and(|remedy| matches!(remedy.step, RemedyStep::Requested { .. }));
    requested.then(|| format!("asks how to heal it: `watchkeeper respond {name} --action …`"))
}

/// What only a person can see to.
fn needs(
    sight: &Sight<'_>,
    unit: &Unit,
    state: &UnitState,
    observed: ScreenState,
    live: Option<&Live>,
) -> Option<String> {
    if let Some(why) = sight.broken.get(&unit.name) {
        return Some(format!("its state file can't be read: {why}"));
    }
    if let Some(why) = belief::unseen(sight.now, &state.seen) {
        return Some(format!("can't be watched: {why}"));
    }
    if state.seen.foreign || live == Some(&Live::Foreign) {
        return Some(format!("session `{}` is not ours: rename or end it", unit.session));
    }
    if state.failopen.since_awake_s.is_some() {
        let name = &unit.name;
        return Some(format!(
            "left alone: watchkeeper kept ending while acting on it: `watchkeeper approve {name}`"
        ));
    }
    if let Breaker::Open { .. } = state.restart.breaker {
        let exit = state.seen.exit.as_deref().unwrap_or("unknown end");
        return Some(format!("breaker open after {exit}: `watchkeeper approve {}` lifts it", unit.name));
    }
    if let Some(words) = process_needs(sight.now, unit, state) {
        return Some(words);
    }
    if let Breaker::Open { .. } = state.ladder.breaker {
        return Some(format!(
            "its ladder failed, its breaker is open: `watchkeeper approve {}` lifts it",
            unit.name
        ));
    }
    if let Some(words) = shown_to_a_person(sight, unit, state, observed) {
        return Some(words);
    }
    if let Some(why) = state.ladder.triage.trouble.as_ref().filter(|_| state.is_up()) {
        return Some(format!("silent, and {why}"));
    }
    let at_its_end = state.ladder.alert_awake_s.is_some();
    at_its_end.then(|| {
        let what = match state.ladder.symptom {
            Some(SymptomKind::Silent) => "its heartbeat is old",
            Some(SymptomKind::Stale) => "it runs old code",
            Some(SymptomKind::Stalled | SymptomKind::Hung) | None => "stalled",
        };
        format!("{what}, and its ladder is at its end")
    })
}

/// What its screen asks of a person.
fn shown_to_a_person(
    sight: &Sight<'_>,
    unit: &Unit,
    state: &UnitState,
    observed: ScreenState,
) -> Option<String> {
    let stood_s = sight.now.awake_s.since_s(state.seen.since_awake_s);
    match (observed, state.seen.substate) {
        (ScreenState::Blocked, _) => {
            let alerts = unit.agent().is_none_or(|agent| agent.permission == Permission::Alert);
            let asked = state.hold.as_ref().and_then(|hold| hold.why.strip_prefix("waits for a person: "));
            let words = asked.map_or_else(|| "asks for a person".to_owned(), |text| format!("asks: {text}"));
            (alerts || stood_s > ANSWER_S).then_some(words)
        }
        (ScreenState::Error, Some(Substate::Auth)) => {
            Some("its credentials are refused: log in again".to_owned())
        }
        (ScreenState::Error, Some(Substate::Billing)) => Some("its account can't pay".to_owned()),
        (ScreenState::Error, _) if state.attend.told.is_some() => Some("its calls keep failing".to_owned()),
        (ScreenState::Onboarding, _) if state.attend.dialog.is_some() => {
            Some("waits in a start-up dialog".to_owned())
        }
        (ScreenState::Draft, _) if state.attend.draft.as_ref().is_some_and(|draft| draft.handled) => {
            Some("unsent text stands in its composer".to_owned())
        }
        (
            ScreenState::Starting
            | ScreenState::Onboarding
            | ScreenState::Idle
            | ScreenState::Draft
            | ScreenState::Busy
            | ScreenState::Limited
            | ScreenState::Error
            | ScreenState::Dead
            | ScreenState::Shell
            | ScreenState::Unknown,
            _,
        ) => None,
    }
}

fn urgency(unit: &Unit, line: &UnitLine, changed: bool) -> Urgency {
    if line.needs.is_some() && line.wanted {
        return Urgency::Person;
    }
    let wrong = match line.state {
        ScreenState::Error | ScreenState::Shell | ScreenState::Limited => true,
        ScreenState::Dead => changed || is_down(unit, line),
        ScreenState::Unknown => is_down(unit, line),
        ScreenState::Starting
        | ScreenState::Onboarding
        | ScreenState::Idle
        | ScreenState::Draft
        | ScreenState::Busy
        | ScreenState::Blocked => false,
    };
    let troubled = wrong || line.tier > 0 || line.breaker != "closed" || line.needs.is_some();
    if troubled && line.wanted { Urgency::Trouble } else { Urgency::Well }
}

/// Wanted and not running; a task that is not on its run is where it belongs.
pub fn is_down(unit: &Unit, line: &UnitLine) -> bool {
    let rests = match &unit.role {
        Role::Agent(agent) => agent.kind == AgentKind::Task,
        Role::Service { .. } => false,
        // Whether it has ended for good is in its own memory.
        Role::Process(_) => line.rests,
    };
    line.wanted && !line.up && !rests
}

//! A small fleet for tests: config text, hand-made screens, a clock that is stepped tick by tick through `decide`.
//!
//! What is granted happens at once, unless the test says otherwise: a start makes a process, a paste fills the composer,
//! the submit key empties it, TERM ends the process. Deliberately not here: files, faults, randomness (the simulator's).

mod expect;
mod hand;

pub use hand::Hand;

use super::proposal::{Decision, What};
use super::{POLICIES, Policy, decide_with, wants};
use crate::base::names::UnitName;
use crate::base::time::{Awake, Now, Wall};
use crate::config::{self, Config, Source};
use crate::model::action::{Action, Job, MarkerKind, Signal};
use crate::model::incident::{FixNote, IncidentOrder};
use crate::model::process::RunSeen;
use crate::model::seen::{
    Ask, BranchFacts, BranchSeen, Commit, Exit, JobSeen, Observation, PaneSeen, Paused, Process, Request,
    RestartMarker, ScreenState, Seen, ServerId, ServerSeen, SinceSeen,
};
use crate::state::State;
use crate::state::unit::UnitState;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// 2026-11-21T10:00:00Z
pub const START: Wall = Wall(1_795_255_200_000);

/// A fleet, its watchdog's memory, and what was done so far.
pub struct World {
    pub config: Config,
    pub state: State,
    pub seen: Observation,
    pub policies: Vec<Policy>,
    pub last: Decision,
    /// Granted since the last [`World::forget`]: seconds since the start, unit, label, reason.
    pub done: Vec<(f64, String, String, String)>,
    /// Alerts that reached people, oldest first.
    pub alerts: Vec<String>,
    /// Every event since the last [`World::forget`].
    pub events: Vec<String>,
    /// Units that take no notice of what is done to them (`a`), or of one thing (`a: paste text`).
    pub deaf: BTreeSet<String>,
    /// Texts given to tmux: unit, text.
    pub loaded: Vec<(String, String)>,
    /// What was pushed.
    pub branch: Branch,
    /// Jobs of the fleet that were ordered.
    pub jobs: Vec<String>,
    /// Jobs of units that were started.
    pub started: Vec<Job>,
    /// How jobs of units end, by what they are for; the others run on.
    pub results: BTreeMap<String, JobSeen>,
    /// Processes that were started.
    pub runs: Vec<crate::model::process::ProcessLaunch>,
    /// Incidents that were ordered, as last known.
    pub incidents: BTreeMap<String, IncidentOrder>,
    /// Rows of the ledger: attempt, source, action, status.
    pub ledger: Vec<String>,
    /// Notes for incidents, by attempt.
    pub notes: BTreeMap<String, FixNote>,
    hidden: Hidden,
    /// When the next tick is due.
    next_at: Awake,
}

/// The pretended branch.
#[derive(Default)]
pub struct Branch {
    /// Subjects, oldest first; the commit's name is its place, after the history's number.
    pub subjects: Vec<String>,
    /// Which history it is: a rewrite begins another one.
    pub history: usize,
    /// Phases that are marked as done.
    pub done: BTreeSet<String>,
    /// Inbox files and their digests.
    pub inboxes: BTreeMap<String, String>,
    /// It can't be read.
    pub unknown: bool,
}

impl Branch {
    /// A commit, and what it changes.
    pub fn push(&mut self, subject: &str) {
        self.subjects.push(subject.to_owned());
    }

    /// A commit that marks a phase as done.
    pub fn done(&mut self, phase: &str) {
        self.done.insert(phase.to_owned());
        self.push("status: done");
    }

    fn id(&self, place: usize) -> String {
        format!("{:040x}", self.history * 1000 + place)
    }

    /// As it is seen by somebody who remembers `since`.
    fn seen(&self, since: Option<&String>) -> BranchSeen {
        if self.unknown {
            return BranchSeen::Unknown { why: "it is no git repository".into() };
        }
        let all = self.subjects.len();
        if all == 0 {
            return BranchSeen::Missing;
        }
        let old = (1..=all).find(|place| Some(&self.id(*place)) == since);
        let since = match (since, old) {
            (None, _) => SinceSeen::Nothing,
            (Some(_), None) => SinceSeen::Rewritten,
            (Some(_), Some(old)) if old == all => SinceSeen::Nothing,
            (Some(_), Some(old)) => SinceSeen::Commits(
                (old + 1..=all)
                    .map(|place| Commit { id: self.id(place), subject: self.subjects[place - 1].clone() })
                    .collect(),
            ),
        };
        BranchSeen::At(BranchFacts {
            head: self.id(all),
            done: self.done.iter().cloned().collect(),
            inboxes: self.inboxes.clone(),
            since,
            left_out: Vec::new(),
        })
    }
}

/// What the pretended tmux knows beyond the observation.
#[derive(Default)]
struct Hidden {
    buffers: BTreeMap<String, String>,
    trees: BTreeMap<UnitName, Vec<Process>>,
    termed: BTreeSet<UnitName>,
    outbox: Vec<String>,
    pids: i32,
    requests: u64,
    cpu: BTreeMap<UnitName, u64>,
}

/// Config text to config; panics with every problem.
#[track_caller]
pub fn parsed(text: &str) -> Config {
    let parsed = config::parse(&Source {
        path: Path::new("/fleet/agents.toml"),
        text,
        home: Path::new("/home/op"),
        env: &|_| None,
        read: &|_| Ok("Do the work.".to_owned()),
        state_override: None,
    });
    let problems = config::render("agents.toml", &parsed.problems);
    parsed.config.unwrap_or_else(|| panic!("{text}\n{problems}"))
}

pub fn name(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

impl World {
    /// A world in which nothing runs yet. The config's text; no tick was made.
    #[track_caller]
    pub fn new(text: &str) -> World {
        let config = parsed(text);
        let units = config.units.values().map(|unit| (unit.name.clone(), nothing(unit))).collect();
        let now = Now { wall: START, awake_s: Awake(1_000_000), boot: "b1".into(), zone: "UTC".into() };
        let server = ServerSeen::Alive(ServerId { pid: 50, started: 1 });
        let seen = Observation { server, units, ..Observation::empty(now) };
        let state = State::default();
        let last = decide_with(&[], &config, &state, &seen);
        World {
            config,
            state,
            seen,
            policies: POLICIES.to_vec(),
            last,
            done: Vec::new(),
            alerts: Vec::new(),
            events: Vec::new(),
            deaf: BTreeSet::new(),
            loaded: Vec::new(),
            branch: Branch::default(),
            jobs: Vec::new(),
            started: Vec::new(),
            results: BTreeMap::new(),
            runs: Vec::new(),
            incidents: BTreeMap::new(),
            ledger: Vec::new(),
            notes: BTreeMap::new(),
            hidden: Hidden { pids: 100, ..Hidden::default() },
            next_at: Awake(1_000_000),
        }
    }

    /// A world in which all units run, were kicked off, and work.
    #[track_caller]
    pub fn running(text: &str) -> World {
        let mut world = World::new(text);
        let names: Vec<UnitName> = world.config.units.keys().cloned().collect();
        for unit in &names {
            world.unit(unit.as_str()).start();
        }
        world.ticks(2);
        for unit in &names {
            world.unit(unit.as_str()).busy();
            // As if this watchdog had started it.
            world.state.units.get_mut(unit).unwrap().launch.count = 1;
        }
        world.ticks(2);
        world.forget();
        world
    }

    /// The unit, to change what is seen of it.
    #[track_caller]
    pub fn unit(&mut self, unit: &str) -> Hand<'_> {
        assert!(self.config.units.contains_key(unit), "no unit {unit}");
        Hand { name: name(unit), world: self }
    }

    /// Its memory.
    #[track_caller]
    pub fn state_of(&self, unit: &str) -> &UnitState {
        self.state.units.get(unit).unwrap_or_else(|| panic!("no state of {unit}"))
    }

    /// Another config: what a reload does.
    #[track_caller]
    pub fn reload(&mut self, text: &str) {
        self.config = parsed(text);
        self.seen.units.retain(|unit, _| self.config.units.contains_key(unit));
        self.state.units.retain(|unit, _| self.config.units.contains_key(unit));
        for unit in self.config.units.values() {
            self.seen.units.entry(unit.name.clone()).or_insert_with(|| nothing(unit));
        }
    }

    /// A person asks for something.
    pub fn ask(&mut self, ask: Ask) -> String {
        self.hidden.requests += 1;
        let id = format!("r{}", self.hidden.requests);
        let at = self.seen.now.wall;
        self.seen.requests.push(Request { id: id.clone(), at, from: "cli".into(), ask });
        self.poke();
        id
    }

    /// The next tick comes at once.
    pub fn poke(&mut self) {
        self.next_at = self.seen.now.awake_s.plus_s(0.05);
    }

    /// Both clocks go on.
    pub fn pass(&mut self, seconds: f64) {
        self.seen.now.awake_s = self.seen.now.awake_s.plus_s(seconds);
        self.seen.now.wall = self.seen.now.wall.plus_s(seconds);
    }

    /// The wall clock is set.
    pub fn set_wall(&mut self, seconds: f64) {
        self.seen.now.wall = self.seen.now.wall.plus_s(seconds);
    }

    /// Seconds until the next tick is due.
    pub fn due_s(&self) -> f64 {
        self.next_at.since_s(self.seen.now.awake_s)
    }

    /// One tick, at the time that the last one asked for.
    pub fn tick(&mut self) {
        self.pass(self.next_at.since_s(self.seen.now.awake_s));
        self.tick_now();
    }

    /// So many ticks.
    pub fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    /// Ticks until so much time has passed.
    pub fn run(&mut self, seconds: f64) {
        let end = self.seen.now.awake_s.plus_s(seconds);
        for _ in 0..100_000 {
            if self.next_at > end {
                return self.pass(end.since_s(self.seen.now.awake_s));
            }
            self.tick();
        }
        panic!("a busy loop: {:?}", self.done.last());
    }

    /// One tick now.
    pub fn tick_now(&mut self) {
        self.gather();
        let decision = decide_with(&self.policies, &self.config, &self.state, &self.seen);
        let again = decide_with(&self.policies, &self.config, &self.state, &self.seen);
        assert!(decision == again, "same input, same output");
        self.state = decision.next.clone();
        let at = self.seen.now.wall.since_s(START);
        self.seen.requests.clear();
        for marker in &decision.markers {
            self.mark(marker);
        }
        for job in &decision.jobs {
            self.jobs.push(job.id.clone());
            if self.seen.fetch == JobSeen::None {
                self.seen.fetch = JobSeen::well("");
            }
        }
        for granted in &decision.granted {
            let why = format!("{}: {}", granted.why.rule, granted.why.sentence());
            self.done.push((at, granted.unit.to_string(), granted.label.clone(), why));
            let deaf = self.deaf.contains(granted.unit.as_str())
                || self.deaf.contains(&format!("{}: {}", granted.unit, granted.label));
            if let What::Act(Action::Signal { signal: Signal::Term, .. }) = &granted.what {
                self.hidden.termed.insert(granted.unit.clone());
            }
            if let What::Act(action) = &granted.what
                && !deaf
            {
                self.happen(&granted.unit.clone(), action);
            }
        }
        self.events.extend(decision.events.iter().map(|event| {
            format!("{:?} {}: {}", event.kind, event.unit.as_deref().unwrap_or("fleet"), event.text)
        }));
        for alert in self
            .state
            .units
            .values()
            .flat_map(|unit| &unit.owed)
            .chain(&self.state.mail.owed)
            .chain(&self.state.phase.owed)
        {
            if !self.hidden.outbox.contains(&alert.id) {
                self.hidden.outbox.push(alert.id.clone());
                self.alerts.push(alert.text.clone());
            }
        }
        self.take_notes();
        let due = decision.due_s.unwrap_or(f64::INFINITY).min(self.config.watchdog.signal_interval_s);
        self.next_at = self.seen.now.awake_s.plus_s(due);
        self.last = decision;
    }

    /// What the engine writes down of processes, and what their logs said: it is said once.
    fn take_notes(&mut self) {
        for state in self.state.units.values() {
            for order in &state.incident.owed {
                self.incidents.insert(order.id.clone(), order.clone());
            }
            for row in &state.incident.rows {
                let line = format!("{} {} {} {}", row.attempt, row.source, row.action, row.status.word());
                if !self.ledger.contains(&line) {
                    self.ledger.push(line);
                }
            }
            self.notes.extend(state.incident.fixes.iter().cloned().map(|note| (note.attempt.clone(), note)));
        }
        for seen in self.seen.units.values_mut() {
            if let Some(process) = &mut seen.process {
                (process.log.findings, process.log.grew, process.log.more) = (Vec::new(), false, 0);
            }
            if seen.process.is_some() {
                seen.failed = None;
            }
        }
    }

    /// A process's host starts it: each number once.
    fn begin(&mut self, launch: &crate::model::process::ProcessLaunch) {
        let known = match &self.seen.units[&launch.unit].process.as_ref().unwrap().run {
            // An order that never became a process.
            RunSeen::Ended { id, exit: None, .. } if id.handle.is_empty() => 0,
            RunSeen::Alive { id, .. } | RunSeen::Pending { id, .. } | RunSeen::Ended { id, .. } => id.number,
            RunSeen::Unknown { .. } | RunSeen::Absent => 0,
        };
        assert!(launch.number > known, "run {} was started before", launch.number);
        self.runs.push(launch.clone());
        self.unit(launch.unit.clone().as_str()).runs(launch.number);
    }

    /// The costly facts, as the engine gathers them.
    fn gather(&mut self) {
        let needs = wants::wants(&self.config, &self.state, &self.seen.now);
        self.seen.outbox_has = Some(self.hidden.outbox.clone());
        self.seen.jobs = wants::jobs(&self.state).into_iter().map(|id| (id.clone(), self.job(&id))).collect();
        self.seen.branch =
            self.config.sequence.as_ref().map(|_| self.branch.seen(self.state.git.head.as_ref()));
        for (unit, seen) in &mut self.seen.units {
            seen.tree = needs
                .trees
                .contains_key(unit)
                .then(|| self.hidden.trees.get(unit).cloned().unwrap_or_default());
            seen.termed = self.hidden.termed.contains(unit);
            let held: Vec<String> = self.hidden.buffers.keys().cloned().collect();
            seen.buffers = super::deliver::buffered(&self.config, unit, &held);
            seen.buffer = needs.buffers.get(unit).map(|buffer| self.hidden.buffers.contains_key(buffer));
            let config = self.config.units.get(unit).and_then(crate::config::Unit::process);
            if let (Some(process), Some(config)) = (&mut seen.process, config) {
                let none = UnitState::default();
                let state = self.state.units.get(unit).unwrap_or(&none);
                process.incidents = state.incident.owed.iter().map(|order| order.id.clone()).collect();
                process.attempts =
                    state.incident.rows.iter().map(crate::state::attempts::Attempt::key).collect();
                process.fixes = state.incident.fixes.iter().map(|note| note.attempt.clone()).collect();
                process.brief = super::process::wants_brief(state).then(Default::default);
                let left = super::process::wants_leftovers(config, state)
                    && matches!(process.run, RunSeen::Ended { .. });
                let tree = self.hidden.trees.get(unit).filter(|_| left);
                process.leftovers = tree.cloned().unwrap_or_default();
                let near = super::process::wants_cpu(config, &self.state, unit, &self.seen.now);
                process.cpu_ms = near.then(|| *self.hidden.cpu.get(unit).unwrap_or(&0));
            }
            if needs.cpu.contains(unit) {
                seen.tools_cpu_ms.get_or_insert(0);
            } else {
                seen.tools_cpu_ms = None;
            }
        }
    }

    fn mark(&mut self, action: &Action) {
        let (marker, text) = match action {
            Action::Mark { marker, text } => (marker, Some(text.clone())),
            Action::Unmark { marker, .. } => (marker, None),
            other => panic!("no marker: {other:?}"),
        };
        let markers = match &marker.unit {
            Some(unit) => &mut self.seen.units.get_mut(unit).unwrap().markers,
            None => &mut self.seen.markers,
        };
        match marker.kind {
            MarkerKind::Down => markers.down = text,
            MarkerKind::Paused => markers.paused = text.map(|reason| Paused { reason, until: None }),
            MarkerKind::SequenceComplete => self.seen.complete = text.is_some(),
            MarkerKind::Restart => {
                let at = Some(self.seen.now.wall);
                markers.restart = text.map(|text| RestartMarker { text, at });
            }
        }
    }

    fn happen(&mut self, unit: &UnitName, action: &Action) {
        let session = |launch: &crate::model::action::Launch| launch.unit.to_string();
        match action {
            Action::NewSession { launch } | Action::Respawn { launch, .. } => {
                let started = session(launch);
                self.unit(&started).start();
                self.unit(&started).pane().phase = launch.phase.clone();
            }
            Action::Adopt { .. } => {
                let started = unit.to_string();
                self.unit(&started).seen().foreign = None;
                self.unit(&started).seen().adoptable = None;
                self.unit(&started).start();
            }
            Action::LoadBuffer { buffer, text } => {
                self.loaded.push((unit.to_string(), text.clone()));
                self.hidden.buffers.insert(buffer.clone(), text.clone());
            }
            Action::Paste { buffer, .. } => {
                let text = self.hidden.buffers.remove(buffer).expect("a paste without its buffer");
                self.unit(unit.as_str()).composer(&text);
            }
            Action::DropBuffer { buffer } => {
                self.hidden.buffers.remove(buffer);
            }
            Action::Keys { keys, .. } => self.unit(unit.as_str()).pressed(keys),
            Action::LeaveMode { .. } => self.unit(unit.as_str()).pane().in_mode = false,
            Action::Signal { processes, signal } => {
                let name = if *signal == Signal::Term { 15 } else { 9 };
                let tree = self.hidden.trees.entry(unit.clone()).or_default();
                tree.retain(|process| !processes.contains(process));
                self.unit(unit.as_str()).dies(Exit::Signal(name));
            }
            Action::KillSession { .. } => self.unit(unit.as_str()).absent(),
            Action::Mark { .. } | Action::Unmark { .. } => self.mark(action),
            Action::RunJob { job } => self.started.push(job.clone()),
            Action::WriteFile { text, .. } => self.loaded.push((unit.to_string(), text.clone())),
            Action::Run { launch } => self.begin(launch),
            Action::CancelRun { unit, .. } => self.unit(unit.clone().as_str()).ended(Some(Exit::Signal(15))),
        }
    }

    /// How a unit's job stands.
    fn job(&self, id: &str) -> JobSeen {
        let what = id.split('.').nth(1).unwrap_or_default();
        match self.started.iter().any(|job| job.id == id) {
            true => self.results.get(what).cloned().unwrap_or(JobSeen::Running),
            false => JobSeen::None,
        }
    }

    /// The names of tmux's buffers.
    pub fn buffers(&self) -> Vec<&str> {
        self.hidden.buffers.keys().map(String::as_str).collect()
    }

    /// A buffer that tmux holds.
    pub fn hold_buffer(&mut self, buffer: &str) {
        self.hidden.buffers.insert(buffer.to_owned(), String::new());
    }

    /// The watchdog was killed right behind its last commit, and is started anew.
    pub fn killed(&mut self) {
        self.hidden.termed.clear();
    }

    /// tmux lost its buffers.
    pub fn drop_buffers(&mut self) {
        self.hidden.buffers.clear();
    }
}

impl Seen {
    /// What the living pane's screen says.
    pub fn pane_state(&self) -> Option<ScreenState> {
        match &self.pane {
            PaneSeen::Alive(pane) => Some(pane.reading.state),
            PaneSeen::Unknown | PaneSeen::Absent | PaneSeen::Dead { .. } => None,
        }
    }
}

fn nothing(unit: &crate::config::Unit) -> Seen {
    match unit.process() {
        Some(_) => Seen { process: Some(Box::default()), ..Seen::default() },
        None => absent(),
    }
}

fn absent() -> Seen {
    Seen { pane: PaneSeen::Absent, ..Seen::default() }
}

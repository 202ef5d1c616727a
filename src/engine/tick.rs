//! One tick: load, observe, decide, commit, act, report. Straight down, nothing goes back up.

use super::commit::{self, CommitReport, Image, Suspects};
use super::follow::Follower;
use super::observe::{self, Memory};
use super::{incident, prune, report};
use crate::base::error::Result;
use crate::base::names::UnitName;
use crate::base::text::one_line;
use crate::base::time::{Now, Wall};
use crate::config::{AgentKind, Config};
use crate::model::action::{Action, MarkerKind, Outcome, Signal};
use crate::model::seen::{Ask, Observation, Request, Scope};
use crate::policy;
use crate::policy::proposal::{Decision, Event, EventKind, What};
use crate::state::State;
use crate::state::clocks::Clocks;
use crate::state::heartbeat::Heartbeat;
use crate::state::mail::{Owed, Taken};
use crate::sys::{Files, Host, Sync};
use std::collections::BTreeSet;

/// The decision function: the real one, or one with a planted bug.
pub type Decide = fn(&Config, &State, &Observation) -> Decision;

/// Everything that ticks. Its memory may be lost at any instant.
#[derive(Debug)]
pub struct Watchdog<H, F> {
    /// The world.
    pub host: H,
    /// The state directory.
    pub files: F,
    /// What decides.
    pub decide: Decide,
    /// What our sessions carry: the state directory's path.
    pub stamp: String,
    /// What the heartbeat says of this process.
    pub identity: Identity,
    image: Image,
    memory: Memory,
    status: String,
    ticks: u64,
    last_error: Option<LastError>,
    /// The day on which old events were looked for.
    pruned: Option<String>,
}

/// Fixes that no unit ends are looked for at the first tick, and then each time after so many.
const FIXES_TICKS: u64 = 30;
/// An error is forgotten after that many seconds without one.
const ERROR_STANDS_S: f64 = 3600.0;

/// What could not be written or done last.
#[derive(Clone, Debug)]
struct LastError {
    text: String,
    at: Now,
}

/// Who ticks.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The process.
    pub pid: u32,
    /// `run` or `tick`.
    pub command: String,
    /// When it started.
    pub started: Wall,
    /// The binary.
    pub binary: String,
}

/// What a tick came to.
#[derive(Debug)]
pub struct TickReport {
    /// What was seen.
    pub seen: Observation,
    /// The state that it was decided from.
    pub before: State,
    /// What was decided.
    pub decision: Decision,
    /// Actions that did not work: unit, action, why.
    pub failed: Vec<String>,
    /// What could not be written down.
    pub unwritten: Vec<String>,
    /// State files written, the heartbeat not counted.
    pub written: usize,
    /// Seconds until the next tick is due, at most the interval.
    pub due_s: f64,
}

impl<H: Host, F: Files> Watchdog<H, F> {
    /// The logs that are followed between ticks.
    pub fn follower(&mut self) -> &mut Follower {
        &mut self.memory.follower
    }

    /// A watchdog with nothing in memory.
    pub fn new(host: H, files: F, stamp: String, identity: Identity) -> Watchdog<H, F> {
        Watchdog {
            host,
            files,
            decide: policy::decide,
            stamp,
            identity,
            image: Image::default(),
            memory: Memory::default(),
            status: String::new(),
            ticks: 0,
            last_error: None,
            pruned: None,
        }
    }

    /// Something outside a tick went wrong (a config that became invalid): told once while it stands.
    pub fn trouble(&mut self, key: &str, text: Option<String>) {
        self.memory.troubles.retain(|trouble| trouble.key != key);
        if let Some(text) = text {
            self.memory.troubles.push(crate::model::seen::Trouble { key: key.to_owned(), text });
        }
    }

    /// Does this trouble stand?
    pub fn has_trouble(&self, key: &str) -> bool {
        self.memory.troubles.iter().any(|trouble| trouble.key == key)
    }

    /// Forgets all screens: the next tick captures every pane, as the first one of a process does.
    pub fn forget_screens(&mut self) {
        self.memory.forget();
    }

    /// Observes and decides; writes nothing, does nothing.
    pub fn dry_run(&mut self, config: &Config, scope: Scope) -> (State, Observation, Decision) {
        let now = self.host.now();
        let loaded = self.image.load(&mut self.files, config, &now, Suspects::Leave);
        let before = self.image.state();
        let narrowed = without(config, &loaded.held);
        let config = narrowed.as_ref().unwrap_or(config);
        let seen = observe::gather(
            &mut self.host,
            &mut self.files,
            config,
            &before,
            &mut self.memory,
            &self.stamp,
            scope,
        );
        let decision = (self.decide)(config, &before, &seen);
        (before, seen, decision)
    }

    /// One whole tick.
    pub fn tick(&mut self, config: &Config, scope: Scope) -> TickReport {
        let began = self.host.now();
        let mut loaded = self.image.load(&mut self.files, config, &began, Suspects::Quarantine);
        loaded.troubles.extend(commit::make_room(&mut self.files, &began));
        let before = self.image.state();
        if self.ticks.is_multiple_of(FIXES_TICKS) && loaded.held.is_empty() {
            let troubles = super::fixes::look(&mut self.host, &mut self.files, config, &before);
            self.memory.troubles.retain(|trouble| !trouble.key.starts_with(super::fixes::KEY));
            self.memory.troubles.extend(troubles);
        }
        let narrowed = without(config, &loaded.held);
        let judged = narrowed.as_ref().unwrap_or(config);
        let mut seen = observe::gather(
            &mut self.host,
            &mut self.files,
            judged,
            &before,
            &mut self.memory,
            &self.stamp,
            scope,
        );
        if self.ticks == 0 {
            self.image.mark_crashes(&mut seen);
        }
        let (damaged, again_s) = self.host.tend_records();
        loaded.troubles.extend(damaged);
        loaded.due_s = [loaded.due_s, again_s].into_iter().flatten().min_by(f64::total_cmp);
        let news = self.keep_troubles(&loaded.troubles, seen.now.wall);
        seen.troubles.extend(loaded.troubles);
        // A unit that can't be judged is no stranger.
        seen.strays.retain(|session| !config.units.values().any(|unit| unit.session == *session));
        // A unit that can't be judged now is not unknown: what is asked of it waits.
        let asked = seen.requests.len();
        seen.requests.retain(|request| {
            let of_plan = matches!(request.ask, Ask::Phase { .. }) && loaded.plan_held;
            !of_plan && request.ask.unit().is_none_or(|unit| !loaded.held.contains(unit))
        });
        if loaded.mail_held {
            seen.requests.clear();
        }
        if loaded.mail_held || seen.requests.len() < asked {
            seen.inbox_end = None;
        }
        let mut decision = (self.decide)(judged, &before, &seen);
        decision.events.extend(news);
        if loaded.tokens_held {
            decision.next.tokens = before.tokens.clone();
        }
        for name in &loaded.held {
            // It did not stop.
            policy::activity::carry(config, &before, &seen, name, &mut decision.next);
        }
        if loaded.mail_held {
            forget_mail(&mut decision, &before);
        }

        let mut commit = CommitReport::default();
        if loaded.plan_held {
            stand_still(judged, &before, &mut decision, &mut commit, PLAN_HELD);
        } else {
            // First, for what the agents do hangs on the phase in force.
            self.image.commit_phase(&mut self.files, &decision.next, &seen.now, &mut commit);
            if let Some(why) = commit.phase_failed.clone() {
                stand_still(judged, &before, &mut decision, &mut commit, &why);
            }
        }
        self.image.commit_units(&mut self.files, &decision.next, &seen.now, &mut commit);
        if !loaded.plan_held {
            // After the units: who is told of the work has it on record before the branch's memory moves on.
            self.image.commit_git(&mut self.files, &decision.next, &seen.now, &mut commit);
        }
        if commit.git_failed.is_some() {
            decision.jobs.clear();
        }
        let mut failed = self.mark(&decision.markers);
        failed.extend(commit.phase_failed.clone());
        untake(&mut decision, &before, &seen.requests, &commit);
        if let Some(why) = failed.first() {
            // A request whose marker or phase is not set is not handled: it is taken again at the next tick.
            commit.mail_failed = Some(why.clone());
        } else if !loaded.mail_held {
            self.image.commit_mail(&mut self.files, &decision.next, &seen.now, &mut commit);
        }
        if !loaded.tokens_held {
            self.image.commit_tokens(&mut self.files, &decision.next, &seen.now, &mut commit);
        }
        let mut events = drop_unrecorded(&mut decision, &commit, &self.memory.unrecorded, seen.now.wall);
        // Before the acts: a restart may rotate the log that an incident is about.
        let incidents = self.incidents(config, &decision.next, &seen.now, &commit);
        failed.extend(self.act(&decision, &mut events, &seen.now));
        if loaded.held.is_empty() && commit.failed.is_empty() {
            // What is on disk now waits for these; a result that was taken is no longer wanted.
            self.host.prune_jobs(&policy::wants::jobs(&decision.next));
        }
        decision.events.extend(events);

        self.trim_logs(config, &before);
        let mut unwritten = self.report(config, &before, &seen, &decision, &commit);
        unwritten.extend(incidents);
        let error = unwritten.iter().chain(&failed).next();
        self.last_error = last_error(self.last_error.take(), error, &seen.now);
        let interval = config.watchdog.signal_interval_s;
        let logs = seen.units.values().filter_map(|unit| unit.process.as_ref()?.log.again_s);
        let logs = logs.min_by(f64::total_cmp);
        let due_s = [decision.due_s, loaded.due_s, logs].into_iter().flatten().fold(interval, f64::min);
        // While the clocks can't be written nobody has looked: what the heartbeat says must not run ahead of them, or time
        // in which nobody looked would count as watched.
        let looked = if commit.clocks_failed { &before.clocks } else { &decision.next.clocks };
        unwritten.extend(self.beat(&began, looked, interval));
        TickReport { seen, before, decision, failed, unwritten, written: commit.written, due_s }
    }

    /// Troubles with files stand until the process ends or the file is gone: they are told once, and an event once.
    fn keep_troubles(&mut self, troubles: &[crate::model::seen::Trouble], at: Wall) -> Vec<Event> {
        let mut news = Vec::new();
        for trouble in troubles {
            if !self.memory.troubles.contains(trouble) {
                self.memory.troubles.push(trouble.clone());
                let text = trouble.text.clone();
                news.push(Event { at, unit: None, kind: EventKind::File, text, why: None });
            }
        }
        let extra = self.memory.troubles.len().saturating_sub(100);
        self.memory.troubles.drain(..extra);
        news
    }

    /// Writes the incidents that are owed; what could not be written is told once, and tried again at each tick.
    fn incidents(&mut self, config: &Config, next: &State, now: &Now, commit: &CommitReport) -> Vec<String> {
        let memory = &mut self.memory.incidents;
        let recorded = |name: &UnitName| !commit.failed.contains_key(name);
        let errors = incident::write(&mut self.host, &mut self.files, config, next, memory, now, recorded);
        let text = errors.first().map(|why| {
            format!("an incident could not be written down, it is tried again: {}", one_line(why, 300))
        });
        self.trouble("incidents", text);
        errors
    }

    /// Keeps the logs of processes short; `before` = the state as it was read from the disk. Only what was read by it goes.
    fn trim_logs(&mut self, config: &Config, before: &State) {
        for (name, process) in config.units.iter().filter_map(|(name, unit)| Some((name, unit.process()?))) {
            if config.watchdog.observe_only {
                return;
            }
            let (place, read) = (policy::process::place(process), policy::process::cursor(before, name));
            let why = self.host.trim_log(name, &place, &read, process.log_max);
            let text = why.map(|why| format!("the log of `{name}` grows on: {}", one_line(&why, 300)));
            self.trouble(&format!("log {name}"), text);
        }
    }

    /// Carries out what was granted and recorded.
    fn act(&mut self, decision: &Decision, events: &mut Vec<Event>, now: &Now) -> Vec<String> {
        let (at, mut failed) = (now.wall, Vec::new());
        for job in &decision.jobs {
            if let Outcome::Failed { why } = self.host.perform(&Action::RunJob { job: job.clone() }) {
                let text = format!("starting the job `{}` did not work: {}", job.id, one_line(&why, 300));
                events.push(Event { at, unit: None, kind: EventKind::Failed, text: text.clone(), why: None });
                failed.push(text);
            }
        }
        for granted in &decision.granted {
            let What::Act(action) = &granted.what else { continue };
            if matches!(action, Action::Signal { signal: Signal::Term, .. }) {
                self.memory.termed.insert(granted.unit.clone());
            }
            let first = Heartbeat { at, ..self.heartbeat() };
            self.image.acting(&mut self.files, &granted.unit, &first, now);
            match self.host.perform(action) {
                Outcome::Done => {}
                Outcome::Failed { why } => {
                    let text = format!("{} did not work: {}", granted.label, one_line(&why, 300));
                    let unit = Some(granted.unit.to_string());
                    events.push(Event { at, unit, kind: EventKind::Failed, text: text.clone(), why: None });
                    failed.push(format!("{}: {text}", granted.unit));
                    // (A job that could not be started is told as a job that failed.)
                    if !matches!(action, Action::RunJob { .. }) {
                        self.memory.failed.insert(granted.unit.clone(), one_line(&why, 300));
                    }
                }
            }
        }
        failed
    }

    /// Sets and removes markers. They are idempotent: a request that is handled twice marks twice.
    fn mark(&mut self, markers: &[Action]) -> Vec<String> {
        let mut failed = Vec::new();
        for action in markers {
            let result = match action {
                Action::Mark { marker, text } => {
                    let path = marker.path();
                    let old = self.files.read(&path, 1 << 16).ok().flatten();
                    let line = format!("{}\n", one_line(text, 500));
                    self.files.replace(&path, old.as_deref(), line.as_bytes(), Sync::Durable).map(|_| ())
                }
                Action::Unmark { marker, seen: _ } => remove_any(&mut self.files, &marker.path()),
                Action::NewSession { .. }
                | Action::Respawn { .. }
                | Action::Adopt { .. }
                | Action::LoadBuffer { .. }
                | Action::Paste { .. }
                | Action::DropBuffer { .. }
                | Action::Keys { .. }
                | Action::LeaveMode { .. }
                | Action::Signal { .. }
                | Action::KillSession { .. }
                | Action::RunJob { .. }
                | Action::WriteFile { .. }
                | Action::Run { .. }
                | Action::CancelRun { .. } => Ok(()),
            };
            if let Err(error) = result {
                failed.push(format!("setting a marker: {}", error.message()));
            }
        }
        failed
    }

    fn report(
        &mut self,
        config: &Config,
        before: &State,
        seen: &Observation,
        decision: &Decision,
        commit: &CommitReport,
    ) -> Vec<String> {
        let mut errors: Vec<String> = commit
            .failed
            .iter()
            .map(|(name, why)| format!("{name}: {why}"))
            .chain(commit.mail_failed.clone())
            .chain(commit.tokens_failed.clone())
            .collect();
        let mut masks = report::Masks::new(config, &decision.next);
        if commit.tokens_failed.is_none() {
            errors.extend(report::ledger(&mut self.files, &decision.next, &seen.usage));
        }
        let untold = report::events(&mut self.files, &seen.now, &decision.events, &mut masks);
        // What could not be told is told again.
        self.memory.unrecorded = if untold.is_none() { unrecorded(commit) } else { Unrecorded::default() };
        errors.extend(untold);
        let of_plan = |owed: &Owed| decision.next.phase.owed.contains(owed);
        let recorded = |owed: &Owed| match &owed.unit {
            Some(unit) => !commit.failed.contains_key(unit.as_str()),
            None if of_plan(owed) => commit.phase_failed.is_none(),
            None => commit.mail_failed.is_none(),
        };
        errors.extend(report::outbox(&mut self.files, before, &decision.next, seen, recorded, &mut masks));
        if !decision.next.mail.owed.is_empty()
            || decision.next.units.values().any(|unit| !unit.owed.is_empty())
        {
            prune::outbox(&mut self.files);
        }
        if commit.mail_failed.is_none() {
            prune::inbox(&mut self.files, decision.next.mail.inbox_done);
        }
        if self.pruned.as_ref().is_none_or(|day| *day != seen.now.wall.day()) {
            prune::events(&mut self.files, seen.now.wall);
            self.pruned = Some(seen.now.wall.day());
        }
        report::screens(&mut self.files, decision, &self.memory);
        report::status(&mut self.files, config, &decision.next, seen, &mut self.status);
        errors
    }

    /// What a heartbeat says of this process.
    fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            pid: self.identity.pid,
            command: self.identity.command.clone(),
            started: self.identity.started,
            tick: self.ticks,
            binary: self.identity.binary.clone(),
            ..Heartbeat::default()
        }
    }

    /// Writes the heartbeat; why not, if it could not.
    fn beat(&mut self, began: &Now, looked: &Clocks, interval_s: f64) -> Option<String> {
        self.ticks += 1;
        let ended = self.host.now();
        let heartbeat = Heartbeat {
            at: ended.wall,
            tick_s: ended.awake_s.since_s(began.awake_s),
            looked_awake_s: looked.looked_awake_s,
            ended_awake_s: Some(ended.awake_s),
            gap_s: looked.gap_s,
            interval_s,
            last_error: self.last_error.as_ref().map(|last| last.text.clone()),
            last_error_at: self.last_error.as_ref().map(|last| last.at.wall),
            ..self.heartbeat()
        };
        let error = self.image.beat(&mut self.files, &heartbeat, &ended).err()?.message();
        self.last_error = Some(LastError { text: error.clone(), at: ended });
        Some(error)
    }
}

/// The error that stands after a tick.
fn last_error(old: Option<LastError>, new: Option<&String>, now: &Now) -> Option<LastError> {
    match new {
        Some(text) => Some(LastError { text: text.clone(), at: now.clone() }),
        None => old.filter(|last| now.awake_s.since_s(last.at.awake_s) < ERROR_STANDS_S),
    }
}

/// The config without units that can't be judged now.
fn without(config: &Config, held: &BTreeSet<UnitName>) -> Option<Config> {
    if held.is_empty() {
        return None;
    }
    let mut narrowed = config.clone();
    narrowed.units.retain(|name, _| !held.contains(name));
    Some(narrowed)
}

/// A request is handled when the file of its unit says so: until then it is taken again at the next tick, and mail.json
/// must not say otherwise. What was refused left nothing to record.
fn untake(decision: &mut Decision, before: &State, requests: &[Request], commit: &CommitReport) {
    let lost = |request: &Request| request.ask.unit().is_some_and(|unit| commit.failed.contains_key(unit));
    for request in requests.iter().filter(|request| lost(request)) {
        let mail = &mut decision.next.mail;
        let handled = mail.handled.len();
        mail.handled.retain(|done| done.id != request.id || done.taken == Taken::Refused);
        if mail.handled.len() < handled {
            mail.inbox_done = before.mail.inbox_done;
        }
    }
}

/// mail.json can't be judged now: nothing that hangs on it is done or told, for it could not be remembered.
fn forget_mail(decision: &mut Decision, before: &State) {
    decision.next.mail = before.mail.clone();
    decision.markers.clear();
    decision.events.retain(|event| event.kind != EventKind::Alert || event.unit.is_some());
}

/// The plan's files can't be judged or written now: nothing of the plan moves, and its agents are left as they are, as if
/// their own files could not be written either.
fn stand_still(
    config: &Config,
    before: &State,
    decision: &mut Decision,
    commit: &mut CommitReport,
    why: &str,
) {
    let of_plan = |name: &UnitName| {
        let last = config.sequence.as_ref().and_then(|plan| plan.on_complete.as_ref()) == Some(name);
        let agent = config.units.get(name).and_then(|unit| unit.agent());
        config.sequence.is_some() && (last || agent.is_some_and(|agent| agent.kind == AgentKind::Loop))
    };
    // What is not owed is not told.
    let owed = |text: &str| decision.next.phase.owed.iter().any(|owed| owed.text == text);
    let untold: Vec<bool> = decision
        .events
        .iter()
        .map(|event| event.kind == EventKind::Alert && event.unit.is_none() && owed(&event.text))
        .collect();
    let mut untold = untold.into_iter();
    decision.events.retain(|_| !untold.next().unwrap_or(false));
    decision.next.phase = before.phase.clone();
    decision.next.git = before.git.clone();
    decision.jobs.clear();
    decision.events.retain(|event| !matches!(event.kind, EventKind::Phase | EventKind::Handoff));
    decision.markers.retain(|action| {
        !matches!(action, Action::Mark { marker, .. } | Action::Unmark { marker, .. } if marker.kind == MarkerKind::SequenceComplete)
    });
    for (name, state) in &mut decision.next.units {
        if of_plan(name) {
            *state = before.units.get(name).cloned().unwrap_or_default();
            commit.failed.insert(name.clone(), why.to_owned());
        }
    }
}

/// Why the plan's agents are left alone while one of its files can't be read: that was told when the file was looked at.
const PLAN_HELD: &str = "phase.json or git.json can't be judged now";

/// No record, no act: what hangs on a file that was not written is dropped, and said.
/// What happened to such a unit is decided again at the next tick, and told when it is on record; that it is not is told when
/// that is news.
fn drop_unrecorded(
    decision: &mut Decision,
    commit: &CommitReport,
    told: &Unrecorded,
    at: Wall,
) -> Vec<Event> {
    decision.granted.retain(|granted| !commit.failed.contains_key(&granted.unit));
    let lost = |event: &Event| {
        let why = event.unit.as_deref().and_then(|name| commit.failed.get(name));
        why.is_some_and(|why| *why != PLAN_HELD)
    };
    decision.events.retain(|event| !lost(event));
    unrecorded(commit)
        .into_iter()
        .filter(|news| !told.contains(news))
        .map(|(unit, why)| Event {
            at,
            unit,
            kind: EventKind::File,
            text: format!("not recorded, so nothing done: {why}"),
            why: None,
        })
        .collect()
}

/// What could not be recorded: whose, and why.
pub(super) type Unrecorded = BTreeSet<(Option<String>, String)>;

fn unrecorded(commit: &CommitReport) -> Unrecorded {
    let units = commit.failed.iter().filter(|(_, why)| *why != PLAN_HELD);
    let units = units.map(|(name, why)| (Some(name.to_string()), why.clone()));
    units.chain(commit.mail_failed.iter().chain(&commit.git_failed).map(|why| (None, why.clone()))).collect()
}

/// Removes a file; what is none (a directory) is put aside.
pub(super) fn remove_any<F: Files>(files: &mut F, path: &str) -> Result<()> {
    files.remove(path).or_else(|error| match files.irregular(path) {
        Some(_) => files.quarantine(path).map(|_| ()),
        None => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Awake;

    #[test]
    fn an_error_has_its_time_and_is_forgotten_after_an_hour_without_one() {
        let now = |s: i64| Now {
            wall: Wall(s * 1000),
            awake_s: Awake(s * 1000),
            boot: "b".into(),
            zone: "UTC".into(),
        };
        let told = |last: &Option<LastError>| last.as_ref().map(|last| (last.text.clone(), last.at.wall));
        let full = ("disk full".to_owned(), Wall(100_000));
        let last = last_error(None, Some(&full.0), &now(100));
        assert_eq!(told(&last), Some(full.clone()));
        let last = last_error(last, None, &now(3000));
        assert_eq!(told(&last), Some(full));
        let again = last_error(last.clone(), Some(&"again".to_owned()), &now(3000));
        assert_eq!(told(&again), Some(("again".to_owned(), Wall(3_000_000))));
        assert_eq!(told(&last_error(last, None, &now(3700))), None);
    }
}

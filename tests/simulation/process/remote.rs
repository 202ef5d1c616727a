//! A scheduler on another machine: it queues jobs, starts them, requeues them, forgets them, and does not always answer. What
//! it runs lives on when this machine goes down.
//!
//! Deliberately not here: how its answers are read (`sys::hosts::slurm` and its tests).

use super::machine::{Body, End, FORK_MS, Machine, Mood, Unit};
use super::script;
use std::collections::BTreeMap;
use watchkeeper::model::process::{RunId, RunSeen};
use watchkeeper::model::seen::{Exit, Process};

/// A job that is not at work.
#[derive(Clone, Debug)]
pub struct Queued {
    pub number: u64,
    pub job: u64,
    pub restarts: u64,
    /// `sbatch` is under way until.
    pub listed: i64,
    /// It is started then.
    pub starts: i64,
}

impl Queued {
    fn handle(&self) -> String {
        format!("{}.{}", self.job, self.restarts)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Scheduler {
    /// It does not answer until.
    pub silent_until: i64,
    jobs: u64,
}

impl Machine {
    /// The scheduler takes an order, or refuses it.
    pub fn submit(&mut self, name: &str, number: u64, env: &BTreeMap<String, String>) {
        let (t, look, wall) = (self.t, self.looks, self.local());
        let refused = self.rng.chance(self.temper.stillborn);
        let (listed, starts) = (t + self.rng.between(50, 3000), t + self.rng.between(3000, 90_000));
        self.scheduler.jobs += 1;
        let job = 100 + self.scheduler.jobs;
        let Some(unit) = self.units.get_mut(name) else { return };
        unit.ordered = number;
        unit.env.clone_from(env);
        if refused {
            let note = Some("it could not be submitted: Batch job submission failed".to_owned());
            let end = End {
                number,
                handle: String::new(),
                exit: None,
                born: t,
                at: t,
                wall: Some(wall),
                note,
                ordered: false,
                unseen: false,
                look,
            };
            unit.ends.push(end);
            return self.tell(format!("{name}: run {number} is refused"));
        }
        unit.queued = Some(Queued { number, job, restarts: 0, listed, starts });
        self.tell(format!("{name}: run {number} is job {job}"));
    }

    /// A job's turn has come.
    pub fn start_queued(&mut self, name: &str) {
        let (t, since) = (self.t, self.local());
        let Some(unit) = self.units.get_mut(name) else { return };
        let Some(queued) = unit.queued.take() else { return };
        let body = Body {
            number: queued.number,
            // No process of this machine.
            process: Process { pid: -1, start: queued.job },
            handle: queued.handle(),
            born: t + FORK_MS,
            since,
            env: unit.env.clone(),
            next: t + FORK_MS,
            mood: Mood::Works,
            mood_until: 0,
            step: 0,
            memory: 0,
            ends_at: i64::MAX,
            wrote_at: t,
            advanced_at: t,
            cpu_ms: 0,
            cpu_to: t,
            cpu_at: t,
            stubborn: false,
        };
        unit.body = Some(body);
        script::begin(self, name);
    }

    /// Its node is wanted for others: it goes back to the queue, the same job with another life.
    pub fn requeue(&mut self, name: &str) {
        let t = self.t;
        let starts = t + self.rng.between(1000, 200_000);
        let Some(unit) = self.units.get_mut(name) else { return };
        let Some(body) = unit.body.take() else { return };
        let mut parts = body.handle.split('.').filter_map(|part| part.parse::<u64>().ok());
        let (job, restarts) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0) + 1);
        unit.lives.push((body.number, body.born, t));
        unit.queued = Some(Queued { number: body.number, job, restarts, listed: t, starts });
        self.tell(format!("{name}: job {job} is requeued ({restarts})"));
    }

    /// `scancel`.
    pub fn cancel(&mut self, name: &str) -> Result<(), String> {
        if self.t < self.scheduler.silent_until {
            return Err("the scheduler does not answer (simulated)".into());
        }
        let (t, wall, look) = (self.t, self.local(), self.looks);
        let Some(unit) = self.units.get_mut(name) else { return Ok(()) };
        let Some(queued) = unit.queued.take() else {
            self.end(name, Exit::Signal(15), true);
            return Ok(());
        };
        let handle = queued.handle();
        let note = Some("CANCELLED".to_owned());
        unit.ends.push(End {
            number: queued.number,
            handle,
            exit: None,
            born: t,
            at: t,
            wall: Some(wall),
            note,
            ordered: true,
            unseen: false,
            look,
        });
        self.tell(format!("{name}: run {} is cancelled in the queue", queued.number));
        Ok(())
    }
}

/// How a run stands, as the scheduler says.
pub fn seen(machine: &Machine, unit: &Unit) -> RunSeen {
    if machine.t < machine.scheduler.silent_until {
        return RunSeen::Unknown { why: "squeue: Unable to contact slurm controller (simulated)".into() };
    }
    let id = |number: u64, handle: &str| RunId { number, handle: handle.to_owned() };
    if let Some(queued) = &unit.queued {
        let handle = if machine.t < queued.listed { String::new() } else { queued.handle() };
        let why = "Slurm: PENDING (Priority)".to_owned();
        return RunSeen::Pending { id: id(queued.number, &handle), why, held: None };
    }
    if let Some(body) = &unit.body {
        let since = Some(body.since);
        let id = id(body.number, &body.handle);
        return RunSeen::Alive { id, process: None, since, suspended: false };
    }
    let Some(end) = unit.last_end() else { return RunSeen::Absent };
    let id = id(end.number, &end.handle);
    if end.unseen {
        return RunSeen::vanished(id);
    }
    RunSeen::Ended { id, exit: end.exit, out_of_memory: false, at: end.wall, note: end.note.clone() }
}

//! Jobs of the simulated machine: healers that mend, do nothing, babble or never end, and the steps that end their edits.

use super::machine::Machine;
use watchkeeper::model::action::{FixStep, JOB_LATE, Job};
use watchkeeper::model::seen::{FixSeen, JobSeen};

/// What a healer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Mends,
    Nothing,
    Sets,
    Babbles,
    NeverEnds,
    GivesUp,
    /// A step that ends an agent's edits.
    Step(FixStep),
}

/// A job.
#[derive(Clone, Debug)]
pub struct SimJob {
    pub unit: String,
    pub ends_at: i64,
    deed: Deed,
    pub ended: Option<JobSeen>,
}

impl Machine {
    /// Starts a job; one of its name that still runs is left alone.
    pub fn start_job(&mut self, job: &Job) {
        if self.jobs.get(&job.id).is_some_and(|job| job.ended.is_none()) {
            return;
        }
        let unit = job.id.split('.').next().unwrap_or_default().to_owned();
        let deed = match job.fix.as_ref().map(|fix| fix.step) {
            Some(
                step @ (FixStep::Restore
                | FixStep::Keep
                | FixStep::Merge
                | FixStep::OpenClean
                | FixStep::OpenDirty
                | FixStep::Collect),
            ) => Deed::Step(step),
            Some(FixStep::Clean | FixStep::Dirty) | None => {
                if self.rng.chance(self.temper.babbles) {
                    *self.rng.pick(&[Deed::Babbles, Deed::NeverEnds, Deed::GivesUp])
                } else if self.rng.chance(self.temper.mends) {
                    Deed::Mends
                } else {
                    *self.rng.pick(&[Deed::Nothing, Deed::Sets])
                }
            }
        };
        let takes = match deed {
            Deed::NeverEnds => i64::from(job.deadline_s) * 1000,
            Deed::Step(_) => self.rng.between(50, 2000),
            Deed::Mends | Deed::Nothing | Deed::Sets | Deed::Babbles | Deed::GivesUp => {
                self.rng.between(1000, 40_000)
            }
        };
        self.tell(format!("job {} begins: {deed:?}", job.id));
        let ends_at = self.t + takes;
        self.jobs.insert(job.id.clone(), SimJob { unit, ends_at, deed, ended: None });
    }

    /// Ends those whose time has come.
    pub fn end_jobs(&mut self) {
        let t = self.t;
        let due: Vec<String> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.ended.is_none() && job.ends_at <= t)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let Some((deed, unit)) = self.jobs.get(&id).map(|job| (job.deed, job.unit.clone())) else {
                continue;
            };
            let ended = self.outcome(deed, &unit);
            self.tell(format!("job {id} ends"));
            if let Some(job) = self.jobs.get_mut(&id) {
                job.ended = Some(ended);
            }
        }
    }

    fn outcome(&mut self, deed: Deed, unit: &str) -> JobSeen {
        let Some(truth) = self.units.get_mut(unit) else { return JobSeen::well("") };
        let fix = |open: bool| {
            let branch = if open { "watchkeeper/fix-1" } else { "" };
            Some(Box::new(FixSeen { branch: branch.into(), open, ..FixSeen::default() }))
        };
        let said = |output: &str, open: bool| JobSeen::Ended {
            failed: None,
            status: Some(0),
            output: output.to_owned(),
            fix: fix(open),
        };
        match deed {
            Deed::Mends => {
                (truth.bug, truth.edited) = (false, true);
                said("I mended it.\nACTION: restart\n", true)
            }
            Deed::Nothing => said("Try again.\nACTION: restart\n", false),
            Deed::Sets => said("ACTION: restart-with-env\nSET: MODE=safe\n", false),
            Deed::Babbles => said("It might be the disk.\n", false),
            Deed::GivesUp => said("ACTION: pause\n", false),
            Deed::NeverEnds => JobSeen::Ended {
                failed: Some(JOB_LATE.to_owned()),
                status: None,
                output: String::new(),
                fix: fix(false),
            },
            Deed::Step(step) => {
                if step == FixStep::Restore && truth.edited {
                    (truth.bug, truth.edited) = (true, false);
                }
                // What an interactive agent may edit is open from before its request.
                said("", matches!(step, FixStep::OpenClean | FixStep::OpenDirty | FixStep::Collect))
            }
        }
    }

    /// The machine goes down: so do they.
    pub fn kill_jobs(&mut self) {
        for job in self.jobs.values_mut().filter(|job| job.ended.is_none()) {
            let failed = Some("it was killed before it ended".to_owned());
            job.ended = Some(JobSeen::Ended { failed, status: None, output: String::new(), fix: None });
        }
    }
}

//! Hosts that answer late (Slurm, container engines): one question for all their units is a job, its answer is read by a
//! later tick. No answer is no knowledge: a controller or a daemon that is down ended nothing.
//!
//! Deliberately not here: the words of each host (`slurm`, `docker`).

use super::{docker, records, slurm};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use crate::base::time::Wall;
use crate::model::action::Job;
use crate::model::process::{HostLaunch, HostPlace, ProcessLaunch, RunId, RunQuery, RunSeen};
use crate::model::seen::JobSeen;
use crate::sys::files::read_bounded;
use crate::sys::{clock, exe, jobs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A host is asked again after this time, seconds.
const AGAIN_S: f64 = 5.0;
/// One that has not answered for so long is not believed to be well, seconds.
const HUNG_S: f64 = 15.0;
/// An answer may be so old: nobody asked in between, seconds.
const AGE_S: f64 = 600.0;
/// A question's deadline, seconds. (squeue gives up on a controller that is down after 9 s, scontrol after 18 s.)
const DEADLINE_S: u32 = 25;
/// The deadline of an order: an image may have to be fetched, seconds.
const ORDER_DEADLINE_S: u32 = 900;
/// Largest answer read.
const ANSWER_MAX: u64 = 16 << 20;

/// A job that ended.
#[derive(Clone, Debug)]
pub struct Over {
    pub job: Job,
    /// When it was started …
    pub asked: Wall,
    /// … and when it ended.
    pub ended: Wall,
    /// None = well.
    pub failed: Option<String>,
    pub output: String,
    pub errors: String,
}

/// How a host's job stands.
#[derive(Clone, Debug)]
pub enum Standing {
    Never,
    Running { job: Box<Job>, asked: Wall },
    Over(Box<Over>),
}

/// What is to be asked for a unit, or how its run stands without a further question.
type Meant = std::result::Result<RunQuery, RunSeen>;

/// What the remote hosts said last.
#[derive(Debug)]
pub struct Remotes {
    good: BTreeMap<String, Over>,
    /// Our own binary, which runs jobs and fetches logs; None = the one that runs.
    binary: Option<PathBuf>,
    /// A host is asked again after this time, seconds.
    again_s: f64,
    /// Children of ours to be waited for: runners of jobs, and who fetches logs.
    pub children: Vec<std::process::Child>,
}

/// Reads a job's files.
pub fn standing(state_dir: &Path, id: &str) -> Standing {
    let dir = state_dir.join("jobs").join(id);
    let text = |name: &str| {
        let bytes = read_bounded(&dir.join(name), ANSWER_MAX).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let time = |name: &str| {
        let changed = std::fs::metadata(dir.join(name)).and_then(|meta| meta.modified());
        changed.map_or_else(|_| clock::wall(), clock::from_system)
    };
    let Ok(job) = serde_json::from_str::<Job>(&text("job.json")) else { return Standing::Never };
    let asked = time("job.json");
    match jobs::seen(state_dir, id) {
        JobSeen::None => Standing::Never,
        JobSeen::Running => Standing::Running { job: Box::new(job), asked },
        JobSeen::Ended { failed, .. } => {
            let (output, errors) = (text("output"), text("errors"));
            Standing::Over(Box::new(Over { job, asked, ended: time("exit.json"), failed, output, errors }))
        }
    }
}

impl Standing {
    /// The number of the run that an order was for, if it was for this unit.
    fn number(&self, state_dir: &Path, unit: &str) -> Option<u64> {
        let job = match self {
            Standing::Never => return None,
            Standing::Running { job, .. } => job.as_ref(),
            Standing::Over(over) => &over.job,
        };
        let number = job.env.get(records::RUN_ENV)?.rsplit('/').next()?.parse().ok()?;
        Some(number).filter(|n| job.env.get(records::RUN_ENV) == Some(&records::mark(state_dir, unit, *n)))
    }
}

/// The job that orders a run.
pub fn order_id(unit: &str) -> String {
    format!("run-{unit}")
}

/// The order of exactly this run.
pub fn order_of(state_dir: &Path, unit: &str, number: u64) -> Standing {
    let standing = standing(state_dir, &order_id(unit));
    match standing.number(state_dir, unit) == Some(number) {
        true => standing,
        false => Standing::Never,
    }
}

/// A question as a job.
pub fn question(id: &str, argv: Vec<String>, env: &[(&str, &str)]) -> Job {
    let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Job {
        id: id.to_owned(),
        argv,
        env,
        dir: "/".to_owned(),
        deadline_s: DEADLINE_S,
        env_remove: Vec::new(),
        stdin: None,
        awaited: false,
        fix: None,
    }
}

impl Default for Remotes {
    fn default() -> Remotes {
        Remotes { good: BTreeMap::new(), binary: None, again_s: AGAIN_S, children: Vec::new() }
    }
}

impl Remotes {
    /// The same with that binary, and another time after which a host is asked again.
    pub fn with(binary: &Path, again_s: f64) -> Remotes {
        Remotes { binary: Some(binary.to_owned()), again_s, ..Remotes::default() }
    }

    /// The same with that binary for the jobs.
    #[must_use]
    pub fn by(self, binary: &Path) -> Remotes {
        Remotes { binary: Some(binary.to_owned()), ..self }
    }

    /// Our own binary.
    pub fn binary(&self) -> Result<PathBuf> {
        match &self.binary {
            Some(binary) => Ok(binary.clone()),
            None => exe::Binary::running().map(|binary| binary.program()),
        }
    }

    /// How these runs stand; asks the hosts when it is time.
    pub fn look(&mut self, state_dir: &Path, queries: &[&RunQuery]) -> Vec<RunSeen> {
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let newest = queries.iter().map(|query| newest(state_dir, query)).collect();
        let queries: Vec<Meant> = self.meant(state_dir, newest);
        let mut by_host: BTreeMap<String, Vec<&RunQuery>> = BTreeMap::new();
        for query in queries.iter().flatten() {
            by_host.entry(host_of(&query.place)).or_default().push(query);
        }
        let mut answers: BTreeMap<String, std::result::Result<Over, String>> = BTreeMap::new();
        for (host, queries) in by_host {
            let names: Vec<String> = queries.iter().map(|query| name_of(state_dir, query)).collect();
            let job = match host.is_empty() {
                true => question("host-slurm", slurm::question(&names), &[("SLURM_TIME_FORMAT", "%s")]),
                false => question(&docker::question_id(&host), docker::question(&host, &names), &[]),
            };
            let is_answer = |over: &Over| over.failed.is_none() || docker::is_answer(over);
            answers.insert(host, self.ask(state_dir, &job, &is_answer));
        }
        let judge = |query: &Meant| match query {
            Ok(query) => self.judge(state_dir, query, &answers),
            Err(seen) => seen.clone(),
        };
        queries.iter().map(judge).collect()
    }

    /// An engine is asked for containers by their names, which have the run's number. Where none is known, one may be there all
    /// the same, for everything that was written down of it may be lost: it is looked for first.
    fn meant(&mut self, state_dir: &Path, queries: Vec<RunQuery>) -> Vec<Meant> {
        let mut answers: BTreeMap<String, std::result::Result<Over, String>> = BTreeMap::new();
        let mut meant = |query: RunQuery| {
            let HostPlace::Docker { engine } = &query.place else { return Ok(query) };
            if query.known.number > 0 {
                return Ok(query);
            }
            let answer = answers.entry(engine.clone()).or_insert_with(|| {
                let job = question(&docker::names_id(engine), docker::names_question(engine), &[]);
                self.ask(state_dir, &job, &|over| over.failed.is_none())
            });
            match answer {
                Err(why) => Err(RunSeen::Unknown { why: why.clone() }),
                Ok(answer) => match docker::latest(&answer.output, state_dir, query.unit.as_str()) {
                    None => Err(RunSeen::Absent),
                    Some(number) => Ok(RunQuery { known: RunId { number, handle: String::new() }, ..query }),
                },
            }
        };
        queries.into_iter().map(&mut meant).collect()
    }

    fn judge(
        &mut self,
        state_dir: &Path,
        query: &RunQuery,
        answers: &BTreeMap<String, std::result::Result<Over, String>>,
    ) -> RunSeen {
        let answer = match answers.get(&host_of(&query.place)) {
            Some(Ok(answer)) => answer,
            Some(Err(why)) => return RunSeen::Unknown { why: why.clone() },
            None => return RunSeen::Unknown { why: "nobody asked".to_owned() },
        };
        let name = name_of(state_dir, query);
        if !answer.job.argv.iter().any(|word| word.split(',').any(|part| part == name)) {
            return RunSeen::Unknown { why: "it is being asked".to_owned() };
        }
        match &query.place {
            HostPlace::Slurm => slurm::judge(self, state_dir, query, answer),
            HostPlace::Docker { engine } => docker::judge(self, state_dir, query, engine, answer),
            HostPlace::Local | HostPlace::Attach { .. } => {
                RunSeen::Unknown { why: "it is no remote host".to_owned() }
            }
        }
    }

    /// The last good answer to a question, which is asked again when it is time; else why there is none.
    pub fn ask(
        &mut self,
        state_dir: &Path,
        job: &Job,
        is_answer: &dyn Fn(&Over) -> bool,
    ) -> std::result::Result<Over, String> {
        let now = clock::wall();
        let program = job.argv.first().map_or("", String::as_str).to_owned();
        let failed = match standing(state_dir, &job.id) {
            Standing::Running { asked, .. } if now.since_s(asked).abs() > HUNG_S => {
                Some(format!("`{program}` has not answered for {:.0} s", now.since_s(asked)))
            }
            Standing::Running { .. } => None,
            Standing::Never => {
                self.start(state_dir, job)?;
                None
            }
            Standing::Over(over) => {
                let failed = match is_answer(&over) {
                    true => None,
                    false => Some(format!("`{program}`: {}", words(&over))),
                };
                let is_other = over.job.argv != job.argv;
                if is_other || now.since_s(over.ended).abs() >= self.again_s {
                    self.start(state_dir, job)?;
                }
                if failed.is_none() {
                    self.good.insert(job.id.clone(), *over);
                }
                failed
            }
        };
        if failed.is_some() {
            // What was said before is believed again only when it is said again.
            self.good.remove(&job.id);
        }
        match (failed, self.good.get(&job.id)) {
            (Some(why), _) => Err(why),
            (None, Some(good)) if now.since_s(good.ended).abs() <= AGE_S => Ok(good.clone()),
            (None, _) => Err(format!("`{program}` is being asked")),
        }
    }

    fn start(&mut self, state_dir: &Path, job: &Job) -> std::result::Result<(), String> {
        let start = || jobs::start_by(&self.binary()?, state_dir, job);
        let runner = start().map_err(|error| error.message())?;
        self.children.extend(runner);
        Ok(())
    }

    /// An order that must not get lost: one of its kind that is still under way stands in its way.
    fn order(&mut self, state_dir: &Path, job: &Job) -> Result<()> {
        if let Standing::Running { .. } = standing(state_dir, &job.id) {
            return Err(Error::again("an order of before is still under way"));
        }
        self.start(state_dir, job).map_err(Error::again)
    }

    /// Orders a run. The very run that was ordered before is not ordered again.
    pub fn run(&mut self, state_dir: &Path, launch: &ProcessLaunch) -> Result<()> {
        let unit = launch.unit.as_str();
        match standing(state_dir, &order_id(unit)).number(state_dir, unit) {
            Some(before) if before == launch.number => return Ok(()),
            Some(before) if before > launch.number => {
                return Err(Error::again(format!(
                    "run {before} was ordered already, {} is older",
                    launch.number
                )));
            }
            Some(_) | None => {}
        }
        let dir = records::unit_dir(state_dir, unit);
        crate::sys::files::make_dir(&dir)?;
        super::rotate::at_start(&dir, launch.log_max)?;
        let argv = match &launch.host {
            HostLaunch::Slurm { args } => slurm::order(&self.binary()?, state_dir, launch, args)?,
            HostLaunch::Docker { engine, image, args } => {
                docker::order(state_dir, launch, engine, image, args)
            }
            HostLaunch::Local => return Err(Error::usage("a local process is no remote one")),
        };
        let mut env = launch.env.clone();
        env.insert("WATCHKEEPER_UNIT".to_owned(), unit.to_owned());
        env.insert("WATCHKEEPER_UNIT_DIR".to_owned(), dir.to_string_lossy().into_owned());
        env.insert(records::RUN_ENV.to_owned(), records::mark(state_dir, unit, launch.number));
        let job = Job {
            env,
            dir: launch.dir.clone(),
            deadline_s: ORDER_DEADLINE_S,
            awaited: true,
            fix: None,
            ..question(&order_id(unit), argv, &[])
        };
        self.order(state_dir, &job)
    }

    /// Orders the end of a run. That it ended, a later look tells: `scancel` of an unknown job says nothing and ends well.
    pub fn cancel(&mut self, state_dir: &Path, unit: &str, id: &RunId, place: &HostPlace) -> Result<()> {
        let argv = match place {
            HostPlace::Slurm => slurm::cancel(id)?,
            HostPlace::Docker { engine } => docker::cancel(state_dir, unit, id, engine),
            HostPlace::Local | HostPlace::Attach { .. } => {
                return Err(Error::usage("a process of this machine is ended by signals"));
            }
        };
        let job = Job { deadline_s: 120, awaited: true, ..question(&format!("cancel-{unit}"), argv, &[]) };
        self.order(state_dir, &job)
    }
}

/// The question about the run that was ordered last, when its number is later than what is remembered.
fn newest(state_dir: &Path, query: &RunQuery) -> RunQuery {
    let unit = query.unit.as_str();
    let ordered = standing(state_dir, &order_id(unit)).number(state_dir, unit);
    match ordered.filter(|number| *number > query.known.number) {
        Some(number) => RunQuery { known: RunId { number, handle: String::new() }, ..query.clone() },
        None => query.clone(),
    }
}

/// What a failed job said.
pub fn words(over: &Over) -> String {
    let said = one_line(&over.errors, 300);
    match said.is_empty() {
        true => over.failed.clone().unwrap_or_default(),
        false => said,
    }
}

/// "" is Slurm, else the engine.
fn host_of(place: &HostPlace) -> String {
    match place {
        HostPlace::Docker { engine } => engine.clone(),
        HostPlace::Local | HostPlace::Attach { .. } | HostPlace::Slurm => String::new(),
    }
}

/// What the host calls the run.
fn name_of(state_dir: &Path, query: &RunQuery) -> String {
    match query.place {
        HostPlace::Docker { .. } => docker::name(state_dir, query.unit.as_str(), query.known.number),
        HostPlace::Slurm | HostPlace::Local | HostPlace::Attach { .. } => {
            slurm::name(state_dir, query.unit.as_str())
        }
    }
}

//! Fetching the branch that carries the work: one bounded job at a time, every interval, while there is loop work. A
//! remote that hangs or fails is told once. Deliberately not here: what the branch says (plan, handoff).

use super::plan::Stage;
use super::proposal::{EventKind, Notes};
use crate::base::text::one_line;
use crate::config::{AgentKind, Config, Sequence};
use crate::model::action::Job;
use crate::model::seen::{JobSeen, Observation, Scope};
use crate::state::State;
use crate::state::mail::Level;
use std::collections::BTreeMap;

/// The job's name.
pub const JOB: &str = "fetch";
/// A fetch is ended after this long, seconds: a first fetch of a large repository takes minutes.
const DEADLINE_S: u32 = 120;
/// A fetch that still runs this long after its deadline is stuck, seconds.
const STUCK_S: f64 = 60.0;

/// Notes how the last fetch went; orders the next one when it is due.
pub fn fold(
    config: &Config,
    seen: &Observation,
    stage: &Stage,
    next: &mut State,
    notes: &mut Notes,
) -> Option<Job> {
    let plan = config.sequence.as_ref()?;
    let now = &seen.now;
    let age = next.git.fetch_awake_s.map(|at| now.awake_s.since_s(at));
    let trouble = match (&seen.fetch, age) {
        (JobSeen::Running, Some(age)) if age > f64::from(DEADLINE_S) + STUCK_S => {
            Some(format!("it has run for {age:.0} s, and its deadline is {DEADLINE_S} s"))
        }
        (JobSeen::Running, _) => return None,
        (JobSeen::Ended { failed: Some(why) }, _) => Some(one_line(why, 300)),
        (JobSeen::Ended { failed: None } | JobSeen::None, _) => None,
    };
    tell(plan, seen, trouble, next, notes);
    if seen.fetch == JobSeen::Running || !is_work(config, seen, stage) {
        return None;
    }
    let interval = config.watchdog.signal_interval_s;
    if let Some(left) = age.map(|age| interval - age).filter(|left| *left > 0.05) {
        notes.due_in(left);
        return None;
    }
    next.git.fetch_awake_s = Some(now.awake_s);
    next.git.fetches = next.git.fetches.saturating_add(1);
    Some(job(plan))
}

/// Loop work is on: a loop agent is wanted, and nothing says to leave it alone.
fn is_work(config: &Config, seen: &Observation, stage: &Stage) -> bool {
    let quiet = seen.scope == Scope::Asked
        || config.watchdog.observe_only
        || seen.markers.down.is_some()
        || super::context::paused(&seen.markers, &seen.now).is_some()
        || *stage == Stage::Complete;
    let wanted = |unit: &crate::config::Unit| {
        let down = seen.units.get(&unit.name).is_some_and(|seen| seen.markers.down.is_some());
        unit.enabled && !down && unit.agent().is_some_and(|agent| agent.kind == AgentKind::Loop)
    };
    !quiet && config.units.values().any(wanted)
}

/// A remote that fails is told once; so is that it works again.
fn tell(plan: &Sequence, seen: &Observation, trouble: Option<String>, next: &mut State, notes: &mut Notes) {
    let at = seen.now.wall;
    match (trouble, next.git.told.is_some()) {
        (Some(why), false) => {
            let text = format!(
                "fetching `{}` into `{}` does not work: {why}; it is tried again every interval, and what was fetched before counts",
                plan.tracking(),
                plan.repo.display()
            );
            notes.event(at, None, EventKind::Fleet, text.clone());
            next.mail.owe(at, Level::Warning, text);
            next.git.told = Some(why);
        }
        (None, true) if seen.fetch == (JobSeen::Ended { failed: None }) => {
            next.git.told = None;
            notes.event(at, None, EventKind::Fleet, format!("fetching `{}` works again", plan.tracking()));
        }
        (Some(_), true) | (None, _) => {}
    }
}

fn job(plan: &Sequence) -> Job {
    let refspec = format!("+refs/heads/{0}:refs/remotes/{1}/{0}", plan.branch, plan.remote);
    let words = [
        "git",
        "-c",
        "gc.auto=0",
        "-c",
        "maintenance.auto=false",
        "fetch",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--",
        &plan.remote,
        &refspec,
    ];
    // Nobody is there to answer a question.
    let env = [
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "true"),
        ("SSH_ASKPASS", "true"),
        ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=20"),
        ("LC_ALL", "C"),
    ];
    Job {
        id: JOB.to_owned(),
        argv: words.iter().map(|word| (*word).to_owned()).collect(),
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
        dir: plan.repo.to_string_lossy().into_owned(),
        deadline_s: DEADLINE_S,
    }
}

//! Fetching the branch that carries the work: one bounded job at a time, every interval, while there is loop work. A
//! remote that hangs or fails is told once. Deliberately not here: what the branch says (plan, handoff).

use super::plan::Stage;
use super::proposal::{EventKind, Notes};
use crate::base::text::one_line;
use crate::config::{AgentKind, Config, Sequence};
use crate::model::action::{JOB_LATE, Job};
use crate::model::seen::{JobSeen, Observation, Scope};
use crate::state::State;
use crate::state::git::GitState;
use crate::state::mail::Level;
use std::collections::BTreeMap;

/// The job's name.
pub const JOB: &str = "fetch";
/// A fetch is ended after this long, seconds: a first fetch of a large repository takes minutes.
const DEADLINE_S: u32 = 120;
/// Longest that one gets after some that took longer, seconds.
const DEADLINE_MAX_S: u32 = 3600;
/// Failures in a row that people hear of: a network has its moments.
const FAILURES_TOLD: u32 = 3;
/// Longest that the first answer of a remote is waited for before a phase is chosen, seconds.
const FIRST_S: f64 = 20.0;
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
    let patience = next.git.patience_s.clamp(DEADLINE_S, DEADLINE_MAX_S);
    // An instant that is still to come (an edited file) is none.
    let asked = next.git.fetch_awake_s.filter(|at| *at <= now.awake_s);
    let age = asked.map(|at| now.awake_s.since_s(at));
    match &seen.fetch {
        JobSeen::Running => {
            // One that nobody remembers counts from its first sight.
            next.git.fetch_awake_s = asked.or(Some(now.awake_s));
            let stuck = age.filter(|age| *age > f64::from(patience) + STUCK_S);
            if let Some(age) = stuck {
                tell(
                    plan,
                    seen,
                    &format!("it has run for {age:.0} s, its deadline is {patience} s"),
                    next,
                    notes,
                );
            }
            return None;
        }
        JobSeen::Ended { failed: Some(why), .. } if next.git.judged < next.git.fetches => {
            next.git.judged = next.git.fetches;
            next.git.failures = next.git.failures.saturating_add(1);
            if why.contains(JOB_LATE) {
                // A first fetch of a large repository begins anew each time: it gets longer.
                next.git.patience_s = patience.saturating_mul(2).min(DEADLINE_MAX_S);
            }
            if next.git.failures >= FAILURES_TOLD {
                tell(plan, seen, &one_line(why, 300), next, notes);
            }
        }
        JobSeen::Ended { failed: None, .. } if next.git.judged < next.git.fetches => {
            next.git.judged = next.git.fetches;
            (next.git.failures, next.git.patience_s) = (0, 0);
            if next.git.told.take().is_some() {
                notes.event(
                    now.wall,
                    None,
                    EventKind::Fleet,
                    format!("fetching `{}` works again", plan.tracking()),
                );
            }
        }
        JobSeen::Ended { .. } | JobSeen::None => {}
    }
    if !is_work(config, seen, stage) {
        return None;
    }
    let interval = config.watchdog.signal_interval_s;
    if let Some(left) = age.map(|age| interval - age).filter(|left| *left > 0.05) {
        notes.due_in(left);
        return None;
    }
    next.git.fetch_awake_s = Some(now.awake_s);
    next.git.fetches = next.git.fetches.saturating_add(1);
    Some(job(plan, next.git.patience_s.clamp(DEADLINE_S, DEADLINE_MAX_S)))
}

/// Is the remote's first answer still to come? Bounded: one that hangs is not waited for for ever.
pub fn is_awaited(config: &Config, seen: &Observation, git: &GitState) -> bool {
    let age = git.fetch_awake_s.map_or(0.0, |at| seen.now.awake_s.since_s(at));
    let answered = git.judged > 0 || matches!(seen.fetch, JobSeen::Ended { .. }) && git.fetches > 0;
    !answered && age < FIRST_S && is_work(config, seen, &Stage::NoPlan)
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

/// A remote that fails is told once.
fn tell(plan: &Sequence, seen: &Observation, why: &str, next: &mut State, notes: &mut Notes) {
    if next.git.told.is_some() {
        return;
    }
    let at = seen.now.wall;
    let text = format!(
        "fetching `{}` into `{}` does not work: {why}; it is tried again every interval, and what was fetched before counts",
        plan.tracking(),
        plan.repo.display()
    );
    notes.event(at, None, EventKind::Fleet, text.clone());
    next.phase.owe(at, Level::Warning, text);
    next.git.told = Some(why.to_owned());
}

fn job(plan: &Sequence, deadline_s: u32) -> Job {
    let refspec = format!("+refs/heads/{0}:refs/remotes/{1}/{0}", plan.branch, plan.remote);
    // Nothing but this one branch, no hooks, no housekeeping: the clone may be somebody's work place.
    let words = [
        "git",
        "-c",
        "gc.auto=0",
        "-c",
        "maintenance.auto=false",
        "-c",
        "core.hooksPath=/dev/null",
        "fetch",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--refmap=",
        "--",
        &plan.remote,
        &refspec,
    ];
    let above = plan.repo.parent().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default();
    let env = [
        // Nobody is there to answer a question; the runner has no terminal either.
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ("GIT_ASKPASS", "true".to_owned()),
        ("SSH_ASKPASS_REQUIRE", "never".to_owned()),
        ("LC_ALL", "C".to_owned()),
        // A folder that is no repository (yet) must not lead to one that it lies in.
        ("GIT_CEILING_DIRECTORIES", above),
    ];
    Job {
        id: JOB.to_owned(),
        argv: words.iter().map(|word| (*word).to_owned()).collect(),
        env: env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>(),
        dir: plan.repo.to_string_lossy().into_owned(),
        deadline_s,
        env_remove: Vec::new(),
        stdin: None,
        awaited: false,
        fix: None,
    }
}

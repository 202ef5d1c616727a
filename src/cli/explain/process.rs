//! What `why` says of a process: its runs and budget, the remedy under way, what is watched, and what comes next.
//!
//! Deliberately not here: agents and services (`explain`), and what was withheld (its hold says that).

use super::{Subject, ago};
use crate::base::text::counted;
use crate::base::time::human_s;
use crate::config::{Lifecycle, ProcessHost, ProcessUnit};
use crate::model::seen::ScreenState;
use crate::state::process::{RemedyStep, RunState, Standing};

/// What is known of it, beside what all units have.
pub(super) fn facts(s: &Subject<'_>, unit: &ProcessUnit) -> Vec<String> {
    let process = &s.state.process;
    let mut facts: Vec<String> = runs(&process.run, unit).into_iter().collect();
    facts.extend(standing(&process.run.standing));
    if let Some(since) = &process.run.held {
        let (why, ago) = (&since.held.why, ago(s, since.since_awake_s));
        facts.push(format!("it waits for {ago} by now, and does not begin by itself ({why})"));
    }
    if !process.run.env.is_empty() {
        // Names alone: a value may be a secret. `config` and the incidents show them masked.
        let names: Vec<&str> = process.run.env.keys().map(String::as_str).collect();
        facts.push(format!("remedies set {} for its runs", names.join(", ")));
    }
    if let Some(remedy) = &process.remedy {
        let folder = match remedy.incident.as_str() {
            "" => String::new(),
            incident => format!(" (incident {incident})"),
        };
        let step = match &remedy.step {
            RemedyStep::Due => "to be done".to_owned(),
            RemedyStep::Ask { since_awake_s } => {
                format!("the healing agent is to be asked, since {}", ago(s, *since_awake_s))
            }
            RemedyStep::Thinking { .. } => "the healing agent thinks".to_owned(),
            RemedyStep::Opening { .. } | RemedyStep::Opened { .. } => {
                "the tree is written down before an agent is asked".to_owned()
            }
            RemedyStep::Closing { .. } => "an answer came; what was edited goes to its branch".to_owned(),
            RemedyStep::Requested { since_awake_s } => format!(
                "asked {} ago; the answer is waited for, for at most {}",
                ago(s, *since_awake_s),
                human_s(unit.healing.timeout_s)
            ),
            RemedyStep::Command { .. } => "the rule's command runs".to_owned(),
        };
        let what = &remedy.remedy;
        facts.push(format!(
            "`{}` found something{folder}: {} by {}, {step}",
            remedy.detector,
            what.action,
            what.source.human()
        ));
    }
    for watched in &process.heal.verify {
        facts.push(format!(
            "{} against `{}` is being verified: {} of {} without it",
            watched.action,
            watched.detector,
            human_s(watched.silent_s),
            human_s(unit.healing.verify_window_s)
        ));
    }
    facts
}

fn runs(run: &RunState, unit: &ProcessUnit) -> Option<String> {
    if run.number == 0 {
        return None;
    }
    let host = match &unit.host {
        ProcessHost::Attach { .. } => return None,
        ProcessHost::Local => "",
        ProcessHost::Slurm { .. } => ", Slurm job",
        ProcessHost::Docker { .. } => ", container",
    };
    let handle = if host.is_empty() { "" } else { run.handle.as_str() };
    let mut words = format!(
        "run {}{host}{}{handle}; {} of at most {} used, {} ever",
        run.number,
        if handle.is_empty() { "" } else { " " },
        counted(usize::try_from(run.restarts).unwrap_or(usize::MAX), "restart"),
        unit.restart.max,
        run.total
    );
    if let Some(failure) = run.failure.as_ref().filter(|failure| failure.count > 1) {
        let most = unit.max_identical;
        words.push_str(&format!(
            "; it failed {} times in a row the same way ({most} end the trying)",
            failure.count
        ));
    }
    Some(words)
}

fn standing(standing: &Standing) -> Option<String> {
    match standing {
        // What it needs says why, above.
        Standing::Open | Standing::Paused { .. } | Standing::Spent { .. } => None,
        Standing::Finished { well: true } => Some("it ended well: it is over".to_owned()),
        Standing::Finished { well: false } => Some("it ended, and is over".to_owned()),
        Standing::Aborted { why } => Some(format!("it was given up: {why}")),
    }
}

/// What becomes of it while it does not run.
pub(super) fn next(s: &Subject<'_>, unit: &ProcessUnit) -> Option<String> {
    let name = &s.unit.name;
    if s.line.up || !s.line.wanted {
        return None;
    }
    if let ProcessHost::Attach { .. } = unit.host {
        return Some("nothing: it was started by somebody else, and is never started here".to_owned());
    }
    let run = &s.state.process.run;
    match &run.standing {
        Standing::Paused { .. } | Standing::Spent { .. } => {
            return Some(format!("nothing, until `watchkeeper approve {name}` lets it go on"));
        }
        Standing::Finished { .. } | Standing::Aborted { .. } => {
            return Some(format!("nothing; `watchkeeper restart {name}` runs it once more"));
        }
        Standing::Open => {}
    }
    if let Some(since) = &run.held {
        return Some(format!("nothing, until somebody sees to it: {}", since.held.advice));
    }
    if s.line.state == ScreenState::Starting {
        return Some("it begins when its host lets it".to_owned());
    }
    // What a start waits for stands there already as what was withheld.
    if s.state.hold.is_some() {
        return None;
    }
    let counts = s.state.process.remedy.as_ref().is_some_and(|remedy| remedy.step == RemedyStep::Due);
    let left = match run.ended_awake_s {
        Some(ended) if counts || unit.lifecycle == Lifecycle::RestartAlways => {
            unit.restart.cooldown_s - s.now.awake_s.since_s(ended)
        }
        Some(_) | None => 0.0,
    };
    match s.state.process.remedy {
        Some(_) if !counts => None,
        Some(_) | None if left > 0.0 => Some(format!(
            "in {}: a start (cooldown {} after its end)",
            human_s(left),
            human_s(unit.restart.cooldown_s)
        )),
        Some(_) | None => Some("with the next tick: it is started".to_owned()),
    }
}

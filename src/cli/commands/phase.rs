//! `phase`: which phase of the plan is in force, and putting another one in force.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Result};
use crate::base::time::{Wall, human_s};
use crate::cli::orders::{self, WAIT_S};
use crate::cli::snapshot::Snapshot;
use crate::cli::{Invocation, Out, load};
use crate::config::{Config, Sequence};
use crate::model::seen::{Ask, PhaseStep};
use crate::sys::git;
use serde::Serialize;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "phase",
    usage: "[show] | set ID | advance | reset",
    about: "show which phase of the plan is in force, or put another one in force",
    long: "The watchdog moves on by itself when a phase's done marker was pushed. `set`
puts a phase in force whatever its status file says: a done marker that stands
already counts only once it was taken out, or with `advance`. `reset` goes back
to the first phase. Loop agents are then started anew with that phase's kickoff,
each at the end of its turn.

Exit code of `show`: 0, or 1 when the phase in force is not in the plan.

JSON of `show`: {id or null, index, since, completed, plan [{id, status, done
(as pushed; null = not known)}], branch, head, ignored (its done marker does not
count yet), trouble}; of the others: [{unit (null), taken (accepted, refused,
null), done, text}]",
    flags: &[],
    words: Words::Phase,
    effect: Effect::Changes,
    run,
};

#[derive(Debug, Serialize)]
struct Shown {
    id: Option<String>,
    index: usize,
    since: Option<Wall>,
    completed: Option<Wall>,
    plan: Vec<Row>,
    branch: String,
    head: Option<String>,
    /// The done marker of the phase in force stood when a person put it in force: it does not count.
    ignored: bool,
    /// Why the branch can't be read.
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    status: String,
    done: Option<bool>,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let words = invocation.texts()?;
    let to = match words.as_slice() {
        [] | ["show"] => return show(invocation, out),
        ["set", id] => PhaseStep::Set { id: (*id).to_owned() },
        ["advance"] => PhaseStep::Advance { from: in_force(invocation)? },
        ["reset"] => PhaseStep::Reset,
        _ => return Err(Error::usage("`phase` takes `show`, `set ID`, `advance` or `reset`")),
    };
    let home = invocation.home()?;
    plan(&home.load()?.config)?;
    orders::give(invocation, &home, vec![Ask::Phase { to }], WAIT_S, &orders::at_once, out)
}

fn plan(config: &Config) -> Result<&Sequence> {
    config.sequence.as_ref().ok_or_else(|| {
        Error::usage("the config has no [loop], so there are no phases")
            .hint("`watchkeeper init builder-adversary` shows one that has")
    })
}

/// The phase that the asker sees: if another one is in force by the time that the request is read, it is not meant.
fn in_force(invocation: &Invocation) -> Result<Option<String>> {
    let snapshot = Snapshot::read(&load::config(invocation)?)?;
    Ok(Some(snapshot.state.phase.id).filter(|id| !id.is_empty()))
}

fn show(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let config = load::config(invocation)?;
    let plan = plan(&config)?;
    let snapshot = Snapshot::read(&config)?;
    let phase = &snapshot.state.phase;
    let (head, done, trouble) = pushed(plan);
    let rows = plan.phases.iter().map(|row| Row {
        id: row.id.clone(),
        status: plan.in_repo(&row.status),
        done: done.as_ref().map(|done| done.contains(&row.id)),
    });
    let known = plan.phase(&phase.id).is_some() || phase.completed.is_some();
    let shown = Shown {
        id: Some(phase.id.clone()).filter(|id| !id.is_empty()),
        index: phase.index,
        since: phase.since,
        completed: phase.completed,
        plan: rows.collect(),
        branch: plan.tracking(),
        head,
        ignored: phase.ignore_done,
        trouble,
    };
    if invocation.json {
        out.json(&shown);
    } else {
        print(&shown, snapshot.now.wall, out);
    }
    Ok(ExitCode::from(u8::from(!known && shown.id.is_some())))
}

/// What the clone says now: head, ids of phases that are done, or why not.
fn pushed(plan: &Sequence) -> (Option<String>, Option<Vec<String>>, Option<String>) {
    let head = match git::tip(&plan.repo, &plan.remote, &plan.branch) {
        Err(why) => return (None, None, Some(why)),
        Ok(None) => return (None, Some(Vec::new()), Some("nothing was pushed or fetched yet".to_owned())),
        Ok(Some(head)) => head,
    };
    let status = plan.phases.iter().map(|phase| (phase.id.clone(), plan.in_repo(&phase.status))).collect();
    let query = git::BranchQuery {
        repo: plan.repo.clone(),
        head: head.clone(),
        status,
        done_marker: plan.done_marker.clone(),
        ..git::BranchQuery::default()
    };
    match git::look(&query) {
        Ok(facts) => (Some(head), Some(facts.done), None),
        Err(why) => (Some(head), None, Some(why)),
    }
}

fn print(shown: &Shown, now: Wall, out: &mut Out) {
    for row in &shown.plan {
        let here = shown.id.as_ref() == Some(&row.id) && shown.completed.is_none();
        let since = shown.since.filter(|_| here).map(|at| format!(", for {}", human_s(now.since_s(at))));
        let mark = if here { ">" } else { " " };
        let done = match row.done {
            Some(true) => "done",
            Some(false) => "open",
            None => "not known",
        };
        let force = if here { ", in force" } else { "" };
        out.line(&format!("{mark} {}  {}: {done}{force}{}", row.id, row.status, since.unwrap_or_default()));
    }
    match (&shown.id, shown.completed) {
        (_, Some(at)) => out.line(&format!("The plan is complete since {at}.")),
        (None, None) => {
            out.line(
                "No phase is in force yet: a tick of the watchdog finds the first one that is not done.",
            );
        }
        (Some(id), None) if !shown.plan.iter().any(|row| row.id == *id) => {
            out.line(&format!(
                "phase.json is at `{id}`, which the plan does not have: `watchkeeper phase set ID`"
            ));
        }
        (Some(_), None) => {}
    }
    if shown.ignored {
        let text = "Its done marker stood when it was put in force by hand: it counts once it was taken out, or `phase advance`.";
        out.line(text);
    }
    let head = shown.head.as_deref().map_or("nothing", |head| head.get(..10).unwrap_or(head));
    let trouble = shown.trouble.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    out.line(&format!("Read from {} at {head}{trouble}.", shown.branch));
}

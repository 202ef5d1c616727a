//! Where the plan stands: which phase is in force, when the next one begins, when all is done. A fleet-wide fold.
//!
//! A phase goes by its id, never by its place alone. Deliberately not here: what the agents do about it (phase).

use super::proposal::{EventKind, Notes};
use crate::base::time::Wall;
use crate::config::{AgentKind, Config, Sequence};
use crate::model::action::{Action, Marker, MarkerKind};
use crate::model::seen::{BranchSeen, Observation, PaneSeen, PhaseStep, Request};
use crate::state::State;
use crate::state::mail::{Level, Told};
use crate::state::phase::{PhaseState, Written};

/// Requests remembered.
const TAKEN_MAX: usize = 20;
/// Under which key mail.json remembers that a lost phase was told.
const LOST: &str = "phase lost";

/// Where the plan stands in this tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// There is no plan: loop agents just work.
    #[default]
    NoPlan,
    /// Which phase is in force can't be told now; why.
    Unknown(String),
    /// This phase is in force.
    Phase(String),
    /// The last phase is done.
    Complete,
}

/// Where the plan stands, from what phase.json says.
pub fn stage(config: &Config, phase: &PhaseState, branch: Option<&BranchSeen>) -> Stage {
    let Some(plan) = &config.sequence else { return Stage::NoPlan };
    if phase.id.is_empty() {
        let why = match branch {
            Some(BranchSeen::Unknown { why }) => format!("`{}` can't be read: {why}", plan.repo.display()),
            Some(BranchSeen::Missing | BranchSeen::At(_)) | None => "it was not looked at yet".to_owned(),
        };
        return Stage::Unknown(format!("which phase comes first is not known: {why}"));
    }
    if phase.completed.is_some() {
        return Stage::Complete;
    }
    match plan.phase(&phase.id) {
        Some(_) => Stage::Phase(phase.id.clone()),
        None => Stage::Unknown(lost(plan, &phase.id)),
    }
}

fn lost(plan: &Sequence, id: &str) -> String {
    let known: Vec<&str> = plan.phases.iter().map(|phase| phase.id.as_str()).take(8).collect();
    format!("phase.json is at phase `{id}`, which the plan does not have; it has {}", known.join(", "))
}

/// Brings phase.json up to date: a person's edits, the plan as it is now, and the done markers that were pushed.
pub fn fold(
    config: &Config,
    seen: &Observation,
    next: &mut State,
    markers: &mut Vec<Action>,
    notes: &mut Notes,
) {
    let Some(plan) = &config.sequence else { return };
    let mut phase = next.phase.clone();
    let now = seen.now.wall;
    let done = Done::new(seen.branch.as_ref());
    edited(plan, &done, &mut phase, now, notes);
    begin(config, plan, seen, next, &mut phase, notes);
    resume(plan, &mut phase, now, notes);
    tell_lost(plan, seen, &done, &phase, next);
    if phase.ignore_done && done.is_open(&phase.id) {
        phase.ignore_done = false;
    }
    while let Some(step) = step(plan, &done, &phase) {
        enter(plan, step, &mut phase, now, notes);
    }
    by_hand(plan, seen, &mut phase, now, notes);
    finale(plan, next, &mut phase);
    if let Some(told) = news(&next.phase, &phase) {
        phase.owe(now, Level::Info, told);
    }
    marker(seen, &mut phase, markers);
    write(&done, &mut phase);
    next.phase = phase;
}

/// What is kept of a phase beside itself: where the branch stood when it came in force, and that it is our own word.
fn write(done: &Done<'_>, phase: &mut PhaseState) {
    if phase.id != phase.written.id {
        done.head.clone_into(&mut phase.head);
    }
    phase.written = Written { index: phase.index, id: phase.id.clone() };
}

/// What the branch says of done markers.
struct Done<'a> {
    /// None: not known.
    ids: Option<&'a [String]>,
    head: &'a str,
}

impl<'a> Done<'a> {
    fn new(branch: Option<&'a BranchSeen>) -> Done<'a> {
        match branch {
            Some(BranchSeen::At(facts)) => Done { ids: Some(&facts.done), head: &facts.head },
            // A branch that is not there (not fetched yet, renamed) says nothing of done markers.
            Some(BranchSeen::Missing | BranchSeen::Unknown { .. }) | None => Done { ids: None, head: "" },
        }
    }

    fn is_done(&self, id: &str) -> bool {
        self.ids.is_some_and(|ids| ids.iter().any(|done| done == id))
    }

    fn is_open(&self, id: &str) -> bool {
        self.ids.is_some() && !self.is_done(id)
    }
}

/// A person changed index or id by hand: that phase is in force. Both changed: the id counts.
fn edited(plan: &Sequence, done: &Done<'_>, phase: &mut PhaseState, now: Wall, notes: &mut Notes) {
    let written = phase.written.clone();
    if phase.id.is_empty() && phase.index > 0 {
        // Written by hand with an index alone.
        if let Some(named) = plan.phases.get(phase.index) {
            phase.id = named.id.clone();
            by_person(plan, done, phase, now);
        }
    }
    if written.id.is_empty() || phase.id.is_empty() {
        return;
    }
    if phase.id != written.id {
        if plan.phase(&phase.id).is_some() {
            by_person(plan, done, phase, now);
            notes.event(
                now,
                None,
                EventKind::Phase,
                format!("phase.json was edited: phase {} is in force", phase.id),
            );
        }
    } else if phase.index != written.index {
        match plan.phases.get(phase.index) {
            Some(named) => {
                phase.id = named.id.clone();
                by_person(plan, done, phase, now);
                let text = format!(
                    "phase.json was edited: index {} is phase {}, it is in force",
                    phase.index, phase.id
                );
                notes.event(now, None, EventKind::Phase, text);
            }
            None => {
                let text = format!(
                    "phase.json was edited: there is no phase {}; phase {} stays",
                    phase.index, phase.id
                );
                notes.event(now, None, EventKind::Phase, text);
            }
        }
    }
    if let Some((index, _)) = plan.phase(&phase.id) {
        phase.index = index;
    }
}

/// This phase was put in force by a person, whatever its status file says.
fn by_person(plan: &Sequence, done: &Done<'_>, phase: &mut PhaseState, now: Wall) {
    phase.since = Some(now);
    phase.completed = None;
    phase.ignore_done = !done.is_open(&phase.id);
    if let Some((index, _)) = plan.phase(&phase.id) {
        phase.index = index;
    }
}

/// Nothing is remembered: the phase that all running loop agents were kicked off for, else the first one that is not
/// done. The remote is asked first: an old clone would start everybody for a phase that is over.
fn begin(
    config: &Config,
    plan: &Sequence,
    seen: &Observation,
    next: &State,
    phase: &mut PhaseState,
    notes: &mut Notes,
) {
    let done = match seen.branch.as_ref() {
        Some(BranchSeen::At(facts)) => facts.done.as_slice(),
        Some(BranchSeen::Missing) => &[],
        Some(BranchSeen::Unknown { .. }) | None => return,
    };
    if !phase.id.is_empty() || super::fetch::is_awaited(config, seen, &next.git) {
        return;
    }
    let carried = carried(config, seen, next).and_then(|id| plan.phase(&id));
    let first = plan.phases.iter().enumerate().find(|(_, phase)| !done.contains(&phase.id));
    // All are done: the last one is, too; the step that follows completes the plan.
    let last = plan.phases.iter().enumerate().next_back();
    let what = match (carried, first) {
        (Some(_), _) => "the loop agents work on it",
        (None, Some(_)) => "the first one that is not done",
        (None, None) => "all of them are done",
    };
    let Some((index, chosen)) = carried.or(first).or(last) else { return };
    phase.index = index;
    phase.id = chosen.id.clone();
    phase.since = Some(seen.now.wall);
    notes.event(seen.now.wall, None, EventKind::Phase, format!("phase {} is in force: {what}", phase.id));
}

/// The one phase that every running loop agent carries, by its file or the mark on its pane.
fn carried(config: &Config, seen: &Observation, next: &State) -> Option<String> {
    let mut found: Option<String> = None;
    for (name, unit) in &config.units {
        let Some(PaneSeen::Alive(pane)) = seen.units.get(name).map(|seen| &seen.pane) else { continue };
        if unit.agent().is_none_or(|agent| agent.kind != AgentKind::Loop) {
            continue;
        }
        let own = next
            .units
            .get(name)
            .and_then(|state| state.launch.phase.clone())
            .or_else(|| pane.phase.clone())?;
        if found.as_ref().is_some_and(|other| *other != own) {
            return None;
        }
        found = Some(own);
    }
    found
}

/// `SEQUENCE-COMPLETE` stands and is not ours: a person says that it is over.
fn by_hand(plan: &Sequence, seen: &Observation, phase: &mut PhaseState, now: Wall, notes: &mut Notes) {
    if !seen.complete || phase.marked || phase.completed.is_some() || phase.id.is_empty() {
        return;
    }
    let Some((index, last)) = plan.phases.iter().enumerate().next_back() else { return };
    (phase.index, phase.id) = (index, last.id.clone());
    phase.completed = Some(now);
    phase.marked = true;
    let text = "the marker SEQUENCE-COMPLETE was set by hand: the plan counts as complete";
    notes.event(now, None, EventKind::Phase, text);
}

/// The plan was complete, and has phases behind the last one now.
fn resume(plan: &Sequence, phase: &mut PhaseState, now: Wall, notes: &mut Notes) {
    if phase.completed.is_none() {
        return;
    }
    let Some((index, _)) = plan.phase(&phase.id) else { return };
    phase.index = index;
    let Some(appended) = plan.phases.get(index + 1) else { return };
    phase.completed = None;
    phase.since = Some(now);
    phase.ignore_done = false;
    notes.event(now, None, EventKind::Phase, format!("the plan goes on: phase {} was appended", appended.id));
    (phase.index, phase.id) = (index + 1, appended.id.clone());
}

/// The phase in force is no longer in the plan: no guess is made, a person says which one it is.
fn tell_lost(plan: &Sequence, seen: &Observation, done: &Done<'_>, phase: &PhaseState, next: &mut State) {
    // Of a plan that is complete it matters only once there is something left to do.
    let left = plan.phases.iter().any(|phase| done.is_open(&phase.id));
    let missing =
        !phase.id.is_empty() && plan.phase(&phase.id).is_none() && (phase.completed.is_none() || left);
    let key = format!("{LOST} {}", phase.id);
    let told = next.mail.told.iter().any(|told| told.key == key);
    if missing && !told {
        next.mail.told.push(Told { key, at_awake_s: seen.now.awake_s });
        let text = format!(
            "{}. No loop agent is started or moved on until a person says which one is in force: `watchkeeper phase set ID`",
            lost(plan, &phase.id)
        );
        next.mail.owe(seen.now.wall, Level::Human, text);
    } else if !missing {
        next.mail.told.retain(|told| !told.key.starts_with(LOST));
    }
}

enum Step {
    Enter { index: usize, because: String },
    Complete { because: String },
}

/// The phase in force is done, as pushed.
fn step(plan: &Sequence, done: &Done<'_>, phase: &PhaseState) -> Option<Step> {
    let (index, current) = plan.phase(&phase.id)?;
    if phase.completed.is_some() || phase.ignore_done || !done.is_done(&phase.id) {
        return None;
    }
    let head: String = done.head.chars().take(10).collect();
    let because = format!(
        "phase {} is done: `{}` in {} at {head}",
        current.id,
        plan.done_marker,
        plan.in_repo(&current.status)
    );
    Some(match plan.phases.get(index + 1) {
        Some(_) => Step::Enter { index: index + 1, because },
        None => Step::Complete { because },
    })
}

fn enter(plan: &Sequence, step: Step, phase: &mut PhaseState, now: Wall, notes: &mut Notes) {
    match step {
        Step::Enter { index, because } => {
            let Some(entered) = plan.phases.get(index) else { return };
            (phase.index, phase.id) = (index, entered.id.clone());
            phase.since = Some(now);
            let text =
                format!("{because}; phase {} begins ({} of {})", entered.id, index + 1, plan.phases.len());
            notes.event(now, None, EventKind::Phase, text);
        }
        Step::Complete { because } => {
            phase.completed = Some(now);
            phase.marked = true;
            notes.event(
                now,
                None,
                EventKind::Phase,
                format!("{because}; it was the last one: the plan is complete"),
            );
        }
    }
}

/// That the last task was started stands in its own file; a second place keeps it in case that that one is lost.
fn finale(plan: &Sequence, next: &State, phase: &mut PhaseState) {
    if phase.completed.is_none() {
        phase.finale = None;
        return;
    }
    let task = plan.on_complete.as_ref().and_then(|name| next.units.get(name));
    let ran = task.filter(|task| task.phase.ran);
    if let Some(started) = ran.and_then(|task| task.phase.completed.clone()) {
        phase.finale = Some(started);
    }
}

/// What people hear.
fn news(before: &PhaseState, after: &PhaseState) -> Option<String> {
    if before.id.is_empty() {
        return None;
    }
    match (before.completed, after.completed) {
        (None, Some(_)) => Some(format!("the plan is complete: phase {} was the last one", after.id)),
        _ if before.id != after.id => Some(format!("phase {} is in force, after {}", after.id, before.id)),
        _ => None,
    }
}

/// The marker follows the state: it is set and removed until it is seen to be so.
fn marker(seen: &Observation, phase: &mut PhaseState, markers: &mut Vec<Action>) {
    let marker = Marker { unit: None, kind: MarkerKind::SequenceComplete };
    match (phase.completed, seen.complete) {
        (Some(at), false) => {
            phase.marked = true;
            let text = format!("phase {} was the last one; done at {at}", phase.id);
            markers.push(Action::Mark { marker, text });
        }
        (None, true) if phase.marked => markers.push(Action::Unmark { marker, seen: None }),
        (None, false) => phase.marked = false,
        (Some(_), true) | (None, true) => {}
    }
}

/// A person's order: another phase is in force.
pub fn order(
    config: &Config,
    seen: &Observation,
    request: &Request,
    step: &PhaseStep,
    phase: &mut PhaseState,
) -> Result<String, String> {
    let Some(plan) = &config.sequence else {
        return Err("the config has no [loop], so there are no phases".into());
    };
    if phase.taken.contains(&request.id) {
        return Ok(format!("phase {} is in force", phase.id));
    }
    let now = seen.now.wall;
    let done = Done::new(seen.branch.as_ref());
    let to = match step {
        PhaseStep::Set { id } => {
            let known: Vec<&str> = plan.phases.iter().map(|phase| phase.id.as_str()).collect();
            plan.phase(id)
                .map(|(index, _)| index)
                .ok_or_else(|| format!("there is no phase `{id}` in the plan; it has {}", known.join(", ")))?
        }
        PhaseStep::Reset => 0,
        PhaseStep::Advance { .. } if phase.completed.is_some() => {
            return Err("the plan is complete already".into());
        }
        PhaseStep::Advance { from: Some(from) } if *from != phase.id => {
            return Err(format!("phase {} is in force by now, no longer {from}", phase.id));
        }
        PhaseStep::Advance { .. } => match plan.phase(&phase.id) {
            Some((index, _)) => index + 1,
            None => return Err("which phase is in force is not known: `watchkeeper phase set ID`".into()),
        },
    };
    phase.taken.push(request.id.clone());
    if phase.taken.len() > TAKEN_MAX {
        phase.taken.remove(0);
    }
    let Some(chosen) = plan.phases.get(to) else {
        phase.completed = Some(now);
        phase.ignore_done = false;
        return Ok(format!("phase {} was the last one: the plan is complete", phase.id));
    };
    phase.id = chosen.id.clone();
    by_person(plan, &done, phase, now);
    write(&done, phase);
    let hint = if phase.ignore_done && done.is_done(&phase.id) {
        format!(
            "; its done marker stands already and counts only after it was taken out of {}, or `watchkeeper phase advance`",
            plan.in_repo(&chosen.status)
        )
    } else {
        String::new()
    };
    Ok(format!("phase {} is in force ({} of {}){hint}", phase.id, to + 1, plan.phases.len()))
}

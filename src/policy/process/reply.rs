//! What comes of an agent's answer, and of none: told in the incident's folder, and done if it can be read.
//!
//! Deliberately not here: the grammar (`answer`), asking (`heal`, `interactive`), carrying out what was answered (`heal`, `run`).

use super::super::context::UnitContext;
use super::super::proposal::{EventKind, Notes};
use super::{answer, choice, limits, verify};
use crate::base::text::one_line;
use crate::config::ProcessUnit;
use crate::detect::incident::{advice, inline};
use crate::model::incident::{FixNote, Remedy, Source};
use crate::model::seen::FixSeen;
use crate::state::attempts::Status;
use crate::state::mail::Level;
use crate::state::process::{RemedyState, RemedyStep, Standing};
use crate::state::unit::UnitState;

/// What it edited is told with its answer; people hear of their own work that does not stand in the tree any more.
pub(super) fn edited(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    remedy: &RemedyState,
    fix: Option<&FixSeen>,
) {
    let Some(fix) = fix else { return };
    if !fix.told.is_empty() {
        let text = format!("`{}`: after the healing agent, {}", context.name, fix.told.join("; "));
        state.owe(context.name.as_str(), context.now.wall, Level::Human, one_line(&text, 600));
    }
    if remedy.incident.is_empty() {
        return;
    }
    state.incident.note(FixNote {
        incident: remedy.incident.clone(),
        attempt: remedy.attempt.clone(),
        patch: fix.patch.clone(),
        branch: Some(fix.branch.clone()).filter(|branch| !branch.is_empty()),
        trouble: Some(fix.left.join("; ")).filter(|left| !left.is_empty()),
        ..FixNote::default()
    });
}

/// An answer came: what it says is done, if it can be read.
pub(super) fn answered(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    remedy: &RemedyState,
    text: &str,
    notes: &mut Notes,
) {
    let answer = match answer::parse(text) {
        Ok(answer) => answer,
        Err(why) => {
            return failed(context, state, remedy, text, &format!("its answer can't be used: {why}"), notes);
        }
    };
    if let Some(why) = limits::impossible(unit, answer.action) {
        return failed(context, state, remedy, text, &format!("its answer can't be used: {why}"), notes);
    }
    let chosen = Remedy {
        source: Source::Agent,
        action: answer.action.to_owned(),
        set: answer.set,
        why: answer::reason(text).unwrap_or_else(|| "it gave no reason".to_owned()),
        ..Remedy::default()
    };
    note(state, remedy, &chosen, text, None);
    let said = format!("the agent answered: {}", chosen.action);
    notes.event(context.now.wall, Some(context.name), EventKind::State, said);
    let over = !context.is_running();
    // The agent thought for a while: what stalled may work again, and its end needs the same proof as any other.
    let stall = remedy.stall && !over && choice::restarts(&chosen);
    let next = RemedyState { remedy: chosen, step: RemedyStep::Due, stall, ..remedy.clone() };
    if next.remedy.action == "none" && over {
        verify::concluded(context, state, &next, Status::Kept, "the agent says: nothing is to be done");
        let why = "the healing agent says that nothing is to be done".to_owned();
        let text = format!("`{0}` stays down: {why}; `watchkeeper restart {0}` starts it", context.name);
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
        state.incident.advise(&remedy.incident, advice::helpless(context.name.as_str(), &why, true));
        state.process.run.standing = Standing::Paused { why };
        state.process.remedy = None;
        return;
    }
    (state.process.heal.unverified, state.process.heal.escalate) = (0, false);
    state.process.heal.unasked = None;
    let text = advice::by_remedy(context.name.as_str(), &next.incident, &next.remedy, over);
    state.incident.advise(&next.incident, text);
    state.process.remedy = Some(next);
    notes.due_in(0.05);
}

/// No answer, or none that can be used: no action. What is over waits for a person.
pub(super) fn failed(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    remedy: &RemedyState,
    response: &str,
    why: &str,
    notes: &mut Notes,
) {
    note(state, remedy, &remedy.remedy, response, Some(why.to_owned()));
    verify::concluded(context, state, remedy, Status::Crashed, why);
    notes.event(context.now.wall, Some(context.name), EventKind::Failed, why.to_owned());
    let done = match &remedy.fixed {
        Some(_) => "what was edited is taken out of the tree again",
        None => "no action was taken",
    };
    let text = format!("healing `{0}`: {why}; {done}. `watchkeeper approve {0}` tries again", context.name);
    state.owe(context.name.as_str(), context.now.wall, Level::Human, one_line(&text, 400));
    let over = !context.is_running();
    let words = advice::helpless(context.name.as_str(), &inline(why, 200), over);
    state.incident.advise(&remedy.incident, words);
    if over {
        state.process.run.standing = Standing::Paused { why: one_line(why, 200) };
    }
    state.process.remedy = None;
}

pub(super) fn note(
    state: &mut UnitState,
    remedy: &RemedyState,
    chosen: &Remedy,
    response: &str,
    trouble: Option<String>,
) {
    if remedy.incident.is_empty() {
        return;
    }
    // What it edited may be on its way already.
    let edits = state.incident.fixes.iter().find(|note| note.attempt == remedy.attempt).cloned();
    let edits = edits.unwrap_or_default();
    state.incident.note(FixNote {
        incident: remedy.incident.clone(),
        attempt: remedy.attempt.clone(),
        remedy: chosen.clone(),
        response: response.to_owned(),
        trouble: trouble.or(edits.trouble),
        patch: edits.patch,
        branch: edits.branch,
    });
}

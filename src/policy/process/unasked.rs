//! A healing agent that can't be asked: its program is missing, the tree may not be touched, or it was asked too often. Then
//! what would be done without one is done, the rule's remedy or the next start, while restarts are left. People hear why, once.
//!
//! Deliberately not here: an agent that was asked and gave nothing that can be used (`heal`): then nothing is done.

use super::super::context::UnitContext;
use super::super::proposal::{EventKind, Notes};
use super::{fixes, limits};
use crate::base::text::one_line;
use crate::config::{Lifecycle, ProcessHost, ProcessUnit};
use crate::detect::incident::advice;
use crate::model::action::{JOB_REFUSED, JOB_UNSTARTED};
use crate::model::incident::{FixNote, Remedy};
use crate::state::attempts::Status;
use crate::state::mail::Level;
use crate::state::process::{RemedyState, RemedyStep};
use crate::state::unit::UnitState;

/// Was the job's agent never at work? By what the job says of itself; an agent's own words come with an exit status.
pub(super) fn is_unasked(status: Option<i32>, why: &str) -> bool {
    status.is_none() && (why.starts_with(JOB_REFUSED) || why.starts_with(JOB_UNSTARTED))
}

/// Is there a default for it: to start it again?
pub(super) fn has_default(context: &UnitContext<'_>, unit: &ProcessUnit, remedy: &RemedyState) -> bool {
    let attached = matches!(unit.host, ProcessHost::Attach { .. });
    let again = match context.is_running() {
        true => remedy.stall,
        false => unit.lifecycle != Lifecycle::OneShot,
    };
    again && !attached
}

/// It was asked too often: what is over waits for nobody.
pub(super) fn capped(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    remedy: &RemedyState,
    notes: &mut Notes,
) -> bool {
    let Some(why) = limits::capped(context, unit, state, remedy) else { return false };
    if !has_default(context, unit, remedy) {
        return false;
    }
    let key = format!("asked too often about `{}`", remedy.detector);
    default(context, state, remedy, &why, &key, notes);
    true
}

/// The default is done instead; `key` is what makes the reason another one.
pub(super) fn default(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    remedy: &RemedyState,
    why: &str,
    key: &str,
    notes: &mut Notes,
) {
    let why = one_line(why, 400);
    if state.process.heal.unasked.as_deref() != Some(key) {
        state.process.heal.unasked = Some(key.to_owned());
        let text = format!("`{}`: {why}; it is started again instead", context.name);
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    }
    notes.event(context.now.wall, Some(context.name), EventKind::Failed, why.clone());
    notes.due_in(0.05);
    fixes::close_early(context, state, remedy, Status::Crashed);
    let rule = remedy.remedy.instead.as_deref().cloned();
    let chosen = rule.unwrap_or_else(|| Remedy { action: "restart".to_owned(), ..Remedy::default() });
    let chosen = Remedy { why: why.clone(), ..chosen };
    let text = advice::by_remedy(context.name.as_str(), &remedy.incident, &chosen, context.is_gone());
    state.incident.advise(&remedy.incident, text);
    if !remedy.incident.is_empty() {
        state.incident.note(FixNote {
            incident: remedy.incident.clone(),
            attempt: remedy.attempt.clone(),
            remedy: chosen.clone(),
            trouble: Some(why),
            ..FixNote::default()
        });
    }
    state.process.remedy =
        Some(RemedyState { remedy: chosen, step: RemedyStep::Due, fixed: None, ..remedy.clone() });
}

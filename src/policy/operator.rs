//! What people ask for: requests from the inbox become markers, orders and texts. Each is taken once, and confirmed.

use super::deliver::{QUEUE_BYTES_MAX, QUEUE_MAX};
use super::guard_text;
use super::proposal::{EventKind, Notes};
use crate::base::names::UnitName;
use crate::base::text::{counted, one_line};
use crate::config::{AgentKind, Config, ProcessHost, Role, Unit};
use crate::model::action::{Action, Marker, MarkerKind};
use crate::model::seen::{Ask, Observation, Paused, Request};
use crate::state::State;
use crate::state::mail::{HANDLED_MAX, Handled, Taken};
use crate::state::process::Standing;
use crate::state::unit::{Breaker, EndCause, EndStep, Ending, Force, Message, Purpose, Then, UnitState};
use std::borrow::Cow;

/// A request older than this is no longer meant: its command gave up long ago, and a lost mail.json must not replay it.
const REQUEST_AGE_S: f64 = 600.0;
/// Nor one from the future by more than a clock's trifle.
const REQUEST_AHEAD_S: f64 = 60.0;
/// Requests remembered per unit.
const TAKEN_MAX: usize = 50;

/// Handles every request that is not handled yet.
pub fn handle(
    config: &Config,
    seen: &Observation,
    next: &mut State,
    markers: &mut Vec<Action>,
    notes: &mut Notes,
) {
    start_paused(config, seen, next, markers);
    for request in &seen.requests {
        if next.mail.handled.iter().any(|handled| handled.id == request.id) {
            continue;
        }
        let age = seen.now.wall.since_s(request.at);
        let answer = if (-REQUEST_AHEAD_S..=REQUEST_AGE_S).contains(&age) {
            take(config, seen, request, next, markers)
        } else {
            Err(format!("too old to be meant now (asked at {})", request.at))
        };
        let (taken, said) = match answer {
            Ok(said) => (Taken::Accepted, said),
            Err(said) => (Taken::Refused, said),
        };
        notes.event(
            seen.now.wall,
            None,
            EventKind::Request,
            format!("{}: {said}", one_line(&request.from, 40)),
        );
        next.mail.handled.push(Handled { id: request.id.clone(), at: seen.now.wall, taken, said });
        if next.mail.handled.len() > HANDLED_MAX {
            next.mail.handled.remove(0);
        }
        notes.due_in(0.1);
    }
    // The ids of the last ones only are remembered: what is done must not be read again.
    if let Some(end) = seen.inbox_end {
        next.mail.inbox_done = end;
    }
}

/// `start_paused` pauses once; a later `resume` wins until the key is taken out and put in again.
fn start_paused(config: &Config, seen: &Observation, next: &mut State, markers: &mut Vec<Action>) {
    const KEY: &str = "start_paused";
    let told = next.mail.told.iter().any(|told| told.key == KEY);
    if config.watchdog.start_paused && !told {
        // Remembered only when the marker stands: until then it is set again, and the pause holds all the same.
        if seen.markers.paused.is_some() {
            next.mail.told.push(crate::state::mail::Told { key: KEY.into(), at_awake_s: seen.now.awake_s });
        } else {
            markers.push(mark(None, MarkerKind::Paused, "start_paused is set in the config".into()));
        }
    } else if !config.watchdog.start_paused && told {
        next.mail.told.retain(|told| told.key != KEY);
    }
}

/// The observation with the markers that are about to be set; one that is about to be removed stands until it is gone.
pub fn with_marks<'a>(seen: &'a Observation, markers: &[Action]) -> Cow<'a, Observation> {
    let mut marked = Cow::Borrowed(seen);
    for action in markers {
        let Action::Mark { marker, text } = action else { continue };
        let seen = marked.to_mut();
        let target = match &marker.unit {
            None => &mut seen.markers,
            Some(unit) => match seen.units.get_mut(unit) {
                Some(seen) => &mut seen.markers,
                None => continue,
            },
        };
        match marker.kind {
            MarkerKind::Down => target.down = Some(text.clone()),
            MarkerKind::Paused => target.paused = Some(Paused { reason: text.clone(), until: None }),
            MarkerKind::SequenceComplete | MarkerKind::Restart => {}
        }
    }
    marked
}

fn mark(unit: Option<&UnitName>, kind: MarkerKind, text: String) -> Action {
    Action::Mark { marker: Marker { unit: unit.cloned(), kind }, text }
}

fn unmark(unit: Option<&UnitName>, kind: MarkerKind) -> Action {
    Action::Unmark { marker: Marker { unit: unit.cloned(), kind }, seen: None }
}

fn take(
    config: &Config,
    seen: &Observation,
    request: &Request,
    next: &mut State,
    markers: &mut Vec<Action>,
) -> Result<String, String> {
    match &request.ask {
        Ask::Up { unit: None } => {
            markers.push(unmark(None, MarkerKind::Down));
            for (name, unit) in &config.units {
                let down = seen.units.get(name).is_some_and(|seen| seen.markers.down.is_some());
                // A task that does not run has ended: its next run is its schedule's, or a person's who names it.
                let task = unit.agent().is_some_and(|agent| agent.kind == AgentKind::Task);
                // A process that is over, or waits for a person, is started by who names it.
                let open =
                    next.units.get(name).is_none_or(|state| state.process.run.standing == Standing::Open);
                if unit.enabled && !down && !task && open {
                    want_start(next.units.entry(name.clone()).or_default());
                }
            }
            Ok("the fleet's `down` marker is removed; starting what does not run".into())
        }
        Ask::Up { unit: Some(name) } => {
            let state = unit_state(config, next, name)?;
            if !config.units.get(name).is_some_and(|unit| unit.enabled) {
                return Err(format!("`{name}` is not enabled in the config"));
            }
            want_start(state);
            markers.push(unmark(Some(name), MarkerKind::Down));
            if seen.markers.down.is_some() {
                return Ok(format!(
                    "`{name}`: its `down` marker is removed, but the whole fleet is marked down: `watchkeeper up`"
                ));
            }
            Ok(format!("`{name}`: starting, if it does not run"))
        }
        Ask::Down { unit, reason } => {
            if let Some(name) = unit {
                unit_state(config, next, name)?.operator.start = false;
            }
            markers.push(mark(unit.as_ref(), MarkerKind::Down, one_line(reason, 200)));
            Ok(format!("{}: marked down; stopping", who(unit.as_ref())))
        }
        Ask::Pause { unit, reason } => {
            if let Some(name) = unit {
                unit_state(config, next, name)?;
            }
            markers.push(mark(unit.as_ref(), MarkerKind::Paused, one_line(reason, 200)));
            Ok(format!("{}: paused", who(unit.as_ref())))
        }
        Ask::Resume { unit } => {
            if let Some(name) = unit {
                let process = &mut unit_state(config, next, name)?.process;
                if let Standing::Paused { .. } = process.run.standing {
                    process.reopen();
                }
            }
            markers.push(unmark(unit.as_ref(), MarkerKind::Paused));
            Ok(format!("{}: resumed", who(unit.as_ref())))
        }
        Ask::Restart { unit } => restart(config, seen, request, next, unit),
        Ask::Adopt { unit } => adopt(config, seen, request, next, unit),
        Ask::Approve { unit } => approve(config, request, next, unit),
        Ask::Respond { unit, text } => {
            let state = unit_state(config, next, unit)?;
            if !super::process::wants_answer(state) {
                return Err(format!("`{unit}` asks nothing now"));
            }
            super::process::check_answer(text)?;
            if once(state, request) {
                state.process.heal.answer = Some(text.clone());
            }
            Ok(format!("`{unit}`: the answer is taken"))
        }
        Ask::Nudge { unit, text } => nudge(config, request, next, unit, text),
        Ask::Phase { to } => super::plan::order(config, seen, request, to, &mut next.phase),
    }
}

fn who(unit: Option<&UnitName>) -> String {
    unit.map_or_else(|| "the fleet".to_owned(), |name| format!("`{name}`"))
}

fn unit_state<'a>(
    config: &Config,
    next: &'a mut State,
    name: &UnitName,
) -> Result<&'a mut UnitState, String> {
    if !config.units.contains_key(name) {
        return Err(format!("there is no unit `{name}` in the config"));
    }
    Ok(next.units.entry(name.clone()).or_default())
}

fn want_start(state: &mut UnitState) {
    if !state.is_up() {
        state.operator.start = true;
        state.restart.breaker = Breaker::Closed;
        fresh_ladder(state);
    }
}

/// The ladder's breaker is closed, its failures are forgotten. One that is at its end starts over, or nothing could follow;
/// else its tier stands: what is approved is the one that is due.
fn fresh_ladder(state: &mut UnitState) {
    let ladder = &mut state.ladder;
    let at_end = ladder.breaker != Breaker::Closed || ladder.alert_awake_s.is_some() || ladder.failed > 0;
    if at_end {
        (ladder.tier, ladder.alert_awake_s) = (0, None);
        (ladder.symptom, ladder.spent_for) = (None, None);
    }
    (ladder.breaker, ladder.failed) = (Breaker::Closed, 0);
    (ladder.tells, ladder.told_awake_s) = (0, None);
}

/// Was this request taken for this unit already (its file was written, the mail's was not)?
fn once(state: &mut UnitState, request: &Request) -> bool {
    if is_taken(state, request) {
        return false;
    }
    state.operator.taken.push(request.id.clone());
    if state.operator.taken.len() > TAKEN_MAX {
        state.operator.taken.remove(0);
    }
    true
}

fn restart(
    config: &Config,
    seen: &Observation,
    request: &Request,
    next: &mut State,
    name: &UnitName,
) -> Result<String, String> {
    let state = unit_state(config, next, name)?;
    let down =
        seen.markers.down.is_some() || seen.units.get(name).is_some_and(|seen| seen.markers.down.is_some());
    if down || !config.units.get(name).is_some_and(|unit| unit.enabled) {
        return Err(format!("`{name}` is marked down or not enabled: `watchkeeper up {name}` starts it"));
    }
    if state.seen.foreign {
        return Err(format!("the session of `{name}` is not ours: it is not touched"));
    }
    if let Some(ProcessHost::Attach { .. }) = config.units.get(name).and_then(Unit::process).map(|p| &p.host)
    {
        return Err(format!("`{name}` was started by somebody else: it is watched, and never started"));
    }
    if !once(state, request) {
        return Ok(format!("`{name}`: restart is under way"));
    }
    state.restart.breaker = Breaker::Closed;
    fresh_ladder(state);
    if !state.is_up() {
        state.operator.start = true;
        return Ok(format!("`{name}`: it does not run; starting"));
    }
    // One that is under way goes on: who was signalled is not forgotten.
    let fresh = (EndStep::Wanted, state.seen.process);
    let (step, process) = state.ending.take().map_or(fresh, |under_way| (under_way.step, under_way.process));
    state.ending = Some(Ending {
        then: Then::Start,
        cause: EndCause::Ordered,
        why: "a person ordered a restart".into(),
        step,
        since_awake_s: seen.now.awake_s,
        process,
        tier: None,
        symptom: None,
        force: Force::Term,
    });
    Ok(format!(
        "`{name}`: restart ordered; it waits for the end of the turn, at most {:.0} s",
        config.watchdog.advance_grace_s
    ))
}

fn adopt(
    config: &Config,
    seen: &Observation,
    request: &Request,
    next: &mut State,
    name: &UnitName,
) -> Result<String, String> {
    let state = unit_state(config, next, name)?;
    let Some(unit) = config.units.get(name).filter(|unit| unit.enabled) else {
        return Err(format!("`{name}` is not enabled in the config"));
    };
    if unit.process().is_some() {
        return Err(format!(
            "`{name}` is a process: what is adopted is a tmux session; host = \"attach\" watches a process that somebody else started"
        ));
    }
    if is_taken(state, request) {
        return Ok(format!("`{name}`: being adopted"));
    }
    let Some(unit_seen) = seen.units.get(name) else { return Err(format!("`{name}` can't be judged now")) };
    if seen.markers.down.is_some() || unit_seen.markers.down.is_some() {
        return Err(format!(
            "`{name}` is marked down: what is adopted would be ended; `watchkeeper up {name}` first"
        ));
    }
    match (&unit_seen.foreign, &unit_seen.adoptable) {
        (Some(_), Some(pane)) => {
            let said = format!("`{name}`: adopting session `{}`, pane {pane}", unit.session);
            once(state, request);
            state.operator.adopt = true;
            Ok(said)
        }
        (Some(whose), None) => Err(format!(
            "the session `{}` can't be adopted: {whose}; only one with one living pane and nobody's mark can",
            unit.session
        )),
        (None, _) => Err(format!("there is no session `{}` that is not ours", unit.session)),
    }
}

/// Was this request taken already?
fn is_taken(state: &UnitState, request: &Request) -> bool {
    state.operator.taken.contains(&request.id)
}

fn approve(config: &Config, request: &Request, next: &mut State, name: &UnitName) -> Result<String, String> {
    let state = unit_state(config, next, name)?;
    if !once(state, request) {
        return Ok(format!("`{name}`: approved"));
    }
    let was = state.restart.breaker.clone();
    // One of the two, if any: the unit is told of as "breaker open" either way.
    let was = match was {
        Breaker::Closed => state.ladder.breaker.clone(),
        Breaker::Open { .. } | Breaker::HalfOpen { .. } => was,
    };
    state.restart.breaker = Breaker::Closed;
    fresh_ladder(state);
    let lifted = match super::failopen::approve(state) {
        true => "; it may be acted on again",
        false => "",
    };
    state.restart.past_awake_s.clear();
    state.restart.lost_awake_s.clear();
    state.restart.asked_awake_s.clear();
    state.restart.told_awake_s = None;
    state.stall.approved = true;
    state.attend.error_nudges = 0;
    state.attend.told = None;
    if config.units.get(name).is_some_and(|unit| unit.process().is_some()) {
        state.process.approve();
        // Only what is about to be ended for a stall: an approval in store would end the next silence without its proof.
        state.stall.approved = state.process.remedy.as_ref().is_some_and(|remedy| remedy.stall);
    }
    Ok(match was {
        Breaker::Closed if !state.stall.approved => format!("`{name}`: approved; its budgets are fresh"),
        Breaker::Closed => {
            format!(
                "`{name}`: approved; its budgets are fresh, and a stalled kill may pass its vetoes once{lifted}"
            )
        }
        Breaker::Open { .. } | Breaker::HalfOpen { .. } => {
            format!("`{name}`: circuit breaker closed{lifted}")
        }
    })
}

fn nudge(
    config: &Config,
    request: &Request,
    next: &mut State,
    name: &UnitName,
    text: &str,
) -> Result<String, String> {
    let is_agent = config.units.get(name).is_some_and(|unit| matches!(unit.role, Role::Agent(_)));
    let state = unit_state(config, next, name)?;
    if !is_agent {
        let kind = config.units.get(name).map_or("unit", super::summary::kind);
        return Err(format!("`{name}` is a {kind}: it has no composer to type into"));
    }
    let text = guard_text::guarded(text);
    if text.trim().is_empty() {
        return Err("the text is empty".into());
    }
    let waiting = state.delivery.queue.len();
    let bytes: usize = state.delivery.queue.iter().map(|message| message.text.len()).sum();
    if waiting >= QUEUE_MAX || bytes + text.len() > QUEUE_BYTES_MAX {
        return Err(format!("{} ({bytes} bytes) wait for `{name}` already", counted(waiting, "text")));
    }
    if once(state, request) {
        let request = Some(request.id.clone());
        state.delivery.queue.push(Message { purpose: Purpose::Operator, text, request });
    }
    Ok(format!("`{name}`: the text waits for its turn"))
}

#[cfg(test)]
mod tests;

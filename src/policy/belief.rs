//! What is believed of a unit: this tick's look laid over what was believed before.
//!
//! Observed beats recorded, but one look is not always enough: an idle, a left-behind shell and a death without an exit
//! status are believed on the second look. What was not seen changes nothing.

use crate::base::time::Now;
use crate::config::Unit;
use crate::model::seen::{AlivePane, Exit, PaneSeen, Process, ScreenState, Seen, ServerSeen};
use crate::state::unit::{Candidate, Corpse, SeenState, Unseen};

/// Seconds between two looks, at least (SPEC 3: "the next due time may be half a second away").
pub const SECOND_LOOK_S: f64 = 0.4;

/// A listed pane that can't be judged for this long is told, seconds: a process that just ended is gone sooner.
const UNSEEN_S: f64 = 120.0;

/// Why the unit can't be judged, when that has stood for long.
pub fn unseen<'s>(now: &Now, state: &'s SeenState) -> Option<&'s str> {
    let unseen = state.unseen.as_ref()?;
    (now.awake_s.since_s(unseen.since_awake_s) >= UNSEEN_S).then_some(unseen.why.as_str())
}

/// Times in a row that a start which did not happen is no end.
const UNSTARTED_MAX: u32 = 3;

/// Takes this tick's look into `state`.
pub fn fold(now: &Now, server: &ServerSeen, unit: &Unit, seen: Option<&Seen>, state: &mut SeenState) {
    let Some(seen) = seen else { return };
    match server {
        ServerSeen::Unknown { .. } => {}
        ServerSeen::Absent => state.foreign = false,
        ServerSeen::Alive(_) => state.foreign = seen.foreign.is_some(),
    }
    match (&seen.unseen, &seen.pane) {
        (Some(why), _) => {
            let since_awake_s = state.unseen.as_ref().map_or(now.awake_s, |unseen| unseen.since_awake_s);
            state.unseen = Some(Unseen { why: why.clone(), since_awake_s });
        }
        (None, PaneSeen::Unknown) => {}
        (None, PaneSeen::Absent | PaneSeen::Dead { .. } | PaneSeen::Alive(_)) => state.unseen = None,
    }
    match &seen.pane {
        PaneSeen::Unknown => {}
        PaneSeen::Absent => absent(now, server, state),
        PaneSeen::Dead { pane, exit, pid, .. } => {
            let corpse = pid.map(|pid| Corpse { pane: pane.clone(), pid });
            // Who was told to start it and could not has said why.
            let untold = corpse.is_some() && corpse == state.corpse && seen.failed.is_none();
            if untold && state.state == ScreenState::Starting && state.process.is_none() {
                not_started(now, state, pane);
            } else {
                dead(now, state, pane, *exit);
            }
            on_server(server, state);
        }
        PaneSeen::Alive(pane) => {
            alive(now, unit, state, pane);
            on_server(server, state);
        }
    }
    if let Some(why) = seen.failed.as_ref().filter(|_| state.process.is_none()) {
        state.exit = Some(format!("start failed: {why}"));
        state.exit_known = None;
    }
}

/// A start was ordered: what comes next is judged afresh, also an end that nobody saw the life before.
pub fn started(now: &Now, seen: &PaneSeen, state: &mut SeenState) {
    state.corpse = match seen {
        PaneSeen::Dead { pane, pid: Some(pid), .. } => Some(Corpse { pane: pane.clone(), pid: *pid }),
        PaneSeen::Dead { pid: None, .. } | PaneSeen::Unknown | PaneSeen::Absent | PaneSeen::Alive(_) => None,
    };
    state.candidate = None;
    state.substate = None;
    state.lost_with_server = false;
    state.end = None;
    set(now, state, ScreenState::Starting);
}

/// A first look that needs a second one is under way.
pub fn is_waiting(state: &SeenState) -> bool {
    state.candidate.is_some()
}

/// Its pane is on this server.
fn on_server(server: &ServerSeen, state: &mut SeenState) {
    if let ServerSeen::Alive(id) = server {
        state.server = Some(id.clone());
    }
}

/// The server that it was last seen on is no more.
fn server_is_gone(server: &ServerSeen, state: &SeenState) -> bool {
    match server {
        ServerSeen::Unknown { .. } => false,
        ServerSeen::Absent => true,
        ServerSeen::Alive(id) => state.server.as_ref().is_some_and(|old| old != id),
    }
}

fn absent(now: &Now, server: &ServerSeen, state: &mut SeenState) {
    let never_seen = state.state == ScreenState::Unknown && state.process.is_none();
    let known_gone = state.state == ScreenState::Dead && state.pane.is_none();
    if known_gone {
        state.candidate = None;
        return;
    }
    if never_seen || confirmed(now, state, ScreenState::Dead) {
        if !never_seen && state.process.is_some() {
            state.lost_with_server = server_is_gone(server, state);
            let gone = if state.lost_with_server { "its tmux server is gone" } else { "its session is gone" };
            state.exit = Some(gone.into());
            state.exit_known = None;
        }
        end(now, state);
        state.pane = None;
        state.server = None;
    }
}

/// A start was ordered, and the pane shows the same end as before: tmux was not told (we were killed in between). That
/// is no end of a run. Some times; then it counts as one, with what that costs.
fn not_started(now: &Now, state: &mut SeenState, pane: &str) {
    state.unstarted = state.unstarted.saturating_add(1);
    if state.unstarted > UNSTARTED_MAX {
        state.exit = Some("its start did not happen".into());
        state.exit_known = None;
        (state.corpse, state.unstarted) = (None, 0);
    }
    end(now, state);
    state.pane = Some(pane.to_owned());
}

/// The last start that was ordered did not happen.
pub fn is_unstarted(state: &SeenState) -> bool {
    state.unstarted > 0
        && state.corpse.is_some()
        && state.state == ScreenState::Dead
        && state.process.is_none()
}

fn dead(now: &Now, state: &mut SeenState, pane: &str, exit: Option<Exit>) {
    let known_dead =
        state.state == ScreenState::Dead && state.pane.as_deref() == Some(pane) && state.process.is_none();
    if known_dead {
        state.candidate = None;
        return;
    }
    if exit.is_some() || confirmed(now, state, ScreenState::Dead) {
        state.exit = Some(exit.map_or_else(|| "ended, tmux does not say how".into(), describe));
        state.exit_known = exit;
        state.lost_with_server = false;
        (state.corpse, state.unstarted) = (None, 0);
        end(now, state);
        state.pane = Some(pane.to_owned());
    }
}

fn end(now: &Now, state: &mut SeenState) {
    set(now, state, ScreenState::Dead);
    state.substate = None;
    state.process = None;
    state.alive_since_awake_s = None;
    state.compacting_since_awake_s = None;
}

/// An exit in words.
pub fn describe(exit: Exit) -> String {
    match exit {
        Exit::Status(code) => format!("exit status {code}"),
        Exit::Signal(number) => format!("killed by signal {number}"),
    }
}

fn alive(now: &Now, unit: &Unit, state: &mut SeenState, pane: &AlivePane) {
    let process = Process { pid: pane.pid, start: pane.pid_start };
    if state.process != Some(process) {
        state.process = Some(process);
        (state.corpse, state.unstarted) = (None, 0);
        state.lost_with_server = false;
        state.alive_since_awake_s = Some(now.awake_s);
        state.candidate = None;
        state.compacting_since_awake_s = None;
        set(now, state, ScreenState::Starting);
        state.substate = None;
    }
    state.pane = Some(pane.pane.clone());
    if unit.agent().is_none() {
        // A service's screen says nothing that we could read: it lives, that is all.
        set(now, state, ScreenState::Busy);
        state.candidate = None;
        return;
    }
    if pane.reading.overlay {
        return;
    }
    state.compacting_since_awake_s = match (pane.reading.compacting, state.compacting_since_awake_s) {
        (false, _) => None,
        (true, Some(since)) => Some(since),
        (true, None) => Some(now.awake_s),
    };
    let observed = pane.reading.state;
    let believed = match observed {
        ScreenState::Idle
        | ScreenState::Draft
        | ScreenState::Shell
        | ScreenState::Unknown
        | ScreenState::Dead => state.state == observed || confirmed(now, state, observed),
        ScreenState::Starting
        | ScreenState::Onboarding
        | ScreenState::Busy
        | ScreenState::Blocked
        | ScreenState::Limited
        | ScreenState::Error => true,
    };
    if believed {
        state.candidate = None;
        set(now, state, observed);
        state.substate = pane.reading.substate;
    }
}

/// Is this the second look at `observed`, long enough after the first? Remembers the first one.
fn confirmed(now: &Now, state: &mut SeenState, observed: ScreenState) -> bool {
    match &state.candidate {
        Some(first) if first.state == observed => {
            let old_enough = now.awake_s.since_s(first.since_awake_s) >= SECOND_LOOK_S;
            if old_enough {
                state.candidate = None;
            }
            old_enough
        }
        Some(_) | None => {
            state.candidate = Some(Candidate { state: observed, since_awake_s: now.awake_s });
            false
        }
    }
}

fn set(now: &Now, state: &mut SeenState, observed: ScreenState) {
    if state.state != observed || state.since_awake_s == Default::default() {
        state.state = observed;
        state.since = now.wall;
        state.since_awake_s = now.awake_s;
    }
}

//! Observed beats recorded: what was seen of a session and its process is laid beside what was recorded, and one table says
//! what that means. Finished and crashed are told apart by how long the unit had been quiet.
//!
//! Deliberately not here: what is believed on which look (belief), what is done about it (restart, recovery). Nothing here
//! ends or starts anything.

use super::activity;
use super::cooperation::ASKS_RESTART;
use crate::base::names::UnitName;
use crate::base::time::{Now, human_s};
use crate::model::seen::{Exit, PaneSeen, Process, ScreenState, Seen};
use crate::state::clocks::UnitClocks;
use crate::state::mail::Level;
use crate::state::unit::{End, Fate, SeenState, UnitState};

/// The session, as seen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// Nobody could look.
    Unknown,
    /// There is none.
    Absent,
    /// It is kept, its process ended.
    Dead,
    /// Its process lives.
    Alive,
}

/// The process that is seen now, beside the one on record: pid and start time together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It is the one on record.
    Same,
    /// It is another one; also one that merely has its pid.
    Other,
    /// There is none.
    Gone,
    /// It ended, and nobody has asked how: as good as gone.
    Zombie,
    /// It can't be told.
    Unreadable,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing: it never ran, or the record was lost.
    Nothing,
    /// A start was ordered, and nothing was seen of it yet.
    Starting,
    /// It lives.
    Alive,
    /// It lives, and its end was ordered.
    Ending,
    /// It is dead.
    Dead,
}

/// How long it had done nothing when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// It was at work.
    Recent,
    /// It had rested for long.
    Long,
    /// Nobody knows: taken as having been at work.
    Unknown,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing can be said: what was recorded stands.
    Unknown,
    /// It lives as it should.
    Healthy,
    /// It lives, and nothing was known of it: taken over.
    Found,
    /// It lives as another process than the one on record, whose end nobody saw: taken over.
    Replaced,
    /// The record says dead, the world says alive: people are told, nothing is ended, and what is seen counts.
    Investigate,
    /// There is nothing, and there was nothing.
    Absent,
    /// A start was ordered, and nothing came of it so far.
    Unstarted,
    /// Its end was ordered, and has come.
    Stopped,
    /// It ended after a long rest: no work was lost.
    Finished,
    /// It ended at work.
    Crashed,
    /// It is dead, as recorded.
    Over,
}

/// The table.
pub fn judge(session: Session, identity: Identity, recorded: Recorded, quiet: Quiet) -> Verdict {
    use Identity::{Gone, Other, Same, Unreadable, Zombie};
    match (session, identity, recorded) {
        (Session::Unknown, Same | Other | Gone | Zombie | Unreadable, _) => Verdict::Unknown,
        // tmux has not noticed yet, or the process can't be looked at.
        (Session::Alive, Gone | Zombie | Unreadable, _) => Verdict::Unknown,
        (Session::Alive, Same | Other, Recorded::Nothing) => Verdict::Found,
        (Session::Alive, Same | Other, Recorded::Starting) => Verdict::Healthy,
        (Session::Alive, Same, Recorded::Alive | Recorded::Ending) => Verdict::Healthy,
        (Session::Alive, Other, Recorded::Alive | Recorded::Ending) => Verdict::Replaced,
        (Session::Alive, Same | Other, Recorded::Dead) => Verdict::Investigate,
        // Its session is gone or closed, and it lives on: a second one beside it would be worse than none.
        (Session::Absent | Session::Dead, Same, Recorded::Alive | Recorded::Dead) => Verdict::Investigate,
        // An end under way looks after what is left.
        (Session::Absent | Session::Dead, Same, Recorded::Ending) => Verdict::Unknown,
        (Session::Absent | Session::Dead, Unreadable, Recorded::Alive | Recorded::Ending) => Verdict::Unknown,
        (Session::Absent | Session::Dead, Other | Gone | Zombie, Recorded::Alive) => match quiet {
            Quiet::Long => Verdict::Finished,
            Quiet::Recent | Quiet::Unknown => Verdict::Crashed,
        },
        (Session::Absent | Session::Dead, Other | Gone | Zombie, Recorded::Ending) => Verdict::Stopped,
        (Session::Absent | Session::Dead, Other | Gone | Zombie | Unreadable, Recorded::Dead) => {
            Verdict::Over
        }
        (Session::Absent | Session::Dead, Same | Other | Gone | Zombie | Unreadable, Recorded::Starting) => {
            Verdict::Unstarted
        }
        (Session::Absent | Session::Dead, Same | Other | Gone | Zombie | Unreadable, Recorded::Nothing) => {
            Verdict::Absent
        }
    }
}

/// How an end speaks beside the clocks: a clean exit is no crash, and a fault or KILL is one, whatever the clocks say.
pub fn weigh(exit: Option<Exit>, quiet: Quiet) -> Quiet {
    match exit {
        Some(Exit::Status(0)) => Quiet::Long,
        // ILL, TRAP, ABRT, BUS, FPE, KILL, SEGV, SYS: signal(7), x86 and ARM.
        Some(Exit::Signal(4..=9 | 11 | 31)) => Quiet::Recent,
        Some(Exit::Status(_) | Exit::Signal(_)) | None => quiet,
    }
}

/// Judges this tick's look; `before` is the belief from before it, `state` has the one after it.
pub fn fold(
    now: &Now,
    stall_idle_s: f64,
    name: &UnitName,
    seen: &Seen,
    clocks: Option<&UnitClocks>,
    before: &SeenState,
    state: &mut UnitState,
) {
    let quiet_s = clocks.and_then(activity::last_change).map(|changed| now.awake_s.since_s(changed));
    let quiet = match quiet_s {
        None => Quiet::Unknown,
        Some(quiet_s) if quiet_s >= stall_idle_s => Quiet::Long,
        Some(_) => Quiet::Recent,
    };
    let recorded = recorded(before, state.ending.is_some());
    let asked = asks_restart(before, state);
    let quiet = if asked { Quiet::Long } else { weigh(state.seen.exit_known, quiet) };
    let verdict = judge(session(seen), identity(seen, before), recorded, quiet);
    // An end counts when it is believed.
    let ended = before.process.is_some() && state.seen.process.is_none();
    match verdict {
        Verdict::Finished if ended => fate(before, state, Fate::Finished, quiet_s),
        Verdict::Crashed if ended && state.seen.lost_with_server => fate(before, state, Fate::Lost, quiet_s),
        Verdict::Crashed if ended => fate(before, state, Fate::Crashed, quiet_s),
        Verdict::Stopped if ended => fate(before, state, Fate::Stopped, quiet_s),
        Verdict::Investigate if state.seen.process.is_some() => {
            state.seen.end = None;
            let pid = state.seen.process.map_or(0, |process| process.pid);
            let text = format!(
                "`{name}` was recorded as dead since {}, but a process of it lives (pid {pid}), which watchkeeper did not \
                 start: it is taken over as it is, and nothing is ended; `watchkeeper why {name}`",
                before.since
            );
            state.owe(name.as_str(), now.wall, Level::Warning, text);
        }
        Verdict::Healthy | Verdict::Found | Verdict::Replaced => state.seen.end = None,
        Verdict::Unknown
        | Verdict::Investigate
        | Verdict::Absent
        | Verdict::Unstarted
        | Verdict::Stopped
        | Verdict::Finished
        | Verdict::Crashed
        | Verdict::Over => {}
    }
}

/// It ended itself in the way that a cooperative unit asks for a restart: no crash, however busy it was.
fn asks_restart(before: &SeenState, state: &UnitState) -> bool {
    let is_its = state.promise.process.is_some() && state.promise.process == before.process;
    is_its && state.seen.exit_known == Some(Exit::Status(ASKS_RESTART))
}

fn fate(before: &SeenState, state: &mut UnitState, fate: Fate, quiet_s: Option<f64>) {
    let was_busy = before.state == ScreenState::Busy;
    state.seen.end = Some(End { fate, quiet_s: quiet_s.map(f64::round), was_busy });
}

/// Its last process was busy when it crashed, or went with its tmux server.
pub fn was_cut_off(state: &SeenState) -> bool {
    state.end.as_ref().is_some_and(|end| match end.fate {
        Fate::Crashed | Fate::Lost => end.was_busy,
        Fate::Finished | Fate::Stopped => false,
    })
}

/// Its last process ended at work.
pub fn is_crash(state: &SeenState) -> bool {
    state.end.as_ref().is_some_and(|end| match end.fate {
        Fate::Crashed => true,
        Fate::Finished | Fate::Stopped | Fate::Lost => false,
    })
}

/// What the end meant, in words: `crashed 3 s after its last activity`. None when there is nothing to add.
pub fn words(state: &SeenState) -> Option<String> {
    let end = state.end.as_ref()?;
    match (end.fate, end.quiet_s.map(human_s)) {
        (Fate::Finished, Some(quiet)) => Some(format!("finished, quiet for {quiet}")),
        (Fate::Finished, None) => Some("finished".to_owned()),
        (Fate::Crashed, Some(quiet)) => Some(format!("crashed {quiet} after its last activity")),
        (Fate::Crashed, None) => Some("crashed".to_owned()),
        (Fate::Stopped | Fate::Lost, _) => None,
    }
}

fn session(seen: &Seen) -> Session {
    match &seen.pane {
        PaneSeen::Unknown => Session::Unknown,
        PaneSeen::Absent => Session::Absent,
        PaneSeen::Dead { .. } => Session::Dead,
        PaneSeen::Alive(_) => Session::Alive,
    }
}

/// (Who looks makes a session unknown whose process lives on without it, or can't be read.)
fn identity(seen: &Seen, before: &SeenState) -> Identity {
    match &seen.pane {
        PaneSeen::Unknown => Identity::Unreadable,
        PaneSeen::Absent | PaneSeen::Dead { .. } => Identity::Gone,
        PaneSeen::Alive(pane) => {
            let process = Process { pid: pane.pid, start: pane.pid_start };
            if before.process == Some(process) { Identity::Same } else { Identity::Other }
        }
    }
}

fn recorded(before: &SeenState, ending: bool) -> Recorded {
    match (before.process, before.state) {
        (Some(_), _) if ending => Recorded::Ending,
        (Some(_), _) => Recorded::Alive,
        // A start that was seen not to have happened may still come.
        (None, ScreenState::Dead) if before.unstarted == 0 => Recorded::Dead,
        (None, ScreenState::Unknown) => Recorded::Nothing,
        (
            None,
            ScreenState::Starting
            | ScreenState::Onboarding
            | ScreenState::Idle
            | ScreenState::Draft
            | ScreenState::Busy
            | ScreenState::Blocked
            | ScreenState::Limited
            | ScreenState::Error
            | ScreenState::Dead
            | ScreenState::Shell,
        ) => Recorded::Starting,
    }
}

#[cfg(test)]
mod tests;

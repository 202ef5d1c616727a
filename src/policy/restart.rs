//! Starts what is wanted and does not run: first starts, heals, the start after an ordered end; with backoff and breaker.
//!
//! Deliberately not here: ending what runs (ending), a task's scheduled runs (wake).

use super::Policy;
use super::belief;
use super::context::UnitContext;
use super::cooperation;
use super::launch;
use super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use crate::base::time::{Awake, human_s};
use crate::config::{AgentKind, WakeWhen, Watch};
use crate::model::action::Action;
use crate::model::seen::{Exit, PaneSeen, ScreenState};
use crate::state::mail::Level;
use crate::state::unit::{Breaker, EndCause, Kickoff, OperatorState, SymptomKind, Then, UnitState};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "restart", fold, propose, charge };

/// Second restart after this long; doubling. Source: SPEC 6.4, and gastown's restart tracker.
pub const BACKOFF_FIRST_S: f64 = 30.0;
/// Longest backoff.
pub const BACKOFF_MAX_S: f64 = 600.0;
/// A unit that lived this long has its past forgotten.
pub const STABLE_S: f64 = 1800.0;
/// That many restarts …
pub const BREAKER_RESTARTS: usize = 5;
/// … within this time open the breaker.
pub const BREAKER_WINDOW_S: f64 = 900.0;
/// An open breaker allows one try after this long.
pub const BREAKER_S: f64 = 600.0;
/// A breaker that opens again and again is told this often, seconds.
const DAILY_S: f64 = 86_400.0;
/// A start that did not happen is tried again this long after it, seconds.
const AGAIN_S: f64 = 5.0;
/// The rule by which a session is taken over.
const ADOPT: &str = "restart.adopt";
/// Restarts remembered.
const PAST_MAX: usize = 20;

fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let now = context.now.awake_s;
    // What was asked for is gone, or came about.
    state.operator.adopt &= context.seen.foreign.is_some();
    if let Some(turn) = context.fleet.mass_death.get(context.name) {
        let wait = *turn as f64 * context.config.watchdog.stagger_s;
        state.restart.not_before_awake_s = Some(now.plus_s(wait));
    }
    if state.seen.process.is_some() && context.alive().is_some() {
        alive(context, state, notes);
    } else if is_down_hard(context, state) {
        // Whoever takes the mark away wants it back, as `up` does.
        state.launch.stopped |= !context.is_wanted();
        dead(context, state, notes);
        if task(context) {
            failed_run(context, state);
        }
    }
}

/// A run that ended badly is told once; it waits for its next time.
fn failed_run(context: &UnitContext<'_>, state: &mut UnitState) {
    let Some(before) = context.before.units.get(context.name) else { return };
    let ran = before.launch.count > 0 || before.seen.process.is_some();
    let just_now = before.seen.state != ScreenState::Dead && ran;
    // Who ended it without its status being known, after a rest, ended nothing that was under way.
    let rested = state.seen.exit_known.is_none() && !super::verdict::is_crash(&state.seen);
    let well = state.seen.exit_known == Some(Exit::Status(0)) || (rested && state.seen.end.is_some());
    if !just_now
        || well
        || belief::is_unstarted(&state.seen)
        || before.ending.is_some()
        || context.gate(state, Watch::None).is_some()
    {
        return;
    }
    let exit = state.seen.exit.clone().unwrap_or_else(|| "unknown end".into());
    let text = format!("the run of `{}` failed: {exit}; it waits for its next time", context.name);
    state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
}

fn alive(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    state.operator.start = false;
    state.restart.not_before_awake_s = None;
    let Some(since) = state.seen.alive_since_awake_s else { return };
    let age = context.now.awake_s.since_s(since);
    if age >= STABLE_S {
        state.restart.past_awake_s.clear();
        state.restart.lost_awake_s.clear();
        state.restart.asked_awake_s.clear();
    }
    let tried = matches!(state.restart.breaker, Breaker::HalfOpen { .. } | Breaker::Open { .. });
    if tried && age >= context.unit.ladder.quiet_s {
        state.restart.breaker = Breaker::Closed;
        state.restart.told_awake_s = None;
        let text = format!("circuit breaker closed: alive for {}", human_s(age));
        notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    }
}

fn dead(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    if !matches!(start_kind(context, state), Some(Kind::Heal | Kind::Requested)) {
        return; // What was ordered or lost with the host is no verdict on the unit.
    }
    let now = context.now.awake_s;
    let recent = recent(state, now);
    let open = match state.restart.breaker {
        Breaker::HalfOpen { .. } => Some("the one try of the half-open breaker failed".to_owned()),
        Breaker::Closed if recent >= BREAKER_RESTARTS => {
            Some(format!("{recent} restarts within {} (limit {BREAKER_RESTARTS})", human_s(BREAKER_WINDOW_S)))
        }
        Breaker::Closed | Breaker::Open { .. } => None,
    };
    let Some(why) = open else { return };
    if !context.is_wanted() || task(context) {
        return;
    }
    state.restart.breaker = Breaker::Open { until_awake_s: now.plus_s(BREAKER_S) };
    let exit = state.seen.exit.clone().unwrap_or_else(|| "unknown end".into());
    let text = format!(
        "circuit breaker open for `{}`: {why}; last end: {exit}. No restart for {}; `watchkeeper approve {}` lifts it",
        context.name,
        human_s(BREAKER_S),
        context.name
    );
    notes.event(context.now.wall, Some(context.name), EventKind::State, text.clone());
    // Every failed try opens it again: that is an event each time, and news for people once a day.
    if state.restart.told_awake_s.is_none_or(|told| now.since_s(told) >= DAILY_S) {
        state.restart.told_awake_s = Some(now);
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    }
}

/// A person asked for the session of its name, which nobody stamped.
fn adopt(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let pane = context.seen.adoptable.as_ref().filter(|_| state.seen.foreign);
    let Some(pane) = pane.filter(|_| state.operator.adopt && context.is_wanted()) else { return };
    let why =
        Reason::new(ADOPT, format!("a person asked for pane {pane} of `{}`", context.unit.session), vec![]);
    let action = Action::Adopt { unit: context.name.clone(), pane: pane.clone() };
    out.asked(Claim::Start, "adopt", What::Act(action), why);
}

/// It runs already, by whatever was started: its config is taken as the present one, and nothing is typed into it.
fn adopted(context: &UnitContext<'_>, state: &mut UnitState) {
    state.operator = OperatorState { start: false, adopt: false, ..std::mem::take(&mut state.operator) };
    state.launch.digest.clone_from(&context.unit.launch_digest);
    (state.launch.kickoff, state.launch.stopped) = (Kickoff::Done, false);
    state.promise.launched = false;
    state.ending = None;
    belief::started(context.now, &PaneSeen::Unknown, &mut state.seen);
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    adopt(context, state, out);
    if !context.is_wanted() || !is_down_hard(context, state) {
        return;
    }
    let Some(action) = launch::action(context, state) else { return };
    let Some(kind) = start_kind(context, state) else { return };
    let (label, seen) = words(context, state, kind);
    if let Some(why) = withheld(context, state, kind) {
        return out.hold(label, why);
    }
    let mut compared = Vec::new();
    let past = match kind {
        Kind::Heal => Some(&state.restart.past_awake_s),
        Kind::Lost => Some(&state.restart.lost_awake_s),
        // It asked for it itself: no backoff, but the breaker.
        Kind::Requested => Some(&Vec::new()),
        Kind::Asked | Kind::Fresh | Kind::Changed | Kind::Phase | Kind::Again | Kind::Renewed => None,
    };
    if let Some(past) = past {
        match budget(context, state, past) {
            Ok(words) if kind == Kind::Requested && words == FIRST => {
                compared.push("it asked for it: no backoff".to_owned());
            }
            Ok(words) => compared.push(words),
            Err((why, wait)) => {
                out.due_in(wait);
                return out.hold(label, why);
            }
        }
    }
    if kind == Kind::Again {
        let passed = state.launch.at_awake_s.map_or(AGAIN_S, |at| context.now.awake_s.since_s(at));
        if passed < AGAIN_S {
            out.due_in(AGAIN_S - passed);
            return out.hold(label, format!("{seen}; the next try is {AGAIN_S:.0} s after the last one"));
        }
    }
    let why = Reason::new(&format!("restart.{}", kind.name()), seen, compared);
    if is_ordered(kind, state) {
        out.asked(Claim::Start, label, What::Act(action), why);
    } else {
        out.want(Claim::Start, label, What::Act(action), why);
    }
}

/// A person wants it.
fn is_ordered(kind: Kind, state: &UnitState) -> bool {
    kind == Kind::Asked || (kind == Kind::Again && state.launch.kickoff == Kickoff::Ordered)
}

/// Why this start must wait, if so.
fn withheld(context: &UnitContext<'_>, state: &UnitState, kind: Kind) -> Option<String> {
    match kind {
        Kind::Asked if state.seen.foreign => {
            Some(format!("the session `{}` is not ours", context.unit.session))
        }
        Kind::Asked => super::phase::unknown(context),
        // Whoever changed the config may have mended the account with it.
        Kind::Changed => context.gate(state, Watch::None).or_else(|| super::phase::unknown(context)),
        Kind::Again if is_ordered(kind, state) => super::phase::unknown(context),
        Kind::Fresh | Kind::Phase | Kind::Again => context
            .gate(state, Watch::None)
            .or_else(|| super::phase::unknown(context))
            .or_else(|| limited(context, state))
            .or_else(|| context.account_held()),
        Kind::Heal | Kind::Lost | Kind::Requested | Kind::Renewed => context
            .gate(state, Watch::Heal)
            .or_else(|| super::phase::unknown(context))
            .or_else(|| limited(context, state))
            .or_else(|| context.account_held())
            .or_else(|| super::recovery::waits(context).filter(|_| kind == Kind::Heal)),
    }
}

/// Why the unit is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A person asked for it (`up`, `restart`).
    Asked,
    /// It never ran, or its end was ordered with a start after it.
    Fresh,
    /// It was ended because its config changed.
    Changed,
    /// It was ended because another phase is in force.
    Phase,
    /// Its last start did not happen.
    Again,
    /// It died.
    Heal,
    /// It ended itself and asked to be started anew: exit status 42 of a cooperative unit.
    Requested,
    /// The same, because we asked it to take the new code of its repository.
    Renewed,
    /// Its tmux server died, and it with it (SPEC 3: one symptom of the host). Not charged to the unit's own budget.
    Lost,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Asked => "asked",
            Kind::Fresh => "first",
            Kind::Changed => "changed",
            Kind::Phase => "phase",
            Kind::Again => "again",
            Kind::Heal => "heal",
            Kind::Requested => "requested",
            Kind::Renewed => "renewed",
            Kind::Lost => "lost",
        }
    }
}

fn start_kind(context: &UnitContext<'_>, state: &UnitState) -> Option<Kind> {
    if let Some(ending) = &state.ending {
        if context.seen.tree.as_ref().is_some_and(|left| !left.is_empty()) {
            return None; // The end is still at work on what the old process left behind.
        }
        return match (ending.then, ending.cause) {
            (Then::StayDown, _) => None,
            // Whatever it was ended for, a person wants it now.
            (Then::Start, _) if state.operator.start => Some(Kind::Asked),
            (Then::Start, EndCause::Ordered | EndCause::Down) => Some(Kind::Asked),
            (Then::Start, EndCause::Changed) => Some(Kind::Changed),
            (Then::Start, EndCause::Phase) => Some(Kind::Phase),
            (Then::Start, EndCause::Rerun) => Some(Kind::Fresh),
            (Then::Start, EndCause::Ladder | EndCause::Remedy) => Some(Kind::Heal),
        };
    }
    if asks_restart(context, state) && !state.operator.start && !belief::is_unstarted(&state.seen) {
        return Some(if obeys(context, state) { Kind::Renewed } else { Kind::Requested });
    }
    if state.operator.start {
        return Some(Kind::Asked);
    }
    if belief::is_unstarted(&state.seen) {
        return Some(Kind::Again); // Paid already, also a task's run.
    }
    let never = state.launch.count == 0 && state.seen.exit.is_none();
    if task(context) {
        let cron = context
            .agent()
            .and_then(|a| a.wake.as_ref())
            .is_some_and(|w| matches!(w.when, WakeWhen::Cron { .. }));
        // The task that comes at the end of the plan has its own time.
        let later = cron || super::phase::is_final(context);
        return (never && !later).then_some(Kind::Fresh);
    }
    Some(match (never || state.launch.stopped, state.seen.lost_with_server) {
        (true, _) => Kind::Fresh,
        (false, true) => Kind::Lost,
        (false, false) => Kind::Heal,
    })
}

fn words(context: &UnitContext<'_>, state: &UnitState, kind: Kind) -> (&'static str, String) {
    let exit = state.seen.exit.clone().unwrap_or_else(|| "no end seen".into());
    let resume = if launch::resumes(context, state) { ", its conversation is resumed" } else { "" };
    match kind {
        Kind::Heal => ("restart", format!("it is dead ({exit}){resume}")),
        Kind::Requested => {
            ("restart", "it ended itself and asks to be started anew (exit status 42)".to_owned())
        }
        Kind::Renewed => ("restart", "it was asked to take the new code, and ended itself for it".to_owned()),
        Kind::Lost => ("restart", format!("its tmux server is gone, and it with it{resume}")),
        Kind::Again => ("start again", "its last start did not happen".to_owned()),
        Kind::Asked => ("start", format!("a person ordered it{resume}")),
        Kind::Fresh => ("start", "it is wanted and does not run".to_owned()),
        Kind::Changed => ("start", format!("it was ended because its config changed{resume}")),
        Kind::Phase => ("start", "it was ended because another phase is in force".to_owned()),
    }
}

/// Is it dead and to be healed, whatever holds that?
pub fn is_healing(context: &UnitContext<'_>, state: &UnitState) -> bool {
    context.is_wanted() && is_down_hard(context, state) && start_kind(context, state) == Some(Kind::Heal)
}

/// The process is gone for sure, and was seen to be gone in this very tick.
fn is_down_hard(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let gone_now = matches!(context.seen.pane, PaneSeen::Absent | PaneSeen::Dead { .. });
    let believed = state.seen.process.is_none() && matches!(state.seen.state, ScreenState::Dead);
    gone_now && believed && state.seen.candidate.is_none()
}

fn task(context: &UnitContext<'_>) -> bool {
    context.agent().is_some_and(|agent| agent.kind == AgentKind::Task)
}

fn limited(context: &UnitContext<'_>, state: &UnitState) -> Option<String> {
    let limit = state.limit.active.as_ref()?;
    (context.now.wall < limit.until)
        .then(|| format!("its account is limited until {} ({})", limit.until, limit.text))
}

/// It ended itself in the way that asks for a restart, and not because it is to stay down.
fn asks_restart(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let asked = state.seen.exit_known == Some(Exit::Status(cooperation::ASKS_RESTART));
    asked && context.unit.cooperative.is_some() && !state.launch.stopped && !task(context)
}

/// Its end is the answer to our wish that it takes the new code: no failure of its own, and nothing to be paid for. That it
/// may not take it for ever is the ladder's affair.
fn obeys(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let PaneSeen::Dead { pid: Some(ended), .. } = &context.seen.pane else { return false };
    let asked = context.unfolded.ladder.asked.as_ref().and_then(|asked| asked.process);
    state.ladder.symptom == Some(SymptomKind::Stale) && asked.is_some_and(|asked| asked.pid == *ended)
}

fn recent(state: &UnitState, now: Awake) -> usize {
    let past = state.restart.past_awake_s.iter().chain(&state.restart.asked_awake_s);
    past.filter(|at| now.since_s(**at) < BREAKER_WINDOW_S).count()
}

/// What is compared when there is no restart of late.
const FIRST: &str = "first restart: immediate";

/// May a heal be paid for now, after these? The comparison in words, or why not and how long it will take.
fn budget(context: &UnitContext<'_>, state: &UnitState, past: &[Awake]) -> Result<String, (String, f64)> {
    let now = context.now.awake_s;
    if let Breaker::Open { until_awake_s } = state.restart.breaker {
        let left = until_awake_s.since_s(now);
        if left > 0.0 {
            let why = format!(
                "circuit breaker open for another {} (`approve {}` lifts it)",
                human_s(left),
                context.name
            );
            return Err((why, left));
        }
        return Ok("breaker half-open: one try".into());
    }
    if let Some(left) = state.restart.not_before_awake_s.map(|at| at.since_s(now)).filter(|left| *left > 0.0)
    {
        return Err((format!("staggered after a mass death: its turn is in {left:.1} s"), left));
    }
    let n = past.len();
    let Some(last) = past.last() else {
        return Ok(FIRST.into());
    };
    let needed = (BACKOFF_FIRST_S * 2f64.powi(n.min(20) as i32 - 1)).min(BACKOFF_MAX_S);
    let passed = now.since_s(*last);
    if passed < needed {
        let why = format!("backoff: {passed:.0} s of {needed:.0} s since restart {n}");
        return Err((why, needed - passed));
    }
    Ok(format!("{passed:.0} s since restart {n} ≥ backoff {needed:.0} s"))
}

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    if granted.why.rule == ADOPT {
        return adopted(context, state);
    }
    let now = context.now.awake_s;
    let past = match granted.why.rule.as_str() {
        "restart.heal" => Some(&mut state.restart.past_awake_s),
        "restart.lost" => Some(&mut state.restart.lost_awake_s),
        "restart.requested" => Some(&mut state.restart.asked_awake_s),
        _ => None,
    };
    if let Some(past) = past {
        past.push(now);
        if past.len() > PAST_MAX {
            past.remove(0);
        }
        state.restart.total = state.restart.total.saturating_add(1);
        if UnitContext::breaker_open(state) {
            state.restart.breaker = Breaker::HalfOpen { since_awake_s: now };
        }
    }
    state.restart.not_before_awake_s = None;
    launch::charge(context, granted.origin, state);
}

#[cfg(test)]
mod tests;

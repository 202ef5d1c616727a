//! Stalls: an agent that is idle too long, or busy without progress on any clock; the proof of it, and what vetoes a kill.
//!
//! Deliberately not here: what is done about it (ladder), death (restart), limits, dialogs, drafts and errors (limit,
//! attend). A kill needs two independent stale clocks and no veto.

use super::Policy;
use super::context::UnitContext;
use super::guard_text;
use super::proposal::{Notes, Proposal, Proposals};
use super::symptom::{Proof, Symptom, symptom, what};
use super::veto;
use crate::base::time::{Awake, Wall, human_s};
use crate::config::AgentKind;
use crate::model::seen::ScreenState;
use crate::state::clocks::ToolsClock;
use crate::state::mail::Level;
use crate::state::unit::{SymptomKind, UnitState, VetoSince};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "stall", fold, propose, charge };

fn propose(_: &UnitContext<'_>, _: &UnitState, _: &mut Proposals) {}

fn charge(_: &UnitContext<'_>, _: &Proposal, _: &mut UnitState) {}

/// Busy without progress counts as hung after this many times `stall_idle`.
pub const HUNG_FACTOR: f64 = 4.0;
/// The rule of those that are busy without progress.
const HUNG: &str = "stall.hung";
/// Standing alerts are repeated after this long, seconds.
const DAILY_S: f64 = 86_400.0;
/// A gap in activity up to this long, and up to this share of `stall_idle`, does not end a stretch of progress.
const STRETCH_GAP_S: f64 = 90.0;
const STRETCH_GAP_SHARE: f64 = 0.3;
/// The tools' CPU is sampled near a stall only: this share of `stall_idle` is long enough for it.
const TOOLS_SHARE: f64 = 0.25;
/// Is the unit stalled now? A pure query, also for `status`.
pub fn stalled(context: &UnitContext<'_>, state: &UnitState) -> Option<Symptom> {
    let agent = context.agent()?;
    context.alive()?;
    if context.unfolded.limit.active.is_some() {
        return None;
    }
    let started = state.launch.at_awake_s.map(|at| context.now.awake_s.since_s(at));
    if started.is_some_and(|ago| ago < context.unit.ladder.quiet_s) {
        return None;
    }
    let idle_limit = context.config.watchdog.stall_idle_s;
    let activity = super::activity::last_change(context.clocks)?;
    // A remedy, a start, and the first sight of a process each give a fresh window: what was not watched is no silence.
    let quiet_from = activity
        .max(state.ladder.remedy_awake_s.unwrap_or(activity))
        .max(state.seen.alive_since_awake_s.unwrap_or(activity));
    let quiet = context.now.awake_s.since_s(quiet_from);
    // A remedy that came after the wait gives a fresh window here too.
    let overdue_s = match wait(context, quiet) {
        Wait::Holds => return None,
        Wait::None => None,
        Wait::Over { by_s } => Some(by_s),
    };
    match state.seen.state {
        ScreenState::Idle if agent.kind == AgentKind::Loop => match overdue_s {
            Some(by_s) => Some(overdue(context, by_s)),
            None => idle_stall(quiet, idle_limit),
        },
        // Our own text that could not be submitted: a remedy clears it.
        ScreenState::Draft if agent.kind == AgentKind::Loop && own_draft(context) => {
            idle_stall(quiet, idle_limit)
        }
        ScreenState::Busy | ScreenState::Starting | ScreenState::Unknown => {
            let limit = HUNG_FACTOR * idle_limit;
            // Its tools may be at work: their CPU must have been watched for a while.
            let unknown = context.clocks.tools.as_ref().is_some_and(|tools| {
                context.now.awake_s.since_s(tools.first_awake_s) < idle_limit * TOOLS_SHARE
            });
            (quiet >= limit && !unknown).then(|| Symptom {
                kind: SymptomKind::Hung,
                rule: HUNG,
                seen: format!("{:?} without progress on any clock", state.seen.state).to_lowercase(),
                compared: format!(
                    "no progress for {quiet:.0} s ≥ {HUNG_FACTOR:.0} × stall_idle {idle_limit:.0} s"
                ),
                proof: Proof::Clocks { threshold_s: limit },
            })
        }
        ScreenState::Idle
        | ScreenState::Draft
        | ScreenState::Onboarding
        | ScreenState::Blocked
        | ScreenState::Limited
        | ScreenState::Error
        | ScreenState::Dead
        | ScreenState::Shell => None,
    }
}

fn own_draft(context: &UnitContext<'_>) -> bool {
    let composer = context.alive().and_then(|pane| pane.reading.composer.as_deref()).unwrap_or("");
    let sent = &context.unfolded.delivery.last_text;
    !sent.is_empty() && guard_text::is_ours(composer, sent)
}

/// A declared wait, against the present silence.
enum Wait {
    /// None that concerns this silence.
    None,
    /// It is healthy until then, and for the grace after.
    Holds,
    /// It ended while the unit was silent, and so did the grace.
    Over { by_s: f64 },
}

fn wait(context: &UnitContext<'_>, silent_s: f64) -> Wait {
    let Some(until) = veto::declared_wait(context).filter(|until| believed(context, *until)) else {
        return Wait::None;
    };
    let by_s = context.now.wall.since_s(until);
    if by_s < context.config.watchdog.stall_grace_s {
        Wait::Holds
    } else if by_s <= silent_s {
        Wait::Over { by_s }
    } else {
        Wait::None // It moved since: an old line or a file that nobody removed.
    }
}

fn overdue(context: &UnitContext<'_>, by_s: f64) -> Symptom {
    let watchdog = &context.config.watchdog;
    Symptom {
        kind: SymptomKind::Stalled,
        rule: "stall.overdue",
        seen: "the wait that it declared is over".into(),
        compared: format!("{by_s:.0} s past it ≥ stall_grace {:.0} s", watchdog.stall_grace_s),
        proof: Proof::Clocks { threshold_s: watchdog.stall_idle_s.min(watchdog.stall_grace_s) },
    }
}

fn idle_stall(quiet: f64, idle_limit: f64) -> Option<Symptom> {
    (quiet >= idle_limit).then(|| Symptom {
        kind: SymptomKind::Stalled,
        rule: "stall.idle",
        seen: "idle, and its work has no end".into(),
        compared: format!("idle {quiet:.0} s ≥ stall_idle {idle_limit:.0} s"),
        proof: Proof::Clocks { threshold_s: idle_limit },
    })
}

/// A wait longer than `wait_max_s` is told, not believed.
fn believed(context: &UnitContext<'_>, until: Wall) -> bool {
    until.since_s(context.now.wall) <= context.config.watchdog.wait_max_s
}

fn fold(context: &UnitContext<'_>, state: &mut UnitState, _: &mut Notes) {
    if context.alive().is_none() {
        state.stall.progress_since_awake_s = None;
        return;
    }
    progress(context, state);
    if let Some(until) = veto::declared_wait(context).filter(|until| !believed(context, *until))
        && state.stall.long_wait_told != Some(until)
        && context.agent().is_some_and(|agent| agent.kind == AgentKind::Loop)
    {
        state.stall.long_wait_told = Some(until);
        let max = human_s(context.config.watchdog.wait_max_s);
        let text = format!(
            "`{}` declares a wait until {until}, longer than wait_max_s ({max}): not believed",
            context.name
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
    }
    let symptom = symptom(context, context.unfolded);
    let vetoes = if symptom.is_some() { veto::vetoes(context, context.unfolded) } else { Vec::new() };
    vetoes_since(context, state, symptom.as_ref().map(|symptom| symptom.kind), vetoes);
    if symptom.is_none() || recovered_s(context).is_some() {
        // An approval is for what stands, not for a stall of next week.
        state.stall.approved = false;
    }
}

/// Since when it makes progress, while its ladder is climbed.
fn progress(context: &UnitContext<'_>, state: &mut UnitState) {
    if !is_moving(context) || recovered_s(context).is_some() {
        state.stall.progress_since_awake_s = None;
    } else if context.unfolded.ladder.tier > 0 {
        state.stall.progress_since_awake_s.get_or_insert(context.now.awake_s);
    }
}

/// Did something move so lately that a stretch of progress goes on?
fn is_moving(context: &UnitContext<'_>) -> bool {
    let idle = context.idle_s().unwrap_or(0.0);
    idle <= STRETCH_GAP_S.min(STRETCH_GAP_SHARE * context.config.watchdog.stall_idle_s)
}

/// How long it made progress, if that is long enough for its ladder to start over. A pure query.
pub fn recovered_s(context: &UnitContext<'_>) -> Option<f64> {
    let before = context.unfolded;
    let since =
        before.stall.progress_since_awake_s.filter(|_| before.ladder.tier > 0 && is_moving(context))?;
    let lasted = context.now.awake_s.since_s(since);
    let enough = lasted >= context.config.watchdog.stall_idle_s && before.seen.state == ScreenState::Busy;
    enough.then_some(lasted)
}

/// Remembers since when each veto holds; tells those that are older than their cap, daily.
pub(super) fn vetoes_since(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    symptom: Option<SymptomKind>,
    vetoes: Vec<veto::Veto>,
) {
    let now = context.now.awake_s;
    state.stall.vetoes_since.retain(|name, _| vetoes.iter().any(|veto| veto.name == name));
    for veto in vetoes {
        let since = state
            .stall
            .vetoes_since
            .entry(veto.name.to_owned())
            .or_insert(VetoSince { since_awake_s: now, told_awake_s: None });
        let age = now.since_s(since.since_awake_s);
        let told = since.told_awake_s.is_some_and(|told| now.since_s(told) < DAILY_S);
        if age < veto.cap_s || told {
            continue;
        }
        since.told_awake_s = Some(now);
        let text = format!(
            "`{name}` {what}, and for {age} nothing was done because {why}; `watchkeeper approve {name}` overrides it",
            name = context.name,
            what = symptom.map_or("is stalled", what),
            age = human_s(age),
            why = veto.why
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    }
}

/// The one-time reminder of the done marker: once per unit and phase, before any other remedy.
pub fn done_nudge(context: &UnitContext<'_>, state: &UnitState) -> Option<String> {
    let plan = context.config.sequence.as_ref().filter(|plan| plan.done_nudge)?;
    let phase = super::kickoff::phase(context)?;
    if state.phase.nudged.as_ref() == Some(&phase.id) || state.launch.phase.as_ref() != Some(&phase.id) {
        return None;
    }
    let status = plan.in_repo(&phase.status);
    Some(format!(
        "[watchkeeper] Phase {id} is not marked as done. If, and only if, everything that its definition of done asks for is \
         met and verified: add a line that is exactly {marker} to {status}, commit and push it. Otherwise go on with the \
         work that is left now.",
        id = phase.id,
        marker = plan.done_marker,
    ))
}

/// The clocks that are stale and those that are not, each in words.
pub fn proof(context: &UnitContext<'_>, threshold_s: f64) -> (Vec<String>, Vec<String>) {
    let now = context.now.awake_s;
    // A nudge echoes on the screen and in the transcript: what counts is silence since then, at least the idle window.
    let needed = threshold_s.min(context.config.watchdog.stall_idle_s);
    let (mut stale, mut fresh) = (Vec::new(), Vec::new());
    let mut judge = |name: &str, changed: Option<Awake>, needed: f64| {
        let Some(changed) = changed else { return };
        let age = now.since_s(changed);
        let words = format!("{name} {age:.0} s (needs {needed:.0} s)");
        if age >= needed { stale.push(words) } else { fresh.push(words) }
    };
    judge("screen", context.clocks.screen.as_ref().map(|c| c.changed_awake_s), needed);
    judge("transcript", context.clocks.transcript.as_ref().map(|c| c.changed_awake_s), needed);
    // Sampling begins near the stall only, so its silence is shorter by then.
    judge("tools' CPU", context.clocks.tools.as_ref().map(ToolsClock::quiet_since), needed * TOOLS_SHARE);
    (stale, fresh)
}

#[cfg(test)]
mod tests;

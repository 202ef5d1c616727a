//! Stalls: an agent that is idle too long, or busy without progress on any clock. Nudge, then kill with proof, then tell.
//!
//! Deliberately not here: death (restart), limits, dialogs, drafts and errors (limit, attend). A kill needs two
//! independent stale clocks and no veto; what is missing is held, with its reason.

use super::Policy;
use super::context::UnitContext;
use super::ending::ending;
use super::guard_text;
use super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use super::veto;
use crate::base::time::{Awake, Wall, human_s};
use crate::config::{AgentKind, Ladder, Tier, Watch};
use crate::model::seen::ScreenState;
use crate::state::clocks::ToolsClock;
use crate::state::mail::Level;
use crate::state::unit::{DeliveryStep, EndCause, Ending, Message, Purpose, Then, UnitState, VetoSince};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "stall", fold, propose, charge };

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
/// What a nudge says.
pub const NUDGE_TEXT: &str = "[watchkeeper] You have been quiet for a while. If there is work left, go on with it now. \
If you wait for something, end your answer with a line WAITING-UNTIL: and the RFC 3339 time at which to look again.";

/// A stall, with the comparison that makes it one.
#[derive(Clone, Debug, PartialEq)]
pub struct Stall {
    /// `stall.idle`, `stall.hung`, `stall.overdue`.
    pub rule: &'static str,
    /// What was seen.
    pub seen: String,
    /// The numbers compared.
    pub compared: String,
    /// The silence that counts as proof on each clock, seconds.
    pub threshold_s: f64,
}

/// Is the unit stalled now? A pure query, also for `status`.
pub fn stalled(context: &UnitContext<'_>, state: &UnitState) -> Option<Stall> {
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
            (quiet >= limit && !unknown).then(|| Stall {
                rule: HUNG,
                seen: format!("{:?} without progress on any clock", state.seen.state).to_lowercase(),
                compared: format!(
                    "no progress for {quiet:.0} s ≥ {HUNG_FACTOR:.0} × stall_idle {idle_limit:.0} s"
                ),
                threshold_s: limit,
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

fn overdue(context: &UnitContext<'_>, by_s: f64) -> Stall {
    let watchdog = &context.config.watchdog;
    Stall {
        rule: "stall.overdue",
        seen: "the wait that it declared is over".into(),
        compared: format!("{by_s:.0} s past it ≥ stall_grace {:.0} s", watchdog.stall_grace_s),
        threshold_s: watchdog.stall_idle_s.min(watchdog.stall_grace_s),
    }
}

fn idle_stall(quiet: f64, idle_limit: f64) -> Option<Stall> {
    (quiet >= idle_limit).then(|| Stall {
        rule: "stall.idle",
        seen: "idle, and its work has no end".into(),
        compared: format!("idle {quiet:.0} s ≥ stall_idle {idle_limit:.0} s"),
        threshold_s: idle_limit,
    })
}

/// A wait longer than `wait_max_s` is told, not believed.
fn believed(context: &UnitContext<'_>, until: Wall) -> bool {
    until.since_s(context.now.wall) <= context.config.watchdog.wait_max_s
}

fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let Some(agent) = context.agent() else { return };
    if context.alive().is_none() {
        state.stall.progress_since_awake_s = None;
        return;
    }
    progress(context, state, notes);
    if let Some(until) = veto::declared_wait(context).filter(|until| !believed(context, *until))
        && state.stall.long_wait_told != Some(until)
        && agent.kind == AgentKind::Loop
    {
        state.stall.long_wait_told = Some(until);
        let max = human_s(context.config.watchdog.wait_max_s);
        let text = format!(
            "`{}` declares a wait until {until}, longer than wait_max_s ({max}): not believed",
            context.name
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
    }
    let stall = stalled(context, state);
    let vetoes = if stall.is_some() { veto::vetoes(context, context.unfolded) } else { Vec::new() };
    vetoes_since(context, state, vetoes);
    match stall {
        Some(stall) => last_tier(context, state, &stall),
        // An approval is for the stall that stands, not for one of next week.
        None => state.stall.approved = false,
    }
}

/// The ladder's tier now; past its end the last one stands.
fn tier(context: &UnitContext<'_>, state: &UnitState) -> Tier {
    let tiers = &context.unit.ladder.tiers;
    let left = tiers.get(state.ladder.tier..).unwrap_or_default();
    let acted_on = left.iter().find(|tier| match tier {
        Tier::Nudge | Tier::Terminate | Tier::KillStart | Tier::Alert => true,
        Tier::Warn | Tier::Triage | Tier::RequestRestart => false,
    });
    acted_on.or(tiers.last()).copied().unwrap_or(Tier::Alert)
}

/// The alert tier: a person is told, and again every day that it stands.
fn last_tier(context: &UnitContext<'_>, state: &mut UnitState, stall: &Stall) {
    let now = context.now.awake_s;
    let told = state.ladder.alert_awake_s.is_some_and(|at| now.since_s(at) < DAILY_S);
    if tier(context, state) != Tier::Alert || told || context.gate(state, Watch::HealStall).is_some() {
        return;
    }
    state.ladder.alert_awake_s = Some(now);
    let text = format!(
        "`{}` is stalled and its ladder is at its end: {} ({})",
        context.name, stall.seen, stall.compared
    );
    state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
}

/// The ladder starts over only after `stall_idle` of real progress.
fn progress(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let idle = context.idle_s().unwrap_or(0.0);
    if idle > STRETCH_GAP_S.min(STRETCH_GAP_SHARE * context.config.watchdog.stall_idle_s) {
        state.stall.progress_since_awake_s = None;
        return;
    }
    if state.ladder.tier == 0 {
        return;
    }
    let since = *state.stall.progress_since_awake_s.get_or_insert(context.now.awake_s);
    let lasted = context.now.awake_s.since_s(since);
    if lasted >= context.config.watchdog.stall_idle_s && state.seen.state == ScreenState::Busy {
        state.ladder.tier = 0;
        state.ladder.alert_awake_s = None;
        state.stall.approved = false;
        state.stall.progress_since_awake_s = None;
        let text = format!("works again for {}: the ladder starts over", human_s(lasted));
        notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    }
}

/// Remembers since when each veto holds; tells those that are older than their cap, daily.
fn vetoes_since(context: &UnitContext<'_>, state: &mut UnitState, vetoes: Vec<veto::Veto>) {
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
            "`{name}` is stalled, and for {age} nothing was done because {why}; `watchkeeper approve {name}` overrides it",
            name = context.name,
            age = human_s(age),
            why = veto.why
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    }
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    // A text that is being typed has its time; one that only waits (a hung aider reads nothing) stops no ladder.
    let delivery = state.delivery.current.as_ref();
    let waits = delivery.is_some_and(|delivery| delivery.step == DeliveryStep::Wanted);
    if state.ending.is_some() || (delivery.is_some() && !waits) || !context.is_wanted() {
        return;
    }
    let Some(stall) = stalled(context, state) else { return };
    let ladder = &context.unit.ladder;
    let tier = match tier(context, state) {
        // What it does not read can't wake it: the next tier's turn, if it is hung.
        Tier::Nudge if waits => match after_nudge(ladder) {
            Some(next) if stall.rule == HUNG => next,
            Some(_) | None => return,
        },
        tier => tier,
    };
    // Before the ladder, whatever its first tier is.
    let tier = match done_nudge(context, state).filter(|_| !waits && stall.rule != HUNG) {
        Some(_) => Tier::Nudge,
        None => tier,
    };
    let label = tier.word();
    if let Some(why) = context.gate(state, Watch::HealStall).or_else(|| context.account_held()) {
        return out.hold(label, why);
    }
    if let Some(passed) = state
        .ladder
        .remedy_awake_s
        .map(|at| context.now.awake_s.since_s(at))
        .filter(|p| *p < ladder.cooldown_s)
    {
        out.due_in(ladder.cooldown_s - passed);
        return out.hold(
            label,
            format!("cooldown: {passed:.0} s of {:.0} s since the last remedy", ladder.cooldown_s),
        );
    }
    match tier {
        Tier::Nudge => nudge(context, state, stall, out),
        Tier::Terminate | Tier::KillStart => kill(context, state, &stall, out),
        Tier::Warn | Tier::Triage | Tier::RequestRestart | Tier::Alert => out.hold(
            "alert",
            format!("{} ({}); the ladder is at its end, a person was told", stall.seen, stall.compared),
        ),
    }
}

/// The tier behind the ladder's last reminder.
fn after_nudge(ladder: &Ladder) -> Option<Tier> {
    let last = ladder.tiers.iter().rposition(|tier| *tier == Tier::Nudge)?;
    ladder.tiers.get(last + 1).copied()
}

fn nudge(context: &UnitContext<'_>, state: &UnitState, stall: Stall, out: &mut Proposals) {
    if let Some(why) = context.person_types() {
        return out.hold("nudge", why);
    }
    let reminder = done_nudge(context, state).filter(|_| stall.rule != HUNG);
    let text = reminder.unwrap_or_else(|| NUDGE_TEXT.to_owned());
    let message = Message { purpose: Purpose::Nudge, text: guard_text::guarded(&text), request: None };
    let why = Reason::new(stall.rule, stall.seen, vec![stall.compared]);
    out.want(Claim::Nudge, "nudge", What::Deliver(message), why);
}

/// The one-time reminder of the done marker: once per unit and phase, before any other remedy.
fn done_nudge(context: &UnitContext<'_>, state: &UnitState) -> Option<String> {
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

fn kill(context: &UnitContext<'_>, state: &UnitState, stall: &Stall, out: &mut Proposals) {
    let (stale, fresh) = proof(context, stall.threshold_s);
    if stale.len() < 2 {
        out.due_in(5.0);
        let why = format!(
            "a kill needs 2 stale clocks, has {} ({})",
            stale.len(),
            [stale, fresh].concat().join(", ")
        );
        return out.hold("kill-start", why);
    }
    let vetoes = veto::vetoes(context, state);
    if !vetoes.is_empty() && !state.stall.approved {
        let why = vetoes.iter().map(|veto| veto.why.clone()).collect::<Vec<_>>().join("; ");
        return out.hold("kill-start", format!("veto: {why}"));
    }
    if UnitContext::breaker_open(state) {
        return out.hold("kill-start", "its circuit breaker is open");
    }
    if let Some(why) = super::phase::unknown(context) {
        return out.hold("kill-start", format!("it could not be started again: {why}"));
    }
    let mut compared = vec![stall.compared.clone()];
    compared.push(format!("2 stale clocks needed: {}", stale.join(", ")));
    compared.push(if vetoes.is_empty() {
        "no veto".to_owned()
    } else {
        "a person approved it past the vetoes".to_owned()
    });
    let why = Reason::new(stall.rule, stall.seen.clone(), compared);
    let end =
        Ending { tier: Some(state.ladder.tier), ..ending(context, Then::Start, EndCause::Ladder, &why) };
    out.want(Claim::Kill, "kill-start", What::End(end), why);
}

/// The clocks that are stale and those that are not, each in words.
fn proof(context: &UnitContext<'_>, threshold_s: f64) -> (Vec<String>, Vec<String>) {
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

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    state.ladder.remedy_awake_s = Some(context.now.awake_s);
    let nudge = granted.claim == Claim::Nudge;
    match done_nudge(context, state).and(super::kickoff::phase(context)).filter(|_| nudge) {
        // It is none of the ladder's tiers.
        Some(phase) if granted.why.rule != HUNG => state.phase.nudged = Some(phase.id.clone()),
        Some(_) | None => state.ladder.tier = state.ladder.tier.saturating_add(1),
    }
    state.stall.progress_since_awake_s = None;
}

#[cfg(test)]
mod tests;

//! The ladder: one for all units. A symptom goes in, the one tier that is due comes out; a breaker when the last tier
//! fails again and again.
//!
//! One tier at a time, at most one per cooldown; every one is recorded before it happens. Deliberately not here: what is
//! wrong (stall, cooperation), how an end is carried out (ending), starts and their budget (restart).

mod asking;

use super::context::UnitContext;
use super::cooperation;
use super::ending::ending;
use super::guard_text;
use super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use super::symptom::{Proof, Symptom, is_stall, symptom, what};
use super::{Policy, stall, veto};
use crate::base::text::one_line;
use crate::base::time::{Wall, human_s};
use crate::config::Tier;
use crate::model::action::{Action, Marker, MarkerKind};
use crate::state::mail::Level;
use crate::state::unit::{
    Asked, Breaker, DeliveryStep, EndCause, Ending, Force, LadderState, Message, Purpose, StaleSince,
    SymptomKind, Then, TriageState, UnitState,
};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "ladder", fold, propose, charge };

/// That many last tiers in a row, and the symptom stands: the breaker opens (SPEC 8).
pub const FAILED_MAX: u32 = 3;
/// Alerts of an open breaker are this far apart at first, seconds (SPEC 8); each gap is twice the one before …
const TELL_FIRST_S: f64 = 60.0;
/// … and at most this. Standing alerts are repeated as often.
const DAILY_S: f64 = 86_400.0;
/// Longest reason that a marker carries, characters.
const REASON_MAX: usize = 200;
/// What a nudge says.
pub const NUDGE_TEXT: &str = "[watchkeeper] You have been quiet for a while. If there is work left, go on with it now. \
If you wait for something, end your answer with a line WAITING-UNTIL: and the RFC 3339 time at which to look again.";

fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    asking::settle(context, state, notes);
    // An end under way is judged by what comes after it.
    if context.alive().is_none() || context.unfolded.ending.is_some() {
        return;
    }
    cooperation::promise(context, state, notes);
    stale_since(context, state, notes);
    start_over(context, state, notes);
    let Some(symptom) = symptom(context, context.unfolded) else { return };
    other_trouble(context, state, &symptom, notes);
    if context.gate(state, symptom.least()).is_some() || !context.is_wanted() {
        return;
    }
    trip(context, state, &symptom, notes);
    tell(context, state, &symptom, notes);
}

/// Remembers since when it runs other code than its repository holds.
fn stale_since(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let Some((version, head)) = cooperation::mismatch(context) else {
        state.ladder.stale = None;
        return;
    };
    let known = state.ladder.stale.as_ref().is_some_and(|k| (&k.version, &k.head) == (&version, &head));
    if !known {
        state.ladder.stale = Some(StaleSince { version, head, since_awake_s: context.now.awake_s });
        notes.due_in(cooperation::STALE_LOOK_S);
    }
}

/// All is well again: the ladder starts at its first tier, and its breaker is closed.
fn start_over(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let ladder = &state.ladder;
    let told = ladder.alert_awake_s.is_some() || ladder.triage.trouble.is_some();
    if ladder.tier == 0 && ladder.failed == 0 && !told && ladder.breaker == Breaker::Closed {
        return;
    }
    let by_progress = context.agent().is_some() && ladder.symptom.is_none_or(is_stall);
    let text = match (by_progress, stall::recovered_s(context)) {
        (true, Some(lasted)) => format!("works again for {}: the ladder starts over", human_s(lasted)),
        (false, _) if cooperation::is_well(context, context.unfolded) => {
            "its heart beats again: the ladder starts over".to_owned()
        }
        (true, None) | (false, _) => return,
    };
    let (remedy_awake_s, asked, stale) = (ladder.remedy_awake_s, ladder.asked.clone(), ladder.stale.clone());
    let triage = TriageState { trouble: None, ..ladder.triage.clone() };
    let was = std::mem::replace(
        &mut state.ladder,
        LadderState { remedy_awake_s, asked, stale, triage, ..LadderState::default() },
    );
    notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    if was.breaker != Breaker::Closed {
        let text = "circuit breaker of its ladder closed";
        notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    }
}

/// What the tiers were spent for is over, and this is another trouble: old code after silence or the other way round, or
/// other old code than the unit was asked to leave, which it did. It gets a ladder of its own; the cooldown and an open
/// breaker stand.
fn other_trouble(context: &UnitContext<'_>, state: &mut UnitState, symptom: &Symptom, notes: &mut Notes) {
    let ladder = &mut state.ladder;
    let Some(was) = ladder.symptom.filter(|_| ladder.breaker == Breaker::Closed) else { return };
    let is_stale = |kind| kind == SymptomKind::Stale;
    let text = match (is_stale(was), is_stale(symptom.kind), &ladder.spent_for, &ladder.stale) {
        (true, true, Some(spent), Some(now)) if spent.version != now.version => {
            "it took the code that it was asked to take, and there is newer: the ladder starts over"
        }
        // Nothing more would be tried for the old commit; for another one it is.
        (true, true, Some(spent), Some(now)) if spent.head != now.head && ladder.alert_awake_s.is_some() => {
            "its repository moved on: the ladder starts over"
        }
        (true, false, _, _) | (false, true, _, _) => "another trouble than before: the ladder starts over",
        (true, true, _, _) | (false, false, _, _) => return,
    };
    (ladder.tier, ladder.failed) = (0, 0);
    (ladder.alert_awake_s, ladder.symptom, ladder.spent_for) = (None, None, None);
    notes.event(context.now.wall, Some(context.name), EventKind::State, text);
}

/// What the ladder's turn is, now that the symptom stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    /// The last tier was so lately that this one must wait.
    Cooling { passed_s: f64 },
    /// The breaker is open for so long.
    Open { left_s: f64 },
    /// This tier, at this place.
    Due { tier: Tier, at: usize },
}

fn turn(context: &UnitContext<'_>, ladder: &LadderState, symptom: &Symptom) -> Turn {
    let now = context.now.awake_s;
    let last = ladder.remedy_awake_s.max(ladder.tier_awake_s);
    let passed_s = last.map_or(f64::INFINITY, |at| now.since_s(at));
    let (tier, at) = next_tier(context, ladder, symptom);
    match ladder.breaker {
        Breaker::Open { until_awake_s } if until_awake_s > now => {
            Turn::Open { left_s: until_awake_s.since_s(now) }
        }
        Breaker::Open { .. } | Breaker::Closed | Breaker::HalfOpen { .. }
            if passed_s < context.unit.ladder.cooldown_s =>
        {
            Turn::Cooling { passed_s }
        }
        Breaker::Open { .. } | Breaker::Closed | Breaker::HalfOpen { .. } => Turn::Due { tier, at },
    }
}

/// The tier that comes next for this symptom, with its place; past the end the last one stands. The one try of an open
/// breaker is the last tier that does something.
fn next_tier(context: &UnitContext<'_>, ladder: &LadderState, symptom: &Symptom) -> (Tier, usize) {
    let tiers = &context.unit.ladder.tiers;
    let fitting = || tiers.iter().copied().enumerate().filter(|(_, tier)| symptom.fits(*tier));
    let found = match ladder.breaker {
        Breaker::Open { .. } => fitting().rfind(|(_, tier)| is_act(*tier)).or_else(|| fitting().next_back()),
        Breaker::Closed | Breaker::HalfOpen { .. } => {
            let next = fitting().find(|(at, _)| *at >= ladder.tier).or_else(|| fitting().next_back());
            // What it does not read can't wake it: the turn of the tier behind the reminders, if it is hung.
            next.map(|next| match fitting().find(|(at, tier)| *at > next.0 && *tier != Tier::Nudge) {
                Some(behind) if next.1 == Tier::Nudge && reads_nothing(context, symptom) => behind,
                Some(_) | None => next,
            })
        }
    };
    let (tier, at) = found.map_or((Tier::Alert, tiers.len()), |(at, tier)| (tier, at));
    asking::first(context, ladder, symptom, (tier, at))
}

/// It hangs, and a text waits for it that can't be typed.
fn reads_nothing(context: &UnitContext<'_>, symptom: &Symptom) -> bool {
    let delivery = context.unfolded.delivery.current.as_ref();
    symptom.kind == SymptomKind::Hung && delivery.is_some_and(|text| text.step == DeliveryStep::Wanted)
}

/// Does it do something to the unit, and not only say something?
fn is_act(tier: Tier) -> bool {
    match tier {
        Tier::Warn | Tier::Triage | Tier::Alert => false,
        Tier::Nudge | Tier::RequestRestart | Tier::Terminate | Tier::KillStart => true,
    }
}

/// Is this the last tier for the symptom?
fn is_last(context: &UnitContext<'_>, symptom: &Symptom, at: usize) -> bool {
    !context.unit.ladder.tiers.iter().skip(at.saturating_add(1)).any(|tier| symptom.fits(*tier))
}

/// A tier was spent.
fn spend(context: &UnitContext<'_>, ladder: &mut LadderState, symptom: &Symptom, at: usize) {
    let now = context.now.awake_s;
    if is_last(context, symptom, at) {
        ladder.failed = ladder.failed.saturating_add(1);
    }
    ladder.tier = at.saturating_add(1).max(ladder.tier);
    ladder.symptom = Some(symptom.kind);
    ladder.spent_for = ladder.stale.clone().filter(|_| symptom.kind == SymptomKind::Stale);
    ladder.tier_awake_s = Some(now);
}

/// The breaker opens when the symptom stands after the last tiers, and again when it stands after its one try.
fn trip(context: &UnitContext<'_>, state: &mut UnitState, symptom: &Symptom, notes: &mut Notes) {
    let Turn::Due { .. } = turn(context, &state.ladder, symptom) else { return };
    let why = match state.ladder.breaker {
        Breaker::Closed if state.ladder.failed >= FAILED_MAX => {
            format!("its last tier failed {} times in a row", state.ladder.failed)
        }
        Breaker::HalfOpen { .. } => "the one try of its half-open breaker failed".to_owned(),
        Breaker::Closed | Breaker::Open { .. } => return,
    };
    let now = context.now.awake_s;
    let breaker_s = context.unit.ladder.breaker_s;
    state.ladder.breaker = Breaker::Open { until_awake_s: now.plus_s(breaker_s) };
    let text = format!(
        "circuit breaker of the ladder of `{name}` open: {why}; {} ({}). Nothing is done for {}; \
         `watchkeeper approve {name}` lifts it",
        symptom.seen,
        symptom.compared,
        human_s(breaker_s),
        name = context.name,
    );
    notes.event(context.now.wall, Some(context.name), EventKind::State, text.clone());
    let gap = (TELL_FIRST_S * 2f64.powi(state.ladder.tells.min(30) as i32)).min(DAILY_S);
    if state.ladder.told_awake_s.is_none_or(|told| now.since_s(told) >= gap) {
        state.ladder.told_awake_s = Some(now);
        state.ladder.tells = state.ladder.tells.saturating_add(1);
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    }
}

/// The tiers that only say something: they touch nothing, so nobody has to grant them.
fn tell(context: &UnitContext<'_>, state: &mut UnitState, symptom: &Symptom, notes: &mut Notes) {
    let Turn::Due { tier, at } = turn(context, &state.ladder, symptom) else { return };
    let now = context.now.awake_s;
    match tier {
        Tier::Warn if at < state.ladder.tier => {} // It stands, and was said.
        Tier::Warn => {
            let text = format!("warning: {} ({})", symptom.seen, symptom.compared);
            notes.event(context.now.wall, Some(context.name), EventKind::State, text);
            spend(context, &mut state.ladder, symptom, at);
        }
        Tier::Alert => {
            let told = state.ladder.alert_awake_s.is_some_and(|told| now.since_s(told) < DAILY_S);
            if !told {
                state.ladder.alert_awake_s = Some(now);
                let text = alert_text(context, symptom, is_last(context, symptom, at));
                state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
            }
            // At its end the ladder stands; a broken promise is tried again after the breaker's time.
            if !is_last(context, symptom, at) || symptom.is_tried_again() {
                spend(context, &mut state.ladder, symptom, at);
                notes.due_in(context.unit.ladder.cooldown_s);
            }
        }
        Tier::Triage => asking::unasked(context, state, symptom, notes),
        Tier::Nudge | Tier::RequestRestart | Tier::Terminate | Tier::KillStart => {}
    }
}

fn alert_text(context: &UnitContext<'_>, symptom: &Symptom, is_last: bool) -> String {
    let what = what(symptom.kind);
    let end = if is_last { " and its ladder is at its end" } else { "" };
    format!("`{}` {what}{end}: {} ({})", context.name, symptom.seen, symptom.compared)
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    tidy(context, state, out);
    // A text that is being typed has its time; one that only waits (a hung aider reads nothing) stops no ladder.
    let delivery = state.delivery.current.as_ref();
    let waits = delivery.is_some_and(|delivery| delivery.step == DeliveryStep::Wanted);
    if state.ending.is_some() || (delivery.is_some() && !waits) || !context.is_wanted() {
        return;
    }
    let Some(symptom) = symptom(context, state) else { return };
    let (mut tier, at) = next_tier(context, &state.ladder, &symptom);
    if tier == Tier::Nudge && waits {
        return; // Another text is on its way.
    }
    // Before the ladder, whatever its first tier is.
    let reminder =
        stall::done_nudge(context, state).filter(|_| !waits && symptom.kind == SymptomKind::Stalled);
    if reminder.is_some() {
        tier = Tier::Nudge;
    }
    let label = tier.word();
    if let Some(why) = context.gate(state, symptom.least()).or_else(|| context.account_held()) {
        return out.hold(label, why);
    }
    if let Some(asked) = &state.ladder.triage.asked {
        return asking::wait(context, state, asked, &symptom, out);
    }
    match turn(context, &state.ladder, &symptom) {
        Turn::Cooling { passed_s } => {
            let cooldown_s = context.unit.ladder.cooldown_s;
            out.due_in(cooldown_s - passed_s);
            let why = format!("cooldown: {passed_s:.0} s of {cooldown_s:.0} s since the last remedy");
            return out.hold(label, why);
        }
        Turn::Open { left_s } => {
            out.due_in(left_s);
            let left = human_s(left_s);
            let why = format!(
                "circuit breaker of its ladder open for another {left} (`approve {}` lifts it)",
                context.name
            );
            return out.hold(label, why);
        }
        Turn::Due { .. } => {}
    }
    match tier {
        Tier::Nudge => nudge(context, symptom, reminder, out),
        Tier::RequestRestart => request(context, state, &symptom, out),
        Tier::Terminate | Tier::KillStart => end(context, state, &symptom, (tier, at), out),
        Tier::Triage => asking::ask(context, state, &symptom, out),
        Tier::Warn => {
            out.hold(label, format!("{} ({}); it was said", symptom.seen, symptom.compared));
        }
        Tier::Alert => out.hold(
            "alert",
            format!("{} ({}); the ladder is at its end, a person was told", symptom.seen, symptom.compared),
        ),
    }
}

/// A `RESTART` that is over is taken away: left behind, it would be the next process's riddle.
fn tidy(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let (Some(marker), Some(process)) = (context.seen.markers.restart.as_ref(), context.process()) else {
        return;
    };
    if context.unit.cooperative.is_none()
        || !context.is_wanted()
        || !cooperation::is_over(state, marker, process)
        || context.gate(state, crate::config::Watch::None).is_some()
    {
        return;
    }
    let why = Reason::new("ladder.tidy", "its RESTART marker is older than the process that runs", vec![]);
    let action = Action::Unmark { marker: marker_of(context), seen: Some(marker.text.clone()) };
    out.want(Claim::Tidy, "clear RESTART", What::Act(action), why);
}

fn marker_of(context: &UnitContext<'_>) -> Marker {
    Marker { unit: Some(context.name.clone()), kind: MarkerKind::Restart }
}

fn nudge(context: &UnitContext<'_>, symptom: Symptom, reminder: Option<String>, out: &mut Proposals) {
    if let Some(why) = context.person_types() {
        return out.hold("nudge", why);
    }
    let text = reminder.unwrap_or_else(|| NUDGE_TEXT.to_owned());
    let message = Message { purpose: Purpose::Nudge, text: guard_text::guarded(&text), request: None };
    let why = Reason::new(symptom.rule, symptom.seen, vec![symptom.compared]);
    out.want(Claim::Nudge, "nudge", What::Deliver(message), why);
}

/// Why nothing that ends it may begin now; else what stands against it, in words.
fn allowed(context: &UnitContext<'_>, state: &UnitState) -> Result<&'static str, String> {
    let vetoes = veto::vetoes(context, state);
    if !vetoes.is_empty() && !state.stall.approved {
        let why = vetoes.iter().map(|veto| veto.why.clone()).collect::<Vec<_>>().join("; ");
        return Err(format!("veto: {why}"));
    }
    if UnitContext::breaker_open(state) {
        return Err("its circuit breaker is open".to_owned());
    }
    if let Some(why) = super::phase::unknown(context) {
        return Err(format!("it could not be started again: {why}"));
    }
    Ok(if vetoes.is_empty() { "no veto" } else { "a person approved it past the vetoes" })
}

/// Asks the unit to end itself: its marker, with time, writer and reason.
fn request(context: &UnitContext<'_>, state: &UnitState, symptom: &Symptom, out: &mut Proposals) {
    let vetoes = match allowed(context, state) {
        Ok(vetoes) => vetoes,
        Err(why) => return out.hold("request-restart", why),
    };
    let reason = one_line(&symptom.seen, REASON_MAX);
    let text = format!("{} watchkeeper: {reason}", context.now.wall);
    let compared = vec![symptom.compared.clone(), vetoes.to_owned()];
    let why = Reason::new(symptom.rule, symptom.seen.clone(), compared);
    let action = Action::Mark { marker: marker_of(context), text };
    out.want(Claim::Kill, "request-restart", What::Act(action), why);
}

/// Ends the tree and starts anew: TERM, grace, KILL; or KILL at once when it was asked gently before.
fn end(
    context: &UnitContext<'_>,
    state: &UnitState,
    symptom: &Symptom,
    (tier, at): (Tier, usize),
    out: &mut Proposals,
) {
    let label = tier.word();
    let mut compared = vec![symptom.compared.clone()];
    match symptom.proof {
        Proof::Promise => {}
        Proof::Clocks { threshold_s } => {
            let (stale, fresh) = stall::proof(context, threshold_s);
            if stale.len() < 2 {
                out.due_in(5.0);
                let all = [&stale[..], &fresh[..]].concat().join(", ");
                return out.hold(label, format!("a kill needs 2 stale clocks, has {} ({all})", stale.len()));
            }
            compared.push(format!("2 stale clocks needed: {}", stale.join(", ")));
        }
    }
    match allowed(context, state) {
        Ok(vetoes) => compared.push(vetoes.to_owned()),
        Err(why) => return out.hold(label, why),
    }
    let why = Reason::new(symptom.rule, symptom.seen.clone(), compared);
    let before = context.unit.ladder.tiers.get(..at).unwrap_or_default();
    let asked_gently = tier == Tier::KillStart && before.contains(&Tier::Terminate);
    // Old code hangs in nothing: it ends in its own time, at the end of a turn, and pays for no restart.
    let (cause, force) = match (symptom.kind, asked_gently) {
        (SymptomKind::Stale, _) => (EndCause::Changed, Force::Term),
        (SymptomKind::Stalled | SymptomKind::Hung | SymptomKind::Silent, true) => {
            (EndCause::Ladder, Force::Kill)
        }
        (SymptomKind::Stalled | SymptomKind::Hung | SymptomKind::Silent, false) => {
            (EndCause::Ladder, Force::Term)
        }
    };
    let begun = ending(context, Then::Start, cause, &why);
    let end = Ending { tier: Some(state.ladder.tier), symptom: Some(symptom.kind), force, ..begun };
    out.want(Claim::Kill, label, What::End(end), why);
}

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    let now = context.now.awake_s;
    if granted.claim == Claim::Tidy {
        return;
    }
    let Some(symptom) = symptom(context, state) else { return };
    if granted.claim == Claim::Triage {
        let (_, at) = next_tier(context, &state.ladder, &symptom);
        return asking::asked(context, granted, at, &symptom, state);
    }
    let reminded = granted.claim == Claim::Nudge && symptom.kind == SymptomKind::Stalled;
    match stall::done_nudge(context, state).and(super::kickoff::phase(context)).filter(|_| reminded) {
        // It is none of the ladder's tiers.
        Some(phase) => state.phase.nudged = Some(phase.id.clone()),
        // Nor is the nudge that triage asked for: its turn comes again.
        None if granted.claim == Claim::Nudge && state.ladder.triage.retry => {
            state.ladder.triage.retry = false;
            state.ladder.tier_awake_s = Some(now);
        }
        None => {
            let tiers = &context.unit.ladder.tiers;
            let (_, next) = next_tier(context, &state.ladder, &symptom);
            let is_it =
                |(at, tier): (usize, &Tier)| (at >= next && tier.word() == granted.label).then_some(at);
            let at = tiers.iter().enumerate().find_map(is_it).unwrap_or(next);
            let half_open = matches!(state.ladder.breaker, Breaker::Open { .. });
            spend(context, &mut state.ladder, &symptom, at);
            if half_open {
                state.ladder.breaker = Breaker::HalfOpen { since_awake_s: now };
            }
        }
    }
    if let What::Act(Action::Mark { text, .. }) = &granted.what {
        let at = text.split_whitespace().next().and_then(Wall::parse);
        let at = at.unwrap_or(context.now.wall);
        state.ladder.asked = Some(Asked { process: context.process(), at });
    }
    state.ladder.remedy_awake_s = Some(now);
    state.stall.progress_since_awake_s = None;
}

#[cfg(test)]
mod tests;

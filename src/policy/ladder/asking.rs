//! The tier `triage`: the question is recorded, asked and waited for; its answer moves the ladder.
//!
//! What ends an agent behind this tier needs the answer "terminate" about this very process; everything else is another
//! window. Deliberately not here: how the question is put and what an answer is (triage), proof and vetoes (ladder).

use crate::config::Tier;
use crate::model::action::Action;
use crate::model::seen::JobSeen;
use crate::policy::activity;
use crate::policy::context::UnitContext;
use crate::policy::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use crate::policy::symptom::{Symptom, is_stall, symptom, what};
use crate::policy::triage::{self, Answer};
use crate::state::mail::Level;
use crate::state::unit::{DeliveryStep, LadderState, SymptomKind, TriageAsked, TriagePass, UnitState};

/// An answer is waited for so much longer than the command gets, seconds: its end has to be seen, too.
const SLACK_S: f64 = 10.0;

/// Takes an answer, and forgets what is no longer about what stands.
pub(super) fn settle(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let stands = symptom(context, context.unfolded).filter(|symptom| is_stall(symptom.kind));
    let Some(symptom) = stands.filter(|_| context.unfolded.ending.is_none()) else {
        // It moved, it ended, it is being ended: the answer is about nothing.
        drop_question(state);
        (state.ladder.triage.retry, state.ladder.triage.passed) = (false, None);
        return;
    };
    if state.ladder.triage.passed.is_some() && !has_passed(context, &state.ladder) {
        state.ladder.triage.passed = None;
    }
    let waits = state.delivery.current.as_ref().is_some_and(|text| text.step == DeliveryStep::Wanted);
    if state.ladder.triage.retry && symptom.kind == SymptomKind::Hung && waits {
        state.ladder.triage.retry = false;
        extend(context, state, notes, "it reads nothing, so it can't be nudged");
    }
    let Some(asked) = state.ladder.triage.asked.clone() else { return };
    if asked.process != context.process() {
        return drop_question(state);
    }
    let answer = match triage::answer(context.job(&asked.job)) {
        Some(answer) => answer,
        None if context.now.awake_s >= asked.until_awake_s => {
            Answer::Unusable("gave no answer in time".into())
        }
        None => return,
    };
    drop_question(state);
    if let Answer::Unusable(why) = &answer {
        return unusable(context, state, notes, &symptom, format!("triage {why}"));
    }
    state.ladder.triage.trouble = None;
    match answer {
        Answer::Extend | Answer::Unusable(_) => extend(context, state, notes, "triage says extend"),
        Answer::Retry => {
            state.ladder.triage.retry = true;
            said(context, notes, "triage says retry: one more nudge");
        }
        Answer::Terminate => terminate(context, state, &symptom, &asked, notes),
    }
}

/// The tier behind it that ends the agent is due; where none does, the one that tells.
fn terminate(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    symptom: &Symptom,
    asked: &TriageAsked,
    notes: &mut Notes,
) {
    let behind = || {
        let tiers = context.unit.ladder.tiers.iter().copied().enumerate();
        tiers.filter(|(at, tier)| *at > asked.at && symptom.fits(*tier))
    };
    let next =
        behind().find(|(_, tier)| is_end(*tier)).or_else(|| behind().find(|(_, t)| *t != Tier::Triage));
    let Some((at, tier)) = next else {
        return extend(context, state, notes, "triage says terminate, and no tier follows");
    };
    let process = context.process();
    state.ladder.triage.passed = Some(TriagePass { process, at_awake_s: context.now.awake_s });
    state.ladder.tier = state.ladder.tier.max(at);
    said(context, notes, &format!("triage says terminate: {} is next", tier.word()));
}

/// Another window for want of an answer: as long as it is so, nothing behind the tier comes, and people are told once.
fn unusable(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    notes: &mut Notes,
    symptom: &Symptom,
    why: String,
) {
    extend(context, state, notes, &why);
    if state.ladder.triage.trouble.is_none() {
        let text = format!(
            "`{}` {}, and {why}; as long as there is no answer it gets another window each time",
            context.name,
            what(symptom.kind)
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
    }
    state.ladder.triage.trouble = Some(why);
}

/// Another window.
fn extend(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes, why: &str) {
    state.ladder.tier_awake_s = Some(context.now.awake_s);
    state.ladder.remedy_awake_s = Some(context.now.awake_s);
    said(context, notes, &format!("{why}: it gets another window"));
}

fn said(context: &UnitContext<'_>, notes: &mut Notes, text: &str) {
    notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    notes.due_in(1.0);
}

fn drop_question(state: &mut UnitState) {
    if let Some(asked) = state.ladder.triage.asked.take() {
        state.take_job(&asked.job);
    }
}

/// Nobody can be asked: another window.
pub(super) fn unasked(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    symptom: &Symptom,
    notes: &mut Notes,
) {
    if context.config.watchdog.triage.is_none() && state.ladder.triage.asked.is_none() {
        let why = "[watchdog] has no `triage` command".to_owned();
        unusable(context, state, notes, symptom, why);
    }
}

fn is_end(tier: Tier) -> bool {
    match tier {
        Tier::RequestRestart | Tier::Terminate | Tier::KillStart => true,
        Tier::Warn | Tier::Nudge | Tier::Triage | Tier::Alert => false,
    }
}

/// Was "terminate" said about this process, and did nothing move since?
fn has_passed(context: &UnitContext<'_>, ladder: &LadderState) -> bool {
    let Some(passed) = &ladder.triage.passed else { return false };
    let moved = activity::last_change(context.clocks).is_some_and(|changed| changed > passed.at_awake_s);
    passed.process.is_some() && passed.process == context.process() && !moved
}

/// What comes before this tier: the nudge that was answered, or the question whose answer an end needs.
pub(super) fn first(
    context: &UnitContext<'_>,
    ladder: &LadderState,
    symptom: &Symptom,
    (tier, at): (Tier, usize),
) -> (Tier, usize) {
    if !is_stall(symptom.kind) {
        return (tier, at);
    }
    if ladder.triage.retry {
        return (Tier::Nudge, at);
    }
    let before = context.unit.ladder.tiers.get(..at).unwrap_or_default();
    match before.iter().rposition(|tier| *tier == Tier::Triage) {
        Some(triage) if is_end(tier) && !has_passed(context, ladder) => (Tier::Triage, triage),
        Some(_) | None => (tier, at),
    }
}

/// Wants the question asked. One that was recorded and never started keeps its number.
pub(super) fn ask(context: &UnitContext<'_>, state: &UnitState, symptom: &Symptom, out: &mut Proposals) {
    let Some(command) = &context.config.watchdog.triage else { return };
    let next = state.ladder.triage.count.saturating_add(u64::from(state.ladder.triage.asked.is_none()));
    let job = triage::job(context, command, next, &format!("{} ({})", symptom.seen, symptom.compared));
    let why = Reason::new(symptom.rule, symptom.seen.clone(), vec![symptom.compared.clone()]);
    out.want(Claim::Triage, Tier::Triage.word(), What::Act(Action::RunJob { job }), why);
}

/// The question is open: it is waited for; lost between record and start, it is asked again.
pub(super) fn wait(
    context: &UnitContext<'_>,
    state: &UnitState,
    asked: &TriageAsked,
    symptom: &Symptom,
    out: &mut Proposals,
) {
    let left_s = asked.until_awake_s.since_s(context.now.awake_s);
    out.due_in(left_s);
    if *context.job(&asked.job) == JobSeen::None {
        ask(context, state, symptom, out);
    }
    out.hold(Tier::Triage.word(), format!("its command was asked, and has {left_s:.0} s left to answer"));
}

/// The question is recorded before it is asked. It reaches no unit, so it opens no fresh window.
pub(super) fn asked(
    context: &UnitContext<'_>,
    granted: &Proposal,
    at: usize,
    symptom: &Symptom,
    state: &mut UnitState,
) {
    let What::Act(Action::RunJob { job }) = &granted.what else { return };
    let now = context.now.awake_s;
    let ladder = &mut state.ladder;
    if ladder.triage.asked.as_ref().is_some_and(|asked| asked.job == job.id) {
        return;
    }
    ladder.triage.count = ladder.triage.count.saturating_add(1);
    ladder.triage.passed = None;
    let until_awake_s = now.plus_s(f64::from(job.deadline_s) + SLACK_S);
    ladder.triage.asked =
        Some(TriageAsked { job: job.id.clone(), process: context.process(), at, until_awake_s });
    ladder.tier = ladder.tier.max(at);
    ladder.symptom = Some(symptom.kind);
    ladder.tier_awake_s = Some(now);
}

//! Handing work from agent to agent: commits that were pushed and inbox files that changed become pings, each owed until
//! its agent has it.
//!
//! Two halves. The fleet's ([`fold`]) reads the branch and owes pings in git.json; an agent's own (the policy row) takes
//! them over into its file, by id, and delivers them. The agent's file is written before git.json moves on, so a kill in
//! between finds the same news again, under the same ids. Deliberately not here: phases (plan, phase).

use super::Policy;
use super::context::UnitContext;
use super::plan::Stage;
use super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use crate::base::names::UnitName;
use crate::base::text::{counted, one_line};
use crate::base::time::Wall;
use crate::config::{Config, Sequence, Watch};
use crate::model::seen::{BranchFacts, BranchSeen, Commit, Observation, SinceSeen};
use crate::policy::guard_text;
use crate::state::State;
use crate::state::git::{GitState, OwedPing, PINGS_MAX};
use crate::state::mail::Level;
use crate::state::phase::PhaseState;
use crate::state::unit::{
    DeliveryOutcome, DeliveryState, HandoffState, Kickoff, Message, Ping, Purpose, UnitState,
};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "handoff", fold: fold_unit, propose, charge };

/// Pings that one unit is owed, at most; past that the oldest is dropped, and said.
const OWED_MAX: usize = 100;
/// Ids remembered per unit: more than can be owed at once, so that none is taken twice.
const TAKEN_MAX: usize = PINGS_MAX + OWED_MAX;
/// Pings that go into one text.
const TOGETHER_MAX: usize = 20;
/// A ping that could not be delivered is tried again after this long, seconds.
const RETRY_S: f64 = 60.0;
/// Longest subject quoted, characters.
const SUBJECT_MAX: usize = 200;

/// Takes the branch's news into git.json, as pings owed.
pub fn fold(
    config: &Config,
    previous: &State,
    seen: &Observation,
    stage: &Stage,
    next: &mut State,
    notes: &mut Notes,
) {
    let Some(plan) = &config.sequence else { return };
    let now = seen.now.wall;
    let git = &mut next.git;
    let source = format!("{} {}", plan.repo.display(), plan.tracking());
    if git.source != source {
        // Another repository or branch: its past is no news.
        *git = GitState {
            source,
            fetches: git.fetches,
            fetch_awake_s: git.fetch_awake_s,
            ..GitState::default()
        };
    }
    git.pings.retain(|ping| {
        let unit = previous.units.get(&ping.unit);
        let has = unit.is_some_and(|unit| unit.handoff.taken.contains(&ping.id));
        // One whose file can't be judged now is left out of the config for a tick: who is named in the plan is known.
        !has && (config.units.contains_key(&ping.unit) || hears(plan, &ping.unit))
    });
    if *stage == Stage::Complete {
        git.pings.clear();
    }
    if let Some(BranchSeen::At(facts)) = &seen.branch
        && git.head.as_ref() != Some(&facts.head)
    {
        let news = news(plan, &next.phase, git, facts, now, notes);
        if *stage != Stage::Complete {
            owe(git, news, now, notes);
        }
        git.head = Some(facts.head.clone());
        git.head_at = Some(now);
        git.inboxes.clone_from(&facts.inboxes);
        git.watched = plan.handoff.inboxes.keys().cloned().collect();
    }
    for ping in git.pings.iter().filter(|ping| config.units.contains_key(&ping.unit)) {
        let unit = next.units.entry(ping.unit.clone()).or_default();
        take(&mut unit.handoff, ping);
    }
}

fn hears(plan: &Sequence, unit: &UnitName) -> bool {
    let handoff = &plan.handoff;
    let named = handoff.claim_pings.iter().chain(&handoff.review_pings);
    named.chain(handoff.inboxes.values().flatten()).any(|name| name == unit)
}

/// What is new at this head. The first sight of a branch is only remembered.
fn news(
    plan: &Sequence,
    phase: &PhaseState,
    git: &mut GitState,
    facts: &BranchFacts,
    now: Wall,
    notes: &mut Notes,
) -> Vec<OwedPing> {
    let mut pings = Vec::new();
    let Some(handed_on) = git.head.clone() else { return pings };
    match &facts.since {
        SinceSeen::Commits(commits) => {
            // What was pushed before the phase began was claimed in another one.
            let began = commits.iter().position(|commit| commit.id == phase.head).map_or(0, |at| at + 1);
            for (place, commit) in commits.iter().enumerate() {
                pings.extend(of_commit(plan, commit));
                if place >= began
                    && let Some(label) = super::tokens::claimed_label(&commit.subject)
                {
                    git.label = label;
                    git.label_phase.clone_from(&phase.id);
                }
            }
        }
        SinceSeen::Rewritten => {
            let text = format!(
                "{} was rewritten or is not known from before: it is looked at afresh, its history pings nobody",
                plan.tracking()
            );
            notes.event(now, None, EventKind::Handoff, text);
        }
        // The head moved, but what came in between was not looked at: the next look has it.
        SinceSeen::Nothing => {}
    }
    for (file, whom) in &plan.handoff.inboxes {
        // Emptied or deleted is consumed; a file that is watched since now is only remembered.
        let Some(is) = facts.inboxes.get(file).filter(|_| git.watched.contains(file)) else { continue };
        let changed = Some(is) != git.inboxes.get(file);
        for unit in whom.iter().filter(|_| changed) {
            let text =
                format!("{} changed on {}: read it and act on it.", plan.in_repo(file), plan.tracking());
            // By what it was before and is now: found again after a kill, at whatever head, it is the same news.
            let id = format!("{handed_on} {file} {is}");
            pings.push(OwedPing { id, unit: unit.clone(), text });
        }
    }
    pings
}

fn of_commit(plan: &Sequence, commit: &Commit) -> Vec<OwedPing> {
    let handoff = &plan.handoff;
    let subject = one_line(&commit.subject, SUBJECT_MAX);
    let short: String = commit.id.chars().take(10).collect();
    let kinds = [
        (&handoff.claim, &handoff.claim_pings, "claim", "review it"),
        (&handoff.review, &handoff.review_pings, "review", "act on it"),
    ];
    let mut pings = Vec::new();
    for (pattern, whom, kind, what) in kinds {
        if !pattern.as_ref().is_some_and(|pattern| pattern.is_match(&commit.subject)) {
            continue;
        }
        for unit in whom {
            let text = format!("New {kind} on {}, {what}: {short} {subject}", plan.tracking());
            pings.push(OwedPing { id: format!("{} {kind}", commit.id), unit: unit.clone(), text });
        }
    }
    pings
}

fn owe(git: &mut GitState, pings: Vec<OwedPing>, now: Wall, notes: &mut Notes) {
    for ping in pings {
        if git.pings.iter().any(|owed| owed.id == ping.id && owed.unit == ping.unit) {
            continue;
        }
        notes.event(now, Some(&ping.unit), EventKind::Handoff, format!("is told: {}", ping.text));
        git.pings.push(ping);
        if git.pings.len() > PINGS_MAX {
            let dropped = git.pings.remove(0);
            let text = format!("more than {PINGS_MAX} pings are owed; dropped: {}", dropped.text);
            notes.event(now, Some(&dropped.unit), EventKind::Handoff, text);
        }
    }
}

/// Takes a ping over, once.
fn take(handoff: &mut HandoffState, ping: &OwedPing) {
    if handoff.taken.contains(&ping.id) {
        return;
    }
    handoff.taken.push(ping.id.clone());
    if handoff.taken.len() > TAKEN_MAX {
        handoff.taken.remove(0);
    }
    handoff.owed.push(Ping { id: ping.id.clone(), text: ping.text.clone(), delivery: None });
}

fn fold_unit(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    if state.handoff.owed.is_empty() {
        return;
    }
    if context.fleet.stage == Stage::Complete || context.agent().is_none() {
        state.handoff.owed.retain(|ping| ping.delivery.is_some());
    }
    while state.handoff.owed.len() > OWED_MAX {
        let dropped = state.handoff.owed.remove(0);
        let text = format!("more than {OWED_MAX} pings wait; dropped: {}", dropped.text);
        notes.event(context.now.wall, Some(context.name), EventKind::Handoff, text);
    }
    let delivery = &context.unfolded.delivery;
    let mut failed = None;
    state.handoff.owed.retain_mut(|ping| match ping.delivery.map(|id| outcome(delivery, id)) {
        None | Some(Carried::UnderWay) => true,
        Some(Carried::Arrived) => false,
        Some(Carried::Failed(why)) => {
            ping.delivery = None;
            failed = Some(why);
            true
        }
    });
    match failed {
        Some(why) => {
            if state.handoff.failed_awake_s.is_none() {
                let text = format!(
                    "news of the work for `{}` was not delivered ({why}); it stays owed",
                    context.name
                );
                state.owe(context.name.as_str(), context.now.wall, Level::Warning, text);
            }
            state.handoff.failed_awake_s = Some(context.now.awake_s);
        }
        None if state.handoff.owed.is_empty() => state.handoff.failed_awake_s = None,
        None => {}
    }
}

enum Carried {
    UnderWay,
    Arrived,
    Failed(String),
}

fn outcome(delivery: &DeliveryState, id: u64) -> Carried {
    if delivery.current.as_ref().is_some_and(|current| current.id == id) {
        return Carried::UnderWay;
    }
    match delivery.past.iter().find(|past| past.id == id).map(|past| &past.outcome) {
        // What may have been read is told to people, and never typed again.
        Some(DeliveryOutcome::Seen | DeliveryOutcome::Unknown { .. }) => Carried::Arrived,
        Some(DeliveryOutcome::Failed { why }) => Carried::Failed(why.clone()),
        None => Carried::Failed("what became of it is not remembered".into()),
    }
}

/// Is the text that was pasted last news that is still owed? It will be typed again.
pub fn types_again(state: &UnitState) -> bool {
    let mut owed = state.handoff.owed.iter().filter(|ping| ping.delivery.is_none());
    owed.any(|ping| state.delivery.last_text.contains(ping.text.as_str()))
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let waiting: Vec<&Ping> =
        state.handoff.owed.iter().filter(|ping| ping.delivery.is_none()).take(TOGETHER_MAX).collect();
    if waiting.is_empty() || context.agent().is_none() || !context.is_wanted() {
        return;
    }
    // What is about to be started anew, or has not had its first prompt, is told after that.
    let later = state.ending.is_some()
        || state.launch.kickoff != Kickoff::Done
        || super::phase::is_behind(context, state);
    if later || state.delivery.current.is_some() {
        return;
    }
    if let Some(why) = context.gate(state, Watch::Heal).or_else(|| context.account_held()) {
        return out.hold("ping", why);
    }
    if context.alive().is_none() {
        return out.hold("ping", format!("{} for it, and it does not run", counted(waiting.len(), "ping")));
    }
    if state.limit.active.is_some() {
        return out.hold("ping", "it is limited");
    }
    if let Some(left) = state
        .handoff
        .failed_awake_s
        .map(|at| RETRY_S - context.now.awake_s.since_s(at))
        .filter(|left| *left > 0.0)
    {
        out.due_in(left);
        return out.hold("ping", format!("it could not be typed; again in {left:.0} s"));
    }
    let texts: Vec<&str> = waiting.iter().map(|ping| ping.text.as_str()).collect();
    let text = guard_text::guarded(&format!("[watchkeeper] {}", texts.join("\n")));
    let why = Reason::new("handoff.ping", format!("{} for it", counted(waiting.len(), "ping")), vec![]);
    let message = Message { purpose: Purpose::Ping, text, request: None };
    out.want(Claim::Ping, "ping", What::Deliver(message), why);
}

fn charge(_context: &UnitContext<'_>, _granted: &Proposal, state: &mut UnitState) {
    // The delivery that has just begun carries them.
    let id = state.delivery.count;
    for ping in state.handoff.owed.iter_mut().filter(|ping| ping.delivery.is_none()).take(TOGETHER_MAX) {
        ping.delivery = Some(id);
    }
}

#[cfg(test)]
mod tests;

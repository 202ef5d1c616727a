//! Every change has its event, the books balance, and the same facts give the same answer.

use super::Checker;
use crate::world::World;
use watchkeeper::config::Config;
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::action::Action;
use watchkeeper::policy::proposal::{Claim, EventKind, Proposal, What};
use watchkeeper::policy::{POLICIES, decide, decide_with};
use watchkeeper::state::unit::{Breaker, UnitState};

impl Checker {
    /// Every change has its event.
    pub(super) fn events(&self, world: &mut World, report: &TickReport) {
        for (name, after) in &report.decision.next.units {
            let before = report.before.units.get(name).cloned().unwrap_or_default();
            let Some(change) = changed(&before, after) else { continue };
            // What is not on record did not happen: it is decided and told again.
            let unwritten = format!("{name}: ");
            if report.unwritten.iter().any(|why| why.starts_with(&unwritten)) {
                continue;
            }
            let told = report.decision.events.iter().any(|event| {
                event.unit.as_deref() == Some(name.as_str()) || event.kind == EventKind::Request
            });
            let state_told =
                report.decision.events.iter().any(|event| {
                    event.unit.as_deref() == Some(name.as_str()) && event.kind == EventKind::State
                });
            if !told || (change == "state" && !state_told) {
                world.violate("event-for-change", format!("{name}: its {change} changed without an event"));
            }
        }
        for granted in &report.decision.granted {
            let told = report.decision.events.iter().any(|event| {
                event.unit.as_deref() == Some(granted.unit.as_str())
                    && event.kind == EventKind::Act
                    && event.why.is_some()
            });
            if !told {
                world.violate(
                    "event-for-change",
                    format!("{}: `{}` without an event", granted.unit, granted.label),
                );
            }
        }
    }
}

/// The first thing in a unit's file that changed and must have an event.
fn changed(before: &UnitState, after: &UnitState) -> Option<&'static str> {
    let breaker = |state: &UnitState| match state.restart.breaker {
        Breaker::Closed => 0,
        Breaker::Open { .. } => 1,
        Breaker::HalfOpen { .. } => 2,
    };
    let ending = |state: &UnitState| state.ending.as_ref().map(|ending| (ending.cause, ending.step.clone()));
    let limit = |state: &UnitState| state.limit.active.as_ref().map(|limit| limit.text.clone());
    if before.seen.state != after.seen.state || before.seen.process != after.seen.process {
        return Some("state");
    }
    if breaker(before) != breaker(after) {
        return Some("breaker");
    }
    if ending(before) != ending(after) {
        return Some("end");
    }
    if limit(before) != limit(after) {
        return Some("limit");
    }
    if before.delivery.past != after.delivery.past {
        return Some("deliveries");
    }
    if before.alerts != after.alerts {
        return Some("alerts");
    }
    None
}

/// The reminder of the done marker is none of the ladder's tiers.
fn reminds(granted: &Proposal) -> bool {
    matches!(&granted.what, What::Deliver(message) if message.text.contains("is not marked as done"))
}

/// The books balance: what was paid for is what was granted, neither more nor less.
pub(super) fn books(world: &mut World, config: &Config, report: &TickReport) {
    for (name, after) in &report.decision.next.units {
        let before = report.before.units.get(name).cloned().unwrap_or_default();
        let granted: Vec<&Proposal> = report.decision.granted.iter().filter(|p| p.unit == *name).collect();
        // What was not recorded was dropped from the grants; its charge was not kept either.
        if granted.is_empty() && report.before.units.get(name).is_some_and(|b| b.acts != after.acts) {
            continue;
        }
        let count = |is: &dyn Fn(&&&Proposal) -> bool| granted.iter().filter(is).count() as u64;
        let heals = count(&|p| p.why.rule == "restart.heal");
        let requests = count(&|p| p.why.rule == "restart.requested");
        let comebacks = count(&|p| p.why.rule == "restart.lost");
        let starts =
            count(&|p| matches!(p.what, What::Act(Action::NewSession { .. } | Action::Respawn { .. })));
        let deliveries = count(&|p| matches!(p.what, What::Deliver(_)));
        let remedies = count(&|p| p.by == "ladder" && !reminds(p));
        let continues = count(&|p| p.claim == Claim::Continue);
        let wakes = count(&|p| p.by == "wake");
        let rows = [
            ("acts", after.acts - before.acts.min(after.acts), granted.len() as u64),
            (
                "restarts",
                after.restart.total.saturating_sub(before.restart.total),
                heals + comebacks + requests,
            ),
            ("starts", after.launch.count.saturating_sub(before.launch.count), starts),
            ("deliveries", after.delivery.count.saturating_sub(before.delivery.count), deliveries),
            ("tiers", (after.ladder.tier.saturating_sub(before.ladder.tier)) as u64, remedies),
            ("wakes", u64::from(after.wake.last != before.wake.last), wakes),
        ];
        // How cooperative units climb is judged by `ladders`.
        let climbs = config.units.get(name).is_some_and(|unit| unit.cooperative.is_some());
        for (book, paid, due) in rows.into_iter().filter(|(book, ..)| *book != "tiers" || !climbs) {
            if paid != due {
                world.violate("books", format!("{name}: {book}: {paid} paid, {due} granted"));
            }
        }
        let past = |state: &UnitState| state.restart.past_awake_s.last().copied();
        if heals == 1 && past(after) == past(&before) {
            world.violate("books", format!("{name}: a heal is not in its budget"));
        }
        let grown = after.restart.past_awake_s.len() > before.restart.past_awake_s.len();
        if comebacks == 1 && (grown || after.restart.lost_awake_s.is_empty()) {
            world.violate("books", format!("{name}: a comeback is in the wrong budget"));
        }
        if continues == 1 && after.attend.error_nudges != before.attend.error_nudges + 1 {
            world.violate("books", format!("{name}: a continue was not paid for"));
        }
    }
}

/// The same facts give the same answer, in whatever order the policies stand.
pub(super) fn same_answer(world: &mut World, config: &Config, report: &TickReport, salt: u64) {
    let known = report.seen.units.keys().all(|name| config.units.contains_key(name))
        && report.seen.units.len() == config.units.len();
    if !known {
        return;
    }
    let again = decide(config, &report.before, &report.seen);
    // What could not be recorded was taken out of mail.json again.
    let decided = &report.decision.next;
    if again.next.units != decided.units || again.next.clocks != decided.clocks {
        world.violate("same-answer", "the same facts were decided differently".to_owned());
    }
    let mut policies = POLICIES.to_vec();
    let len = policies.len();
    policies.rotate_left(salt as usize % len);
    if salt.is_multiple_of(2) {
        policies.reverse();
    }
    policies.swap(salt as usize / 7 % len, salt as usize / 3 % len);
    let shuffled = decide_with(&policies, config, &report.before, &report.seen);
    if shuffled.next != again.next || shuffled.granted != again.granted || shuffled.holds != again.holds {
        let order: Vec<&str> = policies.iter().map(|policy| policy.name).collect();
        let unit =
            again.next.units.iter().find(|(name, state)| shuffled.next.units.get(*name) != Some(*state));
        let difference = unit.map(|(name, state)| {
            let (a, b) = (format!("{state:#?}"), format!("{:#?}", shuffled.next.units.get(name)));
            let lines = a.lines().filter(|line| !b.contains(line.trim())).collect::<Vec<_>>().join(" ");
            format!("{name}: {lines}")
        });
        world.violate("any-order", format!("order {order:?} decides differently: {difference:?}"));
    }
}

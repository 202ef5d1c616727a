//! Texts reach an agent once and not too soon: deliveries, first prompts, wakes, what people asked to be told.

use super::Checker;
use crate::outline::kickoff_phase;
use crate::world::{Arrival, World};
use watchkeeper::config::{Config, Unit, WakeWhen};
use watchkeeper::engine::tick::TickReport;
use watchkeeper::policy::proposal::Proposal;
use watchkeeper::state::unit::{DeliveryOutcome, Purpose, UnitState};

impl Checker {
    /// A text reached an agent: once, and not too soon.
    pub(super) fn arrived(&mut self, world: &mut World, arrival: &Arrival) {
        self.arrivals += 1;
        if arrival.sent.person {
            if !arrival.sent.buffers.is_empty() {
                world.violate("draft", format!("{}: a person's text was submitted with ours", arrival.unit));
            }
            return;
        }
        let unit = &arrival.unit;
        let Some(past) = self.past.get_mut(unit) else { return };
        for buffer in &arrival.sent.buffers {
            let key = format!("{unit} {} {buffer}", arrival.epoch);
            let times = self.texts.entry(key).or_default();
            *times += 1;
            if *times > 1 {
                world.violate(
                    "once-only-text",
                    format!("{unit}: the text of {buffer} arrived {times} times", times = *times),
                );
            }
        }
        if arrival.sent.text.starts_with("Please have a look at item ") {
            let times = self.texts.entry(arrival.sent.text.clone()).or_default();
            *times += 1;
            if *times > 1 {
                world.violate("once-only-text", format!("{unit}: `{}` arrived twice", arrival.sent.text));
            }
        }
        self.pings.arrived(world, arrival);
        let truth = world.units.get(unit).cloned();
        let role = truth.is_some_and(|truth| !truth.kickoff.is_empty() && arrival.sent.text == truth.kickoff);
        if role || kickoff_phase(&arrival.sent.text).is_some() {
            let born = world.living(unit).map_or(0, |pane| pane.cli.born);
            let (of, times) = past.kickoffs.entry(arrival.pid).or_insert((born, 0));
            if *of != born {
                (*of, *times) = (born, 0);
            }
            *times += 1;
            if *times > 1 {
                world.violate(
                    "once-only-kickoff",
                    format!("{unit}: its first prompt arrived {times} times", times = *times),
                );
            }
        }
    }

    /// A wake or a task's run: once per time that it is due.
    pub(super) fn wake(
        &mut self,
        world: &mut World,
        config: &Config,
        report: &TickReport,
        granted: &Proposal,
        before: &UnitState,
    ) {
        let wake =
            config.units.get(&granted.unit).and_then(Unit::agent).and_then(|agent| agent.wake.as_ref());
        let (Some(wake), Some(past)) = (wake, self.past.get_mut(granted.unit.as_str())) else { return };
        let now = report.seen.now.wall;
        let failed = before.delivery.past.iter().rev().find(|past| past.purpose == Purpose::Wake);
        let failed = failed.is_some_and(|past| matches!(past.outcome, DeliveryOutcome::Failed { .. }));
        let passed_s =
            past.last_wake.filter(|(_, jumps)| *jumps == self.jumps).map(|(last, _)| now.since_s(last));
        let again = match &wake.when {
            WakeWhen::Interval { every_s } => passed_s.is_some_and(|passed| passed < *every_s) && !failed,
            // A missed time fires late, perhaps right before the next.
            WakeWhen::Cron { .. } => passed_s.is_some() && past.last_due == before.wake.due,
        };
        if again {
            world.violate("once-only-wake", format!("{}: woken again after {passed_s:?} s", granted.unit));
        }
        past.last_due = before.wake.due;
        past.last_wake = Some((now, self.jumps));
    }

    /// Did the text of this request reach its agent?
    pub fn text_arrived(&self, request: &str) -> bool {
        self.texts.contains_key(&format!("Please have a look at item {request}."))
    }
}

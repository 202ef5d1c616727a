//! What is granted to one unit: seen, with a reason, and nothing to who must be left alone.

use super::Checker;
use super::kills::{disturbance, proof, term};
use crate::cli::Play;
use crate::world::World;
use watchkeeper::config::{Config, Unit};
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::action::{Action, Signal};
use watchkeeper::model::seen::PaneSeen;
use watchkeeper::policy::proposal::{Claim, Origin, Proposal, What};
use watchkeeper::state::unit::{EndCause, UnitState};

impl Checker {
    /// One thing that was granted.
    pub(super) fn granted(
        &mut self,
        world: &mut World,
        config: &Config,
        report: &TickReport,
        granted: &Proposal,
    ) {
        let name = granted.unit.as_str();
        let (Some(unit), Some(past)) = (config.units.get(&granted.unit), self.past.get(name).cloned()) else {
            return;
        };
        let before = report.before.units.get(&granted.unit).cloned().unwrap_or_default();
        if granted.why.rule.is_empty() || granted.why.seen.is_empty() || granted.label.is_empty() {
            world.violate("reason", format!("{name}: {granted:?} has no reason"));
        }
        let unseen = report.seen.units.get(&granted.unit).is_none_or(|seen| seen.pane == PaneSeen::Unknown);
        if unseen && !matches!(granted.what, What::End(_)) {
            world.violate("blind", format!("{name}: `{}` although it was not seen", granted.label));
        }
        self.untouchable(world, unit, granted, &before);
        if granted.origin == Origin::Policy && touches(granted) {
            person(world, name, granted);
        }
        match (&granted.what, granted.claim) {
            (What::End(ending), _) if ending.cause == EndCause::Ladder => {
                proof(world, config, name, granted, &past, &before);
                let play = world.living(name).map(|pane| (pane.cli.play.clone(), pane.cli.error));
                let healthy = match granted.why.rule.as_str() {
                    "attend.shell" => play.as_ref().is_some_and(|(play, _)| *play != Play::Shell),
                    "attend.context" => play.as_ref().is_some_and(|(_, error)| *error != Some("context")),
                    _ => false,
                };
                if healthy {
                    world.violate(
                        "healthy-kill",
                        format!("{name}: `{}` ({}) while {play:?}", granted.label, granted.why.rule),
                    );
                }
            }
            (What::Deliver(_), Claim::Nudge) => {
                disturbance(world, config, name, granted, &past);
                // The reminder of the done marker is none of them.
                let tiers = unit.ladder.tiers.len() as u32 + u32::from(config.sequence.is_some());
                if let Some(past) = self.past.get_mut(name) {
                    past.nudges += 1;
                    if past.nudges > tiers {
                        world.violate(
                            "endless-nudges",
                            format!("{name}: nudge {} without any work between", past.nudges),
                        );
                    }
                }
            }
            (_, Claim::Wake | Claim::Start) if granted.by == "wake" => {
                self.wake(world, config, report, granted, &before);
            }
            (What::Act(Action::Signal { signal: Signal::Term, .. }), _) => {
                // Marked down meanwhile, it does not wait any more.
                let ending =
                    report.decision.next.units.get(&granted.unit).and_then(|state| state.ending.as_ref());
                if ending.is_none_or(|ending| ending.cause != EndCause::Down) {
                    term(world, config, name, &before);
                }
            }
            (What::Act(_) | What::Deliver(_) | What::End(_), _) => {}
        }
    }

    /// Paused, down, disabled or limited: nothing that no person ordered.
    fn untouchable(&self, world: &mut World, unit: &Unit, granted: &Proposal, before: &UnitState) {
        let name = granted.unit.as_str();
        let markers = self.markers.get(name).cloned().unwrap_or_default();
        let down = markers.down || self.fleet.down;
        let paused = markers.paused || self.fleet.paused;
        if granted.origin == Origin::Person {
            let stops = matches!(granted.claim, Claim::End | Claim::Order);
            let types = matches!(granted.claim, Claim::Deliver | Claim::Operator);
            if down && !stops && !types {
                world.violate(
                    "untouchable",
                    format!("{name}: `{}` although it is marked down", granted.label),
                );
            }
            return;
        }
        let why = match (unit.enabled, down, paused) {
            (false, _, _) => "not enabled",
            (_, true, _) => "marked down",
            (_, _, true) => "paused",
            (true, false, false) => {
                return self.limited(world, granted, before);
            }
        };
        world.violate("untouchable", format!("{name}: `{}` although it is {why}", granted.label));
    }

    fn limited(&self, world: &mut World, granted: &Proposal, before: &UnitState) {
        let name = granted.unit.as_str();
        let Some(pane) = world.living(name) else { return };
        let shows = pane.cli.banner && matches!(pane.cli.play, Play::Idle | Play::LimitMenu);
        let until = before.limit.active.as_ref().map(|limit| limit.until);
        let early = pane.cli.banner_until.is_some_and(|until| world.wall < until) && self.jumps == 0;
        let ends_already = granted.claim == Claim::End;
        if shows && early && touches(granted) && granted.label != "close limit menu" && !ends_already {
            let detail =
                format!("{name}: `{}` although it is limited (believed until {until:?})", granted.label);
            world.violate("untouchable", detail);
        }
    }
}

/// Does it reach the agent (and not only a buffer)?
fn touches(granted: &Proposal) -> bool {
    match &granted.what {
        What::Act(
            Action::LoadBuffer { .. }
            | Action::DropBuffer { .. }
            | Action::Mark { .. }
            | Action::Unmark { .. },
        ) => false,
        What::Act(_) | What::Deliver(_) | What::End(_) => true,
    }
}

/// A person at work in the pane is left alone.
fn person(world: &mut World, name: &str, granted: &Proposal) {
    let Some(pane) = world.living(name) else { return };
    let typing = pane
        .person
        .as_ref()
        .is_some_and(|_| pane.typed_at.is_some_and(|at| world.local().since_s(at).abs() < 59.0));
    // A delivery may be planned; the keys wait.
    let keys = match &granted.what {
        What::Act(
            Action::Paste { .. } | Action::Keys { .. } | Action::Respawn { .. } | Action::KillSession { .. },
        ) => true,
        What::End(ending) => ending.cause == EndCause::Ladder,
        What::Act(_) | What::Deliver(_) => false,
    };
    if typing && keys {
        world.violate("person", format!("{name}: `{}` while a person types", granted.label));
    }
}

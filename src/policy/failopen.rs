//! Fail-open: a watchdog that itself ends again and again in the same act on the same unit, and never gets it done, leaves
//! that unit alone. It watches and tells, until a person approves. Whatever makes it crash, a fleet that nobody disturbs is worth more.
//!
//! Deliberately not here: how an abnormal end is seen (the engine compares the last act with the heartbeat).

use super::proposal::{EventKind, Notes, Proposals};
use crate::base::names::UnitName;
use crate::base::time::{Now, human_s};
use crate::state::mail::Level;
use crate::state::unit::UnitState;

/// That many abnormal ends …
pub const CRASHES_MAX: usize = 3;
/// … within this time, seconds, and the unit is left alone.
pub const WINDOW_S: f64 = 600.0;
/// What brings the next watchdog (cron) is late by so much at most, seconds.
const SLACK_S: f64 = 30.0;

/// Counts an abnormal end of the watchdog before this one, while it acted on this unit.
pub fn fold(now: &Now, name: &UnitName, crashed_on: bool, state: &mut UnitState, notes: &mut Notes) {
    let memory = &mut state.failopen;
    memory.crashes_awake_s.retain(|at| now.awake_s.since_s(*at) <= WINDOW_S + SLACK_S);
    if !crashed_on {
        // The same act went well since: whatever ended the watchdog, it was not that.
        let went_well = memory.acted_awake_s.is_some()
            && state.last_act.as_ref().is_some_and(|act| act.what == memory.crashed_in);
        if went_well && memory.since_awake_s.is_none() {
            memory.crashes_awake_s.clear();
            memory.crashed_in.clear();
        }
        return;
    }
    memory.crashes_awake_s.push(now.awake_s);
    // It is counted: seen again by a third watchdog, it must not count twice.
    memory.acted_awake_s = None;
    let count = memory.crashes_awake_s.len();
    let act = state.last_act.as_ref().map_or("something", |act| act.what.as_str());
    act.clone_into(&mut memory.crashed_in);
    let text =
        format!("the watchdog before this one ended in the midst of an act on it ({act}): number {count}");
    notes.event(now.wall, Some(name), EventKind::Fleet, text);
    if count < CRASHES_MAX || memory.since_awake_s.is_some() {
        return;
    }
    memory.since_awake_s = Some(now.awake_s);
    let text = format!(
        "the watchdog ended abnormally {count} times within {} while it acted on `{name}` (last: {act}): it is watched, and \
         nothing is done to it any more; `watchkeeper approve {name}` lifts that",
        human_s(WINDOW_S)
    );
    state.owe(name.as_str(), now.wall, Level::Human, text);
}

/// Withholds everything, also what people asked for: any of it may be what the watchdog dies of.
pub fn withhold(name: &UnitName, state: &UnitState, wanted: &mut Proposals) {
    if state.failopen.since_awake_s.is_none() {
        // Acted on together, one that the watchdog dies of would take the others with it.
        wanted.alone = (!state.failopen.crashes_awake_s.is_empty())
            .then(|| "the watchdog ended while acting on it: one such unit at a time".to_owned());
        return;
    }
    let Some(first) = wanted.wanted.first().map(|proposal| proposal.label.clone()) else { return };
    wanted.wanted.clear();
    wanted.held.clear();
    let why =
        format!("the watchdog ended {CRASHES_MAX} times while acting on it (`approve {name}` lifts that)");
    wanted.hold(&first, why);
}

/// A person says that it may be acted on again. True: it was left alone until now.
pub fn approve(state: &mut UnitState) -> bool {
    state.failopen.crashes_awake_s.clear();
    state.failopen.since_awake_s.take().is_some()
}

#[cfg(test)]
mod tests {
    use crate::model::seen::{Ask, Exit};
    use crate::policy::testing::{World, name};

    /// A watchdog that dies in each act.
    fn crash(world: &mut World) {
        world.unit("a").seen().crashed_on = true;
        world.tick_now();
        world.unit("a").seen().crashed_on = false;
    }

    #[test]
    fn three_crashes_within_ten_minutes_leave_the_unit_alone_until_a_person_approves() {
        let mut world = World::running("[[service]]\nname = \"a\"\ncommand = [\"x\"]\n");
        for _ in 0..2 {
            crash(&mut world);
            world.run(60.0);
        }
        world.unit("a").dies(Exit::Status(1));
        world.run(60.0);
        world.expect_act("a", "restart");
        world.forget();
        crash(&mut world);
        world.expect_alerts("ended abnormally 3 times", 1);
        world.unit("a").dies(Exit::Status(1));
        world.run(3600.0);
        world.expect_no_act("a");
        world.expect_hold("a", "while acting on it");
        world.ask(Ask::Restart { unit: name("a") });
        world.run(60.0);
        world.expect_no_act("a");
        world.ask(Ask::Approve { unit: name("a") });
        world.run(60.0);
        assert!(!world.acts("a").is_empty(), "{}", world.story());
        let said = world.state.mail.handled.iter().find(|done| done.said.contains("approved"));
        assert!(said.is_some_and(|done| done.said.contains("it may be acted on again")), "{said:?}");
    }

    #[test]
    fn crashes_that_lie_far_apart_or_concern_others_do_not_count() {
        let text =
            "[[service]]\nname = \"a\"\ncommand = [\"x\"]\n[[service]]\nname = \"b\"\ncommand = [\"x\"]\n";
        let mut world = World::running(text);
        for _ in 0..5 {
            crash(&mut world);
            world.run(400.0);
        }
        world.expect_alerts("ended abnormally", 0);
        world.unit("b").dies(Exit::Status(1));
        for _ in 0..3 {
            crash(&mut world);
        }
        world.run(60.0);
        world.expect_alerts("ended abnormally", 1);
        world.expect_act("b", "restart");
    }

    /// Whoever kills the watchdog now and then, in whatever act, is no crash loop.
    #[test]
    fn an_act_that_went_well_since_was_not_what_ended_it() {
        let mut world = World::running("[[service]]\nname = \"a\"\ncommand = [\"x\"]\n");
        for crashes in 1..3 {
            world.unit("a").dies(Exit::Status(1));
            world.run(200.0);
            crash(&mut world);
            assert_eq!(world.state_of("a").failopen.crashes_awake_s.len(), 1, "{crashes}: {}", world.story());
        }
    }

    /// A cron line that brings it back every five minutes.
    #[test]
    fn crashes_at_the_ends_of_the_window_count() {
        let mut world = World::running("[[service]]\nname = \"a\"\ncommand = [\"x\"]\n");
        crash(&mut world);
        for _ in 0..2 {
            world.run(300.5);
            crash(&mut world);
        }
        world.expect_alerts("ended abnormally 3 times", 1);
    }

    /// Of a batch nobody knows which one it was: they are tried one at a time.
    #[test]
    fn units_of_a_batch_that_the_watchdog_died_of_are_acted_on_one_at_a_time() {
        let text: String = ["a", "b", "c"]
            .map(|name| format!("[[service]]\nname = \"{name}\"\ncommand = [\"x\"]\n"))
            .concat();
        let mut world = World::running(&text);
        for unit in ["a", "b", "c"] {
            world.unit(unit).dies(Exit::Status(1));
            world.unit(unit).seen().crashed_on = true;
        }
        world.tick_now();
        for unit in ["a", "b", "c"] {
            world.unit(unit).seen().crashed_on = false;
        }
        let mut most = 0;
        for _ in 0..20 {
            world.tick();
            most = most.max(world.last.granted.len());
        }
        assert_eq!(most, 1, "{}", world.story());
        for unit in ["a", "b", "c"] {
            world.expect_act(unit, "restart");
        }
    }
}

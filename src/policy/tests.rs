//! Stories that cross policies; each policy has its own tables beside it.

use super::context::UnitContext;
use super::proposal::{Claim, Notes, Proposal, Proposals, Reason, What};
use super::testing::{World, name};
use super::{POLICIES, Policy};
use crate::model::action::{Action, Job};
use crate::model::seen::JobSeen;
use crate::state::mail::Level;
use crate::state::unit::UnitState;

const LOOP: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\n";

#[test]
fn an_absent_unit_is_started_and_kicked_off() {
    let mut world = World::new(LOOP);
    world.ticks(2);
    world.expect_acts("a", &["start"]);
    world.unit("a").idle();
    world.ticks(12);
    world.expect_acts("a", &["start", "kickoff", "load text", "paste text", "submit text"]);
}

#[test]
fn a_healthy_fleet_is_left_alone() {
    let mut world = World::running(LOOP);
    for _ in 0..100 {
        world.unit("a").moves();
        world.tick();
    }
    world.expect_no_act("a");
    assert!(world.alerts.is_empty() && world.events.is_empty(), "{}", world.story());
}

#[test]
fn a_unit_that_leaves_the_config_is_left_alone_and_a_new_one_is_started() {
    let two = format!("{LOOP}{}", LOOP.replace("\"a\"", "\"b\""));
    let mut world = World::running(&two);
    world.reload(LOOP);
    world.ticks(3);
    world.expect_no_act("a");
    world.reload(&two);
    world.ticks(3);
    world.expect_no_act("a");
    world.expect_acts("b", &["start"]);
}

#[test]
fn a_wall_clock_that_jumps_disturbs_nobody() {
    for day in [86_400.0, -86_400.0] {
        let mut world = World::running(LOOP);
        for i in 0..100 {
            if i == 50 {
                world.set_wall(day);
            }
            world.unit("a").moves();
            world.tick();
        }
        world.expect_no_act("a");
        world.expect_alerts("", 0);
        // A key press of before the jump is nobody at the keyboard now.
        world.unit("a").person_types();
        world.set_wall(-86_400.0);
        world.unit("a").dies(crate::model::seen::Exit::Status(1));
        world.run(60.0);
        world.expect_act("a", "restart");
    }
}

#[test]
fn a_fleet_whose_memory_is_lost_is_left_alone() {
    let mut world = World::running(LOOP);
    let lost = [
        |state: &mut crate::state::State| state.units.clear(),
        |state: &mut crate::state::State| state.clocks = Default::default(),
        |state: &mut crate::state::State| state.mail = Default::default(),
        |state: &mut crate::state::State| *state = Default::default(),
    ];
    for lose in lost {
        lose(&mut world.state);
        for _ in 0..10 {
            world.unit("a").moves();
            world.tick();
        }
    }
    world.expect_no_act("a");
    world.expect_alerts("", 0);
}

#[test]
fn counters_of_an_edited_file_overflow_nothing() {
    let mut world = World::running(
        "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\npermission = \"approve\"\n",
    );
    let state = world.state.units.get_mut(&name("a")).unwrap();
    (state.acts, state.alerts, state.launch.count) = (u64::MAX, u64::MAX, u64::MAX);
    (state.delivery.count, state.restart.total) = (u64::MAX, u64::MAX);
    (state.ladder.tier, state.attend.dialogs) = (usize::MAX, u32::MAX);
    world.state.mail.alerts = u64::MAX;
    world.unit("a").asks("Run make?");
    world.run(60.0);
    world.unit("a").fails(crate::model::seen::Substate::Server);
    world.state.units.get_mut(&name("a")).unwrap().attend.error_nudges = u32::MAX;
    world.run(600.0);
    world.unit("a").idle();
    world.run(900.0);
    world.unit("a").dies(crate::model::seen::Exit::Status(1));
    world.run(60.0);
    world.unit("a").limited("limit reached ∙ resets 3pm");
    world.tick();
    let limit = world.state.units.get_mut(&name("a")).unwrap().limit.active.as_mut().unwrap();
    (limit.probes, limit.menu_presses) = (u32::MAX, u32::MAX);
    world.run(8.0 * 3600.0);
    world.expect_act("a", "probe limit");
}

#[test]
fn the_tools_of_an_idle_persistent_agent_are_not_sampled_for_ever() {
    #[track_caller]
    fn check(kind: &str, show: impl Fn(&mut World), want: bool) {
        let mut world = World::running(&LOOP.replace("loop", kind));
        show(&mut world);
        world.run(270.0);
        let needs = super::wants::wants(&world.config, &world.state, &world.seen.now);
        assert_eq!(needs.cpu.contains(&name("a")), want, "{kind}");
    }
    check("persistent", |world| world.unit("a").idle(), false);
    check("persistent", |world| world.unit("a").busy(), true);
    check("loop", |world| world.unit("a").idle(), true);
}

#[test]
fn two_alerts_of_one_tick_have_the_same_numbers_in_any_order_of_the_policies() {
    let told = |reversed: bool| {
        let mut world = World::running(LOOP);
        if reversed {
            world.policies.reverse();
        }
        // A text that is submitted in vain, and still stands there when nobody looked for long.
        world.unit("a").idle();
        world.ticks(2);
        world.ask(crate::model::seen::Ask::Nudge { unit: name("a"), text: "look at the tests".into() });
        world.deaf.insert("a: submit text".into());
        for _ in 0..60 {
            world.tick();
            if world.times("a", "submit text").len() == 3 {
                break;
            }
        }
        world.state.units.get_mut(&name("a")).unwrap().attend.error_nudges = 5;
        world.unit("a").fails(crate::model::seen::Substate::Server);
        world.unit("a").composer("look at the tests");
        world.pass(700.0);
        world.tick_now();
        world.state_of("a").owed.clone()
    };
    let owed = told(false);
    assert!(owed.len() >= 2, "{owed:?}");
    assert_eq!(owed, told(true));
}

/// A policy that asks one thing of a job, and notes the answer.
mod asker {
    use super::*;

    pub(super) const POLICY: Policy = Policy { name: "asker", fold, propose, charge };
    const ANSWERED: &str = "answered: ";

    fn id(context: &UnitContext<'_>) -> String {
        Job::id_of(context.name, "ask", 1)
    }

    fn fold(context: &UnitContext<'_>, state: &mut UnitState, _: &mut Notes) {
        if let JobSeen::Ended { output, .. } = context.job(&id(context)) {
            state.take_job(&id(context));
            state.owe(context.name.as_str(), context.now.wall, Level::Info, format!("{ANSWERED}{output}"));
        }
    }

    fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
        let id = id(context);
        let lost = matches!(context.job(&id), JobSeen::None);
        if state.alerts > 0 || !lost {
            return;
        }
        let job = Job {
            id,
            argv: vec!["answer".into()],
            env: Default::default(),
            dir: "/".into(),
            deadline_s: 5,
            env_remove: Vec::new(),
            stdin: Some("question".into()),
            awaited: true,
            fix: None,
        };
        out.want(Claim::Tidy, "ask", What::Act(Action::RunJob { job }), Reason::new("asker.ask", "", vec![]));
    }

    fn charge(_: &UnitContext<'_>, _: &Proposal, _: &mut UnitState) {}
}

#[test]
fn a_job_is_on_record_until_its_result_was_taken_and_started_once() {
    let mut world = World::running(LOOP);
    world.policies = POLICIES.iter().copied().chain([asker::POLICY]).collect();
    world.deaf.insert("a: ask".into());
    world.tick_now();
    assert_eq!(world.state.units[&name("a")].jobs[0].id, "a.ask.1");
    assert_eq!(world.state.units[&name("a")].jobs[0].by, "asker");
    assert_eq!(world.seen.jobs.len(), 0);
    // The watchdog was killed before it started it: it is ordered again.
    world.deaf.clear();
    world.tick_now();
    assert_eq!(world.seen.jobs["a.ask.1"], JobSeen::None);
    world.ticks(3);
    assert_eq!(world.seen.jobs["a.ask.1"], JobSeen::Running);
    assert_eq!(world.started.len(), 1);
    world.results.insert("ask".into(), JobSeen::well("42"));
    world.ticks(3);
    assert_eq!((world.started.len(), world.seen.jobs.len()), (1, 0));
    world.expect_alerts("answered: 42", 1);
}

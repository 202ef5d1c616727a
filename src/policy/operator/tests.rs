use crate::model::seen::{Ask, Exit, Scope};
use crate::policy::testing::{World, name};
use crate::state::mail::{Mail, Taken};

const TWO: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\n[[agent]]\nname = \"b\"\nkind = \"persistent\"\nprompt = \"p.md\"\nwake = { interval = 600, prompt = \"look\" }\n";

fn unit(unit: &str) -> Option<crate::base::names::UnitName> {
    Some(name(unit))
}

fn last(world: &World) -> (Taken, String) {
    let handled = world.state.mail.handled.last().unwrap();
    (handled.taken, handled.said.clone())
}

#[test]
fn each_request_is_handled_once_and_confirmed() {
    let mut world = World::running(TWO);
    let request = {
        world.ask(Ask::Nudge { unit: name("b"), text: "hello".into() });
        world.seen.requests[0].clone()
    };
    world.tick();
    assert_eq!(last(&world).0, Taken::Accepted);
    // The confirmation was written, the cursor was not: it comes again.
    world.seen.requests.push(request.clone());
    world.tick();
    assert_eq!(world.state.mail.handled.len(), 1);
    // mail.json was lost.
    world.state.mail = Mail::default();
    world.seen.requests.push(request);
    world.run(60.0);
    world.expect_act_count("b", "nudge", 1);
}

#[test]
fn a_lost_mail_file_replays_neither_old_requests_nor_young_orders() {
    let mut world = World::running(TWO);
    let mut asked = Vec::new();
    for ask in [
        Ask::Restart { unit: name("a") },
        Ask::Approve { unit: name("a") },
        Ask::Nudge { unit: name("b"), text: "hello".into() },
    ] {
        world.ask(ask);
        asked.push(world.seen.requests.last().unwrap().clone());
        world.unit("a").idle();
        world.run(30.0);
        world.unit("a").busy();
        world.run(30.0);
    }
    world.forget();
    world.state.mail = Mail::default();
    world.seen.requests = asked.clone();
    world.run(60.0);
    world.expect_no_act("a");
    world.expect_no_act("b");
    world.state.mail = Mail::default();
    world.run(700.0);
    world.forget();
    world.seen.requests = asked;
    world.ticks(2);
    assert!(world.state.mail.handled.iter().all(|handled| handled.taken == Taken::Refused));
    world.expect_no_act("a");
}

#[test]
fn what_can_not_be_done_is_refused_with_a_reason() {
    #[track_caller]
    fn check(ask: Ask, want: &str) {
        let mut world = World::running(&TWO.replace("kind = \"loop\"", "enabled = false\nkind = \"loop\""));
        world.ask(ask);
        world.tick();
        let (taken, said) = last(&world);
        assert_eq!(taken, Taken::Refused, "{said}");
        assert!(said.contains(want), "{said}");
    }
    check(Ask::Up { unit: unit("ghost") }, "no unit `ghost`");
    check(Ask::Up { unit: unit("a") }, "not enabled");
    check(Ask::Restart { unit: name("a") }, "not enabled");
    check(Ask::Nudge { unit: name("b"), text: " \u{1b}".into() }, "empty");
}

#[test]
fn a_command_without_a_watchdog_does_only_what_was_asked() {
    let mut world = World::running(TWO);
    world.unit("b").idle();
    world.ticks(3);
    world.forget();
    world.unit("b").dies(Exit::Status(1));
    world.seen.scope = Scope::Asked;
    world.unit("a").idle();
    world.ticks(2);
    world.ask(Ask::Restart { unit: name("a") });
    world.run(30.0);
    world.expect_acts("a", &["terminate", "start"]);
    world.expect_no_act("b");
    world.ask(Ask::Down { unit: unit("a"), reason: String::new() });
    world.run(30.0);
    world.expect_acts("a", &["terminate", "start", "stop", "terminate", "close session"]);
    world.expect_no_act("b");
    // What was due is still due when a watchdog comes.
    world.run(1200.0);
    world.seen.scope = Scope::All;
    world.poke();
    world.run(5.0);
    world.expect_act("b", "restart");
    world.unit("b").idle();
    world.run(60.0);
    world.expect_act_count("b", "wake", 1);
}

#[test]
fn a_command_without_a_watchdog_loses_no_alert() {
    let mut world = World::running(TWO);
    world.seen.scope = Scope::Asked;
    world.unit("a").asks("Proceed?");
    world.ask(Ask::Nudge { unit: name("b"), text: "hello".into() });
    world.run(60.0);
    world.expect_alerts("Proceed?", 1);
    world.expect_act("b", "submit text");
}

#[test]
fn start_paused_pauses_before_the_first_deed_and_a_resume_wins() {
    let mut world = World::new(&format!("[watchdog]\nstart_paused = true\n{TWO}"));
    world.run(600.0);
    world.expect_no_act("a");
    assert!(world.seen.markers.paused.is_some());
    world.ask(Ask::Resume { unit: None });
    world.run(60.0);
    world.expect_act("a", "start");
    assert!(world.seen.markers.paused.is_none());
}

#[test]
fn a_pause_counts_in_the_tick_in_which_it_is_asked_for() {
    let mut world = World::running(TWO);
    world.unit("a").dies(Exit::Status(1));
    world.ask(Ask::Pause { unit: None, reason: "wait".into() });
    world.run(600.0);
    world.expect_no_act("a");
}

#[test]
fn a_pause_with_an_end_ends() {
    let mut world = World::running(TWO);
    let until = world.seen.now.wall.plus_s(3600.0);
    world.seen.markers.paused =
        Some(crate::model::seen::Paused { reason: "lunch".into(), until: Some(until) });
    world.unit("a").dies(Exit::Status(1));
    world.run(3500.0);
    world.expect_no_act("a");
    world.run(200.0);
    world.expect_act("a", "restart");
}

#[test]
fn an_approval_gives_fresh_budgets() {
    let mut world = World::running(TWO);
    world.state.units.get_mut(&name("a")).unwrap().attend.error_nudges = 5;
    world.unit("a").fails(crate::model::seen::Substate::Server);
    world.run(600.0);
    world.expect_no_act("a");
    world.ask(Ask::Approve { unit: name("a") });
    world.run(120.0);
    world.expect_act("a", "continue");
}

#[test]
fn the_inbox_is_remembered_as_read() {
    let mut world = World::running(TWO);
    world.seen.inbox_end = Some(1234);
    world.tick();
    assert_eq!(world.state.mail.inbox_done, 1234);
    // Not read in this tick: the place stands.
    world.seen.inbox_end = None;
    world.tick();
    assert_eq!(world.state.mail.inbox_done, 1234);
}

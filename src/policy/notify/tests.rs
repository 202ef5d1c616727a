use crate::model::seen::{Exit, PaneSeen, ServerSeen};
use crate::policy::testing::{World, name};

/// `count` children of a parent, all running; the parent is idle.
fn family(count: usize) -> World {
    let mut text = String::from("[[agent]]\nname = \"boss\"\nkind = \"persistent\"\nprompt = \"p.md\"\n");
    for i in 0..count {
        text.push_str(&format!(
            "[[agent]]\nname = \"c{i}\"\nkind = \"loop\"\nprompt = \"p.md\"\nparent = \"boss\"\n"
        ));
    }
    let mut world = World::running(&text);
    world.unit("boss").idle();
    world.ticks(2);
    world.forget();
    world
}

#[test]
fn a_parent_hears_of_deaths_and_recoveries() {
    let mut world = family(1);
    world.unit("c0").dies(Exit::Status(7));
    world.run(60.0);
    let said: Vec<&str> = world.typed("boss");
    assert!(said[0].contains("`c0`: busy → dead: exit status 7"), "{said:?}");
    assert!(said.iter().any(|text| text.contains("`c0`: dead → starting, pid")), "{said:?}");
}

#[test]
fn a_parent_hears_of_many_in_one_message() {
    let mut world = family(6);
    world.unit("boss").composer("a person's words");
    for i in 0..6 {
        world.unit(&format!("c{i}")).dies(Exit::Status(1));
    }
    world.run(60.0);
    let queue = &world.state_of("boss").delivery;
    let waiting = queue.queue.len() + usize::from(queue.current.is_some());
    assert!((1..=2).contains(&waiting), "{:?}", queue.queue);
    let text = serde_json::to_string(&queue).unwrap();
    assert!((0..6).all(|i| text.contains(&format!("`c{i}`: busy → dead"))), "{text}");
}

#[test]
fn news_for_a_parent_that_is_away_do_not_pile_up() {
    let mut world = family(1);
    world.unit("boss").composer("a person's words");
    for _ in 0..60 {
        world.unit("c0").busy();
        world.unit("c0").dies(Exit::Status(1));
        world.run(700.0);
        if matches!(world.seen.units[&name("c0")].pane, PaneSeen::Dead { .. }) {
            world.unit("c0").start();
        }
        world.ticks(2);
    }
    let bytes: usize = world.state_of("boss").delivery.queue.iter().map(|m| m.text.len()).sum();
    assert!(bytes < 10_000, "{bytes}");
}

#[test]
fn a_tmux_that_does_not_answer_is_told_once_after_a_while() {
    let mut world = family(1);
    let alive = world.seen.server.clone();
    for _ in 0..2 {
        world.seen.server = ServerSeen::Unknown { why: "no answer within 5 s".into() };
        for unit in ["boss", "c0"] {
            world.unit(unit).seen().pane = PaneSeen::Unknown;
        }
        world.run(60.0);
        world.expect_alerts("", 0);
        world.run(7200.0);
        world.expect_alerts("tmux does not answer", 1);
        world.expect_no_act("c0");
        world.seen.server = alive.clone();
        world.run(60.0);
        world.forget();
    }
}

#[test]
fn a_stray_session_is_told_once_also_across_a_blind_tick() {
    let mut world = family(1);
    world.seen.strays = vec!["crew-old".into()];
    world.run(170.0);
    world.expect_alerts("", 0);
    let alive = std::mem::replace(&mut world.seen.server, ServerSeen::Unknown { why: "slow".into() });
    world.seen.strays.clear();
    world.tick();
    world.seen.server = alive;
    world.seen.strays = vec!["crew-old".into()];
    world.run(600.0);
    world.expect_alerts("session `crew-old` is ours", 1);
    // Gone and come again is news.
    world.seen.strays.clear();
    world.tick();
    world.seen.strays = vec!["crew-old".into()];
    world.run(240.0);
    world.expect_alerts("session `crew-old` is ours", 2);
}

#[test]
fn a_session_that_nobody_stamped_is_told_once_with_what_can_be_done() {
    let mut world = family(1);
    world.seen.strangers = vec!["crew-x".into(), "crew-a.b".into()];
    world.run(170.0);
    world.expect_alerts("", 0);
    world.run(600.0);
    world.expect_alerts("`watchkeeper adopt x`", 1);
    world.expect_alerts("`watchkeeper adopt NAME`", 1);
    world.expect_alerts("`tmux kill-session -t '=crew-x'`", 1);
    world.expect_alerts("", 2);
}

#[test]
fn the_command_that_ends_a_stray_names_the_server_and_can_be_pasted() {
    let mut world = family(1);
    world.config.tmux_socket = "fleet".into();
    world.seen.strays = vec!["crew-it's $(x)".into()];
    world.run(240.0);
    world.expect_alerts("`tmux -L fleet kill-session -t '=crew-it'\\''s $(x)'` ends it", 1);
}

#[test]
fn observe_only_says_what_it_would_do_once() {
    let mut world = family(1);
    world.config.watchdog.observe_only = true;
    world.unit("c0").dies(Exit::Status(1));
    world.run(3600.0);
    world.expect_no_act("c0");
    world.expect_events("Would c0: would restart: it is dead (exit status 1)", 1);
    let state = world.state_of("c0");
    assert!(state.restart.past_awake_s.is_empty() && state.acts == 0);
    world.config.watchdog.observe_only = false;
    world.run(60.0);
    assert_eq!(world.times("c0", "restart").len(), 1);
}

#[test]
fn a_pane_that_cannot_be_looked_at_is_told_after_a_while_and_again_only_when_it_was_seen_in_between() {
    let mut world = family(1);
    for _ in 0..2 {
        let alive = std::mem::take(&mut world.unit("c0").seen().pane);
        world.unit("c0").seen().unseen = Some("pid 7 can't be read in /proc".into());
        world.run(60.0);
        world.expect_alerts("", 0);
        world.run(7200.0);
        world.expect_alerts("`c0` can't be watched: pid 7 can't be read", 1);
        world.expect_no_act("c0");
        world.unit("c0").seen().unseen = None;
        world.unit("c0").seen().pane = alive;
        world.run(60.0);
        world.forget();
    }
}

#[test]
fn a_death_is_reported_once_whichever_file_was_written() {
    #[track_caller]
    fn check(lost: bool) {
        let mut world = family(1);
        let before = world.state_of("boss").clone();
        world.unit("c0").dies(Exit::Status(7));
        world.poke();
        world.tick();
        if lost {
            // The watchdog was killed when the child's file was written and the parent's was not.
            world.state.units.insert(name("boss"), before);
        }
        world.run(600.0);
        let heard = world.typed("boss").join("\n");
        assert_eq!(heard.matches("`c0`: busy → dead: exit status 7").count(), 1, "{heard}");
        assert_eq!(world.state_of("c0").news, []);
    }
    check(false);
    check(true);
}

#[test]
fn the_news_that_a_parent_took_are_forgotten_some_time() {
    let mut world = family(1);
    let taken = (0..500).map(|i| format!("old-{i}")).collect();
    world.state.units.get_mut(&name("boss")).unwrap().delivery.taken = taken;
    world.unit("c0").dies(Exit::Status(7));
    world.run(600.0);
    assert!(world.state_of("boss").delivery.taken.len() < 10);
    assert_eq!(world.typed("boss").join("\n").matches("busy → dead").count(), 1);
}

#[test]
fn children_of_a_dead_parent_are_told_once_as_long_as_it_is_dead() {
    let mut world = family(2);
    for _ in 0..2 {
        // It is not started again at once: somebody paused it.
        world.unit("boss").seen().markers.paused = Some(Default::default());
        world.unit("boss").dies(Exit::Status(1));
        for _ in 0..40 {
            world.unit("c0").moves();
            world.unit("c1").moves();
            world.tick();
        }
        world.unit("boss").seen().markers.paused = None;
        world.unit("boss").start();
        world.unit("boss").idle();
        world.ticks(5);
    }
    world.expect_alerts("`boss` is dead, and its children work on without it: c0, c1", 2);
    world.unit("boss").seen().markers.down = Some("enough".into());
    world.run(600.0);
    world.expect_alerts("children work on without it", 2);
}

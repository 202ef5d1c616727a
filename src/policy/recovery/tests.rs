use super::*;
use crate::model::seen::{Ask, Exit, ScreenState};
use crate::policy::testing::World;

const FAMILY: &str = "[[agent]]\nname = \"boss\"\nkind = \"persistent\"\n\
[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\nparent = \"boss\"\n";

fn checkpoint(text: &str) -> Option<CheckpointSeen> {
    Some(CheckpointSeen::Json { text: text.to_owned(), digest: format!("d{}", text.len()) })
}

/// A family whose child wrote a checkpoint and works.
fn world() -> World {
    let mut world = World::running(FAMILY);
    world.unit("a").seen().checkpoint = checkpoint("{\n  \"step\": 3\n}");
    world.unit("a").moves();
    world.tick();
    world
}

fn git() -> JobSeen {
    JobSeen::well("work\n src/a.rs | 2 +-\n")
}

/// It crashes at work, and what follows has its time.
fn crash(world: &mut World) {
    world.unit("a").moves();
    world.tick();
    world.unit("a").dies(Exit::Status(1));
    world.run(45.0);
    world.unit("a").idle();
    world.run(45.0);
}

#[track_caller]
fn resumed(world: &World, times: usize) {
    let typed = world.typed("a");
    let found = typed.iter().filter(|text| text.contains("Your last conversation ended")).count();
    assert_eq!(found, times, "{typed:?}\n{}", world.story());
}

#[test]
fn a_crashed_agent_goes_on_from_its_checkpoint_with_what_git_says() {
    let mut world = world();
    world.results.insert("recover".into(), git());
    crash(&mut world);
    world.expect_act_count("a", "look at its work place", 1);
    world.expect_act_count("a", "restart", 1);
    resumed(&world, 1);
    let typed = world.typed("a").join("\n");
    for part in [
        "attempt 1 of 1",
        "Branch: work",
        " src/a.rs | 2 +-",
        "    {\n      \"step\": 3\n    }",
        "it crashed: exit",
    ] {
        assert!(typed.contains(part), "{part}: {typed}");
    }
    let state = world.state_of("a");
    assert_eq!((state.recovery.attempts, state.jobs.len()), (1, 0));
    let handoff = &state.recovery.handoffs[0];
    assert_eq!((handoff.kind, handoff.checkpoint.as_deref()), (HandoffKind::Crash, Some("d15")));
    assert!(handoff.from != handoff.to);
    world.expect_events("handed over (crash)", 1);
    assert!(world.typed("boss").iter().any(|text| text.contains("recovery 1 of 1")), "{}", world.story());
}

#[test]
fn the_attempt_is_on_record_before_the_start() {
    let mut world = world();
    world.results.insert("recover".into(), git());
    world.deaf.insert("a: restart".into());
    world.unit("a").dies(Exit::Status(1));
    world.run(40.0);
    world.expect_act("a", "restart");
    assert_eq!(world.state_of("a").recovery.attempts, 1);
    // It did not happen (a watchdog that was killed before the act): it is made again as it was meant, and paid for once.
    world.deaf.clear();
    world.run(90.0);
    world.unit("a").idle();
    world.run(45.0);
    world.expect_act("a", "start again");
    assert_eq!(world.state_of("a").recovery.attempts, 1);
    resumed(&world, 1);
}

/// What was prepared before somebody took it down says nothing of the work place weeks later.
#[test]
fn a_prompt_that_was_prepared_is_forgotten_with_a_down_and_kept_in_a_pause() {
    #[track_caller]
    fn check(hold: Ask, release: Ask, times: usize) {
        let mut world = world();
        world.results.insert("recover".into(), git());
        // So many died of late that the next start waits.
        let now = world.seen.now.awake_s;
        let past = vec![now; 4];
        world.state.units.get_mut(&crate::policy::testing::name("a")).unwrap().restart.past_awake_s = past;
        world.unit("a").dies(Exit::Status(1));
        world.poke();
        world.run(10.0);
        assert!(world.state_of("a").recovery.ready.is_some(), "{}", world.story());
        world.ask(hold);
        world.run(1000.0);
        world.ask(release);
        world.run(45.0);
        world.unit("a").idle();
        world.run(45.0);
        resumed(&world, times);
    }
    let unit = || Some(crate::policy::testing::name("a"));
    check(Ask::Down { unit: unit(), reason: "enough".into() }, Ask::Up { unit: unit() }, 0);
    check(Ask::Pause { unit: unit(), reason: "quiet".into() }, Ask::Resume { unit: unit() }, 1);
}

#[test]
fn after_the_last_attempt_the_start_is_an_ordinary_one_and_told_once() {
    let mut world = world();
    world.results.insert("recover".into(), git());
    crash(&mut world);
    for _ in 0..2 {
        crash(&mut world);
        world.run(100.0);
        resumed(&world, 1);
    }
    world.expect_alerts("crashed again after 1 of 1 recoveries", 1);
    assert_eq!(world.state_of("a").recovery.attempts, 1);
}

#[test]
fn real_progress_forgets_the_attempts() {
    let mut world = world();
    world.results.insert("recover".into(), git());
    crash(&mut world);
    world.unit("a").busy();
    for _ in 0..40 {
        world.unit("a").moves();
        world.tick();
    }
    assert_eq!(world.state_of("a").recovery.attempts, 0, "{}", world.story());
    world.expect_events("State a: recovered: it works again", 1);
    world.unit("boss").idle();
    world.run(60.0);
    assert!(world.typed("boss").iter().any(|text| text.contains("recovered: it works")), "{}", world.story());
    crash(&mut world);
    world.run(100.0);
    resumed(&world, 2);
}

#[test]
fn a_git_that_hangs_or_fails_stops_nothing() {
    for result in [JobSeen::Running, JobSeen::failed("not a git repository\nsecond line")] {
        let mut world = world();
        world.results.insert("recover".into(), result);
        world.unit("a").dies(Exit::Status(1));
        world.run(90.0);
        world.unit("a").idle();
        world.run(60.0);
        world.expect_act_count("a", "restart", 1);
        resumed(&world, 1);
        assert!(world.typed("a").join("\n").contains("Branch: (not known)"));
    }
}

#[test]
fn who_was_done_who_was_ordered_and_who_wrote_nothing_starts_as_ever() {
    let ways: [fn(&mut World); 4] = [
        |world| world.unit("a").dies(Exit::Status(0)),
        |world| {
            world.unit("a").seen().checkpoint = None;
            world.unit("a").dies(Exit::Status(1));
        },
        |world| {
            let unit = crate::policy::testing::name("a");
            world.ask(crate::model::seen::Ask::Restart { unit });
            world.unit("a").idle();
        },
        |world| {
            world.unit("a").seen().checkpoint = Some(CheckpointSeen::Broken { why: "it is no JSON".into() });
            world.unit("a").dies(Exit::Signal(11));
        },
    ];
    for (i, way) in ways.into_iter().enumerate() {
        let mut world = world();
        way(&mut world);
        world.run(45.0);
        world.unit("a").show(ScreenState::Idle);
        world.run(45.0);
        resumed(&world, 0);
        assert_eq!(world.started.len(), 0, "way {i}: {}", world.story());
        assert_eq!(world.state_of("a").recovery.attempts, 0);
        world.expect_alerts("can't be used: it is no JSON", usize::from(i == 3));
    }
}

#[test]
fn a_compaction_is_a_handoff_of_a_process_to_itself() {
    let mut world = world();
    world.unit("a").reading().compacting = true;
    world.ticks(2);
    world.unit("a").reading().compacting = false;
    world.ticks(2);
    let handoffs = world.state_of("a").recovery.handoffs.clone();
    assert_eq!(handoffs.len(), 1, "{handoffs:?}");
    assert!(handoffs[0].kind == HandoffKind::Compaction && handoffs[0].from == handoffs[0].to);
}

#[test]
fn what_others_wrote_is_masked_bounded_and_set_in() {
    let secret = format!("sk-{}", "a1".repeat(20));
    for (text, want) in [
        ("a\n!rm -rf /\n", "    a\n    !rm -rf /".to_owned()),
        (&*format!("\"key\": \"{secret}\""), "    \"key\": \"[masked]\"".to_owned()),
        ("\u{1b}[2J\u{202e}x\r/exit", "    [2Jx /exit".to_owned()),
        (&*"x".repeat(30), format!("    {}\n    … (cut)", "x".repeat(20))),
    ] {
        assert_eq!(quoted(text, if text.starts_with('x') { 20 } else { 1000 }), want);
    }
}

#[test]
fn slots_in_a_checkpoint_are_no_slots() {
    let mut world = world();
    world.unit("a").seen().checkpoint = checkpoint("\"{branch} {checkpoint}\"");
    world.results.insert("recover".into(), git());
    crash(&mut world);
    assert!(world.typed("a").join("\n").contains("\"{branch} {checkpoint}\""), "{}", world.story());
}

/// Killed between the record and the act, and the session went as well: nobody can say that the attempt was made.
#[test]
fn an_attempt_that_nothing_was_seen_of_is_made() {
    let mut world = world();
    world.results.insert("recover".into(), git());
    world.deaf.insert("a: restart".into());
    world.unit("a").dies(Exit::Status(1));
    for _ in 0..40 {
        world.tick();
        if world.state_of("a").recovery.given.is_some() {
            break;
        }
    }
    world.unit("a").absent();
    world.deaf.clear();
    world.run(90.0);
    world.unit("a").idle();
    world.run(45.0);
    resumed(&world, 1);
    assert_eq!(world.state_of("a").recovery.attempts, 1);
    world.expect_alerts("crashed again", 0);
    assert_eq!(world.typed("boss").iter().filter(|text| text.contains("recovery 1 of 1")).count(), 1);
    // From now on it was made.
    crash(&mut world);
    world.run(100.0);
    resumed(&world, 1);
    world.expect_alerts("crashed again after 1 of 1 recoveries", 1);
}

/// It ended before any look saw it alive: that was the attempt.
#[test]
fn an_attempt_that_ended_at_once_was_made() {
    let mut world = world();
    world.results.insert("recover".into(), git());
    world.unit("a").dies(Exit::Status(1));
    while !world.acts("a").contains(&"restart") {
        world.tick();
    }
    world.unit("a").dies(Exit::Status(1));
    world.run(90.0);
    world.unit("a").idle();
    world.run(45.0);
    resumed(&world, 0);
    world.expect_act_count("a", "restart", 2);
    assert_eq!(world.state_of("a").recovery.attempts, 1);
}

/// What was written down is about a phase that is over.
#[test]
fn a_prompt_that_was_prepared_is_forgotten_with_its_phase() {
    let plan = "[loop]\nrepo = \"work\"\nphases = [{ id = \"1\", plan = \"p.md\", status = \"S1.md\" }, \
                { id = \"2\", plan = \"p.md\", status = \"S2.md\" }]\n";
    for moved_on in [false, true] {
        let mut world = World::new(&format!("{plan}{FAMILY}"));
        world.branch.push("begin");
        world.run(30.0);
        for unit in ["a", "boss"] {
            world.unit(unit).idle();
        }
        world.run(30.0);
        world.results.insert("recover".into(), git());
        world.unit("a").seen().checkpoint = checkpoint("{}");
        world.unit("a").moves();
        world.tick();
        let now = world.seen.now.awake_s;
        world.state.units.get_mut(&crate::policy::testing::name("a")).unwrap().restart.past_awake_s =
            vec![now; 2];
        world.unit("a").dies(Exit::Signal(11));
        world.poke();
        world.run(10.0);
        assert!(world.state_of("a").recovery.ready.is_some(), "{}", world.story());
        if moved_on {
            world.branch.done("1");
            world.tick_now();
            world.tick();
            assert!(world.state_of("a").recovery.ready.is_none(), "{}", world.story());
            assert!(world.state_of("a").jobs.is_empty());
        }
        world.run(90.0);
        world.unit("a").idle();
        world.run(45.0);
        resumed(&world, usize::from(!moved_on));
        let begins = if moved_on { "Phase 2 begins" } else { "Phase 1 begins" };
        assert!(world.typed("a").last().unwrap().contains(begins), "{}", world.story());
        assert_eq!(world.state_of("a").recovery.attempts, u32::from(!moved_on));
    }
}

/// An agent whose conversation is resumed after its end.
fn resuming() -> World {
    let mut world = World::running(
        "[[agent]]\nname = \"p\"\nkind = \"persistent\"\nparent = \"q\"\n[[agent]]\nname = \"q\"\nkind = \"persistent\"\n",
    );
    world.unit("p").busy();
    world.unit("p").moves();
    world.tick();
    world.forget();
    world
}

/// It is started again and becomes ready.
fn comes_back(world: &mut World) {
    world.run(45.0);
    world.unit("p").idle();
    world.run(45.0);
}

#[test]
fn a_resumed_conversation_that_was_at_work_is_told_to_go_on() {
    let mut world = resuming();
    world.unit("p").dies(Exit::Signal(9));
    comes_back(&mut world);
    let typed = world.typed("p").join("\n");
    assert!(
        typed.contains("killed by signal 9") && typed.contains("attempt 1 of 1"),
        "{typed}; {}",
        world.story()
    );
    assert_eq!(world.state_of("p").recovery.attempts, 1);
    assert!(world.typed("q").iter().any(|text| text.contains("recovery 1 of 1")), "{}", world.story());
    // The next end comes before any real progress: it is resumed, and left to itself.
    world.unit("p").busy();
    world.unit("p").moves();
    world.tick();
    world.unit("p").dies(Exit::Signal(9));
    comes_back(&mut world);
    comes_back(&mut world);
    assert_eq!(world.typed("p").iter().filter(|text| text.contains("attempt 1 of 1")).count(), 1);
    world.expect_alerts("crashed again after 1 of 1 recoveries", 1);
}

#[test]
fn who_rested_who_was_ordered_and_who_wants_none_is_resumed_in_silence() {
    let ways: [fn(&mut World); 4] = [
        |world| {
            world.unit("p").idle();
            world.ticks(3);
            world.unit("p").dies(Exit::Signal(9));
        },
        |world| world.unit("p").dies(Exit::Status(0)),
        |world| {
            let unit = crate::policy::testing::name("p");
            world.ask(crate::model::seen::Ask::Restart { unit });
            world.unit("p").idle();
        },
        |world| {
            world.config.units.values_mut().for_each(|unit| {
                if let crate::config::Role::Agent(agent) = &mut unit.role {
                    agent.recovery.max = 0;
                }
            });
            world.unit("p").dies(Exit::Signal(9));
        },
    ];
    for (i, way) in ways.into_iter().enumerate() {
        let mut world = resuming();
        way(&mut world);
        comes_back(&mut world);
        assert!(world.typed("p").is_empty(), "way {i}: {}", world.story());
        assert_eq!(world.state_of("p").recovery.attempts, 0, "way {i}");
    }
}

#[test]
fn each_end_hands_over_by_its_kind() {
    #[track_caller]
    fn check(end: impl FnOnce(&mut World), kind: HandoffKind, words: &str) {
        let mut world = world();
        world.results.insert("recover".into(), git());
        end(&mut world);
        world.run(120.0);
        let handoffs = world.state_of("a").recovery.handoffs.clone();
        assert_eq!(handoffs.len(), 1, "{handoffs:?}; {}", world.story());
        assert!(handoffs[0].kind == kind && handoffs[0].from != handoffs[0].to, "{handoffs:?}");
        world.expect_events(&format!("handed over ({words})"), 1);
    }
    check(|world| world.unit("a").dies(Exit::Signal(11)), HandoffKind::Crash, "crash");
    check(|world| world.unit("a").dies(Exit::Status(0)), HandoffKind::Finished, "finished");
    let ordered = |world: &mut World| {
        world.unit("a").idle();
        world.ask(crate::model::seen::Ask::Restart { unit: crate::policy::testing::name("a") });
    };
    check(ordered, HandoffKind::Manual, "manual");
    let hung = |world: &mut World| {
        let end = world.seen.now.awake_s.plus_s(3600.0);
        while !world.acts("a").contains(&"kill-start") {
            assert!(world.seen.now.awake_s < end, "{}", world.story());
            world.tick();
        }
    };
    check(hung, HandoffKind::Timeout, "timeout");
}

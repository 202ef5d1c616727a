//! The tier `triage`: each answer, what is no answer, what is lost, and how many are asked at once.

use crate::model::seen::{Exit, JobSeen};
use crate::policy::testing::{World, name};
use crate::policy::triage::STARTS_MAX;

const TRIAGE: &str = "[watchdog]\ntriage = { command = [\"judge\"], timeout_s = 30 }\n";
const ASK: &str = "ladder = { tiers = [\"warn\", \"nudge\", \"triage\", \"terminate\"] }";

fn agent(name: &str, ladder: &str) -> String {
    format!("[[agent]]\nname = \"{name}\"\nkind = \"loop\"\nprompt = \"p.md\"\n{ladder}\n")
}

/// An agent that went idle, does nothing whatever it is told, and is judged so.
fn idle(ladder: &str, answer: Option<JobSeen>) -> World {
    let mut world = World::running(&format!("{TRIAGE}{}", agent("a", ladder)));
    world.results.extend(answer.map(|answer| ("triage".to_owned(), answer)));
    world.unit("a").idle();
    world.ticks(2);
    world.forget();
    world
}

/// Runs until the question is asked.
#[track_caller]
fn asked(world: &mut World) {
    let end = world.seen.now.awake_s.plus_s(3000.0);
    while !world.acts("a").contains(&"triage") {
        assert!(world.seen.now.awake_s < end, "never asked; {}", world.story());
        world.tick();
    }
}

/// The tiers that it went through, texts and starts left out.
fn tiers(world: &World) -> Vec<&str> {
    const TIERS: [&str; 5] = ["nudge", "triage", "terminate", "kill-start", "request-restart"];
    world.acts("a").into_iter().filter(|act| TIERS.contains(act)).collect()
}

#[test]
fn it_is_asked_with_the_screen_after_the_nudge() {
    let mut world = idle(ASK, None);
    asked(&mut world);
    assert_eq!(tiers(&world), ["nudge", "triage"], "{}", world.story());
    let job = &world.started[0];
    assert_eq!((job.id.as_str(), job.argv[0].as_str(), job.deadline_s), ("a.triage.1", "judge", 30));
    assert!(job.stdin.is_some() && job.env["WATCHKEEPER_SYMPTOM"].contains("idle"), "{job:?}");
    assert_eq!(world.state_of("a").jobs[0].id, "a.triage.1");
    world.expect_events("warning:", 1);
    world.tick();
    world.expect_hold("a", "left to answer");
}

#[test]
fn only_terminate_ends_it() {
    #[track_caller]
    fn check(answer: JobSeen, words: &str) {
        let mut world = idle(ASK, Some(answer));
        world.run(6.0 * 3600.0);
        assert!(!world.acts("a").contains(&"terminate"), "{}", world.story());
        world.expect_act_count("a", "nudge", 1);
        // It took the nudge for work, so its windows are those of one that hangs: one question in 1200 s.
        let asked = world.times("a", "triage").len();
        assert!((14..=20).contains(&asked), "{asked}; {}", world.story());
        world.expect_events(words, asked);
        assert!(world.state_of("a").jobs.is_empty() && world.typed("a").len() <= 1);
        // A command that gives no answer is a person's affair; one that says extend has given one.
        world.expect_alerts("it gets another window each time", usize::from(!words.contains("says extend")));
    }
    check(JobSeen::well("extend"), "triage says extend: it gets another window");
    let garbage = "triage ended with a line that is none of retry, terminate, extend: it gets another window";
    check(JobSeen::well("terminate it now"), garbage);
    check(JobSeen::well("terminate\n$(rm -rf /)\n"), garbage);
    check(JobSeen::well("\u{1b}]0;terminate\u{7}"), garbage);
    check(JobSeen::well(""), "triage said nothing: it gets");
    check(JobSeen::failed("no such program"), "State a: triage failed (no such program)");
    let output = "terminate".to_owned();
    check(
        JobSeen::Ended { failed: Some("exit 1".into()), status: Some(1), output, fix: None },
        "State a: triage failed (exit 1)",
    );
}

#[test]
fn terminate_is_the_next_end_with_its_proof_and_once_per_answer() {
    let mut world = idle(ASK, Some(JobSeen::well("it hangs\nterminate\n")));
    asked(&mut world);
    world.run(120.0);
    assert_eq!(tiers(&world)[..3], ["nudge", "triage", "terminate"], "{}", world.story());
    let why = &world.done.iter().find(|(_, _, label, _)| label == "terminate").unwrap().3;
    assert!(why.contains("2 stale clocks needed") && why.contains("no veto"), "{why}");
    let (asked_at, ended_at) = (world.times("a", "triage")[0], world.times("a", "terminate")[0]);
    assert!(ended_at - asked_at >= 45.0, "the cooldown: {}", world.story());
    world.expect_act("a", "restart");
    // The new process hangs too: it is a question of its own.
    world.unit("a").idle();
    world.results.insert("triage".into(), JobSeen::well("extend"));
    world.forget();
    world.run(3600.0);
    assert!(world.acts("a").contains(&"triage"), "{}", world.story());
    assert!(!world.acts("a").contains(&"terminate"), "{}", world.story());
}

#[test]
fn terminate_ends_nothing_that_a_veto_protects_or_that_moved_since() {
    let mut world = idle(ASK, None);
    asked(&mut world);
    world.seen.host.cpu_pressure = Some(95.0);
    world.results.insert("triage".into(), JobSeen::well("terminate"));
    world.run(600.0);
    assert!(!world.acts("a").contains(&"terminate"), "{}", world.story());
    world.expect_hold("a", "veto: ");
    // It moves, and is idle again: another question.
    world.seen.host.cpu_pressure = None;
    world.results.insert("triage".into(), JobSeen::well("extend"));
    world.unit("a").busy();
    world.unit("a").moves();
    world.tick_now();
    world.unit("a").idle();
    world.forget();
    world.run(900.0);
    assert!(!world.acts("a").contains(&"terminate"), "{}", world.story());
    assert!(world.acts("a").contains(&"triage"), "{}", world.story());
}

#[test]
fn retry_is_one_more_nudge_and_a_question_later() {
    let mut world = idle(ASK, Some(JobSeen::well("retry")));
    world.run(4.0 * 3600.0);
    let tiers = tiers(&world);
    assert!(tiers.len() > 20, "{}", world.story());
    for (n, tier) in tiers.iter().enumerate() {
        assert_eq!(*tier, ["nudge", "triage"][n % 2], "{}", world.story());
    }
}

#[test]
fn without_an_answer_it_is_another_window_after_the_time() {
    let mut world = idle(ASK, None);
    world.run(3600.0);
    let asked = world.times("a", "triage").len();
    assert!((2..=3).contains(&asked), "{asked}; {}", world.story());
    assert!(!world.acts("a").contains(&"terminate"), "{}", world.story());
    let done = world.events.iter().filter(|event| event.contains("gave no answer in time: it")).count();
    assert!(done + 1 >= asked, "{}", world.story());
    world.expect_alerts("gave no answer in time", 1);
}

#[test]
fn without_a_command_nothing_behind_it_comes() {
    let mut world = World::running(&agent("a", ASK));
    world.unit("a").idle();
    world.run(2.0 * 3600.0);
    assert_eq!(tiers(&world), ["nudge"], "{}", world.story());
    let events =
        world.events.iter().filter(|event| event.contains("[watchdog] has no `triage` command")).count();
    assert!((3..=7).contains(&events), "{events}");
    world.expect_alerts("`a` is stalled, and [watchdog] has no `triage` command", 1);
}

/// Killed between the record and the start: the same question again, and no second one. Its end is seen by the next watchdog.
#[test]
fn a_question_that_was_lost_is_asked_again_and_a_restart_takes_the_answer() {
    let mut world = idle(ASK, None);
    world.deaf.insert("a: triage".into());
    asked(&mut world);
    assert!(world.started.is_empty());
    world.deaf.clear();
    world.ticks(3);
    assert_eq!(world.started.len(), 1, "{}", world.story());
    assert_eq!(world.started[0].id, "a.triage.1");
    // The state goes through its file.
    let text = serde_json::to_string(world.state_of("a")).unwrap();
    *world.state.units.get_mut(&name("a")).unwrap() = serde_json::from_str(&text).unwrap();
    world.results.insert("triage".into(), JobSeen::well("terminate"));
    world.run(120.0);
    world.expect_act("a", "terminate");
    assert_eq!(world.state_of("a").ladder.triage.count, 1);
}

#[test]
fn the_answer_about_a_process_that_ended_is_about_nobody() {
    let mut world = idle(ASK, None);
    asked(&mut world);
    world.unit("a").dies(Exit::Status(1));
    world.results.insert("triage".into(), JobSeen::well("terminate"));
    world.run(200.0);
    let triage = &world.state_of("a").ladder.triage;
    assert!(triage.asked.is_none() && triage.passed.is_none(), "{triage:?}");
    assert!(!world.acts("a").contains(&"terminate"), "{}", world.story());
}

#[test]
fn three_are_asked_in_one_tick() {
    let ladder = "ladder = { tiers = [\"triage\", \"terminate\"] }";
    let units: String = (0..8).map(|n| agent(&format!("a{n}"), ladder)).collect();
    let mut world = World::running(&format!("{TRIAGE}{units}"));
    for n in 0..8 {
        world.unit(&format!("a{n}")).idle();
    }
    let (mut most, mut before) = (0, 0);
    for _ in 0..2000 {
        world.tick();
        most = most.max(world.started.len() - before);
        before = world.started.len();
        if before >= 8 {
            break;
        }
    }
    assert_eq!((most, before), (STARTS_MAX, 8), "{}", world.story());
}

#[test]
fn a_last_triage_has_nothing_to_end_it_with() {
    let mut world = idle("ladder = { tiers = [\"nudge\", \"triage\"] }", Some(JobSeen::well("terminate")));
    world.run(3600.0);
    world.expect_act_count("a", "nudge", 1);
    let asked = world.times("a", "triage").len();
    assert!((2..=3).contains(&asked), "{asked}; {}", world.story());
}

//! Agents that heal, rules that run a command, and what is done when neither can.

use super::*;

const HEADLESS: &str =
    "[process.healing]\nagent = \"headless\"\nescalate_after = 1\nverify_window_s = 1000\ntimeout_s = 60";

/// It failed twice: the agent is asked.
fn asked(more: &str) -> World {
    asked_with(more, "")
}

/// The same, with keys more for the healing.
fn asked_with(more: &str, healing: &str) -> World {
    let mut world = running(&format!("{more}\n{HEADLESS}\n{healing}"));
    for _ in 0..2 {
        world.unit("p").ended(FAIL);
        world.run(30.0);
    }
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert_eq!(world.started.len(), 1, "{}", world.story());
    world
}

#[test]
fn restarts_that_are_not_kept_lead_to_the_agent() {
    let mut world = asked("");
    let prompt = world.started[0].stdin.clone().unwrap();
    assert!(prompt.contains("Process: p") && prompt.contains("exit status 1"), "{prompt}");
    world.results.insert("heal".into(), JobSeen::well("fixed.\n**ACTION: restart**\nSET: LR=0.1\n"));
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    assert_eq!(world.runs[2].env["LR"], "0.1");
    world.run(2000.0);
    assert_eq!(world.ledger.last().unwrap(), "p-2 agent restart-with-env kept");
    assert_eq!(world.notes["p-2"].response, "fixed.\n**ACTION: restart**\nSET: LR=0.1\n");
}

/// The agent answered, and edited something.
fn edited(healing: &str) -> World {
    let mut world = asked_with("", healing);
    assert_eq!(world.started[0].fix.as_ref().map(|fix| fix.step), Some(FixStep::Clean));
    let fix =
        FixSeen { branch: "watchkeeper/fix-1".into(), patch: "+x".into(), open: true, ..FixSeen::default() };
    world.results.insert(
        "heal".into(),
        JobSeen::Ended {
            failed: None,
            status: Some(0),
            output: "ACTION: restart".into(),
            fix: Some(Box::new(fix)),
        },
    );
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    world
}

/// The steps that ended fixes, in order.
fn steps(world: &World) -> Vec<FixStep> {
    world.started.iter().skip(1).filter_map(|job| job.fix.as_ref().map(|fix| fix.step)).collect()
}

#[test]
fn edits_that_hold_stay_on_their_branch_or_are_merged() {
    for (more, want) in [("", FixStep::Keep), ("auto_merge = true", FixStep::Merge)] {
        let mut world = edited(more);
        world.results.insert("fix".into(), JobSeen::well(""));
        world.run(2000.0);
        assert_eq!(steps(&world), [want], "{}", world.story());
        assert_eq!(world.notes["p-2"].patch, "+x");
        assert!(world.state_of("p").process.heal.fixes.is_empty());
    }
}

#[test]
fn edits_that_do_not_hold_are_taken_back_before_the_next_start() {
    let mut world = edited("");
    world.unit("p").ended(FAIL);
    world.run(300.0);
    assert_eq!(steps(&world), [FixStep::Restore], "{}", world.story());
    assert_eq!(world.runs.len(), 3, "nothing starts on a tree between two states: {}", world.story());
    // (As the job says it when it came to its end.)
    let left = FixSeen { left: vec!["`a.py`".into()], ..FixSeen::default() };
    let failed = Some("`a.py` was changed since the agent".to_owned());
    let ended = JobSeen::Ended { failed, status: Some(1), output: String::new(), fix: Some(Box::new(left)) };
    world.results.insert("fix".into(), ended);
    world.run(60.0);
    world.expect_alerts("could not all be taken back: `a.py` was changed", 1);
    assert!(world.state_of("p").process.heal.fixes.is_empty());
    assert!(world.ledger.iter().any(|row| row.ends_with("agent restart regressed")), "{:?}", world.ledger);
}

#[test]
fn an_agent_that_was_killed_may_have_edited() {
    let mut world = asked("");
    world.results.insert("heal".into(), JobSeen::failed("it was killed before it ended"));
    world.results.insert("fix".into(), JobSeen::well(""));
    world.run(60.0);
    assert_eq!(steps(&world), [FixStep::Restore], "{}", world.story());
}

#[test]
fn an_answer_that_cannot_be_used_is_no_action() {
    for answer in [
        JobSeen::well("ACTION: reboot"),
        JobSeen::well(""),
        JobSeen::failed("it was ended after 60 s, its deadline"),
    ] {
        let mut world = asked("");
        world.results.insert("heal".into(), answer);
        world.run(600.0);
        assert_eq!(world.runs.len(), 2, "{}", world.story());
        assert!(matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }));
        // (What one that was ended has edited nobody knows.)
        let taken =
            world.alerts.iter().any(|text| text.contains("what was edited is taken out of the tree again"));
        world.expect_alerts("no action was taken", usize::from(!taken));
        assert!(world.ledger.last().unwrap().ends_with("agent crashed"), "{:?}", world.ledger);
    }
}

#[test]
fn agents_are_asked_so_often_in_an_hour_and_approve_lifts_it() {
    let mut world = asked("max_identical = 100\n");
    world.results.insert("heal".into(), JobSeen::well("ACTION: restart"));
    for _ in 0..40 {
        world.run(20.0);
        if let RunSeen::Alive { .. } = world.unit("p").process().run {
            world.unit("p").ended(FAIL);
        }
    }
    let asked = world.started.len();
    assert_eq!(asked, 5, "{}", world.story());
    // Nobody waits for the next hour: it is started again while restarts are left.
    world.expect_alerts("asked 5 times about `exit` in the last hour", 1);
    assert_eq!(world.runs.len(), 11, "{}", world.story());
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Spent { .. }));
    world.ask(Ask::Approve { unit: name("p") });
    world.run(60.0);
    for _ in 0..2 {
        world.unit("p").ended(FAIL);
        world.run(60.0);
    }
    assert_eq!(world.started.len(), 6, "{}", world.story());
}

/// Without a restart of its own to follow it, a command that fails is no order to start again, and again.
#[test]
fn what_is_over_waits_for_a_person_when_the_rule_s_command_fails() {
    let mut world = running(
        "rules = [ { match = { detector = \"exit\" }, action = { kind = \"command\", command = [\"./mend\"] } } ]",
    );
    world.results.insert("rule".into(), JobSeen::failed("exit status 1"));
    world.unit("p").ended(FAIL);
    let runs = world.runs.len();
    world.run(300.0);
    assert_eq!(world.runs.len(), runs, "{}", world.story());
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }));
    world.expect_alerts("failed", 1);
}

/// A job whose program never ran.
fn unasked(why: &str) -> JobSeen {
    let fix = Some(Box::new(FixSeen::default()));
    JobSeen::Ended { failed: Some(why.into()), status: None, output: String::new(), fix }
}

#[test]
fn an_agent_that_can_not_be_asked_stops_nothing() {
    #[track_caller]
    fn check(why: &str) {
        let mut world = asked("max_identical = 100\n");
        world.results.insert("heal".into(), unasked(why));
        world.run(30.0);
        assert_eq!(world.runs.len(), 3, "{}", world.story());
        let note = &world.notes["p-2"];
        assert_eq!((note.remedy.action.as_str(), note.trouble.as_deref()), ("restart", Some(why)));
        for _ in 0..20 {
            if let RunSeen::Alive { .. } = world.unit("p").process().run {
                world.unit("p").ended(FAIL);
            }
            world.run(30.0);
        }
        world.expect_alerts(why, 1);
        // As without an agent: all restarts, and then no more. That nobody was asked counts against no hour.
        assert_eq!(world.runs.len(), 11, "{}", world.story());
        assert!(matches!(&world.state_of("p").process.run.standing, Standing::Spent { .. }));
        assert!(world.state_of("p").process.heal.asked.is_empty(), "{}", world.story());
    }
    check("the agent was not asked: the tree has uncommitted work (1 file: `a.py`)");
    check("it could not be started: `healer` in `/w`: no such file or directory");
}

#[test]
fn a_rule_goes_on_when_the_agent_that_its_remedy_leads_to_can_not_be_asked() {
    let mut world = asked(
        "rules = [ { name = \"halve\", match = { exit = 9 }, \
         action = { kind = \"restart-with-env\", set = { BATCH = \"half\" } } } ]",
    );
    let why = "the agent was not asked: a rebase is under way";
    world.results.insert("heal".into(), unasked(why));
    world.run(30.0);
    for want in ["4", "2", "1"] {
        world.unit("p").ended(Some(Exit::Status(9)));
        world.run(60.0);
        let batch = world.runs.last().and_then(|run| run.env.get("BATCH").cloned());
        assert_eq!(batch.as_deref(), Some(want), "{}", world.story());
    }
    world.expect_alerts(why, 1);
    assert!(world.ledger.iter().any(|row| row.contains("halve")), "{:?}", world.ledger);
}

#[test]
fn a_pause_that_a_rule_orders_is_one_whether_an_agent_can_be_asked_or_not() {
    let mut world = asked("rules = [ { match = { exit = 9 }, action = { kind = \"pause\" } } ]");
    world.results.insert("heal".into(), unasked("the agent was not asked: a rebase is under way"));
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    world.unit("p").ended(Some(Exit::Status(9)));
    world.run(60.0);
    assert!(matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }));
}

#[test]
fn a_rules_command_is_run_and_what_it_said_is_kept() {
    let rule = "rules = [ { name = \"room\", match = { exit = 1 }, action = { kind = \"command\", command = [\"./room\"], then = \"restart\" } } ]\n[process.healing]\nagent = \"off\"";
    let mut world = running(rule);
    world.unit("p").ended(FAIL);
    world.run(10.0);
    assert_eq!(world.started[0].argv, ["./room"]);
    assert_eq!(world.runs.len(), 1);
    world.results.insert("rule".into(), JobSeen::well("2 GB freed"));
    world.run(30.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    assert!(world.notes["p-1"].response.contains("2 GB freed"), "{:?}", world.notes);
}

#[test]
fn an_agent_never_restarts_what_somebody_else_started() {
    #[track_caller]
    fn check(allow: &str, answer: &str, ended: bool) {
        let healing = "[process.healing]\nagent = \"headless\"\n";
        let mut world = World::new(&format!("{ATTACHED}{allow}\n{healing}"));
        world.unit("p").runs(1);
        world.ticks(2);
        world.unit("p").says("weird", FindingKind::Pattern, "weird");
        world.run(30.0);
        assert_eq!(world.started.len(), 1, "{}", world.story());
        assert!(world.started[0].stdin.as_ref().unwrap().contains("started by somebody else"));
        world.results.insert("heal".into(), JobSeen::well(answer));
        world.run(60.0);
        assert_eq!(
            world.done.iter().any(|(_, _, label, _)| label == "terminate"),
            ended,
            "{}",
            world.story()
        );
        if !ended {
            assert!(world.state_of("p").process.remedy.is_none(), "{}", world.story());
            world.expect_alerts("its answer can't be used", 1);
        }
    }
    check("allow_kill = true", "ACTION: restart", false);
    check("allow_kill = true", "ACTION: restart\nSET: A=1", false);
    check("", "ACTION: restart", false);
    check("", "ACTION: abort", false);
    check("allow_kill = true", "ACTION: abort", true);
}

#[test]
fn restarts_of_commands_and_agents_are_counted_like_all_others() {
    let rule = "restart = { max = 2, cooldown_s = 1 }\nmax_identical = 100\nrules = [ { name = \"room\", match = { exit = 1 }, action = { kind = \"command\", command = [\"./room\"], then = \"restart\" } } ]\n[process.healing]\nagent = \"off\"";
    let agent = "restart = { max = 2, cooldown_s = 1 }\nmax_identical = 100\nrules = [ { match = { exit = 1 }, action = { kind = \"agent\" } } ]\n[process.healing]\nagent = \"headless\"\nmax_attempts_per_hour = 100";
    for more in [rule, agent] {
        let mut world = World::new(&config(more).replace("restart = { max = 10, cooldown_s = 10 }\n", ""));
        world.ticks(3);
        world.results.insert("rule".into(), JobSeen::well("done"));
        world.results.insert("heal".into(), JobSeen::well("ACTION: restart"));
        for _ in 0..9 {
            if let RunSeen::Alive { .. } = world.unit("p").process().run {
                world.unit("p").ended(FAIL);
            }
            world.run(20.0);
        }
        assert_eq!(world.runs.len(), 3, "{}", world.story());
        world.expect_alerts("is not started again: 2 restarts not kept", 1);
    }
}

#[test]
fn what_waits_for_a_person_is_told() {
    let agent = "rules = [ { match = { exit = 1 }, action = { kind = \"agent\" } } ]\n[process.healing]\nagent = \"auto\"";
    let mut world = running(agent);
    world.unit("p").process().healer = Some(false);
    world.unit("p").ended(FAIL);
    world.run(60.0);
    assert_eq!(world.runs.len(), 2, "{}", world.story());
    world.expect_alerts("no agent is there to ask", 1);

    let mut world = running(&format!("lifecycle = \"one-shot\"\n{agent}"));
    world.unit("p").process().healer = Some(false);
    world.unit("p").ended(FAIL);
    world.run(60.0);
    assert!(
        matches!(&world.state_of("p").process.run.standing, Standing::Paused { .. }),
        "{}",
        world.story()
    );
    world.expect_alerts("no agent is there to ask", 1);

    let cap = agent.replace("auto", "headless") + "\nmax_attempts_per_hour = 0";
    let mut world = running(&cap);
    world.unit("p").ended(FAIL);
    world.run(600.0);
    world.expect_alerts("asked 0 times about", 1);

    let mut world = World::new(&config(""));
    world.unit("p").process().missing = vec!["the program `nvcc`".into()];
    world.run(600.0);
    world.expect_alerts("`p` is not started: it needs what is not there: the program `nvcc`", 1);

    let rule = "rules = [ { match = { exit = 1 }, action = { kind = \"command\", command = [\"./say\"] } } ]\n[process.healing]\nagent = \"off\"";
    let mut world = running(rule);
    world.results.insert("rule".into(), JobSeen::well("said"));
    world.unit("p").ended(FAIL);
    world.run(600.0);
    world.expect_alerts("`p` stays down: a rule ran a command", 1);
}

#[test]
fn a_remedy_that_is_given_up_is_closed_in_the_ledger() {
    let mut world = asked("");
    world.ask(Ask::Restart { unit: name("p") });
    world.run(30.0);
    assert_eq!(world.runs.len(), 3, "{}", world.story());
    assert!(world.ledger.iter().any(|row| row == "p-2 agent agent crashed"), "{:?}", world.ledger);
    // It is still at work in the tree: what it says is not done, and nothing starts before it has ended.
    world.unit("p").ended(FAIL);
    world.run(120.0);
    assert_eq!((world.runs.len(), world.started.len()), (3, 1), "{}", world.story());
    world.results.insert("heal".into(), JobSeen::well("ACTION: abort"));
    world.run(30.0);
    assert_eq!(world.started.len(), 2, "{}", world.story());
    assert!(world.state_of("p").process.heal.fixes.is_empty());
    assert_eq!(
        world.state_of("p").process.run.standing,
        Standing::Aborted { why: "the healing agent: it gave no reason".into() }
    );
}

/// The agent thought for a while: what stalled may work again by then.
#[test]
fn a_restart_that_an_agent_wants_for_a_stall_needs_its_proof_too() {
    let stall = "detectors = [ { kind = \"stall\", name = \"silence\", no_progress_s = 100 } ]\nrules = [ { match = { detector = \"silence\" }, action = { kind = \"agent\" } } ]\n[process.healing]\nagent = \"headless\"";
    let mut world = running(stall);
    world.results.insert("heal".into(), JobSeen::Running);
    world.run(160.0);
    assert!(world.incidents.len() == 1, "{}", world.story());
    // It writes again, and the answer comes.
    world.unit("p").writes();
    world.run(10.0);
    world.unit("p").writes();
    world.results.insert("heal".into(), JobSeen::well("ACTION: restart"));
    for _ in 0..10 {
        world.run(10.0);
        world.unit("p").writes();
    }
    assert_eq!(world.runs.len(), 1, "{}", world.story());
}

use crate::model::seen::{Exit, ScreenState};
use crate::policy::testing::{World, name};

const PLAN: &str = r##"
[loop]
repo = "work"
state_subdir = "docs"
phases = [ { id = "1", status = "S1.md" } ]
[loop.handoff]
claim_pattern = "^(feat: )?claim"
review_pattern = "^review"
claim_pings = ["critic", "reader"]
review_pings = "builder"
inboxes = { "INBOX-builder.md" = "builder", "INBOX-critic.md" = "critic" }
[[agent]]
name = "builder"
[[agent]]
name = "critic"
kind = "persistent"
[[agent]]
name = "reader"
kind = "persistent"
"##;

const ALL: [&str; 3] = ["builder", "critic", "reader"];

fn quiet() -> World {
    let mut world = World::new(PLAN);
    world.branch.push("begin");
    live(&mut world, 30.0);
    world.forget();
    world.loaded.clear();
    world
}

/// Turns end at once.
fn live(world: &mut World, seconds: f64) {
    let end = world.seen.now.awake_s.plus_s(seconds);
    while world.seen.now.awake_s < end {
        for unit in ALL {
            if let Some(ScreenState::Starting | ScreenState::Busy) =
                world.seen.units[&name(unit)].pane_state()
            {
                world.unit(unit).idle();
            }
        }
        world.tick();
    }
}

fn pings<'a>(world: &'a World, unit: &str) -> Vec<&'a str> {
    world.typed(unit).into_iter().filter(|text| text.contains("on origin/main")).collect()
}

#[track_caller]
fn expect(world: &World, want: [usize; 3]) {
    let found: Vec<usize> = ALL.iter().map(|unit| pings(world, unit).len()).collect();
    assert_eq!(found, want, "{}\n{:?}", world.story(), world.loaded);
}

#[test]
fn the_first_sight_of_a_branch_pings_nobody() {
    let mut world = World::new(PLAN);
    world.branch.push("claim(a): old");
    world.branch.push("review: older");
    world.branch.inboxes.insert("INBOX-builder.md".into(), "d1".into());
    live(&mut world, 60.0);
    expect(&world, [0, 0, 0]);
}

#[test]
fn claims_and_reviews_ping_their_agents_once() {
    let mut world = quiet();
    world.branch.push("claim(a): the parser");
    live(&mut world, 60.0);
    expect(&world, [0, 1, 1]);
    assert!(pings(&world, "critic")[0].contains("claim(a): the parser"));
    assert!(pings(&world, "critic")[0].contains("origin/main"));
    world.branch.push("review: reject a");
    world.branch.push("fix a typo");
    live(&mut world, 60.0);
    expect(&world, [1, 1, 1]);
    live(&mut world, 3600.0);
    expect(&world, [1, 1, 1]);
    assert_eq!(world.state.git.label_of("1"), "a");
}

/// phase.json is written before git.json: a kill in between brings the old git.json into the new phase.
#[test]
fn a_label_belongs_to_the_phase_in_which_it_was_claimed() {
    let phases = r#"phases = [ { id = "1", status = "S1.md" }, { id = "2", status = "S2.md" } ]"#;
    for kill in [false, true] {
        let mut world = World::new(&PLAN.replace(r#"phases = [ { id = "1", status = "S1.md" } ]"#, phases));
        world.branch.push("begin");
        live(&mut world, 30.0);
        world.branch.push("claim(a): x");
        live(&mut world, 60.0);
        let git = world.state.git.clone();
        assert_eq!(git.label_of("1"), "a");
        // Claimed and done at one look.
        world.branch.push("claim(b): y");
        world.branch.done("1");
        world.tick();
        assert_eq!((world.state.phase.id.as_str(), world.state.git.label_of("2")), ("2", ""));
        if kill {
            world.state.git = git;
        }
        world.branch.push("status");
        live(&mut world, 60.0);
        assert_eq!(world.state.git.label_of("2"), "", "killed: {kill}");
        world.branch.push("claim(c): z");
        live(&mut world, 60.0);
        assert_eq!(world.state.git.label_of("2"), "c", "killed: {kill}");
    }
}

#[test]
fn several_commits_of_both_kinds_in_one_fetch_go_in_one_text_to_each() {
    let mut world = quiet();
    for subject in ["claim(a): x", "review: y", "feat: claim(feat: b): z", "nothing", "review: w"] {
        world.branch.push(subject);
    }
    live(&mut world, 60.0);
    expect(&world, [1, 1, 1]);
    let critic = pings(&world, "critic")[0];
    assert!(
        critic.contains("claim(a): x")
            && critic.contains("claim(feat: b): z")
            && !critic.contains("New review")
    );
    assert_eq!(world.state.git.label_of("1"), "b");
}

#[test]
fn an_inbox_that_changed_pings_its_side_and_an_emptied_one_is_consumed() {
    let mut world = quiet();
    let inbox = |world: &mut World, digest: Option<&str>| {
        match digest {
            Some(digest) => world.branch.inboxes.insert("INBOX-builder.md".into(), digest.into()),
            None => world.branch.inboxes.remove("INBOX-builder.md"),
        };
        world.branch.push("inbox");
        live(world, 60.0);
    };
    inbox(&mut world, Some("d1"));
    expect(&world, [1, 0, 0]);
    assert!(pings(&world, "builder")[0].contains("docs/INBOX-builder.md"));
    inbox(&mut world, None);
    expect(&world, [1, 0, 0]);
    inbox(&mut world, Some("d1"));
    expect(&world, [2, 0, 0]);
    inbox(&mut world, Some("d1"));
    expect(&world, [2, 0, 0]);
}

#[test]
fn a_rewritten_branch_is_looked_at_afresh() {
    let mut world = quiet();
    world.branch.push("claim(a): x");
    live(&mut world, 60.0);
    world.branch.history = 7;
    world.branch.push("claim(b): y");
    live(&mut world, 60.0);
    expect(&world, [0, 1, 1]);
    assert!(world.events.iter().any(|e| e.contains("rewritten")));
    world.branch.push("claim(c): z");
    live(&mut world, 60.0);
    expect(&world, [0, 2, 2]);
}

#[test]
fn a_ping_for_one_who_is_dead_limited_or_asked_something_stays_owed() {
    let mut world = quiet();
    world.unit("critic").dies(Exit::Status(1));
    world.deaf.insert("critic".into());
    world.branch.push("claim(a): x");
    live(&mut world, 120.0);
    expect(&world, [0, 0, 1]);
    assert_eq!(world.state_of("critic").handoff.owed.len(), 1);
    world.deaf.clear();
    live(&mut world, 1200.0);
    expect(&world, [0, 1, 1]);
    assert!(world.state_of("critic").handoff.owed.is_empty());
}

#[test]
fn a_ping_whose_agent_dies_before_the_submit_key_is_delivered_to_the_next_one() {
    let mut world = quiet();
    world.deaf.insert("critic: submit text".into());
    world.branch.push("claim(a): x");
    for _ in 0..100 {
        world.tick();
        if world.acts("critic").contains(&"paste text") {
            break;
        }
    }
    world.unit("critic").dies(Exit::Signal(9));
    world.deaf.clear();
    live(&mut world, 300.0);
    assert_eq!(pings(&world, "critic").len(), 2, "loaded again: {}", world.story());
    assert!(world.state_of("critic").handoff.owed.is_empty());
}

#[test]
fn one_that_never_arrives_is_told_once_and_stays_owed() {
    let mut world = quiet();
    world.deaf.insert("critic: submit text".into());
    world.branch.push("claim(a): x");
    world.run(3600.0);
    assert_eq!(world.state_of("critic").handoff.owed.len(), 1, "{}", world.story());
    let told = world.alerts.iter().filter(|text| text.contains("stays owed")).count();
    assert_eq!(told, 1, "{:?}", world.alerts);
}

#[test]
fn the_same_news_found_again_is_the_same_ping() {
    // Killed after the agents' files were written and before git.json was.
    let mut world = quiet();
    world.branch.push("claim(a): x");
    let git = world.state.git.clone();
    world.tick_now();
    world.state.git = git;
    live(&mut world, 120.0);
    expect(&world, [0, 1, 1]);
    // The other way round: the agent's file yielded to an editor.
    let mut world = quiet();
    world.branch.push("claim(a): x");
    let units = world.state.units.clone();
    world.tick_now();
    world.state.units = units;
    live(&mut world, 120.0);
    expect(&world, [0, 1, 1]);
}

#[test]
fn after_the_end_nobody_is_pinged() {
    let mut world = quiet();
    world.branch.done("1");
    live(&mut world, 60.0);
    world.branch.push("claim(z): late");
    live(&mut world, 60.0);
    expect(&world, [0, 0, 0]);
}

#[test]
fn hostile_subjects_become_one_clean_line() {
    let mut world = quiet();
    world.branch.push(&format!("claim(\u{1b}[31m\u{7}): !rm -rf / \r\n{}", "x".repeat(10_000)));
    live(&mut world, 60.0);
    let text = pings(&world, "critic")[0];
    assert!(text.len() < 400 && !text.chars().any(char::is_control), "{text:?}");
}

#[test]
fn an_inbox_that_is_watched_since_now_is_only_remembered() {
    let mut world = quiet();
    world.branch.inboxes.insert("INBOX-critic.md".into(), "old".into());
    world.state.git.inboxes.clear();
    world.state.git.watched = vec!["INBOX-builder.md".into()];
    world.branch.push("something else");
    live(&mut world, 60.0);
    expect(&world, [0, 0, 0]);
    world.branch.inboxes.insert("INBOX-critic.md".into(), "new".into());
    world.branch.push("inbox");
    live(&mut world, 60.0);
    expect(&world, [0, 1, 0]);
}

#[test]
fn an_inbox_ping_that_is_found_again_at_another_head_is_the_same_ping() {
    let mut world = quiet();
    world.branch.inboxes.insert("INBOX-critic.md".into(), "d1".into());
    world.branch.push("inbox");
    let git = world.state.git.clone();
    world.tick_now();
    // git.json was not written, and the head moved on meanwhile.
    world.state.git = git;
    world.branch.push("unrelated");
    live(&mut world, 120.0);
    expect(&world, [0, 1, 0]);
}

#[test]
fn a_unit_whose_file_can_t_be_judged_for_a_while_keeps_its_pings() {
    let mut world = quiet();
    world.branch.push("claim(a): x");
    // The engine leaves a held unit out of the config for a tick.
    let (whole, units) = (world.config.clone(), world.seen.units.clone());
    let critic = world.state.units.remove(&name("critic")).unwrap();
    world.config.units.remove(&name("critic"));
    world.seen.units.remove(&name("critic"));
    world.tick_now();
    world.config = whole;
    world.seen.units = units;
    world.state.units.insert(name("critic"), critic);
    live(&mut world, 120.0);
    expect(&world, [0, 1, 1]);
}

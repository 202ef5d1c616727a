use super::*;
use crate::policy::testing::World;

const LOOP: &str = "[[agent]]\nname = \"a\"\nkind = \"loop\"\nprompt = \"p.md\"\n";
const SESSIONS: [Session; 4] = [Session::Unknown, Session::Absent, Session::Dead, Session::Alive];
const IDENTITIES: [Identity; 5] =
    [Identity::Same, Identity::Other, Identity::Gone, Identity::Zombie, Identity::Unreadable];
const RECORDS: [Recorded; 5] =
    [Recorded::Nothing, Recorded::Starting, Recorded::Alive, Recorded::Ending, Recorded::Dead];
const QUIETS: [Quiet; 3] = [Quiet::Recent, Quiet::Long, Quiet::Unknown];

#[track_caller]
fn check(session: Session, identity: Identity, recorded: Recorded, quiet: Quiet, want: Verdict) {
    assert_eq!(judge(session, identity, recorded, quiet), want);
}

#[test]
fn the_table() {
    use Identity::{Gone, Other, Same, Unreadable, Zombie};
    for quiet in QUIETS {
        check(Session::Alive, Same, Recorded::Alive, quiet, Verdict::Healthy);
        check(Session::Alive, Other, Recorded::Alive, quiet, Verdict::Replaced);
        check(Session::Alive, Other, Recorded::Dead, quiet, Verdict::Investigate);
        check(Session::Alive, Same, Recorded::Dead, quiet, Verdict::Investigate);
        check(Session::Absent, Same, Recorded::Alive, quiet, Verdict::Investigate);
        check(Session::Dead, Same, Recorded::Dead, quiet, Verdict::Investigate);
        check(Session::Alive, Other, Recorded::Nothing, quiet, Verdict::Found);
        check(Session::Alive, Zombie, Recorded::Alive, quiet, Verdict::Unknown);
        check(Session::Absent, Gone, Recorded::Nothing, quiet, Verdict::Absent);
        check(Session::Dead, Gone, Recorded::Dead, quiet, Verdict::Over);
        check(Session::Dead, Zombie, Recorded::Ending, quiet, Verdict::Stopped);
        check(Session::Absent, Unreadable, Recorded::Alive, quiet, Verdict::Unknown);
    }
    for session in [Session::Absent, Session::Dead] {
        for identity in [Gone, Zombie, Other] {
            check(session, identity, Recorded::Alive, Quiet::Long, Verdict::Finished);
            check(session, identity, Recorded::Alive, Quiet::Recent, Verdict::Crashed);
            check(session, identity, Recorded::Alive, Quiet::Unknown, Verdict::Crashed);
        }
    }
}

#[test]
fn what_was_not_seen_is_never_dead_and_what_lives_is_never_over() {
    for (session, identity) in SESSIONS.iter().flat_map(|s| IDENTITIES.iter().map(move |i| (*s, *i))) {
        for (recorded, quiet) in RECORDS.iter().flat_map(|r| QUIETS.iter().map(move |q| (*r, *q))) {
            let verdict = judge(session, identity, recorded, quiet);
            let over = matches!(
                verdict,
                Verdict::Finished | Verdict::Crashed | Verdict::Stopped | Verdict::Over | Verdict::Absent
            );
            let story = format!("{session:?} {identity:?} {recorded:?} {quiet:?}: {verdict:?}");
            if over {
                assert!(matches!(session, Session::Absent | Session::Dead), "{story}");
            }
            if identity == Identity::Same {
                assert!(
                    !matches!(verdict, Verdict::Finished | Verdict::Crashed | Verdict::Stopped),
                    "{story}"
                );
            }
            if session == Session::Unknown {
                assert_eq!(verdict, Verdict::Unknown, "{story}");
            }
        }
    }
}

#[test]
fn a_clean_exit_is_no_crash_and_a_fault_is_one() {
    for (exit, quiet, want) in [
        (Some(Exit::Status(0)), Quiet::Recent, Quiet::Long),
        (Some(Exit::Status(1)), Quiet::Recent, Quiet::Recent),
        (Some(Exit::Status(1)), Quiet::Long, Quiet::Long),
        (Some(Exit::Signal(9)), Quiet::Long, Quiet::Recent),
        (Some(Exit::Signal(11)), Quiet::Long, Quiet::Recent),
        (Some(Exit::Signal(15)), Quiet::Long, Quiet::Long),
        (Some(Exit::Signal(1)), Quiet::Recent, Quiet::Recent),
        (None, Quiet::Unknown, Quiet::Unknown),
    ] {
        assert_eq!(weigh(exit, quiet), want, "{exit:?} {quiet:?}");
    }
}

#[test]
fn an_end_at_work_is_a_crash_and_one_after_a_rest_is_not_and_both_are_healed() {
    let mut world = World::running(LOOP);
    world.unit("a").moves();
    world.tick();
    world.unit("a").dies(Exit::Status(1));
    world.ticks(3);
    world.expect_events("dead: exit status 1 (crashed", 1);
    world.expect_act("a", "restart");

    let persistent = LOOP.replace("loop", "persistent");
    let mut world = World::running(&persistent);
    world.run(400.0);
    world.unit("a").dies(Exit::Status(1));
    world.ticks(3);
    world.expect_events("dead: exit status 1 (finished, quiet for", 1);
    world.expect_act("a", "restart");
    world.expect_alerts("", 0);
}

#[test]
fn an_ordered_end_is_neither() {
    let mut world = World::running(LOOP);
    world.unit("a").seen().markers.down = Some("enough".into());
    world.ticks(10);
    assert_eq!(world.state_of("a").seen.end.as_ref().map(|end| end.fate), Some(Fate::Stopped));
    world.expect_events("(crashed", 0);
}

#[test]
fn recorded_dead_but_alive_is_told_once_and_taken_over_and_never_ended() {
    let mut world = World::running(LOOP);
    world.unit("a").seen().markers.paused = Some(Default::default());
    world.unit("a").dies(Exit::Status(1));
    world.ticks(5);
    world.forget();
    // A person starts it again in its pane.
    world.unit("a").start();
    world.ticks(10);
    world.expect_alerts("was recorded as dead since", 1);
    assert!(world.state_of("a").seen.process.is_some() && world.state_of("a").seen.end.is_none());
    world.expect_no_act("a");
}

#[test]
fn a_start_of_ours_is_no_riddle_however_late() {
    let mut world = World::running(LOOP);
    world.deaf.insert("a".into());
    world.unit("a").dies(Exit::Status(1));
    world.ticks(4);
    world.deaf.clear();
    world.run(600.0);
    assert!(world.state_of("a").seen.process.is_some(), "{}", world.story());
    world.expect_alerts("recorded as dead", 0);
}

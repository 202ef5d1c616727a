//! kill -9 of watchdog, shim and child in every order, and at every step of a start: never two children, never one that
//! nobody knows.

use crate::place::{Place, UNIT, boot, kill, kill_and_wait, until};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use watchkeeper::model::process::{ProcessLaunch, RunId, RunSeen};
use watchkeeper::model::seen::Exit;
use watchkeeper::sys::hosts::{local, records};
use watchkeeper::sys::proc;

/// Names the state directory and the launch of [`a_watchdog`].
const ORDER: &str = "HOSTS_TEST_ORDER";

/// Not a test of its own: the process that plays the watchdog. It starts what it is told to, says so, and waits.
#[test]
fn a_watchdog() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (state, launch): (PathBuf, ProcessLaunch) = serde_json::from_str(&order).unwrap();
    let started = local::start_with(Path::new(env!("CARGO_BIN_EXE_watchkeeper")), &state, &launch);
    if started.is_ok() {
        std::fs::write(state.join("started"), "").unwrap();
    }
    // Until whoever started it is gone.
    let _ = std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new());
}

fn watchdog(place: &Place, launch: &ProcessLaunch, before: &[&str]) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut words: Vec<&str> = before.to_vec();
    words.extend([own.to_str().unwrap(), "--exact", "kills::a_watchdog", "--nocapture", "--test-threads=1"]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(ORDER, serde_json::to_string(&(place.state(), launch)).unwrap());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Watchdog,
    Shim,
    Child,
}

#[test]
fn in_every_order() {
    use Who::{Child, Shim, Watchdog};
    let orders = [
        [Watchdog, Shim, Child],
        [Watchdog, Child, Shim],
        [Shim, Watchdog, Child],
        [Shim, Child, Watchdog],
        [Child, Watchdog, Shim],
        [Child, Shim, Watchdog],
    ];
    for order in orders {
        let mut place = Place::new();
        let mut dog = watchdog(&place, &place.sh(1, "echo up; exec sleep 600"), &[]);
        let child = place.alive(1);
        let shim = place.shim(child);
        for (step, who) in order.into_iter().enumerate() {
            match who {
                Watchdog => {
                    dog.kill().unwrap();
                    dog.wait().unwrap();
                }
                Shim => kill_and_wait(shim),
                Child => kill_and_wait(child.pid),
            }
            let done = &order[..=step];
            if done.contains(&Child) {
                let (exit, note) = place.ended(1);
                let shim_saw = done.iter().position(|w| *w == Child) < done.iter().position(|w| *w == Shim)
                    || !done.contains(&Shim);
                if shim_saw {
                    assert_eq!((exit, note), (Some(Exit::Signal(9)), None), "{done:?}");
                } else {
                    // Nobody waited for it: a zombie tells its exit as long as it is one.
                    assert!(matches!(exit, None | Some(Exit::Signal(9))), "{done:?}: {exit:?}");
                    assert!(note.unwrap().contains("shim was killed"), "{done:?}");
                }
            } else {
                assert_eq!(place.alive(1), child, "{done:?}");
                let refused = place.start(&place.sh(2, "exec sleep 600")).unwrap_err();
                assert!(refused.contains("is not over") || refused.contains("still lives"), "{refused}");
                place.only(child.pid);
            }
        }
        assert_eq!(place.mains(), [0; 0], "{order:?}");
        place.start(&place.sh(2, "exit 3")).unwrap();
        assert_eq!(place.ended(2).0, Some(Exit::Status(3)));
        let _ = dog.wait();
    }
}

#[test]
fn the_same_order_twice_is_one_run() {
    let mut place = Place::new();
    let launch = place.sh(1, "echo up; exec sleep 600");
    place.start(&launch).unwrap();
    place.start(&launch).unwrap();
    let child = place.alive(1);
    place.start(&launch).unwrap();
    place.only(child.pid);
    kill_and_wait(child.pid);
    place.ended(1);
    place.start(&launch).unwrap();
    assert_eq!((place.mains(), place.text("out.log").as_str()), (vec![], "up\n"), "not even when it is over");
    let older = place.start(&place.sh(0, "exit 0")).unwrap_err();
    assert!(older.contains("was ordered already"), "{older}");
}

#[test]
fn a_run_whose_records_are_lost_is_found_by_its_environment() {
    let mut place = Place::new();
    place.start(&place.sh(4, "exec sleep 600")).unwrap();
    let child = place.alive(4);
    kill_and_wait(place.shim(child));
    std::fs::remove_file(place.unit("child.json")).unwrap();
    assert_eq!(place.alive(4), child);
    assert!(place.start(&place.sh(5, "exit 0")).unwrap_err().contains("still lives"));
    std::fs::remove_dir_all(place.unit("")).unwrap();
    assert_eq!(place.look(0), RunSeen::Absent, "nothing is known of a run, so nobody asks");
    assert_eq!(place.alive(4), child);
    assert!(place.start(&place.sh(1, "exit 0")).unwrap_err().contains("still lives"));
    kill_and_wait(child.pid);
    assert_eq!(place.look(4), RunSeen::Absent);
}

/// What a run left behind carries its mark and leads a session, too: it is not the run, whatever is lost.
#[test]
fn a_daemon_that_a_run_left_behind_is_not_taken_for_it() {
    let mut place = Place::new();
    let daemon = |place: &Place, number: u64| {
        let file = place.work().join(format!("daemon.{number}"));
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.trim().parse::<i32>().ok().filter(|pid| proc::stat(*pid).is_some_and(|stat| !stat.is_dead()))
    };
    let leaves =
        |number: u64| format!("(setsid sh -c 'echo $$ > daemon.{number}; exec sleep 600' &); exec sleep 600");
    place.start(&place.sh(4, &leaves(4))).unwrap();
    let first = place.alive(4);
    until("its daemon", || daemon(&place, 4).is_some());
    let (shim, left) = (place.shim(first), daemon(&place, 4).unwrap());
    kill_and_wait(shim);
    kill_and_wait(first.pid);
    std::fs::remove_dir_all(place.unit("")).unwrap();
    std::fs::create_dir_all(place.unit("")).unwrap();
    assert_eq!(place.look(4), RunSeen::Absent, "its daemon is not it");
    // Nor does it stand in the way of the next run, nor is it the older of two.
    place.start(&place.sh(5, &leaves(5))).unwrap();
    let second = place.alive(5);
    until("its daemon", || daemon(&place, 5).is_some());
    for file in ["launch.json", "child.json"] {
        std::fs::remove_file(place.unit(file)).unwrap();
    }
    let mut odd = local::Odd::default();
    let known = RunId { number: 0, handle: String::new() };
    let seen = local::look(&place.state(), UNIT, &known, &boot(), &mut odd);
    let RunSeen::Alive { id, process, .. } = seen else { panic!("{seen:?}") };
    assert_eq!((id.number, process), (5, Some(second)), "while its shim lives");
    let told = odd.taken.unwrap_or_default();
    assert!(
        told.contains(&format!("pid {} is taken for its run 5: its environment names it", second.pid)),
        "{told}"
    );
    kill_and_wait(place.shim(second));
    assert_eq!(place.alive(5), second, "and without it");
    kill_and_wait(second.pid);
    assert_eq!(place.look(5), RunSeen::Absent);
    place.start(&place.sh(6, "exit 0")).unwrap();
    place.ended(6);
    for (number, pid) in [(4, left), (5, daemon(&place, 5).unwrap())] {
        assert_eq!(daemon(&place, number), Some(pid), "left as it was");
    }
}

/// Started by a version that wrote no such proof: nobody guesses.
#[test]
fn what_may_be_a_run_waits_for_a_person() {
    let mut place = Place::new();
    let mark = records::mark(&place.state(), UNIT, 7);
    let mut old = Command::new("setsid").args(["sleep", "600"]).env(records::RUN_ENV, &mark).spawn().unwrap();
    let pid = old.id().cast_signed();
    until("it leads a session", || {
        proc::stat(pid).is_some_and(|stat| stat.session == pid && stat.comm == "sleep")
    });
    let RunSeen::Unknown { why } = place.look(7) else { panic!("{:?}", place.look(7)) };
    assert!(why.contains(&format!("pid {pid}")) && why.contains("may be its run"), "{why}");
    let refused = place.start(&place.sh(8, "exit 0")).unwrap_err();
    assert!(refused.contains(&format!("`kill {pid}`")), "{refused}");
    old.kill().unwrap();
    old.wait().unwrap();
    place.start(&place.sh(8, "exit 0")).unwrap();
    place.ended(8);
}

#[test]
fn at_every_step_of_a_start() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        println!("strace is missing: nothing was killed at chosen steps");
        return;
    }
    let cases: &[(&str, u32, usize)] = &[
        ("rename,renameat,renameat2", 3, 1),
        ("flock", 3, 1),
        ("execve", 2, 1),
        ("clone,clone3,vfork", 2, 1),
        ("socketpair", 1, 1),
        ("setsid", 1, 1),
        ("openat", 34, 3),
        ("write", 6, 1),
        ("sendto", 1, 1),
        ("recvfrom,read", 12, 3),
        ("wait4,waitid", 1, 1),
    ];
    for (calls, last, step) in cases {
        for when in (1..=*last).step_by(*step) {
            killed_at(calls, when);
        }
    }
}

/// The watchdog, the shim and the child are each killed at their n-th such call. What then runs must be known; if nothing
/// does, the next run starts.
fn killed_at(calls: &str, when: u32) {
    let mut place = Place::new();
    let inject = format!("inject={calls}:signal=KILL:when={when}");
    let trace = format!("trace={calls}");
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let launch = place.sh(1, "exec sleep 600");
    let mut dog = watchdog(&place, &launch, &strace);
    // strace stays as long as anything that it traces: it is enough that the start is over, one way or the other.
    let settled = |place: &mut Place, dog: &mut Child| {
        let over = matches!(dog.try_wait(), Ok(Some(_))) || place.state().join("started").exists();
        over && match place.look(1) {
            RunSeen::Alive { process, .. } => {
                process.and_then(|p| proc::stat(p.pid)).is_some_and(|s| s.comm == "sleep")
            }
            RunSeen::Pending { .. } | RunSeen::Unknown { .. } => false,
            RunSeen::Absent | RunSeen::Ended { .. } => true,
        }
    };
    until("the start is over", || settled(&mut place, &mut dog));
    let what = format!("{calls} {when}");
    match place.look(1) {
        RunSeen::Alive { .. } => {
            let mains = [place.alive(1).pid];
            place.only(mains[0]);
            assert!(place.start(&place.sh(2, "exec sleep 600")).is_err(), "{what}");
            place.only(mains[0]);
            kill_and_wait(mains[0]);
            place.ended(1);
        }
        RunSeen::Ended { .. } | RunSeen::Absent => {
            assert_eq!(place.mains(), [0; 0], "{what}: nobody knows it");
        }
        seen => panic!("{what}: {seen:?}"),
    }
    place.start(&place.sh(2, "exec sleep 600")).unwrap_or_else(|why| panic!("{what}: {why}"));
    let second = place.alive(2);
    place.only(second.pid);
    // strace goes when the last of those that it traces went.
    drop(dog.stdin.take());
    kill(dog.id().cast_signed());
    let _ = dog.wait();
}

//! The same as strace does, without it: this test program as another process, whose files and host count what they are
//! asked to change, and which kills itself before the Nth of it.

use crate::cut_world::{Cut, CutFiles, CutHost};
use crate::lab::Lab;
use crate::process;
use crate::scenes::{ALERT, DOWN, HEAL, Labs, NUDGE, RESTART, Scene, WAKE, WORKERS, play_all};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use watchkeeper::engine::home::Home;
use watchkeeper::engine::tick::{Identity, Watchdog};
use watchkeeper::model::seen::Scope;
use watchkeeper::sys::files::RealFiles;
use watchkeeper::sys::lock::{self, TryLock};
use watchkeeper::sys::outside;
use watchkeeper::sys::real_host::RealHost;

/// Tells the process which it is: `N CONFIG`.
const CUT: &str = "WK_TEST_CUT";
/// Exit code of a tick that got past its cut.
const SURVIVED: i32 = 42;

/// Not a test of its own: the tick that kills itself, when this program was started for that.
#[test]
fn a_tick_that_kills_itself() {
    let Ok(order) = std::env::var(CUT) else { return };
    let (nth, config) = order.split_once(' ').unwrap();
    let home = Home::new(Some(config.as_ref()), None).unwrap();
    let config = home.load().unwrap().config;
    let mut files = RealFiles::create(&config.state_dir).unwrap();
    let _lock = match lock::try_lock(&config.state_dir, "tick").unwrap() {
        TryLock::Got(lock) => lock,
        TryLock::Held(held) => panic!("{held:?}"),
    };
    let _ = files.clean_leftovers();
    let cut = Cut { left: Rc::new(Cell::new(nth.parse().unwrap())) };
    let host = RealHost::new(&config.tmux_socket, &config.state_dir);
    let host = host.by(Path::new(env!("CARGO_BIN_EXE_watchkeeper")));
    let stamp = config.state_dir.to_string_lossy().into_owned();
    let host = CutHost { host, cut: cut.clone() };
    let mut watchdog = Watchdog::new(host, CutFiles { files, cut }, stamp, Identity::default());
    let began = std::time::Instant::now();
    // As `tick` does: what is due within 3 s follows at once.
    while began.elapsed().as_secs_f64() < 3.0 {
        let due_s = watchdog.tick(&config, Scope::All).due_s;
        if began.elapsed().as_secs_f64() + due_s > 3.0 {
            break;
        }
        outside::nap(due_s);
    }
    std::process::exit(SURVIVED);
}

/// Runs a tick that kills itself before its Nth change; false when there were fewer.
fn cut_at(lab: &Lab, nth: usize) -> bool {
    let mut command = lab.command(std::env::current_exe().unwrap());
    command.args(["--exact", "cut::a_tick_that_kills_itself", "--nocapture"]);
    command.env(CUT, format!("{nth} {}", lab.config().display()));
    let ended = lab.finish(command);
    assert!(matches!(ended.code, None | Some(SURVIVED)), "{ended:?}");
    ended.code.is_none()
}

/// Plays the scene once for each change that its tick makes. With strace there, which tries all of it, only some.
#[track_caller]
fn cut_everywhere(scene: Scene) {
    let step = if crate::strace::is_there() && !crate::strace::all_are_wanted() { 9 } else { 1 };
    let next = Mutex::new(1);
    let work = |lab: &Lab| {
        let mut cuts = 0;
        loop {
            let nth = {
                let mut next = next.lock().unwrap();
                let nth = *next;
                *next += step;
                nth
            };
            let mut was_cut = false;
            scene.play(lab, &format!("its change {nth}"), |lab| was_cut = cut_at(lab, nth));
            if !was_cut {
                return cuts;
            }
            cuts += 1;
        }
    };
    assert_eq!(scene.lab, Labs::Shared);
    let first = scene.lab(WORKERS);
    let cuts: usize = std::thread::scope(|scope| {
        let others: Vec<_> = (1..WORKERS).map(|_| scope.spawn(|| work(&scene.lab(0)))).collect();
        let own = work(&first);
        own + others.into_iter().map(|other| other.join().unwrap()).sum::<usize>()
    });
    assert!(cuts * step >= 9, "only {cuts} ticks were cut");
}

/// The same for a scene that needs a lab of its own for each play.
#[track_caller]
fn cut_in_fresh_labs(scene: Scene, at_least: usize) {
    let is_whole = !crate::strace::is_there() || crate::strace::all_are_wanted();
    let step = if is_whole { 1 } else { 7 };
    let turns: Vec<usize> = (1..200).step_by(step).collect();
    let cuts = AtomicUsize::new(0);
    play_all(&scene, scene.lab(WORKERS), turns, |lab, nth| {
        let mut was_cut = false;
        scene.play(lab, &format!("its change {nth}"), |lab| was_cut = cut_at(lab, *nth));
        cuts.fetch_add(usize::from(was_cut), Ordering::Relaxed);
        if was_cut { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let cuts = cuts.into_inner();
    println!("{}: cut at {cuts} changes, every {step}", scene.name);
    assert!(cuts * step >= at_least, "only {cuts} ticks were cut");
}

#[test]
fn cut_while_a_process_is_started() {
    cut_in_fresh_labs(process::START, 3);
}

#[test]
fn cut_while_a_failure_is_written_down_and_its_process_started_again() {
    cut_in_fresh_labs(process::FAILURE, 9);
}

#[test]
fn cut_while_an_agent_is_asked_and_its_edits_are_kept() {
    cut_in_fresh_labs(process::MENDING, 9);
}

#[test]
fn cut_while_the_edits_of_an_agent_are_taken_back() {
    cut_in_fresh_labs(process::REGRESSION, 9);
}

#[test]
fn cut_while_a_process_is_stopped() {
    cut_in_fresh_labs(process::STOP, 3);
}

#[test]
fn cut_while_it_heals() {
    cut_everywhere(HEAL);
}

#[test]
fn cut_while_it_delivers_a_text() {
    cut_everywhere(NUDGE);
}

#[test]
fn cut_while_it_restarts() {
    cut_everywhere(RESTART);
}

#[test]
fn cut_while_it_stops_a_unit() {
    cut_everywhere(DOWN);
}

#[test]
fn cut_while_it_wakes() {
    cut_everywhere(WAKE);
}

#[test]
fn cut_while_it_tells_people() {
    cut_everywhere(ALERT);
}

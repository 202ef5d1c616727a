//! Breaks the built binary's tick at its Nth system call of a kind. strace kills before the call is made.

use crate::lab::Lab;
use crate::scenes::{ALERT, DOWN, FIRST, HEAL, NUDGE, PAUSE, RESTART, Scene, WAKE, WORKERS, play_all};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The calls that change something. `clone3` and its elders start tmux: between commit and act.
pub const CALLS: &str = "openat,write,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,fsync,fdatasync,\
                         clone,clone3,vfork,link,linkat,ftruncate,kill,pidfd_send_signal,pidfd_open";

/// A place to break at: the call's name, which one of that name, and the call itself for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub call: String,
    pub nth: usize,
    pub text: String,
}

/// Which points of a scene are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// All that touch the state or start a program.
    All,
    /// Where the outcome can differ: around each commit and each act. The rest is the same files in the same way.
    Key,
}

/// Whether strace is there and may trace; else says so once.
pub fn is_there() -> bool {
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let is_there = works.is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("skipped: strace is missing or may not trace; the tests in `cut` do the same without it");
    }
    is_there
}

/// `strace` with these options around a tick.
pub fn traced(lab: &Lab, options: &[String]) -> Command {
    let tick = lab.watchkeeper();
    let mut words: Vec<OsString> = vec![tick.get_program().to_owned()];
    words.extend(tick.get_args().map(ToOwned::to_owned));
    let mut command = lab.command("strace");
    command.args(["-qq", "-y", "-s", "0"]).args(options).args(words).arg("tick");
    command
}

/// The points of an unbroken tick, as strace saw them.
pub fn points(lab: &Lab, trace: &str, choice: Choice) -> Vec<Point> {
    let state = lab.state("");
    let state = state.to_string_lossy();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut found: Vec<Point> = Vec::new();
    for line in trace.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let nth = counts.entry(call.to_owned()).or_default();
        *nth += 1;
        let ours = rest.contains(state.trim_end_matches('/'));
        let text = format!("{call}({}", rest.replace(&*state, ""));
        if is_point(call, rest, ours) && (choice == Choice::All || is_key(call, &text)) {
            found.push(Point { call: call.to_owned(), nth: *nth, text: text.chars().take(100).collect() });
        }
    }
    if choice == Choice::Key { thinned(&found) } else { found }
}

/// One point for each difference that a kill there can make: a commit that is not made (every second one: it is as if the
/// tick had not been), one that is made and not acted on (with and without its leftover), an act that is not reported.
fn thinned(points: &[Point]) -> Vec<Point> {
    let is_event = |point: &Point| point.text.contains("events/");
    let is_start = |point: &Point| matches!(point.call.as_str(), "clone" | "clone3" | "vfork");
    let is_commit =
        |point: &Point| matches!(point.call.as_str(), "renameat2" | "rename" | "unlink" | "unlinkat");
    let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kept = Vec::new();
    for (n, point) in points.iter().enumerate() {
        let (before, after) = (n.checked_sub(1).and_then(|n| points.get(n)), points.get(n + 1));
        let turn = turns.entry(point.call.as_str()).or_default();
        *turn += 1;
        let is_odd = *turn % 2 == 1;
        let keep = match point.call.as_str() {
            // A look, not an act, when no commit stands before it.
            "clone" | "clone3" | "vfork" => before.is_none_or(is_commit),
            // The folder of an incident is there from then on.
            "renameat2" | "rename" => is_odd || point.text.contains(".wk-dir-"),
            "unlink" | "unlinkat" => is_odd || !after.is_some_and(is_start),
            _ => !is_event(point) || !before.is_some_and(is_event),
        };
        if keep {
            kept.push(point.clone());
        }
    }
    kept
}

fn is_point(call: &str, rest: &str, ours: bool) -> bool {
    match call {
        "clone" | "clone3" | "vfork" | "kill" | "pidfd_send_signal" | "pidfd_open" => true,
        "openat" => ours && (rest.contains("O_CREAT") || rest.contains("O_WRONLY")),
        // Taking away what is not there is no change.
        "unlink" | "unlinkat" => ours && !rest.contains("ENOENT"),
        _ => ours,
    }
}

fn is_key(call: &str, text: &str) -> bool {
    let unit_or_mail = text.contains("unit.json") || text.contains("mail.json");
    match call {
        "clone" | "clone3" | "vfork" | "kill" | "pidfd_send_signal" => true,
        "pidfd_open" => false,
        "renameat2" | "rename" => {
            let words = ["down", "PAUSED", ".wk-dir-", "launch.json", "job.json", "fix/", "report.md"];
            unit_or_mail || words.iter().any(|word| text.contains(word))
        }
        // The first event after the acts; the outbox; a marker; an incident's folder, one file for all; its line and its row.
        "openat" => {
            let words = ["events/", "outbox", "/match.json", "index.jsonl", "attempts.tsv"];
            words.iter().any(|word| text.contains(word))
        }
        "write" => {
            ["outbox", "/match.json", "index.jsonl", "attempts.tsv"].iter().any(|word| text.contains(word))
        }
        "unlink" | "unlinkat" => text.contains("units/") && !text.contains("screen"),
        _ => false,
    }
}

/// `WATCHKEEPER_FAULTS=all` tries every point: some 20 minutes.
pub fn all_are_wanted() -> bool {
    std::env::var_os("WATCHKEEPER_FAULTS").is_some_and(|value| value == "all")
}

/// Plays the scene unbroken under strace, then once for each point, killed there.
#[track_caller]
pub fn kill_everywhere(scene: Scene) {
    kill_at_each(scene, 1);
}

/// The same at every Nth of its points only, for a scene that shares most of them with another one.
#[track_caller]
pub fn kill_at_each(scene: Scene, step: usize) {
    if !is_there() {
        return;
    }
    let choice = if all_are_wanted() { Choice::All } else { Choice::Key };
    let lab = scene.lab(WORKERS);
    let trace = lab.path().join("trace");
    let options = ["-o", trace.to_str().unwrap(), "-e", &format!("trace={CALLS}")].map(str::to_owned);
    scene.play(&lab, "nothing", |lab| {
        assert_eq!(lab.finish(traced(lab, &options)).code, Some(0), "{}", lab.dump());
    });
    let step = if all_are_wanted() { 1 } else { step };
    let points: Vec<Point> =
        points(&lab, &std::fs::read_to_string(&trace).unwrap(), choice).into_iter().step_by(step).collect();
    assert!(points.len() >= 2, "{points:?}");
    println!("{}: {} points", scene.name, points.len());
    let tried = points.len();
    let killed = AtomicUsize::new(0);
    play_all(&scene, lab, points, |lab, point| {
        let what = format!("{} {} {}", point.call, point.nth, point.text);
        scene.play(lab, &what, |lab| {
            killed.fetch_add(usize::from(kill_at(lab, point)), Ordering::Relaxed);
        });
        ControlFlow::Continue(())
    });
    let killed = killed.into_inner();
    // The number of calls differs a little from tick to tick: the last points may lie past the end.
    assert!(killed * 10 >= tried * 7, "only {killed} of {tried} ticks were killed");
}

/// Runs a tick that is killed there; false when it got past that point.
fn kill_at(lab: &Lab, point: &Point) -> bool {
    let inject = format!("inject={}:signal=KILL:when={}", point.call, point.nth);
    let options =
        ["-o", "/dev/null", "-e", &format!("trace={}", point.call), "-e", &inject].map(str::to_owned);
    let ended = lab.finish(traced(lab, &options));
    assert!(matches!(ended.code, None | Some(0) | Some(137)), "{ended:?}");
    ended.code != Some(0)
}

#[test]
fn killed_at_the_first_start() {
    kill_everywhere(FIRST);
}

#[test]
fn killed_while_it_heals() {
    kill_everywhere(HEAL);
}

#[test]
fn killed_while_it_delivers_a_text() {
    kill_everywhere(NUDGE);
}

#[test]
fn killed_while_it_restarts() {
    kill_everywhere(RESTART);
}

#[test]
fn killed_while_it_stops_a_unit() {
    kill_everywhere(DOWN);
}

#[test]
fn killed_while_it_pauses_or_resumes() {
    kill_everywhere(PAUSE);
}

#[test]
fn killed_while_it_wakes() {
    kill_everywhere(WAKE);
}

#[test]
fn killed_while_it_tells_people() {
    kill_everywhere(ALERT);
}

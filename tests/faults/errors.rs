//! Calls that fail instead of a kill: no space, a broken disk, no permission. Without a record nothing is done, people
//! are told, and the next tick goes on.

use crate::lab::{Ended, Lab};
use crate::scenes::{ALERT, FIRST, HEAL, NUDGE, RESTART, Scene, WORKERS, play_all};
use crate::strace::{self, Choice, Point};
use std::ops::ControlFlow;

const ERRORS: [&str; 3] = ["ENOSPC", "EIO", "EACCES"];

/// Runs a tick in which a call fails.
fn failing(lab: &Lab, call: &str, error: &str, when: &str, path: Option<&str>) -> Ended {
    let mut options = [
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
        &format!("inject={call}:error={error}:when={when}"),
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(path) = path {
        options.extend(["-P".to_owned(), lab.state(path).to_string_lossy().into_owned()]);
    }
    let ended = lab.finish(strace::traced(lab, &options));
    assert!(matches!(ended.code, Some(0 | 75)), "{call} {error} {when}: {ended:?}\n{}", lab.dump());
    // Where no write works, the words don't reach anybody either: the exit code says it.
    assert!(ended.code == Some(0) || call == "write" || ended.err.starts_with("watchkeeper: "), "{ended:?}");
    ended
}

/// What the operator is told of it by this tick.
fn told(lab: &Lab, ended: &Ended) -> String {
    let error = lab.json("heartbeat.json")["last_error"].as_str().unwrap_or("").to_owned();
    if ended.code == Some(75) { ended.err.clone() } else { error }
}

/// Is this a call without which the record of a unit or of the mail is not made?
fn is_record(point: &Point) -> bool {
    let of_record = point.text.contains("units/a/.wk-") || point.text.contains("mail.json");
    of_record
        && matches!(point.call.as_str(), "openat" | "write" | "fsync" | "renameat2")
        && !point.text.contains("screen")
}

/// Plays the scene once for each such call, which fails.
#[track_caller]
fn fail_everywhere(scene: Scene) {
    if !strace::is_there() {
        return;
    }
    let lab = scene.lab(WORKERS);
    let trace = lab.path().join("trace");
    let options =
        ["-o", trace.to_str().unwrap(), "-e", &format!("trace={}", strace::CALLS)].map(str::to_owned);
    scene.play(&lab, "nothing", |lab| assert_eq!(lab.finish(strace::traced(lab, &options)).code, Some(0)));
    let mut points = strace::points(&lab, &std::fs::read_to_string(&trace).unwrap(), Choice::All);
    points.retain(|point| {
        is_record(point)
            || point.text.contains("events/")
            || point.text.contains("outbox")
            || point.call == "mkdir"
    });
    if !strace::all_are_wanted() {
        // One call of each file's making, another one each time.
        let mut n = 0;
        points.retain(|_| {
            n += 1;
            n % 5 == n / 5 % 5
        });
    }
    let turns: Vec<(Point, &str)> = points.into_iter().zip(ERRORS.into_iter().cycle()).collect();
    assert!(turns.len() >= 3, "{turns:?}");
    println!("{}: {} calls fail", scene.name, turns.len());
    play_all(&scene, lab, turns, |lab, (point, error)| {
        let what = format!("{} {} {} ({error})", point.call, point.nth, point.text);
        scene.play(lab, &what, |lab| {
            failing(lab, &point.call, error, &point.nth.to_string(), None);
        });
        ControlFlow::Continue(())
    });
}

#[test]
fn a_call_fails_at_the_first_start() {
    fail_everywhere(FIRST);
}

#[test]
fn a_call_fails_while_it_heals() {
    fail_everywhere(HEAL);
}

#[test]
fn a_call_fails_while_it_delivers_a_text() {
    fail_everywhere(NUDGE);
}

#[test]
fn a_call_fails_while_it_tells_people() {
    fail_everywhere(ALERT);
}

/// Nothing can be recorded for a whole tick: nothing is done, and people are told; then it goes on.
#[track_caller]
fn no_record_no_act(scene: Scene) {
    if !strace::is_there() {
        return;
    }
    let lab = scene.lab(1);
    let faults: [(&str, &str, Option<&str>); 7] = [
        ("renameat2", "EIO", Some("units/a/unit.json")),
        ("renameat2", "EACCES", Some("units/a/unit.json")),
        ("renameat2", "ENOSPC", None),
        ("fsync", "EIO", None),
        ("fsync", "ENOSPC", None),
        ("write", "ENOSPC", None),
        ("write", "EIO", None),
    ];
    for (call, error, path) in faults {
        scene.play(&lab, &format!("every {call} ({error}) {path:?}"), |lab| {
            let facts = |lab: &Lab| {
                (lab.transcript("a").len(), lab.pid("a"), lab.tmux(&["list-buffers"]), lab.sessions())
            };
            let before = facts(lab);
            let ended = failing(lab, call, error, "1+", path);
            assert_eq!(facts(lab), before, "{call} {error}: done without a record\n{}", lab.dump());
            let words = told(lab, &ended).to_lowercase();
            let why = match error {
                "EIO" => "input/output error",
                "EACCES" => "permission denied",
                _ => "no space left on device",
            };
            let is_said = words.contains(why) || call == "write" && ended.code == Some(75);
            assert!(is_said, "{call} {error}: {words:?} {ended:?}\n{}", lab.dump());
        });
    }
}

#[test]
fn without_a_record_nothing_is_typed() {
    no_record_no_act(NUDGE);
}

#[test]
fn without_a_record_nothing_is_healed() {
    no_record_no_act(HEAL);
}

#[test]
fn without_a_record_nothing_is_ended() {
    no_record_no_act(RESTART);
}

//! Every state file, damaged in every way, under the built binary and a real tmux server: the tick ends in bounded time
//! with a sane exit code, nothing healthy is touched, the others are still healed, people are told which file it is, and
//! the next ticks go on as if nothing had been.
//!
//! Deliberately not here: disks that are full or read-only and calls that fail (`tests/faults`).

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "lab/mod.rs"]
mod lab;

use lab::{Agent, Ended, Lab};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// A long interval: a tick ends when nothing is under way.
const CALM: &str = "signal_interval = 20";
/// No tick needs so long, even on a busy machine.
const TICK_MAX: Duration = Duration::from_secs(20);
/// More than any state file may have (clocks.json of a thousand units has less than 1 MB).
const JUNK_BYTES: usize = 50 << 20;

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Halved,
    Emptied,
    BitsFlipped,
    Directory,
    FullDirectory,
    DanglingLink,
    LinkElsewhere,
    Fifo,
    Junk,
    NoUtf8,
    Deleted,
    WrongShape,
    Nested,
}

use Damage::{
    BitsFlipped, DanglingLink, Deleted, Directory, Emptied, Fifo, FullDirectory, Halved, Junk, LinkElsewhere,
    Nested, NoUtf8, WrongShape,
};

const ALL: [Damage; 13] = [
    Halved,
    Emptied,
    BitsFlipped,
    Directory,
    FullDirectory,
    DanglingLink,
    LinkElsewhere,
    Fifo,
    Junk,
    NoUtf8,
    Deleted,
    WrongShape,
    Nested,
];

/// Those that can make a difference to a file of which nothing is kept.
const TELLING: [Damage; 6] = [Emptied, FullDirectory, LinkElsewhere, Fifo, Junk, NoUtf8];

/// The file is no file any more.
const IRREGULAR: [Damage; 5] = [Directory, FullDirectory, DanglingLink, LinkElsewhere, Fifo];

/// Damages a file that exists.
fn damage(lab: &Lab, path: &Path, damage: Damage) {
    let bytes = std::fs::read(path).unwrap();
    let precious = lab.path().join("elsewhere");
    let instead = |bytes: &[u8]| std::fs::write(path, bytes).unwrap();
    match damage {
        Halved => instead(&bytes[..bytes.len() / 2]),
        Emptied => instead(b""),
        BitsFlipped => {
            let flip = |(n, byte): (usize, &u8)| if n % 7 == 3 { byte ^ 0x84 } else { *byte };
            instead(&bytes.iter().enumerate().map(flip).collect::<Vec<u8>>());
        }
        Junk => instead(&b"junk \0\x1b[2J{[\"".repeat(JUNK_BYTES / 12)),
        NoUtf8 => instead(&[b"{\"v\": 1, \"seen\": \"", &[0xff, 0xc0, 0xaf, 0xed, 0xa0][..], b"\"}\n"].concat()),
        WrongShape => instead(
            b"{\"v\":1,\"seen\":[1,2],\"units\":7,\"handled\":{\"id\":3},\"tick\":\"many\",\"id\":[],\"ask\":0}\n",
        ),
        Nested => instead(&[b"{\"seen\":".to_vec(), b"[".repeat(1 << 20)].concat()),
        Deleted | Directory | FullDirectory | DanglingLink | LinkElsewhere | Fifo => {
            std::fs::remove_file(path).unwrap();
        }
    }
    match damage {
        Directory => std::fs::create_dir(path).unwrap(),
        FullDirectory => {
            std::fs::create_dir_all(path.join("deep")).unwrap();
            std::fs::write(path.join("deep/file"), "kept").unwrap();
        }
        DanglingLink => std::os::unix::fs::symlink(lab.path().join("nowhere"), path).unwrap(),
        LinkElsewhere => {
            std::fs::write(&precious, "precious\n").unwrap();
            std::os::unix::fs::symlink(&precious, path).unwrap();
        }
        Fifo => {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }
        Halved | Emptied | BitsFlipped | Junk | NoUtf8 | Deleted | WrongShape | Nested => {}
    }
}

/// Takes away whatever stands there.
fn clear(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        let _ = std::fs::remove_file(path);
    }
}

/// Two idle agents that must not be touched, and a service that dies and must be healed.
fn fleet() -> Lab {
    let lab = Lab::new(CALM, &[Agent::persistent("a", "").prompt("Begin."), Agent::persistent("b", "")]);
    add_service(&lab, "s");
    lab.tick_until("all run", || {
        lab.believed("a") == "idle"
            && lab.believed("b") == "idle"
            && lab.given("a").len() == 1
            && lab.unit("a")["delivery"]["current"].is_null()
            && lab.pid("s").is_some()
    });
    lab
}

fn add_service(lab: &Lab, name: &str) {
    let mut text = std::fs::read_to_string(lab.config()).unwrap();
    text.push_str(&format!("[[service]]\nname = \"{name}\"\ncommand = [\"sleep\", \"10000\"]\n"));
    std::fs::write(lab.config(), text).unwrap();
}

/// Forgets a unit's restarts.
fn fresh_budget(lab: &Lab, name: &str) {
    let mut unit = lab.unit(name);
    unit["restart"]["past_awake_s"] = json!([]);
    lab.replace(&format!("units/{name}/unit.json"), &unit.to_string());
}

/// The service dies, with its budget fresh.
fn kill_service(lab: &Lab, name: &str) {
    fresh_budget(lab, name);
    let pid = lab.pid(name).unwrap_or_else(|| panic!("{name} does not run\n{}", lab.dump()));
    lab::signal(pid, rustix::process::Signal::KILL);
    lab.until("tmux sees it dead", || lab.pid(name).is_none());
}

/// A tick that ends in time and with a sane exit code, without a panic.
#[track_caller]
fn sane_tick(lab: &Lab, what: &str) -> Ended {
    let ended = lab.run(&["tick"]);
    let context = || format!("{what}: {ended:?}\n{}", lab.dump());
    assert!(matches!(ended.code, Some(0 | 75)), "{}", context());
    assert!(ended.took < TICK_MAX, "{}", context());
    assert!(!ended.err.contains("panicked") && !ended.out.contains("panicked"), "{}", context());
    assert!(ended.code == Some(0) || ended.err.starts_with("watchkeeper: "), "{}", context());
    ended
}

/// How often people or the events speak of a file, or how many of its kind were put aside.
fn words(lab: &Lab, path: &str) -> usize {
    let name = if path.starts_with("events/") { "events/" } else { path };
    let flat = name.replace('/', "+");
    let speak =
        |records: Vec<Value>| records.iter().filter(|record| lab::text(record).contains(name)).count();
    let aside = lab.quarantined().iter().filter(|file| file.starts_with(&flat)).count();
    speak(lab.alerts()) + speak(lab.events()) + aside
}

/// What a file is, and so what must become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// JSON that the watchdog reads and rewrites: what it can't read is put aside and told.
    Kept,
    /// Lines that are only appended to: what is there stays, what is new comes on lines of its own.
    Appended,
    /// Text that is only written: it is made anew.
    Written,
    /// Somebody else's word: it need not even exist.
    Marker,
}

/// Damages a file of a healthy fleet in each of these ways, one after the other.
#[track_caller]
fn survives(path: &str, kind: Kind) {
    let lab = fleet();
    let path = path.replace("<day>", &lab::now()[..10]);
    for how in ALL.into_iter().filter(|how| kind != Kind::Marker || TELLING.contains(how)) {
        play(&lab, &path, kind, how);
    }
}

#[track_caller]
fn play(lab: &Lab, path: &str, kind: Kind, how: Damage) {
    let what = format!("{path}, {how:?}");
    let full = lab.state(path);
    if !full.exists() {
        lab.touch(path, "{\"v\": 1, \"made\": \"by the test\"}\n");
    }
    let healthy = (lab.pid("a"), lab.pid("b"), lab.server());
    assert!(healthy.0.is_some() && healthy.1.is_some(), "{}", lab.dump());
    let before = words(lab, path);
    kill_service(lab, "s");
    damage(lab, &full, how);

    sane_tick(lab, &what);
    let context = || format!("{what}\n{}", lab.dump());
    assert_eq!(
        (lab.pid("a"), lab.pid("b"), lab.server()),
        healthy,
        "the healthy were touched: {}",
        context()
    );
    assert!(lab.pid("s").is_some(), "the dead one was not healed: {}", context());

    let mut ended = sane_tick(lab, &what);
    if ended.code != Some(0) {
        ended = sane_tick(lab, &what);
    }
    assert_eq!(ended.code, Some(0), "it does not recover: {ended:?} {}", context());
    assert_eq!(
        (lab.pid("a"), lab.pid("b")),
        (healthy.0, healthy.1),
        "the healthy were touched: {}",
        context()
    );
    assert_eq!((lab.starts("a"), lab.starts("b"), lab.given("a").len(), lab.given("b").len()), (1, 1, 1, 0));

    let must_tell = match kind {
        Kind::Kept => how != Deleted,
        Kind::Appended | Kind::Written => IRREGULAR.contains(&how) && path != "lock",
        Kind::Marker => false,
    };
    assert!(!must_tell || words(lab, path) > before, "nobody was told: {}", context());
    let is_regular = std::fs::symlink_metadata(&full).is_ok_and(|meta| meta.is_file());
    match kind {
        Kind::Kept => {
            let value: Result<Value, _> = serde_json::from_slice(&std::fs::read(&full).unwrap_or_default());
            // What was deleted comes back with the first change.
            assert!(value.is_ok() || how == Deleted && !full.exists(), "not made anew: {}", context());
        }
        Kind::Appended => {
            let bytes = std::fs::read(&full).unwrap_or_default();
            let last = bytes.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
            // Something always happens; requests and alerts may not.
            let appended = serde_json::from_slice::<Value>(last).is_ok() || !path.starts_with("events/");
            assert!(appended, "torn: {}", context());
            assert!(is_regular || !full.exists(), "still no file: {}", context());
        }
        Kind::Written => assert!(is_regular || !full.exists(), "not made anew: {}", context()),
        Kind::Marker => {}
    }
    if how == LinkElsewhere {
        let precious = std::fs::read_to_string(lab.path().join("elsewhere")).unwrap();
        assert_eq!(precious, "precious\n", "written through a link: {}", context());
    }
    hears(lab, &what);
    if kind != Kind::Kept {
        clear(&full);
    }
    clear_quarantine(lab);
}

/// Requests are still heard.
#[track_caller]
fn hears(lab: &Lab, what: &str) {
    let ids = [
        lab.ask(&json!({"pause": {"unit": "b", "reason": "lunch"}})),
        lab.ask(&json!({"resume": {"unit": "b"}})),
    ];
    lab.tick_until("the requests are confirmed", || ids.iter().all(|id| lab.answer(id).is_some()));
    let accepted = ids.iter().all(|id| lab.answer(id).unwrap().starts_with("accepted: "));
    assert!(accepted && !lab.state("units/b/PAUSED").exists(), "{what}\n{}", lab.dump());
}

/// It holds at most 100 files.
fn clear_quarantine(lab: &Lab) {
    clear(&lab.state("quarantine"));
}

#[test]
fn the_units_file() {
    survives("units/a/unit.json", Kind::Kept);
}

#[test]
fn the_clocks() {
    survives("clocks.json", Kind::Kept);
}

#[test]
fn the_heartbeat() {
    survives("heartbeat.json", Kind::Kept);
}

#[test]
fn the_mail() {
    survives("mail.json", Kind::Kept);
}

#[test]
fn the_inbox() {
    survives("inbox.jsonl", Kind::Appended);
}

#[test]
fn the_outbox() {
    survives("outbox.jsonl", Kind::Appended);
}

#[test]
fn the_days_events() {
    survives("events/<day>.jsonl", Kind::Appended);
}

#[test]
fn the_status() {
    survives("status", Kind::Written);
}

#[test]
fn the_lock() {
    survives("lock", Kind::Written);
}

#[test]
fn the_screen_and_the_prompt() {
    survives("units/a/screen.txt", Kind::Marker);
    survives("units/a/prompt.txt", Kind::Marker);
}

#[test]
fn a_poke() {
    survives("poke", Kind::Marker);
}

#[test]
fn a_declared_wait_and_a_restart_request() {
    survives("units/a/WAITING-UNTIL", Kind::Marker);
    survives("units/a/RESTART", Kind::Marker);
}

#[test]
fn a_prompt_file_that_is_in_the_way_does_not_stop_a_start() {
    let lab = Lab::new(CALM, &[Agent::looping("a", "").prompt("Begin.")]);
    let text = std::fs::read_to_string(lab.config()).unwrap();
    let text = text.replace("submit_delay_s", "prompt_delivery = \"arg\"\nsubmit_delay_s");
    std::fs::write(lab.config(), text).unwrap();
    for (n, how) in [Directory, FullDirectory, LinkElsewhere, Fifo].into_iter().enumerate() {
        lab.touch("units/a/prompt.txt", "");
        damage(&lab, &lab.state("units/a/prompt.txt"), how);
        lab.tick_until("it starts with its prompt", || lab.times_given("a", "Begin.") == n + 1);
        lab.tick_until("idle", || lab.believed("a") == "idle");
        fresh_budget(&lab, "a");
        lab::signal(lab.pid("a").unwrap(), rustix::process::Signal::KILL);
        lab.until("tmux sees it dead", || lab.pid("a").is_none());
    }
}

// Markers: that something of the name exists is the message, whatever it is.

#[track_caller]
fn mark(lab: &Lab, path: &str, how: Damage) {
    lab.touch(path, "lunch\n");
    damage(lab, &lab.state(path), how);
}

/// Two services.
fn services() -> Lab {
    let lab = Lab::new(CALM, &[]);
    add_service(&lab, "s");
    add_service(&lab, "t");
    lab.tick_until("both run", || lab.pid("s").is_some() && lab.pid("t").is_some());
    lab
}

#[track_caller]
fn a_pause_holds(path: &str) {
    let lab = services();
    let other = lab.pid("t");
    for how in ALL.into_iter().filter(|how| *how != Deleted) {
        kill_service(&lab, "s");
        mark(&lab, path, how);
        sane_tick(&lab, &format!("{path}, {how:?}"));
        assert_eq!(lab.pid("s"), None, "{how:?}: healed in spite of {path}\n{}", lab.dump());
        if how == FullDirectory {
            let words: &[&str] = if path == "PAUSED" { &["resume"] } else { &["resume", "s"] };
            lab.ok(words);
        } else {
            clear(&lab.state(path));
        }
        lab.tick_until("it is healed when the marker is gone", || lab.pid("s").is_some());
        assert_eq!(lab.pid("t"), other, "{}", lab.dump());
    }
}

#[test]
fn a_pause_of_a_unit() {
    a_pause_holds("units/s/PAUSED");
}

#[test]
fn a_pause_of_the_fleet() {
    a_pause_holds("PAUSED");
}

#[test]
fn a_unit_that_is_kept_down() {
    let lab = services();
    let other = lab.pid("t");
    for how in [Emptied, FullDirectory, LinkElsewhere, Fifo, Junk] {
        mark(&lab, "units/s/down", how);
        lab.tick_until("it is stopped", || lab.pid("s").is_none() && lab.sessions() == ["t-t"]);
        sane_tick(&lab, &format!("{how:?}"));
        assert_eq!(lab.pid("s"), None, "{how:?}: started in spite of the marker\n{}", lab.dump());
        if how == FullDirectory {
            lab.ok(&["up", "s"]);
        } else {
            fresh_budget(&lab, "s");
            clear(&lab.state("units/s/down"));
        }
        lab.tick_until("it runs when the marker is gone", || lab.pid("s").is_some());
        assert_eq!(lab.pid("t"), other, "{}", lab.dump());
    }
}

#[test]
fn a_fleet_that_is_kept_down() {
    let lab = services();
    for how in [FullDirectory, DanglingLink, Junk] {
        mark(&lab, "down", how);
        lab.tick_until("it is stopped", || lab.sessions().is_empty());
        sane_tick(&lab, &format!("{how:?}"));
        assert!(lab.sessions().is_empty(), "{how:?}: started in spite of the marker\n{}", lab.dump());
        fresh_budget(&lab, "s");
        fresh_budget(&lab, "t");
        clear(&lab.state("down"));
        lab.tick_until("it runs when the marker is gone", || {
            lab.pid("s").is_some() && lab.pid("t").is_some()
        });
    }
}

// Folders.

#[test]
fn a_file_in_the_place_of_a_folder() {
    let lab = fleet();
    let healthy = (lab.pid("a"), lab.pid("b"));
    for folder in ["quarantine", "events", "units/a", "units"] {
        let aside = lab.path().join("aside");
        if lab.state(folder).exists() {
            std::fs::rename(lab.state(folder), &aside).unwrap();
        }
        std::fs::write(lab.state(folder), "no folder\n").unwrap();
        let ended = sane_tick(&lab, folder);
        let told = format!("{}{}", ended.err, lab.json("heartbeat.json")["last_error"]);
        // Where nothing is to be written there is nothing to be told.
        let silent = matches!(folder, "quarantine" | "events");
        assert!(silent || ended.code == Some(75) && told.contains(folder), "{ended:?}\n{}", lab.dump());
        if folder == "events" {
            kill_service(&lab, "s");
            sane_tick(&lab, folder);
            let error = lab.json("heartbeat.json")["last_error"].to_string();
            assert!(lab.pid("s").is_some() && error.contains("events/"), "{}", lab.dump());
        }
        clear(&lab.state(folder));
        if aside.exists() {
            std::fs::rename(&aside, lab.state(folder)).unwrap();
        }
        lab.tick();
        kill_service(&lab, "s");
        lab.tick_until("the dead one is healed", || lab.pid("s").is_some());
        assert_eq!(
            (lab.pid("a"), lab.pid("b")),
            healthy,
            "{folder}: the healthy were touched\n{}",
            lab.dump()
        );
        assert_eq!((lab.starts("a"), lab.starts("b"), lab.given("a").len()), (1, 1, 1), "{}", lab.dump());
    }
}

#[test]
fn a_damaged_file_that_can_not_be_put_aside_holds_only_its_unit() {
    let lab = fleet();
    let healthy = (lab.pid("a"), lab.pid("b"));
    std::fs::write(lab.state("quarantine"), "no folder\n").unwrap();
    damage(&lab, &lab.state("units/a/unit.json"), Halved);
    kill_service(&lab, "s");
    sane_tick(&lab, "no quarantine");
    assert!(lab.pid("s").is_some(), "{}", lab.dump());
    assert_eq!(lab.alerts_with("it could not be put aside"), 1, "{}", lab.dump());
    assert_eq!((lab.pid("a"), lab.pid("b")), healthy, "{}", lab.dump());
    clear(&lab.state("quarantine"));
    lab.tick_until("it is read again", || lab.believed("a") == "idle");
    assert_eq!((lab.pid("a"), lab.starts("a"), lab.given("a").len()), (healthy.0, 1, 1), "{}", lab.dump());
}

// The state directory itself.

#[test]
fn the_state_directory_is_deleted_between_two_ticks() {
    let lab = fleet();
    let healthy = (lab.pid("a"), lab.pid("b"), lab.pid("s"));
    for _ in 0..2 {
        std::fs::remove_dir_all(lab.state("")).unwrap();
        sane_tick(&lab, "the state directory");
        lab.tick_until("all are known again", || ["a", "b"].iter().all(|unit| lab.believed(unit) == "idle"));
        assert_eq!((lab.pid("a"), lab.pid("b"), lab.pid("s")), healthy, "{}", lab.dump());
        assert_eq!((lab.starts("a"), lab.starts("b"), lab.given("a").len()), (1, 1, 1), "{}", lab.dump());
    }
    hears(&lab, "the state directory");
}

#[test]
fn the_state_directory_is_deleted_under_a_running_watchdog() {
    let lab = Lab::new("signal_interval = 0.3", &[Agent::persistent("a", ""), Agent::persistent("b", "")]);
    let mut watch = lab.watch();
    lab.until("both idle", || lab.believed("a") == "idle" && lab.believed("b") == "idle");
    let healthy = (lab.pid("a"), lab.pid("b"));
    std::fs::rename(lab.state(""), lab.path().join("gone")).unwrap();
    lab.until("they are known again", || lab.believed("a") == "idle" && lab.believed("b") == "idle");
    lab.until("the lock is told again", || lab.state("lock").exists());
    let second = lab.run(&["tick"]);
    assert_eq!(second.code, Some(75), "two act on one state directory: {second:?}\n{}", lab.dump());
    assert!(second.err.contains(&format!("pid {}", watch.pid())), "{second:?}");
    lab.ok(&["nudge", "a", "still", "there?"]);
    assert_eq!((lab.pid("a"), lab.pid("b")), healthy, "{}", lab.dump());
    assert_eq!((lab.given("a").len(), lab.given("b").len()), (1, 0), "{}", lab.dump());
    assert!(watch.lives());
    assert_eq!(watch.leave(), Some(0));
    lab.tick();
}

#[test]
fn a_directory_as_poke_wakes_once() {
    let lab = Lab::new(CALM, &[Agent::persistent("a", "")]);
    let _watch = lab.watch();
    lab.until("idle", || lab.believed("a") == "idle");
    std::fs::create_dir_all(lab.state("poke/deep")).unwrap();
    lab.until("it is taken", || !lab.state("poke").exists());
    let ticks = |lab: &Lab| lab.json("heartbeat.json")["tick"].as_u64();
    let before = ticks(&lab).unwrap();
    lab.throughout(Duration::from_secs(2), "it sleeps", || ticks(&lab).is_none_or(|now| now <= before + 4));
}

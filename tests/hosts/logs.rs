//! A log is kept short and no line is lost: while somebody writes, and when whoever shortens it is killed at any step.

use crate::place::{Place, UNIT, until};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use watchkeeper::base::names::UnitName;
use watchkeeper::base::time::Awake;
use watchkeeper::engine::follow::{Follower, Question};
use watchkeeper::model::process::LogCursor;
use watchkeeper::sys::follow::{Log, Start};
use watchkeeper::sys::hosts::rotate::{Way, trim};
use watchkeeper::sys::hosts::{front, records};
use watchkeeper::sys::proc;

/// Names the folder of [`a_trimmer`] …
const FOLDER: &str = "HOSTS_TEST_TRIM";
/// … and, when it is set, the way that it goes.
const FREE: &str = "HOSTS_TEST_FREE";
const MAX: u64 = 64 << 10;

/// Lines that tell their place.
fn lines(count: u64) -> Vec<u8> {
    (0..count).flat_map(|n| format!("line {n}\n").into_bytes()).collect()
}

/// A cursor at a place of the log as it is now.
fn at(dir: &Path, offset: u64) -> LogCursor {
    let meta = std::fs::metadata(dir.join("out.log")).unwrap();
    LogCursor { file: Some((meta.dev(), meta.ino())), offset, ..LogCursor::default() }
}

fn shorten(dir: &Path, done: u64, max: u64) -> Option<String> {
    trim(dir, &at(dir, done), max, Way::Shorten)
}

/// The file system under the temporary folder can shorten files from the front; where it can't, that is what is said.
fn can_trim(place: &Place) -> bool {
    let dir = place.work();
    std::fs::write(dir.join("out.log"), lines(20_000)).unwrap();
    let said = shorten(dir, u64::MAX, MAX);
    std::fs::remove_file(dir.join("out.log")).unwrap();
    if let Some(why) = &said {
        assert!(why.contains("can't shorten a log"), "{why}");
        println!("not tested here: {why}");
    }
    said.is_none()
}

/// All that is there. Bytes that were freed where they stand read as zeros, and are none.
fn whole(dir: &Path) -> Vec<u8> {
    let read = |name| std::fs::read(dir.join(name)).unwrap_or_default();
    ["out.log.3", "out.log.2", "out.log.1", "out.log"]
        .into_iter()
        .flat_map(|name| read(name).into_iter().skip_while(|byte| *byte == 0))
        .collect()
}

#[test]
fn no_line_is_lost_while_it_is_appended() {
    // (A writer that ends while it is looked at may be taken for one with a place of its own: then bytes are freed.)
    no_line_is_lost("", Way::Shorten, |front| front.base + front.hole > 0);
}

#[test]
fn no_line_is_lost_while_bytes_are_freed() {
    no_line_is_lost("", Way::Free, |front| front.base == 0 && front.hole > 0);
}

/// A writer with a place of its own must not find the file shorter than it was.
#[test]
fn no_line_is_lost_while_somebody_writes_without_appending() {
    let own = "exec 1<>$WATCHKEEPER_UNIT_DIR/out.log; ";
    no_line_is_lost(own, Way::Shorten, |front| front.base == 0 && front.hole > 0);
}

#[track_caller]
fn no_line_is_lost(first: &str, way: Way, went: fn(front::Front) -> bool) {
    let mut place = Place::new();
    if !can_trim(&place) {
        return;
    }
    let script = "i=0; while [ ! -e enough ]; do echo line $i; i=$((i+1)); done; exec sleep 600";
    place.start(&place.sh(1, &format!("{first}{script}"))).unwrap();
    place.alive(1);
    let dir = place.unit("");
    let log = place.unit("out.log");
    let front = || front::of(&dir, &std::fs::File::open(&log).unwrap());
    until("it writes", || std::fs::metadata(&log).is_ok_and(|meta| meta.len() > MAX));
    let mut cuts = 0;
    // Three cuts, for three old parts are kept.
    until("three cuts were made", || {
        let before = front();
        // All but the last kilobyte was read.
        let read = at(&dir, front::end(&dir).saturating_sub(1000));
        assert_eq!(trim(&dir, &read, MAX, way), None);
        cuts += u32::from(front() != before);
        cuts == 3
    });
    std::fs::write(place.work().join("enough"), "").unwrap();
    let main = place.alive(1).pid;
    until("all is written", || proc::stat(main).is_some_and(|stat| stat.comm == "sleep"));
    let found = whole(&dir);
    let want = lines(found.iter().filter(|byte| **byte == b'\n').count() as u64);
    assert!(found == want, "bytes are lost, doubled or out of order");
    let front = front();
    assert!(went(front), "{front:?}");
    let (base, hole) = (usize::try_from(front.base).unwrap(), usize::try_from(front.hole).unwrap());
    assert!(std::fs::read(&log).unwrap()[hole..] == want[base + hole..]);
    let holds = std::fs::metadata(&log).unwrap().blocks() * 512;
    assert!(holds < MAX * 4, "{holds} bytes are on the disk");
}

/// One tick after the other reads, writes down where it stands, and takes what lies before that.
#[test]
fn what_is_taken_was_read_and_nothing_is_read_twice() {
    let mut place = Place::new();
    if !can_trim(&place) {
        return;
    }
    let script = "i=0; while [ $i -lt 60000 ]; do echo line $i; [ $((i % 3000)) != 7 ] || echo OOM $i; i=$((i+1)); done";
    place.start(&place.sh(1, script)).unwrap();
    let (dir, path) = (place.unit(""), place.unit("out.log"));
    let unit = UnitName::new(UNIT).unwrap();
    let log = Log { path: path.clone(), own: Some(dir.clone()) };
    let text = "detectors = [{ kind = \"pattern\", name = \"oom\", regex = \"OOM\" }]";
    let detectors = watchkeeper::config::parse_detectors("d", text).unwrap();
    let mut follower = Follower::default();
    let (mut committed, mut durable) = (LogCursor::default(), LogCursor::default());
    let (mut found, mut cuts, mut longest, mut ticks) = (Vec::new(), 0, 0, 0);
    loop {
        let over = matches!(place.look(1), watchkeeper::model::process::RunSeen::Ended { .. });
        ticks += 1;
        if ticks % 5 == 0 {
            follower = Follower::default();
        }
        follower.begin(&|_| true);
        let before = committed.clone();
        let question = Question {
            unit: &unit,
            log: &log,
            detectors: &detectors,
            rules: &[],
            committed: &before,
            start: Start::Beginning,
            over,
            unexplained: false,
        };
        let seen = follower.look(&question, Awake(ticks * 1000));
        assert_eq!(seen.trouble, None);
        committed = seen.cursor;
        if !seen.findings.is_empty() || durable.file.is_none() {
            durable.clone_from(&committed);
        }
        found.extend(seen.findings.into_iter().map(|one| (one.line, one.message, one.again)));
        let base = front::base(&dir);
        if path.exists() {
            assert_eq!(trim(&dir, &committed, MAX, Way::Shorten), None);
            longest = longest.max(std::fs::metadata(&path).unwrap().len());
        }
        if front::base(&dir) > base {
            cuts += 1;
            // A power failure: what was taken is gone, and the cursor is the one that is written with a finding.
            committed.clone_from(&durable);
        }
        if over {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let want: Vec<(u64, String)> =
        (0..20u64).map(|n| n * 3000 + 7).map(|i| (i + 2 + i / 3000, format!("OOM {i}"))).collect();
    // Of many at one look the latest stands for some.
    let told = found.iter().map(|(line, text, _)| (*line, text.clone()));
    let told: std::collections::BTreeSet<(u64, String)> = told.collect();
    assert!(told.len() == found.len() && told.iter().all(|one| want.contains(one)), "{found:?}");
    assert_eq!(found.iter().map(|(_, _, again)| again + 1).sum::<u64>(), 20, "{found:?}");
    assert!(cuts > 0, "nothing was taken");
    assert!(longest < 10 * MAX, "{longest}");
}

#[test]
fn a_full_disk_is_made_room_on_by_the_oldest_part() {
    let place = Place::new();
    let small = place.work().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&small)
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        println!("not tested: no file system can be mounted here");
        return;
    }
    let text = lines(45_000);
    std::fs::write(small.join("out.log"), &text).unwrap();
    std::fs::write(small.join("out.log.3"), vec![b'x'; 400_000]).unwrap();
    let said = shorten(&small, u64::MAX, MAX);
    let left = std::fs::metadata(small.join("out.log")).unwrap().blocks() * 512;
    let oldest = small.join("out.log.3").exists();
    let kept = whole(&small);
    let unmounted = Command::new("umount").arg(&small).status().unwrap();
    assert!(unmounted.success());
    // 500 kB of log and 400 kB of the oldest part: there is no room for both and a copy.
    assert_eq!((said, oldest), (None, false));
    assert!(left < 4 * MAX && kept == text, "{left}");
}

#[test]
fn only_what_was_read_goes_and_half_stays() {
    let place = Place::new();
    let dir = place.work();
    if !can_trim(&place) {
        return;
    }
    let text = lines(20_000);
    let begin = || std::fs::write(dir.join("out.log"), &text).unwrap();
    let check = |done: u64, max: u64, want: std::ops::RangeInclusive<u64>| {
        let _ = std::fs::remove_file(dir.join("out.log"));
        begin();
        assert_eq!(front::base(dir), 0, "another file begins anew");
        assert_eq!(shorten(dir, done, max), None);
        let base = front::base(dir);
        assert!(want.contains(&base), "{done} {max}: {base}");
    };
    let length = text.len() as u64;
    check(length, length, 0..=0);
    check(0, 1000, 0..=0);
    check(4095, 1000, 0..=0);
    check(50_000, 1000, 40_960..=50_000);
    check(u64::MAX, 100_000, length - 60_000..=length - 50_000);
    check(u64::MAX, 0, length - 9000..=length);
}

#[test]
fn a_log_with_a_second_name_is_left_whole() {
    let place = Place::new();
    let dir = place.work();
    let text = lines(20_000);
    std::fs::write(dir.join("out.log"), &text).unwrap();
    std::fs::hard_link(dir.join("out.log"), dir.join("mine.log")).unwrap();
    for way in [Way::Shorten, Way::Free] {
        let said = trim(dir, &at(dir, u64::MAX), MAX, way).unwrap();
        assert!(said.contains("it has 2 names (hard links)"), "{said}");
        assert!(std::fs::read(dir.join("mine.log")).unwrap() == text);
    }
    std::fs::remove_file(dir.join("mine.log")).unwrap();
    assert!(shorten(dir, u64::MAX, MAX).is_none_or(|said| said.contains("can't shorten a log")));
}

#[test]
fn a_log_put_aside_before_a_start_keeps_its_place() {
    let mut place = Place::new();
    if !can_trim(&place) {
        return;
    }
    let dir = place.unit("");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("out.log"), lines(20_000)).unwrap();
    assert_eq!(shorten(&dir, u64::MAX, MAX), None);
    assert!(front::base(&dir) > 0);
    let mut launch = place.sh(1, "echo new");
    launch.log_max = 1000;
    place.start(&launch).unwrap();
    place.ended(1);
    assert_eq!((front::base(&dir), place.text("out.log").as_str()), (0, "new\n"));
    let mut want = lines(20_000);
    want.extend(b"new\n");
    assert!(whole(&dir) == want, "{UNIT}");
}

/// Not a test of its own: the process that shortens the log and is killed.
#[test]
fn a_trimmer() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let dir = Path::new(&folder);
    let way = if std::env::var_os(FREE).is_some() { Way::Free } else { Way::Shorten };
    trim(dir, &at(dir, u64::MAX), MAX, way);
}

#[test]
fn killed_at_any_step_nothing_is_lost_or_doubled() {
    let place = Place::new();
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() || !can_trim(&place) {
        println!("not tested: strace is missing, or the file system can't");
        return;
    }
    let mut finished = 0;
    let cases: [(&str, u32); 5] = [
        ("fallocate", 3),
        ("pwrite64", 2),
        ("rename,renameat,renameat2", 8),
        ("fsync", 8),
        ("unlink,unlinkat", 4),
    ];
    for (calls, last) in cases {
        for when in 1..=last {
            finished += u32::from(killed_at(calls, when, Way::Shorten));
        }
    }
    // The last of each is past the end: nobody was killed.
    assert!((3..=15).contains(&finished), "{finished} of 25 were not killed");
    for (calls, last) in [("fallocate", 2), ("rename,renameat,renameat2", 3), ("fsync", 5)] {
        for when in 1..=last {
            assert!(!killed_at(calls, when, Way::Free), "{calls} {when}");
        }
    }
}

/// Whether it came through.
fn killed_at(calls: &str, when: u32, way: Way) -> bool {
    let place = Place::new();
    let dir = place.work();
    // One line again and again: its contents do not tell where a cut was made.
    let text = b"0123456789abcde\n".repeat(20_000);
    std::fs::write(dir.join("out.log"), &text).unwrap();
    let own = std::env::current_exe().unwrap();
    let ran = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e"])
        .arg(format!("inject={calls}:signal=KILL:when={when}"))
        .arg(own)
        .args(["--exact", "logs::a_trimmer", "--test-threads=1"])
        .env(FOLDER, dir)
        .envs((way == Way::Free).then_some((FREE, "1")))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let what = format!("{calls} {when}");
    let base = usize::try_from(front::base(dir)).unwrap();
    let there = std::fs::read(dir.join("out.log")).unwrap();
    assert_eq!(base + there.len(), text.len(), "{what}: a place in the log is off");
    // What comes, comes; then the next one goes on.
    let mut file = std::fs::OpenOptions::new().append(true).open(dir.join("out.log")).unwrap();
    std::io::Write::write_all(&mut file, b"0123456789abcde\n").unwrap();
    assert_eq!(trim(dir, &at(dir, 0), MAX, way), None, "{what}");
    assert_eq!(whole(dir), [text.as_slice(), b"0123456789abcde\n"].concat(), "{what}");
    assert!(records::read::<serde_json::Value>(dir, "log.json").is_none_or(|v| v["cut"].is_null()), "{what}");
    ran.success()
}

//! A log is kept short and no line is lost: while somebody writes, and when whoever shortens it is killed at any step.

use crate::place::{Place, UNIT, until};
use std::path::Path;
use std::process::{Command, Stdio};
use watchkeeper::sys::hosts::{records, rotate};
use watchkeeper::sys::proc;

/// Names the folder of [`a_trimmer`].
const FOLDER: &str = "HOSTS_TEST_TRIM";
const MAX: u64 = 64 << 10;

/// Lines that tell their place.
fn lines(count: u64) -> Vec<u8> {
    (0..count).flat_map(|n| format!("line {n}\n").into_bytes()).collect()
}

/// The file system under the temporary folder can shorten files from the front; where it can't, that is what is said.
fn can_trim(place: &Place) -> bool {
    let dir = place.work();
    std::fs::write(dir.join("out.log"), lines(20_000)).unwrap();
    let said = rotate::trim(dir, u64::MAX, MAX);
    std::fs::remove_file(dir.join("out.log")).unwrap();
    if let Some(why) = &said {
        assert!(why.contains("can't shorten a log"), "{why}");
        println!("not tested here: {why}");
    }
    said.is_none()
}

fn whole(dir: &Path) -> Vec<u8> {
    ["out.log.3", "out.log.2", "out.log.1", "out.log"]
        .iter()
        .flat_map(|name| std::fs::read(dir.join(name)).unwrap_or_default())
        .collect()
}

#[test]
fn no_line_is_lost_while_it_is_written() {
    let mut place = Place::new();
    if !can_trim(&place) {
        return;
    }
    let script = "i=0; while [ ! -e enough ]; do echo line $i; i=$((i+1)); done; exec sleep 600";
    place.start(&place.sh(1, script)).unwrap();
    place.alive(1);
    let dir = place.unit("");
    let log = place.unit("out.log");
    let length = || std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let mut cuts = 0;
    // Three cuts, for three old parts are kept.
    until("three cuts were made", || {
        let before = rotate::base(&dir);
        // All but the last kilobyte was read.
        assert_eq!(rotate::trim(&dir, (before + length()).saturating_sub(1000), MAX), None);
        cuts += u32::from(rotate::base(&dir) > before);
        cuts == 3
    });
    std::fs::write(place.work().join("enough"), "").unwrap();
    let main = place.alive(1).pid;
    until("all is written", || proc::stat(main).is_some_and(|stat| stat.comm == "sleep"));
    let found = whole(&dir);
    let want = lines(found.iter().filter(|byte| **byte == b'\n').count() as u64);
    assert!(found == want, "bytes are lost, doubled or out of order");
    let base = usize::try_from(rotate::base(&dir)).unwrap();
    assert!(base > 0 && std::fs::read(&log).unwrap() == want[base..]);
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
        assert_eq!(rotate::base(dir), 0, "another file begins anew");
        assert_eq!(rotate::trim(dir, done, max), None);
        let base = rotate::base(dir);
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
fn a_log_put_aside_before_a_start_keeps_its_place() {
    let mut place = Place::new();
    if !can_trim(&place) {
        return;
    }
    let dir = place.unit("");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("out.log"), lines(20_000)).unwrap();
    assert_eq!(rotate::trim(&dir, u64::MAX, MAX), None);
    assert!(rotate::base(&dir) > 0);
    let mut launch = place.sh(1, "echo new");
    launch.log_max = 1000;
    place.start(&launch).unwrap();
    place.ended(1);
    assert_eq!((rotate::base(&dir), place.text("out.log").as_str()), (0, "new\n"));
    let mut want = lines(20_000);
    want.extend(b"new\n");
    assert!(whole(&dir) == want, "{UNIT}");
}

/// Not a test of its own: the process that shortens the log and is killed.
#[test]
fn a_trimmer() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    rotate::trim(Path::new(&folder), u64::MAX, MAX);
}

#[test]
fn killed_at_any_step_nothing_is_lost_or_doubled() {
    let place = Place::new();
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() || !can_trim(&place) {
        println!("not tested: strace is missing, or the file system can't");
        return;
    }
    let mut finished = 0;
    let cases = [
        ("fallocate", 3),
        ("pwrite64", 2),
        ("rename,renameat,renameat2", 8),
        ("fsync", 8),
        ("unlink,unlinkat", 4),
    ];
    for (calls, last) in cases {
        for when in 1..=last {
            finished += u32::from(killed_at(calls, when));
        }
    }
    // The last of each is past the end: nobody was killed.
    assert!((3..=15).contains(&finished), "{finished} of 25 were not killed");
}

/// Whether it came through.
fn killed_at(calls: &str, when: u32) -> bool {
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
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let what = format!("{calls} {when}");
    let base = usize::try_from(rotate::base(dir)).unwrap();
    let there = std::fs::read(dir.join("out.log")).unwrap();
    assert_eq!(base + there.len(), text.len(), "{what}: a place in the log is off");
    // What comes, comes; then the next one goes on.
    let mut file = std::fs::OpenOptions::new().append(true).open(dir.join("out.log")).unwrap();
    std::io::Write::write_all(&mut file, b"0123456789abcde\n").unwrap();
    assert_eq!(rotate::trim(dir, 0, MAX), None, "{what}");
    assert_eq!(whole(dir), [text.as_slice(), b"0123456789abcde\n"].concat(), "{what}");
    assert!(records::read::<serde_json::Value>(dir, "log.json").is_none_or(|v| v["cut"].is_null()), "{what}");
    ran.success()
}

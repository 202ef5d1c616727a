//! Following a log that grows, is renamed, cut, written anew, and a watchdog that starts anew at any place of it.

use super::*;
use crate::config::parse_detectors;
use std::fs;
use std::io::Write;

struct World {
    dir: tempfile::TempDir,
    unit: UnitName,
    log: Log,
    detectors: Vec<DetectorConfig>,
    follower: Follower,
    committed: LogCursor,
    now: Awake,
    over: bool,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let log = Log { path: dir.path().join("out.log"), own: None };
        let text =
            "detectors = [{ kind = \"traceback\" }, { kind = \"pattern\", name = \"oom\", regex = \"OOM\" }]";
        World {
            dir,
            unit: UnitName::new("train").unwrap(),
            log,
            detectors: parse_detectors("d", text).unwrap(),
            follower: Follower::default(),
            committed: LogCursor::default(),
            now: Awake(0),
            over: false,
        }
    }

    fn append(&self, text: &str) {
        let mut file = fs::File::options().append(true).create(true).open(&self.log.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// A tick whose state is not written yet.
    fn look(&mut self) -> (LogSeen, Vec<String>) {
        self.follower.begin(&|_| true);
        let question = Question {
            unit: &self.unit,
            log: &self.log,
            detectors: &self.detectors,
            rules: &[],
            committed: &self.committed,
            start: Start::Beginning,
            over: self.over,
            unexplained: self.over,
        };
        let seen = self.follower.look(&question, self.now);
        let said = seen.findings.iter().map(|one| format!("{} {}: {}", one.line, one.detector, one.message));
        let said = said.collect();
        (seen, said)
    }

    /// A whole tick, some seconds later.
    fn tick(&mut self) -> Vec<String> {
        self.tick_seen().1
    }

    fn tick_seen(&mut self) -> (LogSeen, Vec<String>) {
        self.now = Awake(self.now.0 + 5000);
        let (seen, said) = self.look();
        self.committed = seen.cursor.clone();
        (seen, said)
    }

    /// The same at once.
    fn taken(&mut self) -> Vec<String> {
        let (seen, said) = self.look();
        self.committed = seen.cursor;
        said
    }

    fn restart(&mut self) {
        self.follower = Follower::default();
    }
}

const TRACE: &str = "Traceback (most recent call last):\n  File \"/a.py\", line 1, in f\n    x\n";

#[test]
fn each_finding_is_told_once_whenever_the_watchdog_starts_anew() {
    let mut world = World::new();
    assert!(world.tick().is_empty());
    world.append("a\nOOM 1\n");
    assert_eq!(world.tick(), ["2 oom: OOM 1"]);
    world.append("OOM 2\n");
    world.restart();
    assert_eq!(world.tick(), ["3 oom: OOM 2"]);
    world.restart();
    assert!(world.tick().is_empty());
}

#[test]
fn what_is_read_again_is_no_news() {
    let mut world = World::new();
    world.append("one\ntwo\n");
    let (seen, _) = world.look();
    assert!(seen.grew);
    world.committed = seen.cursor;
    for _ in 0..3 {
        // From cron each tick is a process of its own: a silent log must look silent to it.
        world.restart();
        let (seen, _) = world.look();
        assert!(!seen.grew, "{:?}", seen.cursor);
        assert_eq!(seen.cursor, world.committed);
    }
    world.append("thr");
    world.restart();
    let (seen, _) = world.look();
    assert!(seen.grew);
    world.committed = seen.cursor;
    world.restart();
    assert!(!world.look().0.grew, "an unfinished line is read again, too");
}

#[test]
fn what_was_not_written_down_is_told_again() {
    let mut world = World::new();
    world.append("OOM\n");
    assert_eq!(world.look().1, ["1 oom: OOM"]);
    assert_eq!(world.tick(), ["1 oom: OOM"]);
    assert!(world.tick().is_empty());
}

#[test]
fn a_trace_across_ticks_and_a_restart_is_one() {
    let mut world = World::new();
    world.append(&format!("OOM\n{TRACE}"));
    let (seen, said) = world.look();
    assert_eq!(said, ["1 oom: OOM"]);
    assert!(seen.again_s.is_some());
    world.committed = seen.cursor;
    world.append("ValueError: x\n");
    world.restart();
    assert!(world.tick().is_empty());
    assert!(!world.follower.wake(world.now));
    world.now = Awake(world.now.0 + 600);
    assert!(world.follower.wake(world.now), "silence ends a trace");
    assert_eq!(world.tick(), ["2 traceback: x"]);
    world.restart();
    assert!(world.tick().is_empty());
}

#[test]
fn what_stands_in_an_open_trace_comes_with_it_or_after_half_a_second() {
    let mut world = World::new();
    world.append(&format!("{TRACE}    OOM\n"));
    assert!(world.taken().is_empty());
    world.append("ValueError: OOM\n");
    assert!(!world.follower.wake(world.now), "it may have more lines");
    world.now = Awake(world.now.0 + 600);
    assert!(world.follower.wake(world.now), "silence ends it");
    assert_eq!(world.taken(), ["1 traceback: OOM", "4 oom: OOM", "5 oom: ValueError: OOM"]);
    world.append(&format!("{TRACE}    OOM\n"));
    assert!(world.taken().is_empty());
    for _ in 0..4 {
        world.now = Awake(world.now.0 + 200);
        world.append("    more of it\n");
        world.follower.wake(world.now);
    }
    assert_eq!(world.taken(), ["9 oom: OOM"], "a trace without an end hides nothing");
}

#[test]
fn a_whole_trace_is_told_however_much_others_write() {
    let mut world = World::new();
    let zero = "[rank0]: Traceback (most recent call last):\n[rank0]:   File \"/a.py\", line 1, in f\n\
                [rank0]:     x\n[rank0]: KeyError: zero\n";
    world.append(zero);
    assert!(world.taken().is_empty());
    for _ in 0..4 {
        world.now = Awake(world.now.0 + 200);
        world.append("[rank1]: step\n");
        world.follower.wake(world.now);
    }
    assert_eq!(world.taken(), ["1 traceback: zero"]);
    world.restart();
    assert!(world.taken().is_empty());
}

#[test]
fn what_the_next_trace_holds_waits_as_long_as_what_the_first_held() {
    let mut world = World::new();
    world.append(&format!("{TRACE}    OOM\n"));
    assert!(world.taken().is_empty());
    world.now = Awake(world.now.0 + 300);
    world.append(&format!("ValueError: a\n{TRACE}    OOM\n"));
    assert_eq!(world.taken(), ["1 traceback: a", "4 oom: OOM"]);
    world.now = Awake(world.now.0 + 300);
    world.append("ValueError: b\n");
    assert!(world.taken().is_empty(), "the second trace has its own half second");
    world.now = Awake(world.now.0 + 600);
    assert_eq!(world.taken(), ["6 traceback: b", "9 oom: OOM"]);
}

#[test]
fn a_chatty_log_wakes_nobody() {
    let mut world = World::new();
    world.append("start\n");
    world.tick();
    for _ in 0..100 {
        world.append("step\n");
        assert!(!world.follower.wake(world.now));
    }
    world.append("OOM\n");
    assert!(world.follower.wake(world.now));
    assert_eq!(world.tick(), ["102 oom: OOM"]);
}

#[test]
fn rotation_loses_nothing_and_a_cut_is_said() {
    let mut world = World::new();
    world.append("one\n");
    world.tick();
    world.append("OOM old\n");
    fs::rename(&world.log.path, world.dir.path().join("out.log.1")).unwrap();
    world.append("OOM new\n");
    world.restart();
    let (seen, said) = world.tick_seen();
    assert_eq!(said, ["2 oom: OOM old", "1 oom: OOM new"]);
    let place = |finding| crate::sys::log_place::find(&world.log.path, None, finding).unwrap();
    assert_eq!(place(&seen.findings[0]), (world.dir.path().join("out.log.1"), 4));
    assert_eq!(place(&seen.findings[1]), (world.log.path.clone(), 0));
    fs::File::options().write(true).open(&world.log.path).unwrap().set_len(0).unwrap();
    world.append("OOM, longer than before\n");
    world.now = Awake(world.now.0 + 5000);
    let (seen, said) = world.look();
    assert_eq!(said, ["1 oom: OOM, longer than before"]);
    assert!(seen.trouble.is_some_and(|why| why.contains("cut or replaced")));
}

#[test]
fn last_words_are_known_when_it_is_over() {
    let mut world = World::new();
    world.append("one\nOOM\ntwo\n");
    assert_eq!(world.tick_seen().0.spoke, None);
    world.append(&format!("{TRACE}ValueError: x\nmake: *** [Makefile:3: train] Error 1\n"));
    world.over = true;
    let (seen, _) = world.look();
    assert_eq!((seen.spoke, seen.findings[0].at), (Some(12), 12));
    world.append("three\n");
    assert_eq!(world.look().0.spoke, Some(fs::metadata(&world.log.path).unwrap().len()));
}

#[test]
fn a_short_log_that_was_written_anew_is_read_from_its_beginning() {
    let mut world = World::new();
    world.append(&"one\n".repeat(30));
    world.tick();
    fs::write(&world.log.path, format!("begin\nOOM\n{}", "two\n".repeat(60))).unwrap();
    world.restart();
    world.now = Awake(world.now.0 + 5000);
    let (seen, said) = world.look();
    assert_eq!(said, ["2 oom: OOM"]);
    assert!(seen.trouble.is_some_and(|why| why.contains("cut or replaced")));
}

#[test]
fn a_flood_is_counted() {
    let mut world = World::new();
    world.append(&"OOM\n".repeat(1000));
    let (seen, said) = world.look();
    let counted: u64 = seen.findings.iter().map(|one| one.again + 1).sum();
    assert_eq!((said.len() < 10, counted, seen.more), (true, 1000, 0));
    assert_eq!(said.last().map(String::as_str), Some("1000 oom: OOM"));
}

#[test]
fn a_flood_of_one_detector_hides_no_other() {
    let mut world = World::new();
    world.append("begin\n");
    world.tick();
    let flood: String = (0..5000).map(|n| format!("OOM {}\n", "x".repeat(n % 200))).collect();
    world.append(&format!("{flood}{TRACE}ValueError: x\n"));
    world.follower.wake(world.now);
    world.now = Awake(world.now.0 + 600);
    world.follower.wake(world.now);
    let (seen, said) = world.tick_seen();
    assert!(said.contains(&"5002 traceback: x".to_owned()), "{said:?}");
    assert_eq!((seen.noisy.as_slice(), seen.more > 0), (["oom".to_owned()].as_slice(), true));
}

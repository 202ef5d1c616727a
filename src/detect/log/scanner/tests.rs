//! Pieces of any size, new scans that go on where others stood, lines of any length.

use super::*;
use crate::config::parse_detectors;

fn scanner(from: Position) -> Scanner {
    let text = "detectors = [{ kind = \"traceback\" }, { kind = \"pattern\", name = \"oom\", regex = \"OOM\" }, \
                { kind = \"stall\", name = \"step\", metric_regex = \"step (\\\\d+)\", no_progress_s = 9 }]";
    Scanner::new(&parse_detectors("d", text).unwrap(), from)
}

fn said(found: &[Finding]) -> Vec<String> {
    found.iter().map(|one| format!("{}:{} {}", one.line, one.at, one.detector)).collect()
}

/// The log in every way of being cut in two, with a new scan after the cut: each finding once, and the same ones.
#[track_caller]
fn check(log: &str, want: &[&str]) {
    for cut in 0..=log.len() {
        let (first, _) = log.as_bytes().split_at(cut);
        let mut found = Vec::new();
        let mut scan = scanner(Position::default());
        scan.feed(first, &mut found);
        let position = scan.position();
        let mut next = scanner(position);
        next.feed(&log.as_bytes()[position.offset as usize..], &mut found);
        next.finish(&mut found);
        found.sort_by_key(|one| one.at);
        assert_eq!(said(&found), want, "cut at {cut}");
    }
}

const TRACE: &str =
    "Traceback (most recent call last):\n  File \"/a.py\", line 1, in f\n    x\nValueError: x\n";

#[test]
fn a_new_scan_goes_on_where_another_stood() {
    check("one\nOOM\ntwo\r\nOOM\r\n", &["2:4 oom", "4:13 oom"]);
    check(&format!("one\n{TRACE}OOM\n"), &["2:4 traceback", "6:88 oom"]);
    check("a\nError: x\n    at f (/a.js:1:2)\nOOM\n", &["2:2 traceback", "4:32 oom"]);
}

#[test]
fn silence_judges_an_unfinished_line_once() {
    let mut found = Vec::new();
    let mut scan = scanner(Position::default());
    scan.feed(b"step 7\nstep 12 OOM", &mut found);
    assert!(found.is_empty() && scan.is_open());
    scan.quiet(&mut found);
    assert_eq!(said(&found), ["2:7 oom"]);
    assert_eq!(scan.metrics().get("step"), Some(&7.0), "a number may be half written");
    assert!(!scan.is_open());
    scan.feed(b"3\nOOM\n", &mut found);
    assert_eq!(said(&found), ["2:7 oom", "3:20 oom"]);
    scan.feed(b"progress", &mut found);
    assert!(scan.is_open());
    scan.quiet(&mut found);
    assert!(!scan.is_open(), "nothing more to judge until something comes");
}

#[test]
fn a_line_of_any_length_takes_bounded_memory() {
    let mut found = Vec::new();
    let mut scan = scanner(Position::default());
    scan.feed(b"OOM ", &mut found);
    for _ in 0..160 {
        scan.feed(&[b'x'; 64 * 1024], &mut found);
        assert!(scan.buffer.bytes.capacity() < 1 << 20);
    }
    scan.feed(b" OOM\nOOM\n", &mut found);
    assert_eq!(said(&found), ["1:0 oom", "2:10485769 oom"]);
}

#[test]
fn a_pattern_finds_what_stands_anywhere_in_a_long_line_and_tells_it_once() {
    let x = |count: usize| "x".repeat(count);
    let size = 300_000;
    for at in [0, 1000, 50_000, LINE_MAX - 2, LINE_MAX, STEP - 1, 2 * STEP + OVERLAP - 1, size - 3, size] {
        let log = format!("a\n{} OOM {}OOM{}\nOOM\n", x(at), x(size - at), x(200_000));
        let mut found = Vec::new();
        let mut scan = scanner(Position::default());
        log.as_bytes().chunks(10_000).for_each(|piece| scan.feed(piece, &mut found));
        assert_eq!(found.len(), 2, "at {at}: {:?}", said(&found));
        let shown = &log[found[0].at as usize..found[0].end as usize];
        assert!(shown.contains("OOM") && found[0].message.contains("OOM"), "at {at}");
        assert_eq!((found[0].line, found[1].line), (2, 3));
        assert_eq!(log.as_bytes()[found[1].at as usize - 1], b'\n');
    }
}

#[test]
fn a_new_scan_goes_on_within_a_long_line() {
    let log = format!("a\n{}OOM{}OOM\nOOM\n", "x".repeat(150_000), "x".repeat(150_000));
    for cut in (0..log.len()).step_by(7_001).chain([150_002, 150_003, 150_004, 150_005]) {
        let mut found = Vec::new();
        let mut scan = scanner(Position::default());
        scan.feed(&log.as_bytes()[..cut], &mut found);
        if cut % 2 == 0 {
            scan.quiet(&mut found);
        }
        let position = scan.position();
        assert!(cut as u64 - position.offset <= (LINE_MAX + OVERLAP) as u64 + 16 * 1024, "{position:?}");
        let mut next = scanner(position);
        next.feed(&log.as_bytes()[position.offset as usize..], &mut found);
        next.finish(&mut found);
        let lines: Vec<u64> = found.iter().map(|one| one.line).collect();
        assert_eq!(lines, [2, 3], "cut at {cut}");
    }
}

#[test]
fn what_a_pattern_finds_in_a_trace_waits_for_its_end() {
    let mut found = Vec::new();
    let mut scan = scanner(Position::default());
    scan.feed(
        b"OOM\nTraceback (most recent call last):\n  File \"/a.py\", line 1, in f\n    OOM\n",
        &mut found,
    );
    assert_eq!(said(&found), ["1:0 oom"]);
    assert!(scan.holding().is_some() && scan.position().judged <= 68, "a new scan would find it again");
    scan.feed(b"ValueError: OOM\n", &mut found);
    scan.quiet(&mut found);
    assert_eq!(said(&found), ["1:0 oom", "2:4 traceback", "4:68 oom", "5:76 oom"]);
    assert!(scan.holding().is_none());
    scan.feed(b"Traceback (most recent call last):\n  File \"/a.py\", line 1, in f\n    OOM\n", &mut found);
    found.clear();
    scan.let_go(&mut found);
    assert_eq!(said(&found), ["8:156 oom"], "it does not wait for ever");
}

#[test]
fn a_progress_bar_is_many_lines() {
    let mut found = Vec::new();
    let mut scan = scanner(Position::default());
    scan.feed(b"\rstep 1/9\rstep 2/9 OOM\rstep 3/9\rste", &mut found);
    assert_eq!(said(&found), ["1:10 oom"]);
    assert_eq!(scan.metrics().get("step"), Some(&3.0));
}

/// Two sources: the trace of the first is whole, and open as long as nobody knows that; that of the second was told.
const RANKS: &str = "[rank0]: Traceback (most recent call last):\n[rank0]:   File \"/a.py\", line 1, in f\n\
    [rank0]:     x\n[rank0]: KeyError: zero\n[rank1]: Traceback (most recent call last):\n\
    [rank1]:   File \"/a.py\", line 1, in g\n[rank1]:     x\n[rank1]: ValueError: one\n[rank1]: step 1\n";

#[test]
fn a_trace_told_while_an_older_one_is_open_is_not_told_by_any_later_scan() {
    let mut found = Vec::new();
    let mut scan = scanner(Position::default());
    let mut log = format!("{RANKS}{}", "[rank1]: step 1\n".repeat(60));
    scan.feed(log.as_bytes(), &mut found);
    assert_eq!(said(&found), ["5:121 traceback"]);
    let mut position = scan.position();
    for step in 2..6 {
        log.push_str(&format!("[rank1]: step {step}\n"));
        let mut next = scanner(position);
        next.feed(&log.as_bytes()[position.offset as usize..], &mut found);
        assert_eq!(said(&found), ["5:121 traceback"], "scan {step}");
        position = next.position();
    }
    let mut last = scanner(position);
    last.feed(&log.as_bytes()[position.offset as usize..], &mut found);
    last.finish(&mut found);
    assert_eq!(said(&found), ["5:121 traceback", "1:0 traceback"]);
    assert_eq!(last.position().told, Told::default());
}

#[test]
fn what_ends_an_unfinished_line_after_silence_is_judged_whatever_the_silence_told() {
    for (before, line) in [("", "5:84 oom"), ("ok \n", "6:88 oom")] {
        let mut found = Vec::new();
        let mut scan = scanner(Position::default());
        let log = format!("{TRACE}{before}Saving... ");
        scan.feed(log.as_bytes(), &mut found);
        scan.quiet(&mut found);
        assert_eq!(said(&found).len(), 1, "{:?}", said(&found));
        let position = scan.position();
        scan.feed(b"OOM\n", &mut found);
        assert_eq!(said(&found), ["1:0 traceback", line]);
        let mut anew = Vec::new();
        let mut next = scanner(position);
        next.feed(&format!("{log}OOM\n").as_bytes()[position.offset as usize..], &mut anew);
        next.finish(&mut anew);
        assert_eq!(said(&anew), [line], "a new scan");
    }
}

#[test]
fn a_line_of_one_and_a_half_windows_is_looked_at_up_to_its_end() {
    for hit in [1_000, 65_530, 70_000, 77_428, 100_000, 116_150] {
        let log = format!("start\n{} OOM {}\nend\nOOM\n", "y".repeat(hit), "z".repeat(40_000));
        for size in [log.len(), 65_536, 50_000, 997] {
            let mut found = Vec::new();
            let mut scan = scanner(Position::default());
            log.as_bytes().chunks(size).for_each(|piece| scan.feed(piece, &mut found));
            let lines: Vec<u64> = found.iter().map(|one| one.line).collect();
            assert_eq!(lines, [2, 4], "hit at {hit}, pieces of {size}");
        }
    }
}

#[test]
fn what_is_found_behind_something_that_waits_is_told_once() {
    let text = "detectors = [{ kind = \"traceback\" }, { kind = \"pattern\", name = \"oom\", regex = \"OOM\" }, \
                { kind = \"metric\", name = \"loss\", regex = \"loss (\\\\d+)\", above = 500 }]";
    let detectors = parse_detectors("d", text).unwrap();
    let trace = TRACE.strip_suffix("ValueError: x\n").unwrap();
    let log = format!("{trace}    OOM\n    loss 900\n{} OOM {}\n", " ".repeat(70_000), " ".repeat(70_000));
    for cut in [0, 60, 80, 90, 95, 66_000, 72_000, log.len() - 1, log.len()] {
        let mut found = Vec::new();
        let mut scan = Scanner::new(&detectors, Position::default());
        scan.feed(&log.as_bytes()[..cut], &mut found);
        let position = scan.position();
        let mut next = Scanner::new(&detectors, position);
        next.feed(&log.as_bytes()[position.offset as usize..], &mut found);
        next.finish(&mut found);
        let mut names: Vec<_> = found.iter().map(|one| one.detector.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["loss", "oom", "oom", "traceback"], "cut at {cut}");
    }
}

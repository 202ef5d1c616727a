//! Logs that nobody writes: samples mixed, cut, coloured and damaged at random. Nothing panics, everything found is bounded,
//! and what is found does not depend on the pieces that the bytes come in.

use super::{Position, Scanner};
use crate::config::{DetectorConfig, DetectorKind};
use crate::model::finding::Finding;
use std::path::Path;

/// A generator of the kind in Knuth's table; the seed is told when a log fails.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides.max(1)
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

fn detectors() -> Vec<DetectorConfig> {
    let pattern = DetectorKind::Pattern { regex: regex::bytes::Regex::new("(?i)error[: ]+(\\S+)").unwrap() };
    let metric = DetectorKind::Metric {
        regex: regex::bytes::Regex::new(r"line (\d+)").unwrap(),
        above: Some(500.0),
        below: None,
        jump: Some(3.0),
    };
    let kinds = [("traceback", DetectorKind::Traceback), ("pattern", pattern), ("metric", metric)];
    kinds.map(|(name, kind)| DetectorConfig { name: name.into(), kind, cooldown_s: 0.0 }).into()
}

fn scan(detectors: &[DetectorConfig], log: &[u8], mut size: impl FnMut() -> usize) -> Vec<Finding> {
    let mut scanner = Scanner::new(detectors, Position::default());
    let mut out = Vec::new();
    let mut rest = log;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(size().clamp(1, rest.len()));
        scanner.feed(piece, &mut out);
        rest = more;
    }
    scanner.finish(&mut out);
    // A finding of one line is told before or after the trace that it ends, as the pieces fall.
    out.sort_by(|a, b| (a.at, &a.detector).cmp(&(b.at, &b.detector)));
    out
}

fn samples() -> Vec<Vec<u8>> {
    let mut logs: Vec<_> = ["traces", "traces-more"]
        .iter()
        .flat_map(|folder| {
            std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder)).unwrap()
        })
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    logs.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Up to four samples, their lines shuffled into each other, each behind a prefix or none, and damaged.
fn brew(dice: &mut Dice, samples: &[Vec<u8>]) -> Vec<u8> {
    const PREFIXES: [&str; 7] = ["", "", "", "web-1  | ", "[rank0]: ", "[rank1]: ", "12:00:07 ERROR app: "];
    let count = 1 + dice.roll(4);
    let mut sources: Vec<(std::vec::IntoIter<Vec<u8>>, &str)> = (0..count)
        .map(|_| {
            let sample = &samples[dice.roll(samples.len())];
            let lines = sample.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).take(60);
            (lines.collect::<Vec<_>>().into_iter(), PREFIXES[dice.roll(PREFIXES.len())])
        })
        .collect();
    let mut log = Vec::new();
    while !sources.is_empty() {
        let at = dice.roll(sources.len());
        let (lines, prefix) = &mut sources[at];
        let Some(mut line) = lines.next() else {
            drop(sources.swap_remove(at));
            continue;
        };
        damage(dice, &mut line);
        log.extend_from_slice(prefix.as_bytes());
        log.append(&mut line);
        log.extend_from_slice(
            [&b"\n"[..], b"\r\n", b"\r", b"\n\n", b""][[0, 0, 0, 0, 0, 0, 1, 2, 3, 4][dice.roll(10)]],
        );
    }
    log
}

fn damage(dice: &mut Dice, line: &mut Vec<u8>) {
    if !dice.one_in(6) {
        return;
    }
    let at = dice.roll(line.len() + 1);
    match dice.roll(5) {
        0 => line.truncate(at),
        1 => drop(line.drain(..at)),
        2 => drop(line.splice(at..at, *b"\x1b[31m")),
        3 => line.insert(at, [0xff, 0x00, b'\r', 0x1b, 0xc3, b'"', b'{'][dice.roll(7)]),
        _ => drop(line.splice(at..at, vec![b' '; dice.roll(5000)])),
    }
}

#[test]
fn whatever_comes_the_pieces_do_not_matter() {
    let samples = samples();
    let detectors = detectors();
    for seed in 0..120 {
        let mut dice = Dice(seed);
        let log = brew(&mut dice, &samples);
        let whole = scan(&detectors, &log, || usize::MAX);
        let sizes = [1 + dice.roll(9), 1 + dice.roll(200), 4096];
        for most in sizes {
            let pieces = scan(&detectors, &log, || 1 + dice.roll(most));
            assert_eq!(whole, pieces, "seed {seed}, pieces up to {most}");
        }
        for one in &whole {
            assert!(one.text.len() <= 33 * 1024 && one.message.len() <= 8 * 1024, "seed {seed}");
            assert!(one.frames.len() <= 200 && one.chain.len() <= 16, "seed {seed}");
            assert!(
                one.end as usize <= log.len() && one.at <= one.end && one.line > 0,
                "seed {seed}: {one:?}"
            );
        }
    }
}

#[test]
fn a_hundred_thousand_frames() {
    let mut log = b"Traceback (most recent call last):\n".to_vec();
    for n in 0..100_000 {
        log.extend_from_slice(format!("  File \"/a.py\", line {n}, in f\n    f()\n").as_bytes());
    }
    log.extend_from_slice(b"RecursionError: too deep\n");
    let found = scan(&detectors()[..1], &log, || 64 * 1024);
    let [one] = &found[..] else { panic!("{} findings", found.len()) };
    assert_eq!((one.exception.as_deref(), &*one.message), (Some("RecursionError"), "too deep"));
    assert_eq!((one.frames.len(), one.frames[0].line, one.frames[199].line), (200, 0, 99_999));
    assert!(one.text.len() <= 33 * 1024);
}

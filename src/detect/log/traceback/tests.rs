//! Every sample of `fixtures/traces` against its truth, and variations of our own.

use crate::config::{DetectorConfig, DetectorKind};
use crate::detect::log::{Position, Scanner};
use crate::model::finding::Finding;
use std::path::Path;

fn detectors() -> Vec<DetectorConfig> {
    vec![DetectorConfig { name: "traceback".into(), kind: DetectorKind::Traceback, cooldown_s: 0.0 }]
}

pub fn scan(bytes: &[u8], piece: usize) -> Vec<Finding> {
    let mut scanner = Scanner::new(&detectors(), Position::default());
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        scanner.feed(piece, &mut out);
    }
    scanner.finish(&mut out);
    out
}

fn own_frames(finding: &Finding) -> Vec<String> {
    let own = finding.frames.iter().filter(|frame| !frame.library);
    own.map(|frame| format!("{}:{} {}", frame.file, frame.line, frame.function)).collect()
}

/// Is every wanted frame there, in order? Libraries and repetitions may stand between them.
fn has_frames(finding: &Finding, wanted: &[serde_json::Value]) -> bool {
    let mut own = finding.frames.iter().filter(|frame| !frame.library);
    wanted.iter().all(|want| {
        own.any(|frame| {
            frame.file.ends_with(want["file"].as_str().unwrap())
                && Some(frame.line) == want["line"].as_u64()
                && want["function"].as_str().is_none_or(|name| frame.function.ends_with(name))
        })
    })
}

fn sample(truth: &serde_json::Value, found: &[Finding]) -> Result<(), String> {
    if !truth["should_fire"].as_bool().unwrap() {
        let says: Vec<_> = found.iter().map(|finding| (&finding.exception, &finding.message)).collect();
        return if found.is_empty() { Ok(()) } else { Err(format!("must be silent: {says:?}")) };
    }
    let [finding] = found else {
        let says: Vec<_> = found.iter().map(|finding| (&finding.exception, &finding.message)).collect();
        return Err(format!("{} findings: {says:?}", found.len()));
    };
    let language = finding.language.unwrap().word();
    if Some(language) != truth["language"].as_str() {
        return Err(format!("language {language}"));
    }
    if finding.exception.as_deref() != truth["expected_exception"].as_str() {
        return Err(format!("exception {:?}", finding.exception));
    }
    let message = truth["expected_message"].as_str().unwrap_or(&finding.message);
    // What follows an address is not the same in two runs.
    if finding.message != message && !(message.ends_with("0x") && finding.message.starts_with(message)) {
        return Err(format!("message {:?}, not {message:?}", finding.message));
    }
    if !has_frames(finding, truth["expected_frames"].as_array().unwrap()) {
        return Err(format!("frames {:#?}", own_frames(finding)));
    }
    for cause in truth["chain"].as_array().unwrap() {
        let (name, message) = (cause["exception"].as_str().unwrap(), cause["message"].as_str().unwrap());
        let headline = finding.exception.as_deref() == Some(name) && finding.message == message;
        if !headline && !finding.chain.iter().any(|one| one.exception == name && one.message == message) {
            return Err(format!("chain {:?}", finding.chain));
        }
    }
    Ok(())
}

fn walk(change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>, piece: usize) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/traces");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let truth = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let log = std::fs::read(path.with_extension("log")).unwrap();
        let Some(log) = change(&name, log) else { continue };
        seen += 1;
        if let Err(why) = sample(&truth, &scan(&log, piece)) {
            wrong.push(format!("{name}: {why}"));
        }
    }
    wrong.sort();
    assert!(seen > 40, "{seen} samples");
    assert!(wrong.is_empty(), "{} of {seen} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each line changed by itself.
fn each_line(log: &[u8], change: impl Fn(usize, &str) -> String) -> Vec<u8> {
    let text = String::from_utf8_lossy(log).into_owned();
    let lines = text.lines().enumerate().map(|(n, line)| change(n, line));
    lines.collect::<String>().into_bytes()
}

#[test]
fn samples() {
    walk(|_, log| Some(log), 1 << 20);
}

#[test]
fn samples_in_small_pieces() {
    walk(|_, log| Some(log), 7);
}

#[test]
fn samples_with_crlf() {
    walk(|_, log| Some(each_line(&log, |_, line| format!("{line}\r\n"))), 64);
}

#[test]
fn samples_in_colour() {
    walk(|_, log| Some(each_line(&log, |_, line| format!("\x1b[31m{line}\x1b[0m\n"))), 1 << 20);
}

/// Reports of tests are known by lines that stand at the margin, JSON by its own line.
fn is_plain(name: &str) -> bool {
    let special = ["py38", "js26", "rs20", "rs12", "js15", "js19", "js20", "py37"];
    !special.iter().any(|special| name.starts_with(special))
}

#[test]
fn samples_behind_a_container_prefix() {
    let change = |name: &str, log: Vec<u8>| {
        is_plain(name).then(|| each_line(&log, |_, line| format!("web-1  | {line}\n")))
    };
    walk(change, 1 << 20);
}

#[test]
fn samples_behind_changing_times() {
    let stamp = |n: usize, line: &str| {
        format!("2026-11-21T08:45:{:02}.{:03}Z stderr F {line}\n", n / 60 % 60, n * 37)
    };
    walk(|name, log| is_plain(name).then(|| each_line(&log, stamp)), 1 << 20);
}

#[test]
fn samples_in_the_json_files_of_a_container_engine() {
    let wrap = |_: usize, line: &str| {
        let log = serde_json::to_string(&format!("{line}\n")).unwrap();
        format!("{{\"log\":{log},\"stream\":\"stderr\",\"time\":\"2026-11-21T08:45:00Z\"}}\n")
    };
    walk(|_, log| Some(each_line(&log, wrap)), 1 << 20);
}

//! Every sample of `fixtures/traces` and `fixtures/traces-more` against its truth, and with what loggers, job schedulers and
//! container engines make of it.

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

/// Every sample: its name, its log, its truth.
fn all() -> Vec<(String, Vec<u8>, serde_json::Value)> {
    let mut all = Vec::new();
    for folder in ["traces", "traces-more"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let truth = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            all.push((name, std::fs::read(path.with_extension("log")).unwrap(), truth));
        }
    }
    all
}

fn walk(change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>, piece: usize) {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, log, truth) in all() {
        let Some(log) = change(&name, log) else { continue };
        seen += 1;
        if let Err(why) = sample(&truth, &scan(&log, piece)) {
            wrong.push(format!("{name}: {why}"));
        }
    }
    wrong.sort();
    assert!(seen > 160, "{seen} samples");
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

/// Reports of tests are known by lines that stand at the margin, JSON by its own line; a bar overwrites what was before it.
fn is_plain(name: &str) -> bool {
    const SPECIAL: [&str; 20] = [
        "py38",
        "js26",
        "rs20",
        "rs12",
        "js15",
        "js19",
        "js20_ts_tsx",
        "py37",
        "py11_progress",
        "py11_tqdm_cr",
        "py11_doctest",
        "py11_unitt",
        "py11_pytest",
        "js20_nodetest",
        "js22_nodetest",
        "js22_jest",
        "js22_mocha",
        "js22_vitest",
        "rs_cargotest",
        "py11_strtrace",
    ];
    !SPECIAL.iter().any(|special| name.starts_with(special))
}

/// Each line of the plain samples behind a prefix.
fn behind(prefix: impl Fn(usize) -> String) {
    let change = |_: &str, n: usize, line: &str| format!("{}{line}\n", prefix(n));
    walk(|name, log| is_plain(name).then(|| each_line(&log, |n, line| change(name, n, line))), 1 << 20);
}

#[test]
fn samples_behind_a_prefix_that_does_not_change() {
    // docker compose, mpirun, srun --label, kubectl --prefix
    for prefix in ["web-1  | ", "[1,0]<stderr>:", "0: ", "[pod/web-5f7d9/app] "] {
        behind(|_| prefix.to_owned());
    }
}

#[test]
fn samples_behind_changing_times() {
    behind(|n| format!("2026-11-21T08:45:{:02}.{:03}Z stderr F ", n / 60 % 60, n * 37));
    // journald, a logger of Python's
    behind(|n| format!("Nov 21 08:45:{:02} host app[4711]: ", n % 60));
    behind(|n| format!("2026-11-21 08:45:{:02},{:03} ERROR app.main: ", n % 60, n % 1000));
}

#[test]
fn samples_among_lines_of_others() {
    let company = |n: usize, line: &str| format!("web-1  | {line}\ndb-1   | {n} ready to accept\n");
    walk(|name, log| is_plain(name).then(|| each_line(&log, company)), 1 << 20);
}

/// Two ranks that fail in the same way at the same time: each trace is found, and holds nothing of the other.
#[test]
fn samples_of_two_ranks_at_once() {
    let mut wrong = Vec::new();
    for (name, log, truth) in all().into_iter().filter(|(name, _, _)| is_plain(name)) {
        let both = each_line(&log, |_, line| format!("[rank0]: {line}\n[rank1]: {line}\n"));
        let found = scan(&both, 1 << 20);
        let wanted = if truth["should_fire"].as_bool().unwrap() { 2 } else { 0 };
        if found.len() != wanted {
            wrong.push(format!("{name}: {} findings", found.len()));
        }
        for one in found.chunks(1) {
            if let Err(why) = sample(&truth, one) {
                wrong.push(format!("{name}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn samples_in_the_json_files_of_a_container_engine() {
    let wrap = |_: usize, line: &str| {
        let log = serde_json::to_string(&format!("{line}\n")).unwrap();
        format!("{{\"log\":{log},\"stream\":\"stderr\",\"time\":\"2026-11-21T08:45:00Z\"}}\n")
    };
    walk(|_, log| Some(each_line(&log, wrap)), 1 << 20);
}

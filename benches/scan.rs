//! What the scan of a log costs: ten patterns and tracebacks over a generated log, against `rg -c` with the same patterns on
//! the same file in the same run; and the memory that one very long line takes. Prints each target and whether it holds.
//!
//! `cargo bench --bench scan [-- MEGABYTES]` (default 256). Medians of rounds taken in turn, so that a noisy machine
//! disturbs both alike; still, trust the ratios of a quiet one only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark talks and may panic"
)]

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_watchkeeper");
const ROUNDS: usize = 5;
/// What people look for in the logs of training jobs and services.
const PATTERNS: [&str; 10] = [
    "CUDA out of memory",
    "NCCL (?:error|timeout)",
    r"loss[=:]\s*(?:nan|inf)",
    "No space left on device",
    "Connection (?:refused|reset)",
    "segmentation fault",
    r"killed by signal \d+",
    "(?i)assertion .* failed",
    "deadline exceeded",
    r"slurmstepd: error: .*CANCELLED",
];
const TRACE: &str = "Traceback (most recent call last):\n  File \"/srv/train.py\", line 12, in step\n    loss.backward()\nRuntimeError: CUDA out of memory. Tried to allocate 512 MiB\n";
/// Resident memory that a scan may take, MiB: code, tables of the search, and a window.
const RSS_MAX_MIB: u64 = 48;

fn main() {
    let megabytes = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(256);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("run.log");
    generate(&log, megabytes << 20);
    let detectors = dir.path().join("detectors.toml");
    let patterns = PATTERNS.iter().enumerate();
    let lines =
        patterns.map(|(n, p)| format!("  {{ kind = \"pattern\", name = \"p{n}\", regex = '{p}' }},\n"));
    let text = format!("detectors = [\n{}  {{ kind = \"traceback\" }},\n]\n", lines.collect::<String>());
    std::fs::write(&detectors, text).unwrap();
    let scan = |log: &Path| {
        let mut command = Command::new(BINARY);
        command.arg("scan").arg(log).arg("--json").arg("--detectors").arg(&detectors);
        command
    };
    compare(&scan(&log), &log, megabytes);
    long_line(&dir.path().join("long.log"), &scan);
}

/// Steps of a training job, and now and then something worth finding.
fn generate(path: &Path, bytes: usize) {
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    let (mut written, mut step) = (0, 0u64);
    while written < bytes {
        step += 1;
        let line = match step % 200_000 {
            0 => TRACE.to_owned(),
            100_000 => "worker 3: Connection refused by peer, will be tried again\n".to_owned(),
            _ => format!(
                "2026-11-21 08:{:02}:{:02},{:03} INFO trainer: step {step}/9000000 loss=0.{:04} lr=3.0e-4 tokens/s={} at node-{}\n",
                step / 60 % 60,
                step % 60,
                step % 1000,
                step * 7919 % 10_000,
                50_000 + step * 31 % 9_000,
                step % 8
            ),
        };
        written += line.len();
        file.write_all(line.as_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn compare(scan: &Command, log: &Path, megabytes: usize) {
    let rg = which("rg");
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        times.0.push(timed(scan));
        if let Some(rg) = &rg {
            let mut command = Command::new(rg);
            command.args(["-c", "--no-config", "-j1"]);
            PATTERNS.iter().for_each(|pattern| {
                command.args(["-e", pattern]);
            });
            // The sign of the one language that the log holds; the scan looks for those of all.
            command.args(["-e", r"Traceback \(most recent call last\)"]).arg(log);
            times.1.push(timed(&command));
        }
    }
    let own = median(times.0);
    println!("scan: {megabytes} MiB in {:.0} ms, {:.2} GB/s", own.as_secs_f64() * 1e3, speed(megabytes, own));
    if rg.is_none() {
        println!("rg is missing (Debian package ripgrep): nothing to compare with");
        return;
    }
    let other = median(times.1);
    let ratio = other.as_secs_f64() / own.as_secs_f64();
    println!("rg -c: {:.0} ms, {:.2} GB/s", other.as_secs_f64() * 1e3, speed(megabytes, other));
    println!("{} {ratio:.2} × rg (target ≥ 1.0)", if ratio >= 1.0 { "PASS" } else { "over" });
}

fn long_line(path: &PathBuf, scan: &dyn Fn(&Path) -> Command) {
    std::fs::write(path, vec![b'x'; 50 << 20]).unwrap();
    let inner = scan(path);
    let mut child = inner_spawn(&inner);
    let mut highest = 0;
    while child.try_wait().unwrap().is_none() {
        highest = highest.max(resident_kib(child.id()));
        std::thread::sleep(Duration::from_millis(1));
    }
    let mib = highest / 1024;
    let word = if mib <= RSS_MAX_MIB && mib > 0 { "PASS" } else { "over" };
    println!("{word} one line of 50 MiB: {mib} MiB resident at most (target ≤ {RSS_MAX_MIB})");
}

fn inner_spawn(command: &Command) -> std::process::Child {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args()).stdout(Stdio::null()).spawn().unwrap()
}

/// The highest so far, by the kernel's own count.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn timed(command: &Command) -> Duration {
    let began = Instant::now();
    let status =
        Command::new(command.get_program()).args(command.get_args()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn speed(megabytes: usize, time: Duration) -> f64 {
    (megabytes << 20) as f64 / time.as_secs_f64() / 1e9
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

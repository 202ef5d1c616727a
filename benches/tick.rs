//! What a tick costs, as ratios in one run: against one bare `list-panes`, and against one batched capture.
//!
//! `cargo bench --bench tick [-- N…]` (default 10 100 1000). Each N gets a private tmux server with N panes; medians of
//! many rounds, the compared calls taken in turn, so that a noisy machine disturbs both alike.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark talks and may panic"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use watchkeeper::engine::home::Home;
use watchkeeper::engine::run::{self, RealWatchdog};
use watchkeeper::model::seen::Scope;
use watchkeeper::sys::Host;
use watchkeeper::sys::run::programs_started;

const BINARY: &str = env!("CARGO_BIN_EXE_watchkeeper");
const SCREEN: &str = include_str!("idle-screen.txt");

struct Lab {
    dir: PathBuf,
    socket: String,
    home: Home,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Lab {
    /// A private server with `n` quiet agents, brought up by the watchdog itself.
    fn new(n: usize, interval_s: f64) -> Lab {
        let dir = std::env::temp_dir().join(format!("watchkeeper-bench-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let dir = std::fs::canonicalize(dir).unwrap();
        let socket = format!("wkbench-{}-{n}", std::process::id());
        std::fs::write(dir.join("screen.txt"), SCREEN).unwrap();
        let mut text = format!(
            "[watchdog]\nsignal_interval = {interval_s}\nstall_idle = 100000\n[defaults]\nsession_prefix = \"b-\"\n\
             tmux_socket = \"{socket}\"\nbackend = \"still\"\n[backend.still]\nlike = \"demo\"\n\
             command = [\"sh\", \"-c\", \"cat screen.txt; exec sleep 100000\"]\n"
        );
        for i in 0..n {
            text.push_str(&format!("[[agent]]\nname = \"u{i}\"\nkind = \"persistent\"\n"));
        }
        std::fs::write(dir.join("agents.toml"), text).unwrap();
        let home = Home::new(Some(&dir.join("agents.toml")), None).unwrap();
        Lab { dir, socket, home }
    }

    fn watchdog(&self) -> (watchkeeper::config::Config, RealWatchdog) {
        let config = self.home.load().unwrap().config;
        let watchdog = run::open(&config, "tick").unwrap();
        (config, watchdog)
    }

    /// Ticks until all run and nothing is left to do.
    fn up(&self, n: usize) {
        let (config, mut watchdog) = self.watchdog();
        let began = Instant::now();
        loop {
            let report = watchdog.tick(&config, Scope::All);
            let alive =
                report.decision.next.units.values().filter(|unit| unit.seen.process.is_some()).count();
            let young = report.decision.due_s.is_some_and(|due| due < 5.0);
            if alive == n && !young && report.written == 0 {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(180), "{alive} of {n} came up");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed().as_secs_f64() * 1000.0, result)
}

fn ticks(n: usize) {
    let lab = Lab::new(n, 30.0);
    lab.up(n);
    let (config, mut watchdog) = lab.watchdog();
    let rounds = if n >= 1000 { 15 } else { 40 };
    for _ in 0..3 {
        watchdog.tick(&config, Scope::All);
    }
    let (mut list, mut quiet, mut batch, mut changed) = (vec![], vec![], vec![], vec![]);
    let (mut programs_quiet, mut programs_changed) = (0, 0);
    let mut bare = watchkeeper::sys::real_host::RealHost::new(&lab.socket, Path::new("/bench"));
    let ids: Vec<String> = bare.panes().rows.into_iter().map(|row| row.pane).collect();
    for _ in 0..rounds {
        list.push(timed(|| bare.tmux().list()).0);
        let before = programs_started();
        quiet.push(timed(|| watchdog.tick(&config, Scope::All)).0);
        programs_quiet = programs_started() - before;
    }
    for _ in 0..rounds {
        batch.push(timed(|| bare.capture(&ids)).0);
        watchdog.forget_screens();
        let before = programs_started();
        changed.push(timed(|| watchdog.tick(&config, Scope::All)).0);
        programs_changed = programs_started() - before;
    }
    let (list, quiet, batch, changed) = (median(list), median(quiet), median(batch), median(changed));
    println!(
        "{n:>5} panes | list {list:7.2} ms | quiet tick {quiet:7.2} ms = {:4.2} × list, {programs_quiet} program(s) | \
         capture {batch:7.2} ms | all changed {changed:7.2} ms = {:4.2} × capture, {:4.2} × (list + capture), {programs_changed} program(s)",
        quiet / list,
        changed / batch,
        changed / (list + batch)
    );
}

/// CPU and memory of the idle loop over 100 units.
fn idle() {
    let n = 100;
    let interval_s = 5.0;
    let lab = Lab::new(n, interval_s);
    lab.up(n);
    let mut child = Command::new(BINARY)
        .args(["--config", lab.dir.join("agents.toml").to_str().unwrap(), "run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(8));
    let cpu = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<f64> =
            stat[stat.rfind(')').unwrap()..].split(' ').filter_map(|f| f.parse().ok()).collect();
        // utime stime cutime cstime: after the state letter, fields 14 to 17 of proc(5).
        fields[10..14].iter().sum::<f64>() * 10.0
    };
    let (before, began) = (cpu(), Instant::now());
    std::thread::sleep(Duration::from_secs(30));
    let used_ms = cpu() - before;
    let seconds = began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let rss = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("").to_owned();
    let per_tick = used_ms / (seconds / interval_s);
    println!(
        "idle loop, {n} units | {per_tick:.1} ms of CPU a tick (tmux client included) = {:.3} % of a core at 30 s | {rss}",
        per_tick / 30_000.0 * 100.0
    );
    let _ = child.kill();
    let _ = child.wait();
}

/// `tick` and `status` as cron and people start them, a fleet of two.
fn commands() {
    let lab = Lab::new(2, 30.0);
    lab.up(2);
    let config = lab.dir.join("agents.toml");
    let run = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        command
            .args(["--config", config.to_str().unwrap()])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        timed(|| command.status().unwrap()).0
    };
    let host = watchkeeper::sys::real_host::RealHost::new(&lab.socket, Path::new("/bench"));
    let (mut tick, mut status, mut list) = (vec![], vec![], vec![]);
    for _ in 0..40 {
        list.push(timed(|| host.tmux().list()).0);
        tick.push(run(&["tick"]));
        status.push(run(&["status"]));
    }
    println!(
        "commands, 2 units | tmux call {:.2} ms | `tick` {:.2} ms | `status` {:.2} ms",
        median(list),
        median(tick),
        median(status)
    );
}

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10, 100, 1000] } else { sizes };
    for n in sizes {
        ticks(n);
    }
    commands();
    idle();
}

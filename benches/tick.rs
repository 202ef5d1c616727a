//! What the watchdog costs: ticks as ratios in one run against one bare `list-panes` and one batched capture, the idle
//! loop, and the commands that people and cron start. Prints a table with each target and whether it holds.
//!
//! `cargo bench --bench tick [-- WORD…]`: numbers are fleet sizes (default 10 100 1000), `commands` and `idle` name the
//! rest; without any word, all. Each fleet lives on a private tmux server. Medians of many rounds, the compared calls
//! taken in turn, so that a noisy machine disturbs both alike; still, trust the ratios of a quiet one only.

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
use watchkeeper::sys::real_host::RealHost;
use watchkeeper::sys::run::programs_started;

const BINARY: &str = env!("CARGO_BIN_EXE_watchkeeper");
const SCREEN: &str = include_str!("idle-screen.txt");
/// What a tick knows of each pane, asked for by one bare call. The last is not asked of tmux in each tick: of panes that
/// look as before it is remembered. So the ratio to a call without it is printed too.
const FIELDS: &str = "#{pane_id}|#{pane_pid}|#{pane_dead}|#{pane_dead_status}|#{pane_dead_signal}|#{pane_dead_time}|\
    #{pane_in_mode}|#{session_attached}|#{session_activity}|#{window_activity}|#{pane_width}x#{pane_height},#{cursor_x},\
    #{cursor_y},#{history_size}|#{session_name}|#{@watchkeeper}|#{@watchkeeper_unit}|#{pane_title}";
const COMMAND: &str = "|#{pane_current_command}";

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
        let lab = Lab { dir, socket, home };
        lab.up(n);
        lab
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

    /// One bare `list-panes`, as a script would call it.
    fn bare_list(&self, fields: &str) {
        let args = ["-u", "-L", &self.socket, "list-panes", "-a", "-F", fields];
        assert!(Command::new("tmux").args(args).output().unwrap().status.success());
    }

    /// One of our own commands.
    fn run(&self, args: &[&str]) {
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(self.dir.join("agents.toml")).args(args);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    }
}

/// One line of the table: what, the figure and what it is made of, the bound.
fn row(what: &str, figure: f64, unit: &str, made_of: &str, at_most: f64) {
    let verdict = if figure <= at_most { "PASS" } else { "over" };
    println!("{what:<38} {figure:>8.2} {unit:<12} ≤ {at_most:<5} {verdict}  {made_of}");
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Milliseconds.
fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() * 1000.0
}

fn ticks(n: usize) {
    let lab = Lab::new(n, 30.0);
    let (config, mut watchdog) = lab.watchdog();
    let rounds = if n >= 1000 { 15 } else { 40 };
    for _ in 0..3 {
        watchdog.tick(&config, Scope::All);
    }
    let mut bare = RealHost::new(&lab.socket, Path::new("/bench"));
    let ids: Vec<String> = bare.panes().rows.into_iter().map(|row| row.pane).collect();
    let (mut list, mut short, mut quiet, mut programs) = (vec![], vec![], vec![], 0);
    let all_fields = [FIELDS, COMMAND].concat();
    for _ in 0..rounds {
        list.push(timed(|| lab.bare_list(&all_fields)));
        short.push(timed(|| lab.bare_list(FIELDS)));
        let before = programs_started();
        quiet.push(timed(|| watchdog.tick(&config, Scope::All)));
        programs = programs_started() - before;
    }
    let (list, short, quiet) = (median(list), median(short), median(quiet));
    let less = quiet / short;
    let made_of =
        format!("{quiet:.2} ms ÷ {list:.2} ms ({less:.2} × without the foreground command, {short:.2} ms)");
    row(&format!("tick, {n} quiet panes"), quiet / list, "× bare list", &made_of, 1.5);
    row("  programs started", programs as f64, "", "", 1.0);

    let (mut batch, mut changed) = (vec![], vec![]);
    // The first of a busy time starts two: nothing was known to be busy before.
    watchdog.forget_screens();
    watchdog.tick(&config, Scope::All);
    for _ in 0..rounds {
        batch.push(timed(|| bare.capture(&ids)));
        watchdog.forget_screens();
        let before = programs_started();
        changed.push(timed(|| watchdog.tick(&config, Scope::All)));
        programs = programs_started() - before;
    }
    let (batch, changed) = (median(batch), median(changed));
    let made_of = format!("{changed:.2} ms ÷ {batch:.2} ms");
    row(&format!("tick, {n} panes, all changed"), changed / batch, "× capture", &made_of, 1.5);
    row("  programs started", programs as f64, "", "", 1.0);
}

/// CPU and memory of the idle loop over 100 units.
fn idle() {
    let n = 100;
    let interval_s = 5.0;
    let lab = Lab::new(n, interval_s);
    let mut child = Command::new(BINARY)
        .args(["--config", lab.dir.join("agents.toml").to_str().unwrap(), "run"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(8));
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
    let cpu = || {
        let stat = read("stat");
        let fields: Vec<f64> =
            stat[stat.rfind(')').unwrap()..].split(' ').filter_map(|f| f.parse().ok()).collect();
        // utime stime cutime cstime: after the state letter, fields 14 to 17 of proc(5).
        fields[10..14].iter().sum::<f64>() * 10.0
    };
    let (before, began) = (cpu(), Instant::now());
    std::thread::sleep(Duration::from_secs(30));
    let used_ms = cpu() - before;
    let per_tick = used_ms / (began.elapsed().as_secs_f64() / interval_s);
    let made_of = format!("{per_tick:.1} ms a tick (tmux client included), one in 30 s");
    row(&format!("idle loop, {n} units: CPU"), per_tick / 30_000.0 * 100.0, "% of a core", &made_of, 0.1);
    let status = read("status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
    };
    let made_of =
        format!("{:.1} of its own, {:.1} of the program's file", field("RssAnon"), field("RssFile"));
    row(&format!("idle loop, {n} units: RSS"), field("VmRSS"), "MiB", &made_of, 10.0);
    let _ = child.kill();
    let _ = child.wait();
}

/// `tick` and `status` as cron and people start them, a fleet of two.
fn commands() {
    let lab = Lab::new(2, 30.0);
    let mut host = RealHost::new(&lab.socket, Path::new("/bench"));
    let ids: Vec<String> = host.panes().rows.into_iter().map(|row| row.pane).collect();
    let (mut tick, mut status, mut list, mut capture) = (vec![], vec![], vec![], vec![]);
    for _ in 0..40 {
        list.push(timed(|| host.tmux().list()));
        capture.push(timed(|| host.tmux().capture(&ids)));
        tick.push(timed(|| lab.run(&["tick"])));
        status.push(timed(|| lab.run(&["status"])));
    }
    let (tick, status, list, capture) = (median(tick), median(status), median(list), median(capture));
    let made_of = format!("{tick:.2} ms − {list:.2} ms (list) − {capture:.2} ms (capture)");
    row("`tick`, 2 units, beside tmux", tick - list - capture, "ms", &made_of, 10.0);
    let made_of = format!("{status:.2} ms − {list:.2} ms (list)");
    row("`status`, 2 units, beside tmux", status - list, "ms", &made_of, 5.0);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let has = |word: &str| words.is_empty() || words.iter().any(|given| given == word);
    let sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let sizes = if words.is_empty() { vec![10, 100, 1000] } else { sizes };
    sizes.into_iter().for_each(ticks);
    if has("commands") {
        commands();
    }
    if has("idle") {
        idle();
    }
}

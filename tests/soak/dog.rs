//! The watchdog under test: the real binary as a child, and what it costs.

use super::fleet::{Fleet, binary, now};
use std::fs::File;
use std::process::{Child, Command, Stdio};

/// One life of the watchdog.
#[derive(Clone, Debug, Default)]
pub struct Life {
    pub from: i64,
    pub to: i64,
    /// Resident memory, KiB: some seconds after the start, and at the last look.
    pub rss_first: u64,
    pub rss_last: u64,
    /// CPU time used until the last look, milliseconds.
    pub cpu_ms: u64,
    /// Ticks until the last look.
    pub ticks: u64,
}

/// The watchdog.
#[derive(Debug)]
pub struct Dog {
    child: Option<Child>,
    pub lives: Vec<Life>,
    /// Ended without being killed by the harness.
    pub own_ends: Vec<String>,
    /// Starts that were refused, for a command held the lock.
    pub refused: usize,
}

impl Dog {
    pub fn new() -> Dog {
        Dog { child: None, lives: Vec::new(), own_ends: Vec::new(), refused: 0 }
    }

    pub fn start(&mut self, fleet: &Fleet) {
        let log = File::options().create(true).append(true).open(fleet.dir.join("watchdog.log")).unwrap();
        let child = Command::new(binary(&fleet.dir))
            .arg("--config")
            .arg(fleet.config())
            .arg("run")
            .env_remove("TMUX")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.lives.push(Life { from: now(), to: now(), ..Life::default() });
        self.child = Some(child);
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it at once.
    pub fn kill(&mut self, fleet: &Fleet) {
        self.sample(fleet);
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Looks what it costs, and whether it still lives.
    pub fn sample(&mut self, fleet: &Fleet) {
        let Some(child) = &mut self.child else { return };
        let pid = child.id();
        if let Ok(Some(status)) = child.try_wait() {
            self.child = None;
            if status.code() == Some(75) {
                // A command acts just now, for the watchdog was away: whoever keeps it running tries again.
                self.refused += 1;
                self.lives.pop();
                self.start(fleet);
            } else {
                self.own_ends.push(format!("{status}"));
            }
            return;
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        // utime, stime and those of its ended children: fields 14 to 17 of proc(5), in ticks of 10 ms.
        let ticks: u64 = fields.iter().skip(10).take(4).sum();
        let Some(life) = self.lives.last_mut() else { return };
        life.to = now();
        life.cpu_ms = ticks * 10;
        life.rss_last = rss;
        let heartbeat = std::fs::read_to_string(fleet.state().join("heartbeat.json")).unwrap_or_default();
        let heartbeat: serde_json::Value = serde_json::from_str(&heartbeat).unwrap_or_default();
        if heartbeat["pid"] == pid {
            life.ticks = heartbeat["tick"].as_u64().unwrap_or(0);
        }
        if life.rss_first == 0 && life.to - life.from > 5000 {
            life.rss_first = rss;
        }
    }
}

impl Drop for Dog {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // A stopped process is killed all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a command of the program and does not wait for it.
pub fn order(fleet: &Fleet, args: &[&str]) -> Child {
    let log = File::options().create(true).append(true).open(fleet.dir.join("orders.log")).unwrap();
    Command::new(binary(&fleet.dir))
        .arg("--config")
        .arg(fleet.config())
        .args(args)
        .env_remove("TMUX")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([format!("-{name}"), pid.to_string()]).stderr(Stdio::null()).status();
}

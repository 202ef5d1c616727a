//! The fleet's cooperative services and local processes: their config, what the harness sees of them by itself, their faults
//! and what becomes of these. A service is the example's own script in a repository of its own; a process is a script that
//! prints steps and keeps a ledger.

use super::books::Books;
use super::dog::signal;
use super::faults::{End, Fault, Kind};
use super::fleet::{Fleet, Role, Unit, now};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use watchkeeper::base::time::Wall;

const SERVICE: &str = include_str!("../../examples/cooperative-service/service.sh");
const PROCESS: &str = include_str!("../../fixtures/soak/process.sh");
/// A child whose shim was killed must go on for so long, milliseconds.
const GOES_ON_MS: i64 = 12_000;

/// A unit's config; its folder is made.
pub fn config(dir: &Path, name: &str, role: Role) -> String {
    let home = dir.join(name);
    std::fs::create_dir(&home).unwrap();
    if role == Role::Process {
        script(&home.join("process.sh"), PROCESS);
        let ledger = dir.join(format!("{name}.jsonl"));
        return format!(
            "\n[[process]]\nname = \"{name}\"\ncommand = [\"./process.sh\"]\ncwd = \"{name}\"\ngrace_s = 2\n\
             env = {{ LEDGER = \"{}\" }}\nrestart = {{ max = 10, cooldown_s = 2 }}\n\
             detectors = [ {{ kind = \"traceback\" }}, {{ kind = \"exit\" }},\n\
             {{ kind = \"stall\", name = \"silent\", no_progress_s = 12 }} ]\n\
             [process.healing]\nagent = \"off\"\nverify_window_s = 20\n",
            ledger.display()
        );
    }
    script(&home.join("service.sh"), SERVICE);
    git(&home, &["init", "-q", "-b", "main"]);
    git(&home, &["add", "service.sh"]);
    git(&home, &["commit", "-q", "-m", "first"]);
    // Two are asked first, the others are ended at once.
    let asked = if matches!(name, "w1" | "w2") { "\"request-restart\", " } else { "" };
    format!(
        "\n[[service]]\nname = \"{name}\"\ndir = \"{name}\"\ncommand = [\"./service.sh\"]\n\
         cooperative = {{ heartbeat_stale_s = 8, version = true }}\n\
         ladder = {{ tiers = [{asked}\"terminate\", \"kill-start\", \"alert\"], cooldown_s = 4, grace_s = 2, quiet_s = 4 }}\n"
    )
}

fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn git(home: &Path, args: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(home).args(["-c", "user.name=t", "-c", "user.email=t@t"]).args(args);
    assert!(command.stdin(Stdio::null()).status().unwrap().success(), "git {args:?}");
}

impl Fleet {
    fn home(&self, unit: usize) -> PathBuf {
        self.dir.join(&self.units[unit].name)
    }

    fn unit_file(&self, unit: usize, file: &str) -> PathBuf {
        self.state().join("units").join(&self.units[unit].name).join(file)
    }

    /// Why the watchdog withholds a remedy from the unit now.
    pub fn hold(&self, unit: usize) -> String {
        let text = std::fs::read_to_string(self.unit_file(unit, "unit.json")).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        value["hold"]["why"].as_str().unwrap_or("").to_owned()
    }

    /// Does it run the commit that its repository holds?
    fn is_current(&self, unit: usize) -> bool {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let version = read(self.unit_file(unit, "version"));
        !version.is_empty() && version == read(self.home(unit).join(".git/refs/heads/main"))
    }

    fn orphan(&self, unit: usize) -> Option<u32> {
        let home = self.home(unit);
        let pid = std::fs::read_to_string(home.join("orphan")).ok()?.trim().parse().ok()?;
        works_in(pid, &home).then_some(pid)
    }

    /// Two main processes of one unit at a time, and orphans and orders that no fault needs any more.
    pub fn sweep(&mut self, faults: &[Fault]) {
        for unit in 0..self.units.len() {
            let role = self.units[unit].role;
            if !matches!(role, Role::Coop | Role::Process) {
                continue;
            }
            let count = match role {
                Role::Coop => mains(&self.home(unit)),
                _ => started(&self.dir, &self.units[unit]).len(),
            };
            // The second look: a shell that is just forked, or that just ends, is no second service.
            let seen = &mut self.units[unit];
            if count > 1 && (role == Role::Process || seen.many > 1) {
                seen.doubled.push(now());
            }
            seen.many = count;
            if !faults.iter().any(|fault| fault.is_open() && fault.unit == Some(unit)) {
                let _ = std::fs::remove_file(self.home(unit).join("mode"));
                if let Some(orphan) = self.orphan(unit) {
                    signal(orphan, "KILL");
                }
            }
        }
    }

    /// Ends whatever was started in the fleet's folder.
    pub fn end_all(&self) {
        for pid in pids().filter(|pid| works_in(*pid, &self.dir)) {
            signal(pid, "KILL");
        }
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
}

/// Is it alive, with its working directory there? (A zombie has none.)
fn works_in(pid: u32, home: &Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(home))
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

fn command_line(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Services at work in this folder, without what they forked.
fn mains(home: &Path) -> usize {
    let all: Vec<u32> =
        pids().filter(|pid| works_in(*pid, home) && command_line(*pid).contains("service.sh")).collect();
    all.iter().filter(|pid| parent(**pid).is_none_or(|parent| !all.contains(&parent))).count()
}

/// The living processes that said in their ledger that they began; the newest first.
pub fn started(dir: &Path, unit: &Unit) -> Vec<u32> {
    let said = unit.lines.iter().rev().filter(|line| line.kind == "start").take(6);
    let mut pids: Vec<u32> = said.filter_map(|line| line.text.parse().ok()).collect();
    pids.retain(|pid| works_in(*pid, &dir.join(&unit.name)));
    pids
}

/// When the service's heart last beat.
pub fn beat(state: &Path, name: &str) -> Option<i64> {
    let path = state.join("units").join(name).join("heartbeat");
    let at = std::fs::metadata(path).ok()?.modified().ok()?;
    i64::try_from(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Inflicts it; None when it can't be had now.
pub fn inflict(fault: &mut Fault, unit: usize, fleet: &Fleet) -> Option<()> {
    let home = fleet.home(unit);
    let pid = fleet.units[unit].pid?;
    let mode = |mode: &str| std::fs::write(home.join("mode"), mode).ok();
    match fault.kind {
        Kind::SvcKilled | Kind::ProcKilled => signal(pid, "KILL"),
        Kind::SvcHang => mode("hang")?,
        Kind::SvcDeaf => mode("deaf")?,
        Kind::SvcOrphan => {
            let _ = std::fs::remove_file(home.join("orphan"));
            mode("orphan")?;
        }
        Kind::SvcStale => git(&home, &["commit", "-q", "--allow-empty", "-m", "new code"]),
        Kind::SvcExit42 => {
            let text = format!("{} soak: a person wants it\n", Wall(now()));
            std::fs::write(fleet.unit_file(unit, "RESTART"), text).ok()?;
        }
        Kind::ShimKilled => {
            let shim = parent(pid).filter(|shim| command_line(*shim).contains(" shim "))?;
            signal(shim, "KILL");
        }
        Kind::ProcTrace => mode("trace")?,
        Kind::ProcStall => mode("stall")?,
        _ => return None,
    }
    Some(())
}

/// What becomes of it.
pub fn step(fault: &mut Fault, unit: usize, fleet: &Fleet, books: &Books, at: i64) {
    let seen = &fleet.units[unit];
    if seen.pid != fault.old_pid {
        // It is meant for one process.
        let _ = std::fs::remove_file(fleet.home(unit).join("mode"));
    }
    match fault.kind {
        Kind::SvcOrphan if fault.phase == 0 => {
            if let Some(orphan) = fleet.orphan(unit) {
                fault.text = orphan.to_string();
                fault.phase = 1;
            }
        }
        Kind::ShimKilled => {
            if seen.pid != fault.old_pid {
                fault.end(End::Failed("its child was replaced".into()));
            } else if at - fault.began > GOES_ON_MS && seen.is_well() {
                fault.recovered();
            }
        }
        Kind::ProcTrace | Kind::ProcStall if fault.phase == 0 => {
            let word = if fault.kind == Kind::ProcTrace { "trace" } else { "stall" };
            if let Some(said) = seen.said("assistant", word, fault.began) {
                fault.began = said;
                fault.phase = 1;
            }
        }
        _ if is_back(fault, unit, fleet) => back(fault, unit, fleet, books, at),
        _ => {}
    }
}

/// Another process of it does its work.
fn is_back(fault: &Fault, unit: usize, fleet: &Fleet) -> bool {
    let seen = &fleet.units[unit];
    let other = seen.pid.is_some() && seen.pid != fault.old_pid;
    other
        && match seen.role {
            Role::Coop => seen.beat.is_some_and(|at| at >= seen.pid_since) && fleet.is_current(unit),
            _ => {
                let started = seen.said("start", "", fault.began);
                started.is_some_and(|from| seen.said("assistant", "step", from).is_some())
            }
        }
}

/// It is back: was that done as it should be?
fn back(fault: &mut Fault, unit: usize, fleet: &Fleet, books: &Books, at: i64) {
    let name = &fleet.units[unit].name;
    let home = fleet.home(unit);
    if fault.kind == Kind::SvcOrphan && fault.text.parse().is_ok_and(|pid| works_in(pid, &home)) {
        return fault.end(End::Failed("it was started anew beside its old orphan".into()));
    }
    let mine = |kind: &str, text: &str| {
        let recent = books.events.iter().rev().take_while(|event| event.at >= fault.began - 300);
        recent.filter(|e| e.kind == kind && e.unit.as_deref() == Some(name) && e.text.contains(text)).count()
    };
    match fault.kind {
        Kind::SvcStale if matches!(name.as_str(), "w1" | "w2") && mine("act", "request-restart") != 1 => {
            let count = mine("act", "request-restart");
            fault.end(End::Failed(format!("it was asked to restart {count} times")));
        }
        // The finding is told in the same tick as the end.
        Kind::ProcTrace if mine("failed", "SoakError") == 0 => {
            if fault.due == 0 {
                fault.due = at + 10_000;
            } else if at > fault.due {
                fault.end(End::Failed("its traceback was not found".into()));
            }
        }
        _ => fault.recovered(),
    }
}

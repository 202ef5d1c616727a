//! Reads `/proc`: identities, trees, CPU time. Elsewhere than on Linux everything is unknown (None, empty).
//!
//! Deliberately not here: judging. A zombie is dead, that is all. Source of the formats: proc(5).

use crate::model::seen::{Exit, Process};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Largest file read from `/proc`: an environment may be long (the kernel allows 128 KiB a variable).
const FILE_MAX: u64 = 1 << 20;
/// A launcher, what it launched, and so on: at most that many.
const CLI_CHAIN_MAX: usize = 8;
/// What a CLI's launcher launches begins within this time, seconds; a tool that bears the same name begins later.
const CLI_BEGINS_S: u64 = 60;
/// Most processes listed in one tree.
const TREE_MAX: usize = 4096;

/// What `/proc/<pid>/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    /// Program name, at most 15 bytes.
    pub comm: String,
    /// State letter.
    pub state: char,
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Session id: the pid of the process that made it.
    pub session: i32,
    /// Foreground process group of its terminal, -1 when it has none.
    pub foreground: i32,
    /// CPU time used by itself, clock ticks.
    pub cpu: u64,
    /// CPU time used by its children that were waited for, clock ticks.
    pub cpu_children: u64,
    /// Start, clock ticks since boot.
    pub start: u64,
    /// How a zombie ended, as `wait` encodes it; 0 also when we may not know.
    pub exit_code: i32,
}

impl Stat {
    /// A zombie is dead; so is one about to vanish.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Processes by pid.
pub type Processes = BTreeMap<i32, Stat>;

/// Reads a stat line. The name may hold spaces, parentheses and newlines: fields are counted from the last `)`.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Field numbers of proc(5), where `state` is field 3.
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |n: usize| field(n)?.parse::<i32>().ok();
    let ticks = |n: usize| field(n)?.parse::<u64>().ok();
    // cutime and cstime are signed in the kernel's format.
    let waited = |n: usize| Some(u64::try_from(field(n)?.parse::<i64>().ok()?).unwrap_or(0));
    Some(Stat {
        pid: pid.trim().parse().ok()?,
        comm: comm.to_owned(),
        state: field(3)?.chars().next()?,
        parent: number(4)?,
        group: number(5)?,
        session: number(6)?,
        foreground: number(8)?,
        cpu: ticks(14)?.saturating_add(ticks(15)?),
        cpu_children: waited(16)?.saturating_add(waited(17)?),
        start: ticks(22)?,
        exit_code: number(52).unwrap_or(0),
    })
}

/// The process's stat, zombies included; None when it is gone.
pub fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&String::from_utf8_lossy(&read(pid, "stat")?))
}

/// Start in clock ticks since boot; None when it is gone or a zombie.
pub fn start(pid: i32) -> Option<u64> {
    stat(pid).filter(|s| !s.is_dead()).map(|s| s.start)
}

/// How a process ended that nobody has waited for yet; None when it is none or may not be looked at.
pub fn zombie_exit(pid: i32) -> Option<Exit> {
    let code = stat(pid).filter(|s| s.state == 'Z')?.exit_code;
    // The kernel shows 0 to who may not know: believed only of our own processes.
    let own = || {
        let user = rustix::process::geteuid();
        let owner = std::fs::metadata(format!("/proc/{pid}")).ok().map(|m| m.uid());
        user.is_root() || owner == Some(user.as_raw())
    };
    match (code & 0x7f, code >> 8) {
        (0, 0) => own().then_some(Exit::Status(0)),
        (0, status) => Some(Exit::Status(status)),
        (signal, _) => Some(Exit::Signal(signal)),
    }
}

/// The process and all that came from it, deepest first; zombies left out. Processes of a session that it leads
/// belong to it even when their parents are gone.
pub fn tree(all: &Processes, root: i32) -> Vec<Process> {
    below(all, root)
        .into_iter()
        .filter_map(|pid| all.get(&pid))
        .filter(|s| !s.is_dead())
        .map(|s| Process { pid: s.pid, start: s.start })
        .collect()
}

/// CPU time used so far by a process and all its descendants, milliseconds; those that they waited for included.
pub fn tree_cpu_ms(all: &Processes, root: i32) -> Option<u64> {
    let own = all.get(&root).filter(|stat| !stat.is_dead())?;
    let used = |stat: &Stat| stat.cpu.saturating_add(stat.cpu_children);
    let below = below(all, root).into_iter().filter(|pid| *pid != root);
    let ticks = below.filter_map(|pid| all.get(&pid)).map(used).fold(used(own), u64::saturating_add);
    Some(ticks.saturating_mul(1000) / ticks_per_s())
}

/// CPU time used so far by a CLI's tools, ended ones that were waited for included, milliseconds: of all descendants of
/// its process but those that are the CLI itself. gemini and qwen run in a child of the process that was started,
/// codex in a child of its launcher, and draw their spinner there. `programs` are the CLI's own.
pub fn tools_cpu_ms(all: &Processes, root: i32, programs: &[String]) -> Option<u64> {
    all.get(&root).filter(|s| !s.is_dead())?;
    let is_own = |stat: &Stat| {
        programs.contains(&stat.comm) || programs.contains(&command_name(&first_word(stat.pid)))
    };
    let cli = cli_processes(all, root, &is_own);
    let mut ticks = cli.last().and_then(|pid| all.get(pid)).map_or(0, |s| s.cpu_children);
    for pid in below(all, root).into_iter().filter(|pid| !cli.contains(pid)) {
        let used = all.get(&pid).map_or(0, |s| s.cpu.saturating_add(s.cpu_children));
        ticks = ticks.saturating_add(used);
    }
    Some(ticks.saturating_mul(1000) / ticks_per_s())
}

/// A launcher and what it launched, one below the other: an only child that began with its parent and runs a program
/// of the CLI's own. Never empty.
fn cli_processes(all: &BTreeMap<i32, Stat>, root: i32, is_own: &dyn Fn(&Stat) -> bool) -> Vec<i32> {
    let mut chain = vec![root];
    while let Some(parent) = chain.last().and_then(|pid| all.get(pid)).filter(|_| chain.len() < CLI_CHAIN_MAX)
    {
        let mut children = all.values().filter(|s| s.parent == parent.pid && !s.is_dead());
        let (Some(child), None) = (children.next(), children.next()) else { break };
        let began_with = child.start.saturating_sub(parent.start) <= CLI_BEGINS_S * ticks_per_s();
        if !began_with || !is_own(child) {
            break;
        }
        chain.push(child.pid);
    }
    chain
}

/// Pids of the tree under `root` (included), deepest first.
fn below(all: &BTreeMap<i32, Stat>, root: i32) -> Vec<i32> {
    if root <= 1 || !all.contains_key(&root) {
        return Vec::new();
    }
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for stat in all.values() {
        children.entry(stat.parent).or_default().push(stat.pid);
    }
    let orphans = all.values().filter(|s| s.session == root && s.pid != root).map(|s| s.pid);
    let mut order = vec![root];
    let mut known = BTreeSet::from([root]);
    let mut next = 0;
    while next < order.len() && order.len() < TREE_MAX {
        let kids = children.get(&order[next]).into_iter().flatten().copied();
        order.extend(kids.filter(|kid| known.insert(*kid)));
        next += 1;
    }
    // Whoever is left of the session lost its parent: it stands beside the root's children, so it is signalled
    // before the root but after the deeper ones that are known to be below it.
    let lost: Vec<i32> = orphans.filter(|pid| known.insert(*pid)).collect();
    order.splice(1..1, lost);
    order.truncate(TREE_MAX);
    order.reverse();
    order
}

/// All processes of the host. (Costly: one look serves a whole tick.)
pub fn all() -> Processes {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Processes::new() };
    entries
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect()
}

/// Name of the program in the foreground of the process's terminal, as tmux derives `pane_current_command`:
/// the first word of argv\[0\] without its folder and a login shell's dash. "" when unknown.
pub fn foreground_command(pid: i32) -> String {
    let Some(stat) = stat(pid).filter(|s| !s.is_dead()) else { return String::new() };
    let leader = if stat.foreground > 0 { stat.foreground } else { pid };
    match command_name(&first_word(leader)) {
        name if !name.is_empty() => name,
        // A kernel thread or a zombie leader: its short name is all there is.
        _ if leader == pid => stat.comm,
        _ => self::stat(leader).map(|s| s.comm).unwrap_or_default(),
    }
}

/// Whether the leader of the foreground group of the process's terminal has no living child in that group. None when
/// the kernel does not list children.
pub fn is_alone(pid: i32) -> Option<bool> {
    let stat = stat(pid).filter(|s| !s.is_dead())?;
    let leader = if stat.foreground > 0 { stat.foreground } else { pid };
    let children = read(leader, &format!("task/{leader}/children"))?;
    let children = String::from_utf8_lossy(&children);
    let here = |child: &str| {
        let child = self::stat(child.parse().ok()?)?;
        Some(!child.is_dead() && child.group == leader)
    };
    Some(!children.split_whitespace().any(|child| here(child) == Some(true)))
}

/// The argv that a process has now; empty when unknown.
pub fn argv(pid: i32) -> Vec<String> {
    let bytes = read(pid, "cmdline").unwrap_or_default();
    let Some(words) = bytes.strip_suffix(&[0]) else { return Vec::new() };
    words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// argv\[0\]; "" when unknown.
fn first_word(pid: i32) -> String {
    let argv = read(pid, "cmdline").unwrap_or_default();
    let first = argv.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(first).into_owned()
}

fn command_name(argv0: &str) -> String {
    let trimmed = argv0.trim_start_matches([' ', '-']);
    let word = trimmed.split(' ').next().unwrap_or_default();
    word.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A variable of a process's start environment.
pub fn environ(pid: i32, key: &str) -> Option<String> {
    let bytes = read(pid, "environ")?;
    let value =
        bytes.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(key.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Working directory of a process.
pub fn cwd(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// The boot's wall time, seconds since 1970 (`btime`).
pub fn boot_time_s() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()
}

/// Clock ticks per second.
pub fn ticks_per_s() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

fn read(pid: i32, file: &str) -> Option<Vec<u8>> {
    if pid <= 0 {
        return None;
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/{file}")).ok()?;
    file.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "77 (a) b (c) S 5 77 77 34816 99 4194304 100 0 0 0 7 3 -1 2 20 0 1 0 4242 1000 10";

    fn fake(pid: i32, parent: i32, session: i32) -> (i32, Stat) {
        let line = format!("{pid} (x) S {parent} 1 {session} 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 {pid} 0 0");
        (pid, parse_stat(&line).unwrap())
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = parse_stat(LINE).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state, stat.parent), ("a) b (c", 'S', 5));
        assert_eq!((stat.foreground, stat.cpu, stat.cpu_children, stat.start), (99, 10, 2, 4242));
        assert_eq!(parse_stat("77 (sh"), None);
        assert_eq!(parse_stat("77 (sh) S 5"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_tree_is_listed_deepest_first_with_the_orphans_of_its_session() {
        let all = BTreeMap::from([
            fake(10, 2, 10),
            fake(11, 10, 10),
            fake(12, 11, 12),
            fake(13, 1, 10), // its parent is gone
            fake(20, 2, 20),
            fake(21, 20, 20),
        ]);
        assert_eq!(below(&all, 10), [12, 11, 13, 10]);
        assert_eq!(below(&all, 99), [0; 0]);
        assert_eq!(below(&all, 1), [0; 0]);
    }

    #[test]
    fn a_launcher_and_what_it_launched_are_the_cli() {
        let check = |processes: &[(i32, i32)], want: &[i32]| {
            let all = processes.iter().map(|(pid, parent)| fake(*pid, *parent, 10)).collect();
            // Pids under 500 000 run the CLI's own program.
            assert_eq!(cli_processes(&all, 10, &|stat| stat.pid < 500_000), want, "{processes:?}");
        };
        check(&[(10, 2)], &[10]);
        check(&[(10, 2), (11, 10)], &[10, 11]);
        check(&[(10, 2), (11, 10), (12, 11), (500_001, 12)], &[10, 11, 12]);
        // A tool and a helper, one of the same name.
        check(&[(10, 2), (11, 10), (12, 10)], &[10]);
        // Begun long after its parent (starts are the pids, in ticks).
        check(&[(10, 2), (400_000, 10)], &[10]);
        check(&[(10, 2), (500_001, 10)], &[10]);
        check(&[], &[10]);
    }

    #[test]
    fn command_names_are_as_tmux_shows_them() {
        for (argv0, want) in [
            ("-bash", "bash"),
            ("/usr/bin/node", "node"),
            ("claude --continue", "claude"),
            ("2.1.30", "2.1.30"),
            ("", ""),
        ] {
            assert_eq!(command_name(argv0), want, "{argv0:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_zombie_is_dead_and_a_pid_alone_is_no_identity() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let born = start(pid).unwrap();
        assert!(tree(&all(), std::process::id().cast_signed()).contains(&Process { pid, start: born }));
        child.kill().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while start(pid).is_some() {
            assert!(std::time::Instant::now() < until);
            std::thread::yield_now();
        }
        assert!(stat(pid).unwrap().is_dead(), "not yet waited for, so still listed");
        assert_eq!(zombie_exit(pid), Some(Exit::Signal(9)));
        assert_eq!(tree(&all(), pid), []);
        child.wait().unwrap();
        assert_eq!((stat(pid), zombie_exit(pid)), (None, None));
        for status in [0, 7] {
            let script = format!("exit {status}");
            let mut child = std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap();
            let pid = child.id().cast_signed();
            while start(pid).is_some() {
                assert!(std::time::Instant::now() < until);
            }
            assert_eq!(zombie_exit(pid), Some(Exit::Status(status)));
            child.wait().unwrap();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn environment_and_directory_of_a_process_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .env("HOME", "/somewhere else")
            .current_dir(&dir)
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        // A process that has only just been started has no environment yet.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let home = loop {
            match environ(pid, "HOME") {
                None if std::time::Instant::now() < until => std::thread::yield_now(),
                home => break home,
            }
        };
        let place = cwd(pid);
        let name = foreground_command(pid);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(home.as_deref(), Some("/somewhere else"));
        assert_eq!(place, Some(dir.path().canonicalize().unwrap()));
        assert!(!name.is_empty());
        assert_eq!(environ(pid, "HOME"), None);
    }
}

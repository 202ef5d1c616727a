//! The same as strace does, without it: this test program as another process, whose files and host count what they are
//! asked to change, and which kills itself before the Nth of it.

use crate::lab::Lab;
use crate::scenes::{ALERT, DOWN, HEAL, Labs, NUDGE, RESTART, Scene, WAKE, WORKERS};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Mutex;
use watchkeeper::base::error::Result;
use watchkeeper::base::time::Now;
use watchkeeper::engine::home::Home;
use watchkeeper::engine::tick::{Identity, Watchdog};
use watchkeeper::model::action::{Action, Outcome};
use watchkeeper::model::seen::{BranchFacts, HostSeen, JobSeen, Process, Scope, TranscriptSeen, Vote};
use watchkeeper::sys::files::RealFiles;
use watchkeeper::sys::git::BranchQuery;
use watchkeeper::sys::lock::{self, TryLock};
use watchkeeper::sys::real_host::RealHost;
use watchkeeper::sys::{Files, Host, PaneList, Replaced, Sync, outside};

/// Tells the process which it is: `N CONFIG`.
const CUT: &str = "WK_TEST_CUT";
/// Exit code of a tick that got past its cut.
const SURVIVED: i32 = 42;

/// Ends this process before the operation whose turn it is.
#[derive(Clone, Debug)]
struct Cut {
    left: Rc<Cell<usize>>,
}

impl Cut {
    fn count(&self) {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        if left == 0 {
            crate::lab::signal(std::process::id().cast_signed(), rustix::process::Signal::KILL);
        }
    }

    /// Files whose loss changes nothing are not worth a cut.
    fn count_file(&self, path: &str) {
        if !matches!(path, "clocks.json" | "heartbeat.json" | "status") && !path.ends_with("screen.txt") {
            self.count();
        }
    }
}

struct CutFiles {
    files: RealFiles,
    cut: Cut,
}

impl Files for CutFiles {
    fn read(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.files.read(path, limit)
    }
    fn tail(&mut self, path: &str, bytes: u64) -> Result<Vec<u8>> {
        self.files.tail(path, bytes)
    }
    fn stamp(&mut self, path: &str) -> Option<String> {
        self.files.stamp(path)
    }
    fn replace(&mut self, path: &str, expected: Option<&[u8]>, bytes: &[u8], sync: Sync) -> Result<Replaced> {
        self.cut.count_file(path);
        self.files.replace(path, expected, bytes, sync)
    }
    fn append(&mut self, path: &str, record: &str) -> Result<()> {
        self.cut.count_file(path);
        self.files.append(path, record)
    }
    fn list(&mut self, path: &str) -> Result<Vec<String>> {
        self.files.list(path)
    }
    fn remove(&mut self, path: &str) -> Result<()> {
        self.cut.count_file(path);
        self.files.remove(path)
    }
    fn irregular(&mut self, path: &str) -> Option<String> {
        self.files.irregular(path)
    }
    fn quarantine(&mut self, path: &str) -> Result<String> {
        self.cut.count_file(path);
        self.files.quarantine(path)
    }
}

struct CutHost {
    host: RealHost,
    cut: Cut,
}

impl Host for CutHost {
    fn now(&mut self) -> Now {
        self.host.now()
    }
    fn panes(&mut self) -> PaneList {
        self.host.panes()
    }
    fn capture(&mut self, panes: &[String]) -> BTreeMap<String, String> {
        self.host.capture(panes)
    }
    fn process_start(&mut self, pid: i32) -> Option<u64> {
        self.host.process_start(pid)
    }
    fn process_tree(&mut self, pid: i32) -> Vec<Process> {
        self.host.process_tree(pid)
    }
    fn tools_cpu_ms(&mut self, pid: i32, programs: &[String]) -> Option<u64> {
        self.host.tools_cpu_ms(pid, programs)
    }
    fn vote(&mut self, status_file: &str, pid: i32) -> Option<Vote> {
        self.host.vote(status_file, pid)
    }
    fn transcript(&mut self, dir: &str, suffix: &str, pid: i32, cwd: &str) -> Option<TranscriptSeen> {
        self.host.transcript(dir, suffix, pid, cwd)
    }
    fn tip(
        &mut self,
        repo: &Path,
        remote: &str,
        branch: &str,
    ) -> std::result::Result<Option<String>, String> {
        self.host.tip(repo, remote, branch)
    }
    fn branch(&mut self, query: &BranchQuery) -> std::result::Result<BranchFacts, String> {
        self.host.branch(query)
    }
    fn job(&mut self, id: &str) -> JobSeen {
        self.host.job(id)
    }
    fn pressure(&mut self) -> HostSeen {
        self.host.pressure()
    }
    fn perform(&mut self, action: &Action) -> Outcome {
        self.cut.count();
        self.host.perform(action)
    }
}

/// Not a test of its own: the tick that kills itself, when this program was started for that.
#[test]
fn a_tick_that_kills_itself() {
    let Ok(order) = std::env::var(CUT) else { return };
    let (nth, config) = order.split_once(' ').unwrap();
    let home = Home::new(Some(config.as_ref()), None).unwrap();
    let config = home.load().unwrap().config;
    let mut files = RealFiles::create(&config.state_dir).unwrap();
    let _lock = match lock::try_lock(&config.state_dir, "tick").unwrap() {
        TryLock::Got(lock) => lock,
        TryLock::Held(held) => panic!("{held:?}"),
    };
    let _ = files.clean_leftovers();
    let cut = Cut { left: Rc::new(Cell::new(nth.parse().unwrap())) };
    let host = RealHost::new(&config.tmux_socket, &config.state_dir);
    let stamp = config.state_dir.to_string_lossy().into_owned();
    let host = CutHost { host, cut: cut.clone() };
    let mut watchdog = Watchdog::new(host, CutFiles { files, cut }, stamp, Identity::default());
    let began = std::time::Instant::now();
    // As `tick` does: what is due within 3 s follows at once.
    while began.elapsed().as_secs_f64() < 3.0 {
        let due_s = watchdog.tick(&config, Scope::All).due_s;
        if began.elapsed().as_secs_f64() + due_s > 3.0 {
            break;
        }
        outside::nap(due_s);
    }
    std::process::exit(SURVIVED);
}

/// Runs a tick that kills itself before its Nth change; false when there were fewer.
fn cut_at(lab: &Lab, nth: usize) -> bool {
    let mut command = lab.command(std::env::current_exe().unwrap());
    command.args(["--exact", "cut::a_tick_that_kills_itself", "--nocapture"]);
    command.env(CUT, format!("{nth} {}", lab.config().display()));
    let ended = lab.finish(command);
    assert!(matches!(ended.code, None | Some(SURVIVED)), "{ended:?}");
    ended.code.is_none()
}

/// Plays the scene once for each change that its tick makes. With strace there, which tries all of it, only some.
#[track_caller]
fn cut_everywhere(scene: Scene) {
    let step = if crate::strace::is_there() && !crate::strace::all_are_wanted() { 9 } else { 1 };
    let next = Mutex::new(1);
    let work = |lab: &Lab| {
        let mut cuts = 0;
        loop {
            let nth = {
                let mut next = next.lock().unwrap();
                let nth = *next;
                *next += step;
                nth
            };
            let mut was_cut = false;
            scene.play(lab, &format!("its change {nth}"), |lab| was_cut = cut_at(lab, nth));
            if !was_cut {
                return cuts;
            }
            cuts += 1;
        }
    };
    assert_eq!(scene.lab, Labs::Shared);
    let first = scene.lab(WORKERS);
    let cuts: usize = std::thread::scope(|scope| {
        let others: Vec<_> = (1..WORKERS).map(|_| scope.spawn(|| work(&scene.lab(0)))).collect();
        let own = work(&first);
        own + others.into_iter().map(|other| other.join().unwrap()).sum::<usize>()
    });
    assert!(cuts * step >= 9, "only {cuts} ticks were cut");
}

#[test]
fn cut_while_it_heals() {
    cut_everywhere(HEAL);
}

#[test]
fn cut_while_it_delivers_a_text() {
    cut_everywhere(NUDGE);
}

#[test]
fn cut_while_it_restarts() {
    cut_everywhere(RESTART);
}

#[test]
fn cut_while_it_stops_a_unit() {
    cut_everywhere(DOWN);
}

#[test]
fn cut_while_it_wakes() {
    cut_everywhere(WAKE);
}

#[test]
fn cut_while_it_tells_people() {
    cut_everywhere(ALERT);
}

//! What Slurm and its daemons do when they are killed or hang, each on a cluster of its own: the daemons that are killed here
//! are nobody else's. The numbers of the traps are those of the list at `Cluster`.

use crate::lab::{Remote, assert_runs, call, value};
use crate::place::{kill, kill_and_wait, until};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use watchkeeper::model::process::{HostLaunch, HostPlace, ProcessLaunch, RunSeen};
use watchkeeper::model::seen::Exit;
use watchkeeper::sys::hosts::records;
use watchkeeper::sys::proc;

const CONF: &str = "SLURM_CONF";

/// A Slurm of its own, by the lab's script. Dropping it ends its daemons.
///
/// The traps, and where they are tested: 1 a cancel of an unknown job is silent, 2 jobs that ended are listed only on demand,
/// 8 arrays, 9 names that look like answers (`slurm::exits_and_ends`); 3 a controller that is down
/// (`slurm::a_controller_that_is_down_ended_nothing`) or hangs; 4 a controller that forgot a start; 5 a node that was lost
/// and works on; 6 a killed slurmstepd (here); 7 requeued jobs (`slurm::suspended_and_requeued`); 10 states with a suffix
/// (`sys::hosts::slurm`).
struct Cluster {
    lab: tempfile::TempDir,
    port: u32,
}

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    fn script(&self, word: &str) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/slurm.sh"));
        command.arg(word).env("WATCHKEEPER_LAB", self.lab.path());
        command.env("WATCHKEEPER_LAB_PORT", self.port.to_string());
        command.env("WATCHKEEPER_LAB_MINJOBAGE", "2").env("WATCHKEEPER_LAB_SLURMDTIMEOUT", "4");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn up() -> Option<Cluster> {
        let lab = tempfile::Builder::new().prefix("wk-slurm-").tempdir().unwrap();
        // Ports of the lab and of other clusters lie elsewhere.
        let port = 10_000 + std::process::id() % 100 * 160 + CLUSTERS.fetch_add(1, Ordering::Relaxed) * 20;
        let cluster = Cluster { lab, port };
        let up = cluster.script("up").status().is_ok_and(|status| status.success());
        up.then_some(cluster)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.script("down").status();
    }
}

/// Runs the story of the test of that name in a process with a cluster of its own.
fn on_a_cluster(name: &str, story: fn(Daemons)) {
    if let Ok(conf) = std::env::var(CONF)
        && std::env::var_os("HOSTS_TEST_LAB").is_some()
    {
        return story(Daemons { home: Path::new(&conf).parent().unwrap().to_owned() });
    }
    if value(CONF).is_none() {
        return println!("{name}: not tested, the lab has no Slurm (tests/lab/up.sh brings it up)");
    }
    let Some(cluster) = Cluster::up() else { panic!("{name}: a second Slurm did not come up") };
    let conf = cluster.lab.path().join("slurm/slurm.conf");
    assert_runs(&format!("traps::{name}"), &[(CONF, conf.to_str().unwrap())]);
}

struct Daemons {
    home: PathBuf,
}

impl Daemons {
    fn pid(&self, name: &str) -> i32 {
        std::fs::read_to_string(self.home.join(format!("run/{name}.pid"))).unwrap().trim().parse().unwrap()
    }

    fn start_controller(&self) {
        call(&["slurmctld", "-f", self.home.join("slurm.conf").to_str().unwrap()]);
    }

    fn signal(&self, name: &str, signal: Signal) {
        kill_process(Pid::from_raw(self.pid(name)).unwrap(), signal).unwrap();
    }

    fn node_of(&self, remote: &Remote) -> String {
        call(&["squeue", "-h", "-j", job(remote), "-o", "%N"])
    }
}

fn job(remote: &Remote) -> &str {
    remote.known.handle.split('.').next().unwrap()
}

const WRITES: &str = "echo up; while :; do echo tick; sleep 0.2; done";

fn started(script: &str, args: &[&str]) -> Remote {
    let mut remote = Remote::new(HostPlace::Slurm);
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    let launch = ProcessLaunch { host: HostLaunch::Slurm { args }, ..remote.place.sh(1, script) };
    remote.run(&launch);
    remote.alive();
    remote
}

/// The programs of the run: processes that carry its mark and run `sh -c`.
fn payloads(remote: &Remote) -> Vec<i32> {
    let mark = format!("{}/", records::owner(&remote.place.state()));
    let is_program = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with(b"sh\0-c\0")
    };
    records::marked(&proc::all(), &mark).iter().map(|stat| stat.pid).filter(is_program).collect()
}

/// The one program of the run.
fn payload(remote: &Remote) -> i32 {
    let mut found = Vec::new();
    until("its program runs", || {
        found = payloads(remote);
        !found.is_empty()
    });
    found[0]
}

/// Looks for so long; each look is short, and none may say what is not so.
#[track_caller]
pub fn watch(remote: &mut Remote, time: Duration, wrong: impl Fn(&RunSeen) -> bool) -> Vec<RunSeen> {
    let until = Instant::now() + time;
    let mut seen = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let now = remote.look();
        assert!(began.elapsed() < Duration::from_secs(2), "a look took {:?}", began.elapsed());
        assert!(!wrong(&now), "{now:?}");
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    seen
}

pub fn is_over(seen: &RunSeen) -> bool {
    matches!(seen, RunSeen::Ended { .. } | RunSeen::Absent)
}

/// Trap 3: a controller that hangs answers nobody; a look does not wait for it, and not seen is not dead.
#[test]
fn a_controller_that_hangs_ended_nothing() {
    on_a_cluster("a_controller_that_hangs_ended_nothing", |daemons| {
        let mut remote = started(WRITES, &[]);
        daemons.signal("slurmctld", Signal::STOP);
        let seen = watch(&mut remote, Duration::from_secs(14), is_over);
        daemons.signal("slurmctld", Signal::CONT);
        assert!(matches!(seen.last(), Some(RunSeen::Unknown { why }) if why.contains("squeue")), "{seen:?}");
        remote.alive();
        remote.cancel();
        remote.ended();
    });
}

/// Trap 4: the controller is killed before it saved the start, and starts the job again: its node refuses, and the job is
/// held while its process lives; or the process is ended first. The run is never over, and there are no two of it.
#[test]
fn a_controller_that_forgot_a_start_ended_nothing() {
    on_a_cluster("a_controller_that_forgot_a_start_ended_nothing", |daemons| {
        let mut remote = started(WRITES, &[]);
        payload(&remote);
        kill_and_wait(daemons.pid("slurmctld"));
        daemons.start_controller();
        let seen = watch(&mut remote, Duration::from_secs(10), |seen| {
            is_over(seen) || matches!(seen, RunSeen::Alive { id, .. } if id.number != 1)
        });
        assert!(payloads(&remote).len() <= 1, "{seen:?}");
    });
}

/// Trap 5: Slurm gives the node up, and its processes work on. They are no end as long as they write; their own end is told
/// by themselves.
#[test]
fn a_lost_node_that_works_on_ended_nothing() {
    on_a_cluster("a_lost_node_that_works_on_ended_nothing", |daemons| {
        let script = "echo up; while ! test -e enough; do echo tick; sleep 0.2; done; exit 7";
        let mut remote = started(script, &["--no-requeue"]);
        let program = payload(&remote);
        let node = daemons.node_of(&remote);
        kill_and_wait(daemons.pid(&format!("slurmd-{node}")));
        let split = |seen: &RunSeen| matches!(seen, RunSeen::Unknown { why } if why.contains("still grows"));
        let seen = remote.until("it is lost", |seen| split(seen) || is_over(seen));
        assert!(split(&seen), "{seen:?}");
        assert!(proc::stat(program).is_some_and(|stat| !stat.is_dead()));
        std::fs::write(remote.place.work().join("enough"), "").unwrap();
        let (exit, note) = remote.ended();
        assert!(exit == Some(Exit::Status(7)) && note.contains("had lost its node"), "{exit:?} {note}");
    });
}

/// Trap 6: without its slurmstepd a job's processes are orphans that Slurm calls running. Nothing is over, and when the
/// program comes to its end it is not a guess how.
#[test]
fn a_killed_slurmstepd_ended_nothing() {
    on_a_cluster("a_killed_slurmstepd_ended_nothing", |_| {
        let mut remote = started(WRITES, &["--no-requeue"]);
        let program = payload(&remote);
        let ancestors = std::iter::successors(proc::stat(program), |stat| proc::stat(stat.parent));
        let step = ancestors.take(10).find(|stat| stat.comm.starts_with("slurmstepd")).unwrap();
        kill(step.pid);
        let seen = watch(&mut remote, Duration::from_secs(6), is_over);
        assert!(matches!(seen.last(), Some(RunSeen::Alive { .. })), "{seen:?}");
        assert!(proc::stat(program).is_some_and(|stat| !stat.is_dead()));
        kill(program);
    });
}

/// Slurm forgets a job soon after its end, and nothing is accounted here. The exit was written down by the job; where it
/// was not, nobody knows it, and that is what is said.
#[test]
fn a_job_that_slurm_forgot_has_its_exit_in_the_units_folder() {
    on_a_cluster("a_job_that_slurm_forgot_has_its_exit_in_the_units_folder", |_| {
        let mut told = started("until test -e go; do sleep 0.1; done; exit 0", &[]);
        let mut untold = started("until test -e go; do sleep 0.1; done; exit 0", &[]);
        let jobs = format!("{},{}", job(&told), job(&untold));
        // Nobody looks at it until it is forgotten.
        for remote in [&told, &untold] {
            std::fs::write(remote.place.work().join("go"), "").unwrap();
        }
        until("Slurm forgot them", || {
            let squeue = Command::new("squeue").args(["-h", "-t", "all", "-j", &jobs]).output().unwrap();
            String::from_utf8_lossy(&squeue.stdout).trim().is_empty()
        });
        std::fs::remove_file(untold.place.unit("exit.json")).unwrap();
        for remote in [&mut told, &mut untold] {
            remote.forget();
        }
        assert_eq!(told.ended(), (Some(Exit::Status(0)), String::new()));
        let seen = untold.until("it is forgotten", is_over);
        assert!(seen.is_vanished(), "{seen:?}");
    });
}

//! A real Slurm: exits, a lost answer, suspended and requeued jobs, arrays, a controller that is down.

use crate::lab::{Remote, assert_runs, call, inside, value};
use crate::place::{Place, until};
use std::process::{Child, Command, Stdio};
use watchkeeper::model::process::{HostLaunch, HostPlace, ProcessLaunch, RunSeen};
use watchkeeper::model::seen::Exit;

const CONF: &str = "SLURM_CONF";

fn launch(remote: &Remote, number: u64, script: &str, args: &[&str]) -> ProcessLaunch {
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    ProcessLaunch { host: HostLaunch::Slurm { args }, ..remote.place.sh(number, script) }
}

fn job(remote: &Remote) -> String {
    remote.known.handle.split('.').next().unwrap().to_owned()
}

/// Traps 1 (a cancel of an unknown job says nothing), 2 (jobs that ended are not listed by themselves), 8 (arrays) and 9 (a
/// job's name that looks like an answer).
#[test]
fn exits_and_ends() {
    if !inside("slurm::exits_and_ends", CONF) {
        return;
    }
    let mut remote = Remote::new(HostPlace::Slurm);
    assert_eq!(remote.until("it is asked", |seen| !matches!(seen, RunSeen::Unknown { .. })), RunSeen::Absent);
    // A job of the same user whose name looks like an answer.
    let other = call(&[
        "sbatch",
        "--parsable",
        "-H",
        "-J",
        "x\n1|0|COMPLETED|0",
        "--output=/dev/null",
        "--wrap",
        "true",
    ]);
    let first =
        launch(&remote, 1, "echo to out; echo to err >&2; echo $WATCHKEEPER_UNIT $EXTRA; exit 3", &[]);
    let first = ProcessLaunch { env: [("EXTRA".to_owned(), "a,b c".to_owned())].into(), ..first };
    remote.run(&first);
    assert_eq!(remote.ended(), (Some(Exit::Status(3)), String::new()));
    assert_eq!(remote.place.text("out.log"), "to out\nto err\ntrain a,b c\n");
    // The same order again is no second run.
    remote.run(&first);
    assert_eq!(remote.ended().0, Some(Exit::Status(3)));
    remote.run(&launch(&remote, 2, "kill -11 $$", &[]));
    assert_eq!(remote.ended().0, Some(Exit::Signal(11)));
    // A status above 128 is no signal, and what is meant for the batch script reaches the program; TERM comes once.
    remote.run(&launch(
        &remote,
        6,
        "trap 'echo user; exit 137' USR1; echo ready; while :; do sleep 0.1; done",
        &[],
    ));
    remote.alive();
    crate::place::until("it is ready", || remote.place.text("out.log").contains("ready"));
    call(&["scancel", "--batch", "--signal=USR1", &job(&remote)]);
    assert_eq!(remote.ended().0, Some(Exit::Status(137)));
    assert!(remote.place.text("out.log").ends_with("ready\nuser\n"));
    remote.run(&launch(&remote, 7, "trap 'echo term' TERM; echo ready; while :; do sleep 0.1; done", &[]));
    remote.alive();
    crate::place::until("it is ready", || remote.place.text("out.log").matches("ready").count() == 2);
    remote.cancel();
    remote.ended();
    assert_eq!(remote.place.text("out.log").matches("term\n").count(), 1);
    remote.run(&launch(&remote, 8, "exec sleep 600", &[]));
    remote.alive();
    remote.cancel();
    let (exit, note) = remote.ended();
    assert!(exit != Some(Exit::Status(0)) && note.starts_with("CANCELLED"), "{exit:?} {note}");
    // What is over is cancelled in silence.
    remote.cancel();
    remote.run(&launch(&remote, 9, "true", &["--partition=none-such"]));
    let (exit, note) = remote.ended();
    assert!(
        exit.is_none() && note.contains("could not be submitted") && note.contains("partition"),
        "{note}"
    );
    remote.run(&launch(&remote, 10, "exec sleep 600", &["--array=1-3"]));
    remote.alive();
    remote.cancel();
    remote.ended();
    assert_eq!(call(&["squeue", "-h", "-j", &job(&remote), "-t", "running,pending"]), "");
    call(&["scancel", &other]);
}

#[test]
fn an_answer_that_was_lost_is_found_again() {
    if !inside("slurm::an_answer_that_was_lost_is_found_again", CONF) {
        return;
    }
    let mut remote = Remote::new(HostPlace::Slurm);
    remote.run(&launch(&remote, 1, "exec sleep 600", &[]));
    remote.alive();
    let before = remote.known.handle.clone();
    // The watchdog died, and everything that the order said is lost.
    remote.forget();
    remote.known.handle.clear();
    std::fs::remove_dir_all(remote.place.state().join("jobs")).unwrap();
    remote.alive();
    assert_eq!(remote.known.handle, before);
    // Were it ordered nonetheless, Slurm runs one of them at a time.
    let first = remote.known.clone();
    remote.run(&launch(&remote, 2, "exec sleep 600", &[]));
    let seen =
        remote.until("it waits", |seen| matches!(seen, RunSeen::Pending { id, .. } if !id.handle.is_empty()));
    assert!(matches!(seen, RunSeen::Pending { .. }));
    remote.cancel();
    remote.ended();
    call(&["scancel", first.handle.split('.').next().unwrap()]);
}

/// Not even what was ordered is remembered: the job that lives is found, and no second one is ordered beside it.
#[test]
fn a_job_that_nobody_remembers_is_found() {
    if !inside("slurm::a_job_that_nobody_remembers_is_found", CONF) {
        return;
    }
    let mut remote = Remote::new(HostPlace::Slurm);
    remote.run(&launch(&remote, 4, "exec sleep 600", &[]));
    remote.alive();
    let before = remote.known.clone();
    remote.lose_everything();
    remote.alive();
    assert_eq!(remote.known, before);
    remote.cancel();
    remote.ended();
    // What is over is not begun anew because its records are lost.
    remote.lose_everything();
    assert!(remote.ended().1.starts_with("CANCELLED"));
    assert_eq!(remote.known, before);
}

/// Trap 7: the same job, another run.
#[test]
fn suspended_and_requeued() {
    if !inside("slurm::suspended_and_requeued", CONF) {
        return;
    }
    let mut remote = Remote::new(HostPlace::Slurm);
    remote.run(&launch(&remote, 1, "echo up; exec sleep 600", &[]));
    remote.alive();
    let job = job(&remote);
    assert_eq!(remote.known.handle, format!("{job}.0"));
    call(&["scontrol", "suspend", &job]);
    remote.suspended();
    call(&["scontrol", "resume", &job]);
    remote.alive();
    call(&["scontrol", "requeue", &job]);
    remote.until("it waits", |seen| matches!(seen, RunSeen::Pending { .. }));
    call(&["scontrol", "update", &format!("jobid={job}"), "StartTime=now"]);
    remote.alive();
    assert_eq!((remote.known.number, remote.known.handle.as_str()), (1, format!("{job}.1").as_str()));
    remote.cancel();
    remote.ended();
    assert_eq!(remote.place.text("out.log").matches("up\n").count(), 2, "its log is appended to");
}

/// Trap 3: not seen is not dead.
#[test]
fn a_controller_that_is_down_ended_nothing() {
    const TEST: &str = "slurm::a_controller_that_is_down_ended_nothing";
    let Some(conf) = value(CONF) else {
        println!("{TEST}: not tested, the lab has no Slurm");
        return;
    };
    if std::env::var(CONF).is_ok_and(|now| now.ends_with("down.conf")) {
        let mut remote = Remote::new(HostPlace::Slurm);
        remote.known.number = 1;
        remote.known.handle = "7.0".into();
        let why = "it has failed";
        let seen = remote.until(why, |seen| {
            matches!(seen, RunSeen::Unknown { why } if why.contains("squeue")
            && !why.contains("being asked"))
        });
        assert!(matches!(seen, RunSeen::Unknown { .. }), "{seen:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let down = dir.path().join("down.conf");
    let text = std::fs::read_to_string(conf).unwrap();
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("SlurmctldPort")).collect();
    std::fs::write(&down, format!("{}\nSlurmctldPort=1\n", text.join("\n"))).unwrap();
    assert_runs(TEST, &[(CONF, down.to_str().unwrap())]);
}

/// What waits for ever is told, with the reason and what helps; `status` and `why` say it, and the advice works.
#[test]
fn a_held_job_is_told_and_can_be_let_go() {
    if !inside("slurm::a_held_job_is_told_and_can_be_let_go", CONF) {
        return;
    }
    let place = Place::new();
    let config = "[watchdog]\nsignal_interval = 0.5\n[[process]]\nname = \"train\"\nhost = \"slurm\"\n\
                  command = [\"sleep\", \"600\"]\nsbatch_args = [\"--hold\"]\n[process.healing]\nagent = \"off\"\n";
    std::fs::write(place.work().join("agents.toml"), config).unwrap();
    let wk = |words: &[&str]| {
        let mut wk = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
        wk.arg("--state").arg(place.state()).args(words).current_dir(place.work());
        wk
    };
    let says = |words: &[&str]| String::from_utf8(wk(words).output().unwrap().stdout).unwrap();
    let mut dog = Killed(wk(&["run"]).stdout(Stdio::null()).spawn().unwrap());
    let outbox = || std::fs::read_to_string(place.state().join("outbox.jsonl")).unwrap_or_default();
    until("people are told", || outbox().contains("scontrol release"));
    let told = outbox();
    assert!(told.contains("JobHeldUser") && told.matches("does not begin by itself").count() == 1, "{told}");
    for command in ["status", "why"] {
        let said = says(&[command]);
        assert!(said.contains("JobHeldUser") && said.contains("scontrol release"), "{said}");
    }
    // The command that was named, word for word.
    let advice = told.split("`scontrol release ").nth(1).unwrap().split('`').next().unwrap();
    call(&["scontrol", "release", advice]);
    until("it runs", || says(&["status"]).contains("running"));
    assert!(!says(&["status"]).contains("scontrol"));
    assert!(wk(&["down"]).stdout(Stdio::null()).status().unwrap().success());
    until("it is ended", || call(&["squeue", "-h", "-j", advice, "-t", "running,pending"]).is_empty());
    dog.0.kill().unwrap();
}

/// What else never begins by itself, as this Slurm says it.
#[test]
fn reasons_that_never_end() {
    if !inside("slurm::reasons_that_never_end", CONF) {
        return;
    }
    let failed = call(&["sbatch", "--parsable", "--output=/dev/null", "--wrap", "exit 1"]);
    let after = format!("--dependency=afterok:{failed}");
    let cases: [(&str, &[&str]); 2] =
        [("DependencyNeverSatisfied", &[&after]), ("PartitionNodeLimit", &["--nodes=3"])];
    for (reason, args) in cases {
        let mut remote = Remote::new(HostPlace::Slurm);
        remote.run(&launch(&remote, 1, "exec sleep 600", args));
        let seen = remote.until(reason, |seen| matches!(seen, RunSeen::Pending { held: Some(_), .. }));
        let RunSeen::Pending { held: Some(held), .. } = seen else { panic!() };
        assert!(held.why.ends_with(reason) && held.advice.contains("`scancel "), "{held:?}");
        remote.cancel();
        remote.ended();
    }
    let mut remote = Remote::new(HostPlace::Slurm);
    remote.run(&launch(&remote, 1, "exec sleep 600", &[]));
    remote.alive();
    call(&["scontrol", "requeuehold", &job(&remote)]);
    let seen = remote.until("it is held", |seen| matches!(seen, RunSeen::Pending { held: Some(_), .. }));
    let RunSeen::Pending { held: Some(held), .. } = seen else { panic!() };
    assert!(held.why.contains("held") && held.advice.contains("scontrol release"), "{held:?}");
    call(&["scontrol", "release", &job(&remote)]);
    remote.until("it is held no more", |seen| !matches!(seen, RunSeen::Pending { held: Some(_), .. }));
    remote.cancel();
    remote.ended();
}

/// A watchdog that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

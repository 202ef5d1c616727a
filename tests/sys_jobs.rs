//! Jobs with the real binary as their runner: what they read, say and leave behind, and how long they are kept.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use watchkeeper::base::names::UnitName;
use watchkeeper::model::action::{FixJob, FixStep, Job};
use watchkeeper::model::seen::{JOB_OUTPUT_MAX, JobSeen};
use watchkeeper::sys::real_host::RealHost;
use watchkeeper::sys::{Host, jobs};

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        Lab { dir: tempfile::tempdir().unwrap() }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn start(&self, job: &Job) -> Option<Child> {
        jobs::start_by(Path::new(env!("CARGO_BIN_EXE_watchkeeper")), &self.state(), job).unwrap()
    }

    /// How it stands, as the watchdog looks at it.
    fn attend(&self, job: &Job) -> JobSeen {
        let program = || Ok(PathBuf::from(env!("CARGO_BIN_EXE_watchkeeper")));
        let (seen, ender) = jobs::attend(&self.state(), &job.id, program);
        // (Tests that start programs at the same time may have our locks for an instant.)
        ender.map(|mut ender| ender.wait().unwrap());
        seen
    }

    /// Starts it and waits for its end.
    #[track_caller]
    fn run(&self, job: &Job) -> JobSeen {
        let mut runner = self.start(job).unwrap();
        runner.wait().unwrap();
        self.settled(job)
    }

    /// How it stands once nobody holds its lock: another test that starts a program just now has all that we have open until
    /// it becomes that program.
    #[track_caller]
    fn settled(&self, job: &Job) -> JobSeen {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match jobs::seen(&self.state(), &job.id) {
                JobSeen::Running => assert!(Instant::now() < until),
                seen => return seen,
            }
            std::thread::yield_now();
        }
    }
}

fn job(script: &str) -> Job {
    Job {
        id: Job::id_of(&UnitName::new("a").unwrap(), "test", 1),
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        env: BTreeMap::new(),
        dir: "/".into(),
        deadline_s: 20,
        env_remove: Vec::new(),
        stdin: None,
        awaited: false,
        fix: None,
    }
}

#[track_caller]
fn check(job: &Job, want: &JobSeen) {
    assert_eq!(&Lab::new().run(job), want, "{:?}", job.argv);
}

fn ended(failed: Option<&str>, status: Option<i32>, output: &str) -> JobSeen {
    JobSeen::Ended { failed: failed.map(str::to_owned), status, output: output.to_owned(), fix: None }
}

#[test]
fn a_job_tells_its_output_apart_from_its_complaints() {
    check(&job("echo said; echo cry >&2"), &JobSeen::well("said\n"));
    check(&job("echo said; exit 3"), &ended(Some("said"), Some(3), "said\n"));
    check(&job("echo said; echo why >&2; exit 4"), &ended(Some("why"), Some(4), "said\n"));
    check(&job("exit 5"), &ended(Some("exit status 5"), Some(5), ""));
    check(&job("kill -9 $$"), &ended(Some("signal 9"), None, ""));
    check(&job(r"printf 'a\377b'"), &JobSeen::well("a\u{fffd}b"));
    check(&Job { argv: vec![], ..job("") }, &ended(Some("the job has no command"), None, ""));
}

#[test]
fn a_job_reads_what_it_was_given() {
    let text = "one $HOME `id`\ntwo\n";
    check(&Job { stdin: Some(text.into()), ..job("cat") }, &JobSeen::well(text));
    check(&Job { stdin: Some(String::new()), ..job("cat") }, &JobSeen::well(""));
    check(&job("cat"), &JobSeen::well(""));
    let lab = Lab::new();
    lab.run(&Job { stdin: Some("first".into()), ..job("cat") });
    let input = lab.state().join("jobs/a.test.1/input");
    assert_eq!(std::fs::metadata(&input).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(lab.run(&job("cat")), JobSeen::well(""), "nothing of the job before");
}

#[test]
fn an_input_that_is_too_long_starts_nothing() {
    let lab = Lab::new();
    let long = Job { stdin: Some("x".repeat((4 << 20) + 1)), ..job("cat") };
    let program = Path::new(env!("CARGO_BIN_EXE_watchkeeper"));
    let error = jobs::start_by(program, &lab.state(), &long).unwrap_err().message();
    assert!(error.contains("at most 4194304"), "{error}");
}

#[test]
fn the_environment_is_cleaned() {
    // (cargo sets both for its tests.)
    let script = "echo ${KEPT-none} ${CARGO_MANIFEST_DIR-none} ${CARGO_PKG_NAME-none}";
    let mut job = job(script);
    job.env = [("KEPT", "1"), ("BAD=NAME", "2")].map(|(key, value)| (key.into(), value.into())).into();
    job.env_remove = ["CARGO_MANIFEST_DIR", "A=B", "", "KEPT"].map(str::to_owned).into();
    check(&job, &JobSeen::well("1 none watchkeeper\n"));
}

#[test]
fn a_long_output_is_read_from_its_end() {
    let JobSeen::Ended { failed: None, output, .. } =
        Lab::new().run(&job("head -c 300000 /dev/zero | tr '\\0' x; echo end"))
    else {
        panic!("it failed")
    };
    assert_eq!(output.len() as u64, JOB_OUTPUT_MAX);
    assert!(output.ends_with("xend\n"));
}

#[test]
fn one_that_runs_is_not_started_twice_and_not_removed() {
    let lab = Lab::new();
    let fifo = lab.dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let job = job(&format!("cat {}", fifo.display()));
    let mut runner = lab.start(&job).unwrap();
    assert_eq!(jobs::seen(&lab.state(), &job.id), JobSeen::Running);
    assert!(lab.start(&job).is_none());
    jobs::prune(&lab.state(), &BTreeSet::new());
    assert_eq!(jobs::seen(&lab.state(), &job.id), JobSeen::Running);
    std::fs::write(&fifo, "went\n").unwrap();
    runner.wait().unwrap();
    assert_eq!(lab.settled(&job), JobSeen::well("went\n"));
}

/// The living processes whose pids stand in a file; they are killed in the end, whatever the test says.
struct Pids(PathBuf);

impl Pids {
    fn alive(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter(|pid| lives(pid)).map(str::to_owned).collect()
    }

    /// Waits until so many wrote themselves down.
    #[track_caller]
    fn wait(&self, count: usize) {
        until("they write themselves down", || {
            std::fs::read_to_string(&self.0).unwrap_or_default().lines().count() == count
        });
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        for pid in self.alive() {
            let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
        }
    }
}

fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A script that writes down its pid and works on; one below it is deaf to TERM, and one made itself a daemon.
fn working(pids: &Path) -> String {
    format!(
        "echo began; echo $$ >> {pids}; (trap '' TERM; echo $(sh -c 'echo $PPID') >> {pids}; while :; do sleep 0.1; done) & \
         (setsid sh -c 'echo $$ >> {pids}; exec sleep 600' > /dev/null 2>&1 &) ; exec sleep 600",
        pids = pids.display()
    )
}

#[test]
fn a_job_whose_runner_is_killed_has_ended_only_when_all_of_it_has() {
    let lab = Lab::new();
    let pids = Pids(lab.dir.path().join("pids"));
    let job = job(&working(&pids.0));
    let mut runner = lab.start(&job).unwrap();
    pids.wait(3);
    runner.kill().unwrap();
    runner.wait().unwrap();
    // Nothing that it started knows: it runs as long as they do, and there is no second one beside them.
    assert_eq!(jobs::seen(&lab.state(), &job.id), JobSeen::Running);
    assert!(lab.start(&job).is_none());
    // (Tests that start programs at the same time may have its lock for an instant.)
    until("it is no job to be removed", || jobs::prune(&lab.state(), &BTreeSet::new()) == [job.id.clone()]);
    assert_eq!(jobs::prune(&lab.state(), &BTreeSet::from([job.id.clone()])), [""; 0]);
    assert_eq!(pids.alive().len(), 3);
    // A daemon of an operator's, and the job of another fleet, are not its own.
    let mut stranger = std::process::Command::new("sleep")
        .arg("600")
        .env(jobs::JOB_ENV, format!("{}x", jobs::mark(&lab.state(), &job.id)))
        .spawn()
        .unwrap();
    let mut seen = JobSeen::None;
    until("its end", || {
        seen = lab.attend(&job);
        // Whenever its end is believed nothing of it lives.
        assert!(seen == JobSeen::Running || pids.alive().is_empty(), "{seen:?} {:?}", pids.alive());
        seen != JobSeen::Running
    });
    let JobSeen::Ended { failed: Some(why), status: None, output, fix: None } = seen else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (why.as_str(), output.as_str()),
        ("it was killed before it ended; what it had started was ended", "began\n")
    );
    assert_eq!(stranger.try_wait().unwrap(), None, "it lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(Lab::run(&lab, &Job { argv: vec!["echo".into(), "x".into()], ..job }), JobSeen::well("x\n"));
}

/// Its deadline was its runner's to keep.
#[test]
fn what_is_left_of_a_job_that_nobody_waits_for_is_ended_too() {
    let lab = Lab::new();
    let pids = Pids(lab.dir.path().join("pids"));
    let job = job(&format!("echo $$ >> {}; exec sleep 600", pids.0.display()));
    let mut runner = lab.start(&job).unwrap();
    pids.wait(1);
    runner.kill().unwrap();
    runner.wait().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_watchkeeper"));
    let mut host = RealHost::new("", &lab.state()).by(binary);
    until("its end", || {
        host.prune_jobs(&BTreeSet::new());
        !lab.state().join("jobs").join(&job.id).exists()
    });
    assert_eq!(pids.alive(), [""; 0]);
}

/// Somebody copied the folder of a job that runs: what runs is not the copy's, to be ended as its rest.
#[test]
fn a_copied_folder_is_no_job_that_others_processes_belong_to() {
    let lab = Lab::new();
    let pids = Pids(lab.dir.path().join("pids"));
    let job = job(&format!("echo $$ >> {}; exec sleep 600", pids.0.display()));
    let mut runner = lab.start(&job).unwrap();
    pids.wait(1);
    let (folder, copy) = (lab.state().join("jobs/a.test.1"), lab.state().join("jobs/a.test.77"));
    std::fs::create_dir(&copy).unwrap();
    for file in ["job.json", "begun", "output"] {
        std::fs::copy(folder.join(file), copy.join(file)).unwrap();
    }
    let JobSeen::Ended { failed: Some(_), .. } = jobs::seen(&lab.state(), "a.test.77") else {
        panic!("{:?}", jobs::seen(&lab.state(), "a.test.77"))
    };
    let keep = BTreeSet::from([job.id.clone()]);
    until("the copy goes", || {
        assert_eq!(jobs::prune(&lab.state(), &keep), [""; 0]);
        !copy.exists()
    });
    assert_eq!((jobs::seen(&lab.state(), &job.id), pids.alive().len()), (JobSeen::Running, 1));
    runner.kill().unwrap();
    runner.wait().unwrap();
}

#[test]
fn a_job_whose_folder_was_removed_is_not_started_beside_itself() {
    let lab = Lab::new();
    let pids = Pids(lab.dir.path().join("pids"));
    let job = job(&working(&pids.0));
    let mut runner = lab.start(&job).unwrap();
    pids.wait(3);
    std::fs::remove_dir_all(lab.state().join("jobs")).unwrap();
    assert_eq!(jobs::seen(&lab.state(), &job.id), JobSeen::Running);
    assert!(lab.start(&job).is_none());
    assert_eq!(jobs::seen(&lab.state(), "a.test.2"), JobSeen::None);
    runner.kill().unwrap();
    runner.wait().unwrap();
}

/// What an agent leaves running could edit on while its edits are put aside, kept or taken back.
#[test]
fn who_edits_a_tree_leaves_nothing_running_and_others_may() {
    for edits in [true, false] {
        let lab = with_repository();
        let pids = Pids(lab.dir.path().join("pids"));
        let script = format!(
            "(setsid sh -c 'echo $$ >> {0}; exec sleep 600' > /dev/null 2>&1 &); while ! [ -s {0} ]; do sleep 0.01; done",
            pids.0.display()
        );
        let fixing = fixing(&lab, FixStep::Clean, &script);
        let job = if edits { fixing } else { Job { fix: None, ..fixing } };
        let seen = lab.run(&job);
        assert!(matches!(seen, JobSeen::Ended { failed: None, .. }), "{seen:?}");
        assert_eq!(pids.alive().len(), usize::from(!edits), "edits: {edits}");
    }
}

#[test]
fn a_killed_agent_edits_nothing_after_its_edits_were_taken_back() {
    let lab = with_repository();
    let pids = Pids(lab.dir.path().join("pids"));
    let script = format!(
        "echo $$ >> {}; trap '' TERM; while :; do echo edited >> a.py; sleep 0.05; done",
        pids.0.display()
    );
    let agent = fixing(&lab, FixStep::Clean, &script);
    let mut runner = lab.start(&agent).unwrap();
    pids.wait(1);
    runner.kill().unwrap();
    runner.wait().unwrap();
    until("its end", || lab.attend(&agent) != JobSeen::Running);
    let back = Job { id: "a.fix.2".into(), ..fixing(&lab, FixStep::Restore, "") };
    let seen = lab.run(&back);
    assert!(matches!(seen, JobSeen::Ended { failed: None, .. }), "{seen:?}");
    assert_eq!(pids.alive(), Vec::<String>::new());
    assert_eq!(git(&lab, &["status", "--porcelain"]), "");
}

/// Orders it with a runner that does nothing, and waits until it is gone.
fn unbegun(lab: &Lab, job: &Job) {
    let mut nobody = jobs::start_by(Path::new("true"), &lab.state(), job).unwrap().unwrap();
    nobody.wait().unwrap();
    lab.settled(job);
}

#[test]
fn an_order_whose_runner_never_began_is_no_job_yet() {
    let lab = Lab::new();
    let job = job("echo went");
    // Whoever ordered it was killed before its runner was: nothing ran, so nothing failed.
    unbegun(&lab, &job);
    assert!(lab.state().join("jobs/a.test.1/job.json").exists());
    assert_eq!(jobs::seen(&lab.state(), &job.id), JobSeen::None);
    assert_eq!(lab.run(&job), JobSeen::well("went\n"));
    unbegun(&lab, &job);
    assert_eq!(jobs::seen(&lab.state(), &job.id), JobSeen::None, "the one before began, this one did not");
}

/// Its own children, one that is deaf to TERM, one in a session of its own whose parent is gone: none outlives the deadline.
#[test]
fn a_job_that_is_late_is_ended_with_all_that_it_started() {
    let lab = Lab::new();
    let pids = lab.dir.path().join("pids");
    let script = format!(
        "echo $$ >> {pids}; (trap '' TERM; echo $(sh -c 'echo $PPID') >> {pids}; while :; do sleep 0.1; done) & \
         (setsid sh -c 'trap \"\" TERM; echo $$ >> {pids}; while :; do sleep 0.1; done' &) ; sleep 600",
        pids = pids.display()
    );
    let seen = lab.run(&Job { deadline_s: 1, ..job(&script) });
    let JobSeen::Ended { failed: Some(why), .. } = &seen else { panic!("{seen:?}") };
    assert!(why.starts_with("it was ended after 1 s"), "{why}");
    let pids = std::fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.lines().count(), 3, "{pids}");
    for pid in pids.lines() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let alive = stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'));
        if alive {
            let _ = std::process::Command::new("kill").args(["-9", pid]).status();
        }
        assert!(!alive, "{pid} of {pids} lives: {stat}");
    }
}

#[test]
fn an_awaited_end_is_followed_by_a_tick() {
    for (awaited, script, poked) in [(true, "true", true), (false, "true", false), (false, "echo news", true)]
    {
        let lab = Lab::new();
        lab.run(&Job { awaited, ..job(script) });
        assert_eq!(lab.state().join("poke").exists(), poked, "{script}, awaited {awaited}");
    }
}

#[test]
fn results_that_nobody_waits_for_are_removed() {
    let lab = Lab::new();
    let folder = |id: &str| lab.state().join("jobs").join(id);
    for id in ["a.test.1", "a.test.2", "b.test.1", "fetch"] {
        lab.run(&Job { id: id.into(), stdin: Some("x".into()), ..job("true") });
    }
    std::fs::write(folder("b.test.1").join("notes"), "a person's").unwrap();
    std::fs::create_dir(folder("mine")).unwrap();
    jobs::prune(&lab.state(), &BTreeSet::from(["a.test.2".to_owned()]));
    for (id, stays) in
        [("a.test.1", false), ("a.test.2", true), ("b.test.1", true), ("fetch", true), ("mine", true)]
    {
        assert_eq!(folder(id).exists(), stays, "{id}");
    }
    assert!(folder("b.test.1").join("notes").exists());
    assert_eq!(jobs::seen(&lab.state(), "a.test.1"), JobSeen::None);
}

/// Git in a lab's repository; what it says.
fn git(lab: &Lab, args: &[&str]) -> String {
    let out = std::process::Command::new("git")
        .arg("-C")
        .arg(lab.dir.path().join("repo"))
        .args(["-c", "user.name=op", "-c", "user.email=op@example.org"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
}

/// A lab with a repository of one file.
fn with_repository() -> Lab {
    let lab = Lab::new();
    std::fs::create_dir(lab.dir.path().join("repo")).unwrap();
    git(&lab, &["init", "-q", "-b", "main"]);
    std::fs::write(lab.dir.path().join("repo/a.py"), "one\n").unwrap();
    git(&lab, &["add", "a.py"]);
    git(&lab, &["commit", "-q", "-m", "one"]);
    lab
}

/// A job that edits the lab's repository.
fn fixing(lab: &Lab, step: FixStep, script: &str) -> Job {
    let fix = FixJob { incident: "i".into(), attempt: "a-1".into(), step, files: Vec::new() };
    Job { dir: lab.dir.path().join("repo").to_string_lossy().into_owned(), fix: Some(fix), ..job(script) }
}

#[test]
fn a_job_that_edits_a_tree_leaves_a_branch_and_another_one_takes_it_back() {
    let lab = with_repository();
    let JobSeen::Ended { failed: None, output, fix: Some(fix), .. } =
        lab.run(&fixing(&lab, FixStep::Clean, "echo two > a.py; echo ACTION: restart"))
    else {
        panic!("{:?}", jobs::seen(&lab.state(), &job("").id));
    };
    assert_eq!(
        (output.as_str(), fix.branch.as_str(), fix.open),
        ("ACTION: restart\n", "watchkeeper/fix-i", true)
    );
    assert!(fix.patch.contains("-one\n+two\n"), "{}", fix.patch);
    assert_eq!(git(&lab, &["show", "watchkeeper/fix-i:a.py"]), "two");
    let back = lab.run(&fixing(&lab, FixStep::Restore, "echo never run"));
    assert!(matches!(&back, JobSeen::Ended { failed: None, output, .. } if output.is_empty()), "{back:?}");
    assert_eq!(git(&lab, &["status", "--porcelain"]), "");
    assert!(!lab.state().join("fixes/a-1").exists(), "its records go");
    // Done twice, or for a fix that never began: nothing.
    let again = lab.run(&fixing(&lab, FixStep::Restore, ""));
    assert!(matches!(again, JobSeen::Ended { failed: None, .. }), "{again:?}");
}

/// Its result was lost after its edits had been collected: what a second run edits would be on no branch.
#[test]
fn an_agent_whose_edits_were_collected_is_not_run_again() {
    let lab = with_repository();
    lab.run(&fixing(&lab, FixStep::Clean, "echo two > a.py"));
    std::fs::remove_dir_all(lab.state().join("jobs")).unwrap();
    let again = lab.run(&fixing(&lab, FixStep::Clean, "echo three > b.py"));
    let JobSeen::Ended { failed: Some(why), fix: Some(fix), .. } = again else { panic!("{again:?}") };
    assert!(why.starts_with("the agent was at work before, and its answer is lost"), "{why}");
    assert_eq!((fix.branch.as_str(), fix.open), ("watchkeeper/fix-i", true));
    assert_eq!(git(&lab, &["status", "--porcelain"]), " M a.py");
    // Nor is one that is not ours to run.
    let open = lab.run(&fixing(&lab, FixStep::OpenClean, ""));
    let JobSeen::Ended { failed: Some(why), fix: Some(fix), .. } = open else { panic!("{open:?}") };
    assert!(why.starts_with("the agent was not asked: ") && fix.open, "{why}");
    lab.run(&fixing(&lab, FixStep::Restore, ""));
    assert_eq!(git(&lab, &["status", "--porcelain"]), "");
}

#[test]
fn no_agent_is_asked_over_uncommitted_work_and_one_without_a_tree_is_told_so() {
    let lab = with_repository();
    std::fs::write(lab.dir.path().join("repo/a.py"), "mine\n").unwrap();
    let refused = lab.run(&fixing(&lab, FixStep::Clean, "echo ran > ran"));
    let JobSeen::Ended { failed: Some(why), .. } = refused else { panic!("{refused:?}") };
    assert!(
        why.starts_with("the agent was not asked: the tree has uncommitted work (1 file: `a.py`)"),
        "{why}"
    );
    assert!(!lab.dir.path().join("repo/ran").exists());
    let nowhere =
        Job { dir: lab.dir.path().to_string_lossy().into_owned(), ..fixing(&lab, FixStep::Clean, "echo x") };
    let JobSeen::Ended { failed: None, fix: Some(fix), .. } = lab.run(&nowhere) else { panic!() };
    assert!(fix.left[0].contains("is in no git tree") && !fix.open, "{fix:?}");
}

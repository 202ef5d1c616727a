//! A process fails, and the watchdog is killed while it writes that down, starts it again, or has an agent mend it. Afterwards
//! its incident's folder is complete, each thing has one line in the ledgers, and there was one child at a time.

use crate::lab::{Agent, Lab, lives};
use crate::scenes::{Before, Labs, Scene, WORKERS, play_all};
use crate::strace::{all_are_wanted, kill_at_each};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

const QUICK: &str = "signal_interval = 20";

/// Fails at its first run when it is told to, and stays at its second.
const WORK: &str = "echo $$ >> ../starts\ntest $(wc -l < ../starts) -gt 1 && exec sleep 1000\n";
const FAIL: &str = "while ! test -e ../fail; do sleep 0.02; done\necho 'Traceback (most recent call last):'\n\
                    echo '  File \"train.py\", line 1, in <module>'\necho 'ValueError: broken'\nexit 3\n";
/// Stays at its third.
const TWICE: &str = "echo $$ >> ../starts\ntest $(wc -l < ../starts) -gt 2 && exec sleep 1000\n";
/// Never stays, until somebody mends it.
const BROKEN: &str = "echo $$ >> ../starts\n";
const MENDED: &str = "echo $$ >> ../starts\nexec sleep 1000\n";

/// The first start of all.
pub const START: Scene = Scene {
    name: "a process is started",
    watchdog: QUICK,
    agents: || vec![process("[process.healing]\nagent = \"off\"")],
    lab: Labs::Fresh,
    ready: |lab, _| repository(lab, MENDED),
    trigger: |_, _| {},
    over: |lab, _, _| is_at_work(lab, 1),
    check: |lab, _, _| {
        let runs = starts(lab);
        assert!(runs.len() == 1 && lives(runs[0]), "one start: {}", said(lab));
    },
};

/// It is to be stopped, and is deaf to TERM: TERM, the grace, KILL.
pub const STOP: Scene = Scene {
    name: "a process is stopped",
    watchdog: QUICK,
    agents: || vec![process("grace_s = 0.5\n[process.healing]\nagent = \"off\"")],
    lab: Labs::Fresh,
    ready: |lab, _| begin(lab, &format!("trap '' TERM\n{MENDED}")),
    trigger: |lab, _| {
        std::fs::write(lab.state("units/a/down"), "by the test\n").unwrap();
    },
    over: |lab, _, _| {
        let judged = lab.unit("a")["process"]["run"]["judged"] == 1;
        judged && lab.unit("a")["ending"].is_null() && !lives(starts(lab)[0])
    },
    check: |lab, _, _| {
        assert_eq!(starts(lab).len(), 1, "{}", said(lab));
        assert_eq!(incidents(lab), Vec::<String>::new(), "{}", said(lab));
    },
};

/// An agent mends nothing: it fails again, and what was edited is taken back.
pub const REGRESSION: Scene = Scene {
    name: "the edits of an agent are taken back",
    ready: |lab, _| {
        let healer = "cat > /dev/null\necho asked >> ../asked\necho '# of the agent' >> train.sh\necho new > new.txt\n\
                      echo 'ACTION: restart'\n";
        std::fs::write(lab.path().join("healer.sh"), healer).unwrap();
        begin(lab, &format!("{TWICE}{FAIL}"));
    },
    agents: || {
        let rule = "rules = [ { name = \"ask\", match = { detector = \"traceback\" }, action = { kind = \"agent\" } } ]";
        let healing = "agent = \"headless\"\ncommand = [\"sh\", \"../healer.sh\"]\ntimeout_s = 60\nverify_window_s = 600\n\
                       max_attempts_per_hour = 1";
        vec![process(&format!(
            "detectors = [ {{ kind = \"traceback\" }}, {{ kind = \"exit\" }} ]\n{rule}\n[process.healing]\n{healing}"
        ))]
    },
    over: |lab, _, _| {
        is_at_work(lab, 3) && owes_nothing(lab) && is_empty(&lab.unit("a")["process"]["heal"]["fixes"])
    },
    check: |lab, _, _| {
        let runs = starts(lab);
        assert_eq!(runs.len(), 3, "{}", said(lab));
        assert!(!lives(runs[0]) && !lives(runs[1]), "{}", said(lab));
        whole_folders(lab);
        each_row_once(lab);
        assert!(statuses(lab).contains(&"regressed".to_owned()), "{}", said(lab));
        assert_eq!(lines(&lab.path().join("asked")), ["asked"], "{}", said(lab));
        assert_eq!(
            tree(lab),
            (format!("{TWICE}{FAIL}"), "mine, not committed\n".to_owned()),
            "{}",
            said(lab)
        );
        assert_eq!(git(lab, &["status", "--porcelain"]), "?? notes.txt\n", "{}", said(lab));
        assert_eq!(git(lab, &["rev-parse", "--abbrev-ref", "HEAD"]), "main\n");
    },
    ..MENDING
};

/// The traceback is an incident, and its rule starts the process again: an attempt that is to be verified.
pub const FAILURE: Scene = Scene {
    name: "a process fails",
    watchdog: QUICK,
    agents: || {
        let rule = "rules = [ { name = \"again\", match = { detector = \"traceback\" }, action = { kind = \"restart\" } } ]";
        vec![process(&format!(
            "detectors = [ {{ kind = \"traceback\" }}, {{ kind = \"exit\" }} ]\n{rule}\n[process.healing]\nagent = \"off\""
        ))]
    },
    lab: Labs::Fresh,
    ready: |lab, _| begin(lab, &format!("{WORK}{FAIL}")),
    trigger: |lab, _| fail(lab),
    over: |lab, _, _| second_run(lab) && owes_nothing(lab),
    check: |lab, _, _| {
        one_of_each(lab);
        assert_eq!(statuses(lab), ["pending"], "{}", said(lab));
    },
};

/// An agent mends it: its edits are on a branch, and are kept when the failure stays away.
pub const MENDING: Scene = Scene {
    name: "an agent mends a process",
    watchdog: QUICK,
    agents: || {
        let rule = "rules = [ { name = \"ask\", match = { detector = \"traceback\" }, action = { kind = \"agent\" } } ]";
        let healing = "agent = \"headless\"\ncommand = [\"sh\", \"../healer.sh\"]\ntimeout_s = 60\nverify_window_s = 0.5";
        vec![process(&format!(
            "detectors = [ {{ kind = \"traceback\" }}, {{ kind = \"exit\" }} ]\n{rule}\n[process.healing]\n{healing}"
        ))]
    },
    lab: Labs::Fresh,
    ready: |lab, _| {
        let healer = format!(
            "cat > /dev/null\necho asked >> ../asked\ncat > train.sh << 'END'\n{MENDED}END\necho It is mended.\necho 'ACTION: restart'\n"
        );
        std::fs::write(lab.path().join("healer.sh"), healer).unwrap();
        begin(lab, &format!("{BROKEN}{FAIL}"));
    },
    trigger: |lab, _| fail(lab),
    over: |lab, _, _| second_run(lab) && owes_nothing(lab) && fixes_are_over(lab),
    check: |lab, _, _| {
        one_of_each(lab);
        assert_eq!(statuses(lab), ["pending", "kept"], "{}", said(lab));
        assert_eq!(lines(&lab.path().join("asked")), ["asked"], "{}", said(lab));
        let incident = incidents(lab).pop().unwrap();
        let folder = lab.state("incidents").join(&incident);
        let fix = |name: &str| std::fs::read_to_string(folder.join("fix").join(name)).unwrap_or_default();
        assert!(fix("diff.patch").contains("+exec sleep 1000"), "{}", said(lab));
        assert!(fix("response.md").contains("It is mended."), "{}", said(lab));
        assert!(serde_json::from_str::<Value>(&fix("action.json")).is_ok(), "{}", said(lab));
        let branch = format!("watchkeeper/fix-{incident}");
        assert_eq!(branches(lab), ["main", &branch], "{}", said(lab));
        assert_eq!(git(lab, &["show", &format!("{branch}:train.sh")]), MENDED);
        assert_eq!(tree(lab), (MENDED.to_owned(), "mine, not committed\n".to_owned()));
        no_records(lab);
    },
};

fn process(lines: &str) -> Agent {
    let common = "command = [\"sh\", \"train.sh\"]\ncwd = \"work\"\nrestart = { max = 5, cooldown_s = 0.05 }";
    Agent::process("a", &format!("{common}\n{lines}"))
}

/// The repository, with a file that somebody is at work on.
fn repository(lab: &Lab, script: &str) {
    let work = lab.path().join("work");
    std::fs::create_dir(&work).unwrap();
    git(lab, &["init", "-q", "-b", "main"]);
    std::fs::write(work.join("train.sh"), script).unwrap();
    git(lab, &["add", "."]);
    git(lab, &["-c", "user.name=w", "-c", "user.email=w@x", "commit", "-qm", "first"]);
    std::fs::write(work.join("notes.txt"), "mine, not committed\n").unwrap();
}

/// That, and the first run.
fn begin(lab: &Lab, script: &str) {
    repository(lab, script);
    lab.tick_until("its first run", || {
        starts(lab).len() == 1 && lab.unit("a")["process"]["run"]["number"] == 1
    });
}

/// It ends with its traceback.
fn fail(lab: &Lab) {
    std::fs::write(lab.path().join("fail"), "").unwrap();
    lab.until("its end", || lab.state("units/a/exit.json").exists());
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The pids of all runs.
fn starts(lab: &Lab) -> Vec<i32> {
    lines(&lab.path().join("starts")).iter().map(|line| line.parse().unwrap()).collect()
}

fn git(lab: &Lab, words: &[&str]) -> String {
    let mut command = lab.command("git");
    command.arg("-C").arg(lab.path().join("work")).args(words);
    let ended = lab.finish(command);
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
    ended.out
}

fn branches(lab: &Lab) -> Vec<String> {
    let mut names: Vec<String> = git(lab, &["for-each-ref", "--format=%(refname:short)", "refs/heads"])
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// The file that the agent edits, and the one that is none of its business.
fn tree(lab: &Lab) -> (String, String) {
    let read = |name: &str| std::fs::read_to_string(lab.path().join("work").join(name)).unwrap();
    (read("train.sh"), read("notes.txt"))
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn owes_nothing(lab: &Lab) -> bool {
    let unit = lab.unit("a");
    let owed = &unit["incident"];
    unit["process"]["remedy"].is_null() && ["owed", "rows", "fixes"].iter().all(|kind| is_empty(&owed[kind]))
}

fn fixes_are_over(lab: &Lab) -> bool {
    let heal = &lab.unit("a")["process"]["heal"];
    is_empty(&heal["verify"]) && is_empty(&heal["fixes"])
}

fn second_run(lab: &Lab) -> bool {
    lab.unit("a")["process"]["run"]["number"] == 2 && starts(lab).last().is_some_and(|pid| lives(*pid))
}

/// Its run of that number is known to be at work.
fn is_at_work(lab: &Lab, number: u64) -> bool {
    let run = &lab.unit("a")["process"]["run"];
    run["number"] == number
        && !run["since_awake_s"].is_null()
        && starts(lab).last().is_some_and(|pid| lives(*pid))
}

fn folders(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn incidents(lab: &Lab) -> Vec<String> {
    folders(&lab.state("incidents"))
}

/// The rows of the ledger, by column.
fn rows(lab: &Lab) -> Vec<Vec<String>> {
    let rows = lines(&lab.state("attempts.tsv")).into_iter().filter(|line| !line.starts_with("time\t"));
    rows.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn statuses(lab: &Lab) -> Vec<String> {
    rows(lab).into_iter().map(|row| row[8].clone()).collect()
}

/// For failing tests.
fn said(lab: &Lab) -> String {
    let ledger = std::fs::read_to_string(lab.state("attempts.tsv")).unwrap_or_default();
    let index = std::fs::read_to_string(lab.state("incidents/index.jsonl")).unwrap_or_default();
    format!("{ledger}\n{index}\n{:?}\n{:?}\n{}", incidents(lab), starts(lab), lab.dump())
}

/// A whole folder and one line for the failure, one row for what was tried, and one child after the other.
#[track_caller]
fn one_of_each(lab: &Lab) {
    let runs = starts(lab);
    assert_eq!(runs.len(), 2, "one start after the failure: {}", said(lab));
    assert!(!lives(runs[0]) && lives(runs[1]), "{}", said(lab));
    whole_folders(lab);
    assert_eq!(incidents(lab).len(), 1, "{}", said(lab));
    each_row_once(lab);
}

/// What is there of incidents is complete, known to the index once, and nothing half written is left.
#[track_caller]
fn whole_folders(lab: &Lab) {
    let names = incidents(lab);
    for name in &names {
        let folder = lab.state("incidents").join(name);
        for file in ["report.md", "trace.txt", "log_excerpt.txt", "state.json", "match.json"] {
            let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            assert!(!text.is_empty(), "{name}/{file}: {}", said(lab));
            let json = serde_json::from_str::<Value>(&text);
            assert!(json.is_ok() || !file.ends_with(".json"), "{name}/{file}: {text}");
        }
        let report = std::fs::read_to_string(folder.join("report.md")).unwrap();
        assert!(report.contains("ValueError: broken"), "{report}");
    }
    let index = lines(&lab.state("incidents/index.jsonl"));
    let ids: Vec<String> = index
        .iter()
        .filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["id"].as_str()?.to_owned()))
        .collect();
    assert_eq!(ids, names, "one line each: {}", said(lab));
}

/// No row is there twice.
#[track_caller]
fn each_row_once(lab: &Lab) {
    let headers = lines(&lab.state("attempts.tsv")).iter().filter(|line| line.starts_with("time\t")).count();
    assert_eq!(headers, 1, "{}", said(lab));
    let keys: Vec<(String, String)> = rows(lab).iter().map(|row| (row[1].clone(), row[8].clone())).collect();
    let different: BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len(), "a row twice: {}", said(lab));
}

/// Of fixes that are over there are no records but of what was kept.
#[track_caller]
fn no_records(lab: &Lab) {
    for attempt in folders(&lab.state("fixes")) {
        let entries = std::fs::read_dir(lab.state("fixes").join(attempt)).unwrap().flatten();
        let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        assert_eq!(names, ["kept.json"], "{}", said(lab));
    }
}

#[test]
fn killed_while_a_failure_is_written_down_and_its_process_started_again() {
    kill_at_each(FAILURE, 2);
}

#[test]
fn killed_while_an_agent_is_asked_and_its_edits_are_kept() {
    // What it does before, the other scene does too.
    kill_at_each(MENDING, 3);
}

#[test]
fn killed_while_a_process_is_started() {
    kill_at_each(START, 2);
}

#[test]
fn killed_while_the_edits_of_an_agent_are_taken_back() {
    // All but the end is played above.
    kill_at_each(REGRESSION, 8);
}

/// Stands in for git: counts its calls, and kills the job that made one of them.
const GIT: &str = "#!/bin/sh\nPATH=${PATH#*:}\nn=$(cat \"$0.count\"); n=$((n+1)); echo $n > \"$0.new\"; mv \"$0.new\" \"$0.count\"\n\
                   [ $n = KILL_AT ] && { kill -9 $PPID; exit 1; }\nexec git \"$@\"\n";

/// A tick whose job is killed at its Nth call of git.
fn tick_with_git(lab: &Lab, nth: usize) {
    let bin: PathBuf = lab.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let git = bin.join("git");
    std::fs::write(&git, GIT.replace("KILL_AT", &nth.to_string())).unwrap();
    std::fs::set_permissions(&git, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(bin.join("git.count"), "0\n").unwrap();
    let mut command = lab.watchkeeper();
    let path = std::env::var("PATH").unwrap();
    command.arg("tick").env("PATH", format!("{}:{path}", bin.display()));
    let ended = lab.finish(command);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// The job that asks the agent and keeps its edits apart is killed at its calls of git: the tree is the agent's or as it was,
/// and all is written down once.
#[test]
fn killed_in_the_job_that_makes_the_fix_branch() {
    /// Mended, or given up for a person with everything as it was.
    fn over(lab: &Lab, _: usize, _: &Before) -> bool {
        let standing = lab.unit("a")["process"]["run"]["standing"].clone();
        let is_mended = starts(lab).last().is_some_and(|pid| lives(*pid));
        owes_nothing(lab) && fixes_are_over(lab) && (is_mended || standing != "open")
    }
    fn check(lab: &Lab, _: usize, _: &Before) {
        whole_folders(lab);
        each_row_once(lab);
        let alive = starts(lab).into_iter().filter(|pid| lives(*pid)).count();
        let want = if alive == 1 { MENDED.to_owned() } else { format!("{BROKEN}{FAIL}") };
        assert!(alive <= 1, "{}", said(lab));
        assert_eq!(tree(lab), (want, "mine, not committed\n".to_owned()), "{}", said(lab));
        assert_eq!(git(lab, &["rev-parse", "--abbrev-ref", "HEAD"]), "main\n");
        no_records(lab);
    }
    let scene = Scene { name: "the job of an agent", over, check, ..MENDING };
    let step = if all_are_wanted() { 1 } else { 11 };
    let turns: Vec<usize> = (1..200).step_by(step).collect();
    let killed = AtomicUsize::new(0);
    play_all(&scene, scene.lab(WORKERS), turns, |lab, nth| {
        scene.play(lab, &format!("call {nth} of git"), |lab| tick_with_git(lab, *nth));
        // No other tick has that git.
        let calls: usize = lines(&lab.path().join("bin/git.count"))[0].parse().unwrap();
        let was_killed = calls >= *nth;
        killed.fetch_add(usize::from(was_killed), Ordering::Relaxed);
        if was_killed { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(killed.into_inner() * step >= 14, "so few calls of git");
}

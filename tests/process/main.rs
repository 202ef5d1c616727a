//! `[[process]]` from outside: the real binary over real small scripts. Failures, remedies, the healer, and kill -9 of
//! watchdog, shim and child in several orders. No tmux is needed: nothing here lives in it.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod bare;
mod damage;
mod disk;
mod findings;
mod fixes;
mod hostile;
mod nested;
mod secrets;
mod unasked;

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(40);

/// A folder with a config, and the watchdogs that were started in it.
struct World {
    dir: tempfile::TempDir,
    dogs: Vec<Child>,
}

impl World {
    fn new(process: &str, files: &[(&str, &str)]) -> World {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "[watchdog]\nsignal_interval = 0.5\n[[process]]\nname = \"p\"\nrestart = {{ max = 10, cooldown_s = 0.1 }}\n{process}\n"
        );
        fs::write(dir.path().join("agents.toml"), config).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        World { dir, dogs: Vec::new() }
    }

    /// The same, with a watchdog.
    fn watched(process: &str, files: &[(&str, &str)]) -> World {
        let mut world = World::new(process, files);
        world.watch();
        world
    }

    fn watch(&mut self) {
        let dog = self.wk("run").stdout(Stdio::null()).spawn().unwrap();
        self.dogs.push(dog);
    }

    fn wk(&self, command: &str) -> Command {
        let mut wk = Command::new(env!("CARGO_BIN_EXE_watchkeeper"));
        wk.arg(command).current_dir(self.dir.path()).env_clear();
        wk.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.dir.path());
        wk.stdin(Stdio::null()).stderr(Stdio::null());
        wk
    }

    fn says(&self, words: &[&str]) -> String {
        let mut wk = self.wk(words[0]);
        let out = wk.args(&words[1..]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(".watchkeeper").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(name)).unwrap_or_default()
    }

    fn unit(&self) -> serde_json::Value {
        self.json("units/p/unit.json")["process"].clone()
    }

    fn number(&self) -> u64 {
        self.unit()["run"]["number"].as_u64().unwrap_or(0)
    }

    fn incidents(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("incidents")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name.contains("-p-")).collect();
        names.sort();
        names
    }

    /// The process of the present run, when it lives.
    fn child(&self) -> Option<i32> {
        let child = self.json("units/p/child.json");
        let pid = i32::try_from(child["pid"].as_i64()?).ok()?;
        (child["number"].as_u64().or(child["run"].as_u64()) == Some(self.number()) && lives(pid))
            .then_some(pid)
    }

    #[track_caller]
    fn await_that(&self, what: &str, done: impl Fn(&World) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < until,
                "no {what}\n{}\n{}\n{:#}\n{}",
                self.says(&["events"]),
                self.text("heartbeat.json"),
                self.unit(),
                self.text("units/p/out.log")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn await_child(&self) -> i32 {
        self.await_that("living process", |world| world.child().is_some());
        self.child().unwrap()
    }

    /// `kill -9` of the watchdog.
    fn kill_watchdog(&mut self) {
        for dog in &mut self.dogs {
            let _ = dog.kill();
            let _ = dog.wait();
        }
        self.dogs.clear();
    }
}

impl World {
    /// Lets the watchdog finish its tick and leave.
    fn kill_dogs_softly(&self) {
        for dog in &self.dogs {
            let _ = kill_process(Pid::from_child(dog), Signal::TERM);
        }
        self.await_that("end of the watchdog", |world| {
            world.dogs.iter().all(|dog| !lives(dog.id().cast_signed()))
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_watchdog();
        // Whatever a test left: by the mark that each of our runs carries.
        let mark = format!("WATCHKEEPER_UNIT_DIR={}", self.path("units/p").display());
        for pid in processes() {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            if environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes()) {
                kill(pid);
            }
        }
    }
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// It runs, and is no zombie.
fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']) && !rest.is_empty())
}

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn kill(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

const OOM: &str =
    "echo batch $BATCH\nif [ $BATCH -gt 2 ]; then echo 'CUDA out of memory'; exit 1; fi\necho done\n";

#[test]
fn memory_runs_out_and_the_batch_is_halved_until_it_fits() {
    let world = World::watched(
        "command = [\"sh\", \"train.sh\"]\nenv = { BATCH = 8 }\n\
         detectors = [ { kind = \"pattern\", name = \"oom\", regex = \"CUDA out of memory\" }, { kind = \"exit\" } ]\n\
         rules = [ { name = \"halve\", match = { detector = \"oom\" }, action = { kind = \"restart-with-env\", set = { BATCH = \"half\" } } } ]\n\
         [process.healing]\nagent = \"off\"",
        &[("train.sh", OOM)],
    );
    world.await_that("good end", |world| !world.unit()["run"]["standing"]["finished"].is_null());
    let log = world.text("units/p/out.log");
    let batches: Vec<&str> = log.lines().filter(|line| line.starts_with("batch")).collect();
    assert_eq!(batches, ["batch 8", "batch 4", "batch 2"]);
    world.await_that("kept row", |world| world.text("attempts.tsv").contains("\tkept\t"));
    assert_eq!(world.incidents().len(), 1, "{:?}", world.incidents());
    assert!(world.says(&["status"]).contains("finished"));
}

#[test]
fn a_crash_with_a_trace_is_one_incident_that_names_the_exception() {
    let script = "echo 'Traceback (most recent call last):'\necho '  File \"train.py\", line 7, in <module>'\necho '    step()'\n\
                  echo 'ZeroDivisionError: division by zero'\nexit 1\n";
    let world = World::watched(
        "command = [\"sh\", \"train.sh\"]\nmax_identical = 2\n[process.healing]\nagent = \"off\"",
        &[("train.sh", script)],
    );
    world.await_that("end of all tries", |world| !world.unit()["run"]["standing"]["spent"].is_null());
    assert_eq!(world.number(), 2);
    let incidents = world.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let report = world.text(&format!("incidents/{}/report.md", incidents[0]));
    assert!(report.contains("ZeroDivisionError: division by zero"), "{report}");
    assert_eq!(world.says(&["log", "p", "--last", "1"]), "ZeroDivisionError: division by zero\n");
    let told = "is not started again: the same failure 2 times in a row";
    world.await_that("alert", |world| world.text("outbox.jsonl").contains(told));
}

#[test]
fn a_pattern_in_a_trace_that_comes_line_by_line_is_one_incident_with_the_patterns_rule() {
    let script = "[ \"$BATCH\" -le 2 ] && exit 0\necho 'Traceback (most recent call last):'\n\
                  echo '  File \"train.py\", line 7, in <module>'\nsleep 0.05\n\
                  echo '    raise RuntimeError(\"CUDA out of memory\")'\nsleep 0.1\n\
                  echo 'RuntimeError: CUDA out of memory'\nsleep 0.05\nexit 1\n";
    let world = World::watched(
        "command = [\"sh\", \"train.sh\"]\nenv = { BATCH = 8 }\n\
         detectors = [ { kind = \"traceback\" }, { kind = \"pattern\", name = \"oom\", regex = \"CUDA out of memory\" }, { kind = \"exit\" } ]\n\
         rules = [ { name = \"halve\", match = { detector = \"oom\" }, action = { kind = \"restart-with-env\", set = { BATCH = \"half\" } } } ]\n\
         [process.healing]\nagent = \"off\"",
        &[("train.sh", script)],
    );
    world.await_that("good end", |world| !world.unit()["run"]["standing"]["finished"].is_null());
    let incidents = world.incidents();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let report = world.text(&format!("incidents/{}/report.md", incidents[0]));
    assert!(report.contains("# p: RuntimeError: CUDA out of memory"), "{report}");
    assert!(report.contains("chosen by rule `halve`"), "{report}");
}

#[test]
fn a_silent_process_that_does_nothing_is_ended_and_started_again() {
    let world = World::watched(
        "command = [\"sh\", \"-c\", \"echo begin; exec sleep 1000\"]\ngrace_s = 1\n\
         detectors = [ { kind = \"stall\", name = \"silence\", no_progress_s = 1 } ]\n[process.healing]\nagent = \"off\"",
        &[],
    );
    let first = world.await_child();
    world.await_that("second run", |world| {
        // On a starved machine a silence proves nothing: there a person has to say so.
        let hold = world.json("units/p/unit.json")["hold"]["why"].as_str().unwrap_or_default().to_owned();
        if hold.contains("starved") || hold.contains("short of memory") {
            world.says(&["approve", "p"]);
        }
        world.number() >= 2 && world.child().is_some_and(|pid| pid != first)
    });
    assert!(!lives(first));
    assert!(world.incidents().iter().any(|id| id.contains("silence")), "{:?}", world.incidents());
}

#[test]
fn the_watchdog_dies_and_the_process_goes_on() {
    let mut world =
        World::watched("command = [\"sleep\", \"1000\"]\n[process.healing]\nagent = \"off\"", &[]);
    let child = world.await_child();
    world.kill_watchdog();
    assert!(lives(child));
    world.watch();
    world.await_that("look at it", |world| world.says(&["status"]).contains("running"));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((world.number(), world.child()), (1, Some(child)));
    assert!(world.incidents().is_empty());
}

#[test]
fn whoever_is_killed_in_whatever_order_there_is_one_run_and_never_two() {
    /// Who is killed, in this order.
    #[track_caller]
    fn check(order: &[&str]) {
        let mut world =
            World::watched("command = [\"sleep\", \"1000\"]\n[process.healing]\nagent = \"off\"", &[]);
        let child = world.await_child();
        let shim = parent(child);
        for who in order {
            match *who {
                "watchdog" => world.kill_watchdog(),
                "shim" => kill(shim),
                _ => kill(child),
            }
        }
        if world.dogs.is_empty() {
            world.watch();
        }
        let ends = order.contains(&"child");
        if ends {
            world.await_that("run 2", |world| world.number() == 2 && world.child().is_some());
            assert!(!lives(child), "{order:?}");
        } else {
            std::thread::sleep(Duration::from_millis(1500));
            assert_eq!(world.child(), Some(child), "{order:?}");
        }
        assert_eq!(world.number(), if ends { 2 } else { 1 }, "{order:?}");
    }
    std::thread::scope(|scope| {
        for order in [
            &["shim"][..],
            &["child"],
            &["watchdog", "child"],
            &["watchdog", "shim"],
            &["shim", "child"],
            &["watchdog", "shim", "child"],
            &["child", "shim", "watchdog"],
        ] {
            scope.spawn(move || check(order));
        }
    });
}

#[test]
fn the_scripted_healer_mends_the_code_and_the_run_succeeds() {
    let healer = "cat > prompt.txt\necho 'exit 0' > train.sh\necho 'It always failed; mended.'\necho '**ACTION: restart**'\n";
    let world = World::watched(
        "command = [\"sh\", \"train.sh\"]\n\
         [process.healing]\nagent = \"headless\"\ncommand = [\"sh\", \"healer.sh\"]\nescalate_after = 1\ntimeout_s = 30",
        &[("train.sh", "echo broken; exit 1\n"), ("healer.sh", healer)],
    );
    world.await_that("good end", |world| !world.unit()["run"]["standing"]["finished"].is_null());
    assert_eq!(world.number(), 3);
    let prompt = fs::read_to_string(world.dir.path().join("prompt.txt")).unwrap();
    assert!(prompt.contains("Process: p") && prompt.contains("# Report of the incident"), "{prompt}");
    world.await_that("agent's kept row", |world| {
        world.text("attempts.tsv").contains("\tagent\trestart\tkept\t")
    });
}

#[test]
fn the_example_of_a_training_comes_to_its_end() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let mut world = World::new("command = [\"true\"]", &[]);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/training");
    for entry in fs::read_dir(example).unwrap().flatten() {
        fs::copy(entry.path(), world.dir.path().join(entry.file_name())).unwrap();
    }
    // Silence needs its time to be believed, and has a test of its own.
    fs::write(world.dir.path().join("hung-once"), "").unwrap();
    world.watch();
    world.await_that("the last step", |world| world.text("units/train/out.log").contains("step 20/20"));
    world.await_that("kept remedies", |world| {
        let rows = world.text("attempts.tsv");
        rows.contains("\thalve\trestart-with-env\tkept\t") && rows.contains("\tagent\trestart\tkept\t")
    });
}

#[test]
fn an_interactive_healer_is_answered_by_a_command() {
    let world = World::watched(
        "command = [\"sh\", \"-c\", \"test \\\"$FIXED\\\" = yes\"]\n\
         [process.healing]\nagent = \"interactive\"\nescalate_after = 1\ntimeout_s = 60",
        &[("program.md", "Never touch the optimizer.\n")],
    );
    let request = Path::new("units/p/recovery-request.md");
    world.await_that("request", |world| world.path(request.to_str().unwrap()).exists());
    assert!(world.text("units/p/recovery-request.md").starts_with("---\nunit: p\n"));
    assert!(world.text("units/p/recovery-request.md").contains("Never touch the optimizer."));
    assert!(world.says(&["respond", "p", "--action", "reboot"]).contains("refused"));
    let said = world.says(&[
        "respond",
        "p",
        "--action",
        "restart",
        "--set",
        "FIXED=yes",
        "--diagnosis",
        "it was not",
    ]);
    assert!(said.contains("the answer is taken"), "{said}");
    world.await_that("good end", |world| !world.unit()["run"]["standing"]["finished"].is_null());
}

#[test]
fn what_a_crashed_run_left_behind_is_ended_and_nothing_else() {
    // One child that does as it is told, one that is deaf, and one that is not ours: it carries no mark.
    let script = "test -e enough && exec sleep 1000\n\
                  sleep 1001 & echo $! >> ours\n(trap '' TERM; echo ready; while :; do sleep 0.1; done) & echo $! >> ours\n\
                  env -i sleep 1002 & echo $! >> others\nsleep 0.3\ntest $(wc -l < ours) -lt 6 || touch enough\nexit 3\n";
    let mut world = World::new(
        "command = [\"sh\", \"train.sh\"]\ngrace_s = 0.5\n[process.healing]\nagent = \"off\"",
        &[("train.sh", script)],
    );
    world.watch();
    world.await_that("last run", |world| world.number() == 4 && world.child().is_some());
    let pids = |name: &str| -> Vec<i32> {
        let text = fs::read_to_string(world.dir.path().join(name)).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    let (ours, others) = (pids("ours"), pids("others"));
    let alive = |pids: &[i32]| pids.iter().filter(|pid| lives(**pid)).count();
    let (ours_left, others_left) = (alive(&ours), alive(&others));
    others.into_iter().for_each(kill);
    assert_eq!((ours.len(), ours_left, others_left), (6, 0, 3));
    let events = world.says(&["events", "--json"]);
    assert!(events.contains("run 3 left") && events.contains("behind"), "{events}");
    assert_eq!(world.number(), 4);
}

#[test]
fn the_log_of_a_run_is_kept_short_and_no_line_and_no_failure_is_lost() {
    // Each line is 64 bytes long; every 10,000th is a failure.
    let script = "yes | head -n 150000 | awk '{ word = NR % 10000 == 5000 ? \"OOM\" : \"line\"; printf \"%s %058d\\n\", word, NR; \
                  if (NR % 2500 == 0) { fflush(); system(\"sleep 0.05\") } }'; exec sleep 1000\n";
    let mut world = World::watched(
        "command = [\"sh\", \"train.sh\"]\nlog_max_mb = 1\n[process.healing]\nagent = \"off\"\n\
         [[process.detectors]]\nkind = \"pattern\"\nname = \"oom\"\nregex = \"OOM\"\n\
         [[process.rules]]\nname = \"none\"\nmatch = { detector = \"oom\" }\naction = { kind = \"command\", command = [\"true\"], then = \"nothing\" }",
        &[("train.sh", script)],
    );
    let log = "units/p/out.log";
    world.await_that("old part", |world| world.path(&format!("{log}.1")).exists());
    world.kill_watchdog();
    world.watch();
    let last = format!("line {:058}\n", 150_000);
    world.await_that("last line", |world| world.text(log).ends_with(&last));
    world.await_that("short log, and its parts in place", |world| {
        fs::metadata(world.path(log)).unwrap().len() <= 1 << 20
            && world.json("units/p/log.json")["cut"].is_null()
    });
    let whole = [".3", ".2", ".1", ""].map(|old| world.text(&format!("{log}{old}"))).concat();
    let numbers: Vec<u64> = whole.lines().map(|line| line[5..].parse().unwrap()).collect();
    let first = numbers[0];
    assert!(numbers.iter().copied().eq(first..=150_000), "lines are lost, doubled or out of order");
    assert!(first > 1 && whole.len() > 512 << 10, "{first}, {} bytes", whole.len());
    // (Events are written last, and one may be missing after a `kill -9`.)
    let count = |world: &World| {
        let known = world.json("units/p/unit.json")["incident"]["known"].clone();
        known.as_array().into_iter().flatten().filter_map(|known| known["count"].as_u64()).sum::<u64>()
    };
    world.await_that("all failures", |world| count(world) >= 15);
    assert_eq!(count(&world), 15);
    assert!(!world.text("outbox.jsonl").contains("was not read"));
}

#[test]
fn a_pipeline_runs_in_its_order() {
    let world = World::watched(
        "command = [\"sh\", \"-c\", \"sleep 0.3; date +%s%N > first\"]\n[[process]]\nname = \"q\"\nafter = [\"p\"]\n\
         command = [\"sh\", \"-c\", \"date +%s%N > second\"]",
        &[],
    );
    world.await_that("second stage", |world| world.dir.path().join("second").exists());
    let read = |name: &str| fs::read_to_string(world.dir.path().join(name)).unwrap().trim().parse::<u64>();
    world.await_that("its time", |_| read("second").is_ok());
    assert!(read("first").unwrap() < read("second").unwrap());
}

//! What supervisors of long processes were seen to lose, to burn or to claim wrongly, played against the real binary. Each
//! test is named after what was seen; the bounds are far from what a busy machine needs, and far below what was seen.

use super::{Duration, Instant, Pid, Signal, World, fs, kill, kill_process, lives};

const OFF: &str = "[process.healing]\nagent = \"off\"";

/// A world whose restarts come after so long a pause that no test sees the end of it.
fn resting(process: &str, files: &[(&str, &str)]) -> World {
    let mut world = World::new(process, files);
    let path = world.dir.path().join("agents.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(path, config.replace("cooldown_s = 0.1", "cooldown_s = 1000")).unwrap();
    world.watch();
    world
}

fn dog(world: &World) -> i32 {
    world.dogs[0].id().cast_signed()
}

/// CPU time of a process, clock ticks.
fn cpu(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit(')').next().unwrap();
    let fields: Vec<u64> =
        rest.split_whitespace().skip(11).take(2).map(|word| word.parse().unwrap()).collect();
    fields.iter().sum()
}

/// Tells the watchdog to leave, and sees that it does.
#[track_caller]
fn leaves(mut world: World) -> World {
    let told = Instant::now();
    kill_process(Pid::from_child(&world.dogs[0]), Signal::TERM).unwrap();
    while world.dogs[0].try_wait().unwrap().is_none() {
        assert!(told.elapsed() < Duration::from_secs(10), "{}", world.says(&["events"]));
        std::thread::sleep(Duration::from_millis(20));
    }
    world.dogs.clear();
    world
}

/// All that was ever noted.
fn events(world: &World) -> String {
    let days = fs::read_dir(world.path("events")).into_iter().flatten().flatten();
    days.map(|day| fs::read_to_string(day.path()).unwrap()).collect()
}

#[test]
fn a_dead_child_in_its_cooldown_costs_no_cpu_delays_no_incident_and_is_no_dead_watchdog() {
    let world = resting(&format!("command = [\"sh\", \"-c\", \"echo broken; exit 3\"]\n{OFF}"), &[]);
    world.await_that("incident before the cooldown is over", |world| world.incidents().len() == 1);
    let (before, began) = (cpu(dog(&world)), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let (used, over) = (cpu(dog(&world)) - before, began.elapsed().as_secs_f64());
    // A hundred of them are a second. One that loops over the dead child takes half of a core.
    assert!((used as f64) < over * 20.0, "{used} clock ticks in {over} s");
    assert_eq!((world.number(), world.child()), (1, None));
    let status: serde_json::Value = serde_json::from_str(&world.says(&["status", "--json"])).unwrap();
    assert_eq!(status["watchdog"]["health"], "running", "{status:#}");
    let ensured: serde_json::Value = serde_json::from_str(&world.says(&["ensure", "--json"])).unwrap();
    assert_eq!((&ensured["watchdog"], &ensured["pid"]), (&"alive".into(), &dog(&world).into()), "{ensured}");
    leaves(world);
}

#[test]
fn a_missing_program_is_an_incident_that_names_it() {
    let world = World::watched(&format!("command = [\"/no/such/program\"]\nmax_identical = 2\n{OFF}"), &[]);
    world.await_that("incident", |world| !world.incidents().is_empty());
    let report = world.text(&format!("incidents/{}/report.md", world.incidents()[0]));
    assert!(report.contains("/no/such/program"), "{report}");
    world.await_that("alert", |world| world.text("outbox.jsonl").contains("is not started again"));
    assert_eq!(world.incidents().len(), 1);
    leaves(world);
}

#[test]
fn a_chatty_child_delays_neither_the_heartbeat_nor_a_command_nor_a_stall() {
    let world = World::watched(
        &format!(
            "command = [\"sh\", \"train.sh\"]\ndetectors = [ {{ kind = \"stall\", name = \"no_progress\", \
             metric_regex = \"step (\\\\d+)\", no_progress_s = 2 }} ]\n{OFF}"
        ),
        &[("train.sh", "echo step 1\nwhile :; do echo another line; sleep 0.01; done\n")],
    );
    world.await_child();
    let tick = |world: &World| world.json("heartbeat.json")["tick"].as_u64().unwrap_or(0);
    let (before, began) = (tick(&world), Instant::now());
    world.await_that("fresh heartbeats", |world| tick(world) >= before + 3);
    let asked = Instant::now();
    let said = world.says(&["pause", "p"]);
    assert!(world.path("units/p/PAUSED").exists(), "{said}");
    assert!(
        asked.duration_since(began) < Duration::from_secs(15) && asked.elapsed() < Duration::from_secs(15),
        "heartbeats after {:?}, a command after {:?}",
        asked.duration_since(began),
        asked.elapsed()
    );
    world.says(&["resume", "p"]);
    world.await_that("stall", |world| world.incidents().iter().any(|id| id.contains("no_progress")));
}

const NEEDLES: &str =
    "ant bee cat dog elk fox gnu hen ibis jay kite lark mole newt owl pike quail rook stoat toad";

#[test]
fn a_burst_while_a_rule_command_runs_loses_no_line() {
    let script = format!(
        "echo needle first\nwhile ! test -e began; do sleep 0.02; done\n\
         awk 'BEGIN {{ split(\"{NEEDLES}\", word, \" \"); for (n = 1; n <= 200000; n++) {{ print \"line\", n; \
         if (n % 10000 == 0) print \"needle\", word[n / 10000] }} }}'\ntouch burst\nexec sleep 1000\n"
    );
    let slow = "touch began\nwhile ! test -e burst; do sleep 0.05; done\nsleep 1\n";
    let world = World::watched(
        &format!(
            "command = [\"sh\", \"train.sh\"]\ndetectors = [ {{ kind = \"pattern\", name = \"needle\", regex = \"^needle\" }} ]\n\
             rules = [ {{ name = \"slow\", match = {{ detector = \"needle\" }}, \
             action = {{ kind = \"command\", command = [\"sh\", \"slow.sh\"], timeout_s = 60 }} }} ]\n{OFF}"
        ),
        &[("train.sh", &script), ("slow.sh", slow)],
    );
    world.await_that("burst", |world| world.dir.path().join("burst").exists());
    world.await_that("last needle", |world| events(world).contains("needle: needle toad"));
    let events = events(&world);
    let lost: Vec<&str> =
        NEEDLES.split(' ').filter(|word| !events.contains(&format!("needle: needle {word}"))).collect();
    assert_eq!(lost, Vec::<&str>::new(), "{events}");
}

#[test]
fn the_last_line_before_a_good_end_is_heard() {
    #[track_caller]
    fn check(lifecycle: &str) {
        let script =
            "awk 'BEGIN { for (n = 1; n <= 5000; n++) print \"line\", n }'\necho a needle at the end\n";
        let world = World::watched(
            &format!(
                "command = [\"sh\", \"train.sh\"]\nlifecycle = \"{lifecycle}\"\n\
                 detectors = [ {{ kind = \"pattern\", name = \"needle\", regex = \"needle\" }} ]\n{OFF}"
            ),
            &[("train.sh", script)],
        );
        world.await_that("good end", |world| !world.unit()["run"]["standing"]["finished"].is_null());
        world.await_that("incident", |world| world.incidents().iter().any(|id| id.contains("needle")));
        // (The folder is written before the events are.)
        world.await_that("event", |world| events(world).contains("needle: a needle at the end"));
        assert_eq!(world.number(), 1, "{lifecycle}");
    }
    std::thread::scope(|scope| {
        for lifecycle in ["one-shot", "restart-on-failure"] {
            scope.spawn(move || check(lifecycle));
        }
    });
}

#[test]
fn a_scalar_in_the_inbox_blocks_no_later_command() {
    let world = World::watched(&format!("command = [\"sleep\", \"1000\"]\n{OFF}"), &[]);
    world.await_child();
    let scalars = ["7", "\"abort\"", "null", "true", "[1]", "{}"];
    let mut inbox = fs::OpenOptions::new().append(true).create(true).open(world.path("inbox.jsonl")).unwrap();
    for scalar in scalars {
        std::io::Write::write_all(&mut inbox, format!("{scalar}\n").as_bytes()).unwrap();
    }
    let asked = Instant::now();
    for (command, paused) in [("pause", true), ("resume", false), ("pause", true)] {
        let said = world.says(&[command, "p"]);
        assert_eq!(world.path("units/p/PAUSED").exists(), paused, "{said}");
    }
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let told = || world.text("outbox.jsonl").lines().filter(|line| line.contains("inbox.jsonl")).count();
    let (first, tick) = (told(), |world: &World| world.json("heartbeat.json")["tick"].as_u64().unwrap_or(0));
    let now = tick(&world);
    world.await_that("later ticks", |world| tick(world) >= now + 2);
    assert!((1..=scalars.len()).contains(&first) && told() == first, "told {first} times, then {}", told());
}

#[test]
fn a_catastrophic_pattern_hangs_nothing_and_term_is_heard() {
    let script = "awk 'BEGIN { s = \"\"; for (n = 0; n < 41; n++) s = s \"a\"; for (n = 0; n < 20000; n++) print s \"!\"; \
                  for (n = 0; n < 8; n++) s = s s; print s \"!\" }'\necho FATAL: really\n\
                  while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!; done\n";
    let world = World::watched(
        &format!(
            "command = [\"sh\", \"train.sh\"]\nlog_max_mb = 64\ndetectors = [ {{ kind = \"pattern\", name = \"evil\", \
             regex = \"^(a+)+$\" }}, {{ kind = \"pattern\", name = \"fatal\", regex = \"FATAL\" }} ]\n{OFF}"
        ),
        &[("train.sh", script)],
    );
    world.await_that("finding behind those lines", |world| events(world).contains("fatal: FATAL: really"));
    let child = world.await_child();
    let world = leaves(world);
    assert!(lives(child), "it prints, and nobody listens");
    kill(child);
    assert!(!events(&world).contains("evil"), "{}", events(&world));
}

#[test]
fn whatever_is_waited_for_a_watchdog_leaves_when_it_is_told() {
    let cooldown = || {
        let world = resting(&format!("command = [\"false\"]\n{OFF}"), &[]);
        world.await_that("incident", |world| world.incidents().len() == 1);
        leaves(world);
    };
    let command = || {
        let world = World::watched(
            &format!(
                "command = [\"sh\", \"-c\", \"echo needle; exec sleep 1000\"]\n\
                 detectors = [ {{ kind = \"pattern\", name = \"needle\", regex = \"needle\" }} ]\n\
                 rules = [ {{ name = \"hung\", match = {{ detector = \"needle\" }}, action = {{ kind = \"command\", \
                 command = [\"sh\", \"-c\", \"echo $$ > pid.new; mv pid.new pid; exec sleep 100\"], timeout_s = 60 }} }} ]\n{OFF}"
            ),
            &[],
        );
        let pid = world.dir.path().join("pid");
        world.await_that("hung command", |_| pid.exists());
        let pid = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let world = leaves(world);
        let hangs = lives(pid);
        kill(pid);
        assert!(hangs, "it was to hang\n{}", events(&world));
    };
    let answer = || {
        let world = World::watched(
            "command = [\"false\"]\n[process.healing]\nagent = \"interactive\"\nescalate_after = 1\ntimeout_s = 600",
            &[],
        );
        world.await_that("request", |world| world.path("units/p/recovery-request.md").exists());
        leaves(world);
    };
    std::thread::scope(|scope| {
        scope.spawn(cooldown);
        scope.spawn(command);
        scope.spawn(answer);
    });
}

#[test]
fn a_template_may_hold_any_braces() {
    let template = "Heal {unit} by {\"json\": {\"a\": 1}} {no_such_slot} {} }{ {{unit}} {detector} {";
    let healer = "cat > prompt.txt\necho 'exit 0' > train.sh\necho 'ACTION: restart'\n";
    let world = World::watched(
        "command = [\"sh\", \"train.sh\"]\n[process.healing]\nagent = \"headless\"\ncommand = [\"sh\", \"healer.sh\"]\n\
         escalate_after = 1\nprompt = \"template.md\"",
        &[("train.sh", "exit 1\n"), ("healer.sh", healer), ("template.md", template)],
    );
    world.await_that("good end", |world| !world.unit()["run"]["standing"]["finished"].is_null());
    let prompt = fs::read_to_string(world.dir.path().join("prompt.txt")).unwrap();
    let want = "Heal p by {\"json\": {\"a\": 1}} {no_such_slot} {} }{ {p} exit {";
    assert_eq!(prompt.trim_end(), want);
}

#[test]
fn a_process_is_told_who_it_is_like_any_unit() {
    let world = World::watched(
        &format!("command = [\"sh\", \"train.sh\"]\n{OFF}"),
        &[("train.sh", "echo $WATCHKEEPER_UNIT ${WATCHKEEPER_PHASE-unset}.; ls -d $WATCHKEEPER_UNIT_DIR\n")],
    );
    world.await_that("good end", |world| !world.unit()["run"]["standing"]["finished"].is_null());
    let dir = fs::canonicalize(world.path("units/p")).unwrap();
    assert_eq!(world.text("units/p/out.log"), format!("p .\n{}\n", dir.display()));
}

#[test]
fn a_rule_is_asked_for_the_number_that_it_names_far_into_a_long_line_too() {
    let script = "echo failed with code=11\nsleep 0.3\nhead -c 1500000 /dev/zero | tr '\\0' x\n\
                  printf ' failed with code=12 '\nhead -c 1500000 /dev/zero | tr '\\0' y\necho\nexec sleep 1000\n";
    let world = World::watched(
        &format!(
            "command = [\"sh\", \"train.sh\"]\n\
             detectors = [ {{ kind = \"pattern\", name = \"code\", regex = \"failed with code=\\\\d+\", cooldown_s = 1000 }} ]\n\
             rules = [ {{ match = {{ message = \"code=12\" }}, action = {{ kind = \"abort\" }} }} ]\n{OFF}"
        ),
        &[("train.sh", script)],
    );
    world.await_that("end that the rule orders", |world| {
        world.unit()["run"]["standing"]["aborted"].is_object()
    });
    world.await_that("end of the process", |world| world.child().is_none());
    // The line's beginning says something else than the lines before: another failure, once.
    let found = events(&world).lines().filter(|line| line.contains("failed with code=12")).count();
    assert!(found >= 1 && world.incidents().len() == 2, "{}", world.says(&["events"]));
}

//! The example fleets: `init` writes them, `check` accepts them, and they run to their end as they are, only faster.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{SOCKET, World};
use watchkeeper::cli::templates::{TEMPLATES, Template};

/// A whole fleet from its start to its end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder, as relative paths.
fn files(dir: &Path) -> BTreeSet<String> {
    let entries = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.path().strip_prefix(dir).unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn every_example_is_a_template_with_all_its_files() {
    let folders = std::fs::read_dir(examples()).unwrap().map(Result::unwrap);
    let folders = folders.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: BTreeSet<String> =
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // They are played with where they lie.
    for place in ["tour", "cooperative-service", "training"] {
        assert!(names.remove(place), "{place}");
    }
    let known: BTreeSet<String> = TEMPLATES.iter().map(|template| template.name.to_owned()).collect();
    assert_eq!(names, known);
    for template in TEMPLATES {
        let listed: BTreeSet<String> = template.files.iter().map(|file| file.path.to_owned()).collect();
        // What a trial run left behind is ignored by git.
        let mut there = files(&examples().join(template.name));
        there.retain(|path| {
            !["work/", ".watchkeeper/", "queue/", "results/"].iter().any(|f| path.starts_with(f))
        });
        assert_eq!(there, listed, "{}", template.name);
    }
}

/// Each example is complete in itself; what they share must not drift apart.
#[test]
fn the_family_shares_its_scripts_and_plans() {
    let model = &TEMPLATES[0];
    for template in TEMPLATES.iter().filter(|template| template.name != "snakepit") {
        for path in ["worker.sh", "setup.sh", "plans/1-count.md", "plans/2-report.md"] {
            assert!(text(template, path) == text(model, path), "{}/{path}", template.name);
        }
    }
}

fn text(template: &Template, path: &str) -> &'static str {
    template.files.iter().find(|file| file.path == path).unwrap().text
}

#[test]
fn every_readme_says_how_to_start_what_to_watch_and_how_to_adapt() {
    for template in TEMPLATES {
        let readme = text(template, "README.md");
        for words in
            ["./setup.sh", "watchkeeper up", "watchkeeper status", "atch", "| unit | does |", "`backend"]
        {
            assert!(readme.contains(words), "{}: no {words:?}", template.name);
        }
        let long = readme.lines().find(|line| line.chars().count() > 135 && !line.starts_with('|'));
        assert_eq!(long, None, "{}", template.name);
        let config = text(template, "agents.toml");
        assert_eq!(config.matches("backend = \"demo\"").count(), 1, "{}: in one place", template.name);
    }
}

#[test]
fn the_documents_list_every_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (document, folder) in [("README.md", "examples/"), ("examples/README.md", "")] {
        let text = read(&root.join(document));
        for Template { name, about, .. } in TEMPLATES {
            let about =
                about.replace("start here", if folder.is_empty() { "**start here**" } else { "start here" });
            let row = format!("| [{name}]({folder}{name}/README.md) | {about} |");
            assert!(text.contains(&row), "{document} lacks\n{row}");
        }
    }
    for template in TEMPLATES {
        // A copy stands alone: it names other examples, but leads nowhere outside of itself.
        assert!(!text(template, "README.md").contains("](../"), "{}", template.name);
    }
}

#[test]
fn init_lists_what_there_is() {
    let world = World::new();
    world
        .wk(["init"])
        .stdout("builder-adversary  [..]start here[..]\n...\nsnakepit  [..]\nprocess  [..]\n\n[..]init NAME[..]\n")
        .check();
    let said = world.wk(["init", "--json"]).stdout("[\n...\n]\n").check();
    let rows: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), TEMPLATES.len() + 1);
    world
        .wk(["init", "builder-adversery"])
        .code(2)
        .stderr("watchkeeper: there is no template `builder-adversery`\nhint: did you mean `builder-adversary`?\n")
        .check();
    world
        .wk(["init", "x", "y", "z"])
        .code(2)
        .stderr("watchkeeper: `init` takes at most 2 words[..]\nhint: [..]\n")
        .check();
    assert_eq!(files(&world.path()), BTreeSet::new());
}

#[test]
fn init_writes_an_example_once_and_overwrites_nothing() {
    let world = World::new();
    let next = "\nNext:\n  cd 'my fleet'\n  ./setup.sh\n  watchkeeper up\n";
    world
        .wk(["init", "builder-adversary", "my fleet"])
        .stdout(&format!("builder-adversary: 9 files written to my fleet\n{next}"))
        .check();
    world
        .wk(["init", "builder-adversary", "my fleet"])
        .stdout(&format!("builder-adversary: 0 files written to my fleet, 9 were there already\n{next}"))
        .check();
    world.file("my fleet/agents.toml", "mine");
    std::fs::remove_file(world.path().join("my fleet/worker.sh")).unwrap();
    // Not even through a link that leads nowhere.
    std::fs::remove_file(world.path().join("my fleet/README.md")).unwrap();
    std::os::unix::fs::symlink("/nowhere/x", world.path().join("my fleet/README.md")).unwrap();
    world
        .wk(["init", "builder-adversary", "my fleet"])
        .code(1)
        .stdout(&format!(
            "kept as it is, it is another one: my fleet/README.md\n\
             kept as it is, it is another one: my fleet/agents.toml\n\
             builder-adversary: 1 file written to my fleet, 6 were there already\n{next}"
        ))
        .file("my fleet/agents.toml", "mine")
        .check();
    let said =
        world.wk(["init", "builder-adversary", "my fleet", "--json"]).code(1).stdout("{\n...\n}\n").check();
    let made: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&made["files"][0]["found"], &made["files"][2]["found"]), (&"kept".into(), &"same".into()));
    assert_eq!(made["next"][1], "./setup.sh");
    // Without a folder it is one of the template's name.
    world.wk(["init", "snakepit"]).stdout("snakepit: 13 files written to snakepit\n...\n").check();
    assert!(Command::new(world.path().join("snakepit/setup.sh")).output().unwrap().status.success());
}

#[test]
fn every_example_passes_check_without_a_note() {
    let world = World::new();
    for template in TEMPLATES {
        let config = format!("{}/agents.toml", template.name);
        world.wk(["init", template.name]).stdout("...\n").check();
        world.wk(["check", "--config", &config]).stdout("[..]: good, [..] unit[..]\n").check();
        // The one word that is to be changed.
        let real = text(template, "agents.toml").replace("backend = \"demo\"", "backend = \"claude\"");
        world.file(&config, real);
        world.wk(["check", "--config", &config]).stdout("[..]: good, [..] unit[..]\n").check();
    }
}

/// An example at work.
struct Running {
    world: World,
    watchdog: Child,
}

impl Running {
    /// Writes it, lets it look more often, sets it up (twice: that must not matter) and starts its watchdog.
    fn start(name: &str, faster: &[(&str, &str)]) -> Running {
        let world = World::new();
        world.wk(["init", name, "."]).stdout("...\n").check();
        let mut config = read(&world.path().join("agents.toml"));
        let socket = config.lines().find(|line| line.starts_with("tmux_socket")).unwrap().to_owned();
        config = config.replace(&socket, &format!("tmux_socket = \"{SOCKET}\""));
        for (slow, fast) in [("signal_interval = 5 ", "signal_interval = 0.5 ")].iter().chain(faster) {
            assert!(config.contains(slow), "{name}: {slow}");
            config = config.replace(slow, fast);
        }
        world.file("agents.toml", config);
        for _ in 0..2 {
            let setup = world.command("./setup.sh").output().unwrap();
            assert!(setup.status.success(), "{name}: {}", String::from_utf8_lossy(&setup.stderr));
        }
        let mut command = world.binary();
        command.arg("run").env("PACE", "0.2").env("DEMO_START", "0").stdin(Stdio::null());
        let watchdog = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Running { world, watchdog }
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < end, "waited in vain for {what}\n{}", self.world.everything());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What was pushed, oldest first, as `author: subject`.
    fn pushed(&self) -> Vec<String> {
        let args = ["-C", "work/origin.git", "log", "--reverse", "--format=%an: %s", "main"];
        let output = self.world.command("git").args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn until_complete(&self) {
        self.until("the end of the plan", || self.world.state("SEQUENCE-COMPLETE").exists());
        let pushed = self.pushed();
        for phase in ["1-count", "2-report"] {
            let done = format!("builder: status({phase}): done");
            assert_eq!(pushed.iter().filter(|line| **line == done).count(), 1, "{pushed:#?}");
        }
    }

    /// How often a subject that begins so was pushed.
    fn count(&self, head: &str) -> usize {
        self.pushed().iter().filter(|line| line.starts_with(head)).count()
    }

    fn events(&self) -> String {
        self.world
            .command("sh")
            .args(["-c", "cat .watchkeeper/events/*"])
            .output()
            .map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

#[test]
fn builder_and_adversary_come_to_the_end_of_their_plan() {
    let run = Running::start("builder-adversary", &[]);
    run.until_complete();
    // Four steps, and the two first claims that had a fault.
    assert_eq!(run.count("builder: claim("), 6, "{:#?}", run.pushed());
    assert_eq!(run.count("adversary: findings("), 2);
    assert_eq!(run.count("adversary: review("), 4);
    let events = run.events();
    for ping in
        ["New claim on origin/main", "New review on origin/main", "machine-docs/INBOX-builder.md changed"]
    {
        assert!(events.contains(ping), "{ping}");
    }
}

/// The README's first command, with the program that is tested.
#[test]
fn smoke_sh_finds_everything_there_and_leaves_nothing() {
    let world = World::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("smoke.sh");
    let output =
        world.command(script).env("WATCHKEEPER", env!("CARGO_BIN_EXE_watchkeeper")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.matches("\n  yes   ").count() >= 9 && !said.contains("\n  NO    "), "{said}");
    assert_eq!(files(&world.path().join("../tmp")), BTreeSet::new(), "{said}");
}

#[test]
fn a_smoke_sh_that_is_interrupted_tears_everything_down() {
    let world = World::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("smoke.sh");
    let mut command = world.command(script);
    command.arg("--keep").env("WATCHKEEPER", env!("CARGO_BIN_EXE_watchkeeper"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = support::Lines::of(child.stdout.take().unwrap());
    while !lines.next().contains("kill -9") {}
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let folder = world.path().parent().unwrap().join("tmp");
    assert_eq!(files(&folder), BTreeSet::new());
    let folder = folder.to_string_lossy().into_owned();
    let processes = || {
        let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let words = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&words).replace('\0', " "))
        });
        all.filter(|words| words.contains(&folder)).collect::<Vec<_>>()
    };
    world.await_that("the end of everything that was started", || processes().is_empty());
}

#[test]
fn a_builder_alone_certifies_itself() {
    let run = Running::start("builder-solo", &[]);
    run.until_complete();
    assert_eq!(run.count("builder: claim("), 4, "{:#?}", run.pushed());
}

#[test]
fn every_claim_that_counts_has_the_pass_of_all_reviewers() {
    let run = Running::start("multi-reviewer", &[]);
    run.until_complete();
    let pushed = run.pushed();
    for reviewer in ["correctness-adversary", "readability-adversary"] {
        assert_eq!(run.count(&format!("{reviewer}: findings(")), 1, "{pushed:#?}");
        for step in ["1-count.lines", "1-count.words", "2-report.table", "2-report.help"] {
            assert!(
                run.count(&format!("{reviewer}: review({step}): PASS")) >= 1,
                "{reviewer} {step}: {pushed:#?}"
            );
        }
    }
}

#[test]
fn an_adversary_without_a_memory_is_started_for_each_look() {
    let run = Running::start("builder-adversary-stateless", &[("interval = 15 ", "interval = 2 ")]);
    run.until_complete();
    assert_eq!(run.count("adversary: review("), 4, "{:#?}", run.pushed());
    let unit: serde_json::Value =
        serde_json::from_str(&run.world.read_state("units/adversary/unit.json")).unwrap();
    assert!(unit["launch"]["count"].as_u64().unwrap() >= 4, "{unit:#}");
}

/// They differ in words and in who is told what; side by side, as they mostly wait.
#[test]
fn the_rest_of_the_family_comes_to_its_end_too() {
    let all = ["min", "lean", "deferred"].map(|which| {
        let name = format!("builder-adversary-{which}");
        (which, Running::start(&name, &[]))
    });
    for (which, run) in &all {
        run.until_complete();
        let claims = if *which == "min" { 6 } else { 4 };
        assert_eq!(run.count("builder: claim("), claims, "{which}: {:#?}", run.pushed());
        assert_eq!(run.count("adversary: findings("), 2, "{which}");
        assert_eq!(run.count("adversary: review("), claims - 2, "{which}");
    }
}

#[test]
fn the_snakes_empty_their_queue_and_what_failed_or_was_left_is_done_too() {
    let faster = [
        ("interval = 30,", "interval = 3,"),
        ("interval = 20 ", "interval = 3 "),
        ("LOOK_EVERY_S = \"10\"", "LOOK_EVERY_S = \"1\""),
    ];
    let run = Running::start("snakepit", &faster);
    // Somebody claimed this long ago and was never seen again.
    run.world.file("queue/doing/old.md@snake-9", "An old one\n");
    let aged = run
        .world
        .command("touch")
        .args(["-d", "2 hours ago", "queue/doing/old.md@snake-9"])
        .status()
        .unwrap();
    assert!(aged.success());
    let all = || files(&run.world.path().join("queue/done"));
    run.until("an empty queue", || all().len() == 7);
    assert!(all().contains("old.md") && all().contains("sonnet.md"), "{:?}", all());
    for folder in ["queue/todo", "queue/doing", "queue/failed"] {
        assert_eq!(files(&run.world.path().join(folder)), BTreeSet::new(), "{folder}");
    }
    let results = files(&run.world.path().join("results"));
    assert_eq!(results, all(), "a result for each");
}

/// The protocol of cooperative units is ten lines, the same on the page and in the script, and they do what the page says.
#[test]
fn the_protocol_is_ten_lines_and_goes_on_from_its_checkpoint() {
    let folder = examples().join("cooperative-service");
    let (page, script) = (read(&folder.join("README.md")), read(&folder.join("service.sh")));
    let inner = script.lines().skip_while(|line| !line.starts_with("# --- the protocol: begin")).skip(1);
    let lines: Vec<&str> = inner.take_while(|line| !line.starts_with("# --- the protocol: end")).collect();
    assert_eq!(lines.len(), 10, "{lines:#?}");
    let protocol = lines.join("\n");
    assert!(page.contains(&protocol), "the page has another one");
    let dir = tempfile::tempdir().unwrap();
    let run = |work: &str| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{protocol}\n{work}")).env("WATCHKEEPER_UNIT_DIR", dir.path());
        shell.current_dir(dir.path()).stderr(std::process::Stdio::null()).status().unwrap().code()
    };
    let done =
        || -> serde_json::Value { serde_json::from_str(&read(&dir.path().join("checkpoint.json"))).unwrap() };
    let steps = "for n in 1 2 3; do beat; step=$((step + 1)); save; done; kill -9 $$";
    for total in [3, 6] {
        assert_eq!(run(steps), None, "it is killed");
        assert_eq!(done(), serde_json::json!({ "step": total }));
    }
    assert!(dir.path().join("heartbeat").exists());
    let restart = dir.path().join("RESTART");
    assert_eq!(run("touch -t 200001010000 $dir/RESTART; beat; exit 7"), Some(7), "it was for the one before");
    assert!(restart.exists());
    assert_eq!(run("touch -t 203001010000 $dir/RESTART; beat; exit 7"), Some(42));
    assert!(!restart.exists());
    assert_eq!(done(), serde_json::json!({ "step": 6 }), "it outlives a restart");
}

//! `agents.toml` from outside: fixtures with their golden renderings, hostile texts, and the example that shows the defaults.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly, its helpers too")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watchkeeper::config::{Config, Parsed, Role, Source, WakeWhen, parse, render};

/// A fixed world: one folder, three variables, two prompt files.
fn parse_text(text: &str) -> Parsed {
    let env = |name: &str| match name {
        "WHO" => Some("ann".to_owned()),
        "WORK" => Some("/srv/jobs".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let read = |path: &Path| match path.to_str() {
        Some("/fleet/prompts/builder.md" | "/srv/jobs/builder.md") => Ok("Build.\n".to_owned()),
        Some("/fleet/prompts/supervisor.md") => Ok("Look.\n".to_owned()),
        Some("/fleet/prompts/kickoff.md") => Ok("Phase {phase_id}.\n".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    parse(&Source {
        path: Path::new("/fleet/agents.toml"),
        text,
        home: Path::new("/home/op"),
        env: &env,
        read: &read,
        state_override: None,
    })
}

fn errors_of(text: &str) -> String {
    let parsed = parse_text(text);
    assert_eq!(parsed.config.is_some(), parsed.problems.iter().all(is_note), "{text}");
    render("agents.toml", &parsed.problems)
}

fn is_note(problem: &watchkeeper::config::Problem) -> bool {
    problem.severity == watchkeeper::config::Severity::Note
}

#[track_caller]
fn good(text: &str) -> Config {
    let parsed = parse_text(text);
    parsed.config.unwrap_or_else(|| panic!("{text}\n{}", render("agents.toml", &parsed.problems)))
}

/// What a config means, for people who review a golden file.
fn describe(config: &Config) -> String {
    let mut out = format!("{:?}\n", config.watchdog);
    let (prefix, socket) = (&config.session_prefix, &config.tmux_socket);
    writeln!(out, "prefix {prefix:?} socket {socket:?} state {}", config.state_dir.display()).unwrap();
    if let Some(plan) = &config.sequence {
        let kickoff = plan.kickoff.lines().next();
        writeln!(
            out,
            "\nloop: {} {:?} dir {:?} marker {:?} nudge {} kickoff {kickoff:?} then {:?}",
            plan.repo.display(),
            plan.tracking(),
            plan.state_subdir,
            plan.done_marker,
            plan.done_nudge,
            plan.on_complete
        )
        .unwrap();
        for phase in &plan.phases {
            writeln!(out, "  {phase:?}").unwrap();
        }
        writeln!(out, "  {:?}", plan.handoff).unwrap();
    }
    let mut units: Vec<_> = config.units.values().collect();
    units.sort_by_key(|unit| unit.position);
    for unit in units {
        let (name, session, dir) = (&unit.name, &unit.session, unit.dir.display());
        writeln!(
            out,
            "\n{name}: session {session} dir {dir} watch {:?} enabled {}",
            unit.watch, unit.enabled
        )
        .unwrap();
        writeln!(out, "  env {:?}", unit.env).unwrap();
        writeln!(out, "  {:?}", unit.ladder).unwrap();
        if let Some(cooperative) = &unit.cooperative {
            writeln!(out, "  {cooperative:?}").unwrap();
        }
        match &unit.role {
            Role::Service { command } => writeln!(out, "  service {command:?}").unwrap(),
            Role::Process(process) => writeln!(out, "  process {process:#?}").unwrap(),
            Role::Agent(agent) => {
                let (backend, command) = (&agent.backend.name, &agent.backend.command);
                // Of built-in commands only the program: the rest is the backends' own affair.
                let command = if is_built_in(backend) { &command[..1] } else { &command[..] };
                writeln!(
                    out,
                    "  agent {:?} backend {backend} {command:?} account {:?}",
                    agent.kind, agent.account
                )
                .unwrap();
                let parent = agent.parent.as_ref().map(ToString::to_string);
                writeln!(
                    out,
                    "  model {:?} permission {:?} parent {parent:?} recovery {}",
                    agent.model, agent.permission, agent.recovery.max
                )
                .unwrap();
                writeln!(out, "  prompt {:?} wake {}", agent.prompt, wake_text(agent.wake.as_ref())).unwrap();
            }
        }
    }
    out
}

fn is_built_in(backend: &str) -> bool {
    ["claude", "codex", "shell"].contains(&backend)
}

fn wake_text(wake: Option<&watchkeeper::config::Wake>) -> String {
    match wake {
        None => "never".to_owned(),
        Some(wake) => match &wake.when {
            WakeWhen::Interval { every_s } => format!("every {every_s} s: {:?}", wake.prompt),
            WakeWhen::Cron { tz, .. } => format!("cron, tz {tz:?}: {:?}", wake.prompt),
        },
    }
}

#[test]
fn every_fixture_says_what_its_golden_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    cases.sort();
    assert!(cases.len() >= 25, "only {} fixtures in {}", cases.len(), folder.display());
    let mut wrong = Vec::new();
    for case in cases {
        let parsed = parse_text(&std::fs::read_to_string(&case).unwrap());
        let mut got = render("agents.toml", &parsed.problems);
        if let Some(config) = &parsed.config {
            write!(got, "--- means\n{}", describe(config)).unwrap();
        }
        let want_file = case.with_extension("want");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&want_file, &got).unwrap();
        }
        let want = std::fs::read_to_string(&want_file).unwrap_or_default();
        if got != want {
            wrong.push(format!("== {}\n-- want\n{want}-- got\n{got}", case.display()));
        }
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(parsed.config.is_some(), name.starts_with("good-"), "{name}: {got}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn texts_that_no_editor_writes_neither_hang_nor_crash() {
    const UNIT: &str = "[[service]]\nname = \"a\"\ncommand = [\"x\"]\n";
    let n = 1_000_000;
    let keys = vec!["a"; 79].join(".");
    let deep = format!("x = {}1{}", format!("{{{keys} = ").repeat(79), "}".repeat(79));
    let units: String =
        (0..20_000).map(|i| format!("[[agent]]\nname=\"u{i}\"\nparent=\"nobody{i}\"\n")).collect();
    let long_parent = format!("{UNIT}[[agent]]\nname = \"b\"\nparent = \"{}\"\n", "p".repeat(n / 2));
    let texts = [
        "[".repeat(n),
        "]".repeat(n),
        "{".repeat(n),
        format!("a = {}", "[".repeat(n)),
        format!("a = {}", "{a=".repeat(n / 3)),
        format!("{}a = 1", "a.".repeat(n / 2)),
        format!("[{}a]", "a.".repeat(n / 2)),
        "\n=".repeat(n / 2),
        "\0".repeat(n),
        "\"".repeat(n),
        "[[agent]]\n".repeat(n / 10),
        "[backend.a]\n".repeat(n / 12),
        format!("{UNIT}env = {{ A = \"{}\" }}", "${".repeat(n / 3)),
        format!("{UNIT}env = {{ A = \"{}\" }}", "${NO}".repeat(n / 6)),
        format!("{UNIT}env = {{ A = \"{}\" }}", "${WORK}".repeat(n / 8)),
        (0..90_000).map(|i| format!("k{i} = 1\n")).collect::<String>(),
        deep,
        units,
        long_parent,
    ];
    for text in &texts {
        let text = &text[..text.len().min(n)];
        let start = Instant::now();
        let problems = parse_text(text).problems;
        let took = start.elapsed();
        let head: String = text.chars().take(40).collect();
        assert!(!problems.is_empty(), "{head}");
        assert!(problems.len() <= watchkeeper::config::PROBLEMS_MAX + 1, "{head}");
        let rendered = render("agents.toml", &problems);
        assert!(rendered.len() < 100_000, "{head}: {} bytes", rendered.len());
        assert!(!rendered.contains(|c: char| c.is_control() && c != '\n'), "{head}");
        // Far above what a loaded machine needs; something quadratic takes minutes.
        assert!(took < Duration::from_secs(20), "{head} took {took:?}");
    }
}

#[test]
fn any_prefix_and_any_flipped_byte_of_a_good_file_is_read_without_a_crash() {
    let text = include_str!("../agents.example.toml");
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)).step_by(37) {
        drop(parse_text(&text[..end]));
    }
    for at in (0..text.len()).step_by(23) {
        for flip in [0x01, 0x10] {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= flip;
            if let Ok(text) = String::from_utf8(bytes) {
                drop(parse_text(&text));
            }
        }
    }
}

#[test]
fn line_ends_byte_order_marks_and_a_missing_last_newline_move_no_column() {
    let text = "[watchdog]\nstall_idle = \"x\"\n[[service]]\nname = \"a\"\ncommand = [\"x\"]\n";
    let want = "agents.toml:2:14: `stall_idle` must be a number of seconds, found a string\n";
    assert_eq!(errors_of(text), want);
    assert_eq!(errors_of(&text.replace('\n', "\r\n")), want);
    assert_eq!(errors_of(&format!("\u{feff}{text}")), want);
    assert_eq!(errors_of(text.trim_end()), want);
    assert_eq!(
        errors_of("\u{feff}stäte = 1\n[[service]]\nname = \"a\"\ncommand = [\"x\"]"),
        "agents.toml:1:3: invalid unquoted key, expected letters, numbers, `-`, `_`\n"
    );
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    let text = "#".repeat(watchkeeper::config::TEXT_LENGTH_MAX + 1);
    assert!(errors_of(&text).starts_with("agents.toml:1:1: the file is 1048577 bytes long"));
}

#[test]
fn the_state_directory_of_the_command_line_wins() {
    let text = "[watchdog]\nstate_dir = \"s\"\n[[service]]\nname = \"a\"\ncommand = [\"x\"]\n";
    assert_eq!(good(text).state_dir, Path::new("/fleet/s"));
    let parsed = parse(&Source {
        path: Path::new("/fleet/agents.toml"),
        text,
        home: Path::new("/home/op"),
        env: &|_| None,
        read: &|_| Err("no".into()),
        state_override: Some(Path::new("/elsewhere")),
    });
    assert_eq!(parsed.config.unwrap().state_dir, Path::new("/elsewhere"));
}

#[test]
fn only_what_needs_a_restart_changes_the_launch_digest() {
    const BASE: &str = "[[agent]]\nname = \"a\"\nbackend = \"shell\"\n";
    let digest = |extra: &str| good(&format!("{BASE}{extra}")).units["a"].launch_digest.clone();
    let base = digest("");
    for same in
        ["permission = \"deny\"", "watch = \"heal\"", "enabled = false", "dir = \".\"", "account = \"t\""]
    {
        assert_eq!(digest(same), base, "{same}");
    }
    let changes = [
        "dir = \"x\"",
        "model = \"m\"",
        "env = { A = \"b\" }",
        "env = { A = \"\", b = \"\" }",
        "prompt = \"prompts/builder.md\"",
        "[backend.shell]\ncommand = [\"other-shell\"]",
        "[backend.shell]\ncommand = [\"other-shell\", \"-l\"]",
    ];
    let mut digests: Vec<String> = changes.iter().map(|extra| digest(extra)).collect();
    digests.push(base);
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

/// Cron has another environment than a shell.
#[test]
fn the_launch_digest_is_of_what_is_written_not_of_what_it_means_here() {
    let text = "[backend.demo]\ncommand = [\"${TOOL}\"]\nenv = { B = \"${TOOL}\" }\n\
                [[agent]]\nname = \"a\"\nbackend = \"demo\"\ndir = \"${TOOL}/x\"\nenv = { P = \"${TOOL}\" }\n\
                [[service]]\nname = \"s\"\ncommand = [\"${TOOL}\", \"run\"]\n";
    let digests = |text: &str, tool: &str| {
        let parsed = parse(&Source {
            path: Path::new("/fleet/agents.toml"),
            text,
            home: Path::new(tool),
            env: &|_| Some(tool.to_owned()),
            read: &|_| Ok(String::new()),
            state_override: None,
        });
        let units = parsed.config.unwrap().units;
        ["a", "s"].map(|name| units.get(name).map(|unit| unit.launch_digest.clone()))
    };
    let here = digests(text, "/opt/a");
    assert_eq!(digests(text, "/opt/b"), here);
    let changed = digests(&text.replace("TOOL", "OTHER"), "/opt/a");
    assert!(changed[0] != here[0] && changed[1] != here[1], "{changed:?}");
    // In which format: what was made in another is not compared.
    assert!(here.iter().flatten().all(|digest| digest.starts_with("2:")), "{here:?}");
}

// The example.

const EXAMPLE: &str = include_str!("../agents.example.toml");

/// Settings that the example shows with their default: lines that begin with `#` and no space.
fn is_default(line: &str) -> bool {
    line.starts_with('#') && line.chars().nth(1).is_some_and(|c| c.is_ascii_lowercase())
}

#[test]
fn the_example_is_good_and_each_default_that_it_shows_is_the_code_s() {
    let config = good(EXAMPLE);
    assert_eq!(parse_text(EXAMPLE).problems, []);
    assert_eq!(config.units.len(), 2);
    let defaults = EXAMPLE.lines().filter(|line| is_default(line)).count();
    assert!(defaults > 25, "only {defaults} defaults are shown");
    for (number, line) in EXAMPLE.lines().enumerate().filter(|(_, line)| is_default(line)) {
        let shown: String = EXAMPLE
            .lines()
            .enumerate()
            .map(|(n, l)| if n == number { format!("{}\n", &line[1..]) } else { format!("{l}\n") })
            .collect();
        assert_eq!(without_digest(good(&shown)), without_digest(config.clone()), "{line}");
    }
}

fn without_digest(mut config: Config) -> String {
    config.digest.clear();
    format!("{config:#?}")
}

#[test]
fn the_blocks_to_take_over_are_good() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let mut seen = 0;
    // A block ends at a line without text.
    let begins = |n: &usize| lines[*n].starts_with("# [") && !lines[n - 1].starts_with("# ");
    for start in (0..lines.len()).filter(begins) {
        let block: Vec<&str> = lines[start..].iter().map_while(|line| line.strip_prefix("# ")).collect();
        let config = good(&format!("{EXAMPLE}\n{}\n", block.join("\n")));
        seen += 1;
        if lines[start] != "# [[service]]" {
            continue;
        }
        // Name and command are the service's own; what follows are defaults.
        let short = good(&format!("{EXAMPLE}\n{}\n", block[..3].join("\n")));
        assert_eq!(without_digest(config), without_digest(short));
    }
    assert!(seen >= 3, "only {seen} blocks");
}

#[test]
fn every_key_that_is_known_stands_in_the_example() {
    let probe = "zzzzzzzzzzzzzzzzzzzz = 1\n";
    let text = format!(
        "[watchdog]\n{probe}[defaults]\n{probe}[[agent]]\nname = \"a\"\n{probe}[agent.wake]\ninterval = 1\n\
         prompt = \"x\"\n{probe}[agent.ladder]\n{probe}[agent.recovery]\n{probe}[loop]\nrepo = \"w\"\nphases = [ {{ id = \"1\", status = \"S\", zzzzzzzzzzzzzzzzzzzz = 1 }} ]\n{probe}[loop.handoff]\n{probe}[[service]]\nname = \"b\"\ncommand = [\"x\"]\n{probe}[service.cooperative]\n{probe}\
         [[process]]\nname = \"p\"\ncommand = [\"x\"]\n{probe}[process.restart]\n{probe}[process.require]\n{probe}[process.healing]\n{probe}"
    );
    let problems = parse_text(&text).problems;
    assert_eq!(problems.len(), 15, "{}", render("agents.toml", &problems));
    for problem in problems {
        let keys = problem.hint.unwrap();
        for key in keys.trim_start_matches("known here: ").split(", ") {
            let shown = EXAMPLE.contains(&format!("{key} = ")) || EXAMPLE.contains(&format!(".{key}]"));
            assert!(shown, "`{key}` of {} is not in agents.example.toml", problem.message);
        }
    }
}

//! The documents say what the code does: lists and tables agree with their source, snippets and examples parse, paths and
//! links lead somewhere, scripts are sound.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use watchkeeper::base::error::Kind;
use watchkeeper::cli::commands;
use watchkeeper::config::{self, Severity, Source};
use watchkeeper::engine::home::Home;
use watchkeeper::policy::POLICIES;
use watchkeeper::state::table;

const DOCUMENTS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"];
const SCRIPTS: [&str; 3] = ["smoke.sh", "tests/run", ".ci/run"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of the table below `heading`, its head left out. `\|` is a `|` in a cell.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let rows = lines.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let line = line.replace("\\|", "\0");
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\0', "|"));
        cells.collect::<Vec<String>>()
    };
    rows.skip(2).map(cells).collect()
}

#[track_caller]
fn check_table(document: &str, heading: &str, want: &[Vec<String>]) {
    let found = table(document, heading);
    let show = |rows: &[Vec<String>]| {
        let line = |row: &Vec<String>| format!("| {} |", row.join(" | "));
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    assert!(found == want, "{document}, {heading}: it should be\n{}\nbut is\n{}", show(want), show(&found));
}

/// The fenced blocks of a language.
fn fences(document: &str, language: &str) -> Vec<String> {
    let text = read(document);
    let open = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == open {
            blocks.push(lines.by_ref().take_while(|line| *line != "```").collect::<Vec<_>>().join("\n"));
        }
    }
    blocks
}

/// Every text between backticks outside of fences.
fn backticked(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn the_list_of_commands_is_the_table_of_commands() {
    let row = |command: &commands::Command| {
        let usage = format!("{} {}", command.name, command.usage);
        vec![format!("`{}`", usage.trim_end()), command.about.to_owned()]
    };
    let want: Vec<Vec<String>> = commands::public().map(row).collect();
    check_table("README.md", "## Commands", &want);
}

#[test]
fn the_list_of_state_files_is_the_table_of_state_files() {
    let row = |file: &table::FileRow| {
        vec![format!("`{}`", file.path), file.writer.to_owned(), file.about.to_owned()]
    };
    let want: Vec<Vec<String>> = table::FILES.iter().map(row).collect();
    check_table("README.md", "## The state directory", &want);
}

#[test]
fn exit_codes_are_those_of_the_errors() {
    let readme = read("README.md");
    for kind in [Kind::No, Kind::Usage, Kind::Missing, Kind::Again] {
        assert!(readme.contains(&format!("\n| {} | ", kind.exit_code())), "{kind:?}");
    }
}

#[test]
fn every_state_has_its_row() {
    let table = table("README.md", "## What is seen, and what is done about it");
    let found: Vec<&str> = table.iter().map(|row| row[0].as_str()).collect();
    let states = "starting, onboarding, idle, draft, busy, blocked, limited, error, dead, shell, unknown";
    for state in states.split(", ") {
        assert!(found.contains(&format!("`{state}`").as_str()), "{state} is missing");
    }
    assert_eq!(found.len(), states.split(", ").count());
}

#[test]
fn snippets_of_the_config_parse_without_a_note() {
    let snippets = fences("README.md", "toml");
    assert!(snippets.len() >= 3, "{snippets:?}");
    for text in snippets {
        let source = Source {
            path: Path::new("/fleet/agents.toml"),
            text: &text,
            home: Path::new("/home/somebody"),
            env: &|_| None,
            read: &|_| Ok("a prompt".to_owned()),
            state_override: None,
        };
        let parsed = config::parse(&source);
        assert!(parsed.problems.is_empty(), "{}\n{text}", config::render("README.md", &parsed.problems));
        assert!(parsed.config.is_some(), "{text}");
    }
}

#[test]
fn examples_parse_and_their_prompts_are_there() {
    let found: Vec<PathBuf> = walkdir::WalkDir::new(root().join("examples"))
        .into_iter()
        .filter_map(|entry| Some(entry.ok()?.into_path()))
        .filter(|path| path.file_name().is_some_and(|name| name == "agents.toml"))
        .collect();
    assert!(!found.is_empty(), "no example");
    for path in found.into_iter().chain([root().join("agents.example.toml")]) {
        let (parsed, ..) = Home::new(Some(&path), None).unwrap().parse().unwrap();
        let errors = parsed.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        assert_eq!(errors, 0, "{}", config::render(&path.to_string_lossy(), &parsed.problems));
    }
}

#[test]
fn paths_in_the_architecture_lead_somewhere_and_every_policy_has_a_file() {
    for word in backticked(&read("ARCHITECTURE.md")) {
        let is_path =
            ["src/", "tests/", "fixtures/", "benches/"].iter().any(|folder| word.starts_with(folder));
        assert!(
            !is_path || root().join(&word).exists(),
            "ARCHITECTURE.md names `{word}`, which is not there"
        );
    }
    for policy in POLICIES {
        let path = format!("src/policy/{}.rs", policy.name);
        assert!(root().join(&path).exists(), "the policy {} is not in {path}", policy.name);
    }
}

#[test]
fn links_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        for (before, after) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let target = after.split(')').next().unwrap_or_default();
            let local = !target.starts_with("http") && !target.starts_with('#');
            assert!(
                !local || root().join(target).exists(),
                "{document}: …{}{target}) leads nowhere",
                before.lines().last().unwrap_or_default()
            );
        }
    }
}

#[test]
fn lines_fit_and_fences_are_closed() {
    for document in DOCUMENTS {
        let text = read(document);
        assert_eq!(text.lines().filter(|line| line.starts_with("```")).count() % 2, 0, "{document}");
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.starts_with("```");
            let prose = !fenced && !line.starts_with('|') && !line.starts_with("```");
            assert!(!prose || line.chars().count() <= 130, "{document}: {line}");
            assert_eq!(line, line.trim_end(), "{document}: spaces at the end");
        }
    }
}

#[test]
fn scripts_can_be_run() {
    for script in SCRIPTS {
        let path = root().join(script);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
        let ran = Command::new("bash").arg("-n").arg(&path).output().unwrap();
        assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    let readme = read("README.md");
    let first = fences("README.md", "sh").into_iter().next().unwrap_or_default();
    let commands: BTreeSet<&str> = first.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(commands, BTreeSet::from(["./smoke.sh", "tests/run"]), "{readme:.200}");
}

#[test]
fn a_missing_program_is_told_in_one_line() {
    let script = ". tests/need.sh; PATH=/nowhere; need no-such-program some-package";
    let ran = Command::new("bash").args(["-c", script, "smoke.sh"]).current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("smoke.sh: `no-such-program` is missing: install it"), "{said}");
}

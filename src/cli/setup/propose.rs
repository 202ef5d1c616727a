//! The agents.toml that `init process` writes: one process, commented like a colleague's.
//!
//! Deliberately not here: finding out what the folder holds (`stack`), writing the file.

use super::ideas::{self, Idea};
use super::stack::{Found, Work};
use super::toml_text::{comment, string, strings, table};
use std::fmt::Write as _;

/// Most snapshots that are proposed.
const SNAPSHOTS_MAX: usize = 8;

/// Width of comments, characters.
const WIDTH: usize = 100;

/// Silence that is taken for a stall, seconds: as the predecessor's users had it.
const SILENCE_S: u32 = 1800;

/// Files that say how a program was set up, in the order of their worth.
const SNAPSHOTS: &[&str] = &[
    "configs/run.yaml",
    "configs/train.yaml",
    "configs/config.yaml",
    "conf/config.yaml",
    "config/config.yaml",
    "config.yaml",
    "config.yml",
    "config.toml",
    "config.json",
    "params.yaml",
    "hyperparameters.yaml",
    "src/main/resources/application.properties",
    "src/main/resources/application.yml",
    "pyproject.toml",
    "requirements.txt",
    "package.json",
    "go.mod",
    "Cargo.toml",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "Makefile",
];

/// Which of the usual files are there, the first ones of them.
pub fn snapshots(is_file: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    SNAPSHOTS.iter().copied().filter(|path| is_file(path)).take(SNAPSHOTS_MAX).collect()
}

/// The text of the file. `found` is what the folder holds, the one to propose first; empty = nothing that is known.
pub fn agents_toml(folder: &str, found: &[Found], snapshots: &[&str]) -> String {
    let unknown = nothing_known(folder);
    let (first, others) = found.split_first().unwrap_or((&unknown, &[]));
    let mut out = head(first, found.is_empty());
    out.push_str("[[process]]\n");
    let _ = writeln!(out, "name = {}", string(&first.name));
    out.push_str(&comment(
        &format!("The words of the command; no shell reads them ({}).", first.because),
        WIDTH,
    ));
    let _ = writeln!(out, "command = {}", strings(&first.command));
    for other in others {
        let _ = writeln!(out, "# or, {} being here: command = {}", other.evidence, strings(&other.command));
    }
    out.push_str("cwd = \".\"\n");
    environment(&mut out, first);
    starts(&mut out, first.work);
    configs(&mut out, snapshots);
    let ideas: Vec<&Idea> = ideas::fitting((!found.is_empty()).then_some(first.stack), first.work).collect();
    detectors(&mut out, first.work, &ideas);
    rules(&mut out, first, &ideas);
    healing(&mut out);
    out
}

fn nothing_known(folder: &str) -> Found {
    Found {
        stack: super::stack::Stack::Make,
        evidence: String::new(),
        name: super::stack::unit_name(folder).unwrap_or_else(|| "main".to_owned()),
        command: vec!["./run.sh".to_owned()],
        because: "Nothing that I know was found in this folder: put your own command here".to_owned(),
        work: Work::Job,
        env: Vec::new(),
        batch: None,
    }
}

fn head(first: &Found, unknown: bool) -> String {
    let kind = match first.work {
        Work::Training => "training run",
        Work::Server => "server",
        Work::Job => "job",
    };
    let what = match unknown {
        true => "a process".to_owned(),
        false => format!("a {} {kind} ({})", first.stack.word(), first.evidence),
    };
    let text = format!(
        "What watchkeeper watches here: {what}. Proposed by `watchkeeper init process`; it is yours now.\n\
         `watchkeeper check` validates it, `watchkeeper run` starts it and watches it, `watchkeeper status` and\n\
         `watchkeeper incidents list` say how it went. Times are in seconds, paths are relative to this file."
    );
    comment(&text, 120) + "\n"
}

fn environment(out: &mut String, first: &Found) {
    if first.env.is_empty() {
        return;
    }
    for (name, _) in &first.env {
        let why = match name.as_str() {
            "PYTHONUNBUFFERED" => "else Python keeps its lines back, and a failure is seen minutes late.",
            "GOTRACEBACK" => "all goroutines of a crash, not only the one that died.",
            "RUST_BACKTRACE" => "without it a panic says where, but not how it came there.",
            _ => "read by the script; a rule below halves it when the GPU's memory is full.",
        };
        out.push_str(&comment(&format!("{name}: {why}"), WIDTH));
    }
    let _ = writeln!(out, "env = {}", table(&first.env));
}

fn starts(out: &mut String, work: Work) {
    let (lifecycle, why) = match work {
        Work::Server => ("restart-always", "a server that ends is started again, whatever its exit status"),
        Work::Training | Work::Job => {
            ("restart-on-failure", "exit 0 is the end of it; anything else is a crash")
        }
    };
    let _ = writeln!(out, "lifecycle = {}   # {why}", string(lifecycle));
    out.push_str(
        "# So often it is started again before a person is asked. A restart that held begins the count anew.\n\
         restart = { max = 10, cooldown_s = 60 }\n",
    );
}

fn configs(out: &mut String, snapshots: &[&str]) {
    out.push_str("# Copied into the folder of every incident, secrets masked. Better not the file that holds them (.env).\n");
    let _ = writeln!(out, "config_snapshots = {}", strings(snapshots));
}

fn detectors(out: &mut String, work: Work, ideas: &[&Idea]) {
    out.push_str(
        "\n# What is looked for in its output. `watchkeeper scan FILE --process NAME` tries them on a log.\n\
         detectors = [\n  { kind = \"traceback\" },   # Python, JavaScript, TypeScript, Go, Rust, Java\n  \
         { kind = \"exit\" },\n",
    );
    match work {
        Work::Training | Work::Job => {
            let _ = writeln!(
                out,
                "  {{ kind = \"stall\", name = \"silent\", no_progress_s = {SILENCE_S} }},   # longer than its longest pause"
            );
        }
        Work::Server => out.push_str("  # No stall: a server without visitors is silent, and well.\n"),
    }
    for idea in ideas {
        let _ = writeln!(
            out,
            "  {{ kind = \"pattern\", name = {}, regex = {} }},",
            string(idea.name),
            string(idea.regex)
        );
    }
    if work == Work::Training {
        let _ = writeln!(
            out,
            "  # It prints its steps and its loss? Then these see a hang that still talks, and a loss that explodes:\n  \
             # {{ kind = \"stall\", name = \"no-progress\", metric_regex = 'step (\\d+)', no_progress_s = {SILENCE_S} }},\n  \
             # {{ kind = \"metric\", name = \"loss\", regex = 'loss[=: ]+([0-9.]+)', jump = 5 }},"
        );
    }
    out.push_str("]\n");
}

fn rules(out: &mut String, first: &Found, ideas: &[&Idea]) {
    out.push_str(
        "\n# What is done about it: the first rule that matches. Where none does, a crash is answered with a restart, and\n\
         # from the third in a row on with the agent below.\nrules = [\n",
    );
    if ideas.iter().any(|idea| idea.name == ideas::CUDA_OOM) {
        let mark = if first.batch.is_some() { "" } else { "# " };
        let name = first.batch.as_ref().map_or("BATCH_SIZE", |(name, _)| name);
        let why = match first.batch {
            Some(_) => "half the batch, remembered until you change it above",
            None => {
                "let your script read its batch size from the environment and set it in `env`, then this rule halves it"
            }
        };
        let _ = writeln!(
            out,
            "  # {why}\n  {mark}{{ name = \"smaller-batch\", match = {{ detector = \"{}\" }}, \
             action = {{ kind = \"restart-with-env\", set = {{ {name} = {{ change = \"half\", floor = 1 }} }} }} }},",
            ideas::CUDA_OOM
        );
    }
    for idea in ideas {
        if let Some(rule) = &idea.rule {
            let _ = writeln!(
                out,
                "  # {}\n  {{ name = \"{}\", match = {{ detector = \"{}\"{} }}, action = {} }},",
                rule.why, rule.name, idea.name, rule.matching, rule.action
            );
        }
    }
    out.push_str("]\n");
}

fn healing(out: &mut String) {
    out.push_str(
        "\n# Who is asked when no rule helps. `auto`: `command` without a person when its program is found, else nobody;\n\
         # `watchkeeper doctor` says which it will be. Its edits go to a branch of their own, and only when the tree is clean.\n\
         [process.healing]\nagent = \"auto\"           # auto | headless | interactive | off\n\
         command = [\"claude\", \"--print\"]\n\
         verify_window_s = 600    # so long the same failure must stay away before a remedy counts as good\n\
         escalate_after = 2       # restarts that did not hold, before the agent is asked\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::setup::stack::Stack;

    fn found(stack: Stack, work: Work, batch: Option<(&str, &str)>) -> Found {
        let batch = batch.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Found {
            stack,
            evidence: "the file".to_owned(),
            name: "it".to_owned(),
            command: vec!["run".to_owned(), "it's \"x\"".to_owned()],
            because: "it is there".to_owned(),
            work,
            env: batch.clone().into_iter().collect(),
            batch,
        }
    }

    fn rules_of(text: &str) -> Vec<String> {
        assert_eq!(super::super::problems_of(text), "", "{text}");
        let parsed: toml::Table = text.parse().unwrap();
        let process = &parsed["process"][0];
        assert_eq!(process["command"].as_array().map(Vec::len), Some(2), "{text}");
        let rules = process["rules"].as_array().unwrap();
        rules.iter().map(|rule| rule["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_proposal_is_toml_whose_lines_fit() {
        for stack in [Stack::Python, Stack::Node, Stack::Go, Stack::Rust, Stack::Java, Stack::Make] {
            for work in [Work::Training, Work::Server, Work::Job] {
                let text = agents_toml(
                    "x",
                    &[found(stack, work, None), found(Stack::Make, work, None)],
                    &["a.yaml"],
                );
                let rules = rules_of(&text);
                assert!(
                    rules.contains(&"wait-for-space".to_owned())
                        && !rules.contains(&"smaller-batch".to_owned())
                );
                for line in text.lines() {
                    assert!(
                        line.chars().count() <= 130 || line.trim_start_matches([' ', '#']).starts_with("{ "),
                        "{line}"
                    );
                    assert_eq!(line, line.trim_end());
                }
            }
        }
    }

    #[test]
    fn the_batch_is_halved_only_when_its_variable_is_known() {
        let text = agents_toml("x", &[found(Stack::Python, Work::Training, Some(("MY_BATCH", "8")))], &[]);
        assert_eq!(rules_of(&text)[0], "smaller-batch");
        assert!(
            text.contains("env = { MY_BATCH = \"8\" }")
                && text.contains("{ MY_BATCH = { change = \"half\", floor = 1 } }"),
            "{text}"
        );
    }

    #[test]
    fn a_folder_with_nothing_known_gets_a_file_to_fill_in() {
        let text = agents_toml("a folder", &[], &[]);
        assert_eq!(super::super::problems_of(&text), "", "{text}");
        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["process"][0]["name"].as_str(), Some("a-folder"));
        assert!(text.contains("./run.sh") && text.contains("Nothing that I know"), "{text}");
    }

    #[test]
    fn snapshots_are_files_that_are_there_and_never_secrets() {
        let there = ["config.yaml", ".env", "package.json"];
        assert_eq!(snapshots(&|path| there.contains(&path)), ["config.yaml", "package.json"]);
        assert_eq!(snapshots(&|_| true).len(), SNAPSHOTS_MAX);
        assert!(SNAPSHOTS.iter().all(|path| !path.contains(".env") && !path.contains("secret")));
    }
}

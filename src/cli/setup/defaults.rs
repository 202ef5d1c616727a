//! Today's defaults, key by key, as TOML: what `init --upgrade` compares a config with.
//!
//! `[watchdog]` and `[defaults]` are read from the example config, where a line that begins with `#key` shows a default;
//! those of a process stand here, and a test holds them against what the parser does without them.
//! Deliberately not here: changing a config (`upgrade`).

/// The example config: it shows every default.
const EXAMPLE: &str = include_str!("../../../agents.example.toml");

/// One key with its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Default {
    /// Below its table: `["restart", "max"]`.
    pub path: Vec<&'static str>,
    /// The value as TOML.
    pub value: String,
    /// What it is for; "" when the name says it.
    pub about: String,
}

/// The tables of one kind each that are compared.
pub const TABLES: [&str; 2] = ["watchdog", "defaults"];

/// What every process has.
const PROCESS: &[(&[&str], &str, &str)] = &[
    (
        &["lifecycle"],
        r#""restart-on-failure""#,
        "what its end means: restart-on-failure | one-shot | restart-always",
    ),
    (&["restart", "max"], "10", "restarts until people are asked"),
    (&["restart", "cooldown_s"], "60", "between an end and the next start"),
    (&["max_identical"], "5", "so many ends with the same failure in a row stop trying"),
    (&["grace_s"], "5", "between TERM and KILL"),
    (&["log_max_mb"], "100", "the log is rotated when it is larger"),
    (&["incidents_max"], "200", "kept; the newest of each kind of failure always is"),
    (&["incidents_age_s"], "7776000", "90 days"),
    (
        &["healing", "agent"],
        r#""auto""#,
        "who is asked when no rule helps: auto | headless | interactive | off",
    ),
    (
        &["healing", "command"],
        r#"["claude", "--print"]"#,
        "the headless agent; the prompt goes to its standard input",
    ),
    (&["healing", "timeout_s"], "600", "for an answer"),
    (
        &["healing", "verify_window_s"],
        "600",
        "so long the same failure must stay away before a remedy is kept",
    ),
    (&["healing", "escalate_after"], "2", "unverified restarts before the agent is asked"),
    (&["healing", "max_attempts_per_hour"], "5", "per detector"),
    (&["healing", "auto_merge"], "false", "a kept fix is merged by itself"),
    (&["healing", "dirty"], r#""refuse""#, "a tree with uncommitted work: refuse | stash"),
];

/// Keys that a process has only when it is started by us.
const STARTS: &[&str] = &["lifecycle", "restart", "max_identical"];

/// The defaults of a process; `attached` = it is somebody else's.
pub fn of_process(attached: bool) -> Vec<Default> {
    let fits = |path: &[&str]| !attached || !path.first().is_some_and(|first| STARTS.contains(first));
    PROCESS
        .iter()
        .filter(|(path, ..)| fits(path))
        .map(|(path, value, about)| Default {
            path: path.to_vec(),
            value: (*value).to_owned(),
            about: (*about).to_owned(),
        })
        .collect()
}

/// The defaults of `[watchdog]` or `[defaults]`.
pub fn of_table(name: &str) -> Vec<Default> {
    let header = format!("[{name}]");
    let lines = EXAMPLE.lines().skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter_map(default_line).collect()
}

/// `#stall_idle = 300              # without any activity: a stall`
fn default_line(line: &'static str) -> Option<Default> {
    let (key, rest) = line.strip_prefix('#')?.split_once(" = ")?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if key.is_empty() || !key.chars().all(plain) {
        return None;
    }
    let (value, about) = rest.split_once(" # ").unwrap_or((rest, ""));
    Some(Default { path: vec![key], value: value.trim().to_owned(), about: about.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Source};
    use std::path::Path;

    /// What a config means, its text's own digest left out.
    fn meaning(text: &str) -> String {
        let source = Source {
            path: Path::new("/fleet/agents.toml"),
            text,
            home: Path::new("/home/op"),
            env: &|_| None,
            read: &|_| Ok(String::new()),
            state_override: None,
        };
        let parsed = config::parse(&source);
        let mut config =
            parsed.config.unwrap_or_else(|| panic!("{}\n{text}", config::render("", &parsed.problems)));
        config.digest = String::new();
        format!("{config:?}")
    }

    #[test]
    fn the_example_shows_the_defaults_of_its_tables() {
        let bare = "[[agent]]\nname = \"a\"\n";
        let plain = meaning(bare);
        for table in TABLES {
            let defaults = of_table(table);
            assert!(defaults.len() >= 6, "{table}: {defaults:?}");
            for default in defaults {
                let text = format!("[{table}]\n{} = {}\n{bare}", default.path[0], default.value);
                assert_eq!(meaning(&text), plain, "{text}");
            }
        }
    }

    #[test]
    fn the_defaults_of_a_process_are_those_of_the_parser() {
        let bare = "[[process]]\nname = \"a\"\ncommand = [\"true\"]\n";
        let plain = meaning(bare);
        for default in of_process(false) {
            let text = format!("{bare}{} = {}\n", default.path.join("."), default.value);
            assert_eq!(meaning(&text), plain, "{text}");
        }
        assert!(of_process(true).len() < of_process(false).len());
    }
}

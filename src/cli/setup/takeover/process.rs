//! `process` taken over: one process, or one for each stage.

use super::hosts::{Host, host};
use super::watch::{Kept, Watch};
use super::{Keys, STAGES_MAX, World, pair, places};
use crate::base::error::{Error, Result};
use crate::cli::setup::stack::unit_name;
use crate::cli::setup::toml_text::{number, strings, table};
use crate::cli::setup::yaml::Node;
use std::fmt::Write as _;

/// As many restarts as ours can be told: what 0 meant there.
const UNLIMITED: u32 = 100_000;

/// What all stages have in common.
pub(super) struct Shared<'a> {
    pub world: &'a World<'a>,
    pub watch: &'a Watch,
    pub healing: &'a str,
    pub snapshots: &'a [String],
}

/// One process to write.
struct One {
    name: String,
    after: Option<String>,
    host: Host,
    command: Vec<String>,
    cwd: Option<String>,
    env: Vec<(String, String)>,
    /// Lines of restart, lifecycle, require, deadline.
    lines: Vec<String>,
}

/// Writes the processes; their names.
pub(super) fn processes(root: &Keys<'_>, shared: &Shared<'_>, out: &mut String) -> Result<Vec<String>> {
    let Some(process) = root.map("process") else {
        return Err(Error::usage("has no `process`: there is nothing to take over"));
    };
    let (world, notes) = (shared.world, root.notes);
    let base_env = env(&process, world);
    let cwd = process.text("cwd").map(|cwd| places(cwd, &process.at("cwd"), world, notes));
    let kind = process.text("kind").unwrap_or("local");
    let command = process.words("command").unwrap_or_default();
    let lines = ends(&process, &[]);
    let stages = process.list("stages");
    let host = host(kind, &process, &command, world);
    process.without(&[(
        "stage_stop_grace_seconds",
        "between TERM and KILL stand 5 s; `grace_s` of the process changes it",
    )]);
    let mut made = Vec::new();
    if stages.is_empty() {
        let (host, command) = host;
        made.push(One {
            name: shared.world.name.to_owned(),
            after: None,
            host,
            command,
            cwd,
            env: base_env,
            lines,
        });
    } else {
        let mut before: Option<String> = None;
        for (path, node) in stages.into_iter().take(STAGES_MAX) {
            let stage = Keys::new(&path, node, notes);
            let one =
                stage_of(&stage, &made, before.take(), (kind, &process), (&cwd, &base_env, &lines), world);
            stage.finish();
            before = Some(one.name.clone());
            made.push(one);
        }
    }
    process.finish();
    for one in &mut made {
        one.reckoned_from_outside(shared);
        if one.command.is_empty() && one.host.needs_command() {
            return Err(Error::usage(format!(
                "`{}` has no command: the old program would not start it either",
                one.name
            )));
        }
        one.write(shared, root, out);
    }
    Ok(made.into_iter().map(|one| one.name).collect())
}

fn stage_of(
    stage: &Keys<'_>,
    made: &[One],
    after: Option<String>,
    (kind, process): (&str, &Keys<'_>),
    (cwd, base_env, lines): (&Option<String>, &[(String, String)], &[String]),
    world: &World<'_>,
) -> One {
    let wanted =
        stage.text("name").and_then(unit_name).unwrap_or_else(|| format!("stage-{}", made.len() + 1));
    let taken = |name: &str| made.iter().any(|one| one.name == name);
    let name = (1..)
        .map(|n| if n == 1 { wanted.clone() } else { format!("{wanted}-{n}") })
        .find(|name| !taken(name));
    let command = stage.words("command").unwrap_or_default();
    let (host, command) = host(kind, process, &command, world);
    let mut env = base_env.to_vec();
    for (name, value) in self::env(stage, world) {
        env.retain(|(other, _)| *other != name);
        env.push((name, value));
    }
    let own_cwd = stage.text("cwd").map(|cwd| places(cwd, &stage.at("cwd"), world, stage.notes));
    let mut lines = ends(stage, lines);
    if lines.iter().any(|line| line.contains("restart-always")) {
        lines.retain(|line| !line.starts_with("lifecycle"));
        stage.notes.changed(
            &stage.at("lifecycle"),
            "restart_always in a stage: the next one would wait for ever; it is restart-on-failure",
        );
    }
    One {
        name: name.unwrap_or(wanted),
        after,
        host,
        command,
        cwd: own_cwd.or_else(|| cwd.clone()),
        env,
        lines,
    }
}

fn env(keys: &Keys<'_>, world: &World<'_>) -> Vec<(String, String)> {
    let Some(node) = keys.get("env") else { return Vec::new() };
    let at = keys.at("env");
    let Node::Map(entries) = node else {
        keys.notes.left_out(&at, "is no mapping");
        return Vec::new();
    };
    let mut env = Vec::new();
    for (name, value) in entries {
        let text = value.text().or_else(|| value.is_null().then_some(""));
        match text {
            Some(text) if !name.is_empty() && !name.contains(['=', '\0']) && !text.contains('\0') => {
                env.push((name.clone(), places(text, &format!("{at}.{name}"), world, keys.notes)));
            }
            Some(_) | None => keys.notes.left_out(&format!("{at}.{name}"), "is no variable with a word"),
        }
    }
    env
}

/// The lines about ends and starts. What a stage does not say, `inherited` says.
fn ends(keys: &Keys<'_>, inherited: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(policy) = keys.map("restart_policy") {
        let max = policy
            .count("max_restarts", 1e9)
            .map(|max| if max == 0 { UNLIMITED } else { max.min(UNLIMITED) });
        let mut parts: Vec<String> = max.map(|max| format!("max = {max}")).into_iter().collect();
        parts.extend(policy.seconds("cooldown_seconds", 0.0).map(|s| format!("cooldown_s = {}", number(s))));
        if !parts.is_empty() {
            lines.push(format!("restart = {{ {} }}", parts.join(", ")));
        }
        if let Some(count) = policy.count("max_identical_failures", 1e5) {
            lines.push(format!("max_identical = {}", if count == 0 { UNLIMITED } else { count }));
        }
        policy.without(&[
            ("backoff", "autosentry never used it: `cooldown_s` stands between an end and the next start"),
            (
                "max_restarts_in_window",
                "`restart.max` counts until a restart held; `max_identical` stops the same failure",
            ),
            ("restart_window_seconds", "see max_restarts_in_window"),
        ]);
        policy.finish();
    }
    match keys.text("lifecycle") {
        None => {}
        Some(word @ ("restart_on_failure" | "one_shot" | "restart_always")) => {
            lines.push(pair("lifecycle", &word.replace('_', "-")));
        }
        Some(other) => keys.notes.left_out(&keys.at("lifecycle"), format!("`{other}` is not known")),
    }
    if let Some(seconds) = keys.seconds("max_stage_seconds", 0.0).filter(|seconds| *seconds > 0.0) {
        lines.push(format!("deadline_s = {}", number(seconds)));
    }
    let mut parts = Vec::new();
    for (their, ours) in [("required_executables", "programs"), ("required_env", "env")] {
        let words = keys.words(their).filter(|words| !words.is_empty());
        parts.extend(words.map(|words| format!("{ours} = {}", strings(&words))));
    }
    if !parts.is_empty() {
        lines.push(format!("require = {{ {} }}", parts.join(", ")));
    }
    let said = |line: &String| line.split(' ').next().map(str::to_owned);
    let more: Vec<String> =
        inherited.iter().filter(|line| !lines.iter().any(|own| said(own) == said(line))).cloned().collect();
    lines.extend(more);
    lines
}

impl One {
    /// autosentry reckoned `half` and `double` with its own environment: such a variable is named here.
    fn reckoned_from_outside(&mut self, shared: &Shared<'_>) {
        for name in shared.watch.reckoned() {
            let there = self.env.iter().any(|(other, _)| other == name);
            let outside = (shared.world.env)(name).is_some_and(|value| value.trim().parse::<f64>().is_ok());
            if !there && outside {
                self.env.push((name.to_owned(), format!("${{{name}}}")));
            }
        }
    }

    fn write(&self, shared: &Shared<'_>, root: &Keys<'_>, out: &mut String) {
        let _ = writeln!(out, "[[process]]\n{}", pair("name", &self.name));
        self.host.write(out);
        if !self.command.is_empty() {
            let _ = writeln!(out, "command = {}", strings(&self.command));
        }
        if let Some(cwd) = self.cwd.as_ref().filter(|cwd| !cwd.is_empty()) {
            let _ = writeln!(out, "{}", pair("cwd", cwd));
        }
        if !self.env.is_empty() {
            let _ = writeln!(out, "env = {}", table(&self.env));
        }
        let attached = self.host.attached();
        match attached {
            Some(_) if !self.lines.is_empty() => {
                let text = "nothing about starts: what is attached to is somebody else's, and never started";
                root.notes.left_out("process.restart_policy, lifecycle, required_*, max_stage_seconds", text);
            }
            Some(_) => {}
            None => self.lines.iter().for_each(|line| {
                let _ = writeln!(out, "{line}");
            }),
        }
        if let Some(before) = &self.after {
            let _ = writeln!(out, "after = {}", strings(&[before]));
        }
        if !shared.snapshots.is_empty() {
            let _ = writeln!(out, "config_snapshots = {}", strings(shared.snapshots));
        }
        shared.watch.write_detectors(out);
        let is_number = |value: &str| value.contains("${") || value.trim().parse::<f64>().is_ok();
        let numbers: Vec<&str> =
            self.env.iter().filter(|(_, value)| is_number(value)).map(|(name, _)| name.as_str()).collect();
        let kept = attached.map_or(Kept::Started, |may_kill| Kept::Attached { may_kill });
        shared.watch.write_rules(out, &numbers, kept, root);
        out.push_str(shared.healing);
        out.push('\n');
    }
}

//! `[loop]`: the plan in phases, where its state is pushed, and who is told about which commits and files.
//!
//! Deliberately not here: whether the repository or a status file exists. That is seen at each tick.

use super::problem::quoted;
use super::raw::{At, Table, type_name};
use super::types::{AgentKind, Handoff, Phase, Sequence, Unit};
use super::units::{Context, UnitKind};
use super::watchdog::label;
use crate::base::names::UnitName;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::de::DeValue;

/// Most phases of one plan.
pub const PHASES_MAX: usize = 500;
/// Most files that are watched as inboxes.
const INBOXES_MAX: usize = 100;
/// Longest id of a phase, bytes.
const ID_LENGTH_MAX: usize = 64;
/// Longest path in the repository, bytes.
const PATH_LENGTH_MAX: usize = 500;
/// Largest compiled pattern, bytes: more is a mistake.
const PATTERN_SIZE_MAX: usize = 1 << 20;

/// The kickoff that is typed when the config names none.
const KICKOFF: &str = include_str!("../../prompts/kickoff.md");

/// Reads `[loop]`. None when there is none, or when what it can't do without is wrong, which is reported.
pub(super) fn sequence(
    root: &Table<'_>,
    context: &Context<'_>,
    units: &BTreeMap<UnitName, Unit>,
) -> Option<Sequence> {
    let table = root.table("loop", "[loop]")?;
    let repo = repo(&table, context);
    let (remote, branch) = branch(&table);
    let state_subdir = path_in_repo(&table, "state_subdir").unwrap_or_default();
    let done_marker = done_marker(&table);
    let done_nudge = table.flag("done_nudge").unwrap_or(true);
    let kickoff = kickoff(&table, context);
    let on_complete = on_complete(&table, context, units);
    let phases = phases(&table);
    let handoff = handoff(&table, context);
    table.finish();
    let phases = phases?;
    Some(Sequence {
        repo: repo?,
        remote,
        branch,
        state_subdir,
        done_marker,
        done_nudge,
        kickoff: kickoff?,
        on_complete,
        phases,
        handoff,
    })
}

fn repo(table: &Table<'_>, context: &Context<'_>) -> Option<PathBuf> {
    match table.string_as("repo", "the path of a clone") {
        Some(said) => context.places.path("repo", said, context.sink),
        None => {
            if !table.has("repo") {
                let hint = "the clone whose remote is read: `repo = \"work/builder\"`".to_owned();
                context.sink.doubtful(table.at, "[loop] without a `repo`", Some(hint));
            }
            None
        }
    }
}

/// `origin/main` as remote and branch. A name without `/` is a branch of `origin`.
fn branch(table: &Table<'_>) -> (String, String) {
    let standard = ("origin".to_owned(), "main".to_owned());
    let Some(At { at, value }) = table.string("branch") else { return standard };
    let (remote, branch) = value.split_once('/').unwrap_or(("origin", value));
    if let Err(why) = ref_name(remote).and_then(|()| ref_name(branch)) {
        table.sink.wrong(
            at,
            format!("`branch` {} is no remote and branch such as `origin/main`: {why}", quoted(value)),
        );
        return standard;
    }
    (remote.to_owned(), branch.to_owned())
}

/// The rules of git-check-ref-format(1), a little stricter.
fn ref_name(name: &str) -> Result<(), &'static str> {
    let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    if name.is_empty() || name.len() > 200 {
        Err("a part is empty or too long")
    } else if name.chars().any(bad) {
        Err("it holds a character that git forbids")
    } else if name.starts_with(['-', '.', '/']) || name.ends_with(['.', '/']) {
        Err("a part starts or ends with `-`, `.` or `/`")
    } else if name.contains("..") || name.contains("//") || name.contains("@{") || name.contains("/.") {
        Err("it holds `..`, `//`, `/.` or `@{`")
    } else if name.split('/').any(|part| part.ends_with(".lock")) {
        Err("a part ends with `.lock`")
    } else {
        Ok(())
    }
}

/// A path below the repository's root, as git writes it. None when none is given or it is wrong, which is reported.
fn path_in_repo(table: &Table<'_>, key: &'static str) -> Option<String> {
    let At { at, value } = table.string(key)?;
    match checked_path(value) {
        Ok(path) => Some(path),
        Err(why) => {
            table
                .sink
                .wrong(at, format!("`{key}` {} is no path inside the repository: {why}", quoted(value)));
            None
        }
    }
}

fn checked_path(value: &str) -> Result<String, &'static str> {
    if value.len() > PATH_LENGTH_MAX || value.chars().any(char::is_control) {
        return Err("it is too long, or holds control characters");
    }
    if value.starts_with('/') {
        return Err("it is absolute");
    }
    let parts: Vec<&str> = value.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err("it holds `..`");
    }
    Ok(parts.join("/"))
}

fn done_marker(table: &Table<'_>) -> String {
    let standard = "## DONE".to_owned();
    let Some(marker) = label(table, "done_marker") else { return standard };
    if marker.trim().is_empty() {
        if let Some(said) = table.any("done_marker") {
            table.sink.wrong(said.at, "`done_marker` must not be empty: every status file has an empty line");
        }
        return standard;
    }
    marker.trim_end().to_owned()
}

/// The template's text.
fn kickoff(table: &Table<'_>, context: &Context<'_>) -> Option<String> {
    let Some(said) = table.string_as("kickoff", "the path of a file").filter(|said| !said.value.is_empty())
    else {
        return Some(KICKOFF.trim().to_owned());
    };
    let path = context.places.path("kickoff", said, context.sink)?;
    let shown = quoted(&path.to_string_lossy());
    let text = (context.read)(&path);
    text.map_err(|why| context.sink.wrong(said.at, format!("kickoff file {shown} can't be read: {why}"))).ok()
}

fn on_complete(
    table: &Table<'_>,
    context: &Context<'_>,
    units: &BTreeMap<UnitName, Unit>,
) -> Option<UnitName> {
    let said = table.string("on_complete").filter(|said| !said.value.is_empty())?;
    let name = agent(said, "on_complete", context)?;
    let task = units.get(&name).is_none_or(|unit| unit.agent().is_some_and(|a| a.kind == AgentKind::Task));
    if !task {
        context
            .sink
            .wrong(said.at, format!("`on_complete` {} must be an agent of kind `task`", quoted(said.value)));
    }
    Some(name)
}

/// The agent of that name; reports one that is none.
fn agent(said: At<&str>, key: &str, context: &Context<'_>) -> Option<UnitName> {
    let (sink, shown) = (context.sink, quoted(said.value));
    match context.names.get(said.value) {
        None => {
            // It may stand where a syntax error hides it, hence "doubtful".
            let hint = sink.did_you_mean(said.value, context.names.keys().copied());
            sink.doubtful(said.at, format!("`{key}` names no agent: {shown}"), hint);
        }
        Some(UnitKind::Service) => {
            sink.wrong(said.at, format!("`{key}` {shown} is a service; only agents can be told"));
        }
        Some(UnitKind::Process) => {
            sink.wrong(said.at, format!("`{key}` {shown} is a process; only agents can be told"));
        }
        Some(UnitKind::Agent) => {}
    }
    UnitName::new(said.value).ok()
}

fn phases(table: &Table<'_>) -> Option<Vec<Phase>> {
    if !table.has("phases") {
        let hint =
            "phases = [ { id = \"1-core\", plan = \"plans/1.md\", status = \"STATUS-1.md\" } ]".to_owned();
        table.sink.doubtful(table.at, "[loop] without `phases`", Some(hint));
        return None;
    }
    let tables = table.tables("phases");
    let at = table.any("phases").map_or(table.at, |found| found.at);
    if tables.is_empty() || tables.len() > PHASES_MAX {
        table
            .sink
            .wrong(at, format!("`phases` must hold from 1 to {PHASES_MAX} phases, found {}", tables.len()));
        return None;
    }
    let mut phases: Vec<Phase> = Vec::with_capacity(tables.len());
    for table in tables {
        let (at, sink) = (table.at, table.sink);
        let Some(phase) = phase(table) else { continue };
        if phases.iter().any(|earlier| earlier.id == phase.id) {
            sink.wrong(at, format!("the phase id {} is already taken", quoted(&phase.id)));
        } else {
            phases.push(phase);
        }
    }
    Some(phases).filter(|phases| !phases.is_empty())
}

fn phase(mut table: Table<'_>) -> Option<Phase> {
    let said = table.string("id");
    if let Some(id) = said {
        table.label = format!("phase {}", quoted(id.value));
    } else if !table.has("id") {
        table.sink.doubtful(table.at, "a phase without an `id`", None);
    }
    let id = said.and_then(|At { at, value }| match phase_id(value) {
        Ok(()) => Some(value.to_owned()),
        Err(why) => {
            table.sink.wrong(at, format!("phase id {} {why}", quoted(value)));
            None
        }
    });
    let plan = label(&table, "plan").unwrap_or_default();
    let status = path_in_repo(&table, "status");
    if status.as_deref().is_none_or(str::is_empty) && (!table.has("status") || status.is_some()) {
        let hint = "the file that gets the done marker: `status = \"STATUS-1.md\"`".to_owned();
        table.sink.doubtful(table.at, format!("{} without a `status` file", table.label), Some(hint));
    }
    let model = label(&table, "model").unwrap_or_default();
    table.finish();
    Some(Phase { id: id?, plan, status: status?, model })
}

/// Phase ids stand in file names, tmux options and commit messages.
fn phase_id(id: &str) -> Result<(), &'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if id.is_empty() || id.len() > ID_LENGTH_MAX {
        Err("must be from 1 to 64 bytes long")
    } else if !id.chars().all(good) {
        Err("must be made of letters, digits, `.`, `_` and `-`")
    } else if id.starts_with('-') {
        Err("must not start with `-`")
    } else {
        Ok(())
    }
}

fn handoff(table: &Table<'_>, context: &Context<'_>) -> Handoff {
    let Some(table) = table.table("handoff", "[loop.handoff]") else { return Handoff::default() };
    let handoff = Handoff {
        claim: pattern(&table, "claim_pattern"),
        review: pattern(&table, "review_pattern"),
        claim_pings: pings(&table, "claim_pings", context),
        review_pings: pings(&table, "review_pings", context),
        inboxes: inboxes(&table, context),
    };
    let unheard = |pattern: &Option<regex::Regex>, pings: &[UnitName]| pattern.is_some() && pings.is_empty();
    for (key, bad) in [
        ("claim_pattern", unheard(&handoff.claim, &handoff.claim_pings) && !table.has("claim_pings")),
        ("review_pattern", unheard(&handoff.review, &handoff.review_pings) && !table.has("review_pings")),
    ] {
        if let Some(said) = table.any(key).filter(|_| bad) {
            table.sink.doubtful(said.at, format!("`{key}` without its pings: nobody would be told"), None);
        }
    }
    table.finish();
    handoff
}

fn pattern(table: &Table<'_>, key: &'static str) -> Option<regex::Regex> {
    let At { at, value } = table.string(key).filter(|said| !said.value.is_empty())?;
    let built = regex::RegexBuilder::new(value).size_limit(PATTERN_SIZE_MAX).build();
    built
        .map_err(|error| {
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            table.sink.wrong(at, format!("`{key}` {} is no regular expression: {why}", quoted(value)));
        })
        .ok()
}

/// A name or a list of names.
fn pings(table: &Table<'_>, key: &'static str, context: &Context<'_>) -> Vec<UnitName> {
    let said = match table.any(key) {
        None => return Vec::new(),
        Some(At { at, value: DeValue::String(name) }) => vec![At { at, value: &**name }],
        Some(_) => table.words(key).map(|words| words.value).unwrap_or_default(),
    };
    said.into_iter()
        .filter(|name| !name.value.is_empty())
        .filter_map(|name| agent(name, key, context))
        .collect()
}

/// `{ "FILE" = "agent" }`, `{ "FILE" = ["a", "b"] }`, or the old form: a list of two names, for the builder's and the
/// adversary's file.
fn inboxes(table: &Table<'_>, context: &Context<'_>) -> BTreeMap<String, Vec<UnitName>> {
    let Some(found) = table.any("inboxes") else { return BTreeMap::new() };
    let mut inboxes: BTreeMap<String, Vec<UnitName>> = BTreeMap::new();
    match found.value {
        DeValue::Array(list) if list.len() == 2 => {
            let names = table.words("inboxes").map(|words| words.value).unwrap_or_default();
            for (file, name) in ["INBOX-builder.md", "INBOX-adversary.md"].into_iter().zip(names) {
                inboxes.entry(file.to_owned()).or_default().extend(agent(name, "inboxes", context));
            }
        }
        DeValue::Table(files) => {
            for (file, whom) in files.iter() {
                let at = file.span().start;
                let names = match whom.get_ref() {
                    DeValue::String(name) => vec![At { at: whom.span().start, value: &**name }],
                    DeValue::Array(list) if list.iter().all(|item| item.get_ref().as_str().is_some()) => list
                        .iter()
                        .filter_map(|item| {
                            Some(At { at: item.span().start, value: item.get_ref().as_str()? })
                        })
                        .collect(),
                    other => {
                        let message =
                            format!("an inbox needs a name or a list of names, found {}", type_name(other));
                        table.sink.wrong(whom.span().start, message);
                        continue;
                    }
                };
                match checked_path(file.get_ref()) {
                    Ok(path) if !path.is_empty() => {
                        let whom = names.into_iter().filter_map(|name| agent(name, "inboxes", context));
                        inboxes.entry(path).or_default().extend(whom);
                    }
                    Ok(_) => table.sink.wrong(at, "an inbox needs a file name"),
                    Err(why) => {
                        let shown = quoted(file.get_ref());
                        table
                            .sink
                            .wrong(at, format!("inbox {shown} is no path inside the repository: {why}"));
                    }
                }
            }
        }
        other => {
            let what = "`inboxes` must be a table of file = agent, or a list of two agents";
            table.sink.wrong(found.at, format!("{what}, found {}", type_name(other)));
        }
    }
    if inboxes.len() > INBOXES_MAX {
        table.sink.wrong(found.at, format!("{} inboxes, at most {INBOXES_MAX} are watched", inboxes.len()));
    }
    inboxes
}

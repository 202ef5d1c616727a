//! `[[agent]]`, `[[service]]` and `[[process]]`: what every unit has. Names and sessions are unique in the whole file.
//!
//! Deliberately not here: whether folders and programs exist. That is looked at when a unit is started.

use super::agent;
use super::backends::Backends;
use super::interpolate::Places;
use super::ladder::{LadderOf, cooperative, ladder};
use super::problem::{Sink, quoted};
use super::process;
use super::raw::{At, Table};
use super::types::{Role, Unit, Watch};
use super::watchdog::{Defaults, WATCH, tmux_word};
use crate::base::names::UnitName;
use crate::base::text::digest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Most units of one fleet.
pub const UNITS_MAX: usize = 2000;

/// The watchdog's own session is `<prefix>watchkeeper`.
const NAME_RESERVED: &str = "watchkeeper";

/// Longest session name: a prefix and a unit's name.
const SESSION_LENGTH_MAX: usize = 128;

/// Which list a unit stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitKind {
    Agent,
    Service,
    Process,
}

/// What the units refer to.
pub(super) struct Context<'a> {
    pub sink: &'a Sink<'a>,
    pub places: &'a Places<'a>,
    pub defaults: &'a Defaults<'a>,
    pub backends: Backends<'a>,
    /// Reads prompt files.
    pub read: &'a dyn Fn(&Path) -> Result<String, String>,
    /// Every name that stands in the file, right or wrong.
    pub names: BTreeMap<&'a str, UnitKind>,
    /// Where names were defined.
    pub named: BTreeMap<UnitName, usize>,
    /// Whose each session is, and where that is said.
    sessions: BTreeMap<String, (UnitName, usize)>,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        sink: &'a Sink<'a>,
        places: &'a Places<'a>,
        defaults: &'a Defaults<'a>,
        backends: Backends<'a>,
        read: &'a dyn Fn(&Path) -> Result<String, String>,
    ) -> Context<'a> {
        let (names, named, sessions) = Default::default();
        Context { sink, places, defaults, backends, read, names, named, sessions }
    }
}

/// Reads all units.
pub(super) fn units<'a>(root: &Table<'a>, context: &mut Context<'a>) -> BTreeMap<UnitName, Unit> {
    let agents = root.tables("agent").into_iter().map(|table| (UnitKind::Agent, table));
    let services = root.tables("service").into_iter().map(|table| (UnitKind::Service, table));
    let processes = root.tables("process").into_iter().map(|table| (UnitKind::Process, table));
    let mut tables: Vec<_> = agents.chain(services).chain(processes).collect();
    tables.sort_by_key(|(_, table)| table.at);
    if tables.is_empty() && !["agent", "service", "process"].iter().any(|key| root.has(key)) {
        let hint = "add an [[agent]], a [[service]] or a [[process]]".to_owned();
        context.sink.doubtful(0, "nothing to watch", Some(hint));
    }
    if let Some((_, first_over)) = tables.get(UNITS_MAX) {
        let message = format!("{} units, at most {UNITS_MAX} are watched", tables.len());
        context.sink.wrong(first_over.at, message);
        tables.truncate(UNITS_MAX);
    }
    for (kind, table) in &tables {
        if let Some(name) = table.peek("name") {
            context.names.entry(name).or_insert(*kind);
        }
    }
    let mut units = BTreeMap::new();
    for (position, (kind, table)) in tables.into_iter().enumerate() {
        if let Some(unit) = unit(kind, table, position, context) {
            units.insert(unit.name.clone(), unit);
        }
    }
    process::check(&context.named, &units, context);
    units
}

fn unit<'a>(
    kind: UnitKind,
    mut table: Table<'a>,
    position: usize,
    context: &mut Context<'a>,
) -> Option<Unit> {
    let sink = context.sink;
    let said_name = table.string("name");
    if let Some(name) = said_name {
        let noun = match kind {
            UnitKind::Agent => "agent",
            UnitKind::Service => "service",
            UnitKind::Process => "process",
        };
        table.label = format!("{noun} {}", quoted(name.value));
    } else if !table.has("name") {
        sink.doubtful(table.at, format!("{} without a `name`", table.label), None);
    }
    let name = said_name.and_then(|said| name(said, context));
    let name_at = said_name.map_or(table.at, |said| said.at);
    let (session, env) = match kind {
        UnitKind::Agent | UnitKind::Service => {
            (session(&table, name.as_ref(), name_at, context), env(&table, context.places))
        }
        UnitKind::Process => (Some(String::new()), process::env(&table, context)),
    };
    let dir_key = dir_key(kind);
    let dir = match table.string(dir_key) {
        Some(path) => context.places.path(dir_key, path, sink),
        None => Some(context.places.folder.to_path_buf()),
    };
    let enabled = table.flag("enabled").unwrap_or(true);
    let watch = watch(&table, kind, context.defaults);
    let (role, ladder, cooperative) = match kind {
        UnitKind::Agent => {
            let cooperative = cooperative(&table);
            let role = agent::agent(&table, context);
            (role, ladder(&table, LadderOf::Agent, cooperative.as_ref()), cooperative)
        }
        UnitKind::Service => {
            let cooperative = cooperative(&table);
            let role = service(&table, context);
            (role, ladder(&table, LadderOf::Service, cooperative.as_ref()), cooperative)
        }
        UnitKind::Process => (process::process(&table, context), process::ending(&table), None),
    };
    let launch_digest = role.as_ref().map(|role| launch_digest(&table, dir_key, context.places, role));
    table.finish();
    let (name, session, dir, role) = (name?, session?, dir?, role?);
    let launch_digest = launch_digest.unwrap_or_default();
    Some(Unit { name, session, role, dir, env, watch, enabled, position, ladder, cooperative, launch_digest })
}

/// What the working directory is called.
fn dir_key(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Agent | UnitKind::Service => "dir",
        UnitKind::Process => "cwd",
    }
}

/// Checks a name and that it is the first of its kind.
fn name(said: At<&str>, context: &mut Context<'_>) -> Option<UnitName> {
    let sink = context.sink;
    let name = match UnitName::new(said.value) {
        Ok(name) => name,
        Err(message) => {
            sink.wrong(said.at, message);
            return None;
        }
    };
    if said.value == NAME_RESERVED {
        sink.wrong(said.at, format!("the name `{NAME_RESERVED}` is kept for the watchdog's own session"));
        return None;
    }
    if let Some(first) = context.named.get(&name) {
        let line = sink.line(*first);
        sink.wrong(said.at, format!("the name `{name}` is already taken on line {line}"));
        return None;
    }
    context.named.insert(name.clone(), said.at);
    Some(name)
}

/// The unit's session, its own or `<prefix><name>`, checked to be nobody else's.
fn session(
    table: &Table<'_>,
    name: Option<&UnitName>,
    name_at: usize,
    context: &mut Context<'_>,
) -> Option<String> {
    let own = tmux_word(table, "session", "", 1..=SESSION_LENGTH_MAX);
    let name = name?;
    let prefix = &context.defaults.session_prefix;
    let (session, at) = match own {
        Some(own) => (own, table.any("session").map_or(name_at, |found| found.at)),
        None if table.has("session") => return None,
        None => (format!("{prefix}{name}"), name_at),
    };
    let sink = context.sink;
    if session == format!("{prefix}{NAME_RESERVED}") {
        sink.wrong(at, format!("session `{session}` is the watchdog's own"));
        return None;
    }
    if let Some((other, first)) = context.sessions.get(&session) {
        let line = sink.line(*first);
        sink.wrong(at, format!("session `{session}` is already that of `{other}` on line {line}"));
        return None;
    }
    context.sessions.insert(session.clone(), (name.clone(), at));
    Some(session)
}

/// Reads `env`, variables replaced.
fn env(table: &Table<'_>, places: &Places<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (name, value) in table.strings_by_name("env") {
        if name.value.is_empty() || name.value.contains(['=', '\0']) {
            let message = format!("{} in `env` is no name of a variable", quoted(name.value));
            table.sink.wrong(name.at, message);
        } else if let Some(value) = places.word(value, table.sink) {
            env.insert(name.value.to_owned(), value);
        }
    }
    env
}

fn watch(table: &Table<'_>, kind: UnitKind, defaults: &Defaults<'_>) -> Watch {
    let said = table.choice("watch", &WATCH);
    match kind {
        UnitKind::Agent => said.unwrap_or(defaults.watch),
        UnitKind::Process => said.unwrap_or(Watch::HealStall),
        UnitKind::Service => {
            if said == Some(Watch::HealStall)
                && let Some(found) = table.any("watch")
            {
                let message = "a service is kept running, but never judged by idleness: use `heal` or `none`";
                table.sink.wrong(found.at, message);
            }
            said.unwrap_or(Watch::Heal)
        }
    }
}

fn service(table: &Table<'_>, context: &Context<'_>) -> Option<Role> {
    let words = table.words("command");
    if words.is_none() && !table.has("command") {
        let hint = "write it as a list of words: `command = [\"./serve.sh\"]`".to_owned();
        table.sink.doubtful(table.at, format!("{} without a `command`", table.label), Some(hint));
    }
    let words = words?;
    let command = context.places.words(&words.value, context.sink);
    if words.value.first().is_none_or(|program| program.value.is_empty()) {
        table.sink.wrong(words.at, "`command` must name a program");
        return None;
    }
    Some(Role::Service { command })
}

/// Where it is launched, as written, made absolute. What is wrong with it is reported where it is read to be used.
fn dir_as_written(table: &Table<'_>, key: &str, places: &Places<'_>) -> PathBuf {
    let Some(value) = table.peek(key) else { return places.folder.to_path_buf() };
    let as_written = |name: &str| Some(format!("${{{name}}}"));
    let places = Places { folder: places.folder, home: Path::new("~"), env: &as_written };
    places.path("dir", At { at: 0, value }, &Sink::new("")).unwrap_or_default()
}

/// The format of [`launch_digest`], at its beginning: digests of different formats can't be compared, and nothing is
/// restarted because watchkeeper became another one.
const DIGEST_FORMAT: &str = "2:";

/// Digest of everything that needs a restart when it changes, as the operator wrote it: with the variables' values, two
/// callers with different environments (a shell, cron) would restart each other's units, and with what is built in, a new
/// watchkeeper would restart everybody. Each part goes in with its length, so that no two different lists of parts read
/// alike.
fn launch_digest(table: &Table<'_>, dir_key: &str, places: &Places<'_>, role: &Role) -> String {
    let mut text = String::new();
    let mut add = |what: &str, part: &str| text.push_str(&format!("{what}:{}:{part};", part.len()));
    add("dir", &dir_as_written(table, dir_key, places).to_string_lossy());
    add("env", &table.as_written("env"));
    match role {
        Role::Service { .. } | Role::Process(_) => add("command", &table.as_written("command")),
        Role::Agent(agent) => {
            add("backend", &agent.backend.name);
            add("said of it", &agent.backend.launch_said);
            add("model", &agent.model);
            add("prompt", &agent.prompt);
        }
    }
    format!("{DIGEST_FORMAT}{}", digest(text.as_bytes()))
}

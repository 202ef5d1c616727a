//! What only an `[[agent]]` has: backend, model, role prompt, permission, account, parent, wake.

use super::problem::quoted;
use super::raw::{At, Table};
use super::types::{Agent, AgentKind, Recovery, Role};
use super::units::{Context, UnitKind};
use super::wake::wake;
use super::watchdog::{PERMISSION, label};
use crate::base::names::UnitName;

const KIND: [(&str, AgentKind); 3] =
    [("loop", AgentKind::Loop), ("persistent", AgentKind::Persistent), ("task", AgentKind::Task)];

/// Reads an agent's own keys. None when one that it can't do without is wrong, which is reported.
pub(super) fn agent<'a>(table: &Table<'a>, context: &mut Context<'a>) -> Option<Role> {
    let kind = table.choice("kind", &KIND).unwrap_or(AgentKind::Loop);
    let said_backend = table.string("backend");
    let backend = match said_backend {
        Some(name) => context.backends.get(name),
        None if table.has("backend") => None,
        None => {
            // A default that nobody wrote has no place of its own: complain at the agent.
            let name = context.defaults.backend;
            let at = if name.at == 0 { table.at } else { name.at };
            context.backends.get(At { at, ..name })
        }
    };
    let model = label(table, "model").unwrap_or_else(|| context.defaults.model.clone());
    let prompt = prompt(table, context);
    let permission = table.choice("permission", &PERMISSION).unwrap_or(context.defaults.permission);
    let account = label(table, "account");
    let parent = parent(table, context);
    let wake = wake(table, kind);
    let recovery = recovery(table);
    let backend = backend?;
    let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| backend.name.clone());
    Some(Role::Agent(Box::new(Agent {
        kind,
        backend,
        model,
        prompt: prompt?,
        permission,
        account,
        parent,
        wake,
        recovery,
    })))
}

/// Most attempts for one checkpoint that make sense.
const RECOVERY_MAX: usize = 100;

/// Reads `recovery`.
fn recovery(unit: &Table<'_>) -> Recovery {
    let standard = Recovery::default();
    let Some(table) = unit.table("recovery", &format!("`recovery` of {}", unit.label)) else {
        return standard;
    };
    let max = table.count("max", &(0..=RECOVERY_MAX)).and_then(|n| u32::try_from(n).ok());
    table.finish();
    Recovery { max: max.unwrap_or(standard.max) }
}

/// The text of the prompt file, `""` when none is named.
fn prompt(table: &Table<'_>, context: &Context<'_>) -> Option<String> {
    let Some(said) = table.string_as("prompt", "the path of a file") else {
        return (!table.has("prompt")).then(String::new);
    };
    if said.value.is_empty() {
        return Some(String::new());
    }
    let path = context.places.path("prompt", said, context.sink)?;
    let text = (context.read)(&path);
    let shown = quoted(&path.to_string_lossy());
    text.map_err(|why| context.sink.wrong(said.at, format!("prompt file {shown} can't be read: {why}"))).ok()
}

/// The agent that is told about deaths and recoveries; `""` is nobody.
fn parent(table: &Table<'_>, context: &Context<'_>) -> Option<UnitName> {
    let At { at, value } = table.string("parent").filter(|said| !said.value.is_empty())?;
    let (sink, shown) = (context.sink, quoted(value));
    match context.names.get(value) {
        // It may stand where a syntax error hides it, hence "doubtful".
        None => {
            let hint = sink.did_you_mean(value, context.names.keys().copied());
            sink.doubtful(at, format!("`parent` names no unit: {shown}"), hint);
        }
        Some(UnitKind::Service) => {
            sink.wrong(at, format!("`parent` {shown} is a service; only agents can be told"));
        }
        Some(UnitKind::Process) => {
            sink.wrong(at, format!("`parent` {shown} is a process; only agents can be told"));
        }
        Some(UnitKind::Agent) if table.peek("name") == Some(value) => {
            sink.wrong(at, format!("`parent` of {} is itself", table.label));
        }
        Some(UnitKind::Agent) => {}
    }
    UnitName::new(value).ok()
}

//! `wake`: when a unit is woken, and with what.

use super::problem::quoted;
use super::raw::{At, Seconds, Table};
use super::types::{AgentKind, Wake, WakeWhen};
use crate::detect::cron::Cron;
use crate::detect::zone;

/// Reads `wake`.
pub(super) fn wake(unit: &Table<'_>, kind: AgentKind) -> Option<Wake> {
    let table = unit.table("wake", &format!("`wake` of {}", unit.label))?;
    let interval = table.seconds("interval", Seconds::INTERVAL);
    let at = table.string_as("at", "a cron expression in quotes");
    let tz = time_zone(&table);
    let prompt = table.string("prompt");
    let when = match (table.has("interval"), table.has("at")) {
        (true, true) => {
            table.sink.wrong(table.at, "`wake` has both `interval` and `at`; keep one of them");
            None
        }
        (false, false) => {
            table.sink.doubtful(table.at, "`wake` needs `interval` (seconds) or `at` (cron times)", None);
            None
        }
        (true, false) => {
            if let Some(tz) = tz {
                table.sink.wrong(tz.at, "`tz` means something only with `at`");
            }
            interval.map(|every_s| WakeWhen::Interval { every_s })
        }
        (false, true) => at.and_then(|at| cron(&table, at)).map(|cron| WakeWhen::Cron {
            cron,
            tz: tz.filter(|tz| !tz.value.is_empty()).map(|tz| tz.value.to_owned()),
        }),
    };
    let text = prompt.map_or("", |prompt| prompt.value);
    match kind {
        AgentKind::Loop | AgentKind::Persistent if !table.has("prompt") => {
            table.sink.doubtful(table.at, "`wake` needs a `prompt`: what is typed then", None);
        }
        AgentKind::Loop | AgentKind::Persistent if text.trim().is_empty() => {
            if let Some(prompt) = prompt {
                table.sink.wrong(prompt.at, "`prompt` of `wake` must not be empty: it is what is typed then");
            }
        }
        AgentKind::Loop | AgentKind::Persistent | AgentKind::Task => {}
    }
    table.finish();
    Some(Wake { when: when?, prompt: text.to_owned() })
}

fn cron(table: &Table<'_>, at: At<&str>) -> Option<Cron> {
    let parsed = Cron::parse(at.value);
    parsed.map_err(|message| table.sink.wrong(at.at, format!("`at`: {message}"))).ok()
}

/// A time zone that is known; `""` is local time.
fn time_zone<'a>(table: &Table<'a>) -> Option<At<&'a str>> {
    let tz = table.string("tz")?;
    if tz.value.is_empty() || zone::find(tz.value).is_some() {
        return Some(tz);
    }
    let hint = "use an IANA name such as \"Europe/Berlin\"; `tz` left out is local time".to_owned();
    table.sink.wrong_hint(tz.at, format!("unknown time zone {}", quoted(tz.value)), Some(hint));
    None
}

//! `wake` and `ladder`: when a unit is woken, and what is done about it in which order.

use super::problem::quoted;
use super::raw::{At, Seconds, Table};
use super::types::{AgentKind, Ladder, Tier, Wake, WakeWhen};
use crate::detect::cron::Cron;
use crate::detect::zone;

/// Most tiers of a ladder; four kinds exist, some are worth repeating.
const TIERS_MAX: usize = 16;

/// Tiers of later work: accepted, skipped with a note.
const TIERS_LATER: [&str; 4] = ["warn", "triage", "request-restart", "terminate"];

/// What kind of unit a ladder belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LadderOf {
    Agent,
    /// Never nudged: there is nobody who reads.
    Service,
}

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

/// Reads `ladder`, or gives the one that such a unit has by default.
pub(super) fn ladder(unit: &Table<'_>, of: LadderOf) -> Ladder {
    let mut ladder = Ladder::default();
    match of {
        LadderOf::Agent => {}
        LadderOf::Service => ladder.tiers.retain(|tier| *tier != Tier::Nudge),
    }
    let Some(table) = unit.table("ladder", &format!("`ladder` of {}", unit.label)) else {
        return ladder;
    };
    if let Some(words) = table.words("tiers") {
        ladder.tiers = tiers(&table, &words, of);
    }
    let seconds =
        |key: &'static str, standard: f64| table.seconds(key, Seconds::DURATION).unwrap_or(standard);
    ladder.cooldown_s = seconds("cooldown_s", ladder.cooldown_s);
    ladder.grace_s = seconds("grace_s", ladder.grace_s);
    ladder.quiet_s = seconds("quiet_s", ladder.quiet_s);
    table.later(&["breaker_s"]);
    table.finish();
    ladder
}

fn tiers(table: &Table<'_>, words: &At<Vec<At<&str>>>, of: LadderOf) -> Vec<Tier> {
    if words.value.is_empty() {
        table.sink.wrong_hint(
            words.at,
            "`tiers` must not be empty",
            Some("for a unit that is only looked at, write `watch = \"none\"`".to_owned()),
        );
    }
    if words.value.len() > TIERS_MAX {
        table.sink.wrong(
            words.at,
            format!("`tiers` has {} tiers, at most {TIERS_MAX} make sense", words.value.len()),
        );
    }
    let mut tiers = Vec::new();
    for word in words.value.iter().take(TIERS_MAX) {
        match word.value {
            "nudge" if of == LadderOf::Service => {
                table.sink.wrong(word.at, "a service can't be nudged: nobody reads it");
            }
            "nudge" => tiers.push(Tier::Nudge),
            "kill-start" => tiers.push(Tier::KillStart),
            "alert" => tiers.push(Tier::Alert),
            later if TIERS_LATER.contains(&later) => {
                table.sink.note(word.at, super::raw::later_message(&format!("tier `{later}`")));
            }
            unknown => {
                let known = ["nudge", "kill-start", "alert"];
                let hint = table.sink.did_you_mean(unknown, known.into_iter().chain(TIERS_LATER));
                let hint = hint.unwrap_or_else(|| format!("known here: {}", known.join(", ")));
                table.sink.wrong_hint(word.at, format!("unknown tier {}", quoted(unknown)), Some(hint));
            }
        }
    }
    let only_later = !words.value.is_empty() && words.value.iter().all(|w| TIERS_LATER.contains(&w.value));
    if only_later {
        table.sink.wrong(words.at, "`tiers` holds no tier that this version acts on");
    }
    tiers
}

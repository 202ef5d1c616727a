//! `ladder` and `cooperative`: what is done about a unit in which order, and whether it takes part.
//!
//! Deliberately not here: when a tier is due (policy).

use super::problem::quoted;
use super::raw::{At, Seconds, Table};
use super::types::{Cooperative, Ladder, Tier};

/// Most tiers of a ladder; seven kinds exist, some are worth repeating.
const TIERS_MAX: usize = 16;

/// What kind of unit a ladder belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LadderOf {
    Agent,
    /// Never nudged: there is nobody who reads.
    Service,
}

/// Reads `cooperative`.
pub(super) fn cooperative(unit: &Table<'_>) -> Option<Cooperative> {
    let table = unit.table("cooperative", &format!("`cooperative` of {}", unit.label))?;
    let standard = Cooperative::default();
    let cooperative = Cooperative {
        heartbeat_stale_s: table
            .seconds("heartbeat_stale_s", Seconds::INTERVAL)
            .unwrap_or(standard.heartbeat_stale_s),
        version: table.flag("version").unwrap_or(standard.version),
    };
    table.finish();
    Some(cooperative)
}

/// Reads `ladder`, or gives the one that such a unit has by default.
pub(super) fn ladder(unit: &Table<'_>, of: LadderOf, cooperative: Option<&Cooperative>) -> Ladder {
    let mut ladder = Ladder { tiers: standard(of, cooperative), ..Ladder::default() };
    let Some(table) = unit.table("ladder", &format!("`ladder` of {}", unit.label)) else {
        return ladder;
    };
    if let Some(words) = table.words("tiers") {
        ladder.tiers = tiers(&table, &words, of, cooperative);
    }
    let seconds = |key: &'static str, range, standard: f64| table.seconds(key, range).unwrap_or(standard);
    ladder.cooldown_s = seconds("cooldown_s", Seconds::DURATION, ladder.cooldown_s);
    ladder.grace_s = seconds("grace_s", Seconds::DURATION, ladder.grace_s);
    ladder.quiet_s = seconds("quiet_s", Seconds::DURATION, ladder.quiet_s);
    ladder.breaker_s = seconds("breaker_s", Seconds::INTERVAL, ladder.breaker_s);
    table.finish();
    ladder
}

/// SPEC 8: agents are nudged first, cooperative services asked first.
fn standard(of: LadderOf, cooperative: Option<&Cooperative>) -> Vec<Tier> {
    match (of, cooperative) {
        (LadderOf::Agent, _) => Ladder::default().tiers,
        (LadderOf::Service, Some(_)) => {
            vec![Tier::RequestRestart, Tier::Terminate, Tier::KillStart, Tier::Alert]
        }
        (LadderOf::Service, None) => vec![Tier::KillStart, Tier::Alert],
    }
}

fn tiers(
    table: &Table<'_>,
    words: &At<Vec<At<&str>>>,
    of: LadderOf,
    cooperative: Option<&Cooperative>,
) -> Vec<Tier> {
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
        let Some(tier) = Tier::ALL.into_iter().find(|tier| tier.word() == word.value) else {
            let known = Tier::ALL.map(Tier::word);
            let hint = table.sink.did_you_mean(word.value, known);
            let hint = hint.unwrap_or_else(|| format!("known here: {}", known.join(", ")));
            table.sink.wrong_hint(word.at, format!("unknown tier {}", quoted(word.value)), Some(hint));
            continue;
        };
        match senseless(tier, of, cooperative) {
            Some((why, hint)) => table.sink.wrong_hint(word.at, why, hint.map(str::to_owned)),
            None => tiers.push(tier),
        }
    }
    tiers
}

/// Why a tier is none for such a unit, and what would make it one.
fn senseless(
    tier: Tier,
    of: LadderOf,
    cooperative: Option<&Cooperative>,
) -> Option<(&'static str, Option<&'static str>)> {
    match (tier, of, cooperative) {
        (Tier::Nudge, LadderOf::Service, _) => Some(("a service can't be nudged: nobody reads it", None)),
        (Tier::Triage, LadderOf::Service, _) => {
            Some(("triage judges the screen of an agent; a service has none", None))
        }
        (Tier::RequestRestart, _, None) => Some((
            "only a cooperative unit can be asked to restart itself",
            Some("add `cooperative = {}` if it honours its RESTART marker"),
        )),
        (Tier::Nudge | Tier::Triage, LadderOf::Agent, _)
        | (Tier::RequestRestart, _, Some(_))
        | (Tier::Warn | Tier::Terminate | Tier::KillStart | Tier::Alert, _, _) => None,
    }
}

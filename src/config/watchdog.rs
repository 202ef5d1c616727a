//! `[watchdog]` and `[defaults]`.

use super::interpolate::Places;
use super::problem::{Sink, quoted};
use super::raw::{At, Seconds, Table};
use super::types::{Granularity, Permission, Triage, Watch, Watchdog};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Longest time between ticks: beyond a day nobody is watched.
const SIGNAL_INTERVAL: Seconds = Seconds { max: 86_400.0, ..Seconds::INTERVAL };

/// The words of `watch`.
pub(super) const WATCH: [(&str, Watch); 3] =
    [("none", Watch::None), ("heal", Watch::Heal), ("heal+stall", Watch::HealStall)];

/// The words of `token_granularity`.
pub(super) const GRANULARITY: [(&str, Granularity); 2] =
    [("gate", Granularity::Gate), ("phase", Granularity::Phase)];

/// The words of `permission`.
pub(super) const PERMISSION: [(&str, Permission); 3] =
    [("alert", Permission::Alert), ("approve", Permission::Approve), ("deny", Permission::Deny)];

/// What `[defaults]` says, or would.
pub(super) struct Defaults<'a> {
    pub session_prefix: String,
    pub tmux_socket: String,
    pub backend: At<&'a str>,
    pub watch: Watch,
    pub model: String,
    pub permission: Permission,
}

/// Reads `[watchdog]`: the settings, and the state directory if it names one.
pub(super) fn watchdog(root: &Table<'_>, places: &Places<'_>) -> (Watchdog, Option<PathBuf>) {
    let standard = Watchdog::default();
    let Some(table) = root.table("watchdog", "[watchdog]") else {
        return (standard, None);
    };
    let seconds = |key: &'static str, range, standard: f64| table.seconds(key, range).unwrap_or(standard);
    let flag = |key: &'static str, standard: bool| table.flag(key).unwrap_or(standard);
    let (interval, duration) = (Seconds::INTERVAL, Seconds::DURATION);
    let watchdog = Watchdog {
        signal_interval_s: seconds("signal_interval", SIGNAL_INTERVAL, standard.signal_interval_s),
        stall_idle_s: seconds("stall_idle", interval, standard.stall_idle_s),
        stall_grace_s: seconds("stall_grace", duration, standard.stall_grace_s),
        limit_probe_fallback_s: seconds("limit_probe_fallback", interval, standard.limit_probe_fallback_s),
        limit_reset_slack_s: seconds("limit_reset_slack", duration, standard.limit_reset_slack_s),
        observe_only: flag("observe_only", standard.observe_only),
        start_paused: flag("start_paused", standard.start_paused),
        wait_max_s: seconds("wait_max_s", duration, standard.wait_max_s),
        max_disruptions: table.count("max_disruptions", &(1..=1000)).unwrap_or(standard.max_disruptions),
        stagger_s: seconds("stagger_s", duration, standard.stagger_s),
        advance_grace_s: seconds("advance_grace_s", duration, standard.advance_grace_s),
        log_tokens: flag("log_tokens", standard.log_tokens),
        token_granularity: table
            .choice("token_granularity", &GRANULARITY)
            .unwrap_or(standard.token_granularity),
        triage: triage(&table, places),
    };
    let state_dir = table.string("state_dir").and_then(|path| places.path("state_dir", path, table.sink));
    table.later(&["heavy_interval", "record"]);
    table.finish();
    (watchdog, state_dir)
}

/// Seconds that a triage command gets (SPEC 8), and at most.
const TRIAGE_S: u32 = 30;
const TRIAGE_MAX_S: usize = 600;

/// Reads `triage`.
fn triage(watchdog: &Table<'_>, places: &Places<'_>) -> Option<Triage> {
    let table = watchdog.table("triage", "`triage` of [watchdog]")?;
    let timeout_s = table.count("timeout_s", &(1..=TRIAGE_MAX_S)).and_then(|n| u32::try_from(n).ok());
    let words = table.words("command");
    let named = words.filter(|words| words.value.first().is_some_and(|program| !program.value.is_empty()));
    let command = named.map(|words| places.words(&words.value, table.sink));
    if command.is_none() {
        table.sink.wrong(table.at, "`triage` of [watchdog] needs a `command`: a list of words".to_owned());
    }
    table.finish();
    Some(Triage { command: command?, timeout_s: timeout_s.unwrap_or(TRIAGE_S) })
}

/// Reads `[defaults]`.
pub(super) fn defaults<'a>(root: &Table<'a>) -> Defaults<'a> {
    let mut defaults = Defaults {
        session_prefix: "crew-".to_owned(),
        tmux_socket: String::new(),
        backend: At { at: 0, value: "claude" },
        watch: Watch::HealStall,
        model: String::new(),
        permission: Permission::Alert,
    };
    let Some(table) = root.table("defaults", "[defaults]") else {
        return defaults;
    };
    if let Some(text) = tmux_word(&table, "session_prefix", "", 0..=64) {
        defaults.session_prefix = text;
    }
    if let Some(text) = tmux_word(&table, "tmux_socket", ".", 0..=64) {
        defaults.tmux_socket = text;
    }
    if let Some(backend) = table.string("backend") {
        defaults.backend = backend;
    }
    if let Some(watch) = table.choice("watch", &WATCH) {
        defaults.watch = watch;
    }
    if let Some(model) = label(&table, "model") {
        defaults.model = model;
    }
    if let Some(permission) = table.choice("permission", &PERMISSION) {
        defaults.permission = permission;
    }
    table.finish();
    defaults
}

/// A word that tmux gets as a session or socket name: letters, digits, `-`, `_` and what `also` holds. tmux itself
/// turns `.` and `:` of a session name into `_`, so that the session would not be found again by its name.
pub(super) fn tmux_word(
    table: &Table<'_>,
    key: &'static str,
    also: &str,
    length: RangeInclusive<usize>,
) -> Option<String> {
    let At { at, value } = table.string(key)?;
    let bad = value.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_".contains(*c) || also.contains(*c)));
    let message = if !length.contains(&value.len()) {
        let (min, max) = (length.start(), length.end());
        format!("`{key}` must be from {min} to {max} bytes long, found {}", value.len())
    } else if let Some(bad) = bad {
        format!("`{key}` {} holds {bad:?}; use letters, digits, `-` and `_`", quoted(value))
    } else if value.starts_with('-') {
        format!("`{key}` {} starts with `-`", quoted(value))
    } else {
        return Some(value.to_owned());
    };
    table.sink.wrong(at, message);
    None
}

/// A free text that is shown to people and given to programs: one line, no control characters.
pub(super) fn label(table: &Table<'_>, key: &'static str) -> Option<String> {
    let found = table.string(key)?;
    let good = found.value.len() <= 200 && !found.value.chars().any(char::is_control);
    if !good {
        wrong_label(table.sink, key, found.at);
    }
    good.then(|| found.value.to_owned())
}

fn wrong_label(sink: &Sink<'_>, key: &str, at: usize) {
    sink.wrong(at, format!("`{key}` must be at most 200 bytes on one line, without control characters"));
}

//! Usage limits: wait until the reset, then ask with one probe per account, the others following when it succeeds.
//!
//! Deliberately not here: reading the banner (detect::screen) and its time (detect::reset_time). While a limit holds
//! no other policy heals, nudges or wakes the unit.

use super::Policy;
use super::context::UnitContext;
use super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use crate::base::names::UnitName;
use crate::base::text::one_line;
use crate::base::time::{Wall, human_s};
use crate::config::Watch;
use crate::detect::reset_time;
use crate::model::action::Action;
use crate::model::seen::{AlivePane, ScreenState, Substate};
use crate::state::mail::Level;
use crate::state::unit::{DeliveryOutcome, Limit, Message, Purpose, UnitState};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "limit", fold, propose, charge };

/// Work after a probe must last this long before the limit counts as over: an API call that is refused takes a moment.
const PROGRESS_S: f64 = 10.0;
/// A probe without any verdict for this long has failed.
const VERDICT_S: f64 = 300.0;
/// A loud alert after that many probes (SPEC 6.5).
const LOUD_PROBES: u32 = 3;
/// The limit menu is closed at most that often while it shows.
const MENU_KEYS_MAX: u32 = 3;
/// It is stuck when it still shows so long after the last of them, seconds.
const MENU_STUCK_S: f64 = 10.0;
/// What a probe says. It must not contain any word that a limit signal looks for.
pub const PROBE_TEXT: &str = "[watchkeeper] Please go on with your work where you left off.";

fn fold(context: &UnitContext<'_>, state: &mut UnitState, notes: &mut Notes) {
    let Some(pane) = context.alive() else { return };
    if pane.reading.overlay {
        return;
    }
    let limited = pane.reading.state == ScreenState::Limited;
    match (limited, state.limit.active.clone()) {
        (true, None) => begin(context, state, pane, notes),
        (true, Some(limit)) => still(context, state, pane, limit, notes),
        (false, Some(limit)) => maybe_over(context, state, limit, notes),
        (false, None) => {}
    }
}

fn begin(context: &UnitContext<'_>, state: &mut UnitState, pane: &AlivePane, notes: &mut Notes) {
    let text = banner(pane);
    let (until, readable) = until(context, &text);
    let words = format!(
        "limited until {until}{}: {text}",
        if readable { "" } else { " (no reset time readable, probing)" }
    );
    notes.event(context.now.wall, Some(context.name), EventKind::Limit, words);
    let kind = kind(&text).to_owned();
    let since = context.now.wall;
    state.limit.active = Some(Limit { kind, text, since, until, readable, ..Limit::default() });
}

/// The banner stands. A new text, or the same one after a probe, is the limit speaking again.
fn still(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    pane: &AlivePane,
    mut limit: Limit,
    notes: &mut Notes,
) {
    let text = banner(pane);
    let failed = delivery_failed(state, &limit);
    let answered = limit.asked_awake_s.is_some_and(|asked| {
        // The old banner may still show right after the probe was typed.
        context.now.awake_s.since_s(asked) >= 1.0 && state.delivery.current.is_none()
    });
    if text != limit.text || answered {
        let (mut until, mut readable) = until(context, &text);
        if !readable && limit.readable && !answered {
            // The menu of the same limit says less than its banner did.
            (until, readable) = (limit.until, true);
        }
        limit.probes += u32::from(answered);
        let words = format!("limit stands after {} probes, until {until}: {text}", limit.probes);
        let menu_presses = if answered { 0 } else { limit.menu_presses };
        limit = Limit {
            kind: kind(&text).to_owned(),
            text: text.clone(),
            until,
            readable,
            menu_presses,
            probing_awake_s: None,
            asked_awake_s: None,
            ..limit
        };
        notes.event(context.now.wall, Some(context.name), EventKind::Limit, words);
    } else if failed {
        limit.probing_awake_s = None;
        limit.until = context.now.wall.plus_s(context.config.watchdog.limit_probe_fallback_s);
    }
    note_asked(context, state, &mut limit);
    if stuck_menu(context, pane, &limit) && !limit.loud {
        limit.loud = true;
        let words = format!(
            "`{}` is limited and its menu does not close, a person must choose: {}",
            context.name, limit.text
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Human, words);
    }
    if limit.probes >= LOUD_PROBES && !limit.loud {
        limit.loud = true;
        let words = format!(
            "`{}` is still limited after {} probes: {}; probing goes on",
            context.name, limit.probes, limit.text
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Human, words);
    }
    state.limit.active = Some(limit);
}

/// The menu is open and there is no key that closes it, or none helped.
fn stuck_menu(context: &UnitContext<'_>, pane: &AlivePane, limit: &Limit) -> bool {
    let keys = context.agent().is_some_and(|agent| !agent.backend.limit_menu_keys.is_empty());
    let spent = limit.menu_presses >= MENU_KEYS_MAX
        && limit.menu_awake_s.is_some_and(|at| context.now.awake_s.since_s(at) >= MENU_STUCK_S);
    pane.reading.substate == Some(Substate::Menu) && (spent || !keys)
}

/// No banner: does it work again?
fn maybe_over(context: &UnitContext<'_>, state: &mut UnitState, mut limit: Limit, notes: &mut Notes) {
    note_asked(context, state, &mut limit);
    let works = state.seen.state == ScreenState::Busy && state.seen.substate != Some(Substate::Retrying);
    let answered = matches!(state.seen.state, ScreenState::Idle | ScreenState::Blocked | ScreenState::Draft);
    let over = match limit.asked_awake_s {
        // Nobody asked, and it works: progress clears a limit at once.
        None => works && limit.probing_awake_s.is_none(),
        Some(asked) => {
            let passed = context.now.awake_s.since_s(asked);
            (works && passed >= PROGRESS_S) || (answered && passed >= 2.0)
        }
    };
    if over {
        let lasted = human_s(context.now.wall.since_s(limit.since));
        notes.event(
            context.now.wall,
            Some(context.name),
            EventKind::Limit,
            format!("limit over after {lasted}"),
        );
        state.limit.freed = Some(context.now.wall);
        state.limit.freed_kind = limit.kind;
        state.limit.active = None;
        return;
    }
    let silent = limit.asked_awake_s.is_some_and(|asked| context.now.awake_s.since_s(asked) >= VERDICT_S);
    if silent || delivery_failed(state, &limit) {
        limit.until = context.now.wall.plus_s(context.config.watchdog.limit_probe_fallback_s);
        limit.probes += u32::from(silent);
        limit.probing_awake_s = None;
        limit.asked_awake_s = None;
    }
    state.limit.active = Some(limit);
}

/// The probe was typed: from now on its answer is awaited.
fn note_asked(context: &UnitContext<'_>, state: &UnitState, limit: &mut Limit) {
    let Some(since) = limit.probing_awake_s else { return };
    let in_flight = state.delivery.current.as_ref().is_some_and(|d| d.message.purpose == Purpose::Probe);
    let seen = state
        .delivery
        .past
        .last()
        .is_some_and(|past| past.purpose == Purpose::Probe && past.outcome == DeliveryOutcome::Seen);
    if !in_flight && seen && limit.asked_awake_s.is_none() && context.now.awake_s >= since {
        limit.asked_awake_s = Some(context.now.awake_s);
    }
}

fn delivery_failed(state: &UnitState, limit: &Limit) -> bool {
    let in_flight = state.delivery.current.as_ref().is_some_and(|d| d.message.purpose == Purpose::Probe);
    let failed = state
        .delivery
        .past
        .last()
        .is_some_and(|past| past.purpose == Purpose::Probe && past.outcome != DeliveryOutcome::Seen);
    limit.probing_awake_s.is_some() && limit.asked_awake_s.is_none() && !in_flight && failed
}

fn banner(pane: &AlivePane) -> String {
    let text = pane.reading.until.clone().or_else(|| pane.reading.dialog.clone()).unwrap_or_default();
    one_line(&text, 300)
}

/// The reset instant plus slack; without a readable one, the next probe.
fn until(context: &UnitContext<'_>, text: &str) -> (Wall, bool) {
    let watchdog = &context.config.watchdog;
    match reset_time::parse(text, context.now.wall, &context.now.zone) {
        Some(reset) => (reset.plus_s(watchdog.limit_reset_slack_s), true),
        None => (context.now.wall.plus_s(watchdog.limit_probe_fallback_s), false),
    }
}

/// session, weekly, model or usage: limits of one account are kept apart by kind.
fn kind(text: &str) -> &'static str {
    let text = text.to_lowercase();
    if text.contains("week") {
        "weekly"
    } else if ["opus", "sonnet", "model", "gemini-", "gpt-"].iter().any(|word| text.contains(word)) {
        "model"
    } else if text.contains("session") || text.contains("5-hour") {
        "session"
    } else {
        "usage"
    }
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let (Some(limit), Some(pane), Some(agent)) = (&state.limit.active, context.alive(), context.agent())
    else {
        return;
    };
    if state.ending.is_some() {
        return;
    }
    if let Some(why) = context.gate(state, Watch::Heal) {
        return out.hold("probe", why);
    }
    let menu = pane.reading.state == ScreenState::Limited && pane.reading.substate == Some(Substate::Menu);
    if menu && !agent.backend.limit_menu_keys.is_empty() && limit.menu_presses < MENU_KEYS_MAX {
        if let Some(why) = context.person_types() {
            return out.hold("close limit menu", why);
        }
        if limit.menu_awake_s.is_some_and(|at| context.now.awake_s.since_s(at) < 2.0) {
            return out.due_in(1.0);
        }
        let keys = agent.backend.limit_menu_keys.clone();
        let why = Reason::new(
            "limit.menu",
            "the limit's own menu is open; these keys choose to wait",
            vec![keys.join(" ")],
        );
        return out.want(
            Claim::Answer,
            "close limit menu",
            What::Act(Action::Keys { pane: pane.pane.clone(), keys }),
            why,
        );
    }
    let left = limit.until.since_s(context.now.wall);
    if left > 0.0 {
        out.due_in(left);
        return;
    }
    if limit.probing_awake_s.is_some() || state.delivery.current.is_some() {
        return out.due_in(1.0);
    }
    match turn(context, limit) {
        Turn::Probe(seen) => {
            let message = Message { purpose: Purpose::Probe, text: PROBE_TEXT.to_owned(), request: None };
            let compared = vec![format!("{} ≥ reset time plus slack {}", context.now.wall, limit.until)];
            out.want(
                Claim::Probe,
                "probe limit",
                What::Deliver(message),
                Reason::new("limit.probe", seen, compared),
            );
        }
        Turn::Later(why, wait) => {
            out.due_in(wait);
            out.hold("probe limit", why);
        }
    }
}

enum Turn {
    Probe(String),
    Later(String, f64),
}

/// One probe per account at a time; when it succeeded the others follow, staggered.
fn turn(context: &UnitContext<'_>, limit: &Limit) -> Turn {
    let Some(agent) = context.agent() else { return Turn::Later("not an agent".into(), 60.0) };
    let mates = || {
        context.config.units.iter().filter(|(name, unit)| {
            *name != context.name && unit.agent().is_some_and(|mate| mate.account == agent.account)
        })
    };
    let state_of = |name: &UnitName| context.before.units.get(name);
    let freed = mates()
        .filter_map(|(name, _)| state_of(name))
        .filter(|mate| mate.limit.freed_kind == limit.kind)
        .filter_map(|mate| mate.limit.freed)
        .filter(|freed| *freed > limit.since)
        .max();
    let key =
        |name: &UnitName, limit: &Limit, position: usize| (limit.probes, limit.until, position, name.clone());
    let mine = key(context.name, limit, context.unit.position);
    let rivals = mates().filter_map(|(name, unit)| {
        let mate = state_of(name)?;
        let active = mate.limit.active.as_ref().filter(|active| active.kind == limit.kind)?;
        let able = mate.seen.process.is_some() && mate.seen.state == ScreenState::Limited && unit.enabled;
        able.then(|| (key(name, active, unit.position), active.clone()))
    });
    if let Some(freed) = freed {
        let ahead =
            rivals.filter(|(rival, active)| *rival < mine && active.until <= context.now.wall).count();
        let due = freed.plus_s(context.config.watchdog.stagger_s * (ahead as f64 + 1.0));
        let left = due.since_s(context.now.wall);
        return if left > 0.0 {
            Turn::Later(format!("the account's probe succeeded; its turn is in {left:.1} s"), left)
        } else {
            Turn::Probe("the account's probe succeeded, it follows".into())
        };
    }
    let mut first = true;
    for (rival, active) in rivals {
        if active.probing_awake_s.is_some() {
            return Turn::Later(format!("`{}` probes the account now", rival.3), 2.0);
        }
        if active.until <= context.now.wall && rival < mine {
            first = false;
        }
    }
    if first {
        Turn::Probe("it is the account's turn to ask, with the fewest probes".into())
    } else {
        Turn::Later("another unit of the account asks first".into(), 2.0)
    }
}

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    if granted.claim == Claim::Answer {
        if let Some(limit) = &mut state.limit.active {
            limit.menu_presses += 1;
            limit.menu_awake_s = Some(context.now.awake_s);
        }
        return;
    }
    if let Some(limit) = &mut state.limit.active {
        limit.probing_awake_s = Some(context.now.awake_s);
        limit.asked_awake_s = None;
    }
}

//! Usage limits: wait until the reset, then ask with one probe per account, the others following when it succeeds.
//!
//! Deliberately not here: reading the banner (detect::screen) and its time (detect::reset_time). While a limit holds
//! no other policy heals, nudges or wakes the unit.

use super::Policy;
use super::account::{Told, Turn};
use super::context::UnitContext;
use super::guard_text;
use super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
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
/// Between two of them, seconds.
const MENU_GAP_S: f64 = 2.0;
/// A kind of limit whose banner names none.
const UNNAMED: &str = "usage";
/// A reset time that moves by less is the same one, read a little later, seconds.
const MOVED_S: f64 = 120.0;
/// A clock that is set back by less is none of our business, seconds.
const CLOCK_TRIFLE_S: f64 = 60.0;
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
    drafted(context, state, pane);
}

/// Nobody can ask whether the limit is over while a person's draft stands in the composer: told once.
fn drafted(context: &UnitContext<'_>, state: &mut UnitState, pane: &AlivePane) {
    let composer = pane.reading.composer.as_deref().unwrap_or("");
    let ours = guard_text::is_ours(composer, &context.unfolded.delivery.last_text);
    let Some(limit) = &mut state.limit.active else { return };
    let now = context.now.wall;
    if composer.is_empty() || ours {
        (limit.draft_since, limit.draft_told) = (None, false);
        return;
    }
    let due = now >= limit.until || limit.probing_awake_s.is_some();
    if due && limit.draft_since.is_none() {
        limit.draft_since = Some(now);
    }
    let waited = limit.draft_since.map_or(0.0, |since| now.since_s(since));
    if limit.draft_told || waited < context.config.watchdog.limit_probe_fallback_s {
        return;
    }
    limit.draft_told = true;
    let text = format!(
        "the limit of `{}` is past its reset time, but a person's draft stands in its composer: it is not asked \
         whether it goes on until that is sent or cleared",
        context.name
    );
    state.owe(context.name.as_str(), now, Level::Human, text);
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
    state.limit.active = Some(Limit { kind, text, since, until, readable, armed: since, ..Limit::default() });
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
    let now = context.now.wall;
    let failed = delivery_failed(context, &limit);
    if is_ahead(&limit, now) {
        (limit.until, limit.readable) = until(context, &text);
        (limit.since, limit.armed) = (limit.since.min(now), now);
    }
    let answered = limit.asked_awake_s.is_some_and(|asked| {
        // The old banner may still show right after the probe was typed.
        context.now.awake_s.since_s(asked) >= 1.0 && context.unfolded.delivery.current.is_none()
    });
    if text != limit.text || answered {
        let next = speaks_again(context, &limit, text, answered);
        // A banner that counts down is no news.
        let moved = next.until.since_s(limit.until).abs() > MOVED_S;
        if answered || moved || next.kind != limit.kind {
            let words =
                format!("limit stands after {} probes, until {}: {}", next.probes, next.until, next.text);
            notes.event(now, Some(context.name), EventKind::Limit, words);
            limit = next;
        }
    } else if failed {
        limit.probing_awake_s = None;
        limit.until = now.plus_s(context.config.watchdog.limit_probe_fallback_s);
    }
    note_asked(context, &mut limit);
    if stuck_menu(context, pane, &limit) && !limit.loud {
        limit.loud = true;
        let words = format!(
            "`{}` is limited and its menu does not close, a person must choose: {}",
            context.name, limit.text
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Human, words);
    }
    let account = context.agent().map_or("", |agent| agent.account.as_str());
    let (probes, told) = context.fleet.limits.others(account, context.name, &limit);
    let probes = probes.saturating_add(limit.probes);
    if probes >= LOUD_PROBES && !limit.loud && told == Told::No {
        limit.loud = true;
        let words = format!(
            "`{}` (account `{account}`) is still limited after {probes} probes: {}; probing goes on",
            context.name, limit.text
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Human, words);
    }
    state.limit.active = Some(limit);
}

/// The clock was set back since the limit last spoke: what was computed on the wrong day is computed again.
fn is_ahead(limit: &Limit, now: Wall) -> bool {
    limit.since.max(limit.armed).since_s(now) > CLOCK_TRIFLE_S
}

/// The menu is open and there is no key that closes it, or none helped.
fn stuck_menu(context: &UnitContext<'_>, pane: &AlivePane, limit: &Limit) -> bool {
    let keys = context.agent().is_some_and(|agent| !agent.backend.limit_menu_keys.is_empty());
    let spent = limit.menu_presses >= MENU_KEYS_MAX
        && limit.menu_awake_s.is_some_and(|at| context.now.awake_s.since_s(at) >= MENU_STUCK_S);
    pane.reading.substate == Some(Substate::Menu) && (spent || !keys)
}

/// The limit with what its banner says now.
fn speaks_again(context: &UnitContext<'_>, limit: &Limit, text: String, answered: bool) -> Limit {
    let (mut until, mut readable) = until(context, &text);
    let mut kind = kind(&text).to_owned();
    if !answered && !readable && limit.readable {
        // The menu of the same limit says less than its banner did.
        (until, readable) = (limit.until, true);
    }
    if !answered && kind == UNNAMED {
        kind.clone_from(&limit.kind);
    }
    let next = Limit { kind, text, until, readable, ..limit.clone() };
    if !answered {
        return next;
    }
    Limit {
        probes: limit.probes.saturating_add(1),
        armed: context.now.wall,
        menu_presses: 0,
        probing_awake_s: None,
        asked_awake_s: None,
        ..next
    }
}

/// No banner: does it work again?
fn maybe_over(context: &UnitContext<'_>, state: &mut UnitState, mut limit: Limit, notes: &mut Notes) {
    note_asked(context, &mut limit);
    if is_ahead(&limit, context.now.wall) {
        let soon = context.now.wall.plus_s(context.config.watchdog.limit_probe_fallback_s);
        limit.until = limit.until.min(soon);
        (limit.since, limit.armed) = (limit.since.min(context.now.wall), context.now.wall);
    }
    let works = state.seen.state == ScreenState::Busy && state.seen.substate != Some(Substate::Retrying);
    let answered = matches!(state.seen.state, ScreenState::Idle | ScreenState::Blocked | ScreenState::Draft);
    let over = match limit.asked_awake_s {
        // Nobody asked, and it works: progress clears a limit at once, but for the spinner that a CLI (gemini) draws
        // once more when its menu is closed.
        None => {
            let closed = limit.menu_awake_s.is_some_and(|at| context.now.awake_s.since_s(at) < PROGRESS_S);
            works && !closed && limit.probing_awake_s.is_none()
        }
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
        notes.due_in(1.0); // The account's others may follow.
        return;
    }
    let silent = limit.asked_awake_s.is_some_and(|asked| context.now.awake_s.since_s(asked) >= VERDICT_S);
    if silent || delivery_failed(context, &limit) {
        limit.until = context.now.wall.plus_s(context.config.watchdog.limit_probe_fallback_s);
        if silent {
            limit.probes = limit.probes.saturating_add(1);
            limit.armed = context.now.wall;
        }
        limit.probing_awake_s = None;
        limit.asked_awake_s = None;
    }
    state.limit.active = Some(limit);
}

/// The probe was typed: from now on its answer is awaited.
fn note_asked(context: &UnitContext<'_>, limit: &mut Limit) {
    let Some(since) = limit.probing_awake_s else { return };
    let in_flight =
        context.unfolded.delivery.current.as_ref().is_some_and(|d| d.message.purpose == Purpose::Probe);
    let seen = context
        .unfolded
        .delivery
        .past
        .last()
        .is_some_and(|past| past.purpose == Purpose::Probe && past.outcome == DeliveryOutcome::Seen);
    if !in_flight && seen && limit.asked_awake_s.is_none() && context.now.awake_s >= since {
        limit.asked_awake_s = Some(context.now.awake_s);
    }
}

fn delivery_failed(context: &UnitContext<'_>, limit: &Limit) -> bool {
    let Some(since) = limit.probing_awake_s.filter(|_| limit.asked_awake_s.is_none()) else { return false };
    let delivery = &context.unfolded.delivery;
    let in_flight = delivery.current.as_ref().is_some_and(|d| d.message.purpose == Purpose::Probe);
    let failed = delivery
        .past
        .last()
        .is_some_and(|past| past.purpose == Purpose::Probe && past.outcome != DeliveryOutcome::Seen);
    // One that is neither under way nor ended was lost with an edited file.
    !in_flight && (failed || context.now.awake_s.since_s(since) > VERDICT_S)
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
        UNNAMED
    }
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let (Some(limit), Some(pane), Some(agent)) = (&state.limit.active, context.alive(), context.agent())
    else {
        return;
    };
    if state.ending.is_some() || !context.is_wanted() {
        return;
    }
    if let Some(why) = context.gate(state, Watch::Heal) {
        return out.hold("probe", why);
    }
    if pane.reading.state == ScreenState::Limited && pane.reading.substate == Some(Substate::Menu) {
        return menu(context, state, limit, pane, &agent.backend.limit_menu_keys, out);
    }
    if let Some(why) = context.account_held() {
        return out.hold("probe limit", why);
    }
    if limit.probing_awake_s.is_some() || state.delivery.current.is_some() {
        return out.due_in(1.0);
    }
    let (limits, now) = (&context.fleet.limits, context.now.wall);
    let due = limits.due(&agent.account, context.name, limit, now, context.config.watchdog.stagger_s);
    let left = due.since_s(now);
    if left > 0.0 {
        return out.due_in(left);
    }
    match limits.turn(&agent.account, context.name, limit, now) {
        Turn::Ask(seen) => {
            let message = Message { purpose: Purpose::Probe, text: PROBE_TEXT.to_owned(), request: None };
            let compared = vec![format!("{now} ≥ {due}")];
            let why = Reason::new("limit.probe", seen, compared);
            out.want(Claim::Probe, "probe limit", What::Deliver(message), why);
        }
        Turn::Wait(why, wait) => {
            out.due_in(wait);
            out.hold("probe limit", why);
        }
    }
}

/// The limit's own menu: its keys choose to wait. Believed on the second look, like every dialog.
fn menu(
    context: &UnitContext<'_>,
    state: &UnitState,
    limit: &Limit,
    pane: &AlivePane,
    keys: &[String],
    out: &mut Proposals,
) {
    const LABEL: &str = "close limit menu";
    if keys.is_empty() || limit.menu_presses >= MENU_KEYS_MAX {
        return out.hold(LABEL, "waits for a person");
    }
    let seen_before =
        context.before.units.get(context.name).is_some_and(|before| before.limit.active.is_some());
    if !seen_before {
        return out.due_in(0.5);
    }
    if let Some(why) = context.person_types() {
        return out.hold(LABEL, why);
    }
    if pane.in_mode {
        return context.leave_mode(state, Claim::Answer, LABEL, out);
    }
    let pressed = limit.menu_awake_s.map(|at| context.now.awake_s.since_s(at));
    if pressed.is_some_and(|ago| ago < MENU_GAP_S) {
        return out.due_in(1.0);
    }
    let why = Reason::new(
        "limit.menu",
        "the limit's own menu is open; these keys choose to wait",
        vec![keys.join(" ")],
    );
    let action = Action::Keys { pane: pane.pane.clone(), keys: keys.to_vec() };
    out.want(Claim::Answer, LABEL, What::Act(action), why);
}

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    let Some(limit) = &mut state.limit.active else { return };
    match &granted.what {
        What::Act(Action::Keys { .. }) => {
            limit.menu_presses = limit.menu_presses.saturating_add(1);
            limit.menu_awake_s = Some(context.now.awake_s);
        }
        What::Deliver(_) => {
            limit.probing_awake_s = Some(context.now.awake_s);
            limit.asked_awake_s = None;
        }
        What::Act(_) | What::End(_) => {}
    }
}

#[cfg(test)]
mod tests;

//! What waits for a person, or for one known key: dialogs, drafts, errors, dead credentials.
//!
//! Deliberately not here: limits and their menu (limit), silence (stall).

use super::Policy;
use super::context::{MODE_TRIES, UnitContext};
use super::ending::ending;
use super::guard_text;
use super::proposal::{Claim, Notes, Proposal, Proposals, Reason, What};
use crate::base::text::{digest, one_line};
use crate::base::time::human_s;
use crate::config::{AgentKind, Permission, Watch};
use crate::model::action::Action;
use crate::model::seen::{AlivePane, ScreenState, Substate};
use crate::state::mail::Level;
use crate::state::unit::{DeliveryStep, Draft, EndCause, Message, Purpose, Then, UnitState};

/// The policy's row.
pub const POLICY: Policy = Policy { name: "attend", fold, propose, charge };

/// First "continue" after a server or network error, seconds; doubling (SPEC 6.4).
const ERROR_FIRST_S: f64 = 60.0;
/// That many, then a person is told.
const ERROR_NUDGES: u32 = 5;
/// A dialog is answered at most that often before a person is told.
const ANSWERS_MAX: u32 = 3;
/// So many dialogs one after the other get their answers; past that they count as one.
const DIALOGS_MAX: u32 = 10;
/// Between two answers, seconds. A CLI that restarts itself for the first one (gemini, its trust) shows the old dialog
/// for some seconds more, and a second key would answer the next one unseen.
const ANSWER_GAP_S: f64 = 10.0;
/// Looks at which a draft must stand unchanged.
const DRAFT_LOOKS: u32 = 2;
/// A draft that still stands so long after the submit key is told, seconds.
const SUBMITTED_S: f64 = 30.0;
/// The rule that ends a conversation that can't go on.
const CONTEXT_RULE: &str = "attend.context";
/// What goes on after an error.
pub const CONTINUE_TEXT: &str =
    "[watchkeeper] The last call did not get through. Please go on where you left off.";

fn fold(context: &UnitContext<'_>, state: &mut UnitState, _notes: &mut Notes) {
    if context.agent().is_none() {
        return;
    }
    let Some(pane) = context.alive() else {
        state.attend.draft = None;
        return;
    };
    mode(context, state, pane);
    if pane.reading.overlay {
        return;
    }
    dialogs(context, state, pane);
    drafts(context, state, pane);
    errors(context, state);
}

/// A mode that swallows keys, and that is not left although it was tried: a person is told once.
fn mode(context: &UnitContext<'_>, state: &mut UnitState, pane: &AlivePane) {
    if !pane.in_mode {
        state.attend.mode_tries = 0;
        state.attend.mode_awake_s = None;
        state.attend.mode_told = false;
        return;
    }
    let spent = state.attend.mode_tries >= MODE_TRIES && context.mode_pause_s(state) <= 0.0;
    if spent && !state.attend.mode_told {
        state.attend.mode_told = true;
        let text = format!(
            "the pane of `{}` is in copy mode or another mode and can't be made to leave it: no key reaches it",
            context.name
        );
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    }
}

/// Some policy ordered that the mode is left.
pub fn left_mode(context: &UnitContext<'_>, state: &mut UnitState) {
    state.attend.mode_tries = state.attend.mode_tries.saturating_add(1);
    state.attend.mode_awake_s = Some(context.now.awake_s);
}

fn dialogs(context: &UnitContext<'_>, state: &mut UnitState, pane: &AlivePane) {
    let open = matches!(state.seen.state, ScreenState::Blocked | ScreenState::Onboarding);
    if !open {
        state.attend.dialog = None;
        state.attend.dialog_look = None;
        state.attend.answers = 0;
        state.attend.dialogs = 0;
        state.attend.answered_awake_s = None;
        return;
    }
    if !shows_dialog(pane) {
        return; // It closed: believed on the second look.
    }
    let text = pane.reading.dialog.clone().unwrap_or_default();
    let look = digest(text.as_bytes());
    let stable = state.attend.dialog_look.as_deref() == Some(look.as_str());
    if !stable {
        // Another dialog (trust, then login, then key) has tries of its own.
        if state.attend.answers > 0 && state.attend.dialogs < DIALOGS_MAX {
            state.attend.dialogs = state.attend.dialogs.saturating_add(1);
            state.attend.answers = 0;
        }
        state.attend.dialog_look = Some(look);
        return;
    }
    let told = state.attend.dialog.as_deref() == Some(look.as_str());
    let keys = answer(context, pane);
    let spent = keys.is_some() && state.attend.answers >= ANSWERS_MAX;
    if told || (keys.is_some() && !spent) || context.gate(state, Watch::Heal).is_some() {
        return;
    }
    state.attend.dialog = Some(look);
    let what = if state.seen.state == ScreenState::Blocked { "asks" } else { "waits in a start-up dialog" };
    let tail = if spent { format!(" (answered {ANSWERS_MAX} times in vain)") } else { String::new() };
    let text = format!("`{}` {what}: {}{tail}", context.name, one_line(&text, 200));
    state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
}

/// The keys that answer the open dialog by themselves, with the word for what they do.
fn answer(context: &UnitContext<'_>, pane: &AlivePane) -> Option<(Vec<String>, &'static str)> {
    let agent = context.agent()?;
    let some = |keys: &Vec<String>, word| (!keys.is_empty()).then(|| (keys.clone(), word));
    match (pane.reading.state, agent.permission) {
        (ScreenState::Onboarding, _) => {
            pane.reading.answer_keys.as_ref().and_then(|keys| some(keys, "answer dialog"))
        }
        // That it waits may be the word of its status file alone: keys are pressed on a dialog that was recognised.
        (ScreenState::Blocked, Permission::Approve | Permission::Deny) if !has_text(pane) => None,
        (ScreenState::Blocked, Permission::Approve) => some(&agent.backend.approve_keys, "approve dialog"),
        (ScreenState::Blocked, Permission::Deny) => some(&agent.backend.deny_keys, "deny dialog"),
        (ScreenState::Blocked, Permission::Alert) => None,
        (
            ScreenState::Starting
            | ScreenState::Idle
            | ScreenState::Draft
            | ScreenState::Busy
            | ScreenState::Limited
            | ScreenState::Error
            | ScreenState::Dead
            | ScreenState::Shell
            | ScreenState::Unknown,
            _,
        ) => None,
    }
}

/// Was the open dialog read?
fn has_text(pane: &AlivePane) -> bool {
    pane.reading.dialog.as_ref().is_some_and(|text| !text.trim().is_empty())
}

fn drafts(context: &UnitContext<'_>, state: &mut UnitState, pane: &AlivePane) {
    let text = pane.reading.composer.clone().unwrap_or_default();
    // Of a delivery that waits, nothing stands in the composer yet: the draft is what it waits for.
    let typing = context.unfolded.delivery.current.as_ref().is_some_and(|delivery| match delivery.step {
        DeliveryStep::Wanted | DeliveryStep::Loaded { .. } => false,
        DeliveryStep::Pasted { .. } | DeliveryStep::Submitted { .. } => true,
    });
    let stands = state.seen.state == ScreenState::Draft && !text.is_empty() && !typing;
    if !stands {
        state.attend.draft = None;
        return;
    }
    let look = digest(text.as_bytes());
    let now = context.now.awake_s;
    let draft = match state.attend.draft.take() {
        Some(draft) if draft.digest == look => {
            Draft { looks: draft.looks.saturating_add(1).min(DRAFT_LOOKS), ..draft }
        }
        Some(_) | None => Draft { digest: look, looks: 1, since_awake_s: now, ..Draft::default() },
    };
    let ready = draft.looks >= DRAFT_LOOKS && !draft.handled && !is_ours(state, &text);
    let in_vain = draft.submitted_awake_s.is_some_and(|at| now.since_s(at) >= SUBMITTED_S) && !draft.told;
    let tell = (ready || in_vain)
        && context.person_types().is_none()
        && context.gate(state, Watch::HealStall).is_none();
    state.attend.draft = Some(Draft { handled: draft.handled || tell, told: draft.told || tell, ..draft });
    if tell {
        let text =
            format!("`{}` is idle with unsent text in its composer: {}", context.name, one_line(&text, 120));
        state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    }
}

fn is_ours(state: &UnitState, composer: &str) -> bool {
    !state.delivery.last_text.is_empty() && guard_text::is_ours(composer, &state.delivery.last_text)
}

fn errors(context: &UnitContext<'_>, state: &mut UnitState) {
    let now = context.now.awake_s;
    if state.seen.state != ScreenState::Error {
        // Short work between two errors is the retry itself; a finished turn is progress, and so is long work.
        let worked = state.seen.state == ScreenState::Busy
            && now.since_s(state.seen.since_awake_s) >= context.config.watchdog.stall_idle_s;
        if state.seen.state == ScreenState::Idle || worked {
            state.attend.error_nudges = 0;
            state.attend.error_awake_s = None;
        }
        if state.seen.state != ScreenState::Busy {
            state.attend.told = None;
        }
        return;
    }
    state.attend.error_awake_s.get_or_insert(now);
    let (key, text) = match state.seen.substate {
        Some(Substate::Auth) => (
            "auth",
            "its credentials are refused; the whole account is held until that is mended and it works again",
        ),
        Some(Substate::Billing) => (
            "billing",
            "its account can't pay; the whole account is held until that is mended and it works again",
        ),
        _ if state.attend.error_nudges >= ERROR_NUDGES => ("error", "its calls keep failing"),
        _ => return,
    };
    if state.attend.told.as_deref() == Some(key) || context.gate(state, Watch::Heal).is_some() {
        return;
    }
    state.attend.told = Some(key.to_owned());
    let line = context.alive().and_then(|pane| pane.reading.evidence.first()).map(|e| one_line(&e.text, 120));
    let text = format!("`{}`: {text} ({})", context.name, line.unwrap_or_default());
    state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
}

fn propose(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let (Some(pane), None) = (context.alive(), &state.ending) else { return };
    if context.agent().is_none() || pane.reading.overlay || !context.is_wanted() {
        return;
    }
    if state.limit.active.is_some() && state.seen.state == ScreenState::Error {
        return; // No heal while limited: the limit's own probe finds out. (It can't where a shell was left behind.)
    }
    let task = context.agent().is_some_and(|agent| agent.kind == AgentKind::Task);
    if task && state.seen.state == ScreenState::Shell {
        return; // Its run is over; the next one is its schedule's.
    }
    match state.seen.state {
        ScreenState::Blocked | ScreenState::Onboarding => propose_answer(context, state, pane, out),
        ScreenState::Draft => propose_submit(context, state, pane, out),
        ScreenState::Error => propose_error(context, state, out),
        ScreenState::Shell => propose_shell(context, state, out),
        ScreenState::Starting
        | ScreenState::Idle
        | ScreenState::Busy
        | ScreenState::Limited
        | ScreenState::Dead
        | ScreenState::Unknown => {}
    }
}

fn shows_dialog(pane: &AlivePane) -> bool {
    matches!(pane.reading.state, ScreenState::Blocked | ScreenState::Onboarding)
}

fn propose_answer(context: &UnitContext<'_>, state: &UnitState, pane: &AlivePane, out: &mut Proposals) {
    if !shows_dialog(pane) {
        return;
    }
    let text = pane.reading.dialog.clone().unwrap_or_default();
    let Some((keys, label)) = answer(context, pane) else {
        return out.hold("answer dialog", format!("waits for a person: {}", one_line(&text, 120)));
    };
    if let Some(why) = context.gate(state, Watch::Heal).or_else(|| context.person_types()) {
        return out.hold(label, why);
    }
    if pane.in_mode {
        return context.leave_mode(state, Claim::Answer, label, out);
    }
    if state.attend.answers >= ANSWERS_MAX {
        return out.hold(label, format!("answered {ANSWERS_MAX} times in vain; waits for a person"));
    }
    if state.attend.dialog_look.as_deref() != Some(digest(text.as_bytes()).as_str())
        || state.attend.answers == 0 && first_look(context, state)
    {
        return out.due_in(0.5);
    }
    if state.attend.answered_awake_s.is_some_and(|at| context.now.awake_s.since_s(at) < ANSWER_GAP_S) {
        return out.due_in(ANSWER_GAP_S);
    }
    let why = Reason::new(
        "attend.dialog",
        format!("dialog: {}", one_line(&text, 120)),
        vec![format!("keys: {}", keys.join(" "))],
    );
    out.want(Claim::Answer, label, What::Act(Action::Keys { pane: pane.pane.clone(), keys }), why);
}

/// Was the dialog seen for the first time in this tick? An answer needs two looks.
fn first_look(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let before = context.before.units.get(context.name);
    before.is_none_or(|before| before.attend.dialog_look != state.attend.dialog_look)
}

fn propose_submit(context: &UnitContext<'_>, state: &UnitState, pane: &AlivePane, out: &mut Proposals) {
    let Some(draft) = &state.attend.draft else { return };
    if draft.handled {
        return;
    }
    if draft.looks < DRAFT_LOOKS {
        return out.due_in(0.5);
    }
    let text = pane.reading.composer.clone().unwrap_or_default();
    if !is_ours(state, &text) {
        return out.hold("submit draft", "a person's text stands in the composer");
    }
    if let Some(why) = context.gate(state, Watch::HealStall).or_else(|| context.person_types()) {
        return out.hold("submit draft", why);
    }
    if state.delivery.current.is_some() {
        return; // The next text clears it away.
    }
    if super::handoff::types_again(state) {
        return out.hold("submit draft", "it is typed anew: submitted now, it would be told twice");
    }
    if super::phase::is_behind(context, state) {
        return out.hold("submit draft", "it is started anew, for the phase in force");
    }
    if pane.in_mode {
        return context.leave_mode(state, Claim::Submit, "submit draft", out);
    }
    let Some(agent) = context.agent() else { return };
    let since = human_s(context.now.awake_s.since_s(draft.since_awake_s));
    let why = Reason::new(
        "attend.draft",
        format!("our own text stands unsubmitted in the composer for {since}"),
        vec![],
    );
    let keys = vec![agent.backend.submit_key.clone()];
    out.want(Claim::Submit, "submit draft", What::Act(Action::Keys { pane: pane.pane.clone(), keys }), why);
}

fn propose_error(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    let (label, what) = match state.seen.substate {
        Some(Substate::Context) => ("restart", "the conversation can't go on (context full)"),
        Some(Substate::Auth | Substate::Billing) => {
            let why = context.account_held().unwrap_or_else(|| "the account is held".into());
            return out.hold("continue", why);
        }
        Some(Substate::Server | Substate::Network | Substate::Retrying | Substate::Menu) | None => {
            return propose_continue(context, state, out);
        }
    };
    if let Some(why) =
        context.gate(state, Watch::Heal).or_else(|| context.person_types()).or_else(|| context.account_held())
    {
        return out.hold(label, why);
    }
    // The error must have stood for a while: a CLI may compact and go on by itself.
    let stood = context.now.awake_s.since_s(state.seen.since_awake_s);
    if stood < ERROR_FIRST_S {
        out.due_in(ERROR_FIRST_S - stood);
        return out.hold(label, format!("the error stands for {stood:.0} s of {ERROR_FIRST_S:.0} s"));
    }
    if UnitContext::breaker_open(state) {
        return out.hold(label, "its circuit breaker is open");
    }
    let why =
        Reason::new(CONTEXT_RULE, what, vec![format!("stands for {stood:.0} s ≥ {ERROR_FIRST_S:.0} s")]);
    let end = ending(context, Then::Start, EndCause::Ladder, &why);
    out.want(Claim::Kill, label, What::End(end), why);
}

fn propose_continue(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    if state.delivery.current.is_some() {
        return;
    }
    let n = state.attend.error_nudges;
    if n >= ERROR_NUDGES {
        return out.hold("continue", format!("{ERROR_NUDGES} tries are spent, a person was told"));
    }
    if let Some(why) = context.gate(state, Watch::Heal).or_else(|| context.account_held()) {
        return out.hold("continue", why);
    }
    let since = state.attend.error_awake_s.unwrap_or(state.seen.since_awake_s);
    let passed = context.now.awake_s.since_s(since);
    let needed = ERROR_FIRST_S * 2f64.powi(n as i32);
    if passed < needed {
        out.due_in(needed - passed);
        return out
            .hold("continue", format!("{passed:.0} s of {needed:.0} s since the error or the last try"));
    }
    let message = Message { purpose: Purpose::Continue, text: CONTINUE_TEXT.to_owned(), request: None };
    let compared = vec![format!("{passed:.0} s ≥ {needed:.0} s, try {} of {ERROR_NUDGES}", n + 1)];
    let why = Reason::new("attend.error", "its last turn ended in a server or network error", compared);
    out.want(Claim::Continue, "continue", What::Deliver(message), why);
}

/// The CLI left and a shell remains: the pane is started anew, unless somebody uses that shell.
fn propose_shell(context: &UnitContext<'_>, state: &UnitState, out: &mut Proposals) {
    if let Some(why) =
        context.gate(state, Watch::Heal).or_else(|| context.person_types()).or_else(|| context.account_held())
    {
        return out.hold("restart", why);
    }
    if UnitContext::breaker_open(state) {
        return out.hold("restart", "its circuit breaker is open");
    }
    if state.limit.active.as_ref().is_some_and(|limit| context.now.wall < limit.until) {
        return out.hold("restart", "it is limited");
    }
    let why = Reason::new("attend.shell", "its CLI left, a shell remains in the pane (two looks)", vec![]);
    let end = ending(context, Then::Start, EndCause::Ladder, &why);
    out.want(Claim::Kill, "restart", What::End(end), why);
}

fn charge(context: &UnitContext<'_>, granted: &Proposal, state: &mut UnitState) {
    let now = context.now.awake_s;
    if matches!(granted.what, What::Act(Action::LeaveMode { .. })) {
        return;
    }
    match granted.claim {
        Claim::Answer => {
            state.attend.answers = state.attend.answers.saturating_add(1);
            state.attend.answered_awake_s = Some(now);
        }
        Claim::Submit => {
            if let Some(draft) = &mut state.attend.draft {
                draft.handled = true;
                draft.submitted_awake_s = Some(now);
            }
        }
        Claim::Kill => state.launch.afresh = granted.why.rule == CONTEXT_RULE,
        Claim::Continue => {
            state.attend.error_nudges = state.attend.error_nudges.saturating_add(1);
            state.attend.error_awake_s = Some(now);
        }
        Claim::End
        | Claim::Start
        | Claim::Deliver
        | Claim::Order
        | Claim::Kickoff
        | Claim::Ping
        | Claim::Operator
        | Claim::Probe
        | Claim::Nudge
        | Claim::Wake
        | Claim::Report
        | Claim::Triage
        | Claim::Tidy => {}
    }
}

#[cfg(test)]
mod tests;

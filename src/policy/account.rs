//! The usage limits of accounts: who asks whether one is over, who follows, and when. Gathered once a tick.
//!
//! An account's limit is the sum of its units', kept apart by kind. Deliberately not here: one unit's own limit (limit).

use super::activity::gap_excess_s;
use super::context::typed_ago_s;
use super::guard_text;
use super::plan;
use crate::base::names::UnitName;
use crate::base::time::{Awake, Wall};
use crate::config::{AgentKind, Config, Unit, Watch};
use crate::model::seen::{AlivePane, Observation, PaneSeen, ScreenState, Seen, Substate};
use crate::state::State;
use crate::state::unit::{Limit, Purpose, UnitState};
use std::collections::BTreeMap;

/// Who asks must have its answer within this time, seconds: a minute to be typed, five to be answered.
const ASKING_S: f64 = 400.0;

/// A clock that is set back by less is none of our business, seconds.
const CLOCK_TRIFLE_S: f64 = 60.0;

/// All limited accounts, by account and kind of limit.
#[derive(Clone, Debug, Default)]
pub struct Accounts(BTreeMap<(String, String), Account>);

/// One limit of one account.
#[derive(Clone, Debug, Default)]
struct Account {
    members: Vec<Member>,
    /// When a unit was last seen to work again under this limit.
    freed: Option<Wall>,
}

#[derive(Clone, Debug)]
struct Member {
    name: UnitName,
    position: usize,
    limit: Limit,
    /// It asks now.
    asks: bool,
    /// Why nothing can be typed into it now.
    unable: Option<String>,
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// This unit asks, because.
    Ask(String),
    /// Not now: why, and seconds until it may be.
    Wait(String, f64),
}

impl Accounts {
    /// Gathers the limits that held before this tick. `next` has this tick's beliefs.
    pub fn new(config: &Config, previous: &State, next: &State, seen: &Observation) -> Accounts {
        let mut accounts: BTreeMap<(String, String), Account> = BTreeMap::new();
        let over = plan::stage(config, &next.phase, seen.branch.as_ref()) == plan::Stage::Complete;
        // Time in which nobody looked does not count against who asks.
        let judged_at = seen.now.awake_s.plus_s(-gap_excess_s(config, previous, seen));
        for (name, unit) in &config.units {
            let (Some(agent), Some(before)) = (unit.agent(), previous.units.get(name)) else { continue };
            let key = |kind: &str| (agent.account.clone(), kind.to_owned());
            // One of tomorrow is of a clock that was set back since.
            if let Some(freed) =
                before.limit.freed.filter(|freed| freed.since_s(seen.now.wall) < CLOCK_TRIFLE_S)
            {
                let account = accounts.entry(key(&before.limit.freed_kind)).or_default();
                account.freed = account.freed.max(Some(freed));
            }
            let Some(limit) = before.limit.active.clone() else { continue };
            let here = seen.units.get(name);
            let believed = next.units.get(name).unwrap_or(before);
            let rests =
                (over && agent.kind == AgentKind::Loop).then(|| "the plan is complete: it rests".to_owned());
            let unable = rests.or_else(|| match here {
                None => Some("it was not seen".to_owned()),
                Some(here) => unable(unit, here, before, believed.seen.state, seen),
            });
            let asks = here.is_some_and(|here| is_asking(&limit, &here.pane, judged_at));
            let account = accounts.entry(key(&limit.kind)).or_default();
            account.members.push(Member { name: name.clone(), position: unit.position, limit, asks, unable });
        }
        Accounts(accounts)
    }

    /// When this unit's limit is to be asked about: at its own time, later when another one's probe was refused since,
    /// at once (staggered) when another one works again.
    pub fn due(&self, account: &str, name: &UnitName, limit: &Limit, now: Wall, stagger_s: f64) -> Wall {
        let Some(account) = self.get(account, limit) else { return limit.until };
        if let Some(freed) = account.freed.filter(|freed| *freed > limit.armed) {
            let ahead = account
                .members
                .iter()
                .filter(|other| other.name != *name && freed > other.limit.armed && other.unable.is_none())
                .filter(|other| other.position < account.position(name))
                .count();
            let wait = stagger_s * (ahead as f64 + 1.0);
            // A clock that was set back must not make a day of two seconds.
            return freed.plus_s(wait).min(now.plus_s(wait));
        }
        let refused = account
            .members
            .iter()
            .filter(|other| other.limit.probes > 0 && other.limit.armed > limit.armed)
            .max_by_key(|other| other.limit.armed);
        refused.map_or(limit.until, |other| other.limit.until.max(limit.until))
    }

    /// Whose turn it is, when this unit's time has come.
    pub fn turn(&self, account: &str, name: &UnitName, limit: &Limit, now: Wall) -> Turn {
        let Some(account) = self.get(account, limit) else {
            return Turn::Wait("it was limited only just now".into(), 1.0);
        };
        let me = account.members.iter().find(|member| member.name == *name);
        if let Some(why) = me.and_then(|me| me.unable.clone()) {
            return Turn::Wait(why, 5.0);
        }
        if account.freed.is_some_and(|freed| freed > limit.armed) {
            return Turn::Ask("another unit of the account works again, it follows".into());
        }
        if let Some(other) = account.members.iter().find(|member| member.asks && member.name != *name) {
            return Turn::Wait(format!("`{}` asks for the account now", other.name), 2.0);
        }
        let key = |member: &Member| (member.limit.probes, member.limit.until, member.position);
        let ready = |member: &&Member| member.unable.is_none() && member.limit.until <= now;
        match account.members.iter().filter(ready).min_by_key(|member| key(member)) {
            Some(first) if first.name != *name => {
                Turn::Wait(format!("`{}` asks first for the account", first.name), 2.0)
            }
            Some(_) | None => Turn::Ask("it asks for its account, having asked least so far".into()),
        }
    }

    /// Refused probes of the account's other units, and whether one of them told it.
    pub fn others(&self, account: &str, name: &UnitName, limit: &Limit) -> (u32, Told) {
        let members = self.get(account, limit).map(|account| account.members.as_slice()).unwrap_or_default();
        let others = || members.iter().filter(|member| member.name != *name);
        let told = if others().any(|member| member.limit.loud) { Told::Yes } else { Told::No };
        (others().fold(0, |sum: u32, member| sum.saturating_add(member.limit.probes)), told)
    }

    fn get(&self, account: &str, limit: &Limit) -> Option<&Account> {
        self.0.get(&(account.to_owned(), limit.kind.clone()))
    }
}

/// Whether people heard of an account's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// They did.
    Yes,
    /// Not yet.
    No,
}

impl Account {
    fn position(&self, name: &UnitName) -> usize {
        self.members.iter().find(|member| member.name == *name).map_or(usize::MAX, |member| member.position)
    }
}

/// One whose screen can be read comes to its end by itself; one that can't is waited for, bounded.
fn is_asking(limit: &Limit, pane: &PaneSeen, now: Awake) -> bool {
    let Some(since) = limit.probing_awake_s else { return false };
    match pane {
        PaneSeen::Alive(pane) if !pane.reading.overlay => true,
        PaneSeen::Alive(_) | PaneSeen::Unknown => now.since_s(since) < ASKING_S,
        PaneSeen::Absent | PaneSeen::Dead { .. } => false,
    }
}

/// Why nothing can be typed into this unit now, if so: the account must not wait for it.
fn unable(
    unit: &Unit,
    here: &Seen,
    state: &UnitState,
    believed: ScreenState,
    seen: &Observation,
) -> Option<String> {
    let says = |why: &str| Some(why.to_owned());
    let PaneSeen::Alive(pane) = &here.pane else { return says("it does not run") };
    if !unit.enabled || unit.watch < Watch::Heal || here.markers.down.is_some() {
        return says("it is not looked after");
    }
    if super::context::paused(&here.markers, &seen.now).is_some() {
        return says("it is paused");
    }
    if state.ending.is_some() {
        return says("it is being ended");
    }
    if state.delivery.current.as_ref().is_some_and(|delivery| delivery.message.purpose != Purpose::Probe) {
        return says("another text is on its way into it");
    }
    if pane.reading.overlay {
        return says("a viewer or picker covers its screen");
    }
    match believed {
        ScreenState::Limited | ScreenState::Idle | ScreenState::Error | ScreenState::Busy => {}
        ScreenState::Draft => {}
        ScreenState::Starting | ScreenState::Unknown => return says("its screen can't be read"),
        ScreenState::Onboarding | ScreenState::Blocked => return says("a dialog is open in it"),
        ScreenState::Dead | ScreenState::Shell => return says("its CLI does not run"),
    }
    if pane.reading.substate == Some(Substate::Menu) {
        return says("the limit menu is open in it");
    }
    hands(pane, state, seen)
}

/// A person has their hands on it.
fn hands(pane: &AlivePane, state: &UnitState, seen: &Observation) -> Option<String> {
    if typed_ago_s(pane, &seen.now).is_some() {
        return Some("a person types into it".into());
    }
    if pane.in_mode && pane.attached > 0 {
        return Some("it is in copy mode, and a person is attached".into());
    }
    let composer = pane.reading.composer.as_deref().unwrap_or("");
    let ours =
        !state.delivery.last_text.is_empty() && guard_text::is_ours(composer, &state.delivery.last_text);
    (!composer.is_empty() && !ours).then(|| "a person's draft stands in its composer".into())
}

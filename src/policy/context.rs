//! What a policy may look at: the config, this tick's facts, last tick's state, and the fleet as a whole.

use super::account::Accounts;
use super::plan::Stage;
use super::proposal::{Claim, Proposals, Reason, What};
use crate::base::names::UnitName;
use crate::base::time::Now;
use crate::config::{Agent, AgentKind, Config, Unit, Watch};
use crate::model::action::Action;
use crate::model::process::RunSeen;
use crate::model::seen::{AlivePane, JobSeen, Observation, PaneSeen, Process, ScreenState, Seen, Substate};
use crate::state::State;
use crate::state::clocks::UnitClocks;
use crate::state::unit::{Breaker, UnitState};
use std::collections::BTreeMap;

/// A person who typed within this time is at work in the pane, seconds (SPEC 6.3).
pub const TYPING_S: f64 = 60.0;

/// Facts about the whole fleet in this tick.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// Everything is paused, because.
    pub paused: Option<String>,
    /// Everything is to be down.
    pub down: bool,
    /// tmux could not be asked, because.
    pub blind: Option<String>,
    /// Units that died in this tick together with at least two others: their turn in the staggered comeback, from 0.
    pub mass_death: BTreeMap<UnitName, usize>,
    /// Accounts that must not be used, because of the named unit's state.
    pub accounts_held: BTreeMap<String, String>,
    /// The host has too little CPU or memory, in words.
    pub starved: Option<String>,
    /// Usage limits of accounts.
    pub limits: Accounts,
    /// The loop had not looked for long (suspend, cron pause) and only just began to look again.
    pub woken: bool,
    /// Where the plan stands.
    pub stage: Stage,
    /// The phase that is, or was, the last one in force.
    pub last_phase: Option<String>,
    /// The completion for which the last task was started, as phase.json remembers it.
    pub finale: Option<String>,
}

/// Deaths in one tick that are one event (SPEC 3).
pub const MASS_DEATH: usize = 3;
/// CPU pressure (some avg10, percent) above which silence proves nothing.
const CPU_PRESSURE_MAX: f64 = 80.0;
/// Memory pressure (full avg10, percent) above which silence proves nothing.
const MEMORY_PRESSURE_MAX: f64 = 20.0;

impl Fleet {
    /// Gathers the fleet's facts. `next` has this tick's beliefs.
    pub fn new(config: &Config, previous: &State, next: &State, seen: &Observation) -> Fleet {
        let blind = match &seen.server {
            crate::model::seen::ServerSeen::Unknown { why } => Some(why.clone()),
            crate::model::seen::ServerSeen::Absent | crate::model::seen::ServerSeen::Alive(_) => None,
        };
        Fleet {
            paused: paused(&seen.markers, &seen.now),
            down: seen.markers.down.is_some(),
            blind,
            mass_death: mass_death(config, previous, next),
            accounts_held: accounts_held(config, previous, next, seen),
            starved: starved(seen),
            limits: Accounts::new(config, previous, next, seen),
            woken: super::activity::gap_excess_s(config, previous, seen) > 0.0,
            stage: super::plan::stage(config, &next.phase, seen.branch.as_ref()),
            last_phase: Some(next.phase.id.clone()).filter(|id| !id.is_empty()),
            finale: next.phase.finale.clone(),
        }
    }
}

/// Is this pause in force now? The reason, if so.
pub fn paused(markers: &crate::model::seen::Markers, now: &Now) -> Option<String> {
    let paused = markers.paused.as_ref()?;
    if paused.until.is_some_and(|until| now.wall >= until) {
        return None;
    }
    Some(if paused.reason.is_empty() { "no reason given".to_owned() } else { paused.reason.clone() })
}

/// Units whose life ended between the last tick and this one, if they are many.
fn mass_death(config: &Config, previous: &State, next: &State) -> BTreeMap<UnitName, usize> {
    let was_alive = |name: &UnitName| {
        previous.units.get(name).is_some_and(|state| state.seen.process.is_some() && state.ending.is_none())
    };
    let is_dead = |name: &UnitName| {
        next.units
            .get(name)
            .is_some_and(|state| state.seen.process.is_none() && state.seen.state == ScreenState::Dead)
    };
    let mut dead: Vec<(usize, &UnitName)> = config
        .units
        .iter()
        .filter(|(name, unit)| {
            let task = unit.agent().is_some_and(|agent| agent.kind == AgentKind::Task);
            // Processes end one by one, each for its own reason.
            !task && unit.process().is_none() && was_alive(name) && is_dead(name)
        })
        .map(|(name, unit)| (unit.position, name))
        .collect();
    if dead.len() < MASS_DEATH {
        return BTreeMap::new();
    }
    dead.sort();
    dead.into_iter().enumerate().map(|(turn, (_, name))| (name.clone(), turn)).collect()
}

/// Accounts on which a unit shows an auth or billing error, or ended after one: restarting or prompting others would
/// make it worse. A person who stops that unit, approves or restarts it lifts the hold.
fn accounts_held(
    config: &Config,
    previous: &State,
    next: &State,
    seen: &Observation,
) -> BTreeMap<String, String> {
    let mut held = BTreeMap::new();
    for (name, unit) in &config.units {
        let (Some(agent), Some(state)) = (unit.agent(), next.units.get(name)) else { continue };
        let shown = match (state.seen.state, state.seen.substate) {
            (ScreenState::Error, Some(Substate::Auth)) => Some("auth"),
            (ScreenState::Error, Some(Substate::Billing)) => Some("billing"),
            _ => None,
        };
        let down = seen.markers.down.is_some()
            || seen.units.get(name).is_some_and(|seen| seen.markers.down.is_some());
        let told = previous.units.get(name).and_then(|before| before.attend.told.as_deref());
        let ended = state.seen.process.is_none() && unit.enabled && !down;
        let left = told.filter(|told| ended && matches!(*told, "auth" | "billing"));
        match (shown, left) {
            (Some(what), _) => held.insert(agent.account.clone(), format!("`{name}` shows an {what} error")),
            (None, Some(what)) => {
                held.insert(agent.account.clone(), format!("`{name}` ended after an {what} error"))
            }
            (None, None) => None,
        };
    }
    held
}

fn starved(seen: &Observation) -> Option<String> {
    let over = |value: Option<f64>, max: f64| value.filter(|v| *v > max);
    if let Some(cpu) = over(seen.host.cpu_pressure, CPU_PRESSURE_MAX) {
        return Some(format!(
            "the machine is starved of CPU (pressure {cpu:.0} % > {CPU_PRESSURE_MAX:.0} %)"
        ));
    }
    over(seen.host.memory_pressure, MEMORY_PRESSURE_MAX).map(|memory| {
        format!("the machine is short of memory (pressure {memory:.0} % > {MEMORY_PRESSURE_MAX:.0} %)")
    })
}

/// How long ago a person who is attached pressed a key, if that was within the last minute. A key press of tomorrow is
/// no fact: the clock was set back since.
pub fn typed_ago_s(pane: &AlivePane, now: &Now) -> Option<f64> {
    let typed = pane.typed_at.filter(|_| pane.attached > 0)?;
    let ago = now.wall.since_s(typed);
    (-TYPING_S..TYPING_S).contains(&ago).then_some(ago)
}

/// What a policy may look at for one unit.
#[derive(Clone, Copy, Debug)]
pub struct UnitContext<'a> {
    /// The config.
    pub config: &'a Config,
    /// The clocks.
    pub now: &'a Now,
    /// The fleet's facts.
    pub fleet: &'a Fleet,
    /// The unit's name.
    pub name: &'a UnitName,
    /// The unit's config.
    pub unit: &'a Unit,
    /// What was seen of it.
    pub seen: &'a Seen,
    /// All units as the last tick left them: for looking at account mates.
    pub before: &'a State,
    /// The unit's state before any policy folded: what a fold may read of other policies' slices, in whatever order
    /// they are folded.
    pub unfolded: &'a UnitState,
    /// The unit's activity clocks, this tick included.
    pub clocks: &'a UnitClocks,
    /// The jobs that units wait for.
    pub jobs: &'a BTreeMap<String, JobSeen>,
}

/// Times that a pane is to leave its mode, before a person is told. With the pauses: a minute.
pub const MODE_TRIES: u32 = 5;

static NOTHING_SEEN: Seen = Seen {
    pane: PaneSeen::Unknown,
    unseen: None,
    foreign: None,
    adoptable: None,
    checkpoint: None,
    markers: NO_MARKERS,
    transcript: None,
    tools_cpu_ms: None,
    tree: None,
    buffer: None,
    failed: None,
    termed: false,
    process: None,
    crashed_on: false,
    buffers: Vec::new(),
    cooperation: None,
};
const NO_MARKERS: crate::model::seen::Markers =
    crate::model::seen::Markers { down: None, paused: None, waiting_until: None, restart: None };
static NO_CLOCKS: std::sync::LazyLock<UnitClocks> = std::sync::LazyLock::new(UnitClocks::default);
static NO_STATE: std::sync::LazyLock<UnitState> = std::sync::LazyLock::new(UnitState::default);

impl<'a> UnitContext<'a> {
    /// The view of one unit.
    pub fn new(
        config: &'a Config,
        seen: &'a Observation,
        fleet: &'a Fleet,
        previous: &'a State,
        next: &'a State,
        name: &'a UnitName,
        unit: &'a Unit,
    ) -> UnitContext<'a> {
        UnitContext {
            config,
            now: &seen.now,
            fleet,
            name,
            unit,
            seen: seen.units.get(name).unwrap_or(&NOTHING_SEEN),
            before: previous,
            unfolded: next.units.get(name).unwrap_or(&NO_STATE),
            clocks: next.clocks.units.get(name).unwrap_or(&NO_CLOCKS),
            jobs: &seen.jobs,
        }
    }

    /// How a job stands that this unit waits for. [`JobSeen::None`]: its start was recorded and did not happen (we were
    /// killed in between), or its folder was removed; ordering it again under the same id starts it at most once.
    pub fn job(&self, id: &str) -> &'a JobSeen {
        self.jobs.get(id).unwrap_or(&JobSeen::None)
    }

    /// The living pane, if one was seen.
    pub fn alive(&self) -> Option<&'a AlivePane> {
        match &self.seen.pane {
            PaneSeen::Alive(pane) => Some(pane),
            PaneSeen::Unknown | PaneSeen::Absent | PaneSeen::Dead { .. } => None,
        }
    }

    /// The living process, if one was seen.
    pub fn process(&self) -> Option<Process> {
        match self.run() {
            Some(RunSeen::Alive { process, .. }) => *process,
            Some(
                RunSeen::Unknown { .. } | RunSeen::Absent | RunSeen::Pending { .. } | RunSeen::Ended { .. },
            )
            | None => self.alive().map(|pane| Process { pid: pane.pid, start: pane.pid_start }),
        }
    }

    /// How the run of a process outside tmux stands; None for what lives in a pane, and when nobody looked.
    pub fn run(&self) -> Option<&'a RunSeen> {
        self.seen.process.as_ref().map(|process| &process.run)
    }

    /// It was seen to live, in its pane or as a run.
    pub fn is_running(&self) -> bool {
        match self.run() {
            Some(RunSeen::Alive { .. }) => true,
            Some(
                RunSeen::Unknown { .. } | RunSeen::Absent | RunSeen::Pending { .. } | RunSeen::Ended { .. },
            )
            | None => self.alive().is_some(),
        }
    }

    /// It was seen to be there no more: no session, or no run.
    pub fn is_gone(&self) -> bool {
        match self.run() {
            Some(RunSeen::Absent | RunSeen::Ended { .. }) => true,
            Some(RunSeen::Unknown { .. } | RunSeen::Pending { .. } | RunSeen::Alive { .. }) => false,
            None => matches!(self.seen.pane, PaneSeen::Absent),
        }
    }

    /// Why nothing is known of it now, if so.
    pub fn blind(&self) -> Option<String> {
        match (self.unit.process(), self.run()) {
            (Some(_), Some(RunSeen::Unknown { why })) => Some(format!("its host could not be asked ({why})")),
            (Some(_), _) => None,
            (None, _) => {
                self.fleet.blind.as_ref().map(|why| format!("blind: tmux could not be asked ({why})"))
            }
        }
    }

    /// The agent part of the config; None for a service.
    pub fn agent(&self) -> Option<&'a Agent> {
        self.unit.agent()
    }

    /// Wanted = enabled, and neither it nor the fleet is marked down.
    pub fn is_wanted(&self) -> bool {
        self.unit.enabled && !self.fleet.down && self.seen.markers.down.is_none()
    }

    /// Seconds since the last activity on any clock; None when no clock is known.
    pub fn idle_s(&self) -> Option<f64> {
        super::activity::last_change(self.clocks).map(|changed| self.now.awake_s.since_s(changed))
    }

    /// A person is attached and typed just now.
    pub fn person_types(&self) -> Option<String> {
        let ago = typed_ago_s(self.alive()?, self.now)?;
        Some(format!("a person is attached and typed {ago:.0} s ago (< {TYPING_S:.0} s)"))
    }

    /// Copy mode swallows keys: it is left when nobody looks at it, and is a hold otherwise.
    pub fn leave_mode(&self, state: &UnitState, claim: Claim, label: &str, out: &mut Proposals) {
        let Some(pane) = self.alive() else { return };
        if let Some(why) = self.stays_in_mode(state, out) {
            return out.hold(label, why);
        }
        let why = Reason::new("mode.leave", "copy mode swallows keys, and nobody is attached", vec![]);
        let action = Action::LeaveMode { pane: pane.pane.clone() };
        out.want(claim, "leave copy mode", What::Act(action), why);
    }

    /// Why the mode is not left now, if so. Each try waits longer than the one before, and the last one is a person's.
    pub fn stays_in_mode(&self, state: &UnitState, out: &mut Proposals) -> Option<String> {
        if self.alive().is_some_and(|pane| pane.attached > 0) {
            return Some("copy mode, and a person is attached".into());
        }
        if state.attend.mode_tries >= MODE_TRIES {
            return Some("its pane stays in copy mode or another mode; waits for a person".into());
        }
        let left = self.mode_pause_s(state);
        if left > 0.0 {
            out.due_in(left);
            return Some(
                "its pane is still in copy mode or another mode; it is left again after a pause".into(),
            );
        }
        None
    }

    /// Seconds until the mode may be left again, or until the last try has failed.
    pub fn mode_pause_s(&self, state: &UnitState) -> f64 {
        let Some(at) = state.attend.mode_awake_s else { return 0.0 };
        2f64.powi(state.attend.mode_tries.min(MODE_TRIES) as i32) - self.now.awake_s.since_s(at)
    }

    /// Why no policy may do anything to this unit now; None when it may. A person's orders are not bound by it.
    pub fn gate(&self, state: &UnitState, least: Watch) -> Option<String> {
        if let Some(why) = self.blind() {
            return Some(why);
        }
        if !self.unit.enabled {
            return Some("not enabled in the config".into());
        }
        if state.seen.foreign {
            let whose = self.seen.foreign.clone().unwrap_or_default();
            return Some(format!("the session `{}` is not ours ({whose})", self.unit.session));
        }
        if let Some(why) = &self.fleet.paused {
            return Some(format!("the fleet is paused: {why}"));
        }
        if let Some(why) = paused(&self.seen.markers, self.now) {
            return Some(format!("paused: {why}"));
        }
        if let Some(why) = super::phase::rests(self) {
            return Some(why);
        }
        if self.unit.watch < least {
            return Some(
                format!("watch is less than needed ({:?} < {least:?})", self.unit.watch).to_lowercase(),
            );
        }
        None
    }

    /// Is the unit's breaker open?
    pub fn breaker_open(state: &UnitState) -> bool {
        matches!(state.restart.breaker, Breaker::Open { .. })
    }

    /// The account is held by an auth or billing error: why.
    pub fn account_held(&self) -> Option<String> {
        let agent = self.agent()?;
        let why = self.fleet.accounts_held.get(&agent.account)?;
        Some(format!("account `{}` is held: {why}", agent.account))
    }
}

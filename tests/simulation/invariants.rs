//! What must hold in every tick, whatever goes wrong. What is about one effect alone is in `host.rs`, where it happens.
//!
//! Each has a name; a failure says it. The truth is asked of the world, never of the watchdog's own memory, except where
//! the books are compared with each other.

use super::cli::{Kind, Play};
use super::files::Disk;
use super::world::{Arrival, World};
use std::collections::{BTreeMap, BTreeSet};
use watchkeeper::base::time::Wall;
use watchkeeper::config::{Config, Unit, WakeWhen};
use watchkeeper::detect::pause;
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::action::{Action, Signal};
use watchkeeper::model::seen::{PaneSeen, ScreenState};
use watchkeeper::policy::proposal::{Claim, EventKind, Origin, Proposal, What};
use watchkeeper::policy::{POLICIES, decide, decide_with};
use watchkeeper::state::unit::{Breaker, DeliveryOutcome, EndCause, EndStep, Purpose, UnitState};

/// Most heals of one unit within [`WINDOW_MS`] (SPEC 6.4).
const HEALS_MAX: usize = 5;
const WINDOW_MS: i64 = 900_000;
const BREAKER_MS: i64 = 600_000;
const BACKOFF_MS: i64 = 30_000;
const BACKOFF_MAX_MS: i64 = 600_000;
const STABLE_MS: i64 = 1_800_000;
/// The clocks of a tick and of its effects are a little apart.
const TRIFLE_MS: i64 = 50;

/// What is known of one unit's past, from the truth.
#[derive(Clone, Debug, Default)]
struct Past {
    heals: Vec<i64>,
    opened: Option<i64>,
    tried: bool,
    /// Time that somebody looked at it without any change, ms.
    idle_ms: i64,
    looked_at: i64,
    /// Nudges since the agent last worked by itself.
    nudges: u32,
    /// The last wake or run: local wall clock, and the jumps until then.
    last_wake: Option<(Wall, u32)>,
    kickoffs: BTreeMap<i32, (i64, u32)>,
}

/// The markers as they stood when the tick began.
#[derive(Clone, Debug, Default)]
struct Markers {
    down: bool,
    paused: bool,
}

#[derive(Debug)]
pub struct Checker {
    past: BTreeMap<String, Past>,
    thorough: bool,
    markers: BTreeMap<String, Markers>,
    fleet: Markers,
    gap_ms: i64,
    looked_at: i64,
    /// The wall clock jumped: appointments made before mean nothing.
    jumps: u32,
    handled: BTreeSet<String>,
    texts: BTreeMap<String, u32>,
    /// Alerts that some file owes or owed.
    pub owed: BTreeMap<String, String>,
    mass_started: Vec<(i64, Vec<String>)>,
    pub effects: u64,
    pub arrivals: u64,
    /// Deliveries of people's texts that ended badly, by request.
    pub failed_texts: BTreeSet<String>,
    ticks: u64,
}

impl Checker {
    pub fn new(config: &Config, thorough: bool) -> Checker {
        Checker {
            past: config.units.keys().map(|name| (name.to_string(), Past::default())).collect(),
            thorough,
            markers: BTreeMap::new(),
            fleet: Markers::default(),
            gap_ms: 0,
            looked_at: 0,
            jumps: 0,
            handled: BTreeSet::new(),
            texts: BTreeMap::new(),
            owed: BTreeMap::new(),
            mass_started: Vec::new(),
            effects: 0,
            arrivals: 0,
            failed_texts: BTreeSet::new(),
            ticks: 0,
        }
    }

    pub fn jumped(&mut self) {
        self.jumps += 1;
    }

    /// Before a tick: how things stand.
    pub fn before(&mut self, world: &World, disk: &mut Disk, config: &Config) {
        let in_force = |disk: &Disk, path: &str| {
            disk.get(path).is_some_and(|bytes| {
                let paused = pause::parse(&String::from_utf8_lossy(bytes));
                paused.until.is_none_or(|until| world.local() < until)
            })
        };
        self.fleet = Markers { down: disk.get("down").is_some(), paused: in_force(disk, "PAUSED") };
        for name in config.units.keys() {
            let marker = |file: &str| format!("units/{name}/{file}");
            let markers = Markers {
                down: disk.get(&marker("down")).is_some(),
                paused: in_force(disk, &marker("PAUSED")),
            };
            self.markers.insert(name.to_string(), markers);
        }
        disk.written.clear();
        disk.failed = false;
    }

    /// After a tick: everything that must hold.
    pub fn after(
        &mut self,
        world: &mut World,
        disk: &mut Disk,
        config: &Config,
        report: &TickReport,
        killed: bool,
    ) {
        self.ticks += 1;
        self.effects += world.effects.len() as u64;
        self.forget_destroyed(world, disk);
        let arrivals = world.arrivals.clone();
        for arrival in &arrivals {
            self.arrived(world, arrival);
        }
        self.starts(world, config, report);
        self.looks(world, config, report, disk, killed);
        if !killed {
            for granted in &report.decision.granted {
                self.granted(world, config, report, granted);
            }
            self.fleet_rules(world, config, report, disk);
            self.events(world, report);
            books(world, report);
            if self.thorough && self.ticks % 8 == 0 {
                same_answer(world, config, report, self.ticks);
            }
        }
        self.mail(world, disk, report, killed);
    }

    /// Somebody destroyed a unit's memory: what it counted is forgotten with it.
    fn forget_destroyed(&mut self, world: &mut World, disk: &mut Disk) {
        for path in std::mem::take(&mut disk.destroyed) {
            if path == "mail.json" {
                self.handled.clear();
                self.owed.retain(|_, owner| owner != "mail.json");
            }
            let Some(unit) = path.strip_prefix("units/").and_then(|rest| rest.strip_suffix("/unit.json"))
            else {
                continue;
            };
            if let Some(truth) = world.units.get_mut(unit) {
                truth.epoch += 1;
                truth.acts = 0;
            }
            if let Some(past) = self.past.get_mut(unit) {
                *past = Past { idle_ms: past.idle_ms, looked_at: past.looked_at, ..Past::default() };
            }
            self.owed.retain(|_, owner| owner != unit);
        }
    }

    /// A text reached an agent: once, and not too soon.
    fn arrived(&mut self, world: &mut World, arrival: &Arrival) {
        self.arrivals += 1;
        if arrival.sent.person {
            if !arrival.sent.buffers.is_empty() {
                world.violate("draft", format!("{}: a person's text was submitted with ours", arrival.unit));
            }
            return;
        }
        let unit = &arrival.unit;
        let Some(past) = self.past.get_mut(unit) else { return };
        for buffer in &arrival.sent.buffers {
            let key = format!("{unit} {} {buffer}", arrival.epoch);
            let times = self.texts.entry(key).or_default();
            *times += 1;
            if *times > 1 {
                world.violate(
                    "once-only-text",
                    format!("{unit}: the text of {buffer} arrived {times} times", times = *times),
                );
            }
        }
        if arrival.sent.text.starts_with("Please have a look at item ") {
            let times = self.texts.entry(arrival.sent.text.clone()).or_default();
            *times += 1;
            if *times > 1 {
                world.violate("once-only-text", format!("{unit}: `{}` arrived twice", arrival.sent.text));
            }
        }
        let truth = world.units.get(unit).cloned();
        if truth.is_some_and(|truth| !truth.kickoff.is_empty() && arrival.sent.text == truth.kickoff) {
            let born = world.living(unit).map_or(0, |pane| pane.cli.born);
            let (of, times) = past.kickoffs.entry(arrival.pid).or_insert((born, 0));
            if *of != born {
                (*of, *times) = (born, 0);
            }
            *times += 1;
            if *times > 1 {
                world.violate(
                    "once-only-kickoff",
                    format!("{unit}: its first prompt arrived {times} times", times = *times),
                );
            }
        }
    }

    /// Starts that happened: the restart budget, its backoff, its breaker, the stagger.
    fn starts(&mut self, world: &mut World, config: &Config, report: &TickReport) {
        for effect in world.effects.clone() {
            if !effect.happened || !matches!(effect.what, "new-session" | "respawn") {
                continue;
            }
            let granted = report.decision.granted.iter().find(|granted| granted.unit.as_str() == effect.unit);
            let Some(granted) = granted else { continue };
            let Some(past) = self.past.get_mut(&effect.unit) else { continue };
            let (unit, t) = (&effect.unit, effect.t);
            if granted.why.rule != "restart.heal" {
                continue;
            }
            let said = |h: &&watchkeeper::state::mail::Handled| {
                h.said.contains(&format!("`{unit}`"))
                    && (h.said.contains("approved;") || h.said.contains("circuit breaker closed"))
            };
            let known = &report.before.mail.handled;
            if report
                .decision
                .next
                .mail
                .handled
                .iter()
                .filter(said)
                .any(|h| known.iter().all(|k| k.id != h.id))
            {
                // Approved in this very tick.
                past.heals.clear();
                past.opened = None;
            }
            let recent = past.heals.iter().filter(|at| t - **at < WINDOW_MS).count();
            if recent >= HEALS_MAX {
                world.violate("restart-budget", format!("{unit}: heal number {} within 900 s", recent + 1));
            }
            if let Some(last) = past.heals.last() {
                let n = past.heals.len().min(20) as u32;
                let needed = (BACKOFF_MS << (n - 1).min(10)).min(BACKOFF_MAX_MS);
                if t - last < needed - TRIFLE_MS {
                    let detail = format!(
                        "{unit}: heal {} came {} ms after the last, backoff is {needed} ms",
                        n + 1,
                        t - last
                    );
                    world.violate("restart-backoff", detail);
                }
            }
            if let Some(opened) = past.opened {
                if t - opened < BREAKER_MS - TRIFLE_MS {
                    world.violate(
                        "restart-breaker",
                        format!("{unit}: healed {} ms after its breaker had to open", t - opened),
                    );
                }
                past.tried = true;
                past.opened = None;
            }
            past.heals.push(t);
            for (at, units) in &self.mass_started {
                let turn = units.iter().position(|name| name == unit);
                let stagger_ms = (config.watchdog.stagger_s * 1000.0) as i64;
                if let Some(turn) = turn.filter(|turn| t - at < *turn as i64 * stagger_ms - TRIFLE_MS) {
                    let detail =
                        format!("{unit}: started {} ms after a mass death, its turn was {turn}", t - at);
                    world.violate("stagger", detail);
                }
            }
        }
    }

    /// What every look tells: idleness that was watched, lives that were long enough, deaths that were seen.
    fn looks(&mut self, world: &mut World, config: &Config, report: &TickReport, disk: &Disk, killed: bool) {
        let t = world.t;
        let Some(listed) = world.looked.clone() else { return };
        let interval_ms = (config.watchdog.signal_interval_s * 1000.0) as i64;
        let gap = t - self.looked_at;
        let usual = (3 * interval_ms).max(self.gap_ms * 3 / 2);
        for (name, unit) in &config.units {
            let name = name.as_str();
            let Some(past) = self.past.get_mut(name) else { continue };
            let Some(pane) = world.living(name) else {
                past.idle_ms = 0;
                continue;
            };
            if !listed.contains(&pane.id) {
                continue;
            }
            let transcript = world.units.get(name).is_some_and(|truth| truth.transcript);
            let cli = &pane.cli;
            // CPU that was used and gone between two looks leaves no trace that could be sampled.
            let cpu_at = if cli.kind() == Some(Kind::Tool) { cli.cpu_at } else { 0 };
            let mut moved = cli.content_at.max(cpu_at).max(cli.born);
            if transcript {
                moved = moved.max(cli.transcript_at);
            }
            if moved > past.looked_at || past.looked_at == 0 {
                past.idle_ms = 0;
                if cli.is_working() && t - cli.content_at < 1000 {
                    past.nudges = 0;
                }
            } else {
                past.idle_ms += (t - past.looked_at).min(usual);
            }
            past.looked_at = t;
            let age = t - cli.born;
            if age >= STABLE_MS {
                past.heals.clear();
            }
            if age as f64 >= unit.ladder.quiet_s * 1000.0 {
                past.tried = false;
                past.opened = None;
            }
        }
        self.looked_at = t;
        if gap > interval_ms / 2 && !killed {
            self.gap_ms = gap;
        }
        if killed {
            return;
        }
        self.deaths(world, config, report, disk, t);
    }

    fn deaths(&mut self, world: &World, config: &Config, report: &TickReport, disk: &Disk, t: i64) {
        let mut died = Vec::new();
        for (name, unit) in &config.units {
            let Some(after) = report.decision.next.units.get(name) else { continue };
            let before = report.before.units.get(name).cloned().unwrap_or_default();
            let task = world.units.get(name.as_str()).is_some_and(|truth| truth.task);
            // What was not recorded is seen anew at the next look.
            let recorded = || {
                disk.json(&format!("units/{name}/unit.json"))
                    .is_some_and(|file| file["seen"]["state"] == "dead")
            };
            let gone = after.seen.process.is_none() && after.seen.state == ScreenState::Dead && recorded();
            if gone && before.seen.process.is_some() && !task && before.ending.is_none() {
                died.push((unit.position, name.to_string()));
            }
            let Some(past) = self.past.get_mut(name.as_str()) else { continue };
            let marked = self.fleet.down || self.markers.get(name.as_str()).is_some_and(|m| m.down);
            if !gone || task || marked || !unit.enabled || past.opened.is_some() {
                continue;
            }
            let recent = past.heals.iter().filter(|at| t - **at < WINDOW_MS).count();
            if recent >= HEALS_MAX || past.tried {
                past.opened = Some(t);
                past.tried = false;
            }
        }
        self.mass_started.retain(|(at, _)| t - at < 60_000);
        if died.len() >= 3 {
            died.sort();
            self.mass_started.push((t, died.into_iter().map(|(_, name)| name).collect()));
        }
    }

    /// One thing that was granted.
    fn granted(&mut self, world: &mut World, config: &Config, report: &TickReport, granted: &Proposal) {
        let name = granted.unit.as_str();
        let (Some(unit), Some(past)) = (config.units.get(&granted.unit), self.past.get(name).cloned()) else {
            return;
        };
        let before = report.before.units.get(&granted.unit).cloned().unwrap_or_default();
        if granted.why.rule.is_empty() || granted.why.seen.is_empty() || granted.label.is_empty() {
            world.violate("reason", format!("{name}: {granted:?} has no reason"));
        }
        let unseen = report.seen.units.get(&granted.unit).is_none_or(|seen| seen.pane == PaneSeen::Unknown);
        if unseen && !matches!(granted.what, What::End(_)) {
            world.violate("blind", format!("{name}: `{}` although it was not seen", granted.label));
        }
        self.untouchable(world, unit, granted, &before);
        if granted.origin == Origin::Policy && touches(granted) {
            person(world, name, granted);
        }
        match (&granted.what, granted.claim) {
            (What::End(ending), _) if ending.cause == EndCause::Ladder => {
                proof(world, config, name, granted, &past, &before);
                let play = world.living(name).map(|pane| (pane.cli.play.clone(), pane.cli.error));
                let healthy = match granted.why.rule.as_str() {
                    "attend.shell" => play.as_ref().is_some_and(|(play, _)| *play != Play::Shell),
                    "attend.context" => play.as_ref().is_some_and(|(_, error)| *error != Some("context")),
                    _ => false,
                };
                if healthy {
                    world.violate(
                        "healthy-kill",
                        format!("{name}: `{}` ({}) while {play:?}", granted.label, granted.why.rule),
                    );
                }
            }
            (What::Deliver(_), Claim::Nudge) => {
                disturbance(world, config, name, granted, &past);
                let tiers = unit.ladder.tiers.len() as u32;
                if let Some(past) = self.past.get_mut(name) {
                    past.nudges += 1;
                    if past.nudges > tiers {
                        world.violate(
                            "endless-nudges",
                            format!("{name}: nudge {} without any work between", past.nudges),
                        );
                    }
                }
            }
            (_, Claim::Wake | Claim::Start) if granted.by == "wake" => {
                self.wake(world, config, report, granted, &before)
            }
            (What::Act(Action::Signal { signal: Signal::Term, .. }), _) => term(world, config, name, &before),
            (What::Act(_) | What::Deliver(_) | What::End(_), _) => {}
        }
    }

    /// A wake or a task's run: once per time that it is due.
    fn wake(
        &mut self,
        world: &mut World,
        config: &Config,
        report: &TickReport,
        granted: &Proposal,
        before: &UnitState,
    ) {
        let wake =
            config.units.get(&granted.unit).and_then(Unit::agent).and_then(|agent| agent.wake.as_ref());
        let (Some(wake), Some(past)) = (wake, self.past.get_mut(granted.unit.as_str())) else { return };
        let needed_s = match &wake.when {
            WakeWhen::Interval { every_s } => *every_s,
            WakeWhen::Cron { .. } => 60.0,
        };
        let now = report.seen.now.wall;
        let failed = before.delivery.past.iter().rev().find(|past| past.purpose == Purpose::Wake);
        let failed = failed.is_some_and(|past| past.outcome != DeliveryOutcome::Seen);
        if let Some((last, jumps)) = past.last_wake.filter(|_| !failed) {
            let passed = now.since_s(last);
            if jumps == self.jumps && passed < needed_s {
                world.violate(
                    "once-only-wake",
                    format!("{}: woken again after {passed} s of {needed_s} s", granted.unit),
                );
            }
        }
        past.last_wake = Some((now, self.jumps));
    }

    /// Paused, down, disabled or limited: nothing that no person ordered.
    fn untouchable(&self, world: &mut World, unit: &Unit, granted: &Proposal, before: &UnitState) {
        let name = granted.unit.as_str();
        let markers = self.markers.get(name).cloned().unwrap_or_default();
        let down = markers.down || self.fleet.down;
        let paused = markers.paused || self.fleet.paused;
        if granted.origin == Origin::Person {
            let stops = matches!(granted.claim, Claim::End | Claim::Order);
            let types = matches!(granted.claim, Claim::Deliver | Claim::Operator);
            if down && !stops && !types {
                world.violate(
                    "untouchable",
                    format!("{name}: `{}` although it is marked down", granted.label),
                );
            }
            return;
        }
        let why = match (unit.enabled, down, paused) {
            (false, _, _) => "not enabled",
            (_, true, _) => "marked down",
            (_, _, true) => "paused",
            (true, false, false) => {
                return self.limited(world, granted, before);
            }
        };
        world.violate("untouchable", format!("{name}: `{}` although it is {why}", granted.label));
    }

    fn limited(&self, world: &mut World, granted: &Proposal, before: &UnitState) {
        let name = granted.unit.as_str();
        let Some(pane) = world.living(name) else { return };
        let shows = pane.cli.banner && matches!(pane.cli.play, Play::Idle | Play::LimitMenu);
        let until = before.limit.active.as_ref().map(|limit| limit.until);
        let early = pane.cli.banner_until.is_some_and(|until| world.wall < until) && self.jumps == 0;
        let ends_already = granted.claim == Claim::End;
        if shows && early && touches(granted) && granted.label != "close limit menu" && !ends_already {
            let detail =
                format!("{name}: `{}` although it is limited (believed until {until:?})", granted.label);
            world.violate("untouchable", detail);
        }
    }

    /// Rules about many units at once.
    fn fleet_rules(&mut self, world: &mut World, config: &Config, report: &TickReport, disk: &Disk) {
        let granted = &report.decision.granted;
        let disruptions = granted.iter().filter(|p| p.is_disruption() && p.origin == Origin::Policy).count();
        if disruptions > 2 {
            world.violate("disruption-cap", format!("{disruptions} disruptions in one tick, 2 are allowed"));
        }
        let mut units = BTreeSet::new();
        for p in granted {
            if !units.insert(p.unit.as_str()) {
                world.violate("one-act-per-unit", format!("{}: two grants in one tick", p.unit));
            }
        }
        self.canary(world, config, report);
        // A quiet tick writes nothing but the heartbeat and the clocks.
        let quiet =
            granted.is_empty() && report.decision.events.is_empty() && report.before == report.decision.next;
        let extra = disk
            .written
            .iter()
            .find(|path| !matches!(path.as_str(), "heartbeat.json" | "clocks.json" | "status"));
        if let Some(path) =
            extra.filter(|path| quiet && !path.starts_with("quarantine") && !path.starts_with("outbox"))
        {
            world.violate("quiet-writes", format!("{path} was written although nothing changed"));
        }
    }

    /// One probe per account at a time, until one succeeded.
    fn canary(&self, world: &mut World, config: &Config, report: &TickReport) {
        let account =
            |name: &str| config.units.get(name).and_then(Unit::agent).map(|agent| agent.account.clone());
        let kind = |name: &str| {
            report
                .before
                .units
                .get(name)
                .and_then(|state| state.limit.active.as_ref())
                .map(|limit| limit.kind.clone())
        };
        let probes: Vec<&str> = report
            .decision
            .granted
            .iter()
            .filter(|p| p.claim == Claim::Probe)
            .map(|p| p.unit.as_str())
            .collect();
        for unit in &probes {
            let mates = || {
                config
                    .units
                    .keys()
                    .filter(|mate| mate.as_str() != *unit && account(mate.as_str()) == account(unit))
            };
            let since = report
                .before
                .units
                .get(*unit)
                .and_then(|state| state.limit.active.as_ref())
                .map(|limit| limit.armed);
            let freed = mates().any(|mate| {
                report.before.units.get(mate).is_some_and(|state| {
                    state.limit.freed.is_some_and(|freed| since.is_none_or(|since| freed > since))
                })
            });
            let rival = mates().find(|mate| {
                let probing = world.living(mate.as_str()).is_some_and(|pane| {
                    pane.cli.banner
                        && report
                            .before
                            .units
                            .get(*mate)
                            .and_then(|s| s.limit.active.as_ref())
                            .is_some_and(|l| l.probing_awake_s.is_some())
                });
                (probing || probes.contains(&mate.as_str())) && kind(mate.as_str()) == kind(unit)
            });
            if let Some(rival) = rival.filter(|_| !freed) {
                world.violate(
                    "canary",
                    format!("{unit} and {rival} probe account {:?} at the same time", account(unit)),
                );
            }
        }
    }

    /// Every change has its event.
    fn events(&self, world: &mut World, report: &TickReport) {
        for (name, after) in &report.decision.next.units {
            let before = report.before.units.get(name).cloned().unwrap_or_default();
            let Some(change) = changed(&before, after) else { continue };
            let told = report.decision.events.iter().any(|event| {
                event.unit.as_deref() == Some(name.as_str()) || event.kind == EventKind::Request
            });
            let state_told =
                report.decision.events.iter().any(|event| {
                    event.unit.as_deref() == Some(name.as_str()) && event.kind == EventKind::State
                });
            if !told || (change == "state" && !state_told) {
                world.violate("event-for-change", format!("{name}: its {change} changed without an event"));
            }
        }
        for granted in &report.decision.granted {
            let told = report.decision.events.iter().any(|event| {
                event.unit.as_deref() == Some(granted.unit.as_str())
                    && event.kind == EventKind::Act
                    && event.why.is_some()
            });
            if !told {
                world.violate(
                    "event-for-change",
                    format!("{}: `{}` without an event", granted.unit, granted.label),
                );
            }
        }
    }

    /// Requests are taken once; alerts that are owed reach the outbox, once.
    fn mail(&mut self, world: &mut World, disk: &Disk, report: &TickReport, killed: bool) {
        if !killed {
            let before: BTreeSet<&str> = report.before.mail.handled.iter().map(|h| h.id.as_str()).collect();
            let fresh = report.decision.next.mail.handled.iter().filter(|h| !before.contains(h.id.as_str()));
            for handled in fresh {
                if self.handled.contains(&handled.id) {
                    world.violate("once-only-request", format!("request {} was handled again", handled.id));
                }
            }
            for handled in
                report.decision.next.mail.handled.iter().filter(|_| disk.written.contains("mail.json"))
            {
                self.handled.insert(handled.id.clone());
            }
            let asked = report.decision.next.mail.handled.iter().filter(|h| !before.contains(h.id.as_str()));
            for handled in asked {
                let approved =
                    handled.said.contains("approved;") || handled.said.contains("circuit breaker closed");
                let lifted =
                    approved || handled.said.contains("starting") || handled.said.contains("restart ordered");
                for (name, past) in &mut self.past {
                    if handled.said.contains(&format!("`{name}`"))
                        || handled.said.contains("starting what does not run")
                    {
                        if approved {
                            past.heals.clear();
                        }
                        if lifted {
                            past.opened = None;
                            past.tried = false;
                        }
                    }
                }
            }
            for state in report.decision.next.units.values() {
                for past in &state.delivery.past {
                    let failed = past.outcome != DeliveryOutcome::Seen;
                    if let Some(request) = past.request.as_ref().filter(|_| failed) {
                        self.failed_texts.insert(request.clone());
                    }
                }
            }
        }
        self.alerts(world, disk);
    }

    /// Did the text of this request reach its agent?
    pub fn text_arrived(&self, request: &str) -> bool {
        self.texts.contains_key(&format!("Please have a look at item {request}."))
    }

    fn alerts(&mut self, world: &mut World, disk: &Disk) {
        let units: Vec<String> = self.past.keys().cloned().collect();
        for (owner, path) in units
            .iter()
            .map(|unit| (unit.clone(), format!("units/{unit}/unit.json")))
            .chain([("mail.json".to_owned(), "mail.json".to_owned())])
        {
            let Some(bytes) = disk.get(&path) else { continue };
            // Nothing owed is by far the usual case.
            if String::from_utf8_lossy(bytes).contains("\"owed\": []") {
                continue;
            }
            let Some(json) = disk.json(&path) else { continue };
            let owed = json.get("owed").and_then(|owed| owed.as_array()).cloned().unwrap_or_default();
            let overflow = owed.len() >= watchkeeper::state::mail::OWED_MAX;
            for id in owed.iter().filter_map(|owed| owed.get("id")?.as_str()) {
                self.owed.insert(id.to_owned(), owner.clone());
            }
            if overflow {
                self.owed.retain(|_, of| *of != owner);
            }
        }
        if disk.written.contains("outbox.jsonl") {
            let times = outbox(disk);
            for (id, times) in times.iter().filter(|(_, times)| **times > 1) {
                world.violate("alert-once", format!("alert {id} stands {times} times in the outbox"));
            }
        }
    }
}

/// Alerts in the outbox, by id, with how often.
pub fn outbox(disk: &Disk) -> BTreeMap<String, u32> {
    let mut times = BTreeMap::new();
    let bytes = disk.get("outbox.jsonl").unwrap_or_default();
    for line in String::from_utf8_lossy(bytes).lines() {
        let Ok(json) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let Some(id) = json.get("id").and_then(|id| id.as_str()) else { continue };
        *times.entry(id.to_owned()).or_default() += 1;
    }
    times
}

/// Does it reach the agent (and not only a buffer)?
fn touches(granted: &Proposal) -> bool {
    match &granted.what {
        What::Act(
            Action::LoadBuffer { .. }
            | Action::DropBuffer { .. }
            | Action::Mark { .. }
            | Action::Unmark { .. },
        ) => false,
        What::Act(_) | What::Deliver(_) | What::End(_) => true,
    }
}

/// A person at work in the pane is left alone.
fn person(world: &mut World, name: &str, granted: &Proposal) {
    let Some(pane) = world.living(name) else { return };
    let typing = pane
        .person
        .as_ref()
        .is_some_and(|_| pane.typed_at.is_some_and(|at| world.local().since_s(at).abs() < 59.0));
    // A delivery may be planned; the keys wait.
    let keys = match &granted.what {
        What::Act(
            Action::Paste { .. } | Action::Keys { .. } | Action::Respawn { .. } | Action::KillSession { .. },
        ) => true,
        What::End(ending) => ending.cause == EndCause::Ladder,
        What::Act(_) | What::Deliver(_) => false,
    };
    if typing && keys {
        world.violate("person", format!("{name}: `{}` while a person types", granted.label));
    }
}

/// The silence that a stall needs, ms.
fn silence(config: &Config, rule: &str) -> Option<i64> {
    let idle = config.watchdog.stall_idle_s;
    let seconds = match rule {
        "stall.idle" => idle,
        "stall.hung" => 4.0 * idle,
        "stall.overdue" => idle.min(config.watchdog.stall_grace_s),
        _ => return None,
    };
    Some((seconds * 1000.0) as i64)
}

/// A nudge needs idleness that was watched.
fn disturbance(world: &mut World, config: &Config, name: &str, granted: &Proposal, past: &Past) {
    let Some(needed) = silence(config, &granted.why.rule) else { return };
    if past.idle_ms < needed - TRIFLE_MS {
        let detail = format!(
            "{name}: `{}` ({}) after {} ms of watched idleness, {needed} ms are needed",
            granted.label, granted.why.rule, past.idle_ms
        );
        world.violate("disturbance", detail);
    }
    let max = (config.watchdog.wait_max_s * 1000.0) as i64;
    let wait = world.living(name).and_then(|pane| pane.cli.waits_until).map(|until| until - world.wall);
    if let Some(left) = wait.filter(|left| *left > 2000 && *left <= max && world.offset == 0) {
        world.violate("disturbance", format!("{name}: nudged although it waits for another {left} ms"));
    }
}

/// A kill needs proof: watched silence on every clock, and no veto.
fn proof(
    world: &mut World,
    config: &Config,
    name: &str,
    granted: &Proposal,
    past: &Past,
    before: &UnitState,
) {
    let Some(needed) = silence(config, &granted.why.rule) else { return };
    let needed = needed.min((config.watchdog.stall_idle_s * 1000.0) as i64);
    if past.idle_ms < needed - TRIFLE_MS {
        let detail = format!(
            "{name}: killed ({}) after {} ms of watched silence, {needed} ms are needed",
            granted.why.rule, past.idle_ms
        );
        world.violate("kill-proof", detail);
    }
    if !before.stall.approved {
        vetoes(world, name, "kill begins");
    }
}

/// Truths that forbid a kill (SPEC 6.4).
fn vetoes(world: &mut World, name: &str, when: &str) {
    let Some(pane) = world.living(name) else { return };
    let cli = &pane.cli;
    let t = world.t;
    let veto = if cli.banner && !cli.is_working() {
        Some("limited".to_owned())
    } else if cli.kind() == Some(Kind::Tool) {
        Some("a tool call that uses CPU".to_owned())
    } else if let Some(since) = cli.compacting_since.filter(|since| t - since < 590_000) {
        Some(format!("compacting for {} ms", t - since))
    } else if cli.composer.person {
        Some("a person's draft".to_owned())
    } else if pane.person.is_some() && pane.typed_at.is_some_and(|at| world.local().since_s(at).abs() < 800.0)
    {
        Some("a person is attached".to_owned())
    } else if cli.dialog_open() {
        Some("a dialog is open".to_owned())
    } else if cli.waits_until.is_some_and(|until| until - world.wall > 2000 && world.offset == 0) {
        Some("a declared wait".to_owned())
    } else {
        None
    };
    if let Some(veto) = veto {
        world.violate("kill-veto", format!("{name}: {when} in spite of: {veto}"));
    }
}

/// TERM: an ordered end waits for the end of the turn; the ladder's needs its proof to stand.
fn term(world: &mut World, config: &Config, name: &str, before: &UnitState) {
    let Some(ending) = &before.ending else { return };
    if ending.step != EndStep::Wanted {
        return;
    }
    match ending.cause {
        EndCause::Ordered | EndCause::Changed | EndCause::Phase => {
            let Some(pane) = world.living(name) else { return };
            let waited = (world.awake() - ending.since_awake_s.0) as f64 / 1000.0;
            let agent = world.units.get(name).is_some_and(|truth| truth.agent);
            if agent && pane.cli.is_working() && waited < config.watchdog.advance_grace_s - 0.1 {
                world.violate(
                    "mid-turn",
                    format!("{name}: an ordered end broke into its turn after {waited:.1} s"),
                );
            }
        }
        EndCause::Ladder if ending.why.contains("stale clocks") && !ending.why.contains("approved it") => {
            vetoes(world, name, "TERM is sent");
        }
        EndCause::Ladder | EndCause::Down | EndCause::Rerun => {}
    }
}

/// The first thing in a unit's file that changed and must have an event.
fn changed(before: &UnitState, after: &UnitState) -> Option<&'static str> {
    let breaker = |state: &UnitState| match state.restart.breaker {
        Breaker::Closed => 0,
        Breaker::Open { .. } => 1,
        Breaker::HalfOpen { .. } => 2,
    };
    let ending = |state: &UnitState| state.ending.as_ref().map(|ending| (ending.cause, ending.step.clone()));
    let limit = |state: &UnitState| state.limit.active.as_ref().map(|limit| limit.text.clone());
    if before.seen.state != after.seen.state || before.seen.process != after.seen.process {
        return Some("state");
    }
    if breaker(before) != breaker(after) {
        return Some("breaker");
    }
    if ending(before) != ending(after) {
        return Some("end");
    }
    if limit(before) != limit(after) {
        return Some("limit");
    }
    if before.delivery.past != after.delivery.past {
        return Some("deliveries");
    }
    if before.alerts != after.alerts {
        return Some("alerts");
    }
    None
}

/// The books balance: what was paid for is what was granted, neither more nor less.
fn books(world: &mut World, report: &TickReport) {
    for (name, after) in &report.decision.next.units {
        let before = report.before.units.get(name).cloned().unwrap_or_default();
        let granted: Vec<&Proposal> = report.decision.granted.iter().filter(|p| p.unit == *name).collect();
        // What was not recorded was dropped from the grants; its charge was not kept either.
        if granted.is_empty() && report.before.units.get(name).is_some_and(|b| b.acts != after.acts) {
            continue;
        }
        let count = |is: &dyn Fn(&&&Proposal) -> bool| granted.iter().filter(is).count() as u64;
        let heals = count(&|p| p.why.rule == "restart.heal");
        let starts =
            count(&|p| matches!(p.what, What::Act(Action::NewSession { .. } | Action::Respawn { .. })));
        let deliveries = count(&|p| matches!(p.what, What::Deliver(_)));
        let remedies = count(&|p| p.by == "stall");
        let continues = count(&|p| p.claim == Claim::Continue);
        let wakes = count(&|p| p.by == "wake");
        let rows = [
            ("acts", after.acts - before.acts.min(after.acts), granted.len() as u64),
            ("restarts", after.restart.total.saturating_sub(before.restart.total), heals),
            ("starts", after.launch.count.saturating_sub(before.launch.count), starts),
            ("deliveries", after.delivery.count.saturating_sub(before.delivery.count), deliveries),
            ("tiers", (after.stall.tier.saturating_sub(before.stall.tier)) as u64, remedies),
            ("wakes", u64::from(after.wake.last != before.wake.last), wakes),
        ];
        for (book, paid, due) in rows {
            if paid != due {
                world.violate("books", format!("{name}: {book}: {paid} paid, {due} granted"));
            }
        }
        let past = |state: &UnitState| state.restart.past_awake_s.last().copied();
        if heals == 1 && past(after) == past(&before) {
            world.violate("books", format!("{name}: a heal is not in its budget"));
        }
        if continues == 1 && after.attend.error_nudges != before.attend.error_nudges + 1 {
            world.violate("books", format!("{name}: a continue was not paid for"));
        }
    }
}

/// The same facts give the same answer, in whatever order the policies stand.
fn same_answer(world: &mut World, config: &Config, report: &TickReport, salt: u64) {
    let known = report.seen.units.keys().all(|name| config.units.contains_key(name))
        && report.seen.units.len() == config.units.len();
    if !known {
        return;
    }
    let again = decide(config, &report.before, &report.seen);
    if again.next != report.decision.next {
        world.violate("same-answer", "the same facts were decided differently".to_owned());
    }
    let mut policies = POLICIES.to_vec();
    let len = policies.len();
    policies.rotate_left(salt as usize % len);
    if salt % 2 == 0 {
        policies.reverse();
    }
    policies.swap(salt as usize / 7 % len, salt as usize / 3 % len);
    let shuffled = decide_with(&policies, config, &report.before, &report.seen);
    if shuffled.next != again.next || shuffled.granted != again.granted || shuffled.holds != again.holds {
        let order: Vec<&str> = policies.iter().map(|policy| policy.name).collect();
        let unit =
            again.next.units.iter().find(|(name, state)| shuffled.next.units.get(*name) != Some(*state));
        let difference = unit.map(|(name, state)| {
            let (a, b) = (format!("{state:#?}"), format!("{:#?}", shuffled.next.units.get(name)));
            let lines = a.lines().filter(|line| !b.contains(line.trim())).collect::<Vec<_>>().join(" ");
            format!("{name}: {lines}")
        });
        world.violate("any-order", format!("order {order:?} decides differently: {difference:?}"));
    }
}

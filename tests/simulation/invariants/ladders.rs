//! The ladders of cooperative services: one tier at a time and in order, with cooldown, quiet time and breaker; nothing
//! for who is well. And the recoveries of an agent from its checkpoint.
//!
//! What was done is read from the files that were committed, so that it counts also when the watchdog was killed right
//! after; whether it was right is asked of the world.

use super::cooperation::left_behind;
use super::{Checker, TRIFLE_MS};
use crate::cli::Ended;
use crate::cooperative::is_zombie;
use crate::files::Disk;
use crate::service::{ASKS, Service};
use crate::world::{Effect, World};
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;
use watchkeeper::config::{Config, Tier, Unit};
use watchkeeper::engine::tick::TickReport;

/// Last tiers in a row, after which the breaker is open (SPEC 8).
const FAILED_MAX: u32 = 3;
/// Other code is believed after this (policy/cooperation).
const STALE_LOOK_MS: i64 = 5000;
/// So long before a start a version stamp may be written and count as its own (policy/cooperation).
const STAMP_SLACK_S: f64 = 2.0;
/// A request is honoured for so long, ms (policy/operator), and a little.
const ASKED_MS: i64 = 700_000;
/// Who asks to be started anew waits for so long at most: for a look, and for a start that has to be made again.
const ASKS_MS: i64 = 20_000;

/// What is known of all of them.
#[derive(Debug, Default)]
pub struct Ladders {
    climbs: BTreeMap<String, Climb>,
    /// When a person last asked for something that may set a ladder back, by unit; "" = the fleet.
    asked: BTreeMap<String, i64>,
    /// Each unit.json with the version that it was read in.
    files: BTreeMap<String, (u64, Rc<Value>)>,
}

/// One ladder.
#[derive(Clone, Debug, Default)]
struct Climb {
    /// Acts on record at the last look.
    acts: u64,
    /// The place of the tier that comes next.
    next: usize,
    last: Option<Spent>,
    /// Spent in a row on the last tier.
    repeats: u32,
    /// Since the last tier something happened for which it may begin anew.
    reset: bool,
    /// How long its trouble was looked at, with nothing in the way of a tier, ms.
    watched_ms: i64,
    looked_at: i64,
    /// How long it was seen to have asked to be started anew, with nothing in the way, ms; None: it has not asked.
    asks_ms: Option<i64>,
    /// The last alert of its open breaker.
    told: Option<i64>,
    /// Its memory was destroyed while this process (by its birth) lived: nobody knows what that one promised.
    strange: Option<i64>,
    /// Starts from a checkpoint without real progress since.
    resumed: u64,
}

/// A tier that was spent.
#[derive(Clone, Debug)]
struct Spent {
    t: i64,
    stale: bool,
    code: String,
    head: String,
    /// It begins an end, whose first signal is still to come.
    unsent: bool,
}

impl Ladders {
    /// A person asks for something.
    pub fn asked(&mut self, unit: &str, t: i64) {
        self.asked.insert(unit.to_owned(), t);
    }

    /// A unit's file, read when it changed.
    fn file(&mut self, disk: &Disk, unit: &str) -> Option<Rc<Value>> {
        let path = format!("units/{unit}/unit.json");
        let version = disk.version(&path)?;
        if let Some((_, file)) = self.files.get(unit).filter(|(known, _)| *known == version) {
            return Some(file.clone());
        }
        let file = Rc::new(disk.json(&path)?);
        self.files.insert(unit.to_owned(), (version, file.clone()));
        Some(file)
    }

    /// The unit's file was destroyed.
    pub(super) fn forgotten(&mut self, unit: &str, born: Option<i64>) {
        self.climbs.insert(unit.to_owned(), Climb { reset: true, strange: born, ..Climb::default() });
    }
}

impl Checker {
    /// After a tick: what was spent, what should have been.
    pub(super) fn climbs(
        &mut self,
        world: &mut World,
        config: &Config,
        report: &TickReport,
        disk: &Disk,
        killed: bool,
    ) {
        if world.coop.is_none() {
            return;
        }
        for (name, unit) in &config.units {
            let Some(file) = self.ladders.file(disk, name.as_str()) else { continue };
            self.recoveries(world, config, unit, &file);
            let services = world.coop.as_ref().map(|coop| &coop.services);
            let Some(service) = services.and_then(|all| all.get(name.as_str())).cloned() else { continue };
            let t = world.t;
            let usual = self.gap_ms.max((config.watchdog.signal_interval_s * 1000.0) as i64);
            let paused = t - self.looked_at > 3 * usual;
            let asked = ["", name.as_str()]
                .iter()
                .any(|who| self.ladders.asked.get(*who).is_some_and(|at| t - at < ASKED_MS));
            let idle = !self.is_hindered(world, disk, unit, &file) && !killed && !disk.failed;
            let jumped = self.jumps > 0;
            // When a beat came in a time in which nobody looked, nobody knows; but one must have come.
            let beaten = paused && service.last_beat.is_some_and(|at| at > self.looked_at);
            let climb = self.ladders.climbs.entry(name.to_string()).or_default();
            climb.reset |= asked || beaten || was_well(&service, climb, unit, usual);
            let acts = file["acts"].as_u64().unwrap_or(0);
            let label = file["last_act"]["what"].as_str().unwrap_or_default();
            let begun = file["ending"]["step"] == "wanted";
            if !file["ending"].is_null()
                && !begun
                && let Some(last) = &mut climb.last
            {
                last.unsent = false;
            }
            let is_tier =
                matches!(label, "request-restart" | "kill-start") || (label == "terminate" && begun);
            if acts > climb.acts && is_tier {
                let tier = Tiered { unit, file: &file, label, jumped };
                spent(world, disk, &service, climb, &tier);
            }
            // What could not be written down is not known at the next look: as if nobody had looked meanwhile.
            climb.reset |= disk.failed;
            climb.acts = acts;
            let passed = t - std::mem::replace(&mut climb.looked_at, t);
            late(world, config, unit, &service, climb, (idle, passed));
            left_behind(world, report, unit);
            asks(world, unit, climb, &file, (idle, passed));
            if !killed && !disk.failed {
                told(world, report, unit, climb, asked);
            }
        }
    }

    /// Is anything in the way of a tier?
    fn is_hindered(&self, world: &World, disk: &Disk, unit: &Unit, file: &Value) -> bool {
        let name = unit.name.as_str();
        let markers = self.markers.get(name).cloned().unwrap_or_default();
        let waits = disk.get(&format!("units/{name}/WAITING-UNTIL")).is_some();
        let person = world.pane_of(name).is_some_and(|pane| pane.person.is_some() || pane.typed_at.is_some());
        let ends = !file["ending"].is_null() || !file["failopen"]["since_awake_s"].is_null();
        let unwatched = self.fleet.down || self.fleet.paused || markers.down || markers.paused;
        !unit.enabled || unwatched || waits || person || ends || world.looked.is_none()
    }

    /// Starts from a checkpoint: each is counted before it happens, and there are not too many.
    fn recoveries(&mut self, world: &mut World, config: &Config, unit: &Unit, file: &Value) {
        let name = unit.name.as_str();
        let Some(agent) = unit.agent().filter(|agent| agent.recovery.max > 0) else { return };
        let climb = self.ladders.climbs.entry(name.to_owned()).or_default();
        let enough_ms = (config.watchdog.stall_idle_s * 1000.0) as i64;
        if world.living(name).is_some_and(|pane| world.t - pane.cli.born >= enough_ms) {
            climb.resumed = 0;
        }
        let started = |effect: &&Effect| {
            effect.unit == name && effect.happened && matches!(effect.what, "new-session" | "respawn")
        };
        if !world.effects.iter().any(|effect| started(&effect)) || file["recovery"]["given"].is_null() {
            return;
        }
        climb.resumed += 1;
        let (tried, counted) = (climb.resumed, file["recovery"]["attempts"].as_u64().unwrap_or(0));
        let max = u64::from(agent.recovery.max);
        if tried > max || counted < tried {
            let detail =
                format!("{name}: start {tried} from its checkpoint, {counted} are counted, {max} allowed");
            world.violate("recovery-max", detail);
        }
    }
}

fn ms(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

/// It beat so long after its start and the last tier that its ladder may begin anew.
fn was_well(service: &Service, climb: &Climb, unit: &Unit, usual_ms: i64) -> bool {
    let Some(promised) = &unit.cooperative else { return false };
    let Some(beat) = service.last_beat else { return false };
    let since = climb.last.as_ref().map_or(service.born, |last| last.t.max(service.born));
    let needed = ms(promised.heartbeat_stale_s.max(unit.ladder.quiet_s));
    // A beat is seen at the look after it.
    beat - since >= needed - usual_ms - 5000
}

/// A tier on record.
struct Tiered<'a> {
    unit: &'a Unit,
    file: &'a Value,
    label: &'a str,
    /// The wall clock jumped before.
    jumped: bool,
}

/// A tier was spent: was it its turn, and was it deserved?
fn spent(world: &mut World, disk: &Disk, service: &Service, climb: &mut Climb, tier: &Tiered<'_>) {
    let Tiered { unit, file, label, jumped } = *tier;
    let (name, t) = (unit.name.as_str(), world.t);
    let stale = file["ladder"]["symptom"] == "stale";
    let head = world.coop.as_ref().map(|coop| coop.repo.head.clone()).unwrap_or_default();
    let mut bad =
        |invariant, detail: String| world.violate(invariant, format!("{name}: `{label}`: {detail}"));
    let tiers = &unit.ladder.tiers;
    let at = tiers.iter().position(|tier| tier.word() == label).unwrap_or(tiers.len());
    if let Some(last) = &climb.last {
        climb.reset |= last.stale != stale || last.code != service.code || last.head != head;
        let cooldown_ms = ms(unit.ladder.cooldown_s);
        if t - last.t < cooldown_ms - TRIFLE_MS {
            bad(
                "ladder-cooldown",
                format!("{} ms after the tier before, {cooldown_ms} ms are needed", t - last.t),
            );
        }
    }
    let quiet_ms = ms(unit.ladder.quiet_s);
    if t - service.born < quiet_ms - TRIFLE_MS {
        bad("ladder-quiet", format!("{} ms after its start, {quiet_ms} ms are quiet", t - service.born));
    }
    if let Err((invariant, why)) = turn(unit, climb, at, t) {
        bad(invariant, why);
    }
    if let Some(why) = innocent(world, disk, unit, service, stale).filter(|_| !jumped || !stale) {
        world.violate("ladder-healthy", format!("{name}: `{label}` although {why}"));
    }
    climb.next = at + 1;
    climb.reset = false;
    climb.watched_ms = 0;
    let unsent = tiers.get(at) != Some(&Tier::RequestRestart);
    climb.last = Some(Spent { t, stale, code: service.code.clone(), head, unsent });
}

/// Is it this tier's turn?
fn turn(unit: &Unit, climb: &mut Climb, at: usize, t: i64) -> Result<(), (&'static str, String)> {
    let tiers = &unit.ladder.tiers;
    let acts = |tier: &Tier| matches!(tier, Tier::RequestRestart | Tier::Terminate | Tier::KillStart);
    let places: Vec<usize> = (0..tiers.len()).filter(|at| tiers.get(*at).is_some_and(acts)).collect();
    let ends_in_act = tiers.last().is_some_and(acts);
    let is_last = ends_in_act && at + 1 == tiers.len();
    let expected = places.iter().find(|place| **place >= climb.next);
    let given_back = climb.last.as_ref().is_some_and(|last| last.unsent) && at + 1 == climb.next;
    if expected == Some(&at) || given_back || (climb.reset && places.first() == Some(&at)) {
        climb.repeats = if given_back { climb.repeats } else { u32::from(is_last) };
        return Ok(());
    }
    let spent = climb.next.saturating_sub(1);
    if expected.is_some() || places.last() != Some(&at) {
        return Err(("ladder-order", format!("tier {at}, and tier {spent} was the last one")));
    }
    let gap_ms = climb.last.as_ref().map_or(i64::MAX, |last| t - last.t);
    climb.repeats += 1;
    let breaker_ms = ms(unit.ladder.breaker_s);
    let open = !ends_in_act || climb.repeats > FAILED_MAX;
    if open && gap_ms < breaker_ms - TRIFLE_MS {
        return Err((
            "ladder-breaker",
            format!("again after {gap_ms} ms, its breaker has to be open for {breaker_ms} ms"),
        ));
    }
    Ok(())
}

/// Why it did not deserve it.
fn innocent(world: &World, disk: &Disk, unit: &Unit, service: &Service, stale: bool) -> Option<String> {
    let (promised, t) = (unit.cooperative.as_ref()?, world.t);
    if !stale {
        let silent = t - service.silent_since();
        let limit = ms(promised.heartbeat_stale_s);
        return (silent < limit - TRIFLE_MS)
            .then(|| format!("it was silent for {silent} of {limit} ms only"));
    }
    let repo = &world.coop.as_ref()?.repo;
    let Some(stamped) = service.stamped_at else {
        // A stamp right before its start counts as its own.
        let written = disk.modified(&format!("units/{}/version", unit.name));
        let near = written.is_some_and(|at| at.since_s(service.born_wall) >= -STAMP_SLACK_S);
        return (!near).then(|| "it has not said yet what it runs".into());
    };
    let stood = t - stamped.max(repo.moved_at);
    if service.code == repo.head {
        Some("it runs the code of its repository".into())
    } else if t < repo.busy_until {
        Some("nobody can say what its repository holds".into())
    } else {
        (stood < STALE_LOOK_MS - TRIFLE_MS).then(|| format!("its code is old for {stood} ms only"))
    }
}

/// What is silent is not left alone: the next tier comes, and after the breaker's time its one try.
fn late(
    world: &mut World,
    config: &Config,
    unit: &Unit,
    service: &Service,
    climb: &mut Climb,
    (unhindered, passed): (bool, i64),
) {
    let (name, t) = (unit.name.as_str(), world.t);
    let ladder = &unit.ladder;
    let Some(promised) = &unit.cooperative else { return };
    let silent = t - service.silent_since() >= ms(promised.heartbeat_stale_s);
    let lives = world
        .living(name)
        .and_then(|pane| pane.root.as_ref())
        .is_some_and(|root| !is_zombie(world, root.pid));
    // What a person started promised nothing.
    if !silent || !lives || climb.strange == Some(service.born) || service.by_person {
        climb.watched_ms = 0;
        return;
    }
    let usual = 3 * ms(config.watchdog.signal_interval_s);
    if unhindered && passed <= usual {
        climb.watched_ms += passed;
    }
    let told = f64::from(FAILED_MAX + 1) * ladder.cooldown_s;
    let bound = ms(promised.heartbeat_stale_s + ladder.quiet_s + told + ladder.breaker_s) + 2 * usual;
    if climb.watched_ms > bound {
        let detail = format!("{name}: nothing was done about its silence for {} ms", climb.watched_ms);
        world.violate("ladder-late", detail);
    }
}

/// Who asks to be started anew by its exit status is started at once, whatever it was started for before.
fn asks(world: &mut World, unit: &Unit, climb: &mut Climb, file: &Value, (unhindered, passed): (bool, i64)) {
    let asked = Some(Ended::Status(ASKS));
    let dead = world.pane_of(unit.name.as_str()).filter(|pane| pane.root.is_none());
    let asks = dead.is_some_and(|pane| pane.ended.as_ref().is_some_and(|(how, _)| *how == asked));
    let open = file["restart"]["breaker"] != "closed" || !file["restart"]["not_before_awake_s"].is_null();
    let fails = world.faults.act_fails + world.faults.act_lies > 0;
    if !asks || open || fails || !unhindered {
        climb.asks_ms = None;
        return;
    }
    let waits = climb.asks_ms.map_or(0, |before| before + passed);
    climb.asks_ms = Some(waits);
    if waits > ASKS_MS {
        let detail = format!("{}: it asked to be started anew {waits} ms ago", unit.name);
        world.violate("ladder-asks", detail);
    }
}

/// At most one alert a minute while the breaker is open.
fn told(world: &mut World, report: &TickReport, unit: &Unit, climb: &mut Climb, asked: bool) {
    let known = report.before.units.get(&unit.name).map_or(0, |before| before.alerts);
    let Some(next) = report.decision.next.units.get(&unit.name).filter(|next| next.alerts > known) else {
        return;
    };
    let fresh = next.owed.iter().rev().take((next.alerts - known) as usize);
    let count = fresh.filter(|owed| owed.text.contains("circuit breaker of the ladder")).count();
    if count == 0 {
        return;
    }
    let t = world.t;
    let before = climb.told.replace(t).filter(|_| !asked && !climb.reset);
    if count > 1 || before.is_some_and(|at| t - at < 60_000 - TRIFLE_MS) {
        world.violate(
            "ladder-told",
            format!("{}: its open breaker was told twice within a minute", unit.name),
        );
    }
}

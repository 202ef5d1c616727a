//! What must hold in every tick, whatever goes wrong. What is about one effect alone is in `host.rs`, where it happens.
//!
//! Each has a name; a failure says it. The truth is asked of the world, never of the watchdog's own memory, except where
//! the books are compared with each other. One file per subject; here is what they share: each unit's past.

mod books;
mod cooperation;
mod fleet;
mod grants;
mod kills;
mod ladders;
mod mail;
mod phases;
mod pings;
mod restarts;
mod texts;

pub use cooperation::{acts_on_ladders, asked_gently};
pub use mail::outbox;
pub use phases::{acts_on_the_plan, view};

use crate::cli::Kind;
use crate::files::Disk;
use crate::world::World;
use books::{books, same_answer};
use ladders::Ladders;
use phases::Phases;
use pings::Pings;
use std::collections::{BTreeMap, BTreeSet};
use watchkeeper::base::time::Wall;
use watchkeeper::config::Config;
use watchkeeper::detect::pause;
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::seen::Process;

/// A unit that lived this long has its past forgotten (SPEC 6.4).
const STABLE_MS: i64 = 1_800_000;
/// The clocks of a tick and of its effects are a little apart.
const TRIFLE_MS: i64 = 50;

/// What is known of one unit's past, from the truth.
#[derive(Clone, Debug, Default)]
struct Past {
    heals: Vec<i64>,
    /// Comebacks from what was lost with the tmux server.
    comebacks: Vec<i64>,
    /// The process that was last seen, and the server (pid, start) that it was on.
    seen: Option<(Process, (i32, i64))>,
    opened: Option<i64>,
    tried: bool,
    /// Time that somebody looked at it without any change, ms.
    idle_ms: i64,
    looked_at: i64,
    moved: i64,
    /// When the last change of its content was seen, and whether its tools' CPU was sampled at the last look.
    content_seen: i64,
    sampled: bool,
    /// Nudges since the agent last worked by itself.
    nudges: u32,
    /// The last wake or run: local wall clock, and the jumps until then.
    last_wake: Option<(Wall, u32)>,
    last_due: Option<Wall>,
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
    clocks_lost: bool,
    /// In which boot each file was written last: its instants are rebased once in another one.
    written: BTreeMap<String, u32>,
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
    /// The first of the ticks right before this one that were killed: what they saw may be on record.
    killed_since: Option<i64>,
    /// Of a fleet with a plan.
    pub phases: Phases,
    pub pings: Pings,
    pub ladders: Ladders,
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
            clocks_lost: false,
            written: BTreeMap::new(),
            jumps: 0,
            handled: BTreeSet::new(),
            texts: BTreeMap::new(),
            owed: BTreeMap::new(),
            mass_started: Vec::new(),
            effects: 0,
            arrivals: 0,
            failed_texts: BTreeSet::new(),
            ticks: 0,
            killed_since: None,
            phases: Phases::default(),
            pings: Pings::default(),
            ladders: Ladders::default(),
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
        self.phases.before(disk);
        self.pings.before(world, disk);
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
        self.lifted(report);
        self.climbs(world, config, report, disk, killed);
        self.starts(world, config, report);
        self.looks(world, config, report, disk, killed);
        self.hosts(world, report, killed);
        if !killed {
            for granted in &report.decision.granted {
                self.granted(world, config, report, granted);
            }
            self.fleet_rules(world, config, report, disk);
            self.events(world, report);
            books(world, config, report);
            // What stood still was decided otherwise.
            let still = config.sequence.is_some() && (disk.failed || self.phases.is_held(disk));
            if self.thorough && !still && self.ticks.is_multiple_of(8) {
                same_answer(world, config, report, self.ticks);
            }
        }
        self.mail(world, disk, report, killed);
        self.phases.after(world, disk, config, report, killed);
        self.pings.after(world, disk, config, report);
        if killed {
            charged_terms(world, disk);
        }
        if killed || disk.failed {
            // What this look mended may not be recorded: the next one must not be wrong in the same way.
            let before = world.missed_before.clone();
            world.missed.extend(before);
        }
        self.written.extend(disk.written.iter().map(|path| (path.clone(), world.boot)));
    }

    /// Somebody destroyed a unit's memory: what it counted is forgotten with it.
    fn forget_destroyed(&mut self, world: &mut World, disk: &mut Disk) {
        for path in std::mem::take(&mut disk.destroyed) {
            if path == "mail.json" {
                self.handled.clear();
                self.owed.retain(|_, owner| owner != "mail.json");
            }
            if path == "clocks.json" {
                self.clocks_lost = true;
            }
            if path == "git.json" {
                self.pings.forgotten(None);
                self.phases.forget_told();
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
            self.pings.forgotten(Some(unit));
            let service = world.coop.as_ref().and_then(|coop| coop.services.get(unit));
            self.ladders.forgotten(unit, service.map(|service| service.born));
        }
    }

    /// What every look tells: idleness that was watched, lives that were long enough, deaths that were seen.
    fn looks(&mut self, world: &mut World, config: &Config, report: &TickReport, disk: &Disk, killed: bool) {
        let t = world.t;
        let Some(listed) = world.looked.clone() else { return };
        let interval_ms = (config.watchdog.signal_interval_s * 1000.0) as i64;
        let gap = t - self.looked_at;
        let usual = (3 * interval_ms).max(self.gap_ms * 3 / 2);
        let near_ms = (config.watchdog.stall_idle_s * 500.0) as i64;
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
            if let (Some(root), Some(server)) = (&pane.root, &world.server) {
                let process = Process { pid: root.pid, start: root.start };
                past.seen = Some((process, (server.pid, server.started)));
            }
            let transcript = world.units.get(name).is_some_and(|truth| truth.transcript);
            let cli = &pane.cli;
            // CPU is sampled near a stall only, and leaves no trace once its tool is gone.
            if cli.content_at > past.looked_at {
                past.content_seen = t;
            }
            let counts = past.sampled && cli.kind() == Some(Kind::Tool);
            let cpu_at = if counts { cli.cpu_at } else { 0 };
            past.sampled = t - past.content_seen >= near_ms;
            let mut moved = cli.content_at.max(cpu_at).max(cli.born);
            if transcript {
                moved = moved.max(cli.transcript_at);
            }
            if moved > past.looked_at || past.looked_at == 0 {
                past.idle_ms = 0;
                past.moved = moved;
                if cli.is_working() && t - cli.content_at < 1000 {
                    past.nudges = 0;
                }
            } else {
                past.idle_ms += (t - past.looked_at).min(usual);
            }
            if self.clocks_lost {
                // They are seeded from the window's last output, unwatched time or not (SPEC 6.2).
                past.idle_ms = past.idle_ms.max(t - past.moved);
            }
            past.looked_at = t;
            let age = t - cli.born;
            if age >= STABLE_MS {
                past.heals.clear();
                past.comebacks.clear();
            }
            if age as f64 >= unit.ladder.quiet_s * 1000.0 {
                past.tried = false;
                past.opened = None;
            }
        }
        self.clocks_lost = false;
        // A look that was killed is not remembered: the gap is measured from the one before it.
        if !killed {
            self.looked_at = t;
            if gap > interval_ms / 2 {
                self.gap_ms = gap;
            }
        }
        if killed {
            self.killed_since.get_or_insert(t);
            return;
        }
        self.deaths(world, config, report, disk, t);
    }
}

/// A TERM that was charged and lost with the watchdog is followed by its KILL.
fn charged_terms(world: &mut World, disk: &Disk) {
    let t = world.t;
    let units: Vec<String> = world.units.keys().cloned().collect();
    for unit in units {
        let Some(file) = disk.json(&format!("units/{unit}/unit.json")) else { continue };
        let processes = file["ending"]["step"]["termed"]["processes"].as_array().cloned().unwrap_or_default();
        for process in processes.into_iter().filter_map(|p| serde_json::from_value::<Process>(p).ok()) {
            world.termed.entry((process.pid, process.start)).or_insert(t);
        }
    }
}

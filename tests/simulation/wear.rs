//! What both simulators have in common: how turns follow each other, how the watchdog dies in one, what happens to the state
//! directory between two.
//!
//! Deliberately not here: the worlds, and what must hold in them.

use super::faults::Mode;
use super::files::Disk;
use super::ops::Ops;
use super::rng::Rng;

/// Follow-up ticks of `tick`: due within this time, and so many (SPEC 3).
const FOLLOW_UP_S: f64 = 3.0;
const FOLLOW_UPS_MAX: u32 = 20;
/// A marker for the whole fleet stays for so long, or nothing happens in the run, ms.
const FLEET_MARKER_MS: i64 = 400_000;

/// A simulation that is carried on turn by turn.
pub trait Turns {
    fn mode(&self) -> Mode;
    /// One tick; seconds until the next is due. None: the watchdog was killed in it.
    fn tick(&mut self) -> Option<f64>;
    fn now(&self) -> i64;
    fn pass(&mut self, ms: i64);
    fn rng(&mut self) -> &mut Rng;
    /// The watchdog's process comes to its end.
    fn leave(&mut self);
}

/// Ticks as the mode says, and lets the time until the next one pass.
pub fn turn(sim: &mut impl Turns) {
    match sim.mode() {
        Mode::Loop => {
            let wait_s = match sim.tick() {
                Some(due_s) => due_s.clamp(0.05, 30.0) + sim.rng().below(100) as f64 / 1000.0,
                None => sim.rng().between(1, 40) as f64,
            };
            sim.pass((wait_s * 1000.0) as i64);
        }
        Mode::Cron { every_s } => {
            let began = sim.now();
            for _ in 0..=FOLLOW_UPS_MAX {
                let Some(due_s) = sim.tick().filter(|due_s| *due_s <= FOLLOW_UP_S) else { break };
                sim.pass((due_s.max(0.05) * 1000.0) as i64);
            }
            sim.leave();
            let left = began + every_s * 1000 - sim.now();
            sim.pass(left.max(1000));
        }
    }
}

/// Perhaps the watchdog dies at one of its next boundaries.
pub fn arm(ops: &Ops, rng: &mut Rng, kills: u64, last_ops: u64) {
    ops.disarm();
    if rng.chance(kills) {
        let at = rng.below(last_ops.max(10)) + 1;
        ops.arm(at, rng.chance(500));
    }
}

/// The disk fills up, or has room again; what is told of it.
pub fn fill(disk: &mut Disk, rng: &mut Rng, full: u64) -> Option<String> {
    if rng.chance(full) || (disk.faults.full && rng.chance(300)) {
        disk.faults.full = !disk.faults.full;
        return Some(format!("disk full: {}", disk.faults.full));
    }
    None
}

/// A marker for the whole fleet, and when it goes.
pub type FleetMarker = Option<(String, i64)>;

/// A marker comes, or goes; what is told of it. `text` is what stands in one of this name.
pub fn marker(
    disk: &mut Disk,
    rng: &mut Rng,
    any: &dyn Fn(&mut Rng) -> String,
    text: impl Fn(&mut Rng, &str) -> String,
    (fleet, now): (&mut FleetMarker, i64),
) -> String {
    let unit = if rng.chance(200) { None } else { Some(any(rng)) };
    let file = if rng.chance(600) { "PAUSED" } else { "down" };
    let path = unit.as_ref().map_or_else(|| file.to_owned(), |unit| format!("units/{unit}/{file}"));
    let text = text(rng, file);
    if disk.get(&path).is_some() {
        disk.delete(&path);
        return format!("{path} is removed");
    }
    disk.put(&path, text.into_bytes());
    let told = format!("{path} is made");
    if unit.is_none() {
        *fleet = Some((path, now + FLEET_MARKER_MS));
    }
    told
}

/// The fleet's marker goes when its time is over.
pub fn lift(disk: &mut Disk, fleet: &mut FleetMarker, now: i64) {
    if let Some((path, _)) = fleet.take_if(|(_, at)| now >= *at) {
        disk.delete(&path);
    }
}

/// Somebody destroys a file; what is told of it.
pub fn damage(disk: &mut Disk, rng: &mut Rng, unit: &str) -> Option<String> {
    let path = match rng.below(8) {
        0..=3 => format!("units/{unit}/unit.json"),
        4 => "clocks.json".to_owned(),
        5 => "heartbeat.json".to_owned(),
        6 => "mail.json".to_owned(),
        _ => "status".to_owned(),
    };
    let mut bytes = disk.get(&path).map(<[u8]>::to_vec)?;
    let how = rng.below(4);
    let cut = rng.below(bytes.len() as u64) as usize;
    let word = ["deleted", "emptied", "cut short", "garbled"][how as usize];
    let told = format!("{path} is {word}");
    match how {
        0 => {
            disk.delete(&path);
            disk.destroyed.insert(path);
        }
        1 => disk.put(&path, Vec::new()),
        2 => {
            bytes.truncate(cut);
            disk.put(&path, bytes);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(cut) {
                *byte = b'\x07';
            }
            disk.put(&path, bytes);
        }
    }
    Some(told)
}

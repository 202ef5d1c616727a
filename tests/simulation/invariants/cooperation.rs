//! What a ladder does to the world of cooperative services: no signal to strangers, to another process than the one that
//! was meant, or to who beats again; no marker that is eaten, or written for one that is gone; nothing left behind.

use crate::cooperative::is_zombie;
use crate::files::Disk;
use crate::service::BEAT_MS;
use crate::world::{Effect, Proc, World};
use serde_json::Value;
use watchkeeper::config::Unit;
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::action::{Action, MarkerKind, Signal};
use watchkeeper::model::seen::Process;
use watchkeeper::state::unit::EndStep;

/// What must hold when a ladder touches the world.
pub fn acts_on_ladders(world: &mut World, disk: &Disk, action: &Action, unit: &str) {
    if world.coop.is_none() {
        return;
    }
    let file = disk.json(&format!("units/{unit}/unit.json")).unwrap_or_default();
    let found: Vec<(&'static str, String)> = match action {
        Action::Mark { marker, .. } if marker.kind == MarkerKind::Restart => {
            written(world, unit, &file).map(|why| ("marker", why)).into_iter().collect()
        }
        Action::Unmark { marker, .. } if marker.kind == MarkerKind::Restart => {
            eaten(world, disk, unit).map(|why| ("marker", why)).into_iter().collect()
        }
        Action::Signal { processes, signal } => {
            let stranger = stranger(world, processes).map(|why| ("stranger", why));
            let other = other(world, unit, processes, &file).map(|why| ("other-process", why));
            let fresh = fresh(world, unit, &file).filter(|_| *signal == Signal::Term);
            [stranger, other, fresh.map(|why| ("term-fresh", why))].into_iter().flatten().collect()
        }
        _ => Vec::new(),
    };
    for (invariant, detail) in found {
        world.violate(invariant, format!("{unit}: {action:?}: {detail}"));
    }
}

/// The process of a unit; a zombie is none that lives.
fn living(world: &World, unit: &str) -> Option<Proc> {
    world.living(unit).and_then(|pane| pane.root.clone()).filter(|root| !is_zombie(world, root.pid))
}

/// Whom a `RESTART` is for, if that is not who lives.
fn written(world: &World, unit: &str, file: &Value) -> Option<String> {
    let asked = &file["ladder"]["asked"]["process"];
    let root = world.living(unit).and_then(|pane| pane.root.clone());
    // (A look may come before the end is seen.)
    let zombie = root.as_ref().is_some_and(|root| is_zombie(world, root.pid));
    let meant = root.as_ref().is_some_and(|root| asked["pid"] == root.pid && asked["start"] == root.start);
    (!meant && !zombie).then(|| format!("for {asked}, and {root:?} lives"))
}

/// A `RESTART` is taken away from who is to obey it.
fn eaten(world: &World, disk: &Disk, unit: &str) -> Option<String> {
    let written = disk.modified(&format!("units/{unit}/RESTART"))?;
    let service = world.coop.as_ref()?.services.get(unit)?;
    let lives = living(world, unit).is_some();
    // What was written tomorrow is from before the clock was set back: for another process.
    let meant = written > service.born_wall && written <= world.local();
    (lives && meant).then(|| "the process that it is for lives".to_owned())
}

/// A signal to somebody else's process; start 0 = whoever has the pid.
fn stranger(world: &World, processes: &[Process]) -> Option<String> {
    let strangers = &world.coop.as_ref()?.strangers;
    let is_stranger = |process: &&Process| {
        let same = |stranger: &Proc| process.start == 0 || stranger.start == process.start;
        strangers.iter().any(|stranger| stranger.pid == process.pid && same(stranger))
    };
    processes.iter().find(is_stranger).map(|process| format!("{process:?} is somebody else's"))
}

/// A signal of the ladder's to another process than the one that was meant.
fn other(world: &World, unit: &str, processes: &[Process], file: &Value) -> Option<String> {
    let meant = &file["ending"]["process"];
    let root = living(world, unit).filter(|_| !meant.is_null() && file["ending"]["cause"] == "ladder")?;
    let hit = processes.iter().any(|process| process.pid == root.pid);
    let is_it = meant["pid"] == root.pid && meant["start"] == root.start;
    (hit && !is_it).then(|| format!("{root:?} lives, and {meant} was meant"))
}

/// The first signal for a silence that is over.
fn fresh(world: &World, unit: &str, file: &Value) -> Option<String> {
    let first = file["ending"]["step"]["termed"]["times"] == 1 && file["ending"]["symptom"] == "silent";
    let service = world.coop.as_ref()?.services.get(unit)?;
    let silent_ms = world.t - service.silent_since();
    let beats = first && silent_ms < BEAT_MS + 1000 && living(world, unit).is_some();
    beats.then(|| format!("for its silence, and it beat {silent_ms} ms ago"))
}

/// A tier of KILL without TERM: the unit was asked gently before.
pub fn asked_gently(_: &World, disk: &Disk, unit: &str) -> bool {
    let file = disk.json(&format!("units/{unit}/unit.json")).unwrap_or_default();
    file["ending"]["force"] == "kill"
}

/// It is not started while one lives that was told to end for it.
pub(super) fn left_behind(world: &mut World, report: &TickReport, unit: &Unit) {
    let name = unit.name.as_str();
    let started = |effect: &&Effect| {
        effect.unit == name && effect.happened && matches!(effect.what, "new-session" | "respawn")
    };
    let ending = report.before.units.get(&unit.name).and_then(|state| state.ending.as_ref());
    let (Some(EndStep::Termed { processes, .. } | EndStep::Killed { processes, .. }), true) =
        (ending.map(|ending| &ending.step), world.effects.iter().any(|effect| started(&effect)))
    else {
        return;
    };
    let lives = |process: &&Process| {
        world.orphans.iter().any(|(_, orphan)| (orphan.pid, orphan.start) == (process.pid, process.start))
    };
    if let Some(left) = processes.iter().find(lives) {
        world.violate("left-behind", format!("{name} is started, and {left:?} of its old tree lives"));
    }
}

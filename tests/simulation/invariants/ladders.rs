//! The ladders of cooperative services.

use crate::files::Disk;
use crate::world::World;
use watchkeeper::model::action::Action;

/// What must hold when a ladder touches the world.
pub fn acts_on_ladders(_: &mut World, _: &Disk, _: &Action, _: &str) {}

/// A tier of KILL without TERM: the unit was asked gently before.
pub fn asked_gently(_: &World, disk: &Disk, unit: &str) -> bool {
    let file = disk.json(&format!("units/{unit}/unit.json")).unwrap_or_default();
    file["ending"]["force"] == "kill"
}

//! Whoever answers requests of the watchdog's: in time, too late, with nothing that can be read, or not at all; some take the
//! request away first.

use super::run::Sim;
use crate::files::Disk;
use std::collections::BTreeMap;
use watchkeeper::base::names::UnitName;
use watchkeeper::state::table;

/// What is answered to one request, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    at: i64,
    deed: Deed,
    takes_away: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Mends,
    Nothing,
    Babbles,
    Silence,
}

/// The requests that were seen.
#[derive(Debug, Default)]
pub struct Helpers {
    plans: BTreeMap<String, Plan>,
}

/// The request of an effect lies there, and what was answered to an earlier one is put aside.
pub fn ask(disk: &mut Disk, unit: &UnitName, text: &str) -> Result<(), String> {
    if disk.faults.full {
        return Err("no space left on device (simulated)".into());
    }
    disk.delete(&table::in_unit(unit, table::RESPONSE));
    disk.put(&table::in_unit(unit, table::REQUEST), text.as_bytes().to_vec());
    let attempt = table::attempt_of(text).unwrap_or_default();
    disk.put(&table::in_unit(unit, table::ASKED), format!("{attempt}\n").into_bytes());
    Ok(())
}

/// Looks at the requests that lie there.
pub fn answer(sim: &mut Sim) {
    let names: Vec<UnitName> = sim.config.units.keys().cloned().collect();
    for name in names {
        let mut disk = sim.disk.borrow_mut();
        let request = table::in_unit(&name, table::REQUEST);
        let text = disk.get(&request).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let machine = &mut *sim.machine.borrow_mut();
        if let Some(attempt) = text.as_deref().and_then(table::attempt_of) {
            let known = sim.helpers.plans.contains_key(attempt);
            if !known {
                let plan = draw(machine);
                machine.tell(format!("{name}: {attempt} is asked for: {plan:?}"));
                sim.helpers.plans.insert(attempt.to_owned(), plan);
                if plan.takes_away {
                    disk.delete(&request);
                }
            }
        }
        let asked = disk.get(&table::in_unit(&name, table::ASKED)).map(<[u8]>::to_vec).unwrap_or_default();
        let asked = String::from_utf8_lossy(&asked).trim().to_owned();
        let due = sim.helpers.plans.get_mut(&asked).filter(|plan| plan.at <= machine.t);
        let Some(plan) = due else { continue };
        plan.at = i64::MAX;
        let words = match plan.deed {
            Deed::Mends => "I mended it.\nACTION: restart\n",
            Deed::Nothing => "Try again.\nACTION: restart\n",
            Deed::Babbles => "It might be the disk.\n",
            Deed::Silence => continue,
        };
        if let Some(truth) = machine.units.get_mut(name.as_str()).filter(|_| plan.deed == Deed::Mends) {
            (truth.bug, truth.edited) = (false, true);
        }
        machine.tell(format!("{name}: {asked} is answered"));
        disk.put(&table::in_unit(&name, table::RESPONSE), words.as_bytes().to_vec());
    }
}

fn draw(machine: &mut super::machine::Machine) -> Plan {
    let deed = if machine.rng.chance(machine.temper.babbles) {
        *machine.rng.pick(&[Deed::Babbles, Deed::Silence])
    } else if machine.rng.chance(machine.temper.mends) {
        Deed::Mends
    } else {
        Deed::Nothing
    };
    // Some come after the time that they are given (900 s).
    let takes = if machine.rng.chance(machine.temper.babbles / 2) { 2_000_000 } else { 80_000 };
    let takes_away = machine.rng.chance(machine.temper.babbles / 2);
    Plan { at: machine.t + machine.rng.between(1000, takes), deed, takes_away }
}

//! The second phase of a fleet with a plan: everybody gets the kickoff of the phase in force and the news that is owed;
//! then the agents finish phase after phase, until the plan is complete and its last task ran.

use super::invariants::view;
use super::remote::Zeal;
use super::run::{Failure, Sim};
use watchkeeper::model::seen::{Ask, PhaseStep};

/// Time for one phase, ms: its work, and everybody's restart.
const PHASE_MS: i64 = 4_000_000;

/// How far the agents go from now on.
pub fn set_zeal(sim: &Sim, zeal: Zeal) {
    if let Some(remote) = &mut sim.world.borrow_mut().remote {
        remote.zeal = zeal;
    }
}

/// The plan is complete.
pub fn is_reached(sim: &Sim) -> bool {
    sim.config.sequence.is_some() && view(&sim.disk.borrow()).is_some_and(|view| view.completed)
}

/// Who is not at work on the phase in force, or is still owed news.
pub fn behind(sim: &Sim) -> Option<String> {
    let plan = sim.config.sequence.as_ref()?;
    let view = view(&sim.disk.borrow())?;
    if view.completed {
        return None;
    }
    if plan.phase(&view.id).is_none() {
        return Some(format!("phase {:?} is in force, which the plan does not have", view.id));
    }
    let world = sim.world.borrow();
    for (name, unit) in sim.config.units.iter().filter(|(_, unit)| unit.enabled) {
        let pane = world.living(name.as_str());
        let loops = world.units.get(name.as_str()).is_some_and(|truth| truth.loops);
        if loops && unit.enabled && pane.is_some_and(|pane| pane.kicked.as_ref() != Some(&view.id)) {
            let kicked = pane.and_then(|pane| pane.kicked.clone());
            return Some(format!("{name}: its kickoff was for {kicked:?}, {} is in force", view.id));
        }
    }
    sim.check.pings.must.iter().next().map(|((unit, news), _)| format!("{unit}: was not told of {news}"))
}

/// People say which phase is in force when nobody else can know.
pub fn orders(sim: &mut Sim) {
    let Some(plan) = sim.config.sequence.clone() else { return };
    let Some(view) = view(&sim.disk.borrow()) else { return };
    let t = sim.world.borrow().t;
    untaught(sim, &view.id);
    let recent =
        sim.asked.iter().rev().any(|asked| matches!(asked.ask, Ask::Phase { .. }) && t - asked.t < 600_000);
    if recent || view.completed || view.id.is_empty() {
        return;
    }
    let done = match plan.phase(&view.id) {
        None => {
            let id = plan.phases[0].id.clone();
            return sim.ask(Ask::Phase { to: PhaseStep::Set { id } });
        }
        Some((_, phase)) => {
            let status = plan.in_repo(&phase.status);
            sim.world.borrow().remote.as_ref().is_some_and(|remote| remote.is_done(&status))
        }
    };
    if done {
        // Its marker stood already when a person put it in force: it does not count.
        sim.ask(Ask::Phase { to: PhaseStep::Advance { from: None } });
    }
}

/// Whose first prompt was not delivered is started anew by people: they were told.
fn untaught(sim: &mut Sim, phase: &str) {
    let text = sim.disk.borrow().get("outbox.jsonl").map(<[u8]>::to_vec).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    for name in sim.config.units.keys().cloned().collect::<Vec<_>>() {
        let t = sim.world.borrow().t;
        let recent = sim.asked.iter().rev().any(|asked| {
            matches!(&asked.ask, Ask::Restart { unit } if *unit == name) && t - asked.t < 1_200_000
        });
        let heard = || {
            let mut lines = text.lines().filter(|line| line.contains(&format!("`{name}`")));
            lines.any(|line| line.contains("delivered (kickoff)") || line.contains("unsent text"))
        };
        let behind = {
            let world = sim.world.borrow();
            let loops = world.units.get(name.as_str()).is_some_and(|truth| truth.loops);
            let pane = world.living(name.as_str()).filter(|_| loops);
            pane.is_some_and(|pane| pane.kicked.as_deref() != Some(phase) && t - pane.cli.born > 1_200_000)
        };
        if behind && !recent && heard() {
            sim.ask(Ask::Restart { unit: name });
        }
    }
}

/// The agents finish, and the plan completes.
pub fn reach(sim: &mut Sim) -> Result<(), Box<Failure>> {
    let Some(plan) = sim.config.sequence.clone() else { return Ok(()) };
    set_zeal(sim, Zeal::Finish);
    sim.world.borrow_mut().tell("---- the agents finish their phases ----");
    let began = sim.world.borrow().t;
    let bound = PHASE_MS * plan.phases.len() as i64;
    let mut reached_at = None;
    loop {
        sim.turn_checked()?;
        super::liveness::orders(sim);
        orders(sim);
        let t = sim.world.borrow().t;
        if is_reached(sim) {
            // Nothing stirs after that.
            let since = *reached_at.get_or_insert(t);
            if t - since > 1_200_000 && sim.check.phases.is_served() {
                return Ok(());
            }
        }
        if t - began > bound {
            let phase = view(&sim.disk.borrow()).unwrap_or_default();
            let what = if is_reached(sim) { "the last task never ran" } else { "the plan is not complete" };
            return Err(Box::new(sim.fail("plan-liveness", format!("{what}: {phase:?}; {:?}", behind(sim)))));
        }
    }
}

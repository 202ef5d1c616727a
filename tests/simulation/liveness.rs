//! The second phase: the troubles are over, and everybody must recover within bounded time. What only a person can mend
//! must have been told, and is mended then.

use super::cli::{Cli, Play};
use super::faults::{self, Mode};
use super::friction;
use super::goal;
use super::invariants::outbox;
use super::ordeal;
use super::remote::Zeal;
use super::run::{Failure, Sim};
use super::world::PersonDoes;
use watchkeeper::base::names::UnitName;
use watchkeeper::config::{AgentKind, Permission};
use watchkeeper::model::seen::Ask;

/// Time for people to be told, ms.
/// The words of an alert about a limit menu that stays open.
const MENU: &str = "menu does not close";
const TOLD_MS: i64 = 900_000;
/// Time for everybody to recover, ms: an open breaker and the longest backoff, a limit of ten minutes with its probes, a
/// hung turn and its ladder, one after the other.
const RECOVER_MS: i64 = 12_000_000;

/// Runs the phase.
pub fn recover(sim: &mut Sim) -> Result<(), Box<Failure>> {
    faults::remove(sim);
    friction::remove(sim);
    ordeal::remove(sim);
    goal::set_zeal(sim, Zeal::Rest);
    sim.check.jumped();
    clear_markers(sim);
    let began = sim.world.borrow().t;
    while sim.world.borrow().t - began < TOLD_MS {
        sim.turn_checked()?;
    }
    told(sim)?;
    // What was asked for in the troubles may have been done only now.
    clear_markers(sim);
    mend(sim);
    let began = sim.world.borrow().t;
    let mut calm_since = None;
    loop {
        sim.turn_checked()?;
        let t = sim.world.borrow().t;
        orders(sim);
        goal::orders(sim);
        let sick = sick(sim).or_else(|| waiting_text(sim)).or_else(|| goal::behind(sim));
        match (&sick, calm_since) {
            (Some(_), _) => calm_since = None,
            (None, None) => calm_since = Some(t),
            (None, Some(since)) if t - since > 120_000 => break,
            (None, Some(_)) => {}
        }
        if t - began > RECOVER_MS {
            let Some(why) = sick else { break };
            return Err(Box::new(sim.fail("liveness", why)));
        }
    }
    goal::reach(sim)?;
    settled(sim)
}

fn clear_markers(sim: &mut Sim) {
    let mut disk = sim.disk.borrow_mut();
    let markers: Vec<String> = disk
        .files
        .keys()
        .filter(|path| path.ends_with("PAUSED") || path.ends_with("down"))
        .cloned()
        .collect();
    for path in markers {
        disk.delete(&path);
    }
    drop(disk);
    sim.fleet_marker_until = None;
    sim.reread();
}

/// Who waits for a person must have been told to one.
fn told(sim: &mut Sim) -> Result<(), Box<Failure>> {
    for (name, unit) in &sim.config.units {
        let world = sim.world.borrow();
        let Some(agent) = unit.agent().filter(|_| unit.enabled) else { continue };
        let Some(pane) = world.living(name.as_str()) else { continue };
        if world.t - pane.cli.drawn_at < TOLD_MS - 120_000 {
            continue;
        }
        let asks = pane.cli.play == Play::Ask && agent.permission == Permission::Alert;
        let draft = pane.cli.play == Play::Idle
            && pane.cli.composer.person
            && !pane.cli.banner
            && pane.cli.error.is_none();
        let rests = agent.kind == AgentKind::Loop && goal::is_reached(sim);
        let watched = !rests && unit.watch == watchkeeper::config::Watch::HealStall;
        let heard = |what: &str| heard(sim, name.as_str(), what);
        let menu = pane.cli.play == Play::LimitMenu;
        let silent = (asks && !heard("asks"))
            .then_some("its dialog")
            .or((menu && !heard(MENU)).then_some("its limit menu"))
            .or((draft && watched && !heard("unsent text")).then_some("its draft"));
        drop(world);
        if let Some(what) = silent {
            return Err(Box::new(
                sim.fail("told", format!("{name}: {what} waits for a person, and nobody was told")),
            ));
        }
    }
    Ok(())
}

/// Does the outbox tell this of a unit?
fn heard(sim: &Sim, name: &str, what: &str) -> bool {
    let disk = sim.disk.borrow();
    let text = String::from_utf8_lossy(disk.get("outbox.jsonl").unwrap_or_default());
    text.lines().any(|line| line.contains(&format!("`{name}`")) && line.contains(what))
}

/// People do what only they can do.
fn mend(sim: &mut Sim) {
    let names: Vec<String> = sim.config.units.keys().map(ToString::to_string).collect();
    let world = &mut *sim.world.borrow_mut();
    world.tell("---- people mend what they were told ----");
    for account in world.accounts.values_mut() {
        account.auth_broken = false;
    }
    for name in names {
        mend_unit(world, &name);
    }
}

fn mend_unit(world: &mut super::world::World, name: &str) {
    let Some(pane) = world.living(name) else { return };
    let id = pane.id;
    let (ask, draft, auth) = (
        matches!(pane.cli.play, Play::Ask | Play::LimitMenu),
        pane.cli.composer.person,
        pane.cli.error == Some("auth"),
    );
    if ask {
        world.person_arrives(name, PersonDoes::AnswerDialog);
    }
    if draft {
        world.clear_composer(id);
    }
    if auth {
        world.type_text(id, "go on", None);
        world.press_submit(id, true);
    }
}

/// People act on alerts that name a command.
pub fn orders(sim: &mut Sim) {
    let names: Vec<UnitName> = sim.config.units.keys().cloned().collect();
    for name in names {
        let state = sim.disk.borrow().json(&format!("units/{name}/unit.json"));
        // What a cooperative unit is told of besides old code is mended without people.
        let mends = sim.config.units.get(&name).is_some_and(|unit| unit.cooperative.is_some())
            && state.as_ref().is_some_and(|state| state["ladder"]["symptom"] != "stale");
        let alerted =
            !mends && state.as_ref().is_some_and(|state| !state["ladder"]["alert_awake_s"].is_null());
        let spent = state.as_ref().is_some_and(|state| {
            // Refused credentials hold the account, also when the unit that showed it died: a person mended them.
            let held = state["attend"]["told"] == "auth" && state["seen"]["process"].is_null();
            held || state["attend"]["told"] == "error"
        });
        let recent = sim.asked.iter().rev().any(|asked| {
            let mine = matches!(&asked.ask, Ask::Restart { unit } | Ask::Approve { unit } if *unit == name);
            mine && sim.world.borrow().t - asked.t < 600_000
        });
        let left_alone = state.as_ref().is_some_and(|state| !state["failopen"]["since_awake_s"].is_null());
        // They were told that it is not judged, and that a restart starts it as a cooperative one.
        let unpromised = state.as_ref().is_some_and(|state| {
            !state["promise"]["told"].is_null() && state["promise"]["told"] == state["seen"]["process"]
        });
        if left_alone && !recent {
            sim.ask(Ask::Approve { unit: name.clone() });
        } else if (alerted || spent || unpromised) && !recent {
            sim.ask(Ask::Restart { unit: name.clone() });
        }
        // Keys that were lost, or that did not help, are not pressed for ever: a person was told, and chooses.
        let menu = state.as_ref().is_some_and(|state| state["limit"]["active"]["loud"] == true)
            && heard(sim, name.as_str(), MENU);
        // What was pasted before a memory was lost is a stranger's text after it: a person was told, and clears it.
        let unsent = heard(sim, name.as_str(), "unsent text");
        let mut world = sim.world.borrow_mut();
        let waits = world.living(name.as_str()).is_some_and(|pane| {
            let asks = pane.cli.play == Play::Ask || (menu && pane.cli.play == Play::LimitMenu);
            pane.person.is_none() && (asks || pane.cli.composer.person)
        });
        let agent = sim.config.units.get(&name).and_then(|unit| unit.agent()).map(|agent| agent.permission);
        if waits && (menu || agent == Some(Permission::Alert)) {
            mend_unit(&mut world, name.as_str());
        }
        let t = world.t;
        let stays = |cli: &Cli| !cli.composer.text.is_empty() && t - cli.drawn_at > TOLD_MS;
        let left = world.living(name.as_str()).filter(|pane| unsent && stays(&pane.cli)).map(|pane| pane.id);
        left.into_iter().for_each(|id| world.clear_composer(id));
    }
}

/// The first unit that is not well, and why.
fn sick(sim: &Sim) -> Option<String> {
    let world = sim.world.borrow();
    let rare_s = match sim.swarm.mode {
        Mode::Loop => 0,
        Mode::Cron { every_s } => every_s,
    };
    for (name, unit) in sim.config.units.iter().filter(|(_, unit)| unit.enabled) {
        let name = name.as_str();
        let truth = world.units.get(name)?;
        if truth.task || (truth.loops && goal::is_reached(sim)) {
            continue;
        }
        let Some(pane) = world.living(name) else { return Some(format!("{name} does not run")) };
        let cli = &pane.cli;
        let silent_s = (world.t - cli.content_at.max(cli.cpu_at).max(cli.transcript_at)) / 1000;
        let stall = unit.watch == watchkeeper::config::Watch::HealStall;
        let why = match &cli.play {
            Play::Shell => "its CLI left, a shell remains",
            Play::Trust | Play::Ask | Play::LimitMenu => "a dialog is open",
            Play::Starting => "it starts",
            Play::Idle if cli.banner => "it shows a limit that is over",
            Play::Idle if cli.error.is_some() => "it stopped with an error",
            Play::Idle
                if truth.loops
                    && stall
                    && silent_s > 240 + 2 * rare_s
                    && cli.waits_until.is_none_or(|until| until < world.local().0) =>
            {
                "it is idle"
            }
            Play::Work(_) if cli.hangs() && stall && silent_s > 900 + 3 * rare_s => "it hangs",
            Play::Idle | Play::Work(_) | Play::Service => match ordeal::sick(&world, unit, rare_s) {
                Some(why) => why,
                None => continue,
            },
        };
        return Some(format!("{name}: {why} (silent for {silent_s} s)"));
    }
    None
}

/// Nothing that was owed to people is lost.
fn settled(sim: &mut Sim) -> Result<(), Box<Failure>> {
    let there = outbox(&sim.disk.borrow());
    if let Some((id, owner)) = sim.check.owed.iter().find(|(id, _)| !there.contains_key(*id)) {
        let detail = format!("alert {id} was owed by {owner} and never reached the outbox");
        return Err(Box::new(sim.fail("alert-lost", detail)));
    }
    Ok(())
}

/// A person's text that was accepted and is neither delivered nor reported.
fn waiting_text(sim: &Sim) -> Option<String> {
    let mail = sim.disk.borrow().json("mail.json").unwrap_or_default();
    for asked in &sim.asked {
        let handled =
            mail["handled"].as_array().and_then(|all| all.iter().find(|h| h["id"] == asked.id.as_str()));
        let Some(handled) = handled else { continue };
        let Ask::Nudge { unit, text: _ } = &asked.ask else { continue };
        let epoch = sim.world.borrow().units.get(unit.as_str()).map_or(0, |truth| truth.epoch);
        let enabled = sim.config.units.get(unit).is_some_and(|unit| {
            unit.enabled && unit.agent().is_some_and(|agent| agent.kind != AgentKind::Task)
        });
        // A loop agent that ended after the plan did is nobody's to start, one that is limited nobody's to ask; the text
        // waits for it.
        let rests = goal::is_reached(sim)
            && sim.world.borrow().living(unit.as_str()).is_none_or(|pane| pane.cli.banner);
        let resolved = rests
            || handled["taken"] != "accepted"
            || sim.check.text_arrived(&asked.id)
            || sim.check.failed_texts.contains(&asked.id)
            || epoch != asked.epoch
            || !enabled;
        if !resolved {
            return Some(format!(
                "{unit}: the text of {} was accepted, but neither delivered nor reported",
                asked.id
            ));
        }
    }
    None
}

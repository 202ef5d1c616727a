//! The troubles of a plan: a remote that is slow, hangs, fails or is rewritten, git that can't be read, files that are
//! damaged or edited, a config whose phases change, people who put another phase in force.

use super::outline::{INBOXES, STATE};
use super::rng::Rng;
use super::run::Sim;
use watchkeeper::model::seen::{Ask, PhaseStep};

/// Per mille of ticks, or of fetches.
#[derive(Clone, Debug, Default)]
pub struct Friction {
    /// Pushes per mille of an agent's steps, each phase needing few; 0 = as usual.
    pub pushes: u64,
    pub rewrites: u64,
    pub slow: u64,
    pub hangs: u64,
    pub fails: u64,
    pub stuck: u64,
    pub runner_kills: u64,
    /// Somebody fetches by hand.
    pub fetched: u64,
    pub tip_silence: u64,
    pub git_silence: u64,
    /// phase.json and git.json are deleted or damaged.
    pub damage: u64,
    /// phase.json is edited by a person.
    pub edits: u64,
    /// The phases of the config change.
    pub outline: u64,
    /// A person puts another phase in force, or says that all is done.
    pub orders: u64,
    pub by_hand: u64,
}

impl Friction {
    /// Each is in with an even chance or less, at a rate of its own.
    pub fn draw(rng: &mut Rng) -> Friction {
        let mut rate = |odds: u64, max: i64| if rng.chance(odds) { rng.between(1, max) as u64 } else { 0 };
        Friction {
            pushes: 0,
            rewrites: rate(400, 25),
            slow: rate(500, 700),
            hangs: rate(400, 200),
            fails: rate(400, 300),
            stuck: rate(200, 60),
            runner_kills: rate(300, 60),
            fetched: rate(300, 40),
            tip_silence: rate(300, 15),
            git_silence: rate(300, 15),
            damage: rate(300, 20),
            edits: rate(300, 15),
            outline: rate(400, 25),
            orders: rate(300, 15),
            by_hand: rate(100, 4),
        }
    }
}

/// Puts the rates where fetches fail, and tells the world which phases there are.
pub fn install(sim: &Sim) {
    let world = &mut *sim.world.borrow_mut();
    let (Some(remote), Some(outline)) = (&mut world.remote, &sim.outline) else { return };
    let friction = &sim.friction;
    remote.faults.slow = friction.slow;
    remote.faults.hangs = friction.hangs;
    remote.faults.fails = friction.fails;
    remote.faults.stuck = friction.stuck;
    if friction.pushes > 0 {
        (remote.pushes, remote.steps) = (friction.pushes, 1);
    }
    remote.inboxes = INBOXES.iter().map(|file| format!("{STATE}/{file}")).collect();
    for phase in &outline.phases {
        remote.status.insert(phase.id.clone(), phase.status());
    }
}

/// Takes the troubles out; what they broke stays broken.
pub fn remove(sim: &mut Sim) {
    sim.friction = Friction::default();
    install(sim);
    if let Some(remote) = &mut sim.world.borrow_mut().remote {
        (remote.tip_silent_until, remote.git_silent_until) = (0, 0);
    }
}

/// What happens between two ticks.
pub fn between(sim: &mut Sim) {
    if sim.outline.is_none() {
        return;
    }
    let friction = sim.friction.clone();
    let mut rng = sim.rng.clone();
    remote(sim, &friction, &mut rng);
    files(sim, &friction, &mut rng);
    people(sim, &friction, &mut rng);
    sim.rng = rng;
}

fn remote(sim: &mut Sim, friction: &Friction, rng: &mut Rng) {
    let world = &mut *sim.world.borrow_mut();
    let t = world.t;
    let Some(remote) = &mut world.remote else { return };
    let mut story = Vec::new();
    if rng.chance(friction.rewrites) {
        story.push(format!("the branch is rewritten: {}", remote.rewrite()));
    }
    if rng.chance(friction.runner_kills) {
        remote.kill_runner();
    }
    if rng.chance(friction.fetched) {
        remote.tracking = remote.origin;
        story.push("somebody fetches by hand".into());
    }
    if rng.chance(friction.tip_silence) {
        remote.tip_silent_until = t + rng.between(1, 300) * 1000;
        story.push("the clone can't be read".into());
    }
    if rng.chance(friction.git_silence) {
        remote.git_silent_until = t + rng.between(1, 300) * 1000;
        story.push("git can't be asked".into());
    }
    for line in story {
        world.tell(line);
    }
}

fn files(sim: &mut Sim, friction: &Friction, rng: &mut Rng) {
    if rng.chance(friction.damage) {
        let path = if rng.chance(500) { "phase.json" } else { "git.json" };
        damage(sim, rng, path);
    }
    if rng.chance(friction.edits) {
        edit(sim, rng);
    }
    if rng.chance(friction.by_hand) {
        let there = sim.disk.borrow().get("SEQUENCE-COMPLETE").is_some();
        sim.world
            .borrow_mut()
            .tell(format!("SEQUENCE-COMPLETE {} by hand", if there { "goes" } else { "is set" }));
        if there {
            sim.disk.borrow_mut().delete("SEQUENCE-COMPLETE");
        } else {
            sim.disk.borrow_mut().put("SEQUENCE-COMPLETE", b"that is enough\n".to_vec());
        }
    }
}

fn damage(sim: &mut Sim, rng: &mut Rng, path: &str) {
    let Some(mut bytes) = sim.disk.borrow().get(path).map(<[u8]>::to_vec) else { return };
    let cut = rng.below(bytes.len() as u64) as usize;
    let how = rng.below(3);
    sim.world.borrow_mut().tell(format!("{path} is {}", ["deleted", "cut short", "garbled"][how as usize]));
    let mut disk = sim.disk.borrow_mut();
    match how {
        0 => {
            disk.delete(path);
            disk.destroyed.insert(path.to_owned());
        }
        1 => {
            bytes.truncate(cut);
            disk.put(path, bytes);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(cut) {
                *byte = b'\x07';
            }
            disk.put(path, bytes);
        }
    }
}

/// A person edits index or id.
fn edit(sim: &mut Sim, rng: &mut Rng) {
    let Some(mut file) = sim.disk.borrow().json("phase.json") else { return };
    let Some(outline) = &sim.outline else { return };
    if file["written"]["id"].as_str().unwrap_or_default().is_empty() {
        return;
    }
    let at = rng.below(outline.phases.len() as u64) as usize;
    if rng.chance(500) {
        file["id"] = outline.phases[at].id.clone().into();
    } else {
        file["index"] = at.into();
    }
    sim.world.borrow_mut().tell(format!("phase.json is edited: {} {}", file["index"], file["id"]));
    let text = serde_json::to_string_pretty(&file).unwrap_or_default();
    sim.disk.borrow_mut().put("phase.json", text.into_bytes());
}

fn people(sim: &mut Sim, friction: &Friction, rng: &mut Rng) {
    let file = sim.disk.borrow().json("phase.json").unwrap_or_default();
    let completed = !file["completed"].is_null();
    if rng.chance(friction.outline * if completed { 5 } else { 1 }) {
        replan(sim, rng, completed);
    }
    let Some(outline) = &sim.outline else { return };
    let ids: Vec<String> = outline.phases.iter().map(|phase| phase.id.clone()).collect();
    let id = file["id"].as_str().unwrap_or_default().to_owned();
    let vanished = !completed && !id.is_empty() && !ids.contains(&id);
    if vanished && rng.chance(100) {
        sim.ask(Ask::Phase { to: PhaseStep::Set { id: rng.pick(&ids).clone() } });
    }
    if rng.chance(friction.orders) {
        let to = match rng.below(6) {
            0 => PhaseStep::Reset,
            1 | 2 => PhaseStep::Advance { from: None },
            _ => PhaseStep::Set { id: rng.pick(&ids).clone() },
        };
        sim.ask(Ask::Phase { to });
    }
}

/// The phases of the config change.
fn replan(sim: &mut Sim, rng: &mut Rng, completed: bool) {
    let Some(outline) = &mut sim.outline else { return };
    let what = if completed {
        outline.append();
        "a phase is appended".to_owned()
    } else {
        outline.edit(rng)
    };
    sim.reread();
    sim.check.phases.replanned();
    let ids: Vec<&str> =
        sim.config.sequence.iter().flat_map(|plan| &plan.phases).map(|p| p.id.as_str()).collect();
    sim.world.borrow_mut().tell(format!("agents.toml: {what}: {}", ids.join(" ")));
}

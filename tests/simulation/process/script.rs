//! What the simulated processes do by themselves.

use super::fleet::{BATCH, BATCH_HOLDS};
use super::machine::{Machine, Mood, Script};
use watchkeeper::model::seen::Exit;

/// A stack trace that is always the same.
const POISON: &str = "Traceback (most recent call last):\n  File \"/app/train.py\", line 12, in main\n    load(batch)\n\
    ValueError: the manifest is empty";
const BUG: &str = "Traceback (most recent call last):\n  File \"/app/ill.py\", line 40, in main\n    rate = options[key]\n\
    KeyError: 'lr'";

/// It has just been started.
pub fn begin(machine: &mut Machine, name: &str) {
    let t = machine.t;
    let (short, middle, long) = (
        machine.rng.between(100, 3000),
        machine.rng.between(15_000, 60_000),
        machine.rng.between(60_000, 250_000),
    );
    let overruns = machine.rng.chance(machine.temper.overruns);
    let Some(unit) = machine.units.get_mut(name) else { return };
    let (script, bug) = (unit.script, unit.bug);
    let Some(body) = &mut unit.body else { return };
    body.ends_at = match script {
        Script::Storm if bug => t + short,
        Script::Poisoned | Script::Ill if bug => t + middle,
        Script::Long if overruns => i64::MAX,
        Script::Long => t + long.min(180_000),
        Script::Stage | Script::Endless => t + long,
        Script::Steady
        | Script::Flaky
        | Script::Poisoned
        | Script::Leaky
        | Script::Swollen
        | Script::Trainer
        | Script::Quiet
        | Script::Storm
        | Script::Ill => i64::MAX,
    };
    let number = body.number;
    machine.tell(format!("{name}: run {number} begins"));
}

/// What it does now.
pub fn step(machine: &mut Machine, name: &str) {
    let t = machine.t;
    accrue(machine, name);
    if machine.living(name).is_some()
        && machine.units.get(name).is_some_and(|unit| unit.remote)
        && machine.rng.chance(machine.temper.requeues)
    {
        return machine.requeue(name);
    }
    let Some(unit) = machine.units.get(name) else { return };
    let script = unit.script;
    let Some(body) = &unit.body else { return };
    let (mut mood, mood_until, ends_at) = (body.mood, body.mood_until, body.ends_at);
    if t >= ends_at {
        return end(machine, name, script);
    }
    if mood != Mood::Works && t >= mood_until {
        set_mood(machine, name, Mood::Works, 0);
        mood = Mood::Works;
    }
    match mood {
        Mood::Works => work(machine, name, script),
        Mood::Chatters | Mood::Churns if t < mood_until => machine.write(name, "waiting for data"),
        Mood::Silent | Mood::Computes | Mood::Chatters | Mood::Churns => {}
    }
    let pause = machine.rng.between(8_000, 40_000);
    if let Some(body) = machine.units.get_mut(name).and_then(|unit| unit.body.as_mut()) {
        let calm = if body.mood == Mood::Works { i64::MAX } else { body.mood_until };
        body.next = (t + pause).min(body.ends_at).min(calm).max(t + 1);
    }
}

fn work(machine: &mut Machine, name: &str, script: Script) {
    let t = machine.t;
    let Some(body) = machine.units.get_mut(name).and_then(|unit| unit.body.as_mut()) else { return };
    body.step += 1;
    body.advanced_at = t;
    let (step, batch) = (body.step, body.env.get("BATCH").and_then(|batch| batch.parse().ok()));
    machine.write(name, &format!("step {step}/100000"));
    match script {
        Script::Flaky => flake(machine, name),
        Script::Leaky | Script::Swollen => grow(machine, name, script, batch.unwrap_or(BATCH)),
        Script::Trainer | Script::Quiet => tire(machine, name, script),
        Script::Steady
        | Script::Poisoned
        | Script::Storm
        | Script::Stage
        | Script::Long
        | Script::Ill
        | Script::Endless => {}
    }
}

/// A failure in the network: mostly fatal, and mostly said.
fn flake(machine: &mut Machine, name: &str) {
    if !machine.rng.chance(machine.temper.fails) {
        return;
    }
    let how = machine.rng.below(3);
    if how > 0 {
        machine.say(name, "net", "ConnectionError: connection reset by peer");
    }
    if how < 2 {
        machine.end(name, Exit::Status(1), false);
    }
}

/// Memory grows towards what the batch needs.
fn grow(machine: &mut Machine, name: &str, script: Script, batch: i64) {
    let Some(body) = machine.units.get_mut(name).and_then(|unit| unit.body.as_mut()) else { return };
    let before = body.memory;
    body.memory = (before + batch / 4).min(10 * batch);
    let memory = body.memory;
    let limit = 10 * BATCH_HOLDS + 20;
    match script {
        // Told when it leaves its range, and not as long as it stays outside.
        Script::Swollen if memory > limit && before <= limit => {
            machine.say(name, "memory", &format!("mem {memory}"));
        }
        Script::Swollen => machine.write(name, &format!("mem {memory}")),
        _ if memory > limit => {
            machine.say(name, "oom", "RuntimeError: CUDA out of memory. Tried to allocate 2 GiB");
            machine.end(name, Exit::Status(1), false);
        }
        _ => {}
    }
}

/// It stops writing, or moving, for a while or for ever.
fn tire(machine: &mut Machine, name: &str, script: Script) {
    if !machine.rng.chance(machine.temper.stalls) {
        return;
    }
    let moods: &[Mood] = match script {
        Script::Quiet => &[Mood::Silent, Mood::Computes, Mood::Computes],
        _ => &[Mood::Silent, Mood::Chatters, Mood::Churns],
    };
    let mood = *machine.rng.pick(moods);
    let lasts = match mood {
        Mood::Silent | Mood::Chatters if machine.rng.chance(500) => i64::from(u32::MAX),
        Mood::Silent | Mood::Chatters => machine.rng.between(60, 400) * 1000,
        Mood::Computes | Mood::Churns => machine.rng.between(200, 1200) * 1000,
        Mood::Works => 0,
    };
    set_mood(machine, name, mood, lasts);
}

fn set_mood(machine: &mut Machine, name: &str, mood: Mood, lasts: i64) {
    let t = machine.t;
    if let Some(body) = machine.units.get_mut(name).and_then(|unit| unit.body.as_mut()) {
        (body.mood, body.mood_until) = (mood, t + lasts);
    }
    machine.tell(format!("{name}: {mood:?} for {} s", lasts / 1000));
}

/// Brings its CPU clock up to now.
pub fn accrue(machine: &mut Machine, name: &str) {
    let t = machine.t;
    let Some(body) = machine.units.get_mut(name).and_then(|unit| unit.body.as_mut()) else { return };
    let passed = (t - body.cpu_to).max(0);
    body.cpu_to = t;
    match body.mood {
        Mood::Works | Mood::Computes | Mood::Churns => {
            body.cpu_ms += passed as u64 / 2;
            body.cpu_at = t;
        }
        Mood::Silent | Mood::Chatters => {}
    }
}

/// Its time has come.
fn end(machine: &mut Machine, name: &str, script: Script) {
    let exit = match script {
        Script::Storm => 3,
        Script::Poisoned => {
            machine.say(name, "traceback", POISON);
            1
        }
        Script::Ill => {
            machine.say(name, "traceback", BUG);
            1
        }
        Script::Stage if machine.rng.chance(machine.temper.stage_fails) => 2,
        Script::Steady
        | Script::Flaky
        | Script::Leaky
        | Script::Swollen
        | Script::Trainer
        | Script::Quiet
        | Script::Stage
        | Script::Long
        | Script::Endless => 0,
    };
    machine.end(name, Exit::Status(exit), false);
}

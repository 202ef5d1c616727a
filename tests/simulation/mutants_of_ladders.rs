//! Bugs planted around `decide` in a fleet of cooperative services.

use super::cooperative::Habits;
use super::faults::Swarm;
use super::mutants::{Mutant, with_config, with_state};
use super::ordeal::Ordeal;
use super::scenes;
use super::service::Mode;
use watchkeeper::config::Config;
use watchkeeper::engine::tick::Decide;
use watchkeeper::model::action::{Action, Signal};
use watchkeeper::model::seen::{Exit, Observation, PaneSeen};
use watchkeeper::policy::decide;
use watchkeeper::policy::proposal::{Decision, What};
use watchkeeper::state::State;
use watchkeeper::state::unit::{Breaker, EndCause, EndStep, LadderState, UnitState};

const fn mutant(
    name: &'static str,
    decide: Decide,
    troubles: fn() -> Swarm,
    ordeal: fn() -> Ordeal,
    caught_by: &'static str,
) -> Mutant {
    Mutant { name, decide, troubles, friction: None, ordeal: Some(ordeal), caught_by }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant("the ladder skips a tier", tier_skipped, scenes::work, hangs, "ladder-order"),
    mutant("the ladder forgets where it stands", ladder_forgotten, scenes::work, hangs, "ladder-order"),
    mutant("the cooldown is forgotten", cooldown_forgotten, scenes::work, hangs, "ladder-cooldown"),
    mutant("a tier is not recorded", tier_not_recorded, scenes::work, hangs, "ladder-cooldown"),
    mutant("to ask for a restart is a failure", asking_fails, scenes::work, restless, "ladder-asks"),
    mutant("the quiet time is forgotten", quiet_forgotten, scenes::work, sticks, "ladder-quiet"),
    mutant("the grace is forgotten: KILL for TERM", kill_for_term, scenes::work, hangs, "grace"),
    mutant(
        "the ladder's breaker never opens",
        ladder_breaker_never_opens,
        scenes::work,
        doomed,
        "ladder-breaker",
    ),
    mutant("the ladder's breaker never half-opens", never_half_opens, scenes::work, doomed, "ladder-late"),
    mutant("heartbeats are not seen", beats_ignored, scenes::work, hangs, "ladder-healthy"),
    mutant(
        "a beat before the first signal is not seen",
        late_beat_ignored,
        scenes::work,
        dozes,
        "term-fresh",
    ),
    mutant("the version of the process before counts", version_race, scenes::deaths, slow, "ladder-healthy"),
    mutant("a marker is taken away while it is meant", marker_eaten, scenes::work, hangs, "marker"),
    mutant("a marker goes to another unit", marker_of_another, scenes::work, hangs, "marker"),
    mutant("who has the pid is signalled", pid_alone, scenes::work, strangers, "stranger"),
    mutant("another process of the same pid is the same", same_pid, scenes::work, replaced, "other-process"),
    mutant("what is left of its tree is forgotten", leftovers_forgotten, scenes::work, hangs, "left-behind"),
    mutant(
        "a recovery is not counted",
        recovery_not_counted,
        scenes::short_lives,
        Ordeal::default,
        "recovery-max",
    ),
];

/// A scene: its name and what they go through.
pub type Scene = (&'static str, fn() -> Swarm, fn() -> Ordeal);

/// The scenes, for the real decision.
pub const SCENES: &[Scene] = &[
    ("hangs", scenes::work, hangs),
    ("hangs, and the watchdog is killed", scenes::crashes, hangs),
    ("doomed", scenes::work, doomed),
    ("dozes", scenes::work, dozes),
    ("sticks", scenes::work, sticks),
    ("slow", scenes::deaths, slow),
    ("strangers", scenes::work, strangers),
    ("storms", scenes::work, storms),
    ("markers", scenes::work, markers),
    ("replaced", scenes::work, replaced),
];

/// Who lives hangs now and then, and is ended or ends itself.
fn hangs() -> Ordeal {
    Ordeal { turns: 120, modes: &[Mode::Stuck, Mode::Hung, Mode::Deaf, Mode::Orphans], ..Ordeal::default() }
}

/// Whatever is started hangs, for long.
fn doomed() -> Ordeal {
    Ordeal { fates: 100, modes: &[Mode::Hung, Mode::Deaf], ..Ordeal::default() }
}

/// Silences that end by themselves, and pauses at the worst moment.
fn dozes() -> Ordeal {
    Ordeal { turns: 120, pauses: 1000, modes: &[Mode::Dozes], ..Ordeal::default() }
}

/// New code comes, and is not taken.
fn sticks() -> Ordeal {
    Ordeal { pulls: 60, fates: 100, modes: &[Mode::Sticky], ..Ordeal::default() }
}

/// New code comes, and what runs is said late.
fn slow() -> Ordeal {
    let habits = Habits { slow_stamps: 800, ..Habits::default() };
    Ordeal { pulls: 120, rebases: 20, habits, ..Ordeal::default() }
}

/// The pid of who ended is somebody else's at once.
fn strangers() -> Ordeal {
    let habits = Habits { strangers: 1000, zombies: 200, ..Habits::default() };
    Ordeal { turns: 200, modes: &[Mode::Orphans, Mode::Deaf], habits, ..Ordeal::default() }
}

/// Crash loops of every kind.
fn storms() -> Ordeal {
    Ordeal { fates: 60, modes: &[Mode::Crashes, Mode::Early, Mode::Restless], ..Ordeal::default() }
}

/// Who asks for a restart again and again.
fn restless() -> Ordeal {
    Ordeal { fates: 60, modes: &[Mode::Restless], ..Ordeal::default() }
}

/// People start anew what is being ended.
fn replaced() -> Ordeal {
    Ordeal { replaces: 120, ..hangs() }
}

/// People and leftovers.
fn markers() -> Ordeal {
    Ordeal { markers: 200, ..hangs() }
}

fn each(state: &mut State, change: impl Fn(&mut UnitState)) {
    state.units.values_mut().for_each(change);
}

fn tier_skipped(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| each(state, |unit| unit.ladder.tier = unit.ladder.tier.max(1)))
}

fn ladder_forgotten(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        each(state, |unit| {
            let was = std::mem::take(&mut unit.ladder);
            let LadderState { tier_awake_s, remedy_awake_s, asked, stale, .. } = was;
            unit.ladder =
                LadderState { tier_awake_s, remedy_awake_s, asked, stale, ..LadderState::default() };
        });
    })
}

fn tier_not_recorded(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for granted in decision.granted.iter().filter(|granted| granted.by == "ladder") {
        let old = state.units.get(&granted.unit).map(|unit| unit.ladder.clone()).unwrap_or_default();
        if let Some(unit) = decision.next.units.get_mut(&granted.unit) {
            unit.ladder = old;
        }
    }
    decision
}

/// Exit status 42 is one like any other.
fn asking_fails(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    for unit in seen.units.values_mut() {
        if let PaneSeen::Dead { exit: exit @ Some(Exit::Status(42)), .. } = &mut unit.pane {
            *exit = Some(Exit::Status(1));
        }
    }
    decide(config, state, &seen)
}

fn cooldown_forgotten(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| {
        config.units.values_mut().for_each(|unit| unit.ladder.cooldown_s = 0.0);
    })
}

fn quiet_forgotten(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| {
        config.units.values_mut().for_each(|unit| unit.ladder.quiet_s = 0.0);
    })
}

fn kill_for_term(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for granted in &mut decision.granted {
        let ending = decision.next.units.get(&granted.unit).and_then(|state| state.ending.as_ref());
        if let What::Act(Action::Signal { signal, .. }) = &mut granted.what
            && ending.is_some_and(|ending| ending.cause == EndCause::Ladder)
        {
            *signal = Signal::Kill;
        }
    }
    decision
}

fn ladder_breaker_never_opens(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| each(state, |unit| unit.ladder.failed = 0))
}

fn never_half_opens(config: &Config, state: &State, seen: &Observation) -> Decision {
    let now = seen.now.awake_s;
    with_state(config, state, seen, |state| {
        each(state, |unit| {
            if let Breaker::Open { until_awake_s } = &mut unit.ladder.breaker {
                *until_awake_s = now.plus_s(600.0);
            }
        });
    })
}

/// Of these units the heartbeat stands as it was remembered.
fn without_beats(
    config: &Config,
    state: &State,
    seen: &Observation,
    of: impl Fn(&UnitState) -> bool,
) -> Decision {
    let mut seen = seen.clone();
    for (name, unit) in &mut seen.units {
        let clocks = state.clocks.units.get(name).and_then(|clocks| clocks.heartbeat.as_ref());
        let meant = state.units.get(name).is_some_and(&of);
        if let (Some(said), Some(clock)) = (unit.cooperation.as_mut().filter(|_| meant), clocks) {
            said.heartbeat = Some(clock.value.clone());
        }
    }
    decide(config, state, &seen)
}

fn beats_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    without_beats(config, state, seen, |_| true)
}

fn late_beat_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    without_beats(config, state, seen, |unit| {
        unit.ending.as_ref().is_some_and(|ending| ending.step == EndStep::Wanted)
    })
}

/// When it was started is not known: any stamp may be its own.
fn version_race(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| each(state, |unit| unit.launch.at = None))
}

/// Each marker is older than its process.
fn marker_eaten(config: &Config, state: &State, seen: &Observation) -> Decision {
    let now = seen.now.wall.plus_s(1.0);
    with_state(config, state, seen, |state| {
        each(state, |unit| {
            unit.launch.at = Some(now);
            unit.ladder.asked = None;
        });
    })
}

fn marker_of_another(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for granted in &mut decision.granted {
        let others = config.units.values().filter(|unit| unit.cooperative.is_some());
        let mut others = others.filter(|unit| unit.name != granted.unit);
        if let What::Act(Action::Mark { marker, .. }) = &mut granted.what {
            marker.unit = others.next().map(|unit| unit.name.clone());
        }
    }
    decision
}

/// Who was signalled before is signalled again, whoever that is by now.
fn pid_alone(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for granted in &mut decision.granted {
        let ending = state.units.get(&granted.unit).and_then(|state| state.ending.as_ref());
        let Some(EndStep::Termed { processes: before, .. }) = ending.map(|ending| &ending.step) else {
            continue;
        };
        if let What::Act(Action::Signal { processes, .. }) = &mut granted.what {
            processes.extend(before.iter().copied());
            processes.iter_mut().for_each(|process| process.start = 0);
        }
    }
    decision
}

/// What a process started at is not looked at.
fn same_pid(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    for (name, unit) in &mut seen.units {
        let known = state.units.get(name).and_then(|state| state.seen.process);
        if let (PaneSeen::Alive(pane), Some(known)) = (&mut unit.pane, known)
            && pane.pid == known.pid
        {
            pane.pid_start = known.start;
        }
    }
    decide(config, state, &seen)
}

fn leftovers_forgotten(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    for unit in seen.units.values_mut().filter(|unit| matches!(unit.pane, PaneSeen::Dead { .. })) {
        unit.tree = unit.tree.as_ref().map(|_| Vec::new());
    }
    decide(config, state, &seen)
}

fn recovery_not_counted(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    each(&mut decision.next, |unit| unit.recovery.attempts = 0);
    decision
}

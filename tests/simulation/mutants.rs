//! The simulator's own proof: bugs planted around `decide`, each of which some invariant must catch.
//!
//! A mutant lies to the real `decide` (about config, memory or sight) or spoils its answer, as a wrong line in it would.

use super::faults::Swarm;
use super::fleet::Crew;
use super::friction::Friction;
use super::mutants_of_ladders as of_ladders;
use super::mutants_of_plans as of_plans;
use super::ordeal::Ordeal;
use super::run::{Plan, run};
use super::scenes;
use super::threads::on_two_threads;
use watchkeeper::base::time::Awake;
use watchkeeper::config::{Config, Role};
use watchkeeper::engine::tick::Decide;
use watchkeeper::model::seen::{AlivePane, Observation, PaneSeen, ScreenState, ServerSeen};
use watchkeeper::policy::decide;
use watchkeeper::policy::proposal::Decision;
use watchkeeper::state::State;
use watchkeeper::state::unit::{Breaker, DeliveryStep, Kickoff};

/// Seeds that a mutant may survive before it counts as missed, and the ticks of each.
const SEEDS: u64 = 6;
const TICKS: u64 = 160;

/// A planted bug, the troubles that it shows in, and the invariant that must catch it.
pub struct Mutant {
    pub name: &'static str,
    pub decide: Decide,
    pub troubles: fn() -> Swarm,
    /// The fleet has a plan, and these troubles with it.
    pub friction: Option<fn() -> Friction>,
    /// It is the fleet of cooperative services, and they go through this.
    pub ordeal: Option<fn() -> Ordeal>,
    pub caught_by: &'static str,
}

const fn mutant(
    name: &'static str,
    decide: Decide,
    troubles: fn() -> Swarm,
    caught_by: &'static str,
) -> Mutant {
    Mutant { name, decide, troubles, friction: None, ordeal: None, caught_by }
}

/// All of them.
const MUTANTS: &[Mutant] = &[
    mutant("restarts are not charged", restarts_not_charged, scenes::deaths, "restart-backoff"),
    mutant("the backoff is forgotten", backoff_forgotten, scenes::deaths, "restart-backoff"),
    mutant("the breaker never opens", breaker_never_opens, scenes::short_lives, "restart-breaker"),
    mutant("a limit is ignored", limit_ignored, scenes::limits, "untouchable"),
    mutant("every unit of an account probes", everyone_probes, scenes::limits, "canary"),
    mutant("blind is taken for absent", blind_is_absent, scenes::silence, "blind"),
    mutant("a server's death is charged to its units", host_events_charged, scenes::servers, "host-event"),
    mutant("a pause is ignored", pause_ignored, scenes::markers, "untouchable"),
    mutant("down is ignored", down_ignored, scenes::markers, "untouchable"),
    mutant("declared waits are ignored", waits_ignored, scenes::waits, "disturbance"),
    mutant("a tool's CPU is ignored", tools_ignored, scenes::tools, "disturbance"),
    mutant("compaction is ignored", compaction_ignored, scenes::compaction, "kill-veto"),
    mutant("a person's draft is ignored", draft_ignored, scenes::people, "draft"),
    mutant("an open dialog is ignored", dialog_ignored, scenes::dialogs, "dialog"),
    mutant("a text is pasted again", pasted_again, scenes::work, "once-only-text"),
    mutant("the kickoff is typed for ever", kickoff_for_ever, scenes::work, "once-only-kickoff"),
    mutant("a wake is not charged", wake_not_charged, scenes::work, "once-only-wake"),
    mutant("max_disruptions is ignored", disruptions_uncapped, scenes::edits, "disruption-cap"),
    mutant("an ordered restart breaks into a turn", impatient, scenes::edits, "mid-turn"),
    mutant("KILL follows TERM without grace", no_kill_grace, scenes::edits, "grace"),
    mutant("requests are taken twice", requests_twice, scenes::requests, "once-only-text"),
    mutant("owed alerts are dropped", alerts_dropped, scenes::dialogs, "alert-owed"),
    mutant("durations are measured on the wall clock", wall_for_awake, scenes::clocks, "disturbance"),
    mutant("a gap in looking counts as silence", gap_counts, scenes::pauses, "disturbance"),
    mutant("changes make no events", events_swallowed, scenes::work, "event-for-change"),
    mutant("an action has no reason", reasons_dropped, scenes::work, "reason"),
];

pub fn with_config(
    config: &Config,
    state: &State,
    seen: &Observation,
    change: impl FnOnce(&mut Config),
) -> Decision {
    let mut config = config.clone();
    change(&mut config);
    decide(&config, state, seen)
}

pub fn with_state(
    config: &Config,
    state: &State,
    seen: &Observation,
    change: impl FnOnce(&mut State),
) -> Decision {
    let mut state = state.clone();
    change(&mut state);
    decide(config, &state, seen)
}

pub fn with_panes(
    config: &Config,
    state: &State,
    seen: &Observation,
    change: impl Fn(&mut AlivePane),
) -> Decision {
    let mut seen = seen.clone();
    for unit in seen.units.values_mut() {
        if let PaneSeen::Alive(pane) = &mut unit.pane {
            change(pane);
        }
    }
    decide(config, state, &seen)
}

fn restarts_not_charged(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for (name, unit) in &mut decision.next.units {
        unit.restart = state.units.get(name).map(|old| old.restart.clone()).unwrap_or_default();
    }
    decision
}

fn backoff_forgotten(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        for unit in state.units.values_mut() {
            unit.restart.past_awake_s.clear();
        }
    })
}

/// What was restarted is forgotten but for the last one, and for how many there were.
fn breaker_never_opens(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        for unit in state.units.values_mut() {
            let past = &mut unit.restart.past_awake_s;
            let older = past.len().saturating_sub(1);
            past.iter_mut().take(older).for_each(|at| *at = at.plus_s(-1e6));
            unit.restart.breaker = Breaker::Closed;
        }
    })
}

fn limit_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_panes(config, state, seen, |pane| {
        if pane.reading.state == ScreenState::Limited {
            pane.reading.state = ScreenState::Idle;
            pane.reading.substate = None;
        }
    })
}

fn blind_is_absent(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    if matches!(seen.server, ServerSeen::Unknown { .. }) {
        seen.server = ServerSeen::Absent;
    }
    for unit in seen.units.values_mut().filter(|unit| unit.pane == PaneSeen::Unknown) {
        unit.pane = PaneSeen::Absent;
    }
    decide(config, state, &seen)
}

fn host_events_charged(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        state.units.values_mut().for_each(|unit| unit.seen.lost_with_server = false);
    })
}

fn pause_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    seen.markers.paused = None;
    seen.units.values_mut().for_each(|unit| unit.markers.paused = None);
    decide(config, state, &seen)
}

fn down_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    seen.markers.down = None;
    seen.units.values_mut().for_each(|unit| unit.markers.down = None);
    decide(config, state, &seen)
}

fn waits_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    for unit in seen.units.values_mut() {
        unit.markers.waiting_until = None;
        if let PaneSeen::Alive(pane) = &mut unit.pane {
            pane.reading.last_line.clear();
        }
    }
    decide(config, state, &seen)
}

fn tools_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    for unit in seen.units.values_mut() {
        unit.tools_cpu_ms = unit.tools_cpu_ms.map(|_| 0);
    }
    decide(config, state, &seen)
}

fn compaction_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_panes(config, state, seen, |pane| pane.reading.compacting = false)
}

fn draft_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_panes(config, state, seen, |pane| {
        if pane.reading.state == ScreenState::Draft {
            pane.reading.state = ScreenState::Idle;
            pane.reading.composer = Some(String::new());
        }
        pane.typed_at = None;
    })
}

fn dialog_ignored(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_panes(config, state, seen, |pane| {
        if pane.reading.state == ScreenState::Blocked {
            pane.reading.state = ScreenState::Idle;
            pane.reading.dialog = None;
            pane.reading.composer = Some(String::new());
        }
    })
}

fn pasted_again(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        for unit in state.units.values_mut() {
            if let Some(delivery) = &mut unit.delivery.current
                && matches!(delivery.step, DeliveryStep::Submitted { .. })
            {
                delivery.step = DeliveryStep::Wanted;
            }
        }
    })
}

fn everyone_probes(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| {
        for (name, unit) in &mut config.units {
            if let Role::Agent(agent) = &mut unit.role {
                agent.account = name.to_string();
            }
        }
    })
}

fn disruptions_uncapped(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| config.watchdog.max_disruptions = 1000)
}

fn requests_twice(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = with_state(config, state, seen, |state| {
        state.mail.handled.clear();
        state.units.values_mut().for_each(|unit| unit.operator.taken.clear());
    });
    // Neither the ids nor the place in the inbox are remembered.
    decision.next.mail.handled.clear();
    decision.next.mail.inbox_done = 0;
    decision
}

fn alerts_dropped(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    decision.next.mail.owed.clear();
    decision.next.units.values_mut().for_each(|unit| unit.owed.clear());
    decision
}

fn wall_for_awake(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    seen.now.awake_s = Awake(seen.now.wall.0);
    decide(config, state, &seen)
}

fn gap_counts(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        state.clocks.looked_awake_s = Some(seen.now.awake_s);
    })
}

fn no_kill_grace(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| {
        config.units.values_mut().for_each(|unit| unit.ladder.grace_s = 0.0);
    })
}

fn kickoff_for_ever(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for unit in decision.next.units.values_mut().filter(|unit| unit.launch.count > 0) {
        unit.launch.kickoff = Kickoff::Due;
    }
    decision
}

fn wake_not_charged(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for granted in decision.granted.iter().filter(|granted| granted.by == "wake") {
        let old = state.units.get(&granted.unit).map(|unit| unit.wake.clone()).unwrap_or_default();
        if let Some(unit) = decision.next.units.get_mut(&granted.unit) {
            unit.wake = old;
        }
    }
    decision
}

fn impatient(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_config(config, state, seen, |config| config.watchdog.advance_grace_s = 0.0)
}

fn events_swallowed(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    decision.events.clear();
    decision
}

fn reasons_dropped(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    decision.granted.iter_mut().for_each(|granted| granted.why.seen.clear());
    decision
}

/// What the named invariant says of it, and in which seed.
fn caught(mutant: &Mutant) -> Option<String> {
    (1..=SEEDS).find_map(|seed| {
        let plan = Plan {
            seed,
            decide: mutant.decide,
            thorough: false,
            // A plan takes its time to be complete, a breaker to open.
            safety_ticks: match mutant.friction.is_some() || mutant.ordeal.is_some() {
                true => 2 * TICKS,
                false if mutant.caught_by == "restart-breaker" => 2 * TICKS,
                false => TICKS,
            },
            liveness: false,
            swarm: Some((mutant.troubles)()),
            work: Some(mutant.friction.map(|friction| friction())),
            crew: mutant.ordeal.map_or(Crew::Agents, |ordeal| Crew::Ladders(ordeal())),
            hunted: Some(mutant.caught_by),
        };
        run(&plan).err().map(|failure| failure.line())
    })
}

#[test]
fn every_planted_bug_is_caught() {
    let only = std::env::var("MUTANT").unwrap_or_default();
    let mutants: Vec<&Mutant> = MUTANTS
        .iter()
        .chain(of_plans::MUTANTS)
        .chain(of_ladders::MUTANTS)
        .filter(|mutant| mutant.name.contains(&only))
        .collect();
    let said = on_two_threads(&mutants, |mutant| {
        let began = std::time::Instant::now();
        (caught(mutant), began.elapsed())
    });
    assert_eq!(said.len(), mutants.len());
    let mut missed = Vec::new();
    for (mutant, (by, took)) in mutants.iter().zip(said) {
        match by {
            Some(by) => println!("caught in {took:4.1?}: {}: {by}", mutant.name),
            None => missed.push(format!("{} (by {})", mutant.name, mutant.caught_by)),
        }
    }
    assert!(missed.is_empty(), "not caught in {SEEDS} seeds of {TICKS} ticks: {missed:#?}");
}

/// The scenes accuse nobody who is innocent: the real decision passes them all.
#[test]
fn no_scene_blames_the_real_decision() {
    let failures = on_two_threads(scenes::ALL, |(name, troubles)| {
        let plan = Plan {
            seed: 1,
            decide,
            thorough: true,
            safety_ticks: TICKS,
            liveness: false,
            swarm: Some(troubles()),
            work: Some(None),
            crew: Crew::Agents,
            hunted: None,
        };
        run(&plan).err().map(|failure| format!("{name}: {}", failure.line()))
    });
    assert_eq!(failures.len(), scenes::ALL.len());
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Nor do those of the ladders.
#[test]
fn no_scene_of_ladders_blames_the_real_decision() {
    let failures = on_two_threads(of_ladders::SCENES, |(name, troubles, ordeal)| {
        let plan = Plan {
            seed: 1,
            decide,
            thorough: true,
            safety_ticks: 2 * TICKS,
            liveness: true,
            swarm: Some(troubles()),
            work: Some(None),
            crew: Crew::Ladders(ordeal()),
            hunted: None,
        };
        run(&plan).err().map(|failure| format!("{name}: {}", failure.line()))
    });
    assert_eq!(failures.len(), of_ladders::SCENES.len());
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

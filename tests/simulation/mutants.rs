//! The simulator's own proof: bugs planted around `decide`, each of which some invariant must catch.
//!
//! A mutant lies to the real `decide` (about config, memory or sight) or spoils its answer, as a wrong line in it would.

use super::run::{Plan, run};
use watchkeeper::base::time::Awake;
use watchkeeper::config::{Config, Role};
use watchkeeper::engine::tick::Decide;
use watchkeeper::model::seen::{AlivePane, Observation, PaneSeen, ScreenState, ServerSeen};
use watchkeeper::policy::decide;
use watchkeeper::policy::proposal::Decision;
use watchkeeper::state::State;
use watchkeeper::state::unit::{DeliveryStep, Kickoff};

/// Seeds that a mutant may survive before it counts as missed.
const SEEDS: u64 = 8;

/// All of them: name and the mutant.
const MUTANTS: &[(&str, Decide)] = &[
    ("restarts are not charged", restarts_not_charged),
    ("the backoff is forgotten", backoff_forgotten),
    ("a limit is ignored", limit_ignored),
    ("blind is taken for absent", blind_is_absent),
    ("a pause is ignored", pause_ignored),
    ("down is ignored", down_ignored),
    ("declared waits are ignored", waits_ignored),
    ("a tool's CPU is ignored", tools_ignored),
    ("a person's draft is ignored", draft_ignored),
    ("an open dialog is ignored", dialog_ignored),
    ("a text is pasted again", pasted_again),
    ("every unit of an account probes", everyone_probes),
    ("max_disruptions is ignored", disruptions_uncapped),
    ("requests are taken twice", requests_twice),
    ("owed alerts are dropped", alerts_dropped),
    ("durations are measured on the wall clock", wall_for_awake),
    ("a gap in looking counts as silence", gap_counts),
    ("KILL follows TERM without grace", no_kill_grace),
    ("the kickoff is typed for ever", kickoff_for_ever),
    ("changes make no events", events_swallowed),
    ("an action has no reason", reasons_dropped),
];

fn with_config(
    config: &Config,
    state: &State,
    seen: &Observation,
    change: impl FnOnce(&mut Config),
) -> Decision {
    let mut config = config.clone();
    change(&mut config);
    decide(&config, state, seen)
}

fn with_state(
    config: &Config,
    state: &State,
    seen: &Observation,
    change: impl FnOnce(&mut State),
) -> Decision {
    let mut state = state.clone();
    change(&mut state);
    decide(config, &state, seen)
}

fn with_panes(
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
            pane.reading.composer = None;
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
    decision.next.mail.handled.clear();
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
    with_state(config, state, seen, |state| state.clocks.looked_awake_s = None)
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

/// Which invariant caught it first, in which seed.
fn caught(decide: Decide) -> Option<String> {
    (1..=SEEDS).find_map(|seed| {
        let plan = Plan { seed, decide, thorough: false, safety_ticks: 250, liveness: true, swarm: None };
        run(&plan).err().map(|failure| format!("{} (seed {seed}, tick {})", failure.invariant, failure.tick))
    })
}

#[test]
fn every_planted_bug_is_caught() {
    // Two at a time: a run is one thread.
    let halves: Vec<_> = (0..2)
        .map(|half| {
            std::thread::spawn(move || {
                MUTANTS
                    .iter()
                    .skip(half)
                    .step_by(2)
                    .map(|(name, mutant)| (*name, caught(*mutant)))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut missed = Vec::new();
    for half in halves {
        for (name, by) in half.join().unwrap_or_default() {
            match by {
                Some(by) => println!("caught: {name}: {by}"),
                None => missed.push(name),
            }
        }
    }
    assert!(missed.is_empty(), "not caught in {SEEDS} seeds: {missed:?}");
}

//! Bugs planted around `decide` in a fleet with a plan.

use super::friction::Friction;
use super::mutants::{Mutant, with_config, with_state};
use super::scenes;
use watchkeeper::config::Config;
use watchkeeper::model::seen::{BranchSeen, JobSeen, Observation, PaneSeen, SinceSeen};
use watchkeeper::policy::decide;
use watchkeeper::policy::proposal::{Decision, What};
use watchkeeper::state::State;
use watchkeeper::state::phase::Written;
use watchkeeper::state::unit::Purpose;

const fn mutant(
    name: &'static str,
    decide: watchkeeper::engine::tick::Decide,
    troubles: fn() -> super::faults::Swarm,
    friction: fn() -> Friction,
    caught_by: &'static str,
) -> Mutant {
    Mutant { name, decide, troubles, friction: Some(friction), ordeal: None, caught_by }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    mutant("agents move before the phase is recorded", moves_first, scenes::work, smooth, "phase-record"),
    mutant("phases go by their place", by_place, scenes::work, replanned, "phase-early"),
    mutant("the marker counts one phase too far", too_far, scenes::work, smooth, "phase-early"),
    mutant("the marker is seen late", late, scenes::work, smooth, "phase-at-once"),
    mutant(
        "a lost phase.json begins at the first phase",
        from_the_start,
        scenes::work,
        damaged,
        "phase-lost",
    ),
    mutant("an edited phase.json is overwritten", edit_overwritten, scenes::work, edited, "edit-wins"),
    mutant("the last task is started again and again", finale_for_ever, scenes::work, hasty, "on-complete"),
    mutant("loop agents are healed after completion", heals_at_the_end, scenes::deaths, hasty, "rest"),
    mutant("the kickoff is that of the phase before", old_kickoff, scenes::work, smooth, "kickoff-phase"),
    mutant(
        "a kickoff under way is typed although its phase is over",
        stale_kickoff,
        scenes::deaths,
        restless,
        "kickoff-phase",
    ),
    mutant("news of a dead agent is forgotten", dead_forget, scenes::deaths, smooth, "ping-lost"),
    mutant("ids of news are not remembered", ids_forgotten, scenes::crashes, smooth, "once-only-ping"),
    mutant(
        "news of an inbox is another one at each head",
        inbox_by_head,
        scenes::crashes,
        fetched,
        "once-only-ping",
    ),
    mutant("history is news at first sight", history_pinged, scenes::work, damaged, "ping-history"),
    mutant("a rewritten history is news", rewrite_pinged, scenes::work, rewritten, "ping-history"),
    mutant("a fetch beside a running one", two_fetches, scenes::work, slow, "one-fetch"),
    mutant("it is fetched during a pause", fetched_in_pause, scenes::markers, smooth, "fetch-quiet"),
    mutant("the remote's trouble is told each time", told_again, scenes::work, failing, "remote-told"),
];

fn smooth() -> Friction {
    Friction::default()
}

/// Phases of a few minutes.
fn hasty() -> Friction {
    Friction { pushes: 600, ..smooth() }
}

fn replanned() -> Friction {
    Friction { outline: 60, ..smooth() }
}

fn damaged() -> Friction {
    Friction { damage: 60, ..smooth() }
}

fn edited() -> Friction {
    Friction { edits: 60, ..smooth() }
}

fn restless() -> Friction {
    Friction { orders: 400, ..smooth() }
}

fn rewritten() -> Friction {
    Friction { rewrites: 60, ..smooth() }
}

fn slow() -> Friction {
    Friction { slow: 1000, ..smooth() }
}

fn failing() -> Friction {
    Friction { fails: 1000, ..smooth() }
}

/// The clone has each commit soon.
fn fetched() -> Friction {
    Friction { fetched: 800, ..smooth() }
}

/// The record comes a tick after the acts.
fn moves_first(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    if !decision.granted.is_empty() && !state.phase.id.is_empty() {
        decision.next.phase = state.phase.clone();
    }
    decision
}

/// What is remembered is the place: whoever stands there now is in force.
fn by_place(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        let plan = config.sequence.as_ref();
        let there = plan.and_then(|plan| plan.phases.get(state.phase.index)).map(|phase| phase.id.clone());
        if let Some(id) = there.filter(|_| !state.phase.id.is_empty() && state.phase.completed.is_none()) {
            state.phase.id = id.clone();
            state.phase.written = Written { index: state.phase.index, id };
        }
    })
}

fn with_done(
    config: &Config,
    state: &State,
    seen: &Observation,
    change: impl FnOnce(&mut Vec<String>),
) -> Decision {
    let mut seen = seen.clone();
    if let Some(BranchSeen::At(facts)) = &mut seen.branch {
        change(&mut facts.done);
    }
    decide(config, state, &seen)
}

/// Whoever is behind a phase that is done is done, too.
fn too_far(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_done(config, state, seen, |done| {
        let phases = config.sequence.iter().flat_map(|plan| &plan.phases);
        let more: Vec<String> = phases
            .clone()
            .zip(phases.skip(1))
            .filter(|(one, _)| done.contains(&one.id))
            .map(|(_, next)| next.id.clone())
            .collect();
        done.extend(more);
    })
}

/// Only every other minute counts.
fn late(config: &Config, state: &State, seen: &Observation) -> Decision {
    let early = (seen.now.awake_s.0 / 60_000) % 2 == 0;
    with_done(config, state, seen, |done| {
        if early {
            done.clear();
        }
    })
}

fn from_the_start(config: &Config, state: &State, seen: &Observation) -> Decision {
    if !state.phase.id.is_empty() {
        return decide(config, state, seen);
    }
    with_done(config, state, seen, Vec::clear)
}

fn edit_overwritten(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        let written = state.phase.written.clone();
        (state.phase.index, state.phase.id) = (written.index, written.id);
    })
}

fn finale_for_ever(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = with_state(config, state, seen, |state| {
        state.phase.finale = None;
        state.units.values_mut().for_each(|unit| unit.phase.completed = None);
    });
    decision.next.phase.finale = None;
    decision.next.units.values_mut().for_each(|unit| unit.phase.completed = None);
    decision
}

/// The plan is thought to go on.
fn heals_at_the_end(config: &Config, state: &State, seen: &Observation) -> Decision {
    if state.phase.completed.is_none() {
        return decide(config, state, seen);
    }
    let mut decision = with_config(config, state, seen, |config| config.sequence = None);
    decision.next.phase = state.phase.clone();
    decision
}

fn old_kickoff(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    let Some(plan) = &config.sequence else { return decision };
    let at = decision.next.phase.index;
    let Some(old) = at.checked_sub(1).and_then(|at| plan.phases.get(at)) else { return decision };
    let is = format!("Phase {} begins", decision.next.phase.id);
    let was = format!("Phase {} begins", old.id);
    for granted in &mut decision.granted {
        if let What::Deliver(message) = &mut granted.what {
            message.text = message.text.replace(&is, &was);
        }
    }
    for unit in decision.next.units.values_mut() {
        if let Some(delivery) = &mut unit.delivery.current {
            delivery.message.text = delivery.message.text.replace(&is, &was);
        }
    }
    decision
}

/// A kickoff that was begun is no kickoff any more.
fn stale_kickoff(config: &Config, state: &State, seen: &Observation) -> Decision {
    let next = decide(config, state, seen).next.phase.id;
    with_state(config, state, seen, |state| {
        for unit in state.units.values_mut() {
            if unit.delivery.current.as_ref().is_some_and(|d| d.message.purpose == Purpose::Kickoff) {
                unit.launch.phase = Some(next.clone());
            }
        }
    })
}

fn dead_forget(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = decide(config, state, seen);
    for (name, unit) in &mut decision.next.units {
        let lives = seen.units.get(name).is_some_and(|seen| matches!(seen.pane, PaneSeen::Alive(_)));
        if !lives {
            unit.handoff.owed.clear();
        }
    }
    decision
}

fn ids_forgotten(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut decision = with_state(config, state, seen, |state| {
        for unit in state.units.values_mut() {
            // Only what is owed still: it was taken, and nothing says so.
            unit.handoff.taken.clear();
        }
    });
    decision.next.units.values_mut().for_each(|unit| unit.handoff.taken.clear());
    decision
}

fn inbox_by_head(config: &Config, state: &State, seen: &Observation) -> Decision {
    let renamed = |id: &str| {
        let Some(BranchSeen::At(facts)) = &seen.branch else { return id.to_owned() };
        let words: Vec<&str> = id.split(' ').collect();
        match words.as_slice() {
            [_, file, _] if file.starts_with("INBOX") => format!("{} {file}", facts.head),
            _ => id.to_owned(),
        }
    };
    // Taken under another name each time, what was taken before is not found again.
    let mut decision = with_state(config, state, seen, |state| {
        for unit in state.units.values_mut() {
            unit.handoff.taken.retain(|id| !id.contains("INBOX"));
        }
    });
    for unit in decision.next.units.values_mut() {
        for ping in &mut unit.handoff.owed {
            ping.id = renamed(&ping.id);
        }
    }
    decision
}

fn history_pinged(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    let (Some(BranchSeen::At(facts)), None) = (&mut seen.branch, &state.git.head) else {
        return decide(config, state, &seen);
    };
    facts.since = history(facts.head.clone());
    with_state(config, state, &seen, |state| {
        let plan = config.sequence.as_ref();
        state.git.source =
            plan.map(|plan| format!("{} {}", plan.repo.display(), plan.tracking())).unwrap_or_default();
        state.git.head = Some("0".repeat(40));
        // The rest is as it was.
        if let Some(BranchSeen::At(facts)) = &seen.branch {
            state.git.inboxes.clone_from(&facts.inboxes);
        }
    })
}

fn history(id: String) -> SinceSeen {
    SinceSeen::Commits(vec![watchkeeper::model::seen::Commit {
        id,
        subject: "feat: claim(old) long ago".into(),
    }])
}

fn rewrite_pinged(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    if let Some(BranchSeen::At(facts)) = &mut seen.branch
        && facts.since == SinceSeen::Rewritten
    {
        facts.since = history(facts.head.clone());
    }
    decide(config, state, &seen)
}

fn two_fetches(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut seen = seen.clone();
    if seen.fetch == JobSeen::Running {
        seen.fetch = JobSeen::None;
    }
    decide(config, state, &seen)
}

fn fetched_in_pause(config: &Config, state: &State, seen: &Observation) -> Decision {
    let mut open = seen.clone();
    (open.markers.paused, open.markers.down) = (None, None);
    let mut decision = decide(config, state, seen);
    let more = decide(config, state, &open);
    decision.jobs = more.jobs;
    decision.next.git = more.next.git;
    decision
}

fn told_again(config: &Config, state: &State, seen: &Observation) -> Decision {
    with_state(config, state, seen, |state| {
        state.git.told = None;
        state.mail.told.retain(|told| !told.key.contains("fetch"));
    })
}

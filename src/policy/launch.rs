//! How a unit is started, and what its state remembers of a start. Used by every policy that starts something.

use super::belief;
use super::context::UnitContext;
use super::guard_text;
use super::kickoff;
use super::plan::Stage;
use super::proposal::Origin;
use crate::config::backend::PromptDelivery;
use crate::config::{Agent, AgentKind, Role};
use crate::model::action::{Action, Launch, LaunchPrompt};
use crate::model::seen::PaneSeen;
use crate::state::unit::{Kickoff, UnitState};
use std::collections::BTreeMap;

/// The action that starts the unit: anew in its kept pane, or in a session of its own. None while the pane lives or
/// was not seen.
pub fn action(context: &UnitContext<'_>, state: &UnitState) -> Option<Action> {
    let launch = launch(context, state);
    match &context.seen.pane {
        PaneSeen::Dead { pane, .. } => Some(Action::Respawn { pane: pane.clone(), launch }),
        PaneSeen::Absent => Some(Action::NewSession { launch }),
        PaneSeen::Alive(_) | PaneSeen::Unknown => None,
    }
}

/// Will this start continue the last conversation?
pub fn resumes(context: &UnitContext<'_>, state: &UnitState) -> bool {
    context.agent().is_some_and(|agent| {
        let can = agent.kind == AgentKind::Persistent && !agent.backend.resume.is_empty();
        // Who was seen has a conversation, also when no start of it is remembered; a start that did not happen gave it none.
        let ran = state.seen.process.is_some() || state.seen.exit.is_some();
        can && ran && !state.launch.afresh
    })
}

/// The first prompt of a fresh start: a task's run has its own.
pub fn first_prompt(agent: &Agent) -> &str {
    let run = agent.wake.as_ref().map(|wake| wake.prompt.as_str()).filter(|prompt| !prompt.is_empty());
    match (agent.kind, run) {
        (AgentKind::Task, Some(prompt)) => prompt,
        (AgentKind::Task, None) | (AgentKind::Loop | AgentKind::Persistent, _) => &agent.prompt,
    }
}

/// Whether its launch changed in the config since it was started. Digests of different formats say nothing: a new
/// watchkeeper digests differently.
pub fn is_outdated(context: &UnitContext<'_>, state: &UnitState) -> bool {
    let (then, now) = (&state.launch.digest, &context.unit.launch_digest);
    format(then) == format(now) && then != now
}

/// What stands before the `:` of a launch digest.
fn format(digest: &str) -> Option<&str> {
    digest.split_once(':').map(|(format, _)| format)
}

/// A unit that is seen and that no start is remembered of: state was lost, or it was started by hand, or by a watchkeeper
/// that digested differently. It runs as it runs; nothing is restarted for that.
pub fn adopt(context: &UnitContext<'_>, state: &mut UnitState) {
    if context.alive().is_some() && format(&state.launch.digest) != format(&context.unit.launch_digest) {
        state.launch.digest = context.unit.launch_digest.clone();
    }
}

/// What the state remembers of a start, before it happens. The last conversation's memory goes with it.
pub fn charge(context: &UnitContext<'_>, by: Origin, state: &mut UnitState) {
    let resumed = resumes(context, state);
    let typed = context.agent().is_some_and(|agent| {
        agent.backend.prompt_delivery == PromptDelivery::Paste
            && !kickoff::text(context, agent).trim().is_empty()
            && !resumed
    });
    state.launch.at = Some(context.now.wall);
    state.launch.at_awake_s = Some(context.now.awake_s);
    state.launch.digest = context.unit.launch_digest.clone();
    super::recovery::charged(context, state);
    let goes_on = resumed && state.recovery.given.is_some();
    state.launch.kickoff = match (typed || goes_on, by) {
        (false, _) => Kickoff::Done,
        (true, Origin::Policy) => Kickoff::Due,
        (true, Origin::Person) => Kickoff::Ordered,
    };
    state.launch.count = state.launch.count.saturating_add(1);
    if super::phase::is_final(context) && context.fleet.stage == Stage::Complete {
        state.phase.completed = context.fleet.last_phase.clone();
        state.phase.ran = false;
    }
    state.launch.phase = kickoff::phase(context).map(|phase| phase.id.clone());
    state.launch.afresh = false;
    state.launch.stopped = false;
    state.promise.launched = context.unit.cooperative.is_some();
    state.ending = None;
    state.operator.start = false;
    state.attend = Default::default();
    state.ladder.remedy_awake_s = Some(context.now.awake_s);
    state.stall.progress_since_awake_s = None;
    state.stall.approved = false;
    state.limit.active = None;
    belief::started(context.now, &context.seen.pane, &mut state.seen);
}

fn launch(context: &UnitContext<'_>, state: &UnitState) -> Launch {
    let unit = context.unit;
    let mut env_remove = Vec::new();
    let (argv, prompt) = match &unit.role {
        Role::Service { command } => (command.clone(), None),
        // Never by tmux: what starts a process is `Action::Run`.
        Role::Process(process) => (process.command.clone(), None),
        Role::Agent(agent) => {
            env_remove.clone_from(&agent.backend.env_remove);
            let resume = resumes(context, state);
            (argv(context, agent, resume), prompt(context, agent, resume))
        }
    };
    Launch {
        unit: context.name.clone(),
        session: unit.session.clone(),
        dir: unit.dir.to_string_lossy().into_owned(),
        argv,
        env: env(context),
        env_remove,
        prompt,
        phase: kickoff::phase(context).map(|phase| phase.id.clone()),
    }
}

fn env(context: &UnitContext<'_>) -> BTreeMap<String, String> {
    let mut env = context.unit.process_env();
    env.extend([phase_in_force(context)]);
    env
}

/// The variable with the phase that is in force, "" without one: every unit is told, whatever it does.
pub fn phase_in_force(context: &UnitContext<'_>) -> (String, String) {
    let phase = match &context.fleet.stage {
        Stage::Phase(id) => id.clone(),
        Stage::NoPlan | Stage::Unknown(_) | Stage::Complete => String::new(),
    };
    ("WATCHKEEPER_PHASE".to_owned(), phase)
}

fn argv(context: &UnitContext<'_>, agent: &Agent, resume: bool) -> Vec<String> {
    let mut argv = agent.backend.command.clone();
    let of_phase = kickoff::phase(context).map(|phase| &phase.model).filter(|model| !model.is_empty());
    let model = of_phase.unwrap_or(&agent.model);
    if let Some(flag) = agent.backend.model_flag.as_ref().filter(|_| !model.is_empty()) {
        argv.push(flag.clone());
        argv.push(model.clone());
    }
    if resume {
        argv.extend(agent.backend.resume.iter().cloned());
    }
    argv
}

fn prompt(context: &UnitContext<'_>, agent: &Agent, resume: bool) -> Option<LaunchPrompt> {
    let text = kickoff::text(context, agent);
    if resume || text.trim().is_empty() {
        return None;
    }
    match agent.backend.prompt_delivery {
        PromptDelivery::Paste => None,
        // As an argument it must not look like an option, nor as a command.
        PromptDelivery::Arg => Some(LaunchPrompt::Arg { text: guard_text::guarded(&text) }),
        PromptDelivery::Stdin => Some(LaunchPrompt::Stdin { text }),
    }
}

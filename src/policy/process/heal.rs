//! Carries a remedy out: ends what runs, runs a rule's command, asks the agent and reads its answer. Each step is recorded
//! before it happens; an answer that can't be read is no action.
//!
//! Deliberately not here: starts (`run`), the choice of a remedy (`failure`), what became of it (`verify`).

use super::super::context::UnitContext;
use super::super::ending;
use super::super::proposal::{Claim, EventKind, Notes, Proposal, Proposals, Reason, What};
use super::{choice, fixes, interactive, limits, prompt, reply, stall, unasked, verify};
use crate::base::text::one_line;
use crate::config::{CommandThen, HealingAgent, ProcessHost, ProcessUnit, RuleAction, Watch};
use crate::detect::incident::advice;
use crate::model::action::{Action, Job};
use crate::model::incident::Remedy;
use crate::model::process::Brief;
use crate::model::seen::JobSeen;
use crate::state::attempts::Status;
use crate::state::mail::Level;
use crate::state::process::{RemedyState, RemedyStep, Standing};
use crate::state::unit::{EndCause, Ending, Then, UnitState};
use std::collections::BTreeMap;

/// So long is waited for what files say, and for the incident's report, before an agent is asked without, seconds.
const BRIEF_S: f64 = 15.0;
/// What a nested agent must not believe: that it runs inside another one.
const NESTED: [&str; 4] = ["CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CODEX_SANDBOX", "GEMINI_CLI"];

/// Takes what has become of a step.
pub(super) fn fold(context: &UnitContext<'_>, unit: &ProcessUnit, state: &mut UnitState, notes: &mut Notes) {
    let Some(remedy) = state.process.remedy.clone() else {
        state.process.heal.answer = None;
        return;
    };
    if state.operator.start && context.is_gone() && fixes::has_work_aside(unit, &remedy.step) {
        // What a person starts runs on their work: it is put back first.
        verify::dropped(context, state, Status::Crashed, "a person starts it before this is through");
        notes.due_in(0.05);
        return;
    }
    match &remedy.step {
        // An answer that an earlier version took.
        RemedyStep::Due
            if choice::restarts(&remedy.remedy) && matches!(unit.host, ProcessHost::Attach { .. }) =>
        {
            let why = limits::impossible(unit, &remedy.remedy.action).unwrap_or_default();
            reply::failed(context, state, &remedy, "", why, notes);
        }
        RemedyStep::Due => due(context, state, remedy, notes),
        RemedyStep::Ask { .. } => asking(context, unit, state, &remedy, notes),
        RemedyStep::Thinking { job } => thinking(context, unit, state, &remedy, job, notes),
        RemedyStep::Opening { job } => interactive::opened(context, unit, state, &remedy, job, notes),
        RemedyStep::Opened { .. } => interactive::waits(context, state, remedy, notes),
        RemedyStep::Requested { since_awake_s } => {
            let waited = context.now.awake_s.since_s(*since_awake_s);
            interactive::requested(context, unit, state, remedy, waited, notes);
        }
        RemedyStep::Closing { job, answer } => {
            interactive::closed(context, unit, state, &remedy, (job, answer), notes);
        }
        RemedyStep::Command { job, restart } => command_ended(context, state, &remedy, job, *restart, notes),
    }
    limits::budget(context, unit, state);
}

/// What needs nothing more than to be noted, and what begins a step of its own.
fn due(context: &UnitContext<'_>, state: &mut UnitState, remedy: RemedyState, notes: &mut Notes) {
    let stops = matches!(remedy.remedy.action.as_str(), "pause" | "abort");
    match remedy.remedy.action.as_str() {
        "agent" => {
            let step = RemedyStep::Ask { since_awake_s: context.now.awake_s };
            state.process.remedy = Some(RemedyState { step, ..remedy });
            notes.due_in(0.05);
        }
        "pause" | "abort" if !context.is_running() && state.ending.is_none() => {
            stopped(context, state, &remedy);
        }
        "none" => {
            verify::concluded(context, state, &remedy, Status::Kept, "nothing was to be done");
            state.process.remedy = None;
        }
        // It began anew while it was to be ended for something in the run before.
        "restart" | "restart-with-env" | "pause" | "abort"
            if context.is_running() && state.process.run.number != remedy.run && state.ending.is_none() =>
        {
            verify::concluded(context, state, &remedy, Status::Crashed, "it was started anew meanwhile");
            state.process.remedy = None;
        }
        _ if stops => {}
        // A stall that moves again has healed itself.
        "restart" | "restart-with-env"
            if remedy.stall
                && context.is_running()
                && state.ending.is_none()
                && !state.process.watch.stalled.contains(&remedy.detector) =>
        {
            let text = format!("it moves again: not ended for `{}`", remedy.detector);
            notes.event(context.now.wall, Some(context.name), EventKind::State, text);
            verify::concluded(context, state, &remedy, Status::Kept, "it moved again by itself");
            state.process.remedy = None;
            // Nothing was tried, and nothing failed.
            state.process.run.failure = None;
        }
        _ => {}
    }
}

/// It is ended, and stays so.
fn stopped(context: &UnitContext<'_>, state: &mut UnitState, remedy: &RemedyState) {
    let why = format!("{}: {}", remedy.remedy.source.human(), remedy.remedy.why);
    let pauses = remedy.remedy.action == "pause";
    let (standing, text) = match pauses {
        true => (
            Standing::Paused { why: why.clone() },
            format!("`{0}` is paused ({why}); `watchkeeper resume {0}` lets it go on", context.name),
        ),
        false => (
            Standing::Aborted { why: why.clone() },
            format!("`{0}` is given up ({why}); `watchkeeper restart {0}` starts it anew", context.name),
        ),
    };
    state.process.run.standing = standing;
    state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
    let text = advice::by_remedy(context.name.as_str(), &remedy.incident, &remedy.remedy, true);
    verify::concluded(context, state, remedy, Status::Kept, "it was ended");
    state.incident.advise(&remedy.incident, text);
    state.process.remedy = None;
}

/// An agent is to be asked: is one there, and may it be asked now? Either way somebody hears of it.
fn asking(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    remedy: &RemedyState,
    notes: &mut Notes,
) {
    if choice::has_agent(context, unit) {
        if unasked::capped(context, unit, state, remedy, notes) {
            return;
        }
        let key = format!("asked too often about `{}`", remedy.detector);
        if let Some(why) = limits::capped(context, unit, state, remedy)
            && state.process.run.told.as_ref() != Some(&key)
        {
            state.process.run.told = Some(key);
            let text = format!("`{}` waits for a healing agent: {why}", context.name);
            state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
        }
        return;
    }
    let none = "no agent is there to ask: `healing.agent` is off, or its program is not found";
    match unasked::has_default(context, unit, remedy) {
        true => unasked::default(context, state, remedy, none, none, notes),
        false => reply::failed(context, state, remedy, "", none, notes),
    }
}

fn thinking(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &mut UnitState,
    remedy: &RemedyState,
    job: &str,
    notes: &mut Notes,
) {
    match context.job(job) {
        JobSeen::None | JobSeen::Running => {}
        JobSeen::Ended { failed: why, output, fix, status } => {
            state.take_job(job);
            let fixed = fixes::left(why.is_some(), fix.as_deref());
            let remedy = &RemedyState { fixed, ..remedy.clone() };
            reply::edited(context, state, remedy, fix.as_deref());
            match why {
                Some(why)
                    if unasked::is_unasked(*status, why) && unasked::has_default(context, unit, remedy) =>
                {
                    state.process.heal.unask(&remedy.detector);
                    unasked::default(context, state, remedy, why, why, notes);
                }
                Some(why) => {
                    // (What the job says of a tree speaks for itself.)
                    let own = why.starts_with("the ");
                    let why = if own { why.clone() } else { format!("the agent failed: {why}") };
                    reply::failed(context, state, remedy, output, &why, notes);
                }
                None => reply::answered(context, unit, state, remedy, output, notes),
            }
        }
    }
}

fn command_ended(
    context: &UnitContext<'_>,
    state: &mut UnitState,
    remedy: &RemedyState,
    job: &str,
    restart: bool,
    notes: &mut Notes,
) {
    let JobSeen::Ended { failed, status, output, .. } = context.job(job) else { return };
    state.take_job(job);
    let how = match (status, failed) {
        (Some(status), _) => format!("exit status {status}"),
        (None, Some(why)) => why.clone(),
        (None, None) => "it ended, nobody knows how".to_owned(),
    };
    let response = format!("{how}\n\n{output}");
    reply::note(state, remedy, &remedy.remedy, &response, failed.clone());
    let text = format!("the rule's command ended: {}", one_line(&how, 200));
    notes.event(context.now.wall, Some(context.name), EventKind::State, text);
    state.process.remedy = None;
    if let Some(why) = failed {
        verify::concluded(context, state, remedy, Status::Crashed, why);
        let mut text =
            format!("the command of {} for `{}` failed: {why}", remedy.remedy.source.human(), context.name);
        let mut level = Level::Warning;
        // Whatever was to follow it: what is over waits for a person, or it would be started without an end.
        if !context.is_running() && state.process.run.standing == Standing::Open {
            state.process.run.standing = Standing::Paused { why: "a rule's command failed".to_owned() };
            text = format!(
                "{}; it stays down until `watchkeeper approve {}`",
                one_line(&text, 300),
                context.name
            );
            level = Level::Human;
        }
        state.owe(context.name.as_str(), context.now.wall, level, one_line(&text, 400));
        return;
    }
    if restart {
        let next = Remedy { action: "restart".to_owned(), argv: Vec::new(), ..remedy.remedy.clone() };
        state.process.remedy = Some(RemedyState { remedy: next, step: RemedyStep::Due, ..remedy.clone() });
        notes.due_in(0.05);
    } else {
        verify::concluded(context, state, remedy, Status::Kept, "its command went well");
        if !context.is_running() && state.process.run.standing == Standing::Open {
            let why = "a rule ran a command, and no restart".to_owned();
            let text = format!("`{0}` stays down: {why}; `watchkeeper restart {0}` starts it", context.name);
            state.owe(context.name.as_str(), context.now.wall, Level::Human, text);
            let text = advice::helpless(context.name.as_str(), &why, true);
            state.incident.advise(&remedy.incident, text);
            state.process.run.standing = Standing::Paused { why };
        }
    }
}

/// Is it a remedy that ends what runs, and has its turn?
pub(super) fn is_end(remedy: &RemedyState) -> bool {
    let stops = matches!(remedy.remedy.action.as_str(), "pause" | "abort");
    remedy.step == RemedyStep::Due && (stops || choice::restarts(&remedy.remedy))
}

pub(super) fn propose(context: &UnitContext<'_>, unit: &ProcessUnit, state: &UnitState, out: &mut Proposals) {
    let Some(remedy) = &state.process.remedy else { return };
    if state.ending.is_some() {
        return;
    }
    // What was begun in a tree is ended whatever is said of the unit: a person's work may be aside.
    let ends = matches!(remedy.step, RemedyStep::Closing { .. });
    if let Some(why) = context.gate(state, Watch::Heal).filter(|_| !ends) {
        return out.hold(&remedy.remedy.action, why);
    }
    match &remedy.step {
        RemedyStep::Due => match remedy.remedy.action.as_str() {
            "restart" | "restart-with-env" | "pause" | "abort" => end(context, unit, state, remedy, out),
            "command" => command(context, unit, state, remedy, out),
            _ => {}
        },
        RemedyStep::Ask { since_awake_s } => ask(context, unit, state, remedy, *since_awake_s, out),
        RemedyStep::Thinking { job } => match context.job(job) {
            // Recorded, and we were killed before it began: the prompt is made anew, the job's name is the same.
            JobSeen::None => ask_headless(context, unit, state, remedy, job.clone(), out),
            JobSeen::Running => out.hold("restart", "the healing agent is at work on it"),
            JobSeen::Ended { .. } => {}
        },
        RemedyStep::Opening { job } => match context.job(job) {
            JobSeen::None => interactive::open(context, unit, remedy, job.clone(), out),
            JobSeen::Running => out.hold("restart", "the tree is looked at before an agent is asked"),
            JobSeen::Ended { .. } => {}
        },
        RemedyStep::Opened { since_awake_s } => match is_ready(context, state, remedy, *since_awake_s) {
            true => interactive::request(context, unit, state, remedy, out),
            false => out.due_in(0.1),
        },
        RemedyStep::Closing { job, .. } => match context.job(job) {
            JobSeen::None => interactive::close(context, unit, remedy, job, out),
            JobSeen::Running => out.hold("restart", "what was edited goes to its branch"),
            JobSeen::Ended { .. } => {}
        },
        RemedyStep::Requested { .. }
            if context.seen.process.as_ref().is_some_and(|seen| seen.unasked && seen.brief.is_some()) =>
        {
            interactive::request(context, unit, state, remedy, out);
        }
        RemedyStep::Requested { .. } => {
            let words = format!("an answer is awaited: `watchkeeper respond {} --action …`", context.name);
            out.hold("restart", words);
        }
        RemedyStep::Command { job, .. } => match context.job(job) {
            JobSeen::None => command(context, unit, state, remedy, out),
            JobSeen::Running => out.hold("restart", "a rule's command is at work"),
            JobSeen::Ended { .. } => {}
        },
    }
}

/// What runs is ended first; a stall needs its proof for that.
fn end(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    remedy: &RemedyState,
    out: &mut Proposals,
) {
    if !context.is_running() {
        return;
    }
    let label = remedy.remedy.action.as_str();
    if !super::may_end(context) {
        return out.hold(label, stall::NOT_OURS);
    }
    let compared = match remedy.stall {
        false => Vec::new(),
        true => match stall::proof(context, unit, state, remedy) {
            Ok(compared) => compared,
            Err(why) => return out.hold(label, why),
        },
    };
    let why = Reason::new(&format!("process.{label}"), remedy.remedy.why.clone(), compared);
    let end = Ending { ..ending::ending(context, Then::Start, EndCause::Remedy, &why) };
    out.want(Claim::Kill, label, What::End(end), why);
}

fn job_id(context: &UnitContext<'_>, state: &UnitState, what: &str) -> String {
    Job::id_of(context.name, what, state.process.heal.jobs.saturating_add(1))
}

fn command(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    remedy: &RemedyState,
    out: &mut Proposals,
) {
    let rule = unit.rules.iter().find(|rule| rule.name == remedy.remedy.source.word());
    let timeout_s = match rule.map(|rule| &rule.action) {
        Some(RuleAction::Command { timeout_s, .. }) => *timeout_s,
        Some(
            RuleAction::Restart
            | RuleAction::RestartWithEnv { .. }
            | RuleAction::Pause
            | RuleAction::Abort
            | RuleAction::Agent,
        )
        | None => 60.0,
    };
    let id = match &remedy.step {
        RemedyStep::Command { job, .. } => job.clone(),
        RemedyStep::Due
        | RemedyStep::Ask { .. }
        | RemedyStep::Thinking { .. }
        | RemedyStep::Opening { .. }
        | RemedyStep::Opened { .. }
        | RemedyStep::Requested { .. }
        | RemedyStep::Closing { .. } => job_id(context, state, "rule"),
    };
    let mut env = context.unit.env.clone();
    env.extend(state.process.run.env.clone());
    env.extend(told(context, remedy));
    let job = Job {
        id,
        argv: remedy.remedy.argv.clone(),
        env,
        dir: context.unit.dir.to_string_lossy().into_owned(),
        deadline_s: timeout_s.ceil() as u32,
        env_remove: Vec::new(),
        stdin: None,
        awaited: true,
        fix: None,
    };
    let why = Reason::new("process.command", remedy.remedy.why.clone(), vec![]);
    out.want(Claim::Order, "command", What::Act(Action::RunJob { job }), why);
}

/// What a command or an agent finds in its environment.
fn told(context: &UnitContext<'_>, remedy: &RemedyState) -> BTreeMap<String, String> {
    let unit_dir = context.config.state_dir.join("units").join(context.name.as_str());
    [
        ("WATCHKEEPER_UNIT", context.name.to_string()),
        ("WATCHKEEPER_UNIT_DIR", unit_dir.to_string_lossy().into_owned()),
        ("WATCHKEEPER_INCIDENT", remedy.incident.clone()),
        ("WATCHKEEPER_DETECTOR", remedy.detector.clone()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Asks the agent, unless it was asked about this too often in the last hour.
fn ask(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    remedy: &RemedyState,
    since: crate::base::time::Awake,
    out: &mut Proposals,
) {
    if !choice::has_agent(context, unit) {
        let why = "no agent is there to ask: `healing.agent` is off, or its program is not found";
        return out.hold("ask the agent", why);
    }
    if !context.is_wanted() {
        return out.hold("ask the agent", "it is marked down");
    }
    if let Some(why) = limits::capped(context, unit, state, remedy) {
        out.due_in(60.0);
        return out.hold("ask the agent", why);
    }
    if !is_ready(context, state, remedy, since) {
        return out.due_in(0.1);
    }
    match unit.healing.agent {
        HealingAgent::Interactive => {
            interactive::open(context, unit, remedy, job_id(context, state, "heal"), out);
        }
        HealingAgent::Auto | HealingAgent::Headless | HealingAgent::Off => {
            ask_headless(context, unit, state, remedy, job_id(context, state, "heal"), out);
        }
    }
}

/// What an agent is told is there: the files, and the incident's page. Or that was waited for long enough.
fn is_ready(
    context: &UnitContext<'_>,
    state: &UnitState,
    remedy: &RemedyState,
    since: crate::base::time::Awake,
) -> bool {
    let ready = context.seen.process.as_ref().is_some_and(|seen| {
        let written = !state.incident.owed.iter().any(|order| order.id == remedy.incident);
        seen.brief.is_some() && written
    });
    ready || context.now.awake_s.since_s(since) >= BRIEF_S
}

fn ask_headless(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    remedy: &RemedyState,
    id: String,
    out: &mut Proposals,
) {
    let none = Brief::default();
    let brief = context.seen.process.as_ref().and_then(|seen| seen.brief.as_ref()).unwrap_or(&none);
    let mut env = told(context, remedy);
    let helper = prompt::subagent(unit, remedy);
    if !helper.is_empty() {
        env.insert("WATCHKEEPER_SUBAGENT".to_owned(), helper.to_owned());
    }
    env.extend(context.unit.env.clone());
    let job = Job {
        id,
        argv: unit.healing.command.clone(),
        env,
        dir: context.unit.dir.to_string_lossy().into_owned(),
        deadline_s: unit.healing.timeout_s.ceil() as u32,
        env_remove: NESTED.iter().map(|name| (*name).to_owned()).collect(),
        stdin: Some(prompt::text(context, unit, state, remedy, brief)),
        awaited: true,
        fix: Some(fixes::around(context, unit, &remedy.incident, &remedy.attempt)),
    };
    let why = Reason::new("process.agent", remedy.remedy.why.clone(), vec![]);
    out.want(Claim::Order, "ask the agent", What::Act(Action::RunJob { job }), why);
}

/// What the state remembers of a step, before it happens.
pub(super) fn charge(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    granted: &Proposal,
    state: &mut UnitState,
) {
    let now = context.now.awake_s;
    let Some(remedy) = &mut state.process.remedy else { return };
    match &granted.what {
        What::Act(Action::RunJob { job }) => {
            if remedy.remedy.action == "command" {
                let rule = unit.rules.iter().find(|rule| rule.name == remedy.remedy.source.word());
                let restart = rule.is_some_and(|rule| {
                    matches!(&rule.action, RuleAction::Command { then: CommandThen::Restart, .. })
                });
                remedy.step = RemedyStep::Command { job: job.id.clone(), restart };
            } else if matches!(remedy.step, RemedyStep::Opening { .. } | RemedyStep::Closing { .. }) {
                return; // Ordered again: it had not begun.
            } else if unit.healing.agent == HealingAgent::Interactive
                && matches!(remedy.step, RemedyStep::Ask { .. })
            {
                remedy.step = RemedyStep::Opening { job: job.id.clone() };
            } else {
                let again = matches!(&remedy.step, RemedyStep::Thinking { .. });
                remedy.step = RemedyStep::Thinking { job: job.id.clone() };
                if again {
                    return;
                }
                let detector = remedy.detector.clone();
                state.process.heal.ask(&detector, now);
                state.process.run.told = None;
            }
            state.process.heal.jobs = state.process.heal.jobs.saturating_add(1);
        }
        What::Act(Action::WriteFile { .. }) if matches!(remedy.step, RemedyStep::Requested { .. }) => {}
        What::Act(Action::WriteFile { .. }) => {
            remedy.step = RemedyStep::Requested { since_awake_s: now };
            let detector = remedy.detector.clone();
            state.process.heal.ask(&detector, now);
            state.process.heal.answer = None;
            state.process.run.told = None;
        }
        What::Act(_) | What::Deliver(_) | What::End(_) => {}
    }
}

//! The first prompt of a start: the plan's kickoff with its slots filled, then the agent's own role prompt.

use super::context::UnitContext;
use super::launch::first_prompt;
use super::plan::Stage;
use crate::config::{Agent, AgentKind, Phase, Sequence};

/// The phase that a start of this unit is for now.
pub fn phase<'a>(context: &UnitContext<'a>) -> Option<&'a Phase> {
    let agent = context.agent()?;
    match (&context.fleet.stage, agent.kind) {
        (Stage::Phase(id), AgentKind::Loop) => Some(context.config.sequence.as_ref()?.phase(id)?.1),
        (Stage::Phase(_), AgentKind::Persistent | AgentKind::Task)
        | (Stage::NoPlan | Stage::Unknown(_) | Stage::Complete, _) => None,
    }
}

/// The text; from what to go on comes before it. A conversation that is continued has had its prompt.
pub fn text(context: &UnitContext<'_>, agent: &Agent) -> String {
    match super::recovery::prompt(context) {
        Some(resume) if context.unfolded.recovery.resumed => resume.trim_end().to_owned(),
        Some(resume) => format!("{}\n\n{}", resume.trim_end(), ordinary(context, agent).trim()),
        None => ordinary(context, agent),
    }
}

fn ordinary(context: &UnitContext<'_>, agent: &Agent) -> String {
    let role = first_prompt(agent);
    match (phase(context), context.config.sequence.as_ref()) {
        (Some(phase), Some(plan)) => {
            let kickoff = filled(plan, phase, context.name.as_str());
            [kickoff.trim(), role.trim()]
                .iter()
                .filter(|part| !part.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join("\n\n")
        }
        (Some(_) | None, _) => role.to_owned(),
    }
}

/// The plan's kickoff for one agent.
fn filled(plan: &Sequence, phase: &Phase, role: &str) -> String {
    let slots = [
        ("{phase_id}", phase.id.clone()),
        ("{plan}", phase.plan.clone()),
        ("{status}", plan.in_repo(&phase.status)),
        ("{role}", role.to_owned()),
        ("{done_marker}", plan.done_marker.clone()),
    ];
    fill(&plan.kickoff, &slots)
}

/// A template with its slots filled, in one pass: what a value holds is no slot.
pub fn fill(template: &str, slots: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(template.len() + 200);
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        match slots.iter().find(|(slot, _)| rest.starts_with(slot)) {
            Some((slot, value)) => {
                text.push_str(value);
                rest = &rest[slot.len()..];
            }
            None => {
                text.push('{');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    text
}

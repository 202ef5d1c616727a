//! Which remedy a failure gets: the rule's, a plain restart, or the agent's turn when those did not help.
//!
//! Deliberately not here: which rule matches (`rules`), and when a remedy is called for (`failure`).

use super::super::context::UnitContext;
use super::env;
use super::record::headline;
use crate::base::text::counted;
use crate::config::{HealingAgent, ProcessUnit, Rule, RuleAction};
use crate::model::finding::Finding;
use crate::model::incident::{Remedy, Source};
use crate::state::unit::UnitState;

/// Does this remedy start it again?
pub(super) fn restarts(remedy: &Remedy) -> bool {
    matches!(remedy.action.as_str(), "restart" | "restart-with-env")
}

/// The remedy: the agent's turn when restarts did not help, else the rule's, else a plain restart.
pub(super) fn chosen(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    rule: Option<&Rule>,
    finding: &Finding,
) -> Remedy {
    let mut remedy = match rule {
        Some(rule) => of_rule(context, state, rule),
        None => Remedy { action: "restart".to_owned(), why: headline(finding), ..Remedy::default() },
    };
    let heal = &state.process.heal;
    let unverified = heal.unverified >= unit.healing.escalate_after;
    if restarts(&remedy) && (heal.escalate || unverified) && has_agent(context, unit) {
        let why = match heal.escalate {
            true => "the last rule's remedy did not hold".to_owned(),
            false => format!("{} in a row not kept", counted(heal.unverified as usize, "restart")),
        };
        let instead = rule.is_some().then(|| Box::new(remedy));
        remedy = Remedy { action: "agent".to_owned(), why, instead, ..Remedy::default() };
    }
    remedy
}

fn of_rule(context: &UnitContext<'_>, state: &UnitState, rule: &Rule) -> Remedy {
    let source = Source::Rule { name: rule.name.clone() };
    let why = format!("rule `{}` says so", rule.name);
    let plain = |action: &str| Remedy {
        source: source.clone(),
        action: action.to_owned(),
        why: why.clone(),
        ..Remedy::default()
    };
    match &rule.action {
        RuleAction::Restart => plain("restart"),
        RuleAction::Pause => plain("pause"),
        RuleAction::Abort => plain("abort"),
        RuleAction::Agent => plain("agent"),
        RuleAction::Command { argv, .. } => Remedy { argv: argv.clone(), ..plain("command") },
        RuleAction::RestartWithEnv { set } => {
            let now = |name: &str| value(context, state, name);
            let (set, troubles) = env::changed(set, now);
            let action = if set.is_empty() { "restart" } else { "restart-with-env" };
            let why = match troubles.is_empty() {
                true => why.clone(),
                false => format!("{why}; not changed: {}", troubles.join("; ")),
            };
            Remedy { set, why, ..plain(action) }
        }
    }
}

/// What a variable is set to at the next start, as far as the config and remedies say.
pub(super) fn value(context: &UnitContext<'_>, state: &UnitState, name: &str) -> Option<String> {
    state.process.run.env.get(name).or_else(|| context.unit.env.get(name)).cloned()
}

/// Is there somebody to ask?
pub(super) fn has_agent(context: &UnitContext<'_>, unit: &ProcessUnit) -> bool {
    match unit.healing.agent {
        HealingAgent::Off => false,
        HealingAgent::Headless | HealingAgent::Interactive => true,
        HealingAgent::Auto => context.seen.process.as_ref().is_some_and(|seen| seen.healer == Some(true)),
    }
}

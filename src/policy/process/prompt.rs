//! What an agent is told: the template with its slots filled, bounded. Deliberately not here: reading files (`engine`), and
//! masking, which is done where the texts are read.

use super::super::context::UnitContext;
use crate::base::text::strip_controls;
use crate::config::{ProcessHost, ProcessUnit};
use crate::detect::secrets::{self, Secrets};
use crate::model::process::Brief;
use crate::state::process::RemedyState;
use crate::state::unit::UnitState;

/// The built-in template.
const TEMPLATE: &str = include_str!("../../../prompts/recovery.md");
/// Longest prompt, bytes.
const PROMPT_MAX: usize = 120 << 10;
/// Longest part, bytes.
const PART_MAX: usize = 48 << 10;

/// The prompt.
pub(super) fn text(
    context: &UnitContext<'_>,
    unit: &ProcessUnit,
    state: &UnitState,
    remedy: &RemedyState,
    brief: &Brief,
) -> String {
    let template = brief.template.as_deref().filter(|text| !text.trim().is_empty()).unwrap_or(TEMPLATE);
    let configs: String = brief
        .configs
        .iter()
        .map(|(name, text)| format!("## {name}\n\n```\n{}\n```\n\n", cut(text)))
        .collect();
    let slots: [(&str, String); 10] = [
        ("{unit}", context.name.to_string()),
        ("{command}", secrets::argv(&unit.command).join(" ")),
        ("{dir}", context.unit.dir.to_string_lossy().into_owned()),
        ("{detector}", remedy.detector.clone()),
        ("{why}", remedy.remedy.why.clone()),
        ("{subagent}", subagent(unit, remedy).to_owned()),
        ("{state}", facts(context, unit, state)),
        ("{report}", cut(&brief.report)),
        ("{configs}", or_nothing(cut(&configs))),
        ("{program}", or_nothing(cut(&brief.program))),
    ];
    // One pass: what a slot brings in is not looked at for slots again.
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match slots.iter().find(|(slot, _)| from.starts_with(slot)) {
            Some((slot, value)) => {
                out.push_str(value);
                rest = from.get(slot.len()..).unwrap_or_default();
            }
            None => {
                out.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    let helper = subagent(unit, remedy);
    if !helper.is_empty() && !template.contains("{subagent}") {
        let line = format!(
            "Failures of `{}` are for your subagent `{helper}`: let it do this.\n\n",
            remedy.detector
        );
        out.insert_str(0, &line);
    }
    let env = context.unit.env.iter().chain(&state.process.run.env);
    let secrets = Secrets::of(env, unit.command.iter().chain(&unit.healing.command));
    bounded(&secrets.mask(&strip_controls(&out)), PROMPT_MAX)
}

/// The kind of helper that answers for this detector; "" = anyone.
pub(super) fn subagent<'u>(unit: &'u ProcessUnit, remedy: &RemedyState) -> &'u str {
    unit.healing.subagents.get(&remedy.detector).map_or("", String::as_str)
}

/// What the state knows, a line each.
fn facts(context: &UnitContext<'_>, unit: &ProcessUnit, state: &UnitState) -> String {
    let run = &state.process.run;
    let mut lines = vec![
        format!("run {}, {} of at most {} restarts used", run.number, run.restarts, unit.restart.max),
        format!("restarts in a row that did not hold: {}", state.process.heal.unverified),
        format!("its last end: {}", state.seen.exit.as_deref().unwrap_or("it still runs")),
    ];
    for (name, value) in &run.env {
        lines.push(format!("set by an earlier remedy: {name}={value}"));
    }
    if let ProcessHost::Attach { allow_kill, .. } = &unit.host {
        lines.push("it was started by somebody else: restart and restart-with-env can't be done".to_owned());
        if !allow_kill {
            lines.push("nor may it be ended: pause and abort can't be done while it runs".to_owned());
        }
    }
    let names: Vec<&str> = context.unit.env.keys().map(String::as_str).collect();
    lines.push(format!("variables of its config: {}", names.join(", ")));
    lines.join("\n")
}

/// An empty part says so: a heading with nothing below it looks like a part that was lost.
fn or_nothing(text: String) -> String {
    if text.trim().is_empty() { "(nothing)".to_owned() } else { text }
}

fn cut(text: &str) -> String {
    bounded(text, PART_MAX)
}

fn bounded(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}\n… (cut)\n", text.get(..end).unwrap_or_default())
}

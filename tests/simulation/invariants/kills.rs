//! A nudge needs watched idleness; a kill needs proof and no veto; an ordered end waits for the end of the turn (SPEC 6.4).

use super::{Past, TRIFLE_MS};
use crate::cli::Kind;
use crate::world::World;
use watchkeeper::config::Config;
use watchkeeper::policy::proposal::Proposal;
use watchkeeper::state::unit::{EndCause, EndStep, UnitState};

/// The silence that a stall needs, ms.
fn silence(config: &Config, rule: &str) -> Option<i64> {
    let idle = config.watchdog.stall_idle_s;
    let seconds = match rule {
        "stall.idle" => idle,
        "stall.hung" => 4.0 * idle,
        "stall.overdue" => idle.min(config.watchdog.stall_grace_s),
        _ => return None,
    };
    Some((seconds * 1000.0) as i64)
}

/// A nudge needs idleness that was watched.
pub(super) fn disturbance(world: &mut World, config: &Config, name: &str, granted: &Proposal, past: &Past) {
    let Some(needed) = silence(config, &granted.why.rule) else { return };
    if past.idle_ms < needed - TRIFLE_MS {
        let detail = format!(
            "{name}: `{}` ({}) after {} ms of watched idleness, {needed} ms are needed",
            granted.label, granted.why.rule, past.idle_ms
        );
        world.violate("disturbance", detail);
    }
    let max = (config.watchdog.wait_max_s * 1000.0) as i64;
    let wait = world.living(name).and_then(|pane| pane.cli.waits_until).map(|until| until - world.local().0);
    if let Some(left) = wait.filter(|left| *left > 2000 && *left <= max) {
        world.violate("disturbance", format!("{name}: nudged although it waits for another {left} ms"));
    }
}

/// A kill needs proof: watched silence on every clock, and no veto.
pub(super) fn proof(
    world: &mut World,
    config: &Config,
    name: &str,
    granted: &Proposal,
    past: &Past,
    before: &UnitState,
) {
    let Some(needed) = silence(config, &granted.why.rule) else { return };
    let needed = needed.min((config.watchdog.stall_idle_s * 1000.0) as i64);
    if past.idle_ms < needed - TRIFLE_MS {
        let detail = format!(
            "{name}: killed ({}) after {} ms of watched silence, {needed} ms are needed",
            granted.why.rule, past.idle_ms
        );
        world.violate("kill-proof", detail);
    }
    if !before.stall.approved {
        vetoes(world, name, "kill begins");
    }
}

/// Truths that forbid a kill (SPEC 6.4).
fn vetoes(world: &mut World, name: &str, when: &str) {
    let Some(pane) = world.living(name) else { return };
    let cli = &pane.cli;
    let t = world.t;
    let veto = if cli.banner && !cli.is_working() {
        Some("limited".to_owned())
    } else if cli.kind() == Some(Kind::Tool) {
        Some("a tool call that uses CPU".to_owned())
    } else if let Some(since) = cli.compacting_since.filter(|since| t - since < 590_000) {
        Some(format!("compacting for {} ms", t - since))
    } else if cli.composer.person {
        Some("a person's draft".to_owned())
    } else if pane.person.is_some() && pane.typed_at.is_some_and(|at| world.local().since_s(at).abs() < 800.0)
    {
        Some("a person is attached".to_owned())
    } else if cli.dialog_open() {
        Some("a dialog is open".to_owned())
    } else if cli.waits_until.is_some_and(|until| until - world.local().0 > 2000) {
        Some("a declared wait".to_owned())
    } else {
        None
    };
    if let Some(veto) = veto {
        world.violate("kill-veto", format!("{name}: {when} in spite of: {veto}"));
    }
}

/// TERM: an ordered end waits for the end of the turn; the ladder's needs its proof to stand.
pub(super) fn term(world: &mut World, config: &Config, name: &str, before: &UnitState) {
    let Some(ending) = &before.ending else { return };
    if ending.step != EndStep::Wanted {
        return;
    }
    match ending.cause {
        EndCause::Ordered | EndCause::Changed | EndCause::Phase => {
            let Some(pane) = world.living(name) else { return };
            let waited = (world.awake() - ending.since_awake_s.0) as f64 / 1000.0;
            let agent = world.units.get(name).is_some_and(|truth| truth.agent);
            if agent && pane.cli.is_working() && waited < config.watchdog.advance_grace_s - 0.1 {
                world.violate(
                    "mid-turn",
                    format!("{name}: an ordered end broke into its turn after {waited:.1} s"),
                );
            }
        }
        EndCause::Ladder if ending.why.contains("stale clocks") && !ending.why.contains("approved it") => {
            vetoes(world, name, "TERM is sent");
        }
        EndCause::Ladder | EndCause::Down | EndCause::Rerun | EndCause::Remedy => {}
    }
}

//! Rules about many units at once: the cap of disruptions, one act per unit, one canary per account, quiet ticks.

use super::Checker;
use crate::cli::Play;
use crate::files::Disk;
use crate::world::World;
use std::collections::BTreeSet;
use watchkeeper::config::{Config, Unit};
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::seen::PaneSeen;
use watchkeeper::policy::proposal::{Claim, Origin};
use watchkeeper::state::unit::{Purpose, UnitState};

impl Checker {
    /// Rules about many units at once.
    pub(super) fn fleet_rules(
        &mut self,
        world: &mut World,
        config: &Config,
        report: &TickReport,
        disk: &Disk,
    ) {
        let granted = &report.decision.granted;
        let disruptions = granted.iter().filter(|p| p.is_disruption() && p.origin == Origin::Policy).count();
        if disruptions > 2 {
            world.violate("disruption-cap", format!("{disruptions} disruptions in one tick, 2 are allowed"));
        }
        let mut units = BTreeSet::new();
        for p in granted {
            if !units.insert(p.unit.as_str()) {
                world.violate("one-act-per-unit", format!("{}: two grants in one tick", p.unit));
            }
        }
        self.canary(world, config, report);
        // A quiet tick writes nothing but the heartbeat and the clocks.
        let quiet =
            granted.is_empty() && report.decision.events.is_empty() && report.before == report.decision.next;
        let rebased = |path: &str| self.written.get(path).is_none_or(|boot| *boot != world.boot);
        let extra = disk.written.iter().find(|path| {
            !matches!(path.as_str(), "heartbeat.json" | "clocks.json" | "status") && !rebased(path)
        });
        if let Some(path) =
            extra.filter(|path| quiet && !path.starts_with("quarantine") && !path.starts_with("outbox"))
        {
            world.violate("quiet-writes", format!("{path} was written although nothing changed"));
        }
    }

    /// One probe per account at a time, until one succeeded.
    fn canary(&self, world: &mut World, config: &Config, report: &TickReport) {
        let account =
            |name: &str| config.units.get(name).and_then(Unit::agent).map(|agent| agent.account.clone());
        let kind = |name: &str| {
            report
                .before
                .units
                .get(name)
                .and_then(|state| state.limit.active.as_ref())
                .map(|limit| limit.kind.clone())
        };
        let probes: Vec<&str> = report
            .decision
            .granted
            .iter()
            .filter(|p| p.claim == Claim::Probe)
            .map(|p| p.unit.as_str())
            .collect();
        for unit in &probes {
            let mates = || {
                config
                    .units
                    .keys()
                    .filter(|mate| mate.as_str() != *unit && account(mate.as_str()) == account(unit))
            };
            let since = report
                .before
                .units
                .get(*unit)
                .and_then(|state| state.limit.active.as_ref())
                .map(|limit| limit.armed);
            let freed = mates().any(|mate| {
                report.before.units.get(mate).is_some_and(|state| {
                    state.limit.freed.is_some_and(|freed| since.is_none_or(|since| freed > since))
                })
            });
            let rival = mates().find(|mate| {
                // Its probe is being typed, or waits for its answer.
                let typing = |state: &UnitState| {
                    let current = state.delivery.current.as_ref();
                    current.is_some_and(|delivery| delivery.message.purpose == Purpose::Probe)
                };
                let asked = |play: &Play| matches!(play, Play::Work(work) if work.probe);
                let seen = report.seen.units.get(*mate);
                let lives = seen.is_some_and(|seen| matches!(seen.pane, PaneSeen::Alive(_)));
                let probing = world.living(mate.as_str()).filter(|_| lives).is_some_and(|pane| {
                    asked(&pane.cli.play) || report.before.units.get(*mate).is_some_and(typing)
                });
                (probing || probes.contains(&mate.as_str())) && kind(mate.as_str()) == kind(unit)
            });
            if let Some(rival) = rival.filter(|_| !freed) {
                world.violate(
                    "canary",
                    format!("{unit} and {rival} probe account {:?} at the same time", account(unit)),
                );
            }
        }
    }
}

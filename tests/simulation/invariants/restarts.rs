//! The restart budget, its backoff, its breaker, and the stagger after a mass death (SPEC 3 and 6.4).

use super::{Checker, TRIFLE_MS};
use crate::files::Disk;
use crate::world::World;
use std::collections::BTreeSet;
use watchkeeper::config::Config;
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::seen::ScreenState;
use watchkeeper::policy::proposal::{Claim, Proposal};
use watchkeeper::state::unit::{EndCause, UnitState};

/// Most heals of one unit within [`WINDOW_MS`] (SPEC 6.4).
const HEALS_MAX: usize = 5;
const WINDOW_MS: i64 = 900_000;
const BREAKER_MS: i64 = 600_000;
const BACKOFF_MS: i64 = 30_000;
const BACKOFF_MAX_MS: i64 = 600_000;

impl Checker {
    /// People who lift a budget.
    pub(super) fn lifted(&mut self, report: &TickReport) {
        let before: BTreeSet<&str> = report.before.mail.handled.iter().map(|h| h.id.as_str()).collect();
        let asked = report.decision.next.mail.handled.iter().filter(|h| !before.contains(h.id.as_str()));
        for handled in asked {
            let approved =
                handled.said.contains("approved;") || handled.said.contains("circuit breaker closed");
            let lifted =
                approved || handled.said.contains("starting") || handled.said.contains("restart ordered");
            for (name, past) in &mut self.past {
                let named = handled.said.contains(&format!("`{name}`"))
                    || handled.said.contains("starting what does not run");
                if named && approved {
                    past.heals.clear();
                    past.comebacks.clear();
                }
                if named && lifted {
                    past.opened = None;
                    past.tried = false;
                }
            }
        }
    }

    /// Starts that happened: the restart budget, its backoff, its breaker, the stagger.
    pub(super) fn starts(&mut self, world: &mut World, config: &Config, report: &TickReport) {
        for effect in world.effects.clone() {
            if !effect.happened || !matches!(effect.what, "new-session" | "respawn") {
                continue;
            }
            let granted = report.decision.granted.iter().find(|granted| granted.unit.as_str() == effect.unit);
            let Some(granted) = granted else { continue };
            let Some(past) = self.past.get_mut(&effect.unit) else { continue };
            let (unit, t) = (&effect.unit, effect.t);
            match granted.why.rule.as_str() {
                "restart.lost" => {
                    if let Some(why) = too_soon(&past.comebacks, t) {
                        world.violate("restart-backoff", format!("{unit}: comeback {why}"));
                    }
                    past.comebacks.push(t);
                    continue;
                }
                "restart.heal" => {}
                _ => continue,
            }
            let recent = past.heals.iter().filter(|at| t - **at < WINDOW_MS).count();
            if recent >= HEALS_MAX {
                world.violate("restart-budget", format!("{unit}: heal number {} within 900 s", recent + 1));
            }
            if let Some(why) = too_soon(&past.heals, t) {
                world.violate("restart-backoff", format!("{unit}: heal {why}"));
            }
            if let Some(opened) = past.opened {
                if t - opened < BREAKER_MS - TRIFLE_MS {
                    world.violate(
                        "restart-breaker",
                        format!("{unit}: healed {} ms after its breaker had to open", t - opened),
                    );
                }
                past.tried = true;
                past.opened = None;
            }
            past.heals.push(t);
            for (at, units) in &self.mass_started {
                let turn = units.iter().position(|name| name == unit);
                let stagger_ms = (config.watchdog.stagger_s * 1000.0) as i64;
                if let Some(turn) = turn.filter(|turn| t - at < *turn as i64 * stagger_ms - TRIFLE_MS) {
                    let detail =
                        format!("{unit}: started {} ms after a mass death, its turn was {turn}", t - at);
                    world.violate("stagger", detail);
                }
            }
        }
    }

    /// No server is one symptom of the host, not N dead agents: who was lost with it does not pay, and nobody else does
    /// not pay.
    pub(super) fn hosts(&mut self, world: &mut World, report: &TickReport, killed: bool) {
        let starts = |granted: &&Proposal| granted.claim == Claim::Start;
        for granted in report.decision.granted.iter().filter(starts) {
            let name = granted.unit.as_str();
            let (Some(truth), Some(past)) = (world.units.get(name), self.past.get_mut(name)) else {
                continue;
            };
            // Its loss explains one start: another one, after that came to nothing, is paid for.
            let Some((process, server)) = past.seen.take().filter(|_| !killed) else { continue };
            let stands = world.server.as_ref().is_some_and(|now| (now.pid, now.started) == server);
            // It may be back already.
            let lost = truth.lost.iter().chain(&truth.back_from);
            let lost = lost.into_iter().any(|lost| (lost.pid, lost.start) == (process.pid, process.start));
            let before = report.before.units.get(&granted.unit);
            let under_way = before.is_some_and(|state| state.ending.is_some());
            // Killed, or on a full disk, it may have seen a process and not remembered it: a start without one is paid for,
            // since a command that fails at once takes a server of its own with it too.
            let known =
                before.is_some_and(|state| state.seen.process.is_some() || state.seen.lost_with_server);
            let wrong = match granted.why.rule.as_str() {
                "restart.heal" if lost && known && !under_way => {
                    "was lost with its tmux server, and pays for it"
                }
                "restart.lost" if stands => "pays nothing, and its tmux server stands",
                _ => continue,
            };
            world.violate("host-event", format!("{name} {wrong}"));
        }
    }

    pub(super) fn deaths(
        &mut self,
        world: &World,
        config: &Config,
        report: &TickReport,
        disk: &Disk,
        t: i64,
    ) {
        let mut died = Vec::new();
        let since = self.killed_since.take().unwrap_or(t);
        for (name, unit) in &config.units {
            let Some(after) = report.decision.next.units.get(name) else { continue };
            let before = report.before.units.get(name).cloned().unwrap_or_default();
            let task = world.units.get(name.as_str()).is_some_and(|truth| truth.task);
            // What was not recorded is seen anew at the next look.
            let recorded = || {
                disk.json(&format!("units/{name}/unit.json"))
                    .is_some_and(|file| file["seen"]["state"] == "dead")
            };
            let gone = after.seen.process.is_none() && after.seen.state == ScreenState::Dead && recorded();
            if gone && before.seen.process.is_some() && !task && before.ending.is_none() {
                died.push((unit.position, name.to_string()));
            }
            let Some(past) = self.past.get_mut(name.as_str()) else { continue };
            let marked = self.fleet.down || self.markers.get(name.as_str()).is_some_and(|m| m.down);
            // What is said to be lost with its server is judged by `hosts`; what a person ordered is no verdict.
            let ordered = |state: &UnitState| {
                let ending = state.ending.as_ref();
                state.operator.start || ending.is_some_and(|ending| ending.cause != EndCause::Ladder)
            };
            let judged = !after.seen.lost_with_server && !ordered(&before) && !ordered(after);
            let kept = unit.enabled && !marked && !task;
            if !gone || !judged || !kept || past.opened.is_some() {
                continue;
            }
            let recent = past.heals.iter().filter(|at| t - **at < WINDOW_MS).count();
            if recent >= HEALS_MAX || past.tried {
                past.opened = Some(since);
                past.tried = false;
            }
        }
        self.mass_started.retain(|(at, _)| t - at < 60_000);
        if died.len() >= 3 {
            died.sort();
            self.mass_started.push((t, died.into_iter().map(|(_, name)| name).collect()));
        }
    }
}

/// Is this too soon after those before it?
fn too_soon(before: &[i64], t: i64) -> Option<String> {
    let passed = t - before.last()?;
    let n = before.len().min(20) as u32;
    let needed = (BACKOFF_MS << (n - 1).min(10)).min(BACKOFF_MAX_MS);
    (passed < needed - TRIFLE_MS)
        .then(|| format!("{} came {passed} ms after the last, backoff is {needed} ms", n + 1))
}

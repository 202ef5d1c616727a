//! Requests are taken once; alerts that are owed reach the outbox, once.

use super::Checker;
use crate::files::Disk;
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::seen::Ask;
use watchkeeper::policy::proposal::EventKind;
use watchkeeper::state::unit::DeliveryOutcome;

impl Checker {
    /// Requests are taken once; alerts that are owed reach the outbox, once.
    pub(super) fn mail(&mut self, world: &mut World, disk: &Disk, report: &TickReport, killed: bool) {
        if !killed {
            let before: BTreeSet<&str> = report.before.mail.handled.iter().map(|h| h.id.as_str()).collect();
            let fresh = report.decision.next.mail.handled.iter().filter(|h| !before.contains(h.id.as_str()));
            for handled in fresh {
                if self.handled.contains(&handled.id) {
                    world.violate("once-only-request", format!("request {} was handled again", handled.id));
                }
            }
            for handled in
                report.decision.next.mail.handled.iter().filter(|_| disk.written.contains("mail.json"))
            {
                self.handled.insert(handled.id.clone());
            }
            if disk.written.contains("mail.json") {
                recorded(world, disk, report);
            }
            for state in report.decision.next.units.values() {
                for past in &state.delivery.past {
                    let failed = past.outcome != DeliveryOutcome::Seen;
                    if let Some(request) = past.request.as_ref().filter(|_| failed) {
                        self.failed_texts.insert(request.clone());
                    }
                }
            }
        }
        if !killed {
            owed(world, report);
        }
        self.alerts(world, disk);
    }

    fn alerts(&mut self, world: &mut World, disk: &Disk) {
        let units: Vec<String> = self.past.keys().cloned().collect();
        for (owner, path) in units
            .iter()
            .map(|unit| (unit.clone(), format!("units/{unit}/unit.json")))
            .chain([("mail.json".to_owned(), "mail.json".to_owned())])
        {
            let Some(bytes) = disk.get(&path) else { continue };
            // Nothing owed is by far the usual case.
            if String::from_utf8_lossy(bytes).contains("\"owed\": []") {
                continue;
            }
            let Some(json) = disk.json(&path) else { continue };
            let owed = json.get("owed").and_then(|owed| owed.as_array()).cloned().unwrap_or_default();
            let overflow = owed.len() >= watchkeeper::state::mail::OWED_MAX;
            for id in owed.iter().filter_map(|owed| owed.get("id")?.as_str()) {
                self.owed.insert(id.to_owned(), owner.clone());
            }
            if overflow {
                self.owed.retain(|_, of| *of != owner);
            }
        }
        if disk.written.contains("outbox.jsonl") {
            let times = outbox(disk);
            for (id, times) in times.iter().filter(|(_, times)| **times > 1) {
                world.violate("alert-once", format!("alert {id} stands {times} times in the outbox"));
            }
        }
    }
}

/// A request is handled when its unit's file has it: that one is written before mail.json says so (SPEC 2). And no unit
/// of the config is unknown, only because its file can't be read just now.
fn recorded(world: &mut World, disk: &Disk, report: &TickReport) {
    let mail = disk.json("mail.json").unwrap_or_default();
    let known = |id: &str| report.before.mail.handled.iter().any(|handled| handled.id == id);
    for handled in mail["handled"].as_array().into_iter().flatten() {
        let (Some(id), said) = (handled["id"].as_str(), handled["said"].as_str().unwrap_or_default()) else {
            continue;
        };
        let request = report.seen.requests.iter().find(|request| request.id == id);
        let Some(request) = request.filter(|_| !known(id)) else { continue };
        if said.contains("there is no unit") {
            world.violate("request-record", format!("{id}: {said}"));
        }
        let (Ask::Nudge { unit, .. } | Ask::Restart { unit } | Ask::Approve { unit }) = &request.ask else {
            continue;
        };
        let file = disk.json(&format!("units/{unit}/unit.json")).unwrap_or_default();
        let taken =
            file["operator"]["taken"].as_array().is_some_and(|ids| ids.iter().any(|taken| taken == id));
        if handled["taken"] == "accepted" && !taken {
            world.violate("request-record", format!("{id} is handled, and `{unit}` has no record of it"));
        }
    }
}

/// What people must hear is owed until the outbox has it: an alert that was made stands in its owner's file.
fn owed(world: &mut World, report: &TickReport) {
    let next = &report.decision.next;
    for event in report.decision.events.iter().filter(|event| event.kind == EventKind::Alert) {
        let owed = match &event.unit {
            Some(unit) => next.units.get(unit.as_str()).map(|state| &state.owed),
            // The plan's own alerts stand in phase.json.
            None if next.phase.owed.iter().any(|owed| owed.text == event.text) => Some(&next.phase.owed),
            None => Some(&next.mail.owed),
        };
        // Of very many the oldest are dropped.
        let kept = owed.is_some_and(|owed| {
            owed.len() >= watchkeeper::state::mail::OWED_MAX
                || owed.iter().any(|owed| owed.text == event.text)
        });
        if !kept {
            world.violate("alert-owed", format!("an alert was made and nobody owes it: {}", event.text));
        }
    }
}

/// Alerts in the outbox, by id, with how often.
pub fn outbox(disk: &Disk) -> BTreeMap<String, u32> {
    let mut times = BTreeMap::new();
    let bytes = disk.get("outbox.jsonl").unwrap_or_default();
    for line in String::from_utf8_lossy(bytes).lines() {
        let Ok(json) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let Some(id) = json.get("id").and_then(|id| id.as_str()) else { continue };
        *times.entry(id.to_owned()).or_default() += 1;
    }
    times
}

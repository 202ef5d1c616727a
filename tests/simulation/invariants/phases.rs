//! The plan: a phase is entered once, after the one before it was pushed as done, in the tick that sees it; a person's
//! word wins; loop agents get the kickoff of the phase in force and rest when all is done; the last task runs once.
//!
//! Judged by phase.json as it stands, the clone's branch, and what happens to panes.

use crate::files::Disk;
use crate::host::pane_number;
use crate::outline::{FINAL, kickoff_phase};
use crate::remote::Fetch;
use crate::world::World;
use std::collections::BTreeSet;
use watchkeeper::config::{Config, Sequence};
use watchkeeper::detect::pause;
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::action::Action;
use watchkeeper::model::seen::{Ask, BranchSeen, JobSeen};
use watchkeeper::policy::proposal::{EventKind, Origin, What};
use watchkeeper::state::unit::EndCause;

/// phase.json at one instant. All empty: there is none, or it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub id: String,
    pub index: u64,
    pub completed: bool,
    ignored: bool,
    marked: bool,
    finale: Option<String>,
    written: (u64, String),
}

/// A file that can be judged: it parses, and no newer version wrote it.
fn known(disk: &Disk, path: &str) -> Option<serde_json::Value> {
    disk.json(path).filter(|file| file.is_object() && file["v"].as_u64().is_none_or(|v| v <= 1))
}

/// What is there: None when it can't be parsed.
pub fn view(disk: &Disk) -> Option<View> {
    if disk.get("phase.json").is_none() {
        return Some(View::default());
    }
    let file = known(disk, "phase.json")?;
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Some(View {
        id: word(&file["id"]),
        index: file["index"].as_u64().unwrap_or(0),
        completed: !file["completed"].is_null(),
        ignored: file["ignore_done"] == true,
        marked: file["marked"] == true,
        finale: file["finale"].as_str().map(str::to_owned),
        written: (file["written"]["index"].as_u64().unwrap_or(0), word(&file["written"]["id"])),
    })
}

/// What is remembered of the plan's course.
#[derive(Debug, Default)]
pub struct Phases {
    before: Option<View>,
    by_hand: bool,
    held: bool,
    /// Phases entered since people last changed the plan or its place in it.
    entered: BTreeSet<String>,
    /// Phases that a person put in force.
    ordered: BTreeSet<String>,
    /// The completion that stands, by its last phase, and how often the last task was started for it.
    completion: Option<String>,
    served: u32,
    /// One of its two records was lost since.
    damaged: bool,
    /// Its last start was seen by a tick since.
    looked: bool,
    pub completions: u32,
    /// The remote's trouble was told and stands.
    told: bool,
}

impl Phases {
    /// The phases of the config were changed.
    pub fn replanned(&mut self) {
        self.entered.clear();
    }

    /// Is one of the plan's files broken? Then the plan stands still.
    pub fn is_held(&self, disk: &Disk) -> bool {
        let broken = |path: &str| disk.get(path).is_some() && known(disk, path).is_none();
        self.held || broken("phase.json") || broken("git.json")
    }

    pub(super) fn before(&mut self, disk: &Disk) {
        self.held = false;
        self.held = self.is_held(disk);
        self.before = view(disk);
        let (phase, task) = self.records(disk);
        let task_file = format!("units/{FINAL}/unit.json");
        self.damaged |= ["phase.json", task_file.as_str()].iter().any(|path| known(disk, path).is_none());
        if self.served > 0 && self.damaged && !phase && !task {
            // Both records of it are lost.
            self.served = 0;
        }
        self.by_hand = disk.get("SEQUENCE-COMPLETE").is_some();
        if self.before.is_none() || self.before.as_ref().is_some_and(|view| view.id.is_empty()) {
            self.entered.clear();
        }
    }

    /// The two records of the last task's start: in phase.json, and in its own file.
    fn records(&self, disk: &Disk) -> (bool, bool) {
        let last = self.completion.clone();
        let task = disk.json(&format!("units/{FINAL}/unit.json")).unwrap_or_default();
        let task = task["phase"]["completed"].as_str().map(str::to_owned);
        (view(disk).unwrap_or_default().finale == last, task == last)
    }

    pub(super) fn after(
        &mut self,
        world: &mut World,
        disk: &Disk,
        config: &Config,
        report: &TickReport,
        killed: bool,
    ) {
        let Some(plan) = &config.sequence else { return };
        let (before, after) = (self.before.clone(), view(disk));
        if let Some(after) = &after {
            let was = before.clone().unwrap_or_default();
            self.moved(world, plan, &was, after, report);
            if !killed && !disk.failed && !self.held {
                self.at_once(world, plan, &was, after, report);
            }
            self.finale(world, after, report);
            if was.completed && after.completed && !killed {
                rest(world, report);
            }
        }
        if self.held && std::mem::take(&mut self.held) && self.is_held(disk) {
            self.stands_still(world);
        }
        if !killed {
            self.told(world, report);
        }
    }

    /// A change of phase.json needs its reason.
    fn moved(&mut self, world: &mut World, plan: &Sequence, was: &View, is: &View, report: &TickReport) {
        let asked = report.seen.requests.iter().any(|request| matches!(request.ask, Ask::Phase { .. }));
        let edited = !was.written.1.is_empty() && was.written != (was.index, was.id.clone());
        let by_hand = self.by_hand && !was.marked && is.completed;
        if asked || edited || by_hand {
            // Also if it was in force already: its marker does not count then, if it stands.
            self.entered.clear();
            self.entered.insert(is.id.clone());
            self.ordered.insert(is.id.clone());
            return;
        }
        if was.id == is.id && was.completed == is.completed {
            return;
        }
        let pushed = |id: &str| {
            let status = plan.phase(id).map(|(_, phase)| plan.in_repo(&phase.status));
            status.is_some_and(|status| world.remote.as_ref().is_some_and(|remote| remote.is_done(&status)))
        };
        let mut bad = None;
        if was.id.is_empty() {
            let open = plan.phases.iter().find(|phase| !pushed(&phase.id)).map(|phase| phase.id.as_str());
            if open.is_some_and(|open| open != is.id || is.completed) || (open.is_none() && !is.completed) {
                let detail = format!(
                    "nothing was known, {open:?} is the first that is not done, {} is in force",
                    is.id
                );
                bad = Some(("phase-lost", detail));
            }
        } else {
            let from = plan.phase(&was.id).map(|(at, _)| at + usize::from(was.completed));
            let to = plan.phase(&is.id).map(|(at, _)| at + usize::from(is.completed));
            let good = from.zip(to).is_some_and(|(from, to)| {
                from <= to && plan.phases[from..to].iter().all(|phase| pushed(&phase.id))
            });
            if !good {
                bad = Some((
                    "phase-early",
                    format!(
                        "{} is in force after {}: not all between is pushed as done ({was:?} {is:?})",
                        is.id, was.id
                    ),
                ));
            }
        }
        if was.id != is.id && !self.entered.insert(is.id.clone()) {
            bad = Some(("phase-once", format!("phase {} is entered again", is.id)));
        }
        if let Some((invariant, detail)) = bad {
            world.violate(invariant, detail);
        }
    }

    /// What is seen counts in this very tick.
    fn at_once(&mut self, world: &mut World, plan: &Sequence, was: &View, is: &View, report: &TickReport) {
        let asked = report.seen.requests.iter().any(|request| matches!(request.ask, Ask::Phase { .. }));
        let by_hand = self.by_hand && is.completed;
        if !was.written.1.is_empty() && !asked && !by_hand {
            let wanted = if was.id != was.written.1 {
                Some(was.id.clone()).filter(|id| plan.phase(id).is_some())
            } else if was.index != was.written.0 {
                plan.phases.get(was.index as usize).map(|phase| phase.id.clone())
            } else {
                None
            };
            if let Some(wanted) = wanted.filter(|wanted| *wanted != is.id) {
                world.violate(
                    "edit-wins",
                    format!("phase.json was edited to {wanted}, and {} is in force", is.id),
                );
            }
        }
        if !matches!(report.seen.branch, Some(BranchSeen::At(_) | BranchSeen::Missing)) {
            return;
        }
        // The remote is asked first, for a while.
        let git = &report.before.git;
        let ended = matches!(report.seen.fetch, JobSeen::Ended { .. }) && git.fetches > 0;
        let asked_for_s = git.fetch_awake_s.map_or(0.0, |at| report.seen.now.awake_s.since_s(at));
        if is.id.is_empty() && (ended || asked_for_s > 25.0) {
            world.violate("phase-at-once", "the branch was read, and no phase is in force".to_owned());
        }
        let Some((_, phase)) = plan.phase(&is.id).filter(|_| !is.completed) else { return };
        let status = plan.in_repo(&phase.status);
        let done = world.remote.as_ref().is_some_and(|remote| remote.is_done(&status));
        if done && !(is.ignored && self.ordered.contains(&is.id)) {
            world.violate("phase-at-once", format!("phase {} is pushed as done and still in force", is.id));
        }
    }

    /// The task that comes at the end: once per completion.
    fn finale(&mut self, world: &mut World, is: &View, report: &TickReport) {
        let completion = is.completed.then(|| is.id.clone());
        if completion != self.completion {
            self.completions += u32::from(completion.is_some());
            self.completion = completion;
            self.damaged = false;
            self.served = 0;
        }
        // A hung or lost one is healed as any other unit.
        let healed = |unit: &str| {
            let rules = ["restart.heal", "restart.lost"];
            let granted = report.decision.granted.iter().find(|granted| granted.unit.as_str() == unit);
            granted.is_some_and(|granted| rules.contains(&granted.why.rule.as_str()))
        };
        let starts = world
            .effects
            .iter()
            .filter(|effect| effect.unit == FINAL && effect.happened && !healed(FINAL))
            .filter(|effect| matches!(effect.what, "new-session" | "respawn"))
            .count() as u32;
        let pane = world.living(FINAL).map(|pane| pane.id);
        let seen = pane.zip(world.looked.as_ref()).is_some_and(|(id, looked)| looked.contains(&id));
        if starts == 0 {
            self.looked |= seen || world.pane_of(FINAL).is_some_and(|pane| pane.root.is_none());
            return;
        }
        if !self.looked {
            self.served = 0; // It was gone before anybody saw it.
        }
        self.looked = false;
        self.served += starts;
        match &self.completion {
            None => {
                world.violate("on-complete", "it was started although the plan is not complete".to_owned());
            }
            Some(last) if self.served > 1 => {
                let detail = format!("it was started {} times for the completion of {last}", self.served);
                world.violate("on-complete", detail);
            }
            Some(_) => {}
        }
    }

    /// Was the last task started for the completion that stands?
    pub fn is_served(&self) -> bool {
        self.completion.is_none() || self.served > 0
    }

    /// The plan's files can't be judged: nothing is done to those who work on it.
    fn stands_still(&self, world: &mut World) {
        let of_plan = |unit: &str| unit == FINAL || world.units.get(unit).is_some_and(|truth| truth.loops);
        let effect = world.effects.iter().find(|effect| of_plan(&effect.unit) || effect.what == "job");
        if let Some(effect) = effect.cloned() {
            let detail = format!("{}: {} while the plan's files are broken", effect.unit, effect.what);
            world.violate("plan-held", detail);
        }
    }

    /// A remote that does not work is told once, until it works again.
    fn told(&mut self, world: &mut World, report: &TickReport) {
        let tells = |text: &str| text.starts_with("fetching `") && text.contains("does not work");
        let owed = report.decision.next.phase.owed.iter().filter(|owed| tells(&owed.text)).count();
        let owed_before = report.before.phase.owed.iter().filter(|owed| tells(&owed.text)).count();
        let again = report
            .decision
            .events
            .iter()
            .any(|event| event.kind == EventKind::Fleet && event.text.ends_with("works again"));
        if again {
            self.told = false;
        }
        if owed > owed_before {
            if self.told {
                world.violate("remote-told", "the remote's trouble was told again".to_owned());
            }
            self.told = true;
        }
    }

    /// What remembers that it was told is lost.
    pub(super) fn forget_told(&mut self) {
        self.told = false;
    }
}

/// All is done: no loop agent is started, told or ended by a policy.
fn rest(world: &mut World, report: &TickReport) {
    for granted in report.decision.granted.iter().filter(|granted| granted.origin == Origin::Policy) {
        let unit = granted.unit.as_str();
        let acts = match &granted.what {
            What::Act(Action::NewSession { .. } | Action::Respawn { .. }) | What::Deliver(_) => true,
            What::End(ending) => ending.cause != EndCause::Down,
            What::Act(_) => false,
        };
        if acts && world.units.get(unit).is_some_and(|truth| truth.loops) {
            world.violate("rest", format!("{unit}: `{}` although the plan is complete", granted.label));
        }
    }
}

/// What must hold whenever something of the plan is done.
pub fn acts_on_the_plan(world: &mut World, disk: &Disk, action: &Action, unit: &str) {
    let Some(remote) = &world.remote else { return };
    let in_force = view(disk).unwrap_or_default();
    let loops = world.units.get(unit).is_some_and(|truth| truth.loops);
    let mut found: Vec<(&'static str, String)> = Vec::new();
    match action {
        Action::NewSession { launch } | Action::Respawn { launch, .. } if loops => {
            let recorded = Some(in_force.id.clone()).filter(|id| !id.is_empty() && !in_force.completed);
            if launch.phase != recorded {
                found.push((
                    "phase-record",
                    format!("{unit}: started for {:?}, recorded is {recorded:?}", launch.phase),
                ));
            }
        }
        Action::Paste { pane, buffer } if pane_number(pane).is_some() => {
            let text = world.server.as_ref().and_then(|server| server.buffers.get(buffer));
            let phase = text.and_then(|text| kickoff_phase(text));
            if let Some(phase) = phase.filter(|phase| *phase != in_force.id || in_force.completed) {
                found.push((
                    "kickoff-phase",
                    format!("{unit}: the kickoff of {phase} is typed, {in_force:?} is in force"),
                ));
            }
        }
        Action::RunJob { job } if job.id == watchkeeper::policy::fetch::JOB => {
            if matches!(remote.fetch, Fetch::Running { .. }) {
                found.push(("one-fetch", "a fetch is ordered while one runs".to_owned()));
            }
            let paused = disk.get("PAUSED").is_some_and(|bytes| {
                let paused = pause::parse(&String::from_utf8_lossy(bytes));
                paused.until.is_none_or(|until| world.local() < until)
            });
            let quiet = [
                ("the fleet is down", disk.get("down").is_some()),
                ("the fleet is paused", paused),
                ("the plan is complete", in_force.completed),
            ];
            for (why, _) in quiet.iter().filter(|(_, is)| *is) {
                found.push(("fetch-quiet", format!("a fetch is ordered although {why}")));
            }
        }
        Action::NewSession { .. }
        | Action::Respawn { .. }
        | Action::LoadBuffer { .. }
        | Action::Paste { .. }
        | Action::DropBuffer { .. }
        | Action::Keys { .. }
        | Action::LeaveMode { .. }
        | Action::Signal { .. }
        | Action::KillSession { .. }
        | Action::Mark { .. }
        | Action::Unmark { .. }
        | Action::Adopt { .. }
        | Action::RunJob { .. }
        | Action::Run { .. }
        | Action::WriteFile { .. }
        | Action::CancelRun { .. } => {}
    }
    for (invariant, detail) in found {
        world.violate(invariant, detail);
    }
}

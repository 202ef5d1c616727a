//! What the watchdog sees of the world and does to it. What it must never do is noticed here, where it happens.

use super::cli::{Ended, Play};
use super::cooperative;
use super::files::Disk;
use super::invariants::{acts_on_ladders, acts_on_the_plan, asked_gently};
use super::ops::{Ops, Step};
use super::remote::Remote;
use super::world::{Effect, STAMP, World};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use watchkeeper::base::time::{Awake, Now, Wall};
use watchkeeper::model::action::{Action, Outcome, Signal};
use watchkeeper::model::seen::{
    BranchFacts, Exit, HostSeen, JobSeen, Process, ServerId, ServerSeen, TranscriptSeen, Vote,
};
use watchkeeper::sys::git::BranchQuery;
use watchkeeper::sys::{Host, PaneList, PaneRow};

#[derive(Clone, Debug)]
pub struct SimHost {
    pub world: Rc<RefCell<World>>,
    pub disk: Rc<RefCell<Disk>>,
    pub ops: Rc<Ops>,
    /// Seconds between TERM and KILL, by unit.
    pub grace_s: Rc<BTreeMap<String, f64>>,
}

impl SimHost {
    fn answers(&self) -> bool {
        let world = self.world.borrow();
        world.t >= world.silent_until
    }
}

fn exit(ended: Option<Ended>) -> Option<Exit> {
    ended.map(|ended| match ended {
        Ended::Status(code) => Exit::Status(code),
        Ended::Signal(number) => Exit::Signal(number),
    })
}

impl Host for SimHost {
    fn now(&mut self) -> Now {
        let world = self.world.borrow();
        Now {
            wall: world.local(),
            awake_s: Awake(world.awake()),
            boot: format!("boot-{}", world.boot),
            zone: "UTC".into(),
        }
    }

    fn panes(&mut self) -> PaneList {
        let works = self.ops.step() == Step::Works;
        let answers = self.answers();
        let world = &mut *self.world.borrow_mut();
        world.looked = None;
        if !works || !answers {
            let server = ServerSeen::Unknown { why: "tmux did not answer within 5 s".into() };
            return PaneList { server, rows: Vec::new(), buffers: Vec::new() };
        }
        let Some(server) = &world.server else {
            world.looked = Some(Default::default());
            return PaneList { server: ServerSeen::Absent, rows: Vec::new(), buffers: Vec::new() };
        };
        let id = ServerId { pid: server.pid, started: server.started };
        let buffers = server.buffers.keys().cloned().collect();
        let mut rows = Vec::new();
        let (mut listed, mut missed) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for pane in world.panes.values() {
            // Once, and not right after its start.
            let grown = world.t - pane.cli.born > 5000 && !world.missed.contains(&pane.id);
            if grown && world.rng.chance(world.faults.list_misses) {
                missed.insert(pane.id);
                continue;
            }
            listed.insert(pane.id);
            let mut row = row(pane, world.local(), world.t);
            if grown && pane.root.is_some() && world.rng.chance(world.faults.flickers) {
                missed.insert(pane.id);
                row.command = "bash".into(); // A tool in the foreground, for a moment.
            }
            rows.push(row);
        }
        world.looked = Some(listed);
        world.missed_before = std::mem::replace(&mut world.missed, missed);
        PaneList { server: ServerSeen::Alive(id), rows, buffers }
    }

    fn capture(&mut self, panes: &[String]) -> BTreeMap<String, String> {
        let works = self.ops.step() == Step::Works;
        let world = &mut *self.world.borrow_mut();
        let mut screens = BTreeMap::new();
        if !works {
            return screens;
        }
        for name in panes {
            let missed = world.rng.chance(world.faults.capture_misses);
            if let Some(id) = pane_number(name).filter(|id| missed && world.missed_before.contains(id)) {
                world.missed.insert(id); // No whole look came in between.
            }
            let Some(pane) = pane_number(name).and_then(|id| world.panes.get(&id)).filter(|_| !missed) else {
                continue;
            };
            screens.insert(name.clone(), pane.cli.screen(world.t));
        }
        screens
    }

    fn process_start(&mut self, pid: i32) -> Option<u64> {
        let world = self.world.borrow();
        world.start_of(pid).filter(|_| !cooperative::is_zombie(&world, pid))
    }

    fn process_tree(&mut self, pid: i32) -> Vec<Process> {
        let world = self.world.borrow();
        let pane = world.panes.values().find(|pane| pane.root.as_ref().is_some_and(|root| root.pid == pid));
        let processes = pane.into_iter().flat_map(|pane| pane.tools.iter().chain(&pane.root));
        let living = processes.filter(|p| !cooperative::is_zombie(&world, p.pid));
        living.map(|p| Process { pid: p.pid, start: p.start }).collect()
    }

    fn tools_cpu_ms(&mut self, pid: i32, _: &[String]) -> Option<u64> {
        let world = self.world.borrow();
        let pane = world.panes.values().find(|pane| pane.root.as_ref().is_some_and(|root| root.pid == pid));
        pane.map(|pane| pane.cli.cpu_ms)
    }

    fn vote(&mut self, _: &str, _: i32) -> Option<Vote> {
        None
    }

    fn transcript(&mut self, _: &str, _: &str, pid: i32, _: &str) -> Option<TranscriptSeen> {
        let world = self.world.borrow();
        let pane =
            world.panes.values().find(|pane| pane.root.as_ref().is_some_and(|root| root.pid == pid))?;
        let changed_at = Wall(world.local().0 - (world.t - pane.cli.transcript_at));
        let bytes = pane.cli.transcript_bytes;
        let open_tool_call = pane.cli.kind() == Some(super::cli::Kind::Tool);
        Some(TranscriptSeen { path: format!("{pid}.jsonl"), bytes, changed_at, open_tool_call })
    }

    fn tip(&mut self, _: &std::path::Path, _: &str, _: &str) -> Result<Option<String>, String> {
        let works = self.ops.step() == Step::Works;
        let world = self.world.borrow();
        let Some(remote) = world.remote.as_ref().filter(|remote| works && world.t >= remote.tip_silent_until)
        else {
            return Err("there is no such folder".into());
        };
        Ok(remote.tip())
    }

    fn head(&mut self, _: &std::path::Path) -> Result<String, String> {
        let works = self.ops.step() == Step::Works;
        let world = self.world.borrow();
        let repo = world.coop.as_ref().map(|coop| &coop.repo).ok_or("it lies in no git repository")?;
        let says = works && world.t >= repo.busy_until;
        says.then(|| repo.head.clone()).ok_or_else(|| "git is at work there (simulated)".into())
    }

    fn branch(&mut self, query: &BranchQuery) -> Result<BranchFacts, String> {
        let works = self.ops.step() == Step::Works;
        let world = self.world.borrow();
        let Some(remote) = world.remote.as_ref().filter(|remote| works && world.t >= remote.git_silent_until)
        else {
            return Err("git did not end within 5 s".into());
        };
        remote.look(query)
    }

    fn job(&mut self, id: &str) -> JobSeen {
        if id != watchkeeper::policy::fetch::JOB {
            let world = self.world.borrow();
            return world.coop.as_ref().map(|coop| coop.job(id, world.t)).unwrap_or_default();
        }
        self.world.borrow().remote.as_ref().map(Remote::job).unwrap_or_default()
    }

    fn pressure(&mut self) -> HostSeen {
        HostSeen::default()
    }

    fn perform(&mut self, action: &Action) -> Outcome {
        let failed = |why: &str| Outcome::Failed { why: why.to_owned() };
        let step = self.ops.step();
        if matches!(step, Step::Dead | Step::DiesBefore) {
            // Paid for and lost: an effect may be missing, never doubled. A lost TERM is followed by its KILL.
            if let Action::Signal { processes, .. } = action {
                let world = &mut *self.world.borrow_mut();
                let t = world.t;
                world.termed.extend(processes.iter().map(|p| ((p.pid, p.start), t)));
            }
            return failed("killed (simulated)");
        }
        let answers = self.answers();
        let world = &mut *self.world.borrow_mut();
        let disk = self.disk.borrow();
        let unit = unit_of(world, action);
        check(world, &disk, action, &unit, &self.grace_s);
        acts_on_the_plan(world, &disk, action, &unit);
        acts_on_ladders(world, &disk, action, &unit);
        drop(disk);
        let may_fail = !matches!(action, Action::Signal { .. });
        let silent = !answers && !is_beside_tmux(action);
        let lost = may_fail && (world.rng.chance(world.faults.act_fails) || silent);
        let lies = world.rng.chance(world.faults.act_lies);
        let outcome = if lost { Err("timed out (simulated)".to_owned()) } else { effect(world, action) };
        let happened = outcome.is_ok();
        let what = word(action);
        world.tell(format!(
            "{unit}: ACT {what}{}",
            if happened { String::new() } else { format!(" FAILS {outcome:?}") }
        ));
        let t = world.t;
        world.effects.push(Effect { unit, what, t, happened });
        match outcome {
            Ok(()) if step == Step::DiesAfter => failed("killed (simulated)"),
            Ok(()) if lies => failed("no answer (simulated), but it happened"),
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Failed { why },
        }
    }
}

fn row(pane: &super::world::Pane, local: Wall, t: i64) -> PaneRow {
    // A spinner turns every quarter of a second.
    let output_at = if pane.root.is_some() && pane.cli.is_working() { local.0 } else { pane.output_at };
    let typing = pane.person.as_ref().is_some_and(|person| {
        t < person.typing_until.min(person.leaves_at) && person.typing_until != i64::MAX
    });
    PaneRow {
        session: pane.session.clone(),
        pane: format!("%{}", pane.id),
        pid: pane.root.as_ref().map_or(0, |root| root.pid),
        dead: pane.root.is_none(),
        exit: pane.ended.as_ref().and_then(|(how, _)| exit(*how)),
        dead_at: pane.ended.as_ref().map(|(_, at)| *at),
        command: pane.cli.command().into(),
        in_mode: pane.in_mode,
        attached: u32::from(pane.person.is_some()),
        typed_at: if typing { Some(local) } else { pane.typed_at },
        output_at: Wall(output_at.div_euclid(1000) * 1000),
        shape: pane.cli.shape(),
        stamp: pane.stamp.clone(),
        unit: pane.unit.clone(),
        phase: pane.mark.clone(),
        title: pane.cli.title().into(),
    }
}

pub fn pane_number(name: &str) -> Option<u64> {
    name.strip_prefix('%')?.parse().ok()
}

/// It needs no tmux.
fn is_beside_tmux(action: &Action) -> bool {
    matches!(
        action,
        Action::RunJob { .. } | Action::Run { .. } | Action::WriteFile { .. } | Action::CancelRun { .. }
    )
}

fn word(action: &Action) -> &'static str {
    match action {
        Action::NewSession { .. } => "new-session",
        Action::Respawn { .. } => "respawn",
        Action::Adopt { .. } => "adopt",
        Action::LoadBuffer { .. } => "load",
        Action::Paste { .. } => "paste",
        Action::DropBuffer { .. } => "drop",
        Action::Keys { .. } => "keys",
        Action::LeaveMode { .. } => "leave-mode",
        Action::Signal { signal: Signal::Term, .. } => "TERM",
        Action::Signal { signal: Signal::Kill, .. } => "KILL",
        Action::KillSession { .. } => "kill-session",
        Action::Mark { .. } => "mark",
        Action::Unmark { .. } => "unmark",
        Action::RunJob { .. } => "job",
        Action::WriteFile { .. } => "write",
        Action::Run { .. } => "run",
        Action::CancelRun { .. } => "cancel-run",
    }
}

/// Whom an action is about.
fn unit_of(world: &World, action: &Action) -> String {
    let of_pane = |name: &str| {
        let pane = pane_number(name).and_then(|id| world.panes.get(&id));
        pane.map_or_else(|| format!("gone pane {name}"), |pane| pane.unit.clone())
    };
    match action {
        Action::NewSession { launch } | Action::Respawn { launch, .. } => launch.unit.to_string(),
        Action::Adopt { unit, .. } => unit.to_string(),
        Action::LoadBuffer { buffer, .. } | Action::DropBuffer { buffer } => {
            let parts: Vec<&str> = buffer.split('-').collect();
            parts.get(2..parts.len().saturating_sub(1)).map(|name| name.join("-")).unwrap_or_default()
        }
        Action::Paste { pane, .. } | Action::Keys { pane, .. } | Action::LeaveMode { pane } => of_pane(pane),
        Action::KillSession { pane, .. } => of_pane(pane),
        Action::Signal { processes, .. } => {
            let is = |pid: i32, start: u64| processes.iter().any(|p| p.pid == pid && p.start == start);
            let in_pane = world
                .panes
                .values()
                .find(|pane| pane.root.iter().chain(&pane.tools).any(|p| is(p.pid, p.start)));
            let orphan = world.orphans.iter().find(|(_, p)| is(p.pid, p.start)).map(|(unit, _)| unit.clone());
            in_pane.map(|pane| pane.unit.clone()).or(orphan).unwrap_or_else(|| "gone processes".into())
        }
        Action::Run { launch } => launch.unit.to_string(),
        Action::CancelRun { unit, .. } | Action::WriteFile { unit, .. } => unit.to_string(),
        Action::Mark { marker, .. } | Action::Unmark { marker, .. } => {
            marker.unit.as_ref().map(ToString::to_string).unwrap_or_default()
        }
        Action::RunJob { job } => cooperative::unit_of_job(world, &job.id),
    }
}

/// What must hold whenever the world is touched.
fn check(world: &mut World, disk: &Disk, action: &Action, unit: &str, grace_s: &BTreeMap<String, f64>) {
    let what = word(action);
    let mut found: Vec<(&'static str, String)> = Vec::new();
    let mut bad = |invariant, detail: String| found.push((invariant, format!("{what} on {unit}: {detail}")));
    if world.looked.is_none() && !is_beside_tmux(action) {
        bad("blind", "tmux was not seen in this tick".into());
    }
    let record = disk.json(&format!("units/{unit}/unit.json"));
    let acts = record.as_ref().and_then(|r| r.get("acts")).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let last_act = record
        .as_ref()
        .and_then(|r| r.get("last_act")?.get("what")?.as_str().map(str::to_owned))
        .unwrap_or_default();
    if let Some(truth) = world.units.get_mut(unit) {
        if disk.destroyed.contains(&format!("units/{unit}/unit.json")) {
            truth.acts = 0;
        }
        if acts <= truth.acts {
            bad(
                "commit-before-act",
                format!("unit.json says acts = {acts}, the effect before was paid with {}", truth.acts),
            );
        }
        truth.acts = acts;
    }
    if world.effects.iter().any(|effect| effect.unit == unit) {
        bad("one-act-per-unit", "a second effect in one tick".into());
    }
    let pane = match action {
        Action::Paste { pane, .. }
        | Action::Keys { pane, .. }
        | Action::Respawn { pane, .. }
        | Action::KillSession { pane, .. } => pane_number(pane).and_then(|id| world.panes.get(&id)),
        _ => None,
    };
    if pane.is_some_and(|pane| pane.stamp != STAMP) {
        bad("foreign", "the pane is somebody else's".into());
    }
    match action {
        Action::NewSession { .. } | Action::Respawn { .. } => {
            if world.living(unit).is_some() {
                bad("double-start", "it runs already".into());
            }
        }
        Action::Paste { .. } => {
            if let Some(pane) = pane {
                if pane.root.is_none() {
                    bad("dead-paste", "the pane is dead: tmux 3.3a dies of it".into());
                }
                if pane.cli.dialog_open() || pane.cli.play == Play::Shell {
                    bad("dialog", format!("pasted while {:?}", pane.cli.play));
                }
                if pane.cli.composer.person {
                    bad("draft", "pasted into a person's draft".into());
                }
            }
        }
        Action::Keys { keys, .. } => {
            if let Some(pane) = pane {
                let answers = last_act.ends_with("dialog") || last_act == "close limit menu";
                if pane.cli.dialog_open() && !answers {
                    bad("dialog", format!("{keys:?} pressed while {:?} ({last_act})", pane.cli.play));
                }
                if pane.cli.dialog_open() && answers {
                    let fits = match pane.cli.play {
                        Play::Ask => last_act == "approve dialog" || last_act == "deny dialog",
                        Play::Trust => last_act == "answer dialog",
                        Play::LimitMenu => last_act == "close limit menu",
                        _ => true,
                    };
                    if !fits {
                        bad("dialog", format!("{:?} answered as {last_act}", pane.cli.play));
                    }
                }
                if !pane.cli.dialog_open() && pane.cli.composer.person {
                    bad("draft", format!("{keys:?} pressed while a person's text stands in the composer"));
                }
                if pane.cli.play == Play::Shell {
                    bad("dialog", format!("{keys:?} pressed in a shell"));
                }
            }
        }
        Action::Signal { processes, signal: Signal::Kill } if !asked_gently(world, disk, unit) => {
            let grace = grace_s.get(unit).copied().unwrap_or(0.0);
            for process in processes.iter().filter(|p| world.start_of(p.pid) == Some(p.start)) {
                // A child that was born after TERM may be killed with its parent.
                let termed = world.termed.get(&(process.pid, process.start));
                let young = |at: &i64| ((world.t - at) as f64) < grace * 1000.0;
                let parent = processes.iter().filter_map(|p| world.termed.get(&(p.pid, p.start))).min();
                if termed.or(parent).is_none_or(young) {
                    bad("grace", format!("KILL to {} without TERM and {grace} s of grace", process.pid));
                }
            }
        }
        Action::Adopt { .. } => bad("foreign", "nobody asked for a session to be taken over".into()),
        Action::Signal { .. }
        | Action::LoadBuffer { .. }
        | Action::DropBuffer { .. }
        | Action::LeaveMode { .. }
        | Action::KillSession { .. }
        | Action::Mark { .. }
        | Action::Unmark { .. }
        | Action::RunJob { .. }
        | Action::Run { .. }
        | Action::WriteFile { .. }
        | Action::CancelRun { .. } => {}
    }
    for (invariant, detail) in found {
        world.violate(invariant, detail);
    }
}

/// What tmux and the kernel make of it.
fn effect(world: &mut World, action: &Action) -> Result<(), String> {
    let gone = || "can't find pane".to_owned();
    match action {
        Action::NewSession { launch } => {
            world.start_server();
            if world.panes.values().any(|pane| pane.session == launch.session) {
                return Err(format!("duplicate session: {}", launch.session));
            }
            let resumed = launch.argv.iter().any(|arg| arg == "--continue");
            world.launch(launch.unit.as_str(), None, resumed, launch.phase.clone());
        }
        Action::Respawn { pane, launch } => {
            let id = pane_number(pane).filter(|id| world.panes.contains_key(id)).ok_or_else(gone)?;
            let resumed = launch.argv.iter().any(|arg| arg == "--continue");
            world.launch(launch.unit.as_str(), Some(id), resumed, launch.phase.clone());
        }
        Action::LoadBuffer { buffer, text } => {
            let server = world.server.as_mut().ok_or("no server running")?;
            server.buffers.insert(buffer.clone(), text.clone());
        }
        Action::DropBuffer { buffer } => {
            let server = world.server.as_mut().ok_or("no server running")?;
            server.buffers.remove(buffer).ok_or("no such buffer")?;
        }
        Action::Paste { pane, buffer } => {
            let id = pane_number(pane).filter(|id| world.panes.contains_key(id)).ok_or_else(gone)?;
            let server = world.server.as_mut().ok_or("no server running")?;
            let text = server.buffers.remove(buffer).ok_or("no such buffer")?;
            let Some(target) = world.panes.get(&id) else { return Err(gone()) };
            let (unit, born) = (target.unit.clone(), target.cli.born);
            let epoch = world.units.get(&unit).map_or(0, |truth| truth.epoch);
            // What a process had in its composer died with it.
            if !world.pasted.insert((unit.clone(), epoch, born, buffer.clone())) {
                world.violate("once-only-text", format!("{unit}: {buffer} was pasted twice"));
            }
            world.type_text(id, &text, Some(buffer));
        }
        Action::Keys { pane, keys } => {
            let id = pane_number(pane).filter(|id| world.panes.contains_key(id)).ok_or_else(gone)?;
            for key in keys {
                match key.as_str() {
                    "Enter" => world.press_submit(id, false),
                    "Escape" => world.press_escape(id),
                    "C-u" => world.clear_composer(id),
                    other => world.violate("dialog", format!("unknown key {other}")),
                }
            }
        }
        Action::LeaveMode { pane } => {
            let id = pane_number(pane).ok_or_else(gone)?;
            world.panes.get_mut(&id).ok_or_else(gone)?.in_mode = false;
        }
        Action::Signal { processes, signal } => {
            let t = world.t;
            for process in processes {
                if *signal == Signal::Term && world.start_of(process.pid) == Some(process.start) {
                    world.termed.insert((process.pid, process.start), t);
                }
                world.signal(process.pid, process.start, *signal == Signal::Kill);
            }
        }
        Action::KillSession { pane, .. } => {
            let id = pane_number(pane).filter(|id| world.panes.contains_key(id)).ok_or_else(gone)?;
            world.panes.remove(&id);
            if world.panes.is_empty() {
                world.server = None;
            }
        }
        Action::RunJob { job } => {
            let t = world.t;
            if let Some(remote) = world.remote.as_mut().filter(|_| job.id == watchkeeper::policy::fetch::JOB)
            {
                remote.start(t, job.deadline_s);
            } else if let Some(coop) = &mut world.coop {
                coop.start(job, t, &mut world.rng);
            }
        }
        Action::Mark { text, .. } => cooperative::mark(world, &unit_of(world, action), text),
        Action::Unmark { seen, .. } => cooperative::unmark(world, &unit_of(world, action), seen.as_deref()),
        Action::Adopt { .. } => {}
        // The simulated world has no processes outside tmux.
        Action::Run { .. } | Action::WriteFile { .. } | Action::CancelRun { .. } => {}
    }
    Ok(())
}

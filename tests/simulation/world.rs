//! The world that is watched: a tmux server, its panes, what runs in them, accounts with limits, people, three clocks.
//! It knows the truth; what the watchdog sees of it is `host.rs`.

use super::cli::{Around, Cli, Ended, Play, Sent, Temper};
use super::cooperative::{self, Coop};
use super::outline::kickoff_phase;
use super::remote::Remote;
use super::rng::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use watchkeeper::base::time::Wall;
use watchkeeper::policy::limit::PROBE_TEXT;

/// What our sessions carry.
pub const STAMP: &str = "/fleet/.watchkeeper";
/// Lines of the story kept for a failure's report.
const STORY_MAX: usize = 80;

/// One unit, as it truly is.
#[derive(Clone, Debug)]
pub struct UnitTruth {
    pub session: String,
    pub agent: bool,
    pub task: bool,
    pub loops: bool,
    pub account: String,
    pub transcript: bool,
    /// Until then whatever is started dies young.
    pub crashy_until: i64,
    /// The first prompt of a start.
    pub kickoff: String,
    /// The life that ended with its tmux server, until the next one …
    pub lost: Option<Proc>,
    /// … and from then on here.
    pub back_from: Option<Proc>,
    /// Which life of its unit.json: a destroyed file forgets what it counted.
    pub epoch: u32,
    /// `acts` in unit.json at the last effect.
    pub acts: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Account {
    /// True wall clock.
    pub limited_until: i64,
    pub kind: &'static str,
    pub style: u64,
    pub auth_broken: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Proc {
    pub pid: i32,
    pub start: u64,
}

/// A person at a pane.
#[derive(Clone, Debug)]
pub struct Person {
    pub typing_until: i64,
    pub leaves_at: i64,
    pub then: PersonDoes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonDoes {
    Submit,
    Clear,
    LeaveDraft,
    AnswerDialog,
}

#[derive(Clone, Debug)]
pub struct Pane {
    pub id: u64,
    pub session: String,
    pub stamp: String,
    pub unit: String,
    pub root: Option<Proc>,
    /// Children of the root that live: tools.
    pub tools: Vec<Proc>,
    pub cli: Cli,
    pub ended: Option<(Option<Ended>, Wall)>,
    pub in_mode: bool,
    pub person: Option<Person>,
    pub typed_at: Option<Wall>,
    /// Last output, local wall clock, ms.
    pub output_at: i64,
    /// The phase that its start was marked with.
    pub mark: Option<String>,
    /// The phase that its agent was told to work on.
    pub kicked: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Server {
    pub pid: i32,
    pub started: i64,
    pub buffers: BTreeMap<String, String>,
}

/// An effect of the watchdog on the world.
#[derive(Clone, Debug)]
pub struct Effect {
    pub unit: String,
    pub what: &'static str,
    pub t: i64,
    /// It had its effect.
    pub happened: bool,
}

/// A text that reached an agent.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub unit: String,
    pub epoch: u32,
    pub pid: i32,
    pub sent: Sent,
}

/// What goes wrong with the host, per mille.
#[derive(Clone, Debug, Default)]
pub struct HostFaults {
    /// An action fails and has no effect.
    pub act_fails: u64,
    /// An action is said to have failed and has its effect.
    pub act_lies: u64,
    /// A pane is missing from a capture.
    pub capture_misses: u64,
    /// A living pane is missing from the list, once.
    pub list_misses: u64,
    /// A tool is taken for the CLI's own command, once.
    pub flickers: u64,
}

#[derive(Debug)]
pub struct World {
    pub rng: Rng,
    /// Awake time since the beginning, through all reboots, ms.
    pub t: i64,
    /// True wall clock, ms.
    pub wall: i64,
    /// The local clock is off by that much, ms.
    pub offset: i64,
    pub boot: u32,
    boot_t: i64,
    pub server: Option<Server>,
    pub silent_until: i64,
    pub panes: BTreeMap<u64, Pane>,
    next_pane: u64,
    next_pid: i32,
    /// Processes whose pane is gone or whose root ended, with their unit and whether TERM ends them.
    pub orphans: Vec<(String, Proc)>,
    pub units: BTreeMap<String, UnitTruth>,
    pub accounts: BTreeMap<String, Account>,
    pub temper: Temper,
    pub faults: HostFaults,
    pub story: VecDeque<String>,
    pub violations: Vec<(&'static str, String)>,
    pub effects: Vec<Effect>,
    pub arrivals: Vec<Arrival>,
    /// Buffers pasted into a CLI: (unit, epoch, birth of the CLI, buffer).
    pub pasted: BTreeSet<(String, u32, i64, String)>,
    /// TERM was sent at.
    pub termed: BTreeMap<(i32, u64), i64>,
    /// This tick's look: None = the server did not answer; else panes listed.
    pub looked: Option<BTreeSet<u64>>,
    /// Panes that the last look missed or misread.
    pub missed: BTreeSet<u64>,
    /// And the one before.
    pub missed_before: BTreeSet<u64>,
    pub tick: u64,
    /// Where the work of a fleet with a plan is pushed.
    pub remote: Option<Remote>,
    /// What cooperative services are like.
    pub coop: Option<Coop>,
    /// The story is printed as it happens.
    aloud: bool,
}

impl World {
    pub fn new(mut rng: Rng, units: BTreeMap<String, UnitTruth>) -> World {
        let wall = 1_795_255_200_000 + rng.between(0, 86_400) * 1000; // 2026-11-21
        let accounts = units.values().map(|unit| (unit.account.clone(), Account::default())).collect();
        World {
            rng,
            t: 0,
            wall,
            offset: 0,
            boot: 1,
            boot_t: -1_000_000,
            server: None,
            silent_until: 0,
            panes: BTreeMap::new(),
            next_pane: 0,
            next_pid: 1000,
            orphans: Vec::new(),
            units,
            accounts,
            temper: Temper::calm(),
            faults: HostFaults::default(),
            story: VecDeque::new(),
            violations: Vec::new(),
            effects: Vec::new(),
            arrivals: Vec::new(),
            pasted: BTreeSet::new(),
            termed: BTreeMap::new(),
            looked: None,
            missed: BTreeSet::new(),
            missed_before: BTreeSet::new(),
            tick: 0,
            remote: None,
            coop: None,
            aloud: std::env::var_os("STORY").is_some(),
        }
    }

    pub fn local(&self) -> Wall {
        Wall(self.wall + self.offset)
    }

    pub fn awake(&self) -> i64 {
        self.t - self.boot_t
    }

    pub fn tell(&mut self, what: impl AsRef<str>) {
        let line = format!(
            "tick {:4} t {:8.1} {}  {}",
            self.tick,
            self.t as f64 / 1000.0,
            self.local(),
            what.as_ref()
        );
        if self.aloud {
            println!("{line}");
        }
        self.story.push_back(line);
        if self.story.len() > STORY_MAX {
            self.story.pop_front();
        }
    }

    pub fn violate(&mut self, invariant: &'static str, detail: impl Into<String>) {
        let detail = detail.into();
        self.tell(format!("VIOLATION {invariant}: {detail}"));
        self.violations.push((invariant, detail));
    }

    fn new_pid(&mut self) -> i32 {
        loop {
            // Pids come back soon: an identity is a pid and a start time.
            self.next_pid = 1000 + (self.next_pid - 999) % 60;
            let pid = self.next_pid;
            if self.server.as_ref().is_none_or(|s| s.pid != pid) && self.start_of(pid).is_none() {
                return pid;
            }
        }
    }

    pub fn new_proc(&mut self) -> Proc {
        let pid = self.new_pid();
        Proc { pid, start: (self.awake() / 10).max(1) as u64 + self.boot as u64 }
    }

    /// The start of the living process of that pid.
    pub fn start_of(&self, pid: i32) -> Option<u64> {
        let in_panes = self.panes.values().flat_map(|pane| pane.root.iter().chain(&pane.tools));
        let strangers = self.coop.iter().flat_map(|coop| &coop.strangers);
        in_panes
            .chain(self.orphans.iter().map(|(_, p)| p))
            .chain(strangers)
            .find(|p| p.pid == pid)
            .map(|p| p.start)
    }

    pub fn pane_of(&self, unit: &str) -> Option<&Pane> {
        self.panes.values().find(|pane| pane.unit == unit && pane.stamp == STAMP)
    }

    pub fn pane_of_mut(&mut self, unit: &str) -> Option<&mut Pane> {
        self.panes.values_mut().find(|pane| pane.unit == unit && pane.stamp == STAMP)
    }

    pub fn living(&self, unit: &str) -> Option<&Pane> {
        self.pane_of(unit).filter(|pane| pane.root.is_some())
    }

    /// Lets `ms` of awake time pass.
    pub fn run(&mut self, ms: i64) {
        let end = self.t + ms;
        loop {
            let due = self.panes.values().filter(|p| p.root.is_some()).map(|p| (p.cli.next, p.id)).min();
            let person = self.panes.values().filter_map(|p| Some((person_due(p)?, p.id))).min();
            let next =
                [due.map(|d| d.0), person.map(|d| d.0)].into_iter().flatten().min().unwrap_or(i64::MAX);
            if next > end {
                break;
            }
            self.pass_to(next.max(self.t));
            match (due, person) {
                (Some((at, id)), _) if at == next => self.step_cli(id),
                (_, Some((at, id))) if at == next => self.step_person(id),
                _ => break,
            }
        }
        self.pass_to(end);
        for pane in self.panes.values_mut() {
            pane.cli.accrue(end);
        }
    }

    fn pass_to(&mut self, t: i64) {
        self.wall += t - self.t;
        self.t = t;
        if let Some(remote) = &mut self.remote {
            remote.pass(t);
        }
    }

    /// Calls `f` with the CLI of a pane and what is around it.
    fn with_cli<T>(&mut self, id: u64, f: impl FnOnce(&mut Cli, &mut Around<'_>) -> T) -> Option<T> {
        let (t, wall, offset) = (self.t, self.wall, self.offset);
        let pane = self.panes.get_mut(&id)?;
        let unit = self.units.get(&pane.unit)?;
        let account = self.accounts.get(&unit.account).cloned().unwrap_or_default();
        let named = (account.style < 2).then_some(minute(account.limited_until));
        let limited = (account.limited_until > wall).then(|| (banner(&account), named));
        let wall_text = |ms: i64| Wall((wall + offset + ms) / 1000 * 1000).to_string();
        let mut around = Around {
            t,
            rng: &mut self.rng,
            temper: &self.temper,
            limited,
            auth_broken: account.auth_broken,
            crashy: unit.crashy_until > t,
            wall_text: &wall_text,
            task: unit.task,
        };
        let before = pane.cli.drawn_at;
        let result = f(&mut pane.cli, &mut around);
        if pane.cli.drawn_at != before || pane.cli.is_working() {
            pane.output_at = wall + offset;
        }
        Some(result)
    }

    fn step_cli(&mut self, id: u64) {
        let (unit, was) = match self.panes.get(&id) {
            Some(pane) => (pane.unit.clone(), format!("{:?}", pane.cli.play)),
            None => return,
        };
        if cooperative::is_one(self, &unit) {
            return cooperative::step(self, id);
        }
        let ended = self.with_cli(id, Cli::step).flatten();
        if let Some(pane) = self.panes.get_mut(&id)
            && let Some(wait) = pane.cli.waits_until.filter(|wait| *wait < 1_000_000_000_000)
        {
            // The CLI knows how long; the world when.
            pane.cli.waits_until = Some(self.wall + self.offset + wait);
        }
        if let Some(ended) = ended {
            self.tell(format!("{unit}: ends by itself ({ended:?})"));
            self.end_root(id, Some(ended));
            return;
        }
        self.tools(id);
        self.push(id);
        cooperative::checkpoint(self, id);
        let is = self.panes.get(&id).map(|pane| format!("{:?}", pane.cli.play)).unwrap_or_default();
        if kind_word(&is) != kind_word(&was) {
            self.tell(format!("{unit}: {} → {}", kind_word(&was), kind_word(&is)));
        }
    }

    /// An agent that works on a phase pushes now and then.
    fn push(&mut self, id: u64) {
        let (Some(remote), Some(pane)) = (&mut self.remote, self.panes.get(&id)) else { return };
        let Some(phase) = pane.kicked.clone().filter(|_| pane.cli.is_working()) else { return };
        let unit = pane.unit.clone();
        if remote.zeal == super::remote::Zeal::Rest || !self.rng.chance(remote.pushes) {
            return;
        }
        if let Some(what) = remote.push(&unit, &phase) {
            self.tell(format!("{unit}: pushes `{what}`"));
        }
    }

    /// A tool runs while the CLI waits for it.
    fn tools(&mut self, id: u64) {
        let wants = self.panes.get(&id).is_some_and(|p| p.cli.kind() == Some(super::cli::Kind::Tool));
        let has = self.panes.get(&id).is_some_and(|p| !p.tools.is_empty());
        if wants && !has {
            let tool = self.new_proc();
            if let Some(pane) = self.panes.get_mut(&id) {
                pane.tools.push(tool);
            }
        } else if !wants
            && has
            && let Some(pane) = self.panes.get_mut(&id)
        {
            pane.tools.clear();
            pane.cli.cpu_ms = 0;
        }
    }

    /// The pane's process ends: the pane is kept, its tools become orphans.
    pub fn end_root(&mut self, id: u64, how: Option<Ended>) {
        let at = self.local();
        let Some(pane) = self.panes.get_mut(&id) else { return };
        let root = pane.root.take();
        pane.ended = Some((how, at));
        pane.person = None;
        pane.output_at = at.0;
        let tools = std::mem::take(&mut pane.tools);
        let unit = pane.unit.clone();
        for tool in tools {
            if self.rng.chance(300) || self.is_deaf(&tool) {
                self.orphans.push((unit.clone(), tool));
            }
        }
        if let Some(root) = root {
            cooperative::ended(self, &root);
        }
    }

    /// It ignores TERM.
    fn is_deaf(&self, process: &Proc) -> bool {
        self.coop.as_ref().is_some_and(|coop| coop.deaf.contains(&(process.pid, process.start)))
    }

    pub fn start_server(&mut self) {
        if self.server.is_none() {
            let pid = self.new_pid();
            let started = self.local().0 / 1000;
            self.server = Some(Server { pid, started, buffers: BTreeMap::new() });
        }
    }

    pub fn server_dies(&mut self) {
        self.server = None;
        for pane in self.panes.values() {
            if let (Some(root), Some(truth)) = (&pane.root, self.units.get_mut(&pane.unit)) {
                truth.lost = Some(root.clone());
            }
        }
        self.panes.clear();
    }

    /// Starts the unit's command: in a pane of its own, or anew in a kept one.
    pub fn launch(&mut self, unit: &str, into: Option<u64>, resumed: bool, mark: Option<String>) {
        let root = self.new_proc();
        let Some(truth) = self.units.get_mut(unit) else { return };
        truth.back_from = truth.lost.take();
        let truth = truth.clone();
        let slow = if self.rng.chance(self.temper.slow_start) { 60_000 } else { 3000 };
        let ready = self.t + self.rng.between(300, slow);
        let mut cli = if truth.agent { Cli::agent(self.t, ready) } else { Cli::service(self.t) };
        cli.resumed = resumed;
        cli.stubborn = self.rng.chance(self.temper.stubborn);
        if self.rng.chance(self.temper.swallows) {
            cli.swallow = self.rng.between(1, 4) as u32;
        }
        if !truth.agent && truth.crashy_until > self.t {
            cli.next = self.t + self.rng.between(100, 8000);
        }
        let id = into.unwrap_or_else(|| {
            self.next_pane += 1;
            self.next_pane
        });
        let local = self.local().0;
        let old = self.panes.remove(&id);
        self.panes.insert(
            id,
            Pane {
                id,
                session: truth.session.clone(),
                stamp: STAMP.into(),
                unit: unit.to_owned(),
                root: Some(root),
                tools: Vec::new(),
                cli,
                ended: None,
                in_mode: false,
                person: old.as_ref().and_then(|old| old.person.clone()),
                typed_at: old.and_then(|old| old.typed_at),
                output_at: local,
                mark,
                kicked: None,
            },
        );
        cooperative::started(self, unit, id);
    }

    /// Somebody else takes the session's name.
    pub fn foreign_session(&mut self, unit: &str) {
        let Some(truth) = self.units.get(unit) else { return };
        let session = truth.session.clone();
        self.start_server();
        let root = self.new_proc();
        self.next_pane += 1;
        let id = self.next_pane;
        let (t, output_at) = (self.t, self.local().0);
        self.panes.insert(
            id,
            Pane {
                id,
                session,
                stamp: String::new(),
                unit: String::new(),
                root: Some(root),
                tools: Vec::new(),
                cli: Cli::service(t),
                ended: None,
                in_mode: false,
                person: None,
                typed_at: None,
                output_at,
                mark: None,
                kicked: None,
            },
        );
    }

    /// A signal reaches a process. KILL ends it; TERM most.
    pub fn signal(&mut self, pid: i32, start: u64, kill: bool) {
        let deaf = !kill && self.is_deaf(&Proc { pid, start });
        if self.start_of(pid) != Some(start) || deaf || cooperative::is_zombie(self, pid) {
            return;
        }
        if let Some(at) = self.orphans.iter().position(|(_, p)| p.pid == pid) {
            self.orphans.remove(at);
            return;
        }
        let found = self.panes.values().find(|p| p.root.iter().chain(&p.tools).any(|p| p.pid == pid));
        let Some(pane) = found else { return };
        let id = pane.id;
        if pane.root.as_ref().is_some_and(|root| root.pid == pid) {
            if kill || !pane.cli.stubborn {
                self.end_root(id, Some(Ended::Signal(if kill { 9 } else { 15 })));
            }
        } else if let Some(pane) = self.panes.get_mut(&id) {
            pane.tools.retain(|tool| tool.pid != pid);
        }
    }

    /// Enter (or another submit key) in a pane.
    pub fn press_submit(&mut self, id: u64, by_person: bool) {
        let Some(pane) = self.panes.get(&id) else { return };
        let (unit, pid) = (pane.unit.clone(), pane.root.as_ref().map_or(0, |root| root.pid));
        if pane.cli.dialog_open() {
            self.with_cli(id, |cli, around| cli.answer(around, true));
            return;
        }
        let sent = self.with_cli(id, |cli, around| cli.submit(around, PROBE_TEXT)).flatten();
        let Some(sent) = sent else { return };
        self.tools(id);
        let epoch = self.units.get(&unit).map_or(0, |unit| unit.epoch);
        if !by_person {
            let text: String = sent.text.chars().take(50).collect();
            self.tell(format!("{unit}: takes `{text}`"));
            if let (Some(phase), Some(pane)) = (kickoff_phase(&sent.text), self.panes.get_mut(&id)) {
                pane.kicked = Some(phase.to_owned());
            }
        }
        self.arrivals.push(Arrival { unit, epoch, pid, sent });
    }

    pub fn press_escape(&mut self, id: u64) {
        self.with_cli(id, |cli, around| cli.answer(around, false));
    }

    /// Types into the composer; a dialog eats it, a shell would run it.
    pub fn type_text(&mut self, id: u64, text: &str, buffer: Option<&str>) {
        let t = self.t;
        self.with_cli(id, |cli, _| {
            if matches!(cli.play, Play::Idle | Play::Work(_)) {
                cli.composer.text.push_str(text);
                match buffer {
                    Some(buffer) => cli.composer.buffers.push(buffer.to_owned()),
                    None => cli.composer.person = true,
                }
                cli.drawn_at = t;
            }
        });
    }

    pub fn clear_composer(&mut self, id: u64) {
        let t = self.t;
        self.with_cli(id, |cli, _| {
            cli.composer = Default::default();
            cli.drawn_at = t;
        });
    }

    /// A person attaches to a unit and begins to type.
    pub fn person_arrives(&mut self, unit: &str, then: PersonDoes) {
        let (t, local) = (self.t, self.local());
        let (types, stays) = (self.rng.between(5, 60) * 1000, self.rng.between(1, 200) * 1000);
        let Some(pane) = self.pane_of_mut(unit).filter(|pane| pane.root.is_some() && pane.person.is_none())
        else {
            return;
        };
        pane.person = Some(Person { typing_until: t + types, leaves_at: t + types + stays, then });
        pane.typed_at = Some(local);
        let id = pane.id;
        if then != PersonDoes::AnswerDialog {
            self.type_text(id, "please also look at ", None);
        }
        self.tell(format!("{unit}: a person attaches ({then:?})"));
    }

    fn step_person(&mut self, id: u64) {
        let (t, local) = (self.t, self.local());
        let Some(pane) = self.panes.get_mut(&id) else { return };
        let Some(mut person) = pane.person.take() else { return };
        let unit = pane.unit.clone();
        if t >= person.leaves_at {
            self.tell(format!("{unit}: the person detaches"));
            return;
        }
        pane.typed_at = Some(local);
        if t < person.typing_until {
            pane.person = Some(person);
            return;
        }
        person.typing_until = i64::MAX;
        let then = person.then;
        pane.person = Some(person);
        let ours = pane.cli.composer.buffers.clone();
        match then {
            PersonDoes::Submit if ours.is_empty() => self.press_submit(id, true),
            PersonDoes::Submit | PersonDoes::Clear => self.clear_composer(id),
            PersonDoes::LeaveDraft => self.type_text(id, "the tests", None),
            PersonDoes::AnswerDialog => {
                let open = self.panes.get(&id).is_some_and(|pane| pane.cli.dialog_open());
                if open {
                    self.press_submit(id, true);
                } else {
                    self.clear_composer(id);
                }
            }
        }
    }

    pub fn suspend(&mut self, ms: i64) {
        self.wall += ms;
    }

    pub fn reboot(&mut self) {
        self.server_dies();
        self.orphans.clear();
        self.boot += 1;
        self.wall += 90_000;
        self.boot_t = self.t - 20_000;
        if let Some(remote) = &mut self.remote {
            remote.kill_runner();
        }
        if let Some(coop) = &mut self.coop {
            coop.reboot();
        }
    }
}

fn person_due(pane: &Pane) -> Option<i64> {
    let person = pane.person.as_ref()?;
    Some(person.typing_until.min(person.leaves_at))
}

fn kind_word(play: &str) -> String {
    match play.split_once("kind: ") {
        Some((_, rest)) => rest.split(',').next().unwrap_or("").to_lowercase(),
        None => play.to_lowercase(),
    }
}

/// The next whole minute.
fn minute(wall: i64) -> i64 {
    (wall + 59_999) / 60_000 * 60_000
}

/// The text of a limit, in one of several styles.
pub fn banner(account: &Account) -> String {
    let kind = account.kind;
    let at = Wall(minute(account.limited_until)).to_string();
    let head = format!("You've hit your {kind}usage limit");
    match account.style {
        0 => format!("{head} · resets {} (UTC)", &at[11..16]),
        1 => format!("{head} · resets {at}"),
        _ => format!("{head} · try again later"),
    }
}

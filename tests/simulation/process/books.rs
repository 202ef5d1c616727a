//! What must hold in every tick, whatever goes wrong: the books are compared with what truly happened. What is about one
//! effect alone is in `host.rs`, where it happens.

use super::ledger;
use super::machine::{End, Machine, Unit};
use crate::files::Disk;
use std::collections::{BTreeMap, BTreeSet};
use watchkeeper::config::{Config, Lifecycle, ProcessUnit};
use watchkeeper::engine::tick::TickReport;
use watchkeeper::model::action::{Action, FixStep};
use watchkeeper::model::finding::FindingKind;
use watchkeeper::policy::proposal::{Origin, Proposal, What};
use watchkeeper::state::State;
use watchkeeper::state::incident::IncidentState;
use watchkeeper::state::process::{RemedyStep, RunState, Standing};
use watchkeeper::state::unit::UnitState;

/// So many undisturbed looks at a run past its deadline, and it must be at its end.
const LATE_LOOKS: u32 = 30;
/// A line explains an end that comes within this time.
const SAID_MS: i64 = 5000;
/// So much longer than its timeout an agent's turn may take: its jobs, and looks that come late, seconds.
const TURN_S: f64 = 900.0;
/// Of the time between two looks so much counts.
const GAP_MS: i64 = 400_000;
/// The class of an end that nobody can explain.
const UNCLEAR: &str = "unclear";

/// What is known of one unit's past, from the truth.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Restarts since somebody or something lifted the budget.
    restarts: u32,
    /// The same failure in a row.
    same: (String, u32),
    /// The last run that is in `same`.
    counted: u64,
    /// Attempts that led to a start.
    begun: BTreeMap<String, Begun>,
    /// What unit.json said at the last look.
    judged: u64,
    number: u64,
    is_spent: bool,
    /// It was given up so often.
    pub spent: usize,
    late: u32,
    /// The attempt for which somebody was asked, and how long that takes, ms.
    turn: (String, i64),
    paused: bool,
}

/// An attempt that led to a start: which, when, and what the end before it was like.
#[derive(Clone, Debug)]
struct Begun {
    number: u64,
    at: i64,
    class: String,
}

#[derive(Debug, Default)]
pub struct Books {
    pub accounts: BTreeMap<String, Account>,
    fleet_paused: bool,
    /// The last look.
    looked: i64,
    pub effects: u64,
}

impl Books {
    /// Before a tick: how things stand.
    pub fn before(&mut self, disk: &mut Disk, config: &Config) {
        self.fleet_paused = disk.get("PAUSED").is_some();
        for name in config.units.keys() {
            let account = self.accounts.entry(name.to_string()).or_default();
            account.paused = disk.get(&format!("units/{name}/PAUSED")).is_some();
        }
        disk.written.clear();
        disk.failed = false;
    }

    /// After a tick: everything that must hold.
    pub fn after(
        &mut self,
        machine: &mut Machine,
        disk: &mut Disk,
        config: &Config,
        report: &TickReport,
        killed: bool,
    ) {
        self.effects += machine.effects.len() as u64;
        self.forget_destroyed(machine, disk);
        if !killed && !disk.failed {
            self.committed(machine, &report.before);
        }
        self.lifted(machine, report);
        self.starts(machine, config, report);
        if !killed {
            // A look that could not be written down is made again: what came since the one before came together.
            machine.looks += u64::from(!disk.failed);
            self.verdicts(machine, config, report);
            self.pauses(machine, report);
            self.deadlines(machine, disk, config, report);
            self.turns(machine, disk, config, report);
        }
        if disk.written.contains("attempts.tsv") {
            ledger::check(machine, disk);
        }
        if killed || disk.written.iter().any(|path| path.starts_with("incidents/")) {
            ledger::folders(machine, disk);
        }
    }

    /// Somebody destroyed a unit's memory: what it counted is forgotten with it.
    fn forget_destroyed(&mut self, machine: &mut Machine, disk: &mut Disk) {
        for path in std::mem::take(&mut disk.destroyed) {
            let name = path.strip_prefix("units/").and_then(|rest| rest.strip_suffix("/unit.json"));
            let Some(name) = name else { continue };
            if let Some(unit) = machine.units.get_mut(name) {
                unit.epoch += 1;
                unit.acts = 0;
                unit.env.clear();
            }
            if let Some(account) = self.accounts.get_mut(name) {
                *account = Account { paused: account.paused, ..Account::default() };
            }
        }
    }

    /// What the last tick wrote down: nothing goes backwards, nothing is counted that did not happen.
    fn committed(&mut self, machine: &mut Machine, state: &State) {
        let mut bad: Vec<(&'static str, String)> = Vec::new();
        for (name, unit) in &state.units {
            let name = name.as_str();
            let (Some(account), Some(truth)) = (self.accounts.get_mut(name), machine.units.get(name)) else {
                continue;
            };
            let run = &unit.process.run;
            // A file that can't be read now is looked at once more before it counts as lost.
            if *run == RunState::default() {
                continue;
            }
            let number = |unit: &Unit| {
                let queued = unit.queued.as_ref().map(|queued| queued.number);
                unit.body.as_ref().map(|body| body.number).or(queued)
            };
            if let Some(number) = number(truth).filter(|number| run.judged >= *number) {
                bad.push((
                    "end-invented",
                    format!("{name}: run {number} is not over, judged: {}", run.judged),
                ));
            }
            if run.judged < account.judged || run.number < account.number {
                bad.push(("backwards", format!("{name}: run {} judged {}", run.number, run.judged)));
            }
            (account.judged, account.number) = (run.judged, run.number);
            let is_spent = matches!(run.standing, Standing::Spent { .. });
            account.spent += usize::from(is_spent && !account.is_spent);
            account.is_spent = is_spent;
            bad.extend(overcounted(name, &unit.incident, truth));
        }
        bad.into_iter().for_each(|(invariant, detail)| machine.violate(invariant, detail));
    }

    /// People who lift a budget, and remedies that were kept.
    fn lifted(&mut self, machine: &Machine, report: &TickReport) {
        let before: BTreeSet<&str> = report.before.mail.handled.iter().map(|h| h.id.as_str()).collect();
        let next = &report.decision.next;
        let asked = next.mail.handled.iter().filter(|h| !before.contains(h.id.as_str()));
        for handled in asked {
            for (name, account) in &mut self.accounts {
                let named = handled.said.contains(&format!("`{name}`"));
                if named || handled.said.contains("starting what does not run") {
                    account.lift(machine.units.get(name));
                }
            }
        }
        for (name, unit) in &next.units {
            let kept = new_rows(report, name.as_str(), unit).any(|row| row.status.word() == "kept");
            if let Some(account) = self.accounts.get_mut(name.as_str()).filter(|_| kept) {
                account.lift(machine.units.get(name.as_str()));
            }
        }
    }

    /// Starts that happened: the budget, the same failure again and again, each attempt once.
    fn starts(&mut self, machine: &mut Machine, config: &Config, report: &TickReport) {
        let mut bad: Vec<(&'static str, String)> = Vec::new();
        for effect in machine.effects.iter().filter(|effect| effect.what == "run" && effect.happened) {
            let name = effect.unit.as_str();
            let granted = report.decision.granted.iter().find(|granted| granted.unit.as_str() == name);
            let process = config.units.get(name).and_then(|unit| unit.process());
            let (Some(granted), Some(process)) = (granted, process) else { continue };
            let (Some(account), Some(truth)) = (self.accounts.get_mut(name), machine.units.get(name)) else {
                continue;
            };
            account.ends(truth, effect.number);
            if granted.why.rule == "process.asked" {
                account.lift(Some(truth));
            }
            if granted.why.rule != "process.remedy" {
                continue;
            }
            account.restarts += 1;
            bad.extend(account.over_budget(name, process));
            let attempt = report.decision.next.units.get(name).and_then(last_begun);
            let Some(attempt) = attempt else { continue };
            let before = truth.ends.iter().rev().find(|end| end.number < effect.number);
            let class = before.and_then(|end| class(truth, end)).unwrap_or_else(|| UNCLEAR.to_owned());
            let new = Begun { number: effect.number, at: machine.t, class };
            let first = account.begun.entry(attempt.clone()).or_insert(new);
            if first.number != effect.number {
                let text = format!("{name}: {attempt} led to runs {} and {}", first.number, effect.number);
                bad.push(("remedy-once", text));
            }
        }
        bad.into_iter().for_each(|(invariant, detail)| machine.violate(invariant, detail));
    }

    /// Kept and regressed, as the world knows it.
    fn verdicts(&self, machine: &mut Machine, config: &Config, report: &TickReport) {
        let mut bad = Vec::new();
        for (name, unit) in &report.decision.next.units {
            let name = name.as_str();
            let process = config.units.get(name).and_then(|unit| unit.process());
            let (Some(process), Some(truth), Some(account)) =
                (process, machine.units.get(name), self.accounts.get(name))
            else {
                continue;
            };
            for row in new_rows(report, name, unit) {
                let Some(begun) = account.begun.get(&row.attempt) else { continue };
                let back = came_back(truth, process, &row.detector, begun);
                let told = format!("{name}: {} against {} ({})", row.attempt, row.detector, row.description);
                match row.status.word() {
                    "kept" if row.description.starts_with("silent for") => {
                        if back == Some(true) {
                            bad.push(("kept-wrong", format!("{told}, and it came back")));
                        }
                        let alive = alive_ms(truth, begun.number, machine.t);
                        let window = (process.healing.verify_window_s * 1000.0) as i64;
                        if alive + 2000 < window {
                            bad.push(("kept-early", format!("{told}, and it ran for {} s", alive / 1000)));
                        }
                    }
                    "regressed" if back == Some(false) => {
                        bad.push(("regressed-wrong", format!("{told}, and it did not come back: {begun:?}")));
                    }
                    _ => {}
                }
            }
        }
        bad.into_iter().for_each(|(invariant, detail)| machine.violate(invariant, detail));
    }

    /// Nothing is done to who is paused, unless a person ordered it.
    fn pauses(&self, machine: &mut Machine, report: &TickReport) {
        let mut bad = Vec::new();
        for effect in &machine.effects {
            let granted = report.decision.granted.iter().find(|granted| granted.unit.as_str() == effect.unit);
            let paused =
                self.fleet_paused || self.accounts.get(&effect.unit).is_some_and(|account| account.paused);
            // (What was begun in a tree is ended: a person's work may be out of it until then.)
            let by_policy = |granted: &Proposal| granted.origin == Origin::Policy && !ends_a_fix(granted);
            if paused && granted.is_some_and(by_policy) {
                bad.push(format!("{} of {} while it is paused", effect.what, effect.unit));
            }
        }
        bad.into_iter().for_each(|detail| machine.violate("untouchable", detail));
    }

    /// Healing comes to an end, whoever is asked and whatever is answered, where nothing hinders it.
    fn turns(&mut self, machine: &mut Machine, disk: &Disk, config: &Config, report: &TickReport) {
        let t = machine.t;
        let passed = (t - self.looked).min(GAP_MS);
        self.looked = t;
        let mut bad = Vec::new();
        for (name, unit) in &config.units {
            let (Some(process), Some(state)) = (unit.process(), report.decision.next.units.get(name)) else {
                continue;
            };
            let Some(account) = self.accounts.get_mut(name.as_str()) else { continue };
            let remedy = state.process.remedy.as_ref().filter(|remedy| match remedy.step {
                RemedyStep::Due | RemedyStep::Ask { .. } => false,
                RemedyStep::Thinking { .. }
                | RemedyStep::Opening { .. }
                | RemedyStep::Opened { .. }
                | RemedyStep::Requested { .. }
                | RemedyStep::Closing { .. }
                | RemedyStep::Command { .. } => true,
            });
            let Some(remedy) = remedy else {
                account.turn = (String::new(), 0);
                continue;
            };
            if account.turn.0 != remedy.attempt {
                account.turn = (remedy.attempt.clone(), 0);
            }
            let hindered = disk.failed
                || self.fleet_paused
                || account.paused
                || t < machine.silent_until
                || state.failopen.since_awake_s.is_some();
            account.turn.1 += if hindered { 0 } else { passed };
            if account.turn.1 as f64 > (process.healing.timeout_s + TURN_S) * 1000.0 {
                let since = account.turn.1 / 1000;
                bad.push(format!("{name}: {} is under way for {since} s: {:?}", remedy.attempt, remedy.step));
                account.turn.1 = 0;
            }
        }
        bad.into_iter().for_each(|detail| machine.violate("turn-ends", detail));
    }

    /// No run takes longer than it may, where nothing hinders its end.
    fn deadlines(&mut self, machine: &mut Machine, disk: &Disk, config: &Config, report: &TickReport) {
        let mut bad = Vec::new();
        for (name, unit) in &config.units {
            let name = name.as_str();
            let Some(deadline) = unit.process().and_then(|process| process.deadline_s) else { continue };
            let Some(account) = self.accounts.get_mut(name) else { continue };
            let late = machine
                .living(name)
                .is_some_and(|body| (machine.t - body.born) as f64 > deadline * 1000.0 + f64::from(200));
            let state = report.decision.next.units.get(name);
            let hindered = disk.failed
                || self.fleet_paused
                || account.paused
                || machine.t < machine.silent_until
                || state.is_none_or(|state| state.failopen.since_awake_s.is_some());
            match (late, hindered) {
                (false, _) => account.late = 0,
                (true, true) => {}
                (true, false) => account.late += 1,
            }
            if account.late > LATE_LOOKS {
                bad.push(format!("{name} runs past its deadline for {LATE_LOOKS} looks"));
                account.late = 0;
            }
        }
        bad.into_iter().for_each(|detail| machine.violate("deadline", detail));
    }
}

impl Account {
    fn lift(&mut self, truth: Option<&Unit>) {
        if let Some(truth) = truth {
            self.ends(truth, u64::MAX);
        }
        self.restarts = 0;
        self.same = (String::new(), 0);
    }

    /// Counts the ends that came since the last start, of the runs before this one.
    fn ends(&mut self, truth: &Unit, before: u64) {
        let counted = self.counted;
        for end in truth.ends.iter().filter(|end| end.number > counted && end.number < before) {
            self.counted = end.number;
            let class = class(truth, end);
            self.same = match class {
                Some(class) if class == self.same.0 && class != UNCLEAR => (class, self.same.1 + 1),
                Some(class) => (class, 1),
                None => (String::new(), 0),
            };
            if end.is_well() && !end.ordered {
                self.restarts = 0;
            }
        }
    }

    fn over_budget(&self, name: &str, process: &ProcessUnit) -> Vec<(&'static str, String)> {
        let mut bad = Vec::new();
        let counts = process.lifecycle != Lifecycle::RestartAlways;
        if counts && self.restarts > process.restart.max {
            bad.push((
                "restart-budget",
                format!("{name}: restart {} of {}", self.restarts, process.restart.max),
            ));
        }
        if self.same.1 >= process.max_identical {
            bad.push((
                "max-identical",
                format!("{name}: started after {} times {}", self.same.1, self.same.0),
            ));
        }
        bad
    }
}

/// What the end of a run was like; None = well, or ordered.
fn class(truth: &Unit, end: &End) -> Option<String> {
    if end.ordered || end.is_well() {
        return None;
    }
    let said = truth.said.iter().rev().find(|said| said.number == end.number);
    Some(match said {
        Some(said) if end.at - said.t <= SAID_MS => said.detector.to_owned(),
        // Both came since the last look: nobody can tell how far they are apart.
        Some(said) if said.look == end.look => UNCLEAR.to_owned(),
        Some(_) | None => format!("{:?} {:?}", end.exit, end.note),
    })
}

/// The attempt that leads to the start that was just granted.
fn last_begun(unit: &UnitState) -> Option<String> {
    unit.process.heal.verify.last().map(|verify| verify.attempt.clone())
}

/// Ledger rows that this tick's decision made.
fn new_rows<'a>(
    report: &'a TickReport,
    name: &str,
    unit: &'a UnitState,
) -> impl Iterator<Item = &'a watchkeeper::state::attempts::Attempt> {
    let before = report.before.units.get(name).map(|unit| &unit.incident.rows);
    unit.incident.rows.iter().filter(move |row| !before.is_some_and(|rows| rows.contains(row)))
}

/// Did this detector's failure come again since? None = the world does not keep count of it.
fn came_back(truth: &Unit, process: &ProcessUnit, detector: &str, begun: &Begun) -> Option<bool> {
    let kind = process.detectors.iter().find(|known| known.name == detector).map(|known| &known.kind);
    let of = ledger::kind(kind, detector);
    let since = begun.at;
    let ends = || {
        let mut back = Some(false);
        for end in truth.ends.iter().filter(|end| end.at > since) {
            match class(truth, end) {
                Some(class) if class == begun.class => return Some(true),
                Some(class) if class == UNCLEAR => back = None,
                Some(_) | None => {}
            }
        }
        back
    };
    if begun.class == UNCLEAR {
        return None;
    }
    match of {
        FindingKind::Exit => ends(),
        FindingKind::Stall => None,
        FindingKind::Pattern | FindingKind::Traceback | FindingKind::Metric => {
            Some(truth.said.iter().any(|said| said.detector == detector && said.t > since))
        }
    }
}

/// How long it was at work since this run began.
fn alive_ms(truth: &Unit, number: u64, now: i64) -> i64 {
    let past: i64 = truth.ends.iter().filter(|end| end.number >= number).map(|end| end.at - end.born).sum();
    let lives = truth.lives.iter().filter(|life| life.0 >= number);
    past + lives.map(|(_, born, at)| (at - born).max(0)).sum::<i64>()
        + truth.body.as_ref().map_or(0, |body| (now - body.born).max(0))
}

/// No more of a kind is counted than there was.
fn overcounted(name: &str, incidents: &IncidentState, truth: &Unit) -> Vec<(&'static str, String)> {
    let mut bad = Vec::new();
    for (detector, counted) in ledger::counts(name, incidents) {
        let there = ledger::happened(truth, &detector);
        if there.is_some_and(|there| counted as usize > there) {
            let there = there.unwrap_or(0);
            bad.push((
                "counted-twice",
                format!("{name}: {detector} is counted {counted} times, and came {there} times"),
            ));
        }
    }
    bad
}

/// Does it put a tree back as it was, or what was edited on its branch?
fn ends_a_fix(granted: &Proposal) -> bool {
    let What::Act(Action::RunJob { job }) = &granted.what else { return false };
    job.fix.as_ref().is_some_and(|fix| matches!(fix.step, FixStep::Restore | FixStep::Collect))
}

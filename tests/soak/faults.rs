//! The faults: what is done to a unit, what the harness does afterwards in the place of a person or of the model, and
//! when the unit counts as recovered. Judged by panes and transcripts, not by what the watchdog says.

use super::books::{Books, Event};
use super::dog::{Dog, order, signal};
use super::fleet::{Fleet, Role, now};
use super::random::Random;
use std::process::{Child, Command, Stdio};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Kill9,
    Term,
    Segv,
    Exit,
    Shell,
    KillSession,
    Hang,
    Freeze,
    Stall,
    StallNudged,
    Limit,
    LimitMenu,
    AccountLimit,
    Ask,
    Draft,
    Attach,
    LongTool,
    Wait,
    Compact,
    Error,
    NudgeOrder,
    RestartOrder,
    PauseOrder,
    Garbled,
    ClocksLost,
    ServerKilled,
    DogKilled,
    DogStopped,
}

/// Kinds with their weights and the units that they can befall.
const WEIGHTS: [(Kind, u32, &[Role]); 23] = {
    use Role::{Loop, Persistent, Service, Task};
    [
        (Kind::Kill9, 6, &[Loop, Persistent, Service, Task]),
        (Kind::Term, 3, &[Loop, Persistent, Service]),
        (Kind::Segv, 3, &[Loop, Persistent, Service]),
        (Kind::Exit, 3, &[Loop, Persistent]),
        (Kind::Shell, 2, &[Loop, Persistent]),
        (Kind::KillSession, 3, &[Loop, Persistent, Service]),
        (Kind::Hang, 3, &[Loop, Persistent]),
        (Kind::Freeze, 1, &[Loop]),
        (Kind::Stall, 4, &[Loop]),
        (Kind::StallNudged, 4, &[Loop]),
        (Kind::Limit, 4, &[Loop, Persistent]),
        (Kind::LimitMenu, 3, &[Loop, Persistent]),
        (Kind::AccountLimit, 1, &[Loop]),
        (Kind::Ask, 4, &[Loop, Persistent]),
        (Kind::Draft, 3, &[Loop, Persistent]),
        (Kind::Attach, 3, &[Loop]),
        (Kind::LongTool, 2, &[Loop]),
        (Kind::Wait, 3, &[Loop]),
        (Kind::Compact, 3, &[Loop]),
        (Kind::Error, 2, &[Loop]),
        (Kind::NudgeOrder, 8, &[Loop, Persistent]),
        (Kind::RestartOrder, 2, &[Loop, Persistent]),
        (Kind::PauseOrder, 2, &[Loop]),
    ]
};

/// How a fault ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Remedied, milliseconds after it began.
    Recovered(i64),
    /// Something else came over it (the tmux server was killed), or it could not be inflicted.
    Void(&'static str),
    /// It was not remedied, or the remedy was wrong.
    Failed(String),
}

/// One fault.
#[derive(Debug)]
pub struct Fault {
    pub kind: Kind,
    pub unit: Option<usize>,
    pub began: i64,
    pub ended: Option<(i64, End)>,
    /// A fault of a whole account: its members' number.
    pub group: Option<usize>,
    phase: u8,
    due: i64,
    old_pid: Option<u32>,
    text: String,
    child: Option<Child>,
}

impl Fault {
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Deaths cost the unit's budget of restarts.
    pub fn is_death(&self) -> bool {
        matches!(
            self.kind,
            Kind::Kill9
                | Kind::Term
                | Kind::Segv
                | Kind::Exit
                | Kind::Shell
                | Kind::KillSession
                | Kind::Hang
                | Kind::Freeze
                | Kind::Stall
                | Kind::PauseOrder
        )
    }

    /// Longest time to recover, milliseconds; a backoff of up to 240 s may be part of it.
    fn patience(&self) -> i64 {
        let seconds = match self.kind {
            Kind::Hang | Kind::Freeze | Kind::PauseOrder => 480,
            _ if self.is_death() => 330,
            Kind::Error | Kind::AccountLimit | Kind::Limit | Kind::LimitMenu => 260,
            _ => 180,
        };
        seconds * 1000
    }

    /// May the watchdog do this during the fault?
    pub fn explains(&self, event: &Event) -> bool {
        let rule = event.rule.as_str();
        let heals = rule == "restart.heal";
        let ends = rule.starts_with("ending.");
        match self.kind {
            Kind::Kill9 | Kind::Term | Kind::Segv | Kind::Exit | Kind::KillSession => heals,
            Kind::PauseOrder => heals && self.phase >= 2,
            Kind::Shell => heals || ends || rule == "attend.shell",
            Kind::Hang | Kind::Freeze | Kind::Stall => heals || ends || rule.starts_with("stall."),
            Kind::StallNudged => rule.starts_with("stall.") && event.text == "nudge",
            Kind::Limit | Kind::LimitMenu | Kind::AccountLimit => rule.starts_with("limit."),
            Kind::Error => rule == "attend.error",
            Kind::RestartOrder => rule == "restart.asked" || ends,
            Kind::ServerKilled => heals || rule == "wake.due",
            Kind::Ask
            | Kind::Draft
            | Kind::Attach
            | Kind::LongTool
            | Kind::Wait
            | Kind::Compact
            | Kind::NudgeOrder
            | Kind::Garbled
            | Kind::ClocksLost
            | Kind::DogKilled
            | Kind::DogStopped => false,
        }
    }

    /// Is an alert to people right during the fault?
    pub fn alerts(&self, text: &str) -> bool {
        match self.kind {
            Kind::Ask => text.contains(" asks"),
            Kind::Draft => text.contains("unsent text"),
            Kind::Garbled => true,
            Kind::Hang | Kind::Freeze => text.contains("not delivered"),
            Kind::ServerKilled => true,
            Kind::Limit | Kind::LimitMenu | Kind::AccountLimit => text.contains("still limited after"),
            // A text that was submitted right before a death is rightly told as uncertain.
            _ => self.is_death() && text.contains("not known whether it was read"),
        }
    }

    /// May a person's fault silence the model's own going on? (See `brain` in main.)
    pub fn is_stubborn(&self) -> bool {
        !matches!(
            self.kind,
            Kind::StallNudged | Kind::Limit | Kind::LimitMenu | Kind::AccountLimit | Kind::Error
        )
    }

    fn end(&mut self, end: End) {
        self.ended = Some((now(), end));
    }

    fn recovered(&mut self) {
        let took = now() - self.began;
        self.end(End::Recovered(took));
    }

    /// Whatever happened with it, it counts no more.
    pub fn void(&mut self, why: &'static str) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.end(End::Void(why));
    }
}

/// A kind and a unit for it.
pub fn choose(random: &mut Random, fleet: &Fleet, free: &[usize], tools_open: bool) -> Option<(Kind, usize)> {
    let total: u32 = WEIGHTS.iter().map(|(_, weight, _)| weight).sum();
    let mut at = random.range(0, i64::from(total)) as u32;
    let (kind, _, roles) = WEIGHTS.iter().find(|(_, weight, _)| {
        let hit = at < *weight;
        at = at.saturating_sub(*weight);
        hit
    })?;
    // Several burning tools on two cores would starve the machine, and then nothing is judged.
    if *kind == Kind::LongTool && tools_open {
        return None;
    }
    let fitting: Vec<usize> =
        free.iter().copied().filter(|unit| roles.contains(&fleet.units[*unit].role)).collect();
    random.pick(&fitting).map(|unit| (*kind, *unit))
}

/// Inflicts a fault on a unit.
pub fn inflict(kind: Kind, unit: usize, fleet: &Fleet, random: &mut Random, number: usize) -> Option<Fault> {
    let old_pid = fleet.units[unit].pid;
    let at = now();
    let mut fault = Fault {
        kind,
        unit: Some(unit),
        began: at,
        ended: None,
        group: None,
        phase: 0,
        due: 0,
        old_pid,
        text: String::new(),
        child: None,
    };
    let pid = old_pid.filter(|_| true);
    let name = fleet.units[unit].name.clone();
    let typed = |text: String| {
        if !fleet.is_undisturbed(unit) {
            return None;
        }
        fleet.type_line(unit, &text);
        Some(text)
    };
    match kind {
        Kind::Kill9 => signal(pid?, "KILL"),
        Kind::Term => signal(pid?, "TERM"),
        Kind::Segv => signal(pid?, "SEGV"),
        Kind::KillSession => drop(fleet.tmux(&["kill-session", "-t", &format!("={}", fleet.session(unit))])),
        Kind::Exit => fault.text = typed(format!("EXIT {}", random.range(0, 4)))?,
        Kind::Shell => fault.text = typed("SHELL".into())?,
        Kind::Hang => fault.text = typed("HANG 0".into())?,
        Kind::Freeze => fault.text = typed("FREEZE".into())?,
        Kind::Limit if random.range(0, 4) == 0 => fault.text = typed("LIMIT 3".into())?,
        Kind::Limit | Kind::AccountLimit => {
            fault.text = typed(format!("LIMIT {} s", random.range(10, 26)))?;
        }
        Kind::LimitMenu => fault.text = typed(format!("LIMIT-MENU {} s", random.range(10, 26)))?,
        Kind::Ask => fault.text = typed("ASK".into())?,
        Kind::LongTool => fault.text = typed("TOOL 60".into())?,
        Kind::Wait => fault.text = typed("WAIT 25".into())?,
        Kind::Compact => fault.text = typed("COMPACT 20".into())?,
        Kind::Error => fault.text = typed("ERROR server".into())?,
        Kind::Stall | Kind::StallNudged => {
            if !fleet.is_undisturbed(unit) {
                return None;
            }
            fleet.key(unit, "Escape");
        }
        Kind::Draft => {
            if !fleet.is_undisturbed(unit) {
                return None;
            }
            if fleet.units[unit].role == Role::Loop {
                fleet.key(unit, "Escape");
            }
            fault.text = format!("half a thought {number}");
            fleet.type_text(unit, &fault.text);
            fault.due = at + 90_000;
        }
        Kind::Attach => {
            if !fleet.is_undisturbed(unit) {
                return None;
            }
            fault.child = attach(fleet, unit);
            fault.due = at + 1500;
        }
        Kind::NudgeOrder => {
            fault.text = format!("note number {number} from a person");
            fault.child = Some(order(fleet, &["nudge", &name, &fault.text]));
        }
        Kind::RestartOrder => fault.child = Some(order(fleet, &["restart", &name])),
        Kind::PauseOrder => fault.child = Some(order(fleet, &["pause", &name, "soak"])),
        Kind::Garbled => {
            let path = fleet.state().join("units").join(&name).join("unit.json");
            let text = std::fs::read_to_string(&path).ok()?;
            let broken = match random.range(0, 3) {
                0 => String::new(),
                1 => text[..text.len() / 2].to_owned(),
                _ => text.replacen(':', "\u{0}", 3),
            };
            std::fs::write(&path, &broken).ok()?;
            fault.text = broken;
        }
        Kind::ClocksLost => std::fs::remove_file(fleet.state().join("clocks.json")).ok()?,
        Kind::ServerKilled => drop(fleet.tmux(&["kill-server"])),
        Kind::DogKilled | Kind::DogStopped => {}
    }
    Some(fault)
}

/// A fault of the whole fleet.
pub fn inflict_fleet(kind: Kind, fleet: &Fleet, dog: &mut Dog, random: &mut Random) -> Option<Fault> {
    let mut fault = Fault {
        kind,
        unit: None,
        began: now(),
        ended: None,
        group: None,
        phase: 0,
        due: 0,
        old_pid: dog.pid(),
        text: String::new(),
        child: None,
    };
    match kind {
        Kind::DogKilled => {
            dog.kill();
            fault.due = now() + random.range(0, 4000);
        }
        Kind::DogStopped => {
            signal(dog.pid()?, "STOP");
            fault.due = now() + 20_000;
        }
        Kind::ServerKilled => drop(fleet.tmux(&["kill-server"])),
        Kind::ClocksLost => drop(std::fs::remove_file(fleet.state().join("clocks.json"))),
        _ => return None,
    }
    Some(fault)
}

/// A person's terminal, attached to the unit's session.
fn attach(fleet: &Fleet, unit: usize) -> Option<Child> {
    let command = format!("exec tmux -u -L {} attach -t ={}", fleet.socket, fleet.session(unit));
    Command::new("script")
        .args(["-q", "-f", "-c", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env_remove("TMUX")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

/// One step of an open fault.
pub fn step(fault: &mut Fault, fleet: &Fleet, dog: &mut Dog, books: &Books) {
    let at = now();
    if at - fault.began > fault.patience() {
        let phase = fault.phase;
        let why = format!("not recovered within {} s (phase {phase})", fault.patience() / 1000);
        if let Some(mut child) = fault.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        return fault.end(End::Failed(why));
    }
    match fault.unit {
        Some(unit) => step_unit(fault, unit, fleet, books, at),
        None => step_fleet(fault, fleet, dog, at),
    }
}

fn step_fleet(fault: &mut Fault, fleet: &Fleet, dog: &mut Dog, at: i64) {
    let ticked = || {
        let text = std::fs::read_to_string(fleet.state().join("heartbeat.json")).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let when = value["tick_at"].as_str().or(value["at"].as_str()).unwrap_or("").to_owned();
        let when = watchkeeper::base::time::Wall::parse(&when).map_or(0, |wall| wall.0);
        (value["pid"].as_u64(), when)
    };
    match (fault.kind, fault.phase) {
        (Kind::DogKilled, 0) if at >= fault.due => {
            dog.start(fleet);
            fault.phase = 1;
        }
        (Kind::DogKilled, 1) if ticked().0 == dog.pid().map(u64::from) => fault.recovered(),
        (Kind::DogStopped, 0) if at >= fault.due => {
            if let Some(pid) = dog.pid() {
                signal(pid, "CONT");
            }
            fault.phase = 1;
            fault.due = at;
        }
        (Kind::DogStopped, 1) if ticked().1 > fault.due => fault.recovered(),
        (Kind::ServerKilled, _) => {
            // A task comes back with its next run.
            let back = fleet.units.iter().filter(|unit| unit.role != Role::Task);
            let mut back = back.map(|unit| unit.is_well() && unit.pid_since > fault.began);
            if back.all(|well| well) {
                fault.recovered();
            }
        }
        (Kind::ClocksLost, _) if fleet.state().join("clocks.json").exists() => fault.recovered(),
        _ => {}
    }
}

/// The unit runs with another process, and does its work.
fn is_back(fault: &Fault, unit: usize, fleet: &Fleet) -> bool {
    let seen = &fleet.units[unit];
    let other = seen.pid.is_some() && seen.pid != fault.old_pid;
    match seen.role {
        Role::Loop => {
            let started = seen.said("start", "", fault.began);
            other && started.is_some_and(|from| seen.said("assistant", "step", from).is_some())
        }
        Role::Persistent => other && seen.said("start", "", fault.began).is_some(),
        Role::Task | Role::Service => other,
    }
}

/// It works on in the same process.
fn is_same_and_works(fault: &mut Fault, unit: usize, fleet: &Fleet, since: i64) {
    let seen = &fleet.units[unit];
    if seen.pid != fault.old_pid {
        return fault.end(End::Failed("its process was replaced".into()));
    }
    if seen.role != Role::Loop || seen.said("assistant", "step", since).is_some() {
        fault.recovered();
    }
}

/// The harness goes on in the place of the model.
fn resume(fault: &mut Fault, unit: usize, fleet: &Fleet, phase: u8) {
    if fleet.units[unit].role == Role::Loop {
        fleet.type_line(unit, "LOOP");
    }
    fault.phase = phase;
    fault.due = now();
}

fn step_unit(fault: &mut Fault, unit: usize, fleet: &Fleet, books: &Books, at: i64) {
    let seen = &fleet.units[unit];
    let is_typed = !fault.text.is_empty()
        && !matches!(fault.kind, Kind::Draft | Kind::NudgeOrder | Kind::Garbled | Kind::Attach);
    if is_typed && fault.phase == 0 {
        // Typed; it begins when the agent has taken it.
        match seen.lines.iter().rev().find(|line| line.at >= fault.began - 50 && line.text == fault.text) {
            Some(line) => {
                fault.began = line.at;
                fault.phase = 1;
            }
            None if at - fault.began > 20_000 => return fault.void("the agent did not take it"),
            None => return,
        }
    }
    match fault.kind {
        Kind::Kill9
        | Kind::Term
        | Kind::Segv
        | Kind::Exit
        | Kind::Shell
        | Kind::KillSession
        | Kind::Hang
        | Kind::Freeze
        | Kind::Stall => {
            if is_back(fault, unit, fleet) {
                fault.recovered();
            }
        }
        Kind::StallNudged | Kind::Error => {
            let start = "[watchkeeper]";
            let from = seen.said("user", start, fault.began);
            if let Some(from) = from.filter(|from| seen.said("user", "LOOP", *from).is_some()) {
                is_same_and_works(fault, unit, fleet, from);
            }
        }
        Kind::Limit | Kind::LimitMenu | Kind::AccountLimit => {
            let Some(asked) = seen.last("user", "[watchkeeper] Please go on").filter(|t| *t > fault.began)
            else {
                return;
            };
            if seen.said("assistant", "ACK", asked).is_some() {
                is_same_and_works(fault, unit, fleet, asked);
            }
        }
        Kind::Ask => step_ask(fault, unit, fleet, books, at),
        Kind::Draft => step_draft(fault, unit, fleet, books, at),
        Kind::Attach => step_attach(fault, unit, fleet, at),
        Kind::LongTool | Kind::Compact => {
            let over =
                if fault.kind == Kind::LongTool { "the tool is done" } else { "conversation compacted" };
            match (fault.phase, seen.said("assistant", over, fault.began)) {
                (1, Some(_)) => resume(fault, unit, fleet, 2),
                (2, _) => is_resumed(fault, unit, fleet),
                _ => {}
            }
        }
        Kind::Wait => match fault.phase {
            1 if at - fault.began > 26_500 => resume(fault, unit, fleet, 2),
            2 => is_resumed(fault, unit, fleet),
            _ => {}
        },
        Kind::NudgeOrder => step_nudge(fault, unit, fleet, at),
        Kind::RestartOrder => {
            finish_child(fault);
            if fault.child.is_none() && is_back(fault, unit, fleet) {
                fault.recovered();
            }
        }
        Kind::PauseOrder => step_pause(fault, unit, fleet, at),
        Kind::Garbled => step_garbled(fault, unit, fleet, books),
        Kind::ClocksLost | Kind::ServerKilled | Kind::DogKilled | Kind::DogStopped => {}
    }
}

fn is_resumed(fault: &mut Fault, unit: usize, fleet: &Fleet) {
    let seen = &fleet.units[unit];
    if seen.pid != fault.old_pid {
        return fault.end(End::Failed("its process was replaced".into()));
    }
    if seen.role != Role::Loop || seen.said("assistant", "step", fault.due).is_some() {
        let took = fault.due - fault.began;
        fault.end(End::Recovered(took));
    }
}

/// The person answers once the alert was made.
fn step_ask(fault: &mut Fault, unit: usize, fleet: &Fleet, books: &Books, at: i64) {
    let seen = &fleet.units[unit];
    match fault.phase {
        1 => {
            let answered = ["ran", "denied"].iter().any(|word| {
                seen.lines.iter().any(|l| l.at >= fault.began && l.kind == "assistant" && l.text == *word)
            });
            if answered {
                return fault.end(End::Failed("the dialog was answered by nobody who may".into()));
            }
            if books.alert(&seen.name, " asks", fault.began) {
                fault.phase = 2;
                fault.due = at + 5000;
                fault.text = (at - fault.began).to_string();
            }
        }
        2 if at >= fault.due => {
            fleet.key(unit, if at % 2 == 0 { "Enter" } else { "Escape" });
            resume(fault, unit, fleet, 3);
        }
        3 => {
            let well = seen.role != Role::Loop || seen.said("assistant", "step", fault.due).is_some();
            if seen.pid != fault.old_pid {
                fault.end(End::Failed("its process was replaced".into()));
            } else if well {
                // What counts is how soon the person was told.
                let told = fault.text.parse().unwrap_or(0);
                fault.end(End::Recovered(told));
            }
        }
        _ => {}
    }
}

fn step_draft(fault: &mut Fault, unit: usize, fleet: &Fleet, books: &Books, at: i64) {
    let seen = &fleet.units[unit];
    if seen.lines.iter().any(|line| line.text.contains(&fault.text)) {
        return fault.end(End::Failed("the person's draft was submitted".into()));
    }
    match fault.phase {
        0 if books.alert(&seen.name, "unsent text", fault.began) => {
            fault.phase = 1;
            fault.old_pid = seen.pid;
            fault.due = at + 8000;
            // Kept for the time until the alert.
            fault.began = fault.began.min(at);
            fault.child = None;
        }
        1 if at >= fault.due => {
            fleet.key(unit, "C-u");
            resume(fault, unit, fleet, 2);
        }
        2 => is_resumed(fault, unit, fleet),
        _ => {}
    }
}

/// A person stops the loop, types slowly for longer than a stall takes, takes it back, and lets it go on.
fn step_attach(fault: &mut Fault, unit: usize, fleet: &Fleet, at: i64) {
    use std::io::Write;
    if at < fault.due {
        return;
    }
    let (bytes, wait): (&[u8], i64) = match fault.phase {
        0 => (b"\x1b", 1500),
        1..=15 => (b"x", 1500),
        // C-u, then the loop again, then detach.
        16 => (b"\x15", 1000),
        17 => (b"LOOP\r", 1500),
        18 => (b"\x02d", 1000),
        _ => (b"", 0),
    };
    if fault.phase <= 18 {
        let sent = fault.child.as_mut().and_then(|child| child.stdin.as_mut()).map(|stdin| {
            let _ = stdin.write_all(bytes);
            stdin.flush()
        });
        if sent.is_none() {
            return fault.void("nobody could attach");
        }
        fault.due = at + wait;
        if fault.phase == 17 {
            fault.text = at.to_string();
        }
        fault.phase += 1;
        return;
    }
    if let Some(mut child) = fault.child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
    fault.due = fault.text.parse().unwrap_or(at);
    is_resumed(fault, unit, fleet);
}

fn finish_child(fault: &mut Fault) {
    let Some(child) = &mut fault.child else { return };
    match child.try_wait() {
        Ok(None) => {}
        Ok(Some(status)) => {
            fault.child = None;
            // 75: it was not confirmed in time (the watchdog was away): the request stands.
            if !status.success() && status.code() != Some(75) {
                fault.end(End::Failed(format!("the command ended with {status}")));
            }
        }
        Err(error) => fault.end(End::Failed(error.to_string())),
    }
}

fn step_nudge(fault: &mut Fault, unit: usize, fleet: &Fleet, at: i64) {
    finish_child(fault);
    if !fault.is_open() || fault.child.is_some() {
        return;
    }
    let count =
        fleet.units[unit].lines.iter().filter(|l| l.kind == "user" && l.text.contains(&fault.text)).count();
    match (count, fault.phase) {
        (0, 0) => {}
        (1, 0) => {
            fault.phase = 1;
            fault.due = at + 3000;
        }
        (1, _) if at >= fault.due => fault.recovered(),
        (0 | 1, _) => {}
        (n, _) => fault.end(End::Failed(format!("typed {n} times"))),
    }
}

fn step_pause(fault: &mut Fault, unit: usize, fleet: &Fleet, at: i64) {
    let seen = &fleet.units[unit];
    finish_child(fault);
    if !fault.is_open() || fault.child.is_some() {
        return;
    }
    match fault.phase {
        0 => {
            let marker = fleet.state().join("units").join(&seen.name).join("PAUSED");
            if !marker.exists() {
                return;
            }
            if let Some(pid) = seen.pid {
                signal(pid, "KILL");
            }
            fault.old_pid = seen.pid;
            fault.phase = 1;
            fault.due = at + 10_000;
        }
        1 if seen.pid.is_some() && seen.pid != fault.old_pid => {
            fault.end(End::Failed("restarted while it was paused".into()));
        }
        1 if at >= fault.due => {
            fault.child = Some(order(fleet, &["resume", &seen.name]));
            fault.began = at;
            fault.phase = 2;
        }
        2 if is_back(fault, unit, fleet) => fault.recovered(),
        _ => {}
    }
}

fn step_garbled(fault: &mut Fault, unit: usize, fleet: &Fleet, books: &Books) {
    let seen = &fleet.units[unit];
    let path = fleet.state().join("units").join(&seen.name).join("unit.json");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_object());
    if seen.pid != fault.old_pid {
        fault.end(End::Failed("its process was replaced".into()));
    } else if whole && text != fault.text && books.fleet_alert("quarantine", fault.began) {
        fault.recovered();
    }
}

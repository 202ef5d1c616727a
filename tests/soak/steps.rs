//! What becomes of a fault, step by step: the person's or the model's part in it, and when it is over.

use super::books::Books;
use super::dog::{Dog, order, signal};
use super::faults::{End, Fault, Kind};
use super::fleet::{Fleet, Role, now};
use super::work;

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
        return fault.end(match held(fault, fleet, books) {
            Some(held) => End::Held(held),
            None => End::Failed(why),
        });
    }
    match fault.unit {
        Some(unit) => step_unit(fault, unit, fleet, books, at),
        None => step_fleet(fault, fleet, dog, at),
    }
}

/// Other work on this machine may starve it: then nothing is killed, rightly. The person does it.
fn held(fault: &Fault, fleet: &Fleet, books: &Books) -> Option<String> {
    let is_silence = matches!(fault.kind, Kind::Hang | Kind::Freeze | Kind::Stall) || fault.kind.is_silence();
    let unit = fault.unit.filter(|_| is_silence)?;
    let name = fleet.units[unit].name.as_str();
    let mut mine = books.events.iter().rev().filter(|event| event.unit.as_deref() == Some(name));
    let hold = mine.find(|event| event.kind == "hold")?;
    let is_starved = hold.at > fault.began && hold.text.contains("the machine is starved");
    let pid = fleet.units[unit].pid.filter(|_| is_starved)?;
    signal(pid, "KILL");
    Some(hold.text.clone())
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
            // A task comes back with its next run; a process has no part in it.
            let back = fleet.units.iter().filter(|unit| !matches!(unit.role, Role::Task | Role::Process));
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
        Role::Task | Role::Service | Role::Coop | Role::Process => other,
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
    if fault.kind.is_work() {
        return work::step(fault, unit, fleet, books, at);
    }
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
            let back = is_back(fault, unit, fleet);
            if back {
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
        _ => {}
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

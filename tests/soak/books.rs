//! The books: what the watchdog wrote down, held against the faults. Whatever nobody ordered and no fault explains is
//! a touch of something healthy.

use super::faults::{End, Fault, Kind};
use super::fleet::{Fleet, Role};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom};
use watchkeeper::base::time::Wall;

/// A line of events/<day>.jsonl.
#[derive(Clone, Debug)]
pub struct Event {
    pub at: i64,
    pub unit: Option<String>,
    pub kind: String,
    pub text: String,
    pub rule: String,
    pub seen: String,
}

/// All events so far.
#[derive(Debug, Default)]
pub struct Books {
    pub events: Vec<Event>,
    offsets: BTreeMap<String, u64>,
    pub torn: usize,
}

/// An event this long after a fault's end still belongs to it (a delivery or a second look under way), milliseconds.
const SLACK: i64 = 6000;

impl Books {
    /// Reads what is new.
    pub fn read(&mut self, fleet: &Fleet) {
        let Ok(days) = std::fs::read_dir(fleet.state().join("events")) else { return };
        let mut paths: Vec<_> = days.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let offset = self.offsets.entry(path.to_string_lossy().into_owned()).or_default();
            let Ok(mut file) = std::fs::File::open(&path) else { continue };
            let mut new = Vec::new();
            if file.seek(SeekFrom::Start(*offset)).is_err() || file.read_to_end(&mut new).is_err() {
                continue;
            }
            let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            *offset += whole as u64;
            for line in String::from_utf8_lossy(&new[..whole]).lines() {
                let Ok(value) = serde_json::from_str::<Value>(line) else {
                    self.torn += 1;
                    continue;
                };
                let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
                self.events.push(Event {
                    at: Wall::parse(&word(&value["at"])).map_or(0, |wall| wall.0),
                    unit: value["unit"].as_str().map(str::to_owned),
                    kind: word(&value["kind"]),
                    text: word(&value["text"]),
                    rule: word(&value["why"]["rule"]),
                    seen: word(&value["why"]["seen"]),
                });
            }
        }
    }

    /// Was this alert about the unit made since then?
    pub fn alert(&self, unit: &str, text: &str, since: i64) -> bool {
        let recent = self.events.iter().rev().take_while(|event| event.at >= since - 100);
        let mut of_unit = recent.filter(|e| e.kind == "alert" && e.unit.as_deref() == Some(unit));
        of_unit.any(|event| event.text.contains(text))
    }

    pub fn fleet_alert(&self, text: &str, since: i64) -> bool {
        let recent = self.events.iter().rev().take_while(|event| event.at >= since - 100);
        recent.filter(|event| event.kind == "alert").any(|event| event.text.contains(text))
    }
}

/// Actions that no fault must explain: a delivery's and an end's own steps are judged by what began them; texts of
/// people and schedules are due anyway.
fn is_step(event: &Event) -> bool {
    // A marker that is over is taken away: that touches nothing that runs.
    ["deliver.", "operator.", "ladder.tidy"].iter().any(|start| event.rule.starts_with(start))
}

/// Does an open fault, or one that has just ended, explain it?
fn explained(event: &Event, unit: usize, faults: &[Fault]) -> bool {
    faults.iter().any(|fault| {
        let mine = fault.unit.is_none_or(|of| of == unit);
        let end = fault.ended.as_ref().map_or(i64::MAX, |(at, _)| at + SLACK);
        mine && (fault.began - 300..=end).contains(&event.at) && fault.explains(event)
    })
}

/// Everything that was done without a reason that we know.
pub fn false_actions(fleet: &Fleet, books: &Books, faults: &[Fault], ready: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    for event in books.events.iter().filter(|event| event.kind == "act" && event.at > ready) {
        let Some(unit) = event.unit.as_deref().and_then(|name| fleet.index(name)) else { continue };
        let role = fleet.units[unit].role;
        let scheduled = event.rule == "wake.due" && matches!(role, Role::Persistent | Role::Task);
        let ends = event.rule == "ending.kill"
            || event.rule == "ending.term" && event.seen.contains("its scheduled time has come");
        let rerun = role == Role::Task && (ends || event.rule == "restart.first");
        if is_step(event) || scheduled || rerun || explained(event, unit, faults) {
            continue;
        }
        wrong.push(line(event));
    }
    wrong
}

/// Alerts that no fault explains.
pub fn false_alerts(fleet: &Fleet, books: &Books, faults: &[Fault]) -> Vec<String> {
    let wrong = books.events.iter().filter(|event| event.kind == "alert").filter(|event| {
        let unit = event.unit.as_deref().and_then(|name| fleet.index(name));
        !faults.iter().any(|fault| {
            let mine = match (fault.unit, unit) {
                (None, _) | (_, None) => true,
                (Some(a), Some(b)) => a == b,
            };
            let end = fault.ended.as_ref().map_or(i64::MAX, |(at, _)| at + SLACK);
            mine && (fault.began - 300..=end).contains(&event.at) && fault.alerts(&event.text)
        })
    });
    wrong.map(line).collect()
}

fn line(event: &Event) -> String {
    let unit = event.unit.as_deref().unwrap_or("-");
    format!("{} {unit} {} {} [{}] {}", Wall(event.at), event.kind, event.text, event.rule, event.seen)
}

/// Texts that came twice, and starts without their kickoff, by the transcripts.
pub fn deliveries(fleet: &Fleet, books: &Books, faults: &[Fault], wrong: &mut Vec<String>) -> String {
    let (mut starts, mut kickoffs, mut reports, mut wakes) = (0, 0, 0, 0);
    for (index, unit) in fleet.units.iter().enumerate() {
        let name = &unit.name;
        let acts = books.events.iter().filter(|event| {
            event.kind == "act"
                && event.unit.as_deref() == Some(name)
                && (event.rule.starts_with("restart.")
                    || event.rule == "wake.due" && event.text == "run"
                    || is_run(&event.rule))
        });
        let acts = acts.count();
        if matches!(unit.role, Role::Service | Role::Coop | Role::Process) {
            work(unit, books, acts, wrong);
            if unit.changes + 1 > acts {
                wrong.push(format!("{name}: {} processes seen, {acts} starts granted", unit.changes + 1));
            }
            continue;
        }
        let runs: Vec<usize> =
            unit.lines.iter().enumerate().filter(|(_, l)| l.kind == "start").map(|(i, _)| i).collect();
        starts += runs.len();
        if runs.len() > acts {
            wrong.push(format!("{name}: {} starts by its transcript, {acts} granted", runs.len()));
        }
        for (n, from) in runs.iter().enumerate() {
            let to = runs.get(n + 1).copied().unwrap_or(unit.lines.len());
            let run = &unit.lines[*from..to];
            let count =
                run.iter().filter(|l| l.kind == "user" && l.text.matches("KICKOFF").count() > 0).count();
            kickoffs += count;
            let began = run[0].at;
            let lasted = unit.lines.get(to).map_or_else(super::fleet::now, |l| l.at) - began;
            let hurt = faults.iter().any(|f| {
                f.unit.is_none_or(|of| of == index) && f.began >= began - 1000 && f.began < began + 30_000
            });
            let due = unit.role != Role::Persistent || n == 0;
            if count > 1 || (count == 0 && due && lasted > 30_000 && !hurt) {
                wrong.push(format!("{name}: {count} kickoffs in the run that began {}", Wall(began)));
            }
        }
        let texts: Vec<_> = unit.lines.iter().filter(|l| l.kind == "user").collect();
        let woken: Vec<i64> = texts.iter().filter(|l| l.text.contains("WAKE ")).map(|l| l.at).collect();
        wakes += woken.len();
        for pair in woken.windows(2) {
            if pair[1] - pair[0] < (super::fleet::WAKE_S - 32) * 1000 {
                let gap = (pair[1] - pair[0]) / 1000;
                wrong.push(format!("{name}: two wakes {gap} s apart, the second at {}", Wall(pair[1])));
            }
        }
        let mut seen = BTreeMap::new();
        for text in texts.iter().filter(|l| l.text.starts_with("[watchkeeper] `") && l.text.contains("pid "))
        {
            reports += 1;
            *seen.entry(&text.text).or_insert(0) += 1;
        }
        wrong.extend(
            seen.iter().filter(|(_, n)| **n > 1).map(|(text, n)| format!("{name}: told {n} times: {text}")),
        );
    }
    format!(
        "by the transcripts: {starts} starts of agents, {kickoffs} kickoffs, {wakes} wakes, {reports} reports to a parent"
    )
}

/// A start of a process. (One that is ordered again has its number already.)
fn is_run(rule: &str) -> bool {
    ["first", "asked", "remedy", "always", "resume"].iter().any(|kind| rule == format!("process.{kind}"))
}

/// Services and processes: two at a time; what a process's own ledger says of its starts and its failures.
fn work(unit: &super::fleet::Unit, books: &Books, granted: usize, wrong: &mut Vec<String>) {
    let name = &unit.name;
    if let Some(at) = unit.doubled.first() {
        wrong.push(format!("{name}: two at a time, {} times, first {}", unit.doubled.len(), Wall(*at)));
    }
    if unit.role != Role::Process {
        return;
    }
    let said = |kind: &str, text: &str| {
        unit.lines.iter().filter(|l| l.kind == kind && (text.is_empty() || l.text == text)).count()
    };
    let starts = said("start", "");
    if starts != granted {
        wrong.push(format!("{name}: {starts} starts by its ledger, {granted} granted"));
    }
    let mine = books.events.iter().filter(|e| e.kind == "failed" && e.unit.as_deref() == Some(name));
    let found = mine.filter(|event| event.text.contains("SoakError")).count();
    if found != said("assistant", "trace") {
        wrong.push(format!("{name}: {} tracebacks, {found} found", said("assistant", "trace")));
    }
}

/// Processes that were replaced while no fault was about: by what the harness sees, whatever the watchdog says.
pub fn false_swaps(fleet: &Fleet, faults: &[Fault]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, unit) in fleet.units.iter().enumerate().filter(|(_, unit)| unit.role != Role::Task) {
        for at in &unit.swaps {
            let explained = faults.iter().any(|fault| {
                let fleet_wide = fault.kind == Kind::ServerKilled && unit.role != Role::Process;
                let mine =
                    fault.unit == Some(index) && !matches!(fault.kind, Kind::ShimKilled | Kind::Garbled);
                let end = fault.ended.as_ref().map_or(i64::MAX, |(at, _)| at + SLACK);
                (mine || fleet_wide) && (fault.began - 300..=end).contains(at)
            });
            if !explained {
                wrong.push(format!("{} {}: another process", Wall(*at), unit.name));
            }
        }
    }
    wrong
}

/// The table of faults.
pub fn table(faults: &[Fault]) -> String {
    let mut text = format!(
        "{:<14} {:>5} {:>8} {:>6} {:>5} {:>5} {:>9} {:>9}\n",
        "fault", "count", "remedied", "failed", "held", "void", "median s", "max s"
    );
    let mut kinds: BTreeMap<Kind, Vec<&Fault>> = BTreeMap::new();
    for fault in faults {
        kinds.entry(fault.kind).or_default().push(fault);
    }
    let mut sums = [0; 5];
    for (kind, all) in &kinds {
        let mut times: Vec<i64> = Vec::new();
        let (mut failed, mut held, mut void) = (0, 0, 0);
        for fault in all {
            match &fault.ended {
                Some((_, End::Recovered(ms))) => times.push(*ms),
                Some((_, End::Held(_))) => held += 1,
                Some((_, End::Void(_))) => void += 1,
                Some((_, End::Failed(_))) | None => failed += 1,
            }
        }
        times.sort_unstable();
        let seconds = |ms: Option<&i64>| ms.map_or("-".to_owned(), |ms| format!("{:.1}", *ms as f64 / 1e3));
        let _ = writeln!(
            text,
            "{:<14} {:>5} {:>8} {failed:>6} {held:>5} {void:>5} {:>9} {:>9}",
            format!("{kind:?}"),
            all.len(),
            times.len(),
            seconds(times.get(times.len() / 2)),
            seconds(times.last())
        );
        for (sum, n) in sums.iter_mut().zip([all.len(), times.len(), failed, held, void]) {
            *sum += n;
        }
    }
    let _ = writeln!(
        text,
        "{:<14} {:>5} {:>8} {:>6} {:>5} {:>5}",
        "all", sums[0], sums[1], sums[2], sums[3], sums[4]
    );
    let approved = faults.iter().filter(|fault| fault.approved > 0).count();
    let _ = writeln!(text, "on a starved machine a person approved the remedy of {approved} of them");
    text
}

/// Every fault on a line.
pub fn ledger(fleet: &Fleet, faults: &[Fault], books: &Books) -> String {
    let mut text = String::new();
    for fault in faults {
        let unit = fault.unit.map_or("fleet", |unit| &fleet.units[unit].name);
        let end = match &fault.ended {
            Some((_, End::Recovered(ms))) => format!("recovered after {:.1} s", *ms as f64 / 1e3),
            Some((_, End::Held(why))) => format!("HELD: {why}"),
            Some((_, End::Void(why))) => format!("void: {why}"),
            Some((_, End::Failed(why))) => format!("FAILED: {why}"),
            None => "open".to_owned(),
        };
        let to = fault.ended.as_ref().map_or(i64::MAX, |(at, _)| *at);
        let mut acts: Vec<String> = Vec::new();
        if fault.unit.is_some() {
            let mine = books.events.iter().filter(|e| {
                e.kind == "act"
                    && e.unit.as_deref() == Some(unit)
                    && (fault.began - 300..=to).contains(&e.at)
                    && !is_step(e)
            });
            acts.extend(mine.map(|e| format!("{} +{:.0} s", e.text, (e.at - fault.began) as f64 / 1e3)));
        }
        if fault.approved > 0 {
            acts.push(format!("approved by a person {} times", fault.approved));
        }
        let kind = format!("{:?}", fault.kind);
        let _ = writeln!(text, "{} {unit:<6} {kind:<13} {end}; {}", Wall(fault.began), acts.join(", "));
    }
    text
}

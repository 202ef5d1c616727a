//! The three activity clocks: screen content, transcript, CPU of the CLI's tools. Each remembers its last change.
//!
//! Deliberately not here: what follows from silence (stall). A gap in which nobody looked (suspend, a cron pause, a
//! stopped watchdog) is taken out of the clocks: what was not watched was not seen to be idle.

use crate::base::names::UnitName;
use crate::base::time::Awake;
use crate::config::Config;
use crate::model::process::{LogCursor, RunSeen};
use crate::model::seen::{Observation, PaneSeen, Process, Seen, ServerSeen};
use crate::state::State;
use crate::state::clocks::{Clock, LogClock, ToolsClock, UnitClocks};

/// A gap between two looks up to this many intervals is usual.
const GAP_INTERVALS: f64 = 3.0;
/// Or up to this many times the gap before it: a steady slow cron is not a pause.
const GAP_GROWTH: f64 = 1.5;
/// CPU share of the tools below which they count as waiting, not working.
const TOOLS_SHARE_MIN: f64 = 0.02;

/// Seconds of the gap since the last look that are more than usual.
pub fn gap_excess_s(config: &Config, previous: &State, seen: &Observation) -> f64 {
    let Some(looked) = previous.clocks.looked_awake_s else {
        // The heartbeat was lost, the clocks were not: nobody knows how long nobody looked.
        return if previous.clocks.units.is_empty() { 0.0 } else { f64::INFINITY };
    };
    let gap = seen.now.awake_s.since_s(looked);
    let usual = (GAP_INTERVALS * config.watchdog.signal_interval_s).max(GAP_GROWTH * previous.clocks.gap_s);
    (gap - usual).max(0.0)
}

/// The last change on any clock.
pub fn last_change(clocks: &UnitClocks) -> Option<Awake> {
    let screen = clocks.screen.as_ref().map(|c| c.changed_awake_s);
    let transcript = clocks.transcript.as_ref().map(|c| c.changed_awake_s);
    let tools = clocks.tools.as_ref().and_then(|c| c.changed_awake_s);
    screen.into_iter().chain(transcript).chain(tools).max()
}

/// Takes this tick's activity into `next.clocks`.
pub fn fold(config: &Config, previous: &State, seen: &Observation, next: &mut State) {
    let now = seen.now.awake_s;
    next.clocks.units.retain(|name, _| config.units.contains_key(name));
    fold_processes(config, previous, seen, next);
    if matches!(seen.server, ServerSeen::Unknown { .. }) {
        return; // Nobody could look: that is a gap like any other.
    }
    let excess = gap_excess_s(config, previous, seen);
    if let Some(looked) = previous.clocks.looked_awake_s {
        let gap = now.since_s(looked);
        // Follow-up ticks are half a second apart: they say nothing about how often somebody looks.
        if gap > config.watchdog.signal_interval_s / 2.0 {
            next.clocks.gap_s = gap;
        }
    }
    next.clocks.looked_awake_s = Some(now);
    for name in config.units.keys() {
        let Some(unit_seen) = seen.units.get(name) else { continue };
        let same_process =
            previous.units.get(name).is_some_and(|state| state.seen.process == process(unit_seen));
        let clocks = next.clocks.units.entry(name.clone()).or_default();
        if excess > 0.0 {
            push(clocks, excess, now);
        }
        fold_unit(seen, unit_seen, same_process, excess, clocks);
        if *clocks == UnitClocks::default() {
            next.clocks.units.remove(name);
        }
    }
}

/// The clocks of a unit that is left out of this tick go on from where they stand.
pub fn carry(config: &Config, previous: &State, seen: &Observation, name: &UnitName, next: &mut State) {
    let Some(clocks) = previous.clocks.units.get(name) else { return };
    let mut clocks = clocks.clone();
    let excess = gap_excess_s(config, previous, seen);
    if excess > 0.0 && !matches!(seen.server, ServerSeen::Unknown { .. }) {
        push(&mut clocks, excess, seen.now.awake_s);
    }
    next.clocks.units.insert(name.clone(), clocks);
}

/// The clocks of processes: they are seen whatever tmux says.
fn fold_processes(config: &Config, previous: &State, seen: &Observation, next: &mut State) {
    let now = seen.now.awake_s;
    for name in config.units.iter().filter(|(_, unit)| unit.process().is_some()).map(|(name, _)| name) {
        let Some(process) = seen.units.get(name).and_then(|seen| seen.process.as_ref()) else { continue };
        let at = &process.log.cursor;
        let found = !process.log.findings.is_empty() || process.log.more > 0;
        if !found && *at != LogCursor::default() {
            // What was read without a finding need not be read again; losing it costs time.
            let before = previous.units.get(name);
            let after = before.map_or(0, |state| state.process.watch.cursors);
            let clocks = next.clocks.units.entry(name.clone()).or_default();
            clocks.log = Some(LogClock { after, cursor: at.clone() });
        }
        let RunSeen::Alive { process: root, .. } = &process.run else { continue };
        let same = previous.units.get(name).is_some_and(|state| state.seen.process == *root);
        let clocks = next.clocks.units.entry(name.clone()).or_default();
        let value =
            at.file.map_or_else(String::new, |(device, inode)| format!("{device}:{inode}:{}", at.read));
        tick_over(&mut clocks.screen, value, process.log.grew, now);
        for (detector, value) in &process.log.metrics {
            let mut clock = clocks.metrics.remove(detector);
            tick_over(&mut clock, value.to_string(), false, now);
            clocks.metrics.extend(clock.map(|clock| (detector.clone(), clock)));
        }
        if !same {
            clocks.tools = None;
        }
        if let Some(used) = process.cpu_ms {
            clocks.tools = Some(match clocks.tools.take() {
                None => ToolsClock {
                    used_ms: used,
                    first_awake_s: now,
                    sampled_awake_s: now,
                    changed_awake_s: None,
                },
                Some(old) => sample(&old, used, now),
            });
        }
    }
}

/// The clock moves when the value is another one, or something is known to have come.
fn tick_over(clock: &mut Option<Clock<String>>, value: String, came: bool, now: Awake) {
    *clock = Some(match clock.take() {
        Some(old) if old.value == value && !came => old,
        Some(_) | None => Clock { value, changed_awake_s: now },
    });
}

fn process(seen: &Seen) -> Option<Process> {
    match &seen.pane {
        PaneSeen::Alive(pane) => Some(Process { pid: pane.pid, start: pane.pid_start }),
        PaneSeen::Unknown | PaneSeen::Absent | PaneSeen::Dead { .. } => None,
    }
}

fn push(clocks: &mut UnitClocks, excess: f64, now: Awake) {
    let later = |at: Awake| at.plus_s(excess).min(now);
    if let Some(clock) = &mut clocks.screen {
        clock.changed_awake_s = later(clock.changed_awake_s);
    }
    if let Some(clock) = &mut clocks.transcript {
        clock.changed_awake_s = later(clock.changed_awake_s);
    }
    for clock in clocks.metrics.values_mut() {
        clock.changed_awake_s = later(clock.changed_awake_s);
    }
    if let Some(clock) = &mut clocks.heartbeat {
        clock.changed_awake_s = later(clock.changed_awake_s);
    }
    // What was seen of the tools counts on, as on every clock; that they are quiet now must be watched anew.
    if let Some(tools) = &mut clocks.tools {
        tools.first_awake_s = now;
        tools.changed_awake_s = tools.changed_awake_s.map(later);
    }
}

fn fold_unit(seen: &Observation, unit: &Seen, same_process: bool, excess_s: f64, clocks: &mut UnitClocks) {
    let now = seen.now.awake_s;
    let PaneSeen::Alive(pane) = &unit.pane else { return };
    // Nothing remembered: the window's last output is the best guess. It is too young while a spinner turns, which
    // only delays a stall; "now" would forget an hour of idleness at every restart of the watchdog. Time in which nobody
    // looked does not count here either.
    let seed = |ago_s: f64| now.plus_s(-(ago_s - excess_s).max(0.0));
    let content = pane.reading.content.clone();
    let output_ago = seen.now.wall.since_s(pane.output_at);
    clocks.screen = Some(match clocks.screen.take() {
        None => Clock { value: content, changed_awake_s: seed(output_ago) },
        Some(old) if old.value == content && same_process => old,
        Some(_) => Clock { value: content, changed_awake_s: now },
    });
    if let Some(transcript) = &unit.transcript {
        let value = format!("{}:{}", transcript.path, transcript.bytes);
        let changed_ago = seen.now.wall.since_s(transcript.changed_at);
        clocks.transcript = Some(match clocks.transcript.take() {
            None => Clock { value, changed_awake_s: seed(changed_ago) },
            Some(old) if old.value == value => old,
            Some(_) => Clock { value, changed_awake_s: now },
        });
    }
    clocks.heartbeat = unit.cooperation.as_ref().map(|seen| {
        let old = clocks.heartbeat.take().filter(|_| same_process);
        match (old, &seen.heartbeat) {
            (Some(old), Some(stamp)) if old.value == *stamp => old,
            // Not seen: nothing is held against it, and what is seen next is no beat if it is what stood there before.
            (Some(old), None) => Clock { value: old.value, changed_awake_s: now },
            // A new process has its time to begin; nothing remembered: nothing is held against it.
            (_, stamp) => Clock { value: stamp.clone().unwrap_or_default(), changed_awake_s: now },
        }
    });
    if !same_process {
        clocks.tools = None;
    }
    if let Some(used) = unit.tools_cpu_ms {
        clocks.tools = Some(match clocks.tools.take() {
            None => {
                ToolsClock { used_ms: used, first_awake_s: now, sampled_awake_s: now, changed_awake_s: None }
            }
            Some(old) => sample(&old, used, now),
        });
    }
}

/// A descendant that ended takes its CPU time with it: a smaller sum is a change too.
fn sample(old: &ToolsClock, used_ms: u64, now: Awake) -> ToolsClock {
    let elapsed_ms = now.since_s(old.sampled_awake_s) * 1000.0;
    let works = used_ms < old.used_ms || (used_ms - old.used_ms) as f64 > TOOLS_SHARE_MIN * elapsed_ms;
    let changed_awake_s = if works && elapsed_ms > 0.0 { Some(now) } else { old.changed_awake_s };
    ToolsClock { used_ms, sampled_awake_s: now, changed_awake_s, ..old.clone() }
}

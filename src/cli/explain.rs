//! Why a unit is as it is, in sentences: what was seen, what was compared with what, what was done or withheld, and what
//! comes next. Pure: from config and remembered state.
//!
//! Deliberately not here: deciding. The sentences repeat the policies' numbers; they never make up their own.

mod process;

use crate::base::names::UnitName;
use crate::base::text::{counted, one_line};
use crate::base::time::{Awake, Now, human_s};
use crate::config::{AgentKind, Config, Unit, Watch};
use crate::model::seen::{Markers, ScreenState};
use crate::policy::summary::{self, UnitLine};
use crate::policy::summary_text::{Times, moment, state_word};
use crate::policy::{activity, restart, stall};
use crate::state::clocks::UnitClocks;
use crate::state::unit::{Breaker, DeliveryStep, EndStep, UnitState};
use serde::Serialize;

/// What is explained.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The config.
    pub config: &'a Config,
    /// The unit in it.
    pub unit: &'a Unit,
    /// What is remembered of it.
    pub state: &'a UnitState,
    /// Its activity clocks.
    pub clocks: &'a UnitClocks,
    /// Its markers.
    pub markers: &'a Markers,
    /// Markers of the fleet.
    pub fleet: &'a Markers,
    /// What `status` says of it.
    pub line: &'a UnitLine,
    /// The clocks now.
    pub now: &'a Now,
}

/// The explanation. The keys are a promise to scripts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Whose.
    pub name: UnitName,
    /// The head sentence.
    pub is: String,
    /// What was seen, with its numbers.
    pub facts: Vec<String>,
    /// What was due and withheld.
    pub held: Option<String>,
    /// The last thing done, and why.
    pub done: Option<String>,
    /// What comes next, and when.
    pub next: Vec<String>,
}

/// Explains one unit.
pub fn explain(s: &Subject<'_>) -> Explanation {
    Explanation {
        name: s.unit.name.clone(),
        is: head(s),
        facts: facts(s),
        held: s.state.hold.as_ref().map(|hold| {
            format!("{}, since {}: {}", hold.remedy, moment(hold.since, s.now, Times::FromNow), hold.why)
        }),
        done: s.state.last_act.as_ref().map(|act| {
            let at = moment(act.at, s.now, Times::FromNow);
            format!("{} at {at} ({} ago): {}", act.what, human_s(s.now.wall.since_s(act.at)), act.why)
        }),
        next: next(s),
    }
}

fn facts(s: &Subject<'_>) -> Vec<String> {
    let own = match s.unit.process() {
        Some(unit) => process::facts(s, unit),
        None => restarts(s),
    };
    [markers(s), screen(s), quiet(s), limit(s), ending(s), delivery(s), own, vetoes(s)].concat()
}

fn head(s: &Subject<'_>) -> String {
    let kind = match s.unit.agent() {
        Some(agent) => format!("{}, {}", s.line.kind, agent.backend.name),
        None => s.line.kind.to_owned(),
    };
    let Some(since) = s.line.since else {
        return format!("{} ({kind}): the watchdog has not seen it yet", s.unit.name);
    };
    let age = human_s(s.now.wall.since_s(since));
    let word = state_word(s.line);
    format!("{} ({kind}) is {word} since {} ({age})", s.unit.name, moment(since, s.now, Times::FromNow))
}

fn markers(s: &Subject<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    if !s.unit.enabled {
        facts.push("`enabled = false` in the config: it is neither started nor touched".to_owned());
    }
    let reason = |text: &str| if text.is_empty() { "no reason given".to_owned() } else { text.to_owned() };
    if let Some(why) = &s.fleet.down {
        facts.push(format!("the whole fleet is marked down ({})", reason(why)));
    }
    if let Some(why) = &s.markers.down {
        facts.push(format!(
            "it is marked down ({}): it stays down until `watchkeeper up {}`",
            reason(why),
            s.unit.name
        ));
    }
    let wall = s.now.wall;
    if let Some(why) = summary::paused(s.fleet, wall) {
        facts.push(format!("the whole fleet is paused ({})", reason(&why)));
    }
    if let Some(why) = summary::paused(s.markers, wall) {
        facts.push(format!("it is paused ({})", reason(&why)));
    }
    if s.config.watchdog.observe_only {
        facts.push("`observe_only` is set: decisions are written down, nothing is done".to_owned());
    }
    match s.unit.watch {
        Watch::None => facts.push("`watch = \"none\"`: it is shown, never touched".to_owned()),
        Watch::Heal if s.unit.agent().is_some() => {
            facts.push("`watch = \"heal\"`: it is restarted when dead, never nudged".to_owned());
        }
        Watch::Heal | Watch::HealStall => {}
    }
    if let Some(until) = s.line.waiting_until {
        facts.push(format!("it declared a wait until {}", moment(until, s.now, Times::FromNow)));
    }
    facts
}

fn screen(s: &Subject<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    facts.extend(s.line.needs.clone());
    if let Some(candidate) = &s.state.seen.candidate {
        let word = format!("{:?}", candidate.state).to_lowercase();
        facts.push(format!("a first look said {word}; it is believed on the second"));
    }
    if let Some(exit) = s.state.seen.exit.as_ref().filter(|_| !s.line.up) {
        facts.push(format!("its last process ended: {exit}"));
    }
    if let Some(since) = s.state.seen.compacting_since_awake_s {
        facts.push(format!("it compacts its conversation for {}", ago(s, since)));
    }
    facts
}

/// The activity clocks.
fn quiet(s: &Subject<'_>) -> Vec<String> {
    if s.unit.agent().is_none() || !s.line.up {
        return Vec::new();
    }
    let screen =
        s.clocks.screen.as_ref().map(|clock| format!("its screen {} ago", ago(s, clock.changed_awake_s)));
    let transcript = s
        .clocks
        .transcript
        .as_ref()
        .map(|clock| format!("its transcript {} ago", ago(s, clock.changed_awake_s)));
    let tools = s.clocks.tools.as_ref().map(|clock| match clock.changed_awake_s {
        Some(at) => format!("its tools used CPU {} ago", ago(s, at)),
        None => format!("its tools used no CPU for {} (sampled since then)", ago(s, clock.first_awake_s)),
    });
    let clocks: Vec<String> = screen.into_iter().chain(transcript).chain(tools).collect();
    if clocks.is_empty() { Vec::new() } else { vec![format!("last changes: {}", clocks.join(", "))] }
}

fn limit(s: &Subject<'_>) -> Vec<String> {
    let Some(limit) = &s.state.limit.active else { return Vec::new() };
    let how = match limit.readable {
        true => "the reset time on its screen, plus slack".to_owned(),
        false => format!(
            "no reset time readable, so it is asked every {}",
            human_s(s.config.watchdog.limit_probe_fallback_s)
        ),
    };
    let mut facts = vec![format!(
        "{} limit since {}: \"{}\"; until {} ({how})",
        limit.kind,
        moment(limit.since, s.now, Times::FromNow),
        one_line(&limit.text, 160),
        moment(limit.until, s.now, Times::FromNow)
    )];
    if limit.probes > 0 {
        let n = usize::try_from(limit.probes).unwrap_or(usize::MAX);
        facts.push(format!("{} in vain so far", counted(n, "probe")));
    }
    facts
}

fn ending(s: &Subject<'_>) -> Vec<String> {
    let Some(ending) = &s.state.ending else { return Vec::new() };
    let grace = s.unit.ladder.grace_s;
    let step = match &ending.step {
        EndStep::Wanted => format!(
            "it waits for the end of the turn for {} of at most {}",
            ago(s, ending.since_awake_s),
            human_s(s.config.watchdog.advance_grace_s)
        ),
        EndStep::Termed { at_awake_s, processes, .. } => format!(
            "TERM was sent to {} {} ago, KILL follows after {grace:.0} s",
            processes_text(processes.len()),
            ago(s, *at_awake_s)
        ),
        EndStep::Killed { at_awake_s, processes } => {
            format!("KILL was sent to {} {} ago", processes_text(processes.len()), ago(s, *at_awake_s))
        }
    };
    vec![format!("it is being ended ({}): {step}", ending.why)]
}

fn processes_text(n: usize) -> String {
    if n == 1 { "1 process".to_owned() } else { format!("{n} processes") }
}

fn delivery(s: &Subject<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(delivery) = &s.state.delivery.current {
        let purpose = format!("{:?}", delivery.message.purpose).to_lowercase();
        let step = match &delivery.step {
            DeliveryStep::Wanted => "not typed yet".to_owned(),
            DeliveryStep::Loaded { .. } => "in its buffer, not pasted yet".to_owned(),
            DeliveryStep::Pasted { at_awake_s, .. } => format!("pasted {} ago", ago(s, *at_awake_s)),
            DeliveryStep::Submitted { at_awake_s, presses, .. } => {
                format!("submitted {} ago, key pressed {presses} times", ago(s, *at_awake_s))
            }
        };
        let text = one_line(&delivery.message.text, 100);
        facts.push(format!("a text ({purpose}) is on its way: {step}: \"{text}\""));
    }
    let waiting = s.state.delivery.queue.len();
    if waiting > 0 {
        facts.push(format!("{} to be typed: waiting", counted(waiting, "text")));
    }
    facts
}

fn restarts(s: &Subject<'_>) -> Vec<String> {
    let mut facts = Vec::new();
    let recent = s
        .state
        .restart
        .past_awake_s
        .iter()
        .filter(|at| s.now.awake_s.since_s(**at) < restart::BREAKER_WINDOW_S)
        .count();
    if recent > 0 {
        facts.push(format!(
            "{} within {} ({} open the circuit breaker), {} ever",
            counted(recent, "restart"),
            human_s(restart::BREAKER_WINDOW_S),
            restart::BREAKER_RESTARTS,
            s.state.restart.total
        ));
    }
    match s.state.restart.breaker {
        Breaker::Closed => {}
        Breaker::Open { .. } => facts.push("its circuit breaker is open: it is not started".to_owned()),
        Breaker::HalfOpen { since_awake_s } => {
            facts.push(format!(
                "its circuit breaker is half open: one try, made {} ago",
                ago(s, since_awake_s)
            ));
        }
    }
    if s.state.ladder.tier > 0 {
        let tiers = &s.unit.ladder.tiers;
        let used: Vec<&str> = tiers.iter().take(s.state.ladder.tier).map(|tier| tier.word()).collect();
        facts.push(format!(
            "its ladder stands at tier {} of {} (spent: {}); it starts over after {} of progress",
            s.line.tier,
            tiers.len(),
            used.join(", "),
            human_s(s.config.watchdog.stall_idle_s)
        ));
    }
    facts
}

fn vetoes(s: &Subject<'_>) -> Vec<String> {
    let vetoes = &s.state.stall.vetoes_since;
    let words: Vec<String> =
        vetoes.iter().map(|(name, since)| format!("{name} (for {})", ago(s, since.since_awake_s))).collect();
    match words.is_empty() {
        true => Vec::new(),
        false => vec![format!("a kill is forbidden by: {}", words.join(", "))],
    }
}

fn next(s: &Subject<'_>) -> Vec<String> {
    let mut next = Vec::new();
    if let Some(limit) = &s.state.limit.active {
        next.push(format!(
            "at {}: a look whether it works again, else one probe",
            moment(limit.until, s.now, Times::FromNow)
        ));
    }
    next.extend(match s.unit.process() {
        Some(unit) => process::next(s, unit),
        None => next_start(s),
    });
    next.extend(next_stall(s));
    if let Some(at) = s.line.next_wake {
        let what = match s.unit.agent().map(|agent| agent.kind) {
            Some(AgentKind::Task) => "its next run",
            Some(AgentKind::Loop | AgentKind::Persistent) | None => "its scheduled prompt",
        };
        next.push(format!("at {}: {what}", moment(at, s.now, Times::FromNow)));
    }
    next
}

/// When a dead unit may be started again.
fn next_start(s: &Subject<'_>) -> Option<String> {
    if s.line.up || !s.line.wanted {
        return None;
    }
    if let Some(until) = s.line.breaker_until {
        return Some(format!(
            "at {}: one try; `watchkeeper approve {}` allows it now",
            moment(until, s.now, Times::FromNow),
            s.unit.name
        ));
    }
    if summary::is_down(s.unit, s.line) {
        let n = s.state.restart.past_awake_s.len();
        let Some(last) = s.state.restart.past_awake_s.last() else {
            return Some("with the next tick: it is started".to_owned());
        };
        let needed = (restart::BACKOFF_FIRST_S * 2f64.powi(i32::try_from(n.min(20)).unwrap_or(20) - 1))
            .min(restart::BACKOFF_MAX_S);
        let left = (needed - s.now.awake_s.since_s(*last)).max(0.0);
        return Some(format!("in {}: a restart (backoff {needed:.0} s after restart {n})", human_s(left)));
    }
    None
}

/// When silence becomes a stall, and what is done then.
fn next_stall(s: &Subject<'_>) -> Option<String> {
    let agent = s.unit.agent()?;
    let watched = s.unit.watch == Watch::HealStall && s.line.wanted && s.line.up;
    if !watched || s.state.limit.active.is_some() {
        return None;
    }
    let idle = s.config.watchdog.stall_idle_s;
    let (limit, rule) = match s.line.state {
        ScreenState::Idle if agent.kind == AgentKind::Loop => (idle, format!("stall_idle {idle:.0} s")),
        ScreenState::Busy | ScreenState::Starting | ScreenState::Unknown => {
            (stall::HUNG_FACTOR * idle, format!("{:.0} × stall_idle {idle:.0} s", stall::HUNG_FACTOR))
        }
        ScreenState::Idle
        | ScreenState::Onboarding
        | ScreenState::Draft
        | ScreenState::Blocked
        | ScreenState::Limited
        | ScreenState::Error
        | ScreenState::Dead
        | ScreenState::Shell => return None,
    };
    let changed = activity::last_change(s.clocks)?;
    let from = changed.max(s.state.ladder.remedy_awake_s.unwrap_or(changed));
    let quiet = s.now.awake_s.since_s(from);
    let tier = s.unit.ladder.tiers.get(s.state.ladder.tier).or(s.unit.ladder.tiers.last())?;
    let tier = tier.word();
    Some(match quiet >= limit {
        true => format!("it is stalled (quiet {quiet:.0} s ≥ {rule}): {tier} is due"),
        false => {
            let left = human_s(limit - quiet);
            format!("in {left}, unless it moves: {tier} (quiet {quiet:.0} s of {rule})")
        }
    })
}

fn ago(s: &Subject<'_>, at: Awake) -> String {
    human_s(s.now.awake_s.since_s(at))
}

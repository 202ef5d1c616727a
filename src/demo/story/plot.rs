//! The troubles, in their order, each brought when the one before has had its effect.

use super::cast::{BUILDER, DEPLOYER, PLAYERS, Player, TESTER, WRITER};
use super::sight::{self, Transcript};
use super::stage::{Stage, text_of};
use super::tell::Teller;
use crate::base::error::Result;
use crate::base::time::Wall;
use crate::policy::proposal::{Event, EventKind};
use crate::state::table;
use std::collections::BTreeSet;

/// How long the fleet is left without a watchdog, seconds.
const ABSENCE_S: f64 = 2.0;
/// After the last trouble is over: time in which something doubled would show, seconds.
const AFTERMATH_S: f64 = 3.0;
/// What the permission dialog of the scripted agent asks.
const QUESTION: &str = "Do you want to run this command?";

/// What happened so far.
#[derive(Debug, Default)]
pub struct Plot {
    /// Players whose first prompt was delivered.
    ready: BTreeSet<String>,
    /// The nudge is being typed.
    nudge_pasted: bool,
    /// The nudge was delivered, in the watchdog's words.
    nudge_told: bool,
    /// The limit is over, in the watchdog's words.
    limit_told: bool,
    /// The builder was killed.
    pub builder_killed: Option<Wall>,
    /// The watchdog was killed.
    pub watchdog_killed: Option<Wall>,
    /// Pid of the one that was started in its place.
    watchdog_pid: Option<u32>,
    /// It ticks.
    pub watchdog_back: Option<Wall>,
    /// The dialog was answered, and how the screen looked just before.
    pub answered: Option<Answered>,
    /// Everybody works again since.
    pub settled: Option<Wall>,
}

/// A person answered the dialog.
#[derive(Debug)]
pub struct Answered {
    /// When.
    pub at: Wall,
    /// It was still open: nobody had typed into it.
    pub was_open: bool,
}

impl Plot {
    /// Takes an event of the watchdog's.
    pub fn notice(&mut self, event: &Event) {
        let unit = event.unit.as_deref().unwrap_or("");
        match event.kind {
            EventKind::Delivery if event.text.starts_with("delivered (kickoff)") => {
                self.ready.insert(unit.to_owned());
            }
            EventKind::Delivery if unit == TESTER.name => {
                self.nudge_told |= event.text.starts_with("delivered (nudge)");
            }
            EventKind::Act if unit == TESTER.name && self.is_up() => {
                self.nudge_pasted |= event.text == "paste text";
            }
            EventKind::Limit if unit == WRITER.name => {
                self.limit_told |= event.text.starts_with("limit over");
            }
            EventKind::State
            | EventKind::Act
            | EventKind::Would
            | EventKind::Failed
            | EventKind::Hold
            | EventKind::Alert
            | EventKind::Limit
            | EventKind::Delivery
            | EventKind::Wake
            | EventKind::Request
            | EventKind::Fleet
            | EventKind::Phase
            | EventKind::Handoff
            | EventKind::File => {}
        }
    }

    /// Brings the next trouble if its time has come.
    pub fn go_on(&mut self, stage: &mut Stage, teller: &mut Teller<'_>, now: Wall) -> Result<()> {
        if self.is_up() && self.builder_killed.is_none() {
            self.kill_builder(stage, teller, now)?;
        }
        if self.nudge_pasted && self.watchdog_killed.is_none() {
            stage.kill_watchdog();
            self.watchdog_killed = Some(now);
            teller
                .deed(now, "kill -9 the watchdog, just after it pasted the nudge and before it submits it")?;
        }
        let gone_for = self.watchdog_killed.map(|at| now.since_s(at));
        if gone_for.is_some_and(|gone| gone >= ABSENCE_S) && self.watchdog_pid.is_none() {
            teller.deed(now, "start the watchdog again")?;
            self.watchdog_pid = Some(stage.start_watchdog()?);
        }
        if self.watchdog_back.is_none() && self.watchdog_pid.is_some_and(|pid| ticks(stage, pid)) {
            self.watchdog_back = Some(now);
        }
        let told = || !sight::alerts(&stage.state_dir(), DEPLOYER).is_empty();
        if self.nudge_told && self.answered.is_none() && told() {
            let was_open = stage.screen(DEPLOYER)?.contains(QUESTION);
            teller.deed(now, "a person answers the deployer's dialog: Enter in its pane")?;
            stage.press(DEPLOYER, "Enter")?;
            self.answered = Some(Answered { at: now, was_open });
        }
        if self.settled.is_none() && self.all_work(stage) {
            self.settled = Some(now);
        }
        Ok(())
    }

    fn kill_builder(&mut self, stage: &Stage, teller: &mut Teller<'_>, now: Wall) -> Result<()> {
        let transcript = Transcript::of(stage.dir(), BUILDER);
        let Some(start) = transcript.starts().last().copied() else { return Ok(()) };
        teller.deed(now, &format!("kill -9 {}, the builder", start.pid))?;
        stage.kill(start.pid);
        self.builder_killed = Some(now);
        Ok(())
    }

    /// The whole fleet got its prompts.
    fn is_up(&self) -> bool {
        self.ready.len() == PLAYERS.len()
    }

    /// Everybody who was in trouble works again.
    fn all_work(&self, stage: &Stage) -> bool {
        let (Some(killed), Some(answered)) = (self.builder_killed, &self.answered) else { return false };
        let works = |player: Player, since: Wall| {
            let transcript = Transcript::of(stage.dir(), player);
            transcript.worked_after(since).is_some()
        };
        let after_second_prompt = |player: Player| {
            let transcript = Transcript::of(stage.dir(), player);
            transcript.prompts().get(1).is_some_and(|prompt| transcript.worked_after(prompt.at).is_some())
        };
        self.nudge_told
            && self.limit_told
            && works(BUILDER, killed)
            && works(DEPLOYER, answered.at)
            && [BUILDER, TESTER, WRITER].into_iter().all(after_second_prompt)
    }

    /// Nothing more is to come.
    pub fn is_over(&self, now: Wall) -> bool {
        self.settled.is_some_and(|at| now.since_s(at) >= AFTERMATH_S)
    }
}

/// The heartbeat is this process's.
fn ticks(stage: &Stage, pid: u32) -> bool {
    let text = text_of(&stage.state_dir().join(table::HEARTBEAT));
    let heartbeat: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    heartbeat.get("pid").and_then(serde_json::Value::as_u64) == Some(u64::from(pid))
}

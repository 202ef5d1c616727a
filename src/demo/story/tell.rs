//! The words of the story: one line per event, what is done to the fleet set apart, and the closing sum.

use super::cast::BUILDER;
use super::judge::Verdict;
use super::stage::Stage;
use crate::base::error::Result;
use crate::base::text::one_line;
use crate::base::time::Wall;
use crate::policy::proposal::{Event, EventKind};
use std::io::Write;

/// Longest line of an event's words, characters.
const WORDS_MAX: usize = 240;

/// Prints.
pub struct Teller<'a> {
    out: &'a mut dyn Write,
    began: Wall,
}

impl std::fmt::Debug for Teller<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").field("began", &self.began).finish_non_exhaustive()
    }
}

impl<'a> Teller<'a> {
    /// Begins at `began`.
    pub fn new(out: &'a mut dyn Write, began: Wall) -> Teller<'a> {
        Teller { out, began }
    }

    /// What is about to be seen.
    pub fn opening(&mut self, stage: &Stage) -> Result<()> {
        self.plain("Four scripted agents on a tmux server of their own, and the watchdog that keeps them.")?;
        self.plain(&format!("Everything is in {}. It takes half a minute.\n", stage.dir().display()))?;
        self.plain("  time    who        the watchdog's own words (events/<day>.jsonl)")?;
        self.deed(self.began, &stage.command_line("run"))
    }

    /// A line.
    pub fn plain(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }

    /// What the story does to the fleet.
    pub fn deed(&mut self, at: Wall, what: &str) -> Result<()> {
        self.plain(&format!("\n{}  >>>  {what}", self.clock(at)))
    }

    /// What the watchdog wrote down, if it matters here.
    pub fn event(&mut self, event: &Event) -> Result<()> {
        if !matters(event) {
            return Ok(());
        }
        let unit = event.unit.as_deref().unwrap_or("fleet");
        let why = event.why.as_ref().map(|why| format!(": {}", why.sentence())).unwrap_or_default();
        let kind = match event.kind {
            EventKind::Alert => "tells a person: ",
            EventKind::State
            | EventKind::Act
            | EventKind::Would
            | EventKind::Failed
            | EventKind::Hold
            | EventKind::Limit
            | EventKind::Delivery
            | EventKind::Wake
            | EventKind::Request
            | EventKind::Fleet
            | EventKind::Phase
            | EventKind::Handoff
            | EventKind::File => "",
        };
        let words = one_line(&format!("{kind}{}{why}", event.text), WORDS_MAX);
        self.plain(&format!("{}  {unit:<9}  {words}", self.clock(event.at)))
    }

    /// What came of it all.
    pub fn closing(&mut self, verdict: &Verdict, took_s: f64) -> Result<()> {
        self.plain("\nWhat happened")?;
        for (who, what) in &verdict.sum {
            self.plain(&format!("  {who:<9}  {what}"))?;
        }
        self.plain("")?;
        for missing in &verdict.missing {
            self.plain(&format!("  missing: {missing}"))?;
        }
        let (all, missing) = (verdict.expected, verdict.missing.len());
        match missing {
            0 => self.plain(&format!("All {all} expectations held, in {took_s:.0} s.")),
            n => self.plain(&format!("{n} of {all} expectations did not hold within {took_s:.0} s.")),
        }
    }

    /// How to look around.
    pub fn kept(&mut self, stage: &Stage) -> Result<()> {
        let (dir, binary) = (stage.dir().display(), stage.binary().display());
        self.plain(&format!("\nKept in {dir}: the agents still run, the watchdog was stopped."))?;
        self.plain(&format!("  export TMUX_TMPDIR={dir} WATCHKEEPER_CONFIG={dir}/agents.toml"))?;
        self.plain(&format!("  {binary} status"))?;
        self.plain(&format!("  {binary} why tester"))?;
        self.plain(&format!("  {binary} attach builder      # leave it with C-b d"))?;
        self.plain(&format!("  {binary} up                  # the watchdog again, in a session of its own"))?;
        self.plain(&format!("  ls {dir}/.watchkeeper"))?;
        self.plain("When you have seen enough:")?;
        self.plain(&format!("  tmux -L {} kill-server; rm -r {dir}", stage.socket()))
    }

    fn clock(&self, at: Wall) -> String {
        format!("{:>6.1} s", at.since_s(self.began).max(0.0))
    }
}

/// In which order the events of one tick read best: what is, then what is concluded, then what is done.
pub fn rank(event: &Event) -> u8 {
    match event.kind {
        EventKind::State | EventKind::Fleet | EventKind::File | EventKind::Request => 0,
        EventKind::Limit
        | EventKind::Delivery
        | EventKind::Wake
        | EventKind::Failed
        | EventKind::Phase
        | EventKind::Handoff => 1,
        EventKind::Hold => 2,
        EventKind::Act | EventKind::Would | EventKind::Alert => 3,
    }
}

/// Turns of work come and go every few seconds, and each text takes four steps: told are the states that mean trouble,
/// and the steps of those texts that are not a first prompt.
fn matters(event: &Event) -> bool {
    match event.kind {
        EventKind::State => {
            let trouble = ["→ dead:", "→ shell", "→ blocked", "→ limited", "→ error", "breaker"];
            trouble.iter().any(|word| event.text.contains(word))
        }
        EventKind::Act => {
            let first = event.why.as_ref().is_some_and(|why| why.seen.starts_with("delivery 1:"));
            let again = event.unit.as_deref() == Some(BUILDER.name);
            let step = ["load text", "paste text", "submit text"].contains(&event.text.as_str());
            event.text != "kickoff" && (!step || !(first || again))
        }
        EventKind::Would
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
        | EventKind::File => true,
    }
}

//! One open trace: its lines, its prefix, and the reader of its language.
//!
//! Deliberately not here: where traces begin (`mod`).

use super::super::clean::{self, Prefix};
use super::go::Go;
use super::java::Java;
use super::javascript::JavaScript;
use super::python::Python;
use super::rust::Rust;
use super::shape::{Fit, Found};
use super::{Line, Traced};
use crate::base::text::strip_controls;
use crate::model::finding::{Finding, FindingKind};

/// Bytes of a trace's text that are kept.
pub const TEXT_MAX: usize = 32 * 1024;
/// Lines of other sources that may stand between the lines of a trace that carry a prefix.
const STRANGERS_MAX: u32 = 400;

/// The reader of a language.
#[derive(Clone, Debug)]
pub enum Machine {
    Python(Python),
    JavaScript(JavaScript),
    Go(Go),
    Rust(Rust),
    Java(Java),
}

/// An open trace.
#[derive(Clone, Debug)]
pub struct Tracker {
    machine: Machine,
    prefix: Prefix,
    /// Where it begins, where its last line ends, the number of its first line.
    pub at: u64,
    end: u64,
    number: u64,
    /// Where the line stands that gave it away.
    pub trigger: u64,
    text: String,
    /// Lines that may belong to it.
    held: String,
    foreign: u32,
    strangers: u32,
    /// It stands in a report of tests: it is read, so that its lines are nobody else's, and not told.
    pub muted: bool,
}

impl Tracker {
    /// Begins with a line whose own text follows `prefix`.
    pub fn new(line: &Line, prefix: &str, machine: Machine) -> Tracker {
        Tracker {
            machine,
            prefix: Prefix::new(prefix),
            at: line.at,
            end: line.end,
            number: line.number,
            trigger: line.at,
            text: line.text.clone(),
            held: String::new(),
            foreign: 0,
            strangers: 0,
            muted: false,
        }
    }

    /// Begins with a line above the one that gave it away. `before` are the lines above, nearest first.
    pub fn from_above(first: &Line, before: &[Line], line: &Line, prefix: &str, machine: Machine) -> Tracker {
        let mut new = Tracker::new(first, prefix, machine);
        new.text.clear();
        for one in before.iter().filter(|one| one.at >= first.at).rev() {
            new.push_text(&one.text);
        }
        new.trigger = line.at;
        new.end = line.end;
        new.prefix.lock(prefix.len());
        new
    }

    /// Its lines carry a prefix.
    pub fn is_marked(&self) -> bool {
        self.prefix.is_marked()
    }

    /// Offers a line to it.
    pub fn offer(&mut self, line: &Line) -> Fit {
        let readings = self.prefix.readings(&line.text);
        if readings.is_empty() {
            self.strangers += 1;
            return if self.strangers > STRANGERS_MAX { Fit::Over } else { Fit::Foreign };
        }
        let looks: Vec<Fit> = readings.iter().map(|(_, text)| self.machine.look(text)).collect();
        if let Some(n) = looks.iter().position(|fit| *fit == Fit::Ours) {
            self.take(line, readings[n].0, readings[n].1);
            return Fit::Ours;
        }
        if let Some(n) = looks.iter().position(|fit| *fit == Fit::Perhaps) {
            self.machine.take(readings[n].1);
            if self.held.len() < TEXT_MAX {
                self.held.push('\n');
                self.held.push_str(&line.text);
            }
            return Fit::Perhaps;
        }
        // A line without anything of the prefix may be another source's, as long as nothing shows what the lines carry.
        let stranger = readings.iter().all(|(cut, _)| *cut == 0) && self.prefix.is_open();
        if looks.contains(&Fit::Over) && !stranger {
            return Fit::Over;
        }
        self.foreign += 1;
        if self.foreign > self.machine.patience() { Fit::Over } else { Fit::Foreign }
    }

    fn take(&mut self, line: &Line, cut: usize, text: &str) {
        // A blank line says nothing of the prefix.
        if !text.trim().is_empty() {
            self.prefix.lock(cut);
        }
        self.machine.take(text);
        self.foreign = 0;
        self.strangers = 0;
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.push_text(held.trim_start_matches('\n'));
        }
        self.push_text(&line.text);
        self.end = line.end;
    }

    fn push_text(&mut self, text: &str) {
        if self.text.len() + text.len() < TEXT_MAX {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            self.text.push_str(text);
        }
    }

    /// What it was.
    pub fn finish(self, out: &mut Vec<Traced>) {
        if self.muted {
            return;
        }
        for found in self.machine.finish() {
            let mut chain = found.chain;
            chain
                .iter_mut()
                .for_each(|cause| cause.message = strip_controls(clean::cut(&cause.message, 1024)));
            let finding = Finding {
                kind: FindingKind::Traceback,
                at: self.at,
                end: self.end,
                line: self.number,
                language: Some(found.language),
                exception: found.exception,
                message: strip_controls(&found.message),
                frames: found.frames,
                chain,
                text: self.text.clone(),
                ..Finding::default()
            };
            out.push(Traced { finding, trigger: self.trigger });
        }
    }
}

impl Machine {
    fn look(&self, text: &str) -> Fit {
        match self {
            Machine::Python(machine) => machine.look(text),
            Machine::JavaScript(machine) => machine.look(text),
            Machine::Go(machine) => machine.look(text),
            Machine::Rust(machine) => machine.look(text),
            Machine::Java(machine) => machine.look(text),
        }
    }

    fn take(&mut self, text: &str) {
        match self {
            Machine::Python(machine) => machine.take(text),
            Machine::JavaScript(machine) => machine.take(text),
            Machine::Go(machine) => machine.take(text),
            Machine::Rust(machine) => machine.take(text),
            Machine::Java(machine) => machine.take(text),
        }
    }

    fn patience(&self) -> u32 {
        match self {
            Machine::Python(machine) => machine.patience(),
            Machine::JavaScript(machine) => machine.patience(),
            Machine::Go(machine) => machine.patience(),
            Machine::Rust(machine) => machine.patience(),
            Machine::Java(machine) => machine.patience(),
        }
    }

    fn finish(self) -> Vec<Found> {
        match self {
            Machine::Python(machine) => machine.finish(),
            Machine::JavaScript(machine) => machine.finish(),
            Machine::Go(machine) => machine.finish(),
            Machine::Rust(machine) => machine.finish(),
            Machine::Java(machine) => machine.finish(),
        }
    }
}

//! One open trace: its lines, its prefix, and the reader of its language.
//!
//! Deliberately not here: where traces begin (`mod`).

use super::super::clean::{self, Kin, Prefix};
use super::go::Go;
use super::java::Java;
use super::javascript::JavaScript;
use super::pretty::Pretty;
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
    Pretty(Pretty),
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
    /// Where the last line ends that is its own, or may be.
    pub last: u64,
    number: u64,
    /// Where the line stands that gave it away.
    pub trigger: u64,
    text: String,
    /// Lines that may belong to it.
    held: Vec<String>,
    held_bytes: usize,
    /// The reader as it was before them, as long as it is not known what of the prefix its lines carry.
    doubt: Option<Box<Machine>>,
    foreign: u32,
    strangers: u32,
    /// Where the lines begin that were found above the one that gave it away.
    pub above: Vec<u64>,
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
            last: line.end,
            number: line.number,
            trigger: line.at,
            text: line.text.clone(),
            held: Vec::new(),
            held_bytes: 0,
            doubt: None,
            foreign: 0,
            strangers: 0,
            above: Vec::new(),
            muted: false,
        }
    }

    /// Begins with lines above the one that gave it away, nearest first.
    pub fn from_above(lines: &[&Line], line: &Line, prefix: &str, machine: Machine) -> Tracker {
        let mut new = Tracker::new(lines.last().unwrap_or(&line), prefix, machine);
        new.text.clear();
        lines.iter().rev().for_each(|one| new.push_text(&one.text));
        if lines.is_empty() || new.at == line.at {
            new.push_text(&line.text);
        }
        new.trigger = line.at;
        new.end = line.end;
        new.last = line.end;
        new.above = lines.iter().map(|one| one.at).collect();
        new.prefix.lock(prefix.len());
        new
    }

    /// Its lines carry a prefix.
    pub fn is_marked(&self) -> bool {
        self.prefix.is_marked()
    }

    /// Is the line from its source, as far as the prefix tells?
    pub fn kin(&self, line: &Line) -> Kin {
        self.prefix.kin(&line.text)
    }

    /// Does it read only lines of its very source?
    pub fn is_strict(&self) -> bool {
        self.prefix.is_strict()
    }

    /// From now on it reads only lines of its very source.
    pub fn be_strict(&mut self) {
        self.prefix.be_strict();
    }

    /// Offers a line to it.
    pub fn offer(&mut self, line: &Line) -> Fit {
        let Some((cut, text)) = self.prefix.reading(&line.text) else {
            self.strangers += 1;
            return if self.strangers > STRANGERS_MAX { Fit::Over } else { Fit::Foreign };
        };
        // A line without anything of the prefix may be another source's, as long as nothing shows what the lines carry.
        let stranger = cut == 0 && self.prefix.is_open() || self.prefix.kin(&line.text) == Kin::Other;
        match self.machine.look(text) {
            Fit::Ours if !(stranger && self.machine.guesses()) => {
                self.take(line, cut, text);
                Fit::Ours
            }
            Fit::Ours | Fit::Perhaps => {
                if cut > 0 && !text.trim().is_empty() {
                    self.prefix.lock(cut);
                    self.settle(cut);
                }
                if self.held.is_empty() && self.prefix.is_open() {
                    self.doubt = Some(Box::new(self.machine.clone()));
                }
                self.machine.take(text);
                if !stranger {
                    self.last = line.end;
                }
                self.held_bytes += line.text.len();
                if self.held_bytes < TEXT_MAX {
                    self.held.push(line.text.clone());
                }
                Fit::Perhaps
            }
            Fit::Over if !stranger => Fit::Over,
            Fit::Over | Fit::Foreign => {
                self.foreign += 1;
                if self.foreign > self.machine.patience() { Fit::Over } else { Fit::Foreign }
            }
        }
    }

    fn take(&mut self, line: &Line, cut: usize, text: &str) {
        // A blank line says nothing of the prefix.
        if !text.trim().is_empty() {
            self.prefix.lock(cut);
            self.settle(cut);
        }
        self.machine.take(text);
        self.foreign = 0;
        self.strangers = 0;
        self.held_bytes = 0;
        for held in std::mem::take(&mut self.held) {
            if self.prefix.reads(&held) {
                self.push_text(&held);
            }
        }
        self.push_text(&line.text);
        self.end = line.end;
        self.last = line.end;
    }

    /// Now that it is known what of the prefix the lines carry: lines without it were none of ours.
    fn settle(&mut self, cut: usize) {
        let Some(machine) = self.doubt.take().filter(|_| cut > 0) else { return };
        if self.held.iter().all(|held| self.prefix.reads(held)) {
            return;
        }
        self.machine = *machine;
        for held in &self.held {
            if let Some((_, text)) = self.prefix.reading(held) {
                self.machine.take(text);
            }
        }
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
                .for_each(|cause| cause.message = without_controls(clean::cut(&cause.message, 1024)));
            let finding = Finding {
                kind: FindingKind::Traceback,
                at: self.at,
                end: self.end,
                line: self.number,
                language: Some(found.language),
                exception: found.exception,
                message: without_controls(found.message.trim_end()),
                frames: found.frames,
                chain,
                text: self.text.clone(),
                ..Finding::default()
            };
            out.push(Traced { finding, trigger: self.trigger });
        }
    }
}

/// A message as it was printed: tabs stay.
fn without_controls(message: &str) -> String {
    message.split('\t').map(strip_controls).collect::<Vec<_>>().join("\t")
}

impl Machine {
    fn look(&self, text: &str) -> Fit {
        match self {
            Machine::Python(machine) => machine.look(text),
            Machine::Pretty(machine) => machine.look(text),
            Machine::JavaScript(machine) => machine.look(text),
            Machine::Go(machine) => machine.look(text),
            Machine::Rust(machine) => machine.look(text),
            Machine::Java(machine) => machine.look(text),
        }
    }

    fn take(&mut self, text: &str) {
        match self {
            Machine::Python(machine) => machine.take(text),
            Machine::Pretty(machine) => machine.take(text),
            Machine::JavaScript(machine) => machine.take(text),
            Machine::Go(machine) => machine.take(text),
            Machine::Rust(machine) => machine.take(text),
            Machine::Java(machine) => machine.take(text),
        }
    }

    /// Would any line do as the next one?
    fn guesses(&self) -> bool {
        match self {
            Machine::Rust(machine) => machine.guesses(),
            Machine::Python(_)
            | Machine::Pretty(_)
            | Machine::JavaScript(_)
            | Machine::Go(_)
            | Machine::Java(_) => false,
        }
    }

    fn patience(&self) -> u32 {
        match self {
            Machine::Python(machine) => machine.patience(),
            Machine::Pretty(machine) => machine.patience(),
            Machine::JavaScript(machine) => machine.patience(),
            Machine::Go(machine) => machine.patience(),
            Machine::Rust(machine) => machine.patience(),
            Machine::Java(machine) => machine.patience(),
        }
    }

    fn finish(self) -> Vec<Found> {
        match self {
            Machine::Python(machine) => machine.finish(),
            Machine::Pretty(machine) => machine.finish(),
            Machine::JavaScript(machine) => machine.finish(),
            Machine::Go(machine) => machine.finish(),
            Machine::Rust(machine) => machine.finish(),
            Machine::Java(machine) => machine.finish(),
        }
    }
}

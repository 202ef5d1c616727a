//! The one table of commands. Help, the README's list, completions and the man page come from it; tests walk it.

pub mod adopt;
pub mod analyze;
pub mod approve;
pub mod attach;
pub mod check;
pub mod completions;
pub mod demo;
pub mod demo_agent;
pub mod doctor;
pub mod down;
pub mod ensure;
pub mod events;
pub mod incidents;
pub mod init;
pub mod inspect;
pub mod job;
pub mod log;
pub mod man;
pub mod nudge;
pub mod pause;
pub mod phase;
pub mod respond;
pub mod restart;
pub mod resume;
pub mod run;
pub mod scan;
pub mod shim;
pub mod skills;
pub mod status;
pub mod tick;
pub mod tokens;
pub mod units;
pub mod up;
pub mod why;

use super::{Invocation, Out};
use crate::base::error::Result;
use std::ffi::OsStr;
use std::process::ExitCode;

/// One command.
#[derive(Clone, Copy)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// What follows the name, for people.
    pub usage: &'static str,
    /// One line: what it does.
    pub about: &'static str,
    /// Paragraphs for `--help` and the man page.
    pub long: &'static str,
    /// Its own flags.
    pub flags: &'static [Flag],
    /// Which words follow.
    pub words: Words,
    /// What it does to the world.
    pub effect: Effect,
    /// Carries it out.
    pub run: fn(&Invocation, &mut Out) -> Result<ExitCode>,
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// `--last`; one name takes or lacks a value in every command.
    pub long: &'static str,
    /// `-f`
    pub short: Option<char>,
    /// What its value is; None when it takes none.
    pub value: Option<&'static str>,
    /// One line.
    pub about: &'static str,
}

/// Which words follow a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// None.
    None,
    /// At most a unit's name.
    MaybeUnit,
    /// One unit's name.
    Unit,
    /// Any number of names.
    MaybeUnits,
    /// At least one name.
    Units,
    /// A name and a text.
    UnitAndText,
    /// Perhaps a name, perhaps a text.
    MaybeUnitAndText,
    /// What to do with the phases.
    Phase,
    /// What to see of the incidents.
    Incidents,
    /// Perhaps a template's name, perhaps a folder; or names of settings.
    Template,
    /// What to do with the skills.
    Skills,
    /// At least one file; `-` is standard input.
    Files,
    /// A shell's name.
    Shell,
    /// Everything, flags too: it is handed on.
    All,
}

/// What a command does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing, needs no lock, and has a JSON form.
    Reads,
    /// It changes something.
    Changes,
    /// Not for people: called by the program itself.
    Hidden,
}

/// All commands, in the order of the help.
pub const COMMANDS: &[Command] = &[
    up::COMMAND,
    down::COMMAND,
    restart::COMMAND,
    run::COMMAND,
    tick::COMMAND,
    ensure::COMMAND,
    pause::COMMAND,
    resume::COMMAND,
    approve::COMMAND,
    adopt::COMMAND,
    nudge::COMMAND,
    respond::COMMAND,
    phase::COMMAND,
    attach::COMMAND,
    status::COMMAND,
    why::COMMAND,
    inspect::COMMAND,
    events::COMMAND,
    log::COMMAND,
    tokens::COMMAND,
    incidents::COMMAND,
    analyze::COMMAND,
    scan::COMMAND,
    init::COMMAND,
    check::COMMAND,
    doctor::COMMAND,
    skills::COMMAND,
    completions::COMMAND,
    man::COMMAND,
    demo::COMMAND,
    units::COMMAND,
    demo_agent::COMMAND,
    job::COMMAND,
    shim::COMMAND,
];

/// Those for people.
pub fn public() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(|command| command.effect != Effect::Hidden)
}

/// The command of that name.
pub fn find_exact(word: &OsStr) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| word == command.name)
}

impl Command {
    /// All that follows is handed on untouched.
    pub fn takes_all(&self) -> bool {
        self.words == Words::All
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::GLOBAL_FLAGS;
    use super::*;

    #[test]
    fn names_are_unique_and_words_fit() {
        let mut names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "two commands share a name");
        for command in COMMANDS {
            let name = command.name;
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
            assert!(!command.about.is_empty() && command.about.len() <= 72, "{name}: about");
            assert!(!command.about.ends_with('.'), "{name}: about is a fragment");
            assert!(!command.long.is_empty() && !command.long.ends_with('\n'), "{name}: long");
            for line in command.long.lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
            let json = command.long.contains("JSON");
            assert!(json || command.effect != Effect::Reads, "{name}: its JSON keys are not documented");
        }
    }

    #[test]
    fn a_flag_means_the_same_to_the_parser_everywhere() {
        let flags: Vec<&Flag> =
            GLOBAL_FLAGS.iter().chain(COMMANDS.iter().flat_map(|command| command.flags)).collect();
        for flag in &flags {
            assert!(!flag.about.is_empty() && !flag.about.ends_with('.'), "{}", flag.long);
            for other in &flags {
                let same = flag.long == other.long;
                assert!(!same || flag.value.is_some() == other.value.is_some(), "--{}", flag.long);
                assert!(!same || flag.short == other.short, "--{}", flag.long);
                assert!(same || flag.short.is_none() || flag.short != other.short, "-{:?}", flag.short);
            }
            let text = format!("--{}", flag.long);
            let global = GLOBAL_FLAGS.iter().any(|global| global.long == flag.long);
            let owned = COMMANDS.iter().filter(|command| command.flags.iter().any(|f| f.long == flag.long));
            assert!(!(global && owned.count() > 0), "{text} is global and a command's own");
        }
    }

    #[test]
    fn usages_name_their_flags() {
        for command in COMMANDS {
            for flag in command.flags {
                assert!(
                    command.usage.contains(&format!("--{}", flag.long))
                        || flag.short.is_some_and(|short| command.usage.contains(&format!("-{short}"))),
                    "{}: --{} is not in its usage",
                    command.name,
                    flag.long
                );
            }
        }
    }
}

//! The first stage of the arguments: strings to strings. Needs neither config nor file system, so that help and version
//! always work.
//!
//! Deliberately not here: paths made absolute, the environment, the meaning of a command's flags (`invocation`).

use super::commands::{self, Command, Flag, Words};
use crate::base::error::{Error, Result};
use crate::base::text::{counted, nearest, one_line};
use lexopt::Arg;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Flags of every command.
pub const GLOBAL_FLAGS: &[Flag] = &[
    Flag {
        long: "config",
        short: None,
        value: Some("FILE"),
        about: "the config; else $WATCHKEEPER_CONFIG, else ./agents.toml",
    },
    Flag {
        long: "state",
        short: None,
        value: Some("DIR"),
        about: "the state directory; else `state_dir` of the config, else .watchkeeper beside it",
    },
    Flag { long: "json", short: None, value: None, about: "print JSON; its keys are stable" },
    Flag {
        long: "color",
        short: None,
        value: Some("WHEN"),
        about: "auto, always or never; NO_COLOR is honoured",
    },
    Flag { long: "help", short: Some('h'), value: None, about: "-h in short, --help in full" },
    Flag { long: "version", short: Some('V'), value: None, about: "the version" },
];

/// What `--color` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal.
    #[default]
    Auto,
    /// Whatever standard output is.
    Always,
    /// Not at all.
    Never,
}

/// What needs no command to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `-h`
    ShortHelp,
    /// `--help`
    LongHelp,
    /// `--version`
    Version,
}

/// The arguments as close to the command line as possible.
#[derive(Clone, Debug, Default)]
pub struct Low {
    /// The command, if one was named.
    pub command: Option<&'static Command>,
    /// The words after it.
    pub words: Vec<OsString>,
    /// The command's own flags by long name, each with its value.
    pub flags: Vec<(&'static str, Option<OsString>)>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--state`
    pub state: Option<PathBuf>,
    /// `--json`
    pub json: bool,
    /// `--color`
    pub color: ColorChoice,
    /// `-h`, `--help`, `--version`
    pub special: Option<Special>,
}

/// Reads the arguments after the program's name. Help and version win over every mistake.
pub fn parse(args: Vec<OsString>) -> Result<Low> {
    let mut low = Low::default();
    let asked = asked_for_help(&args);
    let read = read(args, &mut low).and_then(|()| check(&low));
    match (read, asked.or(low.special)) {
        (_, Some(special)) => Ok(Low { special: Some(special), ..low }),
        (Err(error), None) => Err(error),
        (Ok(()), None) => Ok(low),
    }
}

/// A wish for help behind a mistake.
fn asked_for_help(args: &[OsString]) -> Option<Special> {
    let before_dashes = args.iter().take_while(|arg| *arg != "--");
    // What a program inside is asked is no question to us.
    if args.first().is_some_and(|first| commands::find_exact(first).is_some_and(Command::takes_all)) {
        return None;
    }
    before_dashes
        .filter_map(|arg| match arg.to_str() {
            Some("-h") => Some(Special::ShortHelp),
            Some("--help") => Some(Special::LongHelp),
            _ => None,
        })
        .next()
}

fn read(args: Vec<OsString>, low: &mut Low) -> Result<()> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut in_help = false;
    while let Some(arg) = parser.next().map_err(|e| lexopt_error(&e))? {
        let flag = match arg {
            Arg::Value(word) if low.command.is_none() && !in_help && word == "help" => {
                in_help = true;
                low.special = Some(Special::LongHelp);
                continue;
            }
            Arg::Value(word) if low.command.is_none() => {
                let command = find_command(&word)?;
                low.command = Some(command);
                if command.takes_all() {
                    low.words = parser.raw_args().map_err(|e| lexopt_error(&e))?.collect();
                    return Ok(());
                }
                continue;
            }
            Arg::Value(word) => {
                low.words.push(word);
                continue;
            }
            Arg::Short(short) => find_flag(&format!("-{short}"), |flag| flag.short == Some(short))?,
            Arg::Long(long) => {
                let long = long.to_owned();
                find_flag(&format!("--{long}"), |flag| flag.long == long)?
            }
        };
        let value = match flag.value {
            Some(what) => Some(value(&mut parser, &flag, what)?),
            None => None,
        };
        take(low, &flag, value)?;
    }
    Ok(())
}

fn value(parser: &mut lexopt::Parser, flag: &Flag, what: &str) -> Result<OsString> {
    parser.value().map_err(|_| Error::usage(format!("`--{}` needs a value: {what}", flag.long)))
}

fn take(low: &mut Low, flag: &Flag, value: Option<OsString>) -> Result<()> {
    match flag.long {
        "config" => low.config = value.map(PathBuf::from),
        "state" => low.state = value.map(PathBuf::from),
        "json" => low.json = true,
        // Which of `-h` and `--help` it was, the raw arguments tell.
        "help" => low.special = Some(low.special.unwrap_or(Special::ShortHelp)),
        "version" => low.special = Some(Special::Version),
        "color" => low.color = color(&value.unwrap_or_default())?,
        long => low.flags.push((long, value)),
    }
    Ok(())
}

fn color(value: &OsStr) -> Result<ColorChoice> {
    match value.to_str() {
        Some("auto") => Ok(ColorChoice::Auto),
        Some("always") => Ok(ColorChoice::Always),
        Some("never") => Ok(ColorChoice::Never),
        _ => Err(Error::usage(format!("`--color {}`: not one of auto, always, never", shown(value)))),
    }
}

fn find_command(word: &OsStr) -> Result<&'static Command> {
    if let Some(command) = commands::find_exact(word) {
        return Ok(command);
    }
    let shown = shown(word);
    let error = Error::usage(format!("there is no command `{shown}`"));
    Err(match nearest(&shown, commands::public().map(|command| command.name)) {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint("`watchkeeper -h` lists the commands"),
    })
}

fn find_flag(shown: &str, test: impl Fn(&Flag) -> bool) -> Result<Flag> {
    if let Some(flag) = all_flags().find(|flag| test(flag)) {
        return Ok(*flag);
    }
    let shown = one_line(shown, 60);
    let names: Vec<String> = all_flags().map(|flag| format!("--{}", flag.long)).collect();
    let error = Error::usage(format!("there is no flag `{shown}`"));
    let near = if shown.starts_with("--") { nearest(&shown, names.iter().map(String::as_str)) } else { None };
    Err(match near {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint("`-h` lists the flags; put `--` before words that begin with `-`"),
    })
}

fn all_flags() -> impl Iterator<Item = &'static Flag> {
    GLOBAL_FLAGS.iter().chain(commands::COMMANDS.iter().flat_map(|command| command.flags))
}

/// Do flags and words belong to the command?
fn check(low: &Low) -> Result<()> {
    let Some(command) = low.command else {
        return match low.flags.first() {
            Some((long, _)) => Err(Error::usage(format!("`--{long}` needs a command"))
                .hint("`watchkeeper -h` lists the commands")),
            None => Ok(()),
        };
    };
    if let Some((long, _)) =
        low.flags.iter().find(|(long, _)| !command.flags.iter().any(|flag| flag.long == *long))
    {
        return Err(Error::usage(format!("`{}` has no flag `--{long}`", command.name)).hint(usage(command)));
    }
    let (min, max) = command.words.bounds();
    let n = low.words.len();
    if n < min {
        return Err(
            Error::usage(format!("`{}` needs {}", command.name, command.words.needs())).hint(usage(command))
        );
    }
    if n > max {
        let extra = low.words.get(max).map(|word| shown(word)).unwrap_or_default();
        let takes = match max {
            0 => "no words".to_owned(),
            max => format!("at most {}", counted(max, "word")),
        };
        return Err(Error::usage(format!("`{}` takes {takes}: `{extra}` is too much", command.name))
            .hint(usage(command)));
    }
    Ok(())
}

fn usage(command: &Command) -> String {
    format!("usage: watchkeeper {} {}", command.name, command.usage).trim_end().to_owned()
}

fn lexopt_error(error: &lexopt::Error) -> Error {
    Error::usage(one_line(&error.to_string(), 200))
}

/// A word for people: one line, bounded.
pub fn shown(word: &OsStr) -> String {
    one_line(&word.to_string_lossy(), 60)
}

impl Words {
    /// Fewest and most words.
    pub fn bounds(self) -> (usize, usize) {
        match self {
            Words::None => (0, 0),
            Words::MaybeUnit | Words::Skills => (0, 1),
            Words::Unit | Words::Shell => (1, 1),
            Words::MaybeUnits => (0, usize::MAX),
            Words::Units | Words::Files => (1, usize::MAX),
            Words::UnitAndText => (2, usize::MAX),
            Words::Phase | Words::Incidents => (0, 2),
            Words::MaybeUnitAndText | Words::Template | Words::All => (0, usize::MAX),
        }
    }

    fn needs(self) -> &'static str {
        match self {
            Words::Unit | Words::Units => "the name of a unit",
            Words::UnitAndText => "the name of a unit and a text",
            Words::Files => "a file, or `-` for standard input",
            Words::Shell => "the name of a shell: bash, zsh or fish",
            Words::None
            | Words::MaybeUnit
            | Words::MaybeUnits
            | Words::MaybeUnitAndText
            | Words::Phase
            | Words::Incidents
            | Words::Template
            | Words::Skills
            | Words::All => "nothing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn low(args: &[&str]) -> Result<Low> {
        parse(args.iter().map(OsString::from).collect())
    }

    #[track_caller]
    fn refused(args: &[&str], message: &str, hint: &str) {
        let error = low(args).unwrap_err();
        assert_eq!((error.message().as_str(), error.hint_text().unwrap_or("")), (message, hint), "{args:?}");
        assert_eq!(error.kind().exit_code(), 2);
    }

    #[test]
    fn flags_may_stand_anywhere() {
        for args in [
            ["--config", "f", "--json", "why", "a", "--last", "5"],
            ["why", "--last", "5", "a", "--config", "f", "--json"],
            ["--last", "5", "why", "--json", "a", "--config", "f"],
        ] {
            let low = low(&args).unwrap();
            assert_eq!(low.command.unwrap().name, "why");
            assert_eq!(low.words, ["a"]);
            assert_eq!(low.flags, [("last", Some(OsString::from("5")))]);
            assert_eq!(low.config, Some(PathBuf::from("f")));
            assert!(low.json);
        }
        assert_eq!(low(&["nudge", "a", "--", "--json", "-h"]).unwrap().words, ["a", "--json", "-h"]);
        assert_eq!(low(&["--state=/s", "status"]).unwrap().state, Some(PathBuf::from("/s")));
        assert_eq!(low(&["status", "--color=never"]).unwrap().color, ColorChoice::Never);
    }

    #[test]
    fn help_and_version_win_over_mistakes() {
        let special = |args: &[&str]| low(args).unwrap().special;
        assert_eq!(special(&["-h"]), Some(Special::ShortHelp));
        assert_eq!(special(&["--help"]), Some(Special::LongHelp));
        assert_eq!(special(&["status", "-h"]), Some(Special::ShortHelp));
        assert_eq!(special(&["--bogus", "status", "--help"]), Some(Special::LongHelp));
        assert_eq!(special(&["restart", "--help"]), Some(Special::LongHelp));
        assert_eq!(special(&["help", "why"]), Some(Special::LongHelp));
        assert_eq!(special(&["--version"]), Some(Special::Version));
        assert_eq!(special(&["-V"]), Some(Special::Version));
        assert_eq!(low(&["help", "why"]).unwrap().command.unwrap().name, "why");
        assert_eq!(special(&["nudge", "a", "--", "-h"]), None);
        assert_eq!(special(&["demo-agent", "--help"]), None);
        assert!(low(&[]).unwrap().command.is_none());
    }

    #[test]
    fn mistakes_get_the_nearest_name() {
        refused(&["statsu"], "there is no command `statsu`", "did you mean `status`?");
        refused(&["banana"], "there is no command `banana`", "`watchkeeper -h` lists the commands");
        refused(&["status", "--jsno"], "there is no flag `--jsno`", "did you mean `--json`?");
        refused(
            &["status", "-x"],
            "there is no flag `-x`",
            "`-h` lists the flags; put `--` before words that begin with `-`",
        );
        refused(&["status", "--last", "3"], "`status` has no flag `--last`", "usage: watchkeeper status");
        refused(&["--last", "3"], "`--last` needs a command", "`watchkeeper -h` lists the commands");
        refused(&["status", "a"], "`status` takes no words: `a` is too much", "usage: watchkeeper status");
        refused(
            &["restart"],
            "`restart` needs the name of a unit",
            "usage: watchkeeper restart NAME… [--timeout SECONDS]",
        );
        refused(&["--color", "pink"], "`--color pink`: not one of auto, always, never", "");
        refused(&["why", "--last"], "`--last` needs a value: N", "");
    }

    #[test]
    fn hostile_words_are_shown_on_one_line() {
        let word = format!("{}\n\x1b[31m", "x".repeat(1000));
        let error = low(&[&word]).unwrap_err();
        assert!(error.message().len() < 200 && !error.message().contains('\x1b'), "{error}");
    }
}

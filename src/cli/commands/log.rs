//! `log`: a transcript as lines for people and `grep`.

use super::{Command, Effect, Flag, Words, events, inspect};
use crate::base::error::{Error, Kind, Result};
use crate::base::time::{Now, Wall};
use crate::cli::snapshot::Snapshot;
use crate::cli::{Invocation, Out, load, output, transcripts};
use crate::detect::transcript::{self, DOCUMENT_MAX, Entry, Format, LINE_MAX};
use crate::policy::summary_text::clock;
use crate::sys::clock::Clock;
use crate::sys::transcript_files::Lines;
use crate::sys::{env, outside};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "log",
    usage: "[-f] NAME [--last N] | --backend B --file TRANSCRIPT",
    about: "what an agent said and did, or what a process printed, one line each",
    long: "One line each: local time, role, tool, text. Roles: user, assistant, thinking,
tool (a call), result, system, error. Control bytes are taken out, secrets
(keys, tokens, passwords, private keys) are masked as far as they are known by
their looks. With a NAME: its newest session; `-f` goes on with what is added,
in a new session too. Of a process: its output as it is, masked in the same way.

JSON: one object a line: {at or null, role, tool or null, text}; {text} of a
process.",
    flags: &[
        Flag { long: "follow", short: Some('f'), value: None, about: "go on printing what is added" },
        Flag { long: "last", short: None, value: Some("N"), about: "at most so many, the newest" },
        Flag {
            long: "backend",
            short: None,
            value: Some("B"),
            about: "whose transcript it is: claude, codex, …",
        },
        Flag {
            long: "file",
            short: None,
            value: Some("TRANSCRIPT"),
            about: "one transcript; `-` is standard input",
        },
    ],
    words: Words::MaybeUnit,
    effect: Effect::Reads,
    run,
};

/// Entries printed before following, when nothing is said.
const LAST: usize = 20;
/// Looks at one file before it is asked whether there is a newer one.
const LOOKS: u32 = 8;
/// Longest transcript on standard input, bytes.
const STDIN_MAX: u64 = 256 << 20;

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let now = Clock::new().now();
    let file = transcripts::named(invocation, inspect::backend)?;
    let (format, path) = match (&file, invocation.name()?) {
        (Some(_), Some(_)) => return Err(Error::usage("a name and `--file` exclude each other")),
        (None, None) => {
            return Err(Error::usage(
                "whose transcript? name an agent, or give `--backend B --file TRANSCRIPT`",
            ));
        }
        (Some((format, path)), None) => (*format, (*path).to_owned()),
        (None, Some(name)) => {
            let config = load::config(invocation)?;
            if let Some(path) = output::of(&config, load::unit(&config, &name)?) {
                let last = invocation.count("last")?;
                return match output::print(&path, last, invocation, out) {
                    true => Ok(ExitCode::SUCCESS),
                    false => Err(Error::new(Kind::No, format!("`{name}` has said nothing yet"))
                        .hint(format!("`watchkeeper why {name}` says how it stands"))),
                };
            }
            of_unit(invocation)?
        }
    };
    let follows = invocation.has("follow");
    let last = invocation.count("last")?.or(follows.then_some(LAST));
    if path.as_os_str() == "-" || transcript::is_document(&path.to_string_lossy()) {
        let entries = whole(format, &path)?;
        let skip = last.map_or(0, |last| entries.len().saturating_sub(last));
        entries.iter().skip(skip).for_each(|entry| print(entry, invocation, &now, out));
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = Lines::new(&path);
    first(&mut lines, format, last, invocation, &now, out)?;
    let mut path = path;
    let mut looks = 0;
    while follows && out.broken().is_none() {
        outside::nap(events::LOOK_S);
        for line in lines.more(LINE_MAX).unwrap_or_default() {
            transcript::entries(format, &line).iter().for_each(|entry| print(entry, invocation, &now, out));
        }
        looks += 1;
        if file.is_none() && looks % LOOKS == 0 {
            let newer = of_unit(invocation).ok().map(|(_, newer)| newer).filter(|newer| *newer != path);
            if let Some(newer) = newer {
                lines = Lines::new(&newer);
                path = newer;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is there already: all, or the newest.
fn first(
    lines: &mut Lines,
    format: Format,
    last: Option<usize>,
    invocation: &Invocation,
    now: &Now,
    out: &mut Out,
) -> Result<()> {
    let mut kept: VecDeque<Entry> = VecDeque::new();
    loop {
        let path = invocation.path("file").unwrap_or(Path::new(""));
        let mut more = lines.more(LINE_MAX).ok_or_else(|| transcripts::missing(path))?;
        let end = more.is_empty();
        if end && !invocation.has("follow") {
            more.push(lines.rest(LINE_MAX));
        }
        for entry in more.iter().flat_map(|line| transcript::entries(format, line)) {
            match last {
                None => print(&entry, invocation, now, out),
                Some(last) => {
                    kept.push_back(entry);
                    if kept.len() > last {
                        kept.pop_front();
                    }
                }
            }
        }
        if end || out.broken().is_some() {
            break;
        }
    }
    kept.iter().for_each(|entry| print(entry, invocation, now, out));
    Ok(())
}

/// The newest transcript of the agent.
fn of_unit(invocation: &Invocation) -> Result<(Format, PathBuf)> {
    let config = load::config(invocation)?;
    let Some(name) = invocation.name()? else { return Err(Error::usage("whose transcript?")) };
    let unit = load::unit(&config, &name)?;
    let Some(agent) = unit.agent() else {
        return Err(Error::new(Kind::No, format!("`{name}` is a service: it writes no transcript"))
            .hint(format!("`watchkeeper attach {name}` shows its screen")));
    };
    transcripts::format_of(&agent.backend)
        .map_err(|error| error.hint(format!("`watchkeeper attach {name}` shows its screen")))?;
    // Without a state directory there is nothing that is known; the files may be there all the same.
    let tokens = Snapshot::read(&config).map(|snapshot| snapshot.state.tokens).unwrap_or_default();
    let Some((format, file)) = transcripts::newest(&config, &tokens, unit) else {
        return Err(Error::new(Kind::No, format!("`{name}` has no transcript yet"))
            .hint(format!("`watchkeeper attach {name}` shows its screen")));
    };
    Ok((format, PathBuf::from(file.path)))
}

/// What can't be read in steps.
fn whole(format: Format, path: &Path) -> Result<Vec<Entry>> {
    let (source, max) =
        if path.as_os_str() == "-" { (Path::new("/dev/stdin"), STDIN_MAX) } else { (path, DOCUMENT_MAX) };
    let text = env::read_capture(source, max).map_err(|e| Error::usage(e.message()))?;
    let text = text.ok_or_else(|| transcripts::missing(path))?;
    if transcript::is_document(&path.to_string_lossy()) {
        return Ok(transcript::document_entries(format, text.as_bytes()));
    }
    Ok(text.lines().flat_map(|line| transcript::entries(format, line.as_bytes())).collect())
}

fn print(entry: &Entry, invocation: &Invocation, now: &Now, out: &mut Out) {
    if invocation.json {
        return out.json_line(entry);
    }
    if entry.text.is_empty() && entry.tool.is_none() {
        return;
    }
    let at = entry.at.map_or_else(|| format!("{:<19}", "-"), |at| moment(at, &now.zone));
    let tool = entry.tool.as_deref().unwrap_or("-");
    let tool = tool.replace(' ', "_");
    out.line(format!("{at}  {:<9}  {tool:<12}  {}", entry.role.word(), entry.text).trim_end());
}

fn moment(at: Wall, zone: &str) -> String {
    format!("{}:{:02}", clock(at, zone), at.0.div_euclid(1000).rem_euclid(60))
}

//! `init`: writes one of the examples into a folder, or a config for the process that the folder holds; compares a config
//! with today's defaults; takes another watchdog's over. What is there already is never overwritten.

mod from;
mod process;
mod upgrade;

use super::{Command, Effect, Flag, Words};
use crate::base::error::{Error, Result};
use crate::base::text::{counted, nearest, one_line, quoted_word};
use crate::cli::templates::{self, TEMPLATES, Template};
use crate::cli::{Invocation, Out};
use crate::sys::outside::{self, Wrote};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "init",
    usage: "[TEMPLATE] [DIR] | process [DIR] [--for-agent] | --from FILE [DIR] | --upgrade [KEY…]",
    about: "write a config: an example fleet, the process of a folder; upgrade one",
    long: "Without words it lists the examples. `init TEMPLATE [DIR]` writes one into DIR
(else a new folder of the template's name) and says what to type next. The fleet
runs as it is, with scripted demo agents, and with real ones after one word in
its agents.toml is changed.

`init process [DIR]` looks at the folder (else this one) and writes an
agents.toml for what it holds: Python, Node, Go, Rust, Java or Make; with a
command, config snapshots, detectors and rules that fit. --for-agent adds
AGENT_NOTES.md, a runbook for the AI agents that work there.

`init --from autosentry.yaml [DIR]` takes that configuration over, and lists
each key that did not come through as it was, with what to do instead.

`init --upgrade` compares the config with today's defaults and shows keys that
are not written, or differ. With keys it sets those to their defaults and leaves
every other byte as it is.

A file that is there already is never overwritten: the same one is fine, so that
the command can be repeated, another one is kept and named, and the exit code
is 1.

JSON: [{name, about, files}] without words; {template, dir, files [{path, found
(written, same, kept)}], next [what to type]}; process: {dir, found [{stack,
evidence, name, command}], files, next}; --from: {from, dir, processes [name],
notes [{key, what (changed, left_out, unknown), text}], files, next}; --upgrade:
{config, keys [{key, state (new, differs), yours or null, default, about}], set
[key]}",
    flags: &[
        Flag {
            long: "for-agent",
            short: None,
            value: None,
            about: "add AGENT_NOTES.md, a runbook for AI agents",
        },
        Flag { long: "from", short: None, value: Some("FILE"), about: "an autosentry.yaml to take over" },
        Flag { long: "upgrade", short: None, value: None, about: "compare the config with today's defaults" },
    ],
    words: Words::Template,
    effect: Effect::Changes,
    run,
};

/// The word for a process instead of an example.
const PROCESS: &str = "process";
const PROCESS_ABOUT: &str = "for the process in a folder: Python, Node, Go, Rust, Java, Make";

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    about: &'static str,
    files: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Made {
    template: &'static str,
    dir: String,
    files: Vec<Found>,
    next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Found {
    path: &'static str,
    found: &'static str,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let words = invocation.texts()?;
    let (upgrades, from, for_agent) =
        (invocation.has("upgrade"), invocation.path("from"), invocation.has("for-agent"));
    match (upgrades, from) {
        (true, None) if !for_agent => return upgrade::run(invocation, &words, out),
        (false, Some(file)) if !for_agent => return from::run(invocation, file, folder(&words)?, out),
        (false, None) => {}
        (true, _) | (false, Some(_)) => {
            return Err(Error::usage(
                "--upgrade, --from and --for-agent are three different things: take one",
            ));
        }
    }
    match words.split_first() {
        Some((&PROCESS, rest)) => process::run(invocation, folder(rest)?, out),
        None if for_agent => process::run(invocation, None, out),
        Some(_) if for_agent => {
            Err(Error::usage("an example has its own files").hint("`watchkeeper init process --for-agent`"))
        }
        Some((name, rest)) => example(invocation, name, folder(rest)?, out),
        None => {
            list(invocation, out);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The only word, which is a folder.
fn folder<'w>(words: &[&'w str]) -> Result<Option<&'w str>> {
    match words {
        [] => Ok(None),
        [""] => Err(Error::usage("the folder's name must not be empty")),
        [dir] => Ok(Some(dir)),
        [_, extra, ..] => {
            let hint = format!("usage: watchkeeper init {}", COMMAND.usage);
            Err(Error::usage(format!("`init` takes at most 2 words: `{}` is too much", one_line(extra, 60)))
                .hint(hint))
        }
    }
}

fn example(invocation: &Invocation, name: &str, dir: Option<&str>, out: &mut Out) -> Result<ExitCode> {
    let template = templates::find(name).ok_or_else(|| unknown(name))?;
    let made = make(template, dir.unwrap_or(template.name))?;
    let kept = made.files.iter().filter(|file| file.found == "kept").count();
    if invocation.json {
        out.json(&made);
    } else {
        print(&made, kept, out);
    }
    Ok(ExitCode::from(u8::from(kept > 0)))
}

fn list(invocation: &Invocation, out: &mut Out) {
    let rows = TEMPLATES
        .iter()
        .map(|template| Row {
            name: template.name,
            about: template.about,
            files: template.files.iter().map(|file| file.path).collect(),
        })
        .chain([Row { name: PROCESS, about: PROCESS_ABOUT, files: vec!["agents.toml"] }]);
    if invocation.json {
        return out.json(&rows.collect::<Vec<_>>());
    }
    let width = TEMPLATES.iter().map(|template| template.name.len()).max().unwrap_or(0);
    for row in rows {
        out.line(&format!("{:<width$}  {}", row.name, row.about));
    }
    out.line("\n`watchkeeper init NAME [DIR]` writes one of them.");
    if let Some(found) = process::first_in(".") {
        out.line(&format!("Here is {found}: `watchkeeper init {PROCESS}` writes a config for it."));
    }
}

fn unknown(name: &str) -> Error {
    let error = Error::usage(format!("there is no template `{name}`"));
    match nearest(name, TEMPLATES.iter().map(|template| template.name).chain([PROCESS])) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`watchkeeper init` lists them"),
    }
}

fn make(template: &'static Template, dir: &str) -> Result<Made> {
    let mut files = Vec::with_capacity(template.files.len());
    for file in template.files {
        files.push(write(dir, file.path, file.text, file.mode())?);
    }
    let mut next = vec!["./setup.sh".to_owned(), "watchkeeper up".to_owned()];
    next.insert(0, format!("cd {}", shell_word(dir)));
    Ok(Made { template: template.name, dir: dir.to_owned(), files, next })
}

/// Writes one file unless there is one.
fn write(dir: &str, path: &'static str, text: &str, mode: u32) -> Result<Found> {
    let found = match outside::write_new(&Path::new(dir).join(path), text, mode)? {
        Wrote::New => "written",
        Wrote::Same => "same",
        Wrote::Kept => "kept",
    };
    Ok(Found { path, found })
}

/// What became of files, a line each; whether one was kept.
fn print_files(dir: &str, files: &[Found], out: &mut Out) -> bool {
    for file in files {
        let path = Path::new(dir).join(file.path);
        let said = match file.found {
            "kept" => "kept as it is, it is another one",
            "same" => "is there already, the same",
            found => found,
        };
        out.line(&format!("{}: {said}", path.display()));
    }
    files.iter().any(|file| file.found == "kept")
}

fn print_next(next: &[String], out: &mut Out) {
    out.line("\nNext:");
    next.iter().for_each(|line| out.line(&format!("  {line}")));
}

/// What to type next in a folder with a config for a process.
fn next_for_a_process(dir: &str) -> Vec<String> {
    let there = (dir != ".").then(|| format!("cd {}", shell_word(dir)));
    let then = ["watchkeeper check", "watchkeeper doctor", "watchkeeper run"].map(str::to_owned);
    there.into_iter().chain(then).collect()
}

fn print(made: &Made, kept: usize, out: &mut Out) {
    let written = made.files.iter().filter(|file| file.found == "written").count();
    let same = made.files.len() - written - kept;
    for file in made.files.iter().filter(|file| file.found == "kept") {
        out.line(&format!(
            "kept as it is, it is another one: {}",
            Path::new(&made.dir).join(file.path).display()
        ));
    }
    let was = if same > 0 { format!(", {same} were there already") } else { String::new() };
    out.line(&format!("{}: {} written to {}{was}", made.template, counted(written, "file"), made.dir));
    print_next(&made.next, out);
}

/// A word for a shell: in quotes only where it needs them.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    match word.chars().all(plain) && !word.starts_with('-') {
        true => word.to_owned(),
        false => {
            let dashes = if word.starts_with('-') { "./" } else { "" };
            quoted_word(&format!("{dashes}{word}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn a_folder_can_be_typed() {
        assert_eq!(shell_word("~x/a-b"), "'~x/a-b'");
        assert_eq!(shell_word("/srv/a-b_c.d"), "/srv/a-b_c.d");
        assert_eq!(shell_word("my fleet's"), r"'my fleet'\''s'");
        assert_eq!(shell_word("-x"), "'./-x'");
    }
}

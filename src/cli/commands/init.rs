//! `init`: writes one of the examples into a folder. What is there already is never overwritten.

use super::{Command, Effect, Words};
use crate::base::error::{Error, Result};
use crate::base::text::{counted, nearest};
use crate::cli::templates::{self, TEMPLATES, Template};
use crate::cli::{Invocation, Out};
use crate::sys::outside::{self, Wrote};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "init",
    usage: "[TEMPLATE] [DIR]",
    about: "write an example fleet into a folder; without words list them",
    long: "Writes the files of TEMPLATE into DIR (else a new folder of the template's name)
and says what to type next. The fleet runs as it is, with scripted demo agents,
and with real ones after one word in its agents.toml is changed.

A file that is there already is never overwritten: the same one is fine, so that
the command can be repeated, another one is kept and named, and the exit code
is 1.

JSON: [{name, about, files}] without words; else {template, dir, files [{path,
found (written, same, kept)}], next [what to type]}",
    flags: &[],
    words: Words::Template,
    effect: Effect::Changes,
    run,
};

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
    let Some(name) = words.first() else {
        list(invocation, out);
        return Ok(ExitCode::SUCCESS);
    };
    let template = templates::find(name).ok_or_else(|| unknown(name))?;
    let dir = words.get(1).copied().unwrap_or(template.name);
    if dir.is_empty() {
        return Err(Error::usage("the folder's name must not be empty"));
    }
    let made = make(template, dir)?;
    let kept = made.files.iter().filter(|file| file.found == "kept").count();
    if invocation.json {
        out.json(&made);
    } else {
        print(&made, kept, out);
    }
    Ok(ExitCode::from(u8::from(kept > 0)))
}

fn list(invocation: &Invocation, out: &mut Out) {
    let rows = TEMPLATES.iter().map(|template| Row {
        name: template.name,
        about: template.about,
        files: template.files.iter().map(|file| file.path).collect(),
    });
    if invocation.json {
        return out.json(&rows.collect::<Vec<_>>());
    }
    let width = TEMPLATES.iter().map(|template| template.name.len()).max().unwrap_or(0);
    for row in rows {
        out.line(&format!("{:<width$}  {}", row.name, row.about));
    }
    out.line("\n`watchkeeper init NAME [DIR]` writes one of them.");
}

fn unknown(name: &str) -> Error {
    let error = Error::usage(format!("there is no template `{name}`"));
    match nearest(name, TEMPLATES.iter().map(|template| template.name)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`watchkeeper init` lists them"),
    }
}

fn make(template: &'static Template, dir: &str) -> Result<Made> {
    let mut files = Vec::with_capacity(template.files.len());
    for file in template.files {
        let path = Path::new(dir).join(file.path);
        let wrote = outside::write_new(&path, file.text, file.mode())?;
        let found = match wrote {
            Wrote::New => "written",
            Wrote::Same => "same",
            Wrote::Kept => "kept",
        };
        files.push(Found { path: file.path, found });
    }
    let mut next = vec!["./setup.sh".to_owned(), "watchkeeper up".to_owned()];
    next.insert(0, format!("cd {}", shell_word(dir)));
    Ok(Made { template: template.name, dir: dir.to_owned(), files, next })
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
    out.line("\nNext:");
    for line in &made.next {
        out.line(&format!("  {line}"));
    }
}

/// A word for a shell: in quotes only where it needs them.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    match word.chars().all(plain) && !word.starts_with('-') {
        true => word.to_owned(),
        false => {
            let dashes = if word.starts_with('-') { "./" } else { "" };
            format!("'{dashes}{}'", word.replace('\'', r"'\''"))
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

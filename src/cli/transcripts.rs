//! Transcripts as reading commands see them: whose format, which file, its lines.

use super::Invocation;
use super::args::shown;
use crate::base::error::{Error, Kind, Result};
use crate::config::{Backend, Config, Unit};
use crate::detect::transcript::owner::project_of;
use crate::detect::transcript::{self, Format};
use crate::model::usage::FileSeen;
use crate::state::tokens::Tokens;
use crate::sys::env;
use crate::sys::transcript_files::{self, Place};
use std::path::Path;

/// How much of a file is read to learn whose it is, bytes.
const HEAD_BYTES: usize = 256 << 10;

/// The format of `--backend B`'s transcripts.
pub fn format_of(backend: &Backend) -> Result<Format> {
    Format::of(&backend.name, backend.transcript_dir.as_deref(), &backend.command).ok_or_else(|| {
        let why = transcript::uncounted(&backend.name).unwrap_or("it has none that can be read");
        let known: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        Error::new(
            Kind::Usage,
            format!("transcripts of `{}` are not read: {why}", shown(backend.name.as_ref())),
        )
        .hint(format!("those of {} are", known.join(", ")))
    })
}

/// `--backend` and `--file`: both, or an error that says what is missing.
pub fn named(
    invocation: &Invocation,
    backend: impl Fn(&Invocation, &str) -> Result<Backend>,
) -> Result<Option<(Format, &Path)>> {
    let (name, path) = (invocation.value("backend")?, invocation.path("file"));
    match (name, path) {
        (None, None) => Ok(None),
        (Some(name), Some(path)) => Ok(Some((format_of(&backend(invocation, name)?)?, path))),
        (None, Some(_)) => Err(Error::usage("`--file` needs `--backend B`: whose transcript is it?")
            .hint(format!("built in are {}", Backend::builtin_names().join(", ")))),
        (Some(_), None) => Err(Error::usage("`--backend` needs `--file TRANSCRIPT`")),
    }
}

/// The newest transcript of an agent: of those that its tokens are counted from, else of its directory.
pub fn newest(config: &Config, tokens: &Tokens, unit: &Unit) -> Option<(Format, FileSeen)> {
    let agent = unit.agent()?;
    let backend = &agent.backend;
    let format = format_of(backend).ok()?;
    let main = |path: &str| !path.contains("/subagents/") && !path.contains("/agent-");
    let cursors = tokens.agents.get(&unit.name).into_iter().flat_map(|agent| &agent.files);
    let known = cursors
        .filter(|cursor| main(&cursor.path))
        .filter_map(|cursor| transcript_files::look(Path::new(&cursor.path)).filter(|file| cursor.is(file)));
    if let Some(file) = known.max_by_key(|file| file.changed_at) {
        return Some((format, file));
    }
    let place = format.place();
    let below = format.below(backend.transcript_dir.as_deref());
    let env = unit.process_env();
    let place =
        Place { home_env: place.home_env, home: place.home, below, env: &env, pid: None, cwd: &unit.dir };
    let folders = transcript_files::folders(&place);
    // Not those that are another agent's.
    let others: Vec<_> = config.units.keys().filter(|name| **name != unit.name).collect();
    let others = others.into_iter().filter_map(|name| tokens.agents.get(name)).flat_map(|agent| &agent.files);
    let others: Vec<_> = others.collect();
    let mut found: Vec<FileSeen> = Vec::new();
    for dir in &folders.dirs {
        let (files, _) = transcript_files::list(dir, &|path| format.is_transcript(path) && main(path));
        found.extend(files.into_iter().filter(|file| !others.iter().any(|cursor| cursor.is(file))));
    }
    found.sort_by_key(|file| std::cmp::Reverse(file.changed_at));
    let own_dir = below.contains("{cwd");
    let is_own = |file: &FileSeen| {
        let bytes = transcript_files::read(file, 0, HEAD_BYTES).unwrap_or_default();
        let head = transcript::head(format, &bytes);
        let project = |project: &String| folders.cwds.iter().any(|cwd| project_of(cwd) == *project);
        match (&head.cwd, &head.project) {
            (Some(cwd), _) => folders.cwds.contains(cwd),
            (None, Some(found)) => project(found),
            (None, None) => own_dir,
        }
    };
    found.into_iter().take(200).find(is_own).map(|file| (format, file))
}

/// A file as `Lines`, or why it can't be read.
pub fn missing(path: &Path) -> Error {
    if env::folder(path).is_some() {
        return Error::new(Kind::Usage, "is a directory").at(path).doing("reading");
    }
    Error::usage(format!("there is no file `{}`", shown(path.as_os_str())))
}

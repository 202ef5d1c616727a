//! `incidents`: what broke, and what was done about it.

use super::{Command, Effect, Flag, Words, events};
use crate::base::error::{Error, Kind, Result};
use crate::base::text::one_line;
use crate::base::time::Wall;
use crate::cli::args::shown;
use crate::cli::{Invocation, Out, load};
use crate::detect::incident::{IndexLine, Repeats, readable};
use crate::engine::incident::read_index;
use crate::model::incident::is_id;
use crate::policy::summary_text::clock;
use crate::state::attempts::{Ledger, Part};
use crate::state::table;
use crate::sys::clock::Clock;
use crate::sys::files::RealFiles;
use crate::sys::{Files, outside};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// The command.
pub const COMMAND: Command = Command {
    name: "incidents",
    usage: "[list [NAME]] | show ID | path ID [--since TIME] [--last N]",
    about: "what broke, and what was done: the list, one report, its folder",
    long: "`list`: one line each, the newest last: local time, unit, how often it came,
what broke, the remedy and its outcome; 20 unless told otherwise. `show` prints
an incident's report.md, `path` its folder. ID may be the beginning of an id, a
unit's name (its newest incident) or `last`.

JSON of `list`: one object a line: {id, at, unit, detector, kind, exception or
null, message, fingerprint, source, action, outcome (pending, kept, regressed,
crashed) or null, repeats {count, first, last}, path}; of `show`: the same with
{report, files []}; of `path`: {id, path}",
    flags: &[
        Flag {
            long: "since",
            short: None,
            value: Some("TIME"),
            about: "not older than this: 2026-11-21T10:00:00Z, or an age such as 90s, 10m, 2h, 3d",
        },
        Flag { long: "last", short: None, value: Some("N"), about: "at most so many, the newest" },
    ],
    words: Words::Incidents,
    effect: Effect::Reads,
    run,
};

/// Incidents listed when nothing is said.
const LAST: usize = 20;
/// How much of the index's end is read, bytes.
const INDEX_MAX: u64 = 16 << 20;
/// Longest report that is printed, bytes.
const REPORT_MAX: u64 = 4 << 20;
/// How much of the ledger's end is read, bytes.
const LEDGER_MAX: u64 = 4 << 20;

/// One incident, as it is listed.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    line: IndexLine,
    outcome: Option<String>,
    repeats: Repeats,
    path: String,
}

#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    listed: Listed,
    report: String,
    files: Vec<String>,
}

/// Where incidents are read from.
struct Shelf {
    files: RealFiles,
    root: std::path::PathBuf,
    zone: String,
    now: Wall,
}

fn run(invocation: &Invocation, out: &mut Out) -> Result<ExitCode> {
    let config = load::config(invocation)?;
    let now = Clock::new().now();
    let mut shelf = Shelf {
        files: RealFiles::new(&config.state_dir),
        root: config.state_dir.clone(),
        zone: now.zone.clone(),
        now: now.wall,
    };
    match invocation.texts()?.as_slice() {
        [] | ["list"] => list(&mut shelf, invocation, None, out),
        ["list", name] => list(&mut shelf, invocation, Some(name), out),
        ["show", id] => show(&mut shelf, invocation, id, out),
        ["path", id] => {
            let found = shelf.find(id)?;
            let path = shelf.path(&found.id);
            if invocation.json {
                out.json(&serde_json::json!({ "id": found.id, "path": path }));
            } else {
                out.line(&path);
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(Error::usage("`incidents` takes `list [NAME]`, `show ID` or `path ID`")),
    }
}

fn list(shelf: &mut Shelf, invocation: &Invocation, unit: Option<&str>, out: &mut Out) -> Result<ExitCode> {
    let since = invocation.value("since")?.map(|text| events::since(text, shelf.now)).transpose()?;
    let last = invocation.count("last")?.or(if since.is_some() { None } else { Some(LAST) });
    let mut lines = shelf.all()?;
    lines.retain(|line| {
        unit.is_none_or(|unit| line.unit == unit) && since.is_none_or(|since| line.at >= since)
    });
    let skip = lines.len().saturating_sub(last.unwrap_or(usize::MAX));
    let outcomes = shelf.outcomes();
    if lines.is_empty() && !invocation.json {
        out.line("no incidents");
    }
    for line in lines.into_iter().skip(skip) {
        let listed = shelf.listed(line, &outcomes);
        if invocation.json {
            out.json_line(&listed);
        } else {
            let line = &listed.line;
            let times =
                if listed.repeats.count > 1 { format!(" ×{}", listed.repeats.count) } else { String::new() };
            let outcome = listed.outcome.as_deref().map(|word| format!(", {word}")).unwrap_or_default();
            let action = if line.action.is_empty() { "nothing done" } else { &line.action };
            out.line(&format!(
                "{}  {}{times}  {} → {action} ({}){outcome}",
                clock(line.at, &shelf.zone),
                line.unit,
                one_line(&line.headline(), 100),
                line.source,
            ));
            out.line(&format!("    {}", line.id));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(shelf: &mut Shelf, invocation: &Invocation, id: &str, out: &mut Out) -> Result<ExitCode> {
    let found = shelf.find(id)?;
    let path = table::in_incident(&found.id, "report.md");
    let report = shelf.files.read(&path, REPORT_MAX)?.ok_or_else(|| {
        Error::new(Kind::No, format!("`{path}` is missing")).hint("the folder's other files may tell more")
    })?;
    let report =
        readable(&String::from_utf8_lossy(&report), usize::try_from(REPORT_MAX).unwrap_or(usize::MAX));
    if !invocation.json {
        out.text(&report);
        return Ok(ExitCode::SUCCESS);
    }
    let outcomes = shelf.outcomes();
    let files = shelf.names(&found.id);
    out.json(&Whole { listed: shelf.listed(found, &outcomes), report, files });
    Ok(ExitCode::SUCCESS)
}

impl Shelf {
    fn path(&self, id: &str) -> String {
        outside::canonical(&self.root).join("incidents").join(id).to_string_lossy().into_owned()
    }

    /// All incidents whose folders are there, oldest first: as the index has them, else as their own folder tells.
    fn all(&mut self) -> Result<Vec<IndexLine>> {
        let names = self.files.list("incidents")?;
        let bytes = self.files.tail(table::INCIDENTS_INDEX, INDEX_MAX).unwrap_or_default();
        let mut known: BTreeMap<String, IndexLine> =
            read_index(&bytes).into_iter().map(|line| (line.id.clone(), line)).collect();
        let mut lines: Vec<IndexLine> = names
            .into_iter()
            .filter(|name| is_id(name))
            .map(|id| known.remove(&id).unwrap_or_else(|| self.by_folder(id)))
            .collect();
        lines.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.id.cmp(&b.id)));
        Ok(lines)
    }

    /// What a folder that is not in the index says of itself: at least its name, which begins with its time.
    fn by_folder(&mut self, id: String) -> IndexLine {
        let bytes = self.files.read(&table::in_incident(&id, "match.json"), REPORT_MAX).ok().flatten();
        let told = bytes.and_then(|bytes| serde_json::from_slice::<IndexLine>(&bytes).ok());
        told.filter(|line| line.id == id).unwrap_or_else(|| {
            let time = id.get(..20).map(|time| {
                let (day, clock) = time.split_at(11);
                format!("{day}{}", clock.replace('-', ":"))
            });
            let at = time.and_then(|time| Wall::parse(&time)).unwrap_or_default();
            IndexLine { at, message: "its match.json can't be read".to_owned(), id, ..IndexLine::default() }
        })
    }

    /// The incident that a person means.
    fn find(&mut self, word: &str) -> Result<IndexLine> {
        let mut all = self.all()?;
        let no =
            |text: String| Error::new(Kind::No, text).hint("`watchkeeper incidents list` shows their ids");
        if word == "last"
            && let Some(newest) = all.pop()
        {
            return Ok(newest);
        }
        if let Some(at) = all.iter().position(|line| line.id == word) {
            return Ok(all.swap_remove(at));
        }
        if let Some(at) = all.iter().rposition(|line| line.unit == word) {
            return Ok(all.swap_remove(at));
        }
        let mut begin: Vec<IndexLine> = all.into_iter().filter(|line| line.id.starts_with(word)).collect();
        match (begin.pop(), begin.len()) {
            (Some(only), 0) => Ok(only),
            (Some(_), more) => {
                Err(no(format!("`{}` begins the ids of {} incidents", shown(word.as_ref()), more + 1)))
            }
            (None, _) => Err(no(format!("no incident is called `{}`", shown(word.as_ref())))),
        }
    }

    /// The last outcome of each incident's attempts.
    fn outcomes(&mut self) -> BTreeMap<String, String> {
        let bytes = self.files.tail(table::ATTEMPTS, LEDGER_MAX).unwrap_or_default();
        let part = if (bytes.len() as u64) < LEDGER_MAX { Part::Whole } else { Part::End };
        let told = Ledger::read(&bytes, part).attempts().into_iter();
        told.map(|told| (told.row.incident, told.row.status.word().to_owned())).collect()
    }

    fn listed(&mut self, line: IndexLine, outcomes: &BTreeMap<String, String>) -> Listed {
        let bytes = self.files.read(&table::in_incident(&line.id, "repeats.json"), REPORT_MAX).ok().flatten();
        let repeats = bytes
            .and_then(|bytes| serde_json::from_slice::<Repeats>(&bytes).ok())
            .unwrap_or(Repeats { count: 1, first: line.at, last: line.at });
        Listed { outcome: outcomes.get(&line.id).cloned(), repeats, path: self.path(&line.id), line }
    }

    /// Files of a folder, two levels deep, as incidents have them.
    fn names(&mut self, id: &str) -> Vec<String> {
        let mut names = Vec::new();
        for name in self.files.list(&format!("incidents/{id}")).unwrap_or_default() {
            match self.files.list(&table::in_incident(id, &name)) {
                Ok(inner) => names.extend(inner.into_iter().map(|file| format!("{name}/{file}"))),
                Err(_) => names.push(name),
            }
        }
        names
    }
}

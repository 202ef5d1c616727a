//! Ledger rows, and the notes that come to a folder after it was written: the healing agent's answer and edits.

use super::{PAGE_MAX, edit};
use crate::base::text::digest;
use crate::base::time::Now;
use crate::detect::incident::IndexLine;
use crate::detect::incident::readable;
use crate::detect::incident::report::{self, Tried};
use crate::detect::secrets::{self, Secrets};
use crate::model::incident::FixNote;
use crate::state::attempts::{Attempt, Ledger, Part, header};
use crate::state::incident::IncidentState;
use crate::state::table;
use crate::sys::Files;
use serde_json::json;
use std::collections::BTreeSet;

/// So much of the ledger's end tells whether an owed row is in it, bytes.
const LEDGER_TAIL: u64 = 256 << 10;
/// Longest answer or diff that is written, bytes.
const TEXT_MAX: usize = 256 << 10;

/// The ledger's end. One that can't be read may have any row.
fn ledger<F: Files>(files: &mut F) -> Result<Ledger, String> {
    let bytes = files.tail(table::ATTEMPTS, LEDGER_TAIL);
    let bytes = bytes.map_err(|error| format!("{}: {}", table::ATTEMPTS, error.message()))?;
    let part = if (bytes.len() as u64) < LEDGER_TAIL { Part::Whole } else { Part::End };
    Ok(Ledger::read(&bytes, part))
}

/// Keys of the rows at the ledger's end.
pub(super) fn keys<F: Files>(files: &mut F) -> Result<BTreeSet<String>, String> {
    Ok(ledger(files)?.lines.iter().map(Attempt::key).collect())
}

/// Is the note in its folder?
pub(super) fn is_written<F: Files>(files: &mut F, note: &FixNote) -> Result<bool, String> {
    let path = table::in_incident(&note.incident, "fix/action.json");
    let bytes = files.read(&path, PAGE_MAX).map_err(|error| error.message())?.unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(value["note"] == json!(digest_of(note)))
}

/// What tells a note from an earlier one about the same attempt.
fn digest_of(note: &FixNote) -> String {
    digest(serde_json::to_string(note).unwrap_or_default().as_bytes())
}

/// Writes the rows and notes that are owed.
pub(super) fn write<F: Files>(
    files: &mut F,
    state: &IncidentState,
    secrets: &Secrets,
    now: &Now,
) -> Vec<String> {
    let mut errors = Vec::new();
    if !state.rows.is_empty() {
        errors.extend(rows(files, &state.rows, secrets, now).err());
    }
    for note in &state.fixes {
        if let Err(why) = fix(files, note, secrets) {
            errors.push(format!("incident {}: {why}", note.incident));
        }
    }
    errors
}

fn rows<F: Files>(files: &mut F, owed: &[Attempt], secrets: &Secrets, now: &Now) -> Result<(), String> {
    let mut ledger = ledger(files)?;
    let has: BTreeSet<String> = ledger.lines.iter().map(Attempt::key).collect();
    // Before anything is shortened: half of a secret would not be known as one.
    let masked = |row: &Attempt| Attempt { description: secrets.mask(&row.description), ..row.clone() };
    let missing: Vec<Attempt> = owed.iter().filter(|row| !has.contains(&row.key())).map(masked).collect();
    ledger.lines.extend(missing.iter().cloned());
    // The pages first: as long as a row is missing, both are done again.
    let incidents: BTreeSet<&str> = missing
        .iter()
        .map(|row| row.incident.as_str())
        .filter(|id| crate::model::incident::is_id(id))
        .collect();
    for id in incidents {
        let of: Vec<Tried> =
            ledger.attempts().into_iter().filter(|told| told.row.incident == id).map(tried).collect();
        let path = table::in_incident(id, "report.md");
        if files.stamp(&path).is_some() {
            edit(files, &path, |page| report::with_attempts(page, &of, &now.zone))?;
        }
    }
    for row in &missing {
        let append = |files: &mut F, line: &str| {
            files
                .append(table::ATTEMPTS, line)
                .map_err(|error| format!("{}: {}", table::ATTEMPTS, error.message()))
        };
        // Whoever made the file may have been killed before its first line.
        if files.tail(table::ATTEMPTS, 1).is_ok_and(|end| end.is_empty()) {
            append(files, &header())?;
        }
        append(files, &secrets.mask(&row.line()).replace('\n', " "))?;
    }
    Ok(())
}

fn tried(told: crate::state::attempts::Told) -> Tried {
    Tried {
        at: told.began,
        action: told.row.action,
        source: told.row.source,
        status: told.row.status.word().to_owned(),
        description: told.row.description,
        branch: told.row.branch,
    }
}

/// The answer, the diff, and last the action, which says that all of it is there.
fn fix<F: Files>(files: &mut F, note: &FixNote, secrets: &Secrets) -> Result<(), String> {
    let place = |file: &str| table::in_incident(&note.incident, file);
    if !crate::model::incident::is_id(&note.incident) || files.stamp(&place("report.md")).is_none() {
        return Ok(());
    }
    if is_written(files, note)? {
        return Ok(());
    }
    for (file, text) in [("fix/response.md", &note.response), ("fix/diff.patch", &note.patch)] {
        if !text.is_empty() {
            // Tabs and carriage returns belong to a diff: only what a terminal would obey goes.
            let plain = if file.ends_with(".md") { readable(text, TEXT_MAX) } else { without_escapes(text) };
            edit(files, &place(file), |_| Some(secrets.mask(&plain)))?;
        }
    }
    let action = json!({
        "v": 1,
        "attempt": note.attempt,
        "note": digest_of(note),
        "action": note.remedy.action,
        "source": note.remedy.source,
        "set": note.remedy.set,
        "argv": secrets::argv(&note.remedy.argv),
        "why": note.remedy.why,
        "branch": note.branch,
        "trouble": note.trouble,
    });
    decided(files, note)?;
    let text = secrets.mask(&format!("{}\n", serde_json::to_string_pretty(&action).unwrap_or_default()));
    edit(files, &place("fix/action.json"), |_| Some(text.clone()))
}

/// The index says what was decided, too, where that was not known when the folder was written.
fn decided<F: Files>(files: &mut F, note: &FixNote) -> Result<(), String> {
    let is_it = |line: &IndexLine| line.id == note.incident && line.action.is_empty();
    if note.remedy.action.is_empty() || !super::index(files)?.iter().any(is_it) {
        return Ok(());
    }
    let of_note = |text: &str| -> Option<String> {
        let mut line = serde_json::from_str::<IndexLine>(text).ok().filter(is_it)?;
        line.action.clone_from(&note.remedy.action);
        note.remedy.source.word().clone_into(&mut line.source);
        serde_json::to_string(&line).ok()
    };
    edit(files, table::INCIDENTS_INDEX, |text| {
        let lines = text.lines().map(|line| of_note(line).unwrap_or_else(|| line.to_owned()));
        Some(lines.map(|line| line + "\n").collect())
    })
}

fn without_escapes(text: &str) -> String {
    let plain = |c: &char| !c.is_control() || matches!(c, '\n' | '\t' | '\r');
    text.chars().filter(plain).take(TEXT_MAX).collect()
}

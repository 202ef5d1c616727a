//! `init --from autosentry.yaml`: another watchdog's configuration taken over.

use super::{Found, next_for_a_process, print_files, print_next, process, write};
use crate::base::error::{Error, Result};
use crate::cli::setup::stack::unit_name;
use crate::cli::setup::takeover::{self, Note, World};
use crate::cli::setup::yaml;
use crate::cli::{Invocation, Out};
use crate::sys::outside;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Serialize)]
struct Report {
    from: String,
    dir: String,
    processes: Vec<String>,
    notes: Vec<Note>,
    files: Vec<Found>,
    next: Vec<String>,
}

pub(super) fn run(
    invocation: &Invocation,
    file: &Path,
    dir: Option<&str>,
    out: &mut Out,
) -> Result<ExitCode> {
    let said = |error: Error| Error::usage(error.message()).doing("reading the configuration to take over");
    let text = outside::read_text(file, yaml::BYTES_MAX as u64).map_err(said)?;
    let document = yaml::read(&text).map_err(|error| said(error.at(file)))?;
    let root = project(file);
    let dir = dir.map_or_else(|| root.display().to_string(), str::to_owned);
    let name = unit_name(&process::folder_name(&root)).unwrap_or_else(|| "main".to_owned());
    let from = file.display().to_string();
    let world = World { env: &outside::env, name: &name, from: &from };
    let taken = takeover::take_over(&document, &world).map_err(|error| said(error.at(file)))?;
    let files = vec![write(&dir, "agents.toml", &taken.text, 0o644)?];
    let next = next_for_a_process(&dir);
    let report = Report { from, dir, processes: taken.processes, notes: taken.notes, files, next };
    let kept = report.files.iter().any(|file| file.found == "kept");
    if invocation.json {
        out.json(&report);
    } else {
        print(&report, outside::canonical(Path::new(&report.dir)) != outside::canonical(&root), out);
    }
    Ok(ExitCode::from(u8::from(kept)))
}

/// The folder that the old file's paths were relative to: its own, or the one around `.autosentry`.
fn project(file: &Path) -> PathBuf {
    let full = outside::canonical(file);
    let inside = full.parent().is_some_and(|dir| dir.file_name().is_some_and(|name| name == ".autosentry"));
    // As the person wrote it, where that says it.
    let parent = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match inside {
        false => parent.to_owned(),
        true => {
            match parent.parent().filter(|_| parent.file_name().is_some_and(|name| name == ".autosentry")) {
                Some(dir) if dir.as_os_str().is_empty() => PathBuf::from("."),
                Some(dir) => dir.to_owned(),
                None => full.parent().and_then(Path::parent).unwrap_or(Path::new(".")).to_owned(),
            }
        }
    }
}

fn print(report: &Report, moved: bool, out: &mut Out) {
    let names = report.processes.join(", ");
    let count = report.processes.len();
    let noun = if count == 1 { "process" } else { "processes" };
    out.line(&format!("{}: {count} {noun}: {names}", report.from));
    print_files(&report.dir, &report.files, out);
    if moved {
        out.line("its relative paths are now relative to that folder: look at `cwd`, `config_snapshots` and `command`");
    }
    if !report.notes.is_empty() {
        out.line("\nWhat did not come through as it was:");
        for note in &report.notes {
            out.line(&format!("  {} ({}): {}", note.key, note.what.word(), note.text));
        }
    }
    print_next(&report.next, out);
}

//! `init process`: an agents.toml for what a folder holds.

use super::{Found, next_for_a_process, print_files, print_next, write};
use crate::base::error::{Error, Result};
use crate::cli::setup::stack::{self, Look};
use crate::cli::setup::{notes, propose};
use crate::cli::{Invocation, Out};
use crate::sys::outside;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// Most names of a folder that are looked at.
const NAMES_MAX: usize = 10_000;
/// Largest file that is looked into, bytes.
const FILE_MAX: u64 = 1 << 20;

#[derive(Debug, Serialize)]
struct Proposed {
    dir: String,
    found: Vec<FoundRow>,
    files: Vec<Found>,
    next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct FoundRow {
    stack: &'static str,
    evidence: String,
    name: String,
    command: Vec<String>,
}

pub(super) fn run(invocation: &Invocation, dir: Option<&str>, out: &mut Out) -> Result<ExitCode> {
    let dir = dir.unwrap_or(".");
    let root = Path::new(dir);
    let found = look(dir)?;
    let is_file = |path: &str| outside::is_file(&root.join(path));
    let text = propose::agents_toml(&folder_name(root), &found, &propose::snapshots(&is_file));
    let mut files = vec![write(dir, "agents.toml", &text, 0o644)?];
    if invocation.has("for-agent") {
        files.push(write(dir, "AGENT_NOTES.md", notes::RUNBOOK, 0o644)?);
    }
    let rows = found.into_iter().map(|found| FoundRow {
        stack: found.stack.word(),
        evidence: found.evidence,
        name: found.name,
        command: found.command,
    });
    let proposed =
        Proposed { dir: dir.to_owned(), found: rows.collect(), files, next: next_for_a_process(dir) };
    let kept = proposed.files.iter().any(|file| file.found == "kept");
    if invocation.json {
        out.json(&proposed);
    } else {
        print(&proposed, out);
    }
    Ok(ExitCode::from(u8::from(kept)))
}

fn print(proposed: &Proposed, out: &mut Out) {
    match proposed.found.first() {
        Some(found) => {
            let (stack, evidence) = (found.stack, &found.evidence);
            out.line(&format!("{stack} ({evidence}): `{}` runs {}", found.name, found.command.join(" ")));
        }
        None => out.line("nothing that I know is in this folder: put your command into agents.toml"),
    }
    if print_files(&proposed.dir, &proposed.files, out)
        && proposed.files.first().is_some_and(|f| f.found == "kept")
    {
        out.line("`watchkeeper init --upgrade` compares a config with today's defaults");
    }
    let root = Path::new(&proposed.dir);
    let ignored = outside::read_text(&root.join(".gitignore"), FILE_MAX).unwrap_or_default();
    if crate::sys::env::exists(&root.join(".git")) && !ignored.contains(".watchkeeper") {
        out.line("put `.watchkeeper/` into .gitignore: what is remembered is no part of the project");
    }
    print_next(&proposed.next, out);
}

/// The first thing that a folder holds, for people.
pub(super) fn first_in(dir: &str) -> Option<String> {
    let found = look(dir).ok()?.into_iter().next()?;
    Some(format!("a {} project ({})", found.stack.word(), found.evidence))
}

fn look(dir: &str) -> Result<Vec<stack::Found>> {
    let root = Path::new(dir);
    if crate::sys::env::folder(root).is_none() {
        return Err(Error::usage("there is no such folder").at(root));
    }
    let names = outside::names(root, NAMES_MAX)?;
    let read = |path: &str| outside::read_text(&root.join(path), FILE_MAX).ok();
    let list = |path: &str| outside::names(&root.join(path), NAMES_MAX).unwrap_or_default();
    Ok(stack::detect(&Look { folder: &folder_name(root), names: &names, list: &list, read: &read }))
}

/// The folder's own name, also of `.`.
pub(super) fn folder_name(root: &Path) -> String {
    let full = outside::canonical(root);
    full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

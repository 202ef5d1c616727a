//! `init --upgrade [KEY…]`: the config against today's defaults.

use crate::base::error::{Error, Result};
use crate::base::text::counted;
use crate::cli::setup::upgrade::{self, Row, State};
use crate::cli::{Invocation, Out};
use crate::config;
use crate::sys::outside;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Debug, Serialize)]
struct Report {
    config: String,
    keys: Vec<Row>,
    set: Vec<String>,
}

pub(super) fn run(invocation: &Invocation, keys: &[&str], out: &mut Out) -> Result<ExitCode> {
    let home = invocation.home()?;
    let text = outside::read_text(&home.config_path, config::TEXT_LENGTH_MAX as u64)
        .map_err(|error| Error::usage(error.message()).doing("reading the config"))?;
    let (now, set) = upgrade::set(&text, keys)?;
    if now != text {
        outside::replace_text(&home.config_path, &text, &now)?;
    }
    let set: Vec<Row> = set;
    let report = Report {
        config: home.shown_path.clone(),
        keys: upgrade::compare(&now)?,
        set: set.iter().map(|row| row.key.clone()).collect(),
    };
    if invocation.json {
        out.json(&report);
        return Ok(ExitCode::SUCCESS);
    }
    for row in &set {
        let was = row.yours.as_ref().map(|was| format!(", was {was}")).unwrap_or_default();
        out.line(&format!("{} = {}{was}", row.key, row.default));
    }
    if set.is_empty() {
        print(&report, out);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, out: &mut Out) {
    let of = |state: State| -> Vec<&Row> { report.keys.iter().filter(|row| row.state == state).collect() };
    let (differs, new) = (of(State::Differs), of(State::New));
    let name = &report.config;
    out.line(&format!(
        "{name}: {} as today's defaults are not, {} not written",
        counted(differs.len(), "key"),
        new.len()
    ));
    if !differs.is_empty() {
        out.line("\nYours, and today's default:");
    }
    let width = report.keys.iter().map(|row| row.key.chars().count()).max().unwrap_or(0);
    for row in differs {
        let yours = row.yours.as_deref().unwrap_or_default();
        out.line(&format!("  {:<width$}  {yours} → {}{}", row.key, row.default, about(row)));
    }
    if !new.is_empty() {
        out.line("\nNot written, so the default is in force:");
    }
    for row in new {
        out.line(&format!("  {:<width$}  {}{}", row.key, row.default, about(row)));
    }
    if !report.keys.is_empty() {
        out.line("\n`watchkeeper init --upgrade KEY…` writes the defaults of these keys, and nothing else.");
    }
}

fn about(row: &Row) -> String {
    if row.about.is_empty() { String::new() } else { format!("   # {}", row.about) }
}

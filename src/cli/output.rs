//! A process's own output as lines for people and `grep`: control bytes out, secrets masked, nothing added.
//!
//! Deliberately not here: transcripts of agents, which have roles and tools (`log`).

use crate::cli::{Invocation, Out};
use crate::config::{Config, ProcessHost, Unit};
use crate::detect::transcript::verbatim;
use crate::sys::outside;
use crate::sys::transcript_files::Lines;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Longest line that is shown, bytes.
const LINE_MAX: usize = 256 << 10;
/// Lines before following, when nothing is said.
const LAST: usize = 20;
/// Between two looks at the file, seconds.
const LOOK_S: f64 = 0.25;

/// Where the unit's output is, when it is a process that has one.
pub fn of(config: &Config, unit: &Unit) -> Option<PathBuf> {
    match &unit.process()?.host {
        ProcessHost::Attach { log, .. } => log.clone(),
        ProcessHost::Local | ProcessHost::Slurm { .. } | ProcessHost::Docker { .. } => {
            Some(config.state_dir.join("units").join(unit.name.as_str()).join("out.log"))
        }
    }
}

/// Prints what is there, or the newest of it, and with `--follow` what comes. False: there is no such file yet.
pub fn print(path: &Path, last: Option<usize>, invocation: &Invocation, out: &mut Out) -> bool {
    let follows = invocation.has("follow");
    let last = last.or(follows.then_some(LAST));
    let mut lines = Lines::new(path);
    let mut kept: VecDeque<Vec<u8>> = VecDeque::new();
    loop {
        let Some(mut more) = lines.more(LINE_MAX) else { return false };
        let end = more.is_empty();
        if end && !follows {
            more.extend(Some(lines.rest(LINE_MAX)).filter(|rest| !rest.is_empty()));
        }
        for line in more {
            match last {
                None => print_line(&line, invocation, out),
                Some(last) => {
                    kept.push_back(line);
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
    kept.iter().for_each(|line| print_line(line, invocation, out));
    while follows && out.broken().is_none() {
        outside::nap(LOOK_S);
        for line in lines.more(LINE_MAX).unwrap_or_default() {
            print_line(&line, invocation, out);
        }
    }
    true
}

fn print_line(line: &[u8], invocation: &Invocation, out: &mut Out) {
    let text = verbatim(&String::from_utf8_lossy(line));
    if text.is_empty() {
        return;
    }
    if invocation.json { out.json_line(&serde_json::json!({ "text": text })) } else { out.line(&text) }
}

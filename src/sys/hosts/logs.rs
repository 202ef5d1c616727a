//! Brings a container's output into the unit's log: a process of its own reads `ENGINE logs -f` and appends. The engine
//! keeps the output, so one that was killed begins anew and leaves out as many bytes as it had written: no line is lost,
//! none comes twice. Its place is the log's length; nothing else has to be remembered.
//!
//! Lines come with the engine's time in front, which is taken off again: what has none is a complaint of the engine's client.
//!
//! Deliberately not here: judging the output.

use super::records;
use super::remote::Remotes;
use super::{front, shim};
use crate::base::error::{Error, Result};
use crate::base::time::Wall;
use crate::model::process::RunSeen;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// The word before the unit's folder on our own command line.
pub const LOGS_WORD: &str = "logs";
/// What is being fetched.
const RECORD: &str = "logs.json";
/// Longest piece of a line held at once, bytes.
const PIECE_MAX: u64 = 64 << 10;
/// After its end a run's last output is tried for so often.
const TRIES_MAX: u32 = 3;

/// `logs.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    v: u64,
    /// Number of the run.
    number: u64,
    engine: String,
    /// The container.
    name: String,
    /// Where its output begins, a place in the log.
    from: u64,
    /// All of it was fetched.
    done: bool,
    /// Tries since something came.
    tries: u32,
}

/// Sees to it that the output is fetched. An end is not told before its last output is there.
pub fn fetched(
    remotes: &mut Remotes,
    state_dir: &Path,
    unit: &str,
    number: u64,
    engine: &str,
    name: &str,
    seen: RunSeen,
) -> RunSeen {
    let is_over = match &seen {
        RunSeen::Alive { .. } => false,
        RunSeen::Ended { .. } => true,
        RunSeen::Unknown { .. } | RunSeen::Absent | RunSeen::Pending { .. } => return seen,
    };
    let dir = records::unit_dir(state_dir, unit);
    let record = records::read::<Record>(&dir, RECORD).filter(|record| record.number == number);
    if is_over && record.as_ref().is_some_and(|record| record.done || record.tries > TRIES_MAX) {
        return seen;
    }
    let started = remotes.binary().and_then(|binary| start(&binary, &dir, number, engine, name, record));
    match started {
        Ok(child) => remotes.children.extend(child),
        Err(error) if is_over => return with_note(seen, &error),
        Err(_) => return seen,
    }
    match is_over {
        true => RunSeen::Unknown { why: "its last output is being fetched".to_owned() },
        false => seen,
    }
}

fn with_note(seen: RunSeen, error: &Error) -> RunSeen {
    match seen {
        RunSeen::Ended { id, exit, out_of_memory, at, note: None } => {
            let note = Some(format!("its last output could not be fetched: {}", error.message()));
            RunSeen::Ended { id, exit, out_of_memory, at, note }
        }
        other @ (RunSeen::Ended { .. }
        | RunSeen::Alive { .. }
        | RunSeen::Unknown { .. }
        | RunSeen::Absent
        | RunSeen::Pending { .. }) => other,
    }
}

/// Starts who fetches; None when one is at it.
fn start(
    binary: &Path,
    dir: &Path,
    number: u64,
    engine: &str,
    name: &str,
    record: Option<Record>,
) -> Result<Option<std::process::Child>> {
    crate::sys::files::make_dir(dir)?;
    let folder = records::open_folder(dir)?;
    if !records::try_lock(&folder)? {
        return Ok(None);
    }
    let begin = || Record { v: 1, number, from: front::end(dir), ..Record::default() };
    let record = record.unwrap_or_else(begin);
    let tries = record.tries.saturating_add(1);
    let (engine, name) = (engine.to_owned(), name.to_owned());
    records::write(dir, RECORD, &Record { engine, name, tries, done: false, ..record })?;
    let child = Command::new(binary)
        .args(["shim".as_ref(), LOGS_WORD.as_ref(), dir.as_os_str()])
        .stdin(Stdio::from(folder))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Some(child))
}

/// Fetches until there is no more. Standard input is the unit's folder, locked.
pub fn run(dir: &Path) -> Result<()> {
    let _ = rustix::process::setsid();
    let _lock = shim::lock_of_stdin(dir)?;
    let record: Record =
        records::read(dir, RECORD).ok_or_else(|| Error::again("nothing is to be fetched").at(dir))?;
    let mut log = shim::open_log(dir)?;
    let mut skip = front::end(dir).saturating_sub(record.from);
    let (reader, writer) = std::io::pipe()?;
    let mut child = Command::new(&record.engine)
        .args(["logs", "-f", "--timestamps", &record.name])
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    let mut came = false;
    let copied = copy(reader, &mut |bytes| {
        let left_out = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
        skip -= left_out as u64;
        came |= left_out < bytes.len();
        log.write_all(&bytes[left_out..])
    });
    if copied.is_err() {
        let _ = child.kill();
    }
    let ended = child.wait()?;
    copied?;
    let tries = if came { 0 } else { record.tries };
    records::write(dir, RECORD, &Record { done: ended.success(), tries, ..record })?;
    if let Some(state_dir) = dir.parent().and_then(Path::parent) {
        let _ = crate::sys::files::write_plain(&state_dir.join(crate::state::table::POKE), b"");
    }
    Ok(())
}

/// Hands on what containers wrote, without the engine's times, whatever its length.
fn copy(from: impl Read, to: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut from = BufReader::with_capacity(64 << 10, from);
    let mut piece = Vec::new();
    // None at the beginning of a line; else whether it is the container's.
    let mut line: Option<bool> = None;
    loop {
        piece.clear();
        if from.by_ref().take(PIECE_MAX).read_until(b'\n', &mut piece)? == 0 {
            return Ok(());
        }
        let text = match line {
            None => without_time(&piece),
            Some(true) => Some(piece.as_slice()),
            Some(false) => None,
        };
        if let Some(text) = text {
            to(text)?;
        }
        line = if piece.ends_with(b"\n") { None } else { Some(text.is_some()) };
    }
}

/// The line behind its time; None when it has none.
fn without_time(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().take(64).position(|byte| *byte == b' ')?;
    let time = std::str::from_utf8(&line[..end]).ok()?;
    Wall::parse(time)?;
    line.get(end + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], want: &[u8]) {
        let mut found = Vec::new();
        copy(input, &mut |bytes| {
            found.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(want));
    }

    #[test]
    fn times_are_taken_off_and_complaints_left_out() {
        check(b"2026-11-21T17:51:43.855507058Z out\n2026-11-21T18:51:43+01:00 \n", b"out\n\n");
        check(b"Error: no such container\n2026-11-21T17:51:43Z a b\nunexpected EOF\n", b"a b\n");
        check(b"2026-11-21T17:51:43Z \xff\0\n2026-11-21T17:51:43Z no end", b"\xff\0\nno end");
        let long = [b"2026-11-21T17:51:43Z ".as_slice(), &vec![b'x'; 300_000], b"\n"].concat();
        check(&long, &long[21..]);
        check(&vec![b'x'; 300_000], b"");
        check(b"", b"");
    }
}

//! The transcript: one JSON line per event, each appended with a single write. It is the judge of whether a prompt
//! arrived exactly once, so nothing here repeats or repairs anything.

use crate::base::time::Wall;
use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The open transcript, or none.
#[derive(Debug, Default)]
pub struct Transcript {
    file: Option<File>,
    /// Events so far, over all runs: an event's `id` is its place in the file, from 1.
    events: u64,
    /// Earlier runs in the file.
    runs: usize,
}

impl Transcript {
    /// Opens the file for appending; its folder is made when missing. Earlier runs stay in it.
    pub fn open(path: Option<&Path>) -> io::Result<Transcript> {
        let Some(path) = path else { return Ok(Transcript::default()) };
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
        let (mut events, mut runs) = (0, 0);
        for line in BufReader::new(&file).split(b'\n') {
            events += 1;
            runs += usize::from(line?.starts_with(br#"{"type":"start""#));
        }
        Ok(Transcript { file: Some(file), events, runs })
    }

    /// How many runs are in the file that began before this one.
    pub fn earlier_runs(&self) -> usize {
        self.runs
    }

    /// This run, `session`, began in `cwd`.
    pub fn start(&mut self, args: &[String], session: &str, cwd: &Path) -> io::Result<()> {
        let cwd = cwd.to_string_lossy().into_owned();
        let pid = std::process::id();
        self.append(
            "start",
            &[("session", session.into()), ("cwd", cwd.into()), ("args", args.into()), ("pid", pid.into())],
        )
    }

    /// Something was said: `kind` is `user`, `assistant` or `error`.
    pub fn said(&mut self, kind: &str, text: &str) -> io::Result<()> {
        self.append(kind, &[("text", text.into())])
    }

    /// A tool call (`tool_call`) or its end (`tool_result`).
    pub fn tool(&mut self, kind: &str, name: &str) -> io::Result<()> {
        self.append(kind, &[("name", name.into())])
    }

    /// What a turn cost, tokens.
    pub fn usage(&mut self, input: u64, output: u64) -> io::Result<()> {
        self.append("usage", &[("input", input.into()), ("output", output.into())])
    }

    fn append(&mut self, kind: &str, fields: &[(&str, Value)]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        self.events += 1;
        let mut event = Map::new();
        event.insert("type".into(), kind.into());
        event.insert("at".into(), wall_now().to_string().into());
        for (key, value) in fields {
            event.insert((*key).into(), value.clone());
        }
        event.insert("id".into(), self.events.into());
        let mut line = Value::Object(event).to_string();
        line.push('\n');
        file.write_all(line.as_bytes())
    }
}

/// The wall clock.
pub fn wall_now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_over_all_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/t.jsonl");
        for run in 0..2 {
            let mut transcript = Transcript::open(Some(&path)).unwrap();
            assert_eq!(transcript.earlier_runs(), run);
            transcript.start(&["a".into()], "1-2", "/w".as_ref()).unwrap();
            transcript.said("user", "one\ntwo \"three\"").unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.iter().map(|e| e["id"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(events[3]["text"], "one\ntwo \"three\"");
        assert_eq!(events[2]["pid"], std::process::id());
        assert_eq!((&events[2]["session"], &events[2]["cwd"]), (&"1-2".into(), &"/w".into()));
    }

    #[test]
    fn without_a_file_nothing_is_kept() {
        let mut transcript = Transcript::open(None).unwrap();
        transcript.said("user", "x").unwrap();
        assert_eq!(transcript.earlier_runs(), 0);
    }
}

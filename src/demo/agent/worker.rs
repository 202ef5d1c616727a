//! The worker: a program that does a demo agent's work. It gets the prompt on standard input, in the agent's folder and
//! environment; what it prints is the agent's answer, its end the end of the turn.
//!
//! Deliberately not here: what any worker does. Its input and output are files without a name, not pipes: neither a prompt
//! of any length nor a grandchild that holds on to the output can make the agent wait.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Lines of one turn that are shown.
const LINES_MAX: usize = 200;
/// Longest line shown, bytes.
const LINE_MAX: usize = 400;
/// Most that is read of one turn's output, bytes.
const OUTPUT_MAX: u64 = 1 << 20;
/// One read, bytes.
const READ: usize = 16 << 10;
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_millis(500);

/// Runs `$1` in a process group of its own, and ends that group when the agent, `$2`, is gone: also an agent that was killed
/// leaves no worker behind, even one that nobody has waited for yet (`Z`).
const GUARD: &str = r#"
exec 3<&0
"$1" <&3 3<&- & worker=$!
exec 3<&-
(while kill -0 "$2" && ! grep -qs ') Z ' "/proc/$2/stat"; do sleep 0.2; done; kill -KILL 0) 2>/dev/null & guard=$!
wait "$worker"; status=$?
kill "$guard" 2>/dev/null
exit "$status"
"#;

/// A worker at its turn. Dropping it ends it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    end: Option<ExitStatus>,
    output: File,
    /// Bytes of the output that were read.
    read: u64,
    /// The beginning of a line that has no end yet.
    line: Vec<u8>,
    /// Lines that were shown.
    shown: usize,
}

/// How a worker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    Running,
    /// It ended; how, where that is worth a word.
    Ended(Option<String>),
}

impl Worker {
    /// Starts the program with this prompt.
    pub fn start(program: &str, prompt: &str) -> io::Result<Worker> {
        let mut input = tempfile::tempfile()?;
        input.write_all(prompt.as_bytes())?;
        input.rewind()?;
        let output = tempfile::tempfile()?;
        let child = Command::new("sh")
            .args(["-c", GUARD, "sh", program, &std::process::id().to_string()])
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .process_group(0)
            .spawn()?;
        Ok(Worker { child, end: None, output, read: 0, line: Vec::new(), shown: 0 })
    }

    /// The lines that it printed since the last look, and whether it still runs.
    pub fn look(&mut self) -> (Vec<String>, Stands) {
        // The end first: what it printed before that is there to be read.
        let ended = match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => {
                self.end = Some(status);
                Some(how(status))
            }
            Err(error) => Some(Some(format!("the worker is lost: {error}"))),
        };
        let mut lines = self.read_lines();
        let Some(how) = ended else { return (lines, Stands::Running) };
        if !self.line.is_empty() {
            self.take_line(&mut lines);
        }
        if self.shown > LINES_MAX {
            lines.push(format!("… and {} more lines", self.shown - LINES_MAX));
        }
        if self.shown == 0 && how.is_none() {
            lines.push("the worker had nothing to say".to_owned());
        }
        (lines, Stands::Ended(how))
    }

    fn read_lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut bytes = [0; READ];
        while self.read < OUTPUT_MAX {
            let Ok(count @ 1..) = self.output.read_at(&mut bytes, self.read) else { break };
            self.read += count as u64;
            for byte in &bytes[..count] {
                if *byte == b'\n' {
                    self.take_line(&mut lines);
                } else if self.line.len() < LINE_MAX {
                    self.line.push(*byte);
                }
            }
        }
        lines
    }

    /// An empty line would be no line of an answer.
    fn take_line(&mut self, lines: &mut Vec<String>) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        self.shown += 1;
        if self.shown <= LINES_MAX {
            lines.push(line);
        }
    }

    fn send(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.end.is_some() {
            return;
        }
        self.send(Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.send(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// None: it went well.
fn how(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("the worker ended with exit status {code}")),
        (None, signal) => Some(format!("the worker was ended by signal {}", signal.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// All lines and the end of a worker with this script.
    fn run(script: &str, prompt: &str) -> (Vec<String>, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut worker = Worker::start(path.to_str().unwrap(), prompt).unwrap();
        let mut all = Vec::new();
        let began = Instant::now();
        loop {
            let (lines, stands) = worker.look();
            all.extend(lines);
            match stands {
                Stands::Ended(how) => return (all, how),
                Stands::Running => assert!(began.elapsed() < Duration::from_secs(60), "{all:?}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn it_gets_the_prompt_and_its_lines_are_the_answer() {
        let (lines, how) = run("cat; echo; echo error >&2; printf end", "one\ntwo\n");
        assert_eq!((lines, how), (["one", "two", "error", "end"].map(str::to_owned).to_vec(), None));
    }

    #[test]
    fn its_end_is_told_unless_it_is_a_good_one() {
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(run("exit 3", "").1, said("the worker ended with exit status 3"));
        assert_eq!(run(":", "").0, ["the worker had nothing to say"]);
        let mut worker = Worker::start("/nowhere/worker", "").unwrap();
        worker.child.wait().unwrap();
        assert_eq!(worker.look().1, Stands::Ended(said("the worker ended with exit status 127")));
    }

    #[test]
    fn what_it_shows_is_bounded() {
        let (lines, _) = run("i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done", "");
        assert_eq!((lines.len(), lines[200].as_str()), (201, "… and 100 more lines"));
        let (lines, _) = run("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo y", "");
        assert!(lines.iter().all(|line| line.len() <= LINE_MAX), "{}", lines.len());
    }
}

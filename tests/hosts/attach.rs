//! Somebody else's process: its life, its end, a pid that is another's by now, pid files of every kind.

use crate::place::{boot, until};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use watchkeeper::model::process::{RunId, RunSeen};
use watchkeeper::model::seen::{Exit, Process};
use watchkeeper::sys::hosts::attach::observe;
use watchkeeper::sys::hosts::records::handle;
use watchkeeper::sys::proc;

/// A process of the test's own; ends with the test.
struct Other(Child);

impl Other {
    fn start() -> Other {
        Other(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Kills it and leaves it a zombie.
    fn become_zombie(&self) {
        self.signal(Signal::KILL);
        until("it is a zombie", || proc::stat(self.pid()).is_some_and(|stat| stat.is_dead()));
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        assert_eq!(self.0.wait().unwrap().signal(), Some(9));
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn none() -> RunId {
    RunId::default()
}

/// The id of a living run.
#[track_caller]
fn alive(seen: RunSeen) -> RunId {
    match seen {
        RunSeen::Alive { id, process: Some(_), .. } => id,
        seen => panic!("{seen:?}"),
    }
}

/// Its exit and note.
#[track_caller]
fn ended(seen: RunSeen) -> (Option<Exit>, String) {
    match seen {
        RunSeen::Ended { exit, note, .. } => (exit, note.unwrap_or_default()),
        seen => panic!("{seen:?}"),
    }
}

#[test]
fn by_pid() {
    let mut other = Other::start();
    let look = |pid: i32, known: &RunId| observe(Some(pid), None, known, &boot());
    let pid = other.pid();
    let first = alive(look(pid, &none()));
    assert_eq!(first.number, 1);
    assert_eq!(alive(look(pid, &first)), first, "the same run at the next look");
    other.signal(Signal::STOP);
    until("it is suspended", || matches!(look(pid, &first), RunSeen::Alive { suspended: true, .. }));
    other.signal(Signal::CONT);
    other.become_zombie();
    assert_eq!(ended(look(pid, &first)), (Some(Exit::Signal(9)), String::new()));
    other.end();
    let (exit, note) = ended(look(pid, &first));
    assert_eq!(exit, None, "nobody says that it went well");
    assert!(note.contains("not known"), "{note}");
    assert_eq!(look(pid, &none()), RunSeen::Absent);
}

#[test]
fn a_pid_that_is_anothers_by_now() {
    let other = Other::start();
    let start = proc::start(other.pid()).unwrap();
    let before = Process { pid: other.pid(), start: start - 1 };
    let known = RunId { number: 1, handle: handle(before, &boot()) };
    assert_eq!(ended(observe(Some(other.pid()), None, &known, &boot())).0, None);
    let known = RunId { number: 1, handle: handle(before, "an earlier boot") };
    let (_, note) = ended(observe(Some(other.pid()), None, &known, &boot()));
    assert_eq!(note, "the machine was restarted");
}

#[test]
fn by_pid_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let look = |known: &RunId| observe(None, Some(&file), known, &boot());
    let write = |pid: i32| std::fs::write(&file, format!("{pid}\nmore\n")).unwrap();
    assert_eq!(look(&none()), RunSeen::Absent);
    let mut one = Other::start();
    write(one.pid());
    let first = alive(look(&none()));
    // The file goes while its process lives on.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(alive(look(&first)), first);
    // Whatever stands there instead: what is known to live, lives.
    for bytes in ["", "x", "0", "1", "-5", "99999999999999", "\u{0}"] {
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(alive(look(&first)), first, "{bytes:?}");
        assert!(matches!(look(&none()), RunSeen::Unknown { .. }), "{bytes:?}");
    }
    one.end();
    assert!(matches!(look(&first), RunSeen::Unknown { .. }), "half a pid file is no end");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ended(look(&first)).0, None);
    // Somebody starts it anew.
    let two = Other::start();
    write(two.pid());
    let second = alive(look(&first));
    assert_eq!(second.number, 2);
    assert_ne!(second.handle, first.handle);
    // A boot later the file names what it names.
    let old = RunId { number: 7, handle: first.handle.replace(&boot(), "an earlier boot") };
    assert_eq!(alive(look(&old)).number, 8);
}

#[test]
fn a_stale_pid_file_names_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let other = Other::start();
    std::fs::write(&file, other.pid().to_string()).unwrap();
    let written = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(written).unwrap();
    assert_eq!(observe(None, Some(&file), &none(), &boot()), RunSeen::Absent);
    let start = proc::start(other.pid()).unwrap();
    let before = Process { pid: other.pid(), start: start - 1 };
    let known = RunId { number: 1, handle: handle(before, &boot()) };
    assert_eq!(ended(observe(None, Some(&file), &known, &boot())).0, None);
}

#[test]
fn a_pid_file_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(observe(None, Some(dir.path()), &none(), &boot()), RunSeen::Unknown { .. }));
    let big = dir.path().join("big");
    std::fs::write(&big, vec![b'1'; 1 << 20]).unwrap();
    assert!(matches!(observe(None, Some(&big), &none(), &boot()), RunSeen::Unknown { .. }));
    assert_eq!(observe(None, Some(Path::new("/nonexistent/pid")), &none(), &boot()), RunSeen::Absent);
    assert_eq!(observe(None, None, &none(), &boot()), RunSeen::Absent);
}

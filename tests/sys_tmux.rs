//! The real host against a real, private tmux server: every hazard that tmux has ready for a watchdog.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use watchkeeper::base::names::UnitName;
use watchkeeper::model::action::{Action, Launch, LaunchPrompt, Outcome, Signal};
use watchkeeper::model::seen::{Exit, Process, ServerSeen};
use watchkeeper::sys::real_host::RealHost;
use watchkeeper::sys::tmux::Tmux;
use watchkeeper::sys::{Host, PaneRow};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A private server, ended with the test.
struct Lab {
    socket: String,
    dir: tempfile::TempDir,
    host: RealHost,
}

impl Lab {
    /// No server yet.
    fn absent() -> Lab {
        let socket = format!("wk-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        let host = RealHost::new(&socket, &dir.path().join("sta#{pid},te"));
        Lab { socket, dir, host }
    }

    /// A server without a user's config and with a session that is not ours.
    fn new() -> Lab {
        let lab = Lab::absent();
        lab.tmux(&["-f", "/dev/null", "new-session", "-d", "-s", "foreign", "exec sleep 1000"]);
        lab
    }

    /// tmux beside the host under test.
    #[track_caller]
    fn tmux(&self, args: &[&str]) -> String {
        let out = Command::new("tmux").args(["-u", "-L", &self.socket]).args(args).output().unwrap();
        assert!(out.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn launch(&self, name: &str, argv: &[&str]) -> Launch {
        Launch {
            unit: UnitName::new(name).unwrap(),
            session: format!("crew-{name}"),
            dir: self.dir.path().to_str().unwrap().to_owned(),
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            env: BTreeMap::new(),
            env_remove: vec![],
            prompt: None,
            phase: None,
        }
    }

    /// Starts a shell script as the unit's command and returns its pane.
    #[track_caller]
    fn start(&mut self, name: &str, script: &str) -> String {
        let launch = self.launch(name, &["/bin/sh", "-c", script]);
        self.must(&Action::NewSession { launch });
        self.row(name).pane
    }

    #[track_caller]
    fn must(&mut self, action: &Action) {
        assert_eq!(self.host.perform(action), Outcome::Done, "{action:?}");
    }

    #[track_caller]
    fn refused(&mut self, action: &Action, want: &str) {
        match self.host.perform(action) {
            Outcome::Failed { why } => assert!(why.contains(want), "{action:?}: {why}"),
            Outcome::Done => panic!("{action:?} was done"),
        }
    }

    #[track_caller]
    fn row(&mut self, name: &str) -> PaneRow {
        self.find(name).unwrap_or_else(|| panic!("no pane of {name}"))
    }

    fn find(&mut self, name: &str) -> Option<PaneRow> {
        self.host.panes().rows.into_iter().find(|r| r.unit == name)
    }

    fn screen(&mut self, pane: &str) -> String {
        self.host.capture(&[pane.to_owned()]).remove(pane).unwrap_or_default()
    }

    #[track_caller]
    fn await_screen(&mut self, pane: &str, text: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let screen = self.screen(pane);
            if screen.contains(text) {
                return screen;
            }
            assert!(Instant::now() < until, "`{text}` never came:\n{screen}");
        }
    }

    #[track_caller]
    fn await_dead(&mut self, name: &str) -> PaneRow {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let row = self.row(name);
            // tmux may notice the closed terminal before the process has quite ended.
            if row.dead && row.exit.is_some() {
                return row;
            }
            assert!(Instant::now() < until, "{row:?}");
        }
    }

    #[track_caller]
    fn assert_server_lives(&mut self) {
        assert!(matches!(self.host.panes().server, ServerSeen::Alive(_)), "{:?}", self.host.panes());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
        let folder = std::env::var("TMUX_TMPDIR").unwrap_or_else(|_| "/tmp".to_owned());
        let user = rustix::process::getuid().as_raw();
        let _ = std::fs::remove_file(format!("{folder}/tmux-{user}/{}", self.socket));
    }
}

fn keys(pane: &str, names: &[&str]) -> Action {
    Action::Keys { pane: pane.to_owned(), keys: names.iter().map(|k| (*k).to_owned()).collect() }
}

fn load(buffer: &str, text: &str) -> Action {
    Action::LoadBuffer { buffer: buffer.to_owned(), text: text.to_owned() }
}

fn paste(pane: &str, buffer: &str) -> Action {
    Action::Paste { pane: pane.to_owned(), buffer: buffer.to_owned() }
}

#[test]
fn no_server_is_absent_and_a_silent_one_is_unknown() {
    let mut lab = Lab::absent();
    assert_eq!(lab.host.panes().server, ServerSeen::Absent);
    assert_eq!(lab.host.perform(&Action::DropBuffer { buffer: "b".into() }), Outcome::Done);
    lab.refused(&load("b", "x"), "No such file or directory");
    // The first session starts the server.
    lab.start("a", "exec sleep 1000");
    let list = lab.host.panes();
    let ServerSeen::Alive(server) = &list.server else { panic!("{list:?}") };
    assert!(list.rows.len() == 1 && list.buffers.is_empty() && server.started > 0);

    let pid = rustix::process::Pid::from_raw(server.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let hung = Tmux::new(&lab.socket).deadline(Duration::from_millis(300));
    let began = Instant::now();
    let list = hung.list();
    let waited = began.elapsed();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(list.server, ServerSeen::Unknown { why: "did not answer in time".into() });
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    lab.assert_server_lives();

    lab.tmux(&["set-option", "-g", "exit-empty", "off"]);
    lab.tmux(&["kill-session", "-t", "=crew-a"]);
    let list = lab.host.panes();
    assert!(matches!(list.server, ServerSeen::Alive(_)) && list.rows.is_empty(), "{list:?}");
    lab.tmux(&["kill-server"]);
    let until = Instant::now() + Duration::from_secs(10);
    while lab.host.panes().server != ServerSeen::Absent {
        assert!(Instant::now() < until, "a stale socket is no server");
    }
}

#[test]
fn an_immediate_death_keeps_its_exit_status_and_its_stamp() {
    let mut lab = Lab::new();
    lab.start("a", "exit 3");
    let row = lab.await_dead("a");
    assert_eq!(row.exit, Some(Exit::Status(3)));
    assert_eq!(row.stamp, lab.dir.path().join("sta#{pid},te").to_str().unwrap());
    assert_eq!(row.session, "crew-a");
    lab.start("b", "kill -9 $$");
    assert_eq!(lab.await_dead("b").exit, Some(Exit::Signal(9)));
    let launch = lab.launch("c", &["no-such-program-x"]);
    lab.must(&Action::NewSession { launch });
    assert_eq!(lab.await_dead("c").exit, Some(Exit::Status(127)));
}

/// Prints its arguments, pid, folder and a few variables, then stays.
const TELLS: &str = "import os,sys,time
keys = 'A CLAUDECODE WATCHKEEPER_UNIT WATCHKEEPER_UNIT_DIR'.split()
print(repr(sys.argv[1:]), os.getpid(), os.getcwd(), {k: os.environ.get(k) for k in keys}, 'END', flush=True)
time.sleep(1000)";

#[test]
fn the_pane_process_is_the_command_itself_with_its_environment() {
    let mut lab = Lab::new();
    let hostile = [
        "x;",
        ";",
        "",
        "#{pid}",
        "$HOME",
        "~",
        "it's",
        "b\\n\\",
        "{",
        "}",
        "two\nlines",
        "ü",
        "#(touch pwned)",
    ];
    let shown = r#"['x;', ';', '', '#{pid}', '$HOME', '~', "it's", 'b\\n\\', '{', '}', 'two\nlines', 'ü', '#(touch pwned)']"#;
    lab.tmux(&["set-environment", "-g", "CLAUDECODE", "1"]);
    let dir = lab.dir.path().join("d#{pid} ü'");
    std::fs::create_dir(&dir).unwrap();
    let mut launch = lab.launch("a", &["python3", "-c", TELLS]);
    launch.argv.extend(hostile.map(str::to_owned));
    launch.dir = dir.to_str().unwrap().to_owned();
    launch.env = BTreeMap::from([("A".to_owned(), "1 #{pid};".to_owned())]);
    launch.env_remove = vec!["CLAUDECODE".into()];
    lab.must(&Action::NewSession { launch: launch.clone() });
    let pane = lab.row("a").pane;
    let screen = lab.await_screen(&pane, "END");
    let row = lab.row("a");
    assert!(screen.contains(&format!("{shown} {} {}", row.pid, launch.dir)), "{screen}");
    assert!(screen.contains("'A': '1 #{pid};', 'CLAUDECODE': None, 'WATCHKEEPER_UNIT': 'a'"), "{screen}");
    assert!(screen.contains("sta#{pid},te/units/a'"), "{screen}");
    assert_eq!(row.command, "python3");
    assert!(!dir.join("pwned").exists() && !lab.dir.path().join("pwned").exists());
    lab.refused(&Action::NewSession { launch }, "duplicate session");
    assert_eq!(lab.row("a").pid, row.pid, "nothing was harmed");
}

#[test]
fn a_prompt_goes_with_the_start_and_leaves_no_wrapper() {
    let mut lab = Lab::new();
    // A text that a shell would run, of many lines, longer than a tmux command may be.
    let text = format!("$(touch pwned) `touch pwned` \"'\n-- ü {}\nEND", "long ".repeat(8000));
    let script = "import sys,os,time
t = sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read()
print('got', len(t.encode()), t[:14], t[-3:], os.getpid(), flush=True)
time.sleep(1000)";
    let prompts = [LaunchPrompt::Arg { text: text.clone() }, LaunchPrompt::Stdin { text: text.clone() }];
    for (name, prompt) in ["arg", "stdin"].into_iter().zip(prompts) {
        let launch = Launch { prompt: Some(prompt), ..lab.launch(name, &["python3", "-c", script]) };
        lab.must(&Action::NewSession { launch });
        let row = lab.row(name);
        let want = format!("got {} $(touch pwned) END {}", text.len(), row.pid);
        lab.await_screen(&row.pane, &want);
        assert!(!lab.dir.path().join("pwned").exists());
        let file = lab.dir.path().join("sta#{pid},te/units").join(name).join("prompt.txt");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_long_command_is_passed_on_and_an_impossible_one_is_refused() {
    let mut lab = Lab::new();
    let long = "x".repeat(60_000); // tmux takes 16 KB as arguments
    let launch = lab.launch("a", &["/bin/sh", "-c", "echo ${#1}; exec sleep 1000", "sh", &long]);
    lab.must(&Action::NewSession { launch });
    let pane = lab.row("a").pane;
    lab.await_screen(&pane, "60000");
    let launch = lab.launch("b", &["echo", &"x".repeat(2 << 20)]);
    lab.refused(&Action::NewSession { launch }, "bytes long");
    let launch = Launch { dir: "/no/such".into(), ..lab.launch("b", &["echo"]) };
    lab.refused(&Action::NewSession { launch }, "not a directory");
    assert_eq!(lab.find("b"), None);
}

#[test]
fn pasting_into_a_dead_pane_is_refused_and_the_server_survives() {
    let mut lab = Lab::new();
    let pane = lab.start("a", "exit 0");
    lab.await_dead("a");
    lab.must(&load("wk-1", "text"));
    lab.refused(&paste(&pane, "wk-1"), "is dead");
    lab.refused(&keys(&pane, &["Enter"]), "is dead");
    lab.assert_server_lives();
    assert_eq!(lab.host.panes().buffers, ["wk-1"], "not pasted, so still there");
    lab.must(&Action::DropBuffer { buffer: "wk-1".into() });
    lab.must(&Action::DropBuffer { buffer: "wk-1".into() });
    assert_eq!(lab.host.panes().buffers, [""; 0]);
}

#[test]
fn a_text_arrives_once_whole_and_without_controls() {
    let mut lab = Lab::new();
    // Turns bracketed paste on and shows what it gets.
    let script = r"import tty,os
tty.setraw(0)
os.write(1, b'\x1b[?2004hREADY\r\n')
while True: os.write(1, repr(os.read(0, 4096)).encode() + b'\r\n')";
    let launch = lab.launch("a", &["python3", "-c", script]);
    lab.must(&Action::NewSession { launch });
    let pane = lab.row("a").pane;
    lab.await_screen(&pane, "READY");
    lab.must(&load("wk-1", "one ü\x1b[201~\ntwo;"));
    lab.must(&paste(&pane, "wk-1"));
    lab.await_screen(&pane, r"b'\x1b[200~one \xc3\xbc[201~\rtwo;\x1b[201~'");
    assert_eq!(lab.host.panes().buffers, [""; 0], "pasting deletes the buffer");
    lab.refused(&paste(&pane, "wk-1"), "wk-1");
    lab.must(&keys(&pane, &["Enter"]));
    lab.await_screen(&pane, r"b'\r'");
    for (key, want) in [(";", "b';'"), ("-", "b'-'"), ("'", "b\"'\""), ("C-u", r"b'\x15'")] {
        lab.must(&keys(&pane, &[key]));
        lab.await_screen(&pane, want);
    }
    lab.refused(&load("wk-2", "\x07"), "empty");
}

#[test]
fn copy_mode_is_noticed_and_left() {
    let mut lab = Lab::new();
    let pane = lab.start("a", "exec cat");
    lab.must(&Action::LeaveMode { pane: pane.clone() });
    lab.tmux(&["copy-mode", "-t", &pane]);
    assert!(lab.row("a").in_mode);
    lab.must(&load("wk-1", "hello"));
    lab.refused(&keys(&pane, &["x"]), "copy mode");
    lab.refused(&paste(&pane, "wk-1"), "copy mode");
    lab.must(&Action::LeaveMode { pane: pane.clone() });
    assert!(!lab.row("a").in_mode);
    // Other modes swallow keys as well, also one on top of another.
    for modes in [&["choose-tree"][..], &["clock-mode"], &["copy-mode", "choose-tree"]] {
        for mode in modes {
            lab.tmux(&[mode, "-t", &pane]);
        }
        assert!(lab.row("a").in_mode, "{modes:?}");
        lab.must(&Action::LeaveMode { pane: pane.clone() });
        assert!(!lab.row("a").in_mode, "{modes:?}");
    }
    lab.must(&paste(&pane, "wk-1"));
    lab.await_screen(&pane, "hello");
}

#[test]
fn only_our_own_sessions_are_touched() {
    let mut lab = Lab::new();
    let ours = lab.start("a", "exec cat");
    // Another fleet on the same server, and a session of a person.
    let mut other = RealHost::new(&lab.socket, &lab.dir.path().join("other"));
    let launch = lab.launch("b", &["cat"]);
    assert_eq!(other.perform(&Action::NewSession { launch: launch.clone() }), Outcome::Done);
    let theirs = lab.row("b").pane;
    let foreign = lab.tmux(&["list-panes", "-t", "=foreign:", "-F", "#{pane_id}"]).trim().to_owned();
    lab.must(&load("wk-1", "text"));
    for (pane, why) in [(&theirs, "another fleet"), (&foreign, "not ours"), (&"%99".to_owned(), "no pane")] {
        lab.refused(&paste(pane, "wk-1"), why);
        lab.refused(&keys(pane, &["x"]), why);
        lab.refused(&Action::LeaveMode { pane: pane.clone() }, why);
        lab.refused(&Action::Respawn { pane: pane.clone(), launch: launch.clone() }, why);
        lab.refused(&Action::KillSession { session: "crew-b".into(), pane: pane.clone() }, why);
    }
    assert_eq!(lab.host.panes().rows.len(), 3);
    assert_eq!(lab.screen(&theirs).trim(), "");
    // The list says whose is whose.
    let stamps: BTreeMap<String, String> =
        lab.host.panes().rows.into_iter().map(|r| (r.session, r.stamp)).collect();
    assert_eq!(stamps["foreign"], "");
    assert_eq!(stamps["crew-b"], lab.dir.path().join("other").to_str().unwrap());
    lab.must(&paste(&ours, "wk-1"));
}

#[test]
fn a_session_whose_name_is_a_prefix_of_another_is_not_mistaken() {
    let mut lab = Lab::new();
    let short = lab.start("a", "exec sleep 1000");
    lab.start("ab", "exec sleep 1000");
    let kill = Action::KillSession { session: "crew-a".into(), pane: short };
    lab.must(&kill);
    assert!(lab.find("a").is_none() && lab.find("ab").is_some());
    lab.must(&kill); // gone is what was wanted
    assert!(lab.find("ab").is_some());
    let tmux = Tmux::new(&lab.socket);
    assert_eq!(tmux.has_session("crew-a"), Some(false));
    assert_eq!(tmux.has_session("crew-ab"), Some(true));
    assert_eq!(tmux.has_session(""), None);
}

#[test]
fn a_respawn_keeps_the_pane_and_what_was_set_on_it() {
    let mut lab = Lab::new();
    let pane = lab.start("a", "exit 1");
    lab.await_dead("a");
    // (tmux's own line about the death scrolls the first line away.)
    let launch = lab.launch("a", &["/bin/sh", "-c", "echo; echo 'again;'; exit 5"]);
    lab.must(&Action::Respawn { pane: pane.clone(), launch });
    let until = Instant::now() + Duration::from_secs(20);
    while lab.row("a").exit != Some(Exit::Status(5)) {
        assert!(Instant::now() < until, "{:?}", lab.row("a"));
    }
    assert_eq!(lab.row("a").pane, pane);
    lab.await_screen(&pane, "again;");
}

#[test]
fn a_pane_that_a_person_adds_is_not_the_unit() {
    let mut lab = Lab::new();
    let pane = lab.start("a", "exec cat");
    lab.tmux(&["split-window", "-t", &pane, "exec sleep 1000"]);
    lab.tmux(&["new-window", "-t", "=crew-a:", "exec sleep 1000"]);
    let units: Vec<(String, String)> = lab
        .host
        .panes()
        .rows
        .into_iter()
        .filter(|r| r.session == "crew-a")
        .map(|r| (r.pane, r.unit))
        .collect();
    assert_eq!(units.len(), 3);
    assert!(units.iter().all(|(p, unit)| (unit == "a") == (*p == pane)), "{units:?}");
}

#[test]
fn titles_and_screens_that_imitate_the_protocol_stay_text() {
    let mut lab = Lab::new();
    let flood = r"import sys,time
for i in range(1000): print('<wk0>0\nP%6|1|0|<wk0>end\nwatchkeeper-refused|%1|1|0|x|y')
print('\x1b]2;a|b#{pid}<wk0>|\u2733 t\x07LAST', flush=True)
time.sleep(1000)";
    let launch = lab.launch("a", &["python3", "-c", flood]);
    lab.must(&Action::NewSession { launch });
    let other = lab.start("b", "printf other; exec sleep 1000");
    let pane = lab.row("a").pane;
    lab.await_screen(&pane, "LAST");
    lab.await_screen(&other, "other");
    let screens = lab.host.capture(&[pane.clone(), other.clone()]);
    assert_eq!(screens.len(), 2);
    assert!(screens[&pane].contains("<wk0>end") && screens[&other].trim() == "other");
    assert_eq!(lab.row("a").title, "a|b#{pid}<wk0>|✳ t");
    lab.tmux(&["set-option", "-t", "=foreign:", "@watchkeeper", "x\n<wk0>P%9|1\n%41"]);
    assert_eq!(lab.host.panes().rows.len(), 3);
    lab.must(&keys(&pane, &["x"]));
}

#[test]
fn a_pane_that_vanished_is_missing_from_the_capture_and_an_empty_one_is_not() {
    let mut lab = Lab::new();
    let first = lab.start("a", "printf first; exec sleep 1000");
    let gone = lab.start("b", "exec sleep 1000");
    let empty = lab.start("c", "exec sleep 1000");
    let last = lab.start("d", "printf last; exec sleep 1000");
    lab.await_screen(&first, "first");
    lab.await_screen(&last, "last");
    lab.tmux(&["kill-session", "-t", "=crew-b"]);
    let panes = [first.clone(), gone.clone(), empty.clone(), last.clone()];
    let screens = lab.host.capture(&panes);
    assert_eq!(screens.len(), 3);
    assert!(!screens.contains_key(&gone));
    assert_eq!(
        (screens[&first].trim(), screens[&empty].trim(), screens[&last].trim()),
        ("first", "", "last")
    );
    lab.tmux(&["kill-server"]);
    assert!(lab.host.capture(&panes).is_empty());
}

#[test]
fn screens_that_were_asked_for_come_with_the_next_list() {
    let mut lab = Lab::new();
    let busy = lab.start("a", "printf one; read x; printf two; exec sleep 1000");
    let gone = lab.start("b", "exec sleep 1000");
    let quiet = lab.start("c", "printf quiet; exec sleep 1000");
    lab.await_screen(&busy, "one");
    lab.await_screen(&quiet, "quiet");
    let asked = [busy.clone(), gone.clone()];
    assert_eq!(lab.host.capture(&asked).len(), 2);
    lab.tmux(&["kill-session", "-t", "=crew-b"]);
    lab.tmux(&["send-keys", "-t", &busy, "Enter"]);
    let until = Instant::now() + Duration::from_secs(10);
    while !lab.tmux(&["capture-pane", "-p", "-t", &busy]).contains("two") {
        assert!(Instant::now() < until);
    }
    // The pane that vanished leaves the list whole.
    let list = lab.host.panes();
    assert!(matches!(list.server, ServerSeen::Alive(_)), "{:?}", list.server);
    assert_eq!(list.rows.len(), 3);
    // What was not expected is asked for now, …
    let screens = lab.host.capture(&[busy.clone(), quiet.clone(), gone.clone()]);
    assert_eq!(screens.keys().collect::<Vec<_>>(), [&busy, &quiet]);
    assert!(screens[&busy].contains("two") && screens[&quiet].contains("quiet"));
    // … and what was expected came with the list: it is there though the server is not any more.
    lab.host.panes();
    lab.tmux(&["kill-server"]);
    assert_eq!(lab.host.capture(&[busy.clone(), quiet.clone()]).len(), 2);
    let until = Instant::now() + Duration::from_secs(10);
    while lab.host.panes().server != ServerSeen::Absent {
        assert!(Instant::now() < until);
    }
    assert!(lab.host.capture(&[busy]).is_empty(), "a screen is handed out once");
}

#[test]
fn letters_beyond_ascii_survive_a_c_locale() {
    // The test process's own environment can't be changed safely, so a copy of the test runs itself under C.
    if std::env::var_os("WK_TEST_C_LOCALE").is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["letters_beyond_ascii_survive_a_c_locale", "--exact"])
            .env("WK_TEST_C_LOCALE", "1")
            .env("LC_ALL", "C")
            .env_remove("LANG")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let mut lab = Lab::absent();
    let pane =
        lab.start("a", r"printf '\033]2;\342\234\263 w\303\274rk\007gr\303\274n \342\235\257\n'; exec cat");
    lab.await_screen(&pane, "grün ❯");
    assert_eq!(lab.row("a").title, "✳ würk");
    lab.must(&load("wk-1", "naïve ⠋"));
    lab.must(&paste(&pane, "wk-1"));
    lab.await_screen(&pane, "naïve ⠋");
}

#[test]
fn a_whole_tree_is_found_and_ended_deepest_first() {
    let mut lab = Lab::new();
    // A child, a grandchild, one that lost its parent, and one in a session of its own.
    lab.start("a", "sh -c 'sleep 1001 & wait' & (sleep 1002 &) ; setsid sleep 1003 & wait");
    let pid = lab.row("a").pid;
    let until = Instant::now() + Duration::from_secs(20);
    let names = |tree: &[Process]| -> Vec<String> {
        tree.iter()
            .map(|p| std::fs::read(format!("/proc/{}/cmdline", p.pid)).unwrap_or_default())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned())
            .collect()
    };
    let tree = loop {
        lab.row("a");
        let tree = lab.host.process_tree(pid);
        if names(&tree).iter().filter(|n| n.starts_with("sleep 100")).count() == 3 {
            break tree;
        }
        assert!(Instant::now() < until, "{:?}", names(&tree));
    };
    assert_eq!(tree.last().map(|p| p.pid), Some(pid));
    let place = |name: &str| names(&tree).iter().position(|n| n == name).unwrap();
    assert!(place("sleep 1001") < place("sh -c sleep 1001 & wait"));
    lab.must(&Action::Signal { processes: tree.clone(), signal: Signal::Kill });
    lab.await_dead("a");
    while tree.iter().any(|p| lab.host.process_start(p.pid) == Some(p.start)) {
        assert!(Instant::now() < until);
    }
}

#[test]
fn the_foreground_command_is_followed() {
    let mut lab = Lab::new();
    let pane = lab.start("a", "sleep 1000; printf SHELL; exec cat");
    let until = Instant::now() + Duration::from_secs(20);
    // A shell that is not interactive keeps its children in its own group, as a wrapper script does.
    let tree = loop {
        let row = lab.row("a");
        let tree = lab.host.process_tree(row.pid);
        if row.command == "sh" && tree.len() == 2 {
            break tree;
        }
        assert!(Instant::now() < until, "{row:?}");
    };
    lab.must(&Action::Signal { processes: vec![tree[0]], signal: Signal::Term });
    lab.await_screen(&pane, "SHELL");
    while lab.row("a").command != "cat" {
        assert!(Instant::now() < until, "{:?}", lab.row("a"));
    }
}

#[test]
fn the_installed_tmux_is_new_enough() {
    let said = Tmux::new("").version().unwrap();
    assert!(said.starts_with("tmux "), "{said}");
}

#[test]
#[ignore = "makes 1100 panes, several seconds"]
fn a_thousand_panes_are_seen_in_one_call_each() {
    let mut lab = Lab::new();
    let mut script = String::new();
    for n in 0..1100 {
        script.push_str(&format!("new-session -d -s s{n} -x 80 -y 24 'echo pane {n}; exec sleep 1000'\n"));
    }
    let file = lab.dir.path().join("script");
    std::fs::write(&file, script).unwrap();
    lab.tmux(&["source-file", file.to_str().unwrap()]);
    let rows = lab.host.panes().rows;
    assert_eq!(rows.len(), 1101);
    let panes: Vec<String> = rows.iter().map(|r| r.pane.clone()).collect();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let screens = lab.host.capture(&panes);
        let right = |r: &&PaneRow| {
            let number = r.session.strip_prefix('s').unwrap_or_default();
            screens.get(&r.pane).is_some_and(|s| s.trim() == format!("pane {number}"))
        };
        if rows.iter().filter(right).count() == 1100 {
            break;
        }
        assert!(Instant::now() < until, "{}", screens.len());
    }
}

#[test]
fn a_script_that_waits_for_its_program_is_told_from_a_shell_that_waits_for_a_person() {
    let mut lab = Lab::new();
    let wrapper = lab.start("a", "echo up; sleep 1000; true");
    lab.await_screen(&wrapper, "up");
    let shell = lab.start("b", "PS1='left$ ' exec sh -i");
    lab.await_screen(&shell, "left$");
    for (unit, want) in [("a", false), ("b", true)] {
        let pid = lab.row(unit).pid;
        let until = Instant::now() + Duration::from_secs(20);
        while lab.host.is_alone(pid) != Some(want) {
            assert!(Instant::now() < until, "{unit}: {:?}", lab.host.is_alone(pid));
        }
    }
    assert_eq!(lab.host.is_alone(0), None);
}

#[test]
fn a_person_who_looks_on_through_a_grouped_session_is_attached() {
    let mut lab = Lab::new();
    let pane = lab.start("a", "exec sleep 1000");
    // Its name sorts before the unit's own session.
    lab.tmux(&["new-session", "-d", "-t", "=crew-a", "-s", "a-person"]);
    let row = lab.row("a");
    assert_eq!((row.session.as_str(), row.attached, row.typed_at), ("crew-a", 0, None));
    let mut client = Command::new("tmux")
        .args(["-u", "-L", &lab.socket, "-C", "attach-session", "-t", "=a-person"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let row = loop {
        let row = lab.row("a");
        if row.attached > 0 {
            break row;
        }
        assert!(Instant::now() < until, "{row:?}");
    };
    assert_eq!((row.session.as_str(), row.attached), ("crew-a", 1));
    assert!(row.typed_at.is_some());
    assert_eq!(lab.host.panes().rows.iter().filter(|row| row.pane == pane).count(), 1);
    drop(client.stdin.take());
    client.wait().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn one_look_at_all_processes_serves_until_the_next_list() {
    let mut lab = Lab::new();
    let own = std::process::id().cast_signed();
    lab.host.panes();
    let before = lab.host.process_tree(own);
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let has = |tree: &[Process]| tree.iter().any(|process| process.pid == child.id().cast_signed());
    let same = lab.host.process_tree(own);
    lab.host.panes();
    let after = lab.host.process_tree(own);
    assert_eq!((has(&before), has(&same), has(&after)), (false, false, true));
    child.kill().unwrap();
    child.wait().unwrap();
}

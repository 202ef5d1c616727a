//! The demo agent in a real terminal: the built binary in panes of a private tmux server.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No condition needs nearly so long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// One agent in a pane of a tmux server of its own; dropping it ends the server.
struct Pane {
    socket: PathBuf,
    dir: tempfile::TempDir,
}

impl Pane {
    /// Starts the agent in an 80 × 24 pane. `env` goes to it, `args` follow `demo-agent`.
    fn start(env: &[(&str, &str)], args: &[&str]) -> Pane {
        let dir = tempfile::tempdir().unwrap();
        // In the temporary folder, so that its socket goes with it.
        let pane = Pane { socket: dir.path().join("tmux"), dir };
        let mut all = vec!["start-server", ";", "set-option", "-g", "remain-on-exit", "on", ";"];
        all.extend(["new-session", "-d", "-s", "a", "-x", "80", "-y", "24"]);
        let transcript = format!("DEMO_TRANSCRIPT={}", pane.transcript_path().display());
        let given: Vec<String> = env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for variable in ["DEMO_START=0", "DEMO_SCRIPT=", "DEMO_TRUST=", "DEMO_WORKER=", &transcript]
            .into_iter()
            .chain(given.iter().map(String::as_str))
        {
            all.extend(["-e", variable]);
        }
        all.extend([env!("CARGO_BIN_EXE_watchkeeper"), "demo-agent"]);
        all.extend(args);
        pane.tmux(&all, "");
        pane
    }

    /// Starts an agent that plays `script`.
    fn playing(script: &str) -> Pane {
        Pane::start(&[("DEMO_SCRIPT", script)], &[])
    }

    /// Starts an agent and waits until it is idle.
    fn idle() -> Pane {
        let pane = Pane::start(&[], &[]);
        pane.wait_for("> Type a message\n──\n  demo agent · ? for help");
        pane
    }

    fn tmux(&self, args: &[&str], input: &str) -> String {
        let mut child = Command::new("tmux")
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(&self.socket)
            .args(args)
            .env_remove("TMUX")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn transcript_path(&self) -> PathBuf {
        self.dir.path().join("transcript.jsonl")
    }

    /// The texts of all events of one type.
    fn recorded(&self, kind: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.transcript_path()).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|e| e["type"] == kind).map(|e| e["text"].as_str().unwrap_or("").to_owned()).collect()
    }

    /// The screen without trailing blanks; a rule over the whole width is `──`.
    fn screen(&self) -> String {
        self.capture(&[])
    }

    fn capture(&self, flags: &[&str]) -> String {
        let width: usize = self.format("#{pane_width}").parse().unwrap();
        let text = self.tmux(&[&["capture-pane", "-p", "-t", "a"], flags].concat(), "");
        let rows: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
        rows.join("\n").replace(&"─".repeat(width), "──")
    }

    /// History and screen, laid out as [`Pane::screen`] is.
    fn history(&self) -> String {
        self.capture(&["-S", "-"])
    }

    fn format(&self, format: &str) -> String {
        self.tmux(&["display-message", "-p", "-t", "a", format], "").trim_end().to_owned()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "-t", "a"], keys].concat(), "");
    }

    fn paste(&self, text: &str) {
        self.tmux(
            &["load-buffer", "-b", "b", "-", ";", "paste-buffer", "-p", "-d", "-b", "b", "-t", "a"],
            text,
        );
    }

    /// Pastes, looks, and submits in a call of its own, as the watchdog does.
    fn send(&self, text: &str, shown: &str) {
        self.paste(text);
        self.wait_for(&format!("> {shown}\n──"));
        self.keys(&["Enter"]);
    }

    /// Waits until the screen holds `part`.
    #[track_caller]
    fn wait_for(&self, part: &str) -> String {
        self.wait_until(part, |screen| screen.contains(part))
    }

    /// Waits until the screen ends with `rows`.
    #[track_caller]
    fn wait_for_bottom(&self, rows: &str) {
        self.wait_until(rows, |screen| screen.ends_with(rows));
    }

    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "waited in vain for:\n{what}\n--- the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a tmux format gives `want`.
    #[track_caller]
    fn wait_for_format(&self, format: &str, want: &str) {
        wait(format, || {
            let got = self.format(format);
            (got == want).then_some(()).ok_or(got)
        });
    }
}

impl Pane {
    /// Waits until the agent has ended as `want` says: dead, status, signal.
    #[track_caller]
    fn wait_for_end(&self, want: &str) {
        wait("the end", || {
            // tmux 3.3a now and then misses a SIGCHLD and knows no status until the next one comes: send it one. (Its own
            // `run-shell` can hang for the same reason.)
            let _ = Command::new("kill").args(["-CHLD", &self.format("#{pid}")]).status();
            let got = self.format("#{pane_dead}|#{pane_dead_status}|#{pane_dead_signal}");
            (got == want).then_some(()).ok_or(got)
        });
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .arg("kill-server")
            .stderr(Stdio::null())
            .status();
    }
}

/// Waits until `look` succeeds.
#[track_caller]
fn wait<T>(what: &str, look: impl Fn() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(value) => return value,
            Err(got) => assert!(Instant::now() < end, "waited in vain for {what}, got {got}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Command lines of the living children of a process (Linux: `/proc`).
fn children(parent: &str) -> Vec<String> {
    let list = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace()
        .map(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
        })
        .collect()
}

const IDLE: &str = "──\n> Type a message\n──\n  demo agent · ? for help";

#[test]
fn a_paste_and_an_enter_arrive_once_and_verbatim() {
    let pane = Pane::idle();
    let long = format!("begin {} end", "x".repeat(9000));
    let texts = [
        ("one line", "one line"),
        (
            "two lines,\n  the second indented\\ `with` \"signs\" $HOME",
            "two lines,\n    the second indented\\ `with` \"signs\" $HOME",
        ),
        ("1\n2\n\n4\n5 ä─🙂", "[Pasted text #1 +4 lines]"),
        (&long, "[Pasted text #2 +0 lines]"),
        ("a trailing break\n", "a trailing break\n"),
        ("and\ttabs", "and tabs"),
    ];
    for (i, (text, shown)) in texts.iter().enumerate() {
        pane.send(text, shown);
        wait("the transcript", || {
            let users = pane.recorded("user");
            (users.len() == i + 1).then_some(()).ok_or(format!("{} prompts", users.len()))
        });
        pane.wait_for_format("#{pane_title}", "demo: idle");
    }
    let want: Vec<&str> = texts.iter().map(|(text, _)| *text).collect();
    assert_eq!(pane.recorded("user"), want);
    assert_eq!(pane.recorded("assistant").len(), texts.len());
}

#[test]
fn the_start_is_a_line_of_its_own() {
    let pane = Pane::start(&[("DEMO_START", "3600")], &[]);
    pane.wait_until("only the start", |screen| screen == "demo agent starting…");
}

#[test]
fn a_turn_shows_its_spinner_and_is_interrupted_by_escape() {
    let pane = Pane::idle();
    pane.send("please\nHANG 0", "please\n  HANG 0");
    pane.wait_for_format("#{pane_title}", "demo: busy");
    for glyph in ["*", "+", "x", "·"] {
        pane.wait_until(glyph, |screen| {
            let rows: Vec<&str> = screen.lines().collect();
            let bottom = rows.len().saturating_sub(5);
            rows[bottom].starts_with(&format!("{glyph} Working… ("))
                && rows[bottom].ends_with("s · esc to interrupt)")
                && rows[bottom + 1..] == ["──", "> Type a message", "──", "  demo agent · esc to interrupt"]
        });
    }
    let screen = pane.screen();
    assert!(screen.contains("> please\n  HANG 0\n"), "{screen}");
    pane.keys(&["Escape"]);
    pane.wait_for_bottom(&format!("• interrupted\n{IDLE}"));
    pane.wait_for_format("#{pane_title}", "demo: idle");
}

#[test]
fn other_spinners() {
    let pane = Pane::playing("COMPACT 600; RETRY 600");
    pane.wait_for("Compacting conversation… (0s · esc to interrupt)\n──");
    pane.keys(&["C-c"]);
    pane.wait_for("Retrying in 120s · attempt 1/5 (0s · esc to interrupt)\n──");
}

#[test]
fn a_permission_dialog_is_answered_by_key() {
    let question = "──\n  Do you want to run this command?\n    rm -rf build\n";
    let hint = "  Enter to confirm · Esc to cancel";
    let pane = Pane::playing("ASK; ASK; ASK");
    pane.wait_for_bottom(&format!("{question}  > 1. Yes\n    2. No\n{hint}"));
    pane.wait_for_format("#{pane_title}", "demo: waiting");
    pane.keys(&["Down"]);
    pane.wait_for_bottom(&format!("{question}    1. Yes\n  > 2. No\n{hint}"));
    pane.keys(&["Up", "Enter"]);
    pane.wait_for(&format!("• ran\n{question}"));
    pane.keys(&["2"]);
    pane.wait_for(&format!("• ran\n• denied\n{question}"));
    pane.keys(&["Escape"]);
    pane.wait_for_bottom(&format!("• ran\n• denied\n• denied\n{IDLE}"));
}

#[test]
fn an_unknown_folder_is_asked_about_before_the_prompt_is_begun() {
    let pane = Pane::start(&[("DEMO_TRUST", "1")], &["--continue", "hello"]);
    let dialog = "──\n  Do you trust this folder?\n  > 1. Yes, trust it\n    2. No, exit\n  Enter to confirm · Esc to cancel";
    pane.wait_for_bottom(&format!("• resumed\n{dialog}"));
    assert_eq!(pane.recorded("user"), [""; 0]);
    pane.keys(&["Enter"]);
    pane.wait_for_bottom(&format!("> hello\n• ACK: hello\n{IDLE}"));
    let pane = Pane::start(&[("DEMO_TRUST", "1")], &[]);
    pane.wait_for("Do you trust");
    pane.keys(&["Escape"]);
    pane.wait_for_end("1|1|");
}

#[test]
fn limits() {
    let pane = Pane::playing("LIMIT 600 s");
    pane.wait_for_bottom(&format!("! You've hit your usage limit · resets in 600 seconds\n{IDLE}"));
    pane.send("go on", "go on");
    pane.wait_until("the limit again", |screen| {
        screen.matches("! You've hit your usage limit · resets in").count() == 2
    });
    let pane = Pane::playing("LIMIT-MENU 600");
    let menu = "──\n  What do you want to do?\n  > 1. Stop and wait for limit to reset\n    2. Quit\n  Enter to confirm · Esc to cancel";
    pane.wait_for_bottom(&format!("m (UTC)\n{menu}"));
    pane.keys(&["Enter"]);
    pane.wait_for_bottom(&format!("m (UTC)\n{IDLE}"));
}

#[test]
fn errors() {
    for (name, line) in [
        ("server", "! API Error: 500 server error"),
        ("auth", "! API Error: 401 authentication failed"),
        ("billing", "! Credit balance too low"),
        ("context", "! Context limit reached"),
        ("network", "! Connection error"),
    ] {
        let pane = Pane::playing(&format!("ERROR {name}"));
        pane.wait_for_bottom(&format!("{line}\n{IDLE}"));
    }
}

#[test]
fn a_declared_wait_is_the_last_line() {
    let pane = Pane::playing("WAIT 600");
    let screen = pane.wait_for("• WAITING-UNTIL: ");
    let (_, rest) = screen.split_once("• WAITING-UNTIL: ").unwrap();
    let (time, below) = rest.split_once('\n').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(below, IDLE);
}

#[test]
fn keys_edit_the_composer() {
    let pane = Pane::idle();
    pane.keys(&["-l", "abc"]);
    pane.keys(&["BSpace", "C-j"]);
    pane.keys(&["-l", "second"]);
    pane.wait_for("──\n> ab\n  second\n──");
    pane.paste("1\n2\n3\n4");
    pane.wait_for("  second[Pasted text #1 +3 lines]\n");
    pane.keys(&["C-u"]);
    pane.wait_for_bottom(IDLE);
    pane.keys(&["Escape", "Enter", "Tab"]);
    pane.send("after", "after");
    pane.wait_for_bottom(&format!("> after\n• ACK: after\n{IDLE}"));
    assert_eq!(pane.recorded("user"), ["after"]);
}

#[test]
fn a_draft_is_text_in_the_composer_and_the_placeholder_is_dim() {
    let pane = Pane::playing("DRAFT half a thought");
    pane.wait_for_bottom("──\n> half a thought\n──\n  demo agent · ? for help");
    pane.keys(&["C-u"]);
    pane.wait_for_bottom(IDLE);
    let colours = pane.tmux(&["capture-pane", "-p", "-e", "-t", "a"], "");
    assert!(colours.contains("> \x1b[2mType a message"), "{colours:?}");
}

#[test]
fn messages_queue_while_busy_and_run_afterwards_once() {
    let pane = Pane::playing("HANG 0");
    pane.wait_for("Working…");
    for (text, key) in [("first", "Tab"), ("second", "Enter")] {
        pane.paste(text);
        pane.wait_for(&format!("──\n> {text}\n──"));
        pane.keys(&[key]);
        pane.wait_for(&format!("  queued: {text}\n"));
    }
    let screen = pane.screen();
    let (_, below) = screen.split_once("  queued: first\n  queued: second\n").unwrap();
    assert!(below.lines().next().unwrap().contains(" Working… ("), "{screen}");
    assert_eq!(pane.recorded("user"), [""; 0]);
    pane.keys(&["Escape"]);
    pane.wait_for_bottom(&format!("> first\n• ACK: first\n\n> second\n• ACK: second\n{IDLE}"));
    assert_eq!(pane.recorded("user"), ["first", "second"]);
}

#[test]
fn a_lost_enter_leaves_the_text_where_it_was() {
    let pane = Pane::playing("FLAKY-ENTER 1");
    pane.wait_for("Enters are lost");
    pane.send("again", "again");
    pane.keys(&["-l", "!"]);
    pane.wait_for("──\n> again!\n──");
    assert_eq!(pane.recorded("user"), [""; 0]);
    pane.keys(&["Enter"]);
    pane.wait_for("• ACK: again!");
    assert_eq!(pane.recorded("user"), ["again!"]);
}

#[test]
fn ends_are_told_by_status_or_signal() {
    for (script, want) in [
        ("CRASH 1", "1|1|"),
        ("CRASH 9", "1||9"),
        ("CRASH 11", "1||11"),
        ("EXIT 7", "1|7|"),
        ("SAY hello; DONE", "1|0|"),
    ] {
        let pane = Pane::playing(script);
        pane.wait_for_end(want);
    }
}

#[test]
fn the_second_run_plays_its_own_part() {
    let pane = Pane::playing("CRASH 1 || SAY I am back");
    pane.wait_for_format("#{pane_dead}", "1");
    pane.tmux(&["respawn-pane", "-k", "-t", "a"], "");
    pane.wait_for_bottom(&format!("• I am back\n{IDLE}"));
}

#[test]
fn ctrl_c_twice_at_an_empty_composer_leaves() {
    let pane = Pane::idle();
    pane.keys(&["C-c", "C-c"]);
    pane.wait_for_end("1|0|");
    assert!(!pane.screen().contains("demo agent"), "the composer is taken away");
}

#[test]
fn a_resize_draws_anew_and_spares_the_output() {
    let pane = Pane::playing("SAY one; SAY two");
    pane.wait_for_bottom(&format!("• one\n• two\n{IDLE}"));
    for width in ["40", "30", "100", "80"] {
        pane.tmux(&["resize-window", "-t", "a", "-x", width, "-y", "24"], "");
        pane.wait_for_bottom(IDLE);
        // tmux may itself have moved lines into the history: none is lost, none is doubled.
        let all = pane.history();
        for line in ["• one", "• two", "> Type a message", "  demo agent · ? for help"] {
            assert_eq!(all.lines().filter(|l| *l == line).count(), 1, "{line}\n{all}");
        }
    }
}

#[test]
fn output_scrolls_into_the_history() {
    let pane = Pane::playing(
        "WORK 1; SAY 0; SAY 1; SAY 2; SAY 3; SAY 4; SAY 5; SAY 6; SAY 7; SAY 8; SAY 9; SAY 10; SAY 11; SAY 12; SAY 13; SAY 14; SAY 15; SAY 16; SAY 17; SAY 18; SAY 19; SAY 20; SAY 21",
    );
    pane.wait_for_bottom(&format!("• 21\n{IDLE}"));
    let all = pane.history();
    let said: Vec<&str> = all.lines().filter_map(|line| line.strip_prefix("• ")).skip(1).collect();
    assert_eq!(said, (0..22).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(all.matches("Type a message").count(), 1, "{all}");
}

#[test]
fn a_tool_burns_cpu_in_a_child_that_ends_with_it() {
    let pane = Pane::playing("TOOL 600");
    pane.wait_for("• running a tool");
    let pid = pane.format("#{pane_pid}");
    wait("the child", || (children(&pid).len() == 1).then_some(()).ok_or(format!("{:?}", children(&pid))));
    pane.keys(&["Escape"]);
    pane.wait_for("• interrupted");
    wait("its end", || children(&pid).is_empty().then_some(()).ok_or(format!("{:?}", children(&pid))));
}

#[test]
fn a_frozen_agent_neither_reads_nor_draws_but_obeys_term() {
    let pane = Pane::playing("FREEZE");
    let frozen = pane.wait_for("Working… (0s · esc to interrupt)\n──");
    pane.keys(&["Escape", "C-c", "x"]);
    let start = Instant::now();
    pane.wait_until("a second without a change", |screen| {
        assert_eq!(screen, frozen);
        start.elapsed() > Duration::from_secs(1)
    });
    kill("-TERM", &pane.format("#{pane_pid}"));
    pane.wait_for_end("1||15");
}

#[test]
fn term_can_be_ignored_kill_can_not() {
    let pane = Pane::playing("IGNORE-TERM");
    pane.wait_for("• ignoring SIGTERM");
    let pid = pane.format("#{pane_pid}");
    kill("-TERM", &pid);
    pane.send("still there", "still there");
    pane.wait_for("• ACK: still there");
    kill("-KILL", &pid);
    pane.wait_for_end("1||9");
}

#[test]
fn a_shell_is_left_behind_on_command() {
    let pane = Pane::playing("SHELL");
    wait("the shell", || {
        let name = pane.format("#{pane_current_command}");
        ["sh", "dash", "bash"].contains(&name.as_str()).then_some(()).ok_or(name)
    });
    pane.keys(&["-l", "echo $((6 * 7))"]);
    pane.keys(&["Enter"]);
    pane.wait_for("\n42\n");
}

#[test]
fn an_orphan_outlives_the_agent() {
    let pane = Pane::playing("ORPHAN; EXIT 0");
    pane.wait_for_format("#{pane_dead}", "1");
    let said = pane.recorded("assistant");
    let pid = said[0].strip_prefix("orphan ").unwrap();
    let words = || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    // Empty for an instant, while it becomes its program.
    wait("the orphan's words", || (!words().is_empty()).then_some(()).ok_or_else(String::new));
    let cmdline = words();
    kill("-KILL", pid);
    assert!(cmdline.starts_with("sleep") || cmdline.starts_with("sh"), "{cmdline:?}");
}

#[test]
fn without_a_terminal_standard_input_is_the_prompt() {
    let run = |args: &[&str], input: &str| -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_watchkeeper"))
            .arg("demo-agent")
            .args(args)
            .env_remove("DEMO_SCRIPT")
            .env_remove("DEMO_TRANSCRIPT")
            .env_remove("DEMO_TRUST")
            .env("DEMO_START", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = run(&[], "SAY hello");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "\n> SAY hello\n• hello\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(run(&["EXIT 5"], "").status.code(), Some(5));
    let output = run(&["--colour"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--colour"));
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
}

/// An agent that hands its prompts to this script; idle.
fn with_worker(script: &str) -> (Pane, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker.sh");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let pane = Pane::start(&[("MARK", "kept")], &["--worker", path.to_str().unwrap()]);
    pane.wait_for(IDLE);
    (pane, dir)
}

#[test]
fn a_worker_gets_the_prompt_and_its_output_is_the_answer() {
    let (pane, _dir) = with_worker("echo \"$MARK: $(cat)\"; echo ! API Error: 500 server error >&2; exit 3");
    pane.send("do it", "do it");
    // Nothing that it says is an error of the agent's own.
    let answer =
        "> do it\n• kept: do it\n• ! API Error: 500 server error\n• the worker ended with exit status 3";
    pane.wait_for_bottom(&format!("{answer}\n{IDLE}"));
    assert_eq!(pane.recorded("error"), [""; 0]);
    pane.send("SAY a directive is still one", "SAY a directive is still one");
    pane.wait_for_bottom(&format!("> SAY a directive is still one\n• a directive is still one\n{IDLE}"));
}

#[test]
fn the_agent_is_busy_while_its_worker_works_and_escape_ends_all_of_it() {
    let (pane, dir) = with_worker("echo $$ > $0.pid; sleep 600 & echo $! >> $0.pid; echo at work; wait");
    pane.send("go", "go");
    pane.wait_for("• at work\n");
    pane.wait_for_format("#{pane_title}", "demo: busy");
    pane.wait_for("s · esc to interrupt)\n──");
    pane.keys(&["Escape"]);
    pane.wait_for_bottom(&format!("• at work\n• interrupted\n{IDLE}"));
    await_deaths(&dir);
}

#[test]
fn a_worker_dies_with_its_agent_however_that_dies() {
    for signal in ["-TERM", "-KILL"] {
        let (pane, dir) = with_worker("echo $$ > $0.pid; sleep 600 & echo $! >> $0.pid; echo at work; wait");
        pane.send("go", "go");
        pane.wait_for("• at work\n");
        kill(signal, &pane.format("#{pane_pid}"));
        await_deaths(&dir);
    }
}

/// Waits until the worker whose pids are noted in `dir`, and its child, are gone.
fn await_deaths(dir: &tempfile::TempDir) {
    let pids = std::fs::read_to_string(dir.path().join("worker.sh.pid")).unwrap();
    assert_eq!(pids.lines().count(), 2, "{pids}");
    wait("the end of the worker", || {
        let alive = |pid: &&str| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let left: Vec<&str> = pids.lines().filter(alive).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} live")) }
    });
}

#[test]
fn each_turn_has_its_made_up_price() {
    let pane = Pane::idle();
    pane.send("eight by", "eight by");
    pane.wait_for_bottom(&format!("• ACK: eight by\n{IDLE}"));
    let text = std::fs::read_to_string(pane.transcript_path()).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    // 8 bytes in, 13 out, four to a token.
    assert_eq!(
        (&last["type"], &last["input"], &last["output"], &last["id"]),
        (&"usage".into(), &2.into(), &4.into(), &4.into())
    );
}

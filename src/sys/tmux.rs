//! The tmux client: a few calls that spawn `tmux`, each with a deadline. What is sent and how answers are read is in
//! `tmux_list`, `tmux_capture` and `tmux_act`, which are pure.
//!
//! Always `tmux -u`: without it a C locale turns every letter beyond ASCII into `_`. Never `-f`: the user's
//! configuration is the user's. `$TMUX` is taken away, so that "" means the default server wherever we run.

use super::run::{Program, Ran};
use super::tmux_act::{self, Need, Refusal};
use super::tmux_list::Commands;
use super::{PaneList, tmux_capture, tmux_list, tmux_version};
use crate::base::error::{Error, Kind, Result};
use crate::base::text::{one_line, strip_controls};
use crate::model::action::{Launch, Outcome};
use crate::model::seen::ServerSeen;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::time::Duration;

pub use super::tmux_act::attach_argv;
pub use super::tmux_version::VERSION_MIN;

const INSTALL: &str = "install tmux 3.2 or newer, e.g. `apt install tmux` or `brew install tmux`";
/// Room for one captured screen with all its colours, for the bound on a whole answer.
const SCREEN_ROOM: u64 = 256 << 10;
const CAPTURE_MAX: u64 = 256 << 20;

/// Screens by pane id.
pub type Screens = BTreeMap<String, String>;

/// A tmux server, by socket name.
#[derive(Clone, Debug)]
pub struct Tmux {
    socket: String,
    deadline: Duration,
}

impl Tmux {
    /// The server of `tmux -L socket`; "" is the user's default server.
    pub fn new(socket: &str) -> Tmux {
        Tmux { socket: socket.to_owned(), deadline: super::run::DEADLINE }
    }

    /// Another deadline than 5 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Tmux {
        self.deadline = deadline;
        self
    }

    /// The installed version as tmux says it; an error when tmux is missing or too old.
    pub fn version(&self) -> Result<String> {
        let ran = self.program().args(["-V"]).run()?;
        let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
        match tmux_version::too_old(&said) {
            Some(why) => Err(Error::new(Kind::Missing, why).hint(INSTALL)),
            None if ran.ok() => Ok(said),
            None => Err(Error::new(Kind::Missing, format!("`tmux -V`: {}", ran.why())).hint(INSTALL)),
        }
    }

    /// All panes, buffers and the server's identity, in one call.
    pub fn list(&self) -> PaneList {
        self.look(Commands::Told, &[]).0
    }

    /// The same, with or without each pane's foreground command; and in the same call the screens of the panes that are
    /// expected to be asked for. One that could not be read is missing.
    pub(super) fn look(&self, commands: Commands, expected: &[String]) -> (PaneList, Screens) {
        let nonce = nonce();
        let mut args = tmux_list::list_args(&nonce, commands);
        let ran = if expected.is_empty() {
            self.call(args)
        } else {
            args.extend(tmux_list::then_screens(&nonce));
            self.screens_call(args, &nonce, expected)
        };
        let unknown = |why: String| {
            let server = ServerSeen::Unknown { why };
            (PaneList { server, rows: Vec::new(), buffers: Vec::new() }, Screens::new())
        };
        let ran = match ran {
            Ok(ran) => ran,
            Err(error) => return unknown(error.message()),
        };
        if no_server(&ran) {
            let list = PaneList { server: ServerSeen::Absent, rows: Vec::new(), buffers: Vec::new() };
            return (list, Screens::new());
        }
        // A server whose last session is gone (`exit-empty off`) answers the first two commands only.
        let no_sessions = ran.status == Some(1) && ran.stderr.trim() == "no current target";
        let stdout = String::from_utf8_lossy(&ran.stdout);
        let (said, screens) = tmux_list::split(&nonce, &stdout);
        // Behind a whole list the exit status says only that some pane vanished.
        let is_whole = screens.is_some() && ran.status.is_some();
        if !ran.ok() && !no_sessions && !is_whole {
            return unknown(ran.why());
        }
        match tmux_list::parse_list(&nonce, said) {
            Ok(list) => (list, tmux_capture::parse(&nonce, screens.unwrap_or_default().as_bytes(), expected)),
            Err(why) => unknown(why),
        }
    }

    /// The visible screens of these panes, in one call. One that could not be read is missing.
    pub fn capture(&self, panes: &[String]) -> Screens {
        if panes.is_empty() {
            return Screens::new();
        }
        let nonce = nonce();
        // The exit status says only that some pane vanished.
        match self.screens_call(source_args(), &nonce, panes) {
            Ok(ran) => tmux_capture::parse(&nonce, &ran.stdout, panes),
            Err(_) => Screens::new(),
        }
    }

    fn screens_call(&self, args: Vec<String>, nonce: &str, panes: &[String]) -> Result<Ran> {
        let room = (panes.len() as u64).saturating_mul(SCREEN_ROOM);
        let program = self.program_with(args).stdin(tmux_capture::script(nonce, panes));
        program.output_max(room.clamp(super::run::OUTPUT_MAX, CAPTURE_MAX)).run()
    }

    /// Makes a session and starts the command in it; a server is started when there is none.
    pub fn new_session(&self, launch: &Launch, stamp: &str, words: &[String]) -> Outcome {
        let script = match directory(&launch.dir).and_then(|()| tmux_act::new_session(launch, stamp, words)) {
            Ok(script) => script,
            Err(why) => return failed(why),
        };
        let args = ["start-server", ";", "source-file", "-"].map(str::to_owned);
        done(self.program_with(args.to_vec()).stdin(script).run())
    }

    /// Starts the command anew in its kept pane.
    pub fn respawn(&self, pane: &str, launch: &Launch, stamp: &str, words: &[String]) -> Outcome {
        let script = directory(&launch.dir).and_then(|()| tmux_act::respawn(pane, launch, stamp, words));
        self.guarded(pane, stamp, Need::Ours, script)
    }

    /// Puts a text into a named buffer, without control bytes.
    pub fn load_buffer(&self, buffer: &str, text: &str) -> Outcome {
        let text = strip_controls(text);
        if text.is_empty() {
            return failed("the text is empty");
        }
        match tmux_act::check_buffer(buffer) {
            Ok(name) => {
                let args = ["load-buffer", "-b", name, "-"].map(str::to_owned);
                done(self.program_with(args.to_vec()).stdin(text).run())
            }
            Err(why) => failed(why),
        }
    }

    /// Deletes a buffer; one that is not there is fine.
    pub fn drop_buffer(&self, buffer: &str) -> Outcome {
        let name = match tmux_act::check_buffer(buffer) {
            Ok(name) => name,
            Err(why) => return failed(why),
        };
        match self.call(["delete-buffer", "-b", name].map(str::to_owned).to_vec()) {
            Ok(ran) if no_server(&ran) || ran.stderr.contains("unknown buffer") => Outcome::Done,
            other => done(other),
        }
    }

    /// Pastes the buffer, bracketed, and deletes it.
    pub fn paste(&self, pane: &str, stamp: &str, buffer: &str) -> Outcome {
        self.guarded(pane, stamp, Need::Typable, tmux_act::paste(pane, stamp, buffer))
    }

    /// Presses keys.
    pub fn keys(&self, pane: &str, stamp: &str, keys: &[String]) -> Outcome {
        self.guarded(pane, stamp, Need::Typable, tmux_act::keys(pane, stamp, keys))
    }

    /// Leaves copy mode; a pane that is in no mode is fine.
    pub fn leave_mode(&self, pane: &str, stamp: &str) -> Outcome {
        self.guarded(pane, stamp, Need::InMode, tmux_act::leave_mode(pane, stamp))
    }

    /// Marks a pane that nobody marked as the unit's.
    pub fn adopt(&self, unit: &str, pane: &str, stamp: &str) -> Outcome {
        self.guarded(pane, "", Need::Ours, tmux_act::adopt(unit, pane, stamp))
    }

    /// Ends the session of our pane. When the pane is gone and `session` too, that is what was wanted.
    pub fn kill_session(&self, session: &str, pane: &str, stamp: &str) -> Outcome {
        let outcome = self.guarded(pane, stamp, Need::Ours, tmux_act::kill_session(pane, stamp));
        if outcome == Outcome::Done || self.has_session(session) != Some(false) {
            return outcome;
        }
        Outcome::Done
    }

    /// Whether a session of exactly this name exists; None when tmux did not answer.
    pub fn has_session(&self, session: &str) -> Option<bool> {
        let name = tmux_act::check_session(session).ok()?;
        let ran = self.call(["has-session".to_owned(), "-t".to_owned(), format!("={name}")].to_vec()).ok()?;
        match (ran.ok(), no_server(&ran) || ran.stderr.contains("can't find session")) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    /// Runs a guarded script and reads whether the guard let it through.
    fn guarded(&self, pane: &str, stamp: &str, need: Need, script: Result<String, String>) -> Outcome {
        let ran = match script.map(|script| self.source(&script).run()) {
            Ok(Ok(ran)) => ran,
            Ok(Err(error)) => return failed(error.message()),
            Err(why) => return failed(why),
        };
        match tmux_act::refusal(&String::from_utf8_lossy(&ran.stdout), pane, stamp, need) {
            None => done(Ok(ran)),
            Some(Refusal::NotInMode) => Outcome::Done,
            Some(Refusal::Gone) => failed(format!("there is no pane `{pane}`")),
            Some(Refusal::Refused(why)) => failed(why),
        }
    }

    fn source(&self, script: &str) -> Program {
        self.program_with(source_args()).stdin(script)
    }

    fn call(&self, args: Vec<String>) -> Result<Ran> {
        self.program_with(args).run()
    }

    fn program_with(&self, args: Vec<String>) -> Program {
        let socket = match self.socket.as_str() {
            "" => Vec::new(),
            name => vec!["-L", name],
        };
        self.program().args(["-u"]).args(socket).args(args)
    }

    fn program(&self) -> Program {
        let program = Program::new("tmux").deadline(self.deadline).install_hint(INSTALL);
        // A server that it starts outlives us, and the run or job of another watchdog that we may be in.
        super::job_rest::unmarked(program).without_env("TMUX").without_env("TMUX_PANE")
    }
}

/// Reads commands from standard input.
fn source_args() -> Vec<String> {
    ["source-file", "-"].map(str::to_owned).to_vec()
}

/// tmux's own words for "there is no server". A stale socket (connection refused) reads as the first.
fn no_server(ran: &Ran) -> bool {
    let said = ran.stderr.trim();
    let gone = ["(No such file or directory)", "(Connection refused)"];
    !ran.ok()
        && (said.starts_with("no server running on ")
            || said.starts_with("error connecting to ") && gone.iter().any(|end| said.ends_with(end)))
}

fn done(ran: Result<Ran>) -> Outcome {
    match ran {
        Ok(ran) if ran.ok() => Outcome::Done,
        Ok(ran) => failed(ran.why()),
        Err(error) => failed(error.message()),
    }
}

fn failed(why: impl Into<String>) -> Outcome {
    Outcome::Failed { why: why.into() }
}

/// tmux starts a command in the home folder when its own is missing: better not at all.
fn directory(dir: &str) -> Result<(), String> {
    match Path::new(dir).is_absolute() && Path::new(dir).is_dir() {
        true => Ok(()),
        false => Err(format!("`{}` is not a directory", one_line(dir, 200))),
    }
}

/// A word that nothing on any screen can know: new in each call, from the random state of std's hash maps.
fn nonce() -> String {
    let word = || std::hash::RandomState::new().build_hasher().finish();
    format!("<wk{:016x}{:016x}>", word(), word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tmux_words_for_no_server_mean_no_server() {
        #[track_caller]
        fn check(stderr: &str, want: bool) {
            let ran = Ran {
                status: Some(1),
                stdout: vec![],
                stderr: stderr.into(),
                timed_out: false,
                flooded: false,
            };
            assert_eq!(no_server(&ran), want, "{stderr}");
            assert!(!no_server(&Ran { status: Some(0), ..ran }));
        }
        check("no server running on /tmp/tmux-0/x\n", true);
        check("error connecting to /tmp/tmux-0/x (No such file or directory)\n", true);
        check("error connecting to /tmp/tmux-0/x (Connection refused)\n", true);
        check("error connecting to /tmp/tmux-0/x (Permission denied)\n", false);
        check("error connecting to /tmp/tmux-0/x (Resource temporarily unavailable)\n", false);
        check("lost server\n", false);
        check("server exited unexpectedly\n", false);
        check("", false);
    }

    #[test]
    fn no_two_calls_share_a_nonce() {
        assert_ne!(nonce(), nonce());
    }
}

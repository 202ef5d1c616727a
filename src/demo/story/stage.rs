//! Where the story is played: a temporary folder, a tmux server of its own, and the watchdog as a child process. All of
//! it is gone when the stage is dropped.
//!
//! Like the demo agent, this plays a part of the outside world (the operator at a shell), so it starts processes itself.

use super::cast::{self, Player};
use crate::base::error::{Error, Result};
use crate::base::text::one_line;
use crate::sys::outside;
use crate::sys::run::{Program, Ran};
use crate::sys::tmux::Tmux;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A socket's path has about 100 bytes (`sun_path`); tmux appends `/tmux-<uid>/<name>` to the folder's.
const FOLDER_LENGTH_MAX: usize = 60;
/// How long the watchdog may take to leave, in naps of 50 ms.
const LEAVE_NAPS: usize = 40;

/// The stage.
#[derive(Debug)]
pub struct Stage {
    folder: Option<TempDir>,
    dir: PathBuf,
    socket: String,
    binary: PathBuf,
    watchdog: Option<Child>,
}

impl Stage {
    /// Makes the folder and starts the server. An error when tmux is missing or too old.
    pub fn set(binary: PathBuf) -> Result<Stage> {
        let socket = format!("watchkeeper-demo-{}", outside::pid());
        Tmux::new(&socket).version()?;
        let folder = make_folder().map_err(|error| Error::from(error).doing("making a temporary folder"))?;
        let dir = outside::canonical(folder.path());
        let stage = Stage { folder: Some(folder), dir, socket, binary, watchdog: None };
        stage.write("agents.toml", &cast::config(&stage.binary, &stage.dir, &stage.socket))?;
        for player in cast::PLAYERS {
            stage.write(&format!("prompts/{}.md", player.name), &format!("{}\n", player.prompt))?;
        }
        make_dir(&stage.dir.join("transcripts"))?;
        // Without the user's tmux.conf: what it starts (plugins that restore sessions) has no business here.
        let server = ["-f", "/dev/null", "start-server", ";", "set-option", "-s", "exit-empty", "off"];
        stage.tmux(&server)?;
        Ok(stage)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The socket's name.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The program that is shown.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join(".watchkeeper")
    }

    /// What the user would type.
    pub fn command_line(&self, command: &str) -> String {
        format!("{} --config {} {command}", self.binary.display(), self.dir.join("agents.toml").display())
    }

    /// Starts the watchdog, as a user would: `watchkeeper run`. Its pid.
    pub fn start_watchdog(&mut self) -> Result<u32> {
        let log = || {
            let path = self.dir.join("watchdog.log");
            OpenOptions::new().create(true).append(true).mode(0o600).open(path)
        };
        let config: OsString = self.dir.join("agents.toml").into();
        let child = Command::new(&self.binary)
            .args(["--config".into(), config, "run".into()])
            .current_dir(&self.dir)
            .env("TMUX_TMPDIR", &self.dir)
            .env_remove("TMUX")
            // ^C in our terminal is ours.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .spawn()
            .map_err(|error| Error::from(error).at(&self.binary).doing("starting the watchdog"))?;
        let pid = child.id();
        self.watchdog = Some(child);
        Ok(pid)
    }

    /// Ends the watchdog with KILL: it gets no chance to tidy up.
    pub fn kill_watchdog(&mut self) {
        if let Some(mut child) = self.watchdog.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends the watchdog as it wishes to be ended.
    pub fn stop_watchdog(&mut self) {
        let Some(child) = &mut self.watchdog else { return };
        signal(child.id(), rustix::process::Signal::TERM);
        for _ in 0..LEAVE_NAPS {
            if !matches!(child.try_wait(), Ok(None)) {
                self.watchdog = None;
                return;
            }
            outside::nap(0.05);
        }
        self.kill_watchdog();
    }

    /// An error if the watchdog left although nobody ended it.
    pub fn check_watchdog(&mut self) -> Result<()> {
        let Some(child) = &mut self.watchdog else { return Ok(()) };
        let Some(status) = child.try_wait()? else { return Ok(()) };
        self.watchdog = None;
        Err(Error::again(format!("the watchdog left ({}): {}", status, self.last_words())))
    }

    fn last_words(&self) -> String {
        let log = outside::read_text(&self.dir.join("watchdog.log"), 1 << 20).unwrap_or_default();
        one_line(log.lines().last().unwrap_or("it said nothing"), 300)
    }

    /// Ends a player's process with KILL.
    pub fn kill(&self, pid: u32) {
        signal(pid, rustix::process::Signal::KILL);
    }

    /// Presses a key in a player's pane, as a person would.
    pub fn press(&self, player: Player, key: &str) -> Result<()> {
        self.tmux(&["send-keys", "-t", &target(player), key]).map(|_| ())
    }

    /// What a player's pane shows.
    pub fn screen(&self, player: Player) -> Result<String> {
        let ran = self.tmux(&["capture-pane", "-p", "-t", &target(player)])?;
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    /// Leaves folder and server as they are.
    pub fn keep(&mut self) {
        self.stop_watchdog();
        if let Some(folder) = self.folder.take() {
            let _ = folder.keep();
        }
    }

    fn tmux(&self, args: &[&str]) -> Result<Ran> {
        let program = Program::new("tmux").args(["-u", "-L", &self.socket]).args(args);
        let ran = program.env("TMUX_TMPDIR", &self.dir).without_env("TMUX").run()?;
        if ran.ok() { Ok(ran) } else { Err(Error::again(ran.why()).doing("asking tmux")) }
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        outside::write_text(&self.dir.join(path), text)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.folder.is_some() {
            self.kill_watchdog();
            // The agents go with their terminals.
            let _ = self.tmux(&["kill-server"]);
        }
    }
}

fn make_folder() -> std::io::Result<TempDir> {
    let usual = std::env::temp_dir();
    let base = if usual.as_os_str().len() <= FOLDER_LENGTH_MAX { usual } else { PathBuf::from("/tmp") };
    tempfile::Builder::new().prefix("watchkeeper-demo-").tempdir_in(base)
}

fn make_dir(dir: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| Error::from(error).at(dir))
}

/// The exact session; never a prefix of another one's name.
fn target(player: Player) -> String {
    format!("=crew-{}:", player.name)
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Everything in a file, as text; empty when it is missing.
pub fn text_of(path: &Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // The files of one story are small; a bound all the same.
        let _ = file.take(16 << 20).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

//! Where the CLIs live: links to the installed ones, a home of their own, the mock on a port of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Ends the mock when dropped.
pub struct Lab {
    pub dir: PathBuf,
    _keep: tempfile::TempDir,
    script: PathBuf,
    port: u16,
}

impl Lab {
    pub fn new(script: &Path, clis: &[String]) -> Lab {
        let installed = std::env::var_os("LAB").map(PathBuf::from).unwrap();
        let keep = tempfile::Builder::new().prefix("wk-real-").tempdir().unwrap();
        let dir = keep.path().to_owned();
        for cli in clis {
            std::os::unix::fs::symlink(installed.join(cli), dir.join(cli)).unwrap();
        }
        let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or_else(free_port);
        let lab = Lab { dir, _keep: keep, script: script.to_owned(), port };
        std::fs::create_dir_all(lab.dir.join("run")).unwrap();
        let names: Vec<&str> = clis.iter().map(String::as_str).collect();
        lab.call(&[&["prepare"], &names[..]].concat());
        for cli in clis {
            let line = lab.call(&["command", cli]);
            // Only subscribers have plan limits.
            let line = line.replace("ANTHROPIC_API_KEY=sk-test", "CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-test");
            let start = format!("#!/bin/sh\nexec {} \"$@\"\n", line.trim());
            let path = lab.start(cli);
            std::fs::write(&path, start).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, mode).unwrap();
        }
        lab.call(&["mock"]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the mock does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        lab
    }

    /// The program that starts a CLI with further arguments.
    pub fn start(&self, cli: &str) -> PathBuf {
        self.dir.join("run").join(cli)
    }

    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub fn requests(&self) -> PathBuf {
        self.dir.join("requests.jsonl")
    }

    fn call(&self, args: &[&str]) -> String {
        // To a file: the mock that is started must not keep a pipe of ours open.
        let out = self.dir.join("run/out");
        let file = std::fs::File::create(&out).unwrap();
        let status = Command::new(&self.script)
            .args(args)
            .env("LAB", &self.dir)
            .env("PORT", self.port.to_string())
            .env("PROJECT", "/nonexistent")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .status()
            .unwrap();
        let said = std::fs::read_to_string(&out).unwrap();
        assert!(status.success(), "{} {args:?}: {said}", self.script.display());
        said
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(self.dir.join("mock.pid")) {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
        end_leftovers(&self.dir);
    }
}

/// Daemons that a CLI left behind: whatever carries our folder in its environment or command line.
fn end_leftovers(dir: &Path) {
    let needle = dir.to_string_lossy().into_owned();
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<u32>() else { continue };
        if pid == std::process::id() {
            continue;
        }
        let holds = |file: &str| {
            std::fs::read(entry.path().join(file))
                .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&needle))
        };
        if holds("cmdline") || holds("environ") {
            let _ = Command::new("kill").args(["-9", &name]).status();
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

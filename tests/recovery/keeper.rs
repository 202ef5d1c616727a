//! Who watches the watchdog: the lines of the README for cron and systemd, as far as a machine without either can try them.

use crate::FAST;
use crate::lab::{Agent, Lab};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The commands of the crontab lines.
fn cron_lines() -> Vec<String> {
    let is_time = |word: &&str| word.starts_with('*');
    let commands = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.len() > 5 && words.iter().take(5).all(is_time)).then(|| words[5..].join(" "))
    };
    readme().lines().filter_map(commands).collect()
}

#[test]
fn the_lines_for_cron_work_in_the_environment_of_cron() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "")]);
    let home = lab.path().join("home");
    std::fs::create_dir_all(home.join(".cargo/bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_watchkeeper"), home.join(".cargo/bin/watchkeeper"))
        .unwrap();
    std::os::unix::fs::symlink(lab.path(), home.join("fleet")).unwrap();
    let lines = cron_lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in &lines {
        // As cron does it; TMUX_TMPDIR keeps the test's server apart.
        let mut cron = Command::new("sh");
        cron.env_clear().args(["-c", line]).current_dir(&home).env("HOME", &home).env("LOGNAME", "me");
        cron.env("SHELL", "/bin/sh").env("PATH", "/usr/bin:/bin").env("TMUX_TMPDIR", lab.path());
        let ended = lab.finish(cron);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}\n{}", lab.dump());
        lab.until("it runs", || lab.sessions().contains(&"t-a".to_owned()));
    }
    lab.until("the watchdog has its session", || lab.sessions().contains(&"t-watchkeeper".to_owned()));
    assert_eq!(lab.starts("a"), 1, "started once by both");
}

#[test]
fn status_tells_the_age_of_the_heartbeat() {
    let lab = Lab::new(FAST, &[Agent::persistent("a", "")]);
    let watch = lab.watch();
    lab.until("it ticks", || lab.believed("a") == "idle");
    let shown = || serde_json::from_str::<serde_json::Value>(&lab.run(&["status", "--json"]).out).unwrap();
    assert!(shown()["watchdog"]["age_s"].as_f64().is_some_and(|age| age < 30.0), "{}", shown());
    watch.kill();
    assert_eq!(shown()["watchdog"]["health"], "stopped");
    assert!(shown()["watchdog"]["age_s"].is_number());
}

/// The sections of the unit file and their keys.
fn unit_file() -> (String, BTreeMap<String, Vec<(String, String)>>) {
    let text = readme();
    let text = text.split("```ini\n").nth(1).unwrap().split("```").next().unwrap().to_owned();
    let mut sections: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => name.clone_into(&mut section),
            None => {
                let (key, value) = line.split_once('=').unwrap();
                sections.entry(section.clone()).or_default().push((key.to_owned(), value.to_owned()));
            }
        }
    }
    (text, sections)
}

#[test]
fn the_systemd_unit_has_its_keys_where_systemd_looks_for_them() {
    let (text, sections) = unit_file();
    let keys = |name: &str| -> Vec<&str> { sections[name].iter().map(|(key, _)| key.as_str()).collect() };
    // In [Service] systemd ignores the start limits with a warning (systemd.unit(5), since 230).
    assert_eq!(keys("Unit"), ["Description", "StartLimitIntervalSec", "StartLimitBurst"]);
    assert_eq!(keys("Service"), ["Environment", "ExecStart", "Restart", "RestartSec", "KillMode"]);
    assert_eq!(keys("Install"), ["WantedBy"]);
    let number = |key: &str| -> f64 {
        let all: Vec<&(String, String)> =
            sections.values().flatten().filter(|(name, _)| name == key).collect();
        all[0].1.parse().unwrap()
    };
    // A loop of crashes must reach the limit: that many starts fit into the interval.
    assert!(number("RestartSec") * number("StartLimitBurst") < number("StartLimitIntervalSec"));
    if Command::new("systemd-analyze").arg("--version").output().is_ok() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watchkeeper.service");
        let real = text.replace("%h/.cargo/bin/watchkeeper", env!("CARGO_BIN_EXE_watchkeeper"));
        std::fs::write(&path, real).unwrap();
        let out = Command::new("systemd-analyze")
            .args(["verify", "--user"])
            .arg(&path)
            .env("XDG_RUNTIME_DIR", dir.path())
            .output()
            .unwrap();
        // (Where no manager runs it complains of that; of the unit it would say its name.)
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!said.contains("watchkeeper.service"), "{said}");
    }
}

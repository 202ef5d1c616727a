//! How often hosts are asked: once for all units of a host, however many there are.

use crate::lab;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watchkeeper::base::names::UnitName;
use watchkeeper::model::process::{HostPlace, RunId, RunQuery, RunSeen};
use watchkeeper::sys::hosts::remote::Remotes;

/// Units of each host.
const UNITS: usize = 50;
/// Set where the programs below are on the PATH.
const BIN: &str = "HOSTS_TEST_BIN";

/// A program that counts how often it is asked, and knows of nothing.
fn program(bin: &Path, name: &str, says: &str) {
    let path = bin.join(name);
    let asked = bin.join(format!("{name}.asked"));
    std::fs::write(&path, format!("#!/bin/sh\necho asked >> {}\n{says}\n", asked.display())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn asked(bin: &Path, name: &str) -> usize {
    std::fs::read_to_string(bin.join(format!("{name}.asked"))).map_or(0, |text| text.lines().count())
}

#[test]
fn one_question_a_look_serves_all_units_of_a_host() {
    let Some(bin) = std::env::var_os(BIN).map(PathBuf::from) else {
        let dir = tempfile::tempdir().unwrap();
        program(dir.path(), "squeue", "");
        program(dir.path(), "docker", "echo '[]'");
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let bin = dir.path().to_str().unwrap();
        let test = "queries::one_question_a_look_serves_all_units_of_a_host";
        return lab::assert_runs(test, &[("PATH", &path), (BIN, bin)]);
    };
    let docker = HostPlace::Docker { engine: "docker".to_owned() };
    let queries: Vec<RunQuery> = (0..UNITS * 2)
        .map(|n| RunQuery {
            unit: UnitName::new(&format!("u{n}")).unwrap(),
            place: if n % 2 == 0 { HostPlace::Slurm } else { docker.clone() },
            known: RunId::default(),
        })
        .collect();
    let queries: Vec<&RunQuery> = queries.iter().collect();
    let state = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_watchkeeper"));
    // Asked again so late that a look in between is answered from memory.
    for (round, again_s) in [(1, 1000.0), (2, 0.0)] {
        let mut remotes = Remotes::with(binary, again_s);
        let deadline = Instant::now() + Duration::from_secs(60);
        let both = |count: usize| asked(&bin, "squeue") >= count && asked(&bin, "docker") >= count;
        loop {
            let seen = remotes.look(state.path(), &queries);
            assert_eq!(seen.len(), UNITS * 2);
            let known = seen.iter().filter(|seen| !matches!(seen, RunSeen::Unknown { .. })).count();
            if known == UNITS * 2 && both(round) {
                break;
            }
            assert!(Instant::now() < deadline, "{known} known: {seen:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        if round == 1 {
            for _ in 0..20 {
                remotes.look(state.path(), &queries);
            }
            assert_eq!((asked(&bin, "squeue"), asked(&bin, "docker")), (1, 1));
        }
    }
    // A look asks each host at most once, though it is asked again at every look now.
    let looks = asked(&bin, "squeue").max(asked(&bin, "docker"));
    assert!(looks < UNITS, "{looks} questions");
}

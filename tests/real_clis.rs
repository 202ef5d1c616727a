//! The watchdog over real agent CLIs, which talk to a local mock of the model APIs whose request log is the judge.
//!
//! Runs only when `WATCHKEEPER_REAL_CLIS` names a launcher script that knows
//!     SCRIPT prepare CLI…   write the CLIs' configs below $LAB (for a server on $PORT)
//!     SCRIPT command CLI    print the shell line that starts the CLI in the current directory
//!     SCRIPT mock           start the mock on $PORT in the background: pid in $LAB/mock.pid, log in $LAB/requests.jsonl
//! `LAB` names the folder with the installed CLIs; the test works in a copy of links. Further variables:
//!     WATCHKEEPER_REAL_ONLY=claude,codex   which CLIs (all six)
//!     WATCHKEEPER_REAL_SCENES=start,idle   which scenes (all)
//!     WATCHKEEPER_REAL_COUNT=50            texts per delivery scene
//!     WATCHKEEPER_REAL_OUT=DIR             keep screens, events and the log of failures there

#![expect(clippy::unwrap_used, reason = "a test")]

mod real;

use real::fleet::Fleet;
use real::lab::Lab;
use real::scenes::{self, Scene, Watchdog};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const CLIS: [&str; 6] = ["claude", "codex", "opencode", "gemini", "qwen", "aider"];
/// A scene's name and how it ended.
type Row = (String, Result<String, String>);

#[test]
fn a_fleet_of_real_clis() {
    let Some(script) = std::env::var_os("WATCHKEEPER_REAL_CLIS") else {
        println!(
            "skipped: WATCHKEEPER_REAL_CLIS=LAUNCHER LAB=DIR cargo test --test real_clis -- --nocapture"
        );
        return;
    };
    let clis = chosen("WATCHKEEPER_REAL_ONLY", &CLIS);
    let names: Vec<&str> = scenes::ALL.iter().map(|scene| scene.name).collect();
    let wanted = chosen("WATCHKEEPER_REAL_SCENES", &names);
    let count = std::env::var("WATCHKEEPER_REAL_COUNT").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let lab = Lab::new(&PathBuf::from(script), &clis);
    let mut fleet = Fleet::new(lab, &clis, count);
    let mut table: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    // A CLI that did not start needs no further scene.
    let mut unable = BTreeSet::new();
    for scene in scenes::ALL.iter().filter(|scene| wanted.contains(&scene.name.to_owned())) {
        fleet.configure(&scene.knobs);
        let able: Vec<String> = clis.iter().filter(|cli| !unable.contains(*cli)).cloned().collect();
        for (cli, outcome) in play(&fleet, scene, &able) {
            println!("{:<9} {:<8} {}", scene.name, cli, show(&outcome));
            if outcome.is_err() {
                fleet.keep(&cli, scene.name);
                if scene.name == "start" {
                    unable.insert(cli.clone());
                }
            }
            table.entry(cli).or_default().push((scene.name.to_owned(), outcome));
        }
    }
    fleet.keep_all();
    println!();
    let mut failures = 0;
    for (cli, rows) in &table {
        for (scene, outcome) in rows {
            println!("{cli:<9} {scene:<9} {}", show(outcome));
            failures += usize::from(outcome.is_err());
        }
    }
    assert_eq!(failures, 0, "scenes that failed; see above");
}

#[expect(clippy::print_stdout, reason = "the report")]
fn play(fleet: &Fleet, scene: &Scene, clis: &[String]) -> Vec<(String, Result<String, String>)> {
    std::thread::scope(|scope| {
        let tasks: Vec<_> = clis
            .iter()
            .map(|cli| {
                (
                    cli,
                    scope.spawn(move || {
                        let began = std::time::Instant::now();
                        let outcome = (scene.play)(fleet, cli);
                        let took = began.elapsed().as_secs_f64();
                        outcome.map(|said| format!("{said} [{took:.0} s]"))
                    }),
                )
            })
            .collect();
        if scene.watchdog == Watchdog::Killed {
            let times = fleet.crash_until(|| tasks.iter().all(|(_, task)| task.is_finished()));
            println!("{:<9} the watchdog was killed {times} times", scene.name);
        }
        tasks.into_iter().map(|(cli, task)| (cli.clone(), task.join().unwrap())).collect()
    })
}

fn show(outcome: &Result<String, String>) -> String {
    match outcome {
        Ok(said) => format!("ok    {said}"),
        Err(why) => format!("FAILED {why}"),
    }
}

fn chosen(variable: &str, all: &[&str]) -> Vec<String> {
    let named = std::env::var(variable).unwrap_or_default();
    let named: Vec<&str> = named.split(',').filter(|name| !name.is_empty()).collect();
    if named.is_empty() {
        return all.iter().map(|name| (*name).to_owned()).collect();
    }
    assert!(named.iter().all(|name| all.contains(name)), "{variable}: one of {all:?}");
    all.iter().filter(|name| named.contains(name)).map(|name| (*name).to_owned()).collect()
}

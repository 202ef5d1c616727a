//! The whole watchdog over processes: flaky, poisoned, leaking, stalled, storming, in stages, past their deadlines, mended by
//! agents or not. First safety (the books agree with the world in every tick), then liveness. `PSEED=n` reruns one seed with
//! its whole story; `PSEEDS=n` is the last one of a run, `PFROM=n` the first.
//!
//! Deliberately not here: agents and services in tmux (the rest of this simulator), real processes (tests/process).

mod books;
mod fleet;
mod host;
mod interactive;
mod jobs;
mod ledger;
mod machine;
mod mutants;
mod recover;
mod remote;
mod run;
mod script;
mod troubles;

use crate::number;
use crate::run::Stats;
use crate::threads::on_two_threads;
use run::{Plan, run};

/// Seeds of a usual run.
const SEEDS: u64 = 3;

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        decide: watchkeeper::policy::decide,
        safety_ticks: 300,
        liveness: true,
        troubles: None,
        hunted: None,
    }
}

#[test]
fn every_process_is_kept_and_the_books_agree() {
    let seeds: Vec<u64> = match number("PSEED") {
        Some(seed) => vec![seed],
        None => (number("PFROM").unwrap_or(1)..=number("PSEEDS").unwrap_or(SEEDS)).collect(),
    };
    let runs = on_two_threads(&seeds, |seed| run(&plan(*seed)));
    assert_eq!(runs.len(), seeds.len());
    let mut total = Stats::default();
    let mut failures = Vec::new();
    for run in runs {
        match run {
            Ok(stats) => {
                total.ticks += stats.ticks;
                total.effects += stats.effects;
            }
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(first) = failures.first() {
        let all: Vec<String> = failures.iter().map(|failure| failure.line()).collect();
        let lines = number("STORY").map_or(40, |n| n as usize);
        let from = first.story.len().saturating_sub(lines);
        let story = first.story[from..].join("\n");
        panic!("{story}\n\n{}\nPSEED={} cargo test --test simulation", all.join("\n"), first.seed);
    }
    println!("{} ticks, {} effects", total.ticks, total.effects);
    assert!(total.effects > 0, "nothing happened in the simulation");
}

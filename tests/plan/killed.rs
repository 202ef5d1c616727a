//! kill -9 of the watchdog at random points, over and over, while a plan of six phases goes on: it always completes, and
//! everybody is told everything once, and every token is counted once.

use crate::fleet::Fleet;
use std::time::{Duration, Instant};
use watchkeeper::model::usage::Totals;

/// `WATCHKEEPER_PLAN_KILLS=200` for the long run; the default is what a test may take.
fn kills_wanted() -> usize {
    std::env::var("WATCHKEEPER_PLAN_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

/// A small generator: the same seed, the same story.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn a_plan_completes_under_a_watchdog_that_is_killed_again_and_again() {
    const PHASES: usize = 6;
    let handoff = "[loop.handoff]\nclaim_pattern = \"^claim\"\nclaim_pings = \"critic\"\n";
    let fleet = Fleet::new(PHASES, handoff);
    let seed = std::env::var("WATCHKEEPER_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(20_261_121);
    let mut rng = Rng(seed);
    let wanted = kills_wanted();
    let (mut kills, mut claims, mut pushed) = (0, 0, 0);
    let began = Instant::now();
    while !fleet.world.state("SEQUENCE-COMPLETE").exists() || kills < wanted {
        assert!(
            began.elapsed() < Duration::from_secs(60 + 3 * wanted as u64),
            "{}",
            fleet.world.everything()
        );
        let mut watchdog = fleet.watchdog();
        std::thread::sleep(Duration::from_millis(30 + rng.below(900)));
        watchdog.kill();
        kills += 1;
        // The work goes on meanwhile: a claim in each phase, then its end, evenly over the kills.
        let phase = pushed + 1;
        let due = kills >= pushed * wanted / PHASES;
        let here = ["builder", "mate"]
            .iter()
            .all(|agent| fleet.kickoffs(agent).contains(&format!("p{phase}")) && fleet.has_answered(agent));
        if phase <= PHASES && due && here {
            if claims < phase {
                claims += 1;
                fleet.commit(&format!("claim(c{claims}): part {claims}"), &[]);
            } else if fleet.told("critic").len() >= claims && fleet.has_answered("critic") {
                pushed += 1;
                fleet.done(pushed);
            }
        }
    }
    let _watchdog = fleet.watchdog();
    fleet.world.await_that("the last task was told", || !fleet.told("reporter").is_empty());
    let want: Vec<String> = (1..=PHASES).map(|n| format!("p{n}")).collect();
    for agent in ["builder", "mate"] {
        assert_eq!(fleet.kickoffs(agent), want, "{agent}, seed {seed}\n{}", fleet.world.everything());
    }
    let heard: Vec<String> = fleet.told("critic");
    assert_eq!(heard.len(), PHASES, "each claim once, seed {seed}: {heard:?}");
    for n in 1..=PHASES {
        assert_eq!(
            heard.iter().filter(|text| text.contains(&format!("claim(c{n})"))).count(),
            1,
            "{heard:?}"
        );
    }
    assert_eq!(fleet.told("reporter").len(), 1, "the end comes once");
    let used = check_ledger(&fleet, PHASES);
    println!(
        "{kills} kills, {PHASES} phases, {} turns, {} tokens, {:.0} s, seed {seed}",
        used.messages,
        used.total,
        began.elapsed().as_secs_f64()
    );
}

/// Each turn was counted once; the ledger has a record for each phase before and after its claim, and their sum is what the
/// agents used until the plan was complete. What was used of all agents.
#[track_caller]
fn check_ledger(fleet: &Fleet, phases: usize) -> Totals {
    let world = &fleet.world;
    let agents = ["builder", "mate", "critic", "reporter"];
    world.await_that("everybody has answered", || agents.iter().all(|agent| fleet.has_answered(agent)));
    for agent in agents {
        world.await_that(&format!("each turn of {agent} is counted once"), || {
            fleet.counted(agent) == fleet.used(agent)
        });
    }
    world.await_that("the ledger is complete", || fleet.ledger().len() >= 2 * phases);
    let ledger = fleet.ledger();
    let ids: Vec<&str> = ledger.iter().map(|record| record.phase_id.as_str()).collect();
    let want: Vec<String> = (1..=phases).flat_map(|n| [format!("p{n}"), format!("p{n}:c{n}")]).collect();
    assert_eq!(ids, want, "{}", world.everything());
    for pair in ledger.windows(2) {
        assert!(pair[0].ended <= pair[1].started, "{pair:?}");
    }
    let sum = |of: &dyn Fn(&watchkeeper::state::tokens::Record) -> Totals| {
        ledger.iter().fold(Totals::default(), |sum, record| sum.plus(&of(record)))
    };
    let mut until_complete = Totals::default();
    for agent in &agents[..3] {
        let recorded = sum(&|record| record.agents.get(*agent).copied().unwrap_or_default());
        assert_eq!(recorded, fleet.used(agent), "{agent}: {ledger:?}");
        until_complete = until_complete.plus(&recorded);
    }
    assert_eq!(sum(&|record| record.total), until_complete, "the last task came after it: {ledger:?}");
    until_complete.plus(&fleet.used("reporter"))
}

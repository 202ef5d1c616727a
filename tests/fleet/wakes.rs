//! Scheduled prompts and runs.

use crate::FAST;
use crate::lab::{Agent, Lab};
use serde_json::json;

#[test]
fn an_interval_wakes_again_and_again() {
    let lab = Lab::new(
        FAST,
        &[Agent::persistent("a", "").with("wake = { interval = 2, prompt = \"look around\" }")],
    );
    let _watch = lab.watch();
    lab.until("the third wake", || lab.times_given("a", "look around") == 3);
    assert_eq!(lab.acts("a", "wake"), 3, "{}", lab.dump());
    let at = |n: usize| {
        let events = lab.transcript("a");
        let nth = events.iter().filter(|event| event["type"] == "user").nth(n).unwrap();
        nth["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    assert!(at(2).duration_since(at(0)).as_secs_f64() >= 3.0, "{}", lab.dump());
}

#[test]
fn a_missed_cron_time_fires_once_however_late() {
    let wake = "wake = { at = \"0 6 * * *\", tz = \"UTC\", prompt = \"morning\" }";
    let lab = Lab::new(FAST, &[Agent::persistent("a", "").with(wake)]);
    lab.tick_until("idle, with a due time", || {
        lab.believed("a") == "idle"
            && lab.unit("a")["wake"]["due"].as_str().is_some_and(|due| due.contains("T06:00:00"))
    });
    assert!(lab.given("a").is_empty());
    // Three days go by unwatched.
    let mut file = lab.unit("a");
    file["wake"]["due"] = json!((jiff::Timestamp::now() - jiff::SignedDuration::from_hours(72)).to_string());
    lab.replace("units/a/unit.json", &file.to_string());
    lab.tick_until("the wake", || lab.times_given("a", "morning") == 1);
    for _ in 0..2 {
        lab.tick();
    }
    assert_eq!(lab.times_given("a", "morning"), 1);
    let due: jiff::Timestamp = lab.unit("a")["wake"]["due"].as_str().unwrap().parse().unwrap();
    assert!(due > jiff::Timestamp::now(), "{due}");
}

#[test]
fn a_task_runs_on_its_schedule_with_its_prompt() {
    let lab =
        Lab::new(FAST, &[Agent::task("a", "").with("wake = { interval = 3, prompt = \"report\\nDONE\" }")]);
    let _watch = lab.watch();
    lab.until("the second run", || lab.starts("a") == 2);
    lab.until("its prompt", || lab.times_given("a", "report") == 2);
    assert_eq!(lab.acts("a", "restart"), 0, "{}", lab.dump());
}

#[test]
fn a_busy_agent_is_woken_when_it_is_idle_again() {
    let wake = "wake = { interval = 1, prompt = \"look around\" }";
    let lab = Lab::new(FAST, &[Agent::persistent("a", "WORK 4").with(wake)]);
    let _watch = lab.watch();
    lab.until("it is held", || lab.hold("a").contains("wake: retried when it is idle"));
    assert!(lab.given("a").is_empty());
    lab.until("it is woken", || lab.times_given("a", "look around") >= 1);
    let steps = lab.said("a").iter().filter(|line| line.starts_with("step ")).count();
    assert_eq!(steps, 4, "its work was not interrupted\n{}", lab.dump());
}

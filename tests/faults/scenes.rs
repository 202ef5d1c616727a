//! What a tick is in the midst of when it is broken, and what must be true afterwards. A scene is played again and again
//! in one lab, each time with a number of its own.

use crate::lab::{Agent, Lab};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Labs that play one scene at the same time: a play mostly waits.
pub const WORKERS: usize = 6;

/// One situation.
#[derive(Clone, Copy)]
pub struct Scene {
    pub name: &'static str,
    pub watchdog: &'static str,
    pub agents: fn() -> Vec<Agent>,
    /// Whether one lab serves for one play only.
    pub lab: Labs,
    /// Brings the fleet to where the scene begins.
    pub ready: fn(&Lab, usize),
    /// What the broken tick finds.
    pub trigger: fn(&Lab, usize),
    /// Everything has come to its end.
    pub over: fn(&Lab, usize, &Before) -> bool,
    /// What must be true then.
    pub check: fn(&Lab, usize, &Before),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labs {
    /// Many plays in one lab.
    Shared,
    /// A new one for each play.
    Fresh,
}

/// Facts from before the broken tick.
#[derive(Clone, Debug, Default)]
pub struct Before {
    starts: usize,
    given: usize,
    restarts: u64,
    alerts: usize,
    pid: Option<i32>,
}

impl Scene {
    /// A lab for it, ready.
    pub fn lab(&self, weight: usize) -> Lab {
        Lab::weighing(weight, self.watchdog, &(self.agents)())
    }

    /// Plays it once: `broken` runs a tick that may end early, however it does that.
    #[track_caller]
    pub fn play(&self, lab: &Lab, what: &str, broken: impl FnOnce(&Lab)) {
        static PLAYS: AtomicUsize = AtomicUsize::new(1);
        let n = PLAYS.fetch_add(1, Ordering::Relaxed);
        (self.ready)(lab, n);
        let before = Before {
            starts: lab.starts("a"),
            given: lab.given("a").len(),
            restarts: lab.unit("a")["restart"]["total"].as_u64().unwrap_or(0),
            alerts: lab.alerts().len(),
            pid: lab.pid("a"),
        };
        (self.trigger)(lab, n);
        broken(lab);
        lab.tick_until(&format!("{}, broken at {what}: its end", self.name), || {
            // A lost start is paid for all the same, so that the next one has to wait: let time pass.
            if lab.hold("a").contains("backoff: ") {
                lab.age("a", 700.0);
            }
            (self.over)(lab, n, &before)
        });
        let quiet = lab.tick();
        let context = || format!("{}, broken at {what}\n{}\n{}", self.name, quiet.out, lab.dump());
        (self.check)(lab, n, &before);
        assert!(lab.quarantined().is_empty(), "a file was put aside: {}", context());
        let sessions = lab.sessions().iter().filter(|session| *session == "t-a").count();
        assert!(sessions <= 1, "two sessions: {}", context());
        assert!(lab.unit("a")["owed"].as_array().is_none_or(Vec::is_empty), "still owed: {}", context());
        assert_eq!(duplicates(lab), Vec::<String>::new(), "an alert twice: {}", context());
        assert!(leftovers(lab).is_empty(), "leftovers {:?}: {}", leftovers(lab), context());
    }
}

/// Ids that are in the outbox more than once.
fn duplicates(lab: &Lab) -> Vec<String> {
    let mut ids: Vec<String> = lab.alerts().iter().map(|alert| alert["id"].to_string()).collect();
    ids.sort();
    let all = ids.clone();
    ids.dedup();
    ids.retain(|id| all.iter().filter(|other| *other == id).count() > 1);
    ids
}

/// Temporary files that nobody took away.
fn leftovers(lab: &Lab) -> Vec<String> {
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(lab.state(folder)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let all = names("").into_iter().chain(names("units/a"));
    all.filter(|name| name.starts_with(".wk-")).collect()
}

/// Plays the scene for each of these turns, several labs at a time, until one breaks off. `lab` is ready for the first, and
/// holds the place of all.
pub fn play_all<T: Send>(
    scene: &Scene,
    lab: Lab,
    mut turns: Vec<T>,
    play: impl Fn(&Lab, &T) -> ControlFlow<()> + Sync,
) {
    turns.reverse();
    let turns = Mutex::new(turns);
    let next = || turns.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = |mut own: Option<Lab>| {
        while let Some(turn) = next() {
            let lab = own.take().unwrap_or_else(|| scene.lab(0));
            if play(&lab, &turn).is_break() {
                turns.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            own = Some(lab).filter(|_| scene.lab == Labs::Shared);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..WORKERS {
            scope.spawn(|| work(None));
        }
        match scene.lab {
            Labs::Shared => work(Some(lab)),
            Labs::Fresh => {
                work(None);
                drop(lab);
            }
        }
    });
}

#[track_caller]
fn assert_same(lab: &Lab, what: &str, got: usize, want: usize) {
    assert!(got == want, "{what}: {got:?}, not {want}\n{}", lab.dump());
}

fn idle(lab: &Lab) -> bool {
    let unit = lab.unit("a");
    unit["seen"]["state"] == "idle"
        && unit["seen"]["candidate"].is_null()
        && unit["delivery"]["current"].is_null()
        && unit["launch"]["kickoff"] == "done"
}

/// Idle, with its budgets fresh.
fn ready_idle(lab: &Lab, _: usize) {
    lab.tick_until("it is idle", || idle(lab));
    let mut unit = lab.unit("a");
    unit["restart"]["past_awake_s"] = json!([]);
    lab.replace("units/a/unit.json", &unit.to_string());
}

fn nothing(_: &Lab, _: usize) {}

fn persistent() -> Vec<Agent> {
    vec![Agent::persistent("a", "").with("ladder = { grace_s = 2 }")]
}

const QUICK: &str = "signal_interval = 20\nadvance_grace_s = 5";

/// The very first tick: no state, no server, a prompt to be typed.
pub const FIRST: Scene = Scene {
    name: "first start",
    watchdog: QUICK,
    agents: || vec![Agent::looping("a", "").prompt("Begin with it.")],
    lab: Labs::Fresh,
    ready: nothing,
    trigger: nothing,
    over: |lab, _, _| idle(lab) && lab.said("a").len() == 1,
    check: |lab, _, _| {
        assert_same(lab, "starts", lab.starts("a"), 1);
        assert_eq!(lab.given("a"), ["Begin with it."], "{}", lab.dump());
        assert_eq!(lab.sessions(), ["t-a"]);
    },
};

/// It died a moment ago.
pub const HEAL: Scene = Scene {
    name: "heal",
    watchdog: QUICK,
    agents: || vec![Agent::looping("a", "").prompt("Begin anew.")],
    lab: Labs::Shared,
    ready: ready_idle,
    trigger: |lab, _| {
        crate::lab::signal(lab.pid("a").unwrap(), rustix::process::Signal::KILL);
        lab.until("tmux sees it dead", || lab.pid("a").is_none());
    },
    over: |lab, _, before| idle(lab) && lab.given("a").len() > before.given,
    check: |lab, _, before| {
        assert_same(lab, "starts", lab.starts("a"), before.starts + 1);
        assert_same(lab, "prompts", lab.given("a").len(), before.given + 1);
        let paid = lab.unit("a")["restart"]["total"].as_u64().unwrap() - before.restarts;
        // A start that was paid for and lost by the kill is paid for again.
        assert!((1..=2).contains(&paid), "{paid} restarts paid for\n{}", lab.dump());
    },
};

/// A person's text.
pub const NUDGE: Scene = Scene {
    name: "nudge",
    watchdog: QUICK,
    agents: persistent,
    lab: Labs::Shared,
    ready: ready_idle,
    trigger: |lab, n| {
        lab.ask_as(&format!("nudge-{n}"), &json!({"nudge": {"unit": "a", "text": format!("text {n}.")}}));
    },
    over: |lab, n, _| idle(lab) && lab.times_given("a", &format!("text {n}.")) > 0,
    check: |lab, n, before| {
        assert_same(lab, "given", lab.times_given("a", &format!("text {n}.")), 1);
        assert_same(lab, "all given", lab.given("a").len(), before.given + 1);
        assert_same(lab, "starts", lab.starts("a"), before.starts);
        handled_once(lab, &format!("nudge-{n}"));
        assert_same(lab, "alerts", lab.alerts().len(), before.alerts);
    },
};

/// A person's restart.
pub const RESTART: Scene = Scene {
    name: "restart",
    watchdog: QUICK,
    agents: persistent,
    lab: Labs::Shared,
    ready: ready_idle,
    trigger: |lab, n| lab.ask_as(&format!("restart-{n}"), &json!({"restart": {"unit": "a"}})),
    over: |lab, _, before| idle(lab) && lab.starts("a") > before.starts && lab.unit("a")["ending"].is_null(),
    check: |lab, n, before| {
        assert_same(lab, "starts", lab.starts("a"), before.starts + 1);
        assert!(lab.pid("a").is_some() && lab.pid("a") != before.pid);
        handled_once(lab, &format!("restart-{n}"));
    },
};

/// A person's `down`, with a child that survives the hang-up.
pub const DOWN: Scene = Scene {
    name: "down",
    watchdog: QUICK,
    agents: || {
        vec![Agent::persistent("a", "ORPHAN").with("ladder = { grace_s = 2 }"), Agent::persistent("b", "")]
    },
    lab: Labs::Shared,
    ready: |lab, n| {
        if lab.state("units/a/down").exists() {
            lab.ask_as(&format!("up-{n}"), &json!({"up": {"unit": "a"}}));
        }
        lab.tick_until("it runs", || idle(lab) && lab.pid("a").is_some());
    },
    trigger: |lab, n| lab.ask_as(&format!("down-{n}"), &json!({"down": {"unit": "a", "reason": "night"}})),
    over: |lab, _, _| lab.sessions() == ["t-b"] && lab.unit("a")["ending"].is_null(),
    check: |lab, n, before| {
        handled_once(lab, &format!("down-{n}"));
        assert!(lab.state("units/a/down").exists());
        assert_same(lab, "starts", lab.starts("a"), before.starts);
        assert_same(lab, "starts of the other", lab.starts("b"), 1);
        assert!(!crate::lab::lives(before.pid.unwrap()));
        let orphans =
            lab.said("a").into_iter().filter_map(|line| line.strip_prefix("orphan ")?.parse::<i32>().ok());
        assert_eq!(orphans.filter(|pid| crate::lab::lives(*pid)).count(), 0, "{}", lab.dump());
    },
};

/// A person's pause, and its end.
pub const PAUSE: Scene = Scene {
    name: "pause",
    watchdog: QUICK,
    agents: persistent,
    lab: Labs::Shared,
    ready: ready_idle,
    trigger: |lab, n| {
        let paused = lab.state("units/a/PAUSED").exists();
        let ask = match paused {
            true => json!({"resume": {"unit": "a"}}),
            false => json!({"pause": {"unit": "a", "reason": "lunch"}}),
        };
        lab.touch("expected", if paused { "resumed" } else { "paused" });
        lab.ask_as(&format!("pause-{n}"), &ask);
    },
    over: |lab, n, _| lab.answer(&format!("pause-{n}")).is_some(),
    check: |lab, n, before| {
        handled_once(lab, &format!("pause-{n}"));
        let expected = std::fs::read_to_string(lab.state("expected")).unwrap();
        assert_eq!(lab.state("units/a/PAUSED").exists(), expected == "paused", "{}", lab.dump());
        assert_eq!((lab.pid("a"), lab.starts("a")), (before.pid, before.starts));
    },
};

/// A wake whose time has come.
pub const WAKE: Scene = Scene {
    name: "wake",
    watchdog: QUICK,
    agents: || vec![Agent::persistent("a", "").with("wake = { interval = 36000, prompt = \"look around\" }")],
    lab: Labs::Shared,
    ready: ready_idle,
    trigger: |lab, _| {
        let mut unit = lab.unit("a");
        unit["wake"]["due"] = json!(crate::lab::now());
        lab.replace("units/a/unit.json", &unit.to_string());
    },
    over: |lab, _, before| idle(lab) && lab.given("a").len() > before.given,
    check: |lab, _, before| {
        assert_same(lab, "wakes", lab.given("a").len(), before.given + 1);
        assert_same(lab, "alerts", lab.alerts().len(), before.alerts);
        let due: jiff::Timestamp = lab.unit("a")["wake"]["due"].as_str().unwrap().parse().unwrap();
        assert!(due > jiff::Timestamp::now());
    },
};

/// Something that people must hear: of a unit (a draft that stands) and of the fleet (a line that is no request).
pub const ALERT: Scene = Scene {
    name: "alert",
    watchdog: QUICK,
    agents: persistent,
    lab: Labs::Shared,
    ready: |lab, n| {
        if lab.pid("a").is_some() {
            lab.press("a", &["C-u"]);
        }
        ready_idle(lab, n);
    },
    trigger: |lab, n| {
        lab.press("a", &["-l", &format!("draft {n}.")]);
        lab.until("it shows", || lab.screen("a").contains(&format!("> draft {n}.")));
        lab.append("inbox.jsonl", &format!("no request {n}\n"));
    },
    over: |lab, n, _| lab.alerts_with(&format!("draft {n}.")) > 0 && owes_nothing(lab),
    check: |lab, n, before| {
        assert_same(lab, "alerts of the draft", lab.alerts_with(&format!("draft {n}.")), 1);
        assert_same(lab, "all alerts", lab.alerts().len(), before.alerts + 2);
        assert_eq!((lab.pid("a"), lab.given("a").len()), (before.pid, before.given));
    },
};

fn owes_nothing(lab: &Lab) -> bool {
    let empty = |owed: &Value| owed.as_array().is_none_or(Vec::is_empty);
    empty(&lab.unit("a")["owed"]) && empty(&lab.json("mail.json")["owed"])
}

#[track_caller]
fn handled_once(lab: &Lab, id: &str) {
    let mail = lab.json("mail.json");
    let times = mail["handled"].as_array().unwrap().iter().filter(|handled| handled["id"] == id).count();
    assert_eq!(times, 1, "`{id}` is confirmed {times} times\n{}", lab.dump());
    assert!(lab.answer(id).unwrap().starts_with("accepted: "), "{}", lab.dump());
}

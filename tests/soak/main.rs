//! The soak: the real watchdog over a fleet of 25 scripted agents, services and processes, for as long as asked, with random
//! faults; then the books. It runs only when `WATCHKEEPER_SOAK_S` says for how many seconds.
//!
//! `WATCHKEEPER_SOAK_SEED` chooses the faults, `WATCHKEEPER_SOAK_REPORT` is a folder for the report.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod books;
mod dog;
mod faults;
mod fleet;
mod random;
mod steps;
mod work;

use books::Books;
use dog::Dog;
use faults::{End, Fault, Kind};
use fleet::{Fleet, Role, now};
use random::Random;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// Between two looks of the harness.
const ROUND: Duration = Duration::from_millis(250);
/// Longest time that the fleet may take to start, milliseconds.
const READY_MS: i64 = 120_000;
/// After the last fault, longest wait for the last recovery, milliseconds.
const SETTLE_MS: i64 = 300_000;

struct Soak {
    fleet: Fleet,
    dog: Dog,
    books: Books,
    faults: Vec<Fault>,
    random: Random,
    /// By unit: deaths since its budget was renewed, and when it was last touched by the harness.
    deaths: Vec<usize>,
    quiet_from: Vec<i64>,
    next_fault: i64,
    next_dog: i64,
    next_rare: i64,
    sampled: i64,
    orders: Vec<std::process::Child>,
    /// Events that the person has read, and composers that they will clear: unit and when.
    read: usize,
    strays: Vec<(usize, i64)>,
}

impl Drop for Soak {
    fn drop(&mut self) {
        self.dog.kill(&self.fleet);
        for child in &mut self.orders {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.fleet.tmux(&["kill-server"]);
        self.fleet.end_all();
    }
}

#[test]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i64>().ok());
    let Some(seconds) = number("WATCHKEEPER_SOAK_S").filter(|s| *s > 0) else {
        say("soak: skipped; WATCHKEEPER_SOAK_S=1800 runs it for half an hour");
        return;
    };
    let seed = number("WATCHKEEPER_SOAK_SEED").unwrap_or(1) as u64;
    let dir = tempfile::tempdir().unwrap();
    let mut soak = Soak::new(dir.path(), seed);
    let report = soak.run(seconds, seed);
    let (text, bad) = report;
    say(&text);
    if let Ok(folder) = std::env::var("WATCHKEEPER_SOAK_REPORT") {
        let folder = std::path::Path::new(&folder);
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("report.txt"), &text).unwrap();
        soak.keep(folder);
    }
    drop(soak);
    assert_eq!(bad, Vec::<String>::new(), "seed {seed}");
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Soak {
    fn new(dir: &std::path::Path, seed: u64) -> Soak {
        let fleet = Fleet::new(dir);
        let count = fleet.units.len();
        Soak {
            fleet,
            dog: Dog::new(),
            books: Books::default(),
            faults: Vec::new(),
            random: Random::new(seed),
            deaths: vec![0; count],
            quiet_from: vec![0; count],
            next_fault: 0,
            next_dog: 0,
            next_rare: 0,
            sampled: 0,
            orders: Vec::new(),
            read: 0,
            strays: Vec::new(),
        }
    }

    fn run(&mut self, seconds: i64, seed: u64) -> (String, Vec<String>) {
        let began = now();
        self.dog.start(&self.fleet);
        let mut bad = Vec::new();
        while !self.fleet.units.iter().all(fleet::Unit::is_well) {
            self.round();
            if now() - began > READY_MS {
                bad.push("the fleet did not start".to_owned());
                break;
            }
        }
        let ready = now();
        say(&format!("soak: the fleet of {} runs after {} ms", self.fleet.units.len(), ready - began));
        let stop = began + (seconds * 1000 - 120_000).max(seconds * 500);
        (self.next_fault, self.next_dog, self.next_rare) = (ready, ready + 15_000, ready + 40_000);
        let mut told = ready;
        while now() < stop && bad.is_empty() {
            self.round();
            self.inflict(began, stop);
            if now() - told > 30_000 {
                told = now();
                self.progress(began);
            }
        }
        let last = now();
        while now() - last < SETTLE_MS {
            self.round();
            let calm = !self.faults.iter().any(Fault::is_open) && now() > began + seconds * 1000;
            if calm && self.fleet.units.iter().all(fleet::Unit::is_well) {
                break;
            }
        }
        for _ in 0..40 {
            self.round();
        }
        self.account(began, ready, seed, bad)
    }

    fn progress(&self, began: i64) {
        let open: Vec<String> = self
            .faults
            .iter()
            .filter(|f| f.is_open())
            .map(|f| {
                format!(
                    "{}:{:?}+{}",
                    f.unit.map_or("fleet", |u| &self.fleet.units[u].name),
                    f.kind,
                    (now() - f.began) / 1000
                )
            })
            .collect();
        say(&format!(
            "soak: {} s, {} faults, {} events, open: {}",
            (now() - began) / 1000,
            self.faults.len(),
            self.books.events.len(),
            open.join(" ")
        ));
    }

    /// One look, and the next step of everything that is under way.
    fn round(&mut self) {
        std::thread::sleep(ROUND);
        self.fleet.look();
        self.books.read(&self.fleet);
        for fault in self.faults.iter_mut().filter(|fault| fault.is_open()) {
            steps::step(fault, &self.fleet, &mut self.dog, &self.books);
            if let Some((at, end)) = &fault.ended {
                if let Some(unit) = fault.unit {
                    self.quiet_from[unit] = *at;
                    self.deaths[unit] += usize::from(fault.is_death());
                }
                if let End::Failed(why) = end {
                    say(&format!("soak: FAILED {:?} of {:?}: {why}", fault.kind, fault.unit));
                }
            }
        }
        self.brain();
        self.person();
        self.renew();
        self.approve();
        self.orders.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if now() - self.sampled > 2000 {
            self.sampled = now();
            self.dog.sample(&self.fleet);
            self.fleet.sweep(&self.faults);
        }
    }

    /// The model's part: an agent that works without end goes on when the watchdog reminds it.
    fn brain(&mut self) {
        for index in 0..self.fleet.units.len() {
            let unit = &self.fleet.units[index];
            if unit.role != Role::Loop || unit.pid.is_none() {
                continue;
            }
            let stubborn =
                self.faults.iter().any(|f| f.is_open() && f.unit == Some(index) && f.is_stubborn());
            let Some(told) = unit.last("user", "[watchkeeper]").filter(|_| !stubborn) else { continue };
            let answered = unit.said("assistant", "ACK", told).is_some_and(|at| now() - at > 700);
            let works = ["start", "user"].iter().any(|kind| {
                let start = if *kind == "user" { "LOOP" } else { "" };
                unit.last(kind, start).is_some_and(|at| at > told)
            });
            let steps = unit.said("assistant", "step", told).is_some();
            if answered && !works && !steps && now() - self.quiet_from[index] > 1000 {
                self.quiet_from[index] = now();
                self.fleet.type_line(index, "LOOP");
            }
        }
    }

    /// A watchdog whose memory of a unit was damaged between paste and submit does not know its own text any more: it
    /// tells a person, who clears the composer.
    fn person(&mut self) {
        for event in &self.books.events[self.read..] {
            let unit = event.unit.as_deref().and_then(|name| self.fleet.index(name));
            if let Some(unit) = unit.filter(|_| event.kind == "alert" && event.text.contains("unsent text")) {
                self.strays.push((unit, now() + 4000));
            }
        }
        self.read = self.books.events.len();
        let due: Vec<usize> =
            self.strays.iter().filter(|(_, at)| *at <= now()).map(|(unit, _)| *unit).collect();
        self.strays.retain(|(_, at)| *at > now());
        for unit in due {
            let theirs = self
                .faults
                .iter()
                .any(|f| f.is_open() && f.unit == Some(unit) && matches!(f.kind, Kind::Draft | Kind::Attach));
            if !theirs {
                self.fleet.key(unit, "C-u");
                if self.fleet.units[unit].role == Role::Loop && !self.fleet.units[unit].is_well() {
                    self.fleet.type_line(unit, "LOOP");
                }
            }
        }
    }

    /// A person renews the budget of a unit that was restarted several times.
    fn renew(&mut self) {
        for index in 0..self.fleet.units.len() {
            let open = self.faults.iter().any(|f| f.is_open() && f.unit.is_none_or(|u| u == index));
            if self.deaths[index] >= 3 && !open {
                self.deaths[index] = 0;
                let name = self.fleet.units[index].name.clone();
                self.orders.push(dog::order(&self.fleet, &["approve", &name]));
            }
        }
    }

    /// A starved machine rightly stays what ends a silent unit; a person looks at it, and lets it go on.
    fn approve(&mut self) {
        for fault in self.faults.iter_mut().filter(|f| f.is_open() && f.kind.is_silence()) {
            let Some(unit) = fault.unit else { continue };
            let due = now() - fault.began > 20_000 && now() - fault.approved_at > 12_000;
            if due && self.fleet.hold(unit).contains("the machine is starved") {
                (fault.approved, fault.approved_at) = (fault.approved + 1, now());
                self.orders.push(dog::order(&self.fleet, &["approve", &self.fleet.units[unit].name]));
            }
        }
    }

    fn inflict(&mut self, began: i64, stop: i64) {
        let at = now();
        let fleet_fault = self.faults.iter().any(|f| f.is_open() && f.unit.is_none());
        if at >= self.next_dog && !fleet_fault {
            // In the last third it is left alone, so that its memory can be watched for long.
            if at < began + (stop - began) * 6 / 10 {
                let kind = if self.random.range(0, 4) == 0 { Kind::DogStopped } else { Kind::DogKilled };
                let fault = faults::inflict_fleet(kind, &self.fleet, &mut self.dog, &mut self.random);
                self.faults.extend(fault);
            }
            self.next_dog = at + self.random.range(20_000, 60_000);
            return;
        }
        if at >= self.next_rare && !fleet_fault {
            self.next_rare = at + self.random.range(40_000, 80_000);
            return self.rare(stop);
        }
        if at < self.next_fault {
            return;
        }
        self.next_fault = at + self.random.range(1000, 7000);
        if self.faults.iter().any(|f| f.is_open() && f.kind == Kind::ServerKilled) {
            return;
        }
        let free = self.free();
        let tools = self.faults.iter().any(|f| f.is_open() && f.kind == Kind::LongTool);
        let Some((kind, unit)) = faults::choose(&mut self.random, &self.fleet, &free, tools) else { return };
        // What takes minutes to be believed must begin in time.
        if (matches!(kind, Kind::Hang | Kind::Freeze) || kind.is_silence()) && stop - at < 120_000 {
            return;
        }
        let number = self.faults.len() + 1;
        if kind == Kind::AccountLimit {
            let account = self.fleet.units[unit].account;
            for mate in free.into_iter().filter(|mate| {
                let mate = &self.fleet.units[*mate];
                mate.account == account && matches!(mate.role, Role::Loop | Role::Persistent)
            }) {
                if let Some(mut fault) = faults::inflict(kind, mate, &self.fleet, &mut self.random, number) {
                    fault.group = Some(number);
                    self.faults.push(fault);
                }
            }
            return;
        }
        let fault = faults::inflict(kind, unit, &self.fleet, &mut self.random, number);
        self.faults.extend(fault);
    }

    /// Damage to files, and now and then the whole tmux server.
    fn rare(&mut self, stop: i64) {
        match self.random.range(0, 10) {
            0..=5 => {
                let free = self.free();
                let Some(unit) = self.random.pick(&free).copied() else { return };
                let fault = faults::inflict(Kind::Garbled, unit, &self.fleet, &mut self.random, 0);
                self.faults.extend(fault);
            }
            6 | 7 => {
                let fault =
                    faults::inflict_fleet(Kind::ClocksLost, &self.fleet, &mut self.dog, &mut self.random);
                self.faults.extend(fault);
            }
            _ if stop - now() > 60_000 => {
                let outside = |unit: usize| self.fleet.units[unit].role == Role::Process;
                let hit = |f: &&mut Fault| f.is_open() && f.unit.is_some_and(|unit| !outside(unit));
                for fault in self.faults.iter_mut().filter(hit) {
                    fault.void("the tmux server was killed");
                    if let Some(unit) = fault.unit.filter(|_| fault.kind == Kind::PauseOrder) {
                        let name = &self.fleet.units[unit].name;
                        self.orders.push(dog::order(&self.fleet, &["resume", name]));
                    }
                }
                let fault =
                    faults::inflict_fleet(Kind::ServerKilled, &self.fleet, &mut self.dog, &mut self.random);
                self.faults.extend(fault);
                for deaths in &mut self.deaths {
                    *deaths += 1;
                }
            }
            _ => {}
        }
    }

    /// Units that are well and not in the midst of a fault.
    fn free(&self) -> Vec<usize> {
        (0..self.fleet.units.len())
            .filter(|index| {
                let open = self.faults.iter().any(|f| f.is_open() && f.unit == Some(*index));
                let unit = &self.fleet.units[*index];
                let settled = now() - self.quiet_from[*index] > 8000 && now() - unit.pid_since > 8000;
                !open && settled && self.deaths[*index] < 3 && unit.is_well()
            })
            .collect()
    }

    fn account(&mut self, began: i64, ready: i64, seed: u64, mut bad: Vec<String>) -> (String, Vec<String>) {
        self.dog.sample(&self.fleet);
        let mut text = format!(
            "soak of {} s, seed {seed}, {} units\n\n{}\n",
            (now() - began) / 1000,
            self.fleet.units.len(),
            books::table(&self.faults)
        );
        let mut section = |title: &str, wrong: Vec<String>| {
            let _ = writeln!(text, "{title}: {}", wrong.len());
            for line in &wrong {
                let _ = writeln!(text, "  {line}");
            }
            bad.extend(wrong);
        };
        let failed = self.faults.iter().filter_map(|f| match &f.ended {
            Some((_, End::Failed(why))) => {
                let unit = f.unit.map_or("fleet", |u| &self.fleet.units[u].name);
                Some(format!("{} {unit} {:?}: {why}", watchkeeper::base::time::Wall(f.began), f.kind))
            }
            None => Some(format!("{:?} still open", f.kind)),
            Some(_) => None,
        });
        section("faults that were not remedied", failed.collect());
        section(
            "actions that no fault explains (healthy touched)",
            books::false_actions(&self.fleet, &self.books, &self.faults, ready),
        );
        section(
            "processes replaced without a fault (healthy touched)",
            books::false_swaps(&self.fleet, &self.faults),
        );
        section("alerts that no fault explains", books::false_alerts(&self.fleet, &self.books, &self.faults));
        let mut wrong = Vec::new();
        let counts = books::deliveries(&self.fleet, &self.books, &self.faults, &mut wrong);
        section("texts or starts that came twice or not at all", wrong);
        let unwell = self.fleet.units.iter().filter(|unit| !unit.is_well());
        section("units that are not well at the end", unwell.map(|u| u.name.clone()).collect());
        section("ends of the watchdog that nobody caused", self.dog.own_ends.clone());
        let kept = std::fs::read_dir(self.fleet.state().join("quarantine")).map_or(0, Iterator::count);
        let garbled = self.faults.iter().filter(|f| f.kind == Kind::Garbled).count();
        let too_many = (kept > garbled).then(|| format!("{kept} files, {garbled} were damaged"));
        section("files in quarantine that nobody damaged", too_many.into_iter().collect());
        let _ = writeln!(text, "\n{counts}");
        self.costs(&mut text, kept);
        let _ = writeln!(text, "\n{}", books::ledger(&self.fleet, &self.faults, &self.books));
        (text, bad)
    }

    fn costs(&self, text: &mut String, kept: usize) {
        let lives = &self.dog.lives;
        let lived: i64 = lives.iter().map(|life| life.to - life.from).sum();
        let cpu: u64 = lives.iter().map(|life| life.cpu_ms).sum();
        let _ = writeln!(
            text,
            "watchdog: {} lives ({} starts refused while a command acted), {} ticks, {} events ({} torn), {kept} files in quarantine; CPU with its tmux calls {:.2} % of a core",
            lives.len(),
            self.dog.refused,
            lives.iter().map(|life| life.ticks).sum::<u64>(),
            self.books.events.len(),
            self.books.torn,
            100.0 * cpu as f64 / lived.max(1) as f64
        );
        if let Some(life) = lives.iter().max_by_key(|life| life.to - life.from) {
            let _ = writeln!(
                text,
                "its longest life: {} s, resident memory {} KiB at first, {} KiB at last",
                (life.to - life.from) / 1000,
                life.rss_first,
                life.rss_last
            );
        }
        let _ = writeln!(
            text,
            "resident memory at the end of each life, KiB: {}",
            lives.iter().map(|life| life.rss_last.to_string()).collect::<Vec<_>>().join(" ")
        );
    }

    /// Keeps what one needs to look into a failure.
    fn keep(&self, folder: &std::path::Path) {
        let copy = |from: &std::path::Path, name: &str| {
            let _ = std::fs::copy(from, folder.join(name));
        };
        for unit in &self.fleet.units {
            copy(&self.fleet.dir.join(format!("{}.jsonl", unit.name)), &format!("{}.jsonl", unit.name));
        }
        for name in ["watchdog.log", "orders.log", "agents.toml"] {
            copy(&self.fleet.dir.join(name), name);
        }
        if let Ok(days) = std::fs::read_dir(self.fleet.state().join("events")) {
            for day in days.flatten() {
                copy(&day.path(), &format!("events-{}", day.file_name().to_string_lossy()));
            }
        }
    }
}

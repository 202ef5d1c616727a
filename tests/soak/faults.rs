//! The faults: what is done to a unit, what the harness does afterwards in the place of a person or of the model, and
//! when the unit counts as recovered. Judged by panes and transcripts, not by what the watchdog says.

use super::books::Event;
use super::dog::{Dog, order, signal};
use super::fleet::{Fleet, Role, now};
use super::random::Random;
use super::work;
use std::process::{Child, Command, Stdio};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Kill9,
    Term,
    Segv,
    Exit,
    Shell,
    KillSession,
    Hang,
    Freeze,
    Stall,
    StallNudged,
    Limit,
    LimitMenu,
    AccountLimit,
    Ask,
    Draft,
    Attach,
    LongTool,
    Wait,
    Compact,
    Error,
    NudgeOrder,
    RestartOrder,
    PauseOrder,
    SvcKilled,
    SvcHang,
    SvcDeaf,
    SvcOrphan,
    SvcStale,
    SvcExit42,
    ProcKilled,
    ShimKilled,
    ProcTrace,
    ProcStall,
    Garbled,
    ClocksLost,
    ServerKilled,
    DogKilled,
    DogStopped,
}

impl Kind {
    /// A fault of a cooperative service or a process (see `work`).
    pub fn is_work(self) -> bool {
        (Kind::SvcKilled..=Kind::ProcStall).contains(&self)
    }

    /// It is silent, so a starved machine rightly stays its remedy.
    pub fn is_silence(self) -> bool {
        matches!(self, Kind::SvcHang | Kind::SvcDeaf | Kind::SvcOrphan | Kind::SvcStale | Kind::ProcStall)
    }
}

/// Kinds with their weights and the units that they can befall.
const WEIGHTS: [(Kind, u32, &[Role]); 33] = {
    use Role::{Coop, Loop, Persistent, Process, Service, Task};
    [
        (Kind::Kill9, 6, &[Loop, Persistent, Service, Task]),
        (Kind::Term, 3, &[Loop, Persistent, Service]),
        (Kind::Segv, 3, &[Loop, Persistent, Service]),
        (Kind::Exit, 3, &[Loop, Persistent]),
        (Kind::Shell, 2, &[Loop, Persistent]),
        (Kind::KillSession, 3, &[Loop, Persistent, Service]),
        (Kind::Hang, 3, &[Loop, Persistent]),
        (Kind::Freeze, 1, &[Loop]),
        (Kind::Stall, 4, &[Loop]),
        (Kind::StallNudged, 4, &[Loop]),
        (Kind::Limit, 4, &[Loop, Persistent]),
        (Kind::LimitMenu, 3, &[Loop, Persistent]),
        (Kind::AccountLimit, 1, &[Loop]),
        (Kind::Ask, 4, &[Loop, Persistent]),
        (Kind::Draft, 3, &[Loop, Persistent]),
        (Kind::Attach, 3, &[Loop]),
        (Kind::LongTool, 2, &[Loop]),
        (Kind::Wait, 3, &[Loop]),
        (Kind::Compact, 3, &[Loop]),
        (Kind::Error, 2, &[Loop]),
        (Kind::NudgeOrder, 8, &[Loop, Persistent]),
        (Kind::RestartOrder, 2, &[Loop, Persistent]),
        (Kind::PauseOrder, 2, &[Loop]),
        (Kind::SvcKilled, 4, &[Coop]),
        (Kind::SvcHang, 4, &[Coop]),
        (Kind::SvcDeaf, 3, &[Coop]),
        (Kind::SvcOrphan, 4, &[Coop]),
        (Kind::SvcStale, 4, &[Coop]),
        (Kind::SvcExit42, 4, &[Coop]),
        (Kind::ProcKilled, 4, &[Process]),
        (Kind::ShimKilled, 4, &[Process]),
        (Kind::ProcTrace, 4, &[Process]),
        (Kind::ProcStall, 4, &[Process]),
    ]
};

/// How a fault ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Remedied, milliseconds after it began.
    Recovered(i64),
    /// The remedy was withheld for a reason that is right; the harness, as a person, ended the process.
    Held(String),
    /// Something else came over it (the tmux server was killed), or it could not be inflicted.
    Void(&'static str),
    /// It was not remedied, or the remedy was wrong.
    Failed(String),
}

/// One fault.
#[derive(Debug)]
pub struct Fault {
    pub kind: Kind,
    pub unit: Option<usize>,
    pub began: i64,
    pub ended: Option<(i64, End)>,
    /// A fault of a whole account: its members' number.
    pub group: Option<usize>,
    pub phase: u8,
    pub due: i64,
    pub old_pid: Option<u32>,
    pub text: String,
    pub child: Option<Child>,
    /// How often a person approved its remedy on a starved machine, and when last.
    pub approved: usize,
    pub approved_at: i64,
}

impl Fault {
    fn new(kind: Kind, unit: Option<usize>, old_pid: Option<u32>) -> Fault {
        let (text, child) = (String::new(), None);
        Fault {
            kind,
            unit,
            began: now(),
            ended: None,
            group: None,
            phase: 0,
            due: 0,
            old_pid,
            text,
            child,
            approved: 0,
            approved_at: 0,
        }
    }

    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Deaths cost the unit's budget of restarts.
    pub fn is_death(&self) -> bool {
        let by_work = self.kind.is_work() && self.kind != Kind::ShimKilled;
        by_work
            || matches!(
                self.kind,
                Kind::Kill9
                    | Kind::Term
                    | Kind::Segv
                    | Kind::Exit
                    | Kind::Shell
                    | Kind::KillSession
                    | Kind::Hang
                    | Kind::Freeze
                    | Kind::Stall
                    | Kind::PauseOrder
            )
    }

    /// Longest time to recover, milliseconds; a backoff of up to 60 s may be part of it.
    pub fn patience(&self) -> i64 {
        let seconds = match self.kind {
            Kind::Hang | Kind::Freeze | Kind::Stall => 270,
            kind if kind.is_silence() => 270,
            _ => 180,
        };
        seconds * 1000
    }

    /// May the watchdog do this during the fault?
    pub fn explains(&self, event: &Event) -> bool {
        let rule = event.rule.as_str();
        let heals = rule == "restart.heal";
        let ends = rule.starts_with("ending.");
        match self.kind {
            Kind::Kill9 | Kind::Term | Kind::Segv | Kind::Exit | Kind::KillSession => heals,
            Kind::PauseOrder => heals && self.phase >= 2,
            Kind::Shell => heals || ends || rule == "attend.shell",
            Kind::Hang | Kind::Freeze | Kind::Stall => heals || ends || rule.starts_with("stall."),
            Kind::StallNudged => rule.starts_with("stall.") && event.text == "nudge",
            Kind::Limit | Kind::LimitMenu | Kind::AccountLimit => rule.starts_with("limit."),
            Kind::Error => rule == "attend.error",
            Kind::RestartOrder => rule == "restart.asked" || ends,
            Kind::SvcKilled => heals,
            Kind::SvcHang | Kind::SvcDeaf | Kind::SvcOrphan => heals || ends || rule == "cooperation.silent",
            Kind::SvcStale => {
                ends || ["cooperation.stale", "restart.requested", "restart.renewed", "restart.changed"]
                    .contains(&rule)
            }
            Kind::SvcExit42 => rule == "restart.requested",
            Kind::ProcKilled | Kind::ProcTrace => ["process.remedy", "process.again"].contains(&rule),
            Kind::ProcStall => ends || ["process.restart", "process.remedy", "process.again"].contains(&rule),
            Kind::ServerKilled => heals || rule == "restart.lost" || rule == "wake.due",
            Kind::Ask
            | Kind::Draft
            | Kind::Attach
            | Kind::LongTool
            | Kind::Wait
            | Kind::Compact
            | Kind::NudgeOrder
            | Kind::ShimKilled
            | Kind::Garbled
            | Kind::ClocksLost
            | Kind::DogKilled
            | Kind::DogStopped => false,
        }
    }

    /// Is an alert to people right during the fault?
    pub fn alerts(&self, text: &str) -> bool {
        match self.kind {
            Kind::Ask => text.contains(" asks"),
            Kind::Draft => text.contains("unsent text"),
            Kind::Garbled => true,
            Kind::Hang | Kind::Freeze | Kind::Stall => text.contains("not delivered"),
            Kind::ServerKilled => true,
            Kind::Limit | Kind::LimitMenu | Kind::AccountLimit => text.contains("still limited after"),
            // A text that was submitted right before a death is rightly told as uncertain.
            Kind::Kill9 => text.contains("the run of") || text.contains("perhaps not delivered"),
            _ => self.is_death() && text.contains("perhaps not delivered"),
        }
    }

    /// May a person's fault silence the model's own going on? (See `brain` in main.)
    pub fn is_stubborn(&self) -> bool {
        !matches!(
            self.kind,
            Kind::StallNudged | Kind::Limit | Kind::LimitMenu | Kind::AccountLimit | Kind::Error
        )
    }

    pub fn end(&mut self, end: End) {
        self.ended = Some((now(), end));
    }

    pub fn recovered(&mut self) {
        let took = now() - self.began;
        self.end(End::Recovered(took));
    }

    /// Whatever happened with it, it counts no more.
    pub fn void(&mut self, why: &'static str) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.end(End::Void(why));
    }
}

/// A kind and a unit for it.
pub fn choose(random: &mut Random, fleet: &Fleet, free: &[usize], tools_open: bool) -> Option<(Kind, usize)> {
    let total: u32 = WEIGHTS.iter().map(|(_, weight, _)| weight).sum();
    let mut at = random.range(0, i64::from(total)) as u32;
    let (kind, _, roles) = WEIGHTS.iter().find(|(_, weight, _)| {
        let hit = at < *weight;
        at = at.saturating_sub(*weight);
        hit
    })?;
    // Several burning tools on two cores would starve the machine, and then nothing is judged.
    if *kind == Kind::LongTool && tools_open {
        return None;
    }
    let fitting: Vec<usize> =
        free.iter().copied().filter(|unit| roles.contains(&fleet.units[*unit].role)).collect();
    random.pick(&fitting).map(|unit| (*kind, *unit))
}

/// What is typed to make the agent do it.
fn directive(kind: Kind, random: &mut Random) -> Option<String> {
    Some(match kind {
        Kind::Exit => format!("EXIT {}", random.range(0, 4)),
        Kind::Shell => "SHELL".to_owned(),
        Kind::Hang => "HANG 0".to_owned(),
        Kind::Freeze => "FREEZE".to_owned(),
        // Said by the clock: up to a minute and more.
        Kind::Limit if random.range(0, 4) == 0 => "LIMIT 3".to_owned(),
        Kind::Limit | Kind::AccountLimit => format!("LIMIT {} s", random.range(10, 26)),
        Kind::LimitMenu => format!("LIMIT-MENU {} s", random.range(10, 26)),
        Kind::Ask => "ASK".to_owned(),
        Kind::LongTool => "TOOL 60".to_owned(),
        Kind::Wait => "WAIT 25".to_owned(),
        Kind::Compact => "COMPACT 20".to_owned(),
        Kind::Error => "ERROR server".to_owned(),
        Kind::Kill9
        | Kind::Term
        | Kind::Segv
        | Kind::KillSession
        | Kind::Stall
        | Kind::StallNudged
        | Kind::Draft
        | Kind::Attach
        | Kind::NudgeOrder
        | Kind::RestartOrder
        | Kind::PauseOrder
        | Kind::SvcKilled
        | Kind::SvcHang
        | Kind::SvcDeaf
        | Kind::SvcOrphan
        | Kind::SvcStale
        | Kind::SvcExit42
        | Kind::ProcKilled
        | Kind::ShimKilled
        | Kind::ProcTrace
        | Kind::ProcStall
        | Kind::Garbled
        | Kind::ClocksLost
        | Kind::ServerKilled
        | Kind::DogKilled
        | Kind::DogStopped => return None,
    })
}

/// Inflicts a fault on a unit; None when it can't be had now.
pub fn inflict(kind: Kind, unit: usize, fleet: &Fleet, random: &mut Random, number: usize) -> Option<Fault> {
    let pid = fleet.units[unit].pid;
    let mut fault = Fault::new(kind, Some(unit), pid);
    let name = fleet.units[unit].name.clone();
    if let Some(text) = directive(kind, random) {
        if !fleet.is_undisturbed(unit) {
            return None;
        }
        fleet.type_line(unit, &text);
        fault.text = text;
        return Some(fault);
    }
    let by_keys = matches!(kind, Kind::Stall | Kind::StallNudged | Kind::Draft | Kind::Attach);
    if by_keys && !fleet.is_undisturbed(unit) {
        return None;
    }
    match kind {
        Kind::Kill9 => signal(pid?, "KILL"),
        Kind::Term => signal(pid?, "TERM"),
        Kind::Segv => {
            // The first one is taken by the handler of the Rust runtime, which gives way to the default.
            signal(pid?, "SEGV");
            std::thread::sleep(std::time::Duration::from_millis(50));
            signal(pid?, "SEGV");
        }
        Kind::KillSession => drop(fleet.tmux(&["kill-session", "-t", &format!("={}", fleet.session(unit))])),
        Kind::Stall | Kind::StallNudged => fleet.key(unit, "Escape"),
        Kind::Draft => {
            if fleet.units[unit].role == Role::Loop {
                fleet.key(unit, "Escape");
            }
            fault.text = format!("half a thought {number}");
            fleet.type_text(unit, &fault.text);
        }
        Kind::Attach => {
            fault.child = attach(fleet, unit);
            fault.due = fault.began + 1500;
        }
        Kind::NudgeOrder => {
            fault.text = format!("note number {number} from a person");
            fault.child = Some(order(fleet, &["nudge", &name, &fault.text]));
        }
        Kind::RestartOrder => fault.child = Some(order(fleet, &["restart", &name])),
        Kind::PauseOrder => fault.child = Some(order(fleet, &["pause", &name, "soak"])),
        Kind::Garbled => fault.text = garble(fleet, &name, random)?,
        kind if kind.is_work() => work::inflict(&mut fault, unit, fleet)?,
        _ => return None,
    }
    Some(fault)
}

/// Empties, cuts or spoils a unit's state file; what stands in it now.
fn garble(fleet: &Fleet, name: &str, random: &mut Random) -> Option<String> {
    let path = fleet.state().join("units").join(name).join("unit.json");
    let text = std::fs::read_to_string(&path).ok()?;
    let broken = match random.range(0, 3) {
        0 => String::new(),
        1 => text[..text.len() / 2].to_owned(),
        _ => text.replacen(':', "\u{0}", 3),
    };
    std::fs::write(&path, &broken).ok()?;
    Some(broken)
}

/// A fault of the whole fleet.
pub fn inflict_fleet(kind: Kind, fleet: &Fleet, dog: &mut Dog, random: &mut Random) -> Option<Fault> {
    let mut fault = Fault::new(kind, None, dog.pid());
    match kind {
        Kind::DogKilled => {
            dog.kill(fleet);
            fault.due = now() + random.range(0, 4000);
        }
        Kind::DogStopped => {
            signal(dog.pid()?, "STOP");
            fault.due = now() + 20_000;
        }
        Kind::ServerKilled => drop(fleet.tmux(&["kill-server"])),
        Kind::ClocksLost => drop(std::fs::remove_file(fleet.state().join("clocks.json"))),
        _ => return None,
    }
    Some(fault)
}

/// A person's terminal, attached to the unit's session.
fn attach(fleet: &Fleet, unit: usize) -> Option<Child> {
    let command = format!("exec tmux -u -L {} attach -t ={}", fleet.socket, fleet.session(unit));
    Command::new("script")
        .args(["-q", "-f", "-c", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env_remove("TMUX")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

/// The books must be able to find a healthy unit touched: what a fault does not explain is a false action.
#[test]
fn a_fault_explains_its_own_remedy_only() {
    let check = |kind: Kind, rule: &str, text: &str, want: bool| {
        let fault = Fault { phase: 1, ..Fault::new(kind, Some(0), None) };
        let event = Event {
            at: 0,
            unit: Some("a1".into()),
            kind: "act".into(),
            text: text.into(),
            rule: rule.into(),
            seen: String::new(),
        };
        assert_eq!(fault.explains(&event), want, "{kind:?} {rule} {text}");
    };
    check(Kind::Kill9, "restart.heal", "restart", true);
    check(Kind::Kill9, "ending.term", "terminate", false);
    check(Kind::Kill9, "stall.idle", "nudge", false);
    check(Kind::Hang, "stall.hung", "kill-start", true);
    check(Kind::StallNudged, "stall.idle", "nudge", true);
    check(Kind::StallNudged, "stall.idle", "kill-start", false);
    check(Kind::Limit, "limit.probe", "probe limit", true);
    check(Kind::Limit, "stall.idle", "nudge", false);
    check(Kind::PauseOrder, "restart.heal", "restart", false);
    check(Kind::SvcKilled, "restart.heal", "restart", true);
    check(Kind::SvcKilled, "cooperation.silent", "terminate", false);
    check(Kind::SvcHang, "cooperation.silent", "request-restart", true);
    check(Kind::SvcHang, "cooperation.stale", "request-restart", false);
    check(Kind::SvcStale, "cooperation.stale", "request-restart", true);
    check(Kind::SvcExit42, "restart.heal", "restart", false);
    check(Kind::ShimKilled, "process.remedy", "restart", false);
    check(Kind::ProcTrace, "process.remedy", "restart", true);
    check(Kind::ProcTrace, "process.restart", "restart", false);
    check(Kind::ProcStall, "process.restart", "restart", true);
    check(Kind::RestartOrder, "restart.asked", "start", true);
    for kind in [Kind::Ask, Kind::Draft, Kind::Attach, Kind::LongTool, Kind::Wait, Kind::Compact] {
        for rule in ["stall.idle", "stall.hung", "ending.term", "restart.heal", "attend.dialog"] {
            check(kind, rule, "nudge", false);
        }
    }
    for kind in [Kind::DogKilled, Kind::DogStopped, Kind::Garbled, Kind::ClocksLost, Kind::NudgeOrder] {
        check(kind, "restart.heal", "restart", false);
    }
}

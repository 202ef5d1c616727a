//! One process in a pane: what it truly does, and what that looks like. An agent CLI draws the screen of the `demo`
//! backend, so that the real screen reader reads it; a service prints a line now and then.
//!
//! All instants are milliseconds of `World::t`, the time that the machine was awake, counted through all reboots.

use super::rng::Rng;
use std::collections::VecDeque;
use std::fmt::Write;

/// Rows of conversation kept on the screen.
const ROWS_MAX: usize = 12;

/// How the agents of this world behave, per mille of their turns.
#[derive(Clone, Debug)]
pub struct Temper {
    pub asks: u64,
    pub errors: u64,
    pub full: u64,
    pub crashes: u64,
    pub shells: u64,
    pub hangs: u64,
    pub waits: u64,
    pub thinks: u64,
    pub tools: u64,
    pub compacts: u64,
    pub trusts: u64,
    pub stubborn: u64,
    pub swallows: u64,
    pub resumes: u64,
    pub slow_start: u64,
    /// Seconds that a silent stretch (thinking, tools, compaction) lasts at most.
    pub silence_max_s: i64,
}

impl Temper {
    /// Works, finishes, and nothing else.
    pub fn calm() -> Temper {
        Temper {
            asks: 0,
            errors: 0,
            full: 0,
            crashes: 0,
            shells: 0,
            hangs: 0,
            waits: 0,
            thinks: 100,
            tools: 100,
            compacts: 20,
            trusts: 0,
            stubborn: 0,
            swallows: 0,
            resumes: 800,
            slow_start: 0,
            silence_max_s: 60,
        }
    }
}

/// What it does.
#[derive(Clone, Debug, PartialEq)]
pub enum Play {
    Starting,
    /// A start-up dialog that the backend knows.
    Trust,
    Idle,
    Work(Work),
    /// A permission dialog.
    Ask,
    /// The limit's own menu.
    LimitMenu,
    /// The CLI left, its shell remains.
    Shell,
    /// Not an agent.
    Service,
}

/// A stretch of a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub kind: Kind,
    pub began: i64,
    pub until: i64,
    pub left: u32,
    /// The turn began with a probe.
    pub probe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks the model: here a limit or an error is met.
    Call,
    Talk,
    /// Nothing moves but the spinner and the transcript.
    Think,
    /// Nothing moves but the spinner and the CPU time of a tool.
    Tool,
    Compact,
    Retry,
    /// Nothing moves but the spinner.
    Hang,
}

/// What stands in the composer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Composer {
    pub text: String,
    /// A person typed some of it.
    pub person: bool,
    /// Buffers that were pasted into it.
    pub buffers: Vec<String>,
}

/// A text that was submitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub text: String,
    pub person: bool,
    pub buffers: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Status(i32),
    Signal(i32),
}

/// What the world says to a CLI while it works.
pub struct Around<'a> {
    pub t: i64,
    pub rng: &'a mut Rng,
    pub temper: &'a Temper,
    /// The banner, while the account is limited.
    pub limited: Option<(String, Option<i64>)>,
    pub auth_broken: bool,
    /// It dies young.
    pub crashy: bool,
    /// True wall clock, for declared waits.
    pub wall_text: &'a dyn Fn(i64) -> String,
    pub task: bool,
}

#[derive(Clone, Debug)]
pub struct Cli {
    pub play: Play,
    pub rows: VecDeque<String>,
    pub scrolled: u64,
    pub composer: Composer,
    pub queued: VecDeque<Sent>,
    /// When it does the next thing.
    pub next: i64,
    /// The last change of its content, its transcript, its tools' CPU.
    pub content_at: i64,
    pub transcript_at: i64,
    pub cpu_at: i64,
    pub transcript_bytes: u64,
    pub cpu_ms: u64,
    pub accrued_to: i64,
    /// A change of anything visible.
    pub drawn_at: i64,
    pub born: i64,
    /// A declared wait stands as the last line until (true wall).
    pub waits_until: Option<i64>,
    pub wakes_itself: bool,
    pub stubborn: bool,
    pub swallow: u32,
    pub resumed: bool,
    pub dialog_number: u32,
    pub banner: bool,
    /// The time that the banner names (true wall), if it is readable.
    pub banner_until: Option<i64>,
    pub error: Option<&'static str>,
    pub compacting_since: Option<i64>,
    pub turns: u32,
}

impl Cli {
    pub fn service(t: i64) -> Cli {
        let mut cli = Cli::agent(t, t);
        cli.play = Play::Service;
        cli.rows.push_back("listening on port 8000".into());
        cli.next = i64::MAX;
        cli
    }

    pub fn agent(t: i64, ready: i64) -> Cli {
        Cli {
            play: Play::Starting,
            rows: VecDeque::new(),
            scrolled: 0,
            composer: Composer::default(),
            queued: VecDeque::new(),
            next: ready,
            content_at: t,
            transcript_at: t,
            cpu_at: 0,
            transcript_bytes: 0,
            cpu_ms: 0,
            accrued_to: t,
            drawn_at: t,
            born: t,
            waits_until: None,
            wakes_itself: false,
            stubborn: false,
            swallow: 0,
            resumed: false,
            dialog_number: 0,
            banner: false,
            banner_until: None,
            error: None,
            compacting_since: None,
            turns: 0,
        }
    }

    pub fn is_working(&self) -> bool {
        matches!(self.play, Play::Work(_))
    }

    pub fn hangs(&self) -> bool {
        matches!(&self.play, Play::Work(work) if work.kind == Kind::Hang)
    }

    pub fn kind(&self) -> Option<Kind> {
        match &self.play {
            Play::Work(work) => Some(work.kind),
            _ => None,
        }
    }

    pub fn dialog_open(&self) -> bool {
        matches!(self.play, Play::Trust | Play::Ask | Play::LimitMenu)
    }

    fn say(&mut self, t: i64, row: String) {
        self.rows.push_back(row);
        if self.rows.len() > ROWS_MAX {
            self.rows.pop_front();
            self.scrolled += 1;
        }
        self.content_at = t;
        self.transcript_at = t;
        self.transcript_bytes += 80;
        self.drawn_at = t;
    }

    /// Changes what it does; a dialog that opens or closes is content.
    fn turn_to(&mut self, t: i64, play: Play) {
        let was = self.dialog_open();
        self.play = play;
        self.drawn_at = t;
        if was || self.dialog_open() {
            self.content_at = t;
        }
        let compacts = self.kind() == Some(Kind::Compact);
        self.compacting_since = compacts.then(|| self.compacting_since.unwrap_or(t));
    }

    /// Brings the clocks of silent work up to `t`.
    pub fn accrue(&mut self, t: i64) {
        let passed = t - self.accrued_to;
        self.accrued_to = t;
        if passed <= 0 {
            return;
        }
        match self.kind() {
            Some(Kind::Tool) => {
                self.cpu_ms += passed as u64 / 2;
                self.cpu_at = t;
            }
            Some(Kind::Think) => {
                self.transcript_bytes += 1 + passed as u64 / 5000;
                self.transcript_at = t;
            }
            Some(Kind::Call | Kind::Talk | Kind::Compact | Kind::Retry | Kind::Hang) | None => {}
        }
    }

    /// Does what is due now. Some: the process ended.
    pub fn step(&mut self, around: &mut Around<'_>) -> Option<Ended> {
        let t = around.t;
        self.accrue(t);
        self.next = i64::MAX;
        match self.play.clone() {
            Play::Starting => self.ready(around),
            Play::Work(work) => return self.work_on(&work, around),
            Play::Idle if self.wakes_itself => {
                self.wakes_itself = false;
                self.waits_until = None;
                self.begin(around, false);
            }
            Play::Idle | Play::Trust | Play::Ask | Play::LimitMenu | Play::Shell | Play::Service => {}
        }
        if around.crashy && self.next == i64::MAX && !self.dialog_open() {
            return Some(Ended::Status(1));
        }
        None
    }

    fn ready(&mut self, around: &mut Around<'_>) {
        let t = around.t;
        if around.crashy {
            self.next = t + around.rng.between(500, 8000);
            self.turn_to(t, Play::Idle);
            return;
        }
        if around.rng.chance(around.temper.trusts) {
            self.turn_to(t, Play::Trust);
            return;
        }
        self.say(t, "• Ready.".into());
        self.turn_to(t, Play::Idle);
    }

    /// A turn begins: first the model is asked.
    fn begin(&mut self, around: &mut Around<'_>, probe: bool) {
        let t = around.t;
        self.banner = false;
        self.error = None;
        self.waits_until = None;
        self.wakes_itself = false;
        self.turns += 1;
        let left = around.rng.between(1, 5) as u32;
        let until = t + around.rng.between(800, 4000);
        self.turn_to(t, Play::Work(Work { kind: Kind::Call, began: t, until, left, probe }));
        self.next = until;
    }

    fn work_on(&mut self, work: &Work, around: &mut Around<'_>) -> Option<Ended> {
        let t = around.t;
        if work.kind == Kind::Hang {
            return None;
        }
        if work.kind == Kind::Talk {
            let n = self.transcript_bytes / 80;
            self.say(t, format!("• Step {n} of the work is done."));
        }
        if around.crashy && around.rng.chance(300) {
            return Some(Ended::Status(1));
        }
        if t < work.until {
            self.next = (t + around.rng.between(2000, 15_000)).min(work.until);
            return None;
        }
        if work.kind == Kind::Call || work.kind == Kind::Retry {
            if let Some((banner, until)) = around.limited.clone() {
                self.banner = true;
                self.banner_until = until;
                self.say(t, format!("! {banner}"));
                let menu = around.rng.chance(300);
                self.turn_to(t, if menu { Play::LimitMenu } else { Play::Idle });
                return None;
            }
            if around.auth_broken {
                return self.fail(around, "auth", "! API Error: 401 invalid api key");
            }
        }
        if work.kind == Kind::Compact {
            self.say(t, "• Conversation compacted.".into());
        }
        if work.left == 0 { self.end_turn(around) } else { self.next_stretch(work, around) }
    }

    fn next_stretch(&mut self, work: &Work, around: &mut Around<'_>) -> Option<Ended> {
        let (t, temper) = (around.t, around.temper.clone());
        let rng = &mut *around.rng;
        let silence = |rng: &mut Rng| rng.between(5, temper.silence_max_s.max(6)) * 1000;
        let draw = rng.below(1000);
        let (kind, lasts) = if rng.chance(temper.hangs) {
            (Kind::Hang, i64::from(u32::MAX))
        } else if draw < temper.thinks {
            (Kind::Think, silence(rng))
        } else if draw < temper.thinks + temper.tools {
            (Kind::Tool, silence(rng))
        } else if draw < temper.thinks + temper.tools + temper.compacts {
            (Kind::Compact, silence(rng).min(590_000))
        } else if draw < temper.thinks + temper.tools + temper.compacts + 100 {
            (Kind::Call, rng.between(500, 5000))
        } else {
            (Kind::Talk, rng.between(10, 120) * 1000)
        };
        let until = t + lasts;
        self.turn_to(
            t,
            Play::Work(Work { kind, began: work.began, until, left: work.left - 1, probe: false }),
        );
        self.next = if kind == Kind::Talk { (t + rng.between(2000, 15_000)).min(until) } else { until };
        if kind == Kind::Hang {
            self.next = i64::MAX;
        }
        None
    }

    fn end_turn(&mut self, around: &mut Around<'_>) -> Option<Ended> {
        let (t, temper) = (around.t, around.temper.clone());
        if let Some(sent) = self.queued.pop_front() {
            self.say(t, format!("> {}", first_line(&sent.text)));
            self.begin(around, false);
            return None;
        }
        let rng = &mut *around.rng;
        if rng.chance(temper.asks) {
            self.dialog_number += 1;
            self.say(t, "• I need to run a command.".into());
            self.turn_to(t, Play::Ask);
        } else if rng.chance(temper.errors) {
            let line = *rng.pick(&["! API Error: 529 overloaded", "! Connection error: ECONNRESET"]);
            return self.fail(around, "server", line);
        } else if rng.chance(temper.full) {
            return self.fail(around, "context", "! Prompt is too long");
        } else if rng.chance(temper.crashes) {
            return Some(if rng.chance(500) { Ended::Status(1) } else { Ended::Signal(9) });
        } else if rng.chance(temper.shells) {
            self.rows.push_back("ann@host:~$".into());
            self.content_at = t;
            self.turn_to(t, Play::Shell);
        } else if rng.chance(temper.waits) {
            let wait = rng.between(60, 1500) * 1000;
            let text = (around.wall_text)(wait);
            self.waits_until = Some(wait);
            self.say(t, format!("• WAITING-UNTIL: {text}"));
            if rng.chance(600) {
                self.wakes_itself = true;
                self.next = t + wait + 5000;
            }
            self.turn_to(t, Play::Idle);
        } else if around.task {
            match rng.below(10) {
                0 => return Some(Ended::Status(1)),
                1 => {
                    self.say(t, "• The run is over.".into());
                    self.turn_to(t, Play::Idle);
                }
                _ => return Some(Ended::Status(0)),
            }
        } else {
            self.say(t, format!("• Turn {} is over.", self.turns));
            if rng.chance(temper.resumes) {
                self.wakes_itself = true;
                self.next = t + rng.between(1, 100) * 1000;
            }
            self.turn_to(t, Play::Idle);
        }
        None
    }

    fn fail(&mut self, around: &mut Around<'_>, kind: &'static str, line: &str) -> Option<Ended> {
        self.error = Some(kind);
        self.say(around.t, line.into());
        self.turn_to(around.t, Play::Idle);
        None
    }

    /// Enter in the composer: what stands there goes off. Returns what was sent.
    pub fn submit(&mut self, around: &mut Around<'_>, probe_text: &str) -> Option<Sent> {
        if self.composer.text.is_empty() || !matches!(self.play, Play::Idle | Play::Work(_)) {
            return None;
        }
        self.drawn_at = around.t;
        if self.swallow > 0 {
            self.swallow -= 1;
            return None;
        }
        let composer = std::mem::take(&mut self.composer);
        let sent = Sent { text: composer.text, person: composer.person, buffers: composer.buffers };
        self.accrue(around.t);
        if self.is_working() {
            self.queued.push_back(sent.clone());
            self.content_at = around.t;
        } else {
            self.say(around.t, format!("> {}", first_line(&sent.text)));
            self.begin(around, sent.text == probe_text);
        }
        Some(sent)
    }

    /// A dialog is answered.
    pub fn answer(&mut self, around: &mut Around<'_>, yes: bool) {
        let t = around.t;
        match self.play {
            Play::Trust => {
                self.say(t, "• Ready.".into());
                self.turn_to(t, Play::Idle);
            }
            Play::LimitMenu => self.turn_to(t, Play::Idle),
            Play::Ask if yes => self.begin(around, false),
            Play::Ask => {
                self.say(t, "• The command was denied.".into());
                self.turn_to(t, Play::Idle);
            }
            _ => {}
        }
    }

    pub fn title(&self) -> &'static str {
        match &self.play {
            Play::Work(_) => "demo: busy",
            Play::Idle | Play::Trust | Play::Ask | Play::LimitMenu => "demo: idle",
            Play::Starting | Play::Shell | Play::Service => "host",
        }
    }

    pub fn command(&self) -> &'static str {
        match &self.play {
            Play::Shell => "bash",
            Play::Service => "python3",
            _ => "watchkeeper",
        }
    }

    /// Where the cursor stands, and how much scrolled away.
    pub fn shape(&self) -> String {
        let screen = self.screen(0);
        let rows = screen.lines().count();
        let column = 2 + self.composer.text.lines().last().map_or(0, |line| line.chars().count());
        format!("100x40,{column},{rows},{}", self.scrolled)
    }

    /// The rows that the pane shows.
    pub fn screen(&self, t: i64) -> String {
        let rule = "─".repeat(60);
        let mut out = String::new();
        if self.play == Play::Starting {
            return "demo agent starting…\n".into();
        }
        for row in &self.rows {
            let _ = writeln!(out, "{row}");
        }
        match &self.play {
            Play::Shell | Play::Service => return out,
            Play::Trust => {
                let _ = writeln!(
                    out,
                    "{rule}\n  Do you trust this folder?\n  > 1. Yes, trust it\n    2. No, leave\n  Enter to confirm · Esc to cancel"
                );
                return out;
            }
            Play::Ask => {
                let n = self.dialog_number;
                let _ = writeln!(
                    out,
                    "{rule}\n  Do you want to run this command?\n    make target-{n}\n  > 1. Yes\n    2. No\n  Enter to confirm · Esc to cancel"
                );
                return out;
            }
            Play::LimitMenu => {
                let _ = writeln!(
                    out,
                    "{rule}\n  What do you want to do?\n  > 1. Stop and wait for limit to reset\n    2. Upgrade your plan\n  Enter to confirm · Esc to cancel"
                );
                return out;
            }
            Play::Work(work) => {
                let glyph = ['*', '+', 'x', '·'][(t / 250).rem_euclid(4) as usize];
                let doing = match work.kind {
                    Kind::Compact => "Compacting conversation…",
                    Kind::Retry => "Retrying in 5s · attempt 2/5",
                    _ => "Working…",
                };
                for sent in &self.queued {
                    let _ = writeln!(out, "  queued: {}", first_line(&sent.text));
                }
                let seconds = (t - work.began).max(0) / 1000;
                let _ = writeln!(out, "{glyph} {doing} ({seconds}s · esc to interrupt)");
            }
            Play::Starting | Play::Idle => {}
        }
        let _ = writeln!(out, "{rule}");
        if self.composer.text.is_empty() {
            let _ = writeln!(out, "> \x1b[2mType a message\x1b[0m");
        } else {
            for (i, line) in self.composer.text.lines().enumerate() {
                let _ = writeln!(out, "{}{line}", if i == 0 { "> " } else { "  " });
            }
        }
        let help = if self.is_working() { "esc to interrupt" } else { "? for help" };
        let _ = writeln!(out, "{rule}\n  demo agent · {help}");
        out
    }
}

/// What the conversation shows of a text: its beginning.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").chars().take(60).collect()
}

//! What the agent can be in the midst of: a turn, a dialog, a limit. Plain values and how they look; what moves them
//! on is in `play.rs`.

use super::child::Burner;
use super::region::{Busy, View};
use super::script::{Directive, Menu, Said, Trouble};
use super::worker::Worker;
use crate::base::time::Wall;
use std::time::{Duration, Instant};

/// The spinner turns at 5 Hz.
const FRAME: Duration = Duration::from_millis(200);
/// A turn under way.
#[derive(Debug)]
pub struct Turn {
    /// When it began: the seconds on the screen.
    pub began: Instant,
    pub work: Work,
}

/// What a turn consists of.
#[derive(Debug)]
pub enum Work {
    /// A short thought, then something.
    Then { at: Instant, next: Next },
    /// A line a second.
    Steps { next_at: Instant, left: u64, until: Instant },
    /// Only the spinner; `until` None = for ever.
    Quiet { until: Option<Instant>, doing: Doing, at_end: Option<String> },
    /// A child process burns CPU.
    Tool { until: Instant, _burner: Burner },
    /// A program works; it is looked at with each frame of the spinner.
    Worker { worker: Box<Worker> },
}

/// What comes after the short thought.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Answer(String),
    /// The worker gets this prompt.
    Work(String),
    Play(Directive),
    Limit,
    Trouble(Trouble),
}

/// What the spinner says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doing {
    Working,
    Compacting,
    /// Attempts began then and last so many seconds each.
    Retrying {
        since: Instant,
        attempt_s: f64,
    },
}

/// Attempts that a retry line speaks of.
pub const ATTEMPTS: u64 = 5;

/// An open dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialog {
    pub asks: Asks,
    /// 0 or 1.
    pub chosen: usize,
}

/// What a dialog asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Permission,
    Trust,
    LimitMenu,
}

/// The usage limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    pub until: Instant,
    /// The same on the wall clock.
    pub resets: Wall,
    pub said: Said,
    pub menu: Menu,
}

impl Turn {
    /// When the spinner turns next.
    pub fn next_frame(&self, now: Instant) -> Instant {
        self.began + FRAME * (self.frame(now) + 1)
    }

    /// Whole frames since the turn began.
    fn frame(&self, now: Instant) -> u32 {
        let frames = now.saturating_duration_since(self.began).as_millis() / FRAME.as_millis();
        u32::try_from(frames).unwrap_or(u32::MAX - 1)
    }

    /// The spinner's line.
    pub fn busy(&self, now: Instant) -> Busy {
        let (doing, detail) = match self.work.doing() {
            Doing::Working => ("Working…".to_owned(), None),
            Doing::Compacting => ("Compacting conversation…".to_owned(), None),
            Doing::Retrying { since, attempt_s } => {
                let elapsed = now.saturating_duration_since(since).as_secs_f64();
                let attempt = (elapsed / attempt_s) as u64;
                let left = attempt_s - (elapsed - attempt as f64 * attempt_s);
                let detail = format!("attempt {}/{ATTEMPTS}", (attempt + 1).min(ATTEMPTS));
                (format!("Retrying in {}s", left.ceil().max(1.0) as u64), Some(detail))
            }
        };
        let seconds = now.saturating_duration_since(self.began).as_secs();
        Busy { doing, detail, seconds, frame: self.frame(now).into() }
    }
}

impl Work {
    /// When something in it is due, but the spinner.
    pub fn due(&self) -> Option<Instant> {
        match self {
            Work::Then { at, .. } => Some(*at),
            Work::Steps { left: 0, until, .. } | Work::Tool { until, .. } => Some(*until),
            Work::Steps { next_at, until, .. } => Some(*next_at.min(until)),
            Work::Quiet { until, .. } => *until,
            Work::Worker { .. } => None,
        }
    }

    /// What the spinner says.
    fn doing(&self) -> Doing {
        match self {
            Work::Then { .. } | Work::Steps { .. } | Work::Tool { .. } | Work::Worker { .. } => {
                Doing::Working
            }
            Work::Quiet { doing, .. } => *doing,
        }
    }
}

impl Dialog {
    /// As it is shown.
    pub fn view(&self) -> View<'static> {
        let chosen = self.chosen;
        match self.asks {
            Asks::Permission => View::Dialog {
                question: "Do you want to run this command?",
                detail: Some("rm -rf build"),
                answers: ["Yes", "No"],
                chosen,
            },
            Asks::Trust => View::Dialog {
                question: "Do you trust this folder?",
                detail: None,
                answers: ["Yes, trust it", "No, exit"],
                chosen,
            },
            Asks::LimitMenu => View::Dialog {
                question: "What do you want to do?",
                detail: None,
                answers: ["Stop and wait for limit to reset", "Quit"],
                chosen,
            },
        }
    }
}

//! What prompts and directives do.

use super::child::{self, Burner};
use super::composer::Message;
use super::script::{self, Directive, Menu, Said, Trouble};
use super::state::{Agent, Gate, Grip, Leave, Step, Term, indented};
use super::transcript::wall_now;
use super::turn::{ATTEMPTS, Asks, Dialog, Doing, Limit, Next, Turn, Work};
use super::worker::{Stands, Worker};
use crate::base::time::Wall;
use std::time::{Duration, Instant};

/// A turn thinks for so long before it does what it was told.
const THOUGHT: Duration = Duration::from_millis(400);
/// A turn without a directive lasts so long.
const ANSWER: Duration = Duration::from_secs(1);
/// Characters of a prompt that the answer repeats.
const ACK_CHARS: usize = 60;
/// A line of streamed text comes each second.
const STEP: Duration = Duration::from_secs(1);
/// Streamed lines of one turn of LOOP: it lasts as many seconds.
const LOOP_STEPS: u64 = 3;

/// What a step is about; the seed chooses where it begins.
const SUBJECTS: [&str; 8] = [
    "reading the sources",
    "looking for the cause",
    "writing a test",
    "changing the parser",
    "running the tests",
    "reading the output",
    "tidying up",
    "updating the notes",
];

impl Agent {
    /// A prompt is submitted: recorded, shown, thought about.
    pub(super) fn start_prompt(&mut self, message: &Message, now: Instant) {
        let written = self.transcript.said("user", &message.text);
        self.keep(written);
        self.usage.read += message.text.len() as u64;
        self.script_gate = Gate::Open;
        self.output.push(String::new());
        self.output.extend(indented("> ", &message.shown));
        let (after, next) = if self.limit.is_some_and(|limit| now < limit.until) {
            (THOUGHT, Next::Limit)
        } else if let Some(trouble) = self.next_trouble() {
            (THOUGHT, Next::Trouble(trouble))
        } else if let Some(directive) = script::in_prompt(&message.text) {
            self.loop_next = None;
            (THOUGHT, Next::Play(directive))
        } else if self.worker.is_some() {
            (THOUGHT, Next::Work(message.text.clone()))
        } else {
            (ANSWER, Next::Answer(acknowledgement(&message.text)))
        };
        self.turn = Some(Turn { began: now, work: Work::Then { at: now + after, next } });
    }

    /// One turn of LOOP.
    pub(super) fn start_loop_turn(&mut self, now: Instant) {
        self.loop_next = Some(now);
        self.turn = Some(Turn { began: now, work: steps(now, LOOP_STEPS as f64) });
    }

    /// Ends the turn, by Escape or C-c; and LOOP, even between two of its turns.
    pub(super) fn interrupt(&mut self) {
        let (turn, looping) = (self.turn.take(), self.loop_next.take());
        if turn.is_some() || looping.is_some() {
            self.say("interrupted");
            self.record_usage();
        }
    }

    /// Does what is due in the turn under way.
    pub(super) fn step_turn(&mut self, now: Instant) -> Step {
        let Some(mut turn) = self.turn.take() else { return Step::Nothing };
        let is_over = match &mut turn.work {
            Work::Then { at, next } if *at <= now => {
                let next = next.clone();
                self.go_on(next, turn.began, now);
                return Step::Done;
            }
            Work::Then { .. } => false,
            Work::Steps { next_at, left, until } => {
                while *left > 0 && *next_at <= now {
                    *left -= 1;
                    *next_at += STEP;
                    self.say_step();
                }
                *until <= now
            }
            Work::Quiet { until, at_end, .. } => {
                let is_over = until.is_some_and(|until| until <= now);
                if is_over && let Some(text) = at_end.take() {
                    self.say(&text);
                }
                is_over
            }
            Work::Tool { until, .. } => {
                let is_over = *until <= now;
                if is_over {
                    let written = self.transcript.tool("tool_result", "burn");
                    self.keep(written);
                    self.say("the tool is done");
                }
                is_over
            }
            Work::Worker { worker } => {
                let (lines, stands) = worker.look();
                for line in lines {
                    self.say(&line);
                }
                match stands {
                    Stands::Running => false,
                    Stands::Ended(how) => {
                        if let Some(how) = how {
                            self.say(&how);
                        }
                        true
                    }
                }
            }
        };
        if is_over {
            return Step::Done;
        }
        self.turn = Some(turn);
        Step::Nothing
    }

    /// Does what a directive says; `began` is when the turn that it is part of began.
    pub(super) fn play(&mut self, directive: Directive, began: Instant, now: Instant) {
        let busy = |work| Some(Turn { began, work });
        match directive {
            Directive::Work(n) => {
                self.steps = 0;
                self.turn = busy(steps(now, n));
            }
            Directive::Loop => {
                self.steps = 0;
                self.start_loop_turn(now);
            }
            Directive::Think(n) => {
                self.turn = busy(quiet(now, n, Doing::Working, "that was worth a thought"));
            }
            Directive::Hang(n) => {
                let until = (n > 0.0).then(|| now + Duration::from_secs_f64(n));
                self.turn = busy(Work::Quiet { until, doing: Doing::Working, at_end: None });
            }
            Directive::Freeze => {
                self.turn = busy(Work::Quiet { until: None, doing: Doing::Working, at_end: None });
                self.grip = Grip::Frozen;
            }
            Directive::Tool(n) => self.start_tool(n, began, now),
            Directive::Ask => self.dialog = Some(Dialog { asks: Asks::Permission, chosen: 0 }),
            Directive::Trust => self.dialog = Some(Dialog { asks: Asks::Trust, chosen: 0 }),
            Directive::Limit { seconds, said, menu } => {
                self.limit = Some(limit(seconds, said, menu, now));
                self.show_limit(now);
            }
            Directive::Error { trouble, prompts } => {
                self.trouble = Some((trouble, prompts.saturating_sub(1)));
                self.complain(trouble.text());
            }
            Directive::Retry(n) => {
                // At least a second per attempt, or the countdown could not be read.
                let doing = Doing::Retrying { since: now, attempt_s: (n / ATTEMPTS as f64).max(1.0) };
                self.turn = busy(quiet(now, n, doing, "the connection is back"));
            }
            Directive::Compact(n) => {
                self.turn = busy(quiet(now, n, Doing::Compacting, "conversation compacted"));
            }
            Directive::Wait(n) => self.say(&format!("WAITING-UNTIL: {}", wall_now().plus_s(n))),
            Directive::Draft(text) => self.composer.insert(&text),
            Directive::Done => {
                self.say("done");
                self.leave = Some(Leave::Exit(0));
            }
            Directive::Exit(status) => self.leave = Some(Leave::Exit(status)),
            Directive::Crash(how) => self.leave = Some(Leave::Crash(how)),
            Directive::Shell => self.leave = Some(Leave::Shell),
            Directive::Orphan => match child::orphan() {
                Ok(pid) => self.say(&format!("orphan {pid}")),
                Err(error) => self.complain(&format!("no orphan: {error}")),
            },
            Directive::IgnoreTerm => {
                self.term = Term::Ignored;
                self.say("ignoring SIGTERM");
            }
            Directive::FlakyEnter(n) => {
                self.flaky_enters = n;
                self.say(&format!("the next {n} Enters are lost"));
            }
            Directive::Say(text) => self.say(&text),
            Directive::Idle(n) => self.idle_until = Some(now + Duration::from_secs_f64(n)),
            Directive::Await => self.script_gate = Gate::Prompt,
        }
    }

    /// After the short thought.
    fn go_on(&mut self, next: Next, began: Instant, now: Instant) {
        match next {
            Next::Answer(text) => self.say(&text),
            Next::Work(prompt) => self.start_worker(&prompt, began),
            Next::Play(directive) => self.play(directive, began, now),
            Next::Limit => self.show_limit(now),
            Next::Trouble(trouble) => self.complain(trouble.text()),
        }
    }

    fn show_limit(&mut self, now: Instant) {
        let Some(limit) = self.limit else { return };
        let end = match limit.said {
            Said::Clock => format!("resets {} (UTC)", clock(limit.resets)),
            Said::Seconds => {
                let left = limit.until.saturating_duration_since(now).as_secs_f64().ceil().max(1.0);
                format!("resets in {left:.0} seconds")
            }
        };
        self.complain(&format!("You've hit your usage limit · {end}"));
        if limit.menu == Menu::Open {
            self.dialog = Some(Dialog { asks: Asks::LimitMenu, chosen: 0 });
        }
    }

    fn next_trouble(&mut self) -> Option<Trouble> {
        let (trouble, left) = self.trouble.filter(|(_, left)| *left > 0)?;
        self.trouble = Some((trouble, left - 1));
        Some(trouble)
    }

    fn start_tool(&mut self, seconds: f64, began: Instant, now: Instant) {
        match Burner::start() {
            Ok(burner) => {
                self.say("running a tool");
                let written = self.transcript.tool("tool_call", "burn");
                self.keep(written);
                let until = now + Duration::from_secs_f64(seconds);
                self.turn = Some(Turn { began, work: Work::Tool { until, _burner: burner } });
            }
            Err(error) => self.complain(&format!("the tool did not start: {error}")),
        }
    }

    fn start_worker(&mut self, prompt: &str, began: Instant) {
        let Some(program) = &self.worker else { return };
        match Worker::start(program, prompt) {
            Ok(worker) => {
                self.turn = Some(Turn { began, work: Work::Worker { worker: Box::new(worker) } });
            }
            // Words, not an error of the agent's own: it is the worker that is missing.
            Err(error) => self.say(&format!("the worker did not start: {error}")),
        }
    }

    fn say_step(&mut self) {
        self.steps += 1;
        let count = SUBJECTS.len() as u64;
        let subject = SUBJECTS[(self.seed % count + self.steps - 1) as usize % SUBJECTS.len()];
        self.say(&format!("step {} … {subject}", self.steps));
    }
}

/// `seconds` of streamed text.
fn steps(now: Instant, seconds: f64) -> Work {
    Work::Steps { next_at: now, left: seconds.ceil() as u64, until: now + Duration::from_secs_f64(seconds) }
}

fn quiet(now: Instant, seconds: f64, doing: Doing, at_end: &str) -> Work {
    Work::Quiet {
        until: Some(now + Duration::from_secs_f64(seconds)),
        doing,
        at_end: Some(at_end.to_owned()),
    }
}

fn acknowledgement(text: &str) -> String {
    let first: String =
        text.trim().chars().take(ACK_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("ACK: {first}")
}

/// A limit that ends in `seconds`; one that is said by the clock at the next whole minute after that.
fn limit(seconds: f64, said: Said, menu: Menu, now: Instant) -> Limit {
    let today = wall_now();
    let resets = match said {
        Said::Clock => next_minute(today.plus_s(seconds)),
        Said::Seconds => today.plus_s(seconds),
    };
    let until = now + Duration::from_secs_f64(resets.since_s(today).max(0.0));
    Limit { until, resets, said, menu }
}

/// Rounded up to a whole minute.
fn next_minute(at: Wall) -> Wall {
    Wall(at.0.saturating_add(59_999).div_euclid(60_000) * 60_000)
}

/// `10:27am`, UTC.
fn clock(at: Wall) -> String {
    let minute = at.0.div_euclid(60_000).rem_euclid(24 * 60);
    let (hour, minute) = (minute / 60, minute % 60);
    let half = if hour < 12 { "am" } else { "pm" };
    let hour = if hour % 12 == 0 { 12 } else { hour % 12 };
    format!("{hour}:{minute:02}{half}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_clock(at: &str, want: &str) {
        assert_eq!(clock(next_minute(Wall::parse(at).unwrap())), want);
    }

    #[test]
    fn a_limit_ends_at_the_next_whole_minute() {
        check_clock("2026-11-21T10:26:01Z", "10:27am");
        check_clock("2026-11-21T10:27:00Z", "10:27am");
        check_clock("2026-11-21T23:59:30Z", "12:00am");
        check_clock("2026-11-21T12:00:00Z", "12:00pm");
        check_clock("2026-11-21T13:05:00Z", "1:05pm");
    }

    #[test]
    fn an_acknowledgement_is_one_short_line() {
        assert_eq!(acknowledgement("a\nb"), "ACK: a b");
        assert_eq!(acknowledgement(&"x".repeat(99)), format!("ACK: {}", "x".repeat(60)));
    }
}

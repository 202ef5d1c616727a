//! The agent's state and its life: what it is doing, when something is due next, what is shown. What a directive
//! does is in `play.rs`, what a key does in `keys.rs`; the clock is handed in.

use super::composer::{Composer, Message};
use super::options::{Conversation, Folder, Options};
use super::region::View;
use super::script::{Directive, Trouble};
use super::transcript::Transcript;
use super::turn::{Asks, Dialog, Limit, Turn};
use crate::base::text::strip_controls;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Between two turns of LOOP.
const LOOP_GAP: Duration = Duration::from_millis(500);
/// Messages that may be queued; more are dropped.
const QUEUE_MAX: usize = 100;
/// Steps of one round of [`Agent::advance`], so that a script without any duration can't spin for ever.
const STEPS_MAX: usize = 1000;

/// The agent.
#[derive(Debug)]
pub struct Agent {
    pub(super) transcript: Transcript,
    pub(super) composer: Composer,
    /// Submitted and not yet begun, oldest first.
    pub(super) queue: VecDeque<Message>,
    pub(super) turn: Option<Turn>,
    pub(super) dialog: Option<Dialog>,
    pub(super) script: VecDeque<Directive>,
    /// The script's gap ends then.
    pub(super) idle_until: Option<Instant>,
    /// What the script waits for beside its gap.
    pub(super) script_gate: Gate,
    /// LOOP is on; its next turn begins then.
    pub(super) loop_next: Option<Instant>,
    /// Lines streamed since WORK or LOOP began.
    pub(super) steps: u64,
    pub(super) limit: Option<Limit>,
    /// So many more prompts end with this error.
    pub(super) trouble: Option<(Trouble, u32)>,
    /// Enters yet to be swallowed.
    pub(super) flaky_enters: u32,
    /// When C-c was pressed at an empty composer.
    pub(super) interrupted_at: Option<Instant>,
    pub(super) seed: u64,
    /// The program that does the work of a prompt without a directive.
    pub(super) worker: Option<String>,
    /// What the turn under way has read and said.
    pub(super) usage: Usage,
    stage: Stage,
    folder: Folder,
    conversation: Conversation,
    /// Lines to be printed.
    pub(super) output: Vec<String>,
    pub(super) leave: Option<Leave>,
    pub(super) grip: Grip,
    pub(super) term: Term,
    on_idle: OnIdle,
}

/// Bytes of text: what made-up token counts are made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub read: u64,
    pub said: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting { until: Instant },
    Running,
}

/// Whether anything still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grip {
    Firm,
    /// FREEZE
    Frozen,
}

/// Whether the script waits for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// AWAIT: until the next prompt.
    Prompt,
}

/// What SIGTERM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    Obeyed,
    Ignored,
}

/// What happens when there is nothing left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnIdle {
    /// A person may type.
    Stay,
    /// Nobody can: exit 0.
    Exit,
}

/// How the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    Exit(u8),
    /// By this signal, or with exit status 1.
    Crash(i32),
    /// By becoming a shell.
    Shell,
    /// It was told so by this signal.
    Signal(i32),
    /// It could not go on.
    Failed(String),
}

impl Agent {
    /// An agent that starts now.
    pub fn new(options: &Options, transcript: Transcript, script: Vec<Directive>, now: Instant) -> Agent {
        Agent {
            transcript,
            composer: Composer::default(),
            queue: options.prompts.iter().cloned().map(Message::plain).collect(),
            turn: None,
            dialog: None,
            script: script.into(),
            idle_until: None,
            script_gate: Gate::Open,
            loop_next: None,
            steps: 0,
            limit: None,
            trouble: None,
            flaky_enters: 0,
            interrupted_at: None,
            seed: options.seed,
            worker: options.worker.clone(),
            usage: Usage::default(),
            stage: Stage::Starting { until: now + Duration::from_secs_f64(options.start_s) },
            folder: options.folder,
            conversation: options.conversation,
            output: Vec::new(),
            leave: None,
            grip: Grip::Firm,
            term: Term::Obeyed,
            on_idle: OnIdle::Stay,
        }
    }

    /// Does everything that is due.
    pub fn advance(&mut self, now: Instant) {
        for _ in 0..STEPS_MAX {
            let is_over = self.leave.is_some() || self.grip == Grip::Frozen;
            if is_over || self.step(now) == Step::Nothing {
                return;
            }
        }
    }

    /// When something is due next; None = only a key can change anything.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        if let Stage::Starting { until } = self.stage {
            return Some(until);
        }
        if self.grip == Grip::Frozen || self.dialog.is_some() {
            return None;
        }
        if let Some(turn) = &self.turn {
            let frame = turn.next_frame(now);
            return Some(turn.work.due().map_or(frame, |due| due.min(frame)));
        }
        match self.loop_next {
            Some(next) => Some(next),
            None if self.script.is_empty() || self.script_gate == Gate::Prompt => None,
            None => self.script_due().or(Some(now)),
        }
    }

    /// Submits a message: begun at once, or queued while a turn runs.
    pub fn submit(&mut self, message: Message) {
        if !message.text.trim().is_empty() && self.queue.len() < QUEUE_MAX {
            self.queue.push_back(message);
        }
    }

    /// Nobody will type any more.
    pub fn exit_when_idle(&mut self) {
        self.on_idle = OnIdle::Exit;
    }

    /// Whether it still starts: what is typed meanwhile is read later.
    pub fn is_starting(&self) -> bool {
        self.stage != Stage::Running
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.grip == Grip::Frozen
    }

    /// Whether SIGTERM is ignored.
    pub fn ignores_term(&self) -> bool {
        self.term == Term::Ignored
    }

    /// The lines to be printed, handed over.
    pub fn take_output(&mut self) -> Vec<String> {
        std::mem::take(&mut self.output)
    }

    /// How it ends, once it does.
    pub fn take_leave(&mut self) -> Option<Leave> {
        self.leave.take()
    }

    /// What stands at the bottom now, laid out by `use_view` (the view borrows texts made here).
    pub fn with_view<T>(&self, now: Instant, use_view: impl FnOnce(&View<'_>) -> T) -> T {
        if self.stage != Stage::Running {
            return use_view(&View::Starting);
        }
        if let Some(dialog) = &self.dialog {
            return use_view(&dialog.view());
        }
        let text = self.composer.shown();
        let queued = self.queue.iter().map(|message| message.shown.as_str()).collect();
        use_view(&View::Composer { text: &text, busy: self.turn.as_ref().map(|turn| turn.busy(now)), queued })
    }

    /// The terminal's title.
    pub fn title(&self) -> &'static str {
        match (self.stage, &self.dialog, &self.turn) {
            (Stage::Starting { .. }, _, _) => "",
            (Stage::Running, Some(_), _) => "demo: waiting",
            (Stage::Running, None, Some(_)) => "demo: busy",
            (Stage::Running, None, None) => "demo: idle",
        }
    }

    /// Prints a line of its own and records it.
    pub(super) fn say(&mut self, text: &str) {
        self.output.extend(indented("• ", text));
        self.usage.said += text.len() as u64;
        let written = self.transcript.said("assistant", text);
        self.keep(written);
    }

    /// Prints a line of trouble and records it.
    pub(super) fn complain(&mut self, text: &str) {
        self.output.extend(indented("! ", text));
        let written = self.transcript.said("error", text);
        self.keep(written);
    }

    /// A transcript that can't be written is no judge: the agent ends loudly.
    pub(super) fn keep(&mut self, written: std::io::Result<()>) {
        if let Err(error) = written {
            self.leave = Some(Leave::Failed(format!("writing the transcript: {error}")));
        }
    }

    /// The turn is over: what it cost, made up from its length (about four bytes are a token).
    pub(super) fn record_usage(&mut self) {
        let Usage { read, said } = std::mem::take(&mut self.usage);
        let written = self.transcript.usage(read.div_ceil(4), said.div_ceil(4));
        self.keep(written);
    }

    /// The first thing that is due, if any.
    fn step(&mut self, now: Instant) -> Step {
        if let Stage::Starting { until } = self.stage {
            if now < until {
                return Step::Nothing;
            }
            self.begin();
        } else if self.dialog.is_some() {
            return Step::Nothing;
        } else if self.turn.is_some() {
            if self.step_turn(now) == Step::Nothing {
                return Step::Nothing;
            }
            if self.turn.is_none() {
                self.record_usage();
                self.loop_next = self.loop_next.map(|_| now + LOOP_GAP);
            }
        } else if let Some(message) = self.queue.pop_front() {
            self.start_prompt(&message, now);
        } else if let Some(next) = self.loop_next {
            if now < next {
                return Step::Nothing;
            }
            self.start_loop_turn(now);
        } else if !self.script.is_empty() {
            if self.script_gate == Gate::Prompt || self.script_due().is_some_and(|due| now < due) {
                return Step::Nothing;
            }
            if let Some(directive) = self.script.pop_front() {
                self.play(directive, now, now);
            }
        } else {
            if self.on_idle == OnIdle::Exit {
                self.leave = Some(Leave::Exit(0));
            }
            return Step::Nothing;
        }
        Step::Done
    }

    /// The start is over.
    fn begin(&mut self) {
        self.stage = Stage::Running;
        if self.conversation == Conversation::Resumed {
            self.say("resumed");
        }
        if self.folder == Folder::Unknown {
            self.dialog = Some(Dialog { asks: Asks::Trust, chosen: 0 });
        }
    }

    /// When the script goes on: after its gap, and after a limit that it made.
    fn script_due(&self) -> Option<Instant> {
        self.idle_until.max(self.limit.map(|limit| limit.until))
    }
}

/// Whether something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Done,
    Nothing,
}

/// The lines of a text, the first with its mark, the others indented by two.
pub(super) fn indented(mark: &str, text: &str) -> Vec<String> {
    let clean = strip_controls(text);
    let mark_of = |i| if i == 0 { mark } else { "  " };
    clean.split('\n').enumerate().map(|(i, line)| format!("{}{line}", mark_of(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::agent::input::Key;
    use crate::demo::agent::script::{Menu, Said};

    /// An agent past its start, and the instant it is at.
    fn agent(script: &[Directive]) -> (Agent, Instant) {
        let now = Instant::now();
        let mut agent = Agent::new(&Options::default(), Transcript::default(), script.to_vec(), now);
        agent.advance(now);
        (agent, now)
    }

    /// Lets the agent live until nothing more is due or `seconds` are over; the lines that it said.
    fn live(agent: &mut Agent, from: Instant, seconds: f64) -> Vec<String> {
        let end = from + Duration::from_secs_f64(seconds);
        let mut said = Vec::new();
        let mut now = from;
        while now <= end && agent.leave.is_none() {
            agent.advance(now);
            said.extend(agent.take_output());
            let Some(due) = agent.next_due(now) else { break };
            now = due.max(now);
        }
        said
    }

    fn submit(agent: &mut Agent, text: &str) {
        agent.submit(Message::plain(text.to_owned()));
    }

    #[test]
    fn an_idle_agent_and_an_open_dialog_wait_for_ever() {
        let (agent, now) = agent(&[]);
        assert_eq!(agent.next_due(now), None);
        let (agent, now) = self::agent(&[Directive::Ask]);
        assert_eq!((agent.title(), agent.next_due(now)), ("demo: waiting", None));
        let (agent, now) = self::agent(&[Directive::Freeze]);
        assert_eq!((agent.is_frozen(), agent.next_due(now)), (true, None));
    }

    #[test]
    fn a_script_plays_one_directive_after_the_other() {
        let script =
            [Directive::Work(2.0), Directive::Idle(3.0), Directive::Say("x".into()), Directive::Exit(7)];
        let (mut agent, now) = agent(&script);
        let said = live(&mut agent, now, 4.9);
        assert_eq!(said, ["• step 1 … reading the sources", "• step 2 … looking for the cause"]);
        assert_eq!(live(&mut agent, now, 5.1), ["• x"]);
        assert_eq!(agent.take_leave(), Some(Leave::Exit(7)));
    }

    #[test]
    fn an_awaiting_script_goes_on_after_the_next_prompt() {
        let (mut agent, now) = agent(&[Directive::Await, Directive::Say("on".into()), Directive::Await]);
        assert_eq!(live(&mut agent, now, 60.0), [""; 0]);
        assert_eq!(agent.next_due(now), None);
        submit(&mut agent, "hello");
        assert_eq!(live(&mut agent, now, 60.0), ["", "> hello", "• ACK: hello", "• on"]);
        assert_eq!(agent.script_gate, Gate::Prompt);
    }

    #[test]
    fn a_limit_answers_every_prompt_until_it_is_over_and_holds_the_script() {
        let limit = Directive::Limit { seconds: 30.0, said: Said::Seconds, menu: Menu::Closed };
        let (mut agent, now) = agent(&[limit, Directive::Say("back".into())]);
        assert_eq!(agent.take_output(), ["! You've hit your usage limit · resets in 30 seconds"]);
        submit(&mut agent, "go on");
        let said = live(&mut agent, now, 10.0);
        assert_eq!(said, ["", "> go on", "! You've hit your usage limit · resets in 30 seconds"]);
        assert_eq!(live(&mut agent, now, 31.0), ["• back"]);
        submit(&mut agent, "go on");
        assert_eq!(live(&mut agent, now + Duration::from_secs(31), 9.0), ["", "> go on", "• ACK: go on"]);
    }

    #[test]
    fn an_error_lasts_for_so_many_prompts() {
        let (mut agent, now) = agent(&[Directive::Error { trouble: Trouble::Server, prompts: 2 }]);
        assert_eq!(agent.take_output(), ["! API Error: 500 server error"]);
        submit(&mut agent, "a");
        submit(&mut agent, "b");
        let said = live(&mut agent, now, 9.0);
        assert_eq!(said, ["", "> a", "! API Error: 500 server error", "", "> b", "• ACK: b"]);
    }

    #[test]
    fn a_loop_goes_on_after_a_message_but_not_after_an_interruption() {
        let (mut agent, now) = agent(&[Directive::Loop]);
        submit(&mut agent, "hello");
        let said = live(&mut agent, now, 60.0).join("\n");
        assert!(said.contains("• ACK: hello\n• step 4 …") && said.contains("• step 40 …"), "{said}");
        agent.press(Key::Escape, now + Duration::from_secs(61));
        agent.press(Key::Escape, now + Duration::from_secs(61));
        assert_eq!(live(&mut agent, now + Duration::from_secs(61), 60.0), ["• interrupted"]);
    }

    #[test]
    fn a_loop_ends_between_two_turns_too_and_an_empty_message_is_none() {
        let (mut agent, now) = agent(&[Directive::Loop]);
        live(&mut agent, now, 3.1);
        assert_eq!(agent.title(), "demo: idle");
        submit(&mut agent, " \n");
        agent.press(Key::Escape, now);
        assert_eq!(live(&mut agent, now, 9.0), ["• interrupted"]);
    }

    #[test]
    fn retries_count_down_and_up() {
        let (agent, now) = agent(&[Directive::Retry(20.0)]);
        let seen = |s: f64| {
            agent.with_view(now + Duration::from_secs_f64(s), |view| match view {
                View::Composer { busy: Some(busy), .. } => {
                    (busy.doing.clone(), busy.detail.clone(), busy.seconds)
                }
                View::Starting | View::Dialog { .. } | View::Composer { .. } => panic!("{view:?}"),
            })
        };
        assert_eq!(seen(0.0), ("Retrying in 4s".into(), Some("attempt 1/5".into()), 0));
        assert_eq!(seen(5.5), ("Retrying in 3s".into(), Some("attempt 2/5".into()), 5));
        assert_eq!(seen(99.5), ("Retrying in 1s".into(), Some("attempt 5/5".into()), 99));
    }

    #[test]
    fn two_ctrl_c_at_an_empty_composer_leave_and_flaky_enters_are_lost() {
        let (mut agent, now) = agent(&[Directive::FlakyEnter(1)]);
        agent.press(Key::Char('x'), now);
        agent.press(Key::Enter, now);
        assert_eq!(agent.composer.text(), "x");
        agent.press(Key::Enter, now);
        assert!(agent.composer.is_empty() && agent.queue.len() == 1);
        live(&mut agent, now, 9.0);
        agent.press(Key::Interrupt, now);
        agent.press(Key::Interrupt, now + Duration::from_secs(3));
        assert_eq!(agent.leave, None);
        agent.press(Key::Interrupt, now + Duration::from_secs(4));
        assert_eq!(agent.take_leave(), Some(Leave::Exit(0)));
    }
}

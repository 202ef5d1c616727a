//! What a key does, in the composer and in a dialog.

use super::input::Key;
use super::state::{Agent, Leave};
use super::turn::{Asks, Dialog};
use std::time::{Duration, Instant};

/// A second C-c within this time leaves.
const TWICE: Duration = Duration::from_secs(2);

impl Agent {
    /// A key was pressed.
    pub fn press(&mut self, key: Key, now: Instant) {
        match self.dialog {
            Some(dialog) => self.press_in_dialog(dialog, &key),
            None => self.press_in_composer(key, now),
        }
    }

    fn press_in_composer(&mut self, key: Key, now: Instant) {
        match key {
            Key::Char(c) => self.composer.insert(c.encode_utf8(&mut [0; 4])),
            Key::Paste(text) => self.composer.paste(text),
            Key::Newline => self.composer.insert("\n"),
            Key::Enter => self.enter(),
            Key::Tab if self.turn.is_some() => self.enter(),
            Key::ClearLine => self.composer.clear(),
            Key::Backspace => self.composer.backspace(),
            Key::Escape => self.interrupt(),
            Key::Interrupt => self.interrupt_or_leave(now),
            Key::EndOfInput if self.composer.is_empty() && self.turn.is_none() => {
                self.leave = Some(Leave::Exit(0));
            }
            Key::Tab | Key::EndOfInput | Key::Up | Key::Down => {}
        }
    }

    /// Submits what stands in the composer.
    fn enter(&mut self) {
        if self.composer.is_empty() {
            return;
        }
        if self.flaky_enters > 0 {
            self.flaky_enters -= 1;
            return;
        }
        let message = self.composer.take();
        self.submit(message);
    }

    /// C-c: first the turn, then the composer, and twice on nothing leaves.
    fn interrupt_or_leave(&mut self, now: Instant) {
        if self.turn.is_some() || self.loop_next.is_some() {
            self.interrupt();
        } else if !self.composer.is_empty() {
            self.composer.clear();
        } else if self.interrupted_at.is_some_and(|at| now.saturating_duration_since(at) < TWICE) {
            self.leave = Some(Leave::Exit(0));
        } else {
            self.interrupted_at = Some(now);
        }
    }

    /// Only these keys do anything: a paste into a dialog is lost, and the Enter after it confirms, as in the real ones.
    fn press_in_dialog(&mut self, dialog: Dialog, key: &Key) {
        let choose = |chosen| Some(Dialog { chosen, ..dialog });
        match key {
            Key::Up => self.dialog = choose(0),
            Key::Down => self.dialog = choose(1),
            Key::Char('1') => self.answer(dialog.asks, 0),
            Key::Char('2') => self.answer(dialog.asks, 1),
            Key::Enter => self.answer(dialog.asks, dialog.chosen),
            Key::Escape | Key::Interrupt => self.cancel(dialog.asks),
            Key::Char(_) | Key::Paste(_) | Key::Newline | Key::Tab => {}
            Key::ClearLine | Key::Backspace | Key::EndOfInput => {}
        }
    }

    fn answer(&mut self, asks: Asks, answer: usize) {
        self.dialog = None;
        match (asks, answer) {
            (Asks::Permission, 0) => self.say("ran"),
            (Asks::Permission, _) => self.say("denied"),
            // The limit itself goes on, without its menu until the next prompt.
            (Asks::Trust | Asks::LimitMenu, 0) => {}
            (Asks::Trust, _) => self.leave = Some(Leave::Exit(1)),
            (Asks::LimitMenu, _) => self.leave = Some(Leave::Exit(0)),
        }
    }

    /// Escape: No, and in the limit menu no more than closing it.
    fn cancel(&mut self, asks: Asks) {
        match asks {
            Asks::Permission | Asks::Trust => self.answer(asks, 1),
            Asks::LimitMenu => self.answer(asks, 0),
        }
    }
}

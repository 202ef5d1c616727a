//! The boundaries at which the watchdog may be killed: every call into the world is one.

use std::cell::Cell;

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Works,
    /// The watchdog dies before the call has its effect.
    DiesBefore,
    /// It dies right after.
    DiesAfter,
    /// It is dead already.
    Dead,
}

/// Counts calls; at the chosen one the watchdog dies.
#[derive(Debug, Default)]
pub struct Ops {
    left: Cell<u64>,
    after: Cell<bool>,
    killed: Cell<bool>,
    pub count: Cell<u64>,
}

impl Ops {
    /// The `nth` call from now kills, after its effect or before it.
    pub fn arm(&self, nth: u64, after: bool) {
        self.left.set(nth);
        self.after.set(after);
    }

    pub fn disarm(&self) {
        self.left.set(0);
        self.killed.set(false);
    }

    pub fn killed(&self) -> bool {
        self.killed.get()
    }

    pub fn step(&self) -> Step {
        self.count.set(self.count.get() + 1);
        if self.killed.get() {
            return Step::Dead;
        }
        match self.left.get() {
            0 => Step::Works,
            1 => {
                self.left.set(0);
                self.killed.set(true);
                if self.after.get() { Step::DiesAfter } else { Step::DiesBefore }
            }
            n => {
                self.left.set(n - 1);
                Step::Works
            }
        }
    }
}

//! How many labs live at once in one test program: more than the machine can carry would only test its patience.

use std::sync::{Condvar, Mutex, PoisonError};

/// Labs per core: they mostly wait.
const PER_CORE: usize = 6;

static USED: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// A place that is held until it is dropped.
#[derive(Debug)]
pub struct Turn {
    weight: usize,
}

/// Waits for a place.
pub fn take(weight: usize) -> Turn {
    let most = std::thread::available_parallelism().map_or(2, usize::from) * PER_CORE;
    let weight = weight.min(most);
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    while *used + weight > most {
        used = FREED.wait(used).unwrap_or_else(PoisonError::into_inner);
    }
    *used += weight;
    Turn { weight }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *USED.lock().unwrap_or_else(PoisonError::into_inner) -= self.weight;
        FREED.notify_all();
    }
}

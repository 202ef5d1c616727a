//! Pure: text to facts. Screens, reset times, cron times, declared waits. No I/O, no clock, no state.

pub mod cron;
pub mod pause;
pub mod reset_time;
pub mod screen;
pub mod wait;
pub mod zone;

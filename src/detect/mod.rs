//! Pure: text to facts. Screens, transcripts, logs, reset times, cron times, declared waits, secrets. No I/O, no clock, no state.

pub mod cron;
pub mod fingerprint;
pub mod incident;
pub mod log;
pub mod mask;
pub mod pause;
pub mod reset_time;
pub mod screen;
pub mod secrets;
pub mod source;
pub mod transcript;
pub mod wait;
pub mod zone;

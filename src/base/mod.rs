//! Names, time, text and errors: the words that every layer shares. No I/O here.

pub mod done;
pub mod error;
pub mod names;
pub mod text;
pub mod time;

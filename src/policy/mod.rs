//! (placeholder)

pub mod guard_text;

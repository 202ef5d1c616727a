//! Helpers of `real_clis.rs`.

pub mod fleet;
pub mod judge;
pub mod lab;
pub mod scenes;
pub mod texts;

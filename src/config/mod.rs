//! What the operator wants: `agents.toml` parsed, checked and resolved. No I/O: files are read by `sys`, handed in as text.
//!
//! `raw.rs` is what the file says (with spans), `resolve.rs` what we mean; every error is collected, none is first.

pub mod backend;
pub mod types;

pub use backend::Backend;
pub use types::*;

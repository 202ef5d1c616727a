//! What `init` and `skills` make of a folder: proposals for a process, a config taken over, a comparison with today's
//! defaults, skills for AI editors. Texts in, texts out.
//!
//! Deliberately not here: reading and writing files. The commands do that through `sys`.

pub mod defaults;
pub mod editors;
pub mod ideas;
pub mod notes;
pub mod propose;
pub mod stack;
pub mod takeover;
pub mod toml_text;
pub mod upgrade;
pub mod yaml;

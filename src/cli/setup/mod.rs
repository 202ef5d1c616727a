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

/// What the real parser says about a text that was made here; "" when it is good.
#[cfg(test)]
fn problems_of(text: &str) -> String {
    use crate::config::{self, Source};
    let env = |name: &str| (name == "HOME" || name == "SET").then(|| "7".to_owned());
    let source = Source {
        path: std::path::Path::new("/fleet/agents.toml"),
        text,
        home: std::path::Path::new("/home/op"),
        env: &env,
        read: &|_| Ok(String::new()),
        state_override: None,
    };
    let parsed = config::parse(&source);
    config::render("agents.toml", &parsed.problems)
}

//! Texts for the AI agents that work beside watchkeeper: the runbook that `init --for-agent` writes, and the skill that
//! `skills install` puts where editors look for it. Both are files of prompts/.
//!
//! Deliberately not here: where they go (`editors`).

/// AGENT_NOTES.md.
pub const RUNBOOK: &str = include_str!("../../../prompts/skills/AGENT_NOTES.md");

/// The `/watchkeeper` command.
pub const SKILL: &str = include_str!("../../../prompts/skills/watchkeeper.md");

/// The section of AGENTS.md.
pub const SECTION: &str = include_str!("../../../prompts/skills/AGENTS.md");

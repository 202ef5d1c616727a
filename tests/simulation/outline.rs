//! The plan of a simulated fleet: phases that people append, reorder, rename and remove while it runs.

use super::rng::Rng;
use std::fmt::Write;

/// Below which folder of the repository the state stands.
pub const STATE: &str = "state";
/// The unit that is started when all is done.
pub const FINAL: &str = "reporter";
/// Who hears of which file.
pub const INBOXES: &[&str] = &["INBOX-builder.md", "INBOX-boss.md"];

/// One phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    pub id: String,
    /// The number of its status file.
    pub number: u32,
}

impl Phase {
    /// Its status file as a path in the repository.
    pub fn status(&self) -> String {
        format!("{STATE}/STATUS-{}.md", self.number)
    }
}

#[derive(Clone, Debug)]
pub struct Outline {
    pub phases: Vec<Phase>,
    made: u32,
}

impl Outline {
    pub fn new(rng: &mut Rng) -> Outline {
        let mut outline = Outline { phases: Vec::new(), made: 0 };
        for _ in 0..rng.between(3, 6) {
            outline.append();
        }
        outline
    }

    pub fn append(&mut self) {
        self.made += 1;
        self.phases.push(Phase { id: format!("p{}", self.made), number: self.made });
    }

    /// An edit of a person's. What it was.
    pub fn edit(&mut self, rng: &mut Rng) -> String {
        let at = rng.below(self.phases.len() as u64) as usize;
        match rng.below(4) {
            0 if self.phases.len() < 9 => {
                self.append();
                "a phase is appended".into()
            }
            1 => {
                let to = rng.below(self.phases.len() as u64) as usize;
                self.phases.swap(at, to);
                format!("phases {at} and {to} are swapped")
            }
            2 => {
                self.made += 1;
                let id = format!("n{}", self.made);
                let old = std::mem::replace(&mut self.phases[at].id, id.clone());
                format!("phase {old} is renamed to {id}")
            }
            _ if self.phases.len() > 2 => format!("phase {} is removed", self.phases.remove(at).id),
            _ => "nothing".into(),
        }
    }

    /// Its part of agents.toml.
    pub fn text(&self) -> String {
        let mut text = format!(
            r#"
[[agent]]
name = "{FINAL}"
kind = "task"
account = "team-b"
prompt = "reporter.md"

[loop]
repo = "work"
branch = "origin/main"
state_subdir = "{STATE}"
on_complete = "{FINAL}"
phases = [
"#
        );
        for phase in &self.phases {
            let _ = writeln!(
                text,
                "  {{ id = \"{}\", plan = \"plans/{}.md\", status = \"STATUS-{}.md\" }},",
                phase.id, phase.number, phase.number
            );
        }
        text.push_str(
            r#"]

[loop.handoff]
claim_pattern = "^feat: claim"
claim_pings = ["boss", "tester"]
review_pattern = "^review:"
review_pings = ["builder-1", "helper"]
inboxes = { "INBOX-builder.md" = "builder-1", "INBOX-boss.md" = ["boss", "builder-2"] }
"#,
        );
        text
    }
}

/// The phase that a first prompt is for.
pub fn kickoff_phase(text: &str) -> Option<&str> {
    let (id, _) = text.strip_prefix("Phase ")?.split_once(" begins. You are ")?;
    Some(id).filter(|id| !id.contains(char::is_whitespace))
}

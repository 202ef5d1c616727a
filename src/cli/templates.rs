//! The fleets that `init` can write: the folders of examples/, embedded as they are.
//!
//! Deliberately not here: writing anything. That the table is complete is tested, so that no build script is needed.

/// One example.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// The folder's name.
    pub name: &'static str,
    /// One line: what it is.
    pub about: &'static str,
    /// What is in it.
    pub files: &'static [File],
}

/// One file of an example.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Relative to the example's folder.
    pub path: &'static str,
    /// What is in it.
    pub text: &'static str,
}

impl File {
    /// Its mode: scripts can be run.
    pub fn mode(&self) -> u32 {
        if self.path.ends_with(".sh") { 0o755 } else { 0o644 }
    }
}

/// `files!("folder": "a", "b/c")`: those files of an example.
macro_rules! files {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        &[$(File { path: $path, text: include_str!(concat!("../../examples/", $folder, "/", $path)) }),+]
    };
}

/// All of them, the one to begin with first.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "builder-adversary",
        about: "start here: one builds, one tries to refute each claim; they meet in git",
        files: files!("builder-adversary": "README.md", "agents.toml", "plans/1-count.md", "plans/2-report.md",
            "prompts/adversary.md", "prompts/builder.md", "prompts/kickoff.md", "setup.sh", "worker.sh"),
    },
    Template {
        name: "builder-adversary-min",
        about: "the same with prompts of a few lines",
        files: files!("builder-adversary-min": "README.md", "agents.toml", "plans/1-count.md", "plans/2-report.md",
            "prompts/adversary.md", "prompts/builder.md", "prompts/kickoff.md", "setup.sh", "worker.sh"),
    },
    Template {
        name: "builder-adversary-stateless",
        about: "the adversary is a task: a fresh context for each review",
        files: files!("builder-adversary-stateless": "README.md", "agents.toml", "plans/1-count.md",
            "plans/2-report.md", "prompts/adversary.md", "prompts/builder.md", "prompts/kickoff.md", "setup.sh",
            "worker.sh"),
    },
    Template {
        name: "builder-adversary-lean",
        about: "short prompts, one claim and one answer per phase",
        files: files!("builder-adversary-lean": "README.md", "agents.toml", "plans/1-count.md", "plans/2-report.md",
            "prompts/adversary.md", "prompts/builder.md", "prompts/kickoff.md", "setup.sh", "worker.sh"),
    },
    Template {
        name: "builder-adversary-deferred",
        about: "the adversary looks only at the end of a phase",
        files: files!("builder-adversary-deferred": "README.md", "agents.toml", "plans/1-count.md",
            "plans/2-report.md", "prompts/adversary.md", "prompts/builder.md", "prompts/kickoff.md", "setup.sh",
            "worker.sh"),
    },
    Template {
        name: "builder-solo",
        about: "a builder that certifies its own work: the control",
        files: files!("builder-solo": "README.md", "agents.toml", "plans/1-count.md", "plans/2-report.md",
            "prompts/builder.md", "prompts/kickoff.md", "setup.sh", "worker.sh"),
    },
    Template {
        name: "multi-reviewer",
        about: "a builder and two adversaries with one question each",
        files: files!("multi-reviewer": "README.md", "agents.toml", "plans/1-count.md", "plans/2-report.md",
            "prompts/builder.md", "prompts/correctness-adversary.md", "prompts/kickoff.md",
            "prompts/readability-adversary.md", "setup.sh", "worker.sh"),
    },
    Template {
        name: "snakepit",
        about: "identical workers on a shared queue, and specialists that clean up",
        files: files!("snakepit": "README.md", "agents.toml", "janitor.sh", "prompts/mender.md", "prompts/snake.md",
            "setup.sh", "tasks/haiku-queue.md", "tasks/haiku-rust.md", "tasks/haiku-tmux.md",
            "tasks/limerick-cron.md", "tasks/limerick-git.md", "tasks/sonnet.md", "worker.sh"),
    },
];

/// The template of that name.
pub fn find(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

//! What the agent was started with: arguments and environment, read once.

use super::script::{self, Directive};
use crate::base::text::dashed;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Longest duration that a directive may name, seconds (about 11 days).
pub const SECONDS_MAX: f64 = 1_000_000.0;

/// How long `demo agent starting…` stands, seconds, unless `DEMO_START` says otherwise.
const START_S: f64 = 0.3;

/// Arguments and environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Where each event is written.
    pub transcript: Option<PathBuf>,
    /// Where this run's events are written, in a file of its own below the folder's name, if `transcript` names none.
    pub home: Option<PathBuf>,
    /// Chooses the words of the streamed text.
    pub seed: u64,
    /// Submitted at start, in this order.
    pub prompts: Vec<String>,
    /// Whether this run continues a conversation.
    pub conversation: Conversation,
    /// The script's text.
    pub script: String,
    /// Whether the folder must be trusted first.
    pub folder: Folder,
    /// How long the start takes, seconds.
    pub start_s: f64,
    /// The program that does the work of a prompt without a directive.
    pub worker: Option<String>,
}

/// A new conversation or the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conversation {
    /// A new one.
    #[default]
    New,
    /// `--continue`
    Resumed,
}

/// `DEMO_TRUST=1` makes the folder an unknown one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Folder {
    /// No question.
    #[default]
    Trusted,
    /// The onboarding dialog opens at start.
    Unknown,
}

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Run.
    Run(Box<Options>),
    /// `--version`
    Version,
}

/// Reads the arguments and, through `env`, the environment.
pub fn read(args: Vec<OsString>, env: impl Fn(&str) -> Option<OsString>) -> Result<Asked, String> {
    use lexopt::Arg::{Long, Value};
    let text = |name: &str| env(name).map(|v| v.to_string_lossy().into_owned()).filter(|v| !v.is_empty());
    let mut options = Options {
        transcript: env("DEMO_TRANSCRIPT").filter(|v| !v.is_empty()).map(PathBuf::from),
        home: env("DEMO_HOME").filter(|v| !v.is_empty()).map(PathBuf::from),
        script: text("DEMO_SCRIPT").unwrap_or_default(),
        folder: if text("DEMO_TRUST").as_deref() == Some("1") { Folder::Unknown } else { Folder::Trusted },
        start_s: text("DEMO_START").and_then(|t| t.parse().ok()).unwrap_or(START_S).clamp(0.0, SECONDS_MAX),
        worker: text("DEMO_WORKER"),
        ..Options::default()
    };
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(said)? {
        match arg {
            Long("transcript") => options.transcript = Some(parser.value().map_err(said)?.into()),
            Long("seed") => {
                let value = parser.value().map_err(said)?;
                options.seed = value.to_str().and_then(|v| v.parse().ok()).ok_or("--seed needs a number")?;
            }
            Long("worker") => {
                options.worker =
                    Some(lossy(&parser.value().map_err(said)?)).filter(|program| !program.is_empty());
            }
            Long("prompt") => options.prompts.push(lossy(&parser.value().map_err(said)?)),
            // There is no model; the flag is there because every agent has it.
            Long("model") => drop(parser.value().map_err(said)?),
            Long("continue") => options.conversation = Conversation::Resumed,
            Long("version") => return Ok(Asked::Version),
            Value(value) => options.prompts.push(lossy(&value)),
            other => return Err(said(other.unexpected())),
        }
    }
    Ok(Asked::Run(Box::new(options)))
}

impl Options {
    /// The file of the events of this run, which works in `cwd` and is called `session`; None: nothing is written.
    pub fn transcript_of(&self, cwd: &Path, session: &str) -> Option<PathBuf> {
        let of_home =
            |home: &PathBuf| home.join(dashed(&cwd.to_string_lossy())).join(format!("{session}.jsonl"));
        self.transcript.clone().or_else(|| self.home.as_ref().map(of_home))
    }

    /// The directives of run number `run` (from 0).
    pub fn directives(&self, run: usize) -> Result<Vec<Directive>, String> {
        script::script(&self.script, run).map_err(|bad| format!("DEMO_SCRIPT: `{bad}` is no directive"))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn said(error: lexopt::Error) -> String {
    error.to_string()
}

fn lossy(value: &OsString) -> String {
    value.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str], env: &[(&str, &str)]) -> Result<Asked, String> {
        let find =
            |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        read(args.iter().map(OsString::from).collect(), find)
    }

    #[test]
    fn arguments_win_over_the_environment_and_prompts_keep_their_order() {
        let asked = run(
            &["--transcript", "a.jsonl", "--prompt", "one", "--continue", "--model", "m", "--", "--two"],
            &[
                ("DEMO_TRANSCRIPT", "b.jsonl"),
                ("DEMO_HOME", "h"),
                ("DEMO_SCRIPT", "WORK 1"),
                ("DEMO_TRUST", "1"),
                ("DEMO_START", "0"),
                ("DEMO_WORKER", "w.sh"),
            ],
        );
        let want = Options {
            transcript: Some("a.jsonl".into()),
            home: Some("h".into()),
            prompts: vec!["one".into(), "--two".into()],
            conversation: Conversation::Resumed,
            script: "WORK 1".into(),
            folder: Folder::Unknown,
            worker: Some("w.sh".into()),
            ..Options::default()
        };
        assert_eq!(asked, Ok(Asked::Run(Box::new(want))));
    }

    #[test]
    fn a_transcript_is_written_where_it_is_asked_for() {
        #[track_caller]
        fn check(transcript: Option<&str>, home: Option<&str>, want: Option<&str>) {
            let options = Options {
                transcript: transcript.map(PathBuf::from),
                home: home.map(PathBuf::from),
                ..Options::default()
            };
            assert_eq!(options.transcript_of("/w/a.b".as_ref(), "1-2"), want.map(PathBuf::from));
        }
        check(None, None, None);
        check(Some("t.jsonl"), None, Some("t.jsonl"));
        check(Some("t.jsonl"), Some("/h"), Some("t.jsonl"));
        check(None, Some("/h"), Some("/h/-w-a-b/1-2.jsonl"));
        check(None, Some("../h"), Some("../h/-w-a-b/1-2.jsonl"));
    }

    #[test]
    fn wrong_arguments_are_named() {
        assert!(run(&["--colour"], &[]).unwrap_err().contains("--colour"));
        assert!(run(&["--seed", "x"], &[]).is_err());
        assert!(run(&["--prompt"], &[]).is_err());
    }
}

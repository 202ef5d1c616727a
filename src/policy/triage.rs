//! Triage: a configured command looks at a silent agent's last lines and says what next: nudge it again, end it, or wait.
//! Its answer is one word of its last line. What it says is never run and never typed anywhere.
//!
//! Pure pieces for the ladder. Deliberately not here: when it is a tier's turn, cooldown, proof and vetoes (ladder).

use super::context::UnitContext;
use crate::base::text::{one_line, strip_controls};
use crate::config::Triage;
use crate::detect::{mask, screen};
use crate::model::action::Job;
use crate::model::seen::JobSeen;
use std::collections::BTreeMap;

/// Triage jobs that start in one tick, over the whole fleet (SPEC 8).
pub const STARTS_MAX: usize = 3;
/// Lines of the screen that the command is given (SPEC 8).
const LINES: usize = 50;
/// Longest line that it is given, characters.
const LINE_MAX: usize = 500;
/// Longest reason of a failure, characters.
const WHY_MAX: usize = 200;
/// What a job is named after.
pub const WHAT: &str = "triage";

/// What the command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nudge it again.
    Retry,
    /// End it: with the usual proof, and past no veto.
    Terminate,
    /// Give it another window.
    Extend,
    /// Nothing that can be used, in words that follow "triage": means [`Answer::Extend`].
    Unusable(String),
}

/// The question about this unit: the last lines of its screen, masked, and facts as variables.
pub fn job(context: &UnitContext<'_>, triage: &Triage, number: u64, symptom: &str) -> Job {
    let screen = context.alive().map_or("", |pane| &*pane.text);
    let idle = context.idle_s().map(|idle| format!("{idle:.0}")).unwrap_or_default();
    let env = [
        ("WATCHKEEPER_UNIT", context.name.to_string()),
        ("WATCHKEEPER_SYMPTOM", strip_controls(symptom).replace('\n', " ")),
        ("WATCHKEEPER_IDLE_S", idle),
        ("WATCHKEEPER_DIR", context.unit.dir.to_string_lossy().into_owned()),
    ];
    Job {
        id: Job::id_of(context.name, WHAT, number),
        argv: triage.command.clone(),
        env: env.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
        dir: context.unit.dir.to_string_lossy().into_owned(),
        deadline_s: triage.timeout_s,
        env_remove: context.agent().map(|agent| agent.backend.env_remove.clone()).unwrap_or_default(),
        stdin: Some(last_lines(screen)),
        awaited: true,
        fix: None,
    }
}

/// The answer; None while there is none. What the command wrote is not repeated.
pub fn answer(seen: &JobSeen) -> Option<Answer> {
    match seen {
        JobSeen::None | JobSeen::Running => None,
        JobSeen::Ended { failed: Some(why), .. } => {
            Some(Answer::Unusable(format!("failed ({})", one_line(why, WHY_MAX))))
        }
        JobSeen::Ended { failed: None, output, .. } => {
            let last = output.lines().map(str::trim).rfind(|line| !line.is_empty());
            Some(match last {
                Some("retry") => Answer::Retry,
                Some("terminate") => Answer::Terminate,
                Some("extend") => Answer::Extend,
                Some(_) => {
                    Answer::Unusable("ended with a line that is none of retry, terminate, extend".into())
                }
                None => Answer::Unusable("said nothing".into()),
            })
        }
    }
}

/// The last lines that are not empty at the end, masked and bounded.
fn last_lines(capture: &str) -> String {
    let rows = screen::rows(capture);
    let shown = mask::mask(&rows.join("\n"));
    let lines: Vec<&str> = shown.lines().collect();
    let mut text = String::new();
    for line in lines.iter().skip(lines.len().saturating_sub(LINES)) {
        text.extend(line.chars().take(LINE_MAX));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &str, want: Answer) {
        assert_eq!(answer(&JobSeen::well(output)), Some(want), "{output:?}");
    }

    #[test]
    fn only_the_last_line_answers_and_only_with_a_word_of_its_own() {
        check("retry", Answer::Retry);
        check("it hangs\nterminate\n\n", Answer::Terminate);
        check("  retry  \n", Answer::Retry);
        check("extend", Answer::Extend);
        let unusable = |output: &str, words: &str| check(output, Answer::Unusable(words.into()));
        for garbage in ["terminate\nor not", "TERMINATE", "terminate it", "\u{1b}[1mterminate\u{1b}[0m"] {
            unusable(garbage, "ended with a line that is none of retry, terminate, extend");
        }
        unusable(" \n\n", "said nothing");
    }

    #[test]
    fn a_failure_is_no_answer_and_what_runs_has_not_answered() {
        let output = "terminate".into();
        let failed = JobSeen::Ended { failed: Some("exit 1".into()), status: Some(1), output, fix: None };
        assert_eq!(answer(&failed), Some(Answer::Unusable("failed (exit 1)".into())));
        assert_eq!(answer(&JobSeen::Running), None);
        assert_eq!(answer(&JobSeen::None), None);
    }

    #[test]
    fn the_last_fifty_lines_masked_and_bounded() {
        let screen: String = (0..80).map(|n| format!("line {n}\n")).collect::<String>() + "\n\n";
        let text = last_lines(&screen);
        assert_eq!(text.lines().count(), 50);
        assert!(text.starts_with("line 30\n") && text.ends_with("line 79\n"));
        let secret = format!("key sk-{}", "a1".repeat(20));
        assert_eq!(last_lines(&secret), "key [masked]\n");
        assert_eq!(last_lines(&"x".repeat(9000)).len(), LINE_MAX + 1);
        assert_eq!(last_lines("\u{1b}[1mbold\u{1b}[0m"), "bold\n");
        assert_eq!(last_lines(""), "");
    }
}

//! An agent's answer: its last `ACTION:` line and the `SET:` lines that go with it. Tolerant of markdown and case, strict about
//! the words; what does not parse is an error and never an action.

use crate::base::text::one_line;
use std::collections::BTreeMap;

/// Variables that one answer may set.
const SET_MAX: usize = 50;
/// Longest reason, characters.
const REASON_MAX: usize = 160;
/// Longest value.
const VALUE_MAX: usize = 4096;

/// What an agent wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// restart, restart-with-env, pause, abort or none.
    pub action: &'static str,
    /// Variables.
    pub set: BTreeMap<String, String>,
}

const ACTIONS: [&str; 5] = ["restart", "restart-with-env", "pause", "abort", "none"];

/// Reads an answer. The error is a fragment for people.
pub(super) fn parse(text: &str) -> Result<Answer, String> {
    let lines = visible(text);
    let words: Vec<(usize, String)> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((at, after(line, "action")?))).collect();
    let Some((last, word)) = words.last() else { return Err("it has no `ACTION:` line".to_owned()) };
    // Who says more about it later, in words that are not read, may have changed their mind.
    if let Some(line) = lines.iter().skip(last + 1).find(|line| names_one(line)) {
        return Err(format!("`{}` comes after its last `ACTION:` line", one_line(line.trim(), 60)));
    }
    // What was set before an action that is not the only one belongs to another proposal.
    let from = if words.len() == 1 { 0 } else { *last };
    let mut set = BTreeMap::new();
    for pair in lines.iter().skip(from).filter_map(|line| after(line, "set")) {
        variable(&pair, &mut set)?;
    }
    let lower = word.to_lowercase().replace('_', "-");
    let Some(action) = ACTIONS.iter().find(|known| **known == lower) else {
        return Err(format!("its action `{}` is none of {}", one_line(word, 60), ACTIONS.join(", ")));
    };
    match (*action, set.is_empty()) {
        ("restart-with-env", true) => Err("`restart-with-env` without a `SET: KEY=VALUE` line".to_owned()),
        ("restart" | "restart-with-env", false) => Ok(Answer { action: "restart-with-env", set }),
        (action, true) => Ok(Answer { action, set }),
        (action, false) => Err(format!("`{action}` with `SET:` lines: only a restart can set something")),
    }
}

/// Why it wants that: the first sentence of its own, without marks; None = it says nothing but its action.
pub(super) fn reason(text: &str) -> Option<String> {
    let lines = visible(text);
    let says = |line: &&&str| {
        !line.trim_start().starts_with('#') && !names_one(line) && after(line, "set").is_none()
    };
    let line = lines.iter().filter(says).map(|line| unmarked(line)).find(|line| !line.is_empty())?;
    Some(one_line(line.trim_end_matches(['*', '_', '`', '|', ' ']), REASON_MAX))
}

/// The lines that count: no quotations, and nothing between fences unless an action stands only there.
fn visible(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut lines: Vec<(&str, bool)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('>')) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else {
            lines.push((line, fenced));
        }
    }
    let open = lines.iter().any(|(line, fenced)| !fenced && after(line, "action").is_some());
    lines.into_iter().filter(|(_, fenced)| !(open && *fenced)).map(|(line, _)| line).collect()
}

/// Does a line hold `ACTION:` anywhere, marks or not?
fn names_one(line: &str) -> bool {
    let marks = |c: char| c.is_whitespace() || matches!(c, '*' | '_' | '`' | '"' | '\'');
    let lower = line.to_lowercase();
    lower.match_indices("action").any(|(at, word)| {
        let before = lower.get(..at).and_then(|before| before.chars().next_back());
        let rest = lower.get(at + word.len()..).unwrap_or_default().trim_start_matches(marks);
        !before.is_some_and(char::is_alphanumeric) && rest.starts_with([':', '：'])
    })
}

/// A line without the marks of lists, tables and markdown before it: `1. `, `- `, `• `, `→ `, `| `.
fn unmarked(line: &str) -> &str {
    let marks = |c: char| !c.is_alphanumeric();
    let line = line.trim().trim_start_matches(marks);
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    match rest.starts_with(['.', ')', ':']) && rest.len() < line.len() {
        true => rest.trim_start_matches(marks),
        false => line,
    }
}

/// What follows `KEYWORD:` on a line, markdown's marks taken off.
fn after(line: &str, keyword: &str) -> Option<String> {
    let line = unmarked(line);
    let head = line.get(..keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let rest = line.get(keyword.len()..)?.trim_start_matches(['*', '_', '`', ' ']);
    let rest = rest.strip_prefix(':')?;
    let rest = rest.trim().trim_start_matches(['*', '`', ' ']).trim_end_matches(['*', '`', ' ', '|']);
    Some(rest.to_owned())
}

fn variable(pair: &str, set: &mut BTreeMap<String, String>) -> Result<(), String> {
    let shown = one_line(pair, 60);
    let (name, value) = pair.split_once('=').ok_or_else(|| format!("`SET: {shown}` is no KEY=VALUE"))?;
    let name = name.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("`SET: {shown}` names no variable"));
    }
    let value = value.trim();
    let quotes = |q: char| value.len() >= 2 && value.starts_with(q) && value.ends_with(q);
    let value =
        if quotes('"') || quotes('\'') { value.get(1..value.len() - 1).unwrap_or(value) } else { value };
    if value.len() > VALUE_MAX || value.contains('\0') || set.len() >= SET_MAX {
        return Err(format!("`SET: {}` is too long, or one too many", one_line(name, 60)));
    }
    set.insert(name.to_owned(), value.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The action and what is set, or the beginning of the complaint.
    type Want<'a> = Result<(&'a str, &'a [(&'a str, &'a str)]), &'a str>;

    #[track_caller]
    fn check(text: &str, want: Want<'_>) {
        match (parse(text), want) {
            (Ok(got), Ok((action, set))) => {
                assert_eq!(got.action, action, "{text}");
                let set: BTreeMap<String, String> =
                    set.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
                assert_eq!(got.set, set, "{text}");
            }
            (Err(got), Err(want)) => assert!(got.contains(want), "{text}\n{got}"),
            (got, want) => panic!("{text}\n{got:?}, not {want:?}"),
        }
    }

    #[test]
    fn the_last_action_line_counts_whatever_it_is_wrapped_in() {
        check("I looked.\nACTION: restart\n", Ok(("restart", &[])));
        check("ACTION: restart\n… on second thought:\nACTION: abort", Ok(("abort", &[])));
        check("**ACTION: abort**", Ok(("abort", &[])));
        check("**ACTION:** Pause", Ok(("pause", &[])));
        check("  - `ACTION: none`", Ok(("none", &[])));
        check("### Action: RESTART", Ok(("restart", &[])));
        check("ACTION: restart_with_env\nSET: A=1", Ok(("restart-with-env", &[("A", "1")])));
        check(
            "ACTION: restart\nSET: LR = \"0.5\"\nSET: N=2",
            Ok(("restart-with-env", &[("LR", "0.5"), ("N", "2")])),
        );
        check("SET: A=1\nACTION: restart-with-env", Ok(("restart-with-env", &[("A", "1")])));
        check("```\nACTION: restart\n```\nSo:\nACTION: pause", Ok(("pause", &[])));
        check("Fixed it.\n```\nACTION: restart\n```", Ok(("restart", &[])));
        check("> ACTION: abort\nACTION: restart", Ok(("restart", &[])));
        check("ACTION: restart-with-env\nSET: A=1\nACTION: pause", Ok(("pause", &[])));
        for mark in ["1.", "2)", "•", "→", "|", "+", "–", "1. **"] {
            check(&format!("ACTION: restart\nNo:\n{mark} ACTION: abort"), Ok(("abort", &[])));
        }
        check("| ACTION: abort |", Ok(("abort", &[])));
        check("ACTION: restart\nThe transaction: it was cut.\n> ACTION: abort", Ok(("restart", &[])));
    }

    #[test]
    fn its_reason_is_its_first_sentence() {
        #[track_caller]
        fn check(text: &str, want: Option<&str>) {
            assert_eq!(reason(text).as_deref(), want, "{text}");
        }
        check("ACTION: abort", None);
        check("SET: A=1\n**ACTION: restart-with-env**", None);
        check("# Diagnosis\n\n- **The disk is full.**\nACTION: abort", Some("The disk is full."));
        check("ACTION: abort\nThe data is broken.", Some("The data is broken."));
        check("> quoted\n```\ncode\n```\nACTION: pause", None);
        check(
            &format!("{}\nACTION: pause", "ä".repeat(1000)),
            Some(&format!("{}…", "ä".repeat(REASON_MAX - 1))),
        );
    }

    #[test]
    fn what_does_not_parse_is_an_error_and_never_an_action() {
        check("", Err("no `ACTION:` line"));
        check("I would restart it.", Err("no `ACTION:` line"));
        check("ACTION: abort because it is broken", Err("is none of"));
        for last in
            ["Final ACTION: abort", "So, **Action**: abort", "x | ACTION: abort", "my final action: abort"]
        {
            check(&format!("ACTION: restart\nBut then:\n{last}"), Err("comes after its last"));
        }
        check("ACTION: reboot", Err("`reboot` is none of restart"));
        check("ACTION:", Err("is none of"));
        check("ACTION: restart-with-env", Err("without a `SET"));
        check("ACTION: pause\nSET: A=1", Err("only a restart"));
        check("ACTION: restart\nSET: A", Err("no KEY=VALUE"));
        check("ACTION: restart\nSET: A B=1", Err("names no variable"));
        check("ACTION: restart\nACTION: restart it", Err("is none of"));
        check(&"ACTION: x\n".repeat(10_000), Err("is none of"));
    }
}

//! What reached the model: the mock's log.

use serde_json::Value;
use std::path::Path;

/// One request for a turn.
#[derive(Clone, Debug)]
pub struct Asked {
    /// All user texts of the conversation so far.
    pub users: Vec<String>,
}

impl Asked {
    pub fn last(&self) -> &str {
        self.users.last().map_or("", String::as_str)
    }
}

/// All requests of a CLI for turns, oldest first.
pub fn read(log: &Path, cli: &str) -> Vec<Asked> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records
        .filter(|record| record["tag"] == cli && record["main"] == true)
        .map(|record| Asked {
            users: record["users"]
                .as_array()
                .map(|users| users.iter().filter_map(|user| user.as_str().map(str::to_owned)).collect())
                .unwrap_or_default(),
        })
        .collect()
}

/// How often the model was given this text: the most that one conversation holds, and never less than the turns that
/// it began when the conversation's history is rewritten between turns (aider).
pub fn times(asked: &[Asked], text: &str) -> usize {
    let in_history = asked.iter().map(|request| count(&request.users, text)).max().unwrap_or(0);
    // A turn that begins: the text is in the last user message and was not in the request before.
    let mut begun = 0;
    let mut before = false;
    for request in asked {
        let now = request.last().contains(text);
        begun += usize::from(now && !before);
        before = now || request.users.iter().any(|user| user.contains(text));
    }
    in_history.max(begun)
}

fn count(users: &[String], text: &str) -> usize {
    users.iter().map(|user| user.matches(text).count()).sum()
}

/// Words on a list of texts: how many came exactly once, and which did not.
pub fn exactly_once(asked: &[Asked], texts: &[String]) -> Result<String, String> {
    let wrong: Vec<String> = texts
        .iter()
        .filter_map(|text| {
            let times = times(asked, text);
            let short: String = text.chars().take(40).collect();
            (times != 1).then(|| format!("{times}×{short:?}"))
        })
        .collect();
    let said = format!("{}/{} exactly once", texts.len() - wrong.len(), texts.len());
    if wrong.is_empty() { Ok(said) } else { Err(format!("{said}; {}", wrong.join(", "))) }
}

//! What reached the model: the mock's log.

use serde_json::Value;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

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

/// The log as far as it was read: it grows to many megabytes, for each request repeats its conversation.
#[derive(Default)]
pub struct Log {
    at: u64,
    requests: Vec<(String, Arc<Asked>)>,
}

impl Log {
    /// All requests of a CLI for turns, oldest first.
    pub fn of(&mut self, log: &Path, cli: &str) -> Vec<Arc<Asked>> {
        self.read_on(log);
        self.requests.iter().filter(|(tag, _)| tag == cli).map(|(_, asked)| Arc::clone(asked)).collect()
    }

    fn read_on(&mut self, log: &Path) {
        let Ok(mut file) = std::fs::File::open(log) else { return };
        let mut new = Vec::new();
        file.seek(SeekFrom::Start(self.at)).unwrap();
        file.read_to_end(&mut new).unwrap();
        // The last line may not be whole yet.
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.at += whole as u64;
        let records = new[..whole]
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        for record in records.filter(|record| record["main"] == true) {
            let users = record["users"].as_array().cloned().unwrap_or_default();
            let users = users.iter().filter_map(|user| user.as_str().map(str::to_owned)).collect();
            let tag = record["tag"].as_str().unwrap_or_default().to_owned();
            let asked = Asked { users };
            if !is_summary(&asked) {
                self.requests.push((tag, Arc::new(asked)));
            }
        }
    }
}

/// aider has a resumed conversation summed up, all of it in one text with the roles as headings: no turn.
fn is_summary(asked: &Asked) -> bool {
    matches!(asked.users.as_slice(), [one] if one.starts_with("# USER\n"))
}

/// How often the model was given this text: the most that one conversation holds, and never less than the turns that
/// it began when the conversation's history is rewritten between turns (aider).
pub fn times(asked: &[Arc<Asked>], text: &str) -> usize {
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

/// A text that was to be typed, with words that only it has.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub mark: String,
    pub text: String,
}

/// Words on a list of texts: how many came exactly once, and which did not. A second copy counts though it is damaged.
pub fn exactly_once(asked: &[Arc<Asked>], texts: &[Wanted]) -> Result<String, String> {
    let (mut lost, mut doubled, mut wrong) = (0, 0, Vec::new());
    for Wanted { mark, text } in texts {
        let times = times(asked, text);
        let marks = asked.iter().map(|request| count(&request.users, mark)).max().unwrap_or(0);
        let marks_wanted = text.matches(mark.as_str()).count();
        match times {
            0 => lost += 1,
            1 if marks == marks_wanted => continue,
            _ => doubled += 1,
        }
        let short: String = text.chars().take(40).collect();
        wrong.push(format!("{times}×{short:?} (its mark {marks} times, not {marks_wanted})"));
    }
    let once = texts.len() - wrong.len();
    let said = format!("{once}/{} exactly once, {lost} lost, {doubled} doubled", texts.len());
    if wrong.is_empty() { Ok(said) } else { Err(format!("{said}; {}", wrong.join(", "))) }
}

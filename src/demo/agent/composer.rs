//! The text being written: characters and pastes. What is shown and what is sent differ: a long paste is shown as a
//! stand-in. Pure.

/// A paste of so many lines is shown as a stand-in.
const LINES_SHOWN_MAX: usize = 3;
/// And so is one of more characters than this.
const CHARS_SHOWN_MAX: usize = 600;
/// Most bytes that the composer takes.
const BYTES_MAX: usize = 8 << 20;

/// The composer's content.
#[derive(Debug, Default)]
pub struct Composer {
    pieces: Vec<Piece>,
    /// Stand-ins so far in this conversation: they are numbered.
    pastes: u32,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Pasted { label: String, text: String },
}

impl Composer {
    /// Adds typed text.
    pub fn insert(&mut self, text: &str) {
        if self.bytes() + text.len() > BYTES_MAX {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            Some(Piece::Pasted { .. }) | None => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Adds a paste.
    pub fn paste(&mut self, text: String) {
        let breaks = text.matches('\n').count();
        if text.lines().count() <= LINES_SHOWN_MAX && text.chars().count() <= CHARS_SHOWN_MAX {
            self.insert(&text);
        } else if self.bytes() + text.len() <= BYTES_MAX {
            self.pastes += 1;
            let label = format!("[Pasted text #{} +{breaks} lines]", self.pastes);
            self.pieces.push(Piece::Pasted { label, text });
        }
    }

    /// Removes the last character, or the last stand-in.
    pub fn backspace(&mut self) {
        if let Some(Piece::Text(text)) = self.pieces.last_mut() {
            text.pop();
            if !text.is_empty() {
                return;
            }
        }
        self.pieces.pop();
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.pieces.clear();
    }

    /// Takes the content out: what is sent, and what is shown of it.
    pub fn take(&mut self) -> Message {
        let message = Message { text: self.text(), shown: self.shown() };
        self.clear();
        message
    }

    /// Whether nothing stands in it.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What would be sent.
    pub fn text(&self) -> String {
        self.join(|_, text| text)
    }

    /// What is shown.
    pub fn shown(&self) -> String {
        self.join(|label, _| label)
    }

    fn bytes(&self) -> usize {
        let length = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Pasted { text, .. } => text.len(),
        };
        self.pieces.iter().map(length).sum()
    }

    fn join<'a>(&'a self, pick: impl Fn(&'a str, &'a str) -> &'a str) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Pasted { label, text } => pick(label, text),
            })
            .collect()
    }
}

/// A prompt: what is sent and what is shown of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Exactly what was written.
    pub text: String,
    /// With stand-ins.
    pub shown: String,
}

impl Message {
    /// One without stand-ins.
    pub fn plain(text: String) -> Message {
        Message { shown: text.clone(), text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_paste(text: &str, shown: &str) {
        let mut composer = Composer::default();
        composer.paste(text.to_owned());
        assert_eq!(composer.take(), Message { text: text.to_owned(), shown: shown.to_owned() });
        assert!(composer.is_empty());
    }

    #[test]
    fn long_pastes_are_shown_as_a_stand_in_and_sent_whole() {
        check_paste("a\nb\nc", "a\nb\nc");
        check_paste("a\nb\nc\nd", "[Pasted text #1 +3 lines]");
        check_paste(&"x".repeat(600), &"x".repeat(600));
        check_paste(&"x".repeat(601), "[Pasted text #1 +0 lines]");
    }

    #[test]
    fn backspace_takes_a_character_or_a_whole_stand_in() {
        let mut composer = Composer::default();
        composer.insert("aä");
        composer.paste("1\n2\n3\n4".into());
        composer.insert("z");
        assert_eq!(composer.shown(), "aä[Pasted text #1 +3 lines]z");
        for want in ["aä[Pasted text #1 +3 lines]", "aä", "a", "", ""] {
            composer.backspace();
            assert_eq!(composer.shown(), want);
        }
        assert!(composer.is_empty());
    }
}

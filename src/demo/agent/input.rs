//! Bytes of a terminal to keys. Pure; the escape key's wait (an ESC may begin a sequence) is the caller's clock.

/// Longest paste kept, bytes; the rest of a longer one is dropped.
const PASTE_MAX: usize = 4 << 20;

/// Longest escape sequence believed, bytes: past it the ESC was noise.
const SEQUENCE_MAX: usize = 32;

const PASTE_START: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// What a person, or tmux in their place, pressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable character.
    Char(char),
    /// A bracketed paste, CR and CR LF turned into LF (tmux sends LF as CR).
    Paste(String),
    /// CR
    Enter,
    /// LF (C-j): a line break in the composer.
    Newline,
    /// Tab
    Tab,
    /// C-u
    ClearLine,
    /// Backspace, C-h
    Backspace,
    /// Escape alone
    Escape,
    /// C-c
    Interrupt,
    /// C-d
    EndOfInput,
    /// Arrow up
    Up,
    /// Arrow down
    Down,
}

/// Turns reads of any size into keys.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes that do not yet make a key.
    rest: Vec<u8>,
    /// The paste under way.
    paste: Option<Vec<u8>>,
}

/// What the first bytes of the input are.
enum Head {
    /// So many bytes, with their key if they mean one.
    Key(usize, Option<Key>),
    /// A paste begins after so many bytes.
    Paste(usize),
    /// More bytes are needed.
    Partial,
}

impl Decoder {
    /// Takes what was read, gives the keys that are complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.rest.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let mut used = 0;
        while used < self.rest.len() {
            if self.paste.is_some() {
                let (taken, key) = self.pasted(used);
                used += taken;
                match key {
                    Some(key) => keys.push(key),
                    None => break,
                }
                continue;
            }
            match head(&self.rest[used..]) {
                Head::Key(taken, key) => {
                    used += taken;
                    keys.extend(key);
                }
                Head::Paste(taken) => {
                    used += taken;
                    self.paste = Some(Vec::new());
                }
                Head::Partial => break,
            }
        }
        self.rest.drain(..used);
        keys
    }

    /// Whether an ESC waits for what may follow it.
    pub fn is_waiting(&self) -> bool {
        self.paste.is_none() && self.rest.first() == Some(&0x1b)
    }

    /// Nothing followed in time: a lone ESC was the Escape key, anything longer was noise.
    pub fn timed_out(&mut self) -> Option<Key> {
        let rest = std::mem::take(&mut self.rest);
        (rest == [0x1b]).then_some(Key::Escape)
    }

    /// Moves bytes from `rest[from..]` into the paste; the key when its end was found.
    fn pasted(&mut self, from: usize) -> (usize, Option<Key>) {
        let rest = &self.rest[from..];
        let paste = self.paste.get_or_insert_default();
        let end = rest.windows(PASTE_END.len()).position(|w| w == PASTE_END);
        // Without an end in sight, keep back what may be its beginning.
        let whole = end.unwrap_or_else(|| rest.len().saturating_sub(PASTE_END.len() - 1));
        let room = PASTE_MAX.saturating_sub(paste.len());
        paste.extend_from_slice(&rest[..whole.min(room)]);
        if end.is_none() {
            return (whole, None);
        }
        let text = String::from_utf8_lossy(paste).replace("\r\n", "\n").replace('\r', "\n");
        self.paste = None;
        (whole + PASTE_END.len(), Some(Key::Paste(text)))
    }
}

/// The first key of `bytes`, which is not empty.
fn head(bytes: &[u8]) -> Head {
    match bytes[0] {
        0x1b => sequence(bytes),
        b'\r' => Head::Key(1, Some(Key::Enter)),
        b'\n' => Head::Key(1, Some(Key::Newline)),
        b'\t' => Head::Key(1, Some(Key::Tab)),
        0x15 => Head::Key(1, Some(Key::ClearLine)),
        0x7f | 0x08 => Head::Key(1, Some(Key::Backspace)),
        0x03 => Head::Key(1, Some(Key::Interrupt)),
        0x04 => Head::Key(1, Some(Key::EndOfInput)),
        0x00..=0x1f => Head::Key(1, None),
        _ => character(bytes),
    }
}

/// `bytes` begins with ESC.
fn sequence(bytes: &[u8]) -> Head {
    if bytes.starts_with(PASTE_START) {
        return Head::Paste(PASTE_START.len());
    }
    match bytes.get(1) {
        None => Head::Partial,
        // SS3, arrows in application mode.
        Some(b'O') => match bytes.get(2) {
            None => Head::Partial,
            Some(b'A') => Head::Key(3, Some(Key::Up)),
            Some(b'B') => Head::Key(3, Some(Key::Down)),
            Some(_) => Head::Key(3, None),
        },
        // CSI: parameters, then one final byte from @ to ~ (ECMA-48, 5.4).
        Some(b'[') => match bytes[2..].iter().position(|b| (0x40..=0x7e).contains(b)) {
            None if bytes.len() > SEQUENCE_MAX => Head::Key(1, Some(Key::Escape)),
            None => Head::Partial,
            Some(at) => match &bytes[2..=2 + at] {
                b"A" => Head::Key(3 + at, Some(Key::Up)),
                b"B" => Head::Key(3 + at, Some(Key::Down)),
                _ => Head::Key(3 + at, None),
            },
        },
        // ESC and another key in one read: tmux presses keys faster than a person.
        Some(_) => Head::Key(1, Some(Key::Escape)),
    }
}

/// A character in UTF-8; a byte that is none is skipped.
fn character(bytes: &[u8]) -> Head {
    let length = match bytes[0] {
        0x00..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Head::Key(1, None),
    };
    if bytes.len() < length {
        return Head::Partial;
    }
    match std::str::from_utf8(&bytes[..length]) {
        Ok(text) => Head::Key(length, text.chars().next().filter(|c| !c.is_control()).map(Key::Char)),
        Err(_) => Head::Key(1, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same keys must come out however the bytes are cut into reads.
    #[track_caller]
    fn check(bytes: &[u8], want: &[Key]) {
        for size in 1..=bytes.len() {
            let mut decoder = Decoder::default();
            let keys: Vec<Key> = bytes.chunks(size).flat_map(|chunk| decoder.feed(chunk)).collect();
            assert_eq!(keys, want, "in reads of {size} bytes");
        }
    }

    #[test]
    fn keys_are_told_apart() {
        check(b"a\r\n\t", &[Key::Char('a'), Key::Enter, Key::Newline, Key::Tab]);
        check(
            b"\x15\x7f\x08\x03\x04",
            &[Key::ClearLine, Key::Backspace, Key::Backspace, Key::Interrupt, Key::EndOfInput],
        );
        check("ä─🙂".as_bytes(), &[Key::Char('ä'), Key::Char('─'), Key::Char('🙂')]);
        check(b"\x1b[A\x1bOB\x1b[1;5C\x1b[Bx", &[Key::Up, Key::Down, Key::Down, Key::Char('x')]);
        check(b"\xffx\xc3(", &[Key::Char('x'), Key::Char('(')]);
    }

    #[test]
    fn a_paste_is_one_key_whatever_is_in_it() {
        check(b"\x1b[200~a\rb\x1b[A\r\nc\x1b[201~\r", &[Key::Paste("a\nb\x1b[A\nc".into()), Key::Enter]);
        check(b"\x1b[200~\x1b[201~", &[Key::Paste(String::new())]);
    }

    #[test]
    fn a_lone_escape_is_known_by_what_does_not_follow() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(b"\x1b"), []);
        assert!(decoder.is_waiting());
        assert_eq!(decoder.timed_out(), Some(Key::Escape));
        assert!(!decoder.is_waiting());
        assert_eq!(decoder.feed(b"\x1b\r"), [Key::Escape, Key::Enter]);
        assert_eq!(decoder.feed(b"\x1b["), []);
        assert_eq!(decoder.timed_out(), None);
    }

    #[test]
    fn a_paste_without_an_end_is_bounded() {
        let mut decoder = Decoder::default();
        decoder.feed(PASTE_START);
        for _ in 0..10 {
            assert_eq!(decoder.feed(&vec![b'x'; 1 << 20]), []);
        }
        let keys = decoder.feed(PASTE_END);
        assert!(matches!(&keys[..], [Key::Paste(text)] if text.len() == PASTE_MAX));
    }
}

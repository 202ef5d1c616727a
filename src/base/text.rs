//! Small pure helpers on text: digests, tails, control bytes, nearest names.

/// A stable 64-bit FNV-1a digest as 16 hex digits. For change detection, not for security.
/// Source of the constants: the FNV reference by Fowler, Noll and Vo.
pub fn digest(bytes: &[u8]) -> String {
    format!("{:016x}", digest_u64(bytes))
}

/// The same as a number.
pub fn digest_u64(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// One word of a shell's or tmux's command language: between single quotes everything is literal.
pub fn quoted_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A directory as claude, qwen and the demo agent name a folder by it: each UTF-16 unit that is no ASCII letter or digit
/// is a `-`. Source: the text of the first two (`replace(/[^a-zA-Z0-9]/g, "-")`).
pub fn dashed(cwd: &str) -> String {
    let dash = |unit: u16| u8::try_from(unit).ok().filter(u8::is_ascii_alphanumeric).map_or('-', char::from);
    cwd.encode_utf16().map(dash).collect()
}

/// Text without control bytes but newline; tabs become a space, CR LF and CR become LF. What goes into a pane must
/// never carry an escape sequence: `ESC[201~` would end a bracketed paste early.
pub fn strip_controls(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .filter_map(|c| match c {
            '\r' => Some('\n'),
            '\t' => Some(' '),
            '\n' => Some('\n'),
            // Bidirectional overrides can make a line read otherwise than it is.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => None,
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}

/// One line for people and logs: control bytes and newlines become spaces, at most `max` characters (an ellipsis
/// marks the cut).
pub fn one_line(text: &str, max: usize) -> String {
    let flat: String = strip_controls(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= max {
        return flat;
    }
    let mut cut: String = flat.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The candidate nearest to `word` by edit distance, if it is near enough to be a likely typo.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1) + 1;
    candidates
        .into_iter()
        .map(|c| (distance(word, c), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// `1 unit`, `3 units`.
pub fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_never_reach_a_pane() {
        assert_eq!(strip_controls("a\x1b[201~b\r\nc\td\x07\re"), "a[201~b\nc d\ne");
        assert_eq!(strip_controls("x\u{202e}y"), "xy");
    }

    #[test]
    fn one_line_cuts_with_an_ellipsis() {
        assert_eq!(one_line("a\n b\t c", 10), "a b c");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }

    #[test]
    fn nearest_finds_typos_and_refuses_strangers() {
        let keys = ["signal_interval", "stall_idle", "state_dir"];
        assert_eq!(nearest("stal_idle", keys), Some("stall_idle"));
        assert_eq!(nearest("statedir", keys), Some("state_dir"));
        assert_eq!(nearest("banana", keys), None);
    }

    #[test]
    fn digest_is_the_published_fnv_1a() {
        assert_eq!(digest(b""), "cbf29ce484222325");
        assert_eq!(digest(b"a"), "af63dc4c8601ec8c");
    }
}

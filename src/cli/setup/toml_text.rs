//! TOML written by hand: values quoted so that they are read back as they were, and look as a person would write them.
//!
//! Deliberately not here: reading TOML (`toml`), changing a file in place (`upgrade`).

/// A string: between single quotes where backslashes or double quotes would need escapes.
pub fn string(text: &str) -> String {
    let awkward = text.contains('\\') || text.contains('"');
    let literal = awkward && !text.contains('\'') && !text.chars().any(char::is_control);
    if literal { format!("'{text}'") } else { basic(text) }
}

fn basic(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A key: bare where it can be.
pub fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(bare) { text.to_owned() } else { basic(text) }
}

/// `["a", "b"]`
pub fn strings<S: AsRef<str>>(words: &[S]) -> String {
    let words: Vec<String> = words.iter().map(|word| string(word.as_ref())).collect();
    format!("[{}]", words.join(", "))
}

/// `{ A = "1", B = "2" }`
pub fn table<K: AsRef<str>, V: AsRef<str>>(entries: &[(K, V)]) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|(name, value)| format!("{} = {}", key(name.as_ref()), string(value.as_ref())))
        .collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// A number as a person writes it: without a fraction where there is none.
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { format!("{value}") }
}

/// Text as comment lines, broken at `width` characters.
pub fn comment(text: &str, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut used = 0;
        out.push('#');
        for word in line.split_whitespace() {
            if used > 0 && used + word.chars().count() + 1 > width {
                out.push_str("\n#");
                used = 0;
            }
            out.push(' ');
            // A control character would end the comment, or is not allowed in one.
            out.extend(word.chars().filter(|c| !c.is_control()));
            used += word.chars().count() + 1;
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(string(text), want);
        let parsed: toml::Table =
            format!("a = {}\n{} = 1", string(text), key(&format!("k{text}"))).parse().unwrap();
        assert_eq!(parsed["a"].as_str(), Some(text));
        assert!(parsed.contains_key(&format!("k{text}")));
    }

    #[test]
    fn what_is_written_is_read_back() {
        check("plain", r#""plain""#);
        check(r"step (\d+)/", r"'step (\d+)/'");
        check(r#"say "hi""#, r#"'say "hi"'"#);
        check(r#"it's \d "x""#, r#""it's \\d \"x\"""#);
        check("a\nb\tc\u{1b}\u{7f}", "\"a\\nb\\tc\\u001B\\u007F\"");
        check("", "\"\"");
        check("ü — ✓", "\"ü — ✓\"");
    }

    #[test]
    fn tables_numbers_and_comments() {
        assert_eq!(table(&[("A B", "1"), ("C", "2")]), r#"{ "A B" = "1", C = "2" }"#);
        assert_eq!(strings(&["a", r"b\c"]), r#"["a", 'b\c']"#);
        assert_eq!((number(60.0), number(0.5)), ("60".to_owned(), "0.5".to_owned()));
        assert_eq!(comment("one two three\nfour\x1b[m", 10), "# one two\n# three\n# four[m\n");
    }
}

//! Text that is typed into an agent: made harmless before, recognised in the composer after.
//!
//! A guard must work in every CLI, also in one that a user's config adds, so it is one rule and not one per backend.
//! A space in front is taken away by Qwen (and Codex), which then sees the command; a word in front works everywhere,
//! because every CLI looks at the first character only. The price is a visible [`PREFIX`].
//!
//! Deliberately not here: when a text may be delivered, and by which keys.

use crate::base::text::strip_controls;

/// Put in front of a text that would be a command.
pub const PREFIX: &str = "Message: ";

/// Put behind a text whose end would open a popup or continue the line. A word of its own: a space alone may be trimmed.
pub const SUFFIX: &str = " .";

/// Most bytes delivered, guards and note included. tmux and the CLIs take more, but no model reads it as one message.
pub const TEXT_MAX: usize = 64 * 1024;

/// First characters that some CLI takes as something else than text. `!` runs a shell, `/` is a command (and, unknown
/// to Codex, stays in the box and is glued to the next text), `#` was Claude's memory, `?` is eaten as help by Codex
/// and Gemini, `&` sends to the background (Claude), `:` quits (`:q`, Claude and opencode), `{` opens aider's
/// multi-line mode, `-` is an option where a prompt is passed as an argument. `@` at the front is an ordinary mention.
const COMMAND_STARTS: &[char] = &['!', '/', '#', '?', '&', ':', '{', '-'];

/// Whole texts that end Claude Code, Gemini CLI and opencode, as if they were `/quit`.
const COMMAND_WORDS: &[&str] = &["exit", "quit"];

/// A text at least this long, or of several lines, may be shown as a stand-in. The lowest threshold is opencode's: 150
/// characters.
const STAND_IN_MIN: usize = 150;

/// A text of more characters than this (without white space) may be shown in part: it fills 4 lines at 80 columns.
const PARTIAL_TEXT_MIN: usize = 240;

/// At least this many characters of a part must be seen: fewer could be anybody's.
const PARTIAL_SEEN_MIN: usize = 24;

/// Most bytes of a composer that are looked at; a screen holds less.
const COMPOSER_MAX: usize = 128 * 1024;

/// The text as it may be typed: no control bytes, no trailing newlines, bounded, nothing that a CLI takes as a command,
/// a file popup or a line continuation. Guarding twice changes nothing more. An empty text stays empty.
pub fn guarded(text: &str) -> String {
    let clean = strip_controls(text);
    let mut out = clean.trim_start_matches('\n').trim_end().to_owned();
    if starts_a_command(&out) {
        out.insert_str(0, PREFIX);
    }
    if ends_in_a_popup(&out) {
        out.push_str(SUFFIX);
    }
    // Last, for its note is a harmless end too.
    bounded(out)
}

/// Does the composer hold the text that was pasted, and nothing else? White space does not count (CLIs wrap, indent and
/// trim); a long text may be shown as a stand-in such as `[Pasted text #1 +12 lines]`, or only by its head or tail.
pub fn is_ours(composer: &str, sent: &str) -> bool {
    if composer.len() > COMPOSER_MAX {
        return false;
    }
    let (shown, whole) = (dense(composer), dense(sent));
    if shown.is_empty() || whole.is_empty() {
        return false;
    }
    shown == whole || is_part(&shown, &whole) || is_stand_in(composer.trim(), sent)
}

/// At most [`TEXT_MAX`] bytes; what is left out is said in the text.
fn bounded(text: String) -> String {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let note = |left_out: usize| format!("\n[… cut here: {left_out} bytes left out]");
    let mut end = TEXT_MAX.saturating_sub(note(text.len()).len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let head = text.get(..end).unwrap_or("");
    format!("{head}{}", note(text.len() - end))
}

fn starts_a_command(text: &str) -> bool {
    let text = text.trim_start_matches(is_blank);
    let word = text.trim_end_matches(is_blank);
    text.starts_with(COMMAND_STARTS) || COMMAND_WORDS.iter().any(|w| word.eq_ignore_ascii_case(w))
}

/// `@path` and Codex' `$skill` open a popup that eats Enter; a backslash continues the line (Claude, Gemini).
fn ends_in_a_popup(text: &str) -> bool {
    let last = text.rsplit(char::is_whitespace).next().unwrap_or("");
    last.ends_with('\\') || last.contains('@') || last.starts_with('$')
}

/// White space, and characters without width, which hide a first character from people, not from every CLI.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// The text without white space.
fn dense(text: &str) -> String {
    text.chars().filter(|c| !is_blank(*c) && !c.is_control()).collect()
}

/// Is `shown` the head or the tail of a long text?
fn is_part(shown: &str, whole: &str) -> bool {
    if whole.chars().count() < PARTIAL_TEXT_MIN {
        return false;
    }
    let shown = shown.trim_matches('…');
    shown.chars().count() >= PARTIAL_SEEN_MIN && (whole.starts_with(shown) || whole.ends_with(shown))
}

/// `[Pasted text #1 +12 lines]` (Claude), `[Pasted Content 5200 chars]` (Codex, Qwen), `[Pasted ~12 lines]` (opencode),
/// `[Pasted Text: 12 lines]` (Gemini), alone. The size that it states must fit, or it is somebody else's paste.
fn is_stand_in(composer: &str, sent: &str) -> bool {
    let characters = sent.chars().count();
    let newlines = sent.matches('\n').count();
    if characters < STAND_IN_MIN && newlines == 0 {
        return false;
    }
    let flat = composer.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let Some(inside) = flat.strip_prefix("[pasted").and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    if inside.contains(['[', ']']) {
        return false;
    }
    let words: Vec<&str> = inside.split_whitespace().collect();
    let stated = |unit: &str| {
        let at = words.iter().position(|w| w.starts_with(unit))?.checked_sub(1)?;
        words.get(at)?.trim_start_matches(['+', '~']).parse::<usize>().ok()
    };
    // Lines are counted with or without the last one; a CLI may add or trim a space.
    let lines_fit = stated("line").is_none_or(|n| n.abs_diff(newlines + 1) <= 1);
    let characters_fit = stated("char").is_none_or(|n| n.abs_diff(characters) <= 2 + newlines);
    lines_fit && characters_fit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(guarded(text), want, "{text:?}");
        assert_eq!(guarded(want), want, "guarding twice");
    }

    #[test]
    fn ordinary_text_goes_as_it_is() {
        for text in [
            "",
            "continue",
            "Fix the test in src/main.rs, please.",
            "first\n\n  second\nthird",
            "1. one\n2. two",
            "@README.md says so",
            "it costs $5 or so",
            "why? because!",
            "ü € 🙂",
            "exit the loop when it is done",
            "a\\b c",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn commands_get_a_word_in_front() {
        check("/compact", "Message: /compact");
        check("/tmp/foo is a path", "Message: /tmp/foo is a path");
        check("!rm -rf /", "Message: !rm -rf /");
        check("# Plan\ntext", "Message: # Plan\ntext");
        check("?", "Message: ?");
        check("& later", "Message: & later");
        check(":q", "Message: :q");
        check("{\n}", "Message: {\n}");
        check("--help", "Message: --help");
        check("- one\n- two", "Message: - one\n- two");
        check("  /compact", "Message:   /compact");
        check("\u{a0}!ls", "Message: \u{a0}!ls");
        check("\u{200b}/exit", "Message: \u{200b}/exit");
        check("Exit", "Message: Exit");
        check("quit\n", "Message: quit");
    }

    #[test]
    fn ends_that_eat_the_enter_get_a_word_behind() {
        check("read @README.md", "read @README.md .");
        check("@README.md", "@README.md .");
        check("ask bob@example.org", "ask bob@example.org .");
        check("use $review", "use $review .");
        check("path C:\\", "path C:\\ .");
        check("two\nlines \\\n", "two\nlines \\ .");
        check("/read @x", "Message: /read @x .");
    }

    #[test]
    fn controls_and_trailing_newlines_are_gone() {
        check("go on\n\n", "go on");
        check("\n\n/x", "Message: /x");
        check("a\x1b[201~\rb\tc\0", "a[201~\nb c");
        check("\x1b!ls", "Message: !ls");
        check("\u{202e}!ls", "Message: !ls");
        check(" \n \n", "");
    }

    #[test]
    fn a_text_without_end_is_cut_with_a_note() {
        for text in ["x".repeat(1_000_000), "/ä€".repeat(100_000), "a\n".repeat(100_000)] {
            let out = guarded(&text);
            assert!(out.len() <= TEXT_MAX && out.len() > TEXT_MAX - 100, "{}", out.len());
            assert!(out.ends_with(" bytes left out]"), "{}", out.chars().rev().take(60).collect::<String>());
            assert!(guarded(&out) == out, "guarding twice");
        }
        for (text, grows) in
            [("x".repeat(TEXT_MAX), 0), (format!("{} @x", "x".repeat(TEXT_MAX - 5)), SUFFIX.len())]
        {
            let out = guarded(&text);
            assert_eq!(out.len(), text.len() + grows);
            assert!(out.starts_with(&text) && guarded(&out) == out, "guarding twice");
        }
    }

    #[track_caller]
    fn ours(composer: &str, sent: &str, want: bool) {
        assert_eq!(
            is_ours(composer, sent),
            want,
            "composer {composer:?}, sent {:?}",
            sent.chars().take(80).collect::<String>()
        );
    }

    #[test]
    fn the_pasted_text_is_known_however_it_is_wrapped() {
        ours("continue", "continue", true);
        ours("  continue \u{200b}", "continue", true);
        ours("l1\n  l2\n  l3 multi", "l1\nl2\nl3 multi", true);
        ours("a long line that the com\n  poser wraps", "a long line that the composer wraps", true);
        ours("a    b", "a b", true);
        ours("hello\u{a0}there", "hello there", true);
    }

    #[test]
    fn other_text_is_not_ours() {
        ours("", "continue", false);
        ours("continue", "", false);
        ours("contin", "continue", false);
        ours("my draft continue", "continue", false);
        ours("continue continue", "continue", false);
        ours("Continue", "continue", false);
        ours("hello", "continue", false);
        ours(&"x".repeat(1_000_000), &"x".repeat(1_000_000), false);
    }

    #[test]
    fn stand_ins_count_for_long_texts_of_the_stated_size() {
        let lines = vec!["a line of text"; 13].join("\n");
        let long = "word ".repeat(1040).trim_end().to_owned();
        assert_eq!(long.chars().count(), 5199);
        ours("[Pasted text #1 +12 lines]", &lines, true);
        ours("[Pasted text #3 +12 lines]", &lines, true);
        ours("[Pasted ~13 lines]", &lines, true);
        ours("[Pasted Text: 13 lines]", &lines, true);
        ours("[Pasted text #1]", &long, true);
        ours("[Pasted Content 5200 chars]", &long, true);
        ours("[Pasted Content\n5200 chars]", &long, true);
        ours("[Pasted text #1 +2 lines]", "one\ntwo\nthree", true);
        ours("[Pasted text #1 +89 lines]", &lines, false);
        ours("[Pasted Content 700 chars]", &long, false);
        ours("[Pasted text #1 +12 lines]", "continue", false);
        ours("my draft [Pasted text #1 +12 lines]", &lines, false);
        ours("[Pasted text #1 +12 lines] and more", &lines, false);
        ours("[Pasted text #1 +12 lines][Pasted text #2 +12 lines]", &lines, false);
        ours("[Pasted", &lines, false);
    }

    #[test]
    fn a_long_text_may_show_only_its_head_or_tail() {
        let long: String = (0..100).map(|n| format!("line number {n}\n")).collect();
        ours(&long.lines().skip(90).collect::<Vec<_>>().join("\n  "), &long, true);
        ours(&long.lines().take(10).collect::<Vec<_>>().join("\n  "), &long, true);
        ours(&format!("{} …", long.lines().take(10).collect::<Vec<_>>().join("\n")), &long, true);
        ours("line number 99", &long, false);
        ours("line number 50\nline number 51\nline number 53\nline number 54", &long, false);
        ours("line number 0\nline number 1\nline number 2 and my own words", &long, false);
        let short = "a text that is too short to be shown in part by any of the known CLIs";
        ours("a text that is too short to be", short, false);
    }
}

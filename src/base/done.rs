//! The done marker in a status file: a line that is exactly it. What only stands in a comment or in a code block is an
//! example or a template's placeholder.

/// Does the text have the marker as a line of its own?
pub fn is_marked(text: &str, marker: &str) -> bool {
    let mut place = Place::Text;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_end();
        if place == Place::Text && line == marker {
            return true;
        }
        place = after(place, line);
    }
    false
}

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text,
    /// Between two fences: of this character, at least so many.
    Code(char, usize),
    /// Inside `<!-- -->`.
    Comment,
}

fn after(place: Place, line: &str) -> Place {
    match place {
        Place::Code(c, least) => match fence(line) {
            Some((found, length, "")) if found == c && length >= least => Place::Text,
            Some(_) | None => place,
        },
        Place::Comment if line.contains("-->") => Place::Text,
        Place::Comment => Place::Comment,
        Place::Text => match fence(line) {
            // A backtick behind the opening ones makes it code in a line.
            Some((c, length, rest)) if c == '~' || !rest.contains('`') => Place::Code(c, length),
            Some(_) | None if opens_comment(line) => Place::Comment,
            Some(_) | None => Place::Text,
        },
    }
}

/// A fence (CommonMark 4.5): at most three blanks, then three or more backticks or tildes. Its character, length and what
/// follows.
fn fence(line: &str) -> Option<(char, usize, &str)> {
    let text = line.trim_start_matches(' ');
    let c = text.chars().next().filter(|c| matches!(c, '`' | '~') && line.len() - text.len() <= 3)?;
    let rest = text.trim_start_matches(c);
    let length = text.len() - rest.len();
    (length >= 3).then(|| (c, length, rest.trim()))
}

/// A comment that begins here, outside of code in the line, and does not end here.
fn opens_comment(line: &str) -> bool {
    // What stands between two backticks is code.
    let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    text.rfind("<!--").is_some_and(|open| !text[open..].contains("-->"))
}

#[cfg(test)]
mod tests {
    use super::is_marked;

    #[track_caller]
    fn check(text: &str, want: bool) {
        assert_eq!(is_marked(text, "## DONE"), want, "{text:?}");
    }

    #[test]
    fn a_line_that_is_exactly_the_marker() {
        check("", false);
        check("## DONE", true);
        check("# Status\n\n## DONE\n\nall of it\n", true);
        check("## DONE   \r\n", true);
        check("  ## DONE", false);
        check("## DONE?", false);
        check("## DONE when all tests pass", false);
        check("### DONE", false);
        check("- ## DONE", false);
        check("`## DONE`", false);
        check("## Done", false);
        check("\u{feff}## DONE", true);
    }

    #[test]
    fn a_placeholder_does_not_count() {
        check("<!-- write this line at the end:\n## DONE\n-->\n", false);
        check("<!-- a remark -->\n## DONE\n", true);
        check("<!-- one --> <!--\n## DONE\n-->", false);
        check("Write:\n```\n## DONE\n```\n", false);
        check("Write:\n```\n## DONE\n```\n## DONE\n", true);
        check("~~~\n```\n## DONE\n~~~\n", false);
        check("<!-- never closed\n## DONE\n", false);
        check("````\n```\n## DONE\n````\n## DONE\n", true);
        check("````\n```\n## DONE\n````\n", false);
        check("``` cargo test ``` passes\n## DONE\n", true);
        check("Write `<!--` to hide a line\n## DONE\n", true);
        check("    ```\n## DONE\n", true);
    }
}

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
    /// Between two fences of this character.
    Code(char),
    /// Inside `<!-- -->`.
    Comment,
}

fn after(place: Place, line: &str) -> Place {
    let fence = |c: char| line.trim_start().starts_with(&String::from(c).repeat(3));
    match place {
        Place::Code(c) if fence(c) && line.trim().chars().all(|other| other == c) => Place::Text,
        Place::Code(c) => Place::Code(c),
        Place::Comment if line.contains("-->") => Place::Text,
        Place::Comment => Place::Comment,
        Place::Text if fence('`') => Place::Code('`'),
        Place::Text if fence('~') => Place::Code('~'),
        Place::Text => match line.rfind("<!--") {
            Some(open) if !line[open..].contains("-->") => Place::Comment,
            Some(_) | None => Place::Text,
        },
    }
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
    }
}

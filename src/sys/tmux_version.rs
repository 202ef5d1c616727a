//! Which tmux is new enough. Pure.

use crate::base::text::one_line;

/// Oldest tmux that is known to do all that is asked of it.
pub const VERSION_MIN: (u32, u32) = (3, 2);

/// What is wrong with a tmux that says `3.1c` of itself, or `tmux 3.1c`; None when it is new enough. A name without a
/// number is a development build, newer than any release.
pub(super) fn too_old(said: &str) -> Option<String> {
    let (major, minor) = VERSION_MIN;
    parse(said)
        .filter(|version| *version < VERSION_MIN)
        .map(|_| format!("`{}` is too old, {major}.{minor} is needed", one_line(said, 40)))
}

/// Major and minor of `tmux 3.3a`, `next-3.4`, `openbsd-7.3`; None when there is no number in it. OpenBSD's own numbers
/// are those of the system, all newer than what is needed.
fn parse(said: &str) -> Option<(u32, u32)> {
    let number = said.trim_start_matches(|c: char| !c.is_ascii_digit());
    let (major, rest) = number.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (said, want) in [
            ("tmux 3.3a", Some((3, 3))),
            ("3.10", Some((3, 10))),
            ("tmux next-3.4", Some((3, 4))),
            ("openbsd-7.3", Some((7, 3))),
            ("tmux 2.9a", Some((2, 9))),
            ("tmux master", None),
            ("", None),
        ] {
            assert_eq!(parse(said), want, "{said}");
        }
        for (said, old) in
            [("3.1c", true), ("tmux 2.9a", true), ("3.2", false), ("3.10", false), ("x", false)]
        {
            assert_eq!(too_old(said).is_some(), old, "{said}");
        }
    }
}

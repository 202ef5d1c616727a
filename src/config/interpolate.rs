//! `${VAR}`, `~` and relative paths: from what the operator wrote to what is used. Pure: the environment is handed in.
//!
//! Deliberately not here: shell rules. Only `${NAME}` is replaced; `$$`, `$NAME` and `${NAME:-word}` stay as they
//! are, for a shell that a command may start.

use super::problem::{Sink, quoted};
use super::raw::At;
use std::path::{Path, PathBuf};

/// Longest text that interpolation may make, bytes: as much as Linux allows for one argument (MAX_ARG_STRLEN).
const TEXT_LENGTH_MAX: usize = 131_072;

/// The places and variables that the operator's words refer to.
pub(super) struct Places<'a> {
    /// The folder of the config file.
    pub folder: &'a Path,
    /// The operator's home.
    pub home: &'a Path,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Places<'_> {
    /// A word of a command or an environment value. None when it was wrong, which is reported.
    pub(super) fn word(&self, word: At<&str>, sink: &Sink<'_>) -> Option<String> {
        let text = replace(word.value, self.env).and_then(|text| match text.contains('\0') {
            true => Err(format!("{} holds a NUL byte, which no program can be given", quoted(&text))),
            false => Ok(text),
        });
        text.map_err(|message| sink.wrong(word.at, message)).ok()
    }

    /// All words of a command; the wrong ones are reported and left out.
    pub(super) fn words(&self, words: &[At<&str>], sink: &Sink<'_>) -> Vec<String> {
        words.iter().filter_map(|word| self.word(*word, sink)).collect()
    }

    /// A path, made absolute. None when it was wrong, which is reported.
    pub(super) fn path(&self, key: &str, path: At<&str>, sink: &Sink<'_>) -> Option<PathBuf> {
        if path.value.is_empty() {
            sink.wrong(path.at, format!("`{key}` must not be empty"));
            return None;
        }
        let text = self.word(path, sink)?;
        if text.is_empty() {
            sink.wrong(path.at, format!("`{key}` is empty with its variables replaced"));
            return None;
        }
        if text.starts_with('~') && text != "~" && !text.starts_with("~/") {
            let message =
                format!("`{key}` begins with {}; only `~` and `~/…` are known", quoted(first_part(&text)));
            sink.wrong(path.at, message);
            return None;
        }
        let joined = match text.strip_prefix('~') {
            Some(rest) => self.home.join(rest.trim_start_matches('/')),
            None => self.folder.join(&text),
        };
        // Leaves out `.` and doubled slashes, but keeps `..`: what lies behind a link is not ours to guess.
        Some(joined.components().collect())
    }
}

fn first_part(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// `text` with each `${NAME}` replaced; the error is a fragment that names the variable that is missing.
fn replace(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, from) = rest.split_at(dollar);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("$$") {
            out.push_str("$$");
            rest = after;
            continue;
        }
        match variable(from) {
            Some((name, after)) => {
                let value = env(name).ok_or_else(|| format!("the variable {} is not set", quoted(name)))?;
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = &from[1..];
            }
        }
        if out.len() > TEXT_LENGTH_MAX {
            return Err(format!(
                "the text is longer than {TEXT_LENGTH_MAX} bytes with its variables replaced"
            ));
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Splits `${NAME}rest` into name and rest.
fn variable(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix("${")?;
    let end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, rest) = body.split_at_checked(end)?;
    let rest = rest.strip_prefix('}')?;
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "WHO" => Some("ann".into()),
            "NESTED" => Some("${WHO}".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn only_names_in_braces_are_replaced_and_only_once() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(replace(text, &env).as_deref(), Ok(want), "{text}");
        }
        check("", "");
        check("plain $WHO $", "plain $WHO $");
        check("${WHO}/${WHO}", "ann/ann");
        check("${NESTED}", "${WHO}");
        check("<${EMPTY}>", "<>");
        check("$${WHO} $$", "$${WHO} $$");
        check("${WHO:-x} ${} ${1} ${WHO", "${WHO:-x} ${} ${1} ${WHO");
        check("${ä}ö${WHO}", "${ä}öann");
        assert!(replace("a ${MISSING}", &env).unwrap_err().contains("`MISSING` is not set"));
    }

    #[test]
    fn paths_become_absolute() {
        let places = Places { folder: Path::new("/fleet"), home: Path::new("/home/op"), env: &env };
        let check = |text: &str, want: Option<&str>| {
            let sink = Sink::new("");
            let got = places.path("dir", At { at: 0, value: text }, &sink);
            assert_eq!(got.as_deref(), want.map(Path::new), "{text}");
            assert_eq!(sink.finish().is_empty(), want.is_some(), "{text}");
        };
        check("a/./b//c", Some("/fleet/a/b/c"));
        check("../x", Some("/fleet/../x"));
        check(".", Some("/fleet"));
        check("/abs", Some("/abs"));
        check("~", Some("/home/op"));
        check("~/w/${WHO}", Some("/home/op/w/ann"));
        check("~ann/w", None);
        check("", None);
        check("${MISSING}/w", None);
        check("${EMPTY}", None);
        check("a\0b", None);
    }
}

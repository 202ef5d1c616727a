//! Secrets that are known by their value: what a process is given in variables and arguments that are named like secrets is
//! hidden wherever the process, or anybody else, repeats it.
//!
//! Deliberately not here: secrets that nobody told us of, which only their shape can betray (`mask`).

use super::mask::{self, MASK};

/// A shorter value is not looked for: `1`, `true`, `prod` stand on every page, a page full of masks explains nothing, and
/// what is that short is guessed anyway. Where it stands beside its name it is hidden all the same (`mask`). Characters.
const VALUE_MIN: usize = 6;
/// A value of letters and digits up to this length is hidden only where it stands alone: `secure1` is not part of
/// `insecure10`. Characters.
const ALONE_MAX: usize = 15;
/// A value that is not named `password`, `token` …, but only `key`, is believed to be a secret from this length on, if it
/// looks like one.
const KEY_MIN: usize = 16;
/// Values that are looked for.
const VALUES_MAX: usize = 200;
/// Longest value that is looked for, bytes: a file in a variable is looked for line by line.
const VALUE_MAX: usize = 4096;

/// Values that say nothing: hiding them everywhere would hide the words of the language.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "changeme",
    "change-me",
    "default",
    "postgres",
    "example",
    "disabled",
    "enabled",
    "required",
    "optional",
    "undefined",
    "localhost",
    "string",
    "public",
    "private",
];

/// The last word of a name that is about a secret, and holds none.
const ABOUT: &[&str] = &[
    "file", "path", "dir", "url", "uri", "host", "port", "user", "username", "name", "ttl", "timeout",
    "limit", "length", "size", "count", "type", "header", "scheme", "endpoint", "enabled", "required",
    "prompt", "min", "max", "id", "s",
];

/// Values to hide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The longest first: one may be part of another.
    values: Vec<String>,
}

impl Secrets {
    /// What stands in these variables and arguments.
    pub fn of<'a>(
        env: impl IntoIterator<Item = (&'a String, &'a String)>,
        argv: impl IntoIterator<Item = &'a String>,
    ) -> Secrets {
        let mut found = Found::default();
        for (name, value) in env {
            found.variable(name, value);
        }
        let argv: Vec<&str> = argv.into_iter().map(String::as_str).collect();
        found.arguments(&argv);
        for script in argv.iter().filter(|arg| arg.contains(char::is_whitespace)) {
            let quotes = ['"', '\'', ';', '&', '|', '(', ')'];
            let words: Vec<&str> = script.split_whitespace().map(|word| word.trim_matches(quotes)).collect();
            found.arguments(&words);
        }
        let mut values = found.values;
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        values.truncate(VALUES_MAX);
        Secrets { values }
    }

    /// The text without them, and without what looks like a secret.
    pub fn mask(&self, text: &str) -> String {
        mask::mask(&self.hide(text))
    }

    /// The text without them.
    pub fn hide(&self, text: &str) -> String {
        let mut text = std::borrow::Cow::Borrowed(text);
        for value in self.values.iter() {
            if let Some(without) = without(&text, value) {
                text = without.into();
            }
        }
        text.into_owned()
    }
}

/// The text with a value replaced; None when it is not in it.
fn without(text: &str, value: &str) -> Option<String> {
    let alone = value.len() <= ALONE_MAX && value.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut out: Option<String> = None;
    let mut from = 0;
    for (at, _) in text.match_indices(value) {
        let end = at + value.len();
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(end..).and_then(|text| text.chars().next());
        if alone && [before, after].into_iter().flatten().any(char::is_alphanumeric) {
            continue;
        }
        let out = out.get_or_insert_default();
        out.push_str(text.get(from..at).unwrap_or_default());
        out.push_str(MASK);
        from = end;
    }
    let mut out = out?;
    out.push_str(text.get(from..).unwrap_or_default());
    Some(out)
}

/// An argv for people: values of flags that are named like secrets hidden, whatever their length.
pub fn argv(argv: &[String]) -> Vec<String> {
    let mut shown = Vec::with_capacity(argv.len());
    let mut before: Option<&str> = None;
    for arg in argv {
        let hidden = match before.map(flag) {
            Some(Flag::Secret) if !arg.starts_with('-') => MASK.to_owned(),
            Some(Flag::User) => {
                user(arg).map_or_else(|| mask::mask(arg), |(name, _)| format!("{name}:{MASK}"))
            }
            Some(Flag::Secret | Flag::Other) | None => mask::mask(arg),
        };
        shown.push(hidden);
        before = Some(arg);
    }
    shown
}

/// What an argument says of the next one.
enum Flag {
    Secret,
    /// `-u name:password`
    User,
    Other,
}

fn flag(arg: &str) -> Flag {
    match arg.strip_prefix('-').map(|name| name.trim_start_matches('-')) {
        Some("u" | "user" | "proxy-user" | "U") => Flag::User,
        Some(name) if !name.contains('=') && is_name(name) == Named::Secret => Flag::Secret,
        Some(_) | None => Flag::Other,
    }
}

/// `name:password`, and not `1000:1000`, `root:root`, an address or a drive.
fn user(arg: &str) -> Option<(&str, &str)> {
    let (name, password) = arg.split_once(':')?;
    let numbers = password.bytes().all(|b| b.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_digit());
    let plain = !name.is_empty() && !name.contains(['/', ' ']) && !password.starts_with("//");
    (plain && !numbers && !password.is_empty() && name != password).then_some((name, password))
}

#[derive(Default)]
struct Found {
    values: Vec<String>,
}

impl Found {
    fn variable(&mut self, name: &str, value: &str) {
        let looks = |value: &str| {
            value.len() >= KEY_MIN
                && value.bytes().any(|b| b.is_ascii_digit())
                && value.bytes().any(|b| b.is_ascii_alphabetic())
                && !value.contains(['/', ' '])
        };
        match is_name(name) {
            Named::Secret => self.value(value),
            Named::Key if looks(value) => self.value(value),
            Named::Key | Named::Plain => self.address(value),
        }
    }

    fn arguments(&mut self, argv: &[&str]) {
        let mut before: Option<&str> = None;
        for arg in argv {
            match before.map(flag) {
                Some(Flag::Secret) if !arg.starts_with('-') => self.value(arg),
                Some(Flag::User) => self.value(user(arg).map_or("", |(_, password)| password)),
                Some(Flag::Secret | Flag::Other) | None => match arg.split_once('=') {
                    Some((name, value)) => {
                        self.variable(name.trim_start_matches('-'), value.trim_matches(['"', '\'']));
                    }
                    None => self.address(arg),
                },
            }
            before = Some(arg);
        }
    }

    /// The password in `scheme://user:password@host`.
    fn address(&mut self, text: &str) {
        let Some((_, rest)) = text.split_once("://") else { return };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if let Some((_, password)) = host.rsplit_once('@').and_then(|(user, _)| user.split_once(':')) {
            self.value(password);
        }
    }

    fn value(&mut self, value: &str) {
        self.address(value);
        let value = value.trim();
        for line in value.lines().map(str::trim).chain(std::iter::once(value)) {
            let word = WORDS.iter().any(|word| line.eq_ignore_ascii_case(word));
            if word || line.chars().count() < VALUE_MIN || line.len() > VALUE_MAX {
                continue;
            }
            self.values.push(line.to_owned());
            // As JSON and a debugging print write it, and as an address does.
            let quoted = serde_json::to_string(line).unwrap_or_default();
            let quoted = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
            for other in [quoted.to_owned(), percent(line)] {
                if other != line && !other.is_empty() {
                    self.values.push(other);
                }
            }
        }
    }
}

fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// What a name says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Secret,
    /// A key: of an API, or of a table.
    Key,
    Plain,
}

fn is_name(name: &str) -> Named {
    let lower = name.to_ascii_lowercase();
    if matches!(lower.as_str(), "pwd" | "oldpwd") {
        return Named::Plain; // Directories.
    }
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let Some(last) = words.last() else { return Named::Plain };
    if words.len() > 1 && ABOUT.contains(last) {
        return Named::Plain;
    }
    let ends = [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "token",
        "apikey",
        "accesskey",
        "secretkey",
        "privatekey",
        "credential",
        "credentials",
    ];
    let keys = [
        "api",
        "access",
        "private",
        "secret",
        "signing",
        "encryption",
        "auth",
        "account",
        "master",
        "license",
    ];
    let word = |word: &&str| matches!(*word, "pass" | "pw") || ends.iter().any(|end| word.ends_with(end));
    let key = words.windows(2).any(|pair| keys.contains(&pair[0]) && pair[1] == "key");
    match (words.iter().any(word) || key, last.ends_with("key")) {
        (true, _) => Named::Secret,
        (false, true) => Named::Key,
        (false, false) => Named::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn secrets(env: &[(&str, &str)], argv: &[&str]) -> Secrets {
        let env: BTreeMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_owned()).collect();
        Secrets::of(&env, &argv)
    }

    #[track_caller]
    fn check(env: &[(&str, &str)], argv: &[&str], text: &str, want: &str) {
        assert_eq!(secrets(env, argv).mask(text), want);
    }

    #[test]
    fn values_of_variables_are_hidden_wherever_they_are_repeated() {
        check(&[("DB_PASSWORD", "hunter22")], &[], "login hunter22 failed", "login [masked] failed");
        check(&[("PGPASSWORD", "hunter22")], &[], "(hunter22)", "([masked])");
        check(&[("dbPassword", "a/b=c+d")], &[], "xa/b=c+dx", "x[masked]x");
        check(&[("HF_TOKEN", "abcdefghijklmnopq")], &[], "zabcdefghijklmnopqz", "z[masked]z");
        check(&[("STRIPE_KEY", "a1b2c3d4e5f6g7h8")], &[], "k a1b2c3d4e5f6g7h8", "k [masked]");
        check(&[("SECRET_KEY_BASE", "correct horse")], &[], "correct horse", "[masked]");
        check(&[("DATABASE_URL", "postgres://me:hunter22@db/x")], &[], "hunter22", "[masked]");
        check(
            &[("A_TOKEN", "one23456"), ("B_TOKEN", "one23456-and-more")],
            &[],
            "one23456-and-more",
            "[masked]",
        );
    }

    #[test]
    fn values_are_known_in_the_forms_that_programs_write() {
        let env = [("DB_PASSWORD", "a\"b\\c&defg")];
        check(&env, &[], "{\"x\": \"a\\\"b\\\\c&defg\"}", "{\"x\": \"[masked]\"}");
        check(&env, &[], "http://h/?p=a%22b%5Cc%26defg", "http://h/?p=[masked]");
        let lines = [("SSH_SECRET", "first line\nsecond line\n")];
        check(&lines, &[], "> 1 | first line\n> 2 | second line", "> 1 | [masked]\n> 2 | [masked]");
    }

    #[test]
    fn secrets_in_arguments_are_hidden_too() {
        check(&[], &["x", "--pass", "hunter22"], "hunter22", "[masked]");
        check(&[], &["x", "--db-password=hunter22"], "hunter22", "[masked]");
        check(&[], &["curl", "-u", "me:hunter22"], "hunter22", "[masked]");
        check(&[], &["env", "MY_TOKEN=hunter22", "x"], "hunter22", "[masked]");
        check(
            &[],
            &["sh", "-c", "PASSWORD='hunter22' x --token abcdef77; y"],
            "hunter22 abcdef77",
            "[masked] [masked]",
        );
        check(&[], &["x", "https://me:hunter22@h/"], "hunter22", "[masked]");
    }

    /// What is too short, or a word, or no secret, does not blank the page.
    #[test]
    fn short_values_and_words_do_not_blank_the_page() {
        let text =
            "step 1 of 10: true, prod: password for postgres in /run/secrets/db, loss 0.123456, insecure1";
        for env in [
            ("DB_PASSWORD", "1"),
            ("DB_PASSWORD", "true"),
            ("DB_PASSWORD", "prod"),
            ("DB_PASSWORD", ""),
            ("DB_PASSWORD", "password"),
            ("DB_PASSWORD", "postgres"),
            ("DB_PASSWORD", "secure"),
            ("DB_PASSWORD_FILE", "/run/secrets/db"),
            ("TOKENIZERS_PARALLELISM", "false"),
            ("MAX_TOKENS", "123456"),
            ("PWD", "/run/secrets/db"),
            ("SORT_KEY", "password"),
            ("KEYBOARD", "/run/secrets/db"),
        ] {
            check(&[env], &[], text, text);
        }
        check(
            &[],
            &["x", "-u", "1000:1000", "--user", "root:root"],
            "1000:1000 root:root",
            "1000:1000 root:root",
        );
    }

    #[test]
    fn an_argv_is_shown_without_the_values_of_its_secret_flags() {
        #[track_caller]
        fn check(args: &[&str], want: &[&str]) {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            assert_eq!(argv(&args), want);
        }
        check(&["x", "--pass", "x", "y"], &["x", "--pass", "[masked]", "y"]);
        check(&["x", "-u", "me:pw", "y"], &["x", "-u", "me:[masked]", "y"]);
        check(&["x", "--token", "--verbose"], &["x", "--token", "--verbose"]);
        check(&["docker", "-u", "1000:1000"], &["docker", "-u", "1000:1000"]);
        check(
            &["x", "--api-key=abcdef", "https://u:p@h/"],
            &["x", "--api-key=[masked]", "https://u:[masked]@h/"],
        );
        check(&["x", "--tokens", "4096", "--lr", "1"], &["x", "--tokens", "4096", "--lr", "1"]);
    }

    #[test]
    fn a_value_as_long_as_the_page_is_bounded() {
        let long = "é".repeat(10_000);
        let many: Vec<(String, String)> =
            (0..1000).map(|n| (format!("T{n}_TOKEN"), format!("value-{n:06}"))).collect();
        let env: BTreeMap<String, String> = many.into_iter().chain([("X_TOKEN".to_owned(), long)]).collect();
        let none: [String; 0] = [];
        assert_eq!(Secrets::of(&env, &none).values.len(), VALUES_MAX);
    }
}

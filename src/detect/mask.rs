//! Hides secrets in text that people will read: keys of known shapes, tokens in headers and addresses, values of keys that
//! are named like secrets, private keys.
//!
//! What looks like none of these is not found: a mask lessens harm, it is no safe. Deliberately not here: where texts come
//! from and go to.

use regex::{Captures, Regex};
use std::sync::LazyLock;

/// What stands in a secret's place.
pub const MASK: &str = "[masked]";

/// Secrets that are known by their shape. Sources: the documents of the services on the form of their keys.
const SHAPES: &[&str] = &[
    // A block of a private key, or what there is of it.
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    r"\b(?:sk|rk|pk)[-_][A-Za-z0-9][A-Za-z0-9_-]{14,}", // Anthropic, OpenAI, Stripe, OpenRouter
    r"\bgh[pousr]_[A-Za-z0-9]{16,}",                    // GitHub
    r"\bgithub_pat_[A-Za-z0-9_]{16,}",                  // GitHub
    r"\bglpat-[A-Za-z0-9_-]{16,}",                      // GitLab
    r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[0-9A-Z]{16}\b",    // AWS
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",                // Slack
    r"\bAIza[A-Za-z0-9_-]{30,}",                        // Google
    r"\bya29\.[A-Za-z0-9_-]{20,}",                      // Google
    r"\bhf_[A-Za-z0-9]{20,}",                           // Hugging Face
    r"\bnpm_[A-Za-z0-9]{30,}",                          // npm
    r"\bpypi-[A-Za-z0-9_-]{30,}",                       // PyPI
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*", // JSON web tokens
    r"\b[0-9]{8,10}:[A-Za-z0-9_-]{35}\b",               // Telegram
];

static SHAPE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&SHAPES.join("|")).ok());

/// `Authorization: Bearer …`, `https://user:secret@host`: what stays, then the secret.
static CARRIED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let header = r"(?i:\b(?:bearer|basic|token)\s+)[A-Za-z0-9._~+/=-]{8,}";
    // A password may hold an `@` that nobody escaped.
    let address = r#"://[^\s/:@]*:[^\s/"'<>]+@"#;
    Regex::new(&format!("{header}|{address}")).ok()
});

/// `-u name:password`, as curl takes it: flag, name, password.
static USER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"((?:^|[\s"'])(?:-u|-U|--user|--proxy-user)[ =]["']?)([^\s:/"']+):([^\s"']+)"#).ok()
});

/// `key = value`, `"key": "value"`, `--key value`, also with escaped quotes: key, joint, value.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let word = "pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|authorization";
    let key = format!(r"(?i:(?:[\w.-]*(?:{word})[\w-]*))");
    let joint = r#"(?:\\?["'])?\s*[:=]\s*"#;
    let value = r#"\\"(?:[^"\\]|\\[^"])*\\?"?|"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s"',;&|)}\]]+"#;
    let flag = format!(r"--(?i:[\w-]*(?:{word}))[ ]");
    Regex::new(&format!("(?:({key})({joint})|({flag}))({value})")).ok()
});

/// Words that stand where a secret would, and are none.
const PLAIN: &[&str] = &["true", "false", "null", "none", "nil", "undefined", "string", "str"];

/// The text with what looks like a secret replaced.
pub fn mask(text: &str) -> String {
    let (Some(shape), Some(carried), Some(user), Some(named)) =
        (SHAPE.as_ref(), CARRIED.as_ref(), USER.as_ref(), NAMED.as_ref())
    else {
        // A pattern above is broken (a test would say so): better no text than a secret.
        return MASK.to_owned();
    };
    let text = shape.replace_all(text, MASK);
    let text = carried.replace_all(&text, |found: &Captures<'_>| {
        let whole = found.get(0).map_or("", |whole| whole.as_str());
        if let Some(address) = whole.strip_prefix("://") {
            let user = address.split(':').next().unwrap_or_default();
            return format!("://{user}:{MASK}@");
        }
        let scheme = whole.split_whitespace().next().unwrap_or_default();
        let secret = whole.split_whitespace().nth(1).unwrap_or_default();
        // "token usage" is no token: one has a digit, or is long.
        let likely = secret.len() >= 24 || secret.bytes().any(|b| b.is_ascii_digit());
        if likely { format!("{scheme} {MASK}") } else { whole.to_owned() }
    });
    let text = user.replace_all(&text, |found: &Captures<'_>| {
        let part = |n: usize| found.get(n).map_or("", |part| part.as_str());
        // `1000:1000` and `root:root` are users of a container; what is masked stays so.
        let numbers = [part(2), part(3)].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
        match numbers || part(2) == part(3) || part(3).starts_with('[') {
            true => part(0).to_owned(),
            false => format!("{}{}:{MASK}", part(1), part(2)),
        }
    });
    named.replace_all(&text, |found: &Captures<'_>| named_value(found)).into_owned()
}

fn named_value(found: &Captures<'_>) -> String {
    let part = |n: usize| found.get(n).map_or("", |part| part.as_str());
    let (key, value) = (part(1), part(4));
    let bare = value.trim_matches(['"', '\'', '\\']);
    // Counts of tokens are what this program is about; references and blanks are no secrets.
    let counts =
        key.to_ascii_lowercase().contains("tokens") && bare.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let plain = PLAIN.iter().any(|word| bare.eq_ignore_ascii_case(word));
    let harmless =
        counts || plain || bare.is_empty() || bare.starts_with(['$', '<', '{', '[', '*']) || bare.len() < 3;
    if harmless {
        return part(0).to_owned();
    }
    let scheme = ["bearer", "basic", "token"].iter().any(|scheme| bare.eq_ignore_ascii_case(scheme));
    if scheme {
        return part(0).to_owned(); // `Authorization: Bearer [masked]`
    }
    let open = &value[..value.len() - value.trim_start_matches(['\\', '"', '\'']).len()];
    let close = if open.is_empty() { "" } else { &value[value.trim_end_matches(['\\', '"', '\'']).len()..] };
    format!("{key}{}{}{open}{MASK}{close}", part(2), part(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(mask(text), want);
    }

    #[test]
    fn keys_of_known_shapes_are_hidden() {
        check("x sk-ant-api03-abcdefghijklmnop_-1 y", "x [masked] y");
        check("OPENAI sk-proj-ABCDEFGHIJKLMNOPQRST.", "OPENAI [masked].");
        check("ghp_abcdefghijklmnopqrstuvwxyz012345", "[masked]");
        check("github_pat_11AAAAAAA0aaaaaaaaaaaa_bbbb", "[masked]");
        check("id AKIAIOSFODNN7EXAMPLE!", "id [masked]!");
        check("xoxb-1234567890-abcdef", "[masked]");
        check("AIzaSyA-1234567890abcdefghijklmnopqrstu", "[masked]");
        check("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_9", "jwt [masked]");
        check("glpat-ABCDEFGHIJKLMNOPQRST", "[masked]");
        check(
            "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\nxx==\n-----END RSA PRIVATE KEY----- b",
            "a [masked] b",
        );
        check("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk", "[masked]");
    }

    #[test]
    fn carried_secrets_are_hidden() {
        check("Authorization: Bearer abc.def-123", "Authorization: Bearer [masked]");
        check("curl -H 'authorization: bearer AAAABBBBCCCC1'", "curl -H 'authorization: bearer [masked]'");
        check("https://me:hunter2@example.org/x", "https://me:[masked]@example.org/x");
        check("postgres://:p4ss@db", "postgres://:[masked]@db");
        check("https://me:p@ss@example.org/x", "https://me:[masked]@example.org/x");
        check("+ curl -u me:pw https://h/", "+ curl -u me:[masked] https://h/");
        check("curl --user 'me:p w'", "curl --user 'me:[masked] w'");
        check("[\"curl -u me:pw\"]", "[\"curl -u me:[masked]\"]");
    }

    #[test]
    fn named_values_are_hidden() {
        check("PASSWORD=hunter2 next", "PASSWORD=[masked] next");
        check("db_password: \"correct horse\", n: 1", "db_password: \"[masked]\", n: 1");
        check(r#"{"api_key":"abcdef","n":2}"#, r#"{"api_key":"[masked]","n":2}"#);
        check(r#"{\"client_secret\":\"abcdef\"}"#, r#"{\"client_secret\":\"[masked]\"}"#);
        check("AWS_SECRET_ACCESS_KEY='abc/def+ghi'", "AWS_SECRET_ACCESS_KEY='[masked]'");
        check("mysql --password hunter2 -u me", "mysql --password [masked] -u me");
        check("export GITHUB_TOKEN=abc123;ls", "export GITHUB_TOKEN=[masked];ls");
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "max_tokens=4096, input_tokens: 12",
            "password: $PASSWORD",
            "password=<your password>",
            "token: null",
            "the token usage grows",
            "bearer of bad news",
            "see https://example.org:8080/path",
            "sk-learn and task-list",
            "docker run -u 1000:1000 x; run --user root:root",
            "git push -u origin main:dev",
            "see https://example.org:8080/a and mail me@example.org",
            "fn password(secret: &str)",
        ] {
            check(text, text);
        }
    }
}

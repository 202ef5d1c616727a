//! What is the same in two findings of one failure: the detector, the kind, the exception, what it says without its numbers,
//! and the user's function that it came from. Joins repeats; line numbers are left out, for they move with every edit.
//!
//! Deliberately not here: what is counted by it (`state::incident`).

use super::source::library;
use crate::base::text::digest;
use crate::model::finding::Finding;

/// So much of a message counts, characters.
const MESSAGE_MAX: usize = 400;

/// The fingerprint, 16 hex digits.
pub fn fingerprint(finding: &Finding) -> String {
    let place =
        library::hot(finding).and_then(|at| finding.frames.get(at)).map_or_else(String::new, |frame| {
            let file = frame.file.rsplit(['/', '\\']).next().unwrap_or_default();
            format!("{file}:{}", frame.function)
        });
    let exit = finding.exit.map_or_else(String::new, |code| code.to_string());
    let parts = [
        finding.detector.as_str(),
        finding.kind.word(),
        finding.exception.as_deref().unwrap_or_default(),
        &normal(&finding.message),
        &place,
        &exit,
    ];
    digest(parts.join("\u{1f}").as_bytes())
}

/// A message without what differs from time to time: paths become their last part, numbers, times, addresses, pids and hex
/// become `#`.
pub fn normal(message: &str) -> String {
    let message: String = message.chars().take(MESSAGE_MAX).collect();
    let mut out = String::with_capacity(message.len());
    let mut word = String::new();
    for c in message.chars() {
        if c.is_alphanumeric() || matches!(c, '/' | '\\' | '.' | '_' | '-' | ':') {
            word.push(c);
        } else {
            push_word(&mut out, &word);
            word.clear();
            push_char(&mut out, c);
        }
    }
    push_word(&mut out, &word);
    out.trim().to_owned()
}

/// Runs of blanks are one.
fn push_char(out: &mut String, c: char) {
    if !(c.is_whitespace() && out.ends_with(' ')) {
        out.push(if c.is_whitespace() { ' ' } else { c });
    }
}

fn push_word(out: &mut String, word: &str) {
    if is_uuid(word) {
        return out.push('#');
    }
    let slashes = word.matches(['/', '\\']).count();
    // `/tmp/run-17/ckpt.pt`, `C:\x\y`, `a/b/c.py`; but `3/8` and `read/write` are no paths.
    let is_path = word.starts_with(['/', '.']) && slashes > 0 || slashes > 1;
    let last = if is_path {
        word.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or_default()
    } else {
        word
    };
    for (n, piece) in last.split_inclusive(['-', '_', ':', '.', '/']).enumerate() {
        let bare = piece.trim_end_matches(['-', '_', ':', '.', '/']);
        let tail = &piece[bare.len()..];
        let plain = if is_hex(bare) { "#".to_owned() } else { digits(bare) };
        // `12.5`, `10:00:01`, an address: one number.
        if plain == "#" && n > 0 && (out.ends_with("#.") || out.ends_with("#:") || out.ends_with("#-")) {
            out.pop();
        } else {
            out.push_str(&plain);
        }
        out.push_str(tail);
    }
}

/// `0x7f3a`, `deadbeef01`, a digest: at least eight hex digits with a digit among them, or with its prefix.
fn is_hex(word: &str) -> bool {
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let long = word.len() >= 8 && hex(word) && word.bytes().any(|b| b.is_ascii_digit());
    long || word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")).is_some_and(hex)
}

/// `123e4567-e89b-12d3-a456-426614174000`, and other long chains of hex with dashes.
fn is_uuid(word: &str) -> bool {
    word.len() >= 16
        && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && word.bytes().any(|b| b.is_ascii_digit())
}

fn digits(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for c in word.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{FindingKind, Frame, Language};

    #[track_caller]
    fn same(a: &str, b: &str) {
        assert_eq!(normal(a), normal(b));
    }

    #[track_caller]
    fn differ(a: &str, b: &str) {
        assert_ne!(normal(a), normal(b), "{a} / {b}");
    }

    #[test]
    fn what_differs_from_time_to_time_does_not_count() {
        same(
            "CUDA out of memory. Tried to allocate 2.50 GiB (GPU 0)",
            "CUDA out of memory. Tried to allocate 12 GiB (GPU 3)",
        );
        same("at 2026-11-21T10:00:00Z pid 4711", "at 2026-11-22T23:59:59Z pid 12");
        same("object at 0x7f3a2b", "object at 0xdeadbeef01");
        same("no such file: '/home/a/run-1/ckpt.pt'", "no such file: '/srv/b/run-22/ckpt.pt'");
        same("commit 1a2b3c4d5e6f", "commit ffffffff0");
        same("worker-3 died", "worker-14 died");
        same("10.0.0.1:8080 refused", "192.168.1.20:80 refused");
        same("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-1111-2222-3333-444444444444");
    }

    #[test]
    fn what_says_something_counts() {
        differ("KeyError: 'loss'", "KeyError: 'step'");
        differ("no such file: '/a/model.pt'", "no such file: '/a/data.csv'");
        differ("read/write failed", "read/only failed");
        assert_eq!(normal("loss is nan at step 12/40"), "loss is nan at step #/#");
    }

    #[test]
    fn lines_do_not_count_functions_do() {
        let frame = |function: &str, line| Frame {
            file: "/x/train.py".into(),
            line,
            function: function.into(),
            library: false,
        };
        let lib = Frame {
            file: "/x/site-packages/torch/a.py".into(),
            line: 3,
            function: "call".into(),
            library: false,
        };
        let with = |frames: Vec<Frame>, exit| {
            fingerprint(&Finding {
                detector: "traceback".into(),
                kind: FindingKind::Traceback,
                language: Some(Language::Python),
                exception: Some("ValueError".into()),
                frames,
                exit,
                ..Finding::default()
            })
        };
        assert_eq!(
            with(vec![frame("step", 10), lib.clone()], None),
            with(vec![frame("step", 12), lib], None)
        );
        assert_ne!(with(vec![frame("step", 10)], None), with(vec![frame("load", 10)], None));
        assert_ne!(with(vec![], Some(1)), with(vec![], Some(137)));
    }
}

//! Real transcripts to the token, and hostile ones.

use super::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every fixture: format, path, what it comes to.
fn fixtures() -> Vec<(Format, PathBuf, Totals)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/transcripts");
    let mut found = Vec::new();
    for format in Format::ALL {
        let dir = root.join(format.name());
        let truth: BTreeMap<String, Value> =
            serde_json::from_slice(&std::fs::read(dir.join("tokens.json")).unwrap()).unwrap();
        for (name, want) in truth {
            found.push((format, dir.join(name), normal(&want)));
        }
    }
    assert!(found.len() >= 9, "the fixtures were not found");
    found
}

/// The truth as the CLIs count it, with input freed of the cache and thoughts in the output.
fn normal(truth: &Value) -> Totals {
    let n = |key: &str| truth.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (mut input, mut output) = (n("input"), n("output"));
    if truth["input_includes_cache"] == true {
        input = input - n("cache_read") + n("tool");
    }
    if n("total") > input + output + n("cache_read") + n("cache_creation") {
        output += n("reasoning");
    }
    Totals {
        input,
        output,
        cache_read: n("cache_read"),
        cache_creation: n("cache_creation"),
        total: n("total"),
        messages: n("messages"),
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|b| *b == b'\n')
}

fn sum(format: Format, text: &str) -> Totals {
    totals(format, lines(text.as_bytes()))
}

#[test]
fn fixtures_are_right_to_the_token() {
    for (format, path, want) in fixtures() {
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(totals(format, lines(&bytes)), want, "{}", path.display());
    }
}

#[test]
fn codex_events_alone_come_to_the_same() {
    for (format, path, want) in fixtures().into_iter().filter(|(format, ..)| *format == Format::Codex) {
        let text = std::fs::read_to_string(&path).unwrap();
        let old: String =
            text.lines().filter(|l| !l.contains("token_usage_record")).map(|l| format!("{l}\n")).collect();
        assert_eq!(sum(format, &old), want, "{}", path.display());
    }
}

#[test]
fn a_file_cut_anywhere_never_counts_more_than_the_whole() {
    for (format, path, want) in fixtures() {
        let bytes = std::fs::read(&path).unwrap();
        // Every byte of a whole file is quadratic: every cut of the last lines, and every seventh line's middle.
        let ends: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] == b'\n').collect();
        let late = bytes.len().saturating_sub(300)..bytes.len();
        let middles = ends.iter().step_by(7).map(|end| end.saturating_sub(11));
        let cuts: std::collections::BTreeSet<usize> = middles.chain(late).collect();
        let mut before = Totals::default();
        for cut in cuts {
            let now = totals(format, lines(&bytes[..cut]));
            assert!(now.total <= want.total && now.messages <= want.messages, "{} at {cut}", path.display());
            assert!(now.total >= before.total, "{} at {cut}: it went back", path.display());
            before = now;
        }
    }
}

#[test]
fn a_line_cut_or_flipped_at_any_byte_is_survived() {
    for (format, path, _) in fixtures() {
        let bytes = std::fs::read(&path).unwrap();
        for line in lines(&bytes).filter(|line| line.len() < 1500).take(10) {
            for cut in 0..line.len() {
                let mut state = ReaderState::default();
                let mut out = Vec::new();
                count_line(format, &mut state, &line[..cut], &mut out);
                let mut flipped = line.to_vec();
                flipped[cut] ^= 0xff;
                count_line(format, &mut state, &flipped, &mut out);
                let _ = entries(format, &flipped);
                assert!(out.iter().all(|counted| counted.usage.messages == 1));
            }
        }
    }
}

#[test]
fn hostile_lines_are_skipped() {
    let deep = format!("{}\"usage\"{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!(
        r#"{{"type":"assistant","message":{{"id":"m","usage":{{"input_tokens":1}}}},"x":"{}"}}"#,
        "y".repeat(LINE_MAX)
    );
    let odd = [
        deep.as_str(),
        long.as_str(),
        "",
        "null",
        "{}",
        r#"{"type":"assistant","message":{"id":7,"usage":[1]}}"#,
        r#"{"type":"assistant","message":"usage","usage":1}"#,
        r#"{"type":"event_msg","payload":{"type":"token_count","info":null}}"#,
        r#"{"type":"token_usage_record","payload":{}}"#,
        r#"{"type":"gemini","tokens":"many"}"#,
        r#"{"$set":{"messages":"tokens"}}"#,
        r#"{"type":"assistant","usageMetadata":null}"#,
    ];
    for format in Format::ALL {
        for line in odd {
            assert_eq!(sum(format, line), Totals::default(), "{format:?} {line:.80}");
            let _ = entries(format, line.as_bytes());
        }
    }
}

#[test]
fn absurd_numbers_saturate() {
    let line = |n: &str| {
        format!(
            r#"{{"type":"assistant","uuid":"{n}","message":{{"id":"{n}","usage":{{"input_tokens":{n},"output_tokens":{n}}}}}}}"#
        )
    };
    let text = format!(
        "{}\n{}\n{}\n{}",
        line("18446744073709551615"),
        line("18446744073709551614"),
        line("-5"),
        line("1e300")
    );
    assert_eq!(sum(Format::Claude, &text).total, u64::MAX);
    assert_eq!(sum(Format::Claude, &line("-5")).total, 0);
}

fn claude(id: &str, out: u64) -> String {
    json!({"type": "assistant", "uuid": format!("u{id}{out}"), "timestamp": "2026-01-01T00:00:00Z",
        "message": {"id": id, "model": "m", "usage": {"input_tokens": 1, "output_tokens": out}}})
    .to_string()
}

#[test]
fn claude_counts_the_last_line_of_an_id_and_sub_agents() {
    let side = claude("side", 5).replace("\"type\"", "\"isSidechain\":true,\"type\"");
    let progress = json!({"type": "progress", "data": {"message": serde_json::from_str::<Value>(&claude("side", 5)).unwrap()}});
    let synthetic = claude("s", 9).replace("\"m\"", "\"<synthetic>\"");
    let text = [claude("a", 1), side, claude("a", 40), progress.to_string(), synthetic].join("\n");
    let want = Totals { input: 2, output: 45, total: 47, messages: 2, ..Totals::default() };
    assert_eq!(sum(Format::Claude, &text), want);
}

#[test]
fn claude_without_ids_counts_each_line_once() {
    let line = r#"{"type":"assistant","uuid":"u","message":{"usage":{"output_tokens":3}}}"#;
    let other = r#"{"type":"assistant","requestId":"r","message":{"usage":{"output_tokens":3}}}"#;
    assert_eq!(sum(Format::Claude, &format!("{line}\n{line}\n{other}")).output, 6);
}

/// Codex lines: session_meta, token_count with its running total, token_usage_record.
fn meta(id: &str, forked: Option<&str>, at: &str) -> String {
    json!({"timestamp": at, "type": "session_meta", "payload": {"id": id, "cwd": "/w", "timestamp": at, "forked_from_id": forked}}).to_string()
}

fn event(total: u64, last: u64, at: &str) -> String {
    let usage =
        |n: u64| json!({"input_tokens": n, "cached_input_tokens": 0, "output_tokens": 0, "total_tokens": n});
    json!({"timestamp": at, "type": "event_msg", "payload": {"type": "token_count",
        "info": {"total_token_usage": usage(total), "last_token_usage": usage(last)}}})
    .to_string()
}

fn record(thread: &str, response: &str, n: u64) -> String {
    json!({"timestamp": "2026-01-01T00:00:09Z", "type": "token_usage_record", "payload": {"thread_id": thread,
        "response_id": response, "usage": {"input_tokens": n, "output_tokens": 0, "total_tokens": n}}})
    .to_string()
}

#[test]
fn codex_repeated_events_count_once_and_resets_nothing() {
    let text = [
        meta("t", None, "2026-01-01T00:00:00Z"),
        event(10, 10, "2026-01-01T00:00:05Z"),
        event(10, 10, "2026-01-01T00:00:06Z"),
        event(25, 15, "2026-01-01T00:00:07Z"),
        event(0, 0, "2026-01-01T00:00:08Z"),
        event(7, 7, "2026-01-01T00:00:09Z"),
    ];
    assert_eq!(sum(Format::Codex, &text.join("\n")).total, 32);
}

#[test]
fn codex_a_file_of_an_old_version_that_a_new_one_goes_on_with() {
    let text = [
        meta("t", None, "2026-01-01T00:00:00Z"),
        event(10, 10, "2026-01-01T00:00:05Z"),
        record("t", "r1", 5),
        event(15, 5, "2026-01-01T00:00:09Z"),
        record("t", "r1", 5),
    ];
    let want = Totals { input: 15, total: 15, messages: 2, ..Totals::default() };
    assert_eq!(sum(Format::Codex, &text.join("\n")), want);
}

#[test]
fn codex_a_copied_history_is_the_parents() {
    // With records: they name their thread.
    let text = [
        meta("child", Some("parent"), "2026-01-01T00:00:00Z"),
        meta("parent", None, "2026-01-01T00:00:00Z"),
        record("parent", "r1", 100),
        record("child", "r2", 3),
    ];
    assert_eq!(sum(Format::Codex, &text.join("\n")).total, 3);
    // Without: the copy bears one time, the child's own come later.
    let text = [
        meta("child", Some("parent"), "2026-01-01T00:00:00.000Z"),
        meta("parent", None, "2026-01-01T00:00:00.001Z"),
        event(100, 100, "2026-01-01T00:00:00.002Z"),
        event(300, 200, "2026-01-01T00:00:00.003Z"),
        event(304, 4, "2026-01-01T00:00:07.000Z"),
    ];
    assert_eq!(sum(Format::Codex, &text.join("\n")).total, 4);
    // A turn that was made after the thread ends the copy, however fast.
    let turn = |id: &str| {
        json!({"timestamp": "2026-01-01T00:00:00.004Z", "type": "turn_context", "payload": {"turn_id": id}})
            .to_string()
    };
    let thread = "01a1fcfa-9c9f-79e0-9be9-d1a03bab7699";
    let text = [
        meta(thread, Some("parent"), "2026-01-01T00:00:00.000Z"),
        turn("01a1fcf0-9c9f-79e0-9be9-d1a03bab7699"),
        event(100, 100, "2026-01-01T00:00:00.002Z"),
        turn("01a1fcfa-bedc-7e00-8d1f-888d9889bd57"),
        event(104, 4, "2026-01-01T00:00:00.300Z"),
    ];
    assert_eq!(sum(Format::Codex, &text.join("\n")).total, 4);
}

#[test]
fn gemini_documents_and_sets_count_by_id() {
    let message = |id: &str, n: u64| {
        json!({"id": id, "type": "gemini", "timestamp": "2026-01-01T00:00:00Z",
        "tokens": {"input": n, "output": 1, "cached": 2, "thoughts": 3, "tool": 4, "total": n + 8}})
    };
    let set = json!({"$set": {"messages": [message("a", 10), message("b", 20)]}});
    let text = format!("{}\n{set}\n{}", message("a", 10), message("c", 30));
    let want = Totals { input: 66, output: 12, cache_read: 6, cache_creation: 0, total: 84, messages: 3 };
    assert_eq!(sum(Format::Gemini, &text), want);
    let document =
        json!({"sessionId": "s", "messages": [message("a", 10), message("b", 20), message("c", 30)]});
    let mut whole = Sum::new(Format::Gemini);
    whole.document(serde_json::to_string_pretty(&document).unwrap().as_bytes());
    assert_eq!(whole.totals(), want);
}

#[test]
fn demo_turns_are_known_by_session_and_place() {
    let usage = |id: u64| format!(r#"{{"type":"usage","input":3,"output":1,"id":{id}}}"#);
    let start = |session: &str| format!(r#"{{"type":"start","session":"{session}"}}"#);
    let said = r#"{"type":"user","text":"\"usage\"","usage":9,"input":9,"id":7}"#.to_owned();
    let run = [start("a"), said, usage(3), usage(4)].join("\n");
    let want = |messages| Totals {
        input: 3 * messages,
        output: messages,
        total: 4 * messages,
        messages,
        ..Totals::default()
    };
    assert_eq!(sum(Format::Demo, &run), want(2));
    assert_eq!(sum(Format::Demo, &format!("{run}\n{run}")), want(2), "a copy");
    assert_eq!(sum(Format::Demo, &format!("{run}\n{}\n{}", start("b"), usage(4))), want(3), "another run");
    // Without a session each line is one.
    assert_eq!(sum(Format::Demo, &format!("{}\n{}\n{}", usage(1), usage(1), usage(2))), want(2));
}

#[test]
fn heads_tell_session_directory_and_start() {
    for (format, path, _) in fixtures() {
        let bytes = std::fs::read(&path).unwrap();
        let head = head(format, &bytes);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let session = head.session.clone().unwrap_or_default();
        assert!(name.contains(session.get(..8).unwrap()), "{name}: {head:?}");
        assert_eq!(head.cwd.is_some(), format != Format::Gemini, "{name}");
        assert!(head.started.is_some() && head.parent.is_none(), "{name}: {head:?}");
        if format == Format::Gemini {
            assert_eq!(head.project, Some(gemini::project("/home/crew/fleet/a/proj")), "{name}");
        }
    }
}

#[test]
fn formats_are_told_by_name_folder_or_program() {
    let of = |name: &str, dir: Option<&str>, program: &str| Format::of(name, dir, &[program.to_owned()]);
    assert_eq!(of("claude", None, "x"), Some(Format::Claude));
    assert_eq!(of("mine", Some("{home}/.codex/sessions"), "x"), Some(Format::Codex));
    assert_eq!(of("mine", None, "/usr/bin/qwen"), Some(Format::Qwen));
    assert_eq!(of("shell", None, "bash"), None);
    let scripted = ["/opt/watchkeeper", "demo-agent", "--seed", "1"].map(str::to_owned);
    assert_eq!(Format::of("mine", None, &scripted), Some(Format::Demo));
    assert_eq!(Format::of("mine", None, &scripted[..1]), None);
    for format in Format::ALL {
        assert!(uncounted(format.name()).is_none());
    }
}

#[test]
fn a_folder_that_is_the_standard_moves_with_its_variable() {
    #[track_caller]
    fn check(format: Format, dir: Option<&str>, want: &str) {
        assert_eq!(format.below(dir), want);
    }
    check(Format::Claude, None, "projects/{cwd_dashed}");
    check(Format::Claude, Some("{home}/.claude/projects/{cwd_dashed}"), "projects/{cwd_dashed}");
    check(Format::Claude, Some("{home}/.claude2/projects"), "{home}/.claude2/projects");
    check(Format::Codex, Some("/data/sessions"), "/data/sessions");
}

#[test]
fn fixtures_render_as_lines() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (format, path, _) in fixtures() {
        let bytes = std::fs::read(&path).unwrap();
        for entry in lines(&bytes).flat_map(|line| entries(format, line)) {
            assert!(!entry.text.contains(['\n', '\x1b']), "{}", path.display());
            assert!(entry.at.is_some(), "{}: {entry:?}", path.display());
            *seen.entry(entry.role.word()).or_default() += 1;
        }
    }
    for role in ["user", "assistant", "thinking", "tool", "result", "error", "system"] {
        assert!(seen.contains_key(role), "{role} is missing: {seen:?}");
    }
}

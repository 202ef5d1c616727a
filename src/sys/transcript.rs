//! What agent CLIs write about themselves: their status file (a vote) and the newest transcript's growth.
//!
//! Deliberately not here: token counting. Everything is bounded; what is in doubt is None.

use super::clock::from_system;
use super::{files, proc};
use crate::base::text::dashed;
use crate::base::time::Wall;
use crate::model::seen::{TranscriptSeen, Vote};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const STATUS_MAX: u64 = 64 << 10;
/// How much of a transcript's end is read to see whether a tool call is open.
const TAIL_MAX: u64 = 256 << 10;
/// Most entries of a transcript folder looked at.
const ENTRIES_MAX: usize = 2000;
/// Codex keeps its files three folders down (year, month, day).
const DEPTH_MAX: usize = 4;
/// The start of a process is known to a clock tick, the boot's time to a second.
const START_SLACK_S: i64 = 2;

/// The CLI's vote: its status file, written by this very process.
/// Source of the format: Claude Code 2.1 `~/.claude/sessions/<pid>.json`.
pub(super) fn vote(status_file: &str, pid: i32) -> Option<Vote> {
    let path = PathBuf::from(fill(status_file, pid, ""));
    let bytes = files::read_bounded(&path, STATUS_MAX).ok().flatten()?;
    let changed = from_system(std::fs::symlink_metadata(&path).ok()?.modified().ok()?);
    let start = proc::start(pid);
    if start.and_then(start_wall).is_some_and(|born| changed < born) {
        return None; // left by an earlier process with the same pid
    }
    parse_vote(&bytes, pid, start)
}

fn parse_vote(bytes: &[u8], pid: i32, start: Option<u64>) -> Option<Vote> {
    let json: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    if json.get("pid").is_some_and(|p| p.as_i64() != Some(i64::from(pid))) {
        return None;
    }
    // Start time as in /proc/<pid>/stat, written as text.
    let written = json.get("procStart").and_then(|s| s.as_str()?.parse::<u64>().ok());
    if let (Some(written), Some(start)) = (written, start)
        && written != start
    {
        return None;
    }
    match json.get("status")?.as_str()? {
        "busy" => Some(Vote::Busy),
        "idle" => Some(Vote::Idle),
        "waiting" => Some(Vote::Waiting),
        _ => None,
    }
}

/// When a process was started, on the wall clock, a little early.
pub(super) fn start_wall(ticks: u64) -> Option<Wall> {
    let since_boot = i64::try_from(ticks / proc::ticks_per_s()).ok()?;
    Some(Wall(proc::boot_time_s()?.checked_add(since_boot)?.checked_sub(START_SLACK_S)?.checked_mul(1000)?))
}

/// The slots of a backend's path: `{home}` (of the process), `{pid}`, `{cwd}`, `{cwd_dashed}`.
pub(super) fn fill(template: &str, pid: i32, cwd: &str) -> String {
    let mut path = template.replace("{pid}", &pid.to_string());
    if path.contains("{home}") {
        let own = || std::env::var("HOME").unwrap_or_default();
        path = path.replace("{home}", &proc::environ(pid, "HOME").unwrap_or_else(own));
    }
    path.replace("{cwd_dashed}", &dashed(cwd)).replace("{cwd}", cwd)
}

/// The newest transcript, without a look into it.
pub(super) fn newest(dir: &str, suffix: &str, pid: i32, cwd: &str) -> Option<TranscriptSeen> {
    let dir = fill(dir, pid, cwd);
    let mut newest: Option<(std::time::SystemTime, PathBuf, u64)> = None;
    let mut count = 0;
    // Names in falling order: where folders are dates, the newest come first and the bound does no harm.
    let walk = walkdir::WalkDir::new(&dir).max_depth(DEPTH_MAX).follow_links(false).follow_root_links(true);
    for entry in walk.sort_by(|a, b| b.file_name().cmp(a.file_name())) {
        let Ok(entry) = entry else { continue };
        count += 1;
        if count > ENTRIES_MAX {
            if entry.depth() == 1 {
                return None; // a flat folder: the newest may be among those not seen
            }
            break;
        }
        if !entry.file_type().is_file() || !entry.file_name().to_string_lossy().ends_with(suffix) {
            continue;
        }
        let Some((changed, bytes)) = entry.metadata().ok().and_then(|m| Some((m.modified().ok()?, m.len())))
        else {
            continue;
        };
        if newest.as_ref().is_none_or(|(best, _, _)| changed > *best) {
            newest = Some((changed, entry.into_path(), bytes));
        }
    }
    let (changed, path, bytes) = newest?;
    let path = path.to_str()?.to_owned();
    Some(TranscriptSeen { path, bytes, changed_at: from_system(changed), open_tool_call: false })
}

/// Whether the transcript's last records hold a tool call without a result.
pub(super) fn has_open_tool_call(path: &str) -> bool {
    tail(Path::new(path)).is_some_and(|tail| open_tool_call(&tail))
}

fn tail(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    let from = length.saturating_sub(TAIL_MAX);
    let mut bytes = vec![0; usize::try_from(length - from).ok()?];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) | Err(_) => break,
            Ok(n) => filled += n,
        }
    }
    bytes.truncate(filled);
    if from > 0 {
        // The first line is cut.
        let start = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| n + 1);
        bytes.drain(..start);
    }
    Some(bytes)
}

/// Claude's records: the last message's `tool_use` blocks without a `tool_result` after them. Records of sub-agents
/// (`isSidechain`) don't count; other CLIs' records have no such blocks.
fn open_tool_call(tail: &[u8]) -> bool {
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut message = String::new();
    for line in tail.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let Ok(record) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
        let side = record.get("isSidechain").and_then(serde_json::Value::as_bool) == Some(true);
        let kind = record.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
        if side || !matches!(kind, "assistant" | "user") {
            continue;
        }
        let content = record.pointer("/message/content");
        let blocks = |kind: &str, key: &str| -> Vec<String> {
            let all = content.and_then(serde_json::Value::as_array).into_iter().flatten();
            all.filter(|b| b.get("type").and_then(serde_json::Value::as_str) == Some(kind))
                .filter_map(|b| b.get(key)?.as_str().map(str::to_owned))
                .collect()
        };
        if kind == "assistant" {
            let id = record.pointer("/message/id").and_then(serde_json::Value::as_str).unwrap_or_default();
            // One record per block: records of one message have its id. A new message means the turn went on.
            if id != message {
                id.clone_into(&mut message);
                open.clear();
            }
            open.extend(blocks("tool_use", "id"));
            continue;
        }
        let results = blocks("tool_result", "tool_use_id");
        if results.is_empty() {
            open.clear(); // a prompt or an interruption
        }
        for id in results {
            open.remove(&id);
        }
    }
    !open.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_counts_only_for_the_process_that_wrote_it() {
        #[track_caller]
        fn check(json: &str, start: Option<u64>, want: Option<Vote>) {
            assert_eq!(parse_vote(json.as_bytes(), 77, start), want, "{json}");
        }
        check(r#"{"pid":77,"procStart":"260050","status":"idle"}"#, Some(260_050), Some(Vote::Idle));
        check(r#"{"pid":77,"procStart":"260050","status":"idle"}"#, Some(260_051), None);
        check(r#"{"pid":77,"status":"waiting","waitingFor":"dialog open"}"#, Some(1), Some(Vote::Waiting));
        check(r#"{"pid":78,"status":"busy"}"#, None, None);
        check(r#"{"status":"busy"}"#, None, Some(Vote::Busy));
        check(r#"{"pid":77,"status":"dancing"}"#, None, None);
        check(r#"{"pid":77,"status":["busy"]}"#, None, None);
        check("[", None, None);
    }

    #[test]
    fn a_status_file_older_than_the_process_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::process::id().cast_signed();
        let template = format!("{}/{{pid}}.json", dir.path().display());
        let path = dir.path().join(format!("{own}.json"));
        assert_eq!(vote(&template, own), None);
        std::fs::write(&path, r#"{"status":"busy"}"#).unwrap();
        assert_eq!(vote(&template, own), Some(Vote::Busy));
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(1_000_000);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(vote(&template, own), None);
        std::fs::write(&path, vec![b' '; 70 << 10]).unwrap();
        assert_eq!(vote(&template, own), None, "too large");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert_eq!(vote(&template, own), None);
    }

    const CALL: &str =
        r#"{"type":"assistant","message":{"id":"m1","content":[{"type":"tool_use","id":"t1"}]}}"#;
    const CALL_2: &str =
        r#"{"type":"assistant","message":{"id":"m1","content":[{"type":"tool_use","id":"t2"}]}}"#;
    const RESULT: &str =
        r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1"}]}}"#;
    const RESULT_2: &str =
        r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t2"}]}}"#;
    const TEXT: &str = r#"{"type":"assistant","message":{"id":"m2","content":[{"type":"text","text":"x"}]}}"#;
    const PROMPT: &str = r#"{"type":"user","message":{"content":"go on"}}"#;
    const SIDE: &str = r#"{"type":"assistant","isSidechain":true,"message":{"id":"s","content":[{"type":"tool_use","id":"s1"}]}}"#;
    const SYSTEM: &str = r#"{"type":"system","subtype":"turn_duration"}"#;

    #[test]
    fn a_tool_call_is_open_until_its_result() {
        #[track_caller]
        fn check(records: &[&str], want: bool) {
            assert_eq!(open_tool_call(records.join("\n").as_bytes()), want, "{records:#?}");
        }
        check(&[], false);
        check(&[CALL], true);
        check(&[CALL, RESULT], false);
        check(&[CALL, CALL_2, RESULT], true);
        check(&[CALL, CALL_2, RESULT, RESULT_2], false);
        check(&[CALL, SYSTEM, SIDE], true);
        check(&[CALL, RESULT, SIDE], false);
        check(&[CALL, TEXT], false);
        check(&[CALL, PROMPT], false);
        check(&[RESULT, CALL, "{torn"], true);
        check(&["\u{0}", "null", "[]", r#"{"type":7}"#], false);
    }

    #[test]
    fn the_newest_file_is_found_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("-w-a-b/2026/11");
        std::fs::create_dir_all(&folder).unwrap();
        let template = format!("{}/{{cwd_dashed}}", dir.path().display());
        let own = std::process::id().cast_signed();
        let look = || newest(&template, ".jsonl", own, "/w/a.b");
        assert_eq!(look(), None);
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
        for (name, text, age) in [("a.jsonl", "old", 50), ("b.jsonl", "newer", 0), ("c.txt", "other", 0)] {
            std::fs::write(folder.join(name), text).unwrap();
            let file = File::options().write(true).open(folder.join(name)).unwrap();
            file.set_modified(long_ago - std::time::Duration::from_secs(age)).unwrap();
        }
        let target = dir.path().join("outside.jsonl");
        std::fs::write(&target, "x").unwrap();
        std::os::unix::fs::symlink(&target, folder.join("z.jsonl")).unwrap();
        let seen = look().unwrap();
        assert_eq!(seen.path, folder.join("b.jsonl").to_str().unwrap());
        assert_eq!((seen.bytes, seen.changed_at), (5, from_system(long_ago)));
        assert_eq!(newest("/no/such", "", own, "/"), None);
        assert_eq!(dashed("/w/a_b c.ä/😀"), "-w-a-b-c-----");
    }

    #[test]
    fn only_the_end_of_a_long_transcript_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.jsonl");
        let filler = format!("{{\"type\":\"x\",\"pad\":\"{}\"}}\n", "p".repeat(1000));
        std::fs::write(&path, format!("{CALL}\n{}", filler.repeat(1000))).unwrap();
        assert!(!has_open_tool_call(path.to_str().unwrap()), "out of reach");
        std::fs::write(&path, format!("{}{CALL}\n{}", filler.repeat(1000), filler.repeat(10))).unwrap();
        assert!(has_open_tool_call(path.to_str().unwrap()));
        assert!(!has_open_tool_call("/no/such"));
    }
}

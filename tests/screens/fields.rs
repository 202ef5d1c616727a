//! What a reading says beside the state.

use crate::support::{SAMPLES, Sample, look, read_as};
use std::collections::BTreeMap;
use watchkeeper::model::seen::ScreenState;

fn sample(path: &str) -> &'static Sample {
    SAMPLES.iter().find(|sample| sample.path == format!("{path}.txt")).unwrap()
}

/// Series of looks at one screen, one second apart: `name-1`, `name-2`, …
fn series(name: &str) -> BTreeMap<String, Vec<&'static Sample>> {
    let mut series: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
    for sample in SAMPLES.iter().filter(|sample| sample.path.contains(name)) {
        let stem = sample.path.trim_end_matches(".txt");
        let (stem, _) = stem.rsplit_once('-').unwrap();
        series.entry(stem.to_owned()).or_default().push(sample);
    }
    series
}

#[test]
fn a_hung_model_changes_nothing_but_its_spinner() {
    for name in ["/busy-hang", "/busy-stall"] {
        for (stem, samples) in series(name) {
            for form in [0, 1] {
                let contents: Vec<String> = samples.iter().map(|s| look(s, &s.forms[form]).content).collect();
                assert!(contents.windows(2).all(|pair| pair[0] == pair[1]), "{stem}: {contents:?}");
            }
        }
    }
}

#[test]
fn streamed_text_changes_the_content() {
    for (stem, samples) in series("/busy-text") {
        // In these looks only the progress bar moved: the text came later.
        if stem.starts_with("opencode/") {
            continue;
        }
        let contents: Vec<String> = samples.iter().map(|s| look(s, &s.forms[0]).content).collect();
        assert!(contents.windows(2).all(|pair| pair[0] != pair[1]), "{stem}: {contents:?}");
    }
}

#[test]
fn both_forms_of_a_capture_say_the_same() {
    for sample in SAMPLES.iter() {
        let [mut text, mut styled] = sample.forms.clone().map(|screen| look(sample, &screen));
        // Taken milliseconds apart: what moves may have moved.
        for reading in [&mut text, &mut styled] {
            reading.content.clear();
            reading.last_line.clear();
            reading.evidence.truncate(1);
            reading.evidence[0].text.clear();
        }
        assert_eq!(text, styled, "{}", sample.path);
    }
}

#[test]
fn the_composer_is_read_without_its_placeholder() {
    for sample in SAMPLES.iter() {
        for screen in &sample.forms {
            let reading = look(sample, screen);
            match sample.state.as_str() {
                "idle" | "error" => assert_eq!(reading.composer.as_deref(), Some(""), "{}", sample.path),
                "draft" => assert!(reading.composer.is_some_and(|text| !text.is_empty()), "{}", sample.path),
                "blocked" | "onboarding" => assert_eq!(reading.composer, None, "{}", sample.path),
                _ => {}
            }
        }
    }
    let typed = "hello this is typed but not submitted";
    for (path, want) in [
        ("claude/typed-200x50", typed),
        ("claude/limit-interrupted-200x50", "FAIL 401FAIL 500LIMIT"),
        ("codex/typed-80x24", typed),
        ("codex/typed-multiline-200x50", "l1\nl2\nl3 multi"),
        ("codex/typed-multiline-C-u-200x50", "l1\nl2"),
        ("opencode/typed-200x50", typed),
        ("gemini/typed-80x24", typed),
        ("qwen/typed-200x50", typed),
        ("aider/typed-200x50", typed),
    ] {
        for screen in &sample(path).forms {
            assert_eq!(look(sample(path), screen).composer.as_deref(), Some(want), "{path}");
        }
    }
}

#[test]
fn a_dim_suggestion_is_no_draft_and_what_is_typed_before_it_is() {
    let rule = "─".repeat(80);
    let screen = |text: &str| format!("● y\n\n{rule}\n❯\u{a0}{text}\n{rule}\n  ? for shortcuts\n");
    let composer = |text: &str| read_as("claude", &screen(text), "✳ x").composer.unwrap();
    assert_eq!(composer("\x1b[7mT\x1b[0m\x1b[2mry \"fix the tests\"\x1b[0m"), "");
    assert_eq!(composer("\x1b[2mrun the tests again\x1b[0m"), "");
    assert_eq!(composer("fix\x1b[2m the tests\x1b[0m"), "fix");
    assert_eq!(
        composer("one\n  two\n\n  [Pasted text #1 +12 lines]\x1b[7m \x1b[0m"),
        "one\ntwo\n\n[Pasted text #1 +12 lines]"
    );
    assert_eq!(composer("Try \"x\""), "");
}

#[test]
fn limits_carry_their_line() {
    for sample in SAMPLES.iter().filter(|sample| sample.state == "limited" && !sample.note.is_empty()) {
        for screen in &sample.forms {
            let until = look(sample, screen).until.unwrap_or_default();
            assert!(until.contains(&sample.note), "{}: {until}", sample.path);
            assert!(until.starts_with("You"), "{until}");
        }
    }
}

#[test]
fn dialogs_carry_their_text_and_two_looks_agree() {
    for (stem, samples) in series("/permission-80x24").into_iter().chain(series("/permission-200x50")) {
        let dialogs: Vec<_> =
            samples.iter().filter(|s| s.state == "blocked").map(|s| look(s, &s.forms[1]).dialog).collect();
        assert!(dialogs.windows(2).all(|pair| pair[0] == pair[1]), "{stem}: {dialogs:?}");
    }
    for (path, want) in [
        (
            "claude/permission-80x24-1",
            "Bash command\npython3 -c 'import time; time.sleep(7); print(1234)'\nRun a command\nThis command requires approval\n\
             Do you want to proceed?\n1. Yes\n2. Yes, and don’t ask again for: python3 *\n3. No\nEsc to cancel · Tab to amend · ctrl+e to explain",
        ),
        (
            "qwen/hazard-2-before-200x50",
            "? Shell touch /home/crew/fleet/a/proj/hz-qwen-2.flag (Run a command) ←\ntouch /home/crew/fleet/a/proj/hz-qwen-2.flag\n\
             Allow execution of: 'touch'?\n1. Yes, allow once\n2. Always allow run 'touch *' commands in this project\n\
             3. Always allow run 'touch *' commands for this user\n4. No, suggest changes (esc)\nWaiting for user confirmation...",
        ),
        (
            "aider/hazard-1-after-200x50",
            "touch /home/crew/fleet/a/proj/hz-aider-1.flag\nRun shell command? (Y)es/(N)o/(D)on't ask again [Yes]:",
        ),
    ] {
        assert_eq!(look(sample(path), &sample(path).forms[0]).dialog.as_deref(), Some(want), "{path}");
    }
    // What is typed into it does not make it another one.
    let dialog = |path| look(sample(path), &sample(path).forms[0]).dialog;
    assert_eq!(dialog("aider/hazard-1-after-200x50"), dialog("aider/hazard-1-before-200x50"));
}

#[test]
fn known_onboarding_dialogs_carry_their_answer() {
    for (path, want) in [
        ("claude/onboard-1-200x50", &["Enter"][..]),
        ("codex/start-12s-200x50", &["Enter"]),
        ("gemini/start-12s-200x50", &["Enter"]),
        ("gemini/onboard-2-200x50", &["Enter"]),
        ("aider/start-12s-200x50", &["n", "Enter"]),
    ] {
        let keys = look(sample(path), &sample(path).forms[0]).answer_keys.unwrap();
        assert_eq!(keys, want, "{path}");
    }
    let rule = "─".repeat(80);
    let key = format!(
        "{rule}\n Detected a custom API key in your environment\n\n ANTHROPIC_API_KEY: sk-...test\n\n Do you want to use this API key?\n\n   1. Yes\n ❯ 2. No (recommended)\n\n Enter to confirm · Esc to cancel\n"
    );
    assert_eq!(read_as("claude", &key, "").answer_keys, Some(vec!["Up".to_owned(), "Enter".to_owned()]));
    let bypass = format!(
        "{rule}\n WARNING: Claude Code running in Bypass Permissions mode\n\n ❯ 1. No, exit\n   2. Yes, I accept\n\n Enter to confirm · Esc to exit\n"
    );
    assert_eq!(read_as("claude", &bypass, "").answer_keys, Some(vec!["2".to_owned(), "Enter".to_owned()]));
}

#[test]
fn the_last_line_is_the_agents_own() {
    for (path, want) in [
        ("claude/done-80x24", "some more filler text SLOW over."),
        ("claude/busy-tool-200x50-1", "Running…"),
        ("codex/done-80x24", "some more filler text SLOW over."),
        ("codex/done-tool-80x24", "TOOL finished, all done."),
        ("opencode/done-80x24", "some more filler text SLOW over."),
        ("opencode/done-200x50", "some more filler text SLOW over."),
        ("gemini/done-80x24", "some more filler text SLOW over."),
        ("qwen/done-tool-80x24", "TOOL finished, all done."),
        ("aider/done-80x24", "SLOW over."),
    ] {
        assert_eq!(look(sample(path), &sample(path).forms[0]).last_line, want, "{path}");
    }
    let rule = "─".repeat(80);
    let wait = "WAITING-UNTIL: 2026-11-21T10:00:00Z";
    for screen in [
        format!("❯ x\n\n● {wait}\n\n✻ Baked for 3s\n\n{rule}\n❯\u{a0}\n{rule}\n  ? for shortcuts\n"),
        format!("❯ x\n\n● I wait.\n\n  {wait}\n\n{rule}\n❯\u{a0}\n{rule}\n  ? for shortcuts\n"),
    ] {
        assert_eq!(read_as("claude", &screen, "").last_line, wait);
    }
}

#[test]
fn the_first_evidence_names_what_decided() {
    for (path, signal, line) in [
        ("claude/busy-text-80x24-1", "busy.footer", 23),
        ("codex/busy-text-80x24-1", "title.busy", 0),
        ("claude/permission-80x24-1", "dialog.questions", 18),
        ("claude/ctx-80x24", "error.context", 16),
        ("gemini/limit-80x24", "limit menu: usage limit", 14),
        ("claude/oauth-limit-escaped-200x50", "limit", 21),
        ("claude/exited-80x24", "pane_dead", 0),
    ] {
        let sample = sample(path);
        let reading = look(sample, &sample.forms[1]);
        assert_eq!((reading.evidence[0].signal.as_str(), reading.evidence[0].line), (signal, line), "{path}");
        assert!(reading.evidence.iter().all(|found| found.text.chars().count() <= 200));
    }
}

/// gemini draws this in the dialogs' place for a second or two, below what is left of the one before; nobody need
/// answer it.
#[test]
fn gemini_that_signs_in_is_starting() {
    let screen = "\
╭──────────────────────────────────────────────────────────────────╮
│ Do you trust the files in this folder?                           │
│                                                                  │
│ ● 1. Trust folder (proj)                                         │
│   2. Trust parent folder (fleet)                                 │
│   3. Don't trust                                                 │
╰──────────────────────────────────────────────────────────────────╯
 Gemini CLI is restarting to apply the trust changes...
╭──────────────────────────────────────────────────────────────────╮
│                                                                  │
│ ⠏ Waiting for authentication... (Press Esc or Ctrl+C to cancel)  │
│                                                                  │
╰──────────────────────────────────────────────────────────────────╯
";
    let reading = read_as("gemini", screen, "◇  Ready (proj)");
    assert_eq!((reading.state, reading.dialog), (ScreenState::Starting, None));
}

//! The same states in other words, sizes and places than in the captures.

use crate::support::{BACKENDS, SAMPLES, Sample, is_right, label, look, look_as, read_as, trimmed};
use watchkeeper::detect::screen::{Look, read};
use watchkeeper::model::seen::Vote;

#[test]
fn blank_rows_at_the_end_do_not_matter() {
    for sample in SAMPLES.iter() {
        for screen in &sample.forms {
            let whole = look(sample, screen);
            assert_eq!(look(sample, &trimmed(screen)), whole, "{}", sample.path);
            assert_eq!(look(sample, &format!("{screen}\n\n\n   \n\x1b[0m \n")), whole, "{}", sample.path);
        }
    }
}

/// The capture as another terminal would show it: frames as wide as the terminal, text wrapped, the bottom kept.
fn recut(screen: &str, columns: usize, rows: usize, indent: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    for line in trimmed(screen).lines() {
        let length = line.chars().count();
        let body = line.trim();
        let frame = body.chars().next().is_some_and(|c| "─▄▀".contains(c))
            && body.chars().all(|c| body.starts_with(c));
        if length <= columns {
            out.push(line.to_owned());
        } else if frame {
            out.push(line.chars().take(columns).collect());
        } else if let Some((left, right)) = line.split_once("        ") {
            // A gap that the layout filled.
            let (left, right) = (left.trim_end(), right.trim_start());
            let gap = columns.saturating_sub(left.chars().count() + right.chars().count()).max(1);
            out.push(format!("{left}{}{right}", " ".repeat(gap)).chars().take(columns).collect());
        } else if body.starts_with(['╭', '╰', '│', '┃', '╹']) {
            let mut kept: String = line.chars().take(columns - 1).collect();
            kept.push(line.chars().last().unwrap_or(' '));
            out.push(kept);
        } else {
            let mut rest: Vec<char> = line.chars().collect();
            while rest.len() > columns {
                out.push(rest.drain(..columns).collect());
                rest.splice(..0, indent.chars());
            }
            out.push(rest.into_iter().collect());
        }
    }
    out.drain(..out.len().saturating_sub(rows));
    out.join("\n")
}

#[test]
fn other_sizes_are_read_alike() {
    for (columns, rows) in [(120, 40), (100, 30), (150, 60), (80, 24)] {
        for sample in SAMPLES.iter().filter(|sample| sample.forms[0].lines().count() > 40 && !sample.dead) {
            // Its side panel does not come with the text; the start of the plain CLI scrolls away.
            if sample.cli == "opencode" || sample.state == "starting" {
                continue;
            }
            let indent = match sample.cli.as_str() {
                "aider" => "",
                "codex" => "  ",
                _ => "     ",
            };
            let screen = recut(&sample.forms[0], columns, rows, indent);
            let reading = look(sample, &screen);
            assert!(is_right(sample, &reading), "{} {columns}x{rows}\n{screen}\n{reading:#?}", sample.path);
        }
    }
}

#[test]
fn dialogs_limits_and_errors_are_believed_whatever_the_title_and_the_status_file_say() {
    let titles =
        ["✳ Claude Code", "⠂ Claude Code", "⠋ proj", "proj", "◇  Ready (proj)", "✦  Working… (proj)", ""];
    let states = ["blocked", "onboarding", "limited", "error"];
    for sample in SAMPLES.iter().filter(|sample| states.contains(&sample.state.as_str())) {
        for title in titles {
            for vote in [None, Some(Vote::Busy), Some(Vote::Idle), Some(Vote::Waiting)] {
                for screen in &sample.forms {
                    let look = Look { screen, title, dead: false, command: "node", vote };
                    let reading = read(&BACKENDS[sample.cli.as_str()], &look);
                    assert!(is_right(sample, &reading), "{} {title:?} {vote:?} {reading:#?}", sample.path);
                }
            }
        }
    }
}

#[test]
fn the_status_file_votes_on_busy_against_idle() {
    let with = |sample: &Sample, vote| {
        let look =
            Look { screen: &sample.forms[1], title: "", dead: false, command: "claude", vote: Some(vote) };
        label(&read(&BACKENDS["claude"], &look))
    };
    for sample in SAMPLES.iter().filter(|sample| sample.cli == "claude") {
        match sample.state.as_str() {
            "idle" | "draft" => {
                assert_eq!(with(sample, Vote::Busy), "busy", "{}", sample.path);
                assert_eq!(with(sample, Vote::Idle), sample.state, "{}", sample.path);
            }
            // What stands below the composer is newer than the file.
            "busy" | "retrying" => assert_eq!(with(sample, Vote::Idle), sample.state, "{}", sample.path),
            _ => {}
        }
    }
}

#[test]
fn without_a_title_nothing_that_works_is_read_as_resting() {
    for sample in SAMPLES.iter() {
        let reading = look_as(sample, &sample.forms[0], "");
        assert!(is_right(sample, &reading), "{} {reading:#?}", sample.path);
    }
}

/// A claude screen around this end of a turn.
fn claude(end: &str, footer: &str) -> String {
    let rule = "─".repeat(120);
    format!("❯ do it\n\n● Working on it.\n\n{end}\n\n{rule}\n❯\u{a0}\n{rule}\n{footer}\n")
}

#[track_caller]
fn check(cli: &str, screen: &str, want: &str) {
    let reading = read_as(cli, screen, "");
    let substate = reading.substate.map_or(String::new(), |s| format!(" {s:?}").to_lowercase());
    let state = format!("{:?}", reading.state).to_lowercase();
    assert_eq!(format!("{state}{substate}"), want, "\n{screen}\n{reading:#?}");
}

#[test]
fn claude_in_other_words() {
    let idle = "  ? for shortcuts";
    for glyph in ["✶", "✢", "✽", "✻", "·", "*"] {
        check(
            "claude",
            &claude(&format!("{glyph} Discombobulating… (2m 3s · ↑ 1.2k tokens · thinking)"), ""),
            "busy",
        );
        check("claude", &claude(&format!("{glyph} Discombobulated for 12m 3s"), idle), "idle");
    }
    check("claude", &claude("✻ Waiting for 2 background tasks to finish…", ""), "busy");
    check("claude", &claude("✽ Mulling… (5s)\n  ⎿  Tip: x\n  ⎿  ☐ one\n     ☐ two\n\n❯ queued", ""), "busy");
    check(
        "claude",
        &claude("✻ Rate limited · Retrying in 14s · attempt 9/10", "  esc to interrupt"),
        "busy retrying",
    );
    check("claude", &claude("✻ Cooked for 3s", "  ctrl+c to interrupt · x"), "busy");
    for line in [
        "You've hit your weekly limit · resets Feb 4 at 10am (Europe/Berlin)",
        "You’ve hit your Opus limit · resets tomorrow at 10am",
        "5-hour limit reached ∙ resets 3pm",
        "Weekly limit reached ∙ resets Nov 24 at 5pm",
        "Claude AI usage limit reached|1763715600",
        "You're out of extra usage · resets 11:30am (UTC)",
    ] {
        let screen = claude(
            &format!("❯ go on\n  ⎿  {line}\n     /upgrade to increase your usage limit.\n\n✻ Baked for 0s"),
            idle,
        );
        check("claude", &screen, "limited");
        let until = read_as("claude", &screen, "").until.unwrap();
        assert!(until.starts_with(line), "{until}");
    }
    for (line, want) in [
        ("API Error: 529 Overloaded. Try again.", "error server"),
        ("API Error: Server is temporarily limiting requests (not your usage limit)", "error server"),
        ("API Error: Connection error.", "error network"),
        ("API Error: 401 {\"type\":\"authentication_error\"}", "error auth"),
        ("OAuth token has expired · Please run /login", "error auth"),
        ("Prompt is too long", "error context"),
        ("API Error: 400 Your credit balance is too low to access the API", "error billing"),
    ] {
        check("claude", &claude(&format!("● {line}\n\n✻ Baked for 0s"), idle), want);
        // The same words as what a tool printed.
        check("claude", &claude(&format!("● Bash(cat log)\n  ⎿  {line}"), idle), "idle");
        // The same words later in what the agent says.
        check("claude", &claude(&format!("● The log says:\n\n  {line}\n\n✻ Baked for 0s"), idle), "idle");
    }
}

#[test]
fn an_error_in_colours_is_told_from_a_quotation_without() {
    let rule = "─".repeat(80);
    let screen = |colour: &str| {
        format!(
            "❯ x\n\n\x1b[38;5;231m●\x1b[39m {colour}API Error: 500 oops\x1b[39m\n\n{rule}\n❯\u{a0}\n{rule}\n  ? for shortcuts"
        )
    };
    check("claude", &screen("\x1b[38;5;220m"), "error server");
    check("claude", &screen(""), "idle");
}

/// A menu of `options` with the cursor on the `chosen` one.
fn menu(cursor: &str, indent: &str, options: &[&str], chosen: usize) -> String {
    let row = |(i, option): (usize, &&str)| {
        let mark = if i == chosen { cursor } else { " " };
        format!("{indent}{mark} {}. {option}", i + 1)
    };
    options.iter().enumerate().map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn menus_of_any_length_and_words_block() {
    let options = ["Yes", "Yes, and don't ask again for: rm *", "Perhaps", "No"];
    let rule = "─".repeat(80);
    for count in 2..=4 {
        for chosen in 0..count {
            let options = &options[..count];
            let claude = menu("❯", " ", options, chosen);
            check(
                "claude",
                &format!(
                    "❯ x\n\n● y\n\n{rule}\n Bash command\n\n   rm -rf build\n\n Do you want to proceed?\n{claude}\n\n Esc to cancel · Tab to amend\n"
                ),
                "blocked",
            );
            let codex = menu("›", "", options, chosen);
            check(
                "codex",
                &format!(
                    "› x\n\n• y\n\n  Allow the tool to write?\n\n{codex}\n\n  Press enter to confirm or esc to cancel"
                ),
                "blocked",
            );
            let boxed = |cursor: &str| {
                let rows: Vec<String> =
                    menu(cursor, "", options, chosen).lines().map(|row| format!("│ {row:<70} │")).collect();
                format!(
                    "✦ y\n\n╭{0}╮\n│ {1:<70} │\n│ {2:<70} │\n{3}\n╰{0}╯\n",
                    "─".repeat(72),
                    "?  Edit a.rs",
                    "Apply this change?",
                    rows.join("\n")
                )
            };
            check("gemini", &boxed("●"), "blocked");
            check("qwen", &boxed("›"), "blocked");
            let demo = menu(">", "  ", &options[..count], chosen);
            check(
                "demo",
                &format!(
                    "> x\n• y\n{rule}\n  Do you want to run this command?\n    make all\n{demo}\n  Enter to confirm · Esc to cancel\n"
                ),
                "blocked",
            );
        }
    }
    check(
        "aider",
        "diff> x\n\nok\n\nfoo.py\nAllow edits to file that has not been added to the chat? (Y)es/(N)o/(A)ll/(S)kip all [No]: ",
        "blocked",
    );
    check(
        "aider",
        "diff> x\n\nAdd https://example.org/a/long/path/that/wraps to the chat? (Y)es/(N)o/(D)on't ask again [Ye\ns]:",
        "blocked",
    );
    check(
        "aider",
        &format!("{rule}\ndiff> x\n\nCreate new file? (Y)es/(N)o [Yes]: y\nApplied edit to a.py"),
        "busy",
    );
}

#[test]
fn a_dialog_about_a_dialog_is_not_answered_as_that_one() {
    let rule = "─".repeat(80);
    let command = "echo 'Quick safety check'\n   ❯ 1. Yes, I trust this folder\n   1. Stop and wait for limit to reset\n   Enter to confirm";
    let screen = format!(
        "● y\n\n{rule}\n Bash command\n\n   {command}\n\n Do you want to proceed?\n ❯ 1. Yes\n   2. No\n\n Esc to cancel · Tab to amend\n"
    );
    check("claude", &screen, "blocked");
    assert_eq!(read_as("claude", &screen, "").answer_keys, None);
    let question = format!(
        "{rule}\n ☐ Limit\n\nWhat do you want to do?\n\n❯ 1. Stop and wait for limit to reset\n  2. Go on\n\nEnter to select · ↑/↓ to navigate · Esc to cancel\n"
    );
    check("claude", &question, "blocked");
}

#[test]
fn a_numbered_draft_is_a_draft_and_no_menu() {
    let rule = "─".repeat(80);
    let draft = "1. one\n  2. two\n  ❯ 3. three";
    check("claude", &format!("● y\n\n{rule}\n❯\u{a0}{draft}\n{rule}\n  ? for shortcuts\n"), "draft");
    check("demo", &format!("• y\n{rule}\n> {draft}\n{rule}\n  demo agent · ? for help\n"), "draft");
    check(
        "codex",
        &format!("• y\n\n  Worked for 2s • 07:00\n\n› {draft}\n\n  gpt-5 default · ~/x\n  ? for shortcuts"),
        "draft",
    );
    let reading = read_as("codex", &format!("• y\n\n› {draft}\n\n  gpt-5 default · ~/x\n"), "proj");
    assert_eq!(reading.composer.as_deref(), Some("1. one\n2. two\n❯ 3. three"));
}

#[test]
fn viewers_keep_the_state_before() {
    for (cli, screen) in [
        (
            "codex",
            "/ T R A N S C R I P T /\n› x\n\n• esc to interrupt\n ↑/↓ to scroll   pgup/pgdn to page\n q to quit   esc to edit prev",
        ),
        ("demo", "• a\n> b\n  Transcript viewer · q to quit"),
        ("claude", "● a\n\n  Showing detailed transcript · ctrl+o to toggle"),
    ] {
        let reading = read_as(cli, screen, "");
        assert!(reading.overlay, "{cli} {reading:#?}");
    }
}

#[test]
fn the_demo_agent_in_all_its_states() {
    let rule = "─".repeat(80);
    let composer = |above: &str, text: &str, footer: &str| {
        format!("> go\n• text\n{above}{rule}\n> {text}\n{rule}\n  demo agent · {footer}\n")
    };
    let (idle, busy) = ("? for help", "esc to interrupt");
    let empty = "\x1b[2mType a message\x1b[0m";
    check("demo", "demo agent starting…", "starting");
    check("demo", &composer("", empty, idle), "idle");
    check("demo", &composer("", "Type a message", idle), "idle");
    check("demo", &composer("", "a line\n  another", idle), "draft");
    check("demo", &composer("", "\x1b[1m[Pasted text #1 +12 lines]\x1b[0m", idle), "draft");
    for glyph in ["*", "+", "x", "·"] {
        check(
            "demo",
            &composer(&format!("{glyph} Working… (12s · esc to interrupt)\n"), empty, busy),
            "busy",
        );
        check(
            "demo",
            &composer(
                &format!("{glyph} Retrying in 3s · attempt 2/5 (12s · esc to interrupt)\n"),
                empty,
                busy,
            ),
            "busy retrying",
        );
    }
    let compacting = composer("* Compacting conversation… (12s · esc to interrupt)\n", empty, busy);
    check("demo", &compacting, "busy");
    assert!(read_as("demo", &compacting, "").compacting);
    check(
        "demo",
        &composer("! You've hit your usage limit · resets 10:27am (UTC)\n", empty, idle),
        "limited",
    );
    for (line, want) in [
        ("! API Error: 500 server error", "error server"),
        ("! API Error: 401 authentication failed", "error auth"),
        ("! Credit balance too low", "error billing"),
        ("! Context limit reached", "error context"),
        ("! Connection error", "error network"),
    ] {
        check("demo", &composer(&format!("{line}\n"), empty, idle), want);
        check("demo", &composer(&format!("{line}\n"), "draft", idle), "draft");
    }
    let dialog = |rows: &str| {
        format!(
            "! You've hit your usage limit · resets 10:27am (UTC)\n{rule}\n{rows}\n  Enter to confirm · Esc to cancel"
        )
    };
    let limit = dialog("  What do you want to do?\n  > 1. Stop and wait for limit to reset\n    2. Quit");
    check("demo", &limit, "limited menu");
    assert_eq!(
        read_as("demo", &limit, "").until.as_deref(),
        Some("You've hit your usage limit · resets 10:27am (UTC)")
    );
    let trust = dialog("  Do you trust this folder?\n  > 1. Yes, trust it\n    2. No, exit");
    check("demo", &trust, "onboarding");
    assert_eq!(read_as("demo", &trust, "").answer_keys, Some(vec!["Enter".to_owned()]));
    check("demo", &dialog("  Do you want to run this command?\n    make\n  > 1. Yes\n    2. No"), "blocked");
}

/// gemini draws its whole screen anew: a look in the middle of it misses the bottom, which asks nobody anything.
#[test]
fn a_half_drawn_screen_is_no_dialog_and_no_progress() {
    for sample in SAMPLES.iter().filter(|sample| sample.cli == "gemini" && sample.state == "busy") {
        for screen in &sample.forms {
            let whole = look(sample, screen);
            let all = trimmed(screen);
            let lines: Vec<&str> = all.lines().collect();
            let is_band = |line: &&str| line.contains("▄▄▄▄▄▄▄▄");
            let Some(top) = lines.iter().rposition(is_band).filter(|_| whole.composer.is_some()) else {
                continue;
            };
            for end in [top, top + 1, top + 2] {
                let reading = look(sample, &lines[..end].join("\n"));
                assert!(is_right(sample, &reading), "{} {end}\n{reading:#?}", sample.path);
                assert_eq!(reading.content, whole.content, "{} {end}", sample.path);
            }
        }
    }
}

/// gemini draws its composer seconds before the conversation that it resumes: a text submitted then begins another one.
#[test]
fn a_composer_below_nothing_is_not_ready() {
    let (band, end) = ("▄".repeat(60), "▀".repeat(60));
    let composer = format!(
        "{}\n{}\n Shift+Tab to accept edits\n{band}\n >   Type your message or @path/to/file\n{end}\n workspace (/directory)      sandbox      /model\n /home/a/w                   no sandbox   Auto\n",
        " ".repeat(60),
        "─".repeat(60)
    );
    let state = |above: &str| label(&read_as("gemini", &format!("{above}{composer}"), "◇  Ready (w)"));
    assert_eq!(state(""), "starting");
    assert_eq!(state("\n\n"), "starting");
    assert_eq!(state("   ▝▜▄     Gemini CLI v0.61.0\n\n"), "idle");
    assert_eq!(state(&format!("{band}\n > hello\n{end}\n✦ ACK: hello\n\n")), "idle");
    assert_eq!(state("  the end of a long answer\n\n"), "idle");
}

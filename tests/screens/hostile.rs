//! Words of the conversation never decide: every signal line of every CLI is quoted at agents, and noise never panics.

use crate::support::{BACKENDS, Random, SAMPLES, Sample, is_right, label, look, read_as, trimmed};
use std::sync::LazyLock;
use watchkeeper::detect::screen::{Look, read};

/// Every line that stands at the bottom of some capture: the signals of all CLIs in all states.
static QUOTES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut quotes: Vec<String> = Vec::new();
    for sample in SAMPLES.iter() {
        let lines: Vec<String> = trimmed(&sample.forms[0]).lines().map(str::to_owned).collect();
        quotes.extend(lines.into_iter().rev().take(16).filter(|line| !line.trim().is_empty()));
    }
    quotes.extend(
        [
            "Pane is dead (status 1, Sat Nov 21 07:31:09 2026)",
            "crew@box:~/fleet$ ",
            "✻ Compacting conversation… (12s · esc to interrupt)",
            "  Transcript viewer · q to quit",
            "grep -n 'esc to interrupt' src/detect/*.rs",
            "API Error: 529 Overloaded · Retrying in 3s · attempt 2/10",
        ]
        .map(str::to_owned),
    );
    quotes.sort();
    quotes.dedup();
    quotes
});

/// Screens tried above each capture.
const ROUNDS: usize = 3;

/// What parts one turn from the next where rows have no marks of their own.
fn end_of_turn(cli: &str) -> &'static str {
    match cli {
        "aider" => "\n",
        "opencode" => "\n\n     ▣  Build · Mock Model · 1.2s\n",
        _ => "",
    }
}

/// States that are told by what is not on the screen: text above them is no longer the same screen.
fn is_told_by_absence(sample: &Sample) -> bool {
    sample.state == "starting" || sample.dead || sample.path.starts_with("aider/start-12s")
}

#[test]
fn what_scrolled_by_above_does_not_count() {
    let mut random = Random(7);
    for sample in SAMPLES.iter().filter(|sample| !is_told_by_absence(sample)) {
        for (screen, reset) in sample.forms.iter().zip(["", "\x1b[0m"]) {
            let alone = look(sample, screen);
            for _ in 0..ROUNDS {
                let length = 1 + random.below(40);
                let mut text: Vec<&str> = (0..length).map(|_| random.pick(&QUOTES).as_str()).collect();
                // Scrollback holds whole screens as well.
                if random.below(3) == 0 {
                    text.push(random.pick(&SAMPLES).forms[0].trim_end());
                }
                let above = text.join("\n");
                let above = above + end_of_turn(&sample.cli);
                let together = look(sample, &format!("{above}{reset}\n{screen}"));
                let lines = above.matches('\n').count() + 1;
                let context = format!("{}\n{above}\n{together:#?}\nalone {alone:#?}", sample.path);
                assert_eq!(label(&together), label(&alone), "{context}");
                assert_eq!(together.substate, alone.substate, "{context}");
                assert_eq!(together.composer, alone.composer, "{context}");
                // A screen of its own has no scrollback: where its dialog begins only its own blank rows tell.
                if sample.cli != "codex" {
                    assert_eq!(together.dialog, alone.dialog, "{context}");
                    let (a, b) = (&together.evidence[0], &alone.evidence[0]);
                    assert_eq!(a.line, if b.line == 0 { 0 } else { b.line + lines }, "{context}");
                }
                assert_eq!(together.answer_keys, alone.answer_keys, "{context}");
            }
        }
    }
}

/// Where an agent's own text begins, by CLI.
fn indent(cli: &str) -> &'static str {
    match cli {
        "qwen" => "    ",
        "opencode" => "     ",
        _ => "  ",
    }
}

/// The last row of the agent's answer in a capture, where one is known.
fn answer_row(sample: &Sample, lines: &[&str]) -> Option<usize> {
    let mark = match sample.cli.as_str() {
        "claude" => "● ",
        "codex" => "• ACK",
        "gemini" => "✦ ",
        "qwen" => "  ✦ ",
        "opencode" => "     ACK",
        _ => return None,
    };
    let row = lines.iter().rposition(|line| line.starts_with(mark))?;
    // Only where nothing but the answer itself and the end of the turn follows.
    let rest = lines[row + 1..].iter().take_while(|line| !line.trim().is_empty()).count();
    Some(row + rest)
}

#[test]
fn what_the_agent_says_last_does_not_count() {
    let mut random = Random(11);
    let mut tried = 0;
    let rested = |sample: &&Sample| ["idle", "draft"].contains(&sample.state.as_str());
    for sample in SAMPLES.iter().filter(rested) {
        let lines: Vec<&str> = sample.forms[0].lines().collect();
        let Some(row) = answer_row(sample, &lines) else { continue };
        tried += 1;
        for _ in 0..12 {
            let mut said: Vec<String> = lines[..=row].iter().map(|&line| line.to_owned()).collect();
            said.push(String::new());
            for _ in 0..1 + random.below(6) {
                said.push(format!("{}{}", indent(&sample.cli), random.pick(&QUOTES)));
            }
            said.extend(lines[row + 1..].iter().map(|&line| line.to_owned()));
            let screen = said.join("\n");
            let reading = look(sample, &screen);
            assert!(is_right(sample, &reading), "{}\n{screen}\n{reading:#?}", sample.path);
        }
    }
    assert!(tried > 40, "{tried}");
}

#[test]
fn noise_never_panics() {
    let mut random = Random(13);
    let pieces = [
        "\x1b[",
        "\x1b]0;",
        "\x1b",
        "\u{9b}",
        "\x07",
        "\0",
        "─────────────",
        "╹▀▀▀▀▀▀▀▀▀",
        "┃",
        "▄▄▄▄▄▄▄▄▄",
        "▀▀▀▀▀▀▀▀▀",
        "❯ ",
        "› ",
        "> ",
        "diff> ",
        "╭───",
        "╰───",
        "│",
        "❯ 1. Yes",
        "  2. No",
        "• OpenCode 1",
        "(Y)es/(N)o [Yes]: ",
        "\n",
        "\n",
        "\n",
        " ",
        "38;5;",
        "2m",
        "✻ x…",
        "é",
        "漢",
        "\u{200b}",
        "\u{a0}",
        "\u{10ffff}",
        "m",
        "■",
        "  ✕ ",
        "⎿",
        "a",
    ];
    for name in BACKENDS.keys() {
        for _ in 0..400 {
            let mut screen = String::new();
            for _ in 0..random.below(120) {
                screen.push_str(pieces[random.below(pieces.len())]);
            }
            let _ = read_as(name, &screen, "⠋ x");
        }
    }
}

#[test]
fn damaged_captures_never_panic() {
    let mut random = Random(17);
    for sample in SAMPLES.iter() {
        let mut bytes = sample.forms[1].clone().into_bytes();
        for _ in 0..8 {
            let at = random.below(bytes.len().max(1));
            match random.below(3) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.below(256) as u8),
                _ if at < bytes.len() => bytes[at] = random.below(256) as u8,
                _ => {}
            }
        }
        let _ = look(sample, &String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn huge_screens_are_bounded() {
    let started = std::time::Instant::now();
    let screens = [
        "x".repeat(2_000_000),
        "❯ \n".repeat(100_000),
        "─".repeat(500_000),
        format!("{}\n", "─".repeat(200)).repeat(5_000),
        "\x1b[2m".repeat(300_000),
        "\n".repeat(300_000),
        format!("{}❯ x", "  ⎿ y\n".repeat(100_000)),
    ];
    for name in BACKENDS.keys() {
        for screen in &screens {
            let reading = read_as(name, screen, "");
            let texts = [&reading.last_line]
                .into_iter()
                .chain(&reading.composer)
                .chain(&reading.dialog)
                .chain(&reading.until);
            assert!(texts.map(String::len).sum::<usize>() < 100_000);
        }
    }
    // Unoptimized, on a busy machine: the bound only tells linear from quadratic.
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn a_shell_left_behind_is_told_by_its_command_or_by_the_prompt_below_the_farewell() {
    let look = |cli: &str, command: &str, alone: Option<bool>, screen: &str| {
        label(&read(&BACKENDS[cli], &Look { screen, title: "", dead: false, command, alone, vote: None }))
    };
    let with = |cli: &str, command: &str, screen: &str| look(cli, command, None, screen);
    for sample in SAMPLES.iter().filter(|sample| sample.state == "idle") {
        let (cli, screen) = (&sample.cli, &sample.forms[0]);
        for command in ["bash", "-zsh", "fish"] {
            // Whatever the screen still shows: there is nothing but the shell.
            assert_eq!(look(cli, command, Some(true), screen), "shell");
            // A wrapper script that waits for the CLI.
            assert_eq!(look(cli, command, Some(false), screen), "idle", "{}", sample.path);
            assert_eq!(with(cli, command, screen), "idle", "{}", sample.path);
        }
        assert_eq!(with(cli, "node", screen), "idle", "{}", sample.path);
    }
    // Nor is any other screen of a CLI that lives.
    for sample in SAMPLES.iter().filter(|sample| !sample.dead && sample.cli != "shell") {
        let told = with(&sample.cli, "bash", &sample.forms[0]);
        assert_eq!(told, with(&sample.cli, "node", &sample.forms[0]), "{}", sample.path);
    }
    assert_ne!(look("claude", "bash", Some(true), ""), "shell", "a wrapper that has only just begun");
    // The farewells are those of the captures that ended; tmux's own line gives way to a prompt.
    for sample in SAMPLES.iter().filter(|sample| sample.dead && sample.cli != "aider") {
        for prompt in ["crew@box:~/fleet/proj$ ", "[crew@box proj]# ", "~/proj (main) ❯", "bash-5.2$", "$ "]
        {
            let mut lines: Vec<&str> =
                sample.forms[0].lines().filter(|line| !line.starts_with("Pane is dead")).collect();
            while lines.last().is_some_and(|line| line.trim().is_empty()) {
                lines.pop();
            }
            let screen = format!("{}\n{prompt}\n", lines.join("\n"));
            assert_eq!(with(&sample.cli, "", &screen), "shell", "{} {prompt}", sample.path);
            assert_eq!(look(&sample.cli, "bash", Some(true), &screen), "shell", "{} {prompt}", sample.path);
        }
    }
}

#[test]
fn the_shell_backend_is_idle_at_its_prompt_and_busy_otherwise() {
    let with = |command: &str, screen: &str| {
        let look = Look { screen, title: "", dead: false, command, alone: None, vote: None };
        label(&read(&BACKENDS["shell"], &look))
    };
    assert_eq!(with("bash", "hello\ncrew@box:~$ "), "idle");
    assert_eq!(with("", "crew@box:~$"), "idle");
    assert_eq!(with("", "crew@box:~$ make\ncc -c a.c"), "busy");
    assert_eq!(with("make", "crew@box:~$ "), "busy");
    assert_eq!(with("bash", ""), "starting");
}

//! Shell prompts: the shell that is left when a CLI is gone, and the `shell` backend itself.

use super::ansi::Screen;
use super::{Look, dialog, evidence, live, regions};
use crate::config::Backend;
use crate::config::backend::{Frame, Signals};
use crate::model::seen::Evidence;
use regex::Regex;
use std::sync::LazyLock;

/// What tmux may call a shell in `pane_current_command`; a login shell has a `-` before it.
const SHELLS: [&str; 9] = ["bash", "zsh", "fish", "sh", "dash", "ksh", "ash", "mksh", "tcsh"];

/// Longest row that is looked at as a prompt, characters. (In the pattern, `{0,200}` would be compiled 200 times over.)
const PROMPT_CHARS_MAX: usize = 250;

/// A prompt with nothing typed behind it, in column 0: `user@host:~$`, `[user@host dir]#`, `~/dir $`, `bash-5.2$`, `$`,
/// `➜  dir git:(main)`.
static PROMPT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let patterns = [
        r"^(?:\([\w.-]+\) )?[\w.-]+@[\w.-]+[: ].*[$#%>]$",
        r"^(?:\([\w.-]+\) )?\[[\w.-]+@[\w.-]+ .*\][$#%]$",
        r"^(?:\([\w.-]+\) )?(?:~|/)\S*(?: \([^)]*\))? ?[$#%❯➜>]$",
        r"^(?:ba|z|da|k|a)?sh-[\d.]+[$#%]$",
        r"^[$#%]$",
        r"^➜ +\S+(?: git:\([^)]*\))?(?: ✗)?$",
    ];
    Regex::new(&patterns.join("|")).ok()
});

/// Whether a shell stands where the CLI was. A shell in the foreground alone is no proof: a wrapper script that waits
/// for the CLI is one too. It is one when nothing runs below it, or when its prompt stands where the CLI's own rows were.
pub(super) fn left_behind(backend: &Backend, look: &Look<'_>, screen: &Screen) -> Option<Evidence> {
    if backend.signals.frame == Frame::Shell {
        return None;
    }
    let command = look.command.trim_start_matches('-');
    if !command.is_empty() {
        let own = backend.process_names.iter().any(|name| name == command);
        if own || !SHELLS.contains(&command) {
            return None;
        }
        // A wrapper script that has only just begun has neither a child nor a screen.
        if look.alone == Some(true) && !screen.rows.is_empty() {
            let text = look.command.chars().take(40).collect();
            return Some(Evidence { signal: "command".into(), line: 0, text });
        }
        return prompt(screen).filter(|_| !shows_cli(&backend.signals, screen));
    }
    // A bare capture: only the screen can tell.
    prompt(screen)
}

/// Whether the screen has what only the CLI draws. (Its footer may look like a prompt.)
fn shows_cli(signals: &Signals, screen: &Screen) -> bool {
    regions::composer(signals, screen).is_some()
        || dialog::find(signals, screen).is_some()
        || live::signs(signals, screen, None).any()
}

/// The prompt in the last row.
pub(super) fn prompt(screen: &Screen) -> Option<Evidence> {
    let last = screen.rows.len().checked_sub(1)?;
    let text = screen.text(last);
    let is_short = text.chars().nth(PROMPT_CHARS_MAX).is_none();
    let is_prompt = is_short && PROMPT.as_ref().is_some_and(|prompt| prompt.is_match(text));
    is_prompt.then(|| evidence("shell.prompt", screen, last))
}

/// Whether the pane's program is a shell; None when it is not known.
pub(super) fn is_shell(command: &str) -> Option<bool> {
    let command = command.trim_start_matches('-');
    (!command.is_empty()).then(|| SHELLS.contains(&command))
}

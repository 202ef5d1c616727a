//! What state a screen is in, and which signal on which line says so.
//!
//! The order of belief: dead; a shell left behind; a viewer that hides the screen; a dialog, a limit or a final error at
//! the bottom; the CLI's own word and its title, which vote only on busy against idle; signs of work around the
//! composer; the composer. Structure comes before words: what stands below the composer, in its place or at the end of
//! the last block is the CLI's own, everything else may be a quotation.
//!
//! Deliberately not here: the words (`src/backends/*.toml`), memory of earlier looks, what to do about it.

mod ansi;
mod composer;
mod dialog;
mod digest;
mod live;
mod regions;
mod shell;
mod turn;

use crate::base::text::one_line;
use crate::config::Backend;
use crate::config::backend::{Error, Frame, MenuKind, Pattern, Signals};
use crate::model::seen::{Evidence, Reading, ScreenState, Substate, Vote};
use ansi::Screen;
use regions::Composer;

/// Longest text of an evidence, characters.
const EVIDENCE_CHARS_MAX: usize = 200;
/// Longest limit line and last line handed on, characters.
const LINE_CHARS_MAX: usize = 500;
/// Rows at the bottom in which a viewer names its keys.
const OVERLAY_ROWS: usize = 2;
/// Rows at the bottom in which the side panel's own last line stands.
const SIDEBAR_ROWS: usize = 3;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// `capture-pane -p -e -J` (SGR sequences and all) or `capture-pane -p`.
    pub screen: &'a str,
    /// The pane's title.
    pub title: &'a str,
    /// The process has ended.
    pub dead: bool,
    /// `pane_current_command`, "" when unknown.
    pub command: &'a str,
    /// Nothing runs in the terminal's foreground but the shell that `command` names; None when that is not known.
    pub alone: Option<bool>,
    /// What the CLI's own status file says, if it has one.
    pub vote: Option<crate::model::seen::Vote>,
}

/// The rows of a capture as plain text, blank ones at the end left out.
pub fn rows(capture: &str) -> Vec<String> {
    Screen::parse(capture).rows.into_iter().map(|row| row.text).collect()
}

/// Whether this is how tmux names a shell.
pub fn is_shell(command: &str) -> bool {
    shell::is_shell(command) == Some(true)
}

/// Reads a screen.
pub fn read(backend: &Backend, look: &Look<'_>) -> Reading {
    let signals = &backend.signals;
    let mut screen = Screen::parse(look.screen);
    cut_sidebar(signals, &mut screen);
    let mut reading = Reading::default();
    let end = screen.rows.len();
    if look.dead || died(look, &screen) {
        conclude(&mut reading, ScreenState::Dead, None, dead_evidence(look, &screen));
        finish(signals, &screen, end, None, &mut reading);
    } else if let Some(left) = shell::left_behind(backend, look, &screen) {
        conclude(&mut reading, ScreenState::Shell, None, left);
        finish(signals, &screen, end, None, &mut reading);
    } else if signals.frame == Frame::Shell {
        read_shell(look, &screen, &mut reading);
        finish(signals, &screen, end, None, &mut reading);
    } else {
        read_cli(signals, look, &screen, &mut reading);
    }
    reading
}

/// Reads the screen of a CLI that lives.
fn read_cli(signals: &Signals, look: &Look<'_>, screen: &Screen, reading: &mut Reading) {
    let end = screen.rows.len();
    let composer = regions::composer(signals, screen);
    if let Some(found) = overlay(signals, screen) {
        reading.overlay = true;
        conclude(reading, ScreenState::Unknown, None, found);
        finish(signals, screen, end, None, reading);
        return;
    }
    match composer {
        Some(composer) => with_composer(signals, look, screen, &composer, reading),
        None => match dialog::find(signals, screen) {
            Some(dialog) => with_dialog(signals, screen, dialog, reading),
            None => without_both(signals, look, screen, reading),
        },
    }
}

fn with_dialog(signals: &Signals, screen: &Screen, dialog: dialog::Dialog<'_>, reading: &mut Reading) {
    reading.evidence = dialog.evidence;
    match dialog.menu.map(|menu| menu.kind) {
        Some(MenuKind::Limit) => {
            reading.state = ScreenState::Limited;
            reading.substate = Some(Substate::Menu);
            if let Some((line, found)) = turn::limit_above(signals, screen, dialog.top) {
                reading.until = Some(line.chars().take(LINE_CHARS_MAX).collect());
                reading.evidence.push(found);
            }
        }
        Some(MenuKind::Onboarding) => {
            reading.state = ScreenState::Onboarding;
            let keys = dialog.menu.map(|menu| menu.keys.clone());
            reading.answer_keys = keys.filter(|keys| !keys.is_empty());
        }
        Some(MenuKind::Overlay) => reading.overlay = true,
        Some(MenuKind::Starting) => reading.state = ScreenState::Starting,
        None => reading.state = ScreenState::Blocked,
    }
    let open = !reading.overlay && reading.state != ScreenState::Starting;
    reading.dialog = open.then_some(dialog.text);
    finish(signals, screen, dialog.top, None, reading);
}

/// The composer is there: idle, draft or busy, or the last turn ended badly.
fn with_composer(
    signals: &Signals,
    look: &Look<'_>,
    screen: &Screen,
    composer: &Composer,
    reading: &mut Reading,
) {
    let typed = composer::text(signals, screen, composer);
    let empty = typed.is_empty();
    reading.composer = Some(typed);
    let signs = live::signs(signals, screen, Some(composer));
    let voted = voted(signals, look);
    let last = if signs.any() { None } else { turn::last(signals, screen, composer.top) };
    let prompt = evidence("composer", screen, composer.text.start);
    match last {
        Some(turn::Final::Limit(line, found)) => {
            reading.until = Some(line.chars().take(LINE_CHARS_MAX).collect());
            conclude(reading, ScreenState::Limited, None, found);
        }
        Some(turn::Final::Error(kind, found)) if empty => {
            let substate = match kind {
                Error::Auth => Substate::Auth,
                Error::Billing => Substate::Billing,
                Error::Context => Substate::Context,
                Error::Server => Substate::Server,
                Error::Network => Substate::Network,
            };
            conclude(reading, ScreenState::Error, Some(substate), found);
        }
        Some(turn::Final::Error(..)) | None => {
            let rested = if empty { ScreenState::Idle } else { ScreenState::Draft };
            match judge(voted, &signs) {
                Some((Verdict::Busy, found)) => busy(reading, &signs, found),
                // gemini's title is ready before it is.
                Some((Verdict::Idle, _)) | None if not_ready(signals, screen, composer) => {
                    conclude(reading, ScreenState::Starting, None, prompt.clone());
                }
                Some((Verdict::Idle, found)) => conclude(reading, rested, None, found),
                None => {
                    let open =
                        turn::open(signals, screen, composer.top).filter(|_| look.title.trim().is_empty());
                    if let Some(row) = open {
                        busy(reading, &signs, evidence("turn.open", screen, row));
                    }
                }
            }
            if reading.state == ScreenState::Unknown {
                reading.state = rested;
            }
            reading.evidence.push(prompt);
        }
    }
    finish(signals, screen, composer.top, signs.status_row, reading);
}

/// Neither composer nor dialog: the CLI starts, or works without a composer, or shows what is not known.
fn without_both(signals: &Signals, look: &Look<'_>, screen: &Screen, reading: &mut Reading) {
    let end = screen.rows.len();
    let signs = live::signs(signals, screen, None);
    let nothing = Evidence { signal: "screen".into(), line: 0, text: "blank".into() };
    if end == 0 {
        conclude(reading, ScreenState::Starting, None, nothing);
    } else if let Some((Verdict::Busy, found)) = judge(voted(signals, look), &signs) {
        busy(reading, &signs, found);
    } else if let Some(found) = waiting(signals, look) {
        conclude(reading, ScreenState::Blocked, None, found);
    } else if let Some(row) = starts(signals, screen) {
        conclude(reading, ScreenState::Starting, None, evidence("starting", screen, row));
    } else if signals.frame == Frame::Line {
        conclude(reading, ScreenState::Busy, None, evidence("no prompt", screen, end - 1));
    }
    finish(signals, screen, end, signs.status_row, reading);
}

fn read_shell(look: &Look<'_>, screen: &Screen, reading: &mut Reading) {
    let last = screen.rows.len().checked_sub(1);
    match (shell::is_shell(look.command), shell::prompt(screen), last) {
        (Some(false), _, _) => {
            let found = Evidence {
                signal: "command".into(),
                line: 0,
                text: one_line(look.command, EVIDENCE_CHARS_MAX),
            };
            conclude(reading, ScreenState::Busy, None, found);
        }
        (Some(true) | None, Some(found), _) => {
            reading.composer = Some(String::new());
            conclude(reading, ScreenState::Idle, None, found);
        }
        (Some(true) | None, None, Some(row)) => {
            conclude(reading, ScreenState::Busy, None, evidence("no prompt", screen, row));
        }
        (Some(true) | None, None, None) => {
            let blank = Evidence { signal: "screen".into(), line: 0, text: "blank".into() };
            conclude(reading, ScreenState::Starting, None, blank);
        }
    }
}

/// What title and status file may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Busy,
    Idle,
}

/// The CLI's own word, else its title.
fn voted(signals: &Signals, look: &Look<'_>) -> Option<(Verdict, Evidence)> {
    let say = |signal: &str, text: &str| Evidence {
        signal: signal.into(),
        line: 0,
        text: one_line(text, EVIDENCE_CHARS_MAX),
    };
    match look.vote {
        Some(Vote::Busy) => return Some((Verdict::Busy, say("vote", "busy"))),
        Some(Vote::Idle) => return Some((Verdict::Idle, say("vote", "idle"))),
        Some(Vote::Waiting) | None => {}
    }
    let title = look.title.trim();
    if any(&signals.title_busy, title) {
        return Some((Verdict::Busy, say("title.busy", title)));
    }
    any(&signals.title_idle, title).then(|| (Verdict::Idle, say("title.idle", title)))
}

/// Weighs vote and signs. A sign below the composer is stronger than any vote (nobody else can write there, and it is
/// newer than the title, which was read in an earlier call); one above it is weaker.
fn judge(voted: Option<(Verdict, Evidence)>, signs: &live::Signs) -> Option<(Verdict, Evidence)> {
    if let Some(footer) = &signs.footer {
        return Some((Verdict::Busy, footer.clone()));
    }
    voted.or_else(|| signs.status.clone().map(|found| (Verdict::Busy, found)))
}

/// It waits for a person, says the CLI, and nothing that it could wait with was recognised: better blocked than prompted.
fn waiting(signals: &Signals, look: &Look<'_>) -> Option<Evidence> {
    if look.vote == Some(Vote::Waiting) {
        return Some(Evidence { signal: "vote".into(), line: 0, text: "waiting".into() });
    }
    let title = look.title.trim();
    let text = one_line(title, EVIDENCE_CHARS_MAX);
    any(&signals.title_blocked, title).then(|| Evidence { signal: "title.blocked".into(), line: 0, text })
}

/// The composer is drawn, but the row that comes with the connection is missing, and nothing was said yet. Between bands
/// that row stands above: a greeting, or the conversation that is resumed.
fn not_ready(signals: &Signals, screen: &Screen, composer: &Composer) -> bool {
    let mut rows = match signals.frame {
        Frame::Bands => 0..composer.top,
        Frame::Rules | Frame::Glyph | Frame::Bar | Frame::Line | Frame::Shell => composer.footer.clone(),
    };
    let comes = |row: usize| {
        any(&signals.ready, screen.text(row))
            && !(signals.frame == Frame::Bands && any(&signals.skip, screen.text(row)))
    };
    if signals.ready.is_empty() || rows.any(comes) {
        return false;
    }
    !has_history(signals, screen, composer.top)
}

fn has_history(signals: &Signals, screen: &Screen, end: usize) -> bool {
    signals.head.as_ref().is_some_and(|head| (0..end).any(|row| head.is_match(screen.text(row))))
}

/// The row that says that the CLI starts.
fn starts(signals: &Signals, screen: &Screen) -> Option<usize> {
    let end = screen.rows.len();
    if has_history(signals, screen, end) {
        return None;
    }
    let known = (0..end).rev().find(|&row| any(&signals.starting, screen.text(row)));
    let only_frames = (0..end).all(|row| screen.rows[row].is_blank() || regions::is_rule(screen.text(row)));
    known.or(if signals.starting.is_empty() || only_frames { end.checked_sub(1) } else { None })
}

fn overlay(signals: &Signals, screen: &Screen) -> Option<Evidence> {
    let rows = (0..screen.rows.len()).rev().filter(|&row| !screen.rows[row].is_blank()).take(OVERLAY_ROWS);
    let mut rows = rows.filter(|&row| any(&signals.overlay, screen.text(row)));
    rows.next().map(|row| evidence("dialog.overlay", screen, row))
}

/// tmux writes its own line into a pane that it keeps; in a bare capture it is all there is to tell.
fn died(look: &Look<'_>, screen: &Screen) -> bool {
    let last = screen.rows.last().map_or("", |row| row.text.as_str());
    look.command.is_empty()
        && (last.starts_with("Pane is dead (status ") || last.starts_with("Pane is dead (signal "))
}

fn dead_evidence(look: &Look<'_>, screen: &Screen) -> Evidence {
    match screen.rows.len().checked_sub(1).filter(|_| !look.dead) {
        Some(row) => evidence("pane_dead", screen, row),
        None => Evidence { signal: "pane_dead".into(), line: 0, text: "1".into() },
    }
}

fn busy(reading: &mut Reading, signs: &live::Signs, decided: Evidence) {
    reading.compacting = signs.compacting.is_some();
    let substate = signs.retrying.is_some().then_some(Substate::Retrying);
    conclude(reading, ScreenState::Busy, substate, decided);
    for found in [&signs.retrying, &signs.compacting, &signs.footer, &signs.status].into_iter().flatten() {
        if !reading.evidence.contains(found) {
            reading.evidence.push(found.clone());
        }
    }
}

fn conclude(reading: &mut Reading, state: ScreenState, substate: Option<Substate>, decided: Evidence) {
    reading.state = state;
    reading.substate = substate;
    reading.evidence.push(decided);
}

/// What is read of every screen: the last line and the digest of what stands above `end`.
fn finish(signals: &Signals, screen: &Screen, end: usize, status: Option<usize>, reading: &mut Reading) {
    reading.last_line = turn::last_line(signals, screen, end).chars().take(LINE_CHARS_MAX).collect();
    let dialog = reading.dialog.as_deref().unwrap_or_default();
    reading.content = digest::content(signals, screen, end, status, dialog);
}

fn cut_sidebar(signals: &Signals, screen: &mut Screen) {
    let Some(sidebar) = &signals.sidebar else { return };
    let last = screen
        .rows
        .iter()
        .rev()
        .take(SIDEBAR_ROWS)
        .find_map(|row| sidebar.find(&row.text).map(|found| row.text[..found.start()].chars().count()));
    if let Some(column) = last.filter(|&column| column > 0) {
        screen.cut(column);
    }
}

/// Whether any pattern matches.
fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.is_match(text))
}

fn evidence(signal: &str, screen: &Screen, row: usize) -> Evidence {
    Evidence {
        signal: signal.into(),
        line: screen.line(row),
        text: one_line(screen.text(row), EVIDENCE_CHARS_MAX),
    }
}

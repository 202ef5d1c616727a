//! `list-panes -a`, `list-buffers` and the server's identity in one call: format and parser.
//!
//! Deliberately not here: spawning. Free text (session names, stamps, titles) is fenced by a nonce that is new in
//! each call, so that no title can play another pane's row.

use super::tmux_version::too_old;
use super::{PaneList, PaneRow};
use crate::base::time::Wall;
use crate::model::seen::{Exit, ServerId, ServerSeen};
use std::collections::HashMap;

/// Whether `pane_current_command` is asked for: it makes the call 1.7 times as long for 1000 panes, and `/proc` tells
/// the same for the few panes that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commands {
    /// Asked for.
    Told,
    /// Left out: "" in every row.
    LeftOut,
}

/// Fields that can't hold a `|`. What only the dead have is expanded only for them: a tenth of the call.
const PLAIN: &str = "#{pane_id}|#{pane_pid}|#{pane_dead}|\
                     #{?pane_dead,#{pane_dead_status}|#{pane_dead_signal}|#{pane_dead_time},||}|\
                     #{pane_in_mode}|#{session_attached}|#{session_activity}|#{window_activity}|\
                     #{pane_width}x#{pane_height},#{cursor_x},#{cursor_y},#{history_size}";

/// The arguments after `tmux -u …`.
pub(super) fn list_args(nonce: &str, commands: Commands) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    // First, because `list-panes -a` of a server without sessions is an error and ends the rest.
    args.extend(["display-message", "-p"].map(str::to_owned));
    args.push(format!("{nonce}S#{{pid}}|#{{start_time}}|#{{version}}"));
    args.extend([";", "list-buffers", "-F"].map(str::to_owned));
    args.push(format!("{nonce}B#{{buffer_name}}"));
    args.extend([";", "list-panes", "-a", "-F"].map(str::to_owned));
    args.push(pane_format(nonce, commands));
    args
}

/// The arguments after [`list_args`] when commands for screens follow on standard input.
pub(super) fn then_screens(nonce: &str) -> Vec<String> {
    let args = [";", "display-message", "-p", &format!("{nonce}E"), ";", "source-file", "-"];
    args.map(str::to_owned).to_vec()
}

/// The list, and the screens behind it if it is whole and any were asked for.
pub(super) fn split<'o>(nonce: &str, stdout: &'o str) -> (&'o str, Option<&'o str>) {
    match stdout.split_once(&format!("{nonce}E\n")) {
        Some((list, screens)) => (list, Some(screens)),
        None => (stdout, None),
    }
}

/// One pane's row: plain fields, then the fenced ones.
fn pane_format(nonce: &str, commands: Commands) -> String {
    let command = match commands {
        Commands::Told => "#{pane_current_command}",
        Commands::LeftOut => "",
    };
    let free = [command, "#{session_name}", "#{@watchkeeper}", "#{@watchkeeper_unit}", "#{pane_title}"];
    format!("{nonce}P{PLAIN}{nonce}|{}", free.join(&format!("{nonce}|")))
}

/// What the call printed as a list. A row that can't be read makes the whole list unknown: a pane that is left out
/// would look as if it were gone.
pub(super) fn parse_list(nonce: &str, stdout: &str) -> Result<PaneList, String> {
    let mut list = PaneList { server: ServerSeen::Absent, rows: Vec::new(), buffers: Vec::new() };
    let mut pieces = stdout.split(nonce);
    let before = pieces.next().unwrap_or_default();
    if !before.is_empty() {
        return Err(format!("tmux printed `{}` before the list", crate::base::text::one_line(before, 80)));
    }
    while let Some(piece) = pieces.next() {
        let bad = || format!("can't read `{}` in tmux's list", crate::base::text::one_line(piece, 120));
        if let Some(server) = piece.strip_prefix('S') {
            let (id, version) = parse_server(server).ok_or_else(bad)?;
            if let Some(why) = too_old(version) {
                return Err(format!("the tmux server {why}"));
            }
            list.server = ServerSeen::Alive(id);
        } else if let Some(buffer) = piece.strip_prefix('B') {
            list.buffers.push(buffer.strip_suffix('\n').unwrap_or(buffer).to_owned());
        } else if let Some(plain) = piece.strip_prefix('P') {
            let mut free = || pieces.next().and_then(|p| p.strip_prefix('|')).map(str::to_owned);
            let (command, session, stamp) = (free(), free(), free());
            let (unit, title) = (free(), free());
            let row = parse_row(plain, command, session, stamp, unit, title);
            list.rows.push(row.ok_or_else(bad)?);
        } else {
            return Err(bad());
        }
    }
    match list.server {
        ServerSeen::Alive(_) => Ok(list),
        ServerSeen::Unknown { .. } | ServerSeen::Absent => Err("tmux did not name its server".to_owned()),
    }
}

/// One row per pane. A pane is listed with each session that shows its window (a grouped session, a linked window): the
/// row of the session that carries `stamp` stands for all, with the clients of all.
pub(super) fn fold(rows: Vec<PaneRow>, stamp: &str) -> Vec<PaneRow> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(rows.len());
    let mut folded: Vec<PaneRow> = Vec::with_capacity(rows.len());
    for mut row in rows {
        let Some(kept) = places.get(&row.pane).and_then(|place| folded.get_mut(*place)) else {
            places.insert(row.pane.clone(), folded.len());
            folded.push(row);
            continue;
        };
        let attached = kept.attached.saturating_add(row.attached);
        let typed_at = kept.typed_at.max(row.typed_at);
        if row.stamp == stamp && kept.stamp != stamp {
            std::mem::swap(kept, &mut row);
        }
        (kept.attached, kept.typed_at) = (attached, typed_at);
    }
    folded
}

/// Who the server is, and its version.
fn parse_server(text: &str) -> Option<(ServerId, &str)> {
    let (pid, rest) = text.trim_end().split_once('|')?;
    let (started, version) = rest.split_once('|')?;
    Some((ServerId { pid: pid.parse().ok()?, started: started.parse().ok()? }, version))
}

fn parse_row(
    plain: &str,
    command: Option<String>,
    session: Option<String>,
    stamp: Option<String>,
    unit: Option<String>,
    title: Option<String>,
) -> Option<PaneRow> {
    let fields: Vec<&str> = plain.split('|').collect();
    let &[pane, pid, dead, status, signal, dead_at, in_mode, attached, typed_at, output_at, shape] =
        fields.as_slice()
    else {
        return None;
    };
    let dead = dead == "1";
    let attached: u32 = attached.parse().ok()?;
    let title = title?;
    let unit = unit?;
    let (unit, phase) = match unit.split_once('/') {
        Some((unit, phase)) => (unit.to_owned(), Some(phase.to_owned()).filter(|phase| !phase.is_empty())),
        None => (unit, None),
    };
    Some(PaneRow {
        session: session?,
        pane: Some(pane).filter(|p| is_pane_id(p))?.to_owned(),
        pid: pid.parse().ok()?,
        dead,
        exit: if dead { parse_exit(status, signal) } else { None },
        dead_at: if dead { wall(dead_at) } else { None },
        command: command?,
        in_mode: in_mode != "0" && !in_mode.is_empty(),
        attached,
        // Without a client it is the time of the session's making or of somebody who left.
        typed_at: if attached > 0 { wall(typed_at) } else { None },
        output_at: wall(output_at)?,
        shape: shape.to_owned(),
        stamp: decode_stamp(&stamp?),
        unit,
        phase,
        title: title.strip_suffix('\n').unwrap_or(&title).to_owned(),
    })
}

/// `%5`.
pub(super) fn is_pane_id(text: &str) -> bool {
    text.strip_prefix('%')
        .is_some_and(|n| !n.is_empty() && n.len() <= 10 && n.bytes().all(|b| b.is_ascii_digit()))
}

fn parse_exit(status: &str, signal: &str) -> Option<Exit> {
    let number = |text: &str| text.parse::<i32>().ok();
    number(status).map(Exit::Status).or_else(|| number(signal).map(Exit::Signal))
}

/// Whole seconds since 1970.
fn wall(text: &str) -> Option<Wall> {
    text.parse::<i64>().ok().filter(|s| *s > 0).map(|s| Wall(s.saturating_mul(1000)))
}

/// The stamp as it is put on a session: a path in which everything that means something to a tmux format, to our
/// parser or to a terminal is percent-encoded.
pub(super) fn encode_stamp(dir: &str) -> String {
    let mut stamp = String::with_capacity(dir.len());
    for byte in dir.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte) {
            stamp.push(char::from(byte));
        } else {
            stamp.push_str(&format!("%{byte:02x}"));
        }
    }
    stamp
}

/// The path behind a stamp; somebody else's stamp that is not in this form stays as it is.
fn decode_stamp(stamp: &str) -> String {
    let mut bytes = Vec::with_capacity(stamp.len());
    let mut rest = stamp.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(path) if encode_stamp(&path) == stamp => path,
        Ok(_) | Err(_) => stamp.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: &str = "<7f3a>";

    fn row(plain: &str, session: &str, stamp: &str, title: &str) -> String {
        format!("{N}P{plain}{N}|{N}|{session}{N}|{stamp}{N}|builder{N}|{title}\n")
    }

    fn parse(text: &str) -> Result<PaneList, String> {
        parse_list(N, &format!("{N}S42|1795258158|3.3a\n{text}"))
    }

    #[test]
    fn a_living_and_a_dead_pane_are_read() {
        let text = [
            format!("{N}Bbuffer0\n{N}Bwk-a-1\n"),
            row("%5|77|0||||1|2|1795258160|1795258170|200x50,3,49,7", "crew-a", "/s/.wk", "✳ work | more"),
            row("%6|78|1|7||1795258171|0|0|1795258160|1795258170|200x50,3,49,7", "crew-b", "", ""),
            row("%7|79|1||9|1795258171|0|0|1795258160|1795258170|80x24,0,0,0", "x|y", "/s/a%7cb", "t"),
            row("%8|80|1||||0|0|1795258160|1795258170|80x24,0,0,0", "z", "", "t"),
        ]
        .concat();
        let list = parse(&text).unwrap();
        assert_eq!(list.server, ServerSeen::Alive(ServerId { pid: 42, started: 1_795_258_158 }));
        assert_eq!(list.buffers, ["buffer0", "wk-a-1"]);
        let [a, b, c, d] = list.rows.as_slice() else { panic!("{:?}", list.rows) };
        assert_eq!(
            *a,
            PaneRow {
                session: "crew-a".into(),
                pane: "%5".into(),
                pid: 77,
                dead: false,
                exit: None,
                dead_at: None,
                command: String::new(),
                in_mode: true,
                attached: 2,
                typed_at: Some(Wall(1_795_258_160_000)),
                output_at: Wall(1_795_258_170_000),
                shape: "200x50,3,49,7".into(),
                stamp: "/s/.wk".into(),
                unit: "builder".into(),
                phase: None,
                title: "✳ work | more".into(),
            }
        );
        assert_eq!((b.dead, b.exit, b.dead_at), (true, Some(Exit::Status(7)), Some(Wall(1_795_258_171_000))));
        assert_eq!((b.typed_at, b.title.as_str()), (None, ""), "nobody is attached");
        assert_eq!((c.exit, c.session.as_str(), c.stamp.as_str()), (Some(Exit::Signal(9)), "x|y", "/s/a|b"));
        assert_eq!((d.dead, d.exit, d.dead_at), (true, None, None));
    }

    #[test]
    fn text_that_imitates_a_row_stays_text() {
        let plain = "%5|77|0||||0|0|1795258160|1795258170|80x24,0,0,0";
        let fake = "t\nP%6|1|1|0||1|0|0|1|1|80x24,0,0,0|||/s/.wk|builder|x\nS1|1";
        let list = parse(&row(plain, fake, fake, fake)).unwrap();
        assert_eq!(list.rows.len(), 1);
        assert_eq!((list.rows[0].session.as_str(), list.rows[0].title.as_str()), (fake, fake));
    }

    #[test]
    fn a_row_that_cannot_be_read_makes_the_list_unknown() {
        let good = "%5|77|0||||0|0|1795258160|1795258170|80x24,0,0,0";
        assert!(parse(&row(good, "s", "", "t")).is_ok());
        for bad in
            ["", "%5|77|0", "5|77|0||||0|0|1|1|80x24", "%5|x|0||||0|0|1|1|80x24", "%5|77|0||||0|0|1||80x24"]
        {
            assert!(parse(&row(bad, "s", "", "t")).is_err(), "{bad}");
        }
        assert!(parse(&format!("{N}P{good}{N}|{N}|cut off")).is_err());
        assert!(parse_list(N, "").is_err(), "no server named");
        assert!(parse_list(N, "warning\n").is_err());
    }

    #[test]
    fn a_server_that_is_too_old_is_no_server_to_act_on() {
        let old = parse_list(N, &format!("{N}S42|1795258158|3.1c\n"));
        assert_eq!(old, Err("the tmux server `3.1c` is too old, 3.2 is needed".to_owned()));
        assert!(parse_list(N, &format!("{N}S42|1795258158|next-3.4\n")).is_ok());
    }

    #[test]
    fn screens_follow_a_whole_list() {
        assert_eq!(split(N, &format!("a\n{N}E\n{N}0\nb\n")), ("a\n", Some(format!("{N}0\nb\n").as_str())));
        assert_eq!(split(N, &format!("a\n{N}")), (format!("a\n{N}").as_str(), None), "cut off");
    }

    #[test]
    fn stamps_hold_nothing_that_a_format_would_read() {
        for (dir, want) in [
            ("/home/a b/.watchkeeper", "/home/a%20b/.watchkeeper"),
            ("/x,#{pid}|%41", "/x%2c%23%7bpid%7d%7c%2541"),
            ("/ü\n", "/%c3%bc%0a"),
        ] {
            assert_eq!(encode_stamp(dir), want);
            assert_eq!(decode_stamp(want), dir);
        }
        assert_eq!(decode_stamp("100%"), "100%", "not one of ours");
        assert_eq!(decode_stamp("%ff"), "%ff");
    }
}
